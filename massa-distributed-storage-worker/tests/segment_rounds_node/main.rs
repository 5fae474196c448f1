//! A node's part in rounds on its store: claims that follow what is held, and the thread against a model of the registry, alone and
//! in whole extensions.

mod chain;
mod claims;
#[path = "../common/mod.rs"]
mod common;
#[path = "../extension/hub.rs"]
mod hub;
mod network;
mod node;
mod refuting;
#[path = "../common/registry_model.rs"]
mod registry_model;
mod rounds;
mod rounds_world;
mod window;
