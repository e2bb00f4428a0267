//! Basic authentication against bcrypt hashes.
//!
//! A hash costs a tenth of a second on purpose. It is computed off the event loop, for few requests at a time, and not
//! again for a password that was right before: a scraper is answered at once, however many others guess.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use serde_saphyr::Location;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Hashes computed at once: the others wait for their turn.
const AT_ONCE: usize = 2;

/// Largest number of cached correct passwords. Beyond it the cache is emptied; no configuration has that many users.
const REMEMBERED: usize = 128;

/// Names and the hashes of their passwords.
#[derive(Clone, Debug)]
pub(super) struct Users(Arc<BTreeMap<String, String>>);

impl Users {
    /// Takes users with their hashes; what is no bcrypt hash is refused at its place.
    pub(super) fn new(
        users: impl Iterator<Item = (String, String, Location)>,
    ) -> Result<Self, (Location, String)> {
        users
            .map(|(name, hash, at)| match HashParts::from_str(&hash) {
                Ok(_) => Ok((name, hash)),
                Err(_) => Err((
                    at,
                    format!(
                        "the password of {name:?} is no bcrypt hash; `htpasswd -nBC 10 {name}` makes one"
                    ),
                )),
            })
            .collect::<Result<_, _>>()
            .map(|users| Self(Arc::new(users)))
    }
}

/// Checks credentials, and remembers which were right.
pub(super) struct Authenticator {
    turns: Semaphore,
    known: Mutex<HashSet<[u8; 32]>>,
}

impl Default for Authenticator {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), known: Mutex::default() }
    }
}

impl Authenticator {
    /// Whether this `Authorization` header is of one of the users.
    ///
    /// A user that does not exist costs what a wrong password costs, so that the time reveals no user names.
    pub(super) async fn accepts(&self, users: &Users, header: Option<&[u8]>) -> bool {
        let Some((name, password)) = header.and_then(credentials) else { return false };
        let found = users.0.get(&name);
        let Some(hash) = found.or_else(|| users.0.values().next()).cloned() else { return false };
        let digest = digest(&name, &password, &hash);
        if found.is_some() && self.known().contains(&digest) {
            return true;
        }
        let exists = found.is_some();
        let Ok(_turn) = self.turns.acquire().await else { return false };
        // Another request with the same password may have waited in front of this one.
        if exists && self.known().contains(&digest) {
            return true;
        }
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
        let right = exists && matches!(compared.await, Ok(Ok(true)));
        if right {
            let mut known = self.known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(digest);
        }
        right
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password of a `Basic` header.
fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
    Some((name, decoded[colon + 1..].to_vec()))
}

/// What stands for a password in memory. The hash is in it: with a new one, the password is checked again.
fn digest(name: &str, password: &[u8], hash: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [name.as_bytes(), hash.as_bytes(), password] {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(cost: u32) -> Users {
        let hash = bcrypt::hash("right", cost).expect("a hash");
        Users::new(std::iter::once(("scraper".to_owned(), hash, Location::UNKNOWN))).expect("a user")
    }

    fn header(name: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))).into_bytes()
    }

    #[tokio::test]
    async fn the_right_password_of_the_right_user_alone() {
        let (authenticator, users) = (Authenticator::default(), users(4));
        for _ in 0..2 {
            assert!(authenticator.accepts(&users, Some(&header("scraper", "right"))).await);
            for (name, password) in [("scraper", "wrong"), ("scraper", ""), ("nobody", "right"), ("", "")] {
                assert!(
                    !authenticator.accepts(&users, Some(&header(name, password))).await,
                    "{name}:{password}"
                );
            }
        }
        assert!(!authenticator.accepts(&users, None).await);
        for nonsense in ["", "Basic", "Basic !!", "Bearer x", "Basic cmlnaHQ="] {
            assert!(!authenticator.accepts(&users, Some(nonsense.as_bytes())).await, "{nonsense}");
        }
        assert!(
            authenticator.accepts(&users, Some(b"basic  c2NyYXBlcjpyaWdodA== ")).await,
            "scheme in any case"
        );
    }

    #[tokio::test]
    async fn a_password_that_was_right_is_wrong_once_the_hash_is_another() {
        let authenticator = Authenticator::default();
        assert!(authenticator.accepts(&users(4), Some(&header("scraper", "right"))).await);
        let other = bcrypt::hash("other", 4).expect("a hash");
        let users =
            Users::new(std::iter::once(("scraper".to_owned(), other, Location::UNKNOWN))).expect("a user");
        assert!(!authenticator.accepts(&users, Some(&header("scraper", "right"))).await);
    }

    /// No hash is computed for who is known: with all turns taken, it is still let in.
    #[tokio::test]
    async fn who_is_known_waits_for_nobody() {
        let (authenticator, users) = (Authenticator::default(), users(4));
        assert!(authenticator.accepts(&users, Some(&header("scraper", "right"))).await);
        let _all = authenticator.turns.acquire_many(AT_ONCE as u32).await.expect("turns");
        assert!(authenticator.accepts(&users, Some(&header("scraper", "right"))).await);
    }
}
