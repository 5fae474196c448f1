//! The thread around the state.

mod init;
mod main_loop;

pub use init::create_genesis_block;

use crate::controller::ConsensusControllerImpl;
use crate::manager::ConsensusManagerImpl;
use crate::state::ConsensusState;
use main_loop::ConsensusWorker;
use massa_channel::MassaChannel;
use massa_consensus_exports::{
    BootstrapableGraph, ConsensusChannels, ConsensusConfig, ConsensusController, ConsensusError, ConsensusManager,
};
use massa_storage::Storage;
use parking_lot::RwLock;
use std::sync::Arc;

/// Starts the consensus thread, from `init_graph` or, without one, from the genesis blocks.
///
/// # Errors
/// [`ConsensusError`]: a setting is not usable, or `init_graph` contradicts itself.
///
/// # Panics
/// When the system cannot start a thread.
#[allow(clippy::type_complexity)] // Upstream's signature.
pub fn start_consensus_worker(
    config: ConsensusConfig,
    channels: ConsensusChannels,
    init_graph: Option<BootstrapableGraph>,
    storage: Storage,
) -> Result<(Box<dyn ConsensusController>, Box<dyn ConsensusManager>), ConsensusError> {
    let (command_sender, command_receiver) = MassaChannel::new("consensus_command".into(), Some(config.channel_size));
    let mut state = ConsensusState::new(config, channels, init_graph, storage)?;
    state.block_db_changed()?;
    let shared_state = Arc::new(RwLock::new(state));
    let mut worker = ConsensusWorker::new(Arc::clone(&shared_state), command_receiver)?;
    let thread = std::thread::Builder::new()
        .name("consensus worker".into())
        .spawn(move || worker.run())
        .expect("the system can start a thread");
    let manager = ConsensusManagerImpl {
        command_sender: command_sender.clone(),
        thread: Some(thread),
    };
    let controller = ConsensusControllerImpl {
        command_sender,
        shared_state,
    };
    Ok((Box::new(controller), Box::new(manager)))
}
