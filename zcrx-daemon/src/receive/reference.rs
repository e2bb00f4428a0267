//! `docs/receive.md`: what the receive path does about every answer of the kernel's, written for people.

use std::fmt::{Result, Write};

use crate::model::ZcrxFeature;
use crate::proofs;
use crate::receive::completion;
use zcrx_uapi::errno;
use zcrx_uapi::registration::{self, Explanation, Kind};

const HEAD: &str = "\
# Receiving

What the kernel may answer to the receive path, what it means, and what zcrxd does about it. Written from the tables that
the code itself acts by; change those, then regenerate with

    cargo xtask regenerate

`Shown by` names scenarios of the [lab](../xtask/lab/README.md) that assert the row on real kernels.
";

const COMPLETIONS: &str = "
## Completions of RECV_ZC

Any completion without `IORING_CQE_F_MORE` ends the multishot receive. Errors are counted in `zcrxd_receiver_receive_errors_total`,
receives armed again in `zcrxd_receiver_rearms_total`.

| Result | Meaning | What zcrxd does | Shown by |
|---|---|---|---|
| > 0 | data: `off` holds the area's id from bit 48 on, and below the offset in that area | hands it to the sink; the buffer goes back through the refill ring when the sink is done | `zero-copy` |
| 0 | end of the stream (zcrxd sets no byte cap) | lets the sink finish, then closes the connection | `zero-copy` |
";

const REGISTRATIONS: &str = "
## Registration

The kernel reports only an errno to the application. Where zcrxd can read the tracepoint `netlink:netlink_extack`, `/metrics`
also shows the kernel's message. With backend `auto`, zcrxd tries the next backend after a refusal, and reports both in the log, on
the page and in `zcrxd_receiver_backend_refused_info`; with a named backend, `zcrxd run` ends with exit code 3. After EEXIST zcrxd
retries for one second, because the kernel takes a moment to release a queue. When a queue fails later, zcrxd registers it again
with pauses from 0.1 to 5 s.

| Errno | Meaning on a device | Meaning without | What would remedy it | Shown by |
|---|---|---|---|---|
";

const FEATURES: &str = "
## Features of newer kernels

Asked by `IORING_REGISTER_QUERY` where there is one, else tried; never guessed from a version. `zcrxd_receiver_feature` says
what this kernel offers, `zcrxd_receiver_feature_fallback_info` what is configured and done without.

| Feature | Since Linux | What zcrxd does with it | Without it | Shown by |
|---|---|---|---|---|
";

/// What zcrxd does with a feature, and without it.
const fn use_of(feature: ZcrxFeature) -> (&'static str, &'static str) {
    match feature {
        ZcrxFeature::FlushRq => (
            "has the refill ring consumed when receives wait for a buffer while entries are parked, when the ring is \
             full, when the NIC found no buffer, and on a queue without a device",
            "receives without a buffer try again after a while, and are given up in the end",
        ),
        ZcrxFeature::Export => (
            "`workers` threads, each with a ring of its own, receive what one queue brings",
            "one thread receives all of it",
        ),
        ZcrxFeature::RxBufLen => (
            "`buffer` sets the size of a buffer; the area then lies on huge pages",
            "buffers have the size of a page, also where driver or backend refuse others",
        ),
        ZcrxFeature::Nodev => ("the backend `nodev`", "the backend `copy`"),
        ZcrxFeature::Events => (
            "counts ALLOC_FAIL and COPY in `zcrxd_receiver_notifications_total` and arms them again, at once after an area was \
             added, else after 0.1 s; on ALLOC_FAIL publishes what is stashed, has the refill ring consumed, and adds \
             an area",
            "the queue does not notice by itself that the NIC starves; probes do",
        ),
        ZcrxFeature::Statistics => (
            "`zcrxd_receiver_kernel_copied_bytes_total` and `zcrxd_receiver_copied_bytes_total`",
            "on a device queue the number of copied bytes is unknown: the series are absent",
        ),
        ZcrxFeature::AddArea => (
            "doubles the queue's memory, at most 64 MiB at a time, up to `area_max`, when the NIC found no buffer or a \
             copy none while no entry is parked",
            "the area keeps its size",
        ),
    }
}

/// The page, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    write(&mut page).expect("writing to a String cannot fail");
    page
}

fn write(page: &mut String) -> Result {
    page.push_str(COMPLETIONS);
    for row in completion::ROWS {
        let name = errno::name(row.errno).unwrap_or_default();
        let shown = match row.unproved {
            Some(reason) => reason.to_owned(),
            None => proofs::markdown(&format!("completion {name}")),
        };
        let does = row.answer.words();
        writeln!(page, "| `-{name}` | {} | {does} | {shown} |", row.meaning)?;
    }
    page.push_str(REGISTRATIONS);
    for number in registration::KNOWN {
        let name = errno::name(number).unwrap_or_default();
        let device = registration::explain(number, Kind::Device);
        let nodev = registration::explain(number, Kind::Nodev);
        let Explanation { meaning, remedy } = device;
        let (without, remedies) = if nodev == device {
            ("the same", remedy.to_owned())
        } else {
            (nodev.meaning, format!("{remedy}; without a device: {}", nodev.remedy))
        };
        let shown = proofs::markdown(&format!("registration {name}"));
        writeln!(page, "| `{name}` | {meaning} | {without} | {remedies} | {shown} |")?;
    }
    page.push_str(FEATURES);
    for feature in ZcrxFeature::ALL {
        let (does, without) = use_of(feature);
        let (name, since) = (feature.name(), feature.since());
        let shown = proofs::markdown(&format!("feature {name}"));
        writeln!(page, "| `{name}` | {since} | {does} | {without} | {shown} |")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn receive_is_current() -> std::io::Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/receive.md");
        let current = reference();
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            fs::write(path, &current)?;
        }
        assert!(
            fs::read_to_string(path).unwrap_or_default() == current,
            "docs/receive.md is stale: cargo xtask regenerate"
        );
        Ok(())
    }

    /// Every known errno has a row, and no row is empty.
    #[test]
    fn every_known_errno_is_in_the_tables() {
        let page = reference();
        for number in registration::KNOWN {
            assert!(page.contains(&format!("| `{}` |", errno::name(number).expect("a name"))), "{number}");
        }
        for row in page.lines().filter(|line| line.starts_with("| ")) {
            assert!(row.trim_matches('|').split('|').all(|cell| !cell.trim().is_empty()), "{row}");
        }
    }

    #[test]
    fn every_proved_statement_has_a_row() {
        for name in proofs::statements("completion") {
            let row = completion::ROWS.iter().find(|row| errno::name(row.errno) == Some(name));
            assert!(row.is_some_and(|row| row.unproved.is_none()), "completion {name}");
        }
        for name in proofs::statements("registration") {
            let known = registration::KNOWN.iter().any(|number| errno::name(*number) == Some(name));
            assert!(known, "registration {name}");
        }
        for name in proofs::statements("feature") {
            assert!(ZcrxFeature::ALL.iter().any(|feature| feature.name() == name), "feature {name}");
        }
    }
}
