//! From the file to the writer of segments, on all cores.
//!
//! ```text
//! reader thread ── batches, in file order ─────────────────────────► the calling thread, which encodes, hashes and writes
//!              └── the same batches ─► checking threads: ids, signatures ─┘ (each comes back to its place in the order)
//! ```
//!
//! Every queue is bounded, so memory does not grow with the file. Ids are always checked, on the checking threads.

use crate::mblk::{Entry, MblkError, Position};
use crossbeam_channel::{bounded, Receiver, Sender};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::VerifyBlockError;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::ingest::CheckedBlock;
use massa_models::slot::Slot;

/// Blocks that travel together at most: their signatures are checked in one batch.
const BATCH_BLOCKS: usize = 128;
/// A batch is closed when its records have this many bytes; one more record may have two mebibytes.
const BATCH_BYTES: usize = 512 << 10;
/// Batches in each queue, for each checking thread.
const BATCHES_PER_THREAD: usize = 4;

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// Those of headers and operations.
    Checked,
    /// Ids and operation roots alone are.
    Unchecked,
}

/// A block of the file whose ids, and signatures if asked for, were checked.
#[derive(Debug)]
pub struct CheckedEntry {
    /// Where it begins.
    pub at: Position,
    /// The block.
    pub block: CheckedBlock,
}

/// A block of the file that is not valid.
#[derive(Debug, thiserror::Error)]
#[error("{at} (slot {}:{})", slot.period, slot.thread)]
pub struct InvalidBlock {
    /// Where it begins.
    pub at: Position,
    /// Its slot.
    pub slot: Slot,
    /// What is wrong with it.
    #[source]
    pub fault: VerifyBlockError,
}

/// Why the blocks of a file end before the file does. The file is at fault.
#[derive(Debug)]
pub enum Stop {
    /// It cannot be read on.
    File(Box<MblkError>),
    /// A block is not valid.
    Block(Box<InvalidBlock>),
}

/// Blocks in file order, and what came after them if that was not another batch.
#[derive(Default)]
struct Batch<T> {
    entries: Vec<T>,
    stop: Option<Stop>,
}

/// A batch to be checked, and where it goes then.
type Job = (Batch<Entry>, Sender<Batch<CheckedEntry>>);

/// What is to be checked, and how.
#[derive(Clone, Copy)]
pub struct Checks<'a> {
    /// The chain.
    pub parameters: &'a ArchiveParameters,
    /// Whether signatures are checked.
    pub signatures: Signatures,
    /// Threads that check.
    pub threads: usize,
}

/// Calls `action` with the blocks of `entries`, in order, on the calling thread, once they were checked. `action` sees no block
/// behind an invalid one.
///
/// # Errors
/// Those of `action`, and the first [`Stop`] in file order.
pub fn for_each_block<E: From<Stop>>(
    entries: impl Iterator<Item = Result<Entry, MblkError>> + Send,
    checks: Checks<'_>,
    mut action: impl FnMut(CheckedEntry) -> Result<(), E>,
) -> Result<(), E> {
    let threads = checks.threads.max(1);
    let queued = BATCHES_PER_THREAD * threads;
    std::thread::scope(|scope| {
        let (ordered, in_order) = bounded(queued);
        let (jobs, waiting) = bounded::<Job>(queued);
        for _ in 0..threads {
            let waiting = waiting.clone();
            scope.spawn(move || check_batches(&waiting, checks));
        }
        drop(waiting);
        scope.spawn(move || read_batches(entries, &jobs, &ordered));
        take_batches(&in_order, &mut action)
    })
}

/// Ends when the queue is empty and closed, at the first reason to stop, or when a thread panicked.
fn take_batches<E: From<Stop>>(
    in_order: &Receiver<Receiver<Batch<CheckedEntry>>>,
    action: &mut impl FnMut(CheckedEntry) -> Result<(), E>,
) -> Result<(), E> {
    for batch in in_order.iter().map_while(|batch| batch.recv().ok()) {
        batch.entries.into_iter().try_for_each(&mut *action)?;
        if let Some(stop) = batch.stop {
            return Err(stop.into());
        }
    }
    Ok(())
}

/// Fills batches until the file or the interest in it ends.
fn read_batches(
    mut entries: impl Iterator<Item = Result<Entry, MblkError>>,
    jobs: &Sender<Job>,
    ordered: &Sender<Receiver<Batch<CheckedEntry>>>,
) {
    loop {
        let batch = next_batch(&mut entries);
        let last = batch.stop.is_some();
        if batch.entries.is_empty() && !last {
            return;
        }
        let (done, result) = bounded(1);
        if jobs.send((batch, done)).is_err() || ordered.send(result).is_err() || last {
            return;
        }
    }
}

fn next_batch(entries: &mut impl Iterator<Item = Result<Entry, MblkError>>) -> Batch<Entry> {
    let mut batch = Batch {
        entries: Vec::new(),
        stop: None,
    };
    let mut bytes = 0;
    while batch.entries.len() < BATCH_BLOCKS && bytes < BATCH_BYTES {
        match entries.next() {
            Some(Ok(entry)) => {
                bytes += entry.record.as_bytes().len();
                batch.entries.push(entry);
            }
            Some(Err(error)) => {
                batch.stop = Some(Stop::File(Box::new(error)));
                break;
            }
            None => break,
        }
    }
    batch
}

/// Checks batches until there are no more.
fn check_batches(waiting: &Receiver<Job>, checks: Checks<'_>) {
    for (batch, done) in waiting {
        // Nobody waits for it any more when the import failed meanwhile.
        let _ = done.send(check_batch(batch, checks));
    }
}

/// Checks a batch, and cuts it off before its first invalid block.
fn check_batch(batch: Batch<Entry>, checks: Checks<'_>) -> Batch<CheckedEntry> {
    let Batch { entries, mut stop } = batch;
    let places: Vec<(Position, Slot)> = entries.iter().map(|entry| (entry.at, entry.slot)).collect();
    let records: Vec<BlockRecord> = entries.into_iter().map(|entry| entry.record).collect();
    let (blocks, fault) = match checks.signatures {
        Signatures::Checked => CheckedBlock::verify(records, checks.parameters),
        Signatures::Unchecked => check_ids(records, checks.parameters),
    };
    if let Some((position, fault)) = fault {
        let (at, slot) = places[position];
        stop = Some(Stop::Block(Box::new(InvalidBlock { at, slot, fault })));
    }
    let checked = blocks
        .into_iter()
        .zip(places)
        .map(|(block, (at, _))| CheckedEntry { at, block });
    Batch {
        entries: checked.collect(),
        stop,
    }
}

/// Blocks before the first one whose ids are wrong, its position and what is wrong.
fn check_ids(
    records: Vec<BlockRecord>,
    parameters: &ArchiveParameters,
) -> (Vec<CheckedBlock>, Option<(usize, VerifyBlockError)>) {
    let mut blocks = Vec::with_capacity(records.len());
    for record in records {
        match CheckedBlock::new(record, parameters) {
            Ok(block) => blocks.push(block),
            Err(error) => {
                let position = blocks.len();
                return (blocks, Some((position, error.into())));
            }
        }
    }
    (blocks, None)
}
