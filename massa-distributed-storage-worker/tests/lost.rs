//! Periods that nobody can complete: when they are taken for lost, how they are entered, and how a node follows an accepted
//! segment root that is not its own.

mod common;

use common::tamper::{Failure, Tamper};
use common::{add_all, id_of, keep_all, slot_of};
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::network::{Answer, ArchiveServer, FetchTarget, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::proof_document::Subject;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::{ArchiveParameters, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::ingest::OpenSegment;
use massa_distributed_storage_worker::lost::{
    candidate_root, segment_header, FinalSegments, LossPlan, LossView, NotLost,
};
use massa_distributed_storage_worker::proofs::{prove_lost, prove_miss, prove_period};
use massa_distributed_storage_worker::refetch::{RefetchAction, RefetchPlan, RefetchView, Wanted};
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::storage_backend::read::{Check, PlaceContent, ReadError};
use massa_distributed_storage_worker::storage_backend::writer::WriteFault;
use massa_distributed_storage_worker::{Acknowledge, Ingest, Store, StoreOptions};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_tests::{Generator, GeneratorConfig};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const THREADS: u8 = 4;
/// Segments 0 (periods 1 to 3), 1 (4 to 7), 2 (8 to 11), 3 (12 to 15).
const SEGMENT_PERIODS: u64 = 4;
const PERIODS: u64 = 18;
/// Of segment 1.
const LOST: u64 = 5;
const SEGMENT: u64 = 1;
const PATIENCE: Duration = Duration::from_secs(2);

struct Chain {
    parameters: ArchiveParameters,
    periods: Vec<Vec<Option<BlockRecord>>>,
}

impl Chain {
    fn new(seed: u64, miss_rate: f64) -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            seed,
            thread_count: THREADS,
            miss_rate,
            operations: 0..=3,
            endorsements_per_block: 0,
            ..GeneratorConfig::default()
        });
        let parameters = ArchiveParameters {
            chunk_size: 1 << 16,
            segment_periods: SEGMENT_PERIODS,
            ..generator.parameters()
        };
        let periods = (0..PERIODS).map(|_| generator.next_period()).collect();
        Self { parameters, periods }
    }

    fn blocks(&self) -> impl Iterator<Item = &BlockRecord> {
        self.periods.iter().flatten().flatten()
    }

    fn places(&self, period: u64) -> Vec<Option<&BlockRecord>> {
        self.periods[period as usize - 1].iter().map(Option::as_ref).collect()
    }

    fn ids(&self, period: u64) -> Vec<Option<BlockId>> {
        let id = |record: Option<&BlockRecord>| record.map(|record| id_of(record, THREADS));
        self.places(period).into_iter().map(id).collect()
    }

    fn encoded(&self, period: u64) -> EncodedPeriod {
        EncodedPeriod::new(&self.parameters, period, &self.places(period)).unwrap()
    }

    fn lost(&self, period: u64) -> Manifest {
        Manifest::lost(&self.parameters, period, &self.ids(period))
    }

    /// The block that nobody has: the first of its period.
    fn missing(&self) -> &BlockRecord {
        self.places(LOST).into_iter().flatten().next().unwrap()
    }

    fn without_missing(&self) -> impl Iterator<Item = &BlockRecord> {
        let missing = slot_of(self.missing(), THREADS);
        self.blocks().filter(move |record| slot_of(record, THREADS) != missing)
    }
}

struct Node {
    directory: TempDir,
    tamper: Tamper,
    store: Arc<Store>,
    ingest: Ingest,
}

impl Node {
    fn new<'a>(chain: &Chain, blocks: impl Iterator<Item = &'a BlockRecord>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (tamper, store, ingest) = open(&directory, &chain.parameters);
        let mut node = Self {
            directory,
            tamper,
            store,
            ingest,
        };
        add_all(&mut node.ingest, blocks).unwrap();
        node
    }

    /// As if its process had been killed.
    fn reopened(self) -> Self {
        let Self {
            directory,
            store,
            ingest,
            ..
        } = self;
        let parameters = store.parameters().clone();
        store.close();
        drop(ingest);
        let (tamper, store, ingest) = open(&directory, &parameters);
        Self {
            directory,
            tamper,
            store,
            ingest,
        }
    }

    fn root(&self, segment: u64) -> Option<SegmentRoot> {
        self.store.segment_root(segment).unwrap()
    }

    fn assert_sound(&self, lost_periods: u64) {
        let report = self.store.verify(2, &|_, _| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.damages);
        assert_eq!(report.lost_periods, lost_periods);
    }
}

fn open(directory: &TempDir, parameters: &ArchiveParameters) -> (Tamper, Arc<Store>, Ingest) {
    let tamper = Tamper::default();
    let options = StoreOptions {
        writer: Box::new(tamper.clone()),
        ..StoreOptions::new(directory.path())
    };
    let store = Arc::new(Store::open(options, parameters.clone()).unwrap());
    let ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
        .unwrap()
        .0;
    (tamper, store, ingest)
}

// Ids.

/// No chain of this seed has a miss beside the lost block: links alone tell every id.
#[test]
fn the_ids_of_a_period_are_derived_from_the_links_of_later_blocks() {
    let chain = Chain::new(1, 0.0);
    let node = Node::new(&chain, chain.without_missing());
    let open = node.ingest.open_segment().unwrap().unwrap();
    assert_eq!(open.segment, SEGMENT);
    assert_eq!(open.periods, [(LOST, Some(chain.ids(LOST)))]);
    let node = node.reopened();
    assert_eq!(node.ingest.open_segment().unwrap().unwrap(), open);
}

#[test]
fn a_segment_is_only_looked_at_when_the_next_one_has_begun() {
    let chain = Chain::new(1, 0.0);
    let begun = |record: &&BlockRecord| slot_of(record, THREADS).period <= 8;
    let node = Node::new(&chain, chain.without_missing().filter(begun));
    assert_eq!(node.ingest.open_segment().unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Misses below or above the lost block leave its slot open, unless the node's consensus said where it is.
    #[test]
    fn ids_are_derived_right_or_not_at_all_and_always_where_the_header_is_known(
        seed in 0u64..1_000_000,
        place in 0usize..40,
        knows_header in any::<bool>(),
        first in any::<bool>(),
    ) {
        let chain = Chain::new(seed, 0.4);
        let blocks: Vec<&BlockRecord> = chain.blocks().filter(|record| slot_of(record, THREADS).period <= 10).collect();
        let missing = blocks[place % blocks.len()];
        let slot = slot_of(missing, THREADS);
        let others = chain.blocks().filter(|record| slot_of(record, THREADS) != slot);
        let mut node = Node::new(&chain, std::iter::empty());
        let note = |node: &mut Node| {
            let parent = missing.view(THREADS).unwrap().same_thread_parent();
            node.ingest.note_header(slot, id_of(missing, THREADS), parent).unwrap();
        };
        if knows_header && first {
            note(&mut node);
        }
        add_all(&mut node.ingest, others).unwrap();
        if knows_header && !first {
            note(&mut node);
        }
        let node = node.reopened();
        let mut lost = 0;
        if let Some(open) = node.ingest.open_segment().unwrap() {
            for (period, ids) in &open.periods {
                if let Some(ids) = ids {
                    prop_assert_eq!(ids, &chain.ids(*period));
                    lost += 1;
                }
            }
            let later = open.segment > chain.parameters.segment_of(slot.period);
            prop_assert!(!knows_header || later || lost > 0, "{open:?}");
        }
        // What is not lost is archived, below and above, if the header is known.
        let complete = (1..=10).all(|period| period == slot.period || node.store.manifest(period).unwrap().is_some());
        let settled = chain.blocks().any(|record| {
            let later = slot_of(record, THREADS);
            later.thread == slot.thread && later.period > 10
        });
        prop_assert!(!knows_header || !settled || complete || any_thread_unsettled(&chain), "{slot}");
        // The block comes after all: nothing is different.
        let mut node = node;
        node.ingest.add(missing.clone()).unwrap();
        if let Some(manifest) = node.store.manifest(slot.period).unwrap() {
            prop_assert_eq!(manifest.root(), chain.encoded(slot.period).manifest.root());
        }
    }
}

/// Whether some thread has no block after period 10, so that its last misses are not known to be ones.
fn any_thread_unsettled(chain: &Chain) -> bool {
    (0..THREADS).any(|thread| {
        let later = |record: &BlockRecord| {
            let slot = slot_of(record, THREADS);
            slot.thread == thread && slot.period > 10
        };
        !chain.blocks().any(later)
    })
}

// When.

#[test]
fn a_period_is_taken_for_lost_when_the_window_is_over_no_root_is_accepted_and_nobody_has_it() {
    let ids: Vec<Option<BlockId>> = Chain::new(1, 0.0).ids(LOST);
    let open = |ids: Option<&Vec<_>>| OpenSegment {
        segment: SEGMENT,
        periods: vec![(LOST, ids.cloned())],
    };
    let other = SegmentRoot::from_bytes([1; 32]);
    // Round 2 is open in periods 8 to 11, its answers are taken until 10.
    let cases = [
        (11, None, Some(&ids), true, Ok(vec![(LOST, ids.clone())])),
        (10, None, Some(&ids), true, Err(NotLost::WindowOpen)),
        (11, Some(other), Some(&ids), true, Err(NotLost::Accepted)),
        (11, None, None, true, Err(NotLost::IdsUnknown(LOST))),
        (11, None, Some(&ids), false, Err(NotLost::NotAsked(LOST))),
    ];
    for (period, accepted, known, nobody, expected) in cases {
        let final_segments = FinalSegments {
            period,
            round_periods: SEGMENT_PERIODS,
            accepted: Arc::new(accepted.map(|root| (SEGMENT, root)).into_iter().collect()),
        };
        let view = LossView {
            now: Instant::now(),
            final_segments: &final_segments,
            open: Some(&open(known)),
            no_holder_since: &|of, given, _| of == LOST && given == ids && nobody,
        };
        assert_eq!(LossPlan::default().decide(&view), expected, "period {period}");
    }
}

#[test]
fn peers_are_asked_since_the_moment_at_which_the_window_was_over() {
    let ids: Vec<Option<BlockId>> = Chain::new(1, 0.0).ids(LOST);
    let open = OpenSegment {
        segment: SEGMENT,
        periods: vec![(LOST, Some(ids))],
    };
    let start = Instant::now();
    let mut plan = LossPlan::default();
    let mut decide = |seconds: u64, period: u64, asked: u64| {
        let final_segments = FinalSegments {
            period,
            round_periods: SEGMENT_PERIODS,
            accepted: Arc::default(),
        };
        let asked = start + Duration::from_secs(asked);
        plan.decide(&LossView {
            now: start + Duration::from_secs(seconds),
            final_segments: &final_segments,
            open: Some(&open),
            no_holder_since: &|_, _, since| asked >= since,
        })
        .is_ok()
    };
    assert!(!decide(0, 10, 0));
    assert!(!decide(5, 11, 4), "asked before the window was over");
    assert!(!decide(9, 11, 4));
    assert!(decide(10, 12, 6));
}

// Entered.

#[test]
fn a_lost_period_keeps_its_ids_says_so_and_later_segments_have_roots() {
    let chain = Chain::new(2, 0.2);
    let mut node = Node::new(&chain, chain.without_missing());
    let ids = chain.ids(LOST);
    let expected = candidate_root(&node.store, SEGMENT, &[(LOST, ids.clone())])
        .unwrap()
        .unwrap();
    assert_eq!((node.root(0).is_some(), node.root(SEGMENT)), (true, None));

    let progress = node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
    assert_eq!(progress.lost, [LOST]);
    assert_eq!(progress.segments[0], (SEGMENT, expected));
    assert!(progress.segments.len() >= 3, "{:?}", progress.segments);

    for node in [node.reopened()] {
        assert_eq!(node.root(SEGMENT), Some(expected));
        assert!(node.root(SEGMENT + 2).is_some());
        assert_eq!(node.ingest.open_segment().unwrap(), None);
        assert!(node.ingest.missing(64).periods.iter().all(|(period, _)| *period > 12));
        assert_eq!(node.store.archived_manifest(LOST).unwrap(), chain.lost(LOST));
        assert!(matches!(
            node.store.period(LOST, Check::Merkle),
            Err(ReadError::LostPeriod { period: LOST })
        ));
        for (thread, place) in chain.places(LOST).into_iter().enumerate() {
            let slot = Slot::new(LOST, thread as u8);
            let Some(record) = place else {
                assert_eq!(node.store.place(slot, Check::Meaning).unwrap(), PlaceContent::Miss);
                prove_miss(&node.store, slot).unwrap();
                continue;
            };
            let id = id_of(record, THREADS);
            assert_eq!(node.store.find_block(&id).unwrap(), slot);
            let error = node.store.place(slot, Check::Meaning).unwrap_err();
            assert!(matches!(error, ReadError::LostBlock { slot: of, id: found } if (of, found) == (slot, id)));
            assert!(error.to_string().contains(&id.to_string()) && error.to_string().contains("lost"));
            for operation in record.view(THREADS).unwrap().operation_ids() {
                assert!(matches!(
                    node.store.find_operation(&operation),
                    Err(ReadError::NotFound(_))
                ));
            }
            let proof = prove_lost(&node.store, slot).unwrap();
            assert!(matches!(proof.subject, Subject::Lost(ref lost) if lost.block_id == id));
            assert_eq!(proof.segment_root.0, expected.to_bytes());
        }
        prove_period(&node.store, LOST).unwrap();
        node.assert_sound(1);
        // What comes later changes nothing.
        let mut node = node;
        assert!(node.ingest.add(chain.missing().clone()).unwrap().known);
        assert_eq!(node.ingest.enter_lost(&chain.lost(LOST)).unwrap().lost, [0; 0]);
        assert_eq!(node.root(SEGMENT), Some(expected));
    }
}

#[test]
fn links_to_a_lost_block_are_answered_by_it() {
    let chain = Chain::new(2, 0.2);
    let mut node = Node::new(&chain, chain.without_missing());
    let missing = (
        slot_of(chain.missing(), THREADS).thread,
        id_of(chain.missing(), THREADS),
    );
    assert!(node.ingest.missing(64).wanted.contains(&missing));
    node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
    assert!(!node.ingest.missing(64).wanted.contains(&missing));
    let node = node.reopened();
    assert!(!node.ingest.missing(64).wanted.contains(&missing));
}

#[test]
fn killed_while_it_is_entered_a_period_is_open_or_lost() {
    let chain = Chain::new(3, 0.0);
    for (failure, is_lost) in [(Failure::Before, false), (Failure::After, true)] {
        let mut node = Node::new(&chain, chain.without_missing());
        let pending = node.ingest.tracker().places(LOST).unwrap().to_vec();
        node.tamper.fail(node.tamper.writes(), 1, failure, WriteFault::NoSpace);
        node.ingest.enter_lost(&chain.lost(LOST)).unwrap_err();

        let mut node = node.reopened();
        assert_eq!(node.store.manifest(LOST).unwrap().is_some(), is_lost);
        let open = node.ingest.tracker().places(LOST).map(<[_]>::to_vec);
        assert_eq!(open, (!is_lost).then_some(pending));
        assert_eq!(node.root(SEGMENT).is_some(), is_lost);
        node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
        assert!(node.root(SEGMENT).is_some());
        node.assert_sound(1);
    }
}

#[test]
fn a_period_that_was_complete_here_is_replaced_with_everything_that_was_derived_from_it() {
    let chain = Chain::new(4, 0.1);
    let lacking = {
        let mut node = Node::new(&chain, chain.without_missing());
        node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
        (SEGMENT..3)
            .map(|segment| node.root(segment).unwrap())
            .collect::<Vec<_>>()
    };
    let mut node = Node::new(&chain, chain.blocks());
    let own = node.root(SEGMENT).unwrap();
    let with_operations = chain.places(LOST).into_iter().flatten();
    let operations: Vec<_> = with_operations
        .flat_map(|record| record.view(THREADS).unwrap().operation_ids().collect::<Vec<_>>())
        .collect();
    assert!(operations.iter().all(|id| node.store.find_operation(id).is_ok()));
    let before = node.store.replaced_count();
    prove_period(&node.store, LOST).unwrap();

    node.ingest.enter_lost(&chain.lost(LOST)).unwrap();

    assert_ne!(node.root(SEGMENT), Some(own));
    assert_ne!(node.store.replaced_count(), before);
    let roots: Vec<_> = (SEGMENT..3).map(|segment| node.root(segment).unwrap()).collect();
    assert_eq!(roots, lacking, "those of a node that never had it");
    assert!(node.store.held_chunks(LOST).unwrap().is_empty());
    for id in &operations {
        assert!(matches!(node.store.find_operation(id), Err(ReadError::NotFound(_))));
    }
    let proof = prove_period(&node.store, LOST).unwrap();
    assert_eq!(proof.segment_root.0, lacking[0].to_bytes(), "no tree of before is kept");
    node.assert_sound(1);
    node.reopened().assert_sound(1);
}

#[test]
fn a_period_that_was_lost_here_is_replaced_by_what_was_accepted() {
    let chain = Chain::new(5, 0.1);
    let whole = Node::new(&chain, chain.blocks());
    let mut node = Node::new(&chain, chain.without_missing());
    node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
    let records: Vec<Option<BlockRecord>> = chain.periods[LOST as usize - 1].clone();
    let root = chain.encoded(LOST).manifest.root();

    let mut other = records.clone();
    *other.iter_mut().find(|record| record.is_some()).unwrap() = None;
    node.ingest.take_period(LOST, root, &other).unwrap_err();
    node.assert_sound(1);
    node.ingest.take_period(LOST, root, &records).unwrap();
    for segment in 0..3 {
        assert_eq!(node.root(segment), whole.root(segment));
    }
    node.reopened().assert_sound(0);
}

#[test]
fn pruning_takes_lost_periods_with_their_segment() {
    let chain = Chain::new(2, 0.2);
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        retention_periods: 4 * SEGMENT_PERIODS,
        ..StoreOptions::new(directory.path())
    };
    let store = Arc::new(Store::open(options, chain.parameters.clone()).unwrap());
    let mut ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
        .unwrap()
        .0;
    add_all(&mut ingest, chain.without_missing()).unwrap();
    ingest.enter_lost(&chain.lost(LOST)).unwrap();
    let newest = store.last_period().unwrap().unwrap();
    store.prune(newest + 3 * SEGMENT_PERIODS).unwrap().unwrap();
    assert!(matches!(store.manifest(LOST), Err(ReadError::Pruned { .. })));
    assert!(store.verify(1, &|_, _| {}).unwrap().is_clean());
    assert!(store.segment_root(SEGMENT).unwrap().is_some());
}

#[test]
fn a_lost_period_is_served_as_a_manifest_and_has_nothing_else() {
    let chain = Chain::new(2, 0.2);
    let mut node = Node::new(&chain, chain.without_missing());
    node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
    let server = StoreServer::new(
        Arc::clone(&node.store),
        1,
        Arc::new(|_, chunks: &[_]| vec![true; chunks.len()]),
    );
    assert_eq!(server.manifest(LOST), Answer::Found(chain.lost(LOST).to_bytes()));
    assert_eq!(server.held(LOST, 1), [Vec::<u8>::new()]);
    // Nothing is assigned, so all of it is held.
    while server.refresh(64) {}
    let ranges = server.capabilities().ranges;
    assert!(ranges
        .iter()
        .any(|range| (range.first_period..=range.last_period).contains(&LOST)));
}

// Fetched again.

/// A peer with the manifests that it serves.
struct Peer {
    node: NodeId,
    manifests: BTreeMap<u64, Manifest>,
}

/// Drives a plan against peers that answer at once.
struct Refetching<'a> {
    chain: &'a Chain,
    node: Node,
    plan: RefetchPlan,
    peers: Vec<Peer>,
    accepted: SegmentRoot,
    now: Instant,
    asked: Vec<NodeId>,
    quarantined: Vec<NodeId>,
    waits: Vec<Duration>,
}

impl<'a> Refetching<'a> {
    fn new(chain: &'a Chain, node: Node, peers: Vec<BTreeMap<u64, Manifest>>, accepted: SegmentRoot) -> Self {
        let peer = |manifests| Peer {
            node: NodeId::new(KeyPair::generate(0).unwrap().get_public_key()),
            manifests,
        };
        Self {
            chain,
            plan: RefetchPlan::new(chain.parameters.clone(), PATIENCE),
            node,
            peers: peers.into_iter().map(peer).collect(),
            accepted,
            now: Instant::now(),
            asked: Vec::new(),
            quarantined: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        let own = self.node.root(SEGMENT);
        let header = segment_header(&self.node.store, &BTreeMap::new(), SEGMENT)
            .unwrap()
            .unwrap();
        (own != Some(self.accepted)).then_some(Wanted {
            header,
            accepted: self.accepted,
            own,
        })
    }

    fn tick(&mut self) {
        self.now += Duration::from_millis(250);
        let wanted = self.wanted();
        let open = self.node.ingest.open_segment().unwrap();
        let store = Arc::clone(&self.node.store);
        let own_root = |period| store.period_root(period).unwrap();
        let own_manifest = |period| {
            let lost = |open: &OpenSegment| {
                let (_, ids) = open.periods.iter().find(|(of, _)| *of == period)?;
                Some(Manifest::lost(&self.chain.parameters, period, ids.as_ref()?))
            };
            store.manifest(period).unwrap().or_else(|| open.as_ref().and_then(lost))
        };
        let peer = |peer: &Peer| StoragePeer {
            node: peer.node,
            capabilities: None,
            quarantined: self.quarantined.contains(&peer.node),
        };
        let peers: Vec<StoragePeer> = self.peers.iter().map(peer).collect();
        let view = RefetchView {
            now: self.now,
            peers: &peers,
            holders_of: &|_, chunks| vec![Vec::new(); chunks.len()],
            own_root: &own_root,
            own_manifest: &own_manifest,
        };
        let actions = self.plan.on_tick(wanted.as_ref(), &view);
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: RefetchAction) {
        match action {
            RefetchAction::Fetch { id, target, holders } => self.answer(id, target, &holders),
            RefetchAction::EnterLost(manifest) => drop(self.node.ingest.enter_lost(&manifest).unwrap()),
            RefetchAction::Take { period, root, records } => {
                drop(self.node.ingest.take_period(period, root, &records).unwrap());
            }
            RefetchAction::Quarantine { node, .. } => self.quarantined.push(node),
            RefetchAction::NobodyHas { wait, .. } => self.waits.push(wait),
            RefetchAction::Found { .. } => {}
        }
    }

    fn answer(&mut self, id: u64, target: FetchTarget, holders: &[NodeId]) {
        let peer = self.peers.iter().find(|peer| holders.contains(&peer.node)).unwrap();
        match target {
            FetchTarget::Manifest { period } => {
                if self.asked.last() != Some(&peer.node) {
                    self.asked.push(peer.node);
                }
                match peer.manifests.get(&period) {
                    Some(manifest) => self.plan.on_manifest(id, manifest.clone(), self.now),
                    None => self.plan.on_failed(id, self.now),
                }
            }
            FetchTarget::Pages {
                period,
                chunk,
                entry,
                pages,
            } => {
                let whole = Node::new(self.chain, self.chain.blocks());
                let server = StoreServer::new(Arc::clone(&whole.store), 1, Arc::new(|_, _: &[_]| Vec::new()));
                let from = peer.node;
                for page in pages {
                    let Answer::Found(content) = server.page(period, chunk, &entry.id, page) else {
                        return self.plan.on_failed(id, self.now);
                    };
                    let page = VerifiedPage::check(&entry, page, content).unwrap();
                    self.plan.on_page(id, from, page, self.now);
                }
                self.plan.on_complete(id);
            }
            FetchTarget::Held { .. } => panic!("not asked"),
        }
    }

    fn run(&mut self, ticks: usize) -> bool {
        (0..ticks).any(|_| {
            self.tick();
            self.wanted().is_none()
        })
    }
}

/// Manifests of the segment as they are archived, with the lost one where `lost`.
fn list(chain: &Chain, lost: bool) -> BTreeMap<u64, Manifest> {
    let manifest = |period| {
        let is_lost = lost && period == LOST;
        (
            period,
            if is_lost {
                chain.lost(period)
            } else {
                chain.encoded(period).manifest
            },
        )
    };
    (4..8).map(manifest).collect()
}

fn accepted(chain: &Chain, lost: bool) -> SegmentRoot {
    let mut node = Node::new(chain, chain.blocks());
    if lost {
        node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
    }
    node.root(SEGMENT).unwrap()
}

#[test]
fn a_node_whose_own_lost_form_is_accepted_enters_it_without_asking() {
    let chain = Chain::new(6, 0.0);
    let node = Node::new(&chain, chain.without_missing());
    let mut refetching = Refetching::new(&chain, node, Vec::new(), accepted(&chain, true));
    assert!(refetching.run(8));
    assert_eq!(refetching.asked, []);
    refetching.node.assert_sound(1);
}

#[test]
fn a_node_that_had_the_period_follows_the_list_that_leads_to_the_accepted_root_whoever_lies_before() {
    let chain = Chain::new(6, 0.1);
    let mut false_list = list(&chain, true);
    let ids: Vec<Option<BlockId>> = chain.ids(LOST).into_iter().rev().collect();
    false_list.insert(LOST, Manifest::lost(&chain.parameters, LOST, &ids));
    let mut all_lost = list(&chain, true);
    all_lost.insert(LOST + 1, chain.lost(LOST + 1));
    let peers = vec![
        list(&chain, false),
        false_list,
        all_lost,
        BTreeMap::new(),
        list(&chain, true),
    ];
    let node = Node::new(&chain, chain.blocks());
    let mut refetching = Refetching::new(&chain, node, peers, accepted(&chain, true));
    assert!(refetching.run(40));
    assert_eq!(refetching.asked.len(), 5);
    assert_eq!(
        refetching.quarantined,
        [],
        "a list proves nothing, nobody is blamed for one"
    );
    refetching.node.assert_sound(1);
    assert_eq!(
        refetching.node.store.archived_periods().unwrap().len() as u64,
        refetching.node.store.last_period().unwrap().unwrap()
    );
}

#[test]
fn a_lost_manifest_that_no_accepted_root_covers_is_never_believed() {
    let chain = Chain::new(6, 0.1);
    let node = Node::new(&chain, chain.blocks());
    let other = SegmentRoot::from_bytes([9; 32]);
    let mut refetching = Refetching::new(&chain, node, vec![list(&chain, true); 3], other);
    assert!(!refetching.run(400));
    assert!(!refetching.node.store.manifest(LOST).unwrap().unwrap().is_lost());
    assert_eq!(refetching.quarantined, []);
    // It is asked for less and less often.
    assert!(refetching.waits.len() > 2);
    assert!(refetching
        .waits
        .windows(2)
        .all(|pair| pair[1] == pair[0] * 2 || pair[1] == PATIENCE * 64));
}

#[test]
fn a_period_that_is_otherwise_here_is_fetched_verified_and_replaced() {
    let chain = Chain::new(7, 0.1);
    let mut node = Node::new(&chain, chain.without_missing());
    node.ingest.enter_lost(&chain.lost(LOST)).unwrap();
    let mut refetching = Refetching::new(&chain, node, vec![list(&chain, false)], accepted(&chain, false));
    assert!(refetching.run(40));
    refetching.node.assert_sound(0);
    let expected: Vec<Option<PeriodRoot>> = (4..8)
        .map(|period| Some(chain.encoded(period).manifest.root()))
        .collect();
    let found: Vec<_> = (4..8)
        .map(|period| refetching.node.store.period_root(period).unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_only_missing_is_left_to_repair_for_a_while() {
    let chain = Chain::new(7, 0.1);
    // An honest minority: the others had it, and its root is accepted.
    let node = Node::new(&chain, chain.without_missing());
    let mut refetching = Refetching::new(&chain, node, vec![list(&chain, false)], accepted(&chain, false));
    assert!(!refetching.run(40), "ten seconds");
    assert_eq!(refetching.asked, []);
    assert!(refetching.run(40));
    refetching.node.assert_sound(0);
}
