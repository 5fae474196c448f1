//! Placement on disk: a header that lists node sets, and a row for each segment, so that a restart goes on where it was.
//!
//! ```text
//! header   version u8 | score bits u8 | sets u8
//!          each: factor u32 | own u32 (index of this node; 2³² − 1: none) | nodes u32
//!                each: placement key (32) | weight u64 | kept segments u64 (2⁶⁴ − 1: all) | filled u8
//! segment  version u8 | set name (16) | reach u64 | body bytes u64 | own chunks u32
//!          for each chunk, as many as its set has for it: rounded score (48 bits) | index (16 bits), u64
//!          own chunks, each: chunk u16 | rank u16 | rounded score (48 bits)
//! ```
//!
//! Integers little-endian. A set's name is computed from what is listed ([`SetName`]). The caller adds checksums, and
//! writes what [`SegmentPlacement::take_rows`] returns in one batch: the header lists the sets of all rows that are on disk
//! then. A segment of an older set is brought to the newest by the difference, as if there had been no restart.

use super::change::Own;
use super::placed_segment::{Basis, Mine, PlacedSegment};
use super::placed_set::{NodeRow, PlacedSet, SetName};
use super::ranked::Ranked;
use super::table::{PutSegmentError, SegmentPlacement, MAX_SETS};
use super::MAX_PLACEMENT_NODES;
use std::sync::Arc;

/// Of header and segment.
pub const CHECKPOINT_VERSION: u8 = 1;
/// Sets in a header: those in use, and those of rows that are on disk and about to be written again.
const MAX_HEADER_SETS: usize = 3 * MAX_SETS;
const NODE_BYTES: usize = 32 + 8 + 8 + 1;
const OWN_BYTES: usize = 10;
const NO_INDEX: u32 = u32::MAX;

/// A saved placement that cannot be used: damaged, or written by another version. Nothing is lost but work: the caller puts
/// the segment instead ([`SegmentPlacement::put_segment`]).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Another version wrote it.
    #[error("placement checkpoint of version {0}, not {CHECKPOINT_VERSION}")]
    Version(u8),
    /// Scores were rounded otherwise.
    #[error("placement checkpoint keeps {found} bits of a score, not {expected}")]
    ScoreBits {
        /// In the header.
        found: u8,
        /// What is in force.
        expected: u32,
    },
    /// Its length is not what its content says.
    #[error("placement checkpoint: {0} ends early or late")]
    Length(&'static str),
    /// A number is out of its range.
    #[error("placement checkpoint: {field} is {value}")]
    Range {
        /// Which.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// A segment of a set that the header does not list.
    #[error("placement checkpoint of segment {segment} is of node set {set:?}, which the header does not list")]
    UnknownSet {
        /// Its number.
        segment: u64,
        /// The set.
        set: SetName,
    },
    /// A segment of another length.
    #[error("placement checkpoint of segment {segment} is of {found} bytes, not {expected}")]
    OtherSegment {
        /// Its number.
        segment: u64,
        /// Bytes in the checkpoint.
        found: u64,
        /// Bytes of the segment.
        expected: u64,
    },
    /// The segment itself is none.
    #[error(transparent)]
    Segment(#[from] PutSegmentError),
}

/// What is to be written in one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementRows {
    /// The header, if it is another than the one on disk.
    pub header: Option<Vec<u8>>,
    /// Segments with their rows; without one: nothing is placed, its row is deleted.
    pub segments: Vec<(u64, Option<Vec<u8>>)>,
}

/// The node sets of a saved placement.
#[derive(Clone, Debug, Default)]
pub struct SavedSets {
    sets: Vec<Arc<PlacedSet>>,
}

impl SegmentPlacement {
    /// Rows that changed since they were taken, at most so many. If writing them fails: [`SegmentPlacement::not_written`].
    ///
    /// Costs a pass over the segments, unless nothing changed.
    pub fn take_rows(&mut self, max_segments: usize) -> PlacementRows {
        if self.unsaved.is_empty() {
            return PlacementRows::default();
        }
        let taken: Vec<u64> = self.unsaved.iter().take(max_segments).copied().collect();
        for segment in &taken {
            self.unsaved.remove(segment);
        }
        PlacementRows {
            header: self.next_header(),
            segments: taken
                .into_iter()
                .map(|segment| (segment, self.encode_segment(segment)))
                .collect(),
        }
    }

    /// These rows are not on disk: they will be taken again.
    pub fn not_written(&mut self, rows: &PlacementRows) {
        let known = rows.segments.iter().map(|(segment, _)| *segment);
        self.unsaved
            .extend(known.filter(|segment| self.segments.contains_key(segment)));
        if rows.header.is_some() {
            self.saved_sets.clear();
        }
    }

    fn next_header(&mut self) -> Option<Vec<u8>> {
        let mut sets = self.sets_in_use();
        if !self.unsaved.is_empty() {
            // Rows of older sets are still on disk.
            for set in &self.saved_sets {
                if sets.len() < MAX_HEADER_SETS && !sets.iter().any(|known| known.name == set.name) {
                    sets.push(Arc::clone(set));
                }
            }
        }
        let names = |sets: &[Arc<PlacedSet>]| {
            let mut names: Vec<SetName> = sets.iter().map(|set| set.name).collect();
            names.sort_unstable();
            names
        };
        if names(&sets) == names(&self.saved_sets) {
            return None;
        }
        self.saved_sets = sets;
        Some(encode_header(self.rules.score_bits as u8, &self.saved_sets))
    }

    fn encode_segment(&self, segment: u64) -> Option<Vec<u8>> {
        let placed = self.segments.get(&segment)?;
        let basis = placed.basis.as_ref()?;
        let mut bytes = Vec::with_capacity(37 + placed.rows.len() * 8 + placed.mine.len() * OWN_BYTES);
        bytes.push(CHECKPOINT_VERSION);
        bytes.extend(basis.set.name.0);
        bytes.extend(basis.reach.to_le_bytes());
        bytes.extend(placed.body_bytes.to_le_bytes());
        bytes.extend((placed.mine.len() as u32).to_le_bytes());
        placed
            .rows
            .iter()
            .for_each(|ranked| bytes.extend(ranked.0.to_le_bytes()));
        for mine in &placed.mine {
            let own = mine.own();
            bytes.extend(mine.chunk.to_le_bytes());
            bytes.extend(own.rank.to_le_bytes());
            bytes.extend(&own.rounded.to_le_bytes()[..6]);
        }
        Some(bytes)
    }

    /// Reads a header. What it lists is known to be on disk from then on.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read_header(&mut self, bytes: &[u8]) -> Result<SavedSets, CheckpointError> {
        let mut reader = Reader { bytes, what: "header" };
        reader.version()?;
        let score_bits = reader.u8()?;
        if u32::from(score_bits) != self.rules.score_bits {
            return Err(CheckpointError::ScoreBits {
                found: score_bits,
                expected: self.rules.score_bits,
            });
        }
        let count = usize::from(reader.u8()?);
        if count > MAX_HEADER_SETS {
            return Err(out_of_range("number of sets", count));
        }
        let mut sets = Vec::with_capacity(count);
        for _ in 0..count {
            let set = reader.set()?;
            let is_known = set.name == self.target.name;
            sets.push(if is_known {
                Arc::clone(&self.target)
            } else {
                Arc::new(set)
            });
        }
        reader.end()?;
        self.saved_sets = sets.clone();
        Ok(SavedSets { sets })
    }

    /// Takes a segment as it was saved: as [`SegmentPlacement::put_segment`], placed already.
    ///
    /// # Errors
    /// [`CheckpointError`]: nothing changed, and the segment is to be put.
    pub fn restore_segment(
        &mut self,
        sets: &SavedSets,
        segment: u64,
        body_bytes: u64,
        bytes: &[u8],
    ) -> Result<(), CheckpointError> {
        let mut placed = self.unplaced(segment, body_bytes)?;
        let mut reader = Reader { bytes, what: "segment" };
        reader.version()?;
        let name = SetName(reader.array()?);
        let known = sets.sets.iter().find(|set| set.name == name);
        let set = known.ok_or(CheckpointError::UnknownSet { segment, set: name })?;
        let reach = reader.u64()?;
        let found = reader.u64()?;
        if found != body_bytes {
            return Err(CheckpointError::OtherSegment {
                segment,
                found,
                expected: body_bytes,
            });
        }
        let chunks = placed.chunk_count(self.rules.chunk_bytes);
        reader.placed(
            &mut placed,
            chunks,
            Basis {
                set: Arc::clone(set),
                reach,
            },
        )?;
        reader.end()?;
        self.install_saved(segment, placed);
        Ok(())
    }
}

fn encode_header(score_bits: u8, sets: &[Arc<PlacedSet>]) -> Vec<u8> {
    let mut bytes = vec![CHECKPOINT_VERSION, score_bits, sets.len() as u8];
    for set in sets {
        bytes.extend((set.factor as u32).to_le_bytes());
        bytes.extend(set.own.map_or(NO_INDEX, u32::from).to_le_bytes());
        bytes.extend((set.rows.len() as u32).to_le_bytes());
        for row in &set.rows {
            bytes.extend(row.key);
            bytes.extend(row.weight.to_le_bytes());
            bytes.extend(row.kept_segments.to_le_bytes());
            bytes.push(u8::from(row.filled));
        }
    }
    bytes
}

fn out_of_range(field: &'static str, value: usize) -> CheckpointError {
    CheckpointError::Range {
        field,
        value: value as u64,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CheckpointError> {
        if self.bytes.len() < count {
            return Err(CheckpointError::Length(self.what));
        }
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, CheckpointError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, CheckpointError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        self.array().map(u64::from_le_bytes)
    }

    fn version(&mut self) -> Result<(), CheckpointError> {
        match self.u8()? {
            CHECKPOINT_VERSION => Ok(()),
            version => Err(CheckpointError::Version(version)),
        }
    }

    fn end(&self) -> Result<(), CheckpointError> {
        let is_over = self.bytes.is_empty();
        is_over.then_some(()).ok_or(CheckpointError::Length(self.what))
    }

    fn set(&mut self) -> Result<PlacedSet, CheckpointError> {
        let factor = self.u32()? as usize;
        if !(1..=MAX_PLACEMENT_NODES).contains(&factor) {
            return Err(out_of_range("replication factor", factor));
        }
        let own = self.u32()?;
        let count = self.u32()? as usize;
        if count > MAX_PLACEMENT_NODES {
            return Err(out_of_range("number of nodes", count));
        }
        if own != NO_INDEX && own as usize >= count {
            return Err(out_of_range("index of this node", own as usize));
        }
        let mut rows: Vec<NodeRow> = Vec::with_capacity(count.min(self.bytes.len() / NODE_BYTES));
        for _ in 0..count {
            let row = NodeRow {
                key: self.array()?,
                weight: self.u64()?,
                kept_segments: self.u64()?,
                filled: self.u8()? != 0,
            };
            if rows.last().is_some_and(|last| last.key >= row.key) {
                return Err(out_of_range("order of a node", rows.len()));
            }
            rows.push(row);
        }
        Ok(PlacedSet::of_rows(rows, u16::try_from(own).ok(), factor))
    }

    /// Rows and own chunks of a segment of so many chunks. Their number is known, so nothing is allocated for what is not there.
    fn placed(&mut self, placed: &mut PlacedSegment, chunks: usize, basis: Basis) -> Result<(), CheckpointError> {
        let nodes = basis.set.rows.len();
        let own_chunks = self.u32()? as usize;
        let rows = chunks * basis.set.stride(basis.reach);
        if own_chunks > chunks || self.bytes.len() != rows * 8 + own_chunks * OWN_BYTES {
            return Err(CheckpointError::Length(self.what));
        }
        let mut list = Vec::with_capacity(rows);
        for _ in 0..rows {
            let ranked = Ranked(self.u64()?);
            if usize::from(ranked.index()) >= nodes {
                return Err(out_of_range("index of a holder", usize::from(ranked.index())));
            }
            list.push(ranked);
        }
        let mut mine: Vec<Mine> = Vec::with_capacity(own_chunks);
        for _ in 0..own_chunks {
            let chunk = self.u16()?;
            let rank = self.u16()?;
            let low: [u8; 6] = self.array()?;
            let mut rounded = [0; 8];
            rounded[..6].copy_from_slice(&low);
            let is_next = mine.last().map_or(true, |last| last.chunk < chunk);
            if !is_next || usize::from(chunk) >= chunks {
                return Err(out_of_range("own chunk", usize::from(chunk)));
            }
            let rounded = u64::from_le_bytes(rounded);
            mine.push(Mine::new(chunk, Own { rank, rounded }));
        }
        placed.rows = list.into_boxed_slice();
        placed.mine = mine.into_boxed_slice();
        placed.basis = Some(basis);
        Ok(())
    }
}
