//! The probes on the kernel that runs the tests: real programs, real events, nothing imitated.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use zcrx_daemon::{
    kernel::{Capability, Kernel},
    model::{Mechanism, ProbeSample, ProbeStatus, Registration},
    probe::Probes,
};

/// Samples are taken from any thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Probes>();
};

/// Mechanisms of the registration probe, best first.
const ORDER: [Mechanism; 5] = [
    Mechanism::Fexit,
    Mechanism::KprobeMulti,
    Mechanism::Kretprobe,
    Mechanism::TpBtf,
    Mechanism::RawTracepoint,
];

/// Attached probes, or the reason (already printed) why this machine cannot show any.
fn attach(kernel: &Kernel) -> Option<Probes> {
    let probes = Probes::attach(kernel);
    if status(&probes.sample(), "registration").attached.is_some() {
        return Some(probes);
    }
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    let status = status(&probes.sample(), "registration").clone();
    assert!(user != 0 || no_programs(&status), "root, and yet: {:?}", status.refused);
    println!("skipped: user {user} may attach nothing: {}", status.refused[0].error);
    None
}

fn no_programs(status: &ProbeStatus) -> bool {
    status.refused.iter().all(|attempt| attempt.error.starts_with("built without its eBPF programs"))
}

fn status<'a>(sample: &'a ProbeSample, name: &str) -> &'a ProbeStatus {
    sample.probes.iter().find(|probe| probe.name == name).expect("every probe of the catalogue has a status")
}

fn count(sample: &ProbeSample, errno: i32) -> u64 {
    let counts = sample.registrations.as_ref().expect("the registration probe is attached");
    counts.iter().find(|count| count.errno == errno).map_or(0, |count| count.count)
}

fn by_pid(sample: &ProbeSample, pid: u32) -> Vec<&Registration> {
    sample.recent_registrations.iter().filter(|registration| registration.pid == pid).collect()
}

/// Forks a child that asks for queue 7 of the loopback interface on a ring without the flags zcrx demands.
/// Returns its pid and the errno it got.
fn refused_child() -> (u32, i32) {
    // SAFETY: between fork and _exit the child makes system calls only.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let mut params = [0_u8; 120];
        let mut ifq_reg = [0_u32; 24];
        ifq_reg[..3].copy_from_slice(&[1, 7, 64]);
        // SAFETY: both structures have the sizes of the kernel's and live until the child ends.
        unsafe {
            let ring = libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr());
            let result = libc::syscall(libc::SYS_io_uring_register, ring, 32, ifq_reg.as_mut_ptr(), 1);
            libc::_exit(if ring >= 0 && result < 0 { *libc::__errno_location() } else { 0 });
        }
    }
    let mut end = 0;
    // SAFETY: the child is ours and `end` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut end, 0) }, pid);
    assert!(libc::WIFEXITED(end));
    (pid as u32, libc::WEXITSTATUS(end))
}

#[test]
fn every_probe_is_attached_or_has_a_reason() {
    let kernel = Kernel::inspect();
    let sample = Probes::attach(&kernel).sample();
    assert!(!sample.probes.is_empty());
    for probe in &sample.probes {
        assert!(probe.attached.is_some() || !probe.refused.is_empty(), "{probe:?}");
        assert!(probe.refused.iter().all(|attempt| !attempt.error.trim().is_empty()), "{probe:?}");
        println!("{}: {:?}", probe.name, probe.attached);
        for attempt in &probe.refused {
            println!("  {} {}: {}", attempt.mechanism.name(), attempt.target, attempt.error);
        }
    }
}

#[test]
fn mechanisms_are_tried_in_order_and_refusals_listed() {
    let kernel = Kernel::inspect();
    let Some(probes) = attach(&kernel) else { return };
    let sample = probes.sample();
    let registration = status(&sample, "registration");
    let (mechanism, _) = registration.attached.as_ref().expect("attach looked");
    let tried: Vec<_> =
        registration.refused.iter().map(|attempt| attempt.mechanism).chain([*mechanism]).collect();
    assert_eq!(tried, ORDER[..tried.len()]);
    // An independent look at what the kernel offers.
    let reason = |mechanism| registration.refused.iter().find(|attempt| attempt.mechanism == mechanism);
    if !Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        if let Some(attempt) = reason(Mechanism::Kretprobe) {
            assert!(attempt.error.contains("no kprobes"), "{}", attempt.error);
        }
        assert_ne!(*mechanism, Mechanism::Kretprobe);
    }
    if let Some(attempt) = reason(Mechanism::Fexit) {
        let known =
            kernel.btf.as_ref().is_ok_and(|btf| btf.function(&attempt.target).is_ok_and(|f| f.is_some()));
        let expected = if known { "refuses" } else { "has no" };
        assert!(attempt.error.contains(expected), "{}: {}", attempt.target, attempt.error);
    }
}

#[test]
fn refused_registration_is_counted_with_errno_pid_and_queue() {
    let kernel = Kernel::inspect();
    let Some(probes) = attach(&kernel) else { return };
    let (pid, errno) = refused_child();
    assert_ne!(errno, 0, "the kernel accepted a registration on an ordinary ring");
    let sample = probes.sample();
    assert!(count(&sample, errno) >= 1, "{:?}", sample.registrations);
    let seen = by_pid(&sample, pid);
    assert_eq!(seen.len(), 1, "{:?}", sample.recent_registrations);
    assert_eq!((seen[0].errno, seen[0].tid), (errno, pid));
    assert_eq!((seen[0].ifindex, seen[0].queue), (Some(1), Some(7)));
    assert_eq!(seen[0].interface.as_deref(), Some("lo"));
    assert_eq!(sample.lost_events, Some(0));
    let mechanism = status(&sample, "registration").attached.as_ref().map(|(mechanism, _)| *mechanism);
    assert_eq!(
        seen[0].duration.is_some(),
        matches!(mechanism, Some(Mechanism::Fexit | Mechanism::KprobeMulti | Mechanism::Kretprobe)),
        "{mechanism:?} {:?}",
        seen[0].duration
    );
}

#[test]
fn program_in_c_is_observed() -> std::io::Result<()> {
    let kernel = Kernel::inspect();
    let Some(probes) = attach(&kernel) else { return Ok(()) };
    let Some(program) = compile("probe_register") else { return Ok(()) };
    let child = Command::new(program).stdout(Stdio::piped()).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errno: i32 = printed.trim().parse().expect("the program prints its errno");
    let sample = probes.sample();
    assert!(count(&sample, errno) >= 1, "{:?}", sample.registrations);
    let seen = by_pid(&sample, pid);
    assert_eq!(seen.len(), 1, "{:?}", sample.recent_registrations);
    assert_eq!((seen[0].errno, seen[0].queue), (errno, Some(5)));
    assert_eq!(seen[0].comm, "probe_register");
    Ok(())
}

/// Compiles a C file of this folder; `None` (printed) without a compiler.
fn compile(name: &str) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name).with_extension("c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match Command::new("cc").args(["-Wall", "-Werror", "-o"]).arg(&program).arg(&source).status() {
        Ok(status) => {
            assert!(status.success(), "{} does not compile", source.display());
            Some(program)
        }
        Err(error) => {
            println!("skipped: no C compiler: {error}");
            None
        }
    }
}

#[test]
fn counters_match_the_events() {
    let kernel = Kernel::inspect();
    let Some(probes) = attach(&kernel) else { return };
    let pids: Vec<u32> = (0..20).map(|_| refused_child().0).collect();
    let sample = probes.sample();
    let seen: usize = pids.iter().map(|&pid| by_pid(&sample, pid).len()).sum();
    assert_eq!(seen, 20);
    // Draining did not reset anything.
    let again = probes.sample();
    assert!(count(&again, libc::EINVAL) >= 20, "{:?}", again.registrations);
    assert!(pids.iter().all(|&pid| by_pid(&again, pid).len() == 1));
}

#[test]
fn kernel_without_btf_still_counts() {
    let mut kernel = Kernel::inspect();
    kernel.btf = Err("none, for this test".to_owned());
    let Some(probes) = attach(&kernel) else { return };
    let (pid, errno) = refused_child();
    let sample = probes.sample();
    let seen = by_pid(&sample, pid);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].errno, seen[0].ifindex, seen[0].queue), (errno, None, None));
    // What cannot be right without types is not said at all.
    assert_eq!(sample.snapshot, None);
    let refused = &status(&sample, "snapshot").refused;
    assert!(refused.iter().all(|attempt| attempt.error == "none, for this test"), "{refused:?}");
}

#[test]
fn refusals_without_capabilities_name_them() {
    // Capabilities belong to a thread: this one gives up its own, the others keep theirs.
    let worker = std::thread::spawn(|| {
        caps::clear(None, caps::CapSet::Effective).expect("giving up is always allowed");
        let kernel = Kernel::inspect();
        assert!(!kernel.privileges.has(Capability::CAP_BPF));
        Probes::attach(&kernel).sample()
    });
    let sample = worker.join().expect("attaching never panics");
    assert_eq!((sample.registrations, sample.page_pools, sample.lost_events), (None, None, None));
    for probe in &sample.probes {
        assert_eq!(probe.attached, None);
        if !probe.asked {
            continue;
        }
        let named = probe.refused.iter().all(|attempt| attempt.error.contains("CAP_BPF and CAP_PERFMON"));
        assert!(named || no_programs(probe), "{:?}", probe.refused);
    }
}

#[test]
fn snapshot_lies_in_its_time_span_and_skips_rings_without_queues() {
    let kernel = Kernel::inspect();
    let probes = Probes::attach(&kernel);
    let sample = probes.sample();
    let status = status(&sample, "snapshot");
    let Some(snapshot) = &sample.snapshot else {
        println!("skipped: {:?}", status.refused);
        assert!(status.attached.is_none());
        return;
    };
    assert!(snapshot.began < snapshot.ended);
    let own = std::process::id();
    // The ring that the probe learnt from is ours, and had no queue.
    assert!(
        snapshot.queues.iter().all(|queue| queue.owners.iter().all(|owner| owner.pid != own)),
        "{snapshot:?}"
    );
    let again = probes.sample().snapshot.expect("what worked once works again");
    assert!(again.began >= snapshot.ended);
}

/// A page pool that lives for the length of one system call: the kernel feeds `packets` to an XDP program that
/// drops them, from pages of a pool made for the purpose. Linux 5.18.
fn run_packets_from_a_pool(packets: u32) -> std::io::Result<()> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        rest: [u64; 15],
    }
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx: [u64; 3],
        flags: u32,
        cpu: u32,
        batch_size: u32,
        reserved: u32,
    }
    // r0 = XDP_DROP; exit
    let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
    let packet = [0_u8; 64];
    let load = Load {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the attribute and what it points to live for the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let run = TestRun {
        prog_fd: fd as u32,
        data_size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: packets,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        ..TestRun::default()
    };
    // SAFETY: as above; the descriptor is ours and closed once.
    let (result, error) = unsafe {
        let result = libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw const run, size_of::<TestRun>());
        let error = std::io::Error::last_os_error();
        libc::close(fd as i32);
        (result, error)
    };
    if result < 0 { Err(error) } else { Ok(()) }
}

#[test]
fn page_pool_without_a_provider_is_not_counted() {
    let kernel = Kernel::inspect();
    let Some(probes) = attach(&kernel) else { return };
    let worker = std::thread::spawn(|| run_packets_from_a_pool(2_000_000));
    let mut samples = 0;
    while samples == 0 || !worker.is_finished() {
        let pools = probes.sample().page_pools.expect("the page_pool probe is attached");
        assert!(pools.iter().all(|pool| pool.provider == Some(true)), "{pools:?}");
        samples += 1;
    }
    if let Err(error) = worker.join().expect("the worker makes system calls only") {
        println!("skipped: this kernel runs no packets: {error}");
    }
}
