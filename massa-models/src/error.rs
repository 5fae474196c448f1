//! The error of this crate.

use massa_hash::MassaHashError;
use massa_serialization::SerializeError;
use massa_signature::MassaSignatureError;
use massa_time::TimeError;

/// Result of this crate.
pub type ModelsResult<T, E = ModelsError> = core::result::Result<T, E>;

/// What can go wrong with the values of this crate. Parsing bytes reports `nom` errors instead.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum ModelsError {
    /// A value has no encoding.
    #[error("could not serialize: {0}")]
    SerializationError(#[from] SerializeError),
    /// Bytes or text are not a value.
    #[error("could not deserialize: {0}")]
    DeserializeError(String),
    /// A hash could not be read.
    #[error("hash error: {0}")]
    MassaHashError(#[from] MassaHashError),
    /// A key or signature could not be read or does not verify.
    #[error("signature error: {0}")]
    MassaSignatureError(#[from] MassaSignatureError),
    /// A thread is not below the thread count.
    #[error("thread overflow")]
    ThreadOverflowError,
    /// A period is not between 0 and the greatest u64.
    #[error("period overflow")]
    PeriodOverflowError,
    /// Text or a mantissa and scale are not an amount.
    #[error("could not parse amount: {0}")]
    AmountParseError(String),
    /// Text is not an address.
    #[error("could not parse address: {0}")]
    AddressParseError(String),
    /// Text is not a node id.
    #[error("could not parse node id: {0}")]
    NodeIdParseError(String),
    /// Text is not a block id.
    #[error("could not parse block id: {0}")]
    BlockIdParseError(String),
    /// Text is not an operation id.
    #[error("could not parse operation id: {0}")]
    OperationIdParseError(String),
    /// Text is not an endorsement id.
    #[error("could not parse endorsement id: {0}")]
    EndorsementIdParseError(String),
    /// A calculation has no result.
    #[error("checked operation error: {0}")]
    CheckedOperationError(String),
    /// Text is not a version.
    #[error("invalid version: {0}")]
    InvalidVersionError(String),
    /// A time is after the greatest that a `MassaTime` holds.
    #[error("time overflow")]
    TimeOverflowError,
    /// A calculation with times failed.
    #[error("time error: {0}")]
    TimeError(#[from] TimeError),
    /// Any other reason.
    #[error("{0}")]
    ErrorRaised(String),
}

impl From<&'static str> for ModelsError {
    fn from(message: &'static str) -> Self {
        Self::ErrorRaised(message.to_string())
    }
}
