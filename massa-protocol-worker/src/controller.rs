//! What the rest of the node asks of the protocol.

use crate::checks::SharedChecks;
use crate::connectivity::ConnectivityCommand;
use crate::handlers::block_handler::commands_propagation::BlockHandlerPropagationCommand;
use crate::handlers::block_handler::commands_retrieval::BlockHandlerRetrievalCommand;
use crate::handlers::operation_handler::commands_propagation::OperationHandlerPropagationCommand;
use crate::handlers::peer_handler::PeerManagementCmd;
use crossbeam_channel::TrySendError;
use massa_channel::sender::MassaSender;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_protocol_exports::{
    Alarms, NetworkStats, PeerAddress, PeerConnectionType, PeerId, ProtocolController, ProtocolError,
};
use massa_storage::Storage;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long figures may take. Upstream's number.
const STATS_TIMEOUT: Duration = Duration::from_secs(10);

/// Senders to the threads of the protocol.
#[derive(Clone)]
struct Senders {
    block_retrieval: MassaSender<BlockHandlerRetrievalCommand>,
    block_propagation: MassaSender<BlockHandlerPropagationCommand>,
    operation_propagation: MassaSender<OperationHandlerPropagationCommand>,
    connectivity: MassaSender<ConnectivityCommand>,
    peer_management: MassaSender<PeerManagementCmd>,
}

/// The protocol, by its channels.
#[derive(Clone)]
pub struct ProtocolControllerImpl {
    /// None once stopped.
    senders: Option<Senders>,
    checks: SharedChecks,
}

impl ProtocolControllerImpl {
    /// A controller over these channels, which tells what `checks` found.
    pub fn new(
        block_retrieval: MassaSender<BlockHandlerRetrievalCommand>,
        block_propagation: MassaSender<BlockHandlerPropagationCommand>,
        operation_propagation: MassaSender<OperationHandlerPropagationCommand>,
        connectivity: MassaSender<ConnectivityCommand>,
        peer_management: MassaSender<PeerManagementCmd>,
        checks: SharedChecks,
    ) -> Self {
        Self {
            senders: Some(Senders {
                block_retrieval,
                block_propagation,
                operation_propagation,
                connectivity,
                peer_management,
            }),
            checks,
        }
    }

    fn senders(&self) -> Result<&Senders, ProtocolError> {
        let stopped = || ProtocolError::ChannelError("the controller was stopped".into());
        self.senders.as_ref().ok_or_else(stopped)
    }
}

fn try_send<T>(sender: &MassaSender<T>, command: T, what: &str) -> Result<(), ProtocolError> {
    sender.try_send(command).map_err(|error| {
        let reason = match error {
            TrySendError::Full(_) => "the channel is full",
            TrySendError::Disconnected(_) => "the thread has ended",
        };
        ProtocolError::ChannelError(format!("{what}: {reason}"))
    })
}

impl ProtocolController for ProtocolControllerImpl {
    fn stop(&mut self) {
        self.senders = None;
    }

    fn integrated_block(&self, block_id: BlockId, storage: Storage) -> Result<(), ProtocolError> {
        let command = BlockHandlerPropagationCommand::IntegratedBlock { block_id, storage };
        try_send(&self.senders()?.block_propagation, command, "integrated_block")
    }

    fn notify_block_attack(&self, block_id: BlockId) -> Result<(), ProtocolError> {
        let command = BlockHandlerPropagationCommand::AttackBlockDetected(block_id);
        try_send(&self.senders()?.block_propagation, command, "notify_block_attack")
    }

    fn send_wishlist_delta(
        &self,
        new: PreHashMap<BlockId, Option<SecuredHeader>>,
        remove: PreHashSet<BlockId>,
    ) -> Result<(), ProtocolError> {
        // A lost delta would leave consensus waiting for ever, so this one waits.
        self.senders()?
            .block_retrieval
            .send(BlockHandlerRetrievalCommand::WishlistDelta { new, remove })
            .map_err(|_| ProtocolError::ChannelError("send_wishlist_delta: the thread has ended".into()))
    }

    fn propagate_operations(&self, operations: Storage) -> Result<(), ProtocolError> {
        let command = OperationHandlerPropagationCommand::PropagateOperations(operations);
        try_send(&self.senders()?.operation_propagation, command, "propagate_operations")
    }

    fn get_stats(&self) -> Result<(NetworkStats, HashMap<PeerId, (SocketAddr, PeerConnectionType)>), ProtocolError> {
        let (responder, receiver) = crossbeam_channel::bounded(1);
        let command = ConnectivityCommand::GetStats { responder };
        try_send(&self.senders()?.connectivity, command, "get_stats")?;
        receiver
            .recv_timeout(STATS_TIMEOUT)
            .map_err(|error| ProtocolError::ChannelError(format!("get_stats: {error}")))
    }

    fn ban_peers(&self, peer_ids: Vec<PeerId>) -> Result<(), ProtocolError> {
        try_send(
            &self.senders()?.peer_management,
            PeerManagementCmd::Ban(peer_ids),
            "ban_peers",
        )
    }

    fn unban_peers(&self, peer_ids: Vec<PeerId>) -> Result<(), ProtocolError> {
        let command = PeerManagementCmd::Unban(peer_ids);
        try_send(&self.senders()?.peer_management, command, "unban_peers")
    }

    fn add_peer_addresses(&self, addresses: Vec<PeerAddress>) -> Result<(), ProtocolError> {
        let command = ConnectivityCommand::AddAddresses(addresses);
        try_send(&self.senders()?.connectivity, command, "add_peer_addresses")
    }

    fn tell_final_state(&self, slot: Slot, hash: [u8; 32]) -> Result<(), ProtocolError> {
        let command = PeerManagementCmd::FinalState(slot, hash);
        try_send(&self.senders()?.peer_management, command, "tell_final_state")
    }

    fn get_alarms(&self) -> Alarms {
        self.checks.alarms(Instant::now())
    }

    fn clone_box(&self) -> Box<dyn ProtocolController> {
        Box::new(self.clone())
    }
}
