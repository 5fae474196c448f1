//! The JSON-RPC servers.
