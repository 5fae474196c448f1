//! Parts that documents of several kinds are made of, and how bytes are written in them.

use crate::merkle::MerkleProof;
use crate::types::Digest;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// The slot's leaf of the period tree.
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
    /// The slot's leaf of the period tree.
    pub leaf: HexBytes,
    /// From the leaf to the period root.
    pub path: Path,
}

/// A block of a lost period: that it is lost follows from the header of the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostSubject {
    /// Thread of its slot.
    pub thread: u8,
    /// Its id.
    pub block_id: BlockId,
    /// The slot's leaf of the period tree.
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
    /// The slot's leaf of the period tree.
    pub leaf: HexBytes,
    /// From the leaf to the period root.
    pub path: Path,
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
