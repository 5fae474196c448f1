//! The entry of a period: which slots have a block, and where each block's bytes begin.
//!
//! ```text
//! state u8           0 whole, 1 lost
//! for each thread, in order:
//!   00                                      a miss
//!   01 | block id (33) | offset u32         a block of a whole period
//!   01 | block id (33)                      a block of a lost period, of which only the id is known
//! ```
//!
//! `offset` is where the block's length field stands, counted from the beginning of the period's bytes, which begin with this
//! entry. The period root commits to state and ids, not to offsets: whoever gets an entry recomputes the root from it, and a
//! false offset leads to bytes that do not hash to the id, which is the fault of the entry's sender.
//!
//! A period is *lost* when nobody could complete it before its segment was anchored: ids, no bytes, visible for ever.

use crate::bytes::{Reader, Truncated};
use crate::merkle::{leaf_hash, root_of_hashes, MerkleProof, MerkleTree};
use crate::record::{block_id_bytes, block_id_from_bytes};
use crate::types::{Digest, PeriodRoot};
use massa_models::block_id::BlockId;
use std::ops::Range;

/// Bytes of a slot with a block in the entry of a whole period.
const BLOCK_SLOT_BYTES: u32 = 1 + 33 + 4;
/// Kind byte of the first leaf of a period's tree.
const PERIOD_LEAF: u8 = 4;
/// Kind byte of the leaf of a slot.
const SLOT_LEAF: u8 = 5;

/// Whether the blocks of a period are archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodState {
    /// Every block is.
    Whole,
    /// No block is: only ids are known.
    Lost,
}

impl PeriodState {
    /// Its number in entry and root.
    pub fn number(self) -> u8 {
        match self {
            PeriodState::Whole => 0,
            PeriodState::Lost => 1,
        }
    }
}

/// A block as the entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryBlock {
    /// Its id.
    pub id: BlockId,
    /// Where its length field stands in the period's bytes; 0 in a lost period.
    pub offset: u32,
}

/// Why bytes are not an entry.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The bytes end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Neither whole nor lost.
    #[error("period state {0} is neither 0 (whole) nor 1 (lost)")]
    State(u8),
    /// A slot begins with another byte than 0 or 1, or its block id has an unknown version.
    #[error("the slot of thread {thread} is malformed")]
    Slot {
        /// Its thread.
        thread: u8,
    },
    /// The first block follows the entry, and each further one stands behind the one before.
    #[error("thread {thread}: offset {offset}, expected {expected}")]
    Offset {
        /// Thread of the block.
        thread: u8,
        /// Its offset.
        offset: u32,
        /// What it must be.
        expected: String,
    },
    /// A period without blocks has nothing that could be lost.
    #[error("a lost period without blocks")]
    NothingLost,
    /// Bytes are left over.
    #[error("{0} bytes follow the last slot")]
    TrailingBytes(usize),
}

/// The entry of a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodEntry {
    state: PeriodState,
    slots: Vec<Option<EntryBlock>>,
}

impl PeriodEntry {
    /// The entry of a lost period: `ids[thread]` is its block, or `None` for a miss. `None` when there is no block.
    pub fn lost(ids: &[Option<BlockId>]) -> Option<Self> {
        let slot = |id: &Option<BlockId>| id.map(|id| EntryBlock { id, offset: 0 });
        let entry = Self {
            state: PeriodState::Lost,
            slots: ids.iter().map(slot).collect(),
        };
        entry.has_block().then_some(entry)
    }

    /// The entry of a whole period whose blocks have these ids and lengths, in thread order; a length counts all bytes of
    /// the block and its operations in the period's bytes.
    pub(crate) fn whole(blocks: &[Option<(BlockId, u32)>]) -> Self {
        let mut offset = entry_length(PeriodState::Whole, blocks.iter().map(Option::is_some));
        let slots = blocks.iter().map(|block| {
            block.map(|(id, length)| {
                let block = EntryBlock { id, offset };
                offset += length;
                block
            })
        });
        Self {
            state: PeriodState::Whole,
            slots: slots.collect(),
        }
    }

    /// Whole or lost.
    pub fn state(&self) -> PeriodState {
        self.state
    }

    /// Whether the period is lost.
    pub fn is_lost(&self) -> bool {
        self.state == PeriodState::Lost
    }

    /// One for each thread, in order; `None` is a miss.
    pub fn slots(&self) -> &[Option<EntryBlock>] {
        &self.slots
    }

    /// The block id of each thread; `None` is a miss.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = Option<BlockId>> + '_ {
        self.slots.iter().map(|slot| slot.map(|block| block.id))
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn has_block(&self) -> bool {
        self.slots.iter().any(Option::is_some)
    }

    /// Bytes of the entry.
    pub fn length(&self) -> u32 {
        entry_length(self.state, self.slots.iter().map(Option::is_some))
    }

    /// Bytes of an entry of `threads` slots at most: every slot has a block.
    pub fn max_length(threads: u8) -> u32 {
        1 + u32::from(threads) * BLOCK_SLOT_BYTES
    }

    /// Binary form, as the module draws it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length() as usize);
        self.write(&mut bytes);
        bytes
    }

    /// Appends the binary form.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.state.number());
        for slot in &self.slots {
            let Some(block) = slot else {
                bytes.push(0);
                continue;
            };
            bytes.push(1);
            bytes.extend(block_id_bytes(&block.id));
            if !self.is_lost() {
                bytes.extend(block.offset.to_le_bytes());
            }
        }
    }

    /// Reads an entry that `bytes` are, and nothing else.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn from_bytes(bytes: &[u8], threads: u8) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        let entry = Self::read(&mut reader, threads)?;
        match reader.remaining() {
            0 => Ok(entry),
            rest => Err(EntryError::TrailingBytes(rest)),
        }
    }

    /// Reads the entry that the period's bytes begin with.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn read(reader: &mut Reader<'_>, threads: u8) -> Result<Self, EntryError> {
        let state = match reader.u8("period state")? {
            0 => PeriodState::Whole,
            1 => PeriodState::Lost,
            other => return Err(EntryError::State(other)),
        };
        let mut slots = Vec::with_capacity(usize::from(threads));
        for thread in 0..threads {
            slots.push(read_slot(reader, state, thread)?);
        }
        let entry = Self { state, slots };
        entry.check()?;
        Ok(entry)
    }

    /// Offsets of a whole period ascend from the end of the entry; a lost period has a block.
    fn check(&self) -> Result<(), EntryError> {
        if self.is_lost() {
            return if self.has_block() {
                Ok(())
            } else {
                Err(EntryError::NothingLost)
            };
        }
        let mut last = None;
        for (slot, thread) in self.slots.iter().zip(0..) {
            let Some(EntryBlock { offset, .. }) = *slot else {
                continue;
            };
            let (fits, expected) = match last {
                None => (offset == self.length(), self.length().to_string()),
                Some(last) => (offset > last, format!("more than {last}")),
            };
            if !fits {
                return Err(EntryError::Offset {
                    thread,
                    offset,
                    expected,
                });
            }
            last = Some(offset);
        }
        Ok(())
    }

    /// Bytes of the period in which the block of `thread` and its operations stand: from its offset to the next block's, or to
    /// the end at `period_length`. `None` for a miss and in a lost period.
    pub fn block_range(&self, thread: u8, period_length: u32) -> Option<Range<u32>> {
        if self.is_lost() {
            return None;
        }
        let start = self.slots.get(usize::from(thread))?.as_ref()?.offset;
        let later = self.slots[usize::from(thread) + 1..].iter().flatten();
        let end = later.map(|block| block.offset).next().unwrap_or(period_length);
        (start < end).then_some(start..end)
    }

    /// Leaf hashes of the period's tree: its shape, then its slots.
    pub(crate) fn leaf_hashes(&self, chain_id: u64, period: u64) -> Vec<Digest> {
        let slots = self
            .ids()
            .zip(0..)
            .map(|(block, thread)| SlotLeaf { thread, block }.hash());
        let mut header = Vec::with_capacity(19);
        header.push(PERIOD_LEAF);
        header.extend(chain_id.to_le_bytes());
        header.extend(period.to_le_bytes());
        header.extend([self.slots.len() as u8, self.state.number()]);
        std::iter::once(leaf_hash(&header)).chain(slots).collect()
    }

    /// The period root: it depends on the period alone, not on the segment or on other periods.
    ///
    /// ```text
    /// 04 | chain id u64 | period u64 | threads u8 | state u8
    /// each thread: 05 | thread u8 | 00, or 05 | thread u8 | 01 | block id (33)
    /// ```
    pub fn root(&self, chain_id: u64, period: u64) -> PeriodRoot {
        PeriodRoot::from_bytes(root_of_hashes(self.leaf_hashes(chain_id, period)))
    }

    /// The leaf of a slot and its path to the period root; `None` if there is no such thread.
    pub fn prove_slot(&self, chain_id: u64, period: u64, thread: u8) -> Option<(SlotLeaf, MerkleProof)> {
        let block = self.slots.get(usize::from(thread))?.map(|block| block.id);
        let path = MerkleTree::new(&self.leaf_hashes(chain_id, period)).path(1 + u32::from(thread))?;
        Some((SlotLeaf { thread, block }, path))
    }
}

/// Hash of the first leaf of a period's tree: its shape.
pub(crate) fn header_leaf_hash(chain_id: u64, period: u64, threads: u8, state: PeriodState) -> Digest {
    let mut header = Vec::with_capacity(19);
    header.push(PERIOD_LEAF);
    header.extend(chain_id.to_le_bytes());
    header.extend(period.to_le_bytes());
    header.extend([threads, state.number()]);
    leaf_hash(&header)
}

fn entry_length(state: PeriodState, has_block: impl Iterator<Item = bool>) -> u32 {
    let block = match state {
        PeriodState::Whole => BLOCK_SLOT_BYTES,
        PeriodState::Lost => BLOCK_SLOT_BYTES - 4,
    };
    1 + has_block.map(|has| if has { block } else { 1 }).sum::<u32>()
}

fn read_slot(reader: &mut Reader<'_>, state: PeriodState, thread: u8) -> Result<Option<EntryBlock>, EntryError> {
    match reader.u8("slot")? {
        0 => return Ok(None),
        1 => {}
        _ => return Err(EntryError::Slot { thread }),
    }
    let id = block_id_from_bytes(&reader.array("block id")?).ok_or(EntryError::Slot { thread })?;
    let offset = match state {
        PeriodState::Whole => reader.u32("block offset")?,
        PeriodState::Lost => 0,
    };
    Ok(Some(EntryBlock { id, offset }))
}

/// The leaf of a slot in a period's tree. It names its own position, so following its path is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLeaf {
    /// Thread of the slot.
    pub thread: u8,
    /// The block, or `None` for a miss.
    pub block: Option<BlockId>,
}

impl SlotLeaf {
    /// Content of the leaf: `05 | thread u8 | 00` for a miss, `05 | thread u8 | 01 | block id (33)` for a block.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![SLOT_LEAF, self.thread, u8::from(self.block.is_some())];
        if let Some(id) = &self.block {
            bytes.extend(block_id_bytes(id));
        }
        bytes
    }

    /// Hash of the leaf.
    pub fn hash(&self) -> Digest {
        leaf_hash(&self.to_bytes())
    }
}
