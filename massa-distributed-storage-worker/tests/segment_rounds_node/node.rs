//! A node with an archive of cheap blocks.

use crate::common::slot_of;
use crate::common::tamper::Tamper;
use crate::common::world::{World, NO_LIMIT, SEGMENT_PERIODS, THREADS};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::board::SegmentBoard;
use massa_distributed_storage_worker::repair::assigned::{Assigned, SharedAssigned};
use massa_distributed_storage_worker::replication::PlacementRules;
use massa_distributed_storage_worker::storage_backend::{OwnChanges, SegmentStore, SegmentStoreOptions};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::{tempdir, TempDir};

pub struct TestNode {
    pub world: World,
    pub own: StorageNode,
    pub store: Arc<SegmentStore>,
    pub assigned: SharedAssigned,
    pub board: Arc<SegmentBoard>,
    pub tamper: Tamper,
    ingest: Ingest<SegmentStore>,
    next_block: usize,
    placed: u64,
    path: PathBuf,
    directory: Option<TempDir>,
}

pub fn storage_node(name: u8) -> StorageNode {
    let keypair = KeyPair::from_bytes(&[&[0][..], &[name; 32]].concat()).unwrap();
    StorageNode {
        node_id: Some(NodeId::new(keypair.get_public_key())),
        address: Address::from_public_key(&keypair.get_public_key()),
        placement_key: [name; 32],
        allocated_storage_gb: 10,
        filled: true,
        retention_periods: 0,
        listeners: Vec::new(),
    }
}

pub fn at(segment: u64, index: u32) -> ChunkPosition {
    ChunkPosition::new(segment, index).unwrap()
}

fn open(path: &Path, world: &World, tamper: &Tamper) -> Arc<SegmentStore> {
    let options = SegmentStoreOptions {
        writer: Box::new(tamper.clone()),
        ..SegmentStoreOptions::new(path)
    };
    Arc::new(SegmentStore::open_or_create(options, &world.parameters).unwrap())
}

fn ingest(store: &Arc<SegmentStore>) -> Ingest<SegmentStore> {
    let options = IngestOptions {
        acknowledge: Acknowledge::EachBlock,
        keep: keep_all(),
        held_back_bytes_max: NO_LIMIT,
    };
    Ingest::open(Arc::clone(store), options).unwrap().0
}

fn assigned(world: &World, own: &StorageNode) -> SharedAssigned {
    let rules = PlacementRules::new(world.parameters.chunk_size, SEGMENT_PERIODS);
    let mut assigned = Assigned::new(rules, own.node_id.unwrap(), None);
    assigned.set_nodes(Arc::new(NodeSet::new(vec![own.clone()])), 1);
    assigned.shared()
}

impl TestNode {
    /// Alone in its network, so that every chunk is its own.
    pub fn new(world: World) -> Self {
        let directory = tempdir().unwrap();
        let mut node = Self::at(world, directory.path());
        node.directory = Some(directory);
        node
    }

    /// The same in a directory, with what is there.
    pub fn at(world: World, path: &Path) -> Self {
        let (tamper, own) = (Tamper::default(), storage_node(1));
        let store = open(path, &world, &tamper);
        let mut node = Self {
            assigned: assigned(&world, &own),
            ingest: ingest(&store),
            board: Arc::default(),
            world,
            own,
            store,
            tamper,
            next_block: 0,
            placed: 0,
            path: path.to_path_buf(),
            directory: None,
        };
        node.place();
        node
    }

    /// The node ends, and starts again on the same disk.
    pub fn restarted(self) -> Self {
        let next_block = self.next_block;
        let (world, path, directory) = self.stopped();
        let mut node = Self::at(world, &path);
        node.directory = directory;
        node.next_block = next_block;
        node
    }

    /// Leaves the directory to somebody else.
    pub fn stopped(self) -> (World, PathBuf, Option<TempDir>) {
        let Self {
            world,
            store,
            ingest,
            path,
            directory,
            ..
        } = self;
        drop(ingest);
        store.close();
        (world, path, directory)
    }

    /// Final blocks up to a period come, but for those that `lost` picks.
    pub fn archive_to(&mut self, period: u64, lost: impl Fn(Slot) -> bool) {
        while let Some(record) = self.world.blocks.get(self.next_block) {
            let slot = slot_of(record, THREADS);
            if slot.period > period {
                break;
            }
            if !lost(slot) {
                self.ingest.add(record.clone()).unwrap();
            }
            self.next_block += 1;
        }
        self.close_all();
    }

    fn close_all(&mut self) {
        while self.ingest.is_closing() {
            assert_eq!(self.ingest.close_slice().unwrap().stalled, None);
        }
        self.place();
    }

    /// Periods of an open segment are entered as lost, as their accepted root has them.
    pub fn enter_lost(&mut self, period: u64) {
        let entry = self.world.lost_entry(period);
        self.ingest.enter_lost(&[(period, entry)]).unwrap();
        self.close_all();
    }

    /// The root that the first open segment has with a period lost.
    pub fn root_with_lost(&mut self, period: u64) -> Option<SegmentRoot> {
        let lost = BTreeMap::from([(period, self.world.lost_entry(period))]);
        let table = self.ingest.table_with_lost(&lost).unwrap();
        table.map(|table| table.root())
    }

    /// Puts another version of a segment in the place of this node's.
    pub fn replace(&mut self, table: massa_distributed_storage_exports::segment_table::SegmentTable) {
        let segment = table.header().segment;
        self.ingest.replace(table).unwrap();
        self.placed = segment;
        self.place();
    }

    fn place(&mut self) {
        let mut assigned = self.assigned.write();
        for info in self.store.segments(self.placed, 1_000).unwrap() {
            if info.root.is_some() {
                assigned
                    .placement_mut()
                    .put_segment(info.segment, info.body_bytes)
                    .unwrap();
                self.placed = info.segment + 1;
            }
        }
        drop(assigned);
        self.settle_placement();
    }

    fn settle_placement(&self) {
        let ids = |segment| {
            self.store
                .table(segment)
                .unwrap()
                .map(|table| table.chunk_ids().to_vec())
        };
        let mut assigned = self.assigned.write();
        while !assigned.placement_mut().step(1_000_000, &ids).is_done() {}
        let changed = assigned.placement_mut().take_changed(usize::MAX);
        drop(assigned);
        changed.into_iter().for_each(|segment| self.board.note_changed(segment));
    }

    /// So many others share the chunks with this node.
    pub fn share_with(&self, others: u8, factor: usize) {
        let nodes = (0..=others).map(|name| storage_node(name + 1)).collect();
        self.assigned.write().set_nodes(Arc::new(NodeSet::new(nodes)), factor);
        self.settle_placement();
    }

    pub fn drop_chunk(&self, position: ChunkPosition) {
        assert!(self.store.drop_chunk(position, OwnChanges::default()).unwrap());
    }

    /// The roots of the first segments, as the network accepted them.
    pub fn accepted(&self, count: u64) -> Arc<BTreeMap<u64, SegmentRoot>> {
        let tables = self.world.tables(count);
        let roots = tables.iter().map(|table| (table.header().segment, table.root()));
        Arc::new(roots.collect())
    }

    /// Chunks that should be claimed of the first segments: held and this node's.
    pub fn claimable(&self, segments: u64) -> Vec<(ChunkPosition, u64)> {
        let assigned = self.assigned.read();
        let mut chunks = Vec::new();
        for segment in 0..segments {
            let table = self.store.table(segment).unwrap().unwrap();
            let held = self.store.held(segment).unwrap();
            for index in held.indexes() {
                let leaves = u64::from(table.chunk(index).unwrap().leaf_count());
                if assigned.placement().is_mine(at(segment, index)) == Some(true) {
                    chunks.push((at(segment, index), leaves));
                }
            }
        }
        chunks
    }
}
