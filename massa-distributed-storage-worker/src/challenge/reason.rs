//! Why a draw was not passed, or a round not paid: the codes of the registry's records, events and views.

use std::fmt;

/// One byte in the registry's records. Same codes and texts as `massa-storage-sc/assembly/internals/reasons.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Nothing is wrong.
    Passed = 0,
    /// The draw was not answered.
    Missing = 1,
    /// The answer is not of the format.
    Malformed = 2,
    /// The sum path does not end in the claim.
    SumPath = 3,
    /// The chunk is claimed, but the drawn leaf is not in it.
    NotDrawn = 4,
    /// The leaf has another length than its place in the chunk gives it.
    LeafLength = 5,
    /// The leaf path does not end in the chunk id.
    LeafPath = 6,
    /// The segment of the position has no accepted root.
    SegmentUnknown = 7,
    /// The archive path does not end in the segment root.
    ArchivePath = 8,
    /// Of a round: nothing was submitted, though a beacon was accepted.
    Silent = 16,
    /// Of a round: answered under another beacon than the accepted one.
    Minority = 17,
    /// Of a round: no beacon was accepted.
    Void = 18,
    /// Of a round: a pause touched its window.
    Paused = 19,
    /// Of a round: the claim was refuted.
    Refuted = 20,
    /// Of a round: counted, but some draws were missed.
    SomeMissed = 21,
}

const ALL: [Reason; 15] = [
    Reason::Passed,
    Reason::Missing,
    Reason::Malformed,
    Reason::SumPath,
    Reason::NotDrawn,
    Reason::LeafLength,
    Reason::LeafPath,
    Reason::SegmentUnknown,
    Reason::ArchivePath,
    Reason::Silent,
    Reason::Minority,
    Reason::Void,
    Reason::Paused,
    Reason::Refuted,
    Reason::SomeMissed,
];

impl Reason {
    /// The byte in the registry's records.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// From the byte in the registry's records; `None` for one that this version does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// What the registry's events say.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Passed => "passed",
            Reason::Missing => "missing",
            Reason::Malformed => "malformed",
            Reason::SumPath => "sum path does not end in the claim",
            Reason::NotDrawn => "not the drawn leaf",
            Reason::LeafLength => "wrong leaf length",
            Reason::LeafPath => "leaf path does not end in the chunk id",
            Reason::SegmentUnknown => "segment not anchored",
            Reason::ArchivePath => "archive path does not end in the segment root",
            Reason::Silent => "silent",
            Reason::Minority => "minority beacon",
            Reason::Void => "void round",
            Reason::Paused => "paused round",
            Reason::Refuted => "refuted",
            Reason::SomeMissed => "draws missed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
