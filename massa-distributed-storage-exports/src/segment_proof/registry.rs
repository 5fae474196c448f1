//! The part of a proof that the registry contract takes: `checkBlock` of `massa-storage-sc/README.md`, "Block proof".
//!
//! ```text
//! slot u8: 00 missed, 01 a block, whose id (33) follows
//! path from the slot's leaf to the period root
//! length of the period u32
//! path from the period's leaf to the segment root
//! path: directions u16 (bit k: sibling k is the left one) | count u8 | siblings (32 each)
//! ```
//!
//! `tests/data/block-proof-vectors.json` holds it and the contract together.

use super::{HexBytes, Path, ProofDocument, Subject};

/// Kind and thread of a slot's leaf: the contract knows them from what it is asked.
const LEAF_PREFIX_BYTES: usize = 2;

impl ProofDocument {
    /// What shows the registry which block a slot had; `None` while the segment is open, and for what is not about one slot.
    ///
    /// Check the document first ([`super::check::check`]): this only rewrites it.
    pub fn registry_proof(&self) -> Option<Vec<u8>> {
        let (HexBytes(leaf), slot_path) = self.subject.slot()?;
        let period = self.segment.as_ref()?.period.as_ref()?;
        let mut bytes = leaf.get(LEAF_PREFIX_BYTES..)?.to_vec();
        write_path(slot_path, &mut bytes)?;
        bytes.extend(period.length.to_le_bytes());
        write_path(&period.path, &mut bytes)?;
        Some(bytes)
    }
}

impl Subject {
    /// Leaf and path of the slot that it is about.
    fn slot(&self) -> Option<(&HexBytes, &Path)> {
        match self {
            Self::Block(subject) => Some((&subject.leaf, &subject.path)),
            Self::Miss(subject) => Some((&subject.leaf, &subject.path)),
            Self::Operation(subject) => Some((&subject.leaf, &subject.path)),
            Self::Lost(subject) => Some((&subject.leaf, &subject.path)),
            Self::Period(_) | Self::Chunk(_) => None,
        }
    }
}

fn write_path(path: &Path, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.extend(path.directions.to_le_bytes());
    bytes.push(u8::try_from(path.siblings.len()).ok()?);
    bytes.extend(path.siblings.iter().flat_map(|sibling| sibling.0));
    Some(())
}
