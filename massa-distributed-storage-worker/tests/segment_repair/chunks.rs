//! Chunks that are assigned here and not held: order, pace, memory, and who is to blame.

use crate::network::{some_node, Answer, Links, Network, Piece};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleTree};
use massa_distributed_storage_exports::network::{
    Capabilities, FetchEvent, FetchFailure, FetchTarget, HeldRange, PageContent, VerifiedPage,
};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition};
use massa_distributed_storage_worker::repair::chunks::download::{ObtainedChunk, Reaching, WantedChunk};
use massa_distributed_storage_worker::repair::chunks::{
    Blamed, ChunkAction, ChunkLimits, ChunksPlan, ChunksView, FalsePart, Lacking,
};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::secure_share::Id;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// 100 Mbit/s.
const LINK: u64 = 12_500_000;
/// Segments looked at in one go.
const LOOK: u64 = 8;

fn parameters() -> ArchiveParameters {
    ArchiveParameters::new(77, 4)
}

/// The bytes of a chunk, page by page. Equal chunks stand at many positions: only positions count.
pub struct Content {
    pub chunk: TableChunk,
    pub pages: Vec<VerifiedPage>,
}

impl Content {
    pub fn new(length: usize) -> Self {
        let bytes: Vec<u8> = (0..length).map(|at| (at * at / 7) as u8).collect();
        let id = ChunkId::from_bytes(root_of_hashes(leaf_hashes(&bytes)));
        let length = length as u32;
        let chunk = TableChunk { length, id };
        let roots: Vec<_> = bytes
            .chunks(PAGE_BYTES)
            .map(|page| root_of_hashes(leaf_hashes(page)))
            .collect();
        let tree = MerkleTree::new(&roots);
        let page = |(plain, page): (&[u8], u32)| {
            let content = PageContent {
                stored: [&[0], plain].concat(),
                signatures: Vec::new(),
                path: tree.path(page).unwrap(),
            };
            VerifiedPage::check(&chunk, page, content, &[]).unwrap()
        };
        let pages = bytes.chunks(PAGE_BYTES).zip(0..).map(page).collect();
        Self { chunk, pages }
    }
}

pub fn entry(number: u8) -> PeriodEntry {
    let id = BlockId::new(Hash::from_bytes(&[number; 32]));
    PeriodEntry::lost(&[Some(id), None, None, None]).unwrap()
}

/// What a peer holds and how it behaves.
#[derive(Clone, Default)]
pub struct Holder {
    pub holds: BTreeSet<ChunkPosition>,
    pub entry: Option<PeriodEntry>,
    pub is_silent: bool,
    /// Pages of each request that it sends, if not all.
    pub pages: Option<usize>,
}

impl Holder {
    pub fn of(positions: impl IntoIterator<Item = ChunkPosition>) -> Self {
        Self {
            holds: positions.into_iter().collect(),
            entry: Some(entry(1)),
            ..Self::default()
        }
    }

    pub fn answer(&self, content: &Content, id: u64, target: &FetchTarget, from: NodeId) -> Answer {
        match target {
            _ if self.is_silent => Answer::Silence,
            FetchTarget::Pages { position, pages, .. } if self.holds.contains(position) => {
                let piece = |page: u32| {
                    let page = content.pages[page as usize].clone();
                    let bytes = page.stored().len() as u64 + 200;
                    let event = FetchEvent::Page { id, from, page };
                    Piece { bytes, event }
                };
                let pieces: Vec<Piece> = pages
                    .clone()
                    .take(self.pages.unwrap_or(usize::MAX))
                    .map(piece)
                    .collect();
                if pieces.len() < pages.len() {
                    Answer::Part(pieces, FetchFailure::Busy)
                } else {
                    Answer::Whole(pieces)
                }
            }
            FetchTarget::Entries { first_period, .. } if self.entry.is_some() => {
                let event = FetchEvent::Entries {
                    id,
                    from,
                    first_period: *first_period,
                    entries: self.entry.iter().cloned().collect(),
                };
                Answer::Whole(vec![Piece { bytes: 40, event }])
            }
            _ => Answer::refusal(FetchFailure::NotHeld),
        }
    }
}

struct Joiner {
    plan: ChunksPlan,
    network: Network,
    content: Rc<Content>,
    /// Assigned to this node: for each position whether an entry reaches in, and who should hold it.
    assigned: BTreeMap<ChunkPosition, (bool, Vec<NodeId>)>,
    held: BTreeSet<ChunkPosition>,
    /// In the order in which they were stored.
    stored: Vec<ObtainedChunk>,
    /// In the order in which they were asked for.
    asked: Vec<ChunkPosition>,
    looks: Cell<u64>,
    memory_max: u64,
}

impl Joiner {
    fn new(content: Content, links: Links, limits: ChunkLimits) -> Self {
        Self {
            plan: ChunksPlan::new(&parameters(), limits),
            network: Network::new(links, 5),
            content: Rc::new(content),
            assigned: BTreeMap::new(),
            held: BTreeSet::new(),
            stored: Vec::new(),
            asked: Vec::new(),
            looks: Cell::new(0),
            memory_max: 0,
        }
    }

    fn add(&mut self, holder: Holder, capabilities: Capabilities) -> NodeId {
        let content = Rc::clone(&self.content);
        let serve = move |id: u64, target: &FetchTarget, from: NodeId| holder.answer(&content, id, target, from);
        self.network.add(capabilities, Box::new(serve))
    }

    fn wanted(&self, position: ChunkPosition) -> WantedChunk {
        let (reaches, assigned) = &self.assigned[&position];
        let period = position.segment * 100;
        WantedChunk {
            position,
            chunk: self.content.chunk,
            reaching: reaches.then(|| Reaching {
                period,
                root: entry(1).root(parameters().chain_id, period),
            }),
            assigned: assigned.clone(),
        }
    }

    fn with_view<T>(&mut self, decide: impl FnOnce(&mut ChunksPlan, &ChunksView<'_>) -> T) -> T {
        let mut plan = std::mem::replace(&mut self.plan, ChunksPlan::new(&parameters(), ChunkLimits::default()));
        let peers = self.network.storage_peers();
        let lacking_in = |segments: std::ops::Range<u64>| -> Vec<WantedChunk> {
            let from = ChunkPosition::new(segments.start, 0).unwrap();
            let positions = self.assigned.range(from..).map(|(position, _)| *position);
            let positions = positions.take_while(|position| position.segment < segments.end);
            let missing = positions.filter(|position| !self.held.contains(position));
            missing.map(|position| self.wanted(position)).collect()
        };
        let newest = self
            .assigned
            .last_key_value()
            .map_or(0, |(position, _)| position.segment);
        let lacking = |below: u64| {
            self.looks.set(self.looks.get() + 1);
            let below = below.min(newest + 1);
            let from = below.saturating_sub(LOOK);
            Lacking {
                chunks: lacking_in(from..below),
                below: (from > 0).then_some(from),
            }
        };
        let view = ChunksView {
            now: self.network.now(),
            peers: &peers,
            lacking: &lacking,
            lacking_of: &|segment| lacking_in(segment..segment + 1),
            assigned: self.assigned.len() as u64,
            held: self.held.len() as u64,
        };
        let result = decide(&mut plan, &view);
        self.plan = plan;
        result
    }

    fn is_done(&self) -> bool {
        self.held.len() == self.assigned.len()
    }

    fn run(&mut self, until: Duration) -> bool {
        while self.network.elapsed() < until && !self.is_done() {
            self.tick();
        }
        self.is_done()
    }

    fn tick(&mut self) {
        let actions = self.with_view(|plan, view| plan.on_tick(view));
        self.carry_out(actions);
        let until = self.network.elapsed() + TICK;
        while let Some(event) = self.network.next_event(until) {
            let now = self.network.now();
            let actions = match event {
                FetchEvent::Page { id, from, page } => self.with_view(|plan, view| plan.on_page(id, from, page, view)),
                FetchEvent::Entries { id, from, entries, .. } => self.plan.on_entries(id, from, entries, now),
                FetchEvent::Complete { id } => self.with_view(|plan, view| plan.on_complete(id, view)),
                FetchEvent::Failed { id, attempts } => self.plan.on_failed(id, &attempts, now),
                _ => Vec::new(),
            };
            self.carry_out(actions);
        }
    }

    fn carry_out(&mut self, actions: Vec<ChunkAction>) {
        for action in actions {
            match action {
                ChunkAction::Fetch(fetch) => {
                    if let FetchTarget::Pages { position, .. } = fetch.target {
                        self.asked.push(position);
                    }
                    self.network.fetch(fetch.id, fetch.target, fetch.holders);
                }
                ChunkAction::Store(chunk) => {
                    self.memory_max = self.memory_max.max(self.plan.memory());
                    let pages = |pages: &[VerifiedPage]| {
                        pages.iter().flat_map(|page| page.plain().to_vec()).collect::<Vec<u8>>()
                    };
                    assert_eq!(chunk.chunk, self.content.chunk);
                    assert!(pages(&chunk.pages) == pages(&self.content.pages));
                    assert_eq!(chunk.entry.is_some(), self.assigned[&chunk.position].0);
                    assert!(self.held.insert(chunk.position), "each is stored once");
                    self.plan.on_written(chunk.position);
                    self.stored.push(ObtainedChunk {
                        pages: Vec::new(),
                        ..chunk
                    });
                }
                ChunkAction::Quarantine { node, reason } => self.network.quarantine(node, reason),
            }
        }
        self.memory_max = self.memory_max.max(self.plan.memory());
    }
}

fn positions(segments: u64, chunks: u32) -> Vec<ChunkPosition> {
    let of_segment = |segment| (0..chunks).map(move |index| ChunkPosition::new(segment, index).unwrap());
    (0..segments).flat_map(of_segment).collect()
}

/// All chunks on each of `count` holders.
fn held_by_all(joiner: &mut Joiner, count: usize, positions: &[ChunkPosition]) -> Vec<NodeId> {
    let holder = Holder::of(positions.iter().copied());
    let nodes: Vec<NodeId> = (0..count)
        .map(|_| joiner.add(holder.clone(), Capabilities::default()))
        .collect();
    for position in positions {
        joiner
            .assigned
            .insert(*position, (position.index.0 % 2 == 1, nodes.clone()));
    }
    nodes
}

#[test]
fn chunks_arrive_at_four_fifths_of_the_link() {
    for round_trip_ms in [100, 10] {
        let links = Links::new(round_trip_ms, 5 << 20, LINK);
        let limits = ChunkLimits {
            bytes: 64 << 20,
            ..ChunkLimits::default()
        };
        let mut joiner = Joiner::new(Content::new(1 << 20), links, limits);
        let positions = positions(40, 9);
        held_by_all(&mut joiner, 8, &positions);
        assert!(joiner.run(Duration::from_secs(120)));
        let elapsed = joiner.network.elapsed().as_secs_f64();
        let share = (positions.len() << 20) as f64 / elapsed / LINK as f64;
        println!(
            "{} chunks, round trip {round_trip_ms} ms: {elapsed:.1} s, {share:.2} of the link, {} bytes of memory at most",
            positions.len(),
            joiner.memory_max
        );
        assert!(share >= 0.8, "{share}");
        assert!(joiner.memory_max <= limits.bytes);
    }
}

#[test]
fn memory_is_bounded_and_one_chunk_is_always_fetched() {
    for (bytes, at_a_time) in [(1, 1), (10 << 20, 2)] {
        let limits = ChunkLimits {
            bytes,
            ..ChunkLimits::default()
        };
        let mut joiner = Joiner::new(Content::new(1 << 20), Links::new(20, LINK, LINK), limits);
        held_by_all(&mut joiner, 4, &positions(2, 4));
        let mut most = 0;
        while !joiner.is_done() && joiner.network.elapsed() < Duration::from_secs(60) {
            joiner.tick();
            most = most.max(joiner.plan.counts().0);
        }
        assert!(joiner.is_done());
        assert!(most <= at_a_time, "{most}");
        assert!(joiner.memory_max <= bytes.max(4 << 20));
    }
}

#[test]
fn the_rarest_come_first_then_the_newest() {
    let limits = ChunkLimits {
        bytes: 1,
        ..ChunkLimits::default()
    };
    let mut joiner = Joiner::new(Content::new(2_000), Links::new(20, LINK, LINK), limits);
    let all = positions(3, 2);
    let says = |first_segment, last_segment| Capabilities {
        ranges: vec![HeldRange {
            first_segment,
            last_segment,
        }],
        ..Capabilities::default()
    };
    let holder = Holder::of(all.clone());
    let nodes = vec![joiner.add(holder.clone(), says(1, 2)), joiner.add(holder, says(2, 2))];
    for position in &all {
        joiner.assigned.insert(*position, (false, nodes.clone()));
    }
    assert!(joiner.run(Duration::from_secs(20)));
    let numbers: Vec<(u64, u32)> = joiner
        .asked
        .iter()
        .map(|position| (position.segment, position.index.0))
        .collect();
    assert_eq!(numbers, [(0, 1), (0, 0), (1, 1), (1, 0), (2, 1), (2, 0)]);
}

#[test]
fn a_false_entry_is_its_senders_fault_and_asked_of_another() {
    let mut joiner = Joiner::new(
        Content::new(100_000),
        Links::new(20, LINK, LINK),
        ChunkLimits::default(),
    );
    let all = positions(1, 1);
    let false_entry = Holder {
        entry: Some(entry(9)),
        ..Holder::of(all.clone())
    };
    let liar = joiner.add(false_entry, Capabilities::default());
    let honest = joiner.add(Holder::of(all.clone()), Capabilities::default());
    joiner.assigned.insert(all[0], (true, vec![liar]));
    assert!(joiner.run(Duration::from_secs(20)));
    assert_eq!(joiner.network.quarantined.keys().collect::<Vec<_>>(), [&liar]);
    assert_eq!(joiner.stored[0].entry, Some((honest, entry(1))));
}

#[test]
fn what_no_tree_covers_is_blamed_on_the_only_sender() {
    let mut joiner = Joiner::new(
        Content::new(100_000),
        Links::new(20, LINK, LINK),
        ChunkLimits::default(),
    );
    let all = positions(1, 1);
    let nodes = held_by_all(&mut joiner, 2, &all);
    let blamed = |sources: &[NodeId], part| Blamed {
        position: all[0],
        part,
        sources: sources.iter().copied().collect(),
        entry_from: Some(nodes[1]),
        reason: "signature".into(),
    };
    let now = joiner.network.now();
    let wanted = joiner.wanted(all[0]);
    let actions = joiner
        .plan
        .on_refused(&blamed(&nodes, FalsePart::Signatures), wanted.clone(), now);
    assert_eq!(actions, [], "of two nobody knows which one lied");
    let named = |actions: &[ChunkAction]| match actions {
        [ChunkAction::Quarantine { node, .. }] => Some(*node),
        _ => None,
    };
    let actions = joiner
        .plan
        .on_refused(&blamed(&nodes[..1], FalsePart::Signatures), wanted.clone(), now);
    assert_eq!(named(&actions), Some(nodes[0]));
    let actions = joiner.plan.on_refused(&blamed(&nodes, FalsePart::Entry), wanted, now);
    assert_eq!(named(&actions), Some(nodes[1]));
    assert!(joiner.run(Duration::from_secs(20)), "it is asked for again");
}

#[test]
fn holders_that_are_not_connected_are_dialed() {
    let mut joiner = Joiner::new(Content::new(1_000), Links::new(20, LINK, LINK), ChunkLimits::default());
    let all = positions(1, 1);
    joiner.add(Holder::default(), Capabilities::default());
    let far = some_node();
    joiner.assigned.insert(all[0], (false, vec![far]));
    let actions = joiner.with_view(|plan, view| plan.on_tick(view));
    let [ChunkAction::Fetch(fetch)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(fetch.holders, [far], "only who should hold it");
}

#[test]
fn from_the_second_try_on_everybody_is_asked() {
    let mut joiner = Joiner::new(Content::new(1_000), Links::new(20, LINK, LINK), ChunkLimits::default());
    let all = positions(1, 3);
    joiner.add(Holder::of(all.clone()), Capabilities::default());
    for position in &all {
        joiner.assigned.insert(*position, (false, vec![some_node()]));
    }
    assert!(joiner.run(Duration::from_secs(20)));
}

#[test]
fn a_chunk_that_everybody_failed_to_send_once_is_asked_for_again() {
    let mut joiner = Joiner::new(Content::new(1_000), Links::new(20, LINK, LINK), ChunkLimits::default());
    let nodes = held_by_all(&mut joiner, 2, &positions(1, 1));
    let actions = joiner.with_view(|plan, view| plan.on_tick(view));
    let [ChunkAction::Fetch(fetch)] = &actions[..] else {
        panic!("{actions:?}")
    };
    let attempts: Vec<_> = nodes.iter().map(|node| (*node, FetchFailure::Timeout)).collect();
    let now = joiner.network.now();
    joiner.plan.on_failed(fetch.id, &attempts, now);
    assert!(joiner.run(Duration::from_secs(5)));
}

#[test]
fn more_chunks_than_are_remembered_all_arrive() {
    let mut joiner = Joiner::new(Content::new(100), Links::new(5, LINK, LINK), ChunkLimits::default());
    held_by_all(&mut joiner, 2, &positions(70, 100));
    assert!(joiner.run(Duration::from_secs(600)), "{} of 7000", joiner.held.len());
}

#[test]
fn nothing_is_looked_at_while_the_counters_say_that_all_is_here() {
    let mut joiner = Joiner::new(Content::new(100), Links::new(5, LINK, LINK), ChunkLimits::default());
    held_by_all(&mut joiner, 1, &positions(20, 1));
    assert!(joiner.run(Duration::from_secs(20)));
    joiner.tick();
    let looks = joiner.looks.get();
    for _ in 0..20_000 {
        joiner.tick();
    }
    assert_eq!(joiner.looks.get(), looks, "half an hour");
    // One is dropped: found by the next look at all segments.
    let lost = ChunkPosition::new(3, 0).unwrap();
    joiner.held.remove(&lost);
    joiner.tick();
    assert!(joiner.run(joiner.network.elapsed() + Duration::from_secs(5)));
}

#[test]
fn news_of_a_segment_makes_it_looked_at() {
    let mut joiner = Joiner::new(Content::new(100), Links::new(5, LINK, LINK), ChunkLimits::default());
    let nodes = held_by_all(&mut joiner, 1, &positions(20, 1));
    assert!(joiner.run(Duration::from_secs(20)));
    let content = Rc::clone(&joiner.content);
    let position = ChunkPosition::new(20, 0).unwrap();
    joiner.network.peers[0].serve =
        Box::new(move |id, target, from| Holder::of([position]).answer(&content, id, target, from));
    joiner.assigned.insert(position, (false, nodes));
    joiner.plan.look_at(20);
    let until = joiner.network.elapsed() + Duration::from_secs(2);
    assert!(joiner.run(until));
}

#[test]
fn chunks_of_a_table_that_is_another_one_by_now_are_forgotten() {
    // By the first table everything is asked for and does not come, or nobody has it.
    for is_silent in [true, false] {
        let mut joiner = Joiner::new(Content::new(100), Links::new(5, LINK, LINK), ChunkLimits::default());
        let all = positions(2, 3);
        held_by_all(&mut joiner, 1, &all);
        let nobody = Holder {
            is_silent,
            ..Holder::default()
        };
        let before = Rc::clone(&joiner.content);
        joiner.network.peers[0].serve = Box::new(move |id, target, from| nobody.answer(&before, id, target, from));
        assert!(!joiner.run(Duration::from_millis(500)));
        let lacks: BTreeSet<ChunkPosition> = joiner.plan.lacking().collect();
        assert_eq!(lacks, all.iter().copied().collect());

        joiner.content = Rc::new(Content::new(200));
        let (content, holder) = (Rc::clone(&joiner.content), Holder::of(all.clone()));
        joiner.network.peers[0].serve = Box::new(move |id, target, from| holder.answer(&content, id, target, from));
        (0..2).for_each(|segment| joiner.plan.on_table(segment));
        let until = joiner.network.elapsed() + Duration::from_secs(5);
        assert!(joiner.run(until), "silent: {is_silent}");
        assert_eq!((joiner.plan.lacking().count(), joiner.plan.memory()), (0, 0));
    }
}

#[test]
fn a_damaged_chunk_is_fetched_whoever_is_assigned() {
    let mut joiner = Joiner::new(Content::new(100), Links::new(5, LINK, LINK), ChunkLimits::default());
    let all = positions(1, 1);
    held_by_all(&mut joiner, 1, &all);
    assert!(joiner.run(Duration::from_secs(20)));
    joiner.held.clear();
    let (wanted, now) = (joiner.wanted(all[0]), joiner.network.now());
    joiner.plan.want(wanted, now);
    joiner.plan.assignments_changed();
    assert!(joiner.plan.lacking().any(|position| position == all[0]));
    let until = joiner.network.elapsed() + Duration::from_secs(2);
    assert!(joiner.run(until));
}

#[test]
fn progress_counts_chunks() {
    let mut joiner = Joiner::new(
        Content::new(1 << 20),
        Links::new(20, LINK, LINK),
        ChunkLimits::default(),
    );
    held_by_all(&mut joiner, 4, &positions(20, 9));
    while joiner.network.elapsed() < Duration::from_secs(8) {
        joiner.tick();
    }
    let progress = joiner.with_view(|plan, view| plan.progress(view));
    assert_eq!((progress.done, progress.total), (joiner.held.len() as u64, 180));
    let left = progress.left.unwrap().as_secs_f64();
    let began = joiner.network.elapsed();
    assert!(joiner.run(Duration::from_secs(120)));
    let took = (joiner.network.elapsed() - began).as_secs_f64();
    assert!((0.5..2.0).contains(&(left / took)), "{left} foreseen, {took} taken");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whoever is silent, partial or holds little, whatever is lost and whenever the node is started again: every chunk that a
    /// peer holds arrives, and memory stays bounded.
    #[test]
    fn any_holders_and_restarts(
        spread in proptest::collection::vec(0usize..3, 24),
        silent in any::<bool>(),
        pages in proptest::option::of(1usize..3),
        loss in 0.0f64..0.15,
        restarts in proptest::collection::vec(1usize..60, 0..3),
    ) {
        let limits = ChunkLimits { bytes: 4 << 20, patience: Duration::from_secs(4), ..ChunkLimits::default() };
        let links = Links { loss, event_loss: loss / 2.0, ..Links::new(30, 1 << 20, LINK) };
        let mut joiner = Joiner::new(Content::new(200_000), links, limits);
        let all = positions(6, 4);
        let mut nodes = Vec::new();
        for index in 0..3 {
            let here = all.iter().zip(&spread).filter(|(_, at)| **at == index).map(|(position, _)| *position);
            let holder = Holder { pages: pages.filter(|_| index == 0), ..Holder::of(here) };
            nodes.push(joiner.add(holder, Capabilities::default()));
        }
        if silent {
            nodes.push(joiner.add(Holder { is_silent: true, ..Holder::default() }, Capabilities::default()));
        }
        for position in &all {
            joiner.assigned.insert(*position, (position.index.0 == 1, nodes.clone()));
        }
        for ticks in restarts {
            (0..ticks).for_each(|_| joiner.tick());
            joiner.network.restart();
            joiner.plan = ChunksPlan::new(&parameters(), limits);
        }
        prop_assert!(joiner.run(Duration::from_secs(1_200)), "{} of 24", joiner.held.len());
        prop_assert!(joiner.memory_max <= limits.bytes);
        prop_assert!(joiner.network.quarantined.is_empty());
    }
}
