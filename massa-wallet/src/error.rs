//! Errors of the wallet.

use massa_models::address::Address;
use massa_models::error::ModelsError;
use massa_signature::MassaSignatureError;
use std::path::PathBuf;

/// Why the wallet cannot be read, written or used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The system refused an access to a file or directory.
    #[error("could not {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold a key: it is damaged, or not a key file.
    #[error("{} is not a key file: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong. Never quotes the file: it may hold a secret.
        reason: String,
    },
    /// A file is no token of an API: it is damaged, or something else.
    #[error("{} is not a token file: {reason}; delete it and start the node again to make a new one", path.display())]
    NotAToken {
        /// The file.
        path: PathBuf,
        /// What is wrong. Never quotes the file.
        reason: &'static str,
    },
    /// Others than its owner can use a file that holds a secret.
    #[error("others can read {} (mode {mode:03o}): its mode must be 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key in a file does not belong to the address in it, or in its name.
    #[error("{} names address {named}, but its key belongs to {derived}", path.display())]
    WrongAddress {
        /// The file.
        path: PathBuf,
        /// The address in the file or its name.
        named: String,
        /// The address derived from the key.
        derived: Address,
    },
    /// The wallet has no key of the address.
    #[error("the wallet has no key of address {0}")]
    MissingKey(Address),
    /// No key could be made.
    #[error(transparent)]
    Signature(#[from] MassaSignatureError),
    /// The operation has no encoding, or could not be signed.
    #[error(transparent)]
    Models(#[from] ModelsError),
}
