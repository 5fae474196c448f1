//! What is served to whom, how many messages a peer may send, and what is remembered of it.

mod storage_common;

use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, AuditChallenge, AuditLeaf, Capabilities, PageContent,
};
use massa_distributed_storage_exports::types::{ChallengeId, PAGE_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use massa_protocol_worker::handlers::storage_handler::cache::{StorageCache, StorageCounters};
use massa_protocol_worker::handlers::storage_handler::limiter::{MessageLimiter, TokenBucket, Verdict};
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, MAX_PAGE_FRAME_BYTES};
use massa_protocol_worker::handlers::storage_handler::retrieval::serving::{
    Accepted, Serving, ServingLimits, CHALLENGE_BURST, CHALLENGE_INTERVAL, MAX_WAITING_REQUESTS,
};
use massa_time::MassaTime;
use proptest::prelude::*;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use storage_common::{node, TestChunk, TestServer, PERIOD};

const LIMITS: ServingLimits = ServingLimits {
    bytes_per_peer: 8 * MAX_PAGE_FRAME_BYTES,
    max_chunk_size: 4 * PAGE_BYTES,
};

fn server() -> TestServer {
    TestServer::new([(PERIOD, vec![TestChunk::full(1)])])
}

fn pages(request_id: u64, pages: std::ops::Range<u32>) -> StorageMessage {
    StorageMessage::ChunkRequest {
        request_id,
        period: PERIOD,
        chunk: ChunkIndex(0),
        chunk_id: TestChunk::full(1).entry.id,
        first_page: pages.start,
        pages: pages.len() as u32,
    }
}

fn manifest_request(request_id: u64) -> StorageMessage {
    StorageMessage::ManifestRequest {
        request_id,
        period: PERIOD,
    }
}

fn busy(request_id: u64) -> Accepted {
    Accepted::Refused(StorageMessage::Busy { request_id })
}

/// To whom the next answers go, and to which request they belong.
fn order(serving: &mut Serving) -> Vec<(NodeId, u64)> {
    let server = server();
    let mut order = Vec::new();
    while let Some((to, message)) = serving.next(&server, MassaTime::now(), |_| true) {
        let id = match message {
            StorageMessage::ChunkResponse { request_id, .. } | StorageMessage::ManifestResponse { request_id, .. } => {
                request_id
            }
            other => panic!("{other:?}"),
        };
        order.push((to, id));
    }
    order
}

#[test]
fn peers_take_turns_and_the_requests_of_one_peer_are_served_in_order() {
    let mut serving = Serving::new(LIMITS);
    serving.on_request(node(1), &pages(10, 0..3), Instant::now());
    serving.on_request(node(1), &pages(11, 0..1), Instant::now());
    serving.on_request(node(2), &pages(20, 0..2), Instant::now());
    let expected = [
        (node(1), 10),
        (node(2), 20),
        (node(1), 10),
        (node(2), 20),
        (node(1), 10),
        (node(1), 11),
    ];
    assert_eq!(order(&mut serving), expected);
    assert!(!serving.has_waiting());
}

#[test]
fn the_answers_that_wait_for_a_peer_are_bounded_in_bytes() {
    let mut serving = Serving::new(LIMITS);
    assert_eq!(
        serving.on_request(node(1), &pages(1, 0..4), Instant::now()),
        Accepted::Waits
    );
    assert_eq!(
        serving.on_request(node(1), &pages(2, 0..4), Instant::now()),
        Accepted::Waits
    );
    assert_eq!(serving.waiting_bytes(&node(1)), LIMITS.bytes_per_peer);
    assert_eq!(serving.on_request(node(1), &pages(3, 0..1), Instant::now()), busy(3));
    assert_eq!(
        serving.on_request(node(2), &pages(4, 0..1), Instant::now()),
        Accepted::Waits
    );
    serving.next(&server(), MassaTime::now(), |to| *to == node(1)).unwrap();
    assert_eq!(
        serving.on_request(node(1), &pages(5, 0..1), Instant::now()),
        Accepted::Waits
    );
}

#[test]
fn one_request_is_taken_whatever_it_costs() {
    let limits = ServingLimits {
        bytes_per_peer: 1,
        ..LIMITS
    };
    let mut serving = Serving::new(limits);
    assert_eq!(
        serving.on_request(node(1), &pages(1, 0..4), Instant::now()),
        Accepted::Waits
    );
    assert_eq!(
        serving.on_request(node(1), &manifest_request(2), Instant::now()),
        busy(2)
    );
}

#[test]
fn the_requests_that_wait_for_a_peer_are_bounded_in_number() {
    let limits = ServingLimits {
        bytes_per_peer: usize::MAX,
        ..LIMITS
    };
    let mut serving = Serving::new(limits);
    for id in 0..MAX_WAITING_REQUESTS as u64 {
        assert_eq!(
            serving.on_request(node(1), &manifest_request(id), Instant::now()),
            Accepted::Waits
        );
    }
    assert_eq!(
        serving.on_request(node(1), &manifest_request(99), Instant::now()),
        busy(99)
    );
}

#[test]
fn pages_beyond_max_chunk_size_are_not_held() {
    let mut serving = Serving::new(LIMITS);
    let refused = StorageMessage::ChunkResponse {
        request_id: 1,
        page: 3,
        answer: Answer::NotHeld,
    };
    assert_eq!(
        serving.on_request(node(1), &pages(1, 3..5), Instant::now()),
        Accepted::Refused(refused)
    );
    assert_eq!(
        serving.on_request(node(1), &pages(2, 3..4), Instant::now()),
        Accepted::Waits
    );
}

#[test]
fn what_is_no_request_is_left_to_others() {
    let mut serving = Serving::new(LIMITS);
    let capabilities = Capabilities::default();
    let message = StorageMessage::StorageCapabilities { capabilities };
    assert_eq!(
        serving.on_request(node(1), &message, Instant::now()),
        Accepted::NoRequest
    );
}

#[test]
fn a_peer_that_cannot_be_sent_to_is_passed_over_and_keeps_its_turn() {
    let mut serving = Serving::new(LIMITS);
    serving.on_request(node(1), &pages(1, 0..1), Instant::now());
    serving.on_request(node(2), &pages(2, 0..1), Instant::now());
    assert!(!serving.can_serve(|_| false));
    assert!(serving.next(&server(), MassaTime::now(), |_| false).is_none());
    let (to, _) = serving.next(&server(), MassaTime::now(), |to| *to == node(2)).unwrap();
    assert_eq!(to, node(2));
    assert_eq!(order(&mut serving), [(node(1), 1)]);
}

#[test]
fn a_gone_peer_is_forgotten() {
    let mut serving = Serving::new(LIMITS);
    serving.on_request(node(1), &pages(1, 0..4), Instant::now());
    serving.on_request(node(2), &pages(2, 0..1), Instant::now());
    serving.retain(|peer| *peer == node(2));
    assert_eq!(order(&mut serving), [(node(2), 2)]);
    assert_eq!(serving.waiting_bytes(&node(1)), 0);
}

fn challenge(request_id: u64) -> StorageMessage {
    StorageMessage::Challenge {
        request_id,
        challenge: AuditChallenge {
            challenge_id: ChallengeId::from_bytes([9; 32]),
            period: PERIOD,
            chunk: ChunkIndex(0),
            chunk_id: TestChunk::full(1).entry.id,
            nonce: 3,
        },
    }
}

#[test]
fn a_server_that_proves_nothing_answers_challenges_with_not_held() {
    let mut serving = Serving::new(LIMITS);
    assert_eq!(
        serving.on_request(node(1), &challenge(5), Instant::now()),
        Accepted::Waits
    );
    let (to, answer) = serving.next(&server(), MassaTime::now(), |_| true).unwrap();
    let expected = StorageMessage::ChallengeProof {
        request_id: 5,
        challenge_id: ChallengeId::from_bytes([9; 32]),
        answer: Answer::NotHeld,
    };
    assert_eq!((to, answer), (node(1), expected));
}

#[test]
fn the_challenges_of_one_peer_are_bounded_and_do_not_cost_another_one_his() {
    let mut serving = Serving::new(ServingLimits {
        bytes_per_peer: usize::MAX,
        ..LIMITS
    });
    let start = Instant::now();
    let mut ask = |peer, now| serving.on_request(node(peer), &challenge(1), now);
    for _ in 0..CHALLENGE_BURST {
        assert_eq!(ask(1, start), Accepted::Waits);
    }
    assert_eq!(ask(1, start), busy(1));
    assert_eq!(ask(2, start), Accepted::Waits);
    assert_eq!(ask(1, start + CHALLENGE_INTERVAL), Accepted::Waits);
    assert_eq!(ask(1, start + CHALLENGE_INTERVAL), busy(1));
}

/// A server with a rule, as the rounds give one.
struct Ruled {
    served: TestServer,
    refused: NodeId,
    from: MassaTime,
}

impl ArchiveServer for Ruled {
    fn manifest(&self, period: u64) -> Answer<Vec<u8>> {
        self.served.manifest(period)
    }

    fn page(&self, period: u64, chunk: ChunkIndex, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        self.served.page(period, chunk, chunk_id, page)
    }

    fn held(&self, first_period: u64, periods: u32) -> Vec<Vec<u8>> {
        self.served.held(first_period, periods)
    }

    fn capabilities(&self) -> Capabilities {
        self.served.capabilities()
    }

    fn may_serve(&self, to: &NodeId, period: u64, chunk: ChunkIndex, now: MassaTime) -> bool {
        assert_eq!((period, chunk), (PERIOD, ChunkIndex(0)));
        *to != self.refused || now < self.from
    }

    fn prove(&self, _: &NodeId, _: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
        Answer::Found(Vec::new())
    }
}

#[test]
fn who_may_not_be_served_a_chunk_now_gets_neither_its_pages_nor_its_leaves_and_is_told_to_come_back() {
    let (before, window) = (MassaTime::from_millis(999), MassaTime::from_millis(1000));
    let ruled = Ruled {
        served: server(),
        refused: node(1),
        from: window,
    };
    let mut serving = Serving::new(LIMITS);
    let mut answer = |peer, request: &StorageMessage, now| {
        serving.on_request(node(peer), request, Instant::now());
        let (_, answer) = serving.next(&ruled, now, |_| true).unwrap();
        assert!(!serving.has_waiting() || answer != StorageMessage::Busy { request_id: 7 });
        answer
    };
    let refused = StorageMessage::Busy { request_id: 7 };
    assert_eq!(answer(1, &pages(7, 0..3), window), refused, "one refusal for all pages");
    assert_eq!(answer(1, &challenge(7), window), refused);
    assert_ne!(
        answer(1, &manifest_request(7), window),
        refused,
        "a manifest gives no leaf"
    );
    assert_ne!(answer(1, &pages(7, 0..1), before), refused);
    assert_ne!(answer(2, &pages(7, 0..1), window), refused);
    assert_ne!(answer(2, &challenge(7), window), refused);
}

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

fn ids(range: std::ops::Range<u16>) -> Vec<ChunkId> {
    let id = |number: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        ChunkId::from_bytes(bytes)
    };
    range.map(id).collect()
}

#[test]
fn announced_chunks_of_all_peers_together_are_bounded_and_who_announced_most_loses_its_oldest() {
    let mut cache = StorageCache::new(1000).with_announced_total(150);
    (1..4).for_each(|peer| cache.insert_peer(node(peer)));
    assert_eq!(cache.announce(&node(1), ids(0..100)), ids(0..100));
    cache.announce(&node(2), ids(0..40));
    cache.announce(&node(3), ids(0..40));
    assert_eq!(cache.announced_total(), 150);
    assert!(!cache.has_announced(&node(1), &ids(29..30)[0]));
    assert!(cache.has_announced(&node(1), &ids(30..31)[0]));
    assert!(cache.has_announced(&node(2), &ids(0..1)[0]));
    cache.remove_peer(&node(1));
    assert_eq!(cache.announced_total(), 80);
}

#[test]
fn what_an_unknown_peer_says_is_not_remembered() {
    let mut cache = StorageCache::new(1000);
    assert_eq!(cache.announce(&node(1), ids(0..5)), []);
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
