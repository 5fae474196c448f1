//! massa-cli: the command line of the node and its archive.
//!
//! [`cli`] holds the commands and turns what they return into lines and exit statuses; [`archive`] holds those that work on
//! a store directory while no node runs, [`storage`], [`wallet`],
//! [`status`], [`sc`] and [`operator`] those that ask a node ([`node`]). [`operation`] signs, sends and waits, [`contract`] calls
//! contracts. What a command prints is a [`output::Report`]: a value with a text form and a
//! JSON form.

pub mod archive;
pub mod cli;
pub mod contract;
pub mod mblk;
pub mod node;
pub mod operation;
pub mod operator;
pub mod output;
pub mod sc;
pub mod status;
pub mod storage;
pub mod wallet;

pub use cli::run;
