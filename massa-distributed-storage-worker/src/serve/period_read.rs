//! Blocks of one period of a closed segment, read from wherever its parts are: what to ask for next, and who is to blame.
//!
//! Pure: answers in, requests out. The segment's table is trusted; everything else is checked against it:
//!
//! - a page against its chunk's id (that is done before it comes here);
//! - an entry against the period's root, which covers ids and not offsets. An offset that leads to other bytes is found out
//!   when the block is put together; then the entry is read from the body itself, and whoever sent a different one lied;
//! - a block against the id in the entry;
//! - with [`ReadCheck::Meaning`] operation ids, operation root and all signatures.
//!
//! A quiet period has few pages: all of them are asked for at once, and the entry comes along: one round trip. The entry of
//! a full one is asked for first: two. Where nobody has the pages of a block (a segment that was closed a moment ago), the
//! block of the slot is asked for as such.
//!
//! Signatures are covered by no root. One that is not valid is the fault of whoever sent the page: others are asked. It is a
//! lie only where the object lies in one chunk, since the holder of its last part alone cannot check it.

use super::body_pages::{BlockBytes, BlockFault, BodyPages, SignatureAt};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{SlotContent, VerifiedPage};
use massa_distributed_storage_exports::record::{BlockRecord, MAX_RECORD_BYTES};
use massa_distributed_storage_exports::segment_table::{SegmentTable, TableChunk};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::verification::{verify_block, VerifyBlockError};
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A period of at most so many bytes is asked for whole: a near-empty one of 32 threads has 85 kB.
pub const QUIET_PERIOD_BYTES: u64 = 4 * PAGE_BYTES as u64;
/// Answers that turn out false before a read is given up.
const FAULTS_MAX: u32 = 8;

/// How far a block is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadCheck {
    /// Page root, path to the chunk id, table, block id recomputed. Operations are what the segment's root commits to; nobody
    /// looked at a signature. For readers that check signatures themselves or need none.
    Merkle,
    /// That, and operation ids, operation root, the signatures of the block and of every operation.
    #[default]
    Meaning,
}

/// What is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Pages of a chunk.
    Pages {
        /// The chunk.
        position: ChunkPosition,
        /// Length and id.
        chunk: TableChunk,
        /// Which pages.
        pages: Range<u32>,
    },
    /// The entry of the period.
    Entry {
        /// The period.
        period: u64,
    },
    /// The block of a slot, as such.
    Block {
        /// The slot.
        slot: Slot,
    },
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// These are asked for, all at once.
    Ask(Vec<Ask>),
    /// Everything is here.
    Done(Box<PeriodBlocks>),
    /// It cannot be read.
    Failed(ReadFailure),
}

/// Blocks of a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodBlocks {
    /// The period's entry. Its root is the one of the table.
    pub entry: PeriodEntry,
    /// Who sent it, if its offsets are not those of the body for sure.
    pub entry_from: Option<NodeId>,
    /// Blocks that were wanted and are, by thread.
    pub records: BTreeMap<u8, BlockRecord>,
}

/// Why blocks cannot be read.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// Nobody sent what is needed.
    #[error("not obtained: {0}")]
    NotObtained(String),
    /// What the segment's root commits to is no block of this slot: no node is to blame.
    #[error("the archive itself is false: {0}")]
    Archive(String),
}

/// How the entry is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryWay {
    /// With all pages of the period.
    WithPeriod,
    /// By itself, from whoever keeps it.
    Request,
    /// From the bytes that the period begins with.
    FromBody,
}

struct KnownEntry {
    entry: PeriodEntry,
    /// `None`: this node's own.
    from: Option<NodeId>,
    /// Read from the body: its offsets are what the root commits to.
    proven: bool,
}

/// See the module.
pub struct PeriodRead {
    pages: BodyPages,
    period: u64,
    bytes: Range<u64>,
    threads: Vec<u8>,
    check: ReadCheck,
    way: EntryWay,
    entry: Option<KnownEntry>,
    /// An entry that led to wrong bytes, until the body's own is known.
    suspect: Option<(Option<NodeId>, PeriodEntry)>,
    records: BTreeMap<u8, BlockRecord>,
    /// Threads whose block is asked for as such.
    as_block: BTreeSet<u8>,
    avoid: Vec<NodeId>,
    liars: Vec<(NodeId, String)>,
    /// Pages of this node's own that were looked for, or found to be of no use.
    own_tried: BTreeSet<u64>,
    faults: u32,
    failed: Option<ReadFailure>,
}

impl PeriodRead {
    /// Reads the blocks of `threads`; `None` if the period is not in the table's segment.
    pub fn new(table: Arc<SegmentTable>, period: u64, threads: Vec<u8>, check: ReadCheck) -> Option<Self> {
        let bytes = table.period_range(period)?;
        let quiet = bytes.end - bytes.start <= QUIET_PERIOD_BYTES && !threads.is_empty();
        Some(Self {
            pages: BodyPages::new(table),
            period,
            bytes,
            threads,
            check,
            way: if quiet { EntryWay::WithPeriod } else { EntryWay::Request },
            entry: None,
            suspect: None,
            records: BTreeMap::new(),
            as_block: BTreeSet::new(),
            avoid: Vec::new(),
            liars: Vec::new(),
            own_tried: BTreeSet::new(),
            faults: 0,
            failed: None,
        })
    }

    /// The table.
    pub fn table(&self) -> &SegmentTable {
        self.pages.table()
    }

    /// The period.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Chunks that the period touches: whoever holds one of them has its entry.
    pub fn chunks(&self) -> Range<u32> {
        self.table().chunks_of(&self.bytes)
    }

    /// Nodes that are not asked again.
    pub fn avoid(&self) -> &[NodeId] {
        &self.avoid
    }

    /// Who sent what is proven wrong, and what, since this was called last.
    pub fn take_liars(&mut self) -> Vec<(NodeId, String)> {
        std::mem::take(&mut self.liars)
    }

    /// Whether this node's own copy of a page should be looked for: once, and not after it was found to be of no use.
    pub fn try_own_page(&mut self, chunk: u32, page: u32) -> bool {
        let number = self.pages.number(chunk, page);
        self.own_tried.insert(number)
    }

    /// What comes next.
    pub fn next_step(&mut self) -> Step {
        loop {
            if let Some(failure) = self.failed.clone() {
                return Step::Failed(failure);
            }
            if self.entry.is_none() {
                match self.seek_entry() {
                    Some(asks) => return Step::Ask(asks),
                    None => continue,
                }
            }
            match self.seek_blocks() {
                Some(asks) => return Step::Ask(asks),
                None if self.entry.is_some() && self.assemble() => return Step::Done(Box::new(self.done())),
                None => {}
            }
        }
    }

    fn done(&mut self) -> PeriodBlocks {
        let known = self.entry.take().expect("the caller looked");
        PeriodBlocks {
            entry: known.entry,
            entry_from: known.from,
            records: std::mem::take(&mut self.records),
        }
    }

    /// What to ask for to get the entry; `None` if that is here now, or the way to it changed.
    fn seek_entry(&mut self) -> Option<Vec<Ask>> {
        let range = match self.way {
            EntryWay::Request => {
                return Some(vec![Ask::Entry { period: self.period }]);
            }
            EntryWay::WithPeriod => self.bytes.clone(),
            EntryWay::FromBody => self.entry_bytes(),
        };
        let asks = self.pages_asked([&range]);
        if !asks.is_empty() {
            return Some(asks);
        }
        let range = self.entry_bytes();
        match self.pages.entry(&range) {
            Ok(entry) if self.is_true(&entry) => self.take_body_entry(entry),
            Ok(_) => self.give_up_archive("the entry in the body has another root than the table lists".into()),
            Err(error) => self.give_up_archive(error.to_string()),
        }
        None
    }

    /// Where the entry stands, as long as it may be.
    fn entry_bytes(&self) -> Range<u64> {
        let longest = u64::from(PeriodEntry::max_length(self.table().header().threads));
        self.bytes.start..(self.bytes.start + longest).min(self.bytes.end)
    }

    fn take_body_entry(&mut self, entry: PeriodEntry) {
        if let Some((from, suspect)) = self.suspect.take() {
            if suspect == entry {
                return self.give_up_archive("an entry leads to other bytes than its blocks".into());
            }
            if let Some(from) = from {
                let reason = format!("entry of period {} with false offsets", self.period);
                self.liars.push((from, reason));
            }
        }
        self.entry = Some(KnownEntry {
            entry,
            from: None,
            proven: true,
        });
    }

    fn is_true(&self, entry: &PeriodEntry) -> bool {
        let root = entry.root(self.table().header().chain_id, self.period);
        self.table().period(self.period).is_some_and(|row| row.root == root)
    }

    fn pages_asked<'r>(&self, ranges: impl IntoIterator<Item = &'r Range<u64>>) -> Vec<Ask> {
        let wanted = self.pages.wanted(ranges).into_iter();
        let asks = wanted.filter_map(|wanted| {
            Some(Ask::Pages {
                position: ChunkPosition::new(self.table().header().segment, wanted.chunk)?,
                chunk: self.table().chunk(wanted.chunk)?,
                pages: wanted.pages,
            })
        });
        asks.collect()
    }

    /// Threads whose block is wanted and not here, with the block.
    fn blocks_wanted(&self) -> Vec<(u8, BlockId)> {
        let Some(known) = self.entry.as_ref().filter(|known| !known.entry.is_lost()) else {
            return Vec::new();
        };
        let missing = self.threads.iter().filter(|thread| !self.records.contains_key(thread));
        let blocks = missing.filter_map(|thread| {
            let block = known.entry.slots().get(usize::from(*thread))?.as_ref()?;
            Some((*thread, block.id))
        });
        blocks.collect()
    }

    /// Where the entry says that a block stands, if that can be.
    fn block_bytes(&self, thread: u8, id: BlockId) -> Result<BlockBytes, String> {
        let length = (self.bytes.end - self.bytes.start) as u32;
        let known = self
            .entry
            .as_ref()
            .and_then(|known| known.entry.block_range(thread, length));
        let range = known.ok_or_else(|| format!("thread {thread} has no bytes"))?;
        if range.end > length || range.len() > MAX_RECORD_BYTES {
            return Err(format!(
                "thread {thread} has bytes {} to {} of {length}",
                range.start, range.end
            ));
        }
        Ok(BlockBytes {
            slot: Slot::new(self.period, thread),
            id,
            range: self.bytes.start + u64::from(range.start)..self.bytes.start + u64::from(range.end),
        })
    }

    fn seek_blocks(&mut self) -> Option<Vec<Ask>> {
        let (mut ranges, mut asks, mut impossible) = (Vec::new(), Vec::new(), None);
        for (thread, id) in self.blocks_wanted() {
            let slot = Slot::new(self.period, thread);
            if self.as_block.contains(&thread) {
                asks.push(Ask::Block { slot });
                continue;
            }
            match self.block_bytes(thread, id) {
                Ok(block) => ranges.push(block.range),
                Err(reason) => impossible = Some(reason),
            }
        }
        if let Some(reason) = impossible {
            self.doubt_entry(reason);
            return None;
        }
        asks.extend(self.pages_asked(&ranges));
        (!asks.is_empty()).then_some(asks)
    }

    /// Puts together what is wanted; whether all of it is here.
    fn assemble(&mut self) -> bool {
        for (thread, id) in self.blocks_wanted() {
            let Ok(block) = self.block_bytes(thread, id) else {
                return false;
            };
            match self.pages.record(&block) {
                Ok(record) => match self.check_record(&block, &record) {
                    None => drop(self.records.insert(thread, record)),
                    Some(signature) => self.on_false_signature(&block, signature),
                },
                Err(BlockFault::Signature(at)) => self.on_false_signature(&block, Some(at)),
                Err(BlockFault::Bytes(reason)) => {
                    self.doubt_entry(reason);
                    return false;
                }
            }
        }
        self.failed.is_none() && self.blocks_wanted().is_empty()
    }

    /// `None` if the block is what it should be; else where the first signature stands that is not valid, if it is that.
    fn check_record(&self, block: &BlockBytes, record: &BlockRecord) -> Option<Option<SignatureAt>> {
        if self.check == ReadCheck::Merkle {
            return None;
        }
        let header = self.table().header();
        let index = match verify_block(record, header.chain_id, header.threads) {
            Ok(_) => return None,
            Err(VerifyBlockError::HeaderSignature(_)) => Some(0),
            Err(VerifyBlockError::OperationSignature { operation_id }) => {
                let view = record.view(header.threads).ok();
                let at = view.and_then(|view| view.operation_ids().position(|id| id == operation_id));
                at.map(|index| index + 1)
            }
            Err(_) => None,
        };
        Some(index.and_then(|index| self.pages.signature_of(block, index)))
    }

    fn on_false_signature(&mut self, block: &BlockBytes, signature: Option<SignatureAt>) {
        let Some(at) = signature else {
            return self.give_up_archive(format!("block {} of slot {} is not valid", block.id, block.slot));
        };
        let reason = format!("a signature of block {} is not valid", block.id);
        match self.pages.forget(at.page) {
            Some(from) => {
                self.avoid.push(from);
                if at.in_one_chunk {
                    self.liars.push((from, reason.clone()));
                }
            }
            None => drop(self.own_tried.insert(at.page)),
        }
        self.count_fault(reason);
    }

    /// The bytes that the entry leads to are not the block: the entry is false, unless it is the body's own.
    fn doubt_entry(&mut self, reason: String) {
        let Some(known) = self.entry.take() else { return };
        if known.proven {
            return self.give_up_archive(reason);
        }
        self.avoid.extend(known.from);
        self.suspect = Some((known.from, known.entry));
        self.way = EntryWay::FromBody;
        self.as_block.clear();
        self.count_fault(reason);
    }

    fn count_fault(&mut self, reason: String) {
        self.faults += 1;
        if self.faults > FAULTS_MAX {
            self.give_up(reason);
        }
    }

    fn give_up(&mut self, reason: String) {
        self.failed.get_or_insert(ReadFailure::NotObtained(reason));
    }

    fn give_up_archive(&mut self, reason: String) {
        self.failed.get_or_insert(ReadFailure::Archive(reason));
    }

    /// A page of this node's own, led to the chunk's id.
    pub fn on_own_page(&mut self, chunk: u32, page: u32, (plain, signatures): (Vec<u8>, Vec<u8>)) {
        let number = self.pages.number(chunk, page);
        self.pages.insert(number, None, plain, signatures);
    }

    /// A page of a chunk arrived.
    pub fn on_page(&mut self, chunk: u32, from: NodeId, page: VerifiedPage) {
        let number = self.pages.number(chunk, page.page());
        let (plain, content) = page.into_parts();
        self.pages.insert(number, Some(from), plain, content.signatures);
    }

    /// This node's own entry. Its offsets may have come from elsewhere.
    pub fn on_own_entry(&mut self, entry: PeriodEntry) {
        if self.entry.is_none() && self.is_true(&entry) {
            self.entry = Some(KnownEntry {
                entry,
                from: None,
                proven: false,
            });
        }
    }

    /// An entry arrived.
    pub fn on_entry(&mut self, from: NodeId, entry: PeriodEntry) {
        if !self.is_true(&entry) {
            let reason = format!("entry of period {} with another root", self.period);
            self.avoid.push(from);
            self.liars.push((from, reason.clone()));
            return self.count_fault(reason);
        }
        if self.entry.is_none() {
            self.entry = Some(KnownEntry {
                entry,
                from: Some(from),
                proven: false,
            });
        }
    }

    /// This node's own row of a block.
    pub fn on_own_block(&mut self, thread: u8, record: BlockRecord) {
        if self.check_whole(thread, &record).is_ok() {
            self.records.insert(thread, record);
        }
    }

    /// A block arrived as such: its sender had all of it, and could have checked all of it.
    pub fn on_block(&mut self, from: NodeId, slot: Slot, content: SlotContent<BlockRecord>) {
        let checked = match content {
            SlotContent::Miss => Err("said to be missed".to_string()),
            SlotContent::Block(record) => self.check_whole(slot.thread, &record).map(|()| record),
        };
        match checked {
            Ok(record) => drop(self.records.insert(slot.thread, record)),
            Err(reason) => {
                let reason = format!("block of slot {slot}: {reason}");
                self.avoid.push(from);
                self.liars.push((from, reason.clone()));
                self.count_fault(reason);
            }
        }
    }

    /// No path leads to the bytes of a whole record, so its operations are always led to the header.
    fn check_whole(&self, thread: u8, record: &BlockRecord) -> Result<(), String> {
        let header = self.table().header();
        let (chain_id, threads) = (header.chain_id, header.threads);
        let wanted = self.blocks_wanted().into_iter().find(|(wanted, _)| *wanted == thread);
        let (_, expected) = wanted.ok_or_else(|| "not wanted".to_string())?;
        let view = record.check_ids(chain_id, threads).map_err(|error| error.to_string())?;
        if view.block_id() != expected {
            return Err(format!("expected block {expected}, found {}", view.block_id()));
        }
        if self.check == ReadCheck::Meaning {
            verify_block(record, chain_id, threads).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Nobody sent what was asked for: another way is tried, if there is one.
    pub fn on_failed(&mut self, ask: &Ask, reason: String) {
        match (ask, self.way) {
            (Ask::Pages { position, pages, .. }, _) if self.entry.is_some() => {
                self.ask_as_blocks(position.index.0, pages);
            }
            // Several chunks of the period may have failed at once.
            (Ask::Pages { .. }, EntryWay::WithPeriod | EntryWay::Request) => self.way = EntryWay::Request,
            (Ask::Entry { .. }, EntryWay::Request) => self.way = EntryWay::FromBody,
            (Ask::Pages { .. } | Ask::Entry { .. } | Ask::Block { .. }, _) => self.give_up(reason),
        }
    }

    /// Blocks that need these pages are asked for as such.
    fn ask_as_blocks(&mut self, chunk: u32, pages: &Range<u32>) {
        let start = self.pages.number(chunk, pages.start) * PAGE_BYTES as u64;
        let end = self.pages.number(chunk, pages.end) * PAGE_BYTES as u64;
        for (thread, id) in self.blocks_wanted() {
            let block = self.block_bytes(thread, id);
            if block.is_ok_and(|block| block.range.start < end && block.range.end > start) {
                self.as_block.insert(thread);
            }
        }
    }
}
