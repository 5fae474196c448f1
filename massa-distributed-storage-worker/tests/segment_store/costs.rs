//! What must not grow with the archive, counted in rows; and what every node keeps, counted in bytes.

use crate::segments::*;
use massa_db_exports::*;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::storage_backend::{OwnChanges, SegmentStore, SegmentStoreOptions};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use tempfile::tempdir;

/// Rows that each of these requests reads.
fn rows_read(store: &SegmentStore, segment: &TestSegment) -> Vec<(&'static str, u64)> {
    let (slot, record) = segment.blocks()[1];
    let id = record.view(THREADS).unwrap().block_id();
    let position = segment.position(0);
    let requests: [(&str, &dyn Fn()); 11] = [
        ("counters", &|| {
            store.counters().unwrap();
        }),
        ("list ten", &|| {
            store.segments(3, 10).unwrap();
        }),
        ("held", &|| {
            store.held(segment.number).unwrap();
        }),
        ("next held", &|| {
            store.next_held(position).unwrap();
        }),
        ("last segment", &|| {
            store.last_segment().unwrap();
        }),
        ("first without table", &|| {
            store.first_without_table(0).unwrap();
        }),
        ("table", &|| {
            store.table(segment.number).unwrap();
        }),
        ("block", &|| {
            store.slot(slot).unwrap();
        }),
        ("known id", &|| {
            store.find_block(&id).unwrap();
        }),
        ("unknown id", &|| {
            store.find_block(&BlockId::new(Hash::from_bytes(&[7; 32]))).unwrap();
        }),
        ("page", &|| {
            store.page(position, 0).unwrap();
        }),
    ];
    requests
        .into_iter()
        .map(|(name, request)| {
            // Once before, so that the table is in memory or not at every size alike.
            request();
            let before = store.rows_read();
            request();
            (name, store.rows_read() - before)
        })
        .collect()
}

#[test]
fn no_request_reads_more_rows_in_a_longer_archive() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let mut maker = SegmentMaker::new(small_blocks(31));
    let (mut measured, mut opened) = (Vec::new(), Vec::new());
    let mut second = None;
    for number in 0..160 {
        let segment = maker.next();
        segment.open_in(&store);
        segment.close_in(&store, |_| true);
        if number == 1 {
            second = Some(segment);
        }
        if [20, 60, 159].contains(&number) {
            measured.push(rows_read(&store, second.as_ref().unwrap()));
            // Nor does opening: the rows of the segment closed last, whose blocks differ by a few.
            store.close();
            store = open(directory.path());
            opened.push(store.rows_read());
        }
    }
    assert!(opened[2] <= opened[0] + 4, "{opened:?}");
    assert_eq!(measured[0], measured[1]);
    assert_eq!(measured[1], measured[2]);
    let most = measured[0].iter().map(|(_, rows)| *rows).max().unwrap();
    assert!(most <= 21, "{:?}", measured[0]);
}

/// A table with the figures of today's chain: 85 kB a period in chunks of 1 MiB, 100 periods a segment.
fn quiet_table(
    parameters: &massa_distributed_storage_exports::ArchiveParameters,
    segment: u64,
    previous: SegmentRoot,
) -> SegmentTable {
    let periods: Vec<TablePeriod> = (0..parameters.segment_periods)
        .map(|period| TablePeriod {
            length: 85_000 + (segment * 31 + period * 17) as u32 % 1_000,
            root: PeriodRoot::from_bytes(*blake3::hash(&(segment * 1_000 + period).to_le_bytes()).as_bytes()),
        })
        .collect();
    let body_length: u64 = periods.iter().map(|period| u64::from(period.length)).sum();
    let header = SegmentHeader {
        chain_id: parameters.chain_id,
        segment,
        first_period: segment * parameters.segment_periods,
        periods: periods.len() as u32,
        threads: parameters.thread_count,
        chunk_size: parameters.chunk_size,
        body_length,
        bytes_before: segment * 8_500_000,
        previous: previous.to_bytes(),
    };
    let ids = (0..header.chunk_count()).map(|chunk| {
        ChunkId::from_bytes(*blake3::hash(&[segment.to_le_bytes(), u64::from(chunk).to_le_bytes()].concat()).as_bytes())
    });
    SegmentTable::new(header, periods, ids.collect()).unwrap()
}

/// Bytes of all rows that are neither held chunks nor their index.
fn bytes_on_every_node(store: &SegmentStore) -> u64 {
    let held = [
        STORAGE_CHUNKS_PREFIX,
        STORAGE_PAGES_CF,
        STORAGE_BLOCK_INDEX_CF,
        STORAGE_OPERATION_INDEX_CF,
        STORAGE_ADDRESS_INDEX_CF,
    ];
    let rows = all_rows(store);
    let kept = rows.iter().filter(|((family, _), _)| !held.contains(family));
    kept.map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
}

#[test]
fn what_every_node_keeps_is_below_60_bytes_a_period() {
    let parameters = massa_distributed_storage_exports::ArchiveParameters::new(1, 32);
    let directory = tempdir().unwrap();
    let options = SegmentStoreOptions::new(directory.path());
    let store = SegmentStore::open_or_create(options, &parameters).unwrap();
    let mut previous = SegmentRoot::from_bytes([0; 32]);
    let segments = 60;
    for segment in 0..segments {
        let table = quiet_table(&parameters, segment, previous);
        previous = table.root();
        store.put_tables(&[(table, previous)]).unwrap();
    }
    let periods = segments * parameters.segment_periods;
    let bytes = bytes_on_every_node(&store) as f64 / periods as f64;
    assert!(bytes < 60.0, "{bytes} bytes a period");
    println!("tables of {periods} periods: {bytes:.1} bytes a period in rows");

    store.database().flush().unwrap();
    let on_disk: u64 = store
        .database()
        .read(
            |db| -> Result<u64, massa_distributed_storage_worker::storage_backend::database::DatabaseError> {
                let sizes = FAMILIES.iter().map(|family| {
                    let handle = db.cf_handle(family).unwrap();
                    db.property_int_value_cf(handle, rocksdb::properties::TOTAL_SST_FILES_SIZE)
                        .unwrap()
                        .unwrap_or(0)
                });
                Ok(sizes.sum())
            },
        )
        .unwrap();
    let on_disk = on_disk as f64 / periods as f64;
    println!("the same in tables of RocksDB: {on_disk:.1} bytes a period");
    assert!(on_disk < 60.0, "{on_disk} bytes a period");
}

#[test]
fn a_node_that_derives_segments_keeps_no_more_of_them_than_their_tables() {
    let mut maker = SegmentMaker::new(massa_tests::generator::GeneratorConfig {
        operations: 0..=0,
        endorsements_per_block: 0,
        ..small_blocks(32)
    });
    maker.parameters.segment_periods = 100;
    let directory = tempdir().unwrap();
    let options = SegmentStoreOptions::new(directory.path());
    let store = SegmentStore::open_or_create(options, &maker.parameters).unwrap();
    let mut sizes = Vec::new();
    for number in 0..20 {
        let segment = maker.next();
        segment.open_in(&store);
        segment.close_in(&store, |chunk| chunk % 3 == number % 3);
        store.drop_open_rows(segment.number).unwrap();
        if number > 0 {
            store
                .drop_chunk(segment.position(number % 3), OwnChanges::default())
                .unwrap();
        }
        sizes.push(bytes_on_every_node(&store));
    }
    let growth = (sizes[19] - sizes[0]) as f64 / 1_900.0;
    println!("{growth:.1} bytes a period");
    assert!(growth < 60.0, "{growth} bytes a period");
    let open = [STORAGE_PENDING_CF, STORAGE_STREAM_CF, STORAGE_MISSING_CF];
    assert!(open.iter().all(|family| rows_of(&store, family).is_empty()));
}
