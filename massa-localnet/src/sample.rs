//! The final state of a registry and its nodes' operators, read from a node as it was after one slot.

use crate::client::{ClientError, NodeClient};
use crate::network::Network;
use crate::node::Node;
use crate::rewards::Rate;
use crate::wallets::row_bytes;
use massa_distributed_storage_worker::smart_contract::args::DecodeError;
use massa_distributed_storage_worker::smart_contract::state::{
    self as rows, BeaconRecord, NodeRecord, RootVotes, RoundRecord,
};
use massa_distributed_storage_worker::smart_contract::views::{decode_state, RegistryState};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::slot::Slot;
use std::collections::BTreeMap;

/// What the keys of rounds begin with.
const ROUND_PREFIX: &str = "period_";

/// Why final state was not read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The node did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A row is not what it has to be.
    #[error("row {key} of the registry: {source}")]
    Row {
        /// The row.
        key: String,
        /// Why.
        source: DecodeError,
    },
}

/// The final state of the registry and the operators after one slot.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The slot.
    pub cursor: Slot,
    /// Money and counters.
    pub state: RegistryState,
    /// The registered nodes.
    pub nodes: Vec<NodeRecord>,
    /// The rounds, by their number.
    pub rounds: BTreeMap<u64, RoundRecord>,
    /// Bytes that the registry's rows are charged for, of those that are neither shared nor name their payer.
    pub row_bytes: u64,
    /// Bytes of the rows that name their payer, by that one.
    pub paid_row_bytes: BTreeMap<Address, u64>,
    /// Coins of the operators.
    pub balances: BTreeMap<Address, Amount>,
}

/// Rows and balances, as they were told.
#[derive(PartialEq, Eq)]
struct Told {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    balances: BTreeMap<Address, Amount>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The registry.
    pub registry: Address,
    /// The operators.
    pub operators: Vec<Address>,
    /// The configured rate, and the periods of a round.
    pub rate: Rate,
}

impl Subject {
    /// The registry and the nodes of a network.
    pub fn of(network: &Network, registry: Address) -> Self {
        let storage = &network.genesis().storage;
        Self {
            registry,
            operators: network.nodes().iter().map(Node::operator).collect(),
            rate: Rate {
                nano: storage.reward_per_gb_per_period,
                periods: storage.challenge_frequency_periods * storage.round_segments,
            },
        }
    }

    /// Reads final state. `None` if it changed meanwhile.
    ///
    /// Everything is read twice with the slot in between: what was the same before and after belongs to that slot, however
    /// fast slots become final.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn read(&self, client: &NodeClient) -> Result<Option<Sample>, SampleError> {
        let before = self.told(client)?;
        let cursor = client.status()?.execution_stats.final_cursor;
        if before != self.told(client)? {
            return Ok(None);
        }
        self.sample(cursor, before)
    }

    fn told(&self, client: &NodeClient) -> Result<Told, ClientError> {
        let addresses: Vec<Address> = std::iter::once(self.registry).chain(self.operators.clone()).collect();
        let mut infos = client.addresses(addresses)?.into_iter();
        let keys = infos.next().map(|info| info.final_datastore_keys).unwrap_or_default();
        Ok(Told {
            rows: client.final_rows(self.registry, &keys)?,
            balances: infos.map(|info| (info.address, info.final_balance)).collect(),
        })
    }

    fn sample(&self, cursor: Slot, told: Told) -> Result<Option<Sample>, SampleError> {
        let row_error = |key: &[u8]| {
            let key = String::from_utf8_lossy(key).into_owned();
            |source| SampleError::Row { key, source }
        };
        let Some(state) = told.rows.get(rows::STATE_KEY) else {
            return Ok(None);
        };
        let mut sample = Sample {
            cursor,
            state: decode_state(state).map_err(row_error(rows::STATE_KEY))?,
            nodes: Vec::new(),
            rounds: BTreeMap::new(),
            row_bytes: 0,
            paid_row_bytes: BTreeMap::new(),
            balances: told.balances,
        };
        for (key, row) in &told.rows {
            let bytes = row_bytes(key, row);
            match payer_of(key, row).map_err(row_error(key))? {
                Payer::Pool => {}
                Payer::Named(payer) => *sample.paid_row_bytes.entry(payer).or_default() += bytes,
                Payer::Caller => sample.row_bytes += bytes,
            }
            if key.starts_with(rows::NODE_PREFIX) {
                let address = rows::parse_node_key(key).map_err(row_error(key))?;
                let node = NodeRecord::decode(address, row).map_err(row_error(key))?;
                sample.nodes.push(node);
            } else if let Some(round) = round_of_key(key, self.rate.periods) {
                let record = RoundRecord::decode(row).map_err(row_error(key))?;
                sample.rounds.insert(round, record);
            }
        }
        Ok(Some(sample))
    }
}

/// Who paid for a row.
#[derive(Debug, PartialEq, Eq)]
enum Payer {
    /// All share it.
    Pool,
    /// The row says who.
    Named(Address),
    /// Whose operation added it.
    Caller,
}

fn payer_of(key: &[u8], row: &[u8]) -> Result<Payer, DecodeError> {
    let is = |prefix: &str| key.starts_with(prefix.as_bytes());
    if is(ROUND_PREFIX) || is("segment_") {
        return Ok(Payer::Pool);
    }
    if is("beacon_") {
        return BeaconRecord::decode(row).map(|beacon| Payer::Named(beacon.payer));
    }
    if is("rootvote_") {
        return RootVotes::decode(row).map(|votes| Payer::Named(votes.payer));
    }
    Ok(Payer::Caller)
}

fn round_of_key(key: &[u8], periods: u64) -> Option<u64> {
    let first: u64 = std::str::from_utf8(key)
        .ok()?
        .strip_prefix(ROUND_PREFIX)?
        .parse()
        .ok()?;
    first.checked_div(periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_known_by_their_first_period() {
        assert_eq!(round_of_key(b"period_60", 20), Some(3));
        assert_eq!(round_of_key(b"period_x", 20), None);
        assert_eq!(round_of_key(b"config", 20), None);
    }
}
