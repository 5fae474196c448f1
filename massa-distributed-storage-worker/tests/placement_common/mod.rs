//! An archive as the tests know it, its placement by difference, and the rule to compare with.

#![allow(dead_code)]

use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest};
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::checkpoint::PlacementRows;
use massa_distributed_storage_worker::replication::{placement_score, NodesInForce, PlacementRules, SegmentPlacement};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::{KeyPair, PublicKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

pub const CHUNK_BYTES: u32 = 1000;
pub const SEGMENT_PERIODS: u64 = 10;

pub static OWNER: LazyLock<PublicKey> = LazyLock::new(|| KeyPair::generate(0).unwrap().get_public_key());

pub fn key(name: u64) -> Digest {
    *blake3::hash(&name.to_le_bytes()).as_bytes()
}

/// A filled node without retention.
pub fn node(name: u64, weight: u64) -> StorageNode {
    StorageNode {
        node_id: Some(NodeId::new(*OWNER)),
        address: Address::from_public_key(&OWNER),
        placement_key: key(name),
        allocated_storage_gb: weight,
        filled: true,
        retention_periods: 0,
        listeners: Vec::new(),
    }
}

/// These nodes; this one is the one named 0, if it is among them.
pub fn in_force(nodes: &[StorageNode], replication_factor: usize) -> NodesInForce {
    let nodes = Arc::new(NodeSet::new(nodes.to_vec()));
    NodesInForce {
        own: nodes.nodes().iter().position(|node| node.placement_key == key(0)),
        nodes,
        replication_factor,
    }
}

/// Nodes named from 0 on, of equal weight.
pub fn equal_nodes(count: u64) -> Vec<StorageNode> {
    (0..count).map(|name| node(name, 10)).collect()
}

pub fn ids_of(segment: u64, version: u64, chunks: u64) -> Vec<ChunkId> {
    let id = |chunk| ChunkId::from_bytes(*blake3::hash(format!("{segment} {version} {chunk}").as_bytes()).as_bytes());
    (0..chunks).map(id).collect()
}

pub fn at(segment: u64, index: usize) -> ChunkPosition {
    ChunkPosition::new(segment, index as u32).unwrap()
}

/// Holders as the design says it: every candidate is scored, the best of those that count hold, and whoever ranks above the last
/// of them.
pub fn holders_of_model(nodes: &NodesInForce, segment: u64, ended: u64, chunk: &ChunkId) -> Vec<usize> {
    let keeps = |node: &StorageNode| match node.retention_periods {
        0 => true,
        periods => segment + periods / SEGMENT_PERIODS > ended,
    };
    let factor = nodes.replication_factor.max(1);
    let list = nodes.nodes.nodes();
    let scored = list
        .iter()
        .enumerate()
        .filter(|(_, node)| keeps(node))
        .filter_map(|(index, node)| {
            let score = placement_score(chunk, &node.placement_key, node.allocated_storage_gb)?;
            Some((score, index))
        });
    let mut order: Vec<(u64, usize)> = scored.collect();
    order.sort_unstable();
    let order: Vec<usize> = order.into_iter().map(|(_, index)| index).collect();
    let is_filled = |at: &usize| list[order[*at]].filled;
    let filled: Vec<usize> = (0..order.len()).filter(is_filled).collect();
    let holders = filled.get(factor - 1).map_or(factor.min(order.len()), |last| last + 1);
    order[..holders].to_vec()
}

/// An archive as the tests know it, and its placement.
pub struct World {
    pub nodes: Vec<StorageNode>,
    pub factor: usize,
    pub placement: SegmentPlacement,
    /// Length and ids of each segment.
    pub segments: BTreeMap<u64, (u64, Vec<ChunkId>)>,
    pub unreadable: BTreeSet<u64>,
    pub ended: u64,
    /// Every node set and last ended segment so far.
    pub past: Vec<(NodesInForce, u64)>,
    pub rules: PlacementRules,
    pub header: Option<Vec<u8>>,
    pub saved: BTreeMap<u64, Vec<u8>>,
    pub replaced: u64,
}

impl World {
    pub fn new(nodes: Vec<StorageNode>, factor: usize) -> Self {
        Self::with_score_bits(nodes, factor, 43)
    }

    pub fn with_score_bits(nodes: Vec<StorageNode>, factor: usize, score_bits: u32) -> Self {
        let rules = PlacementRules {
            score_bits,
            ..PlacementRules::new(CHUNK_BYTES, SEGMENT_PERIODS)
        };
        Self {
            placement: SegmentPlacement::new(rules, in_force(&nodes, factor)),
            past: vec![(in_force(&nodes, factor), 0)],
            nodes,
            factor,
            segments: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            ended: 0,
            rules,
            header: None,
            saved: BTreeMap::new(),
            replaced: 0,
        }
    }

    /// So many segments of so many chunks, placed.
    pub fn placed(nodes: Vec<StorageNode>, factor: usize, segments: u64, chunks: u64) -> Self {
        let mut world = Self::new(nodes, factor);
        (0..segments).for_each(|segment| world.push(segment, chunks));
        world.finish();
        world
    }

    pub fn push(&mut self, segment: u64, chunks: u64) {
        let ids = ids_of(segment, self.replaced, chunks);
        // The last chunk is not full.
        let bytes = (chunks * u64::from(CHUNK_BYTES)).saturating_sub(7);
        self.placement.put_segment(segment, bytes).unwrap();
        self.segments.insert(segment, (bytes, ids));
        self.saved.remove(&segment);
        self.end(segment);
    }

    pub fn end(&mut self, segment: u64) {
        self.ended = self.ended.max(segment);
        self.placement.end_segment(segment);
        self.past.push((self.newest(), self.ended));
    }

    pub fn newest(&self) -> NodesInForce {
        in_force(&self.nodes, self.factor)
    }

    pub fn change_nodes(&mut self, change: impl FnOnce(&mut Vec<StorageNode>)) {
        change(&mut self.nodes);
        self.set_nodes();
    }

    pub fn set_nodes(&mut self) {
        self.placement.set_nodes(self.newest());
        self.past.push((self.newest(), self.ended));
    }

    pub fn step(&mut self, budget: usize) {
        let (segments, unreadable) = (&self.segments, &self.unreadable);
        let read = |segment: u64| {
            let ids = segments.get(&segment).map(|(_, ids)| ids.clone());
            ids.filter(|_| !unreadable.contains(&segment))
        };
        self.placement.step(budget, &read);
    }

    pub fn finish(&mut self) {
        while !self.placement.progress().is_done() {
            self.step(10_000);
        }
    }

    /// In small slices until so many segments are settled.
    pub fn settle(&mut self, count: usize) {
        let settled = |world: &Self| {
            world
                .segments
                .keys()
                .filter(|segment| world.placement.is_settled(**segment))
                .count()
        };
        while settled(self) < count {
            self.step(1);
        }
    }

    pub fn save(&mut self, max: usize) {
        let PlacementRows { header, segments } = self.placement.take_rows(max);
        self.header = header.or(self.header.take());
        for (segment, row) in segments {
            match row {
                Some(row) => self.saved.insert(segment, row),
                None => self.saved.remove(&segment),
            };
        }
    }

    /// Starts again from what is on disk.
    pub fn restart(&mut self) {
        self.placement = SegmentPlacement::new(self.rules, self.newest());
        let header = self.header.as_deref();
        let sets = header.map_or_else(Default::default, |bytes| self.placement.read_header(bytes).unwrap());
        self.placement.end_segment(self.ended);
        for (segment, (bytes, _)) in &self.segments {
            match self.saved.get(segment) {
                Some(row) => self.placement.restore_segment(&sets, *segment, *bytes, row).unwrap(),
                None => self.placement.put_segment(*segment, *bytes).unwrap(),
            }
        }
    }

    pub fn holders(&self, segment: u64, index: usize) -> Vec<usize> {
        holders_of_model(&self.newest(), segment, self.ended, &self.segments[&segment].1[index])
    }

    /// Chunks of a segment that are this node's under a set, with ranks.
    pub fn mine_of_model(&self, segment: u64, nodes: &NodesInForce, ended: u64) -> Vec<(ChunkPosition, usize)> {
        let ids = self.segments[&segment].1.iter().enumerate();
        let mine = ids.filter_map(|(index, id)| {
            let holders = holders_of_model(nodes, segment, ended, id);
            let rank = holders.iter().position(|holder| Some(*holder) == nodes.own)?;
            Some((at(segment, index), rank))
        });
        mine.collect()
    }

    pub fn mine_of(&self, segment: u64) -> Vec<(ChunkPosition, usize)> {
        let mine = self.placement.mine_of(segment);
        mine.map(|own| (own.position, usize::from(own.rank))).collect()
    }

    /// What can be asked at any time.
    pub fn check(&self) {
        let mut share = (0, 0);
        for (segment, (bytes, ids)) in &self.segments {
            let position = at(*segment, ids.len() / 2);
            if let Some(id) = ids.get(ids.len() / 2) {
                let expected = self.holders(*segment, ids.len() / 2);
                assert_eq!(self.placement.holders(position, id), expected, "{position}");
            }
            let mine = self.mine_of(*segment);
            if self.placement.is_settled(*segment) {
                assert_eq!(mine, self.mine_of_model(*segment, &self.newest(), self.ended));
            } else if self.placement.placed_for(*segment).is_some() {
                let mut past = self.past.iter();
                assert!(
                    past.any(|(nodes, ended)| self.mine_of_model(*segment, nodes, *ended) == mine),
                    "segment {segment} is placed for no set that there was: {mine:?}"
                );
            } else {
                assert_eq!(self.placement.is_mine(position), None);
                assert!(mine.is_empty());
            }
            let length = |(position, _): &(ChunkPosition, usize)| {
                let start = u64::from(position.index.0) * u64::from(CHUNK_BYTES);
                u64::from(CHUNK_BYTES).min(bytes - start)
            };
            share.0 += mine.len();
            share.1 += mine.iter().map(length).sum::<u64>();
        }
        assert_eq!(self.placement.own_share(), share);
    }

    /// What can be asked when placing is done.
    pub fn check_settled(&self) {
        let mut mine = Vec::new();
        for (segment, (_, ids)) in &self.segments {
            assert!(self.placement.is_settled(*segment), "segment {segment}");
            for (index, id) in ids.iter().enumerate() {
                let (position, expected) = (at(*segment, index), self.holders(*segment, index));
                assert_eq!(self.placement.holders(position, id), expected, "{position}");
                let own = self.newest().own;
                let is_mine = expected.iter().any(|holder| Some(*holder) == own);
                assert_eq!(self.placement.is_mine(position), Some(is_mine));
                assert_eq!(
                    self.placement.counting_holders(position),
                    Some(self.counting(&expected))
                );
            }
            mine.extend(self.mine_of_model(*segment, &self.newest(), self.ended));
        }
        let found = self.placement.mine(0);
        let found: Vec<(ChunkPosition, usize)> = found.map(|own| (own.position, usize::from(own.rank))).collect();
        assert_eq!(found, mine);
    }

    /// Of these holders those that count.
    pub fn counting(&self, holders: &[usize]) -> Vec<usize> {
        let nodes = self.newest();
        let is_filled = |holder: &&usize| nodes.nodes.nodes()[**holder].filled;
        let filled: Vec<usize> = holders.iter().filter(is_filled).copied().collect();
        if filled.len() < self.factor.max(1) {
            holders.to_vec()
        } else {
            filled
        }
    }

    /// What `action` costs, with all the placing that follows from it.
    pub fn cost_of(&mut self, action: impl FnOnce(&mut Self)) -> Cost {
        let before = self.placement.costs();
        action(self);
        self.finish();
        let after = self.placement.costs();
        Cost {
            hashes: after.hashes - before.hashes,
            in_full: after.ranked_in_full - before.ranked_in_full,
            chunks: after.chunks - before.chunks,
            read: after.segments_read - before.segments_read,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub hashes: u64,
    pub in_full: u64,
    pub chunks: u64,
    pub read: u64,
}

pub const SEGMENTS: u64 = 20;
pub const CHUNKS: u64 = 50;
pub const FACTOR: usize = 3;
