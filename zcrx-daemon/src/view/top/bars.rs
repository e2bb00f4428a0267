//! Bars that show the same with and without colour.

use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use crate::diagnose::facts::Placement;
use crate::view::places::{Place, cells, places};

/// What a place looks like: what the application keeps is darkest, what is free is blank.
pub(super) const fn glyph(place: Place) -> (&'static str, Color) {
    match place {
        Place::Held => ("█", Color::Red),
        Place::Stashed => ("▇", Color::Magenta),
        Place::Completed => ("▓", Color::Yellow),
        Place::Sockets => ("▒", Color::Cyan),
        Place::Refill => ("░", Color::Blue),
        Place::Posted => ("·", Color::Green),
        Place::Free | Place::Elsewhere => (" ", Color::Reset),
    }
}

/// Each glyph with what it means.
pub(super) fn legend() -> impl Iterator<Item = (&'static str, &'static str)> {
    [Place::Held, Place::Stashed, Place::Completed, Place::Sockets, Place::Posted, Place::Refill, Place::Free]
        .into_iter()
        .map(|place| (glyph(place).0, place.name()))
}

/// The area: which share of it is where. Without its size there is nothing to draw.
pub(super) fn area(placement: &Placement, width: usize) -> Line<'static> {
    let Some(found) = places(placement) else { return unknown(width) };
    let inner = width.saturating_sub(2);
    let shares: Vec<u64> = found.iter().map(|(_, buffers)| *buffers).collect();
    let parts = found.iter().zip(cells(&shares, inner)).map(|((place, _), cells)| {
        let (glyph, colour) = glyph(*place);
        Span::styled(glyph.repeat(cells), Style::new().fg(colour))
    });
    framed(parts.collect())
}

/// How full something is; `colour` of what is in it.
pub(super) fn fill(
    part: Option<u64>,
    whole: Option<u64>,
    glyph: &str,
    colour: Color,
    width: usize,
) -> Line<'static> {
    let (Some(part), Some(whole)) = (part, whole.filter(|&whole| whole > 0)) else { return unknown(width) };
    let inner = width.saturating_sub(2);
    let part = part.min(whole);
    let full = cells(&[part, whole - part], inner)[0];
    framed(vec![
        Span::styled(glyph.repeat(full), Style::new().fg(colour)),
        Span::raw(" ".repeat(inner - full)),
    ])
}

fn framed(mut spans: Vec<Span<'static>>) -> Line<'static> {
    spans.insert(0, Span::raw("["));
    spans.push(Span::raw("]"));
    Line::from(spans)
}

fn unknown(width: usize) -> Line<'static> {
    Line::from(format!("{:^width$}", "unknown"))
}

const STEPS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// A row of values from 0 to `most`, the last `width` of them; a step of which nothing is known is blank.
pub(super) fn spark(values: &[Option<f64>], most: f64, width: usize) -> String {
    let shown = &values[values.len().saturating_sub(width)..];
    let level = |value: &Option<f64>| match value {
        Some(value) if most > 0.0 => {
            let step = (value / most * 7.0).round().clamp(0.0, 7.0);
            STEPS[step as usize]
        }
        Some(_) => STEPS[0],
        None => " ",
    };
    shown.iter().map(level).collect()
}
