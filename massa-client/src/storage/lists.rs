//! `massa-cli storage list-segments`, `list-chunks`, `list-periods` and `nodes`.
//!
//! Lists come in pages: each command takes how many lines, and where to begin or after which one.

use crate::node::{Node, NodeCommandError};
use crate::output::{table, Report};
use crate::storage::{ListChunksArguments, ListPeriodsArguments, ListSegmentsArguments, NodesArguments};
use massa_api_exports::distributed_storage::{
    ChunkState, ListChunks, ListNodes, ListPeriods, ListSegments, PeriodState, SegmentState, StorageChunk,
    StorageNodeInfo, StoragePeriod, StorageSegment,
};
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::node::NodeId;
use serde::Serialize;

/// Characters of a node id that tell it from the others on a screen; all begin with N1.
const SHORT_ID: usize = 8;

/// Segments.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentList {
    /// The segments.
    pub segments: Vec<StorageSegment>,
}

impl Report for SegmentList {
    fn text(&self) -> String {
        let headings = [
            "segment", "from", "periods", "bytes", "chunks", "held", "assigned", "state", "root",
        ];
        let row = |segment: &StorageSegment| {
            let periods = match segment.lost_periods {
                0 => segment.periods.to_string(),
                lost => format!("{}, {lost} lost", segment.periods),
            };
            let root = segment.root.map_or_else(|| "-".to_string(), |root| root.to_string());
            vec![
                segment.segment.to_string(),
                segment.first_period.to_string(),
                periods,
                segment.bytes.to_string(),
                segment.chunks.to_string(),
                segment.chunks_held.to_string(),
                segment.chunks_assigned.to_string(),
                segment_state(segment),
                root,
            ]
        };
        table(headings, self.segments.iter().map(row))
    }
}

fn segment_state(segment: &StorageSegment) -> String {
    let state = match segment.state {
        SegmentState::Open => "open",
        SegmentState::Closed => "closed",
        SegmentState::Anchored => "anchored",
    };
    match segment.accepted_root {
        None => state.to_string(),
        Some(accepted) => format!("{state}; DIFFERS: {accepted} is accepted"),
    }
}

/// Chunks and who should hold them.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkList {
    /// The chunks.
    pub chunks: Vec<StorageChunk>,
}

impl Report for ChunkList {
    fn text(&self) -> String {
        let headings = [
            "chunk", "periods", "bytes", "state", "held", "assigned", "holders", "id",
        ];
        let row = |chunk: &StorageChunk| {
            let holders: Vec<String> = chunk.holders.iter().map(short).collect();
            let id = chunk.chunk_id.map_or_else(|| "-".to_string(), |id| id.to_string());
            vec![
                format!("{}:{}", chunk.segment, chunk.chunk),
                span(chunk.first_period, chunk.last_period),
                chunk.length.to_string(),
                chunk_state(chunk.state).to_string(),
                yes_no(chunk.held),
                yes_no(chunk.assigned_here),
                if chunk.state == ChunkState::Filling {
                    "none yet".to_string()
                } else {
                    holders.join(" ")
                },
                id,
            ]
        };
        table(headings, self.chunks.iter().map(row))
    }
}

fn chunk_state(state: ChunkState) -> &'static str {
    match state {
        ChunkState::Filling => "filling",
        ChunkState::Closed => "closed",
        ChunkState::Anchored => "anchored",
    }
}

/// Archived periods.
#[derive(Clone, Debug, Serialize)]
pub struct PeriodList {
    /// The periods.
    pub periods: Vec<StoragePeriod>,
}

impl Report for PeriodList {
    fn text(&self) -> String {
        let headings = [
            "period", "segment", "state", "blocks", "missed", "bytes", "chunks", "root",
        ];
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_string(), |number| number.to_string());
        let row = |period: &StoragePeriod| {
            vec![
                period.period.to_string(),
                period.segment.to_string(),
                period_state(period.state).to_string(),
                number(period.blocks),
                number(period.misses),
                period.bytes.to_string(),
                span(period.first_chunk.into(), period.last_chunk.into()),
                period.root.to_string(),
            ]
        };
        table(headings, self.periods.iter().map(row))
    }
}

fn period_state(state: PeriodState) -> &'static str {
    match state {
        PeriodState::Open => "open",
        PeriodState::Closed => "closed",
        PeriodState::Anchored => "anchored",
        PeriodState::Lost => "lost",
    }
}

/// The nodes that offer disk space.
#[derive(Clone, Debug, Serialize)]
pub struct NodeList {
    /// The nodes.
    pub nodes: Vec<StorageNodeInfo>,
}

impl Report for NodeList {
    fn text(&self) -> String {
        let headings = ["node", "GB", "connected", "share (bytes)", "last period", "address"];
        let row = |node: &StorageNodeInfo| {
            let said = node.capabilities.as_ref();
            let last = said.and_then(|said| said.newest_period);
            let quarantined = said.is_some_and(|said| said.quarantined);
            vec![
                node.node_id.to_string(),
                node.allocated_storage_gb.to_string(),
                if quarantined {
                    "quarantined".to_string()
                } else {
                    yes_no(node.connected)
                },
                node.share_bytes.to_string(),
                last.map_or_else(|| "?".to_string(), |period| period.to_string()),
                node.address.to_string(),
            ]
        };
        table(headings, self.nodes.iter().map(row))
    }
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}

fn span(first: u64, last: u64) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

fn short(node: &NodeId) -> String {
    node.to_string().chars().take(SHORT_ID).collect()
}

pub(super) fn segments(arguments: &ListSegmentsArguments, node: &Node) -> Result<SegmentList, NodeCommandError> {
    let ListSegmentsArguments { first, limit } = *arguments;
    let segments = node.call(|client| client.list_storage_segments(ListSegments { first, limit }))?;
    Ok(SegmentList { segments })
}

pub(super) fn chunks(arguments: &ListChunksArguments, node: &Node) -> Result<ChunkList, NodeCommandError> {
    let request = ListChunks {
        first_segment: arguments.first_segment,
        last_segment: arguments.last_segment,
        period: arguments.period,
        after: arguments.after,
        limit: arguments.limit,
    };
    let chunks = node.call(|client| client.list_storage_chunks(request))?;
    Ok(ChunkList { chunks })
}

pub(super) fn periods(arguments: &ListPeriodsArguments, node: &Node) -> Result<PeriodList, NodeCommandError> {
    let ListPeriodsArguments { first, limit } = *arguments;
    let periods = node.call(|client| client.list_storage_periods(ListPeriods { first, limit }))?;
    Ok(PeriodList { periods })
}

pub(super) fn nodes(arguments: &NodesArguments, node: &Node) -> Result<NodeList, NodeCommandError> {
    let NodesArguments { after, limit } = *arguments;
    let nodes = node.call(|client| client.get_storage_nodes(Some(ListNodes { after, limit })))?;
    Ok(NodeList { nodes })
}
