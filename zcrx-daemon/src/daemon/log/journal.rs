//! Events as records of systemd's journal, in its native protocol.
//!
//! `tracing-journald` sends from the thread that logs and blocks it while the journal's socket is full. These records go
//! through the [`LineQueue`] instead. The fields are the same: `MESSAGE`, `PRIORITY`, `TARGET`, `CODE_FILE`,
//! `CODE_LINE`, `SYSLOG_IDENTIFIER`, and each field of an event with the prefix `ZCRX_`.

use std::fmt::{Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::LineQueue;

const SOCKET: &str = "/run/systemd/journal/socket";

/// Connects to the journal of this host.
pub(super) fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// Queues each event as one record.
pub(super) struct JournalLayer(pub(super) LineQueue);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.push(record(event));
    }
}

fn record(event: &Event<'_>) -> Vec<u8> {
    let metadata = event.metadata();
    let mut record = Record::default();
    record.field("PRIORITY", priority(*metadata.level()));
    record.field("SYSLOG_IDENTIFIER", "zcrxd");
    record.field("TARGET", metadata.target());
    if let Some(file) = metadata.file() {
        record.field("CODE_FILE", file);
    }
    if let Some(line) = metadata.line() {
        record.field("CODE_LINE", &line.to_string());
    }
    event.record(&mut record);
    record.0
}

/// Syslog's priorities, as `tracing-journald` maps them.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    /// `NAME=value`, or the form with a length where the value has several lines.
    fn field(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn event_field(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.field("MESSAGE", value),
            // What `tracing-log` adds to lines of the `log` crate.
            name if name.starts_with("log.") => {}
            name => {
                let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
                let name: String = "ZCRX_".chars().chain(name.chars().map(upper)).collect();
                self.field(&name, value);
            }
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.event_field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        write!(text, "{value:?}").ok();
        self.event_field(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_several_lines_carry_their_length() {
        let mut record = Record::default();
        record.field("MESSAGE", "one");
        record.field("ZCRX_TEXT", "a\nb");
        assert_eq!(record.0, b"MESSAGE=one\nZCRX_TEXT\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
