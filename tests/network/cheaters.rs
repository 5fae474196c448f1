//! Cheaters on a network of node processes, and what the registry's final state says of each.
//!
//! A cheater is a registered operator whose node archives and serves as all do; its part in the rounds is played here, over
//! JSON-RPC, with the library that honest nodes use and a twist. Production code has no hook for it. Nine nodes, four honest:
//!
//! | cheater | first | then, together | then | at last |
//! |---|---|---|---|---|
//! | liar | claims bytes, has none; sends that submission again | is silent | submits another node's proof, a proof without its data, a proof of something else | claims what it was not assigned |
//! | forger | votes a foreign root, and once more; claims on it | is silent | votes a false beacon | |
//! | dropper | drops a tenth of what it claims, all the time | is silent | goes on | |
//! | idler | allocates, and claims nothing | | | |
//! | fetcher | keeps nothing of what it claims, and gets the drawn leaves from others | votes a false beacon | goes on | |
//!
//! Together: four of nine equal nodes, and the idler that answers nothing, are more than half while the stake of the first phase
//! weighs: one round is void, and costs nobody anything. The next is counted, because the fetcher answers again.
//!
//! The fetcher passes, and is paid: nothing tells fetching from possession on chain. That timed audits find it over a link of
//! 50 ms is in `massa-protocol-worker/tests/storage_audit.rs`.
//!
//! Not here: that no position counts twice, grinding and floods. These are pure rules or need no
//! network: `massa-distributed-storage-worker/tests/{challenge,rounds,registry_contract}.rs`, `massa-storage-sc/tests/`. That a
//! tenth dropped is found with probability 1−(1−f)^K is in `rounds.rs`, too: here each round's misses are exactly the draws that
//! fall into what was dropped.

mod claims;
mod driver;
mod world;

use crate::common::{change_settings, logs, network_with_periods_of};
use driver::Cheater;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::challenge::segment_claim::HeldChunk;
use massa_distributed_storage_worker::challenge::Reason;
use massa_distributed_storage_worker::replication::HolderSearch;
use massa_distributed_storage_worker::smart_contract::node_set::set_of;
use massa_distributed_storage_worker::smart_contract::state::{root_vote_key, RootVotes};
use massa_distributed_storage_worker::smart_contract::views::ClaimState;
use massa_localnet::genesis::ROUND_PERIODS;
use massa_localnet::registry::RegistryPlan;
use massa_localnet::wait::wait_for;
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use world::{chunks_of, World};

/// The cheaters answer one after the other, in the window of a round that others use as well: seven periods.
const T0_MS: u64 = 1_600;
const NODES: usize = 9;
/// The first nodes; the others cheat.
const HONEST: usize = 4;
/// So many chunks that a node's share of them is near its share of the weight: else it would not be filled, and no witness.
const BYTES_PER_PERIOD: u64 = 500_000;
/// From the first slot until everything is shown, with other work on the machine: about 220 periods.
const DEADLINE: Duration = Duration::from_secs(600);
const STAKE: Amount = Amount::const_init(100, 0);
/// Periods between what is final and the execution of what is sent.
const LEAD_PERIODS: u64 = 4;
/// Nodes that hold each chunk.
const REPLICAS: usize = massa_localnet::genesis::REPLICATION_FACTOR as usize;
/// Of so many chunks the dropper drops one.
const DROPS_ONE_OF: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Liar,
    Forger,
    Dropper,
    Idler,
    Fetcher,
}

const ROLES: [Role; NODES - HONEST] = [Role::Liar, Role::Forger, Role::Dropper, Role::Idler, Role::Fetcher];
/// Who withhold the true beacon together.
const CONSPIRATORS: [Role; 4] = [Role::Liar, Role::Forger, Role::Dropper, Role::Fetcher];

/// What a claim is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trick {
    /// Nothing is behind it.
    NoBytes,
    /// Chunks of an archive that nobody else has.
    ForeignRoot,
    /// A tenth of it is dropped.
    Dropped,
    /// None of it is kept: what is drawn comes from the archives of other nodes.
    Fetched,
    /// It stays unanswered once the four are together.
    Silence,
    /// It is answered with what another node sent, with a proof whose leaf is gone, and with what would answer another draw.
    FalseProofs,
    /// Its chunks are assigned to others.
    Unassigned,
    /// It is answered under another beacon.
    FalseBeacon,
}

/// What the registry has to say of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    trick: Trick,
    reason: Reason,
    /// Where answers were looked at.
    draws: Option<Vec<u8>>,
}

fn is_dropped(chunk: &HeldChunk) -> bool {
    chunk.id.as_bytes()[0] % DROPS_ONE_OF == 0
}

/// What has not been shown yet.
fn missing(world: &World, cheaters: &[Cheater]) -> Vec<String> {
    let mut missing = Vec::new();
    let result = |role: Role, trick: Trick| {
        let cheater = cheaters.iter().find(|cheater| cheater.role == role).unwrap();
        let mut rounds = cheater.expected.iter().filter(|(_, expected)| expected.trick == trick);
        rounds.find_map(|(round, _)| world.results.get(&(cheater.caller.from, *round)))
    };
    for (role, trick) in [
        (Role::Liar, Trick::NoBytes),
        (Role::Liar, Trick::FalseProofs),
        (Role::Forger, Trick::ForeignRoot),
        (Role::Forger, Trick::FalseBeacon),
        (Role::Dropper, Trick::Dropped),
        (Role::Fetcher, Trick::Fetched),
    ] {
        if result(role, trick).is_none() {
            missing.push(format!("{role:?}: {trick:?}"));
        }
    }
    let liar = world.cheaters[&Role::Liar];
    if !world
        .results
        .iter()
        .any(|((node, _), result)| *node == liar && result.refuted)
    {
        missing.push("the liar's claim of what it was not assigned is not refuted".into());
    }
    let next = world.void_round().and_then(|round| world.rounds.get(&(round + 1)));
    if next.and_then(|round| round.beacon).is_none() {
        missing.push("the round after the void one is not counted".into());
    }
    missing
}

#[test]
fn every_cheater_ends_as_the_rules_say_and_honest_nodes_lose_nothing() {
    let (_directory, mut network) = network_with_periods_of(NODES, T0_MS);
    for node in &network.nodes()[HONEST..] {
        // It works for an address that nobody registers: it archives, and takes no part in rounds.
        let operator = |address: Address| format!("operator_address = \"{address}\"");
        change_settings(node, &operator(node.operator()), &operator(node.address()));
    }
    let deadline = Instant::now() + DEADLINE;
    network.start(NODES).unwrap();
    let _load = network.start_load(HONEST, BYTES_PER_PERIOD);
    let registry = RegistryPlan::new(&network, NODES).run().unwrap();
    let mut world = World::new(&network, registry);
    let mut cheaters = Cheater::all(&network, registry);
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for("every cheater's end", left, || {
        network.check_running().unwrap();
        world.look()?;
        cheaters.iter_mut().for_each(|cheater| cheater.tick(&mut world));
        match missing(&world, &cheaters) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(missing.join("; ")),
        }
    });
    print_results(&world, &cheaters);
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(&network)));

    honest_nodes_lost_nothing(&world);
    let void = world.void_round().unwrap();
    assert_eq!(world.rounds[&void].beacon, None, "round {void} was to be void");
    cheaters.iter().for_each(|cheater| as_expected(cheater, &world));
    the_idler_displaces_nobody(&world);
    for cheater in cheaters {
        end_of(cheater, &world);
    }
    network.stop().unwrap();
}

fn print_results(world: &World, cheaters: &[Cheater]) {
    let name = |address: &Address| {
        let role = world.cheaters.iter().find(|(_, other)| *other == address);
        role.map_or_else(|| "honest".to_string(), |(role, _)| format!("{role:?}"))
    };
    println!("period {}, void round {:?}", world.period, world.void_round());
    for (round, record) in &world.rounds {
        let beacon = record.beacon.map(|beacon| hex::encode(&beacon[..4]));
        let (claims, stake, answers) = (record.claims, record.claim_stake, record.answers);
        println!("round {round}: {claims} claims, stake {stake}, {answers} answers, beacon {beacon:?}");
    }
    for ((address, round), result) in &world.results {
        let cheater = cheaters.iter().find(|cheater| cheater.caller.from == *address);
        let expected = cheater.and_then(|cheater| cheater.expected.get(round));
        println!(
            "{}, round {round}: {} leaves, {} of {} passed {:?}, reason {}, refuted {}, credit {}, expected {expected:?}",
            name(address),
            result.leaves,
            result.passes,
            result.draws,
            result.draw_reasons,
            result.reason,
            result.refuted,
            world.credits[&(*address, *round)]
        );
    }
    for record in &world.records {
        let (stake, from, to) = (record.stake, record.filled_from, record.filled_to);
        println!("{}: stake {stake}, filled from {from} to {to}", name(&record.address));
    }
}

fn honest_nodes_lost_nothing(world: &World) {
    let void = world.void_round();
    for address in &world.honest {
        let results = world.results.iter().filter(|((node, _), _)| node == address);
        let rounds: Vec<(u64, u8)> = results.map(|((_, round), result)| (*round, result.reason)).collect();
        let first = rounds.first().expect("an honest node had no round").0;
        for ((round, reason), at) in rounds.iter().zip(first..) {
            assert_eq!(*round, at, "{address} lost round {at}: {rounds:?}");
            let expected = if Some(at) == void { Reason::Void } else { Reason::Passed };
            assert_eq!(*reason, expected.code(), "{address} in round {at}: {rounds:?}");
            let is_paid = world.credits[&(*address, at)] > Amount::zero();
            assert_eq!(is_paid, expected == Reason::Passed, "{address} in round {at}");
        }
        assert_eq!(world.record(address).unwrap().stake, STAKE, "{address}");
    }
}

/// Every claim of a cheater that is settled has the result that follows from what was sent.
fn as_expected(cheater: &Cheater, world: &World) {
    for (round, expected) in &cheater.expected {
        let Some(result) = world.results.get(&(cheater.caller.from, *round)) else {
            continue;
        };
        let what = format!("{:?}, round {round}: {expected:?}, {result:?}", cheater.role);
        let is_told = result.state == ClaimState::Settled && (expected.trick != Trick::Unassigned || result.refuted);
        // Who answers in a void round is told that it was void: the one that was conspired, and, while hardly anything is anchored,
        // one that the honest nodes had nothing yet to claim for.
        let is_void = world.rounds[round].beacon.is_none();
        let reason = if is_void { Reason::Void } else { expected.reason };
        // A claim that is refuted after it was settled keeps the reason that it had: then the credit tells.
        let settled_before = reason == Reason::Refuted && result.reason == Reason::Passed.code();
        if is_told && !settled_before {
            assert_eq!(result.reason, reason.code(), "{what}");
        }
        if let Some(draws) = &expected.draws {
            assert_eq!(result.draw_reasons, *draws, "{what}");
        }
        let credit = world.credits[&(cheater.caller.from, *round)];
        let unpaid = is_void
            || match expected.trick {
                Trick::Dropped => false,
                // Without a refutation it passed: that takes witnesses that have been filled for three rounds.
                Trick::Unassigned => result.refuted,
                _ => expected.reason != Reason::Passed,
            };
        assert!(!unpaid || credit == Amount::zero(), "{what}: credit {credit}");
        let paid = is_told && reason == Reason::Passed;
        assert!(!paid || credit > Amount::zero(), "{what}: credit {credit}");
    }
}

/// It is counted as unfilled, and who holds what is the same without it, but for the copies that it adds.
fn the_idler_displaces_nobody(world: &World) {
    let idler = world.cheaters[&Role::Idler];
    let record = world.record(&idler).unwrap();
    assert_eq!(record.matured_rewards, Amount::zero());
    assert!(record.slots.iter().all(Option::is_none), "the idler claimed something");
    let round = world.period / ROUND_PERIODS;
    // Eight rounds without a counted one may have gone by, and it weighs nothing any more: seen as if it had just joined.
    let joined = record.unlapsed_in_round(round, world.flags_from).unwrap();
    assert!(!joined.filled, "the idler is filled");
    let now = set_of(&world.records, round, world.flags_from);
    let mut nodes: Vec<StorageNode> = now.nodes().to_vec();
    nodes.retain(|node| node.address != idler);
    assert!(nodes.iter().filter(|node| node.filled).count() >= REPLICAS);
    let without = NodeSet::new(nodes.clone());
    nodes.push(joined);
    let all = NodeSet::new(nodes);
    let held_by = |chunk: &ChunkId, set: &NodeSet| -> BTreeSet<Address> {
        let mut best = Vec::new();
        HolderSearch::new(set, REPLICAS).find(chunk, |_| false, &mut best);
        best.iter().map(|holder| set.nodes()[holder.index()].address).collect()
    };
    let chunks = chunks_of(&world.tables(world.roots.keys().copied()));
    assert!(!chunks.is_empty());
    for chunk in &chunks {
        let mut with = held_by(&chunk.id, &all);
        with.remove(&idler);
        assert_eq!(with, held_by(&chunk.id, &without), "{}", chunk.position);
    }
}

/// What was refused as a whole, and what is left of the stake.
fn end_of(cheater: Cheater, world: &World) {
    let record = world.record(&cheater.caller.from).unwrap();
    let slashed = world.slashed(&cheater.caller.from);
    match cheater.role {
        // Ten times the percentage of a round is all.
        Role::Liar => assert_eq!(record.stake, Amount::zero()),
        // All draws on the foreign root were missed.
        Role::Forger => assert!(slashed > Amount::zero()),
        Role::Idler | Role::Fetcher => assert_eq!(slashed, Amount::zero()),
        Role::Dropper => {}
    }
    if cheater.role != Role::Liar {
        assert_eq!(record.stake, STAKE.saturating_sub(slashed), "{:?}", cheater.role);
    }
    if let Some(foreign) = &cheater.foreign {
        assert_ne!(world.roots[&foreign.segment], foreign.root());
        let key = root_vote_key(foreign.segment, &foreign.root());
        let rows = world.remote.final_entries(&world.registry, &[key]);
        let row = rows.into_iter().next().flatten().unwrap();
        let votes = RootVotes::decode(&row).unwrap();
        assert_eq!(votes.stake, STAKE, "its vote counted, and was not enough");
    }
    let said: BTreeMap<&str, Result<Vec<String>, String>> = (cheater.beside.into_iter())
        .map(|(what, outcome)| (what, outcome.join().unwrap()))
        .collect();
    match cheater.role {
        Role::Liar => {
            let refused = said["replay"].as_ref().expect_err("replay");
            assert!(refused.contains("round is not open"), "{refused}");
        }
        // The second one is taken, without the vote that is there already: the event tells.
        Role::Forger => {
            assert_told(&said["foreign root"], ",-,1,-");
            assert_told(
                &said["second vote"],
                ",-,0 (segment is voted for already or not in order),-",
            );
        }
        Role::Dropper | Role::Idler | Role::Fetcher => assert!(said.is_empty()),
    }
}

/// What became of the answers, the root votes and the claim of a submission.
fn assert_told(said: &Result<Vec<String>, String>, parts: &str) {
    let events = said.as_ref().expect("a submission");
    let told = events.iter().find(|event| event.starts_with("ROUND_SUBMITTED"));
    assert!(told.is_some_and(|told| told.ends_with(parts)), "{events:?}");
}
