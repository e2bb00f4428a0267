//! The daemon's web endpoint, read as Prometheus would read it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer may take.
const IO_LIMIT: Duration = Duration::from_secs(5);

/// The body of an answer with status 200.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let what = || format!("cannot read http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, IO_LIMIT).with_context(what)?;
    stream.set_read_timeout(Some(IO_LIMIT)).with_context(what)?;
    // HTTP/1.0: the body is plain and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").with_context(what)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(what)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(what)?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("http://{address}{path} answers {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

/// All series of one scrape.
#[derive(Debug)]
pub struct Scrape {
    /// What was read, as it was read.
    pub text: String,
    series: Vec<Series>,
}

/// One series.
#[derive(Debug, PartialEq)]
pub struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Series {
    /// Names of its labels.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(String::as_str)
    }

    /// Its value.
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// The value of a label; empty if it is not there, which is the same thing to Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Scrape {
    /// Scrapes `/metrics`.
    pub fn fetch(address: SocketAddr) -> Result<Self> {
        Self::parse(get(address, "/metrics")?)
    }

    /// Takes apart what was scraped.
    pub fn parse(text: String) -> Result<Self> {
        let lines = text.lines().filter(|line| !(line.is_empty() || line.starts_with('#')));
        let series = lines
            .map(|line| series(line).with_context(|| format!("this is no metric: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { text, series })
    }

    /// Every series, by the metric's name.
    pub fn series(&self) -> impl Iterator<Item = (&str, &Series)> {
        self.series.iter().map(|series| (series.name.as_str(), series))
    }

    /// Every series of a metric.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| series.name == name)
    }

    /// The value of a receive queue's metric that counts whole things and has no other label than the queue's.
    pub fn queue(&self, queue: u32, name: &str) -> Option<u64> {
        let queue = queue.to_string();
        self.all(name).find(|series| series.label("queue") == queue).map(|series| series.value as u64)
    }
}

fn series(line: &str) -> Option<Series> {
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((label, after)) = rest.split_once("=\"").filter(|_| !rest.starts_with('}')) {
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, and what comes after that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped => escaped,
            }),
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_and_without_labels() -> Result<()> {
        let text = "# HELP a It.\n# TYPE a gauge\na 1\nb{queue=\"0\",comm=\"x{\\\"},\\\\\\n\"} 25\nb{queue=\"1\"} 3e6\n";
        let scrape = Scrape::parse(text.to_owned())?;
        assert_eq!(scrape.all("a").count(), 1);
        assert_eq!(scrape.queue(0, "b"), Some(25));
        assert_eq!(scrape.queue(1, "b"), Some(3_000_000));
        assert_eq!(scrape.queue(2, "b"), None);
        let comm = scrape.all("b").next().map(|series| series.label("comm").to_owned());
        assert_eq!(comm.as_deref(), Some("x{\"},\\\n"));
        Ok(())
    }

    #[test]
    fn what_is_no_metric_is_an_error() {
        assert!(Scrape::parse("<html>".to_owned()).is_err());
        assert!(Scrape::parse("a{b=\"c} 1".to_owned()).is_err());
    }
}
