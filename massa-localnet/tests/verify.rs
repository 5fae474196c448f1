//! What is accepted as read back, and what is not: blocks of a generated chain, with true and false proofs.

use massa_api_exports::distributed_storage::{
    ArchiveProof, ArchivedBlockInfo, ArchivedLostInfo, ArchivedMissInfo, ArchivedPeriodInfo, ArchivedSlot, PeriodState,
};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_proof::HexBytes;
use massa_distributed_storage_exports::segment_proof::{ClosedSegment, ProofDocument, Prover};
use massa_distributed_storage_exports::segment_table::{SegmentTable, SegmentTree};
use massa_distributed_storage_exports::{ArchiveParameters, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::SegmentStream;
use massa_localnet::readback::{verify_period, verify_slot, Chain, ExpectedSlot, Roots, SlotError};
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};

const THREADS: u8 = 32;
const PERIOD: u64 = 1;

/// A segment of one archived period with a block and a miss.
struct Archive {
    of: Chain,
    records: Vec<Option<BlockRecord>>,
    entry: PeriodEntry,
    table: SegmentTable,
    tree: SegmentTree,
    is_open: bool,
}

impl Archive {
    fn new() -> Self {
        Self::of(|_, encoded| encoded)
    }

    /// The same period, of which nobody had all blocks.
    fn lost() -> Self {
        Self::of(|period, encoded| {
            let ids: Vec<_> = encoded.entry.ids().collect();
            EncodedPeriod::lost(period, PeriodEntry::lost(&ids).unwrap())
        })
    }

    /// The same, while its segment is open.
    fn open() -> Self {
        let is_open = true;
        Self { is_open, ..Self::new() }
    }

    fn of(as_archived: impl FnOnce(u64, EncodedPeriod) -> EncodedPeriod) -> Self {
        let config = GeneratorConfig {
            thread_count: THREADS,
            first_period: PERIOD,
            miss_rate: 0.3,
            operations: 2..=4,
            ..GeneratorConfig::default()
        };
        let chain_id = config.chain_id;
        let mut generator = Generator::new(config);
        let parameters = ArchiveParameters {
            segment_periods: PERIOD + 1,
            ..generator.parameters()
        };
        let records = generator.next_period();
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::whole(&parameters, PERIOD, &slots).unwrap();
        let encoded = as_archived(PERIOD, encoded);
        let mut stream = SegmentStream::new(&parameters, 0, IndexedObjects::None);
        stream.push(&encoded).unwrap();
        let (table, _) = stream.finish([0; 32], 0).unwrap();
        Self {
            of: Chain {
                chain_id,
                thread_count: THREADS,
                chunk_size: parameters.chunk_size,
            },
            records,
            entry: encoded.entry,
            tree: table.tree(),
            table,
            is_open: false,
        }
    }

    fn roots(&self) -> Roots {
        Roots {
            period: self.table.period(PERIOD).unwrap().root,
            segment: (!self.is_open).then(|| self.table.root()),
        }
    }

    /// The first thread with a block, or without one.
    fn thread(&self, with_block: bool) -> u8 {
        let position = self.records.iter().position(|record| record.is_some() == with_block);
        position.unwrap() as u8
    }

    fn expected(&self, thread: u8) -> ExpectedSlot {
        ExpectedSlot {
            slot: Slot::new(PERIOD, thread),
            block: self.entry.ids().nth(usize::from(thread)).unwrap(),
            is_lost: self.entry.is_lost(),
            roots: self.roots(),
        }
    }

    fn prover(&self) -> Prover<'_> {
        let closed = ClosedSegment {
            table: &self.table,
            tree: &self.tree,
        };
        Prover {
            chain_id: self.of.chain_id,
            period: PERIOD,
            entry: &self.entry,
            segment: (!self.is_open).then_some(closed),
        }
    }

    fn proof(&self, thread: u8) -> ProofDocument {
        match &self.records[usize::from(thread)] {
            Some(record) => self.prover().block(thread, record, false).unwrap(),
            None => self.prover().miss(thread).unwrap(),
        }
    }

    fn block(&self, thread: u8) -> ArchivedBlockInfo {
        let record = self.records[usize::from(thread)].as_ref().unwrap();
        ArchivedBlockInfo {
            slot: Slot::new(PERIOD, thread),
            block_id: self.expected(thread).block.unwrap(),
            block: HexBytes(record.block().to_vec()),
            operations: record.operations().map(|bytes| HexBytes(bytes.to_vec())).collect(),
            proof: with(self.proof(thread)),
        }
    }

    fn period(&self) -> ArchivedPeriodInfo {
        ArchivedPeriodInfo {
            period: PERIOD,
            segment: 0,
            state: PeriodState::Closed,
            root: self.roots().period,
            bytes: self.table.period(PERIOD).unwrap().length,
            slots: self.entry.ids().collect(),
            chunks: Vec::new(),
            proof: with(self.prover().period().unwrap()),
        }
    }

    /// Checks what a node answers for a block.
    fn verify(&self, info: ArchivedBlockInfo, thread: u8) -> Result<u64, SlotError> {
        verify_slot(&ArchivedSlot::Block(info), &self.expected(thread), &self.of)
    }

    /// Changes what a node answers for a block; it has to be refused, for good.
    fn refusal(&self, change: impl FnOnce(&mut ArchivedBlockInfo)) -> SlotError {
        let thread = self.thread(true);
        let mut info = self.block(thread);
        change(&mut info);
        self.verify(info, thread).unwrap_err()
    }
}

fn with(proof: ProofDocument) -> ArchiveProof {
    ArchiveProof {
        proof: Some(proof),
        why_no_proof: None,
    }
}

#[test]
fn a_block_with_its_operations_and_proof_is_accepted_in_a_closed_segment_and_in_an_open_one() {
    for archive in [Archive::new(), Archive::open()] {
        let thread = archive.thread(true);
        let operations = archive.block(thread).operations.len() as u64;
        assert_eq!(archive.verify(archive.block(thread), thread).unwrap(), operations);
    }
}

#[test]
fn a_proof_that_ends_at_the_period_is_refused_once_the_segment_is_closed_everywhere() {
    let of_open = {
        let archive = Archive::open();
        archive.proof(archive.thread(true))
    };
    let error = Archive::new().refusal(|info| info.proof = with(of_open));
    assert!(matches!(error, SlotError::Proof(_)), "{error}");
}

#[test]
fn a_miss_with_its_proof_is_accepted_and_a_miss_instead_of_a_block_is_not() {
    let archive = Archive::new();
    let (block, miss) = (archive.thread(true), archive.thread(false));
    let answer = |thread, proven| {
        ArchivedSlot::Miss(ArchivedMissInfo {
            slot: Slot::new(PERIOD, thread),
            proof: with(archive.proof(proven)),
        })
    };
    assert_eq!(
        verify_slot(&answer(miss, miss), &archive.expected(miss), &archive.of).unwrap(),
        0
    );
    for proven in [block, miss] {
        verify_slot(&answer(block, proven), &archive.expected(block), &archive.of).unwrap_err();
    }
}

#[test]
fn a_block_of_a_lost_period_is_proven_by_its_id_and_a_block_of_another_is_not_lost() {
    let archive = Archive::lost();
    let thread = archive.thread(true);
    let answer = || {
        ArchivedSlot::Lost(ArchivedLostInfo {
            slot: Slot::new(PERIOD, thread),
            block_id: archive.expected(thread).block.unwrap(),
            proof: with(archive.prover().lost(thread).unwrap()),
        })
    };
    let verified = verify_slot(&answer(), &archive.expected(thread), &archive.of);
    assert_eq!(verified.unwrap(), 0);
    let whole = Archive::new();
    let refused = verify_slot(&answer(), &whole.expected(thread), &whole.of);
    refused.unwrap_err();
}

#[test]
fn what_the_slots_of_a_period_are_is_proven() {
    for (archive, lost) in [
        (Archive::new(), false),
        (Archive::open(), false),
        (Archive::lost(), true),
    ] {
        let (slots, is_lost) = verify_period(&archive.period(), PERIOD, &archive.roots(), &archive.of).unwrap();
        assert_eq!(slots, archive.entry.ids().collect::<Vec<_>>());
        assert_eq!(is_lost, lost);
    }
    let archive = Archive::new();
    let refused = |change: fn(&mut ArchivedPeriodInfo)| {
        let mut info = archive.period();
        change(&mut info);
        verify_period(&info, PERIOD, &archive.roots(), &archive.of).unwrap_err()
    };
    let other = refused(|info| info.slots.reverse());
    assert!(other.to_string().starts_with("block: expected"), "{other}");
    let other = refused(|info| info.period += 1);
    assert!(other.to_string().starts_with("period: expected"), "{other}");
}

#[test]
fn a_changed_signature_is_refused() {
    let archive = Archive::new();
    let of_block = archive.refusal(|info| info.block.0[40] ^= 1);
    assert!(matches!(of_block, SlotError::Block(_)), "{of_block}");
    let of_operation = archive.refusal(|info| info.operations[0].0[40] ^= 1);
    assert!(matches!(of_operation, SlotError::Block(_)), "{of_operation}");
}

#[test]
fn an_operation_too_few_is_refused() {
    let error = Archive::new().refusal(|info| drop(info.operations.pop()));
    assert!(matches!(error, SlotError::Block(_) | SlotError::Record(_)), "{error}");
}

#[test]
fn another_block_of_the_period_is_refused() {
    let archive = Archive::new();
    let thread = archive.thread(true);
    let other = (thread + 1..THREADS).find(|other| archive.records[usize::from(*other)].is_some());
    let mut info = archive.block(other.unwrap());
    // It is what it says it is, but not what was asked for.
    assert!(matches!(
        archive.verify(info.clone(), thread),
        Err(SlotError::Other { .. })
    ));
    // And it does not help to say that it is.
    info.slot = archive.expected(thread).slot;
    info.block_id = archive.expected(thread).block.unwrap();
    assert!(matches!(archive.verify(info, thread), Err(SlotError::Other { .. })));
}

#[test]
fn a_proof_of_another_root_or_with_another_path_is_refused() {
    let archive = Archive::new();
    let thread = archive.thread(true);
    let refused_under = |roots: Roots| {
        let mut expected = archive.expected(thread);
        expected.roots = roots;
        let block = ArchivedSlot::Block(archive.block(thread));
        verify_slot(&block, &expected, &archive.of).unwrap_err()
    };
    let mut roots = archive.roots();
    roots.period = PeriodRoot::from_bytes([7; 32]);
    let error = refused_under(roots);
    assert!(error.to_string().starts_with("period root"), "{error}");
    let mut roots = archive.roots();
    roots.segment = Some(SegmentRoot::from_bytes([7; 32]));
    let error = refused_under(roots);
    assert!(matches!(error, SlotError::Proof(_)), "{error}");

    let error = archive.refusal(|info| {
        let proof = info.proof.proof.as_mut().unwrap();
        proof.period.as_mut().unwrap().header_path.directions ^= 1;
    });
    assert!(matches!(error, SlotError::Proof(_)), "{error}");
}

#[test]
fn a_proof_of_another_slot_is_refused() {
    let archive = Archive::new();
    let miss = archive.proof(archive.thread(false));
    let error = archive.refusal(|info| info.proof.proof = Some(miss));
    assert!(matches!(error, SlotError::Other { .. }), "{error}");
}

#[test]
fn a_block_without_a_proof_is_not_accepted() {
    let error = Archive::new().refusal(|info| info.proof.proof = None);
    assert!(matches!(error, SlotError::NoProof(_)), "{error}");
}
