//! Encodings of lists, byte lists, sets and strings.
//!
//! A count or a length read from the input is never used to reserve memory: lists grow with the bytes actually
//! consumed, and byte lists are taken from the input, which fails when it is too short.

use crate::prehash::{PreHashSet, PreHashed};
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Bound;

/// Parses exactly `count` items.
pub(crate) fn parse_items<'a, T, E: ParseError<&'a [u8]>>(
    count: u64,
    buffer: &'a [u8],
    mut item: impl FnMut(&'a [u8]) -> IResult<&'a [u8], T, E>,
) -> IResult<&'a [u8], Vec<T>, E> {
    let mut items = Vec::new();
    let mut rest = buffer;
    for _ in 0..count {
        let (after, value) = item(rest)?;
        items.push(value);
        rest = after;
    }
    Ok((rest, items))
}

/// A length as the integer type of its prefix.
pub(crate) fn length_as<L: TryFrom<usize>>(length: usize) -> Result<L, SerializeError> {
    L::try_from(length).map_err(|_| SerializeError::StringTooBig(format!("length {length} does not fit its prefix")))
}

/// The number of consumed bytes cut from the front of `buffer`, given what was left.
pub(crate) fn consumed<'a>(buffer: &'a [u8], rest: &[u8]) -> &'a [u8] {
    buffer
        .get(..buffer.len().saturating_sub(rest.len()))
        .unwrap_or_default()
}

/// Writes a byte list: length (varint u64) | bytes.
#[derive(Clone, Debug, Default)]
pub struct VecU8Serializer {
    length_serializer: U64VarIntSerializer,
}

impl VecU8Serializer {
    /// A serializer without limit.
    pub const fn new() -> Self {
        Self {
            length_serializer: U64VarIntSerializer::new(),
        }
    }
}

impl Serializer<Vec<u8>> for VecU8Serializer {
    fn serialize(&self, value: &Vec<u8>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let length = length_as(value.len())?;
        self.length_serializer.serialize(&length, buffer)?;
        buffer.extend_from_slice(value);
        Ok(())
    }
}

/// Reads a byte list.
#[derive(Clone, Debug)]
pub struct VecU8Deserializer {
    length_deserializer: U64VarIntDeserializer,
}

impl VecU8Deserializer {
    /// A deserializer that accepts lengths between `min` and `max`.
    pub const fn new(min: Bound<u64>, max: Bound<u64>) -> Self {
        Self {
            length_deserializer: U64VarIntDeserializer::new(min, max),
        }
    }
}

impl Deserializer<Vec<u8>> for VecU8Deserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Vec<u8>, E> {
        context("Failed Vec<u8> deserialization", |input: &'a [u8]| {
            let (rest, length) = self.length_deserializer.deserialize(input)?;
            let (rest, bytes) = take(length)(rest)?;
            Ok((rest, bytes.to_vec()))
        })(buffer)
    }
}

/// Writes a list: count (varint u64) | items.
#[derive(Clone, Debug)]
pub struct VecSerializer<T, ST> {
    count_serializer: U64VarIntSerializer,
    item_serializer: ST,
    item: PhantomData<T>,
}

impl<T, ST: Serializer<T>> VecSerializer<T, ST> {
    /// A serializer that writes each item with `item_serializer`.
    pub const fn new(item_serializer: ST) -> Self {
        Self {
            count_serializer: U64VarIntSerializer::new(),
            item_serializer,
            item: PhantomData,
        }
    }
}

impl<T, ST: Serializer<T>> Serializer<Vec<T>> for VecSerializer<T, ST> {
    fn serialize(&self, value: &Vec<T>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        value
            .iter()
            .try_for_each(|item| self.item_serializer.serialize(item, buffer))
    }
}

/// Reads a list.
#[derive(Clone, Debug)]
pub struct VecDeserializer<T, ST: Clone> {
    count_deserializer: U64VarIntDeserializer,
    item_deserializer: ST,
    item: PhantomData<T>,
}

impl<T, ST: Deserializer<T> + Clone> VecDeserializer<T, ST> {
    /// A deserializer that accepts between `min` and `max` items.
    pub const fn new(item_deserializer: ST, min: Bound<u64>, max: Bound<u64>) -> Self {
        Self {
            count_deserializer: U64VarIntDeserializer::new(min, max),
            item_deserializer,
            item: PhantomData,
        }
    }
}

impl<T, ST: Deserializer<T> + Clone> Deserializer<Vec<T>> for VecDeserializer<T, ST> {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Vec<T>, E> {
        context("Failed Vec deserialization", |input: &'a [u8]| {
            let (rest, count) = self.count_deserializer.deserialize(input)?;
            parse_items(count, rest, |rest| self.item_deserializer.deserialize(rest))
        })(buffer)
    }
}

/// Writes a set as a list, in the set's arbitrary order.
#[derive(Clone, Debug)]
pub struct PreHashSetSerializer<T, ST> {
    count_serializer: U64VarIntSerializer,
    item_serializer: ST,
    item: PhantomData<T>,
}

impl<T: PreHashed, ST: Serializer<T>> PreHashSetSerializer<T, ST> {
    /// A serializer that writes each item with `item_serializer`.
    pub const fn new(item_serializer: ST) -> Self {
        Self {
            count_serializer: U64VarIntSerializer::new(),
            item_serializer,
            item: PhantomData,
        }
    }
}

impl<T: PreHashed, ST: Serializer<T>> Serializer<PreHashSet<T>> for PreHashSetSerializer<T, ST> {
    fn serialize(&self, value: &PreHashSet<T>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        value
            .iter()
            .try_for_each(|item| self.item_serializer.serialize(item, buffer))
    }
}

/// Reads a set. An item that occurs twice is kept once.
#[derive(Clone, Debug)]
pub struct PreHashSetDeserializer<T, ST: Clone> {
    items_deserializer: VecDeserializer<T, ST>,
}

impl<T: PreHashed, ST: Deserializer<T> + Clone> PreHashSetDeserializer<T, ST> {
    /// A deserializer that accepts between `min` and `max` items, repeated ones counted.
    pub const fn new(item_deserializer: ST, min: Bound<u64>, max: Bound<u64>) -> Self {
        Self {
            items_deserializer: VecDeserializer::new(item_deserializer, min, max),
        }
    }
}

impl<T: PreHashed + Eq + Hash, ST: Deserializer<T> + Clone> Deserializer<PreHashSet<T>>
    for PreHashSetDeserializer<T, ST>
{
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], PreHashSet<T>, E> {
        let (rest, items) = self.items_deserializer.deserialize(buffer)?;
        Ok((rest, items.into_iter().collect()))
    }
}

/// Writes a string: length in bytes | UTF-8.
#[derive(Clone, Debug)]
pub struct StringSerializer<SL, L> {
    length_serializer: SL,
    length: PhantomData<L>,
}

impl<SL: Serializer<L>, L: TryFrom<usize>> StringSerializer<SL, L> {
    /// A serializer that writes the length with `length_serializer`.
    pub const fn new(length_serializer: SL) -> Self {
        Self {
            length_serializer,
            length: PhantomData,
        }
    }
}

impl<SL: Serializer<L>, L: TryFrom<usize>> Serializer<String> for StringSerializer<SL, L> {
    fn serialize(&self, value: &String, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let length = length_as(value.len())?;
        self.length_serializer.serialize(&length, buffer)?;
        buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

/// Reads a string.
#[derive(Clone, Debug)]
pub struct StringDeserializer<DL, L> {
    length_deserializer: DL,
    length: PhantomData<L>,
}

impl<DL: Deserializer<L>, L: TryInto<usize>> StringDeserializer<DL, L> {
    /// A deserializer whose limit of length is the range of `length_deserializer`.
    pub const fn new(length_deserializer: DL) -> Self {
        Self {
            length_deserializer,
            length: PhantomData,
        }
    }
}

impl<DL: Deserializer<L>, L: TryInto<usize>> Deserializer<String> for StringDeserializer<DL, L> {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], String, E> {
        context("Failed string deserialization", |input: &'a [u8]| {
            let error = |kind| nom::Err::Error(E::from_error_kind(input, kind));
            let (rest, length) = self.length_deserializer.deserialize(input)?;
            let length: usize = length.try_into().map_err(|_| error(ErrorKind::LengthValue))?;
            let (rest, bytes) = take(length)(rest)?;
            let text = std::str::from_utf8(bytes).map_err(|_| error(ErrorKind::Verify))?;
            Ok((rest, text.to_string()))
        })(buffer)
    }
}
