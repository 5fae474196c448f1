//! The store: RocksDB in a directory of its own.
//!
//! One thread writes (see [`crate::ingest`]); any number read. A period is stored in one write batch, so it is pending or
//! complete, never half stored. Reads check what they return ([`read`]); [`verify`] checks everything. When a write
//! fails the store refuses further ones until [`Store::recover`] has seen one succeed.
//!
//! Left out: deciding what is kept (the caller passes it in) and obtaining what is missing.

pub mod held;
pub mod history;
pub mod read;
pub mod replace;
pub mod rows;
pub mod segments;
pub mod space;
pub mod verify;
pub mod writer;

use crate::chunking::EncodedPeriod;
use crate::storage_backend::held::HeldChanges;
use crate::storage_backend::segments::SegmentState;
use crate::storage_backend::space::{disk_usage, SpaceGauge};
use crate::storage_backend::writer::{BatchWriter, Durability, RocksWriter, WriteFault};
use massa_db_exports::{
    STORAGE_AWAITED_CF, STORAGE_BLOCK_INDEX_CF, STORAGE_CHALLENGE_HISTORY_PREFIX, STORAGE_CHUNKS_PREFIX,
    STORAGE_MANIFESTS_CF, STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_METADATA_CF, STORAGE_NODE_REGISTRY_PREFIX,
    STORAGE_OPERATION_INDEX_CF, STORAGE_PAGES_CF, STORAGE_PENDING_CF,
};
use massa_distributed_storage_exports::body::signature_range;
use massa_distributed_storage_exports::config::check_retention;
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::types::{ParameterError, PAGE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, PeriodRoot};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use parking_lot::{Mutex, RwLock};
use rocksdb::compaction_filter::Decision;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options, WriteBatch,
    DB,
};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Every column family of the store.
const FAMILIES: [&str; 11] = [
    STORAGE_PENDING_CF,
    STORAGE_PAGES_CF,
    STORAGE_CHUNKS_PREFIX,
    STORAGE_MANIFESTS_CF,
    STORAGE_BLOCK_INDEX_CF,
    STORAGE_OPERATION_INDEX_CF,
    STORAGE_AWAITED_CF,
    STORAGE_NODE_REGISTRY_PREFIX,
    STORAGE_CHALLENGE_HISTORY_PREFIX,
    STORAGE_MERKLE_ROOTS_PREFIX,
    STORAGE_METADATA_CF,
];
/// Families whose rows name the period they belong to in their value: pruned when they are compacted.
const INDEX_FAMILIES: [&str; 2] = [STORAGE_BLOCK_INDEX_CF, STORAGE_OPERATION_INDEX_CF];

/// Room for the small rows of a period in its batch.
const BATCH_ROWS_BYTES: usize = 64 << 10;
/// Memory that collects pages before they become a table. Two of them may exist.
const PAGES_BUFFER_BYTES: u64 = 32 << 20;
/// The same for the small families.
const ROWS_BUFFER_BYTES: u64 = 4 << 20;
/// Blocks of tables kept in memory.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// The write-ahead log is cut when it reaches this size.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Open tables: bounds file descriptors and the memory of their indexes.
const OPEN_FILES_MAX: i32 = 512;

/// Why the store could not be opened, read or written.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// RocksDB could not open the directory.
    #[error("could not open the store in {path}: {source}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// There is no store, and none was to be made.
    #[error("{path} is not a distributed storage directory")]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("the store in {path} has format {found}, this version reads format {expected}: use the version that wrote it, or import its archive into a new directory")]
    Format {
        /// The directory.
        path: PathBuf,
        /// Format found.
        found: u32,
        /// Format of this version.
        expected: u32,
    },
    /// The store belongs to another network, or was made with other parameters.
    #[error("{name}: the store in {path} was made with {stored}, this node is configured with {configured}: correct the configuration or choose another directory")]
    ParameterMismatch {
        /// The directory.
        path: PathBuf,
        /// The parameter.
        name: &'static str,
        /// Value in the store.
        stored: String,
        /// Value configured.
        configured: String,
    },
    /// A parameter is out of its range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Retention is too short.
    #[error(transparent)]
    Retention(#[from] massa_distributed_storage_exports::config::ConfigError),
    /// A metadata row is damaged.
    #[error("metadata row {0} is damaged")]
    Metadata(&'static str),
    /// A record does not fit its period.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The directory would outgrow its allocation.
    #[error("allocated storage is used up: {used} bytes used, {needed} needed, {capacity} allocated")]
    AllocationUsedUp {
        /// Bytes on disk now.
        used: u64,
        /// Bytes that the write might lead to.
        needed: u64,
        /// The ceiling.
        capacity: u64,
    },
    /// A write failed; until [`Store::recover`] succeeds all writes are refused.
    #[error("the store refuses writes: {0}")]
    Refusing(WriteFault),
    /// RocksDB could not read.
    #[error("could not read the store: {0}")]
    Read(#[from] rocksdb::Error),
    /// Rows could not be listed.
    #[error("could not read the store: {0}")]
    Unreadable(String),
    /// The size of the directory could not be measured.
    #[error("could not measure {path}")]
    Measure {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// How a store is opened.
pub struct StoreOptions {
    /// The directory.
    pub path: PathBuf,
    /// Ceiling of the directory's size on disk; `None` leaves it to the disk.
    pub capacity_bytes: Option<u64>,
    /// Periods kept; 0 keeps all.
    pub retention_periods: u64,
    /// Whether a new store keeps an operation index. An existing one keeps what it was made with.
    pub operation_index: bool,
    /// Where writes go; [`RocksWriter`] outside tests.
    pub writer: Box<dyn BatchWriter>,
}

impl StoreOptions {
    /// Options for `path`: no ceiling, everything kept, with an operation index.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            capacity_bytes: None,
            retention_periods: 0,
            operation_index: true,
            writer: Box::new(RocksWriter),
        }
    }
}

/// What a node has archived when a period was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedPeriod {
    /// The period.
    pub period: u64,
    /// Its root.
    pub root: PeriodRoot,
    /// Blocks of the period.
    pub blocks: usize,
    /// Operations of the period.
    pub operations: usize,
    /// Chunks of the period.
    pub chunks: usize,
    /// Chunks kept on this node.
    pub chunks_kept: usize,
}

/// Rows that go into the same batch as a period, or alone.
#[derive(Clone, Debug, Default)]
pub struct PendingRows<'a> {
    /// Blocks of open periods.
    pub blocks: Vec<(Slot, &'a BlockRecord)>,
    /// Misses of open periods.
    pub misses: Vec<Slot>,
    /// (thread, parent that is not known, period of the child).
    pub links: Vec<(u8, BlockId, u64)>,
    /// Links that were answered.
    pub resolved_links: Vec<(u8, BlockId)>,
    /// Places known to need repair, with the block id where it is known.
    pub awaited: Vec<(Slot, Option<BlockId>)>,
}

impl PendingRows<'_> {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.misses.is_empty()
            && self.links.is_empty()
            && self.resolved_links.is_empty()
            && self.awaited.is_empty()
    }
}

/// The store.
pub struct Store {
    path: PathBuf,
    parameters: ArchiveParameters,
    operation_index: bool,
    retention_periods: u64,
    read_only: bool,
    capacity_bytes: Option<u64>,
    /// `None` once closed.
    db: RwLock<Option<DB>>,
    writer: Box<dyn BatchWriter>,
    /// Why writes are refused.
    fault: Mutex<Option<WriteFault>>,
    space: Mutex<Option<SpaceGauge>>,
    /// Periods below it are pruned. Shared with the compaction filters.
    floor: Arc<AtomicU64>,
    /// Trees of complete segments that proofs were asked for lately; they never change.
    segments: Mutex<VecDeque<Arc<SegmentState>>>,
    /// Periods whose held chunks changed.
    held_changes: HeldChanges,
    /// How often an archived period was replaced.
    replaced: AtomicU64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `options.path`, or makes one with `parameters` if there is none.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::ParameterMismatch`] when the store was made with other parameters.
    pub fn open(options: StoreOptions, parameters: ArchiveParameters) -> Result<Self, StoreError> {
        parameters.check()?;
        let store = Self::open_with(options, Some(&parameters), false)?;
        store.expect_parameters(&parameters)?;
        Ok(store)
    }

    /// Opens a store that exists, with the parameters it was made with.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotAStore`] when there is none.
    pub fn open_existing(options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(options, None, false)
    }

    /// Opens a store that exists for reading only: takes no lock and changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotAStore`] when there is none.
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(StoreOptions::new(path), None, true)
    }

    /// Whether `path` holds a store, or at least a RocksDB.
    pub fn exists(path: &Path) -> bool {
        path.join("CURRENT").is_file()
    }

    fn open_with(
        options: StoreOptions,
        create: Option<&ArchiveParameters>,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        if create.is_none() && !Self::exists(&options.path) {
            return Err(StoreError::NotAStore { path: options.path });
        }
        let floor = Arc::new(AtomicU64::new(0));
        let db = open_db(
            &options.path,
            options.capacity_bytes,
            create.is_some(),
            read_only,
            &floor,
        )?;
        let metadata = load_metadata(&db, &options, create, read_only)?;
        check_retention(options.retention_periods, metadata.parameters.segment_periods)?;
        floor.store(metadata.floor, Ordering::Release);
        Ok(Self {
            path: options.path,
            parameters: metadata.parameters,
            operation_index: metadata.operation_index,
            retention_periods: options.retention_periods,
            read_only,
            capacity_bytes: options.capacity_bytes,
            db: RwLock::new(Some(db)),
            writer: options.writer,
            fault: Mutex::new(None),
            space: Mutex::new(options.capacity_bytes.map(SpaceGauge::new)),
            floor,
            segments: Mutex::default(),
            held_changes: HeldChanges::default(),
            replaced: AtomicU64::new(0),
        })
    }

    /// Compares the store's parameters with those of the network.
    ///
    /// # Errors
    /// [`StoreError::ParameterMismatch`], naming the first that differs.
    pub fn expect_parameters(&self, configured: &ArchiveParameters) -> Result<(), StoreError> {
        let stored = &self.parameters;
        let boundary = |parameters: &ArchiveParameters| format!("{:?}", parameters.boundary);
        let pairs = [
            ("chain_id", stored.chain_id.to_string(), configured.chain_id.to_string()),
            (
                "thread_count",
                stored.thread_count.to_string(),
                configured.thread_count.to_string(),
            ),
            (
                "chunk_size",
                stored.chunk_size.to_string(),
                configured.chunk_size.to_string(),
            ),
            (
                "challenge_frequency_periods",
                stored.segment_periods.to_string(),
                configured.segment_periods.to_string(),
            ),
            (
                "first_period",
                stored.first_period.to_string(),
                configured.first_period.to_string(),
            ),
            ("boundary", boundary(stored), boundary(configured)),
        ];
        match pairs.into_iter().find(|(_, stored, configured)| stored != configured) {
            None => Ok(()),
            Some((name, stored, configured)) => Err(StoreError::ParameterMismatch {
                path: self.path.clone(),
                name,
                stored,
                configured,
            }),
        }
    }

    /// The parameters that the store was made with.
    pub fn parameters(&self) -> &ArchiveParameters {
        &self.parameters
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether operations can be found by id.
    pub fn has_operation_index(&self) -> bool {
        self.operation_index
    }

    /// Periods below it are pruned; 0 if none is.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Why the store refuses writes, if it does.
    pub fn fault(&self) -> Option<WriteFault> {
        self.fault.lock().clone()
    }

    /// Bytes that the directory takes on disk, write-ahead log included.
    ///
    /// # Errors
    /// [`StoreError::Measure`].
    pub fn disk_usage(&self) -> Result<u64, StoreError> {
        disk_usage(&self.path).map_err(|source| StoreError::Measure {
            path: self.path.clone(),
            source,
        })
    }

    /// Releases the directory and its lock. Later calls return [`StoreError::Closed`].
    pub fn close(&self) {
        self.db.write().take();
    }

    /// Makes every write so far survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Refusing`] when the disk refuses.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.with_db(|db| match db.flush_wal(true) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refuse(error.into())),
        })
    }

    /// Moves everything from the write-ahead log into tables, where each block of rows has a checksum. A damaged log is
    /// cut at the damage when the store is opened; a damaged table is found by [`Store::verify`].
    ///
    /// # Errors
    /// [`StoreError::Refusing`] when the disk refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.with_db(|db| {
            for name in FAMILIES {
                let flushed = db.flush_cf(family_of(db, name)?);
                flushed.map_err(|error| self.refuse(error.into()))?;
            }
            Ok(())
        })
    }

    /// Stores rows of open periods.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is stored then, unless the disk failed while writing.
    pub fn put_pending(&self, rows: &PendingRows<'_>, durability: Durability) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let bytes: usize = rows.blocks.iter().map(|(_, record)| record.as_bytes().len()).sum();
        self.check_space(bytes as u64)?;
        self.with_db(|db| {
            let mut batch = WriteBatch::default();
            add_pending_rows(db, &mut batch, rows)?;
            self.write(db, batch, durability)
        })
    }

    /// Stores a complete period in one batch, and deletes its pending rows.
    ///
    /// `keep[index]` tells whether this node keeps a chunk; the manifest is always kept. `records` are those that were encoded.
    ///
    /// # Errors
    /// [`StoreError`]; the period is then still pending, unless the disk failed while writing.
    pub fn put_period(
        &self,
        encoded: &EncodedPeriod,
        records: &[Option<&BlockRecord>],
        keep: &[bool],
        rows: &PendingRows<'_>,
        durability: Durability,
    ) -> Result<ArchivedPeriod, StoreError> {
        // Growing the batch would copy it again and again.
        let bytes = encoded.body.bytes.len() + encoded.body.signatures.len();
        let batch = WriteBatch::with_capacity_bytes(bytes + bytes / 16 + BATCH_ROWS_BYTES);
        self.put_period_in(batch, encoded, records, keep, rows, durability)
    }

    /// Adds a complete period to a batch, and writes it.
    fn put_period_in(
        &self,
        mut batch: WriteBatch,
        encoded: &EncodedPeriod,
        records: &[Option<&BlockRecord>],
        keep: &[bool],
        rows: &PendingRows<'_>,
        durability: Durability,
    ) -> Result<ArchivedPeriod, StoreError> {
        let bytes = encoded.body.bytes.len() + encoded.body.signatures.len();
        self.check_space(bytes as u64)?;
        self.with_db(|db| {
            add_pending_rows(db, &mut batch, rows)?;
            let chunks_kept = add_chunks(db, &mut batch, encoded, keep)?;
            let root = add_manifest(db, &mut batch, &encoded.manifest)?;
            if self.operation_index {
                add_operation_index(db, &mut batch, encoded, records)?;
            }
            self.delete_pending(db, &mut batch, encoded.manifest.header.period)?;
            self.write(db, batch, durability)?;
            self.held_changes.note(encoded.manifest.header.period);
            let blocks = encoded
                .manifest
                .places
                .iter()
                .filter(|place| **place != Place::Miss)
                .count();
            Ok(ArchivedPeriod {
                period: encoded.manifest.header.period,
                root,
                blocks,
                operations: encoded.body.object_ends.len() - blocks,
                chunks: encoded.chunks.len(),
                chunks_kept,
            })
        })
    }

    /// Prunes what retention no longer covers when `last_period` is the newest period: whole segments only.
    ///
    /// Returns the new floor if anything was pruned. The space is returned before this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prune(&self, last_period: u64) -> Result<Option<u64>, StoreError> {
        if self.retention_periods == 0 {
            return Ok(None);
        }
        let oldest = (last_period + 1).saturating_sub(self.retention_periods);
        let segment = self.parameters.segment_of(oldest);
        let floor = segment * self.parameters.segment_periods;
        if floor <= self.floor().max(self.parameters.first_period) {
            return Ok(None);
        }
        self.with_db(|db| {
            let mut batch = WriteBatch::default();
            put_sealed(
                db,
                &mut batch,
                STORAGE_METADATA_CF,
                rows::FLOOR_KEY,
                floor.to_le_bytes().to_vec(),
            )?;
            for (family, start, end) in pruned_ranges(floor) {
                batch.delete_range_cf(family_of(db, family)?, start, end);
            }
            self.write(db, batch, Durability::Synced)?;
            self.floor.store(floor, Ordering::Release);
            self.held_changes.note_pruned();
            return_space(db, floor)?;
            Ok(Some(floor))
        })
    }

    /// Tries whether writes succeed again, reopening RocksDB if it refuses by itself.
    ///
    /// # Errors
    /// [`StoreError::Refusing`] while they do not.
    pub fn recover(&self) -> Result<(), StoreError> {
        if self.fault().is_none() {
            return Ok(());
        }
        if self.probe().is_err() {
            self.reopen()?;
            self.probe()?;
        }
        *self.fault.lock() = None;
        Ok(())
    }

    /// Writes the format row again, durably.
    fn probe(&self) -> Result<(), StoreError> {
        self.with_db(|db| {
            let mut batch = WriteBatch::default();
            let format = rows::STORE_FORMAT.to_le_bytes().to_vec();
            put_sealed(db, &mut batch, STORAGE_METADATA_CF, rows::FORMAT_KEY, format)?;
            let written = self.writer.write(db, batch, Durability::Synced);
            written.map_err(|fault| self.refuse(fault))
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write();
        if db.take().is_none() {
            return Err(StoreError::Closed);
        }
        *db = Some(open_db(
            &self.path,
            self.capacity_bytes,
            false,
            self.read_only,
            &self.floor,
        )?);
        Ok(())
    }

    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        if let Some(fault) = self.fault() {
            return Err(StoreError::Refusing(fault));
        }
        let bytes = batch.size_in_bytes() as u64;
        let written = self.writer.write(db, batch, durability);
        if let Some(gauge) = self.space.lock().as_mut() {
            gauge.wrote(bytes);
        }
        written.map_err(|fault| self.refuse(fault))
    }

    fn refuse(&self, fault: WriteFault) -> StoreError {
        *self.fault.lock() = Some(fault.clone());
        StoreError::Refusing(fault)
    }

    /// Checks that `incoming` bytes fit under the ceiling.
    fn check_space(&self, incoming: u64) -> Result<(), StoreError> {
        let mut space = self.space.lock();
        let Some(gauge) = space.as_mut() else {
            return Ok(());
        };
        if gauge.surely_fits(incoming) {
            return Ok(());
        }
        let in_memory = self.with_db(unwritten_bytes)?;
        gauge.measured(self.disk_usage()?, in_memory);
        if gauge.fits(incoming) {
            return Ok(());
        }
        Err(StoreError::AllocationUsedUp {
            used: gauge.measured_bytes(),
            needed: gauge.needed(gauge.measured_bytes(), incoming),
            capacity: gauge.capacity_bytes(),
        })
    }

    /// Runs `action` on the database, unless it is closed.
    fn with_db<T, E: From<StoreError>>(&self, action: impl FnOnce(&DB) -> Result<T, E>) -> Result<T, E> {
        match self.db.read().as_ref() {
            Some(db) => action(db),
            None => Err(StoreError::Closed.into()),
        }
    }

    fn delete_pending(&self, db: &DB, batch: &mut WriteBatch, period: u64) -> Result<(), StoreError> {
        let (pending, awaited) = (family_of(db, STORAGE_PENDING_CF)?, family_of(db, STORAGE_AWAITED_CF)?);
        for thread in 0..self.parameters.thread_count {
            let slot = Slot::new(period, thread);
            batch.delete_cf(pending, slot.to_bytes_key());
            batch.delete_cf(awaited, rows::awaited_key(slot));
        }
        Ok(())
    }
}

/// What the metadata family says.
struct Metadata {
    parameters: ArchiveParameters,
    operation_index: bool,
    floor: u64,
}

/// Reads the metadata, or writes it into an empty database.
fn load_metadata(
    db: &DB,
    options: &StoreOptions,
    create: Option<&ArchiveParameters>,
    read_only: bool,
) -> Result<Metadata, StoreError> {
    let not_a_store = || StoreError::NotAStore {
        path: options.path.clone(),
    };
    let Some(format) = get_metadata(db, rows::FORMAT_KEY, "format")? else {
        let parameters = create.filter(|_| !read_only).ok_or_else(not_a_store)?;
        return create_metadata(db, options, parameters);
    };
    let found = format
        .try_into()
        .map(u32::from_le_bytes)
        .map_err(|_| StoreError::Metadata("format"))?;
    if found != rows::STORE_FORMAT {
        return Err(StoreError::Format {
            path: options.path.clone(),
            found,
            expected: rows::STORE_FORMAT,
        });
    }
    let parameters = get_metadata(db, rows::PARAMETERS_KEY, "parameters")?
        .and_then(|value| rows::parse_parameters(&value))
        .ok_or(StoreError::Metadata("parameters"))?;
    let operation_index = get_metadata(db, rows::OPERATION_INDEX_KEY, "operation_index")?
        .ok_or(StoreError::Metadata("operation_index"))?;
    let floor = match get_metadata(db, rows::FLOOR_KEY, "floor")? {
        None => 0,
        Some(value) => value
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| StoreError::Metadata("floor"))?,
    };
    Ok(Metadata {
        parameters,
        operation_index: operation_index == [1],
        floor,
    })
}

fn get_metadata(db: &DB, key: &[u8], name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
    match db.get_cf(family_of(db, STORAGE_METADATA_CF)?, key)? {
        None => Ok(None),
        Some(row) => match rows::unseal(key, &row) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(StoreError::Metadata(name)),
        },
    }
}

fn create_metadata(db: &DB, options: &StoreOptions, parameters: &ArchiveParameters) -> Result<Metadata, StoreError> {
    let values = [
        (rows::FORMAT_KEY, rows::STORE_FORMAT.to_le_bytes().to_vec()),
        (rows::PARAMETERS_KEY, rows::parameters_value(parameters)),
        (rows::OPERATION_INDEX_KEY, vec![u8::from(options.operation_index)]),
    ];
    let mut batch = WriteBatch::default();
    for (key, value) in values {
        put_sealed(db, &mut batch, STORAGE_METADATA_CF, key, value)?;
    }
    options
        .writer
        .write(db, batch, Durability::Synced)
        .map_err(StoreError::Refusing)?;
    Ok(Metadata {
        parameters: parameters.clone(),
        operation_index: options.operation_index,
        floor: 0,
    })
}

/// The handle of a column family.
fn family_of<'a>(db: &'a DB, name: &'static str) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(name).ok_or(StoreError::Closed)
}

/// Adds a row with its checksum.
fn put_sealed(
    db: &DB,
    batch: &mut WriteBatch,
    family: &'static str,
    key: &[u8],
    value: Vec<u8>,
) -> Result<(), StoreError> {
    batch.put_cf(family_of(db, family)?, key, rows::seal(key, value));
    Ok(())
}

fn add_pending_rows(db: &DB, batch: &mut WriteBatch, pending: &PendingRows<'_>) -> Result<(), StoreError> {
    let awaited = family_of(db, STORAGE_AWAITED_CF)?;
    for (slot, record) in &pending.blocks {
        let mut value = Vec::with_capacity(1 + record.as_bytes().len() + rows::CHECKSUM_BYTES);
        value.push(rows::PENDING_BLOCK);
        value.extend(record.as_bytes());
        put_sealed(db, batch, STORAGE_PENDING_CF, &slot.to_bytes_key(), value)?;
        batch.delete_cf(awaited, rows::awaited_key(*slot));
    }
    for slot in &pending.misses {
        put_sealed(
            db,
            batch,
            STORAGE_PENDING_CF,
            &slot.to_bytes_key(),
            vec![rows::PENDING_MISS],
        )?;
        batch.delete_cf(awaited, rows::awaited_key(*slot));
    }
    for (thread, parent, period) in &pending.links {
        let key = rows::link_key(*thread, parent);
        put_sealed(db, batch, STORAGE_AWAITED_CF, &key, period.to_le_bytes().to_vec())?;
    }
    for (thread, parent) in &pending.resolved_links {
        batch.delete_cf(awaited, rows::link_key(*thread, parent));
    }
    for (slot, id) in &pending.awaited {
        let value = id.map_or_else(Vec::new, |id| rows::block_index_key(&id).to_vec());
        put_sealed(db, batch, STORAGE_AWAITED_CF, &rows::awaited_key(*slot), value)?;
    }
    Ok(())
}

/// Adds the chunks that `keep` selects with their pages; returns how many.
fn add_chunks(db: &DB, batch: &mut WriteBatch, encoded: &EncodedPeriod, keep: &[bool]) -> Result<usize, StoreError> {
    let header = encoded.manifest.header;
    let pages_family = family_of(db, STORAGE_PAGES_CF)?;
    let body = &encoded.body;
    let mut kept = 0;
    let mut row = Vec::new();
    for (index, chunk) in encoded.chunks.iter().enumerate() {
        if !keep.get(index).copied().unwrap_or(false) {
            continue;
        }
        kept += 1;
        let index = index as u32;
        let chunk_key = rows::chunk_key(header.period, index);
        put_sealed(db, batch, STORAGE_CHUNKS_PREFIX, &chunk_key, rows::chunk_value(chunk))?;
        let start = u64::from(index) * u64::from(header.chunk_size);
        for page in 0..chunk.entry.page_count() {
            let from = start + u64::from(page) * PAGE_BYTES as u64;
            let to = from + chunk.entry.page_length(page) as u64;
            let key = rows::page_key(header.period, index, page);
            let signatures = &body.signatures[signature_range(&body.object_ends, from..to)];
            rows::write_page(&mut row, &key, &body.bytes[from as usize..to as usize], signatures);
            batch.put_cf(pages_family, key, &row);
        }
    }
    Ok(kept)
}

/// Adds manifest, period root and block index.
fn add_manifest(db: &DB, batch: &mut WriteBatch, manifest: &Manifest) -> Result<PeriodRoot, StoreError> {
    let period = manifest.header.period;
    let root = manifest.root();
    put_sealed(
        db,
        batch,
        STORAGE_MANIFESTS_CF,
        &rows::period_key(period),
        manifest.to_bytes(),
    )?;
    let root_key = rows::period_root_key(period);
    put_sealed(
        db,
        batch,
        STORAGE_MERKLE_ROOTS_PREFIX,
        &root_key,
        root.to_bytes().to_vec(),
    )?;
    for (place, thread) in manifest.places.iter().zip(0..) {
        if let Some(id) = place.block_id() {
            let value = rows::block_index_value(Slot::new(period, thread));
            put_sealed(db, batch, STORAGE_BLOCK_INDEX_CF, &rows::block_index_key(&id), value)?;
        }
    }
    Ok(root)
}

fn add_operation_index(
    db: &DB,
    batch: &mut WriteBatch,
    encoded: &EncodedPeriod,
    records: &[Option<&BlockRecord>],
) -> Result<(), StoreError> {
    let header = encoded.manifest.header;
    for (record, thread) in records.iter().zip(0..) {
        let Some(record) = record else { continue };
        let slot = Slot::new(header.period, thread);
        for (id, index) in record.view(header.threads)?.operation_ids().zip(0..) {
            let value = rows::operation_index_value(slot, index);
            put_sealed(
                db,
                batch,
                STORAGE_OPERATION_INDEX_CF,
                &rows::operation_index_key(&id),
                value,
            )?;
        }
    }
    Ok(())
}

/// Key ranges that pruning below `floor` deletes. Segment roots stay.
fn pruned_ranges(floor: u64) -> [(&'static str, Vec<u8>, Vec<u8>); 6] {
    let below = |family| (family, rows::period_key(0).to_vec(), rows::period_key(floor).to_vec());
    let slot = Slot::new(floor, 0);
    let first = Slot::new(0, 0);
    [
        below(STORAGE_PAGES_CF),
        below(STORAGE_CHUNKS_PREFIX),
        below(STORAGE_MANIFESTS_CF),
        below(STORAGE_PENDING_CF),
        (
            STORAGE_MERKLE_ROOTS_PREFIX,
            rows::period_root_key(0).to_vec(),
            rows::period_root_key(floor).to_vec(),
        ),
        (
            STORAGE_AWAITED_CF,
            rows::awaited_key(first).to_vec(),
            rows::awaited_key(slot).to_vec(),
        ),
    ]
}

/// Gives the space of pruned rows back to the disk.
fn return_space(db: &DB, floor: u64) -> Result<(), StoreError> {
    for (name, start, end) in pruned_ranges(floor) {
        let family = family_of(db, name)?;
        // Tables are only dropped and merged once their rows have left memory.
        db.flush_cf(family)?;
        db.delete_file_in_range_cf(family, &start, &end)?;
        db.compact_range_cf(family, Some(start), Some(end));
    }
    for name in INDEX_FAMILIES {
        let family = family_of(db, name)?;
        db.flush_cf(family)?;
        db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
    }
    Ok(())
}

/// Bytes that are in memory and will be written as tables.
fn unwritten_bytes(db: &DB) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for name in FAMILIES {
        let family = family_of(db, name)?;
        bytes += db
            .property_int_value_cf(family, rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)?
            .unwrap_or(0);
    }
    Ok(bytes)
}

fn open_db(
    path: &Path,
    capacity_bytes: Option<u64>,
    create: bool,
    read_only: bool,
    floor: &Arc<AtomicU64>,
) -> Result<DB, StoreError> {
    // A small allocation must not be eaten up by the buffers' files.
    let pages_buffer = capacity_bytes.map_or(PAGES_BUFFER_BYTES, |capacity| {
        (capacity / 32).clamp(1 << 20, PAGES_BUFFER_BYTES)
    });
    let options = database_options(create, pages_buffer);
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let families = FAMILIES
        .iter()
        .map(|name| ColumnFamilyDescriptor::new(*name, family_options(name, pages_buffer, &cache, floor)));
    let opened = if read_only {
        DB::open_cf_descriptors_read_only(&options, path, families, false)
    } else {
        DB::open_cf_descriptors(&options, path, families)
    };
    opened.map_err(|source| StoreError::Open {
        path: path.to_path_buf(),
        source,
    })
}

fn database_options(create: bool, pages_buffer: u64) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(LOG_BYTES_MAX.min(2 * pages_buffer));
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_manifest_preallocation_size(64 << 10);
    options.set_max_background_jobs(2);
    options
}

fn family_options(name: &str, pages_buffer: u64, cache: &Cache, floor: &Arc<AtomicU64>) -> Options {
    let mut options = Options::default();
    writer::never_slow_down(&mut options);
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&tables);
    options.set_compression_type(DBCompressionType::Lz4);
    let large = name == STORAGE_PAGES_CF || name == STORAGE_PENDING_CF;
    let buffer = if large {
        pages_buffer
    } else {
        ROWS_BUFFER_BYTES.min(pages_buffer)
    };
    options.set_write_buffer_size(buffer as usize);
    if INDEX_FAMILIES.contains(&name) {
        let floor = Arc::clone(floor);
        options.set_compaction_filter("pruned periods", move |_: u32, _: &[u8], value: &[u8]| {
            let period = value.get(..8).and_then(rows::parse_u64);
            match period {
                Some(period) if period < floor.load(Ordering::Acquire) => Decision::Remove,
                _ => Decision::Keep,
            }
        });
    }
    options
}
