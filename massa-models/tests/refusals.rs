//! What must be refused: truncated and altered objects, each limit of each deserializer, each error of each function.

mod common;

use common::*;
use massa_hash::Hash;
use massa_models::address::{Address, AddressDeserializer};
use massa_models::amount::{Amount, AmountDeserializer};
use massa_models::block::{Block, BlockDeserializer, BlockDeserializerArgs, BlockSerializer};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer, SecuredHeader};
use massa_models::block_id::{BlockId, BlockIdDeserializer};
use massa_models::config::*;
use massa_models::datastore::DatastoreDeserializer;
use massa_models::denunciation::{Denunciation, DenunciationDeserializer, DenunciationError, DenunciationSerializer};
use massa_models::endorsement::{
    Endorsement, EndorsementDeserializer, EndorsementId, EndorsementSerializer, SecureShareEndorsement,
};
use massa_models::error::ModelsError;
use massa_models::node::NodeId;
use massa_models::operation::{
    Operation, OperationId, OperationIdsDeserializer, OperationPrefixIdsDeserializer, OperationSerializer,
    OperationType, OperationsDeserializer, SecureShareOperation,
};
use massa_models::secure_share::{Id, SecureShareContent, SecureShareDeserializer};
use massa_models::serialization::{PreHashSetDeserializer, StringDeserializer, VecDeserializer, VecU8Deserializer};
use massa_models::slot::{Slot, SlotDeserializer};
use massa_models::timeslots::get_block_slot_timestamp;
use massa_models::version::{Version, VersionDeserializer};
use massa_serialization::{DeserializeError, Deserializer, U16VarIntDeserializer, U64VarIntDeserializer};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Flipped in each byte: the lowest bit, the bit that continues a varint, all bits.
const MASKS: [u8; 3] = [0x01, 0x80, 0xff];

const THREADS: u8 = 2;

/// Calls `check` with every input that differs from `bytes` by one mask in one byte.
fn for_each_alteration(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    let mut altered = bytes.to_vec();
    for offset in 0..bytes.len() {
        for mask in MASKS {
            altered[offset] ^= mask;
            check(offset, &altered);
            altered[offset] ^= mask;
        }
    }
}

fn assert_refuses_all_truncations<T>(deserializer: &impl Deserializer<T>, bytes: &[u8]) {
    for length in 0..bytes.len() {
        assert!(
            is_refused(deserializer, &bytes[..length]),
            "{length} of {} bytes",
            bytes.len()
        );
    }
}

fn endorsement_deserializer() -> SecureShareDeserializer<Endorsement, EndorsementDeserializer> {
    let content = EndorsementDeserializer::new(THREAD_COUNT, ENDORSEMENT_COUNT);
    SecureShareDeserializer::new(content, *CHAINID)
}

fn parse_endorsement(bytes: &[u8]) -> Option<SecureShareEndorsement> {
    parse_whole(&endorsement_deserializer(), bytes)
}

#[test]
fn truncated_operations_are_refused() {
    for vector in &vectors().operations {
        let bytes = &vector.secure_share_bytes.0;
        for length in 0..bytes.len() {
            assert!(parse_operation(&bytes[..length]).is_none(), "{length} of {}", vector.id);
        }
    }
}

#[test]
fn truncated_endorsements_are_refused() {
    for vector in &vectors().endorsements {
        let bytes = &vector.secure_share_bytes.0;
        for length in 0..bytes.len() {
            assert!(
                parse_endorsement(&bytes[..length]).is_none(),
                "{length} of {}",
                vector.id
            );
        }
    }
}

#[test]
fn truncated_blocks_are_refused() {
    let deserializer = block_deserializer();
    for vector in &vectors().blocks {
        let bytes = &vector.block_bytes.0;
        for length in 0..bytes.len() {
            let parsed = Deserializer::<massa_models::block::SecureShareBlock>::deserialize::<DeserializeError>(
                &deserializer,
                &bytes[..length],
            );
            assert!(parsed.is_err(), "{length} of {}", vector.id);
        }
    }
}

/// The signature is not part of the id: when it alone is altered, the id stays and the signature does not verify.
#[test]
fn an_altered_operation_gets_another_id_or_does_not_verify() {
    for vector in &vectors().operations {
        for_each_alteration(&vector.secure_share_bytes.0, |offset, altered| {
            let Some(operation) = parse_operation(altered) else {
                return;
            };
            let same_id = operation.id.to_string() == vector.id;
            assert_eq!(same_id, offset < 65, "byte {offset} of {}", vector.id);
            assert!(operation.verify_signature().is_err(), "byte {offset} of {}", vector.id);
        });
    }
}

#[test]
fn an_altered_endorsement_gets_another_id_or_does_not_verify() {
    for vector in &vectors().endorsements {
        for_each_alteration(&vector.secure_share_bytes.0, |offset, altered| {
            let Some(endorsement) = parse_endorsement(altered) else {
                return;
            };
            let same_id = endorsement.id.to_string() == vector.id;
            assert_eq!(same_id, offset < 65, "byte {offset} of {}", vector.id);
            assert!(
                endorsement.verify_signature().is_err(),
                "byte {offset} of {}",
                vector.id
            );
        });
    }
}

/// The operation ids are not part of the block's id, only their root is: altered, the id stays and the root differs.
#[test]
fn an_altered_block_is_not_valid() {
    for vector in &vectors().blocks {
        let signed_end = vector.header_secure_share_bytes.0.len();
        for_each_alteration(&vector.block_bytes.0, |offset, altered| {
            let Some(block) = parse_block(altered) else {
                return;
            };
            let same_id = block.id.to_string() == vector.id;
            let outside_id = offset < 65 || offset >= signed_end;
            assert_eq!(same_id, outside_id, "byte {offset} of {}", vector.id);
            assert!(!is_valid_block(&block), "byte {offset} of {}", vector.id);
        });
    }
}

/// The count of operations is outside the header: written with more bytes than needed it is still read, as upstream
/// reads it, and the id is the same. Only the content written anew has one form.
#[test]
fn an_overlong_operation_count_gives_the_same_block_with_other_bytes() {
    let vector = &vectors().blocks[0];
    let (header, count) = vector.block_bytes.0.split_at(vector.header_secure_share_bytes.0.len());
    assert_eq!(count, [0]);
    let overlong = [header, &[0x80, 0x80, 0x80, 0x80, 0x10]].concat();
    let block = parse_block(&overlong).unwrap();
    assert_eq!(block.id.to_string(), vector.id);
    assert!(is_valid_block(&block));
    assert_eq!(block.serialized_data, overlong);
    assert_eq!(block_bytes(&block), vector.block_bytes.0);
}

#[test]
fn an_operation_of_another_chain_does_not_verify() {
    let bytes = &vectors().operations[0].secure_share_bytes.0;
    let other: SecureShareOperation = parse_whole(&operation_deserializer(*CHAINID + 1), bytes).unwrap();
    assert_ne!(other.id.to_string(), vectors().operations[0].id);
    assert!(matches!(
        other.verify_signature(),
        Err(ModelsError::MassaSignatureError(_))
    ));
}

// Headers.

fn key() -> KeyPair {
    docs_key()
}

fn parent(thread: u8) -> BlockId {
    BlockId::new(Hash::compute_from(&[thread]))
}

/// An endorsement of the header that [`header`] makes.
fn header_endorsement(index: u32) -> SecureShareEndorsement {
    Endorsement {
        slot: Slot::new(1, 1),
        index,
        endorsed_block: parent(1),
    }
    .new_verifiable(EndorsementSerializer::new(), &key(), *CHAINID)
    .unwrap()
}

/// The header of slot (1, 1) in a network of two threads.
fn header() -> BlockHeader {
    BlockHeader {
        current_version: 0,
        announced_version: None,
        slot: Slot::new(1, 1),
        parents: (0..THREADS).map(parent).collect(),
        operation_merkle_root: operation_root(&[]),
        endorsements: vec![header_endorsement(0), header_endorsement(15)],
        denunciations: vec![header_denunciation()],
    }
}

fn sign(header: BlockHeader) -> SecuredHeader {
    header
        .new_verifiable(BlockHeaderSerializer::new(), &key(), *CHAINID)
        .unwrap()
}

/// Two headers for one slot.
fn header_denunciation() -> Denunciation {
    let with_version = |current_version| {
        sign(BlockHeader {
            current_version,
            announced_version: None,
            slot: Slot::new(0, 1),
            parents: Vec::new(),
            operation_merkle_root: Hash::zero(),
            endorsements: Vec::new(),
            denunciations: Vec::new(),
        })
    };
    Denunciation::try_from((&with_version(0), &with_version(1))).unwrap()
}

/// Two endorsements for one place.
fn endorsement_denunciation() -> Denunciation {
    let first = header_endorsement(3);
    let second = Endorsement {
        endorsed_block: parent(0),
        ..first.content.clone()
    }
    .new_verifiable(EndorsementSerializer::new(), &key(), *CHAINID)
    .unwrap();
    Denunciation::try_from((&first, &second)).unwrap()
}

fn parse_header(header: &BlockHeader) -> Option<BlockHeader> {
    let bytes = to_bytes(&BlockHeaderSerializer::new(), header);
    parse_whole(&header_content_deserializer(THREADS, Some(0)), &bytes)
}

#[test]
fn a_header_is_read_back_with_valid_endorsements_and_denunciations() {
    let parsed = parse_header(&header()).unwrap();
    assert_eq!(parsed.endorsements, header().endorsements);
    assert_eq!(parsed.denunciations, header().denunciations);
    assert!(parsed.endorsements.iter().all(|share| share.verify_signature().is_ok()));
    assert!(parsed.denunciations.iter().all(Denunciation::is_valid));
    assert_eq!(sign(parsed).get_fitness(), 3);
}

#[test]
fn truncated_headers_are_refused() {
    let bytes = to_bytes(&BlockHeaderSerializer::new(), &header());
    assert_refuses_all_truncations(&header_content_deserializer(THREADS, Some(0)), &bytes);
}

#[test]
fn a_header_of_a_thread_that_does_not_exist_is_refused() {
    let header = BlockHeader {
        slot: Slot::new(1, THREADS),
        ..header()
    };
    assert!(parse_header(&header).is_none());
}

/// Refused for good (`Failure`), so that no alternative is tried.
#[test]
fn only_genesis_headers_lack_parents() {
    let no_parents = BlockHeader {
        parents: Vec::new(),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
        ..header()
    };
    let genesis = BlockHeader {
        slot: Slot::new(0, 1),
        ..no_parents.clone()
    };
    let genesis_with_parents = BlockHeader {
        slot: Slot::new(0, 1),
        ..header()
    };
    assert!(parse_header(&genesis).is_some());
    for refused in [no_parents, genesis_with_parents] {
        let bytes = to_bytes(&BlockHeaderSerializer::new(), &refused);
        let deserializer = header_content_deserializer(THREADS, Some(0));
        let result = deserializer.deserialize::<DeserializeError>(&bytes);
        assert!(matches!(result, Err(nom::Err::Failure(_))));
    }
}

#[test]
fn a_header_without_parents_has_no_endorsements_and_no_denunciations() {
    let genesis = BlockHeader {
        slot: Slot::new(0, 1),
        parents: Vec::new(),
        ..header()
    };
    let only_endorsements = BlockHeader {
        denunciations: Vec::new(),
        ..genesis.clone()
    };
    let only_denunciations = BlockHeader {
        endorsements: Vec::new(),
        ..genesis
    };
    assert!(parse_header(&only_endorsements).is_none());
    assert!(parse_header(&only_denunciations).is_none());
}

#[test]
fn parents_are_announced_by_zero_or_one() {
    let bytes = to_bytes(&BlockHeaderSerializer::new(), &header());
    let tag_offset = 4;
    assert_eq!(bytes[..=tag_offset], [0x00, 0x30, 0x01, 0x01, 0x01]);
    let mut altered = bytes;
    altered[tag_offset] = 2;
    assert!(is_refused(&header_content_deserializer(THREADS, Some(0)), &altered));
}

#[test]
fn two_endorsements_with_one_index_are_refused_for_good() {
    let header = BlockHeader {
        endorsements: vec![header_endorsement(7), header_endorsement(7)],
        ..header()
    };
    let bytes = to_bytes(&BlockHeaderSerializer::new(), &header);
    let deserializer = header_content_deserializer(THREADS, Some(0));
    let result = deserializer.deserialize::<DeserializeError>(&bytes);
    assert!(matches!(result, Err(nom::Err::Failure(_))));
}

#[test]
fn an_endorsement_index_is_below_the_endorsement_count() {
    let with_index = |index| BlockHeader {
        endorsements: vec![header_endorsement(index)],
        ..header()
    };
    assert!(parse_header(&with_index(ENDORSEMENT_COUNT - 1)).is_some());
    assert!(parse_header(&with_index(ENDORSEMENT_COUNT)).is_none());
}

#[test]
fn an_endorsement_for_another_slot_or_block_is_rewritten_and_does_not_verify() {
    let for_another_slot = Endorsement {
        slot: Slot::new(9, 1),
        ..header_endorsement(0).content
    };
    let for_another_block = Endorsement {
        endorsed_block: parent(0),
        ..header_endorsement(0).content
    };
    for content in [for_another_slot, for_another_block] {
        let endorsement: SecureShareEndorsement = content
            .new_verifiable(EndorsementSerializer::new(), &key(), *CHAINID)
            .unwrap();
        assert!(endorsement.verify_signature().is_ok());
        let header = BlockHeader {
            endorsements: vec![endorsement.clone()],
            ..header()
        };
        let parsed = parse_header(&header).unwrap().endorsements.remove(0);
        assert_eq!(parsed.content, header_endorsement(0).content);
        assert_eq!(parsed.id, header_endorsement(0).id);
        assert_eq!(parsed.signature, endorsement.signature);
        assert!(parsed.verify_signature().is_err());
    }
}

#[test]
fn a_header_has_no_more_denunciations_than_permitted() {
    let with_denunciations = |count: u32| {
        let denunciations = (0..count).map(|_| header_denunciation()).collect();
        BlockHeader {
            denunciations,
            ..header()
        }
    };
    assert!(parse_header(&with_denunciations(MAX_DENUNCIATIONS_PER_BLOCK_HEADER)).is_some());
    assert!(parse_header(&with_denunciations(MAX_DENUNCIATIONS_PER_BLOCK_HEADER + 1)).is_none());
}

#[test]
fn a_block_has_no_more_operations_than_permitted() {
    let operations = vec![OperationId::new(Hash::zero()); 3];
    let block = Block {
        header: sign(header()),
        operations,
    };
    let bytes = to_bytes(&BlockSerializer::new(), &block);
    let parse_with_max = |max_operations_per_block| {
        let deserializer = BlockDeserializer::new(BlockDeserializerArgs {
            thread_count: THREADS,
            max_operations_per_block,
            endorsement_count: ENDORSEMENT_COUNT,
            max_denunciations_per_block_header: MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
            last_start_period: Some(0),
            chain_id: *CHAINID,
        });
        parse_whole(&deserializer, &bytes)
    };
    assert!(parse_with_max(3).is_some());
    assert!(parse_with_max(2).is_none());
}

// Denunciations.

fn denunciation_deserializer() -> DenunciationDeserializer {
    DenunciationDeserializer::new(THREADS, ENDORSEMENT_COUNT)
}

#[test]
fn denunciations_have_the_known_layout() {
    let for_header = to_bytes(&DenunciationSerializer::new(), &header_denunciation());
    let for_endorsement = to_bytes(&DenunciationSerializer::new(), &endorsement_denunciation());
    assert_eq!(for_header.len(), 1 + 33 + 2 + 32 + 32 + 65 + 65);
    assert_eq!(for_endorsement.len(), for_header.len() + 1);
    assert_eq!((for_header[0], for_endorsement[0]), (0, 1));
    assert_eq!(for_header[1..34], key().get_public_key().to_bytes());
    assert_eq!(for_header[34..36], [0, 1]);
    assert_eq!(for_endorsement[34..37], [1, 1, 3]);
    let denunciation = endorsement_denunciation();
    assert_eq!(&for_endorsement[37..69], denunciation.get_hash_1().to_bytes());
    assert_eq!(&for_endorsement[69..101], denunciation.get_hash_2().to_bytes());
    assert_eq!(for_endorsement[101..166], denunciation.get_signature_1().to_bytes());
    assert_eq!(for_endorsement[166..], denunciation.get_signature_2().to_bytes());
}

#[test]
fn denunciations_name_whom_and_what_they_denounce() {
    let (for_header, for_endorsement) = (header_denunciation(), endorsement_denunciation());
    assert!(for_header.is_for_block_header() && !for_header.is_for_endorsement());
    assert!(for_endorsement.is_for_endorsement() && !for_endorsement.is_for_block_header());
    assert_eq!(for_header.get_public_key(), &key().get_public_key());
    assert_eq!(for_endorsement.get_public_key(), &key().get_public_key());
    assert_eq!(
        (for_header.get_slot(), for_header.get_index()),
        (&Slot::new(0, 1), None)
    );
    assert_eq!(for_endorsement.get_slot(), &Slot::new(1, 1));
    assert_eq!(for_endorsement.get_index(), Some(&3));
}

#[test]
fn an_altered_denunciation_is_not_valid() {
    for denunciation in [header_denunciation(), endorsement_denunciation()] {
        assert!(denunciation.is_valid());
        let bytes = to_bytes(&DenunciationSerializer::new(), &denunciation);
        assert_refuses_all_truncations(&denunciation_deserializer(), &bytes);
        for_each_alteration(&bytes, |offset, altered| {
            if let Some(altered) = parse_whole(&denunciation_deserializer(), altered) {
                assert!(!altered.is_valid(), "byte {offset}");
            }
        });
    }
}

/// Else anybody could be denounced for a single object.
#[test]
fn the_same_object_twice_is_no_denunciation() {
    let bytes = to_bytes(&DenunciationSerializer::new(), &header_denunciation());
    let (start, hash, signature) = (&bytes[..36], &bytes[36..68], &bytes[100..165]);
    let twice = [start, hash, hash, signature, signature].concat();
    let denunciation = parse_whole(&denunciation_deserializer(), &twice).unwrap();
    assert!(!denunciation.is_valid());
}

#[test]
fn a_denunciation_of_an_unknown_type_is_refused() {
    let mut bytes = to_bytes(&DenunciationSerializer::new(), &header_denunciation());
    bytes[0] = 2;
    assert!(is_refused(&denunciation_deserializer(), &bytes));
}

#[test]
fn objects_that_do_not_contradict_each_other_cannot_be_denounced() {
    let endorsement = header_endorsement(3);
    let other_index = header_endorsement(4);
    let header_1 = sign(header());
    let header_2 = sign(BlockHeader {
        slot: Slot::new(2, 1),
        ..header()
    });
    let is_refused = |result| matches!(result, Err(DenunciationError::InvalidInput(_)));
    assert!(is_refused(Denunciation::try_from((&endorsement, &endorsement))));
    assert!(is_refused(Denunciation::try_from((&endorsement, &other_index))));
    assert!(is_refused(Denunciation::try_from((&header_1, &header_1))));
    assert!(is_refused(Denunciation::try_from((&header_1, &header_2))));
}

// Operations and lists.

#[test]
fn an_operation_of_an_unknown_type_is_refused() {
    let fee_and_period = [0x00, 0x00];
    let unknown_type = [&fee_and_period[..], &[5, 0, 0]].concat();
    assert!(is_refused(&operation_content_deserializer(), &unknown_type));
}

/// One call with everything at its limit, and the same with each limit lowered by one.
#[test]
fn each_limit_of_an_operation_bites() {
    let call = OperationType::CallSC {
        target_addr: Address::from_public_key(&key().get_public_key()),
        target_func: "abc".to_string(),
        param: vec![0; 4],
        max_gas: 0,
        coins: Amount::zero(),
    };
    let execution = OperationType::ExecuteSC {
        data: vec![0; 2],
        max_gas: 0,
        max_coins: Amount::zero(),
        datastore: [(vec![0; 6], vec![0; 7]), (vec![1], vec![])].into(),
    };
    let accepts = |limits: (u64, u16, u32, u64, u8, u64), op: &OperationType| {
        let operation = Operation {
            fee: Amount::zero(),
            expire_period: 0,
            op: op.clone(),
        };
        let share = sign_operation(operation.clone(), &key());
        let (a, b, c, d, e, f) = limits;
        let deserializer = OperationsDeserializer::new(1, a, b, c, d, e, f, *CHAINID);
        let bytes = [vec![1], secure_share_bytes(&share)].concat();
        parse_whole(&deserializer, &bytes).is_some()
    };
    let limits = (2, 3, 4, 2, 6, 7);
    assert!(accepts(limits, &call) && accepts(limits, &execution));
    assert!(!accepts((1, 3, 4, 2, 6, 7), &execution));
    assert!(!accepts((2, 2, 4, 2, 6, 7), &call));
    assert!(!accepts((2, 3, 3, 2, 6, 7), &call));
    assert!(!accepts((2, 3, 4, 1, 6, 7), &execution));
    assert!(!accepts((2, 3, 4, 2, 5, 7), &execution));
    assert!(!accepts((2, 3, 4, 2, 6, 6), &execution));
}

#[test]
fn lists_of_operations_ids_and_prefixes_are_bounded() {
    let ids = [vec![2], [0; 66].to_vec()].concat();
    assert!(parse_whole(&OperationIdsDeserializer::new(2), &ids).is_some());
    assert!(is_refused(&OperationIdsDeserializer::new(1), &ids));
    let prefixes = [vec![2], [0; 34].to_vec()].concat();
    let parsed = parse_whole(&OperationPrefixIdsDeserializer::new(2), &prefixes).unwrap();
    assert_eq!(parsed.len(), 1);
    assert!(is_refused(&OperationPrefixIdsDeserializer::new(1), &prefixes));
}

/// A count or length beyond the input fails at the end of the input, before memory is reserved for it.
#[test]
fn a_huge_count_reserves_no_memory() {
    let huge = [0xff; 9].iter().chain(&[0x01]).copied().collect::<Vec<u8>>();
    let any_u64 = || U64VarIntDeserializer::new(Unbounded, Unbounded);
    assert_eq!(parse_whole(&any_u64(), &huge), Some(u64::MAX));
    assert!(is_refused(&VecU8Deserializer::new(Unbounded, Unbounded), &huge));
    assert!(is_refused(
        &VecDeserializer::<u64, _>::new(any_u64(), Unbounded, Unbounded),
        &huge
    ));
    assert!(is_refused(&StringDeserializer::<_, u64>::new(any_u64()), &huge));
    assert!(is_refused(
        &DatastoreDeserializer::new(u64::MAX, u8::MAX, u64::MAX),
        &huge
    ));
    let ids = PreHashSetDeserializer::new(BlockIdDeserializer::new(), Unbounded, Unbounded);
    assert!(is_refused::<massa_models::prehash::PreHashSet<BlockId>>(&ids, &huge));
}

#[test]
fn a_string_is_utf8() {
    let deserializer = StringDeserializer::<_, u16>::new(U16VarIntDeserializer::new(Unbounded, Unbounded));
    assert_eq!(parse_whole(&deserializer, b"\x02ab"), Some("ab".to_string()));
    assert!(is_refused(&deserializer, b"\x02\xc3\x28"));
}

/// Harmless for ids, which hash the bytes received.
#[test]
fn a_datastore_in_any_order_is_accepted_and_the_last_of_equal_keys_counts() {
    let deserializer = DatastoreDeserializer::new(3, 1, 1);
    let bytes = [3, 1, 9, 1, 1, 1, 2, 1, 2, 1, 9, 1, 3];
    let expected = [(vec![2], vec![2]), (vec![9], vec![3])].into();
    assert_eq!(parse_whole(&deserializer, &bytes), Some(expected));
}

// Ranges of small values.

#[test]
fn slots_amounts_and_versions_are_checked() {
    let slots = SlotDeserializer::new((Included(2), Unbounded), (Unbounded, Excluded(4)));
    assert_eq!(parse_whole(&slots, &[2, 3]), Some(Slot::new(2, 3)));
    assert!(is_refused(&slots, &[1, 3]) && is_refused(&slots, &[2, 4]) && is_refused(&slots, &[2]));

    let amounts = AmountDeserializer::new(Excluded(Amount::from_raw(1)), Included(Amount::from_raw(3)));
    assert_eq!(parse_whole(&amounts, &[3]), Some(Amount::from_raw(3)));
    assert!(is_refused(&amounts, &[1]) && is_refused(&amounts, &[4]));

    let versions = VersionDeserializer::new();
    assert_eq!(
        parse_whole(&versions, b"MAIN\x05\x00"),
        Some("MAIN.5.0".parse().unwrap())
    );
    assert!(is_refused(&versions, b"main\x05\x00") && is_refused(&versions, b"MAI"));
}

#[test]
fn other_types_and_versions_of_addresses_and_ids_are_refused() {
    let hash = [7; 32];
    let with_prefix = |prefix: &[u8]| [prefix, &hash].concat();
    let addresses = AddressDeserializer::new();
    let parse_address = |prefix| parse_whole::<Address>(&addresses, &with_prefix(prefix));
    assert!(parse_address(&[0, 0]).is_some() && parse_address(&[1, 0]).is_some());
    assert!(parse_address(&[2, 0]).is_none() && parse_address(&[0, 1]).is_none());
    assert!(parse_whole(&BlockIdDeserializer::new(), &with_prefix(&[0])).is_some());
    assert!(is_refused(&BlockIdDeserializer::new(), &with_prefix(&[1])));
}

// Errors of text and calculations: one test for each variant that this crate returns.

macro_rules! assert_error {
    ($result:expr, $variant:pat) => {{
        let error = $result.unwrap_err();
        assert!(matches!(error, $variant), "{error:?}");
    }};
}

/// A text with the right letters whose body is `bytes`.
fn text_of(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", bs58::encode(bytes).with_check().into_string())
}

/// Texts that are almost `prefix` and the base58 of a version and a hash.
fn bad_texts(prefix: &str) -> Vec<String> {
    let good = text_of(prefix, &[0; 33]);
    vec![
        String::new(),
        prefix.to_string(),
        format!("X{good}"),
        good.replace('1', "0"),
        format!("{good}1"),
        text_of(prefix, &[0; 32]),
        text_of(prefix, &[0; 34]),
        text_of(prefix, &[[1].as_slice(), &[0; 32]].concat()),
        format!("{prefix}{}", "1".repeat(100_000)),
        format!("{prefix}é"),
    ]
}

#[test]
fn bad_addresses_are_address_parse_errors() {
    for text in bad_texts("AU").into_iter().chain(bad_texts("AS")) {
        assert_error!(text.parse::<Address>(), ModelsError::AddressParseError(_));
    }
    assert!(text_of("AU", &[0; 33]).parse::<Address>().is_ok());
    assert!(text_of("AS", &[0; 33]).parse::<Address>().is_ok());
}

#[test]
fn bad_ids_are_errors_of_their_kind() {
    for text in bad_texts("B") {
        assert_error!(text.parse::<BlockId>(), ModelsError::BlockIdParseError(_));
    }
    for text in bad_texts("O") {
        assert_error!(text.parse::<OperationId>(), ModelsError::OperationIdParseError(_));
    }
    for text in bad_texts("E") {
        assert_error!(text.parse::<EndorsementId>(), ModelsError::EndorsementIdParseError(_));
    }
}

/// Bytes after the key are accepted, as in the key's own text.
#[test]
fn bad_node_ids_are_node_id_parse_errors() {
    let no_point = text_of("N", &[[0, 2].as_slice(), &[0; 31]].concat());
    let public_key = key().get_public_key();
    let without_letter = bs58::encode(public_key.to_bytes()).with_check().into_string();
    let too_long = format!("N{}", "1".repeat(100_000));
    for text in ["", "N", "N0", &no_point, &without_letter, &too_long] {
        assert_error!(text.parse::<NodeId>(), ModelsError::NodeIdParseError(_));
    }
    let longer = text_of("N", &[public_key.to_bytes(), vec![1]].concat());
    assert_eq!(longer.parse::<NodeId>().unwrap(), NodeId::new(public_key));
}

#[test]
fn bad_amounts_are_amount_parse_errors() {
    let refused = [
        "",
        "-1",
        "-0.000000001",
        "1e3",
        "0.0000000001",
        "18446744073.709551616",
        " 1",
        "1,5",
        "_1",
        "99999999999999999999999999999999999",
    ];
    for text in refused {
        assert_error!(text.parse::<Amount>(), ModelsError::AmountParseError(_));
    }
    assert_error!(Amount::from_mantissa_scale(1, 29), ModelsError::AmountParseError(_));
    assert_error!(Amount::from_mantissa_scale(1, 10), ModelsError::AmountParseError(_));
    assert_error!(
        Amount::from_mantissa_scale(u64::MAX, 8),
        ModelsError::AmountParseError(_)
    );
}

#[test]
fn bad_versions_are_invalid_version_errors() {
    for text in [
        "",
        "MAIN.5",
        "MAIN.5.0.0",
        "main.5.0",
        "MAINS.5.0",
        "MAI.5.0",
        "MAIN.x.0",
        "MAIN.5.-1",
    ] {
        assert_error!(text.parse::<Version>(), ModelsError::InvalidVersionError(_));
    }
}

#[test]
fn bad_slots_are_deserialize_errors() {
    for text in ["", "1", "1,", ",1", "1,256", "1,2,3", "-1,0", "(period: 1, thread: 2)"] {
        assert_error!(text.parse::<Slot>(), ModelsError::DeserializeError(_));
    }
}

#[test]
fn calculations_beyond_the_last_period_are_period_overflow_errors() {
    assert_error!(
        Slot::max(THREADS).get_next_slot(THREADS),
        ModelsError::PeriodOverflowError
    );
    assert_error!(Slot::min().get_prev_slot(THREADS), ModelsError::PeriodOverflowError);
    assert_error!(Slot::max(THREADS).skip(1, THREADS), ModelsError::PeriodOverflowError);
    let (earlier, later) = (Slot::new(1, 0), Slot::new(1, 1));
    assert_error!(earlier.slots_since(&later, THREADS), ModelsError::PeriodOverflowError);
    assert_error!(
        Slot::new_last_of_cycle(u64::MAX, 2, 1),
        ModelsError::PeriodOverflowError
    );
    assert_error!(Slot::new_first_of_cycle(u64::MAX, 2), ModelsError::PeriodOverflowError);
}

#[test]
fn threads_that_do_not_exist_are_thread_overflow_errors() {
    assert_error!(Slot::new(1, 0).get_prev_slot(0), ModelsError::ThreadOverflowError);
    assert_error!(Slot::new(1, 2).skip(1, 2), ModelsError::ThreadOverflowError);
    assert_error!(
        Slot::new(1, 2).slots_since(&Slot::min(), 2),
        ModelsError::ThreadOverflowError
    );
    assert_error!(Slot::new_last_of_cycle(1, 1, 0), ModelsError::ThreadOverflowError);
}

#[test]
fn times_after_the_last_are_time_overflow_errors() {
    let t0 = MassaTime::from_millis(16_000);
    let genesis = MassaTime::from_millis(1);
    let last = Slot::max(32);
    assert_error!(
        get_block_slot_timestamp(32, t0, genesis, last),
        ModelsError::TimeOverflowError
    );
    assert_error!(
        get_block_slot_timestamp(0, t0, genesis, last),
        ModelsError::TimeOverflowError
    );
}

#[test]
fn an_operation_that_cannot_be_written_is_a_serialization_error() {
    let operation = Operation {
        op: OperationType::CallSC {
            target_addr: Address::from_public_key(&key().get_public_key()),
            target_func: "f".repeat(usize::from(u16::MAX) + 1),
            param: Vec::new(),
            max_gas: 0,
            coins: Amount::zero(),
        },
        ..docs_operation()
    };
    let result: Result<SecureShareOperation, _> =
        operation.new_verifiable(OperationSerializer::new(), &key(), *CHAINID);
    assert_error!(result, ModelsError::SerializationError(_));
}

#[test]
fn a_message_becomes_an_error_raised() {
    assert_error!(Err::<(), _>(ModelsError::from("reason")), ModelsError::ErrorRaised(_));
    assert_eq!(ModelsError::from("reason").to_string(), "reason");
}
