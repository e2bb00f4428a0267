//! Why registrations of other programs failed, as far as their interface shows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Registration;
use crate::net::{self, NetError};

/// Failures explained per sample: each may read an interface, which takes a millisecond or so.
const AT_ONCE: usize = 8;

/// Explanations of the failures that are still remembered, by time and thread.
#[derive(Default)]
pub(super) struct Explained(BTreeMap<(Duration, u32), Vec<String>>);

impl Explained {
    /// Adds hints to every failure. Explains each failure once, when it first appears.
    pub(super) fn fill(&mut self, registrations: &mut [Registration]) {
        self.fill_with(registrations, hints);
    }

    fn fill_with(
        &mut self,
        registrations: &mut [Registration],
        mut explain: impl FnMut(&Registration) -> Vec<String>,
    ) {
        let mut left = AT_ONCE;
        let mut known = BTreeMap::new();
        // The newest first: its interface has most likely not changed since.
        for registration in registrations.iter_mut().rev().filter(|registration| registration.errno != 0) {
            let key = (registration.at, registration.tid);
            let hints = match self.0.remove(&key) {
                Some(hints) => hints,
                None if left > 0 => {
                    left -= 1;
                    explain(registration)
                }
                None => continue,
            };
            registration.hints.clone_from(&hints);
            known.insert(key, hints);
        }
        self.0 = known;
    }
}

fn hints(registration: &Registration) -> Vec<String> {
    match (&registration.interface, registration.queue) {
        (Some(interface), Some(queue)) => {
            of_interface(registration, interface, queue).unwrap_or_else(|error| vec![error.to_string()])
        }
        _ => Vec::new(),
    }
}

/// Reads the interface in the caller's network namespace.
fn of_interface(registration: &Registration, interface: &str, queue: u32) -> Result<Vec<String>, NetError> {
    let look = || net::hint(interface, queue, registration.errno);
    let own = net::own_namespace().map(|namespace| namespace.inode);
    match registration.netns {
        Some(netns) if own.is_ok_and(|own| own != netns) => match net::way_into(netns, [registration.pid]) {
            Some(path) => net::inside(&path, look),
            None => Ok(vec![format!(
                "{interface} could not be checked: its network namespace {netns} cannot be looked into"
            )]),
        },
        _ => Ok(look()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::full;

    fn failed(second: u64, errno: i32) -> Registration {
        let mut failed = full().host.probe.recent_registrations.remove(1);
        failed.at = Duration::from_secs(second);
        failed.errno = errno;
        failed.hints.clear();
        failed
    }

    #[test]
    fn each_failure_is_explained_once_and_forgotten_when_it_is_gone() {
        let mut explained = Explained::default();
        let mut asked = 0;
        let mut look = |registrations: &mut [Registration]| {
            explained.fill_with(registrations, |_| {
                asked += 1;
                vec![format!("hint {asked}")]
            });
            (registrations.iter().map(|one| one.hints.len()).sum::<usize>(), explained.0.len(), asked)
        };
        assert_eq!(look(&mut [failed(1, libc::EINVAL), failed(2, 0)]), (1, 1, 1), "success needs no hint");
        assert_eq!(look(&mut [failed(1, libc::EINVAL), failed(3, libc::EEXIST)]), (2, 2, 2));
        assert_eq!(look(&mut [failed(3, libc::EEXIST)]), (1, 1, 2));
        let mut storm: Vec<_> = (10..50).map(|second| failed(second, libc::EINVAL)).collect();
        assert_eq!(look(&mut storm), (AT_ONCE, AT_ONCE, 2 + AT_ONCE), "a storm is explained bit by bit");
    }

    #[test]
    fn the_interface_says_what_the_errno_does_not() {
        let mut down = failed(1, libc::EOPNOTSUPP);
        (down.interface, down.queue, down.netns) = (Some("lo".to_owned()), Some(0), None);
        let hints = hints(&down);
        assert!(hints[0].contains("queue of lo"), "{hints:?}");
    }
}
