//! Blocks above the anchor: found slot by slot, believed by links alone.

use crate::network::{Answer, Links, Network, Piece};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{Capabilities, FetchEvent, FetchFailure, FetchTarget, SlotContent};
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::repair::periods::{
    OpenPeriods, PeriodAction, PeriodLimits, PeriodsPlan, PeriodsView, SettledSlot, WantedBlock,
};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_tests::{Generator, GeneratorConfig};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const THREADS: u8 = 4;
const PERIODS: u64 = 16;
/// What consensus hands over: a block of every thread is in it.
const NEWEST: u64 = 4;
const TICK: Duration = Duration::from_millis(100);

struct Chain {
    parameters: ArchiveParameters,
    /// From period 1 on.
    periods: Vec<Vec<Option<BlockRecord>>>,
    generator: Generator,
}

impl Chain {
    fn new(seed: u64) -> Self {
        let config = GeneratorConfig {
            seed,
            thread_count: THREADS,
            miss_rate: 0.3,
            operations: 0..=3,
            endorsements_per_block: 0,
            ..GeneratorConfig::default()
        };
        let mut generator = Generator::new(config);
        let mut periods: Vec<_> = (0..PERIODS).map(|_| generator.next_period()).collect();
        // Links begin in every thread.
        while periods.last().unwrap().iter().any(Option::is_none) {
            periods.push(generator.next_period());
        }
        Self {
            parameters: generator.parameters(),
            periods,
            generator,
        }
    }

    fn last_period(&self) -> u64 {
        self.periods.len() as u64
    }

    fn blocks(&self) -> BTreeMap<Slot, BlockRecord> {
        let of_period = |(slots, period): (&Vec<Option<BlockRecord>>, u64)| {
            let records = slots.iter().zip(0..THREADS);
            let found = records.filter_map(move |(record, thread)| Some((Slot::new(period, thread), record.clone()?)));
            found.collect::<Vec<_>>()
        };
        self.periods.iter().zip(1..).flat_map(of_period).collect()
    }

    fn entries(&self) -> BTreeMap<u64, PeriodEntry> {
        let of_period = |(slots, period): (&Vec<Option<BlockRecord>>, u64)| {
            let slots: Vec<_> = slots.iter().map(Option::as_ref).collect();
            (
                period,
                EncodedPeriod::whole(&self.parameters, period, &slots).unwrap().entry,
            )
        };
        self.periods.iter().zip(1..).map(of_period).collect()
    }
}

/// What a peer has, and what it says of the rest.
#[derive(Clone, Default)]
struct Archive {
    blocks: BTreeMap<Slot, BlockRecord>,
    entries: BTreeMap<u64, PeriodEntry>,
    /// Of what it has no block, it says that it was missed.
    calls_all_missed: bool,
    is_silent: bool,
}

impl Archive {
    fn whole(chain: &Chain) -> Self {
        Self {
            blocks: chain.blocks(),
            entries: chain.entries(),
            ..Self::default()
        }
    }

    fn answer(&self, id: u64, target: &FetchTarget, from: NodeId) -> Answer {
        match target {
            _ if self.is_silent => Answer::Silence,
            FetchTarget::Block { slot } => {
                let content = match self.blocks.get(slot) {
                    Some(record) => SlotContent::Block(record.clone()),
                    None if self.calls_all_missed => SlotContent::Miss,
                    None => return Answer::refusal(FetchFailure::NotHeld),
                };
                let bytes = self.blocks.get(slot).map_or(1, |record| record.as_bytes().len() as u64);
                let slot = *slot;
                let event = FetchEvent::Block {
                    id,
                    from,
                    slot,
                    content,
                };
                Answer::Whole(vec![Piece { bytes, event }])
            }
            FetchTarget::Entries { first_period, count } => {
                let periods = *first_period..first_period + u64::from(*count);
                let entries: Option<Vec<PeriodEntry>> =
                    periods.map(|period| self.entries.get(&period).cloned()).collect();
                let Some(entries) = entries else {
                    return Answer::refusal(FetchFailure::NotHeld);
                };
                let first_period = *first_period;
                let bytes = entries.iter().map(|entry| u64::from(entry.length())).sum();
                let event = FetchEvent::Entries {
                    id,
                    from,
                    first_period,
                    entries,
                };
                Answer::Whole(vec![Piece { bytes, event }])
            }
            _ => Answer::refusal(FetchFailure::NotHeld),
        }
    }
}

/// The writer's view of slots: blocks, and misses that links show.
struct Writer {
    boundary: Vec<BlockId>,
    blocks: BTreeMap<Slot, (BlockId, BlockId)>,
    records: BTreeMap<Slot, BlockRecord>,
    newest: u64,
    border: Option<std::ops::RangeInclusive<u64>>,
}

impl Writer {
    fn add(&mut self, record: BlockRecord) {
        let view = record.view(THREADS).unwrap();
        let (slot, ids) = (view.slot, (view.block_id(), view.same_thread_parent().unwrap()));
        self.blocks.insert(slot, ids);
        self.records.insert(slot, record);
    }

    /// Which slots are settled, and which blocks are wanted.
    fn look(&self) -> (BTreeMap<Slot, SettledSlot>, Vec<WantedBlock>) {
        let mut settled = BTreeMap::new();
        let mut wanted = Vec::new();
        for thread in 0..THREADS {
            let of_thread = || self.blocks.iter().filter(|(slot, _)| slot.thread == thread);
            for (slot, (id, parent)) in of_thread() {
                settled.insert(*slot, SettledSlot::Block(*id));
                let parent_slot = of_thread()
                    .find(|(_, (id, _))| id == parent)
                    .map(|(slot, _)| slot.period);
                let below = match parent_slot {
                    Some(period) => period + 1,
                    None if self.boundary[usize::from(thread)] == *parent => 1,
                    None => {
                        wanted.push(WantedBlock {
                            thread,
                            id: *parent,
                            before: slot.period,
                        });
                        continue;
                    }
                };
                for period in below..slot.period {
                    settled.insert(Slot::new(period, thread), SettledSlot::Miss);
                }
            }
        }
        (settled, wanted)
    }

    fn missing(&self) -> OpenPeriods {
        let (settled, wanted) = self.look();
        let threads_of = |period: u64| {
            let here = (0..THREADS).filter(|thread| settled.contains_key(&Slot::new(period, *thread)));
            here.collect::<BTreeSet<u8>>()
        };
        let periods = (1..=self.newest).rev().map(|period| (period, threads_of(period)));
        OpenPeriods {
            wanted,
            periods: periods.filter(|(_, here)| here.len() < usize::from(THREADS)).collect(),
            entries: self.border.clone(),
        }
    }
}

struct Repairing {
    plan: PeriodsPlan,
    writer: Writer,
    network: Network,
    anchored_below: u64,
    bytes_max: u64,
    taken_entries: Vec<(NodeId, u64)>,
}

fn limits() -> PeriodLimits {
    PeriodLimits {
        delay: Duration::from_secs(1),
        patience: Duration::from_secs(4),
        ..PeriodLimits::default()
    }
}

impl Repairing {
    /// A node to which consensus handed the newest periods.
    fn new(chain: &Chain, archives: Vec<Archive>, links: Links) -> Self {
        let mut network = Network::new(links, 3);
        for archive in archives {
            let capabilities = Capabilities {
                newest_period: archive.entries.keys().last().copied(),
                ..Capabilities::default()
            };
            network.add(
                capabilities,
                Box::new(move |id, target, from| archive.answer(id, target, from)),
            );
        }
        let mut writer = Writer {
            boundary: chain.parameters.boundary.clone(),
            blocks: BTreeMap::new(),
            records: BTreeMap::new(),
            newest: chain.last_period(),
            border: None,
        };
        for (slot, record) in chain.blocks() {
            if slot.period > chain.last_period() - NEWEST {
                writer.add(record);
            }
        }
        Self {
            plan: PeriodsPlan::new(chain.parameters.clone(), limits()),
            writer,
            network,
            anchored_below: 0,
            bytes_max: 0,
            taken_entries: Vec::new(),
        }
    }

    fn with_view<T>(&mut self, decide: impl FnOnce(&mut PeriodsPlan, &PeriodsView<'_>) -> T) -> T {
        let peers = self.network.storage_peers();
        let (settled, _) = self.writer.look();
        let view = PeriodsView {
            now: self.network.now(),
            peers: &peers,
            is_anchored: &|period| period < self.anchored_below,
            settled: &|slot| settled.get(&slot).copied(),
        };
        decide(&mut self.plan, &view)
    }

    fn is_whole(&self) -> bool {
        self.writer.missing().periods.is_empty()
    }

    fn run(&mut self, until: Duration) -> bool {
        while self.network.elapsed() < until && !self.is_whole() {
            self.tick();
        }
        self.is_whole()
    }

    fn tick(&mut self) {
        let missing = self.writer.missing();
        let actions = self.with_view(|plan, view| plan.on_missing(&missing, view));
        self.carry_out(actions);
        let until = self.network.elapsed() + TICK;
        while let Some(event) = self.network.next_event(until) {
            let now = self.network.now();
            let actions = match event {
                FetchEvent::Block { id, from, content, .. } => {
                    self.with_view(|plan, view| plan.on_block(id, from, content, view))
                }
                FetchEvent::Entries {
                    id,
                    from,
                    first_period,
                    entries,
                } => self.plan.on_entries(id, from, (first_period, entries), now),
                FetchEvent::Complete { id } => self.with_view(|plan, view| plan.on_complete(id, view)),
                FetchEvent::Failed { id, attempts } => {
                    self.plan.on_failed(id, &attempts, now);
                    Vec::new()
                }
                _ => Vec::new(),
            };
            self.carry_out(actions);
        }
    }

    fn carry_out(&mut self, actions: Vec<PeriodAction>) {
        for action in actions {
            match action {
                PeriodAction::Fetch { id, target, holders } => self.network.fetch(id, target, holders),
                PeriodAction::Accept { slot, record } => {
                    assert_eq!(record.view(THREADS).unwrap().slot, slot);
                    self.writer.add(record);
                }
                PeriodAction::TakeEntries { from, entries } => {
                    self.taken_entries
                        .extend(entries.into_iter().map(|(period, _)| (from, period)));
                    self.writer.border = None;
                }
                PeriodAction::Quarantine { node, reason } => self.network.quarantine(node, reason),
            }
        }
        self.bytes_max = self.bytes_max.max(self.plan.bytes());
    }

    fn node(&self, index: usize) -> NodeId {
        self.network.peers[index].node
    }

    fn liars(&self) -> Vec<NodeId> {
        self.network.quarantined.keys().copied().collect()
    }

    /// What is here is what the chain has.
    fn assert_true(&self, chain: &Chain) {
        let truth = chain.blocks();
        assert!(self
            .writer
            .records
            .iter()
            .all(|(slot, record)| truth.get(slot) == Some(record)));
    }
}

fn links() -> Links {
    Links::new(20, 1 << 20, 1 << 22)
}

#[test]
fn a_gap_is_filled_from_one_peer() {
    let chain = Chain::new(1);
    let mut node = Repairing::new(&chain, vec![Archive::whole(&chain)], links());
    assert!(node.run(Duration::from_secs(20)));
    assert_eq!(node.writer.records, chain.blocks());
    assert!(node.liars().is_empty());
}

#[test]
fn blocks_that_no_peer_has_all_of_come_together() {
    let chain = Chain::new(2);
    let mut archives = vec![Archive::default(); 3];
    for (index, (slot, record)) in chain.blocks().into_iter().enumerate() {
        archives[index % 3].blocks.insert(slot, record);
    }
    let mut node = Repairing::new(&chain, archives, links());
    assert!(node.run(Duration::from_secs(60)));
    assert_eq!(node.writer.records, chain.blocks());
    assert!(node.liars().is_empty());
}

#[test]
fn nobodys_word_for_a_miss_is_believed() {
    let chain = Chain::new(3);
    let misses = Archive {
        calls_all_missed: true,
        ..Archive::default()
    };
    let mut node = Repairing::new(&chain, vec![misses.clone(), misses.clone()], links());
    assert!(!node.run(Duration::from_secs(20)));
    assert!(!node.writer.missing().periods.is_empty());
    // With one that has the blocks, the others are found out.
    let mut keeper = Archive::whole(&chain);
    keeper.entries.clear();
    let mut node = Repairing::new(&chain, vec![misses, keeper], links());
    assert!(node.run(Duration::from_secs(60)));
    node.assert_true(&chain);
    assert_eq!(node.liars(), [node.node(0)]);
}

#[test]
fn a_block_of_another_chain_is_not_taken_and_its_sender_named() {
    let chain = Chain::new(4);
    let other = Chain::new(40);
    let false_blocks = Archive {
        blocks: other.blocks(),
        ..Archive::default()
    };
    let mut node = Repairing::new(&chain, vec![false_blocks, Archive::whole(&chain)], links());
    assert!(node.run(Duration::from_secs(60)));
    node.assert_true(&chain);
    assert_eq!(node.liars(), [node.node(0)]);
}

#[test]
fn a_block_with_a_false_signature_is_its_senders_fault() {
    let chain = Chain::new(5);
    let mut forged = Archive::whole(&chain);
    for record in forged.blocks.values_mut() {
        let mut bytes = record.as_bytes().to_vec();
        bytes[20] ^= 1;
        *record = BlockRecord::from_bytes(bytes).unwrap();
    }
    forged.entries.clear();
    let mut node = Repairing::new(&chain, vec![forged, Archive::whole(&chain)], links());
    assert!(node.run(Duration::from_secs(60)));
    node.assert_true(&chain);
    assert_eq!(node.liars(), [node.node(0)]);
}

/// With its signature changed a block keeps its id, so the true one, which came later, was dropped as known, and its sender counted
/// as asked. Each period then cost as long a wait as when nobody has it.
#[test]
fn a_false_block_that_came_before_the_true_one_costs_no_wait() {
    let chain = Chain::new(5);
    let mut forged = Archive::whole(&chain);
    for record in forged.blocks.values_mut() {
        let mut bytes = record.as_bytes().to_vec();
        bytes[20] ^= 1;
        *record = BlockRecord::from_bytes(bytes).unwrap();
    }
    // The liar says that nothing is missing there: it is asked first.
    let mut honest = Archive::whole(&chain);
    honest.entries.clear();
    let mut node = Repairing::new(&chain, vec![forged, honest], links());
    // Nothing can be believed yet, and everybody is asked for everything.
    let newest = std::mem::take(&mut node.writer.records);
    node.writer.blocks.clear();
    assert!(!node.run(Duration::from_secs(12)));
    newest.into_values().for_each(|record| node.writer.add(record));
    assert!(node.run(Duration::from_secs(14)));
    node.assert_true(&chain);
    assert_eq!(node.liars(), [node.node(0)]);
}

#[test]
fn another_valid_signature_is_accepted() {
    let chain = Chain::new(6);
    let mut archive = Archive::whole(&chain);
    for record in archive.blocks.values_mut() {
        *record = chain.generator.sign_again(record);
    }
    let mut node = Repairing::new(&chain, vec![archive], links());
    assert!(node.run(Duration::from_secs(20)));
    assert!(node.liars().is_empty());
}

#[test]
fn entries_are_hints_and_false_ones_only_take_time() {
    let chain = Chain::new(7);
    let mut misled = Archive {
        calls_all_missed: true,
        ..Archive::default()
    };
    let empty = vec![None; usize::from(THREADS)];
    for period in 1..=chain.last_period() {
        let entry = EncodedPeriod::whole(&chain.parameters, period, &empty).unwrap().entry;
        misled.entries.insert(period, entry);
    }
    misled.calls_all_missed = false;
    let mut keeper = Archive::whole(&chain);
    keeper.entries.clear();
    let mut node = Repairing::new(&chain, vec![misled, keeper], links());
    assert!(node.run(Duration::from_secs(120)));
    node.assert_true(&chain);
}

#[test]
fn anchored_periods_are_left_to_their_tables() {
    let chain = Chain::new(8);
    let mut node = Repairing::new(&chain, vec![Archive::whole(&chain)], links());
    node.anchored_below = 9;
    node.run(Duration::from_secs(10));
    let mut above = chain.blocks();
    above.retain(|slot, _| slot.period >= 9);
    assert_eq!(node.writer.records, above);
}

#[test]
fn a_period_is_nowhere_once_every_peer_was_asked_for_what_is_missing() {
    let chain = Chain::new(9);
    let lost = chain.blocks().keys().rfind(|slot| slot.period == 6).copied().unwrap();
    let mut archive = Archive::whole(&chain);
    archive.blocks.remove(&lost);
    let ids: Vec<Option<BlockId>> = chain.entries()[&6].ids().collect();
    let mut node = Repairing::new(&chain, vec![archive.clone(), archive.clone(), archive], links());
    let since = node.network.now();
    let nowhere = |node: &Repairing, since: Instant| {
        let peers = node.network.storage_peers();
        node.plan.no_holder_since(6, &ids, since, &peers)
    };
    node.tick();
    assert!(!nowhere(&node, since), "nobody was asked yet");
    node.run(Duration::from_secs(30));
    assert!(nowhere(&node, since));
    // An older answer does not count, a new peer that was not asked neither.
    let now = node.network.now();
    assert!(!nowhere(&node, now));
    node.network
        .add(Capabilities::default(), Box::new(|_, _, _| Answer::Silence));
    assert!(!nowhere(&node, since));
    node.network.peers.clear();
    assert!(!nowhere(&node, since), "without peers nothing is known");
}

#[test]
fn memory_stays_bounded_while_nothing_can_be_believed() {
    let chain = Chain::new(10);
    let mut archive = Archive::whole(&chain);
    // The blocks that links begin with are nowhere.
    archive
        .blocks
        .retain(|slot, _| slot.period < chain.last_period() - NEWEST - 2);
    let mut node = Repairing::new(&chain, vec![archive], links());
    let bytes = 20_000;
    node.plan = PeriodsPlan::new(chain.parameters.clone(), PeriodLimits { bytes, ..limits() });
    assert!(!node.run(Duration::from_secs(30)));
    assert!(node.bytes_max <= bytes + (16 << 10), "{}", node.bytes_max);
}

#[test]
fn entries_of_the_border_are_fetched_for_the_writer() {
    let chain = Chain::new(11);
    let mut node = Repairing::new(&chain, vec![Archive::default(), Archive::whole(&chain)], links());
    node.writer.border = Some(2..=5);
    for _ in 0..20 {
        node.tick();
    }
    let from = node.node(1);
    assert_eq!(node.taken_entries, [(from, 2), (from, 3), (from, 4), (from, 5)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever peers do, whatever is lost on the way, and whenever the node is started again: what is taken is true; and what
    /// honest peers have among them comes together.
    #[test]
    fn any_peers_and_restarts(
        seed in 0u64..1_000,
        silent in any::<bool>(),
        false_blocks in any::<bool>(),
        misses in any::<bool>(),
        loss in 0.0f64..0.2,
        restarts in proptest::collection::vec(1usize..30, 0..3),
    ) {
        let chain = Chain::new(seed);
        let mut archives = vec![Archive::default(); 2];
        for (index, (slot, record)) in chain.blocks().into_iter().enumerate() {
            archives[index % 2].blocks.insert(slot, record);
        }
        if silent {
            archives.push(Archive { is_silent: true, ..Archive::default() });
        }
        if false_blocks {
            archives.push(Archive { blocks: Chain::new(seed + 1_000).blocks(), ..Archive::default() });
        }
        if misses {
            archives.push(Archive { calls_all_missed: true, ..Archive::default() });
        }
        let mut node = Repairing::new(&chain, archives, Links { loss, event_loss: loss / 2.0, ..links() });
        for ticks in restarts {
            (0..ticks).for_each(|_| node.tick());
            node.network.restart();
            node.plan = PeriodsPlan::new(chain.parameters.clone(), limits());
        }
        prop_assert!(node.run(Duration::from_secs(900)), "{:?}", node.writer.missing());
        node.assert_true(&chain);
        for honest in [node.node(0), node.node(1)] {
            prop_assert!(!node.network.quarantined.contains_key(&honest));
        }
    }
}
