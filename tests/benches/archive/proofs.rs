//! Four draws over what is held: construction and check of the answers, against reading and hashing four pages.

use super::claims::MemoryClaims;
use super::closing::stored;
use super::data::Periods;
use super::report::{Row, Target};
use super::timing::microseconds;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::segment_table::{SegmentTable, SegmentTree};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_worker::challenge::reason::Reason;
use massa_distributed_storage_worker::challenge::segment_answer::{
    check_answer, page_of, Archived, SegmentAnswer, ShownPage,
};
use massa_distributed_storage_worker::challenge::segment_claim::{ClaimBook, Drawn};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher};
use massa_distributed_storage_worker::storage_backend::{read::PageRead, SegmentStore};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Draws of a round for a small claim.
const DRAWS: usize = 4;
/// Answers to all draws of which the median is taken.
const ROUNDS: usize = 200;
const ROUND: u64 = 100;

/// Everything held, claimed.
struct Claimed {
    store: Arc<SegmentStore>,
    rows: MemoryClaims,
    book: ClaimBook,
    claim: Claim,
    /// Trees of the segments: kept for the answers of a round, because each costs a hash for every leaf of its segment.
    segments: BTreeMap<u64, (Arc<SegmentTable>, SegmentTree)>,
}

impl Claimed {
    fn new(store: &Arc<SegmentStore>) -> Self {
        let infos = store.segments(0, usize::MAX).expect("the store reads");
        let tables = infos
            .iter()
            .filter_map(|info| store.table(info.segment).expect("the store reads"));
        let tables: Vec<Arc<SegmentTable>> = tables.collect();
        let mut rows = MemoryClaims::with_tables(tables.iter().map(|table| (**table).clone()));
        let mut book = ClaimBook::default();
        let all = tables.iter().map(|table| {
            let header = table.header();
            (header.segment, (0..header.chunk_count()).collect())
        });
        rows.claim(&mut book, &all.collect());
        let claim = rows.seal(&mut book, ROUND);
        let segments = tables.into_iter().map(|table| {
            let tree = table.tree();
            (table.header().segment, (table, tree))
        });
        Self {
            store: Arc::clone(store),
            rows,
            book,
            claim,
            segments: segments.collect(),
        }
    }

    fn page(&self, drawn: &Drawn) -> PageRead {
        let page = self.store.page(drawn.chunk.position, page_of(drawn.leaf));
        page.expect("the store reads").expect("the chunk is held")
    }

    fn draw(&self, leaf: u64) -> Drawn {
        let mut hasher = SumHasher::default();
        let drawn = self.book.draw(&self.rows, &self.claim.root, leaf, &mut hasher);
        drawn.expect("the leaf is claimed")
    }

    fn answer(&self, leaf: u64) -> Vec<u8> {
        let drawn = self.draw(leaf);
        let page = self.page(&drawn);
        let (table, tree) = &self.segments[&drawn.chunk.position.segment];
        let shown = ShownPage {
            number: page_of(drawn.leaf),
            bytes: &page.plain,
            roots: &page.page_roots,
        };
        let answer = SegmentAnswer::to_draw(&drawn, Archived { table, tree }, shown);
        answer.expect("the leaf is held").to_bytes()
    }

    fn check(&self, leaf: u64, answer: &[u8]) {
        let root = |segment| Some(self.segments.get(&segment)?.1.root());
        assert_eq!(check_answer(answer, &self.claim, leaf, root), Reason::Passed);
    }
}

/// Measures answers to four draws.
pub fn rows(periods: &Periods) -> Vec<Row> {
    let (_directory, store) = stored(periods);
    let claimed = Claimed::new(&store);
    let mut random = ChaCha20Rng::seed_from_u64(3);
    let (mut built, mut checked, mut limit) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let leaves: Vec<u64> = (0..DRAWS).map(|_| random.gen_range(0..claimed.claim.leaves)).collect();
        // Warm: read once before.
        let drawn: Vec<Drawn> = leaves.iter().map(|leaf| claimed.draw(*leaf)).collect();
        drawn.iter().for_each(|drawn| drop(black_box(claimed.page(drawn))));
        let begin = Instant::now();
        for drawn in &drawn {
            let page = claimed.page(drawn);
            black_box(leaf_hashes(black_box(&page.plain[..page.plain.len().min(PAGE_BYTES)])));
        }
        limit.push(begin.elapsed());
        let begin = Instant::now();
        let answers: Vec<Vec<u8>> = leaves.iter().map(|leaf| claimed.answer(*leaf)).collect();
        built.push(begin.elapsed());
        let begin = Instant::now();
        for (leaf, answer) in leaves.iter().zip(&answers) {
            claimed.check(*leaf, answer);
        }
        checked.push(begin.elapsed());
    }
    store.close();
    let row = |name, value, limit, target| Row {
        name,
        value,
        unit: "µs",
        limit,
        target,
    };
    let limit = Some(("four page reads with 64 leaf hashes each", microseconds(limit)));
    vec![
        row(
            "proof of 4 draws, warm",
            microseconds(built),
            limit,
            Target::AtMost(1000.0),
        ),
        row(
            "check of a proof of 4 draws",
            microseconds(checked),
            None,
            Target::AtMost(100.0),
        ),
    ]
}
