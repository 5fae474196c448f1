//! Errors of consensus.

use massa_models::block_id::BlockId;
use massa_models::error::ModelsError;

/// Why consensus could not go on.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The graph contradicts itself.
    #[error("container inconsistency: {0}")]
    ContainerInconsistency(String),
    /// A block that must be in the graph is not.
    #[error("missing block {0}")]
    MissingBlock(BlockId),
    /// A setting is not usable.
    #[error("{field}: {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A slot or time is out of range.
    #[error(transparent)]
    Models(#[from] ModelsError),
}
