//! A copy is dropped when all who should hold it promised to keep it, never before.

use crate::network::some_node;
use massa_distributed_storage_exports::network::{Capabilities, HeldRange, StoragePeer};
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::repair::handover_segment::{
    Assignment, HandOver, HandOverAction, HandOverLimits, HandOverView,
};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const NEWEST: u64 = 1_000;

fn at(segment: u64, index: u32) -> ChunkPosition {
    ChunkPosition::new(segment, index).unwrap()
}

/// Bitmaps of segments from `first` on.
fn bitmaps(held: &BTreeSet<ChunkPosition>, first: u64, count: u32) -> Vec<Vec<u8>> {
    let of_segment = |segment| {
        let mut bitmap = Vec::new();
        for position in held.iter().filter(|position| position.segment == segment) {
            let index = position.index.0 as usize;
            bitmap.resize(bitmap.len().max(index / 8 + 1), 0);
            bitmap[index / 8] |= 1u8 << (index % 8);
        }
        bitmap
    };
    (first..first + u64::from(count)).map(of_segment).collect()
}

/// A node that hands over.
struct Holder {
    plan: HandOver,
    held: BTreeSet<ChunkPosition>,
    others: Vec<NodeId>,
    claimed: BTreeSet<ChunkPosition>,
    peers: Vec<StoragePeer>,
    epoch: u64,
    newest_closed: u64,
    now: Instant,
}

impl Holder {
    fn new(held: impl IntoIterator<Item = ChunkPosition>, others: &[NodeId]) -> Self {
        Self {
            plan: HandOver::new(HandOverLimits::default()),
            held: held.into_iter().collect(),
            others: others.to_vec(),
            claimed: BTreeSet::new(),
            peers: Vec::new(),
            epoch: 1,
            newest_closed: NEWEST,
            now: Instant::now(),
        }
    }

    fn tick(&mut self) -> Vec<HandOverAction> {
        let (held, claimed, others) = (&self.held, &self.claimed, &self.others);
        let view = HandOverView {
            now: self.now,
            epoch: self.epoch,
            peers: &self.peers,
            held: &|from, max| held.range(from..).take(max).copied().collect(),
            assigned: &|_| Some(Assignment::Others(others.clone())),
            keep: &|position| claimed.contains(&position),
            newest_closed: self.newest_closed,
        };
        let actions = self.plan.on_tick(&view);
        self.now += Duration::from_millis(100);
        actions
    }

    /// Ticks for a while; those in `promising` answer with what they promise. Returns what was dropped.
    fn run(&mut self, promising: &BTreeMap<NodeId, BTreeSet<ChunkPosition>>, ticks: usize) -> BTreeSet<ChunkPosition> {
        let mut dropped = BTreeSet::new();
        for _ in 0..ticks {
            for action in self.tick() {
                match action {
                    HandOverAction::Ask {
                        id,
                        node,
                        first_segment,
                        count,
                    } => {
                        if let Some(promised) = promising.get(&node) {
                            let held = bitmaps(promised, first_segment, count);
                            self.plan.on_held(id, node, first_segment, &held);
                        }
                        self.plan.on_done(id);
                    }
                    HandOverAction::Drop { chunks, epoch } => {
                        assert_eq!(epoch, self.epoch);
                        chunks.iter().for_each(|chunk| assert!(self.held.remove(chunk)));
                        dropped.extend(chunks);
                        self.plan.on_dropped();
                    }
                }
            }
        }
        dropped
    }
}

fn nodes(count: usize) -> Vec<NodeId> {
    (0..count).map(|_| some_node()).collect()
}

fn all(chunks: &[ChunkPosition]) -> BTreeSet<ChunkPosition> {
    chunks.iter().copied().collect()
}

#[test]
fn dropped_when_every_holder_promised() {
    let others = nodes(2);
    let chunks = [at(3, 0), at(3, 7), at(9, 1)];
    let mut holder = Holder::new(chunks, &others);
    let mut promising = BTreeMap::from([(others[0], all(&chunks)), (others[1], all(&chunks[1..]))]);
    assert_eq!(holder.run(&promising, 50), all(&chunks[1..]));
    assert_eq!(holder.plan.counts().waiting, 1);
    promising.insert(others[1], all(&chunks));
    assert_eq!(holder.run(&promising, 500), all(&chunks[..1]));
    assert!(holder.plan.is_done());
}

#[test]
fn backups_keep_what_holders_that_are_down_did_not_promise() {
    let others = nodes(2);
    let chunks = [at(3, 0), at(4, 0)];
    let mut backup = Holder::new(chunks, &others);
    let up = BTreeMap::from([(others[0], all(&chunks))]);
    assert!(backup.run(&up, 5_000).is_empty());
    let both = BTreeMap::from([(others[0], all(&chunks)), (others[1], all(&chunks))]);
    assert_eq!(backup.run(&both, 500), all(&chunks));
}

#[test]
fn what_closing_left_here_is_handed_over_soon_and_only_that_is_looked_at() {
    let others = nodes(1);
    let old = at(1, 0);
    let mut holder = Holder::new([old], &others);
    let promising = |chunks: &[ChunkPosition]| BTreeMap::from([(others[0], all(chunks))]);
    assert_eq!(holder.run(&promising(&[old]), 50), all(&[old]));
    // Resting for ten minutes. A chunk of long ago turns up as well, which only a whole pass may find.
    let (backup, newest) = (at(NEWEST, 3), at(NEWEST + 1, 0));
    holder.held.extend([old, backup, newest]);
    assert!(holder.run(&promising(&[old, backup, newest]), 400).is_empty());
    holder.newest_closed = NEWEST + 1;
    holder.plan.on_closed(NEWEST + 1, holder.now);
    // Half a minute of patience, in ticks of a tenth of a second.
    assert!(holder.run(&promising(&[old, backup, newest]), 290).is_empty());
    assert_eq!(holder.run(&promising(&[old, backup, newest]), 100), all(&[backup]));
    assert_eq!(holder.run(&promising(&[old, backup, newest]), 6_000), all(&[old]));
}

#[test]
fn chunks_of_the_newest_closed_segment_are_dropped_one_segment_later() {
    let others = nodes(1);
    let chunks = [at(NEWEST - 1, 0), at(NEWEST, 0)];
    let mut holder = Holder::new(chunks, &others);
    let promising = BTreeMap::from([(others[0], all(&chunks))]);
    assert_eq!(holder.run(&promising, 50), all(&chunks[..1]));
    holder.newest_closed += 1;
    holder.epoch += 1;
    assert_eq!(holder.run(&promising, 50), all(&chunks[1..]));
}

#[test]
fn claimed_chunks_are_kept_and_counted() {
    let others = nodes(1);
    let chunks = [at(1, 0), at(1, 1)];
    let mut holder = Holder::new(chunks, &others);
    holder.claimed = all(&chunks[..1]);
    let promising = BTreeMap::from([(others[0], all(&chunks))]);
    assert_eq!(holder.run(&promising, 50), all(&chunks[1..]));
    let counts = holder.plan.counts();
    assert_eq!((counts.waiting, counts.claimed), (1, 1));
    assert!(holder.plan.is_done());
}

#[test]
fn promises_to_an_older_view_do_not_count() {
    let others = nodes(1);
    let chunks = [at(1, 0)];
    let mut holder = Holder::new(chunks, &others);
    let actions = holder.tick();
    let [HandOverAction::Ask { id, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    holder.epoch += 1;
    let actions = holder.tick();
    assert!(matches!(actions[..], [HandOverAction::Ask { .. }]));
    holder.plan.on_held(id, others[0], 1, &bitmaps(&all(&chunks), 1, 1));
    holder.plan.on_done(id);
    let dropped = holder.run(&BTreeMap::new(), 50);
    assert!(dropped.is_empty());
}

#[test]
fn nobody_promises_for_another() {
    let others = nodes(2);
    let chunks = [at(1, 0)];
    let mut holder = Holder::new(chunks, &others[..1]);
    let actions = holder.tick();
    let [HandOverAction::Ask { id, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    holder.plan.on_held(id, others[1], 1, &bitmaps(&all(&chunks), 1, 1));
    holder.plan.on_done(id);
    assert!(holder.run(&BTreeMap::new(), 50).is_empty());
}

#[test]
fn who_says_it_holds_nothing_there_is_asked_only_now_and_then() {
    let others = nodes(1);
    let mut holder = Holder::new([at(5, 0)], &others);
    let range = HeldRange {
        first_segment: 100,
        last_segment: 200,
    };
    holder.peers.push(StoragePeer {
        node: others[0],
        capabilities: Some(Capabilities {
            ranges: vec![range],
            ..Capabilities::default()
        }),
        quarantined: false,
    });
    let mut asked = 0;
    for _ in 0..310 * 8 {
        for action in holder.tick() {
            if let HandOverAction::Ask { id, .. } = action {
                asked += 1;
                holder.plan.on_done(id);
            }
        }
    }
    assert_eq!(asked, 2, "in eight passes");
}

#[test]
fn a_window_is_bounded_and_nothing_is_skipped() {
    let others = nodes(1);
    // A segment of a full chain, and many of near-empty ones, further apart than one request reaches.
    let full = (0..3_000).map(|index| at(2, index));
    let sparse = (0..300)
        .map(|step| at(10 + step * 3, 0))
        .chain([at(5_000, 0), at(9_000, 0)]);
    let chunks: BTreeSet<ChunkPosition> = full.chain(sparse).collect();
    let mut holder = Holder::new(chunks.clone(), &others);
    holder.newest_closed = 10_000;
    let promising = BTreeMap::from([(others[0], chunks.clone())]);
    assert_eq!(holder.run(&promising, 100), chunks);
}

fn storage_node(filled: bool) -> StorageNode {
    let key = KeyPair::generate(0).unwrap().get_public_key();
    StorageNode {
        retention_periods: 0,
        node_id: Some(NodeId::new(key)),
        address: Address::from_public_key(&key),
        placement_key: [0; 32],
        allocated_storage_gb: 1,
        filled,
        listeners: Vec::new(),
    }
}

#[test]
fn filled_holders_confirm_and_too_few_never_do() {
    let own = storage_node(true);
    let (first, second, unfilled) = (storage_node(true), storage_node(true), storage_node(false));
    let nodes = [own.clone(), first.clone(), second.clone(), unfilled.clone()];
    let own_id = own.node_id.unwrap();
    let ids = |nodes: &[&StorageNode]| nodes.iter().map(|node| node.node_id.unwrap()).collect::<Vec<_>>();
    let assigned = |holders: &[usize]| Assignment::new(holders, &nodes, &own_id, 2);
    assert_eq!(assigned(&[0, 1]), Assignment::Own);
    assert_eq!(assigned(&[3, 1, 2]), Assignment::Others(ids(&[&first, &second])));
    assert_eq!(assigned(&[3, 1]), Assignment::Others(ids(&[&unfilled, &first])));
    assert_eq!(assigned(&[1]), Assignment::TooFew);
    // Two registrations of one node are one copy.
    assert_eq!(assigned(&[1, 1]), Assignment::TooFew);
}

/// Nodes that see placements change at different times.
struct World {
    nodes: Vec<Node>,
    ids: Vec<NodeId>,
    /// Holders of each chunk under each placement.
    placements: Vec<BTreeMap<ChunkPosition, Vec<usize>>>,
    now: Instant,
    random: ChaCha20Rng,
    loss: f64,
}

struct Node {
    plan: HandOver,
    held: BTreeSet<ChunkPosition>,
    epoch: usize,
}

const COPIES: usize = 2;

impl World {
    fn new(seed: u64, count: usize, placements: usize, loss: f64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let chunks: Vec<ChunkPosition> = (0..6).flat_map(|segment| [at(segment, 0), at(segment, 1)]).collect();
        let mut place = || {
            let of_chunk = |chunk: &ChunkPosition| {
                let mut order: Vec<usize> = (0..count).collect();
                order.shuffle(&mut random);
                order.truncate(COPIES);
                (*chunk, order)
            };
            chunks.iter().map(of_chunk).collect::<BTreeMap<_, _>>()
        };
        let placements: Vec<_> = (0..placements).map(|_| place()).collect();
        let node = |index: usize| Node {
            plan: HandOver::new(HandOverLimits::default()),
            held: chunks
                .iter()
                .filter(|chunk| placements[0][chunk].contains(&index))
                .copied()
                .collect(),
            epoch: 0,
        };
        Self {
            nodes: (0..count).map(node).collect(),
            ids: nodes(count),
            placements,
            now: Instant::now(),
            random,
            loss,
        }
    }

    fn copies(&self, chunk: &ChunkPosition) -> usize {
        self.nodes.iter().filter(|node| node.held.contains(chunk)).count()
    }

    /// What a node promises: held and assigned as it sees it now.
    fn promises(&self, index: usize) -> BTreeSet<ChunkPosition> {
        let node = &self.nodes[index];
        let mine = |chunk: &&ChunkPosition| self.placements[node.epoch][chunk].contains(&index);
        node.held.iter().filter(mine).copied().collect()
    }

    fn step(&mut self, index: usize) {
        self.now += Duration::from_secs(3);
        let last = self.placements.len() - 1;
        if self.nodes[index].epoch < last && self.random.gen_bool(0.05) {
            self.nodes[index].epoch += 1;
        }
        if self.random.gen_bool(0.02) {
            self.nodes[index].plan = HandOver::new(HandOverLimits::default());
        }
        self.fetch(index);
        let actions = self.tick(index);
        for action in actions {
            match action {
                HandOverAction::Ask {
                    id,
                    node,
                    first_segment,
                    count,
                } => {
                    if !self.random.gen_bool(self.loss) {
                        let other = self.ids.iter().position(|id| *id == node).unwrap();
                        let held = bitmaps(&self.promises(other), first_segment, count);
                        self.nodes[index].plan.on_held(id, node, first_segment, &held);
                    }
                    self.nodes[index].plan.on_done(id);
                }
                HandOverAction::Drop { chunks, epoch } => {
                    let node = &mut self.nodes[index];
                    if epoch == node.epoch as u64 {
                        node.held.retain(|chunk| !chunks.contains(chunk));
                    }
                    node.plan.on_dropped();
                }
            }
        }
    }

    /// One chunk that is assigned and not held is fetched from anybody who has it.
    fn fetch(&mut self, index: usize) {
        let node = &self.nodes[index];
        let placement = &self.placements[node.epoch];
        let lacks = |chunk: &&ChunkPosition| placement[chunk].contains(&index) && !node.held.contains(chunk);
        let chunk = placement.keys().find(lacks).copied();
        if let Some(chunk) = chunk.filter(|chunk| self.copies(chunk) > 0) {
            self.nodes[index].held.insert(chunk);
        }
    }

    fn tick(&mut self, index: usize) -> Vec<HandOverAction> {
        let (now, ids) = (self.now, &self.ids);
        let node = &mut self.nodes[index];
        let (held, placement) = (&node.held, &self.placements[node.epoch]);
        let assigned = |position: ChunkPosition| {
            let holders = &placement[&position];
            Some(if holders.contains(&index) {
                Assignment::Own
            } else {
                Assignment::Others(holders.iter().map(|holder| ids[*holder]).collect())
            })
        };
        let view = HandOverView {
            now,
            epoch: node.epoch as u64,
            peers: &[],
            held: &|from, max| held.range(from..).take(max).copied().collect(),
            assigned: &assigned,
            keep: &|_| false,
            newest_closed: NEWEST,
        };
        node.plan.on_tick(&view)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However nodes lag, restart and lose messages: of no chunk fewer copies are left than there should be; and in the end
    /// exactly those hold it who should.
    #[test]
    fn no_copy_is_ever_lost(seed in any::<u64>(), count in 3usize..7, placements in 1usize..5, loss in 0.0f64..0.5) {
        let mut world = World::new(seed, count, placements, loss);
        let chunks: Vec<ChunkPosition> = world.placements[0].keys().copied().collect();
        for _ in 0..3_000 {
            let index = world.random.gen_range(0..count);
            world.step(index);
            for chunk in &chunks {
                prop_assert!(world.copies(chunk) >= COPIES, "{} has {} copies", chunk, world.copies(chunk));
            }
        }
        for round in 0..3_000 {
            for node in &mut world.nodes {
                node.epoch = placements - 1;
            }
            world.loss = 0.0;
            world.step(round % count);
        }
        for chunk in &chunks {
            let holders: BTreeSet<usize> = (0..count).filter(|index| world.nodes[*index].held.contains(chunk)).collect();
            prop_assert_eq!(&holders, &world.placements[placements - 1][chunk].iter().copied().collect());
        }
    }
}
