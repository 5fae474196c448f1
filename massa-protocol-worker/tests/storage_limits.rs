//! What one peer, and all of them together, can make the storage handler do and keep.

mod storage_common;

use massa_distributed_storage_exports::network::{AnnouncedChunk, Capabilities};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_protocol_worker::handlers::storage_handler::cache::{StorageCache, StorageCounters};
use massa_protocol_worker::handlers::storage_handler::limiter::{MessageLimiter, TokenBucket, Verdict};
use proptest::prelude::*;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use storage_common::node;

proptest! {
    #[test]
    fn a_bucket_never_gives_more_than_its_burst_and_its_rate(
        burst in 1u32..20,
        interval in 1u64..100,
        pauses in prop::collection::vec(0u64..200, 1..200),
    ) {
        let mut bucket = TokenBucket::new(burst, Duration::from_millis(interval));
        let start = Instant::now();
        let (mut now, mut taken) = (start, 0u128);
        for pause in pauses {
            now += Duration::from_millis(pause);
            taken += u128::from(bucket.take(now));
            let most = u128::from(burst) + (now - start).as_millis() / u128::from(interval);
            prop_assert!(taken <= most);
        }
        now += Duration::from_millis(interval) * burst;
        for _ in 0..burst {
            prop_assert!(bucket.take(now), "a bucket fills up");
        }
        prop_assert!(!bucket.has_one(now));
    }
}

#[test]
fn a_peer_may_send_so_many_messages_a_second_and_is_told_a_few_times_when_it_sends_more() {
    let counters = StorageCounters::default();
    let mut limiter = MessageLimiter::new(3, counters.clone());
    let now = Instant::now();
    let verdicts: Vec<Verdict> = (0..15).map(|_| limiter.judge(node(1), false, now)).collect();
    let count = |verdict| verdicts.iter().filter(|given| **given == verdict).count();
    assert_eq!(
        (count(Verdict::Accept), count(Verdict::Refuse), count(Verdict::Drop)),
        (3, 10, 2)
    );
    assert_eq!(counters.dropped.load(Relaxed), 12);
    assert_eq!(limiter.judge(node(2), false, now), Verdict::Accept, "another peer");
    assert_eq!(limiter.judge(node(1), true, now), Verdict::Accept, "what was asked for");
    let later = now + Duration::from_secs(1);
    assert_eq!(limiter.judge(node(1), false, later), Verdict::Accept);
}

#[test]
fn a_peer_that_sends_too_much_that_nobody_asked_for_is_not_listened_to_for_a_while() {
    let mut limiter = MessageLimiter::new(1_000_000, StorageCounters::default());
    let now = Instant::now();
    let floods_after = (0..1000).find(|_| limiter.stray(node(1), now));
    assert_eq!(floods_after, Some(64));
    assert_eq!(limiter.judge(node(1), false, now), Verdict::Drop);
    assert_eq!(limiter.judge(node(1), true, now), Verdict::Drop, "not even answers");
    limiter.forget_idle(|_| false, now);
    assert_eq!(
        limiter.judge(node(1), false, now),
        Verdict::Drop,
        "coming back does not help"
    );
    let later = now + Duration::from_secs(10);
    assert_eq!(limiter.judge(node(1), false, later), Verdict::Accept);
}

#[test]
fn late_answers_now_and_then_are_forgiven() {
    let mut limiter = MessageLimiter::new(1_000_000, StorageCounters::default());
    let start = Instant::now();
    assert!((0..10_000u32).all(|second| !limiter.stray(node(1), start + Duration::from_secs(1) * second)));
}

const SEGMENT: u64 = 5;

fn chunks(range: std::ops::Range<u32>) -> Vec<AnnouncedChunk> {
    let chunk = |number: u32| AnnouncedChunk {
        index: ChunkIndex(number),
        id: ChunkId::from_bytes([number as u8; 32]),
    };
    range.map(chunk).collect()
}

#[test]
fn announced_chunks_of_all_peers_together_are_bounded_and_who_announced_most_loses_its_oldest() {
    let mut cache = StorageCache::new(1000).with_announced_total(150);
    (1..4).for_each(|peer| cache.insert_peer(node(peer)));
    assert_eq!(cache.announce(&node(1), SEGMENT, chunks(0..100)), chunks(0..100));
    cache.announce(&node(2), SEGMENT, chunks(0..40));
    cache.announce(&node(3), SEGMENT, chunks(0..40));
    assert_eq!(cache.announced_total(), 150);
    // What is remembered is no news. Asked last for what is forgotten, for this makes it known again.
    assert_eq!(cache.announce(&node(1), SEGMENT, chunks(30..31)), []);
    assert_eq!(cache.announce(&node(2), SEGMENT, chunks(0..1)), []);
    assert_eq!(cache.announce(&node(1), SEGMENT, chunks(29..30)), chunks(29..30));
    assert_eq!(cache.announced_total(), 150);
    cache.remove_peer(&node(1));
    assert_eq!(cache.announced_total(), 80);
}

#[test]
fn a_chunk_of_another_segment_or_with_another_id_at_its_position_is_news() {
    let mut cache = StorageCache::new(1000);
    cache.insert_peer(node(1));
    assert_eq!(cache.announce(&node(1), SEGMENT, chunks(0..2)), chunks(0..2));
    assert_eq!(cache.announce(&node(1), SEGMENT + 1, chunks(0..2)), chunks(0..2));
    let mut other = chunks(0..1);
    other[0].id = ChunkId::from_bytes([99; 32]);
    assert_eq!(cache.announce(&node(1), SEGMENT, other.clone()), other);
    assert_eq!(cache.announce(&node(1), SEGMENT, chunks(0..2)), []);
}

#[test]
fn what_an_unknown_peer_says_is_not_remembered() {
    let mut cache = StorageCache::new(1000);
    assert_eq!(cache.announce(&node(1), SEGMENT, chunks(0..5)), []);
    assert!(!cache.set_capabilities(&node(1), Capabilities::default()));
    assert_eq!(cache.storage_peers(Instant::now()), []);
}

#[test]
fn a_quarantine_outlasts_a_connection() {
    let mut cache = StorageCache::new(1000);
    let now = Instant::now();
    cache.insert_peer(node(1));
    cache.set_quarantine(node(1), now + Duration::from_secs(10));
    cache.remove_peer(&node(1));
    cache.insert_peer(node(1));
    assert!(cache.storage_peers(now)[0].quarantined);
    assert!(!cache.storage_peers(now + Duration::from_secs(10))[0].quarantined);
}
