//! How nodes find each other.

mod common;

use common::raw_peer::RawPeer;
use common::{id_of, wait_for, TestNode};
use massa_distributed_storage_exports::network::{Fetch, FetchPriority, FetchTarget, StorageNetwork};
use massa_models::node::NodeId;
use massa_protocol_exports::{PeerAddress, ProtocolConfig};
use massa_protocol_worker::handlers::peer_handler::models::MAX_PEERS;
use massa_protocol_worker::handlers::peer_handler::{
    PeerListeners, PeerManagementMessage, PeerManagementMessageSerializer,
};
use massa_serialization::Serializer;
use massa_signature::KeyPair;

fn list(peers: Vec<PeerListeners>) -> Vec<u8> {
    let mut message = vec![3];
    PeerManagementMessageSerializer::new()
        .serialize(&PeerManagementMessage::ListPeers(peers), &mut message)
        .unwrap();
    message
}

fn strangers(count: usize) -> Vec<PeerListeners> {
    let stranger = |_| {
        let id = id_of(&KeyPair::generate(0).unwrap());
        (id, vec!["127.0.0.1:9".parse().unwrap()])
    };
    (0..count).map(stranger).collect()
}

#[test]
fn a_node_finds_the_peers_of_its_peers() {
    let first = TestNode::start(common::config());
    let second = TestNode::start_dialing(common::config(), &[&first]);
    wait_for("the first connection", || second.is_connected_to(&first.peer_id));
    let third = TestNode::start_dialing(common::config(), &[&second]);
    wait_for("the third to find the first", || third.is_connected_to(&first.peer_id));
}

#[test]
fn the_number_of_peers_remembered_is_bounded() {
    let node = TestNode::start(ProtocolConfig {
        target_out_connections: 0,
        ..common::config()
    });
    let (mut peer, _) = RawPeer::connect(node.address, &KeyPair::generate(0).unwrap(), b"").unwrap();
    let known = || node.protocol.get_stats().unwrap().0.known_peer_count;
    for _ in 0..MAX_PEERS / 100 + 2 {
        peer.write(&list(strangers(100))).unwrap();
    }
    wait_for("the table to be full", || known() == MAX_PEERS as u64);
    let mut last = strangers(100);
    last.truncate(1);
    peer.write(&list(last)).unwrap();
    assert_eq!(known(), MAX_PEERS as u64);
}

#[test]
fn a_list_longer_than_allowed_is_ignored() {
    let node = TestNode::start(ProtocolConfig {
        target_out_connections: 0,
        ..common::config()
    });
    let (mut peer, _) = RawPeer::connect(node.address, &KeyPair::generate(0).unwrap(), b"").unwrap();
    peer.write(&list(strangers(101))).unwrap();
    peer.write(&list(strangers(5))).unwrap();
    let known = || node.protocol.get_stats().unwrap().0.known_peer_count;
    wait_for("the second list", || known() >= 5);
    assert_eq!(known(), 6, "five strangers and the peer itself");
}

#[test]
fn a_node_does_not_stay_connected_to_somebody_else_than_it_dialed() {
    let other = TestNode::start(common::config());
    let expected = id_of(&KeyPair::generate(0).unwrap());
    let node = TestNode::start(ProtocolConfig {
        initial_peers: vec![PeerAddress {
            peer_id: expected,
            address: other.address,
        }],
        ..common::config()
    });
    // The dialed node's list of peers would arrive before this one's if they were connected.
    let third = TestNode::start_dialing(common::config(), &[&node]);
    wait_for("a connection", || third.is_connected_to(&node.peer_id));
    assert!(!node.is_connected_to(&other.peer_id) && !node.is_connected_to(&expected));
}

#[test]
fn a_holder_is_dialed_by_its_id_when_something_is_asked_of_it() {
    let config = ProtocolConfig {
        storage_enabled: true,
        target_out_connections: 0,
        ..common::config()
    };
    let (asking, holder) = (TestNode::start(config.clone()), TestNode::start(config));
    asking.protocol.add_peer_addresses(vec![holder.peer_address()]).unwrap();
    let (reply, _answers) = crossbeam_channel::bounded(8);
    let fetch = Fetch {
        id: 1,
        target: FetchTarget::Tables {
            first_segment: 0,
            count: 1,
        },
        holders: vec![NodeId::new(holder.keypair.get_public_key())],
        priority: FetchPriority::Reader,
        reply,
    };
    assert!(asking.connected().is_empty());
    asking.network.fetch(fetch).unwrap();
    wait_for("the holder to be dialed", || asking.is_connected_to(&holder.peer_id));
}
