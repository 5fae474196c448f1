//! What accepted roots say of open periods, what is closed, and what a caller vouches for.

use super::{Border, Changes, Settled, SlotError, SlotTracker, MAX_GAP_PERIODS};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::ops::{Range, RangeInclusive};

/// What was known of periods that are closed now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The periods of which something was known, in order.
    pub periods: Vec<u64>,
    /// Links of their blocks to parents that were not found: nothing depends on them any more.
    pub links: Vec<(u8, BlockId)>,
}

impl SlotTracker {
    /// An accepted root says that a period is lost: `ids[thread]` is its block, or `None` for a miss, whatever was known of it.
    /// What the links to these blocks show is settled with it; what contradicts is passed over.
    ///
    /// Only of an open period.
    pub fn enter_lost(&mut self, period: u64, ids: &[Option<BlockId>]) -> Changes {
        let mut changes = Changes {
            resolved_links: self.links_of_others(period, ids),
            complete: vec![period],
            ..Changes::default()
        };
        self.forget_slots(period);
        for (id, thread) in ids.iter().zip(0..) {
            let settled = id.map_or(Settled::Miss, Settled::Block);
            self.set(Slot::new(period, thread), settled);
        }
        self.open_or_insert(period).lost = true;
        for (id, thread) in ids.iter().zip(0..) {
            let Some(id) = *id else { continue };
            if let Some(child) = self.links.remove(&(thread, id)) {
                changes.resolved_links.push((thread, id));
                let misses = self.misses_or_nothing(thread, id, period + 1..child);
                self.settle_misses(&misses, &mut changes);
            }
        }
        changes.complete.sort_unstable();
        changes
    }

    /// Takes away the links of blocks that stand in `period` and are not among `ids`.
    fn links_of_others(&mut self, period: u64, ids: &[Option<BlockId>]) -> Vec<(u8, BlockId)> {
        let is_another = |thread: u8| {
            let settled = self.id_of(Slot::new(period, thread));
            settled != ids[usize::from(thread)].map(Settled::Block)
        };
        let of_others =
            |(link, child): (&(u8, BlockId), &u64)| (*child == period && is_another(link.0)).then_some(*link);
        let links: Vec<_> = self.links.iter().filter_map(of_others).collect();
        for link in &links {
            self.links.remove(link);
        }
        links
    }

    fn misses_or_nothing(&self, thread: u8, id: BlockId, periods: Range<u64>) -> Vec<Slot> {
        let mut misses = Vec::new();
        match self.gap::<()>(thread, id, periods, &mut misses) {
            Ok(()) => misses,
            Err(_) => Vec::new(),
        }
    }

    fn settle_misses(&mut self, misses: &[Slot], changes: &mut Changes) {
        for miss in misses {
            self.set(*miss, Settled::Miss);
        }
        let complete = self.complete_among(misses.iter().map(|miss| miss.period));
        changes.complete.extend(complete);
        changes.misses.extend(misses);
    }

    /// Closes everything below `first_open`, which the slots here settle: forgets it but for the last block of each thread.
    pub fn close(&mut self, first_open: u64) -> Forgotten {
        self.borders = self.borders_at(first_open);
        let mut forgotten = Forgotten {
            periods: self.open.range(..first_open).map(|(period, _)| *period).collect(),
            links: Vec::new(),
        };
        for period in &forgotten.periods {
            self.forget_slots(*period);
        }
        let below = |(link, child): (&(u8, BlockId), &u64)| (*child < first_open).then_some(*link);
        forgotten.links = self.links.iter().filter_map(below).collect();
        self.links.retain(|_, child| *child >= first_open);
        self.first_open = self.first_open.max(first_open);
        forgotten
    }

    /// What [`SlotTracker::borders`] will be after [`SlotTracker::close`].
    pub fn borders_at(&self, first_open: u64) -> Vec<Border> {
        let mut borders = self.borders.clone();
        for open in self.open.range(..first_open).map(|(_, open)| open) {
            for (settled, border) in open.slots.iter().zip(&mut borders) {
                if let Some(Settled::Block(id)) = settled {
                    *border = Border::Block(*id);
                }
            }
        }
        borders
    }

    /// Closes everything below `first_open` on the word of tables: which blocks are the last there is not known any more.
    pub fn close_by_tables(&mut self, first_open: u64) -> Forgotten {
        let forgotten = self.close(first_open);
        self.borders.fill(Border::Unknown);
        forgotten
    }

    /// The last block of a thread below the open segments is this one, as the entries of the periods there say. A link to it is
    /// answered, and what lies between are misses.
    pub fn enter_border(&mut self, thread: u8, border: Border) -> Changes {
        self.borders[usize::from(thread)] = border;
        let mut changes = Changes::default();
        let Border::Block(id) = border else {
            return changes;
        };
        if let Some(child) = self.links.remove(&(thread, id)) {
            changes.resolved_links.push((thread, id));
            let misses = self.misses_or_nothing(thread, id, self.first_open..child);
            self.settle_misses(&misses, &mut changes);
        }
        changes
    }

    /// The row of a settled block is gone: its slot is missing again, of which the id is known. Returns the id, unless the slot
    /// has no settled block.
    pub fn lose_block(&mut self, slot: Slot) -> Option<BlockId> {
        let slots = &mut self.open.get_mut(&slot.period)?.slots;
        let settled = slots.get_mut(usize::from(slot.thread))?;
        let Some(Settled::Block(id)) = *settled else {
            return None;
        };
        *settled = None;
        self.set_header(slot, id);
        Some(id)
    }

    /// Forgets what is known of an open period, and returns the links of its blocks: for rows that are given up.
    pub fn forget(&mut self, period: u64) -> Vec<(u8, BlockId)> {
        if !self.open.contains_key(&period) {
            return Vec::new();
        }
        self.forget_slots(period);
        let own = |(link, child): (&(u8, BlockId), &u64)| (*child == period).then_some(*link);
        let links = self.links.iter().filter_map(own).collect();
        self.links.retain(|_, child| *child != period);
        links
    }

    fn forget_slots(&mut self, period: u64) {
        let slots = self.open.remove(&period).map(|open| open.slots).unwrap_or_default();
        for settled in slots.into_iter().flatten() {
            if let Settled::Block(id) = settled {
                self.blocks.remove(&id);
            }
        }
        for thread in 0..self.thread_count() {
            if let Some(id) = self.headers.remove(&Slot::new(period, thread)) {
                self.blocks.remove(&id);
            }
        }
    }

    /// Declares every missing slot of `periods` a miss, on the word of whoever calls: for files that are known to end with whole
    /// periods. Closed periods are skipped, and slots below a child whose parent is named but not known: one of them holds that
    /// parent.
    ///
    /// # Errors
    /// [`SlotError::TooManyPeriods`].
    pub fn declare_misses<E>(&mut self, periods: RangeInclusive<u64>) -> Result<Changes, SlotError<E>> {
        let length = periods.end().saturating_sub(*periods.start()).saturating_add(1);
        if length > MAX_GAP_PERIODS {
            return Err(SlotError::TooManyPeriods { periods: length });
        }
        let mut misses = Vec::new();
        for period in periods.skip_while(|period| *period < self.first_open) {
            for thread in 0..self.thread_count() {
                let slot = Slot::new(period, thread);
                let may_hold_a_block = self.headers.contains_key(&slot) || self.may_hold_a_parent(slot);
                if !may_hold_a_block && self.open_slot(slot).is_none() {
                    misses.push(slot);
                }
            }
        }
        let mut changes = Changes::default();
        self.settle_misses(&misses, &mut changes);
        Ok(changes)
    }

    /// Whether a later block of the thread waits for a parent that is not known.
    fn may_hold_a_parent(&self, slot: Slot) -> bool {
        let waits = |(&(thread, _), &child): (&(u8, BlockId), &u64)| thread == slot.thread && child > slot.period;
        self.links.iter().any(waits)
    }

    /// The ids of an open period, `None` for a miss; nothing unless each of them is known.
    ///
    /// An id whose block is not here is known from its header, or because a block above names it as its parent and no other slot
    /// below that block is open.
    pub fn ids_of(&self, period: u64) -> Option<Vec<Option<BlockId>>> {
        (0..self.thread_count())
            .map(|thread| {
                let slot = Slot::new(period, thread);
                match self.id_of(slot) {
                    Some(Settled::Miss) => Some(None),
                    Some(Settled::Block(id)) => Some(Some(id)),
                    None => self.named_from_above(slot).map(Some),
                }
            })
            .collect()
    }

    /// What is known of an open slot: settled, or a header.
    fn id_of(&self, slot: Slot) -> Option<Settled> {
        let header = self.headers.get(&slot).copied().map(Settled::Block);
        header.or_else(|| self.open_slot(slot))
    }

    /// The block of a missing slot, if the next block of the thread names a parent that can only be there.
    fn named_from_above(&self, slot: Slot) -> Option<BlockId> {
        let of_thread = |(&(thread, parent), &child): (&(u8, BlockId), &u64)| {
            (thread == slot.thread && child > slot.period).then_some((child, parent))
        };
        let (child, parent) = self.links.iter().filter_map(of_thread).min()?;
        // Its slot is known, and is another one.
        if self.blocks.contains_key(&parent) || child - slot.period > MAX_GAP_PERIODS {
            return None;
        }
        let missed = |period: u64| self.id_of(Slot::new(period, slot.thread)) == Some(Settled::Miss);
        if !(slot.period + 1..child).all(missed) {
            return None;
        }
        let lowest = self.first_open.max(slot.period.saturating_sub(MAX_GAP_PERIODS));
        for period in (lowest..slot.period).rev() {
            match self.id_of(Slot::new(period, slot.thread)) {
                Some(Settled::Block(_)) => return Some(parent),
                Some(Settled::Miss) => {}
                None => return None,
            }
        }
        let border_is_another = self.borders[usize::from(slot.thread)] != Border::Unknown;
        (lowest == self.first_open && border_is_another).then_some(parent)
    }
}
