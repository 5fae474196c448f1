//! Audits of peers, put together: the thread, and what the API asks of it.

use crate::settings::DistributedStorageSettings;
use crate::storage::StorageExtension;
use massa_api_exports::challenge::{
    ChallengeHistory, ChallengeOutcome, ChallengeResult, ChunkOrPosition, GetChallengeHistory, IssuedChallenge,
    NodeAuditInfo, NodeOrAddress,
};
use massa_api_exports::distributed_storage::StorageApiError;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_distributed_storage_worker::assignments::Assignments;
use massa_distributed_storage_worker::audit::history::{AuditOutcome, AuditResult, NodeAudits};
use massa_distributed_storage_worker::audit::plan::{AuditLimits, IssueError};
use massa_distributed_storage_worker::audit_worker::{start_audits, AuditHandle, AuditManager, AuditParts};
use massa_distributed_storage_worker::Store;
use massa_models::node::NodeId;
use massa_time::MassaTime;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long a chunk is looked for by its id: some hundred thousand periods.
const CHUNK_SEARCH: Duration = Duration::from_secs(10);

/// Starts audits. A node whose challenge history cannot be read goes on without them.
pub fn start(
    storage: &StorageExtension,
    network: &Arc<dyn StorageNetwork>,
    settings: &DistributedStorageSettings,
    t0: MassaTime,
) -> Option<AuditManager> {
    let limits = AuditLimits::new(
        storage.store.parameters().segment_periods,
        t0.to_duration(),
        settings.challenge_response_timeout.to_duration(),
        settings.min_challenge_interval.to_duration(),
    );
    let parts = AuditParts {
        store: Arc::clone(&storage.store),
        assignments: Arc::clone(&storage.assignments),
        network: Arc::clone(network),
        limits,
        window: storage.window_of_answers(),
        seed: rand::random(),
    };
    let started = start_audits(parts);
    if let Err(error) = &started {
        warn!(error = error as &dyn std::error::Error, "peers are not audited");
    }
    started.ok()
}

/// What the API asks.
pub(crate) struct AuditApi<'a> {
    pub audits: Option<&'a AuditHandle>,
    pub store: &'a Store,
    pub assignments: &'a Assignments,
}

impl AuditApi<'_> {
    fn audits(&self) -> Result<&AuditHandle, StorageApiError> {
        let why = || StorageApiError::Internal("the challenge history could not be read at the start".into());
        self.audits.ok_or_else(why)
    }

    pub fn issue(&self, node: &NodeOrAddress, chunk: &ChunkOrPosition) -> Result<IssuedChallenge, StorageApiError> {
        let audits = self.audits()?;
        let node = self.node(node)?;
        let (period, chunk, entry) = self.chunk(chunk)?;
        let issued = audits.issue(node, period, ChunkIndex(chunk), entry);
        Ok(IssuedChallenge {
            challenge_id: issued.map_err(issue_error)?,
            node,
            period,
            chunk,
            chunk_id: entry.id,
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
        let nodes = self.assignments.nodes();
        let found = nodes.nodes().iter().find(|node| node.address == *address);
        let unknown = || StorageApiError::bad("node", format!("{address} is the address of no storage node"));
        let anonymous = || StorageApiError::bad("node", format!("{address} registered without a P2P identity"));
        found.ok_or_else(unknown)?.node_id.ok_or_else(anonymous)
    }

    fn chunk(&self, chunk: &ChunkOrPosition) -> Result<(u64, u32, ChunkEntry), StorageApiError> {
        let (period, chunk) = match *chunk {
            ChunkOrPosition::Position { period, chunk } => (period, chunk),
            ChunkOrPosition::Id(id) => return self.find(&id),
        };
        let manifest = self.store.manifest(period).map_err(internal)?;
        let manifest = manifest.ok_or(StorageApiError::NotArchived { period })?;
        let entry = manifest.chunks.get(chunk as usize);
        let unknown = || StorageApiError::NotFound(format!("chunk {chunk} of period {period}"));
        Ok((period, chunk, *entry.ok_or_else(unknown)?))
    }

    /// Looks through the manifests, the newest first: no index leads from a chunk id to its period.
    fn find(&self, id: &ChunkId) -> Result<(u64, u32, ChunkEntry), StorageApiError> {
        let ends = Instant::now() + CHUNK_SEARCH;
        let periods = self.store.archived_periods().map_err(internal)?;
        for period in periods.into_iter().rev() {
            let manifest = self.store.manifest(period).map_err(internal)?;
            let chunks = manifest.map(|manifest| manifest.chunks).unwrap_or_default();
            if let Some((entry, chunk)) = chunks.iter().zip(0..).find(|(entry, _)| entry.id == *id) {
                return Ok((period, chunk, *entry));
            }
            if Instant::now() >= ends {
                let reason = format!("not found down to period {period}; name it as PERIOD:CHUNK");
                return Err(StorageApiError::bad("chunk", reason));
            }
        }
        Err(StorageApiError::NotFound(format!("chunk {id}")))
    }
}

fn internal(error: impl std::fmt::Display) -> StorageApiError {
    StorageApiError::Internal(error.to_string())
}

fn issue_error(error: IssueError) -> StorageApiError {
    match error {
        IssueError::Stopped => StorageApiError::Stopping,
        error @ IssueError::AnswersTaken { .. } => StorageApiError::bad("challenge", error.to_string()),
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
        period: result.period,
        chunk: result.chunk.0,
        chunk_id: result.chunk_id,
        by_hand: result.by_hand,
        assigned: result.assigned,
        outcome: match result.outcome {
            AuditOutcome::Passed => ChallengeOutcome::Passed,
            AuditOutcome::Slow => ChallengeOutcome::Slow,
            AuditOutcome::NotHeld => ChallengeOutcome::NotHeld,
            AuditOutcome::Wrong(_) => ChallengeOutcome::Wrong,
            AuditOutcome::Unanswered(_) => ChallengeOutcome::Unanswered,
            AuditOutcome::GivenUp => ChallengeOutcome::GivenUp,
        },
        failed: result.has_failed(),
        reason: result.outcome.reason().map(str::to_string),
        elapsed_ms: result.elapsed_ms.map(u64::from),
        round_trip_ms: result.round_trip_ms.map(u64::from),
    }
}
