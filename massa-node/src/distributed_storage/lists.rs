//! Lists of the archive: segments, chunks and periods, in pages. Each page costs the rows that it shows.

use super::errors::store_error;
use massa_api_exports::distributed_storage::{
    ChunkAt, ChunkState, ListChunks, ListPeriods, ListSegments, PeriodState, SegmentState, StorageApiError,
    StorageChunk, StoragePeriod, StorageSegment,
};
use massa_distributed_storage_exports::segment_table::{SegmentTable, TablePeriod};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::repair::assigned::{Assigned, SharedAssigned};
use massa_distributed_storage_worker::storage_backend::{HeldRow, JoinedPeriod, SegmentInfo, SegmentStore};
use massa_models::node::NodeId;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Segments that are read at a time.
const SEGMENTS_AT_ONCE: usize = 64;

/// What lists are made from.
pub(super) struct Lists<'a> {
    pub store: &'a SegmentStore,
    pub assigned: &'a SharedAssigned,
    /// This node.
    pub own: NodeId,
    /// Accepted segment roots.
    pub accepted: Arc<BTreeMap<u64, SegmentRoot>>,
}

impl Lists<'_> {
    pub fn segments(&self, request: &ListSegments) -> Result<Vec<StorageSegment>, StorageApiError> {
        let infos = self.store.segments(request.first, request.limit as usize);
        let infos = infos.map_err(store_error)?;
        let assigned = self.assigned.read();
        Ok(infos.iter().map(|info| self.describe(info, &assigned)).collect())
    }

    fn describe(&self, info: &SegmentInfo, assigned: &Assigned) -> StorageSegment {
        let accepted = self.accepted.get(&info.segment);
        StorageSegment {
            segment: info.segment,
            first_period: info.first_period,
            periods: info.periods,
            lost_periods: info.lost_periods,
            bytes: info.body_bytes,
            chunks: info.chunks,
            chunks_held: info.chunks_held,
            chunks_assigned: assigned.placement().mine_of(info.segment).count() as u32,
            state: match &info.root {
                None => SegmentState::Open,
                Some(root) if self.is_anchored(info.segment, root) => SegmentState::Anchored,
                Some(_) => SegmentState::Closed,
            },
            root: info.root,
            accepted_root: accepted.copied().filter(|accepted| Some(*accepted) != info.root),
        }
    }

    /// Whether a segment with this root is anchored: the registry accepted it, or a later segment that leads to it, because the
    /// registry begins later.
    pub fn is_anchored(&self, segment: u64, root: &SegmentRoot) -> bool {
        match self.accepted.get(&segment) {
            Some(accepted) => accepted == root,
            None => self.accepted.keys().next().is_some_and(|first| segment < *first),
        }
    }

    /// Calls `action` with each segment from `first` to `last`, until it returns false.
    fn each_segment(
        &self,
        first: u64,
        last: u64,
        mut action: impl FnMut(&SegmentInfo) -> Result<bool, StorageApiError>,
    ) -> Result<(), StorageApiError> {
        let mut next = first;
        loop {
            let infos = self.store.segments(next, SEGMENTS_AT_ONCE).map_err(store_error)?;
            let Some(newest) = infos.last().map(|info| info.segment) else {
                return Ok(());
            };
            for info in &infos {
                if info.segment > last || !action(info)? {
                    return Ok(());
                }
            }
            next = newest.saturating_add(1);
        }
    }

    pub fn chunks(&self, request: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError> {
        let of_period = request.period.map(|period| self.store.parameters().segment_of(period));
        let first = [
            request.first_segment,
            of_period,
            request.after.map(|after| after.segment),
        ];
        let last = [request.last_segment, of_period];
        let first = first.into_iter().flatten().max().unwrap_or(0);
        let last = last.into_iter().flatten().min().unwrap_or(u64::MAX);
        let limit = request.limit as usize;
        let mut found = Vec::new();
        self.each_segment(first, last, |info| {
            let chunks = self.chunks_of(info, request, limit - found.len())?;
            found.extend(chunks);
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    fn chunks_of(
        &self,
        info: &SegmentInfo,
        request: &ListChunks,
        limit: usize,
    ) -> Result<Vec<StorageChunk>, StorageApiError> {
        let after = request.after.filter(|after| after.segment == info.segment);
        let begin = after.map_or(0, |after| after.chunk.saturating_add(1));
        if let Some((table, held)) = self.store.table_and_held(info.segment).map_err(store_error)? {
            let anchored = info.root.is_some_and(|root| self.is_anchored(info.segment, &root));
            let closed = ClosedChunks {
                lists: self,
                table: &table,
                held: &held,
                state: if anchored {
                    ChunkState::Anchored
                } else {
                    ChunkState::Closed
                },
            };
            return Ok(closed.list(request.period, begin, limit));
        }
        let open = self.open_body(info.segment)?;
        open.chunks(self, request.period, begin, limit)
    }

    pub fn periods(&self, request: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError> {
        let first = self.store.parameters().segment_of(request.first);
        let limit = request.limit as usize;
        let mut found: Vec<StoragePeriod> = Vec::new();
        self.each_segment(first, u64::MAX, |info| {
            let periods = self.periods_of(info)?;
            let wanted = periods.into_iter().filter(|period| period.period >= request.first);
            found.extend(wanted.take(limit - found.len()));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    fn periods_of(&self, info: &SegmentInfo) -> Result<Vec<StoragePeriod>, StorageApiError> {
        let segment = info.segment;
        let Some(table) = self.store.table(segment).map_err(store_error)? else {
            return Ok(self.open_body(segment)?.periods());
        };
        let header = table.header();
        let anchored = info.root.is_some_and(|root| self.is_anchored(segment, &root));
        let mut periods: Vec<StoragePeriod> = (header.first_period..header.end_period())
            .filter_map(|period| closed_period(&table, anchored, period))
            .collect();
        if self.store.open_segments().iter().any(|open| open.segment == segment) {
            for described in &mut periods {
                let joined = self.store.joined_period(described.period).map_err(store_error)?;
                if let Some(joined) = joined.filter(|joined| joined.root == described.root) {
                    count_blocks(described, &joined);
                }
            }
        }
        Ok(periods)
    }

    /// A period of an open segment, if it joined the segment's stream.
    pub fn open_period(&self, period: u64) -> Result<Option<StoragePeriod>, StorageApiError> {
        let body = self.open_body(self.store.parameters().segment_of(period))?;
        Ok(body.periods().into_iter().find(|described| described.period == period))
    }

    /// The stream of an open segment, as far as it is there. Reads a row for each period.
    fn open_body(&self, segment: u64) -> Result<OpenBody, StorageApiError> {
        let mut periods = Vec::new();
        let mut length = 0;
        for period in self.store.periods_of(segment) {
            let Some(joined) = self.store.joined_period(period).map_err(store_error)? else {
                break;
            };
            let end = length + u64::from(joined.length);
            periods.push((joined, length..end));
            length = end;
        }
        Ok(OpenBody {
            segment,
            chunk_size: self.store.parameters().chunk_size,
            periods,
            length,
        })
    }

    /// The holders of a chunk, best first, and whether this node is one of them.
    fn holders(&self, position: ChunkPosition, id: &ChunkId, assigned: &Assigned) -> (Vec<NodeId>, bool) {
        let placement = assigned.placement();
        let nodes = placement.nodes().nodes.nodes();
        let holders = placement.holders(position, id).into_iter();
        let holders: Vec<NodeId> = holders.filter_map(|index| nodes.get(index)?.node_id).collect();
        let is_mine = placement
            .is_mine(position)
            .unwrap_or_else(|| holders.contains(&self.own));
        (holders, is_mine)
    }
}

/// A period as the table of its segment has it; `anchored`: the segment is.
pub(super) fn closed_period(table: &SegmentTable, anchored: bool, period: u64) -> Option<StoragePeriod> {
    let header = table.header();
    let listed = table.period(period)?;
    let chunks = table.chunks_of(&table.period_range(period)?);
    Some(StoragePeriod {
        period,
        segment: header.segment,
        state: match anchored {
            _ if is_lost(&listed, header.threads) => PeriodState::Lost,
            true => PeriodState::Anchored,
            false => PeriodState::Closed,
        },
        root: listed.root,
        bytes: listed.length,
        first_chunk: chunks.start,
        last_chunk: chunks.end.saturating_sub(1),
        blocks: None,
        misses: None,
        operations: None,
    })
}

/// Whether a period of a table is lost. Its entry is all there is of it: a byte of state, a byte for each thread, and an id of 33
/// bytes for each block, of which there is one at least. A whole period with a block is longer than the longest of these,
/// because a block after the genesis block names a parent in each thread, and genesis blocks are there for each thread.
fn is_lost(listed: &TablePeriod, threads: u8) -> bool {
    let (length, threads) = (listed.length, u32::from(threads));
    length > 1 + threads && length <= 1 + threads * 34
}

fn count_blocks(described: &mut StoragePeriod, joined: &JoinedPeriod) {
    let blocks = joined.entry.block_count() as u64;
    described.blocks = Some(blocks);
    described.misses = Some(joined.entry.slots().len() as u64 - blocks);
    described.operations = Some(u64::from(joined.operations));
}

/// Chunks of a closed segment.
struct ClosedChunks<'a> {
    lists: &'a Lists<'a>,
    table: &'a SegmentTable,
    held: &'a HeldRow,
    state: ChunkState,
}

impl ClosedChunks<'_> {
    fn list(&self, period: Option<u64>, begin: u32, limit: usize) -> Vec<StorageChunk> {
        let all = 0..self.table.header().chunk_count();
        let range = match period {
            None => all,
            Some(period) => match self.table.period_range(period) {
                Some(range) => self.table.chunks_of(&range),
                None => return Vec::new(),
            },
        };
        let assigned = self.lists.assigned.read();
        let wanted = range.skip_while(|index| *index < begin);
        let chunks = wanted.filter_map(|index| self.chunk(index, &assigned));
        chunks.take(limit).collect()
    }

    fn chunk(&self, index: u32, assigned: &Assigned) -> Option<StorageChunk> {
        let segment = self.table.header().segment;
        let (chunk, periods) = (self.table.chunk(index)?, self.table.periods_of_chunk(index)?);
        let position = ChunkPosition::new(segment, index)?;
        let (holders, assigned_here) = self.lists.holders(position, &chunk.id, assigned);
        Some(StorageChunk {
            segment,
            chunk: index,
            chunk_id: Some(chunk.id),
            length: chunk.length,
            first_period: periods.start,
            last_period: periods.end.saturating_sub(1),
            state: self.state,
            held: self.held.contains(index),
            assigned_here,
            holders,
        })
    }
}

/// The stream of an open segment.
struct OpenBody {
    segment: u64,
    chunk_size: u32,
    periods: Vec<(JoinedPeriod, Range<u64>)>,
    length: u64,
}

impl OpenBody {
    fn periods(&self) -> Vec<StoragePeriod> {
        let chunk_size = u64::from(self.chunk_size);
        let describe = |(joined, range): &(JoinedPeriod, Range<u64>)| {
            let mut described = StoragePeriod {
                period: joined.period,
                segment: self.segment,
                state: if joined.entry.is_lost() {
                    PeriodState::Lost
                } else {
                    PeriodState::Open
                },
                root: joined.root,
                bytes: joined.length,
                first_chunk: (range.start / chunk_size) as u32,
                last_chunk: (range.end.saturating_sub(1) / chunk_size) as u32,
                blocks: None,
                misses: None,
                operations: None,
            };
            count_blocks(&mut described, joined);
            described
        };
        self.periods.iter().map(describe).collect()
    }

    fn chunks(
        &self,
        lists: &Lists<'_>,
        period: Option<u64>,
        begin: u32,
        limit: usize,
    ) -> Result<Vec<StorageChunk>, StorageApiError> {
        let chunk_size = u64::from(self.chunk_size);
        let range = match period {
            None => 0..self.length,
            Some(period) => {
                let of_period = self.periods.iter().find(|(joined, _)| joined.period == period);
                of_period.map_or(0..0, |(_, range)| range.clone())
            }
        };
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let full = lists.store.stream_chunks(self.segment).map_err(store_error)?;
        let ids: BTreeMap<u32, ChunkId> = full.iter().map(|chunk| (chunk.position.index.0, chunk.id)).collect();
        let first = ((range.start / chunk_size) as u32).max(begin);
        let last = ((range.end - 1) / chunk_size) as u32;
        let chunks = (first..=last).take(limit).map(|index| {
            let at = ChunkAt {
                segment: self.segment,
                chunk: index,
            };
            self.chunk(at, ids.get(&index).copied())
        });
        Ok(chunks.collect())
    }

    fn chunk(&self, at: ChunkAt, id: Option<ChunkId>) -> StorageChunk {
        let chunk_size = u64::from(self.chunk_size);
        let start = u64::from(at.chunk) * chunk_size;
        let end = (start + chunk_size).min(self.length);
        let mut touching = self
            .periods
            .iter()
            .filter(|(_, range)| range.start < end && range.end > start);
        let first = touching.next().map_or(0, |(joined, _)| joined.period);
        let last = touching.next_back().map_or(first, |(joined, _)| joined.period);
        StorageChunk {
            segment: at.segment,
            chunk: at.chunk,
            chunk_id: id,
            length: (end - start) as u32,
            first_period: first,
            last_period: last,
            state: ChunkState::Filling,
            held: false,
            assigned_here: false,
            holders: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
