//! Stops the protocol.

use crate::connectivity::ConnectivityCommand;
use crate::handlers::end_handler_thread;
use massa_channel::sender::MassaSender;
use massa_protocol_exports::ProtocolManager;
use std::thread::JoinHandle;
use tracing::info;

/// Owns the connectivity thread, which owns all others.
pub struct ProtocolManagerImpl {
    connectivity: Option<(MassaSender<ConnectivityCommand>, JoinHandle<()>)>,
}

impl ProtocolManagerImpl {
    /// A manager of this thread.
    pub fn new(connectivity: (MassaSender<ConnectivityCommand>, JoinHandle<()>)) -> Self {
        Self {
            connectivity: Some(connectivity),
        }
    }
}

impl ProtocolManager for ProtocolManagerImpl {
    fn stop(&mut self) {
        if let Some((sender, thread)) = self.connectivity.take() {
            end_handler_thread(&sender, ConnectivityCommand::Stop, thread);
            info!("protocol stopped");
        }
    }
}

/// A node that forgets to stop the protocol does not leave its port and threads behind.
impl Drop for ProtocolManagerImpl {
    fn drop(&mut self) {
        self.stop();
    }
}
