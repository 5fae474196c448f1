//! Which pages are wanted, for the filters that let the others vanish when their tables are written again; and who still
//! reads what was held before.
//!
//! A page is wanted from before it is written. It ceases to be when its chunk was let go of *and* every read that
//! began before is done: filters do not know what a read still sees.

use super::database::RowFilter;
use super::rows::{self, bit, HeldRow, Keep};
use super::{SegmentStore, StoreError};
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Chunks of a segment whose pages are wanted: a bit each, for each family.
#[derive(Debug, Default)]
struct WantedChunks {
    holder: Vec<u8>,
    backup: Vec<u8>,
}

impl WantedChunks {
    fn of(keep: Keep, held: &HeldRow) -> Vec<u8> {
        let passing = held.passing.iter().copied().chain(std::iter::repeat(0));
        match keep {
            Keep::Holder => held.bits.iter().zip(passing).map(|(bits, not)| bits & !not).collect(),
            Keep::Backup => held.passing.clone(),
        }
    }

    fn bits(&self, keep: Keep) -> &[u8] {
        match keep {
            Keep::Holder => &self.holder,
            Keep::Backup => &self.backup,
        }
    }

    fn add(&mut self, held: &HeldRow) {
        for (bits, keep) in [(&mut self.holder, Keep::Holder), (&mut self.backup, Keep::Backup)] {
            let added = Self::of(keep, held);
            bits.resize(bits.len().max(added.len()), 0);
            bits.iter_mut().zip(added).for_each(|(bits, added)| *bits |= added);
        }
    }
}

/// Wanted pages of all segments, in memory: about two bits a chunk of the segments of which any is held.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// `None` until the held rows were read: everything is wanted.
    segments: RwLock<Option<BTreeMap<u64, WantedChunks>>>,
    /// Segments whose held row says less than this, perhaps.
    behind: Mutex<BTreeSet<u64>>,
}

impl Wanted {
    /// The filter of a family of pages.
    pub(crate) fn filter(self: &Arc<Self>, keep: Keep) -> RowFilter {
        let wanted = Arc::clone(self);
        Arc::new(move |key, _| {
            let (Some((position, _)), Some(segments)) = (rows::parse_page_key(key), &*wanted.segments.read()) else {
                return true;
            };
            let chunks = segments.get(&position.segment);
            chunks.is_some_and(|chunks| bit(chunks.bits(keep), position.index.0))
        })
    }

    /// What `held` says is wanted, beside what was.
    pub(crate) fn want(&self, segment: u64, held: &HeldRow) {
        if let Some(segments) = &mut *self.segments.write() {
            segments.entry(segment).or_default().add(held);
        }
        self.behind.lock().insert(segment);
    }

    fn set(&self, segment: u64, held: &HeldRow) {
        if let Some(segments) = &mut *self.segments.write() {
            segments.remove(&segment);
            if held.chunks > 0 {
                segments.entry(segment).or_default().add(held);
            }
        }
    }

    fn remove_below(&self, floor: u64) {
        if let Some(segments) = &mut *self.segments.write() {
            *segments = segments.split_off(&floor);
        }
    }
}

/// Reads that are under way, by two turns: whoever waits lets new ones begin in the other turn.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    turns: Mutex<Turns>,
    ended: Condvar,
    waiting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Turns {
    now: usize,
    reading: [usize; 2],
}

/// A read that is under way.
pub(crate) struct Reading<'a> {
    readers: &'a Readers,
    turn: usize,
}

impl Readers {
    pub(crate) fn enter(&self) -> Reading<'_> {
        let mut turns = self.turns.lock();
        let turn = turns.now;
        turns.reading[turn] += 1;
        Reading { readers: self, turn }
    }

    /// Waits until every read that began before is done.
    pub(crate) fn wait_for_earlier(&self) {
        let _one_at_a_time = self.waiting.lock();
        let mut turns = self.turns.lock();
        let earlier = turns.now;
        turns.now = 1 - earlier;
        while turns.reading[earlier] > 0 {
            self.ended.wait(&mut turns);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut turns = self.readers.turns.lock();
        turns.reading[self.turn] -= 1;
        if turns.reading[self.turn] == 0 {
            self.readers.ended.notify_all();
        }
    }
}

impl SegmentStore {
    /// Reads what is wanted from the held rows. Called by whoever may write. Of a segment whose row is damaged nothing is known,
    /// so that nothing must go until it is put right: then everything stays wanted.
    pub(crate) fn load_wanted(&self) -> Result<(), StoreError> {
        let held = match self.held_segments(0, usize::MAX) {
            Ok(held) => held,
            Err(StoreError::Damaged(_)) => {
                *self.wanted.segments.write() = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut segments: BTreeMap<u64, WantedChunks> = BTreeMap::new();
        for (segment, row) in &held {
            segments.entry(*segment).or_default().add(row);
        }
        self.readers.wait_for_earlier();
        self.wanted.behind.lock().clear();
        *self.wanted.segments.write() = Some(segments);
        Ok(())
    }

    /// Lets pages of chunks that were let go of cease to be wanted, after the reads that still see them.
    pub(crate) fn settle_wanted(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        if let Some(fault) = self.database.fault() {
            // What failed may have been written: only recovery reads what is held.
            return Err(super::database::DatabaseError::Refusing(fault).into());
        }
        self.readers.wait_for_earlier();
        let behind = std::mem::take(&mut *self.wanted.behind.lock());
        for segment in behind {
            match self.held(segment) {
                Ok(held) => self.wanted.set(segment, &held),
                // Its pages stay until the row is put right.
                Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The same for everything below a segment.
    pub(crate) fn settle_pruned(&self, floor: u64) {
        self.readers.wait_for_earlier();
        self.wanted.remove_below(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_distributed_storage_exports::ChunkPosition;

    fn held(chunks: &[(u32, Keep)]) -> HeldRow {
        let mut held = HeldRow::default();
        for (index, keep) in chunks {
            held.set(*index, Some(*keep));
            held.chunks += 1;
        }
        held
    }

    fn key(segment: u64, index: u32) -> [u8; 12] {
        rows::page_key(ChunkPosition::new(segment, index).unwrap(), 3)
    }

    #[test]
    fn a_filter_keeps_everything_before_rows_were_read_and_then_what_they_name() {
        let wanted = Arc::new(Wanted::default());
        let filters = Keep::ALL.map(|keep| wanted.filter(keep));
        let kept = |segment, index| filters.clone().map(|filter| filter(&key(segment, index), &[]));
        assert_eq!(kept(1, 1), [true, true]);
        *wanted.segments.write() = Some(BTreeMap::new());
        assert_eq!(kept(1, 1), [false, false]);
        wanted.want(1, &held(&[(1, Keep::Holder), (9, Keep::Backup)]));
        wanted.want(2, &held(&[(0, Keep::Holder)]));
        assert_eq!([kept(1, 1), kept(1, 9)], [[true, false], [false, true]]);
        // More is wanted at once, less only when it is said.
        wanted.want(1, &held(&[(2, Keep::Holder)]));
        assert_eq!([kept(1, 1), kept(1, 2)], [[true, false]; 2]);
        wanted.set(1, &held(&[(2, Keep::Holder)]));
        assert_eq!([kept(1, 1), kept(1, 9)], [[false, false]; 2]);
        wanted.remove_below(2);
        assert_eq!([kept(1, 2), kept(2, 0)], [[false, false], [true, false]]);
        assert!(filters[0](b"malformed", &[]));
    }

    #[test]
    fn waiting_ends_with_the_reads_before_and_not_with_those_after() {
        let readers = Readers::default();
        readers.wait_for_earlier();
        let before = readers.enter();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| readers.wait_for_earlier());
            while readers.turns.lock().now == before.turn {
                std::thread::yield_now();
            }
            let after = readers.enter();
            assert!(!waits.is_finished());
            drop(before);
            waits.join().unwrap();
            drop(after);
        });
        readers.wait_for_earlier();
    }
}
