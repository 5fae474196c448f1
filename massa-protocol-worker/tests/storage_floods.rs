//! Peers that flood, that are newer than this node or answer what nobody asked, slow links, and blocks beside storage traffic;
//! over real sockets.

mod common;
#[path = "storage_common/sockets.rs"]
mod sockets;
mod storage_common;

use common::raw_peer::{RawPeer, STORAGE_CAPABILITY};
use common::{block, id_of, wait_for};
use massa_distributed_storage_exports::network::{FetchEvent, FetchPriority, FetchTarget, StorageNetwork};
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_protocol_exports::{LinkFaults, ProtocolConfig};
use massa_protocol_worker::handlers::storage_handler::messages::{Lane, StorageMessage};
use massa_signature::KeyPair;
use sockets::{
    archive, asking_and_holding, check, config, events, no_archive, pages, tables, ArchiveNode, Behaviour, Rogue,
    SEGMENTS, SMALL_PERIOD,
};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;
use storage_common::double::{read, write};
use storage_common::{fetch, TestChunk, TestServer};

fn frame(message: &StorageMessage) -> Vec<u8> {
    [&[4], &write(message)[..]].concat()
}

fn held_request(request_id: u64) -> StorageMessage {
    StorageMessage::HeldRequest {
        request_id,
        first_segment: 0,
        count: 1,
    }
}

fn connect(node: &ArchiveNode) -> (RawPeer, KeyPair) {
    let keypair = KeyPair::generate(0).unwrap();
    let (peer, _) = RawPeer::connect(node.address, &keypair, STORAGE_CAPABILITY).unwrap();
    let node_id = NodeId::new(keypair.get_public_key());
    wait_for("the peer to be taken in", || node.speaks_storage_with(&node_id));
    (peer, keypair)
}

#[test]
fn a_flood_of_requests_and_answers_does_not_keep_others_from_being_served() {
    let limited = ProtocolConfig {
        max_storage_messages_per_second: 50,
        ..config()
    };
    let server = archive();
    let (asking, holding) = asking_and_holding(&limited, &server);
    let (mut flooding, keypair) = connect(&holding);
    for request_id in 0..2_000u64 {
        let message = if request_id % 2 == 0 {
            held_request(request_id)
        } else {
            StorageMessage::Busy { request_id }
        };
        flooding.write(&frame(&message)).unwrap();
    }
    let answers = asking.ask(pages(&server), &[holding.node_id], FetchPriority::Reader);
    check(&pages(&server), &events(&answers), &server, holding.node_id);
    wait_for("the flood to be dropped", || {
        holding.counters.dropped.load(Relaxed) >= 1_500
    });
    assert!(holding.is_connected_to(&id_of(&keypair)), "its connection stays");
}

/// So a message type can be added: who does not know it yet takes it for one of the few stray messages that it forgives.
#[test]
fn a_peer_that_sends_a_storage_message_of_an_unknown_type_stays_connected_and_is_served() {
    let holding = ArchiveNode::start(&config(), &archive());
    let (mut newer, keypair) = connect(&holding);
    newer.write(&[4, 100, 1, 2, 3]).unwrap();
    newer.write(&frame(&held_request(1))).unwrap();
    let is_answer = |frame: &[u8]| matches!(read(&frame[1..]), StorageMessage::HeldResponse { request_id: 1, .. });
    while !is_answer(&newer.read_type(4).unwrap()) {}
    assert!(holding.is_connected_to(&id_of(&keypair)));
    assert_eq!(holding.counters.stray.load(Relaxed), 1);
    assert_eq!(holding.counters.quarantined.load(Relaxed), 0);
}

#[test]
fn answers_with_foreign_ids_are_ignored() {
    let server = archive();
    let (asking, holding) = asking_and_holding(&config(), &server);
    let foreign: Behaviour = Box::new(|message| match message {
        StorageMessage::ChunkResponse {
            request_id,
            page,
            answer,
        } => Some(write(&StorageMessage::ChunkResponse {
            request_id: request_id + 1000,
            page,
            answer,
        })),
        _ => None,
    });
    let rogue = Rogue::start(&asking, Arc::clone(&server), foreign);
    let holders = [rogue.node_id, holding.node_id];
    let answers = asking.ask(pages(&server), &holders, FetchPriority::Reader);
    check(&pages(&server), &events(&answers), &server, holding.node_id);
    assert!(asking.counters.stray.load(Relaxed) > 0);
    assert!(!asking.has_quarantined(&rogue.node_id));
}

#[test]
fn a_holder_that_stops_in_the_middle_is_replaced_for_the_missing_pages() {
    let server = archive();
    let (asking, holding) = asking_and_holding(&config(), &server);
    let mut left = 2;
    let stops: Behaviour = Box::new(move |message| {
        left -= i32::from(left > 0);
        (left > 0).then(|| write(&message))
    });
    let rogue = Rogue::start(&asking, Arc::clone(&server), stops);
    let holders = [rogue.node_id, holding.node_id];
    // One after the other, so that it is asked at all: which holder is asked first is open.
    let mut of_rogue = 0;
    for _ in 0..2 {
        let answers = asking.ask(pages(&server), &holders, FetchPriority::Reader);
        let events = events(&answers);
        assert_eq!(events.len(), server.chunk.pages() as usize);
        for event in events {
            let FetchEvent::Page { from, .. } = event else {
                panic!("{event:?}");
            };
            of_rogue += usize::from(from == rogue.node_id);
        }
    }
    assert_eq!(of_rogue, 1);
    assert!(!asking.has_quarantined(&rogue.node_id));
}

#[test]
fn with_200_ms_delay_and_2_percent_loss_every_chunk_arrives() {
    let server = archive();
    let faulty = |seed| ProtocolConfig {
        link_faults: LinkFaults {
            delay: Duration::from_millis(200),
            loss_one_in: 50,
            seed,
        },
        ..config()
    };
    let holding: Vec<ArchiveNode> = (0..3).map(|seed| ArchiveNode::start(&faulty(seed), &server)).collect();
    let initial_peers = holding.iter().map(ArchiveNode::peer_address).collect();
    let config = ProtocolConfig {
        initial_peers,
        ..faulty(3)
    };
    let asking = ArchiveNode::start(&config, &no_archive());
    let holders: Vec<NodeId> = holding.iter().map(|node| node.node_id).collect();
    wait_for("all to speak storage", || {
        holders.iter().all(|holder| asking.speaks_storage_with(holder))
    });
    let mut asked = Vec::new();
    for number in 0..2 * SEGMENTS {
        let target = FetchTarget::Pages {
            position: ChunkPosition::new(number / 2, (number % 2) as u32).unwrap(),
            chunk: server.chunk.table,
            pages: 0..server.chunk.pages(),
        };
        let (fetch, answers) = fetch(number, target, &holders, FetchPriority::Repair);
        asking.network.fetch(fetch).unwrap();
        asked.push(answers);
    }
    for answers in asked {
        assert_eq!(events(&answers).len(), server.chunk.pages() as usize);
    }
}

/// Of a link on which much more waits than it carries at once.
#[test]
fn a_header_overtakes_the_pages_that_wait() {
    const REQUESTS: u64 = 4;
    let slow = ProtocolConfig {
        rate_limit: 200_000,
        message_timeout: massa_time::MassaTime::from_millis(10_000),
        ..config()
    };
    let server = Arc::new(TestServer::new(SEGMENTS, SMALL_PERIOD, TestChunk::new(1 << 20, 3)));
    let holding = ArchiveNode::start(&slow, &server);
    let (mut peer, _) = connect(&holding);
    for request_id in 0..REQUESTS {
        let request = StorageMessage::ChunkRequest {
            request_id,
            position: ChunkPosition::new(3, 1).unwrap(),
            chunk_id: server.chunk.table.id,
            first_page: 0,
            pages: server.chunk.pages(),
            with_first_page: false,
            lane: Lane::Bulk,
        };
        peer.write(&frame(&request)).unwrap();
    }
    let is_page = |frame: &[u8]| frame[0] == 4 && matches!(read(&frame[1..]), StorageMessage::ChunkResponse { .. });
    while !is_page(&peer.read().unwrap()) {}
    let block = block(Slot::new(3, 0), &[]);
    let mut storage = holding.storage.clone_without_refs();
    storage.store_block(block.clone());
    holding.protocol.integrated_block(block.id, storage).unwrap();
    let mut pages_before = 1;
    loop {
        let frame = peer.read().unwrap();
        if frame[0] == 0 {
            break;
        }
        pages_before += u64::from(is_page(&frame));
    }
    let all = REQUESTS * u64::from(server.chunk.pages());
    assert!(
        pages_before < all / 2,
        "the header came behind {pages_before} of {all} pages"
    );
}

/// What a peer sends of the archive waits for the storage handler alone.
#[test]
fn a_block_is_taken_from_a_peer_that_floods_with_storage_messages() {
    let server = archive();
    let (asking, holding) = asking_and_holding(&config(), &server);
    let (mut flooding, _) = connect(&holding);
    for request_id in 0..20_000u64 {
        flooding.write(&frame(&held_request(request_id))).unwrap();
    }
    let block = block(Slot::new(3, 0), &[]);
    let mut header = vec![0, 0];
    massa_serialization::Serializer::serialize(
        &massa_models::secure_share::SecureShareSerializer::new(),
        &block.content.header,
        &mut header,
    )
    .unwrap();
    flooding.write(&header).unwrap();
    wait_for("the header behind the flood", || {
        holding.consensus.has_header(&block.id)
    });
    let answers = asking.ask(tables(2), &[holding.node_id], FetchPriority::Reader);
    check(&tables(2), &events(&answers), &server, holding.node_id);
}
