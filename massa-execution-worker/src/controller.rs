//! Execution, seen from outside.

use crate::candidates::{CandidateView, Candidates};
use crate::config::ExecutionConfig;
use crate::execute::{Outcome, StateView};
use crate::ledger::{FinalLedger, LedgerError};
use crate::worker::{ExecutionState, Inbox, Shared, Worker};
use massa_execution_exports::{
    ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionController, ExecutionError, ExecutionManager,
    ExecutionStats, FinalBlock,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use tracing::{error, warn};

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
    let shared = Arc::new(Shared {
        inbox: Mutex::new(Inbox::default()),
        wake: Condvar::new(),
        state: RwLock::new(ExecutionState {
            ledger: FinalLedger::open(&config)?,
            candidates: Candidates::default(),
            halt: None,
        }),
    });
    let worker = Worker::new(&config, Arc::clone(&shared));
    let thread = std::thread::Builder::new()
        .name("execution worker".into())
        .spawn(move || worker.run())
        .map_err(|error| ExecutionError::Thread(error.to_string()))?;
    let controller = Controller {
        shared: Arc::clone(&shared),
        rolls: Arc::new(config.rolls),
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

    fn get_final_and_active_data_entry(&self, _: Vec<(Address, Vec<u8>)>) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        Vec::new()
    }

    fn get_datastore_keys(&self, _: &massa_execution_exports::DatastoreKeysRequest) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn get_final_and_candidate_bytecode(&self, _: &[Address]) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        Vec::new()
    }

    fn get_filtered_sc_output_event(
        &self,
        _: massa_models::execution::EventFilter,
    ) -> Vec<massa_models::output_event::SCOutputEvent> {
        Vec::new()
    }

    fn execute_readonly_request(
        &self,
        _: massa_execution_exports::ReadOnlyExecutionRequest,
    ) -> Result<massa_execution_exports::ReadOnlyExecutionOutput, massa_execution_exports::ExecutionError> {
        unimplemented!("these tests run no contract")
    }

    fn get_addresses_infos(&self, addresses: &[Address]) -> Vec<ExecutionAddressInfo> {
        let state = self.shared.state.read();
        let info = |address: &Address| {
            let (final_balance, candidate_balance) = balances(&state, address);
            let rolls = self.rolls.get(address).copied().unwrap_or(0);
            ExecutionAddressInfo {
                candidate_balance: candidate_balance.unwrap_or_default(),
                final_balance: final_balance.unwrap_or_default(),
                candidate_roll_count: rolls,
                final_roll_count: rolls,
                candidate_datastore_keys: Vec::new(),
                final_datastore_keys: Vec::new(),
            }
        };
        addresses.iter().map(info).collect()
    }

    fn get_ops_exec_status(&self, batch: &[OperationId]) -> Vec<(Option<bool>, Option<bool>)> {
        let state = self.shared.state.read();
        let view = candidate_view(&state);
        let status = |id: &OperationId| {
            (
                view.outcome(id).map(Outcome::is_success),
                state.ledger.outcome(id).map(Outcome::is_success),
            )
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

    fn get_halt_reason(&self) -> Option<String> {
        self.shared.state.read().halt.as_ref().map(ToString::to_string)
    }

    fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError> {
        Ok(self.shared.state.read().ledger.final_blocks()?)
    }

    fn clone_box(&self) -> Box<dyn ExecutionController> {
        Box::new(self.clone())
    }
}

fn candidate_view(state: &ExecutionState) -> CandidateView<'_> {
    CandidateView {
        ledger: &state.ledger,
        candidates: &state.candidates,
    }
}

/// (final, candidate) balance.
fn balances(state: &ExecutionState, address: &Address) -> (Option<Amount>, Option<Amount>) {
    let readable = |balance: Result<Option<Amount>, LedgerError>| {
        balance.unwrap_or_else(|error| {
            warn!(%address, %error, "balance not read");
            None
        })
    };
    (
        readable(state.ledger.balance(address)),
        readable(candidate_view(state).balance(address)),
    )
}
