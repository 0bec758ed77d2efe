//! Results until gateways fetch them, and sources until transcoders do: `GET /stream/...`.
//!
//! As go-livepeer's memory store (`go-tools/drivers/local.go`): 12 files a folder, the
//! oldest goes first; a session's files go with it. Beyond that a bound in bytes, which
//! go-livepeer lacks. Nothing here touches a disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Files kept in one folder (`go-tools/drivers/local.go`).
const FILES_PER_FOLDER: usize = 12;

#[derive(Clone)]
struct File {
    name: String,
    data: Bytes,
    /// Counts up over the whole store: the lowest is the oldest.
    age: u64,
}

/// Folders of one session, by name: one a profile.
type Folders = HashMap<String, VecDeque<File>>;

#[derive(Default)]
struct Inner {
    sessions: HashMap<String, Folders>,
    /// Sources at work, by path. The budget of bodies in flight counts them, not `bytes`.
    lent: HashMap<String, Bytes>,
    bytes: usize,
    next_age: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Mutex<Inner>>,
    limit: usize,
}

impl Store {
    /// A store that keeps at most about `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            inner: Arc::default(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    /// Keeps a file of a session, replacing one of that name.
    pub(crate) fn insert(&self, session: &str, folder: &str, name: &str, data: Bytes) {
        self.with(|inner| {
            let age = inner.next_age;
            inner.next_age += 1;
            inner.remove(session, folder, name);
            inner.bytes += data.len();
            let files = inner
                .sessions
                .entry(session.to_owned())
                .or_default()
                .entry(folder.to_owned())
                .or_default();
            files.push_back(File {
                name: name.to_owned(),
                data,
                age,
            });
            if files.len() > FILES_PER_FOLDER
                && let Some(oldest) = files.pop_front()
            {
                inner.bytes -= oldest.data.len();
            }
            while inner.bytes > self.limit && inner.remove_oldest(age) {}
        });
    }

    /// The file at `path`: `<session>/<name>` or `<session>/<folder>/<name>`.
    pub(crate) fn get(&self, path: &str) -> Option<Bytes> {
        let (session, rest) = path.split_once('/')?;
        // a profile's name may hold a slash, a file's name never does
        let (folder, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        self.with(|inner| {
            if let Some(source) = inner.lent.get(path) {
                return Some(source.clone());
            }
            let files = inner.sessions.get(session)?.get(folder)?;
            files
                .iter()
                .find(|file| file.name == name)
                .map(|file| file.data.clone())
        })
    }

    /// Drops all files of a session.
    pub(crate) fn end(&self, session: &str) {
        self.with(|inner| {
            let folders = inner.sessions.remove(session).unwrap_or_default();
            let freed: usize = folders.values().flatten().map(|file| file.data.len()).sum();
            inner.bytes -= freed;
        });
    }

    /// Serves a source as `<session>/<name>` as long as the returned guard lives.
    pub(crate) fn lend(&self, session: &str, name: &str, data: Bytes) -> Lent {
        let path = format!("{session}/{name}");
        self.with(|inner| inner.lent.insert(path.clone(), data));
        Lent {
            store: self.clone(),
            path,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.with(|inner| inner.bytes as u64)
    }

    fn with<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn remove(&mut self, session: &str, folder: &str, name: &str) {
        let Some(folders) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(files) = folders.get_mut(folder) {
            if let Some(at) = files.iter().position(|file| file.name == name)
                && let Some(file) = files.remove(at)
            {
                self.bytes -= file.data.len();
            }
            if files.is_empty() {
                folders.remove(folder);
            }
        }
        if folders.is_empty() {
            self.sessions.remove(session);
        }
    }

    /// Removes the oldest file of all but the one of age `keep`; false when none is left.
    fn remove_oldest(&mut self, keep: u64) -> bool {
        let oldest = self
            .sessions
            .iter()
            .flat_map(|(session, folders)| {
                folders
                    .iter()
                    .map(move |(folder, files)| (session, folder, files))
            })
            .filter_map(|(session, folder, files)| {
                files.front().map(|file| (file.age, session, folder, file))
            })
            .min_by_key(|(age, ..)| *age);
        match oldest {
            Some((age, session, folder, file)) if age != keep => {
                let (session, folder, name) = (session.clone(), folder.clone(), file.name.clone());
                self.remove(&session, &folder, &name);
                true
            }
            Some(_) | None => false,
        }
    }
}

/// A source that goes when this does.
pub(crate) struct Lent {
    store: Store,
    path: String,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.store.with(|inner| inner.lent.remove(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES_PER_FOLDER, Store};
    use bytes::Bytes;

    #[test]
    fn a_folder_keeps_its_last_twelve_files() {
        let store = Store::new(1000);
        for seq in 0..=FILES_PER_FOLDER {
            store.insert("s", "P240", &format!("{seq}.ts"), Bytes::from_static(b"x"));
        }
        assert_eq!(store.get("s/P240/0.ts"), None);
        assert!(store.get("s/P240/12.ts").is_some());
        assert_eq!(store.bytes(), FILES_PER_FOLDER as u64);
    }

    #[test]
    fn a_session_takes_its_files_with_it() {
        let store = Store::new(1000);
        store.insert("s", "a/b", "0.ts", Bytes::from_static(b"x"));
        store.insert("t", "a", "0.ts", Bytes::from_static(b"y"));
        assert!(store.get("s/a/b/0.ts").is_some());
        store.end("s");
        assert_eq!(store.get("s/a/b/0.ts"), None);
        assert_eq!(store.bytes(), 1);
    }

    #[test]
    fn over_the_limit_the_oldest_goes_but_never_the_newest() {
        let store = Store::new(10);
        store.insert("s", "a", "0.ts", Bytes::from_static(b"123456"));
        store.insert("t", "a", "0.ts", Bytes::from_static(b"123456"));
        assert_eq!(store.get("s/a/0.ts"), None);
        store.insert("u", "a", "0.ts", Bytes::from_static(b"12345678901"));
        assert!(store.get("u/a/0.ts").is_some());
        assert_eq!(store.get("t/a/0.ts"), None);
    }

    #[test]
    fn a_source_is_there_only_while_it_is_lent() {
        let store = Store::new(1000);
        let lent = store.lend("s", "7.tempfile", Bytes::from_static(b"x"));
        assert!(store.get("s/7.tempfile").is_some());
        drop(lent);
        assert_eq!(store.get("s/7.tempfile"), None);
        assert_eq!(store.bytes(), 0);
        for path in ["", "s", "s/", "/", "x/y/z"] {
            assert_eq!(store.get(path), None);
        }
    }
}
