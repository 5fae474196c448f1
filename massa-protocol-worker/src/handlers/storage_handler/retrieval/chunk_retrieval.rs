//! What is asked of whom: questions of the worker and answers of peers in, messages and events out.
//!
//! Pure: no thread, no socket, no clock. The invariants, all of them tested:
//! - every question ends: answered, or failed with what each holder did, [`QUESTION_TIMEOUTS`] request timeouts after
//!   it was accepted at the latest;
//! - of no peer is more asked than `bytes_in_flight_per_peer`, of all together not more than `bytes_in_flight` (one
//!   answer may always be asked for), each answer counted with the largest size it can have;
//! - what is handed to the worker was asked for, of the peer that sent it, once, and belongs to what it was asked as;
//! - readers go before repair, questions of one priority take turns, and neither priority can use all of a limit.
//!
//! A peer answers its requests in the order in which it got them. So only the oldest one's time runs; it starts anew
//! with each page. When it is over, all requests of the peer go to other holders.

use super::peers::Peers;
use super::question::{Choice, Holder, Question};
use crate::handlers::storage_handler::cache::MAX_OPEN_FETCHES;
use crate::handlers::storage_handler::messages::StorageMessage;
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::network::{
    Answer, Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget, PageContent, VerifiedPage, MAX_HELD_PERIODS,
};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::node::NodeId;
use massa_protocol_exports::ProtocolConfig;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// A question has failed when it is not answered after this many request timeouts, whatever its holders do: a holder
/// that sends one page just before each timeout is not waited for for ever.
pub const QUESTION_TIMEOUTS: u32 = 12;
/// How long a dialed holder is waited for, in connection timeouts: resolving, connecting, handshake.
const DIAL_CONNECTION_TIMEOUTS: u32 = 3;

/// Limits of [`ChunkRetrieval`].
#[derive(Clone, Debug)]
pub struct RetrievalLimits {
    /// What the archive looks like; a manifest that looks otherwise is false.
    pub parameters: ArchiveParameters,
    /// Bytes of a chunk; nothing of a larger one is asked for.
    pub max_chunk_size: usize,
    /// Chunks that a peer may say it holds in one answer.
    pub max_stored_chunks_per_node: usize,
    /// Requests sent to one peer in a second.
    pub requests_per_second: usize,
    /// How long the oldest request of a peer may go without an answer.
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
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum RetrievalAction {
    /// Send a request. If that cannot be done, [`ChunkRetrieval::on_not_sent`] is to be told.
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
    /// Tell the worker. If nobody listens any longer, [`ChunkRetrieval::on_abandoned`] is to be told.
    Reply {
        /// Of this question, as [`ChunkRetrieval::on_abandoned`] wants it.
        question: u64,
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
    /// A question is over.
    Ended {
        /// Its priority.
        priority: FetchPriority,
    },
}

/// A request that is not answered yet.
struct Request {
    node: NodeId,
    /// May be over already: then the answer only frees the bytes in flight.
    question: u64,
    holder: usize,
    priority: FetchPriority,
    cost: usize,
    pages: BTreeSet<u32>,
    sent: Instant,
    /// When its time began: when it was sent, became the oldest of its peer, or was answered in part.
    since: Instant,
}

/// See the module.
pub struct ChunkRetrieval {
    limits: RetrievalLimits,
    peers: Peers,
    questions: BTreeMap<u64, Question>,
    /// Questions of each priority with pages that nobody is being asked for.
    hungry: [BTreeSet<u64>; 2],
    /// Of each priority, the question whose turn was last.
    last_turn: [u64; 2],
    open: [usize; 2],
    requests: HashMap<u64, Request>,
    next_question: u64,
    next_request: u64,
    actions: Vec<RetrievalAction>,
}

const PRIORITIES: [FetchPriority; 2] = [FetchPriority::Reader, FetchPriority::Repair];

impl ChunkRetrieval {
    /// Nothing is asked yet, nobody is connected.
    pub fn new(limits: RetrievalLimits) -> Self {
        Self {
            peers: Peers::new(&limits),
            limits,
            questions: BTreeMap::new(),
            hungry: Default::default(),
            last_turn: [0; 2],
            open: [0; 2],
            requests: HashMap::new(),
            next_question: 0,
            next_request: 0,
            actions: Vec::new(),
        }
    }

    /// Takes a question. One that cannot be asked, or is one too many, fails without attempts.
    pub fn on_fetch(&mut self, fetch: Fetch, now: Instant) -> Vec<RetrievalAction> {
        let (key, priority) = (self.next_question, fetch.priority);
        self.next_question += 1;
        if !self.is_askable(&fetch.target) || self.open[priority as usize] >= MAX_OPEN_FETCHES {
            return refuse(fetch, key);
        }
        let question = Question::new(fetch, now + self.limits.request_timeout * QUESTION_TIMEOUTS);
        let is_empty = question.missing.is_empty();
        self.open[priority as usize] += 1;
        self.hungry[priority as usize].insert(key);
        self.questions.insert(key, question);
        if is_empty {
            self.complete(key);
        }
        self.ask(now)
    }

    /// Takes over which peers that speak storage are connected.
    pub fn on_peers(&mut self, connected: &HashSet<NodeId>, now: Instant) -> Vec<RetrievalAction> {
        for request_id in self.peers.set_connected(connected) {
            self.holder_failed(request_id, Some(FetchFailure::NotConnected), now);
        }
        self.peers.drop_gone(connected);
        self.ask(now)
    }

    /// Takes a message of a peer. What is no answer is left to others.
    pub fn on_message(&mut self, from: NodeId, message: StorageMessage, now: Instant) -> Vec<RetrievalAction> {
        match message {
            StorageMessage::ChunkResponse {
                request_id,
                page,
                answer,
            } => self.on_chunk_response(from, (request_id, page), answer, now),
            StorageMessage::ManifestResponse {
                request_id,
                period,
                answer,
            } => self.on_manifest_response(from, (request_id, period), answer, now),
            StorageMessage::HeldResponse {
                request_id,
                first_period,
                held,
            } => self.on_held_response(from, (request_id, first_period), held, now),
            StorageMessage::Busy { request_id } => self.on_busy(from, request_id, now),
            // Open challenges are looked at before: this one answers none.
            StorageMessage::ChallengeProof { .. } => self.stray(from),
            _ => {}
        }
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
        self.ask(now)
    }

    /// What a peer sent was proven wrong.
    pub fn on_quarantine(&mut self, node: NodeId, reason: String, now: Instant) -> Vec<RetrievalAction> {
        self.on_malformed(node, reason, now)
    }

    /// Nobody waits for the answer to a question.
    pub fn on_abandoned(&mut self, question: u64) -> Vec<RetrievalAction> {
        self.end(question);
        std::mem::take(&mut self.actions)
    }

    /// Ends what took too long.
    pub fn on_tick(&mut self, now: Instant) -> Vec<RetrievalAction> {
        let timeout = self.limits.request_timeout;
        let is_late = |id: &u64| {
            self.requests
                .get(id)
                .is_some_and(|request| now >= request.since + timeout)
        };
        let late = self.peers.oldest_requests().filter(|(_, id)| is_late(id));
        let stalled: Vec<NodeId> = late.map(|(node, _)| node).collect();
        for node in stalled {
            self.on_stalled(node, now);
        }
        let over = self.questions.iter().filter(|(_, question)| now >= question.ends);
        let over: Vec<u64> = over.map(|(key, _)| *key).collect();
        for key in over {
            self.give_up(key);
        }
        self.ask(now)
    }

    /// Whether this request was sent to this peer and is not answered yet.
    pub fn is_open(&self, node: &NodeId, request_id: u64) -> bool {
        self.requests
            .get(&request_id)
            .is_some_and(|request| request.node == *node)
    }

    /// Questions under way.
    pub fn open_questions(&self) -> usize {
        self.questions.len()
    }

    /// Bytes asked of a peer and not answered.
    pub fn in_flight(&self, node: &NodeId) -> usize {
        self.peers.in_flight(node)
    }

    /// Bytes asked of all peers and not answered.
    pub fn in_flight_total(&self) -> usize {
        self.peers.in_flight_total()
    }

    fn is_askable(&self, target: &FetchTarget) -> bool {
        match target {
            FetchTarget::Manifest { .. } => true,
            FetchTarget::Pages { entry, pages, .. } => {
                entry.length as usize <= self.limits.max_chunk_size && pages.end <= entry.page_count()
            }
            FetchTarget::Held { periods, .. } => (1..=MAX_HELD_PERIODS).contains(periods),
        }
    }

    /// Sends what can be sent: readers first, questions of one priority in turns, one request each.
    fn ask(&mut self, now: Instant) -> Vec<RetrievalAction> {
        for priority in PRIORITIES {
            let mut turns = self.turns(priority);
            while !turns.is_empty() && self.peers.has_room(priority) {
                turns.retain(|key| self.ask_for(*key, now));
            }
            // Even without room, holders that cannot be asked at all are noticed.
            for key in turns {
                self.ask_for(key, now);
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Questions that want something, beginning after the one whose turn was last.
    fn turns(&self, priority: FetchPriority) -> Vec<u64> {
        let hungry = &self.hungry[priority as usize];
        let last = self.last_turn[priority as usize];
        let (after, before) = (hungry.range(last + 1..), hungry.range(..=last));
        after.chain(before).copied().collect()
    }

    /// Asks one holder for one request's worth of a question. Returns whether it did and more is wanted.
    fn ask_for(&mut self, key: u64, now: Instant) -> bool {
        let Some(question) = self.questions.get_mut(&key) else {
            return false;
        };
        let mut dial = Vec::new();
        let choice = question.choose(&mut self.peers, self.limits.dial_timeout, now, &mut dial);
        let is_asking = question.is_asking();
        self.actions
            .extend(dial.into_iter().map(|node| RetrievalAction::Dial { node }));
        match choice {
            Choice::Ask { holder, room } => self.send(key, holder, room, now),
            Choice::Nobody if !is_asking => {
                self.fail(key);
                false
            }
            Choice::Nobody | Choice::Wait => false,
        }
    }

    fn send(&mut self, key: u64, holder: usize, room: usize, now: Instant) -> bool {
        let question = self.questions.get_mut(&key).expect("the caller has the question");
        let request_id = self.next_request;
        self.next_request += 1;
        let pages = question.take_missing(room);
        let (node, cost, priority) = (question.holders[holder].node, question.cost(), question.priority);
        let message = question.message(request_id, &pages);
        let wants_more = !question.missing.is_empty();
        if !wants_more {
            self.hungry[priority as usize].remove(&key);
        }
        self.last_turn[priority as usize] = key;
        self.peers.sent(&node, request_id, priority, cost * pages.len(), now);
        let request = Request {
            node,
            question: key,
            holder,
            priority,
            cost,
            pages: pages.into_iter().collect(),
            sent: now,
            since: now,
        };
        self.requests.insert(request_id, request);
        self.actions.push(RetrievalAction::Send {
            to: node,
            request_id,
            message,
        });
        wants_more
    }

    fn on_chunk_response(
        &mut self,
        from: NodeId,
        (request_id, page): (u64, u32),
        answer: Answer<PageContent>,
        now: Instant,
    ) {
        let is_asked = self.is_asked(from, request_id, page);
        let Some(target) = is_asked.then(|| self.target(request_id)) else {
            return self.stray(from);
        };
        match (target, answer) {
            (None, answer) => self.forget_answer(request_id, page, matches!(answer, Answer::Found(_)), now),
            (Some(FetchTarget::Pages { entry, .. }), Answer::Found(content)) => {
                match VerifiedPage::check(&entry, page, content) {
                    Ok(verified) => self.on_page(request_id, verified, now),
                    Err(error) => self.quarantine(from, format!("page {page} of chunk {}: {error}", entry.id), now),
                }
            }
            (Some(FetchTarget::Pages { .. }), answer) => self.holder_failed(request_id, failure(&answer), now),
            (Some(_), _) => self.stray(from),
        }
    }

    fn on_manifest_response(
        &mut self,
        from: NodeId,
        (request_id, period): (u64, u64),
        answer: Answer<Vec<u8>>,
        now: Instant,
    ) {
        let is_asked = self.is_asked(from, request_id, 0);
        match (is_asked.then(|| self.target(request_id)).flatten(), answer) {
            (None, _) if is_asked => self.forget_answer(request_id, 0, true, now),
            (Some(FetchTarget::Manifest { period: asked }), answer) if asked == period => match answer {
                Answer::Found(bytes) => match self.check_manifest(period, &bytes) {
                    Ok(manifest) => {
                        self.on_single(request_id, now, |id, from| FetchEvent::Manifest { id, from, manifest })
                    }
                    Err(reason) => self.quarantine(from, format!("manifest of period {period}: {reason}"), now),
                },
                answer => self.holder_failed(request_id, failure(&answer), now),
            },
            _ => self.stray(from),
        }
    }

    fn on_held_response(
        &mut self,
        from: NodeId,
        (request_id, first_period): (u64, u64),
        held: Vec<Vec<u8>>,
        now: Instant,
    ) {
        let is_asked = self.is_asked(from, request_id, 0);
        match is_asked.then(|| self.target(request_id)).flatten() {
            None if is_asked => self.forget_answer(request_id, 0, true, now),
            Some(FetchTarget::Held {
                first_period: asked,
                periods,
            }) if asked == first_period => {
                if held.len() != periods as usize {
                    let reason = format!("held chunks of {} periods, asked for {periods}", held.len());
                    return self.quarantine(from, reason, now);
                }
                let held = first_bits(held, self.limits.max_stored_chunks_per_node);
                self.on_single(request_id, now, |id, from| FetchEvent::Held { id, from, held });
            }
            _ => self.stray(from),
        }
    }

    fn on_busy(&mut self, from: NodeId, request_id: u64, now: Instant) {
        if !self.is_open(&from, request_id) {
            return self.stray(from);
        }
        self.peers.busy(&from);
        self.refused(request_id, now);
    }

    /// The peer may still be asked later, for other questions at once.
    fn refused(&mut self, request_id: u64, now: Instant) {
        let ended = self.end_request(request_id, now);
        if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
            holder.on_refusal(now);
        }
    }

    fn is_asked(&self, from: NodeId, request_id: u64, page: u32) -> bool {
        let request = self.requests.get(&request_id);
        request.is_some_and(|request| request.node == from && request.pages.contains(&page))
    }

    /// What a request is for; `None` if the question is over.
    fn target(&self, request_id: u64) -> Option<FetchTarget> {
        let request = self.requests.get(&request_id)?;
        Some(self.questions.get(&request.question)?.target.clone())
    }

    /// A right answer for the worker came.
    fn on_page(&mut self, request_id: u64, page: VerifiedPage, now: Instant) {
        let Some((key, from)) = self.answered(request_id, page.page(), now) else {
            return;
        };
        let question = self.questions.get_mut(&key).expect("its target was looked at");
        question.unanswered -= 1;
        let (id, is_complete) = (question.id, question.unanswered == 0);
        self.reply(key, FetchEvent::Page { id, from, page });
        if is_complete {
            self.complete(key);
        }
    }

    /// The right answer to a question that has one answer came.
    fn on_single(&mut self, request_id: u64, now: Instant, event: impl FnOnce(u64, NodeId) -> FetchEvent) {
        let Some((key, from)) = self.answered(request_id, 0, now) else {
            return;
        };
        let id = self.questions[&key].id;
        self.reply(key, event(id, from));
        self.end(key);
    }

    /// A page of a request is no longer in flight. Returns the question and who answered.
    fn answered(&mut self, request_id: u64, page: u32, now: Instant) -> Option<(u64, NodeId)> {
        let request = self.requests.get_mut(&request_id)?;
        request.pages.remove(&page);
        request.since = now;
        let (key, node, holder) = (request.question, request.node, request.holder);
        let (cost, is_over) = (request.cost, request.pages.is_empty());
        self.peers.released(&node, request.priority, cost);
        self.peers.answered(&node, cost);
        if is_over {
            self.remove_request(request_id, now);
        }
        if let Some(holder) = self.holder((key, holder)) {
            holder.on_answer();
        }
        Some((key, node))
    }

    /// An answer came for a question that is over. One without content ends the request.
    fn forget_answer(&mut self, request_id: u64, page: u32, has_content: bool, now: Instant) {
        if has_content {
            self.answered(request_id, page, now);
        } else {
            self.end_request(request_id, now);
        }
    }

    /// A request is over, and its question asks this holder nothing more.
    fn holder_failed(&mut self, request_id: u64, failure: Option<FetchFailure>, now: Instant) {
        let ended = self.end_request(request_id, now);
        if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
            holder.failure = holder.failure.or(failure);
        }
    }

    fn holder(&mut self, (key, holder): (u64, usize)) -> Option<&mut Holder> {
        self.questions.get_mut(&key)?.holders.get_mut(holder)
    }

    /// What of a request is not answered is wanted again. Returns its question and holder.
    fn end_request(&mut self, request_id: u64, now: Instant) -> Option<(u64, usize)> {
        let request = self.remove_request(request_id, now)?;
        if let Some(question) = self.questions.get_mut(&request.question) {
            question.missing.extend(&request.pages);
            self.hungry[question.priority as usize].insert(request.question);
        }
        Some((request.question, request.holder))
    }

    fn remove_request(&mut self, request_id: u64, now: Instant) -> Option<Request> {
        let request = self.requests.remove(&request_id)?;
        let bytes = request.cost * request.pages.len();
        self.peers.released(&request.node, request.priority, bytes);
        let was_oldest = self.peers.oldest_request(&request.node) == Some(request_id);
        self.peers.ended(&request.node, request_id);
        let oldest = self.peers.oldest_request(&request.node);
        if let Some(next) = oldest.and_then(|id| self.requests.get_mut(&id)).filter(|_| was_oldest) {
            next.since = now;
        }
        Some(request)
    }

    /// The oldest request of a peer took too long: all its requests go to others. Those that were sent only a while ago
    /// are not held against it.
    fn on_stalled(&mut self, node: NodeId, now: Instant) {
        self.peers.timed_out(node, now);
        for request_id in self.peers.requests(&node) {
            let is_late = self.requests[&request_id].sent + self.limits.request_timeout <= now;
            let ended = self.end_request(request_id, now).filter(|_| is_late);
            if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
                holder.on_timeout();
            }
        }
    }

    fn quarantine(&mut self, node: NodeId, reason: String, now: Instant) {
        let until = now + self.limits.quarantine;
        self.peers.quarantine(node, until);
        for request_id in self.peers.requests(&node) {
            self.holder_failed(request_id, Some(FetchFailure::Quarantined), now);
        }
        self.actions.push(RetrievalAction::Quarantine { node, until, reason });
    }

    fn stray(&mut self, node: NodeId) {
        self.actions.push(RetrievalAction::Stray { node });
    }

    /// A question took too long altogether.
    fn give_up(&mut self, key: u64) {
        let requests = self.requests.values().filter(|request| request.question == key);
        let asked: HashSet<usize> = requests.map(|request| request.holder).collect();
        if let Some(question) = self.questions.get_mut(&key) {
            question.give_up(|holder| asked.contains(&holder));
        }
        self.fail(key);
    }

    fn fail(&mut self, key: u64) {
        let question = &self.questions[&key];
        let (id, attempts) = (question.id, question.attempts());
        self.reply(key, FetchEvent::Failed { id, attempts });
        self.end(key);
    }

    fn complete(&mut self, key: u64) {
        let id = self.questions[&key].id;
        self.reply(key, FetchEvent::Complete { id });
        self.end(key);
    }

    /// Forgets a question. Its requests stay until they are answered or time out: their bytes are in flight.
    fn end(&mut self, key: u64) {
        let Some(question) = self.questions.remove(&key) else {
            return;
        };
        let priority = question.priority;
        self.hungry[priority as usize].remove(&key);
        self.open[priority as usize] -= 1;
        self.actions.push(RetrievalAction::Ended { priority });
    }

    fn reply(&mut self, key: u64, event: FetchEvent) {
        let to = self.questions[&key].reply.clone();
        self.actions.push(RetrievalAction::Reply {
            question: key,
            to,
            event,
        });
    }

    /// Whether these bytes can be the manifest of a period of this archive.
    fn check_manifest(&self, period: u64, bytes: &[u8]) -> Result<Manifest, String> {
        let manifest = Manifest::from_bytes(bytes).map_err(|error| error.to_string())?;
        let (header, expected) = (manifest.header, &self.limits.parameters);
        let found = (header.chain_id, header.period, header.threads, header.chunk_size);
        let wanted = (expected.chain_id, period, expected.thread_count, expected.chunk_size);
        if found != wanted {
            return Err(format!(
                "chain id, period, threads, chunk size: {found:?}, expected {wanted:?}"
            ));
        }
        Ok(manifest)
    }
}

fn refuse(fetch: Fetch, question: u64) -> Vec<RetrievalAction> {
    let event = FetchEvent::Failed {
        id: fetch.id,
        attempts: Vec::new(),
    };
    let reply = RetrievalAction::Reply {
        question,
        to: fetch.reply,
        event,
    };
    let priority = fetch.priority;
    vec![reply, RetrievalAction::Ended { priority }]
}

fn failure<T>(answer: &Answer<T>) -> Option<FetchFailure> {
    match answer {
        Answer::Found(_) => None,
        Answer::NotYet => Some(FetchFailure::NotYet),
        Answer::NotHeld => Some(FetchFailure::NotHeld),
        Answer::Pruned => Some(FetchFailure::Pruned),
    }
}

/// Clears all bits after the first `max` set ones, and trailing zero bytes.
fn first_bits(mut held: Vec<Vec<u8>>, max: usize) -> Vec<Vec<u8>> {
    let mut left = max;
    for bits in &mut held {
        for byte in bits.iter_mut() {
            while byte.count_ones() as usize > left {
                *byte &= !(0x80 >> byte.leading_zeros());
            }
            left -= byte.count_ones() as usize;
        }
        while bits.last() == Some(&0) {
            bits.pop();
        }
    }
    held
}
