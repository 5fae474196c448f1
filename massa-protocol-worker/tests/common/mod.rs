//! Nodes with test doubles around the protocol, and what they send each other.

#![allow(dead_code)] // Each test file uses some of it.

pub mod raw_peer;

use massa_consensus_exports::{BlockGraphExport, ConsensusController, ConsensusError, ConsensusStats};
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, ArchiveServer, Capabilities, LocateId, Located, PageContent, SlotContent, StorageEvents,
};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition, SegmentRoot};
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockGraphStatus, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer, SecuredHeader};
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::node::NodeId;
use massa_models::operation::{
    compute_operations_hash, Operation, OperationId, OperationIdSerializer, OperationSerializer, OperationType,
    SecureShareOperation,
};
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::secure_share::{Id, SecureShareContent};
use massa_models::slot::Slot;
use massa_pool_exports::{PoolController, PoolError};
use massa_pos_exports::{PosResult, Selection, SelectorController};
use massa_protocol_exports::{
    BlockArchive, PeerAddress, PeerId, ProtocolConfig, ProtocolController, ProtocolError, ProtocolManager,
};
use massa_protocol_worker::{
    create_protocol_controller, start_protocol_controller, StorageHandlerNetwork, StorageParts,
};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use parking_lot::Mutex;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any healthy machine needs; reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub const CHAIN_ID: u64 = 77;
pub const THREADS: u8 = 2;

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn producer() -> KeyPair {
    let mut version_and_seed = [1; 33];
    version_and_seed[0] = 0;
    KeyPair::from_bytes(&version_and_seed).unwrap()
}

pub fn id_of(keypair: &KeyPair) -> PeerId {
    PeerId::from_public_key(keypair.get_public_key())
}

/// Operations with different numbers have different ids.
pub fn operation(number: u64) -> SecureShareOperation {
    sized_operation(number, 0)
}

pub fn sized_operation(number: u64, data_bytes: usize) -> SecureShareOperation {
    let content = Operation {
        fee: Amount::zero(),
        expire_period: number,
        op: OperationType::ExecuteSC {
            data: vec![7; data_bytes],
            max_gas: 1,
            max_coins: Amount::zero(),
            datastore: Default::default(),
        },
    };
    Operation::new_verifiable(content, OperationSerializer::new(), &producer(), CHAIN_ID).unwrap()
}

pub fn block_with(slot: Slot, operations: &[SecureShareOperation], creator: &KeyPair) -> SecureShareBlock {
    let ids: Vec<OperationId> = operations.iter().map(|operation| operation.id).collect();
    let header = BlockHeader {
        current_version: 0,
        announced_version: None,
        slot,
        parents: (0..THREADS)
            .map(|thread| BlockId::new(Hash::compute_from(&[thread])))
            .collect(),
        operation_merkle_root: compute_operations_hash(&ids, &OperationIdSerializer::new()),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
    };
    let header = BlockHeader::new_verifiable(header, BlockHeaderSerializer::new(), creator, CHAIN_ID);
    let content = Block {
        header: header.unwrap(),
        operations: ids,
    };
    Block::new_verifiable(content, BlockSerializer::new(), creator, CHAIN_ID).unwrap()
}

pub fn block(slot: Slot, operations: &[SecureShareOperation]) -> SecureShareBlock {
    block_with(slot, operations, &producer())
}

/// One producer for all slots.
#[derive(Clone)]
pub struct OneProducer;

impl SelectorController for OneProducer {
    fn get_selection(&self, slot: Slot) -> PosResult<Selection> {
        let producer = self.get_producer(slot)?;
        Ok(Selection {
            endorsements: Vec::new(),
            producer,
        })
    }

    fn get_producer(&self, _slot: Slot) -> PosResult<Address> {
        Ok(Address::from_public_key(&producer().get_public_key()))
    }

    fn clone_box(&self) -> Box<dyn SelectorController> {
        Box::new(self.clone())
    }
}

/// Remembers what it was told, and wants every block of which it hears.
#[derive(Clone, Default)]
pub struct TestConsensus {
    pub headers: Arc<Mutex<Vec<SecuredHeader>>>,
    pub blocks: Arc<Mutex<Vec<(BlockId, Storage)>>>,
    pub invalid: Arc<Mutex<Vec<BlockId>>>,
    protocol: Arc<Mutex<Option<Box<dyn ProtocolController>>>>,
}

impl TestConsensus {
    pub fn has_header(&self, id: &BlockId) -> bool {
        self.headers.lock().iter().any(|header| header.id == *id)
    }

    pub fn has_block(&self, id: &BlockId) -> bool {
        self.blocks.lock().iter().any(|(block_id, _)| block_id == id)
    }
}

impl ConsensusController for TestConsensus {
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
        Vec::new()
    }

    fn get_latest_final_blocks_periods(&self) -> Vec<(BlockId, u64)> {
        Vec::new()
    }

    fn get_blockclique_block_at_slot(&self, _: Slot) -> Option<BlockId> {
        None
    }

    fn get_latest_blockclique_block_at_slot(&self, _: Slot) -> BlockId {
        BlockId::new(Hash::zero())
    }

    /// As the real one: the block is announced to others.
    fn register_block(&self, block_id: BlockId, _: Slot, block_storage: Storage, _: bool) {
        self.blocks.lock().push((block_id, block_storage.clone()));
        if let Some(protocol) = &*self.protocol.lock() {
            protocol.integrated_block(block_id, block_storage).unwrap();
        }
    }

    fn register_block_header(&self, block_id: BlockId, header: SecuredHeader) {
        self.headers.lock().push(header.clone());
        if self.has_block(&block_id) {
            return;
        }
        if let Some(protocol) = &*self.protocol.lock() {
            let new = PreHashMap::from_iter([(block_id, Some(header))]);
            protocol.send_wishlist_delta(new, PreHashSet::default()).unwrap();
        }
    }

    fn mark_invalid_block(&self, block_id: BlockId, _: SecuredHeader) {
        self.invalid.lock().push(block_id);
    }

    fn clone_box(&self) -> Box<dyn ConsensusController> {
        Box::new(self.clone())
    }
}

/// Keeps everything.
#[derive(Clone, Default)]
pub struct TestPool {
    pub operations: Arc<Mutex<Vec<Storage>>>,
}

impl TestPool {
    pub fn contains(&self, id: &OperationId) -> bool {
        self.operations
            .lock()
            .iter()
            .any(|storage| storage.get_op_refs().contains(id))
    }
}

impl PoolController for TestPool {
    fn add_operations(&mut self, ops: Storage) -> Result<(), PoolError> {
        self.operations.lock().push(ops);
        Ok(())
    }

    fn notify_final_cs_periods(&mut self, _: &[u64]) {}

    fn get_block_operations(&self, _: &Slot) -> (Vec<OperationId>, Storage) {
        (Vec::new(), Storage::create_root())
    }

    fn get_operation_count(&self, _: Option<MassaTime>) -> Result<usize, PoolError> {
        Ok(self
            .operations
            .lock()
            .iter()
            .map(|storage| storage.get_op_refs().len())
            .sum())
    }

    fn contains_operations(&self, operations: &[OperationId], _: Option<MassaTime>) -> Result<Vec<bool>, PoolError> {
        Ok(operations.iter().map(|id| self.contains(id)).collect())
    }

    fn clone_box(&self) -> Box<dyn PoolController> {
        Box::new(self.clone())
    }
}

/// An archive with nothing in it, that hears of everything and does nothing.
struct EmptyArchive;

impl ArchiveServer for EmptyArchive {
    fn tables(&self, _: u64, _: u32, _: usize) -> Answer<Vec<Vec<u8>>> {
        Answer::NotYet
    }

    fn entries(&self, _: u64, _: u32, _: usize) -> Answer<Vec<Vec<u8>>> {
        Answer::NotYet
    }

    fn block(&self, _: &Slot) -> Answer<SlotContent<Vec<u8>>> {
        Answer::NotHeld
    }

    fn page(&self, _: ChunkPosition, _: &ChunkId, _: u32) -> Answer<PageContent> {
        Answer::NotHeld
    }

    fn held(&self, _: u64, count: u32, _: usize) -> Vec<Vec<u8>> {
        vec![Vec::new(); count as usize]
    }

    fn locate(&self, ids: &[LocateId]) -> Vec<Option<Located>> {
        vec![None; ids.len()]
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

impl StorageEvents for EmptyArchive {
    fn chunks_announced(&self, _: NodeId, _: u64, _: Option<SegmentRoot>, _: Vec<AnnouncedChunk>) {}

    fn peer_changed(&self, _: NodeId, _: Option<Capabilities>) {}

    fn peer_gone(&self, _: NodeId) {}
}

fn storage_parts() -> StorageParts {
    StorageParts {
        server: Arc::new(EmptyArchive),
        events: Arc::new(EmptyArchive),
        parameters: ArchiveParameters::new(CHAIN_ID, THREADS),
    }
}

/// A setting for tests: short timers, all on loopback.
pub fn config() -> ProtocolConfig {
    ProtocolConfig {
        chain_id: CHAIN_ID,
        thread_count: THREADS,
        endorsement_count: 0,
        t0: MassaTime::from_millis(1_000),
        genesis_timestamp: MassaTime::now().saturating_sub(MassaTime::from_millis(100_000)),
        message_timeout: MassaTime::from_millis(2_000),
        try_connection_timer: MassaTime::from_millis(20),
        try_connection_timer_same_peer: MassaTime::from_millis(100),
        ask_block_timeout: MassaTime::from_millis(500),
        block_propagation_tick: MassaTime::from_millis(50),
        operation_announcement_interval: MassaTime::from_millis(20),
        ..ProtocolConfig::default()
    }
}

/// An address on which nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A protocol on loopback with doubles around it.
pub struct TestNode {
    pub keypair: KeyPair,
    pub peer_id: PeerId,
    pub address: SocketAddr,
    pub config: ProtocolConfig,
    pub storage: Storage,
    pub consensus: TestConsensus,
    pub pool: TestPool,
    pub protocol: Box<dyn ProtocolController>,
    pub network: StorageHandlerNetwork,
    manager: Box<dyn ProtocolManager>,
}

impl TestNode {
    pub fn start(config: ProtocolConfig) -> Self {
        Self::start_with(config, KeyPair::generate(0).unwrap(), None)
    }

    /// A node that dials `peers`.
    pub fn start_dialing(config: ProtocolConfig, peers: &[&TestNode]) -> Self {
        let initial_peers = peers.iter().map(|peer| peer.peer_address()).collect();
        Self::start(ProtocolConfig {
            initial_peers,
            ..config
        })
    }

    pub fn start_with(config: ProtocolConfig, keypair: KeyPair, archive: Option<Arc<dyn BlockArchive>>) -> Self {
        Self::start_in_chain(config, keypair, archive, &OneProducer)
    }

    /// A node of a chain with other producers.
    pub fn start_in_chain(
        config: ProtocolConfig,
        keypair: KeyPair,
        archive: Option<Arc<dyn BlockArchive>>,
        selector: &dyn SelectorController,
    ) -> Self {
        loop {
            // Another test can be given the same port in the meantime.
            let address = config.listeners.first().copied().unwrap_or_else(free_address);
            let mut config = config.clone();
            config.listeners = vec![address];
            config.routable_addresses = vec![address];
            match Self::try_start(config, keypair.clone(), archive.clone(), selector.clone_box()) {
                Ok(node) => return node,
                Err(ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn try_start(
        config: ProtocolConfig,
        keypair: KeyPair,
        archive: Option<Arc<dyn BlockArchive>>,
        selector: Box<dyn SelectorController>,
    ) -> Result<Self, ProtocolError> {
        let (protocol, channels) = create_protocol_controller(config.clone());
        let storage = Storage::create_root();
        let (consensus, pool) = (TestConsensus::default(), TestPool::default());
        let storage_parts = config.storage_enabled.then(storage_parts);
        let network = channels.network();
        let manager = start_protocol_controller(
            config.clone(),
            keypair.clone(),
            selector,
            consensus.clone_box(),
            pool.clone_box(),
            storage.clone_without_refs(),
            channels,
            archive,
            storage_parts,
        )?;
        *consensus.protocol.lock() = Some(protocol.clone());
        Ok(Self {
            peer_id: id_of(&keypair),
            address: config.listeners[0],
            keypair,
            config,
            storage,
            consensus,
            pool,
            protocol,
            network,
            manager,
        })
    }

    pub fn peer_address(&self) -> PeerAddress {
        PeerAddress {
            peer_id: self.peer_id,
            address: self.address,
        }
    }

    pub fn connected(&self) -> Vec<PeerId> {
        self.protocol.get_stats().unwrap().1.into_keys().collect()
    }

    pub fn is_connected_to(&self, peer_id: &PeerId) -> bool {
        self.connected().contains(peer_id)
    }

    /// A block that this node made.
    pub fn produce(&self, block: &SecureShareBlock, operations: &[SecureShareOperation]) {
        let mut storage = self.storage.clone_without_refs();
        storage.store_operations(operations.to_vec());
        storage.store_block(block.clone());
        let slot = block.content.header.content.slot;
        self.consensus.register_block(block.id, slot, storage, true);
    }

    pub fn stop(mut self) {
        self.manager.stop();
    }
}

/// Two connected nodes; the second dialed the first.
pub fn pair(config: ProtocolConfig) -> (TestNode, TestNode) {
    let first = TestNode::start(config.clone());
    let second = TestNode::start_dialing(config, &[&first]);
    wait_for("both nodes to be connected", || {
        first.is_connected_to(&second.peer_id) && second.is_connected_to(&first.peer_id)
    });
    (first, second)
}
