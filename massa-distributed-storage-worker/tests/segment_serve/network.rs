//! A network that calls other nodes' servers directly and does what the storage handler does: asks one holder after the other,
//! checks what each sends, ends with one `Complete` or `Failed`. Lies are told between server and check.

use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, ArchiveServer, Fetch, FetchEvent, FetchFailure, FetchTarget, Located, NetworkBusy,
    PageContent, SlotContent, StorageNetwork, StoragePeer, VerifiedPage,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_distributed_storage_worker::serve::to_peers::SegmentServer;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

const FRAME_BYTES: usize = 64 << 10;

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A byte of each page is another one.
    Page,
    /// The path of each page is another one, or leads elsewhere.
    Path,
    /// A byte of each signature beside a page is another one.
    Signature,
    /// There are no signatures.
    NoSignatures,
    /// Offsets in entries are a byte too large.
    EntryOffset,
    /// Offsets in entries are those of the next block.
    EntryNext,
    /// Offsets in entries lie in the period after.
    EntryFar,
    /// Offsets in entries lie beyond every period.
    EntryBeyond,
    /// Entries say that the first block is a miss.
    EntryMiss,
    /// Tables name another segment before.
    Table,
    /// Every id is in the next thread's slot.
    Locate,
    /// Every id is far in the future.
    LocateFuture,
    /// Blocks have another parent, and so another id.
    OtherBlock,
    /// Blocks have a false signature.
    Block,
    /// Every slot is a miss.
    Miss,
    /// Never answers; the handler waits for it for a while.
    Silent,
    /// Never answers, and the request is never ended.
    Stuck,
}

struct Peer {
    node: NodeId,
    server: Arc<SegmentServer>,
    lie: Option<Lie>,
}

/// What a peer was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub tables: u64,
    pub entries: u64,
    pub blocks: u64,
    pub pages: u64,
    pub locates: u64,
}

#[derive(Default)]
struct State {
    peers: Vec<Peer>,
    quarantined: BTreeMap<NodeId, String>,
    asked: Asked,
}

pub struct FakeNetwork {
    parameters: ArchiveParameters,
    state: Mutex<State>,
}

type Events = Vec<FetchEvent>;

impl FakeNetwork {
    pub fn new(parameters: ArchiveParameters) -> Arc<Self> {
        Arc::new(Self {
            parameters,
            state: Mutex::default(),
        })
    }

    pub fn connect(&self, node: NodeId, server: Arc<SegmentServer>) {
        self.state.lock().peers.push(Peer {
            node,
            server,
            lie: None,
        });
    }

    pub fn disconnect_all(&self) {
        self.state.lock().peers.clear();
    }

    pub fn lie(&self, node: NodeId, lie: Lie) {
        let mut state = self.state.lock();
        let peer = state.peers.iter_mut().find(|peer| peer.node == node).unwrap();
        peer.lie = Some(lie);
    }

    pub fn all_lie(&self, lie: Lie) {
        self.state.lock().peers.iter_mut().for_each(|peer| peer.lie = Some(lie));
    }

    pub fn nobody_lies(&self) {
        let mut state = self.state.lock();
        state.peers.iter_mut().for_each(|peer| peer.lie = None);
        state.quarantined.clear();
    }

    pub fn quarantined(&self) -> BTreeMap<NodeId, String> {
        self.state.lock().quarantined.clone()
    }

    /// What was asked of all peers since this was called last.
    pub fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.state.lock().asked)
    }

    fn put_in_quarantine(&self, node: NodeId, reason: &str) {
        let mut state = self.state.lock();
        state.quarantined.entry(node).or_insert_with(|| reason.to_string());
    }

    fn serve(
        &self,
        id: u64,
        target: &FetchTarget,
        peer: (NodeId, &SegmentServer, Option<Lie>),
    ) -> Result<Events, FetchFailure> {
        let (node, server, lie) = peer;
        let sent = match target {
            FetchTarget::Pages { .. } => return self.pages(id, target, peer),
            FetchTarget::Tables { first_segment, count } => {
                self.state.lock().asked.tables += 1;
                let tables = found(server.tables(*first_segment, *count, FRAME_BYTES))?;
                self.tables(id, node, *first_segment, tables, lie)
            }
            FetchTarget::Entries { first_period, count } => {
                self.state.lock().asked.entries += 1;
                let entries = found(server.entries(*first_period, *count, FRAME_BYTES))?;
                let threads = self.parameters.thread_count;
                let parsed = entries
                    .iter()
                    .map(|bytes| PeriodEntry::from_bytes(&false_entry(bytes, threads, lie), threads));
                let parsed: Result<Vec<_>, _> = parsed.collect();
                parsed
                    .map_err(|error| error.to_string())
                    .map(|entries| FetchEvent::Entries {
                        id,
                        from: node,
                        first_period: *first_period,
                        entries,
                    })
            }
            FetchTarget::Block { slot } => {
                self.state.lock().asked.blocks += 1;
                let content = found(server.block(slot))?;
                self.block(id, node, *slot, (content, lie))
            }
            FetchTarget::Locate { ids } => {
                self.state.lock().asked.locates += 1;
                let located = server.locate(ids).into_iter();
                Ok(FetchEvent::Located {
                    id,
                    from: node,
                    located: located.map(|located| false_slot(located, lie)).collect(),
                })
            }
            FetchTarget::Held { .. } | FetchTarget::SumPath { .. } => return Err(FetchFailure::NotHeld),
        };
        match sent {
            Ok(event) => Ok(vec![event]),
            Err(reason) => {
                self.put_in_quarantine(node, &reason);
                Err(FetchFailure::Quarantined)
            }
        }
    }

    fn tables(
        &self,
        id: u64,
        from: NodeId,
        first_segment: u64,
        tables: Vec<Vec<u8>>,
        lie: Option<Lie>,
    ) -> Result<FetchEvent, String> {
        let mut parsed = Vec::new();
        for (bytes, segment) in tables.into_iter().zip(first_segment..) {
            let mut bytes = bytes;
            if lie == Some(Lie::Table) {
                bytes[60] ^= 1;
            }
            let table = SegmentTable::from_bytes(&bytes).map_err(|error| error.to_string())?;
            let checked = table.check_network(&self.parameters, segment);
            checked.map_err(|error| error.to_string())?;
            parsed.push(table);
        }
        Ok(FetchEvent::Tables {
            id,
            from,
            first_segment,
            tables: parsed,
        })
    }

    fn block(
        &self,
        id: u64,
        from: NodeId,
        slot: Slot,
        (content, lie): (SlotContent<Vec<u8>>, Option<Lie>),
    ) -> Result<FetchEvent, String> {
        let content = match content {
            SlotContent::Block(_) if lie == Some(Lie::Miss) => SlotContent::Miss,
            SlotContent::Miss => SlotContent::Miss,
            SlotContent::Block(mut bytes) => {
                match lie {
                    Some(Lie::Block) => bytes[20] ^= 1,
                    Some(Lie::OtherBlock) => bytes[4 + 65 + 33 + 100] ^= 1,
                    _ => {}
                }
                SlotContent::Block(BlockRecord::from_bytes(bytes).map_err(|error| error.to_string())?)
            }
        };
        Ok(FetchEvent::Block {
            id,
            from,
            slot,
            content,
        })
    }

    /// Pages, the chunk's first one before the first that is packed after it.
    fn pages(
        &self,
        id: u64,
        target: &FetchTarget,
        peer: (NodeId, &SegmentServer, Option<Lie>),
    ) -> Result<Events, FetchFailure> {
        let FetchTarget::Pages { position, chunk, pages } = target else {
            unreachable!()
        };
        let (node, server, lie) = peer;
        let (mut events, mut first_page) = (Vec::new(), Vec::new());
        let read = |page: u32| {
            self.state.lock().asked.pages += 1;
            found(server.page(*position, &chunk.id, page)).map(|content| false_page(content, lie))
        };
        let verified = |page: u32, content: PageContent, first: &[u8]| {
            VerifiedPage::check(chunk, page, content, first).map_err(|error| {
                self.put_in_quarantine(node, &error.to_string());
                FetchFailure::Quarantined
            })
        };
        for page in pages.clone() {
            let content = read(page)?;
            if content.needs_first_page() && page > 0 && first_page.is_empty() {
                first_page = verified(0, read(0)?, &[])?.plain().to_vec();
            }
            let page = verified(page, content, &first_page)?;
            if page.page() == 0 {
                first_page = page.plain().to_vec();
            }
            events.push(FetchEvent::Page { id, from: node, page });
        }
        Ok(events)
    }
}

fn found<T>(answer: Answer<T>) -> Result<T, FetchFailure> {
    match answer {
        Answer::Found(content) => Ok(content),
        Answer::NotYet => Err(FetchFailure::NotYet),
        Answer::NotHeld => Err(FetchFailure::NotHeld),
        Answer::Pruned => Err(FetchFailure::Pruned),
    }
}

fn false_page(mut content: PageContent, lie: Option<Lie>) -> PageContent {
    match lie {
        Some(Lie::Page) => {
            let middle = content.stored.len() / 2;
            content.stored[middle] ^= 1;
        }
        Some(Lie::Path) => match content.path.siblings.last_mut() {
            Some(sibling) => sibling[0] ^= 1,
            None => content.path.siblings.push([0; 32]),
        },
        Some(Lie::Signature) => {
            let signatures = content.signatures.chunks_exact_mut(TaggedSignature::SIZE_BYTES);
            signatures.for_each(|signature| signature[20] ^= 1);
        }
        Some(Lie::NoSignatures) => content.signatures.clear(),
        _ => {}
    }
    content
}

/// Written by hand: the product cannot make such an entry.
pub fn false_entry(bytes: &[u8], threads: u8, lie: Option<Lie>) -> Vec<u8> {
    let entry = PeriodEntry::from_bytes(bytes, threads).unwrap();
    let add = match lie {
        Some(Lie::EntryOffset | Lie::EntryNext) => 1,
        Some(Lie::EntryFar) => 200 << 10,
        Some(Lie::EntryBeyond) => 1 << 30,
        Some(Lie::EntryMiss) => {
            let mut ids: Vec<_> = entry.ids().collect();
            *ids.iter_mut().find(|id| id.is_some()).unwrap() = None;
            return PeriodEntry::lost(&ids).unwrap().to_bytes();
        }
        _ => return bytes.to_vec(),
    };
    // The first offset follows from the length; each further one is moved.
    let (mut false_bytes, mut at, mut is_first) = (bytes.to_vec(), 1, true);
    for (slot, thread) in entry.slots().iter().zip(1..) {
        let Some(block) = slot else {
            at += 1;
            continue;
        };
        let next = entry.slots()[thread..].iter().flatten().next();
        let moved = match lie {
            Some(Lie::EntryNext) => next.map_or(block.offset + 1, |next| next.offset),
            _ => block.offset + add,
        };
        if !is_first {
            false_bytes[at + 34..at + 38].copy_from_slice(&moved.to_le_bytes());
        }
        is_first = false;
        at += 38;
    }
    false_bytes
}

fn false_slot(located: Option<Located>, lie: Option<Lie>) -> Option<Located> {
    let located = located?;
    let slot = match lie {
        Some(Lie::Locate) => Slot::new(located.slot.period, (located.slot.thread + 1) % 32),
        Some(Lie::LocateFuture) => Slot::new(1 << 40, 7),
        _ => located.slot,
    };
    Some(Located { slot, ..located })
}

impl StorageNetwork for FakeNetwork {
    fn fetch(&self, fetch: Fetch) -> Result<(), NetworkBusy> {
        let mut attempts = Vec::new();
        for node in fetch.holders {
            let peer = {
                let state = self.state.lock();
                let peer = state.peers.iter().find(|peer| peer.node == node);
                let quarantined = state.quarantined.contains_key(&node);
                peer.map(|peer| (Arc::clone(&peer.server), peer.lie, quarantined))
            };
            let answer = match peer {
                None => Err(FetchFailure::NotConnected),
                Some((.., true)) => Err(FetchFailure::Quarantined),
                Some((_, Some(Lie::Silent), _)) => Err(FetchFailure::Timeout),
                Some((_, Some(Lie::Stuck), _)) => return Ok(()),
                Some((server, lie, _)) => self.serve(fetch.id, &fetch.target, (node, &server, lie)),
            };
            match answer {
                Ok(events) => {
                    events
                        .into_iter()
                        .for_each(|event| fetch.reply.try_send(event).unwrap());
                    fetch.reply.try_send(FetchEvent::Complete { id: fetch.id }).unwrap();
                    return Ok(());
                }
                Err(failure) => attempts.push((node, failure)),
            }
        }
        let id = fetch.id;
        fetch.reply.try_send(FetchEvent::Failed { id, attempts }).unwrap();
        Ok(())
    }

    fn announce(&self, _: u64, _: Option<SegmentRoot>, _: Vec<AnnouncedChunk>) -> Result<(), NetworkBusy> {
        Ok(())
    }

    fn quarantine(&self, node: NodeId, reason: &str) {
        self.put_in_quarantine(node, reason);
    }

    fn peers(&self) -> Vec<StoragePeer> {
        let state = self.state.lock();
        let peers = state.peers.iter().map(|peer| StoragePeer {
            node: peer.node,
            capabilities: Some(peer.server.capabilities()),
            quarantined: state.quarantined.contains_key(&peer.node),
        });
        peers.collect()
    }
}
