//! Known answers: period archives as the worker encodes and cuts them. A change here is a new format version.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_tests::archive_vectors::{ArchiveVectors, PeriodVector};
use massa_tests::MblkFile;

fn encode(vector: &PeriodVector, file: &MblkFile) -> EncodedPeriod {
    let places = vector.places(file);
    let places: Vec<Option<&BlockRecord>> = places.iter().map(Option::as_ref).collect();
    EncodedPeriod::new(&vector.parameters(file), vector.period, &places).unwrap()
}

fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn period_archives_are_those_of_the_independent_implementation() {
    let vectors = ArchiveVectors::read();
    let file = vectors.blocks();
    for vector in &vectors.periods {
        let name = &vector.name;
        let encoded = encode(vector, &file);

        assert_eq!(encoded.body.bytes.len(), vector.body_length, "{name}");
        assert_eq!(hash_of(&encoded.body.bytes), vector.body_hash, "{name}");
        assert_eq!(hash_of(&encoded.body.signatures), vector.signatures_hash, "{name}");
        assert_eq!(encoded.manifest.chunks, vector.chunk_entries(), "{name}");
        assert_eq!(hash_of(&encoded.manifest.to_bytes()), vector.manifest_hash, "{name}");
        assert_eq!(encoded.manifest.root(), vector.period_root, "{name}");
    }
}

/// The vectors are there for the borders: a body that ends on one has no empty leaf, page or chunk after it.
#[test]
fn the_vectors_end_on_the_borders_and_one_byte_past_them() {
    let vectors = ArchiveVectors::read();
    let chunks_of = |name: &str| -> Vec<u32> {
        let vector = vectors.periods.iter().find(|vector| vector.name == name).unwrap();
        vector.chunks.iter().map(|chunk| chunk.length).collect()
    };

    assert_eq!(chunks_of("ends on the border of a leaf"), [4096]);
    assert_eq!(chunks_of("ends one byte past the border of a leaf"), [4097]);
    assert_eq!(chunks_of("ends on the border of a page"), [65_536]);
    assert_eq!(chunks_of("ends one byte past the border of a page"), [65_537]);
    assert_eq!(chunks_of("ends on the border of a small chunk"), [131_072]);
    assert_eq!(
        chunks_of("ends one byte past the border of a small chunk"),
        [131_072, 1]
    );
    assert_eq!(chunks_of("ends on the border of a chunk"), [1 << 20]);
    assert_eq!(chunks_of("ends one byte past the border of a chunk"), [1 << 20, 1]);
}
