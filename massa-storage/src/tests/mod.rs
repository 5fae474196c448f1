//! Objects to store, and the rules of owning and finding them.

mod indexes;
mod ownership;
mod prop;
mod threads;

use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer};
use massa_models::block_id::BlockId;
use massa_models::endorsement::{Endorsement, EndorsementSerializer, SecureShareEndorsement};
use massa_models::operation::{Operation, OperationId, OperationSerializer, OperationType, SecureShareOperation};
use massa_models::secure_share::{Id, SecureShareContent};
use massa_models::slot::Slot;
use massa_signature::KeyPair;

const CHAIN_ID: u64 = 77;

fn alice() -> KeyPair {
    key(1)
}

fn bob() -> KeyPair {
    key(2)
}

fn key(seed: u8) -> KeyPair {
    let mut version_and_seed = [seed; 33];
    version_and_seed[0] = 0;
    KeyPair::from_bytes(&version_and_seed).unwrap()
}

fn address_of(keypair: &KeyPair) -> Address {
    Address::from_public_key(&keypair.get_public_key())
}

/// Operations with different `number`s have different ids.
fn operation(creator: &KeyPair, number: u64) -> SecureShareOperation {
    let content = Operation {
        fee: Amount::zero(),
        expire_period: number,
        op: OperationType::RollBuy { roll_count: 1 },
    };
    Operation::new_verifiable(content, OperationSerializer::new(), creator, CHAIN_ID).unwrap()
}

fn operations<const N: usize>() -> [SecureShareOperation; N] {
    std::array::from_fn(|number| operation(&alice(), number as u64))
}

fn endorsement(creator: &KeyPair, slot: Slot) -> SecureShareEndorsement {
    let content = Endorsement {
        slot,
        index: 0,
        endorsed_block: BlockId::new(Hash::compute_from(b"parent")),
    };
    Endorsement::new_verifiable(content, EndorsementSerializer::new(), creator, CHAIN_ID).unwrap()
}

fn block(
    creator: &KeyPair,
    slot: Slot,
    operations: Vec<OperationId>,
    endorsements: Vec<SecureShareEndorsement>,
) -> SecureShareBlock {
    let header = BlockHeader {
        current_version: 0,
        announced_version: None,
        slot,
        parents: (0..32)
            .map(|thread| BlockId::new(Hash::compute_from(&[thread])))
            .collect(),
        operation_merkle_root: Hash::compute_from(b"not checked by the store"),
        endorsements,
        denunciations: Vec::new(),
    };
    let header = BlockHeader::new_verifiable(header, BlockHeaderSerializer::new(), creator, CHAIN_ID);
    let content = Block {
        header: header.unwrap(),
        operations,
    };
    Block::new_verifiable(content, BlockSerializer::new(), creator, CHAIN_ID).unwrap()
}

fn empty_block(creator: &KeyPair, slot: Slot) -> SecureShareBlock {
    block(creator, slot, Vec::new(), Vec::new())
}
