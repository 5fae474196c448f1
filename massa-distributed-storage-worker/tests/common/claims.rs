//! Claims whose rows are in memory.

use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::types::{ChunkPosition, PAGE_BYTES};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot};
use massa_distributed_storage_worker::challenge::segment_claim::{
    Change, ChunkSet, ClaimBatch, ClaimBook, ClaimStore, RowRead, SegmentRow, SentClaim,
};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

/// What a store keeps for claims.
#[derive(Clone, Debug, Default)]
pub struct MemoryClaims {
    pub rows: BTreeMap<u64, SegmentRow>,
    pub saved: BTreeMap<(u64, u64), SegmentRow>,
    pub sent: Vec<SentClaim>,
    pub current: Option<Claim>,
    pub tables: BTreeMap<u64, Arc<SegmentTable>>,
    /// Segments whose current row has a wrong checksum.
    pub damaged: BTreeSet<u64>,
    /// Rows read one by one.
    pub reads: Cell<u64>,
}

#[allow(dead_code)]
impl MemoryClaims {
    pub fn with_tables(tables: impl IntoIterator<Item = SegmentTable>) -> Self {
        let tables = tables.into_iter();
        Self {
            tables: tables.map(|table| (table.header().segment, Arc::new(table))).collect(),
            ..Self::default()
        }
    }

    /// Writes a batch, as the store does: all of it at once.
    pub fn write(&mut self, batch: &ClaimBatch) {
        for (segment, row) in &batch.rows {
            self.damaged.remove(segment);
            match row {
                Some(row) => self.rows.insert(*segment, row.clone()),
                None => self.rows.remove(segment),
            };
        }
        for (version, segment, row) in &batch.saved {
            let before = self.saved.insert((*version, *segment), row.clone());
            assert_eq!(before, None, "a saved row was written over");
        }
        self.sent.extend(batch.sent);
        self.sent.retain(|sent| !batch.forgotten.contains(&sent.version));
        self.saved.retain(|(version, _), _| !batch.forgotten.contains(version));
        self.current = batch.current.or(self.current);
    }

    /// Writes a change and takes it in.
    pub fn commit(&mut self, book: &mut ClaimBook, change: Change) {
        self.write(&change.batch);
        book.apply(change).unwrap();
    }

    /// Claims other chunks of some segments; gives what it costs.
    pub fn claim(&mut self, book: &mut ClaimBook, wanted: &BTreeMap<u64, ChunkSet>) -> SumHasher {
        let mut hasher = SumHasher::default();
        let change = book.prepare(self, wanted, &mut hasher).unwrap();
        self.commit(book, change);
        hasher
    }

    /// Seals the claim for a round.
    pub fn seal(&mut self, book: &mut ClaimBook, round: u64) -> Claim {
        if let Some(change) = book.seal(round).unwrap() {
            self.commit(book, change);
        }
        book.current()
    }

    pub fn reopened(&self) -> ClaimBook {
        ClaimBook::open(self, &mut SumHasher::default()).unwrap().book
    }
}

impl ClaimStore for MemoryClaims {
    type Error = Infallible;

    fn row(&self, segment: u64) -> Result<RowRead, Infallible> {
        self.reads.set(self.reads.get() + 1);
        if self.damaged.contains(&segment) {
            return Ok(RowRead::Damaged);
        }
        Ok(self.rows.get(&segment).cloned().map_or(RowRead::Missing, RowRead::Row))
    }

    fn saved_row(&self, version: u64, segment: u64) -> Result<RowRead, Infallible> {
        self.reads.set(self.reads.get() + 1);
        let row = self.saved.get(&(version, segment)).cloned();
        Ok(row.map_or(RowRead::Missing, RowRead::Row))
    }

    fn each_row(&self, visit: &mut dyn FnMut(u64, RowRead)) -> Result<(), Infallible> {
        for (segment, row) in &self.rows {
            let damaged = self.damaged.contains(segment);
            visit(
                *segment,
                if damaged {
                    RowRead::Damaged
                } else {
                    RowRead::Row(row.clone())
                },
            );
        }
        Ok(())
    }

    fn each_saved(&self, version: u64, visit: &mut dyn FnMut(u64, RowRead)) -> Result<(), Infallible> {
        for ((_, segment), row) in self.saved.range((version, 0)..(version + 1, 0)) {
            visit(*segment, RowRead::Row(row.clone()));
        }
        Ok(())
    }

    fn sent(&self) -> Result<Vec<SentClaim>, Infallible> {
        // In any order.
        Ok(self.sent.iter().rev().copied().collect())
    }

    fn current(&self) -> Result<Option<Claim>, Infallible> {
        Ok(self.current)
    }

    fn table(&self, segment: u64) -> Result<Option<Arc<SegmentTable>>, Infallible> {
        Ok(self.tables.get(&segment).cloned())
    }
}

/// A table of `chunks` chunks of one page, the last of them with `last` bytes.
pub fn table(segment: u64, chunks: u32, last: u32) -> SegmentTable {
    const BODY_MAX: u64 = u32::MAX as u64;
    let body_length = u64::from(chunks - 1) * PAGE_BYTES as u64 + u64::from(last);
    let lengths = (0..body_length.div_ceil(BODY_MAX)).map(|period| (body_length - period * BODY_MAX).min(BODY_MAX));
    let periods: Vec<TablePeriod> = lengths
        .map(|length| TablePeriod {
            length: length as u32,
            root: PeriodRoot::from_bytes([0; 32]),
        })
        .collect();
    let header = SegmentHeader {
        chain_id: 77,
        segment,
        first_period: segment * 100,
        periods: periods.len() as u32,
        threads: 32,
        chunk_size: PAGE_BYTES as u32,
        body_length,
        bytes_before: 0,
        previous: [0; 32],
    };
    let ids = (0..chunks).map(|index| id_of(segment, index));
    SegmentTable::new(header, periods, ids.collect()).unwrap()
}

/// The id of a chunk of [`table`].
pub fn id_of(segment: u64, index: u32) -> ChunkId {
    let position = ChunkPosition::new(segment, index).unwrap();
    ChunkId::from_bytes(*blake3::hash(&position.number().to_le_bytes()).as_bytes())
}

/// Sets of chunks, by segment.
#[allow(dead_code)]
pub fn wanted(chunks: impl IntoIterator<Item = (u64, u32)>) -> BTreeMap<u64, ChunkSet> {
    let mut wanted: BTreeMap<u64, ChunkSet> = BTreeMap::new();
    for (segment, index) in chunks {
        wanted.entry(segment).or_default().insert(index);
    }
    wanted
}
