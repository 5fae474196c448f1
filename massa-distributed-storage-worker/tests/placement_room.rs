//! How many copies of everything fit, and what a node keeps that is full by chance.

use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_worker::replication::room::{
    factor_in_force, lasting_bytes, FactorHistory, KeepLimit, RoundRoom, RAISE_ROUNDS,
};
use massa_distributed_storage_worker::replication::OwnChunk;
use massa_models::address::Address;
use massa_signature::KeyPair;
use proptest::prelude::*;

const GB: u64 = 1 << 30;

/// A round in which three copies are asked for and so many GB are archived, on nodes that offer so many.
fn round(archived_gb: u64, allocated_gb: u64) -> RoundRoom {
    RoundRoom {
        configured: 3,
        total_bytes: archived_gb * GB,
        allocated_bytes: u128::from(allocated_gb * GB),
    }
}

fn factors(rounds: &[RoundRoom]) -> Vec<u64> {
    let mut history = FactorHistory::new();
    rounds.iter().map(|round| history.next_round(*round)).collect()
}

#[test]
fn as_many_copies_as_fit_nine_tenths_of_the_allocations() {
    // 9/10 of 1000 GB: three copies of 300 GB fit, and not of one byte more.
    assert_eq!(factors(&[round(300, 1000)]), [3]);
    let mut more = round(300, 1000);
    more.total_bytes += 1;
    assert_eq!(factors(&[more]), [2]);
    assert_eq!(factors(&[round(450, 1000)]), [2]);
    assert_eq!(factors(&[round(451, 1000)]), [1]);
    // Never more than the network asks for, and without an archive just that.
    assert_eq!(factors(&[round(1, 1000)]), [3]);
    assert_eq!(factors(&[round(0, 0)]), [3]);
}

#[test]
fn where_not_even_one_copy_fits_one_is_asked_for_all_the_same() {
    assert_eq!(factors(&[round(2000, 1000)]), [1]);
    assert_eq!(factors(&[round(2000, 0)]), [1]);
}

#[test]
fn it_is_lowered_at_once_and_raised_after_eight_rounds_with_eight_tenths() {
    let (large, small) = (round(100, 1000), round(100, 250));
    let mut rounds = vec![large, small];
    rounds.extend([large; 9]);
    let mut expected = vec![3, 2];
    expected.extend([2; RAISE_ROUNDS - 1]);
    expected.extend([3, 3]);
    assert_eq!(factors(&rounds), expected);
}

#[test]
fn what_fits_nine_tenths_and_not_eight_does_not_raise_it() {
    let mut rounds = vec![round(100, 250)];
    // Three copies are 300 GB: 9/10 of 340 GB are 306, 8/10 are 272.
    rounds.extend([round(100, 340); 20]);
    assert_eq!(factors(&rounds).last(), Some(&2));
    rounds.extend([round(100, 375); RAISE_ROUNDS]);
    assert_eq!(factors(&rounds)[20..], [vec![2; RAISE_ROUNDS], vec![3]].concat());
}

#[test]
fn one_round_without_room_makes_it_wait_again() {
    let mut rounds = vec![round(100, 250)];
    rounds.extend([round(100, 1000); RAISE_ROUNDS - 1]);
    rounds.push(round(100, 250));
    rounds.extend([round(100, 1000); RAISE_ROUNDS]);
    let found = factors(&rounds);
    assert_eq!(found[..found.len() - 1], vec![2; found.len() - 1]);
    assert_eq!(found.last(), Some(&3));
}

#[test]
fn a_factor_from_the_record_of_a_round_is_gone_on_with() {
    let mut history = FactorHistory::of_record(2);
    let found: Vec<u64> = (0..9).map(|_| history.next_round(round(1, 1000))).collect();
    assert_eq!(found, [2, 2, 2, 2, 2, 2, 2, 3, 3]);
    assert_eq!(history.factor(), Some(3));
    assert_eq!(FactorHistory::of_record(0).factor(), Some(1));
}

#[test]
fn the_configured_factor_is_never_exceeded() {
    let mut asked = round(1, 1000);
    let mut rounds = vec![asked; 10];
    asked.configured = 2;
    rounds.push(asked);
    asked.configured = 5;
    rounds.push(asked);
    // There was room for more for long: what the network asks for is in force at once.
    assert_eq!(factors(&rounds)[9..], [3, 2, 5]);
    assert_eq!(factor_in_force(&rounds), Some(5));
    assert_eq!(factor_in_force(&[]), None);
}

#[test]
fn the_allocation_of_nodes_with_retention_is_no_room() {
    let owner = KeyPair::generate(0).unwrap().get_public_key();
    let node = |name: u8, gb, retention_periods| StorageNode {
        node_id: None,
        address: Address::from_public_key(&owner),
        placement_key: [name; 32],
        allocated_storage_gb: gb,
        filled: true,
        retention_periods,
        listeners: Vec::new(),
    };
    let nodes = NodeSet::new(vec![node(1, 5, 0), node(2, 7, 400), node(3, u64::MAX, 0)]);
    assert_eq!(lasting_bytes(&nodes), (u128::from(u64::MAX) + 5) << 30);
}

fn own(segment: u64, rank: u16, rounded_score: u64, bytes: u64) -> OwnChunk {
    OwnChunk {
        position: ChunkPosition::new(segment, 0).unwrap(),
        rank,
        rounded_score,
        bytes,
    }
}

#[test]
fn a_full_node_keeps_the_chunks_of_its_best_ranks_then_those_of_its_lowest_scores() {
    let mine = [
        own(0, 2, 5, 10),
        own(1, 0, 900, 10),
        own(2, 1, 70, 10),
        own(3, 1, 60, 10),
    ];
    let kept = |room: u64| -> Vec<u64> {
        let limit = KeepLimit::new(mine.iter().copied(), room);
        let kept = mine.iter().filter(|own| limit.keeps(own));
        kept.map(|own| own.position.segment).collect()
    };
    assert_eq!(kept(40), [0, 1, 2, 3]);
    assert_eq!(kept(39), [1, 2, 3]);
    assert_eq!(kept(29), [1, 3]);
    assert_eq!(kept(10), [1]);
    assert_eq!(kept(9), Vec::<u64>::new());
}

proptest! {
    #[test]
    fn what_is_kept_fits_and_one_more_chunk_would_not(
        chunks in proptest::collection::vec((0u16..4, 0u64..50, 1u64..100), 0..50),
        room in 0u64..3000,
    ) {
        let mine: Vec<OwnChunk> = chunks.iter().zip(0..).map(|((rank, score, bytes), at)| own(at, *rank, *score, *bytes)).collect();
        let limit = KeepLimit::new(mine.iter().copied(), room);
        let (kept, left): (Vec<OwnChunk>, Vec<OwnChunk>) = mine.iter().partition(|own| limit.keeps(own));
        let bytes: u64 = kept.iter().map(|own| own.bytes).sum();
        prop_assert!(bytes <= room);
        let order = |own: &&OwnChunk| (own.rank, own.rounded_score, own.position);
        if let Some(next) = left.iter().min_by_key(order) {
            prop_assert!(bytes + next.bytes > room);
            prop_assert!(kept.iter().all(|own| order(&own) < order(&next)));
        }
    }

    #[test]
    fn the_factor_always_fits_unless_it_is_one(
        rounds in proptest::collection::vec((1u64..2000, 0u64..4000, 1u64..6), 1..30),
    ) {
        let rounds: Vec<RoundRoom> = rounds.into_iter().map(|(archived, allocated, configured)| RoundRoom {
            configured,
            ..round(archived, allocated)
        }).collect();
        for (factor, round) in factors(&rounds).into_iter().zip(&rounds) {
            let taken = u128::from(round.total_bytes) * u128::from(factor);
            prop_assert!(factor == 1 || taken * 10 <= round.allocated_bytes * 9);
            prop_assert!(factor <= round.configured);
        }
    }
}
