//! Fields of a log line as text.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The field that names a documented event (docs/logging.md).
const EVENT: &str = "event";

/// Writes the message, then `name=value` for each field. The message of a documented event says what its fields say, so the
/// fields are left out there: they are for JSON and the journal.
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line::default();
        fields.record(&mut line);
        let fields = if line.is_event { "" } else { line.fields.as_str() };
        let text = format!("{}{fields}", line.message);
        writer.write_str(text.trim_start())
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
    is_event: bool,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        match field.name() {
            "message" => write!(self.message, "{value:?}").ok(),
            EVENT => {
                self.is_event = true;
                None
            }
            // What `tracing-log` adds to lines of the `log` crate.
            name if name.starts_with("log.") => None,
            name => write!(self.fields, " {name}={value:?}").ok(),
        };
    }
}
