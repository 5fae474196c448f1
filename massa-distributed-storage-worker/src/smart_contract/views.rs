//! What the registry's views answer, and its rows of the same form: read, and told to people.

use super::args::{ArgsReader, DecodeError};
use super::electorate::{counts, BUCKETS};
pub use super::slot_answer::{decode_slot_answer, SlotAnswer, SlotState};
use super::storage_registry::{
    address, amount, parse_listeners, parsed, unless_never, whole, StorageConfig, ADDRESS_TEXT_BYTES_MAX,
    CHALLENGE_ID_BYTES_MAX, DRAWS_MAX, LISTENERS_BYTES_MAX, NODES_PAGE,
};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_models::address::Address;
use massa_models::amount::Amount;
use serde::Serialize;
use std::net::SocketAddr;

/// A node, as the contract tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// Its operator.
    pub address: Address,
    /// Disk space it declared last, in GB.
    pub allocated_gb: u64,
    /// When it joined.
    pub registered_period: u64,
    /// Draws of its rounds that are over.
    pub total_challenges: u64,
    /// Those it answered correctly.
    pub passed_challenges: u64,
    /// Credit, matured or not.
    pub pending_rewards: Amount,
    /// When it was last challenged; 0: never.
    pub last_challenged_period: u64,
    /// Whether it is not leaving.
    pub active: bool,
    /// Its stake.
    pub stake: Amount,
    /// Credit that can be claimed now.
    pub claimable_rewards: Amount,
    /// Its weight in this round, in GB.
    pub weight: u64,
    /// Its weight in the second round after this one.
    pub weight_soon: u64,
    /// From this round on it weighs nothing, because it leaves.
    pub leave_round: Option<u64>,
    /// Its last counted round, at first the one in which it registered.
    pub last_counted_round: u64,
    /// It sits out until this round.
    pub no_claim_before_round: u64,
    /// Periods it keeps; 0: all.
    pub retention_periods: u64,
    /// The last round in which it voted for segment roots.
    pub votes_round: Option<u64>,
    /// What its vote weighs in this round.
    pub vote_weight: Amount,
    /// Whether it holds its share in this round.
    pub filled: bool,
    /// What its scores are computed from.
    #[serde(serialize_with = "optional_digest")]
    pub placement_key: Option<Digest>,
    /// Who it is in the network of peers; empty if it did not say.
    pub node_id: String,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
    /// Disk space it declared for this round, in GB.
    pub allocated_gb_now: u64,
    /// From this round on what it declared last counts.
    pub allocated_gb_from_round: u64,
}

/// Result of [`super::storage_registry::get_node_info`]; `None` if there is no such node.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_node_info(bytes: &[u8]) -> Result<Option<NodeInfo>, DecodeError> {
    optional(bytes, |reader| {
        let mut info = NodeInfo {
            address: address(reader, "address")?,
            allocated_gb: reader.u64("allocatedGb")?,
            registered_period: reader.u64("registeredPeriod")?,
            total_challenges: reader.u64("totalChallenges")?,
            passed_challenges: reader.u64("passedChallenges")?,
            pending_rewards: amount(reader, "pendingRewards")?,
            last_challenged_period: reader.u64("lastChallengedPeriod")?,
            active: reader.bool("active")?,
            stake: amount(reader, "stake")?,
            claimable_rewards: amount(reader, "claimable")?,
            weight: reader.u64("weight")?,
            weight_soon: reader.u64("weightSoon")?,
            leave_round: unless_never(reader.u64("leaveRound")?),
            last_counted_round: reader.u64("lastCounted")?,
            no_claim_before_round: reader.u64("noClaimBefore")?,
            retention_periods: reader.u64("retentionPeriods")?,
            votes_round: unless_never(reader.u64("votesRound")?),
            vote_weight: amount(reader, "voteWeight")?,
            filled: reader.bool("filled")?,
            placement_key: None,
            node_id: String::new(),
            listeners: Vec::new(),
            allocated_gb_now: 0,
            allocated_gb_from_round: 0,
        };
        let has_key = reader.bool("hasKey")?;
        let key = reader.array("key")?;
        info.placement_key = has_key.then_some(key);
        info.node_id = reader.text(ADDRESS_TEXT_BYTES_MAX, "nodeId")?;
        info.listeners = parse_listeners(reader.bytes(LISTENERS_BYTES_MAX, "addresses")?);
        info.allocated_gb_now = reader.u64("allocatedGbNow")?;
        info.allocated_gb_from_round = reader.u64("allocatedGbFrom")?;
        Ok((info, "allocatedGbFrom"))
    })
}

/// A manual challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManualChallenge {
    /// Its id, as its challenger chose it.
    pub id: String,
    /// Who is asked.
    pub node_address: Address,
    /// What for.
    pub chunk_id: ChunkId,
    /// The leaf asked for, modulo the number of leaves.
    pub nonce: u64,
    /// When it was issued.
    pub issued_period: u64,
    /// Until when it can be answered, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// Whether it is over.
    pub resolved: bool,
    /// Whether it was answered correctly.
    pub passed: bool,
}

/// Result of [`super::storage_registry::get_challenge`], also the row of a challenge; `None` if there is no such challenge.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_challenge(bytes: &[u8]) -> Result<Option<ManualChallenge>, DecodeError> {
    optional(bytes, |reader| {
        let challenge = ManualChallenge {
            id: reader.text(CHALLENGE_ID_BYTES_MAX, "id")?,
            node_address: address(reader, "nodeAddress")?,
            chunk_id: parsed(&reader.text(64, "chunkId")?, "chunkId")?,
            nonce: reader.u64("nonce")?,
            issued_period: reader.u64("issuedPeriod")?,
            deadline_ms: reader.u64("deadline")?,
            resolved: reader.bool("resolved")?,
            passed: reader.bool("passed")?,
        };
        Ok((challenge, "passed"))
    })
}

/// A round, as the contract tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeriodStats {
    /// Its first period.
    pub period: u64,
    /// Claimed, in GB.
    pub total_gb_stored: u64,
    /// Credited to its nodes.
    pub total_rewards_distributed: Amount,
    /// Nodes that claimed.
    pub active_nodes: u64,
    /// Draws expected.
    pub challenges_issued: u64,
    /// Draws answered correctly.
    pub challenges_passed: u64,
    /// Stake of who claimed.
    pub claim_stake: Amount,
    /// Leaves claimed.
    pub leaves: u64,
    /// The seasoned stake, when it was answered last.
    pub electorate: Amount,
    /// Nodes that answered.
    pub answers: u64,
    /// What it pays for each GB and period.
    pub rate: Amount,
    /// Set aside for it.
    pub reserve: Amount,
    /// Percentage of the stake that is lost when all draws are missed.
    pub slash_percentage: u64,
    /// Nodes that are paid.
    pub node_count: u64,
    /// Whether rate and reserve are fixed.
    pub frozen: bool,
    /// Whether a beacon has its majority.
    pub accepted: bool,
    /// Whether it is closed.
    pub closed: bool,
    /// Whether a pause touched it.
    pub paused: bool,
    /// The accepted beacon.
    #[serde(serialize_with = "optional_digest")]
    pub beacon: Option<Digest>,
    /// The round with an accepted beacon before this one.
    pub previous_accepted_round: Option<u64>,
    /// R: how many hold a chunk in this round.
    pub factor: u64,
    /// Seasoned stake under the accepted beacon. Of a closed round, as the next three.
    pub beacon_stake: Amount,
    /// Leaves of the claims that passed all draws.
    pub proven_leaves: u64,
    /// GB declared by who made them.
    pub proven_weight: u64,
    /// Of these, the GB of who keeps all of history.
    pub lasting_weight: u64,
}

/// Result of [`super::storage_registry::get_period_stats`]; `None` if nothing is known of the round.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_period_stats(bytes: &[u8]) -> Result<Option<PeriodStats>, DecodeError> {
    optional(bytes, |reader| {
        let mut stats = PeriodStats {
            period: reader.u64("period")?,
            total_gb_stored: reader.u64("totalGbStored")?,
            total_rewards_distributed: amount(reader, "totalRewardsDistributed")?,
            active_nodes: reader.u64("activeNodes")?,
            challenges_issued: reader.u64("challengesIssued")?,
            challenges_passed: reader.u64("challengesPassed")?,
            claim_stake: amount(reader, "claimStake")?,
            leaves: reader.u64("leaves")?,
            electorate: amount(reader, "electorate")?,
            answers: reader.u64("answers")?,
            rate: amount(reader, "rate")?,
            reserve: amount(reader, "reserve")?,
            slash_percentage: reader.u64("slashPercentage")?,
            node_count: reader.u64("nodeCount")?,
            frozen: reader.bool("frozen")?,
            accepted: reader.bool("accepted")?,
            closed: reader.bool("closed")?,
            paused: reader.bool("paused")?,
            beacon: None,
            previous_accepted_round: None,
            factor: 0,
            beacon_stake: Amount::from_raw(0),
            proven_leaves: 0,
            proven_weight: 0,
            lasting_weight: 0,
        };
        let beacon = reader.array("beacon")?;
        stats.beacon = stats.accepted.then_some(beacon);
        stats.previous_accepted_round = unless_never(reader.u64("previousAccepted")?);
        stats.factor = reader.u64("factor")?;
        stats.beacon_stake = amount(reader, "beaconStake")?;
        stats.proven_leaves = reader.u64("provenLeaves")?;
        stats.proven_weight = reader.u64("provenWeight")?;
        stats.lasting_weight = reader.u64("lastingWeight")?;
        Ok((stats, "lastingWeight"))
    })
}

/// Result of [`super::storage_registry::get_config`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_config(bytes: &[u8]) -> Result<StorageConfig, DecodeError> {
    whole(bytes, |reader| Ok((StorageConfig::read(reader)?, "roundSegments")))
}

/// Result of [`super::storage_registry::get_next_config`]: the configuration that follows, and the round from which it counts.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_next_config(bytes: &[u8]) -> Result<(StorageConfig, u64), DecodeError> {
    whole(bytes, |reader| {
        let config = StorageConfig::read(reader)?;
        Ok(((config, reader.u64("nextRound")?), "nextRound"))
    })
}

/// Result of [`super::storage_registry::get_total_nodes`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_number(bytes: &[u8]) -> Result<u64, DecodeError> {
    whole(bytes, |reader| Ok((reader.u64("number")?, "number")))
}

/// Result of [`super::storage_registry::calculate_pending_rewards`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_amount(bytes: &[u8]) -> Result<Amount, DecodeError> {
    decode_number(bytes).map(Amount::from_raw)
}

/// Result of [`super::storage_registry::get_nodes`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_nodes(bytes: &[u8]) -> Result<Vec<Address>, DecodeError> {
    whole(bytes, |reader| {
        let texts = reader.texts(NODES_PAGE as usize, ADDRESS_TEXT_BYTES_MAX, "nodes")?;
        let nodes = texts.iter().map(|text| parsed(text, "nodes"));
        Ok((nodes.collect::<Result<_, _>>()?, "nodes"))
    })
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    /// Not answered yet.
    Claimed,
    /// Answered.
    Answered,
    /// Over.
    Settled,
}

/// A claim for a round, its answer and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoundResult {
    /// The round.
    pub round: u64,
    /// Leaves claimed.
    pub leaves: u64,
    /// The node's stake as it claimed.
    pub stake: Amount,
    /// Its declared weight in the round, in GB.
    pub weight: u64,
    /// Root of the claim.
    #[serde(serialize_with = "digest")]
    pub root: Digest,
    /// The beacon that it answered under.
    #[serde(serialize_with = "digest")]
    pub beacon: Digest,
    /// Credit that has not matured.
    pub credit: Amount,
    /// How far it is.
    pub state: ClaimState,
    /// Draws.
    pub draws: u8,
    /// Draws answered correctly.
    pub passes: u8,
    /// Why it is not, or not fully, paid: [`reason_text`].
    pub reason: u8,
    /// Whether it was refuted.
    pub refuted: bool,
    /// Whether the node weighed and held its share in the round, as placement knew when it was claimed.
    pub filled: bool,
    /// The same for each draw.
    pub draw_reasons: Vec<u8>,
}

impl RoundResult {
    /// Bytes of the binary form.
    pub const SIZE_BYTES: usize = 128;

    pub(super) fn read(reader: &mut ArgsReader<'_>) -> Result<Self, DecodeError> {
        let mut result = Self {
            round: reader.u64("round")?,
            leaves: reader.u64("leaves")?,
            stake: amount(reader, "stake")?,
            weight: reader.u64("weight")?,
            root: reader.array("root")?,
            beacon: reader.array("beacon")?,
            credit: amount(reader, "credit")?,
            state: claim_state(reader.u8("state")?)?,
            draws: reader.u8("draws")?,
            passes: reader.u8("passes")?,
            reason: reader.u8("reason")?,
            refuted: reader.bool("refuted")?,
            filled: reader.bool("filled")?,
            draw_reasons: Vec::new(),
        };
        reader.raw(2, "padding")?;
        let reasons: [u8; DRAWS_MAX] = reader.array("draw reasons")?;
        let draws = usize::from(result.draws);
        let of_draws = reasons.get(..draws).ok_or_else(|| DecodeError::Value {
            field: "draws",
            reason: format!("{draws} is more than {DRAWS_MAX}"),
        })?;
        result.draw_reasons = of_draws.to_vec();
        Ok(result)
    }
}

fn claim_state(code: u8) -> Result<ClaimState, DecodeError> {
    match code {
        1 => Ok(ClaimState::Claimed),
        2 => Ok(ClaimState::Answered),
        3 => Ok(ClaimState::Settled),
        other => Err(DecodeError::Value {
            field: "state",
            reason: format!("{other} is not 1, 2 or 3"),
        }),
    }
}

/// Result of [`super::storage_registry::get_round_result`]; `None` if the node has no claim for the round, or a later one took its place.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_round_result(bytes: &[u8]) -> Result<Option<RoundResult>, DecodeError> {
    optional(bytes, |reader| Ok((RoundResult::read(reader)?, "draw reasons")))
}

/// What is drawn from a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draw {
    /// The leaf of the claim.
    pub leaf: u64,
    /// Its challenge id, 64 hexadecimal digits.
    pub challenge_id: String,
}

/// Result of [`super::storage_registry::get_draws`]: the draws in order; none if the node has no claim for the round.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_draws(bytes: &[u8]) -> Result<Vec<Draw>, DecodeError> {
    let mut reader = ArgsReader::new(bytes);
    let mut draws = Vec::new();
    while !reader.is_empty() && draws.len() < DRAWS_MAX {
        draws.push(Draw {
            leaf: reader.u64("leaf")?,
            challenge_id: reader.text(64, "challenge id")?,
        });
    }
    reader.end("challenge id")?;
    Ok(draws)
}

/// The accepted root of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptedRoot {
    /// The root.
    pub root: SegmentRoot,
    /// The round in which it was accepted.
    pub round: u64,
}

/// Result of [`super::storage_registry::get_segment_root`], also the row of a segment; `None` if none is accepted.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_segment_root(bytes: &[u8]) -> Result<Option<AcceptedRoot>, DecodeError> {
    optional(bytes, |reader| {
        let accepted = AcceptedRoot {
            root: SegmentRoot::from_bytes(reader.array("root")?),
            round: reader.u64("round")?,
        };
        Ok((accepted, "round"))
    })
}

pub(super) fn value_error(field: &'static str, reason: String) -> DecodeError {
    DecodeError::Value { field, reason }
}

/// Money and counters of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistryState {
    /// Stakes of all nodes.
    pub stakes: Amount,
    /// Owed to nodes for closed rounds, matured or not.
    pub credited: Amount,
    /// Set aside for rounds that are not closed.
    pub reserves: Amount,
    /// What pays the rounds to come.
    pub pool: Amount,
    /// Slashed, to be burned.
    pub to_burn: Amount,
    /// Burned.
    pub burned: Amount,
    /// Nodes with a placement key.
    pub keyed_nodes: u64,
    /// The segment whose root is accepted next.
    pub next_segment: u64,
    /// The last round with an accepted beacon.
    pub last_accepted_round: Option<u64>,
    /// Whether some node was counted with all draws passed: from then on only such rounds season.
    pub proven: bool,
    /// The period in which the last pause began.
    pub pause_from: u64,
    /// The first period after it; 0 if there was none.
    pub pause_until: u64,
    /// From this round on a node is filled only if its flag says so.
    pub flags_from_round: Option<u64>,
    /// Entries in the electorate: for some rounds, the stake of those that count from it on.
    pub entries: Vec<(u64, Amount)>,
}

impl RegistryState {
    /// Whether the contract is paused in a period.
    pub fn is_paused(&self, period: u64) -> bool {
        (self.pause_from..self.pause_until).contains(&period)
    }

    /// The seasoned stake of a round, as far as its entries are known by now.
    pub fn electorate(&self, round: u64) -> Amount {
        let counting = self.entries.iter().filter(|(from, _)| counts(*from, round));
        counting.fold(Amount::from_raw(0), |sum, (_, stake)| sum.saturating_add(*stake))
    }
}

/// Result of [`super::storage_registry::get_state`], also the row `state`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_state(bytes: &[u8]) -> Result<RegistryState, DecodeError> {
    whole(bytes, |reader| {
        let mut state = RegistryState {
            stakes: amount(reader, "stakes")?,
            credited: amount(reader, "credited")?,
            reserves: amount(reader, "reserves")?,
            pool: amount(reader, "pool")?,
            to_burn: amount(reader, "toBurn")?,
            burned: amount(reader, "burned")?,
            keyed_nodes: reader.u64("keyed")?,
            next_segment: reader.u64("nextSegment")?,
            last_accepted_round: unless_never(reader.u64("lastAccepted")?),
            proven: reader.bool("proven")?,
            pause_from: 0,
            pause_until: 0,
            flags_from_round: None,
            entries: Vec::with_capacity(BUCKETS),
        };
        reader.raw(7, "padding")?;
        state.pause_from = reader.u64("pauseFrom")?;
        // Only the contract needs them.
        reader.raw(16, "open rounds")?;
        state.flags_from_round = unless_never(reader.u64("flagsFrom")?);
        state.pause_until = reader.u64("pauseUntil")?;
        for _ in 0..BUCKETS {
            let from = reader.u64("bucket round")?;
            state.entries.push((from, amount(reader, "bucket stake")?));
        }
        Ok((state, "buckets"))
    })
}

/// What a code of the contract says, of a draw or of a whole round.
pub fn reason_text(reason: u8) -> &'static str {
    match reason {
        0 => "passed",
        1 => "missing",
        2 => "malformed",
        3 => "sum path does not end in the claim",
        4 => "not the drawn leaf",
        5 => "wrong leaf length",
        6 => "leaf path does not end in the chunk id",
        7 => "segment not anchored",
        8 => "archive path does not end in the segment root",
        16 => "silent",
        17 => "minority beacon",
        18 => "void round",
        19 => "paused round",
        20 => "refuted",
        21 => "draws missed",
        _ => "unknown",
    }
}

/// The same, where no bytes stand for nothing.
fn optional<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut ArgsReader<'_>) -> Result<(T, &'static str), DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    whole(bytes, read).map(Some)
}

fn digest<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&hex::encode(digest))
}

fn optional_digest<S: serde::Serializer>(digest: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => serializer.serialize_some(&hex::encode(digest)),
        None => serializer.serialize_none(),
    }
}
