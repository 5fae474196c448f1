//! Which places are settled, which periods are complete.
//!
//! A place is settled by its final block, or as a miss when the thread's next final block names a same-thread parent of
//! an earlier period. Everything else is awaited. Pure logic: what changes is returned as [`Changes`], for the caller to
//! persist.

use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, HashMap};

/// Longest run of missed slots in one thread that is believed: about 18 days. It bounds what one block can settle.
pub const MAX_GAP_PERIODS: u64 = 100_000;

/// What is known of a place in an open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The slot was missed.
    Miss,
    /// Its final block.
    Block(BlockId),
}

/// What the tracker needs to know of periods that are archived already.
pub trait ArchivedPeriods {
    /// Why the archive could not answer.
    type Error;

    /// The period that the block with this id is archived in.
    fn period_of(&self, id: &BlockId) -> Result<Option<u64>, Self::Error>;

    /// What the archived period has at this place; `None` if the period is not archived.
    fn place(&self, slot: Slot) -> Result<Option<Settled>, Self::Error>;
}

/// A block that cannot be final beside those that are known.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError<E> {
    /// The slot's thread does not exist.
    #[error("thread {thread} of {thread_count}")]
    Thread {
        /// The thread.
        thread: u8,
        /// Threads of the chain.
        thread_count: u8,
    },
    /// The archive begins later.
    #[error("period {period} is before the archive's first period {first_period}")]
    BeforeFirst {
        /// The period.
        period: u64,
        /// The first period.
        first_period: u64,
    },
    /// Only the blocks of the first period may have no parents.
    #[error("block {0} has no parents")]
    NoParents(BlockId),
    /// The place, or one that its links settle, is known to hold something else.
    #[error("block {id} contradicts what is known of slot {slot}")]
    Conflict {
        /// The block.
        id: BlockId,
        /// The place in question.
        slot: Slot,
    },
    /// More misses in a row than are believed.
    #[error("block {id} follows {periods} missed periods, at most {MAX_GAP_PERIODS} are believed")]
    Gap {
        /// The block.
        id: BlockId,
        /// Missed periods.
        periods: u64,
    },
    /// More periods than misses are believed in.
    #[error("{periods} periods are too many to take their empty slots as misses, at most {MAX_GAP_PERIODS} are")]
    TooManyPeriods {
        /// Periods asked for.
        periods: u64,
    },
    /// The archive could not be asked.
    #[error("could not read the archive")]
    Archive(#[source] E),
}

/// What a block changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The block was known at its place: nothing changed.
    pub known: bool,
    /// Places now known to be misses.
    pub misses: Vec<Slot>,
    /// The block's parent is not known: (thread, parent) → period of the block.
    pub new_link: Option<(u8, BlockId, u64)>,
    /// A link that this block answered.
    pub resolved_link: Option<(u8, BlockId)>,
    /// Periods that are now complete, in order.
    pub complete: Vec<u64>,
}

/// Settled places of the open periods: those with a settled place that are not archived.
///
/// Memory grows with the open periods, 40 bytes for each place.
#[derive(Clone, Debug)]
pub struct PlaceTracker {
    thread_count: u8,
    first_period: u64,
    /// Trusted ids of the last block of each thread before `first_period`; empty at genesis.
    boundary: Vec<BlockId>,
    open: BTreeMap<u64, Vec<Option<Settled>>>,
    /// Blocks of open periods.
    blocks: HashMap<BlockId, u64>,
    /// (thread, id of a parent that is not known) → period of its child in the same thread.
    links: HashMap<(u8, BlockId), u64>,
}

impl PlaceTracker {
    /// A tracker that knows nothing yet.
    pub fn new(thread_count: u8, first_period: u64, boundary: Vec<BlockId>) -> Self {
        Self {
            thread_count,
            first_period,
            boundary,
            open: BTreeMap::new(),
            blocks: HashMap::new(),
            links: HashMap::new(),
        }
    }

    /// Puts back a settled place that was persisted.
    pub fn restore_place(&mut self, slot: Slot, settled: Settled) {
        self.set(slot, settled);
    }

    /// Puts back a link that was persisted.
    pub fn restore_link(&mut self, thread: u8, parent: BlockId, child_period: u64) {
        self.links.insert((thread, parent), child_period);
    }

    /// Open periods with the number of their settled places, in order.
    pub fn open_periods(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.open
            .iter()
            .map(|(period, places)| (*period, places.iter().flatten().count()))
    }

    /// Blocks that later blocks name as the parent in their thread and that are not here: thread and id.
    pub fn unknown_parents(&self) -> impl Iterator<Item = (u8, BlockId)> + '_ {
        self.links.keys().copied()
    }

    /// Places of an open period: `None` entries are awaited. `None` if the period is not open.
    pub fn places(&self, period: u64) -> Option<&[Option<Settled>]> {
        self.open.get(&period).map(Vec::as_slice)
    }

    /// Open periods without awaited places, in order.
    pub fn complete_periods(&self) -> Vec<u64> {
        let complete = |(_, places): &(&u64, &Vec<Option<Settled>>)| places.iter().all(Option::is_some);
        self.open.iter().filter(complete).map(|(period, _)| *period).collect()
    }

    /// Forgets a period that was archived.
    pub fn forget(&mut self, period: u64) {
        for settled in self.open.remove(&period).into_iter().flatten().flatten() {
            if let Settled::Block(id) = settled {
                self.blocks.remove(&id);
            }
        }
    }

    /// Settles the place of a final block, and the misses that its links show.
    ///
    /// `parent` is the parent in the block's own thread. Nothing changes when an error is returned.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn add_block<A: ArchivedPeriods>(
        &mut self,
        slot: Slot,
        id: BlockId,
        parent: Option<BlockId>,
        archive: &A,
    ) -> Result<Changes, PlaceError<A::Error>> {
        self.check_slot(slot)?;
        if let Some(settled) = self.settled(slot, archive)? {
            let known = settled == Settled::Block(id);
            return if known {
                Ok(Changes {
                    known,
                    ..Changes::default()
                })
            } else {
                Err(PlaceError::Conflict { id, slot })
            };
        }
        let below = self.below(slot, id, parent, archive)?;
        let child = self.links.get(&(slot.thread, id)).copied();
        if child.is_some_and(|child| child <= slot.period) {
            return Err(PlaceError::Conflict { id, slot });
        }
        let mut misses = Vec::new();
        if let Some(start) = below {
            self.gap(slot.thread, id, start..slot.period, archive, &mut misses)?;
        }
        if let Some(child) = child {
            self.gap(slot.thread, id, slot.period + 1..child, archive, &mut misses)?;
        }
        let new_link = parent
            .filter(|_| below.is_none())
            .map(|parent| (slot.thread, parent, slot.period));
        Ok(self.apply(slot, id, misses, new_link, child.is_some()))
    }

    fn check_slot<E>(&self, slot: Slot) -> Result<(), PlaceError<E>> {
        if slot.thread >= self.thread_count {
            return Err(PlaceError::Thread {
                thread: slot.thread,
                thread_count: self.thread_count,
            });
        }
        if slot.period < self.first_period {
            return Err(PlaceError::BeforeFirst {
                period: slot.period,
                first_period: self.first_period,
            });
        }
        Ok(())
    }

    /// What is known of a place, in an open or an archived period.
    fn settled<A: ArchivedPeriods>(&self, slot: Slot, archive: &A) -> Result<Option<Settled>, PlaceError<A::Error>> {
        match self.open.get(&slot.period) {
            Some(places) => Ok(places[usize::from(slot.thread)]),
            None => archive.place(slot).map_err(PlaceError::Archive),
        }
    }

    /// First period after the block's parent, or `None` while the parent is not known.
    fn below<A: ArchivedPeriods>(
        &self,
        slot: Slot,
        id: BlockId,
        parent: Option<BlockId>,
        archive: &A,
    ) -> Result<Option<u64>, PlaceError<A::Error>> {
        let Some(parent) = parent else {
            let genesis = slot.period == self.first_period && self.boundary.is_empty();
            return if genesis {
                Ok(Some(slot.period))
            } else {
                Err(PlaceError::NoParents(id))
            };
        };
        if self.boundary.get(usize::from(slot.thread)) == Some(&parent) {
            return Ok(Some(self.first_period));
        }
        let period = match self.blocks.get(&parent) {
            Some(period) => Some(*period),
            None => archive.period_of(&parent).map_err(PlaceError::Archive)?,
        };
        match period {
            Some(period) if period >= slot.period => Err(PlaceError::Conflict { id, slot }),
            Some(period) => Ok(Some(period + 1)),
            // Two children of one parent in one thread cannot both be final.
            None if self.links.contains_key(&(slot.thread, parent)) => Err(PlaceError::Conflict { id, slot }),
            None => Ok(None),
        }
    }

    /// Adds the places of `periods` in `thread` that are not settled yet to `misses`; none may hold a block.
    fn gap<A: ArchivedPeriods>(
        &self,
        thread: u8,
        id: BlockId,
        periods: std::ops::Range<u64>,
        archive: &A,
        misses: &mut Vec<Slot>,
    ) -> Result<(), PlaceError<A::Error>> {
        let length = periods.end.saturating_sub(periods.start);
        if length > MAX_GAP_PERIODS {
            return Err(PlaceError::Gap { id, periods: length });
        }
        for period in periods {
            let slot = Slot::new(period, thread);
            match self.settled(slot, archive)? {
                None => misses.push(slot),
                Some(Settled::Miss) => {}
                Some(Settled::Block(_)) => return Err(PlaceError::Conflict { id, slot }),
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        slot: Slot,
        id: BlockId,
        misses: Vec<Slot>,
        new_link: Option<(u8, BlockId, u64)>,
        resolves: bool,
    ) -> Changes {
        self.set(slot, Settled::Block(id));
        for miss in &misses {
            self.set(*miss, Settled::Miss);
        }
        if let Some((thread, parent, period)) = new_link {
            self.links.insert((thread, parent), period);
        }
        let resolved_link = resolves.then_some((slot.thread, id));
        if let Some(link) = resolved_link {
            self.links.remove(&link);
        }
        let mut touched: Vec<u64> = misses.iter().map(|miss| miss.period).chain([slot.period]).collect();
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|period| self.open[period].iter().all(Option::is_some));
        Changes {
            known: false,
            misses,
            new_link,
            resolved_link,
            complete: touched,
        }
    }

    fn set(&mut self, slot: Slot, settled: Settled) {
        let width = usize::from(self.thread_count);
        let places = self.open.entry(slot.period).or_insert_with(|| vec![None; width]);
        places[usize::from(slot.thread)] = Some(settled);
        if let Settled::Block(id) = settled {
            self.blocks.insert(id, slot.period);
        }
    }

    /// Declares every awaited place of `periods` a miss, on the word of whoever calls: for files that are known to end
    /// with whole periods. Archived periods are skipped, and places below a child whose parent is named but not known:
    /// one of them holds that parent.
    ///
    /// # Errors
    /// [`PlaceError::TooManyPeriods`], [`PlaceError::Archive`].
    pub fn declare_misses<A: ArchivedPeriods>(
        &mut self,
        periods: std::ops::RangeInclusive<u64>,
        archive: &A,
    ) -> Result<Changes, PlaceError<A::Error>> {
        let length = periods.end().saturating_sub(*periods.start()).saturating_add(1);
        if length > MAX_GAP_PERIODS {
            return Err(PlaceError::TooManyPeriods { periods: length });
        }
        let mut misses = Vec::new();
        for period in periods.skip_while(|period| *period < self.first_period) {
            for thread in 0..self.thread_count {
                let slot = Slot::new(period, thread);
                if !self.may_hold_a_parent(slot) && self.settled(slot, archive)?.is_none() {
                    misses.push(slot);
                }
            }
        }
        for slot in &misses {
            self.set(*slot, Settled::Miss);
        }
        Ok(Changes {
            misses,
            complete: self.complete_periods(),
            ..Changes::default()
        })
    }

    /// Whether a later block of the thread waits for a parent that is not known.
    fn may_hold_a_parent(&self, slot: Slot) -> bool {
        let waits = |(&(thread, _), &child): (&(u8, BlockId), &u64)| thread == slot.thread && child > slot.period;
        self.links.iter().any(waits)
    }
}
