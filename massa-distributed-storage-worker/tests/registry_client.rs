//! The registry client against a chain that is only a table: node sets against hand-computed ones, and what is sent when.

use massa_distributed_storage_exports::contract::{
    ContractError, ContractHost, OperationEvent, OperationLimits, OperationStatus,
};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode, StorageRegistry};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_exports::{ChunkId, MerkleProof, SegmentRoot};
use massa_distributed_storage_worker::challenge::refutation::{Bench, Refutation};
use massa_distributed_storage_worker::challenge::segment_answer::SegmentAnswer;
use massa_distributed_storage_worker::challenge::sums::{SumNode, SumPath};
use massa_distributed_storage_worker::replication::{search_of_segment, Candidate, NodesInForce};
use massa_distributed_storage_worker::rounds::snapshot::SnapshotReader;
use massa_distributed_storage_worker::smart_contract::client::{
    start_contract_client, ClientHandle, ClientManager, ClientParts, ClientStatus, Deployment, OrderError,
};
use massa_distributed_storage_worker::smart_contract::deploy::{deployment, NewContract};
use massa_distributed_storage_worker::smart_contract::fees::FeeLedger;
use massa_distributed_storage_worker::smart_contract::node_set::{
    set_of, NetworkValues, RegistryError, RegistryNodeSet,
};
use massa_distributed_storage_worker::smart_contract::outbox::{Order, Outbox, Outcome, Purpose, Seen, Step};
use massa_distributed_storage_worker::smart_contract::state::{
    beacon_key, node_key, round_key, segment_key, ConfigRecord, NodeRecord, RoundRecord,
};
use massa_distributed_storage_worker::smart_contract::storage_registry::{claim_rewards, fund, SETTLING_GAS};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_models::address::{Address, SCAddress, SCAddressV0};
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REGISTRY: &str = "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy";
/// P: periods of a round, of two segments.
const PERIODS: u64 = 10;
const ROUND_SEGMENTS: u64 = 2;
const NEVER: u64 = u64::MAX;
const LIMITS: OperationLimits = OperationLimits {
    chain_id: 77,
    validity_periods: 10,
    minimal_fee: Amount::from_raw(10_000_000),
    max_gas: 100_000_000,
};
const LOCAL: NetworkValues = NetworkValues {
    chunk_size: 1 << 20,
    segment_periods: PERIODS / ROUND_SEGMENTS,
    round_segments: ROUND_SEGMENTS,
    replication_factor: 3,
};

fn registry() -> Address {
    REGISTRY.parse().unwrap()
}

fn mas(mas: u64) -> Amount {
    Amount::from_raw(mas * 1_000_000_000)
}

/// A chain that is only a table.
#[derive(Debug, Default)]
struct Chain(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    period: u64,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    reads: usize,
    balance: u64,
    refusal: Option<String>,
    sent: Vec<Operation>,
    statuses: HashMap<OperationId, bool>,
    events: Vec<OperationEvent>,
}

fn operation_id(number: usize) -> OperationId {
    OperationId::new(massa_hash::Hash::compute_from(&number.to_le_bytes()))
}

impl ContractHost for Chain {
    fn final_slot(&self) -> Slot {
        Slot::new(self.0.lock().period, 0)
    }
    fn current_period(&self) -> u64 {
        self.0.lock().period + 1
    }
    fn limits(&self) -> OperationLimits {
        LIMITS
    }
    fn final_entries(&self, contract: &Address, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut table = self.0.lock();
        table.reads += 1;
        let is_registry = *contract == registry();
        keys.iter()
            .map(|key| table.rows.get(key).filter(|_| is_registry).cloned())
            .collect()
    }
    fn final_keys(&self, contract: &Address, prefix: &[u8], after: Option<&[u8]>, count: usize) -> Vec<Vec<u8>> {
        if *contract != registry() {
            return Vec::new();
        }
        let table = self.0.lock();
        let keys = table.rows.keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.map_or(true, |after| key.as_slice() > after));
        keys.take(count).cloned().collect()
    }
    fn final_balance(&self, _: &Address) -> Option<Amount> {
        Some(Amount::from_raw(self.0.lock().balance))
    }
    fn operation_status(&self, id: &OperationId) -> OperationStatus {
        let status = self.0.lock().statuses.get(id).copied();
        OperationStatus {
            candidate: status,
            final_status: status,
        }
    }
    fn operation_events(&self, _: &OperationId) -> Vec<OperationEvent> {
        self.0.lock().events.clone()
    }
    fn estimate_gas(&self, _: &Address, _: &OperationType) -> Result<u64, ContractError> {
        let refusal = self.0.lock().refusal.clone();
        refusal.map_or(Ok(100_000), |refusal| Err(ContractError::Refused(refusal)))
    }
    fn send(&self, _: &Address, operation: Operation) -> Result<OperationId, ContractError> {
        let mut table = self.0.lock();
        table.sent.push(operation);
        Ok(operation_id(table.sent.len()))
    }
}

/// A node as the README of the contract lays it out.
#[derive(Clone)]
struct Row {
    address: Address,
    node_id: String,
    key: Option<u8>,
    now: u64,
    next: u64,
    from: u64,
    leave: u64,
    counted: u64,
    lapsed: (u64, u64),
    filled: (u64, u64),
    retention: u64,
    registered: u64,
}

impl Row {
    /// 10 GB since long ago, counted in round 5.
    fn new(name: u8) -> Self {
        let keypair = KeyPair::generate(0).unwrap();
        Self {
            address: Address::from_public_key(&keypair.get_public_key()),
            node_id: NodeId::new(keypair.get_public_key()).to_string(),
            key: Some(name),
            now: 0,
            next: 10,
            from: 2,
            leave: NEVER,
            counted: 5,
            lapsed: (0, 0),
            filled: (NEVER, NEVER),
            retention: 0,
            registered: 0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut row = vec![0; 600];
        let mut put = |at: usize, number: u64| row[at..at + 8].copy_from_slice(&number.to_le_bytes());
        for (at, number) in [
            (16, self.registered),
            (32, self.now),
            (40, self.next),
            (48, self.from),
            (56, self.leave),
            (64, self.counted),
            (72, self.lapsed.0),
            (80, self.lapsed.1),
            (88, self.filled.0),
            (96, self.filled.1),
            (104, NEVER),
            (152, self.retention),
            (160, NEVER),
            (208, NEVER),
            (336, NEVER),
            (464, NEVER),
        ] {
            put(at, number);
        }
        (row[0], row[3]) = (1, u8::from(self.key.is_some()));
        row[176..208].fill(self.key.unwrap_or(0));
        for slot in 0..3 {
            row[208 + 128 * slot + 104] = 3;
        }
        for text in [self.node_id.as_str(), "127.0.0.1:31244"] {
            row.extend((text.len() as u16).to_le_bytes());
            row.extend(text.as_bytes());
        }
        row
    }
}

fn config_row(values: [u64; 12], next: [u64; 12], from: u64) -> Vec<u8> {
    let numbers = values.into_iter().chain(next).chain([from]);
    numbers.flat_map(u64::to_le_bytes).collect()
}

/// Rate, GB, timeout, slash, stakes, factor, chunk, periods of a segment, first segment, segments of a round.
const CONFIG: [u64; 12] = [
    1_000_000,
    1,
    100,
    60_000,
    10,
    1,
    1,
    3,
    1 << 20,
    PERIODS / ROUND_SEGMENTS,
    0,
    ROUND_SEGMENTS,
];

fn chain(period: u64, rows: &[Row]) -> Arc<Chain> {
    let chain = Arc::new(Chain::default());
    let mut table = chain.0.lock();
    table.period = period;
    table.balance = mas(1_000).to_raw();
    table.rows.insert(b"config".to_vec(), config_row(CONFIG, CONFIG, 0));
    // Flags of being filled count from round 0 on.
    table.rows.insert(b"state".to_vec(), vec![0; 280]);
    table
        .rows
        .insert(b"total_nodes".to_vec(), (rows.len() as u64).to_le_bytes().to_vec());
    for row in rows {
        table.rows.insert(node_key(&row.address), row.bytes());
    }
    drop(table);
    chain
}

fn genesis() -> NodeSet {
    let keypair = KeyPair::generate(0).unwrap();
    NodeSet::new(vec![StorageNode {
        node_id: Some(NodeId::new(keypair.get_public_key())),
        address: Address::from_public_key(&keypair.get_public_key()),
        placement_key: [9; 32],
        allocated_storage_gb: 1,
        filled: false,
        retention_periods: 0,
        listeners: Vec::new(),
    }])
}

fn followed(chain: &Arc<Chain>) -> RegistryNodeSet {
    let nodes = RegistryNodeSet::new(Arc::clone(chain) as Arc<dyn ContractHost>, genesis(), LOCAL);
    nodes.follow(registry()).unwrap();
    nodes
}

/// (placement key, weight, filled) of each node of a set.
fn summary(nodes: &RegistryNodeSet, round: u64) -> Vec<(u8, u64, bool)> {
    let set = nodes.node_set(round);
    let node = |node: &StorageNode| (node.placement_key[0], node.allocated_storage_gb, node.filled);
    set.nodes().iter().map(node).collect()
}

const GENESIS: [(u8, u64, bool); 1] = [(9, 1, false)];

/// A chain in whose round 40 segment s was accepted in round s / 2 + 2, up to segment `next`, and flags count from round `flags_from` on.
fn chain_with_room(next: u64, flags_from: u64) -> Arc<Chain> {
    let chain = chain(40 * PERIODS, &[Row::new(1)]);
    let mut table = chain.0.lock();
    let state = table.rows.get_mut(&b"state"[..]).unwrap();
    state[56..64].copy_from_slice(&next.to_le_bytes());
    state[104..112].copy_from_slice(&flags_from.to_le_bytes());
    for segment in 0..next {
        let round = segment / 2 + 2;
        let row = [&[segment as u8; 32][..], &round.to_le_bytes()].concat();
        table.rows.insert(segment_key(segment), row);
    }
    for round in 20..=39u64 {
        let lasting: u64 = match round {
            33 => 20,
            39 => 10_000,
            _ => 10,
        };
        let mut row = vec![0; 184];
        // Nobody's beacon was accepted in round 35, and nobody has closed round 36.
        row[105] = u8::from(round != 35);
        row[106] = u8::from(round != 36);
        row[112..144].fill(round as u8);
        if round != 36 {
            row[176..184].copy_from_slice(&lasting.to_le_bytes());
        }
        table.rows.insert(round_key(round * PERIODS), row);
    }
    let mut votes = vec![0; 56];
    votes[48..56].copy_from_slice(&30u64.to_le_bytes());
    votes.extend(Row::new(2).address.to_string().bytes());
    table.rows.insert(beacon_key(36, &[36; 32]), votes);
    drop(table);
    chain
}

#[test]
fn room_is_what_was_proven_in_eight_rounds_and_what_was_accepted_by_then() {
    let rooms = |flags_from| {
        let (round, rooms) = followed(&chain_with_room(100, flags_from)).rooms();
        assert_eq!(round, 40);
        rooms
            .iter()
            .map(|room| (room.lasting_gb, room.newest_segment.unwrap()))
            .collect::<Vec<_>>()
    };
    let expected = [
        (10, 59),
        (10, 61),
        (20, 63),
        (20, 65),
        (20, 67),
        (30, 69),
        (30, 71),
        (30, 73),
    ];
    assert_eq!(rooms(0), expected);
    // Who passed first says little of what all offer.
    assert_eq!(rooms(29), expected[6..]);
    assert_eq!(rooms(31), []);
    assert_eq!(rooms(NEVER), []);
}

#[test]
fn room_is_the_same_whenever_it_is_read_in_its_round_and_takes_few_reads_however_long_history_is() {
    let chain = chain_with_room(74, 0);
    let first = followed(&chain).rooms().1;
    let mut reads = chain.0.lock().reads;
    chain.0.lock().period += PERIODS - 1;
    assert_eq!(followed(&chain).rooms().1, first);
    let of_short = chain.0.lock().reads - reads;

    let long = chain_with_room(1 << 16, 0);
    reads = long.0.lock().reads;
    assert_eq!(followed(&long).rooms().1, first);
    let of_long = long.0.lock().reads - reads;
    assert!(of_long <= of_short + 8 * 11, "{of_short} and {of_long} reads");
}

#[test]
fn a_set_has_who_weighs_something_in_its_round() {
    let joins = Row {
        from: 6,
        counted: 4,
        ..Row::new(1)
    };
    let grows = Row {
        now: 10,
        next: 20,
        from: 7,
        ..Row::new(2)
    };
    let leaves = Row {
        leave: 6,
        ..Row::new(3)
    };
    let no_key = Row {
        key: None,
        ..Row::new(4)
    };
    let silent = Row {
        counted: 0,
        ..Row::new(5)
    };
    let lapsed = Row {
        lapsed: (5, 7),
        ..Row::new(6)
    };
    let filled = Row {
        filled: (6, NEVER),
        ..Row::new(7)
    };
    let unfilled = Row {
        filled: (2, 7),
        ..Row::new(8)
    };
    let chain = chain(
        6 * PERIODS,
        &[joins, grows, leaves, no_key, silent, lapsed, filled, unfilled],
    );
    let nodes = followed(&chain);
    let expected = [
        (
            5,
            vec![
                (2, 10, false),
                (3, 10, false),
                (5, 10, false),
                (7, 10, false),
                (8, 10, true),
            ],
        ),
        (
            6,
            vec![
                (1, 10, false),
                (2, 10, false),
                (5, 10, false),
                (7, 10, true),
                (8, 10, true),
            ],
        ),
        (
            7,
            vec![
                (1, 10, false),
                (2, 20, false),
                (5, 10, false),
                (6, 10, false),
                (7, 10, true),
                (8, 10, false),
            ],
        ),
    ];
    for (round, set) in expected {
        assert_eq!(summary(&nodes, round), set, "round {round}");
    }
    assert_eq!(nodes.open_round(), Some(6));
}

#[test]
fn a_set_does_not_change_with_the_moment_of_its_reading() {
    // In round 6 the node declares 20 GB, from round 8 on; in round 7 it leaves, with round 9.
    let before = Row::new(1);
    let grown = Row {
        now: 10,
        next: 20,
        from: 8,
        ..before.clone()
    };
    let left = Row {
        leave: 9,
        ..grown.clone()
    };
    let expected = [(7, 10), (8, 20)];
    for (round, weight) in expected {
        for (period, row) in [
            (round * PERIODS - PERIODS, if round == 7 { &before } else { &grown }),
            (round * PERIODS + 5, if round == 7 { &grown } else { &left }),
            (round * PERIODS + 2 * PERIODS - 1, &left),
        ] {
            let nodes = followed(&chain(period, std::slice::from_ref(row)));
            assert_eq!(
                summary(&nodes, round),
                [(1, weight, false)],
                "round {round} in period {period}"
            );
        }
    }
}

#[test]
fn the_genesis_set_counts_where_the_registry_has_none() {
    let nodes = RegistryNodeSet::new(chain(0, &[]), genesis(), LOCAL);
    assert_eq!((summary(&nodes, 0), nodes.open_round()), (GENESIS.to_vec(), None));
    // Registered in round 0: weighs from round 2 on.
    let chain = chain(
        3,
        &[Row {
            counted: 0,
            ..Row::new(1)
        }],
    );
    let nodes = followed(&chain);
    assert_eq!(summary(&nodes, 0), GENESIS);
    assert_eq!(summary(&nodes, 1), GENESIS);
    chain.0.lock().period = PERIODS;
    assert!(nodes.refresh());
    assert_eq!(summary(&nodes, 1), GENESIS);
    assert_eq!(summary(&nodes, 2), [(1, 10, false)]);
}

#[test]
fn when_all_have_lapsed_the_set_is_that_of_the_last_counted_round() {
    let counted = |name, counted| Row {
        counted,
        ..Row::new(name)
    };
    let leaves = Row {
        leave: 60,
        ..counted(4, 50)
    };
    let joins = Row {
        from: 61,
        ..counted(5, 59)
    };
    // The network stood still after round 50. Node 1 sat out then; node 3 had lapsed by then, and is gone for good.
    let mut rows = vec![counted(1, 46), counted(2, 50), counted(3, 41), leaves, joins];
    let set_of = |rows: &[Row], round| summary(&followed(&chain(round * PERIODS, rows)), round);
    let alone = |name| vec![(name, 10, false)];
    assert_eq!(set_of(&rows, 50), [(1, 10, false), (2, 10, false), (4, 10, false)]);
    assert_eq!(
        set_of(&rows[..3], 58),
        alone(2),
        "as long as one weighs something, only who does"
    );
    rows.truncate(4);
    let standing = [(1, 10, false), (2, 10, false)];
    for round in [60, 61, 100, 1_000_000] {
        assert_eq!(set_of(&rows, round), standing, "round {round}");
    }
    assert_eq!(
        set_of(&rows, 59),
        [(1, 10, false), (2, 10, false), (4, 10, false)],
        "before it leaves"
    );
    assert_eq!(set_of(&rows[3..], 60), GENESIS, "nobody is left");
}

/// Rounds are claimed and counted by the set of the last counted round, and then by who came back.
#[test]
fn a_lapsed_network_comes_back_and_the_set_does_not_change_with_the_moment_of_its_reading() {
    let before: Vec<Row> = [1, 2, 3]
        .map(|name| Row {
            counted: 50,
            ..Row::new(name)
        })
        .to_vec();
    // Round 70 is counted; nodes 1 and 2 are settled in round 71, node 3 in round 72.
    let back = |row: &Row, settled: u64| Row {
        counted: 70,
        lapsed: (59, settled + 2),
        ..row.clone()
    };
    let all = [(1, 10, false), (2, 10, false), (3, 10, false)];
    let in_71 = vec![back(&before[0], 71), back(&before[1], 71), before[2].clone()];
    let in_72 = vec![in_71[0].clone(), in_71[1].clone(), back(&before[2], 72)];
    let expected = [(70, &all[..]), (71, &all), (72, &all), (73, &all[..2]), (74, &all)];
    for (round, expected) in expected {
        for at in round - 1..=round + 1 {
            let rows = match at {
                ..=70 => &before,
                71 => &in_71,
                _ => &in_72,
            };
            let nodes = followed(&chain(at * PERIODS + 9, rows));
            assert_eq!(summary(&nodes, round), expected, "round {round} read in {at}");
        }
    }
}

/// All claimed round 8 and are filled and unchanged for long, so each is a witness against the others.
fn steady(names: std::ops::Range<u8>) -> Vec<NodeRecord> {
    let steady = |name| {
        let row = Row {
            filled: (0, NEVER),
            counted: 7,
            ..Row::new(name)
        };
        let mut record = NodeRecord::decode(row.address, &row.bytes()).unwrap();
        record.slots[2] = Some(RoundResult {
            round: 8,
            leaves: 1 << 20,
            stake: mas(100),
            weight: 10,
            root: [1; 32],
            beacon: [0; 32],
            credit: Amount::zero(),
            state: ClaimState::Claimed,
            draws: 4,
            passes: 0,
            reason: 0,
            refuted: false,
            filled: true,
            draw_reasons: Vec::new(),
        });
        record
    };
    names.map(steady).collect()
}

#[test]
fn whoever_holds_a_chunk_by_placement_cannot_be_refuted_and_whoever_does_not_can() {
    let mut nodes = steady(1..8);
    // They said nothing of who they are among the peers: the registry counts them all the same.
    nodes[2].node_id.clear();
    nodes[5].node_id = "nonsense".into();
    // They keep all segments until round 8 ends from number 5 on, and from number 10 on.
    let end = 9 * ROUND_SEGMENTS;
    nodes[3].retention_periods = (end - 5) * LOCAL.segment_periods + 1;
    nodes[4].retention_periods = (end - 10) * LOCAL.segment_periods;
    let set = NodesInForce {
        nodes: Arc::new(set_of(&nodes, 8, Some(0))),
        own: None,
        replication_factor: LOCAL.replication_factor as usize,
    };
    assert_eq!(set.nodes.nodes().len(), 7);
    let config = ConfigRecord::decode(&config_row(CONFIG, CONFIG, 0)).unwrap();
    let round = RoundRecord {
        factor: LOCAL.replication_factor,
        ..RoundRecord::default()
    };
    let bench = Bench {
        nodes: &nodes,
        config: &config,
        round: &round,
    };
    let mut refuted = 0;
    for number in 0u64..200 {
        let id = ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let segment = number % 12;
        // As it is placed at any time when the round is claimed, or open.
        let holders = |ended: u64| {
            let mut best = Vec::new();
            let search = search_of_segment(&set, LOCAL.segment_periods, segment, ended);
            search.find(&id, |_| false, &mut best);
            best.iter().map(Candidate::index).collect::<Vec<_>>()
        };
        let held: Vec<Vec<usize>> = (7 * ROUND_SEGMENTS - 1..end).map(holders).collect();
        let last = held.last().unwrap();
        let exhibit = SegmentAnswer {
            position: ChunkPosition::new(segment, 0).unwrap(),
            chunk: TableChunk { length: 1 << 20, id },
            ..exhibit()
        };
        // All claim this chunk alone, so every sum path is the same.
        let position = exhibit.position.number();
        let node = SumNode::chunk(position, exhibit.chunk.leaf_count(), &id);
        let (claim, _) = SumPath::default().follow(position, node).unwrap();
        let mut nodes = nodes.clone();
        for slot in nodes.iter_mut().flat_map(|node| node.slots.iter_mut().flatten()) {
            (slot.root, slot.leaves) = (claim.root, claim.leaves);
        }
        let bench = Bench { nodes: &nodes, ..bench };
        for (index, accused) in set.nodes.nodes().iter().enumerate() {
            let record = nodes.iter().find(|node| node.address == accused.address).unwrap();
            let found = Refutation::find(record, 8, &exhibit, bench, |_| Some(SumPath::default()));
            if held.iter().any(|holders| holders.contains(&index)) {
                assert_eq!(found, None, "chunk {number}, node {index}");
            } else if record.covers(segment, 8, &config.next) {
                assert!(found.is_some(), "chunk {number}, node {index}");
            }
            refuted += usize::from(found.is_some());
        }
        let candidates = nodes
            .iter()
            .filter(|node| node.covers(segment, 8, &config.next))
            .count();
        assert_eq!(candidates, 5 + usize::from(segment >= 5) + usize::from(segment >= 10));
        assert_eq!(last.len(), 3);
    }
    assert!(refuted > 200 * 2);
}

#[test]
fn a_set_has_the_retention_that_a_node_announced() {
    let announced = Row {
        retention: 400,
        ..Row::new(1)
    };
    let nodes = followed(&chain(60, &[announced, Row::new(2)]));
    let set = nodes.node_set(6);
    let retention: Vec<u64> = set.nodes().iter().map(|node| node.retention_periods).collect();
    assert_eq!(retention, [400, 0]);
}

/// Paths do not matter for finding witnesses.
fn exhibit() -> SegmentAnswer {
    let path = || MerkleProof {
        directions: 0,
        siblings: Vec::new(),
    };
    SegmentAnswer {
        position: ChunkPosition::new(0, 0).unwrap(),
        chunk: TableChunk {
            length: 1,
            id: ChunkId::from_bytes([0; 32]),
        },
        sum_path: SumPath::default(),
        leaf: Vec::new(),
        leaf_path: path(),
        segment_path: path(),
    }
}

/// Money and counters: the segment whose root is accepted next, and the last round with an accepted beacon.
fn set_state(chain: &Chain, next_segment: u64, last_accepted: u64) {
    let mut row = vec![0; 280];
    row[56..64].copy_from_slice(&next_segment.to_le_bytes());
    row[64..72].copy_from_slice(&last_accepted.to_le_bytes());
    chain.0.lock().rows.insert(b"state".to_vec(), row);
}

#[test]
fn accepted_roots_are_read_above_and_below_the_first_segment() {
    let chain = chain(60, &[]);
    let first = 7 * ROUND_SEGMENTS;
    let values = |index: usize| if index == 10 { first } else { CONFIG[index] };
    let config: [u64; 12] = std::array::from_fn(values);
    chain
        .0
        .lock()
        .rows
        .insert(b"config".to_vec(), config_row(config, config, 0));
    set_state(&chain, first + 2, NEVER);
    let accept = |segment: u64| {
        let row = [[segment as u8; 32].to_vec(), vec![0; 8]].concat();
        chain
            .0
            .lock()
            .rows
            .insert(format!("segment_{segment}").into_bytes(), row);
    };
    let mut reader = SnapshotReader::new(registry(), registry());
    let mut roots = || reader.read(&*chain, 60).unwrap().accepted_roots;
    let segments = |roots: &BTreeMap<u64, SegmentRoot>| roots.keys().copied().collect::<Vec<_>>();
    // None of them is there though the counter says so.
    assert_eq!(segments(&roots()), []);
    (first..first + 2).for_each(accept);
    let known = roots();
    assert_eq!(segments(&known), [first, first + 1]);
    assert_eq!(known[&first].as_bytes(), &[first as u8; 32]);
    assert!(Arc::ptr_eq(&known, &roots()), "nothing new");
    accept(first - 1);
    assert_eq!(segments(&roots()), [first - 1, first, first + 1]);
    // What stands beyond a gap could not be claimed, and is not there.
    accept(2);
    (4..first - 1).for_each(accept);
    assert_eq!(segments(&roots()), (4..first + 2).collect::<Vec<_>>());
    (0..4).for_each(accept);
    assert_eq!(segments(&roots()), (0..first + 2).collect::<Vec<_>>());
    assert!(Arc::ptr_eq(&roots(), &roots()));
}

#[test]
fn the_round_that_gives_a_placement_key_is_found_over_any_number_of_rounds_and_few_are_read_at_a_time() {
    let mut joined = Row {
        key: None,
        registered: 3 * PERIODS + 1,
        ..Row::new(1)
    };
    let own = joined.address;
    let chain = chain(300 * PERIODS, &[joined.clone()]);
    // Every second round has a beacon.
    for round in (0..300).step_by(2) {
        let mut row = vec![0; 184];
        let previous = u64::checked_sub(round, 2).unwrap_or(NEVER);
        row[96..104].copy_from_slice(&previous.to_le_bytes());
        row[105] = 1;
        let key = format!("period_{}", round * PERIODS);
        chain.0.lock().rows.insert(key.into_bytes(), row);
    }
    let mut reader = SnapshotReader::new(registry(), own);
    let mut found = |chain: &Chain| {
        let before = chain.0.lock().reads;
        let found = reader.read(chain, 300 * PERIODS).unwrap().key_round;
        (found, chain.0.lock().reads - before)
    };
    // The beacon of the round in which it registered was known, and older ones are.
    set_state(&chain, 0, 2);
    assert_eq!(found(&chain).0, None);
    set_state(&chain, 0, 298);
    let looked: Vec<(Option<u64>, usize)> = (0..4).map(|_| found(&chain)).collect();
    assert_eq!(
        looked.iter().map(|(found, _)| *found).collect::<Vec<_>>(),
        [None, None, Some(4), Some(4)]
    );
    assert!(looked.iter().all(|(_, reads)| *reads < 70), "{looked:?}");
    assert!(looked[3].1 < 5, "{looked:?}");
    // It left and came back.
    joined.registered = 296 * PERIODS;
    chain.0.lock().rows.insert(node_key(&own), joined.bytes());
    assert_eq!(found(&chain).0, Some(298));
    joined.key = Some(1);
    chain.0.lock().rows.insert(node_key(&own), joined.bytes());
    assert_eq!(found(&chain).0, None);
}

#[test]
fn before_the_first_round_of_the_registry_the_genesis_set_counts() {
    let chain = chain(6 * PERIODS, &[Row::new(1)]);
    let later = CONFIG
        .iter()
        .copied()
        .enumerate()
        .map(|(i, v)| if i == 10 { 7 * ROUND_SEGMENTS } else { v });
    let later: [u64; 12] = later.collect::<Vec<_>>().try_into().unwrap();
    chain
        .0
        .lock()
        .rows
        .insert(b"config".to_vec(), config_row(later, later, 0));
    let nodes = followed(&chain);
    assert_eq!(summary(&nodes, 6), GENESIS);
    assert_eq!(summary(&nodes, 7), [(1, 10, false)]);
}

#[test]
fn state_is_read_when_a_round_opens_and_not_before() {
    let chain = chain(60, &[Row::new(1)]);
    let nodes = followed(&chain);
    let reads = chain.0.lock().reads;
    // A segment ends within the round: nothing is read.
    chain.0.lock().period = 69;
    assert!(!nodes.refresh());
    assert_eq!(chain.0.lock().reads, reads);
    chain.0.lock().period = 70;
    assert!(nodes.refresh());
    assert_eq!(nodes.open_round(), Some(7));
    // Of what is not known, the nearest.
    assert_eq!(summary(&nodes, 100), [(1, 10, false)]);
    assert_eq!(summary(&nodes, 0), [(1, 10, false)]);
}

#[test]
fn a_record_that_is_damaged_is_left_out_and_one_without_identity_is_not() {
    let anonymous = Row {
        node_id: String::new(),
        ..Row::new(2)
    };
    let chain = chain(60, &[Row::new(1), anonymous]);
    chain.0.lock().rows.insert(b"node_AU1nonsense".to_vec(), vec![1, 2, 3]);
    let nodes = followed(&chain);
    assert_eq!(summary(&nodes, 6), [(1, 10, false), (2, 10, false)]);
    let set = nodes.node_set(6);
    assert!(set.nodes()[0].node_id.is_some() && set.nodes()[1].node_id.is_none());
}

#[test]
fn another_value_than_the_registry_s_is_refused_by_its_name() {
    let chain = chain(60, &[]);
    let follow = |local| RegistryNodeSet::new(Arc::clone(&chain) as Arc<dyn ContractHost>, genesis(), local);
    let error = follow(NetworkValues {
        chunk_size: 65_536,
        ..LOCAL
    })
    .follow(registry())
    .unwrap_err();
    let expected = format!("chunk_size: 65536 in the settings of this node, 1048576 in the registry {REGISTRY}");
    assert_eq!(error.to_string(), expected);
    for local in [
        NetworkValues {
            segment_periods: 11,
            ..LOCAL
        },
        NetworkValues {
            round_segments: 3,
            ..LOCAL
        },
        NetworkValues {
            replication_factor: 2,
            ..LOCAL
        },
    ] {
        assert!(matches!(
            follow(local).follow(registry()),
            Err(RegistryError::Mismatch { .. })
        ));
    }
}

#[test]
fn a_replication_factor_counts_from_its_round_on() {
    let chain = chain(60, &[]);
    let mut next = CONFIG;
    next[7] = 5;
    chain
        .0
        .lock()
        .rows
        .insert(b"config".to_vec(), config_row(CONFIG, next, 8));
    let nodes = followed(&chain);
    assert_eq!([7, 8].map(|round| nodes.replication_factor(round)), [Some(3), Some(5)]);
    let local = NetworkValues {
        replication_factor: 5,
        ..LOCAL
    };
    let nodes = RegistryNodeSet::new(chain, genesis(), local);
    assert_eq!(nodes.follow(registry()), Ok(()));
}

#[test]
fn one_registry_is_followed_for_good() {
    let chain = chain(60, &[Row::new(1)]);
    let nodes = RegistryNodeSet::new(Arc::clone(&chain) as Arc<dyn ContractHost>, genesis(), LOCAL);
    let hash = massa_hash::Hash::compute_from(b"another contract");
    let other = Address::SC(SCAddress::SCAddressV0(SCAddressV0(hash)));
    assert_eq!(nodes.follow(other), Err(RegistryError::Absent(other)));
    assert_eq!(nodes.follow(registry()), Ok(()));
    assert_eq!(nodes.follow(registry()), Ok(()));
    let followed = registry();
    assert_eq!(
        nodes.follow(other),
        Err(RegistryError::Followed {
            address: other,
            followed
        })
    );
}

fn seen(time_ms: u64, current_period: u64) -> Seen {
    Seen {
        time_ms,
        current_period,
        final_period: current_period - 1,
        balance: mas(10),
        limits: LIMITS,
    }
}

fn call(coins: Amount) -> OperationType {
    OperationType::CallSC {
        target_addr: registry(),
        target_func: "fund".into(),
        param: Vec::new(),
        max_gas: 0,
        coins,
    }
}

fn order(until_period: u64) -> Order {
    Order {
        purpose: Purpose::Submission,
        operation: call(mas(1)),
        until_period,
    }
}

fn outbox() -> Outbox {
    Outbox::new(FeeLedger::default(), None, 0)
}

const ESTIMATE: fn() -> Step = || Step::Estimate(Purpose::Submission, call(mas(1)));

fn max_gas(operation: &Operation) -> u64 {
    match operation.op {
        OperationType::CallSC { max_gas, .. } => max_gas,
        _ => panic!("not a call"),
    }
}

/// Sends what is ordered; the operation.
fn send(outbox: &mut Outbox, number: usize, seen: &Seen) -> Operation {
    assert_eq!(outbox.steps(seen), [ESTIMATE()]);
    let operation = outbox.estimated(Purpose::Submission, Ok(100_000), seen).unwrap();
    outbox.sent(Purpose::Submission, &operation, Ok(operation_id(number)), seen.time_ms);
    operation
}

#[test]
fn an_operation_is_estimated_sent_and_followed_until_it_is_final() {
    let mut outbox = outbox();
    outbox.put(order(100)).unwrap();
    let operation = send(&mut outbox, 1, &seen(0, 20));
    assert_eq!((operation.fee, operation.expire_period), (LIMITS.minimal_fee, 29));
    assert!(
        (100_000 + SETTLING_GAS..105_000 + SETTLING_GAS).contains(&max_gas(&operation)),
        "{}",
        max_gas(&operation)
    );
    assert!(outbox.put(order(100)).is_err(), "one at a time");
    assert_eq!(outbox.steps(&seen(10, 20)), []);
    assert_eq!(
        outbox.steps(&seen(1_000, 20)),
        [Step::Check(Purpose::Submission, operation_id(1))]
    );
    outbox.checked(Purpose::Submission, OperationStatus::default(), None, &seen(1_000, 20));
    let done = OperationStatus {
        candidate: Some(true),
        final_status: Some(true),
    };
    outbox.checked(Purpose::Submission, done, None, &seen(2_000, 22));
    assert!(!outbox.is_pending(Purpose::Submission));
    assert_eq!(
        outbox.take_outcome(Purpose::Submission),
        Some(Outcome::Done(operation_id(1)))
    );
    assert_eq!(outbox.fees().last_day(2_000), LIMITS.minimal_fee);
}

#[test]
fn an_operation_that_no_block_included_is_sent_again_as_another() {
    let mut outbox = outbox();
    outbox.put(order(100)).unwrap();
    let first = send(&mut outbox, 1, &seen(0, 20));
    outbox.checked(Purpose::Submission, OperationStatus::default(), None, &seen(1_000, 30));
    assert!(outbox.is_pending(Purpose::Submission));
    assert_eq!(
        outbox.steps(&seen(1_000, 30))[..],
        [Step::Check(Purpose::Submission, operation_id(1))]
    );
    outbox.checked(Purpose::Submission, OperationStatus::default(), None, &seen(2_000, 31));
    assert_eq!(outbox.fees().last_day(2_000), Amount::zero(), "nobody took the fee");
    assert_eq!(outbox.steps(&seen(2_000, 31)), [], "not at once");
    let second = send(&mut outbox, 2, &seen(4_000, 31));
    assert_ne!(max_gas(&first), max_gas(&second));
}

/// A round may be over by the time an operation is executed that was tried before: then it settles the caller, too.
#[test]
fn there_is_gas_for_settling_whatever_the_trial_run_took() {
    let limit = |gas| {
        let mut outbox = outbox();
        outbox.put(order(100)).unwrap();
        let operation = outbox.estimated(Purpose::Submission, Ok(gas), &seen(0, 20));
        max_gas(&operation.unwrap()) - gas
    };
    assert_eq!(limit(2_150_000), SETTLING_GAS + 1);
    assert_eq!(limit(45_000_000), 9_000_001, "a fifth, where that is more");
    // What was measured last, in millions.
    let readme = include_str!("../../massa-storage-sc/README.md");
    let row = readme
        .lines()
        .find(|line| line.starts_with("| settling two open claims"));
    let columns = row
        .unwrap()
        .split('|')
        .filter_map(|column| column.trim().parse::<f64>().ok());
    let measured = columns.fold(0.0, f64::max);
    assert!(measured > 0.0 && measured * 2e6 <= SETTLING_GAS as f64, "{measured}");
}

#[test]
fn equal_orders_become_different_operations() {
    let mut gas = Vec::new();
    for seed in [0, 1_000_000] {
        let mut outbox = Outbox::new(FeeLedger::default(), None, seed);
        for number in 0..3 {
            outbox.put(order(100)).unwrap();
            gas.push(max_gas(&send(&mut outbox, number, &seen(0, 20))));
            let done = OperationStatus {
                candidate: None,
                final_status: Some(true),
            };
            outbox.checked(Purpose::Submission, done, None, &seen(0, 20));
        }
    }
    gas.sort_unstable();
    gas.dedup();
    assert_eq!(gas.len(), 6);
}

#[test]
fn what_the_contract_refuses_costs_nothing_and_is_tried_later_and_later() {
    let mut outbox = outbox();
    outbox.put(order(100)).unwrap();
    let mut at = 0;
    for wait in [2_000, 4_000, 8_000] {
        assert_eq!(outbox.steps(&seen(at, 20)), [ESTIMATE()]);
        let refused = Err(ContractError::Refused("round is not open".into()));
        assert_eq!(outbox.estimated(Purpose::Submission, refused, &seen(at, 20)), None);
        assert_eq!(outbox.steps(&seen(at + wait - 1, 20)), []);
        at += wait;
    }
    assert_eq!(outbox.last_refusal().unwrap().reason, "round is not open");
    assert_eq!(outbox.fees().last_day(at), Amount::zero());
    // Too late, with the contract's words.
    assert_eq!(outbox.steps(&seen(at, 101)), []);
    let outcome = outbox.take_outcome(Purpose::Submission);
    assert_eq!(outcome, Some(Outcome::TooLate("round is not open".into())));
}

#[test]
fn a_failure_in_a_block_ends_the_order_with_the_contract_s_words_and_costs_the_fee() {
    let mut outbox = outbox();
    outbox.put(order(100)).unwrap();
    send(&mut outbox, 1, &seen(0, 20));
    let failed = OperationStatus {
        candidate: Some(false),
        final_status: Some(false),
    };
    outbox.checked(Purpose::Submission, failed, Some("not enough".into()), &seen(1_000, 21));
    assert_eq!(outbox.last_refusal().unwrap().reason, "not enough");
    assert_eq!(outbox.fees().last_day(1_000), LIMITS.minimal_fee);
    assert!(!outbox.is_pending(Purpose::Submission));
    let outcome = outbox.take_outcome(Purpose::Submission);
    assert_eq!(outcome, Some(Outcome::Refused("not enough".into())));
}

#[test]
fn the_limits_of_the_operator_and_of_a_block_bite() {
    let refusal = |max_fees, gas, balance| {
        let mut fees = FeeLedger::default();
        fees.add(0, Amount::from_raw(95_000_000));
        let mut outbox = Outbox::new(fees, max_fees, 0);
        outbox.put(order(100)).unwrap();
        let seen = Seen { balance, ..seen(0, 20) };
        let operation = outbox.estimated(Purpose::Submission, Ok(gas), &seen);
        operation.map_or_else(
            || outbox.last_refusal().unwrap().reason.clone(),
            |operation| format!("sent with {} gas", max_gas(&operation)),
        )
    };
    let tenth = Some(Amount::from_raw(100_000_000));
    assert_eq!(
        refusal(tenth, 1, mas(10)),
        "max_fees_per_day: 0.095 of 0.10 MAS are spent"
    );
    assert_eq!(
        refusal(Some(Amount::from_raw(105_000_000)), 100, mas(10)),
        "sent with 8000101 gas"
    );
    assert_eq!(
        refusal(None, 100_000_001, mas(10)),
        "needs 100000001 gas, an operation has 100000000 at most"
    );
    assert_eq!(refusal(None, 100_000_000, mas(10)), "sent with 100000000 gas");
    assert_eq!(refusal(None, 90_000_000, mas(10)), "sent with 99999999 gas");
    assert_eq!(
        refusal(None, 1, mas(1)),
        "1 MAS do not pay 1 MAS of coins and 0.01 MAS of fee"
    );
}

#[test]
fn nothing_is_included_after_it_stopped_making_sense() {
    let mut outbox = outbox();
    outbox.put(order(25)).unwrap();
    assert_eq!(send(&mut outbox, 1, &seen(0, 20)).expire_period, 25);
}

struct Running {
    chain: Arc<Chain>,
    handle: ClientHandle,
    manager: ClientManager,
}

fn running(chain: Arc<Chain>, operator: Option<Address>, change: impl FnOnce(&mut ClientParts)) -> Running {
    let host = Arc::clone(&chain) as Arc<dyn ContractHost>;
    let nodes = Arc::new(RegistryNodeSet::new(Arc::clone(&host), genesis(), LOCAL));
    let mut parts = ClientParts {
        host,
        nodes,
        operator,
        registry: Box::new(|| Some(registry())),
        on_nodes: Box::new(|_| ()),
        max_fees_per_day: None,
        fees_path: None,
        deployment: None,
    };
    change(&mut parts);
    let (manager, handle) = start_contract_client(parts).unwrap();
    Running { chain, handle, manager }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn status_with(handle: &ClientHandle, what: &str, condition: impl Fn(&ClientStatus) -> bool) -> ClientStatus {
    wait_for(what, || condition(&handle.status()));
    handle.status()
}

#[test]
fn the_client_follows_a_registry_that_comes_later_and_tells_its_nodes() {
    let row = Row::new(1);
    let operator = row.address;
    let address = Arc::new(Mutex::new(None));
    let told = Arc::new(Mutex::new(Vec::new()));
    let running = running(chain(60, &[row]), Some(operator), |parts| {
        let (address, told) = (Arc::clone(&address), Arc::clone(&told));
        parts.registry = Box::new(move || *address.lock());
        parts.on_nodes = Box::new(move |nodes| told.lock().extend(nodes.iter().map(|node| node.address)));
    });
    let before = running.handle.status();
    assert_eq!((before.registry, before.own), (None, None));
    assert_eq!(
        running.handle.call(Purpose::ClaimRewards, claim_rewards(), mas(0), 99),
        Err(OrderError::NoRegistry)
    );
    *address.lock() = Some(registry());
    let status = status_with(&running.handle, "followed", |status| status.registered_nodes == 1);
    assert_eq!(status.registry, Some(registry()));
    assert_eq!(status.own.unwrap().weight_at(6), 10);
    assert_eq!(status.balance, Some(mas(1_000)));
    assert_eq!(*told.lock(), [operator]);
}

#[test]
fn a_call_is_sent_from_the_operator_and_its_end_is_told() {
    let row = Row::new(1);
    let directory = tempfile::tempdir().unwrap();
    let fees = directory.path().join("fees");
    let mut running = running(chain(60, std::slice::from_ref(&row)), Some(row.address), |parts| {
        parts.fees_path = Some(fees.clone());
    });
    status_with(&running.handle, "followed", |status| status.registry.is_some());
    running.handle.call(Purpose::ClaimRewards, fund(), mas(2), 99).unwrap();
    wait_for("sent", || running.chain.0.lock().sent.len() == 1);
    running.chain.0.lock().statuses.insert(operation_id(1), true);
    let mut outcome = None;
    wait_for("done", || {
        outcome = outcome
            .take()
            .or_else(|| running.handle.take_outcome(Purpose::ClaimRewards));
        outcome.is_some()
    });
    assert_eq!(outcome, Some(Outcome::Done(operation_id(1))));
    let sent = running.chain.0.lock().sent[0].clone();
    let OperationType::CallSC {
        target_addr,
        target_func,
        coins,
        ..
    } = sent.op
    else {
        panic!("not a call");
    };
    assert_eq!((target_addr, target_func.as_str(), coins), (registry(), "fund", mas(2)));
    running.manager.stop();
    let ledger = FeeLedger::from_text(&std::fs::read_to_string(&fees).unwrap());
    assert!(!ledger.to_text().is_empty(), "fees outlive a restart");
}

#[test]
fn refusals_and_low_coins_are_told() {
    let row = Row::new(1);
    let chain = chain(60, std::slice::from_ref(&row));
    chain.0.lock().refusal = Some("no matured rewards".into());
    chain.0.lock().balance = 20_000_000;
    let running = running(chain, Some(row.address), |_| ());
    status_with(&running.handle, "followed", |status| status.registry.is_some());
    running
        .handle
        .call(Purpose::ClaimRewards, claim_rewards(), mas(0), 99)
        .unwrap();
    let status = status_with(&running.handle, "refused", |status| status.last_refusal.is_some());
    assert_eq!(status.last_refusal.unwrap().reason, "no matured rewards");
    assert_eq!(
        status.low_balance.unwrap(),
        "0.02 MAS are fewer than 100 fees of 0.01 MAS"
    );
    assert_eq!(status.pending, [Purpose::ClaimRewards]);
    assert!(running.chain.0.lock().sent.is_empty());
}

#[test]
fn a_registry_is_made_once() {
    let address = Arc::new(Mutex::new(None));
    let chain = chain(60, &[]);
    let said = format!("Contract deployed at address: {REGISTRY}");
    chain.0.lock().events = vec![OperationEvent {
        data: said,
        is_error: false,
    }];
    let operator = Row::new(1).address;
    let running = running(chain, Some(operator), |parts| {
        let (found, made) = (Arc::clone(&address), Arc::clone(&address));
        parts.registry = Box::new(move || *found.lock());
        let contract = NewContract {
            bytecode: vec![1],
            parameter: vec![2],
            coins: mas(1),
        };
        parts.deployment = Some(Deployment {
            operation: deployment(vec![3], &contract, 0),
            on_deployed: Box::new(move |address| *made.lock() = Some(address)),
        });
    });
    wait_for("sent", || running.chain.0.lock().sent.len() == 1);
    running.chain.0.lock().statuses.insert(operation_id(1), true);
    status_with(&running.handle, "followed", |status| {
        status.registry == Some(registry())
    });
    assert_eq!(running.chain.0.lock().sent.len(), 1);
}

#[test]
fn nobody_signs_without_a_key() {
    let running = running(chain(60, &[]), None, |_| ());
    status_with(&running.handle, "followed", |status| status.registry.is_some());
    let refused = running.handle.call(Purpose::ClaimRewards, claim_rewards(), mas(0), 99);
    assert_eq!(refused, Err(OrderError::NoOperator));
}
