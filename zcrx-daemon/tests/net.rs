//! Reads interfaces in network namespaces of the test, and compares the result with the input of `ip` and `ethtool`.

use std::error::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use zcrx_daemon::model::XdpMode;
use zcrx_daemon::net::{self, Identity, NetError, Netlink, Nic, Outcome as Restored, Step, Store, Wanted};

type Outcome = Result<(), Box<dyn Error>>;

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "ZCRXD_TEST_NAMESPACE";

/// Runs a test again in a new network namespace: as root, or as root of a new user namespace, which any user may
/// make where the host allows it.
fn in_new_namespace(test: &str, body: fn() -> Outcome) -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    // SAFETY: geteuid takes nothing and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let namespaces: &[&str] = if root { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    let output = Command::new("unshare")
        .args(namespaces)
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.contains("1 passed") {
        return Err(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}

fn run(line: &str) -> Outcome {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().ok_or("empty command")?).args(words).status()?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}").into()) }
}

/// A pair with four queues in each direction.
fn veth() -> Outcome {
    run("ip link add zt0 numrxqueues 4 numtxqueues 4 type veth peer name zt1 numrxqueues 4 numtxqueues 4")?;
    run("ip link set zt0 up")?;
    run("ip link set zt1 up")
}

#[test]
fn interface_is_read_as_created() -> Outcome {
    in_new_namespace("interface_is_read_as_created", || {
        veth()?;
        run("ip link set zt0 address 02:00:00:00:00:2a mtu 1400")?;
        let interface = net::interface(&mut Netlink::new(), "zt0")?;
        assert_eq!(interface.name, "zt0");
        assert_eq!(interface.kind.as_deref(), Some("veth"));
        assert_eq!(interface.driver.known().map(String::as_str), Some("veth"));
        assert_eq!(interface.mac.as_deref(), Some("02:00:00:00:00:2a"));
        assert_eq!(interface.mtu, Some(1400));
        assert!(interface.up && interface.xdp.is_empty());
        let channels = interface.setup.channels.known().ok_or("veth has channels")?;
        assert_eq!((channels.rx, channels.rx_max, channels.combined_max), (4, 4, 0));
        let queues = interface.queues.known().ok_or("the kernel lists queues")?;
        assert_eq!(queues.iter().map(|queue| queue.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(queues.iter().all(|queue| queue.provider.is_none() && !queue.af_xdp));
        assert!(interface.setup.rings.unknown().is_some_and(|why| why.contains("does not offer")));
        assert!(interface.setup.rss.unknown().is_some_and(|why| why.contains("does not offer")));
        Ok(())
    })
}

#[test]
fn features_agree_with_ethtool() -> Outcome {
    in_new_namespace("features_agree_with_ethtool", || {
        veth()?;
        run("ethtool -K zt0 gro on tso off")?;
        let interface = net::interface(&mut Netlink::new(), "zt0")?;
        let features = interface.setup.features.known().ok_or("veth has features")?;
        let output = Command::new("ethtool").args(["-k", "zt0"]).output()?;
        let said = String::from_utf8(output.stdout)?;
        // ethtool says some features under names of its own, of which "tcp-segmentation-offload" is a group.
        let renamed = [("rx-gro", "generic-receive-offload"), ("rx-ntuple-filter", "ntuple-filters")];
        let mut compared = 0;
        for (name, feature) in features {
            let shown =
                renamed.iter().find(|(kernel, _)| kernel == name).map_or(name.as_str(), |(_, shown)| shown);
            let Some(line) =
                said.lines().map(str::trim).find_map(|line| line.strip_prefix(&format!("{shown}: ")))
            else {
                continue;
            };
            assert_eq!(line.starts_with("on"), feature.active, "{name}: {line}");
            assert_eq!(line.contains("[fixed]"), feature.fixed, "{name}: {line}");
            compared += 1;
        }
        assert!(compared > 30, "only {compared} features were found in what ethtool says");
        assert!(features.get("rx-gro").is_some_and(|feature| feature.active));
        assert!(features.get("tx-tcp-segmentation").is_some_and(|feature| !feature.active));
        Ok(())
    })
}

#[test]
fn settings_arrive_in_the_kernel() -> Outcome {
    in_new_namespace("settings_arrive_in_the_kernel", || {
        veth()?;
        let mut netlink = Netlink::new();
        let index = netlink.link("zt0")?.index;
        let mut channels = netlink.channels(index)?;
        channels.rx = 2;
        netlink.set_channels(index, &channels)?;
        assert_eq!(netlink.channels(index)?, channels);
        assert_eq!(netlink.queues(Some(index))?.len(), 2);
        netlink.set_feature(index, "rx-gro", true)?;
        assert!(
            netlink.features(index)?.get("rx-gro").is_some_and(|feature| feature.active && feature.wanted)
        );
        netlink.set_feature(index, "rx-gro", false)?;
        assert!(
            netlink.features(index)?.get("rx-gro").is_some_and(|feature| !feature.active && !feature.wanted)
        );
        Ok(())
    })
}

#[test]
fn refusal_keeps_the_kernel_message() -> Outcome {
    in_new_namespace("refusal_keeps_the_kernel_message", || {
        veth()?;
        let mut netlink = Netlink::new();
        let index = netlink.link("zt0")?.index;
        let mut channels = netlink.channels(index)?;
        channels.rx = 9;
        let error = netlink.set_channels(index, &channels).err().ok_or("nine queues are too many")?;
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(error.to_string().contains("exceeds maximum"), "{error}");
        assert!(matches!(netlink.link("nothere"), Err(NetError::NoInterface(_))));
        assert!(matches!(netlink.link("a-name-too-long-for-any-interface"), Err(NetError::NoInterface(_))));
        Ok(())
    })
}

/// `bpf(2)` with the head of its argument that is needed here.
fn bpf(command: libc::c_long, argument: &mut [u64; 16]) -> std::io::Result<OwnedFd> {
    // SAFETY: the argument is larger than what either command reads, zero where nothing was set, and what it
    // points to lives in the caller's frame.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, argument.as_mut_ptr(), size_of::<[u64; 16]>()) };
    let fd = i32::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(std::io::Error::last_os_error)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program that passes every packet, for as long as the result is kept.
fn pass_all(ifindex: u32, flags: u32) -> std::io::Result<(OwnedFd, OwnedFd)> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_LINK_CREATE: libc::c_long = 28;
    const PROG_TYPE_XDP: u64 = 6;
    const ATTACH_TYPE_XDP: u64 = 37;
    // r0 = XDP_PASS; exit
    let program: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let license = c"GPL";
    let mut load = [0; 16];
    load[0] = PROG_TYPE_XDP | (program.len() as u64) << 32;
    load[1] = program.as_ptr().expose_provenance() as u64;
    load[2] = license.as_ptr().expose_provenance() as u64;
    let program = bpf(BPF_PROG_LOAD, &mut load)?;
    let mut create = [0; 16];
    create[0] = program.as_raw_fd() as u64 | u64::from(ifindex) << 32;
    create[1] = ATTACH_TYPE_XDP | u64::from(flags) << 32;
    let link = bpf(BPF_LINK_CREATE, &mut create)?;
    Ok((program, link))
}

#[test]
fn xdp_program_is_found() -> Outcome {
    in_new_namespace("xdp_program_is_found", || {
        veth()?;
        let mut netlink = Netlink::new();
        let index = netlink.link("zt0")?.index;
        for (flags, mode) in [(1 << 1, XdpMode::Generic), (1 << 2, XdpMode::Native)] {
            let attached = match pass_all(index, flags) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    eprintln!("skipped: only root of the initial user namespace may load an XDP program");
                    return Ok(());
                }
                other => other?,
            };
            let modes: Vec<_> =
                net::interface(&mut netlink, "zt0")?.xdp.iter().map(|program| program.mode).collect();
            assert_eq!(modes, [mode]);
            drop(attached);
            assert!(net::interface(&mut netlink, "zt0")?.xdp.is_empty());
        }
        Ok(())
    })
}

#[test]
fn other_namespace_is_read() -> Outcome {
    in_new_namespace("other_namespace_is_read", || {
        let mut child = Command::new("unshare").args(["--net", "--", "sleep", "30"]).spawn()?;
        let own = net::own_namespace()?;
        let other = (0..100)
            .find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                net::namespaces()
                    .into_iter()
                    .find(|namespace| namespace.pid == Some(child.id()) && namespace.inode != own.inode)
            })
            .ok_or("the child's namespace is not listed")?;
        let (namespace, names) = net::inside(&other.path, || {
            let names = Netlink::new()
                .links()
                .map(|links| links.into_iter().map(|link| link.name).collect::<Vec<_>>());
            (net::own_namespace(), names)
        })?;
        child.kill()?;
        child.wait()?;
        assert_eq!(namespace?.inode, other.inode);
        assert!(names?.contains(&"lo".to_owned()));
        assert_eq!(net::own_namespace()?, own, "looking around did not move the caller");
        Ok(())
    })
}

/// A folder for one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, std::io::Error> {
        let path = std::env::temp_dir().join(format!("zcrxd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// What `ethtool` shows of an interface's channels and features.
fn shown(interface: &str) -> Result<String, Box<dyn Error>> {
    let mut shown = String::new();
    for option in ["-l", "-k"] {
        shown += &String::from_utf8(Command::new("ethtool").args([option, interface]).output()?.stdout)?;
    }
    Ok(shown)
}

/// Prepares zt0 as far as a veth goes: two more queues.
fn grow(folder: &Folder) -> Result<Vec<Step>, Box<dyn Error>> {
    let interface = net::interface(&mut Netlink::new(), "zt0")?;
    let mut store = Store::open(std::slice::from_ref(&folder.0))?;
    let identity = Identity::of(&interface)?;
    let earlier = store.load(&identity)?;
    let wanted = Wanted::new(vec![2], &[])?;
    Ok(net::apply(&mut Nic::new(&interface), &mut store, &identity, earlier.as_ref(), &wanted)?)
}

#[test]
fn real_interface_is_prepared_and_restored() -> Outcome {
    in_new_namespace("real_interface_is_prepared_and_restored", || {
        veth()?;
        run("ethtool -L zt0 rx 1")?;
        let folder = Folder::new("put-back")?;
        let original = shown("zt0")?;
        assert_eq!(grow(&folder)?.len(), 1);
        assert_ne!(shown("zt0")?, original);
        assert!(grow(&folder)?.is_empty(), "it is prepared already");
        // The index identifies an interface that was renamed.
        run("ip link set zt0 down")?;
        run("ip link set zt0 name zt9")?;
        let done = net::put_back(None, Some(&folder.0))?;
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].interface, "zt9");
        assert!(
            matches!(&done[0].outcome, Restored::Restored(restored) if restored.failed.is_empty()),
            "{done:?}"
        );
        run("ip link set zt9 name zt0")?;
        run("ip link set zt0 up")?;
        assert_eq!(shown("zt0")?, original);
        assert!(net::put_back(Some("zt0"), Some(&folder.0))?.is_empty(), "there is nothing left to put back");
        assert!(net::put_back(Some("zt5"), Some(&folder.0)).is_err(), "zt5 never was");
        Ok(())
    })
}

#[test]
fn journals_of_missing_interfaces_are_deleted() -> Outcome {
    in_new_namespace("journals_of_missing_interfaces_are_deleted", || {
        let folder = Folder::new("gone")?;
        let outcome = || -> Result<Vec<Restored>, Box<dyn Error>> {
            Ok(net::put_back(None, Some(&folder.0))?.into_iter().map(|done| done.outcome).collect())
        };
        veth()?;
        run("ethtool -L zt0 rx 1")?;
        grow(&folder)?;
        run("ip link del zt0")?;
        assert_eq!(outcome()?, [Restored::Gone]);
        assert_eq!(outcome()?, []);
        veth()?;
        run("ethtool -L zt0 rx 1")?;
        grow(&folder)?;
        let journal = std::fs::read_dir(&folder.0)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "json"))
            .ok_or("there is no journal")?;
        let text = std::fs::read_to_string(&journal)?;
        std::fs::write(&journal, text.replace(&net::boot_id()?, "another boot"))?;
        assert_eq!(outcome()?, [Restored::Rebooted]);
        std::fs::write(&journal, "{")?;
        let error = outcome().err().ok_or("half a journal is none")?.to_string();
        assert!(error.contains("is no journal of this zcrxd"), "{error}");
        Ok(())
    })
}
