//! What an audit asks for, how it is answered and how the answer is checked.
//!
//! A challenge asks for 32 leaves of one chunk. The first one's position follows from the challenge, each further one's from
//! the bytes of the leaf before, so they are known one after the other, and only to who has the bytes. Who fetches them
//! elsewhere waits a round trip for the chunk, or one for each leaf, and that is timed. The challenge's id follows from both
//! peers: a node that is asked cannot have its challenge answered by another one.
//!
//! ```text
//! challenge id   H(id domain (64) | chain id u64 | challenger's key (33) | challenged node's key (33) | segment u64 |
//!                  chunk u32 | chunk id (32) | nonce u64)
//! first seed     H(draw domain (64) | challenge id (32))
//! position       ⌊x · leaves / 2⁶⁴⌋, where x is the first u64 of ChaCha20 with the seed as its key
//! next seed      H(draw domain (64) | seed (32) | bytes of the leaf)
//! ```
//!
//! H is BLAKE3, integers are little-endian.
//!
//! Leading signatures are shown with the leaf in which their object ends, because nothing else asks whether they are kept. That
//! they are well formed and belong into the leaf is checked always; that none is left out only by a challenger that has
//! the chunk itself and knows which objects end where ([`ObjectEnds`]).
//!
//! Not found out: whether a node close by has the bytes, or a node that delays small answers, too, so that it looks far away.

use crate::serve::to_peers::{Prove, SegmentServer};
use crate::storage_backend::{PageRead, SegmentStore};
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleTree};
use massa_distributed_storage_exports::network::{
    Answer, AuditChallenge, AuditLeaf, CHALLENGE_LEAVES, MAX_LEAF_SIGNATURES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::{ChallengeId, Digest, LEAF_BYTES, PAGE_LEAVES};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, MerkleProof, ProofError};
use massa_models::node::NodeId;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

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
    pub fn challenge(&self, position: ChunkPosition, chunk_id: ChunkId, nonce: u64) -> AuditChallenge {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&CHALLENGE_ID_DOMAIN);
        hasher.update(&self.chain_id.to_le_bytes());
        hasher.update(&self.challenger.get_public_key().to_bytes());
        hasher.update(&self.challenged.get_public_key().to_bytes());
        hasher.update(&position.segment.to_le_bytes());
        hasher.update(&position.index.0.to_le_bytes());
        hasher.update(chunk_id.as_bytes());
        hasher.update(&nonce.to_le_bytes());
        AuditChallenge {
            challenge_id: ChallengeId::from_bytes(*hasher.finalize().as_bytes()),
            position,
            chunk_id,
            nonce,
        }
    }

    /// Whether a challenge was made by this challenger for this node, here.
    pub fn is_ours(&self, challenge: &AuditChallenge) -> bool {
        let AuditChallenge {
            position,
            chunk_id,
            nonce,
            ..
        } = *challenge;
        self.challenge(position, chunk_id, nonce) == *challenge
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
    read: PageRead,
    signatures: Vec<TaggedSignature>,
    tree: MerkleTree,
    /// From its root to the chunk id.
    above: MerkleProof,
}

impl OpenPage {
    /// `None` if its signatures cannot be read, or the chunk has no such page.
    fn new(read: PageRead, page: u32) -> Option<Self> {
        Some(Self {
            signatures: TaggedSignature::read_list(&read.signatures, read.plain.len()).ok()?,
            tree: MerkleTree::new(&leaf_hashes(&read.plain)),
            above: MerkleTree::new(&read.page_roots).path(page)?,
            read,
        })
    }

    /// Leaf `index` of the page with its path to the chunk id; `None` if the page is too short.
    fn leaf(&self, index: u32) -> Option<AuditLeaf> {
        let in_page = self.tree.path(index)?;
        let shift = in_page.siblings.len();
        let bytes = self.read.plain.chunks(LEAF_BYTES).nth(index as usize)?;
        let range = range_in_page(index, bytes.len());
        let ends_here = |tagged: &&TaggedSignature| range.contains(&usize::from(tagged.last));
        Some(AuditLeaf {
            bytes: bytes.to_vec(),
            path: MerkleProof {
                directions: in_page.directions | self.above.directions.checked_shl(shift as u32)?,
                siblings: [in_page.siblings, self.above.siblings.clone()].concat(),
            },
            signatures: self.signatures.iter().filter(ends_here).copied().collect(),
        })
    }
}

/// Bytes of its page that a leaf takes.
fn range_in_page(index_in_page: u32, length: usize) -> Range<usize> {
    let start = index_in_page as usize * LEAF_BYTES;
    start..start + length
}

/// Answers a challenge for `chunk`. Reads each page that a leaf is drawn from once: at most 32 pages.
pub fn prove(
    challenge: &AuditChallenge,
    chunk: &TableChunk,
    read_page: impl Fn(u32) -> Answer<PageRead>,
) -> Answer<Vec<AuditLeaf>> {
    if chunk.id != challenge.chunk_id || chunk.length == 0 {
        return Answer::NotHeld;
    }
    let mut draw = LeafDraw::new(challenge, chunk.leaf_count());
    let mut pages: BTreeMap<u32, OpenPage> = BTreeMap::new();
    let mut leaves = Vec::with_capacity(CHALLENGE_LEAVES);
    for _ in 0..CHALLENGE_LEAVES {
        let (page, index) = (
            draw.position() / PAGE_LEAVES as u32,
            draw.position() % PAGE_LEAVES as u32,
        );
        if let std::collections::btree_map::Entry::Vacant(vacant) = pages.entry(page) {
            let opened = match read_page(page) {
                Answer::Found(read) => OpenPage::new(read, page),
                Answer::NotYet => return Answer::NotYet,
                Answer::Pruned => return Answer::Pruned,
                Answer::NotHeld => None,
            };
            match opened {
                Some(opened) => vacant.insert(opened),
                None => return Answer::NotHeld,
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

/// Answers audits of the node `own` from what a server serves.
pub fn prove_as(own: NodeId) -> Prove {
    Arc::new(
        move |server: &SegmentServer, challenger: &NodeId, challenge: &AuditChallenge| {
            let store = server.store();
            let parties = ChallengeParties {
                chain_id: store.parameters().chain_id,
                challenger: *challenger,
                challenged: own,
            };
            if !parties.is_ours(challenge) {
                return Answer::NotHeld;
            }
            prove_from(store, challenge)
        },
    )
}

fn prove_from(store: &SegmentStore, challenge: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
    let position = challenge.position;
    if position.segment < store.floor() {
        return Answer::Pruned;
    }
    let chunk = match store.table(position.segment) {
        Ok(Some(table)) => table.chunk(position.index.0),
        Ok(None) => return Answer::NotYet,
        Err(_) => None,
    };
    let Some(chunk) = chunk else {
        return Answer::NotHeld;
    };
    // What is damaged is not held: repair finds it, too.
    prove(challenge, &chunk, |page| match store.page(position, page) {
        Ok(Some(read)) => Answer::Found(read),
        Ok(None) | Err(_) => Answer::NotHeld,
    })
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
    /// Beside a leaf are signatures of objects that do not end in it, or too many, or not in order.
    #[error("the signatures beside leaf {number} of the proof do not belong there")]
    Signatures {
        /// Which of the leaves, counted from 0.
        number: usize,
    },
    /// Objects end in a leaf whose signature is not shown.
    #[error("beside leaf {number} of the proof are {found} signatures, {expected} objects end in it")]
    MissingSignatures {
        /// Which of the leaves, counted from 0.
        number: usize,
        /// Signatures shown.
        found: usize,
        /// Objects that end in the leaf.
        expected: usize,
    },
}

/// Where objects end in a page of the chunk, ascending, if the challenger knows: positions of their last bytes.
pub type ObjectEnds<'a> = &'a dyn Fn(u32) -> Option<Vec<u16>>;

/// What a challenger knows that has the chunk itself.
pub fn object_ends(store: &SegmentStore, position: ChunkPosition, page: u32) -> Option<Vec<u16>> {
    let read = store.page(position, page).ok()??;
    let list = TaggedSignature::read_list(&read.signatures, read.plain.len()).ok()?;
    Some(list.iter().map(|tagged| tagged.last).collect())
}

/// Checks an answer to a challenge for `chunk`. Costs 33 hashes of leaves and at most 512 of nodes.
///
/// # Errors
/// [`AuditError`].
pub fn verify(
    challenge: &AuditChallenge,
    chunk: &TableChunk,
    (answered, leaves): (ChallengeId, &[AuditLeaf]),
    ends: ObjectEnds<'_>,
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
    let mut draw = LeafDraw::new(challenge, chunk.leaf_count());
    for (number, leaf) in leaves.iter().enumerate() {
        let position = draw.position();
        let checked = check_leaf(chunk, position, leaf);
        checked.map_err(|source| AuditError::Leaf { number, source })?;
        check_signatures(position, leaf, ends, number)?;
        draw.follow(&leaf.bytes);
    }
    Ok(())
}

fn check_leaf(chunk: &TableChunk, position: u32, leaf: &AuditLeaf) -> Result<(), ProofError> {
    let start = position as usize * LEAF_BYTES;
    let expected = (chunk.length as usize).saturating_sub(start).min(LEAF_BYTES);
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
        .verify_at(hash, position, chunk.leaf_count(), chunk.id.as_bytes())
}

fn check_signatures(position: u32, leaf: &AuditLeaf, ends: ObjectEnds<'_>, number: usize) -> Result<(), AuditError> {
    let range = range_in_page(position % PAGE_LEAVES as u32, leaf.bytes.len());
    let is_here = |last: &u16| range.contains(&usize::from(*last));
    let shown: Vec<u16> = leaf.signatures.iter().map(|tagged| tagged.last).collect();
    let ascends = shown.windows(2).all(|two| two[0] < two[1]);
    if shown.len() > MAX_LEAF_SIGNATURES || !ascends || !shown.iter().all(is_here) {
        return Err(AuditError::Signatures { number });
    }
    let Some(known) = ends(position / PAGE_LEAVES as u32) else {
        return Ok(());
    };
    let known: Vec<u16> = known.into_iter().filter(is_here).collect();
    if known == shown {
        return Ok(());
    }
    Err(AuditError::MissingSignatures {
        number,
        found: shown.len(),
        expected: known.len(),
    })
}

/// An error and its cause on one line.
pub(super) fn with_source(error: &dyn std::error::Error) -> String {
    let source = error.source().map(ToString::to_string);
    match source {
        // The message may name its cause already.
        Some(source) if !error.to_string().ends_with(&source) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
