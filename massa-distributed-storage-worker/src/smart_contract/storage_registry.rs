//! The registry contract's entry points and views: what is sent to it, and what it answers.
//!
//! Called by the client of this node and by the command line. Each entry point is a function that gives a [`Call`]; each view
//! has one more function that decodes its result. Formats: `massa-storage-sc/README.md`. Plain calculations: nothing is sent
//! from here.

use super::args::{ArgsReader, ArgsWriter, DecodeError};
use crate::challenge::segment_answer::MAX_ANSWER_BYTES;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use serde::Serialize;
use std::net::SocketAddr;

/// Longest text of an address, or of a node id.
pub const ADDRESS_TEXT_BYTES_MAX: usize = 64;
/// Longest list of addresses where peers reach a node.
pub const LISTENERS_BYTES_MAX: usize = 256;
/// Addresses that one page of [`get_nodes`] has at most.
pub const NODES_PAGE: u64 = 100;
/// Segment roots that one submission carries at most.
pub const ROOT_VOTES_MAX: usize = 8;
/// Segments of a round at most.
pub const ROUND_SEGMENTS_MAX: u64 = 64;
/// Draws that one claim has at most.
pub const DRAWS_MAX: usize = 16;
/// Texts of [`resolve_expired_challenges`] at most.
pub const RESOLVED_MAX: usize = 20;
/// Gas that a call may take beyond its trial run, because of what is different by the time it is executed. A round is over: settling
/// the caller's two open claims, with closing both rounds and slashes, takes 1.44 million (`massa-storage-sc/README.md`, gas table).
/// Roots that others' operations had accepted in the trial run are not yet, or the vote is the one that accepts them: eight root
/// votes take 2.3 million. Twice both, and a little: gas that is not used costs nothing, and a submission that lacks some is lost.
pub const SETTLING_GAS: u64 = 8_000_000;
/// What leaves times periods of a round come to at most.
const ROUND_LEAF_PERIODS_MAX: u64 = 1 << 63;
/// Digits of a round.
const ROUND_TEXT_BYTES_MAX: usize = 20;
/// Bytes of the operation of a round: 16 answers, and room for the rest.
const SUBMISSION_BYTES_MAX: usize = 17 * MAX_ANSWER_BYTES;

/// What separates two listeners in a registration.
const LISTENER_SEPARATOR: char = ';';
const NODE_ID_DOMAIN: &[u8] = b"massa distributed storage: node id";
const SUBMISSION_DOMAIN: &[u8] = b"massa distributed storage: submission";

/// A function of the contract with its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function.
    pub function: &'static str,
    /// Its parameter.
    pub parameter: Vec<u8>,
}

impl Call {
    fn new(function: &'static str, parameter: ArgsWriter) -> Self {
        Self {
            function,
            parameter: parameter.finish(),
        }
    }
}

/// Configuration of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageConfig {
    /// For each GB and period.
    pub reward_per_gb_per_period: Amount,
    /// Least allocation, in GB.
    pub min_allocated_gb: u64,
    /// Largest allocation, in GB.
    pub max_allocated_gb: u64,
    /// Time to answer a manual challenge, in milliseconds.
    pub challenge_response_timeout_ms: u64,
    /// Percentage of the stake that is lost when all draws of a round are missed.
    pub slash_percentage: u64,
    /// Least stake of a node.
    pub min_stake: Amount,
    /// Least stake for each GB.
    pub stake_per_gb: Amount,
    /// Nodes that hold each chunk.
    pub replication_factor: u64,
    /// Bytes of a chunk.
    pub chunk_size_bytes: u64,
    /// Periods of a segment. Never changes.
    pub challenge_frequency_periods: u64,
    /// The first segment that is anchored: the first of a round. Never changes.
    pub first_segment: u64,
    /// Segments of a round, 1 to [`ROUND_SEGMENTS_MAX`]. Never changes.
    pub round_segments: u64,
}

impl StorageConfig {
    pub(super) fn read(reader: &mut ArgsReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            reward_per_gb_per_period: amount(reader, "rewardPerGbPerPeriod")?,
            min_allocated_gb: reader.u64("minAllocatedGb")?,
            max_allocated_gb: reader.u64("maxAllocatedGb")?,
            challenge_response_timeout_ms: reader.u64("challengeResponseTimeout")?,
            slash_percentage: reader.u64("slashPercentage")?,
            min_stake: amount(reader, "minStake")?,
            stake_per_gb: amount(reader, "stakePerGb")?,
            replication_factor: reader.u64("replicationFactor")?,
            chunk_size_bytes: reader.u64("chunkSizeBytes")?,
            challenge_frequency_periods: at_least_one(reader, "challengeFrequencyPeriods")?,
            first_segment: reader.u64("firstSegment")?,
            round_segments: at_least_one(reader, "roundSegments")?,
        })
    }

    fn write(&self, args: ArgsWriter) -> ArgsWriter {
        args.u64(self.reward_per_gb_per_period.to_raw())
            .u64(self.min_allocated_gb)
            .u64(self.max_allocated_gb)
            .u64(self.challenge_response_timeout_ms)
            .u64(self.slash_percentage)
            .u64(self.min_stake.to_raw())
            .u64(self.stake_per_gb.to_raw())
            .u64(self.replication_factor)
            .u64(self.chunk_size_bytes)
            .u64(self.challenge_frequency_periods)
            .u64(self.first_segment)
            .u64(self.round_segments)
    }

    /// P: periods of a round.
    pub fn round_periods(&self) -> u64 {
        self.round_segments.saturating_mul(self.challenge_frequency_periods)
    }

    /// Leaves that all claims of a round come to at most: times P, they stay below 2⁶⁴.
    pub fn round_leaves_max(&self) -> u64 {
        ROUND_LEAF_PERIODS_MAX / self.round_periods().max(1)
    }

    /// The stake that an allocation needs.
    pub fn required_stake(&self, allocated_gb: u64) -> Amount {
        let raw = self.stake_per_gb.to_raw().saturating_mul(allocated_gb);
        self.min_stake.max(Amount::from_raw(raw))
    }
}

/// The contract's P2P identity of a node: its id, where it is reached, and the signature of [`node_id_message`] by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is in the network of peers.
    pub node_id: NodeId,
    /// Where peers reach it. As many as fit [`LISTENERS_BYTES_MAX`] are registered.
    pub listeners: Vec<SocketAddr>,
    /// Text of the signature.
    pub signature: String,
}

/// What a node registers with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// Disk space, in GB.
    pub allocated_gb: u64,
    /// Stake; `None` for the least.
    pub stake: Option<Amount>,
    /// Periods kept; 0 for all.
    pub retention_periods: u64,
    /// Who it is in the network of peers.
    pub identity: Option<Identity>,
}

/// Answers to draws: index of the draw, ascending, and the answer.
pub type DrawAnswers = Vec<(u8, Vec<u8>)>;

/// The one operation of a node and round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// The round.
    pub round: u64,
    /// The beacon, and the answers to its draws: index of the draw, ascending, and the answer.
    pub beacon: Option<(Digest, DrawAnswers)>,
    /// Votes for segment roots, ascending, at most [`ROOT_VOTES_MAX`].
    pub roots: Vec<(u64, SegmentRoot)>,
    /// Root and sum of the claim for the next round.
    pub claim: Option<(Digest, u64)>,
}

impl Submission {
    /// The bytes of a submission of `node`.
    pub fn to_bytes(&self, node: &Address) -> Vec<u8> {
        let mut args = ArgsWriter::new().text(&node.to_string()).u64(self.round);
        args = args.bool(self.beacon.is_some());
        if let Some((beacon, answers)) = &self.beacon {
            args = args.raw(beacon).u8(count(answers.len()));
            for (draw, answer) in answers {
                args = args.u8(*draw).bytes(answer);
            }
        }
        args = args.u8(count(self.roots.len()));
        for (segment, root) in &self.roots {
            args = args.u64(*segment).raw(root.as_bytes());
        }
        args = args.bool(self.claim.is_some());
        if let Some((root, leaves)) = &self.claim {
            args = args.raw(root).u64(*leaves);
        }
        args.finish()
    }
}

/// A count that the contract bounds far below 255.
fn count(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// `constructor`: what the deployer gives a new contract.
pub fn constructor_parameter(admin: &Address, config: &StorageConfig) -> Vec<u8> {
    config.write(ArgsWriter::new().text(&admin.to_string())).finish()
}

/// Joins. Coins: the stake and what its storage costs.
pub fn register_storage_node(registration: &Registration) -> Call {
    let mut args = ArgsWriter::new().u64(registration.allocated_gb);
    let stake = registration.stake.unwrap_or_default().to_raw();
    args = args.u64(stake).u64(registration.retention_periods);
    args = match &registration.identity {
        None => args.text("").text("").text(""),
        Some(identity) => args
            .text(&identity.node_id.to_string())
            .text(&listeners_text(&identity.listeners))
            .text(&identity.signature),
    };
    Call::new("registerStorageNode", args)
}

/// Changes the allocation, and adds stake from the coins sent.
pub fn update_storage_allocation(new_allocated_gb: u64, added_stake: Amount) -> Call {
    let args = ArgsWriter::new().u64(new_allocated_gb).u64(added_stake.to_raw());
    Call::new("updateStorageAllocation", args)
}

/// Leaves; the second time, ten rounds later, takes the stake.
pub fn unregister_storage_node() -> Call {
    Call::new("unregisterStorageNode", ArgsWriter::new())
}

/// Gives a node its placement key, from the first accepted round that opened after it registered.
pub fn set_placement_key(node: &Address, round: u64) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round);
    Call::new("setPlacementKey", args)
}

/// Asks a node for a leaf of a chunk, by hand.
pub fn issue_challenge(challenge_id: &Digest, node: &Address, chunk_id: &ChunkId, nonce: u64) -> Call {
    let args = ArgsWriter::new()
        .text(&hex::encode(challenge_id))
        .text(&node.to_string());
    Call::new("issueChallenge", args.text(&chunk_id.to_string()).u64(nonce))
}

/// Answers a manual challenge. `signature`: empty if the node itself calls.
pub fn submit_proof(challenge_id: &Digest, merkle_proof: &[u8], signature: &[u8]) -> Call {
    let args = ArgsWriter::new().text(&hex::encode(challenge_id));
    Call::new("submitProof", args.bytes(merkle_proof).bytes(signature))
}

/// The operation of a round, sent by the node itself.
pub fn submit_round(node: &Address, submission: &Submission) -> Call {
    let args = ArgsWriter::new().text(&submission.round.to_string());
    Call::new("submitProof", args.bytes(&submission.to_bytes(node)).bytes(&[]))
}

/// Node, round and answers in a parameter of `submitProof` that is the operation of a round.
///
/// # Errors
/// [`DecodeError`], for the answer to a manual challenge, too.
pub fn parse_submission_answers(parameter: &[u8]) -> Result<(Address, u64, Vec<Vec<u8>>), DecodeError> {
    let mut reader = ArgsReader::new(parameter);
    let named: u64 = parsed(&reader.text(ROUND_TEXT_BYTES_MAX, "challengeId")?, "challengeId")?;
    let mut reader = ArgsReader::new(reader.bytes(SUBMISSION_BYTES_MAX, "merkleProof")?);
    let node = parsed(&reader.text(ADDRESS_TEXT_BYTES_MAX, "node")?, "node")?;
    let round = reader.u64("round")?;
    if round != named {
        let reason = format!("{round} is not the {named} that is named");
        return Err(DecodeError::Value { field: "round", reason });
    }
    let mut answers = Vec::new();
    if reader.bool("has beacon")? {
        reader.array::<32>("beacon")?;
        let count = reader.u8("answers")?;
        for _ in 0..count.min(DRAWS_MAX as u8) {
            reader.u8("draw")?;
            answers.push(reader.bytes(MAX_ANSWER_BYTES, "answer")?.to_vec());
        }
    }
    Ok((node, round, answers))
}

/// Settles nodes (by their addresses) and manual challenges (by their ids), at most [`RESOLVED_MAX`].
pub fn resolve_expired_challenges(ids: &[String]) -> Call {
    Call::new("resolveExpiredChallenges", ArgsWriter::new().texts(ids))
}

/// Refutes a claim. `answer` has an empty leaf; `witnesses` are ascending by their texts.
pub fn refute_claim(node: &Address, round: u64, answer: &[u8], witnesses: &[Address]) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round).bytes(answer);
    let args = witnesses
        .iter()
        .fold(args, |args, witness| args.text(&witness.to_string()));
    Call::new("refuteClaim", args)
}

/// Closes the round of a period.
pub fn distribute_rewards(period: u64) -> Call {
    Call::new("distributeRewards", ArgsWriter::new().u64(period))
}

/// Takes matured credit.
pub fn claim_rewards() -> Call {
    Call::new("claimRewards", ArgsWriter::new())
}

/// Adds the coins sent to the pool.
pub fn fund() -> Call {
    Call::new("fund", ArgsWriter::new())
}

/// Changes the configuration, from the round after the next on.
pub fn update_config(config: &StorageConfig) -> Call {
    Call::new("updateConfig", config.write(ArgsWriter::new()))
}

/// Lets an address issue manual challenges.
pub fn add_challenger(address: &Address) -> Call {
    Call::new("addChallenger", ArgsWriter::new().text(&address.to_string()))
}

/// No longer lets an address issue manual challenges.
pub fn remove_challenger(address: &Address) -> Call {
    Call::new("removeChallenger", ArgsWriter::new().text(&address.to_string()))
}

/// Stops the contract, or lets it go on.
pub fn set_paused(paused: bool) -> Call {
    Call::new("setPaused", ArgsWriter::new().bool(paused))
}

/// View: a node, by its address or its node id. [`decode_node_info`].
pub fn get_node_info(node: &str) -> Call {
    Call::new("getNodeInfo", ArgsWriter::new().text(node))
}

/// View: a manual challenge. [`decode_challenge`].
pub fn get_challenge(challenge_id: &Digest) -> Call {
    Call::new("getChallenge", ArgsWriter::new().text(&hex::encode(challenge_id)))
}

/// View: the round of a period. [`decode_period_stats`].
pub fn get_period_stats(period: u64) -> Call {
    Call::new("getPeriodStats", ArgsWriter::new().u64(period))
}

/// View: the configuration in force. [`decode_config`].
pub fn get_config() -> Call {
    Call::new("getConfig", ArgsWriter::new())
}

/// View: the configuration that follows. [`decode_next_config`].
pub fn get_next_config() -> Call {
    Call::new("getNextConfig", ArgsWriter::new())
}

/// View: how many nodes there are. [`decode_number`].
pub fn get_total_nodes() -> Call {
    Call::new("getTotalNodes", ArgsWriter::new())
}

/// View: addresses of nodes, at most [`NODES_PAGE`]. [`decode_nodes`].
pub fn get_nodes(start: u64, count: u64) -> Call {
    Call::new("getNodes", ArgsWriter::new().u64(start).u64(count))
}

/// View: what a node is owed, in nanoMAS. [`decode_amount`].
pub fn calculate_pending_rewards(node: &str) -> Call {
    Call::new("calculatePendingRewards", ArgsWriter::new().text(node))
}

/// View: a node's claim of a round and its result. [`decode_round_result`].
pub fn get_round_result(node: &Address, round: u64) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round);
    Call::new("getRoundResult", args)
}

/// View: what is drawn from a node's claim under a beacon. [`decode_draws`].
pub fn get_draws(node: &Address, round: u64, beacon: &Digest) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round).raw(beacon);
    Call::new("getDraws", args)
}

/// View: the accepted root of a segment. [`decode_segment_root`].
pub fn get_segment_root(segment: u64) -> Call {
    Call::new("getSegmentRoot", ArgsWriter::new().u64(segment))
}

/// View: money and counters. [`decode_state`].
pub fn get_state() -> Call {
    Call::new("getState", ArgsWriter::new())
}

/// A node, as the contract tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// Its operator.
    pub address: Address,
    /// Disk space it declared for this round, in GB.
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
    /// Whether it counts in the active stake and is not leaving.
    pub active: bool,
    /// Its stake.
    pub stake: Amount,
    /// Credit that can be claimed.
    pub matured_rewards: Amount,
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
    /// Whether it holds its share in this round.
    pub filled: bool,
    /// What its scores are computed from.
    #[serde(serialize_with = "optional_digest")]
    pub placement_key: Option<Digest>,
    /// Who it is in the network of peers; empty if it did not say.
    pub node_id: String,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
}

/// Result of [`get_node_info`]; `None` if there is no such node.
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
            matured_rewards: amount(reader, "matured")?,
            weight: reader.u64("weight")?,
            weight_soon: reader.u64("weightSoon")?,
            leave_round: unless_never(reader.u64("leaveRound")?),
            last_counted_round: reader.u64("lastCounted")?,
            no_claim_before_round: reader.u64("noClaimBefore")?,
            retention_periods: reader.u64("retentionPeriods")?,
            votes_round: unless_never(reader.u64("votesRound")?),
            filled: reader.bool("filled")?,
            placement_key: None,
            node_id: String::new(),
            listeners: Vec::new(),
        };
        let has_key = reader.bool("hasKey")?;
        let key = reader.array("key")?;
        info.placement_key = has_key.then_some(key);
        info.node_id = reader.text(ADDRESS_TEXT_BYTES_MAX, "nodeId")?;
        info.listeners = parse_listeners(reader.bytes(LISTENERS_BYTES_MAX, "addresses")?);
        Ok((info, "addresses"))
    })
}

/// A manual challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManualChallenge {
    /// Its id, 64 hexadecimal digits.
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

/// Result of [`get_challenge`], also the row of a challenge; `None` if there is no such challenge.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_challenge(bytes: &[u8]) -> Result<Option<ManualChallenge>, DecodeError> {
    optional(bytes, |reader| {
        let challenge = ManualChallenge {
            id: reader.text(ADDRESS_TEXT_BYTES_MAX, "id")?,
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
    /// Weight of who claimed, in GB.
    pub claim_weight: u64,
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
    /// Whether a beacon has its quorum.
    pub accepted: bool,
    /// Whether it is closed.
    pub closed: bool,
    /// Whether a pause touched it.
    pub paused: bool,
    /// The accepted beacon.
    #[serde(serialize_with = "optional_digest")]
    pub beacon: Option<Digest>,
}

/// Result of [`get_period_stats`]; `None` if nothing is known of the round.
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
            claim_weight: reader.u64("claimWeight")?,
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
        };
        let beacon = reader.array("beacon")?;
        stats.beacon = stats.accepted.then_some(beacon);
        Ok((stats, "beacon"))
    })
}

/// Result of [`get_config`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_config(bytes: &[u8]) -> Result<StorageConfig, DecodeError> {
    whole(bytes, |reader| Ok((StorageConfig::read(reader)?, "roundSegments")))
}

/// Result of [`get_next_config`]: the configuration that follows, and the round from which it counts.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_next_config(bytes: &[u8]) -> Result<(StorageConfig, u64), DecodeError> {
    whole(bytes, |reader| {
        let config = StorageConfig::read(reader)?;
        Ok(((config, reader.u64("nextRound")?), "nextRound"))
    })
}

/// Result of [`get_total_nodes`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_number(bytes: &[u8]) -> Result<u64, DecodeError> {
    whole(bytes, |reader| Ok((reader.u64("number")?, "number")))
}

/// Result of [`calculate_pending_rewards`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_amount(bytes: &[u8]) -> Result<Amount, DecodeError> {
    decode_number(bytes).map(Amount::from_raw)
}

/// Result of [`get_nodes`].
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
            draw_reasons: Vec::new(),
        };
        reader.raw(3, "padding")?;
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

/// Result of [`get_round_result`]; `None` if the node has no claim for the round, or a later one took its place.
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

/// Result of [`get_draws`]: the draws in order; none if the node has no claim for the round.
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

/// Result of [`get_segment_root`], also the row of a segment; `None` if none is accepted.
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
    /// Stakes of active nodes.
    pub active_stake: Amount,
    /// The segment whose root is accepted next.
    pub next_segment: u64,
    /// The last round with an accepted beacon.
    pub last_accepted_round: Option<u64>,
    /// Whether the contract is paused.
    pub paused: bool,
    /// The round in which the last pause began.
    pub paused_round: u64,
}

/// Result of [`get_state`], also the row `state`.
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
            active_stake: amount(reader, "activeStake")?,
            next_segment: reader.u64("nextSegment")?,
            last_accepted_round: unless_never(reader.u64("lastAccepted")?),
            paused: reader.bool("paused")?,
            paused_round: 0,
        };
        reader.raw(7, "padding")?;
        state.paused_round = reader.u64("pausedRound")?;
        // Only the contract needs it.
        reader.raw(8, "lastFrozen")?;
        Ok((state, "lastFrozen"))
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

/// The text that the key of a node signs to be named by its operator. The signature is over the hash of the text's bytes.
pub fn node_id_message(chain_id: u64, registry: &Address, operator: &Address) -> String {
    signed_text(NODE_ID_DOMAIN, chain_id, registry, operator.to_string().as_bytes())
}

/// The text that a node signs for a relayer of its submission.
pub fn submission_message(chain_id: u64, registry: &Address, submission: &[u8]) -> String {
    signed_text(SUBMISSION_DOMAIN, chain_id, registry, submission)
}

fn signed_text(domain: &[u8], chain_id: u64, registry: &Address, content: &[u8]) -> String {
    let registry = registry.to_string();
    let args = ArgsWriter::new().raw(domain).u64(chain_id).u8(count(registry.len()));
    let bytes = args.raw(registry.as_bytes()).raw(content).finish();
    hex::encode(massa_hash::Hash::compute_from(&bytes).to_bytes())
}

/// Listeners as the contract keeps them; those that do not fit are left out.
pub fn listeners_text(listeners: &[SocketAddr]) -> String {
    let mut text = String::new();
    for listener in listeners {
        let listener = listener.to_string();
        let separator = if text.is_empty() { 0 } else { 1 };
        if text.len() + separator + listener.len() > LISTENERS_BYTES_MAX {
            break;
        }
        if separator == 1 {
            text.push(LISTENER_SEPARATOR);
        }
        text.push_str(&listener);
    }
    text
}

/// Listeners that a node registered. The contract takes any bytes: what is no address is left out.
pub fn parse_listeners(text: &[u8]) -> Vec<SocketAddr> {
    let text = String::from_utf8_lossy(text);
    let listeners = text.split(|c: char| c == LISTENER_SEPARATOR || c == ',' || c.is_whitespace());
    listeners.filter_map(|listener| listener.parse().ok()).collect()
}

/// 2⁶⁴ − 1 stands for no segment or round.
pub(super) fn unless_never(number: u64) -> Option<u64> {
    (number != u64::MAX).then_some(number)
}

pub(super) fn amount(reader: &mut ArgsReader<'_>, field: &'static str) -> Result<Amount, DecodeError> {
    reader.u64(field).map(Amount::from_raw)
}

fn address(reader: &mut ArgsReader<'_>, field: &'static str) -> Result<Address, DecodeError> {
    parsed(&reader.text(ADDRESS_TEXT_BYTES_MAX, field)?, field)
}

/// A number that others divide by.
fn at_least_one(reader: &mut ArgsReader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    match reader.u64(field)? {
        0 => Err(DecodeError::Value {
            field,
            reason: "is 0".into(),
        }),
        number => Ok(number),
    }
}

/// A text with a meaning.
pub(super) fn parsed<T: std::str::FromStr>(text: &str, field: &'static str) -> Result<T, DecodeError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| DecodeError::Value {
        field,
        reason: error.to_string(),
    })
}

/// Decodes all bytes. `read` also gives the name of its last field.
pub(super) fn whole<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut ArgsReader<'_>) -> Result<(T, &'static str), DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = ArgsReader::new(bytes);
    let (value, last) = read(&mut reader)?;
    reader.end(last)?;
    Ok(value)
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
