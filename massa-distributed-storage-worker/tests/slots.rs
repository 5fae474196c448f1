//! Slots: a block settles its own, its links to its thread's neighbours settle the misses between them, nothing else does.

use massa_distributed_storage_worker::archive::slots::{
    first_borders, Border, Changes, ClosedSlots, Settled, SlotError, SlotTracker, MAX_GAP_PERIODS,
};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

const THREADS: u8 = 2;

fn id(name: &str) -> BlockId {
    BlockId::new(Hash::compute_from(name.as_bytes()))
}

/// What closed segments have, in memory.
#[derive(Clone, Debug, Default)]
struct Archive {
    slots: BTreeMap<Slot, Settled>,
}

impl ClosedSlots for Archive {
    type Error = Infallible;

    fn slot(&self, slot: Slot) -> Result<Option<Settled>, Infallible> {
        Ok(self.slots.get(&slot).copied())
    }
}

/// Periods in which nothing is missing.
fn complete_periods(tracker: &SlotTracker) -> Vec<u64> {
    let periods = tracker.open_periods(0..u64::MAX).map(|(period, _)| period);
    periods.filter(|period| tracker.is_complete(*period)).collect()
}

/// A tracker that starts in period 10, after one boundary block in each thread.
fn tracker() -> SlotTracker {
    SlotTracker::new(10, 10, first_borders(THREADS, &[id("boundary 0"), id("boundary 1")]))
}

type Added = Result<Changes, SlotError<Infallible>>;

/// Adds a block of thread 0.
fn add(tracker: &mut SlotTracker, period: u64, name: &str, parent: &str) -> Added {
    let slot = Slot::new(period, 0);
    tracker.add_block(slot, id(name), Some(id(parent)), &Archive::default())
}

fn misses(periods: impl IntoIterator<Item = u64>) -> Vec<Slot> {
    periods.into_iter().map(|period| Slot::new(period, 0)).collect()
}

fn conflict(name: &str, period: u64) -> Added {
    Err(SlotError::Conflict {
        id: id(name),
        slot: Slot::new(period, 0),
    })
}

/// Adds a block that must be refused, and checks that nothing changed.
fn refused(tracker: &mut SlotTracker, period: u64, name: &str, parent: &str) -> Added {
    let before = format!("{tracker:?}");
    let result = add(tracker, period, name, parent);
    assert!(result.is_err());
    assert_eq!(format!("{tracker:?}"), before);
    result
}

#[test]
fn a_block_settles_the_misses_since_its_parent() {
    let mut tracker = tracker();
    add(&mut tracker, 10, "a", "boundary 0").unwrap();

    let changes = add(&mut tracker, 14, "b", "a").unwrap();

    assert_eq!(changes.misses, misses(11..14));
    assert_eq!(tracker.slots(12), Some([Some(Settled::Miss), None].as_slice()));
    assert_eq!(
        tracker.slots(14),
        Some([Some(Settled::Block(id("b"))), None].as_slice())
    );
    assert_eq!(tracker.slots(15), None);
}

#[test]
fn the_boundary_settles_the_misses_before_the_first_block() {
    let changes = add(&mut tracker(), 12, "a", "boundary 0").unwrap();

    assert_eq!(changes.misses, misses(10..12));
    assert_eq!(changes.new_link, None);
}

#[test]
fn the_boundary_of_another_thread_settles_nothing() {
    let changes = add(&mut tracker(), 12, "a", "boundary 1").unwrap();

    assert_eq!(changes.misses, []);
    assert_eq!(changes.new_link, Some((0, id("boundary 1"), 12)));
}

#[test]
fn a_genesis_block_has_no_parents() {
    let mut tracker = SlotTracker::new(0, 0, first_borders(THREADS, &[]));

    let changes = tracker.add_block(Slot::new(0, 0), id("genesis"), None, &Archive::default());

    assert_eq!(changes, Ok(Changes::default()));
    assert_eq!(add(&mut tracker, 2, "a", "genesis").unwrap().misses, misses([1]));
}

#[test]
fn only_genesis_blocks_have_no_parents() {
    let error = Err(SlotError::NoParents(id("a")));
    let archive = Archive::default();

    let mut from_genesis = SlotTracker::new(0, 0, first_borders(THREADS, &[]));
    assert_eq!(from_genesis.add_block(Slot::new(1, 0), id("a"), None, &archive), error);
    assert_eq!(tracker().add_block(Slot::new(10, 0), id("a"), None, &archive), error);
}

#[test]
fn a_period_is_complete_when_its_last_slot_is_settled() {
    let mut tracker = tracker();
    let archive = Archive::default();
    let other = |tracker: &mut SlotTracker, period, name: &str, parent: &str| {
        let slot = Slot::new(period, 1);
        tracker.add_block(slot, id(name), Some(id(parent)), &archive).unwrap()
    };

    assert_eq!(
        add(&mut tracker, 10, "a", "boundary 0").unwrap().complete,
        Vec::<u64>::new()
    );
    assert_eq!(other(&mut tracker, 12, "x", "boundary 1").complete, [10]);
    assert_eq!(add(&mut tracker, 12, "b", "a").unwrap().complete, [11, 12]);
    assert_eq!(complete_periods(&tracker), [10, 11, 12]);
    assert_eq!(
        tracker.open_periods(0..100).collect::<Vec<_>>(),
        [(10, 2), (11, 2), (12, 2)]
    );

    tracker.forget(11);
    assert_eq!(complete_periods(&tracker), [10, 12]);
    assert_eq!(tracker.first_missing(11), Some(Slot::new(11, 0)));
}

#[test]
fn an_unknown_parent_leaves_everything_before_it_missing() {
    let mut tracker = tracker();

    let changes = add(&mut tracker, 14, "c", "b").unwrap();

    assert_eq!(changes.misses, []);
    assert_eq!(changes.new_link, Some((0, id("b"), 14)));
    assert_eq!(tracker.slots(13), None);
}

#[test]
fn a_late_parent_settles_the_misses_on_both_sides() {
    let mut tracker = tracker();
    add(&mut tracker, 10, "a", "boundary 0").unwrap();
    add(&mut tracker, 15, "c", "b").unwrap();

    let changes = add(&mut tracker, 12, "b", "a").unwrap();

    assert_eq!(changes.misses, misses([11, 13, 14]));
    assert_eq!(changes.resolved_links, [(0, id("b"))]);
    assert_eq!(changes.new_link, None);
}

#[test]
fn the_last_block_of_a_closed_segment_is_known_as_a_parent() {
    let mut tracker = tracker();
    add(&mut tracker, 11, "a", "boundary 0").unwrap();
    tracker.close(12);

    assert_eq!(
        tracker.borders(),
        [Border::Block(id("a")), Border::Block(id("boundary 1"))]
    );
    assert_eq!(add(&mut tracker, 13, "b", "a").unwrap().misses, misses([12]));
}

/// Below tables nothing is known but that there is something: links wait until entries tell which block is the last.
#[test]
fn a_border_that_is_found_answers_the_link_to_it() {
    let mut tracker = tracker();
    add(&mut tracker, 14, "b", "a").unwrap();
    let forgotten = tracker.close_by_tables(12);
    assert_eq!((forgotten.periods, forgotten.links), (vec![], vec![]));
    assert_eq!(tracker.borders(), [Border::Unknown; 2]);
    assert_eq!(add(&mut tracker, 15, "c", "b").unwrap().misses, []);

    let other = tracker.enter_border(1, Border::Block(id("a")));
    assert_eq!(other, Changes::default(), "of another thread");
    let changes = tracker.enter_border(0, Border::Block(id("a")));

    assert_eq!(changes.misses, misses(12..14));
    assert_eq!(changes.resolved_links, [(0, id("a"))]);
    assert_eq!(tracker.unknown_parents().count(), 0);
}

#[test]
fn what_tables_close_takes_its_links_with_it() {
    let mut tracker = tracker();
    add(&mut tracker, 11, "a", "unknown").unwrap();
    add(&mut tracker, 13, "c", "b").unwrap();
    let forgotten = tracker.close_by_tables(12);
    assert_eq!(
        (forgotten.periods, forgotten.links),
        (vec![11], vec![(0, id("unknown"))])
    );
    assert_eq!(tracker.unknown_parents().collect::<Vec<_>>(), [(0, id("b"), 13)]);
    assert_eq!((tracker.first_open(), tracker.newest()), (12, Some(13)));
}

#[test]
fn a_lost_period_has_the_ids_of_its_accepted_entry_whatever_was_known() {
    let mut tracker = tracker();
    add(&mut tracker, 12, "other", "unknown").unwrap();
    add(&mut tracker, 15, "c", "b").unwrap();

    let changes = tracker.enter_lost(12, &[Some(id("b")), None]);

    assert_eq!(changes.misses, misses(13..15));
    assert_eq!(changes.resolved_links, [(0, id("unknown")), (0, id("b"))]);
    assert_eq!(changes.complete, [12]);
    assert!(tracker.is_lost(12) && tracker.is_complete(12));
    assert_eq!(
        tracker.slots(12),
        Some([Some(Settled::Block(id("b"))), Some(Settled::Miss)].as_slice())
    );
    assert!(add(&mut tracker, 12, "b", "a").unwrap().known, "it comes too late");
    assert_eq!(add(&mut tracker, 12, "other", "a"), conflict("other", 12));
}

/// A lost block's own link stays: it says where the block before it must be.
#[test]
fn the_link_of_a_block_that_is_lost_stays() {
    let mut tracker = tracker();
    let slot = Slot::new(12, 0);
    tracker
        .add_header(slot, id("b"), Some(id("a")), &Archive::default())
        .unwrap();

    let changes = tracker.enter_lost(12, &[Some(id("b")), None]);

    assert_eq!(changes.resolved_links, []);
    assert_eq!(tracker.unknown_parents().collect::<Vec<_>>(), [(0, id("a"), 12)]);
    assert_eq!(add(&mut tracker, 10, "a", "boundary 0").unwrap().misses, misses([11]));
}

#[test]
fn a_block_whose_row_is_gone_is_missing_and_its_id_is_known() {
    let mut tracker = tracker();
    add(&mut tracker, 10, "a", "boundary 0").unwrap();
    let slot = Slot::new(10, 0);

    assert_eq!(tracker.lose_block(slot), Some(id("a")));
    assert_eq!(tracker.lose_block(slot), None);
    assert_eq!(tracker.first_missing(10), Some(slot));
    assert_eq!(tracker.headers().get(&slot), Some(&id("a")));
    assert_eq!(refused(&mut tracker, 10, "b", "boundary 0"), conflict("b", 10));
    assert!(!add(&mut tracker, 10, "a", "boundary 0").unwrap().known);
    assert_eq!(tracker.slots(10).unwrap()[0], Some(Settled::Block(id("a"))));
}

#[test]
fn the_ids_of_a_period_are_known_from_headers_and_from_the_blocks_above() {
    let mut tracker = tracker();
    let archive = Archive::default();
    add(&mut tracker, 11, "b", "a").unwrap();
    assert_eq!(tracker.ids_of(10), None);
    tracker
        .add_header(Slot::new(10, 1), id("x"), Some(id("boundary 1")), &archive)
        .unwrap();
    assert_eq!(tracker.ids_of(10), Some(vec![Some(id("a")), Some(id("x"))]));
    // Two open slots below the child: the parent may be in either.
    add(&mut tracker, 14, "d", "c").unwrap();
    tracker
        .add_header(Slot::new(13, 1), id("y"), Some(id("x")), &archive)
        .unwrap();
    assert_eq!(tracker.ids_of(13), None);
}

#[test]
fn a_known_block_changes_nothing() {
    let mut tracker = tracker();
    add(&mut tracker, 12, "b", "a").unwrap();
    let before = format!("{tracker:?}");

    let again = add(&mut tracker, 12, "b", "a").unwrap();

    let known = Changes {
        known: true,
        ..Changes::default()
    };
    assert_eq!(again, known);
    assert_eq!(format!("{tracker:?}"), before);
}

#[test]
fn a_block_of_a_closed_segment_is_known_and_another_one_for_its_slot_is_refused() {
    let slot = Slot::new(11, 0);
    let archive = Archive {
        slots: [(slot, Settled::Block(id("a")))].into(),
    };
    let mut tracker = tracker();
    tracker.close(20);
    let mut add = |slot, name| tracker.add_block(slot, id(name), Some(id("boundary 0")), &archive);

    assert!(add(slot, "a").unwrap().known);
    assert_eq!(add(slot, "b"), conflict("b", 11));
    assert!(
        add(Slot::new(12, 0), "b").unwrap().known,
        "only the table is here: its root decides"
    );
}

#[test]
fn a_second_block_for_a_slot_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 11, "a", "boundary 0").unwrap();

    assert_eq!(refused(&mut tracker, 11, "b", "boundary 0"), conflict("b", 11));
}

#[test]
fn a_block_for_a_miss_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 12, "a", "boundary 0").unwrap();

    assert_eq!(refused(&mut tracker, 11, "b", "boundary 0"), conflict("b", 11));
}

#[test]
fn a_block_whose_links_pass_over_a_block_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 10, "a", "boundary 0").unwrap();
    add(&mut tracker, 12, "b", "a").unwrap();

    assert_eq!(refused(&mut tracker, 14, "c", "a"), conflict("c", 12));
}

#[test]
fn a_late_parent_whose_child_passes_over_a_block_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 14, "d", "b").unwrap();
    add(&mut tracker, 13, "c", "somewhere").unwrap();

    assert_eq!(refused(&mut tracker, 12, "b", "a"), conflict("b", 13));
}

#[test]
fn a_second_child_of_an_unknown_parent_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 14, "c", "b").unwrap();

    assert_eq!(refused(&mut tracker, 16, "d", "b"), conflict("d", 16));
}

#[test]
fn a_parent_that_is_not_before_its_child_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 14, "parent", "a").unwrap();

    assert_eq!(refused(&mut tracker, 12, "child", "parent"), conflict("child", 12));
}

/// The same, the child first: it was taken, both were settled, and the order of arrival decided what was believed.
#[test]
fn a_late_parent_that_is_not_before_its_child_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 12, "child", "parent").unwrap();

    assert_eq!(refused(&mut tracker, 14, "parent", "a"), conflict("parent", 14));
}

#[test]
fn a_run_of_misses_longer_than_is_believed_is_refused() {
    let gap = |periods| Err(SlotError::Gap { id: id("a"), periods });
    let first = 10;

    let longest = add(&mut tracker(), first + MAX_GAP_PERIODS, "a", "boundary 0");
    assert_eq!(longest.unwrap().misses.len() as u64, MAX_GAP_PERIODS);
    let longer = refused(&mut tracker(), first + MAX_GAP_PERIODS + 1, "a", "boundary 0");
    assert_eq!(longer, gap(MAX_GAP_PERIODS + 1));
    let longest_of_all = refused(&mut tracker(), u64::MAX, "a", "boundary 0");
    assert_eq!(longest_of_all, gap(u64::MAX - first));
}

#[test]
fn a_run_of_misses_before_a_child_longer_than_is_believed_is_refused() {
    let mut tracker = tracker();
    add(&mut tracker, 12 + MAX_GAP_PERIODS, "child", "a").unwrap();

    let error = SlotError::Gap {
        id: id("a"),
        periods: MAX_GAP_PERIODS + 1,
    };
    assert_eq!(refused(&mut tracker, 10, "a", "boundary 0"), Err(error));
    add(&mut tracker, 11, "a", "boundary 0").unwrap();
}

#[test]
fn a_block_of_a_thread_that_does_not_exist_is_refused() {
    let result = tracker().add_block(Slot::new(10, THREADS), id("a"), None, &Archive::default());

    let error = SlotError::Thread {
        thread: THREADS,
        thread_count: THREADS,
    };
    assert_eq!(result, Err(error));
}

#[test]
fn a_block_before_the_first_period_is_refused() {
    let error = SlotError::BeforeFirst {
        period: 9,
        first_period: 10,
    };

    assert_eq!(refused(&mut tracker(), 9, "a", "boundary 0"), Err(error));
}

#[test]
fn an_archive_that_cannot_be_read_is_not_the_blocks_fault() {
    struct Unreadable;
    impl ClosedSlots for Unreadable {
        type Error = &'static str;

        fn slot(&self, _: Slot) -> Result<Option<Settled>, Self::Error> {
            Err("unreadable")
        }
    }
    let mut tracker = tracker();
    tracker.close(20);
    let added = tracker.add_block(Slot::new(11, 0), id("b"), Some(id("a")), &Unreadable);
    assert_eq!(added, Err(SlotError::Archive("unreadable")));
}

#[test]
fn misses_are_declared_where_nothing_is_known() {
    let mut tracker = tracker();
    add(&mut tracker, 11, "a", "boundary 0").unwrap();

    let changes = tracker.declare_misses::<Infallible>(10..=12).unwrap();

    let slot = |period, thread| Slot::new(period, thread);
    assert_eq!(changes.misses, [slot(10, 1), slot(11, 1), slot(12, 0), slot(12, 1)]);
    assert_eq!(changes.complete, [10, 11, 12]);
    assert_eq!(
        tracker.slots(11),
        Some([Some(Settled::Block(id("a"))), Some(Settled::Miss)].as_slice())
    );
}

#[test]
fn misses_are_not_declared_for_more_periods_than_are_believed() {
    let declare = |periods| tracker().declare_misses::<Infallible>(10..=9 + periods);

    assert!(declare(MAX_GAP_PERIODS).is_ok());
    let too_many = MAX_GAP_PERIODS + 1;
    assert_eq!(declare(too_many), Err(SlotError::TooManyPeriods { periods: too_many }));
}

/// A chain without forks: the blocks of each thread, each with its parent.
#[derive(Clone, Debug)]
struct Chain {
    threads: u8,
    first_period: u64,
    boundary: Vec<BlockId>,
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Block {
    slot: Slot,
    id: BlockId,
    parent: Option<BlockId>,
    /// First period after the parent.
    after_parent: u64,
}

impl Chain {
    /// `produced[period][thread]` tells whether the slot has a block. A chain from genesis has all blocks of period 0.
    fn new(produced: &[Vec<bool>], from_genesis: bool) -> Self {
        let threads = produced[0].len() as u8;
        let boundary: Vec<BlockId> = (0..threads).map(|thread| id(&format!("boundary {thread}"))).collect();
        let mut chain = Self {
            threads,
            first_period: if from_genesis { 0 } else { 7 },
            boundary: if from_genesis { Vec::new() } else { boundary.clone() },
            blocks: Vec::new(),
        };
        for thread in 0..threads {
            let mut parent = (!from_genesis).then(|| boundary[usize::from(thread)]);
            let mut after_parent = chain.first_period;
            for (row, period) in produced.iter().zip(chain.first_period..) {
                let genesis = from_genesis && period == 0;
                if !row[usize::from(thread)] && !genesis {
                    continue;
                }
                let slot = Slot::new(period, thread);
                let id = id(&slot.to_string());
                let block = Block {
                    slot,
                    id,
                    parent,
                    after_parent,
                };
                chain.blocks.push(block);
                (parent, after_parent) = (Some(id), period + 1);
            }
        }
        chain
    }

    fn tracker(&self) -> SlotTracker {
        SlotTracker::new(
            self.first_period,
            self.first_period,
            first_borders(self.threads, &self.boundary),
        )
    }

    /// What is settled once `known` blocks have arrived: they, and the misses between two of them that are linked.
    fn settled(&self, known: &BTreeSet<Slot>) -> BTreeMap<Slot, Settled> {
        let mut settled = BTreeMap::new();
        for block in self.blocks.iter().filter(|block| known.contains(&block.slot)) {
            let thread = block.slot.thread;
            settled.insert(block.slot, Settled::Block(block.id));
            let before = block
                .after_parent
                .checked_sub(1)
                .map(|period| Slot::new(period, thread));
            let first = block.after_parent == self.first_period;
            if first || before.is_some_and(|parent| known.contains(&parent)) {
                let misses = block.after_parent..block.slot.period;
                settled.extend(misses.map(|period| (Slot::new(period, thread), Settled::Miss)));
            }
        }
        settled
    }

    /// Periods in which every slot is settled.
    fn complete(&self, settled: &BTreeMap<Slot, Settled>) -> BTreeSet<u64> {
        let whole = |period: &u64| (0..self.threads).all(|thread| settled.contains_key(&Slot::new(*period, thread)));
        let periods: BTreeSet<u64> = settled.keys().map(|slot| slot.period).collect();
        periods.into_iter().filter(whole).collect()
    }
}

/// A chain and an order in which its blocks arrive; some arrive twice.
fn arrivals() -> impl Strategy<Value = (Chain, Vec<Block>)> {
    let produced = (1usize..4, 1usize..12, 0.0f64..1.0)
        .prop_flat_map(|(threads, periods, rate)| vec(vec(prop::bool::weighted(rate), threads), periods));
    let chain = (produced, any::<bool>()).prop_map(|(produced, genesis)| Chain::new(&produced, genesis));
    chain.prop_flat_map(|chain| {
        let twice: Vec<Block> = chain
            .blocks
            .iter()
            .chain(chain.blocks.iter().step_by(3))
            .copied()
            .collect();
        (Just(chain), Just(twice).prop_shuffle())
    })
}

/// The tracker with what it told its caller to persist.
struct Run {
    tracker: SlotTracker,
    settled: BTreeMap<Slot, Settled>,
    links: BTreeMap<(u8, BlockId), u64>,
    complete: BTreeSet<u64>,
    archive: Archive,
}

impl Run {
    fn new(chain: &Chain) -> Self {
        Self {
            tracker: chain.tracker(),
            settled: BTreeMap::new(),
            links: BTreeMap::new(),
            complete: BTreeSet::new(),
            archive: Archive::default(),
        }
    }

    fn add(&mut self, block: &Block) -> Changes {
        let added = self
            .tracker
            .add_block(block.slot, block.id, block.parent, &self.archive);
        let changes = added.expect("blocks of one chain do not contradict each other");
        if changes.known {
            return changes;
        }
        self.settled.insert(block.slot, Settled::Block(block.id));
        for miss in &changes.misses {
            let before = self.settled.insert(*miss, Settled::Miss);
            assert_eq!(before, None, "{miss} is settled once");
        }
        if let Some((thread, parent, period)) = changes.new_link {
            self.links.insert((thread, parent), period);
        }
        for link in &changes.resolved_links {
            assert!(self.links.remove(link).is_some(), "{link:?} was persisted");
        }
        for period in &changes.complete {
            assert!(self.complete.insert(*period), "period {period} is complete once");
        }
        changes
    }

    /// Closes the complete periods that have no open one before them.
    fn archive_complete(&mut self) {
        let mut first_open = self.tracker.first_open();
        while self.tracker.is_complete(first_open) {
            let slots = self.settled.iter().filter(|(slot, _)| slot.period == first_open);
            self.archive
                .slots
                .extend(slots.map(|(slot, settled)| (*slot, *settled)));
            first_open += 1;
        }
        let borders = self.tracker.borders_at(first_open);
        let forgotten = self.tracker.close(first_open);
        assert_eq!(forgotten.links, [], "what is complete has no unknown parents");
        assert_eq!(self.tracker.borders(), borders);
    }

    /// What a restart leaves: the persisted rows of the periods that are not archived, and the links.
    fn restart(&mut self, chain: &Chain) {
        let (first_open, borders) = (self.tracker.first_open(), self.tracker.borders().to_vec());
        self.tracker = SlotTracker::new(chain.first_period, first_open, borders);
        for (slot, settled) in &self.settled {
            if !self.archive.slots.contains_key(slot) {
                self.tracker.restore_slot(*slot, *settled);
            }
        }
        for ((thread, parent), period) in &self.links {
            self.tracker.restore_link(*thread, *parent, *period);
        }
    }
}

proptest! {
    #[test]
    fn blocks_in_any_order_settle_themselves_and_the_misses_between_linked_ones((chain, arrivals) in arrivals()) {
        let mut run = Run::new(&chain);
        let mut known = BTreeSet::new();
        for block in &arrivals {
            let is_new = known.insert(block.slot);

            prop_assert_eq!(run.add(block).known, !is_new);

            prop_assert_eq!(&run.settled, &chain.settled(&known));
            prop_assert_eq!(&run.complete, &chain.complete(&run.settled));
            prop_assert_eq!(complete_periods(&run.tracker), run.complete.iter().copied().collect::<Vec<_>>());
        }
        prop_assert!(run.links.is_empty());
    }

    #[test]
    fn archiving_and_restarting_at_any_time_changes_nothing(
        (chain, arrivals) in arrivals(),
        archive_at in vec(any::<bool>(), 48),
        restart_at in vec(any::<bool>(), 48),
    ) {
        let mut run = Run::new(&chain);
        let mut undisturbed = Run::new(&chain);
        for (block, (archive, restart)) in arrivals.iter().zip(archive_at.iter().zip(&restart_at).cycle()) {
            if *archive {
                run.archive_complete();
            }
            if *restart {
                run.restart(&chain);
            }
            prop_assert_eq!(run.add(block), undisturbed.add(block));
        }
    }

    #[test]
    fn at_the_end_only_slots_after_the_last_block_of_their_thread_are_open((chain, arrivals) in arrivals()) {
        let mut run = Run::new(&chain);
        arrivals.iter().for_each(|block| drop(run.add(block)));

        for (period, _) in run.tracker.open_periods(0..1000) {
            for (settled, thread) in run.tracker.slots(period).unwrap().iter().zip(0..) {
                let mut later = chain.blocks.iter().filter(|block| block.slot.thread == thread);
                let is_trailing = later.all(|block| block.slot.period < period);
                prop_assert_eq!(settled.is_none(), is_trailing, "period {} thread {}", period, thread);
            }
        }
    }

    /// Memory follows the open periods, not the blocks that were ever seen.
    #[test]
    fn a_tracker_whose_periods_are_all_archived_holds_nothing((chain, arrivals) in arrivals()) {
        let mut run = Run::new(&chain);
        for block in &arrivals {
            run.add(block);
            run.archive_complete();
        }
        let last = chain.blocks.iter().map(|block| block.slot.period).max().unwrap_or(chain.first_period);
        let declared = run.tracker.declare_misses::<Infallible>(chain.first_period..=last).unwrap();
        run.settled.extend(declared.misses.iter().map(|slot| (*slot, Settled::Miss)));
        run.archive_complete();

        prop_assert_eq!(run.tracker.newest(), None);
        prop_assert_eq!(run.tracker.unknown_parents().count(), 0);
        let known = chain.blocks.iter().map(|block| (block.slot, block.id));
        prop_assert!(known.clone().all(|(slot, id)| run.archive.slots[&slot] == Settled::Block(id)));
        for (border, thread) in run.tracker.borders().iter().zip(0..) {
            let last = known.clone().filter(|(slot, _)| slot.thread == thread).max();
            let expected = last.map(|(_, id)| Border::Block(id));
            prop_assert!(expected.map_or(true, |expected| *border == expected));
        }
    }

    #[test]
    fn a_block_that_contradicts_the_chain_is_refused_and_changes_nothing(
        (chain, arrivals) in arrivals(),
        at in any::<prop::sample::Index>(),
        parent in any::<prop::sample::Index>(),
    ) {
        let mut run = Run::new(&chain);
        arrivals.iter().for_each(|block| drop(run.add(block)));
        prop_assume!(!run.settled.is_empty());
        let (slot, _) = run.settled.iter().nth(at.index(run.settled.len())).unwrap();
        let parent = run.settled.values().nth(parent.index(run.settled.len())).unwrap();
        let parent = match parent {
            Settled::Block(id) => *id,
            Settled::Miss => id("unknown"),
        };
        let before = format!("{:?}", run.tracker.slots(slot.period));

        let result = run.tracker.add_block(*slot, id("another"), Some(parent), &run.archive);

        let expected = SlotError::Conflict { id: id("another"), slot: *slot };
        prop_assert_eq!(result, Err(expected));
        prop_assert_eq!(format!("{:?}", run.tracker.slots(slot.period)), before);
    }
}
