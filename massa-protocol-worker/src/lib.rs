//! Peers over sockets: blocks, operations, archive.
//!
//! [`create_protocol_controller`] gives what consensus needs to talk to the network before there is one;
//! [`start_protocol_controller`] opens the sockets. Names, messages and files are upstream's. What differs: frames are
//! carried in an encrypted, authenticated channel ([`transport`]); the first handshake frame says more
//! ([`handlers::peer_handler::handshake`]); there are no endorsements.

pub mod checks;
pub mod connectivity;
pub mod controller;
pub mod handlers;
pub mod manager;
pub mod messages;
pub mod transport;
pub mod worker;
pub mod wrap_network;

pub use handlers::storage_handler::StorageHandlerNetwork;
pub use worker::{create_protocol_controller, start_protocol_controller, ProtocolChannels, StorageParts};
