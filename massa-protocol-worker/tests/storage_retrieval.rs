//! Which holder is asked for what, and what becomes of the answers.

mod storage_common;

use crossbeam_channel::Receiver;
use massa_distributed_storage_exports::network::{
    Answer, Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget, PageContent,
};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use massa_protocol_worker::handlers::storage_handler::cache::MAX_OPEN_FETCHES;
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, MAX_PAGE_FRAME_BYTES};
use massa_protocol_worker::handlers::storage_handler::retrieval::chunk_retrieval::{
    ChunkRetrieval, RetrievalAction, RetrievalLimits, QUESTION_TIMEOUTS,
};
use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};
use storage_common::{manifest, node, pages_of, parameters, question, TestChunk, CHUNK_SIZE, PERIOD};
use FetchPriority::{Reader, Repair};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const QUARANTINE: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);
/// Pages that one peer may be asked for; three quarters of them by one priority.
const PEER_PAGES: usize = 8;
const PEER_PAGES_OF_ONE_PRIORITY: u32 = 6;

fn limits() -> RetrievalLimits {
    RetrievalLimits {
        parameters: parameters(),
        max_chunk_size: 1 << 20,
        max_stored_chunks_per_node: 1000,
        requests_per_second: 500,
        request_timeout: REQUEST_TIMEOUT,
        dial_timeout: DIAL_TIMEOUT,
        quarantine: QUARANTINE,
        bytes_in_flight_per_peer: PEER_PAGES * MAX_PAGE_FRAME_BYTES,
        bytes_in_flight: 100 * MAX_PAGE_FRAME_BYTES,
    }
}

/// A request as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    to: NodeId,
    id: u64,
    chunk_id: Option<ChunkId>,
    pages: Range<u32>,
}

/// The state machine, its clock, and what it did last.
struct Bench {
    retrieval: ChunkRetrieval,
    now: Instant,
    connected: HashSet<NodeId>,
    sent: Vec<Sent>,
    dialed: Vec<NodeId>,
    quarantined: Vec<NodeId>,
    strays: Vec<NodeId>,
    ended: usize,
    abandoned: Vec<u64>,
}

impl Bench {
    fn new(limits: RetrievalLimits, connected: &[NodeId]) -> Self {
        let mut bench = Self {
            retrieval: ChunkRetrieval::new(limits),
            now: Instant::now(),
            connected: HashSet::new(),
            sent: Vec::new(),
            dialed: Vec::new(),
            quarantined: Vec::new(),
            strays: Vec::new(),
            ended: 0,
            abandoned: Vec::new(),
        };
        bench.connect(connected);
        bench
    }

    fn carry_out(&mut self, actions: Vec<RetrievalAction>) {
        self.sent.clear();
        self.dialed.clear();
        for action in actions {
            match action {
                RetrievalAction::Send {
                    to,
                    request_id,
                    message,
                } => self.sent.push(sent(to, request_id, &message)),
                RetrievalAction::Dial { node } => self.dialed.push(node),
                RetrievalAction::Reply { question, to, event } => {
                    if to.try_send(event).is_err() {
                        self.abandoned.push(question);
                    }
                }
                RetrievalAction::Quarantine { node, until, .. } => {
                    assert_eq!(until, self.now + QUARANTINE);
                    self.quarantined.push(node);
                }
                RetrievalAction::Stray { node } => self.strays.push(node),
                RetrievalAction::Ended { .. } => self.ended += 1,
            }
        }
    }

    fn connect(&mut self, nodes: &[NodeId]) {
        self.connected.extend(nodes);
        let actions = self.retrieval.on_peers(&self.connected, self.now);
        self.carry_out(actions);
    }

    fn disconnect(&mut self, node: NodeId) {
        self.connected.remove(&node);
        let actions = self.retrieval.on_peers(&self.connected, self.now);
        self.carry_out(actions);
    }

    fn fetch(&mut self, fetch: Fetch) {
        let actions = self.retrieval.on_fetch(fetch, self.now);
        self.carry_out(actions);
    }

    fn receive(&mut self, from: NodeId, message: StorageMessage) {
        let actions = self.retrieval.on_message(from, message, self.now);
        self.carry_out(actions);
    }

    fn answer(&mut self, from: NodeId, request_id: u64, page: u32, answer: Answer<PageContent>) {
        self.receive(
            from,
            StorageMessage::ChunkResponse {
                request_id,
                page,
                answer,
            },
        );
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let actions = self.retrieval.on_tick(self.now);
        self.carry_out(actions);
    }

    /// The requests sent last, without their ids.
    fn asked(&self) -> Vec<(NodeId, Range<u32>)> {
        self.sent.iter().map(|sent| (sent.to, sent.pages.clone())).collect()
    }
}

fn sent(to: NodeId, id: u64, message: &StorageMessage) -> Sent {
    let (request_id, chunk_id, pages) = match *message {
        StorageMessage::ChunkRequest {
            request_id,
            chunk_id,
            first_page,
            pages,
            ..
        } => (request_id, Some(chunk_id), first_page..first_page + pages),
        StorageMessage::ManifestRequest { request_id, .. } | StorageMessage::HeldRequest { request_id, .. } => {
            (request_id, None, 0..1)
        }
        ref other => panic!("not a request: {other:?}"),
    };
    assert_eq!(request_id, id);
    Sent {
        to,
        id,
        chunk_id,
        pages,
    }
}

fn events(answers: &Receiver<FetchEvent>) -> Vec<FetchEvent> {
    answers.try_iter().collect()
}

fn failed(id: u64, attempts: &[(NodeId, FetchFailure)]) -> FetchEvent {
    FetchEvent::Failed {
        id,
        attempts: attempts.to_vec(),
    }
}

fn alice() -> NodeId {
    node(1)
}

fn bob() -> NodeId {
    node(2)
}

fn carol() -> NodeId {
    node(3)
}

#[test]
fn a_page_is_asked_of_the_first_connected_holder_and_handed_over() {
    let chunk = TestChunk::new(PAGE_BYTES as u32 * 2 + 5, 1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 1..3, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 1..3)]);
    let id = bench.sent[0].id;

    bench.answer(alice(), id, 1, Answer::Found(chunk.page(1)));
    bench.answer(alice(), id, 2, Answer::Found(chunk.page(2)));
    let page = |page| FetchEvent::Page {
        id: 7,
        from: alice(),
        page: chunk.verified(page),
    };
    assert_eq!(events(&answers), [page(1), page(2), FetchEvent::Complete { id: 7 }]);
    assert_eq!((bench.ended, bench.retrieval.in_flight_total()), (1, 0));
}

#[test]
fn a_request_names_period_chunk_and_chunk_id() {
    let chunk = TestChunk::full(1);
    let mut retrieval = ChunkRetrieval::new(limits());
    let now = Instant::now();
    retrieval.on_peers(&HashSet::from([alice()]), now);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    let actions = retrieval.on_fetch(fetch, now);
    let [RetrievalAction::Send { message, .. }] = &actions[..] else {
        panic!("{actions:?}");
    };
    let expected = StorageMessage::ChunkRequest {
        request_id: 0,
        period: PERIOD,
        chunk: ChunkIndex(0),
        chunk_id: chunk.entry.id,
        first_page: 0,
        pages: 4,
    };
    assert_eq!(*message, expected);
}

#[test]
fn asks_the_next_holder_when_the_first_times_out() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);

    bench.wait(REQUEST_TIMEOUT - Duration::from_millis(1));
    assert_eq!(bench.asked(), []);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.asked(), [(bob(), 0..4)]);

    bench.wait(REQUEST_TIMEOUT);
    let both = [(alice(), FetchFailure::Timeout), (bob(), FetchFailure::Timeout)];
    assert_eq!(events(&answers), [failed(7, &both)]);
}

#[test]
fn each_refusal_sends_the_question_to_the_next_holder_and_is_reported() {
    let chunk = TestChunk::full(1);
    let holders = [alice(), bob(), carol()];
    let mut bench = Bench::new(limits(), &holders);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &holders, Reader);
    bench.fetch(fetch);
    for (holder, answer) in holders.iter().zip([Answer::NotYet, Answer::NotHeld, Answer::Pruned]) {
        assert_eq!(bench.asked(), [(*holder, 0..4)]);
        let id = bench.sent[0].id;
        bench.answer(*holder, id, 0, answer);
    }
    let attempts = [
        (alice(), FetchFailure::NotYet),
        (bob(), FetchFailure::NotHeld),
        (carol(), FetchFailure::Pruned),
    ];
    assert_eq!(events(&answers), [failed(7, &attempts)]);
    assert_eq!(bench.ended, 1);
}

#[test]
fn a_manifest_that_is_refused_is_asked_of_the_next_holder() {
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let target = FetchTarget::Manifest { period: PERIOD };
    let (fetch, _answers) = question(7, target, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    bench.receive(alice(), manifest_response(bench.sent[0].id, PERIOD, Answer::NotYet));
    assert_eq!(bench.asked(), [(bob(), 0..1)]);
}

#[test]
fn a_holder_that_is_not_connected_is_dialed_while_the_next_one_is_asked() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[bob()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice(), bob(), carol()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.dialed, [alice()]);
    assert_eq!(bench.asked(), [(bob(), 0..4)]);
}

#[test]
fn a_dialed_holder_is_asked_as_soon_as_it_is_connected() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.dialed, [alice(), bob()]);
    bench.wait(SECOND);
    bench.connect(&[bob()]);
    assert_eq!(bench.asked(), [(bob(), 0..4)]);
}

#[test]
fn a_holder_that_could_not_be_dialed_in_time_has_failed() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    bench.wait(DIAL_TIMEOUT - Duration::from_millis(1));
    assert_eq!(events(&answers), []);
    bench.wait(Duration::from_millis(1));
    assert_eq!(events(&answers), [failed(7, &[(alice(), FetchFailure::NotConnected)])]);
}

#[test]
fn several_questions_dial_a_holder_once() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[]);
    let mut dials = 0;
    for id in 0..5 {
        let (fetch, _answers) = pages_of(id, &chunk, 0..4, &[alice()], Reader);
        bench.fetch(fetch);
        dials += bench.dialed.len();
    }
    assert_eq!(dials, 1);
}

#[test]
fn what_a_gone_peer_was_asked_for_goes_to_the_next_holder_at_once() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    bench.disconnect(alice());
    assert_eq!(bench.asked(), [(bob(), 0..4)]);
    bench.disconnect(bob());
    let both = [
        (alice(), FetchFailure::NotConnected),
        (bob(), FetchFailure::NotConnected),
    ];
    assert_eq!(events(&answers), [failed(7, &both)]);
    assert_eq!(bench.retrieval.in_flight_total(), 0);
}

#[test]
fn only_the_missing_pages_are_asked_of_the_next_holder() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    bench.answer(alice(), id, 2, Answer::Found(chunk.page(2)));
    bench.wait(REQUEST_TIMEOUT);
    assert_eq!(bench.asked(), [(bob(), 1..2), (bob(), 3..4)]);
}

#[test]
fn the_time_of_a_request_begins_anew_with_each_page() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    for page in 0..4 {
        bench.wait(REQUEST_TIMEOUT - SECOND);
        assert_eq!(bench.asked(), []);
        bench.answer(alice(), id, page, Answer::Found(chunk.page(page)));
    }
    assert_eq!(events(&answers).last(), Some(&FetchEvent::Complete { id: 7 }));
}

#[test]
fn a_holder_that_sends_a_page_before_each_timeout_is_not_waited_for_for_ever() {
    let chunk = TestChunk::new(PAGE_BYTES as u32 * 16, 1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..16, &[alice()], Reader);
    let start = bench.now;
    bench.fetch(fetch);
    let mut requests = bench.sent.clone();
    let mut page = 0;
    while bench.ended == 0 {
        bench.wait(REQUEST_TIMEOUT - Duration::from_millis(1));
        requests.extend(bench.sent.clone());
        let request = requests.iter().find(|sent| sent.pages.contains(&page)).unwrap().clone();
        bench.answer(alice(), request.id, page, Answer::Found(chunk.page(page)));
        requests.extend(bench.sent.clone());
        page += 1;
    }
    assert!(bench.now <= start + REQUEST_TIMEOUT * (QUESTION_TIMEOUTS + 1));
    assert_eq!(
        events(&answers).last(),
        Some(&failed(7, &[(alice(), FetchFailure::Timeout)]))
    );
}

#[test]
fn requests_behind_the_oldest_one_do_not_time_out_before_their_turn() {
    let chunks: Vec<TestChunk> = (0..2).map(TestChunk::full).collect();
    let mut bench = Bench::new(limits(), &[alice()]);
    let (first, _first_answers) = pages_of(0, &chunks[0], 0..3, &[alice()], Reader);
    let (second, second_answers) = pages_of(1, &chunks[1], 0..3, &[alice()], Reader);
    bench.fetch(first);
    let first_id = bench.sent[0].id;
    bench.fetch(second);
    let second_id = bench.sent[0].id;
    for page in 0..3 {
        bench.wait(REQUEST_TIMEOUT - SECOND);
        bench.answer(alice(), first_id, page, Answer::Found(chunks[0].page(page)));
    }
    bench.wait(REQUEST_TIMEOUT - SECOND);
    bench.answer(alice(), second_id, 0, Answer::Found(chunks[1].page(0)));
    let page = FetchEvent::Page {
        id: 1,
        from: alice(),
        page: chunks[1].verified(0),
    };
    assert_eq!(events(&second_answers), [page]);
}

#[test]
fn when_the_oldest_request_times_out_all_requests_of_the_peer_go_to_others() {
    let chunks: Vec<TestChunk> = (0..2).map(TestChunk::full).collect();
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let mut answers = Vec::new();
    for (id, chunk) in chunks.iter().enumerate() {
        let (fetch, answer) = pages_of(id as u64, chunk, 0..3, &[alice(), bob()], Reader);
        answers.push(answer);
        bench.fetch(fetch);
        assert_eq!(bench.asked(), [(alice(), 0..3)]);
    }
    bench.wait(REQUEST_TIMEOUT);
    assert_eq!(bench.asked(), [(bob(), 0..3), (bob(), 0..3)]);
}

/// A page with one thing wrong.
fn wrong_pages(chunk: &TestChunk) -> Vec<(&'static str, PageContent)> {
    let with = |change: &dyn Fn(&mut PageContent)| {
        let mut page = chunk.page(1);
        change(&mut page);
        page
    };
    vec![
        ("bytes", with(&|page| page.bytes[100] ^= 1)),
        ("length", with(&|page| page.bytes.truncate(100))),
        ("path", with(&|page| page.path.siblings[0][0] ^= 1)),
        ("directions", with(&|page| page.path.directions ^= 1)),
        ("no path", with(&|page| page.path.siblings.clear())),
        ("signatures", with(&|page| page.signatures.push(1))),
        ("another page", chunk.page(0)),
        ("a page of another chunk", TestChunk::full(99).page(1)),
    ]
}

#[test]
fn who_sends_a_wrong_page_is_put_in_quarantine_and_the_next_holder_is_asked() {
    let chunk = TestChunk::full(1);
    for (what, page) in wrong_pages(&chunk) {
        let mut bench = Bench::new(limits(), &[alice(), bob()]);
        let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
        bench.fetch(fetch);
        let id = bench.sent[0].id;
        bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
        bench.answer(alice(), id, 1, Answer::Found(page));
        assert_eq!(bench.quarantined, [alice()], "{what}");
        assert_eq!(bench.asked(), [(bob(), 1..4)], "{what}");
        assert_eq!(events(&answers).len(), 1, "{what}: nothing wrong is handed over");
        assert_eq!(bench.retrieval.in_flight(&alice()), 0);
    }
}

#[test]
fn a_peer_in_quarantine_is_asked_nothing_until_its_time_is_over() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let actions = bench.retrieval.on_quarantine(alice(), "lied".into(), bench.now);
    bench.carry_out(actions);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(events(&answers), [failed(7, &[(alice(), FetchFailure::Quarantined)])]);

    bench.disconnect(alice());
    bench.connect(&[alice()]);
    let (fetch, _answers) = pages_of(8, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [], "coming back does not end a quarantine");

    bench.wait(QUARANTINE);
    let (fetch, _answers) = pages_of(9, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..4)]);
}

#[test]
fn a_quarantine_ends_the_peers_other_requests() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    let actions = bench.retrieval.on_quarantine(alice(), "lied".into(), bench.now);
    bench.carry_out(actions);
    assert_eq!(events(&answers), [failed(7, &[(alice(), FetchFailure::Quarantined)])]);
}

fn manifest_response(request_id: u64, period: u64, answer: Answer<Vec<u8>>) -> StorageMessage {
    StorageMessage::ManifestResponse {
        request_id,
        period,
        answer,
    }
}

#[test]
fn a_manifest_is_handed_over_without_a_second_event() {
    let manifest = manifest(PERIOD, &[TestChunk::full(1), TestChunk::new(10, 2)]);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = question(7, FetchTarget::Manifest { period: PERIOD }, &[alice()], Reader);
    bench.fetch(fetch);
    let answer = Answer::Found(manifest.to_bytes());
    bench.receive(alice(), manifest_response(bench.sent[0].id, PERIOD, answer));
    let from = alice();
    assert_eq!(events(&answers), [FetchEvent::Manifest { id: 7, from, manifest }]);
    assert_eq!(bench.ended, 1);
}

#[test]
fn who_sends_a_manifest_that_cannot_be_of_this_archive_is_put_in_quarantine() {
    let good = manifest(PERIOD, &[TestChunk::full(1)]);
    let mut wrong = vec![
        ("truncated", {
            let mut bytes = good.to_bytes();
            bytes.pop();
            bytes
        }),
        ("empty", Vec::new()),
    ];
    let mut with = |what: &'static str, change: &dyn Fn(&mut massa_distributed_storage_exports::manifest::Manifest)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        wrong.push((what, manifest.to_bytes()));
    };
    with("another chain", &|manifest| manifest.header.chain_id += 1);
    with("another period", &|manifest| manifest.header.period += 1);
    with("more threads", &|manifest| {
        manifest.header.threads += 1;
        manifest.places.push(manifest.places[0]);
    });
    with("another chunk size", &|manifest| {
        manifest.header.chunk_size = CHUNK_SIZE * 2
    });
    for (what, bytes) in wrong {
        let mut bench = Bench::new(limits(), &[alice(), bob()]);
        let target = FetchTarget::Manifest { period: PERIOD };
        let (fetch, answers) = question(7, target, &[alice(), bob()], Reader);
        bench.fetch(fetch);
        let id = bench.sent[0].id;
        bench.receive(alice(), manifest_response(id, PERIOD, Answer::Found(bytes)));
        assert_eq!(bench.quarantined, [alice()], "{what}");
        assert_eq!(bench.asked(), [(bob(), 0..1)], "{what}");
        assert_eq!(events(&answers), [], "{what}");
    }
}

fn held_response(request_id: u64, first_period: u64, held: Vec<Vec<u8>>) -> StorageMessage {
    StorageMessage::HeldResponse {
        request_id,
        first_period,
        held,
    }
}

fn held_target(periods: u32) -> FetchTarget {
    FetchTarget::Held {
        first_period: PERIOD,
        periods,
    }
}

#[test]
fn held_chunks_are_handed_over() {
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = question(7, held_target(2), &[alice()], Repair);
    bench.fetch(fetch);
    let held = vec![vec![0b101], vec![]];
    bench.receive(alice(), held_response(bench.sent[0].id, PERIOD, held.clone()));
    let from = alice();
    assert_eq!(events(&answers), [FetchEvent::Held { id: 7, from, held }]);
}

#[test]
fn who_answers_for_more_or_fewer_periods_than_asked_is_put_in_quarantine() {
    for periods in [1, 3] {
        let mut bench = Bench::new(limits(), &[alice()]);
        let (fetch, answers) = question(7, held_target(2), &[alice()], Repair);
        bench.fetch(fetch);
        bench.receive(alice(), held_response(bench.sent[0].id, PERIOD, vec![vec![1]; periods]));
        assert_eq!(bench.quarantined, [alice()]);
        assert_eq!(events(&answers), [failed(7, &[(alice(), FetchFailure::Quarantined)])]);
    }
}

#[test]
fn a_peer_may_say_that_it_holds_so_many_chunks_and_no_more() {
    let limits = RetrievalLimits {
        max_stored_chunks_per_node: 11,
        ..limits()
    };
    let mut bench = Bench::new(limits, &[alice()]);
    let (fetch, answers) = question(7, held_target(3), &[alice()], Repair);
    bench.fetch(fetch);
    let held = vec![vec![0xff], vec![0b1110_1010], vec![0xff, 0xff]];
    bench.receive(alice(), held_response(bench.sent[0].id, PERIOD, held));
    let held = vec![vec![0xff], vec![0b0010_1010], vec![]];
    let from = alice();
    assert_eq!(events(&answers), [FetchEvent::Held { id: 7, from, held }]);
}

#[test]
fn answers_to_nothing_that_was_asked_are_ignored_and_counted() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..2, &[alice()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    let found = |page| Answer::Found(chunk.page(page));
    bench.answer(alice(), id + 1, 0, found(0)); // A request that was never made.
    bench.answer(bob(), id, 0, found(0)); // Somebody else's.
    bench.answer(alice(), id, 2, found(2)); // A page that was not asked for.
    bench.receive(alice(), manifest_response(id, PERIOD, Answer::NotHeld));
    bench.receive(alice(), held_response(id, PERIOD, vec![vec![1]]));
    bench.receive(bob(), StorageMessage::Busy { request_id: id });
    assert_eq!(bench.strays, [alice(), bob(), alice(), alice(), alice(), bob()]);
    assert_eq!(events(&answers), []);

    bench.answer(alice(), id, 0, found(0));
    bench.answer(alice(), id, 0, found(0)); // Twice.
    assert_eq!(bench.strays.len(), 7);
    assert_eq!(events(&answers).len(), 1);
    assert_eq!(bench.quarantined, []);
}

#[test]
fn a_late_answer_after_a_timeout_is_ignored() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..1, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    bench.wait(REQUEST_TIMEOUT);
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    assert_eq!(bench.strays, [alice()]);
    assert_eq!(events(&answers), []);
}

#[test]
fn of_one_peer_no_more_is_asked_than_may_be_in_flight() {
    let chunk = TestChunk::new(PAGE_BYTES as u32 * 16, 1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..16, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..PEER_PAGES_OF_ONE_PRIORITY)]);
    let in_flight = PEER_PAGES_OF_ONE_PRIORITY as usize * MAX_PAGE_FRAME_BYTES;
    assert_eq!(bench.retrieval.in_flight(&alice()), in_flight);

    let id = bench.sent[0].id;
    for page in 0..3 {
        bench.answer(alice(), id, page, Answer::Found(chunk.page(page)));
    }
    let next = PEER_PAGES_OF_ONE_PRIORITY..PEER_PAGES_OF_ONE_PRIORITY + 3;
    assert_eq!(
        bench.asked(),
        [(alice(), next)],
        "more is asked once it is worth a message"
    );
}

#[test]
fn of_all_peers_together_no_more_is_asked_than_may_be_in_flight() {
    let chunks: Vec<TestChunk> = (0..4).map(|seed| TestChunk::new(PAGE_BYTES as u32 * 6, seed)).collect();
    let limits = RetrievalLimits {
        bytes_in_flight: 12 * MAX_PAGE_FRAME_BYTES,
        ..limits()
    };
    let peers: Vec<NodeId> = (0..4).map(node).collect();
    let mut bench = Bench::new(limits, &peers);
    let mut answers = Vec::new();
    for (id, (chunk, peer)) in chunks.iter().zip(&peers).enumerate() {
        let (fetch, answer) = pages_of(id as u64, chunk, 0..6, &[*peer], Reader);
        answers.push(answer);
        bench.fetch(fetch);
    }
    assert_eq!(bench.retrieval.in_flight_total(), 9 * MAX_PAGE_FRAME_BYTES);
}

#[test]
fn one_page_may_always_be_asked_for() {
    let chunk = TestChunk::full(1);
    let limits = RetrievalLimits {
        bytes_in_flight_per_peer: 1,
        bytes_in_flight: 1,
        ..limits()
    };
    let mut bench = Bench::new(limits, &[alice()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..1)]);
    let id = bench.sent[0].id;
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    assert_eq!(bench.asked(), [(alice(), 1..2)]);
}

#[test]
fn pages_are_spread_over_holders_when_one_alone_may_not_be_asked_for_all() {
    let chunk = TestChunk::new(PAGE_BYTES as u32 * 16, 1);
    let mut bench = Bench::new(limits(), &[alice(), bob(), carol()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..16, &[alice(), bob(), carol()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..6), (bob(), 6..12), (carol(), 12..16)]);
}

#[test]
fn a_holder_is_not_dialed_while_a_connected_one_only_has_no_room() {
    let chunk = TestChunk::new(PAGE_BYTES as u32 * 16, 1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..16, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.dialed, []);
}

#[test]
fn a_reader_is_served_while_repair_uses_all_it_may() {
    let big = TestChunk::new(PAGE_BYTES as u32 * 16, 1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let mut answers = Vec::new();
    for id in 0..50 {
        let (fetch, answer) = pages_of(id, &big, 0..16, &[alice()], Repair);
        answers.push(answer);
        bench.fetch(fetch);
    }
    let (fetch, _answers) = pages_of(100, &big, 0..2, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..2)], "asked at once");
}

#[test]
fn a_reader_goes_before_repair_that_waits() {
    let chunk = TestChunk::full(1);
    let limits = RetrievalLimits {
        bytes_in_flight_per_peer: MAX_PAGE_FRAME_BYTES,
        ..limits()
    };
    let mut bench = Bench::new(limits, &[alice()]);
    let (first, _first) = pages_of(1, &chunk, 0..1, &[alice()], Repair);
    let (second, _second) = pages_of(2, &chunk, 1..2, &[alice()], Repair);
    let (reader, _reader) = pages_of(3, &chunk, 2..3, &[alice()], Reader);
    bench.fetch(first);
    let id = bench.sent[0].id;
    bench.fetch(second);
    bench.fetch(reader);
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    assert_eq!(bench.asked(), [(alice(), 2..3)]);
}

#[test]
fn repair_goes_on_while_readers_use_all_they_may() {
    let big = TestChunk::new(PAGE_BYTES as u32 * 16, 1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let mut answers = Vec::new();
    for id in 0..50 {
        let (fetch, answer) = pages_of(id, &big, 0..16, &[alice()], Reader);
        answers.push(answer);
        bench.fetch(fetch);
    }
    let (fetch, _answers) = pages_of(100, &big, 0..2, &[alice()], Repair);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..2)]);
}

#[test]
fn questions_of_one_priority_take_turns() {
    let chunks: Vec<TestChunk> = (0..3).map(|seed| TestChunk::new(PAGE_BYTES as u32 * 8, seed)).collect();
    let limits = RetrievalLimits {
        bytes_in_flight_per_peer: MAX_PAGE_FRAME_BYTES,
        ..limits()
    };
    let mut bench = Bench::new(limits, &[alice()]);
    let mut answers = Vec::new();
    let mut waiting = None;
    for (id, chunk) in chunks.iter().enumerate() {
        let (fetch, answer) = pages_of(id as u64, chunk, 0..8, &[alice()], Reader);
        answers.push(answer);
        bench.fetch(fetch);
        waiting = waiting.or(bench.sent.first().cloned());
    }
    let mut order = Vec::new();
    while let Some(sent) = waiting {
        let turn = order.len() % chunks.len();
        order.push(turn);
        let page = sent.pages.start;
        bench.answer(alice(), sent.id, page, Answer::Found(chunks[turn].page(page)));
        assert_eq!(bench.quarantined, [], "the turn was another question's");
        waiting = bench.sent.first().cloned();
    }
    assert_eq!(order.len(), 24);
}

#[test]
fn questions_for_one_page_do_not_keep_one_for_many_pages_waiting() {
    let (big, small) = (TestChunk::new(PAGE_BYTES as u32 * 16, 1), TestChunk::full(2));
    let mut bench = Bench::new(limits(), &[alice()]);
    let mut answers = Vec::new();
    let mut ask_for_small = |bench: &mut Bench, id| {
        let (fetch, answer) = pages_of(id, &small, 0..1, &[alice()], Reader);
        answers.push(answer);
        bench.fetch(fetch);
    };
    (0..20).for_each(|id| ask_for_small(&mut bench, id));
    let (fetch, _big_answers) = pages_of(100, &big, 0..16, &[alice()], Reader);
    bench.fetch(fetch);
    // As often as one small question is answered, another one comes.
    for id in 0..50 {
        bench.answer(alice(), id, 0, Answer::Found(small.page(0)));
        if bench.sent[0].chunk_id == Some(big.entry.id) {
            return;
        }
        ask_for_small(&mut bench, 200 + id);
    }
    panic!("the large question had no turn");
}

#[test]
fn a_peer_that_timed_out_is_avoided_while_there_is_another_one() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, _first) = pages_of(1, &chunk, 0..1, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    bench.wait(REQUEST_TIMEOUT);
    let (fetch, _second) = pages_of(2, &chunk, 0..1, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(bob(), 0..1)]);
    let (fetch, _third) = pages_of(3, &chunk, 0..1, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..1)], "better than nobody");
}

#[test]
fn a_peer_is_avoided_longer_after_each_timeout_and_not_for_ever() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let mut pauses = Vec::new();
    for round in 0..10 {
        let (fetch, _answers) = pages_of(round, &chunk, 0..1, &[alice()], Reader);
        bench.fetch(fetch);
        assert_eq!(bench.asked(), [(alice(), 0..1)]);
        bench.wait(REQUEST_TIMEOUT);
        let start = bench.now;
        loop {
            let (fetch, _probe) = pages_of(100, &chunk, 0..1, &[alice(), bob()], Reader);
            bench.fetch(fetch);
            let sent = bench.sent[0].clone();
            bench.answer(sent.to, sent.id, 0, Answer::NotHeld);
            let second = bench.sent[0].clone();
            bench.answer(second.to, second.id, 0, Answer::NotHeld);
            if sent.to == alice() {
                break;
            }
            bench.wait(SECOND);
        }
        pauses.push((bench.now - start).as_secs());
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 320, 320, 320]);
}

#[test]
fn a_peer_that_answers_is_no_longer_avoided() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, _first) = pages_of(1, &chunk, 0..1, &[alice()], Reader);
    bench.fetch(fetch);
    bench.wait(REQUEST_TIMEOUT);
    let (fetch, _second) = pages_of(2, &chunk, 0..1, &[alice()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    let (fetch, _third) = pages_of(3, &chunk, 0..1, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    assert_eq!(bench.asked(), [(alice(), 0..1)]);
}

#[test]
fn a_holder_that_answered_a_part_is_asked_again_after_a_timeout() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    bench.wait(REQUEST_TIMEOUT);
    assert_eq!(bench.asked(), [(alice(), 1..4)], "the link lost a message");
    bench.wait(REQUEST_TIMEOUT);
    bench.wait(REQUEST_TIMEOUT);
    assert_eq!(
        events(&answers).last(),
        Some(&failed(7, &[(alice(), FetchFailure::Timeout)])),
        "but not for ever"
    );
}

#[test]
fn a_busy_holder_is_left_alone_for_a_moment_and_asked_for_less() {
    let chunk = TestChunk::new(PAGE_BYTES as u32 * 6, 1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..6, &[alice()], Reader);
    bench.fetch(fetch);
    let request_id = bench.sent[0].id;
    bench.receive(alice(), StorageMessage::Busy { request_id });
    assert_eq!(bench.asked(), []);
    bench.wait(Duration::from_millis(250));
    assert_eq!(bench.asked(), [(alice(), 0..2)], "three quarters of half as much");
}

#[test]
fn a_busy_holder_does_not_keep_the_next_one_from_being_asked() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    let request_id = bench.sent[0].id;
    bench.receive(alice(), StorageMessage::Busy { request_id });
    assert_eq!(bench.asked(), [(bob(), 0..4)]);
}

#[test]
fn a_holder_that_is_always_busy_has_failed() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    for _ in 0..1000 {
        if let Some(request_id) = bench.sent.first().map(|sent| sent.id) {
            bench.receive(alice(), StorageMessage::Busy { request_id });
        }
        bench.wait(Duration::from_millis(50));
    }
    assert_eq!(events(&answers), [failed(7, &[(alice(), FetchFailure::Timeout)])]);
}

#[test]
fn a_request_that_cannot_be_sent_is_tried_again() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    let actions = bench.retrieval.on_not_sent(bench.sent[0].id, bench.now);
    bench.carry_out(actions);
    bench.wait(Duration::from_millis(250));
    assert_eq!(bench.asked(), [(alice(), 0..4)]);
}

#[test]
fn a_peer_is_sent_no_more_requests_in_a_second_than_it_would_take() {
    let chunk = TestChunk::full(1);
    let limits = RetrievalLimits {
        requests_per_second: 3,
        ..limits()
    };
    let mut bench = Bench::new(limits, &[alice()]);
    let mut answers = Vec::new();
    let mut requests = 0;
    for id in 0..5 {
        let (fetch, answer) = pages_of(id, &chunk, 0..1, &[alice()], Reader);
        answers.push(answer);
        bench.fetch(fetch);
        requests += bench.sent.len();
    }
    assert_eq!(requests, 3);
    bench.wait(SECOND);
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn a_question_too_many_fails_at_once_and_leaves_the_other_priority_alone() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[]);
    let mut answers = Vec::new();
    for id in 0..MAX_OPEN_FETCHES as u64 {
        let (fetch, answer) = pages_of(id, &chunk, 0..1, &[alice()], Repair);
        answers.push(answer);
        bench.fetch(fetch);
    }
    let (fetch, too_many) = pages_of(1000, &chunk, 0..1, &[alice()], Repair);
    bench.fetch(fetch);
    assert_eq!(events(&too_many), [failed(1000, &[])]);
    let (fetch, reader) = pages_of(1001, &chunk, 0..1, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(events(&reader), []);
}

#[test]
fn what_cannot_be_asked_fails_without_attempts() {
    let chunk = TestChunk::full(1);
    let large = TestChunk::new((1 << 20) + 1, 1);
    let pages = |chunk: &TestChunk, pages| FetchTarget::Pages {
        period: PERIOD,
        chunk: ChunkIndex(0),
        entry: chunk.entry,
        pages,
    };
    let cases = [
        ("a chunk larger than max_chunk_size", pages(&large, 0..1)),
        ("a page that the chunk does not have", pages(&chunk, 3..5)),
        ("no periods", held_target(0)),
        ("too many periods", held_target(129)),
    ];
    for (what, target) in cases {
        let mut bench = Bench::new(limits(), &[alice()]);
        let (fetch, answers) = question(7, target, &[alice()], Reader);
        bench.fetch(fetch);
        assert_eq!(events(&answers), [failed(7, &[])], "{what}");
        assert_eq!(bench.asked(), [], "{what}");
    }
}

#[test]
fn a_question_without_holders_fails_and_one_for_no_pages_is_complete() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[], Reader);
    bench.fetch(fetch);
    assert_eq!(events(&answers), [failed(7, &[])]);
    let (fetch, answers) = pages_of(8, &chunk, 2..2, &[alice()], Reader);
    bench.fetch(fetch);
    assert_eq!(events(&answers), [FetchEvent::Complete { id: 8 }]);
}

#[test]
fn a_holder_named_twice_is_asked_once() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice(), alice()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    bench.answer(alice(), id, 0, Answer::NotHeld);
    assert_eq!(events(&answers), [failed(7, &[(alice(), FetchFailure::NotHeld)])]);
}

#[test]
fn an_abandoned_question_ends_but_its_bytes_stay_in_flight_until_they_are_answered() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice()]);
    let (fetch, answers) = pages_of(7, &chunk, 0..4, &[alice()], Reader);
    bench.fetch(fetch);
    let id = bench.sent[0].id;
    drop(answers);
    bench.answer(alice(), id, 0, Answer::Found(chunk.page(0)));
    let abandoned = bench.abandoned.pop().unwrap();
    let actions = bench.retrieval.on_abandoned(abandoned);
    bench.carry_out(actions);
    assert_eq!((bench.ended, bench.retrieval.open_questions()), (1, 0));
    assert_eq!(bench.retrieval.in_flight(&alice()), 3 * MAX_PAGE_FRAME_BYTES);
    for page in 1..4 {
        bench.answer(alice(), id, page, Answer::Found(chunk.page(page)));
    }
    assert_eq!(bench.retrieval.in_flight(&alice()), 0);
    assert_eq!(bench.strays, [], "it does what it was asked for");
}

#[test]
fn an_answer_that_cannot_be_read_puts_the_peer_in_quarantine() {
    let chunk = TestChunk::full(1);
    let mut bench = Bench::new(limits(), &[alice(), bob()]);
    let (fetch, _answers) = pages_of(7, &chunk, 0..4, &[alice(), bob()], Reader);
    bench.fetch(fetch);
    let actions = bench
        .retrieval
        .on_malformed(alice(), "malformed message".into(), bench.now);
    bench.carry_out(actions);
    assert_eq!(bench.quarantined, [alice()]);
    assert_eq!(bench.asked(), [(bob(), 0..4)]);
}
