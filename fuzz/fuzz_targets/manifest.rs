//! A manifest from a peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::ChunkIndex;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::from_bytes(bytes) else {
        return;
    };
    assert_eq!(manifest.to_bytes(), bytes);
    let root = manifest.root();
    for thread in 0..manifest.header.threads {
        let (leaf, path) = manifest.prove_place(thread).expect("each thread has a place");
        path.verify(leaf.hash(), root.as_bytes())
            .expect("the place is below the root");
        if let Some(range) = manifest.block_range(thread) {
            assert!(range.start < range.end && range.end <= manifest.header.body_length);
        }
    }
    assert!(manifest.prove_place(manifest.header.threads).is_none());

    let chunks = manifest.header.chunks;
    let (leaf, path) = manifest
        .prove_chunk(ChunkIndex(chunks - 1))
        .expect("there is a last chunk");
    path.verify(leaf.hash(), root.as_bytes())
        .expect("the chunk is below the root");
    assert!(manifest.prove_chunk(ChunkIndex(chunks)).is_none());
});
