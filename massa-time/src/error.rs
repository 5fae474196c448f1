//! What can go wrong when computing with time.

/// A computation with time that has no result.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The value is not a date of the calendar, or lies before 1970: the caller is at fault.
    #[error("not a representable time")]
    ConversionError,
    /// The result lies outside of what this machine's clock can represent.
    #[error("time overflow")]
    TimeOverflowError,
    /// A checked operation overflowed, underflowed or divided by zero. Carries the operation with its values.
    #[error("checked operation error: {0}")]
    CheckedOperationError(String),
}
