//! The storage handler with its threads: serving, limits, announcements, and who is never sent anything.

mod storage_common;

use massa_distributed_storage_exports::network::{
    Answer, Capabilities, FetchEvent, FetchFailure, FetchPriority, FetchTarget, HeldRange, NetworkBusy, StorageNetwork,
};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot};
use massa_protocol_exports::ProtocolConfig;
use massa_protocol_worker::handlers::storage_handler::cache::MAX_OPEN_FETCHES;
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, MAX_PAGE_FRAME_BYTES};
use massa_time::MassaTime;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage_common::double::{is_capabilities, write, HandlerBench, Told};
use storage_common::{manifest, node, pages_of, peer, question, TestChunk, TestServer, CHUNK_SIZE, DEADLINE, PERIOD};

const ALICE: u8 = 1;
const BOB: u8 = 2;

fn config() -> ProtocolConfig {
    ProtocolConfig {
        storage_enabled: true,
        storage_request_timeout: MassaTime::from_millis(60_000),
        ..ProtocolConfig::default()
    }
}

fn chunks() -> Vec<TestChunk> {
    vec![TestChunk::full(1), TestChunk::new(PAGE_BYTES as u32 + 9, 2)]
}

fn server() -> Arc<TestServer> {
    Arc::new(TestServer::new([(PERIOD, chunks())]))
}

fn chunk_request(request_id: u64, chunk: u32, pages: std::ops::Range<u32>) -> StorageMessage {
    StorageMessage::ChunkRequest {
        request_id,
        period: PERIOD,
        chunk: ChunkIndex(chunk),
        chunk_id: chunks()[chunk as usize].entry.id,
        first_page: pages.start,
        pages: pages.len() as u32,
    }
}

fn manifest_request(request_id: u64, period: u64) -> StorageMessage {
    StorageMessage::ManifestRequest { request_id, period }
}

fn chunk_response(request_id: u64, page: u32, chunk: &TestChunk) -> StorageMessage {
    StorageMessage::ChunkResponse {
        request_id,
        page,
        answer: Answer::Found(chunk.page(page)),
    }
}

#[test]
fn pages_are_served_one_in_a_message_with_low_priority() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.receive(ALICE, &chunk_request(7, 0, 1..4));
    for page in 1..4 {
        assert_eq!(bench.next_sent(), (node(ALICE), chunk_response(7, page, &chunks()[0])));
    }
    assert_eq!(bench.shared.counters.pages_sent.load(Relaxed), 3);
}

#[test]
fn a_page_that_is_not_held_ends_its_request() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.receive(ALICE, &chunk_request(7, 1, 1..4));
    bench.receive(ALICE, &chunk_request(8, 0, 0..1));
    assert_eq!(bench.next_sent().1, chunk_response(7, 1, &chunks()[1]));
    let not_held = StorageMessage::ChunkResponse {
        request_id: 7,
        page: 2,
        answer: Answer::NotHeld,
    };
    assert_eq!(bench.next_sent().1, not_held);
    assert_eq!(bench.next_sent().1, chunk_response(8, 0, &chunks()[0]));
}

#[test]
fn manifests_and_held_chunks_are_served() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.receive(ALICE, &manifest_request(7, PERIOD));
    bench.receive(ALICE, &manifest_request(8, PERIOD + 1));
    let held_request = StorageMessage::HeldRequest {
        request_id: 9,
        first_period: PERIOD - 1,
        periods: 3,
    };
    bench.receive(ALICE, &held_request);
    let answer = |request_id, period, answer| StorageMessage::ManifestResponse {
        request_id,
        period,
        answer,
    };
    let found = Answer::Found(manifest(PERIOD, &chunks()).to_bytes());
    assert_eq!(bench.next_sent().1, answer(7, PERIOD, found));
    assert_eq!(bench.next_sent().1, answer(8, PERIOD + 1, Answer::NotYet));
    let held = StorageMessage::HeldResponse {
        request_id: 9,
        first_period: PERIOD - 1,
        held: vec![vec![], vec![0b11], vec![]],
    };
    assert_eq!(bench.next_sent().1, held);
}

#[test]
fn peers_take_turns() {
    let config = ProtocolConfig {
        max_storage_bytes_in_flight_per_peer: 64 * MAX_PAGE_FRAME_BYTES,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    bench.connect(BOB);
    // Nothing leaves until both have asked.
    bench.connections.set_unsent(node(ALICE), 64);
    bench.connections.set_unsent(node(BOB), 64);
    (0..10).for_each(|id| bench.receive(ALICE, &chunk_request(id, 0, 0..4)));
    bench.receive(BOB, &chunk_request(100, 0, 0..4));
    bench.wait_until(|| bench.has_taken_all());
    bench.connections.set_unsent(node(ALICE), 0);
    bench.connections.set_unsent(node(BOB), 0);
    let first: Vec<_> = (0..10).map(|_| bench.next_sent().0).collect();
    let of_bob = first.iter().filter(|to| **to == node(BOB)).count();
    assert_eq!(of_bob, 4, "one answer for each of the other peer's: {first:?}");
}

#[test]
fn a_peer_that_asks_for_everything_at_once_is_refused_what_is_too_much() {
    let config = ProtocolConfig {
        max_storage_bytes_in_flight_per_peer: 8 * MAX_PAGE_FRAME_BYTES,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    bench.connections.set_unsent(node(ALICE), 8);
    (0..5).for_each(|id| bench.receive(ALICE, &chunk_request(id, 0, 0..4)));
    for id in 2..5 {
        assert_eq!(bench.next_sent().1, StorageMessage::Busy { request_id: id });
    }
    assert_eq!(bench.shared.counters.refused.load(Relaxed), 3);
    bench.connections.set_unsent(node(ALICE), 0);
    let pages: Vec<_> = (0..8).map(|_| bench.next_sent().1).collect();
    assert_eq!(pages[7], chunk_response(1, 3, &chunks()[0]));
}

#[test]
fn nothing_is_read_from_disk_for_a_peer_whose_connection_takes_nothing() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.connect(BOB);
    bench.connections.set_unsent(node(ALICE), 1000);
    bench.receive(ALICE, &chunk_request(1, 0, 0..4));
    bench.receive(BOB, &chunk_request(2, 0, 0..4));
    for page in 0..4 {
        assert_eq!(bench.next_sent(), (node(BOB), chunk_response(2, page, &chunks()[0])));
    }
    bench.connections.set_unsent(node(ALICE), 0);
    assert_eq!(bench.next_sent(), (node(ALICE), chunk_response(1, 0, &chunks()[0])));
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
    (0..500).for_each(|id| bench.receive(ALICE, &manifest_request(id, PERIOD)));
    let answered = |sent: &[StorageMessage]| {
        let is_answer = |message: &&StorageMessage| matches!(message, StorageMessage::ManifestResponse { .. });
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
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    bench.connect(BOB);
    (0..500).for_each(|id| bench.receive(ALICE, &manifest_request(id, PERIOD)));
    bench.receive(BOB, &chunk_request(1000, 0, 0..1));
    let (to, message, _) = bench.next_sent_where(|message| matches!(message, StorageMessage::ChunkResponse { .. }));
    assert_eq!((to, message), (node(BOB), chunk_response(1000, 0, &chunks()[0])));
}

#[test]
fn nothing_of_a_chunk_larger_than_max_chunk_size_is_served_or_asked_for() {
    let config = ProtocolConfig {
        max_chunk_size: 2 * PAGE_BYTES,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    bench.receive(ALICE, &chunk_request(7, 0, 1..3));
    let not_held = StorageMessage::ChunkResponse {
        request_id: 7,
        page: 1,
        answer: Answer::NotHeld,
    };
    assert_eq!(bench.next_sent().1, not_held);

    let chunk = &chunks()[0];
    assert!(chunk.entry.length as usize > 2 * PAGE_BYTES);
    let (fetch, answers) = pages_of(1, chunk, 0..1, &[node(ALICE)], FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    let attempts = Vec::new();
    assert_eq!(
        answers.recv_timeout(DEADLINE),
        Ok(FetchEvent::Failed { id: 1, attempts })
    );
}

fn chunk_ids(range: std::ops::Range<u8>) -> Vec<ChunkId> {
    range.map(|byte| ChunkId::from_bytes([byte; 32])).collect()
}

fn announcement(chunk_ids: Vec<ChunkId>) -> StorageMessage {
    StorageMessage::ChunkAnnouncement {
        period: PERIOD,
        root: root(),
        chunk_ids,
    }
}

fn root() -> PeriodRoot {
    PeriodRoot::from_bytes([9; 32])
}

#[test]
fn of_one_peer_no_more_than_max_stored_chunks_per_node_are_remembered() {
    let config = ProtocolConfig {
        max_stored_chunks_per_node: 10,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    bench.receive(ALICE, &announcement(chunk_ids(0..200)));
    let told = |ids| Told::Announced(node(ALICE), PERIOD, root(), ids);
    assert_eq!(
        bench.wait_for_told(|told| matches!(told, Told::Announced(..))),
        told(chunk_ids(0..10))
    );
    assert_eq!(bench.shared.cache.read().announced_total(), 10);

    bench.receive(ALICE, &announcement(chunk_ids(100..103)));
    assert_eq!(
        bench.wait_for_told(|told| matches!(told, Told::Announced(..))),
        told(chunk_ids(100..103))
    );
    let cache = bench.shared.cache.read();
    assert_eq!(cache.announced_total(), 10);
    assert!(cache.has_announced(&node(ALICE), &chunk_ids(100..101)[0]));
    assert!(
        !cache.has_announced(&node(ALICE), &chunk_ids(0..1)[0]),
        "the oldest is forgotten"
    );
}

#[test]
fn the_worker_is_told_of_what_peers_say_and_only_once() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    let capabilities = Capabilities {
        allocated_storage_gb: 3,
        last_period: Some(4),
        ..Capabilities::default()
    };
    let said = StorageMessage::StorageCapabilities {
        capabilities: capabilities.clone(),
    };
    bench.receive(ALICE, &said);
    bench.receive(ALICE, &said);
    bench.receive(ALICE, &announcement(chunk_ids(0..2)));
    bench.receive(ALICE, &announcement(chunk_ids(0..3)));
    bench.connections.disconnect(peer(ALICE));
    bench.wait_until(|| bench.told.len() >= 4);
    let expected = [
        Told::Changed(node(ALICE), Some(capabilities)),
        Told::Announced(node(ALICE), PERIOD, root(), chunk_ids(0..2)),
        Told::Announced(node(ALICE), PERIOD, root(), chunk_ids(2..3)),
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
            first_period: 1,
            last_period: 9,
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
    bench.network.announce(PERIOD, root(), chunk_ids(0..5)).unwrap();
    let mut told = [bench.next_sent(), bench.next_sent()];
    told.sort_by_key(|(to, _)| *to != node(ALICE));
    let announced = announcement(chunk_ids(0..5));
    assert_eq!(told, [(node(ALICE), announced.clone()), (node(BOB), announced)]);
}

#[test]
fn a_peer_that_does_not_speak_storage_stays_connected_and_is_never_sent_a_storage_message() {
    // The test double panics when such a message is sent, and when a connection is ended.
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.connections.connect(peer(BOB), false);
    for id in 0..100 {
        bench.receive(BOB, &manifest_request(id, PERIOD));
        bench.receive_bytes(BOB, vec![99; 10]);
    }
    let counted = || bench.shared.counters.not_spoken.load(Relaxed);
    bench.wait_until(|| counted() == 200);
    bench.network.announce(PERIOD, root(), chunk_ids(0..1)).unwrap();
    assert_eq!(bench.next_sent(), (node(ALICE), announcement(chunk_ids(0..1))));

    let chunk = &chunks()[0];
    let (fetch, answers) = pages_of(1, chunk, 0..1, &[node(BOB)], FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    let attempts = vec![(node(BOB), FetchFailure::NotConnected)];
    assert_eq!(
        answers.recv_timeout(DEADLINE),
        Ok(FetchEvent::Failed { id: 1, attempts })
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
        bench.receive(ALICE, &manifest_request(round, PERIOD));
        bench.receive(BOB, &manifest_request(round, PERIOD));
        assert_eq!(
            bench.next_sent().0,
            node(BOB),
            "the handler lives, and sent nothing to the other"
        );
        bench.wait_for_told(|told| *told == Told::Gone(node(ALICE)));
    }
}

#[test]
fn pages_are_fetched_and_handed_over_checked() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    let chunk = &chunks()[0];
    let (fetch, answers) = pages_of(5, chunk, 0..4, &[node(ALICE)], FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    let (to, request) = bench.next_sent();
    assert_eq!(to, node(ALICE));
    let StorageMessage::ChunkRequest { request_id, pages, .. } = request else {
        panic!("{request:?}");
    };
    assert_eq!(pages, 4);
    for page in 0..4 {
        bench.receive(ALICE, &chunk_response(request_id, page, chunk));
        let event = answers.recv_timeout(DEADLINE).unwrap();
        let from = node(ALICE);
        let page = chunk.verified(page);
        assert_eq!(event, FetchEvent::Page { id: 5, from, page });
    }
    assert_eq!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Complete { id: 5 }));
}

#[test]
fn answers_that_were_asked_for_do_not_count_as_messages() {
    let config = ProtocolConfig {
        max_storage_messages_per_second: 2,
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    bench.connect(ALICE);
    let chunk = &chunks()[0];
    let (fetch, answers) = pages_of(5, chunk, 0..4, &[node(ALICE)], FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    let StorageMessage::ChunkRequest { request_id, .. } = bench.next_sent().1 else {
        panic!("no request");
    };
    (0..4).for_each(|page| bench.receive(ALICE, &chunk_response(request_id, page, chunk)));
    (0..5).for_each(|_| drop(answers.recv_timeout(DEADLINE).unwrap()));
    assert_eq!(bench.shared.counters.dropped.load(Relaxed), 0);
}

#[test]
fn a_truncated_answer_puts_the_peer_in_quarantine_and_its_connection_stays() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.connect(BOB);
    let chunk = &chunks()[0];
    let holders = [node(ALICE), node(BOB)];
    let (fetch, _answers) = pages_of(5, chunk, 0..4, &holders, FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    let StorageMessage::ChunkRequest { request_id, .. } = bench.next_sent().1 else {
        panic!("no request");
    };
    let mut bytes = write(&chunk_response(request_id, 0, chunk));
    bytes.truncate(1000);
    bench.receive_bytes(ALICE, bytes);
    assert_eq!(bench.next_sent().0, node(BOB));
    assert!(bench.connections.is_connected(&peer(ALICE)));
    let quarantined: Vec<_> = bench.network.peers();
    let quarantined: Vec<_> = quarantined.iter().filter(|peer| peer.quarantined).collect();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].node, node(ALICE));
}

#[test]
fn what_the_worker_proves_wrong_puts_the_peer_in_quarantine() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench
        .network
        .quarantine(node(ALICE), "a block that is not of the chain");
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
    bench.receive(ALICE, &manifest_request(1, PERIOD));
    bench.receive(BOB, &manifest_request(2, PERIOD));
    assert_eq!(bench.next_sent().0, node(BOB));
    let counters = &bench.shared.counters;
    assert!(counters.stray.load(Relaxed) <= 70);
    assert!(counters.dropped.load(Relaxed) >= 130);
}

#[test]
fn messages_that_cannot_be_read_count_as_flood() {
    let bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.receive_bytes(ALICE, Vec::new());
    bench.receive_bytes(ALICE, vec![77]);
    let mut long = write(&manifest_request(1, PERIOD));
    long.push(0);
    bench.receive_bytes(ALICE, long);
    bench.receive(ALICE, &manifest_request(2, PERIOD));
    let (_, answer) = bench.next_sent();
    assert!(matches!(answer, StorageMessage::ManifestResponse { request_id: 2, .. }));
    assert_eq!(bench.shared.counters.stray.load(Relaxed), 3);
}

#[test]
fn a_holder_that_is_not_connected_is_dialed() {
    let bench = HandlerBench::new(server(), config());
    let chunk = &chunks()[0];
    let (fetch, _answers) = pages_of(5, chunk, 0..4, &[node(ALICE)], FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    bench.wait_until(|| bench.connections.dialed() == [node(ALICE)]);
    bench.connect(ALICE);
    assert_eq!(bench.next_sent().0, node(ALICE));
}

#[test]
fn when_too_many_questions_are_open_the_worker_hears_it_at_once() {
    let config = ProtocolConfig {
        timeout_connection: MassaTime::from_millis(60_000),
        ..config()
    };
    let bench = HandlerBench::new(server(), config);
    let chunk = &chunks()[0];
    let mut answers = Vec::new();
    let mut fetch = |id| {
        let (fetch, answer) = pages_of(id, chunk, 0..4, &[node(ALICE)], FetchPriority::Repair);
        answers.push(answer);
        bench.network.fetch(fetch)
    };
    for id in 0..MAX_OPEN_FETCHES as u64 {
        fetch(id).unwrap();
    }
    assert_eq!(fetch(1000), Err(NetworkBusy));
    let (reader, _answers) = pages_of(5, chunk, 0..4, &[node(ALICE)], FetchPriority::Reader);
    bench.network.fetch(reader).unwrap();
}

#[test]
fn questions_that_end_make_room_for_others() {
    let bench = HandlerBench::new(server(), config());
    let chunk = &chunks()[0];
    for id in 0..3 * MAX_OPEN_FETCHES as u64 {
        let (fetch, answers) = pages_of(id, chunk, 0..4, &[], FetchPriority::Repair);
        bench.network.fetch(fetch).unwrap();
        let attempts = Vec::new();
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Failed { id, attempts }));
    }
}

#[test]
fn the_handler_stops_at_once_with_questions_open_and_requests_waiting() {
    let mut bench = HandlerBench::new(server(), config());
    bench.connect(ALICE);
    bench.connections.set_unsent(node(ALICE), 1000);
    bench.receive(ALICE, &chunk_request(1, 0, 0..4));
    let target = FetchTarget::Manifest { period: PERIOD };
    let (fetch, answers) = question(5, target, &[node(ALICE)], FetchPriority::Reader);
    bench.network.fetch(fetch).unwrap();
    assert_eq!(bench.next_sent().0, node(ALICE));
    let start = Instant::now();
    bench.handler.stop();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(answers.recv_timeout(DEADLINE).is_err(), "nobody answers any longer");
    let target = FetchTarget::Manifest { period: PERIOD };
    let (fetch, _answers) = question(6, target, &[node(ALICE)], FetchPriority::Reader);
    assert_eq!(bench.network.fetch(fetch), Err(NetworkBusy));
}

#[test]
fn two_handlers_exchange_a_chunk() {
    let serving = HandlerBench::new(server(), config());
    let asking = HandlerBench::new(Arc::new(TestServer::default()), config());
    serving.connect(ALICE);
    asking.connect(BOB);
    let chunk = &chunks()[0];
    let (fetch, answers) = pages_of(5, chunk, 0..4, &[node(BOB)], FetchPriority::Reader);
    asking.network.fetch(fetch).unwrap();
    serving.receive(ALICE, &asking.next_sent().1);
    for page in 0..4 {
        asking.receive(BOB, &serving.next_sent().1);
        let event = answers.recv_timeout(DEADLINE).unwrap();
        let from = node(BOB);
        let page = chunk.verified(page);
        assert_eq!(event, FetchEvent::Page { id: 5, from, page });
    }
    assert_eq!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Complete { id: 5 }));
    assert_eq!(CHUNK_SIZE, chunk.entry.length);
}
