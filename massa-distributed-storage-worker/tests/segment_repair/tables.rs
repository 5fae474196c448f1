//! Tables below the anchor: many at once, believed from the top down, whoever lies.

use crate::network::{Answer, Links, Network, Piece};
use massa_distributed_storage_exports::network::{Capabilities, FetchEvent, FetchFailure, FetchTarget};
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::repair::tables::{
    Here, TableAction, TableLimits, TablesPlan, TablesView, SCAN_SEGMENTS,
};
use massa_models::node::NodeId;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// 100 Mbit/s.
const LINK: u64 = 12_500_000;

fn digest(domain: u8, first: u64, second: u64) -> [u8; 32] {
    let mut bytes = [domain; 32];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..16].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// Tables of near-empty periods, 85 kB each, as on today's chain.
struct History {
    parameters: ArchiveParameters,
    tables: Vec<SegmentTable>,
    roots: Vec<SegmentRoot>,
}

impl History {
    fn new(segments: u64, segment_periods: u64) -> Self {
        let parameters = ArchiveParameters {
            segment_periods,
            ..ArchiveParameters::new(77, 32)
        };
        let mut history = Self {
            parameters,
            tables: Vec::new(),
            roots: Vec::new(),
        };
        for segment in 0..segments {
            let previous = history.roots.last().map_or([0; 32], |root| root.to_bytes());
            let table = history.table(segment, previous, 7);
            history.roots.push(table.root());
            history.tables.push(table);
        }
        history
    }

    fn table(&self, segment: u64, previous: [u8; 32], domain: u8) -> SegmentTable {
        let length = 85_000;
        let periods = self.parameters.segment_periods;
        let header = SegmentHeader {
            chain_id: self.parameters.chain_id,
            segment,
            first_period: segment * periods,
            periods: periods as u32,
            threads: self.parameters.thread_count,
            chunk_size: self.parameters.chunk_size,
            body_length: length * periods,
            bytes_before: length * periods * segment,
            previous,
        };
        let row = |period| TablePeriod {
            length: length as u32,
            root: PeriodRoot::from_bytes(digest(domain, segment, period)),
        };
        let id = |chunk: u32| ChunkId::from_bytes(digest(domain + 1, segment, u64::from(chunk)));
        let chunks = (0..header.chunk_count()).map(id).collect();
        SegmentTable::new(header, (0..periods).map(row).collect(), chunks).unwrap()
    }

    fn segments(&self) -> u64 {
        self.tables.len() as u64
    }

    /// Accepted roots of the last `count` segments.
    fn accepted(&self, count: u64) -> BTreeMap<u64, SegmentRoot> {
        let from = self.segments() - count;
        (from..self.segments())
            .map(|segment| (segment, self.roots[segment as usize]))
            .collect()
    }
}

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    Silent,
    /// Sends tables of another history, which fit each other.
    Lying,
    /// Says that it has everything and sends the first two of each request.
    Partial,
}

/// A node that fetches tables.
struct Joiner {
    history: Rc<History>,
    accepted: BTreeMap<u64, SegmentRoot>,
    plan: TablesPlan,
    limits: TableLimits,
    network: Network,
    written: BTreeMap<u64, SegmentTable>,
    looked_at: Cell<u64>,
    asked: u64,
    bytes_max: u64,
}

impl Joiner {
    fn new(history: &Rc<History>, accepted: u64, manners: &[Manner], links: Links) -> Self {
        let mut network = Network::new(links, 1);
        for manner in manners {
            let (manner, history) = (*manner, Rc::clone(history));
            let capabilities = Capabilities {
                newest_segment: Some(history.segments() - 1),
                ..Capabilities::default()
            };
            let mut invented = BTreeMap::new();
            let serve = move |id: u64, target: &FetchTarget, from: NodeId| {
                let FetchTarget::Tables { first_segment, count } = target else {
                    return Answer::refusal(FetchFailure::NotHeld);
                };
                let tables = match manner {
                    Manner::Silent => return Answer::Silence,
                    Manner::Lying => lie(&history, &mut invented, *first_segment, *count),
                    Manner::Honest => serve_tables(&history, *first_segment, *count),
                    Manner::Partial => serve_tables(&history, *first_segment, 2.min(*count)),
                };
                let is_whole = tables.len() == *count as usize;
                let pieces = in_frames(id, from, *first_segment, tables);
                if is_whole {
                    Answer::Whole(pieces)
                } else {
                    Answer::Part(pieces, FetchFailure::NotHeld)
                }
            };
            network.add(capabilities, Box::new(serve));
        }
        let limits = TableLimits::default();
        Self {
            accepted: history.accepted(accepted),
            plan: TablesPlan::new(history.parameters.clone(), limits),
            history: Rc::clone(history),
            limits,
            network,
            written: BTreeMap::new(),
            looked_at: Cell::new(0),
            asked: 0,
            bytes_max: 0,
        }
    }

    fn with_view<T>(&mut self, decide: impl FnOnce(&mut TablesPlan, &TablesView<'_>) -> T) -> T {
        let peers = self.network.storage_peers();
        let here = |segment| {
            self.looked_at.set(self.looked_at.get() + 1);
            match self.written.get(&segment) {
                Some(table) => Here::Table {
                    root: table.root(),
                    previous: SegmentRoot::from_bytes(table.header().previous),
                },
                None => Here::Nothing,
            }
        };
        let view = TablesView {
            now: self.network.now(),
            peers: &peers,
            accepted: &self.accepted,
            first_segment: 0,
            here: &here,
        };
        decide(&mut self.plan, &view)
    }

    /// Ticks until all tables are here, or the time is over.
    fn run(&mut self, until: Duration) -> bool {
        while self.network.elapsed() < until && !self.is_done() {
            self.tick();
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.written.len() as u64 == self.history.segments()
    }

    fn tick(&mut self) {
        let actions = self.with_view(|plan, view| plan.on_tick(view));
        self.carry_out(actions);
        let until = self.network.elapsed() + TICK;
        while let Some(event) = self.network.next_event(until) {
            let now = self.network.now();
            let actions = match event {
                FetchEvent::Tables {
                    id,
                    from,
                    first_segment,
                    tables,
                } => self.with_view(|plan, view| plan.on_tables(id, from, (first_segment, tables), view)),
                FetchEvent::Complete { id } => self.with_view(|plan, view| plan.on_complete(id, view)),
                FetchEvent::Failed { id, .. } => {
                    self.plan.on_failed(id, now);
                    Vec::new()
                }
                _ => Vec::new(),
            };
            self.carry_out(actions);
        }
    }

    fn carry_out(&mut self, actions: Vec<TableAction>) {
        for action in actions {
            match action {
                TableAction::Fetch { id, target, holders } => {
                    if let FetchTarget::Tables { count, .. } = target {
                        self.asked += u64::from(count);
                    }
                    self.network.fetch(id, target, holders);
                }
                TableAction::Put(tables) => {
                    self.plan.on_written(&tables);
                    for (table, root) in tables {
                        assert_eq!(table.root(), root);
                        let segment = table.header().segment;
                        assert_eq!(table, self.history.tables[segment as usize], "nothing false is written");
                        assert!(self.written.insert(segment, table).is_none(), "each is written once");
                    }
                }
                TableAction::Quarantine { node, reason } => self.network.quarantine(node, reason),
            }
        }
        self.bytes_max = self.bytes_max.max(self.plan.bytes());
    }
}

fn serve_tables(history: &History, first_segment: u64, count: u32) -> Vec<SegmentTable> {
    let tables = history.tables.iter().skip(first_segment as usize);
    tables.take(count as usize).cloned().collect()
}

fn lie(
    history: &History,
    invented: &mut BTreeMap<u64, SegmentTable>,
    first_segment: u64,
    count: u32,
) -> Vec<SegmentTable> {
    let mut previous = digest(99, first_segment, 0);
    let mut tables = Vec::new();
    for segment in first_segment..first_segment + u64::from(count) {
        let table = invented
            .entry(segment)
            .or_insert_with(|| history.table(segment, previous, 50));
        previous = table.root().to_bytes();
        tables.push(table.clone());
    }
    tables
}

/// In frames of 64 KiB.
fn in_frames(id: u64, from: NodeId, first_segment: u64, tables: Vec<SegmentTable>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut first_segment = first_segment;
    for tables in tables.chunks(16) {
        let lengths = tables
            .iter()
            .map(|table| SegmentTable::length_of(table.header()) as u64);
        pieces.push(Piece {
            bytes: lengths.sum(),
            event: FetchEvent::Tables {
                id,
                from,
                first_segment,
                tables: tables.to_vec(),
            },
        });
        first_segment += tables.len() as u64;
    }
    pieces
}

fn measure(history: &Rc<History>, round_trip_ms: u64, accepted: u64) -> Duration {
    let links = Links::new(round_trip_ms, 5 << 20, LINK);
    let mut joiner = Joiner::new(history, accepted, &[Manner::Honest; 8], links);
    assert!(joiner.run(Duration::from_secs(600)), "all tables arrive");
    let (elapsed, bytes) = (joiner.network.elapsed(), joiner.network.received);
    let share = bytes as f64 / elapsed.as_secs_f64() / LINK as f64;
    println!(
        "tables of {} segments, {accepted} roots accepted, round trip {round_trip_ms} ms: {elapsed:?}, {share:.2} of the link, \
         {} bytes at a time at most",
        history.segments(),
        joiner.bytes_max
    );
    assert!(joiner.bytes_max <= joiner.limits.ahead_bytes + joiner.limits.request_bytes);
    elapsed
}

#[test]
fn tables_of_the_whole_chain_arrive_within_three_minutes() {
    let history = Rc::new(History::new(57_000, 100));
    // One accepted root and links below it; and every root accepted.
    for (round_trip_ms, accepted) in [(100, 1), (10, 57_000)] {
        assert!(measure(&history, round_trip_ms, accepted) < Duration::from_secs(180));
    }
}

#[test]
fn a_false_table_is_never_written_and_its_sender_named() {
    let history = Rc::new(History::new(600, 10));
    let manners = [Manner::Lying, Manner::Honest, Manner::Lying, Manner::Honest];
    let mut joiner = Joiner::new(&history, 1, &manners, Links::new(20, 1 << 20, LINK));
    assert!(joiner.run(Duration::from_secs(120)));
    let liars: Vec<NodeId> = [0, 2].map(|index| joiner.network.peers[index].node).to_vec();
    assert!(joiner.network.quarantined.keys().all(|node| liars.contains(node)));
    assert!(!joiner.network.quarantined.is_empty());
}

#[test]
fn tables_that_only_liars_send_are_not_written() {
    let history = Rc::new(History::new(100, 10));
    let mut joiner = Joiner::new(&history, 3, &[Manner::Lying; 3], Links::new(20, 1 << 20, LINK));
    assert!(!joiner.run(Duration::from_secs(30)));
    assert!(joiner.written.is_empty());
    assert_eq!(joiner.network.quarantined.len(), 3);
}

#[test]
fn silent_peers_and_lost_messages_only_take_time() {
    let history = Rc::new(History::new(2_000, 10));
    let manners = [
        Manner::Silent,
        Manner::Honest,
        Manner::Partial,
        Manner::Honest,
        Manner::Silent,
    ];
    let links = Links {
        loss: 0.1,
        event_loss: 0.05,
        ..Links::new(50, 1 << 20, LINK)
    };
    let mut joiner = Joiner::new(&history, 1, &manners, links);
    assert!(joiner.run(Duration::from_secs(600)), "{} of 2000", joiner.written.len());
    assert!(joiner.network.quarantined.is_empty(), "none of them lied");
    println!("with losses: {:?}", joiner.network.elapsed());
}

#[test]
fn a_slow_peer_is_asked_less() {
    let history = Rc::new(History::new(4_000, 100));
    let mut joiner = Joiner::new(
        &history,
        4_000,
        &[Manner::Honest, Manner::Silent],
        Links::new(20, 1 << 20, LINK),
    );
    assert!(joiner.run(Duration::from_secs(600)));
    let asked = |index: usize| joiner.network.asked[&joiner.network.peers[index].node];
    assert!(asked(1) * 2 < asked(0), "{} of {}", asked(1), asked(0));
}

#[test]
fn memory_stays_bounded_when_the_highest_table_is_missing() {
    let history = Rc::new(History::new(4_000, 100));
    let mut joiner = Joiner::new(&history, 1, &[Manner::Honest; 4], Links::new(20, 4 << 20, LINK));
    // The accepted root is one that nobody has a table for.
    let last = history.segments() - 1;
    joiner.accepted.insert(last, SegmentRoot::from_bytes([9; 32]));
    joiner.limits.ahead_bytes = 1 << 20;
    joiner.plan = TablesPlan::new(history.parameters.clone(), joiner.limits);
    assert!(!joiner.run(Duration::from_secs(30)));
    assert!(joiner.written.is_empty());
    assert!(
        joiner.bytes_max <= (1 << 20) + joiner.limits.request_bytes,
        "{}",
        joiner.bytes_max
    );
}

#[test]
fn a_restart_fetches_only_what_is_missing_and_reads_one_row_for_each_segment() {
    let history = Rc::new(History::new(5_000, 10));
    let mut joiner = Joiner::new(&history, 2_000, &[Manner::Honest; 4], Links::new(20, 1 << 20, LINK));
    while joiner.written.len() < 3_000 {
        joiner.tick();
    }
    joiner.network.restart();
    joiner.plan = TablesPlan::new(history.parameters.clone(), joiner.limits);
    joiner.looked_at.set(0);
    joiner.asked = 0;
    let left = history.segments() - joiner.written.len() as u64;
    assert!(joiner.run(Duration::from_secs(60)));
    assert_eq!((joiner.looked_at.get(), joiner.asked), (history.segments(), left));
}

#[test]
fn a_tick_looks_at_a_bounded_number_of_segments() {
    let history = Rc::new(History::new(10_000, 1));
    let mut joiner = Joiner::new(&history, 10_000, &[], Links::new(20, 1 << 20, LINK));
    joiner.written = history
        .tables
        .iter()
        .map(|table| (table.header().segment, table.clone()))
        .collect();
    let actions = joiner.with_view(|plan, view| plan.on_tick(view));
    assert_eq!(actions, []);
    assert_eq!(joiner.looked_at.get(), SCAN_SEGMENTS as u64);
}

#[test]
fn segments_that_are_open_or_otherwise_here_are_told_and_not_fetched() {
    let history = Rc::new(History::new(10, 10));
    let mut joiner = Joiner::new(&history, 4, &[Manner::Honest; 2], Links::new(20, 1 << 20, LINK));
    let other = history.table(7, [3; 32], 90);
    joiner.written.insert(7, other);
    for _ in 0..50 {
        joiner.tick();
    }
    assert_eq!(
        joiner.plan.differing().iter().collect::<Vec<_>>(),
        [(&7, &history.roots[7])]
    );
    // Once it is replaced nothing differs.
    joiner.written.insert(7, history.tables[7].clone());
    joiner.plan.look_again(7);
    joiner.tick();
    assert!(joiner.plan.differing().is_empty());
    assert!(joiner.is_done());
}

#[test]
fn below_the_oldest_accepted_root_a_differing_segment_stops_the_chain_until_it_is_replaced() {
    let history = Rc::new(History::new(10, 10));
    let mut joiner = Joiner::new(&history, 2, &[Manner::Honest; 2], Links::new(20, 1 << 20, LINK));
    joiner.written.insert(5, history.table(5, [3; 32], 90));
    for _ in 0..50 {
        joiner.tick();
    }
    assert_eq!(joiner.plan.differing().keys().collect::<Vec<_>>(), [&5]);
    assert_eq!(joiner.written.keys().copied().collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    joiner.written.insert(5, history.tables[5].clone());
    joiner.plan.look_again(5);
    joiner.tick();
    assert!(joiner.is_done());
}

#[test]
fn roots_accepted_earlier_later_are_taken_in() {
    let history = Rc::new(History::new(200, 10));
    let mut joiner = Joiner::new(&history, 1, &[Manner::Lying], Links::new(20, 1 << 20, LINK));
    joiner.tick();
    joiner.accepted = history.accepted(200);
    for _ in 0..20 {
        joiner.tick();
    }
    assert!(joiner.written.is_empty());
    assert_eq!(joiner.network.quarantined.len(), 1);
}

#[test]
fn progress_tells_done_total_rate_and_time_left() {
    let history = Rc::new(History::new(8_000, 100));
    let mut joiner = Joiner::new(&history, 8_000, &[Manner::Honest; 2], Links::new(100, 1 << 20, LINK));
    while joiner.network.elapsed() < Duration::from_secs(5) {
        joiner.tick();
    }
    let progress = joiner.with_view(|plan, view| plan.progress(view));
    assert_eq!(progress.total, 8_000);
    assert!(
        progress.done.abs_diff(joiner.written.len() as u64) < 600,
        "{progress:?}"
    );
    let left = progress.left.unwrap();
    let began = joiner.network.elapsed();
    assert!(joiner.run(Duration::from_secs(600)));
    let took = joiner.network.elapsed() - began;
    assert!(left > took / 2 && left < took * 2, "{left:?} foreseen, {took:?} taken");
    let progress = joiner.with_view(|plan, view| plan.progress(view));
    assert_eq!((progress.done, progress.left), (8_000, Some(Duration::ZERO)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever peers do, and whenever the node is started again: what is written is true, and with one honest peer all of it
    /// is written.
    #[test]
    fn any_peers_and_restarts(
        manners in proptest::collection::vec(prop_oneof![
            Just(Manner::Honest), Just(Manner::Silent), Just(Manner::Lying), Just(Manner::Partial)
        ], 0..5),
        accepted in 1u64..300,
        loss in 0.0f64..0.2,
        restarts in proptest::collection::vec(1usize..40, 0..4),
    ) {
        let history = Rc::new(History::new(300, 5));
        let mut manners = manners;
        manners.push(Manner::Honest);
        let links = Links { loss, event_loss: loss / 2.0, ..Links::new(30, 1 << 20, LINK) };
        let mut joiner = Joiner::new(&history, accepted, &manners, links);
        for ticks in restarts {
            (0..ticks).for_each(|_| joiner.tick());
            joiner.network.restart();
            joiner.plan = TablesPlan::new(history.parameters.clone(), joiner.limits);
        }
        prop_assert!(joiner.run(Duration::from_secs(900)));
        for (peer, manner) in joiner.network.peers.iter().zip(&manners) {
            let is_quarantined = joiner.network.quarantined.contains_key(&peer.node);
            prop_assert!(!is_quarantined || *manner == Manner::Lying);
        }
    }
}
