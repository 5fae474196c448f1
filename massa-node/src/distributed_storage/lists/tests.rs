//! Lists of a store that was filled block by block.

use super::*;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::PeriodRoot;
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::replication::PlacementRules;
use massa_distributed_storage_worker::storage_backend::{EntryRead, SegmentStoreOptions};
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_signature::KeyPair;
use massa_tests::generator::{Generator, GeneratorConfig};
use tempfile::TempDir;

const PERIODS: u64 = 18;

/// A node that holds everything of a chain of two threads, in segments of 4 periods; the newest one is open.
struct World {
    _directory: TempDir,
    store: Arc<SegmentStore>,
    assigned: SharedAssigned,
    own: NodeId,
    accepted: Arc<BTreeMap<u64, SegmentRoot>>,
}

impl World {
    fn new() -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            thread_count: 2,
            miss_rate: 0.2,
            operations: 5..=10,
            payload_share: 1.0,
            payload_bytes: 2_000..=9_000,
            ..GeneratorConfig::default()
        });
        let mut parameters = generator.parameters();
        (parameters.chunk_size, parameters.segment_periods) = (1 << 16, 4);
        let directory = tempfile::tempdir().unwrap();
        let options = SegmentStoreOptions::new(directory.path());
        let store = Arc::new(SegmentStore::open_or_create(options, &parameters).unwrap());
        let options = IngestOptions {
            acknowledge: Acknowledge::EachBlock,
            keep: keep_all(),
            held_back_bytes_max: u64::MAX,
        };
        let (mut ingest, _) = Ingest::open(Arc::clone(&store), options).unwrap();
        for _ in 0..PERIODS {
            for record in generator.next_period().into_iter().flatten() {
                ingest.add(record).unwrap();
                while ingest.is_closing() {
                    ingest.close_slice().unwrap();
                }
            }
        }
        let key = KeyPair::generate(0).unwrap().get_public_key();
        let own = NodeId::new(key);
        let assigned = Assigned::new(PlacementRules::new(1 << 16, 4), own, None).shared();
        let node = StorageNode {
            node_id: Some(own),
            address: Address::from_public_key(&key),
            placement_key: [1; 32],
            allocated_storage_gb: 1,
            filled: true,
            retention_periods: 0,
            listeners: Vec::new(),
        };
        assigned.write().set_nodes(Arc::new(NodeSet::new(vec![node])), 1);
        let accepted = (1..3).map(|segment| (segment, store.segment_root(segment).unwrap().unwrap()));
        let accepted = Arc::new(accepted.collect());
        Self {
            _directory: directory,
            store,
            assigned,
            own,
            accepted,
        }
    }

    fn lists(&self) -> Lists<'_> {
        Lists {
            store: &self.store,
            assigned: &self.assigned,
            own: self.own,
            accepted: Arc::clone(&self.accepted),
        }
    }
}

#[test]
fn segments_are_listed_with_what_the_registry_says_of_them() {
    let world = World::new();
    let segments = world.lists().segments(&ListSegments::default()).unwrap();
    let states: Vec<SegmentState> = segments.iter().map(|segment| segment.state).collect();
    let (anchored, closed, open) = (SegmentState::Anchored, SegmentState::Closed, SegmentState::Open);
    // The registry begins with segment 1, which leads to segment 0.
    assert_eq!(states, [anchored, anchored, anchored, closed, open]);
    assert!(segments[..4]
        .iter()
        .all(|segment| segment.chunks_held == segment.chunks && segment.chunks > 0));
    assert_eq!((segments[0].first_period, segments[0].periods), (1, 3));
    let page = ListSegments { first: 3, limit: 1 };
    assert_eq!(world.lists().segments(&page).unwrap(), segments[3..4]);
}

#[test]
fn a_segment_that_differs_from_the_accepted_one_is_told_with_both_roots() {
    let mut world = World::new();
    let other = SegmentRoot::from_bytes([7; 32]);
    world.accepted = Arc::new(BTreeMap::from([(2, other)]));
    let segment = world
        .lists()
        .segments(&ListSegments { first: 2, limit: 1 })
        .unwrap()
        .remove(0);
    assert_eq!(
        (segment.state, segment.accepted_root),
        (SegmentState::Closed, Some(other))
    );
}

#[test]
fn pages_of_chunks_follow_each_other_whatever_their_size() {
    let world = World::new();
    let lists = world.lists();
    let whole = ListChunks {
        limit: 1_000,
        ..ListChunks::default()
    };
    let all = lists.chunks(&whole).unwrap();
    for limit in [1, 3, 7] {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = lists.chunks(&ListChunks { after, limit, ..whole }).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(ChunkAt {
                segment: last.segment,
                chunk: last.chunk,
            });
            assert!(page.len() as u64 <= limit);
            found.extend(page);
        }
        assert_eq!(found, all, "pages of {limit}");
    }
    let closed = all.iter().filter(|chunk| chunk.state != ChunkState::Filling);
    assert!(closed.clone().all(|chunk| chunk.held && chunk.holders == [world.own]));
    let of_segments = ListChunks {
        first_segment: Some(1),
        last_segment: Some(2),
        ..whole
    };
    let expected: Vec<_> = all
        .iter()
        .filter(|chunk| (1..3).contains(&chunk.segment))
        .cloned()
        .collect();
    assert_eq!(lists.chunks(&of_segments).unwrap(), expected);
}

#[test]
fn chunks_of_a_period_are_those_that_say_so_and_a_filling_one_has_no_id() {
    let world = World::new();
    let lists = world.lists();
    let all = lists
        .chunks(&ListChunks {
            limit: 1_000,
            ..ListChunks::default()
        })
        .unwrap();
    let periods = lists.periods(&ListPeriods::default()).unwrap();
    for period in &periods {
        let of_period = ListChunks {
            period: Some(period.period),
            limit: 1_000,
            ..ListChunks::default()
        };
        let touches = |chunk: &&StorageChunk| {
            (chunk.first_period..=chunk.last_period).contains(&period.period) && chunk.segment == period.segment
        };
        let expected: Vec<StorageChunk> = all.iter().filter(touches).cloned().collect();
        assert_eq!(lists.chunks(&of_period).unwrap(), expected, "period {}", period.period);
        assert_eq!(expected.first().unwrap().chunk, period.first_chunk);
        assert_eq!(expected.last().unwrap().chunk, period.last_chunk);
    }
    let last = all.last().unwrap();
    assert_eq!((last.state, last.chunk_id), (ChunkState::Filling, None));
    assert!(last.length < 1 << 16);
}

#[test]
fn periods_are_as_their_entries_have_them() {
    let world = World::new();
    let lists = world.lists();
    let periods = lists.periods(&ListPeriods::default()).unwrap();
    assert!(periods
        .iter()
        .map(|period| period.period)
        .eq(1..1 + periods.len() as u64));
    assert!(periods.len() as u64 >= PERIODS - 4, "{} periods joined", periods.len());
    for period in &periods {
        let EntryRead::Found(entry) = world.store.entry(period.period).unwrap() else {
            panic!("period {} has no entry", period.period)
        };
        let chain_id = world.store.parameters().chain_id;
        assert_eq!(period.root, entry.root(chain_id, period.period));
        if let Some(blocks) = period.blocks {
            assert_eq!((blocks, period.misses), (entry.block_count() as u64, Some(2 - blocks)));
        }
    }
    assert!(periods[0].blocks.is_none() && periods.last().unwrap().blocks.is_some());
    let page = ListPeriods { first: 6, limit: 5 };
    assert_eq!(lists.periods(&page).unwrap(), periods[5..10]);
    assert_eq!(
        lists.open_period(periods.last().unwrap().period).unwrap(),
        periods.last().cloned()
    );
}

#[test]
fn a_lost_period_is_told_from_a_whole_one_by_its_length() {
    let listed = |length| TablePeriod {
        length,
        root: PeriodRoot::from_bytes([0; 32]),
    };
    let id = |byte| BlockId::new(massa_hash::Hash::from_bytes(&[byte; 32]));
    let lost: [[Option<BlockId>; 2]; 3] = [[Some(id(1)), None], [None, Some(id(1))], [Some(id(1)), Some(id(2))]];
    for ids in lost {
        let entry = PeriodEntry::lost(&ids).unwrap();
        assert!(is_lost(&listed(entry.length()), 2));
    }
    assert!(!is_lost(&listed(3), 2), "a whole period without a block");
    let world = World::new();
    let periods = world.lists().periods(&ListPeriods::default()).unwrap();
    assert!(periods.iter().all(|period| period.state != PeriodState::Lost));
}
