//! Chunks that came whole from others: checked, then written, or refused and their sender named.

use super::look::unless_damaged;
use super::{Action, RepairDriver};
use crate::repair::chunk_check::{check_chunk, FalseChunk};
use crate::repair::chunks::download::ObtainedChunk;
use crate::repair::chunks::Blamed;
use crate::repair::writing::WriteJob;
use crate::storage_backend::ChunkToStore;
use massa_distributed_storage_exports::ChunkPosition;
use std::time::Instant;

impl RepairDriver {
    /// A chunk is whole: checks it, and has it written.
    pub(super) fn store_chunk(&mut self, chunk: &ObtainedChunk, now: Instant) {
        match self.checked(chunk) {
            None => self.not_written(chunk.position, now),
            Some(Ok(checked)) => self.write(WriteJob::Chunk(Box::new(checked)), now),
            Some(Err(false_chunk)) => self.refuse(chunk, false_chunk, now),
        }
    }

    /// `None` when the segment is another one by now.
    fn checked(&self, chunk: &ObtainedChunk) -> Option<Result<ChunkToStore, FalseChunk>> {
        let table = unless_damaged(self.look.store.table(chunk.position.segment))?;
        let same = table.chunk(chunk.position.index.0) == Some(chunk.chunk);
        same.then(|| check_chunk(&table, chunk))
    }

    fn refuse(&mut self, chunk: &ObtainedChunk, found: FalseChunk, now: Instant) {
        let blamed = blamed(chunk, found);
        match self.look.wanted_at(chunk.position) {
            Some(wanted) => {
                let actions = self.chunks.on_refused(&blamed, wanted, now);
                self.push(actions, Action::Chunk);
            }
            None => self.chunks.on_written(chunk.position),
        }
    }

    /// A chunk that came with its segment's new table is false: it is left out, and missing afterwards like any other.
    pub(super) fn blame(&mut self, blamed: &Blamed) {
        if let [node] = blamed.suspects()[..] {
            self.quarantine(node, &blamed.text());
        }
    }

    pub(super) fn not_written(&mut self, position: ChunkPosition, now: Instant) {
        match self.look.wanted_at(position) {
            Some(wanted) => self.chunks.on_not_written(wanted, now),
            None => self.chunks.on_written(position),
        }
    }
}

/// Who may have sent what is false.
pub(super) fn blamed(chunk: &ObtainedChunk, found: FalseChunk) -> Blamed {
    Blamed {
        position: chunk.position,
        part: found.part,
        sources: chunk.sources.clone(),
        entry_from: chunk.entry.as_ref().map(|(from, _)| *from),
        reason: found.reason,
    }
}
