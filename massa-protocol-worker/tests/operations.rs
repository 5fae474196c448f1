//! Operations travel between nodes.

mod common;

use common::raw_peer::RawPeer;
use common::{id_of, operation, wait_for, TestNode};
use massa_models::operation::SecureShareOperation;
use massa_protocol_exports::ProtocolConfig;
use massa_protocol_worker::handlers::operation_handler::{OperationMessage, OperationMessageSerializer};
use massa_serialization::Serializer;
use massa_signature::KeyPair;

fn propagate(node: &TestNode, operations: &[SecureShareOperation]) {
    let mut storage = node.storage.clone_without_refs();
    storage.store_operations(operations.to_vec());
    node.protocol.propagate_operations(storage).unwrap();
}

#[test]
fn operations_spread_over_a_chain_of_nodes() {
    let config = ProtocolConfig {
        target_out_connections: 1,
        ..common::config()
    };
    let first = TestNode::start(config.clone());
    let second = TestNode::start_dialing(config.clone(), &[&first]);
    wait_for("the first link", || second.is_connected_to(&first.peer_id));
    let third = TestNode::start_dialing(config, &[&second]);
    wait_for("the second link", || third.is_connected_to(&second.peer_id));

    let operations: Vec<_> = (0..3_000).map(operation).collect();
    propagate(&first, &operations);
    for operation in &operations {
        wait_for("each operation", || third.pool.contains(&operation.id));
    }
    assert!(operations.iter().all(|operation| second.pool.contains(&operation.id)));
}

#[test]
fn an_operation_with_an_invalid_signature_costs_the_connection() {
    let node = TestNode::start(common::config());
    let keypair = KeyPair::generate(0).unwrap();
    let (mut peer, _) = RawPeer::connect(node.address, &keypair, b"").unwrap();
    let (good, mut forged) = (operation(1), operation(2));
    forged.signature = good.signature;
    let mut message = vec![2];
    let operations = OperationMessage::Operations(vec![forged.clone()]);
    OperationMessageSerializer::new()
        .serialize(&operations, &mut message)
        .unwrap();
    peer.write(&message).unwrap();
    peer.expect_end();
    assert!(!node.pool.contains(&forged.id));
    wait_for("the ban", || {
        node.protocol.get_stats().unwrap().0.banned_peer_count == 1
    });
    assert!(!node.is_connected_to(&id_of(&keypair)));
}

#[test]
fn an_operation_that_a_peer_promised_and_does_not_send_is_asked_of_another() {
    let node = TestNode::start(ProtocolConfig {
        message_timeout: massa_time::MassaTime::from_millis(200),
        ..common::config()
    });
    let operation = operation(1);
    let mut announcement = vec![2];
    let prefixes = [operation.id.prefix()].into_iter().collect();
    OperationMessageSerializer::new()
        .serialize(&OperationMessage::OperationsAnnouncement(prefixes), &mut announcement)
        .unwrap();
    let (mut silent, _) = RawPeer::connect(node.address, &KeyPair::generate(0).unwrap(), b"").unwrap();
    silent.write(&announcement).unwrap();
    silent.read_type(2).unwrap();
    let (mut helpful, _) = RawPeer::connect(node.address, &KeyPair::generate(0).unwrap(), b"").unwrap();
    helpful.write(&announcement).unwrap();
    assert_eq!(helpful.read_type(2).unwrap()[1], 1, "the other is asked");
    let mut answer = vec![2];
    OperationMessageSerializer::new()
        .serialize(&OperationMessage::Operations(vec![operation.clone()]), &mut answer)
        .unwrap();
    helpful.write(&answer).unwrap();
    wait_for("the operation", || node.pool.contains(&operation.id));
}
