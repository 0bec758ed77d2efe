//! Tasks that transcoders work on, and where their results go.
//!
//! A task is one attempt at one segment. Its number is the only thing that a result
//! carries, so a result for a task that is over, or of another process's time, finds
//! nobody and is dropped: nothing is stored or counted twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::plan::{MAX_ATTEMPTS, TaskId};
use super::registry::MemberId;
use crate::orchestrator::backend::Output;

/// What becomes of a task.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection of its transcoder ended.
    Lost,
    /// Its result broke off or is not what was asked for; it may be sent again.
    Unusable(String),
    /// The transcoder's own error text.
    Failed(String),
    Done(Output),
}

/// Three events an attempt: a result of it breaks off, its transcoder goes, and its result
/// comes all the same.
pub(crate) const EVENTS: usize = 3 * MAX_ATTEMPTS;

/// How a segment hears of its tasks.
pub(crate) type Events = mpsc::Sender<(TaskId, Event)>;

struct Open {
    member: MemberId,
    /// Whose credential the result must show.
    owner: String,
    events: Events,
    told: Told,
}

/// The worst that the segment of a task knows about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    /// A result of it was unusable.
    Unusable,
    Lost,
}

impl Open {
    /// How to tell its segment so, once.
    fn tell(&mut self, news: Told) -> Option<Events> {
        let is_news = news > self.told;
        self.told = self.told.max(news);
        is_news.then(|| self.events.clone())
    }
}

struct Inner {
    open: HashMap<TaskId, Open>,
    next: TaskId,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tasks {
    inner: Arc<Mutex<Inner>>,
}

impl Default for Tasks {
    fn default() -> Self {
        // Far from where another process of this orchestrator may have started, so
        // that a result for it is not taken for one of ours; half the range is left.
        let next = TaskId::from(rand::random::<u32>()) << 30;
        Self {
            inner: Arc::new(Mutex::new(Inner {
                open: HashMap::new(),
                next,
            })),
        }
    }
}

impl Tasks {
    /// Opens a task.
    pub(crate) fn open(&self, member: MemberId, owner: String, events: Events) -> TaskId {
        self.with(|inner| {
            let task = inner.next;
            inner.next = inner.next.wrapping_add(1);
            inner.open.insert(
                task,
                Open {
                    member,
                    owner,
                    events,
                    told: Told::Nothing,
                },
            );
            task
        })
    }

    /// Closes tasks whose segment is over.
    pub(crate) fn close(&self, tasks: impl Iterator<Item = TaskId>) {
        self.with(|inner| {
            for task in tasks {
                inner.open.remove(&task);
            }
        });
    }

    /// Whether somebody of `owner` may bring a result for `task`.
    pub(crate) fn is_open(&self, task: TaskId, owner: &str) -> bool {
        self.with(|inner| {
            inner
                .open
                .get(&task)
                .is_some_and(|open| open.owner == owner)
        })
    }

    /// Brings the result of a task, which closes it; false when nobody waits for it.
    pub(crate) fn finish(&self, task: TaskId, event: Event) -> bool {
        let open = self.with(|inner| inner.open.remove(&task));
        open.is_some_and(|open| open.events.try_send((task, event)).is_ok())
    }

    /// Tells the segment of a task that a result of it cannot be used; false when nobody
    /// waits for it. The task stays open: its transcoder may send the result again.
    pub(crate) fn give_up(&self, task: TaskId, reason: String) -> bool {
        let open = |inner: &mut Inner| Some(inner.open.get_mut(&task)?.tell(Told::Unusable));
        let Some(events) = self.with(open) else {
            return false;
        };
        if let Some(events) = events {
            // full or closed: the segment has ended, or has more than it can use
            let _ = events.try_send((task, Event::Unusable(reason)));
        }
        true
    }

    /// Tells the segments of a transcoder's tasks that it is gone. The tasks stay open.
    pub(crate) fn lose(&self, member: MemberId) {
        let lost: Vec<(TaskId, Events)> = self.with(|inner| {
            inner
                .open
                .iter_mut()
                .filter(|(_, open)| open.member == member)
                .filter_map(|(task, open)| Some((*task, open.tell(Told::Lost)?)))
                .collect()
        });
        for (task, events) in lost {
            // as above
            let _ = events.try_send((task, Event::Lost));
        }
    }

    fn with<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, Event, MAX_ATTEMPTS, Tasks};
    use crate::orchestrator::transcoders::registry::MemberId;
    use tokio::sync::mpsc;

    #[test]
    fn a_result_is_taken_once_and_from_its_owner_only() {
        let tasks = Tasks::default();
        let (events, mut received) = mpsc::channel(EVENTS);
        let task = tasks.open(MemberId(1), "pool".to_owned(), events);
        assert!(tasks.is_open(task, "pool") && !tasks.is_open(task, "other"));
        assert!(tasks.finish(task, Event::Failed("x".to_owned())));
        assert!(!tasks.finish(task, Event::Failed("x".to_owned())), "late");
        assert_eq!(received.try_recv().unwrap().0, task);
    }

    #[test]
    fn a_lost_task_may_still_bring_its_result() {
        let tasks = Tasks::default();
        let (events, mut received) = mpsc::channel(EVENTS);
        let task = tasks.open(MemberId(1), "pool".to_owned(), events);
        tasks.lose(MemberId(2));
        assert!(received.try_recv().is_err());
        tasks.lose(MemberId(1));
        assert!(matches!(received.try_recv().unwrap(), (_, Event::Lost)));
        assert!(tasks.finish(task, Event::Failed("x".to_owned())));
    }

    #[test]
    fn however_often_a_result_is_unusable_there_is_room_for_a_good_one() {
        let tasks = Tasks::default();
        let (events, mut received) = mpsc::channel(EVENTS / MAX_ATTEMPTS);
        let task = tasks.open(MemberId(1), "pool".to_owned(), events);
        for _ in 0..10 {
            assert!(tasks.give_up(task, "cut".to_owned()));
        }
        tasks.lose(MemberId(1));
        assert!(matches!(
            received.try_recv().unwrap(),
            (_, Event::Unusable(_))
        ));
        assert!(matches!(received.try_recv().unwrap(), (_, Event::Lost)));
        assert!(received.try_recv().is_err());
        tasks.lose(MemberId(1));
        assert!(tasks.give_up(task, "cut".to_owned()));
        assert!(received.try_recv().is_err(), "that is no news");
        assert!(tasks.finish(task, Event::Failed("x".to_owned())));
        assert!(!tasks.give_up(task, "cut".to_owned()), "late");
    }

    #[test]
    fn closed_tasks_are_forgotten() {
        let tasks = Tasks::default();
        let (events, _received) = mpsc::channel(EVENTS);
        let task = tasks.open(MemberId(1), "pool".to_owned(), events);
        tasks.close([task].into_iter());
        assert!(!tasks.is_open(task, "pool"));
    }
}
