//! What the servers need of the node.

use massa_api_exports::distributed_storage::StorageApi;
use massa_consensus_exports::ConsensusController;
use massa_execution_exports::ExecutionController;
use massa_models::node::NodeId;
use massa_pool_exports::PoolController;
use massa_pos_exports::SelectorController;
use massa_protocol_exports::ProtocolController;
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_wallet::ApiToken;
use std::sync::Arc;

/// What the servers need of the node.
#[derive(Clone)]
pub struct ApiContext {
    /// The graph.
    pub consensus_controller: Box<dyn ConsensusController>,
    /// The ledger.
    pub execution_controller: Box<dyn ExecutionController>,
    /// Operations that wait for a block.
    pub pool_controller: Box<dyn PoolController>,
    /// The peers.
    pub protocol_controller: Box<dyn ProtocolController>,
    /// Who may produce.
    pub selector_controller: Box<dyn SelectorController>,
    /// Blocks and operations; owns none.
    pub storage: Storage,
    /// The archive; [`DisabledStorage`](massa_api_exports::distributed_storage::DisabledStorage) where there is none.
    pub storage_api: Arc<dyn StorageApi>,
    /// The node's key.
    pub node_keypair: KeyPair,
    /// Who has it rules the node.
    pub token: ApiToken,
    /// Asks the node to stop. Called on a thread of the servers: it must only signal, since stopping the servers from
    /// there would wait for itself.
    pub stop_node: Arc<dyn Fn() + Send + Sync>,
}

impl ApiContext {
    /// The id of the node.
    pub fn node_id(&self) -> NodeId {
        NodeId::new(self.node_keypair.get_public_key())
    }
}
