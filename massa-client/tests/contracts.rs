//! `sc` and the registry's commands, against a server whose contract answers as the compiled one did
//! (`tests/data/contract-state-vectors.json`).

mod common;
#[path = "common/node.rs"]
mod node;

use common::{assert_says, run, Finished, TestDir, UPSTREAM};
use massa_api_exports::execution::{ReadOnlyCall, ReadOnlyResult};
use massa_distributed_storage_worker::smart_contract::args::ArgsReader;
use massa_distributed_storage_worker::smart_contract::storage_registry as registry;
use massa_distributed_storage_worker::smart_contract::views;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_models::operation::OperationType;
use massa_signature::Signature;
use node::{Outcome, TestNode, KEY};
use serde_json::{json, Value};
use std::sync::LazyLock;

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/contract-state-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

/// What the compiled contract answered while round 2 was over.
fn compiled(call: &ReadOnlyCall) -> ReadOnlyResult {
    let views = VECTORS["moments"][1]["views"].as_array().unwrap();
    let parameter = hex::encode(&call.parameter);
    let asked = |view: &&Value| view["function"] == call.target_function && view["parameter"] == *parameter;
    match views.iter().find(asked) {
        Some(view) => ReadOnlyResult::Ok(hex::decode(view["result"].as_str().unwrap()).unwrap()),
        None if call.target_function.starts_with("get") => ReadOnlyResult::Ok(Vec::new()),
        None => ReadOnlyResult::Ok(b"done".to_vec()),
    }
}

fn ann() -> &'static str {
    VECTORS["addresses"]["ann"].as_str().unwrap()
}

fn registry_address() -> Address {
    VECTORS["registry"].as_str().unwrap().parse().unwrap()
}

/// A node that follows the registry, and a wallet with one key.
struct Setting {
    node: TestNode,
    wallet: String,
    operator: String,
    _directory: TestDir,
}

impl Setting {
    fn new() -> Self {
        let node = TestNode::start();
        {
            let mut world = node.world.lock().unwrap();
            world.contract = Some(Box::new(compiled));
            world.registry = Some(registry_address());
        }
        let directory = TestDir::new();
        let wallet = directory.path("keys").to_str().unwrap().to_string();
        let operator = run(&["wallet", "generate", "--wallet", &wallet]).text();
        Self {
            node,
            wallet,
            operator: operator.trim().to_string(),
            _directory: directory,
        }
    }

    /// From now on another contract answers.
    fn contract(&self, contract: impl Fn(&ReadOnlyCall) -> ReadOnlyResult + Send + 'static) {
        self.node.world.lock().unwrap().contract = Some(Box::new(contract));
    }

    fn cli(&self, words: &[&str]) -> Finished {
        self.node.cli(&[words, &["--wallet", &self.wallet]].concat())
    }

    /// The one call that was sent.
    fn sent_call(&self) -> SentCall {
        let mut sent = self.node.sent();
        assert_eq!(sent.len(), 1);
        let operation = sent.remove(0);
        operation.verify_signature().unwrap();
        let OperationType::CallSC {
            target_addr,
            target_func,
            param,
            max_gas,
            coins,
        } = operation.content.op
        else {
            panic!("not a call");
        };
        assert_eq!(target_addr, registry_address());
        SentCall {
            function: target_func,
            parameter: param,
            max_gas,
            coins,
            fee: operation.content.fee,
        }
    }
}

struct SentCall {
    function: String,
    parameter: Vec<u8>,
    max_gas: u64,
    coins: Amount,
    fee: Amount,
}

fn mas(text: &str) -> Amount {
    text.parse().unwrap()
}

#[test]
fn a_view_by_its_name_tells_the_fields_of_the_plan() {
    let setting = Setting::new();
    let text = setting
        .cli(&["sc", "call", "storage_registry", "get_node_info", ann()])
        .text();
    assert_says(&text, &[ann(), "allocated", "GB", "MAS", "placement key", "passed"]);
    let json = setting
        .cli(&["sc", "call", "storage_registry", "get_node_info", ann(), "--json"])
        .json();
    let told = VECTORS["moments"][1]["nodes"].as_array().unwrap();
    let told = told.iter().find(|node| node["address"] == ann()).unwrap();
    assert_eq!(json["allocated_gb"].to_string(), told["allocatedGb"].as_str().unwrap());
    let stake: Amount = json["stake"].as_str().unwrap().parse().unwrap();
    assert_eq!(stake.to_raw().to_string(), told["stake"].as_str().unwrap());
}

#[test]
fn every_view_that_the_compiled_contract_answered_can_be_asked() {
    let setting = Setting::new();
    let beacon = VECTORS["submission"]["beacon"].as_str().unwrap();
    let ann = ann();
    let total = VECTORS["moments"][1]["nodes"].as_array().unwrap().len().to_string();
    let challenge = "ab".repeat(32);
    let proof = VECTORS["block_proof"].as_str().unwrap();
    let asked: [(&[&str], &[&str]); 12] = [
        (
            &["get_config"],
            &["0.001 MAS for each GB and period", "100 periods", "segments, "],
        ),
        (&["get_next_config"], &["from round"]),
        (&["get_total_nodes"], &[&total]),
        (&["get_nodes", "0", "100"], &[ann]),
        (&["calculate_pending_rewards", ann], &["MAS"]),
        (
            &["get_period_stats", "307"],
            &["round of period", "300", "draws passed"],
        ),
        (&["get_round_result", ann, "3"], &["leaves, root", "draws"]),
        (&["get_draws", ann, "3", beacon], &["challenge id"]),
        (&["get_segment_root", "0"], &["root", "in round"]),
        (&["get_challenge", &challenge], &["outcome", "modulo the leaves"]),
        (&["check_block", "3", "0", "none", proof], &["missed", "in round 1"]),
        (&["get_state"], &["stakes", "pool", "next segment"]),
    ];
    for (words, says) in asked {
        let words = [&["sc", "call", "storage_registry"][..], words].concat();
        let finished = setting.cli(&words);
        assert!(finished.0.status.success(), "{words:?}: {:?}", finished.0);
        assert_says(&finished.text(), says);
        assert!(setting.cli(&[&words[..], &["--json"]].concat()).json().is_object());
    }
}

#[test]
fn what_the_registry_does_not_have_is_one_clear_line() {
    let setting = Setting::new();
    let stranger = Address::from_public_key(&KEY.get_public_key()).to_string();
    let error = setting
        .cli(&["sc", "call", "storage_registry", "get_node_info", &stranger])
        .failure();
    assert_eq!(error, format!("the registry has no node {stranger}"));
}

#[test]
fn without_a_registry_one_has_to_be_named() {
    let setting = Setting::new();
    setting.node.world.lock().unwrap().registry = None;
    let view = ["sc", "call", "storage_registry", "get_config"];
    assert_says(&setting.cli(&view).failure(), &["follows no registry", "--registry"]);
    let address = registry_address().to_string();
    setting
        .cli(&[&view[..], &["--registry", &address]].concat())
        .expect_success();
    let calls = &setting.node.world.lock().unwrap().calls;
    assert_eq!(calls[0].target_address, registry_address());
    assert_eq!(calls[0].caller_address, None);
}

#[test]
fn a_node_that_answers_another_number_of_calls_is_refused() {
    let setting = Setting::new();
    setting
        .node
        .lie(|answer| if answer.is_array() { json!([]) } else { answer });
    let error = setting.cli(&["sc", "call", "storage_registry", "get_config"]).failure();
    assert_says(&error, &["answer was refused", "executions: expected 1, found 0"]);
}

#[test]
fn what_the_contract_refuses_is_its_own_text_and_nothing_is_sent() {
    let setting = Setting::new();
    setting.contract(|call| match call.target_function.as_str() {
        "claimRewards" => ReadOnlyResult::Error(
            "VM Error in CallSC context: error: no matured rewards at assembly/internals/nodes.ts:230 col: 3".into(),
        ),
        _ => compiled(call),
    });
    let error = setting.cli(&["storage", "claim-rewards", &setting.operator]).failure();
    assert_eq!(error, "the contract refuses: no matured rewards");
    let error = setting
        .cli(&["storage", "claim-rewards", &setting.operator, "--json"])
        .json_error(1);
    assert_eq!(error, "the contract refuses: no matured rewards");
    assert!(setting.node.sent().is_empty());
}

#[test]
fn any_contract_is_called_with_typed_arguments_and_nothing_is_sent_unless_told() {
    let setting = Setting::new();
    let address = registry_address().to_string();
    let text = setting
        .cli(&["sc", "call", &address, "do_it", "u8:1", "string:ab"])
        .text();
    assert_says(&text, &["do_it", "646f6e65 (\"done\")", "3000000", "tried"]);
    let json = setting
        .cli(&["sc", "call", &address, "do_it", "--param-hex", "0x0203", "--json"])
        .json();
    assert_eq!(
        (&json["returned"], &json["gas"]),
        (&json!("646f6e65"), &json!(3_000_000))
    );
    let world = setting.node.world.lock().unwrap();
    let parameters: Vec<String> = world.calls.iter().map(|call| hex::encode(&call.parameter)).collect();
    assert_eq!(parameters, ["01020000006162", "0203"]);
    assert!(world.sent.is_empty());
}

#[test]
fn a_call_is_sent_with_coins_and_waited_for_and_tells_what_the_contract_said() {
    let setting = Setting::new();
    setting.node.world.lock().unwrap().events = vec!["ROUND_CLOSED:2".to_string()];
    let from = setting.operator.as_str();
    let words = ["sc", "call", "storage_registry", "distribute_rewards", "u64:200"];
    let sending = ["--send", "--from", from, "--coins", "3", "--fee", "0.02"];
    let text = setting.cli(&[&words[..], &sending].concat()).text();
    assert_says(
        &text,
        &["final", "called distributeRewards", "3 MAS", "0.02", "ROUND_CLOSED:2"],
    );
    let call = setting.sent_call();
    assert_eq!(call.function, "distributeRewards");
    assert_eq!(call.parameter, registry::distribute_rewards(200).parameter);
    assert_eq!((call.coins, call.fee), (mas("3"), mas("0.02")));
    // A fifth above what the trial took, and a little to tell it from others.
    assert!((11_000_000..11_100_000).contains(&call.max_gas), "{}", call.max_gas);
}

#[test]
fn an_operation_that_failed_tells_why_and_one_that_is_not_final_in_time_how_far_it_is() {
    let setting = Setting::new();
    let fund = ["storage", "fund", setting.operator.as_str(), "--amount", "5"];
    {
        let mut world = setting.node.world.lock().unwrap();
        world.outcome = Outcome::Failed;
        let text = json!({"massa_execution_error": "error: the registry is paused at assembly/a.ts:1 col: 2"});
        world.events = vec![text.to_string()];
    }
    let error = setting.cli(&fund).failure();
    let id = setting.node.sent()[0].id.to_string();
    assert_eq!(error, format!("operation {id} failed: the registry is paused"));

    setting.node.world.lock().unwrap().outcome = Outcome::Included;
    let error = setting.cli(&[&fund[..], &["--wait", "0"]].concat()).failure();
    assert_says(&error, &["not final within 0 s", "a block includes it"]);
}

#[test]
fn the_same_operation_twice_is_refused_instead_of_told_as_done() {
    let setting = Setting::new();
    let fund = [
        "storage",
        "fund",
        setting.operator.as_str(),
        "--amount",
        "5",
        "--max-gas",
        "3000000",
    ];
    setting.cli(&fund).expect_success();
    assert_says(&setting.cli(&fund).failure(), &["was sent before", "--fee"]);
    let other = [&fund[..], &["--fee", "0.02"]].concat();
    setting.cli(&other).expect_success();
    assert_eq!(setting.node.sent().len(), 2);
}

#[test]
fn registering_pays_stake_and_storage_and_names_the_node() {
    let setting = Setting::new();
    let json = setting
        .cli(&["storage", "register", &setting.operator, "--gb", "200", "--json"])
        .json();
    let call = setting.sent_call();
    assert_eq!(call.function, "registerStorageNode");
    let mut args = ArgsReader::new(&call.parameter);
    assert_eq!(args.u64("allocatedGb").unwrap(), 200);
    assert_eq!((args.u64("stake").unwrap(), args.u64("retention").unwrap()), (0, 0));
    let node_id = args.text(64, "nodeId").unwrap();
    assert_eq!(node_id, NodeId::new(KEY.get_public_key()).to_string());
    assert_eq!(args.text(256, "listeners").unwrap(), "127.0.0.1:31244");
    let signature: Signature = args.text(128, "signature").unwrap().parse().unwrap();
    let operator: Address = setting.operator.parse().unwrap();
    let message = registry::node_id_message(UPSTREAM.chain_id, &registry_address(), &operator);
    let hash = Hash::compute_from(message.as_bytes());
    KEY.get_public_key().verify_signature(&hash, &signature).unwrap();

    let config = registry_config();
    let stake = config.required_stake(200);
    assert!(
        call.coins > stake && call.coins < stake.saturating_add(mas("0.2")),
        "{}",
        call.coins
    );
    assert_eq!(json["coins"], call.coins.to_string());
    assert_says(
        json["did"].as_str().unwrap(),
        &["registered 200 GB", &format!("stake {stake} MAS"), "came back"],
    );
}

fn registry_config() -> registry::StorageConfig {
    let call = ReadOnlyCall {
        max_gas: 1,
        target_address: registry_address(),
        target_function: "getConfig".into(),
        parameter: Vec::new(),
        caller_address: None,
        coins: None,
        fee: None,
    };
    let ReadOnlyResult::Ok(bytes) = compiled(&call) else {
        panic!()
    };
    views::decode_config(&bytes).unwrap()
}

#[test]
fn a_registration_with_all_its_options_says_what_was_asked_for() {
    let setting = Setting::new();
    let words = ["storage", "register", &setting.operator, "--gb", "2", "--stake", "1234"];
    let options = ["--retention-periods", "500", "--without-identity"];
    setting.cli(&[&words[..], &options].concat()).expect_success();
    let call = setting.sent_call();
    let registration = registry::Registration {
        allocated_gb: 2,
        stake: Some(mas("1234")),
        retention_periods: 500,
        identity: None,
    };
    assert_eq!(call.parameter, registry::register_storage_node(&registration).parameter);
    assert!(call.coins > mas("1234") && call.coins < mas("1234.2"));
}

#[test]
fn the_other_calls_of_an_operator_carry_what_they_need() {
    let operator_of = |setting: &Setting| setting.operator.clone();
    let setting = Setting::new();
    setting
        .cli(&["storage", "fund", &operator_of(&setting), "--amount", "7.5"])
        .expect_success();
    let call = setting.sent_call();
    assert_eq!((call.function.as_str(), call.coins), ("fund", mas("7.5")));

    let setting = Setting::new();
    let words = [
        "storage",
        "update",
        &operator_of(&setting),
        "--gb",
        "3",
        "--add-stake",
        "4",
    ];
    setting.cli(&words).expect_success();
    let call = setting.sent_call();
    assert_eq!(
        call.parameter,
        registry::update_storage_allocation(3, mas("4")).parameter
    );
    assert!(call.coins > mas("4") && call.coins < mas("4.1"));

    let setting = Setting::new();
    setting.node.world.lock().unwrap().events = vec!["STORAGE_NODE_LEAVING:AU1,9".to_string()];
    let text = setting.cli(&["storage", "unregister", &operator_of(&setting)]).text();
    assert_says(&text, &["weighs nothing from round 9 on"]);
    let call = setting.sent_call();
    assert_eq!(
        (call.function.as_str(), call.coins),
        ("unregisterStorageNode", Amount::zero())
    );
}

#[test]
fn an_update_adds_the_stake_that_the_allocation_needs() {
    let setting = Setting::new();
    let own: Address = setting.operator.parse().unwrap();
    // The record of ann, for whoever asks.
    setting.contract(move |call| {
        let mut call = call.clone();
        if call.target_function == "getNodeInfo"
            && call.parameter == registry::get_node_info(&own.to_string()).parameter
        {
            call.parameter = registry::get_node_info(ann()).parameter;
        }
        compiled(&call)
    });
    setting
        .cli(&["storage", "update", &setting.operator, "--gb", "900"])
        .expect_success();
    let call = setting.sent_call();
    let mut args = ArgsReader::new(&call.parameter);
    args.u64("gb").unwrap();
    let nodes = VECTORS["moments"][1]["nodes"].as_array().unwrap();
    let had = nodes.iter().find(|node| node["address"] == ann()).unwrap()["stake"]
        .as_str()
        .unwrap();
    let had: u64 = had.parse().unwrap();
    let needed = registry_config().required_stake(900).to_raw();
    assert_eq!(args.u64("added").unwrap(), needed - had);
}

#[test]
fn deploying_sends_the_registry_with_the_networks_parameters_and_ends_with_its_address() {
    let setting = Setting::new();
    let address = registry_address().to_string();
    setting.node.world.lock().unwrap().events = vec![
        format!("STORAGE_REGISTRY_CREATED:{}", setting.operator),
        format!("Contract deployed at address: {address}"),
        "bGFzdA==".to_string(),
    ];
    let words = [
        "sc",
        "deploy",
        &setting.operator,
        "--min-stake",
        "7",
        "--replication-factor",
        "5",
        "--coins",
        "2",
    ];
    let text = setting.cli(&words).text();
    assert_eq!(text.trim_end().lines().last(), Some(address.as_str()));
    let operation = setting.node.sent().remove(0);
    let OperationType::ExecuteSC {
        max_gas,
        max_coins,
        datastore,
        ..
    } = operation.content.op
    else {
        panic!("not ExecuteSC");
    };
    assert!((11_000_000..11_100_000).contains(&max_gas), "{max_gas}");
    let first = 1u64.to_le_bytes().to_vec();
    let contract = include_bytes!("../../massa-storage-sc/build/storage-registry.wasm");
    assert_eq!(datastore[&first], contract);
    let parameter = &datastore[&[&first[..], &[1, 0, 0, 0, 0]].concat()];
    let operator: Address = setting.operator.parse().unwrap();
    let config = registry::StorageConfig {
        reward_per_gb_per_period: mas("0.00002"),
        min_allocated_gb: 1,
        max_allocated_gb: 16_384,
        challenge_response_timeout_ms: 600_000,
        slash_percentage: 10,
        min_stake: mas("7"),
        stake_per_gb: mas("1"),
        replication_factor: 5,
        chunk_size_bytes: 1 << 20,
        challenge_frequency_periods: 100,
        // The first of the open round: period 224 is final, of segment 2 and round 0.
        first_segment: 0,
        round_segments: 4,
    };
    assert_eq!(parameter, &registry::constructor_parameter(&operator, &config));
    let bytecode = contract.len() as u64 * 100_000 + 1_000_000;
    assert_eq!(max_coins.to_raw(), bytecode + mas("2").to_raw());
    let tried = setting.node.world.lock().unwrap().executions.remove(0);
    assert_eq!(tried.address, Some(operator));
}

#[test]
fn another_contract_is_deployed_from_a_file_with_its_own_parameter() {
    let setting = Setting::new();
    let address = registry_address().to_string();
    setting.node.world.lock().unwrap().events = vec![format!("Contract deployed at address: {address}")];
    let directory = TestDir::new();
    let file = directory.file("other.wasm", b"\0asm");
    let words = [
        "sc",
        "deploy",
        &setting.operator,
        "--wasm",
        file.to_str().unwrap(),
        "--param-hex",
        "07",
        "--json",
    ];
    let json = setting.cli(&words).json();
    assert_eq!((&json["address"], &json["config"]), (&json!(address), &Value::Null));
    let OperationType::ExecuteSC { datastore, .. } = setting.node.sent().remove(0).content.op else {
        panic!("not ExecuteSC");
    };
    let values: Vec<&Vec<u8>> = datastore.values().collect();
    assert_eq!(values[1..3], [&b"\0asm".to_vec(), &vec![7]]);
    let missing = ["sc", "deploy", &setting.operator, "--wasm", "/nowhere.wasm"];
    assert_says(&setting.cli(&missing).failure(), &["could not read /nowhere.wasm"]);
}

#[test]
fn a_deployment_that_does_not_tell_an_address_is_no_success() {
    let setting = Setting::new();
    let error = setting.cli(&["sc", "deploy", &setting.operator]).failure();
    assert_says(&error, &["the address of the contract"]);
}

#[test]
fn wrong_arguments_of_contract_commands_have_their_own_status() {
    let address = registry_address().to_string();
    let user = Address::from_public_key(&KEY.get_public_key()).to_string();
    let cases: [(&[&str], &str); 8] = [
        (&["sc", "call", "registry", "get_config"], "neither storage_registry"),
        (&["sc", "call", &user, "f"], "not of a contract"),
        (&["sc", "call", &address, "f", "--send"], "--from"),
        (&["sc", "call", &address, "f", "--coins", "1"], "--from"),
        (
            &["sc", "call", &address, "f", "u8:1", "--param-hex", "00"],
            "cannot be used with",
        ),
        (&["sc", "call", &address, "f", "--param-hex", "0"], "not hexadecimal"),
        (&["sc", "deploy", &user, "--param-hex", "00"], "--wasm"),
        (&["storage", "register", &user], "--gb"),
    ];
    for (arguments, says) in cases {
        assert_says(&run(arguments).error(2), &[says]);
    }
}

#[test]
fn arguments_that_a_function_does_not_have_are_named_before_anything_is_asked() {
    let setting = Setting::new();
    let call = |words: &[&str]| {
        setting
            .cli(&[&["sc", "call", "storage_registry"][..], words].concat())
            .failure()
    };
    assert_says(&call(&["get_node_info"]), &["get_node_info takes NODE, found 0"]);
    assert_says(&call(&["get_node_info", "me"]), &["NODE", "neither an address"]);
    assert_says(&call(&["get_segment_root", "last"]), &["SEGMENT", "last"]);
    assert_says(&call(&["fund", "5"]), &["ARGUMENTS", "u64:5"]);
    let error = setting
        .cli(&["storage", "fund", &setting.operator, "--amount", "0"])
        .failure();
    assert_eq!(error, "--amount: must be more than 0");
    let gas = [
        "storage",
        "fund",
        &setting.operator,
        "--amount",
        "1",
        "--max-gas",
        "5000000000",
    ];
    assert_says(&setting.cli(&gas).failure(), &["--max-gas", "more than 4294167295"]);
    assert!(setting.node.sent().is_empty());
}
