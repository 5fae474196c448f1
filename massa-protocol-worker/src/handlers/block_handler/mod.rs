//! Blocks: announcing, fetching and serving them.

pub mod cache;
pub mod commands_propagation;
pub mod commands_retrieval;
mod header_check;
mod messages;
mod propagation;
mod retrieval;
mod serving;
mod wishlist;

pub use messages::{
    AskForBlockInfo, BlockInfoReply, BlockMessage, BlockMessageDeserializer, BlockMessageDeserializerArgs,
    BlockMessageSerializer,
};

use crate::checks::SharedChecks;
use crate::handlers::peer_handler::PeerManagementCmd;
use crate::handlers::spawn_handler_thread;
use crate::messages::PeerMessageTuple;
use crate::wrap_network::ActiveConnectionsTrait;
use cache::SharedBlockCache;
use commands_propagation::BlockHandlerPropagationCommand;
use commands_retrieval::BlockHandlerRetrievalCommand;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_consensus_exports::ConsensusController;
use massa_pos_exports::SelectorController;
use massa_protocol_exports::{BlockArchive, ProtocolConfig, ProtocolError};
use massa_storage::Storage;
use propagation::PropagationThread;
use retrieval::RetrievalThread;
use serving::BlockSource;
use std::sync::Arc;
use std::thread::JoinHandle;
use wishlist::Wishlist;

/// What the handler is connected to.
pub(crate) struct BlockHandlerParts {
    pub(crate) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(crate) selector: Box<dyn SelectorController>,
    pub(crate) consensus: Box<dyn ConsensusController>,
    pub(crate) receiver_network: MassaReceiver<PeerMessageTuple>,
    pub(crate) retrieval: (
        MassaSender<BlockHandlerRetrievalCommand>,
        MassaReceiver<BlockHandlerRetrievalCommand>,
    ),
    pub(crate) propagation: (
        MassaSender<BlockHandlerPropagationCommand>,
        MassaReceiver<BlockHandlerPropagationCommand>,
    ),
    pub(crate) peer_cmd_sender: MassaSender<PeerManagementCmd>,
    pub(crate) cache: SharedBlockCache,
    pub(crate) storage: Storage,
    pub(crate) block_archive: Option<Arc<dyn BlockArchive>>,
    pub(crate) checks: SharedChecks,
}

/// The two threads of this handler.
pub struct BlockHandler {
    block_retrieval_thread: Option<(MassaSender<BlockHandlerRetrievalCommand>, JoinHandle<()>)>,
    block_propagation_thread: Option<(MassaSender<BlockHandlerPropagationCommand>, JoinHandle<()>)>,
}

impl BlockHandler {
    /// Starts both threads.
    pub(crate) fn new(config: &ProtocolConfig, parts: BlockHandlerParts) -> Result<Self, ProtocolError> {
        let retrieval = RetrievalThread {
            active_connections: parts.active_connections.clone(),
            selector: parts.selector,
            consensus: parts.consensus,
            receiver_network: parts.receiver_network,
            commands: parts.retrieval.1,
            peer_cmd_sender: parts.peer_cmd_sender.clone(),
            cache: Arc::clone(&parts.cache),
            source: BlockSource::new(
                &parts.storage,
                parts.block_archive,
                config.max_serialized_operations_size_per_block,
            ),
            wishlist: Wishlist::new(config, &parts.storage),
            checks: parts.checks,
            config: config.clone(),
        };
        let propagation = PropagationThread {
            active_connections: parts.active_connections,
            commands: parts.propagation.1,
            peer_cmd_sender: parts.peer_cmd_sender,
            cache: parts.cache,
            config: config.clone(),
        };
        let retrieval_thread = spawn_handler_thread("pbh-retrieval", || retrieval.run())?;
        let propagation_thread = spawn_handler_thread("pbh-propagation", || propagation.run())?;
        Ok(Self {
            block_retrieval_thread: Some((parts.retrieval.0, retrieval_thread)),
            block_propagation_thread: Some((parts.propagation.0, propagation_thread)),
        })
    }

    /// Ends both threads.
    pub fn stop(&mut self) {
        if let Some((sender, thread)) = self.block_retrieval_thread.take() {
            crate::handlers::end_handler_thread(&sender, BlockHandlerRetrievalCommand::Stop, thread);
        }
        if let Some((sender, thread)) = self.block_propagation_thread.take() {
            crate::handlers::end_handler_thread(&sender, BlockHandlerPropagationCommand::Stop, thread);
        }
    }
}
