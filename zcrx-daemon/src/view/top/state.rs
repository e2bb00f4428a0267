//! The user's selection, and the keys that change it.

use std::cmp::Ordering;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::diagnose::{HostDiagnosis, Report, Starvation};
use crate::model::QueueKey;
use crate::view::words;

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Every queue.
    #[default]
    All,
    /// The chosen one.
    One,
}

/// Sort order of queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Problems first, the longest first; then the queue that starves soonest
    #[default]
    Urgency,
    /// Interface and queue index
    Queue,
    /// Payload received
    Rate,
    /// Share of the area that the application has
    Held,
    /// Time to starvation
    Starves,
    /// Name of the owner
    Owner,
}

impl Sort {
    const ALL: [Self; 6] = [Self::Urgency, Self::Queue, Self::Rate, Self::Held, Self::Starves, Self::Owner];

    /// Its name in the footer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgency => "urgency",
            Self::Queue => "queue",
            Self::Rate => "rate",
            Self::Held => "held",
            Self::Starves => "starves",
            Self::Owner => "owner",
        }
    }

    fn next(self) -> Self {
        let position = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0);
        Self::ALL[(position + 1) % Self::ALL.len()]
    }

    fn order(self, a: &Report, b: &Report) -> Ordering {
        let descending = |a: Option<f64>, b: Option<f64>| {
            b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY))
        };
        match self {
            Self::Urgency => {
                let began = |report: &Report| {
                    let alarm = report.diagnosis.alarms.iter().map(|alarm| alarm.since).min();
                    alarm.or_else(|| report.episode.as_ref().map(|episode| episode.began))
                };
                let urgency = |report: &Report| (!report.troubled(), began(report), starves_in(report));
                urgency(a).cmp(&urgency(b))
            }
            Self::Queue => Ordering::Equal,
            Self::Rate => descending(a.vitals.rates.bytes, b.vitals.rates.bytes),
            Self::Held => descending(held(a), held(b)),
            Self::Starves => starves_in(a).cmp(&starves_in(b)),
            Self::Owner => {
                let name = |report: &Report| report.owner.as_ref().map(|owner| owner.comm.clone());
                name(a).cmp(&name(b))
            }
        }
        .then_with(|| a.key.cmp(&b.key))
    }
}

fn starves_in(report: &Report) -> Duration {
    match report.forecast.starvation.known() {
        Some(Starvation::Now) => Duration::ZERO,
        Some(Starvation::In(time)) => *time,
        Some(Starvation::NotAtThisRate) | None => Duration::MAX,
    }
}

/// The share of the area that the application has: read and not returned, stashed, or not read.
pub(super) fn held(report: &Report) -> Option<f64> {
    let placement = &report.vitals.placement;
    let buffers = placement.held? + placement.completed.unwrap_or(0) + placement.stashed.unwrap_or(0);
    placement.share(Some(buffers))
}

/// Action that a key requests from the terminal loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Draw a frame.
    Draw,
    /// End the view.
    Quit,
    /// Step forward or back by a number of samples.
    Step(i64),
}

/// The user's selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewState {
    /// What fills the screen.
    pub page: Page,
    /// The chosen queue; the first one if it is not there.
    pub queue: Option<QueueKey>,
    /// The order of queues.
    pub sort: Sort,
    /// Whether the order is reversed.
    pub reverse: bool,
    /// Words of which all must occur in queue, owner, cgroup or cause.
    pub filter: String,
    /// Whether the filter is being typed.
    pub typing: bool,
    /// Whether only queues with a problem are shown.
    pub only_troubled: bool,
    /// Whether the help is shown.
    pub help: bool,
    /// Whether the view is paused.
    pub paused: bool,
    /// Lines that the page of one queue is scrolled by.
    pub scroll: u16,
}

const PAGE: i32 = 10;

impl ViewState {
    /// The queues to show, in their order.
    pub fn rows<'h>(&self, host: &'h HostDiagnosis) -> Vec<&'h Report> {
        let wanted: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let mut rows: Vec<&Report> = host
            .queues
            .iter()
            .filter(|report| !self.only_troubled || report.troubled())
            .filter(|report| {
                let text = format!("{} {} {}", report.key, words::owner(report), words::cause(report));
                let text = text.to_lowercase();
                wanted.iter().all(|word| text.contains(word))
            })
            .collect();
        rows.sort_by(|a, b| {
            let order = self.sort.order(a, b);
            if self.reverse { order.reverse() } else { order }
        });
        rows
    }

    /// The selected queue. Its own page ignores the filter; in the list, the first queue replaces a missing one.
    pub fn chosen<'h>(&self, host: &'h HostDiagnosis) -> Option<&'h Report> {
        let chosen = |report: &&Report| Some(&report.key) == self.queue.as_ref();
        if self.page == Page::One {
            return host.queues.iter().find(chosen);
        }
        let rows = self.rows(host);
        rows.iter().copied().find(chosen).or_else(|| rows.first().copied())
    }

    /// Limits the scrolling of one queue's page to its length.
    pub fn limit_scroll(&mut self, furthest: u16) {
        self.scroll = self.scroll.min(furthest);
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent, host: &HostDiagnosis) -> Action {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Action::Quit;
        }
        if self.typing {
            self.type_filter(key.code);
            return Action::Draw;
        }
        if self.help {
            self.help = false;
            return Action::Draw;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Left => return self.step(-1),
            KeyCode::Right => return self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1, host),
            KeyCode::Down | KeyCode::Char('j') => self.go(1, host),
            KeyCode::PageUp => self.go(-PAGE, host),
            KeyCode::PageDown => self.go(PAGE, host),
            KeyCode::Home | KeyCode::Char('g') => self.go(i32::MIN, host),
            KeyCode::End | KeyCode::Char('G') => self.go(i32::MAX, host),
            KeyCode::Enter => self.open(host),
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Char('t') => self.only_troubled = !self.only_troubled,
            KeyCode::Char('/') => {
                self.page = Page::All;
                self.typing = true;
            }
            _ => {}
        }
        Action::Draw
    }

    /// Stepping pauses the view.
    const fn step(&mut self, by: i64) -> Action {
        self.paused = true;
        Action::Step(by)
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    fn open(&mut self, host: &HostDiagnosis) {
        if let Some(report) = self.chosen(host) {
            self.queue = Some(report.key.clone());
            self.page = Page::One;
            self.scroll = 0;
        }
    }

    fn back(&mut self) {
        if self.page == Page::One {
            self.page = Page::All;
        } else {
            self.filter.clear();
            self.only_troubled = false;
        }
    }

    fn go(&mut self, by: i32, host: &HostDiagnosis) {
        if self.page == Page::One {
            let scroll = i32::from(self.scroll).saturating_add(by);
            self.scroll = scroll.clamp(0, i32::from(u16::MAX)) as u16;
            return;
        }
        let rows = self.rows(host);
        let Some(last) = rows.len().checked_sub(1) else { return };
        let now = rows.iter().position(|report| Some(&report.key) == self.queue.as_ref()).unwrap_or(0);
        let next = (now as i64).saturating_add(i64::from(by)).clamp(0, last as i64);
        self.queue = Some(rows[next as usize].key.clone());
    }
}
