//! What the store takes on disk: of every segment on every node, and of what a node holds.

use super::growth::extrapolate;
use super::history::History;
use super::report::{Extrapolated, Row, TODAYS_PERIODS};
use super::requests::AtSize;
use massa_db_exports::*;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use rocksdb::IteratorMode;

/// Rows of closed segments that a node has whatever it holds.
pub const EVERY_NODE: [&str; 5] = [
    STORAGE_METADATA_CF,
    STORAGE_MERKLE_ROOTS_PREFIX,
    STORAGE_TABLES_CF,
    STORAGE_HELD_CF,
    STORAGE_OWN_CF,
];
/// Rows of open segments and of the one that was closed last: as many in any history.
const OPEN: [&str; 3] = [STORAGE_STREAM_CF, STORAGE_PENDING_CF, STORAGE_MISSING_CF];
/// Rows of chunks that are held.
const HELD: [&str; 2] = [STORAGE_PAGES_CF, STORAGE_CHUNKS_PREFIX];
/// Rows by which they are found.
const INDEXES: [&str; 3] = [
    STORAGE_BLOCK_INDEX_CF,
    STORAGE_OPERATION_INDEX_CF,
    STORAGE_ADDRESS_INDEX_CF,
];

/// Bytes of keys and values of some families.
pub fn bytes_of_rows(store: &SegmentStore, families: &[&str]) -> u64 {
    let bytes = store.database().read(|db| -> Result<u64, DatabaseError> {
        let mut bytes = 0;
        for family in families {
            let handle = db.cf_handle(family).expect("the store has all its families");
            for row in db.iterator_cf(handle, IteratorMode::Start) {
                let (key, value) = row.expect("rows can be read");
                bytes += (key.len() + value.len()) as u64;
            }
        }
        Ok(bytes)
    });
    bytes.expect("the store is open")
}

/// Bytes that RocksDB wrote since the store was opened: logs, tables, merges.
pub fn bytes_written(store: &SegmentStore) -> u64 {
    let statistics = store.database().statistics();
    statistics.log_bytes + statistics.flush_bytes + statistics.compaction_bytes + statistics.ingested_bytes
}

/// Flushes and merges everything, so that only what counts is left in tables.
fn compact(store: &SegmentStore) {
    store.database().flush().expect("the store can be written");
    let compacted = store.database().read(|db| -> Result<(), DatabaseError> {
        for family in EVERY_NODE.iter().chain(&OPEN).chain(&HELD).chain(&INDEXES) {
            let handle = db.cf_handle(family).expect("the store has all its families");
            db.compact_range_cf(handle, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    });
    compacted.expect("the store is open");
}

/// Bytes of the tables of some families.
fn table_bytes(store: &SegmentStore, families: &[&str]) -> u64 {
    let bytes = store.database().read(|db| -> Result<u64, DatabaseError> {
        let sizes = families.iter().map(|family| {
            let handle = db.cf_handle(family).expect("the store has all its families");
            let size = db.property_int_value_cf(handle, rocksdb::properties::TOTAL_SST_FILES_SIZE);
            size.expect("the property exists").unwrap_or(0)
        });
        Ok(sizes.sum())
    });
    bytes.expect("the store is open")
}

/// Pages are written once when their segment is closed, and again when their small tables are merged.
fn written_over_life(store: &SegmentStore) -> f64 {
    let pages = table_bytes(store, &[STORAGE_PAGES_CF]) as f64;
    let merged = || store.database().statistics().compaction_bytes;
    let before = merged();
    while store.return_space().expect("tables can be merged") > 0 {}
    1.0 + (merged() - before) as f64 / pages
}

/// The rows of the design about disk space.
pub fn rows(sizes: [u64; 3], at_size: &[AtSize], history: &History) -> Vec<Row> {
    let store: &SegmentStore = history.store();
    let every_node = [0, 1, 2].map(|index: usize| at_size[index].every_node as f64);
    // What there is of before the first period, the parameters, is no cost of a period.
    let grown = (every_node[2] - every_node[0]) / (sizes[2] - sizes[0]) as f64;
    let today = extrapolate(&sizes, &every_node, TODAYS_PERIODS);
    let life = written_over_life(store);
    compact(store);
    let counters = store.counters().expect("counters are there");
    // Signatures are no part of a body: as many for each byte of it as in the whole history.
    let signed = history.record_bytes as f64 / counters.body_bytes as f64;
    let plain = counters.bytes_held as f64 * signed;
    let ratio = |bytes: u64| bytes as f64 / plain;
    let written = ratio(table_bytes(store, &HELD));
    let indexes = table_bytes(store, &INDEXES) as f64 / counters.blocks_held.max(1) as f64;
    let tables = table_bytes(store, &EVERY_NODE) as f64 / sizes[2] as f64;
    let open = bytes_of_rows(store, &OPEN) as f64;
    vec![
        Row {
            extrapolated: Some(Extrapolated {
                size: TODAYS_PERIODS,
                value: today / TODAYS_PERIODS as f64,
            }),
            ..Row::at_most(
                "rows on each node that are not chunks it holds, a period",
                60.0,
                "bytes",
                grown,
            )
        },
        Row::only("bytes", "the same in RocksDB's tables, a period", tables),
        Row::only("MB", "block rows of the segment closed last", open / 1e6),
        Row::at_most(
            "disk for held history / its plain bytes, as the writer leaves it",
            0.60,
            "",
            written,
        ),
        Row::at_most("bytes written over the life of pages / their bytes", 1.5, "", life)
            .noting("tables below 1 MiB are merged once: near-empty segments of which one chunk of eight is held"),
        Row::only("bytes", "indexes, a held block", indexes),
        Row::only("", "chunks held", counters.chunks_held as f64),
    ]
}
