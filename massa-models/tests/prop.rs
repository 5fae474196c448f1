//! Properties of every encoding: what is written is read back, truncated input is an error, no input panics.

mod common;

use common::*;
use massa_hash::Hash;
use massa_models::address::{
    Address, AddressDeserializer, AddressSerializer, SCAddress, SCAddressV0, UserAddress, UserAddressV0,
};
use massa_models::amount::{Amount, AmountDeserializer, AmountSerializer};
use massa_models::block::{Block, BlockSerializer};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer};
use massa_models::block_id::{BlockId, BlockIdDeserializer, BlockIdSerializer};
use massa_models::config::*;
use massa_models::datastore::{get_prefix_bounds, Datastore, DatastoreDeserializer, DatastoreSerializer};
use massa_models::denunciation::{Denunciation, DenunciationDeserializer, DenunciationSerializer};
use massa_models::endorsement::{
    Endorsement, EndorsementDeserializer, EndorsementDeserializerLW, EndorsementId, EndorsementSerializer,
    EndorsementSerializerLW, SecureShareEndorsement,
};
use massa_models::node::NodeId;
use massa_models::operation::{
    Operation, OperationId, OperationIdDeserializer, OperationIdSerializer, OperationIdsDeserializer,
    OperationIdsSerializer, OperationPrefixId, OperationPrefixIdDeserializer, OperationPrefixIdsDeserializer,
    OperationPrefixIdsSerializer, OperationSerializer, OperationType, OperationTypeDeserializer,
    OperationTypeSerializer, OperationsDeserializer, OperationsSerializer,
};
use massa_models::prehash::PreHashSet;
use massa_models::secure_share::{Id, SecureShareContent, SecureShareDeserializer, SecureShareSerializer};
use massa_models::serialization::{
    PreHashSetDeserializer, PreHashSetSerializer, StringDeserializer, StringSerializer, VecDeserializer, VecSerializer,
    VecU8Deserializer, VecU8Serializer,
};
use massa_models::slot::{Slot, SlotDeserializer, SlotSerializer};
use massa_models::timeslots::{
    get_block_slot_timestamp, get_closest_slot_to_timestamp, get_latest_block_slot_at_timestamp,
    time_range_to_slot_range,
};
use massa_models::version::{Version, VersionDeserializer, VersionSerializer};
use massa_serialization::{
    DeserializeError, Deserializer, Serializer, U16VarIntDeserializer, U16VarIntSerializer, U32VarIntDeserializer,
    U32VarIntSerializer,
};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use proptest::array::uniform32;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::fmt::Debug;
use std::ops::Bound::{Excluded, Unbounded};

/// Threads of the generated headers.
const THREADS: u8 = 4;

/// Writes `value` before `suffix`, reads it back, and tries every truncation.
fn check<T: PartialEq + Debug>(
    serializer: &impl Serializer<T>,
    deserializer: &impl Deserializer<T>,
    value: &T,
    suffix: &[u8],
) -> Result<(), TestCaseError> {
    let mut bytes = to_bytes(serializer, value);
    for length in 0..bytes.len() {
        prop_assert!(is_refused(deserializer, &bytes[..length]), "{} of {:?}", length, bytes);
    }
    bytes.extend_from_slice(suffix);
    let (rest, parsed) = deserializer
        .deserialize::<DeserializeError>(&bytes)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&parsed, value);
    prop_assert_eq!(rest, suffix);
    Ok(())
}

fn suffix() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..4)
}

fn hash() -> impl Strategy<Value = Hash> {
    uniform32(any::<u8>()).prop_map(|bytes| Hash::from_bytes(&bytes))
}

fn id<ID: Id + Debug>() -> impl Strategy<Value = ID> {
    hash().prop_map(ID::new)
}

fn key_pair() -> impl Strategy<Value = KeyPair> {
    uniform32(any::<u8>()).prop_map(|seed| KeyPair::from_bytes(&[[0].as_slice(), &seed].concat()).unwrap())
}

fn address() -> impl Strategy<Value = Address> {
    (any::<bool>(), hash()).prop_map(|(is_user, hash)| {
        if is_user {
            Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
        } else {
            Address::SC(SCAddress::SCAddressV0(SCAddressV0(hash)))
        }
    })
}

/// Shifted, so that small and large values, and thereby all lengths of varints, occur alike.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(number, shift)| number >> shift)
}

fn amount() -> impl Strategy<Value = Amount> {
    number().prop_map(Amount::from_raw)
}

fn slot(threads: u8) -> impl Strategy<Value = Slot> {
    (number(), 0..threads).prop_map(|(period, thread)| Slot::new(period, thread))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn datastore() -> impl Strategy<Value = Datastore> {
    btree_map(bytes(), bytes(), 0..4)
}

fn operation_type() -> impl Strategy<Value = OperationType> {
    prop_oneof![
        (address(), amount()).prop_map(|(recipient_address, amount)| {
            OperationType::Transaction {
                recipient_address,
                amount,
            }
        }),
        number().prop_map(|roll_count| OperationType::RollBuy { roll_count }),
        number().prop_map(|roll_count| OperationType::RollSell { roll_count }),
        (bytes(), number(), amount(), datastore()).prop_map(|(data, max_gas, max_coins, datastore)| {
            OperationType::ExecuteSC {
                data,
                max_gas,
                max_coins,
                datastore,
            }
        }),
        (address(), ".{0,20}", bytes(), number(), amount()).prop_map(
            |(target_addr, target_func, param, max_gas, coins)| {
                OperationType::CallSC {
                    target_addr,
                    target_func,
                    param,
                    max_gas,
                    coins,
                }
            }
        ),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    (amount(), number(), operation_type()).prop_map(|(fee, expire_period, op)| Operation { fee, expire_period, op })
}

fn endorsement() -> impl Strategy<Value = Endorsement> {
    (slot(THREADS), 0..ENDORSEMENT_COUNT, id()).prop_map(|(slot, index, endorsed_block)| Endorsement {
        slot,
        index,
        endorsed_block,
    })
}

fn sign_endorsement(content: Endorsement, key: &KeyPair) -> SecureShareEndorsement {
    content
        .new_verifiable(EndorsementSerializer::new(), key, *CHAINID)
        .unwrap()
}

/// Two endorsements, or two headers, for one place.
fn denunciation() -> impl Strategy<Value = Denunciation> {
    (endorsement(), id::<BlockId>(), key_pair(), any::<bool>()).prop_map(
        |(content, other_block, key, is_for_endorsement)| {
            if is_for_endorsement {
                let other = Endorsement {
                    endorsed_block: other_block,
                    ..content.clone()
                };
                let shares = (sign_endorsement(content, &key), sign_endorsement(other, &key));
                return Denunciation::try_from((&shares.0, &shares.1)).unwrap();
            }
            let header = |current_version| {
                genesis_like_header(content.slot, current_version)
                    .new_verifiable(BlockHeaderSerializer::new(), &key, *CHAINID)
                    .unwrap()
            };
            Denunciation::try_from((&header(0), &header(1))).unwrap()
        },
    )
}

fn genesis_like_header(slot: Slot, current_version: u32) -> BlockHeader {
    BlockHeader {
        current_version,
        announced_version: None,
        slot,
        parents: Vec::new(),
        operation_merkle_root: Hash::zero(),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
    }
}

/// A header with parents, whose endorsements are for its slot and its parent.
fn header() -> impl Strategy<Value = BlockHeader> {
    (
        (any::<u32>(), any::<Option<u32>>(), slot(THREADS)),
        vec(id::<BlockId>(), usize::from(THREADS)),
        hash(),
        vec(key_pair(), 0..3),
        vec(denunciation(), 0..2),
    )
        .prop_map(
            |((current_version, announced_version, slot), parents, root, keys, denunciations)| {
                let endorsed_block = parents[usize::from(slot.thread)];
                let endorsements = (0..)
                    .zip(&keys)
                    .map(|(index, key)| {
                        sign_endorsement(
                            Endorsement {
                                slot,
                                index,
                                endorsed_block,
                            },
                            key,
                        )
                    })
                    .collect();
                BlockHeader {
                    current_version,
                    announced_version,
                    slot,
                    parents,
                    operation_merkle_root: root,
                    endorsements,
                    denunciations,
                }
            },
        )
}

fn version() -> impl Strategy<Value = Version> {
    ("[A-Z]{4}", any::<u32>(), any::<u32>())
        .prop_map(|(instance, major, minor)| format!("{instance}.{major}.{minor}").parse().unwrap())
}

fn operation_type_deserializer() -> OperationTypeDeserializer {
    OperationTypeDeserializer::new(
        MAX_DATASTORE_VALUE_LENGTH,
        MAX_FUNCTION_NAME_LENGTH,
        MAX_PARAMETERS_SIZE,
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    )
}

fn operations_deserializer() -> OperationsDeserializer {
    OperationsDeserializer::new(
        MAX_OPERATIONS_PER_MESSAGE,
        MAX_DATASTORE_VALUE_LENGTH,
        MAX_FUNCTION_NAME_LENGTH,
        MAX_PARAMETERS_SIZE,
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
        *CHAINID,
    )
}

proptest! {
    #[test]
    fn slots_round_trip(value in slot(u8::MAX), suffix in suffix()) {
        let deserializer = SlotDeserializer::new((Unbounded, Unbounded), (Unbounded, Excluded(u8::MAX)));
        check(&SlotSerializer::new(), &deserializer, &value, &suffix)?;
        prop_assert_eq!(Slot::from_bytes_key(&value.to_bytes_key()), value);
        let text = format!("{},{}", value.period, value.thread);
        prop_assert_eq!(text.parse::<Slot>().unwrap(), value);
    }

    #[test]
    fn the_keys_of_slots_sort_as_the_slots(a in slot(THREADS), b in slot(THREADS)) {
        prop_assert_eq!(a.to_bytes_key().cmp(&b.to_bytes_key()), a.cmp(&b));
    }

    #[test]
    fn skipping_undoes_counting(slot in slot(THREADS), count in 0u64..1_000_000) {
        if let Ok(later) = slot.skip(count, THREADS) {
            prop_assert_eq!(later.slots_since(&slot, THREADS).unwrap(), count);
        }
        if let Ok(next) = slot.get_next_slot(THREADS) {
            prop_assert_eq!(next, slot.skip(1, THREADS).unwrap());
            prop_assert_eq!(next.get_prev_slot(THREADS).unwrap(), slot);
        }
    }

    #[test]
    fn a_slot_is_the_latest_from_its_beginning_until_the_next(
        period in 0u64..1_000_000,
        thread in 0..THREADS,
        slot_ms in 1u64..10_000,
        genesis_ms in 0u64..1_000_000,
    ) {
        let (t0, genesis) = (MassaTime::from_millis(slot_ms * u64::from(THREADS)), MassaTime::from_millis(genesis_ms));
        let slot = Slot::new(period, thread);
        let begin = get_block_slot_timestamp(THREADS, t0, genesis, slot).unwrap();
        let end = MassaTime::from_millis(begin.as_millis() + slot_ms - 1);
        for time in [begin, end] {
            prop_assert_eq!(get_latest_block_slot_at_timestamp(THREADS, t0, genesis, time).unwrap(), Some(slot));
        }
        prop_assert_eq!(get_closest_slot_to_timestamp(THREADS, t0, genesis, begin), slot);
        let next = slot.get_next_slot(THREADS).unwrap();
        let after = MassaTime::from_millis(begin.as_millis() + 1);
        let range = time_range_to_slot_range(THREADS, t0, genesis, Some(begin), Some(after)).unwrap();
        prop_assert_eq!(range, (Some(slot), Some(next)));
    }

    #[test]
    fn no_times_panic(threads in any::<u8>(), times in any::<[u64; 4]>(), slot in slot(u8::MAX)) {
        let [t0, genesis, start, end] = times.map(MassaTime::from_millis);
        let _ = get_block_slot_timestamp(threads, t0, genesis, slot);
        let _ = get_latest_block_slot_at_timestamp(threads, t0, genesis, start);
        let _ = get_closest_slot_to_timestamp(threads, t0, genesis, start);
        let _ = time_range_to_slot_range(threads, t0, genesis, Some(start), Some(end));
    }

    #[test]
    fn amounts_round_trip(value in amount(), suffix in suffix()) {
        check(&AmountSerializer::new(), &AmountDeserializer::new(Unbounded, Unbounded), &value, &suffix)?;
        prop_assert_eq!(value.to_string().parse::<Amount>().unwrap(), value);
        let (mantissa, scale) = value.to_mantissa_scale();
        prop_assert_eq!(Amount::from_mantissa_scale(mantissa, scale).unwrap(), value);
    }

    #[test]
    fn addresses_round_trip(value in address(), suffix in suffix()) {
        check(&AddressSerializer::new(), &AddressDeserializer::new(), &value, &suffix)?;
        prop_assert_eq!(value.to_string().parse::<Address>().unwrap(), value);
        prop_assert!(value.get_thread(THREAD_COUNT) < THREAD_COUNT);
    }

    #[test]
    fn ids_round_trip(block in id::<BlockId>(), operation in id::<OperationId>(), key in key_pair(), suffix in suffix()) {
        check(&BlockIdSerializer::new(), &BlockIdDeserializer::new(), &block, &suffix)?;
        check(&OperationIdSerializer::new(), &OperationIdDeserializer::new(), &operation, &suffix)?;
        prop_assert_eq!(block.to_string().parse::<BlockId>().unwrap(), block);
        prop_assert_eq!(operation.to_string().parse::<OperationId>().unwrap(), operation);
        let endorsement = EndorsementId::new(*block.get_hash());
        prop_assert_eq!(endorsement.to_string().parse::<EndorsementId>().unwrap(), endorsement);
        let node = NodeId::new(key.get_public_key());
        prop_assert_eq!(node.to_string().parse::<NodeId>().unwrap(), node);
    }

    #[test]
    fn lists_of_ids_round_trip(ids in vec(id::<OperationId>(), 0..4), suffix in suffix()) {
        check(&OperationIdsSerializer::new(), &OperationIdsDeserializer::new(4), &ids, &suffix)?;
        let prefixes: PreHashSet<OperationPrefixId> = ids.iter().map(OperationId::prefix).collect();
        check(&OperationPrefixIdsSerializer::new(), &OperationPrefixIdsDeserializer::new(4), &prefixes, &suffix)?;
        let set: PreHashSet<OperationId> = ids.into_iter().collect();
        let serializer = PreHashSetSerializer::new(OperationIdSerializer::new());
        let deserializer = PreHashSetDeserializer::new(OperationIdDeserializer::new(), Unbounded, Unbounded);
        check(&serializer, &deserializer, &set, &suffix)?;
    }

    #[test]
    fn lists_and_strings_round_trip(bytes in bytes(), numbers in vec(any::<u32>(), 0..4), text in ".{0,20}", suffix in suffix()) {
        check(&VecU8Serializer::new(), &VecU8Deserializer::new(Unbounded, Unbounded), &bytes, &suffix)?;
        let number_deserializer = U32VarIntDeserializer::new(Unbounded, Unbounded);
        let list_deserializer = VecDeserializer::new(number_deserializer, Unbounded, Unbounded);
        check(&VecSerializer::new(U32VarIntSerializer::new()), &list_deserializer, &numbers, &suffix)?;
        let text_deserializer = StringDeserializer::new(U16VarIntDeserializer::new(Unbounded, Unbounded));
        check(&StringSerializer::new(U16VarIntSerializer::new()), &text_deserializer, &text, &suffix)?;
    }

    #[test]
    fn versions_round_trip(value in version(), suffix in suffix()) {
        check(&VersionSerializer::new(), &VersionDeserializer::new(), &value, &suffix)?;
        prop_assert_eq!(value.to_string().parse::<Version>().unwrap(), value);
        prop_assert!(value.is_compatible(&value));
    }

    #[test]
    fn datastores_round_trip(value in datastore(), prefix in vec(any::<u8>(), 0..2), suffix in suffix()) {
        let deserializer = DatastoreDeserializer::new(4, u8::MAX, 100);
        check(&DatastoreSerializer::new(), &deserializer, &value, &suffix)?;
        let in_range: Vec<_> = value.range(get_prefix_bounds(&prefix)).collect();
        let with_prefix: Vec<_> = value.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        prop_assert_eq!(in_range, with_prefix);
    }

    #[test]
    fn operations_round_trip(value in operation(), key in key_pair(), suffix in suffix()) {
        check(&OperationTypeSerializer::new(), &operation_type_deserializer(), &value.op, &suffix)?;
        check(&OperationSerializer::new(), &operation_content_deserializer(), &value, &suffix)?;
        let json = serde_json::to_value(&value).unwrap();
        prop_assert_eq!(serde_json::from_value::<Operation>(json).unwrap(), value.clone());
        let share = sign_operation(value, &key);
        prop_assert!(share.verify_signature().is_ok());
        check(&SecureShareSerializer::new(), &operation_deserializer(*CHAINID), &share, &suffix)?;
        let shares = vec![share.clone(), share];
        check(&OperationsSerializer::new(), &operations_deserializer(), &shares, &suffix)?;
    }

    #[test]
    fn endorsements_round_trip(value in endorsement(), key in key_pair(), suffix in suffix()) {
        let deserializer = EndorsementDeserializer::new(THREADS, ENDORSEMENT_COUNT);
        check(&EndorsementSerializer::new(), &deserializer, &value, &suffix)?;
        let in_header = EndorsementDeserializerLW::new(ENDORSEMENT_COUNT, value.slot, value.endorsed_block);
        check(&EndorsementSerializerLW::new(), &in_header, &value, &suffix)?;
        let share = sign_endorsement(value, &key);
        prop_assert!(share.verify_signature().is_ok());
        let deserializer = SecureShareDeserializer::new(deserializer, *CHAINID);
        check(&SecureShareSerializer::new(), &deserializer, &share, &suffix)?;
    }

    #[test]
    fn no_text_panics(text in "(A[US]|[BOEN])?.{0,80}") {
        let _ = (text.parse::<Address>(), text.parse::<Amount>(), text.parse::<Slot>());
        let _ = (text.parse::<BlockId>(), text.parse::<OperationId>(), text.parse::<EndorsementId>());
        let _ = (text.parse::<NodeId>(), text.parse::<Version>());
    }

    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = is_refused(&operation_content_deserializer(), &bytes);
        let _ = is_refused::<Vec<_>>(&operations_deserializer(), &bytes);
        let _ = is_refused(&header_content_deserializer(THREADS, None), &bytes);
        let _ = is_refused(&block_content_deserializer(THREADS), &bytes);
        let _ = is_refused(&DenunciationDeserializer::new(THREADS, ENDORSEMENT_COUNT), &bytes);
        let _ = is_refused(&OperationPrefixIdDeserializer::new(), &bytes);
        let _ = is_refused::<Address>(&AddressDeserializer::new(), &bytes);
        let _ = is_refused(&DatastoreDeserializer::new(u64::MAX, u8::MAX, u64::MAX), &bytes);
    }
}

proptest! {
    // Each case makes and checks many signatures, and parses hundreds of truncations.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn denunciations_round_trip(value in denunciation(), suffix in suffix()) {
        prop_assert!(value.is_valid());
        let deserializer = DenunciationDeserializer::new(THREADS, ENDORSEMENT_COUNT);
        check(&DenunciationSerializer::new(), &deserializer, &value, &suffix)?;
        let json = serde_json::to_value(&value).unwrap();
        prop_assert_eq!(serde_json::from_value::<Denunciation>(json).unwrap(), value);
    }

    #[test]
    fn headers_round_trip(value in header(), suffix in suffix()) {
        let bytes = to_bytes(&BlockHeaderSerializer::new(), &value);
        let deserializer = header_content_deserializer(THREADS, None);
        for length in 0..bytes.len() {
            prop_assert!(is_refused(&deserializer, &bytes[..length]));
        }
        let input = [bytes.as_slice(), &suffix].concat();
        let (rest, parsed) = deserializer.deserialize::<DeserializeError>(&input).unwrap();
        prop_assert_eq!(rest, suffix.as_slice());
        prop_assert_eq!(to_bytes(&BlockHeaderSerializer::new(), &parsed), bytes);
        prop_assert_eq!(&parsed.endorsements, &value.endorsements);
        prop_assert!(parsed.endorsements.iter().all(|share| share.verify_signature().is_ok()));
        prop_assert_eq!(serde_json::to_value(&parsed).unwrap(), serde_json::to_value(&value).unwrap());
    }

    #[test]
    fn blocks_round_trip(
        header in header().prop_filter("blocks of period 0 have no parents", |header| header.slot.period > 0),
        operations in vec(id::<OperationId>(), 0..4),
        key in key_pair(),
        suffix in suffix(),
    ) {
        let header = header.new_verifiable(BlockHeaderSerializer::new(), &key, *CHAINID).unwrap();
        let bytes = to_bytes(&BlockSerializer::new(), &Block { header, operations });
        let deserializer = block_content_deserializer(THREADS);
        for length in 0..bytes.len() {
            prop_assert!(is_refused(&deserializer, &bytes[..length]));
        }
        let input = [bytes.as_slice(), &suffix].concat();
        let (rest, parsed) = deserializer.deserialize::<DeserializeError>(&input).unwrap();
        prop_assert_eq!(rest, suffix.as_slice());
        prop_assert_eq!(to_bytes(&BlockSerializer::new(), &parsed), bytes);
        prop_assert!(parsed.header.verify_signature().is_ok());
    }
}
