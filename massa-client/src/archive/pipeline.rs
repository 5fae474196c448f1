//! From the file to the store's one writer, on all cores.
//!
//! ```text
//! reader thread ── batches, in file order ──────────────────► the calling thread, which archives
//!              └── the same batches ─► checking threads ─┘ (each batch comes back to its place in the order)
//! ```
//!
//! Every queue is bounded, so memory does not grow with the file.

use crate::archive::import::RefusedBlock;
use crate::mblk::{Entry, MblkError};
use crossbeam_channel::{bounded, Receiver, Sender};
use massa_distributed_storage_exports::verification::verify_blocks;
use massa_distributed_storage_worker::Store;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;

/// Blocks that travel together at most: their signatures are checked in one batch.
const BATCH_BLOCKS: usize = 32;
/// A batch is closed when its records have this many bytes; one more record may have two mebibytes.
const BATCH_BYTES: usize = 256 << 10;
/// Batches in each queue, for each checking thread.
const BATCHES_PER_THREAD: usize = 4;

/// Why the blocks of a file end before the file does.
#[derive(Debug)]
pub enum Stop {
    /// The file cannot be read on.
    File(Box<MblkError>),
    /// A block is not valid, or the archive does not take it.
    Block(Box<RefusedBlock>),
}

/// Blocks in file order, and what came after them if that was not another batch.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    stop: Option<Stop>,
}

/// A batch to be checked, and where it goes then.
type Job = (Batch, Sender<Batch>);

/// Calls `action` with the blocks of `entries`, in order, on the calling thread.
///
/// With `check_threads` above 0, signatures are checked on that many threads, except of blocks that `store` has
/// archived. `action` sees no block behind an invalid one.
///
/// # Errors
/// [`Stop`], the first in file order.
pub fn for_each_block(
    entries: impl Iterator<Item = Result<Entry, MblkError>> + Send,
    store: &Store,
    check_threads: usize,
    mut action: impl FnMut(Entry) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let queued = BATCHES_PER_THREAD * check_threads.max(1);
    std::thread::scope(|scope| {
        let (ordered, in_order) = bounded(queued);
        let (jobs, waiting) = bounded(queued);
        for _ in 0..check_threads {
            let waiting = waiting.clone();
            scope.spawn(move || check_batches(&waiting, store));
        }
        drop(waiting);
        let jobs = (check_threads > 0).then_some(jobs);
        scope.spawn(move || read_batches(entries, jobs.as_ref(), &ordered));
        take_batches(&in_order, &mut action)
    })
}

/// Ends when the queue is empty and closed, at the first reason to stop, or when a thread panicked.
fn take_batches(
    in_order: &Receiver<Receiver<Batch>>,
    action: &mut impl FnMut(Entry) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for batch in in_order.iter().map_while(|batch| batch.recv().ok()) {
        batch.entries.into_iter().try_for_each(&mut *action)?;
        if let Some(stop) = batch.stop {
            return Err(stop);
        }
    }
    Ok(())
}

/// Fills batches until the file or the interest in it ends.
fn read_batches(
    mut entries: impl Iterator<Item = Result<Entry, MblkError>>,
    jobs: Option<&Sender<Job>>,
    ordered: &Sender<Receiver<Batch>>,
) {
    loop {
        let batch = next_batch(&mut entries);
        let last = batch.stop.is_some();
        if batch.entries.is_empty() && !last {
            return;
        }
        let (done, result) = bounded(1);
        let sent = match jobs {
            Some(jobs) => jobs.send((batch, done)).is_ok(),
            None => done.send(batch).is_ok(),
        };
        if !sent || ordered.send(result).is_err() || last {
            return;
        }
    }
}

fn next_batch(entries: &mut impl Iterator<Item = Result<Entry, MblkError>>) -> Batch {
    let mut batch = Batch::default();
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
fn check_batches(waiting: &Receiver<Job>, store: &Store) {
    let mut known = ArchivedIds {
        store,
        period: None,
        ids: Vec::new(),
    };
    for (mut batch, done) in waiting {
        check_batch(&mut batch, &mut known);
        // Nobody waits for it any more when the import failed meanwhile.
        let _ = done.send(batch);
    }
}

/// Cuts the batch off before its first invalid block.
fn check_batch(batch: &mut Batch, known: &mut ArchivedIds<'_>) {
    let parameters = known.store.parameters();
    let unknown: Vec<usize> = (0..batch.entries.len())
        .filter(|index| !known.has(&batch.entries[*index]))
        .collect();
    let records = unknown.iter().map(|index| &batch.entries[*index].record);
    if let Err((position, error)) = verify_blocks(records, parameters.chain_id, parameters.thread_count) {
        let invalid = unknown[position];
        let entry = &batch.entries[invalid];
        batch.stop = Some(Stop::Block(Box::new(RefusedBlock {
            at: entry.at,
            slot: entry.slot,
            fault: error.into(),
        })));
        batch.entries.truncate(invalid);
    }
}

/// The block ids of the archived period that was asked for last.
struct ArchivedIds<'a> {
    store: &'a Store,
    period: Option<u64>,
    ids: Vec<Option<BlockId>>,
}

impl ArchivedIds<'_> {
    /// Whether the store has archived this block, or has pruned its period: its signatures were checked then.
    fn has(&mut self, entry: &Entry) -> bool {
        let Slot { period, thread } = entry.slot;
        if period < self.store.floor() {
            return true;
        }
        if self.period != Some(period) {
            self.period = Some(period);
            self.ids.clear();
            // Whoever archives the block meets the error again, and reports it.
            if let Ok(Some(manifest)) = self.store.manifest(period) {
                self.ids.extend(manifest.places.iter().map(|place| place.block_id()));
            }
        }
        let Some(Some(archived)) = self.ids.get(usize::from(thread)) else {
            return false;
        };
        let view = entry.record.view(self.store.parameters().thread_count);
        view.is_ok_and(|view| view.block_id() == *archived)
    }
}
