//! Claims and answers: the tree against a simple model, borders, and what no claim can do.

use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::manifest::{ChunkEntry, PeriodLeaf};
use massa_distributed_storage_exports::merkle::MerkleTree;
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentTree};
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES, MAX_CHUNK_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::challenge::answer::MAX_ANSWER_BYTES;
use massa_distributed_storage_worker::challenge::claim::{SumNode, SumPath, EMPTY};
use massa_distributed_storage_worker::challenge::{Answer, AnswerRules, Claim, ClaimTree, HeldChunk, Position, Reason};
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Instant;

fn id(number: u64) -> ChunkId {
    ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn held(position: u64, leaves: u32) -> HeldChunk {
    HeldChunk {
        position: Position::from_number(position).unwrap(),
        leaves,
        id: id(position),
    }
}

/// The tree as its definition reads: top down, hashing concatenated bytes.
struct Model(BTreeMap<u64, HeldChunk>);

impl Model {
    fn node(&self, level: u32, number: u64) -> (u64, Digest) {
        let range = number << level..(number + 1) << level;
        let Some((position, chunk)) = self.0.range(range).next() else {
            return (0, [0; 32]);
        };
        let number_bytes = |number: u64| number.to_le_bytes().to_vec();
        let hash = |parts: &[Vec<u8>]| *blake3::hash(&parts.concat()).as_bytes();
        if level == 0 {
            let n = u64::from(chunk.leaves);
            let parts = [
                vec![2],
                number_bytes(*position),
                number_bytes(n),
                chunk.id.as_bytes().to_vec(),
            ];
            return (n, hash(&parts));
        }
        let (ls, lh) = self.node(level - 1, number * 2);
        let (rs, rh) = self.node(level - 1, number * 2 + 1);
        let parts = [vec![3], number_bytes(ls), lh.to_vec(), number_bytes(rs), rh.to_vec()];
        (ls + rs, hash(&parts))
    }

    fn path(&self, position: u64) -> (u64, Vec<(u64, Digest)>) {
        let siblings = (0..40).map(|level| (level, self.node(level, position >> level ^ 1)));
        let present: Vec<_> = siblings.filter(|(_, (sum, _))| *sum > 0).collect();
        let mask = present.iter().map(|(level, _)| 1 << level).sum();
        (mask, present.into_iter().map(|(_, node)| node).collect())
    }
}

/// Positions that lie together, as those of an archive do, and some that do not.
fn positions() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..600,
        (0u64..3, 0u64..5, 0u64..3).prop_map(|(s, p, c)| s << 16 | p << 8 | c),
        0u64..1 << 40
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_tree_is_what_its_definition_gives(chunks in proptest::collection::vec((positions(), 1u32..=65_536), 0..40)) {
        let mut model = Model(BTreeMap::new());
        for (position, leaves) in &chunks {
            model.0.entry(*position).or_insert(held(*position, *leaves));
        }
        let tree = ClaimTree::new(model.0.values().rev().copied());

        let (sum, root) = model.node(40, 0);
        prop_assert_eq!(tree.claim(), Claim { root, leaves: sum });
        let mut before = 0;
        for (position, chunk) in &model.0 {
            let path = tree.path(chunk.position).unwrap();
            let (mask, siblings) = model.path(*position);
            prop_assert_eq!(path.mask, mask);
            prop_assert_eq!(path.siblings.iter().map(|node| (node.sum, node.hash)).collect::<Vec<_>>(), siblings);
            prop_assert_eq!(path.claim(chunk), Some((tree.claim(), before)));
            let last = u64::from(chunk.leaves) - 1;
            prop_assert_eq!(tree.find(before), Some((*chunk, 0)));
            prop_assert_eq!(tree.find(before + last), Some((*chunk, last as u32)));
            before += u64::from(chunk.leaves);
        }
        prop_assert_eq!(tree.find(before), None);
    }

    #[test]
    fn the_path_of_one_chunk_proves_no_other(
        chunks in proptest::collection::btree_map(positions(), 1u32..=65_536, 2..20),
        position in positions(),
    ) {
        let tree = ClaimTree::new(chunks.iter().map(|(position, leaves)| held(*position, *leaves)));
        prop_assert_eq!(tree.path(held(position, 1).position).is_some(), chunks.contains_key(&position));
        for (at, leaves) in &chunks {
            let path = tree.path(held(*at, 1).position).unwrap();
            let other = HeldChunk { position: held(position, 1).position, ..held(*at, *leaves) };
            prop_assert_eq!(path.claim(&other).is_some_and(|(claim, _)| claim == tree.claim()), position == *at);
        }
    }

    #[test]
    fn truncated_answers_are_refused(leaf in proptest::collection::vec(any::<u8>(), 0..=1024), cut in any::<prop::sample::Index>()) {
        let answer = deep_answer(5_000).0;
        let answer = Answer { leaf, ..answer };
        let bytes = answer.to_bytes();
        prop_assert_eq!(Answer::from_bytes(&bytes).unwrap(), answer);
        prop_assert!(Answer::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn bytes_that_are_read_as_an_answer_are_written_back_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(answer) = Answer::from_bytes(&bytes) {
            prop_assert_eq!(answer.to_bytes(), bytes);
        }
    }

    #[test]
    fn positions_name_segment_period_and_chunk(segment in 0u64..1 << 24, in_segment in 0u64..256, chunk in 0u32..256) {
        let period = segment * 256 + in_segment;
        let position = Position::of_chunk(period, ChunkIndex(chunk), 256).unwrap();
        prop_assert_eq!(position.segment(), segment);
        prop_assert_eq!(position.period_in_segment(), in_segment);
        prop_assert_eq!(position.chunk(), ChunkIndex(chunk));
        prop_assert_eq!(position.period(256), period);
        prop_assert_eq!(Position::from_number(position.number()), Some(position));
    }
}

#[test]
fn an_empty_claim_is_empty() {
    let tree = ClaimTree::new([]);
    assert_eq!(tree.claim(), Claim { root: EMPTY, leaves: 0 });
    assert_eq!(tree.find(0), None);
}

/// Listing a chunk twice is impossible: its position exists once, and at another position it has no archive path.
#[test]
fn a_chunk_that_is_listed_twice_counts_once() {
    let once = ClaimTree::new([held(7, 100)]);
    let twice = ClaimTree::new([held(7, 100), held(7, 100)]);
    assert_eq!(twice.claim(), once.claim());
}

#[test]
fn a_chunk_claimed_at_a_second_position_has_no_archive_path_there() {
    let (answer, root, _) = deep_answer(5_000);
    let there = answer.held();
    let elsewhere = HeldChunk {
        position: Position::from_number(there.position.number() ^ 1).unwrap(),
        ..there
    };
    let tree = ClaimTree::new([there, elsewhere]);
    let rules = AnswerRules {
        claim: tree.claim(),
        segment_periods: 256,
    };
    let answered_at = |position: Position, drawn| {
        let answer = Answer {
            position,
            sum_path: tree.path(position).unwrap(),
            ..answer.clone()
        };
        answer.check(&rules, drawn, Some(&root))
    };
    let leaves = u64::from(there.leaves);
    // The second position is the left one: its leaves come first.
    assert_eq!(answered_at(elsewhere.position, leaves - 1), Err(Reason::ArchivePath));
    assert_eq!(answered_at(there.position, leaves + leaves - 1), Ok(()));
}

#[test]
fn positions_end_where_their_bits_end() {
    let last = Position::of_chunk((1 << 32) - 1, ChunkIndex(255), 256).unwrap();
    assert_eq!(last.number(), (1 << 40) - 1);
    assert_eq!(Position::of_chunk(1 << 32, ChunkIndex(0), 256), None);
    assert_eq!(Position::of_chunk(0, ChunkIndex(256), 256), None);
    assert_eq!(Position::of_chunk(256, ChunkIndex(0), 257), None);
    assert_eq!(Position::of_chunk(1, ChunkIndex(0), 0), None);
    assert_eq!(Position::from_number(1 << 40), None);
}

#[test]
fn a_sum_that_overflows_is_refused() {
    let chunk = held(0, 2);
    let sibling = SumNode {
        sum: u64::MAX - 1,
        hash: [1; 32],
    };
    let path = |sum| SumPath {
        mask: 1,
        siblings: vec![SumNode { sum, ..sibling }],
    };
    assert!(path(u64::MAX - 2).claim(&chunk).is_some());
    assert!(path(u64::MAX - 1).claim(&chunk).is_none());
}

#[test]
fn air_and_hidden_chunks_are_refused() {
    let chunk = held(0, 2);
    for (sum, hash) in [(0, [1; 32]), (0, EMPTY), (5, EMPTY)] {
        let path = SumPath {
            mask: 1,
            siblings: vec![SumNode { sum, hash }],
        };
        assert!(path.claim(&chunk).is_none(), "sum {sum}");
    }
    let missing = SumPath {
        mask: 1,
        siblings: Vec::new(),
    };
    assert!(missing.claim(&chunk).is_none());
}

#[test]
fn a_million_chunks_are_claimed_in_seconds_and_proven_in_less_than_a_millisecond() {
    // One chunk of each period: the sparsest that an archive of ordinary blocks is.
    let chunks = (0..1_000_000u64).map(|number| held((number / 100) << 16 | (number % 100) << 8, 700));
    let begin = Instant::now();
    let tree = ClaimTree::new(chunks);
    let built = begin.elapsed();
    let begin = Instant::now();
    for number in 0..100 {
        let (chunk, _) = tree.find(number * 6_999_999).unwrap();
        let path = tree.path(chunk.position).unwrap();
        assert_eq!(path.claim(&chunk).unwrap().0, tree.claim());
    }
    let proven = begin.elapsed() / 100;
    println!("a claim of 1 000 000 chunks: {built:?}, a path and its check: {proven:?}");
    // Far above what was measured (2.5 s, 50 µs), so that a busy machine does not fail it.
    assert!(built.as_secs() < 60 && proven.as_millis() < 20, "{built:?}, {proven:?}");
}

/// An answer whose numbers are at their limits: the last position, and paths as long as a chunk of `length` gives them. Also
/// the root of its segment and the rules it passes under, for the last leaf of the claim.
fn deep_answer(length: u32) -> (Answer, SegmentRoot, AnswerRules) {
    let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + at / 977) as u8).collect();
    let leaves = MerkleTree::new(&leaf_hashes(&bytes));
    let entry = ChunkEntry {
        length,
        id: ChunkId::from_bytes(leaves.root()),
    };
    let position = Position::from_number((1 << 40) - 1).unwrap();
    let period_leaves: Vec<Digest> = (0..256)
        .map(|index| {
            let index = ChunkIndex(index);
            PeriodLeaf::Chunk { index, entry }.hash()
        })
        .collect();
    let period_tree = MerkleTree::new(&period_leaves);
    let header = SegmentHeader {
        chain_id: 1,
        segment: position.segment(),
        first_period: position.segment() * 256,
        periods: 256,
        previous: [0; 32],
    };
    let segment = SegmentTree::new(header, &[PeriodRoot::from_bytes(period_tree.root()); 256]);
    let held = HeldChunk {
        position,
        leaves: entry.leaf_count(),
        id: entry.id,
    };
    // Every level has a sibling, so that the answer is as long as it can be.
    let claim = ClaimTree::new(
        (0..40)
            .map(|level| HeldChunk {
                position: Position::from_number(position.number() ^ 1 << level).unwrap(),
                ..held
            })
            .chain([held]),
    );
    let last = entry.leaf_count() - 1;
    let answer = Answer {
        position,
        chunk: entry,
        sum_path: claim.path(position).unwrap(),
        leaf: bytes.chunks(LEAF_BYTES).last().unwrap().to_vec(),
        leaf_path: leaves.path(last).unwrap(),
        period_path: period_tree.path(255).unwrap(),
        segment_path: segment.path(position.period(256)).unwrap(),
    };
    let rules = AnswerRules {
        claim: claim.claim(),
        segment_periods: 256,
    };
    (answer, segment.root(), rules)
}

#[test]
fn the_last_leaf_of_the_largest_chunk_at_the_last_position_is_proven() {
    for length in [1, 1023, 1024, 1025, MAX_CHUNK_BYTES - 1, MAX_CHUNK_BYTES] {
        let (answer, root, rules) = deep_answer(length);
        let drawn = rules.claim.leaves - 1;
        assert_eq!(answer.sum_path.siblings.len(), 40);
        assert_eq!(answer.check(&rules, drawn, Some(&root)), Ok(()), "{length}");
        assert!(answer.to_bytes().len() <= MAX_ANSWER_BYTES);
        assert_eq!(
            answer.check(&rules, drawn - u64::from(answer.chunk.leaf_count()), Some(&root)),
            Err(Reason::NotDrawn)
        );
        assert_eq!(answer.check(&rules, drawn, None), Err(Reason::SegmentUnknown));
        let fewer = AnswerRules {
            segment_periods: 255,
            ..rules
        };
        assert_eq!(answer.check(&fewer, drawn, Some(&root)), Err(Reason::ArchivePath));
    }
}

#[test]
fn reasons_have_the_contracts_codes() {
    let known: Vec<u8> = (0..=u8::MAX)
        .filter(|code| Reason::from_code(*code).is_some())
        .collect();
    assert_eq!(known, [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21]);
    assert!(known
        .iter()
        .all(|code| Reason::from_code(*code).unwrap().code() == *code));
}

/// Committed: a beacon is recomputed by anyone, for ever.
#[test]
fn the_beacon_is_bound_to_round_registry_chain_and_every_slot() {
    use massa_distributed_storage_worker::challenge::RoundContext;
    let context = RoundContext {
        chain_id: 77,
        registry: "AS1".into(),
        round: 7,
    };
    let block = |text: &str| Some(BlockId::new(massa_hash::Hash::compute_from(text.as_bytes())));
    let blocks = [block("a"), None, block("b")];
    let beacon = context.beacon(&blocks);

    // The same bytes, written down by hand.
    let mut input = b"massa distributed storage: beacon".to_vec();
    input.extend(77u64.to_le_bytes());
    input.extend(b"\x03AS1");
    input.extend(7u64.to_le_bytes());
    input.extend([3, 1, 0]);
    input.extend(blake3::hash(b"a").as_bytes());
    input.extend([0, 1, 0]);
    input.extend(blake3::hash(b"b").as_bytes());
    assert_eq!(beacon, *blake3::hash(&input).as_bytes());

    let others = [
        RoundContext {
            chain_id: 78,
            ..context.clone()
        }
        .beacon(&blocks),
        RoundContext {
            registry: "AS2".into(),
            ..context.clone()
        }
        .beacon(&blocks),
        RoundContext {
            round: 8,
            ..context.clone()
        }
        .beacon(&blocks),
        context.beacon(&[block("a"), block("b"), None]),
        context.beacon(&blocks[..2]),
    ];
    assert!(others.iter().all(|other| *other != beacon));
}
