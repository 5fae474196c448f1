//! Whom to ask, and how much of each: what repair and readers both stand on.
//!
//! [`sources`] knows which peers may have something, and in which order they are asked; [`window`] how many bytes may be in
//! flight from each of them. Every request has a number that tells who asked it.

pub mod sources;
pub mod window;

/// Bits of a request's number below those that tell who asked.
const ASKER_SHIFT: u32 = 60;

/// Who asked something: the planner that an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// Blocks of open periods.
    Periods,
    /// Segment tables.
    Tables,
    /// Chunks that are assigned to this node and not held.
    Chunks,
    /// The table of a segment whose true root is not this node's.
    Refetch,
    /// The chunks of such a segment.
    RefetchChunks,
    /// Promises of other holders.
    HandOver,
}

impl Asker {
    /// All of them.
    pub const ALL: [Asker; 6] = [
        Asker::Periods,
        Asker::Tables,
        Asker::Chunks,
        Asker::Refetch,
        Asker::RefetchChunks,
        Asker::HandOver,
    ];

    /// Whose request has this number; `None` for one that no planner of repair gave.
    pub fn of(id: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|asker| asker.first() == id >> ASKER_SHIFT)
    }

    /// The upper bits of its numbers. Zero is left to readers.
    fn first(self) -> u64 {
        1 + self as u64
    }
}

/// Numbers for requests: none is given twice.
#[derive(Debug)]
pub struct RequestIds {
    asker: Asker,
    given: u64,
}

impl RequestIds {
    /// The numbers of `asker`.
    pub fn new(asker: Asker) -> Self {
        Self { asker, given: 0 }
    }

    /// The next one.
    pub fn next_id(&mut self) -> u64 {
        self.given += 1;
        self.asker.first() << ASKER_SHIFT | self.given
    }
}
