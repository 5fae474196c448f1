//! The thread.

mod common;

use common::simulation::{Simulation, QUIET, ROUGH};
use common::{config, Archiver, Doubles, Maker};
use massa_consensus_exports::{ConsensusConfig, ConsensusController, ConsensusError, ConsensusManager};
use massa_consensus_worker::start_consensus_worker;
use massa_models::block::BlockGraphStatus;
use massa_models::block_id::BlockId;
use massa_storage::Storage;
use massa_time::MassaTime;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Running {
    controller: Box<dyn ConsensusController>,
    manager: Box<dyn ConsensusManager>,
    doubles: Doubles,
    root: Storage,
}

fn start(config: ConsensusConfig) -> Running {
    let (root, doubles) = (Storage::create_root(), Doubles::new(config.thread_count));
    let started = start_consensus_worker(config, doubles.channels(), None, root.clone_without_refs());
    let (controller, manager) = started.unwrap();
    Running {
        controller,
        manager,
        doubles,
        root,
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ids(parents: &[(BlockId, u64)]) -> Vec<BlockId> {
    parents.iter().map(|(id, _)| *id).collect()
}

#[test]
fn blocks_given_to_the_controller_become_final_and_are_archived() {
    let archiver = Archiver::default();
    let config = ConsensusConfig {
        storage_archiver: Some(Arc::new(archiver.clone())),
        ..config(4, 16)
    };
    let mut network = Simulation::new(11, 4, 16);
    network.run(60, ROUGH);
    network.run(20, QUIET);
    let mut running = start(config);
    for block in &network.blocks {
        let content = block.store_in(&running.root);
        running.controller.register_block(block.id, block.slot, content, false);
    }
    let expected = &network.node.state.latest_final_blocks_periods;
    wait_for("finality", || {
        running.controller.get_latest_final_blocks_periods() == *expected
    });
    wait_for("pruning", || archiver.blocks().len() > 200);
    assert_eq!(running.doubles.finals(), network.node.finals());
    assert_eq!(running.controller.get_best_parents(), network.node.state.best_parents);
    assert!(running.controller.get_stats().unwrap().final_block_count > 200);
    let newest = network.node.state.best_parents[0].0;
    assert_eq!(
        running.controller.get_block_statuses(&[newest]),
        [BlockGraphStatus::ActiveInBlockclique]
    );
    running.manager.stop();
    running.manager.stop();
}

#[test]
fn a_block_of_a_coming_slot_goes_in_when_the_clock_reaches_it() {
    let genesis_timestamp = MassaTime::now().saturating_add(MassaTime::from_millis(300));
    let mut running = start(ConsensusConfig {
        genesis_timestamp,
        ..config(2, 16)
    });
    let block = Maker::new(2).block(1, 1, &ids(&running.controller.get_best_parents()));
    let status = |running: &Running| running.controller.get_block_statuses(&[block.id])[0];
    running
        .controller
        .register_block(block.id, block.slot, block.store_in(&running.root), true);
    wait_for("waiting", || status(&running) == BlockGraphStatus::WaitingForSlot);
    wait_for("the slot", || status(&running) == BlockGraphStatus::ActiveInBlockclique);
    // Period 1, thread 1 of periods of 200 ms.
    assert!(MassaTime::now() >= genesis_timestamp.saturating_add(MassaTime::from_millis(300)));
    running.manager.stop();
}

#[test]
fn after_stop_commands_are_refused_and_reading_goes_on() {
    let mut running = start(config(2, 16));
    running.manager.stop();
    let parents = running.controller.get_best_parents();
    let block = Maker::new(2).block(1, 0, &ids(&parents));
    let header = block.block.content.header.clone();
    running.controller.register_block_header(block.id, header);
    assert_eq!(
        running.controller.get_block_statuses(&[block.id]),
        [BlockGraphStatus::NotFound]
    );
    assert_eq!(running.controller.get_latest_final_blocks_periods(), parents);
}

#[test]
fn a_storage_without_its_block_does_not_stop_the_thread() {
    let mut running = start(config(2, 16));
    let block = Maker::new(2).block(1, 0, &ids(&running.controller.get_best_parents()));
    let empty = running.root.clone_without_refs();
    running.controller.register_block(block.id, block.slot, empty, false);
    let content = block.store_in(&running.root);
    running.controller.register_block(block.id, block.slot, content, false);
    wait_for("the block", || {
        running.controller.get_block_statuses(&[block.id]) == [BlockGraphStatus::ActiveInBlockclique]
    });
    running.manager.stop();
}

#[test]
fn a_setting_that_is_not_usable_is_named() {
    let bad = ConsensusConfig {
        t0: MassaTime::from_millis(33),
        ..config(2, 16)
    };
    let result = start_consensus_worker(bad, Doubles::new(2).channels(), None, Storage::create_root());
    assert!(matches!(result, Err(ConsensusError::Config { field: "t0", .. })));
}

/// A late node is given thousands of blocks at once: the cost of each must not grow with their number.
#[test]
fn a_node_that_is_far_behind_catches_up_fast() {
    for delta_f0 in [64, 1088] {
        let mut maker = Maker::new(32);
        let mut running = start(config(32, delta_f0));
        let mut parents = ids(&running.controller.get_best_parents());
        let mut blocks = Vec::new();
        for period in 1..=100 {
            for thread in 0..32 {
                let block = maker.block(period, thread, &parents);
                parents[usize::from(thread)] = block.id;
                blocks.push(block);
            }
        }
        let start = Instant::now();
        for block in &blocks {
            let content = block.store_in(&running.root);
            running.controller.register_block(block.id, block.slot, content, false);
        }
        let last = blocks.last().unwrap().id;
        wait_for("catching up", || running.controller.get_best_parents()[31].0 == last);
        let rate = blocks.len() as f64 / start.elapsed().as_secs_f64();
        println!("delta_f0 {delta_f0}: {rate:.0} blocks per second");
        assert!(rate > 200.0, "{rate:.0} blocks per second");
        running.manager.stop();
    }
}
