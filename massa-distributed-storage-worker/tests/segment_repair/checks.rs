//! A chunk that others sent: what no tree covers is checked as far as its bytes tell, and who sent what is false is named.

use crate::network::some_node;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::merkle::MerkleTree;
use massa_distributed_storage_exports::network::{PageContent, VerifiedPage};
use massa_distributed_storage_exports::period::{EncodedPeriod, TaggedSignature};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition};
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::{FinishedChunk, SegmentStream};
use massa_distributed_storage_worker::repair::chunk_check::{check_chunk, FalseChunk};
use massa_distributed_storage_worker::repair::chunks::download::ObtainedChunk;
use massa_distributed_storage_worker::repair::chunks::FalsePart;
use massa_models::node::NodeId;
use massa_tests::{Generator, GeneratorConfig};
use std::collections::BTreeSet;
use std::ops::Range;

const SEGMENT_PERIODS: u64 = 8;

/// A segment of chunks of one page, whose blocks reach over one border or two.
struct Segment {
    table: SegmentTable,
    chunks: Vec<FinishedChunk>,
    pages_from: NodeId,
    entry_from: NodeId,
}

impl Segment {
    fn new() -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            seed: 9,
            thread_count: 2,
            miss_rate: 0.2,
            operations: 0..=9,
            payload_share: 1.0,
            payload_bytes: 2_000..=20_000,
            endorsements_per_block: 1,
            stakers: 4,
            ..GeneratorConfig::default()
        });
        let parameters = ArchiveParameters {
            chunk_size: 64 << 10,
            segment_periods: SEGMENT_PERIODS,
            ..generator.parameters()
        };
        let mut stream = SegmentStream::new(&parameters, 1, IndexedObjects::None);
        while generator.period() < SEGMENT_PERIODS {
            generator.next_period();
        }
        for period in SEGMENT_PERIODS..2 * SEGMENT_PERIODS {
            let slots: Vec<Option<BlockRecord>> = generator.next_period();
            let slots: Vec<_> = slots.iter().map(Option::as_ref).collect();
            let encoded = EncodedPeriod::whole(&parameters, period, &slots).unwrap();
            stream.push(&encoded).unwrap();
        }
        let (table, chunks) = stream.finish([1; 32], 0).unwrap();
        Self {
            table,
            chunks,
            pages_from: some_node(),
            entry_from: some_node(),
        }
    }

    /// A chunk as it comes from peers, with these signatures and this entry.
    fn obtained(
        &self,
        chunk: &FinishedChunk,
        signatures: &[TaggedSignature],
        entry: Option<PeriodEntry>,
    ) -> ObtainedChunk {
        let mut bytes = Vec::new();
        signatures.iter().for_each(|tagged| tagged.write(&mut bytes));
        let content = PageContent {
            stored: [&[0], &chunk.pages[0][..]].concat(),
            signatures: bytes,
            path: MerkleTree::new(&chunk.page_roots).path(0).unwrap(),
        };
        ObtainedChunk {
            position: ChunkPosition::new(1, chunk.index).unwrap(),
            chunk: chunk.row,
            pages: vec![VerifiedPage::check(&chunk.row, 0, content, &[]).unwrap()],
            sources: BTreeSet::from([self.pages_from]),
            entry: entry.map(|entry| (self.entry_from, entry)),
        }
    }

    fn check(&self, chunk: &FinishedChunk, signatures: &[TaggedSignature]) -> Result<(), FalseChunk> {
        let entry = chunk.reaching_in.as_ref().map(|into| into.entry.clone());
        check_chunk(&self.table, &self.obtained(chunk, signatures, entry)).map(drop)
    }

    /// Whether the first object that ends in a chunk began before it.
    fn begins_inside_of_an_object(&self, chunk: &FinishedChunk) -> bool {
        let range = self.table.chunk_range(chunk.index);
        self.blocks(chunk)
            .iter()
            .any(|block| block.start < range.start && block.end > range.start)
    }

    /// Where the blocks of the period that reaches into a chunk stand.
    fn blocks(&self, chunk: &FinishedChunk) -> Vec<Range<u64>> {
        let Some(into) = &chunk.reaching_in else {
            return Vec::new();
        };
        let period = self.table.period_range(into.period).unwrap();
        let length = (period.end - period.start) as u32;
        let blocks = (0..2).filter_map(|thread| into.entry.block_range(thread, length));
        let at = |block: Range<u32>| period.start + u64::from(block.start)..period.start + u64::from(block.end);
        blocks.map(at).collect()
    }
}

#[test]
fn what_honest_peers_send_is_taken() {
    let segment = Segment::new();
    assert!(segment.chunks.len() > 8, "{} chunks", segment.chunks.len());
    for chunk in &segment.chunks {
        assert_eq!(
            segment.check(chunk, &chunk.signatures[0]),
            Ok(()),
            "chunk {}",
            chunk.index
        );
    }
    let over_a_border = |chunk: &&FinishedChunk| segment.begins_inside_of_an_object(chunk);
    assert!(segment.chunks.iter().filter(over_a_border).count() > 4);
}

#[test]
fn every_signature_is_checked_whose_object_is_here() {
    let segment = Segment::new();
    let mut unseen = 0;
    for chunk in &segment.chunks {
        let true_ones = &chunk.signatures[0];
        for number in 0..true_ones.len() {
            let mut changed = true_ones.clone();
            changed[number].signature[40] ^= 1;
            let mut missing = true_ones.clone();
            missing.remove(number);
            for (signatures, what) in [(changed, "changed"), (missing, "missing")] {
                let checked = segment.check(chunk, &signatures);
                // Where the first one began is not known, and a number may stand behind it.
                let is_unclear = number == 0 || (number == 1 && what == "missing");
                if is_unclear && checked.is_ok() && segment.begins_inside_of_an_object(chunk) {
                    unseen += 1;
                    continue;
                }
                let part = checked.map_err(|found| found.part);
                let false_part = [FalsePart::Signatures, FalsePart::SignaturesOrEntry];
                assert!(
                    part.is_err_and(|part| false_part.contains(&part)),
                    "chunk {}: signature {number} is {what}",
                    chunk.index
                );
            }
        }
    }
    assert!(unseen > 0, "the first object of some chunk began before it");
}

#[test]
fn a_signature_of_nothing_is_refused() {
    let segment = Segment::new();
    for chunk in &segment.chunks {
        let true_ones = &chunk.signatures[0];
        for last in (0..chunk.pages[0].len()).step_by(7_919) {
            let tagged = TaggedSignature {
                last: last as u16,
                signature: [1; 65],
            };
            if true_ones.iter().any(|known| known.last == tagged.last) {
                continue;
            }
            let mut more = true_ones.clone();
            more.push(tagged);
            more.sort_by_key(|tagged| tagged.last);
            assert!(segment.check(chunk, &more).is_err(), "chunk {}: {last}", chunk.index);
        }
    }
}

/// Offsets are in no hash: here the second block of a period stands elsewhere than its entry says.
#[test]
fn an_entry_with_a_false_offset_is_its_senders_fault_where_the_block_begins_in_the_chunk() {
    let segment = Segment::new();
    let mut refused = 0;
    for chunk in &segment.chunks {
        let Some(into) = &chunk.reaching_in else { continue };
        let [_, second] = &segment.blocks(chunk)[..] else {
            continue;
        };
        let bytes = into.entry.to_bytes();
        for by in [1u32, 4, 100, u32::MAX] {
            let mut changed = bytes.clone();
            let at = changed.len() - 4;
            let offset = u32::from_le_bytes(changed[at..].try_into().unwrap()).wrapping_add(by);
            changed[at..].copy_from_slice(&offset.to_le_bytes());
            let Ok(entry) = PeriodEntry::from_bytes(&changed, 2) else {
                continue;
            };
            let (chain, period) = (segment.table.header().chain_id, into.period);
            assert_eq!(entry.root(chain, period), into.entry.root(chain, period));
            let obtained = segment.obtained(chunk, &chunk.signatures[0], Some(entry));
            let checked = check_chunk(&segment.table, &obtained);
            // Its length and its header are in the chunk.
            if segment.table.chunk_range(chunk.index).contains(&second.start)
                && segment.table.chunk_range(chunk.index).end > second.start + 2_000
            {
                let found = checked.unwrap_err();
                assert_eq!(
                    found.part,
                    FalsePart::Entry,
                    "chunk {}, {by}: {}",
                    chunk.index,
                    found.reason
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 4, "{refused}");
}
