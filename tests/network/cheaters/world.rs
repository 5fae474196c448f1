//! What all cheaters see, and what is found out of the run.

use super::claims::{held_chunk, Tree};
use super::{Role, CONSPIRATORS, HONEST, REPLICAS, ROLES};
use crate::common::THREADS;
use crate::remote::{Answers, Caller, Remote};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::PAGE_LEAVES;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_distributed_storage_worker::challenge::segment_claim::HeldChunk;
use massa_distributed_storage_worker::challenge::Reason;
use massa_distributed_storage_worker::replication::placement_score;
use massa_distributed_storage_worker::rounds::settlement::slash_of;
use massa_distributed_storage_worker::rounds::snapshot::SnapshotReader;
use massa_distributed_storage_worker::rounds::RoundTimes;
use massa_distributed_storage_worker::smart_contract::node_set::read_nodes;
use massa_distributed_storage_worker::smart_contract::state::{round_key, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::storage_registry::resolve_expired_challenges;
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use massa_localnet::genesis::{ROUND_PERIODS, SEGMENT_PERIODS};
use massa_localnet::Network;
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// What all cheaters see, and what is found out of the run.
pub struct World {
    pub registry: Address,
    pub remote: Remote,
    reader: SnapshotReader,
    admin: Caller,
    pub honest: Vec<Address>,
    pub cheaters: BTreeMap<Role, Address>,
    store_paths: Vec<PathBuf>,
    /// The archives of all nodes as they were when the round began: opened once a round, as that takes a while.
    pub stores: Vec<SegmentStore>,
    stores_of: Option<u64>,
    roots_asked_in: u64,
    pub period: u64,
    pub records: Vec<NodeRecord>,
    /// From this round on flags of being filled count.
    pub flags_from: Option<u64>,
    pub rounds: BTreeMap<u64, RoundRecord>,
    pub results: BTreeMap<(Address, u64), RoundResult>,
    /// What each claim was credited, and did not lose by a refutation.
    pub credits: BTreeMap<(Address, u64), Amount>,
    /// Roots of segments that are closed in an honest archive.
    pub roots: BTreeMap<u64, SegmentRoot>,
    /// The last answers that an honest node gave in an earlier round.
    others_answers: Vec<Vec<u8>>,
    answers_read_below: u64,
    /// Who claimed a round to void it.
    pub conspiracies: BTreeMap<u64, BTreeSet<Role>>,
    /// Whether the conspirators were together in a round.
    verdicts: BTreeMap<u64, bool>,
    settled_in: u64,
}

impl World {
    /// Nothing is seen yet.
    pub fn new(network: &Network, registry: Address) -> Self {
        let nodes = network.nodes();
        let cheating = nodes[HONEST..].iter().zip(ROLES);
        Self {
            registry,
            remote: Remote::new(&nodes[0], network.clock()),
            // Of nobody's node: what is read is for all of them.
            reader: SnapshotReader::new(registry, network.accounts()[0]),
            admin: Caller {
                wallet: network.accounts_path(),
                from: network.accounts()[0],
                registry,
            },
            honest: nodes[..HONEST].iter().map(massa_localnet::Node::operator).collect(),
            cheaters: cheating.map(|(node, role)| (role, node.operator())).collect(),
            store_paths: nodes.iter().map(massa_localnet::Node::store_path).collect(),
            stores: Vec::new(),
            stores_of: None,
            roots_asked_in: 0,
            period: 0,
            records: Vec::new(),
            flags_from: None,
            rounds: BTreeMap::new(),
            results: BTreeMap::new(),
            credits: BTreeMap::new(),
            roots: BTreeMap::new(),
            others_answers: Vec::new(),
            answers_read_below: 0,
            conspiracies: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            settled_in: 0,
        }
    }

    /// Reads the registry's final state.
    pub fn look(&mut self) -> Result<(), String> {
        let snapshot = self.remote.snapshot(&mut self.reader, THREADS);
        let snapshot = snapshot.ok_or("no final state of the registry")?;
        self.period = snapshot.period;
        self.rounds.extend(snapshot.rounds);
        self.records = read_nodes(&self.remote, &self.registry);
        self.flags_from = snapshot.state.flags_from_round;
        for record in &self.records {
            let claims = record.slots.iter().flatten();
            let told = |claim: &&RoundResult| claim.state == ClaimState::Settled || claim.refuted;
            for claim in claims.filter(told) {
                let key = (record.address, claim.round);
                let credit = self.credits.entry(key).or_default();
                // It is no longer in the row of its round once it has matured; what is refuted is gone before.
                *credit = if claim.refuted {
                    claim.credit
                } else {
                    claim.credit.max(*credit)
                };
                self.results.insert(key, claim.clone());
            }
        }
        self.open_stores();
        self.read_roots();
        self.read_answers();
        self.settle_cheaters();
        Ok(())
    }

    pub fn record(&self, address: &Address) -> Option<&NodeRecord> {
        self.records.iter().find(|record| record.address == *address)
    }

    fn open_stores(&mut self) {
        let round = self.period / ROUND_PERIODS;
        if self.stores_of == Some(round) {
            return;
        }
        let opened = self.store_paths.iter().map(SegmentStore::open_read_only);
        // A file that is compacted away meanwhile: the next look finds the new one.
        if let Ok(stores) = opened.collect() {
            self.stores = stores;
            self.stores_of = Some(round);
        }
    }

    /// Roots of segments that are over, from an honest archive.
    fn read_roots(&mut self) {
        let next = self.roots.last_key_value().map_or(0, |(last, _)| last + 1);
        if (next + 1) * SEGMENT_PERIODS > self.period || self.roots_asked_in == self.period {
            return;
        }
        self.roots_asked_in = self.period;
        let Ok(store) = SegmentStore::open_read_only(&self.store_paths[0]) else {
            return;
        };
        for segment in next.. {
            let Ok(Some(root)) = store.segment_root(segment) else {
                return;
            };
            self.roots.insert(segment, root);
        }
    }

    /// What honest nodes answer, from final blocks.
    fn read_answers(&mut self) {
        let times = RoundTimes::of_period(self.period, ROUND_PERIODS);
        let next = self.answers_read_below.max(times.window_opens());
        if next > self.period || !times.in_window(next) {
            return;
        }
        let Some(answers) = self.remote.answers(next, &self.registry) else {
            return;
        };
        self.answers_read_below = next + 1;
        let honest = |(node, _, answers): &Answers| self.honest.contains(node) && !answers.is_empty();
        if let Some((_, _, answers)) = answers.into_iter().find(honest) {
            self.others_answers = answers;
        }
    }

    /// Who sits out sends nothing, so its rounds are settled for it.
    fn settle_cheaters(&mut self) {
        let times = RoundTimes::of_period(self.period, ROUND_PERIODS);
        if !times.window_over(self.period) || self.settled_in >= times.round {
            return;
        }
        let over = |claim: &RoundResult| {
            let of_claim = RoundTimes {
                round: claim.round,
                ..times
            };
            claim.state != ClaimState::Settled && of_claim.window_over(self.period)
        };
        let open = self.cheaters.values().filter(|address| {
            let record = self.record(address);
            record.is_some_and(|record| record.slots.iter().flatten().any(over))
        });
        let texts: Vec<String> = open.map(ToString::to_string).collect();
        let call = resolve_expired_challenges(&texts);
        let until = self.period + ROUND_PERIODS;
        if !texts.is_empty() && self.remote.send(&self.admin, &call, until).is_ok() {
            self.settled_in = times.round;
        }
    }

    /// The answer to a draw out of what a node archived, of those whose index is wanted.
    pub fn answer(&self, tree: &Tree, leaf: u64, wanted: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
        let stores = self.stores.iter().zip(0..).filter(|(_, node)| wanted(*node));
        let mut answers = stores.filter_map(|(store, _)| tree.answer(store, leaf));
        answers.next().map(|answer| answer.to_bytes())
    }

    /// An answer that is not one, and why.
    pub fn false_proof(&self, tree: &Tree, leaf: u64, draw: usize) -> Option<(Option<Vec<u8>>, Reason)> {
        let find = |leaf: u64| self.stores.iter().find_map(|store| tree.answer(store, leaf));
        let (answer, reason) = match draw % 3 {
            0 => (self.others_answers.get(draw)?.clone(), Reason::SumPath),
            1 => {
                let mut kept = find(leaf)?;
                kept.leaf.fill(0);
                (kept.to_bytes(), Reason::LeafPath)
            }
            _ => {
                let drawn = tree.draw(leaf)?.chunk.position;
                let mut others = (0..tree.claim().leaves).step_by(PAGE_LEAVES).filter(|other| {
                    let of_other = tree.draw(*other);
                    of_other.is_some_and(|other| other.chunk.position != drawn)
                });
                (others.find_map(find)?.to_bytes(), Reason::NotDrawn)
            }
        };
        Some((Some(answer), reason))
    }

    /// How many nodes score lower than `address` for a chunk; all weigh the same.
    pub fn rank(&self, address: &Address, chunk: &ChunkId) -> Option<usize> {
        self.before(address, chunk, |_| true)
    }

    /// How many honest nodes score lower.
    fn honest_before(&self, address: &Address, chunk: &ChunkId) -> Option<usize> {
        self.before(address, chunk, |other| self.honest.contains(other))
    }

    fn before(&self, address: &Address, chunk: &ChunkId, counts: impl Fn(&Address) -> bool) -> Option<usize> {
        let score = |record: &NodeRecord| placement_score(chunk, record.placement_key.as_ref()?, 1);
        let own = score(self.record(address)?)?;
        let others = self.records.iter().filter(|record| counts(&record.address));
        Some(others.filter_map(score).filter(|score| *score < own).count())
    }

    /// Whether the conspirators all claimed this round to void it together. Once said, it stays.
    pub fn is_conspired(&mut self, round: u64) -> bool {
        let void = self.void_round();
        let agreed = self
            .conspiracies
            .get(&round)
            .is_some_and(|with| with.len() == CONSPIRATORS.len());
        let claimed = CONSPIRATORS.iter().all(|role| {
            let record = self.record(&self.cheaters[role]);
            record.is_some_and(|record| record.claim_of(round).is_some())
        });
        *self
            .verdicts
            .entry(round)
            .or_insert(void.is_none() && agreed && claimed)
    }

    pub fn void_round(&self) -> Option<u64> {
        self.verdicts
            .iter()
            .find(|(_, conspired)| **conspired)
            .map(|(round, _)| *round)
    }

    /// What the settled rounds of a node cost of its stake by the rules, refutations left out.
    pub fn slashed(&self, address: &Address) -> Amount {
        let settled =
            |(key, result): &(&(Address, u64), &RoundResult)| key.0 == *address && result.state == ClaimState::Settled;
        let of_node = self.results.iter().filter(settled);
        let costs = of_node.map(|((_, round), result)| {
            let rows = self
                .remote
                .final_entries(&self.registry, &[round_key(round * ROUND_PERIODS)]);
            let record = RoundRecord::decode(&rows.into_iter().next().flatten().unwrap()).unwrap();
            let reason = Reason::from_code(result.reason).unwrap();
            slash_of(result, reason, &record)
        });
        costs.fold(Amount::zero(), Amount::saturating_add)
    }

    /// Tables of these segments, from an honest archive.
    pub fn tables(&self, segments: impl Iterator<Item = u64>) -> BTreeMap<u64, Arc<SegmentTable>> {
        let Some(store) = self.stores.first() else {
            return BTreeMap::new();
        };
        let table = |segment| Some((segment, store.table(segment).ok()??));
        segments.filter_map(table).collect()
    }

    /// What `address` claims of these segments: what is assigned to it, or as much of what others are.
    pub fn claimable(
        &self,
        address: &Address,
        tables: &BTreeMap<u64, Arc<SegmentTable>>,
        assigned: bool,
    ) -> Vec<HeldChunk> {
        let mut chunks = chunks_of(tables);
        let is_assigned = |chunk: &HeldChunk| self.rank(address, &chunk.id).is_some_and(|rank| rank < REPLICAS);
        if assigned {
            chunks.retain(is_assigned);
            return chunks;
        }
        let share = chunks.iter().filter(|chunk| is_assigned(chunk)).count();
        let before = |chunk: &HeldChunk| self.honest_before(address, &chunk.id);
        chunks.retain(|chunk| before(chunk).is_some_and(|count| count >= REPLICAS));
        // Not more than its share: the others would no longer have theirs.
        chunks.truncate(share);
        chunks
    }
}

/// Every chunk of these segments.
pub fn chunks_of(tables: &BTreeMap<u64, Arc<SegmentTable>>) -> Vec<HeldChunk> {
    let of_table = |table: &Arc<SegmentTable>| -> Vec<HeldChunk> {
        let count = table.header().chunk_count();
        (0..count).map(|index| held_chunk(table, index)).collect()
    };
    tables.values().flat_map(of_table).collect()
}
