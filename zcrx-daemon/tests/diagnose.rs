//! Episodes of real queues: the software interface queue with real traffic over the loopback interface, and recordings.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zcrx_daemon::diagnose::{Event, Life, Tracker, Watch};
use zcrx_daemon::export::recording::{Limits, Recorder};
use zcrx_daemon::model::{BackendKind, Cause, Confidence, Episode, QueueSample};
use zcrx_daemon::receive::{BackendChoice, QueueConfig, Receiver, SinkConfig};

type Outcome = Result<(), Box<dyn Error>>;

const AREA_BYTES: u64 = 4 << 20;
const CADENCE: Duration = Duration::from_millis(250);

/// A queue on the backend `copy` with this sink, and where it listens.
fn start(sink: SinkConfig, refill_entries: u32) -> Result<(Receiver, SocketAddr), Box<dyn Error>> {
    let receiver = Receiver::start(vec![QueueConfig {
        backend: BackendChoice::Only(BackendKind::Copy),
        area_bytes: AREA_BYTES,
        hold_limit_bytes: Some(AREA_BYTES),
        refill_entries,
        sink,
        ..QueueConfig::new(vec!["127.0.0.1:0".parse()?])
    }])?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(address) = receiver.sample().first().and_then(|queue| queue.listen.first()) {
            let address = address.parse()?;
            return Ok((receiver, address));
        }
        if Instant::now() > deadline {
            return Err("the queue does not listen".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends as fast as it is allowed to, over so many connections, until it is dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    senders: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    fn new(to: SocketAddr, connections: usize) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut senders = Vec::new();
        for _ in 0..connections {
            let mut stream = TcpStream::connect(to)?;
            stream.set_write_timeout(Some(Duration::from_millis(100)))?;
            let stop = Arc::clone(&stop);
            senders.push(thread::spawn(move || {
                let block = [0x5a; 16384];
                while !stop.load(Ordering::Relaxed) {
                    // A full socket is what slow consumers make.
                    let _sent = stream.write(&block).unwrap_or(0);
                }
            }));
        }
        Ok(Self { stop, senders })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.drain(..).for_each(|sender| sender.join().expect("senders do not panic"));
    }
}

/// A destination that reads so many bytes a second.
fn destination(bytes_per_second: Arc<AtomicU64>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let rate = Arc::clone(&bytes_per_second);
            thread::spawn(move || {
                let mut stream = stream;
                let mut block = vec![0; 256 << 10];
                loop {
                    let share = (rate.load(Ordering::Relaxed) / 100).min(block.len() as u64) as usize;
                    if share > 0 && matches!(stream.read(&mut block[..share]), Ok(0) | Err(_)) {
                        return;
                    }
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
    });
    Ok(address)
}

/// Samples for so long and gives what happened.
fn watch(receiver: &Receiver, watch: &mut Watch, time: Duration) -> Vec<Event> {
    watch_and(receiver, watch, time, |_, _, _| {})
}

/// The same, and does something with each sample and its events.
fn watch_and(
    receiver: &Receiver,
    watch: &mut Watch,
    time: Duration,
    mut also: impl FnMut(&Life, &Tracker, &[Event]),
) -> Vec<Event> {
    let begin = Instant::now();
    let mut all = Vec::new();
    while begin.elapsed() < time {
        let changes = watch.feed(receiver.sample().into_iter().map(sample).collect());
        changes.tell(watch, |life, tracker, events| {
            all.extend_from_slice(events);
            also(life, tracker, events);
        });
        thread::sleep(CADENCE);
    }
    all
}

fn sample(local: zcrx_daemon::model::ReceiveSample) -> QueueSample {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    QueueSample { local: Some(Box::new(local.clone())), ..QueueSample::unknown(local.key, 1, now.into()) }
}

fn began(events: &[Event]) -> Result<&Episode, String> {
    match events {
        [Event::Began(episode), ..] => Ok(episode),
        other => Err(format!("no episode but {other:#?}")),
    }
}

#[test]
fn saturated_queues_that_keep_up_have_no_episode() -> Outcome {
    let (receiver, address) = start(SinkConfig::Discard, 1024)?;
    let traffic = Traffic::new(address, 4)?;
    let mut queues = Watch::new(120);
    let events = watch(&receiver, &mut queues, Duration::from_secs(8));
    drop(traffic);
    let last = receiver.stop();
    assert_eq!(events, []);
    assert!(last[0].bytes > 64 << 20, "that was no heavy traffic: {} bytes", last[0].bytes);
    Ok(())
}

#[test]
fn a_destination_that_reads_too_slowly_is_a_slow_consumer_until_it_reads_again() -> Outcome {
    let place = std::env::temp_dir().join(format!("zcrxd-diagnose-{}", std::process::id()));
    let limits = Limits { keep_free_bytes: 0, ..Limits::default() };
    let mut recorder = Recorder::new(place.clone(), limits, "test".to_owned())?;
    let rate = Arc::new(AtomicU64::new(400 << 10));
    let sink = format!("forward:{}", destination(Arc::clone(&rate))?).parse()?;
    let (receiver, address) = start(sink, 1024)?;
    let mut queues = Watch::new(120);
    let mut record = |receiver: &Receiver, seconds| {
        watch_and(receiver, &mut queues, Duration::from_secs(seconds), |life, tracker, events| {
            recorder.record(life, tracker, events).expect("there is room");
        })
    };
    assert_eq!(record(&receiver, 2), []);
    let traffic = Traffic::new(address, 2)?;
    let events = record(&receiver, 6);
    let episode = began(&events)?;
    assert_eq!(episode.cause(), Some(Cause::SlowConsumer), "{episode:#?}");
    let finding = episode.diagnosis.cause().ok_or("no finding")?;
    assert_eq!(finding.confidence, Confidence::High);
    assert!(episode.noticed.saturating_sub(episode.began) <= Duration::from_secs(3), "{episode:#?}");

    rate.store(u64::MAX, Ordering::Relaxed);
    drop(traffic);
    let events = record(&receiver, 12);
    assert!(
        matches!(events.last(), Some(Event::Ended(ended)) if ended.began == episode.began),
        "{events:#?}"
    );
    receiver.stop();

    let file = recorder.last().ok_or("no recording")?;
    let (code, said) = zcrxd(&["diagnose", "--queue", "software:0", "--recording"], file)?;
    std::fs::remove_dir_all(place)?;
    assert_eq!(code, Some(1), "{said}");
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("software:0") && first.contains(": starving for "), "{said}");
    assert!(said.contains("cause: Slow consumer (A), confidence high"), "{said}");
    let last = said.lines().find(|line| line.starts_with("At the end, software:0")).ok_or("no end")?;
    assert!(last.contains("software:0 OK"), "{said}");
    Ok(())
}

/// Runs zcrxd on a recording: its exit code and what it printed.
fn zcrxd(args: &[&str], recording: &Path) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_zcrxd")).args(args).arg(recording).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(said)?))
}

/// Recordings of real queues, named after the cause that must come first: `<cause>-<how it was made>.zcrx.jsonl`.
#[test]
fn recordings_of_real_queues_have_the_cause_in_their_name() -> Outcome {
    let mut recordings = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnose"))? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).ok_or("a name that is no text")?.to_owned();
        let expected = name.split('-').next().ok_or("a name without a cause")?;
        let (code, said) = zcrxd(&["diagnose", "--format", "json", "--recording"], &path)?;
        assert_eq!(code, Some(1), "{name}: {said}");
        let answer: serde_json::Value = serde_json::from_str(&said)?;
        let cause = &answer["queues"][0]["episodes"][0]["diagnosis"]["causes"][0]["cause"];
        assert_eq!(cause, expected, "{name}");
        let (_, replayed) = zcrxd(&["replay"], &path)?;
        // At its begin, or once more was seen.
        let words = [format!(", cause {expected}\n"), format!("cause is rather {expected}\n")];
        assert!(words.iter().any(|words| replayed.contains(words)), "{name}: {replayed}");
        recordings += 1;
    }
    assert!(recordings > 0);
    Ok(())
}

#[test]
fn recordings_of_starved_queues_say_whether_other_sizes_would_have_starved() -> Outcome {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnose/area_too_small-foreign_64_buffers.zcrx.jsonl");
    for (sizes, code, says) in [
        ("area=32", Some(1), "would have starved with an area of 32 buffers (recorded: 64)"),
        ("area=64", Some(1), "it starved with 64 buffers"),
        ("area=4294967295,refill=64", Some(1), "entries may have waited in a refill ring of 64"),
        ("area=4k", Some(2), "area=4k: write a number of buffers from 1"),
        ("cq=64", Some(2), "unknown size 'cq': the sizes are area (in buffers) and refill (in entries)"),
    ] {
        let (exit, said) = zcrxd(&["replay", "--what-if", sizes], Path::new(path))?;
        assert_eq!(exit, code, "{sizes}: {said}");
        assert!(said.contains(says), "{sizes}: {said}");
    }
    let (exit, said) = zcrxd(&["replay", "--what-if", "area=64"], Path::new("/dev/null"))?;
    assert_eq!(exit, Some(2), "{said}");
    Ok(())
}

#[test]
fn missing_queue_of_a_recording_is_an_error_naming_the_others() -> Outcome {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnose/slow_consumer-destination_blocks.zcrx.jsonl");
    let (code, said) = zcrxd(&["diagnose", "--queue", "eth0:3", "--recording"], Path::new(path))?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no queue eth0:3, but software:0"), "{said}");
    let (code, said) = zcrxd(&["replay"], Path::new("/dev/null"))?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("not a recording of zcrxd"), "{said}");
    Ok(())
}

#[test]
fn a_destination_that_reads_nothing_is_a_slow_consumer_too() -> Outcome {
    let sink = format!("forward:{}", destination(Arc::new(AtomicU64::new(0)))?).parse()?;
    let (receiver, address) = start(sink, 1024)?;
    let traffic = Traffic::new(address, 2)?;
    let mut queues = Watch::new(120);
    let events = watch(&receiver, &mut queues, Duration::from_secs(5));
    drop(traffic);
    receiver.stop();
    let episode = began(&events)?;
    assert_eq!(episode.cause(), Some(Cause::SlowConsumer), "{episode:#?}");
    Ok(())
}
