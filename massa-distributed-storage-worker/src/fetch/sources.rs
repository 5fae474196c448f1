//! Which connected peers may have something, and in which order they are asked.
//!
//! Everything here is what peers say of themselves: a reason to ask somebody first, never one to believe anything.

use massa_distributed_storage_exports::network::{StoragePeer, MAX_HELD_RANGES};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::node::NodeId;

/// Holders in one request: enough to find one that answers, few enough to be dialed in a moment.
pub const HOLDERS_MAX: usize = 32;

/// Whether a peer may have the table of a segment, as far as it said.
pub fn may_have_table(peer: &StoragePeer, parameters: &ArchiveParameters, segment: u64) -> bool {
    let has = peer.capabilities.as_ref().map_or(true, |said| {
        said.newest_segment.is_some_and(|newest| newest >= segment) && said.floor <= parameters.segment_start(segment)
    });
    has && !peer.quarantined
}

/// Whether a peer may have the block of a slot of `period`. What it has of periods that did not join its stream it does not
/// say.
pub fn may_have_block(peer: &StoragePeer, period: u64) -> bool {
    let kept = peer.capabilities.as_ref().map_or(true, |said| said.floor <= period);
    kept && !peer.quarantined
}

/// Whether a peer says that nothing of `period` is missing there.
pub fn says_whole(peer: &StoragePeer, period: u64) -> bool {
    let newest = peer.capabilities.as_ref().and_then(|said| said.newest_period);
    may_have_block(peer, period) && newest.is_some_and(|newest| newest >= period)
}

/// Whether a peer says that it holds every chunk of a segment that is assigned to it.
pub fn says_it_holds(peer: &StoragePeer, segment: u64) -> bool {
    let mut ranges = peer.capabilities.iter().flat_map(|said| &said.ranges);
    !peer.quarantined && ranges.any(|range| (range.first_segment..=range.last_segment).contains(&segment))
}

/// A cheap first look: whether what `node` said of itself leaves room for it to hold all that is assigned to it in one of
/// these segments. Who is not connected, or said nothing, may.
pub fn may_hold(peers: &[StoragePeer], node: &NodeId, segments: &[u64]) -> bool {
    let said = peers.iter().find(|peer| peer.node == *node);
    let Some(said) = said.and_then(|peer| peer.capabilities.as_ref()) else {
        return true;
    };
    // It tells only the newest ranges.
    let told_from = match said.ranges.first() {
        Some(first) if said.ranges.len() >= MAX_HELD_RANGES => first.first_segment,
        _ => 0,
    };
    let covered = |segment: &u64| {
        let mut ranges = said.ranges.iter();
        *segment < told_from || ranges.any(|range| (range.first_segment..=range.last_segment).contains(segment))
    };
    segments.iter().any(covered)
}

/// Those who should hold a chunk, then every other connected peer, without those to avoid, each once; at most
/// [`HOLDERS_MAX`].
pub fn in_order(assigned: &[NodeId], peers: &[StoragePeer], avoid: &[NodeId]) -> Vec<NodeId> {
    let in_quarantine = |node: &NodeId| peers.iter().any(|peer| peer.node == *node && peer.quarantined);
    let mut order: Vec<NodeId> = Vec::new();
    for node in assigned.iter().copied().chain(peers.iter().map(|peer| peer.node)) {
        let is_asked = !avoid.contains(&node) && !order.contains(&node) && !in_quarantine(&node);
        if is_asked && order.len() < HOLDERS_MAX {
            order.push(node);
        }
    }
    order
}
