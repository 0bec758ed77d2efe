//! Secrets that transcoders may show: one file each in a folder, named after whose it is.
//!
//! A mounted Secret changes by swapping a symbolic link, so the folder is looked at
//! again and again; a secret that is gone from it is gone from here. One that another
//! replaced stays a moment for those who work with it: both sides read the new one at
//! their own time, and segments are on their way. Secrets are kept hashed and compared in
//! constant time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the folder is looked at: a raised epoch or a deleted pool must bite
/// within 10 s, mounting included.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest secret; a derived one has 64 characters.
const MAX_SECRET_BYTES: u64 = 4096;
/// Most secrets: one a pool. Beyond it the rest is ignored, and said so.
const MAX_SECRETS: usize = 1024;

/// Whoever registered with a secret that was replaced stays this long: until then its own
/// side has read the new one, and it is back at once.
const STREAM_GRACE: Duration = Duration::from_secs(3);
/// Results are taken with it this long: a live segment's time after the stream ended.
const RESULT_GRACE: Duration = Duration::from_secs(6);

/// SHA-256 of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed([u8; 32]);

impl std::fmt::Debug for Hashed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Hashes what a peer shows.
pub(crate) fn hash(secret: &[u8]) -> Hashed {
    Hashed(Sha256::digest(secret).into())
}

/// The accepted secrets; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    known: Arc<RwLock<Known>>,
    folder: Option<PathBuf>,
}

#[derive(Default)]
struct Known {
    /// By owner.
    accepted: BTreeMap<String, Hashed>,
    /// Owner, secret, and when another was read in its place.
    replaced: Vec<(String, Hashed, Instant)>,
}

impl Known {
    /// Takes what was read now; true when something changed.
    fn read(&mut self, read: BTreeMap<String, Hashed>, now: Instant) -> bool {
        self.replaced.retain(|(.., at)| *at + RESULT_GRACE > now);
        if self.accepted == read {
            return false;
        }
        for (owner, old) in &self.accepted {
            let replaced = read.get(owner).is_some_and(|new| new != old);
            if replaced && self.replaced.len() < MAX_SECRETS {
                self.replaced.push((owner.clone(), *old, now));
            }
        }
        // an owner that is gone was revoked
        self.replaced.retain(|(owner, ..)| read.contains_key(owner));
        self.accepted = read;
        true
    }
}

impl Credentials {
    /// Those in `folder`, read once now.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let credentials = Self {
            known: Arc::default(),
            folder: Some(folder.to_owned()),
        };
        credentials.reload();
        credentials
    }

    /// One, given directly: roles of the same process.
    pub(crate) fn single(owner: &str, secret: &str) -> Self {
        let accepted = BTreeMap::from([(owner.to_owned(), hash(secret.as_bytes()))]);
        let known = Known {
            accepted,
            replaced: Vec::new(),
        };
        Self {
            known: Arc::new(RwLock::new(known)),
            folder: None,
        }
    }

    /// Whose secret this is. Looks at all of them, whichever matches.
    pub(crate) fn owner(&self, secret: &[u8]) -> Option<(String, Hashed)> {
        let shown = hash(secret);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for (owner, secret) in &known.accepted {
            if same(secret, &shown) {
                found = Some(owner.clone());
            }
        }
        found.map(|owner| (owner, shown))
    }

    /// Whose secret a result shows: also one that was replaced a moment ago.
    pub(crate) fn owner_of_result(&self, secret: &[u8], now: Instant) -> Option<String> {
        if let Some((owner, _)) = self.owner(secret) {
            return Some(owner);
        }
        let shown = hash(secret);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for (owner, secret, at) in &known.replaced {
            if same(secret, &shown) && now < *at + RESULT_GRACE {
                found = Some(owner.clone());
            }
        }
        found
    }

    /// Whether `owner` has a secret, whichever.
    pub(crate) fn knows(&self, owner: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.accepted.contains_key(owner)
    }

    /// Whether one who registered with this secret may stay.
    pub(crate) fn accepts(&self, shown: &Hashed, now: Instant) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = known.accepted.values().any(|secret| same(secret, shown));
        let stays = |(_, secret, at): &(String, Hashed, Instant)| {
            same(secret, shown) && now < *at + STREAM_GRACE
        };
        accepted || known.replaced.iter().any(stays)
    }

    /// Follows the folder until `stop`; calls `changed` after each change, and while one
    /// is new.
    pub(crate) async fn follow(&self, stop: CancellationToken, changed: impl Fn()) {
        if self.folder.is_none() {
            return;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            let this = self.clone();
            // file system calls may block
            let reloaded = tokio::task::spawn_blocking(move || this.reload()).await;
            if reloaded.unwrap_or(false) {
                changed();
            }
        }
    }

    /// Reads the folder; true when something changed, or has yet to end.
    fn reload(&self) -> bool {
        let Some(folder) = &self.folder else {
            return false;
        };
        let read = match read_folder(folder) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "credentials cannot be read");
                return false;
            }
        };
        let count = read.len();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let ending = !known.replaced.is_empty();
        let changed = known.read(read, Instant::now());
        if changed {
            tracing::info!(count, "credentials of transcoders read");
        }
        changed || ending
    }
}

/// Compares without telling by its time where the first difference is.
fn same(a: &Hashed, b: &Hashed) -> bool {
    a.0.iter()
        .zip(&b.0)
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

fn read_folder(folder: &Path) -> std::io::Result<BTreeMap<String, Hashed>> {
    let mut read = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(owner) = entry.file_name().into_string() else {
            continue;
        };
        // `..data` and its kin are how Kubernetes swaps a mounted Secret
        if owner.starts_with('.') {
            continue;
        }
        match read_secret(&entry.path()) {
            Ok(Some(secret)) if read.len() < MAX_SECRETS => {
                read.insert(owner, hash(secret.trim().as_bytes()));
            }
            Ok(Some(_)) => tracing::warn!(credential = owner, "too many credentials, ignored"),
            Ok(None) => tracing::warn!(
                credential = owner,
                "credential is empty or no text, ignored"
            ),
            // gone while we looked: the next look is right
            Err(error) => tracing::debug!(credential = owner, %error, "credential not read"),
        }
    }
    Ok(read)
}

fn read_secret(path: &Path) -> std::io::Result<Option<String>> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() || meta.len() > MAX_SECRET_BYTES {
        return Ok(None);
    }
    let text = String::from_utf8(std::fs::read(path)?).unwrap_or_default();
    Ok((!text.trim().is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::{Credentials, RESULT_GRACE, STREAM_GRACE};
    use tokio::time::Instant;

    #[test]
    fn each_file_is_a_credential_named_after_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cpu"), "one\n").unwrap();
        std::fs::write(folder.path().join("gpu"), "two").unwrap();
        std::fs::write(folder.path().join("..data"), "three").unwrap();
        std::fs::write(folder.path().join("empty"), " \n").unwrap();
        let credentials = Credentials::in_folder(folder.path());
        assert_eq!(credentials.owner(b"one").unwrap().0, "cpu");
        assert_eq!(credentials.owner(b"two").unwrap().0, "gpu");
        for wrong in [&b"three"[..], b"", b"one\n", b"on"] {
            assert!(credentials.owner(wrong).is_none());
        }
    }

    #[test]
    fn a_secret_that_goes_is_refused_at_once_and_one_that_is_replaced_after_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cpu");
        std::fs::write(&file, "old").unwrap();
        let credentials = Credentials::in_folder(folder.path());
        let (_, shown) = credentials.owner(b"old").unwrap();
        std::fs::write(&file, "new").unwrap();
        let before = Instant::now();
        assert!(credentials.reload());
        let after = Instant::now();
        assert!(credentials.owner(b"new").is_some());
        assert!(credentials.owner(b"old").is_none());
        assert!(credentials.accepts(&shown, before));
        assert!(!credentials.accepts(&shown, after + STREAM_GRACE));
        let result = |at| credentials.owner_of_result(b"old", at);
        assert_eq!(result(before + STREAM_GRACE).as_deref(), Some("cpu"));
        assert_eq!(result(after + RESULT_GRACE), None);
        std::fs::remove_file(&file).unwrap();
        assert!(credentials.reload());
        assert!(credentials.owner(b"new").is_none());
        assert_eq!(result(before), None);
    }

    #[test]
    fn a_secret_never_prints() {
        assert_eq!(format!("{:?}", super::hash(b"secret")), "***");
    }
}
