//! What the eBPF programs log arrives where the daemon's own log lines go.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_log::{LogTracer, log};
use tracing_subscriber::fmt::MakeWriter;
use zcrx_daemon::{kernel::Kernel, probe::Probes};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn refused_registration_becomes_a_log_line() -> Result<(), Box<dyn std::error::Error>> {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(kept.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber)?;
    LogTracer::builder().with_max_level(log::LevelFilter::Debug).init()?;

    let probes = Probes::attach(&Kernel::inspect());
    let sample = probes.sample();
    if sample.registrations.is_none() {
        println!("skipped: no registration probe here: {:?}", sample.probes[0].refused);
        return Ok(());
    }
    // A ring without the flags that zcrx demands, asking for a queue: refused.
    let mut params = [0_u8; 120];
    let mut ifq_reg = [0_u32; 24];
    // SAFETY: both structures have the sizes of the kernel's and outlive the calls; the ring is closed once.
    let (ring, result) = unsafe {
        let ring = libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr());
        let result = libc::syscall(libc::SYS_io_uring_register, ring, 32, ifq_reg.as_mut_ptr(), 1);
        libc::close(ring as i32);
        (ring, result)
    };
    assert!(ring >= 0 && result < 0);
    drop(probes.sample());

    let lines = String::from_utf8(kept.0.lock().expect("no writer panics").clone())?;
    let expected = format!("zcrx registration by pid {} refused: errno", std::process::id());
    let line = lines.lines().find(|line| line.contains(&expected));
    assert!(line.is_some_and(|line| line.contains("DEBUG")), "not in:\n{lines}");
    Ok(())
}
