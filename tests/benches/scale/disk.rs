//! What the store takes on disk: of every segment on every node, and of what a node holds.

use super::growth::extrapolate;
use super::history::History;
use super::network::processor_seconds;
use super::report::{Extrapolated, Row, TODAYS_PERIODS};
use super::requests::AtSize;
use massa_db_exports::*;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::{
    ChunkToStore, EntryRead, OwnChanges, PageToStore, ReachingEntry, SegmentStore,
};
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

/// A held chunk with its pages packed, as repair would store it.
fn packed(store: &SegmentStore, position: ChunkPosition) -> ChunkToStore {
    let table = store
        .table(position.segment)
        .expect("tables can be read")
        .expect("its segment is closed");
    let index = position.index.0;
    let pages = table.chunk(index).expect("it is in its table").page_count();
    let read = |page| {
        store
            .page(position, page)
            .expect("pages can be read")
            .expect("the chunk is held")
    };
    let read: Vec<_> = (0..pages).map(read).collect();
    let plain: Vec<u8> = read.iter().flat_map(|page| page.plain.iter().copied()).collect();
    let stored = StoredPage::pack_chunk(&plain);
    let reaching = table.period_reaching_into(index).map(|period| {
        let EntryRead::Found(entry) = store.entry(period).expect("entries can be read") else {
            panic!("the entry that reaches into a held chunk is kept");
        };
        let start = table.period_range(period).expect("it is in its table").start;
        ReachingEntry { period, start, entry }
    });
    ChunkToStore {
        keep: massa_distributed_storage_worker::storage_backend::Keep::Holder,
        position,
        page_roots: read[0].page_roots.clone(),
        reaching,
        pages: stored
            .into_iter()
            .zip(read)
            .map(|(stored, page)| PageToStore {
                stored: stored.into_bytes(),
                signatures: page.signatures,
            })
            .collect(),
    }
}

/// Lets every held chunk go and stores it again, packed.
fn pack_all(store: &SegmentStore, first_segment: u64) {
    let mut from = ChunkPosition::new(first_segment, 0);
    while let Some(position) = from.and_then(|from| store.next_held(from).expect("rows can be read")) {
        let chunk = packed(store, position);
        let dropped = store.drop_chunk(position, OwnChanges::default());
        assert!(dropped.expect("a chunk can be dropped"), "it was held");
        let put = store.put_chunk(&chunk, OwnChanges::default());
        assert!(put.expect("a chunk can be stored"), "it was not held");
        from = ChunkPosition::from_number(position.number() + 1);
    }
}

/// The rows of the design about disk space.
pub fn rows(sizes: [u64; 3], at_size: &[AtSize], history: &History) -> Vec<Row> {
    let store: &SegmentStore = history.store();
    let every_node = [0, 1, 2].map(|index: usize| at_size[index].every_node as f64);
    // What there is of before the first period, the parameters, is no cost of a period.
    let grown = (every_node[2] - every_node[0]) / (sizes[2] - sizes[0]) as f64;
    let today = extrapolate(&sizes, &every_node, TODAYS_PERIODS);
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
    let seconds = processor_seconds(|| pack_all(store, history.parameters.first_segment()));
    compact(store);
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
        )
        .noting("pages are written plain; nothing packs them later yet"),
        Row::at_most(
            "the same with its pages packed",
            0.60,
            "",
            ratio(table_bytes(store, &HELD)),
        )
        .noting("packed by this program, with the packer of the pages"),
        Row::only(
            "MB",
            "held chunks read, packed, let go and stored again, a second of processor time",
            counters.bytes_held as f64 / 1e6 / seconds,
        ),
        Row::only("bytes", "indexes, a held block", indexes),
        Row::only("", "chunks held", counters.chunks_held as f64),
    ]
}
