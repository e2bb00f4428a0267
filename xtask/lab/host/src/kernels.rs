//! Which kernels the lab boots: the newest of each series that Debian's suites hold at the time, kept for offline use.

mod series;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use xtask_tools::apt::{Apt, Network};
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{output, run};

use self::series::{Flavour, SERIES, Version, release_of};
pub(crate) use self::series::{architecture_of, architectures_of, names};

/// Suites that are searched. The first is the one that modules are built in.
pub(crate) const SUITES: [&str; 2] = ["trixie", "trixie-backports"];

/// How long a choice of kernels is good for.
const CHOICE_LIFETIME: Duration = Duration::from_hours(24);

/// A kernel that the suites of Debian offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// Series, as in "7.3" or "7.3-arm64".
    pub series: String,
    /// Its build.
    pub flavour: Flavour,
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
        let version = self.series.split('-').next().unwrap_or_default();
        let numbers = version.split_once('.');
        numbers
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
            .unwrap_or_default()
    }

    /// What it runs on.
    pub(crate) fn architecture(&self) -> Architecture {
        self.flavour.architecture()
    }

    /// The same kernel in Debian's flavour for all machines.
    pub(crate) fn plain(&self) -> Self {
        let plain = |name: &str| name.replace("cloud-", "");
        Self {
            series: self.series.clone(),
            flavour: self.flavour,
            release: plain(&self.release),
            package: plain(&self.package),
            version: self.version.clone(),
            headers: self.headers.as_deref().map(plain),
        }
    }
}

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
    /// Chooses those for these architectures: from a choice made within the last day, from the suites, or from an older choice.
    pub(crate) fn choose(cache: &Cache, network: Network, architectures: &[Architecture]) -> Result<Self> {
        let mut chosen = Vec::new();
        for &architecture in architectures {
            chosen.push((architecture, choose(cache, network, architecture)?));
        }
        Ok(Self { cache: cache.clone(), network, rows: rows(&chosen) })
    }

    /// Every series, newest first.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The newest kernel of the flavour for virtual machines that there is.
    pub(crate) fn newest(&self) -> Result<&Kernel> {
        let mut kernels = self.rows.iter().filter_map(|row| row.kernel.as_ref().ok());
        match kernels.find(|kernel| kernel.flavour == Flavour::Cloud) {
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
            let apt = Apt::open_for(kernel.architecture(), &self.cache, &SUITES, self.network)?;
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
            let apt = Apt::open_for(kernel.architecture(), &self.cache, &SUITES, self.network)?;
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

/// A choice, or why there is none.
type Chosen = Result<Choice, String>;

fn choose(cache: &Cache, network: Network, architecture: Architecture) -> Result<Chosen> {
    let name = match architecture {
        Architecture::Amd64 => "kernels.json",
        Architecture::Arm64 => "kernels-arm64.json",
    };
    let path = cache.directory("lab")?.join(name);
    let kept = || -> Option<Choice> { serde_json::from_slice(&fs::read(&path).ok()?).ok() };
    let age =
        fs::metadata(&path).and_then(|metadata| metadata.modified()).ok().map(SystemTime::elapsed_or_zero);
    let fresh = network == Network::Offline || age.is_some_and(|age| age < CHOICE_LIFETIME);
    if let Some(choice) = kept().filter(|_| fresh) {
        return Ok(Ok(choice));
    }
    match search(cache, network, architecture) {
        Ok(choice) => {
            let text = serde_json::to_vec_pretty(&choice).context("cannot write the choice of kernels")?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(Ok(choice))
        }
        Err(error) => Ok(kept().ok_or_else(|| format!("{error:#}"))),
    }
}

fn rows(chosen: &[(Architecture, Chosen)]) -> Vec<Row> {
    let known = |series: &str| SERIES.iter().any(|known| known.name() == series);
    let found = chosen.iter().filter_map(|(_, choice)| choice.as_ref().ok());
    let newer = found.flat_map(|choice| &choice.kernels).filter(|kernel| !known(&kernel.series));
    let newer = newer.map(|kernel| Row {
        series: kernel.series.clone(),
        about: "newer than this project knows",
        kernel: Ok(kernel.clone()),
    });
    let known = SERIES.into_iter().filter_map(|series| {
        let (_, choice) = chosen.iter().find(|(of, _)| *of == series.flavour.architecture())?;
        let kernel = choice.as_ref().map_err(String::clone).and_then(|choice| {
            let mut kernels = choice.kernels.iter();
            let kernel = kernels.find(|kernel| kernel.series == series.name()).cloned();
            let (suites, flavour) = (SUITES.join(" and "), series.flavour.suffix());
            kernel.ok_or_else(|| format!("{suites} hold no {flavour} of it any more"))
        });
        Some(Row { series: series.name(), about: series.about, kernel })
    });
    newer.chain(known).collect()
}

/// Looks for the newest kernel of each series.
fn search(cache: &Cache, network: Network, architecture: Architecture) -> Result<Choice> {
    let apt = Apt::open_for(architecture, cache, &SUITES, network)?;
    // The image is in linux-image up to 6.18 and in linux-binary from 6.19, where linux-image is an empty package.
    let mut names = apt.names("linux-image-")?;
    names.extend(apt.names("linux-binary-")?);
    let mut newest: BTreeMap<((u32, u32), Flavour), (Version, Kernel)> = BTreeMap::new();
    for package in names {
        let Some((release, version, flavour)) = release_of(&package) else { continue };
        let series = (version.0, version.1);
        let is_known = SERIES.iter().any(|known| (known.version, known.flavour) == (series, flavour));
        let wanted = is_known || (series > SERIES[0].version && flavour == SERIES[0].flavour);
        let better = match newest.get(&(series, flavour)) {
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
            series: format!("{}.{}{}", series.0, series.1, flavour.mark()),
            flavour,
            release: release.to_owned(),
            package: available.package,
            version: available.version,
            headers,
        };
        newest.insert((series, flavour), (version, kernel));
    }
    Ok(Choice { kernels: newest.into_values().rev().map(|(_, kernel)| kernel).collect() })
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
