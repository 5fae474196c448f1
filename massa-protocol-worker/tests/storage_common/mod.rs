//! A small archive, peers and a worker's end, for tests of the storage handler.
#![allow(dead_code)] // Each test file uses a part.

pub mod double;

use crossbeam_channel::{unbounded, Receiver};
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodHeader, Place};
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleTree};
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, Capabilities, Fetch, FetchEvent, FetchPriority, FetchTarget, HeldRange, PageContent,
    VerifiedPage,
};
use massa_distributed_storage_exports::types::{PAGE_BYTES, SIGNATURE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use massa_protocol_exports::PeerId;
use massa_signature::KeyPair;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

pub const CHAIN: u64 = 77;
pub const THREADS: u8 = 2;
pub const CHUNK_SIZE: u32 = 4 * PAGE_BYTES as u32;
/// Longer than any healthy machine needs; reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn node(number: u8) -> NodeId {
    NodeId::new(key(number).get_public_key())
}

pub fn peer(number: u8) -> PeerId {
    PeerId::from_public_key(key(number).get_public_key())
}

pub fn key(number: u8) -> KeyPair {
    let mut bytes = vec![0];
    bytes.extend([number.wrapping_add(1); 32]);
    KeyPair::from_bytes(&bytes).unwrap()
}

pub fn parameters() -> ArchiveParameters {
    ArchiveParameters {
        chunk_size: CHUNK_SIZE,
        ..ArchiveParameters::new(CHAIN, THREADS)
    }
}

/// A chunk with arbitrary bytes that follow from `seed`.
#[derive(Clone)]
pub struct TestChunk {
    pub entry: ChunkEntry,
    bytes: Vec<u8>,
}

impl TestChunk {
    pub fn new(length: u32, seed: u64) -> Self {
        let mut bytes = vec![0; length as usize];
        for (position, piece) in bytes.chunks_mut(8).enumerate() {
            let word = (seed << 32 | position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
        let id = ChunkId::from_bytes(root_of_hashes(leaf_hashes(&bytes)));
        Self {
            entry: ChunkEntry { length, id },
            bytes,
        }
    }

    /// A full chunk.
    pub fn full(seed: u64) -> Self {
        Self::new(CHUNK_SIZE, seed)
    }

    pub fn pages(&self) -> u32 {
        self.entry.page_count()
    }

    pub fn page(&self, page: u32) -> PageContent {
        let roots: Vec<_> = self
            .bytes
            .chunks(PAGE_BYTES)
            .map(|bytes| root_of_hashes(leaf_hashes(bytes)))
            .collect();
        let start = page as usize * PAGE_BYTES;
        let end = (start + PAGE_BYTES).min(self.bytes.len());
        PageContent {
            bytes: self.bytes[start..end].to_vec(),
            signatures: vec![page as u8; SIGNATURE_BYTES],
            objects_before: page,
            path: MerkleTree::new(&roots).path(page).unwrap(),
        }
    }

    pub fn verified(&self, page: u32) -> VerifiedPage {
        VerifiedPage::check(&self.entry, page, self.page(page)).unwrap()
    }
}

/// A manifest of missed slots and these chunks, of which all but the last are full.
pub fn manifest(period: u64, chunks: &[TestChunk]) -> Manifest {
    let header = PeriodHeader {
        chain_id: CHAIN,
        period,
        threads: THREADS,
        chunk_size: CHUNK_SIZE,
        body_length: chunks.iter().map(|chunk| u64::from(chunk.entry.length)).sum(),
        chunks: chunks.len() as u32,
    };
    Manifest {
        header,
        places: vec![Place::Miss; usize::from(THREADS)],
        chunks: chunks.iter().map(|chunk| chunk.entry).collect(),
    }
}

/// Serves chunks from memory.
#[derive(Default)]
pub struct TestServer {
    pub periods: BTreeMap<u64, Vec<TestChunk>>,
    pub capabilities: Mutex<Capabilities>,
}

impl TestServer {
    pub fn new(periods: impl IntoIterator<Item = (u64, Vec<TestChunk>)>) -> Self {
        let periods: BTreeMap<u64, Vec<TestChunk>> = periods.into_iter().collect();
        let ranges = periods.keys().map(|period| HeldRange {
            first_period: *period,
            last_period: *period,
        });
        let capabilities = Capabilities {
            allocated_storage_gb: 1,
            floor: 0,
            last_period: periods.keys().last().copied(),
            ranges: ranges.collect(),
        };
        Self {
            periods,
            capabilities: Mutex::new(capabilities),
        }
    }
}

impl ArchiveServer for TestServer {
    fn manifest(&self, period: u64) -> Answer<Vec<u8>> {
        match self.periods.get(&period) {
            Some(chunks) => Answer::Found(manifest(period, chunks).to_bytes()),
            None => Answer::NotYet,
        }
    }

    fn page(&self, period: u64, chunk: ChunkIndex, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        let chunks = self.periods.get(&period);
        match chunks.and_then(|chunks| chunks.get(chunk.0 as usize)) {
            Some(chunk) if chunk.entry.id == *chunk_id && page < chunk.pages() => Answer::Found(chunk.page(page)),
            _ => Answer::NotHeld,
        }
    }

    fn held(&self, first_period: u64, periods: u32) -> Vec<Vec<u8>> {
        let periods = (0..u64::from(periods)).map(|offset| first_period + offset);
        let held = periods.map(|period| match self.periods.get(&period) {
            Some(chunks) => vec![(1u16 << chunks.len()).wrapping_sub(1) as u8],
            None => Vec::new(),
        });
        held.collect()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.lock().clone()
    }
}

/// A question for pages, and where the answers arrive.
pub fn pages_of(
    id: u64,
    chunk: &TestChunk,
    pages: Range<u32>,
    holders: &[NodeId],
    priority: FetchPriority,
) -> (Fetch, Receiver<FetchEvent>) {
    let target = FetchTarget::Pages {
        period: PERIOD,
        chunk: ChunkIndex(0),
        entry: chunk.entry,
        pages,
    };
    question(id, target, holders, priority)
}

/// The period that questions are about.
pub const PERIOD: u64 = 5;

pub fn question(
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
