//! Audits of peers in the API: challenges by hand, and what came of all of them.

use super::lists::{check_limit, ChunkAt, DEFAULT_LIST_LIMIT};
use super::StorageApiError;
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::ChunkId;
use massa_models::address::Address;
use massa_models::node::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A storage node, by its id or by its operator's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "expected the id of a node (N…) or the address of its operator (AU…)"
)]
pub enum NodeOrAddress {
    /// The node with this id.
    Node(NodeId),
    /// The node of this operator.
    Address(Address),
}

/// A text that is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither the id of a node (N…) nor an address (AU…)")]
pub struct ParseNodeOrAddressError;

impl FromStr for NodeOrAddress {
    type Err = ParseNodeOrAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let node = text.parse().map(Self::Node).ok();
        node.or_else(|| text.parse().map(Self::Address).ok())
            .ok_or(ParseNodeOrAddressError)
    }
}

impl fmt::Display for NodeOrAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A chunk, by its id or by where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a chunk id or a position {segment, chunk}")]
pub enum ChunkOrPosition {
    /// The newest chunk with this id. The node looks through its tables for it.
    Id(ChunkId),
    /// The chunk at this position.
    Position(ChunkAt),
}

/// A text that is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a chunk id (64 hexadecimal digits) nor SEGMENT:CHUNK")]
pub struct ParseChunkError;

impl FromStr for ChunkOrPosition {
    type Err = ParseChunkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let position = text.parse().map(Self::Position).ok();
        position
            .or_else(|| text.parse().map(Self::Id).ok())
            .ok_or(ParseChunkError)
    }
}

/// A challenge that was put by hand. Its result is in the history, under its id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct IssuedChallenge {
    /// Its id.
    pub challenge_id: ChallengeId,
    /// Who is challenged.
    pub node: NodeId,
    /// Segment of the chunk.
    pub segment: u64,
    /// Number of the chunk in it.
    pub chunk: u32,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// The result is there after so many milliseconds at the latest.
    pub result_within_ms: u64,
}

/// Which results are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GetChallengeHistory {
    /// Only those of this node.
    pub node: Option<NodeOrAddress>,
    /// Only the one of this challenge.
    pub challenge_id: Option<ChallengeId>,
    /// Results at most: 1 to [`super::lists::MAX_LIST_LIMIT`].
    pub limit: u64,
}

impl Default for GetChallengeHistory {
    fn default() -> Self {
        Self {
            node: None,
            challenge_id: None,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl GetChallengeHistory {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)
    }
}

/// What came of audits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ChallengeHistory {
    /// Success rates, in the order of the node ids.
    pub nodes: Vec<NodeAuditInfo>,
    /// Results, the newest first.
    pub results: Vec<ChallengeResult>,
}

/// What audits say about a node: the results that the node asked keeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NodeAuditInfo {
    /// The node.
    pub node: NodeId,
    /// Audits that count.
    pub counted: u64,
    /// Of those, the ones that it passed.
    pub passed: u64,
    /// Of those, the ones in which it was slow each time.
    pub slow: u64,
    /// Passed of 100, rounded down.
    pub success_percent: u64,
    /// The last audit that counts was failed or slow.
    pub alarm: bool,
    /// When that was, in milliseconds since 1970.
    pub last_ms: u64,
}

/// What a challenged node did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeOutcome {
    /// It showed what it was asked for.
    Passed,
    /// It did, but each time as late as one that fetches what it is asked for.
    Slow,
    /// It says that it does not hold the chunk.
    NotHeld,
    /// It sent something else.
    Wrong,
    /// It did not answer, each time.
    Unanswered,
}

/// An audit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ChallengeResult {
    /// Its challenge.
    pub challenge_id: ChallengeId,
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who was challenged.
    pub node: NodeId,
    /// Segment of the chunk.
    pub segment: u64,
    /// Number of the chunk in it.
    pub chunk: u32,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// Whether an operator asked for it.
    pub by_hand: bool,
    /// Whether the chunk was assigned to the node.
    pub assigned: bool,
    /// What the node did.
    pub outcome: ChallengeOutcome,
    /// Whether that counts against the node.
    pub failed: bool,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// Time to the proof, in milliseconds.
    pub elapsed_ms: Option<u64>,
    /// Time to the answer of a small request just before, in milliseconds.
    pub round_trip_ms: Option<u64>,
}
