//! The registry's final state, read for a decision: once for each final period.

use crate::rounds::decide::Snapshot;
use crate::smart_contract::state::{
    node_key, round_key, segment_key, ConfigRecord, NodeRecord, RoundRecord, CONFIG_KEY, STATE_KEY,
};
use crate::smart_contract::views::{decode_segment_root, decode_state};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_models::slot::Slot;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use tracing::warn;

/// Accepted roots that are read at once.
const ROOTS_PAGE: u64 = 500;
/// Rounds before the open one whose records are read in any case: those of the claims of a node that takes part.
const ROUNDS_BEFORE: u64 = 2;

/// The last period of which every slot is final.
pub fn whole_period(slot: Slot, thread_count: u8) -> Option<u64> {
    if slot.thread.checked_add(1) == Some(thread_count) {
        Some(slot.period)
    } else {
        slot.period.checked_sub(1)
    }
}

/// Reads snapshots, and what never changes only once: the length of a round, and accepted roots.
#[derive(Debug)]
pub struct SnapshotReader {
    registry: Address,
    node: Address,
    round_periods: Option<u64>,
    accepted: Arc<BTreeMap<u64, SegmentRoot>>,
}

impl SnapshotReader {
    /// For the decisions of `node`. Nothing is read yet.
    pub fn new(registry: Address, node: Address) -> Self {
        Self {
            registry,
            node,
            round_periods: None,
            accepted: Arc::default(),
        }
    }

    /// What a decision needs, where `period` is final: read before the rows, which are at least as new. `None` while the registry
    /// is not there.
    pub fn read(&mut self, host: &dyn ContractHost, period: u64) -> Option<Snapshot> {
        let periods = self.read_round_periods(host)?;
        let open = period / periods;
        let numbers: Vec<u64> = (open.saturating_sub(ROUNDS_BEFORE)..=open + 1).collect();
        let mut keys = vec![CONFIG_KEY.to_vec(), STATE_KEY.to_vec(), node_key(&self.node)];
        keys.extend(numbers.iter().map(|round| round_key(round.saturating_mul(periods))));
        let mut rows = host.final_entries(&self.registry, &keys).into_iter();
        let config = ConfigRecord::decode(&rows.next()??).ok()?;
        let state = decode_state(&rows.next()??).ok()?;
        let node = rows.next()?.and_then(|row| NodeRecord::decode(self.node, &row).ok());
        let records = numbers.iter().zip(rows);
        let rounds = records.filter_map(|(round, row)| Some((*round, RoundRecord::decode(&row?).ok()?)));
        let mut rounds: BTreeMap<u64, RoundRecord> = rounds.collect();
        if let Some(node) = &node {
            self.read_rounds_of(host, node, state.last_accepted_round, periods, &mut rounds);
        }
        self.catch_up(host, config.next.first_segment, state.next_segment);
        Some(Snapshot {
            period,
            config,
            state,
            node,
            rounds,
            accepted_roots: Arc::clone(&self.accepted),
        })
    }

    /// Adds the records of a node's claims, however old; and, while it has no placement key, of the rounds that were accepted after it
    /// registered: the first of them gives the key. Reads a row for each.
    fn read_rounds_of(
        &self,
        host: &dyn ContractHost,
        node: &NodeRecord,
        last_accepted: Option<u64>,
        periods: u64,
        rounds: &mut BTreeMap<u64, RoundRecord>,
    ) {
        let mut add = |round: u64| match rounds.entry(round) {
            Entry::Occupied(known) => Some(known.get().previous_accepted_round),
            Entry::Vacant(unknown) => {
                let row = host.final_entries(&self.registry, &[round_key(round.saturating_mul(periods))]);
                let record = RoundRecord::decode(&row.into_iter().next()??).ok()?;
                Some(unknown.insert(record).previous_accepted_round)
            }
        };
        for claim in node.slots.iter().flatten() {
            add(claim.round);
        }
        let mut accepted = last_accepted.filter(|_| node.placement_key.is_none());
        while let Some(round) = accepted.filter(|round| round.saturating_mul(periods) > node.registered_period) {
            accepted = add(round).flatten().filter(|previous| *previous < round);
        }
    }

    fn read_round_periods(&mut self, host: &dyn ContractHost) -> Option<u64> {
        if self.round_periods.is_none() {
            let rows = host.final_entries(&self.registry, &[CONFIG_KEY.to_vec()]);
            let row = rows.into_iter().next()??;
            self.round_periods = Some(ConfigRecord::decode(&row).ok()?.round_periods());
        }
        self.round_periods
    }

    /// Reads the roots that were accepted since: they never change. While nothing was, the same `Arc` stays.
    fn catch_up(&mut self, host: &dyn ContractHost, first_segment: u64, next_segment: u64) {
        let mut next = self
            .accepted
            .last_key_value()
            .map_or(first_segment, |(last, _)| last + 1);
        while next < next_segment {
            let page: Vec<u64> = (next..next_segment.min(next + ROOTS_PAGE)).collect();
            let keys: Vec<Vec<u8>> = page.iter().map(|segment| segment_key(*segment)).collect();
            for (segment, row) in page.iter().zip(host.final_entries(&self.registry, &keys)) {
                let root = row.and_then(|row| decode_segment_root(&row).ok().flatten());
                let Some(accepted) = root else {
                    warn!(
                        segment,
                        "the registry says that a root is accepted, and does not have it"
                    );
                    return;
                };
                Arc::make_mut(&mut self.accepted).insert(*segment, accepted.root);
            }
            next += ROOTS_PAGE;
        }
    }
}
