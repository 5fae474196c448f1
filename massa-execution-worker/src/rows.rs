//! Layout of the ledger's database. Integers are little-endian, except in keys, which sort by them.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::{BlockId, BlockIdDeserializer, BlockIdSerializer};
use massa_models::operation::{OperationId, OperationIdDeserializer, OperationIdSerializer};
use massa_models::slot::{Slot, SLOT_KEY_SIZE};
use massa_serialization::{DeserializeError, Deserializer, Serializer};

use crate::execute::Outcome;

/// Version of everything below. Another one is refused.
pub(crate) const FORMAT: u32 = 2;

/// Final balances.
///
/// key:   address (34 bytes: type, version, hash)
/// value: balance (u64)
pub(crate) const LEDGER_CF: &str = "ledger";

/// Final datastores.
///
/// key:   address (34) | key (1..=255), so that the keys of an address follow each other in their order
/// value: the entry
pub(crate) const DATASTORE_CF: &str = "datastore";

/// Final bytecode of contracts.
///
/// key:   address (34)
/// value: the bytecode
pub(crate) const BYTECODE_CF: &str = "bytecode";

/// What exists once.
///
/// [`IDENTITY_KEY`], written once: format (u32) | chain id (u64) | thread count (u8) | genesis id (32)
/// [`HEAD_KEY`], written with each final slot: slot (9) | state hash (32) | all coins (u64)
pub(crate) const META_CF: &str = "meta";

/// Final blocks from which consensus starts again.
///
/// key:   slot (period u64 big-endian | thread u8)
/// value: block id (33) | length u32 | `SecureShareBlock` | each operation: length u32 | `SecureShareOperation`
pub(crate) const FINAL_BLOCKS_CF: &str = "final_blocks";

/// Operations that were executed and whose validity is not long over.
///
/// key:   expire period (u64, big-endian) | operation id (33), so that whole periods are dropped by range
/// value: outcome (u8), see [`Outcome`]
pub(crate) const EXECUTED_OPERATIONS_CF: &str = "executed_operations";

pub(crate) const FAMILIES: [&str; 6] = [
    LEDGER_CF,
    DATASTORE_CF,
    BYTECODE_CF,
    META_CF,
    FINAL_BLOCKS_CF,
    EXECUTED_OPERATIONS_CF,
];

pub(crate) const IDENTITY_KEY: &[u8] = b"identity";
pub(crate) const HEAD_KEY: &[u8] = b"head";

const BLOCK_ID_BYTES: usize = 33;

/// The network that a ledger belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) format: u32,
    pub(crate) chain_id: u64,
    pub(crate) thread_count: u8,
    pub(crate) genesis_id: [u8; 32],
}

impl Identity {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.format.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.chain_id.to_le_bytes());
        bytes.push(self.thread_count);
        bytes.extend_from_slice(&self.genesis_id);
        bytes
    }

    /// With another format, what follows it is not looked at.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = take_u32(bytes)?;
        let unknown = Self {
            format,
            chain_id: 0,
            thread_count: 0,
            genesis_id: [0; 32],
        };
        if format != FORMAT {
            return Some(unknown);
        }
        let (chain_id, rest) = take_u64(rest)?;
        let (thread_count, rest) = rest.split_first()?;
        Some(Self {
            format,
            chain_id,
            thread_count: *thread_count,
            genesis_id: rest.try_into().ok()?,
        })
    }
}

/// How far the ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) slot: Slot,
    pub(crate) hash: [u8; 32],
    pub(crate) supply: Amount,
}

impl Head {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.slot.to_bytes_key().to_vec();
        bytes.extend_from_slice(&self.hash);
        bytes.extend_from_slice(&self.supply.to_raw().to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let slot = parse_slot(bytes.get(..SLOT_KEY_SIZE)?)?;
        let (hash, supply) = bytes.get(SLOT_KEY_SIZE..)?.split_at_checked(32)?;
        Some(Self {
            slot,
            hash: hash.try_into().ok()?,
            supply: parse_balance(supply)?,
        })
    }
}

pub(crate) fn balance_value(balance: Amount) -> [u8; 8] {
    balance.to_raw().to_le_bytes()
}

pub(crate) fn parse_balance(bytes: &[u8]) -> Option<Amount> {
    Some(Amount::from_raw(u64::from_le_bytes(bytes.try_into().ok()?)))
}

/// `address (34) | key`
pub(crate) fn entry_key(address: &Address, key: &[u8]) -> Vec<u8> {
    [&address.to_prefixed_bytes()[..], key].concat()
}

pub(crate) fn parse_slot(bytes: &[u8]) -> Option<Slot> {
    Some(Slot::from_bytes_key(bytes.try_into().ok()?))
}

pub(crate) fn block_id_bytes(id: &BlockId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_ID_BYTES);
    BlockIdSerializer::new()
        .serialize(id, &mut bytes)
        .expect("ids always have an encoding");
    bytes
}

/// `block id (33) | length u32 | block | each operation: length u32 | operation`
pub(crate) fn final_block_value(id: &BlockId, content: &[Vec<u8>]) -> Vec<u8> {
    let mut value = block_id_bytes(id);
    for object in content {
        value.extend((object.len() as u32).to_le_bytes());
        value.extend(object);
    }
    value
}

/// The id of a final block.
pub(crate) fn parse_final_block_id(value: &[u8]) -> Option<BlockId> {
    let (id, _) = value.split_at_checked(BLOCK_ID_BYTES)?;
    whole(&BlockIdDeserializer::new(), id)
}

/// The bytes of a final block, then those of its operations.
pub(crate) fn parse_final_block(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (_, mut rest) = value.split_at_checked(BLOCK_ID_BYTES)?;
    let mut content = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (object, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        content.push(object.to_vec());
        rest = after;
    }
    (!content.is_empty()).then_some(content)
}

pub(crate) fn operation_id_bytes(id: &OperationId) -> Vec<u8> {
    let mut bytes = Vec::new();
    OperationIdSerializer::new()
        .serialize(id, &mut bytes)
        .expect("ids always have an encoding");
    bytes
}

pub(crate) fn executed_key(expire_period: u64, id: &OperationId) -> Vec<u8> {
    [&expire_period.to_be_bytes()[..], &operation_id_bytes(id)].concat()
}

pub(crate) fn parse_executed(key: &[u8], value: &[u8]) -> Option<(u64, OperationId, Outcome)> {
    let (period, id) = key.split_at_checked(8)?;
    let id = whole(&OperationIdDeserializer::new(), id)?;
    let [code] = value else { return None };
    Some((
        u64::from_be_bytes(period.try_into().ok()?),
        id,
        Outcome::from_code(*code)?,
    ))
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn whole<T>(deserializer: &impl Deserializer<T>, bytes: &[u8]) -> Option<T> {
    match deserializer.deserialize::<DeserializeError>(bytes) {
        Ok(([], value)) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_hash::Hash;
    use massa_models::address::{UserAddress, UserAddressV0};
    use massa_models::secure_share::Id;

    #[test]
    fn names_are_frozen() {
        let expected = [
            "ledger",
            "datastore",
            "bytecode",
            "meta",
            "final_blocks",
            "executed_operations",
        ];
        assert_eq!(FAMILIES, expected);
        let address = Address::User(UserAddress::UserAddressV0(UserAddressV0(Hash::from_bytes(&[4; 32]))));
        let key = [&[0, 0][..], &[4; 32], b"key"].concat();
        assert_eq!(entry_key(&address, b"key"), key);
        assert_eq!((IDENTITY_KEY, HEAD_KEY), (&b"identity"[..], &b"head"[..]));
    }

    #[test]
    fn the_identity_is_frozen() {
        let identity = Identity {
            format: 2,
            chain_id: 0x0102,
            thread_count: 32,
            genesis_id: [7; 32],
        };
        let expected = [&[2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 32][..], &[7; 32]].concat();
        assert_eq!(identity.to_bytes(), expected);
        assert_eq!(Identity::parse(&expected), Some(identity));
        assert_eq!(Identity::parse(&expected[..44]), None);
        assert_eq!(Identity::parse(&[1, 0, 0, 0]).unwrap().format, 1);
    }

    #[test]
    fn the_head_is_frozen() {
        let head = Head {
            slot: Slot::new(5, 3),
            hash: [6; 32],
            supply: Amount::from_raw(0x0201),
        };
        let expected = [&[0, 0, 0, 0, 0, 0, 0, 5, 3][..], &[6; 32], &[1, 2, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(head.to_bytes(), expected);
        assert_eq!(Head::parse(&expected), Some(head));
        for length in 0..expected.len() {
            assert_eq!(Head::parse(&expected[..length]), None);
        }
    }

    #[test]
    fn rows_of_blocks_and_operations_are_frozen() {
        let hash = Hash::from_bytes(&[4; 32]);
        let id_bytes = [&[0][..], &[4; 32]].concat();
        let block_id = BlockId::new(hash);
        let value = [&id_bytes[..], &[5, 0, 0, 0], b"block", &[2, 0, 0, 0], b"op"].concat();
        let content = vec![b"block".to_vec(), b"op".to_vec()];
        assert_eq!(final_block_value(&block_id, &content), value);
        assert_eq!(parse_final_block_id(&value), Some(block_id));
        assert_eq!(parse_final_block(&value), Some(content));
        for length in (0..value.len()).filter(|length| *length != 33 + 4 + 5) {
            assert_eq!(parse_final_block(&value[..length]), None, "{length}");
        }

        let operation_id = OperationId::new(hash);
        let key = [&[0, 0, 0, 0, 0, 0, 1, 2][..], &id_bytes].concat();
        assert_eq!(executed_key(0x0102, &operation_id), key);
        let parsed = Some((0x0102, operation_id, Outcome::NotSupported));
        assert_eq!(parse_executed(&key, &[3]), parsed);
        for (key, value) in [(&key[..], &[][..]), (&key, &[0]), (&key, &[6]), (&key[..40], &[1])] {
            assert_eq!(parse_executed(key, value), None);
        }
    }
}
