//! What is fetched, and what comes of it.

use super::{FetchPriority, LocateId, Located, SlotContent, VerifiedPage};
use crate::entry::PeriodEntry;
use crate::record::BlockRecord;
use crate::segment_table::{SegmentTable, TableChunk};
use crate::types::ChunkPosition;
use crossbeam_channel::Sender;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::ops::Range;

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchTarget {
    /// Tables of segments.
    Tables {
        /// The first segment.
        first_segment: u64,
        /// How many, at most [`super::MAX_FETCH_TABLES`].
        count: u32,
    },
    /// Entries of periods.
    Entries {
        /// The first period.
        first_period: u64,
        /// How many, at most [`super::MAX_FETCH_ENTRIES`].
        count: u32,
    },
    /// The block of a slot with its operations.
    Block {
        /// The slot.
        slot: Slot,
    },
    /// Pages of a chunk.
    Pages {
        /// Position of the chunk.
        position: ChunkPosition,
        /// Length and id of the chunk, from a table that is trusted.
        chunk: TableChunk,
        /// Which pages.
        pages: Range<u32>,
    },
    /// Which chunks the first holder that answers holds. Ask one node at a time to learn of that one.
    Held {
        /// The first segment.
        first_segment: u64,
        /// How many, at most [`super::MAX_FETCH_HELD`].
        count: u32,
    },
    /// In which slots objects are.
    Locate {
        /// At most [`super::MAX_LOCATE_IDS`].
        ids: Vec<LocateId>,
    },
    /// The way from a chunk to what a node claimed for a round. Each node has its own: ask one at a time.
    SumPath {
        /// The round.
        round: u64,
        /// Where the chunk stands.
        position: ChunkPosition,
    },
}

/// A request of the worker to the network.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Chosen by the worker; comes back with each answer.
    pub id: u64,
    /// What is wanted.
    pub target: FetchTarget,
    /// Whom to ask. Large fetches use several at once; who is slow is asked less. Those that are not connected are dialed
    /// if those that are do not have it.
    pub holders: Vec<NodeId>,
    /// How soon.
    pub priority: FetchPriority,
    /// Where answers go. When it is full or gone, the answer is lost.
    pub reply: Sender<FetchEvent>,
}

/// What came of a fetch. Each one ends with exactly one [`FetchEvent::Complete`] or [`FetchEvent::Failed`]; what came before
/// a failure is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// Some of the tables, one after the other; not necessarily the first ones first.
    Tables {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// Segment of the first of them.
        first_segment: u64,
        /// Well formed, of this network and these segments; whether they are true, their roots tell.
        tables: Vec<SegmentTable>,
    },
    /// Some of the entries, one after the other.
    Entries {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// Period of the first of them.
        first_period: u64,
        /// Well formed; whether they are true, the periods' roots tell, and their offsets only the bytes.
        entries: Vec<PeriodEntry>,
    },
    /// What the slot has.
    Block {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// The slot.
        slot: Slot,
        /// A well-formed block of this slot; ids, operation root and signatures are not checked.
        content: SlotContent<BlockRecord>,
    },
    /// One of the pages.
    Page {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// The page.
        page: VerifiedPage,
    },
    /// Which chunks `from` holds.
    Held {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// Segment of the first of them.
        first_segment: u64,
        /// As [`super::ArchiveServer::held`].
        held: Vec<Vec<u8>>,
    },
    /// Where the objects are.
    Located {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// One for each id, in order; `None` for those that `from` does not know.
        located: Vec<Option<Located>>,
    },
    /// How `from` claims the chunk.
    SumPath {
        /// Of the fetch.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// Well formed ([`super::is_sum_path`]); where it leads, the registry's record of `from` tells.
        path: Vec<u8>,
    },
    /// Everything asked for was answered.
    Complete {
        /// Of the fetch.
        id: u64,
    },
    /// No holder that was asked has what is left, or answered in time.
    Failed {
        /// Of the fetch.
        id: u64,
        /// What each of them did.
        attempts: Vec<(NodeId, FetchFailure)>,
    },
}

/// What a holder did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// It has not archived the period or segment yet.
    NotYet,
    /// It never had it.
    NotHeld,
    /// It pruned it.
    Pruned,
    /// It did not answer in time.
    Timeout,
    /// It is not connected, and could not be dialed in time.
    NotConnected,
    /// It sent what is provably wrong, and is in quarantine.
    Quarantined,
    /// It said again and again that it has too much to do.
    Busy,
}
