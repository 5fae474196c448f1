//! Which slots are settled, which periods are complete.
//!
//! A slot is settled by its final block, or as a miss when the thread's next final block names a same-thread parent of an earlier
//! period. Everything else is *missing*. The periods of open segments are looked after here; everything below is *closed*, and of
//! it only the last block of each thread counts ([`Border`]): the first block above links to it. A period is complete when nothing
//! in it is missing, or when an accepted root says that it is lost. Pure logic: what changes is returned as [`Changes`], for the
//! caller to persist.

mod accepted;

pub use accepted::Forgotten;

use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Longest run of missed slots in one thread that is believed: about 18 days. It bounds what one block can settle.
pub const MAX_GAP_PERIODS: u64 = 100_000;

/// What is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was missed.
    Miss,
    /// Its final block.
    Block(BlockId),
}

/// What the tracker needs to know of segments that are closed.
pub trait ClosedSlots {
    /// Why the archive could not answer.
    type Error;

    /// What a closed segment has at this slot; `None` if only its table is here, or nothing any more.
    ///
    /// # Errors
    /// The archive's.
    fn slot(&self, slot: Slot) -> Result<Option<Settled>, Self::Error>;
}

/// The last block of a thread below the open segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// There is none: the chain begins with the open segments.
    Genesis,
    /// It is this one.
    Block(BlockId),
    /// Only the table of the last closed segments is here: the entries of their last periods tell.
    Unknown,
}

/// A block that cannot be final beside those that are known.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError<E> {
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
    /// The slot, or one that its links settle, is known to hold something else.
    #[error("block {id} contradicts what is known of slot {slot}")]
    Conflict {
        /// The block.
        id: BlockId,
        /// The slot in question.
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
    /// The block was known at its slot, or its segment is closed: nothing changed.
    pub known: bool,
    /// Slots now known to be misses.
    pub misses: Vec<Slot>,
    /// The block's parent is not known: (thread, parent) → period of the block.
    pub new_link: Option<(u8, BlockId, u64)>,
    /// Links that were answered, or that nothing depends on any more.
    pub resolved_links: Vec<(u8, BlockId)>,
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

/// A period of an open segment.
#[derive(Clone, Debug)]
struct OpenPeriod {
    /// One for each thread; `None` is missing.
    slots: Vec<Option<Settled>>,
    /// An accepted root says that its blocks are lost.
    lost: bool,
}

impl OpenPeriod {
    fn is_complete(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }
}

/// Slots of the open segments, as far as anything is known of them.
///
/// Memory grows with the open periods, 40 bytes for each slot.
#[derive(Clone, Debug)]
pub struct SlotTracker {
    first_period: u64,
    /// Periods below are closed.
    first_open: u64,
    /// Of each thread.
    borders: Vec<Border>,
    open: BTreeMap<u64, OpenPeriod>,
    /// Ids of blocks of open periods, those of headers included.
    blocks: HashMap<BlockId, u64>,
    /// (thread, id of a parent that is not known) → period of its child in the same thread.
    links: HashMap<(u8, BlockId), u64>,
    /// Final blocks of open periods of which only the header is known: their slots are missing.
    headers: BTreeMap<Slot, BlockId>,
}

/// Borders of an archive that begins with its first period: `boundary` has the last block of each thread before it, or nothing
/// where the chain itself begins.
pub fn first_borders(thread_count: u8, boundary: &[BlockId]) -> Vec<Border> {
    match boundary {
        [] => vec![Border::Genesis; usize::from(thread_count)],
        boundary => boundary.iter().copied().map(Border::Block).collect(),
    }
}

impl SlotTracker {
    /// A tracker of an archive that begins with `first_period` and whose open segments begin with `first_open`, above the blocks
    /// that `borders` names, one for each thread.
    pub fn new(first_period: u64, first_open: u64, borders: Vec<Border>) -> Self {
        Self {
            first_period,
            first_open,
            borders,
            open: BTreeMap::new(),
            blocks: HashMap::new(),
            links: HashMap::new(),
            headers: BTreeMap::new(),
        }
    }

    fn thread_count(&self) -> u8 {
        self.borders.len() as u8
    }

    /// Puts back a settled slot that was persisted.
    pub fn restore_slot(&mut self, slot: Slot, settled: Settled) {
        self.set(slot, settled);
    }

    /// Puts back a link that was persisted.
    pub fn restore_link(&mut self, thread: u8, parent: BlockId, child_period: u64) {
        self.links.insert((thread, parent), child_period);
    }

    /// Puts back the header of a final block that is missing.
    pub fn restore_header(&mut self, slot: Slot, id: BlockId) {
        if slot.thread < self.thread_count() && slot.period >= self.first_open && self.open_slot(slot).is_none() {
            self.set_header(slot, id);
        }
    }

    /// The first period of the open segments.
    pub fn first_open(&self) -> u64 {
        self.first_open
    }

    /// The last block of each thread below the open segments.
    pub fn borders(&self) -> &[Border] {
        &self.borders
    }

    /// The newest period of which anything is known.
    pub fn newest(&self) -> Option<u64> {
        self.open.last_key_value().map(|(period, _)| *period)
    }

    /// Periods of which something is known, with the number of their settled slots, in order.
    pub fn open_periods(&self, periods: Range<u64>) -> impl Iterator<Item = (u64, usize)> + '_ {
        let settled = |open: &OpenPeriod| open.slots.iter().flatten().count();
        self.open
            .range(periods)
            .map(move |(period, open)| (*period, settled(open)))
    }

    /// Blocks that later blocks name as the parent in their thread and that are not here: thread, id, period of the child.
    pub fn unknown_parents(&self) -> impl Iterator<Item = (u8, BlockId, u64)> + '_ {
        self.links.iter().map(|(&(thread, id), &child)| (thread, id, child))
    }

    /// Final blocks of which only the header is known.
    pub fn headers(&self) -> &BTreeMap<Slot, BlockId> {
        &self.headers
    }

    /// Slots of an open period: `None` entries are missing. `None` if nothing is known of the period.
    pub fn slots(&self, period: u64) -> Option<&[Option<Settled>]> {
        self.open.get(&period).map(|open| open.slots.as_slice())
    }

    /// Whether an accepted root says that this open period is lost.
    pub fn is_lost(&self, period: u64) -> bool {
        self.open.get(&period).is_some_and(|open| open.lost)
    }

    /// Whether nothing in an open period is missing.
    pub fn is_complete(&self, period: u64) -> bool {
        self.open.get(&period).is_some_and(OpenPeriod::is_complete)
    }

    /// Number of periods in which nothing is missing. Costs what is open.
    pub fn complete_count(&self, periods: Range<u64>) -> u64 {
        let complete = self.open.range(periods).filter(|(_, open)| open.is_complete());
        complete.count() as u64
    }

    /// The first missing slot of an open period; `None` if it is complete.
    pub fn first_missing(&self, period: u64) -> Option<Slot> {
        let thread = match self.open.get(&period) {
            None => Some(0),
            Some(open) => open.slots.iter().position(Option::is_none),
        };
        thread.map(|thread| Slot::new(period, thread as u8))
    }

    fn open_slot(&self, slot: Slot) -> Option<Settled> {
        let open = self.open.get(&slot.period)?;
        open.slots.get(usize::from(slot.thread)).copied().flatten()
    }

    /// Settles the slot of a final block, and the misses that its links show.
    ///
    /// `parent` is the parent in the block's own thread. Nothing changes when an error is returned.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn add_block<A: ClosedSlots>(
        &mut self,
        slot: Slot,
        id: BlockId,
        parent: Option<BlockId>,
        closed: &A,
    ) -> Result<Changes, SlotError<A::Error>> {
        self.check_slot(slot)?;
        if slot.period < self.first_open || self.is_lost(slot.period) {
            return self.late(slot, id, closed);
        }
        if let Some(settled) = self.open_slot(slot) {
            return known_or_conflict(settled == Settled::Block(id), slot, id);
        }
        let linked = self.linked(slot, id, parent)?;
        self.set(slot, Settled::Block(id));
        self.headers.remove(&slot);
        Ok(self.apply(slot, id, linked, true))
    }

    /// A block that comes when its segment is closed, or its period lost: the root that is in force decides.
    fn late<A: ClosedSlots>(&self, slot: Slot, id: BlockId, closed: &A) -> Result<Changes, SlotError<A::Error>> {
        let settled = if slot.period < self.first_open {
            closed.slot(slot).map_err(SlotError::Archive)?
        } else {
            self.open_slot(slot)
        };
        known_or_conflict(settled.map_or(true, |settled| settled == Settled::Block(id)), slot, id)
    }

    /// Takes the header of a final block whose content is not here: its slot stays missing, but its id and the misses that its
    /// links show are known.
    ///
    /// # Errors
    /// [`SlotError`]; nothing changes then.
    pub fn add_header<A: ClosedSlots>(
        &mut self,
        slot: Slot,
        id: BlockId,
        parent: Option<BlockId>,
        closed: &A,
    ) -> Result<Changes, SlotError<A::Error>> {
        self.check_slot(slot)?;
        if slot.period < self.first_open || self.is_lost(slot.period) {
            return self.late(slot, id, closed);
        }
        let here = match self.open_slot(slot) {
            Some(settled) => Some(settled == Settled::Block(id)),
            None => self.headers.get(&slot).map(|known| *known == id),
        };
        if let Some(known) = here {
            return known_or_conflict(known, slot, id);
        }
        let linked = self.linked(slot, id, parent)?;
        self.set_header(slot, id);
        Ok(self.apply(slot, id, linked, false))
    }

    /// What the links of a final block show.
    fn linked<E>(&self, slot: Slot, id: BlockId, parent: Option<BlockId>) -> Result<Linked, SlotError<E>> {
        if self.headers.get(&slot).is_some_and(|known| *known != id) {
            return Err(SlotError::Conflict { id, slot });
        }
        let below = self.below(slot, id, parent)?;
        let child = self.links.get(&(slot.thread, id)).copied();
        if child.is_some_and(|child| child <= slot.period) {
            return Err(SlotError::Conflict { id, slot });
        }
        let mut misses = Vec::new();
        if let Some(start) = below {
            self.gap(slot.thread, id, start..slot.period, &mut misses)?;
        }
        if let Some(child) = child {
            self.gap(slot.thread, id, slot.period + 1..child, &mut misses)?;
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

    fn check_slot<E>(&self, slot: Slot) -> Result<(), SlotError<E>> {
        if slot.thread >= self.thread_count() {
            return Err(SlotError::Thread {
                thread: slot.thread,
                thread_count: self.thread_count(),
            });
        }
        if slot.period < self.first_period {
            return Err(SlotError::BeforeFirst {
                period: slot.period,
                first_period: self.first_period,
            });
        }
        Ok(())
    }

    /// First open period after the block's parent, or `None` while the parent is not known.
    fn below<E>(&self, slot: Slot, id: BlockId, parent: Option<BlockId>) -> Result<Option<u64>, SlotError<E>> {
        let border = self.borders[usize::from(slot.thread)];
        let Some(parent) = parent else {
            let genesis = slot.period == self.first_period && border == Border::Genesis;
            return if genesis {
                Ok(Some(slot.period))
            } else {
                Err(SlotError::NoParents(id))
            };
        };
        if border == Border::Block(parent) {
            return Ok(Some(self.first_open));
        }
        match self.blocks.get(&parent) {
            Some(period) if *period >= slot.period => Err(SlotError::Conflict { id, slot }),
            Some(period) => Ok(Some(period + 1)),
            // Two children of one parent in one thread cannot both be final.
            None => match self.links.get(&(slot.thread, parent)) {
                Some(child) if *child != slot.period || self.headers.get(&slot) != Some(&id) => {
                    Err(SlotError::Conflict { id, slot })
                }
                _ => Ok(None),
            },
        }
    }

    /// Adds the slots of `periods` in `thread` that are not settled yet to `misses`; none may hold a block.
    fn gap<E>(&self, thread: u8, id: BlockId, periods: Range<u64>, misses: &mut Vec<Slot>) -> Result<(), SlotError<E>> {
        let length = periods.end.saturating_sub(periods.start);
        if length > MAX_GAP_PERIODS {
            return Err(SlotError::Gap { id, periods: length });
        }
        for period in periods {
            let slot = Slot::new(period, thread);
            match self.open_slot(slot) {
                None if self.headers.contains_key(&slot) => return Err(SlotError::Conflict { id, slot }),
                None => misses.push(slot),
                Some(Settled::Miss) => {}
                Some(Settled::Block(_)) => return Err(SlotError::Conflict { id, slot }),
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
        let resolved_links: Vec<_> = (resolves && is_here).then_some((slot.thread, id)).into_iter().collect();
        for link in &resolved_links {
            self.links.remove(link);
        }
        let touched = misses.iter().map(|miss| miss.period).chain([slot.period]);
        let complete = self.complete_among(touched);
        Changes {
            known: false,
            misses,
            new_link,
            resolved_links,
            complete,
        }
    }

    fn complete_among(&self, periods: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut complete: Vec<u64> = periods.filter(|period| self.is_complete(*period)).collect();
        complete.sort_unstable();
        complete.dedup();
        complete
    }

    fn open_or_insert(&mut self, period: u64) -> &mut OpenPeriod {
        let width = self.borders.len();
        self.open.entry(period).or_insert_with(|| OpenPeriod {
            slots: vec![None; width],
            lost: false,
        })
    }

    fn set(&mut self, slot: Slot, settled: Settled) {
        self.open_or_insert(slot.period).slots[usize::from(slot.thread)] = Some(settled);
        if let Settled::Block(id) = settled {
            self.blocks.insert(id, slot.period);
        }
    }

    fn set_header(&mut self, slot: Slot, id: BlockId) {
        self.open_or_insert(slot.period);
        self.headers.insert(slot, id);
        self.blocks.insert(id, slot.period);
    }
}

fn known_or_conflict<E>(known: bool, slot: Slot, id: BlockId) -> Result<Changes, SlotError<E>> {
    if known {
        return Ok(Changes {
            known,
            ..Changes::default()
        });
    }
    Err(SlotError::Conflict { id, slot })
}
