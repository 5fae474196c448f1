//! How many copies of everything fit, and what a node keeps that is full by chance.

use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_worker::replication::room::{factor_in_force, KeepLimit, RoundRoom};
use massa_distributed_storage_worker::replication::OwnChunk;
use proptest::prelude::*;

const GB: u64 = 1 << 30;

/// A round in which so many GB are archived, and nodes offer so many.
fn round(archived_gb: u64, lasting_gb: u64) -> RoundRoom {
    RoundRoom {
        total_bytes: archived_gb * GB,
        lasting_gb,
    }
}

#[test]
fn as_many_copies_as_fit_nine_tenths_of_the_allocations() {
    // 9/10 of 1000 GB: three copies of 300 GB fit, and not of one byte more.
    assert_eq!(factor_in_force(3, &[round(300, 1000)]), 3);
    let mut more = round(300, 1000);
    more.total_bytes += 1;
    assert_eq!(factor_in_force(3, &[more]), 2);
    assert_eq!(factor_in_force(3, &[round(450, 1000)]), 2);
    assert_eq!(factor_in_force(3, &[round(451, 1000)]), 1);
    // Never more than the network asks for, and without an archive just that.
    assert_eq!(factor_in_force(3, &[round(1, 1000)]), 3);
    assert_eq!(factor_in_force(3, &[round(0, 0)]), 3);
    assert_eq!(factor_in_force(3, &[]), 3);
}

#[test]
fn where_not_even_one_copy_fits_one_is_asked_for_all_the_same() {
    assert_eq!(factor_in_force(3, &[round(2000, 1000)]), 1);
    assert_eq!(factor_in_force(3, &[round(2000, 0)]), 1);
}

#[test]
fn the_round_with_the_least_room_decides() {
    let (large, small) = (round(100, 1000), round(100, 250));
    assert_eq!(factor_in_force(3, &[large; 8]), 3);
    for place in 0..8 {
        let mut rounds = [large; 8];
        rounds[place] = small;
        assert_eq!(factor_in_force(3, &rounds), 2);
    }
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
    fn the_factor_is_the_largest_that_fits_in_every_round(
        rounds in proptest::collection::vec((1u64..2000, 0u64..4000), 1..30),
        configured in 1u64..6,
    ) {
        let rounds: Vec<RoundRoom> = rounds.into_iter().map(|(archived, lasting)| round(archived, lasting)).collect();
        let factor = factor_in_force(configured, &rounds);
        let fits = |factor: u64| rounds.iter().all(|round| {
            u128::from(round.total_bytes) * u128::from(factor) * 10 <= u128::from(round.lasting_gb * GB) * 9
        });
        prop_assert!((1..=configured).contains(&factor));
        prop_assert!(factor == 1 || fits(factor));
        prop_assert!(factor == configured || !fits(factor + 1));
    }
}
