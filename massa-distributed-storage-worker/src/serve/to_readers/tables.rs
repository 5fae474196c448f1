//! Tables of segments that are not in the store: fetched, led to a root that is trusted, a few of them kept.

use super::ArchiveReader;
use crate::fetch::sources::{in_order, may_have_table};
use crate::serve::asking::{Asking, Request};
use massa_distributed_storage_exports::network::{FetchEvent, FetchPriority, FetchTarget, StoragePeer};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::node::NodeId;
use std::sync::Arc;
use std::time::Instant;

/// Tables that are kept: one of a full segment has 200 kB.
const TABLES_MAX: usize = 16;
/// Peers whose table turns out false before no more are asked.
const FALSE_TABLES_MAX: usize = 4;

impl ArchiveReader {
    /// The table of a closed segment, from the store or from others; `None` while no root of it is trusted, or nobody sent it.
    /// A damaged one in the store is as good as none.
    pub(in crate::serve) fn table(
        &self,
        segment: u64,
        priority: FetchPriority,
        deadline: Instant,
    ) -> Option<Arc<SegmentTable>> {
        if let Ok(Some(table)) = self.store.table(segment) {
            return Some(table);
        }
        let root = self.trusted_root(segment)?;
        let kept = |(of, _): &&(SegmentRoot, Arc<SegmentTable>)| *of == root;
        if let Some((_, table)) = self.tables.lock().iter().find(kept) {
            return Some(Arc::clone(table));
        }
        let table = Arc::new(self.fetch_table((segment, root), priority, deadline)?);
        let mut tables = self.tables.lock();
        tables.push_back((root, Arc::clone(&table)));
        if tables.len() > TABLES_MAX {
            tables.pop_front();
        }
        Some(table)
    }

    /// The root of a segment, as this node trusts it: its own, an accepted one, or the one that the segment after names.
    fn trusted_root(&self, segment: u64) -> Option<SegmentRoot> {
        if let Ok(Some(root)) = self.store.segment_root(segment) {
            return Some(root);
        }
        let (_, _, roots) = self.others.as_ref()?;
        if let Some(root) = roots(segment) {
            return Some(root);
        }
        let next = self.store.table(segment.checked_add(1)?).ok().flatten()?;
        let previous = next.header().previous;
        (previous != [0; 32]).then(|| SegmentRoot::from_bytes(previous))
    }

    fn fetch_table(
        &self,
        (segment, root): (u64, SegmentRoot),
        priority: FetchPriority,
        deadline: Instant,
    ) -> Option<SegmentTable> {
        let asking = self.asking()?;
        let mut liars = Vec::new();
        while liars.len() <= FALSE_TABLES_MAX {
            let (from, table) = ask_table(
                asking,
                self.table_peers(asking, segment, &liars),
                segment,
                (priority, deadline),
            )?;
            let found = table.root();
            let checked = table.check_network(self.store.parameters(), segment);
            if found == root && checked.is_ok() {
                return Some(table);
            }
            let reason = format!("table of segment {segment} has root {found}, not {root}");
            asking.quarantine(from, &reason);
            liars.push(from);
        }
        None
    }

    fn table_peers(&self, asking: &Asking, segment: u64, avoid: &[NodeId]) -> Vec<NodeId> {
        let may_have = |peer: &StoragePeer| may_have_table(peer, self.store.parameters(), segment);
        let mut peers = asking.peers();
        // Every node keeps every table: what a peer says of its floor is about chunks.
        peers.sort_by_key(|peer| !may_have(peer));
        in_order(&[], &peers, avoid)
    }
}

fn ask_table(
    asking: &Asking,
    holders: Vec<NodeId>,
    segment: u64,
    (priority, deadline): (FetchPriority, Instant),
) -> Option<(NodeId, SegmentTable)> {
    let request = Request {
        target: FetchTarget::Tables {
            first_segment: segment,
            count: 1,
        },
        holders,
    };
    let mut found = None;
    asking.ask(&[request], priority, deadline, |_, event| {
        if let FetchEvent::Tables {
            from,
            first_segment,
            tables,
            ..
        } = event
        {
            let table = tables.into_iter().next().filter(|_| first_segment == segment);
            found = table.map(|table| (from, table));
        }
    });
    found
}
