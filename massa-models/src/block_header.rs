//! Block headers.

use crate::block_id::{BlockId, BlockIdDeserializer, BlockIdSerializer};
use crate::denunciation::{Denunciation, DenunciationDeserializer, DenunciationSerializer};
use crate::endorsement::{
    Endorsement, EndorsementDeserializerLW, EndorsementSerializer, EndorsementSerializerLW, SecureShareEndorsement,
};
use crate::secure_share::{SecureShare, SecureShareContent, SecureShareDeserializer, SecureShareSerializer};
use crate::serialization::{length_as, parse_items};
use crate::slot::{Slot, SlotDeserializer, SlotSerializer, SLOT_KEY_SIZE};
use massa_hash::{Hash, HashDeserializer, HashSerializer};
use massa_serialization::{
    Deserializer, OptionDeserializer, OptionSerializer, SerializeError, Serializer, U32VarIntDeserializer,
    U32VarIntSerializer,
};
use massa_signature::PublicKey;
use nom::bytes::complete::tag;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::ops::Bound;

const NO_PARENTS_TAG: u8 = 0;
const PARENTS_TAG: u8 = 1;

/// Everything about a block but its operations, of which it has a hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Version of the network's rules.
    pub current_version: u32,
    /// Version that the creator is ready for, if it is another one.
    pub announced_version: Option<u32>,
    /// Where the block belongs.
    pub slot: Slot,
    /// One block of each thread, in the order of threads; none in genesis blocks.
    pub parents: Vec<BlockId>,
    /// Hash of the operation ids: [`crate::operation::compute_operations_hash`].
    pub operation_merkle_root: Hash,
    /// Votes for the parent in the block's own thread.
    pub endorsements: Vec<SecureShareEndorsement>,
    /// Proofs of misbehaviour.
    pub denunciations: Vec<Denunciation>,
}

/// A signed header.
pub type SecuredHeader = SecureShare<BlockHeader, BlockId>;

impl SecuredHeader {
    /// The weight of the block in the choice between cliques: one, and one for each endorsement.
    pub fn get_fitness(&self) -> u64 {
        self.content.endorsements.len() as u64 + 1
    }
}

impl fmt::Display for BlockHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "header of slot {}, operation root {}, {} endorsements, {} denunciations, parents:",
            self.slot,
            self.operation_merkle_root,
            self.endorsements.len(),
            self.denunciations.len()
        )?;
        self.parents.iter().try_for_each(|parent| write!(f, " {parent}"))
    }
}

impl SecureShareContent for BlockHeader {
    /// The slot stands beside the hash, so that two headers for one slot are evident from their hashes alone.
    fn compute_signed_hash(&self, public_key: &PublicKey, content_hash: &Hash) -> Hash {
        BlockHeaderDenunciationData::new(self.slot).signed_hash(public_key, content_hash)
    }
}

/// What is signed with the hash of a header, and suffices to denounce a second one for the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeaderDenunciationData {
    slot: Slot,
}

impl BlockHeaderDenunciationData {
    /// The data of the header for `slot`.
    pub const fn new(slot: Slot) -> Self {
        Self { slot }
    }

    /// Period (u64, big-endian) | thread (1): 9 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let key: [u8; SLOT_KEY_SIZE] = self.slot.to_bytes_key();
        key.to_vec()
    }

    /// The hash that the creator signs.
    pub(crate) fn signed_hash(&self, public_key: &PublicKey, content_hash: &Hash) -> Hash {
        Hash::compute_from_concatenation(&[&public_key.to_bytes(), &self.to_bytes(), content_hash.to_bytes()])
    }
}

/// Writes the content of a header.
///
/// ```text
/// current version (varint u32) | announced version (0x30, or 0x31 and varint u32) | slot
/// | parents (0x00, or 0x01 and thread_count block ids of 33 bytes) | operation root (32)
/// | endorsement count (varint u32) | each: signature (65), public key (33), index (varint u32)
/// | denunciation count (varint u32) | denunciations
/// ```
#[derive(Clone, Debug)]
pub struct BlockHeaderSerializer {
    number_serializer: U32VarIntSerializer,
    announced_version_serializer: OptionSerializer<u32, U32VarIntSerializer>,
    slot_serializer: SlotSerializer,
    block_id_serializer: BlockIdSerializer,
    hash_serializer: HashSerializer,
    endorsement_serializer: SecureShareSerializer,
    endorsement_content_serializer: EndorsementSerializerLW,
    denunciation_serializer: DenunciationSerializer,
}

impl BlockHeaderSerializer {
    /// A serializer without limits.
    pub const fn new() -> Self {
        Self {
            number_serializer: U32VarIntSerializer::new(),
            announced_version_serializer: OptionSerializer::new(U32VarIntSerializer::new()),
            slot_serializer: SlotSerializer::new(),
            block_id_serializer: BlockIdSerializer::new(),
            hash_serializer: HashSerializer::new(),
            endorsement_serializer: SecureShareSerializer::new(),
            endorsement_content_serializer: EndorsementSerializerLW::new(),
            denunciation_serializer: DenunciationSerializer::new(),
        }
    }

    fn serialize_parents(&self, parents: &[BlockId], buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        if parents.is_empty() {
            buffer.push(NO_PARENTS_TAG);
            return Ok(());
        }
        buffer.push(PARENTS_TAG);
        parents
            .iter()
            .try_for_each(|parent| self.block_id_serializer.serialize(parent, buffer))
    }
}

impl Default for BlockHeaderSerializer {
    fn default() -> Self {
        Self::new()
    }
}

impl Serializer<BlockHeader> for BlockHeaderSerializer {
    fn serialize(&self, value: &BlockHeader, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.number_serializer.serialize(&value.current_version, buffer)?;
        self.announced_version_serializer
            .serialize(&value.announced_version, buffer)?;
        self.slot_serializer.serialize(&value.slot, buffer)?;
        self.serialize_parents(&value.parents, buffer)?;
        self.hash_serializer.serialize(&value.operation_merkle_root, buffer)?;
        let endorsement_count = length_as(value.endorsements.len())?;
        self.number_serializer.serialize(&endorsement_count, buffer)?;
        for endorsement in &value.endorsements {
            self.endorsement_serializer
                .serialize_with(&self.endorsement_content_serializer, endorsement, buffer)?;
        }
        let denunciation_count = length_as(value.denunciations.len())?;
        self.number_serializer.serialize(&denunciation_count, buffer)?;
        value
            .denunciations
            .iter()
            .try_for_each(|item| self.denunciation_serializer.serialize(item, buffer))
    }
}

/// Reads the content of a header. No signature is verified, neither the header's nor those of its endorsements.
///
/// Endorsements get the header's slot and the parent in the header's thread; one made for another place or block
/// thereby gets another id, for which its signature does not verify.
#[derive(Clone, Debug)]
pub struct BlockHeaderDeserializer {
    version_deserializer: U32VarIntDeserializer,
    announced_version_deserializer: OptionDeserializer<u32, U32VarIntDeserializer>,
    slot_deserializer: SlotDeserializer,
    block_id_deserializer: BlockIdDeserializer,
    hash_deserializer: HashDeserializer,
    endorsement_count_deserializer: U32VarIntDeserializer,
    denunciation_count_deserializer: U32VarIntDeserializer,
    denunciation_deserializer: DenunciationDeserializer,
    thread_count: u8,
    endorsement_count: u32,
    last_start_period: Option<u64>,
    chain_id: u64,
}

impl BlockHeaderDeserializer {
    /// A deserializer for networks with these numbers of threads, and of endorsements and denunciations in a block.
    ///
    /// With a `last_start_period`, blocks of that period (the genesis blocks) must have no parents and all others must
    /// have them.
    pub const fn new(
        thread_count: u8,
        endorsement_count: u32,
        max_denunciations_in_block_header: u32,
        last_start_period: Option<u64>,
        chain_id: u64,
    ) -> Self {
        Self {
            version_deserializer: U32VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded),
            announced_version_deserializer: OptionDeserializer::new(U32VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Unbounded,
            )),
            slot_deserializer: SlotDeserializer::with_thread_count(thread_count),
            block_id_deserializer: BlockIdDeserializer::new(),
            hash_deserializer: HashDeserializer::new(),
            endorsement_count_deserializer: U32VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Included(endorsement_count),
            ),
            denunciation_count_deserializer: U32VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Included(max_denunciations_in_block_header),
            ),
            denunciation_deserializer: DenunciationDeserializer::new(thread_count, endorsement_count),
            thread_count,
            endorsement_count,
            last_start_period,
            chain_id,
        }
    }

    /// One block of each thread, or none.
    fn parents<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], Vec<BlockId>, E> {
        context("Failed parents deserialization", |input: &'a [u8]| {
            match input.split_first() {
                Some((&NO_PARENTS_TAG, rest)) => Ok((rest, Vec::new())),
                Some((&PARENTS_TAG, rest)) => parse_items(u64::from(self.thread_count), rest, |rest| {
                    self.block_id_deserializer.deserialize(rest)
                }),
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))),
            }
        })(input)
    }

    /// Whether a block of this period may have this list of parents.
    fn may_have_parents(&self, period: u64, parents: &[BlockId]) -> bool {
        match self.last_start_period {
            Some(last_start_period) => (period == last_start_period) == parents.is_empty(),
            None => true,
        }
    }

    /// What a header with parents ends with.
    fn votes_and_proofs<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        slot: Slot,
        endorsed_block: BlockId,
        input: &'a [u8],
    ) -> IResult<&'a [u8], (Vec<SecureShareEndorsement>, Vec<Denunciation>), E> {
        let (rest, endorsements) = self.endorsements(slot, endorsed_block, input)?;
        let (rest, denunciations) = self.denunciations(rest)?;
        Ok((rest, (endorsements, denunciations)))
    }

    /// Endorsements for `slot` of the block `endorsed_block`, without two of one index.
    fn endorsements<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        slot: Slot,
        endorsed_block: BlockId,
        input: &'a [u8],
    ) -> IResult<&'a [u8], Vec<SecureShareEndorsement>, E> {
        context("Failed endorsements deserialization", |input: &'a [u8]| {
            let deserializer = SecureShareDeserializer::<Endorsement, _>::new(
                EndorsementDeserializerLW::new(self.endorsement_count, slot, endorsed_block),
                self.chain_id,
            );
            let (rest, count) = self.endorsement_count_deserializer.deserialize(input)?;
            let mut indexes = HashSet::new();
            parse_items(u64::from(count), rest, |rest| {
                let (after, endorsement): (_, SecureShareEndorsement) =
                    deserializer.deserialize_with(&EndorsementSerializer::new(), rest)?;
                if !indexes.insert(endorsement.content.index) {
                    return Err(nom::Err::Failure(E::from_error_kind(rest, ErrorKind::Fail)));
                }
                Ok((after, endorsement))
            })
        })(input)
    }

    fn denunciations<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], Vec<Denunciation>, E> {
        context("Failed denunciations deserialization", |input: &'a [u8]| {
            let (rest, count) = self.denunciation_count_deserializer.deserialize(input)?;
            parse_items(u64::from(count), rest, |rest| {
                self.denunciation_deserializer.deserialize(rest)
            })
        })(input)
    }
}

impl Deserializer<BlockHeader> for BlockHeaderDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], BlockHeader, E> {
        context("Failed BlockHeader deserialization", |input: &'a [u8]| {
            let (rest, current_version) = self.version_deserializer.deserialize(input)?;
            let (rest, announced_version) = self.announced_version_deserializer.deserialize(rest)?;
            let (rest, slot) = self.slot_deserializer.deserialize(rest)?;
            let (after_parents, parents) = self.parents(rest)?;
            if !self.may_have_parents(slot.period, &parents) {
                return Err(nom::Err::Failure(E::from_error_kind(rest, ErrorKind::Fail)));
            }
            let (rest, operation_merkle_root) = self.hash_deserializer.deserialize(after_parents)?;
            let (rest, (endorsements, denunciations)) = match parents.get(usize::from(slot.thread)) {
                Some(parent) => self.votes_and_proofs(slot, *parent, rest)?,
                // Without parents there is nothing to endorse or denounce: both counts are zero.
                None => (tag([0, 0])(rest)?.0, Default::default()),
            };
            let header = BlockHeader {
                current_version,
                announced_version,
                slot,
                parents,
                operation_merkle_root,
                endorsements,
                denunciations,
            };
            Ok((rest, header))
        })(buffer)
    }
}
