//! Blocks travel between nodes.

mod common;

use common::{block, operation, pair, wait_for, TestNode};
use massa_models::slot::Slot;

#[test]
fn a_block_that_one_node_makes_reaches_the_other_with_its_operations() {
    let (first, second) = pair(common::config());
    let operations: Vec<_> = (0..20).map(operation).collect();
    let block = block(Slot::new(5, 1), &operations);
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
    let config = common::config();
    let first = TestNode::start(config.clone());
    let middle = TestNode::start_dialing(config.clone(), &[&first]);
    wait_for("the first connection", || middle.is_connected_to(&first.peer_id));
    let last = TestNode::start_dialing(
        massa_protocol_exports::ProtocolConfig {
            target_out_connections: 1,
            ..config
        },
        &[&middle],
    );
    wait_for("the second connection", || last.is_connected_to(&middle.peer_id));
    let block = block(Slot::new(6, 0), &[]);
    first.produce(&block, &[]);
    wait_for("the block to arrive", || last.consensus.has_block(&block.id));
}
