//! Log lines to standard error, or with all fields to systemd's journal. Logging never blocks a thread: see `queue`.

mod fields;
mod journal;
mod limit;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use self::fields::TextFields;
use self::journal::JournalLayer;
use self::limit::{Limit, Limiter};
use self::queue::{Destination, LineQueue};
use crate::config::{Log, LogFormat};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The log of this process while it runs.
pub(super) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    limit: Arc<Limit>,
    queue: LineQueue,
    /// Number of dropped lines that the log has reported.
    reported: AtomicU64,
}

impl Logging {
    /// Installs the log of this process, for `tracing` and for `log`, which aya and the eBPF programs use.
    ///
    /// `RUST_LOG` overrides the configuration.
    pub(super) fn install(log: &Log) -> Result<Self, Failure> {
        let filter = filter(&log.level)?;
        let level = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
        let (filter, handle) = reload::Layer::new(filter);
        let limit = Arc::new(Limit::default());
        let format =
            log.format.unwrap_or(if stderr_is_journal() { LogFormat::Journal } else { LogFormat::Text });
        let (format, destination, without_journal) = match (format, destination(format)) {
            (format, Ok(destination)) => (format, destination, None),
            (_, Err(error)) => (LogFormat::Text, Destination::Stderr, Some(error)),
        };
        let queue = LineQueue::start(destination)?;
        let output = output(format, &queue);
        let limiter = Limiter(Arc::clone(&limit));
        let subscriber = tracing_subscriber::registry().with(filter).with(limiter).with(output);
        tracing::subscriber::set_global_default(subscriber)?;
        // Lines below the level are not even formatted.
        tracing_log::LogTracer::builder().with_max_level(log_level(level)).init()?;
        log_panics();
        if let Some(error) = without_journal {
            tracing::warn!(%error, "cannot write to the journal; logging to standard error instead");
        }
        Ok(Self { filter: handle, limit, queue, reported: AtomicU64::new(0) })
    }

    /// Changes the level. `RUST_LOG` overrides it here too.
    pub(super) fn set_level(&self, level: &str) {
        let set = filter(level).and_then(|filter| {
            let level = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
            self.filter.reload(filter)?;
            tracing_log::log::set_max_level(log_level(level));
            Ok(())
        });
        if let Err(error) = set {
            tracing::error!(%error, "cannot change the log level; the old one stays in use");
        }
    }

    /// Number of lines suppressed since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.limit.suppressed()
    }

    /// Number of lines dropped since the start because the log's reader did not keep up.
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Logs how many lines were suppressed or dropped recently.
    pub(super) fn report_missing_lines(&self) {
        for (statement, lines) in self.limit.take() {
            tracing::warn!("suppressed {lines} more lines from {statement}");
        }
        let dropped = self.dropped();
        let reported = self.reported.swap(dropped, Ordering::Relaxed);
        if dropped > reported {
            let lines = dropped - reported;
            tracing::warn!("dropped {lines} log lines: the reader of the log does not keep up");
        }
    }

    /// Writes what is queued, at most as long as `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        self.queue.flush(limit);
    }
}

/// Sends the message of a panic through the log: the default hook would block on a standard error that is never read.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!("{panic}\n{backtrace}");
        } else {
            tracing::error!("{panic}");
        }
    }));
}

fn filter(level: &str) -> Result<EnvFilter, Failure> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => Ok(builder.parse(directives)?),
        _ => Ok(builder.parse(level)?),
    }
}

/// Where lines of this format go.
fn destination(format: LogFormat) -> io::Result<Destination> {
    match format {
        LogFormat::Text | LogFormat::Json => Ok(Destination::Stderr),
        LogFormat::Journal => journal::connect().map(Destination::Journal),
    }
}

fn output<S>(format: LogFormat, queue: &LineQueue) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = || {
        tracing_subscriber::fmt::layer()
            .with_writer(queue.clone())
            .with_ansi(stderr().is_terminal())
            .with_target(false)
    };
    match format {
        LogFormat::Text => lines().fmt_fields(TextFields).boxed(),
        LogFormat::Json => lines().json().flatten_event(true).boxed(),
        LogFormat::Journal => JournalLayer(queue.clone()).boxed(),
    }
}

/// Whether standard error is the journal, whose socket systemd names in `JOURNAL_STREAM`.
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    std::fs::metadata("/dev/fd/2").is_ok_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}

fn log_level(level: LevelFilter) -> tracing_log::log::LevelFilter {
    use tracing_log::AsLog;
    level.as_log()
}
