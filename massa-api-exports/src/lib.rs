//! Methods, requests and answers of the JSON-RPC API.
