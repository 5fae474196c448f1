//! Ids of blocks.

use crate::id::{deserialize_versioned_hash, hash_id, serialize_versioned_hash};
use crate::secure_share::Id;
use massa_serialization::{Deserializer, SerializeError, Serializer};
use nom::error::{context, ContextError, ParseError};
use nom::IResult;

hash_id!(
    /// The id of a block and of its header: the hash of the creator's public key and the header's content.
    BlockId, BlockIdV0(pub Hash), "B", BlockIdParseError
);

impl BlockId {
    /// The first bit of the hash: an unbiased coin once the block exists.
    pub fn get_first_bit(&self) -> bool {
        self.get_hash().to_bytes()[0] >> 7 == 1
    }
}

/// Writes a block id.
#[derive(Clone, Debug, Default)]
pub struct BlockIdSerializer;

impl BlockIdSerializer {
    /// A serializer of 33 bytes.
    pub const fn new() -> Self {
        Self
    }
}

impl Serializer<BlockId> for BlockIdSerializer {
    fn serialize(&self, value: &BlockId, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        serialize_versioned_hash(value.get_hash(), buffer)
    }
}

/// Reads a block id.
#[derive(Clone, Debug, Default)]
pub struct BlockIdDeserializer;

impl BlockIdDeserializer {
    /// A deserializer of version 0.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<BlockId> for BlockIdDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], BlockId, E> {
        context("Failed BlockId deserialization", |input: &'a [u8]| {
            let (rest, hash) = deserialize_versioned_hash(input)?;
            Ok((rest, BlockId::new(hash)))
        })(buffer)
    }
}
