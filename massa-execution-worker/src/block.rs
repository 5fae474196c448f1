//! What execution takes from a block.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::{OperationId, OperationType, SecureShareOperation};
use massa_models::secure_share::SecureShareSerializer;
use massa_models::slot::Slot;
use massa_serialization::Serializer;
use massa_storage::Storage;

/// A block as execution sees it: extracted first, so that the store is not locked while the block is executed.
#[derive(Clone, Debug)]
pub(crate) struct ExecutableBlock {
    pub(crate) id: BlockId,
    pub(crate) producer: Address,
    pub(crate) operations: Vec<ExecutableOperation>,
}

/// An operation as execution sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecutableOperation {
    pub(crate) id: OperationId,
    pub(crate) sender: Address,
    pub(crate) fee: Amount,
    pub(crate) first_period: u64,
    pub(crate) expire_period: u64,
    pub(crate) action: Action,
}

/// What an operation does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Transfer { recipient: Address, amount: Amount },
    NotSupported,
}

/// Why a block cannot be executed: whoever announced it did not give all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MissingContent {
    #[error("block {0} was announced without its content")]
    Block(BlockId),
    #[error("operation {operation} of block {block} is missing")]
    Operation { block: BlockId, operation: OperationId },
}

impl ExecutableBlock {
    /// Takes a block out of the storage that claims it and its operations.
    pub(crate) fn extract(id: BlockId, storage: &Storage, validity_periods: u64) -> Result<Self, MissingContent> {
        let (producer, ids) = {
            let blocks = storage.read_blocks();
            let block = blocks.get(&id).ok_or(MissingContent::Block(id))?;
            (block.content_creator_address, block.content.operations.clone())
        };
        let stored = storage.read_operations();
        let operations = ids.into_iter().map(|operation| match stored.get(&operation) {
            Some(found) => Ok(ExecutableOperation::new(found, validity_periods)),
            None => Err(MissingContent::Operation { block: id, operation }),
        });
        Ok(Self {
            id,
            producer,
            operations: operations.collect::<Result<_, _>>()?,
        })
    }
}

impl ExecutableOperation {
    fn new(operation: &SecureShareOperation, validity_periods: u64) -> Self {
        let validity = operation.get_validity_range(validity_periods);
        let action = match &operation.content.op {
            OperationType::Transaction {
                recipient_address,
                amount,
            } => Action::Transfer {
                recipient: *recipient_address,
                amount: *amount,
            },
            _ => Action::NotSupported,
        };
        Self {
            id: operation.id,
            sender: operation.content_creator_address,
            fee: operation.content.fee,
            first_period: *validity.start(),
            expire_period: *validity.end(),
            action,
        }
    }
}

/// The slot of a block in a storage that claims it.
pub(crate) fn slot_of(id: &BlockId, storage: &Storage) -> Option<Slot> {
    let blocks = storage.read_blocks();
    Some(blocks.get(id)?.content.header.content.slot)
}

/// The parent of a block in its own thread; `None` when it is not in the storage, or has no parents.
pub(crate) fn same_thread_parent(id: &BlockId, storage: &Storage) -> Option<BlockId> {
    let blocks = storage.read_blocks();
    let header = &blocks.get(id)?.content.header.content;
    header.parents.get(usize::from(header.slot.thread)).copied()
}

/// The `SecureShareBlock` bytes of a block, then the `SecureShareOperation` bytes of each of its operations; `None` unless
/// all of it is there.
pub(crate) fn content_bytes(id: &BlockId, storage: &Storage) -> Option<Vec<Vec<u8>>> {
    let (block, ids) = {
        let blocks = storage.read_blocks();
        let block = blocks.get(id)?;
        let mut bytes = Vec::new();
        SecureShareSerializer::new()
            .serialize(block, &mut bytes)
            .expect("a stored block has its bytes");
        (bytes, block.content.operations.clone())
    };
    let operations = storage.read_operations();
    let mut content = vec![block];
    for id in ids {
        let mut bytes = Vec::new();
        SecureShareSerializer::new()
            .serialize(operations.get(&id)?, &mut bytes)
            .expect("a stored operation has its bytes");
        content.push(bytes);
    }
    Some(content)
}
