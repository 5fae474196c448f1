//! Errors of both directions.

use nom::error::{ContextError, ErrorKind, ParseError};
use std::collections::VecDeque;
use std::fmt;

/// A value that has no encoding.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum SerializeError {
    /// A number is above what its encoding can hold.
    #[error("number is too big: {0}")]
    NumberTooBig(String),
    /// Any other reason.
    #[error("serialization failed: {0}")]
    GeneralError(String),
    /// A string or byte list is longer than its length prefix can say.
    #[error("string is too long: {0}")]
    StringTooBig(String),
}

/// Why some input could not be parsed: the chain of contexts, the outermost first.
#[derive(Clone, PartialEq, Eq)]
pub struct DeserializeError<'a> {
    errors: VecDeque<(&'a [u8], String)>,
}

impl<'a> ParseError<&'a [u8]> for DeserializeError<'a> {
    fn from_error_kind(input: &'a [u8], kind: ErrorKind) -> Self {
        let errors = VecDeque::from([(input, kind.description().to_string())]);
        Self { errors }
    }

    fn append(input: &'a [u8], kind: ErrorKind, mut other: Self) -> Self {
        other.errors.push_front((input, kind.description().to_string()));
        other
    }
}

impl<'a> ContextError<&'a [u8]> for DeserializeError<'a> {
    fn add_context(input: &'a [u8], context: &'static str, mut other: Self) -> Self {
        other.errors.push_front((input, context.to_string()));
        other
    }
}

impl fmt::Display for DeserializeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.errors
            .iter()
            .try_for_each(|(_, message)| write!(f, "{message} / "))
    }
}

impl fmt::Debug for DeserializeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        let input = self.errors.back().map(|(input, _)| *input).unwrap_or_default();
        write!(f, "Input: {input:?}")
    }
}

impl std::error::Error for DeserializeError<'_> {}
