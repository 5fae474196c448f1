//! The chunking engine: periods join the stream of their segment, the stream is cut into pages and chunks, a whole segment gives its
//! table ([`segment`]); and what of it is indexed ([`objects`]).
//!
//! Plain functions over values; the archive decides what is kept.

pub mod objects;
pub mod segment;

use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleProof};
use massa_distributed_storage_exports::types::Digest;

/// Root over the leaves of one page (1 to 65 536 bytes).
pub fn page_root(page: &[u8]) -> Digest {
    root_of_hashes(leaf_hashes(page))
}

/// The path that continues `inner` with `outer`: pages are whole subtrees of the chunk's tree.
fn join_paths(mut inner: MerkleProof, outer: MerkleProof) -> MerkleProof {
    inner.directions |= outer.directions << inner.siblings.len();
    inner.siblings.extend(outer.siblings);
    inner
}
