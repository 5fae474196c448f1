//! One segment of the incremental placement, and the work of bringing it from one node set to another.

use super::change::{Change, Known, Own, Placing, Reaching, Unknown};
use super::hashing::{hash_group, PlacingCosts, GROUP_CHUNKS};
use super::ids::{ChunkIds, LazyIds, Unreadable};
use super::placed_set::PlacedSet;
use super::ranked::Ranked;
use massa_distributed_storage_exports::ChunkId;
use std::ops::Range;
use std::sync::Arc;

/// A chunk that this node holds, in 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mine {
    rounded_low: u32,
    rounded_high: u16,
    pub(super) rank: u16,
    pub(super) chunk: u16,
}

impl Mine {
    pub(super) fn new(chunk: u16, own: Own) -> Self {
        Self {
            rounded_low: own.rounded as u32,
            rounded_high: (own.rounded >> 32) as u16,
            rank: own.rank,
            chunk,
        }
    }

    pub(super) fn own(&self) -> Own {
        Own {
            rank: self.rank,
            rounded: u64::from(self.rounded_high) << 32 | u64::from(self.rounded_low),
        }
    }
}

/// What a segment is placed for.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    pub(super) set: Arc<PlacedSet>,
    pub(super) reach: u64,
}

impl Basis {
    pub(super) fn reaching(&self) -> Reaching<'_> {
        Reaching {
            set: &self.set,
            reach: self.reach,
        }
    }
}

impl PartialEq for Basis {
    fn eq(&self, other: &Self) -> bool {
        self.set.name == other.set.name && self.reach == other.reach
    }
}

/// A segment, placed or not.
#[derive(Clone, Debug, Default)]
pub(super) struct PlacedSegment {
    pub(super) body_bytes: u64,
    pub(super) basis: Option<Basis>,
    /// For each chunk the best of those that count, best first: as many for each.
    pub(super) rows: Box<[Ranked]>,
    /// In the order of chunks.
    pub(super) mine: Box<[Mine]>,
}

impl PlacedSegment {
    pub(super) fn new(body_bytes: u64) -> Self {
        Self {
            body_bytes,
            ..Self::default()
        }
    }

    pub(super) fn chunk_count(&self, chunk_bytes: u32) -> usize {
        self.body_bytes.div_ceil(u64::from(chunk_bytes)) as usize
    }

    /// Bytes of a chunk: all are full but the last.
    pub(super) fn chunk_length(&self, chunk: u16, chunk_bytes: u32) -> u64 {
        let start = u64::from(chunk) * u64::from(chunk_bytes);
        self.body_bytes.saturating_sub(start).min(u64::from(chunk_bytes))
    }

    pub(super) fn mine_bytes(&self, chunk_bytes: u32) -> u64 {
        let lengths = self.mine.iter().map(|mine| self.chunk_length(mine.chunk, chunk_bytes));
        lengths.sum()
    }

    pub(super) fn row(&self, chunk: usize) -> &[Ranked] {
        let stride = self.basis.as_ref().map_or(0, |basis| basis.set.stride(basis.reach));
        self.rows.get(chunk * stride..(chunk + 1) * stride).unwrap_or_default()
    }

    pub(super) fn own(&self, chunk: u16) -> Option<Own> {
        let at = self.mine.binary_search_by_key(&chunk, |mine| mine.chunk).ok()?;
        Some(self.mine[at].own())
    }

    /// Whether the same chunks are this node's.
    pub(super) fn has_same_mine(&self, other: &Self) -> bool {
        let chunks = self.mine.iter().map(|mine| mine.chunk);
        chunks.eq(other.mine.iter().map(|mine| mine.chunk))
    }
}

/// A segment on its way to another basis. What it was is in force until it is whole.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) segment: u64,
    basis: Basis,
    change: Arc<Change>,
    ids: LazyIds,
    chunks: usize,
    next: usize,
    rows: Vec<Ranked>,
    mine: Vec<Mine>,
    /// Of the chunk under way.
    row: Vec<Ranked>,
}

impl Work {
    pub(super) fn new(segment: u64, chunks: usize, basis: Basis, change: Arc<Change>) -> Self {
        let stride = basis.set.stride(basis.reach);
        Self {
            segment,
            basis,
            change,
            ids: LazyIds::new(segment, chunks),
            chunks,
            next: 0,
            rows: Vec::with_capacity(chunks * stride),
            mine: Vec::new(),
            row: Vec::new(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next == self.chunks
    }

    /// Places the next group of chunks.
    pub(super) fn place_group(
        &mut self,
        known: &PlacedSegment,
        source: &dyn ChunkIds,
        costs: &mut PlacingCosts,
    ) -> Result<(), Unreadable> {
        let group = self.next..self.chunks.min(self.next + GROUP_CHUNKS);
        let hashes = self.hash_entered(group.clone(), source, costs)?;
        for chunk in group.clone() {
            let of_chunk = hashes.iter().map(|hashes| hashes[chunk - group.start]);
            let own = self.place(chunk, known, of_chunk, source, costs)?;
            self.rows.extend_from_slice(&self.row);
            self.mine.extend(own.map(|own| Mine::new(chunk as u16, own)));
        }
        costs.chunks += group.len() as u64;
        self.next = group.end;
        Ok(())
    }

    /// Of each node that came or changed, its hashes with a group of chunks.
    fn hash_entered(
        &mut self,
        group: Range<usize>,
        source: &dyn ChunkIds,
        costs: &mut PlacingCosts,
    ) -> Result<Vec<[u64; GROUP_CHUNKS]>, Unreadable> {
        let entered = &self.change.entered;
        if self.change.in_full || entered.is_empty() {
            return Ok(Vec::new());
        }
        let chunks = &self.ids.get(source, costs)?[group];
        costs.hashes += (entered.len() * chunks.len()) as u64;
        Ok(entered.iter().map(|node| hash_group(&node.key, chunks)).collect())
    }

    /// Writes the row of a chunk; returns this node, if it holds it.
    fn place(
        &mut self,
        chunk: usize,
        known: &PlacedSegment,
        hashes: impl Iterator<Item = u64>,
        source: &dyn ChunkIds,
        costs: &mut PlacingCosts,
    ) -> Result<Option<Own>, Unreadable> {
        let (change, ids) = (&self.change, &mut self.ids);
        // Reading the ids is counted by itself: `costs` is lent to the hashes.
        let mut reading = PlacingCosts::default();
        let mut id = || -> Result<ChunkId, Unreadable> { Ok(ids.get(source, &mut reading)?[chunk]) };
        let by_difference = || {
            if change.in_full {
                return Err(Unknown::RankInFull);
            }
            let known = Known {
                row: known.row(chunk),
                own: known.own(chunk as u16),
            };
            change.apply(known, hashes, &mut self.row)?;
            let mut placing = Placing { id: &mut id, costs };
            change.own_after(known, &self.row, &mut placing)
        };
        let own = match by_difference() {
            Ok(own) => Ok(own),
            Err(Unknown::Unreadable) => Err(Unreadable),
            Err(Unknown::RankInFull) => id().map(|id| change.rank_in_full(&id, &mut self.row, costs)),
        };
        costs.segments_read += reading.segments_read;
        own
    }

    /// The segment as it is placed now.
    pub(super) fn finish(self, body_bytes: u64) -> PlacedSegment {
        PlacedSegment {
            body_bytes,
            basis: Some(self.basis),
            rows: self.rows.into_boxed_slice(),
            mine: self.mine.into_boxed_slice(),
        }
    }
}
