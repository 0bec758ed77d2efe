//! Conditions from a verdict: pure, with the clock and the old conditions as arguments.
//!
//! `Ready` is always there. `Reconciling` and `Stalled` are there only while true, as
//! kstatus reads them: Reconciling is in progress, Stalled has failed for good.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reason::Reason;

pub const READY: &str = "Ready";
pub const RECONCILING: &str = "Reconciling";
pub const STALLED: &str = "Stalled";
pub const GPU_READY: &str = "GpuReady";
pub const DRAINING: &str = "Draining";

/// Longest message that is shown; metav1.Condition takes 32,768, nobody reads that.
const MAX_MESSAGE: usize = 1024;

/// Three-valued truth of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition before it has times and a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub truth: Truth,
    pub reason: Reason,
    pub message: String,
}

impl Verdict {
    #[must_use]
    pub fn new(truth: Truth, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            truth,
            reason,
            message: message.into(),
        }
    }

    #[must_use]
    pub fn ready(message: impl Into<String>) -> Self {
        Self::new(Truth::True, Reason::Serving, message)
    }

    #[must_use]
    pub fn not_ready(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Truth::False, reason, message)
    }
}

/// What is known about a resource, from which its conditions follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    pub ready: Verdict,
    /// Why the operator is still at work, if it is.
    pub reconciling: Option<(Reason, String)>,
    /// With `gpu` only.
    pub gpu: Option<Verdict>,
    /// While pods drain only.
    pub draining: Option<String>,
}

impl Verdicts {
    /// Nothing but a verdict on `Ready`.
    #[must_use]
    pub fn only(ready: Verdict) -> Self {
        Self {
            ready,
            reconciling: None,
            gpu: None,
            draining: None,
        }
    }
}

/// The conditions of `generation`; transition times come from `old` where the truth stays.
#[must_use]
pub fn build(
    verdicts: &Verdicts,
    generation: i64,
    old: &[Condition],
    now: &Time,
) -> Vec<Condition> {
    let Verdicts {
        ready,
        reconciling,
        gpu,
        draining,
    } = verdicts;
    let mut wanted = vec![(READY, ready.clone())];
    if let Some((reason, message)) = reconciling {
        wanted.push((RECONCILING, Verdict::new(Truth::True, *reason, message)));
    }
    if ready.truth != Truth::True && ready.reason.needs_a_person() {
        wanted.push((
            STALLED,
            Verdict::new(Truth::True, ready.reason, &ready.message),
        ));
    }
    if let Some(gpu) = gpu {
        wanted.push((GPU_READY, gpu.clone()));
    }
    if let Some(message) = draining {
        let verdict = Verdict::new(Truth::True, Reason::SessionsRunning, message);
        wanted.push((DRAINING, verdict));
    }
    wanted
        .into_iter()
        .map(|(kind, verdict)| condition(kind, verdict, generation, old, now))
        .collect()
}

fn condition(
    kind: &str,
    verdict: Verdict,
    generation: i64,
    old: &[Condition],
    now: &Time,
) -> Condition {
    let status = verdict.truth.word();
    let since = old
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .map_or_else(
            || now.clone(),
            |condition| condition.last_transition_time.clone(),
        );
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.word().to_owned(),
        message: shorten(verdict.message),
        observed_generation: Some(generation),
        last_transition_time: since,
    }
}

fn shorten(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE)
            .rev()
            .find(|end| message.is_char_boundary(*end))
            .unwrap_or(0);
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::{READY, RECONCILING, STALLED, Truth, Verdict, Verdicts, build};
    use crate::reason::Reason;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn reconciling_and_stalled_are_absent_unless_true() {
        let conditions = build(&Verdicts::only(Verdict::ready("")), 3, &[], &at(1));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].type_, READY);
        assert_eq!(conditions[0].observed_generation, Some(3));
    }

    #[test]
    fn what_needs_a_person_is_stalled_and_what_heals_is_not() {
        let stalled = |reason| {
            build(
                &Verdicts::only(Verdict::not_ready(reason, "")),
                1,
                &[],
                &at(1),
            )
            .iter()
            .any(|condition| condition.type_ == STALLED)
        };
        assert!(stalled(Reason::NameConflict));
        assert!(stalled(Reason::SettingsRefused));
        assert!(!stalled(Reason::OrchestratorNotFound));
        assert!(!stalled(Reason::Unschedulable));
    }

    #[test]
    fn the_transition_time_moves_only_with_the_truth() {
        let starting = Verdicts::only(Verdict::not_ready(Reason::Starting, ""));
        let first = build(&starting, 1, &[], &at(1));
        let crashed = Verdicts::only(Verdict::not_ready(Reason::CrashLoop, ""));
        let second = build(&crashed, 1, &first, &at(2));
        assert_eq!(second[0].last_transition_time, at(1));
        let third = build(&Verdicts::only(Verdict::ready("")), 1, &second, &at(3));
        assert_eq!(third[0].last_transition_time, at(3));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let verdict = Verdict::new(Truth::False, Reason::CrashLoop, "ä".repeat(2000));
        let conditions = build(&Verdicts::only(verdict), 1, &[], &at(1));
        assert!(conditions[0].message.len() <= 1024);
    }

    #[test]
    fn a_roll_out_is_reconciling() {
        let mut verdicts = Verdicts::only(Verdict::not_ready(Reason::RollingOut, ""));
        verdicts.reconciling = Some((Reason::RollingOut, "1 of 2".into()));
        let conditions = build(&verdicts, 1, &[], &at(1));
        assert!(
            conditions
                .iter()
                .any(|condition| condition.type_ == RECONCILING)
        );
    }
}
