//! Blocks: what the archive finds in their bytes is what upstream's types find, and what it verifies is genuine.

mod common;

use common::*;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::{BlockRecord, BlockView, RecordError};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::verification::{verify_block, verify_blocks, VerifyBlockError};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_hash::Hash;
use massa_models::block::{Block, BlockDeserializer, BlockDeserializerArgs, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer, SecuredHeader};
use massa_models::config::{ENDORSEMENT_COUNT, MAX_DENUNCIATIONS_PER_BLOCK_HEADER, MAX_OPERATIONS_PER_BLOCK};
use massa_models::operation::{compute_operations_hash, OperationId, OperationIdSerializer};
use massa_models::secure_share::{Id, SecureShareContent, SecureShareDeserializer};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use massa_signature::KeyPair;
use massa_tests::{data_path, Generator, GeneratorConfig};
use serde::Deserialize;

const ID_BYTES: usize = 33;

/// The block as `massa_models` reads it; `None` if it refuses.
fn upstream_parse(block: &[u8]) -> Option<SecureShareBlock> {
    let deserializer = SecureShareDeserializer::new(
        BlockDeserializer::new(BlockDeserializerArgs {
            thread_count: THREADS,
            max_operations_per_block: MAX_OPERATIONS_PER_BLOCK,
            endorsement_count: ENDORSEMENT_COUNT,
            max_denunciations_per_block_header: MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
            last_start_period: None,
            chain_id: CHAIN_ID,
        }),
        CHAIN_ID,
    );
    match deserializer.deserialize::<DeserializeError>(block) {
        Ok(([], block)) => Some(block),
        _ => None,
    }
}

fn assert_agree(view: &BlockView, block: &SecureShareBlock) {
    let header = &block.content.header.content;
    assert_eq!(view.block_id(), block.id);
    assert_eq!(view.slot, header.slot);
    assert_eq!(view.operation_root, *header.operation_merkle_root.to_bytes());
    assert!(view.parents().eq(header.parents.iter().copied()));
    assert!(view.operation_ids().eq(block.content.operations.iter().copied()));
    let thread = usize::from(header.slot.thread);
    assert_eq!(view.same_thread_parent(), header.parents.get(thread).copied());
}

fn view(block: &[u8]) -> Result<BlockView<'_>, RecordError> {
    BlockView::parse(&block[SIGNATURE_BYTES..], THREADS)
}

/// A block of `upstream-vectors.json`, without what other tests look at.
#[derive(Deserialize)]
struct BlockVector {
    block_bytes: String,
    id: String,
    operation_ids: Vec<String>,
    operations_secure_share_bytes: Vec<String>,
    parents: Vec<String>,
}

impl BlockVector {
    fn record(&self) -> BlockRecord {
        let operations: Vec<Vec<u8>> = self
            .operations_secure_share_bytes
            .iter()
            .map(|digits| hex::decode(digits).unwrap())
            .collect();
        BlockRecord::new(&hex::decode(&self.block_bytes).unwrap(), &operations).unwrap()
    }
}

fn block_vectors() -> Vec<BlockVector> {
    #[derive(Deserialize)]
    struct File {
        blocks: Vec<BlockVector>,
    }
    let text = std::fs::read(data_path("upstream-vectors.json")).unwrap();
    let file: File = serde_json::from_slice(&text).unwrap();
    assert_eq!(file.blocks.len(), 6);
    file.blocks
}

#[test]
fn the_view_of_an_upstream_block_is_what_upstream_types_say() {
    let vectors = block_vectors();
    let from_vectors = vectors.iter().map(BlockVector::record);
    let from_file = upstream().blocks.iter().map(|(_, record)| record.clone());
    for record in from_vectors.chain(from_file) {
        let block = upstream_parse(record.block()).unwrap();

        assert_agree(&record.view(THREADS).unwrap(), &block);
    }
}

#[test]
fn the_view_of_an_upstream_block_is_what_upstream_wrote_down() {
    for vector in block_vectors() {
        let record = vector.record();
        let view = record.check_ids(CHAIN_ID, THREADS).unwrap();

        assert_eq!(view.block_id().to_string(), vector.id);
        assert!(view.parents().map(|id| id.to_string()).eq(vector.parents));
        let ids = view.operation_ids().map(|id| id.to_string());
        assert!(ids.eq(vector.operation_ids));
    }
}

#[test]
fn whatever_byte_of_a_block_is_changed_the_view_accepts_what_upstream_types_accept_and_agrees() {
    let block = block_with_operations().block();
    for offset in SIGNATURE_BYTES..block.len() {
        let block = damaged(block, offset);
        if let Some(parsed) = upstream_parse(&block) {
            assert_agree(&view(&block).unwrap(), &parsed);
        }
    }
}

/// The count of operations is outside what the header signs: with surplus bits it would give one block two archives.
#[test]
fn a_count_of_operations_has_one_encoding() {
    let record = block_with_operations();
    let count = record.operation_count();
    let ids = record.block().len() - count * ID_BYTES;
    // Bits beyond the 32nd are lost on the way in.
    let surplus = [count as u8 | 0x80, 0x80, 0x80, 0x80, 0x10];
    let block = [&record.block()[..ids - 1], &surplus, &record.block()[ids..]].concat();

    let parsed = upstream_parse(&block).expect("upstream's types take it");
    assert_eq!(parsed.id, record.view(THREADS).unwrap().block_id());
    let field = "operation count";
    assert_eq!(view(&block).err(), Some(RecordError::Malformed { field }));
}

/// Upstream's types read the version of a key from up to ten bytes and go on after the first, but hash the version 0
/// into the id: with another first byte a block would have one id there and another one here.
#[test]
fn the_version_of_a_creator_key_has_one_encoding() {
    let mut block = block_with_operations().block().to_vec();
    for first_byte in 1..=u8::MAX {
        block[SIGNATURE_BYTES] = first_byte;

        let field = "creator key";
        assert_eq!(view(&block).err(), Some(RecordError::Malformed { field }));
    }
}

#[test]
fn every_upstream_block_is_verified() {
    for (slot, record) in &upstream().blocks {
        let verified = verify_block(record, CHAIN_ID, THREADS).unwrap();

        assert_eq!(verified.block().content.header.content.slot, *slot);
        assert_eq!(verified.operations().len(), record.operation_count());
    }
}

#[test]
fn the_blocks_of_the_vectors_are_verified() {
    for vector in block_vectors() {
        verify_block(&vector.record(), CHAIN_ID, THREADS).unwrap();
    }
}

#[test]
fn blocks_are_verified_together() {
    let records = || upstream().blocks.iter().map(|(_, record)| record);

    let verified = verify_blocks(records(), CHAIN_ID, THREADS).unwrap();

    let ids = verified.iter().map(|verified| verified.block().id);
    assert!(ids.eq(records().map(|record| record.view(THREADS).unwrap().block_id())));
    assert!(verify_blocks([], CHAIN_ID, THREADS).unwrap().is_empty());
}

#[test]
fn of_blocks_verified_together_the_first_one_that_is_not_valid_is_named() {
    let genuine = block_with_operations();
    let operations = operations_of(genuine);
    let missigned = BlockRecord::new(&damaged(genuine.block(), 1), &operations).unwrap();
    let incomplete = BlockRecord::new(genuine.block(), &operations[1..]).unwrap();
    let refusal_of = |records: [&BlockRecord; 4]| verify_blocks(records, CHAIN_ID, THREADS).unwrap_err();

    assert_eq!(
        refusal_of([genuine, genuine, &missigned, &incomplete]),
        (2, refusal(&missigned))
    );
    assert_eq!(
        refusal_of([genuine, &incomplete, &missigned, genuine]),
        (1, refusal(&incomplete))
    );
}

fn operations_of(record: &BlockRecord) -> Vec<Vec<u8>> {
    record.operations().map(<[u8]>::to_vec).collect()
}

fn refusal(record: &BlockRecord) -> VerifyBlockError {
    verify_block(record, CHAIN_ID, THREADS).unwrap_err()
}

#[test]
fn a_changed_header_signature_is_refused() {
    let genuine = block_with_operations();
    let block = damaged(genuine.block(), 1);
    let forged = BlockRecord::new(&block, &operations_of(genuine)).unwrap();

    let id = genuine.view(THREADS).unwrap().block_id();
    assert_eq!(refusal(&forged), VerifyBlockError::HeaderSignature(id));
}

#[test]
fn a_changed_operation_signature_is_refused_by_name() {
    let genuine = block_with_operations();
    let mut operations = operations_of(genuine);
    operations[1] = damaged(&operations[1], 1);
    let forged = BlockRecord::new(genuine.block(), &operations).unwrap();

    let operation_id = genuine.view(THREADS).unwrap().operation_ids().nth(1).unwrap();
    assert_eq!(refusal(&forged), VerifyBlockError::OperationSignature { operation_id });
}

#[test]
fn any_changed_byte_of_a_block_or_operation_is_refused() {
    let genuine = block_with_operations();
    let bytes = genuine.as_bytes();
    for offset in 0..bytes.len() {
        let Ok(forged) = BlockRecord::from_bytes(damaged(bytes, offset)) else {
            continue;
        };
        assert!(verify_block(&forged, CHAIN_ID, THREADS).is_err(), "offset {offset}");
    }
}

#[test]
fn swapped_operations_are_refused() {
    let genuine = block_with_operations();
    let mut operations = operations_of(genuine);
    operations.swap(0, 1);
    let forged = BlockRecord::new(genuine.block(), &operations).unwrap();

    let ids: Vec<_> = genuine.view(THREADS).unwrap().operation_ids().collect();
    let error = RecordError::OperationMismatch {
        index: 0,
        actual: ids[1].to_string(),
        listed: ids[0].to_string(),
    };
    assert_eq!(refusal(&forged), VerifyBlockError::Record(error));
}

#[test]
fn a_missing_operation_is_refused() {
    let genuine = block_with_operations();
    let mut operations = operations_of(genuine);
    let listed = operations.len();
    operations.pop();
    let forged = BlockRecord::new(genuine.block(), &operations).unwrap();

    let error = RecordError::OperationCount {
        actual: listed - 1,
        listed,
    };
    assert_eq!(refusal(&forged), VerifyBlockError::Record(error));
}

#[test]
fn operations_that_the_header_does_not_commit_to_are_refused() {
    let genuine = block_with_operations();
    let mut operations = operations_of(genuine);
    let mut block = genuine.block().to_vec();
    let ids = block.len() - operations.len() * ID_BYTES;
    operations.swap(0, 1);
    block[ids..ids + 2 * ID_BYTES].rotate_left(ID_BYTES);
    let forged = BlockRecord::new(&block, &operations).unwrap();

    let block_id = genuine.view(THREADS).unwrap().block_id();
    let error = RecordError::OperationRoot { block_id };
    assert_eq!(refusal(&forged), VerifyBlockError::Record(error));
}

#[test]
fn operations_of_another_chain_are_refused() {
    let error = verify_block(block_with_operations(), CHAIN_ID + 1, THREADS).unwrap_err();

    assert!(matches!(
        error,
        VerifyBlockError::Record(RecordError::OperationMismatch { index: 0, .. })
    ));
}

#[test]
fn a_block_of_a_chain_with_another_number_of_threads_is_refused() {
    for threads in [1, THREADS - 1, THREADS + 1, u8::MAX] {
        let error = verify_block(block_with_operations(), CHAIN_ID, threads).unwrap_err();

        assert!(matches!(error, VerifyBlockError::Record(_)), "{threads}: {error}");
    }
}

/// The header of a genuine block, to be changed and signed anew.
fn genuine_header() -> BlockHeader {
    header_of_block(block_with_operations())
}

fn header_of_block(record: &BlockRecord) -> BlockHeader {
    let block = upstream_parse(record.block()).unwrap();
    block.content.header.content
}

/// A block whose header is properly signed, whatever stands in it.
fn signed(mut header: BlockHeader, operations: &[Vec<u8>]) -> BlockRecord {
    let id = |operation: &Vec<u8>| {
        let unsigned = &operation[SIGNATURE_BYTES..];
        OperationId::new(Hash::compute_from_concatenation(&[&CHAIN_ID.to_be_bytes(), unsigned]))
    };
    let ids: Vec<OperationId> = operations.iter().map(id).collect();
    header.operation_merkle_root = compute_operations_hash(&ids, &OperationIdSerializer::new());
    let key = KeyPair::from_bytes(&[0; 33]).unwrap();
    let header: SecuredHeader = header
        .new_verifiable(BlockHeaderSerializer::new(), &key, CHAIN_ID)
        .unwrap();
    let block = Block {
        header,
        operations: ids,
    };
    let mut bytes = Vec::new();
    BlockSerializer::new().serialize(&block, &mut bytes).unwrap();
    BlockRecord::new(&bytes, operations).unwrap()
}

#[test]
fn a_block_signed_anew_is_verified() {
    let operations = operations_of(block_with_operations());

    verify_block(&signed(genuine_header(), &operations), CHAIN_ID, THREADS).unwrap();
}

/// The header's hash covers endorsements; whether they were valid is consensus' business.
#[test]
fn a_foreign_endorsement_signature_is_told_apart() {
    let genuine = Generator::new(GeneratorConfig::default()).next_period();
    let genuine = genuine.iter().flatten().next().unwrap();
    let mut header = header_of_block(genuine);
    header.endorsements[2].signature = header.endorsements[1].signature;
    let forged = signed(header, &[]);

    let invalid = |record| verify_block(record, CHAIN_ID, THREADS).unwrap().invalid_endorsements();
    assert!(invalid(genuine).is_empty());
    assert_eq!(invalid(&forged), [2]);
}

#[test]
fn a_block_that_upstream_types_refuse_is_refused() {
    let mut header = genuine_header();
    let twice = header.endorsements[0].clone();
    header.endorsements.push(twice);
    header.endorsements.swap_remove(1);
    let forged = signed(header, &[]);

    let id = forged.view(THREADS).unwrap().block_id();
    assert!(matches!(refusal(&forged), VerifyBlockError::Block { block_id, .. } if block_id == id));
}

#[test]
fn an_operation_that_upstream_types_refuse_is_refused_by_position() {
    let mut operations = operations_of(block_with_operations());
    operations[1].push(0);
    let forged = signed(genuine_header(), &operations);

    let id = forged.view(THREADS).unwrap().block_id();
    assert!(matches!(
        refusal(&forged),
        VerifyBlockError::Operation { block_id, index: 1, .. } if block_id == id
    ));
}

/// A signer can make many valid signatures of one block or operation. Two nodes that hold different ones have one archive.
#[test]
fn a_second_valid_signature_changes_nothing_but_the_signatures() {
    let config = GeneratorConfig {
        operations: 1..=3,
        endorsements_per_block: 2,
        ..GeneratorConfig::default()
    };
    let mut generator = Generator::new(config);
    let period = generator.period();
    let first = generator.next_period();
    let resigned = |place: &Option<BlockRecord>| Some(generator.sign_again(place.as_ref()?));
    let second: Vec<_> = first.iter().map(resigned).collect();

    for record in first.iter().chain(&second).flatten() {
        verify_block(record, CHAIN_ID, THREADS).unwrap();
    }
    let parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    let encode = |records: &[Option<BlockRecord>]| {
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        EncodedPeriod::whole(&parameters, period, &slots).unwrap()
    };
    let (first, second) = (encode(&first), encode(&second));
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(first.entry, second.entry);
    assert_eq!(first.signatures.len(), second.signatures.len());
    let mut pairs = first.signatures.iter().zip(&second.signatures);
    assert!(pairs.all(|(one, other)| one != other));
}
