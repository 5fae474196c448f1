//! The node set from the registry contract's final state.
//!
//! Asked by placement; kept up to date by the thread of [`super::client`]. A change counts from the second round
//! that opens after it, and a record keeps the value before and the one after: so every final read in the round before,
//! during, or after a round gives the same set of that round (design, section 6), on every node and after any restart.
//! That is why nothing is written to disk here. While there is no registry, before its first round, and while none of its
//! nodes ever weighed anything, the set of the genesis file counts.
//!
//! Every node that weighs something counts, also one that did not say who it is among the peers: the registry counts it as a
//! witness against others. When all have lapsed, because no round was counted for long, the set is what it was in the last
//! counted round: without it nobody would be assigned anything, so nobody could claim, and the network could not come back.

use super::args::DecodeError;
use super::room::{RoomRegistry, RoomSaid};
use super::state::{parse_node_key, ConfigRecord, NodeRecord, CONFIG_KEY, LAPSE_ROUNDS, NODE_PREFIX, STATE_KEY};
use super::views::decode_state;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode, StorageRegistry};
use massa_models::address::Address;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::warn;

/// Keys that are read at once.
const PAGE: usize = 500;
/// Nodes that are read at most: what placement can count.
const NODES_MAX: usize = u16::MAX as usize;
/// Sets that are remembered: of the open round, the next one, and two before, of which claims may still be refuted.
const ROUNDS_KEPT: usize = 4;

/// Why the registry is not followed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// In final state there is no such contract, yet.
    #[error("there is no registry at {0} in final state")]
    Absent(Address),
    /// Its state is not that of a registry.
    #[error("{address} is not a registry: {source}")]
    NotARegistry {
        /// The address.
        address: Address,
        /// What was read.
        source: DecodeError,
    },
    /// It has another value than this node.
    #[error("{key}: {configured} in the settings of this node, {network} in the registry {address}")]
    Mismatch {
        /// The registry.
        address: Address,
        /// What differs.
        key: &'static str,
        /// The value of this node.
        configured: u64,
        /// The value of the registry.
        network: u64,
    },
    /// Another registry is followed already.
    #[error("{address} is not followed: this node follows {followed} until it is restarted")]
    Followed {
        /// The new one.
        address: Address,
        /// The one that is followed.
        followed: Address,
    },
}

/// Values that this node and the registry must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkValues {
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// Segments of a round.
    pub round_segments: u64,
    /// Nodes that hold each chunk.
    pub replication_factor: u64,
}

impl NetworkValues {
    /// P: periods of a round.
    pub fn round_periods(&self) -> u64 {
        self.segment_periods.saturating_mul(self.round_segments).max(1)
    }
}

/// Reads the configuration of a registry.
///
/// # Errors
/// [`RegistryError::Absent`], [`RegistryError::NotARegistry`].
pub fn read_config(host: &dyn ContractHost, address: Address) -> Result<ConfigRecord, RegistryError> {
    let rows = host.final_entries(&address, &[CONFIG_KEY.to_vec()]);
    let row = rows
        .into_iter()
        .next()
        .flatten()
        .ok_or(RegistryError::Absent(address))?;
    ConfigRecord::decode(&row).map_err(|source| RegistryError::NotARegistry { address, source })
}

/// Reads the records of all nodes, in the order of their keys. A row that is not a node's is left out: the contract writes none.
pub fn read_nodes(host: &dyn ContractHost, registry: &Address) -> Vec<NodeRecord> {
    let mut records = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    while records.len() < NODES_MAX {
        let keys = host.final_keys(registry, NODE_PREFIX, after.as_deref(), PAGE);
        let rows = host.final_entries(registry, &keys);
        for (key, row) in keys.iter().zip(rows) {
            // A node that left between the two reads.
            let Some(row) = row else { continue };
            match parse_node_key(key).and_then(|address| NodeRecord::decode(address, &row)) {
                Ok(record) => records.push(record),
                Err(error) => warn!(%registry, %error, "row of the registry is not a node"),
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after = Some(last.clone()),
            _ => break,
        }
    }
    records.truncate(NODES_MAX);
    records
}

/// The set of a round; `flags_from` is that of the registry's state. Empty if no node weighs anything, or ever did. If all of them lapsed: see the module.
pub fn set_of(records: &[NodeRecord], round: u64, flags_from: Option<u64>) -> NodeSet {
    let weighing: Vec<StorageNode> = records
        .iter()
        .filter_map(|record| record.in_round(round, flags_from))
        .collect();
    if !weighing.is_empty() {
        return NodeSet::new(weighing);
    }
    let unlapsed = records.iter().filter_map(|record| {
        Some((
            record.counted_before(round),
            record.unlapsed_in_round(round, flags_from)?,
        ))
    });
    let unlapsed: Vec<(u64, StorageNode)> = unlapsed.collect();
    let last = unlapsed.iter().map(|(counted, _)| *counted).max().unwrap_or(0);
    // Who had lapsed by then is gone for good.
    let counted = unlapsed
        .into_iter()
        .filter(|(counted, _)| counted.saturating_add(LAPSE_ROUNDS) >= last);
    NodeSet::new(counted.map(|(_, node)| node).collect())
}

/// Checks what this node and a registry must agree on. The replication factor may be the one in force or the one that follows.
///
/// # Errors
/// [`RegistryError::Mismatch`], naming both values.
pub fn check_values(address: Address, config: &ConfigRecord, local: &NetworkValues) -> Result<(), RegistryError> {
    let factors = [config.now.replication_factor, config.next.replication_factor];
    let factor = if factors.contains(&local.replication_factor) {
        local.replication_factor
    } else {
        config.next.replication_factor
    };
    let pairs = [
        ("chunk_size", local.chunk_size, config.next.chunk_size_bytes),
        (
            "challenge_frequency_periods",
            local.segment_periods,
            config.next.challenge_frequency_periods,
        ),
        ("round_segments", local.round_segments, config.next.round_segments),
        ("replication_factor", local.replication_factor, factor),
    ];
    match pairs.into_iter().find(|(_, configured, network)| configured != network) {
        None => Ok(()),
        Some((key, configured, network)) => Err(RegistryError::Mismatch {
            address,
            key,
            configured,
            network,
        }),
    }
}

/// The registry that is followed.
#[derive(Debug)]
struct Followed {
    address: Address,
    config: ConfigRecord,
    open_round: u64,
    /// From this round on flags of being filled count.
    flags_from: Option<u64>,
    /// By round.
    sets: BTreeMap<u64, Arc<NodeSet>>,
    /// Of the rounds that decide about the open one.
    rooms: Arc<[RoomSaid]>,
}

/// The node set of the registry; that of the genesis file where the registry has none.
#[derive(Debug)]
pub struct RegistryNodeSet {
    host: Arc<dyn ContractHost>,
    genesis: Arc<NodeSet>,
    local: NetworkValues,
    followed: RwLock<Option<Followed>>,
}

impl RegistryNodeSet {
    /// The set of the genesis file, until a registry is followed.
    pub fn new(host: Arc<dyn ContractHost>, genesis: NodeSet, local: NetworkValues) -> Self {
        Self {
            host,
            genesis: Arc::new(genesis),
            local,
            followed: RwLock::new(None),
        }
    }

    /// The registry that is followed.
    pub fn address(&self) -> Option<Address> {
        self.followed.read().as_ref().map(|followed| followed.address)
    }

    /// Its configuration, as last read.
    pub fn config(&self) -> Option<ConfigRecord> {
        self.followed.read().as_ref().map(|followed| followed.config.clone())
    }

    /// From which round on a node is filled only if its flag says so, as last read.
    pub fn flags_from(&self) -> Option<u64> {
        self.followed.read().as_ref()?.flags_from
    }

    /// The open round, and what is known of the room in those that decide about it; none where no registry is followed.
    pub fn rooms(&self) -> (u64, Arc<[RoomSaid]>) {
        let followed = self.followed.read();
        let known = followed
            .as_ref()
            .map(|followed| (followed.open_round, Arc::clone(&followed.rooms)));
        known.unwrap_or_else(|| (0, Arc::new([])))
    }

    /// Records of all its nodes, read now; none while no registry is followed.
    pub fn records(&self) -> Vec<NodeRecord> {
        self.address()
            .map_or_else(Vec::new, |address| read_nodes(&*self.host, &address))
    }

    /// Follows a registry from now on. Called again and again: does nothing once it is followed.
    ///
    /// # Errors
    /// [`RegistryError`]; what was followed before goes on.
    pub fn follow(&self, address: Address) -> Result<(), RegistryError> {
        if let Some(followed) = self.address() {
            return if followed == address {
                Ok(())
            } else {
                Err(RegistryError::Followed { address, followed })
            };
        }
        let config = read_config(&*self.host, address)?;
        check_values(address, &config, &self.local)?;
        let mut followed = Followed {
            address,
            config,
            open_round: 0,
            flags_from: None,
            sets: BTreeMap::new(),
            rooms: Arc::new([]),
        };
        self.read_sets(&mut followed);
        *self.followed.write() = Some(followed);
        Ok(())
    }

    /// Reads the sets that came within reach. Cheap while the round is the same. Returns whether something was read.
    pub fn refresh(&self) -> bool {
        let Some((address, known)) = self.followed.read().as_ref().map(|f| (f.address, f.open_round)) else {
            return false;
        };
        if self.final_round() <= known {
            return false;
        }
        let Ok(config) = read_config(&*self.host, address) else {
            return false;
        };
        let sets = self
            .followed
            .read()
            .as_ref()
            .map(|f| f.sets.clone())
            .unwrap_or_default();
        let mut fresh = Followed {
            address,
            config,
            open_round: known,
            flags_from: None,
            sets,
            rooms: Arc::new([]),
        };
        self.read_sets(&mut fresh);
        *self.followed.write() = Some(fresh);
        true
    }

    /// The round of the last final slot. All changes of rounds before it are in final state.
    fn final_round(&self) -> u64 {
        self.host.final_slot().period / self.local.round_periods()
    }

    /// Reads the sets of the open round, of the one before, and of the next.
    fn read_sets(&self, followed: &mut Followed) {
        // Before the rows: what is read later is still within the window of each of the three.
        let open = self.final_round();
        let records = read_nodes(&*self.host, &followed.address);
        let rows = self.host.final_entries(&followed.address, &[STATE_KEY.to_vec()]);
        let state = rows.into_iter().next().flatten();
        let state = state.and_then(|row| decode_state(&row).ok());
        let flags_from = state.as_ref().and_then(|state| state.flags_from_round);
        let config = &followed.config.next;
        let room = RoomRegistry {
            host: &*self.host,
            address: &followed.address,
            round_periods: self.local.round_periods(),
            voted: (config.first_segment, state.map_or(0, |state| state.next_segment)),
            flags_from,
        };
        followed.rooms = room.rooms(open).into();
        let first = config.first_segment / config.round_segments.max(1);
        for round in open.saturating_sub(1)..=open + 1 {
            followed.sets.entry(round).or_insert_with(|| {
                let set = set_of(&records, round, flags_from);
                if round < first || set.nodes().is_empty() {
                    Arc::clone(&self.genesis)
                } else {
                    Arc::new(set)
                }
            });
        }
        while followed.sets.len() > ROUNDS_KEPT {
            followed.sets.pop_first();
        }
        followed.open_round = open;
        followed.flags_from = flags_from;
    }
}

impl StorageRegistry for RegistryNodeSet {
    fn node_set(&self, round: u64) -> Arc<NodeSet> {
        let followed = self.followed.read();
        let Some(followed) = followed.as_ref() else {
            return Arc::clone(&self.genesis);
        };
        let before = followed.sets.range(..=round).next_back();
        let nearest = before.or_else(|| followed.sets.first_key_value());
        nearest.map_or_else(|| Arc::clone(&self.genesis), |(_, set)| Arc::clone(set))
    }

    fn open_round(&self) -> Option<u64> {
        self.followed.read().as_ref().map(|followed| followed.open_round)
    }

    fn replication_factor(&self, round: u64) -> Option<usize> {
        let followed = self.followed.read();
        let factor = followed.as_ref()?.config.at(round).replication_factor;
        usize::try_from(factor).ok()
    }
}
