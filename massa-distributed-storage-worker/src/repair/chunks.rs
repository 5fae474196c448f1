//! Chunks that are assigned to this node and not held: which are fetched next, and what came of it.
//!
//! Pure: state, input and time in, actions out. Rarest first, then newest. How many hold a chunk nobody can know without asking
//! everybody for everything; counted are the connected nodes among those who should hold it that say they hold all that is
//! assigned to them in its segment. So a chunk whose holders are gone, or are only beginning to fetch, comes before one that
//! others have. Only holders fetch: a node ranked next keeps what it has (see [`super::handover_segment`]).
//!
//! As many chunks are in flight as the way to their holders takes ([`crate::fetch::window`]) and memory allows. What is missing
//! is found by looking at segments, newest first, some at a time: at the start, when assignments changed, when something was
//! said about a segment; else only while the counters say that something is missing.

pub mod download;

use self::download::{ChunkFetch, Downloads, ObtainedChunk, Outcome, WantedChunk};
use super::progress::{Pace, Progress};
use crate::fetch::sources::says_it_holds;
use crate::fetch::window::WindowLimits;
use crate::fetch::Asker;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{FetchFailure, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex, ChunkPosition};
use massa_models::node::NodeId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Chunks that wait to be fetched; beyond that a later look finds them.
const WANTED_MAX: usize = 4096;
/// Chunks that are considered at a time: those whose holders are busy do not keep the others waiting.
const LOOK_AHEAD: usize = 256;
/// Looks at segments in one tick.
const LOOKS: usize = 4;
/// How long after a look at all segments the next one begins, while something is missing.
const SCAN_INTERVAL: Duration = Duration::from_secs(600);

/// Limits of fetching chunks.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    /// Memory of chunks that are fetched, or obtained and not written yet.
    pub bytes: u64,
    /// How long to wait before a chunk that nobody sent is asked for again.
    pub patience: Duration,
    /// Windows of peers.
    pub windows: WindowLimits,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            bytes: 128 << 20,
            patience: Duration::from_secs(20),
            windows: WindowLimits::default(),
        }
    }
}

/// Chunks of some segments that are assigned to this node and not held.
#[derive(Clone, Debug, Default)]
pub struct Lacking {
    /// The chunks.
    pub chunks: Vec<WantedChunk>,
    /// Segments below it were not looked at; `None` when that was all.
    pub below: Option<u64>,
}

/// What the plan can look at.
pub struct ChunksView<'a> {
    /// Now.
    pub now: Instant,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// What is missing of the segments below one, newest first: looks at some of them, as many as the caller can spare.
    pub lacking: &'a dyn Fn(u64) -> Lacking,
    /// What is missing of one segment.
    pub lacking_of: &'a dyn Fn(u64) -> Vec<WantedChunk>,
    /// Chunks assigned to this node and chunks of them that are held, as the counters have it.
    pub assigned: u64,
    /// See `assigned`.
    pub held: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum ChunkAction {
    /// Ask for something.
    Fetch(ChunkFetch),
    /// A chunk is here: check its signatures and its entry's offsets, write it, then call [`ChunksPlan::on_written`] or
    /// [`ChunksPlan::on_refused`].
    Store(ObtainedChunk),
    /// This node sent what is proven wrong.
    Quarantine {
        /// Who.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
}

/// What of an obtained chunk is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FalsePart {
    /// Signatures beside its pages.
    Signatures,
    /// Offsets of its entry.
    Entry,
    /// One of them.
    SignaturesOrEntry,
}

/// Who sent the parts of a chunk that turned out false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// The chunk.
    pub position: ChunkPosition,
    /// What is false of it.
    pub part: FalsePart,
    /// Who sent its pages.
    pub sources: BTreeSet<NodeId>,
    /// Who sent its entry.
    pub entry_from: Option<NodeId>,
    /// What was wrong.
    pub reason: String,
}

impl Blamed {
    /// Who may have sent what is false: it is proven of somebody only if there is no other.
    pub fn suspects(&self) -> Vec<NodeId> {
        let (pages, entry) = match self.part {
            FalsePart::Signatures => (true, false),
            FalsePart::Entry => (false, true),
            FalsePart::SignaturesOrEntry => (true, true),
        };
        let of_pages = self.sources.iter().copied().filter(|_| pages);
        let of_entry = self.entry_from.into_iter().filter(|_| entry);
        of_pages.chain(of_entry).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What was wrong, and where.
    pub fn text(&self) -> String {
        format!("chunk {}: {}", self.position, self.reason)
    }
}

/// The order in which chunks are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Nodes that hold it, as far as is known without asking.
    holders: usize,
    /// The newest first.
    position: Reverse<ChunkPosition>,
}

/// A chunk that waits.
struct Waiting {
    wanted: WantedChunk,
    not_before: Instant,
    /// It is fetched whoever is assigned.
    is_damaged: bool,
}

/// The state of fetching chunks.
pub struct ChunksPlan {
    limits: ChunkLimits,
    downloads: Downloads,
    waiting: BTreeMap<Rank, Waiting>,
    /// Where what waits stands in `waiting`.
    ranks: BTreeMap<ChunkPosition, Rank>,
    /// What is fetched because it is damaged.
    damaged: BTreeSet<ChunkPosition>,
    /// Not all that is missing had room.
    overflowed: bool,
    look_at: BTreeSet<u64>,
    /// The look at all segments goes on below this one; `None` between two looks.
    below: Option<u64>,
    looked: Option<Instant>,
    pace: Pace,
}

impl ChunksPlan {
    /// Nothing wanted yet.
    pub fn new(parameters: &ArchiveParameters, limits: ChunkLimits) -> Self {
        Self {
            downloads: Downloads::new(Asker::Chunks, parameters.chain_id, limits.bytes, limits.windows),
            limits,
            waiting: BTreeMap::new(),
            ranks: BTreeMap::new(),
            damaged: BTreeSet::new(),
            overflowed: false,
            look_at: BTreeSet::new(),
            below: None,
            looked: None,
            pace: Pace::default(),
        }
    }

    /// Chunks being fetched, and chunks that wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.downloads.len(), self.waiting.len())
    }

    /// Memory that what is fetched and not written may take, in bytes.
    pub fn memory(&self) -> u64 {
        self.downloads.reserved()
    }

    /// Bytes a second that arrive.
    pub fn rate(&self) -> u64 {
        self.downloads.rate()
    }

    /// Chunks that this node lacks, as far as it knows, in no order. At most a few thousand.
    pub fn lacking(&self) -> impl Iterator<Item = ChunkPosition> + '_ {
        self.ranks.keys().copied().chain(self.downloads.positions())
    }

    /// How far it is, in chunks.
    pub fn progress(&self, view: &ChunksView<'_>) -> Progress {
        let left = view.assigned.saturating_sub(view.held);
        self.pace.progress(left, view.assigned, view.now)
    }

    /// Something changed about a segment.
    pub fn look_at(&mut self, segment: u64) {
        if self.look_at.len() < WANTED_MAX {
            self.look_at.insert(segment);
        }
    }

    /// A segment has a table, or another one than before: what was wanted of it by the old table exists nowhere, and is forgotten;
    /// what is missing by the new one is looked for.
    pub fn on_table(&mut self, segment: u64) {
        let is_of_it = |position: &ChunkPosition| position.segment == segment;
        let fetched: Vec<ChunkPosition> = self.downloads.active().filter(is_of_it).collect();
        fetched
            .into_iter()
            .for_each(|position| drop(self.downloads.give_up(position)));
        let first = ChunkPosition {
            segment,
            index: ChunkIndex(0),
        };
        let waiting = self.ranks.range(first..).take_while(|(position, _)| is_of_it(position));
        let waiting: Vec<Rank> = waiting.map(|(_, rank)| *rank).collect();
        waiting.into_iter().for_each(|rank| drop(self.remove(rank)));
        self.damaged.retain(|position| !is_of_it(position));
        self.look_at(segment);
    }

    /// Other chunks are assigned to this node, or all tables are here by now: looks at all segments again. What is under way is
    /// finished, hand-over drops what came too late; damaged chunks stay wanted.
    pub fn assignments_changed(&mut self) {
        self.waiting.retain(|_, waiting| waiting.is_damaged);
        let waiting = self
            .waiting
            .iter()
            .map(|(rank, waiting)| (waiting.wanted.position, *rank));
        self.ranks = waiting.collect();
        self.below = None;
        self.looked = None;
    }

    /// A chunk that is held is damaged: it is fetched again, whoever is assigned.
    pub fn want(&mut self, wanted: WantedChunk, now: Instant) {
        self.damaged.insert(wanted.position);
        self.add(wanted, 0, now);
    }

    /// Goes on: looks for what is missing, asks for it.
    pub fn on_tick(&mut self, view: &ChunksView<'_>) -> Vec<ChunkAction> {
        self.pace.tick(view.now);
        let outcome = self.downloads.on_tick(view.now);
        let mut actions = self.take_in(outcome, view.now);
        self.scan(view);
        actions.extend(self.ask(view));
        actions
    }

    fn scan(&mut self, view: &ChunksView<'_>) {
        for _ in 0..LOOKS {
            let Some(segment) = self.look_at.pop_last() else { break };
            self.add_all((view.lacking_of)(segment), view);
        }
        let rested = |looked: Instant| view.now.duration_since(looked) >= SCAN_INTERVAL;
        let due = match self.looked {
            None => true,
            Some(looked) => view.held < view.assigned && rested(looked),
        };
        let has_room_again = self.overflowed && self.waiting.len() < WANTED_MAX / 2;
        if self.below.is_none() && (due || has_room_again) {
            self.overflowed = false;
            self.below = Some(u64::MAX);
        }
        for _ in 0..LOOKS {
            let Some(below) = self.below else { return };
            let lacking = (view.lacking)(below);
            self.below = lacking.below;
            if lacking.below.is_none() {
                self.looked = Some(view.now);
            }
            self.add_all(lacking.chunks, view);
        }
    }

    fn add_all(&mut self, chunks: Vec<WantedChunk>, view: &ChunksView<'_>) {
        for wanted in chunks {
            let segment = wanted.position.segment;
            let holds = |node: &&NodeId| {
                view.peers
                    .iter()
                    .any(|peer| peer.node == **node && says_it_holds(peer, segment))
            };
            let holders = wanted.assigned.iter().filter(holds).count();
            self.add(wanted, holders, view.now);
        }
    }

    fn add(&mut self, wanted: WantedChunk, holders: usize, not_before: Instant) {
        let position = wanted.position;
        let is_known = self.ranks.contains_key(&position) || self.downloads.positions().any(|known| known == position);
        if is_known {
            return;
        }
        let rank = Rank {
            holders,
            position: Reverse(position),
        };
        if self.waiting.len() >= WANTED_MAX {
            self.overflowed = true;
            // The least urgent makes room.
            match self.waiting.last_key_value().map(|(last, _)| *last) {
                Some(last) if rank < last => drop(self.remove(last)),
                _ => return,
            }
        }
        let waiting = Waiting {
            wanted,
            not_before,
            is_damaged: self.damaged.contains(&position),
        };
        self.ranks.insert(position, rank);
        self.waiting.insert(rank, waiting);
    }

    fn remove(&mut self, rank: Rank) -> Option<Waiting> {
        let waiting = self.waiting.remove(&rank)?;
        self.ranks.remove(&waiting.wanted.position);
        Some(waiting)
    }

    /// Asks for the next chunks, as many as memory and windows take.
    fn ask(&mut self, view: &ChunksView<'_>) -> Vec<ChunkAction> {
        let (peers, now) = (view.peers, view.now);
        let mut fetches = self.downloads.ask(peers, now);
        let ready = self.waiting.iter().filter(|(_, waiting)| waiting.not_before <= now);
        let ranks: Vec<Rank> = ready.map(|(rank, _)| *rank).take(LOOK_AHEAD).collect();
        for rank in ranks {
            let Some(waiting) = self.waiting.get(&rank) else {
                continue;
            };
            if !self.downloads.has_memory(&waiting.wanted.chunk) || !self.downloads.has_room(peers, now) {
                break;
            }
            let started = self.downloads.start(waiting.wanted.clone(), peers, now);
            if !started.is_empty() {
                self.remove(rank);
                fetches.extend(started);
            }
        }
        fetches.into_iter().map(ChunkAction::Fetch).collect()
    }

    /// A page arrived.
    pub fn on_page(&mut self, id: u64, from: NodeId, page: VerifiedPage, view: &ChunksView<'_>) -> Vec<ChunkAction> {
        self.downloads.on_page(id, from, page, view.now);
        self.ask(view)
    }

    /// Entries arrived.
    pub fn on_entries(&mut self, id: u64, from: NodeId, entries: Vec<PeriodEntry>, now: Instant) -> Vec<ChunkAction> {
        let outcome = self.downloads.on_entries(id, from, entries, now);
        self.take_in(outcome, now)
    }

    /// Everything of a request was answered.
    pub fn on_complete(&mut self, id: u64, view: &ChunksView<'_>) -> Vec<ChunkAction> {
        let outcome = self.downloads.on_complete(id);
        let mut actions = self.take_in(outcome, view.now);
        actions.extend(self.ask(view));
        actions
    }

    /// A request failed, or could not be sent: what each of those asked did.
    pub fn on_failed(&mut self, id: u64, attempts: &[(NodeId, FetchFailure)], now: Instant) -> Vec<ChunkAction> {
        let outcome = self.downloads.on_failed(id, attempts, now);
        self.take_in(outcome, now)
    }

    fn take_in(&mut self, outcome: Outcome, now: Instant) -> Vec<ChunkAction> {
        for wanted in outcome.given_up {
            let holders = wanted.assigned.len();
            self.add(wanted, holders, now + self.limits.patience);
        }
        let quarantine = |(node, reason)| ChunkAction::Quarantine { node, reason };
        let liars = outcome.liars.into_iter().map(quarantine);
        liars
            .chain(outcome.obtained.into_iter().map(ChunkAction::Store))
            .collect()
    }

    /// A chunk is written.
    pub fn on_written(&mut self, position: ChunkPosition) {
        self.damaged.remove(&position);
        self.downloads.on_written(position);
        self.pace.add(1);
    }

    /// A chunk was not written, because the disk refuses: later again.
    pub fn on_not_written(&mut self, wanted: WantedChunk, now: Instant) {
        self.downloads.on_written(wanted.position);
        self.add(wanted, 0, now + self.limits.patience);
    }

    /// What was obtained is false where no tree covers it. The chunk is asked for again, of others first. Of several senders of
    /// pages nobody knows which one lied.
    pub fn on_refused(&mut self, blamed: &Blamed, mut wanted: WantedChunk, now: Instant) -> Vec<ChunkAction> {
        self.downloads.on_written(blamed.position);
        let suspects = blamed.suspects();
        wanted.assigned.sort_by_key(|node| suspects.contains(node));
        self.add(wanted, 0, now + self.limits.patience / 4);
        match suspects[..] {
            [node] => vec![ChunkAction::Quarantine {
                node,
                reason: blamed.text(),
            }],
            _ => Vec::new(),
        }
    }
}
