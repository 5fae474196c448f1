//! What the node asks of the pool of operations.

use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use massa_storage::Storage;
use massa_time::MassaTime;

/// Why the pool did not answer.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Another thread held the pool for too long.
    #[error("the pool did not answer within {0} ms")]
    Timeout(u64),
}

/// The pool of operations.
pub trait PoolController: Send + Sync {
    /// Offers the operations that `ops` claims. Those that cannot be included any more, and those beyond the pool's
    /// size, are dropped.
    ///
    /// # Errors
    /// [`PoolError`].
    fn add_operations(&mut self, ops: Storage) -> Result<(), PoolError>;

    /// Tells the latest final period of each thread; operations that expired or were executed in final slots are dropped.
    fn notify_final_cs_periods(&mut self, final_cs_periods: &[u64]);

    /// Operations for a block at `slot`, in the order in which they go into it, claimed by the storage.
    fn get_block_operations(&self, slot: &Slot) -> (Vec<OperationId>, Storage);

    /// Operations in the pool. `timeout`: how long to wait for another thread that holds it; `None` for ever.
    ///
    /// # Errors
    /// [`PoolError::Timeout`].
    fn get_operation_count(&self, timeout: Option<MassaTime>) -> Result<usize, PoolError>;

    /// Whether each operation waits in the pool. One that was executed does not, not even in a candidate slot.
    ///
    /// # Errors
    /// [`PoolError::Timeout`].
    fn contains_operations(
        &self,
        operations: &[OperationId],
        timeout: Option<MassaTime>,
    ) -> Result<Vec<bool>, PoolError>;

    /// A second handle.
    fn clone_box(&self) -> Box<dyn PoolController>;
}

impl Clone for Box<dyn PoolController> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
