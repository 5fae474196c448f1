//! Chunks whose pages arrive: in memory until each is whole, bounded in bytes.
//!
//! What arrived before a request failed is kept, and only the rest is asked of others. A page was checked down to its chunk id
//! before it came here; the entry of the period that reaches into the chunk is checked here against the period's root. Used by
//! [`super::ChunksPlan`] and by the plan that fetches a whole segment again.

use crate::fetch::sources::{in_order, HOLDERS_MAX};
use crate::fetch::window::{WindowLimits, Windows};
use crate::fetch::{Asker, RequestIds};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{
    FetchFailure, FetchTarget, StoragePeer, VerifiedPage, MAX_PAGE_SIGNATURES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::{ChunkPosition, PeriodRoot};
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// Requests for what is left of a chunk before it is put back.
const TRIES: u32 = 4;
/// Requests at a time that only nodes can answer which are not connected.
const DIALS_MAX: usize = 16;

/// A period whose bytes begin before a chunk and reach into it: its entry is kept with the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaching {
    /// The period.
    pub period: u64,
    /// Its root, from the segment's table.
    pub root: PeriodRoot,
}

/// A chunk that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedChunk {
    /// Where it stands.
    pub position: ChunkPosition,
    /// Length and id, from a table that is trusted.
    pub chunk: TableChunk,
    /// The period that reaches in from before it, if one does.
    pub reaching: Option<Reaching>,
    /// Who should hold it, best first, then who held it before.
    pub assigned: Vec<NodeId>,
}

/// A chunk of which everything is here.
#[derive(Clone, Debug, PartialEq)]
pub struct ObtainedChunk {
    /// Where it stands.
    pub position: ChunkPosition,
    /// Length and id.
    pub chunk: TableChunk,
    /// Its pages, in order. Signatures beside them are not checked.
    pub pages: Vec<VerifiedPage>,
    /// Who sent them.
    pub sources: BTreeSet<NodeId>,
    /// The entry of the period that reaches in from before it, and who sent it: ids are true, offsets are not checked.
    pub entry: Option<(NodeId, PeriodEntry)>,
}

/// A request for the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkFetch {
    /// Of the request.
    pub id: u64,
    /// What to ask for.
    pub target: FetchTarget,
    /// Whom, in this order.
    pub holders: Vec<NodeId>,
}

/// What came of an answer.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Chunks that are whole.
    pub(crate) obtained: Vec<ObtainedChunk>,
    /// Chunks that nobody sent.
    pub(crate) given_up: Vec<WantedChunk>,
    /// Who sent what is proven wrong, and what.
    pub(crate) liars: Vec<(NodeId, String)>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pages,
    Entry,
}

struct Download {
    wanted: WantedChunk,
    pages: BTreeMap<u32, (NodeId, VerifiedPage)>,
    entry: Option<(NodeId, PeriodEntry)>,
    /// Requests under way.
    pages_asked: Option<u64>,
    entry_asked: Option<u64>,
    /// Who failed to send it.
    avoid: Vec<NodeId>,
    tries: u32,
    /// Whether something arrived since it was asked for last.
    progressed: bool,
}

impl Download {
    fn asked(&mut self, part: Part) -> &mut Option<u64> {
        match part {
            Part::Pages => &mut self.pages_asked,
            Part::Entry => &mut self.entry_asked,
        }
    }

    /// The first pages that are missing, without a gap.
    fn missing_pages(&self) -> std::ops::Range<u32> {
        let count = self.wanted.chunk.page_count();
        let first = (0..count).find(|page| !self.pages.contains_key(page)).unwrap_or(count);
        let end = self.pages.range(first..).next().map_or(count, |(page, _)| *page);
        first..end
    }

    fn lacks(&self, part: Part) -> bool {
        match part {
            Part::Pages => !self.missing_pages().is_empty(),
            Part::Entry => self.wanted.reaching.is_some() && self.entry.is_none(),
        }
    }

    /// A request did not bring everything. Whoever sent a part may send the rest.
    fn count_try(&mut self, failed: &[NodeId]) {
        if std::mem::take(&mut self.progressed) {
            self.tries = 1;
            self.avoid.clear();
        } else {
            self.tries += 1;
            self.avoid.extend(failed);
        }
    }

    fn is_whole(&self) -> bool {
        !self.lacks(Part::Pages) && !self.lacks(Part::Entry)
    }

    fn into_obtained(self) -> ObtainedChunk {
        ObtainedChunk {
            position: self.wanted.position,
            chunk: self.wanted.chunk,
            sources: self.pages.values().map(|(from, _)| *from).collect(),
            pages: self.pages.into_values().map(|(_, page)| page).collect(),
            entry: self.entry,
        }
    }
}

/// Bytes that a chunk may take here until it is written: plain and stored form of its pages, and signatures.
pub(crate) fn memory_of(chunk: &TableChunk) -> u64 {
    let signatures = chunk.page_count() as usize * MAX_PAGE_SIGNATURES * TaggedSignature::SIZE_BYTES;
    2 * u64::from(chunk.length) + signatures as u64
}

/// Chunks that are being fetched.
pub(crate) struct Downloads {
    chain_id: u64,
    bytes_max: u64,
    windows: Windows,
    ids: RequestIds,
    active: BTreeMap<ChunkPosition, Download>,
    requests: HashMap<u64, (ChunkPosition, Part)>,
    /// Those of which nothing arrived, and that only nodes can answer which are not connected.
    dialing: BTreeSet<u64>,
    /// Handed over and not written yet.
    unwritten: BTreeMap<ChunkPosition, u64>,
    /// Bytes that all of them may take.
    reserved: u64,
    /// What is sent of a thousand bytes, on average over the last pages.
    packed: u64,
}

impl Downloads {
    pub(crate) fn new(asker: Asker, chain_id: u64, bytes_max: u64, windows: WindowLimits) -> Self {
        Self {
            chain_id,
            bytes_max,
            windows: Windows::new(windows),
            ids: RequestIds::new(asker),
            active: BTreeMap::new(),
            requests: HashMap::new(),
            dialing: BTreeSet::new(),
            unwritten: BTreeMap::new(),
            reserved: 0,
            packed: 1000,
        }
    }

    /// Chunks being fetched.
    pub(crate) fn len(&self) -> usize {
        self.active.len()
    }

    /// Bytes that what is fetched and not written may take.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Bytes a second that arrive.
    pub(crate) fn rate(&self) -> u64 {
        self.windows.rate()
    }

    /// Chunks being fetched.
    pub(crate) fn active(&self) -> impl Iterator<Item = ChunkPosition> + '_ {
        self.active.keys().copied()
    }

    /// Chunks being fetched or not written yet.
    pub(crate) fn positions(&self) -> impl Iterator<Item = ChunkPosition> + '_ {
        self.active.keys().chain(self.unwritten.keys()).copied()
    }

    /// Whether there is memory for a chunk. One may be larger than all that is allowed.
    pub(crate) fn has_memory(&self, chunk: &TableChunk) -> bool {
        self.reserved == 0 || self.reserved + memory_of(chunk) <= self.bytes_max
    }

    /// Whether some connected peer may be asked for something.
    pub(crate) fn has_room(&self, peers: &[StoragePeer], now: Instant) -> bool {
        let has_room = |peer: &StoragePeer| !peer.quarantined && self.windows.has_room(&peer.node, now);
        self.dialing.len() < DIALS_MAX || peers.iter().any(has_room)
    }

    /// Begins to fetch a chunk, unless nobody who may have it has room. The caller looked whether there is memory.
    pub(crate) fn start(&mut self, wanted: WantedChunk, peers: &[StoragePeer], now: Instant) -> Vec<ChunkFetch> {
        if self.active.contains_key(&wanted.position) || self.holders(&wanted, &[], 0, (peers, now)).is_none() {
            return Vec::new();
        }
        self.reserved += memory_of(&wanted.chunk);
        let position = wanted.position;
        let download = Download {
            wanted,
            pages: BTreeMap::new(),
            entry: None,
            pages_asked: None,
            entry_asked: None,
            avoid: Vec::new(),
            tries: 0,
            progressed: false,
        };
        self.active.insert(position, download);
        self.ask_for(position, peers, now)
    }

    /// Asks again for what is missing of the chunks that are being fetched.
    pub(crate) fn ask(&mut self, peers: &[StoragePeer], now: Instant) -> Vec<ChunkFetch> {
        let idle = |download: &Download| {
            (download.pages_asked.is_none() && download.lacks(Part::Pages))
                || (download.entry_asked.is_none() && download.lacks(Part::Entry))
        };
        let positions = self.active.iter().filter(|(_, download)| idle(download));
        let positions: Vec<ChunkPosition> = positions.map(|(position, _)| *position).collect();
        let mut fetches = Vec::new();
        for position in positions {
            fetches.extend(self.ask_for(position, peers, now));
        }
        fetches
    }

    fn ask_for(&mut self, position: ChunkPosition, peers: &[StoragePeer], now: Instant) -> Vec<ChunkFetch> {
        let mut fetches = Vec::new();
        for part in [Part::Pages, Part::Entry] {
            let Some(download) = self.active.get(&position) else {
                break;
            };
            let asked = match part {
                Part::Pages => download.pages_asked,
                Part::Entry => download.entry_asked,
            };
            if asked.is_some() || !download.lacks(part) {
                continue;
            }
            let holders = self.holders(&download.wanted, &download.avoid, download.tries, (peers, now));
            let Some(holders) = holders else { break };
            let dials = !peers.iter().any(|peer| holders.contains(&peer.node));
            let fetch = self.request(position, part, holders, now);
            self.dialing
                .extend(fetch.iter().filter(|_| dials).map(|fetch| fetch.id));
            fetches.extend(fetch);
        }
        fetches
    }

    fn request(
        &mut self,
        position: ChunkPosition,
        part: Part,
        holders: Vec<NodeId>,
        now: Instant,
    ) -> Option<ChunkFetch> {
        let download = self.active.get_mut(&position)?;
        let (target, bytes) = match part {
            Part::Pages => {
                let (chunk, pages) = (download.wanted.chunk, download.missing_pages());
                let lengths = pages.clone().map(|page| chunk.page_length(page) as u64);
                let bytes = lengths.sum::<u64>() * self.packed / 1000;
                (FetchTarget::Pages { position, chunk, pages }, bytes)
            }
            Part::Entry => {
                let first_period = download.wanted.reaching?.period;
                let count = 1;
                (FetchTarget::Entries { first_period, count }, 1)
            }
        };
        let id = self.ids.next_id();
        *download.asked(part) = Some(id);
        self.requests.insert(id, (position, part));
        self.windows.on_asked(id, *holders.first()?, bytes, now);
        Some(ChunkFetch { id, target, holders })
    }

    /// Whom to ask: connected ones that should hold it and have room, the least busy first; then those that are not connected,
    /// and from the second try on everybody else. `None` while those who could be asked have no room.
    fn holders(
        &self,
        wanted: &WantedChunk,
        avoid: &[NodeId],
        tries: u32,
        (peers, now): (&[StoragePeer], Instant),
    ) -> Option<Vec<NodeId>> {
        let is_connected = |node: &NodeId| peers.iter().any(|peer| peer.node == *node);
        let mut all = in_order(&wanted.assigned, peers, avoid);
        if all.is_empty() {
            // Everybody failed once.
            all = in_order(&wanted.assigned, peers, &[]);
        }
        let is_assigned = |node: &NodeId| wanted.assigned.contains(node);
        if tries == 0 && all.iter().any(is_assigned) {
            all.retain(is_assigned);
        }
        let (mut connected, others): (Vec<NodeId>, Vec<NodeId>) = all.into_iter().partition(is_connected);
        let any_connected = !connected.is_empty();
        connected.retain(|node| self.windows.has_room(node, now));
        connected.sort_by_key(|node| (!is_assigned(node), self.windows.load(node)));
        if connected.is_empty() && (any_connected || self.dialing.len() >= DIALS_MAX) {
            return None;
        }
        connected.extend(others);
        connected.truncate(HOLDERS_MAX);
        (!connected.is_empty()).then_some(connected)
    }

    /// A page arrived.
    pub(crate) fn on_page(&mut self, id: u64, from: NodeId, page: VerifiedPage, now: Instant) {
        let Some((position, Part::Pages)) = self.requests.get(&id).copied() else {
            return;
        };
        let sent = (page.stored().len() + page.signatures().len()) as u64;
        self.packed = (self.packed * 31 + 1000 * sent / page.plain().len().max(1) as u64) / 32;
        self.windows.on_bytes(id, from, sent, now);
        self.dialing.remove(&id);
        if let Some(download) = self.active.get_mut(&position) {
            download.pages.entry(page.page()).or_insert((from, page));
            download.progressed = true;
        }
    }

    /// An entry arrived; whoever sent one that is not the period's lied.
    pub(crate) fn on_entries(&mut self, id: u64, from: NodeId, entries: Vec<PeriodEntry>, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let Some((position, Part::Entry)) = self.requests.get(&id).copied() else {
            return outcome;
        };
        self.windows.on_bytes(id, from, 1, now);
        let (Some(download), Some(entry)) = (self.active.get_mut(&position), entries.into_iter().next()) else {
            return outcome;
        };
        let Some(Reaching { period, root }) = download.wanted.reaching else {
            return outcome;
        };
        let found = entry.root(self.chain_id, period);
        if found == root {
            download.entry = Some((from, entry));
        } else {
            download.avoid.push(from);
            let reason = format!("entry of period {period} has root {found}, not {root}");
            outcome.liars.push((from, reason));
        }
        outcome
    }

    /// Everything of a request was answered.
    pub(crate) fn on_complete(&mut self, id: u64) -> Outcome {
        self.windows.on_done(id);
        self.end_request(id, &[])
    }

    /// A request failed: what each of those asked did.
    pub(crate) fn on_failed(&mut self, id: u64, attempts: &[(NodeId, FetchFailure)], now: Instant) -> Outcome {
        let answered = |(_, failure): &(NodeId, FetchFailure)| !matches!(failure, FetchFailure::Timeout);
        if !attempts.is_empty() && attempts.iter().all(answered) {
            self.windows.on_done(id);
        } else {
            self.windows.on_failed(id, now);
        }
        let asked: Vec<NodeId> = attempts.iter().map(|(node, _)| *node).collect();
        self.end_request(id, &asked)
    }

    /// Requests whose answers were lost.
    pub(crate) fn on_tick(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for id in self.windows.overdue(now) {
            let late = self.windows.asked(id);
            self.windows.on_failed(id, now);
            let of_request = self.end_request(id, &late.into_iter().collect::<Vec<_>>());
            outcome.obtained.extend(of_request.obtained);
            outcome.given_up.extend(of_request.given_up);
        }
        outcome
    }

    fn end_request(&mut self, id: u64, failed: &[NodeId]) -> Outcome {
        let mut outcome = Outcome::default();
        self.dialing.remove(&id);
        let Some((position, part)) = self.requests.remove(&id) else {
            return outcome;
        };
        let Some(download) = self.active.get_mut(&position) else {
            return outcome;
        };
        *download.asked(part) = None;
        if download.lacks(part) {
            download.count_try(failed);
            if download.tries >= TRIES {
                outcome.given_up.extend(self.give_up(position));
            }
        } else if download.is_whole() {
            if let Some(download) = self.active.remove(&position) {
                self.unwritten.insert(position, memory_of(&download.wanted.chunk));
                outcome.obtained.push(download.into_obtained());
            }
        }
        outcome
    }

    /// Stops fetching a chunk.
    pub(crate) fn give_up(&mut self, position: ChunkPosition) -> Option<WantedChunk> {
        let download = self.active.remove(&position)?;
        self.reserved = self.reserved.saturating_sub(memory_of(&download.wanted.chunk));
        for id in [download.pages_asked, download.entry_asked].into_iter().flatten() {
            self.requests.remove(&id);
            self.dialing.remove(&id);
            self.windows.on_done(id);
        }
        Some(download.wanted)
    }

    /// Stops fetching; what was handed over keeps its memory.
    pub(crate) fn stop(&mut self) {
        let positions: Vec<ChunkPosition> = self.active.keys().copied().collect();
        positions.into_iter().for_each(|position| drop(self.give_up(position)));
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.stop();
        self.unwritten.clear();
        self.reserved = 0;
    }

    /// An obtained chunk is written, or was refused: its memory is free.
    pub(crate) fn on_written(&mut self, position: ChunkPosition) {
        if let Some(bytes) = self.unwritten.remove(&position) {
            self.reserved = self.reserved.saturating_sub(bytes);
        }
    }
}
