//! Proofs of what a store has: see [`massa_distributed_storage_exports::proof_document`].

use crate::storage_backend::read::ReadError;
use crate::storage_backend::{Store, StoreError};
use massa_distributed_storage_exports::proof_document::{ProofDocument, ProveError, Prover};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::slot::Slot;

/// Proves a block of the archive.
///
/// # Errors
/// [`ReadError::NotArchived`] while its period is not complete; [`ReadError::NoSegmentRoot`] while an earlier period of
/// the segment is not.
pub fn prove_block(
    store: &Store,
    slot: Slot,
    record: &BlockRecord,
    with_operations: bool,
) -> Result<ProofDocument, ReadError> {
    prove(store, slot.period, |prover| {
        prover.block(slot.thread, record, with_operations)
    })
}

/// Proves that a slot was missed.
///
/// # Errors
/// As [`prove_block`].
pub fn prove_miss(store: &Store, slot: Slot) -> Result<ProofDocument, ReadError> {
    prove(store, slot.period, |prover| prover.miss(slot.thread))
}

/// Proves which block a lost period had at a slot.
///
/// # Errors
/// As [`prove_block`]; [`ReadError::NotFound`] where nothing is lost.
pub fn prove_lost(store: &Store, slot: Slot) -> Result<ProofDocument, ReadError> {
    prove(store, slot.period, |prover| prover.lost(slot.thread))
}

/// Proves operation `index` of a block of the archive.
///
/// # Errors
/// As [`prove_block`].
pub fn prove_operation(
    store: &Store,
    slot: Slot,
    record: &BlockRecord,
    index: u32,
) -> Result<ProofDocument, ReadError> {
    prove(store, slot.period, |prover| {
        prover.operation(slot.thread, record, index)
    })
}

/// Proves everything that a period has.
///
/// # Errors
/// As [`prove_block`].
pub fn prove_period(store: &Store, period: u64) -> Result<ProofDocument, ReadError> {
    prove(store, period, |prover| prover.period())
}

fn prove(
    store: &Store,
    period: u64,
    proof: impl FnOnce(Prover<'_>) -> Result<ProofDocument, ProveError>,
) -> Result<ProofDocument, ReadError> {
    let manifest = store.archived_manifest(period)?;
    let segment = store.parameters().segment_of(period);
    let no_root = |missing| ReadError::NoSegmentRoot { period, missing };
    let state = store
        .recent_segment(segment)?
        .ok_or_else(|| no_root(store.parameters().segment_start(segment)))?;
    let prover = Prover {
        manifest: &manifest,
        segment: &state.header,
        tree: &state.tree,
    };
    proof(prover).map_err(|error| match error {
        ProveError::NotCovered { .. } => no_root(state.header.first_period + u64::from(state.header.periods)),
        ProveError::Record(error) => ReadError::Store(StoreError::Record(error)),
        error => ReadError::NotFound(error.to_string()),
    })
}
