//! Who is served what while answers to the draws of a round are taken, and what announced repairs change about it.
//!
//! Rounds of 20 periods: round 5 opens with period 100, its beacon is that of period 102, answers are taken up to 110.

use massa_distributed_storage_exports::network::MAX_ANNOUNCED_REPAIRS;
use massa_distributed_storage_exports::{ChunkIndex, ChunkPosition};
use massa_distributed_storage_worker::rounds::guard::{Guard, Seen};
use massa_distributed_storage_worker::rounds::repairs::{
    repairs_max, to_announce, Announced, Repairs, ANNOUNCEMENTS_MAX, REPAIRS_TOTAL,
};
use massa_distributed_storage_worker::rounds::timing::AnswerWindow;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;

const PERIODS: u64 = 20;
const CHUNK_LEAVES: u64 = 1024;
/// Of an anchored segment.
const CHUNK: ChunkPosition = ChunkPosition {
    segment: 7,
    index: ChunkIndex(3),
};

fn node(number: u8) -> NodeId {
    let mut bytes = vec![0];
    bytes.extend([number; 32]);
    NodeId::new(KeyPair::from_bytes(&bytes).unwrap().get_public_key())
}

fn at(segment: u64, index: u32) -> ChunkPosition {
    ChunkPosition::new(segment, index).unwrap()
}

fn chunk(number: u64) -> ChunkPosition {
    at(number / 4, (number % 4) as u32)
}

fn chunks(count: usize) -> Vec<ChunkPosition> {
    (0..count as u64).map(chunk).collect()
}

/// Node 1 claimed 1000 chunks of round 5, node 2 nothing; the clock is `lag` periods ahead of what is final.
struct Bench {
    guard: Guard,
    reads: Cell<u32>,
}

impl Bench {
    fn new() -> Self {
        Self {
            guard: Guard::new(PERIODS, CHUNK_LEAVES),
            reads: Cell::new(0),
        }
    }

    fn look(&mut self, final_period: u64, current_period: u64) {
        let seen = Seen {
            final_period,
            current_period,
            anchored_below: 600,
        };
        let reads = &self.reads;
        self.guard.look(seen, |round| {
            reads.set(reads.get() + 1);
            let claims = [(node(1), 1000 * CHUNK_LEAVES)];
            if round == 5 {
                BTreeMap::from(claims)
            } else {
                BTreeMap::new()
            }
        });
    }

    fn lets_through(&self, to: u8, position: ChunkPosition) -> bool {
        self.guard.lets_through(&node(to), position)
    }
}

#[test]
fn a_claimant_is_refused_from_the_beacons_period_by_the_clock_until_the_window_is_over_in_final_state() {
    let mut bench = Bench::new();
    let lag = 3;
    let refused: Vec<u64> = (95..130)
        .filter(|current| {
            bench.look(current - lag, *current);
            !bench.lets_through(1, CHUNK)
        })
        .collect();
    let expected: Vec<u64> = (102..=110 + lag).collect();
    assert_eq!(refused, expected);
}

#[test]
fn who_claimed_nothing_and_what_is_not_anchored_is_let_through() {
    let mut bench = Bench::new();
    bench.look(102, 105);
    assert!(!bench.lets_through(1, CHUNK));
    assert!(bench.lets_through(2, CHUNK));
    assert!(!bench.lets_through(1, at(599, 0)), "segment 599 is anchored");
    assert!(bench.lets_through(1, at(600, 0)), "segment 600 is not");
}

#[test]
fn claims_are_read_until_no_claim_can_be_added_and_then_once() {
    let mut bench = Bench::new();
    for (final_period, reads) in [(98, 1), (99, 2), (100, 2), (101, 2)] {
        bench.look(final_period, 103);
        assert_eq!(bench.reads.get(), reads, "at {final_period}");
    }
}

#[test]
fn audits_wait_a_period_before_and_after_what_this_node_sees() {
    let lag = 3;
    let window = |current: u64| AnswerWindow::around(current - lag, current, PERIODS);
    let waits: Vec<u64> = (95..120).filter(|current| window(*current).is_some()).collect();
    assert_eq!(waits, (101..=111 + lag).collect::<Vec<_>>());
    let expected = AnswerWindow {
        round: 5,
        over_with: 112,
        periods_left: 12,
    };
    assert_eq!(window(103), Some(expected));
    assert_eq!(
        Bench::new().guard.answer_window(),
        None,
        "without a registry there is no window"
    );
}

#[test]
fn what_was_announced_before_the_beacon_is_let_through_and_nothing_else() {
    let mut bench = Bench::new();
    let announced = bench.guard.repairs().on_announced(node(1), 5, &[CHUNK], 101);
    assert_eq!(announced, Announced::Taken { new: 1 });
    bench.look(99, 102);
    assert!(bench.lets_through(1, CHUNK));
    assert!(!bench.lets_through(1, at(7, 4)));
    assert!(!bench.lets_through(1, at(8, 3)));
}

#[test]
fn what_is_announced_after_the_beacon_or_for_another_round_does_not_count() {
    let mut bench = Bench::new();
    for (round, period, next) in [(5, 102, 6), (5, 110, 6), (6, 101, 5), (4, 101, 5)] {
        let announced = bench.guard.repairs().on_announced(node(1), round, &[CHUNK], period);
        assert_eq!(announced, Announced::OtherRound { next }, "for {round} in {period}");
    }
    bench.look(102, 105);
    assert!(!bench.lets_through(1, CHUNK));
}

#[test]
fn the_announcement_of_another_node_has_no_effect() {
    let mut bench = Bench::new();
    bench.guard.repairs().on_announced(node(2), 5, &[CHUNK], 101);
    bench.look(102, 105);
    assert!(!bench.lets_through(1, CHUNK));
}

#[test]
fn an_announcement_holds_for_one_round_and_is_forgotten_with_it() {
    let mut bench = Bench::new();
    bench.look(96, 99);
    bench.guard.repairs().on_announced(node(1), 5, &[CHUNK], 99);
    bench.look(110, 113);
    assert_eq!(
        bench.guard.repairs().total(),
        2,
        "while answers are taken it is remembered"
    );
    bench.look(111, 114);
    assert_eq!(bench.guard.repairs().total(), 0);
    assert!(!bench.guard.repairs().covers(&node(1), 5, CHUNK, 8));
    assert!(!bench.guard.repairs().covers(&node(1), 6, CHUNK, 8));
}

#[test]
fn eight_chunks_or_one_percent_of_the_claim_are_let_through_and_no_more() {
    assert_eq!(repairs_max(0, CHUNK_LEAVES), 8);
    assert_eq!(repairs_max(899 * CHUNK_LEAVES, CHUNK_LEAVES), 8);
    assert_eq!(repairs_max(1000 * CHUNK_LEAVES, CHUNK_LEAVES), 10);
    assert_eq!(repairs_max(u64::MAX, CHUNK_LEAVES), MAX_ANNOUNCED_REPAIRS);
    let mut bench = Bench::new();
    bench.guard.repairs().on_announced(node(1), 5, &chunks(11), 101);
    bench.look(102, 105);
    let let_through: Vec<bool> = chunks(11)
        .into_iter()
        .map(|chunk| bench.lets_through(1, chunk))
        .collect();
    assert_eq!(let_through, [vec![true; 10], vec![false]].concat());
}

#[test]
fn what_is_remembered_is_bounded_for_each_node_and_in_all() {
    let mut repairs = Repairs::new(PERIODS);
    for number in 0..ANNOUNCEMENTS_MAX {
        let announced = repairs.on_announced(node(1), 5, &[chunk(u64::from(number))], 99);
        assert_eq!(announced, Announced::Taken { new: 1 });
        let again = repairs.on_announced(node(1), 5, &[chunk(u64::from(number))], 99);
        assert_eq!(
            again,
            Announced::Taken { new: 0 },
            "told again after the connection was lost"
        );
    }
    assert_eq!(repairs.on_announced(node(1), 5, &[chunk(99)], 99), Announced::TooOften);
    let mut number = 0u8;
    while repairs.on_announced(node(200u8.wrapping_add(number)), 5, &chunks(MAX_ANNOUNCED_REPAIRS), 99)
        != Announced::Full
    {
        number += 1;
        assert!(number < 100);
    }
    assert!(repairs.total() <= REPAIRS_TOTAL && repairs.total() > REPAIRS_TOTAL / 2);
    // A second announcement does not get a node more than one may name.
    let mut repairs = Repairs::new(PERIODS);
    repairs.on_announced(node(1), 5, &chunks(1000), 99);
    repairs.on_announced(node(1), 5, &(2000..3000).map(chunk).collect::<Vec<_>>(), 99);
    assert_eq!(repairs.total(), 1 + MAX_ANNOUNCED_REPAIRS);
}

#[test]
fn a_node_announces_what_its_claim_covers_of_what_it_lacks_the_newest_first_and_no_more_than_it_may() {
    let lacking = chunks(20);
    let covers = |chunk: &ChunkPosition| chunk.index.0 != 0;
    let announced = to_announce(&lacking, 100 * CHUNK_LEAVES, CHUNK_LEAVES, covers);
    let expected: Vec<_> = lacking.iter().filter(|chunk| covers(chunk)).skip(7).copied().collect();
    assert_eq!(announced, expected, "8 of 15, ascending as the message wants them");
    assert!(to_announce(&[], 100, CHUNK_LEAVES, covers).is_empty());
}

proptest! {
    /// Whatever is announced when, by whom: in a window a claimant gets only what it announced before, for this round, as much
    /// as it may.
    #[test]
    fn no_order_of_announcements_gets_a_claimant_more(
        announcements in proptest::collection::vec((1u8..4, 3u64..8, 80u64..125, proptest::collection::btree_set(0u64..40, 0..12)), 0..20),
    ) {
        let mut announcements = announcements;
        announcements.sort_by_key(|(_, _, period, _)| *period);
        let mut bench = Bench::new();
        let mut asked = Vec::new();
        for (by, round, period, named) in announcements {
            bench.look(period - 3, period);
            let named: Vec<_> = named.into_iter().map(chunk).collect();
            bench.guard.repairs().on_announced(node(by), round, &named, period);
            if by == 1 && round == 5 && (82..102).contains(&period) {
                asked.extend(named);
            }
        }
        bench.look(105, 108);
        let got: Vec<_> = (0..40).map(chunk).filter(|chunk| bench.lets_through(1, *chunk)).collect();
        prop_assert!(got.len() <= 10);
        prop_assert!(got.iter().all(|chunk| asked.contains(chunk)));
    }
}
