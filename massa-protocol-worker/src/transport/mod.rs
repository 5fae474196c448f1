//! Sockets, and what runs over them until a handler takes over.
//!
//! Blocking TCP; one thread reads and one writes for each connection. Inside, a Noise channel carries
//! frames; in the first ones each side proves who it is
//! ([handshake](crate::handlers::peer_handler::handshake)); each later one is a message.

mod connection;
mod contest;
mod frame;
mod network;
mod noise;
mod rate_limit;
mod send_queue;
mod threads;

pub use connection::ActiveConnections;
pub use frame::{FrameError, IDLE_TIMEOUT};
pub(crate) use network::{Network, NetworkParts, OnConnected};
pub(crate) use noise::{Channel, ChannelHash};
pub use rate_limit::TokenBucket;
pub use send_queue::MAX_QUEUED_BYTES;
