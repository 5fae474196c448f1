//! Execution, seen from outside.

use crate::config::ExecutionConfig;
use crate::contract::{prepare_thread, Engine, EXECUTION_STACK_BYTES};
use crate::events::{newest, FinalEvents};
use crate::execute::{Outcome, Rules};
use crate::ledger::{FinalLedger, LedgerError};
use crate::readonly::ReadOnlyExecutor;
use crate::state::{overlaid_keys, Bytes, KeyRange, StateView};
use crate::worker::{ExecutionState, Inbox, Shared, Worker};
use massa_execution_exports::{
    DatastoreKeysRequest, ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionController, ExecutionError,
    ExecutionManager, ExecutionStats, FilteredEvents, FinalAndCandidateBytes, FinalBlock, FinalPeriod,
    ReadOnlyExecutionOutput, ReadOnlyExecutionRequest,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::datastore::get_prefix_bounds;
use massa_models::execution::EventFilter;
use massa_models::operation::OperationId;
use massa_models::output_event::SCOutputEvent;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::thread::JoinHandle;
use tracing::{error, warn};

/// Keys of a datastore that are told with everything else of an address. Who wants more asks for keys.
const INFO_KEYS_MAX: usize = 300;

/// What stops execution, and what talks to it.
pub type ExecutionHandles = (Box<dyn ExecutionManager>, Box<dyn ExecutionController>);

/// Opens the ledger and starts the execution thread.
///
/// # Errors
/// - [`ExecutionError::Config`]: a setting is not usable.
/// - [`ExecutionError::Mismatch`]: the ledger belongs to another network.
/// - [`ExecutionError::Ledger`]: the database cannot be opened or is damaged.
/// - [`ExecutionError::Thread`]: the system did not start the thread.
pub fn start_execution_worker(config: ExecutionConfig) -> Result<ExecutionHandles, ExecutionError> {
    let engine = Engine::new().map_err(|reason| ExecutionError::Config {
        field: "wasmtime",
        reason,
    })?;
    let rules = Rules {
        chain_id: config.chain_id,
        thread_count: config.thread_count,
        block_reward: config.block_reward,
        t0: config.t0,
        genesis_timestamp: config.genesis_timestamp,
        engine: Arc::new(engine),
    };
    let shared = Arc::new(Shared {
        inbox: Mutex::new(Inbox::default()),
        wake: Condvar::new(),
        state: RwLock::new(ExecutionState {
            ledger: FinalLedger::open(&config)?,
            candidates: Arc::default(),
            replaced: 0,
            events: FinalEvents::default(),
            halt: None,
        }),
    });
    let worker = Worker::new(&config, rules.clone(), Arc::clone(&shared));
    let thread = std::thread::Builder::new()
        .name("execution worker".into())
        .stack_size(EXECUTION_STACK_BYTES)
        .spawn(move || {
            prepare_thread();
            worker.run();
        })
        .map_err(|error| ExecutionError::Thread(error.to_string()))?;
    let controller = Controller {
        shared: Arc::clone(&shared),
        rolls: Arc::new(config.rolls),
        rules,
        readonly: Arc::default(),
    };
    let manager = Manager {
        shared,
        thread: Some(thread),
    };
    Ok((Box::new(manager), Box::new(controller)))
}

struct Manager {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ExecutionManager for Manager {
    fn stop(&mut self) {
        self.shared.inbox.lock().is_stopped = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                error!("the execution thread panicked");
            }
        }
    }
}

/// Without a call of `stop` the thread would keep the directory for good.
impl Drop for Manager {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Controller {
    shared: Arc<Shared>,
    rolls: Arc<BTreeMap<Address, u64>>,
    rules: Rules,
    readonly: Arc<ReadOnlyExecutor>,
}

impl ExecutionController for Controller {
    fn update_blockclique_status(
        &self,
        finalized_blocks: HashMap<Slot, BlockId>,
        new_blockclique: Option<HashMap<Slot, BlockId>>,
        block_storage: PreHashMap<BlockId, ExecutionBlockMetadata>,
    ) {
        let mut inbox = self.shared.inbox.lock();
        if inbox.is_stopped {
            return;
        }
        inbox.finalized.extend(finalized_blocks);
        if new_blockclique.is_some() {
            inbox.blockclique = new_blockclique;
        }
        let storages = block_storage
            .into_iter()
            .filter_map(|(id, block)| Some((id, block.storage?)));
        inbox.storages.extend(storages);
        drop(inbox);
        self.shared.wake.notify_one();
    }

    fn get_final_and_candidate_balance(&self, addresses: &[Address]) -> Vec<(Option<Amount>, Option<Amount>)> {
        let state = self.shared.state.read();
        addresses.iter().map(|address| balances(&state, address)).collect()
    }

    fn read_data_entries(
        &self,
        input: &[(Address, Vec<u8>)],
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<FinalAndCandidateBytes> {
        let state = self.shared.state.read();
        let both = |(address, key): &(Address, Vec<u8>)| {
            let last_final = || read("entry", state.ledger.entry(address, key));
            let candidate = state.candidates.entry(address, key);
            kept(keep, last_final(), || candidate.unwrap_or_else(last_final))
        };
        input.iter().map_while(both).collect()
    }

    fn get_datastore_keys(&self, request: &DatastoreKeysRequest) -> Vec<Vec<u8>> {
        let Some(range) = key_range(request) else {
            return Vec::new();
        };
        let state = self.shared.state.read();
        keys(&state, &request.address, &range, request.count, request.is_final)
    }

    fn read_bytecodes(
        &self,
        addresses: &[Address],
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<FinalAndCandidateBytes> {
        let state = self.shared.state.read();
        let both = |address: &Address| {
            let last_final = || read("bytecode", state.ledger.bytecode(address));
            let candidate = state.candidates.bytecode(address);
            kept(keep, last_final(), || candidate.or_else(last_final))
        };
        addresses.iter().map_while(both).collect()
    }

    fn read_events(&self, filter: &EventFilter, keep: &mut dyn FnMut(&SCOutputEvent) -> bool) -> FilteredEvents {
        let state = self.shared.state.read();
        let candidates = state.candidates.outputs().flat_map(|output| &output.events);
        newest(filter, state.events.iter().chain(candidates), keep)
    }

    fn execute_readonly_request(
        &self,
        req: ReadOnlyExecutionRequest,
    ) -> Result<ReadOnlyExecutionOutput, ExecutionError> {
        self.readonly.execute(&self.shared, &self.rules, req)
    }

    fn get_addresses_infos(&self, addresses: &[Address]) -> Vec<ExecutionAddressInfo> {
        let state = self.shared.state.read();
        let info = |address: &Address| {
            let (final_balance, candidate_balance) = balances(&state, address);
            let rolls = self.rolls.get(address).copied().unwrap_or(0);
            let keys_of = |is_final| keys(&state, address, &(Unbounded, Unbounded), INFO_KEYS_MAX, is_final);
            ExecutionAddressInfo {
                candidate_balance: candidate_balance.unwrap_or_default(),
                final_balance: final_balance.unwrap_or_default(),
                candidate_roll_count: rolls,
                final_roll_count: rolls,
                candidate_datastore_keys: keys_of(false),
                final_datastore_keys: keys_of(true),
            }
        };
        addresses.iter().map(info).collect()
    }

    fn get_ops_exec_status(&self, batch: &[OperationId]) -> Vec<(Option<bool>, Option<bool>)> {
        let state = self.shared.state.read();
        let status = |id: &OperationId| {
            let last_final = state.ledger.outcome(id);
            let candidate = state.candidates.outcome(id).or(last_final);
            (candidate.map(Outcome::is_success), last_final.map(Outcome::is_success))
        };
        batch.iter().map(status).collect()
    }

    fn get_stats(&self) -> ExecutionStats {
        let state = self.shared.state.read();
        let final_cursor = state.ledger.cursor();
        ExecutionStats {
            active_cursor: state.candidates.last_slot().unwrap_or(final_cursor).max(final_cursor),
            final_cursor,
        }
    }

    fn get_final_state_hash(&self) -> (Slot, [u8; 32]) {
        let state = self.shared.state.read();
        (state.ledger.cursor(), state.ledger.hash())
    }

    fn get_state_checkpoints(&self) -> Vec<(Slot, [u8; 32])> {
        self.shared.state.read().ledger.checkpoints()
    }

    fn get_halt_reason(&self) -> Option<String> {
        self.shared.state.read().halt.as_ref().map(ToString::to_string)
    }

    fn get_final_period(&self, period: u64) -> Result<Option<FinalPeriod>, ExecutionError> {
        Ok(self.shared.state.read().ledger.final_period(period)?)
    }

    fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError> {
        Ok(self.shared.state.read().ledger.final_blocks()?)
    }

    fn clone_box(&self) -> Box<dyn ExecutionController> {
        Box::new(self.clone())
    }
}

/// (final, candidate) balance.
fn balances(state: &ExecutionState, address: &Address) -> (Option<Amount>, Option<Amount>) {
    let last_final = read("balance", state.ledger.balance(address));
    (last_final, state.candidates.balance(address).or(last_final))
}

/// The first keys of a datastore in a range.
fn keys(state: &ExecutionState, address: &Address, range: &KeyRange, count: usize, is_final: bool) -> Vec<Vec<u8>> {
    let keys = if is_final {
        state.ledger.keys(address, range, count)
    } else {
        let changed = state.candidates.keys(address, range);
        overlaid_keys(&changed, count, |count| state.ledger.keys(address, range, count))
    };
    let keys = keys.map(Some);
    read("keys", keys).unwrap_or_default().into_iter().collect()
}

/// The range that a request is about; `None` where it is empty.
fn key_range(request: &DatastoreKeysRequest) -> Option<KeyRange> {
    let (prefix_start, prefix_end) = get_prefix_bounds(&request.prefix);
    let start = match (&request.start, prefix_start) {
        (Included(key) | Excluded(key), Included(prefix)) if *key < prefix => Included(prefix),
        (Unbounded, prefix) => prefix,
        (start, _) => start.clone(),
    };
    let end = match (&request.end, prefix_end) {
        (Included(key) | Excluded(key), Excluded(prefix)) if *key >= prefix => Excluded(prefix),
        (Unbounded, prefix) => prefix,
        (end, _) => end.clone(),
    };
    let is_empty = match (&start, &end) {
        (Included(start), Included(end)) => start > end,
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
        _ => false,
    };
    (!is_empty).then_some((start, end))
}

/// Both values, if whoever asks keeps them; the second is read when it keeps the first.
fn kept(
    keep: &mut dyn FnMut(&[u8]) -> bool,
    last_final: Option<Bytes>,
    candidate: impl FnOnce() -> Option<Bytes>,
) -> Option<FinalAndCandidateBytes> {
    let mut owned = |bytes: Option<Bytes>| match bytes {
        None => Some(None),
        Some(bytes) => keep(&bytes).then(|| Some(bytes.to_vec())),
    };
    Some((owned(last_final)?, owned(candidate())?))
}

/// What was read; nothing when it cannot be read.
fn read<T>(what: &str, result: Result<Option<T>, LedgerError>) -> Option<T> {
    result.unwrap_or_else(|error| {
        warn!(%what, %error, "ledger not read");
        None
    })
}
