//! Packages of other Debian suites, through an apt root of our own.
//!
//! The machine's apt is only read: its mirror, proxies and keys are what reaches the archive from here. Lists and
//! downloads stay in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::architecture::Architecture;
use super::cache::Cache;
use super::command::{find, output, run};

/// How long fetched package lists are good for.
const LISTS_LIFETIME: Duration = Duration::from_hours(24);

/// Where Debian's packages put the archive's keys, best first.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Lists are fetched when they are old, packages when asked for.
    Online,
    /// Only what was fetched before.
    Offline,
}

/// One version of one package in one suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The suite that holds it.
    pub suite: String,
}

/// A private apt root for a set of suites.
#[derive(Clone, Debug)]
pub struct Apt {
    root: PathBuf,
    mirror: String,
    keyring: PathBuf,
    suites: Vec<String>,
    architecture: Architecture,
    network: Network,
}

impl Apt {
    /// Opens the root for this machine's packages in the cache and fetches the suites' lists if they are absent or a day old.
    pub fn open(cache: &Cache, suites: &[&str], network: Network) -> Result<Self> {
        Self::open_for(Architecture::HERE, cache, suites, network)
    }

    /// Likewise for the packages of another kind of machine.
    pub fn open_for(
        architecture: Architecture,
        cache: &Cache,
        suites: &[&str],
        network: Network,
    ) -> Result<Self> {
        if find("apt-get").is_none() {
            bail!("apt-get is not installed: packages of other suites need Debian or a derivative");
        }
        let folder = match architecture {
            Architecture::HERE => "apt".to_owned(),
            other => format!("apt-{}", other.debian()),
        };
        let name = format!("{folder}/{}", suites.join("+"));
        let root = cache.directory(&name)?;
        let _lock = cache.lock(&name)?;
        let apt = Self {
            mirror: mirror()?,
            keyring: keyring()?,
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            root,
            architecture,
            network,
        };
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.root.join(directory))
                .with_context(|| format!("cannot make {}/{directory}", apt.root.display()))?;
        }
        let sources = apt.sources();
        let path = apt.root.join("sources.list");
        let unchanged = fs::read_to_string(&path).is_ok_and(|old| old == sources);
        fs::write(&path, sources).with_context(|| format!("cannot write {}", path.display()))?;
        if !(unchanged && apt.fresh()) {
            apt.update()?;
        }
        Ok(apt)
    }

    /// The sources of these suites in the format of sources.list, for tools that want their own.
    pub fn sources(&self) -> String {
        let line = |suite: &String| {
            format!("deb [signed-by={}] {} {suite} main\n", self.keyring.display(), self.mirror)
        };
        self.suites.iter().map(line).collect()
    }

    /// Names of packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Versions of a package, newest first; empty if no suite has it.
    pub fn madison(&self, package: &str) -> Result<Vec<Available>> {
        let table = output(self.command("apt-cache").args(["madison", package]))?;
        Ok(table.lines().filter_map(madison_line).collect())
    }

    /// Downloads a package into a folder, checked against the archive's signed lists, and returns the .deb's path.
    pub fn download(&self, package: &str, version: &str, into: &Path) -> Result<PathBuf> {
        if self.network == Network::Offline {
            bail!("{package} {version} was not fetched before, and the network is not to be used");
        }
        let fetched = self.root.join("cache").join(format!("download-{}-{package}", std::process::id()));
        fs::create_dir_all(&fetched).with_context(|| format!("cannot make {}", fetched.display()))?;
        let mut command = self.command("apt-get");
        run(command.arg("download").arg(format!("{package}={version}")).current_dir(&fetched))?;
        let deb = fs::read_dir(&fetched)
            .with_context(|| format!("cannot read {}", fetched.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download {package} left no .deb"))?;
        let target = into.join(deb.file_name().context("a .deb has a name")?);
        // A copy, because the cache and the target may be on different file systems.
        fs::copy(&deb, &target).with_context(|| format!("cannot write {}", target.display()))?;
        fs::remove_dir_all(&fetched).with_context(|| format!("cannot remove {}", fetched.display()))?;
        Ok(target)
    }

    /// Downloads a suite's version of a package, and everything it depends on, into an empty folder. Nothing is installed.
    pub fn download_with_dependencies(
        &self,
        package: &str,
        suite: &str,
        into: &Path,
    ) -> Result<Vec<PathBuf>> {
        if self.network == Network::Offline {
            bail!("{package} of {suite} was not fetched before, and the network is not to be used");
        }
        let partial = into.join("partial");
        fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        let mut command = self.command("apt-get");
        command.arg("-o").arg(format!("Dir::Cache::archives={}", into.display()));
        run(command.args(["--target-release", suite, "--no-install-recommends", "--download-only"]).args([
            "--assume-yes",
            "install",
            package,
        ]))?;
        let entries = fs::read_dir(into).with_context(|| format!("cannot read {}", into.display()))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
    }

    fn update(&self) -> Result<()> {
        if self.network == Network::Offline {
            if self.stamp().exists() {
                return Ok(());
            }
            bail!("no package lists of {} were fetched before", self.suites.join(", "));
        }
        // Without the option, apt calls an unreachable mirror a warning.
        run(self.command("apt-get").args(["update", "-o", "APT::Update::Error-Mode=any"])).with_context(
            || format!("cannot fetch the lists of {} from {}", self.suites.join(", "), self.mirror),
        )?;
        fs::write(self.stamp(), "").with_context(|| format!("cannot write {}", self.stamp().display()))
    }

    fn fresh(&self) -> bool {
        let modified = fs::metadata(self.stamp()).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < LISTS_LIFETIME))
    }

    fn stamp(&self) -> PathBuf {
        self.root.join("updated")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let root = self.root.display();
        command.arg("-qq");
        for option in [
            format!("Dir::Etc::sourcelist={root}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::Lists={root}/lists"),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={root}/cache"),
            // The sandbox user cannot write into a user's cache; what is fetched is checked by signature all the same.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Retries=3".to_owned(),
            format!("APT::Architecture={}", self.architecture.debian()),
            format!("APT::Architectures={}", self.architecture.debian()),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

/// The Debian release that runs here, such as `bookworm`.
pub fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    if field("ID").as_deref() != Some("debian") {
        bail!(
            "this is not Debian ({}): its apt knows no Debian mirror",
            field("PRETTY_NAME").unwrap_or_default()
        );
    }
    field("VERSION_CODENAME").context("/etc/os-release has no VERSION_CODENAME")
}

/// Reads the Debian mirror from the machine's own apt configuration.
fn mirror() -> Result<String> {
    let codename = codename()?;
    let targets = output(
        Command::new("apt-get")
            .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"])
            .env("LC_ALL", "C.UTF-8"),
    )?;
    pick_mirror(&targets, &codename).with_context(|| {
        format!("no source of apt on this machine holds {codename} main: see /etc/apt/sources.list.d")
    })
}

/// The archive that holds the machine's own release is a Debian mirror; others (security, vendors) may not have all suites.
fn pick_mirror(targets: &str, codename: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
        (release == codename && component == "main").then(|| uri.trim_end_matches('/').to_owned())
    })
}

fn keyring() -> Result<PathBuf> {
    KEYRINGS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .context("Debian's archive keys are not installed: apt-get install debian-archive-keyring")
}

/// One line of `apt-cache madison`: ` package | version | uri suite/component arch Packages`.
fn madison_line(line: &str) -> Option<Available> {
    let mut columns = line.split('|').map(str::trim);
    let (package, version, source) = (columns.next()?, columns.next()?, columns.next()?);
    let (suite, _) = source.split_whitespace().nth(1)?.split_once('/')?;
    source.ends_with("Packages").then(|| Available {
        package: package.to_owned(),
        version: version.to_owned(),
        suite: suite.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_machines_own_release() {
        let targets = "https://vendor.example/ nodistro main\nhttp://mirror.example/security/ bookworm-security main\n\
                       http://mirror.example/debian/ bookworm main\n";
        assert_eq!(pick_mirror(targets, "bookworm").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(pick_mirror(targets, "trixie"), None);
    }

    #[test]
    fn madison_lines() {
        let line = " linux-image-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages";
        let expected = Available {
            package: "linux-image-cloud-amd64".into(),
            version: "7.3.4-1~bpo13+1".into(),
            suite: "trixie-backports".into(),
        };
        assert_eq!(madison_line(line), Some(expected));
        assert_eq!(madison_line(" linux | 7.3.4-1 | http://mirror.example/debian sid/main Sources"), None);
    }
}
