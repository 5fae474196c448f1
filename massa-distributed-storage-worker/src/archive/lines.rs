//! The plan's log lines of a period, as text.
//!
//! `Archived period 100: 5 blocks, 123 operations, 15 chunks` counts the chunks that the period's bytes touch. Where a chunk goes
//! is known when it is full, because its id is: `Chunks assigned to nodes: …` then tells it of the chunks that the period filled,
//! and `none (chunk 7 is filling)` when it filled none. The last chunk of a segment is finished when its segment is: then its line
//! follows.
//! Source: storage plan, phase 1.2 and test 3.1; design, section 5.

use crate::archive::ingest::{ArchivedPeriod, ClosedSegment};
use crate::replication::log_line;
use massa_distributed_storage_exports::registry::StorageNode;

/// Tells that a period has joined the stream of its segment.
pub fn archived_line(archived: &ArchivedPeriod) -> String {
    format!(
        "Archived period {}: {} blocks, {} operations, {} chunks",
        archived.period,
        archived.blocks,
        archived.operations,
        archived.chunks.len()
    )
}

/// Tells where the chunks go that a period filled: `placed` has the holders of each of [`ArchivedPeriod::finished`], as indexes
/// into `nodes`.
pub fn assigned_line(archived: &ArchivedPeriod, nodes: &[StorageNode], placed: &[Vec<usize>]) -> String {
    match archived.filling {
        Some(filling) if archived.finished.is_empty() => {
            format!("Chunks assigned to nodes: none (chunk {filling} is filling)")
        }
        _ => log_line(nodes, placed),
    }
}

/// Tells where the chunk goes that only the end of its segment finished: `placed` has the holders of each of
/// [`ClosedSegment::finished`]. `None` if there is none: the last period filled the last chunk, or the table came from elsewhere.
pub fn closed_line(closed: &ClosedSegment, nodes: &[StorageNode], placed: &[Vec<usize>]) -> Option<String> {
    (!closed.finished.is_empty()).then(|| log_line(nodes, placed))
}
