//! Writes `docs/receive.md`: how the receive path handles every answer of the kernel.

use std::fmt::{Result, Write};

use crate::model::ZcrxFeature;
use crate::proofs;
use crate::receive::completion;
use zcrx_uapi::errno;
use zcrx_uapi::registration::{self, Explanation, Kind};

const HEAD: &str = "\
# Receiving

Each result that the kernel can return to the receive path, its meaning, and zcrxd's reaction. This page is generated from the
tables that the code uses: change those, then regenerate with

    cargo xtask regenerate

`Shown by` names scenarios of the [lab](../xtask/lab/README.md) that assert the row on real kernels.
";

const COMPLETIONS: &str = "
## Completions of RECV_ZC

Any completion without `IORING_CQE_F_MORE` ends the multishot receive. zcrxd counts errors in `zcrxd_receiver_receive_errors_total`,
and receives that it arms again in `zcrxd_receiver_rearms_total`.

| Result | Meaning | What zcrxd does | Shown by |
|---|---|---|---|
| > 0 | data: `off` holds the area's id from bit 48 on, and below the offset in that area | hands the data to the sink, and returns the buffer through the refill ring when the sink has finished | `zero-copy` |
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

zcrxd queries features by `IORING_REGISTER_QUERY`; on kernels without it, zcrxd tries them. It never infers a feature from the
kernel's version. `zcrxd_receiver_feature` shows the features of this kernel, `zcrxd_receiver_feature_fallback_info` the configured
features that it lacks.

| Feature | Since Linux | What zcrxd does with it | Without it | Shown by |
|---|---|---|---|---|
";

/// What zcrxd does with a feature, and without it.
const fn use_of(feature: ZcrxFeature) -> (&'static str, &'static str) {
    match feature {
        ZcrxFeature::FlushRq => (
            "makes the kernel consume the refill ring when receives wait for a buffer while entries wait in the ring, when the \
             ring is full, when the NIC found no buffer, and on a queue without a device",
            "zcrxd arms receives without a buffer again after pauses, and finally closes the connection",
        ),
        ZcrxFeature::Export => (
            "`workers` threads, each with its own ring, receive from one queue",
            "one thread receives from the queue",
        ),
        ZcrxFeature::RxBufLen => (
            "`buffer` sets the size of a buffer; the area then lies on huge pages",
            "buffers have the size of a page, as they do where the driver or the backend refuses other sizes",
        ),
        ZcrxFeature::Nodev => ("the backend `nodev`", "the backend `copy`"),
        ZcrxFeature::Events => (
            "counts ALLOC_FAIL and COPY in `zcrxd_receiver_notifications_total` and arms them again, at once after it has added an \
             area, else after 0.1 s; on ALLOC_FAIL publishes stashed entries, makes the kernel consume the refill ring, and \
             adds an area",
            "zcrxd notices only by probes that the NIC starves",
        ),
        ZcrxFeature::Statistics => (
            "`zcrxd_receiver_kernel_copied_bytes_total` and `zcrxd_receiver_copied_bytes_total`",
            "on a device queue the number of copied bytes is unknown: the series are absent",
        ),
        ZcrxFeature::AddArea => (
            "doubles the queue's memory, at most 64 MiB at a time, up to `area_max`, when the NIC or a copy found no buffer while \
             no entry waits in the refill ring",
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
