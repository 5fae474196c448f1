//! Operations: what users sign.

use crate::address::{Address, AddressDeserializer, AddressSerializer};
use crate::amount::{Amount, AmountDeserializer, AmountSerializer};
use crate::datastore::{Datastore, DatastoreDeserializer, DatastoreSerializer};
use crate::error::ModelsError;
use crate::id::{
    deserialize_versioned_hash, hash_id, serialize_versioned_hash, VERSION,
    VERSIONED_HASH_SIZE_BYTES,
};
use crate::prehash::{PreHashSet, PreHashed};
use crate::secure_share::{
    Id, SecureShare, SecureShareContent, SecureShareDeserializer, SecureShareSerializer,
};
use crate::serialization::{
    length_as, parse_items, StringDeserializer, StringSerializer, VecU8Deserializer,
    VecU8Serializer,
};
use massa_hash::Hash;
use massa_serialization::{
    Deserializer, SerializeError, Serializer, U16VarIntDeserializer, U16VarIntSerializer,
    U32VarIntDeserializer, U32VarIntSerializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use massa_signature::PublicKey;
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;
use std::fmt;
use std::ops::{Bound, RangeInclusive};

/// Length of an operation id's prefix: the first bytes of its hash, without the version.
pub const OPERATION_ID_PREFIX_SIZE_BYTES: usize = 17;

const TRANSACTION_TYPE: u32 = 0;
const ROLL_BUY_TYPE: u32 = 1;
const ROLL_SELL_TYPE: u32 = 2;
const EXECUTE_SC_TYPE: u32 = 3;
const CALL_SC_TYPE: u32 = 4;

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

/// What a user wants done, and what they pay for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Paid to the producer of the block.
    pub fee: Amount,
    /// The last period whose blocks may include the operation.
    pub expire_period: u64,
    /// What is to be done.
    pub op: OperationType,
}

/// A signed operation.
pub type SecureShareOperation = SecureShare<Operation, OperationId>;

/// What an operation does.
#[serde_as]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationType {
    /// Sends coins.
    Transaction {
        /// Who gets the coins.
        recipient_address: Address,
        /// How many.
        amount: Amount,
    },
    /// Turns coins into rolls, which weigh in the draw of block producers.
    RollBuy {
        /// How many rolls.
        roll_count: u64,
    },
    /// Turns rolls into coins.
    RollSell {
        /// How many rolls.
        roll_count: u64,
    },
    /// Runs bytecode once.
    ExecuteSC {
        /// The bytecode.
        data: Vec<u8>,
        /// Limit of gas.
        max_gas: u64,
        /// Limit of the creator's coins that the bytecode may spend.
        max_coins: Amount,
        /// Values that the bytecode can read.
        #[serde_as(as = "Vec<(_, _)>")]
        datastore: Datastore,
    },
    /// Calls a function of a smart contract.
    CallSC {
        /// The smart contract.
        target_addr: Address,
        /// The name of the function.
        target_func: String,
        /// Its serialized parameters.
        param: Vec<u8>,
        /// Limit of gas.
        max_gas: u64,
        /// Coins given to the smart contract.
        coins: Amount,
    },
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, fee {}, expires after period {}",
            self.op, self.fee, self.expire_period
        )
    }
}

impl fmt::Display for OperationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction {
                recipient_address,
                amount,
            } => {
                write!(f, "transaction of {amount} to {recipient_address}")
            }
            Self::RollBuy { roll_count } => write!(f, "purchase of {roll_count} rolls"),
            Self::RollSell { roll_count } => write!(f, "sale of {roll_count} rolls"),
            Self::ExecuteSC { data, max_gas, .. } => {
                write!(f, "execution of {} bytes with {max_gas} gas", data.len())
            }
            Self::CallSC {
                target_addr,
                target_func,
                max_gas,
                ..
            } => {
                write!(
                    f,
                    "call of {target_func:?} of {target_addr} with {max_gas} gas"
                )
            }
        }
    }
}

impl SecureShareContent for Operation {
    /// Operations are bound to a chain: the hash of chain id (u64, big-endian) | public key (33) | content.
    fn compute_hash(
        &self,
        content_serialized: &[u8],
        content_creator_pub_key: &PublicKey,
        chain_id: u64,
    ) -> Hash {
        Hash::compute_from_concatenation(&[
            &chain_id.to_be_bytes(),
            &content_creator_pub_key.to_bytes(),
            content_serialized,
        ])
    }
}

impl SecureShareOperation {
    /// The periods whose blocks may include the operation.
    pub fn get_validity_range(&self, operation_validity_period: u64) -> RangeInclusive<u64> {
        let last = self.content.expire_period;
        last.saturating_sub(operation_validity_period)..=last
    }

    /// The gas that the operation takes from its block's.
    pub fn get_gas_usage(&self, base_operation_gas_cost: u64, sp_compilation_cost: u64) -> u64 {
        let type_gas = match &self.content.op {
            OperationType::ExecuteSC { max_gas, .. } => max_gas.saturating_add(sp_compilation_cost),
            OperationType::CallSC { max_gas, .. } => *max_gas,
            _ => 0,
        };
        type_gas.saturating_add(base_operation_gas_cost)
    }

    /// Checks that the operation fits an empty block.
    ///
    /// # Errors
    /// A message for the user: it takes more gas than a block has.
    pub fn check_gas_usage(
        &self,
        max_gas_per_block: u64,
        base_operation_gas_cost: u64,
        sp_compilation_cost: u64,
    ) -> Result<(), String> {
        let gas = self.get_gas_usage(base_operation_gas_cost, sp_compilation_cost);
        if gas > max_gas_per_block {
            return Err(format!(
                "gas usage {gas} is above the limit of a block, {max_gas_per_block}"
            ));
        }
        Ok(())
    }

    /// The addresses whose coins the operation may change, as far as that is known without executing it.
    pub fn get_ledger_involved_addresses(&self) -> PreHashSet<Address> {
        let other = match &self.content.op {
            OperationType::Transaction {
                recipient_address, ..
            } => Some(*recipient_address),
            OperationType::CallSC { target_addr, .. } => Some(*target_addr),
            _ => None,
        };
        [self.content_creator_address]
            .into_iter()
            .chain(other)
            .collect()
    }

    /// The most coins that the operation can take from its creator, the fee included.
    pub fn get_max_spending(&self, roll_price: Amount) -> Amount {
        let spent = match &self.content.op {
            OperationType::Transaction { amount, .. } => *amount,
            OperationType::RollBuy { roll_count } => roll_price.saturating_mul_u64(*roll_count),
            OperationType::RollSell { .. } => Amount::zero(),
            OperationType::ExecuteSC { max_coins, .. } => *max_coins,
            OperationType::CallSC { coins, .. } => *coins,
        };
        spent.saturating_add(self.content.fee)
    }

    /// The addresses whose rolls the operation changes.
    ///
    /// # Errors
    /// None; the result is upstream's.
    pub fn get_roll_involved_addresses(&self) -> Result<PreHashSet<Address>, ModelsError> {
        let changes_rolls = matches!(
            self.content.op,
            OperationType::RollBuy { .. } | OperationType::RollSell { .. }
        );
        Ok(changes_rolls
            .then_some(self.content_creator_address)
            .into_iter()
            .collect())
    }
}

/// The operation root of a header: the hash of the ids in the block's order, each behind its length. Despite the name
/// of the header's field this is not a Merkle tree.
pub fn compute_operations_hash(
    op_ids: &[OperationId],
    op_id_serializer: &OperationIdSerializer,
) -> Hash {
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
    fn serialize(
        &self,
        value: &Vec<OperationId>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        value
            .iter()
            .try_for_each(|id| self.id_serializer.serialize(id, buffer))
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
            count_deserializer: U32VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Included(max_operations),
            ),
            id_deserializer: OperationIdDeserializer::new(),
        }
    }
}

impl Deserializer<Vec<OperationId>> for OperationIdsDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Vec<OperationId>, E> {
        context(
            "Failed operation ids deserialization",
            |input: &'a [u8]| {
                let (rest, count) = self.count_deserializer.deserialize(input)?;
                parse_items(u64::from(count), rest, |rest| {
                    self.id_deserializer.deserialize(rest)
                })
            },
        )(buffer)
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
        context(
            "Failed operation prefix id deserialization",
            |input: &'a [u8]| {
                let (rest, bytes) = take(OPERATION_ID_PREFIX_SIZE_BYTES)(input)?;
                let bytes: &[u8; OPERATION_ID_PREFIX_SIZE_BYTES] =
                    bytes.try_into().map_err(|_| {
                        nom::Err::Error(E::from_error_kind(input, ErrorKind::LengthValue))
                    })?;
                Ok((rest, OperationPrefixId::from(bytes)))
            },
        )(buffer)
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
    fn serialize(
        &self,
        value: &OperationPrefixIds,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
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
            count_deserializer: U32VarIntDeserializer::new(
                Bound::Unbounded,
                Bound::Included(max_operations),
            ),
            prefix_deserializer: OperationPrefixIdDeserializer::new(),
        }
    }
}

impl Deserializer<OperationPrefixIds> for OperationPrefixIdsDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], OperationPrefixIds, E> {
        context(
            "Failed operation prefix ids deserialization",
            |input: &'a [u8]| {
                let (rest, count) = self.count_deserializer.deserialize(input)?;
                let (rest, prefixes) = parse_items(u64::from(count), rest, |rest| {
                    self.prefix_deserializer.deserialize(rest)
                })?;
                Ok((rest, prefixes.into_iter().collect()))
            },
        )(buffer)
    }
}

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
                self.address_serializer
                    .serialize(recipient_address, buffer)?;
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
        context(
            "Failed OperationType deserialization",
            |input: &'a [u8]| {
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
            },
        )(buffer)
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
        self.period_serializer
            .serialize(&value.expire_period, buffer)?;
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
            Ok((
                rest,
                Operation {
                    fee,
                    expire_period,
                    op,
                },
            ))
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
    fn serialize(
        &self,
        value: &Vec<SecureShareOperation>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
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
