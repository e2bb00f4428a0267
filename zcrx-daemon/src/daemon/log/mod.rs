//! Log lines to standard error, or with all fields to systemd's journal.

mod limit;

use std::io::{IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use self::limit::{Limit, Limiter};
use crate::config::{Log, LogFormat};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The log of this process while it runs.
pub(super) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    limit: Arc<Limit>,
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
        let (output, without_journal) = match output(format) {
            Ok(output) => (output, None),
            Err(error) => (output(LogFormat::Text)?, Some(error)),
        };
        let limiter = Limiter(Arc::clone(&limit));
        let subscriber = tracing_subscriber::registry().with(filter).with(limiter).with(output);
        tracing::subscriber::set_global_default(subscriber)?;
        // Lines below the level are not even formatted.
        tracing_log::LogTracer::builder().with_max_level(log_level(level)).init()?;
        if let Some(error) = without_journal {
            tracing::warn!(%error, "cannot write to the journal; logging to standard error instead");
        }
        Ok(Self { filter: handle, limit })
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

    /// Logs how many lines were suppressed recently.
    pub(super) fn report_suppressed(&self) {
        for (statement, lines) in self.limit.take() {
            tracing::warn!("suppressed {lines} more lines from {statement}");
        }
    }
}

fn filter(level: &str) -> Result<EnvFilter, Failure> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => Ok(builder.parse(directives)?),
        _ => Ok(builder.parse(level)?),
    }
}

fn output<S>(format: LogFormat) -> Result<Box<dyn Layer<S> + Send + Sync>, std::io::Error>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = || {
        tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false)
    };
    Ok(match format {
        LogFormat::Text => lines().boxed(),
        LogFormat::Json => lines().json().flatten_event(true).boxed(),
        LogFormat::Journal => tracing_journald::layer()?
            .with_syslog_identifier("zcrxd".to_owned())
            .with_field_prefix(Some("ZCRX".to_owned()))
            .boxed(),
    })
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
