//! Proofs: what is archived at a place, as a document that anyone can check against a segment root.
//!
//! ```text
//! subject ── path ──► period root ── path ──► segment root
//! shape of the period ── path ─┘               │
//! shape of the segment ── path ────────────────┘
//! ```
//!
//! The document states nothing that does not follow from the root: chain, threads and sizes are leaves of the two trees,
//! with paths of their own. (Whether a segment is complete does not follow from its root, so it is not stated; its number
//! of periods is.) Bytes and hashes are lower-case hexadecimal, so that a fact has one form; unknown fields are refused.
//!
//! The command line writes it from a store, a node from what it fetched ([`Prover`]).

use crate::manifest::{Manifest, PeriodHeader, PeriodLeaf};
use crate::merkle::MerkleProof;
use crate::record::{BlockRecord, RecordError};
use crate::segment::{SegmentHeader, SegmentLeaf, SegmentTree};
use crate::types::{Digest, PeriodRoot};
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Format of the document.
pub const FORMAT: &str = "massa-archive-proof-1";

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofDocument {
    /// [`FORMAT`].
    pub format: String,
    /// The chain.
    pub chain_id: u64,
    /// Its threads.
    pub thread_count: u8,
    /// What is proven.
    pub subject: Subject,
    /// The period that it is in.
    pub period: PeriodPart,
    /// The segment that the period is in.
    pub segment: SegmentPart,
    /// Where all paths end.
    pub segment_root: HexDigest,
}

/// What is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A block is archived.
    Block(BlockSubject),
    /// A slot was missed.
    Miss(MissSubject),
    /// An operation is part of an archived block.
    Operation(OperationSubject),
    /// A block is known to have been final, and lost with its period.
    Lost(LostSubject),
    /// Everything that a period has.
    Period(PeriodSubject),
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSubject {
    /// Thread of its slot.
    pub thread: u8,
    /// Its id.
    pub block_id: BlockId,
    /// The `SecureShareBlock`.
    pub block: HexBytes,
    /// Each `SecureShareOperation`, in the block's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<HexBytes>>,
    /// The place's leaf of the period tree.
    pub leaf: HexBytes,
    /// From the leaf to the period root.
    pub path: Path,
}

/// A missed slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissSubject {
    /// Thread of the slot.
    pub thread: u8,
    /// The place's leaf of the period tree.
    pub leaf: HexBytes,
    /// From the leaf to the period root.
    pub path: Path,
}

/// A block of a lost period: that the period is lost follows from its shape, which has no chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostSubject {
    /// Thread of its slot.
    pub thread: u8,
    /// Its id.
    pub block_id: BlockId,
    /// The place's leaf of the period tree.
    pub leaf: HexBytes,
    /// From the leaf to the period root.
    pub path: Path,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationSubject {
    /// Its id.
    pub operation_id: OperationId,
    /// The `SecureShareOperation`.
    pub operation: HexBytes,
    /// Its position in the block.
    pub index: u32,
    /// Thread of the block's slot.
    pub thread: u8,
    /// Id of the block.
    pub block_id: BlockId,
    /// The `SecureShareBlock`, which lists the operation.
    pub block: HexBytes,
    /// The place's leaf of the period tree.
    pub leaf: HexBytes,
    /// From the leaf to the period root.
    pub path: Path,
}

/// A whole period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodSubject {
    /// One for each thread: the block, or null for a missed slot.
    pub places: Vec<Option<BlockId>>,
    /// In body order.
    pub chunks: Vec<ChunkPart>,
}

/// A chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkPart {
    /// Its bytes.
    pub length: u32,
    /// Its id.
    pub id: HexDigest,
}

/// The period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodPart {
    /// The period.
    pub period: u64,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Bytes of the body.
    pub body_length: u64,
    /// Chunks of the body.
    pub chunks: u32,
    /// From the leaf of this shape to the period root.
    pub header_path: Path,
    /// The period root.
    pub root: HexDigest,
    /// From the period root to the segment root.
    pub path: Path,
}

/// The segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentPart {
    /// Its number.
    pub segment: u64,
    /// Its first period.
    pub first_period: u64,
    /// Periods that the root covers.
    pub periods: u32,
    /// Root of the segment before; zeros for the first of an archive.
    pub previous_root: HexDigest,
    /// From the leaf of this shape to the segment root.
    pub header_path: Path,
}

/// A Merkle path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// Bit k: sibling k is the left one.
    pub directions: u16,
    /// From the leaf up.
    pub siblings: Vec<HexDigest>,
}

impl From<MerkleProof> for Path {
    fn from(path: MerkleProof) -> Self {
        Self {
            directions: path.directions,
            siblings: path.siblings.into_iter().map(HexDigest).collect(),
        }
    }
}

impl From<&Path> for MerkleProof {
    fn from(path: &Path) -> Self {
        Self {
            directions: path.directions,
            siblings: path.siblings.iter().map(|sibling| sibling.0).collect(),
        }
    }
}

/// Bytes as lower-case hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

/// A hash as lower-case hexadecimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexDigest(pub Digest);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        let bytes = hex::decode(&text).ok().filter(|_| !upper);
        let expected = || serde::de::Error::custom("expected lower-case hexadecimal digits, two for each byte");
        bytes.map(Self).ok_or_else(expected)
    }
}

impl Serialize for HexDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for HexDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let HexBytes(bytes) = HexBytes::deserialize(deserializer)?;
        let digest = bytes.try_into().map(Self);
        digest.map_err(|_| serde::de::Error::custom("expected the 64 hexadecimal digits of a hash"))
    }
}

impl PeriodPart {
    /// The leaf that this shape is of.
    pub fn header_leaf(&self, chain_id: u64, thread_count: u8) -> PeriodLeaf {
        PeriodLeaf::Header(PeriodHeader {
            chain_id,
            period: self.period,
            threads: thread_count,
            chunk_size: self.chunk_size,
            body_length: self.body_length,
            chunks: self.chunks,
        })
    }

    /// The leaf of the period in its segment.
    pub fn leaf(&self) -> SegmentLeaf {
        SegmentLeaf::Period {
            period: self.period,
            root: PeriodRoot::from_bytes(self.root.0),
        }
    }
}

impl SegmentPart {
    /// The leaf that this shape is of.
    pub fn header_leaf(&self, chain_id: u64) -> SegmentLeaf {
        SegmentLeaf::Header(SegmentHeader {
            chain_id,
            segment: self.segment,
            first_period: self.first_period,
            periods: self.periods,
            previous: self.previous_root.0,
        })
    }
}

/// Why there is nothing to prove.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The root of the segment does not cover the period.
    #[error("the root of segment {segment} does not cover period {period}")]
    NotCovered {
        /// The period.
        period: u64,
        /// The segment of the root.
        segment: u64,
    },
    /// The period has no such place, or no block there, or the block no such operation.
    #[error("period {period} has no {what}")]
    NotThere {
        /// The period.
        period: u64,
        /// What was to be proven.
        what: String,
    },
    /// The block's bytes are not a block.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What proofs of a period are made from: its manifest, and the tree of its segment.
#[derive(Clone, Copy)]
pub struct Prover<'a> {
    /// The period.
    pub manifest: &'a Manifest,
    /// Shape of the segment that the tree was made with.
    pub segment: &'a SegmentHeader,
    /// The tree of the segment, of what is archived of it so far.
    pub tree: &'a SegmentTree,
}

impl Prover<'_> {
    /// Proves the block of a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn block(&self, thread: u8, record: &BlockRecord, with_operations: bool) -> Result<ProofDocument, ProveError> {
        let place = self.place(thread)?;
        let operations = record.operations().map(|bytes| HexBytes(bytes.to_vec()));
        self.document(Subject::Block(BlockSubject {
            thread,
            block_id: self.block_id(thread)?,
            block: HexBytes(record.block().to_vec()),
            operations: with_operations.then(|| operations.collect()),
            leaf: place.leaf,
            path: place.path,
        }))
    }

    /// Proves that the slot of a thread was missed.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn miss(&self, thread: u8) -> Result<ProofDocument, ProveError> {
        let ProvenPlace { leaf, path } = self.place(thread)?;
        self.document(Subject::Miss(MissSubject { thread, leaf, path }))
    }

    /// Proves which block a lost period had in a thread.
    ///
    /// # Errors
    /// [`ProveError`]; [`ProveError::NotThere`] for a miss, and for a period that is not lost.
    pub fn lost(&self, thread: u8) -> Result<ProofDocument, ProveError> {
        if !self.manifest.is_lost() {
            return Err(self.not_there("lost blocks".into()));
        }
        let block_id = self.block_id(thread)?;
        let ProvenPlace { leaf, path } = self.place(thread)?;
        self.document(Subject::Lost(LostSubject {
            thread,
            block_id,
            leaf,
            path,
        }))
    }

    /// Proves operation `index` of the block of a thread.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn operation(&self, thread: u8, record: &BlockRecord, index: u32) -> Result<ProofDocument, ProveError> {
        let place = self.place(thread)?;
        let view = record.view(self.manifest.header.threads)?;
        let id = view.operation_ids().nth(index as usize);
        let listed = id.zip(record.operations().nth(index as usize));
        let not_there = || self.not_there(format!("operation {index} in thread {thread}"));
        let (operation_id, operation) = listed.ok_or_else(not_there)?;
        self.document(Subject::Operation(OperationSubject {
            operation_id,
            operation: HexBytes(operation.to_vec()),
            index,
            thread,
            block_id: self.block_id(thread)?,
            block: HexBytes(record.block().to_vec()),
            leaf: place.leaf,
            path: place.path,
        }))
    }

    /// Proves everything that the period has.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn period(&self) -> Result<ProofDocument, ProveError> {
        let chunk = |entry: &crate::manifest::ChunkEntry| ChunkPart {
            length: entry.length,
            id: HexDigest(entry.id.to_bytes()),
        };
        self.document(Subject::Period(PeriodSubject {
            places: self.manifest.places.iter().map(|place| place.block_id()).collect(),
            chunks: self.manifest.chunks.iter().map(chunk).collect(),
        }))
    }

    fn place(&self, thread: u8) -> Result<ProvenPlace, ProveError> {
        let proven = self.manifest.prove_place(thread);
        let (leaf, path) = proven.ok_or_else(|| self.not_there(format!("thread {thread}")))?;
        Ok(ProvenPlace {
            leaf: HexBytes(leaf.to_bytes()),
            path: path.into(),
        })
    }

    fn block_id(&self, thread: u8) -> Result<BlockId, ProveError> {
        let place = self.manifest.places.get(usize::from(thread));
        let id = place.and_then(|place| place.block_id());
        id.ok_or_else(|| self.not_there(format!("block in thread {thread}")))
    }

    fn not_there(&self, what: String) -> ProveError {
        let period = self.manifest.header.period;
        ProveError::NotThere { period, what }
    }

    /// Adds the way from the period root to the segment root.
    fn document(&self, subject: Subject) -> Result<ProofDocument, ProveError> {
        let (header, segment) = (&self.manifest.header, self.segment);
        let path = self.tree.path(header.period).ok_or(ProveError::NotCovered {
            period: header.period,
            segment: segment.segment,
        })?;
        let tree = self.manifest.tree();
        Ok(ProofDocument {
            format: FORMAT.to_string(),
            chain_id: header.chain_id,
            thread_count: header.threads,
            subject,
            period: PeriodPart {
                period: header.period,
                chunk_size: header.chunk_size,
                body_length: header.body_length,
                chunks: header.chunks,
                header_path: tree.path(0).expect("a period tree has a header").into(),
                root: HexDigest(tree.root()),
                path: path.into(),
            },
            segment: SegmentPart {
                segment: segment.segment,
                first_period: segment.first_period,
                periods: segment.periods,
                previous_root: HexDigest(segment.previous),
                header_path: self.tree.header_path().into(),
            },
            segment_root: HexDigest(self.tree.root().to_bytes()),
        })
    }
}

/// A place with its path to the period root.
struct ProvenPlace {
    leaf: HexBytes,
    path: Path,
}
