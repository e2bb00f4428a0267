//! `docs/receive.md`: what the receive path does about every answer of the kernel's, written for people.

use std::fmt::{Result, Write};

use crate::model::ZcrxFeature;
use crate::receive::completion::{self, Shown};
use zcrx_uapi::errno;
use zcrx_uapi::registration::{self, Explanation, Kind};

const HEAD: &str = "\
# Receiving

What the kernel may answer to the receive path, what it means, and what zcrxd does about it. Written from the tables that
the code itself acts by; change those, then regenerate with

    ZCRXD_BLESS=1 cargo test -p zcrx-daemon receive_is_current

`Shown by` names scenarios of the [lab](../xtask/lab/README.md) that assert the row on real kernels.
";

const COMPLETIONS: &str = "
## Completions of RECV_ZC

Any completion without `IORING_CQE_F_MORE` ends the multishot receive. Errors are counted in `zcrx_receive_errors_total`,
receives armed again in `zcrx_receive_rearms_total`.

| Result | Meaning | What zcrxd does | Shown by |
|---|---|---|---|
| > 0 | data: `off` holds the area's id from bit 48 on, and below the offset in that area | hands it to the sink; the buffer goes back through the refill ring when the sink is done | `zero-copy` |
| 0 | end of the stream (zcrxd sets no byte cap) | lets the sink finish, then closes the connection | `zero-copy` |
";

const REGISTRATIONS: &str = "
## Registration

The kernel tells user space a number only; where the tracepoint `netlink:netlink_extack` can be read, `/metrics` has its
words. With backend `auto` a refusal leads to the next backend, and both are said in the log, on the page and in
`zcrx_receive_backend_refused_info`; with a named backend `zcrxd run` ends with exit code 3. EEXIST is tried again for a
second first, because the kernel takes a moment to let go of a queue. A queue that fails later is registered again with
pauses from 0.1 to 5 s.

| Errno | Meaning on a device | Meaning without | What would remedy it | Shown by |
|---|---|---|---|---|
";

const FEATURES: &str = "
## Features of newer kernels

Asked by `IORING_REGISTER_QUERY` where there is one, else tried; never guessed from a version. `zcrx_receive_feature` says
what this kernel offers, `zcrx_receive_fallback_info` what is configured and done without.

| Feature | Since Linux | What zcrxd does with it | Without it | Shown by |
|---|---|---|---|---|
";

/// What shows an errno of a registration; each has a place here.
const REGISTRATION_SHOWN: &[(i32, &[&str])] = &[
    (libc::EPERM, &["refused-requests"]),
    (libc::EINVAL, &["refused-requests", "refused-interfaces"]),
    (libc::EEXIST, &["refused-requests", "refused-interfaces"]),
    (libc::EBUSY, &["refused-interfaces", "registration-words"]),
    (libc::ENODEV, &["refused-requests"]),
    (libc::ENETDOWN, &["refused-interfaces"]),
    (libc::ERANGE, &["refused-interfaces"]),
    (libc::EOPNOTSUPP, &["refused-requests", "large-buffers-refused"]),
    (libc::ENODATA, &["refused-interfaces"]),
    (libc::ENOMEM, &["refused-interfaces"]),
    (libc::EFAULT, &["refused-requests"]),
    (libc::EOVERFLOW, &["refused-interfaces"]),
    (libc::E2BIG, &["refused-requests"]),
    (libc::EBADF, &["shared-queue"]),
    (libc::EACCES, &["refused-requests"]),
    (libc::ENOSYS, &["refused-requests"]),
];

/// What is done with a feature, and without; and what shows it.
const fn use_of(feature: ZcrxFeature) -> (&'static str, &'static str, &'static [&'static str]) {
    match feature {
        ZcrxFeature::FlushRq => (
            "has the refill ring consumed when receives wait for a buffer while entries are parked, when the ring is \
             full, when the NIC found no buffer, and on a queue without a device",
            "receives without a buffer try again after a while, and are given up in the end",
            &["copy-fallback", "nodev"],
        ),
        ZcrxFeature::Export => (
            "`workers` threads, each with a ring of its own, receive what one queue brings",
            "one thread receives all of it",
            &["workers", "workers-nodev", "workers-alone", "shared-queue"],
        ),
        ZcrxFeature::RxBufLen => (
            "`buffer` sets the size of a buffer; the area then lies on huge pages",
            "buffers have the size of a page, also where driver or backend refuse others",
            &["large-buffers", "large-buffers-refused"],
        ),
        ZcrxFeature::Nodev => ("the backend `nodev`", "the backend `copy`", &["nodev", "best-backend"]),
        ZcrxFeature::Events => (
            "counts ALLOC_FAIL and COPY in `zcrx_receive_events_total` and arms them again, at once after an area was \
             added, else after 0.1 s; on ALLOC_FAIL publishes what is stashed, has the refill ring consumed, and adds \
             an area",
            "the queue does not notice by itself that the NIC starves; probes do",
            &["event-alloc-fail", "copy-fallback"],
        ),
        ZcrxFeature::Statistics => (
            "`zcrx_receive_kernel_copied_bytes_total` and `zcrx_receive_copied_bytes_total`",
            "on a device queue nobody knows what was copied: the series are absent",
            &["copy-fallback"],
        ),
        ZcrxFeature::AddArea => (
            "doubles the queue's memory, at most 64 MiB at a time, up to `area_max`, when the NIC found no buffer or a \
             copy none while no entry is parked",
            "the area keeps its size",
            &["area-grows"],
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
        let shown = match row.shown {
            Shown::By(scenarios) => names(scenarios),
            Shown::NotHere(reason) => reason.to_owned(),
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
        let shown = REGISTRATION_SHOWN.iter().find(|(shown, _)| *shown == number);
        let shown = names(shown.map_or(&[], |(_, by)| by));
        writeln!(page, "| `{name}` | {meaning} | {without} | {remedies} | {shown} |")?;
    }
    page.push_str(FEATURES);
    for feature in ZcrxFeature::ALL {
        let (does, without, shown) = use_of(feature);
        let (name, since, shown) = (feature.name(), feature.since(), names(shown));
        writeln!(page, "| `{name}` | {since} | {does} | {without} | {shown} |")?;
    }
    Ok(())
}

fn names(scenarios: &[&str]) -> String {
    scenarios.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
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
            "docs/receive.md is stale: ZCRXD_BLESS=1 cargo test -p zcrx-daemon receive_is_current"
        );
        Ok(())
    }

    /// Every errno that anybody names has a row, and no row is empty.
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
    fn scenarios_that_are_named_exist() -> std::io::Result<()> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/lab/guest/src/scenarios");
        let mut source = String::new();
        let mut folders = vec![std::path::PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    source += &fs::read_to_string(path)?;
                }
            }
        }
        let completions = completion::ROWS.iter().map(|row| row.shown.scenarios());
        let registrations = REGISTRATION_SHOWN.iter().map(|(_, shown_by)| *shown_by);
        let features = ZcrxFeature::ALL.iter().map(|feature| use_of(*feature).2);
        for name in completions.chain(registrations).chain(features).flatten() {
            assert!(source.contains(&format!("\"{name}\"")), "the lab has no scenario {name}");
        }
        Ok(())
    }
}
