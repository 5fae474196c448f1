//! What is accepted as read back, and what is not: blocks of a generated chain, with true and false proofs.

use massa_api_exports::distributed_storage::{ArchiveProof, ArchivedBlockInfo, ArchivedMissInfo, ArchivedPlace};
use massa_distributed_storage_exports::proof_document::{HexBytes, ProofDocument, Prover};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentTree};
use massa_distributed_storage_exports::PeriodRoot;
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_localnet::readback::{verify_place, Chain, ExpectedPlace, PlaceError};
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};

const THREADS: u8 = 32;
const PERIOD: u64 = 1;

/// One archived period with a block and a miss.
struct Archive {
    of: Chain,
    records: Vec<Option<BlockRecord>>,
    encoded: EncodedPeriod,
    segment: SegmentHeader,
}

impl Archive {
    fn new() -> Self {
        let config = GeneratorConfig {
            thread_count: THREADS,
            first_period: PERIOD,
            miss_rate: 0.3,
            operations: 2..=4,
            ..GeneratorConfig::default()
        };
        let chain_id = config.chain_id;
        let mut generator = Generator::new(config);
        let parameters = generator.parameters();
        let records = generator.next_period();
        let places: Vec<_> = records.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::new(&parameters, PERIOD, &places).unwrap();
        Self {
            of: Chain {
                chain_id,
                thread_count: THREADS,
                chunk_size: parameters.chunk_size,
            },
            encoded,
            records,
            segment: SegmentHeader {
                chain_id,
                segment: 0,
                first_period: PERIOD,
                periods: 1,
                previous: [0; 32],
            },
        }
    }

    fn root(&self) -> PeriodRoot {
        self.encoded.manifest.root()
    }

    /// The first thread with a block, or without one.
    fn thread(&self, with_block: bool) -> u8 {
        let position = self.records.iter().position(|record| record.is_some() == with_block);
        position.unwrap() as u8
    }

    fn expected(&self, thread: u8) -> ExpectedPlace {
        ExpectedPlace {
            slot: Slot::new(PERIOD, thread),
            block: self.encoded.manifest.places[usize::from(thread)].block_id(),
            root: self.root(),
        }
    }

    fn proof(&self, thread: u8) -> ProofDocument {
        let tree = SegmentTree::new(self.segment, &[self.root()]);
        let prover = Prover {
            manifest: &self.encoded.manifest,
            segment: &self.segment,
            tree: &tree,
        };
        match &self.records[usize::from(thread)] {
            Some(record) => prover.block(thread, record, false).unwrap(),
            None => prover.miss(thread).unwrap(),
        }
    }

    fn block(&self, thread: u8) -> ArchivedBlockInfo {
        let record = self.records[usize::from(thread)].as_ref().unwrap();
        ArchivedBlockInfo {
            slot: Slot::new(PERIOD, thread),
            block_id: self.expected(thread).block.unwrap(),
            block: HexBytes(record.block().to_vec()),
            operations: record.operations().map(|bytes| HexBytes(bytes.to_vec())).collect(),
            proof: ArchiveProof {
                proof: Some(self.proof(thread)),
                why_no_proof: None,
            },
        }
    }

    /// Changes what a node answers for a block; it has to be refused, for good.
    fn refusal(&self, change: impl FnOnce(&mut ArchivedBlockInfo)) -> PlaceError {
        let thread = self.thread(true);
        let mut info = self.block(thread);
        change(&mut info);
        verify_place(&ArchivedPlace::Block(info), &self.expected(thread), &self.of).unwrap_err()
    }
}

#[test]
fn a_block_with_its_operations_and_proof_is_accepted() {
    let archive = Archive::new();
    let thread = archive.thread(true);
    let operations = archive.block(thread).operations.len() as u64;
    let place = ArchivedPlace::Block(archive.block(thread));
    let verified = verify_place(&place, &archive.expected(thread), &archive.of).unwrap();
    assert_eq!(verified, operations);
}

#[test]
fn a_miss_with_its_proof_is_accepted_and_a_miss_instead_of_a_block_is_not() {
    let archive = Archive::new();
    let (block, miss) = (archive.thread(true), archive.thread(false));
    let answer = |thread, proven| {
        ArchivedPlace::Miss(ArchivedMissInfo {
            slot: Slot::new(PERIOD, thread),
            proof: ArchiveProof {
                proof: Some(archive.proof(proven)),
                why_no_proof: None,
            },
        })
    };
    assert_eq!(
        verify_place(&answer(miss, miss), &archive.expected(miss), &archive.of).unwrap(),
        0
    );
    for proven in [block, miss] {
        verify_place(&answer(block, proven), &archive.expected(block), &archive.of).unwrap_err();
    }
}

#[test]
fn a_changed_signature_is_refused() {
    let archive = Archive::new();
    let of_block = archive.refusal(|info| info.block.0[40] ^= 1);
    assert!(matches!(of_block, PlaceError::Block(_)), "{of_block}");
    let of_operation = archive.refusal(|info| info.operations[0].0[40] ^= 1);
    assert!(matches!(of_operation, PlaceError::Block(_)), "{of_operation}");
}

#[test]
fn an_operation_too_few_is_refused() {
    let error = Archive::new().refusal(|info| drop(info.operations.pop()));
    assert!(matches!(error, PlaceError::Block(_) | PlaceError::Record(_)), "{error}");
}

#[test]
fn another_block_of_the_period_is_refused() {
    let archive = Archive::new();
    let thread = archive.thread(true);
    let other = (thread + 1..THREADS).find(|other| archive.records[usize::from(*other)].is_some());
    let mut info = archive.block(other.unwrap());
    // It is what it says it is, but not what was asked for.
    let place = ArchivedPlace::Block(info.clone());
    assert!(matches!(
        verify_place(&place, &archive.expected(thread), &archive.of),
        Err(PlaceError::Other { .. })
    ));
    // And it does not help to say that it is.
    info.slot = archive.expected(thread).slot;
    info.block_id = archive.expected(thread).block.unwrap();
    let place = ArchivedPlace::Block(info);
    assert!(matches!(
        verify_place(&place, &archive.expected(thread), &archive.of),
        Err(PlaceError::Other { .. })
    ));
}

#[test]
fn a_proof_of_another_root_or_with_another_path_is_refused() {
    let archive = Archive::new();
    let thread = archive.thread(true);
    let mut expected = archive.expected(thread);
    expected.root = PeriodRoot::from_bytes([7; 32]);
    let place = ArchivedPlace::Block(archive.block(thread));
    let error = verify_place(&place, &expected, &archive.of).unwrap_err();
    assert!(error.to_string().starts_with("period root"), "{error}");

    let error = archive.refusal(|info| {
        let proof = info.proof.proof.as_mut().unwrap();
        proof.period.path.directions ^= 1;
    });
    assert!(matches!(error, PlaceError::Proof(_)), "{error}");
}

#[test]
fn a_proof_of_another_place_is_refused() {
    let archive = Archive::new();
    let miss = archive.proof(archive.thread(false));
    let error = archive.refusal(|info| info.proof.proof = Some(miss));
    assert!(matches!(error, PlaceError::Other { .. }), "{error}");
}

#[test]
fn a_block_without_a_proof_is_not_accepted() {
    let error = Archive::new().refusal(|info| info.proof.proof = None);
    assert!(matches!(error, PlaceError::NoProof(_)), "{error}");
}
