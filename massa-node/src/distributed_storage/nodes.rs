//! The nodes that offer disk space: what the registry or the genesis file, the peers themselves and this node know of them.

use massa_api_exports::distributed_storage::{
    IndexInfo, IndexKept, ListNodes, NodeCapabilities, RegisteredNode, StorageNodeInfo,
};
use massa_distributed_storage_exports::network::{Capabilities, IndexScope, StoragePeer};
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reading the registry's rows of ten thousand nodes takes a while, so that whoever pages through them gets those of a moment
/// ago.
const RECORDS_AGE: Duration = Duration::from_secs(10);

/// Who offers disk space, by node id.
#[derive(Debug, Default)]
pub(super) struct KnownNodes {
    /// Those that count, by the node set.
    counting: BTreeMap<NodeId, StorageNode>,
    /// What the registry has of nodes.
    records: BTreeMap<NodeId, NodeRecord>,
}

impl KnownNodes {
    /// One without an identity counts, and there is nothing to tell of it here.
    pub fn new(set: &[StorageNode], records: Vec<NodeRecord>) -> Self {
        let counting = set.iter().filter_map(|node| Some((node.node_id?, node.clone())));
        let records = records.into_iter().filter_map(|record| Some((record.peer()?, record)));
        Self {
            counting: counting.collect(),
            records: records.collect(),
        }
    }

    /// Ids of a page, in order: nodes that count, and those that are registered and do not count yet, or any more.
    fn page(&self, request: &ListNodes) -> Vec<NodeId> {
        let from = request.after.map_or(Bound::Unbounded, Bound::Excluded);
        let (limit, range) = (request.limit as usize, (from, Bound::Unbounded));
        let counting = self.counting.range(range).map(|(id, _)| *id).take(limit);
        let registered = self.records.range(range).map(|(id, _)| *id).take(limit);
        let mut ids: Vec<NodeId> = counting.chain(registered).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(limit);
        ids
    }
}

/// [`KnownNodes`] of a moment ago.
#[derive(Default)]
pub(super) struct NodesCache(Mutex<Option<(Instant, Arc<KnownNodes>)>>);

impl NodesCache {
    /// Those that are known, read anew now and then.
    pub fn get(&self, now: Instant, read: impl FnOnce() -> KnownNodes) -> Arc<KnownNodes> {
        let mut kept = self.0.lock();
        if let Some((read_at, known)) = kept.as_ref() {
            if now.saturating_duration_since(*read_at) < RECORDS_AGE {
                return Arc::clone(known);
            }
        }
        let known = Arc::new(read());
        *kept = Some((now, Arc::clone(&known)));
        known
    }
}

/// What falls to nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    /// Bytes of the archive.
    pub total_bytes: u64,
    /// Nodes that hold each chunk.
    pub factor: u64,
    /// Bytes that are assigned to this node.
    pub own_bytes: u64,
}

impl Shares {
    /// The bytes that a weight among all makes a node expect. Nobody holds a chunk twice.
    fn expected(&self, weight: u64, all: u64) -> u64 {
        let placed = u128::from(self.total_bytes) * u128::from(self.factor);
        let share = placed * u128::from(weight) / u128::from(all.max(1));
        u64::try_from(share).unwrap_or(u64::MAX).min(self.total_bytes)
    }
}

/// A list of nodes.
pub(super) struct NodesPage<'a> {
    pub known: &'a KnownNodes,
    pub peers: Vec<StoragePeer>,
    pub own: NodeId,
    pub shares: Shares,
    /// The round that is open in final state.
    pub round: u64,
}

impl NodesPage<'_> {
    pub fn list(&self, request: &ListNodes) -> Vec<StorageNodeInfo> {
        let peers: BTreeMap<NodeId, &StoragePeer> = self.peers.iter().map(|peer| (peer.node, peer)).collect();
        let weights = self.known.counting.values().map(|node| node.allocated_storage_gb);
        let all = weights.fold(0u64, u64::saturating_add);
        let ids = self.known.page(request).into_iter();
        ids.filter_map(|id| self.describe(id, peers.get(&id).copied(), all))
            .collect()
    }

    fn describe(&self, node_id: NodeId, peer: Option<&StoragePeer>, all: u64) -> Option<StorageNodeInfo> {
        let (counting, record) = (self.known.counting.get(&node_id), self.known.records.get(&node_id));
        let listeners = counting
            .map(|node| &node.listeners)
            .or(record.map(|record| &record.listeners));
        let weight = counting.map_or(0, |node| node.allocated_storage_gb);
        Some(StorageNodeInfo {
            node_id,
            address: counting
                .map(|node| node.address)
                .or(record.map(|record| record.address))?,
            listeners: listeners.cloned().unwrap_or_default(),
            allocated_storage_gb: weight,
            connected: peer.is_some() || node_id == self.own,
            capabilities: peer.and_then(capabilities_of),
            share_bytes: if node_id == self.own {
                self.shares.own_bytes
            } else {
                self.shares.expected(weight, all)
            },
            registered: record.map(|record| registered(record, self.round, counting.is_some_and(|node| node.filled))),
        })
    }
}

fn capabilities_of(peer: &StoragePeer) -> Option<NodeCapabilities> {
    let said: &Capabilities = peer.capabilities.as_ref()?;
    let ranges = said
        .ranges
        .iter()
        .map(|range| (range.first_segment, range.last_segment));
    let kept = |scope| match scope {
        IndexScope::None => IndexKept::None,
        IndexScope::Held => IndexKept::Held,
        IndexScope::All => IndexKept::All,
    };
    Some(NodeCapabilities {
        allocated_storage_gb: said.allocated_storage_gb,
        floor: said.floor,
        newest_segment: said.newest_segment,
        newest_period: said.newest_period,
        held_ranges: ranges.collect(),
        indexes: IndexInfo {
            block: kept(said.indexes.block),
            operation: kept(said.indexes.operation),
            address: kept(said.indexes.address),
        },
        quarantined: peer.quarantined,
    })
}

/// What the registry has of a node, in a round in which it holds its share or not.
pub(super) fn registered(record: &NodeRecord, round: u64, filled: bool) -> RegisteredNode {
    RegisteredNode {
        stake: record.stake,
        allocated_gb: record.declared_at(round),
        weight: record.weight_at(round),
        weight_soon: record.weight_at(round.saturating_add(2)),
        filled,
        has_placement_key: record.placement_key.is_some(),
        leave_round: record.leave_round,
        last_counted_round: record.last_counted_round,
        total_draws: record.total_draws,
        passed_draws: record.passed_draws,
        matured_rewards: record.matured_rewards,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::address::Address;
    use massa_signature::KeyPair;

    fn node(weight: u64) -> StorageNode {
        let key = KeyPair::generate(0).unwrap().get_public_key();
        StorageNode {
            node_id: Some(NodeId::new(key)),
            address: Address::from_public_key(&key),
            placement_key: [0; 32],
            allocated_storage_gb: weight,
            filled: true,
            retention_periods: 0,
            listeners: Vec::new(),
        }
    }

    fn page_of<'a>(known: &'a KnownNodes, own: NodeId) -> NodesPage<'a> {
        NodesPage {
            known,
            peers: Vec::new(),
            own,
            shares: Shares {
                total_bytes: 1_000,
                factor: 2,
                own_bytes: 77,
            },
            round: 0,
        }
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let nodes: Vec<StorageNode> = (0..5).map(|_| node(1)).collect();
        let known = KnownNodes::new(&nodes, Vec::new());
        let page = page_of(&known, nodes[0].node_id.unwrap());
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let found = page.list(&ListNodes { after, limit: 2 });
            let Some(last) = found.last() else { break };
            after = Some(last.node_id);
            assert!(found.len() <= 2);
            seen.extend(found.into_iter().map(|info| info.node_id));
        }
        let mut expected: Vec<NodeId> = nodes.iter().filter_map(|node| node.node_id).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_share_of_others_follows_from_their_weight_and_is_the_archive_at_most() {
        let nodes = [node(1), node(3), node(100)];
        let known = KnownNodes::new(&nodes, Vec::new());
        let page = page_of(&known, nodes[0].node_id.unwrap());
        let infos = page.list(&ListNodes::default());
        let share = |of: &StorageNode| {
            let info = infos.iter().find(|info| Some(info.node_id) == of.node_id);
            info.unwrap().share_bytes
        };
        assert_eq!(nodes.each_ref().map(share), [77, 2 * 1_000 * 3 / 104, 1_000]);
    }

    #[test]
    fn who_is_known_is_read_again_after_a_while() {
        let cache = NodesCache::default();
        let now = Instant::now();
        let nobody = || KnownNodes::default();
        let first = cache.get(now, nobody);
        let again = cache.get(now + RECORDS_AGE - Duration::from_millis(1), || {
            panic!("read too early")
        });
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &cache.get(now + RECORDS_AGE, nobody)));
    }
}
