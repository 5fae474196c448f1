//! Lists of what a node has: segments, chunks, periods, nodes. Each is read in pages: a request says how many entries, and after
//! which one. Nothing is skipped by counting, so that every page costs the same.

use super::status::RegisteredNode;
use super::StorageApiError;
use massa_distributed_storage_exports::{ChunkId, PeriodRoot, SegmentRoot};
use massa_models::address::Address;
use massa_models::node::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Entries of a list at most: one answer stays below a megabyte.
pub const MAX_LIST_LIMIT: u64 = 1_000;
/// Entries of a list where the caller does not say.
pub const DEFAULT_LIST_LIMIT: u64 = 100;

/// Checks how many entries are asked for.
pub(super) fn check_limit(limit: u64) -> Result<(), StorageApiError> {
    if (1..=MAX_LIST_LIMIT).contains(&limit) {
        return Ok(());
    }
    let reason = format!("{limit} is not between 1 and {MAX_LIST_LIMIT}");
    Err(StorageApiError::bad("limit", reason))
}

/// Which segments are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListSegments {
    /// From this segment on.
    pub first: u64,
    /// Segments at most: 1 to [`MAX_LIST_LIMIT`].
    pub limit: u64,
}

impl Default for ListSegments {
    fn default() -> Self {
        Self {
            first: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl ListSegments {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)
    }
}

/// Where a chunk stands: `SEGMENT:CHUNK` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkAt {
    /// Its segment.
    pub segment: u64,
    /// Its number in the segment.
    pub chunk: u32,
}

/// A text that is no position of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no position of a chunk: expected SEGMENT:CHUNK")]
pub struct ParseChunkAtError;

impl FromStr for ChunkAt {
    type Err = ParseChunkAtError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (segment, chunk) = text.split_once(':').ok_or(ParseChunkAtError)?;
        match (segment.parse(), chunk.parse()) {
            (Ok(segment), Ok(chunk)) => Ok(Self { segment, chunk }),
            _ => Err(ParseChunkAtError),
        }
    }
}

impl fmt::Display for ChunkAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.chunk)
    }
}

/// Which chunks are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListChunks {
    /// From this segment on.
    pub first_segment: Option<u64>,
    /// Up to this segment.
    pub last_segment: Option<u64>,
    /// Only the chunks that this period touches.
    pub period: Option<u64>,
    /// Only those that come after this chunk: the last one of the page before.
    pub after: Option<ChunkAt>,
    /// Chunks at most: 1 to [`MAX_LIST_LIMIT`].
    pub limit: u64,
}

impl Default for ListChunks {
    fn default() -> Self {
        Self {
            first_segment: None,
            last_segment: None,
            period: None,
            after: None,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl ListChunks {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)?;
        match (self.first_segment, self.last_segment) {
            (Some(first), Some(last)) if last < first => Err(StorageApiError::bad(
                "last_segment",
                format!("{last} is before first_segment, {first}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Which periods are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListPeriods {
    /// From this period on.
    pub first: u64,
    /// Periods at most: 1 to [`MAX_LIST_LIMIT`].
    pub limit: u64,
}

impl Default for ListPeriods {
    fn default() -> Self {
        Self {
            first: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl ListPeriods {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)
    }
}

/// Which storage nodes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListNodes {
    /// Only those whose id comes after this one: the last one of the page before.
    pub after: Option<NodeId>,
    /// Nodes at most: 1 to [`MAX_LIST_LIMIT`].
    pub limit: u64,
}

impl Default for ListNodes {
    fn default() -> Self {
        Self {
            after: None,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl ListNodes {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)
    }
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// It is being filled, or something in it is missing.
    Open,
    /// It has a root, which the registry has not accepted, or not yet.
    Closed,
    /// The registry accepted its root.
    Anchored,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageSegment {
    /// Its number.
    pub segment: u64,
    /// Its first period in the archive.
    pub first_period: u64,
    /// Its periods; while it is open, those that are complete with all before them.
    pub periods: u32,
    /// Those of them that are lost. 0 also where this node took the segment by its table, which does not say.
    pub lost_periods: u32,
    /// Bytes of its body, as far as it is there.
    pub bytes: u64,
    /// Its chunks; while it is open, those that are full.
    pub chunks: u32,
    /// Those that the node asked holds.
    pub chunks_held: u32,
    /// Those that are assigned to the node asked.
    pub chunks_assigned: u32,
    /// Where it stands.
    pub state: SegmentState,
    /// Its root, once it is closed.
    pub root: Option<SegmentRoot>,
    /// The root that the registry accepted, where it is another one: the segment is fetched again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_root: Option<SegmentRoot>,
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkState {
    /// Its segment is open. Nobody holds it as a chunk, and its id is provisional, or not known while it is not full.
    Filling,
    /// Its segment is closed.
    Closed,
    /// Its segment's root was accepted by the registry.
    Anchored,
}

/// A chunk and who should hold it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageChunk {
    /// Its segment.
    pub segment: u64,
    /// Its number in the segment.
    pub chunk: u32,
    /// Its id; nothing while it is not full.
    pub chunk_id: Option<ChunkId>,
    /// Its bytes, as far as they are there.
    pub length: u32,
    /// The first period that it has bytes of.
    pub first_period: u64,
    /// The last one.
    pub last_period: u64,
    /// Where it stands.
    pub state: ChunkState,
    /// Whether the node asked holds it.
    pub held: bool,
    /// Whether it is assigned to the node asked.
    pub assigned_here: bool,
    /// The nodes that it is assigned to, best first; empty while it is filling.
    pub holders: Vec<NodeId>,
}

/// Where a period stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodState {
    /// It is complete with all before it; its segment is open.
    Open,
    /// Its segment is closed.
    Closed,
    /// Its segment's root was accepted by the registry.
    Anchored,
    /// Its ids are known, and nobody had all of its blocks.
    Lost,
}

/// An archived period: one that is complete, with all before it in its segment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoragePeriod {
    /// The period.
    pub period: u64,
    /// The segment that it is in.
    pub segment: u64,
    /// Where it stands.
    pub state: PeriodState,
    /// Its root.
    pub root: PeriodRoot,
    /// Its bytes.
    pub bytes: u32,
    /// The first chunk of the segment that has bytes of it.
    pub first_chunk: u32,
    /// The last one.
    pub last_chunk: u32,
    /// Its blocks. Known of open segments and of the one closed last: tables do not have it.
    #[serde(default)]
    pub blocks: Option<u64>,
    /// Its missed slots, likewise.
    #[serde(default)]
    pub misses: Option<u64>,
    /// Operations of its blocks, likewise.
    #[serde(default)]
    pub operations: Option<u64>,
}

/// A node that offers disk space.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageNodeInfo {
    /// Who it is.
    pub node_id: NodeId,
    /// Its operator.
    pub address: Address,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
    /// Disk space that it offers, in GB of 2³⁰ bytes: its weight.
    pub allocated_storage_gb: u64,
    /// Whether it is connected to the node asked, or is that node.
    pub connected: bool,
    /// What it said of itself last.
    pub capabilities: Option<NodeCapabilities>,
    /// Bytes of the chunks that fall to it. Counted for the node asked; of others it is what their weight makes them expect, since
    /// nobody places every chunk of every node.
    pub share_bytes: u64,
    /// What the registry has of it.
    #[serde(default)]
    pub registered: Option<RegisteredNode>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NodeCapabilities {
    /// Disk space that it offers.
    pub allocated_storage_gb: u64,
    /// Periods below it are pruned.
    pub floor: u64,
    /// The last segment whose table it has.
    pub newest_segment: Option<u64>,
    /// The last period that it has with all before it.
    pub newest_period: Option<u64>,
    /// First and last segment of ranges of which it holds every chunk assigned to it.
    pub held_ranges: Vec<(u64, u64)>,
    /// The indexes that it keeps.
    pub indexes: IndexInfo,
    /// It sent what is provably wrong, and is asked nothing for a while.
    pub quarantined: bool,
}

/// Of which objects a node has an index: `none`, `held` or `all`. Who has all of them is asked for ids that others do not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct IndexInfo {
    /// From block id to slot.
    pub block: IndexKept,
    /// From operation id to slot.
    pub operation: IndexKept,
    /// From address to slots.
    pub address: IndexKept,
}

/// How much of an index is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexKept {
    /// Nothing.
    #[default]
    None,
    /// Objects that begin in a chunk that the node holds.
    Held,
    /// Everything.
    All,
}
