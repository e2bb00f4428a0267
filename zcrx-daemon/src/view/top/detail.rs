//! One queue in full.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{Screen, bars, tone};
use crate::diagnose::Report;
use crate::model::{Cause, Episode};
use crate::view::format::{bytes, count, duration, rate, share};
use crate::view::places::places;
use crate::view::words;

/// Draws it, from the line it is scrolled to. The answer is how far it can be scrolled.
pub(super) fn render(screen: &Screen<'_>, report: &Report, area: Rect, buffer: &mut Buffer) -> u16 {
    let mut text = Text::new(usize::from(area.width));
    verdict(&mut text, report);
    lifecycle(&mut text, report);
    flow(&mut text, report);
    causes(&mut text, report);
    episodes(&mut text, screen, report);
    let furthest = u16::try_from(text.lines.len()).unwrap_or(u16::MAX).saturating_sub(area.height);
    let from = usize::from(screen.view.scroll.min(furthest));
    let shown: Vec<Line<'_>> = text.lines.into_iter().skip(from).take(usize::from(area.height)).collect();
    Paragraph::new(shown).render(area, buffer);
    furthest
}

/// Text wrapped to the width of the terminal; scrolling needs the number of lines.
pub(super) struct Text {
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Text {
    /// Nothing yet, for lines of so many characters.
    pub(super) const fn new(width: usize) -> Self {
        Self { width, lines: Vec::new() }
    }

    /// Adds a line that fits.
    pub(super) fn push(&mut self, line: Line<'static>) {
        self.lines.push(line);
    }

    pub(super) fn into_lines(self) -> Vec<Line<'static>> {
        self.lines
    }

    /// Adds text, broken between words, what follows the first line indented.
    pub(super) fn say(&mut self, text: &str, indent: usize, style: Style) {
        let mut line = String::new();
        for word in text.split_inclusive(' ') {
            let full = line.chars().count() + word.trim_end().chars().count() > self.width;
            if full && !line.trim().is_empty() {
                self.lines.push(Line::from(std::mem::replace(&mut line, " ".repeat(indent))).style(style));
            }
            line.push_str(word);
        }
        self.lines.push(Line::from(line).style(style));
    }

    pub(super) fn plain(&mut self, text: &str, indent: usize) {
        self.say(text, indent, Style::new());
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(Line::default());
        self.lines.push(Line::from(text.to_owned()).bold());
    }
}

fn verdict(text: &mut Text, report: &Report) {
    let verdict = &report.verdict;
    text.plain(&format!("{} · {}", report.key, words::owner(report)), 2);
    text.say(&verdict.line, 2, tone(verdict.urgency));
    for alarm in &verdict.alarms {
        text.plain(&format!("  {alarm}"), 4);
    }
    if report.troubled() {
        let cause = verdict.causes.first();
        let said =
            cause.map_or_else(|| "Cause: unknown".to_owned(), |cause| format!("Cause: {}", cause.line));
        text.say(&said, 2, Style::new().bold());
    }
    for note in &verdict.notes {
        text.plain(&format!("  {note}"), 4);
    }
}

fn lifecycle(text: &mut Text, report: &Report) {
    let placement = &report.vitals.placement;
    text.heading("Where the buffers are");
    if let (Some(found), Some(total)) = (places(placement), placement.total) {
        let size = report
            .vitals
            .buffer_bytes
            .map(|buffer| format!(" of {} are {}", bytes(buffer), bytes(total.saturating_mul(buffer))));
        text.plain(&format!("{} buffers{}", count(total), size.unwrap_or_default()), 2);
        for (place, buffers) in found {
            let (glyph, colour) = bars::glyph(place);
            let glyph = if glyph == " " { "=" } else { glyph };
            row(text, place.name(), Some(buffers), Some(total), glyph, colour, |share| share);
        }
    } else {
        text.plain("not known: the kernel does not show the area here", 2);
    }
    let of = |depth: Option<u64>, entries: Option<u64>| {
        format!(
            "{} of {}",
            depth.map_or_else(|| "?".to_owned(), count),
            entries.map_or_else(|| "?".to_owned(), count)
        )
    };
    let refill = of(placement.refill_depth, placement.refill_entries);
    row(
        text,
        "refill ring, entries",
        placement.refill_depth,
        placement.refill_entries,
        "░",
        Color::Blue,
        |_| refill,
    );
    let cq = of(placement.cq_depth, placement.cq_entries);
    row(text, "completion queue", placement.cq_depth, placement.cq_entries, "▓", Color::Yellow, |_| cq);
    if let Some(fragments) = placement.fragments.filter(|&fragments| fragments > 1.05) {
        text.plain(&format!("Buffers are delivered in fragments: {fragments:.1} of each on average."), 2);
    }
    if let Some(age) = report.vitals.oldest_held {
        text.plain(&format!("The oldest buffer that is held has been out for {}.", duration(age)), 2);
    }
}

/// A name, a bar, and a figure.
fn row(
    text: &mut Text,
    name: &str,
    part: Option<u64>,
    whole: Option<u64>,
    glyph: &str,
    colour: Color,
    figure: impl FnOnce(String) -> String,
) {
    let said = part.zip(whole).map_or_else(String::new, |(part, whole)| {
        format!("{:>8} {:>5}", count(part), share(part as f64 / whole.max(1) as f64))
    });
    let width = text.width.saturating_sub(28 + 22).clamp(8, 50);
    let mut line = bars::fill(part, whole, glyph, colour, width);
    line.spans.insert(0, Span::raw(format!("  {name:<26}")));
    line.spans.push(Span::raw(format!(" {}", figure(said))));
    text.lines.push(line);
}

fn flow(text: &mut Text, report: &Report) {
    let vitals = &report.vitals;
    text.heading("What flows");
    let number = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.0}"));
    let speed = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), rate);
    text.plain(
        &format!(
            "received {}, of it copied {}; a second: {} buffers go out, {} come back, {} allocations fail, {} packets are \
             dropped",
            speed(vitals.rates.bytes),
            speed(vitals.rates.copied_bytes),
            number(report.forecast.arrivals),
            number(report.forecast.returns),
            number(vitals.rates.failures),
            number(vitals.rates.drops)
        ),
        2,
    );
    for line in words::outlook(report) {
        text.plain(&format!("  {line}"), 4);
    }
    let trace = &vitals.trace;
    if trace.available.len() > 1 {
        let width = text.width.saturating_sub(24).min(60);
        let free: Vec<Option<f64>> = trace.available.iter().map(|percent| percent.map(f64::from)).collect();
        let rates: Vec<Option<f64>> =
            trace.bytes.iter().map(|bytes| bytes.map(|bytes| bytes as f64)).collect();
        let most = rates.iter().flatten().copied().fold(0.0, f64::max);
        let past = duration(trace.span);
        text.lines.push(Line::from(format!("  available {} 100%", bars::spark(&free, 100.0, width))));
        text.lines.push(Line::from(format!(
            "  received  {} {}",
            bars::spark(&rates, most, width),
            rate(most)
        )));
        text.plain(&format!("  the last {past}, each line from 0 to what stands at its end"), 2);
    }
}

fn causes(text: &mut Text, report: &Report) {
    if !report.troubled() {
        return;
    }
    text.heading("Why");
    let verdict = &report.verdict;
    if verdict.causes.is_empty() {
        text.plain("The cause is unknown.", 2);
    }
    for (position, cause) in verdict.causes.iter().enumerate() {
        text.say(&cause.line, 2, Style::new().bold());
        for words in &cause.evidence {
            text.plain(&format!("  + {words}"), 4);
        }
        for words in &cause.against {
            text.plain(&format!("  - {words}"), 4);
        }
        if position == 0 {
            for command in &verdict.run {
                text.plain(&format!("  run: {command}"), 4);
            }
            if let Some(change) = &verdict.change {
                text.plain(&format!("  do: {change}"), 6);
            }
        }
    }
    for missing in &verdict.missing {
        text.plain(&format!("  not known, and would help to find the cause: {missing}"), 4);
    }
    for change in &verdict.history {
        text.plain(&format!("  {change}"), 4);
    }
}

fn episodes(text: &mut Text, screen: &Screen<'_>, report: &Report) {
    text.heading("Episodes");
    let over = screen.host.recent.iter().rev().filter(|episode| episode.key == report.key);
    let all: Vec<&Episode> = report.episode.iter().chain(over).collect();
    if all.is_empty() {
        text.plain("none that is remembered", 2);
    }
    for episode in all {
        let cause = episode.cause().map_or("unknown", Cause::name);
        let when = episode.ended.map_or_else(
            || "lasts".to_owned(),
            |ended| format!("ended {} ago", duration(report.at.saturating_sub(ended))),
        );
        let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), count);
        text.plain(
            &format!(
                "  {when}, {} for {}, cause {cause}; failed allocations {}, received {}, dropped {}",
                episode.trouble.name(),
                duration(episode.lasted(report.at)),
                number(episode.failed_allocations),
                episode.bytes.map_or_else(|| "?".to_owned(), bytes),
                number(episode.drops)
            ),
            4,
        );
    }
}
