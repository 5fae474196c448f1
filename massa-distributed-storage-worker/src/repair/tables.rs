//! Segment tables below the anchor: which are fetched, from whom, and which are believed.
//!
//! Pure: state, input and time in, actions out. A table is believed when its root is the accepted one of its segment, or the
//! `previous` of a believed table of the next segment: so below the oldest accepted root from the top down. What is not
//! believed yet is fetched ahead from many peers at once and kept, bounded in bytes; `previous` is inside the table, so
//! nothing else is needed. Whoever sent a table with another root than the believed one is put in quarantine, and what else it
//! sent is forgotten.
//!
//! Nothing is on disk but the tables themselves: after a restart segments are looked at from the newest accepted one down,
//! some thousands at a time, one row each, and what is missing is fetched.
//!
//! Left out: segments that this node closed otherwise, or has open: they are told ([`TablesPlan::differing`]), and
//! [`super::refetch_segment`] sees to them.

mod ahead;

use self::ahead::{Ahead, Pending};
use super::progress::{Pace, Progress};
use crate::fetch::sources::may_have_table;
use crate::fetch::window::{WindowLimits, Windows};
use crate::fetch::{Asker, RequestIds};
use massa_distributed_storage_exports::network::{FetchTarget, StoragePeer, MAX_FETCH_TABLES};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::time::Instant;

/// Segments looked at in one tick.
pub const SCAN_SEGMENTS: usize = 4096;
/// Tables of one [`TableAction::Put`].
const PUT_TABLES: usize = 256;
/// Segments that differ and are remembered; later ones are found again.
const DIFFERING_MAX: usize = 256;

/// Limits of fetching tables.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Bytes of tables that are in flight, kept unverified, or handed over and not written yet.
    pub ahead_bytes: u64,
    /// Bytes of one request, about.
    pub request_bytes: u64,
    /// Windows of peers.
    pub windows: WindowLimits,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self {
            ahead_bytes: 32 << 20,
            request_bytes: 256 << 10,
            windows: WindowLimits::default(),
        }
    }
}

/// What this node has of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// Nothing, or its rows were given up.
    Nothing,
    /// Rows of blocks, and no table yet.
    Open,
    /// Its table.
    Table {
        /// Its root.
        root: SegmentRoot,
        /// The root of the segment before, as its header has it.
        previous: SegmentRoot,
    },
}

/// What the plan can look at.
pub struct TablesView<'a> {
    /// Now.
    pub now: Instant,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// Accepted segment roots, from this node's own final state.
    pub accepted: &'a BTreeMap<u64, SegmentRoot>,
    /// Segments below it are pruned, or not of this archive.
    pub first_segment: u64,
    /// What is here of a segment. One row is read.
    pub here: &'a dyn Fn(u64) -> Here,
}

/// A table that is believed, and its root.
pub type TrueTable = (SegmentTable, SegmentRoot);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum TableAction {
    /// Ask for something; answers come back with `id`.
    Fetch {
        /// Of the request.
        id: u64,
        /// What to ask for.
        target: FetchTarget,
        /// Whom.
        holders: Vec<NodeId>,
    },
    /// These tables are true, with their roots: write them, then call [`TablesPlan::on_written`].
    Put(Vec<TrueTable>),
    /// This node sent what is proven wrong.
    Quarantine {
        /// Who.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
}

/// Tables asked of one peer.
struct Request {
    segments: Range<u64>,
    node: NodeId,
}

/// The state of fetching tables.
pub struct TablesPlan {
    parameters: ArchiveParameters,
    limits: TableLimits,
    windows: Windows,
    ids: RequestIds,
    /// Segments to be looked at, the highest first.
    scan: VecDeque<Range<u64>>,
    /// All below it was to be looked at.
    top: Option<u64>,
    ahead: Ahead,
    /// Roots of segments that follow from believed tables: one for each run of segments without an accepted root.
    links: BTreeMap<u64, SegmentRoot>,
    requests: HashMap<u64, Request>,
    differing: BTreeMap<u64, SegmentRoot>,
    /// Who sent a table that turned out false, and why it is.
    lies: Vec<(NodeId, String)>,
    /// Accepted roots when tables that are kept were last compared with them.
    accepted: usize,
    /// Handed over, not written yet.
    unwritten: u64,
    pace: Pace,
}

impl TablesPlan {
    /// Nothing looked at yet.
    pub fn new(parameters: ArchiveParameters, limits: TableLimits) -> Self {
        Self {
            ahead: Ahead::new(limits.ahead_bytes, &parameters),
            windows: Windows::new(limits.windows),
            ids: RequestIds::new(Asker::Tables),
            parameters,
            limits,
            scan: VecDeque::new(),
            top: None,
            links: BTreeMap::new(),
            requests: HashMap::new(),
            differing: BTreeMap::new(),
            lies: Vec::new(),
            accepted: 0,
            unwritten: 0,
            pace: Pace::default(),
        }
    }

    /// Looks at all segments again: what was handed over may not have been written, or something was damaged. What was
    /// fetched ahead is forgotten.
    pub fn restart(&mut self) {
        let requests: Vec<u64> = self.requests.drain().map(|(id, _)| id).collect();
        requests.into_iter().for_each(|id| self.windows.on_done(id));
        self.ahead = Ahead::new(self.limits.ahead_bytes, &self.parameters);
        self.scan.clear();
        self.top = None;
        self.links.clear();
        self.differing.clear();
        self.unwritten = 0;
    }

    /// Looks at one segment again: it was replaced.
    pub fn look_again(&mut self, segment: u64) {
        if let Some(root) = self.differing.remove(&segment) {
            self.links.insert(segment, root);
        }
        self.scan.push_front(segment..segment + 1);
    }

    /// Segments whose true root is known and is not what this node has: closed otherwise, or open. With that root.
    pub fn differing(&self) -> &BTreeMap<u64, SegmentRoot> {
        &self.differing
    }

    /// How far it is, in segments.
    pub fn progress(&self, view: &TablesView<'_>) -> Progress {
        let total = self.top.unwrap_or(0).saturating_sub(view.first_segment);
        let unseen: u64 = self.scan.iter().map(|range| range.end - range.start).sum();
        let left = unseen + self.ahead.missing() as u64;
        self.pace.progress(left.min(total), total, view.now)
    }

    /// Bytes in flight, kept unverified, or not written yet.
    pub fn bytes(&self) -> u64 {
        self.windows.in_flight() + self.ahead.bytes() + self.unwritten
    }

    /// Goes on: looks at more segments, asks for what is missing.
    pub fn on_tick(&mut self, view: &TablesView<'_>) -> Vec<TableAction> {
        self.pace.tick(view.now);
        for id in self.windows.overdue(view.now) {
            self.on_failed(id, view.now);
        }
        self.note_accepted(view);
        let mut puts = Vec::new();
        if view.accepted.len() != self.accepted {
            self.accepted = view.accepted.len();
            for segment in self.ahead.segments() {
                self.settle(segment, view, &mut puts);
            }
        }
        self.go_on(puts, view)
    }

    fn go_on(&mut self, mut puts: Vec<TrueTable>, view: &TablesView<'_>) -> Vec<TableAction> {
        self.scan(view, &mut puts);
        let mut actions = self.put(puts);
        actions.extend(self.blame(view.now));
        actions.extend(self.ask(view));
        actions
    }

    /// More roots are accepted: their segments are looked at first.
    fn note_accepted(&mut self, view: &TablesView<'_>) {
        let Some(newest) = view.accepted.last_key_value().map(|(segment, _)| *segment) else {
            return;
        };
        let from = self.top.unwrap_or(view.first_segment).max(view.first_segment);
        if from <= newest {
            self.scan.push_front(from..newest + 1);
        }
        self.top = self.top.max(Some(newest + 1));
    }

    fn scan(&mut self, view: &TablesView<'_>, puts: &mut Vec<TrueTable>) {
        for _ in 0..SCAN_SEGMENTS {
            let Some(range) = self.scan.front_mut() else { return };
            // What is accepted since does not wait for what cannot be believed yet.
            if self.ahead.is_full() && !self.ahead.is_highest(range.end.saturating_sub(1)) {
                return;
            }
            range.start = range.start.max(view.first_segment);
            if range.is_empty() {
                self.scan.pop_front();
                continue;
            }
            range.end -= 1;
            let segment = range.end;
            match (view.here)(segment) {
                Here::Nothing => self.ahead.insert(segment, Pending::wanted()),
                here => self.ahead.insert(segment, Pending::Here(here)),
            }
            self.settle(segment, view, puts);
        }
    }

    /// The true root of a segment, as far as it is known.
    fn expected(&self, segment: u64, view: &TablesView<'_>) -> Option<SegmentRoot> {
        let root = view.accepted.get(&segment).or_else(|| self.links.get(&segment));
        root.copied()
    }

    /// Believes what is known to be true by now, from `segment` down.
    fn settle(&mut self, mut segment: u64, view: &TablesView<'_>, puts: &mut Vec<TrueTable>) {
        while let Some(previous) = self.believe(segment, view, puts) {
            self.links.remove(&segment);
            let Some(before) = segment.checked_sub(1).filter(|before| *before >= view.first_segment) else {
                return;
            };
            if !view.accepted.contains_key(&before) {
                self.links.insert(before, previous);
            }
            segment = before;
        }
    }

    /// Believes one segment if that can be decided, and returns the root of the one before.
    fn believe(&mut self, segment: u64, view: &TablesView<'_>, puts: &mut Vec<TrueTable>) -> Option<SegmentRoot> {
        let expected = self.expected(segment, view)?;
        match self.ahead.get(segment)? {
            Pending::Missing { .. } => None,
            Pending::Held(held) if held.root == expected => {
                let table = self.ahead.take_table(segment)?;
                self.pace.add(1);
                let previous = SegmentRoot::from_bytes(table.header().previous);
                puts.push((table, expected));
                Some(previous)
            }
            Pending::Held(held) => {
                let reason = format!("table of segment {segment} has root {}, not {expected}", held.root);
                self.lies.push((held.from, reason));
                self.ahead.insert(segment, Pending::wanted());
                None
            }
            Pending::Here(Here::Table { root, previous }) if *root == expected => {
                let previous = *previous;
                self.ahead.remove(segment);
                Some(previous)
            }
            Pending::Here(_) => {
                self.ahead.remove(segment);
                self.links.remove(&segment);
                self.note_differing(segment, expected);
                None
            }
        }
    }

    fn note_differing(&mut self, segment: u64, expected: SegmentRoot) {
        self.differing.insert(segment, expected);
        if self.differing.len() > DIFFERING_MAX {
            // The oldest are seen to first; the newest are found again when these are done.
            self.differing.pop_last();
        }
    }

    fn put(&mut self, mut tables: Vec<TrueTable>) -> Vec<TableAction> {
        let mut actions = Vec::new();
        while !tables.is_empty() {
            let rest = tables.split_off(tables.len().min(PUT_TABLES));
            self.unwritten += bytes_of(tables.iter().map(|(table, _)| table));
            actions.push(TableAction::Put(tables));
            tables = rest;
        }
        actions
    }

    /// The tables of a [`TableAction::Put`] are written.
    pub fn on_written(&mut self, tables: &[TrueTable]) {
        let bytes = bytes_of(tables.iter().map(|(table, _)| table));
        self.unwritten = self.unwritten.saturating_sub(bytes);
    }

    /// Asks for what is missing, the highest first.
    fn ask(&mut self, view: &TablesView<'_>) -> Vec<TableAction> {
        let mut actions = Vec::new();
        if !view
            .peers
            .iter()
            .any(|peer| self.windows.has_room(&peer.node, view.now))
        {
            return actions;
        }
        let average = self.ahead.average();
        let at_a_time = (self.limits.request_bytes / average).clamp(1, u64::from(MAX_FETCH_TABLES));
        for run in self.ahead.wanted_runs(at_a_time) {
            let bytes = (run.end - run.start) * average;
            // Without the highest nothing that is kept can be believed: it is asked for in any case.
            let has_room = self.bytes() + bytes <= self.limits.ahead_bytes;
            if !has_room && !self.ahead.is_highest(run.end - 1) {
                break;
            }
            let Some(node) = self.choose(&run, view) else { continue };
            let id = self.ids.next_id();
            self.windows.on_asked(id, node, bytes, view.now);
            self.ahead.mark_asked(&run, id);
            actions.push(TableAction::Fetch {
                id,
                target: FetchTarget::Tables {
                    first_segment: run.start,
                    count: (run.end - run.start) as u32,
                },
                holders: vec![node],
            });
            self.requests.insert(id, Request { segments: run, node });
        }
        actions
    }

    /// The peer with the most room that may have these tables and did not fail to send the first of them.
    fn choose(&mut self, run: &Range<u64>, view: &TablesView<'_>) -> Option<NodeId> {
        let may_have = |peer: &&StoragePeer| {
            let has = |segment| may_have_table(peer, &self.parameters, segment);
            has(run.start) && has(run.end - 1)
        };
        let useful: Vec<NodeId> = view.peers.iter().filter(may_have).map(|peer| peer.node).collect();
        let avoid = self.ahead.avoided(run.end - 1);
        if !useful.is_empty() && useful.iter().all(|node| avoid.contains(node)) {
            // Everybody was asked: begin again, each at the pace that its failures leave it.
            self.ahead.clear_avoided(run);
        }
        let avoid = self.ahead.avoided(run.end - 1);
        let has_room = |node: &NodeId| self.windows.has_room(node, view.now) && !avoid.contains(node);
        let with_room = useful.into_iter().filter(has_room);
        with_room.min_by_key(|node| self.windows.load(node))
    }

    /// Some of the tables of a request arrived.
    pub fn on_tables(
        &mut self,
        id: u64,
        from: NodeId,
        (first_segment, tables): (u64, Vec<SegmentTable>),
        view: &TablesView<'_>,
    ) -> Vec<TableAction> {
        let Some(asked) = self.requests.get(&id).map(|request| request.segments.clone()) else {
            return Vec::new();
        };
        self.windows.on_bytes(id, from, bytes_of(tables.iter()), view.now);
        for (table, segment) in tables.into_iter().zip(first_segment..) {
            if !asked.contains(&segment) || !self.ahead.is_missing(segment) {
                continue;
            }
            if let Err(reason) = self.take(segment, from, table) {
                self.lies.push((from, reason));
                break;
            }
        }
        let mut puts = Vec::new();
        for segment in asked.rev() {
            self.settle(segment, view, &mut puts);
        }
        let mut actions = self.put(puts);
        actions.extend(self.blame(view.now));
        actions
    }

    /// Keeps a table; [`TablesPlan::believe`] decides about it.
    fn take(&mut self, segment: u64, from: NodeId, table: SegmentTable) -> Result<(), String> {
        let checked = table.check_network(&self.parameters, segment);
        checked.map_err(|error| format!("table of segment {segment}: {error}"))?;
        let root = table.root();
        if self.ahead.contradicts(segment, from, &table, root) {
            return Err(format!(
                "tables around segment {segment} do not name each other's roots"
            ));
        }
        self.ahead.hold(segment, from, table, root);
        Ok(())
    }

    /// All that a liar sent and that is not believed yet is forgotten.
    fn blame(&mut self, now: Instant) -> Vec<TableAction> {
        let mut actions: Vec<TableAction> = Vec::new();
        for (node, reason) in std::mem::take(&mut self.lies) {
            self.ahead.forget_from(node);
            let of_node = self.requests.iter().filter(|(_, request)| request.node == node);
            let ids: Vec<u64> = of_node.map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.on_failed(id, now));
            actions.push(TableAction::Quarantine { node, reason });
        }
        actions
    }

    /// Everything of a request was answered: what is still missing of it the peer does not have.
    pub fn on_complete(&mut self, id: u64, view: &TablesView<'_>) -> Vec<TableAction> {
        if let Some(request) = self.requests.remove(&id) {
            self.windows.on_done(id);
            self.ahead.unmark(&request.segments, id, request.node);
        }
        self.go_on(Vec::new(), view)
    }

    /// A request failed, or could not be sent.
    pub fn on_failed(&mut self, id: u64, now: Instant) {
        if let Some(request) = self.requests.remove(&id) {
            self.windows.on_failed(id, now);
            self.ahead.unmark(&request.segments, id, request.node);
        }
    }
}

fn bytes_of<'a>(tables: impl Iterator<Item = &'a SegmentTable>) -> u64 {
    tables.map(|table| SegmentTable::length_of(table.header()) as u64).sum()
}
