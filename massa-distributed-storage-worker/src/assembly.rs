//! Blocks put together from pages, wherever these come from.
//!
//! Used by repair, which fetches whole periods, and by the reader, which fetches the pages of one block. A page is known
//! to belong to its chunk; nothing else is: what comes out is a record whose ids and signatures the caller checks.

use crate::storage_backend::read::BodyPiece;
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::network::{PageContent, VerifiedPage};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::ChunkIndex;
use massa_models::block_id::BlockId;
use std::collections::BTreeMap;
use std::ops::Range;

/// Pages of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPagesWanted {
    /// The chunk.
    pub chunk: ChunkIndex,
    /// Which of its pages.
    pub pages: Range<u32>,
}

/// Why pages do not make up the block that the manifest promises.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// The bytes at the block's place are not a block with its operations.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// They are another block.
    #[error("expected block {expected}, found {found}")]
    OtherBlock {
        /// Promised by the manifest.
        expected: BlockId,
        /// What is there.
        found: BlockId,
    },
}

/// The pages of a period that have arrived. `S` tells where each came from.
#[derive(Clone, Debug)]
pub struct PeriodPages<S> {
    manifest: Manifest,
    /// By their position in the body.
    pages: BTreeMap<u64, (S, PageContent)>,
}

impl<S: Copy> PeriodPages<S> {
    /// None yet.
    pub fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            pages: BTreeMap::new(),
        }
    }

    /// The manifest that the pages belong to.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Pages per chunk.
    fn pages_per_chunk(&self) -> u64 {
        u64::from(self.manifest.header.chunk_size) / PAGE_BYTES as u64
    }

    /// Pages of the body that hold the block of `thread`; `None` for a miss.
    fn pages_of(&self, thread: u8) -> Option<Range<u64>> {
        let range = self.manifest.block_range(thread)?;
        Some(range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64))
    }

    /// Pages that the blocks of `threads` need and that are not here, chunk by chunk, each page once.
    pub fn wanted(&self, threads: impl IntoIterator<Item = u8>) -> Vec<ChunkPagesWanted> {
        let pages = threads.into_iter().filter_map(|thread| self.pages_of(thread)).flatten();
        let missing: std::collections::BTreeSet<u64> = pages.filter(|page| !self.pages.contains_key(page)).collect();
        let mut wanted: Vec<ChunkPagesWanted> = Vec::new();
        for page in missing {
            let chunk = ChunkIndex((page / self.pages_per_chunk()) as u32);
            let page = (page % self.pages_per_chunk()) as u32;
            match wanted.last_mut() {
                Some(last) if last.chunk == chunk && last.pages.end == page => last.pages.end += 1,
                _ => wanted.push(ChunkPagesWanted {
                    chunk,
                    pages: page..page + 1,
                }),
            }
        }
        wanted
    }

    /// Takes a page of a chunk of this period.
    pub fn insert(&mut self, chunk: ChunkIndex, from: S, page: VerifiedPage) {
        let position = u64::from(chunk.0) * self.pages_per_chunk() + u64::from(page.page());
        self.pages.insert(position, (from, page.into_content()));
    }

    /// Whether every page of the block of `thread` is here; false for a miss.
    pub fn has(&self, thread: u8) -> bool {
        self.pages_of(thread)
            .is_some_and(|mut pages| pages.all(|page| self.pages.contains_key(&page)))
    }

    /// Where the pages of a block came from, in order.
    pub fn sources(&self, thread: u8) -> Vec<S> {
        let pages = self.pages_of(thread).into_iter().flatten();
        pages
            .filter_map(|page| self.pages.get(&page).map(|(from, _)| *from))
            .collect()
    }

    /// Forgets the pages of a block, so that they are wanted again.
    pub fn forget(&mut self, thread: u8) {
        for page in self.pages_of(thread).into_iter().flatten() {
            self.pages.remove(&page);
        }
    }

    /// Forgets the pages that none of `threads` needs.
    pub fn keep_only(&mut self, threads: impl IntoIterator<Item = u8>) {
        let needed: std::collections::BTreeSet<u64> = threads
            .into_iter()
            .filter_map(|thread| self.pages_of(thread))
            .flatten()
            .collect();
        self.pages.retain(|page, _| needed.contains(page));
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let length = |(_, page): &(S, PageContent)| page.bytes.len() + page.signatures.len();
        self.pages.values().map(length).sum()
    }

    /// The block of `thread`; `None` for a miss, or while pages are missing. Its id is checked, nothing else is.
    ///
    /// # Errors
    /// [`AssemblyError`]: the manifest, or a signature list, is false.
    pub fn record(&self, thread: u8) -> Result<Option<BlockRecord>, AssemblyError> {
        let Some(Place::Block { id, objects_before, .. }) = self.manifest.places.get(usize::from(thread)).copied()
        else {
            return Ok(None);
        };
        if !self.has(thread) {
            return Ok(None);
        }
        let record = self.piece(thread).record(objects_before)?;
        let found = record.view(self.manifest.header.threads)?.block_id();
        if found != id {
            return Err(AssemblyError::OtherBlock { expected: id, found });
        }
        Ok(Some(record))
    }

    /// The bytes of a block, with the signatures of all pages that it touches. Its pages are all here.
    fn piece(&self, thread: u8) -> BodyPiece {
        let mut piece = BodyPiece::default();
        let range = self.manifest.block_range(thread).unwrap_or_default();
        for (index, page) in self.pages_of(thread).into_iter().flatten().enumerate() {
            let (_, content) = &self.pages[&page];
            if index == 0 {
                piece.objects_before = content.objects_before;
            }
            piece.bytes.extend(&content.bytes);
            piece.signatures.extend(&content.signatures);
        }
        let start = (range.start % PAGE_BYTES as u64) as usize;
        piece.bytes.drain(..start.min(piece.bytes.len()));
        piece.bytes.truncate((range.end - range.start) as usize);
        piece
    }
}
