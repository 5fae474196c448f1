//! A network of producers that see the chain with delays, miss slots and sign twice.

use super::{config, Maker, Node, TestBlock};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::VecDeque;

/// How often each thing goes wrong, per slot, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Hazards {
    /// No block.
    pub miss: f64,
    /// A second block for the slot.
    pub twin: f64,
    /// The producer has not seen the last blocks.
    pub blind: f64,
    /// The block reaches the others some slots later.
    pub late: f64,
    /// For three periods even and odd threads know nothing of each other's blocks. Per period, not per slot.
    pub split: f64,
    /// Parents picked at random among recent blocks: often invalid.
    pub wild: f64,
}

/// Much goes wrong, but forks stay light.
pub const ROUGH: Hazards = Hazards {
    miss: 0.1,
    twin: 0.05,
    blind: 0.1,
    late: 0.1,
    split: 0.05,
    wild: 0.03,
};

/// Nothing goes wrong.
pub const QUIET: Hazards = Hazards {
    miss: 0.0,
    twin: 0.0,
    blind: 0.0,
    late: 0.0,
    split: 0.0,
    wild: 0.0,
};

/// The producers, who share one view of the chain, more or less up to date.
pub struct Simulation {
    /// Every block made, in the order in which it was made.
    pub blocks: Vec<TestBlock>,
    /// The view.
    pub node: Node,
    pub random: ChaCha20Rng,
    maker: Maker,
    views: VecDeque<Vec<BlockId>>,
    on_the_way: Vec<(usize, TestBlock)>,
    /// What even and odd threads know while they are split, and for how many periods they still are.
    sides: [Vec<BlockId>; 2],
    split_periods: u64,
    period: u64,
}

impl Simulation {
    pub fn new(seed: u64, thread_count: u8, delta_f0: u64) -> Self {
        Self {
            blocks: Vec::new(),
            node: Node::new(config(thread_count, delta_f0)),
            random: ChaCha20Rng::seed_from_u64(seed),
            maker: Maker::new(thread_count),
            views: VecDeque::new(),
            on_the_way: Vec::new(),
            sides: Default::default(),
            split_periods: 0,
            period: 0,
        }
    }

    /// Goes on for some periods.
    pub fn run(&mut self, periods: u64, hazards: Hazards) {
        for _ in 0..periods {
            self.period += 1;
            self.split_periods = self.split_periods.saturating_sub(1);
            if self.split_periods == 0 && self.random.gen_bool(hazards.split) {
                self.split_periods = 3;
                self.sides = [self.node.best_parents(), self.node.best_parents()];
            }
            for thread in 0..self.maker.thread_count {
                self.slot(Slot::new(self.period, thread), hazards);
            }
            if self.period % 7 == 0 {
                self.node.state.prune().unwrap();
            }
        }
        self.deliver();
    }

    fn slot(&mut self, slot: Slot, hazards: Hazards) {
        self.deliver();
        self.views.push_back(self.node.best_parents());
        if self.views.len() > 2 * usize::from(self.maker.thread_count) {
            self.views.pop_front();
        }
        if self.random.gen_bool(hazards.wild) {
            let parents = self.wild_parents();
            self.make(slot, &parents, hazards);
        }
        if self.random.gen_bool(hazards.miss) {
            return;
        }
        if self.split_periods > 0 {
            return self.slot_of_one_side(slot, hazards);
        }
        let twice = self.random.gen_bool(hazards.twin);
        for _ in 0..1 + usize::from(twice) {
            let age = match self.random.gen_bool(hazards.blind) {
                true => self.random.gen_range(0..self.views.len()),
                false => 0,
            };
            let view = self.views[self.views.len() - 1 - age].clone();
            self.make(slot, &view, hazards);
        }
    }

    fn slot_of_one_side(&mut self, slot: Slot, hazards: Hazards) {
        let side = usize::from(slot.thread % 2);
        let parents = self.sides[side].clone();
        self.make(slot, &parents, hazards);
        let made = self.blocks.last().expect("a block was just made").id;
        self.sides[side][usize::from(slot.thread)] = made;
    }

    fn make(&mut self, slot: Slot, parents: &[BlockId], hazards: Hazards) {
        self.maker.operations = self.random.gen_range(0..3);
        self.maker.endorsements = u32::from(self.random.gen_ratio(1, 10));
        let block = self.maker.block(slot.period, slot.thread, parents);
        self.blocks.push(block.clone());
        let delay = match self.random.gen_bool(hazards.late) {
            true => self.random.gen_range(1..=usize::from(self.maker.thread_count)),
            false => 0,
        };
        self.on_the_way.push((delay, block));
    }

    fn deliver(&mut self) {
        for (delay, block) in std::mem::take(&mut self.on_the_way) {
            match delay {
                0 => self.node.register([&block]),
                _ => self.on_the_way.push((delay - 1, block)),
            }
        }
    }

    /// A parent for each thread, from among its latest blocks of any fork.
    fn wild_parents(&mut self) -> Vec<BlockId> {
        let genesis = self.node.genesis();
        let recent = &self.blocks[self.blocks.len().saturating_sub(40)..];
        let pick = |thread: u8, random: &mut ChaCha20Rng| {
            let of_thread: Vec<_> = recent.iter().filter(|block| block.slot.thread == thread).collect();
            of_thread
                .choose(random)
                .map_or(genesis[usize::from(thread)], |block| block.id)
        };
        let threads = 0..self.maker.thread_count;
        threads.map(|thread| pick(thread, &mut self.random)).collect()
    }

    /// The blocks in an order in which they might arrive: each up to `jitter` places earlier or later.
    pub fn shuffled(&self, seed: u64, jitter: usize) -> Vec<TestBlock> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut keyed: Vec<(usize, &TestBlock)> = self
            .blocks
            .iter()
            .enumerate()
            .map(|(index, block)| (index + random.gen_range(0..=jitter), block))
            .collect();
        keyed.shuffle(&mut random);
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, block)| block.clone()).collect()
    }
}

impl Node {
    fn best_parents(&self) -> Vec<BlockId> {
        self.state.best_parents.iter().map(|(id, _)| *id).collect()
    }
}
