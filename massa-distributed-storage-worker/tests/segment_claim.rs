//! Claims over segments: the tree against its definition, changes against building anew, claims that were sent while chunks come and
//! go, damage, and what a change costs in hashes.

#[path = "common/claims.rs"]
mod claims;

use claims::{id_of, table, wanted, MemoryClaims};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest};
use massa_distributed_storage_worker::challenge::segment_claim::{
    ChunkSet, ClaimBook, ClaimError, ClaimStore, Drawn, RowError, SealError, SegmentRow,
};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher, SumNode, SumPath, EMPTY};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Segments of the small archive; the last chunk of each is shorter.
const SEGMENTS: [(u64, u32, u32); 5] = [
    (0, 1, 700),
    (1, 9, 1025),
    (2, 600, 1),
    (3, 40, 65_536),
    (1 << 23, 4, 5_000),
];

type Chunks = BTreeSet<(u64, u32)>;

fn archive() -> MemoryClaims {
    MemoryClaims::with_tables(SEGMENTS.map(|(segment, chunks, last)| table(segment, chunks, last)))
}

fn any_chunks() -> impl Strategy<Value = Chunks> {
    let position = (0..SEGMENTS.len(), any::<prop::sample::Index>())
        .prop_map(|(at, index)| (SEGMENTS[at].0, index.index(SEGMENTS[at].1 as usize) as u32));
    btree_set(position, 0..60)
}

/// The tree as its definition reads: top down, hashing concatenated bytes.
struct Model(BTreeMap<u64, (u64, Digest)>);

impl Model {
    fn new(chunks: &Chunks) -> Self {
        let leaves = |segment, index| {
            let (_, count, last) = SEGMENTS.iter().find(|(number, ..)| *number == segment).unwrap();
            if index + 1 == *count {
                u64::from(*last).div_ceil(1024)
            } else {
                64
            }
        };
        let row = |(segment, index): &(u64, u32)| {
            let id = id_of(*segment, *index).to_bytes();
            (segment << 16 | u64::from(*index), (leaves(*segment, *index), id))
        };
        Self(chunks.iter().map(row).collect())
    }

    fn node(&self, level: u32, number: u64) -> (u64, Digest) {
        let range = number << level..(number + 1) << level;
        let Some((position, (leaves, id))) = self.0.range(range).next() else {
            return (0, [0; 32]);
        };
        let number_bytes = |number: u64| number.to_le_bytes().to_vec();
        let hash = |parts: &[Vec<u8>]| *blake3::hash(&parts.concat()).as_bytes();
        if level == 0 {
            return (
                *leaves,
                hash(&[vec![2], number_bytes(*position), number_bytes(*leaves), id.to_vec()]),
            );
        }
        let (ls, lh) = self.node(level - 1, number * 2);
        let (rs, rh) = self.node(level - 1, number * 2 + 1);
        (
            ls + rs,
            hash(&[vec![3], number_bytes(ls), lh.to_vec(), number_bytes(rs), rh.to_vec()]),
        )
    }

    fn claim(&self) -> Claim {
        let (leaves, root) = self.node(40, 0);
        Claim { root, leaves }
    }

    fn path(&self, position: u64) -> SumPath {
        let mut path = SumPath::default();
        for level in 0..40 {
            let (sum, hash) = self.node(level, position >> level ^ 1);
            if sum > 0 {
                path.mask |= 1 << level;
                path.siblings.push(SumNode { sum, hash });
            }
        }
        path
    }
}

/// All that shall be claimed of every segment, of which nothing is claimed too.
fn everywhere(chunks: &Chunks) -> BTreeMap<u64, ChunkSet> {
    let mut sets: BTreeMap<u64, ChunkSet> = SEGMENTS.map(|(segment, ..)| (segment, ChunkSet::default())).into();
    sets.extend(wanted(chunks.iter().copied()));
    sets
}

fn draw(
    book: &ClaimBook,
    store: &MemoryClaims,
    claim: &Claim,
    leaf: u64,
) -> Result<Drawn, ClaimError<std::convert::Infallible>> {
    book.draw(store, &claim.root, leaf, &mut SumHasher::default())
}

fn way(book: &ClaimBook, store: &MemoryClaims, claim: &Claim, position: ChunkPosition) -> Option<SumPath> {
    book.path(store, &claim.root, position, &mut SumHasher::default())
        .unwrap()
}

/// Every claimed chunk is found with its path, also by any leaf at its border, and nothing beyond is found with its path, and nothing beyond.
fn assert_provable(book: &ClaimBook, store: &MemoryClaims, chunks: &Chunks) {
    let model = Model::new(chunks);
    let claim = model.claim();
    let mut before = 0;
    for (position, (leaves, id)) in &model.0 {
        for (leaf, in_chunk) in [(before, 0), (before + leaves - 1, leaves - 1)] {
            let drawn = draw(book, store, &claim, leaf).unwrap();
            assert_eq!(
                (drawn.chunk.position.number(), u64::from(drawn.leaf)),
                (*position, in_chunk)
            );
            assert_eq!(
                (drawn.chunk.id.to_bytes(), u64::from(drawn.chunk.leaves)),
                (*id, *leaves)
            );
            assert_eq!(drawn.path, model.path(*position));
            let node = SumNode::chunk(*position, drawn.chunk.leaves, &drawn.chunk.id);
            assert_eq!(drawn.path.follow(*position, node), Some((claim, before)));
        }
        let at = ChunkPosition::from_number(*position).unwrap();
        assert_eq!(way(book, store, &claim, at), Some(model.path(*position)));
        before += leaves;
    }
    let all = SEGMENTS
        .iter()
        .flat_map(|(segment, chunks, _)| (0..*chunks).map(|index| (*segment, index)));
    for (segment, index) in all.filter(|chunk| !chunks.contains(chunk)) {
        let at = ChunkPosition::new(segment, index).unwrap();
        assert_eq!(way(book, store, &claim, at), None, "{at} is not claimed");
    }
    assert!(matches!(
        draw(book, store, &claim, before),
        Err(ClaimError::BeyondClaim { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_claim_is_what_its_definition_gives_and_does_not_depend_on_how_it_came_about(steps in vec(any_chunks(), 1..6)) {
        let mut store = archive();
        let mut book = ClaimBook::default();
        for chunks in &steps {
            store.claim(&mut book, &everywhere(chunks));
            prop_assert_eq!(book.current(), Model::new(chunks).claim());
        }
        let chunks = steps.last().unwrap();
        let claim = store.seal(&mut book, 7);
        prop_assert_eq!(claim, Model::new(chunks).claim());
        assert_provable(&book, &store, chunks);
        // Rows are those of a claim that was never changed: nothing of history is left.
        let mut fresh = archive();
        fresh.claim(&mut ClaimBook::default(), &everywhere(chunks));
        prop_assert_eq!(&store.rows, &fresh.rows);
        prop_assert!(store.saved.is_empty());
    }

    #[test]
    fn claims_that_were_sent_stay_provable_while_chunks_come_and_go_also_after_a_restart(
        steps in vec((any_chunks(), any::<bool>()), 2..8),
    ) {
        let mut store = archive();
        let mut book = ClaimBook::default();
        let mut sent: Vec<(u64, Chunks)> = Vec::new();
        for (round, (chunks, sends)) in (10..).zip(&steps) {
            store.claim(&mut book, &everywhere(chunks));
            if *sends && !chunks.is_empty() {
                store.seal(&mut book, round);
                sent.push((round, chunks.clone()));
            }
            for (_, chunks) in &sent {
                assert_provable(&book, &store, chunks);
            }
        }
        let mut book = store.reopened();
        while let Some((round, chunks)) = sent.first().cloned() {
            for (_, chunks) in &sent {
                assert_provable(&book, &store, chunks);
            }
            let change = book.forget_before(round + 1).unwrap();
            store.commit(&mut book, change);
            sent.remove(0);
            let claim = Model::new(&chunks).claim();
            let kept = sent.iter().any(|(_, other)| *other == chunks);
            prop_assert_eq!(matches!(draw(&book, &store, &claim, 0), Err(ClaimError::UnknownClaim(_))), !kept);
        }
        prop_assert!(store.saved.is_empty(), "what no claim needs is deleted");
        prop_assert!(book.forget_before(u64::MAX).is_none());
    }

    #[test]
    fn a_set_of_chunks_is_a_set(chunks in btree_set(0u32..2_000, 0..50), removed in btree_set(0u32..2_000, 0..50)) {
        let mut set: ChunkSet = chunks.iter().copied().collect();
        prop_assert_eq!(set.iter().collect::<Vec<_>>(), chunks.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(set.len() as usize, chunks.len());
        for chunk in &removed {
            prop_assert_eq!(set.remove(*chunk), chunks.contains(chunk));
        }
        let left: BTreeSet<u32> = chunks.difference(&removed).copied().collect();
        // One set has one form, however it came about.
        prop_assert_eq!(&set, &left.iter().copied().collect());
        let text = serde_json::to_string(&set).unwrap();
        prop_assert_eq!(serde_json::from_str::<ChunkSet>(&text).unwrap(), set);
    }
}

#[test]
fn chunk_numbers_end_where_positions_end() {
    let mut set = ChunkSet::default();
    assert!(set.insert(65_535) && !set.insert(65_535) && !set.insert(65_536));
    assert_eq!((set.len(), set.as_bytes().len()), (1, 8192));
    assert!(ChunkSet::try_from(vec![1; 8193]).is_err());
    assert!(ChunkSet::try_from(vec![0; 8192]).unwrap().is_empty());
}

#[test]
fn an_empty_claim_is_empty() {
    let (mut store, mut book) = (archive(), ClaimBook::default());
    let claim = store.seal(&mut book, 1);
    assert_eq!(claim, Claim { root: EMPTY, leaves: 0 });
    assert!(matches!(
        draw(&book, &store, &claim, 0),
        Err(ClaimError::BeyondClaim { leaf: 0, leaves: 0 })
    ));
}

#[test]
fn a_claim_covers_its_chunks_until_its_round_is_over() {
    let (mut store, mut book) = (archive(), ClaimBook::default());
    let covers = |book: &ClaimBook, store: &MemoryClaims, index| {
        book.covers(store, ChunkPosition::new(2, index).unwrap()).unwrap()
    };
    store.claim(&mut book, &wanted([(2, 5), (2, 300)]));
    assert!(!covers(&book, &store, 5), "nothing was sent");
    store.seal(&mut book, 4);
    store.claim(&mut book, &wanted([(2, 300)]));
    store.seal(&mut book, 5);
    store.claim(&mut book, &BTreeMap::from([(2, ChunkSet::default())]));
    assert!(covers(&book, &store, 5) && covers(&book, &store, 300) && !covers(&book, &store, 6));

    let change = book.forget_before(5).unwrap();
    store.commit(&mut book, change);
    assert!(!covers(&book, &store, 5) && covers(&book, &store, 300));
    let mut book = store.reopened();
    assert!(!covers(&book, &store, 5) && covers(&book, &store, 300));
    let change = book.forget_before(6).unwrap();
    store.commit(&mut book, change);
    assert!(!covers(&book, &store, 300));
}

#[test]
fn the_same_claim_is_sealed_once_and_another_beside_it() {
    let (mut store, mut book) = (archive(), ClaimBook::default());
    store.claim(&mut book, &wanted([(1, 1)]));
    store.seal(&mut book, 4);
    assert!(book.seal(4).unwrap().is_none());
    store.claim(&mut book, &wanted([(1, 2)]));
    store.seal(&mut book, 4);
    assert_eq!(store.sent.len(), 2, "one of them may have been sent and never executed");
    store.seal(&mut book, 5);
    assert_eq!(store.sent.len(), 3, "the same chunks are claimed for the next round");
    let versions: Vec<u64> = book.sent().map(|sent| sent.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(book.seal(3).unwrap_err(), SealError::RoundOrder { round: 3, last: 5 });
    for index in 0..20 {
        store.claim(&mut book, &wanted([(2, index)]));
        match book.seal(5) {
            Ok(change) => store.commit(&mut book, change.unwrap()),
            Err(error) => assert_eq!((error, store.sent.len()), (SealError::TooMany, 16)),
        }
    }
}

#[test]
fn a_change_is_applied_to_what_it_was_prepared_for() {
    let (store, mut book) = (archive(), ClaimBook::default());
    let mut hasher = SumHasher::default();
    let first = book.prepare(&store, &wanted([(1, 1)]), &mut hasher).unwrap();
    let second = book.prepare(&store, &wanted([(1, 2)]), &mut hasher).unwrap();
    book.apply(first).unwrap();
    assert!(book.apply(second).is_err());
}

#[test]
fn only_what_is_in_a_known_table_is_claimed() {
    let (store, book) = (archive(), ClaimBook::default());
    let prepare = |chunk| {
        book.prepare(&store, &wanted([chunk]), &mut SumHasher::default())
            .map(|_| ())
    };
    assert!(matches!(prepare((4, 0)), Err(ClaimError::NoTable(4))));
    let position = ChunkPosition::new(1, 9).unwrap();
    assert!(matches!(prepare((1, 9)), Err(ClaimError::Row(RowError::NoSuchChunk(at))) if at == position));
    assert!(prepare((1, 8)).is_ok());
}

/// Chunks of three segments, two of them changed after the claim.
fn sent_and_changed() -> (MemoryClaims, ClaimBook, Chunks, Chunks) {
    let (mut store, mut book) = (archive(), ClaimBook::default());
    let before: Chunks = [(1, 0), (1, 3), (2, 10), (2, 400), (3, 7)].into();
    let after: Chunks = [(1, 0), (2, 10), (2, 401), (3, 7)].into();
    store.claim(&mut book, &everywhere(&before));
    store.seal(&mut book, 4);
    store.claim(&mut book, &everywhere(&after));
    (store, book, before, after)
}

#[test]
fn a_damaged_or_missing_row_is_found_and_built_anew() {
    for missing in [false, true] {
        let (mut store, _, before, after) = sent_and_changed();
        if missing {
            store.rows.remove(&3);
        } else {
            store.damaged.insert(3);
        }
        let opened = ClaimBook::open(&store, &mut SumHasher::default()).unwrap();
        assert_eq!(opened.damaged, if missing { vec![] } else { vec![3] });
        assert!(opened.incomplete);
        assert_eq!(
            opened.unprovable.len(),
            1,
            "segment 3 is the same in the claim that was sent"
        );
        let claim = Model::new(&before).claim();
        assert!(matches!(
            draw(&opened.book, &store, &claim, 0),
            Err(ClaimError::Unprovable(_))
        ));

        let mut book = opened.book;
        store.claim(&mut book, &everywhere(&after));
        let opened = ClaimBook::open(&store, &mut SumHasher::default()).unwrap();
        assert!(opened.damaged.is_empty() && !opened.incomplete && opened.unprovable.is_empty());
        assert_eq!(opened.book.current(), Model::new(&after).claim());
        assert_provable(&opened.book, &store, &before);
    }
}

#[test]
fn a_row_that_is_damaged_while_running_proves_nothing_until_it_is_built_anew() {
    let (mut store, mut book, before, after) = sent_and_changed();
    let claim = Model::new(&before).claim();
    let leaf = claim.leaves - 1;
    store.damaged.insert(3);
    assert!(matches!(
        draw(&book, &store, &claim, leaf),
        Err(ClaimError::Row(RowError::Damaged(3)))
    ));
    assert!(draw(&book, &store, &claim, 0).is_ok(), "other segments are not touched");
    assert!(
        book.covers(&store, ChunkPosition::new(3, 39).unwrap()).unwrap(),
        "rather a chunk too many"
    );

    let change = book
        .prepare(&store, &everywhere(&after), &mut SumHasher::default())
        .unwrap();
    assert_eq!(change.rebuilt, [3]);
    store.commit(&mut book, change);
    assert_provable(&book, &store, &before);
}

/// Any change of any field of a row is seen before something is proven with it.
#[test]
fn a_row_with_any_field_changed_is_refused() {
    let (store, book, before, _) = sent_and_changed();
    let claim = Model::new(&before).claim();
    let row = store
        .saved
        .values()
        .find(|row| row.claimed().contains(400))
        .unwrap()
        .clone();
    let version = store.saved.keys().next().unwrap().0;
    let form = serde_json::to_value(&row).unwrap();
    let leaf = Model::new(&before).node(17, 0).0; // The first leaf of segment 2.
    let refused = |changed: serde_json::Value| {
        let mut store = store.clone();
        let changed: SegmentRow = serde_json::from_value(changed).unwrap();
        assert_ne!(changed, row);
        store.saved.insert((version, 2), changed);
        [leaf, leaf + 64]
            .into_iter()
            .any(|leaf| draw(&book, &store, &claim, leaf).is_err())
    };
    let mut changes = 0;
    let mut change = |pointer: &str, to: &dyn Fn(u64) -> u64| {
        let mut changed = form.clone();
        let field = changed.pointer_mut(pointer).unwrap();
        *field = to(field.as_u64().unwrap()).into();
        assert!(refused(changed), "{pointer}");
        changes += 1;
    };
    for pointer in [
        "/claimed/1",
        "/claimed/50",
        "/total/sum",
        "/groups/0/number",
        "/groups/1/number",
        "/groups/0/node/sum",
    ] {
        change(pointer, &|value| value ^ 1);
    }
    for byte in 0..32 {
        for hash in ["/total/hash", "/groups/0/node/hash", "/groups/1/node/hash"] {
            change(&format!("{hash}/{byte}"), &|value| value ^ 4);
        }
    }
    assert_eq!(changes, 6 + 96);
}

#[test]
fn rows_come_back_from_their_serde_form() {
    let (store, ..) = sent_and_changed();
    for row in store.rows.values().chain(store.saved.values()) {
        let text = serde_json::to_string(row).unwrap();
        let read: SegmentRow = serde_json::from_str(&text).unwrap();
        assert_eq!(&read, row);
        assert!(read.is_sound(&mut SumHasher::default()));
    }
    let text = serde_json::to_string(&store.sent).unwrap();
    assert_eq!(serde_json::from_str::<Vec<_>>(&text).ok(), Some(store.sent.clone()));
    assert_eq!((SegmentRow::VERSION, store.sent().unwrap().len()), (1, 1));
}

/// 200 000 held chunks: 50 000 segments of a quiet chain with 4 each. 2 000 of them change, in 500 segments.
#[test]
fn the_next_claim_costs_what_changed() {
    const HELD_SEGMENTS: u64 = 50_000;
    let mut store = MemoryClaims::with_tables((0..HELD_SEGMENTS).map(|segment| table(segment, 10, 1_000)));
    let mut book = ClaimBook::default();
    let held: BTreeMap<u64, ChunkSet> = (0..HELD_SEGMENTS)
        .map(|segment| (segment, (0..4).map(|chunk| 2 * chunk + (segment % 2) as u32).collect()))
        .collect();
    let begin = Instant::now();
    let all = store.claim(&mut book, &held);
    let built = begin.elapsed();
    store.seal(&mut book, 100);

    let mut next: BTreeMap<u64, ChunkSet> = BTreeMap::new();
    for segment in (0..HELD_SEGMENTS).step_by(100) {
        next.insert(segment, (0..4).map(|chunk| 2 * chunk + 1).collect());
    }
    store.reads.set(0);
    let begin = Instant::now();
    let mut hasher = SumHasher::default();
    let change = book.prepare(&store, &next, &mut hasher).unwrap();
    let batch = (change.batch.rows.len(), change.batch.saved.len());
    store.commit(&mut book, change);
    store.seal(&mut book, 101);
    let changed = begin.elapsed();

    println!(
        "a claim of {} leaves: built {built:?} with {} hashes; 2 000 chunks changed: {changed:?} with {} hashes",
        book.current().leaves,
        all.hashes,
        hasher.hashes
    );
    assert_eq!(
        batch,
        (500, 500),
        "rows are copied where they changed, and nowhere else"
    );
    assert_eq!(store.reads.get(), 1_000);
    // 4 chunks, at most 7 + 14 nodes over them, 8 to see that the old row is sound, 24 above.
    assert!(hasher.hashes <= 500 * 57, "{} hashes", hasher.hashes);
    assert!(
        changed.as_millis() < 1_000,
        "{changed:?}: the target is 100 ms on an idle machine"
    );
    let claim = book.current();
    let siblings = (0..1_000).map(|draw| {
        let leaf = draw * (claim.leaves / 1_000);
        self::draw(&book, &store, &claim, leaf).unwrap().path.siblings.len()
    });
    // 1 024 bytes of leaf, paths of 10 and of 7 or 13 siblings: an answer has about 2.5 kB.
    let siblings = siblings.max().unwrap();
    println!("at most {siblings} sum siblings");
    assert!(siblings <= 20, "{siblings} sum siblings");
}

/// A full segment of 6 400 chunks, of which every seventh is held.
#[test]
fn a_path_costs_the_hashes_of_one_group_however_large_the_segment_is() {
    let mut store = MemoryClaims::with_tables([table(7, 6_400, 1)]);
    let mut book = ClaimBook::default();
    store.claim(&mut book, &wanted((0..6_400).step_by(7).map(|index| (7, index))));
    let claim = store.seal(&mut book, 1);
    let mut hasher = SumHasher::default();
    let begin = Instant::now();
    for draw in 0..100 {
        book.draw(&store, &claim.root, draw * (claim.leaves / 100), &mut hasher)
            .unwrap();
    }
    println!(
        "a path in a full segment: {:?} and {} hashes",
        begin.elapsed() / 100,
        hasher.hashes / 100
    );
    assert!(hasher.hashes <= 100 * 256, "{} hashes", hasher.hashes);
    let mut set = store.rows[&7].claimed().clone();
    set.insert(1);
    let cost = store.claim(&mut book, &BTreeMap::from([(7, set)]));
    assert!(cost.hashes <= 320, "one chunk more: {} hashes", cost.hashes);
}
