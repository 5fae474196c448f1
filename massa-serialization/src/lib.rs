//! Serializer traits, their errors, and the encodings that every other crate builds on.
//!
//! A [`Serializer`] appends to a buffer and never clears it. A [`Deserializer`] is a `nom` parser: it returns what it
//! did not consume, and the caller decides whether a non-empty rest is an error. Deserializers never panic and never
//! allocate more than the buffer they were given justifies.
//!
//! Integers are LEB128 varints, decoded by `unsigned-varint` 0.8. That crate is part of the format: it refuses
//! encodings with a trailing zero group, but silently drops bits that overflow the last permitted byte.

mod error;
mod option;
mod varint;

pub use error::{DeserializeError, SerializeError};
pub use option::{BoolDeserializer, BoolSerializer, OptionDeserializer, OptionSerializer};
pub use varint::{
    U128VarIntDeserializer, U128VarIntSerializer, U16VarIntDeserializer, U16VarIntSerializer, U32VarIntDeserializer,
    U32VarIntSerializer, U64VarIntDeserializer, U64VarIntSerializer,
};

use nom::error::{ContextError, ParseError};
use nom::IResult;

/// Turns values of type `T` into bytes.
pub trait Serializer<T> {
    /// Appends the encoding of `value` to `buffer`.
    ///
    /// # Errors
    /// The value has no encoding, for example because a length does not fit its prefix. The buffer may then hold a
    /// part of the encoding.
    fn serialize(&self, value: &T, buffer: &mut Vec<u8>) -> Result<(), SerializeError>;
}

/// Reads values of type `T` from the front of a buffer.
pub trait Deserializer<T> {
    /// Parses one value and returns it with the bytes that follow it.
    ///
    /// # Errors
    /// The buffer does not begin with a valid encoding. A truncated buffer is an error too, never `Incomplete`.
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], T, E>;
}
