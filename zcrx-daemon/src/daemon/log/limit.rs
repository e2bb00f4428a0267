//! A limit to how much one place in the program may log: what goes wrong ten thousand times a second is said often
//! enough, and neither the disk nor the reader drowns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one place within [`WINDOW`].
const LINES: u64 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// What each place has said lately.
#[derive(Default)]
pub(super) struct Limit(Mutex<Places>);

#[derive(Default)]
struct Places {
    places: HashMap<Identifier, Place>,
    suppressed: u64,
}

struct Place {
    name: String,
    since: Instant,
    lines: u64,
    suppressed: u64,
}

impl Limit {
    /// Lines left out since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.places().suppressed
    }

    /// What was left out since the last call, by place.
    pub(super) fn take(&self) -> Vec<(String, u64)> {
        let mut places = self.places();
        let suppressed = places.places.values_mut().filter(|place| place.suppressed > 0);
        suppressed.map(|place| (place.name.clone(), std::mem::take(&mut place.suppressed))).collect()
    }

    fn admits(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let mut places = self.places();
        let place = places.places.entry(metadata.callsite()).or_insert_with(|| Place {
            name: format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0)),
            since: now,
            lines: 0,
            suppressed: 0,
        });
        if now.duration_since(place.since) >= WINDOW {
            place.since = now;
            place.lines = 0;
        }
        place.lines += 1;
        if place.lines <= LINES {
            return true;
        }
        place.suppressed += 1;
        places.suppressed += 1;
        false
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps all output within the limit.
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
    fn one_place_is_cut_short_and_another_is_not() {
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
