//! Proof documents of archive format 2: what follows from a trusted root, and nothing else.

mod common;

use common::segments::{period, table_of};
use common::*;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::segment_proof::check::{check, CheckError, Proven, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::{
    ClosedSegment, ProofDocument, ProveError, Prover, State, Subject,
};
use massa_distributed_storage_exports::segment_table::{SegmentTable, SegmentTree};
use massa_distributed_storage_exports::{ArchiveParameters, PeriodRoot, SegmentRoot};
use massa_tests::data_path;
use serde_json::Value;
use std::collections::BTreeMap;

/// A segment of periods 4 (whole), 5 (lost) and 6 (every slot missed).
struct Segment {
    periods: Vec<EncodedPeriod>,
    table: SegmentTable,
    tree: SegmentTree,
}

impl Segment {
    fn new() -> Self {
        let parameters = ArchiveParameters {
            chunk_size: 1 << 16,
            segment_periods: 4,
            ..ArchiveParameters::new(CHAIN_ID, THREADS)
        };
        let periods: Vec<EncodedPeriod> = (4..7).map(|number| period(&parameters, number)).collect();
        let table = table_of(&parameters, &periods, 1000, [7; 32]);
        Self {
            periods,
            tree: table.tree(),
            table,
        }
    }

    fn closed(&self) -> ClosedSegment<'_> {
        ClosedSegment {
            table: &self.table,
            tree: &self.tree,
        }
    }

    fn prover(&self, number: u64) -> Prover<'_> {
        Prover {
            chain_id: CHAIN_ID,
            period: number,
            entry: &self.periods[number as usize - 4].entry,
            segment: Some(self.closed()),
        }
    }

    fn open_prover(&self, number: u64) -> Prover<'_> {
        Prover {
            segment: None,
            ..self.prover(number)
        }
    }

    fn root(&self) -> TrustedRoot {
        TrustedRoot::Segment(self.table.root())
    }

    /// A proof of each kind, with the name of the kind.
    fn proofs(&self) -> Vec<(&'static str, ProofDocument)> {
        let records = slots_of(4);
        let (thread, record) = small_block();
        let miss = records.iter().position(Option::is_none).map(|thread| thread as u8);
        let mut proofs = vec![
            ("block", self.prover(4).block(thread, &record, false).unwrap()),
            ("block", self.prover(4).block(thread, &record, true).unwrap()),
            ("operation", self.prover(4).operation(thread, &record, 0).unwrap()),
            ("miss", self.prover(6).miss(9).unwrap()),
            ("lost", self.prover(5).lost(thread).unwrap()),
            ("period", self.prover(4).period().unwrap()),
            ("period", self.prover(5).period().unwrap()),
            ("chunk", self.closed().prove_chunk(1).unwrap()),
        ];
        proofs.extend(miss.map(|thread| ("miss", self.prover(4).miss(thread).unwrap())));
        proofs
    }
}

/// A block of period 4 with few operations, so that every byte of its proof can be changed.
fn small_block() -> (u8, massa_distributed_storage_exports::record::BlockRecord) {
    let records = slots_of(4);
    let few = |(_, record): &(usize, &Option<massa_distributed_storage_exports::record::BlockRecord>)| {
        let operations = record.as_ref().map_or(0, |record| record.operation_count());
        (1..=4).contains(&operations)
    };
    let smallest = records.iter().enumerate().filter(few);
    let smallest = smallest.min_by_key(|(_, record)| record.as_ref().unwrap().as_bytes().len());
    let (thread, record) = smallest.unwrap();
    (thread as u8, record.clone().unwrap())
}

fn of_json(text: &str) -> Result<ProofDocument, serde_json::Error> {
    serde_json::from_str(text)
}

#[test]
fn every_kind_is_proven_and_says_what_it_proves() {
    let segment = Segment::new();
    for (kind, document) in segment.proofs() {
        let text = serde_json::to_string(&document).unwrap();
        let proven = check(&of_json(&text).unwrap(), &segment.root()).unwrap();

        assert!(proven.valid);
        assert_eq!((proven.kind, proven.chain_id), (kind, CHAIN_ID));
        let inside = proven.segment.unwrap();
        assert_eq!((inside.segment, inside.first_period, inside.periods), (1, 4, 3));
        assert_eq!(proven.chunk.is_some(), kind == "chunk");
        assert_eq!(proven.period.is_some(), kind != "chunk");
        assert_eq!(
            proven.block_id.is_some(),
            ["block", "operation", "lost"].contains(&kind)
        );
    }
}

#[test]
fn while_the_segment_is_open_a_proof_ends_at_the_period_root_and_says_so() {
    let segment = Segment::new();
    let document = segment.open_prover(4).period().unwrap();
    let root = segment.table.period(4).unwrap().root;

    let proven: Proven = check(&document, &TrustedRoot::Period(root)).unwrap();
    assert_eq!((proven.period_root, proven.segment), (Some(root), None));
    let refused = check(&document, &segment.root()).unwrap_err();
    assert!(matches!(refused, CheckError::OpenSegment { period: 4 }), "{refused}");
    let other = TrustedRoot::Period(PeriodRoot::from_bytes([1; 32]));
    assert!(matches!(check(&document, &other), Err(CheckError::OtherRoot { .. })));
}

/// Every digit of hexadecimal text, every digit of a number and every letter of a name is replaced by another one.
fn changed(text: &str) -> impl Iterator<Item = String> + '_ {
    text.char_indices().filter_map(|(at, letter)| {
        let other = match letter {
            '0'..='8' => (letter as u8 + 1) as char,
            '9' => '0',
            'a'..='e' => (letter as u8 + 1) as char,
            'f' => 'a',
            'A'..='Y' => (letter as u8 + 1) as char,
            'g'..='y' => (letter as u8 + 1) as char,
            _ => return None,
        };
        Some(format!("{}{other}{}", &text[..at], &text[at + letter.len_utf8()..]))
    })
}

#[test]
fn a_document_with_one_changed_character_is_refused() {
    let segment = Segment::new();
    let proofs = segment.proofs();
    // The large ones differ in nothing but their bytes: every 7th character of them.
    for (kind, document) in proofs {
        let text = serde_json::to_string(&document).unwrap();
        let step = 1 + text.len() / 4000;
        for other in changed(&text).step_by(step) {
            let Ok(other) = of_json(&other) else { continue };
            let checked = check(&other, &segment.root());
            assert!(checked.is_err() || other == document, "{kind}: {other:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_not_proven() {
    let segment = Segment::new();
    let (thread, record) = small_block();
    let not_there = |result: Result<ProofDocument, ProveError>| matches!(result, Err(ProveError::NotThere { .. }));
    assert!(not_there(segment.prover(6).block(thread, &record, false)));
    assert!(not_there(segment.prover(4).miss(thread)));
    assert!(not_there(segment.prover(4).lost(thread)));
    assert!(not_there(segment.prover(6).miss(THREADS)));
    assert!(not_there(segment.prover(4).operation(thread, &record, 5000)));
    assert!(matches!(
        segment.closed().prove_chunk(1 << 15),
        Err(ProveError::NoChunk { .. })
    ));
    let other = Prover {
        period: 7,
        ..segment.prover(4)
    };
    assert!(matches!(other.period(), Err(ProveError::OtherTable { period: 7, .. })));
}

/// A miss of a lost period is proven like any other; a block of it only as lost.
#[test]
fn the_state_of_a_period_is_part_of_what_is_proven() {
    let segment = Segment::new();
    let (thread, record) = small_block();
    let mut lost = segment.prover(5).lost(thread).unwrap();
    lost.period.as_mut().unwrap().state = State::Whole;
    assert!(matches!(check(&lost, &segment.root()), Err(CheckError::Path { .. })));

    let block = segment.prover(4).block(thread, &record, false).unwrap();
    let mut as_block = segment.prover(5).lost(thread).unwrap();
    let (Subject::Block(block), Subject::Lost(of_lost)) = (block.subject, as_block.subject.clone()) else {
        panic!("other subjects")
    };
    as_block.subject = Subject::Block(massa_distributed_storage_exports::segment_proof::BlockSubject {
        leaf: of_lost.leaf,
        path: of_lost.path,
        ..block
    });
    let refused = check(&as_block, &segment.root()).unwrap_err().to_string();
    assert!(refused.contains("period.state"), "{refused}");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let segment = Segment::new();
    let chunk = segment.closed().prove_chunk(0).unwrap();
    let period = segment.prover(4).period().unwrap();
    let with = |change: &dyn Fn(&mut ProofDocument)| {
        let mut document = period.clone();
        change(&mut document);
        check(&document, &segment.root()).unwrap_err()
    };
    assert!(matches!(
        with(&|document| document.period = None),
        CheckError::Part("segment.period")
    ));
    assert!(matches!(
        with(&|document| document.segment.as_mut().unwrap().period = None),
        CheckError::Part("segment.period")
    ));
    assert!(matches!(
        with(&|document| document.subject = chunk.subject.clone()),
        CheckError::Part("period")
    ));
    assert!(matches!(
        with(&|document| document.format = "massa-archive-proof-1".into()),
        CheckError::Format { .. }
    ));
    let mut alone = chunk.clone();
    alone.segment = None;
    assert!(matches!(
        check(&alone, &segment.root()),
        Err(CheckError::Part("segment"))
    ));
    let other = TrustedRoot::Segment(SegmentRoot::from_bytes([3; 32]));
    assert!(matches!(check(&chunk, &other), Err(CheckError::OtherRoot { .. })));
}

/// A segment of the vectors, with what its proofs are made from.
fn vector_segment(
    parameters: &ArchiveParameters,
    row: &Value,
    previous: [u8; 32],
) -> (Vec<EncodedPeriod>, SegmentTable) {
    let first = row["first_period"].as_u64().unwrap();
    let numbers = first..first + row["periods"].as_u64().unwrap();
    let periods: Vec<EncodedPeriod> = numbers.map(|number| period(parameters, number)).collect();
    let before = row["bytes_before"].as_str().unwrap().parse().unwrap();
    let table = table_of(parameters, &periods, before, previous);
    (periods, table)
}

#[test]
fn what_the_registry_takes_is_what_the_contracts_tests_have() {
    let vectors: Value =
        serde_json::from_slice(&std::fs::read(data_path("block-proof-vectors.json")).unwrap()).unwrap();
    let parameters = ArchiveParameters {
        chunk_size: vectors["chunk_size"].as_u64().unwrap() as u32,
        segment_periods: vectors["segment_periods"].as_u64().unwrap(),
        ..ArchiveParameters::new(CHAIN_ID, THREADS)
    };
    let (mut previous, mut kinds) = ([0; 32], BTreeMap::new());
    for row in vectors["segments"].as_array().unwrap() {
        let (periods, table) = vector_segment(&parameters, row, previous);
        assert_eq!(table.root().to_string(), row["root"].as_str().unwrap());
        previous = table.root().to_bytes();
        let tree = table.tree();
        for expected in row["proofs"].as_array().unwrap() {
            let (number, thread) = (
                expected["period"].as_u64().unwrap(),
                expected["thread"].as_u64().unwrap() as u8,
            );
            let prover = Prover {
                chain_id: CHAIN_ID,
                period: number,
                entry: &periods[(number - periods[0].period) as usize].entry,
                segment: Some(ClosedSegment {
                    table: &table,
                    tree: &tree,
                }),
            };
            let document = match (number, expected["block_id"].is_null()) {
                (_, true) => prover.miss(thread),
                (5, _) => prover.lost(thread),
                _ => prover.block(thread, slots_of(number)[usize::from(thread)].as_ref().unwrap(), false),
            };
            let document = document.unwrap();
            let proven = check(&document, &TrustedRoot::Segment(table.root())).unwrap();
            *kinds.entry(proven.kind).or_insert(0) += 1;
            let proof = document.registry_proof().unwrap();
            assert_eq!(
                hex::encode(proof),
                expected["proof"].as_str().unwrap(),
                "{number}:{thread}"
            );
            let open = Prover {
                segment: None,
                ..prover
            };
            assert_eq!(open.period().unwrap().registry_proof(), None);
        }
    }
    assert_eq!(kinds.into_keys().collect::<Vec<_>>(), ["block", "lost", "miss"]);
}

#[test]
fn an_operation_shows_the_slot_of_its_block_and_an_open_segment_nothing() {
    let segment = Segment::new();
    let (thread, record) = small_block();
    let block = segment.prover(4).block(thread, &record, false).unwrap();
    let operation = segment.prover(4).operation(thread, &record, 0).unwrap();
    assert!(block.registry_proof().is_some());
    assert_eq!(operation.registry_proof(), block.registry_proof());
    let open = segment.open_prover(4).block(thread, &record, false).unwrap();
    assert_eq!(open.registry_proof(), None);
    assert_eq!(segment.prover(4).period().unwrap().registry_proof(), None);
    assert_eq!(segment.closed().prove_chunk(1).unwrap().registry_proof(), None);
}
