//! What is asked for, and whom: entries for hints, blocks of slots, entries of the border.

use super::{Asked, OpenPeriods, PeriodAction, PeriodsPlan, PeriodsView};
use crate::fetch::sources::{may_have_block, says_whole};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{FetchTarget, StoragePeer, MAX_FETCH_ENTRIES};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::ops::Range;
use std::time::Duration;

/// Peers of one request for a block.
const HOLDERS: usize = 4;
/// How long entries are waited for before every slot is asked for.
const HINT_WAIT: Duration = Duration::from_secs(2);

impl PeriodsPlan {
    pub(super) fn ask(&mut self, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        let mut actions = self.ask_entries(view);
        let periods: Vec<u64> = self.jobs.keys().rev().copied().collect();
        let mut bytes = self.bytes();
        for period in periods {
            let threads: Vec<u8> = self.jobs[&period].due(view.now).collect();
            for thread in threads {
                let has_room = bytes + self.average <= self.limits.bytes;
                // Without the newest nothing below it can be believed.
                if !has_room && !self.requests.is_empty() {
                    return actions;
                }
                if let Some(action) = self.ask_block(Slot::new(period, thread), view) {
                    bytes += self.average;
                    actions.push(action);
                }
            }
        }
        actions
    }

    /// Asks for the entries of periods of which nobody was asked yet, one peer for each run of them.
    fn ask_entries(&mut self, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (period, _) in self.jobs.iter().filter(|(_, job)| job.wants_hint()) {
            match runs.last_mut() {
                Some(run) if run.end == *period && run.end - run.start < u64::from(MAX_FETCH_ENTRIES) => run.end += 1,
                _ => runs.push(*period..*period + 1),
            }
        }
        let mut actions = Vec::new();
        for run in runs {
            let whole = |peer: &&StoragePeer| says_whole(peer, run.end - 1) && may_have_block(peer, run.start);
            let mut holders: Vec<NodeId> = view.peers.iter().filter(whole).map(|peer| peer.node).collect();
            for (_, job) in self.jobs.range_mut(run.clone()) {
                job.hint_asked(view.now + if holders.is_empty() { Duration::ZERO } else { HINT_WAIT });
            }
            if holders.is_empty() {
                continue;
            }
            let start = run.start as usize % holders.len();
            holders.rotate_left(start);
            holders.truncate(HOLDERS);
            let id = self.ids.next_id();
            let (first, count) = (run.start, (run.end - run.start) as u32);
            let bytes = u64::from(count) * u64::from(PeriodEntry::max_length(self.parameters.thread_count));
            self.windows.on_asked(id, holders[0], bytes, view.now);
            self.requests.insert(id, Asked::Entries { first, count });
            let target = FetchTarget::Entries {
                first_period: first,
                count,
            };
            actions.push(PeriodAction::Fetch { id, target, holders });
        }
        actions
    }

    /// Asks for the entries of the border, one peer after another.
    pub(super) fn ask_border(&mut self, missing: &OpenPeriods, view: &PeriodsView<'_>) -> Option<PeriodAction> {
        let range = missing.entries.clone()?;
        let is_asking = self.requests.values().any(|asked| matches!(asked, Asked::Border(_)));
        if is_asking || self.border_not_before.is_some_and(|until| view.now < until) {
            return None;
        }
        let may_have = |peer: &&StoragePeer| may_have_block(peer, *range.start());
        let mut holders: Vec<NodeId> = view.peers.iter().filter(may_have).map(|peer| peer.node).collect();
        holders.retain(|node| !self.border_asked.contains(node));
        holders.sort_by_key(|node| self.windows.load(node));
        holders.truncate(HOLDERS);
        if holders.is_empty() {
            self.border_asked.clear();
            self.border_not_before = Some(view.now + self.limits.patience);
            return None;
        }
        let id = self.ids.next_id();
        let count = (range.end() - range.start() + 1).min(u64::from(MAX_FETCH_ENTRIES)) as u32;
        // The last ones: they are looked at from the end.
        let first_period = range.end() + 1 - u64::from(count);
        self.windows.on_asked(id, holders[0], u64::from(count), view.now);
        self.requests.insert(id, Asked::Border(holders.clone()));
        let target = FetchTarget::Entries { first_period, count };
        Some(PeriodAction::Fetch { id, target, holders })
    }

    fn ask_block(&mut self, slot: Slot, view: &PeriodsView<'_>) -> Option<PeriodAction> {
        let job = self.jobs.get_mut(&slot.period)?;
        let hinted = job.hinted_by();
        let of_slot = job.slot_mut(slot.thread)?;
        let useful = view.peers.iter().filter(|peer| may_have_block(peer, slot.period));
        let useful: Vec<&StoragePeer> = useful.collect();
        let mut holders: Vec<NodeId> = useful.iter().map(|peer| peer.node).collect();
        holders.retain(|node| !of_slot.was_asked(node));
        if holders.is_empty() && !useful.is_empty() {
            // Everybody was asked: begin again after a while.
            of_slot.begin_again(view.now + self.limits.patience, |node| {
                useful.iter().any(|peer| peer.node == *node)
            });
            return None;
        }
        holders.retain(|node| self.windows.has_room(node, view.now));
        // Different slots from different peers; who says that nothing is missing there comes first.
        if !holders.is_empty() {
            let start = (slot.period as usize + usize::from(slot.thread)) % holders.len();
            holders.rotate_left(start);
        }
        let whole = |node: &NodeId| {
            useful
                .iter()
                .any(|peer| peer.node == *node && says_whole(peer, slot.period))
        };
        holders.sort_by_key(|node| (!whole(node), Some(*node) != hinted));
        holders.truncate(HOLDERS);
        let first = *holders.first()?;
        let id = self.ids.next_id();
        of_slot.ask(id, holders.clone(), view.now);
        self.windows.on_asked(id, first, self.average, view.now);
        self.requests.insert(id, Asked::Block(slot));
        let target = FetchTarget::Block { slot };
        Some(PeriodAction::Fetch { id, target, holders })
    }
}
