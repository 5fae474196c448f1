//! Blocks, operations and addresses: from the node's memory, from the archive, and sent.

mod common;

use common::{blocks, config, first_operation, TestNode, CHAIN_ID};
use massa_api_exports::address::AddressInfo;
use massa_api_exports::block::{BlockInfo, BlockInfoContent, BlockSummary};
use massa_api_exports::distributed_storage::{ArchivedBlock, ArchivedOperationInfo, ArchivedSlot, StorageApiError};
use massa_api_exports::operation::{OperationInfo, OperationInput};
use massa_consensus_exports::ExportCompiledBlock;
use massa_execution_exports::ExecutionAddressInfo;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockGraphStatus};
use massa_models::clique::Clique;
use massa_models::operation::{Operation, OperationId, OperationSerializer, OperationType, SecureShareOperation};
use massa_models::secure_share::SecureShareContent;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde_json::{json, Value};

/// Most gas of an operation, as massa-web3 knows it.
const EXECUTE_GAS_MAX: u64 = 3_980_167_295;
const CALL_GAS_MAX: u64 = 4_294_167_295;

fn block_infos(node: &TestNode, blocks: &[&ArchivedBlock]) -> Vec<BlockInfo> {
    let ids: Vec<_> = blocks.iter().map(|block| block.id()).collect();
    node.call("get_blocks", json!([ids])).unwrap()
}

fn flags(info: &BlockInfo) -> (bool, bool, bool, bool) {
    let BlockInfoContent {
        is_final,
        is_in_blockclique,
        is_candidate,
        is_discarded,
        ..
    } = info.content.as_ref().unwrap();
    (*is_final, *is_in_blockclique, *is_candidate, *is_discarded)
}

#[test]
fn a_block_of_the_graph_is_told_with_its_state_and_the_archive_is_not_asked() {
    let mut node = TestNode::start();
    let blocks = blocks();
    let states = [
        (BlockGraphStatus::Final, (true, false, false, false)),
        (BlockGraphStatus::ActiveInBlockclique, (false, true, true, false)),
        (
            BlockGraphStatus::ActiveInAlternativeCliques,
            (false, false, true, false),
        ),
        (BlockGraphStatus::WaitingForSlot, (false, false, false, false)),
    ];
    for (block, (status, _)) in blocks.iter().zip(states) {
        node.store(block);
        node.world().statuses.insert(block.id(), status);
    }
    for (block, (_, expected)) in blocks.iter().zip(states) {
        let infos = block_infos(&node, &[block]);
        assert_eq!((infos[0].id, flags(&infos[0])), (block.id(), expected));
    }
    assert_eq!(node.world().archive_reads, 0);
}

#[test]
fn a_block_that_the_chain_forgot_comes_from_the_archive_and_is_final() {
    let mut node = TestNode::start();
    let [archived, both, discarded, unknown, ..] = &blocks()[..] else {
        panic!()
    };
    node.store(both);
    node.store(discarded);
    {
        let mut world = node.world();
        world.archive.insert(archived.id(), archived.clone());
        world.archive.insert(both.id(), both.clone());
        world.statuses.insert(both.id(), BlockGraphStatus::Discarded);
        world.statuses.insert(discarded.id(), BlockGraphStatus::Discarded);
    }

    let infos = block_infos(&node, &[archived, unknown, both, discarded, archived]);

    let ids: Vec<_> = infos.iter().map(|info| info.id).collect();
    assert_eq!(ids, [archived.id(), both.id(), discarded.id(), archived.id()]);
    assert_eq!(flags(&infos[0]), (true, false, false, false));
    assert_eq!(
        flags(&infos[1]),
        (true, false, false, false),
        "final, though the graph lets go of it"
    );
    assert_eq!(
        flags(&infos[2]),
        (false, false, false, true),
        "stale: the archive does not have it"
    );
    assert_eq!(node.world().archive_reads, 2, "each that is found, once");
    let header = &infos[0].content.as_ref().unwrap().block.header;
    assert_eq!(header.id, archived.id());
}

#[test]
fn lists_are_bounded_by_name() {
    let node = TestNode::start();
    let block = blocks().remove(0);
    let (id, operation) = (block.id().to_string(), first_operation(&block));
    let address = operation.content_creator_address.to_string();
    let entry = json!({"address": address, "key": [1]});
    for (method, field, value) in [
        ("get_blocks", "ids", json!(id)),
        ("get_operations", "ids", json!(operation.id)),
        ("get_addresses", "addresses", json!(address)),
        ("get_datastore_entries", "entries", entry),
        ("send_operations", "operations", json!(input(&operation))),
        (
            "get_addresses_bytecode",
            "addresses",
            json!({"address": address, "is_final": true}),
        ),
        (
            "execute_read_only_bytecode",
            "executions",
            json!({"max_gas": 1, "bytecode": []}),
        ),
        (
            "execute_read_only_call",
            "calls",
            json!({"max_gas": 1, "target_address": address, "target_function": "f", "parameter": []}),
        ),
    ] {
        let (code, message) = node.refusal(method, json!([vec![value; 129]]));
        assert_eq!(code, -32000, "{method}");
        assert!(
            message.contains(&format!("{field}: 129 entries are more than 128")),
            "{message}"
        );
    }
    assert_eq!(node.world().archive_reads, 0);
}

#[test]
fn a_client_that_reads_too_much_of_the_archive_is_told_when_to_come_back() {
    let mut config = config();
    config.archive_limits.burst = 128;
    config.archive_limits.reads_per_second = 1;
    let node = TestNode::start_with(config);
    let blocks = blocks();
    let ids: Vec<_> = blocks.iter().map(ArchivedBlock::id).collect();
    let archive = blocks.iter().map(|block| (block.id(), block.clone()));
    node.world().archive.extend(archive);
    for _ in 0..4 {
        node.call::<Value>("get_blocks", json!([ids])).unwrap();
    }
    for (method, params) in [
        ("get_blocks", json!([ids])),
        ("get_archived_block", json!([ids[0]])),
        ("get_archived_period", json!([3])),
    ] {
        let (code, message) = node.refusal(method, params);
        assert_eq!(code, -32051, "{method}: {message}");
        assert!(message.contains("try again in"), "{message}");
    }
    assert_eq!(node.world().archive_reads, 128);
}

#[test]
fn an_id_that_nobody_knows_does_not_use_up_what_a_client_may_read() {
    let mut config = config();
    config.archive_limits.burst = 128;
    config.archive_limits.reads_per_second = 1;
    let node = TestNode::start_with(config);
    let mut blocks = blocks();
    let known = blocks.remove(0);
    let unknown: Vec<_> = blocks.iter().map(ArchivedBlock::id).collect();
    for _ in 0..20 {
        assert_eq!(node.call::<Value>("get_blocks", json!([unknown])).unwrap(), json!([]));
        let (code, message) = node.refusal("get_archived_block", json!([unknown[0]]));
        assert_eq!(code, -32004);
        assert!(message.contains("no provider connected"), "{message}");
    }
    assert_eq!(node.world().archive_reads, 0);
    node.world().archive.insert(known.id(), known.clone());
    let found: Value = node.call("get_blocks", json!([[known.id()]])).unwrap();
    assert_eq!(found[0]["id"], json!(known.id()));
}

#[test]
fn a_failing_archive_is_an_error_and_not_an_unknown_block() {
    let node = TestNode::start();
    let block = blocks().remove(0);
    node.world().archive_error = Some(StorageApiError::Unavailable {
        what: "chunk 3 of period 5".to_string(),
        reason: "3 holders did not answer".to_string(),
    });
    for (method, params) in [
        ("get_blocks", json!([[block.id()]])),
        ("get_operations", json!([[first_operation(&block).id]])),
        ("get_archived_block", json!([block.id()])),
    ] {
        let (code, message) = node.refusal(method, params);
        assert_eq!(code, -32050, "{method}");
        assert!(message.contains("3 holders did not answer"), "{message}");
    }
}

#[test]
fn a_call_that_reads_for_too_long_ends() {
    let mut config = config();
    config.archive_deadline = MassaTime::from_millis(0);
    let node = TestNode::start_with(config);
    let block = blocks().remove(0);
    node.world().archive.insert(block.id(), block.clone());
    let (code, message) = node.refusal("get_blocks", json!([[block.id()]]));
    assert_eq!(code, -32050);
    assert!(message.contains("only 0 of 1 were read in time"), "{message}");
}

#[test]
fn the_archive_gives_bytes_by_id_and_by_slot() {
    let node = TestNode::start();
    let block = blocks().remove(7);
    node.world().archive.insert(block.id(), block.clone());
    for asked in [json!(block.id()), json!(block.slot())] {
        let ArchivedSlot::Block(info) = node.call("get_archived_block", json!([asked])).unwrap() else {
            panic!()
        };
        assert_eq!(info.block.0, block.record().block());
    }
    let id = first_operation(&block).id;
    let info: ArchivedOperationInfo = node.call("get_archived_operation", json!([id])).unwrap();
    assert_eq!((info.operation_id, info.block_id), (id, block.id()));
    let (code, message) = node.refusal("get_archived_block", json!([{"period": 1, "thread": 32}]));
    assert_eq!((code, message.contains("thread: 32 is not below 32")), (-32000, true));
    assert_eq!(node.refusal("get_archived_period", json!([9])).0, -32004);
}

#[test]
fn lists_of_the_archive_are_bounded_by_name() {
    let node = TestNode::start();
    let (code, message) = node.refusal("list_storage_chunks", json!([{"limit": 1001}]));
    assert_eq!((code, message.contains("limit: 1001")), (-32000, true), "{message}");
    let (code, message) = node.refusal("list_storage_periods", json!([{"first": 3, "limit": 0}]));
    assert_eq!((code, message.contains("limit: 0")), (-32000, true), "{message}");
    assert_eq!(
        node.call::<Value>("list_storage_chunks", json!([{}])).unwrap(),
        json!([])
    );
    let (code, message) = node.refusal("list_storage_segments", json!([{"limit": 0}]));
    assert_eq!((code, message.contains("limit: 0")), (-32000, true), "{message}");
    let (code, message) = node.refusal("get_storage_nodes", json!([{"limit": 1001}]));
    assert_eq!((code, message.contains("limit: 1001")), (-32000, true), "{message}");
    assert_eq!(
        node.call::<Value>("list_storage_segments", json!([{}])).unwrap(),
        json!([])
    );
    assert_eq!(node.call::<Value>("get_storage_nodes", json!([])).unwrap(), json!([]));
    let status: Value = node.call("get_storage_status", json!([])).unwrap();
    assert_eq!(status["enabled"], false);
}

#[test]
fn earnings_are_of_a_bounded_number_of_rounds_and_of_nodes_that_take_part() {
    let node = TestNode::start();
    for count in [0, 1001] {
        let (code, message) = node.refusal("get_storage_earnings", json!([count]));
        let named = message.contains(&format!("count: {count} is not between 1 and 1000"));
        assert_eq!((code, named), (-32000, true), "{message}");
    }
    let (_, message) = node.refusal("get_storage_earnings", json!([20]));
    assert!(message.contains("distributed_storage.enabled"), "{message}");
}

#[test]
fn an_operation_is_told_with_pool_blocks_and_execution() {
    let mut node = TestNode::start();
    let block = blocks().remove(3);
    let id = first_operation(&block).id;
    node.store(&block);
    let told = |node: &TestNode| {
        let infos: Vec<OperationInfo> = node.call("get_operations", json!([[id]])).unwrap();
        let info = infos.into_iter().next().unwrap();
        assert_eq!((info.id, info.in_blocks, info.archived), (id, vec![block.id()], false));
        (info.in_pool, info.is_operation_final, info.op_exec_status)
    };
    assert_eq!(told(&node), (false, None, None));
    node.world().pool.push(id);
    node.world().executed.insert(id, (Some(false), None));
    assert_eq!(told(&node), (true, Some(false), Some(false)));
    node.world().executed.insert(id, (Some(true), Some(true)));
    assert_eq!(told(&node), (true, Some(true), Some(true)));
    node.world().executed.insert(id, (None, Some(false)));
    assert_eq!(told(&node), (true, Some(true), Some(false)));
    assert_eq!(node.world().archive_reads, 0);
}

#[test]
fn an_operation_that_the_chain_forgot_comes_from_the_archive() {
    let node = TestNode::start();
    let block = blocks().remove(3);
    let id = first_operation(&block).id;
    node.world().archive.insert(block.id(), block.clone());
    let unknown: OperationId = first_operation(&blocks()[9]).id;

    let told: Value = node.call("get_operations", json!([[unknown, id]])).unwrap();

    let told = told.as_array().unwrap();
    assert_eq!(told.len(), 1);
    let info = &told[0];
    assert_eq!(info["in_blocks"], json!([block.id()]));
    assert_eq!((&info["in_pool"], &info["archived"]), (&json!(false), &json!(true)));
    // massa-web3 takes both or none.
    assert_eq!(
        (&info["is_operation_final"], &info["op_exec_status"]),
        (&Value::Null, &Value::Null)
    );
    node.world().executed.insert(id, (None, Some(true)));
    let told: Value = node.call("get_operations", json!([[id]])).unwrap();
    assert_eq!(
        (&told[0]["is_operation_final"], &told[0]["op_exec_status"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn a_busy_pool_is_an_error() {
    let node = TestNode::start();
    node.world().pool_busy = true;
    assert_eq!(
        node.refusal("get_operations", json!([[first_operation(&blocks()[0]).id]]))
            .0,
        -32021
    );
}

#[test]
fn the_best_block_of_a_slot_is_told_while_it_is_in_memory() {
    let mut node = TestNode::start();
    let block = blocks().remove(3);
    let slot = block.slot();
    assert_eq!(
        node.call::<Option<Value>>("get_blockclique_block_by_slot", json!([slot]))
            .unwrap(),
        None
    );
    node.store(&block);
    node.world().blockclique.insert(slot, block.id());
    let told: Option<Block> = node.call("get_blockclique_block_by_slot", json!([slot])).unwrap();
    assert_eq!(told.unwrap().header.id, block.id());
    assert_eq!(
        node.refusal("get_blockclique_block_by_slot", json!([Slot::new(1, 32)]))
            .0,
        -32000
    );
}

#[test]
fn the_graph_is_told_in_slot_order() {
    let node = TestNode::start();
    let blocks = blocks();
    {
        let graph = &mut node.world().graph;
        for block in &blocks[..3] {
            let compiled = ExportCompiledBlock {
                header: block.verified().block().content.header.clone(),
                children: Vec::new(),
                is_final: block.slot().thread == 0,
            };
            graph.active_blocks.insert(block.id(), compiled);
        }
        graph.max_cliques = vec![Clique {
            block_ids: [blocks[1].id()].into_iter().collect(),
            fitness: 1,
            is_blockclique: true,
        }];
    }
    let told: Vec<BlockSummary> = node.call("get_graph_interval", json!([{"start": null}])).unwrap();
    let states: Vec<_> = told
        .iter()
        .map(|block| (block.slot.thread, block.is_final, block.is_in_blockclique))
        .collect();
    assert_eq!(states, [(0, true, false), (1, false, true), (2, false, false)]);
    assert_eq!(told[1].parents.len(), 32);
    let cliques: Value = node.call("get_cliques", json!([])).unwrap();
    assert_eq!(
        cliques,
        json!([{"block_ids": [blocks[1].id()], "fitness": 1, "is_blockclique": true}])
    );
    let (code, message) = node.refusal("get_graph_interval", json!([{"start": 2, "end": 1}]));
    assert_eq!(
        (code, message.contains("end: 1 is before start, 2")),
        (-32000, true),
        "{message}"
    );
}

#[test]
fn an_address_is_told_with_balances_draws_and_what_it_made() {
    let mut node = TestNode::start();
    let block = blocks().remove(3);
    let producer = block.verified().block().content_creator_address;
    node.store(&block);
    let coins = |text: &str| text.parse::<Amount>().unwrap();
    let known = ExecutionAddressInfo {
        final_balance: coins("3.5"),
        candidate_balance: coins("4"),
        final_roll_count: 7,
        ..ExecutionAddressInfo::default()
    };
    node.world().addresses.insert(producer, known);
    node.world().producer = Some(producer);
    let stranger = Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key());

    let told: Vec<AddressInfo> = node.call("get_addresses", json!([[producer, stranger]])).unwrap();

    assert_eq!(
        (told[0].final_balance, told[0].candidate_balance),
        (coins("3.5"), coins("4"))
    );
    assert_eq!((told[0].final_roll_count, told[0].thread), (7, producer.get_thread(32)));
    assert_eq!(
        (told[0].created_blocks.clone(), told[0].next_block_draws.len()),
        (vec![block.id()], 321)
    );
    assert!(
        told[0].next_block_draws.windows(2).all(|pair| pair[0] < pair[1])
            && told[0].next_endorsement_draws.len() == 321
    );
    assert_eq!(
        (told[1].final_balance, told[1].next_block_draws.len()),
        (Amount::zero(), 0)
    );
}

#[test]
fn stakers_are_told_by_page_most_rolls_first() {
    let address = |_| Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key());
    let addresses: Vec<Address> = (0..4).map(address).collect();
    let mut config = config();
    config.rolls = addresses.iter().copied().zip([5, 0, 9, 7]).collect();
    let node = TestNode::start_with(config);
    let told = |params| node.call::<Vec<(Address, u64)>>("get_stakers", params).unwrap();
    let all = [(addresses[2], 9), (addresses[3], 7), (addresses[0], 5)];
    assert_eq!(told(json!([])), all);
    assert_eq!(told(json!([{"limit": 2, "offset": 0}])), all[..2]);
    assert_eq!(told(json!([{"limit": 2, "offset": 1}])), all[2..]);
    assert_eq!(told(json!([{"limit": usize::MAX, "offset": usize::MAX}])), []);
}

fn input(operation: &SecureShareOperation) -> OperationInput {
    OperationInput {
        creator_public_key: operation.content_creator_pub_key,
        signature: operation.signature,
        serialized_content: operation.serialized_data.clone(),
    }
}

fn operation(fee: &str, expire_period: u64, op: OperationType, chain_id: u64) -> SecureShareOperation {
    let fee = fee.parse().unwrap();
    let content = Operation { fee, expire_period, op };
    let keypair = KeyPair::generate(0).unwrap();
    content
        .new_verifiable(OperationSerializer::new(), &keypair, chain_id)
        .unwrap()
}

fn transaction() -> OperationType {
    OperationType::Transaction {
        recipient_address: Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key()),
        amount: "1".parse().unwrap(),
    }
}

fn execute(data: Vec<u8>, max_gas: u64) -> OperationType {
    OperationType::ExecuteSC {
        data,
        max_gas,
        max_coins: Amount::zero(),
        datastore: Default::default(),
    }
}

fn call(max_gas: u64) -> OperationType {
    OperationType::CallSC {
        target_addr: Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key()),
        target_func: "f".to_string(),
        param: Vec::new(),
        max_gas,
        coins: Amount::zero(),
    }
}

#[test]
fn an_operation_may_take_all_the_gas_that_massa_web3_asks_for() {
    let node = TestNode::start();
    let operations = [
        execute(vec![0], EXECUTE_GAS_MAX),
        execute(vec![0], 2_100_000),
        call(CALL_GAS_MAX),
        call(2_100_000),
    ];
    let inputs = operations.map(|op| input(&operation("0.01", 9, op, CHAIN_ID)));
    let ids: Vec<OperationId> = node.call("send_operations", json!([inputs])).unwrap();
    assert_eq!(ids.len(), 4);
}

#[test]
fn sent_operations_are_told_to_the_peers_and_go_into_the_pool() {
    let node = TestNode::start();
    let operations = [5, 9].map(|expire| operation("0.01", expire, transaction(), CHAIN_ID));
    let inputs: Vec<_> = operations.iter().map(input).collect();
    let ids: Vec<OperationId> = node.call("send_operations", json!([inputs])).unwrap();
    assert_eq!(ids, operations.map(|operation| operation.id));
    let world = node.world();
    for id in &ids {
        assert!(world.pool.contains(id) && world.propagated.contains(id));
    }
}

#[test]
fn an_operation_that_no_block_can_include_is_refused_by_field() {
    let node = TestNode::start();
    let good = operation("0.01", 9, transaction(), CHAIN_ID);
    let large = execute(vec![0; 300_001], 2_100_000);
    let hungry = execute(vec![0], EXECUTE_GAS_MAX + 1);
    let cases = [
        (
            operation("0.01", 4, transaction(), CHAIN_ID),
            -32000,
            "operations[1].expire_period: 4 is over, the current period is 5",
        ),
        (
            operation("0.009999999", 9, transaction(), CHAIN_ID),
            -32000,
            "operations[1].fee: 0.009999999 is less than",
        ),
        (
            operation("0.01", 9, large, CHAIN_ID),
            -32000,
            "operations[1].serialized_content: 300114 bytes do not fit a block of 300000; its module takes 300001 of them, \
             its datastore 0",
        ),
        (
            operation("0.01", 9, hungry, CHAIN_ID),
            -32000,
            "operations[1].max_gas: 3980167296 is more than 3980167295: a block has 4294967295, and 314800000 are charged \
             beside it",
        ),
        (
            operation("0.01", 9, call(CALL_GAS_MAX + 1), CHAIN_ID),
            -32000,
            "operations[1].max_gas: 4294167296 is more than 4294167295",
        ),
        (
            operation("0.01", 9, call(2_099_999), CHAIN_ID),
            -32000,
            "operations[1].max_gas: 2099999 is less than 2100000",
        ),
        (
            operation("0.01", 9, transaction(), 77),
            -32013,
            "operations[1].signature: it does not verify; this chain's id is 77658377",
        ),
    ];
    for (bad, code, says) in cases {
        let (found, message) = node.refusal("send_operations", json!([[input(&good), input(&bad)]]));
        assert!(
            found == code && message.contains(says),
            "{found} {message:?} does not say {says:?}"
        );
    }
    assert!(
        node.world().pool.is_empty() && node.world().propagated.is_empty(),
        "all or none"
    );
}

#[test]
fn bytes_that_are_no_operation_are_refused_with_upstreams_code() {
    let node = TestNode::start();
    let good = input(&operation("0.01", 9, transaction(), CHAIN_ID));
    let mut longer = good.clone();
    longer.serialized_content.push(0);
    let mut shorter = good.clone();
    shorter.serialized_content.truncate(3);
    for bad in [longer, shorter] {
        let (code, message) = node.refusal("send_operations", json!([[bad]]));
        assert_eq!(
            (code, message.contains("serialized_content: ")),
            (-32013, true),
            "{message}"
        );
    }
    let text = json!([[{"creator_public_key": "P1", "signature": "x", "serialized_content": [256]}]]);
    assert_eq!(node.refusal("send_operations", text).0, -32602);
}
