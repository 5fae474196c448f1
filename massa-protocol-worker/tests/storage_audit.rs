//! Audits and the window of answers over real sockets: stores, storage handlers, guard and the auditor's thread are the real
//! ones; how a node answers, and what time it is, is for each test to say.

mod common;

use common::{free_address, id_of, wait_for, OneProducer, TestConsensus, TestPool};
use crossbeam_channel::unbounded;
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, AuditChallenge, AuditLeaf, Capabilities, Fetch, FetchEvent, FetchPriority, FetchTarget,
    PageContent, StorageEvents, StorageNetwork, StoragePeer,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::registry::{FixedRegistry, NodeSet, StorageNode};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkIndex, PeriodRoot};
use massa_distributed_storage_worker::assignments::Assignments;
use massa_distributed_storage_worker::audit::history::{AuditOutcome, AuditResult};
use massa_distributed_storage_worker::audit::plan::{AuditLimits, IssueError};
use massa_distributed_storage_worker::audit::prove;
use massa_distributed_storage_worker::audit_worker::{start_audits, AuditManager, AuditParts};
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::replication::genesis_placement_key;
use massa_distributed_storage_worker::round_worker::guard::{Guard, Seen};
use massa_distributed_storage_worker::round_worker::repairs::Announced;
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::storage_backend::writer::Durability;
use massa_distributed_storage_worker::storage_backend::PendingRows;
use massa_distributed_storage_worker::{Store, StoreOptions};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{LinkFaults, PeerAddress, ProtocolConfig, ProtocolManager};
use massa_protocol_worker::{create_protocol_controller, start_protocol_controller, StorageParts};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::{Generator, GeneratorConfig};
use massa_time::MassaTime;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const THREADS: u8 = 4;
const PERIODS: u64 = 4;
const DELAY: Duration = Duration::from_millis(50);

/// A chain with chunks of several pages.
struct Chain {
    parameters: ArchiveParameters,
    periods: Vec<Vec<Option<BlockRecord>>>,
}

impl Chain {
    fn new() -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            seed: 7,
            thread_count: THREADS,
            miss_rate: 0.0,
            operations: 8..=12,
            payload_share: 1.0,
            payload_bytes: 4_000..=12_000,
            endorsements_per_block: 0,
            ..GeneratorConfig::default()
        });
        let parameters = ArchiveParameters {
            chunk_size: 1 << 18,
            segment_periods: 4,
            ..generator.parameters()
        };
        let periods = (0..PERIODS).map(|_| generator.next_period()).collect();
        Self { parameters, periods }
    }

    fn put(&self, store: &Store, period: u64) {
        let places: Vec<_> = self.periods[period as usize - 1].iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::new(&self.parameters, period, &places).unwrap();
        let keep = vec![true; encoded.manifest.chunks.len()];
        let rows = PendingRows::default();
        store
            .put_period(&encoded, &places, &keep, &rows, Durability::Buffered)
            .unwrap();
    }

    /// A store with the periods up to `last`.
    fn store(&self, last: u64) -> (Arc<Store>, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(directory.path()), self.parameters.clone()).unwrap();
        (1..=last).for_each(|period| self.put(&store, period));
        (Arc::new(store), directory)
    }
}

struct Identity {
    keypair: KeyPair,
    address: SocketAddr,
}

impl Identity {
    fn new() -> Self {
        Self {
            keypair: KeyPair::generate(0).unwrap(),
            address: free_address(),
        }
    }

    fn node_id(&self) -> NodeId {
        NodeId::new(self.keypair.get_public_key())
    }
}

/// How a node answers challenges: challenger, challenge, the chunk, and what an honest node would use.
type Prove = Box<dyn Fn(&NodeId, &AuditChallenge, &ChunkEntry, &StoreServer) -> Answer<Vec<AuditLeaf>> + Send + Sync>;

/// Rounds of 20 periods: the beacon of round 5 is that of period 102, its answers are taken up to 110.
const ROUND: u64 = 5;

/// The chain as one node sees it: what time it is, and who claimed round 5. Final state is 3 periods behind.
struct Clock {
    period: AtomicU64,
    claimants: Vec<NodeId>,
    guard: Mutex<Guard>,
    /// Announcements of repairs that arrived.
    heard: AtomicUsize,
}

impl Clock {
    fn new(period: u64, claimants: &[&Identity]) -> Arc<Self> {
        let clock = Self {
            period: AtomicU64::new(period),
            claimants: claimants.iter().map(|node| node.node_id()).collect(),
            guard: Mutex::new(Guard::new(20, 256)),
            heard: AtomicUsize::new(0),
        };
        clock.look();
        Arc::new(clock)
    }

    fn period(&self) -> u64 {
        self.period.load(Relaxed)
    }

    fn set(&self, period: u64) {
        self.period.store(period, Relaxed);
        self.look();
    }

    fn look(&self) {
        let seen = Seen {
            final_period: self.period() - 3,
            current_period: self.period(),
            anchored_below: u64::MAX,
        };
        let claims = || self.claimants.iter().map(|node| (*node, 1000)).collect();
        self.guard
            .lock()
            .look(seen, |round| if round == ROUND { claims() } else { BTreeMap::new() });
    }

    fn announced(&self) -> usize {
        self.guard.lock().repairs().total()
    }
}

impl StorageEvents for Clock {
    fn chunks_announced(&self, _: NodeId, _: u64, _: PeriodRoot, _: Vec<ChunkId>) {}

    fn repairs_announced(&self, from: NodeId, round: u64, chunks: Vec<(u64, ChunkIndex)>) {
        let mut guard = self.guard.lock();
        let announced = guard.repairs().on_announced(from, round, &chunks, self.period());
        assert_eq!(matches!(announced, Announced::OtherRound { .. }), self.period() >= 102);
        self.heard.fetch_add(1, Relaxed);
    }

    fn peer_changed(&self, _: NodeId, _: Option<Capabilities>) {}

    fn peer_gone(&self, _: NodeId) {}
}

/// A node that has everything, and answers challenges in its own manner.
struct Manner {
    store: Arc<Store>,
    server: StoreServer,
    prove: Prove,
    clock: Arc<Clock>,
}

impl Manner {
    fn honest() -> Prove {
        Box::new(|challenger, challenge, _, server| server.prove(challenger, challenge))
    }
}

impl ArchiveServer for Manner {
    fn manifest(&self, period: u64) -> Answer<Vec<u8>> {
        self.server.manifest(period)
    }

    fn page(&self, period: u64, chunk: ChunkIndex, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        self.server.page(period, chunk, chunk_id, page)
    }

    fn held(&self, first_period: u64, periods: u32) -> Vec<Vec<u8>> {
        self.server.held(first_period, periods)
    }

    fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    /// Everything is assigned to everybody here.
    fn may_serve(&self, to: &NodeId, period: u64, chunk: ChunkIndex, _: MassaTime) -> bool {
        self.clock.guard.lock().lets_through(to, period, chunk)
    }

    fn prove(&self, challenger: &NodeId, challenge: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
        let manifest = self.store.manifest(challenge.period).unwrap().unwrap();
        let entry = manifest.chunks[challenge.chunk.0 as usize];
        (self.prove)(challenger, challenge, &entry, &self.server)
    }
}

/// A node with its sockets.
struct RunningNode {
    store: Arc<Store>,
    network: Arc<dyn StorageNetwork>,
    protocol: Box<dyn ProtocolManager>,
    _directory: TempDir,
}

impl RunningNode {
    fn start(chain: &Chain, own: &Identity, peers: &[&Identity], prove: Prove, delay: Duration) -> Self {
        // Nobody claimed anything.
        Self::start_at(&Clock::new(38, &[]), chain, own, peers, (prove, delay))
    }

    fn start_at(
        clock: &Arc<Clock>,
        chain: &Chain,
        own: &Identity,
        peers: &[&Identity],
        (prove, delay): (Prove, Duration),
    ) -> Self {
        let (store, directory) = chain.store(PERIODS - 1);
        let server = StoreServer::new(Arc::clone(&store), 1, Arc::new(|_, chunks| vec![true; chunks.len()]));
        let server = Manner {
            store: Arc::clone(&store),
            server: server.answering_as(own.node_id()),
            prove,
            clock: Arc::clone(clock),
        };
        let peer = |identity: &&Identity| PeerAddress {
            peer_id: id_of(&identity.keypair),
            address: identity.address,
        };
        let config = ProtocolConfig {
            listeners: vec![own.address],
            routable_addresses: vec![own.address],
            initial_peers: peers.iter().map(peer).collect(),
            storage_enabled: true,
            link_faults: LinkFaults {
                delay,
                ..LinkFaults::default()
            },
            ..common::config()
        };
        let (_, channels) = create_protocol_controller(config.clone());
        let (protocol, network) = start_protocol_controller(
            config,
            own.keypair.clone(),
            Box::new(OneProducer),
            TestConsensus::default().clone_box(),
            TestPool::default().clone_box(),
            Storage::create_root(),
            channels,
            None,
            Some(StorageParts {
                server: Arc::new(server),
                events: Arc::clone(clock) as Arc<dyn StorageEvents>,
                parameters: chain.parameters.clone(),
            }),
        )
        .unwrap();
        Self {
            store,
            network: network.expect("storage is enabled"),
            protocol,
            _directory: directory,
        }
    }

    /// Asks `from` for the first page of a chunk; whether it was served.
    fn is_served(&self, from: &Identity, (period, chunk): (u64, u32)) -> bool {
        let entry = self.store.manifest(period).unwrap().unwrap().chunks[chunk as usize];
        let (reply, events) = unbounded();
        let target = FetchTarget::Pages {
            period,
            chunk: ChunkIndex(chunk),
            entry,
            pages: 0..1,
        };
        let fetch = Fetch {
            id: 1,
            target,
            holders: vec![from.node_id()],
            priority: FetchPriority::Reader,
            reply,
        };
        self.network.fetch(fetch).unwrap();
        let event = events.recv_timeout(Duration::from_secs(20)).expect("an answer");
        match event {
            FetchEvent::Page { .. } => true,
            FetchEvent::Failed { .. } => false,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.protocol.stop();
    }
}

/// A node that audits others, which are all assigned everything.
struct Auditor {
    node: RunningNode,
    audits: AuditManager,
}

impl Auditor {
    fn start(chain: &Chain, own: &Identity, others: &[&Identity], time_allowance: Duration) -> Self {
        Self::start_at(&Clock::new(38, &[]), chain, own, others, time_allowance)
    }

    fn start_at(
        clock: &Arc<Clock>,
        chain: &Chain,
        own: &Identity,
        others: &[&Identity],
        time_allowance: Duration,
    ) -> Self {
        let node = RunningNode::start_at(clock, chain, own, others, (Manner::honest(), Duration::ZERO));
        let clock = Arc::clone(clock);
        let storage_node = |identity: &&Identity| StorageNode {
            node_id: Some(identity.node_id()),
            address: Address::from_public_key(&identity.keypair.get_public_key()),
            placement_key: genesis_placement_key(&identity.node_id()),
            allocated_storage_gb: 1,
            filled: false,
            retention_periods: 0,
            listeners: vec![identity.address],
        };
        let nodes = NodeSet::new(others.iter().map(storage_node).collect());
        let registry = Arc::new(FixedRegistry::new(nodes));
        let assignments = Assignments::new(own.node_id(), registry, others.len(), 4, chain.parameters.first_period);
        let parts = AuditParts {
            store: Arc::clone(&node.store),
            assignments: Arc::new(assignments),
            network: Arc::clone(&node.network),
            limits: AuditLimits {
                every_periods: 1,
                response_timeout: Duration::from_secs(40),
                min_challenge_interval: Duration::ZERO,
                time_allowance,
                period_time: Duration::from_secs(16),
            },
            window: Arc::new(move || clock.guard.lock().answer_window()),
            seed: [5; 32],
        };
        let audits = start_audits(parts).unwrap();
        let connected = || node.network.peers().len() == others.len();
        wait_for("connections of the auditor", connected);
        Self { node, audits }
    }

    /// Challenges a node about the first chunk of period 1.
    fn challenge(&self, node: &Identity) -> AuditResult {
        let entry = self.node.store.manifest(1).unwrap().unwrap().chunks[0];
        assert!(entry.page_count() >= 3, "a chunk of several pages");
        let handle = self.audits.handle();
        let id = handle.issue(node.node_id(), 1, ChunkIndex(0), entry).unwrap();
        let result =
            || handle.with_history(|history| history.newest().find(|result| result.challenge_id == id).cloned());
        wait_for("a result", || result().is_some());
        result().unwrap()
    }

    fn success_percent(&self, node: &Identity) -> u64 {
        let audits = self
            .audits
            .handle()
            .with_history(|history| history.node(&node.node_id()));
        audits.unwrap().success_percent()
    }
}

/// Time is not what these tests are about.
const PATIENT: Duration = Duration::from_secs(30);

#[test]
fn an_honest_node_passes_and_a_node_that_dropped_a_page_fails() {
    let (chain, own, honest, dropper) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let without_page_1: Prove = Box::new(|_, challenge, entry, server| {
        prove(challenge, entry, |page| match page {
            1 => Answer::NotHeld,
            page => server.page(challenge.period, challenge.chunk, &challenge.chunk_id, page),
        })
    });
    let _honest = RunningNode::start(&chain, &honest, &[], Manner::honest(), Duration::ZERO);
    let _dropper = RunningNode::start(&chain, &dropper, &[], without_page_1, Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&honest, &dropper], PATIENT);
    let result = auditor.challenge(&honest);
    assert_eq!(result.outcome, AuditOutcome::Passed);
    assert_eq!(auditor.success_percent(&honest), 100);
    // At most four pages: 32 leaves miss one of them once in ten thousand times.
    let result = auditor.challenge(&dropper);
    assert_eq!(result.outcome, AuditOutcome::NotHeld);
    assert!(result.has_failed());
    assert_eq!(auditor.success_percent(&dropper), 0);
    let peers = auditor.node.network.peers();
    assert!(peers.iter().all(|peer| !peer.quarantined), "an audit is no penalty");
}

#[test]
fn a_replayed_answer_and_one_with_other_bytes_are_refused_with_their_reasons() {
    let (chain, own, replayer, inventor) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let first: Mutex<Option<Answer<Vec<AuditLeaf>>>> = Mutex::default();
    let replay: Prove = Box::new(move |challenger, challenge, _, server| {
        let mut first = first.lock();
        first.get_or_insert_with(|| server.prove(challenger, challenge)).clone()
    });
    let invent: Prove = Box::new(
        |challenger, challenge, _, server| match server.prove(challenger, challenge) {
            Answer::Found(mut leaves) => {
                leaves[17].bytes[0] ^= 1;
                Answer::Found(leaves)
            }
            other => other,
        },
    );
    let _replayer = RunningNode::start(&chain, &replayer, &[], replay, Duration::ZERO);
    let _inventor = RunningNode::start(&chain, &inventor, &[], invent, Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&replayer, &inventor], PATIENT);
    assert_eq!(
        auditor.challenge(&replayer).outcome,
        AuditOutcome::Passed,
        "the first time"
    );
    let reason = |result: AuditResult| match result.outcome {
        AuditOutcome::Wrong(reason) => reason,
        other => panic!("{other:?}"),
    };
    let refused = reason(auditor.challenge(&replayer));
    assert!(refused.starts_with("leaf 0 of the proof is refused: "), "{refused}");
    assert_eq!(auditor.success_percent(&replayer), 50);
    let refused = reason(auditor.challenge(&inventor));
    assert!(
        refused.starts_with("leaf 17 of the proof is refused: root mismatch"),
        "{refused}"
    );
}

/// Fetches the whole chunk at once under another identity, the quickest that a node can do which has nothing.
fn fetch_and_prove(
    network: &Arc<dyn StorageNetwork>,
    from: NodeId,
    challenge: &AuditChallenge,
    entry: &ChunkEntry,
) -> Answer<Vec<AuditLeaf>> {
    let (reply, events) = unbounded();
    let target = FetchTarget::Pages {
        period: challenge.period,
        chunk: challenge.chunk,
        entry: *entry,
        pages: 0..entry.page_count(),
    };
    let fetch = Fetch {
        id: 1,
        target,
        holders: vec![from],
        priority: FetchPriority::Reader,
        reply,
    };
    network.fetch(fetch).unwrap();
    let mut pages = vec![None; entry.page_count() as usize];
    while pages.iter().any(Option::is_none) {
        match events.recv_timeout(Duration::from_secs(20)) {
            Ok(FetchEvent::Page { page, .. }) => {
                let number = page.page() as usize;
                pages[number] = Some(page.into_content());
            }
            _ => return Answer::NotHeld,
        }
    }
    prove(challenge, entry, |page| {
        pages[page as usize].clone().map_or(Answer::NotHeld, Answer::Found)
    })
}

#[test]
fn a_node_that_fetches_what_it_is_asked_for_over_a_link_with_50_ms_is_noticed_by_time() {
    let (chain, own, honest, relay) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let (alias, source) = (Identity::new(), Identity::new());
    let _source = RunningNode::start(&chain, &source, &[], Manner::honest(), DELAY);
    let behind = RunningNode::start(&chain, &alias, &[&source], Manner::honest(), DELAY);
    wait_for("the relay's source", || behind.network.peers().len() == 1);
    let (network, from) = (Arc::clone(&behind.network), source.node_id());
    let fetch: Prove = Box::new(move |_, challenge, entry, _| fetch_and_prove(&network, from, challenge, entry));
    let _honest = RunningNode::start(&chain, &honest, &[], Manner::honest(), Duration::ZERO);
    let _relay = RunningNode::start(&chain, &relay, &[], fetch, Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&honest, &relay], AuditLimits::TIME_ALLOWANCE);

    let result = auditor.challenge(&honest);
    assert_eq!(result.outcome, AuditOutcome::Passed, "{result:?}");
    let result = auditor.challenge(&relay);
    assert_eq!(result.outcome, AuditOutcome::Slow, "{result:?}");
    assert!(result.elapsed_ms >= Some(2 * DELAY.as_millis() as u32), "{result:?}");
    let audits = |node: &Identity| {
        auditor
            .audits
            .handle()
            .with_history(|history| history.node(&node.node_id()))
    };
    assert!(audits(&relay).unwrap().alarm);
    assert!(!audits(&honest).unwrap().alarm);
}

#[test]
fn audits_go_on_by_themselves_as_periods_are_archived_and_are_remembered() {
    let (chain, own, honest) = (Chain::new(), Identity::new(), Identity::new());
    let _honest = RunningNode::start(&chain, &honest, &[], Manner::honest(), Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&honest], PATIENT);
    let handle = auditor.audits.handle();
    assert_eq!(handle.with_history(|history| history.newest().count()), 0);
    // The thread has looked at the store when it answers a request.
    auditor.challenge(&honest);
    chain.put(&auditor.node.store, PERIODS);
    let by_schedule = || handle.with_history(|history| history.newest().find(|result| !result.by_hand).cloned());
    wait_for("an audit by schedule", || by_schedule().is_some());
    let result = by_schedule().unwrap();
    assert_eq!((result.node, result.outcome), (honest.node_id(), AuditOutcome::Passed));
    assert!(result.period < PERIODS, "a period that the node says it holds");
    wait_for("two rows", || {
        auditor.node.store.challenge_history().unwrap().len() == 2
    });
}

#[test]
fn audits_leave_out_the_window_of_answers_and_nobody_s_success_rate_suffers() {
    let (chain, own, honest) = (Chain::new(), Identity::new(), Identity::new());
    // The auditor claims what it audits: it could use an audit to fetch what was drawn.
    let clock = Clock::new(105, &[&own, &honest]);
    let _honest = RunningNode::start_at(&clock, &chain, &honest, &[], (Manner::honest(), Duration::ZERO));
    let auditor = Auditor::start_at(&clock, &chain, &own, &[&honest], PATIENT);
    let handle = auditor.audits.handle();
    let entry = auditor.node.store.manifest(1).unwrap().unwrap().chunks[0];
    let refused = handle.issue(honest.node_id(), 1, ChunkIndex(0), entry);
    let expected = IssueError::AnswersTaken {
        round: ROUND,
        over_with: 112,
        wait_s: 160,
    };
    assert_eq!(refused, Err(expected));
    // A turn falls into the window: it is taken after it.
    chain.put(&auditor.node.store, PERIODS);
    let refused = handle.issue(honest.node_id(), 1, ChunkIndex(0), entry);
    assert!(refused.is_err(), "and the thread has looked at the store");
    assert_eq!(handle.with_history(|history| history.newest().count()), 0);
    clock.set(115);
    let result = || handle.with_history(|history| history.newest().next().cloned());
    wait_for("the audit by schedule", || result().is_some());
    let result = result().unwrap();
    assert_eq!((result.by_hand, result.outcome), (false, AuditOutcome::Passed));
    assert_eq!(auditor.success_percent(&honest), 100);
}

#[test]
fn an_audit_that_is_refused_as_the_window_opens_is_given_up_and_does_not_count() {
    let (chain, own, honest) = (Chain::new(), Identity::new(), Identity::new());
    // The challenged node's clock is ahead: it refuses already.
    let (ahead, clock) = (Clock::new(102, &[&own]), Clock::new(100, &[&own]));
    let _honest = RunningNode::start_at(&ahead, &chain, &honest, &[], (Manner::honest(), Duration::ZERO));
    let auditor = Auditor::start_at(&clock, &chain, &own, &[&honest], PATIENT);
    let handle = auditor.audits.handle();
    let entry = auditor.node.store.manifest(1).unwrap().unwrap().chunks[0];
    let id = handle.issue(honest.node_id(), 1, ChunkIndex(0), entry).unwrap();
    clock.set(102);
    let result = || handle.with_history(|history| history.newest().next().cloned());
    wait_for("the end of the audit", || result().is_some());
    let result = result().unwrap();
    assert_eq!((result.challenge_id, &result.outcome), (id, &AuditOutcome::GivenUp));
    assert_eq!(handle.with_history(|history| history.node(&honest.node_id())), None);
}

/// A node that repairs, one that does not, and a holder that connects to them after the announcement.
#[test]
fn what_was_announced_before_the_beacon_is_served_in_the_window_and_nothing_else() {
    let (chain, repairing, other, holder) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let honest = || (Manner::honest(), Duration::ZERO);
    let clock = Clock::new(101, &[&repairing, &other]);
    let asking = RunningNode::start_at(&clock, &chain, &repairing, &[&holder], honest());
    let not_asking = RunningNode::start_at(&clock, &chain, &other, &[&holder], honest());
    // Seven that nobody has: then there is room for one of the two that follow.
    let announced: Vec<(u64, ChunkIndex)> = (0..7)
        .map(|number| (0, ChunkIndex(number)))
        .chain([(1, ChunkIndex(0)), (2, ChunkIndex(0))])
        .collect();
    asking.network.announce_repairs(ROUND, announced).unwrap();
    let seen = Clock::new(101, &[&repairing, &other]);
    let _holder = RunningNode::start_at(&seen, &chain, &holder, &[], honest());
    wait_for("the announcement", || seen.announced() == 1 + 9);
    wait_for("both connections", || {
        let is_holder = |peer: &StoragePeer| peer.node == holder.node_id();
        [&asking, &not_asking]
            .iter()
            .all(|node| node.network.peers().iter().any(is_holder))
    });

    seen.set(105);
    assert!(asking.is_served(&holder, (1, 0)), "announced before the beacon");
    assert!(!asking.is_served(&holder, (2, 0)), "beyond the limit of eight");
    assert!(!asking.is_served(&holder, (3, 0)), "not announced");
    assert!(!not_asking.is_served(&holder, (1, 0)), "announced by another node");

    let heard = seen.heard.load(Relaxed);
    not_asking
        .network
        .announce_repairs(ROUND, vec![(1, ChunkIndex(0))])
        .unwrap();
    asking
        .network
        .announce_repairs(ROUND, vec![(3, ChunkIndex(0))])
        .unwrap();
    wait_for("both announcements", || seen.heard.load(Relaxed) == heard + 2);
    assert!(!not_asking.is_served(&holder, (1, 0)), "announced too late");
    assert!(!asking.is_served(&holder, (3, 0)), "announced too late");

    seen.set(114);
    assert!(
        asking.is_served(&holder, (2, 0)) && not_asking.is_served(&holder, (1, 0)),
        "the window is over"
    );
    assert_eq!(seen.announced(), 0, "it held for one round");
}
