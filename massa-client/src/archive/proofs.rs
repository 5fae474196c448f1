//! Proofs from a store on disk.

use crate::archive::ArchiveError;
use crate::output::Output;
use massa_distributed_storage_exports::segment_proof::{ProofDocument, ProveError};
use massa_distributed_storage_worker::serve::proofs::{Evidence, ProofError};
use massa_distributed_storage_worker::storage_backend::SegmentStore;

/// Prints a proof of something in `period`. While its segment is open the proof ends at the period root: a line beside it says so.
pub(super) fn print_proof(
    store: &SegmentStore,
    period: u64,
    output: Output,
    prove: impl FnOnce(&Evidence) -> Result<ProofDocument, ProveError>,
) -> Result<(), ArchiveError> {
    let evidence = Evidence::of_store(store, period)?;
    let document = prove(&evidence).map_err(ProofError::from)?;
    output.print_document(&document)?;
    if !evidence.is_closed() {
        output.note(&open_segment_note(&document, store.parameters().segment_of(period)));
    }
    Ok(())
}

/// Says where the proof of a period of an open segment ends.
pub(crate) fn open_segment_note(document: &ProofDocument, segment: u64) -> String {
    let root = document.period.as_ref().map(|period| hex::encode(period.root.0));
    let period = document.period.as_ref().map_or(0, |period| period.period);
    format!(
        "segment {segment} is not closed: the proof ends at the root of period {period}, {} (check it with --period-root)",
        root.unwrap_or_default()
    )
}
