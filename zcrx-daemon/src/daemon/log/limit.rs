//! Rate limit for each log statement: an error that occurs ten thousand times a second fills neither the disk nor the
//! reader's screen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one log statement within [`WINDOW`].
const LINES: u64 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// Recent lines of each log statement.
#[derive(Default)]
pub(super) struct Limit(Mutex<Statements>);

#[derive(Default)]
struct Statements {
    statements: HashMap<Identifier, Statement>,
    suppressed: u64,
}

struct Statement {
    name: String,
    since: Instant,
    lines: u64,
    suppressed: u64,
}

impl Limit {
    /// Number of lines suppressed since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.statements().suppressed
    }

    /// Number of lines suppressed since the last call, by log statement.
    pub(super) fn take(&self) -> Vec<(String, u64)> {
        let mut statements = self.statements();
        let suppressed = statements.statements.values_mut().filter(|statement| statement.suppressed > 0);
        suppressed
            .map(|statement| (statement.name.clone(), std::mem::take(&mut statement.suppressed)))
            .collect()
    }

    fn admits(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let mut statements = self.statements();
        let statement = statements.statements.entry(metadata.callsite()).or_insert_with(|| Statement {
            name: format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0)),
            since: now,
            lines: 0,
            suppressed: 0,
        });
        if now.duration_since(statement.since) >= WINDOW {
            statement.since = now;
            statement.lines = 0;
        }
        statement.lines += 1;
        if statement.lines <= LINES {
            return true;
        }
        statement.suppressed += 1;
        statements.suppressed += 1;
        false
    }

    fn statements(&self) -> MutexGuard<'_, Statements> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Layer that applies the limit to all output.
pub(super) struct Limiter(pub(super) Arc<Limit>);

impl<S: Subscriber> Layer<S> for Limiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn limit_holds_for_each_statement() {
        let (limit, lines) = (Arc::new(Limit::default()), Lines::default());
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(Limiter(Arc::clone(&limit))).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..LINES + 7 {
                tracing::info!("noise");
            }
            tracing::info!("news");
        });
        let text = String::from_utf8(lines.0.lock().expect("lines").clone()).expect("text");
        assert_eq!(text.matches("noise").count() as u64, LINES);
        assert_eq!(text.matches("news").count(), 1);
        assert_eq!(limit.suppressed(), 7);
        assert_eq!(limit.take().iter().map(|(_, lines)| *lines).collect::<Vec<_>>(), [7]);
        assert!(limit.take().is_empty());
    }
}
