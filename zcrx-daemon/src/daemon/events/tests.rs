use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::diagnose::troubled;
use crate::model::{Attempt, Mechanism, Obstacle};
use crate::observe::fixture::full;

const DOCUMENT: &str = include_str!("../../../../docs/logging.md");

/// What every line of JSON has.
const EVERY_LINE: [&str; 4] = ["timestamp", "level", "message", "event"];

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rows of the document: id, then level and fields.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let words =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let id = words(cells[1]).remove(0);
        (id, (cells[2].to_owned(), words(cells[3]).into_iter().collect()))
    })
    .collect()
}

fn log_everything() {
    let observation = full();
    ready();
    stopping("SIGTERM");
    restarting();
    connections_left(200);
    connections_not_left(200, &io::ErrorKind::TimedOut.into());
    connections_taken_over(200);
    connections_not_taken_over(200, &io::ErrorKind::UnexpectedEof.into());
    counts_go_on(1);
    counts_begin_at_zero("another version left them");
    web_listens("http://127.0.0.1:9965/");
    let mut queue = observation.host.receive[0].clone();
    queue_receives(&queue);
    queue.state = QueueState::Failed;
    queue_state_changed(QueueState::Running, &queue);
    let episode = troubled().queues.into_iter().find_map(|report| report.episode).expect("an episode");
    episode_began(&episode);
    episode_reconsidered(&episode);
    episode_ended(&episode);
    episode_recorded(&episode.key, Path::new("/var/lib/zcrxd/eth0-3.zcrx.jsonl"));
    let mut refused =
        observation.host.probe.recent_registrations.iter().find(|one| one.errno != 0).cloned().expect("one");
    refused.interface = Some("eth0".to_owned());
    refused.queue = Some(3);
    registration_refused(&refused, 2);
    let mut status = observation.host.probe.probes[0].clone();
    status.asked = true;
    status.attached = Some((Mechanism::Iterator, "task".to_owned()));
    probe(&status);
    status.attached = None;
    for obstacle in [Obstacle::Refused, Obstacle::NotInKernel] {
        let attempt = Attempt {
            mechanism: Mechanism::Iterator,
            target: "task".into(),
            error: "EPERM".into(),
            obstacle,
        };
        probe(&ProbeStatus { refused: vec![attempt], ..status.clone() });
    }
    no_probe("EPERM");
    configuration_applied(1, 2, 3);
    configuration_refused("line 3: no such key");
    thread_silent("rx-eth0:3");
    thread_answers("rx-eth0:3");
}

#[test]
fn every_event_is_documented_with_level_and_fields() {
    let lines = Lines::default();
    let writer = lines.clone();
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
    let subscriber = tracing_subscriber::registry().with(json.with_writer(move || writer.clone()));
    tracing::subscriber::with_default(subscriber, log_everything);
    let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8");
    let mut found = BTreeSet::new();
    let documented = documented();
    for line in text.lines() {
        let line: BTreeMap<String, Value> = serde_json::from_str(line).expect("an object");
        let Some(Value::String(id)) = line.get("event") else { continue };
        let (level, fields) = documented.get(id).unwrap_or_else(|| panic!("{id} is not documented"));
        let has: BTreeSet<_> =
            line.keys().filter(|key| !EVERY_LINE.contains(&key.as_str())).cloned().collect();
        assert_eq!(&has, fields, "{id}");
        let logged = line["level"].as_str().unwrap_or_default().to_lowercase();
        assert!(level.contains(&logged), "{id}: {logged}");
        found.insert(id.clone());
    }
    let unlogged: Vec<_> = documented.keys().filter(|id| !found.contains(*id)).collect();
    assert!(unlogged.is_empty(), "documented, and never logged here: {unlogged:?}");
}

#[test]
fn no_event_is_missing_in_this_test() {
    let source = include_str!("../events.rs");
    let ids: BTreeSet<_> =
        source.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let documented = documented();
    assert_eq!(ids, documented.keys().map(String::as_str).collect());
}
