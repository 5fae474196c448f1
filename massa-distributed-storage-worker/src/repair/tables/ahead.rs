//! Segments whose tables are missing or not believed yet: a window below what is believed, bounded in bytes.

use super::Here;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::BTreeMap;
use std::ops::Range;

/// Segments of the window at least and at most, whatever their tables' size.
const SEGMENTS: std::ops::RangeInclusive<u64> = 64..=16_384;
/// Peers that are remembered to have failed one segment.
const AVOID_MAX: usize = 64;

/// A table that is not believed yet.
pub(super) struct Unverified {
    pub(super) root: SegmentRoot,
    pub(super) from: NodeId,
    table: SegmentTable,
}

/// A segment that is not settled.
pub(super) enum Pending {
    /// Its table has to be fetched.
    Missing {
        /// The request that asks for it.
        asked: Option<u64>,
        /// Who failed to send it.
        avoid: Vec<NodeId>,
    },
    /// Its table arrived.
    Held(Box<Unverified>),
    /// It is here in some form; whether that is true is not known yet.
    Here(Here),
}

impl Pending {
    pub(super) fn wanted() -> Self {
        Pending::Missing {
            asked: None,
            avoid: Vec::new(),
        }
    }
}

/// The window.
pub(super) struct Ahead {
    bytes_max: u64,
    pending: BTreeMap<u64, Pending>,
    missing: usize,
    bytes: u64,
    /// Bytes of a table, on average over the last ones.
    average: u64,
}

impl Ahead {
    pub(super) fn new(bytes_max: u64, parameters: &ArchiveParameters) -> Self {
        Self {
            bytes_max,
            pending: BTreeMap::new(),
            missing: 0,
            bytes: 0,
            // Near-empty ones: some chunks.
            average: 512 + 36 * parameters.segment_periods,
        }
    }

    /// Bytes of the tables that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn average(&self) -> u64 {
        self.average
    }

    /// Segments whose table did not arrive.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// Whether more segments would not be asked for anyway.
    pub(super) fn is_full(&self) -> bool {
        let wanted = self.bytes_max / self.average.max(1);
        self.pending.len() as u64 >= wanted.clamp(*SEGMENTS.start(), *SEGMENTS.end())
    }

    pub(super) fn insert(&mut self, segment: u64, pending: Pending) {
        self.remove(segment);
        self.missing += usize::from(matches!(pending, Pending::Missing { .. }));
        self.pending.insert(segment, pending);
    }

    pub(super) fn get(&self, segment: u64) -> Option<&Pending> {
        self.pending.get(&segment)
    }

    pub(super) fn remove(&mut self, segment: u64) -> Option<Pending> {
        let pending = self.pending.remove(&segment)?;
        match &pending {
            Pending::Missing { .. } => self.missing -= 1,
            Pending::Held(held) => self.bytes -= length(&held.table),
            Pending::Here(_) => {}
        }
        Some(pending)
    }

    /// Takes out a table that is believed.
    pub(super) fn take_table(&mut self, segment: u64) -> Option<SegmentTable> {
        match self.remove(segment)? {
            Pending::Held(held) => Some(held.table),
            other => {
                self.insert(segment, other);
                None
            }
        }
    }

    pub(super) fn is_missing(&self, segment: u64) -> bool {
        matches!(self.pending.get(&segment), Some(Pending::Missing { .. }))
    }

    /// Whether nothing above is unsettled.
    pub(super) fn is_highest(&self, segment: u64) -> bool {
        let highest = self.pending.last_key_value();
        highest.map_or(true, |(highest, _)| segment >= *highest)
    }

    /// All segments that are not settled, the highest first.
    pub(super) fn segments(&self) -> Vec<u64> {
        self.pending.keys().rev().copied().collect()
    }

    /// Segments that nobody is asked for, in runs of at most `length`, the highest first.
    pub(super) fn wanted_runs(&self, length: u64) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (segment, pending) in self.pending.iter().rev() {
            if !matches!(pending, Pending::Missing { asked: None, .. }) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.start == segment + 1 && run.end - run.start < length => run.start = *segment,
                _ => runs.push(*segment..segment + 1),
            }
        }
        runs
    }

    pub(super) fn mark_asked(&mut self, segments: &Range<u64>, id: u64) {
        for (_, pending) in self.pending.range_mut(segments.clone()) {
            if let Pending::Missing { asked, .. } = pending {
                *asked = Some(id);
            }
        }
    }

    /// Request `id` is over: what it did not bring is asked of others than `node`.
    pub(super) fn unmark(&mut self, segments: &Range<u64>, id: u64, node: NodeId) {
        for (_, pending) in self.pending.range_mut(segments.clone()) {
            match pending {
                Pending::Missing { asked, avoid } if *asked == Some(id) => {
                    *asked = None;
                    if !avoid.contains(&node) && avoid.len() < AVOID_MAX {
                        avoid.push(node);
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn avoided(&self, segment: u64) -> &[NodeId] {
        match self.pending.get(&segment) {
            Some(Pending::Missing { avoid, .. }) => avoid,
            _ => &[],
        }
    }

    pub(super) fn clear_avoided(&mut self, segments: &Range<u64>) {
        for (_, pending) in self.pending.range_mut(segments.clone()) {
            if let Pending::Missing { avoid, .. } = pending {
                avoid.clear();
            }
        }
    }

    /// Whether a table contradicts one next to it that the same peer sent: then one of them is false.
    pub(super) fn contradicts(&self, segment: u64, from: NodeId, table: &SegmentTable, root: SegmentRoot) -> bool {
        let of_sender = |segment: u64| match self.pending.get(&segment) {
            Some(Pending::Held(held)) if held.from == from => Some(held),
            _ => None,
        };
        let above = of_sender(segment + 1).map(|held| held.table.header().previous != root.to_bytes());
        let below = segment.checked_sub(1).and_then(of_sender);
        let below = below.map(|held| table.header().previous != held.root.to_bytes());
        above.unwrap_or(false) || below.unwrap_or(false)
    }

    /// Keeps a table. The lowest ones make room: they are believed last.
    pub(super) fn hold(&mut self, segment: u64, from: NodeId, table: SegmentTable, root: SegmentRoot) {
        let bytes = length(&table);
        self.average = ((self.average * 15 + bytes) / 16).max(1);
        self.remove(segment);
        self.bytes += bytes;
        let held = Unverified { root, table, from };
        self.pending.insert(segment, Pending::Held(Box::new(held)));
        while self.bytes > self.bytes_max {
            let mut held = self
                .pending
                .iter()
                .filter(|(_, pending)| matches!(pending, Pending::Held(_)));
            match held.next().map(|(lowest, _)| *lowest) {
                // The highest is kept, however large: it is believed next.
                Some(lowest) if !self.is_highest(lowest) => self.insert(lowest, Pending::wanted()),
                _ => break,
            }
        }
    }

    /// Forgets what a peer sent; it is asked of others.
    pub(super) fn forget_from(&mut self, node: NodeId) {
        let is_from = |pending: &Pending| matches!(pending, Pending::Held(held) if held.from == node);
        let sent = self.pending.iter().filter(|(_, pending)| is_from(pending));
        let segments: Vec<u64> = sent.map(|(segment, _)| *segment).collect();
        for segment in segments {
            let avoid = vec![node];
            self.insert(segment, Pending::Missing { asked: None, avoid });
        }
    }
}

fn length(table: &SegmentTable) -> u64 {
    SegmentTable::length_of(table.header()) as u64
}
