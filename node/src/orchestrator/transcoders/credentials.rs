//! Secrets that transcoders may show: one file each in a folder, named after whose it is.
//!
//! A mounted Secret changes by swapping a symbolic link, so the folder is looked at
//! again and again; a secret that is gone from it is gone from here. Secrets are kept
//! hashed and compared in constant time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// How often the folder is looked at: a raised epoch or a deleted pool must bite
/// within 10 s, mounting included.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest secret; a derived one has 64 characters.
const MAX_SECRET_BYTES: u64 = 4096;
/// Most secrets: one a pool. Beyond it the rest is ignored, and said so.
const MAX_SECRETS: usize = 1024;

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
    /// By owner.
    accepted: Arc<RwLock<BTreeMap<String, Hashed>>>,
    folder: Option<PathBuf>,
}

impl Credentials {
    /// Those in `folder`, read once now.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let credentials = Self {
            accepted: Arc::default(),
            folder: Some(folder.to_owned()),
        };
        credentials.reload();
        credentials
    }

    /// One, given directly: roles of the same process.
    pub(crate) fn single(owner: &str, secret: &str) -> Self {
        let accepted = BTreeMap::from([(owner.to_owned(), hash(secret.as_bytes()))]);
        Self {
            accepted: Arc::new(RwLock::new(accepted)),
            folder: None,
        }
    }

    /// Whose secret this is. Looks at all of them, whichever matches.
    pub(crate) fn owner(&self, secret: &[u8]) -> Option<(String, Hashed)> {
        let shown = hash(secret);
        let accepted = self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for (owner, secret) in accepted.iter() {
            if same(secret, &shown) {
                found = Some(owner.clone());
            }
        }
        found.map(|owner| (owner, shown))
    }

    /// Whether a secret shown earlier is still good.
    pub(crate) fn accepts(&self, shown: &Hashed) -> bool {
        let accepted = self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        accepted.values().any(|secret| same(secret, shown))
    }

    /// Follows the folder until `stop`; calls `changed` after each change.
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

    /// Reads the folder; true when something changed.
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
        let mut accepted = self
            .accepted
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if *accepted == read {
            return false;
        }
        tracing::info!(count = read.len(), "credentials of transcoders read");
        *accepted = read;
        true
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
    use super::Credentials;

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
    fn a_changed_secret_revokes_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cpu");
        std::fs::write(&file, "old").unwrap();
        let credentials = Credentials::in_folder(folder.path());
        let (_, shown) = credentials.owner(b"old").unwrap();
        std::fs::write(&file, "new").unwrap();
        assert!(credentials.reload() && !credentials.reload());
        assert!(!credentials.accepts(&shown));
        assert!(credentials.owner(b"new").is_some());
        std::fs::remove_file(&file).unwrap();
        assert!(credentials.reload());
        assert!(credentials.owner(b"new").is_none());
    }

    #[test]
    fn a_secret_never_prints() {
        assert_eq!(format!("{:?}", super::hash(b"secret")), "***");
    }
}
