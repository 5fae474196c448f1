//! Keys in files, and what they sign.
//!
//! **Keys are not encrypted.** Whoever can read a file of the wallet owns its coins: files are made readable by their
//! owner alone (mode 0600), and the rest is up to the operator. Upstream encrypts its wallet with a password; that is
//! left out.
//!
//! A file is written whole to a temporary file, synced and then renamed, so that a crash leaves either the old file or
//! the new one.

mod error;
mod files;
mod token;
mod wallet;

pub use error::WalletError;
pub use files::load_or_create_keypair;
pub use token::ApiToken;
pub use wallet::Wallet;
