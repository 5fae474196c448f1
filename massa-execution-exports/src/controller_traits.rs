//! The execution thread, seen from outside.

use crate::{
    DatastoreKeysRequest, ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionError, ExecutionStats, FinalBlock,
    ReadOnlyExecutionOutput, ReadOnlyExecutionRequest,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::execution::EventFilter;
use massa_models::operation::OperationId;
use massa_models::output_event::SCOutputEvent;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use std::collections::HashMap;

/// (final, candidate) value; `None` where there is none.
pub type FinalAndCandidateBytes = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Events that pass a filter, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilteredEvents {
    /// The newest of them.
    pub events: Vec<SCOutputEvent>,
    /// Whether older ones were left out.
    pub cut: bool,
}

/// The final blocks of a period with their ids, one for each thread, `None` for a miss.
pub type FinalPeriod = Vec<Option<(BlockId, FinalBlock)>>;

/// Execution of blocks and the ledger.
pub trait ExecutionController: Send + Sync {
    /// Tells what became final and what the best clique is now. Never waits.
    ///
    /// `finalized_blocks`: newly final blocks. `new_blockclique`: blocks of the best clique that are not final, if it
    /// changed. `block_storage`: their content, with storage for the blocks that execution has not been given before.
    fn update_blockclique_status(
        &self,
        finalized_blocks: HashMap<Slot, BlockId>,
        new_blockclique: Option<HashMap<Slot, BlockId>>,
        block_storage: PreHashMap<BlockId, ExecutionBlockMetadata>,
    );

    /// (final, candidate) balance of each address; `None` where there is no such address.
    fn get_final_and_candidate_balance(&self, addresses: &[Address]) -> Vec<(Option<Amount>, Option<Amount>)>;

    /// (final, candidate) value of each (address, key) of a datastore; all of one state.
    fn get_final_and_active_data_entry(&self, input: Vec<(Address, Vec<u8>)>) -> Vec<FinalAndCandidateBytes> {
        self.read_data_entries(&input, &mut |_| true)
    }

    /// The same, while `keep` agrees: it is shown each value before the next is read, since one may have megabytes.
    /// Shorter than `input` if it did not.
    fn read_data_entries(
        &self,
        input: &[(Address, Vec<u8>)],
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<FinalAndCandidateBytes>;

    /// Keys of a datastore, ascending; none where there is no such address.
    fn get_datastore_keys(&self, request: &DatastoreKeysRequest) -> Vec<Vec<u8>>;

    /// (final, candidate) bytecode of each address.
    fn get_final_and_candidate_bytecode(&self, addresses: &[Address]) -> Vec<FinalAndCandidateBytes> {
        self.read_bytecodes(addresses, &mut |_| true)
    }

    /// The same, while `keep` agrees: it is shown each bytecode before the next is read. Shorter than `addresses` if it
    /// did not.
    fn read_bytecodes(&self, addresses: &[Address], keep: &mut dyn FnMut(&[u8]) -> bool)
        -> Vec<FinalAndCandidateBytes>;

    /// Events of contracts: those of candidate slots, and those of the last final ones; the newest, if there are too many.
    fn get_filtered_sc_output_event(&self, filter: EventFilter) -> Vec<SCOutputEvent> {
        self.read_events(&filter, &mut |_| true).events
    }

    /// The same, while `keep` agrees: it is shown the events from the newest on.
    fn read_events(&self, filter: &EventFilter, keep: &mut dyn FnMut(&SCOutputEvent) -> bool) -> FilteredEvents;

    /// Runs something on the candidate state and changes nothing. Waits for it.
    ///
    /// # Errors
    /// [`ExecutionError::Request`]; a failure of what is run is in the output.
    fn execute_readonly_request(
        &self,
        req: ReadOnlyExecutionRequest,
    ) -> Result<ReadOnlyExecutionOutput, ExecutionError>;

    /// What is known of each address.
    fn get_addresses_infos(&self, addresses: &[Address]) -> Vec<ExecutionAddressInfo>;

    /// (candidate, final) execution status of each operation: executed and successful, executed and failed, or `None`
    /// when it was not executed or its validity is long over.
    fn get_ops_exec_status(&self, batch: &[OperationId]) -> Vec<(Option<bool>, Option<bool>)>;

    /// How far execution is.
    fn get_stats(&self) -> ExecutionStats;

    /// Hash of the final state after the last final slot executed, and that slot.
    fn get_final_state_hash(&self) -> (Slot, [u8; 32]);

    /// The last slots at which nodes compare their final states, each with the hash of the state after it, oldest first: the last slot of
    /// every [`STATE_CHECKPOINT_PERIODS`](crate::STATE_CHECKPOINT_PERIODS)-th period, as far as this process executed it.
    fn get_state_checkpoints(&self) -> Vec<(Slot, [u8; 32])> {
        Vec::new()
    }

    /// Why final slots are not executed although final blocks wait; `None` while all is well.
    fn get_halt_reason(&self) -> Option<String> {
        None
    }

    /// Final blocks from which consensus can start again, in slot order: those of the last periods up to
    /// [`ExecutionStats::final_cursor`].
    ///
    /// # Errors
    /// [`ExecutionError::Ledger`].
    fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError>;

    /// The final blocks of a period, one for each thread, `None` for a miss. Nothing while one of its slots is not executed as
    /// final, or once its blocks are not kept any more.
    ///
    /// # Errors
    /// [`ExecutionError::Ledger`].
    fn get_final_period(&self, period: u64) -> Result<Option<FinalPeriod>, ExecutionError> {
        let _ = period;
        Ok(None)
    }

    /// A second handle.
    fn clone_box(&self) -> Box<dyn ExecutionController>;
}

impl Clone for Box<dyn ExecutionController> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

/// Stops execution.
pub trait ExecutionManager: Send {
    /// Ends the thread and releases the ledger's directory.
    fn stop(&mut self);
}
