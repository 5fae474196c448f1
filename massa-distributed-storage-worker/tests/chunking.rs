//! Chunking: whatever the sizes, chunks join to the body, page roots lead to the chunk id, and every leaf is proven.

use massa_distributed_storage_exports::body::{objects_ending_by, BodyError};
use massa_distributed_storage_exports::manifest::PeriodLeaf;
use massa_distributed_storage_exports::merkle::root_of_leaves;
use massa_distributed_storage_exports::record::{BlockRecord, MAX_RECORD_BYTES};
use massa_distributed_storage_exports::types::{LEAF_BYTES, PAGE_BYTES, PAGE_LEAVES};
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkIndex};
use massa_distributed_storage_worker::chunking::{page_root, prove_leaf, ChunkingError, EncodedPeriod};
use massa_models::slot::Slot;
use massa_tests::archive_vectors::{filler, with_filler};
use massa_tests::{data_path, read_mblk, Generator, GeneratorConfig, MblkFile};
use proptest::prelude::*;
use std::sync::OnceLock;

const SMALL_CHUNK_BYTES: u32 = 4 * PAGE_BYTES as u32;

fn upstream() -> &'static MblkFile {
    static FILE: OnceLock<MblkFile> = OnceLock::new();
    FILE.get_or_init(|| read_mblk(&data_path("upstream-blocks-4-periods.mblk")))
}

fn parameters(chunk_size: u32) -> ArchiveParameters {
    ArchiveParameters {
        chunk_size,
        ..ArchiveParameters::new(upstream().chain_id, upstream().thread_count)
    }
}

fn encode_places(chunk_size: u32, period: u64, places: &[Option<BlockRecord>]) -> Result<EncodedPeriod, ChunkingError> {
    let places: Vec<Option<&BlockRecord>> = places.iter().map(Option::as_ref).collect();
    EncodedPeriod::new(&parameters(chunk_size), period, &places)
}

/// A period of one upstream block whose operations are one filler, so that its body has exactly `length` bytes.
fn encode_length(chunk_size: u32, length: usize) -> EncodedPeriod {
    let (slot, record) = &upstream().blocks[0];
    let encode = |filler_bytes| {
        let mut places = vec![None; usize::from(upstream().thread_count)];
        places[usize::from(slot.thread)] = Some(with_filler(record, filler_bytes));
        encode_places(chunk_size, slot.period, &places).unwrap()
    };
    let smallest = encode(SHORTEST_FILLER);
    let encoded = encode(SHORTEST_FILLER + length - smallest.body.bytes.len());
    assert_eq!(encoded.body.bytes.len(), length);
    encoded
}

const SHORTEST_FILLER: usize = 98;

fn lengths_around_the_borders() -> impl Iterator<Item = usize> {
    let borders = [
        4, 63, 64, 65, 127, 128, 129, 192, 255, 256, 257, 320, 511, 512, 513, 700,
    ];
    borders.into_iter().flat_map(|leaves| {
        let length = leaves * LEAF_BYTES;
        [length - 1, length, length + 1]
    })
}

#[test]
fn chunks_join_to_the_body_and_their_id_is_the_root_over_all_their_leaves() {
    for length in lengths_around_the_borders() {
        let encoded = encode_length(SMALL_CHUNK_BYTES, length);
        let mut joined: Vec<u8> = Vec::new();
        for (index, pages) in encoded.chunks.iter().enumerate() {
            let bytes = encoded.chunk_bytes(ChunkIndex(index as u32)).unwrap();
            joined.extend(bytes);

            assert_eq!(pages.entry, encoded.manifest.chunks[index]);
            assert_eq!(pages.entry.length as usize, bytes.len());
            let all_leaves = root_of_leaves(bytes.chunks(LEAF_BYTES));
            assert_eq!(pages.entry.id, ChunkId::from_bytes(all_leaves), "{length} bytes");
            assert_eq!(pages.root(), pages.entry.id);
        }
        assert_eq!(joined, encoded.body.bytes);
    }
}

/// Bodies are hashed on one thread or on two, depending on their size; this covers both.
#[test]
fn page_roots_are_the_roots_over_the_leaves_of_each_page() {
    for length in lengths_around_the_borders() {
        let encoded = encode_length(SMALL_CHUNK_BYTES, length);
        let expected = encoded.body.bytes.chunks(PAGE_BYTES).map(page_root);
        let roots = encoded.chunks.iter().flat_map(|chunk| chunk.page_roots.clone());

        assert!(roots.eq(expected), "{length} bytes");
    }
}

#[test]
fn every_leaf_is_proven_from_its_page_and_the_page_roots() {
    for length in lengths_around_the_borders() {
        let encoded = encode_length(SMALL_CHUNK_BYTES, length);
        for (index, pages) in encoded.chunks.iter().enumerate() {
            let bytes = encoded.chunk_bytes(ChunkIndex(index as u32)).unwrap();
            for (leaf, content) in bytes.chunks(LEAF_BYTES).enumerate() {
                let page = bytes.chunks(PAGE_BYTES).nth(leaf / PAGE_LEAVES).unwrap();

                let proof = prove_leaf(pages, page, leaf as u32).unwrap();

                assert_eq!(proof.bytes, content);
                assert_eq!(proof.verify(&pages.entry), Ok(()), "leaf {leaf} of {length} bytes");
            }
        }
    }
}

#[test]
fn a_leaf_that_does_not_exist_has_no_proof() {
    let encoded = encode_length(SMALL_CHUNK_BYTES, 65 * LEAF_BYTES + 1);
    let pages = &encoded.chunks[0];
    let last_page = &encoded.body.bytes[PAGE_BYTES..];

    assert!(prove_leaf(pages, last_page, 65).is_some());
    assert_eq!(prove_leaf(pages, last_page, 66), None);
    assert_eq!(prove_leaf(pages, last_page, 128), None);
    assert_eq!(prove_leaf(pages, last_page, u32::MAX), None);
}

#[test]
fn a_leaf_of_a_damaged_page_is_not_proven() {
    let encoded = encode_length(SMALL_CHUNK_BYTES, 100 * LEAF_BYTES);
    let pages = &encoded.chunks[0];
    let mut page = encoded.body.bytes[..PAGE_BYTES].to_vec();
    page[5_000] ^= 1;

    for leaf in 0..PAGE_LEAVES as u32 {
        let proof = prove_leaf(pages, &page, leaf).unwrap();
        assert!(proof.verify(&pages.entry).is_err(), "leaf {leaf}");
    }
}

#[test]
fn pages_know_how_many_objects_end_before_them() {
    let places = upstream().periods().into_values().next().unwrap();
    let period = upstream().blocks[0].0.period;
    let encoded = encode_places(PAGE_BYTES as u32, period, &places).unwrap();

    for (index, chunk) in encoded.chunks.iter().enumerate() {
        let before = objects_ending_by(&encoded.body.object_ends, (index * PAGE_BYTES) as u64);
        assert_eq!(chunk.objects_before, [before as u32]);
    }
    assert!(encoded.chunks.len() > 2);
}

#[test]
fn a_chunk_travels_with_its_path_to_the_period_root() {
    let encoded = encode_length(SMALL_CHUNK_BYTES, 700 * LEAF_BYTES);
    for index in (0..encoded.manifest.header.chunks).map(ChunkIndex) {
        let chunk = encoded.data_chunk(index).unwrap();

        let entry = encoded.manifest.chunks[index.0 as usize];
        let leaf = PeriodLeaf::Chunk { index, entry };
        let root = encoded.manifest.root();
        assert_eq!(chunk.merkle_proof.verify(leaf.hash(), root.as_bytes()), Ok(()));
        assert_eq!(chunk.chunk_id, entry.id);
        assert_eq!(chunk.period, encoded.manifest.header.period);
        assert_eq!(Some(chunk.data.as_slice()), encoded.chunk_bytes(index));
    }
    assert_eq!(encoded.data_chunk(ChunkIndex(encoded.manifest.header.chunks)), None);
}

#[test]
fn a_period_of_misses_is_one_chunk_of_a_body_header() {
    let places = vec![None; usize::from(upstream().thread_count)];

    let encoded = encode_places(SMALL_CHUNK_BYTES, 5, &places).unwrap();

    assert_eq!(encoded.manifest.chunks.len(), 1);
    assert_eq!(encoded.body.bytes.len(), 19);
    assert_eq!(encoded.manifest.header.period, 5);
}

#[test]
fn a_record_of_another_place_is_refused() {
    let mut places = vec![None; usize::from(upstream().thread_count)];
    let (slot, record) = &upstream().blocks[0];
    places[usize::from(slot.thread) + 1] = Some(record.clone());

    let refusal = encode_places(SMALL_CHUNK_BYTES, slot.period, &places);

    assert!(matches!(refusal, Err(ChunkingError::Body(BodyError::Slot { .. }))));
}

#[test]
fn a_body_of_more_chunks_than_a_position_can_name_is_refused() {
    let period = upstream().blocks[0].0.period;
    let largest = |slot: Slot| {
        let block = upstream().block(slot)?;
        Some(with_filler(block, MAX_RECORD_BYTES - block.block().len() - 12))
    };
    let slots = (0..upstream().thread_count).map(|thread| Slot::new(period, thread));
    let places: Vec<_> = slots.map(largest).collect();

    let refusal = encode_places(PAGE_BYTES as u32, period, &places);

    let max = 256 * PAGE_BYTES as u64;
    let bytes = encode_places(8 * PAGE_BYTES as u32, period, &places)
        .unwrap()
        .body
        .bytes
        .len();
    assert_eq!(refusal, Err(ChunkingError::TooManyChunks { period, bytes, max }));
}

/// A signer can make many valid signatures of one block or operation. Two nodes that hold different ones have one root.
#[test]
fn a_second_valid_signature_does_not_change_the_root() {
    let mut generator = Generator::new(GeneratorConfig {
        thread_count: 4,
        miss_rate: 0.2,
        ..GeneratorConfig::default()
    });
    let parameters = generator.parameters();
    let period = generator.period();
    let first = generator.next_period();
    let again = |place: &Option<BlockRecord>| Some(generator.sign_again(place.as_ref()?));
    let second: Vec<_> = first.iter().map(again).collect();
    let encode = |places: &[Option<BlockRecord>]| {
        for record in places.iter().flatten() {
            verify_block(record, parameters.chain_id, parameters.thread_count).unwrap();
        }
        let places: Vec<_> = places.iter().map(Option::as_ref).collect();
        EncodedPeriod::new(&parameters, period, &places).unwrap()
    };

    let (first, second) = (encode(&first), encode(&second));

    assert_ne!(first.body.signatures, second.body.signatures);
    assert_eq!(first.manifest, second.manifest);
    assert_eq!(first.manifest.root(), second.manifest.root());
    assert_eq!(first.chunks, second.chunks);
}

proptest! {
    #[test]
    fn the_root_of_a_page_is_the_root_over_its_leaves(length in 1usize..=PAGE_BYTES) {
        let page = filler(length);

        prop_assert_eq!(page_root(&page), root_of_leaves(page.chunks(LEAF_BYTES)));
    }
}
