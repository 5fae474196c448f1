//! `massa-cli storage list-chunks`, `list-periods` and `nodes`.

use crate::node::{Node, NodeCommandError};
use crate::output::{table, Report};
use crate::storage::{ListChunksArguments, ListPeriodsArguments};
use massa_api_exports::distributed_storage::{ListChunks, ListPeriods, StorageChunk, StorageNodeInfo, StoragePeriod};
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::node::NodeId;
use serde::Serialize;

/// Characters of a node id that tell it from the others on a screen; all begin with N1.
const SHORT_ID: usize = 8;

/// Chunks and who should hold them.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkList {
    /// The chunks.
    pub chunks: Vec<StorageChunk>,
}

impl Report for ChunkList {
    fn text(&self) -> String {
        let headings = ["period", "chunk", "bytes", "held", "assigned", "holders", "id"];
        let row = |chunk: &StorageChunk| {
            let holders: Vec<String> = chunk.holders.iter().map(short).collect();
            vec![
                chunk.period.to_string(),
                chunk.chunk.to_string(),
                chunk.length.to_string(),
                yes_no(chunk.held),
                yes_no(chunk.assigned_here),
                holders.join(" "),
                chunk.chunk_id.to_string(),
            ]
        };
        table(headings, self.chunks.iter().map(row))
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
            "period", "segment", "blocks", "missed", "chunks", "held", "bytes", "root",
        ];
        let row = |period: &StoragePeriod| {
            vec![
                period.period.to_string(),
                period.segment.to_string(),
                period.blocks.to_string(),
                period.misses.to_string(),
                period.chunks.to_string(),
                period.chunks_held.to_string(),
                if period.lost {
                    "lost".to_string()
                } else {
                    period.bytes.to_string()
                },
                period.root.to_string(),
            ]
        };
        table(headings, self.periods.iter().map(row))
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
        let headings = ["node", "GB", "connected", "assigned bytes", "last period", "address"];
        let row = |node: &StorageNodeInfo| {
            let said = node.capabilities.as_ref();
            let last = said.and_then(|said| said.last_period);
            let quarantined = said.is_some_and(|said| said.quarantined);
            vec![
                node.node_id.to_string(),
                node.allocated_storage_gb.to_string(),
                if quarantined {
                    "quarantined".to_string()
                } else {
                    yes_no(node.connected)
                },
                node.assigned_bytes.to_string(),
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

fn short(node: &NodeId) -> String {
    node.to_string().chars().take(SHORT_ID).collect()
}

pub(super) fn chunks(arguments: &ListChunksArguments, node: &Node) -> Result<ChunkList, NodeCommandError> {
    let request = ListChunks {
        first_period: arguments.first_period,
        last_period: arguments.last_period,
        limit: arguments.limit,
        offset: arguments.offset,
    };
    let chunks = node.call(|client| client.list_storage_chunks(request))?;
    Ok(ChunkList { chunks })
}

pub(super) fn periods(arguments: &ListPeriodsArguments, node: &Node) -> Result<PeriodList, NodeCommandError> {
    let ListPeriodsArguments { first, limit } = *arguments;
    let periods = node.call(|client| client.list_storage_periods(ListPeriods { first, limit }))?;
    Ok(PeriodList { periods })
}

pub(super) fn nodes(node: &Node) -> Result<NodeList, NodeCommandError> {
    let nodes = node.call(|client| client.get_storage_nodes())?;
    Ok(NodeList { nodes })
}
