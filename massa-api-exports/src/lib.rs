//! Methods, requests and answers of the JSON-RPC API.
//!
//! [`rpc::MassaRpcServer`] is what a node implements, [`rpc::MassaRpcClient`] what a client calls. Upstream's methods have
//! upstream's names, parameters and JSON; fields of things that this node does not have are there and empty. Methods of
//! the archive and their types are in [`distributed_storage`], with the trait that the node implements behind them.

pub mod address;
pub mod block;
pub mod config;
pub mod datastore;
pub mod distributed_storage;
pub mod error;
pub mod execution;
pub mod node;
pub mod operation;
pub mod page;
pub mod rpc;
pub mod text;

pub use error::ApiError;
