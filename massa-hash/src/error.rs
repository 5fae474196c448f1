//! Errors of reading a hash.

/// Bytes or text that are not a hash.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MassaHashError {
    /// The length, alphabet or checksum is wrong.
    #[error("could not parse hash: {0}")]
    ParsingError(String),
    /// The text begins with another letter: the expected one, then the one found.
    #[error("wrong prefix: expected {0}, found {1}")]
    WrongPrefix(String, String),
}
