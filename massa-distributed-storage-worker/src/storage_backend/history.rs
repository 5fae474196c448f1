//! Challenge history: what came of audits of peers, row by row.
//!
//! The only family that the worker thread does not write: its rows belong to nothing else, so the audit thread writes them,
//! each in a batch of its own. They are not synced: a lost result costs nothing but a line. What is kept is decided in
//! [`crate::audit::history`].
//!
//! ```text
//! key:   number of the result (u64, big-endian), ascending
//! value: challenge id (32) | when u64, ms | node's key (33) | period u64 | chunk u32 | chunk id (32) |
//!        flags u8: 1 by hand, 2 assigned | outcome u8: 0 passed, 1 slow, 2 not held, 3 wrong, 4 unanswered,
//!        5 given up |
//!        elapsed u32, ms | round trip u32, ms | reason, UTF-8; checksum. Times of 2³² − 1 are not known.
//! ```

use super::read::{Damage, ReadError};
use super::writer::Durability;
use super::{family_of, put_sealed, rows, Store, StoreError};
use crate::audit::history::{AuditOutcome, AuditResult, HistoryChange, MAX_REASON_CHARS};
use massa_db_exports::STORAGE_CHALLENGE_HISTORY_PREFIX;
use massa_distributed_storage_exports::bytes::Reader;
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use massa_signature::PublicKey;
use massa_time::MassaTime;
use rocksdb::WriteBatch;

/// Bytes of a public key: its version and 32 bytes of ed25519.
const KEY_BYTES: usize = 33;
/// Stands for a time that is not known.
const NO_TIME: u32 = u32::MAX;
const BY_HAND: u8 = 1;
const ASSIGNED: u8 = 2;

impl Store {
    /// Every result that is kept, in ascending order of the numbers. Damaged rows are left out and reported.
    ///
    /// # Errors
    /// [`ReadError`] when the database cannot be read.
    pub fn challenge_history(&self) -> Result<Vec<(u64, AuditResult)>, ReadError> {
        let mut results = Vec::new();
        self.for_each_row(STORAGE_CHALLENGE_HISTORY_PREFIX, &[], |key, row| {
            let result = rows::unseal(key, row).and_then(parse_result);
            match rows::parse_u64(key).zip(result) {
                Some(entry) => results.push(entry),
                None => {
                    let damage = Damage::new(STORAGE_CHALLENGE_HISTORY_PREFIX, "row is malformed");
                    tracing::warn!(%damage, "a result of an audit is left out");
                }
            }
            Ok(true)
        })?;
        Ok(results)
    }

    /// Stores a result and drops those that are no longer kept.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then, unless the disk failed while writing.
    pub fn put_challenge_result(&self, change: &HistoryChange) -> Result<(), StoreError> {
        let value = result_value(&change.result);
        self.check_space(value.len() as u64)?;
        self.with_db(|db| {
            let mut batch = WriteBatch::default();
            let key = rows::period_key(change.number);
            put_sealed(db, &mut batch, STORAGE_CHALLENGE_HISTORY_PREFIX, &key, value)?;
            let family = family_of(db, STORAGE_CHALLENGE_HISTORY_PREFIX)?;
            batch.delete_range_cf(family, rows::period_key(0), rows::period_key(change.keep_from));
            self.write(db, batch, Durability::Buffered)
        })
    }
}

fn result_value(result: &AuditResult) -> Vec<u8> {
    let mut value = Vec::with_capacity(256);
    value.extend(result.challenge_id.as_bytes());
    value.extend(result.at.as_millis().to_le_bytes());
    value.extend(result.node.get_public_key().to_bytes());
    value.extend(result.period.to_le_bytes());
    value.extend(result.chunk.0.to_le_bytes());
    value.extend(result.chunk_id.as_bytes());
    value.push([0, BY_HAND][usize::from(result.by_hand)] | [0, ASSIGNED][usize::from(result.assigned)]);
    value.push(match result.outcome {
        AuditOutcome::Passed => 0,
        AuditOutcome::Slow => 1,
        AuditOutcome::NotHeld => 2,
        AuditOutcome::Wrong(_) => 3,
        AuditOutcome::Unanswered(_) => 4,
        AuditOutcome::GivenUp => 5,
    });
    for time in [result.elapsed_ms, result.round_trip_ms] {
        value.extend(time.unwrap_or(NO_TIME).to_le_bytes());
    }
    let reason = result.outcome.reason().unwrap_or_default();
    value.extend(reason.chars().take(MAX_REASON_CHARS).collect::<String>().into_bytes());
    value
}

/// `None` if the value is none.
fn parse_result(value: &[u8]) -> Option<AuditResult> {
    let mut reader = Reader::new(value);
    let challenge_id = ChallengeId::from_bytes(reader.array("challenge id").ok()?);
    let at = MassaTime::from_millis(reader.u64("time").ok()?);
    let key = PublicKey::from_bytes(reader.bytes(KEY_BYTES, "node").ok()?).ok()?;
    let period = reader.u64("period").ok()?;
    let chunk = ChunkIndex(reader.u32("chunk").ok()?);
    let chunk_id = ChunkId::from_bytes(reader.array("chunk id").ok()?);
    let flags = reader.u8("flags").ok()?;
    let outcome = reader.u8("outcome").ok()?;
    let elapsed = reader.u32("elapsed").ok()?;
    let round_trip = reader.u32("round trip").ok()?;
    let reason = || String::from_utf8(reader.peek().to_vec()).ok();
    let known = |time: u32| (time != NO_TIME).then_some(time);
    Some(AuditResult {
        challenge_id,
        at,
        node: NodeId::new(key),
        period,
        chunk,
        chunk_id,
        by_hand: flags & BY_HAND != 0,
        assigned: flags & ASSIGNED != 0,
        outcome: match outcome {
            0 => AuditOutcome::Passed,
            1 => AuditOutcome::Slow,
            2 => AuditOutcome::NotHeld,
            3 => AuditOutcome::Wrong(reason()?),
            4 => AuditOutcome::Unanswered(reason()?),
            5 => AuditOutcome::GivenUp,
            _ => return None,
        },
        elapsed_ms: known(elapsed),
        round_trip_ms: known(round_trip),
    })
}
