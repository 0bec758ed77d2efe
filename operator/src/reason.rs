//! The one list of reasons that conditions give. `docs/fields.md` explains each; a
//! test fails for one that it forgets.

/// Why a condition is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It does its job.
    Serving,
    /// Made, and not seen working yet.
    Starting,
    /// Pods of the newest template are on their way.
    RollingOut,
    /// `spec.paused` is true.
    Paused,
    /// The spec passed the schema and still cannot be made true: the API server may call a
    /// child invalid.
    InvalidSpec,
    /// An object of a child's name belongs to somebody else.
    NameConflict,
    /// The API server refused a child, or a pod of one, for what may change.
    ApplyRefused,
    /// A referenced Orchestrator does not exist.
    OrchestratorNotFound,
    /// A referenced Secret, or the key in it, does not exist.
    SecretNotFound,
    /// An orchestrator without anybody to transcode.
    NoTranscoders,
    /// None of a gateway's orchestrators can be used.
    NoUsableOrchestrator,
    /// Transcoders that their orchestrator does not report.
    NotRegistered,
    /// Its Service does not answer as it should.
    NotAnswering,
    Unschedulable,
    ImagePullFailed,
    CrashLoop,
    OutOfMemory,
    /// The node refused its settings file.
    SettingsRefused,
    /// `GpuReady`: the device was opened and its self-test passed.
    DeviceReady,
    /// The device that `gpu` asked for does not work.
    NoUsableDevice,
    /// Pods that were told to stop still have sessions.
    SessionsRunning,
}

impl Reason {
    pub const ALL: [Self; 21] = [
        Self::Serving,
        Self::Starting,
        Self::RollingOut,
        Self::Paused,
        Self::InvalidSpec,
        Self::NameConflict,
        Self::ApplyRefused,
        Self::OrchestratorNotFound,
        Self::SecretNotFound,
        Self::NoTranscoders,
        Self::NoUsableOrchestrator,
        Self::NotRegistered,
        Self::NotAnswering,
        Self::Unschedulable,
        Self::ImagePullFailed,
        Self::CrashLoop,
        Self::OutOfMemory,
        Self::SettingsRefused,
        Self::DeviceReady,
        Self::NoUsableDevice,
        Self::SessionsRunning,
    ];

    /// The word in `status.conditions[].reason` and in Events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Starting => "Starting",
            Self::RollingOut => "RollingOut",
            Self::Paused => "Paused",
            Self::InvalidSpec => "InvalidSpec",
            Self::NameConflict => "NameConflict",
            Self::ApplyRefused => "ApplyRefused",
            Self::OrchestratorNotFound => "OrchestratorNotFound",
            Self::SecretNotFound => "SecretNotFound",
            Self::NoTranscoders => "NoTranscoders",
            Self::NoUsableOrchestrator => "NoUsableOrchestrator",
            Self::NotRegistered => "NotRegistered",
            Self::NotAnswering => "NotAnswering",
            Self::Unschedulable => "Unschedulable",
            Self::ImagePullFailed => "ImagePullFailed",
            Self::CrashLoop => "CrashLoop",
            Self::OutOfMemory => "OutOfMemory",
            Self::SettingsRefused => "SettingsRefused",
            Self::DeviceReady => "DeviceReady",
            Self::NoUsableDevice => "NoUsableDevice",
            Self::SessionsRunning => "SessionsRunning",
        }
    }

    /// True for what only a person can put right: it becomes `Stalled`.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::InvalidSpec | Self::NameConflict | Self::SettingsRefused => true,
            Self::Serving
            | Self::Starting
            | Self::RollingOut
            | Self::Paused
            | Self::ApplyRefused
            | Self::OrchestratorNotFound
            | Self::SecretNotFound
            | Self::NoTranscoders
            | Self::NoUsableOrchestrator
            | Self::NotRegistered
            | Self::NotAnswering
            | Self::Unschedulable
            | Self::ImagePullFailed
            | Self::CrashLoop
            | Self::OutOfMemory
            | Self::DeviceReady
            | Self::NoUsableDevice
            | Self::SessionsRunning => false,
        }
    }

    /// True for what a resource meets that is made together with those it stands on, and
    /// what goes by itself when they have started.
    #[must_use]
    pub fn is_usual_at_first(self) -> bool {
        match self {
            Self::Starting
            | Self::RollingOut
            | Self::OrchestratorNotFound
            | Self::NoTranscoders
            | Self::NoUsableOrchestrator
            | Self::NotRegistered
            | Self::NotAnswering => true,
            Self::Serving
            | Self::Paused
            | Self::InvalidSpec
            | Self::NameConflict
            | Self::ApplyRefused
            | Self::SecretNotFound
            | Self::Unschedulable
            | Self::ImagePullFailed
            | Self::CrashLoop
            | Self::OutOfMemory
            | Self::SettingsRefused
            | Self::DeviceReady
            | Self::NoUsableDevice
            | Self::SessionsRunning => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    /// Rows of the table of reasons: the word, and the conditions that it stands in.
    fn documented() -> Vec<(&'static str, &'static str)> {
        let docs = include_str!("../../docs/fields.md");
        let (_, table) = docs.split_once("## Reasons").unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let (word, rest) = row.split_once("` | ").unwrap();
            (word, rest.split(" | ").next().unwrap())
        })
        .collect()
    }

    #[test]
    fn the_docs_explain_every_reason_and_no_other() {
        let words: Vec<_> = documented().into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, Reason::ALL.map(Reason::word));
    }

    #[test]
    fn the_docs_say_which_reasons_need_a_person() {
        for (reason, (word, conditions)) in Reason::ALL.into_iter().zip(documented()) {
            assert_eq!(
                conditions.contains("Stalled"),
                reason.needs_a_person(),
                "{word}"
            );
        }
    }
}
