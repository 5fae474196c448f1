//! Priorities, rates, faults, and connections that come and go.

mod common;

use common::raw_peer::{RawPeer, STORAGE_CAPABILITY};
use common::{block, id_of, operation, pair, sized_operation, wait_for, TestNode};
use massa_distributed_storage_exports::network::{AnnouncedChunk, StorageNetwork};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::operation::{OperationPrefixId, OperationPrefixIds, SecureShareOperation};
use massa_models::slot::Slot;
use massa_protocol_exports::{LinkFaults, ProtocolConfig};
use massa_protocol_worker::handlers::operation_handler::{OperationMessage, OperationMessageSerializer};
use massa_serialization::Serializer;
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use std::time::{Duration, Instant};

fn fast() -> ProtocolConfig {
    ProtocolConfig {
        rate_limit: 1 << 40,
        ..common::config()
    }
}

/// Operations that a node keeps and serves.
fn give_operations(node: &TestNode, count: u64, bytes: usize) -> (Storage, Vec<SecureShareOperation>) {
    let operations: Vec<_> = (0..count).map(|number| sized_operation(number, bytes)).collect();
    let mut storage = node.storage.clone_without_refs();
    storage.store_operations(operations.clone());
    (storage, operations)
}

fn ask_for(operations: &[SecureShareOperation]) -> Vec<u8> {
    let prefixes: OperationPrefixIds = operations.iter().map(|operation| operation.id.prefix()).collect();
    message(&OperationMessage::AskForOperations(prefixes))
}

fn message(message: &OperationMessage) -> Vec<u8> {
    let mut bytes = vec![2];
    OperationMessageSerializer::new()
        .serialize(message, &mut bytes)
        .unwrap();
    bytes
}

fn connect(node: &TestNode) -> RawPeer {
    let keypair = KeyPair::generate(0).unwrap();
    let (peer, _) = RawPeer::connect(node.address, &keypair, b"").unwrap();
    wait_for("the peer to be taken in", || node.is_connected_to(&id_of(&keypair)));
    peer
}

#[test]
fn a_header_overtakes_operations_that_wait() {
    let node = TestNode::start(fast());
    let (_kept, operations) = give_operations(&node, 100, 200_000);
    let mut peer = connect(&node);
    peer.write(&ask_for(&operations)).unwrap();
    // The first one is here: the writer works, and the others wait, for this peer reads no more until there is a header.
    peer.read_type(2).unwrap();
    let block = block(Slot::new(3, 0), &[]);
    node.produce(&block, &[]);
    let mut before = 1;
    while peer.read().unwrap()[0] == 2 {
        before += 1;
    }
    assert!(before < 90, "the header came behind {before} of 100 messages");
}

#[test]
fn a_peer_that_reads_nothing_is_dropped() {
    let node = TestNode::start(ProtocolConfig {
        message_timeout: MassaTime::from_millis(300),
        ..fast()
    });
    let (_kept, operations) = give_operations(&node, 100, 200_000);
    let mut peer = connect(&node);
    peer.write(&ask_for(&operations)).unwrap();
    wait_for("the peer to be dropped", || node.connected().is_empty());
}

#[test]
fn what_a_node_sends_keeps_to_the_rate_limit() {
    let rate = 300_000;
    let node = TestNode::start(ProtocolConfig {
        rate_limit: rate,
        ..common::config()
    });
    let (_kept, operations) = give_operations(&node, 6, 200_000);
    let mut peer = connect(&node);
    let start = Instant::now();
    peer.write(&ask_for(&operations)).unwrap();
    for _ in 0..operations.len() {
        peer.read_type(2).unwrap();
    }
    // Two seconds' worth may go at once; the rest takes its time.
    let at_least = Duration::from_secs_f64((1_200_000.0 - 2.0 * rate as f64) / rate as f64 - 0.1);
    assert!(start.elapsed() >= at_least, "{:?} < {at_least:?}", start.elapsed());
}

#[test]
fn what_a_node_takes_keeps_to_the_rate_limit() {
    let rate = 300_000;
    let node = TestNode::start(ProtocolConfig {
        rate_limit: rate,
        ..common::config()
    });
    let mut peer = connect(&node);
    let block = block(Slot::new(3, 0), &[]);
    let start = Instant::now();
    for _ in 0..24 {
        peer.write(&[1; 50_000]).unwrap();
    }
    let mut header = vec![0, 0];
    massa_models::secure_share::SecureShareSerializer::new()
        .serialize(&block.content.header, &mut header)
        .unwrap();
    peer.write(&header).unwrap();
    wait_for("the header behind them", || node.consensus.has_header(&block.id));
    let at_least = Duration::from_secs_f64((1_200_000.0 - 2.0 * rate as f64) / rate as f64 - 0.1);
    assert!(start.elapsed() >= at_least, "{:?} < {at_least:?}", start.elapsed());
}

#[test]
fn a_message_of_many_segments_arrives_whole() {
    let (first, second) = pair(fast());
    let operation = sized_operation(1, 250_000);
    let mut storage = first.storage.clone_without_refs();
    storage.store_operations(vec![operation.clone()]);
    first.protocol.propagate_operations(storage).unwrap();
    wait_for("the operation", || second.pool.contains(&operation.id));
    let stored = second.storage.read_operations();
    assert_eq!(
        stored.get(&operation.id).unwrap().serialized_data,
        operation.serialized_data
    );
}

#[test]
fn an_injected_delay_holds_messages_back() {
    let delay = Duration::from_millis(300);
    let node = TestNode::start(ProtocolConfig {
        link_faults: LinkFaults {
            delay,
            ..LinkFaults::default()
        },
        ..common::config()
    });
    let mut peer = connect(&node);
    let block = block(Slot::new(3, 0), &[]);
    let start = Instant::now();
    node.produce(&block, &[]);
    peer.read_type(0).unwrap();
    assert!(start.elapsed() >= delay);
}

#[test]
fn an_injected_loss_takes_storage_messages_and_no_header() {
    let node = TestNode::start(ProtocolConfig {
        storage_enabled: true,
        link_faults: LinkFaults {
            loss_one_in: 1,
            ..LinkFaults::default()
        },
        ..common::config()
    });
    let keypair = KeyPair::generate(0).unwrap();
    let (mut peer, _) = RawPeer::connect(node.address, &keypair, STORAGE_CAPABILITY).unwrap();
    wait_for("the peer to be taken in", || node.is_connected_to(&id_of(&keypair)));
    let chunk = AnnouncedChunk {
        index: ChunkIndex(0),
        id: ChunkId::from_bytes([1; 32]),
    };
    node.network.announce(7, None, vec![chunk]).unwrap();
    node.produce(&block(Slot::new(3, 0), &[]), &[]);
    loop {
        match peer.read().unwrap()[0] {
            0 => break,
            4 => panic!("all storage messages should be lost"),
            _ => {}
        }
    }
}

#[test]
fn a_connection_that_broke_is_opened_again() {
    let config = common::config();
    let first = TestNode::start(config.clone());
    let (address, keypair) = (first.address, first.keypair.clone());
    let second = TestNode::start_dialing(config.clone(), &[&first]);
    wait_for("the connection", || second.is_connected_to(&first.peer_id));
    first.stop();
    wait_for("the end of it", || second.connected().is_empty());

    let config = ProtocolConfig {
        listeners: vec![address],
        ..config
    };
    let first = TestNode::start_with(config, keypair, None);
    wait_for("a new connection", || second.is_connected_to(&first.peer_id));
    // A peer that connects anew is told again what it was told before.
    let block = block(Slot::new(4, 0), &[operation(1)]);
    second.produce(&block, &[operation(1)]);
    wait_for("the block", || first.consensus.has_block(&block.id));
}

#[test]
fn a_peer_that_connects_later_hears_of_recent_blocks_and_operations() {
    let first = TestNode::start(common::config());
    let (block, operation) = (block(Slot::new(4, 0), &[]), operation(1));
    first.produce(&block, &[]);
    let mut storage = first.storage.clone_without_refs();
    storage.store_operations(vec![operation.clone()]);
    first.protocol.propagate_operations(storage).unwrap();

    let second = TestNode::start_dialing(common::config(), &[&first]);
    wait_for("the block", || second.consensus.has_block(&block.id));
    wait_for("the operation", || second.pool.contains(&operation.id));
}

#[test]
fn a_flood_of_announcements_is_bounded_by_what_fits_a_message() {
    let node = TestNode::start(common::config());
    let mut peer = connect(&node);
    let prefix = |number: u32| {
        let mut bytes = [0; 17];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        OperationPrefixId::from(&bytes)
    };
    let too_many: OperationPrefixIds = (0..2_000).map(prefix).collect();
    let allowed: OperationPrefixIds = (5_000..5_010).map(prefix).collect();
    peer.write(&message(&OperationMessage::OperationsAnnouncement(too_many)))
        .unwrap();
    peer.write(&message(&OperationMessage::OperationsAnnouncement(allowed.clone())))
        .unwrap();
    // It asks for those of the second message only.
    let asked = peer.read_type(2).unwrap();
    assert_eq!(asked.len(), 1 + 1 + 1 + 10 * 17);
}
