//! Errors of this crate.

/// A key or signature that cannot be read, or does not verify.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MassaSignatureError {
    /// The bytes or the text are not a key or signature.
    #[error("could not parse key or signature: {0}")]
    ParsingError(String),
    /// The signature does not belong to this key and hash.
    #[error("signature error: {0}")]
    SignatureError(String),
    /// The text begins with another letter: the expected one, then the one found.
    #[error("wrong prefix: expected {0}, found {1}")]
    WrongPrefix(String, String),
    /// The version is not one this crate knows.
    #[error("invalid version: {0}")]
    InvalidVersionError(String),
}
