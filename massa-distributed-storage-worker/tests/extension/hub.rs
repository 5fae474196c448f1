//! The network between extensions in one process: a thread that asks holder after holder, as the storage handler does, and
//! hands over what it checked. Nothing is lost, nobody lies.
#![allow(dead_code)] // Each test file uses a part.

use crossbeam_channel::{unbounded, Receiver, Sender};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, ArchiveServer, Challenge, ChallengeAnswer, ChallengeEvent, ChallengeFailure, Fetch,
    FetchEvent, FetchFailure, FetchTarget, NetworkBusy, SlotContent, StorageEvents, StorageNetwork, StoragePeer,
    VerifiedPage,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

const FRAME_BYTES: usize = 256 << 10;

type Connected = (Arc<dyn ArchiveServer>, Arc<dyn StorageEvents>);

/// Who is connected.
#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Connected>,
    quarantined: BTreeSet<(NodeId, String)>,
    announced: usize,
}

enum Order {
    Fetch(Fetch),
    Challenge(NodeId, Box<Challenge>),
}

pub struct Hub {
    state: Mutex<State>,
    orders: Sender<Order>,
    threads: u8,
}

impl Hub {
    pub fn new(threads: u8) -> Arc<Self> {
        let (orders, receiver) = unbounded();
        let hub = Arc::new(Self {
            state: Mutex::default(),
            orders,
            threads,
        });
        let weak = Arc::downgrade(&hub);
        std::thread::spawn(move || serve_orders(&weak, &receiver));
        hub
    }

    pub fn connect(&self, node: NodeId, server: Arc<dyn ArchiveServer>, events: Arc<dyn StorageEvents>) {
        self.state.lock().nodes.insert(node, (server, events));
    }

    pub fn disconnect(&self, node: &NodeId) {
        self.state.lock().nodes.remove(node);
    }

    pub fn quarantined(&self) -> BTreeSet<(NodeId, String)> {
        self.state.lock().quarantined.clone()
    }

    /// Chunks that were announced.
    pub fn announced(&self) -> usize {
        self.state.lock().announced
    }

    fn server(&self, node: &NodeId) -> Option<Arc<dyn ArchiveServer>> {
        self.state.lock().nodes.get(node).map(|(server, _)| Arc::clone(server))
    }

    fn fetch(&self, fetch: &Fetch) {
        let mut attempts = Vec::new();
        for holder in &fetch.holders {
            let Some(server) = self.server(holder) else {
                attempts.push((*holder, FetchFailure::NotConnected));
                continue;
            };
            let (events, failure) = answer(&*server, self.threads, fetch, *holder);
            for event in events {
                let _ = fetch.reply.try_send(event);
            }
            match failure {
                None => {
                    let _ = fetch.reply.try_send(FetchEvent::Complete { id: fetch.id });
                    return;
                }
                Some(failure) => attempts.push((*holder, failure)),
            }
        }
        let _ = fetch.reply.try_send(FetchEvent::Failed { id: fetch.id, attempts });
    }

    fn challenge(&self, by: &NodeId, challenge: &Challenge) {
        let answer = match self.server(&challenge.node) {
            None => Err(ChallengeFailure::NotConnected),
            Some(server) => match server.prove(by, &challenge.challenge) {
                Answer::Found(leaves) => Ok(ChallengeAnswer {
                    challenge_id: challenge.challenge.challenge_id,
                    leaves,
                    elapsed: Duration::from_millis(3),
                    round_trip: Duration::from_millis(2),
                }),
                _ => Err(ChallengeFailure::NotHeld),
            },
        };
        let _ = challenge.reply.try_send(ChallengeEvent {
            id: challenge.id,
            node: challenge.node,
            answer,
        });
    }
}

fn serve_orders(hub: &Weak<Hub>, orders: &Receiver<Order>) {
    for order in orders {
        let Some(hub) = hub.upgrade() else { return };
        match order {
            Order::Fetch(fetch) => hub.fetch(&fetch),
            Order::Challenge(by, challenge) => hub.challenge(&by, &challenge),
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
fn answer(
    server: &dyn ArchiveServer,
    threads: u8,
    fetch: &Fetch,
    from: NodeId,
) -> (Vec<FetchEvent>, Option<FetchFailure>) {
    let id = fetch.id;
    match &fetch.target {
        FetchTarget::Tables { first_segment, count } => match server.tables(*first_segment, *count, FRAME_BYTES) {
            Answer::Found(found) => {
                let tables = found.iter().map(|bytes| SegmentTable::from_bytes(bytes).unwrap());
                let tables: Vec<SegmentTable> = tables.collect();
                let failure = (tables.len() < *count as usize).then_some(FetchFailure::NotYet);
                let first_segment = *first_segment;
                let event = FetchEvent::Tables {
                    id,
                    from,
                    first_segment,
                    tables,
                };
                (vec![event], failure)
            }
            other => (Vec::new(), Some(failure_of(&other))),
        },
        FetchTarget::Entries { first_period, count } => match server.entries(*first_period, *count, FRAME_BYTES) {
            Answer::Found(found) => {
                let entries = found
                    .iter()
                    .map(|bytes| PeriodEntry::from_bytes(bytes, threads).unwrap());
                let entries: Vec<PeriodEntry> = entries.collect();
                let failure = (entries.len() < *count as usize).then_some(FetchFailure::NotYet);
                let first_period = *first_period;
                let event = FetchEvent::Entries {
                    id,
                    from,
                    first_period,
                    entries,
                };
                (vec![event], failure)
            }
            other => (Vec::new(), Some(failure_of(&other))),
        },
        FetchTarget::Block { slot } => match server.block(slot) {
            Answer::Found(content) => {
                let content = match content {
                    SlotContent::Miss => SlotContent::Miss,
                    SlotContent::Block(bytes) => SlotContent::Block(BlockRecord::from_bytes(bytes).unwrap()),
                };
                let slot = *slot;
                let event = FetchEvent::Block {
                    id,
                    from,
                    slot,
                    content,
                };
                (vec![event], None)
            }
            other => (Vec::new(), Some(failure_of(&other))),
        },
        FetchTarget::Pages { .. } => pages(server, fetch, from),
        FetchTarget::Held { first_segment, count } => {
            let held = server.held(*first_segment, *count, FRAME_BYTES);
            let first_segment = *first_segment;
            let event = FetchEvent::Held {
                id,
                from,
                first_segment,
                held,
            };
            (vec![event], None)
        }
        FetchTarget::Locate { ids } => {
            let located = server.locate(ids);
            (vec![FetchEvent::Located { id, from, located }], None)
        }
        FetchTarget::SumPath { round, position } => match server.sum_path(*round, *position) {
            Answer::Found(path) => (vec![FetchEvent::SumPath { id, from, path }], None),
            other => (Vec::new(), Some(failure_of(&other))),
        },
    }
}

fn pages(server: &dyn ArchiveServer, fetch: &Fetch, from: NodeId) -> (Vec<FetchEvent>, Option<FetchFailure>) {
    let FetchTarget::Pages { position, chunk, pages } = &fetch.target else {
        panic!("{:?} is no request for pages", fetch.target);
    };
    let (mut events, mut first) = (Vec::new(), Vec::new());
    for page in pages.clone() {
        let content = match server.page(*position, &chunk.id, page) {
            Answer::Found(content) => content,
            other => return (events, Some(failure_of(&other))),
        };
        if content.needs_first_page() && first.is_empty() && page > 0 {
            let Answer::Found(page) = server.page(*position, &chunk.id, 0) else {
                panic!("page 0 of {position} is not there");
            };
            first = VerifiedPage::check(chunk, 0, page, &[]).unwrap().plain().to_vec();
        }
        let page = VerifiedPage::check(chunk, page, content, &first).unwrap();
        let id = fetch.id;
        events.push(FetchEvent::Page { id, from, page });
    }
    (events, None)
}

/// The hub as one node sees it.
pub struct Line {
    pub hub: Arc<Hub>,
    pub node: NodeId,
}

impl StorageNetwork for Line {
    fn fetch(&self, fetch: Fetch) -> Result<(), NetworkBusy> {
        self.hub.orders.send(Order::Fetch(fetch)).map_err(|_| NetworkBusy)
    }

    fn announce(
        &self,
        segment: u64,
        root: Option<SegmentRoot>,
        chunks: Vec<AnnouncedChunk>,
    ) -> Result<(), NetworkBusy> {
        let others: Vec<Arc<dyn StorageEvents>> = {
            let mut state = self.hub.state.lock();
            state.announced += chunks.len();
            let others = state.nodes.iter().filter(|(node, _)| **node != self.node);
            others.map(|(_, (_, events))| Arc::clone(events)).collect()
        };
        for events in others {
            events.chunks_announced(self.node, segment, root, chunks.clone());
        }
        Ok(())
    }

    fn challenge(&self, challenge: Challenge) -> Result<(), NetworkBusy> {
        let order = Order::Challenge(self.node, Box::new(challenge));
        self.hub.orders.send(order).map_err(|_| NetworkBusy)
    }

    fn quarantine(&self, node: NodeId, reason: &str) {
        self.hub.state.lock().quarantined.insert((node, reason.into()));
    }

    fn peers(&self) -> Vec<StoragePeer> {
        let others: Vec<(NodeId, Arc<dyn ArchiveServer>)> = {
            let state = self.hub.state.lock();
            let others = state.nodes.iter().filter(|(node, _)| **node != self.node);
            others.map(|(node, (server, _))| (*node, Arc::clone(server))).collect()
        };
        let peer = |(node, server): (NodeId, Arc<dyn ArchiveServer>)| StoragePeer {
            node,
            capabilities: Some(server.capabilities()),
            quarantined: false,
        };
        others.into_iter().map(peer).collect()
    }
}
