//! What the tests of consensus share: blocks, a node without threads, and stand-ins for the modules it talks to.
#![allow(dead_code)]

pub mod chain;
pub mod doubles;
pub mod simulation;

pub use chain::{Maker, TestBlock};
pub use doubles::{Archiver, Doubles};

use massa_consensus_exports::{BootstrapableGraph, ConsensusConfig};
use massa_consensus_worker::state::ConsensusState;
use massa_models::block::BlockGraphStatus;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A slot later than that of any test block.
pub const LATE: Option<Slot> = Some(Slot::new(u64::MAX / 2, 0));

/// Chain of the tests.
pub const CHAIN_ID: u64 = 77;

/// Settings with small limits of age and generous limits of number.
pub fn config(thread_count: u8, delta_f0: u64) -> ConsensusConfig {
    let mut seed = [0; 33];
    seed[1..].fill(9);
    ConsensusConfig {
        genesis_timestamp: MassaTime::from_millis(1_000_000),
        t0: MassaTime::from_millis(100 * u64::from(thread_count)),
        thread_count,
        genesis_key: KeyPair::from_bytes(&seed).unwrap(),
        max_discarded_blocks: 10_000,
        max_future_processing_blocks: 10_000,
        max_dependency_blocks: 10_000,
        block_db_prune_interval: MassaTime::from_millis(100),
        delta_f0,
        operation_validity_periods: 10,
        periods_per_cycle: 128,
        force_keep_final_periods: 2,
        force_keep_final_periods_without_ops: 6,
        endorsement_count: 16,
        channel_size: 1024,
        chain_id: CHAIN_ID,
        storage_archiver: None,
    }
}

/// Consensus without thread and clock.
pub struct Node {
    pub state: ConsensusState,
    pub root: Storage,
    pub doubles: Doubles,
    pub archiver: Archiver,
}

impl Node {
    /// A node that begins with genesis.
    pub fn new(config: ConsensusConfig) -> Self {
        Self::restored(config, None)
    }

    /// A node that begins with a graph.
    pub fn restored(config: ConsensusConfig, graph: Option<BootstrapableGraph>) -> Self {
        let archiver = Archiver::default();
        let config = ConsensusConfig {
            storage_archiver: Some(Arc::new(archiver.clone())),
            ..config
        };
        let mut node = Self::with_archiver(config, graph);
        node.archiver = archiver;
        node
    }

    /// A node with the archiver that the settings name.
    pub fn with_archiver(config: ConsensusConfig, graph: Option<BootstrapableGraph>) -> Self {
        let root = Storage::create_root();
        let doubles = Doubles::new(config.thread_count);
        // Execution itself kept these.
        let kept = graph.iter().flat_map(|graph| &graph.final_blocks);
        doubles.record.lock().contents.extend(kept.map(|block| block.block.id));
        let mut state = ConsensusState::new(config, doubles.channels(), graph, root.clone_without_refs()).unwrap();
        state.block_db_changed().unwrap();
        Self {
            state,
            root,
            doubles,
            archiver: Archiver::default(),
        }
    }

    /// Genesis blocks.
    pub fn genesis(&self) -> Vec<BlockId> {
        self.state.genesis_hashes.clone()
    }

    /// Registers whole blocks whose slots have all begun.
    pub fn register<'a>(&mut self, blocks: impl IntoIterator<Item = &'a TestBlock>) {
        for block in blocks {
            self.register_at(block, LATE);
        }
    }

    /// Registers a whole block at some time.
    pub fn register_at(&mut self, block: &TestBlock, now: Option<Slot>) {
        let content = block.store_in(&self.root);
        self.state
            .register_block(block.id, block.slot, now, content, false)
            .unwrap();
    }

    /// Registers a header.
    pub fn register_header(&mut self, block: &TestBlock) {
        let header = block.block.content.header.clone();
        self.state.register_block_header(block.id, header, LATE).unwrap();
    }

    /// State of a block.
    pub fn status(&self, block: &TestBlock) -> BlockGraphStatus {
        self.state.get_block_status(&block.id)
    }

    /// Whether a block was found to be final, now or before.
    pub fn has_finalised(&self, id: &BlockId) -> bool {
        self.doubles.finals().contains(id)
    }

    /// All blocks that were found to be final, genesis included.
    pub fn finals(&self) -> BTreeSet<BlockId> {
        self.doubles.finals()
    }

    /// The blocks of each clique, in the order of ids, and the cliques in that order.
    pub fn cliques(&self) -> BTreeSet<BTreeSet<BlockId>> {
        let cliques = self.state.max_cliques.iter();
        cliques
            .map(|clique| clique.block_ids.iter().copied().collect())
            .collect()
    }

    /// Whether two blocks contradict each other; both sides must say the same.
    pub fn are_incompatible(&self, a: &TestBlock, b: &TestBlock) -> bool {
        let says = |a: &TestBlock, b: &TestBlock| self.state.gi_head[&a.id].contains(&b.id);
        assert_eq!(says(a, b), says(b, a), "incompatibility is mutual");
        says(a, b)
    }

    /// Checks what always holds.
    pub fn check_invariants(&self) {
        let state = &self.state;
        assert_eq!(
            state.max_cliques.iter().filter(|clique| clique.is_blockclique).count(),
            1
        );
        for clique in &state.max_cliques {
            let fitness_of = |id| state.blocks_state.active_block(id).unwrap().fitness;
            assert_eq!(clique.fitness, clique.block_ids.iter().map(fitness_of).sum::<u64>());
            assert!(clique.fitness <= state.blockclique().fitness);
            for id in &clique.block_ids {
                assert!(
                    state.gi_head[id].is_disjoint(&clique.block_ids),
                    "a clique contradicts itself"
                );
            }
        }
        for (id, against) in &state.gi_head {
            assert!(!state.blocks_state.active_block(id).unwrap().is_final);
            assert!(against.iter().all(|other| state.gi_head[other].contains(id)));
            assert!(state.max_cliques.iter().any(|clique| clique.block_ids.contains(id)));
        }
        let per_slot: usize = state
            .nonfinal_active_blocks_per_slot
            .values()
            .map(|ids| ids.len())
            .sum();
        assert_eq!(per_slot, state.gi_head.len());
    }
}
