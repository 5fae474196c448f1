//! The storage handler with its threads: serving, limits, announcements, and who is never sent anything.

mod storage_common;

use crossbeam_channel::Receiver;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, Capabilities, FetchEvent, FetchFailure, FetchPriority, FetchTarget, HeldRange, NetworkBusy,
    StorageNetwork,
};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, ChunkPosition, SegmentRoot};
use massa_protocol_exports::ProtocolConfig;
use massa_protocol_worker::handlers::storage_handler::cache::MAX_OPEN_FETCHES;
use massa_protocol_worker::handlers::storage_handler::messages::{Lane, StorageMessage, MAX_PAGE_FRAME_BYTES};
use massa_time::MassaTime;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage_common::double::{is_capabilities, write, HandlerBench, Told};
use storage_common::{fetch, node, peer, TestChunk, TestServer, DEADLINE};

const ALICE: u32 = 1;
const BOB: u32 = 2;
const SEGMENT: u64 = 5;
/// More than any test asks for at a time; what a peer is asked for at first is less.
const PAGES: u32 = 16;

fn config() -> ProtocolConfig {
    ProtocolConfig {
        storage_enabled: true,
        storage_request_timeout: MassaTime::from_millis(60_000),
        ..ProtocolConfig::default()
    }
}

fn server() -> Arc<TestServer> {
    let mut server = TestServer::new(10, 85_000, TestChunk::new(PAGES * PAGE_BYTES as u32, 1));
    server.held = vec![vec![0b11]; 10];
    Arc::new(server)
}

fn position() -> ChunkPosition {
    ChunkPosition::new(SEGMENT, 0).unwrap()
}

fn chunk_request(server: &TestServer, request_id: u64, pages: Range<u32>) -> StorageMessage {
    StorageMessage::ChunkRequest {
        request_id,
        position: position(),
        chunk_id: server.chunk.table.id,
        first_page: pages.start,
        pages: pages.len() as u32,
        with_first_page: false,
        lane: Lane::Bulk,
    }
}

fn chunk_response(server: &TestServer, request_id: u64, page: u32) -> StorageMessage {
    StorageMessage::ChunkResponse {
        request_id,
        page,
        answer: Answer::Found(server.chunk.page(page)),
    }
}

/// A request that costs little.
fn held_request(request_id: u64) -> StorageMessage {
    StorageMessage::HeldRequest {
        request_id,
        first_segment: SEGMENT,
        count: 1,
    }
}

fn held_response(request_id: u64) -> StorageMessage {
    StorageMessage::HeldResponse {
        request_id,
        first_segment: SEGMENT,
        held: vec![vec![0b11]],
    }
}

fn pages_of(server: &TestServer, pages: Range<u32>) -> FetchTarget {
    FetchTarget::Pages {
        position: position(),
        chunk: server.chunk.table,
        pages,
    }
}

/// Asks for pages.
fn ask(bench: &HandlerBench, server: &TestServer, pages: Range<u32>, holders: &[u32]) -> Receiver<FetchEvent> {
    let holders: Vec<_> = holders.iter().map(|number| node(*number)).collect();
    let (fetch, answers) = fetch(5, pages_of(server, pages), &holders, FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    answers
}

/// Checks that these are the pages of a fetch, all from `from`, and that they are all of them.
fn check_pages(events: &[FetchEvent], server: &TestServer, from: u32) {
    let (last, pages) = events.split_last().unwrap();
    assert_eq!(*last, FetchEvent::Complete { id: 5 });
    let mut seen: Vec<u32> = Vec::new();
    for event in pages {
        let FetchEvent::Page { from: sender, page, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!(*sender, node(from));
        let plain = server.chunk.bytes.chunks(PAGE_BYTES).nth(page.page() as usize);
        assert_eq!(Some(page.plain()), plain);
        seen.push(page.page());
    }
    seen.sort_unstable();
    let all: Vec<u32> = (0..seen.len() as u32).collect();
    assert_eq!(seen, all, "each page once");
}

#[test]
fn pages_are_served_one_in_a_message_with_low_priority() {
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    bench.connect(ALICE);
    bench.receive(ALICE, &chunk_request(&server, 7, 1..4));
    for page in 1..4 {
        assert_eq!(bench.next_sent(), (node(ALICE), chunk_response(&server, 7, page)));
    }
    assert_eq!(bench.shared.counters.pages_sent.load(Relaxed), 3);
}

#[test]
fn peers_take_turns() {
    let config = ProtocolConfig {
        max_storage_bytes_in_flight_per_peer: 64 * MAX_PAGE_FRAME_BYTES,
        ..config()
    };
    let server = server();
    let bench = HandlerBench::new(server.clone(), config);
    bench.connect(ALICE);
    bench.connect(BOB);
    // Nothing leaves until both have asked.
    bench.connections.set_unsent(node(ALICE), 64);
    bench.connections.set_unsent(node(BOB), 64);
    (0..10).for_each(|id| bench.receive(ALICE, &chunk_request(&server, id, 0..4)));
    bench.receive(BOB, &chunk_request(&server, 100, 0..4));
    bench.wait_until(|| bench.has_taken_all());
    bench.connections.set_unsent(node(ALICE), 0);
    bench.connections.set_unsent(node(BOB), 0);
    let first: Vec<_> = (0..10).map(|_| bench.next_sent().0).collect();
    let of_bob = first.iter().filter(|to| **to == node(BOB)).count();
    assert_eq!(of_bob, 4, "one answer for each of the other peer's: {first:?}");
}

#[test]
fn a_peer_that_asks_for_everything_at_once_is_refused_what_is_too_much() {
    // Four windows of eight pages may wait: two requests for the whole chunk.
    let config = ProtocolConfig {
        max_storage_bytes_in_flight_per_peer: 8 * PAGE_BYTES,
        ..config()
    };
    let server = server();
    let bench = HandlerBench::new(server.clone(), config);
    bench.connect(ALICE);
    bench.connections.set_unsent(node(ALICE), 8);
    (0..5).for_each(|id| bench.receive(ALICE, &chunk_request(&server, id, 0..PAGES)));
    for id in 2..5 {
        assert_eq!(bench.next_sent().1, StorageMessage::Busy { request_id: id });
    }
    assert_eq!(bench.shared.counters.refused.load(Relaxed), 3);
    bench.connections.set_unsent(node(ALICE), 0);
    let pages: Vec<_> = (0..2 * PAGES).map(|_| bench.next_sent().1).collect();
    assert_eq!(*pages.last().unwrap(), chunk_response(&server, 1, PAGES - 1));
}

#[test]
fn nothing_is_read_from_disk_for_a_peer_whose_connection_takes_nothing() {
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    bench.connect(ALICE);
    bench.connect(BOB);
    bench.connections.set_unsent(node(ALICE), 1000);
    bench.receive(ALICE, &chunk_request(&server, 1, 0..4));
    bench.receive(BOB, &chunk_request(&server, 2, 0..4));
    for page in 0..4 {
        assert_eq!(bench.next_sent(), (node(BOB), chunk_response(&server, 2, page)));
    }
    bench.connections.set_unsent(node(ALICE), 0);
    assert_eq!(bench.next_sent(), (node(ALICE), chunk_response(&server, 1, 0)));
}

#[test]
fn messages_beyond_max_storage_messages_per_second_are_dropped_and_counted() {
    const LIMIT: usize = 20;
    let config = ProtocolConfig {
        max_storage_messages_per_second: LIMIT,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    let start = Instant::now();
    (0..500).for_each(|id| bench.receive(ALICE, &held_request(id)));
    let answered = |sent: &[StorageMessage]| {
        let is_answer = |message: &&StorageMessage| matches!(message, StorageMessage::HeldResponse { .. });
        sent.iter().filter(is_answer).count()
    };
    let dropped = &bench.shared.counters.dropped;
    let is_busy = |message: &StorageMessage| matches!(message, StorageMessage::Busy { .. });
    let is_done = |sent: &[StorageMessage]| answered(sent) + dropped.load(Relaxed) as usize == 500;
    let sent = bench.sent_until(|sent| is_done(sent) && sent.iter().any(is_busy));
    let seconds = start.elapsed().as_secs() as usize + 2;
    let answered = answered(&sent);
    assert!((LIMIT..=LIMIT * seconds).contains(&answered), "{answered} answered");
    let refused = sent.len() - answered;
    assert!(
        (1..=10 * seconds).contains(&refused),
        "a flood is not answered by a flood: {refused}"
    );
}

#[test]
fn one_peer_that_floods_does_not_use_up_what_others_may_send() {
    let config = ProtocolConfig {
        max_storage_messages_per_second: 20,
        ..config()
    };
    let server = server();
    let bench = HandlerBench::new(server.clone(), config);
    bench.connect(ALICE);
    bench.connect(BOB);
    (0..500).for_each(|id| bench.receive(ALICE, &held_request(id)));
    bench.receive(BOB, &chunk_request(&server, 1000, 0..1));
    let (to, message, _) = bench.next_sent_where(|message| matches!(message, StorageMessage::ChunkResponse { .. }));
    assert_eq!((to, message), (node(BOB), chunk_response(&server, 1000, 0)));
}

#[test]
fn nothing_of_a_chunk_larger_than_max_chunk_size_is_served_or_asked_for() {
    let config = ProtocolConfig {
        max_chunk_size: 2 * PAGE_BYTES,
        ..config()
    };
    let server = server();
    let bench = HandlerBench::new(server.clone(), config);
    bench.connect(ALICE);
    bench.receive(ALICE, &chunk_request(&server, 7, 1..3));
    let not_held = StorageMessage::ChunkResponse {
        request_id: 7,
        page: 1,
        answer: Answer::NotHeld,
    };
    assert_eq!(bench.next_sent().1, not_held);

    assert!(server.chunk.table.length as usize > 2 * PAGE_BYTES);
    let answers = ask(&bench, &server, 0..1, &[ALICE]);
    let attempts = Vec::new();
    assert_eq!(
        answers.recv_timeout(DEADLINE),
        Ok(FetchEvent::Failed { id: 5, attempts })
    );
}

fn announced(range: Range<u32>) -> Vec<AnnouncedChunk> {
    let chunk = |number: u32| AnnouncedChunk {
        index: ChunkIndex(number),
        id: ChunkId::from_bytes([number as u8; 32]),
    };
    range.map(chunk).collect()
}

fn announcement(chunks: Vec<AnnouncedChunk>) -> StorageMessage {
    let root = root();
    StorageMessage::ChunkAnnouncement {
        segment: SEGMENT,
        root,
        chunks,
    }
}

fn root() -> Option<SegmentRoot> {
    Some(SegmentRoot::from_bytes([9; 32]))
}

#[test]
fn of_one_peer_no_more_than_max_stored_chunks_per_node_are_remembered() {
    let config = ProtocolConfig {
        max_stored_chunks_per_node: 10,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    let told = |chunks: Range<u32>| {
        bench.receive(ALICE, &announcement(announced(chunks)));
        bench.wait_for_told(|told| matches!(told, Told::Announced(..)))
    };
    let expected = |chunks| Told::Announced(node(ALICE), SEGMENT, root(), announced(chunks));
    assert_eq!(told(0..200), expected(0..10));
    assert_eq!(bench.shared.cache.read().announced_total(), 10);
    assert_eq!(told(100..103), expected(100..103));
    assert_eq!(bench.shared.cache.read().announced_total(), 10);
    assert_eq!(told(0..1), expected(0..1), "the oldest is forgotten, so it is news");
}

#[test]
fn the_worker_is_told_of_what_peers_say_and_only_once() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    let capabilities = Capabilities {
        allocated_storage_gb: 3,
        newest_period: Some(4),
        ..Capabilities::default()
    };
    let said = StorageMessage::StorageCapabilities {
        capabilities: capabilities.clone(),
    };
    bench.receive(ALICE, &said);
    bench.receive(ALICE, &said);
    bench.receive(ALICE, &announcement(announced(0..2)));
    bench.receive(ALICE, &announcement(announced(0..3)));
    bench.connections.disconnect(peer(ALICE));
    bench.wait_until(|| bench.told.len() >= 4);
    let expected = [
        Told::Changed(node(ALICE), Some(capabilities)),
        Told::Announced(node(ALICE), SEGMENT, root(), announced(0..2)),
        Told::Announced(node(ALICE), SEGMENT, root(), announced(2..3)),
        Told::Gone(node(ALICE)),
    ];
    assert_eq!(bench.told.try_iter().collect::<Vec<_>>(), expected);
    assert_eq!(bench.network.peers(), []);
}

#[test]
fn a_new_peer_is_told_what_this_node_offers_and_all_peers_when_that_changes() {
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    bench.connect(ALICE);
    let said = |capabilities: &Capabilities| StorageMessage::StorageCapabilities {
        capabilities: capabilities.clone(),
    };
    let first = server.capabilities.lock().clone();
    let (to, message, high_priority) = bench.next_sent_where(is_capabilities);
    assert_eq!((to, message, high_priority), (node(ALICE), said(&first), false));

    let changed = Capabilities {
        ranges: vec![HeldRange {
            first_segment: 1,
            last_segment: 9,
        }],
        ..first
    };
    *server.capabilities.lock() = changed.clone();
    let (to, message, _) = bench.next_sent_where(is_capabilities);
    assert_eq!((to, message), (node(ALICE), said(&changed)));

    bench.connect(BOB);
    let (to, message, _) = bench.next_sent_where(is_capabilities);
    assert_eq!((to, message), (node(BOB), said(&changed)));
}

#[test]
fn chunks_are_announced_to_all_peers_that_speak_storage() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.connect(BOB);
    bench.network.announce(SEGMENT, root(), announced(0..5)).unwrap();
    let mut told = [bench.next_sent(), bench.next_sent()];
    told.sort_by_key(|(to, _)| *to != node(ALICE));
    let message = announcement(announced(0..5));
    assert_eq!(told, [(node(ALICE), message.clone()), (node(BOB), message)]);
}

#[test]
fn a_peer_that_does_not_speak_storage_stays_connected_and_is_never_sent_a_storage_message() {
    // The test double panics when such a message is sent, and when a connection is ended.
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    bench.connect(ALICE);
    bench.connections.connect(peer(BOB), false);
    for id in 0..100 {
        bench.receive(BOB, &held_request(id));
        bench.receive_bytes(BOB, vec![99; 10]);
    }
    let counted = || bench.shared.counters.not_spoken.load(Relaxed);
    bench.wait_until(|| counted() == 200);
    bench.network.announce(SEGMENT, root(), announced(0..1)).unwrap();
    assert_eq!(bench.next_sent(), (node(ALICE), announcement(announced(0..1))));

    let answers = ask(&bench, &server, 0..1, &[BOB]);
    let attempts = vec![(node(BOB), FetchFailure::NotConnected)];
    assert_eq!(
        answers.recv_timeout(DEADLINE),
        Ok(FetchEvent::Failed { id: 5, attempts })
    );
    assert!(bench.connections.is_connected(&peer(BOB)));
    assert_eq!(bench.network.peers().len(), 1);
    assert!(bench.sent.try_iter().all(|(to, _, _)| to == node(ALICE)));
}

#[test]
fn a_peer_that_came_back_without_the_capability_is_sent_nothing_from_that_moment_on() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(BOB);
    for round in 0..10 {
        bench.connect(ALICE);
        bench.connections.connect(peer(ALICE), false);
        // The handler looks at the connections every 50 ms: it may still think that the peer speaks storage.
        bench.receive(ALICE, &held_request(round));
        bench.receive(BOB, &held_request(round));
        assert_eq!(
            bench.next_sent().0,
            node(BOB),
            "the handler lives, and sent nothing to the other"
        );
        bench.wait_for_told(|told| *told == Told::Gone(node(ALICE)));
    }
}

#[test]
fn pages_are_fetched_and_handed_over_checked_and_answers_do_not_count_as_messages() {
    let config = ProtocolConfig {
        max_storage_messages_per_second: 2,
        ..config()
    };
    let server = server();
    let bench = HandlerBench::new(server.clone(), config);
    bench.connect(ALICE);
    let answers = ask(&bench, &server, 0..4, &[ALICE]);
    let events = bench.answer_all(ALICE, &server, &answers);
    assert_eq!(events.len(), 5);
    check_pages(&events, &server, ALICE);
    assert_eq!(bench.shared.counters.dropped.load(Relaxed), 0);
    assert_eq!(bench.shared.counters.pages_received.load(Relaxed), 4);
}

#[test]
fn a_truncated_answer_puts_the_peer_in_quarantine_and_its_connection_stays() {
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    bench.connect(ALICE);
    bench.connect(BOB);
    let answers = ask(&bench, &server, 0..1, &[ALICE, BOB]);
    let (liar, request) = bench.next_sent();
    let StorageMessage::ChunkRequest { request_id, .. } = request else {
        panic!("{request:?}");
    };
    let (liar, other) = if liar == node(ALICE) {
        (ALICE, BOB)
    } else {
        (BOB, ALICE)
    };
    let mut bytes = write(&chunk_response(&server, request_id, 0));
    bytes.truncate(1000);
    bench.receive_bytes(liar, bytes);
    check_pages(&bench.answer_all(other, &server, &answers), &server, other);
    assert!(bench.connections.is_connected(&peer(liar)));
    let peers = bench.network.peers();
    let quarantined: Vec<_> = peers.iter().filter(|peer| peer.quarantined).collect();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].node, node(liar));
}

#[test]
fn what_the_worker_proves_wrong_puts_the_peer_in_quarantine() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    let reason = "a block that is not of the chain";
    bench.network.quarantine(node(ALICE), reason);
    bench.wait_until(|| bench.network.peers()[0].quarantined);
    assert_eq!(bench.shared.counters.quarantined.load(Relaxed), 1);
}

#[test]
fn a_peer_that_floods_with_what_nobody_asked_for_is_not_listened_to_for_a_while() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.connect(BOB);
    for id in 0..200 {
        bench.receive(ALICE, &StorageMessage::Busy { request_id: id });
    }
    bench.receive(ALICE, &held_request(1));
    bench.receive(BOB, &held_request(2));
    assert_eq!(bench.next_sent(), (node(BOB), held_response(2)));
    let counters = &bench.shared.counters;
    assert!(counters.stray.load(Relaxed) <= 70);
    assert!(counters.dropped.load(Relaxed) >= 130);
}

/// So a message type can be added: who does not know it yet takes it for one of the few stray messages that it forgives.
#[test]
fn messages_that_cannot_be_read_or_are_of_an_unknown_type_count_as_flood_and_the_next_is_answered() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.receive_bytes(ALICE, Vec::new());
    bench.receive_bytes(ALICE, vec![77]);
    let mut long = write(&held_request(1));
    long.push(0);
    bench.receive_bytes(ALICE, long);
    bench.receive(ALICE, &held_request(2));
    assert_eq!(bench.next_sent(), (node(ALICE), held_response(2)));
    assert_eq!(bench.shared.counters.stray.load(Relaxed), 3);
}

#[test]
fn a_holder_that_is_not_connected_is_dialed() {
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    let answers = ask(&bench, &server, 0..4, &[ALICE]);
    bench.wait_until(|| bench.connections.dialed() == [node(ALICE)]);
    bench.connect(ALICE);
    check_pages(&bench.answer_all(ALICE, &server, &answers), &server, ALICE);
}

#[test]
fn when_too_many_fetches_are_open_the_worker_hears_it_at_once() {
    let config = ProtocolConfig {
        timeout_connection: MassaTime::from_millis(60_000),
        ..config()
    };
    let server = server();
    let bench = HandlerBench::new(server.clone(), config);
    let mut answers = Vec::new();
    let mut ask = |id, priority| {
        let (fetch, answer) = fetch(id, pages_of(&server, 0..4), &[node(ALICE)], priority);
        answers.push(answer);
        bench.network.fetch(fetch)
    };
    for id in 0..MAX_OPEN_FETCHES as u64 {
        ask(id, FetchPriority::Repair).unwrap();
    }
    assert_eq!(ask(1000, FetchPriority::Repair), Err(NetworkBusy));
    ask(1001, FetchPriority::Reader).unwrap();
}

#[test]
fn fetches_that_end_make_room_for_others() {
    let server = server();
    let bench = HandlerBench::new(server.clone(), config());
    for id in 0..3 * MAX_OPEN_FETCHES as u64 {
        let (fetch, answers) = fetch(id, pages_of(&server, 0..4), &[], FetchPriority::Repair);
        bench.network.fetch(fetch).unwrap();
        let attempts = Vec::new();
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Failed { id, attempts }));
    }
}

#[test]
fn the_handler_stops_at_once_with_fetches_open_and_requests_waiting() {
    let server = server();
    let mut bench = HandlerBench::new(server.clone(), config());
    bench.connect(ALICE);
    bench.connections.set_unsent(node(ALICE), 1000);
    bench.receive(ALICE, &chunk_request(&server, 1, 0..4));
    let answers = ask(&bench, &server, 0..4, &[ALICE]);
    assert_eq!(bench.next_sent().0, node(ALICE));
    let start = Instant::now();
    bench.handler.stop();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(answers.recv_timeout(DEADLINE).is_err(), "nobody answers any longer");
    let (fetch, _answers) = fetch(6, pages_of(&server, 0..4), &[node(ALICE)], FetchPriority::Reader);
    assert_eq!(bench.network.fetch(fetch), Err(NetworkBusy));
}

#[test]
fn two_handlers_exchange_a_chunk() {
    let server = server();
    let serving = HandlerBench::new(server.clone(), config());
    let asking = HandlerBench::new(Arc::new(TestServer::new(0, 1, TestChunk::new(1, 1))), config());
    serving.connect(ALICE);
    asking.connect(BOB);
    let answers = ask(&asking, &server, 0..PAGES, &[BOB]);
    let deadline = Instant::now() + DEADLINE;
    let mut events: Vec<FetchEvent> = Vec::new();
    while !matches!(
        events.last(),
        Some(FetchEvent::Complete { .. } | FetchEvent::Failed { .. })
    ) {
        assert!(Instant::now() < deadline, "{events:?}");
        let requests = asking
            .sent
            .try_iter()
            .filter(|(_, message, _)| !is_capabilities(message));
        requests.for_each(|(_, message, _)| serving.receive(ALICE, &message));
        let responses = serving
            .sent
            .try_iter()
            .filter(|(_, message, _)| !is_capabilities(message));
        responses.for_each(|(_, message, _)| asking.receive(BOB, &message));
        events.extend(answers.recv_timeout(Duration::from_millis(1)));
    }
    assert_eq!(events.len(), PAGES as usize + 1);
    check_pages(&events, &server, BOB);
}
