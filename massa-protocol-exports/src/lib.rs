//! Peers, protocol settings and what the node asks of the protocol.

mod alarms;
mod block_archive;
mod controller_trait;
mod error;
mod peer_id;
mod settings;

pub use alarms::{Alarms, ClockAlarm, ClockWitness, IdentityAlarm, StateAlarm};
pub use block_archive::BlockArchive;
pub use controller_trait::{NetworkStats, PeerConnectionType, ProtocolController, ProtocolManager};
pub use error::ProtocolError;
pub use peer_id::{PeerId, PeerIdDeserializer, PeerIdSerializer};
pub use settings::{LinkFaults, PeerAddress, ProtocolConfig};
