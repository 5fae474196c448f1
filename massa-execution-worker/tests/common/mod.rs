//! A chain of blocks made by hand, and an executor to feed them to.
#![allow(dead_code)] // Each test file uses a part.

pub mod contract;

use massa_execution_exports::{ExecutionBlockMetadata, ExecutionController, ExecutionError, ExecutionManager};
use massa_execution_worker::{start_execution_worker, ExecutionConfig};
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer};
use massa_models::block_id::BlockId;
use massa_models::operation::{
    compute_operations_hash, Operation, OperationId, OperationIdSerializer, OperationSerializer, OperationType,
    SecureShareOperation,
};
use massa_models::prehash::PreHashMap;
use massa_models::secure_share::{Id, SecureShareContent};
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

pub const CHAIN_ID: u64 = 77;
pub const THREADS: u8 = 2;
pub const VALIDITY: u64 = 10;
pub const REWARD: Amount = Amount::from_raw(1_020_000_000);
pub const GENESIS_ID: [u8; 32] = [9; 32];
pub const GENESIS_MS: u64 = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(60);

pub fn nano(raw: u64) -> Amount {
    Amount::from_raw(raw)
}

/// The `number`-th key whose operations go into `thread`.
pub fn key(thread: u8, number: usize) -> KeyPair {
    let keys = (0u16..).map(|seed| {
        let mut bytes = [7; 33];
        bytes[0] = 0;
        bytes[1..3].copy_from_slice(&seed.to_le_bytes());
        KeyPair::from_bytes(&bytes).unwrap()
    });
    let mut in_thread = keys.filter(|key| address(key).get_thread(THREADS) == thread);
    in_thread.nth(number).unwrap()
}

pub fn address(key: &KeyPair) -> Address {
    Address::from_public_key(&key.get_public_key())
}

pub fn operation(sender: &KeyPair, fee: u64, expire_period: u64, op: OperationType) -> SecureShareOperation {
    let content = Operation {
        fee: nano(fee),
        expire_period,
        op,
    };
    Operation::new_verifiable(content, OperationSerializer::new(), sender, CHAIN_ID).unwrap()
}

pub fn transfer(sender: &KeyPair, to: &KeyPair, amount: u64, fee: u64, expire_period: u64) -> SecureShareOperation {
    let op = OperationType::Transaction {
        recipient_address: address(to),
        amount: nano(amount),
    };
    operation(sender, fee, expire_period, op)
}

/// A block with a storage that claims it and its operations.
#[derive(Clone)]
pub struct Made {
    pub slot: Slot,
    pub id: BlockId,
    pub storage: Storage,
}

/// Blocks of which each has the last one of every thread as parents.
pub struct Chain {
    pub root: Storage,
    pub tips: Vec<BlockId>,
}

impl Chain {
    pub fn new() -> Self {
        let genesis = |thread| BlockId::new(Hash::compute_from(&[thread]));
        Self {
            root: Storage::create_root(),
            tips: (0..THREADS).map(genesis).collect(),
        }
    }

    /// Genesis blocks, as consensus announces them.
    pub fn genesis(&self) -> HashMap<Slot, BlockId> {
        (0..THREADS)
            .map(|thread| (Slot::new(0, thread), BlockId::new(Hash::compute_from(&[thread]))))
            .collect()
    }

    /// Adds a block to the chain.
    pub fn block(&mut self, slot: (u64, u8), producer: &KeyPair, operations: &[SecureShareOperation]) -> Made {
        let made = self.fork(slot, producer, operations);
        self.tips[usize::from(slot.1)] = made.id;
        made
    }

    /// Makes a block that the chain does not go on with.
    pub fn fork(&self, slot: (u64, u8), producer: &KeyPair, operations: &[SecureShareOperation]) -> Made {
        let slot = Slot::new(slot.0, slot.1);
        let block = make_block(slot, self.tips.clone(), producer, operations);
        let id = block.id;
        let mut storage = self.root.clone_without_refs();
        storage.store_operations(operations.to_vec());
        storage.store_block(block);
        Made { slot, id, storage }
    }
}

fn make_block(
    slot: Slot,
    parents: Vec<BlockId>,
    producer: &KeyPair,
    operations: &[SecureShareOperation],
) -> SecureShareBlock {
    let ids: Vec<OperationId> = operations.iter().map(|operation| operation.id).collect();
    let header = BlockHeader {
        current_version: 0,
        announced_version: None,
        slot,
        parents,
        operation_merkle_root: compute_operations_hash(&ids, &OperationIdSerializer::new()),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
    };
    let header = BlockHeader::new_verifiable(header, BlockHeaderSerializer::new(), producer, CHAIN_ID).unwrap();
    let content = Block {
        header,
        operations: ids,
    };
    Block::new_verifiable(content, BlockSerializer::new(), producer, CHAIN_ID).unwrap()
}

pub fn config(path: &Path, balances: &[(&KeyPair, u64)]) -> ExecutionConfig {
    ExecutionConfig {
        path: path.to_path_buf(),
        chain_id: CHAIN_ID,
        thread_count: THREADS,
        genesis_id: GENESIS_ID,
        genesis_ledger: balances.iter().map(|(key, raw)| (address(key), nano(*raw))).collect(),
        rolls: BTreeMap::new(),
        operation_validity_periods: VALIDITY,
        keep_final_blocks_periods: 3,
        block_reward: REWARD,
        t0: MassaTime::from_millis(16_000),
        genesis_timestamp: MassaTime::from_millis(GENESIS_MS),
    }
}

/// A running executor.
pub struct Executor {
    pub controller: Box<dyn ExecutionController>,
    pub manager: Box<dyn ExecutionManager>,
}

impl Executor {
    pub fn start(config: ExecutionConfig) -> Self {
        Self::try_start(config).unwrap()
    }

    pub fn try_start(config: ExecutionConfig) -> Result<Self, ExecutionError> {
        let (manager, controller) = start_execution_worker(config)?;
        Ok(Self { controller, manager })
    }

    /// Announces final blocks with their content.
    pub fn finalize(&self, blocks: &[&Made]) {
        let finalized = blocks.iter().map(|block| (block.slot, block.id)).collect();
        self.controller
            .update_blockclique_status(finalized, None, content(blocks));
    }

    /// Announces a new best clique with its content.
    pub fn set_clique(&self, blocks: &[&Made]) {
        let clique = blocks.iter().map(|block| (block.slot, block.id)).collect();
        self.controller
            .update_blockclique_status(HashMap::new(), Some(clique), content(blocks));
    }

    pub fn announce_genesis(&self, chain: &Chain) {
        self.controller
            .update_blockclique_status(chain.genesis(), None, PreHashMap::default());
    }

    /// Finalizes blocks and waits until `cursor` is executed.
    pub fn run_to(&self, blocks: &[&Made], cursor: (u64, u8)) {
        self.finalize(blocks);
        self.wait_final(cursor);
    }

    pub fn wait_final(&self, cursor: (u64, u8)) {
        let cursor = Slot::new(cursor.0, cursor.1);
        self.wait(&format!("final slot {cursor}"), |executor| {
            executor.controller.get_stats().final_cursor == cursor
        });
    }

    pub fn wait_candidate(&self, cursor: (u64, u8)) {
        let cursor = Slot::new(cursor.0, cursor.1);
        self.wait(&format!("candidate slot {cursor}"), |executor| {
            executor.controller.get_stats().active_cursor == cursor
        });
    }

    /// Waits for a condition.
    pub fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self) {
            let halt = self.controller.get_halt_reason();
            let stats = self.controller.get_stats();
            assert!(Instant::now() < deadline, "no {what}: {stats:?}, halt {halt:?}");
            std::thread::yield_now();
        }
    }

    /// Final balance in nano coins.
    pub fn balance(&self, key: &KeyPair) -> Option<u64> {
        let balances = self.controller.get_final_and_candidate_balance(&[address(key)]);
        balances[0].0.map(|balance| balance.to_raw())
    }

    /// Candidate balance in nano coins.
    pub fn candidate_balance(&self, key: &KeyPair) -> Option<u64> {
        let balances = self.controller.get_final_and_candidate_balance(&[address(key)]);
        balances[0].1.map(|balance| balance.to_raw())
    }

    /// (candidate, final) status of an operation.
    pub fn status(&self, operation: &SecureShareOperation) -> (Option<bool>, Option<bool>) {
        self.controller.get_ops_exec_status(&[operation.id])[0]
    }

    pub fn hash(&self) -> (Slot, [u8; 32]) {
        self.controller.get_final_state_hash()
    }
}

fn content(blocks: &[&Made]) -> PreHashMap<BlockId, ExecutionBlockMetadata> {
    let metadata = |block: &Made| ExecutionBlockMetadata {
        same_thread_parent_creator: None,
        storage: Some(block.storage.clone()),
    };
    blocks.iter().map(|block| (block.id, metadata(block))).collect()
}
