//! Chunks that are assigned to this node and not held: which are fetched next, and what came of it.
//!
//! Rarest first, then newest. How many hold a chunk nobody can know without asking everybody for everything; counted are
//! the connected nodes among those who should hold it that say they hold all that is assigned to them in its period. So a
//! chunk whose holders are gone, or are only beginning to fetch, comes before one that others have. Used by the repair
//! thread; reads the store, never writes it.

use crate::assignments::Assignments;
use crate::storage_backend::Store;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest};
use massa_distributed_storage_exports::network::{FetchTarget, PageContent, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::ChunkIndex;
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Questions for chunks have these numbers, so that they are told from those for periods.
const FIRST_ID: u64 = 1 << 62;
/// Chunks fetched at a time.
const ACTIVE_MAX: usize = 4;
/// Chunks that wait to be fetched; beyond that a later scan finds them.
const WANTED_MAX: usize = 4096;
/// Periods looked at in one go.
const SCAN_PERIODS: usize = 32;
/// How long after a scan of all periods the next one begins.
const SCAN_INTERVAL: Duration = Duration::from_secs(600);

/// A chunk that is wanted, in the order in which chunks are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Nodes that hold it, as far as is known without asking.
    holders: usize,
    /// The newest first.
    period: std::cmp::Reverse<u64>,
    chunk: ChunkIndex,
}

impl Rank {
    fn position(&self) -> (u64, ChunkIndex) {
        (self.period.0, self.chunk)
    }
}

/// A chunk that is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    entry: ChunkEntry,
    assigned: Vec<NodeId>,
    not_before: Instant,
}

/// A chunk that is being fetched.
struct Active {
    rank: Rank,
    wanted: Wanted,
    /// With whoever sent each.
    pages: BTreeMap<u32, (NodeId, PageContent)>,
    /// It may be assigned to others by now: not asked for again.
    stale: bool,
}

/// A chunk of which every page is here.
pub struct ObtainedChunk {
    /// Its period.
    pub period: u64,
    /// Its position.
    pub chunk: ChunkIndex,
    /// Its length and id.
    pub entry: ChunkEntry,
    /// Its pages, in order.
    pub pages: Vec<PageContent>,
    /// Who sent them.
    pub sources: BTreeSet<NodeId>,
}

/// The state of chunk repair.
pub struct ChunkRepair {
    patience: Duration,
    wanted: BTreeMap<Rank, Wanted>,
    /// Positions of what is wanted or being fetched.
    known: HashSet<(u64, ChunkIndex)>,
    /// Not all that is missing had room.
    overflowed: bool,
    active: HashMap<u64, Active>,
    next_id: u64,
    /// Periods to be looked at soon.
    look_at: BTreeSet<u64>,
    /// The scan goes on below this period; `None` between two scans.
    scan_below: Option<u64>,
    scanned: Option<Instant>,
    /// The chunk after which scrubbing goes on.
    scrubbed: (u64, u32),
}

impl ChunkRepair {
    /// Nothing wanted yet. A chunk that could not be obtained is asked for again after `patience`.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            wanted: BTreeMap::new(),
            known: HashSet::new(),
            overflowed: false,
            active: HashMap::new(),
            next_id: FIRST_ID,
            look_at: BTreeSet::new(),
            scan_below: None,
            scanned: None,
            scrubbed: (0, 0),
        }
    }

    /// Chunks being fetched, and chunks that wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.active.len(), self.wanted.len())
    }

    /// Chunks that this node lacks, as far as it knows: wanted or being fetched, in no order. At most a few thousand.
    pub fn lacking(&self) -> impl Iterator<Item = (u64, ChunkIndex)> + '_ {
        self.known.iter().copied()
    }

    /// Whether a question is one for a chunk.
    pub fn is_asking(&self, id: u64) -> bool {
        (FIRST_ID..2 * FIRST_ID).contains(&id)
    }

    /// Something changed about a period.
    pub fn look_at(&mut self, period: u64) {
        if self.look_at.len() < WANTED_MAX {
            self.look_at.insert(period);
        }
    }

    /// Other chunks are assigned to this node: looks at all periods again. What is under way is finished, hand-over drops
    /// what came too late; damaged chunks stay wanted.
    pub fn assignments_changed(&mut self) {
        self.wanted.retain(|_, wanted| wanted.assigned.is_empty());
        let wanted = self.wanted.keys().map(Rank::position);
        self.known = wanted
            .chain(self.active.values().map(|active| active.rank.position()))
            .collect();
        self.scan_below = None;
        self.scanned = None;
    }

    /// Looks at the periods that changed, and at a few more, newest first.
    pub fn scan(&mut self, store: &Store, assignments: &Assignments, peers: &[StoragePeer], now: Instant) {
        while let Some(period) = self.look_at.pop_first() {
            self.scan_period(store, assignments, peers, period, now);
        }
        let due = match self.scanned {
            None => true,
            Some(scanned) => now.duration_since(scanned) >= SCAN_INTERVAL,
        };
        let has_room_again = self.overflowed && self.wanted.len() < WANTED_MAX / 2;
        if self.scan_below.is_none() && (due || has_room_again) {
            self.overflowed = false;
            self.scan_below = store.last_period().ok().flatten().map(|last| last + 1);
        }
        for _ in 0..SCAN_PERIODS {
            let Some(below) = self.scan_below else { return };
            let floor = store.floor().max(store.parameters().first_period);
            if below <= floor {
                self.scan_below = None;
                self.scanned = Some(now);
                return;
            }
            self.scan_below = Some(below - 1);
            self.scan_period(store, assignments, peers, below - 1, now);
        }
    }

    fn scan_period(
        &mut self,
        store: &Store,
        assignments: &Assignments,
        peers: &[StoragePeer],
        period: u64,
        now: Instant,
    ) {
        let (Ok(Some(manifest)), Ok(held)) = (store.manifest(period), store.held_chunks(period)) else {
            return;
        };
        let holders = assignments.holders(period, &manifest.chunks);
        for ((entry, index), assigned) in manifest.chunks.iter().zip(0u32..).zip(holders) {
            if assigned.contains(&assignments.own()) && !held.contains(&index) {
                let says_so = |node: &&NodeId| peers.iter().any(|peer| peer.node == **node && claims(peer, period));
                let holders = assigned.iter().filter(says_so).count();
                self.add(period, ChunkIndex(index), *entry, assigned, holders, now);
            }
        }
    }

    /// A chunk has to be fetched again.
    pub fn want(&mut self, period: u64, chunk: ChunkIndex, entry: ChunkEntry, now: Instant) {
        self.add(period, chunk, entry, Vec::new(), 0, now);
    }

    /// What was obtained was false: later again.
    pub fn want_again(&mut self, period: u64, chunk: ChunkIndex, entry: ChunkEntry, now: Instant) {
        self.add(period, chunk, entry, Vec::new(), 0, now + self.patience);
    }

    fn add(
        &mut self,
        period: u64,
        chunk: ChunkIndex,
        entry: ChunkEntry,
        assigned: Vec<NodeId>,
        holders: usize,
        now: Instant,
    ) {
        if self.known.contains(&(period, chunk)) {
            return;
        }
        let rank = Rank {
            holders,
            period: std::cmp::Reverse(period),
            chunk,
        };
        if self.wanted.len() >= WANTED_MAX {
            self.overflowed = true;
            // The least urgent makes room.
            match self.wanted.last_key_value().map(|(last, _)| *last) {
                Some(last) if rank < last => {
                    self.wanted.remove(&last);
                    self.known.remove(&last.position());
                }
                _ => return,
            }
        }
        self.known.insert((period, chunk));
        let wanted = Wanted {
            entry,
            assigned,
            not_before: now,
        };
        self.wanted.insert(rank, wanted);
    }

    /// Questions to ask now, with those who should hold the chunk.
    pub fn due(&mut self, now: Instant) -> Vec<(u64, FetchTarget, Vec<NodeId>)> {
        let room = ACTIVE_MAX.saturating_sub(self.active.len());
        let ready = self.wanted.iter().filter(|(_, wanted)| wanted.not_before <= now);
        let ranks: Vec<Rank> = ready.map(|(rank, _)| *rank).take(room).collect();
        let mut questions = Vec::new();
        for rank in ranks {
            let wanted = self.wanted.remove(&rank).expect("the rank was just read");
            let id = self.next_id;
            self.next_id += 1;
            let target = FetchTarget::Pages {
                period: rank.period.0,
                chunk: rank.chunk,
                entry: wanted.entry,
                pages: 0..wanted.entry.page_count(),
            };
            questions.push((id, target, wanted.assigned.clone()));
            let pages = BTreeMap::new();
            let stale = false;
            self.active.insert(
                id,
                Active {
                    rank,
                    wanted,
                    pages,
                    stale,
                },
            );
        }
        questions
    }

    /// A page arrived.
    pub fn on_page(&mut self, id: u64, from: NodeId, page: VerifiedPage) {
        if let Some(active) = self.active.get_mut(&id) {
            active.pages.insert(page.page(), (from, page.into_content()));
        }
    }

    /// Every page of a chunk arrived; `None` if an answer was lost on the way.
    pub fn on_complete(&mut self, id: u64) -> Option<ObtainedChunk> {
        let active = self.active.remove(&id)?;
        if active.pages.len() as u32 != active.wanted.entry.page_count() {
            self.put_back(active);
            return None;
        }
        self.known.remove(&active.rank.position());
        let sources = active.pages.values().map(|(from, _)| *from).collect();
        Some(ObtainedChunk {
            period: active.rank.period.0,
            chunk: active.rank.chunk,
            entry: active.wanted.entry,
            pages: active.pages.into_values().map(|(_, page)| page).collect(),
            sources,
        })
    }

    /// Nobody had it in time: later again.
    pub fn on_failed(&mut self, id: u64, now: Instant) {
        if let Some(mut active) = self.active.remove(&id) {
            active.wanted.not_before = now + self.patience;
            self.put_back(active);
        }
    }

    fn put_back(&mut self, active: Active) {
        if active.stale {
            // The scan finds it if it is still assigned here.
            self.known.remove(&active.rank.position());
        } else {
            self.wanted.insert(active.rank, active.wanted);
        }
    }

    /// The held chunk that is looked at for damage next; begins again at the end.
    pub fn next_to_scrub(&mut self, store: &Store) -> Option<(u64, ChunkIndex, ChunkEntry)> {
        let (period, chunk) = self.scrubbed;
        let found = next_held(store, period, chunk).or_else(|| next_held(store, 0, 0));
        let (period, chunk, entry) = found?;
        self.scrubbed = (period, chunk.0 + 1);
        Some((period, chunk, entry))
    }
}

/// Whether a peer says that it holds all that is assigned to it in a period.
fn claims(peer: &StoragePeer, period: u64) -> bool {
    let ranges = peer.capabilities.iter().flat_map(|said| &said.ranges);
    !peer.quarantined && { ranges }.any(|range| (range.first_period..=range.last_period).contains(&period))
}

/// The first held chunk at or after a position.
fn next_held(store: &Store, period: u64, chunk: u32) -> Option<(u64, ChunkIndex, ChunkEntry)> {
    let (found_period, found) = store.next_held_chunk(period, ChunkIndex(chunk)).ok()??;
    let manifest: Manifest = store.manifest(found_period).ok()??;
    let entry = *manifest.chunks.get(found.0 as usize)?;
    Some((found_period, found, entry))
}
