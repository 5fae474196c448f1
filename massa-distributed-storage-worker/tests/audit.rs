//! Audits of peers: which leaves a challenge draws, what passes and what does not, who is audited when, what is remembered.

use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::network::{
    Answer, AuditChallenge, AuditLeaf, ChallengeAnswer, ChallengeEvent, ChallengeFailure, HeldRange, CHALLENGE_LEAVES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::{ChallengeId, LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition, ProofError};
use massa_distributed_storage_worker::audit::challenge::{prove, verify, AuditError, ChallengeParties};
use massa_distributed_storage_worker::audit::history::rows::{read_history, write_result};
use massa_distributed_storage_worker::audit::history::{AuditHistory, AuditOutcome, AuditResult, MAX_AGE, MAX_RESULTS};
use massa_distributed_storage_worker::audit::plan::{
    choose_chunk, AuditAction, AuditLimits, AuditPlan, AuditTarget, AuditView, IssueError, MAX_OPEN_AUDITS,
};
use massa_distributed_storage_worker::storage_backend::{PageRead, SegmentStore, SegmentStoreOptions};
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use proptest::prelude::*;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const CHAIN: u64 = 77;

fn at(segment: u64, index: u32) -> ChunkPosition {
    ChunkPosition::new(segment, index).unwrap()
}

/// A challenger that does not have the chunk.
fn no_ends(_: u32) -> Option<Vec<u16>> {
    None
}

fn node(number: u8) -> NodeId {
    let mut bytes = vec![0];
    bytes.extend([number; 32]);
    NodeId::new(KeyPair::from_bytes(&bytes).unwrap().get_public_key())
}

fn parties(challenger: u8, challenged: u8) -> ChallengeParties {
    ChallengeParties {
        chain_id: CHAIN,
        challenger: node(challenger),
        challenged: node(challenged),
    }
}

/// A chunk whose bytes follow from a seed.
struct TestChunk {
    chunk: TableChunk,
    bytes: Vec<u8>,
}

impl TestChunk {
    fn new(length: usize, seed: u64) -> Self {
        let mut bytes = vec![0; length];
        for (position, piece) in bytes.chunks_mut(8).enumerate() {
            let word = (seed << 32 | position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
        let id = ChunkId::from_bytes(root_of_hashes(leaf_hashes(&bytes)));
        let length = length as u32;
        Self {
            chunk: TableChunk { length, id },
            bytes,
        }
    }

    /// Of the default size.
    fn full(seed: u64) -> Self {
        Self::new(1 << 20, seed)
    }

    /// In every 700th byte an object ends.
    fn page(&self, page: u32) -> Answer<PageRead> {
        let pages = self.bytes.chunks(PAGE_BYTES);
        let page_roots = pages.map(|bytes| root_of_hashes(leaf_hashes(bytes))).collect();
        let Some(plain) = self.bytes.chunks(PAGE_BYTES).nth(page as usize) else {
            return Answer::NotHeld;
        };
        let mut signatures = Vec::new();
        for last in (699..plain.len()).step_by(700) {
            let signature = [last as u8; 65];
            TaggedSignature::of_object(last as u64 + 1, signature).write(&mut signatures);
        }
        Answer::Found(PageRead {
            stored: Vec::new(),
            plain: plain.to_vec(),
            signatures,
            page_roots,
        })
    }

    fn ends(&self, page: u32) -> Option<Vec<u16>> {
        match self.page(page) {
            Answer::Found(read) => {
                let list = TaggedSignature::read_list(&read.signatures, read.plain.len()).unwrap();
                Some(list.iter().map(|tagged| tagged.last).collect())
            }
            _ => None,
        }
    }

    fn challenge(&self, nonce: u64) -> AuditChallenge {
        parties(1, 2).challenge(at(5, 0), self.chunk.id, nonce)
    }

    fn prove(&self, challenge: &AuditChallenge) -> Vec<AuditLeaf> {
        match prove(challenge, &self.chunk, |page| self.page(page)) {
            Answer::Found(leaves) => leaves,
            other => panic!("{other:?}"),
        }
    }

    fn verify(&self, challenge: &AuditChallenge, leaves: &[AuditLeaf]) -> Result<(), AuditError> {
        verify(challenge, &self.chunk, (challenge.challenge_id, leaves), &no_ends)
    }
}

#[test]
fn who_has_the_chunk_shows_32_leaves_of_it() {
    let chunk = TestChunk::full(1);
    let challenge = chunk.challenge(3);
    let leaves = chunk.prove(&challenge);
    assert_eq!(leaves.len(), CHALLENGE_LEAVES);
    assert_eq!(chunk.verify(&challenge, &leaves), Ok(()));
}

proptest! {
    #[test]
    fn a_proof_passes_whatever_the_length_of_the_chunk(length in 1usize..200_000, nonce in any::<u64>()) {
        let chunk = TestChunk::new(length, nonce);
        let challenge = chunk.challenge(nonce);
        prop_assert_eq!(chunk.verify(&challenge, &chunk.prove(&challenge)), Ok(()));
    }

    #[test]
    fn a_proof_with_any_bit_changed_is_refused(nonce in any::<u64>(), number in 0usize..32, at in 0usize..LEAF_BYTES * 8) {
        let chunk = TestChunk::new(150_000, 1);
        let challenge = chunk.challenge(nonce);
        let mut leaves = chunk.prove(&challenge);
        let byte = at / 8 % leaves[number].bytes.len();
        leaves[number].bytes[byte] ^= 1 << (at % 8);
        prop_assert!(chunk.verify(&challenge, &leaves).is_err());
    }
}

/// What this challenge draws of this chunk was computed once; another result is another format.
#[test]
fn the_drawn_leaves_are_frozen() {
    let chunk = TestChunk::full(1);
    let challenge = chunk.challenge(3);
    let drawn: Vec<usize> = chunk
        .prove(&challenge)
        .iter()
        .map(|leaf| {
            chunk
                .bytes
                .chunks(LEAF_BYTES)
                .position(|bytes| bytes == leaf.bytes)
                .unwrap()
        })
        .collect();
    assert_eq!(
        challenge.challenge_id.to_string(),
        "2cc3054c511d94a177d11c10e4fdb3bfd786f9c574e6ae3927afa281222d12d2"
    );
    assert_eq!(drawn[..8], [707, 991, 346, 922, 579, 986, 946, 1020]);
}

#[test]
fn each_leaf_is_drawn_from_the_bytes_of_the_one_before() {
    let (chunk, mut other) = (TestChunk::full(1), TestChunk::full(1));
    let challenge = chunk.challenge(3);
    let position = |leaf: &AuditLeaf| chunk.bytes.chunks(LEAF_BYTES).position(|bytes| bytes == leaf.bytes);
    let first = position(&chunk.prove(&challenge)[0]).unwrap();
    // The same chunk but for one bit of the first leaf that is drawn.
    other.bytes[first * LEAF_BYTES] ^= 1;
    let other_leaves = other.prove(&challenge);
    let leaves = chunk.prove(&challenge);
    assert_eq!(leaves[0].bytes[1..], other_leaves[0].bytes[1..]);
    assert!(leaves[1..]
        .iter()
        .zip(&other_leaves[1..])
        .all(|(leaf, other)| leaf.bytes != other.bytes));
}

#[test]
fn leaves_are_drawn_uniformly() {
    let chunk = TestChunk::new(16 * LEAF_BYTES, 1);
    let mut counts = [0u32; 16];
    for nonce in 0..500 {
        for leaf in chunk.prove(&chunk.challenge(nonce)) {
            counts[chunk
                .bytes
                .chunks(LEAF_BYTES)
                .position(|bytes| bytes == leaf.bytes)
                .unwrap()] += 1;
        }
    }
    // 16 000 draws over 16 leaves: 1000 each, with a standard deviation of 31.
    assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[test]
fn a_node_without_one_page_fails_unless_no_leaf_of_it_is_drawn() {
    let chunk = TestChunk::full(1);
    let without = |missing: u32| {
        move |chunk: &TestChunk, page: u32| {
            if page == missing {
                Answer::NotHeld
            } else {
                chunk.page(page)
            }
        }
    };
    let passes = |nonce: u64| {
        let challenge = chunk.challenge(nonce);
        matches!(
            prove(&challenge, &chunk.chunk, |page| without(7)(&chunk, page)),
            Answer::Found(_)
        )
    };
    // One page of 16: (15/16)³² = 12.7 %.
    let passed = (0..400).filter(|nonce| passes(*nonce)).count();
    assert!((25..85).contains(&passed), "{passed} of 400 passed");
}

#[test]
fn leaves_other_than_the_drawn_ones_are_refused() {
    let chunk = TestChunk::full(1);
    let challenge = chunk.challenge(3);
    let mut leaves = chunk.prove(&challenge);
    leaves.swap(0, 1);
    let error = chunk.verify(&challenge, &leaves).unwrap_err();
    let source = |error| match error {
        AuditError::Leaf { number, source } => (number, source),
        other => panic!("{other:?}"),
    };
    let (number, source) = source(error);
    assert_eq!(number, 0);
    assert!(matches!(source, ProofError::WrongPosition { .. }), "{source:?}");
}

#[test]
fn an_old_answer_is_refused() {
    let chunk = TestChunk::full(1);
    let (old, new) = (chunk.challenge(3), chunk.challenge(4));
    let leaves = chunk.prove(&old);
    let named = verify(&new, &chunk.chunk, (old.challenge_id, &leaves), &no_ends);
    let expected = AuditError::OtherChallenge {
        expected: new.challenge_id,
        found: old.challenge_id,
    };
    assert_eq!(named, Err(expected), "under its own name");
    assert!(chunk.verify(&new, &leaves).is_err(), "under the new name");
}

#[test]
fn an_answer_to_a_challenge_of_another_node_is_refused() {
    let chunk = TestChunk::full(1);
    let mine = parties(1, 2).challenge(at(5, 0), chunk.chunk.id, 3);
    let others = parties(1, 3).challenge(at(5, 0), chunk.chunk.id, 3);
    assert_ne!(mine.challenge_id, others.challenge_id);
    assert!(chunk.verify(&mine, &chunk.prove(&others)).is_err());
    assert!(parties(1, 2).is_ours(&mine));
    for (what, parties) in [
        ("another challenged node", parties(1, 3)),
        ("passed on by the challenged node", parties(2, 3)),
        ("another challenger", parties(3, 2)),
        (
            "another chain",
            ChallengeParties {
                chain_id: CHAIN + 1,
                ..parties(1, 2)
            },
        ),
    ] {
        assert!(!parties.is_ours(&mine), "{what}");
    }
}

#[test]
fn a_challenge_with_a_changed_field_is_nobodys() {
    let challenge = TestChunk::full(1).challenge(3);
    for changed in [
        AuditChallenge {
            position: at(6, 0),
            ..challenge
        },
        AuditChallenge {
            position: at(5, 1),
            ..challenge
        },
        AuditChallenge {
            chunk_id: ChunkId::from_bytes([1; 32]),
            ..challenge
        },
        AuditChallenge { nonce: 4, ..challenge },
    ] {
        assert!(!parties(1, 2).is_ours(&changed), "{changed:?}");
    }
}

#[test]
fn too_few_leaves_a_wrong_length_and_a_wrong_path_are_refused_with_their_reasons() {
    let chunk = TestChunk::new(100 * LEAF_BYTES, 1);
    let challenge = chunk.challenge(3);
    let leaves = chunk.prove(&challenge);
    assert_eq!(
        chunk.verify(&challenge, &leaves[..31]),
        Err(AuditError::LeafCount { found: 31 })
    );
    assert_eq!(chunk.verify(&challenge, &[]), Err(AuditError::LeafCount { found: 0 }));
    let changed = |change: fn(&mut AuditLeaf)| {
        let mut leaves = leaves.clone();
        change(&mut leaves[9]);
        match chunk.verify(&challenge, &leaves) {
            Err(AuditError::Leaf { number: 9, source }) => source,
            other => panic!("{other:?}"),
        }
    };
    let short = changed(|leaf| leaf.bytes.truncate(1000));
    assert!(matches!(
        short,
        ProofError::LeafLength {
            expected: 1024,
            actual: 1000,
            ..
        }
    ));
    let path = changed(|leaf| leaf.path.siblings[0][0] ^= 1);
    assert!(matches!(path, ProofError::RootMismatch { .. }));
    let truncated = changed(|leaf| {
        leaf.path.siblings.pop();
    });
    assert!(matches!(truncated, ProofError::WrongPosition { .. }));
}

#[test]
fn a_chunk_that_is_not_the_one_asked_for_is_not_held() {
    let (chunk, other) = (TestChunk::full(1), TestChunk::full(2));
    let answer = prove(&other.challenge(3), &chunk.chunk, |page| chunk.page(page));
    assert_eq!(answer, Answer::NotHeld);
}

// The plan.

const RESPONSE: Duration = Duration::from_secs(60);

fn limits() -> AuditLimits {
    AuditLimits::new(100, RESPONSE, Duration::from_secs(3600))
}

fn plan() -> AuditPlan {
    AuditPlan::new(limits(), CHAIN, node(1), [9; 32])
}

/// A node that has some chunks, a clock, and the plan's surroundings.
struct Bench {
    start: Instant,
    chunks: Vec<TestChunk>,
    /// Chunks that were chosen by the plan.
    chosen: RefCell<Vec<usize>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            chunks: (0..4).map(|seed| TestChunk::new(70 * LEAF_BYTES, seed)).collect(),
            chosen: RefCell::default(),
        }
    }

    fn target(&self, chunk: usize) -> AuditTarget {
        AuditTarget {
            node: node(2),
            position: at(5, chunk as u32),
            chunk: self.chunks[chunk].chunk,
            assigned: true,
        }
    }

    fn view<T>(&self, seconds: u64, decide: impl FnOnce(&AuditView<'_>) -> T) -> T {
        let choose = |_: &NodeId, _: &mut ChaCha20Rng| {
            let next = self.chosen.borrow().len() % self.chunks.len();
            self.chosen.borrow_mut().push(next);
            Some(self.target(next))
        };
        decide(&AuditView {
            now: self.start + Duration::from_secs(seconds),
            at: MassaTime::from_millis(1_000_000 + seconds * 1000),
            choose: &choose,
            ends: &|position, page| self.chunks[position.index.0 as usize].ends(page),
        })
    }

    /// The answer of an honest node, after `elapsed`.
    fn answer(&self, action: &AuditAction, elapsed: Duration) -> ChallengeEvent {
        let (id, challenge) = asked(action);
        let chunk = &self.chunks[challenge.position.index.0 as usize];
        let answer = ChallengeAnswer {
            challenge_id: challenge.challenge_id,
            leaves: chunk.prove(&challenge),
            elapsed,
            round_trip: ROUND_TRIP,
        };
        ChallengeEvent {
            id,
            node: node(2),
            answer: Ok(answer),
        }
    }
}

const ROUND_TRIP: Duration = Duration::from_millis(10);
const QUICK: Duration = Duration::from_millis(30);
const LATE: Duration = Duration::from_millis(120);

fn asked(action: &AuditAction) -> (u64, AuditChallenge) {
    match action {
        AuditAction::Ask { id, challenge, .. } => (*id, *challenge),
        other => panic!("{other:?}"),
    }
}

fn failed(action: &AuditAction, failure: ChallengeFailure) -> ChallengeEvent {
    ChallengeEvent {
        id: asked(action).0,
        node: node(2),
        answer: Err(failure),
    }
}

fn result(actions: &[AuditAction]) -> AuditResult {
    match actions {
        [AuditAction::Done(result)] => result.clone(),
        other => panic!("{other:?}"),
    }
}

fn only(actions: Vec<AuditAction>) -> AuditAction {
    let [action] = <[AuditAction; 1]>::try_from(actions).unwrap();
    action
}

#[test]
fn an_audit_is_due_once_in_a_quarter_of_a_segment_and_not_right_after_the_start() {
    let mut plan = plan();
    let due: Vec<u64> = (110..210).filter(|period| plan.is_due(*period)).collect();
    assert_eq!(due, [125, 150, 175, 200]);
    assert!(!plan.is_due(200), "a period that is archived late is no turn");
}

#[test]
fn every_node_but_the_own_one_is_audited_about_equally_often() {
    let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
    let nodes: Vec<NodeId> = (1..6).map(node).collect();
    let choose = |chosen: &NodeId, _: &mut ChaCha20Rng| {
        let chunk = TableChunk {
            length: 1,
            id: ChunkId::from_bytes([1; 32]),
        };
        Some(AuditTarget {
            node: *chosen,
            position: at(0, 0),
            chunk,
            assigned: true,
        })
    };
    let view = AuditView {
        now: Instant::now(),
        at: MassaTime::now(),
        choose: &choose,
        ends: &|_, _| None,
    };
    for seed in 0..200 {
        let mut plan = AuditPlan::new(limits(), CHAIN, node(1), [seed; 32]);
        match only(plan.begin_one(&nodes, &view)) {
            AuditAction::Ask { node, .. } => *counts.entry(node).or_default() += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts.len(), 4, "the own node is not audited");
    assert!(counts.values().all(|count| (25..75).contains(count)), "{counts:?}");
}

#[test]
fn the_same_seed_gives_the_same_audits() {
    let bench = Bench::new();
    let first = |seed| {
        let mut plan = AuditPlan::new(limits(), CHAIN, node(1), [seed; 32]);
        bench.view(0, |view| asked(&only(plan.begin_one(&[node(2), node(3)], view))).1)
    };
    assert_eq!(first(4).nonce, first(4).nonce);
    assert_ne!(first(4).nonce, first(5).nonce);
}

#[test]
fn a_node_that_answers_in_time_passes() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let done = bench.view(1, |view| plan.on_event(bench.answer(&ask, QUICK), view));
    let result = result(&done);
    assert_eq!(result.outcome, AuditOutcome::Passed);
    assert_eq!((result.elapsed_ms, result.round_trip_ms), (Some(30), Some(10)));
    assert_eq!(result.challenge_id, asked(&ask).1.challenge_id);
    assert_eq!(plan.open_audits(), 0);
}

#[test]
fn a_node_that_does_not_hold_its_chunk_fails_at_once() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let done = bench.view(1, |view| plan.on_event(failed(&ask, ChallengeFailure::NotHeld), view));
    assert!(result(&done).has_failed());
}

#[test]
fn a_node_that_sends_something_else_fails_with_the_reason() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let mut event = bench.answer(&ask, QUICK);
    if let Ok(answer) = &mut event.answer {
        answer.leaves[3].bytes[0] ^= 1;
    }
    let done = bench.view(1, |view| plan.on_event(event, view));
    let AuditOutcome::Wrong(reason) = result(&done).outcome else {
        panic!("{done:?}")
    };
    assert!(
        reason.starts_with("leaf 3 of the proof is refused: root mismatch"),
        "{reason}"
    );
}

#[test]
fn what_is_not_answered_is_asked_again_half_of_the_time_later_before_it_counts() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let event = failed(&ask, ChallengeFailure::Timeout);
    assert_eq!(bench.view(10, |view| plan.on_event(event.clone(), view)), []);
    assert_eq!(bench.view(29, |view| plan.on_tick(view)), []);
    let again = only(bench.view(30, |view| plan.on_tick(view)));
    assert_ne!(
        asked(&again).1.nonce,
        asked(&ask).1.nonce,
        "its leaves may be known by now"
    );
    assert_eq!(
        bench.view(31, |view| plan.on_event(event.clone(), view)),
        [],
        "of the first one"
    );
    let done = bench.view(40, |view| {
        plan.on_event(failed(&again, ChallengeFailure::Timeout), view)
    });
    let result = result(&done);
    assert_eq!(
        result.outcome,
        AuditOutcome::Unanswered("it did not answer in time".to_string())
    );
    assert_eq!(result.challenge_id, asked(&ask).1.challenge_id, "the first one");
}

#[test]
fn a_second_answer_makes_good_for_a_first_one_that_was_lost() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    bench.view(10, |view| {
        plan.on_event(failed(&ask, ChallengeFailure::NotConnected), view)
    });
    let again = only(bench.view(30, |view| plan.on_tick(view)));
    let done = bench.view(31, |view| plan.on_event(bench.answer(&again, QUICK), view));
    assert_eq!(result(&done).outcome, AuditOutcome::Passed);
}

#[test]
fn an_event_that_never_comes_counts_as_no_answer() {
    let (bench, mut plan) = (Bench::new(), plan());
    bench.view(0, |view| plan.begin_one(&[node(2)], view));
    assert_eq!(bench.view(31, |view| plan.on_tick(view)), []);
    let again = bench.view(32, |view| plan.on_tick(view));
    assert!(matches!(again[..], [AuditAction::Ask { .. }]), "{again:?}");
    let done = bench.view(62, |view| plan.on_tick(view));
    assert!(result(&done).has_failed());
}

#[test]
fn a_late_answer_is_asked_again_about_other_chunks_and_counts_as_slow_when_all_are_late() {
    let (bench, mut plan) = (Bench::new(), plan());
    let mut ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let mut chunks = BTreeSet::new();
    for _ in 0..2 {
        chunks.insert(asked(&ask).1.chunk_id);
        ask = only(bench.view(1, |view| plan.on_event(bench.answer(&ask, LATE), view)));
    }
    chunks.insert(asked(&ask).1.chunk_id);
    assert_eq!(chunks.len(), 3, "another chunk each time");
    let done = bench.view(2, |view| plan.on_event(bench.answer(&ask, LATE), view));
    assert_eq!(result(&done).outcome, AuditOutcome::Slow);
}

#[test]
fn one_answer_in_time_clears_a_node_of_slowness() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let again = only(bench.view(1, |view| plan.on_event(bench.answer(&ask, LATE), view)));
    let done = bench.view(2, |view| plan.on_event(bench.answer(&again, QUICK), view));
    assert_eq!(result(&done).outcome, AuditOutcome::Passed);
}

#[test]
fn who_is_far_away_has_more_time() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    let mut event = bench.answer(&ask, Duration::from_millis(300));
    if let Ok(answer) = &mut event.answer {
        answer.round_trip = Duration::from_millis(250);
    }
    let done = bench.view(1, |view| plan.on_event(event, view));
    assert_eq!(result(&done).outcome, AuditOutcome::Passed);
}

#[test]
fn nobody_is_blamed_for_a_challenge_that_could_not_be_put() {
    let (bench, mut plan) = (Bench::new(), plan());
    let ask = only(bench.view(0, |view| plan.begin_one(&[node(2)], view)));
    plan.on_not_asked(asked(&ask).0, bench.start);
    let again = only(bench.view(1, |view| plan.on_tick(view)));
    plan.on_not_asked(asked(&again).0, bench.start + Duration::from_secs(60));
    assert_eq!(bench.view(70, |view| plan.on_tick(view)), []);
    assert_eq!(plan.open_audits(), 0);
}

#[test]
fn a_node_is_challenged_by_hand_once_in_min_challenge_interval() {
    let (bench, mut plan) = (Bench::new(), plan());
    let target = bench.target(0);
    let (id, ask) = bench.view(0, |view| plan.begin_by_hand(target, None, view)).unwrap();
    let too_soon = bench
        .view(1, |view| plan.begin_by_hand(target, None, view))
        .unwrap_err();
    assert!(
        matches!(too_soon, IssueError::TooSoon { wait_s: 3600, .. }),
        "under way"
    );
    let done = result(&bench.view(2, |view| plan.on_event(bench.answer(&ask, QUICK), view)));
    assert_eq!((done.challenge_id, done.by_hand), (id, true));
    let again =
        |plan: &mut AuditPlan, seconds| bench.view(seconds, |view| plan.begin_by_hand(target, Some(done.at), view));
    let too_soon = again(&mut plan, 3601).unwrap_err();
    assert_eq!(
        too_soon,
        IssueError::TooSoon {
            node: node(2),
            wait_s: 1,
            interval_s: 3600
        }
    );
    assert!(again(&mut plan, 3602).is_ok());
}

#[test]
fn the_own_node_is_not_challenged_by_hand() {
    let (bench, mut plan) = (Bench::new(), plan());
    let target = AuditTarget {
        node: node(1),
        ..bench.target(0)
    };
    let refused = bench.view(0, |view| plan.begin_by_hand(target, None, view));
    assert_eq!(refused.unwrap_err(), IssueError::Own(node(1)));
}

#[test]
fn a_challenge_by_hand_is_asked_again_about_the_same_chunk() {
    let (bench, mut plan) = (Bench::new(), plan());
    let (_, ask) = bench
        .view(0, |view| plan.begin_by_hand(bench.target(3), None, view))
        .unwrap();
    let again = only(bench.view(1, |view| plan.on_event(bench.answer(&ask, LATE), view)));
    assert_eq!(asked(&again).1.position, at(5, 3));
    assert_ne!(asked(&again).1.nonce, asked(&ask).1.nonce);
}

#[test]
fn audits_under_way_are_bounded_and_of_one_node_there_is_one() {
    let (bench, mut plan) = (Bench::new(), plan());
    let choose = |chosen: &NodeId, _: &mut ChaCha20Rng| {
        Some(AuditTarget {
            node: *chosen,
            ..bench.target(0)
        })
    };
    let view = AuditView {
        now: Instant::now(),
        at: MassaTime::now(),
        choose: &choose,
        ends: &|_, _| None,
    };
    let nodes: Vec<NodeId> = (1..50).map(node).collect();
    let begun: usize = (0..50).map(|_| plan.begin_one(&nodes, &view).len()).sum();
    assert_eq!(begun, MAX_OPEN_AUDITS);
    assert!(matches!(
        plan.begin_by_hand(bench.target(0), None, &view),
        Err(IssueError::Busy)
    ));
    let mut plan = self::plan();
    assert_eq!(plan.begin_one(&[node(2)], &view).len(), 1);
    assert_eq!(plan.begin_one(&[node(2)], &view), []);
}

#[test]
fn only_a_chunk_that_the_node_should_hold_is_chosen_from_each_segment_alike() {
    let range = |first_segment, last_segment| HeldRange {
        first_segment,
        last_segment,
    };
    let segments = [range(3, 4), range(7, 9)];
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let of_segment_8 = |segment: u64| if segment == 8 { vec![1, 5] } else { Vec::new() };
    let chosen: BTreeSet<ChunkPosition> = (0..50)
        .map(|_| choose_chunk(&mut random, &segments, &of_segment_8).unwrap())
        .collect();
    assert_eq!(chosen, BTreeSet::from([at(8, 1), at(8, 5)]));
    let chosen: BTreeSet<u64> = (0..100)
        .map(|_| choose_chunk(&mut random, &segments, &|_| vec![0]).unwrap().segment)
        .collect();
    assert_eq!(chosen, BTreeSet::from([3, 4, 7, 8, 9]));
    assert_eq!(choose_chunk(&mut random, &segments, &|_| Vec::new()), None);
    assert_eq!(choose_chunk(&mut random, &[], &|_| vec![0]), None);
}

#[test]
fn segments_of_a_few_periods_are_not_audited_four_times_each() {
    let limits = AuditLimits::new(4, RESPONSE, Duration::from_secs(3600));
    let mut plan = AuditPlan::new(limits, CHAIN, node(1), [9; 32]);
    let due: Vec<u64> = (11..30).filter(|period| plan.is_due(*period)).collect();
    assert_eq!(due, [15, 20, 25]);
}

// Signatures, which nothing else asks for.

#[test]
fn a_leaf_comes_with_the_signatures_of_the_objects_that_end_in_it() {
    let chunk = TestChunk::full(1);
    let challenge = chunk.challenge(3);
    let leaves = chunk.prove(&challenge);
    let known = |page: u32| chunk.ends(page);
    let shown: usize = leaves.iter().map(|leaf| leaf.signatures.len()).sum();
    assert!(shown >= CHALLENGE_LEAVES, "an object ends in every leaf");
    let check = |leaves: &[AuditLeaf]| verify(&challenge, &chunk.chunk, (challenge.challenge_id, leaves), &known);
    assert_eq!(check(&leaves), Ok(()));
    let mut without = leaves.clone();
    without[4].signatures.clear();
    assert_eq!(
        chunk.verify(&challenge, &without),
        Ok(()),
        "who has not the chunk cannot tell"
    );
    let missing = check(&without).unwrap_err();
    assert!(
        matches!(
            missing,
            AuditError::MissingSignatures {
                number: 4,
                found: 0,
                ..
            }
        ),
        "{missing:?}"
    );
}

#[test]
fn signatures_of_objects_that_end_elsewhere_are_refused() {
    let chunk = TestChunk::full(1);
    let challenge = chunk.challenge(3);
    let leaves = chunk.prove(&challenge);
    let elsewhere = |change: fn(&mut AuditLeaf)| {
        let mut leaves = leaves.clone();
        change(&mut leaves[7]);
        chunk.verify(&challenge, &leaves)
    };
    let refused = Err(AuditError::Signatures { number: 7 });
    assert_eq!(elsewhere(|leaf| leaf.signatures[0].last ^= 1 << 15), refused);
    assert_eq!(elsewhere(|leaf| leaf.signatures.push(leaf.signatures[0])), refused);
    assert_eq!(elsewhere(|leaf| leaf.signatures.clear()), Ok(()));
}

// The history.

fn audit(number: u8, millis: u64, outcome: AuditOutcome) -> AuditResult {
    AuditResult {
        challenge_id: ChallengeId::from_bytes([number; 32]),
        at: MassaTime::from_millis(millis),
        node: node(number),
        position: at(7, 3),
        chunk_id: ChunkId::from_bytes([8; 32]),
        by_hand: number % 2 == 0,
        assigned: true,
        outcome,
        elapsed_ms: Some(12),
        round_trip_ms: None,
    }
}

#[test]
fn success_rates_are_rounded_down_and_an_alarm_ends_with_the_next_pass() {
    let mut history = AuditHistory::default();
    for at in 0..299 {
        history.push(audit(2, at, AuditOutcome::Passed));
    }
    history.push(audit(2, 299, AuditOutcome::NotHeld));
    let audits = history.node(&node(2)).unwrap();
    assert_eq!(
        (audits.counted, audits.passed, audits.success_percent()),
        (300, 299, 99)
    );
    assert!(audits.alarm);
    history.push(audit(2, 300, AuditOutcome::Passed));
    assert!(!history.node(&node(2)).unwrap().alarm);
    history.push(audit(2, 301, AuditOutcome::Slow));
    let audits = history.node(&node(2)).unwrap();
    assert_eq!((audits.passed, audits.slow, audits.alarm), (301, 1, true));
    assert_eq!(history.node(&node(3)), None);
}

#[test]
fn not_holding_what_is_not_assigned_does_not_count() {
    let mut history = AuditHistory::default();
    let result = AuditResult {
        assigned: false,
        ..audit(2, 1, AuditOutcome::NotHeld)
    };
    assert!(!result.has_failed());
    history.push(result);
    assert_eq!(history.nodes(), []);
}

#[test]
fn the_history_is_bounded_in_number_and_age() {
    let mut history = AuditHistory::default();
    let mut keep_from = 0;
    for at in 0..MAX_RESULTS as u64 + 5 {
        keep_from = history.push(audit(2, at, AuditOutcome::Passed)).dropped.end;
    }
    assert_eq!((keep_from, history.newest().count()), (5, MAX_RESULTS));
    let late = MAX_AGE.as_millis() + 100;
    history.push(audit(2, late, AuditOutcome::Passed));
    assert!(history.newest().all(|result| result.at.as_millis() >= 100));
}

#[test]
fn results_survive_a_restart_with_every_field_and_dropped_ones_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let parameters = ArchiveParameters::new(CHAIN, 2);
    let open = || SegmentStore::open_or_create(SegmentStoreOptions::new(directory.path()), &parameters).unwrap();
    let outcomes = [
        AuditOutcome::Passed,
        AuditOutcome::Slow,
        AuditOutcome::NotHeld,
        AuditOutcome::Wrong("leaf 3 …".to_string()),
        AuditOutcome::Unanswered("it is not connected".to_string()),
    ];
    let store = open();
    let mut history = AuditHistory::new(read_history(&store).unwrap());
    for (outcome, number) in outcomes.into_iter().zip(1..) {
        let change = history.push(audit(number, u64::from(number), outcome));
        write_result(&store, &change).unwrap();
    }
    store.close();
    drop(store);

    let store = open();
    let reopened = AuditHistory::new(read_history(&store).unwrap());
    assert_eq!(
        reopened.newest().collect::<Vec<_>>(),
        history.newest().collect::<Vec<_>>()
    );
    assert_eq!(reopened.last_by_hand(&node(4)), Some(MassaTime::from_millis(4)));
    let mut reopened = reopened;
    let change = reopened.push(audit(9, MAX_AGE.as_millis() + 4, AuditOutcome::Passed));
    assert_eq!(change.number, 5, "numbers go on");
    write_result(&store, &change).unwrap();
    let kept: Vec<u64> = read_history(&store)
        .unwrap()
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(kept, [3, 4, 5]);
}
