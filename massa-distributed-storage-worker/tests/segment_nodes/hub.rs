//! The network between whole nodes, on virtual time: requests reach the other nodes' servers after a while, some are lost, and
//! one node may lie. It does what the storage handler does: asks holder after holder, and checks what the handler checks.

use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, ArchiveServer, Capabilities, Fetch, FetchEvent, FetchFailure, FetchTarget, NetworkBusy,
    SlotContent, StorageNetwork, StoragePeer, VerifiedPage,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_distributed_storage_worker::serve::to_peers::SegmentServer;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(1);
const FRAME_BYTES: usize = 256 << 10;

/// A request that is at one of its holders.
struct Asked {
    by: NodeId,
    fetch: Fetch,
    attempt: usize,
    attempts: Vec<(NodeId, FetchFailure)>,
}

enum Happening {
    Ask(Asked),
    /// The holder is done with it in this way.
    Next(Asked, FetchFailure),
    Event(Fetch, Box<FetchEvent>),
}

struct State {
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    random: ChaCha20Rng,
    servers: BTreeMap<NodeId, (Arc<SegmentServer>, Capabilities)>,
    quarantined: BTreeMap<(NodeId, NodeId), String>,
    /// Pages that nodes received.
    pages: BTreeMap<NodeId, u64>,
}

pub struct Hub {
    state: Mutex<State>,
    latency: Duration,
    loss: f64,
    pub liar: Mutex<Option<NodeId>>,
}

impl Hub {
    pub fn new(seed: u64, latency: Duration, loss: f64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                now: Duration::ZERO,
                queue: BTreeMap::new(),
                next: 0,
                random: ChaCha20Rng::seed_from_u64(seed),
                servers: BTreeMap::new(),
                quarantined: BTreeMap::new(),
                pages: BTreeMap::new(),
            }),
            latency,
            loss,
            liar: Mutex::new(None),
        })
    }

    pub fn connect(&self, node: NodeId, server: Arc<SegmentServer>) {
        let said = server.capabilities();
        self.state.lock().servers.insert(node, (server, said));
    }

    /// Peers say anew what they have.
    pub fn refresh(&self) {
        for (server, said) in self.state.lock().servers.values_mut() {
            *said = server.capabilities();
        }
    }

    /// Who was put in quarantine, by whom, and why.
    pub fn quarantined(&self) -> BTreeMap<(NodeId, NodeId), String> {
        self.state.lock().quarantined.clone()
    }

    pub fn pages_received(&self, node: &NodeId) -> u64 {
        self.state.lock().pages.get(node).copied().unwrap_or(0)
    }

    /// Lets everything happen that is due.
    pub fn run_until(&self, until: Duration) {
        loop {
            let mut state = self.state.lock();
            let due = state.queue.first_key_value().map(|(key, _)| *key);
            let Some(key) = due.filter(|(at, _)| *at <= until) else {
                state.now = until;
                return;
            };
            state.now = key.0;
            let happening = state.queue.remove(&key).unwrap();
            match happening {
                Happening::Event(fetch, event) => drop(fetch.reply.send(*event)),
                Happening::Ask(asked) => self.ask(&mut state, asked),
                Happening::Next(asked, failure) => self.next_holder(&mut state, asked, failure),
            }
        }
    }

    fn at(&self, state: &mut State, after: Duration, happening: Happening) {
        state.next += 1;
        let key = (state.now + after, state.next);
        state.queue.insert(key, happening);
    }

    fn next_holder(&self, state: &mut State, mut asked: Asked, failure: FetchFailure) {
        asked.attempts.push((asked.fetch.holders[asked.attempt], failure));
        asked.attempt += 1;
        if asked.attempt < asked.fetch.holders.len() {
            return self.at(state, self.latency, Happening::Ask(asked));
        }
        let event = FetchEvent::Failed {
            id: asked.fetch.id,
            attempts: asked.attempts,
        };
        self.at(state, Duration::ZERO, Happening::Event(asked.fetch, Box::new(event)));
    }

    fn ask(&self, state: &mut State, asked: Asked) {
        let node = asked.fetch.holders[asked.attempt];
        let is_lost = state.random.gen_bool(self.loss);
        let refused = if state.quarantined.contains_key(&(asked.by, node)) {
            Some(FetchFailure::Quarantined)
        } else if !state.servers.contains_key(&node) {
            Some(FetchFailure::NotConnected)
        } else {
            None
        };
        if let Some(failure) = refused {
            return self.at(state, Duration::ZERO, Happening::Next(asked, failure));
        }
        if is_lost {
            return self.at(state, TIMEOUT, Happening::Next(asked, FetchFailure::Timeout));
        }
        let server = Arc::clone(&state.servers[&node].0);
        let lies = *self.liar.lock() == Some(node);
        let (events, failure) = serve(&server, &asked.fetch, (node, lies));
        let pages = events
            .iter()
            .filter(|event| matches!(event, FetchEvent::Page { .. }))
            .count();
        *state.pages.entry(asked.by).or_default() += pages as u64;
        let latency = self.latency;
        for event in events {
            self.at(state, latency, Happening::Event(asked.fetch.clone(), Box::new(event)));
        }
        match failure {
            Some(failure) => self.at(state, latency, Happening::Next(asked, failure)),
            None => {
                let event = FetchEvent::Complete { id: asked.fetch.id };
                self.at(state, latency, Happening::Event(asked.fetch, Box::new(event)));
            }
        }
    }
}

fn failure_of<T>(answer: &Answer<T>) -> FetchFailure {
    match answer {
        Answer::NotYet => FetchFailure::NotYet,
        Answer::Pruned => FetchFailure::Pruned,
        _ => FetchFailure::NotHeld,
    }
}

/// What a node answers: events, and what it refused.
fn serve(
    server: &SegmentServer,
    fetch: &Fetch,
    (from, lies): (NodeId, bool),
) -> (Vec<FetchEvent>, Option<FetchFailure>) {
    let id = fetch.id;
    match &fetch.target {
        FetchTarget::Tables { first_segment, count } => {
            let (mut events, mut next) = (Vec::new(), *first_segment);
            let end = first_segment + u64::from(*count);
            while next < end {
                let found = match server.tables(next, (end - next) as u32, FRAME_BYTES) {
                    Answer::Found(found) => found,
                    other => return (events, Some(failure_of(&other))),
                };
                let tables = found.iter().map(|bytes| SegmentTable::from_bytes(bytes).unwrap());
                let tables: Vec<_> = tables
                    .map(|table| if lies { false_table(&table) } else { table })
                    .collect();
                let first_segment = next;
                next += tables.len() as u64;
                events.push(FetchEvent::Tables {
                    id,
                    from,
                    first_segment,
                    tables,
                });
            }
            (events, None)
        }
        FetchTarget::Entries { first_period, count } => {
            let (mut events, mut next) = (Vec::new(), *first_period);
            let end = first_period + u64::from(*count);
            while next < end {
                let found = match server.entries(next, (end - next) as u32, FRAME_BYTES) {
                    Answer::Found(found) => found,
                    other => return (events, Some(failure_of(&other))),
                };
                let threads = server.store().parameters().thread_count;
                let entries = found
                    .iter()
                    .map(|bytes| PeriodEntry::from_bytes(bytes, threads).unwrap());
                let entries: Vec<_> = entries.collect();
                let first_period = next;
                next += entries.len() as u64;
                events.push(FetchEvent::Entries {
                    id,
                    from,
                    first_period,
                    entries,
                });
            }
            (events, None)
        }
        FetchTarget::Block { slot } => match server.block(slot) {
            Answer::Found(content) => {
                let content = match content {
                    SlotContent::Miss => SlotContent::Miss,
                    SlotContent::Block(mut bytes) => {
                        // The first byte of the header's signature behind the version and the length field.
                        bytes[4 + 20] ^= u8::from(lies);
                        SlotContent::Block(BlockRecord::from_bytes(bytes).unwrap())
                    }
                };
                let slot = *slot;
                (
                    vec![FetchEvent::Block {
                        id,
                        from,
                        slot,
                        content,
                    }],
                    None,
                )
            }
            other => (Vec::new(), Some(failure_of(&other))),
        },
        FetchTarget::Pages { position, chunk, pages } => {
            let (mut events, mut first) = (Vec::new(), Vec::new());
            for page in pages.clone() {
                let mut content = match server.page(*position, &chunk.id, page) {
                    Answer::Found(content) => content,
                    other => return (events, Some(failure_of(&other))),
                };
                if lies {
                    let signatures = content.signatures.chunks_mut(2 + 65);
                    signatures.for_each(|tagged| tagged[40] ^= 1);
                }
                if content.needs_first_page() && first.is_empty() && page > 0 {
                    let Answer::Found(page) = server.page(*position, &chunk.id, 0) else {
                        panic!()
                    };
                    first = VerifiedPage::check(chunk, 0, page, &[]).unwrap().plain().to_vec();
                }
                let page = VerifiedPage::check(chunk, page, content, &first).unwrap();
                events.push(FetchEvent::Page { id, from, page });
            }
            (events, None)
        }
        FetchTarget::Held { first_segment, count } => {
            let held = server.held(*first_segment, *count, FRAME_BYTES);
            let first_segment = *first_segment;
            (
                vec![FetchEvent::Held {
                    id,
                    from,
                    first_segment,
                    held,
                }],
                None,
            )
        }
        FetchTarget::Locate { .. } | FetchTarget::SumPath { .. } => (Vec::new(), Some(FetchFailure::NotHeld)),
    }
}

fn false_table(table: &SegmentTable) -> SegmentTable {
    let mut ids = table.chunk_ids().to_vec();
    if let Some(last) = ids.last_mut() {
        *last = ChunkId::from_bytes([7; 32]);
    }
    SegmentTable::new(*table.header(), table.periods().to_vec(), ids).unwrap()
}

/// The hub as one node sees it.
pub struct Line {
    pub hub: Arc<Hub>,
    pub node: NodeId,
}

impl StorageNetwork for Line {
    fn fetch(&self, fetch: Fetch) -> Result<(), NetworkBusy> {
        assert!(!fetch.holders.is_empty(), "a request names somebody");
        let asked = Asked {
            by: self.node,
            fetch,
            attempt: 0,
            attempts: Vec::new(),
        };
        let mut state = self.hub.state.lock();
        self.hub.at(&mut state, self.hub.latency, Happening::Ask(asked));
        Ok(())
    }

    fn announce(&self, _: u64, _: Option<SegmentRoot>, _: Vec<AnnouncedChunk>) -> Result<(), NetworkBusy> {
        Ok(())
    }

    fn quarantine(&self, node: NodeId, reason: &str) {
        let mut state = self.hub.state.lock();
        state
            .quarantined
            .entry((self.node, node))
            .or_insert_with(|| reason.into());
    }

    fn peers(&self) -> Vec<StoragePeer> {
        let state = self.hub.state.lock();
        let connected: BTreeSet<NodeId> = state
            .servers
            .keys()
            .copied()
            .filter(|node| *node != self.node)
            .collect();
        let peer = |node: NodeId| StoragePeer {
            node,
            capabilities: Some(state.servers[&node].1.clone()),
            quarantined: state.quarantined.contains_key(&(self.node, node)),
        };
        connected.into_iter().map(peer).collect()
    }
}
