//! What the archive's thread asks and tells: which chunks are kept, where they go, what closed, what may be pruned.
//!
//! All of it runs on that thread, between blocks: nothing here waits for the network or for a peer.

use super::shared::Shared;
use crate::archive::ingest::ClosedSegment;
use crate::archive::upkeep::Intervals;
use crate::repair::assigned::keep_assigned;
use crate::repair::thread::RepairNews;
use crate::worker::{AfterClose, ArchiveOptions, FinishedChunks, MayPrune, PlaceChunks, PlacedChunks};
use massa_distributed_storage_exports::network::{AnnouncedChunk, MAX_ANNOUNCED_CHUNKS};
use massa_distributed_storage_exports::{ChunkIndex, ChunkPosition};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// Rows that wait behind a gap may take this share of the allocation.
const HELD_BACK_SHARE: u64 = 4;
/// How often the thread tells what is missing: repair asks for what it was told last.
const REPORT: Duration = Duration::from_millis(100);

/// How the archive's thread works in this extension.
pub(super) fn archive_options(shared: &Arc<Shared>, news: &RepairNews) -> ArchiveOptions {
    let settings = &shared.settings;
    ArchiveOptions {
        // A segment that closes is not anchored yet, so nothing of it is claimed: what is assigned is all there is to keep.
        keep: keep_assigned(&shared.assigned),
        held_back_bytes_max: settings.allocated_bytes() / HELD_BACK_SHARE,
        place: place(shared),
        after_close: after_close(shared, news),
        may_prune: may_prune(shared),
        intervals: Intervals {
            report: REPORT,
            ..Intervals::default()
        },
        ..ArchiveOptions::new(settings.queue_blocks)
    }
}

/// Holders of chunks that are finished, for the log. They follow from the ids and the node set alone, so placement need
/// not know the segment.
fn place(shared: &Arc<Shared>) -> PlaceChunks {
    let assigned = Arc::clone(&shared.assigned);
    Box::new(move |chunks: &FinishedChunks| {
        let assigned = assigned.read();
        let placement = assigned.placement();
        let holders = chunks.finished.iter().map(|(index, id)| {
            let position = ChunkPosition {
                segment: chunks.segment,
                index: ChunkIndex(*index),
            };
            placement.holders(position, id)
        });
        PlacedChunks {
            holders: holders.collect(),
            nodes: Arc::clone(&placement.nodes().nodes),
        }
    })
}

/// Tells repair, which places the segment and looks at it; and the peers, which learn whom to ask.
fn after_close(shared: &Arc<Shared>, news: &RepairNews) -> AfterClose {
    let (shared, news) = (Arc::clone(shared), news.clone());
    Box::new(move |closed: &ClosedSegment| {
        news.closed(closed.segment);
        announce(&shared, closed);
    })
}

/// Tells the peers which chunks of a segment are held here. One that does not hear it asks anyway.
fn announce(shared: &Shared, closed: &ClosedSegment) {
    let Some(network) = shared.network().filter(|_| closed.kept > 0) else {
        return;
    };
    let held: Vec<AnnouncedChunk> = match shared.store.table_and_held(closed.segment) {
        Ok(Some((table, held))) => {
            let chunk = |index: u32| {
                let id = table.chunk(index)?.id;
                let index = ChunkIndex(index);
                Some(AnnouncedChunk { index, id })
            };
            held.indexes().filter_map(chunk).collect()
        }
        Ok(None) => Vec::new(),
        Err(error) => {
            let segment = closed.segment;
            warn!(
                segment,
                error = &error as &dyn std::error::Error,
                "chunks are not announced"
            );
            return;
        }
    };
    for chunks in held.chunks(MAX_ANNOUNCED_CHUNKS) {
        if network
            .announce(closed.segment, Some(closed.root), chunks.to_vec())
            .is_err()
        {
            debug!(
                segment = closed.segment,
                "chunks are not announced: the network has too much to do"
            );
        }
    }
}

/// A segment that retention no longer keeps may go when nothing of it is held any more: hand-over dropped each chunk when its
/// holders had confirmed it. Where too few nodes are left that could confirm, hand-over drops nothing: then it goes once it is
/// twice as old as what is kept, so that those who are left had time to fetch it.
fn may_prune(shared: &Arc<Shared>) -> MayPrune {
    let shared = Arc::clone(shared);
    Box::new(move |segment| {
        let held = match shared.store.held(segment) {
            Ok(held) => held,
            Err(_) => return false,
        };
        if held.chunks == 0 {
            return true;
        }
        let Ok(Some(newest)) = shared.store.last_segment() else {
            return false;
        };
        let is_claimed = held
            .indexes()
            .filter_map(|index| ChunkPosition::new(segment, index))
            .any(|position| shared.is_claimed(position));
        let kept_from = shared.store.retained_from(newest).unwrap_or(0);
        let kept = newest.saturating_sub(kept_from);
        !is_claimed && has_too_few(&shared, segment) && segment.saturating_add(2 * kept) < newest
    })
}

/// Whether fewer nodes keep a segment than there should be copies.
fn has_too_few(shared: &Shared, segment: u64) -> bool {
    let assigned = shared.assigned.read();
    let placement = assigned.placement();
    let first = ChunkPosition::new(segment, 0).and_then(|first| placement.counting_holders(first));
    first.is_some_and(|holders| holders.len() < placement.nodes().replication_factor)
}
