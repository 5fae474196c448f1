//! The pool, shared by threads.

use crate::config::PoolConfig;
use crate::pool::{fit_into_block, surplus, BlockLimits, Pool, PooledOperation, ThreadLimits};
use massa_execution_exports::ExecutionController;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::OperationId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_pool_exports::{PoolController, PoolError};
use massa_storage::Storage;
use massa_time::MassaTime;
use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::Arc;

/// The pool of operations. Clones share it.
///
/// Execution is never asked while the pool is locked for writing, since consensus waits for that lock.
#[derive(Clone)]
pub struct PoolWorker {
    config: Arc<PoolConfig>,
    inner: Arc<RwLock<Inner>>,
    execution: Box<dyn ExecutionController>,
}

struct Inner {
    pool: Pool,
    /// Claims exactly the operations of the pool.
    storage: Storage,
}

impl PoolWorker {
    /// An empty pool on the store of `storage`. `execution` tells what is executed already and who can pay.
    pub fn new(config: PoolConfig, storage: &Storage, execution: Box<dyn ExecutionController>) -> Self {
        let inner = Inner {
            pool: Pool::new(config.thread_count),
            storage: storage.clone_without_refs(),
        };
        Self {
            config: Arc::new(config),
            inner: Arc::new(RwLock::new(inner)),
            execution,
        }
    }

    /// The offered operations that pay enough, with their threads.
    fn acceptable(&self, ops: &Storage) -> Vec<(u8, PooledOperation)> {
        let stored = ops.read_operations();
        let offered = ops.get_op_refs().iter().filter_map(|id| stored.get(id));
        let paying = offered.filter(|operation| operation.content.fee >= self.config.minimal_fees);
        paying
            .map(|operation| {
                let thread = operation.content_creator_address.get_thread(self.config.thread_count);
                let pooled = PooledOperation::new(operation, self.config.operation_validity_periods);
                (thread, pooled)
            })
            .collect()
    }

    /// Brings a thread that is too full back to its limits.
    fn trim(&self, thread: u8) {
        let limits = ThreadLimits {
            operations: self.config.max_operations_per_thread,
            bytes: self.config.max_bytes_per_thread,
        };
        let (operations, horizon) = {
            let inner = self.inner.read();
            if !inner.pool.is_over(thread, limits) {
                return;
            }
            let operations: Vec<PooledOperation> = inner.pool.of_thread(thread).cloned().collect();
            let horizon = inner.pool.latest_final_period();
            (
                operations,
                horizon.saturating_add(self.config.operation_validity_periods),
            )
        };
        let balances = self.balances(&operations);
        self.drop_operations(&surplus(operations.iter(), balances, horizon, limits));
    }

    /// What the senders have after the candidate slots.
    fn balances(&self, operations: &[PooledOperation]) -> PreHashMap<Address, Amount> {
        let senders: PreHashSet<Address> = operations.iter().map(|operation| operation.sender).collect();
        let senders: Vec<Address> = senders.into_iter().collect();
        let balances = self.execution.get_final_and_candidate_balance(&senders);
        let known = senders.into_iter().zip(balances);
        known
            .filter_map(|(sender, (_, candidate))| Some((sender, candidate?)))
            .collect()
    }

    /// Those of `operations` that are not executed, neither in final nor in candidate slots; and the ids of those that
    /// are executed in final slots.
    fn split_executed(&self, operations: Vec<PooledOperation>) -> (Vec<PooledOperation>, PreHashSet<OperationId>) {
        let ids: Vec<OperationId> = operations.iter().map(|operation| operation.id).collect();
        let status = self.execution.get_ops_exec_status(&ids);
        let executed_finally = ids.iter().zip(&status).filter(|(_, (_, last))| last.is_some());
        let done = executed_finally.map(|(id, _)| *id).collect();
        let open = operations.into_iter().zip(status);
        let open = open.filter(|(_, status)| *status == (None, None));
        (open.map(|(operation, _)| operation).collect(), done)
    }

    /// Drops what was executed in final slots, in the threads that went on: a node that makes no block has no other
    /// occasion. Execution may be behind consensus; what it has not done yet goes the next time.
    fn drop_executed(&self, final_periods: &[u64]) {
        let operations: Vec<PooledOperation> = {
            let inner = self.inner.read();
            let threads = (0..self.config.thread_count).zip(final_periods);
            let went_on = threads.filter(|(thread, period)| inner.pool.final_period(*thread) < **period);
            let operations = went_on.flat_map(|(thread, _)| inner.pool.of_thread(thread));
            operations.cloned().collect()
        };
        let (_, done) = self.split_executed(operations);
        self.drop_operations(&done);
    }

    fn drop_operations(&self, ids: &PreHashSet<OperationId>) {
        if ids.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        for id in ids {
            inner.pool.remove(id);
        }
        inner.storage.drop_operation_refs(ids);
    }

    fn read(&self, timeout: Option<MassaTime>) -> Result<RwLockReadGuard<'_, Inner>, PoolError> {
        match timeout {
            None => Ok(self.inner.read()),
            Some(timeout) => self
                .inner
                .try_read_for(timeout.to_duration())
                .ok_or(PoolError::Timeout(timeout.as_millis())),
        }
    }
}

impl PoolController for PoolWorker {
    fn add_operations(&mut self, ops: Storage) -> Result<(), PoolError> {
        let operations = self.acceptable(&ops);
        let mut inner = self.inner.write();
        let mut added = PreHashSet::default();
        let mut threads: Vec<u8> = Vec::new();
        for (thread, operation) in operations {
            let id = operation.id;
            if inner.pool.insert(thread, operation) {
                added.insert(id);
                threads.push(thread);
            }
        }
        inner.storage.claim_operation_refs(&added);
        drop(inner);
        threads.sort_unstable();
        threads.dedup();
        threads.into_iter().for_each(|thread| self.trim(thread));
        Ok(())
    }

    fn notify_final_cs_periods(&mut self, final_cs_periods: &[u64]) {
        self.drop_executed(final_cs_periods);
        let mut inner = self.inner.write();
        let mut expired = PreHashSet::default();
        for (thread, period) in (0..self.config.thread_count).zip(final_cs_periods) {
            expired.extend(inner.pool.set_final_period(thread, *period));
        }
        inner.storage.drop_operation_refs(&expired);
    }

    fn get_block_operations(&self, slot: &Slot) -> (Vec<OperationId>, Storage) {
        let valid: Vec<PooledOperation> = {
            let inner = self.inner.read();
            let operations = inner.pool.of_thread(slot.thread);
            operations
                .filter(|operation| operation.validity.contains(&slot.period))
                .cloned()
                .collect()
        };
        let (open, done) = self.split_executed(valid);
        self.drop_operations(&done);
        let limits = BlockLimits {
            bytes: self.config.max_block_size.into(),
            gas: self.config.max_gas_per_block,
            operations: self.config.max_operations_per_block as usize,
        };
        let mut chosen = fit_into_block(&open, self.balances(&open), limits);
        let mut storage = self.inner.read().storage.clone_without_refs();
        // An operation may have left the pool meanwhile.
        let claimed = storage.claim_operation_refs(&chosen.iter().copied().collect());
        chosen.retain(|id| claimed.contains(id));
        (chosen, storage)
    }

    fn get_operation_count(&self, timeout: Option<MassaTime>) -> Result<usize, PoolError> {
        Ok(self.read(timeout)?.pool.len())
    }

    fn contains_operations(
        &self,
        operations: &[OperationId],
        timeout: Option<MassaTime>,
    ) -> Result<Vec<bool>, PoolError> {
        let mut contained: Vec<bool> = {
            let inner = self.read(timeout)?;
            operations.iter().map(|id| inner.pool.contains(id)).collect()
        };
        // What a candidate slot has executed stays, because the slot may be undone; but it does not wait.
        for (is_contained, status) in contained.iter_mut().zip(self.execution.get_ops_exec_status(operations)) {
            *is_contained &= status == (None, None);
        }
        Ok(contained)
    }

    fn clone_box(&self) -> Box<dyn PoolController> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_execution_exports::{
        ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionError, ExecutionStats, FinalBlock,
    };
    use massa_models::block_id::BlockId;
    use std::collections::HashMap;

    /// Is never asked.
    #[derive(Clone)]
    struct NoExecution;

    impl ExecutionController for NoExecution {
        fn update_blockclique_status(
            &self,
            _: HashMap<Slot, BlockId>,
            _: Option<HashMap<Slot, BlockId>>,
            _: PreHashMap<BlockId, ExecutionBlockMetadata>,
        ) {
        }

        fn get_final_and_candidate_balance(&self, _: &[Address]) -> Vec<(Option<Amount>, Option<Amount>)> {
            Vec::new()
        }

        fn read_data_entries(
            &self,
            _: &[(Address, Vec<u8>)],
            _: &mut dyn FnMut(&[u8]) -> bool,
        ) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
            Vec::new()
        }

        fn get_datastore_keys(&self, _: &massa_execution_exports::DatastoreKeysRequest) -> Vec<Vec<u8>> {
            Vec::new()
        }

        fn read_bytecodes(
            &self,
            _: &[Address],
            _: &mut dyn FnMut(&[u8]) -> bool,
        ) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
            Vec::new()
        }

        fn read_events(
            &self,
            _: &massa_models::execution::EventFilter,
            _: &mut dyn FnMut(&massa_models::output_event::SCOutputEvent) -> bool,
        ) -> massa_execution_exports::FilteredEvents {
            massa_execution_exports::FilteredEvents::default()
        }

        fn execute_readonly_request(
            &self,
            _: massa_execution_exports::ReadOnlyExecutionRequest,
        ) -> Result<massa_execution_exports::ReadOnlyExecutionOutput, massa_execution_exports::ExecutionError> {
            unreachable!("these tests run no contract")
        }

        fn get_addresses_infos(&self, _: &[Address]) -> Vec<ExecutionAddressInfo> {
            Vec::new()
        }

        fn get_ops_exec_status(&self, _: &[OperationId]) -> Vec<(Option<bool>, Option<bool>)> {
            Vec::new()
        }

        fn get_stats(&self) -> ExecutionStats {
            ExecutionStats {
                active_cursor: Slot::min(),
                final_cursor: Slot::min(),
            }
        }

        fn get_final_state_hash(&self) -> (Slot, [u8; 32]) {
            (Slot::min(), [0; 32])
        }

        fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError> {
            Ok(Vec::new())
        }

        fn clone_box(&self) -> Box<dyn ExecutionController> {
            Box::new(self.clone())
        }
    }

    #[test]
    fn a_question_to_a_pool_that_is_in_use_ends_at_its_timeout() {
        let pool = PoolWorker::new(PoolConfig::new(2), &Storage::create_root(), Box::new(NoExecution));
        let timeout = Some(MassaTime::from_millis(5));
        assert_eq!(pool.get_operation_count(timeout), Ok(0));
        let _in_use = pool.inner.write();
        assert_eq!(pool.get_operation_count(timeout), Err(PoolError::Timeout(5)));
        assert_eq!(pool.contains_operations(&[], timeout), Err(PoolError::Timeout(5)));
    }
}
