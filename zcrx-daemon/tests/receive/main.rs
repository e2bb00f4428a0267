//! The receive path, backend by backend.

mod copy;
mod delivery;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use zcrx_daemon::model::{BackendKind, QueueState, ReceiveSample};
use zcrx_daemon::receive::{QueueConfig, ReceiveError, Receiver};

type Outcome = Result<(), Box<dyn Error>>;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts one queue. What it logs is shown if the test fails.
fn start(config: QueueConfig) -> Result<Receiver, ReceiveError> {
    // All but the first test find it done.
    let _done = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
    Receiver::start(vec![config])
}

fn sample(receiver: &Receiver) -> ReceiveSample {
    receiver.sample().into_iter().next().expect("one queue was started")
}

fn address(receiver: &Receiver) -> Result<SocketAddr, Box<dyn Error>> {
    Ok(sample(receiver).listen.first().ok_or("no listener")?.parse()?)
}

/// Samples until the condition holds.
fn wait_for(
    receiver: &Receiver,
    what: &str,
    is_so: impl Fn(&ReceiveSample) -> bool,
) -> Result<ReceiveSample, Box<dyn Error>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let sample = sample(receiver);
        if is_so(&sample) {
            return Ok(sample);
        }
        if Instant::now() > end {
            return Err(format!("not within {PATIENCE:?}: {what}; {sample:#?}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What must hold of every queue that has been stopped.
fn assert_accounted(sample: &ReceiveSample) {
    assert_eq!(sample.state, QueueState::Stopped);
    // Stashed buffers are returned; without a consumer the refill ring had no room for them.
    assert_eq!(sample.held(), sample.stashed, "buffers are missing: {sample:#?}");
    assert_eq!(sample.connections, 0, "{sample:#?}");
    assert_eq!(sample.completions, sample.dispensed, "{sample:#?}");
    if sample.selection.backend != Some(BackendKind::Device) {
        assert_eq!(sample.copied_bytes, Some(sample.bytes), "{sample:#?}");
    }
}

fn stop(receiver: &Receiver) -> ReceiveSample {
    let begin = Instant::now();
    let sample = receiver.stop().into_iter().next().expect("one queue was started");
    println!("stopped in {:?}", begin.elapsed());
    assert_accounted(&sample);
    sample
}
