//! docs/overhead.md.

use std::fmt::Write;

use super::Figures;
use super::record::Record;
use super::targets::{TARGETS, Target, Unit};

/// liburing's example on the same software NIC, measured once by hand: total and user instructions per completion.
const LIBURING: (u32, u32) = (1224, 62);
/// Bytes per completion of the transfers measured.
const COMPLETION_BYTES: f64 = 3854.0;

/// Returns the page.
pub(super) fn render(record: &Record) -> String {
    let mut page = Page { text: String::new(), figures: &record.figures };
    page.introduction(&record.release);
    page.targets();
    page.receiving();
    page.copies();
    page.probes();
    for elsewhere in record.elsewhere.values() {
        page.line(&format!("On Linux {}:\n", elsewhere.release));
        page.table_of_probes(&elsewhere.figures);
        page.line("");
    }
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
            "# What zcrxd costs\n\n<!-- Written by `cargo xtask bench`. -->\n\n`cargo xtask bench` measures all figures of this page again and \
             writes it; `cargo xtask bench --check` fails if a gated figure has grown in each of three boots by more than 3 % (observing: 5 %).\n\n\
             ## Method\n\nThe figures are instructions, user space and kernel together, counted on Linux {release} in an emulated machine with one \
             processor whose clock advances by one nanosecond per instruction. The load of the host does not change them; two boots differ by \
             up to 1 % in one process and 2 % in the machine, except in one boot of ten or so, in which receiver and sender fall into another rhythm \
             and a completion costs a quarter more, or twice as much. The tables of receivers are therefore the lesser figures of two boots. zcrxd is built as for the packages (profile `release`).\n\n\
             - Instructions are not time: a cache miss costs as much as a hundred of them, and an emulated processor has no caches.\n\
             - Figures per completion are the median of three transfers of 32 MiB after one that does not count. The area is larger than a \
             transfer, and a transfer in which a segment was sent twice is refused.\n\
             - zcrxd's samples, one per second, are counted apart: they belong neither to a completion nor to a scrape.\n"
        );
        self.line(&lines);
    }

    fn targets(&mut self) {
        self.line("## Targets\n");
        self.line("Instructions, where no other unit stands there.\n");
        self.line("| Cost | at most | measured | |");
        self.line("|---|---:|---:|---|");
        for target in TARGETS {
            let row = target_row(target, (target.figure)(self.figures));
            self.line(&row);
        }
        self.line("");
    }

    fn receiving(&mut self) {
        self.line("## Receiving\n");
        self.line(
            "Instructions of the whole machine (sender, network stack, receiver) per completion of 3,854 bytes, on a queue of the software NIC, \
             with full accounting and no probes. Sender and network stack cost the same for all loops, and the kernel charges the network \
             stack's work to the task that an interrupt happens to meet: so the machine's figures are compared and not the receivers'. The bare \
             loop is the least that receives: it keeps no account and handles no error; 31 of its instructions are in user space. *Above the \
             bare loop* is what zcrxd's accounting and error handling cost. The machine's figures differ by up to 2 % between boots, so differences \
             below 100 instructions say nothing. The gate compares the receiver's own figures with one connection, which differ by 1 %.\n",
        );
        self.line(
            "| Receive loop | 1 connection | above the bare loop | 16 connections | above the bare loop |",
        );
        self.line("|---|---:|---:|---:|---:|");
        for (name, label) in [
            ("bare", "bare loop (`faulty-app bare`)"),
            ("discard", "zcrxd, sink discard"),
            ("discard-2-workers", "zcrxd, sink discard, 2 workers"),
        ] {
            let mut row = format!("| {label} ");
            for connections in [1, 16] {
                let of = |name: &str| self.of(&format!("receive/{name}/{connections}/machine"));
                let above = of(name).zip(of("bare")).map(|(cost, bare)| cost - bare);
                write!(row, "| {} | {} ", number(of(name)), number(above))
                    .expect("a string takes what is written to it");
            }
            self.line(&format!("{row}|"));
        }
        let (total, user) = LIBURING;
        self.line(&format!(
            "\nliburing's `examples/zcrx`, of November 2026, took {total} instructions per completion ({user} of them in user space) on the \
             same NIC and Linux 7.3.4, where the bare loop took 1,196, in the receiver alone. This was measured once, by hand; the project does not fetch liburing.\n"
        ));
    }

    fn copies(&mut self) {
        self.line("## Receiving without zcrx\n");
        self.line(
            "Instructions of the whole machine per KiB of payload. The loop on epoll reads up to 64 KiB at a time into the same memory \
             (`faulty-app epoll`). The emulated processor copies 8 bytes per instruction; a real one copies faster, which makes what is \
             left of the difference larger.\n",
        );
        self.line("| Receive loop | 1 connection | 16 connections |");
        self.line("|---|---:|---:|");
        for (name, label) in [("epoll", "epoll and read"), ("zcrxd", "zcrxd, backend copy, sink discard")] {
            let of = |connections: u32| self.of(&format!("copy/{name}/{connections}/machine"));
            let row = format!("| {label} | {} | {} |", number(of(1)), number(of(16)));
            self.line(&row);
        }
        self.line("");
    }

    fn probes(&mut self) {
        self.line("## Probes\n");
        self.line(
            "Instructions per completion while another program receives with the bare loop: in that program, and in the whole machine (sender, \
             network stack, receiver; without zcrxd's own samples).\n",
        );
        self.table_of_probes(self.figures);
        self.table_of_each();
        self.line(
            "\nFor comparison, a bpftrace one-liner that counts completions (`fentry:io_zcrx_queue_cqe { @ = count(); }`) added 12 % to the \
             receiver with bpftrace 0.23 and 21 % with bpftrace 0.27, and one with `hist()` 24 % and 28 %; an empty fentry program on each \
             completion added 10 %. These were measured once, by hand, in November 2026.\n",
        );
    }

    /// The cost of the probes by what they are attached with.
    fn table_of_probes(&mut self, figures: &Figures) {
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
                let of = |name: &str| figures.get(&format!("probes/{name}/{part}")).copied();
                let added = of(name).zip(of("none")).map(|(cost, none)| (cost / none - 1.0) * 100.0);
                let added = added.map_or_else(|| "-".to_owned(), |added| format!("{added:+.1} %"));
                write!(row, "| {} | {added} ", number(of(name)))
                    .expect("a string takes what is written to it");
            }
            self.line(&format!("{row}|"));
        }
    }

    /// The cost of each probe of the default set.
    fn table_of_each(&mut self) {
        self.line(
            "\nWhat each probe of the default set adds by BPF trampolines: the set, less the set without it (`probes.disabled`), and without those that \
             need it. Probes that run for less than one in a thousand completions are left out. Differences below 3 instructions in the \
             receiver and 30 in the machine say nothing.\n",
        );
        self.line("| Probe | runs per 1,000 completions | receiver | whole machine |");
        self.line("|---|---:|---:|---:|");
        let rows: Vec<String> = self
            .figures
            .iter()
            .filter_map(|(name, runs)| {
                let probe = name.strip_prefix("probe/")?.strip_suffix("/runs")?;
                let added = |part: &str| {
                    let all = self.of(&format!("probes/fexit/{part}"))?;
                    Some(all - self.of(&format!("probe/{probe}/{part}"))?)
                };
                let added =
                    |part: &str| added(part).map_or_else(|| "-".to_owned(), |added| format!("{added:+.1}"));
                Some(format!(
                    "| `{probe}` | {} | {} | {} |",
                    number(Some(*runs)),
                    added("receiver"),
                    added("machine")
                ))
            })
            .collect();
        for row in rows {
            self.line(&row);
        }
    }

    fn observing(&mut self) {
        self.line("## Observing\n");
        self.line(
            "zcrxd with its default probes and interval, by the number of queues without a device on the host. Idle means that no data flows \
             and no client scrapes. Stacks and heap have ordinary pages and little free memory (decision 0087; Linux 6.18 for the \
             former): six starts without queues, looked at once, by \
             hand, had 13.4 to 13.6 MiB.\n",
        );
        self.line("| Host | idle, per second | a scrape | a scrape, bytes | resident | BPF maps |");
        self.line("|---|---:|---:|---:|---:|---:|");
        for (name, label) in [
            ("queues/0", "no queue"),
            ("queues/1", "1 queue"),
            ("queues/16", "16 queues"),
            ("queues/64", "64 queues"),
            ("queues/256", "256 queues"),
            ("queues/0-afterwards", "a minute after the 256 queues have ended"),
            ("files/2000", "1 queue, 2 processes with 1,000 open files each"),
            ("files/100000", "1 queue, 100 processes with 1,000 open files each"),
            ("buffers/4096", "1 queue with an area of 4,096 buffers"),
            ("buffers/65536", "1 queue with an area of 65,536 buffers"),
            ("buffers/262144", "1 queue with an area of 262,144 buffers"),
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
            "Calculated, not measured. Assumptions: completions of 3,854 bytes; zcrxd's receive loop costs per completion what it costs above the \
             bare loop (sink discard, one connection); the default probes cost what they add to the whole machine (BPF trampolines); zcrxd \
             observes 64 queues and is scraped every 15 seconds, whatever the rate; a core runs at 3 GHz and completes two instructions per \
             cycle. Larger buffers divide the two columns in the middle by the same factor. The number of processes on the host enters \
             nothing: see the rows with open files above.\n",
        );
        self.line(
            "| Rate | completions per second | receive loop above the bare loop | default probes | observing 64 queues |",
        );
        self.line("|---|---:|---:|---:|---:|");
        let difference = |this: &str, base: &str| Some(self.of(this)? - self.of(base)?);
        let above = difference("receive/discard/1/machine", "receive/bare/1/machine");
        // What is below the noise of two boots costs nothing that could be shown.
        let probes = difference("probes/fexit/machine", "probes/none/machine").map(|added| added.max(0.0));
        let observing = || {
            let idle = self.of("queues/64/idle-instructions-per-second")?;
            Some(idle + self.of("queues/64/scrape-instructions")? / 15.0)
        };
        let observing = share(observing());
        let rows = [100_u32, 200, 400, 800].map(|gigabits| {
            let rate = f64::from(gigabits) * 1e9 / 8.0 / COMPLETION_BYTES;
            let of_rate = |instructions: Option<f64>| share(instructions.map(|each| each * rate));
            let (above, probes) = (of_rate(above), of_rate(probes));
            format!("| {gigabits} Gbit/s | {} | {above} | {probes} | {observing} |", number(Some(rate)))
        });
        for row in rows {
            self.line(&row);
        }
    }
}

/// Instructions per second as a share of a core.
fn share(instructions: Option<f64>) -> String {
    let Some(instructions) = instructions else { return "-".to_owned() };
    let percent = instructions / 6e9 * 100.0;
    if percent < 10.0 { format!("{percent:.1} % of a core") } else { format!("{percent:.0} % of a core") }
}

/// The row of one target: its limit, the figure, and by how much it is missed.
fn target_row(target: &Target, figure: Option<f64>) -> String {
    let shown = |value: Option<f64>| match (target.unit, value) {
        (Unit::Instructions, value) => number(value),
        (_, None) => "-".to_owned(),
        (Unit::Percent, Some(value)) => format!("{value:+.1} %"),
        (Unit::MiB, Some(value)) => format!("{value:.1} MiB"),
    };
    let verdict = match figure {
        None => "-".to_owned(),
        Some(figure) if figure <= target.limit => "met".to_owned(),
        Some(figure) if target.unit == Unit::Percent => {
            format!("missed by {:.1} percentage points", figure - target.limit)
        }
        Some(figure) => format!("missed: {:.2} times the target", figure / target.limit),
    };
    format!("| {} | {} | {} | {verdict} |", target.what, shown(Some(target.limit)), shown(figure))
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
    fn target_is_missed_by_the_share_above_its_limit() {
        let start = |instructions| Figures::from([("start/default/instructions".to_owned(), instructions)]);
        let row = |instructions| {
            let page = render(&Record { figures: start(instructions), ..Record::default() });
            page.lines().find(|line| line.starts_with("| From start to ready")).map(str::to_owned)
        };
        let missed =
            "| From start to ready | 1,000,000,000 | 1,500,000,000 | missed: 1.50 times the target |";
        assert_eq!(row(1.5e9).as_deref(), Some(missed));
        assert!(row(1e9).is_some_and(|row| row.ends_with("| met |")));
    }

    #[test]
    fn page_without_figures_claims_none() {
        let page = render(&Record::default());
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| zcrxd, sink")).collect();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.ends_with("| - | - | - | - |")), "{rows:?}");
        assert!(
            !page.contains("| met |") && !page.contains("missed"),
            "no target is judged without a figure"
        );
    }
}
