//! Messages about blocks.
//!
//! type (varint u64) | header, or block id (33) | info type (varint u64) | info

use massa_models::block_header::{BlockHeader, BlockHeaderDeserializer, SecuredHeader};
use massa_models::block_id::{BlockId, BlockIdDeserializer, BlockIdSerializer};
use massa_models::config::{
    MAX_DATASTORE_VALUE_LENGTH, MAX_DENUNCIATIONS_PER_BLOCK_HEADER, MAX_FUNCTION_NAME_LENGTH,
    MAX_OPERATION_DATASTORE_ENTRY_COUNT, MAX_OPERATION_DATASTORE_KEY_LENGTH, MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    MAX_PARAMETERS_SIZE,
};
use massa_models::operation::{
    OperationId, OperationIdsDeserializer, OperationIdsSerializer, OperationsDeserializer, OperationsSerializer,
    SecureShareOperation,
};
use massa_models::secure_share::{SecureShareDeserializer, SecureShareSerializer};
use massa_protocol_exports::ProtocolConfig;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::Bound::Included;

/// What is asked about a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskForBlockInfo {
    /// Its header.
    Header,
    /// The ids of its operations.
    OperationIds,
    /// Some of its operations.
    Operations(Vec<OperationId>),
}

/// What is answered about a block.
#[derive(Clone, Debug)]
pub enum BlockInfoReply {
    /// Its header.
    Header(Box<SecuredHeader>),
    /// The ids of its operations, in order.
    OperationIds(Vec<OperationId>),
    /// Those of the operations asked for that the peer has, and that fit.
    Operations(Vec<SecureShareOperation>),
    /// The peer does not have the block.
    NotFound,
}

/// A message about blocks.
#[derive(Clone, Debug)]
pub enum BlockMessage {
    /// There is a new block.
    Header(Box<SecuredHeader>),
    /// A question.
    DataRequest {
        /// About this block.
        block_id: BlockId,
        /// What is asked.
        block_info: AskForBlockInfo,
    },
    /// An answer.
    DataResponse {
        /// About this block.
        block_id: BlockId,
        /// The answer.
        block_info: BlockInfoReply,
    },
}

/// Inner types of messages.
mod type_id {
    pub(super) const HEADER: u64 = 0;
    pub(super) const DATA_REQUEST: u64 = 1;
    pub(super) const DATA_RESPONSE: u64 = 2;
}

/// Types of information.
mod info_id {
    pub(super) const HEADER: u64 = 0;
    pub(super) const OPERATION_IDS: u64 = 1;
    pub(super) const OPERATIONS: u64 = 2;
    pub(super) const NOT_FOUND: u64 = 3;
}

/// Writes messages about blocks.
#[derive(Clone, Default)]
pub struct BlockMessageSerializer {
    id: U64VarIntSerializer,
    header: SecureShareSerializer,
    block_id: BlockIdSerializer,
    operation_ids: OperationIdsSerializer,
    operations: OperationsSerializer,
}

impl BlockMessageSerializer {
    /// A serializer.
    pub fn new() -> Self {
        Self::default()
    }

    fn request(&self, info: &AskForBlockInfo, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match info {
            AskForBlockInfo::Header => self.id.serialize(&info_id::HEADER, buffer),
            AskForBlockInfo::OperationIds => self.id.serialize(&info_id::OPERATION_IDS, buffer),
            AskForBlockInfo::Operations(ids) => {
                self.id.serialize(&info_id::OPERATIONS, buffer)?;
                self.operation_ids.serialize(ids, buffer)
            }
        }
    }

    fn reply(&self, info: &BlockInfoReply, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match info {
            BlockInfoReply::Header(header) => {
                self.id.serialize(&info_id::HEADER, buffer)?;
                self.header.serialize(&**header, buffer)
            }
            BlockInfoReply::OperationIds(ids) => {
                self.id.serialize(&info_id::OPERATION_IDS, buffer)?;
                self.operation_ids.serialize(ids, buffer)
            }
            BlockInfoReply::Operations(operations) => {
                self.id.serialize(&info_id::OPERATIONS, buffer)?;
                self.operations.serialize(operations, buffer)
            }
            BlockInfoReply::NotFound => self.id.serialize(&info_id::NOT_FOUND, buffer),
        }
    }
}

impl Serializer<BlockMessage> for BlockMessageSerializer {
    fn serialize(&self, value: &BlockMessage, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match value {
            BlockMessage::Header(header) => {
                self.id.serialize(&type_id::HEADER, buffer)?;
                self.header.serialize(&**header, buffer)
            }
            BlockMessage::DataRequest { block_id, block_info } => {
                self.id.serialize(&type_id::DATA_REQUEST, buffer)?;
                self.block_id.serialize(block_id, buffer)?;
                self.request(block_info, buffer)
            }
            BlockMessage::DataResponse { block_id, block_info } => {
                self.id.serialize(&type_id::DATA_RESPONSE, buffer)?;
                self.block_id.serialize(block_id, buffer)?;
                self.reply(block_info, buffer)
            }
        }
    }
}

/// Limits of [`BlockMessageDeserializer`]; those of single operations are the chain's.
#[derive(Clone, Copy, Debug)]
pub struct BlockMessageDeserializerArgs {
    /// Threads of the chain.
    pub thread_count: u8,
    /// Endorsements in a header at most.
    pub endorsement_count: u32,
    /// Operations of a block at most.
    pub max_operations_per_block: u32,
    /// The chain.
    pub chain_id: u64,
}

impl From<&ProtocolConfig> for BlockMessageDeserializerArgs {
    fn from(config: &ProtocolConfig) -> Self {
        Self {
            thread_count: config.thread_count,
            endorsement_count: config.endorsement_count,
            max_operations_per_block: config.max_operations_per_block,
            chain_id: config.chain_id,
        }
    }
}

/// Reads messages about blocks.
pub struct BlockMessageDeserializer {
    id: U64VarIntDeserializer,
    header: SecureShareDeserializer<BlockHeader, BlockHeaderDeserializer>,
    block_id: BlockIdDeserializer,
    operation_ids: OperationIdsDeserializer,
    operations: OperationsDeserializer,
}

impl BlockMessageDeserializer {
    /// A deserializer with these limits.
    pub fn new(args: BlockMessageDeserializerArgs) -> Self {
        let header = BlockHeaderDeserializer::new(
            args.thread_count,
            args.endorsement_count,
            MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
            None,
            args.chain_id,
        );
        Self {
            id: U64VarIntDeserializer::new(Included(0), Included(u64::MAX)),
            header: SecureShareDeserializer::new(header, args.chain_id),
            block_id: BlockIdDeserializer::new(),
            operation_ids: OperationIdsDeserializer::new(args.max_operations_per_block),
            operations: OperationsDeserializer::new(
                args.max_operations_per_block,
                MAX_DATASTORE_VALUE_LENGTH,
                MAX_FUNCTION_NAME_LENGTH,
                MAX_PARAMETERS_SIZE,
                MAX_OPERATION_DATASTORE_ENTRY_COUNT,
                MAX_OPERATION_DATASTORE_KEY_LENGTH,
                MAX_OPERATION_DATASTORE_VALUE_LENGTH,
                args.chain_id,
            ),
        }
    }

    fn request<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], AskForBlockInfo, E> {
        let (rest, id) = self.id.deserialize(input)?;
        match id {
            info_id::HEADER => Ok((rest, AskForBlockInfo::Header)),
            info_id::OPERATION_IDS => Ok((rest, AskForBlockInfo::OperationIds)),
            info_id::OPERATIONS => {
                let (rest, ids) = self.operation_ids.deserialize(rest)?;
                Ok((rest, AskForBlockInfo::Operations(ids)))
            }
            _ => Err(unknown_id(input)),
        }
    }

    fn reply<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], BlockInfoReply, E> {
        let (rest, id) = self.id.deserialize(input)?;
        match id {
            info_id::HEADER => {
                let (rest, header) = self.header.deserialize(rest)?;
                Ok((rest, BlockInfoReply::Header(Box::new(header))))
            }
            info_id::OPERATION_IDS => {
                let (rest, ids) = self.operation_ids.deserialize(rest)?;
                Ok((rest, BlockInfoReply::OperationIds(ids)))
            }
            info_id::OPERATIONS => {
                let (rest, operations) = self.operations.deserialize(rest)?;
                Ok((rest, BlockInfoReply::Operations(operations)))
            }
            info_id::NOT_FOUND => Ok((rest, BlockInfoReply::NotFound)),
            _ => Err(unknown_id(input)),
        }
    }
}

impl Deserializer<BlockMessage> for BlockMessageDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], BlockMessage, E> {
        context("Failed BlockMessage deserialization", |input: &'a [u8]| {
            let (rest, id) = self.id.deserialize(input)?;
            match id {
                type_id::HEADER => {
                    let (rest, header) = self.header.deserialize(rest)?;
                    Ok((rest, BlockMessage::Header(Box::new(header))))
                }
                type_id::DATA_REQUEST => {
                    let (rest, block_id) = self.block_id.deserialize(rest)?;
                    let (rest, block_info) = self.request(rest)?;
                    Ok((rest, BlockMessage::DataRequest { block_id, block_info }))
                }
                type_id::DATA_RESPONSE => {
                    let (rest, block_id) = self.block_id.deserialize(rest)?;
                    let (rest, block_info) = self.reply(rest)?;
                    Ok((rest, BlockMessage::DataResponse { block_id, block_info }))
                }
                _ => Err(unknown_id(input)),
            }
        })(buffer)
    }
}

fn unknown_id<'a, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> nom::Err<E> {
    nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))
}
