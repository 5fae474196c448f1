//! The archive over real sockets: everything that can be asked for, and peers that break every rule.

mod common;
#[path = "storage_common/sockets.rs"]
mod sockets;
mod storage_common;

use common::raw_peer::{RawPeer, STORAGE_CAPABILITY};
use common::{block, id_of, wait_for};
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, Capabilities, FetchEvent, FetchFailure, FetchPriority, FetchTarget, LocateId, SlotContent,
    StorageNetwork, MAX_ANNOUNCED_CHUNKS,
};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, SegmentRoot};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_protocol_exports::ProtocolConfig;
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, TablesContent, PIECE_BYTES};
use massa_signature::KeyPair;
use sockets::{
    archive, archive_of, asking_and_holding, changed_by, check, config, events, no_archive, pages, tables, ArchiveNode,
    Behaviour, Rogue, ENTRIES, LARGE_PERIOD, SEGMENTS, SMALL_PERIOD,
};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Instant;
use storage_common::double::{read, write, Told};
use storage_common::{TestServer, DEADLINE};

fn block_bytes(content: &SlotContent<Vec<u8>>) -> usize {
    match content {
        SlotContent::Block(bytes) => bytes.len(),
        SlotContent::Miss => 0,
    }
}

#[test]
fn everything_that_can_be_asked_for_arrives() {
    for period_bytes in [SMALL_PERIOD, LARGE_PERIOD] {
        let server = Arc::new(archive_of(period_bytes));
        let is_large = server.table(2).to_bytes().len() > PIECE_BYTES;
        assert_eq!(is_large, period_bytes == LARGE_PERIOD);
        let (asking, holding) = asking_and_holding(&config(), &server);
        let by_size = |(_, content): &(&Slot, &SlotContent<Vec<u8>>)| block_bytes(content);
        let (largest, content) = server.blocks.iter().max_by_key(by_size).unwrap();
        assert!(block_bytes(content) > 2 * PIECE_BYTES, "it travels in pieces");
        let (miss, _) = server.blocks.iter().min_by_key(by_size).unwrap();
        let id = LocateId::Block(block(Slot::new(1, 0), &[]).id);
        let targets = [
            tables(4),
            ENTRIES,
            FetchTarget::Block { slot: *largest },
            FetchTarget::Block { slot: *miss },
            pages(&server),
            FetchTarget::Held {
                first_segment: 0,
                count: SEGMENTS as u32,
            },
            FetchTarget::Locate { ids: vec![id; 3] },
        ];
        for target in targets {
            for priority in [FetchPriority::Reader, FetchPriority::Repair] {
                let answers = asking.ask(target.clone(), &[holding.node_id], priority);
                check(&target, &events(&answers), &server, holding.node_id);
            }
        }
        assert_eq!(holding.counters.pages_sent.load(Relaxed), 32);
        assert_eq!(asking.counters.pages_received.load(Relaxed), 32);
    }
}

#[test]
fn what_is_announced_arrives_in_messages_of_at_most_256_chunks() {
    let (asking, holding) = asking_and_holding(&config(), &archive());
    let chunk = |index: u32| AnnouncedChunk {
        index: ChunkIndex(index),
        id: ChunkId::from_bytes([index as u8; 32]),
    };
    let chunks: Vec<AnnouncedChunk> = (0..600).map(chunk).collect();
    let root = Some(SegmentRoot::from_bytes([3; 32]));
    holding.network.announce(5, root, chunks.clone()).unwrap();
    for part in chunks.chunks(MAX_ANNOUNCED_CHUNKS) {
        let told = asking.wait_for_told(|told| matches!(told, Told::Announced(..)));
        assert_eq!(told, Told::Announced(holding.node_id, 5, root, part.to_vec()));
    }
    let offered = Told::Changed(asking.node_id, Some(Capabilities::default()));
    holding.wait_for_told(|told| *told == offered);
}

#[test]
fn a_holder_that_is_not_connected_is_dialed_where_the_registry_says_and_asked() {
    let server = archive();
    let dials_nobody_by_itself = ProtocolConfig {
        target_out_connections: 0,
        ..config()
    };
    let holding = ArchiveNode::start(&config(), &server);
    let asking = ArchiveNode::start(&dials_nobody_by_itself, &no_archive());
    let registered = vec![(holding.node_id, vec![holding.address])];
    asking.network.set_registered(registered).unwrap();
    let answers = asking.ask(tables(2), &[holding.node_id], FetchPriority::Reader);
    check(&tables(2), &events(&answers), &server, holding.node_id);
    assert!(asking.is_connected_to(&holding.peer_id));
}

fn wrong_page(message: &mut StorageMessage) {
    if let StorageMessage::ChunkResponse {
        answer: Answer::Found(page),
        ..
    } = message
    {
        page.stored[70] ^= 1;
    }
}

/// The first bytes of a table name the network.
fn foreign_table(message: &mut StorageMessage) {
    let StorageMessage::TablesResponse {
        answer: Answer::Found(content),
        ..
    } = message
    else {
        return;
    };
    match content {
        TablesContent::Whole(tables) => tables[0][2] ^= 1,
        TablesContent::Piece(piece) if piece.offset == 0 => piece.bytes[2] ^= 1,
        TablesContent::Piece(_) => {}
    }
}

fn malformed_entry(message: &mut StorageMessage) {
    if let StorageMessage::EntriesResponse {
        answer: Answer::Found(entries),
        ..
    } = message
    {
        entries[0][0] = 9;
    }
}

#[test]
fn who_sends_what_is_wrong_is_put_in_quarantine_keeps_its_connection_and_the_next_holder_is_asked() {
    let (small, large) = (archive(), Arc::new(archive_of(LARGE_PERIOD)));
    let cut = |message: StorageMessage| Some(write(&message)[..20].to_vec());
    let cases: Vec<(&str, &Arc<TestServer>, FetchTarget, Behaviour)> = vec![
        ("a wrong page", &small, pages(&small), changed_by(wrong_page)),
        (
            "a table of another network",
            &small,
            tables(2),
            changed_by(foreign_table),
        ),
        ("a wrong piece of a table", &large, tables(1), changed_by(foreign_table)),
        ("a malformed entry", &small, ENTRIES, changed_by(malformed_entry)),
        ("a truncated frame", &small, pages(&small), Box::new(cut)),
    ];
    for (what, server, target, behaviour) in cases {
        let (asking, holding) = asking_and_holding(&config(), server);
        let rogue = Rogue::start(&asking, Arc::clone(server), behaviour);
        let holders = [rogue.node_id, holding.node_id];
        let answers = asking.ask(target.clone(), &holders, FetchPriority::Reader);
        check(&target, &events(&answers), server, holding.node_id);
        assert!(asking.has_quarantined(&rogue.node_id), "{what}");
        assert!(!rogue.thread.is_finished(), "{what}: the connection was ended");
    }
}

#[test]
fn what_the_worker_proves_wrong_later_puts_its_sender_in_quarantine() {
    let (asking, holding) = asking_and_holding(&config(), &archive());
    asking.network.quarantine(holding.node_id, "its table has another root");
    wait_for("the quarantine", || asking.has_quarantined(&holding.node_id));
    let answers = asking.ask(tables(1), &[holding.node_id], FetchPriority::Reader);
    let attempts = vec![(holding.node_id, FetchFailure::Quarantined)];
    let failed = FetchEvent::Failed { id: 1, attempts };
    assert_eq!(answers.recv_timeout(DEADLINE), Ok(failed));
}

#[test]
fn a_silent_holder_costs_a_timeout_and_no_more() {
    let server = archive();
    let (asking, holding) = asking_and_holding(&config(), &server);
    let silent = Rogue::start(&asking, Arc::clone(&server), Box::new(|_| None));
    let holders = [silent.node_id, holding.node_id];
    for target in [tables(2), pages(&server)] {
        let answers = asking.ask(target.clone(), &holders, FetchPriority::Reader);
        check(&target, &events(&answers), &server, holding.node_id);
    }
    assert!(!asking.has_quarantined(&silent.node_id));
    assert!(!silent.thread.is_finished());
}

#[test]
fn a_peer_without_the_capability_stays_connected_and_never_receives_a_storage_message() {
    let (asking, holding) = asking_and_holding(&config(), &archive());
    let keypair = KeyPair::generate(0).unwrap();
    let (mut old, _) = RawPeer::connect(holding.address, &keypair, b"").unwrap();
    wait_for("the old peer to be taken in", || {
        holding.is_connected_to(&id_of(&keypair))
    });
    let request = StorageMessage::HeldRequest {
        request_id: 1,
        first_segment: 0,
        count: 1,
    };
    old.write(&[&[4], &write(&request)[..]].concat()).unwrap();
    let chunk = AnnouncedChunk {
        index: ChunkIndex(0),
        id: ChunkId::from_bytes([1; 32]),
    };
    holding.network.announce(5, None, vec![chunk]).unwrap();
    asking.wait_for_told(|told| matches!(told, Told::Announced(..)));
    // More than the storage handler's longest interval: then a header shows that nothing came before it.
    let old_node = NodeId::new(keypair.get_public_key());
    let answers = holding.ask(tables(1), &[old_node], FetchPriority::Reader);
    assert!(matches!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Failed { .. })));
    let block = block(Slot::new(3, 0), &[]);
    let mut storage = holding.storage.clone_without_refs();
    storage.store_block(block.clone());
    holding.protocol.integrated_block(block.id, storage).unwrap();
    loop {
        let frame = old.read().unwrap();
        assert_ne!(frame[0], 4);
        if frame[0] == 0 {
            break;
        }
    }
    assert!(holding.is_connected_to(&id_of(&keypair)));
    assert!(!holding.speaks_storage_with(&old_node));
    assert_eq!(holding.counters.not_spoken.load(Relaxed), 1);
}

#[test]
fn a_node_that_is_full_closes_the_least_useful_storage_connection_for_one_more() {
    // One of eight stays free, so seven connections of others are kept.
    let full = ProtocolConfig {
        target_out_connections: 0,
        max_in_connections: 8,
        ..config()
    };
    let holding = ArchiveNode::start(&full, &archive());
    let request = StorageMessage::HeldRequest {
        request_id: 1,
        first_segment: 0,
        count: 1,
    };
    let connect = || {
        let keypair = KeyPair::generate(0).unwrap();
        let connected = RawPeer::connect(holding.address, &keypair, STORAGE_CAPABILITY);
        connected.map(|(peer, _)| (peer, NodeId::new(keypair.get_public_key())))
    };
    let mut peers = Vec::new();
    for _ in 0..7 {
        let (mut peer, node) = connect().unwrap();
        peer.write(&[&[4], &write(&request)[..]].concat()).unwrap();
        let is_answer = |frame: &[u8]| matches!(read(&frame[1..]), StorageMessage::HeldResponse { .. });
        while !is_answer(&peer.read_type(4).unwrap()) {}
        peers.push((peer, node));
    }
    let is_there = |node: &NodeId| holding.speaks_storage_with(node);
    let deadline = Instant::now() + DEADLINE;
    // The handler looks now and then who is busy; until it did, the newcomer is the one that goes.
    while peers.iter().all(|(_, node)| is_there(node)) {
        assert!(Instant::now() < deadline, "nobody made place");
        if let Ok((peer, node)) = connect() {
            let in_time = || holding.told.try_iter().any(|told| told == Told::Changed(node, None));
            wait_for("the newcomer to be seen", in_time);
            wait_for("one to be closed", || holding.network.peers().len() == 7);
            drop(peer);
        }
    }
    let left = peers.iter().filter(|(_, node)| is_there(node)).count();
    assert!(left >= 5, "one goes for each newcomer: {left}");
}
