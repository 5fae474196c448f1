//! The controllers that consensus talks to.

use massa_execution_exports::ExecutionController;
use massa_pool_exports::PoolController;
use massa_pos_exports::SelectorController;
use massa_protocol_exports::ProtocolController;

/// The controllers that consensus talks to.
#[derive(Clone)]
pub struct ConsensusChannels {
    /// Told of final blocks and of the best clique.
    pub execution_controller: Box<dyn ExecutionController>,
    /// Tells who may produce a block.
    pub selector_controller: Box<dyn SelectorController>,
    /// Told of final periods.
    pub pool_controller: Box<dyn PoolController>,
    /// Told of new, wanted and attacking blocks.
    pub protocol_controller: Box<dyn ProtocolController>,
}
