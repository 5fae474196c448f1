//! Known answers: everything that upstream's serializers wrote is read and written alike.

mod common;

use common::*;
use massa_hash::Hash;
use massa_models::address::{Address, AddressDeserializer, AddressSerializer};
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockSerializer, FilledBlock, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderDeserializer, BlockHeaderSerializer, SecuredHeader};
use massa_models::block_id::BlockId;
use massa_models::config::*;
use massa_models::endorsement::{
    Endorsement, EndorsementDeserializer, EndorsementDeserializerLW, EndorsementId, EndorsementSerializer,
    EndorsementSerializerLW, SecureShareEndorsement,
};
use massa_models::operation::{Operation, OperationId, OperationSerializer, SecureShareOperation};
use massa_models::secure_share::{Id, SecureShareContent, SecureShareDeserializer, SecureShareSerializer};
use massa_models::slot::Slot;
use massa_serialization::Serializer;
use massa_signature::{verify_signature_batch, KeyPair, PublicKey, Signature};
use serde_json::{json, to_value};
use std::collections::BTreeSet;

/// How many vectors of each kind there are, so that an empty file cannot pass.
#[test]
fn the_file_is_complete() {
    let vectors = vectors();
    assert_eq!((vectors.chain_id, vectors.thread_count), (*CHAINID, THREAD_COUNT));
    assert_eq!(vectors.keys.len(), 8);
    assert_eq!(vectors.operations.len(), 28);
    assert_eq!(vectors.endorsements.len(), 4);
    assert_eq!(vectors.blocks.len(), 6);
    assert_eq!(vectors.amounts.len(), 5);
    let types: BTreeSet<_> = vectors.operations.iter().map(|op| op.type_name.as_str()).collect();
    let all_types = ["CallSC", "ExecuteSC", "RollBuy", "RollSell", "Transaction"];
    assert_eq!(types, all_types.into());
}

#[test]
fn addresses_follow_from_keys() {
    for vector in &vectors().keys {
        let secret_key: KeyPair = vector.secret_key.parse().unwrap();
        assert_eq!(secret_key.to_bytes(), vector.secret_key_bytes.0);
        let public_key = secret_key.get_public_key();
        assert_eq!(public_key.to_string(), vector.public_key);
        assert_eq!(public_key.to_bytes(), vector.public_key_bytes.0);
        let address = Address::from_public_key(&public_key);
        let bytes = &vector.address_prefixed_bytes.0;
        assert_eq!(address.to_string(), vector.address);
        assert_eq!(vector.address.parse::<Address>().unwrap(), address);
        assert_eq!(&address.to_prefixed_bytes(), bytes);
        assert_eq!(&to_bytes(&AddressSerializer::new(), &address), bytes);
        assert_eq!(parse_whole(&AddressDeserializer::new(), bytes), Some(address));
        assert_eq!(address.get_thread(THREAD_COUNT), vector.address_thread_32);
    }
}

/// `display` is what upstream prints, with its zero after a single decimal.
#[test]
fn amounts_are_read_and_printed_alike() {
    for vector in &vectors().amounts {
        let amount = Amount::from_raw(vector.nano);
        assert_eq!(amount.to_string(), vector.display);
        assert_eq!(format!("{amount:?}"), vector.display);
        assert_eq!(to_value(amount).unwrap(), vector.display);
        assert_eq!(vector.text.parse::<Amount>().unwrap(), amount);
        assert_eq!(vector.display.parse::<Amount>().unwrap(), amount);
    }
}

#[test]
fn operations_are_parsed_verified_and_written_alike() {
    for vector in &vectors().operations {
        let bytes = &vector.secure_share_bytes.0;
        let operation = parse_operation(bytes).unwrap();
        assert_eq!(operation.id.to_string(), vector.id);
        assert_eq!(vector.id.parse::<OperationId>().unwrap(), operation.id);
        assert_eq!(operation.content_creator_pub_key.to_string(), vector.creator_public_key);
        assert_eq!(operation.content_creator_address.to_string(), vector.creator_address);
        assert_eq!(operation.signature.to_string(), vector.signature);
        assert_eq!(operation.serialized_data, vector.content_bytes.0);
        assert_eq!(operation.serialized_size(), bytes.len());
        assert_eq!(to_value(&operation.content).unwrap(), vector.content);
        assert!(operation.verify_signature().is_ok());
        assert_eq!(&secure_share_bytes(&operation), bytes);
    }
}

/// From JSON to bytes: with the creator's secret key where the file has it, else with the given signature.
#[test]
fn operations_are_built_alike() {
    let mut signed_anew = 0;
    for vector in &vectors().operations {
        let content: Operation = serde_json::from_value(vector.content.clone()).unwrap();
        let content_bytes = to_bytes(&OperationSerializer::new(), &content);
        assert_eq!(content_bytes, vector.content_bytes.0);
        if let Some(key) = vectors().secret_key_of(&vector.creator_public_key) {
            let operation = sign_operation(content, &key);
            assert_eq!(operation.id.to_string(), vector.id);
            assert_eq!(operation.signature.to_string(), vector.signature);
            assert_eq!(secure_share_bytes(&operation), vector.secure_share_bytes.0);
            signed_anew += 1;
            continue;
        }
        let public_key: PublicKey = vector.creator_public_key.parse().unwrap();
        let signature: Signature = vector.signature.parse().unwrap();
        let hash = content.compute_hash(&content_bytes, &public_key, *CHAINID);
        let mut bytes = Vec::new();
        Operation::serialize(&signature, &public_key, &content_bytes, &mut bytes).unwrap();
        assert_eq!(OperationId::new(hash).to_string(), vector.id);
        assert_eq!(bytes, vector.secure_share_bytes.0);
    }
    assert_eq!(signed_anew, 6);
}

#[test]
fn endorsements_are_parsed_verified_and_written_alike() {
    let deserializer = SecureShareDeserializer::<Endorsement, _>::new(
        EndorsementDeserializer::new(THREAD_COUNT, ENDORSEMENT_COUNT),
        *CHAINID,
    );
    for vector in &vectors().endorsements {
        let endorsement: SecureShareEndorsement = parse_whole(&deserializer, &vector.secure_share_bytes.0).unwrap();
        assert_eq!(endorsement.id.to_string(), vector.id);
        assert_eq!(vector.id.parse::<EndorsementId>().unwrap(), endorsement.id);
        assert_eq!(endorsement.serialized_data, vector.content_bytes.0);
        assert_eq!(to_value(&endorsement.content).unwrap(), vector.content);
        assert!(endorsement.verify_signature().is_ok());
        assert_eq!(secure_share_bytes(&endorsement), vector.secure_share_bytes.0);
    }
}

#[test]
fn endorsements_are_built_alike() {
    let mut signed_anew = 0;
    for vector in &vectors().endorsements {
        let content: Endorsement = serde_json::from_value(vector.content.clone()).unwrap();
        let bytes = &vector.secure_share_bytes.0;
        let content_bytes = to_bytes(&EndorsementSerializer::new(), &content);
        assert_eq!(content_bytes, vector.content_bytes.0);
        let public_key = PublicKey::from_bytes(&bytes[65..]).unwrap();
        let Some(key) = vectors().secret_key_of(&public_key.to_string()) else {
            let hash = content.compute_hash(&content_bytes, &public_key, *CHAINID);
            assert_eq!(EndorsementId::new(hash).to_string(), vector.id);
            continue;
        };
        let endorsement: SecureShareEndorsement = content
            .new_verifiable(EndorsementSerializer::new(), &key, *CHAINID)
            .unwrap();
        assert_eq!(endorsement.id.to_string(), vector.id);
        assert_eq!(&secure_share_bytes(&endorsement), bytes);
        signed_anew += 1;
    }
    assert_eq!(signed_anew, 4);
}

#[test]
fn endorsements_are_shortened_in_headers_alike() {
    for vector in &vectors().endorsements {
        let content: Endorsement = serde_json::from_value(vector.content.clone()).unwrap();
        let bytes = to_bytes(&EndorsementSerializerLW::new(), &content);
        assert_eq!(bytes, vector.content_bytes_in_header.0);
        let deserializer = EndorsementDeserializerLW::new(ENDORSEMENT_COUNT, content.slot, content.endorsed_block);
        assert_eq!(parse_whole(&deserializer, &bytes), Some(content));
    }
}

#[test]
fn blocks_are_parsed_verified_and_written_alike() {
    for vector in &vectors().blocks {
        let bytes = &vector.block_bytes.0;
        let block = parse_block(bytes).unwrap();
        let header = &block.content.header;
        assert_eq!(block.id.to_string(), vector.id);
        assert_eq!(vector.id.parse::<BlockId>().unwrap(), block.id);
        assert_eq!(header.id, block.id);
        assert_eq!(to_value(header.content.slot).unwrap(), vector.slot);
        assert_eq!(to_value(&header.content.parents).unwrap(), json!(vector.parents));
        assert_eq!(
            to_value(&block.content.operations).unwrap(),
            json!(vector.operation_ids)
        );
        let root = &header.content.operation_merkle_root;
        assert_eq!(root.to_string(), vector.operation_merkle_root);
        assert!(is_valid_block(&block));

        assert_eq!(header.serialized_data, vector.header_content_bytes.0);
        assert_eq!(secure_share_bytes(header), vector.header_secure_share_bytes.0);
        assert_eq!(&block.serialized_data, bytes);
        assert_eq!(&secure_share_bytes(&block), bytes);
        assert_eq!(&block_bytes(&block), bytes);
        assert_eq!(block.bytes_count(), bytes.len() as u64);
    }
}

#[test]
fn operations_of_blocks_have_the_ids_in_the_block() {
    let mut count = 0;
    for vector in &vectors().blocks {
        let block = parse_block(&vector.block_bytes.0).unwrap();
        assert_eq!(vector.operation_ids.len(), vector.operations_secure_share_bytes.len());
        for (id, bytes) in vector.operation_ids.iter().zip(&vector.operations_secure_share_bytes) {
            let operation = parse_operation(&bytes.0).unwrap();
            assert_eq!(&operation.id.to_string(), id);
            assert!(operation.verify_signature().is_ok());
            assert!(block.contains_operation(operation));
            count += 1;
        }
    }
    assert_eq!(count, 2);
}

/// The header's content is written anew; with its creator's secret key it is also signed anew.
#[test]
fn blocks_are_built_alike() {
    for vector in &vectors().blocks {
        let Block { header, operations } = parse_block(&vector.block_bytes.0).unwrap().content;
        let content_bytes = to_bytes(&BlockHeaderSerializer::new(), &header.content);
        assert_eq!(content_bytes, vector.header_content_bytes.0);
        let creator = header.content_creator_pub_key;
        let header = match vectors().secret_key_of(&creator.to_string()) {
            Some(key) => header
                .content
                .new_verifiable(BlockHeaderSerializer::new(), &key, *CHAINID)
                .unwrap(),
            None => {
                let hash = header.content.compute_hash(&content_bytes, &creator, *CHAINID);
                SecuredHeader {
                    id: BlockId::new(hash),
                    serialized_data: content_bytes,
                    ..header
                }
            }
        };
        assert_eq!(header.id.to_string(), vector.id);
        let block: SecureShareBlock = Block { header, operations }
            .new_verifiable(BlockSerializer::new(), &docs_key(), *CHAINID)
            .unwrap();
        assert_eq!(secure_share_bytes(&block), vector.block_bytes.0);
    }
}

#[test]
fn blocks_survive_json_but_for_their_bytes() {
    for vector in &vectors().blocks {
        let block = parse_block(&vector.block_bytes.0).unwrap();
        let json = to_value(&block).unwrap();
        assert_eq!(json["id"], vector.id);
        let parsed: SecureShareBlock = serde_json::from_value(json.clone()).unwrap();
        assert!(parsed.serialized_data.is_empty());
        assert_eq!(to_value(&parsed).unwrap(), json);
        let mut header = parsed.content.header;
        header.serialized_data = to_bytes(&BlockHeaderSerializer::new(), &header.content);
        let block = Block {
            header,
            operations: parsed.content.operations,
        };
        assert_eq!(to_bytes(&BlockSerializer::new(), &block), vector.block_bytes.0);
    }
}

#[test]
fn every_block_of_four_periods_is_read_back_and_valid() {
    let records = four_periods();
    assert_eq!(records.len(), 125);
    let mut operation_count = 0;
    for record in &records {
        let block = parse_block(&record.block).unwrap();
        assert_eq!(block.content.header.content.slot, record.slot);
        assert_eq!(block_bytes(&block), record.block);
        assert_eq!(block.serialized_data, record.block);
        assert!(is_valid_block(&block), "{}", record.slot);
        let header_content = to_bytes(&BlockHeaderSerializer::new(), &block.content.header.content);
        assert_eq!(header_content, block.content.header.serialized_data);

        let operations: Vec<_> = record
            .operations
            .iter()
            .map(|bytes| parse_operation(bytes).unwrap())
            .collect();
        let ids: Vec<_> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(ids, block.content.operations);
        for (operation, bytes) in operations.iter().zip(&record.operations) {
            assert!(operation.verify_signature().is_ok());
            assert_eq!(&secure_share_bytes(operation), bytes);
            assert_eq!(
                to_bytes(&OperationSerializer::new(), &operation.content),
                operation.serialized_data
            );
        }
        operation_count += operations.len();
    }
    assert_eq!(operation_count, 370);
}

#[test]
fn endorsements_of_four_periods_are_signed_for_the_slot_before() {
    let mut count = 0;
    for record in four_periods() {
        let header = parse_block(&record.block).unwrap().content.header;
        for endorsement in &header.content.endorsements {
            assert_eq!(endorsement.content.slot, record.slot);
            assert!(endorsement.verify_signature().is_err());
            assert!(recorded_endorsement(endorsement).verify_signature().is_ok());
            count += 1;
        }
    }
    assert_eq!(count, 1854);
}

#[test]
fn a_batch_accepts_the_signatures_of_four_periods() {
    let mut batch = Vec::new();
    for record in four_periods() {
        let header = parse_block(&record.block).unwrap().content.header;
        batch.push((
            header.compute_signed_hash(),
            header.signature,
            header.content_creator_pub_key,
        ));
        for endorsement in &header.content.endorsements {
            let endorsement = recorded_endorsement(endorsement);
            batch.push((
                endorsement.compute_signed_hash(),
                endorsement.signature,
                endorsement.content_creator_pub_key,
            ));
        }
    }
    assert!(verify_signature_batch(&batch).is_ok());
    batch[7].0 = Hash::zero();
    assert!(verify_signature_batch(&batch).is_err());
}

/// The transfer of upstream's documentation: every byte.
#[test]
fn the_documented_operation_has_the_documented_bytes() {
    let expected = concat!(
        "00",
        "fec079be6005efd42a1d6a030dd3fb9956f9fcc7c8789b118d251a5872164f10",
        "4851f25720fd48f9fd24c36d5bd31647e9b705e2def86cf3b5cebad29f86260a",
        "00",
        "73ee58d3519d5403e98fef60354cde6c7da173c16c8c6c58cfc86ee521513ca6",
        "c0843d",
        "e807",
        "00",
        "0000",
        "fc50ab9b1b784ab1930e5cf3843e8ae67c59421b01551082b02590914b4c2a0a",
        "80fe98c60b",
    );
    let operation: SecureShareOperation = docs_operation()
        .new_verifiable(OperationSerializer::new(), &docs_key(), DOCS_CHAIN_ID)
        .unwrap();
    assert_eq!(hex::encode(secure_share_bytes(&operation)), expected);
    assert_eq!(operation.serialized_data.len(), 45);
    let id = "O12CRpeqSW1NenBZ7pN79ZZz454xkbeQBGspyu4gKVXcYndm8gxw";
    assert_eq!(operation.id.to_string(), id);
    assert_eq!(
        hex::encode(operation.id.get_hash().to_bytes()),
        "9da5094b40c54fa5ccd2d8a1bc192892fccfaf3d36acf3de01139dfbf8664593"
    );
    assert_eq!(
        hex::encode(operation_root(&[operation.id]).to_bytes()),
        "badc2bce58c6787682215b952cfbb02aa499e948ebd3c3bf943c07b5aa9f99bb"
    );
}

#[test]
fn the_address_of_the_documented_key_is_in_thread_28() {
    let address = Address::from_public_key(&docs_key().get_public_key());
    assert_eq!(
        address.to_string(),
        "AU12m1gXHUGxBZsDF4veeWfYaRmpztBCieHhPBaqf3fcRF2LdAuZ7"
    );
    assert_eq!(address.get_thread(32), 28);
    assert_eq!(address.get_thread(1), 0);
}

#[test]
fn the_root_of_no_operations_is_the_hash_of_nothing() {
    assert_eq!(operation_root(&[]), Hash::compute_from(b""));
    assert_eq!(operation_root(&[]).to_string(), vectors().merkle_root_of_no_operations);
}

#[test]
fn a_known_endorsement_has_the_known_bytes() {
    let endorsement = docs_endorsement();
    assert_eq!(
        hex::encode(&endorsement.serialized_data),
        "0a010300e189c495baa32481a48a834be40c251330a660188fa2b3516da073d9bfcfea05"
    );
    assert_eq!(
        endorsement.id.to_string(),
        "E1xP4ASogWoLRPUDZZrr4e23CxLTpCPwGQZfxAeNQFMupoe9w1J"
    );
    assert_eq!(
        hex::encode(endorsement.compute_signed_hash().to_bytes()),
        "5d524c7f4aab1a0e558bfab3de3c8babf9887c62def2d9b5daa32e7f6818e869"
    );
    assert_eq!(
        hex::encode(endorsement.signature.to_bytes()),
        concat!(
            "00c8d6cd2290f7244db464a35798ea9fd5b7c639b082ae2a7ef2310db05a4ef30a",
            "40f29743aafe38418d108e7eb64eec24cf17ab80a94e3aad16d753150d246504"
        )
    );
    assert!(endorsement.verify_signature().is_ok());
    assert_eq!(secure_share_bytes(&endorsement).len(), 134);
    let mut in_header = Vec::new();
    SecureShareSerializer::new()
        .serialize_with(&EndorsementSerializerLW::new(), &endorsement, &mut in_header)
        .unwrap();
    assert_eq!(in_header.len(), 99);
}

/// The genesis block of `thread` on every chain that starts at period 0.
fn genesis_block(thread: u8) -> SecureShareBlock {
    let header = BlockHeader {
        current_version: 0,
        announced_version: None,
        slot: Slot::new(0, thread),
        parents: Vec::new(),
        operation_merkle_root: Hash::compute_from(b""),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
    }
    .new_verifiable(BlockHeaderSerializer::new(), &GENESIS_KEY, *CHAINID)
    .unwrap();
    Block {
        header,
        operations: Vec::new(),
    }
    .new_verifiable(BlockSerializer::new(), &GENESIS_KEY, *CHAINID)
    .unwrap()
}

#[test]
fn the_first_genesis_block_has_the_known_bytes() {
    let block = genesis_block(0);
    let expected = concat!(
        "00d3d1ae04a314d19a135a658d3d15c44912d69d18633a88f3acfacaacb6013fbf",
        "ba4c14fcbe6ff2c3b5430d12a47c4a90cf91be5c57634a8acd5f20bc80ed5800",
        "00f3d0dfb4e1679628ce9f5286541c9bdab8af83606701957b6ce5b011058d3e15",
        "0030000000",
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "0000",
        "00",
    );
    assert_eq!(hex::encode(secure_share_bytes(&block)), expected);
    assert_eq!(
        hex::encode(block.content.header.compute_signed_hash().to_bytes()),
        "3fc906c5b7ed68260898700b0f2499fd0571301682acf4c6d9adcff85352c393"
    );
    let parsed = parse_block(&secure_share_bytes(&block)).unwrap();
    assert_eq!(parsed.id, block.id);
    assert!(is_valid_block(&parsed));
}

#[test]
fn genesis_blocks_have_the_known_ids() {
    let ids = [
        (0, "B12LnGn6yQZtoam4jGMDs9DqTdDGoUHEbZjGhHksvp7icuvLptTu"),
        (1, "B123woE2RThbeDsNuC7fxs7aUokcpbVjWFBReA1CVf3iWPyQaJAz"),
        (31, "B1toRY59cPvuFNxD6egDjQ3wE8fHQ1zTZ5UEeeQDZWgKbT4qiqY"),
    ];
    for (thread, id) in ids {
        assert_eq!(genesis_block(thread).id.to_string(), id);
    }
}

/// Upstream's behaviour: who wants to verify a block verifies its header.
#[test]
fn a_block_itself_does_not_verify_but_its_header_does() {
    let block = genesis_block(0);
    assert!(block.verify_signature().is_err());
    assert!(block.content.header.verify_signature().is_ok());
    assert_eq!(block.serialized_size() as u64, block.bytes_count() + 98);
}

#[test]
fn the_constants_of_the_main_network_fit_together() {
    assert_eq!(VERSION.to_string(), "MAIN.5.0");
    assert_eq!(*CHAINID, 77_658_377);
    assert_eq!(DELTA_F0, 1088);
    assert_eq!(MAX_GAS_PER_BLOCK, 4_294_967_295);
    assert_eq!(BLOCK_REWARD.to_string(), "0.40001");
    assert_eq!(ROLL_PRICE.to_string(), "100");
    assert_eq!(LEDGER_COST_PER_BYTE.to_string(), "0.0001");
    assert_eq!(LEDGER_ENTRY_BASE_COST.to_string(), "0.001");
    assert_eq!(T0.as_millis() % u64::from(THREAD_COUNT), 0);
    assert_eq!(GENESIS_TIMESTAMP.as_millis(), 1_705_312_800_000);
    let public_key = GENESIS_KEY.get_public_key();
    assert_eq!(
        public_key.to_string(),
        "P12rNx7iyMpAbWx2VzGNZSE5wGDrHWUiwFVAnAuGrrKpMnfrQrH6"
    );
    assert_eq!(
        Address::from_public_key(&public_key).to_string(),
        "AU12bmDrXHNzb5Ugv1PhEoq871uK6boy51bHx9wgKc6D3TLa6zyZ"
    );
}

#[test]
fn json_of_a_signed_operation_names_its_parts() {
    let operation = sign_operation(docs_operation(), &docs_key());
    let expected = json!({
        "content": {
            "fee": "0.001",
            "expire_period": 1000,
            "op": {"Transaction": {
                "recipient_address": "AU12v83xmHg2UrLM8GLsXRMrm7LQgn3DZVT6kUeFsuFyhZKLkbQtY",
                "amount": "3.10",
            }},
        },
        "signature": operation.signature.to_string(),
        "content_creator_pub_key": operation.content_creator_pub_key.to_string(),
        "content_creator_address": operation.content_creator_address.to_string(),
        "id": operation.id.to_string(),
    });
    assert_eq!(to_value(&operation).unwrap(), expected);
}

#[test]
fn json_of_a_filled_block_pairs_ids_and_operations() {
    let operation = sign_operation(docs_operation(), &docs_key());
    let unknown = OperationId::new(Hash::zero());
    let block = FilledBlock {
        header: genesis_block(0).content.header,
        operations: vec![(operation.id, Some(operation.clone())), (unknown, None)],
    };
    let json = to_value(&block).unwrap();
    assert_eq!(json["operations"], json!([[operation.id, operation], [unknown, null]]));
    let parsed: FilledBlock = serde_json::from_value(json).unwrap();
    assert_eq!(parsed.operations.len(), 2);
}

/// With no period to start from, nothing ties parents to periods.
#[test]
fn without_a_start_period_every_block_may_lack_parents() {
    let header = BlockHeader {
        slot: Slot::new(5, 0),
        ..genesis_block(0).content.header.content
    };
    let bytes = to_bytes(&BlockHeaderSerializer::new(), &header);
    let deserializer: BlockHeaderDeserializer = header_content_deserializer(THREAD_COUNT, None);
    assert!(parse_whole(&deserializer, &bytes).is_some());
}

#[test]
fn an_announced_version_follows_the_digit_one() {
    let header = BlockHeader {
        current_version: 1,
        announced_version: Some(300),
        ..genesis_block(0).content.header.content
    };
    let mut bytes = Vec::new();
    BlockHeaderSerializer::new().serialize(&header, &mut bytes).unwrap();
    assert_eq!(bytes[..4], [0x01, 0x31, 0xac, 0x02]);
}
