//! docs/overhead.md.

use std::fmt::Write;

use super::Figures;

/// liburing's example on the same software NIC, measured once by hand: total and user instructions per completion.
const LIBURING: (u32, u32) = (1224, 62);
/// Bytes per completion of the transfers measured.
const COMPLETION_BYTES: f64 = 3854.0;

/// The page.
pub(super) fn render(release: &str, figures: &Figures) -> String {
    let mut page = Page { text: String::new(), figures };
    page.introduction(release);
    page.receiving();
    page.probes();
    page.observing();
    page.extrapolation();
    page.text
}

struct Page<'a> {
    text: String,
    figures: &'a Figures,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn of(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    fn introduction(&mut self, release: &str) {
        let lines = format!(
            "# What zcrxd costs\n\n<!-- Written by `cargo xtask bench`. -->\n\nAll figures are instructions, counted on Linux {release} in an \
             emulated machine whose clock advances by one nanosecond per instruction: the load of the host does not change them, and two \
             boots differ by about 0.5 %. Instructions are not time; a cache miss costs as much as a hundred of them. Each figure is the \
             median of three runs after one that does not count. `cargo xtask bench` measures all of them again, `cargo xtask bench --check` \
             fails if a gated one has grown by more than 3 %.\n"
        );
        self.line(&lines);
    }

    fn receiving(&mut self) {
        self.line("## Receiving\n");
        self.line(
            "Instructions per completion of 3,854 bytes, on a queue of the software NIC, with full accounting and no probes. The bare loop is \
             the least that receives: it keeps no account and handles no error. *Above the bare loop* is what zcrxd's own accounting, error \
             handling and sinks cost.\n",
        );
        self.line(
            "| Receive loop | 1 connection | above the bare loop | 16 connections | above the bare loop |",
        );
        self.line("|---|---:|---:|---:|---:|");
        for (name, label) in [
            ("bare", "bare loop (`faulty-app bare`)"),
            ("discard", "zcrxd, sink discard"),
            ("discard-2-workers", "zcrxd, sink discard, 2 workers"),
            ("verify", "zcrxd, sink verify"),
        ] {
            let mut row = format!("| {label} ");
            for connections in [1, 16] {
                let of = |name: &str| self.of(&format!("receive/{name}/{connections}/receiver"));
                let above = of(name).zip(of("bare")).map(|(cost, bare)| cost - bare);
                write!(row, "| {} | {} ", number(of(name)), number(above))
                    .expect("a string takes what is written to it");
            }
            self.line(&format!("{row}|"));
        }
        let (total, user) = LIBURING;
        self.line(&format!(
            "\nliburing's `examples/zcrx`, of November 2026, took {total} instructions per completion ({user} of them in user space) on the \
             same NIC and Linux 7.3.4; that was measured once, by hand, and the project does not fetch it.\n"
        ));
    }

    fn probes(&mut self) {
        self.line("## Probes\n");
        self.line(
            "Instructions per completion while another program receives with the bare loop: in that program, and in the whole machine (sender, \
             network stack, receiver).\n",
        );
        self.line("| Probes | receiver | added | whole machine | added |");
        self.line("|---|---:|---:|---:|---:|");
        for (name, label) in [
            ("none", "zcrxd does not run"),
            ("fexit", "default set by BPF trampolines"),
            ("kretprobe", "default set by kprobes"),
            ("kprobe-multi", "default set by kprobe_multi"),
        ] {
            let mut row = format!("| {label} ");
            for part in ["receiver", "machine"] {
                let of = |name: &str| self.of(&format!("probes/{name}/{part}"));
                let added = of(name).zip(of("none")).map(|(cost, none)| (cost / none - 1.0) * 100.0);
                let added = added.map_or_else(|| "-".to_owned(), |added| format!("{added:+.1} %"));
                write!(row, "| {} | {added} ", number(of(name)))
                    .expect("a string takes what is written to it");
            }
            self.line(&format!("{row}|"));
        }
        self.line("");
    }

    fn observing(&mut self) {
        self.line("## Observing\n");
        self.line(
            "zcrxd with its default probes and interval, by the number of queues without a device on the host; idle means that no data flows \
             and nobody scrapes.\n",
        );
        self.line("| Host | idle, instructions a second | a scrape, instructions | a scrape, bytes | resident | maps |");
        self.line("|---|---:|---:|---:|---:|---:|");
        for (name, label) in [
            ("queues/0", "no queue"),
            ("queues/1", "1 queue"),
            ("queues/16", "16 queues"),
            ("queues/64", "64 queues"),
            ("queues/256", "256 queues"),
            ("queues/0-afterwards", "a minute after the 256 queues are gone"),
            ("files/2000", "1 queue, 2 processes with 1,000 files each"),
            ("files/100000", "1 queue, 100 processes with 1,000 files each"),
        ] {
            let of = |figure: &str| self.of(&format!("{name}/{figure}"));
            let mib = |bytes: Option<f64>| {
                bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1} MiB", bytes / 1_048_576.0))
            };
            let row = format!(
                "| {label} | {} | {} | {} | {} | {} |",
                number(of("idle-instructions-per-second")),
                number(of("scrape-instructions")),
                number(of("scrape-bytes")),
                mib(of("resident-bytes")),
                mib(of("map-bytes"))
            );
            self.line(&row);
        }
        let (plain, probed) =
            (self.of("start/without-probes/instructions"), self.of("start/default/instructions"));
        self.line(&format!(
            "\nFrom start to ready: {} instructions without probes, {} with the default set.\n",
            number(plain),
            number(probed)
        ));
    }

    /// What the figures mean at line rates that nothing here reaches.
    fn extrapolation(&mut self) {
        self.line("## At higher rates, on paper\n");
        self.line(
            "Reckoned, not measured: completions a second at that rate with 3,854 bytes each, times what a completion costs above the bare loop \
             (sink discard, one connection) and what the default probes add to the whole machine (BPF trampolines), as a share of one core of \
             3 GHz that completes two instructions per cycle. Larger buffers divide both by the same factor.\n",
        );
        self.line(
            "| Rate | completions a second | zcrxd's receive loop above the bare loop | default probes |",
        );
        self.line("|---|---:|---:|---:|");
        let difference = |this: &str, base: &str| Some(self.of(this)? - self.of(base)?);
        let above = difference("receive/discard/1/receiver", "receive/bare/1/receiver");
        let probes = difference("probes/fexit/machine", "probes/none/machine");
        let share = |instructions: Option<f64>, rate: f64| {
            instructions.map_or_else(
                || "-".to_owned(),
                |instructions| format!("{:.0} % of a core", instructions * rate / 6e9 * 100.0),
            )
        };
        let mut rows = Vec::new();
        for gigabits in [100_u32, 200, 400, 800] {
            let rate = f64::from(gigabits) * 1e9 / 8.0 / COMPLETION_BYTES;
            rows.push(format!(
                "| {gigabits} Gbit/s | {} | {} | {} |",
                number(Some(rate)),
                share(above, rate),
                share(probes, rate)
            ));
        }
        for row in rows {
            self.line(&row);
        }
    }
}

/// A figure with thousands separated; a dash where it was not measured.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated_and_unmeasured_figures_are_dashes() {
        assert_eq!(number(Some(1_234_567.4)), "1,234,567");
        assert_eq!(number(Some(-12.0)), "-12");
        assert_eq!(number(None), "-");
    }

    #[test]
    fn page_without_figures_claims_none() {
        let page = render("7.3", &Figures::new());
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| zcrxd, sink")).collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.ends_with("| - | - | - | - |")), "{rows:?}");
    }
}
