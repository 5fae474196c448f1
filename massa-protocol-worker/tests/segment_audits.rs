//! How a peer is challenged: small requests first, then the challenge, once; every challenge ends.

mod segment_common;

use crossbeam_channel::{unbounded, Receiver};
use massa_distributed_storage_exports::segment_network::{
    Answer, AuditChallenge, AuditLeaf, Challenge, ChallengeAnswer, ChallengeEvent, ChallengeFailure,
};
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, MerkleProof};
use massa_protocol_worker::handlers::storage_handler::segments::audits::{
    ChallengeAction, Challenges, MAX_OPEN_CHALLENGES,
};
use massa_protocol_worker::handlers::storage_handler::segments::messages::StorageMessage;
use segment_common::node;
use std::collections::HashSet;
use std::time::{Duration, Instant};

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
