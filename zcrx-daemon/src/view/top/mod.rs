//! The terminal view: every queue at a glance, and one of them in full.
//!
//! [`render`] is a pure function of what was said of the host and of what the reader has chosen to see, so a frame can be
//! made without a terminal. It draws with everything that a good terminal has; [`Look`] then takes colour and Unicode
//! away where these are not to be had, in one place.

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
pub use state::{Page, Sort, ViewState, Wish};

/// What is shown around the queues.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Which host, and its kernel.
    pub host: String,
    /// Who says it: the running zcrxd, own probes, a recording.
    pub source: String,
    /// The time of day, or the place in a recording.
    pub clock: String,
    /// Why what is shown is old, if it is.
    pub problem: Option<String>,
    /// Whether keys do anything: else there is no use in a footer.
    pub interactive: bool,
    /// Whether time can be stepped through.
    pub steps: bool,
    /// What the terminal can show.
    pub look: Look,
}

/// One frame's content.
pub struct Screen<'a> {
    /// What was said of the queues.
    pub host: &'a HostDiagnosis,
    /// What the reader has chosen.
    pub view: &'a ViewState,
    /// The rest.
    pub about: &'a About,
}

const KEYS: &[(&str, &str)] = &[
    ("Up Down, j k", "choose a queue; in one queue, scroll"),
    ("PgUp PgDn, Home End", "the same in large steps"),
    ("Enter", "one queue in full: where its buffers are, why it starves, its episodes"),
    ("Esc, Backspace", "back to all queues; drop the filter"),
    ("s, r", "sort by the next column; the other way round"),
    ("/", "filter by queue, owner, cgroup or cause; Enter keeps it, Esc drops it"),
    ("t", "only queues in trouble"),
    ("Space", "stand still, and go on"),
    ("Left Right", "in a recording: a sample back and forth"),
    ("?, h", "this help"),
    ("q, Ctrl-C", "leave"),
];

/// Draws the frame. The answer is how far the page can be scrolled.
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

/// How a worry looks.
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
                key("t", if view.only_troubled { "all" } else { "trouble" }.to_owned());
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
