//! Endorsements: votes for a block, included in the header of the next one in its thread.

use crate::block_id::{BlockId, BlockIdDeserializer, BlockIdSerializer};
use crate::id::hash_id;
use crate::secure_share::{SecureShare, SecureShareContent};
use crate::slot::{Slot, SlotDeserializer, SlotSerializer, SLOT_KEY_SIZE};
use massa_hash::{Hash, HASH_SIZE_BYTES};
use massa_serialization::{Deserializer, SerializeError, Serializer, U32VarIntDeserializer, U32VarIntSerializer};
use massa_signature::PublicKey;
use nom::error::{context, ContextError, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Bound;

/// Length of an endorsement id without its version.
pub const ENDORSEMENT_ID_SIZE_BYTES: usize = HASH_SIZE_BYTES;

hash_id!(
    /// The id of an endorsement: the hash of the creator's public key and the content.
    EndorsementId, EndorsementIdV0(Hash), "E", EndorsementIdParseError
);

/// A vote for a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// The slot in whose block the endorsement is to be included.
    pub slot: Slot,
    /// Which of the slot's endorsers votes.
    pub index: u32,
    /// The block voted for: the parent of that block in its own thread.
    pub endorsed_block: BlockId,
}

/// A signed endorsement.
pub type SecureShareEndorsement = SecureShare<Endorsement, EndorsementId>;

impl fmt::Display for Endorsement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "endorsement {} of {} for slot {}",
            self.index, self.endorsed_block, self.slot
        )
    }
}

impl SecureShareContent for Endorsement {
    /// Slot and index stand beside the hash, so that two votes for one place are evident from their hashes alone.
    fn compute_signed_hash(&self, public_key: &PublicKey, content_hash: &Hash) -> Hash {
        EndorsementDenunciationData::new(self.slot, self.index).signed_hash(public_key, content_hash)
    }
}

/// What is signed with the hash of an endorsement, and suffices to denounce a second one for the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndorsementDenunciationData {
    slot: Slot,
    index: u32,
}

impl EndorsementDenunciationData {
    /// The data of the endorsement `index` for `slot`.
    pub const fn new(slot: Slot, index: u32) -> Self {
        Self { slot, index }
    }

    /// Period (u64, big-endian) | thread (1) | index (u32, **little-endian**): 13 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_KEY_SIZE + size_of::<u32>());
        bytes.extend_from_slice(&self.slot.to_bytes_key());
        bytes.extend_from_slice(&self.index.to_le_bytes());
        bytes
    }

    /// The hash that the endorser signs.
    pub(crate) fn signed_hash(&self, public_key: &PublicKey, content_hash: &Hash) -> Hash {
        Hash::compute_from_concatenation(&[&public_key.to_bytes(), &self.to_bytes(), content_hash.to_bytes()])
    }
}

/// Writes the content of an endorsement: slot | index (varint u32) | block id (33).
#[derive(Clone, Debug, Default)]
pub struct EndorsementSerializer {
    slot_serializer: SlotSerializer,
    index_serializer: U32VarIntSerializer,
    block_id_serializer: BlockIdSerializer,
}

impl EndorsementSerializer {
    /// A serializer without limits.
    pub const fn new() -> Self {
        Self {
            slot_serializer: SlotSerializer::new(),
            index_serializer: U32VarIntSerializer::new(),
            block_id_serializer: BlockIdSerializer::new(),
        }
    }
}

impl Serializer<Endorsement> for EndorsementSerializer {
    fn serialize(&self, value: &Endorsement, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.slot_serializer.serialize(&value.slot, buffer)?;
        self.index_serializer.serialize(&value.index, buffer)?;
        self.block_id_serializer.serialize(&value.endorsed_block, buffer)
    }
}

/// Reads the content of an endorsement.
#[derive(Clone, Debug)]
pub struct EndorsementDeserializer {
    slot_deserializer: SlotDeserializer,
    index_deserializer: U32VarIntDeserializer,
    block_id_deserializer: BlockIdDeserializer,
}

impl EndorsementDeserializer {
    /// A deserializer for networks with these numbers of threads, and of endorsements in a block.
    pub const fn new(thread_count: u8, endorsement_count: u32) -> Self {
        Self {
            slot_deserializer: SlotDeserializer::with_thread_count(thread_count),
            index_deserializer: index_deserializer(endorsement_count),
            block_id_deserializer: BlockIdDeserializer::new(),
        }
    }
}

impl Deserializer<Endorsement> for EndorsementDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Endorsement, E> {
        context("Failed Endorsement deserialization", |input: &'a [u8]| {
            let (rest, slot) = self.slot_deserializer.deserialize(input)?;
            let (rest, index) = self.index_deserializer.deserialize(rest)?;
            let (rest, endorsed_block) = self.block_id_deserializer.deserialize(rest)?;
            Ok((
                rest,
                Endorsement {
                    slot,
                    index,
                    endorsed_block,
                },
            ))
        })(buffer)
    }
}

/// Writes the form of an endorsement in a header, which knows slot and block: index (varint u32).
#[derive(Clone, Debug, Default)]
pub struct EndorsementSerializerLW {
    index_serializer: U32VarIntSerializer,
}

impl EndorsementSerializerLW {
    /// A serializer without limit.
    pub const fn new() -> Self {
        Self {
            index_serializer: U32VarIntSerializer::new(),
        }
    }
}

impl Serializer<Endorsement> for EndorsementSerializerLW {
    fn serialize(&self, value: &Endorsement, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.index_serializer.serialize(&value.index, buffer)
    }
}

/// Reads the form of an endorsement in a header.
#[derive(Clone, Debug)]
pub struct EndorsementDeserializerLW {
    index_deserializer: U32VarIntDeserializer,
    slot: Slot,
    endorsed_block: BlockId,
}

impl EndorsementDeserializerLW {
    /// A deserializer for the header of the block in `slot` whose parent in its thread is `endorsed_block`.
    pub const fn new(endorsement_count: u32, slot: Slot, endorsed_block: BlockId) -> Self {
        Self {
            index_deserializer: index_deserializer(endorsement_count),
            slot,
            endorsed_block,
        }
    }
}

impl Deserializer<Endorsement> for EndorsementDeserializerLW {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Endorsement, E> {
        context("Failed Endorsement deserialization", |input: &'a [u8]| {
            let (rest, index) = self.index_deserializer.deserialize(input)?;
            let endorsement = Endorsement {
                slot: self.slot,
                index,
                endorsed_block: self.endorsed_block,
            };
            Ok((rest, endorsement))
        })(buffer)
    }
}

/// A deserializer of an index below `endorsement_count`.
pub(crate) const fn index_deserializer(endorsement_count: u32) -> U32VarIntDeserializer {
    U32VarIntDeserializer::new(Bound::Unbounded, Bound::Excluded(endorsement_count))
}
