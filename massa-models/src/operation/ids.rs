//! Ids of operations, their prefixes, lists of both, and the hash of a list.

use crate::id::{deserialize_versioned_hash, hash_id, serialize_versioned_hash, VERSION, VERSIONED_HASH_SIZE_BYTES};
use crate::prehash::{PreHashSet, PreHashed};
use crate::secure_share::Id;
use crate::serialization::{length_as, parse_items};
use massa_hash::Hash;
use massa_serialization::{
    Deserializer, SerializeError, Serializer, U32VarIntDeserializer, U32VarIntSerializer, U64VarIntSerializer,
};
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Bound;

/// Length of an operation id's prefix: the first bytes of its hash, without the version.
pub const OPERATION_ID_PREFIX_SIZE_BYTES: usize = 17;

hash_id!(
    /// The id of an operation: the hash of the chain id, the creator's public key and the content.
    OperationId, OperationIdV0(Hash), "O", OperationIdParseError
);

impl OperationId {
    /// The first bytes of the id, by which nodes announce operations.
    pub fn prefix(&self) -> OperationPrefixId {
        let hash = self.get_hash().to_bytes();
        let mut prefix = [0; OPERATION_ID_PREFIX_SIZE_BYTES];
        prefix.copy_from_slice(&hash[..OPERATION_ID_PREFIX_SIZE_BYTES]);
        OperationPrefixId::from(&prefix)
    }

    /// [`Self::prefix`], by value.
    pub fn into_prefix(self) -> OperationPrefixId {
        self.prefix()
    }
}

/// The first bytes of an operation id. Text, which is never read: base58, without checksum, of version and bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationPrefixId {
    /// Of a BLAKE3-256 hash.
    OperationPrefixIdV0(OperationPrefixIdV0),
}

/// Version 0 of [`OperationPrefixId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationPrefixIdV0([u8; OPERATION_ID_PREFIX_SIZE_BYTES]);

impl OperationPrefixId {
    fn bytes(&self) -> &[u8; OPERATION_ID_PREFIX_SIZE_BYTES] {
        let Self::OperationPrefixIdV0(OperationPrefixIdV0(bytes)) = self;
        bytes
    }
}

impl PreHashed for OperationPrefixId {}

impl From<&[u8; OPERATION_ID_PREFIX_SIZE_BYTES]> for OperationPrefixId {
    fn from(bytes: &[u8; OPERATION_ID_PREFIX_SIZE_BYTES]) -> Self {
        Self::OperationPrefixIdV0(OperationPrefixIdV0(*bytes))
    }
}

impl From<&OperationPrefixId> for Vec<u8> {
    fn from(prefix: &OperationPrefixId) -> Self {
        prefix.bytes().to_vec()
    }
}

impl fmt::Display for OperationPrefixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(1 + OPERATION_ID_PREFIX_SIZE_BYTES);
        U64VarIntSerializer::new()
            .serialize(&VERSION, &mut bytes)
            .map_err(|_| fmt::Error)?;
        bytes.extend_from_slice(self.bytes());
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for OperationPrefixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of prefixes.
pub type OperationPrefixIds = PreHashSet<OperationPrefixId>;

/// The operation root of a header: the hash of the ids in the block's order, each behind its length. Despite the name
/// of the header's field this is not a Merkle tree.
pub fn compute_operations_hash(op_ids: &[OperationId], op_id_serializer: &OperationIdSerializer) -> Hash {
    let mut ids = Vec::with_capacity(op_ids.len() * VERSIONED_HASH_SIZE_BYTES);
    for id in op_ids {
        op_id_serializer
            .serialize(id, &mut ids)
            .expect("varints and hashes always have an encoding");
    }
    let ids: Vec<&[u8]> = ids.chunks(VERSIONED_HASH_SIZE_BYTES).collect();
    Hash::compute_from_tuple(&ids)
}

/// Writes an operation id.
#[derive(Clone, Debug, Default)]
pub struct OperationIdSerializer;

impl OperationIdSerializer {
    /// A serializer of 33 bytes.
    pub const fn new() -> Self {
        Self
    }
}

impl Serializer<OperationId> for OperationIdSerializer {
    fn serialize(&self, value: &OperationId, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        serialize_versioned_hash(value.get_hash(), buffer)
    }
}

/// Reads an operation id.
#[derive(Clone, Debug, Default)]
pub struct OperationIdDeserializer;

impl OperationIdDeserializer {
    /// A deserializer of version 0.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<OperationId> for OperationIdDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], OperationId, E> {
        context("Failed OperationId deserialization", |input: &'a [u8]| {
            let (rest, hash) = deserialize_versioned_hash(input)?;
            Ok((rest, OperationId::new(hash)))
        })(buffer)
    }
}

/// Writes operation ids: count (varint u32) | ids (33 bytes each).
#[derive(Clone, Debug, Default)]
pub struct OperationIdsSerializer {
    count_serializer: U32VarIntSerializer,
    id_serializer: OperationIdSerializer,
}

impl OperationIdsSerializer {
    /// A serializer without limit.
    pub const fn new() -> Self {
        Self {
            count_serializer: U32VarIntSerializer::new(),
            id_serializer: OperationIdSerializer::new(),
        }
    }
}

impl Serializer<Vec<OperationId>> for OperationIdsSerializer {
    fn serialize(&self, value: &Vec<OperationId>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        value.iter().try_for_each(|id| self.id_serializer.serialize(id, buffer))
    }
}

/// Reads operation ids.
#[derive(Clone, Debug)]
pub struct OperationIdsDeserializer {
    count_deserializer: U32VarIntDeserializer,
    id_deserializer: OperationIdDeserializer,
}

impl OperationIdsDeserializer {
    /// A deserializer of at most `max_operations` ids.
    pub const fn new(max_operations: u32) -> Self {
        Self {
            count_deserializer: U32VarIntDeserializer::new(Bound::Unbounded, Bound::Included(max_operations)),
            id_deserializer: OperationIdDeserializer::new(),
        }
    }
}

impl Deserializer<Vec<OperationId>> for OperationIdsDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Vec<OperationId>, E> {
        context("Failed operation ids deserialization", |input: &'a [u8]| {
            let (rest, count) = self.count_deserializer.deserialize(input)?;
            parse_items(u64::from(count), rest, |rest| self.id_deserializer.deserialize(rest))
        })(buffer)
    }
}

/// Reads the prefix of an operation id: 17 bytes, without version.
#[derive(Clone, Debug, Default)]
pub struct OperationPrefixIdDeserializer;

impl OperationPrefixIdDeserializer {
    /// A deserializer of 17 bytes.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<OperationPrefixId> for OperationPrefixIdDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], OperationPrefixId, E> {
        context("Failed operation prefix id deserialization", |input: &'a [u8]| {
            let (rest, bytes) = take(OPERATION_ID_PREFIX_SIZE_BYTES)(input)?;
            let bytes: &[u8; OPERATION_ID_PREFIX_SIZE_BYTES] = bytes
                .try_into()
                .map_err(|_| nom::Err::Error(E::from_error_kind(input, ErrorKind::LengthValue)))?;
            Ok((rest, OperationPrefixId::from(bytes)))
        })(buffer)
    }
}

/// Writes prefixes of operation ids, in the set's order: count (varint u32) | prefixes (17 bytes each).
#[derive(Clone, Debug, Default)]
pub struct OperationPrefixIdsSerializer {
    count_serializer: U32VarIntSerializer,
}

impl OperationPrefixIdsSerializer {
    /// A serializer without limit.
    pub const fn new() -> Self {
        Self {
            count_serializer: U32VarIntSerializer::new(),
        }
    }
}

impl Serializer<OperationPrefixIds> for OperationPrefixIdsSerializer {
    fn serialize(&self, value: &OperationPrefixIds, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        for prefix in value {
            buffer.extend_from_slice(prefix.bytes());
        }
        Ok(())
    }
}

/// Reads prefixes of operation ids.
#[derive(Clone, Debug)]
pub struct OperationPrefixIdsDeserializer {
    count_deserializer: U32VarIntDeserializer,
    prefix_deserializer: OperationPrefixIdDeserializer,
}

impl OperationPrefixIdsDeserializer {
    /// A deserializer of at most `max_operations` prefixes, repeated ones counted.
    pub const fn new(max_operations: u32) -> Self {
        Self {
            count_deserializer: U32VarIntDeserializer::new(Bound::Unbounded, Bound::Included(max_operations)),
            prefix_deserializer: OperationPrefixIdDeserializer::new(),
        }
    }
}

impl Deserializer<OperationPrefixIds> for OperationPrefixIdsDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], OperationPrefixIds, E> {
        context("Failed operation prefix ids deserialization", |input: &'a [u8]| {
            let (rest, count) = self.count_deserializer.deserialize(input)?;
            let (rest, prefixes) = parse_items(u64::from(count), rest, |rest| {
                self.prefix_deserializer.deserialize(rest)
            })?;
            Ok((rest, prefixes.into_iter().collect()))
        })(buffer)
    }
}
