//! Blocks travel between nodes.

mod common;

use common::raw_peer::RawPeer;
use common::{block, block_with, id_of, operation, pair, wait_for, TestNode};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::operation::SecureShareOperation;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_protocol_exports::{BlockArchive, ProtocolConfig};
use massa_protocol_worker::handlers::block_handler::{
    AskForBlockInfo, BlockInfoReply, BlockMessage, BlockMessageDeserializer, BlockMessageDeserializerArgs,
    BlockMessageSerializer,
};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use massa_signature::KeyPair;
use std::sync::Arc;

const SLOT: Slot = Slot::new(5, 1);

/// A peer that answers as the test wants.
struct Liar {
    peer: RawPeer,
    keypair: KeyPair,
    deserializer: BlockMessageDeserializer,
}

impl Liar {
    fn connect(node: &TestNode) -> Self {
        let keypair = KeyPair::generate(0).unwrap();
        let (peer, _) = RawPeer::connect(node.address, &keypair, b"").unwrap();
        wait_for("the peer to be taken in", || node.is_connected_to(&id_of(&keypair)));
        Self {
            peer,
            keypair,
            deserializer: BlockMessageDeserializer::new(BlockMessageDeserializerArgs::from(&node.config)),
        }
    }

    fn send(&mut self, message: BlockMessage) {
        let mut bytes = vec![0];
        BlockMessageSerializer::new().serialize(&message, &mut bytes).unwrap();
        self.peer.write(&bytes).unwrap();
    }

    fn announce(&mut self, block: &SecureShareBlock) {
        self.send(BlockMessage::Header(Box::new(block.content.header.clone())));
    }

    fn answer(&mut self, block_id: BlockId, block_info: BlockInfoReply) {
        self.send(BlockMessage::DataResponse { block_id, block_info });
    }

    fn ask(&mut self, block_id: BlockId, block_info: AskForBlockInfo) -> BlockInfoReply {
        self.send(BlockMessage::DataRequest { block_id, block_info });
        match self.read() {
            BlockMessage::DataResponse { block_info, .. } => block_info,
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self) -> BlockMessage {
        let frame = self.peer.read_type(0).unwrap();
        self.deserializer
            .deserialize::<DeserializeError>(&frame[1..])
            .unwrap()
            .1
    }

    fn expect_question(&mut self, about: &BlockId) -> AskForBlockInfo {
        match self.read() {
            BlockMessage::DataRequest { block_id, block_info } if block_id == *about => block_info,
            other => panic!("{other:?}"),
        }
    }
}

fn operations(count: u64) -> Vec<SecureShareOperation> {
    (0..count).map(operation).collect()
}

fn banned(node: &TestNode) -> u64 {
    node.protocol.get_stats().unwrap().0.banned_peer_count
}

#[test]
fn a_block_that_one_node_makes_reaches_the_other_with_its_operations() {
    let (first, second) = pair(common::config());
    let operations = operations(20);
    let block = block(SLOT, &operations);
    first.produce(&block, &operations);

    wait_for("the block to arrive", || second.consensus.has_block(&block.id));
    let blocks = second.consensus.blocks.lock();
    let storage = &blocks[0].1;
    let stored = storage.read_blocks();
    assert_eq!(stored.get(&block.id).unwrap().serialized_data, block.serialized_data);
    assert_eq!(storage.get_op_refs().len(), operations.len());
}

#[test]
fn a_block_goes_on_to_nodes_that_its_maker_does_not_know() {
    let config = ProtocolConfig {
        target_out_connections: 1,
        ..common::config()
    };
    let first = TestNode::start(config.clone());
    let middle = TestNode::start_dialing(config.clone(), &[&first]);
    wait_for("the first connection", || middle.is_connected_to(&first.peer_id));
    let last = TestNode::start_dialing(config, &[&middle]);
    wait_for("the second connection", || last.is_connected_to(&middle.peer_id));
    let block = block(Slot::new(6, 0), &[]);
    first.produce(&block, &[]);
    wait_for("the block to arrive", || last.consensus.has_block(&block.id));
}

#[test]
fn only_operations_that_are_not_there_are_asked_for() {
    let node = TestNode::start(common::config());
    let operations = operations(10);
    let mut storage = node.storage.clone_without_refs();
    storage.store_operations(operations[..9].to_vec());
    let block = block(SLOT, &operations);
    let mut peer = Liar::connect(&node);
    peer.announce(&block);
    assert_eq!(peer.expect_question(&block.id), AskForBlockInfo::OperationIds);
    peer.answer(block.id, BlockInfoReply::OperationIds(block.content.operations.clone()));
    let missing = AskForBlockInfo::Operations(vec![operations[9].id]);
    assert_eq!(peer.expect_question(&block.id), missing);
    peer.answer(block.id, BlockInfoReply::Operations(operations[9..].to_vec()));
    wait_for("the block", || node.consensus.has_block(&block.id));
}

#[test]
fn what_is_missing_in_an_answer_is_asked_again() {
    let node = TestNode::start(common::config());
    let operations = operations(4);
    let block = block(SLOT, &operations);
    let mut peer = Liar::connect(&node);
    peer.announce(&block);
    peer.expect_question(&block.id);
    peer.answer(block.id, BlockInfoReply::OperationIds(block.content.operations.clone()));
    for operation in operations {
        let AskForBlockInfo::Operations(_) = peer.expect_question(&block.id) else {
            panic!("operations should be asked for");
        };
        peer.answer(block.id, BlockInfoReply::Operations(vec![operation]));
    }
    wait_for("the block", || node.consensus.has_block(&block.id));
}

#[test]
fn a_block_without_known_header_is_asked_for_from_the_header_on() {
    let (first, second) = pair(common::config());
    let operations = operations(3);
    let block = block(SLOT, &operations);
    // Not announced: it is only in the memory of the first.
    let mut storage = first.storage.clone_without_refs();
    storage.store_operations(operations);
    storage.store_block(block.clone());
    let new = PreHashMap::from_iter([(block.id, None)]);
    second.protocol.send_wishlist_delta(new, PreHashSet::default()).unwrap();
    wait_for("the block", || second.consensus.has_block(&block.id));
    assert!(second.consensus.has_header(&block.id));
}

#[test]
fn a_silent_peer_is_passed_over_after_its_deadline() {
    let node = TestNode::start(common::config());
    let block = block(SLOT, &[]);
    let mut silent = Liar::connect(&node);
    silent.announce(&block);
    silent.expect_question(&block.id);
    let mut helpful = Liar::connect(&node);
    helpful.announce(&block);
    assert_eq!(helpful.expect_question(&block.id), AskForBlockInfo::OperationIds);
    helpful.answer(block.id, BlockInfoReply::OperationIds(Vec::new()));
    wait_for("the block", || node.consensus.has_block(&block.id));
}

#[test]
fn a_peer_that_does_not_have_the_block_is_passed_over_at_once() {
    let node = TestNode::start(ProtocolConfig {
        ask_block_timeout: massa_time::MassaTime::from_millis(60_000),
        ..common::config()
    });
    let block = block(SLOT, &[]);
    let mut first = Liar::connect(&node);
    first.announce(&block);
    first.expect_question(&block.id);
    let mut second = Liar::connect(&node);
    first.answer(block.id, BlockInfoReply::NotFound);
    second.expect_question(&block.id);
    second.answer(block.id, BlockInfoReply::OperationIds(Vec::new()));
    wait_for("the block", || node.consensus.has_block(&block.id));
}

#[test]
fn a_block_that_nobody_wants_any_more_is_not_asked_for() {
    let node = TestNode::start(ProtocolConfig {
        ask_block_timeout: massa_time::MassaTime::from_millis(100),
        ..common::config()
    });
    let (dropped, wanted) = (block(SLOT, &[]), block(Slot::new(6, 0), &[]));
    let new = PreHashMap::from_iter([(dropped.id, None)]);
    node.protocol.send_wishlist_delta(new, PreHashSet::default()).unwrap();
    let remove = PreHashSet::from_iter([dropped.id]);
    let new = PreHashMap::from_iter([(wanted.id, None)]);
    node.protocol.send_wishlist_delta(new, remove).unwrap();
    let mut peer = Liar::connect(&node);
    for _ in 0..3 {
        peer.expect_question(&wanted.id);
    }
}

#[test]
fn a_peer_with_wrong_operation_ids_is_banned_and_the_block_comes_from_another() {
    let node = TestNode::start(common::config());
    let block = block(SLOT, &[]);
    let mut liar = Liar::connect(&node);
    liar.announce(&block);
    liar.expect_question(&block.id);
    let foreign = operations(1).iter().map(|operation| operation.id).collect();
    liar.answer(block.id, BlockInfoReply::OperationIds(foreign));
    liar.peer.expect_end();
    wait_for("the ban", || banned(&node) == 1);

    let mut honest = Liar::connect(&node);
    honest.expect_question(&block.id);
    honest.answer(block.id, BlockInfoReply::OperationIds(Vec::new()));
    wait_for("the block", || node.consensus.has_block(&block.id));
}

#[test]
fn a_peer_with_foreign_or_forged_operations_is_banned() {
    let operations = operations(2);
    let foreign = operation(99);
    let mut forged = operations[0].clone();
    forged.signature = operations[1].signature;
    let twice = vec![operations[0].clone(), operations[0].clone()];
    for wrong in [vec![foreign], vec![forged], twice] {
        let node = TestNode::start(common::config());
        let block = block(SLOT, &operations);
        let mut liar = Liar::connect(&node);
        liar.announce(&block);
        liar.expect_question(&block.id);
        liar.answer(block.id, BlockInfoReply::OperationIds(block.content.operations.clone()));
        liar.expect_question(&block.id);
        liar.answer(block.id, BlockInfoReply::Operations(wrong));
        liar.peer.expect_end();
        wait_for("the ban", || banned(&node) == 1);
        assert!(!node.consensus.has_block(&block.id));
    }
}

#[test]
fn a_forged_header_costs_the_connection() {
    let node = TestNode::start(common::config());
    let (block, other) = (block(SLOT, &[]), block(Slot::new(9, 0), &[]));
    let mut forged = block.content.header.clone();
    forged.signature = other.content.header.signature;
    let mut liar = Liar::connect(&node);
    liar.send(BlockMessage::Header(Box::new(forged)));
    liar.peer.expect_end();
    wait_for("the ban", || banned(&node) == 1);
    assert!(!node.consensus.has_header(&block.id));
}

#[test]
fn headers_of_strangers_of_the_future_and_of_genesis_are_not_handed_to_consensus() {
    let node = TestNode::start(common::config());
    let stranger = block_with(SLOT, &[], &KeyPair::generate(0).unwrap());
    let future = block(Slot::new(1_000_000, 0), &[]);
    let far_future = block(Slot::new(u64::MAX, 0), &[]);
    let genesis = block(Slot::new(0, 0), &[]);
    let good = block(SLOT, &[]);
    let mut peer = Liar::connect(&node);
    for refused in [&stranger, &future, &far_future, &genesis] {
        peer.announce(refused);
    }
    peer.announce(&good);
    wait_for("the good one behind them", || node.consensus.has_header(&good.id));
    assert_eq!(node.consensus.headers.lock().len(), 1);
    assert!(
        node.is_connected_to(&id_of(&peer.keypair)),
        "none of them proves a fault"
    );
}

#[test]
fn a_block_with_too_many_bytes_or_an_operation_twice_is_invalid() {
    let node = TestNode::start(ProtocolConfig {
        max_serialized_operations_size_per_block: 1_000,
        ..common::config()
    });
    let large = vec![common::sized_operation(1, 2_000)];
    let large_block = block(SLOT, &large);
    let mut peer = Liar::connect(&node);
    peer.announce(&large_block);
    peer.expect_question(&large_block.id);
    let ids = large_block.content.operations.clone();
    peer.answer(large_block.id, BlockInfoReply::OperationIds(ids));
    peer.expect_question(&large_block.id);
    peer.answer(large_block.id, BlockInfoReply::Operations(large));
    wait_for("the verdict", || {
        node.consensus.invalid.lock().contains(&large_block.id)
    });

    let twice = block(Slot::new(6, 0), &[operation(1), operation(1)]);
    peer.announce(&twice);
    peer.expect_question(&twice.id);
    peer.answer(twice.id, BlockInfoReply::OperationIds(twice.content.operations.clone()));
    wait_for("the verdict", || node.consensus.invalid.lock().contains(&twice.id));
    assert_eq!(banned(&node), 0, "the maker is at fault, not the peer");
}

#[test]
fn peers_that_announced_an_attack_are_banned_and_those_that_were_told_are_not() {
    let node = TestNode::start(common::config());
    let block = block(SLOT, &[]);
    let mut told = Liar::connect(&node);
    let mut attacker = Liar::connect(&node);
    attacker.announce(&block);
    attacker.expect_question(&block.id);
    attacker.answer(block.id, BlockInfoReply::OperationIds(Vec::new()));
    let BlockMessage::Header(_) = told.read() else {
        panic!("the other peer is told of the block");
    };
    node.protocol.notify_block_attack(block.id).unwrap();
    attacker.peer.expect_end();
    assert!(node.is_connected_to(&id_of(&told.keypair)));
}

/// An archive of one block.
struct OneBlock(SecureShareBlock, Vec<SecureShareOperation>);

impl BlockArchive for OneBlock {
    fn block(&self, id: &BlockId) -> Option<(SecureShareBlock, Vec<SecureShareOperation>)> {
        (*id == self.0.id).then(|| (self.0.clone(), self.1.clone()))
    }
}

#[test]
fn a_block_that_the_graph_let_go_of_is_served_from_the_archive() {
    let operations = operations(5);
    let archived = block(SLOT, &operations);
    let archive: Arc<dyn BlockArchive> = Arc::new(OneBlock(archived.clone(), operations));
    let keypair = KeyPair::generate(0).unwrap();
    let keeper = TestNode::start_with(common::config(), keypair, Some(archive));
    let behind = TestNode::start_dialing(common::config(), &[&keeper]);
    let new = PreHashMap::from_iter([(archived.id, None)]);
    behind.protocol.send_wishlist_delta(new, PreHashSet::default()).unwrap();
    wait_for("the archived block", || behind.consensus.has_block(&archived.id));
}

#[test]
fn a_block_whose_operations_are_gone_from_memory_is_completed_from_the_archive() {
    let operations = operations(5);
    let archived = block(SLOT, &operations);
    let archive: Arc<dyn BlockArchive> = Arc::new(OneBlock(archived.clone(), operations.clone()));
    let keeper = TestNode::start_with(common::config(), KeyPair::generate(0).unwrap(), Some(archive));
    let mut storage = keeper.storage.clone_without_refs();
    storage.store_block(archived.clone());
    storage.store_operations(operations[..2].to_vec());
    let mut peer = Liar::connect(&keeper);
    let ids = archived.content.operations.clone();
    let reply = peer.ask(archived.id, AskForBlockInfo::Operations(ids));
    let BlockInfoReply::Operations(found) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(found.len(), 5);
}

#[test]
fn an_answer_holds_no_more_bytes_than_a_block() {
    let node = TestNode::start(ProtocolConfig {
        max_serialized_operations_size_per_block: 5_000,
        ..common::config()
    });
    let operations: Vec<_> = (0..10).map(|number| common::sized_operation(number, 1_000)).collect();
    let mut storage = node.storage.clone_without_refs();
    storage.store_operations(operations.clone());
    let mut peer = Liar::connect(&node);
    // The same one many times over: that is how a small question could get a huge answer.
    let ids = vec![operations[0].id; 5_000];
    let reply = peer.ask(unknown_id(), AskForBlockInfo::Operations(ids));
    let BlockInfoReply::Operations(found) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(found.len(), 4);
    let unknown = peer.ask(unknown_id(), AskForBlockInfo::OperationIds);
    assert!(matches!(unknown, BlockInfoReply::NotFound));
}

fn unknown_id() -> BlockId {
    use massa_models::secure_share::Id;
    BlockId::new(massa_hash::Hash::compute_from(b"unknown"))
}
