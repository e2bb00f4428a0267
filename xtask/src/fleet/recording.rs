//! Scrapes of a real zcrxd, healthy and while every queue starves, played back with the time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::receiver::Receiver;
use xtask_tools::scrape::Scrape;

/// Time between the two scrapes from which the growth of a counter is computed.
const BETWEEN: Duration = Duration::from_secs(5);

/// How long all queues may take to starve.
const STARVE_LIMIT: Duration = Duration::from_mins(1);

/// Two scrapes of one state: the later one, and what grew since the earlier.
#[derive(Debug)]
pub(super) struct Recording {
    lines: Vec<Line>,
    /// When the later scrape was made.
    taken: Instant,
    /// Number of series.
    pub series: usize,
}

#[derive(Debug)]
enum Line {
    /// A line of metadata.
    Comment(String),
    Series {
        /// The series' name with its labels.
        series: String,
        value: f64,
        /// Growth in a second; 0 for what does not go on with the time.
        growth: f64,
        /// Whether a busier host counts faster: not what counts seconds.
        paced: bool,
    },
    /// A time that follows the clock.
    Clock { series: String, value: f64 },
}

/// The two states of a host.
#[derive(Debug)]
pub(super) struct Recordings {
    pub healthy: Recording,
    pub starving: Recording,
}

impl Recordings {
    /// Starts zcrxd with so many queues, records both states, and ends it.
    pub(super) fn take(queues: usize) -> Result<Self> {
        // No program accepts: the kernel takes what fits into the socket, and no more.
        let stuck = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let to = stuck.local_addr().context("cannot read the address of a listener")?;
        let mut receiver =
            Receiver::start(queues, &format!("hold_limit = \"1MiB\"\nsink = \"forward:{to}\"\n"))?;
        let healthy = Recording::take(&mut receiver)?;
        let senders: Vec<_> = receiver.listens()?.into_iter().map(send).collect::<Result<_>>()?;
        let begun = Instant::now();
        loop {
            let scrape = receiver.scrape()?;
            let starving =
                scrape.all("zcrx_queue_alarm").filter(|series| series.label("alarm") == "starving");
            let starving = starving.count();
            if starving == queues {
                break;
            }
            if begun.elapsed() > STARVE_LIMIT {
                bail!("{starving} of {queues} queues starved in {} s", STARVE_LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(500));
        }
        let starving = Recording::take(&mut receiver)?;
        drop(senders);
        Ok(Self { healthy, starving })
    }
}

/// Connects, and sends until the connection is closed: that is when the process ends.
fn send(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    let mut sender = stream.try_clone().context("cannot share a connection")?;
    thread::spawn(move || while sender.write_all(&[0; 16384]).is_ok() {});
    Ok(stream)
}

impl Recording {
    fn take(receiver: &mut Receiver) -> Result<Self> {
        let (begun, before) = (Instant::now(), receiver.scrape()?);
        thread::sleep(BETWEEN);
        let (elapsed, after) = (begun.elapsed().as_secs_f64(), receiver.scrape()?);
        Self::between(&before, &after, elapsed)
    }

    fn between(before: &Scrape, after: &Scrape, seconds: f64) -> Result<Self> {
        let mut earlier = HashMap::new();
        for line in before.text.lines() {
            if let Some((series, value)) = split(line)? {
                earlier.insert(series, value);
            }
        }
        let mut lines = Vec::new();
        let mut series = 0;
        for line in after.text.lines() {
            let line = match split(line)? {
                None => Line::Comment(line.to_owned()),
                Some((recorded, value)) => {
                    series += 1;
                    let since = earlier.get(recorded).copied().unwrap_or(value);
                    let name = &attached(recorded);
                    let growth = match Pace::of(name) {
                        Pace::Clock if value > since => {
                            lines.push(Line::Clock { series: name.to_owned(), value });
                            continue;
                        }
                        Pace::Counter => (value - since).max(0.0) / seconds,
                        Pace::Clock | Pace::Still => 0.0,
                    };
                    let paced = !name.contains("_seconds");
                    Line::Series { series: name.to_owned(), value, growth, paced }
                }
            };
            lines.push(line);
        }
        Ok(Self { lines, taken: Instant::now(), series })
    }

    /// The scrape of a host that has been in this state for so many seconds. Hosts differ: a busier one counts faster.
    pub(super) fn scrape(&self, host: usize, seconds: f64) -> Vec<u8> {
        self.scrape_at(host, seconds, self.taken.elapsed().as_secs_f64())
    }

    /// The same, so many seconds after the recording.
    fn scrape_at(&self, host: usize, seconds: f64, age: f64) -> Vec<u8> {
        let pace = 1.0 + host as f64 / 1000.0;
        let mut text = String::with_capacity(self.lines.len() * 96);
        for line in &self.lines {
            // Writing to a String cannot fail.
            match line {
                Line::Comment(line) => writeln!(text, "{line}").ok(),
                Line::Clock { series, value } => writeln!(text, "{series} {}", value + age).ok(),
                Line::Series { series, value, growth, paced } => {
                    let pace = if *paced { pace } else { 1.0 };
                    writeln!(text, "{series} {}", value + growth * seconds * pace).ok()
                }
            };
        }
        text.into_bytes()
    }
}

/// The series as a host with every probe has it: the machine that records may refuse probes, which is an alert about that machine
/// and not about the fleet.
fn attached(series: &str) -> String {
    if !series.starts_with("zcrxd_probe_info{") {
        return series.to_owned();
    }
    series
        .replace("state=\"refused\"", "state=\"attached\"")
        .replace("state=\"failed\"", "state=\"attached\"")
}

/// A line's series and value; `None` for a comment.
fn split(line: &str) -> Result<Option<(&str, f64)>> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (series, value) = line.rsplit_once(' ').with_context(|| format!("this is no metric: {line}"))?;
    Ok(Some((series, value.parse().with_context(|| format!("this is no value: {line}"))?)))
}

/// How a series goes on with the time.
enum Pace {
    /// As it did between two scrapes.
    Counter,
    /// With the clock, if it moved at all: when something happened last that happens again and again.
    Clock,
    /// Not at all.
    Still,
}

impl Pace {
    /// By the name of the series.
    fn of(series: &str) -> Self {
        let name = series.split('{').next().unwrap_or_default();
        if name.ends_with("_timestamp_seconds") {
            return Self::Clock;
        }
        let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if counts { Self::Counter } else { Self::Still }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_last_sample_follows_the_clock() -> Result<()> {
        let scrape = |now| Scrape::parse(format!("a_timestamp_seconds {now}\nb_timestamp_seconds 5\n"));
        let recording = Recording::between(&scrape(100)?, &scrape(109)?, 10.0)?;
        let text = String::from_utf8(recording.scrape_at(7, 1.0, 600.0))?;
        assert_eq!(text, "a_timestamp_seconds 709\nb_timestamp_seconds 5\n");
        Ok(())
    }

    #[test]
    fn refused_probes_are_played_back_as_attached() -> Result<()> {
        let scrape = || {
            Scrape::parse(
                "zcrxd_probe_info{probe=\"copy\",state=\"refused\"} 1\nzcrxd_probe_info{probe=\"control\",state=\"not_in_kernel\"} 1\n\
                 zcrxd_other{state=\"failed\"} 1\n"
                    .to_owned(),
            )
        };
        let recording = Recording::between(&scrape()?, &scrape()?, 10.0)?;
        let text = String::from_utf8(recording.scrape_at(7, 1.0, 0.0))?;
        assert_eq!(
            text,
            "zcrxd_probe_info{probe=\"copy\",state=\"attached\"} 1\n\
             zcrxd_probe_info{probe=\"control\",state=\"not_in_kernel\"} 1\nzcrxd_other{state=\"failed\"} 1\n"
        );
        Ok(())
    }

    #[test]
    fn counters_go_on_and_gauges_stay() -> Result<()> {
        let scrape = |total, gauge| {
            Scrape::parse(format!("# TYPE a counter\na_total{{x=\"1 2\"}} {total}\nb {gauge}\n"))
        };
        let recording = Recording::between(&scrape(10, 7)?, &scrape(30, 8)?, 5.0)?;
        assert_eq!(recording.series, 2);
        let text = String::from_utf8(recording.scrape(0, 10.0))?;
        assert_eq!(text, "# TYPE a counter\na_total{x=\"1 2\"} 70\nb 8\n");
        Ok(())
    }
}
