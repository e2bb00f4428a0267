//! The loop between keys, frames and the terminal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, size};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::SIGTERM;

use super::source::Source;
use crate::view::top::{Action, Look, Screen, ViewState, render};

/// How soon a signal is noticed.
const ATTENTION: Duration = Duration::from_millis(200);

/// Shows frames until the reader leaves, or a signal asks for the end. The terminal is put back in any case, a panic
/// included.
pub(super) fn run(source: Source, view: ViewState, look: Look, interval: Duration) -> io::Result<()> {
    let asked_to_end = Arc::new(AtomicBool::new(false));
    // SIGHUP ends it at once: there is no terminal left to put back.
    signal_hook::flag::register(SIGTERM, Arc::clone(&asked_to_end))?;
    let mut terminal = start()?;
    let done = Session { source, view, look, interval, problem: None }.go_on(&mut terminal, &asked_to_end);
    ratatui::try_restore()?;
    done
}

/// What is drawn on a terminal that does not know its size, such as a serial console.
const UNKNOWN_SIZE: Rect = Rect::new(0, 0, 80, 24);

/// Takes the whole terminal.
fn start() -> io::Result<DefaultTerminal> {
    if matches!(size(), Ok((1.., 1..))) {
        return ratatui::try_init();
    }
    let terminal =
        ratatui::try_init_with_options(TerminalOptions { viewport: Viewport::Fixed(UNKNOWN_SIZE) })?;
    // As `try_init` does; with options, ratatui leaves this to its caller.
    execute!(io::stdout(), EnterAlternateScreen)?;
    Ok(terminal)
}

/// What a wait for keys came to.
#[derive(PartialEq, Eq)]
enum Waited {
    Enough,
    HungUp,
}

/// Waits for a key, a signal, or so long. A terminal that is gone is seen here: crossterm would read its end for ever.
fn wait(time: Duration) -> io::Result<Waited> {
    let stdin = io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(&mut terminal, Some(&time)) {
        // A signal: the size of the window may be another.
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(if terminal[0].revents().intersects(gone) { Waited::HungUp } else { Waited::Enough })
}

struct Session {
    source: Source,
    view: ViewState,
    look: Look,
    interval: Duration,
    problem: Option<String>,
}

impl Session {
    fn go_on(&mut self, terminal: &mut DefaultTerminal, asked_to_end: &AtomicBool) -> io::Result<()> {
        // A recording is paused until the user lets it run.
        self.view.paused = !self.source.is_live();
        let mut shown = Instant::now();
        while !asked_to_end.load(Ordering::Relaxed) {
            self.draw(terminal)?;
            let due = self.source.pace(self.interval).filter(|_| !self.view.paused);
            let left = due.map_or(ATTENTION, |due| due.saturating_sub(shown.elapsed()));
            if wait(left.min(ATTENTION))? == Waited::HungUp {
                return Ok(());
            }
            // All pending events: crossterm may have read several, which no later wait would report.
            while event::poll(Duration::ZERO)? {
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => {
                        match self.view.press(key, self.source.host()) {
                            Action::Quit => return Ok(()),
                            Action::Step(by) => self.source.step(by),
                            Action::Draw => {}
                        }
                    }
                    _ => {}
                }
            }
            if due.is_some_and(|due| shown.elapsed() >= due) && !self.view.paused {
                self.source.step(1);
                // The source may recover: the last frame stays and is marked as old.
                self.problem = self.source.next(Duration::ZERO).err().map(|error| error.to_string());
                shown = Instant::now();
            }
        }
        Ok(())
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let mut about = self.source.about(self.look);
        about.problem.clone_from(&self.problem);
        if self.view.paused {
            about.clock.push_str(" held");
        }
        let (source, view) = (&self.source, &self.view);
        let mut furthest = 0;
        terminal.draw(|frame| {
            let screen = Screen { host: source.host(), view, about: &about };
            furthest = render(&screen, frame.area(), frame.buffer_mut());
        })?;
        self.view.limit_scroll(furthest);
        Ok(())
    }
}
