//! Bytes in flight follow bandwidth times delay.

use crate::network::some_node;
use massa_distributed_storage_worker::fetch::window::{WindowLimits, Windows};
use massa_distributed_storage_worker::fetch::{Asker, RequestIds};
use massa_distributed_storage_worker::repair::memory::FetchLimits;
use massa_models::node::NodeId;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const REQUEST: u64 = 64 << 10;

/// A way with so much delay and bandwidth; requests of one frame each.
struct Way {
    windows: Windows,
    node: NodeId,
    now: Instant,
    /// When answers arrive, in order.
    arriving: VecDeque<(Instant, u64)>,
    free: Instant,
    delay: Duration,
    rate: u64,
    next: u64,
    received: u64,
    in_flight_max: u64,
}

impl Way {
    fn new(delay_ms: u64, rate: u64) -> Self {
        let now = Instant::now();
        Self {
            windows: Windows::new(WindowLimits::default()),
            node: some_node(),
            now,
            arriving: VecDeque::new(),
            free: now,
            delay: Duration::from_millis(delay_ms),
            rate,
            next: 0,
            received: 0,
            in_flight_max: 0,
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            while self.windows.has_room(&self.node, self.now) {
                self.next += 1;
                self.windows.on_asked(self.next, self.node, REQUEST, self.now);
                let transfer = Duration::from_nanos(REQUEST * 1_000_000_000 / self.rate);
                self.free = self.free.max(self.now + self.delay) + transfer;
                self.arriving.push_back((self.free, self.next));
            }
            self.in_flight_max = self.in_flight_max.max(self.windows.in_flight());
            let (at, id) = self.arriving.pop_front().unwrap();
            self.now = at;
            self.windows.on_bytes(id, self.node, REQUEST, at);
            self.windows.on_done(id);
            self.received += REQUEST;
        }
    }
}

#[test]
fn a_long_fast_way_is_filled_and_its_queue_stays_short() {
    for (delay_ms, rate) in [
        (100, 100_000_000),
        (10, 100_000_000),
        (100, 1_000_000),
        (300, 10_000_000),
    ] {
        let mut way = Way::new(delay_ms, rate);
        way.run(Duration::from_secs(5));
        way.received = 0;
        way.run(Duration::from_secs(60));
        let share = way.received as f64 / 60.0 / rate as f64;
        let fills = rate * delay_ms / 1000;
        assert!(share > 0.95, "{share} of {rate} at {delay_ms} ms");
        let allowed = 3 * (fills + REQUEST) + WindowLimits::default().bytes_min;
        assert!(
            way.in_flight_max <= allowed,
            "{} in flight, {fills} fill the way",
            way.in_flight_max
        );
    }
}

#[test]
fn the_window_follows_a_way_that_changes() {
    let mut way = Way::new(50, 20_000_000);
    way.run(Duration::from_secs(10));
    way.delay = Duration::from_millis(200);
    way.run(Duration::from_secs(40));
    way.received = 0;
    way.run(Duration::from_secs(20));
    let share = way.received as f64 / 20.0 / 20_000_000.0;
    assert!(share > 0.9, "{share}");
}

#[test]
fn a_peer_that_fails_is_left_alone_longer_each_time_and_at_once_when_it_answers() {
    let limits = WindowLimits::default();
    let mut windows = Windows::new(limits);
    let (node, mut now) = (some_node(), Instant::now());
    for doublings in 0..10u32 {
        windows.on_asked(u64::from(doublings), node, 1000, now);
        windows.on_failed(u64::from(doublings), now);
        let pause = limits.pause * 2u32.pow(doublings.min(6));
        assert!(!windows.has_room(&node, now + pause - Duration::from_millis(1)));
        now += pause;
        assert!(windows.has_room(&node, now));
    }
    windows.on_asked(100, node, 1000, now);
    windows.on_bytes(100, node, 1000, now + Duration::from_millis(50));
    windows.on_done(100);
    windows.on_asked(101, node, 1000, now);
    windows.on_failed(101, now);
    assert!(windows.has_room(&node, now + limits.pause));
}

#[test]
fn an_answer_that_never_comes_is_overdue() {
    let mut windows = Windows::new(WindowLimits::default());
    let (node, now) = (some_node(), Instant::now());
    windows.on_asked(1, node, 1000, now);
    assert!(windows.overdue(now + Duration::from_secs(29)).is_empty());
    assert_eq!(windows.overdue(now + Duration::from_secs(31)), [1]);
    // Once the delay is known, earlier.
    windows.on_bytes(1, node, 1000, now + Duration::from_millis(50));
    windows.on_done(1);
    windows.on_asked(2, node, 1000, now);
    assert_eq!(windows.overdue(now + Duration::from_secs(3)), [2]);
}

#[test]
fn numbers_tell_who_asked() {
    let mut seen = std::collections::BTreeSet::new();
    for asker in Asker::ALL {
        let mut ids = RequestIds::new(asker);
        for _ in 0..3 {
            let id = ids.next_id();
            assert_eq!(Asker::of(id), Some(asker));
            assert!(seen.insert(id));
        }
    }
    assert_eq!(Asker::of(7), None, "a reader's");
}

proptest! {
    /// Whatever is answered, by whomever, in whatever order: nothing stays in flight when all requests are over.
    #[test]
    fn nothing_stays_in_flight(steps in proptest::collection::vec((0u64..20, 0u8..4, 0usize..3, 0u64..5_000), 0..200)) {
        let nodes: Vec<NodeId> = (0..3).map(|_| some_node()).collect();
        let mut windows = Windows::new(WindowLimits::default());
        let mut now = Instant::now();
        let mut asked = std::collections::BTreeSet::new();
        for (id, step, node, amount) in steps {
            now += Duration::from_millis(amount);
            match step {
                0 if asked.insert(id) => windows.on_asked(id, nodes[node], amount, now),
                0 => {}
                1 => windows.on_bytes(id, nodes[node], amount, now),
                2 => windows.on_done(id),
                _ => windows.on_failed(id, now),
            }
        }
        (0..20).for_each(|id| windows.on_done(id));
        prop_assert_eq!(windows.in_flight(), 0);
    }
}

#[test]
fn the_planners_share_the_memory_for_repair() {
    let limits = FetchLimits::default().with_memory(256 << 20);
    let shares = [
        limits.chunks.bytes,
        limits.periods.bytes,
        limits.tables.ahead_bytes,
        limits.refetch.bytes,
    ];
    assert_eq!(shares.map(|bytes| bytes >> 20), [128, 64, 32, 32]);
}
