//! What the thread that writes the archive does with its commands.

mod going_on;

use crate::archive::content::record_from_storage;
use crate::archive::ingest::{Ingest, IngestError, Progress};
use crate::archive::lines::{archived_line, assigned_line, closed_line};
use crate::archive::upkeep::{packing, Clock, Intervals, Step, Turn};
use crate::commands::{ArchiveError, BlocksTaken, ChunkDrop, DistributedStorageCommand, FinalHeader, RepairJob, Reply};
use crate::repair::writing::{carry_out_telling, Written};
use crate::storage_backend::{ChunkToStore, OwnChanges, SegmentStore, StoreError};
use crate::worker::{AfterArchive, AfterClose, FinishedChunks, MayPrune, PlaceChunks, Shared, OVERFLOW_SLOTS_MAX};
use crossbeam_channel::{select, Receiver, Sender, TryRecvError};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ChunkPosition;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;
use tracing::{debug, info, warn};

/// Missing periods that are told at a time.
const MISSING_PERIODS_MAX: usize = 64;
/// Slots that are noted as missing before anything else is done.
const OVERFLOW_TURN: usize = 256;
/// Chunks that are dropped in one slice: each is a batch, and an index to be read.
const DROP_SLICE: usize = 16;

const QUEUE_FULL: &str = "queue full";
const NOT_STORED: &str = "not stored";
const NO_OPERATIONS: &str = "operations missing";

/// Those who are told, or asked.
pub(crate) struct Told {
    pub(crate) place: PlaceChunks,
    pub(crate) after_archive: AfterArchive,
    pub(crate) after_close: AfterClose,
    pub(crate) may_prune: MayPrune,
}

/// Chunks that are being dropped.
struct Dropping {
    left: VecDeque<ChunkPosition>,
    dropped: Vec<ChunkPosition>,
    drop: ChunkDrop,
}

/// The thread's state.
pub(crate) struct Writing {
    ingest: Ingest<SegmentStore>,
    shared: Arc<Shared>,
    told: Told,
    /// Wakes whoever returns space.
    tidy: Sender<()>,
    turn: Turn,
    clock: Clock,
    /// Why the archive does not go on.
    stalled: Option<String>,
    /// Why blocks are refused, if the allocation has no room for them.
    full: Option<String>,
    /// A write failed, and may have been carried out: what is in memory is read anew.
    is_unsure: bool,
    /// Slots that the store could not note as missing yet.
    unnoted: VecDeque<FinalHeader>,
    dropping: VecDeque<Dropping>,
}

impl Writing {
    pub(crate) fn new(
        ingest: Ingest<SegmentStore>,
        shared: Arc<Shared>,
        (told, tidy): (Told, Sender<()>),
        intervals: Intervals,
    ) -> Self {
        Self {
            ingest,
            shared,
            told,
            tidy,
            turn: Turn::default(),
            clock: Clock::new(intervals, Instant::now()),
            stalled: None,
            full: None,
            is_unsure: false,
            unnoted: VecDeque::new(),
            dropping: VecDeque::new(),
        }
    }

    fn store(&self) -> &Arc<SegmentStore> {
        self.ingest.store()
    }

    /// Tells what was found at the start.
    pub(crate) fn begin(&mut self, progress: &Progress) {
        for damage in self.store().database().damages() {
            warn!(%damage, "the store is damaged");
        }
        self.tell(progress);
        self.prune();
        self.tell_status();
    }

    pub(crate) fn run(&mut self, commands: &Receiver<DistributedStorageCommand>, overflow: &Receiver<FinalHeader>) {
        loop {
            for header in overflow.try_iter().take(OVERFLOW_TURN) {
                self.note_header(header, QUEUE_FULL);
            }
            let is_over = match self.turn.next(!commands.is_empty(), self.has_slices()) {
                Step::Command => match commands.try_recv() {
                    Ok(command) => self.execute(command),
                    Err(TryRecvError::Empty) => false,
                    Err(TryRecvError::Disconnected) => true,
                },
                Step::Slice => {
                    self.ingest.set_packing(packing(commands.len()));
                    self.slice();
                    false
                }
                Step::Wait => self.wait(commands, overflow),
            };
            if is_over {
                break;
            }
            self.look_after(Instant::now());
        }
        self.end(overflow);
    }

    /// Waits for a command, and carries it out. Tells whether it was the last.
    fn wait(&mut self, commands: &Receiver<DistributedStorageCommand>, overflow: &Receiver<FinalHeader>) -> bool {
        select! {
            recv(commands) -> command => return command.map_or(true, |command| self.execute(command)),
            recv(overflow) -> header => {
                if let Ok(header) = header {
                    self.note_header(header, QUEUE_FULL);
                }
            }
            default(self.clock.patience()) => {
                if self.clock.tidy(Instant::now()) {
                    // Whoever is still at it does not have to be told again.
                    let _ = self.tidy.try_send(());
                }
            }
        }
        false
    }

    fn end(&mut self, overflow: &Receiver<FinalHeader>) {
        for header in overflow.try_iter() {
            self.note_header(header, QUEUE_FULL);
        }
        if let Err(error) = self.ingest.finish() {
            warn!(error = &error as &dyn std::error::Error, "store not synced");
        }
        self.tell_status();
    }

    /// Carries a command out. Tells whether it was the last.
    fn execute(&mut self, command: DistributedStorageCommand) -> bool {
        match command {
            DistributedStorageCommand::FinalBlock { header, content } => {
                match record_from_storage(&header.block_id, &content) {
                    Some(record) => self.add_final(header, record),
                    None => self.note_header(header, NO_OPERATIONS),
                }
            }
            DistributedStorageCommand::Blocks { records, reply } => {
                let taken = self.add_blocks(records);
                answer(reply, Ok(taken), "blocks");
            }
            DistributedStorageCommand::Tables { tables, reply } => {
                let taken = self.ingest.take_tables(tables);
                if let Ok(taken) = &taken {
                    self.tell(&taken.progress);
                }
                answer(reply, taken, "tables");
            }
            DistributedStorageCommand::Entries { entries, reply } => {
                let taken = self.ingest.take_entries(entries);
                self.finish(taken, reply, "entries");
            }
            DistributedStorageCommand::Chunk { chunk, reply } => self.put_chunk(&chunk, reply),
            DistributedStorageCommand::Drop(drop) => self.dropping.push_back(Dropping {
                left: drop.chunks.iter().copied().collect(),
                dropped: Vec::new(),
                drop,
            }),
            DistributedStorageCommand::Replace { table, reply } => {
                let replaced = self.ingest.replace(*table);
                self.finish(replaced, reply, "table in the place of another");
            }
            DistributedStorageCommand::EnterLost { entries, reply } => {
                let entered = self.ingest.enter_lost(&entries);
                self.finish(entered, reply, "lost periods");
            }
            DistributedStorageCommand::TableWithLost { lost, reply } => {
                let table = self.ingest.table_with_lost(&lost);
                answer(Some(reply), table, "table with lost periods");
            }
            DistributedStorageCommand::Repair(job) => self.repair(*job),
            DistributedStorageCommand::Stop => return true,
        }
        false
    }

    /// Tells what came of a command that moves the archive on.
    fn finish(&mut self, result: Result<Progress, ArchiveError>, reply: Reply<()>, what: &str) {
        if let Ok(progress) = &result {
            self.tell(progress);
        }
        answer(reply, result.map(|_| ()), what);
    }

    /// A block that consensus let go of: if it cannot be taken it is missing.
    fn add_final(&mut self, header: FinalHeader, record: BlockRecord) {
        if self.store().database().fault().is_some() {
            self.shared.status.lock().refused_blocks += 1;
            self.note_refusing();
            return self.note_header(header, NOT_STORED);
        }
        let bytes = record.as_bytes().len() as u64;
        if let Err(error) = self.store().check_block_space(bytes) {
            self.shared.status.lock().refused_blocks += 1;
            self.note_full(Some(error.to_string()));
            return self.note_header(header, NOT_STORED);
        }
        match self.ingest.add(record) {
            Ok(progress) => self.added(&progress),
            Err(error) => {
                self.shared.status.lock().refused_blocks += 1;
                match &error {
                    IngestError::Store(error) => {
                        self.stall(error.to_string());
                    }
                    error => {
                        let FinalHeader { slot, block_id, .. } = header;
                        warn!(%slot, %block_id, error = error as &dyn std::error::Error, "block not archived");
                    }
                }
                self.note_header(header, NOT_STORED);
            }
        }
    }

    fn added(&mut self, progress: &Progress) {
        self.shared.status.lock().blocks += u64::from(!progress.known && !progress.refused);
        self.tell(progress);
    }

    /// Blocks of which nobody but a peer says that they are final: those that cannot be taken are not noted.
    fn add_blocks(&mut self, records: Vec<BlockRecord>) -> BlocksTaken {
        let mut taken = BlocksTaken::default();
        for (number, record) in records.into_iter().enumerate() {
            let added = self.ingest.add(record);
            match added {
                Ok(progress) => {
                    self.added(&progress);
                    taken.known += usize::from(progress.known);
                    taken.by_table += usize::from(progress.refused);
                    taken.new += usize::from(!progress.known && !progress.refused);
                }
                Err(error) => taken.failed.push((number, error)),
            }
        }
        taken
    }

    fn put_chunk(&mut self, chunk: &ChunkToStore, reply: Reply<bool>) {
        let put = self.store().put_chunk(chunk, OwnChanges::default());
        if let Ok(true) = &put {
            self.shared.status.lock().chunks_repaired += 1;
        }
        answer(reply, put.map_err(IngestError::Store), "chunk");
    }

    fn repair(&mut self, RepairJob { job, rules, told }: RepairJob) {
        let mut happened: Vec<Progress> = Vec::new();
        let written = carry_out_telling(&mut self.ingest, &rules, job, &mut |progress| {
            happened.push(progress.clone());
        });
        happened.iter().for_each(|progress| {
            self.tell(progress);
        });
        let is_new = |written: &&Written| matches!(written, Written::Chunk { result: Ok(()), .. });
        self.shared.status.lock().chunks_repaired += written.iter().filter(is_new).count() as u64;
        // Whoever asked asks again if it is not told.
        let _ = told.try_send(written);
    }

    /// Notes that a final block is missing. What the store cannot note waits until it can.
    fn note_header(&mut self, header: FinalHeader, reason: &'static str) {
        let FinalHeader { slot, block_id, .. } = header;
        debug!(%slot, %block_id, reason, "block missing");
        self.shared.status.lock().missing_slots.count(reason);
        self.try_note(header);
    }

    /// Tells whether the slot is noted, or need not be.
    fn try_note(&mut self, header: FinalHeader) -> bool {
        let refuses = self.store().database().fault().is_some();
        let noted = match refuses {
            true => None,
            false => Some(self.ingest.note_header(header.slot, header.block_id, header.parent)),
        };
        match noted {
            Some(Ok(progress)) => {
                self.tell(&progress);
                true
            }
            Some(Err(IngestError::Store(error))) => {
                self.stall(error.to_string());
                self.keep_unnoted(header);
                false
            }
            Some(Err(error)) => {
                debug!(slot = %header.slot, error = &error as &dyn std::error::Error, "missing slot not noted");
                true
            }
            None => {
                self.note_refusing();
                self.keep_unnoted(header);
                false
            }
        }
    }

    fn keep_unnoted(&mut self, header: FinalHeader) {
        // Those beyond are found by the links of later blocks.
        if self.unnoted.len() < OVERFLOW_SLOTS_MAX {
            self.unnoted.push_back(header);
        }
    }

    fn note_unnoted(&mut self) {
        while let Some(header) = self.unnoted.pop_front() {
            if !self.try_note(header) {
                break;
            }
        }
    }
}

/// Work that may wait, and what is done from time to time.
impl Writing {
    fn has_slices(&self) -> bool {
        !self.shared.is_stopping.load(Ordering::Acquire) && (self.can_close() || self.can_drop())
    }

    fn can_close(&self) -> bool {
        self.stalled.is_none() && self.ingest.is_closing()
    }

    /// Also while closing does not go on: what is dropped may be the space that it lacks.
    fn can_drop(&self) -> bool {
        !self.dropping.is_empty() && self.store().database().fault().is_none()
    }

    fn slice(&mut self) {
        if self.can_close() {
            self.close_slice();
        } else if let Some(dropping) = self.dropping.pop_front() {
            self.drop_slice(dropping);
        }
    }

    /// Tells whether closing can go on.
    fn close_slice(&mut self) -> bool {
        match self.ingest.close_slice() {
            Ok(progress) => self.tell(&progress),
            Err(error) => {
                self.stall(error.to_string());
                false
            }
        }
    }

    /// Drops some chunks, unless they were placed anew or claimed meanwhile.
    fn drop_slice(&mut self, mut dropping: Dropping) {
        let slice: Vec<ChunkPosition> = {
            let count = dropping.left.len().min(DROP_SLICE);
            dropping.left.drain(..count).collect()
        };
        let (store, keep) = (Arc::clone(self.store()), Arc::clone(&dropping.drop.keep));
        let mut dropped = Vec::with_capacity(slice.len());
        let mut result = Ok(());
        let in_force = (dropping.drop.while_placed)(&mut || {
            result = drop_chunks(&store, slice.iter().filter(|position| !keep(**position)), &mut dropped);
        });
        self.shared.status.lock().chunks_handed_over += dropped.len() as u64;
        // It waits for reads, which may wait for assignments: not while these are kept from changing.
        if let Err(error) = forget_backups(&store, &dropped) {
            // They go when their tables are written again.
            debug!(
                error = &error as &dyn std::error::Error,
                "tables of dropped chunks not deleted"
            );
        }
        dropping.dropped.append(&mut dropped);
        if in_force && result.is_ok() && !dropping.left.is_empty() {
            return self.dropping.push_front(dropping);
        }
        let result = result.map_err(IngestError::Store);
        answer(dropping.drop.reply, result.map(|()| dropping.dropped), "dropped chunks");
    }

    /// Tells what happened. Returns whether everything went on.
    fn tell(&mut self, progress: &Progress) -> bool {
        for archived in &progress.archived {
            info!("{}", archived_line(archived));
            let placed = (self.told.place)(&FinishedChunks {
                segment: archived.segment,
                finished: archived.finished.clone(),
            });
            info!("{}", assigned_line(archived, placed.nodes.nodes(), &placed.holders));
            if archived.lost {
                warn!(
                    period = archived.period,
                    "period is lost: nobody had all of its blocks when its segment was anchored"
                );
            }
            (self.told.after_archive)(archived);
        }
        for closed in &progress.closed {
            let placed = (self.told.place)(&FinishedChunks {
                segment: closed.segment,
                finished: closed.finished.clone(),
            });
            if let Some(line) = closed_line(closed, placed.nodes.nodes(), &placed.holders) {
                info!("{line}");
            }
            info!(segment = closed.segment, root = %closed.root, chunks = closed.chunks, kept = closed.kept, "segment closed");
            (self.told.after_close)(closed);
        }
        for segment in &progress.given_up {
            warn!(
                segment,
                "too much waits behind a gap: the segment is taken by its table once that is accepted"
            );
        }
        {
            let mut status = self.shared.status.lock();
            status.archived_periods += progress.archived.len() as u64;
            let newest = progress.archived.iter().map(|archived| archived.period).max();
            status.last_period = status.last_period.max(newest);
            status.closed_segments += progress.closed.len() as u64;
        }
        if !progress.closed.is_empty() {
            self.prune();
        }
        match &progress.stalled {
            Some(reason) => self.stall(reason.clone()),
            None => true,
        }
    }

    fn tell_status(&mut self) {
        let store = self.store();
        let counters = store.counters().unwrap_or_else(|error| {
            debug!(error = &error as &dyn std::error::Error, "counters not read");
            self.shared.status.lock().counters
        });
        let (floor, damages) = (store.floor(), store.database().damages());
        let missing = self.ingest.missing(MISSING_PERIODS_MAX);
        let slots = self.ingest.missing_slots();
        let oldest = slots.keys().chain(self.unnoted.iter().map(|header| &header.slot)).min();
        let open_segment = self.ingest.open_segment();
        let mut status = self.shared.status.lock();
        status.counters = counters;
        status.floor = floor;
        status.damages = damages;
        status.newest_joined = self.ingest.newest_joined();
        status.first_open_segment = missing.first_open_segment;
        status.is_closing = self.ingest.is_closing();
        status.missing = missing;
        status.missing_slots.slots = slots.len() + self.unnoted.len();
        status.missing_slots.oldest_period = oldest.map(|slot| slot.period);
        status.held_back_bytes = self.ingest.held_back_bytes();
        status.open_segment = open_segment;
    }
}

fn drop_chunks<'a>(
    store: &SegmentStore,
    chunks: impl Iterator<Item = &'a ChunkPosition>,
    dropped: &mut Vec<ChunkPosition>,
) -> Result<(), StoreError> {
    for position in chunks {
        if store.drop_chunk(*position, OwnChanges::default())? {
            dropped.push(*position);
        }
    }
    Ok(())
}

/// Deletes the pages of dropped chunks that were kept until their holders promised, as soon as no other is among them.
pub(crate) fn forget_backups(store: &SegmentStore, dropped: &[ChunkPosition]) -> Result<(), StoreError> {
    let segments: BTreeSet<u64> = dropped.iter().map(|position| position.segment).collect();
    for segment in segments {
        store.forget_backups(segment)?;
    }
    Ok(())
}

fn answer<T>(reply: Reply<T>, result: Result<T, ArchiveError>, what: &str) {
    match (reply, &result) {
        // Whoever asked looks again if it is not told.
        (Some(reply), _) => drop(reply.try_send(result)),
        (None, Err(error)) => warn!(error = error as &dyn std::error::Error, "{what} not taken"),
        (None, Ok(_)) => {}
    }
}
