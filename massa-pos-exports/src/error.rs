//! Errors of draws.

/// The result of a draw.
pub type PosResult<T> = Result<T, PosError>;

/// Why nobody was drawn.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PosError {
    /// There is no stake to draw from.
    #[error("no address has any rolls")]
    NoStake,
    /// The sum of all rolls does not fit its type.
    #[error("the sum of all rolls overflows")]
    StakeOverflow,
}
