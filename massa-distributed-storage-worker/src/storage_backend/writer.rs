//! The store as its one writer uses it: [`crate::archive::ingest`].

use super::own::{OwnChanges, OwnRow, Row};
use super::rows::Keep;
use super::{
    ChunkToStore, CutChunk, JoinedPeriod, OpenRows, PageToStore, ReachingEntry, SegmentStore, StoreError, StreamChunk,
};
use crate::archive::rows::{ChainEnd, OpenSlot, Packing, SegmentRows, WriterRow};
use crate::chunking::segment::FinishedChunk;
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::rows::SlotRow;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, SegmentRoot};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// [`WriterRow`] as it is kept.
#[derive(Default, Serialize, Deserialize)]
struct KeptWriterRow {
    borders: Option<(u64, Vec<Option<Digest>>)>,
    by_table: Vec<u64>,
}

impl Row for KeptWriterRow {
    const VERSION: u8 = 1;
}

impl OwnRow for KeptWriterRow {
    const KIND: &'static str = "writer";
}

impl From<&WriterRow> for KeptWriterRow {
    fn from(row: &WriterRow) -> Self {
        let digests = |ids: &[Option<BlockId>]| ids.iter().map(|id| id.map(|id| *id.get_hash().to_bytes())).collect();
        Self {
            borders: row.borders.as_ref().map(|(segment, ids)| (*segment, digests(ids))),
            by_table: row.by_table.clone(),
        }
    }
}

impl From<KeptWriterRow> for WriterRow {
    fn from(row: KeptWriterRow) -> Self {
        let id = |digest: Option<Digest>| digest.map(|digest| BlockId::new(Hash::from_bytes(&digest)));
        let borders = row.borders;
        Self {
            borders: borders.map(|(segment, digests)| (segment, digests.into_iter().map(id).collect())),
            by_table: row.by_table,
        }
    }
}

/// A chunk as it is written when its segment is closed.
fn to_store(segment: u64, (chunk, keep): (FinishedChunk, Keep), packing: Packing) -> Option<CutChunk> {
    let plain = chunk.pages.concat();
    let stored = match packing {
        Packing::Packed => StoredPage::pack_chunk(&plain),
        Packing::Plain => chunk.pages.iter().map(|page| StoredPage::plain(page)).collect(),
    };
    let pages = stored.into_iter().zip(&chunk.signatures).map(|(stored, tagged)| {
        let mut signatures = Vec::new();
        tagged.iter().for_each(|tagged| tagged.write(&mut signatures));
        PageToStore {
            stored: stored.into_bytes(),
            signatures,
        }
    });
    let chunk = ChunkToStore {
        position: ChunkPosition::new(segment, chunk.index)?,
        keep,
        pages: pages.collect(),
        page_roots: chunk.page_roots,
        reaching: chunk.reaching_in.map(|into| ReachingEntry {
            period: into.period,
            start: into.start,
            entry: into.entry,
        }),
    };
    Some(CutChunk { chunk, plain })
}

impl SegmentRows for SegmentStore {
    type Error = StoreError;

    fn parameters(&self) -> &ArchiveParameters {
        self.parameters()
    }

    fn is_damage(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Damaged(_))
    }

    fn first_without_table(&self, from: u64) -> Result<u64, StoreError> {
        SegmentStore::first_without_table(self, from)
    }

    fn table(&self, segment: u64) -> Result<Option<SegmentTable>, StoreError> {
        Ok(SegmentStore::table(self, segment)?.map(|table| (*table).clone()))
    }

    fn chain_end(&self, segment: u64) -> Result<Option<ChainEnd>, StoreError> {
        if segment == self.parameters().first_segment() {
            return Ok(Some(ChainEnd {
                previous: [0; 32],
                bytes_before: 0,
            }));
        }
        let Some(before) = segment.checked_sub(1) else {
            return Ok(None);
        };
        let end = SegmentStore::chain_end(self, before)?;
        Ok(end.map(|(root, bytes_before)| ChainEnd {
            previous: root.to_bytes(),
            bytes_before,
        }))
    }

    fn open_segments(&self) -> Vec<u64> {
        let open = self.open.read();
        open.segments(self.parameters.segment_periods).into_iter().collect()
    }

    fn open_slots(&self, periods: Range<u64>) -> Vec<OpenSlot> {
        let open = self.open.read();
        let slots = open.slots_of(&periods).map(|(slot, row)| OpenSlot {
            slot,
            block: match row {
                SlotRow::Miss => None,
                SlotRow::Block { id, length, .. } => Some((BlockId::new(Hash::from_bytes(&id)), length)),
            },
        });
        slots.collect()
    }

    fn open_block(&self, slot: Slot) -> Result<Option<BlockRecord>, StoreError> {
        SegmentStore::open_block(self, slot)
    }

    fn joined_period(&self, period: u64) -> Result<Option<JoinedPeriod>, StoreError> {
        SegmentStore::joined_period(self, period)
    }

    fn stream_chunks(&self, segment: u64) -> Result<Vec<StreamChunk>, StoreError> {
        SegmentStore::stream_chunks(self, segment)
    }

    fn links(&self) -> Result<Vec<(u8, BlockId, u64)>, StoreError> {
        SegmentStore::links(self)
    }

    fn missing_slots(&self) -> Result<Vec<(Slot, Option<BlockId>)>, StoreError> {
        SegmentStore::missing_slots(self)
    }

    fn writer_row(&self) -> Result<WriterRow, StoreError> {
        Ok(self.own::<KeptWriterRow>(&[])?.unwrap_or_default().into())
    }

    fn put_writer_row(&self, row: &WriterRow) -> Result<(), StoreError> {
        let mut changes = OwnChanges::default();
        changes.put(&[], &KeptWriterRow::from(row))?;
        self.change_own(changes, Durability::Buffered)
    }

    fn put_open(&self, rows: &OpenRows<'_>, durability: Durability) -> Result<(), StoreError> {
        SegmentStore::put_open(self, rows, durability)
    }

    fn put_closing(
        &self,
        table: &SegmentTable,
        chunks: Vec<(FinishedChunk, Keep)>,
        packing: Packing,
    ) -> Result<(), StoreError> {
        let segment = table.header().segment;
        let chunks: Vec<_> = chunks
            .into_iter()
            .filter_map(|chunk| to_store(segment, chunk, packing))
            .collect();
        self.close_chunks(table, chunks)?;
        Ok(())
    }

    fn close(&self, table: &SegmentTable) -> Result<u32, StoreError> {
        self.finish_closing(table)?;
        Ok(self.held(table.header().segment)?.chunks)
    }

    fn put_tables(&self, tables: &[SegmentTable]) -> Result<(), StoreError> {
        let rooted: Vec<(SegmentTable, SegmentRoot)> =
            tables.iter().map(|table| (table.clone(), table.root())).collect();
        SegmentStore::put_tables(self, &rooted)?;
        let open = SegmentRows::open_segments(self);
        for segment in rooted.iter().map(|(table, _)| table.header().segment) {
            if open.binary_search(&segment).is_ok() {
                self.drop_open_rows(segment)?;
            }
        }
        Ok(())
    }

    fn replace_tables(&self, table: &SegmentTable, chained: &[SegmentTable]) -> Result<(), StoreError> {
        let tables = std::iter::once(table).chain(chained);
        let rooted: Vec<_> = tables.map(|table| (table.clone(), table.root())).collect();
        self.replace_segments(&rooted, &[], OwnChanges::default())?;
        Ok(())
    }

    fn drop_open(&self, segment: u64) -> Result<(), StoreError> {
        let periods = self.periods_of(segment);
        self.change_open(
            Durability::Buffered,
            |view, batch, counters| view.delete_open_rows(batch, counters, segment),
            |open, ()| open.remove_periods(periods.clone()),
        )
    }

    fn sync(&self) -> Result<(), StoreError> {
        SegmentStore::sync(self)
    }
}
