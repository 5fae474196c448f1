//! The registry's final state, read for a decision.

use crate::rounds::Snapshot;
use crate::smart_contract::state::{
    electorate_key, node_key, round_key, segment_key, ConfigRecord, NodeRecord, RoundRecord, CONFIG_KEY, STATE_KEY,
};
use crate::smart_contract::storage_registry::{decode_segment_root, decode_state};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use tracing::warn;

/// Accepted roots that are read at once.
const ROOTS_PAGE: u64 = 500;
/// Rounds before the open one whose records are read: those of the claims that a node's record has room for.
const ROUNDS_BEFORE: u64 = 2;

/// Accepted segment roots, which never change: each is read once.
#[derive(Debug, Default)]
pub struct AcceptedRoots {
    roots: BTreeMap<u64, SegmentRoot>,
}

impl AcceptedRoots {
    /// Reads the roots that were accepted since.
    fn catch_up(&mut self, host: &dyn ContractHost, registry: &Address, first_segment: u64, next_segment: u64) {
        let mut next = self.roots.last_key_value().map_or(first_segment, |(last, _)| last + 1);
        while next < next_segment {
            let page: Vec<u64> = (next..next_segment.min(next + ROOTS_PAGE)).collect();
            let keys: Vec<Vec<u8>> = page.iter().map(|segment| segment_key(*segment)).collect();
            for (segment, row) in page.iter().zip(host.final_entries(registry, &keys)) {
                let root = row.and_then(|row| decode_segment_root(&row).ok().flatten());
                let Some(accepted) = root else {
                    warn!(
                        segment,
                        "the registry says that a root is accepted, and does not have it"
                    );
                    return;
                };
                self.roots.insert(*segment, accepted.root);
            }
            next += ROOTS_PAGE;
        }
    }

    /// The roots, by segment.
    pub fn roots(&self) -> &BTreeMap<u64, SegmentRoot> {
        &self.roots
    }
}

/// The last period of which every slot is final.
pub fn whole_period(slot: Slot, thread_count: u8) -> Option<u64> {
    if slot.thread.checked_add(1) == Some(thread_count) {
        Some(slot.period)
    } else {
        slot.period.checked_sub(1)
    }
}

/// Reads what a decision of `node` needs. `None` while the registry is not there, or no period is final.
pub fn read_snapshot(
    host: &dyn ContractHost,
    registry: &Address,
    node: Address,
    thread_count: u8,
    accepted: &mut AcceptedRoots,
) -> Option<Snapshot> {
    // Before the rows: they are at least as new.
    let period = whole_period(host.final_slot(), thread_count)?;
    let periods = read_config(host, registry)?.next.challenge_frequency_periods.max(1);
    let open = period / periods;
    let numbers: Vec<u64> = (open.saturating_sub(ROUNDS_BEFORE)..=open + 1).collect();
    let mut keys = vec![
        CONFIG_KEY.to_vec(),
        STATE_KEY.to_vec(),
        electorate_key(open),
        node_key(&node),
    ];
    keys.extend(numbers.iter().map(|round| round_key(round * periods)));
    let mut rows = host.final_entries(registry, &keys).into_iter();
    let config = ConfigRecord::decode(&rows.next()??).ok()?;
    let state = decode_state(&rows.next()??).ok()?;
    let all_stake_voted = rows.next()?.is_some();
    let node = rows.next()?.and_then(|row| NodeRecord::decode(node, &row).ok());
    let records = numbers.iter().zip(rows);
    let rounds = records.filter_map(|(round, row)| Some((*round, RoundRecord::decode(&row?).ok()?)));
    let rounds = rounds.collect();
    accepted.catch_up(host, registry, config.next.first_segment, state.next_segment);
    Some(Snapshot {
        period,
        config,
        state,
        node,
        rounds,
        accepted_roots: accepted.roots.clone(),
        all_stake_voted,
    })
}

fn read_config(host: &dyn ContractHost, registry: &Address) -> Option<ConfigRecord> {
    let row = host
        .final_entries(registry, &[CONFIG_KEY.to_vec()])
        .into_iter()
        .next()??;
    ConfigRecord::decode(&row).ok()
}
