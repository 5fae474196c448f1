//! What repair has written, and what came of it: the border between the repair thread and the archive's one writer.
//!
//! The writer may stand behind a channel: repair never waits for it. Each [`WriteJob`] ends with one [`Written`] of its kind;
//! besides, the writer tells which segments closed, whatever closed them. [`carry_out`] is what a writer does with a job.

use super::assigned::SharedAssigned;
use super::handover_segment::KeepClaimed;
use super::tables::TrueTable;
use crate::archive::ingest::{Ingest, IngestError, Progress};
use crate::archive::missing::{Missing, OpenSegment};
use crate::storage_backend::{ChunkToStore, OwnChanges, SegmentStore, StoreError};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::debug;

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteJob {
    /// A block that is believed and verified.
    Block(BlockRecord),
    /// Entries of closed periods, and who sent them: the writer checks them.
    Entries {
        /// Who.
        from: NodeId,
        /// With their periods.
        entries: Vec<(u64, PeriodEntry)>,
    },
    /// Tables that are true, with their roots.
    Tables(Vec<TrueTable>),
    /// A chunk that is assigned to this node.
    Chunk(Box<ChunkToStore>),
    /// Chunks that others hold, if assignments are still those of `epoch`.
    Drop {
        /// Which.
        chunks: Vec<ChunkPosition>,
        /// See [`super::assigned::Assigned::epoch`].
        epoch: u64,
    },
    /// A held chunk that is damaged: it is let go, so that it can be written again.
    DropDamaged(ChunkPosition),
    /// The true table of a segment, with chunks of it, in the place of what is here.
    Replace {
        /// The table.
        table: Box<SegmentTable>,
        /// The chunks.
        chunks: Vec<ChunkToStore>,
    },
    /// Periods of an open segment as lost.
    Lost {
        /// The segment.
        segment: u64,
        /// Their entries.
        entries: Vec<(u64, PeriodEntry)>,
    },
    /// The root that the first open segment would have with these periods lost.
    RootWithLost {
        /// The segment.
        segment: u64,
        /// The entries of the lost ones.
        lost: Vec<(u64, PeriodEntry)>,
    },
}

/// Why something was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// Whoever sent it is at fault.
    False(String),
    /// The disk refuses, or the writer has too much to do: later again.
    Refused(String),
}

/// What became of a [`WriteJob`].
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// A block was taken, or not.
    Block(Result<(), NotWritten>),
    /// Entries were taken, or not.
    Entries {
        /// Who sent them.
        from: NodeId,
        /// What became of them.
        result: Result<(), NotWritten>,
    },
    /// Tables were written, or not.
    Tables {
        /// Which.
        tables: Vec<TrueTable>,
        /// What became of them.
        result: Result<(), NotWritten>,
    },
    /// A chunk was written, or not.
    Chunk {
        /// Which.
        position: ChunkPosition,
        /// What became of it.
        result: Result<(), NotWritten>,
    },
    /// Chunks were let go, as far as they could be: these.
    Dropped(Vec<ChunkPosition>),
    /// A damaged chunk was let go, or could not be.
    DroppedDamaged(ChunkPosition, Result<(), NotWritten>),
    /// A segment was replaced, or its lost periods were entered; or that could not be written.
    Replaced {
        /// The segment.
        segment: u64,
        /// What became of it.
        result: Result<(), NotWritten>,
    },
    /// The root of a segment with its lost periods; `None` while others of its periods are not complete.
    RootWithLost {
        /// The segment.
        segment: u64,
        /// The root.
        root: Option<SegmentRoot>,
    },
    /// These segments are closed now, or have other tables than before.
    Closed(Vec<u64>),
}

impl WriteJob {
    /// What is to be told when a job was not taken.
    pub fn refused(self, reason: &str) -> Written {
        let result = Err(NotWritten::Refused(reason.into()));
        match self {
            Self::Block(_) => Written::Block(result),
            Self::Entries { from, .. } => Written::Entries { from, result },
            Self::Tables(tables) => Written::Tables { tables, result },
            Self::Chunk(chunk) => Written::Chunk {
                position: chunk.position,
                result,
            },
            Self::Drop { .. } => Written::Dropped(Vec::new()),
            Self::DropDamaged(position) => Written::DroppedDamaged(position, result),
            Self::Replace { table, .. } => Written::Replaced {
                segment: table.header().segment,
                result,
            },
            Self::Lost { segment, .. } => Written::Replaced { segment, result },
            Self::RootWithLost { segment, .. } => Written::RootWithLost { segment, root: None },
        }
    }
}

/// The archive's writer, as repair uses it. Never waits.
pub trait RepairWriter: Send {
    /// What is missing, as of the last write or a moment later.
    fn missing(&self) -> Arc<Missing>;

    /// The first open segment, if it is over and cannot close: see [`Ingest::open_segment`].
    fn open_segment(&self) -> Option<OpenSegment>;

    /// Has something written; what becomes of it the repair thread is told later.
    ///
    /// # Errors
    /// The job itself when the writer has too much to do.
    fn write(&mut self, job: WriteJob) -> Result<(), Box<WriteJob>>;
}

/// What the writer needs beside its ingest.
#[derive(Clone)]
pub struct WriteRules {
    /// What is assigned to this node.
    pub assigned: SharedAssigned,
    /// What is kept although it is not assigned.
    pub keep: KeepClaimed,
}

type Taken = Result<Progress, IngestError<StoreError>>;

/// Does a job, on the writer's thread. What it has to tell comes in order, what closed included.
pub fn carry_out(ingest: &mut Ingest<SegmentStore>, rules: &WriteRules, job: WriteJob) -> Vec<Written> {
    let mut written = Vec::new();
    let told = carry_out_telling(ingest, rules, job, &mut |progress| written.extend(closed(progress)));
    written.extend(told);
    written
}

/// The same for a writer that tells itself what closed: `tell` gets what happened to the archive.
pub fn carry_out_telling(
    ingest: &mut Ingest<SegmentStore>,
    rules: &WriteRules,
    job: WriteJob,
    tell: &mut dyn FnMut(&Progress),
) -> Vec<Written> {
    match job {
        WriteJob::Block(record) => {
            let taken = ingest.add(record);
            vec![Written::Block(told(taken, tell))]
        }
        WriteJob::Entries { from, entries } => {
            let result = told(ingest.take_entries(entries), tell);
            vec![Written::Entries { from, result }]
        }
        WriteJob::Tables(tables) => vec![take_tables(ingest, tables, tell)],
        WriteJob::Chunk(chunk) => {
            let position = chunk.position;
            let put = ingest.store().put_chunk(&chunk, OwnChanges::default());
            let result = put.map(drop).map_err(|error| fault_of(&error));
            vec![Written::Chunk { position, result }]
        }
        WriteJob::Drop { chunks, epoch } => vec![drop_chunks(ingest.store(), rules, chunks, epoch)],
        WriteJob::DropDamaged(position) => {
            let dropped = ingest.store().drop_chunk(position, OwnChanges::default());
            let result = dropped.map(drop).map_err(|error| fault_of(&error));
            vec![Written::DroppedDamaged(position, result)]
        }
        WriteJob::Replace { table, chunks } => replace(ingest, *table, &chunks, tell),
        WriteJob::Lost { segment, entries } => {
            let result = told(ingest.enter_lost(&entries), tell);
            vec![Written::Replaced { segment, result }]
        }
        WriteJob::RootWithLost { segment, lost } => {
            let lost: BTreeMap<u64, PeriodEntry> = lost.into_iter().collect();
            let is_next = ingest.next_segment() == segment;
            let table = ingest.table_with_lost(&lost).ok().flatten().filter(|_| is_next);
            let root = table.map(|table| table.root());
            vec![Written::RootWithLost { segment, root }]
        }
    }
}

/// What closed, if something did.
pub fn closed(progress: &Progress) -> Option<Written> {
    let segments: Vec<u64> = progress.closed.iter().map(|closed| closed.segment).collect();
    (!segments.is_empty()).then_some(Written::Closed(segments))
}

fn told(taken: Taken, tell: &mut dyn FnMut(&Progress)) -> Result<(), NotWritten> {
    let progress = taken.map_err(|error| not_written(&error))?;
    tell(&progress);
    Ok(())
}

/// Whose fault it is.
fn not_written(error: &IngestError<StoreError>) -> NotWritten {
    match error {
        IngestError::Record(_) | IngestError::Slot(_) | IngestError::OtherEntry { .. } | IngestError::Table { .. } => {
            NotWritten::False(error.to_string())
        }
        _ => NotWritten::Refused(error.to_string()),
    }
}

fn fault_of(error: &StoreError) -> NotWritten {
    match error {
        StoreError::Chunk { .. } => NotWritten::False(error.to_string()),
        _ => NotWritten::Refused(error.to_string()),
    }
}

fn take_tables(ingest: &mut Ingest<SegmentStore>, tables: Vec<TrueTable>, tell: &mut dyn FnMut(&Progress)) -> Written {
    let taken = ingest.take_tables(tables.iter().map(|(table, _)| table.clone()).collect());
    let result = told(taken.map(|taken| taken.progress), tell);
    Written::Tables { tables, result }
}

/// Drops what others promised to hold, unless assignments changed since. They cannot change meanwhile.
fn drop_chunks(store: &SegmentStore, rules: &WriteRules, chunks: Vec<ChunkPosition>, epoch: u64) -> Written {
    let assigned = rules.assigned.read();
    if assigned.epoch() != epoch {
        return Written::Dropped(Vec::new());
    }
    let may_go = chunks.into_iter().filter(|position| !(rules.keep)(*position));
    let dropped = may_go.filter(|position| {
        let dropped = store.drop_chunk(*position, OwnChanges::default());
        // What cannot be dropped now is looked at again in the next pass.
        dropped.unwrap_or(false)
    });
    let dropped: Vec<ChunkPosition> = dropped.collect();
    // It waits for reads, which may wait for assignments.
    drop(assigned);
    if let Err(error) = crate::archive::forget_backups(store, &dropped) {
        // They go when their tables are written again.
        debug!(
            error = &error as &dyn std::error::Error,
            "tables of dropped chunks not deleted"
        );
    }
    Written::Dropped(dropped)
}

/// Puts a segment's true table in the place of what is here, then its chunks: what was not written of them is missing like any
/// other.
fn replace(
    ingest: &mut Ingest<SegmentStore>,
    table: SegmentTable,
    chunks: &[ChunkToStore],
    tell: &mut dyn FnMut(&Progress),
) -> Vec<Written> {
    let segment = table.header().segment;
    let root = table.root();
    let has_table = ingest.store().segment_root(segment).map(|root| root.is_some());
    let taken = match has_table {
        Err(error) => Err(IngestError::Store(error)),
        Ok(false) => ingest.take_tables(vec![table]).map(|taken| taken.progress),
        Ok(true) if segment < ingest.next_segment() => ingest.replace(table),
        Ok(true) => {
            let replaced = ingest
                .store()
                .replace_segments(&[(table, root)], chunks, OwnChanges::default());
            replaced.map(|_| Progress::default()).map_err(IngestError::Store)
        }
    };
    let mut written = Vec::new();
    if taken.is_ok() {
        written.push(Written::Closed(vec![segment]));
        for chunk in chunks {
            // A segment that is closed from its own blocks has no table yet, and needs none of them.
            let _ = ingest.store().put_chunk(chunk, OwnChanges::default());
        }
    }
    let result = told(taken, tell);
    written.push(Written::Replaced { segment, result });
    written
}
