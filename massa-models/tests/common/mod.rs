//! What the test files share: upstream's data, and codecs with the main network's limits.
// Each test file uses a part of it.
#![allow(dead_code)]

use massa_hash::Hash;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockDeserializer, BlockDeserializerArgs, BlockSerializer, SecureShareBlock};
use massa_models::block_header::BlockHeaderDeserializer;
use massa_models::block_id::BlockId;
use massa_models::config::*;
use massa_models::endorsement::{Endorsement, EndorsementId, EndorsementSerializer, SecureShareEndorsement};
use massa_models::operation::{
    compute_operations_hash, Operation, OperationDeserializer, OperationId, OperationIdSerializer, OperationSerializer,
    OperationType, SecureShareOperation,
};
use massa_models::secure_share::{Id, SecureShareContent, SecureShareDeserializer, SecureShareSerializer};
use massa_models::slot::Slot;
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use massa_signature::KeyPair;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The chain of upstream's worked example.
pub const DOCS_CHAIN_ID: u64 = 77_658_383;
/// The key of upstream's worked example.
pub const DOCS_SECRET_KEY: &str = "S1CkpvD4WMjJWxR2WZcrDEkJ1kWG2kKe1e3Afe8miqmskHqovvA";

pub fn docs_key() -> KeyPair {
    DOCS_SECRET_KEY.parse().unwrap()
}

/// The transfer of upstream's documentation.
pub fn docs_operation() -> Operation {
    Operation {
        fee: Amount::const_init(1, 3),
        expire_period: 1000,
        op: OperationType::Transaction {
            recipient_address: "AU12v83xmHg2UrLM8GLsXRMrm7LQgn3DZVT6kUeFsuFyhZKLkbQtY".parse().unwrap(),
            amount: Amount::const_init(31, 1),
        },
    }
}

/// An endorsement with the documentation's key.
pub fn docs_endorsement() -> SecureShareEndorsement {
    Endorsement {
        slot: Slot::new(10, 1),
        index: 3,
        endorsed_block: BlockId::new(Hash::compute_from(b"blk")),
    }
    .new_verifiable(EndorsementSerializer::new(), &docs_key(), DOCS_CHAIN_ID)
    .unwrap()
}

pub fn operation_content_deserializer() -> OperationDeserializer {
    OperationDeserializer::new(
        MAX_DATASTORE_VALUE_LENGTH,
        MAX_FUNCTION_NAME_LENGTH,
        MAX_PARAMETERS_SIZE,
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    )
}

pub fn operation_deserializer(chain_id: u64) -> SecureShareDeserializer<Operation, OperationDeserializer> {
    SecureShareDeserializer::new(operation_content_deserializer(), chain_id)
}

pub fn header_content_deserializer(thread_count: u8, last_start_period: Option<u64>) -> BlockHeaderDeserializer {
    BlockHeaderDeserializer::new(
        thread_count,
        ENDORSEMENT_COUNT,
        MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
        last_start_period,
        *CHAINID,
    )
}

pub fn block_content_deserializer(thread_count: u8) -> BlockDeserializer {
    BlockDeserializer::new(BlockDeserializerArgs {
        thread_count,
        max_operations_per_block: MAX_OPERATIONS_PER_BLOCK,
        endorsement_count: ENDORSEMENT_COUNT,
        max_denunciations_per_block_header: MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
        last_start_period: Some(0),
        chain_id: *CHAINID,
    })
}

pub fn block_deserializer() -> SecureShareDeserializer<Block, BlockDeserializer> {
    SecureShareDeserializer::new(block_content_deserializer(THREAD_COUNT), *CHAINID)
}

/// The value, if all bytes belong to it.
pub fn parse_whole<T>(deserializer: &impl Deserializer<T>, bytes: &[u8]) -> Option<T> {
    match deserializer.deserialize::<DeserializeError>(bytes) {
        Ok(([], value)) => Some(value),
        _ => None,
    }
}

pub fn is_refused<T>(deserializer: &impl Deserializer<T>, bytes: &[u8]) -> bool {
    deserializer.deserialize::<DeserializeError>(bytes).is_err()
}

pub fn parse_operation(bytes: &[u8]) -> Option<SecureShareOperation> {
    parse_whole(&operation_deserializer(*CHAINID), bytes)
}

pub fn parse_block(bytes: &[u8]) -> Option<SecureShareBlock> {
    parse_whole(&block_deserializer(), bytes)
}

pub fn to_bytes<T>(serializer: &impl Serializer<T>, value: &T) -> Vec<u8> {
    let mut buffer = Vec::new();
    serializer.serialize(value, &mut buffer).unwrap();
    buffer
}

/// The bytes in which a block travels, written anew from its parts.
pub fn block_bytes(block: &SecureShareBlock) -> Vec<u8> {
    to_bytes(&BlockSerializer::new(), &block.content)
}

pub fn operation_root(ids: &[OperationId]) -> Hash {
    compute_operations_hash(ids, &OperationIdSerializer::new())
}

/// Whether the header is signed and its root is that of the operations. Endorsements: see [`recorded_endorsement`].
pub fn is_valid_block(block: &SecureShareBlock) -> bool {
    let header = &block.content.header;
    header.verify_signature().is_ok()
        && header.content.operation_merkle_root == operation_root(&block.content.operations)
}

/// An endorsement of the recorded blocks as its creator signed it.
///
/// The program that made the recorded blocks signed endorsements for the slot before the block's own in its thread.
/// Upstream's rule is the block's own slot, which is what the short form in a header means. Parsing a recorded block
/// therefore gives endorsements whose signatures do not verify, here and upstream; with the earlier slot they do.
pub fn recorded_endorsement(parsed: &SecureShareEndorsement) -> SecureShareEndorsement {
    let mut content = parsed.content.clone();
    content.slot.period -= 1;
    let serialized_data = to_bytes(&EndorsementSerializer::new(), &content);
    let creator = parsed.content_creator_pub_key;
    SecureShareEndorsement {
        id: EndorsementId::new(content.compute_hash(&serialized_data, &creator, *CHAINID)),
        content,
        serialized_data,
        ..parsed.clone()
    }
}

/// Bytes, written as hexadecimal digits.
#[derive(Clone)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        hex::decode(digits).map(Self).map_err(serde::de::Error::custom)
    }
}

/// `upstream-vectors.json`: what upstream's serializers wrote.
#[derive(Deserialize)]
pub struct Vectors {
    pub chain_id: u64,
    pub thread_count: u8,
    pub merkle_root_of_no_operations: String,
    pub amounts: Vec<AmountVector>,
    pub keys: Vec<KeyVector>,
    pub operations: Vec<OperationVector>,
    pub endorsements: Vec<EndorsementVector>,
    pub blocks: Vec<BlockVector>,
}

#[derive(Deserialize)]
pub struct AmountVector {
    pub display: String,
    pub nano: u64,
    pub text: String,
}

#[derive(Deserialize)]
pub struct KeyVector {
    pub secret_key: String,
    pub secret_key_bytes: Hex,
    pub public_key: String,
    pub public_key_bytes: Hex,
    pub address: String,
    pub address_prefixed_bytes: Hex,
    pub address_thread_32: u8,
}

#[derive(Deserialize)]
pub struct OperationVector {
    pub content: Value,
    pub content_bytes: Hex,
    pub creator_address: String,
    pub creator_public_key: String,
    pub id: String,
    pub secure_share_bytes: Hex,
    pub signature: String,
    #[serde(rename = "type")]
    pub type_name: String,
}

#[derive(Deserialize)]
pub struct EndorsementVector {
    pub content: Value,
    pub content_bytes: Hex,
    pub content_bytes_in_header: Hex,
    pub id: String,
    pub secure_share_bytes: Hex,
}

#[derive(Deserialize)]
pub struct BlockVector {
    pub block_bytes: Hex,
    pub header_content_bytes: Hex,
    pub header_secure_share_bytes: Hex,
    pub id: String,
    pub operation_ids: Vec<String>,
    pub operation_merkle_root: String,
    pub operations_secure_share_bytes: Vec<Hex>,
    pub parents: Vec<String>,
    pub slot: Value,
}

impl Vectors {
    /// The secret key that belongs to `public_key`, if it is in the file.
    pub fn secret_key_of(&self, public_key: &str) -> Option<KeyPair> {
        let key = self.keys.iter().find(|key| key.public_key == public_key)?;
        Some(key.secret_key.parse().unwrap())
    }
}

pub fn vectors() -> &'static Vectors {
    static VECTORS: OnceLock<Vectors> = OnceLock::new();
    VECTORS.get_or_init(|| serde_json::from_slice(&read_data("upstream-vectors.json")).unwrap())
}

fn read_data(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    std::fs::read(folder.join(name)).unwrap()
}

/// One block of a `.mblk` file.
pub struct BlockRecord {
    pub slot: Slot,
    pub block: Vec<u8>,
    pub operations: Vec<Vec<u8>>,
}

/// The 125 blocks of four periods, written by upstream's serializers.
pub fn four_periods() -> Vec<BlockRecord> {
    let file = read_data("upstream-blocks-4-periods.mblk");
    let mut walker = Walker { rest: &file };
    assert_eq!(walker.take(6), b"MBLK1\0");
    assert_eq!(walker.u64(), *CHAINID);
    assert_eq!(walker.u8(), THREAD_COUNT);
    let mut records = Vec::new();
    while !walker.rest.is_empty() {
        records.push(BlockRecord {
            slot: Slot::new(walker.u64(), walker.u8()),
            block: walker.bytes(),
            operations: (0..walker.u32()).map(|_| walker.bytes()).collect(),
        });
    }
    records
}

/// Reads little-endian integers and byte lists from the front of a file.
struct Walker<'a> {
    rest: &'a [u8],
}

impl<'a> Walker<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.u32() as usize;
        self.take(length).to_vec()
    }
}

/// The bytes of any signed object.
pub fn secure_share_bytes<T, ID: Id>(share: &massa_models::secure_share::SecureShare<T, ID>) -> Vec<u8>
where
    T: std::fmt::Display + SecureShareContent,
{
    to_bytes(&SecureShareSerializer::new(), share)
}

/// A signed operation of the main network.
pub fn sign_operation(operation: Operation, key: &KeyPair) -> SecureShareOperation {
    operation
        .new_verifiable(OperationSerializer::new(), key, *CHAINID)
        .unwrap()
}
