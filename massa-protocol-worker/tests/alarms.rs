//! What nodes find out about themselves from their peers, over sockets.

mod common;

use common::raw_peer::RawPeer;
use common::{block_with, config, free_address, id_of, producer, wait_for, TestNode, THREADS};
use massa_models::address::Address;
use massa_models::block::SecureShareBlock;
use massa_models::secure_share::SecureShareSerializer;
use massa_models::slot::Slot;
use massa_pos_exports::{PosResult, Selection, SelectorController};
use massa_protocol_exports::{ClockWitness, PeerAddress, ProtocolConfig};
use massa_protocol_worker::checks::identity::{IdProof, Nonce};
use massa_protocol_worker::handlers::peer_handler::{
    PeerManagementMessage, PeerManagementMessageDeserializer, PeerManagementMessageDeserializerArgs,
    PeerManagementMessageSerializer, Report,
};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Type of messages about peers.
const PEERS: u8 = 3;

fn key() -> KeyPair {
    KeyPair::generate(0).unwrap()
}

fn dialing(address: PeerAddress) -> ProtocolConfig {
    ProtocolConfig {
        initial_peers: vec![address],
        ..config()
    }
}

/// A node with this key, which dials `peer`.
fn node_with(keypair: &KeyPair, peer: PeerAddress) -> TestNode {
    TestNode::start_with(dialing(peer), keypair.clone(), None)
}

fn has_identity_alarm(node: &TestNode) -> bool {
    node.protocol.get_alarms().identity.is_some()
}

fn frame(message: &PeerManagementMessage) -> Vec<u8> {
    let mut frame = vec![PEERS];
    PeerManagementMessageSerializer::new()
        .serialize(message, &mut frame)
        .unwrap();
    frame
}

/// The next proof that a node sends.
fn read_proof(peer: &mut RawPeer) -> IdProof {
    let deserializer = PeerManagementMessageDeserializer::new(PeerManagementMessageDeserializerArgs::from(&config()));
    loop {
        let frame = peer.read_type(PEERS).unwrap();
        let (_, message) = deserializer.deserialize::<DeserializeError>(&frame[1..]).unwrap();
        if let PeerManagementMessage::IdProof(proof) = message {
            return proof;
        }
    }
}

/// The nonce at the end of a first frame.
fn nonce_of(first: &[u8]) -> Nonce {
    Nonce::from_bytes(*first.last_chunk().unwrap())
}

/// What a peer that knows checks says after its announcement.
fn capabilities(nonce: Nonce) -> Vec<u8> {
    [&b"MCAP\x01\x02"[..], &nonce.to_bytes()].concat()
}

#[test]
fn two_processes_with_one_key_hear_of_each_other_from_a_peer_of_both() {
    let peer = TestNode::start(config());
    let keypair = key();
    let first = node_with(&keypair, peer.peer_address());
    wait_for("the first process to be connected", || {
        peer.is_connected_to(&first.peer_id)
    });
    assert!(!has_identity_alarm(&first));
    let second = node_with(&keypair, peer.peer_address());
    wait_for("the second process to hear of the first", || {
        has_identity_alarm(&second)
    });
    wait_for("the first process to hear of the second", || has_identity_alarm(&first));
    assert!(!has_identity_alarm(&peer));
}

#[test]
fn a_node_that_comes_back_is_no_second_process() {
    let peer = TestNode::start(config());
    let keypair = key();
    for _ in 0..3 {
        let node = node_with(&keypair, peer.peer_address());
        wait_for("both sides to be connected", || {
            peer.is_connected_to(&node.peer_id) && node.is_connected_to(&peer.peer_id)
        });
        assert!(!has_identity_alarm(&node));
        node.stop();
    }
}

#[test]
fn a_connection_that_is_dead_gives_way_to_the_process_that_came_back() {
    let peer = TestNode::start(config());
    let keypair = key();
    // As a machine that lost power: it is connected, and answers nothing.
    let silent = capabilities(Nonce::from_bytes([1; 32]));
    let (_silent, _) = RawPeer::connect(peer.address, &keypair, &silent).unwrap();
    wait_for("the silent one to be connected", || {
        peer.is_connected_to(&id_of(&keypair))
    });
    let node = node_with(&keypair, peer.peer_address());
    // A peer that took it in tells it of others; one that refused it did not.
    let third = TestNode::start_dialing(config(), &[&peer]);
    wait_for("the node to hear of others", || node.is_connected_to(&third.peer_id));
    assert!(!has_identity_alarm(&node));
}

#[test]
fn who_has_not_the_key_cannot_make_a_node_believe_in_a_second_process() {
    let node = TestNode::start(config());
    let hostile = key();
    let foreign = Nonce::from_bytes([1; 32]);
    let (mut peer, first) = RawPeer::connect(node.address, &hostile, &capabilities(foreign)).unwrap();
    let own = nonce_of(&first);
    // Signed by somebody else; and then the node is asked to sign its own nonce, and one more that is not its own.
    let forged = IdProof::new(own, foreign, &hostile).unwrap();
    peer.write(&frame(&PeerManagementMessage::IdProof(forged))).unwrap();
    peer.write(&frame(&PeerManagementMessage::ProveId(own))).unwrap();
    peer.write(&frame(&PeerManagementMessage::ProveId(foreign))).unwrap();
    let proof = read_proof(&mut peer);
    assert_eq!(
        (proof.nonce, proof.is_of(&node.peer_id)),
        (foreign, true),
        "not of its own nonce"
    );
    // A signature by the node's key, shown for another nonce than it is of.
    let moved = IdProof { nonce: own, ..proof };
    let (mut later, _) = RawPeer::connect(node.address, &key(), &capabilities(foreign)).unwrap();
    later.write(&frame(&PeerManagementMessage::IdProof(moved))).unwrap();
    later.write(&frame(&PeerManagementMessage::ProveId(foreign))).unwrap();
    read_proof(&mut later);
    assert!(!has_identity_alarm(&node));
}

#[test]
fn two_processes_with_one_key_that_meet_know_it() {
    let keypair = key();
    let first = TestNode::start_with(config(), keypair.clone(), None);
    let at_first = PeerAddress {
        peer_id: id_of(&key()),
        address: first.address,
    };
    let second = node_with(&keypair, at_first);
    wait_for("both to know it", || {
        has_identity_alarm(&first) && has_identity_alarm(&second)
    });
}

/// Passes connections on to `address`, and counts those that ended.
fn relay(address: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, ended) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&ended);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Ok(target) = TcpStream::connect(address) else {
                return;
            };
            let (mut from, mut to) = (stream.try_clone().unwrap(), target.try_clone().unwrap());
            let back = std::thread::spawn(move || std::io::copy(&mut &target, &mut &stream));
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
            let _ = back.join();
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (own, ended)
}

#[test]
fn a_node_that_reaches_itself_by_another_address_is_no_second_process() {
    let address = free_address();
    let (by_relay, ended) = relay(address);
    let at_relay = PeerAddress {
        peer_id: id_of(&key()),
        address: by_relay,
    };
    let node = TestNode::start(ProtocolConfig {
        listeners: vec![address],
        ..dialing(at_relay)
    });
    wait_for("the node to meet itself twice", || ended.load(Ordering::SeqCst) >= 2);
    assert!(!has_identity_alarm(&node));
}

#[test]
fn a_clock_that_is_not_that_of_two_peers_is_an_alarm_until_they_are_outnumbered() {
    let node = TestNode::start(config());
    let clock = || node.protocol.get_alarms().clock;
    // The time in their announcements is years ago.
    let (_one, _) = RawPeer::connect(node.address, &key(), b"").unwrap();
    wait_for("the first peer", || node.connected().len() == 1);
    assert_eq!(clock(), None, "one may be wrong itself");
    let (_two, _) = RawPeer::connect(node.address, &key(), b"").unwrap();
    wait_for("the alarm", || clock().is_some());
    let alarm = clock().unwrap();
    assert_eq!((alarm.witnesses, alarm.by), (2, ClockWitness::Peers));
    assert!(alarm.ahead_ms > 1_000 * 3_600 * 24 * 365, "{alarm:?}");
    let _honest: Vec<TestNode> = (0..2).map(|_| TestNode::start_dialing(config(), &[&node])).collect();
    wait_for("the alarm to end", || clock().is_none());
}

#[test]
fn a_peers_report_counts_for_the_clock() {
    let node = TestNode::start(config());
    let behind = MassaTime::now().saturating_add(MassaTime::from_millis(30_000));
    let report = frame(&PeerManagementMessage::Report(Report {
        time: behind,
        state: None,
    }));
    let mut peers: Vec<RawPeer> = (0..2)
        .map(|_| RawPeer::connect(node.address, &key(), b"").unwrap().0)
        .collect();
    wait_for("both peers", || node.connected().len() == 2);
    peers.iter_mut().for_each(|peer| peer.write(&report).unwrap());
    wait_for("the node's clock to be behind", || {
        let alarm = node.protocol.get_alarms().clock;
        alarm.is_some_and(|alarm| (-31_000..-20_000).contains(&alarm.ahead_ms))
    });
}

/// Each thread has its own producer.
#[derive(Clone)]
struct ProducerOfThread([KeyPair; THREADS as usize]);

impl SelectorController for ProducerOfThread {
    fn get_selection(&self, slot: Slot) -> PosResult<Selection> {
        let producer = self.get_producer(slot)?;
        Ok(Selection {
            endorsements: Vec::new(),
            producer,
        })
    }

    fn get_producer(&self, slot: Slot) -> PosResult<Address> {
        let keypair = &self.0[usize::from(slot.thread)];
        Ok(Address::from_public_key(&keypair.get_public_key()))
    }

    fn clone_box(&self) -> Box<dyn SelectorController> {
        Box::new(self.clone())
    }
}

fn header_message(block: &SecureShareBlock) -> Vec<u8> {
    let mut message = vec![0, 0];
    SecureShareSerializer::new()
        .serialize(&block.content.header, &mut message)
        .unwrap();
    message
}

#[test]
fn headers_from_the_future_show_a_clock_that_is_behind_if_their_producers_signed_them() {
    let producers = ProducerOfThread([producer(), key()]);
    // By the node's clock, the 100 periods of a second since the first slot began are 100 s.
    let soon = |thread| Slot::new(130, thread);
    let blocks: Vec<_> = (0..THREADS)
        .map(|thread| block_with(soon(thread), &[], &producers.0[usize::from(thread)]))
        .collect();
    let by_others: Vec<_> = (0..THREADS)
        .map(|thread| block_with(soon(thread), &[], &key()))
        .collect();
    let node = TestNode::start_in_chain(config(), key(), None, &producers);
    let (mut peer, _) = RawPeer::connect(node.address, &key(), b"").unwrap();
    for block in by_others.iter().chain(&blocks[..1]) {
        peer.write(&header_message(block)).unwrap();
    }
    let recent = block_with(Slot::new(100, 0), &[], &producers.0[0]);
    peer.write(&header_message(&recent)).unwrap();
    wait_for("the headers before it to be read", || {
        node.consensus.has_header(&recent.id)
    });
    assert_eq!(node.protocol.get_alarms().clock, None, "of one producer only");
    peer.write(&header_message(&blocks[1])).unwrap();
    wait_for("the alarm", || node.protocol.get_alarms().clock.is_some());
    let alarm = node.protocol.get_alarms().clock.unwrap();
    assert_eq!((alarm.witnesses, alarm.by), (2, ClockWitness::Producers));
    assert!(
        alarm.ahead_ms < 0 && !node.consensus.has_header(&blocks[1].id),
        "{alarm:?}"
    );
}

#[test]
fn the_node_whose_final_state_differs_says_so_and_no_other() {
    let first = TestNode::start(config());
    let second = TestNode::start_dialing(config(), &[&first]);
    let third = TestNode::start_dialing(config(), &[&first, &second]);
    let nodes = [&first, &second, &third];
    wait_for("all to be connected", || {
        nodes.iter().all(|node| node.connected().len() == 2)
    });
    let slot = Slot::new(8, THREADS - 1);
    for (node, hash) in nodes.into_iter().zip([[1; 32], [1; 32], [2; 32]]) {
        node.protocol.tell_final_state(slot, hash).unwrap();
    }
    let state = |node: &TestNode| node.protocol.get_alarms().state;
    wait_for("the alarm", || state(&third).is_some());
    let alarm = state(&third).unwrap();
    assert_eq!((alarm.slot, alarm.differing, alarm.told), (slot, 2, 2));

    // The next slot, by which all have told the one before.
    let next = Slot::new(16, THREADS - 1);
    nodes
        .into_iter()
        .for_each(|node| node.protocol.tell_final_state(next, [3; 32]).unwrap());
    wait_for("the alarm to end", || state(&third).is_none());
    assert_eq!((state(&first), state(&second)), (None, None));
}
