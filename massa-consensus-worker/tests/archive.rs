//! What the archive is given: every final block once, complete, and nothing else.

mod common;

use common::simulation::{Simulation, QUIET, ROUGH};
use common::{config, Archiver, Maker, Node, TestBlock};
use massa_consensus_exports::block_status::{BlockStatus, StorageOrBlock};
use massa_consensus_exports::{BootstrapableGraph, ConsensusConfig, ConsensusError, ExportActiveBlock};
use massa_consensus_worker::create_genesis_block;
use massa_distributed_storage_exports::{ArchiveParameters, StorageArchiver};
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_distributed_storage_worker::worker::{start_distributed_storage_worker, ArchiveOptions};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

const KEEP: u64 = 2;
const KEEP_WITHOUT_OPERATIONS: u64 = 6;

/// Whether the graph has the content of an active block.
fn has_content(node: &Node, id: &BlockId) -> Option<bool> {
    match node.state.blocks_state.get(id)? {
        BlockStatus::Active { storage_or_block, .. } => Some(matches!(storage_or_block, StorageOrBlock::Storage(_))),
        _ => None,
    }
}

/// Checks that the archive has each final block whose content the graph has no longer, once, and no other.
fn assert_archived_is_what_the_graph_let_go(node: &Node) {
    let given = node.archiver.blocks();
    let distinct: BTreeSet<BlockId> = given.iter().copied().collect();
    assert_eq!(distinct.len(), given.len(), "a block was archived twice");
    let let_go = |id: &BlockId| has_content(node, id) != Some(true);
    let expected: BTreeSet<BlockId> = node.finals().into_iter().filter(let_go).collect();
    assert_eq!(distinct, expected);
}

/// The chain of one thread after genesis; the other thread stays at genesis.
fn chain(node: &Node, length: u64) -> Vec<TestBlock> {
    let (mut maker, mut parents) = (Maker::new(2), node.genesis());
    maker.operations = 2;
    let mut blocks = Vec::new();
    for period in 1..=length {
        let block = maker.block(period, 0, &parents);
        parents[0] = block.id;
        blocks.push(block);
    }
    blocks
}

/// A node whose last final block of thread 0 is of `period`, not pruned yet.
fn node_with_final(period: u64) -> (Node, Vec<TestBlock>) {
    let mut node = Node::new(config(2, 1));
    let blocks = chain(&node, period + 2);
    node.register(&blocks);
    assert_eq!(node.state.latest_final_blocks_periods[0].1, period);
    (node, blocks)
}

fn periods(archiver: &Archiver) -> Vec<u64> {
    archiver.given.lock().iter().map(|(slot, _, _)| slot.period).collect()
}

#[test]
fn a_final_block_keeps_its_operations_for_force_keep_final_periods() {
    let (mut node, blocks) = node_with_final(KEEP + 1);
    node.state.prune().unwrap();
    // 3 - 2 periods: genesis is older than that, period 1 is not.
    assert_eq!(periods(&node.archiver), [0]);
    assert_eq!(has_content(&node, &blocks[0].id), Some(true));

    let next = {
        let (mut maker, mut parents) = (Maker::new(2), node.genesis());
        parents[0] = blocks.last().unwrap().id;
        maker.block(KEEP + 4, 0, &parents)
    };
    node.register([&next]);
    assert_eq!(periods(&node.archiver), [0], "commands never prune");
    node.state.prune().unwrap();
    node.state.prune().unwrap();
    assert_eq!(periods(&node.archiver), [0, 1]);
    assert_eq!(has_content(&node, &blocks[0].id), Some(false), "the header stays");
    assert_archived_is_what_the_graph_let_go(&node);
}

#[test]
fn a_final_block_leaves_the_graph_after_force_keep_final_periods_without_ops() {
    let (mut node, blocks) = node_with_final(KEEP_WITHOUT_OPERATIONS + 2);
    // Stripped one by one first, as in normal operation.
    let gone = node.state.prune_active().unwrap();
    // Genesis of thread 0 has period 0, older than 8 - 6, but is a parent of what is required... of thread 1's last block
    // nothing is; the two steps back from the last final block of thread 0 are.
    assert_eq!(has_content(&node, &blocks[1].id), Some(false));
    assert_eq!(has_content(&node, &blocks[2].id), Some(false));
    for id in gone.keys() {
        assert_eq!(has_content(&node, id), None);
        assert!(node.archiver.blocks().contains(id));
    }
    assert_eq!(
        gone.keys().collect::<BTreeSet<_>>(),
        [&node.genesis()[0], &blocks[0].id].into()
    );
    assert_archived_is_what_the_graph_let_go(&node);
}

#[test]
fn a_block_that_jumps_over_both_ages_between_two_prunes_is_archived_once_with_its_operations() {
    let (mut node, blocks) = node_with_final(40);
    let gone = node.state.prune_active().unwrap();
    assert!(
        gone.contains_key(&blocks[0].id),
        "discarded without having been stripped"
    );
    let first = node
        .archiver
        .given
        .lock()
        .iter()
        .find(|(_, id, _)| *id == blocks[0].id)
        .cloned();
    assert_eq!(first.unwrap().2.get_op_refs().len(), 2);
    assert_archived_is_what_the_graph_let_go(&node);
    node.state.prune().unwrap();
    assert_archived_is_what_the_graph_let_go(&node);
    // First what is stripped, then what is discarded, each in the order of slots: this spares the archive gaps.
    let given = periods(&node.archiver);
    assert!(
        given.windows(2).filter(|pair| pair[0] > pair[1]).count() <= 1,
        "{given:?}"
    );
}

#[test]
fn what_the_last_final_block_of_a_silent_thread_continues_stays_in_the_graph() {
    let mut node = Node::new(config(2, 1));
    let (mut maker, mut parents, mut blocks) = (Maker::new(2), node.genesis(), Vec::new());
    for period in 1..=42 {
        let block = maker.block(period, 0, &parents);
        parents[0] = block.id;
        node.register([&block]);
        blocks.push(block);
        if period == 20 {
            let last = maker.block(period, 1, &parents);
            parents[1] = last.id;
            node.register([&last]);
        }
    }
    assert_eq!(node.state.latest_final_blocks_periods[1], (parents[1], 20));
    node.state.prune().unwrap();
    // Period 20 is a parent of the silent thread's block, and period 19 its parent; then there are no gaps.
    let is_kept = |block: &TestBlock| has_content(&node, &block.id).is_some();
    let kept: Vec<u64> = blocks
        .iter()
        .filter(|block| is_kept(block))
        .map(|block| block.slot.period)
        .collect();
    assert_eq!(kept, (19..=42).collect::<Vec<_>>());
    assert_archived_is_what_the_graph_let_go(&node);
}

#[test]
fn what_the_archive_lets_go_leaves_the_memory_of_the_node() {
    let (mut node, blocks) = node_with_final(40);
    node.state.prune().unwrap();
    assert!(node.root.read_operations().contains(&blocks[0].operations[0].id));
    node.archiver.given.lock().clear();
    assert!(!node.root.read_operations().contains(&blocks[0].operations[0].id));
    assert!(!node.root.read_blocks().contains(&blocks[0].id));
}

#[test]
fn without_an_archiver_old_blocks_are_just_dropped() {
    let mut node = Node::with_archiver(config(2, 1), None);
    let blocks = chain(&node, 42);
    node.register(&blocks);
    node.state.prune().unwrap();
    assert_eq!(has_content(&node, &blocks[0].id), None);
    assert!(!node.root.read_blocks().contains(&blocks[0].id));
}

/// Thousands of blocks in a rough network, on a node that sees them late, out of order and in bursts.
#[test]
fn over_thousands_of_blocks_the_archive_sees_each_final_block_once_complete_and_nothing_else() {
    let mut network = Simulation::new(7, 8, 64);
    network.run(600, ROUGH);
    network.run(30, QUIET);
    assert!(network.blocks.len() > 4_500);
    assert_archived_is_what_the_graph_let_go(&network.node);

    let mut node = Node::new(config(8, 64));
    let mut random = ChaCha20Rng::seed_from_u64(8);
    let (mut now, mut discarded_unstripped, mut until_prune) = (Slot::min(), 0, 0);
    for block in network.shuffled(9, 60) {
        now = now.max(block.slot);
        if random.gen_bool(0.3) {
            node.state.slot_tick(Some(now)).unwrap();
        }
        node.register_at(&block, Some(now));
        if until_prune == 0 {
            let before: BTreeSet<BlockId> = node.archiver.blocks().into_iter().collect();
            let gone = node.state.prune_active().unwrap();
            discarded_unstripped += gone.keys().filter(|id| !before.contains(id)).count();
            node.state.prune().unwrap();
            // Now every slot, now after a jump of up to 40 periods.
            let periods = if random.gen_bool(0.1) { 40 } else { 2 };
            until_prune = random.gen_range(0..8 * periods);
        } else {
            until_prune -= 1;
        }
    }
    node.state.prune().unwrap();

    assert_eq!(node.finals(), network.node.finals());
    assert!(
        discarded_unstripped > 100,
        "{discarded_unstripped} blocks jumped over both ages"
    );
    assert_archived_is_what_the_graph_let_go(&node);
    let made: BTreeMap<BlockId, &TestBlock> = network.blocks.iter().map(|block| (block.id, block)).collect();
    let given = node.archiver.given.lock();
    assert!(given.len() > 3_500, "{} blocks archived", given.len());
    for (slot, id, content) in given.iter().filter(|(slot, _, _)| slot.period > 0) {
        let block = made[id];
        assert_eq!(*slot, block.slot);
        let expected: BTreeSet<_> = block.operations.iter().map(|operation| operation.id).collect();
        assert_eq!(content.get_op_refs().iter().copied().collect::<BTreeSet<_>>(), expected);
    }
    assert_eq!(
        given.iter().filter(|(slot, _, _)| slot.period == 0).count(),
        8,
        "genesis too"
    );
    // What a later node must know is there: the graph itself stays small.
    assert!(node.state.blocks_state.active_blocks().len() < 8 * 40);
}

/// The blocks of a node that it would start again from.
fn export(node: &Node) -> BootstrapableGraph {
    let blocks = node.state.blocks_state.active_blocks().iter();
    let final_blocks = blocks.filter_map(|id| match node.state.blocks_state.get(id)? {
        BlockStatus::Active {
            a_block,
            storage_or_block,
        } if a_block.is_final => Some(ExportActiveBlock {
            block: storage_or_block.clone_block(id),
            parents: a_block.parents.clone(),
            is_final: true,
        }),
        _ => None,
    });
    BootstrapableGraph {
        final_blocks: final_blocks.collect(),
        ..BootstrapableGraph::default()
    }
}

#[test]
fn a_restored_node_goes_on_and_archives_only_what_came_after() {
    let mut network = Simulation::new(3, 4, 32);
    network.run(60, ROUGH);
    // Old parents are missing in the graph.
    network.node.state.prune().unwrap();
    let graph = export(&network.node);
    let restored: BTreeSet<BlockId> = graph.final_blocks.iter().map(|block| block.block.id).collect();
    network.run(60, ROUGH);
    network.run(30, QUIET);

    let mut node = Node::restored(config(4, 32), Some(graph));
    assert_eq!(node.genesis(), network.node.genesis());
    for (index, block) in network.blocks.iter().enumerate() {
        node.register([block]);
        if index % 50 == 0 {
            node.state.prune().unwrap();
        }
    }
    let latest = &network.node.state.latest_final_blocks_periods;
    assert_eq!(&node.state.latest_final_blocks_periods, latest);
    let given: BTreeSet<BlockId> = node.archiver.blocks().into_iter().collect();
    assert!(
        given.is_disjoint(&restored),
        "a restored block has no operations to archive"
    );
    assert!(given.is_subset(&network.node.finals()));
    assert!(given.len() > 150, "{} blocks archived", given.len());
    node.check_invariants();
}

#[test]
fn restored_blocks_whose_operations_are_still_here_are_archived_once() {
    let mut network = Simulation::new(4, 4, 32);
    network.run(60, QUIET);
    let mut graph = export(&network.node);
    let root = massa_storage::Storage::create_root();
    for block in graph
        .final_blocks
        .iter()
        .filter(|block| block.block.content.header.content.slot.period > 46)
    {
        let whole = network.blocks.iter().find(|whole| whole.id == block.block.id).unwrap();
        graph.content.insert(whole.id, whole.store_in(&root));
    }
    let with_content: BTreeSet<BlockId> = graph.content.keys().copied().collect();
    let restored: BTreeSet<BlockId> = graph.final_blocks.iter().map(|block| block.block.id).collect();
    network.run(60, QUIET);

    let mut node = Node::restored(config(4, 32), Some(graph));
    node.register(&network.blocks);
    node.state.prune().unwrap();
    let given = node.archiver.blocks();
    let distinct: BTreeSet<BlockId> = given.iter().copied().collect();
    assert_eq!(distinct.len(), given.len(), "a block was archived twice");
    assert_eq!(
        distinct.intersection(&restored).copied().collect::<BTreeSet<_>>(),
        with_content
    );
    assert!(with_content.len() > 20 && with_content.len() < restored.len());
}

#[test]
fn a_start_graph_that_contradicts_itself_is_refused() {
    let config = config(2, 5);
    let genesis = |thread| ExportActiveBlock {
        block: create_genesis_block(&config, thread).unwrap(),
        parents: Vec::new(),
        is_final: true,
    };
    let (first, second) = (genesis(0), genesis(1));
    let parents: Vec<_> = [&first, &second].map(|block| (block.block.id, 0)).into();
    let ids: Vec<BlockId> = parents.iter().map(|(id, _)| *id).collect();
    let later = ExportActiveBlock {
        block: Maker::new(2).block(1, 0, &ids).block,
        parents,
        is_final: true,
    };
    let not_final = ExportActiveBlock {
        is_final: false,
        ..later.clone()
    };
    let without_parents = ExportActiveBlock {
        parents: Vec::new(),
        ..later.clone()
    };
    let beyond = ExportActiveBlock {
        block: create_genesis_block(&config, 2).unwrap(),
        ..first.clone()
    };
    let cases = [
        (vec![first.clone()], "1 threads out of 2"),
        (vec![first.clone(), second.clone(), not_final], "is not final"),
        (vec![first.clone(), second.clone(), without_parents], "with 0 parents"),
        (vec![first.clone(), second.clone(), beyond], "beyond 2 threads"),
        (vec![first.clone(), second.clone(), first.clone()], "two final blocks"),
    ];
    let start = |final_blocks| {
        let doubles = common::Doubles::new(2);
        let root = massa_storage::Storage::create_root();
        let graph = Some(BootstrapableGraph {
            final_blocks,
            ..BootstrapableGraph::default()
        });
        massa_consensus_worker::state::ConsensusState::new(config.clone(), doubles.channels(), graph, root)
    };
    for (blocks, message) in cases {
        let error = start(blocks).err().expect("the graph is refused");
        assert!(matches!(error, ConsensusError::ContainerInconsistency(_)));
        assert!(error.to_string().contains(message), "{error}");
    }
    assert!(start(vec![second, later, first]).is_ok());
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

#[test]
fn while_the_archive_stalls_consensus_keeps_its_pace_and_what_was_let_go_is_missing() {
    const THREADS: u8 = 4;
    let directory = tempfile::tempdir().unwrap();
    let parameters = ArchiveParameters::new(common::CHAIN_ID, THREADS);
    let options = SegmentStoreOptions::new(directory.path());
    let store = Arc::new(SegmentStore::open_or_create(options, &parameters).unwrap());
    // The worker stops after the first period that is complete, genesis, until it is released.
    let (release, released) = mpsc::channel::<()>();
    let options = ArchiveOptions {
        after_archive: Box::new(move |_| {
            let _ = released.recv();
        }),
        ..ArchiveOptions::new(1)
    };
    let (mut manager, handle) = start_distributed_storage_worker(store, options).unwrap();

    let mut network = Simulation::new(5, THREADS, 16);
    network.run(100, QUIET);
    let archiver: Arc<dyn StorageArchiver> = Arc::new(handle.clone());
    let mut node = Node::with_archiver(
        ConsensusConfig {
            storage_archiver: Some(archiver),
            ..config(THREADS, 16)
        },
        None,
    );
    for block in &network.blocks {
        node.register([block]);
        node.state.prune().unwrap();
    }
    // All of this while the worker does nothing.
    assert_eq!(node.finals(), network.node.finals());
    let let_go_by_graph = node
        .finals()
        .iter()
        .filter(|id| has_content(&node, id) != Some(true))
        .count();
    assert!(let_go_by_graph > 350, "{let_go_by_graph} blocks");
    wait_for("a full queue", || handle.queue_full_count() > 0);

    drop(release);
    let let_go = handle.queue_full_count();
    wait_for("the queue", || {
        manager.status().blocks + let_go == let_go_by_graph as u64
    });
    manager.stop();
    let store = SegmentStore::open_read_only(directory.path()).unwrap();
    let missing: BTreeSet<BlockId> = store
        .missing_slots()
        .unwrap()
        .into_iter()
        .filter_map(|(_, id)| id)
        .collect();
    assert!(
        missing.len() as u64 >= let_go,
        "{} missing, {let_go} let go",
        missing.len()
    );
    assert!(missing.is_subset(&node.finals()));
}
