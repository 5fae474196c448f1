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

use massa_distributed_storage_exports::manifest::{Manifest, PeriodHeader, PeriodLeaf};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentLeaf};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{MerkleProof, PeriodRoot};
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::{Store, StoreError};
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
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

/// Proves a block of the archive.
///
/// # Errors
/// [`ReadError::NotArchived`] while its period is not complete; [`ReadError::NoSegmentRoot`] while an earlier period of
/// the segment is not.
pub fn prove_block(
    store: &Store,
    slot: Slot,
    record: &BlockRecord,
    with_operations: bool,
) -> Result<ProofDocument, ReadError> {
    let manifest = store.archived_manifest(slot.period)?;
    let place = prove_place(&manifest, slot)?;
    let operations = record.operations().map(|bytes| HexBytes(bytes.to_vec()));
    let subject = BlockSubject {
        thread: slot.thread,
        block_id: place.block_id.ok_or_else(|| not_found(slot))?,
        block: HexBytes(record.block().to_vec()),
        operations: with_operations.then(|| operations.collect()),
        leaf: place.leaf,
        path: place.path,
    };
    document(store, &manifest, Subject::Block(subject))
}

/// Proves that a slot was missed.
///
/// # Errors
/// As [`prove_block`].
pub fn prove_miss(store: &Store, slot: Slot) -> Result<ProofDocument, ReadError> {
    let manifest = store.archived_manifest(slot.period)?;
    let place = prove_place(&manifest, slot)?;
    let subject = MissSubject {
        thread: slot.thread,
        leaf: place.leaf,
        path: place.path,
    };
    document(store, &manifest, Subject::Miss(subject))
}

/// Proves operation `index` of a block of the archive.
///
/// # Errors
/// As [`prove_block`].
pub fn prove_operation(
    store: &Store,
    slot: Slot,
    record: &BlockRecord,
    index: u32,
) -> Result<ProofDocument, ReadError> {
    let manifest = store.archived_manifest(slot.period)?;
    let place = prove_place(&manifest, slot)?;
    let view = record.view(manifest.header.threads).map_err(unreadable)?;
    let listed = view
        .operation_ids()
        .nth(index as usize)
        .zip(record.operations().nth(index as usize));
    let (operation_id, operation) = listed.ok_or_else(|| not_found(slot))?;
    let subject = OperationSubject {
        operation_id,
        operation: HexBytes(operation.to_vec()),
        index,
        thread: slot.thread,
        block_id: place.block_id.ok_or_else(|| not_found(slot))?,
        block: HexBytes(record.block().to_vec()),
        leaf: place.leaf,
        path: place.path,
    };
    document(store, &manifest, Subject::Operation(subject))
}

/// Proves everything that a period has.
///
/// # Errors
/// As [`prove_block`].
pub fn prove_period(store: &Store, period: u64) -> Result<ProofDocument, ReadError> {
    let manifest = store.archived_manifest(period)?;
    let chunk = |entry: &massa_distributed_storage_exports::manifest::ChunkEntry| ChunkPart {
        length: entry.length,
        id: HexDigest(entry.id.to_bytes()),
    };
    let subject = PeriodSubject {
        places: manifest.places.iter().map(|place| place.block_id()).collect(),
        chunks: manifest.chunks.iter().map(chunk).collect(),
    };
    document(store, &manifest, Subject::Period(subject))
}

/// A place with its path to the period root.
struct ProvenPlace {
    block_id: Option<BlockId>,
    leaf: HexBytes,
    path: Path,
}

fn prove_place(manifest: &Manifest, slot: Slot) -> Result<ProvenPlace, ReadError> {
    let proven = manifest.prove_place(slot.thread);
    let (leaf, path) = proven.ok_or_else(|| not_found(slot))?;
    Ok(ProvenPlace {
        block_id: manifest.places[usize::from(slot.thread)].block_id(),
        leaf: HexBytes(leaf.to_bytes()),
        path: path.into(),
    })
}

fn not_found(slot: Slot) -> ReadError {
    ReadError::NotFound(format!("slot {}:{}", slot.period, slot.thread))
}

fn unreadable(error: RecordError) -> ReadError {
    ReadError::Store(StoreError::Record(error))
}

/// Adds the way from the period root to the segment root.
fn document(store: &Store, manifest: &Manifest, subject: Subject) -> Result<ProofDocument, ReadError> {
    let header = &manifest.header;
    let segment = store.parameters().segment_of(header.period);
    let no_root = |missing| ReadError::NoSegmentRoot {
        period: header.period,
        missing,
    };
    let state = store
        .segment_state(segment)?
        .ok_or_else(|| no_root(store.parameters().segment_start(segment)))?;
    let end = state.header.first_period + u64::from(state.header.periods);
    let path = state.tree.path(header.period).ok_or_else(|| no_root(end))?;
    let tree = manifest.tree();
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
            segment,
            first_period: state.header.first_period,
            periods: state.header.periods,
            previous_root: HexDigest(state.header.previous),
            header_path: state.tree.header_path().into(),
        },
        segment_root: HexDigest(state.tree.root().to_bytes()),
    })
}
