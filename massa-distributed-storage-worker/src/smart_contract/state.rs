//! Rows of the registry contract's datastore, as they stand in final state.
//!
//! Read by the client of this node: what decides who holds what must be the same everywhere, so it is read from final state,
//! not asked of a view. Layouts: `massa-storage-sc/README.md`, "State".

use super::args::{utf8, ArgsReader, DecodeError};
use super::storage_registry::{
    amount, parse_listeners, parsed, unless_never, whole, StorageConfig, ADDRESS_TEXT_BYTES_MAX, LISTENERS_BYTES_MAX,
};
use super::views::RoundResult;
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use std::net::SocketAddr;

/// What the keys of all nodes begin with.
pub const NODE_PREFIX: &[u8] = b"node_";
/// Key of the configuration.
pub const CONFIG_KEY: &[u8] = b"config";
/// Key of money and counters.
pub const STATE_KEY: &[u8] = b"state";
/// Key of the number of nodes.
pub const TOTAL_NODES_KEY: &[u8] = b"total_nodes";

/// Rounds without a counted one after which a node weighs nothing.
pub const LAPSE_ROUNDS: u64 = 8;
/// Claims that a node record has room for.
const SLOTS: usize = 3;

/// Key of a node.
pub fn node_key(node: &Address) -> Vec<u8> {
    [NODE_PREFIX, node.to_string().as_bytes()].concat()
}

/// The node that a key is of.
///
/// # Errors
/// [`DecodeError`].
pub fn parse_node_key(key: &[u8]) -> Result<Address, DecodeError> {
    let text = key.strip_prefix(NODE_PREFIX).unwrap_or_default();
    if text.len() > ADDRESS_TEXT_BYTES_MAX {
        let reason = format!("{} bytes of address", text.len());
        return Err(DecodeError::Value { field: "key", reason });
    }
    parsed(&utf8(text, "key")?, "key")
}

/// Key of a manual challenge: the row is decoded with [`super::views::decode_challenge`].
pub fn challenge_key(challenge_id: &str) -> Vec<u8> {
    format!("chal_{challenge_id}").into_bytes()
}

/// Key of the round whose first period this is.
pub fn round_key(first_period: u64) -> Vec<u8> {
    format!("period_{first_period}").into_bytes()
}

/// Key of what was answered under a beacon.
pub fn beacon_key(round: u64, beacon: &Digest) -> Vec<u8> {
    [&b"beacon_"[..], &round.to_le_bytes(), beacon].concat()
}

/// Key of a segment's accepted root: the row is decoded with [`super::views::decode_segment_root`].
pub fn segment_key(segment: u64) -> Vec<u8> {
    format!("segment_{segment}").into_bytes()
}

/// Key of the votes for a segment root.
pub fn root_vote_key(segment: u64, root: &SegmentRoot) -> Vec<u8> {
    [&b"rootvote_"[..], &segment.to_le_bytes(), root.as_bytes()].concat()
}

/// Key of the address of the n-th node.
pub fn index_key(index: u64) -> Vec<u8> {
    format!("index_{index}").into_bytes()
}

/// The record of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its operator. Not in the row: its key has it.
    pub address: Address,
    /// What its scores are computed from.
    pub placement_key: Option<Digest>,
    /// Its place among the nodes.
    pub index: u64,
    /// When it joined.
    pub registered_period: u64,
    /// Its stake.
    pub stake: Amount,
    /// What it declared until [`NodeRecord::weight_from_round`], in GB.
    pub weight_now: u64,
    /// What it declared from then on.
    pub weight_next: u64,
    /// From this round on the second one counts.
    pub weight_from_round: u64,
    /// From this round on it weighs nothing, because it leaves.
    pub leave_round: Option<u64>,
    /// Its last counted round, at first the one in which it registered.
    pub last_counted_round: u64,
    /// It weighed nothing from this round on …
    pub lapsed_from: u64,
    /// … until this one.
    pub lapsed_until: u64,
    /// It holds its share from this round on …
    pub filled_from: u64,
    /// … until this one.
    pub filled_to: u64,
    /// The first round in which its entry in the electorate counts.
    pub entry_round: Option<u64>,
    /// The stake of that entry.
    pub entry_stake: Amount,
    /// It sits out until this round.
    pub no_claim_before_round: u64,
    /// Draws of its rounds that are over.
    pub total_draws: u64,
    /// Those it answered correctly.
    pub passed_draws: u64,
    /// When it was last challenged; 0: never.
    pub last_challenged_period: u64,
    /// Credit that can be claimed.
    pub matured_rewards: Amount,
    /// Periods it keeps; 0: all.
    pub retention_periods: u64,
    /// The last round in which it voted for segment roots.
    pub votes_round: Option<u64>,
    /// In that round it voted for segments below this one.
    pub voted_below_segment: u64,
    /// Its claims. The claim of round r is at r modulo 3; one of another round there is over or absent.
    pub slots: [Option<RoundResult>; SLOTS],
    /// Who it is in the network of peers; empty if it did not say.
    pub node_id: String,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
}

impl NodeRecord {
    /// Decodes the row of `address`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(address: Address, bytes: &[u8]) -> Result<Self, DecodeError> {
        whole(bytes, |reader| Ok((Self::read(address, reader)?, "addresses")))
    }

    fn read(address: Address, reader: &mut ArgsReader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u8("version")?;
        if version != 1 {
            let reason = format!("{version} is not 1");
            return Err(DecodeError::Value {
                field: "version",
                reason,
            });
        }
        reader.raw(2, "padding")?;
        let has_key = reader.bool("has key")?;
        reader.raw(4, "padding")?;
        let mut record = Self::read_numbers(address, reader)?;
        let key = reader.array("placement key")?;
        record.placement_key = has_key.then_some(key);
        for slot in &mut record.slots {
            let claim = RoundResult::read(reader)?;
            *slot = unless_never(claim.round).map(|_| claim);
        }
        record.entry_stake = amount(reader, "stake of the entry")?;
        record.node_id = utf8(sized(reader, ADDRESS_TEXT_BYTES_MAX, "node id")?, "node id")?;
        record.listeners = parse_listeners(sized(reader, LISTENERS_BYTES_MAX, "addresses")?);
        Ok(record)
    }

    /// The fields from `index` to `voted below`.
    fn read_numbers(address: Address, reader: &mut ArgsReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            address,
            placement_key: None,
            index: reader.u64("index")?,
            registered_period: reader.u64("registered period")?,
            stake: amount(reader, "stake")?,
            weight_now: reader.u64("weight now")?,
            weight_next: reader.u64("weight next")?,
            weight_from_round: reader.u64("from round")?,
            leave_round: unless_never(reader.u64("leaves with round")?),
            last_counted_round: reader.u64("last counted round")?,
            lapsed_from: reader.u64("lapsed from")?,
            lapsed_until: reader.u64("lapsed until")?,
            filled_from: reader.u64("filled from")?,
            filled_to: reader.u64("filled to")?,
            entry_round: unless_never(reader.u64("entry round")?),
            entry_stake: Amount::from_raw(0),
            no_claim_before_round: reader.u64("no claim before round")?,
            total_draws: reader.u64("draws")?,
            passed_draws: reader.u64("passed")?,
            last_challenged_period: reader.u64("last challenged period")?,
            matured_rewards: amount(reader, "matured credit")?,
            retention_periods: reader.u64("retention")?,
            votes_round: unless_never(reader.u64("votes round")?),
            voted_below_segment: reader.u64("voted below")?,
            slots: [None, None, None],
            node_id: String::new(),
            listeners: Vec::new(),
        })
    }

    /// What it declared for a round, in GB, whether or not it lapsed.
    pub fn declared_at(&self, round: u64) -> u64 {
        if round >= self.weight_from_round {
            self.weight_next
        } else {
            self.weight_now
        }
    }

    /// Whether it weighs nothing in a round because too many rounds went by without a counted one.
    pub fn lapsed_at(&self, round: u64) -> bool {
        let lapsed = (self.lapsed_from..self.lapsed_until).contains(&round);
        lapsed || round > self.last_counted_round.saturating_add(LAPSE_ROUNDS)
    }

    /// Its weight in a round, in GB.
    pub fn weight_at(&self, round: u64) -> u64 {
        let left = self.leave_round.is_some_and(|leave| round >= leave);
        if self.placement_key.is_none() || left || self.lapsed_at(round) {
            return 0;
        }
        self.declared_at(round)
    }

    /// Whether it holds its share in a round: by its own flag from `flags_from` on
    /// ([`RegistryState::flags_from_round`](super::views::RegistryState::flags_from_round)). Before, and while that is `None`,
    /// everybody does, because nobody has passed anything.
    pub fn filled_at(&self, flags_from: Option<u64>, round: u64) -> bool {
        flags_from.map_or(true, |from| round < from) || (self.filled_from..self.filled_to).contains(&round)
    }

    /// Whether its retention covers a segment until a round ends: it is among the last ones, counted from the last of that round.
    pub fn covers(&self, segment: u64, round: u64, config: &StorageConfig) -> bool {
        let kept = self.retention_periods / config.challenge_frequency_periods.max(1);
        let end = round.saturating_add(1).saturating_mul(config.round_segments);
        self.retention_periods == 0 || segment.saturating_add(kept) >= end
    }

    /// Its claim for a round, while no later one took its place.
    pub fn claim_of(&self, round: u64) -> Option<&RoundResult> {
        let slot = self.slots[(round % SLOTS as u64) as usize].as_ref();
        slot.filter(|claim| claim.round == round)
    }

    /// Who it is in the network of peers, if it said so.
    pub fn peer(&self) -> Option<NodeId> {
        self.node_id.parse().ok()
    }

    /// This node in the set of a round; `None` if it weighs nothing there.
    pub fn in_round(&self, round: u64, flags_from: Option<u64>) -> Option<StorageNode> {
        self.weighing(self.weight_at(round), round, flags_from)
    }

    /// This node in the set of a round as if no time had gone by since its last counted round.
    pub fn unlapsed_in_round(&self, round: u64, flags_from: Option<u64>) -> Option<StorageNode> {
        let left = self.leave_round.is_some_and(|leave| round >= leave);
        let declared = if left { 0 } else { self.declared_at(round) };
        self.weighing(declared, round, flags_from)
    }

    /// Its last counted round as the final state before `round` had it: what was counted later gives weight later.
    pub fn counted_before(&self, round: u64) -> u64 {
        if (self.lapsed_from..self.lapsed_until).contains(&round) {
            self.lapsed_from.saturating_sub(LAPSE_ROUNDS + 1)
        } else {
            self.last_counted_round
        }
    }

    fn weighing(&self, allocated_storage_gb: u64, round: u64, flags_from: Option<u64>) -> Option<StorageNode> {
        if allocated_storage_gb == 0 {
            return None;
        }
        Some(StorageNode {
            node_id: self.peer(),
            address: self.address,
            placement_key: self.placement_key?,
            allocated_storage_gb,
            filled: self.filled_at(flags_from, round),
            retention_periods: self.retention_periods,
            listeners: self.listeners.clone(),
        })
    }
}

/// Bytes after a length of two bytes.
fn sized<'a>(reader: &mut ArgsReader<'a>, max: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let length = usize::from(reader.u16(field)?);
    if length > max {
        let reason = format!("{length} bytes, more than {max}");
        return Err(DecodeError::Value { field, reason });
    }
    reader.raw(length, field)
}

/// The record of a round. By default nothing was claimed for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundRecord {
    /// Nodes that claimed.
    pub claims: u64,
    /// Their stake.
    pub claim_stake: Amount,
    /// Leaves they claimed.
    pub leaves: u64,
    /// The seasoned stake, when it was answered last.
    pub electorate: Amount,
    /// Draws expected.
    pub draws_expected: u64,
    /// Draws answered correctly.
    pub draws_passed: u64,
    /// Nodes that answered.
    pub answers: u64,
    /// What it pays for each GB and period.
    pub rate: Amount,
    /// Set aside for it.
    pub reserve: Amount,
    /// Percentage of the stake that is lost when all draws are missed.
    pub slash_percentage: u64,
    /// Credited to its nodes.
    pub credit_sum: Amount,
    /// Nodes that are paid.
    pub node_count: u64,
    /// The round with an accepted beacon before this one.
    pub previous_accepted_round: Option<u64>,
    /// Whether rate and reserve are fixed.
    pub frozen: bool,
    /// Whether it is closed.
    pub closed: bool,
    /// Whether a pause touched it.
    pub paused: bool,
    /// R: how many hold a chunk in this round.
    pub factor: u64,
    /// Bytes of a full chunk, as a power of two.
    pub chunk_bits: u8,
    /// The accepted beacon.
    pub beacon: Option<Digest>,
    /// What is staked for a GB.
    pub stake_per_gb: Amount,
    /// Seasoned stake under the accepted beacon. Of a closed round, as the next three.
    pub beacon_stake: Amount,
    /// Leaves of the claims that passed all draws.
    pub proven_leaves: u64,
    /// GB declared by who made them.
    pub proven_weight: u64,
    /// Of these, the GB of who keeps all of history.
    pub lasting_weight: u64,
}

impl RoundRecord {
    /// Decodes the row of a round.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        whole(bytes, |reader| {
            let mut record = Self {
                claims: reader.u64("claims")?,
                claim_stake: amount(reader, "claim stake")?,
                leaves: reader.u64("leaves")?,
                electorate: amount(reader, "electorate")?,
                draws_expected: reader.u64("draws expected")?,
                draws_passed: reader.u64("draws passed")?,
                answers: reader.u64("answers")?,
                rate: amount(reader, "rate")?,
                reserve: amount(reader, "reserve")?,
                slash_percentage: reader.u64("slash percentage")?,
                credit_sum: amount(reader, "credit sum")?,
                node_count: reader.u64("node count")?,
                previous_accepted_round: unless_never(reader.u64("previous accepted")?),
                frozen: reader.bool("frozen")?,
                ..Self::default()
            };
            let accepted = reader.bool("accepted")?;
            record.closed = reader.bool("closed")?;
            record.paused = reader.bool("paused")?;
            record.factor = reader.u8("factor")?.into();
            record.chunk_bits = reader.u8("chunk bits")?;
            reader.raw(2, "padding")?;
            let beacon = reader.array("beacon")?;
            record.beacon = accepted.then_some(beacon);
            record.stake_per_gb = amount(reader, "stake per GB")?;
            record.beacon_stake = amount(reader, "beacon stake")?;
            record.proven_leaves = reader.u64("proven leaves")?;
            record.proven_weight = reader.u64("proven weight")?;
            record.lasting_weight = reader.u64("lasting weight")?;
            Ok((record, "lasting weight"))
        })
    }
}

/// What was answered under one beacon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconRecord {
    /// Seasoned stake of who answered.
    pub stake: Amount,
    /// What they would be credited.
    pub credit: Amount,
    /// How many they are.
    pub nodes: u64,
    /// Stake of their claims, seasoned or not.
    pub claim_stake: Amount,
    /// Leaves of those that passed all draws.
    pub proven_leaves: u64,
    /// GB declared by who made these.
    pub proven_weight: u64,
    /// Of these, the GB of who keeps all of history.
    pub lasting_weight: u64,
    /// Who paid for the row.
    pub payer: Address,
}

impl BeaconRecord {
    /// Decodes the row of a beacon.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        whole(bytes, |reader| {
            let record = Self {
                stake: amount(reader, "stake")?,
                credit: amount(reader, "credit")?,
                nodes: reader.u64("nodes")?,
                claim_stake: amount(reader, "claim stake")?,
                proven_leaves: reader.u64("proven leaves")?,
                proven_weight: reader.u64("proven weight")?,
                lasting_weight: reader.u64("lasting weight")?,
                payer: payer(reader)?,
            };
            Ok((record, "payer"))
        })
    }
}

/// Votes for a root of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootVotes {
    /// The round that they are of: in the next they start anew.
    pub round: u64,
    /// Seasoned stake that voted.
    pub stake: Amount,
    /// Who paid for the row.
    pub payer: Address,
}

impl RootVotes {
    /// Decodes the row of a segment's root.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        whole(bytes, |reader| {
            let votes = Self {
                round: reader.u64("round")?,
                stake: amount(reader, "stake")?,
                payer: payer(reader)?,
            };
            Ok((votes, "payer"))
        })
    }
}

/// The rest of a row.
fn payer(reader: &mut ArgsReader<'_>) -> Result<Address, DecodeError> {
    let length = reader.left();
    if length > ADDRESS_TEXT_BYTES_MAX {
        let reason = format!("{length} bytes of address");
        return Err(DecodeError::Value { field: "payer", reason });
    }
    parsed(&utf8(reader.raw(length, "payer")?, "payer")?, "payer")
}

/// The configuration in force and the one that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    /// In force before [`ConfigRecord::next_round`].
    pub now: StorageConfig,
    /// In force from then on.
    pub next: StorageConfig,
    /// The round.
    pub next_round: u64,
}

impl ConfigRecord {
    /// Decodes the row `config`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        whole(bytes, |reader| {
            let record = Self {
                now: StorageConfig::read(reader)?,
                next: StorageConfig::read(reader)?,
                next_round: reader.u64("next round")?,
            };
            Ok((record, "next round"))
        })
    }

    /// P: periods of a round. The same in every configuration of a registry.
    pub fn round_periods(&self) -> u64 {
        self.next.round_periods()
    }

    /// The configuration of a round.
    pub fn at(&self, round: u64) -> &StorageConfig {
        if round >= self.next_round {
            &self.next
        } else {
            &self.now
        }
    }
}
