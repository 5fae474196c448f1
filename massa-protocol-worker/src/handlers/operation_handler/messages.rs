//! Messages about operations.
//!
//! type (varint u64) | count (varint u32) | prefixes of ids (17 each), or operations

use massa_models::config::{
    MAX_DATASTORE_VALUE_LENGTH, MAX_FUNCTION_NAME_LENGTH, MAX_OPERATION_DATASTORE_ENTRY_COUNT,
    MAX_OPERATION_DATASTORE_KEY_LENGTH, MAX_OPERATION_DATASTORE_VALUE_LENGTH, MAX_PARAMETERS_SIZE,
};
use massa_models::operation::{
    OperationPrefixIds, OperationPrefixIdsDeserializer, OperationPrefixIdsSerializer, OperationsDeserializer,
    OperationsSerializer, SecureShareOperation,
};
use massa_protocol_exports::ProtocolConfig;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::Bound::Included;

/// A message about operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationMessage {
    /// The sender has operations whose ids begin like this.
    OperationsAnnouncement(OperationPrefixIds),
    /// The sender wants operations that were announced to it.
    AskForOperations(OperationPrefixIds),
    /// Operations.
    Operations(Vec<SecureShareOperation>),
}

/// Inner types of messages.
mod type_id {
    pub(super) const OPERATIONS_ANNOUNCEMENT: u64 = 0;
    pub(super) const ASK_FOR_OPERATIONS: u64 = 1;
    pub(super) const OPERATIONS: u64 = 2;
}

/// Writes messages about operations.
#[derive(Clone, Default)]
pub struct OperationMessageSerializer {
    id: U64VarIntSerializer,
    prefixes: OperationPrefixIdsSerializer,
    operations: OperationsSerializer,
}

impl OperationMessageSerializer {
    /// A serializer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Serializer<OperationMessage> for OperationMessageSerializer {
    fn serialize(&self, value: &OperationMessage, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match value {
            OperationMessage::OperationsAnnouncement(prefixes) => {
                self.id.serialize(&type_id::OPERATIONS_ANNOUNCEMENT, buffer)?;
                self.prefixes.serialize(prefixes, buffer)
            }
            OperationMessage::AskForOperations(prefixes) => {
                self.id.serialize(&type_id::ASK_FOR_OPERATIONS, buffer)?;
                self.prefixes.serialize(prefixes, buffer)
            }
            OperationMessage::Operations(operations) => {
                self.id.serialize(&type_id::OPERATIONS, buffer)?;
                self.operations.serialize(operations, buffer)
            }
        }
    }
}

/// Limits of [`OperationMessageDeserializer`]; those of single operations are the chain's.
#[derive(Clone, Copy, Debug)]
pub struct OperationMessageDeserializerArgs {
    /// Prefixes in a message at most.
    pub max_operations_prefix_ids: u32,
    /// Operations in a message at most.
    pub max_operations: u32,
    /// The chain.
    pub chain_id: u64,
}

impl From<&ProtocolConfig> for OperationMessageDeserializerArgs {
    fn from(config: &ProtocolConfig) -> Self {
        let max_operations = u32::try_from(config.max_operations_per_message).unwrap_or(u32::MAX);
        Self {
            max_operations_prefix_ids: max_operations,
            max_operations,
            chain_id: config.chain_id,
        }
    }
}

/// Reads messages about operations.
pub struct OperationMessageDeserializer {
    id: U64VarIntDeserializer,
    prefixes: OperationPrefixIdsDeserializer,
    operations: OperationsDeserializer,
}

impl OperationMessageDeserializer {
    /// A deserializer with these limits.
    pub fn new(args: OperationMessageDeserializerArgs) -> Self {
        Self {
            id: U64VarIntDeserializer::new(Included(0), Included(u64::MAX)),
            prefixes: OperationPrefixIdsDeserializer::new(args.max_operations_prefix_ids),
            operations: OperationsDeserializer::new(
                args.max_operations,
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
}

impl Deserializer<OperationMessage> for OperationMessageDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], OperationMessage, E> {
        context("Failed OperationMessage deserialization", |input: &'a [u8]| {
            let (rest, id) = self.id.deserialize(input)?;
            match id {
                type_id::OPERATIONS_ANNOUNCEMENT => {
                    let (rest, prefixes) = self.prefixes.deserialize(rest)?;
                    Ok((rest, OperationMessage::OperationsAnnouncement(prefixes)))
                }
                type_id::ASK_FOR_OPERATIONS => {
                    let (rest, prefixes) = self.prefixes.deserialize(rest)?;
                    Ok((rest, OperationMessage::AskForOperations(prefixes)))
                }
                type_id::OPERATIONS => {
                    let (rest, operations) = self.operations.deserialize(rest)?;
                    Ok((rest, OperationMessage::Operations(operations)))
                }
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))),
            }
        })(buffer)
    }
}
