//! Who gets a session, with transcoders that have no handle.

use super::{FAILED_FOR, MemberId, Offer, PickError, Registry, Urgency, Wanted, Willing};
use livepeer_proto::capabilities::{self, BitString, Capability};
use livepeer_proto::net;
use tokio::time::Instant;

fn offer(capacity: u32) -> Offer {
    Offer {
        owner: "pool".to_owned(),
        address: String::new(),
        capacity,
        capabilities: capabilities::message(&capabilities::software(), 1, "0.9.1"),
    }
}

fn wanted<'a>(session: &'a str, tried: &'a [MemberId]) -> Wanted<'a> {
    Wanted {
        session,
        job: None,
        tried,
        urgency: Urgency::New,
        now: Instant::now(),
    }
}

fn pick(registry: &mut Registry<()>, session: &str) -> Result<MemberId, PickError> {
    let (id, ()) = registry.pick(wanted(session, &[]))?;
    registry.place(session, id);
    Ok(id)
}

#[test]
fn sessions_spread_by_load_and_stay_where_they_are() {
    let mut registry = Registry::default();
    assert_eq!(pick(&mut registry, "a"), Err(PickError::Empty));
    let big = registry.add(offer(4), ());
    let small = registry.add(offer(1), ());
    assert_eq!(registry.capacity(), 5);
    let placed: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|session| pick(&mut registry, session).unwrap())
        .to_vec();
    assert_eq!(placed.iter().filter(|id| **id == small).count(), 1);
    assert_eq!(pick(&mut registry, "c"), Ok(placed[2]));
    assert_eq!(pick(&mut registry, "f"), Err(PickError::Full));
    registry.displace("a");
    assert_eq!(pick(&mut registry, "f"), Ok(big));
}

#[test]
fn a_session_that_lost_its_transcoder_may_overload_another() {
    let mut registry = Registry::default();
    let first = registry.add(offer(1), ());
    let second = registry.add(offer(1), ());
    assert_eq!(pick(&mut registry, "a"), Ok(first));
    assert_eq!(pick(&mut registry, "b"), Ok(second));
    registry.remove(first);
    assert_eq!(pick(&mut registry, "a"), Err(PickError::Full));
    let orphaned = Wanted {
        urgency: Urgency::Orphaned,
        ..wanted("a", &[])
    };
    assert_eq!(registry.pick(orphaned).unwrap().0, second);
}

#[test]
fn those_that_have_just_failed_come_after_the_others_and_before_nobody() {
    let mut registry = Registry::default();
    let [first, second, third] = [9, 9, 1].map(|capacity| registry.add(offer(capacity), ()));
    registry.failed(first, Instant::now());
    registry.failed(second, Instant::now());
    assert_eq!(pick(&mut registry, "a"), Ok(third));
    assert_eq!(pick(&mut registry, "b"), Ok(first), "the other is full");
    assert_eq!(pick(&mut registry, "b"), Ok(first), "and there it stays");
    registry.worked(second);
    registry.displace("a");
    registry.displace("b");
    registry.failed(third, Instant::now());
    assert_eq!(pick(&mut registry, "c"), Ok(second));
    let later = Wanted {
        now: Instant::now() + FAILED_FOR,
        ..wanted("d", &[])
    };
    assert_eq!(registry.pick(later).unwrap().0, first, "it was long ago");
}

#[test]
fn what_was_tried_is_not_picked_again_even_when_the_session_is_there() {
    let mut registry = Registry::default();
    let first = registry.add(offer(1), ());
    pick(&mut registry, "a").unwrap();
    assert_eq!(
        registry.pick(wanted("a", &[first])).err(),
        Some(PickError::Empty)
    );
    let second = registry.add(offer(1), ());
    assert_eq!(registry.pick(wanted("a", &[first])).unwrap().0, second);
}

/// What [`offer`] has not.
fn hevc() -> net::Capabilities {
    let bits = BitString::of([Capability::HevcDecode as u32]);
    capabilities::message(&bits, 1, "0.9.1")
}

#[test]
fn a_job_that_nobody_can_do_is_told_from_a_lack_of_transcoders() {
    let mut registry = Registry::default();
    registry.add(offer(1), ());
    let job = hevc();
    let wanted = Wanted {
        job: Some(&job),
        ..wanted("a", &[])
    };
    assert_eq!(registry.pick(wanted).err(), Some(PickError::Incapable));
}

#[test]
fn a_last_resort_does_what_nobody_else_can() {
    let mut registry = Registry::default();
    let able = Offer {
        capabilities: hevc(),
        ..offer(1)
    };
    let leaving = registry.add(able, ());
    registry.add(offer(1), ());
    registry.set_willing(leaving, "pool", Willing::AsLastResort);
    let job = hevc();
    let wanted = Wanted {
        job: Some(&job),
        ..wanted("a", &[])
    };
    assert_eq!(registry.pick(wanted).unwrap().0, leaving);
    let bits = BitString(job.bitstring.clone());
    assert!(bits.is_subset_of(&registry.abilities()));
    registry.set_willing(leaving, "pool", Willing::No);
    assert_eq!(registry.pick(wanted).err(), Some(PickError::Incapable));
    assert!(!bits.is_subset_of(&registry.abilities()));
}

#[test]
fn one_that_drains_is_the_last_resort_and_then_none() {
    let mut registry = Registry::default();
    let leaving = registry.add(offer(9), ());
    pick(&mut registry, "a").unwrap();
    assert!(!registry.set_willing(leaving, "another pool", Willing::No));
    assert!(registry.set_willing(leaving, "pool", Willing::AsLastResort));
    assert_eq!(registry.capacity(), 0);
    assert_eq!(pick(&mut registry, "a"), Ok(leaving));
    let staying = registry.add(offer(1), ());
    assert_eq!(registry.pick(wanted("a", &[])).unwrap().0, staying);
    registry.remove(staying);
    registry.set_willing(leaving, "pool", Willing::No);
    assert_eq!(pick(&mut registry, "a"), Err(PickError::Empty));
}
