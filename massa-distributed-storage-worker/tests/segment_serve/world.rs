//! Upstream's blocks in segments, and nodes that hold parts of them.

use crate::network::FakeNetwork;
use crate::tamper::Tamper;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition};
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::{FinishedChunk, SegmentStream};
use massa_distributed_storage_worker::serve::lookup::Lookup;
use massa_distributed_storage_worker::serve::to_peers::SegmentServer;
use massa_distributed_storage_worker::serve::to_readers::{ArchiveReader, OtherNodes, Placement};
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::{
    ChunkToStore, IndexScope, IndexScopes, JoinedPeriod, OpenRows, OwnChanges, PageToStore, ReachingEntry,
    SegmentStore, SegmentStoreOptions,
};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_tests::{data_path, read_mblk};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub const THREADS: u8 = 32;
pub const CHAIN_ID: u64 = 77_658_377;
/// Period 5 is lost, with the ids of period 4.
pub const LOST_PERIOD: u64 = 5;
pub const LAST_SEGMENT: u64 = 2;
const TIMEOUT: Duration = Duration::from_secs(20);

pub fn some_node() -> NodeId {
    NodeId::new(KeyPair::generate(0).unwrap().get_public_key())
}

pub fn id_of(record: &BlockRecord) -> BlockId {
    record.view(THREADS).unwrap().block_id()
}

/// A closed segment.
pub struct Segment {
    pub table: SegmentTable,
    pub chunks: Vec<ChunkToStore>,
    pub periods: Vec<EncodedPeriod>,
}

impl Segment {
    pub fn number(&self) -> u64 {
        self.table.header().segment
    }
}

/// The archive that is true.
pub struct Archive {
    pub parameters: ArchiveParameters,
    pub segments: Vec<Segment>,
    pub blocks: BTreeMap<Slot, BlockRecord>,
}

impl Archive {
    pub fn of_upstream(chunk_size: u32) -> Self {
        let file = read_mblk(&data_path("upstream-blocks-4-periods.mblk"));
        let parameters = ArchiveParameters {
            chunk_size,
            segment_periods: 2,
            first_period: 1,
            ..ArchiveParameters::new(CHAIN_ID, THREADS)
        };
        let periods = file.periods();
        let mut encoded: Vec<EncodedPeriod> = (1..=4)
            .map(|period| whole(&parameters, period, &periods[&period]))
            .collect();
        let ids: Vec<_> = encoded[3].entry.ids().collect();
        encoded.push(EncodedPeriod::lost(LOST_PERIOD, PeriodEntry::lost(&ids).unwrap()));
        let blocks = periods.iter().flat_map(|(period, slots)| {
            let slots = slots.iter().zip(0..);
            slots.filter_map(|(record, thread)| Some((Slot::new(*period, thread), record.clone()?)))
        });
        let blocks = blocks.collect();
        Self {
            segments: close_all(&parameters, encoded),
            parameters,
            blocks,
        }
    }

    pub fn segment_of(&self, period: u64) -> &Segment {
        &self.segments[self.parameters.segment_of(period) as usize]
    }

    /// Every slot of upstream's periods.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (1..=4).flat_map(|period| (0..THREADS).map(move |thread| Slot::new(period, thread)))
    }

    /// Pages of the body that a block touches.
    pub fn pages_of(&self, slot: Slot) -> u64 {
        let segment = self.segment_of(slot.period);
        let start = segment.table.period_range(slot.period).unwrap().start;
        let first = segment.table.header().first_period;
        let period = &segment.periods[(slot.period - first) as usize];
        let block = period
            .entry
            .block_range(slot.thread, period.bytes.len() as u32)
            .unwrap();
        let page = |at: u64| at / (64 << 10);
        page(start + u64::from(block.end) - 1) - page(start + u64::from(block.start)) + 1
    }
}

fn whole(parameters: &ArchiveParameters, period: u64, records: &[Option<BlockRecord>]) -> EncodedPeriod {
    let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
    EncodedPeriod::whole(parameters, period, &slots).unwrap()
}

fn close_all(parameters: &ArchiveParameters, encoded: Vec<EncodedPeriod>) -> Vec<Segment> {
    let (mut previous, mut before) = ([0; 32], 0);
    let mut segments = Vec::new();
    for number in 0..=LAST_SEGMENT {
        let of_segment = |period: &&EncodedPeriod| parameters.segment_of(period.period) == number;
        let periods: Vec<_> = encoded.iter().filter(of_segment).cloned().collect();
        let mut stream = SegmentStream::new(parameters, number, IndexedObjects::All);
        periods.iter().for_each(|period| drop(stream.push(period).unwrap()));
        let (table, chunks) = stream.finish(previous, before).unwrap();
        (previous, before) = (table.root().to_bytes(), before + table.header().body_length);
        let chunks = chunks.iter().map(|chunk| to_store(number, chunk)).collect();
        segments.push(Segment { table, chunks, periods });
    }
    segments
}

fn to_store(segment: u64, chunk: &FinishedChunk) -> ChunkToStore {
    let stored = StoredPage::pack_chunk(&chunk.pages.concat());
    let pages = stored.into_iter().zip(&chunk.signatures).map(|(page, signatures)| {
        let mut beside = Vec::new();
        signatures.iter().for_each(|signature| signature.write(&mut beside));
        PageToStore {
            stored: page.into_bytes(),
            signatures: beside,
        }
    });
    ChunkToStore {
        keep: massa_distributed_storage_worker::storage_backend::Keep::Holder,
        position: ChunkPosition::new(segment, chunk.index).unwrap(),
        page_roots: chunk.page_roots.clone(),
        reaching: chunk.reaching_in.as_ref().map(|reaching| ReachingEntry {
            period: reaching.period,
            start: reaching.start,
            entry: reaching.entry.clone(),
        }),
        pages: pages.collect(),
    }
}

/// A node.
pub struct Node {
    pub id: NodeId,
    pub store: Arc<SegmentStore>,
    pub server: Arc<SegmentServer>,
    /// Changes rows behind the store's back.
    pub tamper: Tamper,
    _directory: TempDir,
}

pub fn all_indexed() -> IndexScopes {
    IndexScopes {
        blocks: IndexScope::All,
        operations: IndexScope::All,
        addresses: IndexScope::None,
    }
}

impl Node {
    /// A node with nothing.
    pub fn empty(archive: &Archive, indexes: IndexScopes) -> Self {
        Self::with_assigned(archive, indexes, |_| (0..1024).collect())
    }

    pub fn with_assigned(
        archive: &Archive,
        indexes: IndexScopes,
        assigned: impl Fn(u64) -> Vec<u32> + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tamper = Tamper::default();
        let options = SegmentStoreOptions {
            indexes,
            writer: Box::new(tamper.clone()),
            ..SegmentStoreOptions::new(directory.path())
        };
        let store = Arc::new(SegmentStore::open_or_create(options, &archive.parameters).unwrap());
        Self {
            id: some_node(),
            server: Arc::new(SegmentServer::new(Arc::clone(&store), 10, Arc::new(assigned))),
            store,
            tamper,
            _directory: directory,
        }
    }

    /// See [`Tamper::damage`].
    pub fn damage(&self, family: &str, key: &[u8], at: usize) {
        self.tamper.damage(&self.store, family, key, at);
    }

    pub fn take_tables(&self, archive: &Archive) {
        let tables: Vec<_> = archive
            .segments
            .iter()
            .map(|segment| (segment.table.clone(), segment.table.root()))
            .collect();
        self.store.put_tables(&tables).unwrap();
    }

    pub fn take_chunks(&self, segment: &Segment, held: impl Fn(u32) -> bool) {
        for chunk in segment.chunks.iter().filter(|chunk| held(chunk.position.index.0)) {
            assert!(self.store.put_chunk(chunk, OwnChanges::default()).unwrap());
        }
    }

    /// The rows of a segment, as when its blocks arrive.
    pub fn take_blocks(&self, archive: &Archive, segment: &Segment) {
        let is_of = |slot: &Slot| archive.parameters.segment_of(slot.period) == segment.number();
        let of_segment = archive.blocks.iter().filter(|(slot, _)| is_of(slot));
        let rows = segment.periods.iter().zip(segment.table.periods());
        let joined = rows.map(|(period, row)| JoinedPeriod {
            period: period.period,
            entry: period.entry.clone(),
            length: row.length,
            root: row.root,
            operations: 0,
        });
        let misses = archive
            .slots()
            .filter(|slot| is_of(slot) && !archive.blocks.contains_key(slot));
        let rows = OpenRows {
            blocks: of_segment.map(|(slot, record)| (*slot, record)).collect(),
            misses: misses.collect(),
            joined: joined.collect(),
            ..OpenRows::default()
        };
        self.store.put_open(&rows, Durability::Buffered).unwrap();
    }
}

/// Chunk c is held by the nodes c and c + 1, counted round.
#[derive(Clone)]
pub struct RoundRobin(pub Vec<NodeId>);

impl RoundRobin {
    pub fn is_holder(&self, index: usize, position: ChunkPosition) -> bool {
        let first = position.number() as usize % self.0.len();
        first == index || (first + 1) % self.0.len() == index
    }
}

impl Placement for RoundRobin {
    fn holders(&self, position: ChunkPosition, _chunk: &ChunkId) -> Vec<NodeId> {
        let holders = (0..self.0.len()).filter(|index| self.is_holder(*index, position));
        holders.map(|index| self.0[index]).collect()
    }
}

/// Four holders, connected to a node that reads.
pub struct World {
    pub archive: Archive,
    pub network: Arc<FakeNetwork>,
    pub holders: Vec<Node>,
    pub placement: RoundRobin,
    pub reader: Node,
}

impl World {
    pub fn new(chunk_size: u32) -> Self {
        Self::with_indexes(chunk_size, IndexScopes::default())
    }

    /// The first two holders index everything.
    pub fn with_providers(chunk_size: u32) -> Self {
        Self::with_indexes(chunk_size, all_indexed())
    }

    fn with_indexes(chunk_size: u32, indexes: IndexScopes) -> Self {
        let archive = Archive::of_upstream(chunk_size);
        let holders: Vec<Node> = (0..4)
            .map(|index| {
                let indexes = if index < 2 { indexes } else { IndexScopes::default() };
                Node::empty(&archive, indexes)
            })
            .collect();
        let placement = RoundRobin(holders.iter().map(|node| node.id).collect());
        for (index, node) in holders.iter().enumerate() {
            if node.store.indexes() == all_indexed() {
                archive
                    .segments
                    .iter()
                    .for_each(|segment| node.take_blocks(&archive, segment));
            }
            node.take_tables(&archive);
            for segment in &archive.segments {
                let position = |chunk| ChunkPosition::new(segment.number(), chunk).unwrap();
                node.take_chunks(segment, |chunk| placement.is_holder(index, position(chunk)));
                if node.store.indexes() == all_indexed() {
                    node.store.drop_open_rows(segment.number()).unwrap();
                }
            }
        }
        let reader = Node::empty(&archive, IndexScopes::default());
        reader.take_tables(&archive);
        let network = FakeNetwork::new(archive.parameters.clone());
        holders
            .iter()
            .for_each(|node| network.connect(node.id, Arc::clone(&node.server)));
        Self {
            archive,
            network,
            holders,
            placement,
            reader,
        }
    }

    pub fn archive_reader(&self) -> Arc<ArchiveReader> {
        self.reader_of(&self.reader, TIMEOUT)
    }

    pub fn reader_of(&self, node: &Node, timeout: Duration) -> Arc<ArchiveReader> {
        let roots: BTreeMap<u64, _> = self
            .archive
            .segments
            .iter()
            .map(|segment| (segment.number(), segment.table.root()))
            .collect();
        let others = OtherNodes {
            network: Arc::clone(&self.network) as _,
            own: node.id,
            placement: Arc::new(self.placement.clone()),
            roots: Arc::new(move |segment| roots.get(&segment).copied()),
        };
        Arc::new(ArchiveReader::new(Arc::clone(&node.store), Some(others), timeout))
    }

    pub fn lookup(&self) -> Lookup {
        Lookup::new(self.archive_reader())
    }
}
