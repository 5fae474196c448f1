//! The thread of the rounds, on a store, with the client of the registry, against the model of the registry: time goes on when the test
//! says so.

use crate::chain::{registry, TestChain, PERIODS, SEGMENT, STAKE};
use crate::common::world::{World, THREADS};
use crate::node::TestNode;
use crate::registry_model::Settled;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::registry::NodeSet;
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::rounds::earnings::matured_and_claimed;
use massa_distributed_storage_worker::rounds::settlement::settled;
use massa_distributed_storage_worker::rounds::thread::{start_rounds, RoundHandle, RoundManager, RoundParts};
use massa_distributed_storage_worker::rounds::timing::RoundTimes;
use massa_distributed_storage_worker::rounds::watch::FinalContent;
use massa_distributed_storage_worker::smart_contract::client::{start_contract_client, ClientManager, ClientParts};
use massa_distributed_storage_worker::smart_contract::node_set::{NetworkValues, RegistryNodeSet};
use massa_models::address::Address;
use massa_models::slot::Slot;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const LEAD: u64 = 1;

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Running {
    rounds: RoundHandle,
    _rounds_thread: RoundManager,
    _client: ClientManager,
}

/// A node that takes part, and its chain.
struct Bench {
    node: TestNode,
    chain: Arc<TestChain>,
    running: Option<Running>,
    /// A slot whose block nobody has.
    lost: Option<Slot>,
}

impl Bench {
    fn new(rounds: u64) -> Self {
        let node = TestNode::new(World::new(3, rounds * PERIODS + 2, 12_000));
        let chain = Arc::new(TestChain::new(&[&node.own]));
        let mut bench = Self {
            node,
            chain,
            running: None,
            lost: None,
        };
        bench.start();
        bench
    }

    fn address(&self) -> Address {
        self.node.own.address
    }

    fn start(&mut self) {
        let values = NetworkValues {
            chunk_size: 1 << 16,
            segment_periods: SEGMENT,
            round_segments: PERIODS / SEGMENT,
            replication_factor: 1,
        };
        let host = Arc::clone(&self.chain) as Arc<dyn ContractHost>;
        let genesis = NodeSet::new(vec![self.node.own.clone()]);
        let (client, handle) = start_contract_client(ClientParts {
            host: Arc::clone(&host),
            nodes: Arc::new(RegistryNodeSet::new(host, genesis, values)),
            operator: Some(self.address()),
            registry: Box::new(|| Some(registry())),
            on_nodes: Box::new(|_| ()),
            max_fees_per_day: None,
            fees_path: None,
            deployment: None,
        })
        .unwrap();
        let chain = Arc::clone(&self.chain);
        let ids: Vec<_> = (0..self.node.world.periods.len() as u64)
            .map(|period| TestChain::ids(&self.node.world, period))
            .collect();
        let (thread, rounds) = start_rounds(RoundParts {
            store: Arc::clone(&self.node.store),
            assigned: Arc::clone(&self.node.assigned),
            client: handle,
            network: Box::new(|| None),
            final_blocks: Box::new(move |period| {
                let is_final = period <= chain.period();
                let content = |id| FinalContent {
                    id,
                    operations: Vec::new(),
                };
                is_final.then(|| ids[period as usize].iter().map(|id| id.map(content)).collect())
            }),
            auto_claim_fees: None,
            lead_periods: LEAD,
            board: Arc::clone(&self.node.board),
        })
        .unwrap();
        self.running = Some(Running {
            rounds,
            _rounds_thread: thread,
            _client: client,
        });
    }

    fn rounds(&self) -> &RoundHandle {
        &self.running.as_ref().unwrap().rounds
    }

    /// The process ends without a word and starts again.
    fn restarted(mut self) -> Self {
        self.running = None;
        let Self { node, chain, lost, .. } = self;
        let mut bench = Self {
            node: node.restarted(),
            chain,
            running: None,
            lost,
        };
        bench.start();
        bench
    }

    /// Goes on to a period, which is final then, with its blocks archived, and waits until the thread saw it.
    fn go_to(&mut self, period: u64) {
        let lost = self.lost;
        self.node.archive_to(period, |of| Some(of) == lost);
        self.chain.set_period(period);
        let rounds = self.rounds().clone();
        wait_for("the final period", || rounds.status().period == period);
    }

    fn times(round: u64) -> RoundTimes {
        RoundTimes {
            round,
            periods: PERIODS,
        }
    }

    /// Goes to the last turn of a round and waits until its operation is executed.
    fn play(&mut self, round: u64) -> massa_distributed_storage_worker::smart_contract::storage_registry::Submission {
        self.go_to(Self::times(round).last_turn(LEAD));
        let chain = Arc::clone(&self.chain);
        wait_for(&format!("the operation of round {round}: {:?}", chain.sent()), || {
            chain.submission(round).is_some()
        });
        chain.submission(round).unwrap()
    }

    /// Goes beyond the window of a round. What is sent in the next one closes it.
    fn end(&mut self, round: u64) {
        self.go_to(Self::times(round).window_ends() + 1);
    }

    fn result(&self, round: u64) -> Option<Settled> {
        let address = self.address();
        self.chain.with_model(|model| {
            let end = (round + 2) * PERIODS;
            model.settle(&address, end);
            model.results().get(&(address, round)).copied()
        })
    }

    /// Round 0 anchors its first segments, in round 1 they are claimed for round 2. Gives what is claimed.
    fn begin(&mut self) -> Vec<(ChunkPosition, u64)> {
        self.go_to(PERIODS - 6);
        let chain = Arc::clone(&self.chain);
        wait_for("the operation of round 0", || chain.submission(0).is_some());
        let claim = self.play(1).claim.expect("what round 0 anchored is claimed");
        let anchored = (1..5).map(|segments| self.node.claimable(segments));
        let leaves = |chunks: &Vec<(ChunkPosition, u64)>| chunks.iter().map(|(_, leaves)| leaves).sum::<u64>();
        anchored
            .into_iter()
            .find(|chunks| leaves(chunks) == claim.1)
            .expect("whole segments")
    }
}

#[test]
fn whole_rounds_are_voted_claimed_answered_closed_and_earned() {
    let mut bench = Bench::new(5);
    let mut claimed: u64 = bench.begin().iter().map(|(_, leaves)| leaves).sum();
    for round in 2..4 {
        let submission = bench.play(round);
        // All segments up to the round are anchored with this operation, and claimed with the next.
        let anchored = bench.chain.with_model(|model| model.next_segment);
        assert!(anchored >= round * 5, "{anchored}");
        assert_eq!(submission.beacon.unwrap().1.len(), 4);
        let leaves = submission.claim.unwrap().1;
        assert!(leaves > claimed, "{leaves} after {claimed}");
        claimed = leaves;
        bench.end(round);
        let rounds = bench.rounds().clone();
        wait_for("the fees", || rounds.earnings(8).1.operations > round);
    }
    let status = bench.rounds().status();
    assert_eq!((status.differing_segment, status.round), (None, Some(3)));
    assert_eq!(bench.rounds().claim().round, Some(4));
    for round in 2..4 {
        let result = bench.result(round).unwrap();
        assert_eq!((result.reason, result.passes), (0, 4), "round {round}");
        assert!(result.credit > 0);
    }
    bench.go_to(4 * PERIODS + 1);
    let (rounds, totals) = bench.rounds().earnings(8);
    let bench = bench.restarted();
    assert_eq!(
        bench.rounds().earnings(8).1.operations,
        totals.operations,
        "kept in the store"
    );
    let known = bench.rounds().earnings(8).0;
    assert_eq!(known.len(), rounds.len());
}

#[test]
fn history_before_the_first_segment_of_the_registry_is_anchored_one_by_one_and_claimed() {
    const FIRST: u64 = 5;
    let mut bench = Bench::new(5);
    bench.chain.with_model(|model| {
        (model.next_segment, model.config.now.first_segment) = (FIRST, FIRST);
        model.config.next.first_segment = FIRST;
    });
    let anchored = |bench: &Bench| bench.chain.with_model(|model| model.roots.keys().next().copied());
    bench.play(2);
    assert_eq!(anchored(&bench), Some(FIRST));
    let chain = Arc::clone(&bench.chain);
    let mut period = chain.period();
    for earlier in (0..FIRST).rev() {
        // A turn lasts three periods, and is used in the first two.
        while anchored(&bench) != Some(earlier) {
            period += 1;
            bench.go_to(period);
            if period % (2 * LEAD + 1) <= LEAD {
                wait_for(&format!("segment {earlier}: {:?}", chain.sent()), || {
                    anchored(&bench) <= Some(earlier)
                });
            }
        }
        let roots = chain.with_model(|model| model.roots.clone());
        assert_eq!(roots[&earlier], bench.node.world.tables(FIRST)[earlier as usize].root());
    }
    bench.go_to(period + 3);
    let sent = chain.sent();
    let sent: Vec<_> = sent.iter().filter(|(name, _)| name == "anchorEarlier").collect();
    assert_eq!(sent, vec![&("anchorEarlier".to_string(), None); FIRST as usize]);
    bench.play(3);
    let rounds = bench.rounds().clone();
    let first = ChunkPosition::new(0, 0).unwrap();
    wait_for("segment 0 to be claimed", || rounds.is_claimed(first));
}

#[test]
fn a_claim_is_answered_after_a_restart_and_what_was_dropped_is_what_is_missed() {
    let mut bench = Bench::new(4);
    let claimed = bench.begin();
    // Every other chunk of the first segments goes after it was claimed.
    let gone: Vec<ChunkPosition> = claimed.iter().map(|(position, _)| *position).step_by(2).collect();
    assert!(gone.iter().all(|position| bench.rounds().is_claimed(*position)));
    gone.iter().for_each(|position| bench.node.drop_chunk(*position));
    let mut bench = bench.restarted();
    assert!(gone.iter().all(|position| bench.rounds().is_claimed(*position)));
    let submission = bench.play(2);
    let (beacon, answers) = submission.beacon.unwrap();
    let address = bench.address();
    let (key, slot) = bench.chain.with_model(|model| {
        let node = &model.nodes[&address];
        (node.placement_key.unwrap(), node.claim_of(2).unwrap().clone())
    });
    let context = massa_distributed_storage_worker::challenge::RoundContext {
        chain_id: 77,
        registry: registry().to_string(),
        round: 2,
    };
    let mut expected = Vec::new();
    for draw in 0..4 {
        let mut leaf = context.drawn_leaf(&key, &beacon, draw, slot.leaves);
        let chunk = claimed.iter().find(|(_, leaves)| match leaf.checked_sub(*leaves) {
            Some(rest) => {
                leaf = rest;
                false
            }
            None => true,
        });
        if !gone.contains(&chunk.expect("it is claimed").0) {
            expected.push(draw);
        }
    }
    let answered: Vec<u8> = answers.iter().map(|(draw, _)| *draw).collect();
    assert_eq!(answered, expected);
    bench.end(2);
    let result = bench.result(2).unwrap();
    assert_eq!(usize::from(result.passes), expected.len());
    let claim = submission.claim.unwrap().1;
    assert!(claim > 0, "the next claim is of what is here");
}

#[test]
fn a_round_that_is_void_costs_nothing_and_the_next_goes_on() {
    let mut bench = Bench::new(5);
    bench.begin();
    // Nothing of this node arrives in round 2.
    bench.chain.set_refuse(true);
    bench.go_to(
        RoundTimes {
            round: 2,
            periods: PERIODS,
        }
        .window_ends()
            + 1,
    );
    bench.chain.set_refuse(false);
    bench.go_to(3 * PERIODS);
    assert_eq!(bench.result(2).unwrap().reason, 18);
    let address = bench.address();
    let stake = bench.chain.with_model(|model| model.nodes[&address].stake.to_raw());
    assert_eq!(stake, STAKE);
    let submission = bench.play(3);
    assert!(!submission.roots.is_empty());
    assert!(submission.beacon.is_none(), "nothing was claimed for it");
}

#[test]
fn a_segment_with_a_lost_period_is_voted_for_as_repair_says_and_claimed_once_it_is_entered() {
    let mut bench = Bench::new(6);
    // Of segment 7, in round 1: between two blocks of its thread, so that the ids of its period are known.
    let periods = &bench.node.world.periods;
    let has_block = |period: u64, thread: u8| periods[period as usize][usize::from(thread)].is_some();
    let mut slots =
        (7 * SEGMENT..8 * SEGMENT).flat_map(|period| (0..THREADS).map(move |thread| Slot::new(period, thread)));
    let lost = slots
        .rfind(|slot| (slot.period - 1..=slot.period + 1).all(|period| has_block(period, slot.thread)))
        .unwrap();
    bench.lost = Some(lost);
    bench.begin();
    bench.play(2);
    bench.go_to(
        RoundTimes {
            round: 2,
            periods: PERIODS,
        }
        .window_ends()
            + 1,
    );
    let root = bench.node.root_with_lost(lost.period).unwrap();
    bench.node.board.set_candidate(Some((7, root)));
    let submission = bench.play(3);
    assert!(submission.roots.contains(&(7, root)), "{:?}", submission.roots);
    assert_eq!(bench.node.board.accepted().get(&7), None);
    bench.node.enter_lost(lost.period);
    bench.node.board.set_candidate(None);
    bench.go_to(3 * PERIODS + PERIODS / 2 + 2);
    assert_eq!(bench.node.board.accepted().get(&7), Some(&root));
    let submission = bench.play(4);
    assert!(submission.roots.iter().any(|(segment, _)| *segment > 7));
    let rounds = bench.rounds().clone();
    let position = ChunkPosition::new(7, 0).unwrap();
    wait_for("segment 7 to be claimed", || rounds.is_claimed(position));
}

#[test]
fn another_accepted_root_is_said_loudly_until_the_segment_is_replaced() {
    let mut bench = Bench::new(5);
    bench.begin();
    // Segment 3 turned out other: the network takes one of its periods for lost.
    let next = bench.chain.with_model(|model| model.next_segment);
    assert!(next > 4);
    let other = bench.node.world.segments(next, &[3 * SEGMENT + 1]);
    bench.chain.with_model(|model| {
        let roots = other[3..]
            .iter()
            .map(|(table, _)| (table.header().segment, table.root()));
        model.roots.extend(roots);
    });
    let mut bench = bench.restarted();
    bench.go_to(2 * PERIODS);
    let rounds = bench.rounds().clone();
    wait_for("the note", || rounds.status().differing_segment == Some(3));
    assert!(rounds
        .status()
        .notes
        .iter()
        .any(|note| note.contains("root of segment 3")));
    let before = rounds.claim().next_leaves;
    bench.node.replace(other[3].0.clone());
    wait_for("the segment to be replaced", || rounds.claim().next_leaves > before);
    bench.go_to(2 * PERIODS + 1);
    wait_for("the note to go", || rounds.status().differing_segment.is_none());
}

#[test]
fn nothing_is_read_while_the_final_period_is_the_same() {
    let mut bench = Bench::new(2);
    bench.go_to(PERIODS + 1);
    let rounds = bench.rounds().clone();
    let ticks = Instant::now() + Duration::from_millis(2_500);
    let before = bench.chain.reads();
    assert!(before > 0);
    wait_for("some ticks", || Instant::now() > ticks);
    assert_eq!(bench.chain.reads(), before);
    assert_eq!(rounds.status().period, PERIODS + 1);
}

#[test]
fn the_placement_key_is_set_from_the_first_accepted_round_since_the_registration_however_long_ago() {
    let mut bench = Bench::new(10);
    let address = bench.address();
    bench.go_to(8 * PERIODS);
    bench.chain.with_model(|model| {
        let node = model.nodes.get_mut(&address).unwrap();
        (node.placement_key, node.registered_period) = (None, 2 * PERIODS + 1);
        for round in 2..8 {
            let record = model.rounds.entry(round).or_default();
            record.beacon = Some([round as u8; 32]);
            record.previous_accepted_round = round.checked_sub(1).filter(|previous| *previous >= 2);
        }
        model.last_accepted = Some(7);
    });
    bench.go_to(8 * PERIODS + 1);
    let chain = Arc::clone(&bench.chain);
    let key = || chain.with_model(|model| model.nodes[&address].placement_key);
    wait_for("the placement key", || key().is_some());
    let sent = |name: &str| chain.sent().iter().filter(|(sent, _)| sent == name).count();
    assert_eq!(sent("setPlacementKey"), 1);
    // Its fee is in the books of the round in which it was sent, and it is not sent again.
    let rounds = bench.rounds().clone();
    wait_for("the fees", || {
        rounds.earnings(8).1.operations == chain.sent().len() as u64
    });
    assert!(rounds.earnings(8).0.iter().all(|of| of.round == 8 || of.fees_nano == 0));
    bench.go_to(8 * PERIODS + 2);
    assert_eq!(sent("setPlacementKey"), 1);
}

#[test]
fn what_is_refused_in_blocks_is_sent_three_times_in_a_round_and_then_given_up() {
    let mut bench = Bench::new(2);
    bench.chain.set_fail(true);
    bench.go_to(PERIODS - 6);
    let (chain, rounds) = (Arc::clone(&bench.chain), bench.rounds().clone());
    let says = || rounds.status().notes;
    wait_for("the operation of round 0 to be given up", || {
        says().contains(&"the operation of round 0 was refused too often".to_string())
    });
    let sent = || chain.sent().len();
    assert_eq!(sent(), 3);
    let totals = rounds.earnings(8).1;
    assert_eq!(
        (totals.operations, totals.fees_nano),
        (3, 30_000_000),
        "each fee is paid"
    );
    bench.go_to(PERIODS - 5);
    assert_eq!(sent(), 3);
    // The next round is another operation.
    bench.chain.set_fail(false);
    bench.play(1);
    assert!(!says().iter().any(|note| note.contains("refused too often")));
}

/// Events of the registry that tell of rewards paid, against what the books say, as the API adds them up.
struct Audit {
    paid: u64,
    claimed: u64,
}

impl Audit {
    fn check(&mut self, bench: &Bench) {
        let (rounds, _) = bench.rounds().earnings(100);
        let (address, period) = (bench.address(), bench.chain.period());
        let to_claim = bench.chain.with_model(|model| {
            let node = model.nodes.get(&address)?;
            Some(settled(node, &model.rounds, period, PERIODS).matured_rewards)
        });
        let of_rounds = matured_and_claimed(&rounds, Some(period / PERIODS), to_claim.unwrap_or_default());
        let claimed: u64 = of_rounds.iter().map(|(_, claimed)| claimed.to_raw()).sum();
        assert!(
            claimed >= self.claimed,
            "period {period}: {claimed} after {}",
            self.claimed
        );
        assert_eq!(claimed, self.paid, "period {period}: {rounds:#?}");
        self.claimed = claimed;
    }
}

#[test]
fn the_books_of_a_node_that_left_add_up_to_what_it_was_paid() {
    let mut bench = Bench::new(14);
    let address = bench.address();
    let mut audit = Audit { paid: 0, claimed: 0 };
    bench.begin();
    for round in 2..4 {
        bench.play(round);
        bench.end(round);
    }
    let chain = Arc::clone(&bench.chain);
    let round = |chain: &TestChain| chain.period() / PERIODS;
    // It leaves; what it claimed for round 4 it answers.
    let settle = |chain: &TestChain| {
        let period = chain.period() + 1;
        chain.with_model(|model| model.settle(&address, period));
    };
    settle(&chain);
    let leaves = round(&chain) + 2;
    chain.with_model(|model| model.nodes.get_mut(&address).unwrap().leave_round = Some(leaves));
    let submission = bench.play(4);
    assert!(submission.beacon.is_some() && submission.claim.is_none());
    audit.check(&bench);
    // Nothing that it sends settles its record from now on: others vote, and others close.
    chain.set_refuse(true);
    let claim = |audit: &mut Audit| {
        let period = chain.period() + 1;
        audit.paid += chain.with_model(|model| model.claim_rewards(&address, period).unwrap());
    };
    claim(&mut audit);
    audit.check(&bench);
    for round in 5..7 {
        bench.go_to(round * PERIODS);
        audit.check(&bench);
    }
    bench.go_to((leaves - 2 + 10) * PERIODS);
    audit.check(&bench);
    // The second call settles it, pays what has matured and forgets it.
    claim(&mut audit);
    chain.with_model(|model| model.nodes.remove(&address));
    audit.check(&bench);
    bench.go_to((leaves - 2 + 10) * PERIODS + 1);
    audit.check(&bench);
    let (rounds, _) = bench.rounds().earnings(100);
    let credited: u64 = rounds.iter().map(|of| of.credited_nano).sum();
    let results = chain.with_model(|model| model.results());
    assert_eq!((credited, results.len()), (audit.paid, 3));
    assert!(results.values().all(|result| result.credit > 0));
    assert!(rounds
        .iter()
        .filter(|of| of.leaves > 0)
        .all(|of| of.is_over && of.result == "passed"));
}
