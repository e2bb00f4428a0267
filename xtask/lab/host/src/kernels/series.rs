//! The kernels that are of interest: which series, and in which of Debian's builds.

use serde::{Deserialize, Serialize};

use xtask_tools::architecture::Architecture;

/// Kernels that zcrxd is measured on, newest first. Newer ones that appear in the suites are added on their own.
pub(super) const SERIES: [Series; 13] = [
    Series::new(7, 3, Flavour::Cloud, "zcrx with everything this project uses"),
    Series::new(7, 3, Flavour::Realtime, "the same, with PREEMPT_RT"),
    Series::new(7, 3, Flavour::Arm64, "the same on 64-bit Arm"),
    Series::new(7, 3, Flavour::Arm64With16K, "the same with pages of 16 KiB"),
    Series::new(7, 2, Flavour::Cloud, "events and statistics"),
    Series::new(7, 2, Flavour::Arm64, "the same on 64-bit Arm"),
    Series::new(7, 1, Flavour::Cloud, "first with queues without a device"),
    Series::new(7, 0, Flavour::Cloud, "rx_buf_len"),
    Series::new(6, 19, Flavour::Cloud, "flush and export of queues"),
    Series::new(6, 18, Flavour::Cloud, "first with questions about features"),
    Series::new(6, 16, Flavour::Cloud, "first with many queues per ring"),
    Series::new(6, 12, Flavour::Cloud, "no zcrx"),
    Series::new(6, 12, Flavour::Arm64, "the same on 64-bit Arm"),
];

/// Major, minor and patch number.
pub(super) type Version = (u32, u32, u32);

/// One of Debian's builds of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Flavour {
    /// For virtual machines: small, and everything the lab needs is built in.
    Cloud,
    /// With PREEMPT_RT.
    Realtime,
    /// For virtual machines on 64-bit Arm, with pages of 4 KiB.
    Arm64,
    /// For all machines of 64-bit Arm, with pages of 16 KiB.
    Arm64With16K,
}

impl Flavour {
    /// How its releases end.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Cloud => "cloud-amd64",
            Self::Realtime => "rt-amd64",
            Self::Arm64 => "cloud-arm64",
            Self::Arm64With16K => "arm64-16k",
        }
    }

    /// What follows the version in the name of its series.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Cloud => "",
            Self::Realtime => "-rt",
            Self::Arm64 => "-arm64",
            Self::Arm64With16K => "-arm64-16k",
        }
    }

    /// What it runs on.
    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Cloud | Self::Realtime => Architecture::Amd64,
            Self::Arm64 | Self::Arm64With16K => Architecture::Arm64,
        }
    }
}

/// One series of kernels in one flavour, as in "7.3" or "7.3-arm64".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// Major and minor number.
    pub version: (u32, u32),
    /// Build.
    pub flavour: Flavour,
    /// Why it is in the lab.
    pub about: &'static str,
}

impl Series {
    const fn new(major: u32, minor: u32, flavour: Flavour, about: &'static str) -> Self {
        Self { version: (major, minor), flavour, about }
    }

    /// Its name, "7.3" or "7.3-arm64".
    pub(crate) fn name(self) -> String {
        format!("{}.{}{}", self.version.0, self.version.1, self.flavour.mark())
    }
}

/// The names of all.
pub(crate) fn names() -> Vec<String> {
    SERIES.into_iter().map(Series::name).collect()
}

/// What the kernel of that name runs on; `None` if there is none of that name.
pub(crate) fn architecture_of(name: &str) -> Option<Architecture> {
    SERIES.into_iter().find(|series| series.name() == name).map(|series| series.flavour.architecture())
}

/// What the named kernels run on, and what this machine is.
pub(crate) fn architectures_of(names: &[String]) -> Vec<Architecture> {
    let is_needed = |architecture: &Architecture| {
        *architecture == Architecture::HERE
            || names.iter().any(|name| architecture_of(name) == Some(*architecture))
    };
    Architecture::ALL.into_iter().filter(is_needed).collect()
}

/// The release in a package's name, with its version and flavour: "linux-image-6.18.15+deb13-cloud-amd64".
pub(super) fn release_of(package: &str) -> Option<(&str, Version, Flavour)> {
    const FLAVOURS: [Flavour; 4] = [Flavour::Cloud, Flavour::Realtime, Flavour::Arm64, Flavour::Arm64With16K];
    let release = package.strip_prefix("linux-image-").or_else(|| package.strip_prefix("linux-binary-"))?;
    let (version, flavour) = FLAVOURS
        .into_iter()
        .find_map(|flavour| Some((release.strip_suffix(flavour.suffix())?.strip_suffix('-')?, flavour)))?;
    let (version, rest) = version.split_once('+').unwrap_or((version, ""));
    // What is left of another flavour's name.
    if rest.contains('-') {
        return None;
    }
    let mut numbers = version.splitn(3, '.').map(str::parse);
    let (major, minor, patch) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((release, (major, minor, patch), flavour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_package_names() {
        let found = |package| {
            release_of(package).map(|(release, version, flavour)| (release, version, flavour.mark()))
        };
        assert_eq!(
            found("linux-image-6.18.15+deb13-cloud-amd64"),
            Some(("6.18.15+deb13-cloud-amd64", (6, 18, 15), ""))
        );
        assert_eq!(found("linux-binary-7.3.4-cloud-amd64"), Some(("7.3.4-cloud-amd64", (7, 3, 4), "")));
        assert_eq!(
            found("linux-image-7.3.4+deb13-rt-amd64"),
            Some(("7.3.4+deb13-rt-amd64", (7, 3, 4), "-rt"))
        );
        assert_eq!(
            found("linux-image-6.12.107+deb13-arm64-16k"),
            Some(("6.12.107+deb13-arm64-16k", (6, 12, 107), "-arm64-16k"))
        );
        assert_eq!(
            found("linux-binary-7.3.4+deb13-cloud-arm64"),
            Some(("7.3.4+deb13-cloud-arm64", (7, 3, 4), "-arm64"))
        );
        for other in [
            "linux-image-cloud-amd64",
            "linux-image-7.3.4+deb13-amd64",
            "linux-image-7.3.4+deb13-arm64",
            "linux-image-7.3.4+deb13-rt-arm64",
            "linux-image-6.12.107+deb13-arm64-16k-dbg",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_is_named_needs_packages_of_another_architecture() {
        let of =
            |names: &[&str]| architectures_of(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&["7.3", "host"]), [Architecture::HERE]);
        assert!(of(&["7.3-arm64-16k"]).contains(&Architecture::Arm64));
    }
}
