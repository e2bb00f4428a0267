//! The list of queues, one line each, and the verdict on the selected queue below.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, StatefulWidget, Table, TableState, Widget};

use super::detail::Text;
use super::{Screen, bars, state::held, tone};
use crate::diagnose::{Report, Urgency};
use crate::view::{format, words};

/// Minimum and maximum lines of the verdict, including its title; it gets more lines where there are few queues.
const VERDICT: u16 = 9;
const MOST_VERDICT: u16 = 14;

/// Fewer lines than this leave none for the verdict.
const ROOM_FOR_VERDICT: u16 = 16;

pub(super) fn render(screen: &Screen<'_>, area: Rect, buffer: &mut Buffer) {
    let rows = screen.view.rows(screen.host);
    let chosen = screen.view.chosen(screen.host);
    let left = area.height.saturating_sub(rows.len() as u16 + 2);
    let wanted = left.clamp(VERDICT, MOST_VERDICT);
    let verdict = if area.height >= ROOM_FOR_VERDICT && chosen.is_some() { wanted } else { 0 };
    let [table_area, verdict_area] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(verdict)]).areas(area);
    if rows.is_empty() {
        let words = if screen.host.queues.is_empty() {
            "There is no zcrx queue on this host."
        } else {
            "No queue is like that. Esc shows all."
        };
        Paragraph::new(words).render(table_area, buffer);
    } else {
        table(screen, &rows, chosen, table_area, buffer);
    }
    if let Some(report) = chosen.filter(|_| verdict > 0) {
        panel(report, verdict_area, buffer);
    }
}

/// One column: title, width, content. Narrow terminals omit the last columns first.
struct Column {
    title: &'static str,
    width: u16,
    cell: fn(&Report, u16) -> Cell<'static>,
}

const RATE: Column = Column { title: "RECEIVED", width: 9, cell: rate };
const FREE: Column = Column { title: "FREE", width: 4, cell: free };
const HELD: Column = Column { title: "HELD", width: 4, cell: held_share };
const FLIGHT: Column = Column { title: "FLIGHT", width: 6, cell: flight };
const REFILL: Column = Column { title: "REFILL", width: 6, cell: refill };
const STARVES: Column = Column { title: "STARVES", width: 7, cell: starves };
const OWNER: Column = Column { title: "OWNER", width: 15, cell: owner };
const DROPS: Column = Column { title: "DROPS/s", width: 8, cell: drops };
const PAST: Column = Column { title: "FREE, LAST MINUTE", width: 20, cell: past };

/// Columns by the width of the terminal. The area's bar takes what is left.
fn columns(width: u16) -> Vec<Column> {
    let mut columns = vec![RATE, FREE, HELD, FLIGHT, REFILL, STARVES];
    if width >= 100 {
        columns.insert(0, OWNER);
    }
    if width >= 112 {
        columns.insert(2, DROPS);
    }
    if width >= 140 {
        columns.push(PAST);
    }
    if width < 72 {
        columns.retain(|column| column.title != FLIGHT.title && column.title != REFILL.title);
    }
    columns
}

fn table(screen: &Screen<'_>, rows: &[&Report], chosen: Option<&Report>, area: Rect, buffer: &mut Buffer) {
    let longest = rows.iter().map(|report| report.key.to_string().len()).max().unwrap_or(0);
    let key_width = longest.clamp(7, 18) as u16;
    let columns = columns(area.width);
    let fixed: u16 = columns.iter().map(|column| column.width + 1).sum();
    let left = area.width.saturating_sub(key_width + 3 + fixed);
    // The bar matters most; the full cause is in the verdict below.
    let cause_width = (left * 11 / 20).clamp(8, 21).min(left.saturating_sub(10));
    let area_width = left.saturating_sub(cause_width + 1).clamp(6, 60);
    let mut titles = vec![" QUEUE", "AREA"];
    let mut widths = vec![key_width + 1, area_width];
    for column in &columns {
        let after =
            if column.title == OWNER.title || column.title == RATE.title || column.title == DROPS.title {
                titles.len() - 1
            } else {
                titles.len()
            };
        titles.insert(after, column.title);
        widths.insert(after, column.width);
    }
    let bar = titles.iter().position(|title| *title == "AREA").unwrap_or(1);
    titles.push("CAUSE");
    widths.push(cause_width);
    let lines = rows.iter().map(|report| {
        let urgency = report.verdict.urgency;
        let mark = match urgency {
            Urgency::Alarm => "!",
            Urgency::Soon => "~",
            Urgency::Calm => " ",
        };
        let name = Line::from(format!("{mark}{}", report.key));
        let name = if urgency == Urgency::Calm { name } else { name.style(tone(urgency)) };
        let mut cells: Vec<Cell<'static>> = vec![Cell::from(name)];
        cells.extend(columns.iter().map(|column| (column.cell)(report, column.width)));
        cells.insert(bar, Cell::from(bars::area(&report.vitals.placement, usize::from(area_width))));
        cells.push(Cell::from(words::cause(report)));
        let style = if report.troubled() { Style::new().bold() } else { Style::new() };
        Row::new(cells).style(style)
    });
    let header = Row::new(titles).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let position = rows.iter().position(|report| chosen.is_some_and(|chosen| chosen.key == report.key));
    let table = Table::new(lines, widths.into_iter().map(Constraint::Length))
        .header(header)
        .column_spacing(1)
        .highlight_symbol(if screen.about.interactive { ">" } else { "" })
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD));
    let mut state = TableState::default().with_selected(position.filter(|_| screen.about.interactive));
    StatefulWidget::render(table, area, buffer, &mut state);
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "?".to_owned(), format::share)
}

fn rate(report: &Report, _: u16) -> Cell<'static> {
    right(report.vitals.rates.bytes.map_or_else(|| "?".to_owned(), format::rate))
}

fn free(report: &Report, _: u16) -> Cell<'static> {
    right(percent(report.forecast.headroom))
}

fn held_share(report: &Report, _: u16) -> Cell<'static> {
    right(percent(held(report)))
}

/// With the NIC, the page pool or a socket: on its way to the application.
fn flight(report: &Report, _: u16) -> Cell<'static> {
    let placement = &report.vitals.placement;
    right(percent(placement.share(placement.kernel)))
}

fn refill(report: &Report, width: u16) -> Cell<'static> {
    let placement = &report.vitals.placement;
    let width = usize::from(width);
    Cell::from(bars::fill(placement.refill_depth, placement.refill_entries, "░", Color::Blue, width))
}

fn starves(report: &Report, _: u16) -> Cell<'static> {
    right(words::starves(report))
}

fn owner(report: &Report, _: u16) -> Cell<'static> {
    Cell::from(report.owner.as_ref().map_or_else(|| "?".to_owned(), |owner| owner.comm.clone()))
}

fn drops(report: &Report, _: u16) -> Cell<'static> {
    right(report.vitals.rates.drops.map_or_else(|| "?".to_owned(), |drops| format!("{drops:.0}")))
}

fn past(report: &Report, width: u16) -> Cell<'static> {
    let trace: Vec<Option<f64>> =
        report.vitals.trace.available.iter().map(|percent| percent.map(f64::from)).collect();
    Cell::from(bars::spark(&trace, 100.0, usize::from(width)))
}

/// The verdict on one queue, cut to the available lines.
fn panel(report: &Report, area: Rect, buffer: &mut Buffer) {
    let verdict = &report.verdict;
    let name = format!(" {} · {} ", report.key, words::owner(report));
    let mut text = Text::new(usize::from(area.width));
    text.say(&verdict.line, 2, tone(verdict.urgency));
    if report.troubled() {
        match verdict.causes.first() {
            Some(cause) => {
                text.say(&format!("Cause: {}", cause.line), 2, Style::new().bold());
                if let Some(words) = cause.evidence.first() {
                    text.plain(&format!("  + {words}"), 4);
                }
                if let Some(command) = verdict.run.first() {
                    text.plain(&format!("  run: {command}"), 4);
                }
                if let Some(change) = &verdict.change {
                    text.plain(&format!("  do: {change}"), 6);
                }
            }
            None => text.push(Line::from("Cause: unknown".bold())),
        }
    }
    // The verdict already says if the queue starves now or soon.
    let said = verdict.urgency != Urgency::Calm && words::starves(report) != "?";
    let outlook = words::outlook(report).into_iter().skip(usize::from(said));
    text.plain(&outlook.collect::<Vec<_>>().join("; "), 2);
    Paragraph::new(text.into_lines())
        .block(Block::new().borders(Borders::TOP).title(name))
        .render(area, buffer);
}
