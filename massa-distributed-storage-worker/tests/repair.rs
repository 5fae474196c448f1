//! What repair fetches and what it believes, with peers that are honest and peers that are not.

mod common;

use common::keep_all;
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::merkle::MerkleTree;
use massa_distributed_storage_exports::network::{Capabilities, FetchTarget, PageContent, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex, PeriodRoot};
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::repair::{RepairAction, RepairLimits, RepairPlan, RepairView};
use massa_distributed_storage_worker::{Acknowledge, Ingest, Store, StoreOptions};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_tests::{Generator, GeneratorConfig};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const THREADS: u8 = 4;
const PERIODS: u64 = 12;
const PAGE: usize = 65_536;
/// Ticks after which a repair that makes progress is long done.
const TICKS: usize = 400;

fn some_node() -> NodeId {
    NodeId::new(KeyPair::generate(0).unwrap().get_public_key())
}

/// A chain, and the archive that an honest peer has of it.
struct Chain {
    parameters: ArchiveParameters,
    periods: Vec<Vec<Option<BlockRecord>>>,
    archive: BTreeMap<u64, EncodedPeriod>,
    generator: Generator,
}

impl Chain {
    fn new(seed: u64) -> Self {
        let config = GeneratorConfig {
            seed,
            thread_count: THREADS,
            first_period: 1,
            miss_rate: 0.3,
            operations: 0..=12,
            payload_share: 0.7,
            payload_bytes: 100..=12_000,
            endorsements_per_block: 0,
            ..GeneratorConfig::default()
        };
        let mut generator = Generator::new(config);
        let mut parameters = generator.parameters();
        parameters.chunk_size = PAGE as u32;
        let periods: Vec<_> = (0..PERIODS).map(|_| generator.next_period()).collect();
        let archive = periods.iter().zip(1..).map(|(places, period)| {
            let places: Vec<_> = places.iter().map(Option::as_ref).collect();
            (period, EncodedPeriod::new(&parameters, period, &places).unwrap())
        });
        Self {
            archive: archive.collect(),
            parameters,
            periods,
            generator,
        }
    }

    fn blocks(&self, periods: std::ops::RangeInclusive<u64>) -> Vec<BlockRecord> {
        let places = periods.flat_map(|period| self.periods[period as usize - 1].clone());
        places.flatten().collect()
    }
}

/// How a peer answers.
#[derive(Clone)]
struct Peer {
    node: NodeId,
    archive: BTreeMap<u64, EncodedPeriod>,
}

impl Peer {
    fn honest(chain: &Chain) -> Self {
        Self {
            node: some_node(),
            archive: chain.archive.clone(),
        }
    }

    fn page(&self, period: u64, chunk: ChunkIndex, page: u32) -> Option<(PageContent, &Manifest)> {
        let encoded = self.archive.get(&period)?;
        let bytes = encoded.chunk_bytes(chunk)?;
        let chunk_size = encoded.manifest.header.chunk_size as usize;
        let from = chunk.0 as usize * chunk_size + page as usize * PAGE;
        let content = bytes.chunks(PAGE).nth(page as usize)?;
        let to = from + content.len();
        let ends = &encoded.body.object_ends;
        let signatures = massa_distributed_storage_exports::body::signature_range(ends, from as u64..to as u64);
        let pages = &encoded.chunks[chunk.0 as usize];
        let content = PageContent {
            bytes: content.to_vec(),
            signatures: encoded.body.signatures[signatures].to_vec(),
            objects_before: pages.objects_before[page as usize],
            path: MerkleTree::new(&pages.page_roots).path(page)?,
        };
        Some((content, &encoded.manifest))
    }
}

/// A node that repairs itself from peers, without threads or sockets.
struct Repairing {
    plan: RepairPlan,
    ingest: Ingest,
    store: Arc<Store>,
    peers: Vec<Peer>,
    quarantined: BTreeSet<NodeId>,
    now: Instant,
    _directory: TempDir,
}

impl Repairing {
    fn new(chain: &Chain, peers: Vec<Peer>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(directory.path()), chain.parameters.clone()).unwrap();
        let store = Arc::new(store);
        let ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
            .unwrap()
            .0;
        let limits = RepairLimits {
            delay: Duration::from_secs(1),
            patience: Duration::from_secs(2),
            ..RepairLimits::default()
        };
        Self {
            plan: RepairPlan::new(chain.parameters.clone(), limits),
            ingest,
            store,
            peers,
            quarantined: BTreeSet::new(),
            now: Instant::now(),
            _directory: directory,
        }
    }

    /// Blocks that consensus handed over.
    fn hand_over(&mut self, blocks: impl IntoIterator<Item = BlockRecord>) {
        for block in blocks {
            self.ingest.add(block).unwrap();
        }
    }

    fn storage_peers(&self) -> Vec<StoragePeer> {
        let said = |peer: &Peer| StoragePeer {
            node: peer.node,
            capabilities: Some(Capabilities {
                last_period: peer.archive.keys().last().copied(),
                ..Capabilities::default()
            }),
            quarantined: self.quarantined.contains(&peer.node),
        };
        self.peers.iter().map(said).collect()
    }

    fn view<T>(&mut self, decide: impl FnOnce(&mut RepairPlan, &RepairView<'_>) -> T) -> T {
        let peers = self.storage_peers();
        let view = RepairView {
            now: self.now,
            peers: &peers,
            holders_of: &|_, chunks| vec![Vec::new(); chunks.len()],
        };
        decide(&mut self.plan, &view)
    }

    /// Ticks until `done`, answering every question at once.
    fn run(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..TICKS {
            if done(self) {
                return true;
            }
            self.tick();
        }
        done(self)
    }

    fn tick(&mut self) {
        self.now += Duration::from_millis(250);
        let missing = self.ingest.missing(64);
        let store = Arc::clone(&self.store);
        let root_of = |period| store.period_root(period).unwrap();
        let actions = self.view(|plan, view| plan.on_missing(&missing, &root_of, view));
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<RepairAction>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                RepairAction::Accept { slot, record } => {
                    assert_eq!(record.view(THREADS).unwrap().slot, slot);
                    self.ingest.add(record).unwrap();
                }
                RepairAction::Quarantine { node, .. } => {
                    self.quarantined.insert(node);
                }
                RepairAction::Fetch {
                    id, target, holders, ..
                } => queue.extend(self.answer(id, target, &holders)),
            }
        }
    }

    /// The first holder that has what is asked for answers; what is no page of the chunk is dropped by the handler.
    fn answer(&mut self, id: u64, target: FetchTarget, holders: &[NodeId]) -> Vec<RepairAction> {
        let peers: Vec<Peer> = holders
            .iter()
            .filter_map(|node| self.peers.iter().find(|peer| peer.node == *node).cloned())
            .collect();
        match target {
            FetchTarget::Manifest { period } => {
                let found = peers
                    .iter()
                    .find_map(|peer| Some((peer.node, peer.archive.get(&period)?)));
                if let Some((from, encoded)) = found {
                    let manifest = encoded.manifest.clone();
                    return self.view(|plan, view| plan.on_manifest(id, from, manifest, view));
                }
            }
            FetchTarget::Pages {
                period,
                chunk,
                entry,
                pages,
            } => {
                let mut all = true;
                for page in pages {
                    let served = peers.iter().find_map(|peer| {
                        let (content, _) = peer.page(period, chunk, page)?;
                        Some((peer.node, VerifiedPage::check(&entry, page, content).ok()?))
                    });
                    all &= served.is_some();
                    if let Some((from, page)) = served {
                        self.plan.on_page(id, from, page, self.now);
                    }
                }
                if all {
                    return self.view(|plan, view| plan.on_complete(id, view));
                }
            }
            FetchTarget::Held { .. } => {}
        }
        self.plan.on_failed(id, holders, self.now);
        Vec::new()
    }

    fn roots(&self) -> Vec<PeriodRoot> {
        (1..=PERIODS)
            .map_while(|period| self.store.period_root(period).unwrap())
            .collect()
    }

    /// Whether every period that can be complete is archived as the chain has it: at the end of the chain it is not
    /// known yet what is a miss.
    fn agrees_with(&self, chain: &Chain) -> bool {
        let roots = self.roots();
        let expected = chain.archive.values().map(|encoded| encoded.manifest.root());
        roots.len() as u64 >= PERIODS - 4 && expected.zip(&roots).all(|(expected, found)| expected == *found)
    }
}

#[test]
fn a_node_that_saw_only_the_newest_blocks_obtains_all_the_others() {
    let chain = Chain::new(1);
    let mut node = Repairing::new(&chain, vec![Peer::honest(&chain), Peer::honest(&chain)]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
    assert!(node.quarantined.is_empty());
}

#[test]
fn blocks_missing_here_and_there_are_obtained() {
    let chain = Chain::new(2);
    let mut node = Repairing::new(&chain, vec![Peer::honest(&chain)]);
    let known = chain
        .blocks(1..=PERIODS)
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index % 3 != 0);
    node.hand_over(known.map(|(_, block)| block).collect::<Vec<_>>());
    node.hand_over(chain.blocks(PERIODS..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
}

#[test]
fn nothing_is_fetched_before_the_delay_is_over() {
    let chain = Chain::new(3);
    let mut node = Repairing::new(&chain, vec![Peer::honest(&chain)]);
    node.hand_over(chain.blocks(PERIODS..=PERIODS));
    let missing = node.ingest.missing(64);
    assert!(!missing.periods.is_empty() && !missing.wanted.is_empty());
    assert_eq!(node.view(|plan, view| plan.on_missing(&missing, &|_| None, view)), []);
    node.now += Duration::from_millis(999);
    assert_eq!(node.view(|plan, view| plan.on_missing(&missing, &|_| None, view)), []);
    node.now += Duration::from_millis(1);
    assert!(!node
        .view(|plan, view| plan.on_missing(&missing, &|_| None, view))
        .is_empty());
}

/// The archive of a peer that calls the block of one place a miss.
fn with_false_miss(chain: &Chain, slot: Slot) -> Peer {
    let mut peer = Peer::honest(chain);
    let mut places = chain.periods[slot.period as usize - 1].clone();
    assert!(
        places[usize::from(slot.thread)].take().is_some(),
        "the place holds a block"
    );
    let places: Vec<_> = places.iter().map(Option::as_ref).collect();
    let encoded = EncodedPeriod::new(&chain.parameters, slot.period, &places).unwrap();
    peer.archive.insert(slot.period, encoded);
    peer
}

fn place_with_block(chain: &Chain, period: u64) -> Slot {
    let places = &chain.periods[period as usize - 1];
    let thread = places
        .iter()
        .position(Option::is_some)
        .expect("some place holds a block");
    Slot::new(period, thread as u8)
}

#[test]
fn a_false_miss_is_found_out_and_its_author_put_in_quarantine() {
    let chain = Chain::new(4);
    let liar = with_false_miss(&chain, place_with_block(&chain, 5));
    let liar_id = liar.node;
    let honest = Peer::honest(&chain);
    for peers in [vec![liar.clone(), honest.clone()], vec![honest, liar]] {
        let mut node = Repairing::new(&chain, peers);
        node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
        assert!(
            node.run(|node| node.agrees_with(&chain)),
            "{:?}",
            node.ingest.missing(64)
        );
        assert!(node.quarantined.iter().all(|node| *node == liar_id));
    }
}

#[test]
fn with_nobody_but_a_liar_a_false_miss_is_not_believed() {
    let chain = Chain::new(4);
    let slot = place_with_block(&chain, 5);
    let mut node = Repairing::new(&chain, vec![with_false_miss(&chain, slot)]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(!node.run(|node| node.store.period_root(slot.period).unwrap().is_some()));
    for (root, encoded) in node.roots().iter().zip(chain.archive.values()) {
        assert_eq!(*root, encoded.manifest.root());
    }
}

#[test]
fn blocks_of_another_chain_are_not_believed() {
    let chain = Chain::new(5);
    let foreign = Peer {
        node: some_node(),
        archive: Chain::new(6).archive,
    };
    let mut node = Repairing::new(&chain, vec![foreign, Peer::honest(&chain)]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
}

#[test]
fn a_manifest_whose_pages_hold_other_blocks_puts_its_author_in_quarantine() {
    let chain = Chain::new(7);
    let mut liar = Peer::honest(&chain);
    for (period, encoded) in &mut liar.archive {
        // The ids are the true ones, the bytes those of another chain.
        let other = &Chain::new(8).archive[period];
        let ids: Vec<_> = encoded.manifest.places.iter().map(Place::block_id).collect();
        let mut forged = other.clone();
        for (place, id) in forged.manifest.places.iter_mut().zip(ids) {
            if let (Place::Block { id: own, .. }, Some(id)) = (place, id) {
                *own = id;
            }
        }
        *encoded = forged;
    }
    let (liar_id, honest) = (liar.node, Peer::honest(&chain));
    let mut node = Repairing::new(&chain, vec![liar, honest]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
    assert_eq!(node.quarantined, BTreeSet::from([liar_id]));
}

#[test]
fn a_manifest_whose_blocks_list_other_operations_puts_its_author_in_quarantine() {
    let chain = Chain::new(9);
    let mut liar = Peer::honest(&chain);
    for (places, period) in chain.periods.iter().zip(1..) {
        let forged: Vec<_> = places
            .iter()
            .map(|place| place.as_ref().map(forge_operations))
            .collect();
        let forged: Vec<_> = forged.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::new(&chain.parameters, period, &forged).unwrap();
        liar.archive.insert(period, encoded);
    }
    let (liar_id, honest) = (liar.node, Peer::honest(&chain));
    let mut node = Repairing::new(&chain, vec![liar, honest]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
    assert_eq!(node.quarantined, BTreeSet::from([liar_id]));
}

/// The block with the last byte of each operation changed.
fn forge_operations(record: &BlockRecord) -> BlockRecord {
    let operations = record.operations().map(|operation| {
        let mut bytes = operation.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    });
    BlockRecord::new(record.block(), &operations.collect::<Vec<_>>()).unwrap()
}

#[test]
fn false_signatures_are_refused_and_fetched_from_somebody_else() {
    let chain = Chain::new(9);
    let mut liar = Peer::honest(&chain);
    for encoded in liar.archive.values_mut() {
        encoded
            .body
            .signatures
            .iter_mut()
            .skip(10)
            .step_by(65)
            .for_each(|byte| *byte ^= 1);
    }
    let (liar_id, honest) = (liar.node, Peer::honest(&chain));
    let mut node = Repairing::new(&chain, vec![liar, honest]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
    assert_eq!(node.quarantined, BTreeSet::from([liar_id]));
}

#[test]
fn other_valid_signatures_are_taken_and_lead_to_the_same_roots() {
    let chain = Chain::new(9);
    let mut peer = Peer::honest(&chain);
    for (places, period) in chain.periods.iter().zip(1..) {
        let again: Vec<_> = places
            .iter()
            .map(|place| place.as_ref().map(|record| chain.generator.sign_again(record)))
            .collect();
        let again: Vec<_> = again.iter().map(Option::as_ref).collect();
        peer.archive
            .insert(period, EncodedPeriod::new(&chain.parameters, period, &again).unwrap());
    }
    let mut node = Repairing::new(&chain, vec![peer]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
    assert!(node.quarantined.is_empty());
}

#[test]
fn a_thread_without_a_trusted_block_does_not_keep_the_others_waiting() {
    let chain = Chain::new(10);
    let of_thread = |record: &BlockRecord| record.view(THREADS).unwrap().slot.thread;
    let silent = (0..THREADS).find(|thread| {
        !chain
            .blocks(PERIODS - 1..=PERIODS)
            .iter()
            .any(|b| of_thread(b) == *thread)
    });
    let silent = silent.expect("this chain has a thread without a block at its end");
    let mut node = Repairing::new(&chain, vec![Peer::honest(&chain)]);
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    let others_are_here = |node: &Repairing| {
        let missing = node.ingest.missing(64);
        missing.periods.iter().all(|(period, here)| {
            let awaited = (0..THREADS).filter(|thread| !here.contains(thread));
            *period > PERIODS - 4 || awaited.eq([silent])
        })
    };
    assert!(node.run(others_are_here), "{:?}", node.ingest.missing(64));
}

fn lost_form(chain: &Chain, period: u64) -> (Manifest, Vec<Option<BlockId>>) {
    let manifest = &chain.archive[&period].manifest;
    let ids: Vec<_> = manifest.places.iter().map(Place::block_id).collect();
    (Manifest::lost(&chain.parameters, period, &ids), ids)
}

/// A node that lacks one block of period 5, and what its plan says of the period once `ticks` have passed.
fn no_holder(chain: &Chain, peers: Vec<Peer>, ticks: usize) -> (Repairing, bool) {
    let slot = place_with_block(chain, 5);
    let mut node = Repairing::new(chain, peers);
    let known = chain.blocks(1..=PERIODS).into_iter();
    node.hand_over(
        known
            .filter(|block| block.view(THREADS).unwrap().slot != slot)
            .collect::<Vec<_>>(),
    );
    let since = node.now;
    (0..ticks).for_each(|_| node.tick());
    let (_, ids) = lost_form(chain, 5);
    let peers = node.storage_peers();
    let nobody = node.plan.no_holder_since(5, &ids, since, &peers);
    assert!(!node
        .plan
        .no_holder_since(5, &ids, node.now + Duration::from_secs(1), &peers));
    (node, nobody)
}

fn with(chain: &Chain, change: impl FnOnce(&mut BTreeMap<u64, EncodedPeriod>)) -> Peer {
    let mut peer = Peer::honest(chain);
    change(&mut peer.archive);
    peer
}

#[test]
fn nobody_has_a_period_when_every_peer_was_asked_and_none_has_it() {
    let chain = Chain::new(12);
    let without = || with(&chain, |archive| drop(archive.remove(&5)));
    assert!(!no_holder(&chain, vec![], 40).1, "nobody was asked");
    assert!(!no_holder(&chain, vec![without(), without()], 2).1, "not asked yet");
    assert!(no_holder(&chain, vec![without(), without()], 40).1);
    let (node, nobody) = no_holder(&chain, vec![without(), Peer::honest(&chain)], 40);
    assert!(
        !nobody && node.store.manifest(5).unwrap().is_some(),
        "one of them has it"
    );
}

/// Its manifest is the true one, and it never sends a page.
#[test]
fn who_only_says_that_it_has_a_period_cannot_keep_it_from_being_lost() {
    let chain = Chain::new(12);
    let boaster = with(&chain, |archive| {
        let encoded = archive.get_mut(&5).unwrap();
        encoded.body.bytes.clear();
    });
    assert!(no_holder(&chain, vec![boaster], 40).1);
}

#[test]
fn a_lost_manifest_is_not_believed_and_whoever_sent_it_is_not_blamed() {
    let chain = Chain::new(12);
    let says_lost = || {
        with(&chain, |archive| {
            archive.get_mut(&5).unwrap().manifest = lost_form(&chain, 5).0
        })
    };
    let (node, nobody) = no_holder(&chain, vec![says_lost(), says_lost()], 40);
    assert!(nobody && node.quarantined.is_empty());
    assert_eq!(node.store.manifest(5).unwrap(), None);
    // Somebody has it after all.
    let (node, _) = no_holder(&chain, vec![says_lost(), Peer::honest(&chain)], 40);
    assert_eq!(
        node.store.period_root(5).unwrap(),
        Some(chain.archive[&5].manifest.root())
    );
    assert!(node.quarantined.is_empty());
}

#[test]
fn without_peers_repair_waits_and_goes_on_when_one_comes() {
    let chain = Chain::new(11);
    let mut node = Repairing::new(&chain, Vec::new());
    node.hand_over(chain.blocks(PERIODS - 1..=PERIODS));
    assert!(!node.run(|node| node.agrees_with(&chain)));
    node.peers.push(Peer::honest(&chain));
    assert!(
        node.run(|node| node.agrees_with(&chain)),
        "{:?}",
        node.ingest.missing(64)
    );
}
