//! A chain whose registry is the model: its rows are written as the contract's README lays them out, and what is sent is executed at
//! once, in the period after the final one.

use crate::common::world::{World, THREADS};
use crate::registry_model::Model;
use crate::rounds_world::SEGMENTS;
use massa_distributed_storage_exports::contract::{
    ContractError, ContractHost, OperationEvent, OperationLimits, OperationStatus,
};
use massa_distributed_storage_exports::merkle::leaf_hash;
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{MerkleProof, SegmentRoot};
use massa_distributed_storage_worker::challenge::refutation::{Bench, Refutation};
use massa_distributed_storage_worker::challenge::segment_answer::{check_answer, SegmentAnswer};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumPath};
use massa_distributed_storage_worker::challenge::Reason;
use massa_distributed_storage_worker::smart_contract::state::{
    node_key, round_key, segment_key, ConfigRecord, NodeRecord, RoundRecord,
};
use massa_distributed_storage_worker::smart_contract::storage_registry::{StorageConfig, Submission};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RegistryState, RoundResult};
use massa_models::address::{Address, SCAddress, SCAddressV0};
use massa_models::amount::Amount;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use parking_lot::Mutex;
use std::collections::BTreeMap;

pub const SEGMENT: u64 = 4;
/// P.
pub const PERIODS: u64 = SEGMENT * SEGMENTS;
pub const STAKE: u64 = 100_000_000_000;
const NEVER: u64 = u64::MAX;
const CHAIN_ID: u64 = 77;

pub fn registry() -> Address {
    Address::SC(SCAddress::SCAddressV0(SCAddressV0(massa_hash::Hash::compute_from(
        b"registry",
    ))))
}

/// See the module.
pub struct TestChain(Mutex<State>);

struct State {
    model: Model,
    period: u64,
    /// Everything that is sent is refused.
    refuse: bool,
    /// Everything that is sent fails, though it was estimated to succeed.
    fail: bool,
    failed: Vec<OperationId>,
    /// The rounds' operations that were executed.
    submissions: Vec<Submission>,
    /// Name and refusal of everything that was sent.
    sent: Vec<(String, Option<String>)>,
    reads: u64,
}

impl std::fmt::Debug for TestChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestChain")
    }
}

pub fn node_record(node: &StorageNode) -> NodeRecord {
    NodeRecord {
        address: node.address,
        placement_key: Some(node.placement_key),
        index: 0,
        registered_period: 0,
        stake: Amount::from_raw(STAKE),
        weight_now: 0,
        weight_next: node.allocated_storage_gb,
        weight_from_round: 0,
        leave_round: None,
        last_counted_round: 0,
        lapsed_from: 0,
        lapsed_until: 0,
        filled_from: 0,
        filled_to: NEVER,
        entry_round: Some(0),
        entry_stake: Amount::from_raw(STAKE),
        no_claim_before_round: 0,
        total_draws: 0,
        passed_draws: 0,
        last_challenged_period: 0,
        matured_rewards: Amount::from_raw(0),
        retention_periods: 0,
        votes_round: None,
        voted_below_segment: 0,
        slots: [None, None, None],
        node_id: node.node_id.map(|id| id.to_string()).unwrap_or_default(),
        listeners: Vec::new(),
    }
}

impl TestChain {
    /// Only these nodes are registered, from the beginning.
    pub fn new(nodes: &[&StorageNode]) -> Self {
        let mut model = Model::new(CHAIN_ID, registry(), PERIODS, 1_000_000_000_000);
        for node in nodes {
            model.insert(node_record(node));
        }
        Self(Mutex::new(State {
            model,
            period: 0,
            refuse: false,
            fail: false,
            failed: Vec::new(),
            submissions: Vec::new(),
            sent: Vec::new(),
            reads: 0,
        }))
    }

    pub fn period(&self) -> u64 {
        self.0.lock().period
    }

    pub fn set_period(&self, period: u64) {
        self.0.lock().period = period;
    }

    /// Whether everything that is sent is refused.
    pub fn set_refuse(&self, refuse: bool) {
        self.0.lock().refuse = refuse;
    }

    /// Whether everything that is sent fails in its block.
    pub fn set_fail(&self, fail: bool) {
        self.0.lock().fail = fail;
    }

    pub fn with_model<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut self.0.lock().model)
    }

    /// The operation of a round, if it was executed.
    pub fn submission(&self, round: u64) -> Option<Submission> {
        let state = self.0.lock();
        state.submissions.iter().find(|of| of.round == round).cloned()
    }

    pub fn sent(&self) -> Vec<(String, Option<String>)> {
        self.0.lock().sent.clone()
    }

    /// Times that the rounds read their rows.
    pub fn reads(&self) -> u64 {
        self.0.lock().reads
    }

    /// Final blocks of a period, as the rounds ask for them.
    pub fn ids(world: &World, period: u64) -> Vec<Option<massa_models::block_id::BlockId>> {
        world.encoded(period).entry.ids().collect()
    }
}

impl State {
    fn execute(&mut self, from: &Address, function: &str, parameter: &[u8]) -> Result<(), String> {
        if self.refuse {
            return Err("refused".into());
        }
        let period = self.period + 1;
        match function {
            "submitProof" => {
                let submission = parse_submission(parameter);
                let claims: BTreeMap<Digest, u64> = self.model.nodes[from]
                    .slots
                    .iter()
                    .flatten()
                    .map(|slot| (slot.root, slot.leaves))
                    .collect();
                let roots = self.model.roots.clone();
                let check = |root: &Digest, leaf: u64, answer: &[u8]| {
                    let claim = Claim {
                        root: *root,
                        leaves: claims[root],
                    };
                    check_answer(answer, &claim, leaf, |segment| roots.get(&segment).copied()) == Reason::Passed
                };
                self.model.submit(from, &submission, &check, period)?;
                self.submissions.push(submission);
                Ok(())
            }
            "distributeRewards" => {
                let first = u64::from_le_bytes(parameter.try_into().unwrap());
                self.model.distribute(first / PERIODS, period)
            }
            "claimRewards" => self.model.claim_rewards(from, period).map(|_| ()),
            "setPlacementKey" => {
                let (address, round) = parameter.split_at(parameter.len() - 8);
                assert_eq!(&address[4..], from.to_string().as_bytes());
                let round = u64::from_le_bytes(round.try_into().unwrap());
                self.model.set_key(from, round, period)
            }
            "refuteClaim" => self.refute(parameter),
            "anchorEarlier" => self.anchor_earlier(parameter),
            other => Err(format!("{other} is not simulated")),
        }
    }

    fn refute(&mut self, parameter: &[u8]) -> Result<(), String> {
        let mut bytes = Bytes(parameter);
        let address = |bytes: &mut Bytes<'_>| std::str::from_utf8(bytes.sized()).unwrap().parse().unwrap();
        let (node, round) = (address(&mut bytes), bytes.number());
        let exhibit = SegmentAnswer::from_bytes(bytes.sized()).unwrap();
        let mut witnesses = Vec::new();
        while !bytes.0.is_empty() {
            witnesses.push((address(&mut bytes), SumPath::from_bytes(bytes.sized()).unwrap()));
        }
        let model = &mut self.model;
        let nodes: Vec<NodeRecord> = model.nodes.values().cloned().collect();
        let bench = Bench {
            nodes: &nodes,
            config: &model.config,
            round: &model.rounds[&round],
        };
        let root = model.roots.get(&exhibit.position.segment).copied();
        let refutation = Refutation {
            node,
            round,
            exhibit,
            witnesses,
        };
        let checked = refutation.check(bench, root.as_ref());
        checked.map_err(|error| error.to_string())?;
        let slot = &mut model.nodes.get_mut(&node).unwrap().slots[(round % 3) as usize];
        slot.as_mut().unwrap().refuted = true;
        Ok(())
    }

    fn anchor_earlier(&mut self, parameter: &[u8]) -> Result<(), String> {
        let mut bytes = Bytes(parameter);
        let segment = bytes.number();
        let (header, mut path) = (bytes.sized(), Bytes(bytes.sized()));
        let directions = u16::from_le_bytes(path.take(2).try_into().unwrap());
        let count = path.take(1)[0];
        let siblings = (0..count).map(|_| path.take(32).try_into().unwrap()).collect();
        let root = MerkleProof { directions, siblings }.root(leaf_hash(header)).unwrap();
        let roots = &mut self.model.roots;
        let accepted = roots.get(&segment).ok_or("segment is not anchored")?;
        assert_eq!(accepted.as_bytes(), &root);
        let previous = header[header.len() - 32..].try_into().unwrap();
        match roots.insert(segment - 1, SegmentRoot::from_bytes(previous)) {
            None => Ok(()),
            Some(_) => Err("the segment before is anchored already".into()),
        }
    }

    fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let model = &self.model;
        let mut rows = BTreeMap::from([
            (b"config".to_vec(), config_row(&model.config)),
            (b"state".to_vec(), state_row(&model.state())),
            (
                b"total_nodes".to_vec(),
                (model.nodes.len() as u64).to_le_bytes().to_vec(),
            ),
        ]);
        let nodes = model
            .nodes
            .values()
            .map(|node| (node_key(&node.address), node_row(node)));
        rows.extend(nodes);
        let rounds = model.rounds.iter();
        rows.extend(rounds.map(|(round, record)| (round_key(round * PERIODS), round_row(record))));
        let roots = model.roots.iter();
        rows.extend(roots.map(|(segment, root)| (segment_key(*segment), root_row(root))));
        rows
    }
}

impl ContractHost for TestChain {
    fn final_slot(&self) -> Slot {
        Slot::new(self.period(), THREADS - 1)
    }

    fn current_period(&self) -> u64 {
        self.period() + 1
    }

    fn limits(&self) -> OperationLimits {
        OperationLimits {
            chain_id: CHAIN_ID,
            validity_periods: 10,
            minimal_fee: Amount::from_raw(10_000_000),
            max_gas: 100_000_000,
        }
    }

    fn final_entries(&self, contract: &Address, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut state = self.0.lock();
        // Only the rounds ask for money and rounds at once.
        let asks = |prefix: &[u8]| keys.iter().any(|key| key.starts_with(prefix));
        state.reads += u64::from(asks(b"state") && asks(b"period_"));
        let rows = state.rows();
        let is_registry = *contract == registry();
        keys.iter()
            .map(|key| rows.get(key).filter(|_| is_registry).cloned())
            .collect()
    }

    fn final_keys(&self, contract: &Address, prefix: &[u8], after: Option<&[u8]>, count: usize) -> Vec<Vec<u8>> {
        if *contract != registry() {
            return Vec::new();
        }
        let rows = self.0.lock().rows();
        let keys = rows.into_keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.map_or(true, |after| key.as_slice() > after));
        keys.take(count).collect()
    }

    fn final_balance(&self, _: &Address) -> Option<Amount> {
        Some(Amount::from_raw(1_000_000_000_000))
    }

    fn operation_status(&self, id: &OperationId) -> OperationStatus {
        let succeeded = Some(!self.0.lock().failed.contains(id));
        OperationStatus {
            candidate: succeeded,
            final_status: succeeded,
        }
    }

    fn operation_events(&self, _: &OperationId) -> Vec<OperationEvent> {
        Vec::new()
    }

    fn estimate_gas(&self, from: &Address, operation: &OperationType) -> Result<u64, ContractError> {
        let (function, parameter) = call(operation);
        let mut state = self.0.lock();
        let (before, submissions) = (state.model.clone(), state.submissions.len());
        let results = before.results();
        let tried = state.execute(from, &function, &parameter);
        state.model = before;
        state.model.forget_results_after(results.len());
        state.submissions.truncate(submissions);
        match tried {
            Ok(()) => Ok(100_000),
            Err(reason) => {
                state.sent.push((function, Some(reason.clone())));
                Err(ContractError::Refused(reason))
            }
        }
    }

    fn send(&self, from: &Address, operation: Operation) -> Result<OperationId, ContractError> {
        let (function, parameter) = call(&operation.op);
        let mut state = self.0.lock();
        let executed = match state.fail {
            true => Err("failed".to_string()),
            false => state.execute(from, &function, &parameter),
        };
        let number = state.sent.len() as u64;
        let id = OperationId::new(massa_hash::Hash::compute_from(&number.to_le_bytes()));
        if executed.is_err() {
            state.failed.push(id);
        }
        state.sent.push((function, executed.err()));
        Ok(id)
    }
}

fn call(operation: &OperationType) -> (String, Vec<u8>) {
    match operation {
        OperationType::CallSC { target_func, param, .. } => (target_func.clone(), param.clone()),
        other => panic!("no call: {other:?}"),
    }
}

/// Reads what [`Submission::to_bytes`] and `submit_round` write, without their code.
fn parse_submission(parameter: &[u8]) -> Submission {
    let mut outer = Bytes(parameter);
    let named = String::from_utf8(outer.sized().to_vec()).unwrap();
    let mut bytes = Bytes(outer.sized());
    bytes.sized();
    let round = bytes.number();
    assert_eq!(named, round.to_string());
    let beacon = (bytes.take(1) == [1]).then(|| {
        let beacon: Digest = bytes.take(32).try_into().unwrap();
        let count = bytes.take(1)[0];
        let answers = (0..count).map(|_| (bytes.take(1)[0], bytes.sized().to_vec()));
        (beacon, answers.collect())
    });
    let count = bytes.take(1)[0];
    let roots = (0..count).map(|_| {
        let segment = bytes.number();
        (segment, SegmentRoot::from_bytes(bytes.take(32).try_into().unwrap()))
    });
    let roots = roots.collect();
    let claim = (bytes.take(1) == [1]).then(|| (bytes.take(32).try_into().unwrap(), bytes.number()));
    assert!(bytes.0.is_empty());
    Submission {
        round,
        beacon,
        roots,
        claim,
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn sized(&mut self) -> &'a [u8] {
        let length = u32::from_le_bytes(self.take(4).try_into().unwrap());
        self.take(length as usize)
    }
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn config_row(config: &ConfigRecord) -> Vec<u8> {
    let values = |config: &StorageConfig| {
        [
            config.reward_per_gb_per_period.to_raw(),
            config.min_allocated_gb,
            config.max_allocated_gb,
            config.challenge_response_timeout_ms,
            config.slash_percentage,
            config.min_stake.to_raw(),
            config.stake_per_gb.to_raw(),
            config.replication_factor,
            config.chunk_size_bytes,
            config.challenge_frequency_periods,
            config.first_segment,
            config.round_segments,
        ]
    };
    let both = values(&config.now).into_iter().chain(values(&config.next));
    numbers(both.chain([config.next_round]))
}

fn state_row(state: &RegistryState) -> Vec<u8> {
    let money = [
        state.stakes,
        state.credited,
        state.reserves,
        state.pool,
        state.to_burn,
        state.burned,
    ];
    let money = money.map(|amount| amount.to_raw());
    let mut row = numbers(money.into_iter().chain([
        state.keyed_nodes,
        state.next_segment,
        state.last_accepted_round.unwrap_or(NEVER),
    ]));
    row.push(u8::from(state.proven));
    row.extend([0; 7]);
    let flags_from = state.flags_from_round.unwrap_or(NEVER);
    row.extend(numbers([state.pause_from, NEVER, NEVER, flags_from, state.pause_until]));
    row.extend([0; 10 * 16]);
    row
}

fn round_row(record: &RoundRecord) -> Vec<u8> {
    let mut row = numbers([
        record.claims,
        record.claim_stake.to_raw(),
        record.leaves,
        record.electorate.to_raw(),
        record.draws_expected,
        record.draws_passed,
        record.answers,
        record.rate.to_raw(),
        record.reserve.to_raw(),
        record.slash_percentage,
        record.credit_sum.to_raw(),
        record.node_count,
        record.previous_accepted_round.unwrap_or(NEVER),
    ]);
    let flags = [record.frozen, record.beacon.is_some(), record.closed, record.paused];
    row.extend(flags.map(u8::from));
    row.extend([record.factor as u8, record.chunk_bits, 0, 0]);
    row.extend(record.beacon.unwrap_or_default());
    row.extend(numbers([
        record.stake_per_gb.to_raw(),
        record.beacon_stake.to_raw(),
        record.proven_leaves,
        record.proven_weight,
        record.lasting_weight,
    ]));
    row
}

fn root_row(root: &SegmentRoot) -> Vec<u8> {
    [&root.as_bytes()[..], &0u64.to_le_bytes()].concat()
}

fn claim_row(claim: Option<&RoundResult>) -> Vec<u8> {
    let Some(claim) = claim else {
        let mut row = numbers([NEVER]);
        row.resize(RoundResult::SIZE_BYTES, 0);
        row[104] = 3;
        return row;
    };
    let mut row = numbers([claim.round, claim.leaves, claim.stake.to_raw(), claim.weight]);
    row.extend(claim.root);
    row.extend(claim.beacon);
    row.extend(numbers([claim.credit.to_raw()]));
    let state = match claim.state {
        ClaimState::Claimed => 1,
        ClaimState::Answered => 2,
        ClaimState::Settled => 3,
    };
    row.extend([state, claim.draws, claim.passes, claim.reason]);
    row.extend([claim.refuted, claim.filled].map(u8::from));
    row.resize(RoundResult::SIZE_BYTES, 0);
    row
}

fn node_row(node: &NodeRecord) -> Vec<u8> {
    let mut row = vec![1, 0, 0, u8::from(node.placement_key.is_some()), 0, 0, 0, 0];
    row.extend(numbers([
        node.index,
        node.registered_period,
        node.stake.to_raw(),
        node.weight_now,
        node.weight_next,
        node.weight_from_round,
        node.leave_round.unwrap_or(NEVER),
        node.last_counted_round,
        node.lapsed_from,
        node.lapsed_until,
        node.filled_from,
        node.filled_to,
        node.entry_round.unwrap_or(NEVER),
        node.no_claim_before_round,
        node.total_draws,
        node.passed_draws,
        node.last_challenged_period,
        node.matured_rewards.to_raw(),
        node.retention_periods,
        node.votes_round.unwrap_or(NEVER),
        node.voted_below_segment,
    ]));
    row.extend(node.placement_key.unwrap_or_default());
    node.slots.iter().for_each(|slot| row.extend(claim_row(slot.as_ref())));
    row.extend(node.entry_stake.to_raw().to_le_bytes());
    for text in [node.node_id.as_str(), "127.0.0.1:31244"] {
        row.extend((text.len() as u16).to_le_bytes());
        row.extend(text.as_bytes());
    }
    row
}
