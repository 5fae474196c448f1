//! The factory thread.

use crate::block::{build_block, choose_parents};
use crate::error::FactoryError;
use crate::schedule::Schedule;
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use massa_consensus_exports::ConsensusController;
use massa_models::error::ModelsError;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_pos_exports::SelectorController;
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use massa_wallet::Wallet;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use tracing::{debug, error, warn};

/// Settings of production: the network's.
#[derive(Clone, Debug)]
pub struct FactoryConfig {
    /// When the first slot began.
    pub genesis_timestamp: MassaTime,
    /// Length of a period.
    pub t0: MassaTime,
    /// Threads; divides `t0`.
    pub thread_count: u8,
    /// The network.
    pub chain_id: u64,
}

/// Links to other modules.
#[derive(Clone)]
pub struct FactoryChannels {
    /// Tells who may produce a block.
    pub selector: Box<dyn SelectorController>,
    /// Gives parents and takes blocks.
    pub consensus: Box<dyn ConsensusController>,
    /// Gives operations.
    pub pool: Box<dyn PoolController>,
    /// A handle of the node's store.
    pub storage: Storage,
}

/// Stops production.
pub trait FactoryManager: Send {
    /// Ends the thread. A block that is being made is finished first.
    fn stop(&mut self);
}

/// Starts producing blocks with the keys of `wallet`, which may change meanwhile. While `may_produce` is false, slots
/// go by unused.
///
/// # Errors
/// [`FactoryError`].
pub fn start_factory_worker(
    config: FactoryConfig,
    wallet: Arc<RwLock<Wallet>>,
    channels: FactoryChannels,
    may_produce: Arc<AtomicBool>,
) -> Result<Box<dyn FactoryManager>, FactoryError> {
    let schedule = Schedule {
        genesis_timestamp: config.genesis_timestamp,
        t0: config.t0,
        thread_count: config.thread_count,
    };
    let previous = schedule.start_after(MassaTime::now())?;
    let (stop_sender, stop) = bounded(0);
    let worker = Worker {
        schedule,
        chain_id: config.chain_id,
        wallet,
        channels,
        may_produce,
        stop,
    };
    let thread = std::thread::Builder::new()
        .name("factory".into())
        .spawn(move || worker.run(previous))
        .map_err(FactoryError::Thread)?;
    Ok(Box::new(Manager {
        stop: Some(stop_sender),
        thread: Some(thread),
    }))
}

struct Manager {
    /// Dropped to stop the thread: it waits for nothing but this and the next slot.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FactoryManager for Manager {
    fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                error!("the factory thread panicked");
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Worker {
    schedule: Schedule,
    chain_id: u64,
    wallet: Arc<RwLock<Wallet>>,
    channels: FactoryChannels,
    may_produce: Arc<AtomicBool>,
    stop: Receiver<()>,
}

impl Worker {
    fn run(self, mut previous: Slot) {
        loop {
            match self.wait_for_slot(previous) {
                Ok(Some(slot)) => {
                    previous = slot;
                    self.on_slot(slot);
                }
                Ok(None) => return,
                Err(error) => return error!(%previous, %error, "no slot follows; no more blocks are made"),
            }
        }
    }

    /// Sleeps until the slot after `previous` has begun; `None` when told to stop.
    fn wait_for_slot(&self, previous: Slot) -> Result<Option<Slot>, ModelsError> {
        loop {
            let now = MassaTime::now();
            let slot = self.schedule.next(previous, now)?;
            let wait = self.schedule.start_of(slot)?.saturating_sub(now);
            match self.stop.recv_timeout(wait.to_duration()) {
                Err(RecvTimeoutError::Timeout) if wait == MassaTime::from_millis(0) => return Ok(Some(slot)),
                // The time is read again: the clock may have been set, or the thread overslept.
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    fn on_slot(&self, slot: Slot) {
        if !self.may_produce.load(Ordering::Acquire) {
            return;
        }
        let producer = match self.channels.selector.get_producer(slot) {
            Ok(producer) => producer,
            Err(error) => return warn!(%slot, %error, "nobody was drawn"),
        };
        let keypair = self.wallet.read().find_associated_keypair(&producer).cloned();
        if let Some(keypair) = keypair {
            self.produce(slot, &keypair);
        }
    }

    fn produce(&self, slot: Slot, keypair: &KeyPair) {
        let best_parents = self.channels.consensus.get_best_parents();
        let parents = match choose_parents(slot, self.schedule.thread_count, &best_parents) {
            Ok(parents) => parents,
            Err(reason) => return warn!(%slot, %reason, "no block produced"),
        };
        let (operations, claimed) = self.channels.pool.get_block_operations(&slot);
        let operation_count = operations.len();
        let block = match build_block(keypair, self.chain_id, slot, parents, operations) {
            Ok(block) => block,
            Err(error) => return error!(%slot, %error, "no block produced"),
        };
        let id = block.id;
        let mut storage = self.channels.storage.clone_without_refs();
        storage.extend(claimed);
        storage.store_block(block);
        self.channels.consensus.register_block(id, slot, storage, true);
        debug!(%slot, %id, operations = operation_count, "block produced");
    }
}
