//! The store of archive format 2: segments, in RocksDB, in a directory of their own.
//!
//! One thread writes the archive; any number read. A segment is *open* while its blocks are rows ([`open_segments`]); when
//! all its periods joined its stream it is *closed* chunk by chunk ([`closing`]), and from then on this node keeps its table
//! for ever ([`tables`]) and holds chunks of it ([`chunks`]). Each step is one write batch that may be repeated, so a process
//! killed at any instant finds each segment open or closed, each chunk held or not, and counters that agree ([`counters`]).
//! Reads see one moment, check what they return, and name damage ([`read`], [`verify`]). Rows are drawn in [`rows`]; what is
//! below them, opening, faults and space, is [`database`].
//!
//! Left out: which chunks this node should hold, what is to be trusted, and obtaining what is missing.

pub mod batch;
mod body;
mod changed;
pub mod chunks;
pub mod closing;
pub mod counters;
pub mod database;
pub mod error;
mod holding;
pub mod index;
pub(crate) mod keys;
mod leftovers;
mod open_memory;
pub mod open_segments;
pub mod own;
pub mod prune;
pub mod read;
pub mod repair;
pub mod replace;
pub mod rows;
pub mod tables;
pub mod verify;
mod view;
mod wanted;
mod writer;

pub use changed::ChangedSegments;
pub use chunks::{ChunkToStore, CutChunk, PageToStore, ReachingEntry};
pub use counters::Counters;
pub use error::{Damage, StoreError};
pub use index::{IndexScope, IndexScopes};
pub use open_segments::{JoinedPeriod, OpenRows, OpenSegment, StreamChunk};
pub use own::{OwnChanges, OwnRow, Row};
pub use read::{EntryRead, PageRead, SegmentInfo, SegmentState, SlotRead, StoredPageRead};
pub use repair::RepairReport;
pub use rows::{ClosedState, HeldRow, Keep};
pub use verify::VerifyReport;

pub(crate) use batch::RowBatch;
pub(crate) use view::View;

use crate::storage_backend::database::writer::{BatchWriter, Durability, RocksWriter};
use crate::storage_backend::database::{
    Database, DatabaseOptions, Family, FamilyKind, FirstRow, Loss, OnDamage, RowFilter, TableIngest,
};
use crate::storage_backend::keys::seal;
use crate::storage_backend::open_memory::OpenMemory;
use crate::storage_backend::wanted::{Readers, Wanted};
use massa_db_exports::{
    STORAGE_ADDRESS_INDEX_CF, STORAGE_BLOCK_INDEX_CF, STORAGE_CHALLENGE_HISTORY_PREFIX, STORAGE_CHUNKS_PREFIX,
    STORAGE_HELD_CF, STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_METADATA_CF, STORAGE_MISSING_CF,
    STORAGE_NODE_REGISTRY_PREFIX, STORAGE_OPERATION_INDEX_CF, STORAGE_OWN_CF, STORAGE_PENDING_CF, STORAGE_STREAM_CF,
    STORAGE_TABLES_CF,
};
use massa_distributed_storage_exports::config::check_retention;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, SegmentRoot};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Tables kept in memory: a table of a full segment takes 100 kB, one of a quiet segment 4 kB.
const RECENT_TABLES: usize = 32;

/// How a store is opened.
pub struct SegmentStoreOptions {
    /// The directory.
    pub path: PathBuf,
    /// Ceiling of the directory's size on disk; `None` leaves it to the disk.
    pub capacity_bytes: Option<u64>,
    /// Periods whose chunks are kept; 0 keeps all.
    pub retention_periods: u64,
    /// What is indexed. An existing store must have been made with the same.
    pub indexes: IndexScopes,
    /// What is done with damaged files.
    pub on_damage: OnDamage,
    /// Where batches go; [`RocksWriter`] outside tests.
    pub writer: Box<dyn BatchWriter>,
    /// Where tables go; [`database::RocksIngest`] outside tests.
    pub ingest: Box<dyn TableIngest>,
}

impl SegmentStoreOptions {
    /// Options for `path`: no ceiling, everything kept, default indexes.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            capacity_bytes: None,
            retention_periods: 0,
            indexes: IndexScopes::default(),
            on_damage: OnDamage::Refuse,
            writer: Box::new(RocksWriter),
            ingest: Box::new(database::RocksIngest),
        }
    }
}

/// The store.
pub struct SegmentStore {
    database: Database,
    parameters: ArchiveParameters,
    indexes: IndexScopes,
    retention_periods: u64,
    /// Held while rows are read in order to be changed.
    writing: Mutex<()>,
    /// What is known of open segments.
    open: RwLock<OpenMemory>,
    /// Tables that were read lately, by segment and root.
    recent: Mutex<VecDeque<(u64, SegmentRoot, Arc<SegmentTable>)>>,
    floor: Floor,
    /// Shared with the filters of pages.
    wanted: Arc<Wanted>,
    leftovers: Mutex<leftovers::Leftovers>,
    readers: Readers,
    /// Segments that changed, until somebody takes them.
    changed: Mutex<ChangedSegments>,
    /// Chunks that were found damaged, until somebody takes them.
    damaged: Mutex<BTreeSet<ChunkPosition>>,
    /// Rows that reads have looked at, for tests of what a request costs.
    rows_read: AtomicU64,
}

impl std::fmt::Debug for SegmentStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentStore")
            .field("path", &self.database.path())
            .finish_non_exhaustive()
    }
}

/// The first segment that is not pruned, and its first period. Shared with the filters that let index rows vanish.
#[derive(Clone, Default)]
pub(crate) struct Floor {
    segment: Arc<AtomicU64>,
    period: Arc<AtomicU64>,
}

impl Floor {
    pub(crate) fn segment(&self) -> u64 {
        self.segment.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, segment: u64, parameters: &ArchiveParameters) {
        let period = if segment == 0 {
            0
        } else {
            parameters.segment_start(segment)
        };
        self.segment.store(segment, Ordering::Release);
        self.period.store(period, Ordering::Release);
    }

    /// Keeps rows whose slot, found by `slot_of`, is not pruned.
    fn filter(&self, slot_of: fn(&[u8], &[u8]) -> Option<u64>) -> RowFilter {
        let floor = Arc::clone(&self.period);
        Arc::new(move |key, value| slot_of(key, value).map_or(true, |period| period >= floor.load(Ordering::Acquire)))
    }
}

/// The period that the first eight bytes are.
fn leading_period(bytes: &[u8]) -> Option<u64> {
    rows::parse_segment_key(bytes.get(..8)?)
}

fn families(floor: &Floor, wanted: &Arc<Wanted>) -> Vec<Family> {
    let by_value = floor.filter(|_, value| leading_period(value));
    let by_key = floor.filter(|key, _| leading_period(key.get(rows::ADDRESS_BYTES..)?));
    let index = |name, filter: RowFilter| Family {
        filter: Some(filter),
        ..Family::new(name, FamilyKind::Index)
    };
    let rows = |name| Family::new(name, FamilyKind::Rows);
    let pages = |keep: Keep| Family {
        filter: Some(wanted.filter(keep)),
        ..Family::new(keep.family(), FamilyKind::Pages)
    };
    vec![
        rows(STORAGE_METADATA_CF),
        rows(STORAGE_MERKLE_ROOTS_PREFIX),
        rows(STORAGE_TABLES_CF),
        rows(STORAGE_HELD_CF),
        rows(STORAGE_CHUNKS_PREFIX),
        pages(Keep::Holder),
        pages(Keep::Backup),
        Family::new(STORAGE_PENDING_CF, FamilyKind::Pending),
        rows(STORAGE_STREAM_CF),
        rows(STORAGE_MISSING_CF),
        index(STORAGE_BLOCK_INDEX_CF, Arc::clone(&by_value)),
        index(STORAGE_OPERATION_INDEX_CF, by_value),
        index(STORAGE_ADDRESS_INDEX_CF, by_key),
        rows(STORAGE_OWN_CF),
        rows(STORAGE_NODE_REGISTRY_PREFIX),
        rows(STORAGE_CHALLENGE_HISTORY_PREFIX),
    ]
}

/// Rows that a new store begins with: it is made with all of them or not at all, so that one that lacks some is damaged.
fn first_rows(parameters: &ArchiveParameters, indexes: &IndexScopes) -> Result<Vec<FirstRow>, StoreError> {
    let values = [
        (rows::FORMAT_KEY, rows::STORE_FORMAT.to_le_bytes().to_vec()),
        (rows::PARAMETERS_KEY, rows::parameters_value(parameters)),
        (rows::INDEXES_KEY, own::encode(indexes)?),
        (rows::FLOOR_KEY, 0u64.to_le_bytes().to_vec()),
        (rows::COUNTERS_KEY, own::encode(&Counters::default())?),
    ];
    let sealed = values.into_iter().map(|(key, value)| FirstRow {
        family: STORAGE_METADATA_CF,
        key: key.to_vec(),
        value: seal(key, value),
    });
    Ok(sealed.collect())
}

impl SegmentStore {
    /// Opens the store for writing; makes one where there is none.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::ParameterMismatch`] names what the store was made with and what is configured.
    pub fn open_or_create(options: SegmentStoreOptions, parameters: &ArchiveParameters) -> Result<Self, StoreError> {
        parameters.check()?;
        parameters.check_segment()?;
        check_retention(options.retention_periods, parameters.segment_periods)?;
        let first_rows = first_rows(parameters, &options.indexes)?;
        let store = Self::open_with(options, Mode::Create(first_rows))?;
        store.check_parameters(parameters)?;
        Ok(store)
    }

    /// Opens an existing store for writing, with the parameters it was made with.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Damaged`], [`StoreError::ParameterMismatch`] of an index.
    pub fn open(options: SegmentStoreOptions) -> Result<Self, StoreError> {
        Self::open_with(options, Mode::Existing)
    }

    /// Opens an existing store for reading, beside whoever writes. Indexes are those it was made with.
    ///
    /// # Errors
    /// As [`SegmentStore::open`].
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(SegmentStoreOptions::new(path), Mode::ReadOnly)
    }

    fn open_with(options: SegmentStoreOptions, mode: Mode) -> Result<Self, StoreError> {
        let (floor, wanted) = (Floor::default(), Arc::new(Wanted::default()));
        let read_only = matches!(mode, Mode::ReadOnly);
        let create = matches!(mode, Mode::Create(_));
        let first_rows = match mode {
            Mode::Create(rows) => rows,
            _ => Vec::new(),
        };
        let database = Database::open(DatabaseOptions {
            capacity_bytes: options.capacity_bytes,
            create,
            first_rows: first_rows.clone(),
            read_only,
            on_damage: options.on_damage,
            writer: options.writer,
            ingest: options.ingest,
            ..DatabaseOptions::new(options.path, families(&floor, &wanted))
        })?;
        let lacks_rows = database.damages().iter().any(|damage| damage.loss >= Loss::Recent);
        if lacks_rows && !read_only {
            restore_metadata(&database, &first_rows)?;
        }
        let metadata = Metadata::load(&database)?;
        floor.set(metadata.floor, &metadata.parameters);
        let store = Self {
            database,
            parameters: metadata.parameters,
            indexes: metadata.indexes,
            retention_periods: options.retention_periods,
            writing: Mutex::new(()),
            open: RwLock::default(),
            recent: Mutex::default(),
            floor,
            wanted,
            leftovers: Mutex::default(),
            readers: Readers::default(),
            changed: Mutex::default(),
            damaged: Mutex::default(),
            rows_read: AtomicU64::new(0),
        };
        if !read_only {
            store.check_indexes(&options.indexes)?;
        }
        let damaged_rows = store.load_open()?;
        if !read_only && (lacks_rows || damaged_rows > 0) {
            let report = store.repair_rows()?;
            tracing::warn!(path = %store.database.path().display(), ?report, "rows of the store were put right");
        }
        Ok(store)
    }

    /// Parameters of the archive.
    pub fn parameters(&self) -> &ArchiveParameters {
        &self.parameters
    }

    /// What is indexed.
    pub fn indexes(&self) -> IndexScopes {
        self.indexes
    }

    /// The layer below: space, faults, damages found when the store was opened.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Rows that reads have looked at since the store was opened.
    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Ordering::Relaxed)
    }

    /// Tries to write again after a fault, and reads anew what is kept in memory: the batch that failed may have been written.
    ///
    /// # Errors
    /// [`StoreError::Database`] as long as it does not work.
    pub fn recover(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        self.database.recover()?;
        self.recent.lock().clear();
        self.load_open().map(drop)
    }

    /// Makes every write so far survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn sync(&self) -> Result<(), StoreError> {
        Ok(self.database.sync()?)
    }

    /// Releases the directory once all readers are done.
    pub fn close(&self) {
        self.database.close();
    }

    fn check_parameters(&self, configured: &ArchiveParameters) -> Result<(), StoreError> {
        let stored = &self.parameters;
        let fields = [
            ("chain_id", stored.chain_id, configured.chain_id),
            (
                "thread_count",
                stored.thread_count.into(),
                configured.thread_count.into(),
            ),
            ("chunk_size", stored.chunk_size.into(), configured.chunk_size.into()),
            (
                "challenge_frequency_periods",
                stored.segment_periods,
                configured.segment_periods,
            ),
            ("first_period", stored.first_period, configured.first_period),
        ];
        if let Some((name, stored, configured)) = fields.into_iter().find(|(_, a, b)| a != b) {
            return Err(self.mismatch(name, stored.to_string(), configured.to_string()));
        }
        if stored.boundary != configured.boundary {
            let listed = |parameters: &ArchiveParameters| format!("{:?}", parameters.boundary);
            return Err(self.mismatch("boundary", listed(stored), listed(configured)));
        }
        Ok(())
    }

    fn check_indexes(&self, configured: &IndexScopes) -> Result<(), StoreError> {
        let (stored, configured) = (self.indexes.named(), configured.named());
        match stored.into_iter().zip(configured).find(|(a, b)| a != b) {
            None => Ok(()),
            Some(((name, stored), (_, configured))) => {
                Err(self.mismatch(name, stored.to_string(), configured.to_string()))
            }
        }
    }

    fn mismatch(&self, name: &'static str, stored: String, configured: String) -> StoreError {
        StoreError::ParameterMismatch {
            path: self.database.path().to_path_buf(),
            name,
            stored,
            configured,
        }
    }

    /// Runs `action` on what the store holds at this moment.
    pub(crate) fn view<T>(&self, action: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let _reading = self.readers.enter();
        self.database.read(|db| action(&View::new(self, db)))
    }

    pub(crate) fn commit(&self, batch: &RowBatch, durability: Durability) -> Result<(), StoreError> {
        self.database.update(durability, |db, rows| batch.fill(db, rows))
    }

    /// Reads, then writes what `prepare` puts into the batch, counters included; one change at a time.
    pub(crate) fn change<T>(
        &self,
        durability: Durability,
        prepare: impl FnOnce(&View<'_>, &mut RowBatch, &mut Counters) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.change_open(durability, prepare, |_, _| {})
    }

    /// The same; `then` brings what is kept in memory of open segments up to what was written.
    pub(crate) fn change_open<T>(
        &self,
        durability: Durability,
        prepare: impl FnOnce(&View<'_>, &mut RowBatch, &mut Counters) -> Result<T, StoreError>,
        then: impl FnOnce(&mut OpenMemory, &T),
    ) -> Result<T, StoreError> {
        let _writing = self.writing.lock();
        self.write_change(durability, prepare, then)
    }

    /// The same for whoever holds the lock already.
    pub(crate) fn change_while<T>(
        &self,
        _writing: &MutexGuard<'_, ()>,
        durability: Durability,
        prepare: impl FnOnce(&View<'_>, &mut RowBatch, &mut Counters) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_change(durability, prepare, |_, _| {})
    }

    fn note_changed(&self, batch: &RowBatch) {
        let held = batch.held.iter().map(|(segment, _)| segment);
        let mut changed = self.changed.lock();
        held.chain(&batch.touched).for_each(|segment| changed.note(*segment));
    }

    fn write_change<T>(
        &self,
        durability: Durability,
        prepare: impl FnOnce(&View<'_>, &mut RowBatch, &mut Counters) -> Result<T, StoreError>,
        then: impl FnOnce(&mut OpenMemory, &T),
    ) -> Result<T, StoreError> {
        let mut batch = RowBatch::default();
        let prepared = self.view(|view| {
            let before = view.counters()?;
            let mut counters = before;
            let prepared = prepare(view, &mut batch, &mut counters)?;
            if counters != before {
                counters.put(&mut batch)?;
            }
            Ok(prepared)
        })?;
        for (segment, held) in &batch.held {
            self.wanted.want(*segment, held);
        }
        self.commit(&batch, durability)?;
        self.note_changed(&batch);
        for (range, bytes) in &batch.dropped {
            self.database.note_dropped(range, *bytes);
        }
        then(&mut self.open.write(), &prepared);
        Ok(prepared)
    }
}

/// Metadata that went with a table that was set aside comes back as it is configured, but for rows that are still there. Without
/// such a table a row that is missing is damage.
fn restore_metadata(database: &Database, first_rows: &[FirstRow]) -> Result<(), StoreError> {
    database.update(Durability::Synced, |db, batch| -> Result<(), StoreError> {
        let handle = database::family(db, STORAGE_METADATA_CF)?;
        for row in first_rows {
            if let Ok(None) = db.get_cf(handle, &row.key) {
                batch.put_cf(handle, &row.key, &row.value);
            }
        }
        Ok(())
    })
}

enum Mode {
    Create(Vec<FirstRow>),
    Existing,
    ReadOnly,
}

/// What the metadata family says.
struct Metadata {
    parameters: ArchiveParameters,
    indexes: IndexScopes,
    floor: u64,
}

impl Metadata {
    fn load(database: &Database) -> Result<Self, StoreError> {
        database.read(|db| {
            let value = |key: &[u8], name: &str| view::metadata(database, db, key, name);
            let malformed = |name: &str| view::metadata_damage(name, "is malformed");
            let format = value(rows::FORMAT_KEY, "format")?;
            let found = format
                .try_into()
                .map(u32::from_le_bytes)
                .map_err(|_| malformed("format"))?;
            if found != rows::STORE_FORMAT {
                return Err(StoreError::Format {
                    path: database.path().to_path_buf(),
                    found,
                    expected: rows::STORE_FORMAT,
                });
            }
            let parameters = rows::parse_parameters(&value(rows::PARAMETERS_KEY, "parameters")?);
            let indexes = own::decode(&value(rows::INDEXES_KEY, "indexes")?);
            let floor = value(rows::FLOOR_KEY, "floor")?;
            Ok(Self {
                parameters: parameters.ok_or_else(|| malformed("parameters"))?,
                indexes: indexes.map_err(|reason| view::metadata_damage("indexes", &reason))?,
                floor: floor
                    .try_into()
                    .map(u64::from_le_bytes)
                    .map_err(|_| malformed("floor"))?,
            })
        })
    }
}
