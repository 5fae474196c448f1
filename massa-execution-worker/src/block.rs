//! What execution takes from a block.

use crate::contract::COMPILATION_GAS;
use crate::state::Bytes;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::config::BASE_OPERATION_GAS_COST;
use massa_models::datastore::Datastore;
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
#[derive(Clone, Debug)]
pub(crate) struct ExecutableOperation {
    pub(crate) id: OperationId,
    pub(crate) sender: Address,
    pub(crate) fee: Amount,
    pub(crate) first_period: u64,
    pub(crate) expire_period: u64,
    /// What it takes from the gas of its block.
    pub(crate) gas_usage: u64,
    pub(crate) action: Action,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Transfer {
        recipient: Address,
        amount: Amount,
    },
    Execute {
        bytecode: Bytes,
        max_gas: u64,
        max_coins: Amount,
        datastore: Datastore,
    },
    Call(Call),
    NotSupported,
}

/// A call of a contract.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) target: Address,
    pub(crate) function: String,
    pub(crate) parameter: Vec<u8>,
    pub(crate) max_gas: u64,
    pub(crate) coins: Amount,
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
        let action = Action::new(&operation.content.op);
        Self {
            id: operation.id,
            sender: operation.content_creator_address,
            fee: operation.content.fee,
            first_period: *validity.start(),
            expire_period: *validity.end(),
            gas_usage: operation.get_gas_usage(BASE_OPERATION_GAS_COST, COMPILATION_GAS),
            action,
        }
    }
}

impl Action {
    fn new(op: &OperationType) -> Self {
        match op.clone() {
            OperationType::Transaction {
                recipient_address,
                amount,
            } => Self::Transfer {
                recipient: recipient_address,
                amount,
            },
            OperationType::ExecuteSC {
                data,
                max_gas,
                max_coins,
                datastore,
            } => Self::Execute {
                bytecode: data.into(),
                max_gas,
                max_coins,
                datastore,
            },
            OperationType::CallSC {
                target_addr,
                target_func,
                param,
                max_gas,
                coins,
            } => Self::Call(Call {
                target: target_addr,
                function: target_func,
                parameter: param,
                max_gas,
                coins,
            }),
            OperationType::RollBuy { .. } | OperationType::RollSell { .. } => Self::NotSupported,
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
