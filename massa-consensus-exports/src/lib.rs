//! What the node asks of consensus, its settings and channels.

mod block_graph_export;
pub mod block_status;
mod channels;
mod controller_trait;
mod error;
mod export_active_block;
mod settings;

pub use block_graph_export::{BlockGraphExport, ConsensusStats, ExportCompiledBlock};
pub use channels::ConsensusChannels;
pub use controller_trait::{ConsensusController, ConsensusManager};
pub use error::ConsensusError;
pub use export_active_block::{BootstrapableGraph, ExportActiveBlock};
pub use settings::ConsensusConfig;
