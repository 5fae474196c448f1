//! Reads. Nothing damaged is ever returned.
//!
//! A page is led to its chunk's id, that to the segment's table; a block is checked against the id that the period's entry
//! names. Operation ids and signatures are left to `verification::verify_block`, which whoever needs them calls on the record.
//! A read sees one moment of the store. It costs the rows that it needs, whatever the length of the archive.

use super::body::{BlockAt, Body, CheckedPage};
use super::rows::{self, ClosedState, HeldRow, SegmentRow, SlotRow};
use super::{Damage, SegmentStore, StoreError, View};
use crate::storage_backend::keys::unseal;
use massa_db_exports::{STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_PENDING_CF};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::merkle::{path_in_hashes, MerkleProof};
use massa_distributed_storage_exports::period::{Signature, UnsignedRecord};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a slot is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotRead {
    /// A block.
    Block(BlockRecord),
    /// There is no block.
    Miss,
    /// The segment is open and the slot not settled here.
    Missing,
    /// The segment is closed and not all chunks that were needed are held here.
    NotHeld {
        /// Those of them that are not.
        chunks: Vec<u32>,
    },
    /// The period is lost: of its blocks only the ids are known, by anybody.
    Lost(BlockId),
    /// The segment is pruned here.
    Pruned,
}

/// What of a period's entry is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryRead {
    /// The entry.
    Found(PeriodEntry),
    /// The segment is open and the period did not join its stream.
    Missing,
    /// No chunk that the period touches is held here.
    NotHeld {
        /// The chunks.
        chunks: Vec<u32>,
    },
    /// The segment is pruned here.
    Pruned,
}

/// A page of a held chunk, its root checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRead {
    /// Its stored form, as it is sent.
    pub stored: Vec<u8>,
    /// Its bytes.
    pub plain: Vec<u8>,
    /// Signatures of the objects that end in it, as `TaggedSignature` draws them.
    pub signatures: Vec<u8>,
    /// Root of each page of the chunk, for paths.
    pub page_roots: Vec<Digest>,
}

/// A page of a held chunk as it is sent, its root checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPageRead {
    /// The chunk that it belongs to.
    pub chunk_id: ChunkId,
    /// Its stored form.
    pub stored: Vec<u8>,
    /// Signatures of the objects that end in it, as `TaggedSignature` draws them.
    pub signatures: Vec<u8>,
    /// From the page's root to the chunk id.
    pub path: MerkleProof,
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Its blocks are rows.
    Open,
    /// This node derived it.
    Closed,
    /// Only its table, and some of its chunks, came here.
    TableOnly,
}

/// A segment in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The segment.
    pub segment: u64,
    /// Where it stands.
    pub state: SegmentState,
    /// Its root; `None` while it is open.
    pub root: Option<SegmentRoot>,
    /// First period.
    pub first_period: u64,
    /// Number of periods; while it is open, of those that joined its stream.
    pub periods: u32,
    /// Bytes of the body, or of the stream so far.
    pub body_bytes: u64,
    /// Number of chunks; of an open segment, those that are filled.
    pub chunks: u32,
    /// Chunks held.
    pub chunks_held: u32,
    /// Blocks; 0 where only the table came here.
    pub blocks: u32,
    /// Operations; 0 likewise, and while it is open.
    pub operations: u64,
    /// Lost periods; 0 likewise.
    pub lost_periods: u32,
}

impl View<'_> {
    fn slot(&self, slot: Slot) -> Result<SlotRead, StoreError> {
        let segment = self.store.parameters.segment_of(slot.period);
        let Some(table) = self.table(segment)? else {
            return self.open_slot(slot);
        };
        if segment < self.floor() {
            return Ok(SlotRead::Pruned);
        }
        let held = self.held(segment)?;
        let body = Body::new(self, &table, &held);
        let entry = match self.entry_of(&body, slot.period)? {
            EntryRead::Found(entry) => entry,
            EntryRead::NotHeld { chunks } => return Ok(SlotRead::NotHeld { chunks }),
            EntryRead::Missing | EntryRead::Pruned => return Ok(SlotRead::Missing),
        };
        match entry.slots().get(usize::from(slot.thread)) {
            None | Some(None) => Ok(SlotRead::Miss),
            Some(Some(block)) if entry.is_lost() => Ok(SlotRead::Lost(block.id)),
            Some(Some(block)) => self.closed_block(&body, slot, block.id, &entry),
        }
    }

    fn open_slot(&self, slot: Slot) -> Result<SlotRead, StoreError> {
        if self.store.parameters.segment_of(slot.period) < self.floor() {
            return Ok(SlotRead::Pruned);
        }
        if let Some(joined) = self.joined_period(slot.period)?.filter(|joined| joined.entry.is_lost()) {
            let block = joined.entry.slots().get(usize::from(slot.thread)).copied().flatten();
            return Ok(block.map_or(SlotRead::Miss, |block| SlotRead::Lost(block.id)));
        }
        match self.slot_row(slot)? {
            None => Ok(SlotRead::Missing),
            Some(SlotRow::Miss) => Ok(SlotRead::Miss),
            Some(SlotRow::Block { id, .. }) => {
                let id = BlockId::new(massa_hash::Hash::from_bytes(&id));
                let record = self.open_block(slot)?;
                let damage = || Damage::new(STORAGE_PENDING_CF, "record is missing").at(slot);
                let record = record.ok_or_else(damage)?;
                self.check_open_id(slot, &record, id)?;
                Ok(SlotRead::Block(record))
            }
        }
    }

    fn check_open_id(&self, slot: Slot, record: &BlockRecord, expected: BlockId) -> Result<(), StoreError> {
        let damage = |reason: String| Damage::new(STORAGE_PENDING_CF, reason).at(slot);
        let view = record.view(self.store.parameters.thread_count);
        let found = view.map_err(|error| damage(error.to_string()))?.block_id();
        if found == expected {
            return Ok(());
        }
        Err(damage(format!("expected block {expected}, found {found}")).into())
    }

    /// A block of a closed segment: from its chunks, or from its row where that is still there.
    fn closed_block(
        &self,
        body: &Body<'_>,
        slot: Slot,
        id: BlockId,
        entry: &PeriodEntry,
    ) -> Result<SlotRead, StoreError> {
        let blocks = body.blocks_of(slot.period, entry);
        let found = blocks.into_iter().find(|block| block.slot == slot);
        let block = found.ok_or_else(|| body.damage(slot, "the entry gives no bytes of it".into()))?;
        let missing = body.not_held(&block.range);
        if missing.is_empty() {
            return assemble(body, &block).map(SlotRead::Block);
        }
        if let Some(record) = self.open_block(slot)? {
            self.check_open_id(slot, &record, id)?;
            return Ok(SlotRead::Block(record));
        }
        Ok(SlotRead::NotHeld { chunks: missing })
    }

    /// The entry of a period of a closed segment, from its row where that is still there, or from chunks.
    fn entry_of(&self, body: &Body<'_>, period: u64) -> Result<EntryRead, StoreError> {
        let (Some(listed), Some(range)) = (body.table.period(period), body.table.period_range(period)) else {
            return Ok(EntryRead::Missing);
        };
        let joined = self.joined_period(period)?;
        if let Some(joined) = joined.filter(|joined| joined.root == listed.root) {
            return Ok(EntryRead::Found(joined.entry));
        }
        Ok(match body.entry(period)? {
            Some(entry) => EntryRead::Found(entry),
            None => EntryRead::NotHeld {
                chunks: body.not_held(&range),
            },
        })
    }

    fn entry(&self, period: u64) -> Result<EntryRead, StoreError> {
        let segment = self.store.parameters.segment_of(period);
        if segment < self.floor() {
            return Ok(EntryRead::Pruned);
        }
        let Some(table) = self.table(segment)? else {
            let joined = self.joined_period(period)?;
            return Ok(joined.map_or(EntryRead::Missing, |joined| EntryRead::Found(joined.entry)));
        };
        let held = self.held(segment)?;
        self.entry_of(&Body::new(self, &table, &held), period)
    }

    /// Calls `action` with a page and the id of its chunk; `None` if it is not held.
    fn page<T>(
        &self,
        position: ChunkPosition,
        page: u32,
        action: impl FnOnce(ChunkId, &CheckedPage<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let segment = position.segment;
        let Some(table) = self.table(segment)? else {
            return Ok(None);
        };
        let held = self.held(segment)?;
        let chunk = table.chunk(position.index.0);
        let Some(chunk) = chunk.filter(|chunk| held.contains(position.index.0) && page < chunk.page_count()) else {
            return Ok(None);
        };
        let body = Body::new(self, &table, &held);
        let read = body.page(position.index.0, page, |page| action(chunk.id, page));
        read.map(Some)
    }

    /// Reads a whole held chunk and checks every page, the signatures' shape and the entry of the period reaching in.
    pub(crate) fn check_chunk(&self, table: &SegmentTable, held: &HeldRow, index: u32) -> Result<(), StoreError> {
        let body = Body::new(self, table, held);
        let range = table.chunk_range(index);
        body.piece(&range)?;
        let Some(period) = table.period_reaching_into(index) else {
            return Ok(());
        };
        let position = ChunkPosition::new(table.header().segment, index).expect("the table was checked");
        let damage = |reason: String| Damage::new(massa_db_exports::STORAGE_CHUNKS_PREFIX, reason).in_chunk(position);
        let entry = body.entry_reaching_into(index, period)?;
        let root = entry.map(|entry| entry.root(table.header().chain_id, period));
        if root != table.period(period).map(|row| row.root) {
            return Err(damage(format!("the entry of period {period} does not match its root")).into());
        }
        Ok(())
    }
}

/// Takes a block, all of whose bytes are held, out of its chunks and puts its signatures back.
pub(crate) fn assemble(body: &Body<'_>, block: &BlockAt) -> Result<BlockRecord, StoreError> {
    let damage = |reason: String| body.damage(block.slot, reason);
    let piece = body.piece(&block.range)?;
    let record = UnsignedRecord::parse(&piece.bytes).map_err(|error| damage(error.to_string()))?;
    let view = record
        .view(body.table.header().threads)
        .map_err(|error| damage(error.to_string()))?;
    if view.block_id() != block.id || view.slot != block.slot {
        return Err(damage(format!(
            "expected block {}, found {}",
            block.id,
            view.block_id()
        )));
    }
    let by_end: BTreeMap<u64, Signature> = piece.signatures.into_iter().collect();
    let signatures = record.object_ends().iter().map(|end| {
        let end = block.range.start + u64::from(*end);
        by_end
            .get(&end)
            .copied()
            .ok_or_else(|| damage(format!("the signature of the object that ends at {end} is missing")))
    });
    let signatures = signatures.collect::<Result<Vec<Signature>, StoreError>>()?;
    record.signed(&signatures).map_err(|error| damage(error.to_string()))
}

fn closed_info(segment: u64, row: &SegmentRow, held: &HeldRow) -> SegmentInfo {
    SegmentInfo {
        segment,
        state: match row.state {
            ClosedState::Derived => SegmentState::Closed,
            ClosedState::TableOnly => SegmentState::TableOnly,
        },
        root: Some(SegmentRoot::from_bytes(row.root)),
        first_period: row.first_period,
        periods: row.periods,
        body_bytes: row.body_bytes,
        chunks: row.chunks,
        chunks_held: held.chunks,
        blocks: row.blocks,
        operations: row.operations,
        lost_periods: row.lost_periods,
    }
}

impl SegmentStore {
    /// What a slot is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], naming the row.
    pub fn slot(&self, slot: Slot) -> Result<SlotRead, StoreError> {
        self.view(|view| view.slot(slot))
    }

    /// The entry of a period.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn entry(&self, period: u64) -> Result<EntryRead, StoreError> {
        self.view(|view| view.entry(period))
    }

    /// A page of a closed segment; `None` if it is not held. Reads the rows of segment, chunk and page, and those of the
    /// chunk's first page where it is packed after that.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn page(&self, position: ChunkPosition, page: u32) -> Result<Option<PageRead>, StoreError> {
        let read = |_, page: &CheckedPage<'_>| PageRead {
            stored: page.stored.to_vec(),
            plain: page.plain.to_vec(),
            signatures: page.signatures.to_vec(),
            page_roots: page.page_roots.to_vec(),
        };
        self.view(|view| view.page(position, page, read))
    }

    /// The same as it is sent: what is sent is not unpacked into a copy.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn stored_page(&self, position: ChunkPosition, page: u32) -> Result<Option<StoredPageRead>, StoreError> {
        let read = |chunk_id, found: &CheckedPage<'_>| StoredPageRead {
            chunk_id,
            stored: found.stored.to_vec(),
            signatures: found.signatures.to_vec(),
            path: path_in_hashes(found.page_roots.to_vec(), page).expect("the page has a root"),
        };
        self.view(|view| view.page(position, page, read))
    }

    /// Checks a held chunk: every page against its root, that against the table. `false` if it is not held.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], naming what is wrong.
    pub fn check_chunk(&self, position: ChunkPosition) -> Result<bool, StoreError> {
        self.view(|view| {
            let (table, held) = (view.table(position.segment)?, view.held(position.segment)?);
            let Some(table) = table.filter(|_| held.contains(position.index.0)) else {
                return Ok(false);
            };
            view.check_chunk(&table, &held, position.index.0).map(|()| true)
        })
    }

    /// Segments from `from` on, in order, at most `limit`; open ones among them. Reads two rows for each.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn segments(&self, from: u64, limit: usize) -> Result<Vec<SegmentInfo>, StoreError> {
        let mut found: BTreeMap<u64, SegmentInfo> = BTreeMap::new();
        self.view(|view| {
            let mut closed = Vec::new();
            view.scan(STORAGE_MERKLE_ROOTS_PREFIX, &rows::segment_key(from), |key, row| {
                if closed.len() == limit {
                    return Ok(false);
                }
                closed.push(parse_segment(key, row)?);
                Ok(true)
            })?;
            for (segment, row) in closed {
                found.insert(segment, closed_info(segment, &row, &view.held(segment)?));
            }
            Ok(())
        })?;
        for open in self.open_segments().into_iter().filter(|open| open.segment >= from) {
            let info = self.open_info(open);
            found.entry(open.segment).or_insert(info);
        }
        Ok(found.into_values().take(limit).collect())
    }

    fn open_info(&self, open: super::OpenSegment) -> SegmentInfo {
        SegmentInfo {
            segment: open.segment,
            state: SegmentState::Open,
            root: None,
            first_period: self.parameters.segment_start(open.segment),
            periods: open.joined_periods,
            body_bytes: open.stream_bytes,
            chunks: (open.stream_bytes / u64::from(self.parameters.chunk_size)) as u32,
            chunks_held: 0,
            blocks: open.blocks,
            operations: 0,
            lost_periods: 0,
        }
    }

    /// The table of a closed segment and which of its chunks are held, as they were at one moment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn table_and_held(&self, segment: u64) -> Result<Option<(Arc<SegmentTable>, HeldRow)>, StoreError> {
        self.view(|view| {
            let Some(table) = view.table(segment)? else {
                return Ok(None);
            };
            Ok(Some((table, view.held(segment)?)))
        })
    }
}

/// Reads a row of a segment.
pub(crate) fn parse_segment(key: &[u8], row: &[u8]) -> Result<(u64, SegmentRow), StoreError> {
    let damage = |reason: &str| Damage::new(STORAGE_MERKLE_ROOTS_PREFIX, reason);
    let segment = rows::parse_segment_key(key).ok_or_else(|| damage("key is malformed"))?;
    let value = unseal(key, row).ok_or_else(|| damage("row does not match its checksum").in_segment(segment))?;
    let row = super::own::decode(value).map_err(|reason| damage(&reason).in_segment(segment))?;
    Ok((segment, row))
}
