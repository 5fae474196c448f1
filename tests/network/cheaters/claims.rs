//! Claims and answers of cheaters: the trees that honest nodes keep in their store, made in memory of whatever is to be claimed.

use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::MerkleTree;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, SegmentTree, TablePeriod};
use massa_distributed_storage_exports::types::{ChunkPosition, LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::challenge::segment_answer::{page_of, Archived, SegmentAnswer, ShownPage};
use massa_distributed_storage_worker::challenge::segment_claim::{ChunkSet, Drawn, HeldChunk, SegmentRow, UpperTree};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher};
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use massa_localnet::genesis::{CHAIN_ID, CHUNK_BYTES, SEGMENT_PERIODS};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of the foreign chunk: one page.
const FOREIGN_BYTES: usize = PAGE_BYTES;

/// What is claimed, with its way to the root.
#[derive(Clone, Debug)]
pub struct Tree {
    tables: BTreeMap<u64, Arc<SegmentTable>>,
    rows: BTreeMap<u64, SegmentRow>,
    upper: UpperTree,
}

impl Tree {
    /// Over these chunks of the segments of these tables.
    pub fn new(chunks: &[HeldChunk], tables: &BTreeMap<u64, Arc<SegmentTable>>) -> Self {
        let mut hasher = SumHasher::default();
        let mut claimed: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for chunk in chunks {
            let of_segment = claimed.entry(chunk.position.segment).or_default();
            of_segment.push(chunk.position.index.0);
        }
        let mut tree = Self {
            tables: BTreeMap::new(),
            rows: BTreeMap::new(),
            upper: UpperTree::default(),
        };
        let mut nodes = Vec::new();
        for (segment, indexes) in claimed {
            let table = &tables[&segment];
            let row = SegmentRow::build(ChunkSet::from_iter(indexes), table, &mut hasher).unwrap();
            nodes.push((segment, row.total()));
            tree.tables.insert(segment, Arc::clone(table));
            tree.rows.insert(segment, row);
        }
        tree.upper = tree.upper.with(&nodes, &mut hasher);
        tree
    }

    pub fn claim(&self) -> Claim {
        self.upper.claim()
    }

    /// The claimed leaf `leaf`, with the way from its chunk to the claim.
    pub fn draw(&self, leaf: u64) -> Option<Drawn> {
        let (segment, rest) = self.upper.find(leaf)?;
        let mut hasher = SumHasher::default();
        let found = self.rows[&segment].find(rest, &self.tables[&segment], &mut hasher);
        let (chunk, leaf, mut path) = found.unwrap();
        assert!(self.upper.continue_path(segment, &mut path));
        Some(Drawn { chunk, leaf, path })
    }

    /// The answer to the draw of a claimed leaf out of what a node archived; `None` if it does not hold the chunk.
    pub fn answer(&self, store: &SegmentStore, leaf: u64) -> Option<SegmentAnswer> {
        let drawn = self.draw(leaf)?;
        let table = store.table(drawn.chunk.position.segment).ok()??;
        let number = page_of(drawn.leaf);
        let page = store.page(drawn.chunk.position, number).ok()??;
        let archived = Archived {
            table: &table,
            tree: &table.tree(),
        };
        let shown = ShownPage {
            number,
            bytes: &page.plain,
            roots: &page.page_roots,
        };
        SegmentAnswer::to_draw(&drawn, archived, shown).ok()
    }
}

/// A chunk as it stands in a claim.
pub fn held_chunk(table: &SegmentTable, index: u32) -> HeldChunk {
    let chunk = table.chunk(index).unwrap();
    HeldChunk {
        position: ChunkPosition::new(table.header().segment, index).unwrap(),
        leaves: chunk.leaf_count(),
        id: chunk.id,
    }
}

/// A segment of one chunk that nobody archived.
pub struct ForeignArchive {
    pub segment: u64,
    bytes: Vec<u8>,
    table: Arc<SegmentTable>,
}

impl ForeignArchive {
    pub fn new(segment: u64, threads: u8) -> Self {
        let bytes: Vec<u8> = (0..FOREIGN_BYTES).map(|at| (at / 7) as u8).collect();
        let leaves = MerkleTree::new(&leaf_hashes(&bytes));
        let header = SegmentHeader {
            chain_id: CHAIN_ID,
            segment,
            first_period: segment * SEGMENT_PERIODS,
            periods: SEGMENT_PERIODS as u32,
            threads,
            chunk_size: CHUNK_BYTES,
            body_length: bytes.len() as u64,
            bytes_before: 0,
            previous: [0; 32],
        };
        let period = |number: u32| TablePeriod {
            length: bytes.len() as u32 / header.periods,
            root: PeriodRoot::from_bytes([number as u8; 32]),
        };
        let periods = (0..header.periods).map(period).collect();
        let table = SegmentTable::new(header, periods, vec![ChunkId::from_bytes(leaves.root())]).unwrap();
        Self {
            segment,
            bytes,
            table: Arc::new(table),
        }
    }

    pub fn root(&self) -> SegmentRoot {
        self.table.root()
    }

    pub fn tree(&self) -> Tree {
        let tables = BTreeMap::from([(self.segment, Arc::clone(&self.table))]);
        Tree::new(&[held_chunk(&self.table, 0)], &tables)
    }

    /// Right in every point but that its segment root is not the accepted one.
    pub fn answer(&self, tree: &Tree, leaf: u64) -> SegmentAnswer {
        let drawn = tree.draw(leaf).unwrap();
        let segment_tree: SegmentTree = self.table.tree();
        let archived = Archived {
            table: &self.table,
            tree: &segment_tree,
        };
        let shown = ShownPage {
            number: 0,
            bytes: &self.bytes,
            roots: &[MerkleTree::new(&leaf_hashes(&self.bytes)).root()],
        };
        let answer = SegmentAnswer::to_draw(&drawn, archived, shown).unwrap();
        assert_eq!(answer.check(&tree.claim(), leaf, Some(&self.root())), Ok(()));
        answer
    }
}

#[test]
fn a_foreign_archive_answers_every_draw_of_its_claim() {
    let foreign = ForeignArchive::new(3, 8);
    let tree = foreign.tree();
    assert_eq!(tree.claim().leaves, (FOREIGN_BYTES / LEAF_BYTES) as u64);
    for leaf in 0..tree.claim().leaves {
        foreign.answer(&tree, leaf);
    }
    assert_eq!(tree.draw(tree.claim().leaves), None);
}
