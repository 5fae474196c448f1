//! Real, signed blocks.

use super::CHAIN_ID;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer, SecuredHeader};
use massa_models::block_id::BlockId;
use massa_models::endorsement::{Endorsement, EndorsementSerializer, SecureShareEndorsement};
use massa_models::operation::{
    compute_operations_hash, Operation, OperationId, OperationIdSerializer, OperationSerializer, OperationType,
    SecureShareOperation,
};
use massa_models::secure_share::SecureShareContent;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_storage::Storage;

/// Producers of the tests; slots are theirs in turn.
const PRODUCERS: u64 = 5;

/// The key that signs the block of a slot.
pub fn producer_key(slot: Slot, thread_count: u8) -> KeyPair {
    let turn = (slot.period * u64::from(thread_count) + u64::from(slot.thread)) % PRODUCERS;
    key(1 + turn as u8)
}

fn key(seed: u8) -> KeyPair {
    let mut bytes = [seed; 33];
    bytes[0] = 0;
    KeyPair::from_bytes(&bytes).unwrap()
}

/// The address of the producer of a slot.
pub fn producer(slot: Slot, thread_count: u8) -> Address {
    Address::from_public_key(&producer_key(slot, thread_count).get_public_key())
}

/// A block with its operations.
#[derive(Clone, Debug)]
pub struct TestBlock {
    pub id: BlockId,
    pub slot: Slot,
    pub block: SecureShareBlock,
    pub operations: Vec<SecureShareOperation>,
}

impl TestBlock {
    /// A storage that claims the block and its operations.
    pub fn store_in(&self, root: &Storage) -> Storage {
        let mut storage = root.clone_without_refs();
        storage.store_block(self.block.clone());
        storage.store_operations(self.operations.clone());
        storage
    }
}

/// Makes blocks.
#[derive(Clone)]
pub struct Maker {
    pub thread_count: u8,
    /// Endorsements of the next blocks.
    pub endorsements: u32,
    /// Operations of the next blocks.
    pub operations: usize,
    counter: u64,
}

impl Maker {
    pub fn new(thread_count: u8) -> Self {
        Self {
            thread_count,
            endorsements: 0,
            operations: 0,
            counter: 0,
        }
    }

    /// A block that differs from all before, by the slot's producer.
    pub fn block(&mut self, period: u64, thread: u8, parents: &[BlockId]) -> TestBlock {
        let slot = Slot::new(period, thread);
        self.block_by(&producer_key(slot, self.thread_count), slot, parents)
    }

    /// A block by anybody.
    pub fn block_by(&mut self, key: &KeyPair, slot: Slot, parents: &[BlockId]) -> TestBlock {
        self.counter += 1;
        let operations: Vec<_> = (0..self.operations).map(|index| self.operation(index)).collect();
        let ids: Vec<OperationId> = operations.iter().map(|operation| operation.id).collect();
        let header = BlockHeader {
            current_version: 0,
            // The headers of two blocks for one slot differ somewhere.
            announced_version: Some(self.counter as u32),
            slot,
            parents: parents.to_vec(),
            operation_merkle_root: compute_operations_hash(&ids, &OperationIdSerializer::new()),
            endorsements: (0..self.endorsements)
                .map(|index| endorsement(key, slot, index))
                .collect(),
            denunciations: Vec::new(),
        };
        let header: SecuredHeader = header
            .new_verifiable(BlockHeaderSerializer::new(), key, CHAIN_ID)
            .unwrap();
        let block = Block {
            header,
            operations: ids,
        };
        let block: SecureShareBlock = block.new_verifiable(BlockSerializer::new(), key, CHAIN_ID).unwrap();
        TestBlock {
            id: block.id,
            slot,
            block,
            operations,
        }
    }

    fn operation(&self, index: usize) -> SecureShareOperation {
        let operation = Operation {
            fee: Amount::from_raw(self.counter),
            expire_period: index as u64,
            op: OperationType::Transaction {
                recipient_address: producer(Slot::min(), 1),
                amount: Amount::from_raw(1),
            },
        };
        operation
            .new_verifiable(OperationSerializer::new(), &key(42), CHAIN_ID)
            .unwrap()
    }
}

fn endorsement(key: &KeyPair, slot: Slot, index: u32) -> SecureShareEndorsement {
    let endorsement = Endorsement {
        slot,
        index,
        endorsed_block: massa_models::secure_share::Id::new(Hash::compute_from(b"endorsed")),
    };
    endorsement
        .new_verifiable(EndorsementSerializer::new(), key, CHAIN_ID)
        .unwrap()
}

/// Replaces one parent.
pub fn with_parent(parents: &[BlockId], thread: u8, parent: &TestBlock) -> Vec<BlockId> {
    let mut parents = parents.to_vec();
    parents[usize::from(thread)] = parent.id;
    parents
}
