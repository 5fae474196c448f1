//! Bytes of operations.

use super::{Operation, OperationType, SecureShareOperation};
use crate::address::{AddressDeserializer, AddressSerializer};
use crate::amount::{AmountDeserializer, AmountSerializer};
use crate::datastore::{DatastoreDeserializer, DatastoreSerializer};
use crate::secure_share::{SecureShareDeserializer, SecureShareSerializer};
use crate::serialization::{
    length_as, parse_items, StringDeserializer, StringSerializer, VecU8Deserializer, VecU8Serializer,
};
use massa_serialization::{
    Deserializer, SerializeError, Serializer, U16VarIntDeserializer, U16VarIntSerializer, U32VarIntDeserializer,
    U32VarIntSerializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::Bound;

const TRANSACTION_TYPE: u32 = 0;
const ROLL_BUY_TYPE: u32 = 1;
const ROLL_SELL_TYPE: u32 = 2;
const EXECUTE_SC_TYPE: u32 = 3;
const CALL_SC_TYPE: u32 = 4;

/// Writes what an operation does: type (varint u32) | payload.
///
/// ```text
/// 0 Transaction  recipient address | amount
/// 1 RollBuy      rolls (varint u64)
/// 2 RollSell     rolls (varint u64)
/// 3 ExecuteSC    max gas (varint u64) | max coins | bytecode (byte list) | datastore
/// 4 CallSC       max gas (varint u64) | coins | target address | function (varint u16, UTF-8) | parameters (byte list)
/// ```
#[derive(Clone, Debug)]
pub struct OperationTypeSerializer {
    type_serializer: U32VarIntSerializer,
    number_serializer: U64VarIntSerializer,
    amount_serializer: AmountSerializer,
    address_serializer: AddressSerializer,
    bytes_serializer: VecU8Serializer,
    function_serializer: StringSerializer<U16VarIntSerializer, u16>,
    datastore_serializer: DatastoreSerializer,
}

impl OperationTypeSerializer {
    /// A serializer without limits.
    pub const fn new() -> Self {
        Self {
            type_serializer: U32VarIntSerializer::new(),
            number_serializer: U64VarIntSerializer::new(),
            amount_serializer: AmountSerializer::new(),
            address_serializer: AddressSerializer::new(),
            bytes_serializer: VecU8Serializer::new(),
            function_serializer: StringSerializer::new(U16VarIntSerializer::new()),
            datastore_serializer: DatastoreSerializer::new(),
        }
    }
}

impl Default for OperationTypeSerializer {
    fn default() -> Self {
        Self::new()
    }
}

impl Serializer<OperationType> for OperationTypeSerializer {
    fn serialize(&self, value: &OperationType, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match value {
            OperationType::Transaction {
                recipient_address,
                amount,
            } => {
                self.type_serializer.serialize(&TRANSACTION_TYPE, buffer)?;
                self.address_serializer.serialize(recipient_address, buffer)?;
                self.amount_serializer.serialize(amount, buffer)
            }
            OperationType::RollBuy { roll_count } => {
                self.type_serializer.serialize(&ROLL_BUY_TYPE, buffer)?;
                self.number_serializer.serialize(roll_count, buffer)
            }
            OperationType::RollSell { roll_count } => {
                self.type_serializer.serialize(&ROLL_SELL_TYPE, buffer)?;
                self.number_serializer.serialize(roll_count, buffer)
            }
            OperationType::ExecuteSC {
                data,
                max_gas,
                max_coins,
                datastore,
            } => {
                self.type_serializer.serialize(&EXECUTE_SC_TYPE, buffer)?;
                self.number_serializer.serialize(max_gas, buffer)?;
                self.amount_serializer.serialize(max_coins, buffer)?;
                self.bytes_serializer.serialize(data, buffer)?;
                self.datastore_serializer.serialize(datastore, buffer)
            }
            OperationType::CallSC {
                target_addr,
                target_func,
                param,
                max_gas,
                coins,
            } => {
                self.type_serializer.serialize(&CALL_SC_TYPE, buffer)?;
                self.number_serializer.serialize(max_gas, buffer)?;
                self.amount_serializer.serialize(coins, buffer)?;
                self.address_serializer.serialize(target_addr, buffer)?;
                self.function_serializer.serialize(target_func, buffer)?;
                self.bytes_serializer.serialize(param, buffer)
            }
        }
    }
}

/// Reads what an operation does.
#[derive(Clone, Debug)]
pub struct OperationTypeDeserializer {
    type_deserializer: U32VarIntDeserializer,
    number_deserializer: U64VarIntDeserializer,
    amount_deserializer: AmountDeserializer,
    address_deserializer: AddressDeserializer,
    bytecode_deserializer: VecU8Deserializer,
    function_deserializer: StringDeserializer<U16VarIntDeserializer, u16>,
    parameters_deserializer: VecU8Deserializer,
    datastore_deserializer: DatastoreDeserializer,
}

impl OperationTypeDeserializer {
    /// A deserializer with limits in bytes: bytecode, function name, parameters; and of the datastore: entries, bytes
    /// of a key, bytes of a value.
    pub const fn new(
        max_datastore_value_length: u64,
        max_function_name_length: u16,
        max_parameters_size: u32,
        max_op_datastore_entry_count: u64,
        max_op_datastore_key_length: u8,
        max_op_datastore_value_length: u64,
    ) -> Self {
        Self {
            type_deserializer: U32VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded),
            number_deserializer: U64VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded),
            amount_deserializer: AmountDeserializer::of_any(),
            address_deserializer: AddressDeserializer::new(),
            bytecode_deserializer: VecU8Deserializer::new(
                Bound::Unbounded,
                Bound::Included(max_datastore_value_length),
            ),
            function_deserializer: StringDeserializer::new(U16VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Included(max_function_name_length),
            )),
            parameters_deserializer: VecU8Deserializer::new(
                Bound::Unbounded,
                Bound::Included(max_parameters_size as u64),
            ),
            datastore_deserializer: DatastoreDeserializer::new(
                max_op_datastore_entry_count,
                max_op_datastore_key_length,
                max_op_datastore_value_length,
            ),
        }
    }

    fn transaction<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], OperationType, E> {
        let (rest, recipient_address) = self.address_deserializer.deserialize(input)?;
        let (rest, amount) = self.amount_deserializer.deserialize(rest)?;
        Ok((
            rest,
            OperationType::Transaction {
                recipient_address,
                amount,
            },
        ))
    }

    fn execute_sc<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], OperationType, E> {
        let (rest, max_gas) = self.number_deserializer.deserialize(input)?;
        let (rest, max_coins) = self.amount_deserializer.deserialize(rest)?;
        let (rest, data) = self.bytecode_deserializer.deserialize(rest)?;
        let (rest, datastore) = self.datastore_deserializer.deserialize(rest)?;
        Ok((
            rest,
            OperationType::ExecuteSC {
                data,
                max_gas,
                max_coins,
                datastore,
            },
        ))
    }

    fn call_sc<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], OperationType, E> {
        let (rest, max_gas) = self.number_deserializer.deserialize(input)?;
        let (rest, coins) = self.amount_deserializer.deserialize(rest)?;
        let (rest, target_addr) = self.address_deserializer.deserialize(rest)?;
        let (rest, target_func) = self.function_deserializer.deserialize(rest)?;
        let (rest, param) = self.parameters_deserializer.deserialize(rest)?;
        Ok((
            rest,
            OperationType::CallSC {
                target_addr,
                target_func,
                param,
                max_gas,
                coins,
            },
        ))
    }
}

impl Deserializer<OperationType> for OperationTypeDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], OperationType, E> {
        context("Failed OperationType deserialization", |input: &'a [u8]| {
            let (rest, type_id) = self.type_deserializer.deserialize(input)?;
            match type_id {
                TRANSACTION_TYPE => self.transaction(rest),
                ROLL_BUY_TYPE => {
                    let (rest, roll_count) = self.number_deserializer.deserialize(rest)?;
                    Ok((rest, OperationType::RollBuy { roll_count }))
                }
                ROLL_SELL_TYPE => {
                    let (rest, roll_count) = self.number_deserializer.deserialize(rest)?;
                    Ok((rest, OperationType::RollSell { roll_count }))
                }
                EXECUTE_SC_TYPE => self.execute_sc(rest),
                CALL_SC_TYPE => self.call_sc(rest),
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Eof))),
            }
        })(buffer)
    }
}

/// Writes the content of an operation: fee | expire period (varint u64) | type and payload.
#[derive(Clone, Debug, Default)]
pub struct OperationSerializer {
    amount_serializer: AmountSerializer,
    period_serializer: U64VarIntSerializer,
    type_serializer: OperationTypeSerializer,
}

impl OperationSerializer {
    /// A serializer without limits.
    pub const fn new() -> Self {
        Self {
            amount_serializer: AmountSerializer::new(),
            period_serializer: U64VarIntSerializer::new(),
            type_serializer: OperationTypeSerializer::new(),
        }
    }
}

impl Serializer<Operation> for OperationSerializer {
    fn serialize(&self, value: &Operation, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.amount_serializer.serialize(&value.fee, buffer)?;
        self.period_serializer.serialize(&value.expire_period, buffer)?;
        self.type_serializer.serialize(&value.op, buffer)
    }
}

/// Reads the content of an operation.
#[derive(Clone, Debug)]
pub struct OperationDeserializer {
    amount_deserializer: AmountDeserializer,
    period_deserializer: U64VarIntDeserializer,
    type_deserializer: OperationTypeDeserializer,
}

impl OperationDeserializer {
    /// A deserializer with the limits of [`OperationTypeDeserializer::new`].
    pub const fn new(
        max_datastore_value_length: u64,
        max_function_name_length: u16,
        max_parameters_size: u32,
        max_op_datastore_entry_count: u64,
        max_op_datastore_key_length: u8,
        max_op_datastore_value_length: u64,
    ) -> Self {
        Self {
            amount_deserializer: AmountDeserializer::of_any(),
            period_deserializer: U64VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded),
            type_deserializer: OperationTypeDeserializer::new(
                max_datastore_value_length,
                max_function_name_length,
                max_parameters_size,
                max_op_datastore_entry_count,
                max_op_datastore_key_length,
                max_op_datastore_value_length,
            ),
        }
    }
}

impl Deserializer<Operation> for OperationDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Operation, E> {
        context("Failed Operation deserialization", |input: &'a [u8]| {
            let (rest, fee) = self.amount_deserializer.deserialize(input)?;
            let (rest, expire_period) = self.period_deserializer.deserialize(rest)?;
            let (rest, op) = self.type_deserializer.deserialize(rest)?;
            Ok((rest, Operation { fee, expire_period, op }))
        })(buffer)
    }
}

/// Writes signed operations: count (varint u32) | operations.
#[derive(Clone, Debug, Default)]
pub struct OperationsSerializer {
    count_serializer: U32VarIntSerializer,
    operation_serializer: SecureShareSerializer,
}

impl OperationsSerializer {
    /// A serializer without limit.
    pub const fn new() -> Self {
        Self {
            count_serializer: U32VarIntSerializer::new(),
            operation_serializer: SecureShareSerializer::new(),
        }
    }
}

impl Serializer<Vec<SecureShareOperation>> for OperationsSerializer {
    fn serialize(&self, value: &Vec<SecureShareOperation>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        value
            .iter()
            .try_for_each(|operation| self.operation_serializer.serialize(operation, buffer))
    }
}

/// Reads signed operations.
pub struct OperationsDeserializer {
    count_deserializer: U32VarIntDeserializer,
    operation_deserializer: SecureShareDeserializer<Operation, OperationDeserializer>,
}

impl OperationsDeserializer {
    /// A deserializer of at most `max_operations_per_message` operations of the network `chain_id`, with the limits of
    /// [`OperationTypeDeserializer::new`].
    // Upstream's parameters, in upstream's order.
    #[allow(clippy::too_many_arguments)]
    pub const fn new(
        max_operations_per_message: u32,
        max_datastore_value_length: u64,
        max_function_name_length: u16,
        max_parameters_size: u32,
        max_op_datastore_entry_count: u64,
        max_op_datastore_key_length: u8,
        max_op_datastore_value_length: u64,
        chain_id: u64,
    ) -> Self {
        let content_deserializer = OperationDeserializer::new(
            max_datastore_value_length,
            max_function_name_length,
            max_parameters_size,
            max_op_datastore_entry_count,
            max_op_datastore_key_length,
            max_op_datastore_value_length,
        );
        Self {
            count_deserializer: U32VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Included(max_operations_per_message),
            ),
            operation_deserializer: SecureShareDeserializer::new(content_deserializer, chain_id),
        }
    }
}

impl Deserializer<Vec<SecureShareOperation>> for OperationsDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Vec<SecureShareOperation>, E> {
        context("Failed operations deserialization", |input: &'a [u8]| {
            let (rest, count) = self.count_deserializer.deserialize(input)?;
            parse_items(u64::from(count), rest, |rest| {
                self.operation_deserializer.deserialize(rest)
            })
        })(buffer)
    }
}
