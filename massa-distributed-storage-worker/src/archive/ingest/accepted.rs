//! What accepted roots say: tables below the anchor, lost periods, borders; and rows that are given up until they do.

use super::closing::ClosedSegment;
use super::{Ingest, IngestError, Outcome, Progress};
use crate::archive::missing::is_unknown;
use crate::archive::rows::SegmentRows;
use crate::archive::slots::{first_borders, Border};
use crate::chunking::objects::IndexedObjects;
use crate::chunking::segment::SegmentStream;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable};
use massa_models::block_id::BlockId;
use std::collections::BTreeMap;

/// Entries that are asked for at a time to find the borders: those of one segment at most.
const BORDER_ENTRIES: u64 = 256;

/// What became of tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablesTaken {
    /// Segments whose table is entered now.
    pub taken: Vec<u64>,
    /// Segments that had one: nothing changed. A root that differs is for [`Ingest::replace`].
    pub known: Vec<u64>,
    /// Segments all of whose blocks are here: they are closed from these, which leaves nothing to be fetched.
    pub own: Vec<u64>,
    /// What followed.
    pub progress: Progress,
}

impl<S: SegmentRows> Ingest<S> {
    /// Enters tables that accepted roots lead to, in any order; rows of their segments end. That the roots are accepted is the
    /// caller's word; that the tables are of this network is checked.
    ///
    /// # Errors
    /// [`IngestError::Table`]: whoever sent it is at fault, and no table is taken. [`IngestError::Store`].
    pub fn take_tables(&mut self, tables: Vec<SegmentTable>) -> Outcome<S, TablesTaken> {
        let mut outcome = TablesTaken::default();
        let mut new = Vec::with_capacity(tables.len());
        for table in tables {
            let segment = self.check_table(&table)?;
            let here =
                segment < self.next_segment || self.store.chain_end(segment + 1).map_err(IngestError::Store)?.is_some();
            if here {
                outcome.known.push(segment);
            } else if self.is_all_here(segment) {
                outcome.own.push(segment);
            } else {
                outcome.taken.push(segment);
                new.push(table);
            }
        }
        if new.is_empty() {
            return Ok(outcome);
        }
        if outcome.taken.contains(&self.next_segment) {
            self.stop_closing();
        }
        self.store.put_tables(&new).map_err(IngestError::Store)?;
        self.note_taken(&new, &mut outcome.progress)?;
        outcome.progress.append(self.advance_or_stall());
        Ok(outcome)
    }

    /// Whether a segment can be closed from its blocks: they joined its stream, and no row of them was found damaged since.
    fn is_all_here(&self, segment: u64) -> bool {
        let is_complete = |period| self.tracker.is_complete(period);
        self.is_joined(segment) && self.segment_periods(segment).all(is_complete)
    }

    /// Checks that a table is one of this network; returns its segment.
    fn check_table(&self, table: &SegmentTable) -> Outcome<S, u64> {
        let segment = table.header().segment;
        let fits = table.check_network(self.store.parameters(), segment);
        fits.map_err(|source| IngestError::Table { segment, source })?;
        Ok(segment)
    }

    /// Forgets the rows of segments that are closed by their tables, and begins behind the last of them that has all before it.
    fn note_taken(&mut self, tables: &[SegmentTable], progress: &mut Progress) -> Outcome<S, ()> {
        let mut links = Vec::new();
        for table in tables {
            let segment = table.header().segment;
            for period in self.segment_periods(segment) {
                links.extend(self.tracker.forget(period));
                self.held.remove_period(period);
                self.ready.remove(&period);
            }
            self.segments.remove(&segment);
            self.by_table.remove(&segment);
            progress.closed.push(by_table(table));
        }
        self.note_resolved(links);
        let next = self
            .store
            .first_without_table(self.next_segment)
            .map_err(IngestError::Store)?;
        if next > self.next_segment {
            let first_open = self.store.parameters().segment_start(next);
            let forgotten = self.tracker.close_by_tables(first_open);
            self.note_resolved(forgotten.links);
            self.set_next_segment(next);
            self.look_for_borders()?;
        }
        self.write_open()
    }

    /// Puts the table that an accepted root leads to in the place of another one, and chains those of later segments anew: all in
    /// one batch. Chunks whose ids stay are kept.
    ///
    /// # Errors
    /// [`IngestError::NoTable`] when the segment has none here; [`IngestError::Table`], [`IngestError::Store`].
    pub fn replace(&mut self, table: SegmentTable) -> Outcome<S, Progress> {
        let segment = self.check_table(&table)?;
        if segment >= self.next_segment {
            return Err(IngestError::NoTable { segment });
        }
        let (mut previous, mut before) = (table.root().to_bytes(), total_bytes(table.header()));
        let mut later_tables = Vec::new();
        for later in segment + 1..self.next_segment {
            let table = self.store.table(later).map_err(IngestError::Store)?;
            let table = table.ok_or(IngestError::NoTable { segment: later })?;
            let chained =
                chained(&table, previous, before).map_err(|source| IngestError::Table { segment: later, source })?;
            (previous, before) = (chained.root().to_bytes(), total_bytes(chained.header()));
            later_tables.push(chained);
        }
        self.store
            .replace_tables(&table, &later_tables)
            .map_err(IngestError::Store)?;
        let mut progress = Progress::default();
        let tables = std::iter::once(&table).chain(&later_tables);
        progress.closed.extend(tables.map(by_table));
        // The segment that is being closed follows on another root now, and what is below may end in other blocks.
        self.stop_closing();
        let borders = vec![Border::Unknown; self.tracker.borders().len()];
        self.write_borders(self.next_segment, &borders)?;
        self.restore()?;
        progress.append(self.advance_or_stall());
        Ok(progress)
    }

    /// Enters periods of open segments as lost, whatever was known of them: their entries lead to an accepted root.
    ///
    /// # Errors
    /// [`IngestError::Store`].
    pub fn enter_lost(&mut self, entries: &[(u64, PeriodEntry)]) -> Outcome<S, Progress> {
        for (period, entry) in entries {
            let segment = self.store.parameters().segment_of(*period);
            let first_joined = self.segment_periods(segment).start;
            let joined = self.segments.get(&segment).map_or(0, |state| state.joined);
            let is_open = *period >= self.tracker.first_open() && !self.by_table.contains(&segment);
            if !is_open || !entry.is_lost() || *period < first_joined + u64::from(joined) {
                continue;
            }
            let ids: Vec<Option<BlockId>> = entry.ids().collect();
            let changes = self.tracker.enter_lost(*period, &ids);
            self.segments.entry(segment).or_default();
            self.held.remove_period(*period);
            self.missing.retain(|slot, _| slot.period != *period);
            self.note(changes);
        }
        self.write_open()?;
        Ok(self.advance_or_stall())
    }

    /// The table that the first open segment would have if these periods were lost: what is voted on. Reads and hashes the whole
    /// segment. `None` unless every other period of it is complete.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn table_with_lost(&mut self, lost: &BTreeMap<u64, PeriodEntry>) -> Outcome<S, Option<SegmentTable>> {
        let segment = self.next_segment;
        let periods = self.segment_periods(segment);
        let is_known = |period: u64| lost.contains_key(&period) || self.tracker.is_complete(period);
        if !periods.clone().all(is_known) {
            return Ok(None);
        }
        let end = self.store.chain_end(segment).map_err(IngestError::Store)?;
        let end = end.ok_or(IngestError::NoTable { segment: segment - 1 })?;
        let mut stream = SegmentStream::new(self.store.parameters(), segment, IndexedObjects::None);
        for period in periods {
            let encoded = match lost.get(&period) {
                Some(entry) => EncodedPeriod::lost(period, entry.clone()),
                None => self.encode(period)?,
            };
            stream.push(&encoded)?;
            drop(stream.take_finished());
        }
        Ok(Some(stream.finish(end.previous, end.bytes_before)?.0))
    }

    /// Takes entries of closed periods, to find the last block of each thread below the open segments. Those that are not asked
    /// for ([`crate::archive::missing::Missing::entries`]) are passed over.
    ///
    /// # Errors
    /// [`IngestError::OtherEntry`]: whoever sent it is at fault; entries of later periods are taken.
    pub fn take_entries(&mut self, mut entries: Vec<(u64, PeriodEntry)>) -> Outcome<S, Progress> {
        entries.sort_by_key(|(period, _)| std::cmp::Reverse(*period));
        let looked_at = self.border_looked_at;
        for (period, entry) in entries {
            if period + 1 == self.border_looked_at && self.tracker.borders().iter().any(is_unknown) {
                self.check_entry(period, &entry)?;
                self.look_at_entry(period, &entry);
            }
        }
        if self.border_looked_at < looked_at {
            self.look_for_borders()?;
        }
        self.write_open()?;
        Ok(self.advance_or_stall())
    }

    fn check_entry(&self, period: u64, entry: &PeriodEntry) -> Outcome<S, ()> {
        let parameters = self.store.parameters();
        let segment = parameters.segment_of(period);
        let table = self.store.table(segment).map_err(IngestError::Store)?;
        let row = table.and_then(|table| table.period(period));
        let expected = row.ok_or(IngestError::NoTable { segment })?.root;
        let found = entry.root(parameters.chain_id, period);
        if found != expected {
            return Err(IngestError::OtherEntry {
                period,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn look_at_entry(&mut self, period: u64, entry: &PeriodEntry) {
        for (id, thread) in entry.ids().zip(0..) {
            if let (Some(id), true) = (id, is_unknown(&self.tracker.borders()[usize::from(thread)])) {
                let changes = self.tracker.enter_border(thread, Border::Block(id));
                self.note(changes);
            }
        }
        self.border_looked_at = period;
    }

    /// Looks for the borders in the entries that are here, down to where none is.
    pub(super) fn look_for_borders(&mut self) -> Outcome<S, ()> {
        let first = self.store.parameters().first_period;
        while self.tracker.borders().iter().any(is_unknown) {
            if self.border_looked_at <= first {
                return self.enter_first_borders();
            }
            let period = self.border_looked_at - 1;
            let joined = self.store.joined_period(period).map_err(IngestError::Store)?;
            let Some(joined) = joined else { return Ok(()) };
            if self.check_entry(period, &joined.entry).is_err() {
                // A row of a segment that was replaced.
                return Ok(());
            }
            self.look_at_entry(period, &joined.entry);
        }
        self.write_borders(self.next_segment, self.tracker.borders())
    }

    /// No period of the archive has a block in the threads that are left.
    fn enter_first_borders(&mut self) -> Outcome<S, ()> {
        let parameters = self.store.parameters();
        let first = first_borders(parameters.thread_count, &parameters.boundary);
        for (border, thread) in first.into_iter().zip(0..) {
            if is_unknown(&self.tracker.borders()[usize::from(thread)]) {
                let changes = self.tracker.enter_border(thread, border);
                self.note(changes);
            }
        }
        self.write_borders(self.next_segment, self.tracker.borders())
    }

    /// The entries that are asked for next to find the borders.
    pub(super) fn border_entries(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let last = self.border_looked_at.checked_sub(1)?;
        let first = self
            .store
            .parameters()
            .first_period
            .max(last.saturating_sub(BORDER_ENTRIES - 1));
        let unknown = self.tracker.borders().iter().any(is_unknown);
        (unknown && first <= last).then_some(first..=last)
    }

    /// Bytes of rows that wait behind a gap: of the first open segment those of periods that cannot join, and all of later ones.
    pub fn held_back_bytes(&self) -> u64 {
        let bytes = self.segments.iter().map(|(segment, state)| {
            if *segment == self.next_segment {
                state.waiting_bytes()
            } else {
                state.bytes()
            }
        });
        bytes.sum()
    }

    /// Gives the newest segments up while too much waits behind a gap, or behind a segment that cannot be closed: their tables are
    /// taken when they are accepted.
    pub(super) fn limit_held_back(&mut self) -> Outcome<S, Progress> {
        let mut progress = Progress::default();
        while self.held_back_bytes() > self.options.held_back_bytes_max {
            let closing = self.closing.as_ref().map(|_| self.next_segment);
            let mut newest = self.segments.iter().rev();
            let found = newest.find(|(segment, state)| state.bytes() > 0 && Some(**segment) != closing);
            let Some(segment) = found.map(|(segment, _)| *segment) else {
                break;
            };
            self.give_up(segment)?;
            progress.given_up.push(segment);
        }
        Ok(progress)
    }

    fn give_up(&mut self, segment: u64) -> Outcome<S, ()> {
        self.by_table.insert(segment);
        let borders = self.tracker.borders().to_vec();
        self.write_borders(self.next_segment, &borders)?;
        self.store.drop_open(segment).map_err(IngestError::Store)?;
        self.segments.remove(&segment);
        for period in self.segment_periods(segment) {
            let links = self.tracker.forget(period);
            self.note_resolved(links);
            self.held.remove_period(period);
            self.ready.remove(&period);
        }
        let periods = self.segment_periods(segment);
        self.missing.retain(|slot, _| !periods.contains(&slot.period));
        self.write_open()
    }
}

fn by_table(table: &SegmentTable) -> ClosedSegment {
    ClosedSegment {
        segment: table.header().segment,
        root: table.root(),
        chunks: table.header().chunk_count(),
        kept: 0,
        derived: false,
        finished: Vec::new(),
    }
}

fn total_bytes(header: &SegmentHeader) -> u64 {
    header.bytes_before + header.body_length
}

/// The same table after another segment.
fn chained(
    table: &SegmentTable,
    previous: [u8; 32],
    bytes_before: u64,
) -> Result<SegmentTable, massa_distributed_storage_exports::segment_table::TableError> {
    let header = SegmentHeader {
        previous,
        bytes_before,
        ..*table.header()
    };
    SegmentTable::new(header, table.periods().to_vec(), table.chunk_ids().to_vec())
}
