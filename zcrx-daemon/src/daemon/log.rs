//! Log lines, to standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Log, LogFormat};

/// Installs the log of this process, for `tracing` and for `log` (aya and the probes' own lines use that).
///
/// `RUST_LOG` goes before the configuration.
pub(super) fn install(log: &Log) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => builder.parse(directives)?,
        _ => builder.parse(&log.level)?,
    };
    let level = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false);
    match log.format {
        LogFormat::Text => tracing::subscriber::set_global_default(subscriber.finish())?,
        LogFormat::Json => {
            tracing::subscriber::set_global_default(subscriber.json().flatten_event(true).finish())?;
        }
    }
    // What no filter lets through is not even formatted.
    tracing_log::LogTracer::builder().with_max_level(log_level(level)).init()?;
    Ok(())
}

fn log_level(level: LevelFilter) -> tracing_log::log::LevelFilter {
    use tracing_log::AsLog;
    level.as_log()
}
