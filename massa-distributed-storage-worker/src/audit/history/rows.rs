//! Results of audits in the store: one row of this node's own for each, under its number (u64, big-endian).

use super::{AuditOutcome, AuditResult, HistoryChange, MAX_REASON_CHARS, MAX_RESULTS};
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::{OwnChanges, OwnRow, Row, SegmentStore, StoreError};
use massa_db_exports::STORAGE_CHALLENGE_HISTORY_PREFIX;
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use massa_signature::PublicKey;
use massa_time::MassaTime;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// An [`AuditResult`] as it is kept.
#[derive(Serialize, Deserialize)]
struct ResultRow {
    challenge_id: [u8; 32],
    at_ms: u64,
    /// Public key of the node.
    node: Vec<u8>,
    position: ChunkPosition,
    chunk_id: [u8; 32],
    by_hand: bool,
    assigned: bool,
    outcome: OutcomeRow,
    elapsed_ms: Option<u32>,
    round_trip_ms: Option<u32>,
}

#[derive(Serialize, Deserialize)]
enum OutcomeRow {
    Passed,
    Slow,
    NotHeld,
    Wrong(String),
    Unanswered(String),
}

impl Row for ResultRow {
    const VERSION: u8 = 1;
}

impl OwnRow for ResultRow {
    const KIND: &'static str = "audit";
    const FAMILY: &'static str = STORAGE_CHALLENGE_HISTORY_PREFIX;
}

fn short(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}

impl ResultRow {
    fn new(result: &AuditResult) -> Self {
        Self {
            challenge_id: *result.challenge_id.as_bytes(),
            at_ms: result.at.as_millis(),
            node: result.node.get_public_key().to_bytes().to_vec(),
            position: result.position,
            chunk_id: *result.chunk_id.as_bytes(),
            by_hand: result.by_hand,
            assigned: result.assigned,
            outcome: match &result.outcome {
                AuditOutcome::Passed => OutcomeRow::Passed,
                AuditOutcome::Slow => OutcomeRow::Slow,
                AuditOutcome::NotHeld => OutcomeRow::NotHeld,
                AuditOutcome::Wrong(reason) => OutcomeRow::Wrong(short(reason)),
                AuditOutcome::Unanswered(reason) => OutcomeRow::Unanswered(short(reason)),
            },
            elapsed_ms: result.elapsed_ms,
            round_trip_ms: result.round_trip_ms,
        }
    }

    /// `None` if the node's key is none.
    fn result(self) -> Option<AuditResult> {
        Some(AuditResult {
            challenge_id: ChallengeId::from_bytes(self.challenge_id),
            at: MassaTime::from_millis(self.at_ms),
            node: NodeId::new(PublicKey::from_bytes(&self.node).ok()?),
            position: self.position,
            chunk_id: ChunkId::from_bytes(self.chunk_id),
            by_hand: self.by_hand,
            assigned: self.assigned,
            outcome: match self.outcome {
                OutcomeRow::Passed => AuditOutcome::Passed,
                OutcomeRow::Slow => AuditOutcome::Slow,
                OutcomeRow::NotHeld => AuditOutcome::NotHeld,
                OutcomeRow::Wrong(reason) => AuditOutcome::Wrong(reason),
                OutcomeRow::Unanswered(reason) => AuditOutcome::Unanswered(reason),
            },
            elapsed_ms: self.elapsed_ms,
            round_trip_ms: self.round_trip_ms,
        })
    }
}

/// Every result that is kept, in ascending order of the numbers. A damaged row is left out, with a line in the log.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub fn read_history(store: &SegmentStore) -> Result<Vec<(u64, AuditResult)>, StoreError> {
    let mut results = Vec::new();
    store.visit_own::<ResultRow>(&[], &mut |key, row| {
        let number = <[u8; 8]>::try_from(key).ok().map(u64::from_be_bytes);
        let result = row.ok().and_then(ResultRow::result);
        match number.zip(result) {
            Some(numbered) => results.push(numbered),
            None => warn!(?number, "a result of an audit is damaged, and left out"),
        }
        results.len() < MAX_RESULTS
    })?;
    Ok(results)
}

/// Stores a result and drops those that are no longer kept. It may be lost with the power: an audit is put again.
///
/// # Errors
/// [`StoreError`]; nothing is changed then, unless the disk failed while writing.
pub fn write_result(store: &SegmentStore, change: &HistoryChange) -> Result<(), StoreError> {
    let mut changes = OwnChanges::default();
    changes.put(&key_of(change.number), &ResultRow::new(&change.result))?;
    for number in change.dropped.clone() {
        changes.delete::<ResultRow>(&key_of(number));
    }
    store.change_own(changes, Durability::Buffered)
}

fn key_of(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}
