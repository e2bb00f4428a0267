//! Which kernels the lab boots: the newest of each series that Debian's suites hold at the time, kept for offline use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use xtask_tools::apt::{Apt, Network};
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{output, run};

/// Suites that are searched. The first is the one that modules are built in.
pub(crate) const SUITES: [&str; 2] = ["trixie", "trixie-backports"];

/// Debian's flavour for virtual machines: small, and everything the lab needs is built in.
const FLAVOUR: &str = "cloud-amd64";

/// Series that zcrxd is measured on, newest first. Newer ones that appear in the suites are added on their own.
const SERIES: [Series; 8] = [
    Series::new(7, 3, "zcrx with everything this project uses"),
    Series::new(7, 2, "events and statistics"),
    Series::new(7, 1, "first with queues without a device"),
    Series::new(7, 0, "rx_buf_len"),
    Series::new(6, 19, "flush and export of queues"),
    Series::new(6, 18, "first with questions about features"),
    Series::new(6, 16, "first with many queues per ring"),
    Series::new(6, 12, "no zcrx"),
];

/// How long a choice of kernels is good for.
const CHOICE_LIFETIME: Duration = Duration::from_hours(24);

/// One series of kernels, as in "7.3".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    version: (u32, u32),
    /// Why it is in the lab.
    pub about: &'static str,
}

impl Series {
    const fn new(major: u32, minor: u32, about: &'static str) -> Self {
        Self { version: (major, minor), about }
    }

    /// Its name, "7.3".
    pub(crate) fn name(self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }
}

/// A kernel that the suites of Debian offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// Series, as in "7.3".
    pub series: String,
    /// Release, as uname will say it.
    pub release: String,
    /// The package that holds its image.
    pub package: String,
    /// That package's version.
    pub version: String,
    /// Packages to build modules with, if there are any.
    pub headers: Option<String>,
}

impl Kernel {
    /// Major and minor number; zeroes if the series has no such name.
    pub(crate) fn version_of_series(&self) -> (u32, u32) {
        let numbers = self.series.split_once('.');
        numbers
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
            .unwrap_or_default()
    }

    /// The same kernel in Debian's flavour for all machines.
    pub(crate) fn plain(&self) -> Self {
        let plain = |name: &str| name.replace(FLAVOUR, "amd64");
        Self {
            series: self.series.clone(),
            release: plain(&self.release),
            package: plain(&self.package),
            version: self.version.clone(),
            headers: self.headers.as_deref().map(plain),
        }
    }
}

/// Major, minor and patch number.
type Version = (u32, u32, u32);

/// What came of the search for one series.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The series' name.
    pub series: String,
    /// Why it is in the lab.
    pub about: &'static str,
    /// The kernel, or why there is none.
    pub kernel: Result<Kernel, String>,
}

/// The choice as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Choice {
    kernels: Vec<Kernel>,
}

/// The kernels of the lab, and how to get them.
#[derive(Debug)]
pub(crate) struct Kernels {
    cache: Cache,
    network: Network,
    rows: Vec<Row>,
}

impl Kernels {
    /// Chooses them: from a choice made within the last day, from the suites, or from an older choice.
    pub(crate) fn choose(cache: &Cache, network: Network) -> Result<Self> {
        let path = cache.directory("lab")?.join("kernels.json");
        let kept = || -> Option<Choice> { serde_json::from_slice(&fs::read(&path).ok()?).ok() };
        let age = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .map(SystemTime::elapsed_or_zero);
        let fresh = network == Network::Offline || age.is_some_and(|age| age < CHOICE_LIFETIME);
        let found = match kept().filter(|_| fresh) {
            Some(choice) => Ok(choice),
            None => search(cache, network),
        };
        let choice = match found {
            Ok(choice) => {
                let text =
                    serde_json::to_vec_pretty(&choice).context("cannot write the choice of kernels")?;
                if age.is_none() || !fresh {
                    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                }
                Ok(choice)
            }
            Err(error) => kept().ok_or_else(|| format!("{error:#}")),
        };
        Ok(Self { cache: cache.clone(), network, rows: rows(choice) })
    }

    /// Every series, newest first.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The newest kernel there is.
    pub(crate) fn newest(&self) -> Result<&Kernel> {
        match self.rows.iter().find_map(|row| row.kernel.as_ref().ok()) {
            Some(kernel) => Ok(kernel),
            None => bail!(
                "no kernel is available: {}",
                self.rows.first().and_then(|row| row.kernel.as_ref().err()).map_or("", String::as_str)
            ),
        }
    }

    /// Whether the kernel's image is in the cache.
    pub(crate) fn cached(&self, kernel: &Kernel) -> bool {
        self.cache.get("lab/kernel", &key(kernel)).is_some()
    }

    /// The kernel's image, fetched if need be.
    pub(crate) fn image(&self, kernel: &Kernel) -> Result<PathBuf> {
        let directory = self.cache.build("lab/kernel", &key(kernel), |directory| {
            eprintln!("lab: fetching Linux {} ({} {})", kernel.release, kernel.package, kernel.version);
            let apt = Apt::open(&self.cache, &SUITES, self.network)?;
            let deb = apt.download(&kernel.package, &kernel.version, directory)?;
            unpack_image(&deb, &kernel.release, directory)?;
            fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))
        })?;
        Ok(directory.join("vmlinuz"))
    }

    /// Modules of the kernel's own, unpacked, in the order asked for; each is named by its file name without suffix.
    pub(crate) fn own_modules(&self, kernel: &Kernel, names: &[&str]) -> Result<Vec<PathBuf>> {
        let key = Key::new().bytes(&kernel.release).bytes(&kernel.version).bytes(names.join(" ")).name();
        let directory = self.cache.build("lab/own-modules", &key, |directory| {
            let apt = Apt::open(&self.cache, &SUITES, self.network)?;
            // Up to 7.1 the modules are in a package with another name.
            let candidates =
                ["linux-modules-", "linux-image-"].map(|prefix| format!("{prefix}{}", kernel.release));
            let package = candidates
                .iter()
                .find(|package| apt.madison(package).is_ok_and(|versions| !versions.is_empty()))
                .with_context(|| format!("no package holds the modules of {}", kernel.release))?;
            let deb = apt.download(package, &kernel.version, directory)?;
            let tree = directory.join("tree");
            run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&tree))?;
            for name in names {
                let pattern = format!("{name}.ko*");
                let found = output(Command::new("find").arg(&tree).args(["-name", &pattern]))?;
                let found =
                    found.lines().next().with_context(|| format!("{package} has no module {name}"))?;
                let target = directory.join(format!("{name}.ko"));
                if Path::new(found).extension().is_some_and(|extension| extension == "xz") {
                    let file = fs::File::create(&target)
                        .with_context(|| format!("cannot make {}", target.display()))?;
                    run(Command::new("xz").args(["-dc", found]).stdout(file))?;
                } else {
                    fs::copy(found, &target).with_context(|| format!("cannot copy {found}"))?;
                }
            }
            fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
            fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))
        })?;
        Ok(names.iter().map(|name| directory.join(format!("{name}.ko"))).collect())
    }
}

/// How long ago, and nothing if the clock was set back.
trait ElapsedOrZero {
    fn elapsed_or_zero(self) -> Duration;
}

impl ElapsedOrZero for SystemTime {
    fn elapsed_or_zero(self) -> Duration {
        self.elapsed().unwrap_or_default()
    }
}

/// A version is never published twice with another content, and apt has checked the content.
fn key(kernel: &Kernel) -> String {
    Key::new().bytes(&kernel.package).bytes(&kernel.version).name()
}

fn rows(choice: Result<Choice, String>) -> Vec<Row> {
    let choice = match choice {
        Ok(choice) => choice,
        Err(reason) => {
            let row = |series: Series| Row {
                series: series.name(),
                about: series.about,
                kernel: Err(reason.clone()),
            };
            return SERIES.into_iter().map(row).collect();
        }
    };
    let known = |series: &str| SERIES.iter().any(|known| known.name() == series);
    let newer = choice.kernels.iter().filter(|kernel| !known(&kernel.series));
    let newer = newer.map(|kernel| Row {
        series: kernel.series.clone(),
        about: "newer than this project knows",
        kernel: Ok(kernel.clone()),
    });
    let known = SERIES.into_iter().map(|series| Row {
        series: series.name(),
        about: series.about,
        kernel: choice
            .kernels
            .iter()
            .find(|kernel| kernel.series == series.name())
            .cloned()
            .ok_or_else(|| format!("{} hold no {} of it any more", SUITES.join(" and "), FLAVOUR)),
    });
    newer.chain(known).collect()
}

/// Looks for the newest kernel of each series.
fn search(cache: &Cache, network: Network) -> Result<Choice> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the lab knows only kernels for x86_64");
    }
    let apt = Apt::open(cache, &SUITES, network)?;
    // The image is in linux-image up to 6.18 and in linux-binary from 6.19, where linux-image is an empty package.
    let mut names = apt.names("linux-image-")?;
    names.extend(apt.names("linux-binary-")?);
    let mut newest: BTreeMap<(u32, u32), (Version, Kernel)> = BTreeMap::new();
    for package in names {
        let Some((release, version)) = release_of(&package) else { continue };
        let series = (version.0, version.1);
        let wanted = SERIES.iter().any(|known| known.version == series) || series > SERIES[0].version;
        let better = match newest.get(&series) {
            None => true,
            Some((known, kernel)) => {
                (version, package.starts_with("linux-binary-"))
                    > (*known, kernel.package.starts_with("linux-binary-"))
            }
        };
        if !(wanted && better) {
            continue;
        }
        let Some(available) = apt.madison(&package)?.into_iter().next() else { continue };
        let headers = format!("linux-headers-{release}");
        let headers = apt.madison(&headers)?.first().map(|_| headers);
        let kernel = Kernel {
            series: format!("{}.{}", series.0, series.1),
            release: release.to_owned(),
            package: available.package,
            version: available.version,
            headers,
        };
        newest.insert(series, (version, kernel));
    }
    Ok(Choice { kernels: newest.into_values().rev().map(|(_, kernel)| kernel).collect() })
}

/// The release in a package's name, with its version: "linux-image-6.18.15+deb13-cloud-amd64".
fn release_of(package: &str) -> Option<(&str, Version)> {
    let release = package.strip_prefix("linux-image-").or_else(|| package.strip_prefix("linux-binary-"))?;
    let version = release.strip_suffix(FLAVOUR)?.strip_suffix('-')?;
    let mut numbers = version.split('+').next()?.splitn(3, '.').map(str::parse);
    let (major, minor, patch) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((release, (major, minor, patch)))
}

/// Takes the image out of a package; where it lies has changed over the versions.
fn unpack_image(deb: &Path, release: &str, into: &Path) -> Result<()> {
    let tree = into.join("tree");
    run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&tree))?;
    let places = [format!("usr/lib/modules/{release}/vmlinuz"), format!("boot/vmlinuz-{release}")];
    let image = places
        .iter()
        .map(|place| tree.join(place))
        .find(|path| path.is_file())
        .with_context(|| format!("{} holds no image at {}", deb.display(), places.join(" or ")))?;
    fs::copy(&image, into.join("vmlinuz")).with_context(|| format!("cannot copy {}", image.display()))?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))
}

#[cfg(test)]
mod tests {
    use super::release_of;

    #[test]
    fn releases_of_package_names() {
        assert_eq!(
            release_of("linux-image-6.18.15+deb13-cloud-amd64"),
            Some(("6.18.15+deb13-cloud-amd64", (6, 18, 15)))
        );
        assert_eq!(release_of("linux-binary-7.3.4-cloud-amd64"), Some(("7.3.4-cloud-amd64", (7, 3, 4))));
        assert_eq!(release_of("linux-image-cloud-amd64"), None);
        assert_eq!(release_of("linux-image-7.3.4+deb13-amd64"), None);
        assert_eq!(release_of("linux-binary-unsigned-7.3.4+deb13-cloud-amd64"), None);
        assert_eq!(release_of("linux-image-7.3.4+deb13-rt-amd64"), None);
    }
}
