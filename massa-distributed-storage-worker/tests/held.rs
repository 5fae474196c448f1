//! Single chunks: stored when they come from peers, dropped, checked; and what is served of them.

mod common;

use common::tamper::Tamper;
use common::*;
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF};
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, Place};
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, HeldRange, PageContent, VerifiedPage, MAX_HELD_PERIODS, MAX_HELD_RANGES,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::storage_backend::held::PutChunkError;
use massa_distributed_storage_worker::storage_backend::read::{Check, PlaceContent, ReadError};
use massa_distributed_storage_worker::storage_backend::space::disk_usage;
use massa_distributed_storage_worker::storage_backend::writer::{Durability, WriteFault};
use massa_distributed_storage_worker::storage_backend::{rows, PendingRows};
use massa_distributed_storage_worker::{Acknowledge, Ingest, Store, StoreError, StoreOptions};
use massa_models::slot::Slot;
use std::collections::BTreeSet;
use std::sync::Arc;
use tempfile::{tempdir, TempDir};

const PERIODS: u64 = 6;
const CHUNK: ChunkIndex = ChunkIndex(1);
/// About 400 KB a period: four chunks of two pages.
const SHAPE: Shape = Shape {
    miss_one_in: 0,
    operations: 60,
    operation_bytes: 2_000,
};

/// A store with a tamperer, and how it is served.
struct Node {
    _directory: TempDir,
    store: Arc<Store>,
    tamper: Tamper,
    server: StoreServer,
}

/// A chain, a node that keeps every chunk and one that keeps `kept` of each period.
struct Fixture {
    blocks: Vec<BlockRecord>,
    full: Node,
    part: Node,
}

fn chain() -> Chain {
    let mut chain = Chain::new(4, 7);
    chain.parameters.chunk_size = 2 * PAGE_BYTES as u32;
    chain.parameters.segment_periods = 2;
    chain
}

impl Node {
    fn new(
        chain: &Chain,
        options: impl FnOnce(&mut StoreOptions),
        kept: &'static [u32],
        blocks: &[BlockRecord],
    ) -> Self {
        let directory = tempdir().unwrap();
        let tamper = Tamper::default();
        let mut settings = StoreOptions::new(directory.path());
        settings.writer = Box::new(tamper.clone());
        options(&mut settings);
        let store = Arc::new(Store::open(settings, chain.parameters.clone()).unwrap());
        let keep = Box::new(|_, chunks: &[ChunkEntry]| (0..chunks.len() as u32).map(|at| kept.contains(&at)).collect());
        let mut ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachPeriod, keep)
            .unwrap()
            .0;
        add_all(&mut ingest, blocks).unwrap();
        let assigned = Arc::new(|_, chunks: &[ChunkEntry]| (0..chunks.len()).map(|at| at < 2).collect());
        Self {
            _directory: directory,
            server: StoreServer::new(Arc::clone(&store), 10, assigned),
            store,
            tamper,
        }
    }

    fn manifest(&self, period: u64) -> Manifest {
        self.store.archived_manifest(period).unwrap()
    }

    fn entry(&self, period: u64, chunk: ChunkIndex) -> ChunkEntry {
        self.manifest(period).chunks[chunk.0 as usize]
    }

    fn page(&self, period: u64, chunk: ChunkIndex, page: u32) -> Answer<PageContent> {
        self.server.page(period, chunk, &self.entry(period, chunk).id, page)
    }

    /// Every page of a chunk, as they are fetched from this node.
    fn fetch(&self, period: u64, chunk: ChunkIndex) -> Vec<PageContent> {
        let entry = self.entry(period, chunk);
        let pages = (0..entry.page_count()).map(|page| match self.page(period, chunk, page) {
            Answer::Found(content) => VerifiedPage::check(&entry, page, content).unwrap().into_content(),
            answer => panic!("{answer:?}"),
        });
        pages.collect()
    }

    /// Carries out what the tamperer was told: any write will do.
    fn write(&self) {
        let rows = PendingRows {
            awaited: vec![(Slot::new(1 << 40, 0), None)],
            ..PendingRows::default()
        };
        self.store.put_pending(&rows, Durability::Buffered).unwrap();
    }

    /// Changes one byte of a page.
    fn damage_page(&self, period: u64, chunk: ChunkIndex, page: u32) {
        self.tamper.look();
        self.write();
        let key = rows::page_key(period, chunk.0, page).to_vec();
        let is_page = |row: &&(String, Vec<u8>, Vec<u8>)| row.0 == STORAGE_PAGES_CF && row.1 == key;
        let mut row = self.tamper.rows().iter().find(is_page).unwrap().clone();
        row.2[100] ^= 1;
        self.tamper.put(row);
        self.write();
    }
}

impl Fixture {
    fn new() -> Self {
        let mut chain = chain();
        let blocks = chain.blocks(PERIODS as usize, SHAPE);
        let full = Node::new(&chain, |_| {}, &[0, 1, 2, 3, 4, 5, 6, 7], &blocks);
        let part = Node::new(&chain, |_| {}, &[0], &blocks);
        assert!(full.manifest(2).chunks.len() >= 3);
        Self { blocks, full, part }
    }

    /// The part node obtains a chunk.
    fn put(&self, period: u64, chunk: ChunkIndex) -> Result<(), PutChunkError> {
        let pages = self.full.fetch(period, chunk);
        self.part
            .store
            .put_chunk(period, chunk, self.full.entry(period, chunk), &pages)
    }
}

#[test]
fn a_chunk_that_was_fetched_is_held_and_read_like_one_that_was_archived() {
    let fixture = Fixture::new();
    for period in 0..PERIODS {
        assert_eq!(fixture.part.store.held_chunks(period).unwrap(), [0]);
        for chunk in (1..fixture.full.manifest(period).chunks.len() as u32).map(ChunkIndex) {
            fixture.put(period, chunk).unwrap();
            fixture.part.store.check_chunk(period, chunk).unwrap();
        }
        assert_eq!(
            fixture.part.store.held_chunks(period).unwrap(),
            fixture.full.store.held_chunks(period).unwrap()
        );
    }
    for block in &fixture.blocks {
        assert_holds(&fixture.part.store, block, Check::Merkle);
    }
    // Random keys have no valid signatures; everything else is right, object counts included.
    let report = fixture.part.store.verify(1, &|_, _| {}).unwrap();
    let wrong = report
        .damages
        .iter()
        .filter(|damage| !damage.reason.contains("does not parse"));
    assert_eq!(wrong.count(), 0, "{:?}", report.damages);
}

#[test]
fn held_chunks_are_listed_in_archive_order() {
    let fixture = Fixture::new();
    fixture.put(2, CHUNK).unwrap();
    let mut found = Vec::new();
    let store = &fixture.part.store;
    store
        .for_each_held(1, |period, chunk| {
            found.push((period, chunk.0));
            found.len() < 4
        })
        .unwrap();
    assert_eq!(found, [(1, 0), (2, 0), (2, 1), (3, 0)]);
    assert_eq!(
        store.next_held_chunk(2, ChunkIndex(1)).unwrap(),
        Some((2, ChunkIndex(1)))
    );
    assert_eq!(
        store.next_held_chunk(2, ChunkIndex(2)).unwrap(),
        Some((3, ChunkIndex(0)))
    );
    assert_eq!(store.next_held_chunk(PERIODS, ChunkIndex(0)).unwrap(), None);
    assert!(store.held_chunks(PERIODS).unwrap().is_empty());
}

#[test]
fn only_the_chunk_of_the_archived_manifest_is_stored_and_only_whole() {
    let fixture = Fixture::new();
    let (full, part) = (&fixture.full, &fixture.part.store);
    let (entry, pages) = (full.entry(2, CHUNK), full.fetch(2, CHUNK));
    let put = |period, chunk, entry, pages: &[PageContent]| part.put_chunk(period, chunk, entry, pages);
    let changed = |change: &dyn Fn(&mut Vec<PageContent>)| {
        let mut pages = pages.clone();
        change(&mut pages);
        put(2, CHUNK, entry, &pages)
    };

    let not_archived = put(PERIODS, CHUNK, entry, &pages);
    assert!(matches!(
        not_archived,
        Err(PutChunkError::Read(ReadError::NotArchived { .. }))
    ));
    let elsewhere = [
        put(2, ChunkIndex(2), entry, &pages),
        put(2, ChunkIndex(200), entry, &pages),
        put(3, CHUNK, entry, &pages),
        put(2, CHUNK, full.entry(3, CHUNK), &full.fetch(3, CHUNK)),
    ];
    for result in elsewhere {
        assert!(matches!(result, Err(PutChunkError::OtherChunk { .. })), "{result:?}");
    }
    let not_the_pages = [
        changed(&|pages| drop(pages.pop())),
        changed(&|pages| pages.push(pages[0].clone())),
        changed(&|pages| pages.swap(0, 1)),
        changed(&|pages| pages[0].bytes[0] ^= 1),
        changed(&|pages| pages[1].bytes.truncate(1)),
        changed(&|pages| pages[0].signatures.truncate(64)),
        // Signatures are not covered by the tree: their number is checked against the next page and the manifest.
        changed(&|pages| pages[0].signatures.truncate(65)),
        changed(&|pages| pages[1].objects_before += 1),
        changed(&|pages| pages.iter_mut().for_each(|page| page.objects_before += 1000)),
        changed(&|pages| pages[0].objects_before = u32::MAX),
    ];
    for (result, case) in not_the_pages.into_iter().zip(0..) {
        assert!(
            matches!(result, Err(PutChunkError::Pages { .. })),
            "case {case}: {result:?}"
        );
    }
    assert_eq!(part.held_chunks(2).unwrap(), [0]);
    put(2, CHUNK, entry, &pages).unwrap();
}

/// No tree covers signatures: a peer could send the right pages with made-up ones, and this node would hand them on.
#[test]
fn made_up_signatures_of_blocks_that_lie_in_the_chunk_are_found_before_it_is_stored() {
    let blocks = upstream_blocks();
    let mut parameters = parameters_from(&blocks[0]);
    parameters.chunk_size = 2 * PAGE_BYTES as u32;
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &parameters);
    add_all(&mut ingest(&store), &blocks[..31 + 32]).unwrap();
    let server = StoreServer::new(Arc::clone(&store), 1, Arc::new(|_, chunks| vec![true; chunks.len()]));
    let period = parameters.first_period;
    let manifest = store.archived_manifest(period).unwrap();
    assert!(manifest.chunks.len() > 1);

    let mut checked = 0;
    for (entry, chunk) in manifest.chunks.iter().zip((0..).map(ChunkIndex)) {
        let pages = (0..entry.page_count()).map(|page| match server.page(period, chunk, &entry.id, page) {
            Answer::Found(content) => content,
            answer => panic!("{answer:?}"),
        });
        let mut pages: Vec<PageContent> = pages.collect();
        let found = store.check_chunk_signatures(period, chunk, &pages).unwrap();
        checked += found;
        if found > 0 {
            // One signature of the first block that begins here, wherever its object ends.
            let begins = |place: &&Place| {
                let start = chunk.0 * manifest.header.chunk_size;
                matches!(place, Place::Block { offset, .. } if *offset >= start)
            };
            let Some(Place::Block { objects_before, .. }) = manifest.places.iter().find(begins) else {
                panic!("a block begins in the chunk");
            };
            let position = (objects_before - pages[0].objects_before) as usize * 65 + 20;
            let lengths: Vec<usize> = pages.iter().map(|page| page.signatures.len()).collect();
            let (page, at) = if position < lengths[0] {
                (0, position)
            } else {
                (1, position - lengths[0])
            };
            pages[page].signatures[at] ^= 1;
            let refused = store.check_chunk_signatures(period, chunk, &pages);
            assert!(matches!(refused, Err(PutChunkError::Pages { .. })), "{refused:?}");
        }
    }
    assert!(checked > 10, "{checked} blocks lie in one chunk");
}

#[test]
fn a_chunk_that_does_not_fit_the_allocation_is_refused_and_a_failed_write_stops_writes() {
    let mut chain = chain();
    let blocks = chain.blocks(2, SHAPE);
    let full = Node::new(&chain, |_| {}, &[0, 1, 2, 3, 4, 5, 6, 7], &blocks);
    let (entry, pages) = (full.entry(1, CHUNK), full.fetch(1, CHUNK));

    let part = Node::new(&chain, |options| options.capacity_bytes = Some(6 << 20), &[0], &blocks);
    let mut refused = None;
    for _ in 0..200 {
        refused = part.store.put_chunk(1, CHUNK, entry, &pages).err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(
        refused,
        Some(PutChunkError::Store(StoreError::AllocationUsedUp { .. }))
    ));
    assert!(disk_usage(part.store.path()).unwrap() <= 6 << 20);

    let part = Node::new(&chain, |_| {}, &[0], &blocks);
    part.tamper.fail(
        part.tamper.writes(),
        1,
        common::tamper::Failure::Before,
        WriteFault::NoSpace,
    );
    let failed = part.store.put_chunk(1, CHUNK, entry, &pages);
    assert!(matches!(failed, Err(PutChunkError::Store(StoreError::Refusing(_)))));
    assert_eq!(part.store.held_chunks(1).unwrap(), [0]);
    part.store.recover().unwrap();
    part.store.put_chunk(1, CHUNK, entry, &pages).unwrap();
}

#[test]
fn a_dropped_chunk_is_gone_and_its_neighbours_stay() {
    let fixture = Fixture::new();
    let store = &fixture.full.store;
    store.drop_chunk(2, CHUNK).unwrap();
    assert_eq!(store.held_chunks(2).unwrap()[..2], [0, 2]);
    assert!(matches!(
        store.check_chunk(2, CHUNK),
        Err(ReadError::NotKept { period: 2, chunk: 1 })
    ));
    for chunk in [0, 2].map(ChunkIndex) {
        store.check_chunk(2, chunk).unwrap();
    }
    // Not a row of it is left, and what was never held is passed over.
    let report = store.verify(1, &|_, _| {}).unwrap();
    assert!(report
        .damages
        .iter()
        .all(|damage| damage.family != STORAGE_CHUNKS_PREFIX));
    fixture.full.tamper.look();
    fixture.full.write();
    let prefix = rows::chunk_key(2, 1);
    assert!(!fixture.full.tamper.rows().iter().any(|row| row.1.starts_with(&prefix)));
    store.drop_chunks(&[(2, CHUNK), (77, CHUNK)]).unwrap();
}

#[test]
fn the_space_of_dropped_chunks_is_returned() {
    let mut chain = chain();
    let blocks = chain.blocks(30, SHAPE);
    let node = Node::new(&chain, |_| {}, &[0, 1, 2, 3, 4, 5, 6, 7], &blocks);
    node.store.flush().unwrap();
    let before = disk_usage(node.store.path()).unwrap();
    let mut chunks = Vec::new();
    node.store
        .for_each_held(0, |period, chunk| {
            if chunk.0 > 0 {
                chunks.push((period, chunk));
            }
            true
        })
        .unwrap();
    let dropped: u64 = chunks
        .iter()
        .map(|(period, chunk)| u64::from(node.entry(*period, *chunk).length))
        .sum();
    node.store.drop_chunks(&chunks).unwrap();
    let after = disk_usage(node.store.path()).unwrap();
    assert!(
        before > after + dropped * 9 / 10,
        "{before} bytes, {after} after {dropped} were dropped"
    );
}

#[test]
fn damage_is_found_by_the_scrub_never_served_and_replaced_by_what_is_fetched() {
    let fixture = Fixture::new();
    fixture.put(2, CHUNK).unwrap();
    let part = &fixture.part;
    // The upper tree is in memory now, damage must be found nevertheless.
    assert!(matches!(part.page(2, CHUNK, 1), Answer::Found(_)));
    part.damage_page(2, CHUNK, 1);

    assert!(matches!(part.store.check_chunk(2, CHUNK), Err(ReadError::Damaged(_))));
    assert_eq!(part.page(2, CHUNK, 1), Answer::NotHeld);
    assert!(matches!(part.page(2, CHUNK, 0), Answer::Found(_)));

    fixture.put(2, CHUNK).unwrap();
    part.store.check_chunk(2, CHUNK).unwrap();
    assert_eq!(part.fetch(2, CHUNK), fixture.full.fetch(2, CHUNK));
}

#[test]
fn pages_are_served_with_the_path_to_the_chunk_id() {
    let fixture = Fixture::new();
    for period in 0..PERIODS {
        for (entry, chunk) in fixture.full.manifest(period).chunks.iter().zip((0..).map(ChunkIndex)) {
            let pages = fixture.full.fetch(period, chunk);
            assert_eq!(pages.len(), entry.page_count() as usize);
            let length: usize = pages.iter().map(|page| page.bytes.len()).sum();
            assert_eq!(length, entry.length as usize);
        }
    }
}

#[test]
fn what_is_not_here_is_answered_with_the_reason() {
    let fixture = Fixture::new();
    let (full, part) = (&fixture.full, &fixture.part);
    let id = full.entry(2, CHUNK).id;
    assert_eq!(part.page(2, CHUNK, 0), Answer::NotHeld);
    assert_eq!(part.page(2, ChunkIndex(0), 99), Answer::NotHeld);
    assert_eq!(part.server.page(2, ChunkIndex(999), &id, 0), Answer::NotHeld);
    assert_eq!(part.server.page(PERIODS, CHUNK, &id, 0), Answer::NotYet);
    assert_eq!(part.server.page(u64::MAX, CHUNK, &id, 0), Answer::NotYet);
    assert_eq!(part.server.manifest(PERIODS), Answer::NotYet);
    // Another chunk than the one expected there is not held, whether its tree is in memory or not.
    let other = ChunkId::from_bytes([7; 32]);
    assert_eq!(full.server.page(2, CHUNK, &other, 0), Answer::NotHeld);
    assert!(matches!(full.page(2, CHUNK, 0), Answer::Found(_)));
    assert_eq!(full.server.page(2, CHUNK, &other, 0), Answer::NotHeld);

    let bytes = full.manifest(2).to_bytes();
    assert_eq!(part.server.manifest(2), Answer::Found(bytes));
}

#[test]
fn what_was_dropped_or_pruned_is_no_longer_served() {
    let mut chain = chain();
    let blocks = chain.blocks(12, SHAPE);
    let all: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7];
    let early = blocks
        .iter()
        .filter(|block| slot_of(block, 4).period < 6)
        .cloned()
        .collect::<Vec<_>>();
    let node = Node::new(&chain, |options| options.retention_periods = 8, all, &early);
    let id = node.entry(1, CHUNK).id;
    assert!(matches!(node.page(1, CHUNK, 0), Answer::Found(_)));
    node.store.drop_chunk(1, CHUNK).unwrap();
    assert_eq!(node.page(1, CHUNK, 0), Answer::NotHeld);
    assert!(matches!(node.page(1, ChunkIndex(0), 0), Answer::Found(_)));

    let mut ingest = ingest(&node.store);
    add_all(&mut ingest, &blocks).unwrap();
    assert_eq!(node.store.floor(), 4);
    assert_eq!(node.server.page(1, CHUNK, &id, 0), Answer::Pruned);
    assert_eq!(node.server.manifest(3), Answer::Pruned);
    assert!(matches!(node.server.manifest(4), Answer::Found(_)));
    assert_eq!(node.server.capabilities().floor, 4);
    let first_held = node.store.next_held_chunk(0, ChunkIndex(0)).unwrap();
    assert_eq!(first_held, Some((4, ChunkIndex(0))));
}

#[test]
fn an_archive_that_began_later_never_had_what_was_before() {
    let blocks = upstream_blocks();
    let mut parameters = parameters_from(&blocks[0]);
    parameters.segment_periods = 2;
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &parameters);
    add_all(&mut ingest(&store), &blocks[..31 + 32]).unwrap();
    let server = StoreServer::new(Arc::clone(&store), 1, Arc::new(|_, chunks| vec![true; chunks.len()]));
    assert_eq!(server.manifest(parameters.first_period - 1), Answer::NotHeld);
    assert!(matches!(server.manifest(parameters.first_period), Answer::Found(_)));
    store.close();
    assert_eq!(server.manifest(parameters.first_period), Answer::NotHeld);
    assert_eq!(server.capabilities().last_period, None);
}

/// Chunk 2 is not assigned to the node: it may drop it, so nobody is told that it holds it.
#[test]
fn held_chunks_that_are_assigned_are_told_as_bits() {
    let fixture = Fixture::new();
    fixture.put(2, CHUNK).unwrap();
    fixture.put(2, ChunkIndex(2)).unwrap();
    let held = fixture.part.server.held(1, 4);
    assert_eq!(held, [vec![0b001], vec![0b011], vec![0b001], vec![0b001]]);
    assert_eq!(fixture.part.server.held(PERIODS - 1, 3), [vec![1], vec![], vec![]]);
    assert_eq!(fixture.part.server.held(0, u32::MAX).len(), MAX_HELD_PERIODS as usize);
    assert_eq!(fixture.part.server.held(u64::MAX, 2), [vec![], Vec::<u8>::new()]);
}

/// Chunks 0 and 1 of each period are assigned to the nodes of these tests; the part node holds chunk 0 only.
#[test]
fn capabilities_claim_the_periods_of_which_all_assigned_chunks_are_held() {
    let fixture = Fixture::new();
    let range = |first_period, last_period| HeldRange {
        first_period,
        last_period,
    };
    let full = fixture.full.server.capabilities();
    assert_eq!(
        (full.allocated_storage_gb, full.floor, full.last_period),
        (10, 0, Some(PERIODS - 1))
    );
    assert_eq!(full.ranges, [range(0, PERIODS - 1)]);
    let part = &fixture.part.server;
    // Genesis blocks are small: period 0 has one chunk.
    assert_eq!(part.capabilities().ranges, [range(0, 0)]);

    for period in [2, 3, 5] {
        fixture.put(period, CHUNK).unwrap();
    }
    assert_eq!(part.capabilities().ranges, [range(0, 0), range(2, 3), range(5, 5)]);
    fixture.part.store.drop_chunk(3, CHUNK).unwrap();
    assert_eq!(part.capabilities().ranges, [range(0, 0), range(2, 2), range(5, 5)]);
    part.assignment_changed();
    while part.refresh(1) {}
    assert_eq!(part.capabilities().ranges, [range(0, 0), range(2, 2), range(5, 5)]);
}

#[test]
fn only_the_newest_ranges_are_claimed() {
    let mut chain = Chain::new(2, 3);
    chain.parameters.segment_periods = 2;
    let empty = Shape {
        miss_one_in: 0,
        operations: 0,
        operation_bytes: 0,
    };
    let periods = 2 * MAX_HELD_RANGES as u64 + 20;
    let blocks = chain.blocks(periods as usize, empty);
    let node = Node::new(&chain, |_| {}, &[0], &blocks);
    for period in (0..periods).step_by(2) {
        node.store.drop_chunk(period, ChunkIndex(0)).unwrap();
    }
    let ranges = node.server.capabilities().ranges;
    assert_eq!(ranges.len(), MAX_HELD_RANGES);
    let last = ranges.last().unwrap();
    assert_eq!((last.first_period, last.last_period), (periods - 1, periods - 1));
    assert!(ranges.windows(2).all(|pair| pair[0].last_period < pair[1].first_period));
}

#[test]
fn blocks_can_be_put_together_again_from_what_is_served() {
    let fixture = Fixture::new();
    let period = 3;
    let chunks = fixture.full.manifest(period).chunks.len() as u32;
    for chunk in (1..chunks).map(ChunkIndex) {
        fixture.put(period, chunk).unwrap();
    }
    let read: Vec<BlockRecord> = (0..4)
        .filter_map(|thread| {
            match fixture
                .part
                .store
                .place(Slot::new(period, thread), Check::Merkle)
                .unwrap()
            {
                PlaceContent::Block(record) => Some(record),
                PlaceContent::Miss => None,
            }
        })
        .collect();
    let of_period: BTreeSet<Vec<u8>> = fixture
        .blocks
        .iter()
        .filter(|block| slot_of(block, 4).period == period)
        .map(|block| block.as_bytes().to_vec())
        .collect();
    assert_eq!(
        read.iter()
            .map(|record| record.as_bytes().to_vec())
            .collect::<BTreeSet<_>>(),
        of_period
    );
}
