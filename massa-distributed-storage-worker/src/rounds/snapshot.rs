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
/// Accepted rounds that are looked at, for each final period, on the way back to the one that gives a placement key.
const KEY_ROUNDS: usize = 64;

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
    key_search: Option<KeySearch>,
}

/// The way back, over accepted rounds, to the first that opened after a registration. It never changes once it is found.
#[derive(Clone, Copy, Debug)]
struct KeySearch {
    registered_period: u64,
    /// The earliest that is known to have opened after it.
    round: u64,
    is_first: bool,
}

impl SnapshotReader {
    /// For the decisions of `node`. Nothing is read yet.
    pub fn new(registry: Address, node: Address) -> Self {
        Self {
            registry,
            node,
            round_periods: None,
            accepted: Arc::default(),
            key_search: None,
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
            self.read_claimed_rounds(host, node, periods, &mut rounds);
        }
        let registered = node.as_ref().filter(|node| node.placement_key.is_none());
        let registered = registered.map(|node| node.registered_period);
        let key_round = self.find_key_round(host, registered, state.last_accepted_round, periods);
        self.catch_up(host, config.next.first_segment, state.next_segment);
        Some(Snapshot {
            period,
            config,
            state,
            node,
            rounds,
            key_round,
            accepted_roots: Arc::clone(&self.accepted),
        })
    }

    fn read_round(&self, host: &dyn ContractHost, round: u64, periods: u64) -> Option<RoundRecord> {
        let row = host.final_entries(&self.registry, &[round_key(round.saturating_mul(periods))]);
        RoundRecord::decode(&row.into_iter().next()??).ok()
    }

    /// Adds the records of a node's claims, however old. Reads a row for each that is not there.
    fn read_claimed_rounds(
        &self,
        host: &dyn ContractHost,
        node: &NodeRecord,
        periods: u64,
        rounds: &mut BTreeMap<u64, RoundRecord>,
    ) {
        for claim in node.slots.iter().flatten() {
            if let Entry::Vacant(unknown) = rounds.entry(claim.round) {
                self.read_round(host, claim.round, periods)
                    .map(|record| unknown.insert(record));
            }
        }
    }

    /// The first round with an accepted beacon that opened after `registered`, the period in which a node without a placement key joined.
    /// Reads [`KEY_ROUNDS`] rows at most, and goes on from there the next time; `None` until it is found.
    fn find_key_round(
        &mut self,
        host: &dyn ContractHost,
        registered: Option<u64>,
        last_accepted: Option<u64>,
        periods: u64,
    ) -> Option<u64> {
        let known = self.key_search.take();
        let registered_period = registered?;
        let after = |round: &u64| round.saturating_mul(periods) > registered_period;
        let from_last = |round| KeySearch {
            registered_period,
            round,
            is_first: false,
        };
        let known = known.filter(|known| known.registered_period == registered_period);
        let mut search = known.or_else(|| last_accepted.filter(after).map(from_last))?;
        for _ in 0..KEY_ROUNDS {
            if search.is_first {
                break;
            }
            let Some(record) = self.read_round(host, search.round, periods) else {
                break;
            };
            let before = record.previous_accepted_round.filter(after);
            match before.filter(|before| *before < search.round) {
                Some(before) => search.round = before,
                None => search.is_first = true,
            }
        }
        self.key_search = Some(search);
        search.is_first.then_some(search.round)
    }

    fn read_round_periods(&mut self, host: &dyn ContractHost) -> Option<u64> {
        if self.round_periods.is_none() {
            let rows = host.final_entries(&self.registry, &[CONFIG_KEY.to_vec()]);
            let row = rows.into_iter().next()??;
            self.round_periods = Some(ConfigRecord::decode(&row).ok()?.round_periods());
        }
        self.round_periods
    }

    /// Reads the roots that were accepted since, above and below those that are known: they never change. While nothing was, the same
    /// `Arc` stays.
    fn catch_up(&mut self, host: &dyn ContractHost, first_segment: u64, next_segment: u64) {
        let mut next = self
            .accepted
            .last_key_value()
            .map_or(first_segment, |(last, _)| last + 1);
        while next < next_segment {
            let page: Vec<u64> = (next..next_segment.min(next + ROOTS_PAGE)).collect();
            if let Some(segment) = self.read_roots(host, &page) {
                warn!(
                    segment,
                    "the registry says that a root is accepted, and does not have it"
                );
                return;
            }
            next += ROOTS_PAGE;
        }
        self.read_earlier(host);
    }

    /// Roots that were accepted from later ones, downwards without a gap. Where none was since, a row is looked for.
    fn read_earlier(&mut self, host: &dyn ContractHost) {
        let mut count = 1;
        while let Some((first, _)) = self.accepted.first_key_value() {
            let page: Vec<u64> = (first.saturating_sub(count)..*first).rev().collect();
            if page.is_empty() || self.read_roots(host, &page).is_some() {
                return;
            }
            count = ROOTS_PAGE;
        }
    }

    /// Takes in the accepted roots of these segments, as far as they are there; returns the first that is not.
    fn read_roots(&mut self, host: &dyn ContractHost, segments: &[u64]) -> Option<u64> {
        let keys: Vec<Vec<u8>> = segments.iter().map(|segment| segment_key(*segment)).collect();
        for (segment, row) in segments.iter().zip(host.final_entries(&self.registry, &keys)) {
            let Some(accepted) = row.and_then(|row| decode_segment_root(&row).ok().flatten()) else {
                return Some(*segment);
            };
            Arc::make_mut(&mut self.accepted).insert(*segment, accepted.root);
        }
        None
    }
}
