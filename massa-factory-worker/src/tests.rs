//! The thread with test doubles around it.

use crate::{start_factory_worker, FactoryChannels, FactoryConfig, FactoryManager};
use massa_consensus_exports::{BlockGraphExport, ConsensusController, ConsensusError, ConsensusStats};
use massa_distributed_storage_exports::verification::parse_secure_share_block;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::BlockGraphStatus;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::operation::{
    compute_operations_hash, Operation, OperationId, OperationIdSerializer, OperationSerializer, OperationType,
    SecureShareOperation,
};
use massa_models::secure_share::{Id, SecureShareContent};
use massa_models::slot::Slot;
use massa_models::timeslots::get_block_slot_timestamp;
use massa_pool_exports::{PoolController, PoolError};
use massa_pos_exports::{PosError, PosResult, Selection, SelectorController};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use massa_wallet::Wallet;
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CHAIN_ID: u64 = 77;
const THREADS: u8 = 2;
const T0: MassaTime = MassaTime::from_millis(40);
/// Longer than any healthy machine needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Draws in turn among its addresses.
#[derive(Clone)]
struct Selector(Vec<Address>);

impl SelectorController for Selector {
    fn get_selection(&self, slot: Slot) -> PosResult<Selection> {
        Ok(Selection {
            endorsements: Vec::new(),
            producer: self.get_producer(slot)?,
        })
    }

    fn get_producer(&self, slot: Slot) -> PosResult<Address> {
        let index = slot.period as usize % self.0.len().max(1);
        self.0.get(index).copied().ok_or(PosError::NoStake)
    }

    fn clone_box(&self) -> Box<dyn SelectorController> {
        Box::new(self.clone())
    }
}

/// What consensus was given.
struct Registered {
    id: BlockId,
    slot: Slot,
    storage: Storage,
    created: bool,
    at: MassaTime,
}

/// Gives fixed parents and notes what it is given.
#[derive(Clone)]
struct Consensus {
    best_parents: Arc<Mutex<Vec<(BlockId, u64)>>>,
    registered: Sender<Arc<Registered>>,
}

impl ConsensusController for Consensus {
    fn get_block_graph_status(&self, _: Option<Slot>, _: Option<Slot>) -> Result<BlockGraphExport, ConsensusError> {
        Ok(BlockGraphExport::default())
    }

    fn get_block_statuses(&self, ids: &[BlockId]) -> Vec<BlockGraphStatus> {
        vec![BlockGraphStatus::NotFound; ids.len()]
    }

    fn get_cliques(&self) -> Vec<Clique> {
        Vec::new()
    }

    fn get_stats(&self) -> Result<ConsensusStats, ConsensusError> {
        Ok(ConsensusStats::default())
    }

    fn get_best_parents(&self) -> Vec<(BlockId, u64)> {
        self.best_parents.lock().clone()
    }

    fn get_latest_final_blocks_periods(&self) -> Vec<(BlockId, u64)> {
        self.best_parents.lock().clone()
    }

    fn get_blockclique_block_at_slot(&self, _: Slot) -> Option<BlockId> {
        None
    }

    fn get_latest_blockclique_block_at_slot(&self, slot: Slot) -> BlockId {
        parent(slot.thread)
    }

    fn register_block(&self, id: BlockId, slot: Slot, storage: Storage, created: bool) {
        let registered = Registered {
            id,
            slot,
            storage,
            created,
            at: MassaTime::now(),
        };
        let _ = self.registered.send(Arc::new(registered));
    }

    fn register_block_header(&self, _: BlockId, _: SecuredHeader) {}

    fn mark_invalid_block(&self, _: BlockId, _: SecuredHeader) {}

    fn clone_box(&self) -> Box<dyn ConsensusController> {
        Box::new(self.clone())
    }
}

/// Gives the same operations for every slot.
#[derive(Clone)]
struct Pool {
    operations: Vec<OperationId>,
    storage: Storage,
}

impl PoolController for Pool {
    fn add_operations(&mut self, _: Storage) -> Result<(), PoolError> {
        Ok(())
    }

    fn notify_final_cs_periods(&mut self, _: &[u64]) {}

    fn get_block_operations(&self, _: &Slot) -> (Vec<OperationId>, Storage) {
        (self.operations.clone(), self.storage.clone())
    }

    fn get_operation_count(&self, _: Option<MassaTime>) -> Result<usize, PoolError> {
        Ok(self.operations.len())
    }

    fn contains_operations(&self, ids: &[OperationId], _: Option<MassaTime>) -> Result<Vec<bool>, PoolError> {
        Ok(vec![false; ids.len()])
    }

    fn clone_box(&self) -> Box<dyn PoolController> {
        Box::new(self.clone())
    }
}

fn parent(thread: u8) -> BlockId {
    BlockId::new(Hash::compute_from(&[thread]))
}

fn operation(keypair: &KeyPair, fee: u64) -> SecureShareOperation {
    let content = Operation {
        fee: Amount::from_raw(fee),
        expire_period: 9,
        op: OperationType::RollBuy { roll_count: 1 },
    };
    Operation::new_verifiable(content, OperationSerializer::new(), keypair, CHAIN_ID).unwrap()
}

struct Setup {
    _directory: tempfile::TempDir,
    wallet: Arc<RwLock<Wallet>>,
    mine: Address,
    other: Address,
    operations: Vec<SecureShareOperation>,
    consensus: Consensus,
    registered: Receiver<Arc<Registered>>,
    may_produce: Arc<AtomicBool>,
    genesis_timestamp: MassaTime,
    t0: MassaTime,
    root: Storage,
}

/// A wallet with one key, two operations in the pool, genesis blocks as best parents, and slots of 20 ms since now.
fn setup() -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let mut wallet = Wallet::new(directory.path().join("wallet"), CHAIN_ID).unwrap();
    let mine = wallet.generate().unwrap();
    let keypair = wallet.find_associated_keypair(&mine).unwrap().clone();
    let other = Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key());
    let (sender, registered) = channel();
    let best_parents = (0..THREADS).map(|thread| (parent(thread), 0)).collect();
    Setup {
        _directory: directory,
        wallet: Arc::new(RwLock::new(wallet)),
        mine,
        other,
        operations: vec![operation(&keypair, 1), operation(&keypair, 2)],
        consensus: Consensus {
            best_parents: Arc::new(Mutex::new(best_parents)),
            registered: sender,
        },
        registered,
        may_produce: Arc::new(AtomicBool::new(true)),
        genesis_timestamp: MassaTime::now(),
        t0: T0,
        root: Storage::create_root(),
    }
}

impl Setup {
    fn start(&self, drawn: &[Address]) -> Box<dyn FactoryManager> {
        let config = FactoryConfig {
            genesis_timestamp: self.genesis_timestamp,
            t0: self.t0,
            thread_count: THREADS,
            chain_id: CHAIN_ID,
        };
        let mut pool_storage = self.root.clone_without_refs();
        pool_storage.store_operations(self.operations.clone());
        let channels = FactoryChannels {
            selector: Box::new(Selector(drawn.to_vec())),
            consensus: Box::new(self.consensus.clone()),
            pool: Box::new(Pool {
                operations: self.operations.iter().map(|operation| operation.id).collect(),
                storage: pool_storage,
            }),
            storage: self.root.clone_without_refs(),
        };
        let (wallet, may_produce) = (Arc::clone(&self.wallet), Arc::clone(&self.may_produce));
        start_factory_worker(config, wallet, channels, may_produce).unwrap()
    }

    fn next_block(&self) -> Arc<Registered> {
        self.registered.recv_timeout(DEADLINE).expect("a block is produced")
    }

    fn start_of(&self, slot: Slot) -> MassaTime {
        get_block_slot_timestamp(THREADS, self.t0, self.genesis_timestamp, slot).unwrap()
    }
}

#[test]
fn a_block_is_whole_signed_and_handed_over_with_its_operations() {
    let s = setup();
    let _manager = s.start(&[s.mine]);
    let made = s.next_block();
    assert!(made.created);

    let blocks = made.storage.read_blocks();
    let block = blocks.get(&made.id).unwrap();
    // From its bytes alone: the id is recomputed.
    let parsed = parse_secure_share_block(&block.serialized_data, CHAIN_ID, THREADS).unwrap();
    assert_eq!(parsed.id, made.id);
    let header = &parsed.content.header;
    header.verify_signature().unwrap();
    assert_eq!(header.content_creator_address, s.mine);
    assert_eq!(header.content.slot, made.slot);
    assert_eq!(header.content.parents, [parent(0), parent(1)]);
    assert_eq!(
        (header.content.current_version, header.content.announced_version),
        (0, None)
    );
    let ids: Vec<OperationId> = s.operations.iter().map(|operation| operation.id).collect();
    assert_eq!(parsed.content.operations, ids);
    let root = compute_operations_hash(&ids, &OperationIdSerializer::new());
    assert_eq!(header.content.operation_merkle_root, root);
    assert!(ids.iter().all(|id| made.storage.get_op_refs().contains(id)));
    assert!(made.storage.get_block_refs().contains(&made.id));
}

#[test]
fn blocks_are_made_in_drawn_slots_only_once_each_and_not_before_they_begin() {
    let s = setup();
    let _manager = s.start(&[s.mine, s.other]);
    let mut previous = Slot::new(0, 1);
    for _ in 0..8 {
        let made = s.next_block();
        assert_eq!(made.slot.period % 2, 0, "slot {}", made.slot);
        assert!(made.slot > previous);
        assert!(made.at >= s.start_of(made.slot));
        previous = made.slot;
    }
}

#[test]
fn without_its_key_nothing_is_made_and_a_key_added_later_counts() {
    let s = setup();
    let newcomer = KeyPair::generate(0).unwrap();
    let address = Address::from_public_key(&newcomer.get_public_key());
    let _manager = s.start(&[address, s.mine]);
    let is_mine = |made: &Registered| {
        let blocks = made.storage.read_blocks();
        blocks.get(&made.id).unwrap().content_creator_address == s.mine
    };
    assert!(is_mine(&s.next_block()) && is_mine(&s.next_block()));
    s.wallet.write().add_keypairs(vec![newcomer]).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while is_mine(&s.next_block()) {
        assert!(Instant::now() < deadline, "the new key is not used");
    }
}

#[test]
fn nothing_is_made_until_production_is_allowed() {
    let s = setup();
    s.may_produce.store(false, Ordering::Release);
    let _manager = s.start(&[s.mine]);
    assert!(s.registered.recv_timeout(10 * T0.to_duration()).is_err());
    let allowed_at = MassaTime::now();
    s.may_produce.store(true, Ordering::Release);
    let first = s.next_block();
    // Slots that went by are not made up for. A slow machine may be in the middle of an earlier one.
    assert!(s.start_of(first.slot) >= allowed_at.saturating_sub(T0.saturating_mul(5)));
}

#[test]
fn nothing_is_made_on_a_parent_that_does_not_come_before_the_slot() {
    let s = setup();
    let late = 1_000_000;
    *s.consensus.best_parents.lock() = vec![(parent(0), 0), (parent(1), late)];
    let _manager = s.start(&[s.mine]);
    assert!(s.registered.recv_timeout(4 * T0.to_duration()).is_err());
    *s.consensus.best_parents.lock() = vec![(parent(0), 0), (parent(1), 0)];
    s.next_block();
}

#[test]
fn stop_ends_the_thread_at_once_however_far_the_next_slot_is() {
    let mut s = setup();
    s.t0 = MassaTime::from_millis(3_600_000);
    let mut manager = s.start(&[s.mine]);
    let start = Instant::now();
    manager.stop();
    assert!(start.elapsed() < Duration::from_secs(10));
    manager.stop();
    // The thread let go of everything: the only sender left is the test's own.
    assert_eq!(Arc::strong_count(&s.may_produce), 1);
}

#[test]
fn a_factory_without_slots_is_refused() {
    let mut s = setup();
    s.t0 = MassaTime::from_millis(1);
    let config = FactoryConfig {
        genesis_timestamp: s.genesis_timestamp,
        t0: s.t0,
        thread_count: 32,
        chain_id: CHAIN_ID,
    };
    let channels = FactoryChannels {
        selector: Box::new(Selector(Vec::new())),
        consensus: Box::new(s.consensus.clone()),
        pool: Box::new(Pool {
            operations: Vec::new(),
            storage: s.root.clone_without_refs(),
        }),
        storage: s.root.clone_without_refs(),
    };
    assert!(start_factory_worker(config, Arc::clone(&s.wallet), channels, Arc::clone(&s.may_produce)).is_err());
}
