//! Proof documents of what the archive has: see [`massa_distributed_storage_exports::segment_proof`].
//!
//! Made from the store, or from what a reader fetched: [`Evidence`] is the same. While the segment is open a proof ends at the
//! period root, and says so by having no segment part.

use crate::storage_backend::{EntryRead, SegmentStore, StoreError};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_proof::{ClosedSegment, ProofDocument, ProveError, Prover};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use std::sync::Arc;

/// Why nothing is proven.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The store could not be read, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing of the kind: a miss is no block, a block no miss.
    #[error(transparent)]
    Nothing(#[from] ProveError),
    /// The period did not join the stream of its segment: it has no root yet.
    #[error("period {period} is not complete")]
    NotComplete {
        /// The period.
        period: u64,
    },
    /// The entry of the period is in chunks that this node does not hold.
    #[error("the entry of period {period} is kept by other nodes")]
    NotHeld {
        /// The period.
        period: u64,
    },
    /// The segment is open: it has no table.
    #[error("segment {segment} is not closed here")]
    NotClosed {
        /// The segment.
        segment: u64,
    },
}

/// What proofs of a period are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The chain.
    pub chain_id: u64,
    /// The period.
    pub period: u64,
    /// Its entry.
    pub entry: PeriodEntry,
    /// The table of its segment; `None` while that is open.
    pub table: Option<Arc<SegmentTable>>,
    /// Who sent the entry: its ids are true, its offsets may not be.
    pub(super) entry_from: Option<NodeId>,
}

impl Evidence {
    /// Of a period as the store has it.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn of_store(store: &SegmentStore, period: u64) -> Result<Self, ProofError> {
        let parameters = store.parameters();
        // The table first: if the segment is closed in between, the entry is the same, and the proof ends at its root.
        let table = store.table(parameters.segment_of(period))?;
        let entry = match store.entry(period)? {
            EntryRead::Found(entry) => entry,
            EntryRead::Missing => return Err(ProofError::NotComplete { period }),
            EntryRead::NotHeld { .. } | EntryRead::Pruned => return Err(ProofError::NotHeld { period }),
        };
        Ok(Self {
            chain_id: parameters.chain_id,
            period,
            entry,
            table,
            entry_from: None,
        })
    }

    /// Whether the proof leads to a segment root.
    pub fn is_closed(&self) -> bool {
        self.table.is_some()
    }

    /// Proves the block of a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn block(&self, thread: u8, record: &BlockRecord, with_operations: bool) -> Result<ProofDocument, ProveError> {
        self.prove(|prover| prover.block(thread, record, with_operations))
    }

    /// Proves that the slot of a thread was missed.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn miss(&self, thread: u8) -> Result<ProofDocument, ProveError> {
        self.prove(|prover| prover.miss(thread))
    }

    /// Proves which block a lost period had in a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn lost(&self, thread: u8) -> Result<ProofDocument, ProveError> {
        self.prove(|prover| prover.lost(thread))
    }

    /// Proves operation `index` of the block of a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn operation(&self, thread: u8, record: &BlockRecord, index: u32) -> Result<ProofDocument, ProveError> {
        self.prove(|prover| prover.operation(thread, record, index))
    }

    /// Proves every slot of the period.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn period(&self) -> Result<ProofDocument, ProveError> {
        self.prove(|prover| prover.period())
    }

    /// Costs the tree of the segment: a hash for each of its periods and chunks, and one for each inner node.
    fn prove(
        &self,
        proof: impl FnOnce(&Prover<'_>) -> Result<ProofDocument, ProveError>,
    ) -> Result<ProofDocument, ProveError> {
        let tree = self.table.as_ref().map(|table| table.tree());
        let closed = self.table.as_ref().zip(tree.as_ref());
        proof(&Prover {
            chain_id: self.chain_id,
            period: self.period,
            entry: &self.entry,
            segment: closed.map(|(table, tree)| ClosedSegment { table, tree }),
        })
    }
}

/// Proves that a chunk is part of its segment: the table is enough, whoever holds the chunk.
///
/// # Errors
/// [`ProofError::NotClosed`]; [`ProveError::NoChunk`].
pub fn prove_chunk(store: &SegmentStore, position: ChunkPosition) -> Result<ProofDocument, ProofError> {
    let segment = position.segment;
    let table = store.table(segment)?.ok_or(ProofError::NotClosed { segment })?;
    let tree = table.tree();
    let closed = ClosedSegment {
        table: &table,
        tree: &tree,
    };
    Ok(closed.prove_chunk(position.index.0)?)
}
