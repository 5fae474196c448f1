//! Answers of archive format 2: what this code makes of upstream's blocks is what the JavaScript model makes, byte for byte, and
//! is accepted and refused with the contract's reasons (`tests/data/segment-answer-vectors.json`).

#[allow(dead_code)]
#[path = "common/claims.rs"]
mod claims;

use claims::{wanted, MemoryClaims};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentLeaf, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest, PAGE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, SegmentRoot};
use massa_distributed_storage_worker::challenge::segment_answer::{
    check_answer, page_of, Archived, ProveError, SegmentAnswer, ShownPage, MAX_ANSWER_BYTES,
};
use massa_distributed_storage_worker::challenge::segment_claim::{ClaimBook, Drawn};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher, SumNode, SumPath};
use massa_distributed_storage_worker::challenge::Reason;
use massa_tests::{data_path, read_mblk};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const FIRST_PERIOD: u64 = 1;
const LAST_PERIOD: u64 = 7;

fn vectors() -> Value {
    serde_json::from_slice(&std::fs::read(data_path("segment-answer-vectors.json")).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap()
}

/// Numbers of 64 bits are decimal texts.
fn number(value: &Value) -> u64 {
    let text = || value.as_str().unwrap().parse().unwrap();
    value.as_u64().unwrap_or_else(text)
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn digest(value: &Value) -> Digest {
    bytes(value).try_into().unwrap()
}

/// A segment with its body.
struct Segment {
    table: SegmentTable,
    body: Vec<u8>,
}

impl Segment {
    fn chunk(&self, index: u32) -> &[u8] {
        let range = self.table.chunk_range(index);
        &self.body[range.start as usize..range.end as usize]
    }

    fn page_roots(&self, index: u32) -> Vec<Digest> {
        let pages = self.chunk(index).chunks(PAGE_BYTES);
        pages.map(|page| root_of_hashes(leaf_hashes(page))).collect()
    }

    fn with_page<T>(&self, index: u32, page: u32, show: impl FnOnce(ShownPage<'_>) -> T) -> T {
        let chunk = self.chunk(index);
        let start = page as usize * PAGE_BYTES;
        show(ShownPage {
            number: page,
            bytes: &chunk[start..(start + PAGE_BYTES).min(chunk.len())],
            roots: &self.page_roots(index),
        })
    }

    fn answer(&self, drawn: &Drawn) -> Result<SegmentAnswer, ProveError> {
        let tree = self.table.tree();
        let archived = Archived {
            table: &self.table,
            tree: &tree,
        };
        let index = drawn.chunk.position.index.0;
        self.with_page(index, page_of(drawn.leaf), |page| {
            SegmentAnswer::to_draw(drawn, archived, page)
        })
    }
}

/// Periods 1 to 4 are upstream's; 5 is lost, with the ids of period 4; in 6 and 7 every slot was missed.
fn archive(chunk_size: u32, segment_periods: u64) -> Vec<Segment> {
    let file = read_mblk(&data_path("upstream-blocks-4-periods.mblk"));
    let parameters = ArchiveParameters {
        chunk_size,
        segment_periods,
        first_period: FIRST_PERIOD,
        ..ArchiveParameters::new(77_658_377, 32)
    };
    let blocks = file.periods();
    let mut periods: BTreeMap<u64, EncodedPeriod> = BTreeMap::new();
    for period in FIRST_PERIOD..=LAST_PERIOD {
        let missed = vec![None; 32];
        let records = blocks.get(&period).unwrap_or(&missed);
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        let encoded = if period == 5 {
            let ids: Vec<_> = periods[&4].entry.ids().collect();
            EncodedPeriod::lost(period, PeriodEntry::lost(&ids).unwrap())
        } else {
            EncodedPeriod::whole(&parameters, period, &slots).unwrap()
        };
        periods.insert(period, encoded);
    }
    let mut segments: Vec<Segment> = Vec::new();
    for segment in 0..=parameters.segment_of(LAST_PERIOD) {
        let own: Vec<_> = periods
            .values()
            .filter(|encoded| parameters.segment_of(encoded.period) == segment)
            .collect();
        let next = cut(&parameters, segment, &own, segments.last());
        segments.push(next);
    }
    segments
}

fn cut(parameters: &ArchiveParameters, segment: u64, periods: &[&EncodedPeriod], before: Option<&Segment>) -> Segment {
    let body: Vec<u8> = periods.iter().flat_map(|encoded| encoded.bytes.clone()).collect();
    let header = SegmentHeader {
        chain_id: parameters.chain_id,
        segment,
        first_period: periods[0].period,
        periods: periods.len() as u32,
        threads: parameters.thread_count,
        chunk_size: parameters.chunk_size,
        body_length: body.len() as u64,
        bytes_before: before.map_or(0, |before| {
            before.table.header().bytes_before + before.body.len() as u64
        }),
        previous: before.map_or([0; 32], |before| before.table.root().to_bytes()),
    };
    let rows = periods.iter().map(|encoded| TablePeriod {
        length: encoded.bytes.len() as u32,
        root: encoded.entry.root(parameters.chain_id, encoded.period),
    });
    let ids = body
        .chunks(parameters.chunk_size as usize)
        .map(|chunk| ChunkId::from_bytes(root_of_hashes(leaf_hashes(chunk))));
    let table = SegmentTable::new(header, rows.collect(), ids.collect()).unwrap();
    Segment { table, body }
}

/// One set of the vectors, with what this code makes of the same blocks.
struct Set {
    vectors: Value,
    segments: Vec<Segment>,
    claim: Claim,
    store: MemoryClaims,
    book: ClaimBook,
}

impl Set {
    fn all() -> Vec<Self> {
        let all = vectors();
        list(&all, "sets").iter().map(Self::new).collect()
    }

    fn new(vectors: &Value) -> Self {
        let segments = archive(
            number(&vectors["chunk_size"]) as u32,
            number(&vectors["segment_periods"]),
        );
        let mut store = MemoryClaims::with_tables(segments.iter().map(|segment| segment.table.clone()));
        let mut book = ClaimBook::default();
        let positions = list(&vectors["claim"], "positions").iter().map(|position| {
            let position = ChunkPosition::from_number(number(position)).unwrap();
            (position.segment, position.index.0)
        });
        store.claim(&mut book, &wanted(positions));
        let claim = store.seal(&mut book, 3);
        Self {
            vectors: vectors.clone(),
            segments,
            claim,
            store,
            book,
        }
    }

    fn root(&self, segment: u64) -> Option<SegmentRoot> {
        let roots = list(&self.vectors, "segment_roots");
        let row = roots.iter().find(|row| number(&row["segment"]) == segment)?;
        Some(SegmentRoot::from_bytes(digest(&row["root"])))
    }

    fn check(&self, answer: &[u8], drawn: u64) -> Reason {
        check_answer(answer, &self.claim, drawn, |segment| self.root(segment))
    }

    fn draw(&self, leaf: u64) -> Drawn {
        let mut hasher = SumHasher::default();
        self.book
            .draw(&self.store, &self.claim.root, leaf, &mut hasher)
            .unwrap()
    }
}

#[test]
fn claims_and_segment_roots_are_those_of_the_javascript_model() {
    for set in Set::all() {
        assert_eq!(set.claim.root, digest(&set.vectors["claim"]["root"]));
        assert_eq!(set.claim.leaves, number(&set.vectors["claim"]["sum"]));
        for segment in &set.segments {
            if let Some(root) = set.root(segment.table.header().segment) {
                assert_eq!(segment.table.root(), root);
            }
        }
    }
}

#[test]
fn answers_made_from_pages_and_tables_are_the_models_byte_for_byte() {
    for set in Set::all() {
        for vector in list(&set.vectors, "answers") {
            let leaf = number(&vector["drawn"]);
            let drawn = set.draw(leaf);
            let segment = &set.segments[drawn.chunk.position.segment as usize];
            let answer = segment.answer(&drawn).unwrap();

            assert_eq!(drawn.chunk.position.number(), number(&vector["position"]));
            assert_eq!(hex::encode(answer.to_bytes()), vector["answer"].as_str().unwrap());
            assert_eq!(SegmentAnswer::from_bytes(&answer.to_bytes()).as_ref(), Ok(&answer));
            assert_eq!(
                u64::from(set.check(&answer.to_bytes(), leaf).code()),
                number(&vector["reason"])
            );
        }
    }
}

#[test]
fn tampered_answers_are_refused_with_the_contracts_reason() {
    for set in Set::all() {
        for vector in list(&set.vectors, "tampered") {
            let reason = set.check(&bytes(&vector["answer"]), number(&vector["drawn"]));
            let expected = number(&vector["reason"]);
            assert_eq!(u64::from(reason.code()), expected, "{}: {reason}", vector["name"]);
        }
    }
}

#[test]
fn every_byte_of_a_valid_answer_matters_with_the_contracts_reason() {
    for set in Set::all() {
        let rows = list(&set.vectors, "answers").iter();
        for vector in rows.filter(|vector| !vector["changed"].is_null()) {
            let answer = bytes(&vector["answer"]);
            for (at, expected) in vector["changed"].as_str().unwrap().chars().enumerate() {
                let mut changed = answer.clone();
                changed[at] ^= 1 << (at % 8);
                let reason = set.check(&changed, number(&vector["drawn"]));
                assert_eq!(
                    Some(u32::from(reason.code())),
                    expected.to_digit(10),
                    "leaf {}, byte {at}",
                    vector["drawn"]
                );
            }
        }
    }
}

#[test]
fn headers_and_their_paths_are_the_models() {
    let all = vectors();
    let segments = archive(1 << 16, 2);
    for (vector, segment) in list(&all, "headers").iter().zip(&segments) {
        let leaf = SegmentLeaf::Header(*segment.table.header());
        assert_eq!(leaf.to_bytes(), bytes(&vector["leaf"]));
        assert_eq!(leaf.hash(), digest(&vector["hash"]));
        let path = segment.table.tree().header_path();
        let mut encoded = path.directions.to_le_bytes().to_vec();
        encoded.push(path.siblings.len() as u8);
        encoded.extend(path.siblings.iter().flatten());
        assert_eq!(encoded, bytes(&vector["path"]));
    }
}

#[test]
fn a_manual_challenge_asks_for_the_leaf_of_its_nonce() {
    let set = &Set::all()[0];
    let segment = &set.segments[1];
    let position = ChunkPosition::new(1, 1).unwrap();
    let (chunk, tree) = (segment.table.chunk(1).unwrap(), segment.table.tree());
    let archived = Archived {
        table: &segment.table,
        tree: &tree,
    };
    let root = set.root(1);
    for nonce in [0, 63, 64, 131, u64::MAX] {
        let answer = segment.with_page(1, 0, |page| {
            SegmentAnswer::to_manual(position, nonce, archived, page).unwrap()
        });
        assert_eq!(answer.check_manual(&chunk.id, nonce, root.as_ref()), Ok(()));
        assert_eq!(
            answer.check_manual(&chunk.id, nonce ^ 1, root.as_ref()),
            Err(Reason::LeafPath)
        );
        let other = segment.table.chunk(0).unwrap().id;
        assert_eq!(answer.check_manual(&other, nonce, root.as_ref()), Err(Reason::NotDrawn));
        assert_eq!(answer.check_manual(&chunk.id, nonce, None), Err(Reason::SegmentUnknown));
        let with_sums = SegmentAnswer {
            sum_path: set.draw(0).path,
            ..answer
        };
        assert_eq!(
            with_sums.check_manual(&chunk.id, nonce, root.as_ref()),
            Err(Reason::Malformed)
        );
    }
}

#[test]
fn what_is_damaged_here_is_never_shown() {
    let set = &Set::all()[1];
    let (segment, leaf) = (&set.segments[1], 200 + number(&set.vectors["answers"][2]["drawn"]));
    let drawn = set.draw(leaf);
    let tree = segment.table.tree();
    let archived = Archived {
        table: &segment.table,
        tree: &tree,
    };
    let page = page_of(drawn.leaf);
    let position = drawn.chunk.position;
    let prove = |drawn: &Drawn, page: ShownPage<'_>| SegmentAnswer::to_draw(drawn, archived, page);
    segment.with_page(0, page, |shown| {
        assert!(prove(&drawn, shown).is_ok());
        let mut bytes = shown.bytes.to_vec();
        bytes[60_000] ^= 1;
        let damaged = ShownPage { bytes: &bytes, ..shown };
        assert_eq!(prove(&drawn, damaged), Err(ProveError::Damaged { position, page }));
        for other in 0..shown.roots.len() {
            let mut roots = shown.roots.to_vec();
            roots[other][0] ^= 1;
            let damaged = ShownPage { roots: &roots, ..shown };
            assert_eq!(prove(&drawn, damaged), Err(ProveError::Damaged { position, page }));
        }
        let short = ShownPage {
            bytes: &shown.bytes[1..],
            ..shown
        };
        let missing = Err(ProveError::NoSuchLeaf {
            position,
            leaf: drawn.leaf,
        });
        assert_eq!(prove(&drawn, short), missing);
        let elsewhere = ShownPage {
            number: page + 1,
            ..shown
        };
        assert_eq!(prove(&drawn, elsewhere), missing);
        let mut far = drawn.clone();
        far.chunk.position = ChunkPosition::new(1, 7).unwrap();
        assert_eq!(prove(&far, shown), Err(ProveError::NoSuchChunk(far.chunk.position)));
        far.chunk.position = ChunkPosition::new(0, 0).unwrap();
        assert_eq!(prove(&far, shown), Err(ProveError::NoSuchChunk(far.chunk.position)));
    });
}

/// At its limits: 40 sum siblings and two paths of 16 have room, and nothing larger is read.
#[test]
fn the_largest_answer_has_the_largest_size() {
    let set = &Set::all()[0];
    let answer = set.segments[0].answer(&set.draw(0)).unwrap();
    let sibling = SumNode { sum: 1, hash: [1; 32] };
    let full = |path: &massa_distributed_storage_exports::merkle::MerkleProof| {
        let mut path = path.clone();
        path.siblings.resize(16, [2; 32]);
        path
    };
    let largest = SegmentAnswer {
        sum_path: SumPath {
            mask: (1 << 40) - 1,
            siblings: vec![sibling; 40],
        },
        leaf_path: full(&answer.leaf_path),
        segment_path: full(&answer.segment_path),
        ..answer
    };
    let bytes = largest.to_bytes();
    assert_eq!(bytes.len(), MAX_ANSWER_BYTES);
    assert_eq!(SegmentAnswer::from_bytes(&bytes), Ok(largest));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_that_are_read_as_an_answer_are_written_back_the_same(
        cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in any::<u8>(),
    ) {
        let all = vectors();
        let mut answer = bytes(&all["sets"][0]["answers"][4]["answer"]);
        prop_assert!(SegmentAnswer::from_bytes(&answer[..cut.index(answer.len())]).is_err());
        let at = at.index(answer.len());
        answer[at] = with;
        if let Ok(read) = SegmentAnswer::from_bytes(&answer) {
            prop_assert_eq!(read.to_bytes(), answer);
        }
    }
}
