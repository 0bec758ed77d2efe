//! The objects of one kind as their watch reports them, and what each event changes: pure.
//!
//! A watch that starts anew lists what is there, and says nothing of what was deleted while
//! nobody watched: that follows from the list. Nothing is told of a list before it is complete:
//! until then the store holds what was before it, and whoever is told to look would see that.
//! Nor does a first list wait for those who are told, who take nothing before all stores are full.

use std::collections::{HashMap, HashSet};

use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Resource as _, ResourceExt};

use super::resources::Dependents;

/// Namespace and name.
type Place = (String, String);

struct Object<F> {
    uid: String,
    /// See [`face_after`].
    face: Option<F>,
}

/// All objects that are there. A pool that moves to another orchestrator makes both due, so
/// their faces are kept.
pub struct Known<K: Dependents> {
    objects: HashMap<Place, Object<K::Face>>,
    /// The list that a watch begins with, until it is complete.
    listed: Vec<DeserializeGuard<K>>,
}

/// What an event says of one object.
pub struct Change<K: Dependents> {
    pub place: Place,
    pub before: Option<K::Face>,
    pub after: Option<K::Face>,
    /// The UID of one that is deleted.
    pub gone: Option<String>,
}

impl<K: Dependents> Change<K> {
    /// Whether anything changed that others depend on.
    pub fn concerns_others(&self) -> bool {
        self.before != self.after
    }
}

impl<K: Dependents> Default for Known<K> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            listed: Vec::new(),
        }
    }
}

impl<K: Dependents> Known<K> {
    /// Takes in an event.
    pub fn after(&mut self, event: &Event<DeserializeGuard<K>>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.push(object.clone());
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let there: HashSet<_> = listed.iter().map(place).collect();
                let known = self.objects.keys();
                let vanished = known.filter(|place| !there.contains(*place));
                let vanished: Vec<_> = vanished.cloned().collect();
                let gone = vanished.into_iter().filter_map(|place| self.gone(place));
                let mut changes: Vec<_> = gone.collect();
                changes.extend(listed.iter().flat_map(|object| self.seen(object)));
                changes
            }
            Event::Apply(object) => self.seen(object),
            Event::Delete(object) => self.gone(place(object)).into_iter().collect(),
        }
    }

    fn seen(&mut self, object: &DeserializeGuard<K>) -> Vec<Change<K>> {
        let (place, uid) = (place(object), object.uid().unwrap_or_default());
        let known = self.objects.get(&place);
        let namesake = known.is_some_and(|known| known.uid != uid);
        let mut changes = Vec::new();
        if namesake {
            changes.extend(self.gone(place.clone()));
        }
        let before = self.objects.remove(&place).and_then(|known| known.face);
        let after = face_after(object, before.as_ref());
        let face = after.clone();
        self.objects.insert(place.clone(), Object { uid, face });
        changes.push(Change {
            place,
            before,
            after,
            gone: None,
        });
        changes
    }

    fn gone(&mut self, place: Place) -> Option<Change<K>> {
        let Object { uid, face } = self.objects.remove(&place)?;
        Some(Change {
            place,
            before: face,
            after: None,
            gone: Some(uid),
        })
    }
}

fn place(object: &impl ResourceExt) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The face of an object that is there, where it had this one before. One that is being
/// deleted, and in the foreground stays until its children have gone, has left: its pods are
/// told to stop now. What cannot be read any more is not known to have changed.
fn face_after<K: Dependents>(
    object: &DeserializeGuard<K>,
    before: Option<&K::Face>,
) -> Option<K::Face> {
    if object.meta().deletion_timestamp.is_some() {
        return None;
    }
    match &object.0 {
        Ok(read) => Some(read.face()),
        Err(_) => before.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, face_after};
    use crate::api::TranscoderPool;
    use crate::transcoder_pool::build::tests::pool;
    use crate::watch::resources::PoolFace;
    use crate::watch::resources::tests::face;
    use kube::core::DeserializeGuard;
    use kube::core::error_boundary::InvalidObject;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    type Pool = DeserializeGuard<TranscoderPool>;

    /// A pool of the orchestrator `o`.
    fn named(name: &str, uid: &str) -> Pool {
        let mut pool = pool(json!({"orchestrator": {"ref": {"name": "o"}}}));
        pool.metadata.name = Some(name.into());
        pool.metadata.uid = Some(uid.into());
        DeserializeGuard(Ok(pool))
    }

    fn leaving(pool: Pool) -> Pool {
        let mut pool = pool.0.unwrap();
        let now = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        pool.metadata.deletion_timestamp = Some(now);
        DeserializeGuard(Ok(pool))
    }

    /// Name, and whether it was somebody's before, is now, and who is gone.
    type Said = (String, bool, bool, Option<String>);

    fn say(known: &mut Known<TranscoderPool>, event: Event<Pool>) -> Vec<Said> {
        let changes = known.after(&event).into_iter();
        changes
            .map(|change| {
                let (_, name) = change.place;
                let (before, after) = (change.before.is_some(), change.after.is_some());
                (name, before, after, change.gone)
            })
            .collect()
    }

    fn said(name: &str, before: bool, after: bool, gone: Option<&str>) -> Said {
        (name.to_owned(), before, after, gone.map(str::to_owned))
    }

    #[test]
    fn what_vanished_while_nobody_watched_is_gone_once_the_list_is_complete() {
        let mut known = Known::default();
        for (name, uid) in [("a", "1"), ("b", "2"), ("c", "3")] {
            let made = say(&mut known, Event::Apply(named(name, uid)));
            assert_eq!(made, [said(name, false, true, None)]);
        }
        say(&mut known, Event::Apply(leaving(named("c", "3"))));
        // a list that breaks off says nothing
        say(&mut known, Event::Init);
        say(&mut known, Event::InitApply(named("b", "2")));
        assert_eq!(say(&mut known, Event::Init), []);
        assert_eq!(say(&mut known, Event::InitApply(named("a", "1"))), []);
        let mut changed = say(&mut known, Event::InitDone);
        changed.sort();
        let stays = said("a", true, true, None);
        let wanted = [
            stays.clone(),
            said("b", true, false, Some("2")),
            said("c", false, false, Some("3")),
        ];
        assert_eq!(changed, wanted);
        say(&mut known, Event::Init);
        say(&mut known, Event::InitApply(named("a", "1")));
        assert_eq!(say(&mut known, Event::InitDone), [stays]);
    }

    #[test]
    fn a_namesake_is_another_one() {
        let mut known = Known::default();
        say(&mut known, Event::Apply(named("a", "1")));
        let wanted = [
            said("a", true, false, Some("1")),
            said("a", false, true, None),
        ];
        assert_eq!(say(&mut known, Event::Apply(named("a", "2"))), wanted);
        let gone = say(&mut known, Event::Delete(named("a", "2")));
        assert_eq!(gone, [said("a", true, false, Some("2"))]);
    }

    #[test]
    fn a_pool_leaves_when_its_deletion_begins_and_not_again_when_it_is_gone() {
        let mut known = Known::default();
        say(&mut known, Event::Apply(named("a", "1")));
        // in the foreground it stays until its pods have gone
        let begins = say(&mut known, Event::Apply(leaving(named("a", "1"))));
        assert_eq!(begins, [said("a", true, false, None)]);
        let ends = say(&mut known, Event::Delete(leaving(named("a", "1"))));
        assert_eq!(ends, [said("a", false, false, Some("1"))]);
    }

    #[test]
    fn a_pool_that_cannot_be_read_any_more_has_left_nobody() {
        let there: PoolFace = face(&["o"]);
        let unreadable = DeserializeGuard::<TranscoderPool>(Err(InvalidObject {
            error: "replicas: not a number".into(),
            metadata: pool(json!({"orchestrator": {"ref": {"name": "o"}}})).metadata,
        }));
        let after = face_after(&unreadable, Some(&there));
        assert_eq!(after, Some(there));
        assert_eq!(face_after(&unreadable, None), None);
    }
}
