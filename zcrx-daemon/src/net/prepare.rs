//! Preparing an interface for zcrx and putting it back, from its name to its journal.

use std::path::PathBuf;

use super::apply::{ApplyError, Restored, apply, restore};
use super::device::Nic;
use super::journal::{Identity, Journal, JournalError, Store, boot_id, directories};
use super::locate::{Whereabouts, locate};
use super::plan::{Plan, plan_after};
use super::step::Step;
use super::wanted::Wanted;
use super::{Link, NetError, Netlink, interface, own_namespace};
use crate::model::{Interface, Reading};

/// A preparation that did not come about. Nothing is changed then, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The interface cannot be read.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Its journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A need that no step can meet.
    #[error("{} cannot be prepared for zcrx as asked: {}", .0.interface, blocks(.0))]
    Blocked(Box<Plan>),
    /// The process lacks CAP_NET_ADMIN.
    #[error("changing {} needs CAP_NET_ADMIN, which this process does not have", .0.interface)]
    NotPermitted(Box<Plan>),
    /// A step failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

fn blocks(plan: &Plan) -> String {
    let blocked = plan.checks.iter().filter(|check| check.verdict == super::Verdict::Blocked);
    let told: Vec<String> = blocked.map(|check| format!("{}: {}", check.need, check.found)).collect();
    told.join("; ")
}

/// Changes an interface of this namespace to the wanted settings. Returns the steps taken; none if nothing had to change.
///
/// The journal goes to the first writable one of the directories (see [`directories`]). Needs CAP_NET_ADMIN.
pub fn prepare(name: &str, wanted: &Wanted, directories: &[PathBuf]) -> Result<Vec<Step>, PrepareError> {
    let found = interface(&mut Netlink::new(), name)?;
    // The journal says which rules are zcrxd's own.
    let earlier = journal_of(&found, directories);
    // Not even the journal proves that header split is still configured: asking for it again costs nothing.
    let known = earlier.map(|mut journal| {
        journal.left.rings = Reading::Unknown("to be made sure of".to_owned());
        journal
    });
    let plan = plan_after(&found, wanted, known.as_ref());
    if plan.is_blocked() {
        return Err(PrepareError::Blocked(Box::new(plan)));
    }
    if plan.steps.is_empty() {
        return Ok(Vec::new());
    }
    let permitted = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN);
    // Where capabilities cannot be asked for, the kernel will say no itself.
    if !permitted.unwrap_or(true) {
        let lacks = plan.checks.iter().any(|check| check.verdict == super::Verdict::Change);
        return if lacks { Err(PrepareError::NotPermitted(Box::new(plan))) } else { Ok(Vec::new()) };
    }
    let mut store = Store::open(directories)?;
    let identity = Identity::of(&found)?;
    let earlier = store.load(&identity)?;
    match apply(&mut Nic::new(&found), &mut store, &identity, earlier.as_ref(), wanted) {
        Err(ApplyError::TakenBack(failure)) if failure.is_permission() => {
            Err(PrepareError::NotPermitted(Box::new(plan)))
        }
        result => Ok(result?),
    }
}

/// The journal of an interface that zcrxd has prepared, where one can be read.
pub fn journal_of(interface: &Interface, directories: &[PathBuf]) -> Option<Journal> {
    let identity = Identity::of(interface).ok()?;
    directories.iter().find_map(|directory| Store::peek(directory, &identity))
}

/// Result of restoring one prepared interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// Its name, now if it is there, else then.
    pub interface: String,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done with a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The interface was restored, as far as the result says.
    Restored(Restored),
    /// The host was rebooted since, and the kernel created the interface again: the journal was deleted.
    Rebooted,
    /// The interface is gone, or its driver was loaded again: the journal is forgotten.
    Gone,
}

/// Restores the changes of [`prepare`] on one interface, or on all in this namespace. Nothing to restore is no error.
///
/// An interface that was moved to another network namespace keeps its journal, and counts as not restored. Finding it there
/// needs CAP_SYS_ADMIN.
pub fn put_back(
    name: Option<&str>,
    explicit: Option<&std::path::Path>,
) -> Result<Vec<PutBack>, PrepareError> {
    let boot_id = boot_id()?;
    let namespace = own_namespace()?.cookie;
    let mut netlink = Netlink::new();
    let links = netlink.links()?;
    // An alternative name is as good; a name that is gone may still be in a journal.
    let asked = name.map(|name| netlink.link(name).map_or_else(|_| name.to_owned(), |link| link.name));
    let mut done = Vec::new();
    for mut store in Store::open_existing(&directories(explicit)) {
        for journal in store.all()? {
            let identity = journal.identity.clone();
            let rebooted = identity.boot_id != boot_id;
            if !rebooted && identity.netns_cookie != namespace {
                continue;
            }
            let link = links.iter().find(|link| !rebooted && link.index == identity.index);
            let interface = link.map_or(&identity.name, |link| &link.name).clone();
            if asked.as_ref().is_some_and(|asked| *asked != interface) {
                continue;
            }
            let outcome = if let Some(link) = link {
                let mut nic = Nic::new(&super::interface(&mut netlink, &link.name)?);
                Outcome::Restored(restore(&mut nic, &mut store, journal)?)
            } else if rebooted {
                store.remove(&identity)?;
                Outcome::Rebooted
            } else {
                left(&store, &identity, &links)?
            };
            done.push(PutBack { interface, outcome });
        }
    }
    if let Some(name) = name
        && done.is_empty()
    {
        // A name that never existed is a mistake; one that was never prepared is fine.
        netlink.link(name)?;
    }
    Ok(done)
}

/// What to do with the journal of an interface that left this namespace: settings last as long as the device does.
fn left(store: &Store, identity: &Identity, links: &[Link]) -> Result<Outcome, JournalError> {
    let failed = match locate(identity, links) {
        Whereabouts::Gone => {
            store.remove(identity)?;
            return Ok(Outcome::Gone);
        }
        Whereabouts::Elsewhere(namespace) => format!(
            "it is in network namespace {namespace} now, with zcrxd's settings: move it back to this one (`ip link set {} netns …`)",
            identity.name
        ),
        Whereabouts::Unknown(reason) => format!(
            "its device is still there, but not in this network namespace, and others cannot be searched: {reason}"
        ),
    };
    Ok(Outcome::Restored(Restored { failed: vec![failed], ..Restored::default() }))
}
