//! The claims that this node sent: which chunks each covers, on disk until its round is over.
//!
//! A draw is answered from the tree that was committed to, so a node that restarts between claim and draws must have the same
//! tree again. One file for each claim, named by its root:
//!
//! ```text
//! round u64 | each chunk, ascending: position u64, leaves u32, chunk id (32)
//! ```
//!
//! The root is computed again when a file is read: it is the file's checksum.

use crate::challenge::{ClaimTree, HeldChunk, Position};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

const CHUNK_BYTES: usize = 8 + 4 + 32;
const ROUND_BYTES: usize = 8;

/// A claim that was sent, or is about to be.
#[derive(Debug)]
pub struct SentClaim {
    /// The round that is claimed.
    pub round: u64,
    /// What is claimed.
    pub tree: ClaimTree,
}

/// The claims of this node that are not over.
#[derive(Debug)]
pub struct ClaimBook {
    directory: PathBuf,
    segment_periods: u64,
    claims: BTreeMap<Digest, Arc<SentClaim>>,
}

impl ClaimBook {
    /// Reads the claims in `directory`, which is made if it is not there. A damaged file is removed: its draws will be missed.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: PathBuf, segment_periods: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let mut claims = BTreeMap::new();
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            match read(&path) {
                Some(claim) => {
                    claims.insert(claim.tree.claim().root, Arc::new(claim));
                }
                None => {
                    warn!(path = %path.display(), "not a claim of this node: removed");
                    std::fs::remove_file(&path)?;
                }
            }
        }
        Ok(Self {
            directory,
            segment_periods,
            claims,
        })
    }

    /// Keeps a claim before it is sent.
    ///
    /// # Errors
    /// The file cannot be written: the claim must not be sent.
    pub fn keep(&mut self, claim: SentClaim) -> std::io::Result<()> {
        let root = claim.tree.claim().root;
        let path = self.path(&root);
        let new = path.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&to_bytes(&claim))?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        self.claims.insert(root, Arc::new(claim));
        Ok(())
    }

    /// The claim with this root.
    pub fn find(&self, root: &Digest) -> Option<&Arc<SentClaim>> {
        self.claims.get(root)
    }

    /// Forgets the claims of rounds before `round`.
    pub fn forget_before(&mut self, round: u64) {
        let over: Vec<Digest> = self
            .claims
            .iter()
            .filter(|(_, claim)| claim.round < round)
            .map(|(root, _)| *root)
            .collect();
        for root in over {
            self.claims.remove(&root);
            if let Err(error) = std::fs::remove_file(self.path(&root)) {
                warn!(%error, "a claim that is over was not removed");
            }
        }
    }

    /// The claims for a round: that of the registry, and those that were built and never executed.
    pub fn of_round(&self, round: u64) -> Vec<Arc<SentClaim>> {
        let of_round = self.claims.values().filter(|claim| claim.round == round);
        of_round.cloned().collect()
    }

    /// Whether a claim that is not over covers a chunk.
    pub fn covers(&self, period: u64, chunk: ChunkIndex) -> bool {
        let position = Position::of_chunk(period, chunk, self.segment_periods);
        position.is_some_and(|position| self.claims.values().any(|claim| claim.tree.chunk(position).is_some()))
    }

    fn path(&self, root: &Digest) -> PathBuf {
        self.directory.join(hex::encode(root))
    }
}

fn to_bytes(claim: &SentClaim) -> Vec<u8> {
    let mut bytes = claim.round.to_le_bytes().to_vec();
    for chunk in claim.tree.chunks() {
        bytes.extend_from_slice(&chunk.position.number().to_le_bytes());
        bytes.extend_from_slice(&chunk.leaves.to_le_bytes());
        bytes.extend_from_slice(chunk.id.as_bytes());
    }
    bytes
}

fn read(path: &Path) -> Option<SentClaim> {
    let claim = from_bytes(&std::fs::read(path).ok()?)?;
    let named = path.file_name()?.to_str()? == hex::encode(claim.tree.claim().root);
    named.then_some(claim)
}

fn from_bytes(bytes: &[u8]) -> Option<SentClaim> {
    let (round, chunks) = bytes.split_at_checked(ROUND_BYTES)?;
    if chunks.len() % CHUNK_BYTES != 0 {
        return None;
    }
    let chunk = |bytes: &[u8]| {
        let (position, rest) = bytes.split_at(8);
        let (leaves, id) = rest.split_at(4);
        Some(HeldChunk {
            position: Position::from_number(u64::from_le_bytes(position.try_into().ok()?))?,
            leaves: u32::from_le_bytes(leaves.try_into().ok()?),
            id: ChunkId::from_bytes(id.try_into().ok()?),
        })
    };
    let chunks: Option<Vec<HeldChunk>> = chunks.chunks_exact(CHUNK_BYTES).map(chunk).collect();
    Some(SentClaim {
        round: u64::from_le_bytes(round.try_into().ok()?),
        tree: ClaimTree::new(chunks?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: u64 = 20;

    fn claim(round: u64, periods: std::ops::Range<u64>) -> SentClaim {
        let chunks = periods.map(|period| HeldChunk {
            position: Position::of_chunk(period, ChunkIndex(1), P).unwrap(),
            leaves: 3,
            id: ChunkId::from_bytes([period as u8; 32]),
        });
        SentClaim {
            round,
            tree: ClaimTree::new(chunks),
        }
    }

    #[test]
    fn claims_survive_a_restart_until_their_round_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claims");
        let mut book = ClaimBook::open(path.clone(), P).unwrap();
        let (first, second) = (claim(4, 0..30), claim(5, 0..40));
        let roots = [first.tree.claim(), second.tree.claim()];
        book.keep(first).unwrap();
        book.keep(second).unwrap();

        let mut book = ClaimBook::open(path.clone(), P).unwrap();
        for root in roots {
            assert_eq!(book.find(&root.root).unwrap().tree.claim(), root);
        }
        assert!(book.covers(35, ChunkIndex(1)));
        assert!(!book.covers(35, ChunkIndex(0)) && !book.covers(40, ChunkIndex(1)));

        book.forget_before(5);
        let book = ClaimBook::open(path, P).unwrap();
        assert!(book.find(&roots[0].root).is_none() && book.find(&roots[1].root).is_some());
    }

    #[test]
    fn a_damaged_file_is_removed_and_never_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claims");
        let mut book = ClaimBook::open(path.clone(), P).unwrap();
        let sent = claim(4, 0..3);
        let root = sent.tree.claim().root;
        book.keep(sent).unwrap();
        let file = path.join(hex::encode(root));
        let bytes = std::fs::read(&file).unwrap();
        for at in 8..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&file, changed).unwrap();
            let book = ClaimBook::open(path.clone(), P).unwrap();
            assert!(book.find(&root).is_none(), "byte {at}");
            assert!(!file.exists(), "byte {at}");
        }
    }
}
