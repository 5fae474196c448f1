//! Optional values and booleans.

use crate::{Deserializer, SerializeError, Serializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::marker::PhantomData;

/// The ASCII digit `0`, not a zero byte: kept for compatibility with upstream's bytes.
const NONE_TAG: u8 = b'0';
/// The ASCII digit `1`.
const SOME_TAG: u8 = b'1';

/// Writes `None` as the byte 0x30 and `Some(value)` as the byte 0x31 followed by the value.
#[derive(Clone, Debug)]
pub struct OptionSerializer<T, ST> {
    value_serializer: ST,
    value: PhantomData<T>,
}

impl<T, ST: Serializer<T>> OptionSerializer<T, ST> {
    /// A serializer that writes the value, if any, with `value_serializer`.
    pub const fn new(value_serializer: ST) -> Self {
        Self {
            value_serializer,
            value: PhantomData,
        }
    }
}

impl<T, ST: Serializer<T>> Serializer<Option<T>> for OptionSerializer<T, ST> {
    fn serialize(&self, value: &Option<T>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match value {
            None => buffer.push(NONE_TAG),
            Some(value) => {
                buffer.push(SOME_TAG);
                self.value_serializer.serialize(value, buffer)?;
            }
        }
        Ok(())
    }
}

/// Reads what [`OptionSerializer`] wrote.
#[derive(Clone, Debug)]
pub struct OptionDeserializer<T: Clone, DT> {
    value_deserializer: DT,
    value: PhantomData<T>,
}

impl<T: Clone, DT: Deserializer<T>> OptionDeserializer<T, DT> {
    /// A deserializer that reads the value, if any, with `value_deserializer`.
    pub const fn new(value_deserializer: DT) -> Self {
        Self {
            value_deserializer,
            value: PhantomData,
        }
    }
}

impl<T: Clone, DT: Deserializer<T>> Deserializer<Option<T>> for OptionDeserializer<T, DT> {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Option<T>, E> {
        context("Failed Option deserialization", |input: &'a [u8]| {
            match input.split_first() {
                Some((&NONE_TAG, rest)) => Ok((rest, None)),
                Some((&SOME_TAG, rest)) => {
                    let (rest, value) = self.value_deserializer.deserialize(rest)?;
                    Ok((rest, Some(value)))
                }
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))),
            }
        })(buffer)
    }
}

/// Writes a boolean as the byte 0x00 or 0x01.
#[derive(Clone, Debug, Default)]
pub struct BoolSerializer;

impl BoolSerializer {
    /// A serializer of one byte.
    pub const fn new() -> Self {
        Self
    }
}

impl Serializer<bool> for BoolSerializer {
    fn serialize(&self, value: &bool, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.push(u8::from(*value));
        Ok(())
    }
}

/// Reads a boolean and refuses bytes other than 0x00 and 0x01.
#[derive(Clone, Debug, Default)]
pub struct BoolDeserializer;

impl BoolDeserializer {
    /// A deserializer of one byte.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<bool> for BoolDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], bool, E> {
        context("Failed bool deserialization", |input: &'a [u8]| {
            match input.split_first() {
                Some((0, rest)) => Ok((rest, false)),
                Some((1, rest)) => Ok((rest, true)),
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))),
            }
        })(buffer)
    }
}
