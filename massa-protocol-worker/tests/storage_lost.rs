//! A block that no node has, over real sockets: the period is taken for lost by all alike, entered when the root is accepted,
//! and followed by who was away and by who had it. The registry is left out: the test says what it accepted.

mod archive_common;
mod common;

use archive_common::{identities, ArchiveNode, Chain, Identity, THREADS};
use common::wait_for;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::lost::FinalSegments;
use massa_distributed_storage_worker::storage_backend::read::{Check, ReadError};
use massa_distributed_storage_worker::Store;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_protocol_exports::LinkFaults;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every node holds everything, so that those that are not there yet are not needed.
const REPLICATION_FACTOR: usize = 5;
const SEGMENT_PERIODS: u64 = 4;
/// Periods 4 to 7.
const SEGMENT: u64 = 1;
const LAST: u64 = archive_common::PERIODS;

fn id_of(record: &BlockRecord) -> BlockId {
    record.view(THREADS).unwrap().block_id()
}

/// A block of the segment whose neighbours in its thread are blocks, too: links alone tell its slot.
fn block_between_blocks(chain: &Chain) -> Slot {
    let is_block = |period: u64, thread: u8| chain.periods[period as usize - 1][usize::from(thread)].is_some();
    let slots = (5..=6).flat_map(|period| (0..THREADS).map(move |thread| Slot::new(period, thread)));
    let mut slots =
        slots.filter(|slot| (slot.period - 1..=slot.period + 1).all(|period| is_block(period, slot.thread)));
    slots.next().expect("the seed has such a block")
}

/// The chain without a block.
fn without(chain: &Chain, slot: Slot) -> Chain {
    let mut periods = chain.periods.clone();
    periods[slot.period as usize - 1][usize::from(slot.thread)] = None;
    Chain {
        parameters: chain.parameters.clone(),
        periods,
    }
}

fn lost_manifest(chain: &Chain, period: u64) -> Manifest {
    let places = &chain.periods[period as usize - 1];
    let ids: Vec<Option<BlockId>> = places.iter().map(|place| place.as_ref().map(id_of)).collect();
    Manifest::lost(&chain.parameters, period, &ids)
}

fn start(own: usize, all: &[Identity], chain: &Chain, from: u64) -> ArchiveNode {
    let blocks = chain.blocks(from..=LAST);
    ArchiveNode::start(
        own,
        REPLICATION_FACTOR,
        all,
        &chain.parameters,
        blocks,
        LinkFaults::default(),
    )
}

/// Final state, in a period in which the window of the round after the segment's is over.
fn tell(node: &ArchiveNode, accepted: &BTreeMap<u64, SegmentRoot>) {
    node.segments.tell(FinalSegments {
        period: 11,
        round_periods: SEGMENT_PERIODS,
        accepted: Arc::new(accepted.clone()),
    });
}

fn segment_roots(store: &Store) -> Vec<Option<SegmentRoot>> {
    (0..3).map(|segment| store.segment_root(segment).unwrap()).collect()
}

#[test]
fn a_block_that_no_node_has_is_voted_lost_by_all_entered_when_accepted_and_followed_by_the_others() {
    let chain = Chain::new(5);
    let slot = block_between_blocks(&chain);
    let id = id_of(
        chain.periods[slot.period as usize - 1][usize::from(slot.thread)]
            .as_ref()
            .unwrap(),
    );
    let (known, lost) = (without(&chain, slot), lost_manifest(&chain, slot.period));
    let all = identities(5);

    // All three that are there lack the block: everything else is archived, and no later segment has a root.
    let nodes: Vec<ArchiveNode> = (0..3).map(|own| start(own, &all, &known, 1)).collect();
    let complete =
        |node: &ArchiveNode| (1..=10).all(|period| node.roots().contains_key(&period) || period == slot.period);
    wait_for("the rest of the archive", || nodes.iter().all(complete));
    wait_for("connections", || {
        nodes.iter().all(|node| node.network.peers().len() == 2)
    });
    assert!(
        nodes.iter().all(|node| node.segments.candidate().is_none()),
        "no final state is known yet"
    );

    // Its window is over: all vote for the same root, and nothing is changed.
    let first = nodes[0].store.segment_root(0).unwrap().unwrap();
    let mut accepted = BTreeMap::from([(0, first)]);
    nodes.iter().for_each(|node| tell(node, &accepted));
    wait_for("the vote", || {
        nodes.iter().all(|node| node.segments.candidate().is_some())
    });
    let (segment, root) = nodes[0].segments.candidate().unwrap();
    assert_eq!(segment, SEGMENT);
    for node in &nodes {
        assert_eq!(node.segments.candidate(), Some((SEGMENT, root)));
        assert_eq!(node.store.manifest(slot.period).unwrap(), None, "only a candidate");
        assert_eq!(node.repair.status().lost_candidates, 1);
    }

    // Accepted: all enter it, later segments have roots.
    accepted.insert(SEGMENT, root);
    nodes.iter().for_each(|node| tell(node, &accepted));
    wait_for("the lost period", || {
        nodes
            .iter()
            .all(|node| node.store.segment_root(SEGMENT).unwrap() == Some(root))
    });
    for node in &nodes {
        assert_eq!(node.store.archived_manifest(slot.period).unwrap(), lost);
        assert_eq!(node.store.find_block(&id).unwrap(), slot);
        let error = node.store.place(slot, Check::Meaning).unwrap_err();
        assert!(matches!(error, ReadError::LostBlock { slot: of, id: found } if (of, found) == (slot, id)));
        wait_for("the end of the vote", || node.segments.candidate().is_none());
        assert_eq!(segment_roots(&node.store), segment_roots(&nodes[0].store));
        assert!(node.store.segment_root(2).unwrap().is_some() || node.store.period_root(11).unwrap().is_none());
        let reopened = Store::open_read_only(node.store.path()).unwrap();
        assert_eq!(reopened.archived_manifest(slot.period).unwrap(), lost);
    }

    // One that was away has the end of the chain only: below the lost block no link leads on.
    let away = start(3, &all, &known, LAST - 2);
    tell(&away, &accepted);
    wait_for("the first segment, which repair cannot complete", || {
        away.store.segment_root(0).unwrap() == Some(first)
    });
    wait_for("the archive of the one that was away", || {
        away.roots() == nodes[0].roots() && segment_roots(&away.store) == segment_roots(&nodes[0].store)
    });
    assert!(away.store.archived_manifest(slot.period).unwrap().is_lost());

    // One that had the whole period votes for its own root, which is not the accepted one.
    let had = start(4, &all, &chain, 1);
    wait_for("its own root", || {
        had.store.segment_root(SEGMENT).unwrap().is_some_and(|own| own != root)
    });
    tell(&had, &accepted);
    wait_for("the accepted root", || {
        segment_roots(&had.store) == segment_roots(&nodes[0].store)
    });
    assert_eq!(had.store.archived_manifest(slot.period).unwrap(), lost);
    wait_for("the end of fetching", || {
        had.repair.status().refetching_segment.is_none()
    });

    // Everybody told the truth as it knew it.
    let ids: Vec<_> = nodes.iter().chain([&away, &had]).map(|node| node.node_id).collect();
    for node in nodes.iter().chain([&away, &had]) {
        assert!(ids.iter().all(|other| !node.has_quarantined(other)));
    }
}

#[test]
fn while_one_peer_has_the_block_nothing_is_lost() {
    let chain = Chain::new(5);
    let slot = block_between_blocks(&chain);
    let known = without(&chain, slot);
    let all = identities(3);
    // The one that has it is through before the others ask.
    let has = start(2, &all, &chain, 1);
    wait_for("the archive of the one that has it", || has.roots() == chain.roots());
    let nodes = [start(0, &all, &known, 1), start(1, &all, &known, 1), has];
    wait_for("connections", || {
        nodes.iter().all(|node| node.network.peers().len() == 2)
    });
    nodes.iter().for_each(|node| tell(node, &BTreeMap::new()));
    wait_for("the whole archive", || {
        nodes
            .iter()
            .for_each(|node| assert!(node.segments.candidate().is_none()));
        nodes.iter().all(|node| node.roots() == chain.roots())
    });
}
