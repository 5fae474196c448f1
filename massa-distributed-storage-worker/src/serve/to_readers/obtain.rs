//! The thread around [`PeriodRead`]: own pages first, then the network.

use super::{ArchiveReader, Placement, ReadContent, ReaderError, SlotReading};
use crate::fetch::sources::{in_order, may_have_block, says_whole, HOLDERS_MAX};
use crate::serve::asking::{Asking, Outcome, Request};
use crate::serve::period_read::{Ask, PeriodBlocks, PeriodRead, ReadCheck, ReadFailure, Step};
use crate::serve::proofs::Evidence;
use crate::storage_backend::{EntryRead, SlotRead};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{FetchEvent, FetchPriority, FetchTarget, SlotContent, StoragePeer};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Times that something is asked for in one read. Each is one round trip or a failure; lies are bounded besides.
const ROUNDS_MAX: usize = 24;
/// Periods whose entries are fetched at once.
const ENTRIES_MAX: usize = 128;
/// Times that entries are asked for while liars answer.
const ENTRY_ROUNDS: usize = 3;

fn not_obtained(period: u64, reason: impl Into<String>) -> ReaderError {
    ReaderError::Read {
        period,
        source: ReadFailure::NotObtained(reason.into()),
    }
}

impl ArchiveReader {
    pub(super) fn obtain_slot(
        &self,
        slot: Slot,
        check: ReadCheck,
        known: Option<Evidence>,
        deadline: Instant,
    ) -> Result<SlotReading, ReaderError> {
        let segment = self.store.parameters().segment_of(slot.period);
        let known_table = known.as_ref().and_then(|known| known.table.clone());
        let table = known_table.or_else(|| self.table(segment, FetchPriority::Reader, deadline));
        let Some(table) = table else {
            return self.obtain_open(slot, check, deadline);
        };
        let read = PeriodRead::new(Arc::clone(&table), slot.period, vec![slot.thread], check);
        let mut read = read.ok_or(ReaderError::NotArchived { slot })?;
        match known.map(|known| (known.entry_from, known.entry)) {
            Some((Some(from), entry)) => read.on_entry(from, entry),
            Some((None, entry)) => read.on_own_entry(entry),
            None => {}
        }
        let mut blocks = self.run(read, FetchPriority::Reader, deadline)?;
        let id = blocks.entry.ids().nth(usize::from(slot.thread)).flatten();
        let content = match (blocks.records.remove(&slot.thread), id) {
            (Some(record), _) => ReadContent::Block(record),
            (None, Some(id)) => ReadContent::Lost(id),
            (None, None) => ReadContent::Miss,
        };
        Ok(SlotReading {
            slot,
            content,
            fetched: Some(Evidence {
                chain_id: self.store.parameters().chain_id,
                period: slot.period,
                entry: blocks.entry,
                table: Some(table),
                entry_from: blocks.entry_from,
            }),
        })
    }

    /// The block of an open segment whose id this node knows, and whose row is damaged.
    fn obtain_open(&self, slot: Slot, check: ReadCheck, deadline: Instant) -> Result<SlotReading, ReaderError> {
        let known = self.store.open_slots(slot.period..slot.period + 1);
        let id = known
            .into_iter()
            .find(|(known, _)| *known == slot)
            .and_then(|(_, id)| id);
        let id = id.ok_or(ReaderError::NotArchived { slot })?;
        let asking = self.asking();
        let asking = asking.ok_or_else(|| not_obtained(slot.period, "there is no network"))?;
        let mut avoid = Vec::new();
        for _ in 0..ENTRY_ROUNDS {
            let peers = asking.peers();
            let useful = peers.iter().filter(|peer| may_have_block(peer, slot.period)).cloned();
            let holders = in_order(&[], &useful.collect::<Vec<_>>(), &avoid);
            let Some((from, content)) =
                ask_blocks(asking, &[(slot, holders)], FetchPriority::Reader, deadline).remove(&slot)
            else {
                break;
            };
            match self.check_open(id, content, check) {
                Ok(record) => {
                    return Ok(SlotReading {
                        slot,
                        content: ReadContent::Block(record),
                        fetched: None,
                    })
                }
                Err(reason) => {
                    asking.quarantine(from, &format!("block of slot {slot}: {reason}"));
                    avoid.push(from);
                }
            }
        }
        Err(not_obtained(slot.period, format!("nobody sent block {id}")))
    }

    fn check_open(
        &self,
        id: BlockId,
        content: SlotContent<BlockRecord>,
        check: ReadCheck,
    ) -> Result<BlockRecord, String> {
        let parameters = self.store.parameters();
        let (chain_id, threads) = (parameters.chain_id, parameters.thread_count);
        let SlotContent::Block(record) = content else {
            return Err("said to be missed".into());
        };
        let view = record.check_ids(chain_id, threads).map_err(|error| error.to_string())?;
        if view.block_id() != id {
            return Err(format!("expected block {id}, found {}", view.block_id()));
        }
        if check == ReadCheck::Meaning {
            verify_block(&record, chain_id, threads).map_err(|error| error.to_string())?;
        }
        Ok(record)
    }

    pub(super) fn obtain_period(&self, period: u64, deadline: Instant) -> Result<Vec<BlockRecord>, ReaderError> {
        let parameters = self.store.parameters();
        let table = self.table(parameters.segment_of(period), FetchPriority::Repair, deadline);
        let threads: Vec<u8> = (0..parameters.thread_count).collect();
        let Some(table) = table else {
            return self.open_period(period, deadline);
        };
        let read = PeriodRead::new(table, period, threads, ReadCheck::Meaning);
        let slot = Slot::new(period, 0);
        let mut read = read.ok_or(ReaderError::NotArchived { slot })?;
        self.add_own_blocks(&mut read);
        let blocks = self.run(read, FetchPriority::Repair, deadline)?;
        if blocks.entry.is_lost() {
            return Err(ReaderError::Lost { period });
        }
        Ok(blocks.records.into_values().collect())
    }

    /// Rows of a segment that was closed a moment ago.
    fn add_own_blocks(&self, read: &mut PeriodRead) {
        let period = read.period();
        let Ok(Some(joined)) = self.store.joined_period(period) else {
            return;
        };
        read.on_own_entry(joined.entry);
        for thread in 0..self.store.parameters().thread_count {
            if let Ok(Some(record)) = self.store.open_block(Slot::new(period, thread)) {
                read.on_own_block(thread, record);
            }
        }
    }

    /// Blocks of a period of which no root is known: what this node has, the rest from peers that say that they have all.
    fn open_period(&self, period: u64, deadline: Instant) -> Result<Vec<BlockRecord>, ReaderError> {
        let parameters = self.store.parameters();
        let (mut records, mut missing) = (BTreeMap::new(), Vec::new());
        for thread in 0..parameters.thread_count {
            let slot = Slot::new(period, thread);
            match self.store.slot(slot) {
                Ok(SlotRead::Block(record)) => drop(records.insert(slot, record)),
                Ok(SlotRead::Miss) => {}
                Ok(SlotRead::Lost(_)) => return Err(ReaderError::Lost { period }),
                _ => missing.push(slot),
            }
        }
        let asking = self.asking();
        if let (Some(asking), false) = (asking, missing.is_empty()) {
            let peers = asking.peers();
            let useful = peers.iter().filter(|peer| says_whole(peer, period)).cloned();
            let mut holders = in_order(&[], &useful.collect::<Vec<_>>(), &[]);
            let begin = period as usize % holders.len().max(1);
            holders.rotate_left(begin);
            let wanted: Vec<_> = missing.iter().map(|slot| (*slot, holders.clone())).collect();
            for (slot, (from, content)) in ask_blocks(asking, &wanted, FetchPriority::Repair, deadline) {
                missing.retain(|missing| *missing != slot);
                let SlotContent::Block(record) = content else { continue };
                if let Err(error) = verify_block(&record, parameters.chain_id, parameters.thread_count) {
                    asking.quarantine(from, &format!("block of slot {slot}: {error}"));
                    return Err(not_obtained(period, error.to_string()));
                }
                records.insert(slot, record);
            }
        }
        match missing.first() {
            None => Ok(records.into_values().collect()),
            Some(slot) => Err(not_obtained(period, format!("nobody sent the block of slot {slot}"))),
        }
    }

    /// Reads until everything is here, nothing more can be had, or the deadline is there.
    fn run(
        &self,
        mut read: PeriodRead,
        priority: FetchPriority,
        deadline: Instant,
    ) -> Result<PeriodBlocks, ReaderError> {
        let period = read.period();
        if let Ok(EntryRead::Found(entry)) = self.store.entry(period) {
            read.on_own_entry(entry);
        }
        let mut rounds = 0;
        loop {
            let step = read.next_step();
            if let Some((asking, ..)) = &self.others {
                for (node, reason) in read.take_liars() {
                    asking.quarantine(node, &reason);
                }
            }
            let asks = match step {
                Step::Done(blocks) => return Ok(*blocks),
                Step::Failed(source) => return Err(ReaderError::Read { period, source }),
                Step::Ask(asks) => asks,
            };
            if self.add_own_pages(&mut read, &asks) {
                continue;
            }
            rounds += 1;
            if rounds > ROUNDS_MAX || Instant::now() >= deadline {
                return Err(not_obtained(period, "no answer in time"));
            }
            self.ask_others(&mut read, &asks, (priority, deadline))?;
        }
    }

    /// Takes pages that this node holds. Whether there was one.
    fn add_own_pages(&self, read: &mut PeriodRead, asks: &[Ask]) -> bool {
        let mut added = false;
        for ask in asks {
            let Ask::Pages { position, chunk, pages } = ask else {
                continue;
            };
            for page in pages.clone() {
                if !read.try_own_page(position.index.0, page) {
                    continue;
                }
                let Ok(Some(own)) = self.store.page(*position, page) else {
                    continue;
                };
                // It may be of a segment that is replaced at this moment.
                let id = massa_distributed_storage_exports::merkle::root_of_hashes(own.page_roots);
                if id == *chunk.id.as_bytes() {
                    read.on_own_page(position.index.0, page, (own.plain, own.signatures));
                    added = true;
                }
            }
        }
        added
    }

    fn ask_others(
        &self,
        read: &mut PeriodRead,
        asks: &[Ask],
        (priority, deadline): (FetchPriority, Instant),
    ) -> Result<(), ReaderError> {
        let Some((asking, placement, _)) = &self.others else {
            return Err(not_obtained(
                read.period(),
                "other nodes keep it, and there is no network",
            ));
        };
        let peers = asking.peers();
        let requests: Vec<Request> = asks
            .iter()
            .map(|ask| request_of(ask, read, placement.as_ref(), &peers))
            .collect();
        let outcomes = asking.ask(&requests, priority, deadline, |index, event| {
            match (event, &asks[index]) {
                (FetchEvent::Page { from, page, .. }, Ask::Pages { position, .. }) => {
                    read.on_page(position.index.0, from, page);
                }
                (
                    FetchEvent::Entries {
                        from,
                        first_period,
                        entries,
                        ..
                    },
                    Ask::Entry { period },
                ) if first_period == *period => {
                    entries.into_iter().take(1).for_each(|entry| read.on_entry(from, entry));
                }
                (
                    FetchEvent::Block {
                        from, slot, content, ..
                    },
                    Ask::Block { .. },
                ) => read.on_block(from, slot, content),
                _ => {}
            }
        });
        for (ask, outcome) in asks.iter().zip(outcomes) {
            if outcome != Outcome::Complete {
                read.on_failed(ask, outcome.to_string());
            }
        }
        Ok(())
    }

    /// Entries of periods of closed segments, each with its segment's table: this node's own, the rest from others, all at
    /// once. Those that nobody sent are left out. At most [`ENTRIES_MAX`].
    pub(in crate::serve) fn entries(&self, periods: &BTreeSet<u64>, deadline: Instant) -> BTreeMap<u64, Evidence> {
        let mut found = BTreeMap::new();
        let mut reads: BTreeMap<u64, (PeriodRead, Arc<SegmentTable>)> = BTreeMap::new();
        for period in periods.iter().copied().take(ENTRIES_MAX) {
            let segment = self.store.parameters().segment_of(period);
            let own = self.store.entry(period).ok();
            let table = self.table(segment, FetchPriority::Reader, deadline);
            match (own, table) {
                (Some(EntryRead::Found(entry)), table) => {
                    drop(found.insert(period, self.evidence(period, (entry, None), table)))
                }
                (_, Some(table)) => {
                    if let Some(read) = PeriodRead::new(Arc::clone(&table), period, Vec::new(), ReadCheck::Merkle) {
                        reads.insert(period, (read, table));
                    }
                }
                (_, None) => {}
            }
        }
        for _ in 0..ENTRY_ROUNDS {
            self.entry_round(&mut reads, &mut found, deadline);
        }
        found
    }

    fn entry_round(
        &self,
        reads: &mut BTreeMap<u64, (PeriodRead, Arc<SegmentTable>)>,
        found: &mut BTreeMap<u64, Evidence>,
        deadline: Instant,
    ) {
        let Some((asking, placement, _)) = self.others.as_ref().filter(|_| !reads.is_empty()) else {
            return;
        };
        let peers = asking.peers();
        let periods: Vec<u64> = reads.keys().copied().collect();
        let requests: Vec<Request> = reads
            .iter()
            .map(|(period, (read, _))| request_of(&Ask::Entry { period: *period }, read, placement.as_ref(), &peers))
            .collect();
        asking.ask(&requests, FetchPriority::Reader, deadline, |index, event| {
            let FetchEvent::Entries { from, entries, .. } = event else {
                return;
            };
            let read = reads.get_mut(&periods[index]);
            if let (Some((read, _)), Some(entry)) = (read, entries.into_iter().next()) {
                read.on_entry(from, entry);
            }
        });
        for period in periods {
            let Some((read, table)) = reads.get_mut(&period) else {
                continue;
            };
            let step = read.next_step();
            let liars = read.take_liars();
            liars.iter().for_each(|(node, reason)| asking.quarantine(*node, reason));
            if let Step::Done(blocks) = step {
                let table = Some(Arc::clone(table));
                found.insert(period, self.evidence(period, (blocks.entry, blocks.entry_from), table));
                reads.remove(&period);
            }
        }
    }

    fn evidence(
        &self,
        period: u64,
        (entry, entry_from): (PeriodEntry, Option<NodeId>),
        table: Option<Arc<SegmentTable>>,
    ) -> Evidence {
        Evidence {
            chain_id: self.store.parameters().chain_id,
            period,
            entry,
            table,
            entry_from,
        }
    }
}

/// What an ask is to the network, and whom it goes to.
fn request_of(ask: &Ask, read: &PeriodRead, placement: &dyn Placement, peers: &[StoragePeer]) -> Request {
    let holders_of = |chunk: u32| {
        let position = ChunkPosition::new(read.table().header().segment, chunk);
        let of_table = position.zip(read.table().chunk(chunk));
        of_table.map_or(Vec::new(), |(position, chunk)| placement.holders(position, &chunk.id))
    };
    // Whoever holds one of the period's chunks: a few of them are enough.
    let of_period = || -> Vec<NodeId> {
        let chunks = read.chunks().take(HOLDERS_MAX);
        chunks.flat_map(holders_of).take(HOLDERS_MAX).collect()
    };
    let (target, assigned) = match ask {
        Ask::Pages { position, chunk, pages } => {
            let target = FetchTarget::Pages {
                position: *position,
                chunk: *chunk,
                pages: pages.clone(),
            };
            (target, holders_of(position.index.0))
        }
        Ask::Entry { period } => {
            let target = FetchTarget::Entries {
                first_period: *period,
                count: 1,
            };
            (target, of_period())
        }
        Ask::Block { slot } => (FetchTarget::Block { slot: *slot }, of_period()),
    };
    Request {
        target,
        holders: in_order(&assigned, peers, read.avoid()),
    }
}

/// Blocks of slots, as they come.
fn ask_blocks(
    asking: &Asking,
    wanted: &[(Slot, Vec<NodeId>)],
    priority: FetchPriority,
    deadline: Instant,
) -> BTreeMap<Slot, (NodeId, SlotContent<BlockRecord>)> {
    let requests: Vec<Request> = wanted
        .iter()
        .map(|(slot, holders)| Request {
            target: FetchTarget::Block { slot: *slot },
            holders: holders.clone(),
        })
        .collect();
    let mut found = BTreeMap::new();
    asking.ask(&requests, priority, deadline, |index, event| {
        if let FetchEvent::Block {
            from, slot, content, ..
        } = event
        {
            if slot == wanted[index].0 {
                found.insert(slot, (from, content));
            }
        }
    });
    found
}
