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

/// What the links of a block show.
struct Linked {
    misses: Vec<Slot>,
    new_link: Option<(u8, BlockId, u64)>,
    /// A later block names it as its parent.
    resolves: bool,
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
    /// Final blocks of open periods of which only the header is known: their places are awaited.
    headers: BTreeMap<Slot, BlockId>,
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
            headers: BTreeMap::new(),
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

    /// Puts back the header of a final block that is awaited.
    pub fn restore_header(&mut self, slot: Slot, id: BlockId) {
        let is_settled =
            |places: &Vec<Option<Settled>>| places.get(usize::from(slot.thread)).copied().flatten().is_some();
        if slot.thread < self.thread_count && !self.open.get(&slot.period).is_some_and(is_settled) {
            self.set_header(slot, id);
        }
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
        for thread in 0..self.thread_count {
            if let Some(id) = self.headers.remove(&Slot::new(period, thread)) {
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
        let linked = self.linked(slot, id, parent, archive)?;
        self.set(slot, Settled::Block(id));
        self.headers.remove(&slot);
        Ok(self.apply(slot, id, linked, true))
    }

    /// Takes the header of a final block whose content is not here: its place stays awaited, but its id and the misses that
    /// its links show are known.
    ///
    /// # Errors
    /// [`PlaceError`]; nothing changes then.
    pub fn add_header<A: ArchivedPeriods>(
        &mut self,
        slot: Slot,
        id: BlockId,
        parent: Option<BlockId>,
        archive: &A,
    ) -> Result<Changes, PlaceError<A::Error>> {
        self.check_slot(slot)?;
        let known = match self.settled(slot, archive)? {
            Some(settled) => Some(settled == Settled::Block(id)),
            None => self.headers.get(&slot).map(|known| *known == id),
        };
        match known {
            Some(true) => Ok(Changes {
                known: true,
                ..Changes::default()
            }),
            Some(false) => Err(PlaceError::Conflict { id, slot }),
            None => {
                let linked = self.linked(slot, id, parent, archive)?;
                self.set_header(slot, id);
                Ok(self.apply(slot, id, linked, false))
            }
        }
    }

    /// What the links of a final block show.
    fn linked<A: ArchivedPeriods>(
        &self,
        slot: Slot,
        id: BlockId,
        parent: Option<BlockId>,
        archive: &A,
    ) -> Result<Linked, PlaceError<A::Error>> {
        if self.headers.get(&slot).is_some_and(|known| *known != id) {
            return Err(PlaceError::Conflict { id, slot });
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
        Ok(Linked {
            misses,
            new_link,
            resolves: child.is_some(),
        })
    }

    /// The ids of an open period, `None` for a miss; nothing unless each of them is known.
    ///
    /// An id whose block is not here is known from its header, or because a block above names it as its parent and no other
    /// place below that block is open.
    ///
    /// # Errors
    /// The archive's.
    pub fn ids_of<A: ArchivedPeriods>(
        &self,
        period: u64,
        archive: &A,
    ) -> Result<Option<Vec<Option<BlockId>>>, A::Error> {
        let mut ids = Vec::with_capacity(usize::from(self.thread_count));
        for thread in 0..self.thread_count {
            let slot = Slot::new(period, thread);
            match self.place_of(slot, archive)? {
                Some(Settled::Miss) => ids.push(None),
                Some(Settled::Block(id)) => ids.push(Some(id)),
                None => match self.named_from_above(slot, archive)? {
                    Some(id) => ids.push(Some(id)),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(ids))
    }

    /// What is known of a place: settled, or a header.
    fn place_of<A: ArchivedPeriods>(&self, slot: Slot, archive: &A) -> Result<Option<Settled>, A::Error> {
        if let Some(id) = self.headers.get(&slot) {
            return Ok(Some(Settled::Block(*id)));
        }
        match self.open.get(&slot.period) {
            Some(places) => Ok(places[usize::from(slot.thread)]),
            None => archive.place(slot),
        }
    }

    /// The block of an open place, if the next block of the thread names a parent that can only be there.
    fn named_from_above<A: ArchivedPeriods>(&self, slot: Slot, archive: &A) -> Result<Option<BlockId>, A::Error> {
        let of_thread = |(&(thread, parent), &child): (&(u8, BlockId), &u64)| {
            (thread == slot.thread && child > slot.period).then_some((child, parent))
        };
        let Some((child, parent)) = self.links.iter().filter_map(of_thread).min() else {
            return Ok(None);
        };
        // Its place is known, and is another one.
        if self.blocks.contains_key(&parent) || child - slot.period > MAX_GAP_PERIODS {
            return Ok(None);
        }
        for period in slot.period + 1..child {
            if self.place_of(Slot::new(period, slot.thread), archive)? != Some(Settled::Miss) {
                return Ok(None);
            }
        }
        let lowest = self.first_period.max(slot.period.saturating_sub(MAX_GAP_PERIODS));
        for period in (lowest..slot.period).rev() {
            match self.place_of(Slot::new(period, slot.thread), archive)? {
                Some(Settled::Block(_)) => return Ok(Some(parent)),
                Some(Settled::Miss) => {}
                None => return Ok(None),
            }
        }
        Ok((lowest == self.first_period).then_some(parent))
    }

    /// Takes the word of an accepted segment root for the blocks of a period, which is archived with them: later blocks that
    /// name one as their parent have found it, and what lies between are misses. What contradicts is passed over.
    ///
    /// # Errors
    /// The archive's.
    pub fn settle_period<A: ArchivedPeriods>(
        &mut self,
        period: u64,
        ids: &[Option<BlockId>],
        archive: &A,
    ) -> Result<Vec<Changes>, PlaceError<A::Error>> {
        self.forget(period);
        let mut all = Vec::new();
        for (id, thread) in ids.iter().zip(0..) {
            let Some(id) = *id else { continue };
            let slot = Slot::new(period, thread);
            let Some(child) = self.links.get(&(thread, id)).copied() else {
                continue;
            };
            let mut misses = Vec::new();
            match self.gap(thread, id, period + 1..child, archive, &mut misses) {
                Ok(()) => {}
                Err(PlaceError::Conflict { .. } | PlaceError::Gap { .. }) => misses.clear(),
                Err(error) => return Err(error),
            }
            let linked = Linked {
                misses,
                new_link: None,
                resolves: true,
            };
            all.push(self.apply(slot, id, linked, true));
        }
        Ok(all)
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
            None => match self.links.get(&(slot.thread, parent)) {
                Some(child) if *child != slot.period || self.headers.get(&slot) != Some(&id) => {
                    Err(PlaceError::Conflict { id, slot })
                }
                _ => Ok(None),
            },
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
                None if self.headers.contains_key(&slot) => return Err(PlaceError::Conflict { id, slot }),
                None => misses.push(slot),
                Some(Settled::Miss) => {}
                Some(Settled::Block(_)) => return Err(PlaceError::Conflict { id, slot }),
            }
        }
        Ok(())
    }

    /// `is_here` tells that the block was found: then nothing links to it any more.
    fn apply(&mut self, slot: Slot, id: BlockId, linked: Linked, is_here: bool) -> Changes {
        let Linked {
            misses,
            new_link,
            resolves,
        } = linked;
        for miss in &misses {
            self.set(*miss, Settled::Miss);
        }
        if let Some((thread, parent, period)) = new_link {
            self.links.insert((thread, parent), period);
        }
        let resolved_link = (resolves && is_here).then_some((slot.thread, id));
        if let Some(link) = resolved_link {
            self.links.remove(&link);
        }
        let mut touched: Vec<u64> = misses.iter().map(|miss| miss.period).chain([slot.period]).collect();
        touched.sort_unstable();
        touched.dedup();
        let is_complete = |places: &Vec<Option<Settled>>| places.iter().all(Option::is_some);
        touched.retain(|period| self.open.get(period).is_some_and(is_complete));
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

    fn set_header(&mut self, slot: Slot, id: BlockId) {
        let width = usize::from(self.thread_count);
        self.open.entry(slot.period).or_insert_with(|| vec![None; width]);
        self.headers.insert(slot, id);
        self.blocks.insert(id, slot.period);
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
                let has_header = self.headers.contains_key(&slot);
                if !has_header && !self.may_hold_a_parent(slot) && self.settled(slot, archive)?.is_none() {
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
