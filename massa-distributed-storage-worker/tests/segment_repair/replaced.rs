//! Lost periods, segments whose true root is another, and how fast held chunks are looked at.

use crate::chunks::{Content, Holder};
use crate::network::{Answer, Links, Network, Piece};
use massa_distributed_storage_exports::network::{Capabilities, FetchEvent, FetchFailure, FetchTarget};
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::repair::chunks::download::WantedChunk;
use massa_distributed_storage_worker::repair::lost_segment::{
    BlockedSegment, FinalRounds, LossPlan, LossView, NotLost,
};
use massa_distributed_storage_worker::repair::refetch_segment::{
    RefetchAction, RefetchLimits, RefetchPlan, RefetchView,
};
use massa_distributed_storage_worker::repair::scrub::{ScrubLimits, ScrubPlan};
use massa_distributed_storage_worker::repair::tables::Here;
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::secure_share::Id;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SEGMENT_PERIODS: u64 = 10;
/// Segments of a round.
const ROUND_SEGMENTS: u64 = 4;
const ROUND: u64 = SEGMENT_PERIODS * ROUND_SEGMENTS;

fn parameters() -> ArchiveParameters {
    ArchiveParameters {
        segment_periods: SEGMENT_PERIODS,
        chunk_size: 65_536,
        ..ArchiveParameters::new(77, 4)
    }
}

fn block(number: u8) -> Option<BlockId> {
    Some(BlockId::new(Hash::from_bytes(&[number; 32])))
}

/// Segment 6 of round 1, of which periods 62 and 65 are open.
fn blocked() -> BlockedSegment {
    BlockedSegment {
        segment: 6,
        periods: vec![
            (62, Some(vec![block(1), None, None, block(2)])),
            (65, Some(vec![None, block(3), None, None])),
        ],
    }
}

struct Losing {
    plan: LossPlan,
    now: Instant,
    accepted: BTreeMap<u64, SegmentRoot>,
    blocked: Option<BlockedSegment>,
    /// Since when nobody has a period.
    nowhere_since: BTreeMap<u64, Instant>,
}

impl Losing {
    fn new() -> Self {
        Self {
            plan: LossPlan::new(&parameters()),
            now: Instant::now(),
            accepted: BTreeMap::new(),
            blocked: Some(blocked()),
            nowhere_since: BTreeMap::new(),
        }
    }

    fn decide(&mut self, final_period: u64) -> Result<(Vec<u64>, u64), NotLost> {
        self.now += Duration::from_secs(1);
        let nowhere = &self.nowhere_since;
        let view = LossView {
            now: self.now,
            rounds: FinalRounds {
                period: final_period,
                round_periods: ROUND,
                accepted: &self.accepted,
            },
            blocked: self.blocked.as_ref(),
            no_holder_since: &|period, _, since| nowhere.get(&period).is_some_and(|at| *at >= since),
        };
        let candidate = self.plan.decide(&view)?;
        assert!(candidate.lost.iter().all(|(_, entry)| entry.is_lost()));
        Ok((
            candidate.lost.iter().map(|(period, _)| *period).collect(),
            candidate.vote_from_round,
        ))
    }
}

/// The last period of the answer window of round 2, the one after that of segment 6.
const WINDOW_ENDS: u64 = 2 * ROUND + ROUND / 2;

#[test]
fn lost_after_the_window_of_the_round_after_its_own_and_voted_a_round_later() {
    let mut losing = Losing::new();
    let soon = losing.now + Duration::from_secs(100);
    losing.nowhere_since = BTreeMap::from([(62, soon), (65, soon)]);
    assert_eq!(losing.decide(WINDOW_ENDS), Err(NotLost::WindowOpen));
    assert_eq!(losing.decide(WINDOW_ENDS + 1), Ok((vec![62, 65], 3)));
}

#[test]
fn every_segment_of_a_round_waits_for_the_same_window() {
    for segment in 4..8 {
        let mut losing = Losing::new();
        losing.blocked = Some(BlockedSegment {
            segment,
            periods: vec![(segment * SEGMENT_PERIODS, Some(vec![block(1)]))],
        });
        assert_eq!(losing.decide(WINDOW_ENDS), Err(NotLost::WindowOpen));
        assert_eq!(
            losing.decide(WINDOW_ENDS + 1),
            Err(NotLost::NotAsked(segment * SEGMENT_PERIODS))
        );
    }
}

#[test]
fn peers_must_have_been_asked_since_the_window_was_over() {
    let mut losing = Losing::new();
    losing.nowhere_since = BTreeMap::from([(62, losing.now), (65, losing.now)]);
    assert_eq!(losing.decide(WINDOW_ENDS + 1), Err(NotLost::NotAsked(62)));
    losing.nowhere_since.insert(62, losing.now);
    assert_eq!(losing.decide(WINDOW_ENDS + 2), Err(NotLost::NotAsked(65)));
    losing.nowhere_since.insert(65, losing.now);
    assert!(losing.decide(WINDOW_ENDS + 3).is_ok());
    // Another segment begins anew.
    losing.blocked.as_mut().unwrap().segment = 5;
    assert_eq!(losing.decide(WINDOW_ENDS + 4), Err(NotLost::NotAsked(62)));
}

#[test]
fn nothing_is_lost_that_is_accepted_unknown_or_empty() {
    let mut losing = Losing::new();
    losing.accepted.insert(6, SegmentRoot::from_bytes([1; 32]));
    assert_eq!(losing.decide(WINDOW_ENDS + 1), Err(NotLost::Accepted));
    losing.accepted.clear();
    losing.blocked.as_mut().unwrap().periods[0].1 = None;
    assert_eq!(losing.decide(WINDOW_ENDS + 1), Err(NotLost::IdsUnknown(62)));
    losing.blocked.as_mut().unwrap().periods[0].1 = Some(vec![None; 4]);
    assert_eq!(losing.decide(WINDOW_ENDS + 1), Err(NotLost::NothingLost(62)));
    losing.blocked = None;
    assert_eq!(losing.decide(WINDOW_ENDS + 1), Err(NotLost::NothingBlocked));
}

/// A node whose segment 6 is not as it is accepted.
struct Refetching {
    plan: RefetchPlan,
    network: Network,
    content: Rc<Content>,
    table: SegmentTable,
    here: Here,
    wanted: Option<(u64, SegmentRoot)>,
    candidate: Option<SegmentRoot>,
    /// Who should hold the chunks.
    assigned: Vec<NodeId>,
    lacking_asked: Cell<u32>,
    /// Whether to go on once it is replaced.
    goes_on: bool,
    done: Vec<RefetchAction>,
    memory_max: u64,
}

const CHUNKS: u32 = 3;

fn table(content: &Content, domain: u8) -> SegmentTable {
    let parameters = parameters();
    let body_length = u64::from(content.chunk.length * CHUNKS);
    let header = SegmentHeader {
        chain_id: parameters.chain_id,
        segment: 6,
        first_period: 60,
        periods: SEGMENT_PERIODS as u32,
        threads: parameters.thread_count,
        chunk_size: parameters.chunk_size,
        body_length,
        bytes_before: 0,
        previous: [domain; 32],
    };
    let row = |period: u64| TablePeriod {
        length: if period == 69 { (body_length - 9) as u32 } else { 1 },
        root: PeriodRoot::from_bytes([period as u8; 32]),
    };
    let ids = vec![content.chunk.id; CHUNKS as usize];
    SegmentTable::new(header, (60..70).map(row).collect(), ids).unwrap()
}

fn positions() -> impl Iterator<Item = ChunkPosition> {
    (0..CHUNKS).map(|index| ChunkPosition::new(6, index).unwrap())
}

impl Refetching {
    fn new(limits: RefetchLimits) -> Self {
        let content = Rc::new(Content::new(65_536));
        let table = table(&content, 1);
        let root = table.root();
        Self {
            plan: RefetchPlan::new(parameters(), limits),
            network: Network::new(Links::new(20, 1 << 20, 1 << 22), 7),
            content,
            table,
            here: Here::Table {
                root: SegmentRoot::from_bytes([9; 32]),
                previous: SegmentRoot::from_bytes([1; 32]),
            },
            wanted: Some((6, root)),
            candidate: None,
            assigned: Vec::new(),
            lacking_asked: Cell::new(0),
            goes_on: false,
            done: Vec::new(),
            memory_max: 0,
        }
    }

    /// A peer with this table, and the chunks.
    fn add(&mut self, table: Option<SegmentTable>, holder: Holder) -> NodeId {
        let content = Rc::clone(&self.content);
        let serve = move |id: u64, target: &FetchTarget, from: NodeId| match (target, &table) {
            (FetchTarget::Tables { first_segment, .. }, Some(table)) => {
                let event = FetchEvent::Tables {
                    id,
                    from,
                    first_segment: *first_segment,
                    tables: vec![table.clone()],
                };
                Answer::Whole(vec![Piece { bytes: 1_000, event }])
            }
            (FetchTarget::Tables { .. }, None) => Answer::refusal(FetchFailure::NotYet),
            _ => holder.answer(&content, id, target, from),
        };
        let capabilities = Capabilities {
            newest_segment: Some(10),
            ..Capabilities::default()
        };
        let node = self.network.add(capabilities, Box::new(serve));
        self.assigned.push(node);
        node
    }

    fn with_view<T>(&mut self, decide: impl FnOnce(&mut RefetchPlan, &RefetchView<'_>) -> T) -> T {
        let peers = self.network.storage_peers();
        let lacking = |table: &SegmentTable| {
            self.lacking_asked.set(self.lacking_asked.get() + 1);
            let wanted = |position: ChunkPosition| WantedChunk {
                position,
                chunk: table.chunk(position.index.0).unwrap(),
                reaching: None,
                assigned: self.assigned.clone(),
            };
            positions().map(wanted).collect()
        };
        let view = RefetchView {
            now: self.network.now(),
            peers: &peers,
            wanted: self.wanted,
            here: &|_| self.here,
            is_candidate: &|_, root| self.candidate == Some(root),
            lacking: &lacking,
        };
        decide(&mut self.plan, &view)
    }

    fn run(&mut self, time: Duration) {
        let end = self.network.elapsed() + time;
        while self.network.elapsed() < end && (self.goes_on || self.replaced().is_none()) {
            let actions = self.with_view(|plan, view| plan.on_tick(view));
            self.carry_out(actions);
            let until = self.network.elapsed() + Duration::from_millis(100);
            while let Some(event) = self.network.next_event(until) {
                let now = self.network.now();
                let actions = match event {
                    FetchEvent::Tables { id, from, tables, .. } => {
                        self.with_view(|plan, view| plan.on_tables(id, from, tables, view))
                    }
                    FetchEvent::Page { id, from, page } => {
                        self.plan.on_page(id, from, page, now);
                        Vec::new()
                    }
                    FetchEvent::Entries { id, from, entries, .. } => self.plan.on_entries(id, from, entries, now),
                    FetchEvent::Complete { id } => self.plan.on_complete(id, now),
                    FetchEvent::Failed { id, attempts } => self.plan.on_failed(id, &attempts, now),
                    _ => Vec::new(),
                };
                self.carry_out(actions);
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<RefetchAction>) {
        self.memory_max = self.memory_max.max(self.plan.memory());
        for action in actions {
            match action {
                RefetchAction::Fetch(fetch) => self.network.fetch(fetch.id, fetch.target, fetch.holders),
                RefetchAction::Quarantine { node, reason } => self.network.quarantine(node, reason),
                done => self.done.push(done),
            }
        }
    }

    /// Chunks of the one replacement.
    fn replaced(&self) -> Option<usize> {
        match &self.done[..] {
            [RefetchAction::Replace { table, chunks }] => {
                assert_eq!(**table, self.table);
                Some(chunks.len())
            }
            _ => None,
        }
    }
}

fn limits() -> RefetchLimits {
    RefetchLimits {
        patience: Duration::from_secs(2),
        ..RefetchLimits::default()
    }
}

#[test]
fn table_and_chunks_are_fetched_and_replaced_at_once() {
    let mut node = Refetching::new(limits());
    node.add(None, Holder::of(positions()));
    let table = node.table.clone();
    node.add(Some(table), Holder::default());
    node.run(Duration::from_secs(3));
    assert_eq!(node.replaced(), Some(CHUNKS as usize));
    assert_eq!(node.lacking_asked.get(), 1);
    node.plan.on_replaced(6);
    (node.wanted, node.goes_on) = (None, true);
    node.run(Duration::from_secs(1));
    assert_eq!((node.plan.segment(), node.plan.memory()), (None, 0));
}

#[test]
fn a_false_table_is_its_senders_fault() {
    let mut node = Refetching::new(limits());
    let other = table(&node.content, 50);
    let liar = node.add(Some(other), Holder::default());
    let table = node.table.clone();
    node.add(Some(table), Holder::of(positions()));
    node.run(Duration::from_secs(3));
    assert_eq!(node.network.quarantined.keys().collect::<Vec<_>>(), [&liar]);
    assert_eq!(node.replaced(), Some(CHUNKS as usize));
}

#[test]
fn memory_bounds_what_is_replaced_at_once() {
    let bytes = 300_000;
    let mut node = Refetching::new(RefetchLimits { bytes, ..limits() });
    let table = node.table.clone();
    node.add(Some(table), Holder::of(positions()));
    node.run(Duration::from_secs(3));
    assert_eq!(node.replaced(), Some(1), "the others follow as chunks that are missing");
    assert!(node.memory_max <= bytes);
}

#[test]
fn chunks_that_nobody_sends_do_not_keep_the_table_waiting_for_ever() {
    let mut node = Refetching::new(limits());
    let table = node.table.clone();
    let first = positions().next();
    node.add(Some(table), Holder::of(first));
    node.run(Duration::from_secs(40));
    assert_eq!(node.replaced(), Some(1));
}

#[test]
fn an_own_candidate_is_entered_without_asking_anybody() {
    let mut node = Refetching::new(limits());
    node.here = Here::Open;
    node.candidate = Some(node.table.root());
    let table = node.table.clone();
    node.add(Some(table), Holder::of(positions()));
    node.run(Duration::from_secs(1));
    let root = node.table.root();
    assert_eq!(node.done, [RefetchAction::EnterCandidate { segment: 6, root }]);
    assert!(node.network.asked.is_empty());
}

#[test]
fn an_open_segment_may_complete_by_itself_first() {
    let mut node = Refetching::new(limits());
    node.here = Here::Open;
    let table = node.table.clone();
    node.add(Some(table), Holder::of(positions()));
    node.run(Duration::from_secs(5));
    assert!(node.network.asked.is_empty());
    node.run(Duration::from_secs(4));
    assert_eq!(node.replaced(), Some(CHUNKS as usize));
}

#[test]
fn when_nobody_has_the_table_the_wait_doubles() {
    let mut node = Refetching::new(limits());
    node.add(None, Holder::default());
    node.run(Duration::from_secs(20));
    let waits: Vec<u64> = node
        .done
        .iter()
        .map(|action| match action {
            RefetchAction::NobodyHas { wait, .. } => wait.as_secs(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(waits, [2, 4, 8, 16]);
}

#[test]
fn a_silent_peer_is_passed_over() {
    let mut node = Refetching::new(limits());
    node.network.add(
        Capabilities {
            newest_segment: Some(10),
            ..Capabilities::default()
        },
        Box::new(|_, _, _| Answer::Silence),
    );
    let table = node.table.clone();
    node.add(Some(table), Holder::of(positions()));
    node.run(Duration::from_secs(10));
    assert_eq!(node.replaced(), Some(CHUNKS as usize));
    assert!(node.network.quarantined.is_empty());
}

#[test]
fn a_replacement_that_was_not_written_is_tried_again() {
    let mut node = Refetching::new(limits());
    let table = node.table.clone();
    node.add(Some(table), Holder::of(positions()));
    node.goes_on = true;
    node.run(Duration::from_secs(12));
    assert!(node.done.len() >= 2);
    assert!(node.memory_max <= limits().bytes);
}

#[test]
fn every_held_chunk_is_looked_at_once_in_a_round_as_far_as_the_disk_can_spare() {
    let now = Instant::now();
    let limits = ScrubLimits {
        round: Duration::from_secs(1_000),
        bytes_per_second: 1 << 20,
        pause_max: Duration::from_secs(60),
    };
    let plan = ScrubPlan::new(limits, now);
    assert_eq!(plan.pause(100, 1 << 20, false), Duration::from_secs(10));
    assert_eq!(plan.pause(2, 1 << 20, false), Duration::from_secs(60));
    assert_eq!(plan.pause(1_000_000, 1 << 20, false), Duration::from_secs(1));
    assert_eq!(plan.pause(100, 1 << 20, true), Duration::from_secs(40));
    assert_eq!(plan.pause(0, 1 << 20, false), Duration::from_secs(60));
}

#[test]
fn the_scrub_goes_round() {
    let mut now = Instant::now();
    let mut plan = ScrubPlan::new(ScrubLimits::default(), now);
    let held: Vec<ChunkPosition> = positions().collect();
    let next = |after: Option<ChunkPosition>| held.iter().find(|position| Some(**position) > after).copied();
    let pause = Duration::from_secs(1);
    assert_eq!(plan.due(now, pause, &next), None);
    let mut looked = Vec::new();
    for _ in 0..5 {
        now += pause;
        looked.extend(plan.due(now, pause, &next).map(|position| position.index.0));
    }
    assert_eq!(looked, [0, 1, 2, 0, 1]);
    assert_eq!(plan.due(now + pause, pause, &|_| None), None);
}
