//! Audits of peers behind the API: challenges by hand, and what came of all of them.

use super::errors::store_error;
use massa_api_exports::distributed_storage::audits::{
    ChallengeHistory, ChallengeOutcome, ChallengeResult, ChunkOrPosition, GetChallengeHistory, IssuedChallenge,
    NodeAuditInfo, NodeOrAddress,
};
use massa_api_exports::distributed_storage::{ChunkAt, StorageApiError};
use massa_distributed_storage_exports::registry::NodeSet;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_distributed_storage_worker::audit::history::{AuditOutcome, AuditResult, NodeAudits};
use massa_distributed_storage_worker::audit::plan::IssueError;
use massa_distributed_storage_worker::audit::thread::AuditHandle;
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use massa_models::node::NodeId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a chunk is looked for by its id: some ten thousand segments.
const CHUNK_SEARCH: Duration = Duration::from_secs(10);

/// What the API asks.
pub(super) struct AuditApi<'a> {
    pub audits: Option<&'a AuditHandle>,
    pub store: &'a SegmentStore,
    /// Those that count.
    pub nodes: Arc<NodeSet>,
    /// Segments of a round.
    pub round_segments: u64,
}

impl AuditApi<'_> {
    fn audits(&self) -> Result<&AuditHandle, StorageApiError> {
        let why = || StorageApiError::Internal("the challenge history could not be read at the start".into());
        self.audits.ok_or_else(why)
    }

    pub fn issue(&self, node: &NodeOrAddress, chunk: &ChunkOrPosition) -> Result<IssuedChallenge, StorageApiError> {
        let audits = self.audits()?;
        let node = self.node(node)?;
        let (position, chunk) = self.chunk(chunk)?;
        let issued = audits.issue(node, position, chunk);
        Ok(IssuedChallenge {
            challenge_id: issued.map_err(issue_error)?,
            node,
            segment: position.segment,
            chunk: position.index.0,
            chunk_id: chunk.id,
            result_within_ms: audits.response_timeout().as_millis() as u64,
        })
    }

    pub fn history(&self, request: &GetChallengeHistory) -> Result<ChallengeHistory, StorageApiError> {
        let node = request.node.as_ref().map(|node| self.node(node)).transpose()?;
        let is_wanted = |result: &&AuditResult| {
            let is_node = node.map_or(true, |node| result.node == node);
            let is_challenge = request.challenge_id.map_or(true, |id| result.challenge_id == id);
            is_node && is_challenge
        };
        Ok(self.audits()?.with_history(|history| {
            let nodes = history.nodes().into_iter();
            let nodes = nodes.filter(|audits| node.map_or(true, |node| audits.node == node));
            let results = history.newest().filter(is_wanted).take(request.limit as usize);
            ChallengeHistory {
                nodes: nodes.map(|audits| node_info(&audits)).collect(),
                results: results.map(result_info).collect(),
            }
        }))
    }

    fn node(&self, node: &NodeOrAddress) -> Result<NodeId, StorageApiError> {
        let address = match node {
            NodeOrAddress::Node(node) => return Ok(*node),
            NodeOrAddress::Address(address) => address,
        };
        let found = self.nodes.nodes().iter().find(|node| node.address == *address);
        let unknown = || StorageApiError::bad("node", format!("{address} is the address of no storage node"));
        let anonymous = || StorageApiError::bad("node", format!("{address} registered without a P2P identity"));
        found.ok_or_else(unknown)?.node_id.ok_or_else(anonymous)
    }

    fn chunk(&self, chunk: &ChunkOrPosition) -> Result<(ChunkPosition, TableChunk), StorageApiError> {
        match chunk {
            ChunkOrPosition::Position(at) => self.chunk_at(*at),
            ChunkOrPosition::Id(id) => self.find(id),
        }
    }

    fn chunk_at(&self, at: ChunkAt) -> Result<(ChunkPosition, TableChunk), StorageApiError> {
        let table = self.store.table(at.segment).map_err(store_error)?;
        let table = table.ok_or_else(|| self.not_closed(at.segment))?;
        let found = ChunkPosition::new(at.segment, at.chunk).zip(table.chunk(at.chunk));
        found.ok_or_else(|| StorageApiError::NotFound(format!("chunk {} of segment {}", at.chunk, at.segment)))
    }

    /// A chunk has an id that others know once its segment is closed, which is when the segment's periods are final.
    fn not_closed(&self, segment: u64) -> StorageApiError {
        let round = segment / self.round_segments.max(1) + 1;
        StorageApiError::bad(
            "chunk",
            format!("segment {segment} is not closed here: its chunks can be challenged from round {round} on"),
        )
    }

    /// Looks through the tables, the newest first: no index leads from a chunk id to its segment.
    fn find(&self, id: &ChunkId) -> Result<(ChunkPosition, TableChunk), StorageApiError> {
        let ends = Instant::now() + CHUNK_SEARCH;
        let not_found = || StorageApiError::NotFound(format!("chunk {id}"));
        let first = self.store.parameters().first_segment();
        let last = self.store.last_segment().map_err(store_error)?.ok_or_else(not_found)?;
        for segment in (first..=last).rev() {
            let table = self.store.table(segment).map_err(store_error)?;
            let mut chunks = table.iter().flat_map(|table| table.chunks()).zip(0..);
            if let Some((chunk, index)) = chunks.find(|(chunk, _)| chunk.id == *id) {
                let position = ChunkPosition::new(segment, index).ok_or_else(not_found)?;
                return Ok((position, chunk));
            }
            if Instant::now() >= ends {
                let reason = format!("not found down to segment {segment}; name it as SEGMENT:CHUNK");
                return Err(StorageApiError::bad("chunk", reason));
            }
        }
        Err(not_found())
    }
}

fn issue_error(error: IssueError) -> StorageApiError {
    match error {
        IssueError::Stopped => StorageApiError::Stopping,
        error => StorageApiError::bad("node", error.to_string()),
    }
}

fn node_info(audits: &NodeAudits) -> NodeAuditInfo {
    NodeAuditInfo {
        node: audits.node,
        counted: audits.counted,
        passed: audits.passed,
        slow: audits.slow,
        success_percent: audits.success_percent(),
        alarm: audits.alarm,
        last_ms: audits.last.as_millis(),
    }
}

fn result_info(result: &AuditResult) -> ChallengeResult {
    ChallengeResult {
        challenge_id: result.challenge_id,
        time_ms: result.at.as_millis(),
        node: result.node,
        segment: result.position.segment,
        chunk: result.position.index.0,
        chunk_id: result.chunk_id,
        by_hand: result.by_hand,
        assigned: result.assigned,
        outcome: match result.outcome {
            AuditOutcome::Passed => ChallengeOutcome::Passed,
            AuditOutcome::Slow => ChallengeOutcome::Slow,
            AuditOutcome::NotHeld => ChallengeOutcome::NotHeld,
            AuditOutcome::Wrong(_) => ChallengeOutcome::Wrong,
            AuditOutcome::Unanswered(_) => ChallengeOutcome::Unanswered,
        },
        failed: result.has_failed(),
        reason: result.outcome.reason().map(str::to_string),
        elapsed_ms: result.elapsed_ms.map(u64::from),
        round_trip_ms: result.round_trip_ms.map(u64::from),
    }
}
