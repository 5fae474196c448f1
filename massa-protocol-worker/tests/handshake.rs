//! Who may connect, and what ends a connection before and after that.

mod common;

use common::raw_peer::{first_frame, good_prologue, prologue, sign, version, RawPeer, STORAGE_CAPABILITY};
use common::{id_of, wait_for, TestNode, CHAIN_ID};
use massa_distributed_storage_exports::network::{AnnouncedChunk, StorageNetwork};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_protocol_exports::ProtocolConfig;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn key() -> KeyPair {
    KeyPair::generate(0).unwrap()
}

/// A node whose deadlines are short.
fn impatient() -> TestNode {
    TestNode::start(ProtocolConfig {
        message_timeout: MassaTime::from_millis(300),
        ..common::config()
    })
}

/// Goes through the handshake after the first frame was sent, and waits for the end of the connection.
#[track_caller]
fn expect_refusal(mut peer: RawPeer, keypair: &KeyPair) {
    let _ = peer.read();
    let _ = peer.prove(keypair);
    peer.expect_end();
}

fn node() -> TestNode {
    TestNode::start(common::config())
}

/// A good handshake; returns when the node has taken the peer in.
fn connect(node: &TestNode, keypair: &KeyPair) -> RawPeer {
    let (peer, _) = RawPeer::connect(node.address, keypair, b"").unwrap();
    wait_for("the peer to be taken in", || node.is_connected_to(&id_of(keypair)));
    peer
}

#[test]
fn a_peer_that_keeps_to_the_documents_is_taken_in() {
    let (node, keypair) = (node(), key());
    let (_peer, first) = RawPeer::connect(node.address, &keypair, b"").unwrap();
    wait_for("the peer to be taken in", || node.is_connected_to(&id_of(&keypair)));
    assert_eq!(first[..33], node.keypair.get_public_key().to_bytes());
    assert_eq!(first[33..37], *b"MAIN");
    assert_eq!(first[37..40], [5, 0, 0], "major, minor, code");
}

#[test]
fn a_peer_of_another_chain_or_network_does_not_get_a_channel() {
    let node = node();
    for other in [prologue(CHAIN_ID + 1, "MAIN"), prologue(CHAIN_ID, "TEST"), Vec::new()] {
        assert!(RawPeer::dial(node.address, &other).is_err());
    }
    assert!(RawPeer::dial(node.address, &good_prologue()).is_ok());
}

#[test]
fn a_peer_of_another_major_version_is_refused() {
    let (node, keypair) = (node(), key());
    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    let version = "MAIN.6.0".parse().unwrap();
    peer.write(&first_frame(&keypair, &version, &[], b"")).unwrap();
    expect_refusal(peer, &keypair);

    let mut newer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    let version = "MAIN.5.9".parse().unwrap();
    newer.write(&first_frame(&keypair, &version, &[], b"")).unwrap();
    newer.read().unwrap();
    newer.prove(&keypair).unwrap();
    wait_for("another minor version to be taken in", || {
        node.is_connected_to(&id_of(&keypair))
    });
}

#[test]
fn a_peer_that_has_not_the_key_of_its_id_is_refused() {
    let (node, keypair, thief) = (node(), key(), key());
    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&first_frame(&keypair, &version(), &[], b"")).unwrap();
    peer.read().unwrap();
    let _ = peer.prove(&thief);
    peer.expect_end();
    assert!(node.connected().is_empty());
}

#[test]
fn a_signature_of_an_earlier_connection_is_worth_nothing() {
    let (node, keypair) = (node(), key());
    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&first_frame(&keypair, &version(), &[], b"")).unwrap();
    peer.read().unwrap();
    peer.write(&[9; 32]).unwrap();
    let old_random = peer.read().unwrap();
    let old_signature = sign(&keypair, &old_random, &peer.hash);
    drop(peer);

    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&first_frame(&keypair, &version(), &[], b"")).unwrap();
    peer.read().unwrap();
    peer.write(&[9; 32]).unwrap();
    assert_ne!(peer.read().unwrap(), old_random);
    peer.write(&old_signature).unwrap();
    peer.expect_end();
    assert!(node.connected().is_empty());
}

#[test]
fn somebody_in_the_middle_cannot_relay_the_handshake_of_two_nodes() {
    let (first, second) = (node(), node());
    let mut to_first = RawPeer::dial(first.address, &good_prologue()).unwrap();
    let mut to_second = RawPeer::dial(second.address, &good_prologue()).unwrap();
    // Three frames each way, handed across unchanged.
    for _ in 0..3 {
        let (from_first, from_second) = (to_first.read().unwrap(), to_second.read().unwrap());
        to_first.write(&from_second).unwrap();
        to_second.write(&from_first).unwrap();
    }
    to_first.expect_end();
    to_second.expect_end();
    assert!(first.connected().is_empty() && second.connected().is_empty());
}

#[test]
fn an_announcement_signed_by_somebody_else_is_refused() {
    let (node, keypair, other) = (node(), key(), key());
    let mut frame = first_frame(&other, &version(), &[], b"");
    frame[..33].copy_from_slice(&keypair.get_public_key().to_bytes());
    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&frame).unwrap();
    expect_refusal(peer, &keypair);
}

#[test]
fn a_node_does_not_connect_to_itself() {
    let node = node();
    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&first_frame(&node.keypair, &version(), &[], b"")).unwrap();
    expect_refusal(peer, &node.keypair);
}

#[test]
fn a_truncated_first_frame_is_refused() {
    let node = node();
    let frame = first_frame(&key(), &version(), &["127.0.0.1:1".parse().unwrap()], b"");
    for length in [0, 1, 32, 33, 36, 39, 40, 41, frame.len() - 1] {
        let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
        peer.write(&frame[..length]).unwrap();
        peer.expect_end();
    }
}

#[test]
fn a_peer_that_stays_silent_in_the_handshake_is_dropped() {
    let node = impatient();
    let mut mute = TcpStream::connect(node.address).unwrap();
    mute.set_read_timeout(Some(common::DEADLINE)).unwrap();
    // The end of the connection, either way.
    assert!(matches!(mute.read(&mut [0; 10]), Ok(0) | Err(_)));

    RawPeer::dial(node.address, &good_prologue()).unwrap().expect_end();

    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&first_frame(&key(), &version(), &[], b"")).unwrap();
    peer.expect_end();
}

#[test]
fn what_is_not_the_protocol_is_dropped() {
    let node = impatient();
    let mut browser = TcpStream::connect(node.address).unwrap();
    browser.set_read_timeout(Some(common::DEADLINE)).unwrap();
    browser
        .write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        .unwrap();
    assert!(matches!(browser.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn a_frame_longer_than_allowed_ends_the_connection_before_it_is_read() {
    let node = TestNode::start(ProtocolConfig {
        max_message_size: 1_000,
        ..common::config()
    });
    let mut peer = connect(&node, &key());
    peer.write(&vec![1; 1_000]).unwrap();
    let mut peer_with_larger = connect(&node, &key());
    peer_with_larger.stream.write_all(&1_018u32.to_be_bytes()).unwrap();
    peer_with_larger.expect_end();
    assert_eq!(node.connected().len(), 1, "the allowed one stays");
}

#[test]
fn a_frame_that_stalls_ends_the_connection() {
    let node = impatient();
    let mut peer = connect(&node, &key());
    let frame = peer.encrypt(&[1; 100]);
    peer.stream.write_all(&frame[..50]).unwrap();
    peer.expect_end();
}

#[test]
fn a_frame_that_drips_ends_the_connection() {
    let node = impatient();
    let keypair = key();
    let mut peer = connect(&node, &keypair);
    let frame = peer.encrypt(&[1; 10_000]);
    let start = Instant::now();
    let dripped = frame.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        peer.stream.write_all(&[**byte]).is_ok() && node.is_connected_to(&id_of(&keypair))
    });
    assert!(dripped.count() < frame.len());
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_changed_byte_ends_the_connection() {
    let node = node();
    let mut peer = connect(&node, &key());
    let mut frame = peer.encrypt(&[1; 100]);
    frame[50] ^= 1;
    peer.stream.write_all(&frame).unwrap();
    peer.expect_end();
}

#[test]
fn a_repeated_frame_ends_the_connection() {
    let node = node();
    let mut peer = connect(&node, &key());
    let frame = peer.encrypt(&[1; 100]);
    peer.stream.write_all(&frame).unwrap();
    peer.stream.write_all(&frame).unwrap();
    peer.expect_end();
}

#[test]
fn a_frame_cut_in_two_on_the_way_ends_the_connection() {
    let node = node();
    let mut peer = connect(&node, &key());
    // The first segment of a longer frame, made to look like a frame of its own.
    let plain = [&[1][..], &[1; 100]].concat();
    let mut segment = vec![0; plain.len() + 16];
    let size = peer.noise.write_message(&plain, &mut segment).unwrap();
    peer.stream
        .write_all(&u32::try_from(size).unwrap().to_be_bytes())
        .unwrap();
    peer.stream.write_all(&segment).unwrap();
    peer.expect_end();
}

#[test]
fn an_unknown_message_type_ends_the_connection() {
    let node = node();
    for message in [&[5, 1, 2, 3][..], &[0x80, 0x80], &[]] {
        let mut peer = connect(&node, &key());
        peer.write(message).unwrap();
        peer.expect_end();
    }
}

#[test]
fn a_malformed_message_of_a_known_type_is_ignored() {
    let (node, keypair) = (node(), key());
    let mut peer = connect(&node, &keypair);
    for message_type in 0..=4 {
        peer.write(&[message_type]).unwrap();
        peer.write(&[message_type, 0xff, 0xff, 0xff]).unwrap();
        peer.write(&[[message_type; 1].to_vec(), vec![0; 500]].concat())
            .unwrap();
    }
    // The handlers have seen all that when this valid header arrives.
    let block = common::block(massa_models::slot::Slot::new(3, 0), &[]);
    peer.write(&header_message(&block)).unwrap();
    wait_for("a header behind them", || node.consensus.has_header(&block.id));
    assert!(node.is_connected_to(&id_of(&keypair)));
}

fn header_message(block: &massa_models::block::SecureShareBlock) -> Vec<u8> {
    use massa_serialization::Serializer;
    let mut message = vec![0, 0];
    massa_models::secure_share::SecureShareSerializer::new()
        .serialize(&block.content.header, &mut message)
        .unwrap();
    message
}

#[test]
fn a_node_says_whether_it_speaks_storage() {
    let silent = node();
    let speaking = TestNode::start(ProtocolConfig {
        storage_enabled: true,
        ..common::config()
    });
    let (_peer, first) = RawPeer::connect(silent.address, &key(), b"").unwrap();
    assert_eq!(capabilities(&first), b"MCAP\x01\x02");
    let (_peer, first) = RawPeer::connect(speaking.address, &key(), b"").unwrap();
    assert_eq!(capabilities(&first), b"MCAP\x01\x03");
}

/// The capability bytes of a first frame, without the nonce at their end.
fn capabilities(first: &[u8]) -> &[u8] {
    &first[first.len() - 38..first.len() - 32]
}

#[test]
fn storage_messages_go_to_peers_with_the_capability_and_the_others_stay_connected() {
    let node = TestNode::start(ProtocolConfig {
        storage_enabled: true,
        ..common::config()
    });
    let keys = [key(), key(), key()];
    let later = [STORAGE_CAPABILITY, b" and more"].concat();
    let (mut old, _) = RawPeer::connect(node.address, &keys[0], b"").unwrap();
    let (mut new, _) = RawPeer::connect(node.address, &keys[1], STORAGE_CAPABILITY).unwrap();
    let (mut newer, _) = RawPeer::connect(node.address, &keys[2], &later).unwrap();
    wait_for("all to be taken in", || node.connected().len() == 3);

    let chunk = AnnouncedChunk {
        index: ChunkIndex(0),
        id: ChunkId::from_bytes([1; 32]),
    };
    node.network.announce(7, None, vec![chunk]).unwrap();
    new.read_type(4).unwrap();
    newer.read_type(4).unwrap();

    let block = common::block(massa_models::slot::Slot::new(3, 0), &[]);
    node.produce(&block, &[]);
    loop {
        let frame = old.read().unwrap();
        assert_ne!(frame[0], 4, "a storage message for a peer without the capability");
        if frame[0] == 0 {
            break;
        }
    }
    assert!(node.is_connected_to(&id_of(&keys[0])));
}

#[test]
fn a_second_connection_of_the_same_peer_is_refused_and_the_first_stays() {
    let (node, keypair) = (node(), key());
    let mut first = connect(&node, &keypair);
    let mut second = RawPeer::dial(node.address, &good_prologue()).unwrap();
    second.introduce(&keypair, b"").unwrap();
    second.expect_end();

    let block = common::block(massa_models::slot::Slot::new(3, 0), &[]);
    node.produce(&block, &[]);
    assert_eq!(first.read_type(0).unwrap()[1], 0, "a header");
}

#[test]
fn two_nodes_that_dial_each_other_at_once_end_with_one_connection() {
    for _ in 0..5 {
        let (key_a, key_b) = (key(), key());
        let (address_a, address_b) = (common::free_address(), common::free_address());
        let config = |own, peer, peer_key: &KeyPair| ProtocolConfig {
            listeners: vec![own],
            initial_peers: vec![massa_protocol_exports::PeerAddress {
                peer_id: id_of(peer_key),
                address: peer,
            }],
            try_connection_timer_same_peer: MassaTime::from_millis(50),
            ..common::config()
        };
        let (config_a, config_b) = (
            config(address_a, address_b, &key_b),
            config(address_b, address_a, &key_a),
        );
        let start_a = std::thread::spawn(move || TestNode::start_with(config_a, key_a, None));
        let b = TestNode::start_with(config_b, key_b, None);
        let a = start_a.join().unwrap();
        wait_for("one connection", || {
            a.is_connected_to(&b.peer_id) && b.is_connected_to(&a.peer_id)
        });
        // What is sent now arrives, on whichever connection remains.
        let block = common::block(massa_models::slot::Slot::new(4, 0), &[]);
        a.produce(&block, &[]);
        wait_for("a block", || b.consensus.has_block(&block.id));
    }
}

#[test]
fn a_banned_peer_is_cut_off_and_refused_until_the_ban_ends() {
    let (node, keypair) = (node(), key());
    let mut peer = connect(&node, &keypair);
    node.protocol.ban_peers(vec![id_of(&keypair)]).unwrap();
    peer.expect_end();
    assert_eq!(node.protocol.get_stats().unwrap().0.banned_peer_count, 1);

    let mut again = RawPeer::dial(node.address, &good_prologue()).unwrap();
    again.write(&first_frame(&keypair, &version(), &[], b"")).unwrap();
    expect_refusal(again, &keypair);

    node.protocol.unban_peers(vec![id_of(&keypair)]).unwrap();
    wait_for("the ban to end", || {
        node.protocol.get_stats().unwrap().0.banned_peer_count == 0
    });
    connect(&node, &keypair);
}

#[test]
fn a_node_without_a_slot_says_so_and_names_others() {
    let node = TestNode::start(ProtocolConfig {
        max_in_connections: 1,
        ..common::config()
    });
    let first = key();
    let listener = "127.0.0.1:4242".parse().unwrap();
    let mut peer = RawPeer::dial(node.address, &good_prologue()).unwrap();
    peer.write(&first_frame(&first, &version(), &[listener], b"")).unwrap();
    peer.read().unwrap();
    peer.prove(&first).unwrap();
    wait_for("the first to be taken in", || node.is_connected_to(&id_of(&first)));

    let mut turned_away = RawPeer::dial(node.address, &good_prologue()).unwrap();
    let frame = turned_away.read().unwrap();
    assert_eq!(frame[39], 1, "no slot");
    assert_eq!(frame[40..42], [1, 1], "a list with one peer");
    assert_eq!(frame[42..75], first.get_public_key().to_bytes());
}

#[test]
fn a_node_that_is_turned_away_remembers_whom_it_was_told() {
    let full = TestNode::start(ProtocolConfig {
        max_in_connections: 1,
        ..common::config()
    });
    let inside = TestNode::start_dialing(common::config(), &[&full]);
    wait_for("the only slot to be taken", || full.is_connected_to(&inside.peer_id));
    let late = TestNode::start_dialing(common::config(), &[&full]);
    wait_for("the late node to find the other", || {
        late.is_connected_to(&inside.peer_id)
    });
    assert!(!late.is_connected_to(&full.peer_id));
}

#[test]
fn a_stop_does_not_wait_for_peers() {
    let node = node();
    let _mute = TcpStream::connect(node.address).unwrap();
    let _halfway = RawPeer::dial(node.address, &good_prologue()).unwrap();
    let mut stalled = connect(&node, &key());
    let frame = stalled.encrypt(&[1; 100]);
    stalled.stream.write_all(&frame[..50]).unwrap();
    let _idle = connect(&node, &key());
    let (address, start) = (node.address, Instant::now());
    node.stop();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    std::net::TcpListener::bind(address).unwrap();
}
