//! Slices of chunks on their way to the disk: written on a thread of their own while the next blocks are taken.
//!
//! Only what is in memory goes this way ([`super::Acknowledge::AtClose`]): what fails is read again with its blocks. The table of a
//! segment is written when all of its slices are.

use crate::archive::rows::{Packing, SegmentRows};
use crate::chunking::segment::FinishedChunk;
use crate::storage_backend::Keep;
use crossbeam_channel::{bounded, unbounded, Receiver, Sender};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// Slices that wait while another one is written.
const WAITING_MAX: usize = 1;

/// Chunks of one segment, each with what it is kept as.
pub(super) struct Slice {
    pub(super) table: Arc<SegmentTable>,
    pub(super) chunks: Vec<(FinishedChunk, Keep)>,
    pub(super) packing: Packing,
}

impl Slice {
    fn write<S: SegmentRows>(self, store: &S) -> Result<(), S::Error> {
        store.put_closing(&self.table, self.chunks, self.packing)
    }
}

/// The thread, from the first slice on.
pub(super) struct SliceWriter<S: SegmentRows> {
    thread: Option<Thread<S::Error>>,
}

struct Thread<E> {
    slices: Sender<Slice>,
    written: Receiver<Result<(), E>>,
    under_way: usize,
    handle: JoinHandle<()>,
}

impl<S: SegmentRows> Default for SliceWriter<S> {
    fn default() -> Self {
        Self { thread: None }
    }
}

impl<S: SegmentRows> SliceWriter<S> {
    /// Hands a slice over; waits while others are before it.
    ///
    /// # Errors
    /// Why this or an earlier slice could not be written; nothing is under way then.
    pub(super) fn write(&mut self, store: &Arc<S>, slice: Slice) -> Result<(), S::Error> {
        let Some(thread) = self.started(store) else {
            return slice.write(&**store);
        };
        let ready = thread.written.try_iter().try_for_each(|written| {
            thread.under_way -= 1;
            written
        });
        if ready.is_err() {
            // The first failure is the one to tell.
            let _ = self.wait();
            return ready;
        }
        thread.slices.send(slice).expect("the thread ends with its sender");
        thread.under_way += 1;
        Ok(())
    }

    /// Waits for everything that was handed over.
    ///
    /// # Errors
    /// Why the first slice that could not be written was not.
    pub(super) fn wait(&mut self) -> Result<(), S::Error> {
        let mut all = Ok(());
        if let Some(thread) = &mut self.thread {
            while thread.under_way > 0 {
                let written = thread.written.recv().expect("the thread ends with its sender");
                thread.under_way -= 1;
                all = all.and(written);
            }
        }
        all
    }

    /// `None`: this machine has no thread to give.
    fn started(&mut self, store: &Arc<S>) -> Option<&mut Thread<S::Error>> {
        if self.thread.is_none() {
            let (slices, waiting) = bounded::<Slice>(WAITING_MAX);
            let (done, written) = unbounded();
            let store = Arc::clone(store);
            let write_all = move || {
                for slice in waiting {
                    // Who waits for the result is gone when the writer was dropped.
                    let _ = done.send(slice.write(&*store));
                }
            };
            let handle = Builder::new().name("slice writer".into()).spawn(write_all).ok()?;
            self.thread = Some(Thread {
                slices,
                written,
                under_way: 0,
                handle,
            });
        }
        self.thread.as_mut()
    }
}

impl<S: SegmentRows> Drop for SliceWriter<S> {
    fn drop(&mut self) {
        if let Some(Thread { slices, handle, .. }) = self.thread.take() {
            drop(slices);
            // A panic of the thread was told by the one that waited for its result.
            let _ = handle.join();
        }
    }
}
