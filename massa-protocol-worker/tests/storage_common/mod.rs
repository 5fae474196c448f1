//! An archive of equal segments, peers and a worker's end, for tests of the storage handler.
#![allow(dead_code)] // Each test file uses a part.

pub mod bench;
pub mod double;

use crossbeam_channel::{unbounded, Receiver};
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleTree};
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, Capabilities, Fetch, FetchEvent, FetchPriority, FetchTarget, LocateId, Located, PageContent,
    SlotContent,
};
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TableChunk, TablePeriod};
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition, PeriodRoot};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_protocol_exports::PeerId;
use massa_signature::KeyPair;
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::HashMap;
use std::time::Duration;

/// Longer than any healthy machine needs; reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const CHAIN: u64 = 77;
pub const THREADS: u8 = 32;

pub fn node(number: u32) -> NodeId {
    let mut bytes = vec![0; 33];
    bytes[1..5].copy_from_slice(&number.to_le_bytes());
    bytes[5] = 1;
    NodeId::new(KeyPair::from_bytes(&bytes).unwrap().get_public_key())
}

pub fn peer(number: u32) -> PeerId {
    PeerId::from_public_key(node(number).get_public_key())
}

pub fn parameters() -> ArchiveParameters {
    ArchiveParameters::new(CHAIN, THREADS)
}

/// A chunk with bytes that follow from `seed`: no page can be packed alone, and all but the first to half after it.
#[derive(Clone)]
pub struct TestChunk {
    pub table: TableChunk,
    pub bytes: Vec<u8>,
    pages: Vec<PageContent>,
}

/// Every other piece of this many bytes is the same in all pages.
const PIECE: usize = 1024;

impl TestChunk {
    pub fn new(length: u32, seed: u64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut same = vec![0; PAGE_BYTES];
        random.fill_bytes(&mut same);
        let mut bytes = vec![0; length as usize];
        random.fill_bytes(&mut bytes);
        for page in bytes.chunks_mut(PAGE_BYTES) {
            let pieces = page.chunks_mut(PIECE).zip(same.chunks(PIECE)).step_by(2);
            pieces.for_each(|(piece, same)| piece.copy_from_slice(&same[..piece.len()]));
        }
        let id = ChunkId::from_bytes(root_of_hashes(leaf_hashes(&bytes)));
        let root = |page: &[u8]| root_of_hashes(leaf_hashes(page));
        let roots: Vec<_> = bytes.chunks(PAGE_BYTES).map(root).collect();
        let tree = MerkleTree::new(&roots);
        let stored = StoredPage::pack_chunk(&bytes).into_iter().zip(0..);
        let pages = stored.map(|(stored, page)| PageContent {
            stored: stored.into_bytes(),
            signatures: Vec::new(),
            path: tree.path(page).unwrap(),
        });
        Self {
            table: TableChunk { length, id },
            pages: pages.collect(),
            bytes,
        }
    }

    pub fn page(&self, page: u32) -> PageContent {
        self.pages[page as usize].clone()
    }

    pub fn pages(&self) -> u32 {
        self.table.page_count()
    }

    /// The same page as it is.
    pub fn plain_page(&self, page: u32) -> PageContent {
        let bytes = self.bytes.chunks(PAGE_BYTES).nth(page as usize).unwrap();
        PageContent {
            stored: StoredPage::plain(bytes).into_bytes(),
            ..self.page(page)
        }
    }

    /// Bytes of a stored page, on the average.
    pub fn stored_bytes(&self) -> usize {
        self.pages.iter().map(|page| page.stored.len()).sum()
    }
}

/// The table of a segment of periods of `period_bytes` bytes, whose chunks all have the id `chunk`.
pub fn table(segment: u64, period_bytes: u32, chunk: ChunkId) -> SegmentTable {
    let parameters = parameters();
    let periods = parameters.segment_length(segment);
    let header = SegmentHeader {
        chain_id: CHAIN,
        segment,
        first_period: parameters.segment_start(segment),
        periods: periods as u32,
        threads: THREADS,
        chunk_size: parameters.chunk_size,
        body_length: periods * u64::from(period_bytes),
        bytes_before: segment * periods * u64::from(period_bytes),
        previous: [segment as u8; 32],
    };
    let row = |period: u64| TablePeriod {
        length: period_bytes,
        root: PeriodRoot::from_bytes([period as u8; 32]),
    };
    let chunks = vec![chunk; header.chunk_count() as usize];
    SegmentTable::new(header, (0..periods).map(row).collect(), chunks).unwrap()
}

/// Serves equal segments, each of whose chunks has the same bytes, and what else is put into it.
pub struct TestServer {
    pub segments: u64,
    pub period_bytes: u32,
    pub chunk: TestChunk,
    pub blocks: HashMap<Slot, SlotContent<Vec<u8>>>,
    pub entries: HashMap<u64, Vec<u8>>,
    pub held: Vec<Vec<u8>>,
    pub located: Option<Located>,
    pub sum_path: Option<Vec<u8>>,
    pub capabilities: Mutex<Capabilities>,
}

impl TestServer {
    pub fn new(segments: u64, period_bytes: u32, chunk: TestChunk) -> Self {
        Self {
            segments,
            period_bytes,
            chunk,
            blocks: HashMap::new(),
            entries: HashMap::new(),
            held: Vec::new(),
            located: None,
            sum_path: None,
            capabilities: Mutex::default(),
        }
    }

    pub fn table(&self, segment: u64) -> SegmentTable {
        table(segment, self.period_bytes, self.chunk.table.id)
    }
}

impl ArchiveServer for TestServer {
    fn tables(&self, first_segment: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>> {
        let mut left = bytes_max;
        let mut tables = Vec::new();
        for segment in (first_segment..self.segments).take(count as usize) {
            let bytes = self.table(segment).to_bytes();
            if !tables.is_empty() && bytes.len() > left {
                break;
            }
            left = left.saturating_sub(bytes.len());
            tables.push(bytes);
        }
        if tables.is_empty() {
            return Answer::NotYet;
        }
        Answer::Found(tables)
    }

    fn entries(&self, first_period: u64, count: u32, _bytes_max: usize) -> Answer<Vec<Vec<u8>>> {
        let periods = (first_period..).take(count as usize);
        let entries: Vec<Vec<u8>> = periods.map_while(|period| self.entries.get(&period).cloned()).collect();
        Answer::Found(entries)
    }

    fn block(&self, slot: &Slot) -> Answer<SlotContent<Vec<u8>>> {
        self.blocks.get(slot).cloned().map_or(Answer::NotHeld, Answer::Found)
    }

    fn page(&self, position: ChunkPosition, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        if position.segment >= self.segments {
            Answer::NotYet
        } else if *chunk_id != self.chunk.table.id {
            Answer::NotHeld
        } else {
            Answer::Found(self.chunk.page(page))
        }
    }

    fn held(&self, first_segment: u64, count: u32, _bytes_max: usize) -> Vec<Vec<u8>> {
        let held = self.held.iter().skip(first_segment as usize);
        held.take(count as usize).cloned().collect()
    }

    fn locate(&self, ids: &[LocateId]) -> Vec<Option<Located>> {
        vec![self.located; ids.len()]
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.lock().clone()
    }

    fn sum_path(&self, _: u64, _: ChunkPosition) -> Answer<Vec<u8>> {
        self.sum_path.clone().map_or(Answer::NotHeld, Answer::Found)
    }
}

/// A fetch, and where its answers arrive.
pub fn fetch(
    id: u64,
    target: FetchTarget,
    holders: &[NodeId],
    priority: FetchPriority,
) -> (Fetch, Receiver<FetchEvent>) {
    let (reply, answers) = unbounded();
    let fetch = Fetch {
        id,
        target,
        holders: holders.to_vec(),
        priority,
        reply,
    };
    (fetch, answers)
}
