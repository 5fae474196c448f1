//! Which connections are opened and closed, and that every holder can be reached in networks of 1 000 and 10 000 nodes.

mod storage_common;

use massa_models::node::NodeId;
use massa_protocol_worker::handlers::storage_handler::connections::{
    ConnectionAction, ConnectionLimits, ConnectionPlanner, Opened, MAX_ADDRESSES, MAX_LEARNED, MAX_WAITING,
};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use storage_common::node;

const SECOND: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Nodes that hold each chunk.
const REPLICAS: usize = 3;

fn address(number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(number)), 31_244)
}

fn limits(dialed: usize, incoming: usize) -> ConnectionLimits {
    ConnectionLimits {
        dialed,
        incoming,
        ..ConnectionLimits::default()
    }
}

/// Knows the addresses of nodes 0 to 99.
fn planner(dialed: usize, incoming: usize) -> ConnectionPlanner {
    let mut planner = ConnectionPlanner::new(limits(dialed, incoming));
    let nodes = (0..100).map(|number| (node(number), vec![address(number)]));
    planner.addresses.set_registered(nodes);
    planner
}

fn dial(number: u32) -> ConnectionAction {
    ConnectionAction::Dial {
        node: node(number),
        addresses: vec![address(number)],
    }
}

fn close(number: u32) -> ConnectionAction {
    ConnectionAction::Close { node: node(number) }
}

fn unreachable(number: u32) -> ConnectionAction {
    ConnectionAction::Unreachable { node: node(number) }
}

#[test]
fn the_connection_that_was_used_longest_ago_makes_place_for_the_next() {
    let mut now = Instant::now();
    let mut planner = planner(2, 2);
    for number in [1, 2] {
        assert_eq!(planner.on_wanted(node(number), now), [dial(number)]);
        assert!(planner.on_connected(node(number), Opened::Dialed, now).is_empty());
        now += SECOND;
        planner.on_used(&node(number), 0, now);
    }
    now += SECOND;
    planner.on_wanted(node(1), now);
    assert_eq!(planner.on_wanted(node(3), now), [close(2), dial(3)]);
    assert_eq!(planner.open(), (2, 0));
}

#[test]
fn what_is_in_use_or_just_opened_is_not_closed() {
    let now = Instant::now();
    let mut planner = planner(2, 2);
    [1, 2]
        .iter()
        .for_each(|number| drop(planner.on_wanted(node(*number), now)));
    [1, 2]
        .iter()
        .for_each(|number| drop(planner.on_connected(node(*number), Opened::Dialed, now)));
    planner.on_used(&node(1), 3, now);
    assert!(
        planner.on_wanted(node(3), now).is_empty(),
        "both have to be there a while"
    );
    // The grace of an unused one ends; then it goes, and the one in use stays.
    assert_eq!(planner.on_tick(now + 2 * SECOND), [close(2), dial(3)]);
    planner.on_connected(node(3), Opened::Dialed, now + 2 * SECOND);
    planner.on_used(&node(3), 1, now + 2 * SECOND);
    assert!(planner.on_wanted(node(4), now + 9 * SECOND).is_empty());
    assert_eq!(planner.on_used(&node(1), 0, now + 9 * SECOND), [close(1), dial(4)]);
}

#[test]
fn links_for_blocks_are_used_and_never_closed() {
    let now = Instant::now();
    let mut planner = planner(1, 1);
    planner.on_connected(node(1), Opened::BlockLink, now);
    assert!(planner.on_wanted(node(1), now).is_empty(), "it is there already");
    assert_eq!(planner.on_wanted(node(2), now), [dial(2)]);
    let later = now + 100 * SECOND;
    assert!(!planner.on_tick(later).contains(&close(1)));
    assert!(planner.is_connected(&node(1)));
}

#[test]
fn a_full_node_lets_one_more_in_for_the_least_useful_and_keeps_out_whom_it_cannot() {
    let now = Instant::now();
    let mut planner = planner(1, 2);
    [1, 2]
        .iter()
        .for_each(|number| drop(planner.on_connected(node(*number), Opened::Incoming, now)));
    assert_eq!(
        planner.on_connected(node(3), Opened::Incoming, now),
        [close(3)],
        "both are new"
    );
    planner.on_used(&node(2), 1, now);
    let later = now + 3 * SECOND;
    assert_eq!(planner.on_connected(node(3), Opened::Incoming, later), [close(1)]);
    assert_eq!(planner.open(), (0, 2));
}

#[test]
fn an_unknown_or_silent_node_is_unreachable_in_time() {
    let now = Instant::now();
    let mut planner = planner(1, 1);
    assert_eq!(planner.on_wanted(node(100), now), [unreachable(100)]);
    assert_eq!(planner.on_wanted(node(1), now), [dial(1)]);
    assert!(planner.on_wanted(node(1), now).is_empty(), "it is being dialed");
    planner.on_wanted(node(2), now);
    let later = now + ConnectionLimits::default().dial_timeout;
    assert_eq!(planner.on_tick(later), [unreachable(1), unreachable(2)]);
    assert_eq!(planner.open(), (0, 0));
}

#[test]
fn what_nobody_uses_is_closed_after_a_while() {
    let now = Instant::now();
    let mut planner = planner(2, 2);
    planner.on_wanted(node(1), now);
    planner.on_connected(node(1), Opened::Dialed, now);
    let idle = ConnectionLimits::default().idle;
    assert!(planner.on_tick(now + idle - SECOND).is_empty());
    assert_eq!(planner.on_tick(now + idle), [close(1)]);
}

#[test]
fn no_list_grows_without_bound() {
    let now = Instant::now();
    let mut planner = planner(0, 1);
    let nodes: Vec<NodeId> = (0..MAX_WAITING as u32 + 1).map(node).collect();
    planner
        .addresses
        .set_registered(nodes.iter().map(|node| (*node, vec![address(1); 9])));
    assert_eq!(planner.addresses.of(&nodes[0]).len(), 1, "the same address counts once");
    nodes[..MAX_WAITING]
        .iter()
        .for_each(|node| drop(planner.on_wanted(*node, now)));
    let one_too_many = nodes[MAX_WAITING];
    assert_eq!(
        planner.on_wanted(one_too_many, now),
        [ConnectionAction::Unreachable { node: one_too_many }]
    );
    (0..100).for_each(|number| planner.addresses.learn(nodes[0], address(number)));
    assert_eq!(planner.addresses.of(&nodes[0])[0], address(99), "the newest first");
    assert!(planner.addresses.of(&nodes[0]).len() <= MAX_ADDRESSES + 1);
    let learned = |number| node(100_000 + number);
    (0..=MAX_LEARNED).for_each(|number| planner.addresses.learn(learned(number), address(number)));
    assert!(planner.addresses.of(&learned(0)).is_empty(), "the oldest is forgotten");
    assert_eq!(planner.addresses.of(&learned(1)), [address(1)]);
}

/// Something that happens later, at a node.
enum Event {
    /// A connection that the first opened reaches the second.
    Dialed(NodeId, NodeId),
    /// A connection is closed by the other side.
    Closed(NodeId, NodeId),
    /// The answer to a request of a reader.
    Answered(NodeId, NodeId),
    /// A reader looks for the next thing to read.
    Next(NodeId),
}

/// Nodes that read chunks from each other all the time. A connection takes a round trip, a handshake another, a request
/// and its answer a third.
struct Network {
    now: Instant,
    random: ChaCha20Rng,
    nodes: Vec<NodeId>,
    planners: HashMap<NodeId, ConnectionPlanner>,
    events: BTreeMap<(Instant, u64), Event>,
    count: u64,
    /// Holders that each reader still wants something of, and since when it wants the one that it asks.
    wanted: HashMap<NodeId, (Vec<NodeId>, Instant)>,
    reads: usize,
    slowest: Duration,
    refused: usize,
}

impl Network {
    fn new(size: u32) -> Self {
        let now = Instant::now();
        let nodes: Vec<NodeId> = (0..size).map(node).collect();
        let addresses: Vec<_> = nodes
            .iter()
            .zip(0..)
            .map(|(node, number)| (*node, vec![address(number)]))
            .collect();
        let planner = |_: &NodeId| {
            let mut planner = ConnectionPlanner::new(ConnectionLimits::default());
            // The same table for all; only readers of the large network need it, because it costs memory here.
            planner.addresses.set_registered(Vec::new());
            planner
        };
        let mut network = Self {
            now,
            random: ChaCha20Rng::seed_from_u64(1),
            planners: nodes.iter().map(|node| (*node, planner(node))).collect(),
            nodes,
            events: BTreeMap::new(),
            count: 0,
            wanted: HashMap::new(),
            reads: 0,
            slowest: Duration::ZERO,
            refused: 0,
        };
        let readers: Vec<NodeId> = network
            .nodes
            .choose_multiple(&mut network.random.clone(), 300)
            .copied()
            .collect();
        for reader in readers {
            let planner = network.planners.get_mut(&reader).unwrap();
            planner.addresses.set_registered(addresses.iter().cloned());
            assert_eq!(
                planner.addresses.registered(),
                size as usize,
                "room for every registered node"
            );
            let begins = network.random.gen_range(0..1000);
            network.after(Duration::from_millis(begins), Event::Next(reader));
        }
        network
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + delay, self.count), event);
    }

    fn act(&mut self, at: NodeId, actions: Vec<ConnectionAction>) {
        for action in actions {
            match action {
                ConnectionAction::Dial { node, .. } => self.after(2 * ROUND_TRIP, Event::Dialed(at, node)),
                ConnectionAction::Close { node } => self.after(ROUND_TRIP / 2, Event::Closed(at, node)),
                ConnectionAction::Unreachable { node } => panic!("{at} cannot reach {node}"),
            }
        }
    }

    fn planner(&mut self, node: &NodeId) -> &mut ConnectionPlanner {
        self.planners.get_mut(node).unwrap()
    }

    fn on_event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Next(reader) => self.read_next(reader),
            Event::Dialed(from, to) => {
                let actions = self.planner(&to).on_connected(from, Opened::Incoming, now);
                if actions.contains(&ConnectionAction::Close { node: from }) {
                    self.refused += 1;
                }
                self.act(to, actions);
                let actions = self.planner(&from).on_connected(to, Opened::Dialed, now);
                self.act(from, actions);
                self.ask(from, to);
            }
            Event::Closed(from, to) => {
                let actions = self.planner(&to).on_gone(&from, now);
                self.act(to, actions);
            }
            Event::Answered(reader, holder) => self.on_answer(reader, holder),
        }
    }

    /// Wants a chunk of all its holders, one after the other: each of them must be reachable.
    fn read_next(&mut self, reader: NodeId) {
        let holders: Vec<NodeId> = self
            .nodes
            .choose_multiple(&mut self.random, REPLICAS)
            .copied()
            .collect();
        let holders: Vec<NodeId> = holders.into_iter().filter(|holder| *holder != reader).collect();
        self.wanted.insert(reader, (holders, self.now));
        self.want(reader);
    }

    fn want(&mut self, reader: NodeId) {
        let now = self.now;
        let Some((holders, since)) = self.wanted.get_mut(&reader) else {
            return;
        };
        let Some(holder) = holders.last().copied() else {
            return self.after(Duration::ZERO, Event::Next(reader));
        };
        *since = now;
        let actions = self.planner(&reader).on_wanted(holder, now);
        let is_connected = self.planner(&reader).is_connected(&holder);
        self.act(reader, actions);
        if is_connected {
            self.ask(reader, holder);
        }
    }

    fn ask(&mut self, reader: NodeId, holder: NodeId) {
        let now = self.now;
        for (at, peer) in [(reader, holder), (holder, reader)] {
            let actions = self.planner(&at).on_used(&peer, 1, now);
            self.act(at, actions);
        }
        self.after(ROUND_TRIP, Event::Answered(reader, holder));
    }

    fn on_answer(&mut self, reader: NodeId, holder: NodeId) {
        let now = self.now;
        for (at, peer) in [(reader, holder), (holder, reader)] {
            let actions = self.planner(&at).on_used(&peer, 0, now);
            self.act(at, actions);
        }
        let (holders, since) = self.wanted.get_mut(&reader).unwrap();
        assert_eq!(holders.pop(), Some(holder));
        self.slowest = self.slowest.max(now - *since);
        self.reads += 1;
        self.want(reader);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(((when, _), event)) = self.events.pop_first() {
            if when > end {
                return;
            }
            self.now = when;
            self.on_event(event);
        }
    }
}

fn every_holder_is_reached_within_three_round_trips(size: u32) {
    let mut network = Network::new(size);
    network.run(60 * SECOND);
    println!(
        "{size} nodes: {} reads, slowest after {:?}, {} connections refused",
        network.reads, network.slowest, network.refused
    );
    // 300 readers for a minute, three round trips for each read, each from another holder.
    assert!(network.reads > 300 * 60 * 10 / 3 * 9 / 10);
    assert!(network.slowest <= 3 * ROUND_TRIP, "{:?}", network.slowest);
    assert_eq!(network.refused, 0);
    let limits = ConnectionLimits::default();
    for planner in network.planners.values() {
        let (dialed, incoming) = planner.open();
        assert!(dialed <= limits.dialed && incoming <= limits.incoming);
    }
}

#[test]
fn every_holder_is_reached_within_three_round_trips_among_1_000_nodes() {
    every_holder_is_reached_within_three_round_trips(1_000);
}

#[test]
fn every_holder_is_reached_within_three_round_trips_among_10_000_nodes() {
    every_holder_is_reached_within_three_round_trips(10_000);
}
