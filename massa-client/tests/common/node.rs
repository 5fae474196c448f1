//! A node that answers from a store, as long as it does not lie.

use crate::common::{massa_cli, Finished, STORE, UPSTREAM};
use jsonrpsee::core::{async_trait, RpcResult};
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::Extensions;
use massa_api_exports::address::{AddressFilter, AddressInfo};
use massa_api_exports::block::{BlockInfo, BlockSummary};
use massa_api_exports::config::CompactConfig;
use massa_api_exports::datastore::{
    DatastoreEntryInput, DatastoreEntryOutput, DatastoreKeysInput, DatastoreKeysOutput,
};
use massa_api_exports::distributed_storage::audits::*;
use massa_api_exports::distributed_storage::rounds::{EarnedRound, EarningTotals, MissedDraw, StorageEarnings};
use massa_api_exports::distributed_storage::*;
use massa_api_exports::execution::{
    EventExecutionContext, EventFilter, ExecuteReadOnlyResponse, ReadOnlyBytecodeExecution, ReadOnlyCall,
    ReadOnlyResult, SCOutputEvent,
};
use massa_api_exports::node::*;
use massa_api_exports::operation::{OperationInfo, OperationInput};
use massa_api_exports::page::{PageRequest, TimeInterval};
use massa_api_exports::rpc::MassaRpcServer;
use massa_api_exports::ApiError;
use massa_distributed_storage_exports::segment_proof::{ProofDocument, ProveError};
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::verification::parse_secure_share_operation;
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::serve::proofs::Evidence;
use massa_distributed_storage_worker::storage_backend::{EntryRead, SegmentStore, SlotRead};
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::Block;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::config::{BLOCK_REWARD, ROLL_PRICE, T0};
use massa_models::node::NodeId;
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use tokio::runtime::Runtime;

pub static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(0).unwrap());

type Lie = Box<dyn Fn(Value) -> Value + Send>;
/// What a contract answers to a call.
type Contract = Box<dyn Fn(&ReadOnlyCall) -> ReadOnlyResult + Send>;

/// What became of the operations that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Executed by a final block.
    #[default]
    Final,
    /// Executed and failed, by a final block.
    Failed,
    /// Included, no more.
    Included,
}

/// What a test decides, and what the node was told.
#[derive(Default)]
pub struct World {
    pub lie: Option<Lie>,
    pub error: Option<ErrorObjectOwned>,
    pub sent: Vec<OperationInput>,
    pub banned: Vec<NodeId>,
    pub stopped: bool,
    pub without_proofs: bool,
    /// The contract at every address.
    pub contract: Option<Contract>,
    pub calls: Vec<ReadOnlyCall>,
    pub executions: Vec<ReadOnlyBytecodeExecution>,
    pub outcome: Outcome,
    /// What contracts said in every operation.
    pub events: Vec<String>,
    pub registry: Option<Address>,
    /// Rows of every datastore.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A node that serves both APIs on one port.
pub struct TestNode {
    pub world: Arc<Mutex<World>>,
    pub port: u16,
    _server: ServerHandle,
    _runtime: Runtime,
}

struct Answers {
    world: Arc<Mutex<World>>,
    store: SegmentStore,
}

impl TestNode {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let answers = Answers {
            world: Arc::clone(&world),
            store: SegmentStore::open_read_only(STORE.store()).unwrap(),
        };
        let server = runtime.block_on(Server::builder().build("127.0.0.1:0")).unwrap();
        let port = server.local_addr().unwrap().port();
        let _inside = runtime.enter();
        let handle = server.start(answers.into_rpc());
        drop(_inside);
        Self {
            world,
            port,
            _server: handle,
            _runtime: runtime,
        }
    }

    /// From now on answers are changed by `lie`.
    pub fn lie(&self, lie: impl Fn(Value) -> Value + Send + 'static) {
        self.world.lock().unwrap().lie = Some(Box::new(lie));
    }

    /// The operations that were sent.
    pub fn sent(&self) -> Vec<SecureShareOperation> {
        self.world.lock().unwrap().sent.iter().map(operation).collect()
    }

    /// Runs massa-cli against this node.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        let port = self.port.to_string();
        let mut command = massa_cli();
        command.args(arguments);
        command.args(["--public-port", &port, "--private-port", &port]);
        Finished(command.output().unwrap())
    }
}

impl Answers {
    fn answer<T: Serialize + DeserializeOwned>(&self, answer: T) -> RpcResult<T> {
        let world = self.world.lock().unwrap();
        if let Some(error) = &world.error {
            return Err(error.clone());
        }
        let Some(lie) = &world.lie else { return Ok(answer) };
        let lied = lie(serde_json::to_value(answer).unwrap());
        Ok(serde_json::from_value(lied).expect("lies have the same type"))
    }

    fn proof(&self, period: u64, prove: impl FnOnce(&Evidence) -> Result<ProofDocument, ProveError>) -> ArchiveProof {
        if self.world.lock().unwrap().without_proofs {
            let why_no_proof = Some("period 2 is not complete".to_string());
            return ArchiveProof {
                proof: None,
                why_no_proof,
            };
        }
        let evidence = Evidence::of_store(&self.store, period).unwrap();
        ArchiveProof {
            proof: Some(prove(&evidence).unwrap()),
            why_no_proof: None,
        }
    }
}

/// An operation as it was sent.
pub fn operation(input: &OperationInput) -> SecureShareOperation {
    let head = [input.signature.to_bytes(), input.creator_public_key.to_bytes()].concat();
    let bytes = [head, input.serialized_content.clone()].concat();
    parse_secure_share_operation(&bytes, UPSTREAM.chain_id).unwrap()
}

fn event(text: &str, is_error: bool, id: Option<OperationId>) -> SCOutputEvent {
    SCOutputEvent {
        context: EventExecutionContext {
            slot: Slot::new(7, 1),
            block: None,
            read_only: id.is_none(),
            index_in_slot: 0,
            call_stack: Default::default(),
            origin_operation_id: id,
            is_final: id.is_some(),
            is_error,
            deferred_call_id: None,
            async_msg_id: None,
        },
        data: text.to_string(),
    }
}

fn executed(result: ReadOnlyResult) -> ExecuteReadOnlyResponse {
    ExecuteReadOnlyResponse {
        executed_at: Slot::new(7, 1),
        result,
        output_events: vec![event("tried", false, None)],
        gas_cost: 3_000_000,
        state_changes: Default::default(),
    }
}

fn none<T>() -> RpcResult<T> {
    Err(ApiError::WrongAPI("other").into())
}

fn not_found(what: impl ToString) -> ErrorObjectOwned {
    ApiError::NotFound(what.to_string()).into()
}

pub fn status() -> NodeStatus {
    let time = MassaTime::from_millis(1_795_178_408_692);
    NodeStatus {
        node_id: NodeId::new(KEY.get_public_key()),
        node_ip: None,
        version: "SAND.5.0".parse().unwrap(),
        current_time: time,
        current_cycle: 0,
        current_cycle_time: time,
        next_cycle_time: time,
        connected_nodes: BTreeMap::new(),
        last_slot: Some(Slot::new(7, 3)),
        next_slot: Slot::new(7, 4),
        consensus_stats: ConsensusStats {
            start_timespan: time,
            end_timespan: time,
            final_block_count: 50,
            stale_block_count: 1,
            clique_count: 1,
        },
        pool_stats: (3, 0),
        network_stats: NetworkStats {
            in_connection_count: 1,
            out_connection_count: 2,
            known_peer_count: 4,
            banned_peer_count: 0,
            active_node_count: 3,
        },
        execution_stats: ExecutionStats {
            time_window_start: time,
            time_window_end: time,
            final_block_count: 0,
            final_executed_operations_count: 0,
            active_cursor: Slot::new(7, 1),
            final_cursor: Slot::new(5, 9),
            final_state_hash: "0123456789abcdef".repeat(4),
        },
        config: CompactConfig {
            genesis_timestamp: time,
            end_timestamp: None,
            thread_count: 32,
            t0: T0,
            delta_f0: 1088,
            operation_validity_periods: 10,
            periods_per_cycle: 128,
            block_reward: BLOCK_REWARD,
            roll_price: ROLL_PRICE,
            max_block_size: 300_000,
        },
        chain_id: UPSTREAM.chain_id,
        minimal_fees: "0.01".parse().unwrap(),
        current_mip_version: 0,
        alarms: Vec::new(),
    }
}

pub fn earned_round(round: u64) -> EarnedRound {
    EarnedRound {
        round,
        leaves: 3000,
        draws: 4,
        passes: 3,
        missed: vec![MissedDraw {
            draw: 2,
            reason: "missing".to_string(),
        }],
        is_over: true,
        result: "draws missed".to_string(),
        credited: "0.5".parse().unwrap(),
        matured: "0.5".parse().unwrap(),
        claimed: Amount::zero(),
        fees: "0.01".parse().unwrap(),
    }
}

pub fn storage_earnings() -> StorageEarnings {
    StorageEarnings {
        operator: Some(Address::from_public_key(&KEY.get_public_key())),
        round: Some(9),
        rounds: (5..8).map(earned_round).collect(),
        totals: EarningTotals {
            rounds: 3,
            draws: 12,
            passes: 9,
            credited: "1.5".parse().unwrap(),
            claimed: Amount::zero(),
            fees: "0.03".parse().unwrap(),
            operations: 3,
        },
        matured: "1.5".parse().unwrap(),
        unmatured: Amount::zero(),
        open_claims: 1,
    }
}

pub fn storage_status() -> StorageStatus {
    let reasons = [("the queue was full", 2), ("operations are missing", 1)];
    StorageStatus {
        enabled: true,
        running: true,
        operator_address: Some(Address::from_public_key(&KEY.get_public_key())),
        last_archived_period: Some(222),
        archived_periods: 221,
        segments_closed: 2,
        first_open_segment: 2,
        chunks_total: 1200,
        chunks_held: 897,
        chunks_backup: 1,
        chunks_assigned: 900,
        chunks_missing: 5,
        chunks_extra: 2,
        bytes_total: 700_000_000,
        bytes_held: 512_345_678,
        bytes_stored: 300_000_000,
        bytes_assigned: 515_000_000,
        disk_bytes: 530_000_000,
        allocated_bytes: 10 << 30,
        missing: MissingSlots {
            slots: 3,
            oldest_period: Some(221),
            reasons: reasons
                .into_iter()
                .map(|(reason, count)| (reason.to_string(), count))
                .collect(),
            blocks: 2,
            periods: 2,
            blocked: Some(BlockedAt {
                segment: 2,
                slot: Slot::new(221, 7),
                waiting: 1,
            }),
        },
        queue_full_count: 2,
        repairing: RepairProgress {
            chunks: Progress {
                done: 895,
                total: 900,
                per_minute: 2,
                seconds_left: Some(150),
            },
            periods: 2,
            handing_over: 2,
            ..RepairProgress::default()
        },
        peers: StoragePeerCounts {
            connected: 4,
            storage: 3,
            quarantined: 0,
        },
        replication_factor: 3,
        factor_in_force: 2,
        chunk_size: 1 << 20,
        segment_periods: 100,
        round_segments: 4,
        last_period_final: Some(224),
        synced: true,
        why_not_more: vec!["3 slots of 2 periods are missing, and asked for".to_string()],
        ..StorageStatus::of_node(NodeId::new(KEY.get_public_key()), 77)
    }
}

#[async_trait]
impl MassaRpcServer for Answers {
    fn stop_node(&self) -> RpcResult<()> {
        self.world.lock().unwrap().stopped = true;
        Ok(())
    }
    fn node_sign_message(&self, message: Vec<u8>) -> RpcResult<PubkeySig> {
        Ok(PubkeySig {
            public_key: KEY.get_public_key(),
            signature: KEY.sign(&Hash::compute_from(&message)).unwrap(),
        })
    }
    fn node_ban_by_id(&self, ids: Vec<NodeId>) -> RpcResult<()> {
        self.world.lock().unwrap().banned.extend(ids);
        Ok(())
    }
    fn node_unban_by_id(&self, ids: Vec<NodeId>) -> RpcResult<()> {
        self.world.lock().unwrap().banned.retain(|id| !ids.contains(id));
        Ok(())
    }
    fn get_status(&self) -> RpcResult<NodeStatus> {
        self.answer(status())
    }
    fn get_cliques(&self) -> RpcResult<Vec<Clique>> {
        none()
    }
    fn get_stakers(&self, _: Option<PageRequest>) -> RpcResult<Vec<(Address, u64)>> {
        none()
    }
    fn get_operations(&self, _: &Extensions, ids: Vec<OperationId>) -> RpcResult<Vec<OperationInfo>> {
        let world = self.world.lock().unwrap();
        let known = world
            .sent
            .iter()
            .map(operation)
            .filter(|operation| ids.contains(&operation.id));
        let info = |operation: SecureShareOperation| OperationInfo {
            id: operation.id,
            in_pool: false,
            in_blocks: vec![UPSTREAM.blocks[0].1.view(32).unwrap().block_id()],
            is_operation_final: (world.outcome != Outcome::Included).then_some(true),
            thread: 0,
            operation,
            op_exec_status: (world.outcome != Outcome::Included).then_some(world.outcome == Outcome::Final),
            archived: false,
        };
        Ok(known.map(info).collect())
    }
    fn get_blocks(&self, _: &Extensions, _: Vec<BlockId>) -> RpcResult<Vec<BlockInfo>> {
        none()
    }
    fn get_blockclique_block_by_slot(&self, _: Slot) -> RpcResult<Option<Block>> {
        none()
    }
    fn get_graph_interval(&self, _: TimeInterval) -> RpcResult<Vec<BlockSummary>> {
        none()
    }
    fn get_datastore_entries(
        &self,
        _: &Extensions,
        entries: Vec<DatastoreEntryInput>,
    ) -> RpcResult<Vec<DatastoreEntryOutput>> {
        let rows = &self.world.lock().unwrap().rows;
        let entry = |input: DatastoreEntryInput| DatastoreEntryOutput {
            final_value: rows.get(&input.key).cloned(),
            candidate_value: None,
        };
        Ok(entries.into_iter().map(entry).collect())
    }
    fn get_addresses(&self, _: &Extensions, addresses: Vec<Address>) -> RpcResult<Vec<AddressInfo>> {
        let coins = |text: &str| text.parse::<Amount>().unwrap();
        let info = |address: Address| AddressInfo {
            address,
            thread: address.get_thread(32),
            final_balance: coins("12.5"),
            final_roll_count: 3,
            final_datastore_keys: Vec::new(),
            candidate_balance: coins("13"),
            candidate_roll_count: 3,
            candidate_datastore_keys: Vec::new(),
            deferred_credits: Vec::new(),
            next_block_draws: Vec::new(),
            next_endorsement_draws: Vec::new(),
            created_blocks: Vec::new(),
            created_operations: Vec::new(),
            created_endorsements: Vec::new(),
            cycle_infos: Vec::new(),
        };
        self.answer(addresses.into_iter().map(info).collect())
    }
    fn send_operations(&self, operations: Vec<OperationInput>) -> RpcResult<Vec<OperationId>> {
        use massa_distributed_storage_exports::record::operation_id;
        let id = |input: &OperationInput| {
            let unsigned = [&input.creator_public_key.to_bytes()[..], &input.serialized_content].concat();
            operation_id(&unsigned, UPSTREAM.chain_id)
        };
        let ids = operations.iter().map(id).collect();
        self.world.lock().unwrap().sent.extend(operations);
        self.answer(ids)
    }
    fn get_filtered_sc_output_event(&self, _: &Extensions, filter: EventFilter) -> RpcResult<Vec<SCOutputEvent>> {
        let world = self.world.lock().unwrap();
        let failed = world.outcome == Outcome::Failed;
        let events = world
            .events
            .iter()
            .map(|text| event(text, failed, filter.original_operation_id));
        Ok(events.collect())
    }
    fn get_addresses_bytecode(&self, _: &Extensions, _: Vec<AddressFilter>) -> RpcResult<Vec<Vec<u8>>> {
        none()
    }
    fn get_addresses_datastore_keys(
        &self,
        _: &Extensions,
        _: Vec<DatastoreKeysInput>,
    ) -> RpcResult<Vec<DatastoreKeysOutput>> {
        none()
    }
    fn execute_read_only_bytecode(
        &self,
        _: &Extensions,
        executions: Vec<ReadOnlyBytecodeExecution>,
    ) -> RpcResult<Vec<ExecuteReadOnlyResponse>> {
        self.world.lock().unwrap().executions.extend(executions);
        self.answer(vec![executed(ReadOnlyResult::Ok(Vec::new()))])
    }
    fn execute_read_only_call(
        &self,
        _: &Extensions,
        calls: Vec<ReadOnlyCall>,
    ) -> RpcResult<Vec<ExecuteReadOnlyResponse>> {
        let responses = {
            let mut world = self.world.lock().unwrap();
            let contract = world.contract.as_ref().expect("the test has a contract");
            let responses = calls.iter().map(|call| executed(contract(call))).collect();
            world.calls.extend(calls);
            responses
        };
        self.answer(responses)
    }
    fn get_storage_status(&self) -> RpcResult<StorageStatus> {
        let mut status = storage_status();
        status.registry.address = self.world.lock().unwrap().registry;
        self.answer(status)
    }
    fn list_storage_segments(&self, request: ListSegments) -> RpcResult<Vec<StorageSegment>> {
        let segments = self.store.segments(request.first, request.limit as usize).unwrap();
        let segment = |info: massa_distributed_storage_worker::storage_backend::SegmentInfo| StorageSegment {
            segment: info.segment,
            first_period: info.first_period,
            periods: info.periods,
            lost_periods: info.lost_periods,
            bytes: info.body_bytes,
            chunks: info.chunks,
            chunks_held: info.chunks_held,
            chunks_assigned: info.chunks,
            state: match info.root {
                None => SegmentState::Open,
                Some(_) if info.segment == 0 => SegmentState::Anchored,
                Some(_) => SegmentState::Closed,
            },
            root: info.root,
            accepted_root: None,
        };
        self.answer(segments.into_iter().map(segment).collect())
    }
    fn list_storage_chunks(&self, request: ListChunks) -> RpcResult<Vec<StorageChunk>> {
        let segments = request.first_segment.unwrap_or(0)..=request.last_segment.unwrap_or(1).min(1);
        let mut chunks = Vec::new();
        for segment in segments {
            let (table, held) = self.store.table_and_held(segment).unwrap().unwrap();
            for (row, chunk) in table.chunks().zip(0..) {
                let periods = table.periods_of_chunk(chunk).unwrap();
                let at = ChunkAt { segment, chunk };
                if request.period.is_some_and(|period| !periods.contains(&period))
                    || request.after.is_some_and(|after| at <= after)
                {
                    continue;
                }
                chunks.push(StorageChunk {
                    segment,
                    chunk,
                    chunk_id: Some(row.id),
                    length: row.length,
                    first_period: periods.start,
                    last_period: periods.end - 1,
                    state: ChunkState::Anchored,
                    held: held.contains(chunk),
                    assigned_here: true,
                    holders: vec![NodeId::new(KEY.get_public_key())],
                });
            }
        }
        if request.first_segment.is_none() && request.period.is_none() {
            chunks.push(StorageChunk {
                segment: 2,
                chunk: 0,
                chunk_id: None,
                length: 77,
                first_period: 4,
                last_period: 4,
                state: ChunkState::Filling,
                held: false,
                assigned_here: false,
                holders: Vec::new(),
            });
        }
        chunks.truncate(request.limit as usize);
        self.answer(chunks)
    }
    fn list_storage_periods(&self, request: ListPeriods) -> RpcResult<Vec<StoragePeriod>> {
        let period = |period: u64| {
            let segment = period / 2;
            let table = self.store.table(segment).unwrap().unwrap();
            let row = table.period(period).unwrap();
            let chunks = table.chunks_of(&table.period_range(period).unwrap());
            StoragePeriod {
                period,
                segment,
                state: PeriodState::Closed,
                root: row.root,
                bytes: row.length,
                first_chunk: chunks.start,
                last_chunk: chunks.end - 1,
                blocks: (period == 3).then_some(30),
                misses: (period == 3).then_some(2),
                operations: None,
            }
        };
        let periods = (request.first.max(1)..=3).map(period);
        self.answer(periods.take(request.limit as usize).collect())
    }
    fn get_archived_period(&self, _: &Extensions, period: u64) -> RpcResult<ArchivedPeriodInfo> {
        let segment = period / 2;
        let entry = match self.store.entry(period) {
            Ok(EntryRead::Found(entry)) => entry,
            _ => return Err(not_found(format!("period {period} is not archived"))),
        };
        let bytes = match self.store.table(segment).unwrap() {
            Some(table) => table.period(period).unwrap().length,
            None => self.store.joined_period(period).unwrap().unwrap().length,
        };
        let closed = self.store.segment_root(segment).unwrap().is_some();
        self.answer(ArchivedPeriodInfo {
            period,
            segment,
            state: if closed { PeriodState::Closed } else { PeriodState::Open },
            root: entry.root(UPSTREAM.chain_id, period),
            bytes,
            slots: entry.ids().collect(),
            chunks: vec![PeriodChunk { chunk: 0, held: closed }],
            proof: self.proof(period, Evidence::period),
        })
    }
    fn get_archived_block(&self, _: &Extensions, block: BlockOrSlot) -> RpcResult<ArchivedSlot> {
        let slot = match block {
            BlockOrSlot::Id(id) => self.store.find_block(&id).unwrap().ok_or_else(|| not_found(id))?,
            BlockOrSlot::Slot(slot) => slot,
        };
        let Slot { period, thread } = slot;
        let found = match self.store.slot(slot).map_err(not_found)? {
            SlotRead::Block(record) => {
                let proof = self.proof(period, |evidence| evidence.block(thread, &record, true));
                let block = ArchivedBlock::verify(record, UPSTREAM.chain_id, 32).unwrap();
                ArchivedSlot::Block(ArchivedBlockInfo::new(&block, proof))
            }
            SlotRead::Miss => {
                let proof = self.proof(period, |evidence| evidence.miss(thread));
                ArchivedSlot::Miss(ArchivedMissInfo { slot, proof })
            }
            SlotRead::Lost(block_id) => {
                let proof = self.proof(period, |evidence| evidence.lost(thread));
                ArchivedSlot::Lost(ArchivedLostInfo { slot, block_id, proof })
            }
            other => return Err(not_found(format!("{other:?}"))),
        };
        self.answer(found)
    }
    fn get_archived_operation(&self, _: &Extensions, id: OperationId) -> RpcResult<ArchivedOperationInfo> {
        let found = self.store.find_operation(&id).unwrap();
        let (slot, index) = found.ok_or_else(|| not_found(id))?;
        let SlotRead::Block(record) = self.store.slot(slot).unwrap() else {
            panic!()
        };
        let proof = self.proof(slot.period, |evidence| evidence.operation(slot.thread, &record, index));
        let block = ArchivedBlock::verify(record, UPSTREAM.chain_id, 32).unwrap();
        let operation = ArchivedOperation::new(block, index).unwrap();
        self.answer(ArchivedOperationInfo::new(&operation, proof))
    }
    fn get_storage_nodes(&self, request: Option<ListNodes>) -> RpcResult<Vec<StorageNodeInfo>> {
        let node_id = NodeId::new(KEY.get_public_key());
        if request.is_some_and(|request| request.after == Some(node_id)) {
            return self.answer(Vec::new());
        }
        self.answer(vec![StorageNodeInfo {
            node_id,
            address: Address::from_public_key(&KEY.get_public_key()),
            listeners: vec!["127.0.0.1:31244".parse().unwrap()],
            allocated_storage_gb: 10,
            connected: true,
            capabilities: Some(NodeCapabilities {
                allocated_storage_gb: 10,
                floor: 0,
                newest_segment: Some(1),
                newest_period: Some(222),
                held_ranges: vec![(0, 1)],
                indexes: IndexInfo::default(),
                quarantined: false,
            }),
            share_bytes: 1_234_567,
            registered: None,
        }])
    }
    fn issue_storage_challenge(&self, _: NodeOrAddress, chunk: ChunkOrPosition) -> RpcResult<IssuedChallenge> {
        let ChunkOrPosition::Position(ChunkAt { segment, chunk }) = chunk else {
            panic!()
        };
        self.answer(IssuedChallenge {
            challenge_id: ChallengeId::from_bytes([7; 32]),
            node: NodeId::new(KEY.get_public_key()),
            segment,
            chunk,
            chunk_id: ChunkId::from_bytes([8; 32]),
            result_within_ms: 60_000,
        })
    }
    fn get_storage_earnings(&self, count: u64) -> RpcResult<StorageEarnings> {
        let mut earnings = storage_earnings();
        earnings
            .rounds
            .drain(..earnings.rounds.len().saturating_sub(count as usize));
        self.answer(earnings)
    }
    /// Passed; with a lie, something else.
    fn get_challenge_history(&self, request: GetChallengeHistory) -> RpcResult<ChallengeHistory> {
        let node = NodeId::new(KEY.get_public_key());
        let result = ChallengeResult {
            challenge_id: request.challenge_id.unwrap_or(ChallengeId::from_bytes([6; 32])),
            time_ms: 1_700_000_000_000,
            node,
            segment: 3,
            chunk: 0,
            chunk_id: ChunkId::from_bytes([8; 32]),
            by_hand: true,
            assigned: true,
            outcome: ChallengeOutcome::Passed,
            failed: false,
            reason: None,
            elapsed_ms: Some(12),
            round_trip_ms: Some(2),
        };
        let audits = NodeAuditInfo {
            node,
            counted: 4,
            passed: 3,
            slow: 0,
            success_percent: 75,
            alarm: false,
            last_ms: 1_700_000_000_000,
        };
        self.answer(ChallengeHistory {
            nodes: vec![audits],
            results: vec![result],
        })
    }
}
