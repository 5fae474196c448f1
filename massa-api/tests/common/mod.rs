//! What the tests of the API share: a node whose parts do what a test says, and its servers.
#![allow(dead_code)]

use hyper::header::{HeaderMap, AUTHORIZATION};
use jsonrpsee::core::client::{ClientT, Error as ClientError};
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee_http_client::{HttpClient, HttpClientBuilder};
use massa_api::{start_api, ApiConfig, ApiContext, ApiHandle};
use massa_api_exports::distributed_storage::*;
use massa_consensus_exports::{BlockGraphExport, ConsensusController, ConsensusError, ConsensusStats};
use massa_execution_exports::*;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::BlockGraphStatus;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::execution::EventFilter;
use massa_models::node::NodeId;
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_models::output_event::{EventExecutionContext, SCOutputEvent};
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_pool_exports::{PoolController, PoolError};
use massa_pos_exports::{PosResult, Selection, SelectorController};
use massa_protocol_exports::{NetworkStats, PeerConnectionType, PeerId, ProtocolController, ProtocolError};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_time::MassaTime;
use massa_wallet::ApiToken;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeBounds;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The chain of all blocks here.
pub const CHAIN_ID: u64 = 77_658_377;
pub const THREADS: u8 = 32;

/// What a test says the node's parts know, and what they were told.
#[derive(Default)]
pub struct World {
    pub statuses: HashMap<BlockId, BlockGraphStatus>,
    pub graph: BlockGraphExport,
    pub blockclique: HashMap<Slot, BlockId>,
    pub addresses: HashMap<Address, ExecutionAddressInfo>,
    /// (candidate, final)
    pub executed: HashMap<OperationId, (Option<bool>, Option<bool>)>,
    pub datastore: HashMap<(Address, Vec<u8>), FinalAndCandidateBytes>,
    /// By the last question for entries or bytecodes.
    pub values_read: usize,
    pub keys_requests: Vec<DatastoreKeysRequest>,
    pub bytecodes: HashMap<Address, FinalAndCandidateBytes>,
    /// Oldest first. Of filters only the end counts.
    pub events: Vec<SCOutputEvent>,
    pub event_filters: Vec<EventFilter>,
    pub executions: Vec<ReadOnlyExecutionRequest>,
    pub execution_output: Option<Result<ReadOnlyExecutionOutput, ExecutionError>>,
    /// Executions wait until this is open.
    pub execution_gate: Option<gate::Gate>,
    pub pool: Vec<OperationId>,
    pub pool_busy: bool,
    pub propagated: Vec<OperationId>,
    pub banned: Vec<PeerId>,
    pub stopped: bool,
    pub peers: Vec<(PeerId, SocketAddr, PeerConnectionType)>,
    pub producer: Option<Address>,
    pub archive: HashMap<BlockId, ArchivedBlock>,
    pub archive_error: Option<StorageApiError>,
    pub archive_reads: usize,
    /// What each block of the archive is said to take.
    pub archived_bytes: usize,
    /// Reads of the archive wait until this is gone.
    pub archive_gate: Option<gate::Gate>,
}

/// A gate that tests open.
pub mod gate {
    use parking_lot::{Condvar, Mutex};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[derive(Clone, Default)]
    pub struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

    impl Gate {
        /// Waits until the gate is open.
        pub fn pass(&self) {
            let (state, changed) = &*self.0;
            let mut state = state.lock();
            state.1 += 1;
            changed.notify_all();
            while !state.0 {
                changed.wait(&mut state);
            }
        }

        pub fn open(&self) {
            let (state, changed) = &*self.0;
            state.lock().0 = true;
            changed.notify_all();
        }

        /// Waits until `count` have come to the gate.
        pub fn wait_for(&self, count: usize) {
            let (state, changed) = &*self.0;
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut state = state.lock();
            while state.1 < count {
                let in_time = !changed.wait_until(&mut state, deadline).timed_out();
                assert!(in_time, "{} of {count} came", state.1);
            }
        }
    }
}

/// Every part of the node.
#[derive(Clone, Default)]
pub struct Parts(pub Arc<Mutex<World>>);

impl ConsensusController for Parts {
    fn get_block_graph_status(&self, _: Option<Slot>, _: Option<Slot>) -> Result<BlockGraphExport, ConsensusError> {
        Ok(self.0.lock().graph.clone())
    }
    fn get_block_statuses(&self, ids: &[BlockId]) -> Vec<BlockGraphStatus> {
        let world = self.0.lock();
        let status = |id| world.statuses.get(id).copied().unwrap_or(BlockGraphStatus::NotFound);
        ids.iter().map(status).collect()
    }
    fn get_cliques(&self) -> Vec<Clique> {
        self.0.lock().graph.max_cliques.clone()
    }
    fn get_stats(&self) -> Result<ConsensusStats, ConsensusError> {
        Ok(ConsensusStats {
            final_block_count: 50,
            stale_block_count: 2,
            clique_count: 1,
        })
    }
    fn get_best_parents(&self) -> Vec<(BlockId, u64)> {
        Vec::new()
    }
    fn get_latest_final_blocks_periods(&self) -> Vec<(BlockId, u64)> {
        Vec::new()
    }
    fn get_blockclique_block_at_slot(&self, slot: Slot) -> Option<BlockId> {
        self.0.lock().blockclique.get(&slot).copied()
    }
    fn get_latest_blockclique_block_at_slot(&self, _: Slot) -> BlockId {
        panic!("the API has no use for it")
    }
    fn register_block(&self, _: BlockId, _: Slot, _: Storage, _: bool) {}
    fn register_block_header(&self, _: BlockId, _: SecuredHeader) {}
    fn mark_invalid_block(&self, _: BlockId, _: SecuredHeader) {}
    fn clone_box(&self) -> Box<dyn ConsensusController> {
        Box::new(self.clone())
    }
}

impl ExecutionController for Parts {
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
        input: &[(Address, Vec<u8>)],
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<FinalAndCandidateBytes> {
        let mut world = self.0.lock();
        let mut values_read = 0;
        let value = |entry| {
            values_read += 1;
            world.datastore.get(entry).cloned().unwrap_or_default()
        };
        let values = kept(input.iter().map(value), keep);
        world.values_read = values_read;
        values
    }
    fn get_datastore_keys(&self, request: &DatastoreKeysRequest) -> Vec<Vec<u8>> {
        let mut world = self.0.lock();
        world.keys_requests.push(request.clone());
        let range = (request.start.clone(), request.end.clone());
        let keys = world.datastore.keys();
        let keys = keys.filter(|(address, key)| {
            *address == request.address && key.starts_with(&request.prefix) && range.contains(key)
        });
        let mut keys: Vec<Vec<u8>> = keys.map(|(_, key)| key.clone()).collect();
        keys.sort_unstable();
        keys.truncate(request.count);
        keys
    }
    fn read_bytecodes(
        &self,
        addresses: &[Address],
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<FinalAndCandidateBytes> {
        let mut world = self.0.lock();
        let mut values_read = 0;
        let bytecode = |address| {
            values_read += 1;
            world.bytecodes.get(address).cloned().unwrap_or_default()
        };
        let values = kept(addresses.iter().map(bytecode), keep);
        world.values_read = values_read;
        values
    }
    fn read_events(&self, filter: &EventFilter, keep: &mut dyn FnMut(&SCOutputEvent) -> bool) -> FilteredEvents {
        let mut world = self.0.lock();
        world.event_filters.push(filter.clone());
        let is_meant = |event: &&SCOutputEvent| filter.end.map_or(true, |end| event.context.slot < end);
        let mut cut = false;
        let kept = world.events.iter().rev().filter(is_meant).take_while(|event| {
            cut = !keep(event);
            !cut
        });
        let mut events: Vec<SCOutputEvent> = kept.cloned().collect();
        events.reverse();
        FilteredEvents { events, cut }
    }
    fn execute_readonly_request(
        &self,
        request: ReadOnlyExecutionRequest,
    ) -> Result<ReadOnlyExecutionOutput, ExecutionError> {
        let gate = self.0.lock().execution_gate.clone();
        if let Some(gate) = gate {
            gate.pass();
        }
        let mut world = self.0.lock();
        world.executions.push(request);
        world
            .execution_output
            .clone()
            .expect("the test says what executions do")
    }
    fn get_addresses_infos(&self, addresses: &[Address]) -> Vec<ExecutionAddressInfo> {
        let world = self.0.lock();
        let info = |address| world.addresses.get(address).cloned().unwrap_or_default();
        addresses.iter().map(info).collect()
    }
    fn get_ops_exec_status(&self, batch: &[OperationId]) -> Vec<(Option<bool>, Option<bool>)> {
        let world = self.0.lock();
        let status = |id| world.executed.get(id).copied().unwrap_or_default();
        batch.iter().map(status).collect()
    }
    fn get_stats(&self) -> ExecutionStats {
        ExecutionStats {
            active_cursor: Slot::new(3, 14),
            final_cursor: Slot::new(1, 17),
        }
    }
    fn get_final_state_hash(&self) -> (Slot, [u8; 32]) {
        (Slot::new(1, 17), [0; 32])
    }
    fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError> {
        Ok(Vec::new())
    }
    fn clone_box(&self) -> Box<dyn ExecutionController> {
        Box::new(self.clone())
    }
}

/// Values, while whoever asks keeps them.
fn kept(
    values: impl Iterator<Item = FinalAndCandidateBytes>,
    keep: &mut dyn FnMut(&[u8]) -> bool,
) -> Vec<FinalAndCandidateBytes> {
    let mut keeps = |value: &Option<Vec<u8>>| value.as_ref().map_or(true, |value| keep(value));
    values
        .take_while(|(last_final, candidate)| keeps(last_final) && keeps(candidate))
        .collect()
}

impl PoolController for Parts {
    fn add_operations(&mut self, ops: Storage) -> Result<(), PoolError> {
        self.0.lock().pool.extend(ops.get_op_refs());
        Ok(())
    }
    fn notify_final_cs_periods(&mut self, _: &[u64]) {}
    fn get_block_operations(&self, _: &Slot) -> (Vec<OperationId>, Storage) {
        (Vec::new(), Storage::create_root())
    }
    fn get_operation_count(&self, _: Option<MassaTime>) -> Result<usize, PoolError> {
        Ok(self.0.lock().pool.len())
    }
    fn contains_operations(&self, ids: &[OperationId], _: Option<MassaTime>) -> Result<Vec<bool>, PoolError> {
        let world = self.0.lock();
        if world.pool_busy {
            return Err(PoolError::Timeout(1_000));
        }
        Ok(ids.iter().map(|id| world.pool.contains(id)).collect())
    }
    fn clone_box(&self) -> Box<dyn PoolController> {
        Box::new(self.clone())
    }
}

impl ProtocolController for Parts {
    fn stop(&mut self) {}
    fn integrated_block(&self, _: BlockId, _: Storage) -> Result<(), ProtocolError> {
        Ok(())
    }
    fn notify_block_attack(&self, _: BlockId) -> Result<(), ProtocolError> {
        Ok(())
    }
    fn send_wishlist_delta(
        &self,
        _: PreHashMap<BlockId, Option<SecuredHeader>>,
        _: PreHashSet<BlockId>,
    ) -> Result<(), ProtocolError> {
        Ok(())
    }
    fn propagate_operations(&self, operations: Storage) -> Result<(), ProtocolError> {
        self.0.lock().propagated.extend(operations.get_op_refs());
        Ok(())
    }
    fn get_stats(&self) -> Result<(NetworkStats, HashMap<PeerId, (SocketAddr, PeerConnectionType)>), ProtocolError> {
        let peers = self.0.lock().peers.clone();
        let peers = peers
            .into_iter()
            .map(|(peer, address, direction)| (peer, (address, direction)));
        Ok((NetworkStats::default(), peers.collect()))
    }
    fn ban_peers(&self, peer_ids: Vec<PeerId>) -> Result<(), ProtocolError> {
        self.0.lock().banned.extend(peer_ids);
        Ok(())
    }
    fn unban_peers(&self, peer_ids: Vec<PeerId>) -> Result<(), ProtocolError> {
        self.0.lock().banned.retain(|peer| !peer_ids.contains(peer));
        Ok(())
    }
    fn clone_box(&self) -> Box<dyn ProtocolController> {
        Box::new(self.clone())
    }
}

impl SelectorController for Parts {
    fn get_selection(&self, _: Slot) -> PosResult<Selection> {
        let producer = self.0.lock().producer.ok_or(massa_pos_exports::PosError::NoStake)?;
        Ok(Selection {
            endorsements: vec![producer],
            producer,
        })
    }
    fn get_producer(&self, slot: Slot) -> PosResult<Address> {
        Ok(self.get_selection(slot)?.producer)
    }
    fn clone_box(&self) -> Box<dyn SelectorController> {
        Box::new(self.clone())
    }
}

impl Parts {
    fn read(&self) -> Result<(), StorageApiError> {
        let gate = {
            let mut world = self.0.lock();
            world.archive_reads += 1;
            if let Some(error) = &world.archive_error {
                return Err(error.clone());
            }
            world.archive_gate.clone()
        };
        if let Some(gate) = gate {
            gate.pass();
        }
        Ok(())
    }

    /// Looks an id up: what is found is read, and counted.
    fn find<T>(
        &self,
        budget: &dyn ReadBudget,
        of: impl FnMut(&ArchivedBlock) -> Option<T>,
    ) -> Result<Option<T>, StorageApiError> {
        let found = self.0.lock().archive.values().find_map(of);
        if let Some(error) = &self.0.lock().archive_error {
            return Err(error.clone());
        }
        if found.is_some() {
            budget.take()?;
            self.read()?;
            budget.hold(self.0.lock().archived_bytes)?;
        }
        Ok(found)
    }
}

impl StorageApi for Parts {
    fn status(&self) -> Result<StorageStatus, StorageApiError> {
        let node_id = NodeId::new(KeyPair::generate(0).unwrap().get_public_key());
        Ok(StorageStatus::of_node(node_id, CHAIN_ID))
    }
    fn segments(&self, _: &ListSegments) -> Result<Vec<StorageSegment>, StorageApiError> {
        Ok(Vec::new())
    }
    fn chunks(&self, _: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError> {
        Ok(Vec::new())
    }
    fn periods(&self, _: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError> {
        Ok(Vec::new())
    }
    fn nodes(&self, _: &ListNodes) -> Result<Vec<StorageNodeInfo>, StorageApiError> {
        Ok(Vec::new())
    }
    fn archived_period(&self, period: u64, budget: &dyn ReadBudget) -> Result<ArchivedPeriodInfo, StorageApiError> {
        budget.take()?;
        self.read()?;
        Err(StorageApiError::NotArchived { period })
    }
    fn archived_block(&self, block: &BlockOrSlot, budget: &dyn ReadBudget) -> Result<ArchivedSlot, StorageApiError> {
        let found = self.find(budget, |found| {
            let is_it = match block {
                BlockOrSlot::Id(id) => found.id() == *id,
                BlockOrSlot::Slot(slot) => found.slot() == *slot,
            };
            is_it.then(|| ArchivedBlockInfo::new(found, ArchiveProof::default()))
        })?;
        found.map(ArchivedSlot::Block).ok_or_else(|| unknown("such block"))
    }
    fn archived_operation(
        &self,
        id: &OperationId,
        budget: &dyn ReadBudget,
    ) -> Result<ArchivedOperationInfo, StorageApiError> {
        let found = self.operations(&[*id], budget)?.pop().flatten();
        let operation = found.ok_or_else(|| unknown("such operation"))?;
        Ok(ArchivedOperationInfo::new(&operation, ArchiveProof::default()))
    }
    fn blocks(&self, ids: &[BlockId], budget: &dyn ReadBudget) -> Result<Vec<Option<ArchivedBlock>>, StorageApiError> {
        let block = |id: &BlockId| self.find(budget, |block| (block.id() == *id).then(|| block.clone()));
        ids.iter().map(block).collect()
    }
    fn operations(
        &self,
        ids: &[OperationId],
        budget: &dyn ReadBudget,
    ) -> Result<Vec<Option<ArchivedOperation>>, StorageApiError> {
        let operation = |id: &OperationId| self.find(budget, |block| ArchivedOperation::find(block.clone(), id));
        ids.iter().map(operation).collect()
    }
}

fn unknown(what: &str) -> StorageApiError {
    StorageApiError::Unknown {
        what: what.to_string(),
        why: UnknownId::NoProvider,
    }
}

/// A node with its servers on free ports.
pub struct TestNode {
    pub parts: Parts,
    pub storage: Storage,
    pub keypair: KeyPair,
    pub handle: Option<ApiHandle>,
    pub runtime: Runtime,
    pub public: HttpClient,
    pub private: HttpClient,
}

/// The token of all nodes here.
pub static TOKEN: std::sync::LazyLock<ApiToken> = std::sync::LazyLock::new(ApiToken::generate);

/// A config with free ports and a chain whose period 5 is now.
pub fn config() -> ApiConfig {
    let loopback = "127.0.0.1:0".parse().unwrap();
    ApiConfig {
        bind_public: loopback,
        bind_private: loopback,
        chain_id: CHAIN_ID,
        thread_count: THREADS,
        genesis_timestamp: MassaTime::now().saturating_sub(MassaTime::from_millis(5 * 16_000 + 100)),
        ..ApiConfig::default()
    }
}

pub fn context(parts: &Parts, storage: &Storage, keypair: &KeyPair) -> ApiContext {
    let world = Arc::clone(&parts.0);
    ApiContext {
        consensus_controller: Box::new(parts.clone()),
        execution_controller: Box::new(parts.clone()),
        pool_controller: Box::new(parts.clone()),
        protocol_controller: Box::new(parts.clone()),
        selector_controller: Box::new(parts.clone()),
        storage: storage.clone_without_refs(),
        storage_api: Arc::new(parts.clone()),
        node_keypair: keypair.clone(),
        token: TOKEN.clone(),
        stop_node: Arc::new(move || world.lock().stopped = true),
    }
}

impl TestNode {
    pub fn start() -> Self {
        Self::start_with(config())
    }

    pub fn start_with(config: ApiConfig) -> Self {
        let (parts, storage) = (Parts::default(), Storage::create_root());
        let keypair = KeyPair::generate(0).unwrap();
        let handle = start_api(config, context(&parts, &storage, &keypair)).unwrap();
        let client = |address: SocketAddr, headers: HeaderMap| {
            let builder = HttpClientBuilder::default().max_request_size(50 << 20);
            builder.set_headers(headers).build(format!("http://{address}")).unwrap()
        };
        let bearer = format!("Bearer {}", TOKEN.secret()).parse().unwrap();
        Self {
            public: client(handle.public_address(), HeaderMap::new()),
            private: client(
                handle.private_address(),
                HeaderMap::from_iter([(AUTHORIZATION, bearer)]),
            ),
            handle: Some(handle),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            parts,
            storage,
            keypair,
        }
    }

    pub fn public_address(&self) -> SocketAddr {
        self.handle.as_ref().unwrap().public_address()
    }

    pub fn private_address(&self) -> SocketAddr {
        self.handle.as_ref().unwrap().private_address()
    }

    /// Calls a public method with the parameters as JSON.
    pub fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ClientError> {
        self.runtime.block_on(self.public.request(method, array(params)))
    }

    /// Calls a private method.
    pub fn call_private<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ClientError> {
        self.runtime.block_on(self.private.request(method, array(params)))
    }

    /// The code and message of the error that a public method answers.
    #[track_caller]
    pub fn refusal(&self, method: &str, params: Value) -> (i32, String) {
        refusal(self.call::<Value>(method, params))
    }

    pub fn world(&self) -> parking_lot::MutexGuard<'_, World> {
        self.parts.0.lock()
    }

    /// Stores a block with its operations, owned by the node.
    pub fn store(&mut self, block: &ArchivedBlock) {
        self.storage.store_block(block.verified().block().clone());
        self.storage.store_operations(block.verified().operations().to_vec());
    }
}

#[track_caller]
pub fn refusal(answer: Result<Value, ClientError>) -> (i32, String) {
    match answer {
        Err(ClientError::Call(error)) => (error.code(), error.message().to_string()),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

fn array(params: Value) -> ArrayParams {
    let mut array = ArrayParams::new();
    for param in params.as_array().unwrap() {
        array.insert(param).unwrap();
    }
    array
}

/// Verified blocks of one period, each with operations.
pub fn blocks() -> Vec<ArchivedBlock> {
    let config = GeneratorConfig {
        operations: 2..=4,
        miss_rate: 0.0,
        first_period: 5,
        endorsements_per_block: 1,
        ..GeneratorConfig::default()
    };
    let places = Generator::new(config).next_period().into_iter().flatten();
    places
        .map(|record| ArchivedBlock::verify(record, CHAIN_ID, THREADS).unwrap())
        .collect()
}

pub fn first_operation(block: &ArchivedBlock) -> SecureShareOperation {
    block.verified().operations()[0].clone()
}

/// A connection to a server, as rude as a test wants it.
pub struct Raw(pub std::net::TcpStream);

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = std::net::TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .unwrap();
        Self(socket)
    }

    /// Sends text. What the server does not want any more is lost.
    pub fn send(&mut self, text: &str) -> bool {
        std::io::Write::write_all(&mut self.0, text.as_bytes()).is_ok()
    }

    /// What the server sends until it closes the connection.
    pub fn rest(&mut self) -> String {
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut self.0, &mut answer);
        String::from_utf8(answer).unwrap()
    }
}

/// A request with a body of `length` bytes, without the body.
pub fn head(headers: &[(&str, &str)], length: usize) -> String {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("POST / HTTP/1.1\r\n{lines}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
}

/// Sends a call and returns the answer with its head.
pub fn post(address: SocketAddr, headers: &[(&str, &str)], body: &str) -> String {
    let mut raw = Raw::connect(address);
    raw.send(&format!("{}{body}", head(headers, body.len())));
    raw.rest()
}

/// A call.
pub fn call(method: &str, params: &Value) -> String {
    serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// The status of an answer.
#[track_caller]
pub fn status_of(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// A final event of 600 bytes.
pub fn event(period: u64) -> SCOutputEvent {
    SCOutputEvent {
        context: EventExecutionContext {
            slot: Slot::new(period, 0),
            block: None,
            read_only: false,
            index_in_slot: 0,
            call_stack: Default::default(),
            origin_operation_id: None,
            is_final: true,
            is_error: false,
            deferred_call_id: None,
            async_msg_id: None,
        },
        data: "x".repeat(600),
    }
}
