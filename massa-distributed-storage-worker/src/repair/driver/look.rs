//! What the planners look at: the store, what is assigned, and what peers, registry and writer said last.

use crate::archive::missing::Missing;
use crate::repair::assigned::SharedAssigned;
use crate::repair::chunks::download::{Reaching, WantedChunk};
use crate::repair::chunks::Lacking;
use crate::repair::periods::{OpenPeriods, PeriodsView, SettledSlot, WantedBlock};
use crate::repair::tables::Here;
use crate::storage_backend::{rows, Damage, SegmentStore, StoreError};
use massa_db_exports::STORAGE_TABLES_CF;
use massa_distributed_storage_exports::network::StoragePeer;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tracing::warn;

/// Segments that are looked at in one go for what they lack: a row each.
const LOOK_SEGMENTS: u64 = 64;

/// See the module.
pub(super) struct Look {
    pub(super) store: Arc<SegmentStore>,
    pub(super) assigned: SharedAssigned,
    pub(super) own: NodeId,
    pub(super) accepted: Arc<BTreeMap<u64, SegmentRoot>>,
    pub(super) peers: Vec<StoragePeer>,
    pub(super) missing: Arc<Missing>,
    /// Segments with rows of blocks.
    pub(super) open: BTreeSet<u64>,
}

/// What was read; nothing, and a line in the log, if it could not be.
pub(super) fn unless_damaged<T: Default>(read: Result<T, StoreError>) -> T {
    read.unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "repair cannot read the store");
        T::default()
    })
}

impl Look {
    pub(super) fn first_segment(&self) -> u64 {
        self.store.floor().max(self.store.parameters().first_segment())
    }

    /// What is here of a segment. Reads two rows.
    pub(super) fn here(&self, segment: u64) -> Here {
        let at = |damage: Damage| damage.in_segment(segment);
        let read = self.store.view(|view| {
            let row = view.segment_row(segment)?;
            let Some(row) = row else { return Ok(None) };
            let table = view.sealed(STORAGE_TABLES_CF, &rows::segment_key(segment), &at)?;
            Ok(table.map(|table| (row.root, table)))
        });
        let header = unless_damaged(read).and_then(|(root, table)| Some((root, SegmentTable::header_of(&table).ok()?)));
        match header {
            Some((root, header)) => Here::Table {
                root: SegmentRoot::from_bytes(root),
                previous: SegmentRoot::from_bytes(header.previous),
            },
            None if self.missing.by_table.binary_search(&segment).is_ok() => Here::Nothing,
            None if self.open.contains(&segment) => Here::Open,
            None => Here::Nothing,
        }
    }

    pub(super) fn open_periods(&self) -> OpenPeriods {
        let missing = &self.missing;
        let wanted = missing.wanted.iter().map(|wanted| WantedBlock {
            thread: wanted.thread,
            id: wanted.id,
            before: wanted.before,
        });
        let periods = missing.periods.iter();
        OpenPeriods {
            wanted: wanted.collect(),
            periods: periods.map(|missing| (missing.period, missing.here.clone())).collect(),
            entries: missing.entries.clone(),
        }
    }

    /// Gives `act` what the plan of open periods looks at.
    pub(super) fn with_periods_view<T>(&self, now: Instant, act: impl FnOnce(&PeriodsView<'_>) -> T) -> T {
        let parameters = self.store.parameters();
        // What was begun from blocks goes on while the table of an accepted segment is waited for: they may complete it before.
        let is_anchored = |period| {
            let segment = parameters.segment_of(period);
            self.accepted.contains_key(&segment) && !self.open.contains(&segment)
        };
        let settled = |slot| self.settled(slot);
        act(&PeriodsView {
            now,
            peers: &self.peers,
            is_anchored: &is_anchored,
            settled: &settled,
        })
    }

    fn settled(&self, slot: Slot) -> Option<SettledSlot> {
        let known = self.store.open_slots(slot.period..slot.period + 1);
        let (_, id) = known.into_iter().find(|(known, _)| *known == slot)?;
        Some(id.map_or(SettledSlot::Miss, SettledSlot::Block))
    }

    /// A chunk as it is wanted; `None` without its table.
    pub(super) fn wanted(&self, table: &SegmentTable, index: u32) -> Option<WantedChunk> {
        let position = ChunkPosition::new(table.header().segment, index)?;
        let chunk = table.chunk(index)?;
        let reaching = table.period_reaching_into(index).and_then(|period| {
            let root = table.period(period)?.root;
            Some(Reaching { period, root })
        });
        Some(WantedChunk {
            position,
            chunk,
            reaching,
            assigned: self.assigned.read().holders(position, &chunk.id),
        })
    }

    /// The same for a chunk of a segment that is closed here.
    pub(super) fn wanted_at(&self, position: ChunkPosition) -> Option<WantedChunk> {
        let table = unless_damaged(self.store.table(position.segment))?;
        self.wanted(&table, position.index.0)
    }

    /// Chunks of a closed segment that are assigned to this node and not held.
    pub(super) fn lacking_of(&self, segment: u64) -> Vec<WantedChunk> {
        let held = unless_damaged(self.store.held(segment));
        let lacking: Vec<u32> = {
            let assigned = self.assigned.read();
            let mine = assigned.placement().mine_of(segment);
            mine.map(|own| own.position.index.0)
                .filter(|index| !held.contains(*index))
                .collect()
        };
        if lacking.is_empty() {
            return Vec::new();
        }
        let Some(table) = unless_damaged(self.store.table(segment)) else {
            return Vec::new();
        };
        let wanted = lacking.into_iter().filter_map(|index| self.wanted(&table, index));
        wanted.collect()
    }

    /// The same for some of the segments below one.
    pub(super) fn lacking(&self, below: u64) -> Lacking {
        let end = unless_damaged(self.store.last_segment()).map_or(0, |last| last + 1);
        let end = below.min(end);
        let first = self.first_segment();
        let start = end.saturating_sub(LOOK_SEGMENTS).max(first);
        let chunks = (start..end).rev().flat_map(|segment| self.lacking_of(segment));
        Lacking {
            chunks: chunks.collect(),
            below: (start > first && start < end).then_some(start),
        }
    }

    /// Chunks of the true table of a segment that this node should hold, and does not hold with the same id.
    pub(super) fn lacking_in(&self, table: &SegmentTable) -> Vec<WantedChunk> {
        let segment = table.header().segment;
        let held = unless_damaged(self.store.held(segment));
        let here = unless_damaged(self.store.table(segment));
        let is_held = |index: u32| {
            let same = here.as_ref().and_then(|here| here.chunk(index)) == table.chunk(index);
            same && held.contains(index)
        };
        let mut mine = Vec::new();
        {
            let assigned = self.assigned.read();
            let mut standings = assigned.placement().standings(segment);
            for (chunk, index) in table.chunks().zip(0..) {
                if standings.own(&chunk.id) == crate::replication::Standing::Holder && !is_held(index) {
                    mine.push(index);
                }
            }
        }
        mine.into_iter().filter_map(|index| self.wanted(table, index)).collect()
    }

    /// Held chunks from a position on, at most so many. Reads a row for each segment.
    pub(super) fn held_from(&self, from: ChunkPosition, max: usize) -> Vec<ChunkPosition> {
        let segments = unless_damaged(self.store.held_segments(from.segment, max));
        let positions = segments.iter().flat_map(|(segment, held)| {
            let indexes = held.indexes();
            indexes.filter_map(|index| ChunkPosition::new(*segment, index))
        });
        positions.filter(|position| *position >= from).take(max).collect()
    }
}
