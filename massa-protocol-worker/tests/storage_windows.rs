//! How much is asked of whom at a time, how long answers are waited for, and what becomes of lost ones.

mod storage_common;

use massa_distributed_storage_exports::network::FetchPriority::{Reader, Repair};
use massa_distributed_storage_exports::network::{Answer, FetchFailure, FetchTarget};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_protocol_worker::handlers::storage_handler::fetching::window::{
    DRAINING_WINDOW_BYTES, DRAIN_INTERVAL, FIRST_WINDOW_BYTES, LEAST_WINDOW_BYTES,
};
use massa_protocol_worker::handlers::storage_handler::fetching::FETCH_TIMEOUTS;
use massa_protocol_worker::handlers::storage_handler::messages::StorageMessage;
use std::time::Duration;
use storage_common::bench::*;
use storage_common::node;

#[test]
fn a_page_that_is_skipped_is_lost_and_asked_for_at_once() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    bench.fetch(pages(&chunk, 0..4), &[alice()], Repair);
    let request = bench.one();
    bench.send_page(&request, &chunk, 0);
    bench.send_page(&request, &chunk, 2);
    let again = bench.one();
    assert_eq!(again.pages(), 1..2);
    assert!(bench.quarantined.is_empty());
}

#[test]
fn an_answer_tells_that_what_was_asked_before_it_is_lost() {
    let mut bench = Bench::new(&[alice()]);
    let lost = bench.fetch(ONE_TABLE, &[alice()], Repair);
    let first = bench.one();
    let second_target = FetchTarget::Tables {
        first_segment: 6,
        count: 1,
    };
    bench.fetch(second_target, &[alice()], Repair);
    let second = bench.one();
    bench.answer(alice(), tables_response(&second, 6, &[table_bytes(6)]));
    let again = bench.one();
    assert_eq!(again.message.request_id(), Some(again.id));
    assert!(matches!(
        again.message,
        StorageMessage::TablesRequest { first_segment: 5, .. }
    ));
    // If it comes after all, nobody is blamed.
    bench.answer(alice(), tables_response(&first, 5, &[table_bytes(5)]));
    assert!(bench.strays.is_empty());
    bench.answer(alice(), tables_response(&again, 5, &[table_bytes(5)]));
    assert_eq!(events(&lost).len(), 2);
}

#[test]
fn who_was_never_heard_of_is_given_up_after_one_timeout() {
    let mut bench = Bench::new(&[alice(), bob()]);
    let answers = bench.fetch(ONE_TABLE, &[alice(), bob()], Repair);
    let first = bench.one();
    bench.pass(REQUEST_TIMEOUT - SECOND);
    assert!(bench.sent().is_empty());
    bench.pass(SECOND);
    let second = bench.one();
    assert_ne!(first.to, second.to);
    bench.pass(REQUEST_TIMEOUT);
    let timeouts = [(alice(), FetchFailure::Timeout), (bob(), FetchFailure::Timeout)];
    assert_eq!(events(&answers), [failure(&timeouts)]);
}

#[test]
fn a_known_peer_is_waited_for_as_long_as_its_round_trips_say_and_then_asked_for_half() {
    let mut bench = Bench::new(&[alice()]);
    bench.fetch(ONE_TABLE, &[alice()], Repair);
    let request = bench.one();
    bench.now += ROUND_TRIP;
    bench.answer(alice(), tables_response(&request, 5, &[table_bytes(5)]));
    let window = bench.retrieval.window(&alice(), bench.now);
    bench.fetch(ONE_TABLE, &[alice()], Repair);
    bench.one();
    bench.pass(SECOND - ROUND_TRIP);
    assert!(bench.sent().is_empty());
    bench.pass(ROUND_TRIP);
    assert_eq!(bench.one().to, alice(), "a second, not ten; there is nobody else");
    assert_eq!(bench.retrieval.window(&alice(), bench.now), window / 2);
}

#[test]
fn what_is_packed_after_the_first_page_is_not_asked_for_before_that_is_there() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice(), bob()]);
    bench.fetch(pages(&chunk, 0..16), &[alice(), bob()], Repair);
    let first = bench.one();
    assert_eq!(first.pages().start, 0);
    bench.send_page(&first, &chunk, 0);
    let others = bench.sent();
    assert!(others.iter().any(|request| request.to != first.to), "{others:?}");
}

#[test]
fn a_holder_that_is_not_connected_is_dialed_when_no_other_can_be_asked() {
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(ONE_TABLE, &[bob(), alice()], Repair);
    let request = bench.one();
    assert_eq!(request.to, alice(), "who is connected is asked first");
    assert!(bench.dialed.is_empty());
    let message = StorageMessage::TablesResponse {
        request_id: request.id,
        first_segment: 5,
        answer: Answer::NotHeld,
    };
    bench.answer(alice(), message);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.dialed, [bob()]);
    bench.pass(DIAL_TIMEOUT);
    let failures = [(bob(), FetchFailure::NotConnected), (alice(), FetchFailure::NotHeld)];
    assert_eq!(events(&answers), [failure(&failures)]);
}

#[test]
fn a_dialed_holder_is_asked_as_soon_as_it_is_there() {
    let mut bench = Bench::new(&[]);
    bench.fetch(ONE_TABLE, &[alice(), bob(), node(2)], Reader);
    assert_eq!(bench.dialed, [alice(), bob()], "two at a time");
    bench.connect(&[bob()]);
    assert_eq!(bench.one().to, bob());
}

#[test]
fn a_busy_peer_is_left_alone_for_a_while_and_asked_for_less() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(pages(&chunk, 0..16), &[alice()], Repair);
    for _ in 0..8 {
        let request = bench.one();
        bench.answer(alice(), StorageMessage::Busy { request_id: request.id });
        assert!(bench.sent().is_empty(), "not at once");
        assert_eq!(bench.retrieval.window(&alice(), bench.now), LEAST_WINDOW_BYTES);
        bench.pass(SECOND * 3);
    }
    assert_eq!(events(&answers), [failure(&[(alice(), FetchFailure::Busy)])]);
}

#[test]
fn windows_start_small_and_grow_with_what_is_delivered() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    (0..40).for_each(|_| drop(bench.fetch(pages(&chunk, 0..16), &[alice()], Repair)));
    assert!(bench.retrieval.in_flight(&alice()) <= FIRST_WINDOW_BYTES);
    let mut largest = 0;
    for _ in 0..6 {
        // Everything that is asked arrives a round trip later, at once: a link without a limit.
        bench.now += ROUND_TRIP;
        for request in bench.sent() {
            request.pages().for_each(|page| bench.send_page(&request, &chunk, page));
        }
        let in_flight = bench.retrieval.in_flight(&alice());
        // Less than a page less: what a page weighs is learned meanwhile.
        assert!(in_flight + PAGE_BYTES > largest, "{in_flight} after {largest}");
        assert!(in_flight <= PER_PEER);
        largest = largest.max(in_flight);
    }
    assert!(largest > PER_PEER / 2, "{largest}");
}

#[test]
fn one_answer_at_a_time_is_asked_for_now_and_then_to_measure_the_round_trip() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    let start = bench.now;
    bench.fetch(pages(&chunk, 0..1), &[alice()], Repair);
    bench.now = start + DRAIN_INTERVAL - ROUND_TRIP;
    assert_eq!(bench.retrieval.window(&alice(), bench.now), DRAINING_WINDOW_BYTES);
    bench.now = start + DRAIN_INTERVAL;
    assert_eq!(bench.retrieval.window(&alice(), bench.now), FIRST_WINDOW_BYTES);
}

#[test]
fn repair_leaves_room_for_readers_of_each_peer_and_of_all() {
    let chunk = chunk();
    let mut small = limits();
    small.bytes_in_flight_per_peer = FIRST_WINDOW_BYTES;
    let mut bench = Bench::with(small, &[alice()]);
    (0..40).for_each(|_| drop(bench.fetch(pages(&chunk, 0..16), &[alice()], Repair)));
    assert!(bench.retrieval.in_flight(&alice()) <= FIRST_WINDOW_BYTES / 4 * 3);
    bench.sent();
    bench.fetch(pages(&chunk, 0..1), &[alice()], Reader);
    assert_eq!(bench.one().pages(), 0..1);
}

#[test]
fn nothing_in_a_fetch_waits_for_ever_though_each_answer_is_just_in_time() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(pages(&chunk, 0..2), &[alice()], Repair);
    // It is refused again and again, so that no request times out: then nothing comes of it.
    let mut elapsed = Duration::ZERO;
    while bench.ended == 0 {
        for request in bench.sent() {
            bench.answer(alice(), StorageMessage::Busy { request_id: request.id });
        }
        bench.pass(SECOND);
        elapsed += SECOND;
        assert!(elapsed <= REQUEST_TIMEOUT * FETCH_TIMEOUTS);
    }
    assert_eq!(events(&answers).len(), 1);
}
