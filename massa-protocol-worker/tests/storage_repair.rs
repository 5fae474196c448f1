//! A node that missed most of the chain obtains it from others over real sockets: repair thread, storage handler and stores
//! are the real ones, the rest of the node is left out.

mod archive_common;
mod common;

use archive_common::{identities, ArchiveNode, Chain, COMPLETE, PERIODS};
use common::wait_for;
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_protocol_exports::LinkFaults;
use std::sync::Arc;
use std::time::Duration;

const REPLICATION_FACTOR: usize = 2;
const NODES: usize = 3;

#[test]
fn with_200_ms_delay_and_2_percent_loss_a_node_that_saw_only_the_end_archives_everything() {
    let (chain, all) = (Chain::new(1), identities(NODES));
    let faults = LinkFaults {
        delay: Duration::from_millis(200),
        loss_one_in: 50,
        seed: 3,
    };
    let start = |own, from| {
        ArchiveNode::start(
            own,
            REPLICATION_FACTOR,
            &all,
            &chain.parameters,
            chain.blocks(from..=PERIODS),
            faults,
        )
    };
    let whole = [start(0, 1), start(1, 1)];
    let late = start(2, PERIODS - 2);
    wait_for("the late node's archive", || late.roots() == chain.roots());
    wait_for("every assigned chunk", || {
        late.holds_its_share() && whole.iter().all(ArchiveNode::holds_its_share)
    });
    assert!(whole.iter().all(|node| node.roots() == chain.roots()));
}

#[test]
fn blocks_of_chunks_that_a_node_does_not_hold_are_read_from_the_others() {
    let (chain, all) = (Chain::new(2), identities(NODES));
    let start = |own| {
        ArchiveNode::start(
            own,
            REPLICATION_FACTOR,
            &all,
            &chain.parameters,
            chain.blocks(1..=PERIODS),
            LinkFaults::default(),
        )
    };
    let nodes = [start(0), start(1), start(2)];
    wait_for("all archives", || {
        nodes.iter().all(|node| node.roots() == chain.roots())
    });
    wait_for("connections", || {
        nodes.iter().all(|node| node.network.peers().len() == NODES - 1)
    });
    let held = |node: &ArchiveNode| {
        (1..=COMPLETE)
            .map(|period| node.store.held_chunks(period).unwrap().len())
            .sum::<usize>()
    };
    let total: usize = (1..=COMPLETE)
        .map(|period| nodes[0].store.manifest(period).unwrap().unwrap().chunks.len())
        .sum();
    assert_eq!(nodes.iter().map(held).sum::<usize>(), total * REPLICATION_FACTOR);
    for node in &nodes {
        assert!(
            held(node) < total,
            "{} holds everything: nothing is shown",
            node.node_id
        );
        node.reads_everything_of(&chain);
    }
}

#[test]
fn a_false_miss_is_not_believed_and_its_author_is_put_in_quarantine() {
    let (chain, all) = (Chain::new(3), identities(NODES));
    let lie = chain.with_false_miss(COMPLETE - 2);
    let liar = ArchiveNode::start(
        0,
        NODES,
        &all,
        &chain.parameters,
        lie.blocks(1..=PERIODS),
        LinkFaults::default(),
    );
    // The lie is an archived period only if the node declares the miss: its next block names another parent.
    let store = Arc::clone(&liar.store);
    let places: Vec<_> = lie.periods[COMPLETE as usize - 3].iter().map(Option::as_ref).collect();
    let encoded = EncodedPeriod::new(&chain.parameters, COMPLETE - 2, &places).unwrap();
    let keep = vec![true; encoded.manifest.chunks.len()];
    wait_for("the rest of the liar's archive", || {
        liar.roots().len() as u64 == COMPLETE - 1
    });
    let rows = massa_distributed_storage_worker::storage_backend::PendingRows::default();
    let durability = massa_distributed_storage_worker::storage_backend::writer::Durability::Buffered;
    store.put_period(&encoded, &places, &keep, &rows, durability).unwrap();

    let late = ArchiveNode::start(
        2,
        NODES,
        &all,
        &chain.parameters,
        chain.blocks(PERIODS - 2..=PERIODS),
        LinkFaults::default(),
    );
    wait_for("the periods above the lie", || {
        let archived = late.roots();
        archived.contains_key(&COMPLETE) && archived.contains_key(&(COMPLETE - 1))
    });
    assert!(
        late.store.period_root(COMPLETE - 2).unwrap().is_none(),
        "a false miss was believed"
    );

    let honest = ArchiveNode::start(
        1,
        NODES,
        &all,
        &chain.parameters,
        chain.blocks(1..=PERIODS),
        LinkFaults::default(),
    );
    wait_for("the true archive", || late.roots() == chain.roots());
    wait_for("the liar's quarantine", || late.has_quarantined(&liar.node_id));
    assert!(!late.has_quarantined(&honest.node_id));
}
