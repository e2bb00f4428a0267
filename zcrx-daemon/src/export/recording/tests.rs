//! Recordings on a real disk, of the queue model.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::diagnose::queue_model::Queue;
use crate::diagnose::{Event, Life, Tracker, Watch};
use crate::model::{Cause, QueueSample};

type Outcome = Result<(), Box<dyn Error>>;

/// A directory that goes when the test ends.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zcrxd-recording-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        Self(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn roomy() -> Limits {
    Limits { keep_free_bytes: 0, ..Limits::default() }
}

fn recorder_in(place: &Path, limits: Limits) -> Result<Recorder, RecordError> {
    Recorder::new(place.to_owned(), limits, "7.3.4".to_owned())
}

fn feed(watch: &mut Watch, sample: QueueSample, tell: impl FnMut(&Life, &Tracker, &[Event])) {
    watch.feed(vec![sample]).tell(watch, tell);
}

/// Watches and records a queue for so many seconds; the answer is what happened.
fn record(recorder: &mut Recorder, watch: &mut Watch, queue: &mut Queue, seconds: u64) -> Vec<Event> {
    let mut all = Vec::new();
    queue.run_with(seconds, |sample| {
        feed(watch, sample, |life, tracker, events| {
            all.extend_from_slice(events);
            recorder.record(life, tracker, events).expect("there is room");
        });
    });
    all
}

fn slow() -> Queue {
    Queue { returns_per_second: 2_000.0, ..Queue::default() }
}

#[test]
fn a_recording_holds_the_time_before_the_episode_and_all_of_it() -> Outcome {
    let place = Place::new("whole");
    let mut recorder = recorder_in(&place.0, roomy())?;
    let mut watch = Watch::new(120);
    let mut queue = Queue::default();
    record(&mut recorder, &mut watch, &mut queue, 10);
    assert_eq!(place.files(), Vec::<PathBuf>::new());
    queue.returns_per_second = 2_000.0;
    record(&mut recorder, &mut watch, &mut queue, 5);
    queue.returns_per_second = 1e7;
    record(&mut recorder, &mut watch, &mut queue, 10);

    let files = place.files();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(Some(file), recorder.last());
    let recording = Recording::read(file)?;
    assert!(!recording.torn);
    assert_eq!(recording.header.kernel, "7.3.4");
    assert_eq!(recording.header.window, 120);
    let times: Vec<_> = recording.samples().map(|sample| sample.at).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "each sample once: {times:?}");
    let began = recording.entries.iter().position(|entry| matches!(entry, Entry::Began(_)));
    let began = began.ok_or("no begin")?;
    assert!(began >= 20, "ten seconds of samples before the episode, {began}");
    assert!(matches!(recording.entries.last(), Some(Entry::Ended(_))));
    Ok(())
}

#[test]
fn a_replay_gives_the_verdict_of_the_live_queue() -> Outcome {
    let place = Place::new("replay");
    let mut recorder = recorder_in(&place.0, roomy())?;
    let mut watch = Watch::new(120);
    let mut queue = Queue::default();
    record(&mut recorder, &mut watch, &mut queue, 10);
    queue.leak = 1.0;
    let live = record(&mut recorder, &mut watch, &mut queue, 5);

    let recording = Recording::read(recorder.last().ok_or("no recording")?)?;
    let mut replayed = Vec::new();
    let mut watch = Watch::new(recording.header.window);
    for sample in recording.samples() {
        feed(&mut watch, sample.clone(), |_, _, events| replayed.extend_from_slice(events));
    }
    assert!(!live.is_empty());
    assert_eq!(replayed, live);
    Ok(())
}

#[test]
fn a_torn_last_line_is_left_out_and_told() -> Outcome {
    let place = Place::new("torn");
    let mut recorder = recorder_in(&place.0, roomy())?;
    record(&mut recorder, &mut Watch::new(60), &mut slow(), 6);
    let file = recorder.last().ok_or("no recording")?;
    let whole = Recording::read(file)?;
    let text = fs::read(file)?;
    fs::write(file, &text[..text.len() - 10])?;
    let torn = Recording::read(file)?;
    assert!(torn.torn && !whole.torn);
    assert_eq!(torn.entries, whole.entries[..whole.entries.len() - 1]);
    Ok(())
}

#[test]
fn what_cannot_be_read_says_why() -> Outcome {
    let place = Place::new("unreadable");
    let mut recorder = recorder_in(&place.0, roomy())?;
    record(&mut recorder, &mut Watch::new(60), &mut slow(), 6);
    let text = fs::read_to_string(recorder.last().ok_or("no recording")?)?;
    let other = place.0.join("other");
    let refused = |text: String| -> Result<String, Box<dyn Error>> {
        fs::write(&other, text)?;
        Ok(Recording::read(&other).err().ok_or("it was read")?.to_string())
    };
    let later = refused(text.replacen("\"version\":1", "\"version\":2", 1))?;
    assert!(later.contains("format version 2") && later.contains("reads version 1 only"), "{later}");
    let damaged = refused(text.replacen("{\"sample\"", "{\"simple\"", 1))?;
    assert!(damaged.contains(":2: damaged: unknown variant `simple`"), "{damaged}");
    for no_recording in ["", "hello\n", "{}\n", "[1]\n"] {
        let said = refused(no_recording.to_owned())?;
        assert!(said.contains("not a recording of zcrxd"), "{said}");
    }
    let gone = Recording::read(&place.0.join("none")).err().ok_or("it was read")?.to_string();
    assert!(gone.contains("cannot read the recording: No such file"), "{gone}");
    Ok(())
}

#[test]
fn the_directory_keeps_its_bound_by_removing_the_oldest() -> Outcome {
    let place = Place::new("bound");
    let limits = Limits { total_bytes: 400_000, file_bytes: 100_000, keep_free_bytes: 0 };
    let mut recorder = recorder_in(&place.0, limits)?;
    fs::write(place.0.join("somebody-elses"), "stays")?;
    let mut written = Vec::new();
    for _ in 0..12 {
        // Long enough for more samples than fit.
        record(&mut recorder, &mut Watch::new(60), &mut slow(), 60);
        let open = std::mem::replace(&mut recorder, recorder_in(&place.0, limits)?);
        written.extend(open.last().cloned());
        let sizes: Vec<_> =
            place.files().iter().map(|file| Ok(fs::metadata(file)?.len())).collect::<std::io::Result<_>>()?;
        assert!(sizes.iter().sum::<u64>() <= 401_000, "{sizes:?}");
    }
    assert_eq!(written.len(), 12);
    assert!(!written[0].exists() && written[11].exists() && place.0.join("somebody-elses").exists());
    let full = Recording::read(&written[11])?;
    assert!(full.entries.contains(&Entry::Full), "the largest size was reached");
    Ok(())
}

#[test]
fn a_disk_that_is_almost_full_is_left_alone() -> Outcome {
    let place = Place::new("disk");
    let limits = Limits { keep_free_bytes: u64::MAX / 2, ..Limits::default() };
    let mut recorder = recorder_in(&place.0, limits)?;
    let mut watch = Watch::new(60);
    let mut said = Vec::new();
    slow().run_with(6, |sample| {
        feed(&mut watch, sample, |life, tracker, events| {
            said.extend(recorder.record(life, tracker, events).err().map(|error| error.to_string()));
        });
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("are kept free"), "{said:?}");
    assert_eq!(place.files(), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_made_says_so() {
    let error = recorder_in(Path::new("/proc/no-such-place"), roomy()).err().map(|error| error.to_string());
    assert!(
        error.is_some_and(|error| error.starts_with("/proc/no-such-place: cannot keep recordings there"))
    );
}

#[test]
fn names_of_queues_make_file_names() {
    assert_eq!(directory::file_name_part("../../etc"), "_.._etc");
    assert_eq!(directory::file_name_part("eth0.100-3"), "eth0.100-3");
}

/// What the process to be killed does; nothing when run as a test of its own.
#[test]
fn killed_while_recording() -> Outcome {
    let Some(place) = std::env::var_os("ZCRXD_TEST_RECORD_UNTIL_KILLED") else { return Ok(()) };
    let mut recorder = recorder_in(Path::new(&place), roomy())?;
    let mut watch = Watch::new(60);
    let mut queue = slow();
    loop {
        let events = record(&mut recorder, &mut watch, &mut queue, 1);
        if !events.is_empty() {
            println!("an episode has begun");
            std::io::stdout().flush()?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_kill_during_the_episode_leaves_the_recording() -> Outcome {
    let place = Place::new("kill");
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "export::recording::tests::killed_while_recording", "--nocapture"])
        .env("ZCRXD_TEST_RECORD_UNTIL_KILLED", &place.0)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = std::io::BufReader::new(child.stdout.take().ok_or("no standard output")?);
    let mut line = String::new();
    while !line.contains("an episode has begun") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line)? > 0, "it ended by itself");
    }
    std::thread::sleep(Duration::from_millis(20));
    child.kill()?;
    assert_eq!(child.wait()?.signal(), Some(9));

    let files = place.files();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let recording = Recording::read(file)?;
    let mut replayed = Vec::new();
    let mut watch = Watch::new(recording.header.window);
    for sample in recording.samples() {
        feed(&mut watch, sample.clone(), |_, _, events| replayed.extend_from_slice(events));
    }
    let Some(Event::Began(episode)) = replayed.first() else { panic!("{replayed:#?}") };
    assert_eq!(episode.cause(), Some(Cause::SlowConsumer));
    Ok(())
}
