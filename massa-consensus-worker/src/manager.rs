//! Stops the thread.

use crate::commands::ConsensusCommand;
use massa_channel::sender::MassaSender;
use massa_consensus_exports::ConsensusManager;
use std::thread::JoinHandle;
use tracing::{info, warn};

/// Owns the consensus thread.
pub(crate) struct ConsensusManagerImpl {
    pub(crate) command_sender: MassaSender<ConsensusCommand>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl ConsensusManager for ConsensusManagerImpl {
    fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        info!("stopping consensus worker");
        // Fails only when the thread is gone already. It always empties the channel, so there will be room.
        let _ = self.command_sender.send(ConsensusCommand::Stop);
        if thread.join().is_err() {
            warn!("consensus worker panicked");
        }
    }
}

impl Drop for ConsensusManagerImpl {
    fn drop(&mut self) {
        self.stop();
    }
}
