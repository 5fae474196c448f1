//! How RocksDB is set up: families by what they are used for, within a fixed budget of memory and descriptors.
//!
//! The figures behind the choices: `docs/decisions/0034-how-pages-are-stored.md`.

use crate::storage_backend::database::files::LOGS;
use crate::storage_backend::database::tables::{RocksIngest, TableIngest};
use crate::storage_backend::database::writer::{never_slow_down, BatchWriter, RocksWriter};
use rocksdb::compaction_filter::Decision;
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel,
    Options, WriteBufferManager,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blocks of tables, their indexes and filters, and what collects in memory before it becomes a table: all together.
pub const MEMORY_BYTES: usize = 96 << 20;
/// The share of it for what was not yet written as tables.
const BUFFERS_BYTES: usize = 48 << 20;
/// Memory that collects pending rows before they become a table.
const PENDING_BUFFER_BYTES: u64 = 32 << 20;
/// The same for the small families.
const ROWS_BUFFER_BYTES: u64 = 4 << 20;
/// All write-ahead logs together; then the oldest rows are written as tables.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Open tables: bounds file descriptors.
const OPEN_FILES_MAX: i32 = 256;
/// Tables of pages: a few segments of a near-empty chain, a thirtieth of a segment of a full one.
pub const PAGES_TABLE_BYTES: u64 = 64 << 20;

/// What the rows of a family are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Small rows, read in order or one by one.
    Rows,
    /// Many small rows, looked up one by one by a random key, mostly in vain.
    Index,
    /// Large values that are written once, by ingested tables.
    Pages,
    /// Rows that are written, read a little, and deleted.
    Pending,
}

/// Tells of a row (key, value) whether it is still wanted; the others vanish when their tables are written again. Called by
/// threads of RocksDB: it must not use the database.
pub type RowFilter = Arc<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// A column family.
#[derive(Clone)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What its rows are like.
    pub kind: FamilyKind,
    /// Which rows are still wanted; `None`: all.
    pub filter: Option<RowFilter>,
}

impl Family {
    /// A family that keeps all rows.
    pub fn new(name: &'static str, kind: FamilyKind) -> Self {
        Self {
            name,
            kind,
            filter: None,
        }
    }
}

/// A row that a new database begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRow {
    /// Its family.
    pub family: &'static str,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What opening does with damaged files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Opening fails and names them; nothing is changed.
    Refuse,
    /// They are moved into a directory beside the others, and the rest is opened.
    SetAside,
}

/// How a database is opened.
pub struct DatabaseOptions {
    /// The directory.
    pub path: PathBuf,
    /// Ceiling of the directory's size on disk; `None` leaves it to the disk.
    pub capacity_bytes: Option<u64>,
    /// Every family of the database.
    pub families: Vec<Family>,
    /// Whether a database is made where there is none.
    pub create: bool,
    /// With these rows: it is made with them or not at all.
    pub first_rows: Vec<FirstRow>,
    /// Takes no lock and changes nothing.
    pub read_only: bool,
    /// What is done with damaged files. A read-only database is opened as far as it can be read, whatever this says.
    pub on_damage: OnDamage,
    /// Where writes go; [`RocksWriter`] outside tests.
    pub writer: Box<dyn BatchWriter>,
    /// Where tables go; [`RocksIngest`] outside tests.
    pub ingest: Box<dyn TableIngest>,
}

impl DatabaseOptions {
    /// An existing database with `families`, no ceiling, opened for reading and writing, refusing when it is damaged.
    pub fn new(path: impl Into<PathBuf>, families: Vec<Family>) -> Self {
        Self {
            path: path.into(),
            capacity_bytes: None,
            families,
            create: false,
            first_rows: Vec::new(),
            read_only: false,
            on_damage: OnDamage::Refuse,
            writer: Box::new(RocksWriter),
            ingest: Box::new(RocksIngest),
        }
    }
}

/// What RocksDB is opened with, again after each fault: one cache and one budget for all handles.
pub(crate) struct Setup {
    families: Vec<Family>,
    pending_buffer: u64,
    cache: Cache,
    database: Options,
}

/// What was written since the database was opened, by RocksDB's own account, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Into write-ahead logs.
    pub log_bytes: u64,
    /// From memory into tables.
    pub flush_bytes: u64,
    /// From tables into tables.
    pub compaction_bytes: u64,
    /// In tables that were taken in.
    pub ingested_bytes: u64,
}

impl Setup {
    pub(crate) fn new(families: &[Family], capacity_bytes: Option<u64>, store: &Path) -> Self {
        let cache = Cache::new_lru_cache(MEMORY_BYTES);
        // A small allocation must not be eaten up by the buffers' files.
        let pending_buffer = capacity_bytes.map_or(PENDING_BUFFER_BYTES, |capacity| {
            (capacity / 32).clamp(1 << 20, PENDING_BUFFER_BYTES)
        });
        Self {
            families: families.to_vec(),
            pending_buffer,
            database: database_options(&store.join(LOGS), pending_buffer, &cache),
            cache,
        }
    }

    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }

    /// Options of the database as a whole.
    pub(crate) fn database(&self) -> Options {
        self.database.clone()
    }

    /// What all handles so far have written; what was taken in is counted by the caller.
    pub(crate) fn statistics(&self, ingested_bytes: u64) -> Statistics {
        Statistics {
            log_bytes: self.database.get_ticker_count(Ticker::WalFileBytes),
            flush_bytes: self.database.get_ticker_count(Ticker::FlushWriteBytes),
            compaction_bytes: self.database.get_ticker_count(Ticker::CompactWriteBytes),
            ingested_bytes,
        }
    }

    pub(crate) fn descriptors(&self, compacting: bool) -> Vec<ColumnFamilyDescriptor> {
        let described = self.families.iter().map(|family| {
            let mut options = self.family(family);
            // Tables of pages are written once; see `Database::tidy` for when they are written again.
            options.set_disable_auto_compactions(!compacting || family.kind == FamilyKind::Pages);
            ColumnFamilyDescriptor::new(family.name, options)
        });
        described.collect()
    }

    /// Options of one family; tables of pages are written with them too.
    pub(crate) fn family(&self, family: &Family) -> Options {
        let mut options = Options::default();
        never_slow_down(&mut options);
        options.set_level_compaction_dynamic_level_bytes(true);
        // Nothing is rewritten for its age.
        options.set_periodic_compaction_seconds(0);
        options.set_ttl(0);
        options.set_block_based_table_factory(&self.tables(family.kind));
        options.set_compression_type(compression(family.kind));
        let buffer = match family.kind {
            FamilyKind::Pending => self.pending_buffer,
            _ => ROWS_BUFFER_BYTES.min(self.pending_buffer),
        };
        options.set_write_buffer_size(buffer as usize);
        options.set_target_file_size_base(match family.kind {
            FamilyKind::Rows => 16 << 20,
            _ => PAGES_TABLE_BYTES,
        });
        if let Some(wanted) = family.filter.clone() {
            options.set_compaction_filter("rows that are still wanted", move |_: u32, key: &[u8], value: &[u8]| {
                if wanted(key, value) {
                    Decision::Keep
                } else {
                    Decision::Remove
                }
            });
        }
        options
    }

    fn tables(&self, kind: FamilyKind) -> BlockBasedOptions {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&self.cache);
        // Indexes and filters count against the budget instead of growing with the number of tables.
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        tables.set_format_version(5);
        if kind == FamilyKind::Index {
            // In pieces: a look-up reads 4 KiB of filter, not the megabytes of a whole table's.
            tables.set_bloom_filter(10.0, false);
            tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            tables.set_partition_filters(true);
            tables.set_metadata_block_size(4 << 10);
        }
        tables
    }
}

/// Options of the database as a whole.
fn database_options(logs: &Path, pending_buffer: u64, cache: &Cache) -> Options {
    let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(BUFFERS_BYTES, false, cache.clone());
    let mut options = Options::default();
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(LOG_BYTES_MAX.min(2 * pending_buffer));
    options.set_write_buffer_manager(&buffers);
    // All families reach the disk together: whatever a log loses, what is left is the store of an earlier moment.
    options.set_atomic_flush(true);
    // `open` has looked at each log before; here only the torn end of a killed process can be left.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_wal_dir(logs);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_manifest_preallocation_size(64 << 10);
    options.set_max_background_jobs(2);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options.set_bytes_per_sync(1 << 20);
    // Reading each table's properties at start costs a seek a table.
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// Pages are packed before they come here.
fn compression(kind: FamilyKind) -> DBCompressionType {
    match kind {
        FamilyKind::Pages => DBCompressionType::None,
        FamilyKind::Index => DBCompressionType::None,
        FamilyKind::Rows | FamilyKind::Pending => DBCompressionType::Lz4,
    }
}
