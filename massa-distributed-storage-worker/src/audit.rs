//! Audits of peers: does a node have on its disk what is assigned to it? Off chain, and never a penalty: success rates,
//! history, an alarm (design, section 8.13).
//!
//! A challenge asks for 32 leaves of one chunk. The first one's position follows from the challenge, each further one's from
//! the bytes of the leaf before, so they are known one after the other, and only to who has the bytes. Who fetches them
//! elsewhere waits a round trip for the chunk, or one for each leaf, and that is timed. The challenge's id follows from both
//! peers: a node that is asked cannot have its challenge answered by another one.
//!
//! ```text
//! challenge id   H(id domain (64) | chain id u64 | challenger's key (33) | challenged node's key (33) | period u64 |
//!                  chunk u32 | chunk id (32) | nonce u64)
//! first seed     H(draw domain (64) | challenge id (32))
//! position       ⌊x · leaves / 2⁶⁴⌋, where x is the first u64 of ChaCha20 with the seed as its key
//! next seed      H(draw domain (64) | seed (32) | bytes of the leaf)
//! ```
//!
//! H is BLAKE3, integers are little-endian. Here is the calculation; [`plan`] decides who is asked what and what comes of it,
//! [`crate::audit_worker`] is the thread.
//!
//! Not found out: whether a node close by has the bytes, or a node that delays small answers, too, so that it looks far away.

pub mod history;
pub mod plan;

use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleTree};
use massa_distributed_storage_exports::network::{Answer, AuditChallenge, AuditLeaf, PageContent, CHALLENGE_LEAVES};
use massa_distributed_storage_exports::types::{ChallengeId, Digest, LEAF_BYTES, PAGE_LEAVES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, MerkleProof, ProofError};
use massa_models::node::NodeId;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;

/// What the input of a challenge id begins with.
pub const CHALLENGE_ID_DOMAIN: [u8; 64] = padded(b"massa distributed storage: id of a challenge between peers");
/// What the input of a seed begins with.
pub const LEAF_DRAW_DOMAIN: [u8; 64] = padded(b"massa distributed storage: next leaf of an audit");

const fn padded(text: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    let mut at = 0;
    while at < text.len() {
        block[at] = text[at];
        at += 1;
    }
    block
}

/// Who challenges whom, on which chain: what a challenge is bound to besides its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeParties {
    /// The chain.
    pub chain_id: u64,
    /// Who asks.
    pub challenger: NodeId,
    /// Who is asked.
    pub challenged: NodeId,
}

impl ChallengeParties {
    /// A challenge for this chunk.
    pub fn challenge(&self, period: u64, chunk: ChunkIndex, chunk_id: ChunkId, nonce: u64) -> AuditChallenge {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&CHALLENGE_ID_DOMAIN);
        hasher.update(&self.chain_id.to_le_bytes());
        hasher.update(&self.challenger.get_public_key().to_bytes());
        hasher.update(&self.challenged.get_public_key().to_bytes());
        hasher.update(&period.to_le_bytes());
        hasher.update(&chunk.0.to_le_bytes());
        hasher.update(chunk_id.as_bytes());
        hasher.update(&nonce.to_le_bytes());
        AuditChallenge {
            challenge_id: ChallengeId::from_bytes(*hasher.finalize().as_bytes()),
            period,
            chunk,
            chunk_id,
            nonce,
        }
    }

    /// Whether a challenge was made by this challenger for this node, here.
    pub fn is_ours(&self, challenge: &AuditChallenge) -> bool {
        let AuditChallenge {
            period,
            chunk,
            chunk_id,
            nonce,
            ..
        } = *challenge;
        self.challenge(period, chunk, chunk_id, nonce) == *challenge
    }
}

/// The positions that a challenge asks for: the next one is known when the leaf before it is.
struct LeafDraw {
    seed: Digest,
    leaf_count: u32,
}

impl LeafDraw {
    fn new(challenge: &AuditChallenge, leaf_count: u32) -> Self {
        let seed = hash_of(&[challenge.challenge_id.as_bytes()]);
        Self { seed, leaf_count }
    }

    fn position(&self) -> u32 {
        let x = ChaCha20Rng::from_seed(self.seed).next_u64();
        ((u128::from(x) * u128::from(self.leaf_count)) >> 64) as u32
    }

    fn follow(&mut self, leaf: &[u8]) {
        self.seed = hash_of(&[&self.seed, leaf]);
    }
}

fn hash_of(parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&LEAF_DRAW_DOMAIN);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A page that was read to answer a challenge.
struct OpenPage {
    content: PageContent,
    tree: MerkleTree,
}

impl OpenPage {
    fn new(content: PageContent) -> Self {
        let tree = MerkleTree::new(&leaf_hashes(&content.bytes));
        Self { content, tree }
    }

    /// Leaf `index` of the page with its path to the chunk id; `None` if the page is too short.
    fn leaf(&self, index: u32) -> Option<AuditLeaf> {
        let in_page = self.tree.path(index)?;
        let above = &self.content.path;
        let shift = in_page.siblings.len();
        let bytes = self.content.bytes.chunks(LEAF_BYTES).nth(index as usize)?;
        Some(AuditLeaf {
            bytes: bytes.to_vec(),
            path: MerkleProof {
                directions: in_page.directions | above.directions.checked_shl(shift as u32)?,
                siblings: [in_page.siblings, above.siblings.clone()].concat(),
            },
        })
    }
}

/// Answers a challenge for the chunk `entry`. Reads each page that a leaf is drawn from once: at most 32 pages.
pub fn prove(
    challenge: &AuditChallenge,
    entry: &ChunkEntry,
    read_page: impl Fn(u32) -> Answer<PageContent>,
) -> Answer<Vec<AuditLeaf>> {
    if entry.id != challenge.chunk_id || entry.length == 0 {
        return Answer::NotHeld;
    }
    let mut draw = LeafDraw::new(challenge, entry.leaf_count());
    let mut pages: BTreeMap<u32, OpenPage> = BTreeMap::new();
    let mut leaves = Vec::with_capacity(CHALLENGE_LEAVES);
    for _ in 0..CHALLENGE_LEAVES {
        let (page, index) = (
            draw.position() / PAGE_LEAVES as u32,
            draw.position() % PAGE_LEAVES as u32,
        );
        if let std::collections::btree_map::Entry::Vacant(vacant) = pages.entry(page) {
            match read_page(page) {
                Answer::Found(content) if !content.bytes.is_empty() => vacant.insert(OpenPage::new(content)),
                Answer::NotYet => return Answer::NotYet,
                Answer::Pruned => return Answer::Pruned,
                Answer::Found(_) | Answer::NotHeld => return Answer::NotHeld,
            };
        }
        let Some(leaf) = pages[&page].leaf(index) else {
            return Answer::NotHeld;
        };
        draw.follow(&leaf.bytes);
        leaves.push(leaf);
    }
    Answer::Found(leaves)
}

/// Why an answer does not show that the node has the chunk.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It names another challenge: an old one, or another node's.
    #[error("the proof answers challenge {found}, not {expected}")]
    OtherChallenge {
        /// The challenge that was put.
        expected: ChallengeId,
        /// The one that is answered.
        found: ChallengeId,
    },
    /// Too few leaves.
    #[error("the proof has {found} leaves, expected {CHALLENGE_LEAVES}")]
    LeafCount {
        /// Leaves found.
        found: usize,
    },
    /// A leaf has the wrong length, is not the one that was drawn, or its path does not lead to the chunk id.
    #[error("leaf {number} of the proof is refused")]
    Leaf {
        /// Which of the leaves, counted from 0.
        number: usize,
        /// What is wrong.
        source: ProofError,
    },
}

/// Checks an answer to a challenge for the chunk `entry`. Costs 33 hashes of leaves and at most 512 of nodes.
///
/// # Errors
/// [`AuditError`].
pub fn verify(
    challenge: &AuditChallenge,
    entry: &ChunkEntry,
    answered: ChallengeId,
    leaves: &[AuditLeaf],
) -> Result<(), AuditError> {
    if answered != challenge.challenge_id {
        return Err(AuditError::OtherChallenge {
            expected: challenge.challenge_id,
            found: answered,
        });
    }
    if leaves.len() != CHALLENGE_LEAVES {
        return Err(AuditError::LeafCount { found: leaves.len() });
    }
    let mut draw = LeafDraw::new(challenge, entry.leaf_count());
    for (number, leaf) in leaves.iter().enumerate() {
        let checked = check_leaf(entry, draw.position(), leaf);
        checked.map_err(|source| AuditError::Leaf { number, source })?;
        draw.follow(&leaf.bytes);
    }
    Ok(())
}

fn check_leaf(entry: &ChunkEntry, position: u32, leaf: &AuditLeaf) -> Result<(), ProofError> {
    let start = position as usize * LEAF_BYTES;
    let expected = (entry.length as usize).saturating_sub(start).min(LEAF_BYTES);
    let actual = leaf.bytes.len();
    if actual != expected {
        return Err(ProofError::LeafLength {
            index: position,
            expected,
            actual,
        });
    }
    let hash = leaf_hash(&leaf.bytes);
    leaf.path
        .verify_at(hash, position, entry.leaf_count(), entry.id.as_bytes())
}

/// An error and its cause on one line.
fn with_source(error: &dyn std::error::Error) -> String {
    let source = error.source().map(ToString::to_string);
    match source {
        // The message may name its cause already.
        Some(source) if !error.to_string().ends_with(&source) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
