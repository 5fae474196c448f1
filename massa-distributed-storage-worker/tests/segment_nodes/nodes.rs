//! Whole nodes: a store on disk, its writer, its server and its repair; and the registry that they agree in.

use crate::chain::Chain;
pub use crate::chain::SEGMENT_PERIODS;
use crate::hub::{Hub, Line};
use crossbeam_channel::{unbounded, Receiver};
use massa_distributed_storage_exports::network::FetchEvent;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::archive::ingest::{Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::archive::missing::{Missing, OpenSegment};
use massa_distributed_storage_worker::repair::assigned::{assigned_chunks, keep_assigned, Assigned, SharedAssigned};
use massa_distributed_storage_worker::repair::driver::{RepairDriver, RepairOptions, RepairParts, RepairRegistry};
use massa_distributed_storage_worker::repair::handover_segment::{keep_no_more, HandOverLimits};
use massa_distributed_storage_worker::repair::memory::FetchLimits;
use massa_distributed_storage_worker::repair::scrub::ScrubLimits;
use massa_distributed_storage_worker::repair::writing::{
    carry_out, closed, RepairWriter, WriteJob, WriteRules, Written,
};
use massa_distributed_storage_worker::replication::PlacementRules;
use massa_distributed_storage_worker::serve::to_peers::SegmentServer;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::{tempdir, TempDir};

pub const COPIES: usize = 2;
const TICK: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Registry {
    accepted: Mutex<Arc<BTreeMap<u64, SegmentRoot>>>,
    nodes: Mutex<Arc<NodeSet>>,
}

impl RepairRegistry for Registry {
    fn accepted(&self) -> Arc<BTreeMap<u64, SegmentRoot>> {
        Arc::clone(&self.accepted.lock())
    }

    fn in_force(&self) -> (Arc<NodeSet>, usize) {
        (Arc::clone(&self.nodes.lock()), COPIES)
    }
}

struct Writer {
    ingest: Ingest<SegmentStore>,
    rules: WriteRules,
    written: VecDeque<Written>,
}

#[derive(Clone)]
struct SharedWriter(Arc<Mutex<Writer>>);

impl RepairWriter for SharedWriter {
    fn missing(&self) -> Arc<Missing> {
        Arc::new(self.0.lock().ingest.missing(1024))
    }

    fn open_segment(&self) -> Option<OpenSegment> {
        self.0.lock().ingest.open_segment()
    }

    fn write(&mut self, job: WriteJob) -> Result<(), Box<WriteJob>> {
        let mut writer = self.0.lock();
        let Writer { ingest, rules, written } = &mut *writer;
        written.extend(carry_out(ingest, rules, job));
        Ok(())
    }
}

pub struct Node {
    pub id: NodeId,
    pub store: Arc<SegmentStore>,
    pub driver: RepairDriver,
    pub assigned: SharedAssigned,
    writer: SharedWriter,
    events: Receiver<FetchEvent>,
    _directory: TempDir,
}

impl Node {
    fn new(id: NodeId, world: &World) -> Self {
        let directory = tempdir().unwrap();
        let parameters = &world.chain.parameters;
        let options = SegmentStoreOptions::new(directory.path());
        let store = Arc::new(SegmentStore::open_or_create(options, parameters).unwrap());
        let placing = PlacementRules::new(parameters.chunk_size, parameters.segment_periods);
        let assigned = Assigned::new(placing, id, None).shared();
        let options = IngestOptions {
            acknowledge: Acknowledge::AtFinish,
            keep: keep_assigned(&assigned),
            held_back_bytes_max: u64::MAX,
        };
        let writer = SharedWriter(Arc::new(Mutex::new(Writer {
            ingest: Ingest::open(Arc::clone(&store), options).unwrap().0,
            rules: WriteRules {
                assigned: Arc::clone(&assigned),
                keep: keep_no_more(),
            },
            written: VecDeque::new(),
        })));
        let server = Arc::new(SegmentServer::new(Arc::clone(&store), 100, assigned_chunks(&assigned)));
        world.hub.connect(id, Arc::clone(&server));
        let (replies, events) = unbounded();
        let parts = RepairParts {
            own: id,
            store: Arc::clone(&store),
            assigned: Arc::clone(&assigned),
            writer: Box::new(writer.clone()),
            network: Arc::new(Line {
                hub: Arc::clone(&world.hub),
                node: id,
            }),
            registry: Arc::clone(&world.registry) as Arc<dyn RepairRegistry>,
            watch: server,
            replies,
        };
        let options = RepairOptions {
            fetch: FetchLimits::default(),
            hand_over: HandOverLimits {
                patience: Duration::from_secs(5),
                rest: Duration::from_secs(10),
            },
            scrub: ScrubLimits::default(),
            keep: keep_no_more(),
        };
        Self {
            id,
            driver: RepairDriver::new(parts, options, world.now()),
            store,
            assigned,
            writer,
            events,
            _directory: directory,
        }
    }

    /// A block is final.
    pub fn add(&self, record: &BlockRecord) {
        let mut writer = self.writer.0.lock();
        let progress = writer.ingest.add(record.clone()).unwrap();
        assert_eq!(progress.stalled, None);
        writer.written.extend(closed(&progress));
    }

    /// Everything that came is taken, everything that can close closes.
    fn settle(&mut self, now: Instant) {
        loop {
            let written = self.writer.0.lock().written.pop_front();
            if let Some(written) = written {
                self.driver.on_written(written, now);
                continue;
            }
            {
                let mut writer = self.writer.0.lock();
                if writer.ingest.is_closing() {
                    let progress = writer.ingest.close_slice().unwrap();
                    writer.written.extend(closed(&progress));
                    continue;
                }
            }
            match self.events.try_recv() {
                Ok(event) => self.driver.on_event(event, now),
                Err(_) => return,
            }
        }
    }

    pub fn holds(&self, position: ChunkPosition) -> bool {
        let held = self.store.held(position.segment).unwrap();
        held.contains(position.index.0)
    }
}

/// The key of a node: the same in every run.
fn key(seed: u64, number: usize) -> KeyPair {
    let secret = blake3::hash(format!("node {number} of world {seed}").as_bytes());
    let mut bytes = vec![0];
    bytes.extend(secret.as_bytes());
    KeyPair::from_bytes(&bytes).unwrap()
}

pub struct World {
    pub chain: Chain,
    pub hub: Arc<Hub>,
    pub registry: Arc<Registry>,
    seed: u64,
    /// A chunk that these nodes alone held is gone: one lost its disk, and nothing that the other sends is true.
    pub lost: BTreeSet<NodeId>,
    pub nodes: Vec<Node>,
    ids: Vec<NodeId>,
    start: Instant,
    elapsed: Duration,
}

impl World {
    /// `count` nodes, known to the registry.
    pub fn new(seed: u64, segments: u64, count: usize, loss: f64) -> Self {
        let ids = (0..count + 1).map(|number| NodeId::new(key(seed, number).get_public_key()));
        let mut world = Self {
            chain: Chain::new(seed, segments),
            hub: Hub::new(seed, Duration::from_millis(30), loss),
            registry: Arc::default(),
            seed,
            lost: BTreeSet::new(),
            nodes: Vec::new(),
            ids: ids.collect(),
            start: Instant::now(),
            elapsed: Duration::ZERO,
        };
        world.register(count);
        for number in 0..count {
            world.start_node(number);
        }
        world.run(Duration::from_millis(200));
        world
    }

    /// From now on the first `count` nodes store.
    pub fn register(&mut self, count: usize) {
        let node = |(id, number): (&NodeId, u8)| StorageNode {
            node_id: Some(*id),
            address: Address::from_public_key(&key(self.seed, usize::from(number)).get_public_key()),
            placement_key: *blake3::hash(&[number]).as_bytes(),
            allocated_storage_gb: 100,
            filled: true,
            retention_periods: 0,
            listeners: Vec::new(),
        };
        let nodes = self.ids.iter().take(count).zip(0..).map(node).collect();
        *self.registry.nodes.lock() = Arc::new(NodeSet::new(nodes));
    }

    /// A node begins with an empty store.
    pub fn start_node(&mut self, number: usize) {
        let node = Node::new(self.ids[number], self);
        if number < self.nodes.len() {
            self.nodes[number] = node;
        } else {
            self.nodes.push(node);
        }
    }

    pub fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.elapsed + time;
        while self.elapsed < until {
            self.tick();
        }
    }

    fn tick(&mut self) {
        for _ in 0..5 {
            self.elapsed += TICK / 5;
            self.hub.run_until(self.elapsed);
            let now = self.now();
            self.nodes.iter_mut().for_each(|node| node.settle(now));
        }
        if self.elapsed.as_millis() % 1000 == 0 {
            self.hub.refresh();
        }
        self.accept();
        let now = self.now();
        for node in &mut self.nodes {
            node.driver.on_tick(now);
            node.settle(now);
        }
    }

    /// The registry accepts the root that more than half of the nodes have.
    fn accept(&self) {
        let mut accepted = (**self.registry.accepted.lock()).clone();
        let next = accepted.len() as u64;
        let mut votes: BTreeMap<SegmentRoot, usize> = BTreeMap::new();
        let roots = self
            .nodes
            .iter()
            .filter_map(|node| node.store.segment_root(next).unwrap());
        roots.for_each(|root| *votes.entry(root).or_default() += 1);
        let agreed = votes.into_iter().find(|(_, count)| *count * 2 > self.nodes.len());
        if let Some((root, _)) = agreed {
            accepted.insert(next, root);
            *self.registry.accepted.lock() = Arc::new(accepted);
        }
    }

    /// Every period's blocks become final at those nodes that `sees` names, one period a second.
    pub fn feed(&mut self, periods: impl Iterator<Item = u64>, sees: impl Fn(usize, &BlockRecord) -> bool) {
        for period in periods {
            let Some(blocks) = self.chain.periods.get(&period).cloned() else {
                return;
            };
            for record in &blocks {
                for (number, node) in self.nodes.iter().enumerate() {
                    if sees(number, record) {
                        node.add(record);
                    }
                }
            }
            self.run(Duration::from_secs(1));
        }
    }

    /// Runs until nothing is wrong any more.
    pub fn run_until(&mut self, deadline: Duration, wrong: impl Fn(&World) -> Vec<String>) -> Duration {
        let begin = self.elapsed;
        loop {
            let found = wrong(self);
            if found.is_empty() {
                return self.elapsed - begin;
            }
            let waited = self.elapsed - begin;
            let quarantined = self.hub.quarantined();
            assert!(
                waited < deadline,
                "after {waited:?}: {found:#?}, in quarantine: {quarantined:#?}"
            );
            self.run(Duration::from_secs(1));
        }
    }

    /// What of the first `segments` is not as it should be: roots, chunks that are not on their holders, and, unless `more` may
    /// be there, chunks that are elsewhere.
    pub fn wrong(&self, segments: u64, more: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let accepted = Arc::clone(&self.registry.accepted.lock());
        for segment in 0..segments {
            let Some(root) = accepted.get(&segment) else {
                wrong.push(format!("segment {segment} is not accepted"));
                continue;
            };
            for (number, node) in self.nodes.iter().enumerate() {
                let here = node.store.segment_root(segment).unwrap();
                if here != Some(*root) {
                    wrong.push(format!("node {number} has {here:?} of segment {segment}"));
                    continue;
                }
                let table = node.store.table(segment).unwrap().unwrap();
                let assigned = node.assigned.read();
                let nodes = Arc::clone(&assigned.placement().nodes().nodes);
                for (chunk, index) in table.chunks().zip(0..) {
                    let position = ChunkPosition::new(segment, index).unwrap();
                    let holders: BTreeSet<NodeId> = assigned
                        .placement()
                        .holders(position, &chunk.id)
                        .into_iter()
                        .filter_map(|holder| nodes.nodes()[holder].node_id)
                        .collect();
                    assert_eq!(holders.len(), COPIES);
                    if holders == self.lost {
                        continue;
                    }
                    let (should, does) = (holders.contains(&node.id), node.holds(position));
                    if does != should && !(more && does) {
                        wrong.push(format!(
                            "chunk {position}: node {number} holds it {does}, should {should}"
                        ));
                    }
                }
            }
        }
        wrong
    }

    /// Counters, rows and every held block, signatures included.
    pub fn assert_sound(&self) {
        for node in &self.nodes {
            let report = node.store.verify(&|_, _| {}).unwrap();
            assert_eq!(report.damages, []);
        }
    }
}
