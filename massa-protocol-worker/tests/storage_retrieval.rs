//! What is asked for, what answers are checked for, and who is blamed.

mod storage_common;

use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::FetchPriority::{Reader, Repair};
use massa_distributed_storage_exports::network::{
    Answer, FetchEvent, FetchFailure, FetchTarget, LocateId, Located, SlotContent,
};
use massa_distributed_storage_exports::record::{block_id_from_bytes, BlockRecord};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::slot::Slot;
use massa_protocol_worker::handlers::storage_handler::messages::{
    Lane, Piece, StorageMessage, TablesContent, PIECE_BYTES,
};
use std::collections::HashSet;
use storage_common::bench::*;
use storage_common::{table, TestChunk};

#[test]
fn tables_come_several_in_one_answer_and_what_did_not_fit_is_asked_for_again() {
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(TABLES, &[alice()], Repair);
    let request = bench.one();
    let expected = StorageMessage::TablesRequest {
        request_id: request.id,
        first_segment: 5,
        count: 3,
        offset: 0,
    };
    assert_eq!(request.message, expected);

    bench.answer(alice(), tables_response(&request, 5, &[table_bytes(5), table_bytes(6)]));
    let rest = bench.one();
    assert!(matches!(
        rest.message,
        StorageMessage::TablesRequest {
            first_segment: 7,
            count: 1,
            ..
        }
    ));
    bench.answer(alice(), tables_response(&rest, 7, &[table_bytes(7)]));

    let segments: Vec<u64> = events(&answers)
        .iter()
        .flat_map(|event| match event {
            FetchEvent::Tables { tables, from, .. } => {
                assert_eq!(*from, alice());
                tables.iter().map(|table| table.header().segment).collect()
            }
            FetchEvent::Complete { .. } => vec![999],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(segments, [5, 6, 7, 999]);
    assert_eq!((bench.ended, bench.retrieval.in_flight_total()), (1, 0));
}

#[test]
fn a_table_of_another_segment_chain_or_shape_is_its_senders_fault() {
    let other_chain = {
        let mut bytes = table_bytes(5);
        bytes[1] ^= 1;
        bytes
    };
    let lies = [
        vec![table_bytes(6)],
        vec![other_chain],
        vec![table_bytes(5)[..90].to_vec()],
        vec![table_bytes(5), table_bytes(7)],
        (5..9).map(table_bytes).collect(),
    ];
    for lie in lies {
        let mut bench = Bench::new(&[alice(), bob()]);
        let answers = bench.fetch(TABLES, &[alice(), bob()], Repair);
        let request = bench.one();
        let liar = request.to;
        bench.answer(liar, tables_response(&request, 5, &lie));
        assert_eq!(bench.quarantined, [liar]);
        assert!(events(&answers).is_empty(), "nothing of it is handed over");
        let next = bench.one();
        assert_ne!(next.to, liar, "the other holder is asked");
    }
}

#[test]
fn who_has_nothing_is_asked_nothing_more_and_the_next_holder_is() {
    let answers = [
        (Answer::NotYet, FetchFailure::NotYet),
        (Answer::NotHeld, FetchFailure::NotHeld),
        (Answer::Pruned, FetchFailure::Pruned),
    ];
    for (answer, expected) in answers {
        let mut bench = Bench::new(&[alice(), bob()]);
        let replies = bench.fetch(TABLES, &[alice(), bob()], Repair);
        let mut asked = Vec::new();
        for _ in 0..2 {
            let request = bench.one();
            asked.push(request.to);
            let message = StorageMessage::TablesResponse {
                request_id: request.id,
                first_segment: 5,
                answer: answer.clone(),
            };
            bench.answer(request.to, message);
        }
        assert_eq!(HashSet::from_iter(asked), HashSet::from([alice(), bob()]));
        assert_eq!(events(&replies), [failure(&[(alice(), expected), (bob(), expected)])]);
        assert!(bench.quarantined.is_empty());
    }
}

/// A table of full blocks: four pieces.
fn large_table() -> Vec<u8> {
    let bytes = table(5, 64 << 20, ChunkId::from_bytes([9; 32])).to_bytes();
    assert!(bytes.len() > 3 * PIECE_BYTES);
    bytes
}

fn piece_of(bytes: &[u8], offset: usize) -> Piece {
    Piece {
        offset: offset as u32,
        total: bytes.len() as u32,
        bytes: bytes[offset..(offset + PIECE_BYTES).min(bytes.len())].to_vec(),
    }
}

fn table_piece(request: &Sent, piece: Piece) -> StorageMessage {
    StorageMessage::TablesResponse {
        request_id: request.id,
        first_segment: 5,
        answer: Answer::Found(TablesContent::Piece(piece)),
    }
}

#[test]
fn a_large_table_comes_in_pieces_of_one_holder_asked_for_side_by_side() {
    let bytes = large_table();
    let mut bench = Bench::new(&[alice(), bob()]);
    let answers = bench.fetch(ONE_TABLE, &[alice(), bob()], Repair);
    let first = bench.one();
    bench.answer(first.to, table_piece(&first, piece_of(&bytes, 0)));

    let mut rest = bench.sent();
    assert!(rest.len() >= 2, "{rest:?}");
    let mut offsets = vec![0];
    while let Some(request) = rest.pop() {
        assert_eq!(request.to, first.to);
        let StorageMessage::TablesRequest { offset, count: 1, .. } = request.message else {
            panic!("{request:?}");
        };
        offsets.push(offset as usize);
        // Backwards would be a loss of those before: answers come in order.
        rest.sort_by_key(|request| std::cmp::Reverse(request.id));
        bench.answer(first.to, table_piece(&request, piece_of(&bytes, offset as usize)));
        rest.extend(bench.sent());
        rest.sort_by_key(|request| std::cmp::Reverse(request.id));
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), bytes.len().div_ceil(PIECE_BYTES));
    let events = events(&answers);
    assert!(matches!(&events[0], FetchEvent::Tables { tables, .. } if tables[0].to_bytes() == bytes));
    assert_eq!(events[1], FetchEvent::Complete { id: 1 });
    assert_eq!(bench.retrieval.in_flight_total(), 0);
}

#[test]
fn a_wrong_piece_is_its_senders_fault_at_the_first_sign() {
    let bytes = large_table();
    let mut short_total = piece_of(&bytes, 0);
    short_total.total -= 1;
    let mut short = piece_of(&bytes, 0);
    short.bytes.pop();
    let not_asked = piece_of(&bytes, PIECE_BYTES);
    for piece in [short_total, short, not_asked] {
        let mut bench = Bench::new(&[alice(), bob()]);
        bench.fetch(ONE_TABLE, &[alice(), bob()], Repair);
        let request = bench.one();
        bench.answer(request.to, table_piece(&request, piece));
        assert_eq!(bench.quarantined, [request.to]);
        assert_ne!(bench.one().to, request.to);
    }
}

#[test]
fn when_the_sender_of_pieces_is_gone_another_one_sends_all_of_them() {
    let bytes = large_table();
    let mut bench = Bench::new(&[alice(), bob()]);
    bench.fetch(ONE_TABLE, &[alice(), bob()], Repair);
    let first = bench.one();
    bench.answer(first.to, table_piece(&first, piece_of(&bytes, 0)));
    bench.sent();
    bench.disconnect(first.to);
    let again = bench.one();
    assert_ne!(again.to, first.to);
    assert!(matches!(again.message, StorageMessage::TablesRequest { offset: 0, .. }));
}

#[test]
fn a_chunk_is_taken_page_by_page_and_packed_pages_need_the_first_one() {
    let chunk = chunk();
    assert!(chunk.page(3).needs_first_page(), "the test is about such pages");
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(pages(&chunk, 0..16), &[alice()], Repair);
    let first = bench.one();
    assert!(
        first.pages().start == 0 && first.pages().end < 16,
        "the window starts small"
    );
    let mut open = vec![first];
    let mut received = 0;
    while let Some(request) = open.pop() {
        for page in request.pages() {
            bench.now += ROUND_TRIP / 10;
            bench.send_page(&request, &chunk, page);
            received += 1;
            open.extend(bench.sent());
        }
        open.sort_by_key(|request| std::cmp::Reverse(request.id));
    }
    assert_eq!(received, 16);
    let events = events(&answers);
    assert_eq!(events.len(), 17);
    let plain: Vec<u8> = events
        .iter()
        .filter_map(|event| match event {
            FetchEvent::Page { page, .. } => Some(page.plain().to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(plain == chunk.bytes);
}

#[test]
fn who_wants_a_page_in_the_middle_gets_the_first_one_besides_and_the_worker_does_not_see_it() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(pages(&chunk, 5..6), &[alice()], Reader);
    let request = bench.one();
    assert!(matches!(
        request.message,
        StorageMessage::ChunkRequest {
            with_first_page: true,
            lane: Lane::Quick,
            first_page: 5,
            pages: 1,
            ..
        }
    ));
    bench.send_page(&request, &chunk, 0);
    assert!(events(&answers).is_empty());
    bench.send_page(&request, &chunk, 5);
    let events = events(&answers);
    assert!(matches!(&events[0], FetchEvent::Page { page, .. } if page.page() == 5));
    assert_eq!(events[1], FetchEvent::Complete { id: 1 });
    assert_eq!(bench.retrieval.in_flight_total(), 0);
}

#[test]
fn a_page_that_needs_no_first_one_comes_alone() {
    let chunk = chunk();
    let mut bench = Bench::new(&[alice()]);
    let answers = bench.fetch(pages(&chunk, 5..6), &[alice()], Reader);
    let request = bench.one();
    let message = StorageMessage::ChunkResponse {
        request_id: request.id,
        page: 5,
        answer: Answer::Found(chunk.plain_page(5)),
    };
    bench.answer(alice(), message);
    assert_eq!(events(&answers).len(), 2);
    assert_eq!(bench.retrieval.in_flight_total(), 0);
}

#[test]
fn a_wrong_page_puts_its_sender_in_quarantine_and_goes_to_another_holder() {
    let (chunk, other) = (chunk(), TestChunk::new(1 << 20, 4));
    let mut bench = Bench::new(&[alice(), bob()]);
    let answers = bench.fetch(pages(&chunk, 0..4), &[alice(), bob()], Repair);
    let request = bench.one();
    bench.send_page(&request, &chunk, 0);
    bench.sent();
    bench.send_page(&request, &other, 1);
    assert_eq!(bench.quarantined, [request.to]);
    let next = bench.one();
    assert_ne!(next.to, request.to);
    assert_eq!(next.pages(), 1..4);
    assert_eq!(events(&answers).len(), 1, "the right page stays");
    // What it was asked before may still come, and is not counted against it again.
    bench.send_page(&request, &chunk, 2);
    assert!(bench.strays.is_empty());
}

#[test]
fn a_fetch_that_cannot_be_asked_for_fails_at_once() {
    let chunk = chunk();
    let large = FetchTarget::Pages {
        position: ChunkPosition::new(1, 0).unwrap(),
        chunk: TestChunk::new((1 << 20) + 1, 1).table,
        pages: 0..1,
    };
    let targets = [
        FetchTarget::Tables {
            first_segment: 0,
            count: 65,
        },
        FetchTarget::Tables {
            first_segment: 1 << 24,
            count: 1,
        },
        FetchTarget::Held {
            first_segment: 0,
            count: 0,
        },
        FetchTarget::Entries {
            first_period: u64::MAX,
            count: 2,
        },
        FetchTarget::Block { slot: Slot::new(1, 32) },
        FetchTarget::Locate { ids: Vec::new() },
        pages(&chunk, 0..17),
        large,
    ];
    let mut bench = Bench::new(&[alice()]);
    for target in targets {
        let answers = bench.fetch(target, &[alice()], Repair);
        assert_eq!(events(&answers), [failure(&[])]);
    }
    assert!(bench.sent().is_empty());
}

#[test]
fn an_entry_that_cannot_be_one_is_its_senders_fault() {
    let mut entry = vec![0; 33];
    let right = PeriodEntry::from_bytes(&entry, 32).unwrap();
    for (bytes, is_right) in [
        (entry.clone(), true),
        (vec![1; 33], false),
        (
            {
                entry[1] = 7;
                entry
            },
            false,
        ),
    ] {
        let mut bench = Bench::new(&[alice()]);
        let target = FetchTarget::Entries {
            first_period: 8,
            count: 1,
        };
        let answers = bench.fetch(target, &[alice()], Repair);
        let request = bench.one();
        let message = StorageMessage::EntriesResponse {
            request_id: request.id,
            first_period: 8,
            answer: Answer::Found(vec![bytes]),
        };
        bench.answer(alice(), message);
        assert_eq!(bench.quarantined.is_empty(), is_right);
        if is_right {
            let event = FetchEvent::Entries {
                id: 1,
                from: alice(),
                first_period: 8,
                entries: vec![right.clone()],
            };
            assert_eq!(events(&answers), [event, FetchEvent::Complete { id: 1 }]);
        }
    }
}

#[test]
fn a_block_of_another_slot_is_its_senders_fault_and_a_miss_is_an_answer() {
    let mut bench = Bench::new(&[alice()]);
    let slot = Slot::new(3, 4);
    let answers = bench.fetch(FetchTarget::Block { slot }, &[alice()], Reader);
    let request = bench.one();
    let block = |answer| StorageMessage::BlockResponse {
        request_id: request.id,
        slot,
        answer,
    };
    bench.answer(alice(), block(Answer::Found(SlotContent::Miss)));
    let event = FetchEvent::Block {
        id: 1,
        from: alice(),
        slot,
        content: SlotContent::Miss,
    };
    assert_eq!(events(&answers), [event, FetchEvent::Complete { id: 1 }]);

    bench.fetch(FetchTarget::Block { slot }, &[alice()], Reader);
    let request = bench.one();
    let wrong = Piece {
        offset: 0,
        total: 3,
        bytes: vec![1, 2, 3],
    };
    assert!(BlockRecord::from_bytes(wrong.bytes.clone()).is_err());
    let message = StorageMessage::BlockResponse {
        request_id: request.id,
        slot,
        answer: Answer::Found(SlotContent::Block(wrong)),
    };
    bench.answer(alice(), message);
    assert_eq!(bench.quarantined, [alice()]);
}

#[test]
fn held_chunks_are_counted_up_to_the_limit_and_lookups_match_their_ids() {
    let mut bench = Bench::new(&[alice()]);
    let target = FetchTarget::Held {
        first_segment: 2,
        count: 2,
    };
    let answers = bench.fetch(target, &[alice()], Repair);
    let request = bench.one();
    let held = |held| StorageMessage::HeldResponse {
        request_id: request.id,
        first_segment: 2,
        held,
    };
    bench.answer(alice(), held(vec![vec![0xff], vec![0xff]]));
    let [FetchEvent::Held { held, .. }, FetchEvent::Complete { .. }] = &events(&answers)[..] else {
        panic!("an answer and its end");
    };
    assert_eq!(held, &[vec![0xff], vec![0x03]], "ten chunks a node");

    let ids = vec![LocateId::Block(block_id_from_bytes(&[0; 33]).unwrap()); 2];
    let answers = bench.fetch(FetchTarget::Locate { ids }, &[alice()], Reader);
    let request = bench.one();
    let located = Some(Located {
        slot: Slot::new(1, 1),
        index: 0,
    });
    let message = |located| StorageMessage::LocateResponse {
        request_id: request.id,
        located,
    };
    bench.answer(alice(), message(vec![located, None]));
    assert_eq!(events(&answers).len(), 2);
    assert!(bench.quarantined.is_empty());
}

#[test]
fn a_way_to_a_claim_is_handed_over_as_it_came_or_is_not_held() {
    let mut bench = Bench::new(&[alice()]);
    let target = FetchTarget::SumPath {
        round: 7,
        position: ChunkPosition::new(3, 1).unwrap(),
    };
    let answers = bench.fetch(target.clone(), &[alice()], Repair);
    let request = bench.one();
    let message = |request_id, answer| StorageMessage::SumPathResponse { request_id, answer };
    bench.answer(alice(), message(request.id, Answer::Found(vec![0; 8])));
    let got = events(&answers);
    let [FetchEvent::SumPath { from, path, .. }, FetchEvent::Complete { .. }] = &got[..] else {
        panic!("an answer and its end: {got:?}");
    };
    assert_eq!((*from, &path[..]), (alice(), &[0; 8][..]));

    let answers = bench.fetch(target, &[alice()], Repair);
    let request = bench.one();
    bench.answer(alice(), message(request.id, Answer::NotHeld));
    let got = events(&answers);
    assert!(
        matches!(&got[..], [FetchEvent::Failed { attempts, .. }] if attempts == &[(alice(), FetchFailure::NotHeld)]),
        "{got:?}"
    );
    assert!(bench.quarantined.is_empty());
}

#[test]
fn answers_to_other_requests_are_strays() {
    let mut bench = Bench::new(&[alice(), bob()]);
    bench.fetch(ONE_TABLE, &[alice()], Repair);
    let request = bench.one();
    bench.answer(bob(), tables_response(&request, 5, &[table_bytes(5)]));
    bench.answer(alice(), tables_response(&request, 6, &[table_bytes(6)]));
    let unknown = StorageMessage::Busy { request_id: 77 };
    bench.answer(alice(), unknown);
    assert_eq!(bench.strays, [bob(), alice(), alice()]);
    assert!(bench.retrieval.is_open(&alice(), request.id) && !bench.retrieval.is_open(&bob(), request.id));
}
