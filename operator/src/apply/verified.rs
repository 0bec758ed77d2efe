//! What is known of the children without asking: the version in which each was last
//! found right, and the version that its watch last reported.
//!
//! Equal versions and an equal hash mean that nobody changed it since, so an unchanged
//! resource costs no request. The memory is a few strings a child; children
//! themselves are not cached.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::child::ChildKind;

/// One child, in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub kind: ChildKind,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Default)]
struct Entry {
    /// Version of the watch's last event.
    seen: Option<String>,
    /// Version and hash with which the child was right.
    right: Option<(String, String)>,
}

/// The children of every resource.
#[derive(Debug, Default)]
pub struct Verified {
    children: Mutex<HashMap<Key, Entry>>,
    /// Hash of the set of children for which orphans were last looked for, by owner's UID.
    swept: Mutex<HashMap<String, String>>,
}

impl Verified {
    /// An event of the child's watch.
    pub fn saw(&self, key: Key, version: Option<String>, deleted: bool) {
        let mut children = lock(&self.children);
        if deleted {
            children.remove(&key);
        } else {
            children.entry(key).or_default().seen = version;
        }
    }

    /// An event of the watch of Secrets, which reports everybody's. Only children are
    /// remembered: those that have an owner, and those that had one.
    pub fn saw_secret(&self, key: Key, version: Option<String>, owned: bool) {
        let mut children = lock(&self.children);
        if owned || children.contains_key(&key) {
            children.entry(key).or_default().seen = version;
        }
    }

    /// The watch of a kind starts anew: each of its children is to be read again.
    pub fn doubt_all(&self, kind: ChildKind) {
        let mut children = lock(&self.children);
        for (key, entry) in children.iter_mut() {
            if key.kind == kind {
                entry.seen = None;
            }
        }
    }

    /// The list that a watch of the kind begins with is complete: what is not in it is gone,
    /// or was made after it and is reported.
    pub fn forget_unseen(&self, kind: ChildKind) {
        lock(&self.children).retain(|key, entry| key.kind != kind || entry.seen.is_some());
    }

    /// The child was read or applied in `version` and holds what `hash` stands for.
    pub fn found_right(&self, key: Key, version: String, hash: &str) {
        lock(&self.children).entry(key).or_default().right = Some((version, hash.to_owned()));
    }

    /// The child is to be read again, whatever its watch says.
    pub fn doubt(&self, key: &Key) {
        if let Some(entry) = lock(&self.children).get_mut(key) {
            entry.right = None;
        }
    }

    /// True when nothing happened to the child since it was right with `hash`.
    #[must_use]
    pub fn is_right(&self, key: &Key, hash: &str) -> bool {
        lock(&self.children).get(key).is_some_and(|entry| {
            let Entry { seen, right } = entry;
            right
                .as_ref()
                .is_some_and(|(version, of)| of == hash && seen.as_ref() == Some(version))
        })
    }

    /// True when orphans were looked for with this very set of children.
    #[must_use]
    pub fn is_swept(&self, owner_uid: &str, set: &str) -> bool {
        lock(&self.swept)
            .get(owner_uid)
            .is_some_and(|last| last == set)
    }

    /// Orphans were looked for.
    pub fn found_swept(&self, owner_uid: &str, set: String) {
        lock(&self.swept).insert(owner_uid.to_owned(), set);
    }

    /// The owner is gone.
    pub fn forget_owner(&self, owner_uid: &str) {
        lock(&self.swept).remove(owner_uid);
    }
}

/// A panic while the map was held leaves it whole: each change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Key, Verified};
    use crate::apply::child::ChildKind;

    fn key() -> Key {
        Key {
            kind: ChildKind::Secret,
            namespace: "ns".into(),
            name: "s".into(),
        }
    }

    #[test]
    fn a_child_is_right_only_in_the_version_that_its_watch_reports() {
        let verified = Verified::default();
        verified.found_right(key(), "7".into(), "h");
        assert!(
            !verified.is_right(&key(), "h"),
            "its watch has not reported it yet"
        );
        verified.saw(key(), Some("7".into()), false);
        assert!(verified.is_right(&key(), "h"));
        assert!(!verified.is_right(&key(), "other"));
        verified.saw(key(), Some("8".into()), false);
        assert!(!verified.is_right(&key(), "h"), "somebody changed it");
    }

    #[test]
    fn a_child_that_is_doubted_is_right_again_as_soon_as_it_was_read() {
        let verified = Verified::default();
        verified.saw(key(), Some("7".into()), false);
        verified.found_right(key(), "7".into(), "h");
        verified.doubt(&key());
        assert!(!verified.is_right(&key(), "h"));
        verified.found_right(key(), "7".into(), "h");
        assert!(verified.is_right(&key(), "h"));
    }

    #[test]
    fn a_change_between_reading_and_remembering_is_not_lost() {
        let verified = Verified::default();
        verified.saw(key(), Some("8".into()), false);
        verified.found_right(key(), "7".into(), "h");
        assert!(!verified.is_right(&key(), "h"));
    }

    #[test]
    fn after_a_watch_started_anew_nothing_is_certain_and_what_is_gone_is_forgotten() {
        let verified = Verified::default();
        let gone = Key {
            name: "gone".into(),
            ..key()
        };
        for key in [key(), gone.clone()] {
            verified.found_right(key.clone(), "7".into(), "h");
            verified.saw(key, Some("7".into()), false);
        }
        verified.doubt_all(ChildKind::Secret);
        assert!(!verified.is_right(&key(), "h"));
        verified.saw(key(), Some("7".into()), false);
        verified.forget_unseen(ChildKind::ConfigMap);
        assert_eq!(verified.children.lock().unwrap().len(), 2);
        verified.forget_unseen(ChildKind::Secret);
        assert!(verified.is_right(&key(), "h"));
        assert!(!verified.children.lock().unwrap().contains_key(&gone));
    }

    #[test]
    fn a_secret_that_lost_its_owner_is_not_right_and_a_strangers_is_not_remembered() {
        let verified = Verified::default();
        verified.saw_secret(key(), Some("7".into()), true);
        verified.found_right(key(), "7".into(), "h");
        assert!(verified.is_right(&key(), "h"));
        verified.saw_secret(key(), Some("8".into()), false);
        assert!(!verified.is_right(&key(), "h"));

        let strangers = Verified::default();
        strangers.saw_secret(key(), Some("7".into()), false);
        strangers.found_right(key(), "7".into(), "h");
        assert!(!strangers.is_right(&key(), "h"));
    }

    #[test]
    fn a_deleted_child_is_not_right() {
        let verified = Verified::default();
        verified.found_right(key(), "7".into(), "h");
        verified.saw(key(), Some("7".into()), false);
        verified.saw(key(), Some("9".into()), true);
        assert!(!verified.is_right(&key(), "h"));
    }
}
