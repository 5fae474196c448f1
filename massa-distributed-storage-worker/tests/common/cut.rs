//! Chunks as the writer has them when it cuts them from its own stream: with their bytes in plain.

use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_worker::storage_backend::{ChunkToStore, CutChunk};

/// Chunks that `table` lists.
pub fn cut<'a>(table: &SegmentTable, chunks: impl IntoIterator<Item = &'a ChunkToStore>) -> Vec<CutChunk> {
    let of_chunk = |chunk: &ChunkToStore| CutChunk {
        chunk: chunk.clone(),
        plain: in_plain(table, chunk),
    };
    chunks.into_iter().map(of_chunk).collect()
}

fn in_plain(table: &SegmentTable, chunk: &ChunkToStore) -> Vec<u8> {
    let listed = table.chunk(chunk.position.index.0).unwrap();
    let mut plain: Vec<Vec<u8>> = Vec::new();
    for (page, number) in chunk.pages.iter().zip(0..) {
        let stored = StoredPage::from_bytes(page.stored.clone()).unwrap();
        let first = plain.first().cloned().unwrap_or_default();
        plain.push(stored.unpack_after(&first, listed.page_length(number)).unwrap());
    }
    plain.concat()
}
