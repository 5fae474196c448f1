//! A node's part in rounds of several segments: the rules of decisions one by one, and hundreds of rounds of a network that follows it, against a
//! model of the registry.

#[path = "common/claims.rs"]
mod claims;
#[path = "common/registry_model.rs"]
mod registry_model;
#[path = "common/segment_world.rs"]
mod rounds_world;

use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, MerkleProof, SegmentRoot};
use massa_distributed_storage_worker::challenge::draw::placement_key;
use massa_distributed_storage_worker::challenge::refutation::Refutation;
use massa_distributed_storage_worker::challenge::segment_answer::SegmentAnswer;
use massa_distributed_storage_worker::challenge::sums::SumPath;
use massa_distributed_storage_worker::challenge::RoundContext;
use massa_distributed_storage_worker::replication::placement_score;
use massa_distributed_storage_worker::rewards;
use massa_distributed_storage_worker::rounds::claims::keeper::Differing;
use massa_distributed_storage_worker::rounds::decide::{
    decide, Action, Claimable, EarlierHistory, FoundRefutation, Kind, Local, Note, Outcome, Sent, Settings, Snapshot,
    SubmissionPlan,
};
use massa_distributed_storage_worker::rounds::detection::{self, failing_chance};
use massa_distributed_storage_worker::rounds::timing::{earlier_turn, refuting_rank};
use massa_distributed_storage_worker::rounds::RoundTimes;
use massa_distributed_storage_worker::smart_contract::state::RoundRecord;
use massa_distributed_storage_worker::smart_contract::storage_registry::ROOT_VOTES_MAX;
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_models::amount::Amount;
use registry_model::Model;
use rounds_world::{
    address, beacon_of, lost_root_of, node_record, registry, root_of, settings, snapshot, Behaviour, World, CHAIN_ID,
    GB, LAG, PERIODS, SEGMENT, SEGMENTS, STAKE,
};
use std::collections::BTreeSet;
use std::sync::Arc;

const POOL: u64 = 1_000_000_000_000_000;

fn honest(count: usize) -> Vec<Behaviour> {
    vec![Behaviour::default(); count]
}

/// Nobody who did as the rules say lost stake or a round, except rounds that were void for all.
fn assert_honest_nodes_lose_nothing(world: &World, void: &BTreeSet<u64>) {
    let results = world.model.results();
    for node in world.honest() {
        assert_eq!(
            world.model.nodes[&node.address].stake.to_raw(),
            STAKE,
            "{}",
            node.address
        );
        let submissions = node
            .refused
            .iter()
            .filter(|(kind, _)| matches!(kind, Kind::Submit { .. }));
        assert_eq!(submissions.count(), 0, "{:?}", node.refused);
        // The first rounds are claimed by the few whose turn came after segment 0 was anchored.
        for ((_, round), result) in results.range((node.address, 4)..=(node.address, u64::MAX)) {
            let expected = if void.contains(round) { 18 } else { 0 };
            assert_eq!(result.reason, expected, "round {round} of {}", node.address);
        }
        assert!(node
            .executed
            .iter()
            .all(|(kind, count)| !matches!(kind, Kind::Submit { .. }) || *count == 1));
    }
}

/// What each node was credited is what `rewards.rs` gives for its rounds, and it has all of it.
fn assert_credits(world: &World) {
    let all = world.model.results();
    let nodes: Vec<_> = world.nodes.iter().map(|node| node.address).collect();
    let mut total = 0;
    for node in nodes {
        let results = all.range((node, 0)..=(node, u64::MAX));
        for (_, result) in results {
            let counted = result.reason == 0 || result.reason == 21;
            let expected = rewards::credit(result.leaves, PERIODS, result.rate, result.passes, result.draws);
            assert_eq!(result.credit, if counted { expected } else { 0 });
            let missed = match result.reason {
                16 | 17 => result.draws,
                0 | 21 => result.draws - result.passes,
                _ => 0,
            };
            assert!(result.slashed <= rewards::slash_amount(STAKE, 10, missed, result.draws));
            total += result.credit;
        }
    }
    let waiting: u64 = world
        .model
        .nodes
        .values()
        .map(|node| {
            let slots: u64 = node.slots.iter().flatten().map(|slot| slot.credit.to_raw()).sum();
            slots + node.matured_rewards.to_raw()
        })
        .sum();
    assert_eq!(world.model.paid + waiting, total, "credit of settled claims");
    let rounds: Vec<_> = world.model.rounds.iter().filter(|(_, record)| record.frozen).collect();
    for (round, record) in rounds {
        let reserve = rewards::round_reserve(record.leaves, PERIODS, record.rate.to_raw());
        assert_eq!(reserve, record.reserve.to_raw(), "round {round}");
        assert!(record.credit_sum.to_raw() <= reserve, "round {round}");
    }
}

fn counted_rounds(world: &World) -> BTreeSet<u64> {
    // The claims of the first rounds are those of the few nodes whose turn came after segment 0 was anchored.
    let rounds = world.model.rounds.iter().filter(|(round, _)| **round > 3);
    let counted = rounds.filter(|(_, record)| record.beacon.is_some());
    counted.map(|(round, _)| *round).collect()
}

#[test]
fn an_honest_network_counts_every_round_and_loses_nothing() {
    let mut world = World::new(honest(9), POOL, 1);
    world.run_rounds(100);

    // Stake weighs from round 2 on: what was archived before is anchored in it, in round 3 at the latest everybody claims for round 4.
    assert_eq!(counted_rounds(&world), (4..100).collect());
    assert_honest_nodes_lose_nothing(&world, &BTreeSet::new());
    assert_credits(&world);
    assert!(
        world.model.next_segment >= 98 * SEGMENTS,
        "{}",
        world.model.next_segment
    );
    assert!(world.model.paid > 0, "rewards are claimed on their own");
    // Every node earned in every round; the last one is not settled yet.
    let settled = world.model.results();
    assert!(world
        .nodes
        .iter()
        .all(|node| (4..99).all(|round| settled.contains_key(&(node.address, round)))));
}

#[test]
fn hundreds_of_rounds_with_silence_lies_losses_and_latecomers_stop_nothing() {
    let mut behaviours = honest(8);
    // Two that are switched off at times, one for longer than its weight lasts.
    behaviours.push(Behaviour {
        silent: (20..22).chain(60..75).collect(),
        ..Behaviour::default()
    });
    behaviours.push(Behaviour {
        silent: [45, 90, 91, 92, 150].into(),
        ..Behaviour::default()
    });
    // One that votes for a beacon of its own, one that loses chunks, one with another archive.
    behaviours.push(Behaviour {
        lies: [30, 31, 100].into(),
        ..Behaviour::default()
    });
    behaviours.push(Behaviour {
        loses: Some(50),
        ..Behaviour::default()
    });
    behaviours.push(Behaviour {
        differs_from: Some(120 * SEGMENTS),
        ..Behaviour::default()
    });
    for round in [12, 40, 110] {
        behaviours.push(Behaviour {
            joins: round * PERIODS + 7,
            ..Behaviour::default()
        });
    }
    let latecomers: Vec<_> = (13..16).map(address).collect();
    let (silent, liar, loser, differing) = (address(8), address(10), address(11), address(12));
    let mut world = World::new(behaviours, POOL, 2);
    world.run_rounds(200);

    assert_eq!(counted_rounds(&world), (4..200).collect());
    assert_honest_nodes_lose_nothing(&world, &BTreeSet::new());
    assert_credits(&world);
    let results = world.model.results();
    let result = |node, round| results.get(&(node, round)).map(|result| result.reason);
    let stake = |node| world.model.nodes[&node].stake.to_raw();
    // Silent: slashed once as if all was missed, out for three rounds, back with the fourth.
    assert_eq!(result(silent, 20), Some(16));
    assert!((21..24).all(|round| result(silent, round).is_none()));
    assert_eq!(result(silent, 25).or(result(silent, 26)), Some(0));
    assert!(stake(silent) < STAKE && stake(silent) > STAKE * 7 / 10);
    // Under another beacon than nearly all: unpaid, out, and slashed.
    assert_eq!(result(liar, 30), Some(17));
    assert_eq!(result(liar, 31), Some(17), "claimed before it was known");
    assert!((32..35).all(|round| result(liar, round).is_none()));
    // Two were claimed with the whole stake, the third with what was left.
    assert_eq!(stake(liar), STAKE / 100 * 72);
    // Lost: that round's draws miss, the next claim is smaller and passes.
    assert_eq!(result(loser, 50), Some(21));
    assert_eq!(result(loser, 51), Some(0));
    assert!((52..199).all(|round| result(loser, round) == Some(0)));
    // Another archive: says so, claims what agrees, and what agrees is pruned in the end.
    assert!(
        world.nodes[12]
            .notes
            .iter()
            .any(|note| matches!(note, Note::RootDiffers(_))),
        "{:?}",
        world.nodes[12].notes
    );
    assert_eq!(result(differing, 125), Some(0));
    assert_eq!(result(differing, 150), None);
    assert_eq!(stake(differing), STAKE);
    // Latecomers earn a few rounds after they came.
    for (node, joined) in latecomers.into_iter().zip([12, 40, 110]) {
        let first = results.range((node, 0)..=(node, u64::MAX)).next().unwrap().0 .1;
        assert!(first <= joined + 5, "joined in {joined}, first counted in {first}");
        assert!((first..198).all(|round| result(node, round) == Some(0)));
    }
}

#[test]
fn a_third_silent_voids_no_round_and_is_slashed_for_the_one_that_it_claimed() {
    let mut behaviours = honest(6);
    for _ in 0..3 {
        behaviours.push(Behaviour {
            silent: (10..13).collect(),
            ..Behaviour::default()
        });
    }
    let mut world = World::new(behaviours, POOL, 3);
    world.run_rounds(40);

    assert_eq!(counted_rounds(&world), (4..40).collect());
    assert_honest_nodes_lose_nothing(&world, &BTreeSet::new());
    assert_credits(&world);
    let results = world.model.results();
    for silent in (6..9).map(address) {
        assert_eq!(results[&(silent, 10)].reason, 16);
        let stake = world.model.nodes[&silent].stake.to_raw();
        assert_eq!(stake, STAKE - results[&(silent, 10)].slashed);
        assert!(!results.contains_key(&(silent, 13)), "sits out");
        assert_eq!(results[&(silent, 20)].reason, 0);
    }
}

#[test]
fn a_network_that_is_switched_off_starts_again() {
    let behaviour = Behaviour {
        silent: (10..16).collect(),
        ..Behaviour::default()
    };
    let mut world = World::new(vec![behaviour; 5], POOL, 4);
    world.run_rounds(40);

    let counted = counted_rounds(&world);
    assert!((4..10).all(|round| counted.contains(&round)));
    assert!((22..40).all(|round| counted.contains(&round)), "{counted:?}");
    assert_credits(&world);
}

#[test]
fn a_segment_with_a_lost_period_is_anchored_two_rounds_later_and_the_later_ones_are_voted_and_claimed() {
    let mut world = World::new(honest(6), POOL, 6);
    // In the middle of round 8.
    let lost = 8 * SEGMENTS + 1;
    world.lost_segment = Some(lost);
    world.run_rounds(10);
    assert_eq!(
        world.model.next_segment, lost,
        "no root before the window of round 9 is over"
    );
    world.run_rounds(20);

    assert_eq!(world.model.roots[&lost], lost_root_of(lost));
    let next = world.model.next_segment;
    assert!(next >= 28 * SEGMENTS, "{next}");
    assert!((lost + 1..next).all(|segment| world.model.roots[&segment] == root_of(segment)));
    // Nobody stops claiming meanwhile, and what came after the lost segment is claimed, too.
    assert_eq!(counted_rounds(&world), (4..30).collect());
    assert_honest_nodes_lose_nothing(&world, &BTreeSet::new());
    assert_credits(&world);
}

#[test]
fn an_empty_pool_pays_nothing_and_stops_nothing() {
    let mut world = World::new(honest(4), 1_000, 5);
    world.run_rounds(20);
    assert_eq!(counted_rounds(&world), (4..20).collect());
    assert_honest_nodes_lose_nothing(&world, &BTreeSet::new());
    assert_credits(&world);
}

#[test]
fn while_nothing_is_paid_every_fourth_round_is_claimed_and_roots_are_voted_for() {
    let mut world = World::new(honest(4), 0, 5);
    world.run_rounds(40);
    assert_eq!(counted_rounds(&world), (4..40).step_by(4).collect());
    assert_honest_nodes_lose_nothing(&world, &BTreeSet::new());
    assert!(
        world.model.next_segment >= 38 * SEGMENTS,
        "{}",
        world.model.next_segment
    );
}

#[test]
fn while_the_rate_is_zero_the_electorate_does_not_lapse_though_a_third_misses_every_second_claim() {
    let mut behaviours = honest(6);
    for _ in 0..3 {
        behaviours.push(Behaviour {
            silent: (12..120).step_by(8).collect(),
            ..Behaviour::default()
        });
    }
    let mut world = World::new(behaviours, POOL, 7);
    let config = &mut world.model.config;
    config.now.reward_per_gb_per_period = Amount::zero();
    config.next.reward_per_gb_per_period = Amount::zero();
    for round in 0..120 {
        world.run_rounds(1);
        let electorate = world.model.electorate.of(round);
        assert!(round < 3 || electorate == 9 * STAKE, "round {round}: {electorate}");
    }
    assert_eq!(counted_rounds(&world), (4..120).step_by(4).collect());
    assert!(
        world.model.next_segment >= 118 * SEGMENTS,
        "{}",
        world.model.next_segment
    );
    // Nothing is paid, and nothing is lost by who is silent.
    assert!(world.model.nodes.values().all(|node| node.stake.to_raw() == STAKE));
    assert_eq!(world.model.paid, 0);
}

#[test]
fn operations_are_spread_over_the_window_and_close_the_round_before() {
    let mut world = World::new(honest(20), POOL, 6);
    world.loss_percent = 0;
    world.run_rounds(60);
    let (busiest, total) = (world.load.values().max().unwrap(), world.load.values().sum::<usize>());
    assert!(busiest * 3 < total, "{:?}", world.load);
    let closings = |kind: &Kind| matches!(kind, Kind::Close { .. });
    let closed: usize = world
        .nodes
        .iter()
        .flat_map(|node| &node.executed)
        .filter(|(kind, _)| closings(kind))
        .count();
    assert_eq!(closed, 0, "the operations of the next round close it");
    let mut rounds = world.model.rounds.range(3..58);
    assert!(rounds.all(|(_, record)| record.closed));
}

// One rule after the other.

/// Node 0 in round 5, with a claim for it, in final period `period` of the round: all segments before those of round 4 are anchored,
/// and those of round 4 are closed here.
struct Case {
    snapshot: Snapshot,
    local: Local,
    sent: Vec<Sent>,
}

const ROUND: u64 = 5;
/// The first segment that is not anchored, and the first of the round.
const PENDING: u64 = (ROUND - 1) * SEGMENTS;
const OPEN: u64 = ROUND * SEGMENTS;

fn roots(segments: std::ops::Range<u64>) -> Vec<(u64, SegmentRoot)> {
    segments.map(|segment| (segment, root_of(segment))).collect()
}

impl Case {
    fn at(in_round: u64) -> Self {
        let mut model = Model::new(CHAIN_ID, registry(), PERIODS, POOL);
        model.register(node_record(address(0)), 0);
        let record = RoundRecord {
            claims: 3,
            claim_stake: Amount::from_raw(3 * STAKE),
            ..RoundRecord::default()
        };
        model.rounds.insert(ROUND, record);
        model.roots = roots(0..PENDING).into_iter().collect();
        model.next_segment = PENDING;
        model.last_accepted = Some(ROUND - 1);
        let accepted = Arc::new(model.roots.clone());
        let mut case = Self {
            snapshot: snapshot(&model, &address(0), ROUND * PERIODS + in_round, &accepted),
            local: Local {
                own_roots: roots(PENDING..OPEN).into_iter().collect(),
                last_closed: Some(OPEN - 1),
                claimable: Claimable {
                    leaves: 1_000,
                    is_settled: true,
                },
                beacon: Some(beacon_of(ROUND)),
                ..Local::default()
            },
            sent: Vec::new(),
        };
        case.claim(ROUND, ClaimState::Claimed);
        case
    }

    /// In the last period in which it can still answer, so that its turn has come.
    fn in_turn() -> Self {
        Self::at(PERIODS / 2 - settings(address(0)).lead_periods)
    }

    fn claim(&mut self, round: u64, state: ClaimState) {
        let node = self.snapshot.node.as_mut().unwrap();
        node.slots[(round % 3) as usize] = Some(RoundResult {
            round,
            leaves: 1_000,
            stake: Amount::from_raw(STAKE),
            weight: GB,
            root: [7; 32],
            beacon: beacon_of(round),
            credit: Amount::from_raw(0),
            state,
            draws: 4,
            passes: 4,
            reason: 0,
            refuted: false,
            filled: true,
            draw_reasons: Vec::new(),
        });
    }

    fn decide(&self) -> (Vec<Action>, Vec<Note>) {
        let decision = decide(&settings(address(0)), &self.snapshot, &self.local, &self.sent);
        (
            decision.actions.into_iter().map(|(action, _)| action).collect(),
            decision.notes,
        )
    }

    fn submission(&self) -> SubmissionPlan {
        let (actions, notes) = self.decide();
        let plan = actions.into_iter().find_map(|action| match action {
            Action::Submit(plan) => Some(plan),
            _ => None,
        });
        plan.unwrap_or_else(|| panic!("no submission: {notes:?}"))
    }

    fn says(&self, note: &Note) -> bool {
        self.decide().1.contains(note)
    }
}

#[test]
fn one_operation_carries_vote_answers_roots_and_the_next_claim() {
    let plan = Case::in_turn().submission();
    let vote = plan.vote.clone().unwrap();
    assert_eq!(vote.beacon, beacon_of(ROUND));
    assert_eq!(vote.draws.len(), 4);
    assert!(vote.draws.iter().all(|leaf| *leaf < 1_000));
    assert_eq!(plan.roots, roots(PENDING..OPEN));
    assert_eq!(plan.claim.unwrap().max_leaves, GB << 20);

    // A chunk that cannot be read is a missed draw, not a missed round.
    let submission = plan
        .complete(|leaf| (leaf != vote.draws[1]).then(|| vec![1]), None)
        .unwrap();
    let draws: Vec<u8> = submission.beacon.unwrap().1.iter().map(|(draw, _)| *draw).collect();
    assert_eq!(draws, [0, 2, 3]);
    assert_eq!(submission.claim, None);
}

#[test]
fn nothing_is_sent_before_its_turn_or_without_the_beacon() {
    let early = Case::at(1);
    assert!(early.decide().0.is_empty());
    assert!(matches!(early.decide().1[0], Note::NotItsTurn { from } if from >= ROUND * PERIODS + 2));
    let mut blind = Case::in_turn();
    blind.local.beacon = None;
    assert!(blind.decide().0.is_empty());
    assert!(blind.says(&Note::NoBeacon {
        period: ROUND * PERIODS + 2
    }));
}

#[test]
fn what_would_be_executed_after_the_window_is_not_sent() {
    let decision = decide(
        &settings(address(0)),
        &Case::in_turn().snapshot,
        &Case::in_turn().local,
        &[],
    );
    assert_eq!(
        decision.actions[0].1,
        ROUND * PERIODS + PERIODS / 2,
        "valid until the window ends"
    );
    let late = Case::at(PERIODS / 2);
    assert!(late.decide().0.is_empty());
    assert!(late.says(&Note::WindowMissed { round: ROUND }));
}

#[test]
fn an_operation_that_may_have_been_executed_in_time_is_no_missed_window() {
    let mut late = Case::at(PERIODS / 2);
    let kind = Kind::Submit { round: ROUND };
    late.sent = vec![Sent {
        kind: kind.clone(),
        valid_until: late.snapshot.period,
        outcome: Outcome::Pending,
    }];
    assert!(late.says(&Note::InFlight(kind)));
    assert!(!late.says(&Note::WindowMissed { round: ROUND }));
}

#[test]
fn an_operation_in_flight_is_not_sent_again_until_it_expired() {
    let mut case = Case::in_turn();
    let kind = Kind::Submit { round: ROUND };
    let sent = |valid_until, outcome| Sent {
        kind: kind.clone(),
        valid_until,
        outcome,
    };
    case.sent = vec![sent(case.snapshot.period, Outcome::Pending)];
    assert!(case.decide().0.is_empty());
    assert!(case.says(&Note::InFlight(kind.clone())));
    case.sent = vec![sent(case.snapshot.period - 1, Outcome::Pending)];
    assert!(case.submission().vote.is_some());
    case.sent = vec![sent(case.snapshot.period, Outcome::Executed)];
    assert!(case.says(&Note::RoundDone));
    case.sent = vec![sent(case.snapshot.period, Outcome::Refused); 2];
    assert!(case.submission().vote.is_some());
    case.sent = vec![sent(case.snapshot.period, Outcome::Refused); 3];
    assert!(case.decide().0.is_empty());
    assert!(case.says(&Note::GaveUp(kind)));
}

#[test]
fn a_root_that_is_not_the_accepted_one_is_said_loudly() {
    let mut case = Case::in_turn();
    let differing = Differing {
        segment: 2,
        own: root_of(99),
        accepted: root_of(2),
    };
    case.local.differing = Some(differing);
    assert!(case.says(&Note::RootDiffers(differing)));
    assert!(case.submission().claim.is_some(), "of what agrees");
}

#[test]
fn roots_are_voted_for_in_order_and_only_once_a_round() {
    let mut case = Case::in_turn();
    case.local.own_roots.remove(&(PENDING + 1));
    assert_eq!(case.submission().roots, roots(PENDING..PENDING + 1));
    let node = case.snapshot.node.as_mut().unwrap();
    node.votes_round = Some(ROUND);
    node.voted_below_segment = PENDING + 1;
    assert_eq!(case.submission().roots, []);
}

#[test]
fn a_segment_of_the_open_round_is_voted_for_once_it_ended() {
    let mut case = Case::in_turn();
    assert!(case.snapshot.period >= (OPEN + 1) * SEGMENT && case.snapshot.period < (OPEN + 2) * SEGMENT);
    case.local.own_roots.extend(roots(OPEN..OPEN + 2));
    assert_eq!(case.submission().roots, roots(PENDING..OPEN + 1));
    case.snapshot.period = (OPEN + 1) * SEGMENT - 1;
    assert_eq!(case.submission().roots, roots(PENDING..OPEN));
}

#[test]
fn an_operation_has_the_oldest_pending_roots_and_no_more_than_it_may() {
    let mut case = Case::in_turn();
    case.snapshot.state.next_segment = 0;
    case.local.own_roots = roots(0..OPEN).into_iter().collect();
    assert_eq!(case.submission().roots, roots(0..ROOT_VOTES_MAX as u64));
}

#[test]
fn a_segment_with_lost_periods_is_voted_for_from_the_second_round_after_its_own() {
    let mut case = Case::in_turn();
    let last = (OPEN - 1, lost_root_of(OPEN - 1));
    case.local.own_roots = roots(PENDING..OPEN - 1).into_iter().collect();
    case.local.candidate = Some(last);
    assert_eq!(case.submission().roots, roots(PENDING..OPEN - 1), "of round 4");
    case.snapshot.state.next_segment = PENDING - 1;
    case.local.candidate = Some((PENDING - 1, lost_root_of(PENDING - 1)));
    let mut expected = vec![(PENDING - 1, lost_root_of(PENDING - 1))];
    expected.extend(roots(PENDING..OPEN - 1));
    assert_eq!(case.submission().roots, expected, "of round 3");
    // What turned up after all is voted for as it is.
    case.local.own_roots.insert(PENDING - 1, root_of(PENDING - 1));
    assert_eq!(case.submission().roots, roots(PENDING - 1..OPEN - 1));
}

#[test]
fn the_turn_waits_for_the_last_segment_of_the_round_before_and_for_the_claim_to_the_middle_of_the_window() {
    let lead = settings(address(0)).lead_periods;
    let times = RoundTimes {
        round: ROUND,
        periods: PERIODS,
    };
    let until = times.last_turn(lead);
    assert_eq!(until, ROUND * PERIODS + 2 + (PERIODS / 2 - lead - 2) / 2);
    let turn = times.turn(&address(0), lead);
    assert!(turn < until, "of all nodes this one waits");
    for in_round in turn - times.opens()..=until - times.opens() {
        let mut case = Case::at(in_round);
        assert_eq!(case.submission().roots, roots(PENDING..OPEN));
        case.local.last_closed = Some(OPEN - 2);
        case.local.own_roots.remove(&(OPEN - 1));
        let waits = case.snapshot.period < until;
        let segment = OPEN - 1;
        assert_eq!(case.says(&Note::SegmentOpen { segment, until }), waits);
        assert_eq!(case.decide().0.is_empty(), waits);
        // Somebody else's table is enough: the segment is anchored.
        case.snapshot.state.next_segment = OPEN;
        assert!(!case.decide().0.is_empty());

        case.local.claimable.is_settled = false;
        assert_eq!(case.says(&Note::ClaimUnsettled { until }), waits);
        assert_eq!(case.decide().0.is_empty(), waits);
        // Where nothing may be claimed, nothing waits for it.
        case.snapshot.node.as_mut().unwrap().no_claim_before_round = ROUND + 9;
        assert!(!case.decide().0.is_empty());
    }
}

#[test]
fn without_a_claim_in_the_round_a_seasoned_node_votes_for_roots_and_claims_the_next() {
    let mut case = Case::in_turn();
    case.snapshot.node.as_mut().unwrap().slots = [None, None, None];
    let submission = case.submission();
    assert_eq!(submission.roots, roots(PENDING..OPEN));
    assert!(submission.claim.is_some());
}

/// Stake that has not seasoned, or has lapsed, decides nothing; in the first phase an operation brings it back.
#[test]
fn roots_are_voted_for_by_who_has_seasoned() {
    let mut case = Case::in_turn();
    case.snapshot.state.proven = true;
    case.snapshot.period += 8 * PERIODS;
    case.snapshot.node.as_mut().unwrap().slots = [None, None, None];
    let open = ROUND + 8;
    let entry = |case: &mut Case, from| case.snapshot.node.as_mut().unwrap().entry_round = from;
    for (from, votes) in [
        (Some(open), true),
        (Some(open - 7), true),
        (Some(open - 8), false),
        (Some(open + 1), false),
        (None, false),
    ] {
        entry(&mut case, from);
        let expected = if votes { roots(PENDING..OPEN) } else { Vec::new() };
        assert_eq!(case.submission().roots, expected, "{from:?}");
    }
    case.snapshot.state.proven = false;
    entry(&mut case, Some(open - 8));
    assert_eq!(case.submission().roots, []);
    // A round that it passed seasons it at once.
    case.snapshot.state.proven = true;
    case.claim(open - 1, ClaimState::Settled);
    assert_eq!(case.submission().roots, roots(PENDING..OPEN));
}

#[test]
fn a_claim_that_settling_forbids_is_left_out_and_the_answers_are_sent() {
    let mut case = Case::in_turn();
    case.claim(ROUND - 1, ClaimState::Answered);
    let mut other = RoundRecord {
        claims: 3,
        beacon: Some([1; 32]),
        ..RoundRecord::default()
    };
    case.snapshot.rounds.insert(ROUND - 1, other.clone());
    let plan = case.submission();
    assert!(plan.vote.is_some());
    assert_eq!(plan.claim, None, "in the minority in the round before");
    assert!(case.says(&Note::SitsOut { until: ROUND + 3 }));

    // Missed draws cost stake, and what the stake no longer covers cannot be claimed.
    other.beacon = Some(beacon_of(ROUND - 1));
    other.frozen = true;
    other.slash_percentage = 100;
    other.rate = Amount::from_raw(1);
    other.stake_per_gb = Amount::from_raw(STAKE / 10 * 6);
    case.snapshot.rounds.insert(ROUND - 1, other);
    case.snapshot.node.as_mut().unwrap().slots[((ROUND - 1) % 3) as usize]
        .as_mut()
        .unwrap()
        .passes = 2;
    let whole = GB << 20;
    assert_eq!(case.submission().claim.unwrap().max_leaves, whole);
    case.snapshot.node.as_mut().unwrap().stake = Amount::from_raw(STAKE / 10 * 6);
    let left = STAKE / 10 * 6 - STAKE / 10 * 3;
    assert_eq!(left / 1_000_000_000, 30);
    case.snapshot.config.next.stake_per_gb = Amount::from_raw(10_000_000_000);
    assert_eq!(case.submission().claim.unwrap().max_leaves, 3 << 20);
}

#[test]
fn nothing_is_claimed_while_leaving_sitting_out_or_before_the_allocation_counts() {
    let refused = |change: &dyn Fn(&mut Case), note: Note| {
        let mut case = Case::in_turn();
        change(&mut case);
        assert_eq!(case.submission().claim, None);
        assert!(case.says(&note), "{note:?}");
    };
    let node = |case: &mut Case| case.snapshot.node.take().unwrap();
    refused(
        &|case| {
            let n = node(case);
            case.snapshot.node = Some(massa_distributed_storage_worker::smart_contract::state::NodeRecord {
                leave_round: Some(9),
                ..n
            })
        },
        Note::Leaving,
    );
    refused(
        &|case| case.snapshot.node.as_mut().unwrap().no_claim_before_round = 9,
        Note::SitsOut { until: 9 },
    );
    refused(
        &|case| case.snapshot.node.as_mut().unwrap().weight_from_round = 7,
        Note::NothingAllowed,
    );
    refused(
        &|case| case.snapshot.node.as_mut().unwrap().stake = Amount::from_raw(0),
        Note::NothingAllowed,
    );
    refused(&|case| case.local.claimable.leaves = 0, Note::NothingAnchored);
    refused(&|case| case.claim(ROUND + 1, ClaimState::Claimed), Note::RoundDone);
}

#[test]
fn a_claim_beyond_the_limit_is_left_out() {
    use massa_distributed_storage_worker::challenge::sums::Claim;
    let plan = Case::in_turn().submission();
    let claim = |leaves| {
        plan.complete(|_| None, Some(Claim { root: [1; 32], leaves }))
            .unwrap()
            .claim
    };
    assert_eq!(claim(GB << 20), Some(([1; 32], GB << 20)));
    assert_eq!(claim((GB << 20) + 1), None);
    assert_eq!(claim(0), None);
}

#[test]
fn a_paused_registry_and_a_node_that_is_not_registered_are_left_alone() {
    let mut case = Case::in_turn();
    case.snapshot.state.pause_until = u64::MAX;
    assert_eq!(case.decide(), (Vec::new(), vec![Note::Paused]));
    case.snapshot.node = None;
    assert_eq!(case.decide(), (Vec::new(), vec![Note::NotRegistered]));
}

#[test]
fn a_round_that_nothing_closed_in_the_next_window_is_closed_by_the_first_in_line_and_then_by_the_next() {
    let before = ROUND - 1;
    let close = Action::Close {
        round: before,
        period: before * PERIODS,
    };
    let at = |in_round| {
        let mut case = Case::at(in_round);
        // It leaves, and votes for nothing any more.
        let node = case.snapshot.node.as_mut().unwrap();
        (node.leave_round, node.entry_round, node.slots) = (Some(ROUND + 1), None, [None, None, None]);
        case.claim(before, ClaimState::Answered);
        case.snapshot.rounds.insert(
            before,
            RoundRecord {
                claims: 1,
                ..RoundRecord::default()
            },
        );
        case
    };
    let closes = |in_round, rank| {
        let mut case = at(in_round);
        case.local.closing_ranks.insert(before, rank);
        case.decide().0.contains(&close)
    };
    let after = PERIODS / 2 + 1;
    assert!(!closes(0, 0), "an operation of the open round closes it");
    assert!(!closes(after - 1, 0));
    assert!(closes(after, 0));
    assert!(!closes(after, 1));
    assert!(closes(after + 2 * (LAG + 3) + 1, 1));

    let mut claims = at(after);
    claims.snapshot.node.as_mut().unwrap().leave_round = None;
    let actions = claims.decide().0;
    assert!(
        matches!(&actions[..], [Action::Submit(_)]),
        "its claim closes it: {actions:?}"
    );

    let mut closed = at(after);
    closed.snapshot.rounds.get_mut(&before).unwrap().closed = true;
    assert!(!closed.decide().0.contains(&close));
}

#[test]
fn a_round_that_pays_nothing_is_claimed_only_to_keep_a_voice() {
    let claims = |pool: u64, round: u64| {
        let mut case = Case::in_turn();
        case.snapshot.node.as_mut().unwrap().slots = [None, None, None];
        case.snapshot.state.pool = Amount::from_raw(pool);
        case.snapshot.period += (round - 1 - ROUND) * PERIODS;
        let (actions, notes) = case.decide();
        let claimed = actions
            .iter()
            .any(|action| matches!(action, Action::Submit(plan) if plan.claim.is_some()));
        (claimed, notes.contains(&Note::NothingPaid { round }))
    };
    assert_eq!(claims(POOL, ROUND + 1), (true, false));
    assert_eq!(claims(0, ROUND + 1), (false, true));
    assert_eq!(claims(0, ROUND + 3), (true, false), "a multiple of four");
}

#[test]
fn rewards_are_claimed_when_the_fee_is_a_small_part_of_them() {
    let mut case = Case::at(1);
    let settings = settings(address(0));
    let from = settings.fee.saturating_mul_u64(settings.auto_claim_fees.unwrap());
    let mut matured = |amount: Amount| {
        case.snapshot.node.as_mut().unwrap().matured_rewards = amount;
        case.decide()
    };
    assert!(matured(Amount::from_raw(0)).0.is_empty());
    let too_small = Note::RewardsTooSmall { amount: from, from };
    assert!(matured(from).1.contains(&too_small));
    let more = from.saturating_add(Amount::from_raw(1));
    assert_eq!(
        matured(more).0,
        [Action::ClaimRewards {
            round: ROUND,
            amount: more
        }]
    );
    // Credit that matures as the node is settled counts, too.
    case.snapshot.node.as_mut().unwrap().matured_rewards = from;
    case.claim(ROUND - 2, ClaimState::Settled);
    case.snapshot.node.as_mut().unwrap().slots[((ROUND - 2) % 3) as usize]
        .as_mut()
        .unwrap()
        .credit = Amount::from_raw(1);
    assert_eq!(
        case.decide().0,
        [Action::ClaimRewards {
            round: ROUND,
            amount: more
        }]
    );
}

#[test]
fn the_placement_key_is_set_once_the_round_that_gives_it_is_known() {
    let mut case = Case::at(1);
    case.snapshot.node.as_mut().unwrap().placement_key = None;
    assert!(case.decide().0.is_empty() && case.says(&Note::NoPlacementKey));
    case.snapshot.key_round = Some(3);
    assert_eq!(case.decide().0, [Action::SetPlacementKey { round: 3 }]);
    case.snapshot.node.as_mut().unwrap().placement_key = Some([1; 32]);
    assert!(case.decide().0.is_empty());
}

/// What shows that another node claimed falsely for the open round: what it says does not matter here.
fn found(since: u64, rank: u64) -> FoundRefutation {
    let path = || MerkleProof {
        directions: 0,
        siblings: Vec::new(),
    };
    let exhibit = SegmentAnswer {
        position: ChunkPosition::new(0, 0).unwrap(),
        chunk: TableChunk {
            length: 1,
            id: ChunkId::from_bytes([0; 32]),
        },
        sum_path: SumPath::default(),
        leaf: Vec::new(),
        leaf_path: path(),
        segment_path: path(),
    };
    let refutation = Refutation {
        node: address(9),
        round: ROUND,
        exhibit,
        witnesses: Vec::new(),
    };
    FoundRefutation {
        refutation,
        since,
        rank,
    }
}

#[test]
fn a_false_claim_is_shown_by_the_first_in_line_and_by_the_next_ones_while_those_before_are_silent() {
    let lead = settings(address(0)).lead_periods;
    let since = ROUND * PERIODS + 4;
    // Until the next round ends.
    let deadline = (ROUND + 2) * PERIODS - 1;
    let sends = |rank: u64, period: u64| {
        let mut case = Case::at(period - ROUND * PERIODS);
        case.local.refutations = vec![found(since, rank)];
        let refutes = |action: &Action| matches!(action, Action::Refute(_));
        case.decide().0.iter().any(refutes)
    };
    let first = |rank: u64| (since..=deadline).find(|period| sends(rank, *period)).unwrap();
    assert_eq!(first(0), since);
    // The one before would be seen by then.
    assert_eq!(first(1), since + lead + 1);
    assert_eq!(first(3), since + 3 * (lead + 1));
    // However many are silent, half of the time is left for the others.
    let last = since + (deadline - lead - since) / 2;
    assert_eq!((first(1_000), first(u64::MAX)), (last, last));
    assert!(sends(1_000, deadline - lead) && !sends(1_000, deadline - lead + 1));
}

#[test]
fn another_node_is_first_in_line_for_each_accused_and_round_and_the_accused_never() {
    let nodes: Vec<_> = (0..20).map(address).collect();
    let firsts = |round: u64, accused: usize| {
        let ranks: Vec<u64> = nodes
            .iter()
            .map(|node| refuting_rank(node, round, &address(accused), &nodes))
            .collect();
        let others: BTreeSet<u64> = ranks
            .iter()
            .enumerate()
            .filter(|(node, _)| *node != accused)
            .map(|(_, rank)| *rank)
            .collect();
        assert_eq!(others, (0..19).collect());
        ranks
            .iter()
            .enumerate()
            .position(|(node, rank)| node != accused && *rank == 0)
            .unwrap()
    };
    let of_rounds: BTreeSet<usize> = (0..40).map(|round| firsts(round, 3)).collect();
    let of_accused: BTreeSet<usize> = (0..20).map(|accused| firsts(7, accused)).collect();
    assert!(
        of_rounds.len() > 10 && of_accused.len() > 6,
        "{of_rounds:?} {of_accused:?}"
    );
}

#[test]
fn the_root_before_the_first_accepted_one_is_asked_for_in_turn_where_it_pays() {
    let lead = settings(address(0)).lead_periods;
    let asks = |change: &dyn Fn(&mut Case, &mut EarlierHistory)| {
        let mut case = Case::at(1);
        let mut earlier = EarlierHistory {
            segment: 9,
            segments: 9,
            bytes: 9 << 20,
            until: case.snapshot.period + lead,
        };
        change(&mut case, &mut earlier);
        case.local.earlier = Some(earlier);
        case.decide().0.contains(&Action::AnchorEarlier { segment: 9 })
    };
    assert!(asks(&|_, _| ()));
    assert!(!asks(&|_, earlier| earlier.until -= 1), "its turn ends before");
    assert!(!asks(
        &|case, _| case.snapshot.node.as_mut().unwrap().leave_round = Some(9)
    ));
    assert!(
        !asks(&|case, _| case.snapshot.state.pool = Amount::from_raw(0)),
        "nothing is paid"
    );
    assert!(!asks(&|_, earlier| earlier.bytes = 0), "there is nothing to claim");
    // 9 segments of a KiB: 3 copies of a leaf, 60 periods, 400 rounds, 10⁹ nano for a GB and period are 68 664 550.
    let fee = |nano: u64| {
        let mut case = Case::at(1);
        case.local.earlier = Some(EarlierHistory {
            segment: 9,
            segments: 9,
            bytes: 9 << 10,
            until: u64::MAX,
        });
        let settings = Settings {
            fee: Amount::from_raw(nano),
            ..settings(address(0))
        };
        let decision = decide(&settings, &case.snapshot, &case.local, &[]);
        decision
            .actions
            .iter()
            .any(|(action, _)| matches!(action, Action::AnchorEarlier { .. }))
    };
    let deposit = 6_000_000;
    assert!(fee(68_664_549 - deposit) && !fee(68_664_550 - deposit));
}

#[test]
fn turns_for_an_earlier_root_go_round_the_nodes_and_last_until_the_one_before_would_be_seen() {
    let lead = 5;
    let mut counts = [0; 7];
    for period in 0..11 * 7_000 {
        let (index, until) = earlier_turn(100, period, lead, 7).unwrap();
        assert_eq!(until, period / 11 * 11 + 10);
        counts[index] += 1;
    }
    assert!(counts.iter().all(|count| (9_000..13_000).contains(count)), "{counts:?}");
    assert_eq!(earlier_turn(100, 3, lead, 0), None);
    assert_ne!(earlier_turn(100, 0, lead, 1_000), earlier_turn(99, 0, lead, 1_000));
}

#[test]
fn the_turns_of_nodes_differ_and_change_with_the_round() {
    let turns = |round: u64| -> Vec<u64> {
        let times = RoundTimes { round, periods: 100 };
        (0..50)
            .map(|node| times.turn(&address(node), 5) - times.opens())
            .collect()
    };
    let all: BTreeSet<u64> = turns(7).into_iter().collect();
    assert!(all.len() > 15, "{all:?}");
    assert!(all.iter().all(|turn| (2..=25).contains(turn)), "{all:?}");
    assert_ne!(turns(7), turns(8));
}

// What draws find, and what choosing a key is worth.

const CHUNKS: u64 = 200;

/// Leaves of each chunk of a claim of 200 chunks of different lengths.
fn claimed() -> Vec<u64> {
    (0..CHUNKS).map(|number| 100 + number * 37 % 900).collect()
}

/// The chunk of a claimed leaf.
fn chunk_of(claimed: &[u64], mut leaf: u64) -> u64 {
    let is_in = |leaves: &u64| match leaf.checked_sub(*leaves) {
        Some(rest) => {
            leaf = rest;
            false
        }
        None => true,
    };
    claimed.iter().position(is_in).unwrap() as u64
}

fn context(round: u64) -> RoundContext {
    RoundContext {
        chain_id: CHAIN_ID,
        registry: registry().to_string(),
        round,
    }
}

/// Share of 10 000 rounds that fail for a node that lacks the chunks that `lacks` picks.
fn failing_share(claimed: &[u64], key: &[u8; 32], lacks: impl Fn(u64) -> bool) -> f64 {
    let leaves: u64 = claimed.iter().sum();
    let fails = |round: &u64| {
        let context = context(*round);
        let drawn = (0..4).map(|draw| context.drawn_leaf(key, &beacon_of(*round), draw, leaves));
        let mut chunks = drawn.map(|leaf| chunk_of(claimed, leaf));
        chunks.any(&lacks)
    };
    (0..10_000).filter(fails).count() as f64 / 10_000.0
}

/// Four standard deviations of a share of 10 000 with this chance.
fn bound(chance: f64) -> f64 {
    4.0 * (chance * (1.0 - chance) / 10_000.0).sqrt()
}

#[test]
fn who_drops_a_share_but_keeps_claiming_fails_as_often_as_the_table_says() {
    let claimed = claimed();
    for one_in in [2, 10, 20, 100] {
        let lacks = |number: u64| number % one_in == 0;
        let missing: u64 = claimed.iter().step_by(one_in as usize).sum();
        let share = missing as f64 / claimed.iter().sum::<u64>() as f64;
        let expected = failing_chance(share, 4);

        let found = failing_share(&claimed, &[one_in as u8; 32], lacks);

        assert!(
            (found - expected).abs() <= bound(expected),
            "missing {share:.4}: {found:.4}, expected {expected:.4}"
        );
    }
    assert_eq!(
        failing_share(&claimed, &[0; 32], |_| true),
        1.0,
        "claims bytes, stores none"
    );
    assert_eq!(failing_share(&claimed, &[0; 32], |_| false), 0.0, "honest");
}

#[test]
fn the_detection_table_has_the_numbers_of_the_design() {
    let table = detection::table(4, 54.0);
    let row = |missing: f64| table.iter().find(|row| row.missing == missing).unwrap();
    let percent = |chance: f64| (chance * 1000.0).round() / 10.0;
    assert_eq!(percent(row(0.01).in_a_round), 3.9);
    assert!((88.0..90.0).contains(&percent(row(0.01).in_a_day)));
    assert_eq!(percent(row(0.001).in_30_days), 99.8);
}

/// The key follows from a beacon that nobody knows when the address is chosen.
#[test]
fn grinding_an_address_towards_a_chunk_or_away_from_draws_is_no_better_than_chance() {
    let chunk = ChunkId::from_bytes([9; 32]);
    let score =
        |address: &str, beacon: &[u8; 32]| placement_score(&chunk, &placement_key(address, beacon), GB).unwrap();
    let best_under = |guess: &[u8; 32], trial: u64| {
        let addresses = (0..50).map(|number| format!("AU{trial}x{number}"));
        addresses.min_by_key(|address| score(address, guess)).unwrap()
    };
    // Nine honest nodes, three copies: chance is 3 in 10.
    let trials = 2_000;
    let held = (0..trials).filter(|trial| {
        let (guess, real) = (beacon_of(*trial), beacon_of(trial + 1_000_000));
        let own = score(&best_under(&guess, *trial), &real);
        let better = (0..9).filter(|number| score(&format!("AUhonest{trial}x{number}"), &real) < own);
        better.count() < 3
    });
    let share = held.count() as f64 / trials as f64;
    assert!(
        (share - 0.3).abs() < 4.0 * (0.3f64 * 0.7 / trials as f64).sqrt(),
        "{share}"
    );
}
