use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::{About, Action, Look, Page, Screen, Sort, ViewState, render};
use crate::diagnose::queue_model::Queue;
use crate::diagnose::{HostDiagnosis, HostWatch, troubled};

/// A host with a leaky queue eth0:3, and a healthy eth0:4 of another owner.
fn host() -> HostDiagnosis {
    let mut watch = HostWatch::new(120);
    let (mut leaky, mut healthy) = (Vec::new(), Vec::new());
    Queue { leak: 1.0, ..Queue::default() }.run_with(8, |sample| leaky.push(sample));
    Queue::default().run_with(8, |mut sample| {
        sample.key.queue = 4;
        sample.owner = sample.owner.map(|owner| crate::model::Owner { comm: "cache".to_owned(), ..owner });
        healthy.push(sample);
    });
    for (leaky, healthy) in leaky.into_iter().zip(healthy) {
        watch.feed(leaky.at, vec![healthy, leaky]);
    }
    watch.diagnosis()
}

fn frame(host: &HostDiagnosis, view: &ViewState, look: Look, size: (u16, u16)) -> Buffer {
    let about = About {
        host: "ingest-7 · Linux 7.3.4".to_owned(),
        source: "a test".to_owned(),
        clock: "14:03:59 UTC".to_owned(),
        interactive: true,
        look,
        ..About::default()
    };
    let area = Rect::new(0, 0, size.0, size.1);
    let mut buffer = Buffer::empty(area);
    render(&Screen { host, view, about: &about }, area, &mut buffer);
    buffer
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let cells = buffer.content.chunks(usize::from(buffer.area.width));
    cells.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect()).collect()
}

fn text(host: &HostDiagnosis, view: &ViewState) -> String {
    lines(&frame(host, view, Look::default(), (80, 24))).join("\n")
}

fn press(view: &mut ViewState, host: &HostDiagnosis, keys: &str) {
    for key in keys.chars() {
        view.press(KeyEvent::from(KeyCode::Char(key)), host);
    }
}

#[test]
fn eighty_by_twenty_four_shows_who_starves_and_why() {
    let (host, view) = (host(), ViewState::default());
    let shown = lines(&frame(&host, &view, Look::default(), (80, 24)));
    assert!(shown[0].starts_with("zcrxd top · ingest-7 · Linux 7.3.4"), "{shown:#?}");
    assert!(shown[0].ends_with("14:03:59 UTC"), "{shown:#?}");
    assert!(shown[1].starts_with("queues with a problem: 1 of 2"), "{shown:#?}");
    for title in ["QUEUE", "RECEIVED", "AREA", "FREE", "HELD", "FLIGHT", "REFILL", "STARVES", "CAUSE"] {
        assert!(shown[2].contains(title), "{title}: {shown:#?}");
    }
    // The queue with a problem comes first; nearly all of its area is dark.
    assert!(shown[3].starts_with(">!eth0:3") && shown[3].contains("[███"), "{shown:#?}");
    assert!(shown[3].contains("now") && shown[3].contains("never"), "{shown:#?}");
    assert!(shown[4].starts_with("  eth0:4") && !shown[4].contains("██"), "{shown:#?}");
    let all = shown.join("\n");
    assert!(all.contains("eth0:3 · model, pid 4242"), "{all}");
    assert!(all.contains("Cause: Never returned (leak) (E), confidence "), "{all}");
    assert!(all.contains("  do: a bug of the application"), "{all}");
    assert!(shown[23].starts_with(" q quit  ? help "), "{shown:#?}");
}

#[test]
fn one_queue_in_full_says_where_each_buffer_is() {
    let host = host();
    let mut view = ViewState::default();
    view.press(KeyEvent::from(KeyCode::Enter), &host);
    assert_eq!(view.page, Page::One);
    let shown = lines(&frame(&host, &view, Look::default(), (80, 60))).join("\n");
    for words in [
        "Where the buffers are",
        "4\u{202f}096 buffers of 4.0 KiB are 16.0 MiB",
        "held by the application",
        "in unread completions",
        "with NIC and page pool",
        "on the freelist",
        "refill ring, entries",
        "What flows",
        "starves now",
        "available ",
        "Never returned (leak) (E), confidence",
        "  do: ",
        "lasts, ",
    ] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    view.press(KeyEvent::from(KeyCode::Esc), &host);
    assert_eq!(view.page, Page::All);
}

#[test]
fn everything_that_is_known_is_drawn_at_any_size() {
    let (host, mut view) = (troubled(), ViewState::default());
    for page in [Page::All, Page::One] {
        view.page = page;
        view.queue = Some(host.queues[0].key.clone());
        for width in [1, 10, 20, 40, 79, 80, 100, 140, 300] {
            for height in [1, 3, 10, 24, 100] {
                frame(&host, &view, Look::default(), (width, height));
            }
        }
    }
}

#[test]
fn without_colour_and_unicode_nothing_of_either_is_left() {
    let host = host();
    for page in [Page::All, Page::One] {
        let view = ViewState { page, queue: Some(host.queues[0].key.clone()), ..ViewState::default() };
        let shown = frame(&host, &view, Look { colour: false, unicode: false }, (120, 40));
        assert!(shown.content.iter().all(|cell| cell.symbol().is_ascii()));
        assert!(shown.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        let all = lines(&shown).join("\n");
        assert!(all.contains("[###"), "{all}");
        let coloured = frame(&host, &view, Look::default(), (120, 40));
        assert!(coloured.content.iter().any(|cell| cell.fg != Color::Reset));
    }
}

#[test]
fn keys_sort_filter_and_choose() {
    let host = host();
    let mut view = ViewState::default();
    let order =
        |view: &ViewState| -> Vec<u32> { view.rows(&host).iter().map(|report| report.key.queue).collect() };
    assert_eq!(order(&view), [3, 4], "the queue with a problem first");
    press(&mut view, &host, "r");
    assert_eq!(order(&view), [4, 3]);
    press(&mut view, &host, "rss");
    assert_eq!((view.sort, order(&view)), (Sort::Rate, vec![4, 3]), "a queue that starves receives nothing");
    press(&mut view, &host, "sss");
    assert_eq!((view.sort, order(&view)), (Sort::Owner, vec![4, 3]), "cache, then model");
    press(&mut view, &host, "s");
    assert_eq!(view.sort, Sort::Urgency);

    press(&mut view, &host, "/CACHE 42");
    assert!(text(&host, &view).contains("filter: CACHE 42"));
    view.press(KeyEvent::from(KeyCode::Enter), &host);
    assert_eq!(order(&view), [4]);
    press(&mut view, &host, "/q");
    assert!(text(&host, &view).contains("No queue is like that"));
    view.press(KeyEvent::from(KeyCode::Esc), &host);
    assert_eq!(order(&view), [3, 4]);
    press(&mut view, &host, "t");
    assert_eq!(order(&view), [3]);
    press(&mut view, &host, "tj");
    assert_eq!(view.chosen(&host).map(|report| report.key.queue), Some(4));
    press(&mut view, &host, "jjj");
    assert_eq!(view.chosen(&host).map(|report| report.key.queue), Some(4), "there is no further");
    press(&mut view, &host, "g");
    assert_eq!(view.chosen(&host).map(|report| report.key.queue), Some(3));
}

#[test]
fn the_choice_stays_with_its_queue_when_the_order_changes() {
    let host = host();
    let mut view = ViewState::default();
    press(&mut view, &host, "j");
    press(&mut view, &host, "r");
    let shown = text(&host, &view);
    assert!(shown.contains("\n> eth0:4"), "{shown}");
}

#[test]
fn help_names_every_key_and_goes_away() {
    let host = host();
    let mut view = ViewState::default();
    press(&mut view, &host, "?");
    let shown = text(&host, &view);
    for words in ["Enter", "Space", "filter by queue", "quit", "held by the application"] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    assert_eq!(
        view.press(KeyEvent::from(KeyCode::Char('q')), &host),
        Action::Draw,
        "any key closes the help"
    );
    assert!(!view.help);
    assert_eq!(view.press(KeyEvent::from(KeyCode::Char('q')), &host), Action::Quit);
}

#[test]
fn a_page_is_scrolled_no_further_than_it_goes() {
    let host = host();
    let view = ViewState {
        page: Page::One,
        queue: Some(host.queues[0].key.clone()),
        scroll: 60_000,
        ..ViewState::default()
    };
    let shown = lines(&frame(&host, &view, Look::default(), (80, 12)));
    // The last line of the page, above the footer.
    assert!(!shown[10].trim().is_empty(), "{shown:#?}");
    let mut view = view;
    view.limit_scroll(7);
    press(&mut view, &host, "k");
    assert_eq!(view.scroll, 6);
}

#[test]
fn a_host_without_queues_says_so() {
    let host = HostDiagnosis { at: Some(Duration::from_secs(1)), ..HostDiagnosis::default() };
    assert!(text(&host, &ViewState::default()).contains("There is no zcrx queue on this host."));
}
