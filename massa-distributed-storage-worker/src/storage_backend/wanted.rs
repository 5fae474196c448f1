//! Which pages are wanted, for the filters that let the others vanish when their tables are written again; and who still
//! reads what was held before.
//!
//! Tables are written again seldom, a few at a time. What is wanted of their segments is read from the held rows right before, and
//! forgotten after: of all other segments everything is. A page is wanted from before it is written. It ceases to be when its
//! chunk was let go of *and* every read that began before is done: filters do not know what a read still sees.

use super::database::RowFilter;
use super::rows::{self, bit, HeldRow, Keep};
use super::{Damage, SegmentStore, StoreError, View};
use massa_db_exports::STORAGE_HELD_CF;
use massa_distributed_storage_exports::ChunkPosition;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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

/// What is wanted of a range of segments whose tables are about to be written again.
#[derive(Debug)]
struct WantedRange {
    segments: RangeInclusive<u64>,
    /// Of a segment without an entry nothing is. `None`: its held row is damaged, so nothing must go until it is put right.
    chunks: BTreeMap<u64, Option<WantedChunks>>,
}

impl WantedRange {
    fn wants(&self, keep: Keep, position: ChunkPosition) -> bool {
        match self.chunks.get(&position.segment) {
            Some(Some(chunks)) => bit(chunks.bits(keep), position.index.0),
            Some(None) => true,
            None => !self.segments.contains(&position.segment),
        }
    }
}

/// Wanted pages, as far as filters have to know.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    ranges: RwLock<Vec<WantedRange>>,
}

impl Wanted {
    /// The filter of a family of pages.
    pub(crate) fn filter(self: &Arc<Self>, keep: Keep) -> RowFilter {
        let wanted = Arc::clone(self);
        Arc::new(move |key, _| {
            let Some((position, _)) = rows::parse_page_key(key) else {
                return true;
            };
            wanted.ranges.read().iter().all(|range| range.wants(keep, position))
        })
    }

    /// What `held` says is wanted, beside what was. Called while nothing else changes what is held.
    pub(crate) fn want(&self, segment: u64, held: &HeldRow) {
        let mut ranges = self.ranges.write();
        for range in ranges.iter_mut().filter(|range| range.segments.contains(&segment)) {
            let chunks = range
                .chunks
                .entry(segment)
                .or_insert_with(|| Some(WantedChunks::default()));
            if let Some(chunks) = chunks {
                chunks.add(held);
            }
        }
    }
}

/// While it lives, filters know what is wanted of some segments.
pub(crate) struct WantedKnown<'a> {
    wanted: &'a Wanted,
}

impl Drop for WantedKnown<'_> {
    fn drop(&mut self) {
        self.wanted.ranges.write().clear();
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
    /// Whoever holds this may have [`SegmentStore::know_wanted`] tell the filters what is wanted; one at a time.
    pub(crate) fn wanted_known(&self) -> WantedKnown<'_> {
        WantedKnown { wanted: &self.wanted }
    }

    /// Tells the filters what is wanted of segments, from their held rows: what was let go of before ceases to be wanted, after the
    /// reads that still see it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) fn know_wanted(
        &self,
        _known: &WantedKnown<'_>,
        segments: RangeInclusive<u64>,
    ) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        if let Some(fault) = self.database.fault() {
            // What failed may have been written: only recovery reads what is held.
            return Err(super::database::DatabaseError::Refusing(fault).into());
        }
        self.readers.wait_for_earlier();
        let mut chunks = BTreeMap::new();
        for segment in self.view(|view| view.held_in(&segments))? {
            let wanted = match self.held(segment) {
                Ok(held) => {
                    let mut wanted = WantedChunks::default();
                    wanted.add(&held);
                    Some(wanted)
                }
                Err(StoreError::Damaged(_)) => None,
                Err(error) => return Err(error),
            };
            chunks.insert(segment, wanted);
        }
        self.wanted.ranges.write().push(WantedRange { segments, chunks });
        Ok(())
    }
}

impl View<'_> {
    /// Segments of a range that have a held row, damaged or not.
    pub(crate) fn held_in(&self, segments: &RangeInclusive<u64>) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        self.scan(STORAGE_HELD_CF, &rows::segment_key(*segments.start()), |key, _| {
            let segment = rows::parse_segment_key(key);
            let segment = segment.ok_or_else(|| Damage::new(STORAGE_HELD_CF, "key is malformed"))?;
            if segment > *segments.end() {
                return Ok(false);
            }
            found.push(segment);
            Ok(true)
        })?;
        Ok(found)
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
    fn a_filter_keeps_everything_but_what_is_known_not_to_be_wanted() {
        let wanted = Arc::new(Wanted::default());
        let filters = Keep::ALL.map(|keep| wanted.filter(keep));
        let kept = |segment, index| filters.clone().map(|filter| filter(&key(segment, index), &[]));
        wanted.want(1, &held(&[(1, Keep::Holder)]));
        assert_eq!([kept(1, 1), kept(1, 2)], [[true; 2]; 2]);
        let known = WantedKnown { wanted: &wanted };
        wanted.ranges.write().push(WantedRange {
            segments: 1..=3,
            chunks: BTreeMap::from([(3, None)]),
        });
        assert_eq!(
            [kept(0, 1), kept(1, 1), kept(3, 1), kept(4, 1)],
            [[true; 2], [false; 2], [true; 2], [true; 2]]
        );
        // More is wanted at once.
        wanted.want(1, &held(&[(1, Keep::Holder), (9, Keep::Backup)]));
        wanted.want(3, &held(&[(0, Keep::Holder)]));
        assert_eq!([kept(1, 1), kept(1, 9)], [[true, false], [false, true]]);
        wanted.want(1, &held(&[(2, Keep::Holder)]));
        assert_eq!(
            [kept(1, 1), kept(1, 2), kept(1, 3)],
            [[true, false], [true, false], [false; 2]]
        );
        assert_eq!(kept(3, 7), [true; 2], "its row is damaged");
        assert!(filters[0](b"malformed", &[]));
        drop(known);
        assert_eq!(kept(1, 3), [true; 2]);
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
