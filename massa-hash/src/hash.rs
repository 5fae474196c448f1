//! The hash type and its codecs.

use crate::{MassaHashError, HASH_SIZE_BYTES};
use massa_serialization::{Deserializer, SerializeError, Serializer};
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// No longer text can be a hash. Decoding base58 takes quadratic time, so longer input is refused unread.
const TEXT_BYTES_MAX: usize = 64;

/// A BLAKE3-256 digest. Ordered by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(blake3::Hash);

impl Hash {
    /// The hash whose bytes are all zero. It stands for "none": no input is known to have it.
    pub fn zero() -> Self {
        Self::from_bytes(&[0; HASH_SIZE_BYTES])
    }

    /// Hashes `data`.
    pub fn compute_from(data: &[u8]) -> Self {
        Self(blake3::hash(data))
    }

    /// Hashes a list so that moving a byte from one element to its neighbour changes the result.
    ///
    /// Input of BLAKE3, for each element: its length as a big-endian u64, then its bytes.
    pub fn compute_from_tuple(data: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for element in data {
            hasher.update(&(element.len() as u64).to_be_bytes());
            hasher.update(element);
        }
        Self(hasher.finalize())
    }

    /// Hashes the concatenation of `parts` without building it. Not part of upstream's interface.
    pub fn compute_from_concatenation(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize())
    }

    /// The bytes of the hash.
    pub fn to_bytes(&self) -> &[u8; HASH_SIZE_BYTES] {
        self.0.as_bytes()
    }

    /// The bytes of the hash, by value.
    pub fn into_bytes(self) -> [u8; HASH_SIZE_BYTES] {
        *self.0.as_bytes()
    }

    /// The hash that has these bytes.
    pub fn from_bytes(bytes: &[u8; HASH_SIZE_BYTES]) -> Self {
        Self(blake3::Hash::from(*bytes))
    }

    /// The text form.
    pub fn to_bs58_check(&self) -> String {
        bs58::encode(self.to_bytes()).with_check().into_string()
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`MassaHashError::ParsingError`]: a character outside the alphabet, a wrong checksum, or not 32 bytes.
    pub fn from_bs58_check(data: &str) -> Result<Self, MassaHashError> {
        if data.len() > TEXT_BYTES_MAX {
            return Err(MassaHashError::ParsingError(format!(
                "{} characters are too many",
                data.len()
            )));
        }
        let bytes = bs58::decode(data)
            .with_check(None)
            .into_vec()
            .map_err(|error| MassaHashError::ParsingError(error.to_string()))?;
        Self::try_from(bytes.as_slice())
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = MassaHashError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        let bytes = bytes.try_into().map_err(|_| {
            MassaHashError::ParsingError(format!("expected {HASH_SIZE_BYTES} bytes, found {}", bytes.len()))
        })?;
        Ok(Self::from_bytes(bytes))
    }
}

impl PartialOrd for Hash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hash {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_bytes().cmp(other.to_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_bs58_check())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = MassaHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bs58_check(text)
    }
}

/// A string in human-readable formats, 32 bytes in the others.
impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(self.to_bytes())
        }
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<str>::deserialize(deserializer)?;
            Self::from_bs58_check(&text).map_err(serde::de::Error::custom)
        } else {
            deserializer.deserialize_bytes(BytesVisitor)
        }
    }
}

struct BytesVisitor;

impl serde::de::Visitor<'_> for BytesVisitor {
    type Value = Hash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_SIZE_BYTES} bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Hash, E> {
        Hash::try_from(bytes).map_err(E::custom)
    }
}

/// Writes a hash as its 32 bytes, without length and without version.
#[derive(Clone, Debug, Default)]
pub struct HashSerializer;

impl HashSerializer {
    /// A serializer of 32 bytes.
    pub const fn new() -> Self {
        Self
    }
}

impl Serializer<Hash> for HashSerializer {
    fn serialize(&self, value: &Hash, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.extend_from_slice(value.to_bytes());
        Ok(())
    }
}

/// Reads a hash from 32 bytes.
#[derive(Clone, Debug, Default)]
pub struct HashDeserializer;

impl HashDeserializer {
    /// A deserializer of 32 bytes.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<Hash> for HashDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Hash, E> {
        context("Failed hash deserialization", |input: &'a [u8]| {
            let too_short = || nom::Err::Error(E::from_error_kind(input, ErrorKind::LengthValue));
            let (rest, bytes) = take::<_, _, E>(HASH_SIZE_BYTES)(input).map_err(|_: nom::Err<E>| too_short())?;
            let hash = Hash::try_from(bytes).map_err(|_| too_short())?;
            Ok((rest, hash))
        })(buffer)
    }
}
