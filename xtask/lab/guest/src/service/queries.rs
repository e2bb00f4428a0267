//! Every query of every panel and rule, asked of Prometheus in two states of the service: while a queue starves, and
//! when all is well again.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::monitoring::PROMETHEUS;
use crate::harness::metrics::get;
use crate::harness::{artefacts, facts, work};

/// Limit for queries that have no data yet.
const DATA_LIMIT: Duration = Duration::from_mins(2);

/// A query of a panel or rule, as `cargo xtask monitoring queries` lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    file: String,
    place: String,
    query: String,
    /// Why a series that it reads may be absent.
    absent_when: Vec<String>,
}

impl Listed {
    fn name(&self) -> String {
        format!("{}: {}", self.file, self.place)
    }
}

/// Recorded series that exist while a queue starves. Their rules run after the alert's, on a busy machine some seconds after it.
const RECORDED_WHILE_STARVING: [&str; 3] = [
    "instance_alarm:zcrx_queue_alarm:sum",
    "instance_cause:zcrx_queue_cause_contribution_ratio:count",
    "instance:zcrx_queue_time_to_starvation_seconds:min",
];

/// Limit for these.
const RECORDED_LIMIT: Duration = Duration::from_mins(1);

/// Runs every query and keeps the number of series of each answer for [`judge`].
pub(super) fn ask_while_starving() -> Result<()> {
    let deadline = Instant::now() + RECORDED_LIMIT;
    for name in RECORDED_WHILE_STARVING {
        while series(name)? == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let counts = listed()?.iter().map(|listed| series(&listed.query)).collect::<Result<Vec<_>>>()?;
    let text = serde_json::to_string(&counts).context("cannot write the answers")?;
    fs::write(kept(), text).context("cannot keep the answers")
}

/// Asks everything again: each has data now or had while the queue starved, or there is a reason; and each reason is
/// needed.
pub(super) fn judge() -> Result<()> {
    let before = fs::read_to_string(kept()).context("nothing was asked while a queue starved")?;
    let before: Vec<usize> = serde_json::from_str(&before).context("the answers cannot be read")?;
    let reasons = fs::read_to_string("/lab/may-be-empty.json").context("cannot read the reasons")?;
    let reasons: Vec<(String, String)> = serde_json::from_str(&reasons).context("no list of reasons")?;
    let listed = listed()?;
    ensure!(!listed.is_empty() && listed.len() == before.len(), "there are {} queries", listed.len());
    let (mut with_data, mut problems, mut report) = (0, Vec::new(), Vec::new());
    let excused = |listed: &Listed| {
        !listed.absent_when.is_empty()
            || reasons.iter().any(|(part, _)| listed.name().contains(part.as_str()))
    };
    // What ended a moment ago goes through a scrape and two rules until a panel has it.
    let deadline = Instant::now() + DATA_LIMIT;
    let now = loop {
        let now = listed.iter().map(|listed| series(&listed.query)).collect::<Result<Vec<_>>>()?;
        let mut states = listed.iter().zip(before.iter().zip(&now));
        let waits = states.any(|(listed, (before, now))| before + now == 0 && !excused(listed));
        if !waits || Instant::now() > deadline {
            break now;
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    let mut needless: Vec<_> = reasons.iter().map(|(part, _)| part.as_str()).collect();
    for (listed, (before, now)) in listed.iter().zip(before.into_iter().zip(now)) {
        let name = listed.name();
        let reason = reasons.iter().find(|(part, _)| name.contains(part.as_str()));
        let verdict = if before + now > 0 {
            with_data += 1;
            ""
        } else if let Some((part, _)) = reason {
            needless.retain(|other| other != part);
            ", as it may be here"
        } else if listed.absent_when.is_empty() {
            problems.push(name.clone());
            ", WITHOUT REASON"
        } else {
            ", as its series may be absent"
        };
        report.push(format!("{name}: {before} series while starving, {now} after it{verdict}"));
    }
    fs::write(artefacts().join("queries.txt"), report.join("\n")).context("cannot keep the report")?;
    facts::add("queries answered", &format!("{}, {with_data} of them with data", listed.len()))?;
    ensure!(
        problems.is_empty(),
        "{} of {} queries have no data: {}",
        problems.len(),
        listed.len(),
        problems.join("; ")
    );
    ensure!(needless.is_empty(), "these have data, and need no reason: {}", needless.join("; "));
    Ok(())
}

fn listed() -> Result<Vec<Listed>> {
    let listed = fs::read_to_string("/lab/queries.jsonl").context("cannot read the list of queries")?;
    let listed = listed.lines().map(|line| serde_json::from_str(line).context("a line is no query"));
    listed.collect()
}

fn kept() -> std::path::PathBuf {
    work().join("series-while-starving.json")
}

/// Returns the number of series in Prometheus' answer.
pub(super) fn series(expression: &str) -> Result<usize> {
    let encoded = expression.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
    let (_, body) = get(PROMETHEUS, &format!("/api/v1/query?query={encoded}"))?;
    // An answer that is sent in pieces has their lengths between them; none of these contains a brace.
    let json = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]);
    let answer: Value = serde_json::from_str(&unchunked(json.unwrap_or_default()))
        .with_context(|| format!("Prometheus answers {body:?}"))?;
    if answer["status"] != "success" {
        bail!("{}", answer["error"]);
    }
    Ok(match &answer["data"]["result"] {
        Value::Array(series) => series.len(),
        _ => 0,
    })
}

/// Lengths of pieces stand on lines of their own, and compact JSON has no line of its own.
fn unchunked(json: &str) -> String {
    let mut pieces = json.split("\r\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces
        .filter(|piece| !piece.chars().all(|digit| digit.is_ascii_hexdigit()))
        .fold(first, |whole, piece| whole + piece)
}
