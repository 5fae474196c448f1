//! The genesis file of a local network.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{BLOCK_REWARD, OPERATION_VALIDITY_PERIODS};
use massa_models::node::NodeId;
use massa_node::genesis::{Genesis, GenesisStorage, GenesisStorageNode};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use rand::Rng;
use std::net::SocketAddr;

/// The chain id of local networks.
pub const CHAIN_ID: u64 = 77;
/// Bytes of a chunk: one page, so that the few hundred kilobytes of a period touch several chunks.
pub const CHUNK_BYTES: u32 = 1 << 16;
/// Nodes that hold each chunk, where there are as many.
pub const REPLICATION_FACTOR: u8 = 3;
/// Periods of a segment: few, so that segments close and chunks are placed while somebody watches.
pub const SEGMENT_PERIODS: u64 = 4;
/// Segments of a round.
pub const ROUND_SEGMENTS: u64 = 5;
/// Periods of a round: the window of answers has to leave time for finality (three periods), for an operation to be included, and
/// for a second try.
pub const ROUND_PERIODS: u64 = ROUND_SEGMENTS * SEGMENT_PERIODS;
/// Disk space that each node offers, in GB of 2³⁰ bytes.
pub const ALLOCATED_STORAGE_GB: u64 = 1;
/// nanoMAS for each GB and period: so many that what a node of some megabytes earns in a round is worth the fee of claiming it.
pub const REWARD_PER_GB_PER_PERIOD: u64 = 1_000_000_000;
/// Periods of blocks on top that make a block final: there are no endorsements, each block counts 1.
const FINALITY_PERIODS: u64 = 2;
/// Weight of each node in the producer draws.
const ROLLS_PER_NODE: u64 = 100;
/// Coins of each account, in MAS: fees and rolls for days.
const ACCOUNT_BALANCE: u64 = 10_000_000;
/// Coins of each node's operator, in MAS: its stake, and fees for days.
const OPERATOR_BALANCE: u64 = 10_000;

/// The clock of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// When the first slot begins.
    pub genesis_timestamp: MassaTime,
    /// Length of a period.
    pub t0: MassaTime,
    /// Threads.
    pub thread_count: u8,
}

impl Clock {
    /// The period that contains `now`; 0 before the first slot.
    pub fn period_at(&self, now: MassaTime) -> u64 {
        now.saturating_sub(self.genesis_timestamp).as_millis() / self.t0.as_millis()
    }
}

/// What the genesis file says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Who it is in the network of peers.
    pub node_id: NodeId,
    /// The address that produces its blocks.
    pub address: Address,
    /// The address that registers, pays fees and is paid. It produces nothing, so that its balance tells what storing cost and earned.
    pub operator: Address,
    /// Where peers reach it.
    pub listener: SocketAddr,
}

/// The genesis of a network of these nodes, all of which produce and store, and of accounts; all have coins.
pub fn genesis(clock: &Clock, nodes: &[NodeIdentity], accounts: &[Address]) -> Genesis {
    let storage_node = |node: &NodeIdentity| GenesisStorageNode {
        node_id: node.node_id,
        address: node.operator,
        allocated_storage_gb: ALLOCATED_STORAGE_GB,
        listeners: vec![node.listener],
    };
    let accounts = accounts.iter().map(|account| (*account, account_balance()));
    let operators = nodes.iter().map(|node| (node.operator, operator_balance()));
    Genesis {
        chain_id: CHAIN_ID,
        genesis_timestamp: clock.genesis_timestamp,
        t0: clock.t0,
        thread_count: clock.thread_count,
        delta_f0: FINALITY_PERIODS * u64::from(clock.thread_count),
        operation_validity_periods: OPERATION_VALIDITY_PERIODS,
        block_reward: BLOCK_REWARD,
        seed: hex::encode(rand::thread_rng().gen::<[u8; 32]>()),
        genesis_key: KeyPair::generate(0).expect("version 0 of keys exists"),
        rolls: nodes.iter().map(|node| (node.address, ROLLS_PER_NODE)).collect(),
        balances: accounts.chain(operators).collect(),
        storage: GenesisStorage {
            chunk_size: CHUNK_BYTES,
            replication_factor: replication_factor(nodes.len()),
            challenge_frequency_periods: SEGMENT_PERIODS,
            round_segments: ROUND_SEGMENTS,
            reward_per_gb_per_period: REWARD_PER_GB_PER_PERIOD,
            nodes: nodes.iter().map(storage_node).collect(),
        },
    }
}

/// What each account has at the start.
pub fn account_balance() -> Amount {
    Amount::from_mantissa_scale(ACCOUNT_BALANCE, 0).expect("the balance is far below the largest amount")
}

/// What the operator of each node has at the start.
fn operator_balance() -> Amount {
    Amount::from_mantissa_scale(OPERATOR_BALANCE, 0).expect("the balance is far below the largest amount")
}

/// Nodes that hold each chunk in a network of `nodes`.
pub fn replication_factor(nodes: usize) -> u8 {
    u8::try_from(nodes).map_or(REPLICATION_FACTOR, |nodes| nodes.min(REPLICATION_FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(port: u16) -> NodeIdentity {
        let key = KeyPair::generate(0).unwrap().get_public_key();
        NodeIdentity {
            node_id: NodeId::new(key),
            address: Address::from_public_key(&key),
            operator: Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key()),
            listener: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn clock() -> Clock {
        Clock {
            genesis_timestamp: MassaTime::from_millis(10_000),
            t0: MassaTime::from_millis(1_920),
            thread_count: 32,
        }
    }

    fn made(nodes: u16) -> Genesis {
        let nodes: Vec<NodeIdentity> = (1..=nodes).map(identity).collect();
        genesis(&clock(), &nodes, &[identity(0).address])
    }

    #[test]
    fn the_node_accepts_the_file_and_reads_what_was_meant() {
        let genesis = made(4);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("genesis.json");
        std::fs::write(&path, serde_json::to_string_pretty(&genesis).unwrap()).unwrap();
        let (read, id) = Genesis::load(&path).unwrap();
        assert_eq!(id, genesis.id());
        assert_eq!(read.node_set().nodes().len(), 4);
        assert_eq!((read.storage.chunk_size, read.storage.replication_factor), (65_536, 3));
        let rounds = (read.storage.challenge_frequency_periods, read.storage.round_segments);
        assert_eq!(rounds, (4, 5));
        let mut balances: Vec<Amount> = read.balances.into_values().collect();
        balances.sort_unstable();
        assert_eq!(balances[..4], [operator_balance(); 4]);
        assert_eq!(balances[4..], [account_balance()]);
    }

    #[test]
    fn finality_takes_two_periods_of_blocks_as_there_are_no_endorsements() {
        assert_eq!(made(1).delta_f0, 64);
    }

    #[test]
    fn a_network_smaller_than_the_factor_replicates_to_every_node() {
        assert_eq!([1, 2, 3, 4, 1000].map(replication_factor), [1, 2, 3, 3, 3]);
        made(2).check().unwrap();
    }

    #[test]
    fn a_period_begins_every_t0_after_the_first_slot() {
        let period = |ms| clock().period_at(MassaTime::from_millis(ms));
        assert_eq!([0, 10_000, 11_919, 11_920, 13_840].map(period), [0, 0, 0, 1, 2]);
    }
}
