//! The methods, as upstream's trait of the same name has them, and those of the archive.
//!
//! Both servers offer all of them; a method of the other server answers [`crate::ApiError::WrongAPI`]. Parameters are
//! positional, and those beyond the declared ones are ignored: massa-web3 always sends one.

use crate::address::{AddressFilter, AddressInfo};
use crate::block::{BlockInfo, BlockSummary};
use crate::datastore::{DatastoreEntryInput, DatastoreEntryOutput, DatastoreKeysInput, DatastoreKeysOutput};
use crate::distributed_storage::audits::{
    ChallengeHistory, ChunkOrPosition, GetChallengeHistory, IssuedChallenge, NodeOrAddress,
};
use crate::distributed_storage::rounds::StorageEarnings;
use crate::distributed_storage::{
    ArchivedOperationInfo, ArchivedPeriodInfo, ArchivedSlot, BlockOrSlot, ListChunks, ListNodes, ListPeriods,
    ListSegments, StorageChunk, StorageNodeInfo, StoragePeriod, StorageSegment, StorageStatus,
};
use crate::execution::{EventFilter, ExecuteReadOnlyResponse, ReadOnlyBytecodeExecution, ReadOnlyCall, SCOutputEvent};
use crate::node::{NodeStatus, PubkeySig};
use crate::operation::{OperationInfo, OperationInput};
use crate::page::{PageRequest, TimeInterval};
use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;
use massa_models::address::Address;
use massa_models::block::Block;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;

/// The methods.
#[rpc(server, client)]
pub trait MassaRpc {
    /// Private: ends the node.
    #[method(name = "stop_node", blocking)]
    fn stop_node(&self) -> RpcResult<()>;

    /// Private: signs the hash of a message with the node's key.
    #[method(name = "node_sign_message", blocking)]
    fn node_sign_message(&self, message: Vec<u8>) -> RpcResult<PubkeySig>;

    /// Private: ends the connections to these nodes and accepts none of theirs.
    #[method(name = "node_ban_by_id", blocking)]
    fn node_ban_by_id(&self, ids: Vec<NodeId>) -> RpcResult<()>;

    /// Private: ends bans.
    #[method(name = "node_unban_by_id", blocking)]
    fn node_unban_by_id(&self, ids: Vec<NodeId>) -> RpcResult<()>;

    /// The state of the node.
    #[method(name = "get_status", blocking)]
    fn get_status(&self) -> RpcResult<NodeStatus>;

    /// Largest sets of compatible blocks that are not final.
    #[method(name = "get_cliques", blocking)]
    fn get_cliques(&self) -> RpcResult<Vec<Clique>>;

    /// Addresses with their rolls, most rolls first.
    #[method(name = "get_stakers", blocking)]
    fn get_stakers(&self, page_request: Option<PageRequest>) -> RpcResult<Vec<(Address, u64)>>;

    /// Operations; unknown ones are left out.
    #[method(name = "get_operations", blocking, with_extensions)]
    fn get_operations(&self, ids: Vec<OperationId>) -> RpcResult<Vec<OperationInfo>>;

    /// Blocks; unknown ones are left out.
    #[method(name = "get_blocks", blocking, with_extensions)]
    fn get_blocks(&self, ids: Vec<BlockId>) -> RpcResult<Vec<BlockInfo>>;

    /// The block of the best clique at a slot.
    #[method(name = "get_blockclique_block_by_slot", blocking)]
    fn get_blockclique_block_by_slot(&self, slot: Slot) -> RpcResult<Option<Block>>;

    /// Blocks of the graph whose slots begin in an interval.
    #[method(name = "get_graph_interval", blocking)]
    fn get_graph_interval(&self, interval: TimeInterval) -> RpcResult<Vec<BlockSummary>>;

    /// Values of datastores.
    #[method(name = "get_datastore_entries", blocking, with_extensions)]
    fn get_datastore_entries(&self, entries: Vec<DatastoreEntryInput>) -> RpcResult<Vec<DatastoreEntryOutput>>;

    /// Addresses.
    #[method(name = "get_addresses", blocking, with_extensions)]
    fn get_addresses(&self, addresses: Vec<Address>) -> RpcResult<Vec<AddressInfo>>;

    /// Bytecodes of contracts; no bytes where there is none.
    #[method(name = "get_addresses_bytecode", blocking, with_extensions)]
    fn get_addresses_bytecode(&self, addresses: Vec<AddressFilter>) -> RpcResult<Vec<Vec<u8>>>;

    /// Keys of datastores.
    #[method(name = "get_addresses_datastore_keys", blocking, with_extensions)]
    fn get_addresses_datastore_keys(&self, requests: Vec<DatastoreKeysInput>) -> RpcResult<Vec<DatastoreKeysOutput>>;

    /// Checks operations, tells them to the peers and puts them into the pool.
    #[method(name = "send_operations", blocking)]
    fn send_operations(&self, operations: Vec<OperationInput>) -> RpcResult<Vec<OperationId>>;

    /// Events of contracts. Of more than fit an answer the newest are told; its header `massa-answer-cut` says so.
    #[method(name = "get_filtered_sc_output_event", blocking, with_extensions)]
    fn get_filtered_sc_output_event(&self, filter: EventFilter) -> RpcResult<Vec<SCOutputEvent>>;

    /// Runs modules on the state after the last executed slot, and changes nothing.
    #[method(name = "execute_read_only_bytecode", blocking, with_extensions)]
    fn execute_read_only_bytecode(
        &self,
        executions: Vec<ReadOnlyBytecodeExecution>,
    ) -> RpcResult<Vec<ExecuteReadOnlyResponse>>;

    /// Calls contracts on the state after the last executed slot, and changes nothing.
    #[method(name = "execute_read_only_call", blocking, with_extensions)]
    fn execute_read_only_call(&self, calls: Vec<ReadOnlyCall>) -> RpcResult<Vec<ExecuteReadOnlyResponse>>;

    /// What the node archives, holds and misses, and why it does not more.
    #[method(name = "get_storage_status", blocking)]
    fn get_storage_status(&self) -> RpcResult<StorageStatus>;

    /// Segments, open ones too.
    #[method(name = "list_storage_segments", blocking)]
    fn list_storage_segments(&self, request: ListSegments) -> RpcResult<Vec<StorageSegment>>;

    /// Chunks and who should hold them.
    #[method(name = "list_storage_chunks", blocking)]
    fn list_storage_chunks(&self, request: ListChunks) -> RpcResult<Vec<StorageChunk>>;

    /// Archived periods.
    #[method(name = "list_storage_periods", blocking)]
    fn list_storage_periods(&self, request: ListPeriods) -> RpcResult<Vec<StoragePeriod>>;

    /// Slots and chunks of an archived period, with a proof.
    #[method(name = "get_archived_period", blocking, with_extensions)]
    fn get_archived_period(&self, period: u64) -> RpcResult<ArchivedPeriodInfo>;

    /// A block of the archive, a missed slot, or the id of a lost block, with a proof.
    #[method(name = "get_archived_block", blocking, with_extensions)]
    fn get_archived_block(&self, block: BlockOrSlot) -> RpcResult<ArchivedSlot>;

    /// An operation of the archive, with a proof.
    #[method(name = "get_archived_operation", blocking, with_extensions)]
    fn get_archived_operation(&self, id: OperationId) -> RpcResult<ArchivedOperationInfo>;

    /// The nodes that offer disk space, in the order of their ids; without a request the first of them.
    #[method(name = "get_storage_nodes", blocking)]
    fn get_storage_nodes(&self, request: Option<ListNodes>) -> RpcResult<Vec<StorageNodeInfo>>;

    /// Private: puts a challenge to a storage node, off chain. Its result will be in the challenge history.
    #[method(name = "issue_storage_challenge", blocking)]
    fn issue_storage_challenge(&self, node: NodeOrAddress, chunk: ChunkOrPosition) -> RpcResult<IssuedChallenge>;

    /// What came of audits of other storage nodes.
    #[method(name = "get_challenge_history", blocking)]
    fn get_challenge_history(&self, request: GetChallengeHistory) -> RpcResult<ChallengeHistory>;

    /// What the node claimed, showed and earned in the last `count` rounds, and in all.
    #[method(name = "get_storage_earnings", blocking)]
    fn get_storage_earnings(&self, count: u64) -> RpcResult<StorageEarnings>;
}
