//! The methods, as both servers offer them.

use crate::answer::Answer;
use crate::context::ApiContext;
use crate::limiter::ArchiveLimiter;
use crate::memory::Held;
use crate::request::ClientAddress;
use crate::turns::Turns;
use crate::ApiConfig;
use jsonrpsee::core::{async_trait, RpcResult};
use jsonrpsee::Extensions;
use massa_api_exports::address::{AddressFilter, AddressInfo};
use massa_api_exports::block::{BlockInfo, BlockSummary};
use massa_api_exports::datastore::{
    DatastoreEntryInput, DatastoreEntryOutput, DatastoreKeysInput, DatastoreKeysOutput,
};
use massa_api_exports::distributed_storage::audits::{
    ChallengeHistory, ChunkOrPosition, GetChallengeHistory, IssuedChallenge, NodeOrAddress,
};
use massa_api_exports::distributed_storage::rounds::{self, StorageEarnings};
use massa_api_exports::distributed_storage::{
    ArchivedOperationInfo, ArchivedPeriodInfo, ArchivedSlot, BlockOrSlot, ListChunks, ListNodes, ListPeriods,
    ListSegments, StorageChunk, StorageNodeInfo, StoragePeriod, StorageSegment, StorageStatus,
};
use massa_api_exports::execution::{
    EventFilter, ExecuteReadOnlyResponse, ReadOnlyBytecodeExecution, ReadOnlyCall, SCOutputEvent,
};
use massa_api_exports::node::{NodeStatus, PubkeySig};
use massa_api_exports::operation::{OperationInfo, OperationInput};
use massa_api_exports::page::{PageRequest, TimeInterval};
use massa_api_exports::rpc::MassaRpcServer;
use massa_api_exports::ApiError;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::block::Block;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use massa_protocol_exports::PeerId;
use massa_time::MassaTime;
use parking_lot::{Condvar, Mutex};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// For everybody.
    Public,
    /// For the operator.
    Private,
}

impl Side {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Side::Public => "public",
            Side::Private => "private",
        }
    }
}

/// What both servers share.
pub(crate) struct Node {
    pub config: ApiConfig,
    pub context: ApiContext,
    pub started: MassaTime,
    pub limiter: Mutex<ArchiveLimiter>,
    /// A call that read the archive ended.
    pub archive_call_ended: Condvar,
    pub read_only_turns: Turns,
}

/// Who asks, and what the request takes. The server tells both with each.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub client: IpAddr,
    pub held: Option<Arc<Held>>,
}

/// The methods of one server.
#[derive(Clone)]
pub struct MassaApi {
    side: Side,
    node: Arc<Node>,
}

impl MassaApi {
    /// The methods of the public and of the private server.
    pub fn both(config: ApiConfig, context: ApiContext) -> [Self; 2] {
        let limiter = Mutex::new(ArchiveLimiter::new(config.archive_limits));
        let read_only_turns = Turns::new(config.read_only_at_once, config.read_only_waiting);
        let node = Arc::new(Node {
            config,
            context,
            started: MassaTime::now(),
            limiter,
            archive_call_ended: Condvar::new(),
            read_only_turns,
        });
        [Side::Public, Side::Private].map(|side| Self {
            side,
            node: Arc::clone(&node),
        })
    }

    fn public(&self) -> Result<&Node, ApiError> {
        self.only(Side::Public)
    }

    fn private(&self) -> Result<&Node, ApiError> {
        self.only(Side::Private)
    }

    fn only(&self, side: Side) -> Result<&Node, ApiError> {
        if self.side == side {
            Ok(&self.node)
        } else {
            Err(ApiError::WrongAPI(side.name()))
        }
    }
}

/// Who asks. Requests that no server handed over count as one client.
fn asker(extensions: &Extensions) -> Asker {
    let address = extensions.get::<ClientAddress>();
    Asker {
        client: address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.0),
        held: extensions.get::<Arc<Held>>().cloned(),
    }
}

#[async_trait]
impl MassaRpcServer for MassaApi {
    fn stop_node(&self) -> RpcResult<()> {
        (self.private()?.context.stop_node)();
        Ok(())
    }

    fn node_sign_message(&self, message: Vec<u8>) -> RpcResult<PubkeySig> {
        let keypair = &self.private()?.context.node_keypair;
        let signature = keypair.sign(&Hash::compute_from(&message));
        Ok(PubkeySig {
            public_key: keypair.get_public_key(),
            signature: signature.map_err(|error| ApiError::InternalServerError(error.to_string()))?,
        })
    }

    fn node_ban_by_id(&self, ids: Vec<NodeId>) -> RpcResult<()> {
        let peers = self.private()?.peers(&ids)?;
        let protocol = &self.node.context.protocol_controller;
        Ok(protocol.ban_peers(peers).map_err(ApiError::from)?)
    }

    fn node_unban_by_id(&self, ids: Vec<NodeId>) -> RpcResult<()> {
        let peers = self.private()?.peers(&ids)?;
        let protocol = &self.node.context.protocol_controller;
        Ok(protocol.unban_peers(peers).map_err(ApiError::from)?)
    }

    fn get_status(&self) -> RpcResult<NodeStatus> {
        Ok(self.public()?.status(MassaTime::now())?)
    }

    fn get_cliques(&self) -> RpcResult<Vec<Clique>> {
        Ok(self.public()?.context.consensus_controller.get_cliques())
    }

    fn get_stakers(&self, page_request: Option<PageRequest>) -> RpcResult<Vec<(Address, u64)>> {
        Ok(self.public()?.stakers(page_request))
    }

    fn get_operations(&self, extensions: &Extensions, ids: Vec<OperationId>) -> RpcResult<Vec<OperationInfo>> {
        Ok(self.public()?.operations(&asker(extensions), &ids)?)
    }

    fn get_blocks(&self, extensions: &Extensions, ids: Vec<BlockId>) -> RpcResult<Vec<BlockInfo>> {
        Ok(self.public()?.blocks(&asker(extensions), &ids)?)
    }

    fn get_blockclique_block_by_slot(&self, slot: Slot) -> RpcResult<Option<Block>> {
        Ok(self.public()?.blockclique_block(slot)?)
    }

    fn get_graph_interval(&self, interval: TimeInterval) -> RpcResult<Vec<BlockSummary>> {
        Ok(self.public()?.graph_interval(interval)?)
    }

    fn get_datastore_entries(
        &self,
        extensions: &Extensions,
        entries: Vec<DatastoreEntryInput>,
    ) -> RpcResult<Vec<DatastoreEntryOutput>> {
        Ok(self.public()?.datastore_entries(&asker(extensions), entries)?)
    }

    fn get_addresses(&self, extensions: &Extensions, addresses: Vec<Address>) -> RpcResult<Vec<AddressInfo>> {
        Ok(self
            .public()?
            .addresses(&asker(extensions), &addresses, MassaTime::now())?)
    }

    fn get_addresses_bytecode(
        &self,
        extensions: &Extensions,
        addresses: Vec<AddressFilter>,
    ) -> RpcResult<Vec<Vec<u8>>> {
        Ok(self.public()?.bytecodes(&asker(extensions), &addresses)?)
    }

    fn get_addresses_datastore_keys(
        &self,
        extensions: &Extensions,
        requests: Vec<DatastoreKeysInput>,
    ) -> RpcResult<Vec<DatastoreKeysOutput>> {
        Ok(self.public()?.datastore_keys(&asker(extensions), requests)?)
    }

    fn send_operations(&self, operations: Vec<OperationInput>) -> RpcResult<Vec<OperationId>> {
        Ok(self.public()?.send(operations, MassaTime::now())?)
    }

    fn get_filtered_sc_output_event(
        &self,
        extensions: &Extensions,
        filter: EventFilter,
    ) -> RpcResult<Vec<SCOutputEvent>> {
        Ok(self.public()?.events(&asker(extensions), &filter)?)
    }

    fn execute_read_only_bytecode(
        &self,
        extensions: &Extensions,
        executions: Vec<ReadOnlyBytecodeExecution>,
    ) -> RpcResult<Vec<ExecuteReadOnlyResponse>> {
        Ok(self.public()?.execute_bytecodes(&asker(extensions), executions)?)
    }

    fn execute_read_only_call(
        &self,
        extensions: &Extensions,
        calls: Vec<ReadOnlyCall>,
    ) -> RpcResult<Vec<ExecuteReadOnlyResponse>> {
        Ok(self.public()?.execute_calls(&asker(extensions), calls)?)
    }

    fn get_storage_status(&self) -> RpcResult<StorageStatus> {
        let status = self.public()?.context.storage_api.status();
        Ok(status.map_err(ApiError::from)?)
    }

    fn list_storage_segments(&self, request: ListSegments) -> RpcResult<Vec<StorageSegment>> {
        let archive = &self.public()?.context.storage_api;
        let segments = request.check().and_then(|()| archive.segments(&request));
        Ok(segments.map_err(ApiError::from)?)
    }

    fn list_storage_chunks(&self, request: ListChunks) -> RpcResult<Vec<StorageChunk>> {
        let archive = &self.public()?.context.storage_api;
        let chunks = request.check().and_then(|()| archive.chunks(&request));
        Ok(chunks.map_err(ApiError::from)?)
    }

    fn list_storage_periods(&self, request: ListPeriods) -> RpcResult<Vec<StoragePeriod>> {
        let archive = &self.public()?.context.storage_api;
        let periods = request.check().and_then(|()| archive.periods(&request));
        Ok(periods.map_err(ApiError::from)?)
    }

    fn get_archived_period(&self, extensions: &Extensions, period: u64) -> RpcResult<ArchivedPeriodInfo> {
        let node = self.public()?;
        Ok(node.read_archive_object(&asker(extensions), |archive, budget| {
            archive.archived_period(period, budget)
        })?)
    }

    fn get_archived_block(&self, extensions: &Extensions, block: BlockOrSlot) -> RpcResult<ArchivedSlot> {
        let node = self.public()?;
        node.check_block_or_slot(&block)?;
        Ok(node.read_archive_object(&asker(extensions), |archive, budget| {
            archive.archived_block(&block, budget)
        })?)
    }

    fn get_archived_operation(&self, extensions: &Extensions, id: OperationId) -> RpcResult<ArchivedOperationInfo> {
        let node = self.public()?;
        Ok(node.read_archive_object(&asker(extensions), |archive, budget| {
            archive.archived_operation(&id, budget)
        })?)
    }

    fn get_storage_nodes(&self, request: Option<ListNodes>) -> RpcResult<Vec<StorageNodeInfo>> {
        let archive = &self.public()?.context.storage_api;
        let request = request.unwrap_or_default();
        let nodes = request.check().and_then(|()| archive.nodes(&request));
        Ok(nodes.map_err(ApiError::from)?)
    }

    fn issue_storage_challenge(&self, node: NodeOrAddress, chunk: ChunkOrPosition) -> RpcResult<IssuedChallenge> {
        let issued = self.private()?.context.storage_api.issue_challenge(&node, &chunk);
        Ok(issued.map_err(ApiError::from)?)
    }

    fn get_challenge_history(&self, request: GetChallengeHistory) -> RpcResult<ChallengeHistory> {
        let archive = &self.public()?.context.storage_api;
        let history = request.check().and_then(|()| archive.challenge_history(&request));
        Ok(history.map_err(ApiError::from)?)
    }

    fn get_storage_earnings(&self, count: u64) -> RpcResult<StorageEarnings> {
        let archive = &self.public()?.context.storage_api;
        let earnings = rounds::check_count(count).and_then(|()| archive.earnings(count));
        Ok(earnings.map_err(ApiError::from)?)
    }
}

/// Refuses lists with more than `max` entries.
pub(crate) fn check_count(field: &str, count: usize, max: usize) -> Result<(), ApiError> {
    if count > max {
        return Err(ApiError::BadRequest(format!(
            "{field}: {count} entries are more than {max}"
        )));
    }
    Ok(())
}

impl Node {
    /// An answer to be collected.
    pub fn answer(&self, asker: &Asker) -> Answer {
        Answer::new(asker, self.config.max_response_body_size as usize)
    }

    /// Refuses lists that are too long.
    pub fn check_arguments(&self, field: &str, count: usize) -> Result<(), ApiError> {
        check_count(field, count, self.config.max_arguments)
    }

    /// Refuses threads that do not exist.
    pub fn check_thread(&self, slot: Slot) -> Result<(), ApiError> {
        let threads = self.config.thread_count;
        if slot.thread >= threads {
            let thread = slot.thread;
            return Err(ApiError::BadRequest(format!("thread: {thread} is not below {threads}")));
        }
        Ok(())
    }

    fn check_block_or_slot(&self, block: &BlockOrSlot) -> Result<(), ApiError> {
        match block {
            BlockOrSlot::Id(_) => Ok(()),
            BlockOrSlot::Slot(slot) => self.check_thread(*slot),
        }
    }

    fn peers(&self, ids: &[NodeId]) -> Result<Vec<PeerId>, ApiError> {
        self.check_arguments("ids", ids.len())?;
        let peer = |id: &NodeId| PeerId::from_public_key(id.get_public_key());
        Ok(ids.iter().map(peer).collect())
    }
}
