//! Archived blocks from this node's rows and chunks or, where it does not hold them or its copy is damaged, from others.
//!
//! Called by the API and by a node that catches up, on threads of their own: a read may wait for peers, until its deadline.
//! What is asked for and checked is decided by [`crate::serve::period_read::PeriodRead`]. Costs, counted by [`ArchiveReader::costs`]: a slot of a quiet
//! period takes one round trip and its two or three pages, one of a full period two, whatever the length of the archive.
//!
//! Tables of segments that are not here yet are fetched, checked against a root that is trusted ([`TrustedRoots`], or the
//! segment after), and a few of them kept in memory.

mod obtain;
mod tables;

use super::asking::{Asking, AskingCosts};
use super::period_read::{ReadCheck, ReadFailure};
use super::proofs::{Evidence, ProofError};
use crate::storage_backend::{SegmentStore, SlotRead, StoreError};
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::verification::{verify_block, VerifyBlockError};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// Who should hold a chunk.
pub trait Placement: Send + Sync {
    /// The nodes that should hold the chunk at a position, best first; empty if that is not known.
    fn holders(&self, position: ChunkPosition, chunk: &ChunkId) -> Vec<NodeId>;
}

/// Segment roots that this node trusts without having the table: those that the registry accepted.
pub type TrustedRoots = Arc<dyn Fn(u64) -> Option<SegmentRoot> + Send + Sync>;

/// Why a block could not be read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The store could not be read, or its copy is damaged and there is no network.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain has no such thread.
    #[error("slot {slot}: the chain has {threads} threads")]
    NoSuchSlot {
        /// The slot.
        slot: Slot,
        /// Threads of the chain.
        threads: u8,
    },
    /// Not archived here, and no root is known that would tell what is true.
    #[error("slot {slot} is not archived yet")]
    NotArchived {
        /// The slot.
        slot: Slot,
    },
    /// Other nodes keep it, and nobody sent it in time.
    #[error("period {period}: {source}")]
    Read {
        /// The period.
        period: u64,
        /// Why.
        source: ReadFailure,
    },
    /// The blocks of the period are lost: nobody has them.
    #[error("period {period} is lost: of its blocks only the ids are known")]
    Lost {
        /// The period.
        period: u64,
    },
    /// This node's own block is not valid, and nobody else has it.
    #[error("slot {slot}: {source}")]
    Invalid {
        /// The slot.
        slot: Slot,
        /// What is wrong.
        source: VerifyBlockError,
    },
}

/// What a slot has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadContent {
    /// A block with its operations.
    Block(BlockRecord),
    /// It was missed.
    Miss,
    /// A block of a lost period: its id is all that is known.
    Lost(BlockId),
}

/// A slot that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReading {
    /// The slot.
    pub slot: Slot,
    /// What it has.
    pub content: ReadContent,
    /// What a proof is made from, if it was fetched.
    fetched: Option<Evidence>,
}

impl SlotReading {
    /// What a proof is made from: what was fetched, or what the store has.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn evidence(&self, store: &SegmentStore) -> Result<Evidence, ProofError> {
        match &self.fetched {
            Some(evidence) => Ok(evidence.clone()),
            None => Evidence::of_store(store, self.slot.period),
        }
    }

    /// Whether it came from other nodes.
    pub fn is_fetched(&self) -> bool {
        self.fetched.is_some()
    }
}

/// Other nodes: how to reach them, and who should have what.
pub struct OtherNodes {
    /// How to reach them.
    pub network: Arc<dyn StorageNetwork>,
    /// This node, which is not asked.
    pub own: NodeId,
    /// Who should hold a chunk.
    pub placement: Arc<dyn Placement>,
    /// Roots that are trusted.
    pub roots: TrustedRoots,
}

/// Reads archived blocks.
pub struct ArchiveReader {
    store: Arc<SegmentStore>,
    others: Option<(Asking, Arc<dyn Placement>, TrustedRoots)>,
    timeout: Duration,
    /// Tables of segments that are not in the store.
    tables: Mutex<VecDeque<(SegmentRoot, Arc<SegmentTable>)>>,
}

impl ArchiveReader {
    /// A reader of `store`. Without other nodes only what this one has is read. A read ends after `timeout`.
    pub fn new(store: Arc<SegmentStore>, others: Option<OtherNodes>, timeout: Duration) -> Self {
        let others = others.map(|others| {
            let asking = Asking::new(others.network, others.own);
            (asking, others.placement, others.roots)
        });
        Self {
            store,
            others,
            timeout,
            tables: Mutex::default(),
        }
    }

    /// The store that is read first.
    pub fn store(&self) -> &Arc<SegmentStore> {
        &self.store
    }

    /// What was asked of others so far.
    pub fn costs(&self) -> AskingCosts {
        self.others
            .as_ref()
            .map(|(asking, ..)| asking.costs())
            .unwrap_or_default()
    }

    /// When a read that begins now has to end.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(super) fn asking(&self) -> Option<&Asking> {
        self.others.as_ref().map(|(asking, ..)| asking)
    }

    fn check_slot(&self, slot: Slot) -> Result<(), ReaderError> {
        let threads = self.store.parameters().thread_count;
        if slot.thread < threads {
            Ok(())
        } else {
            Err(ReaderError::NoSuchSlot { slot, threads })
        }
    }

    /// What a slot has, verified as far as `check` says.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn slot(&self, slot: Slot, check: ReadCheck) -> Result<SlotReading, ReaderError> {
        self.slot_before(slot, check, None, self.deadline())
    }

    /// The same before a deadline; `known` is evidence that was obtained while the slot was looked for.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub(super) fn slot_before(
        &self,
        slot: Slot,
        check: ReadCheck,
        known: Option<Evidence>,
        deadline: Instant,
    ) -> Result<SlotReading, ReaderError> {
        self.check_slot(slot)?;
        let (content, why) = match self.store.slot(slot) {
            Ok(SlotRead::Block(record)) => match self.check_own(slot, &record, check) {
                Ok(()) => (Some(ReadContent::Block(record)), None),
                Err(error) => (None, Some(error)),
            },
            Ok(SlotRead::Miss) => (Some(ReadContent::Miss), None),
            Ok(SlotRead::Lost(id)) => (Some(ReadContent::Lost(id)), None),
            Ok(SlotRead::Missing | SlotRead::NotHeld { .. } | SlotRead::Pruned) => (None, None),
            // A damaged copy is as good as none: others have it.
            Err(StoreError::Damaged(damage)) => {
                if let Some(position) = damage.position() {
                    self.store.note_damaged(position);
                }
                (None, Some(StoreError::from(damage).into()))
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(content) = content {
            return Ok(SlotReading {
                slot,
                content,
                fetched: None,
            });
        }
        if let Some(error) = &why {
            warn!(%slot, error = error as &dyn std::error::Error, "own copy is of no use, other nodes are asked");
        }
        let obtained = self.obtain_slot(slot, check, known, deadline);
        // What is wrong with the own copy says more than that there is nobody to ask.
        match (obtained, why) {
            (Err(_), Some(why)) if self.others.is_none() => Err(why),
            (obtained, _) => obtained,
        }
    }

    fn check_own(&self, slot: Slot, record: &BlockRecord, check: ReadCheck) -> Result<(), ReaderError> {
        let parameters = self.store.parameters();
        if check == ReadCheck::Meaning {
            let verified = verify_block(record, parameters.chain_id, parameters.thread_count);
            verified.map_err(|source| ReaderError::Invalid { slot, source })?;
        }
        Ok(())
    }

    /// What proofs of a whole period are made from: its entry, from this node or others, and its segment's table once that is
    /// closed.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn period(&self, period: u64) -> Result<Evidence, ReaderError> {
        let mut found = self.entries(&BTreeSet::from([period]), self.deadline());
        if let Some(evidence) = found.remove(&period) {
            return Ok(evidence);
        }
        let slot = Slot::new(period, 0);
        match self.store.segment_root(self.store.parameters().segment_of(period))? {
            None => Err(ReaderError::NotArchived { slot }),
            Some(_) => Err(ReaderError::Read {
                period,
                source: ReadFailure::NotObtained("nobody sent its entry".into()),
            }),
        }
    }

    /// The blocks of a period, verified down to signatures, wherever they are: for a node that follows the chain and takes
    /// nobody's word for what is final. Of a period whose segment is closed nothing can be left out; of an open one a miss
    /// cannot be told from a block that a peer left out.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn period_blocks(&self, period: u64) -> Result<Vec<BlockRecord>, ReaderError> {
        self.obtain_period(period, self.deadline())
    }
}
