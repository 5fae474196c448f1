//! Claims and answers from what a store has.

use crate::challenge::answer::{manual_leaf, Answer};
use crate::challenge::claim::{ClaimTree, HeldChunk, SumPath};
use crate::challenge::position::Position;
use crate::storage_backend::read::{Damage, ReadError};
use crate::storage_backend::Store;
use massa_db_exports::STORAGE_CHUNKS_PREFIX;
use massa_distributed_storage_exports::manifest::{ChunkEntry, PeriodLeaf};
use massa_distributed_storage_exports::merkle::MerkleProof;
use massa_distributed_storage_exports::ChunkIndex;

/// Every chunk that the store holds in segments that `claimable` admits: those whose accepted root is the store's own.
///
/// Reads the key of each held chunk and each period's manifest; no page. Whether the bytes are still sound is the scrub's
/// business: a chunk that it finds damaged is not held any more.
///
/// # Errors
/// [`ReadError`].
pub fn held_chunks(store: &Store, claimable: impl Fn(u64) -> bool) -> Result<Vec<HeldChunk>, ReadError> {
    let segment_periods = store.parameters().segment_periods;
    let mut positions: Vec<(u64, ChunkIndex)> = Vec::new();
    store.for_each_held(store.floor(), |period, chunk| {
        if claimable(period / segment_periods) {
            positions.push((period, chunk));
        }
        true
    })?;
    let mut held = Vec::with_capacity(positions.len());
    let mut rest = positions.as_slice();
    while let [(period, _), ..] = rest {
        let (same, after) = rest.split_at(rest.iter().take_while(|(other, _)| other == period).count());
        let manifest = store.archived_manifest(*period)?;
        for (period, chunk) in same {
            let entry = manifest.chunks.get(chunk.0 as usize);
            let position = Position::of_chunk(*period, *chunk, segment_periods);
            let (Some(entry), Some(position)) = (entry, position) else {
                return Err(unknown_chunk(*period, *chunk).into());
            };
            held.push(held_chunk(position, entry));
        }
        rest = after;
    }
    Ok(held)
}

fn held_chunk(position: Position, entry: &ChunkEntry) -> HeldChunk {
    HeldChunk {
        position,
        leaves: entry.leaf_count(),
        id: entry.id,
    }
}

fn unknown_chunk(period: u64, chunk: ChunkIndex) -> Damage {
    let damage = Damage::new(STORAGE_CHUNKS_PREFIX, "the manifest has no such chunk");
    damage.in_period(period).in_chunk(chunk.0)
}

/// Answers the draw of claimed leaf `drawn`: reads one page.
///
/// # Errors
/// [`ReadError::NotFound`] beyond the claim; [`ReadError`] if the chunk cannot be read: the draw is missed then.
pub fn answer_draw(store: &Store, tree: &ClaimTree, drawn: u64) -> Result<Answer, ReadError> {
    let missing = || ReadError::NotFound(format!("claimed leaf {drawn}"));
    let (chunk, leaf) = tree.find(drawn).ok_or_else(missing)?;
    let sum_path = tree.path(chunk.position).ok_or_else(missing)?;
    answer_leaf(store, chunk.position, leaf, sum_path)
}

/// Answers a manual challenge with this nonce: no sum path.
///
/// # Errors
/// As [`answer_draw`].
pub fn answer_manual(store: &Store, period: u64, chunk: ChunkIndex, nonce: u64) -> Result<Answer, ReadError> {
    let missing = || ReadError::NotFound(format!("chunk {chunk} of period {period}"));
    let manifest = store.archived_manifest(period)?;
    let entry = manifest.chunks.get(chunk.0 as usize).ok_or_else(missing)?;
    let position = Position::of_chunk(period, chunk, store.parameters().segment_periods).ok_or_else(missing)?;
    answer_leaf(store, position, manual_leaf(nonce, entry), SumPath::default())
}

/// Shows a claimed chunk of somebody else without a leaf: what a refutation needs. `sum_path` is the accused node's.
///
/// # Errors
/// As [`answer_draw`]; the chunk itself need not be held here.
pub fn exhibit(store: &Store, position: Position, sum_path: SumPath) -> Result<Answer, ReadError> {
    let nothing = MerkleProof {
        directions: 0,
        siblings: Vec::new(),
    };
    archived(store, position, sum_path, Vec::new(), nothing)
}

fn answer_leaf(store: &Store, position: Position, leaf: u32, sum_path: SumPath) -> Result<Answer, ReadError> {
    let period = position.period(store.parameters().segment_periods);
    let (_, proof) = store.prove_leaf(period, position.chunk(), leaf)?;
    archived(store, position, sum_path, proof.bytes, proof.path)
}

fn archived(
    store: &Store,
    position: Position,
    sum_path: SumPath,
    leaf: Vec<u8>,
    leaf_path: MerkleProof,
) -> Result<Answer, ReadError> {
    let period = position.period(store.parameters().segment_periods);
    let proven = store.prove_chunk(period, position.chunk())?;
    if !proven.segment_complete {
        let missing = store.parameters().segment_start(proven.segment) + u64::from(proven.segment_periods);
        return Err(ReadError::NoSegmentRoot { period, missing });
    }
    let PeriodLeaf::Chunk { entry, .. } = proven.leaf else {
        return Err(unknown_chunk(period, position.chunk()).into());
    };
    Ok(Answer {
        position,
        chunk: entry,
        sum_path,
        leaf,
        leaf_path,
        period_path: proven.path.period_path,
        segment_path: proven.path.segment_path,
    })
}
