//! Operations: announcing, fetching and serving them.

mod asked;
pub mod cache;
pub mod commands_propagation;
pub mod commands_retrieval;
mod messages;
mod propagation;
mod retrieval;

pub use messages::{
    OperationMessage, OperationMessageDeserializer, OperationMessageDeserializerArgs, OperationMessageSerializer,
};

use crate::handlers::peer_handler::PeerManagementCmd;
use crate::handlers::{end_handler_thread, spawn_handler_thread};
use crate::messages::PeerMessageTuple;
use crate::wrap_network::ActiveConnectionsTrait;
use cache::SharedOperationCache;
use commands_propagation::OperationHandlerPropagationCommand;
use commands_retrieval::OperationHandlerRetrievalCommand;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{ProtocolConfig, ProtocolError};
use massa_storage::Storage;
use propagation::PropagationThread;
use retrieval::RetrievalThread;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What the handler is connected to.
pub(crate) struct OperationHandlerParts {
    pub(crate) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(crate) pool: Box<dyn PoolController>,
    pub(crate) receiver_network: MassaReceiver<PeerMessageTuple>,
    pub(crate) retrieval: (
        MassaSender<OperationHandlerRetrievalCommand>,
        MassaReceiver<OperationHandlerRetrievalCommand>,
    ),
    pub(crate) propagation: (
        MassaSender<OperationHandlerPropagationCommand>,
        MassaReceiver<OperationHandlerPropagationCommand>,
    ),
    pub(crate) peer_cmd_sender: MassaSender<PeerManagementCmd>,
    pub(crate) cache: SharedOperationCache,
    pub(crate) storage: Storage,
}

/// The two threads of this handler.
pub struct OperationHandler {
    operation_retrieval_thread: Option<(MassaSender<OperationHandlerRetrievalCommand>, JoinHandle<()>)>,
    operation_propagation_thread: Option<(MassaSender<OperationHandlerPropagationCommand>, JoinHandle<()>)>,
}

impl OperationHandler {
    /// Starts both threads.
    pub(crate) fn new(config: &ProtocolConfig, parts: OperationHandlerParts) -> Result<Self, ProtocolError> {
        let retrieval = RetrievalThread {
            active_connections: parts.active_connections.clone(),
            pool: parts.pool,
            storage: parts.storage.clone_without_refs(),
            receiver_network: parts.receiver_network,
            commands: parts.retrieval.1,
            propagation: parts.propagation.0.clone(),
            peer_cmd_sender: parts.peer_cmd_sender,
            cache: Arc::clone(&parts.cache),
            config: config.clone(),
        };
        let propagation = PropagationThread {
            active_connections: parts.active_connections,
            commands: parts.propagation.1,
            cache: parts.cache,
            config: config.clone(),
        };
        let retrieval_thread = spawn_handler_thread("poh-retrieval", || retrieval.run())?;
        let propagation_thread = spawn_handler_thread("poh-propagation", || propagation.run())?;
        Ok(Self {
            operation_retrieval_thread: Some((parts.retrieval.0, retrieval_thread)),
            operation_propagation_thread: Some((parts.propagation.0, propagation_thread)),
        })
    }

    /// Ends both threads.
    pub fn stop(&mut self) {
        if let Some((sender, thread)) = self.operation_retrieval_thread.take() {
            end_handler_thread(&sender, OperationHandlerRetrievalCommand::Stop, thread);
        }
        if let Some((sender, thread)) = self.operation_propagation_thread.take() {
            end_handler_thread(&sender, OperationHandlerPropagationCommand::Stop, thread);
        }
    }
}
