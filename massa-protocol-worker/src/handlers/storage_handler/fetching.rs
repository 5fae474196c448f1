//! What is asked of whom: fetches of the worker and answers of peers in, messages and events out.
//!
//! Pure: no thread, no socket, no clock. The invariants, all of them tested:
//! - every fetch ends, with one event: complete, or failed with what each holder did. It fails when nothing came of it for
//!   [`FETCH_TIMEOUTS`] request timeouts; what it wants is bounded, so it ends;
//! - of no peer is more asked than its window ([`window`]) and `bytes_in_flight_per_peer`, of all together not more than
//!   `bytes_in_flight` (one answer may always be asked for), each answer counted as what such answers weigh (`costs`);
//! - what is handed to the worker was asked for, of the peer that sent it, once, and was checked as far as that goes without
//!   a root ([`massa_distributed_storage_exports::network`]);
//! - readers go before repair, fetches of readers take turns, repair works on the oldest fetch first, so that it ends and its
//!   place is free; neither priority can use all of a limit;
//! - who sent what is provably wrong is asked nothing for a while, and all that it was asked goes to others.
//!
//! A peer answers the requests of a lane in order, so an answer tells that what was asked before it is lost. Only a peer
//! that is silent altogether lets the time run out; how long that is follows from its round trips.

mod answers;
pub mod assembly;
mod costs;
mod open_fetch;
mod peers;
mod pieces;
pub mod window;

pub use open_fetch::MAX_HOLDERS;

use super::cache::MAX_OPEN_FETCHES;
use super::messages::{Lane, StorageMessage};
use assembly::MAX_ASSEMBLIES;
use costs::Costs;
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::network::{
    Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget, MAX_FETCH_ENTRIES, MAX_FETCH_HELD, MAX_FETCH_TABLES,
    MAX_LOCATE_IDS,
};
use massa_distributed_storage_exports::types::MAX_SEGMENTS;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::node::NodeId;
use massa_protocol_exports::ProtocolConfig;
use open_fetch::{Asked, Choice, Holder, OpenFetch};
use peers::Peers;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};
use window::Stamp;

/// A fetch has failed when nothing came of it for this many request timeouts, whatever its holders do.
pub const FETCH_TIMEOUTS: u32 = 12;
/// How long a dialed holder is waited for, in connection timeouts: resolving, connecting, handshake.
const DIAL_CONNECTION_TIMEOUTS: u32 = 3;
/// Bytes of the least answer that is worth looking for somebody to ask.
const LEAST_ANSWER_BYTES: usize = 1;

/// Limits of [`Retrieval`].
#[derive(Clone, Debug)]
pub struct RetrievalLimits {
    /// What the archive looks like; a table or block that looks otherwise is false.
    pub parameters: ArchiveParameters,
    /// Bytes of a chunk; nothing of a larger one is asked for.
    pub max_chunk_size: usize,
    /// Chunks that a peer may say it holds in one answer.
    pub max_stored_chunks_per_node: usize,
    /// Requests sent to one peer in a second.
    pub requests_per_second: usize,
    /// How long a peer may be silent at most while it is asked something.
    pub request_timeout: Duration,
    /// How long a dialed holder is waited for.
    pub dial_timeout: Duration,
    /// How long a peer that sent what is provably wrong is asked nothing.
    pub quarantine: Duration,
    /// Bytes asked of one peer and not answered.
    pub bytes_in_flight_per_peer: usize,
    /// Bytes asked of all peers and not answered.
    pub bytes_in_flight: usize,
}

impl RetrievalLimits {
    /// Limits from the node's settings.
    pub fn new(config: &ProtocolConfig, parameters: ArchiveParameters) -> Self {
        Self {
            parameters,
            max_chunk_size: config.max_chunk_size,
            max_stored_chunks_per_node: config.max_stored_chunks_per_node,
            // A peer takes the other half for what it is told without asking.
            requests_per_second: config.max_storage_messages_per_second / 2,
            request_timeout: config.storage_request_timeout.to_duration(),
            dial_timeout: config.timeout_connection.to_duration() * DIAL_CONNECTION_TIMEOUTS,
            quarantine: config.storage_quarantine.to_duration(),
            bytes_in_flight_per_peer: config.max_storage_bytes_in_flight_per_peer,
            bytes_in_flight: config.max_storage_bytes_in_flight,
        }
    }

    /// Until when something must come of a fetch of which something came at `now`.
    fn deadline(&self, now: Instant) -> Instant {
        now + self.request_timeout * FETCH_TIMEOUTS
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum RetrievalAction {
    /// Send a request. If that cannot be done, [`Retrieval::on_not_sent`] is to be told.
    Send {
        /// To whom.
        to: NodeId,
        /// Its id.
        request_id: u64,
        /// The request.
        message: StorageMessage,
    },
    /// Open a connection.
    Dial {
        /// To whom.
        node: NodeId,
    },
    /// Tell the worker. If nobody listens any longer, [`Retrieval::on_abandoned`] is to be told.
    Reply {
        /// Of this fetch, as [`Retrieval::on_abandoned`] wants it.
        fetch: u64,
        /// Where to.
        to: Sender<FetchEvent>,
        /// What.
        event: FetchEvent,
    },
    /// A peer sent what is provably wrong. It is asked nothing until then; its connection stays.
    Quarantine {
        /// Who.
        node: NodeId,
        /// Until when.
        until: Instant,
        /// What was wrong.
        reason: String,
    },
    /// A peer sent an answer to nothing that it was asked.
    Stray {
        /// Who.
        node: NodeId,
    },
    /// A fetch is over.
    Ended {
        /// Its priority.
        priority: FetchPriority,
    },
}

/// A request that is not answered yet.
struct Request {
    node: NodeId,
    /// May be over already: then the answer only frees the bytes in flight.
    fetch: u64,
    holder: usize,
    priority: FetchPriority,
    lane: Lane,
    asked: Asked,
    /// The chunk's first page was asked for besides, and did not come yet.
    with_first_page: bool,
    /// Bytes that each answer counts for, and how many are to come.
    cost: usize,
    answers: usize,
    is_answered: bool,
    /// As it was sent: what the answers must fit.
    message: StorageMessage,
    sent: Instant,
    stamp: Stamp,
}

/// See the module.
pub struct Retrieval {
    limits: RetrievalLimits,
    costs: Costs,
    peers: Peers,
    fetches: BTreeMap<u64, OpenFetch>,
    /// Fetches of each priority with something that nobody is being asked for.
    hungry: [BTreeSet<u64>; 2],
    /// The fetch of a reader whose turn was last.
    last_turn: u64,
    open: [usize; 2],
    requests: HashMap<u64, Request>,
    assemblies: usize,
    /// Requests for tables under way.
    table_requests: usize,
    next_fetch: u64,
    next_request: u64,
    actions: Vec<RetrievalAction>,
}

const PRIORITIES: [FetchPriority; 2] = [FetchPriority::Reader, FetchPriority::Repair];

impl Retrieval {
    /// Nothing is asked yet, nobody is connected.
    pub fn new(limits: RetrievalLimits, now: Instant) -> Self {
        Self {
            peers: Peers::new(&limits, now),
            costs: Costs::new(),
            limits,
            fetches: BTreeMap::new(),
            hungry: Default::default(),
            last_turn: 0,
            open: [0; 2],
            requests: HashMap::new(),
            assemblies: 0,
            table_requests: 0,
            next_fetch: 0,
            next_request: 0,
            actions: Vec::new(),
        }
    }

    /// Takes a fetch. One that cannot be asked for, or is one too many, fails without attempts.
    pub fn on_fetch(&mut self, fetch: Fetch, now: Instant) -> Vec<RetrievalAction> {
        let (key, priority) = (self.next_fetch, fetch.priority);
        self.next_fetch += 1;
        if !self.is_askable(&fetch.target) || self.open[priority as usize] >= MAX_OPEN_FETCHES {
            return refuse(fetch, key);
        }
        let fetch = OpenFetch::new(fetch, self.limits.deadline(now));
        let is_empty = fetch.missing.is_empty();
        self.open[priority as usize] += 1;
        self.hungry[priority as usize].insert(key);
        self.fetches.insert(key, fetch);
        if is_empty {
            self.complete(key);
        } else {
            // Even without room, a fetch that nobody can answer is noticed at once.
            self.ask_for(key, now);
        }
        self.ask(now)
    }

    /// Takes over which peers that speak storage are connected.
    pub fn on_peers(&mut self, connected: &HashSet<NodeId>, now: Instant) -> Vec<RetrievalAction> {
        for request_id in self.peers.set_connected(connected, now) {
            self.holder_failed(request_id, Some(FetchFailure::NotConnected));
        }
        self.peers.drop_gone(connected);
        self.ask_all(now)
    }

    /// Takes a message of a peer. What is no answer is left to others.
    pub fn on_message(&mut self, from: NodeId, message: StorageMessage, now: Instant) -> Vec<RetrievalAction> {
        self.on_answer(from, message, now);
        self.ask(now)
    }

    /// A request could not be sent: the queue to the peer is full, or it is gone.
    pub fn on_not_sent(&mut self, request_id: u64, now: Instant) -> Vec<RetrievalAction> {
        self.refused(request_id, now);
        self.ask(now)
    }

    /// An answer to an open request cannot be read: the peer is at fault.
    pub fn on_malformed(&mut self, from: NodeId, reason: String, now: Instant) -> Vec<RetrievalAction> {
        self.quarantine(from, reason, now);
        self.ask_all(now)
    }

    /// What a peer sent was proven wrong.
    pub fn on_quarantine(&mut self, node: NodeId, reason: String, now: Instant) -> Vec<RetrievalAction> {
        self.on_malformed(node, reason, now)
    }

    /// Nobody waits for the answers to a fetch.
    pub fn on_abandoned(&mut self, fetch: u64) -> Vec<RetrievalAction> {
        self.end(fetch);
        std::mem::take(&mut self.actions)
    }

    /// Ends what took too long.
    pub fn on_tick(&mut self, now: Instant) -> Vec<RetrievalAction> {
        for node in self.peers.stalled(now) {
            self.on_stalled(node, now);
        }
        let over = self.fetches.iter().filter(|(_, fetch)| now >= fetch.ends);
        let over: Vec<u64> = over.map(|(key, _)| *key).collect();
        for key in over {
            self.give_up(key);
        }
        self.ask_all(now)
    }

    /// Whether this request was sent to this peer and may still be answered.
    pub fn is_open(&self, node: &NodeId, request_id: u64) -> bool {
        let request = self.requests.get(&request_id);
        request.is_some_and(|request| request.node == *node) || self.peers.is_abandoned(node, request_id)
    }

    /// Fetches under way.
    pub fn open_fetches(&self) -> usize {
        self.fetches.len()
    }

    /// Bytes asked of a peer and not answered.
    pub fn in_flight(&self, node: &NodeId) -> usize {
        self.peers.in_flight(node)
    }

    /// Bytes asked of all peers and not answered.
    pub fn in_flight_total(&self) -> usize {
        self.peers.in_flight_total()
    }

    /// Bytes that a peer may be asked for at a time.
    pub fn window(&self, node: &NodeId, now: Instant) -> usize {
        self.peers.window(node, now)
    }

    fn is_askable(&self, target: &FetchTarget) -> bool {
        let is_count = |count: &u32, max| (1..=max).contains(count);
        let are_segments = |first: &u64, count: &u32| first.saturating_add(u64::from(*count)) <= MAX_SEGMENTS;
        match target {
            FetchTarget::Tables { first_segment, count } => {
                is_count(count, MAX_FETCH_TABLES) && are_segments(first_segment, count)
            }
            FetchTarget::Held { first_segment, count } => {
                is_count(count, MAX_FETCH_HELD) && are_segments(first_segment, count)
            }
            FetchTarget::Entries { first_period, count } => {
                is_count(count, MAX_FETCH_ENTRIES) && first_period.checked_add(u64::from(*count)).is_some()
            }
            FetchTarget::Block { slot } => slot.thread < self.limits.parameters.thread_count,
            FetchTarget::Locate { ids } => (1..=MAX_LOCATE_IDS).contains(&ids.len()),
            FetchTarget::SumPath { position, .. } => position.segment < MAX_SEGMENTS,
            FetchTarget::Pages { chunk, pages, .. } => {
                chunk.length as usize <= self.limits.max_chunk_size && pages.end <= chunk.page_count()
            }
        }
    }

    /// Sends what can be sent.
    fn ask(&mut self, now: Instant) -> Vec<RetrievalAction> {
        for priority in PRIORITIES {
            let mut turns = self.turns(priority);
            while !turns.is_empty() && self.peers.has_room(priority, LEAST_ANSWER_BYTES) {
                if !self.peers.any_room(priority, now) {
                    break;
                }
                turns.retain(|key| self.ask_for(*key, now));
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// The same, and notices, even without room, what nobody can be asked for.
    fn ask_all(&mut self, now: Instant) -> Vec<RetrievalAction> {
        for priority in PRIORITIES {
            for key in self.turns(priority) {
                self.ask_for(key, now);
            }
        }
        self.ask(now)
    }

    /// Fetches that want something: those of readers in turns, beginning after the one whose turn was last; those of repair
    /// from the oldest on.
    fn turns(&self, priority: FetchPriority) -> Vec<u64> {
        let hungry = &self.hungry[priority as usize];
        match priority {
            FetchPriority::Reader => {
                let (after, before) = (hungry.range(self.last_turn + 1..), hungry.range(..=self.last_turn));
                after.chain(before).copied().collect()
            }
            FetchPriority::Repair => hungry.iter().copied().collect(),
        }
    }

    /// Asks one holder for one request's worth of a fetch. Returns whether it did and more is wanted.
    fn ask_for(&mut self, key: u64, now: Instant) -> bool {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return false;
        };
        self.assemblies -= fetch.drop_assemblies();
        if self.must_wait_for_tables(key) {
            return false;
        }
        let fetch = self.fetches.get_mut(&key).expect("it was there a moment ago");
        let mut dial = Vec::new();
        let choice = fetch.choose(&mut self.peers, &self.costs, now, &mut dial);
        self.actions
            .extend(dial.into_iter().map(|node| RetrievalAction::Dial { node }));
        match choice {
            Choice::Parts { holder, count } => {
                let asked = Asked::Parts(fetch.take_missing(count));
                self.send(key, holder, asked, now)
            }
            Choice::Piece { holder, part, offset } => {
                if let Some(assembly) = fetch.assemblies.get_mut(&part) {
                    assembly.missing.remove(&offset);
                }
                self.send(key, holder, Asked::Piece { part, offset }, now)
            }
            Choice::Nobody => {
                self.fail(key);
                false
            }
            Choice::Wait => false,
        }
    }

    /// Large tables are put together from pieces, a few at a time: asking for more would only bring their first pieces.
    fn must_wait_for_tables(&self, key: u64) -> bool {
        let Some(fetch) = self.fetches.get(&key) else {
            return false;
        };
        matches!(fetch.target, FetchTarget::Tables { .. })
            && fetch.assemblies.is_empty()
            && self.costs.tables_are_large()
            && self.assemblies + self.table_requests >= MAX_ASSEMBLIES
    }

    fn send(&mut self, key: u64, holder: usize, asked: Asked, now: Instant) -> bool {
        let fetch = self.fetches.get(&key).expect("the caller has the fetch");
        let request_id = self.next_request;
        self.next_request += 1;
        let (cost, answers) = fetch.cost(&asked, &self.costs);
        let (node, priority, lane) = (fetch.holders[holder].node, fetch.priority, fetch.lane());
        let message = fetch.message(request_id, &asked);
        let (wants_more, with_first_page) = (fetch.is_hungry(), fetch.wants_first_page());
        if !wants_more {
            self.hungry[priority as usize].remove(&key);
        }
        if priority == FetchPriority::Reader {
            self.last_turn = key;
        }
        self.table_requests += usize::from(is_for_tables(&message));
        let stamp = self
            .peers
            .sent(&node, (request_id, lane), priority, cost * answers, now);
        let request = Request {
            node,
            fetch: key,
            holder,
            priority,
            lane,
            asked,
            with_first_page,
            cost,
            answers,
            is_answered: false,
            message: message.clone(),
            sent: now,
            stamp,
        };
        self.requests.insert(request_id, request);
        self.actions.push(RetrievalAction::Send {
            to: node,
            request_id,
            message,
        });
        wants_more
    }

    /// The peer may still be asked later, for other fetches at once.
    fn refused(&mut self, request_id: u64, now: Instant) {
        let ended = self.end_request(request_id, false);
        if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
            holder.on_refusal(now);
        }
    }

    /// A request is over, and its fetch asks this holder nothing more.
    fn holder_failed(&mut self, request_id: u64, failure: Option<FetchFailure>) {
        let ended = self.end_request(request_id, failure == Some(FetchFailure::Quarantined));
        if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
            holder.failure = holder.failure.or(failure);
        }
    }

    fn holder(&mut self, (key, holder): (u64, usize)) -> Option<&mut Holder> {
        self.fetches.get_mut(&key)?.holders.get_mut(holder)
    }

    /// What of a request is not answered is wanted again. Returns its fetch and holder.
    fn end_request(&mut self, request_id: u64, is_abandoned: bool) -> Option<(u64, usize)> {
        let request = self.remove_request(request_id, is_abandoned)?;
        if let Some(fetch) = self.fetches.get_mut(&request.fetch) {
            fetch.give_back(&request.asked, request.holder);
            self.hungry[fetch.priority as usize].insert(request.fetch);
        }
        Some((request.fetch, request.holder))
    }

    fn remove_request(&mut self, request_id: u64, is_abandoned: bool) -> Option<Request> {
        let request = self.requests.remove(&request_id)?;
        let bytes = request.cost * request.answers;
        self.peers.released(&request.node, request.priority, bytes);
        let key = (request_id, request.lane);
        self.peers.ended(&request.node, key, is_abandoned);
        self.table_requests -= usize::from(is_for_tables(&request.message));
        Some(request)
    }

    /// A peer was silent for too long: all its requests go to others. Those that were sent only a while ago are not held
    /// against it.
    fn on_stalled(&mut self, node: NodeId, now: Instant) {
        let (patience, is_known) = (self.peers.patience(&node), self.peers.is_known(&node));
        self.peers.timed_out(node, now);
        for request_id in self.peers.requests(&node) {
            let is_late = self.requests[&request_id].sent + patience <= now;
            let ended = self.end_request(request_id, true).filter(|_| is_late);
            if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
                holder.on_timeout(is_known);
            }
        }
    }

    fn quarantine(&mut self, node: NodeId, reason: String, now: Instant) {
        let until = now + self.limits.quarantine;
        self.peers.quarantine(node, until);
        for request_id in self.peers.requests(&node) {
            self.holder_failed(request_id, Some(FetchFailure::Quarantined));
        }
        self.actions.push(RetrievalAction::Quarantine { node, until, reason });
    }

    fn stray(&mut self, node: NodeId) {
        self.actions.push(RetrievalAction::Stray { node });
    }

    /// A fetch took too long altogether.
    fn give_up(&mut self, key: u64) {
        let requests = self.requests.values().filter(|request| request.fetch == key);
        let asked: HashSet<usize> = requests.map(|request| request.holder).collect();
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.give_up(|holder| asked.contains(&holder));
        }
        self.fail(key);
    }

    fn fail(&mut self, key: u64) {
        let fetch = &self.fetches[&key];
        let (id, attempts) = (fetch.id, fetch.attempts());
        self.reply(key, FetchEvent::Failed { id, attempts });
        self.end(key);
    }

    fn complete(&mut self, key: u64) {
        let id = self.fetches[&key].id;
        self.reply(key, FetchEvent::Complete { id });
        self.end(key);
    }

    /// Forgets a fetch. Its requests stay until they are answered or time out: their bytes are in flight.
    fn end(&mut self, key: u64) {
        let Some(fetch) = self.fetches.remove(&key) else {
            return;
        };
        let priority = fetch.priority;
        self.assemblies -= fetch.assemblies.len();
        self.hungry[priority as usize].remove(&key);
        self.open[priority as usize] -= 1;
        self.actions.push(RetrievalAction::Ended { priority });
    }

    fn reply(&mut self, key: u64, event: FetchEvent) {
        let to = self.fetches[&key].reply.clone();
        self.actions.push(RetrievalAction::Reply { fetch: key, to, event });
    }
}

fn is_for_tables(message: &StorageMessage) -> bool {
    matches!(message, StorageMessage::TablesRequest { .. })
}

fn refuse(fetch: Fetch, key: u64) -> Vec<RetrievalAction> {
    let event = FetchEvent::Failed {
        id: fetch.id,
        attempts: Vec::new(),
    };
    let reply = RetrievalAction::Reply {
        fetch: key,
        to: fetch.reply,
        event,
    };
    let priority = fetch.priority;
    vec![reply, RetrievalAction::Ended { priority }]
}
