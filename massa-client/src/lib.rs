//! massa-cli: the command line of the archive.
//!
//! [`cli`] holds the commands and turns what they return into lines and exit statuses; [`archive`] holds those that work on
//! a store directory while no node runs. What a command prints is a [`output::Report`]: a value with a text form and a
//! JSON form.

pub mod archive;
pub mod cli;
pub mod mblk;
pub mod output;

pub use cli::run;
