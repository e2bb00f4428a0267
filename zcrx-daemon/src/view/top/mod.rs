//! The terminal view: every queue at a glance, and one of them in full.
//!
//! [`render`] is a pure function of the host's diagnosis and of the user's selection, so a test can draw a frame without a
//! terminal. It draws with colour and Unicode; [`Look`] then removes what the terminal does not support, in one place.

mod bars;
mod detail;
mod list;
mod look;
mod state;
#[cfg(test)]
mod tests;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Widget, Wrap};

use super::words;
use crate::diagnose::{HostDiagnosis, Urgency};

pub use look::Look;
pub use state::{Action, Page, Sort, ViewState};

/// Text around the list of queues.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Name of the host, and its kernel.
    pub host: String,
    /// Source of the samples: the running zcrxd, this command's probes, a recording.
    pub source: String,
    /// The time of day, or the position in a recording.
    pub clock: String,
    /// Why the shown sample is old; `None` for a current one.
    pub problem: Option<String>,
    /// Whether the view reads keys; without keys it has no footer.
    pub interactive: bool,
    /// Whether the user can step through time.
    pub steps: bool,
    /// Capabilities of the terminal.
    pub look: Look,
}

/// One frame's content.
pub struct Screen<'a> {
    /// Diagnosis of all queues.
    pub host: &'a HostDiagnosis,
    /// The user's selection.
    pub view: &'a ViewState,
    /// Text around the queues.
    pub about: &'a About,
}

const KEYS: &[(&str, &str)] = &[
    ("Up Down, j k", "select a queue; in one queue, scroll"),
    ("PgUp PgDn, Home End", "the same in large steps"),
    ("Enter", "one queue in full: where its buffers are, why it starves, its episodes"),
    ("Esc, Backspace", "back to all queues; drop the filter"),
    ("s, r", "sort by the next column; the other way round"),
    ("/", "filter by queue, owner, cgroup or cause; Enter keeps it, Esc drops it"),
    ("t", "only queues with a problem"),
    ("Space", "pause; resume"),
    ("Left Right", "in a recording: previous sample; next sample"),
    ("?, h", "this help"),
    ("q, Ctrl-C", "quit"),
];

/// Draws the frame. Returns the number of lines by which the page can scroll.
pub fn render(screen: &Screen<'_>, area: Rect, buffer: &mut Buffer) -> u16 {
    let footer_height = u16::from(screen.about.interactive);
    let [header_area, body, footer_area] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(footer_height)])
            .areas(area);
    header(screen, header_area, buffer);
    let chosen = screen.view.chosen(screen.host);
    let mut furthest = 0;
    if let (Page::One, Some(report)) = (screen.view.page, chosen) {
        furthest = detail::render(screen, report, body, buffer);
    } else {
        list::render(screen, body, buffer);
    }
    if screen.about.interactive {
        footer(screen, footer_area, buffer);
    }
    if screen.view.help {
        help(area, buffer);
    }
    screen.about.look.apply(buffer);
    furthest
}

/// Style of an urgency.
const fn tone(urgency: Urgency) -> Style {
    match urgency {
        Urgency::Alarm => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Urgency::Soon => Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD),
        Urgency::Calm => Style::new().fg(Color::Green),
    }
}

fn header(screen: &Screen<'_>, area: Rect, buffer: &mut Buffer) {
    let about = screen.about;
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let clock_width = u16::try_from(about.clock.chars().count()).unwrap_or(0);
    let [left, right] =
        Layout::horizontal([Constraint::Min(10), Constraint::Length(clock_width)]).spacing(1).areas(first);
    Line::from(vec!["zcrxd top".bold(), Span::raw(format!(" · {} · {}", about.host, about.source))])
        .render(left, buffer);
    Line::from(about.clock.as_str()).right_aligned().render(right, buffer);
    let line = match &about.problem {
        Some(problem) => Line::from(format!("OLD: {problem}")).style(Style::new().red().bold()),
        None => Line::from(words::summary(screen.host)).style(tone(words::urgency(screen.host))),
    };
    line.render(second, buffer);
}

fn footer(screen: &Screen<'_>, area: Rect, buffer: &mut Buffer) {
    let view = screen.view;
    let line = if view.typing {
        Line::from(vec![" filter: ".bold(), view.filter.as_str().into(), "_".into()])
    } else {
        let mut spans = Vec::new();
        let mut key = |key: &'static str, does: String| {
            spans.push(Span::styled(format!(" {key} "), Style::new().add_modifier(Modifier::REVERSED)));
            spans.push(Span::raw(format!("{does} ")));
        };
        key("q", "quit".to_owned());
        key("?", "help".to_owned());
        match view.page {
            Page::All => {
                key("Enter", "open".to_owned());
                key("s", format!("sort: {}", view.sort.name()));
                let filter = if view.filter.is_empty() { "filter".to_owned() } else { view.filter.clone() };
                key("/", filter);
                key("t", if view.only_troubled { "all" } else { "problems" }.to_owned());
            }
            Page::One => {
                key("Esc", "all queues".to_owned());
                key("j k", "scroll".to_owned());
            }
        }
        key("Space", if view.paused { "go on" } else { "hold" }.to_owned());
        if screen.about.steps {
            key("Left Right", "step".to_owned());
        }
        Line::from(spans)
    };
    line.render(area, buffer);
}

fn help(area: Rect, buffer: &mut Buffer) {
    let mut lines = vec![Line::from("Keys".bold()), Line::default()];
    lines.extend(KEYS.iter().map(|(keys, does)| Line::from(format!(" {keys:<20} {does}"))));
    lines.push(Line::default());
    lines.push(Line::from("Bars".bold()));
    lines.extend(bars::legend().map(|(glyph, name)| Line::from(format!(" {glyph}{glyph}{glyph}  {name}"))));
    Clear.render(area, buffer);
    Paragraph::new(lines).wrap(Wrap { trim: false }).render(area, buffer);
}
