//! What is served to whom, and when.

mod storage_common;

use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, AuditChallenge, Capabilities, LocateId, Located, PageContent, SlotContent,
};
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_protocol_worker::handlers::storage_handler::messages::{
    Lane, Piece, StorageMessage, TablesContent, MAX_CONTENT_BYTES, PIECE_BYTES,
};
use massa_protocol_worker::handlers::storage_handler::serving::{
    Accepted, Serving, ServingLimits, CHALLENGE_BURST, CHALLENGE_INTERVAL, MAX_WAITING_REQUESTS, SUM_PATH_BURST,
    SUM_PATH_INTERVAL,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use storage_common::{node, TestChunk, TestServer};

const PERIOD_BYTES: u32 = 85_000;

fn alice() -> NodeId {
    node(0)
}

fn bob() -> NodeId {
    node(1)
}

fn serving() -> Serving {
    Serving::new(ServingLimits {
        bytes_per_peer: 1 << 20,
        max_chunk_size: 1 << 20,
    })
}

fn server() -> TestServer {
    TestServer::new(100, PERIOD_BYTES, TestChunk::new(1 << 20, 5))
}

fn pages(request_id: u64, server: &TestServer, first_page: u32, pages: u32, lane: Lane) -> StorageMessage {
    StorageMessage::ChunkRequest {
        request_id,
        position: ChunkPosition::new(3, 1).unwrap(),
        chunk_id: server.chunk.table.id,
        first_page,
        pages,
        with_first_page: false,
        lane,
    }
}

fn tables(request_id: u64, first_segment: u64, count: u32, offset: u32) -> StorageMessage {
    StorageMessage::TablesRequest {
        request_id,
        first_segment,
        count,
        offset,
    }
}

fn block(request_id: u64, offset: u32) -> StorageMessage {
    StorageMessage::BlockRequest {
        request_id,
        slot: Slot::new(1, 1),
        offset,
    }
}

fn challenge(request_id: u64) -> StorageMessage {
    StorageMessage::Challenge {
        request_id,
        challenge: AuditChallenge {
            challenge_id: ChallengeId::from_bytes([1; 32]),
            position: ChunkPosition::new(3, 1).unwrap(),
            chunk_id: ChunkId::from_bytes([2; 32]),
            nonce: 1,
        },
    }
}

fn take(serving: &mut Serving, server: &dyn ArchiveServer) -> Option<(NodeId, StorageMessage)> {
    serving.next(server, |_| true)
}

/// Ids and pages of all answers, in order.
fn drain(serving: &mut Serving, server: &dyn ArchiveServer) -> Vec<(NodeId, u64)> {
    let mut answers = Vec::new();
    while let Some((node, message)) = take(serving, server) {
        answers.push((node, message.request_id().unwrap()));
    }
    answers
}

fn accept(serving: &mut Serving, from: NodeId, message: &StorageMessage) {
    assert_eq!(serving.on_request(from, message, Instant::now()), Accepted::Waits);
}

#[test]
fn peers_take_turns_answer_by_answer() {
    let (mut serving, server) = (serving(), server());
    accept(&mut serving, alice(), &pages(1, &server, 0, 3, Lane::Bulk));
    accept(&mut serving, bob(), &tables(2, 0, 1, 0));
    let order = [(alice(), 1), (bob(), 2), (alice(), 1), (alice(), 1)];
    assert_eq!(drain(&mut serving, &server), order);
    assert!(!serving.has_waiting());
}

#[test]
fn quick_requests_go_before_bulk_ones_of_the_same_peer_but_not_for_ever() {
    let (mut serving, server) = (serving(), server());
    accept(&mut serving, alice(), &pages(1, &server, 0, 2, Lane::Bulk));
    (10..22).for_each(|id| accept(&mut serving, alice(), &block(id, 0)));
    let ids: Vec<u64> = drain(&mut serving, &server).iter().map(|(_, id)| *id).collect();
    let expected: Vec<u64> = (10..18).chain([1]).chain(18..22).chain([1]).collect();
    assert_eq!(ids, expected);
}

#[test]
fn who_asks_too_much_is_refused_and_others_are_not() {
    let (mut serving, server) = (serving(), server());
    // Four windows of a MiB: 64 pages.
    (0..4).for_each(|id| accept(&mut serving, alice(), &pages(id, &server, 0, 16, Lane::Bulk)));
    let busy = Accepted::Refused(StorageMessage::Busy { request_id: 9 });
    let one_more = pages(9, &server, 0, 1, Lane::Bulk);
    assert_eq!(serving.on_request(alice(), &one_more, Instant::now()), busy);
    accept(&mut serving, bob(), &one_more);
    assert!(serving.waiting_bytes(&alice()) <= 4 << 20);

    let mut serving = self::serving();
    (0..MAX_WAITING_REQUESTS as u64).for_each(|id| accept(&mut serving, alice(), &block(id, 0)));
    assert_eq!(serving.on_request(alice(), &block(9, 0), Instant::now()), busy);
}

#[test]
fn a_peer_that_does_not_read_is_not_read_for() {
    let (mut serving, server) = (serving(), server());
    accept(&mut serving, alice(), &block(1, 0));
    accept(&mut serving, bob(), &block(2, 0));
    let only_bob = |node: &NodeId| *node == bob();
    let next = serving.next(&server, only_bob);
    assert_eq!(next.unwrap().0, bob());
    assert!(serving.next(&server, only_bob).is_none());
    assert!(serving.has_waiting() && !serving.can_serve(only_bob));
    serving.retain(only_bob);
    assert!(!serving.has_waiting());
}

#[test]
fn as_many_tables_as_fit_go_into_one_answer() {
    let (mut serving, server) = (serving(), server());
    accept(&mut serving, alice(), &tables(1, 90, 64, 0));
    let Some((_, StorageMessage::TablesResponse { answer, .. })) = take(&mut serving, &server) else {
        panic!("an answer");
    };
    let Answer::Found(TablesContent::Whole(tables)) = answer else {
        panic!("whole tables");
    };
    assert_eq!(tables.len(), 10, "the archive ends");
    assert!(tables.iter().map(Vec::len).sum::<usize>() <= MAX_CONTENT_BYTES);

    accept(&mut serving, alice(), &self::tables(1, 0, 64, 0));
    let Some((_, StorageMessage::TablesResponse { answer, .. })) = take(&mut serving, &server) else {
        panic!("an answer");
    };
    let Answer::Found(TablesContent::Whole(tables)) = answer else {
        panic!("whole tables");
    };
    let length = server.table(0).to_bytes().len();
    assert_eq!(tables.len(), MAX_CONTENT_BYTES / length);
    accept(&mut serving, alice(), &self::tables(1, 100, 1, 0));
    let next = take(&mut serving, &server);
    assert!(matches!(
        next,
        Some((
            _,
            StorageMessage::TablesResponse {
                answer: Answer::NotYet,
                ..
            }
        ))
    ));
}

/// Has one large thing, and counts how often it is read.
struct CountingServer {
    bytes: Vec<u8>,
    reads: AtomicUsize,
}

impl ArchiveServer for CountingServer {
    fn tables(&self, _: u64, _: u32, _: usize) -> Answer<Vec<Vec<u8>>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Answer::Found(vec![self.bytes.clone()])
    }

    fn entries(&self, _: u64, _: u32, _: usize) -> Answer<Vec<Vec<u8>>> {
        // More than was asked for, and more than fits.
        Answer::Found(vec![vec![1; 9000]; 20])
    }

    fn block(&self, _: &Slot) -> Answer<SlotContent<Vec<u8>>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Answer::Found(SlotContent::Block(self.bytes.clone()))
    }

    fn page(&self, _: ChunkPosition, _: &ChunkId, _: u32) -> Answer<PageContent> {
        Answer::Pruned
    }

    fn held(&self, _: u64, _: u32, _: usize) -> Vec<Vec<u8>> {
        vec![vec![3, 0], vec![0]]
    }

    fn locate(&self, _: &[LocateId]) -> Vec<Option<Located>> {
        Vec::new()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

fn counting(length: usize) -> CountingServer {
    CountingServer {
        bytes: (0..length).map(|index| index as u8).collect(),
        reads: AtomicUsize::new(0),
    }
}

#[test]
fn what_is_larger_than_a_frame_goes_in_pieces_and_is_read_once() {
    let length = 3 * PIECE_BYTES + 5;
    let server = counting(length);
    let mut serving = serving();
    let mut whole = Vec::new();
    for offset in (0..length).step_by(PIECE_BYTES) {
        accept(&mut serving, alice(), &block(1, offset as u32));
        let (_, message) = take(&mut serving, &server).unwrap();
        let StorageMessage::BlockResponse {
            answer: Answer::Found(SlotContent::Block(piece)),
            ..
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!((piece.offset as usize, piece.total as usize), (offset, length));
        whole.extend(piece.bytes);
    }
    assert!(whole == server.bytes);
    assert_eq!(server.reads.load(Ordering::Relaxed), 1);

    accept(&mut serving, alice(), &block(1, length as u32));
    let (_, beyond) = take(&mut serving, &server).unwrap();
    assert!(matches!(
        beyond,
        StorageMessage::BlockResponse {
            answer: Answer::NotHeld,
            ..
        }
    ));
}

#[test]
fn a_large_table_begins_with_its_first_piece_whatever_count_was_asked_for() {
    let server = counting(PIECE_BYTES + 7);
    let mut serving = serving();
    for (offset, expected) in [(0, PIECE_BYTES), (PIECE_BYTES as u32, 7)] {
        accept(&mut serving, alice(), &tables(1, 4, 1, offset));
        let (_, message) = take(&mut serving, &server).unwrap();
        let StorageMessage::TablesResponse {
            answer: Answer::Found(TablesContent::Piece(Piece { bytes, .. })),
            ..
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(bytes.len(), expected);
    }
    assert_eq!(server.reads.load(Ordering::Relaxed), 1);
}

#[test]
fn a_page_that_is_packed_after_the_first_one_follows_it_if_that_is_asked_for() {
    let (mut serving, server) = (serving(), server());
    assert!(server.chunk.page(5).needs_first_page());
    let mut request = pages(1, &server, 5, 2, Lane::Bulk);
    accept(&mut serving, alice(), &request);
    if let StorageMessage::ChunkRequest { with_first_page, .. } = &mut request {
        *with_first_page = true;
    }
    let page_numbers = |serving: &mut Serving| -> Vec<u32> {
        let mut numbers = Vec::new();
        while let Some((_, message)) = take(serving, &server) {
            let StorageMessage::ChunkResponse { page, .. } = message else {
                panic!("{message:?}");
            };
            numbers.push(page);
        }
        numbers
    };
    assert_eq!(page_numbers(&mut serving), [5, 6]);
    accept(&mut serving, alice(), &request);
    assert_eq!(page_numbers(&mut serving), [0, 5, 6]);
}

#[test]
fn an_answer_without_a_page_ends_the_request() {
    let server = counting(1);
    let mut serving = serving();
    accept(&mut serving, alice(), &pages(1, &self::server(), 0, 16, Lane::Bulk));
    assert_eq!(drain(&mut serving, &server), [(alice(), 1)]);
}

#[test]
fn pages_beyond_the_largest_chunk_are_not_held() {
    let mut serving = serving();
    let request = pages(1, &server(), 15, 2, Lane::Bulk);
    let refusal = StorageMessage::ChunkResponse {
        request_id: 1,
        page: 15,
        answer: Answer::NotHeld,
    };
    let accepted = serving.on_request(alice(), &request, Instant::now());
    assert_eq!(accepted, Accepted::Refused(refusal));
}

#[test]
fn challenges_are_limited_more_narrowly() {
    let mut serving = serving();
    let now = Instant::now();
    for id in 0..u64::from(CHALLENGE_BURST) {
        assert_eq!(serving.on_request(alice(), &challenge(id), now), Accepted::Waits);
    }
    let busy = Accepted::Refused(StorageMessage::Busy { request_id: 99 });
    assert_eq!(serving.on_request(alice(), &challenge(99), now), busy);
    let later = now + CHALLENGE_INTERVAL;
    assert_eq!(serving.on_request(alice(), &challenge(99), later), Accepted::Waits);
}

#[test]
fn ways_to_a_claim_are_limited_more_narrowly_and_do_not_use_up_challenges() {
    let mut serving = serving();
    let now = Instant::now();
    let sum_path = |request_id| StorageMessage::SumPathRequest {
        request_id,
        round: 3,
        position: ChunkPosition::new(3, 1).unwrap(),
    };
    for id in 0..u64::from(SUM_PATH_BURST) {
        assert_eq!(serving.on_request(alice(), &sum_path(id), now), Accepted::Waits);
    }
    let busy = Accepted::Refused(StorageMessage::Busy { request_id: 99 });
    assert_eq!(serving.on_request(alice(), &sum_path(99), now), busy);
    assert_eq!(serving.on_request(alice(), &challenge(1), now), Accepted::Waits);
    let later = now + SUM_PATH_INTERVAL;
    assert_eq!(serving.on_request(alice(), &sum_path(99), later), Accepted::Waits);
    let mut server = server();
    server.sum_path = Some(vec![0; 8]);
    let (_, message) = take(&mut serving, &server).unwrap();
    let expected = StorageMessage::SumPathResponse {
        request_id: 0,
        answer: Answer::Found(vec![0; 8]),
    };
    assert_eq!(message, expected);
}

#[test]
fn answers_of_the_server_are_brought_into_the_form_that_travels() {
    let server = counting(1);
    let mut serving = serving();
    let entries = StorageMessage::EntriesRequest {
        request_id: 1,
        first_period: 0,
        count: 10,
    };
    accept(&mut serving, alice(), &entries);
    let (_, message) = take(&mut serving, &server).unwrap();
    let StorageMessage::EntriesResponse {
        answer: Answer::Found(list),
        ..
    } = message
    else {
        panic!("{message:?}");
    };
    assert_eq!(list.len(), 7, "no more than fit into a frame");

    let held = StorageMessage::HeldRequest {
        request_id: 1,
        first_segment: 0,
        count: 1,
    };
    accept(&mut serving, alice(), &held);
    let (_, message) = take(&mut serving, &server).unwrap();
    assert!(matches!(message, StorageMessage::HeldResponse { held, .. } if held == [vec![3]]));

    let id = massa_distributed_storage_exports::record::block_id_from_bytes(&[0; 33]).unwrap();
    let locate = StorageMessage::LocateRequest {
        request_id: 1,
        ids: vec![LocateId::Block(id); 3],
    };
    accept(&mut serving, alice(), &locate);
    let (_, message) = take(&mut serving, &server).unwrap();
    assert!(matches!(message, StorageMessage::LocateResponse { located, .. } if located == [None; 3]));

    let no_request = StorageMessage::Busy { request_id: 1 };
    assert_eq!(
        serving.on_request(alice(), &no_request, Instant::now()),
        Accepted::NoRequest
    );
}
