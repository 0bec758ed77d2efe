//! Who is registered, who has which session, and who gets the next one.
//!
//! Deciding only: streams, tasks and clocks are elsewhere. Order of choice as in
//! go-livepeer (`core/orchestrator.go`, `RemoteTranscoderManager`): a session stays
//! with its transcoder, a new one goes to the least loaded that can do the job; to one that
//! has just failed only where no other has room. (go-livepeer forgets one that takes too long.)

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use livepeer_proto::capabilities::{self, BitString};
use livepeer_proto::{errors, net};
use tokio::time::Instant;

/// How long one that failed comes after the others. It has no sessions then, so it would come
/// first, and two of them would fail every new session, however many others there are.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// A registration; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

/// Whether a transcoder takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Willing {
    Yes,
    /// It was told to stop: only when nobody else is there that is able.
    AsLastResort,
    /// It finishes what it has.
    No,
}

/// What a transcoder said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Whose credential it showed.
    pub(crate) owner: String,
    /// Where it called from, for people to read.
    pub(crate) address: String,
    pub(crate) capacity: u32,
    pub(crate) capabilities: net::Capabilities,
}

#[derive(Debug)]
struct Member<H> {
    offer: Offer,
    handle: H,
    willing: Willing,
    sessions: BTreeSet<String>,
    /// When it last failed, if it has done nothing well since.
    failed: Option<Instant>,
}

impl<H> Member<H> {
    fn has_just_failed(&self, now: Instant) -> bool {
        self.failed
            .is_some_and(|failed| now.duration_since(failed) < FAILED_FOR)
    }

    fn is_full(&self) -> bool {
        self.sessions.len() >= self.offer.capacity as usize
    }
}

/// Why no transcoder was picked; the texts are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PickError {
    /// Nobody is there: worth a short wait.
    #[error("{}", errors::NO_TRANSCODERS)]
    Empty,
    #[error("{}", errors::NO_TRANSCODERS)]
    Full,
    #[error("{}", errors::NO_CAPABLE_TRANSCODERS)]
    Incapable,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) session: &'a str,
    pub(crate) job: Option<&'a net::Capabilities>,
    /// Already tried with this segment.
    pub(crate) tried: &'a [MemberId],
    pub(crate) urgency: Urgency,
    pub(crate) now: Instant,
}

/// How far over its capacity a transcoder may be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A new session: not at all.
    New,
    /// A session that we took and that lost its transcoder: better late than lost.
    Orphaned,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) owner: String,
    pub(crate) address: String,
    pub(crate) sessions: u32,
    pub(crate) capacity: u32,
}

/// All transcoders; `H` is what reaches one.
#[derive(Debug)]
pub(crate) struct Registry<H> {
    members: BTreeMap<MemberId, Member<H>>,
    /// Session to transcoder.
    placed: HashMap<String, MemberId>,
    next: u64,
}

impl<H> Default for Registry<H> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            placed: HashMap::new(),
            next: 1,
        }
    }
}

impl<H: Clone> Registry<H> {
    pub(crate) fn add(&mut self, offer: Offer, handle: H) -> MemberId {
        let id = MemberId(self.next);
        self.next += 1;
        let member = Member {
            offer,
            handle,
            willing: Willing::Yes,
            sessions: BTreeSet::new(),
            failed: None,
        };
        self.members.insert(id, member);
        id
    }

    /// Forgets a transcoder; its sessions are free for others.
    pub(crate) fn remove(&mut self, id: MemberId) -> Option<Offer> {
        let member = self.members.remove(&id)?;
        for session in &member.sessions {
            self.placed.remove(session);
        }
        Some(member.offer)
    }

    /// Picks a transcoder. Nothing is noted until [`Self::place`].
    pub(crate) fn pick(&self, wanted: Wanted<'_>) -> Result<(MemberId, H), PickError> {
        let free = |(id, member): &(&MemberId, &Member<H>)| {
            member.willing != Willing::No && !wanted.tried.contains(id)
        };
        let mut able: Vec<_> = self.members.iter().filter(free).collect();
        if able.is_empty() {
            return Err(PickError::Empty);
        }
        able.retain(|(_, member)| can_do(wanted.job, &member.offer.capabilities));
        // a last resort is one only beside others that are able
        let most = able.iter().map(|(_, member)| member.willing).min();
        able.retain(|(_, member)| Some(member.willing) == most);
        let current = self.placed.get(wanted.session);
        if let Some((id, member)) = able.iter().find(|(id, _)| Some(*id) == current) {
            return Ok((**id, member.handle.clone()));
        }
        let shut = |member: &Member<H>| wanted.urgency == Urgency::New && member.is_full();
        let order = |member: &Member<H>| {
            let failed = member.has_just_failed(wanted.now);
            (shut(member), failed, load(member))
        };
        let (id, member) = able
            .into_iter()
            .min_by_key(|(_, member)| order(member))
            .ok_or(PickError::Incapable)?;
        if shut(member) {
            return Err(PickError::Full);
        }
        Ok((*id, member.handle.clone()))
    }

    /// A transcoder could not do a segment that others may be able to do.
    pub(crate) fn failed(&mut self, id: MemberId, now: Instant) {
        if let Some(member) = self.members.get_mut(&id) {
            member.failed = Some(now);
        }
    }

    /// A transcoder did a segment.
    pub(crate) fn worked(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.failed = None;
        }
    }

    /// Notes that a session is with a transcoder.
    pub(crate) fn place(&mut self, session: &str, id: MemberId) {
        if !self.members.contains_key(&id) {
            return;
        }
        self.displace(session);
        self.placed.insert(session.to_owned(), id);
        if let Some(member) = self.members.get_mut(&id) {
            member.sessions.insert(session.to_owned());
        }
    }

    /// Takes a session from its transcoder and tells whose it was.
    pub(crate) fn displace(&mut self, session: &str) -> Option<H> {
        let id = self.placed.remove(session)?;
        let member = self.members.get_mut(&id)?;
        member.sessions.remove(session);
        Some(member.handle.clone())
    }

    /// A transcoder of `owner` takes less work from now on; false when there is none.
    pub(crate) fn set_willing(&mut self, id: MemberId, owner: &str, willing: Willing) -> bool {
        let Some(member) = self
            .members
            .get_mut(&id)
            .filter(|member| member.offer.owner == owner)
        else {
            return false;
        };
        member.willing = willing;
        for session in std::mem::take(&mut member.sessions) {
            self.placed.remove(&session);
        }
        true
    }

    /// Whose credential a transcoder showed.
    pub(crate) fn owner(&self, id: MemberId) -> Option<String> {
        self.members
            .get(&id)
            .map(|member| member.offer.owner.clone())
    }

    /// Who takes new sessions.
    fn counted(&self) -> impl Iterator<Item = &Member<H>> {
        self.members
            .values()
            .filter(|member| member.willing == Willing::Yes)
    }

    /// Sessions that all could hold at once.
    pub(crate) fn capacity(&self) -> u32 {
        self.counted()
            .fold(0, |sum, member| sum.saturating_add(member.offer.capacity))
    }

    /// What at least one can do, the last resorts too: without it their sessions' segments
    /// would be refused before anybody is asked.
    pub(crate) fn abilities(&self) -> BitString {
        let willing = |member: &&Member<H>| member.willing != Willing::No;
        BitString::of(self.members.values().filter(willing).flat_map(|member| {
            BitString(member.offer.capabilities.bitstring.clone())
                .bits()
                .collect::<Vec<_>>()
        }))
    }

    pub(crate) fn registered(&self) -> Vec<Registered> {
        self.counted()
            .map(|member| Registered {
                owner: member.offer.owner.clone(),
                address: member.offer.address.clone(),
                sessions: u32::try_from(member.sessions.len()).unwrap_or(u32::MAX),
                capacity: member.offer.capacity,
            })
            .collect()
    }

    /// Every transcoder with what reaches it.
    pub(crate) fn handles(&self) -> impl Iterator<Item = (MemberId, &H)> {
        self.members
            .iter()
            .map(|(id, member)| (*id, &member.handle))
    }
}

/// Sessions per thousand of the capacity.
fn load<H>(member: &Member<H>) -> u64 {
    let sessions = member.sessions.len() as u64;
    sessions.saturating_mul(1000) / u64::from(member.offer.capacity.max(1))
}

/// A job that names no capabilities is one that everybody can do.
fn can_do(job: Option<&net::Capabilities>, offered: &net::Capabilities) -> bool {
    job.is_none_or(|job| capabilities::compatible(job, offered).is_ok())
}

#[cfg(test)]
mod tests;
