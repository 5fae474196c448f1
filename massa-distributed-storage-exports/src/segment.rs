//! The segment: what is anchored on chain, claimed, drawn and paid. Segments form a chain through their roots.

use crate::merkle::{leaf_hash, MerkleProof, MerkleTree};
use crate::types::{Digest, PeriodRoot, SegmentRoot};

/// Shape of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The chain.
    pub chain_id: u64,
    /// Number of the segment, counted from 0 at period 0.
    pub segment: u64,
    /// First archived period.
    pub first_period: u64,
    /// Number of periods.
    pub periods: u32,
    /// Root of the segment before; zeros for the first of an archive.
    pub previous: Digest,
}

/// A leaf of the segment tree. Each names its own position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentLeaf {
    /// The shape: the first leaf.
    Header(SegmentHeader),
    /// A period, in order.
    Period {
        /// The period.
        period: u64,
        /// Its root.
        root: PeriodRoot,
    },
}

impl SegmentLeaf {
    /// Content of the leaf.
    ///
    /// ```text
    /// 04 | chain id u64 | segment u64 | first period u64 | periods u32 | previous segment root (32)
    /// 05 | period u64 | period root (32)
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(61);
        match self {
            SegmentLeaf::Header(header) => {
                bytes.push(4);
                bytes.extend(header.chain_id.to_le_bytes());
                bytes.extend(header.segment.to_le_bytes());
                bytes.extend(header.first_period.to_le_bytes());
                bytes.extend(header.periods.to_le_bytes());
                bytes.extend(header.previous);
            }
            SegmentLeaf::Period { period, root } => {
                bytes.push(5);
                bytes.extend(period.to_le_bytes());
                bytes.extend(root.as_bytes());
            }
        }
        bytes
    }

    /// Hash of the leaf.
    pub fn hash(&self) -> Digest {
        leaf_hash(&self.to_bytes())
    }
}

/// The tree of a segment.
pub struct SegmentTree {
    first_period: u64,
    tree: MerkleTree,
}

impl SegmentTree {
    /// Builds the tree over the roots of `header.periods` periods from `header.first_period` on.
    ///
    /// # Panics
    /// When `roots` has another length than `header.periods`: the caller made both from the same list.
    pub fn new(header: SegmentHeader, roots: &[PeriodRoot]) -> Self {
        assert_eq!(header.periods as usize, roots.len(), "the header counts the roots");
        let periods = roots.iter().zip(header.first_period..).map(|(root, period)| {
            let root = *root;
            SegmentLeaf::Period { period, root }.hash()
        });
        let hashes: Vec<Digest> = std::iter::once(SegmentLeaf::Header(header).hash())
            .chain(periods)
            .collect();
        Self {
            first_period: header.first_period,
            tree: MerkleTree::new(&hashes),
        }
    }

    /// The segment root.
    pub fn root(&self) -> SegmentRoot {
        SegmentRoot::from_bytes(self.tree.root())
    }

    /// The path of the header, the first leaf.
    pub fn header_path(&self) -> MerkleProof {
        self.tree.path(0).expect("a segment has a header")
    }

    /// The path of `period`; `None` if it is not in the segment.
    pub fn path(&self, period: u64) -> Option<MerkleProof> {
        let position = period.checked_sub(self.first_period)?.checked_add(1)?;
        self.tree.path(u32::try_from(position).ok()?)
    }
}
