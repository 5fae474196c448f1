//! Proofs: what is archived, as a document that anyone can check against a segment root. Archive format 2.
//!
//! ```text
//! slot ── path ──► period root ── path ──► segment root ◄── path ── chunk
//! shape of the period ── path ─┘               │
//! shape of the segment ── path ────────────────┘
//! ```
//!
//! The document states nothing that does not follow from the root: chain, threads, lengths and sizes are leaves of the two trees,
//! with paths of their own. While the segment is open there is no segment part: the proof ends at the period root, and says so.
//! Bytes and hashes are lower-case hexadecimal, so that a fact has one form; unknown fields are refused.
//!
//! Made from a store or from what a node fetched ([`Prover`]), checked by [`check`].

pub mod check;
mod parts;
mod registry;

pub use parts::{BlockSubject, HexBytes, HexDigest, LostSubject, MissSubject, OperationSubject, Path};

use crate::entry::{PeriodEntry, PeriodState};
use crate::merkle::{root_of_hashes, MerkleTree};
use crate::record::{BlockRecord, RecordError};
use crate::segment_table::{SegmentHeader, SegmentLeaf, SegmentTable, SegmentTree, TableChunk, TablePeriod};
use crate::types::{ChunkId, PeriodRoot};
use massa_models::block_id::BlockId;
use serde::{Deserialize, Serialize};

/// Format of the document.
pub const FORMAT: &str = "massa-archive-proof-3";

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofDocument {
    /// [`FORMAT`].
    pub format: String,
    /// The chain.
    pub chain_id: u64,
    /// Its threads.
    pub thread_count: u8,
    /// What is proven.
    pub subject: Subject,
    /// The period that it is in; absent for a chunk, which is a part of a segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<PeriodPart>,
    /// The segment that it is in; absent while the segment is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentPart>,
}

/// What is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A block is archived.
    Block(BlockSubject),
    /// A slot was missed.
    Miss(MissSubject),
    /// An operation is part of an archived block.
    Operation(OperationSubject),
    /// A block is known to have been final, and lost with its period.
    Lost(LostSubject),
    /// Every slot of a period.
    Period(PeriodSubject),
    /// A chunk of a segment.
    Chunk(ChunkSubject),
}

/// A whole period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodSubject {
    /// One for each thread: the block, or null for a missed slot.
    pub slots: Vec<Option<BlockId>>,
}

/// A chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkSubject {
    /// Its number in the segment.
    pub index: u32,
    /// Its bytes.
    pub length: u32,
    /// Its id.
    pub chunk_id: ChunkId,
    /// From its leaf to the segment root.
    pub path: Path,
}

/// The period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodPart {
    /// The period.
    pub period: u64,
    /// Whole, or lost: its blocks are not archived.
    pub state: State,
    /// From the leaf of this shape to the period root.
    pub header_path: Path,
    /// The period root.
    pub root: HexDigest,
}

/// State of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every block is archived.
    Whole,
    /// No block is.
    Lost,
}

impl From<PeriodState> for State {
    fn from(state: PeriodState) -> Self {
        match state {
            PeriodState::Whole => State::Whole,
            PeriodState::Lost => State::Lost,
        }
    }
}

impl From<State> for PeriodState {
    fn from(state: State) -> Self {
        match state {
            State::Whole => PeriodState::Whole,
            State::Lost => PeriodState::Lost,
        }
    }
}

/// The segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentPart {
    /// Its number.
    pub segment: u64,
    /// Its first period.
    pub first_period: u64,
    /// Its periods.
    pub periods: u32,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Bytes of its body.
    pub body_length: u64,
    /// Bytes of the bodies of all segments before.
    pub bytes_before: u64,
    /// Root of the segment before; zeros for the first of an archive.
    pub previous_root: HexDigest,
    /// From the leaf of this shape to the segment root.
    pub header_path: Path,
    /// Of the period, and how it leads to the segment root; absent for a chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<PeriodInSegment>,
    /// Where all paths end.
    pub root: HexDigest,
}

/// A period in its segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodInSegment {
    /// Bytes of the period.
    pub length: u32,
    /// From the period's leaf to the segment root.
    pub path: Path,
}

impl SegmentPart {
    /// The leaf that this shape is of.
    pub fn header_leaf(&self, chain_id: u64, threads: u8) -> SegmentLeaf {
        SegmentLeaf::Header(SegmentHeader {
            chain_id,
            segment: self.segment,
            first_period: self.first_period,
            periods: self.periods,
            threads,
            chunk_size: self.chunk_size,
            body_length: self.body_length,
            bytes_before: self.bytes_before,
            previous: self.previous_root.0,
        })
    }

    /// The leaf of the period in this segment; `None` in the proof of a chunk.
    pub fn period_leaf(&self, period: &PeriodPart) -> Option<SegmentLeaf> {
        let length = self.period.as_ref()?.length;
        let root = PeriodRoot::from_bytes(period.root.0);
        Some(SegmentLeaf::Period {
            period: period.period,
            row: TablePeriod { length, root },
        })
    }
}

impl ChunkSubject {
    /// The leaf of the chunk in its segment.
    pub fn leaf(&self) -> SegmentLeaf {
        SegmentLeaf::Chunk {
            index: self.index,
            row: TableChunk {
                length: self.length,
                id: self.chunk_id,
            },
        }
    }
}

/// Why there is nothing to prove.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The table is of another segment, or lists another root for the period.
    #[error("the table of segment {segment} does not list period {period} with this root")]
    OtherTable {
        /// The period.
        period: u64,
        /// The segment of the table.
        segment: u64,
    },
    /// The period has no such slot, or no block there, or the block no such operation.
    #[error("period {period} has no {what}")]
    NotThere {
        /// The period.
        period: u64,
        /// What was to be proven.
        what: String,
    },
    /// The segment has no such chunk.
    #[error("segment {segment} has no chunk {index}")]
    NoChunk {
        /// The segment.
        segment: u64,
        /// Number of the chunk.
        index: u32,
    },
    /// The block's bytes are not a block.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The closed segment that a proof leads to.
#[derive(Clone, Copy)]
pub struct ClosedSegment<'a> {
    /// Its table.
    pub table: &'a SegmentTable,
    /// The table's tree.
    pub tree: &'a SegmentTree,
}

impl ClosedSegment<'_> {
    /// Proves that a chunk is part of the segment.
    ///
    /// # Errors
    /// [`ProveError::NoChunk`].
    pub fn prove_chunk(&self, index: u32) -> Result<ProofDocument, ProveError> {
        let header = self.table.header();
        let no_chunk = || ProveError::NoChunk {
            segment: header.segment,
            index,
        };
        let chunk = self.table.chunk(index).ok_or_else(no_chunk)?;
        let path = self.tree.chunk_path(index).ok_or_else(no_chunk)?;
        Ok(ProofDocument {
            format: FORMAT.to_string(),
            chain_id: header.chain_id,
            thread_count: header.threads,
            subject: Subject::Chunk(ChunkSubject {
                index,
                length: chunk.length,
                chunk_id: chunk.id,
                path: path.into(),
            }),
            period: None,
            segment: Some(self.part(None)),
        })
    }

    fn part(&self, period: Option<PeriodInSegment>) -> SegmentPart {
        let header = self.table.header();
        SegmentPart {
            segment: header.segment,
            first_period: header.first_period,
            periods: header.periods,
            chunk_size: header.chunk_size,
            body_length: header.body_length,
            bytes_before: header.bytes_before,
            previous_root: HexDigest(header.previous),
            header_path: self.tree.header_path().into(),
            period,
            root: HexDigest(self.tree.root().to_bytes()),
        }
    }
}

/// What proofs of a period are made from: its entry and, once it is closed, its segment.
#[derive(Clone, Copy)]
pub struct Prover<'a> {
    /// The chain.
    pub chain_id: u64,
    /// The period.
    pub period: u64,
    /// Its entry.
    pub entry: &'a PeriodEntry,
    /// Its segment; `None` while that is open.
    pub segment: Option<ClosedSegment<'a>>,
}

impl Prover<'_> {
    /// Proves the block of a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn block(&self, thread: u8, record: &BlockRecord, with_operations: bool) -> Result<ProofDocument, ProveError> {
        let MissSubject { leaf, path, .. } = self.slot(thread)?;
        let operations = record.operations().map(|bytes| HexBytes(bytes.to_vec()));
        self.document(Subject::Block(BlockSubject {
            thread,
            block_id: self.block_id(thread)?,
            block: HexBytes(record.block().to_vec()),
            operations: with_operations.then(|| operations.collect()),
            leaf,
            path,
        }))
    }

    /// Proves that the slot of a thread was missed.
    ///
    /// # Errors
    /// [`ProveError`]; [`ProveError::NotThere`] when it has a block.
    pub fn miss(&self, thread: u8) -> Result<ProofDocument, ProveError> {
        if self.block_id(thread).is_ok() {
            return Err(self.not_there(format!("miss in thread {thread}")));
        }
        self.document(Subject::Miss(self.slot(thread)?))
    }

    /// Proves which block a lost period had in a thread.
    ///
    /// # Errors
    /// [`ProveError`]; [`ProveError::NotThere`] for a miss, and for a period that is not lost.
    pub fn lost(&self, thread: u8) -> Result<ProofDocument, ProveError> {
        if !self.entry.is_lost() {
            return Err(self.not_there("lost blocks".into()));
        }
        let block_id = self.block_id(thread)?;
        let MissSubject { leaf, path, .. } = self.slot(thread)?;
        self.document(Subject::Lost(LostSubject {
            thread,
            block_id,
            leaf,
            path,
        }))
    }

    /// Proves operation `index` of the block of a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn operation(&self, thread: u8, record: &BlockRecord, index: u32) -> Result<ProofDocument, ProveError> {
        let MissSubject { leaf, path, .. } = self.slot(thread)?;
        let view = record.view(self.entry.slots().len() as u8)?;
        let id = view.operation_ids().nth(index as usize);
        let listed = id.zip(record.operations().nth(index as usize));
        let not_there = || self.not_there(format!("operation {index} in thread {thread}"));
        let (operation_id, operation) = listed.ok_or_else(not_there)?;
        self.document(Subject::Operation(OperationSubject {
            operation_id,
            operation: HexBytes(operation.to_vec()),
            index,
            thread,
            block_id: self.block_id(thread)?,
            block: HexBytes(record.block().to_vec()),
            leaf,
            path,
        }))
    }

    /// Proves every slot of the period.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn period(&self) -> Result<ProofDocument, ProveError> {
        self.document(Subject::Period(PeriodSubject {
            slots: self.entry.ids().collect(),
        }))
    }

    /// Leaf and path of a slot.
    fn slot(&self, thread: u8) -> Result<MissSubject, ProveError> {
        let proven = self.entry.prove_slot(self.chain_id, self.period, thread);
        let (leaf, path) = proven.ok_or_else(|| self.not_there(format!("thread {thread}")))?;
        Ok(MissSubject {
            thread,
            leaf: HexBytes(leaf.to_bytes()),
            path: path.into(),
        })
    }

    fn block_id(&self, thread: u8) -> Result<BlockId, ProveError> {
        let slot = self.entry.slots().get(usize::from(thread)).copied().flatten();
        let block = slot.ok_or_else(|| self.not_there(format!("block in thread {thread}")))?;
        Ok(block.id)
    }

    fn not_there(&self, what: String) -> ProveError {
        let period = self.period;
        ProveError::NotThere { period, what }
    }

    /// Adds the way from the period root to the segment root, if the segment is closed.
    fn document(&self, subject: Subject) -> Result<ProofDocument, ProveError> {
        let hashes = self.entry.leaf_hashes(self.chain_id, self.period);
        let header_path = MerkleTree::new(&hashes).path(0).expect("a period tree has a header");
        let root = PeriodRoot::from_bytes(root_of_hashes(hashes));
        Ok(ProofDocument {
            format: FORMAT.to_string(),
            chain_id: self.chain_id,
            thread_count: self.entry.slots().len() as u8,
            subject,
            period: Some(PeriodPart {
                period: self.period,
                state: self.entry.state().into(),
                header_path: header_path.into(),
                root: HexDigest(root.to_bytes()),
            }),
            segment: self
                .segment
                .map(|segment| self.segment_part(segment, root))
                .transpose()?,
        })
    }

    fn segment_part(&self, segment: ClosedSegment<'_>, root: PeriodRoot) -> Result<SegmentPart, ProveError> {
        let row = segment.table.period(self.period).filter(|row| row.root == root);
        let proven = row.zip(segment.tree.period_path(self.period));
        let (row, path) = proven.ok_or(ProveError::OtherTable {
            period: self.period,
            segment: segment.table.header().segment,
        })?;
        Ok(segment.part(Some(PeriodInSegment {
            length: row.length,
            path: path.into(),
        })))
    }
}
