//! Answers to draws, from the store.

use crate::challenge::segment_answer::{page_of, Archived, ProveError, SegmentAnswer, ShownPage};
use crate::challenge::segment_claim::ClaimError;
use crate::rounds::claims::Claims;
use crate::storage_backend::{SegmentStore, StoreError};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkPosition;

/// Why a draw is missed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AnswerFailure {
    /// The claim that is drawn from cannot be read.
    #[error(transparent)]
    Claim(#[from] ClaimError<StoreError>),
    /// The chunk is claimed and not held.
    #[error("chunk {0} is claimed and not held")]
    NotHeld(ChunkPosition),
    /// Page or rows of the chunk are damaged.
    #[error("chunk {position} cannot be read: {reason}")]
    Damaged {
        /// The chunk.
        position: ChunkPosition,
        /// What is wrong.
        reason: String,
    },
    /// The database failed.
    #[error("the store could not be read")]
    Store(#[source] StoreError),
}

impl AnswerFailure {
    /// The chunk that is missing or damaged, so that it is fetched again.
    pub fn lacking(&self) -> Option<ChunkPosition> {
        match self {
            Self::NotHeld(position) | Self::Damaged { position, .. } => Some(*position),
            Self::Claim(_) | Self::Store(_) => None,
        }
    }

    fn of_store(position: ChunkPosition, error: StoreError) -> Self {
        match error {
            StoreError::Damaged(damage) => Self::Damaged {
                position,
                reason: format!("{damage:?}"),
            },
            error => Self::Store(error),
        }
    }

    fn of_proof(position: ChunkPosition, error: &ProveError) -> Self {
        Self::Damaged {
            position,
            reason: error.to_string(),
        }
    }
}

/// Answers the draw of claimed leaf `drawn` of the claim with this root: reads one page, checked against the segment's root.
///
/// # Errors
/// [`AnswerFailure`]: the draw is missed then.
pub fn answer_draw(
    store: &SegmentStore,
    claims: &Claims,
    root: &Digest,
    drawn: u64,
) -> Result<SegmentAnswer, AnswerFailure> {
    let drawn = claims.draw(root, drawn)?;
    let position = drawn.chunk.position;
    let at = |error: StoreError| AnswerFailure::of_store(position, error);
    let table = store.table(position.segment).map_err(at)?;
    let table = table.ok_or(AnswerFailure::NotHeld(position))?;
    let number = page_of(drawn.leaf);
    let page = store.page(position, number).map_err(at)?;
    let page = page.ok_or(AnswerFailure::NotHeld(position))?;
    let archived = Archived {
        table: &table,
        tree: &table.tree(),
    };
    let shown = ShownPage {
        number,
        bytes: &page.plain,
        roots: &page.page_roots,
    };
    SegmentAnswer::to_draw(&drawn, archived, shown).map_err(|error| AnswerFailure::of_proof(position, &error))
}
