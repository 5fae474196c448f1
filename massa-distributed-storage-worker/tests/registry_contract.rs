//! The registry contract's calls, rows and views against bytes that the compiled contract took and wrote
//! (`tests/data/contract-state-vectors.json`).

use massa_distributed_storage_worker::smart_contract::args::DecodeError;
use massa_distributed_storage_worker::smart_contract::electorate::counts;
use massa_distributed_storage_worker::smart_contract::state::{
    challenge_key, parse_node_key, round_key, segment_key, BeaconRecord, ConfigRecord, NodeRecord, RootVotes,
    RoundRecord, CONFIG_KEY, NODE_PREFIX, STATE_KEY, TOTAL_NODES_KEY,
};
use massa_distributed_storage_worker::smart_contract::storage_registry::{self as registry, *};
use massa_distributed_storage_worker::smart_contract::views::*;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

struct Vectors(Value);

impl Vectors {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/contract-state-vectors.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn address(&self, name: &str) -> Address {
        self.0["addresses"][name].as_str().unwrap().parse().unwrap()
    }

    /// The parameter that the contract took.
    fn taken(&self, label: &str) -> (String, Vec<u8>) {
        let calls = self.0["calls"].as_array().unwrap();
        let call = calls.iter().find(|call| call["label"] == label).unwrap();
        (
            call["function"].as_str().unwrap().to_string(),
            hex_of(&call["parameter"]),
        )
    }

    fn rows(&self, moment: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let rows = self.0["moments"][moment]["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| (hex_of(&row["key"]), hex_of(&row["value"])))
            .collect()
    }

    /// What a view gave.
    fn view(&self, moment: usize, call: &Call) -> Vec<u8> {
        let parameter = hex::encode(&call.parameter);
        let views = self.0["moments"][moment]["views"].as_array().unwrap();
        let view = views
            .iter()
            .find(|view| view["function"] == call.function && view["parameter"] == *parameter)
            .unwrap_or_else(|| panic!("no view {call:?}"));
        hex_of(&view["result"])
    }

    fn info(&self, moment: usize, name: &str) -> NodeInfo {
        let call = get_node_info(&self.address(name).to_string());
        decode_node_info(&self.view(moment, &call)).unwrap().unwrap()
    }

    fn record(&self, moment: usize, name: &str) -> NodeRecord {
        let address = self.address(name);
        let key = massa_distributed_storage_worker::smart_contract::state::node_key(&address);
        NodeRecord::decode(address, &self.rows(moment)[&key]).unwrap()
    }
}

fn hex_of(text: &Value) -> Vec<u8> {
    hex::decode(text.as_str().unwrap()).unwrap()
}

fn number(text: &Value) -> u64 {
    text.as_str().unwrap().parse().unwrap()
}

const OPEN: usize = 0;
const OVER: usize = 1;

fn check_call(vectors: &Vectors, label: &str, call: &Call) {
    let (function, parameter) = vectors.taken(label);
    assert_eq!(call.function, function, "{label}");
    assert_eq!(hex::encode(&call.parameter), hex::encode(parameter), "{label}");
}

#[test]
fn calls_are_written_as_the_contract_takes_them() {
    let vectors = Vectors::load();
    let [ann, bob, cat, dora] = ["ann", "bob", "cat", "dora"].map(|name| vectors.address(name));
    let admin: Address = vectors.0["admin"].as_str().unwrap().parse().unwrap();
    let identity = &vectors.0["identity"];
    let registration = Registration {
        allocated_gb: 7,
        stake: Some(Amount::from_raw(200_000_000_000)),
        retention_periods: 400,
        identity: Some(Identity {
            node_id: identity["node_id"].as_str().unwrap().parse().unwrap(),
            listeners: vec![identity["listeners"].as_str().unwrap().parse().unwrap()],
            signature: identity["signature"].as_str().unwrap().into(),
        }),
    };
    let config = decode_config(&vectors.view(OPEN, &get_config())).unwrap();
    let changed = StorageConfig {
        replication_factor: 4,
        ..config.clone()
    };
    let chunk_id = vectors.0["chunk_id"].as_str().unwrap().parse().unwrap();
    for (label, call) in [
        ("dora registers", register_storage_node(&registration)),
        (
            "ann updates",
            update_storage_allocation(20, Amount::from_raw(5_000_000_000)),
        ),
        ("bob leaves", unregister_storage_node()),
        ("config", update_config(&changed)),
        ("challenger", add_challenger(&admin)),
        ("challenge", issue_challenge(&"ab".repeat(32), &ann, &chunk_id, 3)),
        ("round 3 closes", distribute_rewards(300)),
        ("dora gets her key", set_placement_key(&dora, 4)),
        (
            "settling",
            resolve_expired_challenges(&[bob.to_string(), cat.to_string()]),
        ),
        ("ann is paid", claim_rewards()),
        ("ann submits", submit_round(&ann, &submission(&vectors.0["submission"]))),
    ] {
        check_call(&vectors, label, &call);
    }
    let constructor = constructor_parameter(&admin, &config);
    assert_eq!(
        hex::encode(constructor),
        vectors.0["constructor_parameter"].as_str().unwrap()
    );
}

fn submission(value: &Value) -> Submission {
    let answers = value["answers"].as_array().unwrap().iter();
    let answers = answers.map(|answer| (answer["draw"].as_u64().unwrap() as u8, hex_of(&answer["answer"])));
    let root = &value["roots"][0];
    Submission {
        round: number(&value["round"]),
        beacon: Some((hex_of(&value["beacon"]).try_into().unwrap(), answers.collect())),
        roots: vec![(
            number(&root["segment"]),
            root["root"].as_str().unwrap().parse().unwrap(),
        )],
        claim: Some((
            hex_of(&value["claim"]["root"]).try_into().unwrap(),
            number(&value["claim"]["leaves"]),
        )),
    }
}

#[test]
fn the_key_of_a_node_signs_what_the_contract_checks() {
    let vectors = Vectors::load();
    let registry: Address = vectors.0["registry"].as_str().unwrap().parse().unwrap();
    let message = node_id_message(number(&vectors.0["chain_id"]), &registry, &vectors.address("dora"));
    assert_eq!(message, vectors.0["identity"]["message"].as_str().unwrap());
}

#[test]
fn the_view_of_a_node_has_what_the_script_read_from_it() {
    let vectors = Vectors::load();
    for moment in [OPEN, OVER] {
        for expected in vectors.0["moments"][moment]["nodes"].as_array().unwrap() {
            let address = expected["address"].as_str().unwrap();
            let call = get_node_info(address);
            let info = decode_node_info(&vectors.view(moment, &call)).unwrap().unwrap();
            assert_eq!(info.address.to_string(), address);
            assert_eq!(info.allocated_gb, number(&expected["allocatedGb"]));
            assert_eq!(info.registered_period, number(&expected["registeredPeriod"]));
            assert_eq!(info.total_challenges, number(&expected["totalChallenges"]));
            assert_eq!(info.passed_challenges, number(&expected["passedChallenges"]));
            assert_eq!(info.pending_rewards.to_raw(), number(&expected["pendingRewards"]));
            assert_eq!(info.last_challenged_period, number(&expected["lastChallengedPeriod"]));
            assert_eq!(info.active, expected["active"].as_bool().unwrap());
            assert_eq!(info.stake.to_raw(), number(&expected["stake"]));
            assert_eq!(info.claimable_rewards.to_raw(), number(&expected["claimable"]));
            assert_eq!(info.weight, number(&expected["weight"]));
            assert_eq!(info.weight_soon, number(&expected["weightSoon"]));
            assert_eq!(info.leave_round.unwrap_or(u64::MAX), number(&expected["leaveRound"]));
            assert_eq!(info.last_counted_round, number(&expected["lastCounted"]));
            assert_eq!(info.no_claim_before_round, number(&expected["noClaimBefore"]));
            assert_eq!(info.votes_round.unwrap_or(u64::MAX), number(&expected["votesRound"]));
            assert_eq!(info.vote_weight.to_raw(), number(&expected["voteWeight"]));
            assert_eq!(info.filled, expected["filled"].as_bool().unwrap());
            let key = info.placement_key.unwrap_or_default();
            assert_eq!(hex::encode(key), expected["key"].as_str().unwrap());
            assert_eq!(info.node_id, expected["nodeId"].as_str().unwrap());
            let listeners = parse_listeners(expected["addresses"].as_str().unwrap().as_bytes());
            assert_eq!(info.listeners, listeners);
            assert_eq!(info.allocated_gb_now, number(&expected["allocatedGbNow"]));
            assert_eq!(info.allocated_gb_from_round, number(&expected["allocatedGbFrom"]));
        }
    }
}

#[test]
fn a_row_says_of_a_node_what_its_view_says() {
    let vectors = Vectors::load();
    for moment in [OPEN, OVER] {
        let round = number(&vectors.0["moments"][moment]["period"]) / 100;
        let state = decode_state(&vectors.rows(moment)[STATE_KEY]).unwrap();
        for name in ["ann", "bob", "cat", "dora", "eve", "fox"] {
            let (record, info) = (vectors.record(moment, name), vectors.info(moment, name));
            assert_eq!(record.declared_at(round), info.allocated_gb_now, "{name}");
            let last = (record.weight_next, record.weight_from_round);
            assert_eq!(last, (info.allocated_gb, info.allocated_gb_from_round), "{name}");
            assert_eq!(record.weight_at(round), info.weight, "{name}");
            assert_eq!(record.weight_at(round + 2), info.weight_soon, "{name}");
            assert_eq!(record.filled_at(state.flags_from_round, round), info.filled, "{name}");
            let counts = record.entry_round.is_some_and(|from| counts(from, round));
            let weight = if counts { record.entry_stake } else { Amount::zero() };
            assert_eq!(weight, info.vote_weight, "{name}");
            assert_eq!(record.placement_key, info.placement_key, "{name}");
            assert_eq!(record.leave_round.is_none(), info.active, "{name}");
            let result = vectors.view(moment, &get_round_result(&vectors.address(name), 3));
            assert_eq!(
                record.claim_of(3),
                decode_round_result(&result).unwrap().as_ref(),
                "{name}"
            );
        }
    }
}

#[test]
fn weights_begin_change_and_end_with_the_second_round() {
    let vectors = Vectors::load();
    let weights = |moment, name: &str| {
        let record = vectors.record(moment, name);
        [3, 4, 5, 6].map(|round| record.weight_at(round))
    };
    // Changed in round 3, from 10 to 20 GB.
    assert_eq!(weights(OPEN, "ann"), [10, 10, 20, 20]);
    // Left in round 3.
    assert_eq!(weights(OPEN, "bob"), [10, 10, 0, 0]);
    assert_eq!(weights(OPEN, "cat"), [10, 10, 10, 10]);
    // Registered in round 3; without a placement key she weighs nothing.
    assert_eq!(weights(OPEN, "dora"), [0, 0, 0, 0]);
    // She got it in round 5.
    let dora = vectors.record(OVER, "dora");
    assert_eq!([5, 6, 7, 13, 14].map(|round| dora.weight_at(round)), [0, 0, 7, 7, 0]);
    // Counted in round 2, and not since: from the ninth round after it on he weighs nothing.
    let cat = vectors.record(OVER, "cat");
    assert_eq!([10, 11].map(|round| cat.weight_at(round)), [10, 0]);
}

#[test]
fn a_node_counts_from_its_round_on_with_or_without_an_identity() {
    let vectors = Vectors::load();
    let without = vectors.record(OVER, "ann").in_round(5, Some(0)).unwrap();
    assert_eq!(without.node_id, None);
    let dora = vectors.record(OVER, "dora");
    assert_eq!(dora.in_round(6, Some(0)), None);
    let node = dora.in_round(7, Some(0)).unwrap();
    assert_eq!(
        node.node_id.unwrap().to_string(),
        vectors.0["identity"]["node_id"].as_str().unwrap()
    );
    assert_eq!(node.allocated_storage_gb, 7);
    assert_eq!(node.listeners, ["1.2.3.4:31244".parse().unwrap()]);
    assert!(!node.filled);
}

#[test]
fn results_of_a_round_are_told_with_their_reasons() {
    let vectors = Vectors::load();
    let result = |name: &str| {
        let view = vectors.view(OVER, &get_round_result(&vectors.address(name), 3));
        decode_round_result(&view).unwrap().unwrap()
    };
    let bob = result("bob");
    assert_eq!((bob.draws, bob.passes, bob.state), (4, 3, ClaimState::Settled));
    assert_eq!(
        bob.draw_reasons
            .iter()
            .map(|code| reason_text(*code))
            .collect::<Vec<_>>(),
        ["missing", "passed", "passed", "passed"]
    );
    assert_eq!(reason_text(bob.reason), "draws missed");
    assert_eq!(reason_text(result("cat").reason), "silent");
}

#[test]
fn the_other_views_and_rows_are_read() {
    let vectors = Vectors::load();
    let rows = vectors.rows(OPEN);
    let view = |call: &Call| vectors.view(OPEN, call);
    assert_eq!(decode_node_info(&view(&get_node_info("nobody"))).unwrap(), None);
    assert_eq!(decode_number(&view(&get_total_nodes())).unwrap(), 6);
    assert_eq!(decode_number(&rows[TOTAL_NODES_KEY]).unwrap(), 6);
    let nodes = decode_nodes(&view(&get_nodes(0, 100))).unwrap();
    assert_eq!(nodes[0], vectors.address("ann"));
    assert_eq!(nodes.len(), 6);
    let config = ConfigRecord::decode(&rows[CONFIG_KEY]).unwrap();
    let shape = (config.next.round_segments, config.next.challenge_frequency_periods);
    assert_eq!((shape, config.round_periods()), ((4, 25), 100));
    // As the contract has it: 2⁶³ divided by the periods of a round.
    assert_eq!(config.next.round_leaves_max(), 92_233_720_368_547_758);
    assert_eq!(config.at(4), &decode_config(&view(&get_config())).unwrap());
    assert_eq!(
        (config.next.clone(), 5),
        decode_next_config(&view(&get_next_config())).unwrap()
    );
    assert_eq!(
        (config.at(4).replication_factor, config.at(5).replication_factor),
        (3, 4)
    );
    let state = decode_state(&rows[STATE_KEY]).unwrap();
    assert_eq!(state, decode_state(&view(&get_state())).unwrap());
    assert_eq!((state.next_segment, state.last_accepted_round), (1, Some(3)));
    assert_eq!(
        (state.keyed_nodes, state.proven, state.electorate(3).to_raw()),
        (5, true, 500_000_000_000)
    );
    assert_eq!(state.stakes.to_raw(), 705_000_000_000);
    let accepted = decode_segment_root(&rows[&segment_key(0)]).unwrap().unwrap();
    assert_eq!(accepted.round, 1);
    assert_eq!(
        decode_segment_root(&view(&get_segment_root(0))).unwrap(),
        Some(accepted)
    );
    assert_eq!(decode_segment_root(&view(&get_segment_root(9))).unwrap(), None);
    let proof = hex_of(&vectors.0["block_proof"]);
    let asked = decode_slot_answer(&view(&check_block(Slot::new(3, 0), None, &proof))).unwrap();
    let missed = SlotAnswer {
        state: SlotState::Miss,
        round: Some(1),
        block_id: None,
    };
    assert_eq!(asked, missed);
}

#[test]
fn rounds_challenges_and_draws_are_read() {
    let vectors = Vectors::load();
    let rows = vectors.rows(OPEN);
    let view = |call: &Call| vectors.view(OPEN, call);
    let round = RoundRecord::decode(&rows[&round_key(300)]).unwrap();
    let stats = decode_period_stats(&view(&get_period_stats(307))).unwrap().unwrap();
    assert_eq!(
        (round.claims, round.answers, round.draws_expected, round.draws_passed),
        (5, 4, 20, 15)
    );
    assert_eq!(
        (stats.period, stats.active_nodes, stats.answers, stats.leaves),
        (300, 5, 4, round.leaves)
    );
    assert_eq!((stats.frozen, stats.accepted, stats.closed), (true, true, false));
    let beacon = round.beacon.unwrap();
    assert_eq!(stats.beacon, Some(beacon));
    let votes = &rows[&massa_distributed_storage_worker::smart_contract::state::beacon_key(3, &beacon)];
    let votes = BeaconRecord::decode(votes).unwrap();
    assert_eq!((votes.nodes, votes.stake.to_raw()), (4, 400_000_000_000));
    assert_eq!((votes.claim_stake, votes.payer), (votes.stake, vectors.address("ann")));
    let proven = (votes.proven_leaves, votes.proven_weight, votes.lasting_weight);
    assert_eq!(
        proven,
        (3 * round.leaves / 5, 30, 30),
        "of all but bob, who missed a draw"
    );
    let roots = rows.iter().find(|(key, _)| key.starts_with(b"rootvote_")).unwrap();
    let roots = RootVotes::decode(roots.1).unwrap();
    assert_eq!((roots.round, roots.stake.to_raw()), (3, 100_000_000_000));
    assert_eq!((stats.factor, stats.electorate), (round.factor, round.electorate));
    let challenge = decode_challenge(&rows[&challenge_key(&"ab".repeat(32))])
        .unwrap()
        .unwrap();
    assert_eq!(
        decode_challenge(&view(&get_challenge(&"ab".repeat(32))))
            .unwrap()
            .unwrap(),
        challenge
    );
    assert_eq!(
        (challenge.node_address, challenge.nonce, challenge.resolved),
        (vectors.address("ann"), 3, false)
    );
    let draws = decode_draws(&view(&get_draws(&vectors.address("ann"), 3, &beacon))).unwrap();
    assert_eq!(draws.len(), 4);
    assert!(
        draws.iter().all(|draw| draw.leaf < 79 && draw.challenge_id.len() == 64),
        "{draws:?}"
    );
    let pending = view(&calculate_pending_rewards(&vectors.address("bob").to_string()));
    assert_eq!(
        decode_amount(&pending).unwrap(),
        vectors.info(OPEN, "bob").pending_rewards
    );
}

type Decode = fn(&[u8]) -> Result<(), DecodeError>;

fn decode_record(bytes: &[u8]) -> Result<(), DecodeError> {
    let address = "AU12dG5xP1RDEB5ocdHkymNVvvSJmUL9BgHwCksDowqmGWxfpm93x".parse().unwrap();
    NodeRecord::decode(address, bytes).map(drop)
}

/// Another block, accepted in round 7.
fn slot_answer() -> Vec<u8> {
    let id = [&[33, 0, 0, 0, 0][..], &[5; 32]].concat();
    [&[2][..], &7u64.to_le_bytes(), &id].concat()
}

#[test]
fn a_slot_answer_names_the_block_that_was_there() {
    let answer = decode_slot_answer(&slot_answer()).unwrap();
    assert_eq!((answer.state, answer.round), (SlotState::OtherBlock, Some(7)));
    let id = BlockId::new(massa_hash::Hash::from_bytes(&[5; 32]));
    assert_eq!(answer.block_id, Some(id));
    let unknown = [&[0][..], &u64::MAX.to_le_bytes(), &[0; 4]].concat();
    let answer = decode_slot_answer(&unknown).unwrap();
    assert_eq!(
        (answer.state, answer.round, answer.block_id),
        (SlotState::NotAnchored, None, None)
    );
    let refused = [&[4][..], &slot_answer()[1..]].concat();
    let error = decode_slot_answer(&refused).unwrap_err().to_string();
    assert!(error.contains("state"), "{error}");
    assert!(decode_slot_answer(&[&[1][..], &7u64.to_le_bytes(), &[1, 0, 0, 0, 0]].concat()).is_err());
}

/// Every decoder, with bytes that it takes.
fn decoders() -> Vec<(&'static str, Vec<u8>, Decode)> {
    let vectors = Vectors::load();
    let rows = vectors.rows(OPEN);
    let view = |call: &Call| vectors.view(OPEN, call);
    let ann = vectors.address("ann");
    let node = rows
        .iter()
        .find(|(key, row)| key.starts_with(NODE_PREFIX) && row.len() > 600)
        .unwrap()
        .1;
    let beacon = RoundRecord::decode(&rows[&round_key(300)]).unwrap().beacon.unwrap();
    vec![
        ("node record", node.clone(), decode_record),
        ("round record", rows[&round_key(300)].clone(), |b| {
            RoundRecord::decode(b).map(drop)
        }),
        (
            "beacon record",
            rows[&massa_distributed_storage_worker::smart_contract::state::beacon_key(3, &beacon)].clone(),
            |b| BeaconRecord::decode(b).map(drop),
        ),
        ("config record", rows[CONFIG_KEY].clone(), |b| {
            ConfigRecord::decode(b).map(drop)
        }),
        ("state", rows[STATE_KEY].clone(), |b| decode_state(b).map(drop)),
        ("node info", view(&get_node_info(&ann.to_string())), |b| {
            decode_node_info(b).map(drop)
        }),
        ("challenge", rows[&challenge_key(&"ab".repeat(32))].clone(), |b| {
            decode_challenge(b).map(drop)
        }),
        ("period stats", view(&get_period_stats(307)), |b| {
            decode_period_stats(b).map(drop)
        }),
        ("config", view(&get_config()), |b| decode_config(b).map(drop)),
        ("slot answer", slot_answer(), |b| decode_slot_answer(b).map(drop)),
        ("next config", view(&get_next_config()), |b| {
            decode_next_config(b).map(drop)
        }),
        ("number", view(&get_total_nodes()), |b| decode_number(b).map(drop)),
        ("nodes", view(&get_nodes(0, 100)), |b| decode_nodes(b).map(drop)),
        ("round result", view(&get_round_result(&ann, 3)), |b| {
            decode_round_result(b).map(drop)
        }),
        ("draws", view(&get_draws(&ann, 3, &beacon)), |b| {
            decode_draws(b).map(drop)
        }),
        ("segment root", rows[&segment_key(0)].clone(), |b| {
            decode_segment_root(b).map(drop)
        }),
    ]
}

#[test]
fn bytes_that_end_early_or_late_are_refused() {
    for (name, bytes, decode) in decoders() {
        assert_eq!(decode(&bytes), Ok(()), "{name}");
        let per_draw = 8 + 4 + 64;
        for end in 1..bytes.len() {
            if name == "draws" && end % per_draw == 0 {
                continue;
            }
            assert!(decode(&bytes[..end]).is_err(), "{name} of {end} bytes");
        }
        let late = [&bytes[..], &[7]].concat();
        assert!(decode(&late).is_err(), "{name} with one byte more");
    }
}

#[test]
fn a_value_that_cannot_be_is_named() {
    let rows = Vectors::load().rows(OPEN);
    let mut config = rows[CONFIG_KEY].clone();
    config[72..80].fill(0);
    let error = ConfigRecord::decode(&config).unwrap_err();
    assert_eq!(error.to_string(), "challengeFrequencyPeriods: is 0");
    let mut config = rows[CONFIG_KEY].clone();
    config[88..96].fill(0);
    let error = ConfigRecord::decode(&config).unwrap_err();
    assert_eq!(error.to_string(), "roundSegments: is 0");
    let mut round = rows[&round_key(300)].clone();
    round[105] = 2;
    let error = RoundRecord::decode(&round).unwrap_err();
    assert_eq!(error.to_string(), "accepted: 2 is neither 0 nor 1");
    assert!(parse_node_key(b"node_").is_err());
    assert!(parse_node_key(&[b"node_".as_slice(), &[b'A'; 500]].concat()).is_err());
}

#[test]
fn listeners_that_are_none_are_left_out() {
    let text = "1.2.3.4:5;nonsense;[::1]:7, 8.8.8.8:9";
    let expected = ["1.2.3.4:5", "[::1]:7", "8.8.8.8:9"].map(|text| text.parse().unwrap());
    assert_eq!(parse_listeners(text.as_bytes()), expected);
    assert_eq!(parse_listeners(&[0xff, 0xfe]), []);
    let many = vec!["255.255.255.255:65535".parse().unwrap(); 100];
    let text = registry::listeners_text(&many);
    assert!(text.len() <= LISTENERS_BYTES_MAX, "{text}");
    assert_eq!(parse_listeners(text.as_bytes()).len(), 11);
}

proptest! {
    /// Whatever the bytes, a decoder answers.
    #[test]
    fn no_bytes_end_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..700), at in 0usize..700, byte in any::<u8>()) {
        for (_, mut taken, decode) in decoders() {
            let _ = decode(&bytes);
            let at = at % taken.len();
            taken[at] = byte;
            let _ = decode(&taken);
        }
    }
}
