//! Denunciations: proof that somebody signed two endorsements or two headers for one place.
//!
//! Kept here because headers carry them. Making them from what the network sends, and punishing, are left out.

use crate::block_header::{BlockHeaderDenunciationData, SecuredHeader};
use crate::endorsement::{index_deserializer, EndorsementDenunciationData, SecureShareEndorsement};
use crate::secure_share::Id;
use crate::slot::{Slot, SlotDeserializer, SlotSerializer};
use massa_hash::{Hash, HashDeserializer, HashSerializer};
use massa_serialization::{Deserializer, SerializeError, Serializer, U32VarIntDeserializer, U32VarIntSerializer};
use massa_signature::{PublicKey, PublicKeyDeserializer, Signature, SignatureDeserializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::ops::Bound;

const BLOCK_HEADER_TYPE: u32 = 0;
const ENDORSEMENT_TYPE: u32 = 1;

/// Two signatures that contradict each other. Nothing is checked until [`Self::is_valid`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denunciation {
    /// Of two endorsements.
    Endorsement(EndorsementDenunciation),
    /// Of two headers.
    BlockHeader(BlockHeaderDenunciation),
}

/// Two endorsements with the same slot and index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndorsementDenunciation {
    public_key: PublicKey,
    slot: Slot,
    index: u32,
    hash_1: Hash,
    hash_2: Hash,
    signature_1: Signature,
    signature_2: Signature,
}

/// Two headers with the same slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeaderDenunciation {
    public_key: PublicKey,
    slot: Slot,
    hash_1: Hash,
    hash_2: Hash,
    signature_1: Signature,
    signature_2: Signature,
}

/// Two objects that do not contradict each other.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenunciationError {
    /// Their creators or places differ, or they are the same object.
    #[error("the two objects do not contradict each other: {0}")]
    InvalidInput(String),
}

/// The values that both kinds have.
struct Evidence {
    public_key: PublicKey,
    hashes: [Hash; 2],
    signatures: [Signature; 2],
}

impl Denunciation {
    /// Whether two endorsements are denounced.
    pub fn is_for_endorsement(&self) -> bool {
        matches!(self, Self::Endorsement(_))
    }

    /// Whether two headers are denounced.
    pub fn is_for_block_header(&self) -> bool {
        matches!(self, Self::BlockHeader(_))
    }

    /// Whose signatures these are.
    pub fn get_public_key(&self) -> &PublicKey {
        match self {
            Self::Endorsement(denunciation) => &denunciation.public_key,
            Self::BlockHeader(denunciation) => &denunciation.public_key,
        }
    }

    /// The slot of both objects.
    pub fn get_slot(&self) -> &Slot {
        match self {
            Self::Endorsement(denunciation) => &denunciation.slot,
            Self::BlockHeader(denunciation) => &denunciation.slot,
        }
    }

    /// The index of both endorsements.
    pub fn get_index(&self) -> Option<&u32> {
        match self {
            Self::Endorsement(denunciation) => Some(&denunciation.index),
            Self::BlockHeader(_) => None,
        }
    }

    /// The hash in the id of the first object.
    pub fn get_hash_1(&self) -> &Hash {
        match self {
            Self::Endorsement(denunciation) => &denunciation.hash_1,
            Self::BlockHeader(denunciation) => &denunciation.hash_1,
        }
    }

    /// The hash in the id of the second object.
    pub fn get_hash_2(&self) -> &Hash {
        match self {
            Self::Endorsement(denunciation) => &denunciation.hash_2,
            Self::BlockHeader(denunciation) => &denunciation.hash_2,
        }
    }

    /// The signature of the first object.
    pub fn get_signature_1(&self) -> &Signature {
        match self {
            Self::Endorsement(denunciation) => &denunciation.signature_1,
            Self::BlockHeader(denunciation) => &denunciation.signature_1,
        }
    }

    /// The signature of the second object.
    pub fn get_signature_2(&self) -> &Signature {
        match self {
            Self::Endorsement(denunciation) => &denunciation.signature_2,
            Self::BlockHeader(denunciation) => &denunciation.signature_2,
        }
    }

    /// Whether the hashes differ and both signatures verify. Costs two verifications.
    pub fn is_valid(&self) -> bool {
        let is_signed = |hash: &Hash, signature: &Signature| {
            self.get_public_key()
                .verify_signature(&self.signed_hash(hash), signature)
                .is_ok()
        };
        self.get_hash_1() != self.get_hash_2()
            && is_signed(self.get_hash_1(), self.get_signature_1())
            && is_signed(self.get_hash_2(), self.get_signature_2())
    }

    /// The hash that was signed for the object whose id has `hash`.
    fn signed_hash(&self, hash: &Hash) -> Hash {
        match self {
            Self::Endorsement(EndorsementDenunciation {
                public_key,
                slot,
                index,
                ..
            }) => EndorsementDenunciationData::new(*slot, *index).signed_hash(public_key, hash),
            Self::BlockHeader(BlockHeaderDenunciation { public_key, slot, .. }) => {
                BlockHeaderDenunciationData::new(*slot).signed_hash(public_key, hash)
            }
        }
    }

    fn new_for_endorsement(slot: Slot, index: u32, evidence: Evidence) -> Self {
        let Evidence {
            public_key,
            hashes: [hash_1, hash_2],
            signatures,
        } = evidence;
        let [signature_1, signature_2] = signatures;
        Self::Endorsement(EndorsementDenunciation {
            public_key,
            slot,
            index,
            hash_1,
            hash_2,
            signature_1,
            signature_2,
        })
    }

    fn new_for_block_header(slot: Slot, evidence: Evidence) -> Self {
        let Evidence {
            public_key,
            hashes: [hash_1, hash_2],
            signatures,
        } = evidence;
        let [signature_1, signature_2] = signatures;
        Self::BlockHeader(BlockHeaderDenunciation {
            public_key,
            slot,
            hash_1,
            hash_2,
            signature_1,
            signature_2,
        })
    }
}

/// Signatures are not verified: [`Denunciation::is_valid`] does that.
impl TryFrom<(&SecureShareEndorsement, &SecureShareEndorsement)> for Denunciation {
    type Error = DenunciationError;

    fn try_from((first, second): (&SecureShareEndorsement, &SecureShareEndorsement)) -> Result<Self, Self::Error> {
        let place =
            |share: &SecureShareEndorsement| (share.content.slot, share.content.index, share.content_creator_pub_key);
        if place(first) != place(second) || first.id == second.id {
            return Err(not_contradicting(&first.id, &second.id));
        }
        let evidence = Evidence {
            public_key: first.content_creator_pub_key,
            hashes: [*first.id.get_hash(), *second.id.get_hash()],
            signatures: [first.signature, second.signature],
        };
        Ok(Self::new_for_endorsement(
            first.content.slot,
            first.content.index,
            evidence,
        ))
    }
}

/// Signatures are not verified: [`Denunciation::is_valid`] does that.
impl TryFrom<(&SecuredHeader, &SecuredHeader)> for Denunciation {
    type Error = DenunciationError;

    fn try_from((first, second): (&SecuredHeader, &SecuredHeader)) -> Result<Self, Self::Error> {
        let place = |share: &SecuredHeader| (share.content.slot, share.content_creator_pub_key);
        if place(first) != place(second) || first.id == second.id {
            return Err(not_contradicting(&first.id, &second.id));
        }
        let evidence = Evidence {
            public_key: first.content_creator_pub_key,
            hashes: [*first.id.get_hash(), *second.id.get_hash()],
            signatures: [first.signature, second.signature],
        };
        Ok(Self::new_for_block_header(first.content.slot, evidence))
    }
}

fn not_contradicting<I: std::fmt::Display>(first: &I, second: &I) -> DenunciationError {
    DenunciationError::InvalidInput(format!("{first} and {second}"))
}

/// Writes a denunciation.
///
/// ```text
/// 0 BlockHeader  public key (33) | slot | hash 1, hash 2 (32 each) | signature 1, signature 2 (65 each)
/// 1 Endorsement  public key (33) | slot | index (varint u32) | hashes | signatures
/// ```
#[derive(Clone, Debug, Default)]
pub struct DenunciationSerializer {
    number_serializer: U32VarIntSerializer,
    slot_serializer: SlotSerializer,
    hash_serializer: HashSerializer,
}

impl DenunciationSerializer {
    /// A serializer of both kinds.
    pub const fn new() -> Self {
        Self {
            number_serializer: U32VarIntSerializer::new(),
            slot_serializer: SlotSerializer::new(),
            hash_serializer: HashSerializer::new(),
        }
    }
}

impl Serializer<Denunciation> for DenunciationSerializer {
    fn serialize(&self, value: &Denunciation, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let type_id = match value {
            Denunciation::BlockHeader(_) => BLOCK_HEADER_TYPE,
            Denunciation::Endorsement(_) => ENDORSEMENT_TYPE,
        };
        self.number_serializer.serialize(&type_id, buffer)?;
        buffer.extend_from_slice(&value.get_public_key().to_bytes());
        self.slot_serializer.serialize(value.get_slot(), buffer)?;
        if let Some(index) = value.get_index() {
            self.number_serializer.serialize(index, buffer)?;
        }
        self.hash_serializer.serialize(value.get_hash_1(), buffer)?;
        self.hash_serializer.serialize(value.get_hash_2(), buffer)?;
        buffer.extend_from_slice(&value.get_signature_1().to_bytes());
        buffer.extend_from_slice(&value.get_signature_2().to_bytes());
        Ok(())
    }
}

/// Reads a denunciation.
#[derive(Clone, Debug)]
pub struct DenunciationDeserializer {
    type_deserializer: U32VarIntDeserializer,
    slot_deserializer: SlotDeserializer,
    index_deserializer: U32VarIntDeserializer,
}

impl DenunciationDeserializer {
    /// A deserializer for networks with these numbers of threads, and of endorsements in a block.
    pub const fn new(thread_count: u8, endorsement_count: u32) -> Self {
        Self {
            type_deserializer: U32VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded),
            slot_deserializer: SlotDeserializer::with_thread_count(thread_count),
            index_deserializer: index_deserializer(endorsement_count),
        }
    }
}

impl Deserializer<Denunciation> for DenunciationDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Denunciation, E> {
        context("Failed Denunciation deserialization", |input: &'a [u8]| {
            let (rest, type_id) = self.type_deserializer.deserialize(input)?;
            if !matches!(type_id, BLOCK_HEADER_TYPE | ENDORSEMENT_TYPE) {
                return Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Eof)));
            }
            let (rest, public_key) = PublicKeyDeserializer::new().deserialize(rest)?;
            let (rest, slot) = self.slot_deserializer.deserialize(rest)?;
            if type_id == BLOCK_HEADER_TYPE {
                let (rest, evidence) = evidence(public_key, rest)?;
                Ok((rest, Denunciation::new_for_block_header(slot, evidence)))
            } else {
                let (rest, index) = self.index_deserializer.deserialize(rest)?;
                let (rest, evidence) = evidence(public_key, rest)?;
                Ok((rest, Denunciation::new_for_endorsement(slot, index, evidence)))
            }
        })(buffer)
    }
}

fn evidence<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
    public_key: PublicKey,
    input: &'a [u8],
) -> IResult<&'a [u8], Evidence, E> {
    let (rest, hash_1) = HashDeserializer::new().deserialize(input)?;
    let (rest, hash_2) = HashDeserializer::new().deserialize(rest)?;
    let (rest, signature_1) = SignatureDeserializer::new().deserialize(rest)?;
    let (rest, signature_2) = SignatureDeserializer::new().deserialize(rest)?;
    let evidence = Evidence {
        public_key,
        hashes: [hash_1, hash_2],
        signatures: [signature_1, signature_2],
    };
    Ok((rest, evidence))
}
