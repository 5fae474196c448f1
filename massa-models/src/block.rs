//! Blocks.

use crate::block_header::{BlockHeader, BlockHeaderDeserializer, SecuredHeader};
use crate::block_id::BlockId;
use crate::error::ModelsError;
use crate::operation::{OperationId, OperationIdsDeserializer, OperationIdsSerializer, SecureShareOperation};
use crate::secure_share::{
    content_bytes, Id, SecureShare, SecureShareContent, SecureShareDeserializer, SecureShareSerializer,
};
use crate::serialization::consumed;
use massa_serialization::{Deserializer, SerializeError, Serializer};
use massa_signature::{KeyPair, PublicKey, PublicKeyDeserializer, Signature, SignatureDeserializer};
use nom::error::{context, ContextError, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A header and the ids of the block's operations, in order. The operations themselves travel apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block {
    /// The signed header.
    pub header: SecuredHeader,
    /// The operations. Whether they match the header's root is not checked when parsing.
    pub operations: Vec<OperationId>,
}

/// A block. Its signature, creator and id are its header's, its `serialized_data` is the whole block, and its bytes are
/// nothing more.
///
/// The list of operations is outside what the header signs; only its hash is inside. The same block can therefore
/// arrive as different bytes (a count or a version written with more bytes than needed): whoever needs one form writes
/// the content anew with [`BlockSerializer`].
pub type SecureShareBlock = SecureShare<Block, BlockId>;

/// A block with those of its operations that are known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilledBlock {
    /// The signed header.
    pub header: SecuredHeader,
    /// The operations in order.
    pub operations: Vec<(OperationId, Option<SecureShareOperation>)>,
}

/// What consensus says about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockGraphStatus {
    /// Just received.
    Incoming,
    /// Its slot has not begun.
    WaitingForSlot,
    /// Some of its parents are not known yet.
    WaitingForDependencies,
    /// Only in cliques that are not the best one.
    ActiveInAlternativeCliques,
    /// In the best clique.
    ActiveInBlockclique,
    /// In the best clique for ever.
    Final,
    /// Refused, or contradicted by final blocks.
    Discarded,
    /// Not known.
    NotFound,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}, {}, operations:", self.header.id, self.header.content)?;
        self.operations.iter().try_for_each(|id| write!(f, " {id}"))
    }
}

impl Block {
    /// The block as a secure share, with the values of its header.
    fn into_secure_share<ID: Id>(self, serialized_data: Vec<u8>) -> SecureShare<Self, ID> {
        SecureShare {
            signature: self.header.signature,
            content_creator_pub_key: self.header.content_creator_pub_key,
            content_creator_address: self.header.content_creator_address,
            id: ID::new(*self.header.id.get_hash()),
            content: self,
            serialized_data,
        }
    }
}

impl SecureShareContent for Block {
    /// Nothing is signed: the header is already.
    fn new_verifiable<Ser: Serializer<Self>, ID: Id>(
        self,
        content_serializer: Ser,
        _keypair: &KeyPair,
        _chain_id: u64,
    ) -> Result<SecureShare<Self, ID>, ModelsError> {
        let mut serialized_data = Vec::new();
        content_serializer.serialize(&self, &mut serialized_data)?;
        Ok(self.into_secure_share(serialized_data))
    }

    /// The content alone: it begins with the header's signature and key.
    fn serialize(
        _signature: &Signature,
        _creator_public_key: &PublicKey,
        serialized_content: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        buffer.extend_from_slice(serialized_content);
        Ok(())
    }

    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>, Deser: Deserializer<Self>, ID: Id>(
        content_serializer: Option<&dyn Serializer<Self>>,
        _signature_deserializer: &SignatureDeserializer,
        _creator_public_key_deserializer: &PublicKeyDeserializer,
        content_deserializer: &Deser,
        buffer: &'a [u8],
        _chain_id: u64,
    ) -> IResult<&'a [u8], SecureShare<Self, ID>, E> {
        let (rest, block) = content_deserializer.deserialize(buffer)?;
        let received = consumed(buffer, rest);
        let serialized_data = content_bytes(content_serializer, &block, received)?;
        Ok((rest, block.into_secure_share(serialized_data)))
    }
}

impl SecureShareBlock {
    /// Length of the block in bytes, without its operations.
    pub fn bytes_count(&self) -> u64 {
        self.serialized_data.len() as u64
    }

    /// Whether the block contains this operation.
    pub fn contains_operation(&self, operation: SecureShareOperation) -> bool {
        self.content.operations.contains(&operation.id)
    }

    /// As [`SecuredHeader::get_fitness`].
    pub fn get_fitness(&self) -> u64 {
        self.content.header.get_fitness()
    }
}

/// Writes a block: header (signature, public key, content) | operation count (varint u32) | operation ids (33 each).
#[derive(Clone, Debug, Default)]
pub struct BlockSerializer {
    header_serializer: SecureShareSerializer,
    operation_ids_serializer: OperationIdsSerializer,
}

impl BlockSerializer {
    /// A serializer without limits.
    pub const fn new() -> Self {
        Self {
            header_serializer: SecureShareSerializer::new(),
            operation_ids_serializer: OperationIdsSerializer::new(),
        }
    }
}

impl Serializer<Block> for BlockSerializer {
    fn serialize(&self, value: &Block, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.header_serializer.serialize(&value.header, buffer)?;
        self.operation_ids_serializer.serialize(&value.operations, buffer)
    }
}

/// Limits of [`BlockDeserializer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDeserializerArgs {
    /// Threads of the network.
    pub thread_count: u8,
    /// Most operations in a block.
    pub max_operations_per_block: u32,
    /// Most endorsements in a block.
    pub endorsement_count: u32,
    /// Most denunciations in a block.
    pub max_denunciations_per_block_header: u32,
    /// The period of the genesis blocks, if it is to be checked that they and only they have no parents.
    pub last_start_period: Option<u64>,
    /// The network.
    pub chain_id: u64,
}

/// Reads a block.
pub struct BlockDeserializer {
    header_deserializer: SecureShareDeserializer<BlockHeader, BlockHeaderDeserializer>,
    operation_ids_deserializer: OperationIdsDeserializer,
}

impl BlockDeserializer {
    /// A deserializer with these limits.
    pub const fn new(args: BlockDeserializerArgs) -> Self {
        Self {
            header_deserializer: SecureShareDeserializer::new(
                BlockHeaderDeserializer::new(
                    args.thread_count,
                    args.endorsement_count,
                    args.max_denunciations_per_block_header,
                    args.last_start_period,
                    args.chain_id,
                ),
                args.chain_id,
            ),
            operation_ids_deserializer: OperationIdsDeserializer::new(args.max_operations_per_block),
        }
    }
}

impl Deserializer<Block> for BlockDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Block, E> {
        context("Failed Block deserialization", |input: &'a [u8]| {
            let (rest, header) = self.header_deserializer.deserialize(input)?;
            let (rest, operations) = self.operation_ids_deserializer.deserialize(rest)?;
            Ok((rest, Block { header, operations }))
        })(buffer)
    }
}
