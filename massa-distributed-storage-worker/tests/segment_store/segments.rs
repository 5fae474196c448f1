//! Segments of generated blocks, made here from the specification and not by the code under test, and a model of what a store
//! should say of them.
#![allow(dead_code)]

use crate::cut::cut;
use massa_db_exports::*;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::period::{EncodedPeriod, TaggedSignature};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::types::{Digest, PAGE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::{
    ChunkToStore, JoinedPeriod, Keep, OpenRows, PageToStore, ReachingEntry, SegmentStore, SegmentStoreOptions,
};
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};
use std::collections::BTreeMap;
use std::path::Path;

pub const THREADS: u8 = 4;
pub const SEGMENT_PERIODS: u64 = 4;
pub const CHUNK_BYTES: u32 = 64 << 10;

/// A segment and all that it is made of.
pub struct TestSegment {
    pub number: u64,
    pub periods: Vec<EncodedPeriod>,
    pub slots: BTreeMap<Slot, Option<BlockRecord>>,
    pub body: Vec<u8>,
    pub table: SegmentTable,
    pub chunks: Vec<ChunkToStore>,
    operations: Vec<u32>,
}

impl TestSegment {
    pub fn root(&self) -> SegmentRoot {
        self.table.root()
    }

    pub fn joined(&self) -> Vec<JoinedPeriod> {
        let rows = self.periods.iter().zip(self.table.periods()).zip(&self.operations);
        rows.map(|((period, row), operations)| JoinedPeriod {
            period: period.period,
            entry: period.entry.clone(),
            length: row.length,
            root: row.root,
            operations: *operations,
        })
        .collect()
    }

    pub fn blocks(&self) -> Vec<(Slot, &BlockRecord)> {
        let blocks = self
            .slots
            .iter()
            .filter_map(|(slot, block)| Some((*slot, block.as_ref()?)));
        blocks.collect()
    }

    pub fn misses(&self) -> Vec<Slot> {
        let misses = self.slots.iter().filter(|(_, block)| block.is_none());
        misses.map(|(slot, _)| *slot).collect()
    }

    pub fn open_rows(&self) -> OpenRows<'_> {
        OpenRows {
            blocks: self.blocks(),
            misses: self.misses(),
            joined: self.joined(),
            ..OpenRows::default()
        }
    }

    /// Chunks that the bytes of a block touch.
    pub fn chunks_of(&self, slot: Slot) -> Vec<u32> {
        let period = &self.periods[(slot.period - self.table.header().first_period) as usize];
        let start = self.table.period_range(slot.period).unwrap().start;
        let range = period
            .entry
            .block_range(slot.thread, period.bytes.len() as u32)
            .unwrap();
        let range = start + u64::from(range.start)..start + u64::from(range.end);
        self.table.chunks_of(&range).collect()
    }

    pub fn position(&self, index: u32) -> ChunkPosition {
        ChunkPosition::new(self.number, index).unwrap()
    }

    /// Writes the segment's rows, as when its blocks arrive.
    pub fn open_in(&self, store: &SegmentStore) {
        store.put_open(&self.open_rows(), Durability::Buffered).unwrap();
    }

    pub fn chunks_where<'a>(&'a self, held: &'a dyn Fn(u32) -> bool) -> impl Iterator<Item = &'a ChunkToStore> + 'a {
        self.chunks.iter().filter(move |chunk| held(chunk.position.index.0))
    }

    /// Closes the segment with these chunks held.
    pub fn close_in(&self, store: &SegmentStore, held: impl Fn(u32) -> bool) {
        for chunk in self.chunks_where(&held) {
            assert_eq!(store.close_chunks(&self.table, cut(&self.table, [chunk])).unwrap(), 1);
        }
        assert_eq!(store.finish_closing(&self.table).unwrap(), self.root());
    }
}

/// Makes segments one after the other.
pub struct SegmentMaker {
    pub parameters: ArchiveParameters,
    pub generator: Generator,
    next: u64,
    previous: Digest,
    bytes_before: u64,
}

pub fn parameters() -> ArchiveParameters {
    ArchiveParameters {
        chunk_size: CHUNK_BYTES,
        segment_periods: SEGMENT_PERIODS,
        ..ArchiveParameters::new(GeneratorConfig::default().chain_id, THREADS)
    }
}

pub fn small_blocks(seed: u64) -> GeneratorConfig {
    GeneratorConfig {
        seed,
        thread_count: THREADS,
        first_period: 0,
        miss_rate: 0.2,
        operations: 0..=3,
        endorsements_per_block: 2,
        ..GeneratorConfig::default()
    }
}

/// Blocks of about 40 kB, so that most cross a page and many a chunk.
pub fn large_blocks(seed: u64) -> GeneratorConfig {
    GeneratorConfig {
        operations: 10..=30,
        payload_share: 0.8,
        payload_bytes: 500..=4_000,
        ..small_blocks(seed)
    }
}

impl SegmentMaker {
    pub fn new(config: GeneratorConfig) -> Self {
        Self {
            parameters: parameters(),
            generator: Generator::new(config),
            next: 0,
            previous: [0; 32],
            bytes_before: 0,
        }
    }

    /// Makes segments of given blocks.
    pub fn of_blocks(parameters: ArchiveParameters) -> Self {
        Self {
            next: parameters.first_segment(),
            parameters,
            ..Self::new(small_blocks(0))
        }
    }

    pub fn next(&mut self) -> TestSegment {
        let first = self.parameters.segment_start(self.next);
        let end = first + self.parameters.segment_length(self.next);
        let periods = (first..end)
            .map(|period| (period, self.generator.next_period()))
            .collect();
        self.segment_of(periods, &[])
    }

    /// A segment with these blocks; those of `lost` periods are known by id alone.
    pub fn segment_of(&mut self, blocks: Vec<(u64, Vec<Option<BlockRecord>>)>, lost: &[u64]) -> TestSegment {
        let number = self.next;
        let (mut periods, mut slots, mut operations) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (period, blocks) in blocks {
            let records: Vec<_> = blocks.iter().map(Option::as_ref).collect();
            let whole = EncodedPeriod::whole(&self.parameters, period, &records).unwrap();
            let ids: Vec<_> = whole.entry.ids().collect();
            let is_lost = lost.contains(&period);
            periods.push(if is_lost {
                EncodedPeriod::lost(period, PeriodEntry::lost(&ids).unwrap())
            } else {
                whole
            });
            let count = blocks
                .iter()
                .flatten()
                .map(|block| block.operation_count() as u32)
                .sum();
            operations.push(if is_lost { 0 } else { count });
            if !is_lost {
                let blocks = blocks.into_iter().zip(0..);
                slots.extend(blocks.map(|(block, thread)| (Slot::new(period, thread), block)));
            }
        }
        let segment = self.cut(number, periods, slots, operations);
        self.previous = segment.root().to_bytes();
        self.bytes_before += segment.body.len() as u64;
        self.next += 1;
        segment
    }

    fn cut(
        &self,
        number: u64,
        periods: Vec<EncodedPeriod>,
        slots: BTreeMap<Slot, Option<BlockRecord>>,
        operations: Vec<u32>,
    ) -> TestSegment {
        let chunk_bytes = self.parameters.chunk_size as usize;
        let body: Vec<u8> = periods.iter().flat_map(|period| period.bytes.clone()).collect();
        let mut signatures: Vec<(u64, TaggedSignature)> = Vec::new();
        let mut start = 0;
        let mut starts = Vec::new();
        for period in &periods {
            starts.push(start);
            signatures.extend(period.signatures.iter().map(|object| {
                let end = start + u64::from(object.end);
                (end, TaggedSignature::of_object(end, object.signature))
            }));
            start += period.bytes.len() as u64;
        }
        let header = SegmentHeader {
            chain_id: self.parameters.chain_id,
            segment: number,
            first_period: self.parameters.segment_start(number),
            periods: periods.len() as u32,
            threads: self.parameters.thread_count,
            chunk_size: self.parameters.chunk_size,
            body_length: body.len() as u64,
            bytes_before: self.bytes_before,
            previous: self.previous,
        };
        let rows = periods.iter().map(|period| TablePeriod {
            length: period.bytes.len() as u32,
            root: period.entry.root(self.parameters.chain_id, period.period),
        });
        let chunks: Vec<ChunkToStore> = body
            .chunks(chunk_bytes)
            .zip(0..)
            .map(|(bytes, index)| {
                let chunk_start = u64::from(index) * chunk_bytes as u64;
                let pages = bytes.chunks(PAGE_BYTES).zip(0u64..).map(|(page, number)| {
                    let from = chunk_start + number * PAGE_BYTES as u64;
                    let mut tagged = Vec::new();
                    let ends = from + 1..from + page.len() as u64 + 1;
                    for (_, signature) in signatures.iter().filter(|(end, _)| ends.contains(end)) {
                        signature.write(&mut tagged);
                    }
                    PageToStore {
                        stored: [&[0], page].concat(),
                        signatures: tagged,
                    }
                });
                let reaching = starts.iter().rposition(|start| *start <= chunk_start).unwrap();
                let reaching = (starts[reaching] < chunk_start).then(|| ReachingEntry {
                    period: periods[reaching].period,
                    start: starts[reaching],
                    entry: periods[reaching].entry.clone(),
                });
                ChunkToStore {
                    position: ChunkPosition::new(number, index).unwrap(),
                    keep: Keep::Holder,
                    page_roots: bytes
                        .chunks(PAGE_BYTES)
                        .map(|page| root_of_hashes(leaf_hashes(page)))
                        .collect(),
                    reaching,
                    pages: pages.collect(),
                }
            })
            .collect();
        let ids = body
            .chunks(chunk_bytes)
            .map(|bytes| ChunkId::from_bytes(root_of_hashes(leaf_hashes(bytes))));
        let table = SegmentTable::new(header, rows.collect(), ids.collect()).unwrap();
        TestSegment {
            number,
            periods,
            slots,
            body,
            table,
            chunks,
            operations,
        }
    }
}

pub fn open(path: &Path) -> SegmentStore {
    SegmentStore::open_or_create(SegmentStoreOptions::new(path), &parameters()).unwrap()
}

/// Every row of a family.
pub fn rows_of(store: &SegmentStore, family: &'static str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = store.database().read(|db| -> Result<_, DatabaseError> {
        let handle = db.cf_handle(family).unwrap();
        let rows = db.iterator_cf(handle, rocksdb::IteratorMode::Start);
        Ok(rows
            .map(|row| row.unwrap())
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect())
    });
    rows.unwrap()
}

/// Every row of the archive.
pub fn all_rows(store: &SegmentStore) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let families = FAMILIES.into_iter();
    families
        .flat_map(|family| {
            rows_of(store, family)
                .into_iter()
                .map(move |(key, value)| ((family, key), value))
        })
        .collect()
}

pub const FAMILIES: [&str; 16] = [
    STORAGE_METADATA_CF,
    STORAGE_MERKLE_ROOTS_PREFIX,
    STORAGE_TABLES_CF,
    STORAGE_HELD_CF,
    STORAGE_CHUNKS_PREFIX,
    STORAGE_PAGES_CF,
    STORAGE_PAGES_PASSING_CF,
    STORAGE_PENDING_CF,
    STORAGE_STREAM_CF,
    STORAGE_MISSING_CF,
    STORAGE_BLOCK_INDEX_CF,
    STORAGE_OPERATION_INDEX_CF,
    STORAGE_ADDRESS_INDEX_CF,
    STORAGE_OWN_CF,
    STORAGE_NODE_REGISTRY_PREFIX,
    STORAGE_CHALLENGE_HISTORY_PREFIX,
];

/// Changes or deletes a row behind the store's back.
pub fn tamper(store: &SegmentStore, family: &'static str, key: &[u8], change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let changed = store.database().read(|db| -> Result<(), DatabaseError> {
        let handle = db.cf_handle(family).unwrap();
        let row = db.get_cf(handle, key).unwrap().expect("there is such a row");
        match change(row) {
            Some(row) => db.put_cf(handle, key, row).unwrap(),
            None => db.delete_cf(handle, key).unwrap(),
        }
        Ok(())
    });
    changed.unwrap();
}

/// Turns a bit in the middle of a row.
pub fn flip(mut row: Vec<u8>) -> Option<Vec<u8>> {
    let middle = row.len() / 2;
    row[middle] ^= 1;
    Some(row)
}
