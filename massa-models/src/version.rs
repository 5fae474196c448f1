//! Versions of the node software.

use crate::error::ModelsError;
use massa_serialization::{Deserializer, SerializeError, Serializer, U32VarIntDeserializer, U32VarIntSerializer};
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde_with::{DeserializeFromStr, SerializeDisplay};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

/// Letters that name a network.
const INSTANCE_SIZE: usize = 4;

/// A network and a version of the software that runs it. Text: `MAIN.5.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
pub struct Version {
    instance: [char; INSTANCE_SIZE],
    major: u32,
    minor: u32,
}

impl Version {
    /// Whether nodes of both versions may connect: the same network and the same major version.
    ///
    /// The minor version does not matter, and major versions 2 and 3 count as one.
    pub fn is_compatible(&self, other: &Self) -> bool {
        let same_major = self.major == other.major || matches!((self.major, other.major), (2, 3) | (3, 2));
        self.instance == other.instance && same_major
    }

    /// The letters that name the network.
    pub(crate) fn instance(&self) -> String {
        self.instance.iter().collect()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.instance(), self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = ModelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ModelsError::InvalidVersionError(format!("expected a version like MAIN.1.2, found {text:?}"));
        let mut parts = text.split('.');
        let (Some(instance), Some(major), Some(minor), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            instance: parse_instance(instance.as_bytes()).ok_or_else(invalid)?,
            major: major.parse().map_err(|_| invalid())?,
            minor: minor.parse().map_err(|_| invalid())?,
        })
    }
}

/// Four letters from A to Z.
fn parse_instance(bytes: &[u8]) -> Option<[char; INSTANCE_SIZE]> {
    let bytes: [u8; INSTANCE_SIZE] = bytes.try_into().ok()?;
    bytes.iter().all(u8::is_ascii_uppercase).then(|| bytes.map(char::from))
}

/// Writes a version: instance (4 ASCII letters) | major (varint u32) | minor (varint u32).
#[derive(Clone, Debug, Default)]
pub struct VersionSerializer {
    number_serializer: U32VarIntSerializer,
}

impl VersionSerializer {
    /// A serializer of every version.
    pub const fn new() -> Self {
        Self {
            number_serializer: U32VarIntSerializer::new(),
        }
    }
}

impl Serializer<Version> for VersionSerializer {
    fn serialize(&self, value: &Version, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.extend_from_slice(value.instance().as_bytes());
        self.number_serializer.serialize(&value.major, buffer)?;
        self.number_serializer.serialize(&value.minor, buffer)
    }
}

/// Reads a version.
#[derive(Clone, Debug)]
pub struct VersionDeserializer {
    number_deserializer: U32VarIntDeserializer,
}

impl VersionDeserializer {
    /// A deserializer of every version.
    pub const fn new() -> Self {
        Self {
            number_deserializer: U32VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded),
        }
    }
}

impl Default for VersionDeserializer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deserializer<Version> for VersionDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Version, E> {
        context("Failed Version deserialization", |input: &'a [u8]| {
            let (rest, letters) = take(INSTANCE_SIZE)(input)?;
            let instance =
                parse_instance(letters).ok_or_else(|| nom::Err::Error(E::from_error_kind(input, ErrorKind::Char)))?;
            let (rest, major) = self.number_deserializer.deserialize(rest)?;
            let (rest, minor) = self.number_deserializer.deserialize(rest)?;
            Ok((rest, Version { instance, major, minor }))
        })(buffer)
    }
}
