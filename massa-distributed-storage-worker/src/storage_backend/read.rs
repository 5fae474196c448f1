//! Reads. Nothing damaged is ever returned.
//!
//! Every page is hashed and led to its chunk id, that to the manifest, and the manifest to the stored period root. With
//! [`Check::Meaning`], the block is then verified down to its signatures.

use super::{family_of, rows, Store, StoreError};
use crate::chunking::{page_root, prove_leaf, ChunkPages};
use massa_db_exports::{
    STORAGE_AWAITED_CF, STORAGE_BLOCK_INDEX_CF, STORAGE_CHUNKS_PREFIX, STORAGE_MANIFESTS_CF,
    STORAGE_OPERATION_INDEX_CF, STORAGE_PAGES_CF, STORAGE_PENDING_CF,
};
use massa_distributed_storage_exports::body::{BodyEntry, BodyError, PeriodBody};
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodLeaf, Place};
use massa_distributed_storage_exports::proof::{ArchivePath, ChunkLeafProof};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::types::{PAGE_BYTES, PAGE_LEAVES, SIGNATURE_BYTES};
use massa_distributed_storage_exports::verification::{verify_block, VerifyBlockError};
use massa_distributed_storage_exports::{ChunkIndex, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use rocksdb::{Direction, IteratorMode};
use std::ops::Range;
use std::time::Duration;

/// How long to wait for a period that is being replaced.
const REPLACING: Duration = Duration::from_millis(1);

/// How far a read is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Bytes lead to the period root; ids and signatures are not looked at.
    Merkle,
    /// Also ids, operation root and every signature.
    Meaning,
}

/// Something in the store that is not what it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Damage {
    /// Column family of the damaged row.
    pub family: &'static str,
    /// Period, where the row belongs to one.
    pub period: Option<u64>,
    /// Thread, where the row is of one place.
    pub thread: Option<u8>,
    /// Chunk, where the row is of one chunk.
    pub chunk: Option<u32>,
    /// Page of the chunk, where the row is one page.
    pub page: Option<u32>,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut part = |name: &str, value: Option<u64>| match value {
            Some(value) => write!(f, "{name} {value}, "),
            None => Ok(()),
        };
        part("period", self.period)?;
        part("thread", self.thread.map(u64::from))?;
        part("chunk", self.chunk.map(u64::from))?;
        part("page", self.page.map(u64::from))?;
        write!(f, "{}: {}", self.family, self.reason)
    }
}

impl Damage {
    /// Damage in `family`, nowhere in particular.
    pub fn new(family: &'static str, reason: impl Into<String>) -> Self {
        Self {
            family,
            period: None,
            thread: None,
            chunk: None,
            page: None,
            reason: reason.into(),
        }
    }

    /// The same in `period`.
    pub fn in_period(mut self, period: u64) -> Self {
        self.period = Some(period);
        self
    }

    /// The same at a place.
    pub fn at(mut self, slot: Slot) -> Self {
        self.period = Some(slot.period);
        self.thread = Some(slot.thread);
        self
    }

    /// The same in a chunk.
    pub fn in_chunk(mut self, chunk: u32) -> Self {
        self.chunk = Some(chunk);
        self
    }

    /// The same in a page.
    pub fn in_page(mut self, page: u32) -> Self {
        self.page = Some(page);
        self
    }
}

/// Why something could not be read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such block or operation is archived here.
    #[error("{0} is not in this archive")]
    NotFound(String),
    /// The period is not archived, or not completely.
    #[error("period {period} is not archived: {awaited} of {threads} places are awaited")]
    NotArchived {
        /// The period.
        period: u64,
        /// Places that are not settled.
        awaited: usize,
        /// Places of a period.
        threads: u8,
    },
    /// The block is known to have been final, and lost with its period.
    #[error("block {id} of slot {slot} is lost: nobody had the whole of its period when its segment was anchored")]
    LostBlock {
        /// The slot.
        slot: Slot,
        /// The block.
        id: BlockId,
    },
    /// The period was entered as lost.
    #[error(
        "period {period} is lost: nobody had all of its blocks when its segment was anchored; their ids are known"
    )]
    LostPeriod {
        /// The period.
        period: u64,
    },
    /// Retention no longer covers the period.
    #[error("period {period} was pruned: this archive keeps periods from {floor} on")]
    Pruned {
        /// The period.
        period: u64,
        /// The oldest period kept.
        floor: u64,
    },
    /// The chunk is kept by other nodes.
    #[error("chunk {chunk} of period {period} is not kept on this node")]
    NotKept {
        /// The period.
        period: u64,
        /// The chunk.
        chunk: u32,
    },
    /// No path to a segment root exists yet.
    #[error("period {period} has no segment root yet: period {missing} is not archived")]
    NoSegmentRoot {
        /// The period.
        period: u64,
        /// The first period missing.
        missing: u64,
    },
    /// The store keeps no operation index.
    #[error("this archive was made without an operation index")]
    NoOperationIndex,
    /// The store is damaged.
    #[error("damaged: {0}")]
    Damaged(#[from] Damage),
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rocksdb::Error> for ReadError {
    fn from(error: rocksdb::Error) -> Self {
        ReadError::Store(error.into())
    }
}

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceContent {
    /// The slot was missed.
    Miss,
    /// Its final block with its operations.
    Block(BlockRecord),
}

impl PlaceContent {
    /// The block; `None` for a miss.
    pub fn into_block(self) -> Option<BlockRecord> {
        match self {
            PlaceContent::Miss => None,
            PlaceContent::Block(record) => Some(record),
        }
    }
}

/// A leaf of the period tree with its path to a segment root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenLeaf {
    /// The leaf.
    pub leaf: PeriodLeaf,
    /// The path.
    pub path: ArchivePath,
    /// Where it ends.
    pub segment_root: SegmentRoot,
    /// The segment.
    pub segment: u64,
    /// Periods that the root covers.
    pub segment_periods: u32,
    /// Whether that is the whole segment.
    pub segment_complete: bool,
}

impl Store {
    /// The place at which the block with this id is archived or pending.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], [`ReadError::Pruned`], [`ReadError::Damaged`].
    pub fn find_block(&self, id: &BlockId) -> Result<Slot, ReadError> {
        match self.indexed_block(id)? {
            Some(slot) => Ok(slot),
            None => self
                .find_pending(id)?
                .ok_or_else(|| ReadError::NotFound(format!("block {id}"))),
        }
    }

    /// The place at which the block index has this id.
    pub(crate) fn indexed_block(&self, id: &BlockId) -> Result<Option<Slot>, ReadError> {
        let key = rows::block_index_key(id);
        let Some(value) = self.sealed(STORAGE_BLOCK_INDEX_CF, &key, None)? else {
            return Ok(None);
        };
        let slot = rows::parse_block_index(&value)
            .ok_or_else(|| Damage::new(STORAGE_BLOCK_INDEX_CF, format!("row of block {id} is malformed")))?;
        self.check_floor(slot.period)?;
        Ok(Some(slot))
    }

    /// Looks for a block among the pending ones.
    fn find_pending(&self, id: &BlockId) -> Result<Option<Slot>, ReadError> {
        let mut found = None;
        self.for_each_pending(|slot, content| {
            if let PlaceContent::Block(record) = content {
                let view = record.view(self.parameters().thread_count);
                if view.is_ok_and(|view| view.block_id() == *id) {
                    found = Some(slot);
                }
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// The place of an operation and its position in the block.
    ///
    /// # Errors
    /// [`ReadError::NoOperationIndex`], [`ReadError::NotFound`], [`ReadError::Pruned`], [`ReadError::Damaged`].
    pub fn find_operation(&self, id: &OperationId) -> Result<(Slot, u32), ReadError> {
        if !self.has_operation_index() {
            return Err(ReadError::NoOperationIndex);
        }
        let key = rows::operation_index_key(id);
        let value = self
            .sealed(STORAGE_OPERATION_INDEX_CF, &key, None)?
            .ok_or_else(|| ReadError::NotFound(format!("operation {id}")))?;
        let (slot, index) = rows::parse_operation_index(&value).ok_or_else(|| {
            Damage::new(
                STORAGE_OPERATION_INDEX_CF,
                format!("row of operation {id} is malformed"),
            )
        })?;
        self.check_floor(slot.period)?;
        Ok((slot, index))
    }

    pub(crate) fn check_floor(&self, period: u64) -> Result<(), ReadError> {
        let floor = self.floor();
        if period < floor {
            return Err(ReadError::Pruned { period, floor });
        }
        Ok(())
    }

    /// What is archived at a place, checked.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn place(&self, slot: Slot, check: Check) -> Result<PlaceContent, ReadError> {
        self.steady(|| self.read_place(slot, check))
    }

    fn read_place(&self, slot: Slot, check: Check) -> Result<PlaceContent, ReadError> {
        let content = match self.manifest(slot.period)? {
            Some(manifest) => self.archived_place(&manifest, slot)?,
            None => self.pending_place(slot)?,
        };
        if let PlaceContent::Block(record) = &content {
            self.check_record(slot, record, check)?;
        }
        Ok(content)
    }

    /// Checks a record that was read at `slot`.
    fn check_record(&self, slot: Slot, record: &BlockRecord, check: Check) -> Result<(), ReadError> {
        if check == Check::Merkle {
            return Ok(());
        }
        let parameters = self.parameters();
        verify_block(record, parameters.chain_id, parameters.thread_count)
            .map(|_| ())
            .map_err(|error: VerifyBlockError| Damage::new(STORAGE_PAGES_CF, error.to_string()).at(slot).into())
    }

    /// The places of a period, checked; index = thread.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotArchived`] unless the period is complete, [`ReadError::LostPeriod`].
    pub fn period(&self, period: u64, check: Check) -> Result<Vec<PlaceContent>, ReadError> {
        let manifest = self.archived_manifest(period)?;
        if manifest.is_lost() {
            return Err(ReadError::LostPeriod { period });
        }
        let threads = 0..manifest.header.threads;
        threads
            .map(|thread| {
                let slot = Slot::new(period, thread);
                let content = self.archived_place(&manifest, slot)?;
                if let PlaceContent::Block(record) = &content {
                    self.check_record(slot, record, check)?;
                }
                Ok(content)
            })
            .collect()
    }

    /// The whole body of a period and its signatures, every page checked.
    pub(crate) fn body(&self, manifest: &Manifest) -> Result<(Vec<u8>, Vec<u8>), ReadError> {
        let piece = self.pages(manifest, 0..manifest.header.body_length)?;
        Ok((piece.bytes, piece.signatures))
    }

    /// The manifest of a period; `None` unless it is archived.
    ///
    /// # Errors
    /// [`ReadError::Pruned`], [`ReadError::Damaged`].
    pub fn manifest(&self, period: u64) -> Result<Option<Manifest>, ReadError> {
        self.steady(|| self.read_manifest(period))
    }

    /// Reads again what was found damaged while a period was being replaced: its rows are then read one from before, one from
    /// after.
    pub(crate) fn steady<T>(&self, read: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            let replaced = self.replaced_count();
            match read() {
                Err(ReadError::Damaged(_)) if self.replaced_count() != replaced => {}
                Err(ReadError::Damaged(_)) if replaced % 2 == 1 => std::thread::sleep(REPLACING),
                result => return result,
            }
        }
    }

    fn read_manifest(&self, period: u64) -> Result<Option<Manifest>, ReadError> {
        self.check_floor(period)?;
        let key = rows::period_key(period);
        let damage = |reason: String| Damage::new(STORAGE_MANIFESTS_CF, reason).in_period(period);
        let Some(value) = self.sealed(STORAGE_MANIFESTS_CF, &key, Some(period))? else {
            return Ok(None);
        };
        let manifest = Manifest::from_bytes(&value).map_err(|error| damage(error.to_string()))?;
        if manifest.header.period != period || self.period_root(period)? != Some(manifest.root()) {
            return Err(damage("manifest does not lead to the period root".into()).into());
        }
        Ok(Some(manifest))
    }

    /// The manifest of a period that must be archived.
    ///
    /// # Errors
    /// [`ReadError::NotArchived`], [`ReadError::Pruned`], [`ReadError::Damaged`].
    pub fn archived_manifest(&self, period: u64) -> Result<Manifest, ReadError> {
        match self.manifest(period)? {
            Some(manifest) => Ok(manifest),
            None => Err(self.not_archived(period)?),
        }
    }

    fn not_archived(&self, period: u64) -> Result<ReadError, ReadError> {
        let threads = self.parameters().thread_count;
        let mut awaited = 0;
        for thread in 0..threads {
            let key = Slot::new(period, thread).to_bytes_key();
            awaited += usize::from(self.sealed(STORAGE_PENDING_CF, &key, Some(period))?.is_none());
        }
        Ok(ReadError::NotArchived {
            period,
            awaited,
            threads,
        })
    }

    /// One page of a chunk, and the signatures of the objects that end in it, checked against the chunk id.
    ///
    /// # Errors
    /// [`ReadError::NotKept`], [`ReadError::Damaged`].
    pub fn page(
        &self,
        period: u64,
        chunk: u32,
        pages: &ChunkPages,
        page: u32,
    ) -> Result<(Vec<u8>, Vec<u8>), ReadError> {
        let damage = |reason: &str| {
            Damage::new(STORAGE_PAGES_CF, reason)
                .in_period(period)
                .in_chunk(chunk)
                .in_page(page)
        };
        let key = rows::page_key(period, chunk, page);
        let row = self
            .raw(STORAGE_PAGES_CF, &key)
            .map_err(|error| damage(&error.to_string()))?
            .ok_or_else(|| damage("page is missing"))?;
        let length = pages.entry.page_length(page);
        let (bytes, signatures) =
            rows::parse_page(&key, &row, length).ok_or_else(|| damage("signatures do not match their checksum"))?;
        if length == 0 || Some(&page_root(bytes)) != pages.page_roots.get(page as usize) {
            return Err(damage("page does not match its root").into());
        }
        Ok((bytes.to_vec(), signatures.to_vec()))
    }

    /// The upper tree of a chunk; `None` if this node does not keep it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`].
    pub fn chunk(&self, period: u64, index: u32, entry: ChunkEntry) -> Result<Option<ChunkPages>, ReadError> {
        let damage = |reason: &str| {
            Damage::new(STORAGE_CHUNKS_PREFIX, reason)
                .in_period(period)
                .in_chunk(index)
        };
        let key = rows::chunk_key(period, index);
        let Some(row) = self
            .raw(STORAGE_CHUNKS_PREFIX, &key)
            .map_err(|error| damage(&error.to_string()))?
        else {
            return Ok(None);
        };
        let value = rows::unseal(&key, &row).ok_or_else(|| damage("row does not match its checksum"))?;
        rows::parse_chunk(value, entry)
            .map(Some)
            .ok_or_else(|| damage("page roots do not lead to the chunk id").into())
    }

    /// Proves one leaf of a chunk: reads and hashes one page.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotFound`] if there is no such chunk or leaf.
    pub fn prove_leaf(
        &self,
        period: u64,
        chunk: ChunkIndex,
        leaf: u32,
    ) -> Result<(ChunkEntry, ChunkLeafProof), ReadError> {
        let manifest = self.archived_manifest(period)?;
        let missing = || ReadError::NotFound(format!("leaf {leaf} of chunk {chunk} of period {period}"));
        let entry = *manifest.chunks.get(chunk.0 as usize).ok_or_else(missing)?;
        let pages = self.kept_chunk(period, chunk.0, entry)?;
        let page = leaf / PAGE_LEAVES as u32;
        if page >= entry.page_count() {
            return Err(missing());
        }
        let (bytes, _) = self.page(period, chunk.0, &pages, page)?;
        let proof = prove_leaf(&pages, &bytes, leaf).ok_or_else(missing)?;
        Ok((entry, proof))
    }

    fn kept_chunk(&self, period: u64, index: u32, entry: ChunkEntry) -> Result<ChunkPages, ReadError> {
        self.chunk(period, index, entry)?
            .ok_or(ReadError::NotKept { period, chunk: index })
    }

    /// Proves what is archived at a place, up to the segment root (of what is archived of the segment so far).
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NoSegmentRoot`] when earlier periods of the segment are missing.
    pub fn prove_place(&self, slot: Slot) -> Result<ProvenLeaf, ReadError> {
        let manifest = self.archived_manifest(slot.period)?;
        let (leaf, period_path) = manifest
            .prove_place(slot.thread)
            .ok_or_else(|| ReadError::NotFound(format!("slot {slot}")))?;
        self.prove_in_segment(slot.period, leaf, period_path)
    }

    /// Proves a chunk of a period, up to the segment root.
    ///
    /// # Errors
    /// As [`Store::prove_place`].
    pub fn prove_chunk(&self, period: u64, chunk: ChunkIndex) -> Result<ProvenLeaf, ReadError> {
        let manifest = self.archived_manifest(period)?;
        let (leaf, period_path) = manifest
            .prove_chunk(chunk)
            .ok_or_else(|| ReadError::NotFound(format!("chunk {chunk} of period {period}")))?;
        self.prove_in_segment(period, leaf, period_path)
    }

    fn prove_in_segment(
        &self,
        period: u64,
        leaf: PeriodLeaf,
        period_path: massa_distributed_storage_exports::MerkleProof,
    ) -> Result<ProvenLeaf, ReadError> {
        let segment = self.parameters().segment_of(period);
        let no_root = |missing| ReadError::NoSegmentRoot { period, missing };
        let state = self
            .recent_segment(segment)?
            .ok_or_else(|| no_root(self.parameters().segment_start(segment)))?;
        let end = state.header.first_period + u64::from(state.header.periods);
        let segment_path = state.tree.path(period).ok_or_else(|| no_root(end))?;
        Ok(ProvenLeaf {
            leaf,
            path: ArchivePath {
                period,
                period_path,
                segment_path,
            },
            segment_root: state.tree.root(),
            segment,
            segment_periods: state.header.periods,
            segment_complete: state.complete,
        })
    }

    fn archived_place(&self, manifest: &Manifest, slot: Slot) -> Result<PlaceContent, ReadError> {
        let place = manifest
            .places
            .get(usize::from(slot.thread))
            .ok_or_else(|| ReadError::NotFound(format!("slot {slot}")))?;
        let (id, objects_before) = match *place {
            Place::Miss => return Ok(PlaceContent::Miss),
            Place::Lost { id } => return Err(ReadError::LostBlock { slot, id }),
            Place::Block { id, objects_before, .. } => (id, objects_before),
        };
        let range = manifest.block_range(slot.thread).expect("the place holds a block");
        let piece = self.pages(manifest, range)?;
        let damage = |reason: String| Damage::new(STORAGE_PAGES_CF, reason).at(slot);
        let record = piece
            .record(objects_before)
            .map_err(|error| damage(error.to_string()))?;
        let found = record
            .view(manifest.header.threads)
            .map_err(|error| damage(error.to_string()))?
            .block_id();
        if found != id {
            return Err(damage(format!("expected block {id}, found {found}")).into());
        }
        Ok(PlaceContent::Block(record))
    }

    /// Reads `range` of the body, with the signatures of all pages that it touches.
    fn pages(&self, manifest: &Manifest, range: Range<u64>) -> Result<BodyPiece, ReadError> {
        let header = manifest.header;
        let chunk_size = u64::from(header.chunk_size);
        let page_bytes = PAGE_BYTES as u64;
        let first_page = range.start / page_bytes;
        let end_page = range.end.div_ceil(page_bytes);
        let pages_per_chunk = chunk_size / page_bytes;
        let mut piece = BodyPiece::default();
        let mut chunk: Option<(u32, ChunkPages)> = None;
        for page in first_page..end_page {
            let index = (page / pages_per_chunk) as u32;
            let page_in_chunk = (page % pages_per_chunk) as u32;
            let pages = match chunk.take() {
                Some((known, pages)) if known == index => pages,
                _ => self.kept_chunk(header.period, index, manifest.chunks[index as usize])?,
            };
            if page == first_page {
                piece.objects_before = pages.objects_before[page_in_chunk as usize];
            }
            let (bytes, signatures) = self.page(header.period, index, &pages, page_in_chunk)?;
            piece.bytes.extend(bytes);
            piece.signatures.extend(signatures);
            chunk = Some((index, pages));
        }
        let start = (range.start - first_page * page_bytes) as usize;
        piece.bytes.drain(..start);
        piece.bytes.truncate((range.end - range.start) as usize);
        Ok(piece)
    }

    fn pending_place(&self, slot: Slot) -> Result<PlaceContent, ReadError> {
        match self.pending_row(slot)? {
            Some(content) => Ok(content),
            None => Err(self.not_archived(slot.period)?),
        }
    }

    /// The pending row of a place.
    pub(crate) fn pending_row(&self, slot: Slot) -> Result<Option<PlaceContent>, ReadError> {
        let key = slot.to_bytes_key();
        let row = self.sealed(STORAGE_PENDING_CF, &key, Some(slot.period))?;
        row.map(|value| parse_pending(slot, &value)).transpose()
    }

    /// Calls `action` with each pending place in archive order, until it returns false.
    pub(crate) fn for_each_pending(
        &self,
        mut action: impl FnMut(Slot, PlaceContent) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        self.for_each_row(STORAGE_PENDING_CF, &[], |key, row| {
            let damage = |reason: &str| Damage::new(STORAGE_PENDING_CF, reason);
            let bytes = key.try_into().map_err(|_| damage("key is malformed"))?;
            let slot = Slot::from_bytes_key(bytes);
            let value = rows::unseal(key, row).ok_or_else(|| damage("row does not match its checksum").at(slot))?;
            action(slot, parse_pending(slot, value)?)
        })
    }

    /// Links that wait for a parent: (thread, parent) → period of the child.
    pub(crate) fn links(&self) -> Result<Vec<(u8, BlockId, u64)>, ReadError> {
        let mut links = Vec::new();
        self.for_each_row(STORAGE_AWAITED_CF, &[1], |key, row| {
            let damage = || Damage::new(STORAGE_AWAITED_CF, "link is malformed");
            let value = rows::unseal(key, row).ok_or_else(damage)?;
            let (thread, parent) = rows::parse_link_key(key).ok_or_else(damage)?;
            let period = value.try_into().map(u64::from_le_bytes).map_err(|_| damage())?;
            links.push((thread, parent, period));
            Ok(true)
        })?;
        Ok(links)
    }

    /// Places that were noted as needing repair, with the block id where it is known.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn awaited(&self) -> Result<Vec<(Slot, Option<BlockId>)>, ReadError> {
        let mut awaited = Vec::new();
        self.for_each_row(STORAGE_AWAITED_CF, &[0], |key, row| {
            let damage = || Damage::new(STORAGE_AWAITED_CF, "row is malformed");
            let value = rows::unseal(key, row).ok_or_else(damage)?;
            let [0, slot @ ..] = key else {
                return Ok(false);
            };
            let slot = Slot::from_bytes_key(slot.try_into().map_err(|_| damage())?);
            awaited.push((slot, rows::parse_block_id(value)));
            Ok(true)
        })?;
        Ok(awaited)
    }

    /// Periods of which there is a manifest, in order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn archived_periods(&self) -> Result<Vec<u64>, ReadError> {
        let mut periods = Vec::new();
        let floor = self.floor();
        self.for_each_row(STORAGE_MANIFESTS_CF, &rows::period_key(floor), |key, _| {
            let damage = || Damage::new(STORAGE_MANIFESTS_CF, "key is malformed");
            periods.push(rows::parse_u64(key).ok_or_else(damage)?);
            Ok(true)
        })?;
        Ok(periods)
    }

    /// The newest archived period.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last_period(&self) -> Result<Option<u64>, ReadError> {
        self.with_db(|db| {
            let family = family_of(db, STORAGE_MANIFESTS_CF)?;
            let last = db.iterator_cf(family, IteratorMode::End).next().transpose()?;
            Ok(last.and_then(|(key, _)| rows::parse_u64(&key)))
        })
    }

    /// Calls `action` with each row from `start` on, until it returns false.
    pub(crate) fn for_each_row(
        &self,
        family: &'static str,
        start: &[u8],
        mut action: impl FnMut(&[u8], &[u8]) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        self.with_db(|db| {
            let mode = IteratorMode::From(start, Direction::Forward);
            for row in db.iterator_cf(family_of(db, family)?, mode) {
                let (key, value) = row.map_err(|error| Damage::new(family, error.to_string()))?;
                if !action(&key, &value)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// A row without its checksum; `None` if there is none.
    pub(crate) fn sealed(
        &self,
        family: &'static str,
        key: &[u8],
        period: Option<u64>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let damage = |reason: String| Damage {
            period,
            ..Damage::new(family, reason)
        };
        let row = match self.raw(family, key) {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(StoreError::Read(error)) => return Err(damage(error.to_string()).into()),
            Err(error) => return Err(error.into()),
        };
        match rows::unseal(key, &row) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(damage("row does not match its checksum".into()).into()),
        }
    }

    pub(crate) fn raw(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_db(|db| Ok(db.get_cf(family_of(db, family)?, key)?))
    }
}

fn parse_pending(slot: Slot, value: &[u8]) -> Result<PlaceContent, ReadError> {
    let damage = |reason: String| Damage::new(STORAGE_PENDING_CF, reason).at(slot);
    match value.split_first() {
        Some((&rows::PENDING_MISS, [])) => Ok(PlaceContent::Miss),
        Some((&rows::PENDING_BLOCK, record)) => {
            let record = BlockRecord::from_bytes(record.to_vec()).map_err(|error| damage(error.to_string()))?;
            Ok(PlaceContent::Block(record))
        }
        _ => Err(damage("row is malformed".into()).into()),
    }
}

/// A piece of a body, with the signatures of every object that ends in its pages.
#[derive(Default)]
pub(crate) struct BodyPiece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) signatures: Vec<u8>,
    /// Objects of the body that end before the first page.
    pub(crate) objects_before: u32,
}

impl BodyPiece {
    /// The record that the piece begins with; `first` is the number of its block among the body's objects.
    pub(crate) fn record(&self, first: u32) -> Result<BlockRecord, RecordError> {
        let entry = BodyEntry::parse(&self.bytes)?;
        let malformed = RecordError::Malformed { field: "signatures" };
        let skipped = first
            .checked_sub(self.objects_before)
            .ok_or_else(|| malformed.clone())?;
        let start = skipped as usize * SIGNATURE_BYTES;
        let end = start + entry.object_count() * SIGNATURE_BYTES;
        entry.record(self.signatures.get(start..end).ok_or(malformed)?)
    }
}

/// Decodes a body that was read and puts its signatures back.
pub(crate) fn records_of(
    manifest: &Manifest,
    body: &[u8],
    signatures: &[u8],
) -> Result<Vec<Option<BlockRecord>>, BodyError> {
    PeriodBody::decode(body, manifest.header.threads)?.records(signatures)
}
