//! Why the archive did not answer.

use std::fmt;

/// Why the archive did not answer.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageApiError {
    /// The node does not archive, as it was told.
    #[error("this node does not archive: distributed_storage.enabled is false")]
    Disabled,
    /// The node should archive, and its archive did not start.
    #[error("the archive of this node is not running: {0}")]
    NotRunning(String),
    /// A parameter is out of its range: the caller is at fault.
    #[error("{field}: {reason}")]
    BadRequest {
        /// The parameter.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive has no such thing.
    #[error("the archive has no {0}")]
    NotFound(String),
    /// Nobody who was asked knows the id, which does not mean that there is no such thing.
    #[error("{what}: {why}")]
    Unknown {
        /// What was asked for.
        what: String,
        /// Who does not know it.
        why: UnknownId,
    },
    /// The period is not complete yet, or before the archive.
    #[error("period {period} is not archived")]
    NotArchived {
        /// The period.
        period: u64,
    },
    /// It is known to have been final, and lost with its period: nobody has it.
    #[error("{0}")]
    Lost(String),
    /// The node let go of the segment.
    #[error("period {period} is pruned here: this node keeps periods from {floor} on")]
    Pruned {
        /// The period.
        period: u64,
        /// The first period that is kept.
        floor: u64,
    },
    /// Nobody who should have it gave it in time. It may work later.
    #[error("{what} could not be read: {reason}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What the holders did.
        reason: String,
    },
    /// What was asked for is larger than an answer may be.
    #[error("more than {max} bytes, which is all that an answer may have")]
    TooLarge {
        /// Bytes of an answer.
        max: usize,
    },
    /// The client has read as much as it may for now.
    #[error("{0}")]
    OverLimit(String),
    /// As many reads wait for other nodes as may. It works later.
    #[error("too many reads are waiting for other nodes")]
    Busy,
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopping,
    /// The store failed: the node is at fault.
    #[error("the store failed: {0}")]
    Internal(String),
}

impl StorageApiError {
    /// A parameter is out of its range.
    pub fn bad(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::BadRequest { field, reason }
    }
}

/// Who does not know an id. A provider is a node that has an index of everything of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownId {
    /// So many providers answered that they do not.
    ToProviders(usize),
    /// This node does not, and it is connected to no provider.
    NoProvider,
    /// This node does not, and none of the providers answered in time, or none truly.
    Unanswered,
    /// This node does not, and it does not read what others hold: `serve_remote_reads` is false.
    NotAsked,
}

impl fmt::Display for UnknownId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToProviders(1) => f.write_str("unknown to 1 provider"),
            Self::ToProviders(count) => write!(f, "unknown to {count} providers"),
            Self::NoProvider => f.write_str("unknown here, and no provider connected"),
            Self::Unanswered => f.write_str("unknown here, and no provider answered"),
            Self::NotAsked => f.write_str("unknown here, and this node asks no others: serve_remote_reads is false"),
        }
    }
}
