//! The registry contract's entry points and views: what is sent to it, and what it answers.
//!
//! Called by the client of this node and by the command line. Each entry point is a function that gives a [`Call`]; each view
//! has one more function that decodes its result. Formats: `massa-storage-sc/README.md`. Plain calculations: nothing is sent
//! from here.

use super::args::{ArgsReader, ArgsWriter, DecodeError};
use crate::challenge::segment_answer::MAX_ANSWER_BYTES;
use massa_distributed_storage_exports::record::block_id_bytes;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use serde::Serialize;
use std::net::SocketAddr;

/// Longest text of an address, or of a node id.
pub const ADDRESS_TEXT_BYTES_MAX: usize = 64;
/// Longest list of addresses where peers reach a node.
pub const LISTENERS_BYTES_MAX: usize = 256;
/// Longest id of a manual challenge.
pub const CHALLENGE_ID_BYTES_MAX: usize = 128;
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
/// the caller's two open claims, with closing both rounds and slashes, takes 1.61 million (`massa-storage-sc/README.md`, gas table).
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
const MANUAL_PROOF_DOMAIN: &[u8] = b"massa distributed storage: manual proof";

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

/// Asks a node for a leaf of a chunk, by hand. The id is a text of at most [`CHALLENGE_ID_BYTES_MAX`], and no number.
pub fn issue_challenge(challenge_id: &str, node: &Address, chunk_id: &ChunkId, nonce: u64) -> Call {
    let args = ArgsWriter::new().text(challenge_id).text(&node.to_string());
    Call::new("issueChallenge", args.text(&chunk_id.to_string()).u64(nonce))
}

/// Answers a manual challenge. `signature`: empty if the node itself calls.
pub fn submit_proof(challenge_id: &str, merkle_proof: &[u8], signature: &[u8]) -> Call {
    let args = ArgsWriter::new().text(challenge_id);
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

/// Refutes a claim. `answer` has an empty leaf; `witnesses` are ascending by their texts, each with the way from the chunk to its
/// own claim ([`SumPath::to_bytes`](crate::challenge::sums::SumPath::to_bytes)).
pub fn refute_claim(node: &Address, round: u64, answer: &[u8], witnesses: &[(Address, Vec<u8>)]) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round).bytes(answer);
    let args = witnesses.iter().fold(args, |args, (witness, sum_path)| {
        args.text(&witness.to_string()).bytes(sum_path)
    });
    Call::new("refuteClaim", args)
}

/// Has the root before that of an accepted segment accepted, too. `header` is the content of its header's leaf, `path` leads from
/// there to its root, as in an answer.
pub fn anchor_earlier(segment: u64, header: &[u8], path: &[u8]) -> Call {
    let args = ArgsWriter::new().u64(segment).bytes(header).bytes(path);
    Call::new("anchorEarlier", args)
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

/// View: a node, by its address or its node id. [`super::views::decode_node_info`].
pub fn get_node_info(node: &str) -> Call {
    Call::new("getNodeInfo", ArgsWriter::new().text(node))
}

/// View: a manual challenge. [`super::views::decode_challenge`].
pub fn get_challenge(challenge_id: &str) -> Call {
    Call::new("getChallenge", ArgsWriter::new().text(challenge_id))
}

/// View: the round of a period. [`super::views::decode_period_stats`].
pub fn get_period_stats(period: u64) -> Call {
    Call::new("getPeriodStats", ArgsWriter::new().u64(period))
}

/// View: the configuration in force. [`super::views::decode_config`].
pub fn get_config() -> Call {
    Call::new("getConfig", ArgsWriter::new())
}

/// View: the configuration that follows. [`super::views::decode_next_config`].
pub fn get_next_config() -> Call {
    Call::new("getNextConfig", ArgsWriter::new())
}

/// View: how many nodes there are. [`super::views::decode_number`].
pub fn get_total_nodes() -> Call {
    Call::new("getTotalNodes", ArgsWriter::new())
}

/// View: addresses of nodes, at most [`NODES_PAGE`]. [`super::views::decode_nodes`].
pub fn get_nodes(start: u64, count: u64) -> Call {
    Call::new("getNodes", ArgsWriter::new().u64(start).u64(count))
}

/// View: what a node is owed, in nanoMAS. [`super::views::decode_amount`].
pub fn calculate_pending_rewards(node: &str) -> Call {
    Call::new("calculatePendingRewards", ArgsWriter::new().text(node))
}

/// View: a node's claim of a round and its result. [`super::views::decode_round_result`].
pub fn get_round_result(node: &Address, round: u64) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round);
    Call::new("getRoundResult", args)
}

/// View: what is drawn from a node's claim under a beacon. [`super::views::decode_draws`].
pub fn get_draws(node: &Address, round: u64, beacon: &Digest) -> Call {
    let args = ArgsWriter::new().text(&node.to_string()).u64(round).raw(beacon);
    Call::new("getDraws", args)
}

/// View: the accepted root of a segment. [`super::views::decode_segment_root`].
pub fn get_segment_root(segment: u64) -> Call {
    Call::new("getSegmentRoot", ArgsWriter::new().u64(segment))
}

/// View: whether a slot had a block, or was missed (`None`). `proof`: that of a document
/// ([`registry_proof`](massa_distributed_storage_exports::segment_proof::ProofDocument::registry_proof)).
/// [`super::views::decode_slot_answer`].
pub fn check_block(slot: Slot, block_id: Option<&BlockId>, proof: &[u8]) -> Call {
    let id = block_id.map_or_else(Vec::new, |id| block_id_bytes(id).to_vec());
    let args = ArgsWriter::new().u64(slot.period).u8(slot.thread).bytes(&id);
    Call::new("checkBlock", args.bytes(proof))
}

/// View: money and counters. [`super::views::decode_state`].
pub fn get_state() -> Call {
    Call::new("getState", ArgsWriter::new())
}

/// The text that the key of a node signs to be named by its operator. The signature is over the hash of the text's bytes.
pub fn node_id_message(chain_id: u64, registry: &Address, operator: &Address) -> String {
    signed_text(NODE_ID_DOMAIN, chain_id, registry, operator.to_string().as_bytes())
}

/// The text that a node signs for a relayer of its submission.
pub fn submission_message(chain_id: u64, registry: &Address, submission: &[u8]) -> String {
    signed_text(SUBMISSION_DOMAIN, chain_id, registry, submission)
}

/// The text that a node signs for a relayer of its answer to a manual challenge.
pub fn manual_proof_message(chain_id: u64, registry: &Address, challenge_id: &str, proof: &[u8]) -> String {
    let content = ArgsWriter::new().text(challenge_id).raw(proof).finish();
    signed_text(MANUAL_PROOF_DOMAIN, chain_id, registry, &content)
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

pub(super) fn address(reader: &mut ArgsReader<'_>, field: &'static str) -> Result<Address, DecodeError> {
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
