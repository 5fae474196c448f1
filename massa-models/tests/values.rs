//! Known answers of small values and calculations: slots, times, amounts, addresses, ids, versions, operations.

mod common;

use common::*;
use massa_hash::Hash;
use massa_models::address::{Address, AddressDeserializer, SCAddress, UserAddress};
use massa_models::amount::{Amount, AMOUNT_DECIMAL_FACTOR, AMOUNT_DECIMAL_SCALE};
use massa_models::block::BlockGraphStatus;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::config::ROLL_PRICE;
use massa_models::datastore::{get_prefix_bounds, Datastore};
use massa_models::endorsement::EndorsementId;
use massa_models::node::NodeId;
use massa_models::operation::{
    Operation, OperationId, OperationPrefixId, OperationPrefixIds, OperationPrefixIdsSerializer, OperationType,
    OPERATION_ID_PREFIX_SIZE_BYTES,
};
use massa_models::prehash::{CapacityAllocator, PreHashMap, PreHashSet};
use massa_models::secure_share::Id;
use massa_models::serialization::{StringSerializer, VecSerializer, VecU8Serializer};
use massa_models::slot::{Slot, SlotSerializer, SLOT_KEY_SIZE};
use massa_models::timeslots::{
    get_block_slot_timestamp, get_closest_slot_to_timestamp, get_current_latest_block_slot,
    get_latest_block_slot_at_timestamp, slot_count_in_range, time_range_to_slot_range,
};
use massa_models::version::{Version, VersionSerializer};
use massa_serialization::{U16VarIntSerializer, U32VarIntSerializer};
use massa_time::MassaTime;
use serde_json::{json, to_value};

/// Four threads that begin 250 ms after each other.
const THREADS: u8 = 4;
const T0: MassaTime = MassaTime::from_millis(1000);
const GENESIS: MassaTime = MassaTime::from_millis(10_000);

fn at(ms: u64) -> MassaTime {
    MassaTime::from_millis(ms)
}

fn slot(period: u64, thread: u8) -> Slot {
    Slot::new(period, thread)
}

// Slots.

#[test]
fn the_key_of_a_slot_is_big_endian_and_its_wire_form_is_not() {
    let key = slot(0x0102, 3).to_bytes_key();
    assert_eq!(key.len(), SLOT_KEY_SIZE);
    assert_eq!(key, [0, 0, 0, 0, 0, 0, 1, 2, 3]);
    assert_eq!(Slot::from_bytes_key(&key), slot(0x0102, 3));
    assert_eq!(to_bytes(&SlotSerializer::new(), &slot(300, 3)), [0xac, 0x02, 3]);
}

#[test]
fn a_slot_is_printed_for_people_and_read_with_a_comma() {
    assert_eq!(slot(5, 7).to_string(), "(period: 5, thread: 7)");
    assert_eq!("5,7".parse::<Slot>().unwrap(), slot(5, 7));
    assert_eq!(to_value(slot(5, 7)).unwrap(), json!({"period": 5, "thread": 7}));
}

#[test]
fn slots_are_ordered_in_time() {
    assert!(slot(1, 31) < slot(2, 0));
    assert!(slot(2, 0) < slot(2, 1));
    assert_eq!(Slot::min(), slot(0, 0));
    assert_eq!(Slot::max(THREADS), slot(u64::MAX, 3));
}

#[test]
fn the_slot_after_the_last_thread_is_in_the_next_period() {
    assert_eq!(slot(1, 2).get_next_slot(THREADS).unwrap(), slot(1, 3));
    assert_eq!(slot(1, 3).get_next_slot(THREADS).unwrap(), slot(2, 0));
    assert_eq!(slot(2, 0).get_prev_slot(THREADS).unwrap(), slot(1, 3));
    assert_eq!(slot(1, 3).get_prev_slot(THREADS).unwrap(), slot(1, 2));
    assert_eq!(slot(1, 254).get_next_slot(u8::MAX).unwrap(), slot(2, 0));
}

#[test]
fn slots_are_counted_and_skipped() {
    assert_eq!(slot(3, 1).slots_since(&slot(1, 3), THREADS).unwrap(), 6);
    assert_eq!(slot(1, 3).slots_since(&slot(1, 3), THREADS).unwrap(), 0);
    assert_eq!(slot_count_in_range(slot(1, 3), slot(3, 1), THREADS).unwrap(), 6);
    assert_eq!(slot(1, 3).skip(6, THREADS).unwrap(), slot(3, 1));
    assert_eq!(slot(1, 3).skip(0, THREADS).unwrap(), slot(1, 3));
}

#[test]
fn a_cycle_goes_from_its_first_to_its_last_slot() {
    let (first, last) = (slot(256, 0), slot(383, 3));
    assert_eq!(Slot::new_first_of_cycle(2, 128).unwrap(), first);
    assert_eq!(Slot::new_last_of_cycle(2, 128, THREADS).unwrap(), last);
    assert_eq!((first.get_cycle(128), last.get_cycle(128)), (2, 2));
    assert!(first.is_first_of_cycle(128) && !slot(256, 1).is_first_of_cycle(128));
    assert!(last.is_last_of_cycle(128, THREADS) && !slot(383, 2).is_last_of_cycle(128, THREADS));
    assert_eq!(last.get_next_slot(THREADS).unwrap().get_cycle(128), 3);
}

#[test]
fn the_first_bit_of_a_slot_is_that_of_its_hash() {
    for period in 0..16 {
        let hash = Hash::compute_from(&slot(period, 0).to_bytes_key());
        assert_eq!(slot(period, 0).get_first_bit(), hash.to_bytes()[0] >= 128);
        assert_eq!(BlockId::new(hash).get_first_bit(), hash.to_bytes()[0] >= 128);
    }
}

// Times.

#[test]
fn a_slot_begins_after_its_period_and_the_threads_before_it() {
    let begin = |slot| get_block_slot_timestamp(THREADS, T0, GENESIS, slot).unwrap();
    assert_eq!(begin(slot(0, 0)), at(10_000));
    assert_eq!(begin(slot(0, 3)), at(10_750));
    assert_eq!(begin(slot(2, 1)), at(12_250));
}

#[test]
fn the_latest_slot_is_the_one_that_has_begun() {
    let latest = |ms| get_latest_block_slot_at_timestamp(THREADS, T0, GENESIS, at(ms)).unwrap();
    assert_eq!(latest(9_999), None);
    assert_eq!(latest(10_000), Some(slot(0, 0)));
    assert_eq!(latest(10_249), Some(slot(0, 0)));
    assert_eq!(latest(10_250), Some(slot(0, 1)));
    assert_eq!(latest(12_999), Some(slot(2, 3)));
}

#[test]
fn the_current_slot_is_the_latest_one_now() {
    let long_t0 = at(4_000_000_000_000);
    let current = |genesis| get_current_latest_block_slot(THREADS, long_t0, genesis).unwrap();
    assert_eq!(current(at(0)), Some(slot(0, 1)));
    assert_eq!(current(MassaTime::max()), None);
}

#[test]
fn a_range_of_time_gives_the_slots_that_begin_in_it() {
    let range = |start: Option<u64>, end: Option<u64>| {
        time_range_to_slot_range(THREADS, T0, GENESIS, start.map(at), end.map(at)).unwrap()
    };
    assert_eq!(range(None, None), (None, None));
    assert_eq!(range(Some(10_250), Some(10_251)), (Some(slot(0, 1)), Some(slot(0, 2))));
    assert_eq!(range(Some(5_000), Some(12_000)), (Some(slot(0, 0)), Some(slot(2, 0))));
}

#[test]
fn the_closest_slot_is_the_earlier_one_of_two() {
    let closest = |ms| get_closest_slot_to_timestamp(THREADS, T0, GENESIS, at(ms));
    assert_eq!(closest(0), slot(0, 0));
    assert_eq!(closest(10_124), slot(0, 0));
    assert_eq!(closest(10_125), slot(0, 0));
    assert_eq!(closest(10_126), slot(0, 1));
    assert_eq!(closest(10_900), slot(1, 0));
    assert_eq!(get_closest_slot_to_timestamp(0, T0, GENESIS, at(10_900)), Slot::min());
}

// Amounts.

#[test]
fn every_notation_of_an_exact_number_is_an_amount() {
    let raw = |text: &str| text.parse::<Amount>().unwrap().to_raw();
    assert_eq!(raw("1"), AMOUNT_DECIMAL_FACTOR);
    assert_eq!(raw("+1.5"), 1_500_000_000);
    assert_eq!(raw("1_000"), 1_000 * AMOUNT_DECIMAL_FACTOR);
    assert_eq!(raw("5."), 5 * AMOUNT_DECIMAL_FACTOR);
    assert_eq!(raw(".5"), 500_000_000);
    assert_eq!(raw("-0"), 0);
    assert_eq!(raw("0.0000000010000000000000000000"), 1);
    assert_eq!(raw("18446744073.709551615"), u64::MAX);
}

#[test]
fn an_amount_is_printed_with_one_zero_after_a_single_decimal() {
    let text = |raw| Amount::from_raw(raw).to_string();
    assert_eq!(text(0), "0");
    assert_eq!(text(1), "0.000000001");
    assert_eq!(text(100_000_000), "0.10");
    assert_eq!(text(110_000_000), "0.11");
    assert_eq!(text(1_010_000_000), "1.01");
    assert_eq!(text(10_000_000_000), "10");
    assert_eq!(text(u64::MAX), "18446744073.709551615");
}

#[test]
fn amounts_calculate_without_wrapping() {
    let (one, two, five) = (Amount::from_raw(1), Amount::from_raw(2), Amount::from_raw(5));
    assert_eq!(two.saturating_add(Amount::MAX), Amount::MAX);
    assert_eq!(two.saturating_sub(five), Amount::MIN);
    assert_eq!(Amount::MAX.saturating_mul_u64(2), Amount::MAX);
    assert_eq!(two.checked_add(five), Some(Amount::from_raw(7)));
    assert_eq!(Amount::MAX.checked_add(one), None);
    assert_eq!(five.checked_sub(two), Some(Amount::from_raw(3)));
    assert_eq!(two.checked_sub(five), None);
    assert_eq!(five.checked_mul_u64(2), Some(Amount::from_raw(10)));
    assert_eq!(Amount::MAX.checked_mul_u64(2), None);
    assert_eq!(five.checked_div_u64(2), Some(two));
    assert_eq!(five.checked_div(two), Some(2));
    assert_eq!(five.checked_rem(&two), Some(one));
    assert_eq!(five.checked_rem_u64(2), Some(one));
    assert!(Amount::zero().is_zero() && !one.is_zero());
}

#[test]
fn nothing_is_divided_by_zero() {
    let five = Amount::from_raw(5);
    assert_eq!(five.checked_div_u64(0), None);
    assert_eq!(five.checked_div(Amount::zero()), None);
    assert_eq!(five.checked_rem(&Amount::zero()), None);
    assert_eq!(five.checked_rem_u64(0), None);
}

#[test]
fn a_mantissa_and_a_scale_make_an_amount() {
    assert_eq!(Amount::from_mantissa_scale(31, 1).unwrap().to_raw(), 3_100_000_000);
    assert_eq!(Amount::from_mantissa_scale(50, 10).unwrap().to_raw(), 5);
    assert_eq!(Amount::const_init(31, 1).to_raw(), 3_100_000_000);
    assert_eq!(Amount::from_raw(7).to_mantissa_scale(), (7, AMOUNT_DECIMAL_SCALE));
}

#[test]
#[should_panic(expected = "cannot be represented")]
fn a_constant_that_is_no_amount_panics() {
    Amount::const_init(1, 10);
}

// Addresses and ids.

#[test]
fn the_two_types_of_addresses_differ_in_their_prefix_only() {
    let hash = Hash::compute_from(b"ADDR");
    let user: Address = "AU12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx".parse().unwrap();
    let sc: Address = "AS12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx".parse().unwrap();
    assert_eq!(user.to_prefixed_bytes(), [[0, 0].as_slice(), hash.to_bytes()].concat());
    assert_eq!(sc.to_prefixed_bytes(), [[1, 0].as_slice(), hash.to_bytes()].concat());
    assert_eq!(
        user.to_string(),
        "AU12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx"
    );
    assert_eq!(sc.to_string(), "AS12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx");
    assert_eq!(serde_json::from_value::<Address>(to_value(sc).unwrap()).unwrap(), sc);
}

#[test]
fn users_come_before_smart_contracts() {
    let with_hash = |address_type: u8, byte: u8| {
        let bytes = [[address_type, 0].as_slice(), &[byte; 32]].concat();
        parse_whole::<Address>(&AddressDeserializer::new(), &bytes).unwrap()
    };
    assert!(with_hash(0, 9) < with_hash(1, 1));
    assert!(with_hash(0, 1) < with_hash(0, 9));
}

/// Smart contracts create no operations, so their thread is of no use.
#[test]
fn the_thread_is_the_first_bits_of_a_user_and_zero_of_a_smart_contract() {
    let bytes = [[0, 0].as_slice(), &[0b1011_0111; 32]].concat();
    let user: Address = parse_whole(&AddressDeserializer::new(), &bytes).unwrap();
    assert_eq!(user.get_thread(32), 0b10110);
    assert_eq!(user.get_thread(2), 1);
    assert_eq!(user.get_thread(128), 91);
    let bytes = [[1, 0].as_slice(), &[0xff; 32]].concat();
    let sc: Address = parse_whole(&AddressDeserializer::new(), &bytes).unwrap();
    assert_eq!(sc.get_thread(32), 0);
}

#[test]
fn an_address_without_type_is_read_as_the_expected_one() {
    let bytes = [[0].as_slice(), &[7; 32]].concat();
    let user: UserAddress = parse_whole(&AddressDeserializer::new(), &bytes).unwrap();
    let sc: SCAddress = parse_whole(&AddressDeserializer::new(), &bytes).unwrap();
    assert_eq!((user.get_version(), sc.get_version()), (0, 0));
    assert_eq!(Address::User(user).to_prefixed_bytes()[2..], [7; 32]);
    assert_eq!(Address::SC(sc).to_prefixed_bytes()[2..], [7; 32]);
}

#[test]
fn ids_differ_in_their_letter() {
    let hash = Hash::compute_from(b"blk");
    let body = "12iL52kye2CraMXdkdKDxjZJXF9it6E4hz8KEj656QnhvwocvBX";
    assert_eq!(BlockId::new(hash).to_string(), format!("B{body}"));
    assert_eq!(OperationId::new(hash).to_string(), format!("O{body}"));
    assert_eq!(EndorsementId::new(hash).to_string(), format!("E{body}"));
    assert_eq!(format!("{:?}", BlockId::new(hash)), format!("B{body}"));
    assert_eq!(BlockId::new(hash).get_version(), 0);
    assert_eq!(to_value(OperationId::new(hash)).unwrap(), format!("O{body}"));
}

#[test]
fn the_prefix_of_an_operation_id_is_17_bytes_of_its_hash() {
    let hash = Hash::compute_from(b"op");
    let prefix = OperationId::new(hash).prefix();
    assert_eq!(Vec::from(&prefix), hash.to_bytes()[..OPERATION_ID_PREFIX_SIZE_BYTES]);
    assert_eq!(OperationId::new(hash).into_prefix(), prefix);
    let bytes = [[0].as_slice(), &hash.to_bytes()[..17]].concat();
    assert_eq!(prefix.to_string(), bs58::encode(bytes).into_string());
    let set: OperationPrefixIds = [prefix].into_iter().collect();
    let expected = [[1].as_slice(), &hash.to_bytes()[..17]].concat();
    assert_eq!(to_bytes(&OperationPrefixIdsSerializer::new(), &set), expected);
    assert_eq!(
        serde_json::from_value::<OperationPrefixId>(to_value(prefix).unwrap()).unwrap(),
        prefix
    );
}

#[test]
fn a_node_id_is_a_public_key_with_another_letter() {
    let public_key = docs_key().get_public_key();
    let node_id = NodeId::new(public_key);
    let text = node_id.to_string();
    assert_eq!(text, public_key.to_string().replacen('P', "N", 1));
    assert_eq!(text.parse::<NodeId>().unwrap(), node_id);
    assert_eq!(node_id.get_public_key(), public_key);
    assert_eq!(format!("{node_id:?}"), text);
    assert_eq!(serde_json::from_value::<NodeId>(json!(text)).unwrap(), node_id);
}

#[test]
fn pre_hashed_maps_find_what_was_inserted() {
    let ids: Vec<_> = (0..100u8).map(|n| BlockId::new(Hash::compute_from(&[n]))).collect();
    let mut map: PreHashMap<BlockId, usize> = PreHashMap::with_capacity(ids.len());
    let mut addresses: PreHashSet<Address> = PreHashSet::with_capacity(1);
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(map.insert(*id, index), None);
    }
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(map.get(id), Some(&index));
    }
    let address = Address::from_public_key(&docs_key().get_public_key());
    assert!(addresses.insert(address) && !addresses.insert(address));
}

/// Keys that are shorter than a hash would be a mistake, but no reason to crash.
#[test]
fn the_hasher_keeps_the_last_eight_bytes() {
    use std::hash::Hasher;
    let mut hasher = massa_models::prehash::HashMapper::<Hash>::default();
    hasher.write(&[1; 32]);
    hasher.write(&[[9; 24].as_slice(), &7u64.to_ne_bytes()].concat());
    assert_eq!(hasher.finish(), 7);
    hasher.write_u8(3);
    assert_eq!(hasher.finish(), 3);
}

// Versions.

#[test]
fn a_version_is_four_letters_and_two_varints() {
    let version: Version = "MAIN.5.300".parse().unwrap();
    assert_eq!(version.to_string(), "MAIN.5.300");
    assert_eq!(to_bytes(&VersionSerializer::new(), &version), b"MAIN\x05\xac\x02");
    assert_eq!(
        serde_json::from_value::<Version>(to_value(version).unwrap()).unwrap(),
        version
    );
}

#[test]
fn versions_are_compatible_within_a_network_and_a_major_version() {
    let compatible = |a: &str, b: &str| a.parse::<Version>().unwrap().is_compatible(&b.parse().unwrap());
    assert!(compatible("MAIN.5.0", "MAIN.5.9"));
    assert!(compatible("MAIN.2.0", "MAIN.3.0") && compatible("MAIN.3.1", "MAIN.2.0"));
    assert!(!compatible("MAIN.5.0", "MAIN.6.0"));
    assert!(!compatible("MAIN.1.0", "MAIN.2.0"));
    assert!(!compatible("MAIN.5.0", "SAND.5.0"));
}

// Operations.

fn operation(op: OperationType) -> Operation {
    Operation {
        fee: Amount::from_raw(10),
        expire_period: 30,
        op,
    }
}

fn call() -> OperationType {
    OperationType::CallSC {
        target_addr: "AS12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx".parse().unwrap(),
        target_func: "claim".to_string(),
        param: vec![1],
        max_gas: 500,
        coins: Amount::from_raw(3),
    }
}

fn execution() -> OperationType {
    OperationType::ExecuteSC {
        data: vec![1, 2],
        max_gas: 600,
        max_coins: Amount::from_raw(4),
        datastore: Datastore::from([(vec![1], vec![2, 3])]),
    }
}

#[test]
fn an_operation_is_valid_until_it_expires() {
    let operation = sign_operation(operation(call()), &docs_key());
    assert_eq!(operation.get_validity_range(10), 20..=30);
    assert_eq!(operation.get_validity_range(31), 0..=30);
}

#[test]
fn gas_is_what_the_operation_asks_for_and_a_base() {
    let gas = |op| sign_operation(operation(op), &docs_key()).get_gas_usage(7, 1000);
    assert_eq!(gas(call()), 507);
    assert_eq!(gas(execution()), 1607);
    assert_eq!(gas(OperationType::RollBuy { roll_count: 1 }), 7);
    let share = sign_operation(operation(call()), &docs_key());
    assert!(share.check_gas_usage(507, 7, 0).is_ok());
    let message = share.check_gas_usage(506, 7, 0).unwrap_err();
    assert_eq!(message, "gas usage 507 is above the limit of a block, 506");
}

#[test]
fn the_most_that_an_operation_spends_includes_its_fee() {
    let spending = |op| {
        let share = sign_operation(operation(op), &docs_key());
        share.get_max_spending(ROLL_PRICE).to_raw()
    };
    assert_eq!(spending(docs_operation().op), 3_100_000_010);
    assert_eq!(spending(OperationType::RollBuy { roll_count: 2 }), 200_000_000_010);
    assert_eq!(spending(OperationType::RollSell { roll_count: 2 }), 10);
    assert_eq!(spending(execution()), 14);
    assert_eq!(spending(call()), 13);
}

#[test]
fn an_operation_involves_its_creator_and_whom_it_addresses() {
    let creator = Address::from_public_key(&docs_key().get_public_key());
    let involved = |op| {
        let share = sign_operation(operation(op), &docs_key());
        let ledger = share.get_ledger_involved_addresses();
        assert!(ledger.contains(&creator));
        (ledger.len(), share.get_roll_involved_addresses().unwrap().len())
    };
    assert_eq!(involved(docs_operation().op), (2, 0));
    assert_eq!(involved(call()), (2, 0));
    assert_eq!(involved(execution()), (1, 0));
    assert_eq!(involved(OperationType::RollBuy { roll_count: 1 }), (1, 1));
    assert_eq!(involved(OperationType::RollSell { roll_count: 1 }), (1, 1));
}

#[test]
fn the_fields_of_calls_and_executions_are_not_in_the_order_of_their_bytes() {
    let content = |op| sign_operation(operation(op), &docs_key()).serialized_data;
    let fee_and_period = [10, 30];
    let target: Address = "AS12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx".parse().unwrap();
    let gas_and_coins = [4, 0xf4, 0x03, 3];
    assert_eq!(
        content(call()),
        [
            &fee_and_period[..],
            &gas_and_coins,
            &*target.to_prefixed_bytes(),
            b"\x05claim\x01\x01"
        ]
        .concat()
    );
    let expected = [3, 0xd8, 0x04, 4, 2, 1, 2, 1, 1, 1, 2, 2, 3];
    assert_eq!(content(execution()), [&fee_and_period[..], &expected].concat());
}

#[test]
fn json_of_a_datastore_is_a_list_of_pairs() {
    let json = to_value(execution()).unwrap();
    assert_eq!(
        json,
        json!({"ExecuteSC": {
            "data": [1, 2], "max_gas": 600, "max_coins": "0.000000004", "datastore": [[[1], [2, 3]]]
        }})
    );
    assert_eq!(serde_json::from_value::<OperationType>(json).unwrap(), execution());
}

#[test]
fn contents_can_be_printed() {
    assert_eq!(
        operation(call()).to_string(),
        "call of \"claim\" of AS12fZLkHnLED3okr8Lduyty7dz9ZKkd24xMCc2JJWPcdmfn2eUEx with 500 gas, \
         fee 0.00000001, expires after period 30"
    );
    assert!(docs_operation()
        .to_string()
        .starts_with("transaction of 3.10 to AU12v83"));
    assert!(docs_endorsement()
        .content
        .to_string()
        .starts_with("endorsement 3 of B12iL52"));
    let block = parse_block(&vectors().blocks[1].block_bytes.0).unwrap();
    let text = block.content.to_string();
    assert!(text.starts_with("block B13gAD4"), "{text}");
    assert!(text.ends_with("operations: O12YN9AKVCjpPVCq2yaAFdnzfjToC9EtxYNGXxCAAwcvvoeWzy55"));
    assert_eq!(
        block.get_fitness(),
        block.content.header.content.endorsements.len() as u64 + 1
    );
}

// The rest.

#[test]
fn the_keys_with_a_prefix_are_a_range() {
    let store: Datastore = [
        vec![1],
        vec![1, 255],
        vec![2],
        vec![255],
        vec![255, 255],
        vec![255, 255, 1],
    ]
    .into_iter()
    .map(|key| (key, Vec::new()))
    .collect();
    let keys = |prefix: &[u8]| -> Vec<Vec<u8>> {
        store
            .range(get_prefix_bounds(prefix))
            .map(|(key, _)| key.clone())
            .collect()
    };
    assert_eq!(keys(&[]).len(), store.len());
    assert_eq!(keys(&[1]), [vec![1], vec![1, 255]]);
    assert_eq!(keys(&[1, 255]), [vec![1, 255]]);
    assert_eq!(keys(&[255, 255]), [vec![255, 255], vec![255, 255, 1]]);
    assert_eq!(keys(&[3]), Vec::<Vec<u8>>::new());
}

#[test]
fn lists_and_strings_begin_with_their_length() {
    assert_eq!(to_bytes(&VecU8Serializer::new(), &vec![7, 8]), [2, 7, 8]);
    let numbers = VecSerializer::new(U32VarIntSerializer::new());
    assert_eq!(to_bytes(&numbers, &vec![1, 300]), [2, 1, 0xac, 0x02]);
    let strings = StringSerializer::new(U16VarIntSerializer::new());
    assert_eq!(to_bytes(&strings, &"é".to_string()), [2, 0xc3, 0xa9]);
}

#[test]
fn a_clique_is_a_set_of_ids_in_json() {
    let id = BlockId::new(Hash::zero());
    let clique = Clique {
        block_ids: [id].into_iter().collect(),
        fitness: 17,
        is_blockclique: true,
    };
    let json = json!({"block_ids": [id], "fitness": 17, "is_blockclique": true});
    assert_eq!(to_value(&clique).unwrap(), json);
    assert_eq!(serde_json::from_value::<Clique>(json).unwrap(), clique);
    assert_eq!(to_value(BlockGraphStatus::Final).unwrap(), "Final");
}
