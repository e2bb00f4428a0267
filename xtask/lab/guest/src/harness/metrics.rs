//! Scrapes of the daemon's metrics.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest time of a scrape without progress. An emulated machine with hundreds of busy threads takes more than Prometheus' 10 s.
const SCRAPE_LIMIT: Duration = Duration::from_mins(1);

/// Requests a page over HTTP from the current network namespace. Returns status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, SCRAPE_LIMIT)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(SCRAPE_LIMIT)).context("cannot limit a read")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        .with_context(|| format!("cannot ask for {path}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("cannot read {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no body")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no HTTP answer: {head}"))?, body.to_owned()))
}

/// One scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// As it was sent.
    pub text: String,
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value; a label that is not there is empty, as Prometheus has it.
    pub(crate) fn label(&self, label: &str) -> &str {
        self.labels.get(label).map_or("", String::as_str)
    }

    /// Its value, of something that is counted in whole things.
    pub(crate) fn count(&self) -> u64 {
        self.value as u64
    }

    /// Whether a label has this value.
    pub(crate) fn has(&self, label: &str, value: &str) -> bool {
        self.label(label) == value
    }
}

/// The metrics that are exported on request only and that scenarios read.
const ON_REQUEST: &str = "/metrics?name[]=zcrxd_probe_map_entries&name[]=zcrxd_probe_map_memory_bytes";

impl Metrics {
    /// All samples.
    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Asks for them, from the current network namespace.
    pub(crate) fn scrape(address: SocketAddr) -> Result<Self> {
        let mut text = String::new();
        for path in ["/metrics", ON_REQUEST] {
            let (status, body) = get(address, path)?;
            if status != 200 {
                bail!("{path} answers {status}");
            }
            text += &body;
        }
        Self::parse(&text)
    }

    /// Reads the text format.
    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !(line.is_empty() || line.starts_with('#')));
        let samples: Result<_> =
            lines.map(|line| sample(line).with_context(|| format!("no sample: {line}"))).collect();
        Ok(Self { text: text.to_owned(), samples: samples? })
    }

    /// Samples of one metric.
    pub(crate) fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of a metric over its labels; absent if there is no sample, because unknown is not zero.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.of(name).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// Like [`Metrics::sum`], for a metric that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<f64> {
        self.sum(name).with_context(|| format!("the metric {name} is absent"))
    }

    /// Like [`Metrics::need`], for a metric that counts whole things.
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        self.need(name).map(|value| value as u64)
    }

    /// The one sample of a metric that has all of these labels.
    pub(crate) fn one(&self, name: &str, labels: &[(&str, &str)]) -> Result<&Sample> {
        let fits = |sample: &&Sample| labels.iter().all(|(label, value)| sample.has(label, value));
        let mut found = self.of(name).filter(fits);
        let one = found.next().with_context(|| format!("the metric {name} is absent for {labels:?}"))?;
        if found.next().is_some() {
            bail!("there are several {name} for {labels:?}");
        }
        Ok(one)
    }

    /// The label of the first sample of a metric.
    pub(crate) fn label(&self, name: &str, label: &str) -> Option<&str> {
        self.of(name).next()?.labels.get(label).map(String::as_str)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, rest) = match line.split_once('{') {
        Some((name, rest)) => (name, Some(rest)),
        None => (line, None),
    };
    let Some(mut rest) = rest else {
        let (name, value) = head.split_once(' ')?;
        return Some(Sample {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            value: value.trim().parse().ok()?,
        });
    };
    let mut labels = BTreeMap::new();
    while !rest.starts_with('}') {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(label.trim_start_matches(',').to_owned(), value);
        rest = after;
    }
    Some(Sample { name: head.to_owned(), labels, value: rest.trim_start_matches('}').trim().parse().ok()? })
}

/// A label's value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_anything() -> Result<()> {
        let text = "# TYPE a counter\na{q=\"0\",why=\"a \\\"b\\\", {c}=\"} 2\na{q=\"1\"} 3\nb 1.5\n";
        let metrics = Metrics::parse(text)?;
        assert_eq!(metrics.sum("a"), Some(5.0));
        assert_eq!(metrics.label("a", "why"), Some("a \"b\", {c}="));
        assert_eq!(metrics.sum("b"), Some(1.5));
        assert_eq!(metrics.sum("c"), None);
        assert_eq!(metrics.one("a", &[("q", "1"), ("why", "")])?.count(), 3);
        assert!(metrics.one("a", &[]).is_err(), "there are two");
        Ok(())
    }
}
