//! How a peer is challenged: small requests first, then the challenge, once; every challenge ends.

mod storage_common;

use crossbeam_channel::{unbounded, Receiver};
use massa_distributed_storage_exports::network::{
    Answer, AuditChallenge, AuditLeaf, Challenge, ChallengeAnswer, ChallengeEvent, ChallengeFailure, StorageNetwork,
};
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, MerkleProof};
use massa_protocol_exports::ProtocolConfig;
use massa_protocol_worker::handlers::storage_handler::audits::{ChallengeAction, Challenges, MAX_OPEN_CHALLENGES};
use massa_protocol_worker::handlers::storage_handler::messages::StorageMessage;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage_common::double::{write, HandlerBench};
use storage_common::{node, TestChunk, TestServer, DEADLINE};

const TIMEOUT: Duration = Duration::from_secs(30);
const SEGMENT: u64 = 7;

fn asked() -> AuditChallenge {
    AuditChallenge {
        challenge_id: ChallengeId::from_bytes([9; 32]),
        position: ChunkPosition::new(SEGMENT, 0).unwrap(),
        chunk_id: ChunkId::from_bytes([8; 32]),
        nonce: 3,
    }
}

fn challenge(id: u64, number: u32) -> (Challenge, Receiver<ChallengeEvent>) {
    let (reply, events) = unbounded();
    let challenge = Challenge {
        id,
        node: node(number),
        challenge: asked(),
        timeout: TIMEOUT,
        reply,
    };
    (challenge, events)
}

fn leaves() -> Vec<AuditLeaf> {
    let path = MerkleProof {
        directions: 0,
        siblings: Vec::new(),
    };
    vec![AuditLeaf {
        bytes: vec![1],
        path,
        signatures: Vec::new(),
    }]
}

fn proof(request_id: u64, answer: Answer<Vec<AuditLeaf>>) -> StorageMessage {
    StorageMessage::ChallengeProof {
        request_id,
        challenge_id: asked().challenge_id,
        answer,
    }
}

fn held(request_id: u64) -> StorageMessage {
    StorageMessage::HeldResponse {
        request_id,
        first_segment: SEGMENT,
        held: vec![vec![1]],
    }
}

/// The only request among the actions.
fn sent(actions: &[ChallengeAction]) -> (u64, StorageMessage) {
    match actions {
        [ChallengeAction::Send {
            request_id, message, ..
        }] => (*request_id, message.clone()),
        other => panic!("{other:?}"),
    }
}

/// The only event among the actions.
fn event(actions: &[ChallengeAction]) -> Result<ChallengeAnswer, ChallengeFailure> {
    match actions {
        [ChallengeAction::Reply { event, .. }] => event.answer.clone(),
        other => panic!("{other:?}"),
    }
}

fn after(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

/// A peer that has answered both small requests, after 30 and 20 ms: the id of the challenge's request.
fn challenged(challenges: &mut Challenges, start: Instant) -> u64 {
    let (first, _) = sent(&challenges.on_challenge(challenge(1, 2).0, true, start));
    let (second, _) = sent(&challenges.on_message(node(2), held(first), after(start, 30)));
    let (third, message) = sent(&challenges.on_message(node(2), held(second), after(start, 50)));
    assert_eq!(
        message,
        StorageMessage::Challenge {
            request_id: third,
            challenge: asked()
        }
    );
    third
}

#[test]
fn the_time_of_an_answer_is_measured_beside_that_of_a_small_request() {
    let (mut challenges, start) = (Challenges::new(), Instant::now());
    let request = challenged(&mut challenges, start);
    assert!(challenges.is_open(&node(2), request));
    let answer = event(&challenges.on_message(node(2), proof(request, Answer::Found(leaves())), after(start, 120)));
    let expected = ChallengeAnswer {
        challenge_id: asked().challenge_id,
        leaves: leaves(),
        elapsed: Duration::from_millis(70),
        round_trip: Duration::from_millis(20),
    };
    assert_eq!(answer, Ok(expected));
    assert_eq!(challenges.open_challenges(), 0);
}

#[test]
fn a_node_that_says_that_it_does_not_hold_the_chunk_is_believed() {
    for answer in [Answer::NotHeld, Answer::NotYet, Answer::Pruned] {
        let (mut challenges, start) = (Challenges::new(), Instant::now());
        let request = challenged(&mut challenges, start);
        let ended = event(&challenges.on_message(node(2), proof(request, answer), after(start, 60)));
        assert_eq!(ended, Err(ChallengeFailure::NotHeld));
    }
}

#[test]
fn each_failure_is_told() {
    let start = Instant::now();
    let end = |action: fn(&mut Challenges, u64, Instant) -> Vec<ChallengeAction>| {
        let mut challenges = Challenges::new();
        let request = challenged(&mut challenges, start);
        let ended = event(&action(&mut challenges, request, start));
        assert_eq!(challenges.open_challenges(), 0);
        ended.unwrap_err()
    };
    let busy = |challenges: &mut Challenges, request_id, now| {
        challenges.on_message(node(2), StorageMessage::Busy { request_id }, now)
    };
    assert_eq!(end(busy), ChallengeFailure::Refused);
    assert_eq!(
        end(|challenges, id, _| challenges.on_malformed(&node(2), id)),
        ChallengeFailure::Malformed
    );
    assert_eq!(
        end(|challenges, id, now| challenges.on_message(node(2), held(id), now)),
        ChallengeFailure::Malformed,
        "the answer to another request"
    );
    assert_eq!(
        end(|challenges, _, now| challenges.on_tick(now + TIMEOUT)),
        ChallengeFailure::Timeout
    );
    assert_eq!(
        end(|challenges, _, now| challenges.on_peers(&HashSet::new(), now)),
        ChallengeFailure::NotConnected
    );
    assert_eq!(
        end(|challenges, id, _| challenges.on_not_sent(&node(2), id)),
        ChallengeFailure::NotConnected
    );
}

#[test]
fn a_node_that_is_not_connected_is_dialed_and_asked_when_it_is() {
    let (mut challenges, start) = (Challenges::new(), Instant::now());
    let actions = challenges.on_challenge(challenge(1, 2).0, false, start);
    assert!(matches!(actions[..], [ChallengeAction::Dial { node: dialed }] if dialed == node(2)));
    let connected = HashSet::from([node(2), node(3)]);
    let (_, message) = sent(&challenges.on_peers(&connected, after(start, 10)));
    assert!(matches!(message, StorageMessage::HeldRequest { .. }));
    assert!(challenges.on_peers(&connected, after(start, 20)).is_empty(), "once");

    let mut challenges = Challenges::new();
    challenges.on_challenge(challenge(1, 2).0, false, start);
    assert!(challenges.on_tick(after(start, 29_999)).is_empty());
    let ended = event(&challenges.on_tick(after(start, 30_000)));
    assert_eq!(ended, Err(ChallengeFailure::NotConnected));
}

#[test]
fn answers_of_another_peer_or_to_an_older_request_change_nothing() {
    let (mut challenges, start) = (Challenges::new(), Instant::now());
    let request = challenged(&mut challenges, start);
    let answer = || Answer::Found(leaves());
    assert!(challenges
        .on_message(node(3), proof(request, answer()), start)
        .is_empty());
    assert!(challenges
        .on_message(node(2), proof(request - 1, answer()), start)
        .is_empty());
    assert!(!challenges.is_open(&node(3), request));
    challenges.on_message(node(2), proof(request, answer()), start);
    let again = challenges.on_message(node(2), proof(request, answer()), start);
    assert!(again.is_empty(), "a replay");
}

#[test]
fn challenges_under_way_are_bounded() {
    let (mut challenges, start) = (Challenges::new(), Instant::now());
    for id in 0..MAX_OPEN_CHALLENGES as u64 {
        sent(&challenges.on_challenge(challenge(id, 2).0, true, start));
    }
    let ended = event(&challenges.on_challenge(challenge(99, 2).0, true, start));
    assert_eq!(ended, Err(ChallengeFailure::NotConnected));
    assert_eq!(challenges.open_challenges(), MAX_OPEN_CHALLENGES);
}

// With the handler's threads.

fn archive() -> Arc<TestServer> {
    Arc::new(TestServer::new(10, 85_000, TestChunk::new(1 << 16, 1)))
}

/// Challenges a peer, which answers all that is asked of it before.
fn put_challenge(bench: &HandlerBench) -> (Receiver<ChallengeEvent>, StorageMessage) {
    bench.connect(2);
    let (challenge, events) = challenge(77, 2);
    bench.network.challenge(challenge).unwrap();
    loop {
        match bench.next_sent() {
            (to, StorageMessage::HeldRequest { request_id, .. }) => {
                assert_eq!(to, node(2));
                bench.receive(2, &held(request_id));
            }
            (_, StorageMessage::Challenge { request_id, challenge }) => {
                assert_eq!(challenge, asked());
                return (events, proof(request_id, Answer::Found(leaves())));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_handler_puts_a_challenge_and_hands_over_the_answer() {
    let bench = HandlerBench::new(archive(), ProtocolConfig::default());
    let (events, proof) = put_challenge(&bench);
    bench.receive(2, &proof);
    let event = events.recv_timeout(DEADLINE).unwrap();
    assert_eq!((event.id, event.node), (77, node(2)));
    assert_eq!(event.answer.unwrap().leaves, leaves());
    bench.receive(2, &proof);
    bench.wait_until(|| bench.shared.counters.stray.load(Relaxed) == 1);
    assert!(events.try_recv().is_err(), "a replay is a stray");
}

#[test]
fn a_peer_whose_proof_cannot_be_read_is_put_in_quarantine() {
    let bench = HandlerBench::new(archive(), ProtocolConfig::default());
    let (events, proof) = put_challenge(&bench);
    let mut bytes = write(&proof);
    bytes.pop();
    bench.receive_bytes(2, bytes);
    let event = events.recv_timeout(DEADLINE).unwrap();
    assert_eq!(event.answer, Err(ChallengeFailure::Malformed));
    bench.wait_until(|| bench.shared.counters.quarantined.load(Relaxed) == 1);
}

#[test]
fn a_flood_of_challenges_is_refused_beyond_the_limit_and_costs_no_connection() {
    let bench = HandlerBench::new(archive(), ProtocolConfig::default());
    bench.connect(2);
    for request_id in 0..50 {
        let challenge = asked();
        bench.receive(2, &StorageMessage::Challenge { request_id, challenge });
    }
    let sent = bench.sent_until(|sent| sent.len() >= 50);
    let refused = sent
        .iter()
        .filter(|message| matches!(message, StorageMessage::Busy { .. }));
    assert!(
        refused.count() >= 30,
        "a peer may put eight at once, and one more each second"
    );
}
