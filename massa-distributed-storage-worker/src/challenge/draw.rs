//! Beacon, draws and challenge ids: anyone who has the blocks and the registry's state computes the same.

use crate::challenge::sums::Claim;
use massa_distributed_storage_exports::record::block_id_bytes;
use massa_distributed_storage_exports::types::Digest;
use massa_models::block_id::BlockId;

const BEACON_DOMAIN: &[u8] = b"massa distributed storage: beacon";
const DRAW_DOMAIN: &[u8] = b"massa distributed storage: draw";
const CHALLENGE_DOMAIN: &[u8] = b"massa distributed storage: challenge";
/// The period of a round, counted from its first, whose blocks give the beacon.
pub const BEACON_PERIOD: u64 = 2;

/// What binds a hash to one round of one registry on one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundContext {
    /// The chain.
    pub chain_id: u64,
    /// Address of the registry, as text; at most 255 bytes are hashed.
    pub registry: String,
    /// The round.
    pub round: u64,
}

impl RoundContext {
    /// `domain | chain id u64 | length of registry u8 | registry | round u64`
    fn hasher(&self, domain: &[u8]) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(domain).update(&self.chain_id.to_le_bytes());
        update_text(&mut hasher, &self.registry).update(&self.round.to_le_bytes());
        hasher
    }

    /// The beacon b of the round: `blocks` are the final blocks of period O+2, one for each thread in order, `None` for a
    /// miss.
    ///
    /// ```text
    /// H("massa distributed storage: beacon" | chain id u64 | length of registry u8 | registry | round u64 |
    ///   threads u8 | each thread: 00 (miss), or 01 | block id (33))
    /// ```
    pub fn beacon(&self, blocks: &[Option<BlockId>]) -> Digest {
        let mut hasher = self.hasher(BEACON_DOMAIN);
        hasher.update(&[u8::try_from(blocks.len()).expect("a block graph has at most 255 threads")]);
        for block in blocks {
            match block {
                None => hasher.update(&[0]),
                Some(id) => hasher.update(&[1]).update(&block_id_bytes(id)),
            };
        }
        *hasher.finalize().as_bytes()
    }

    /// The claimed leaf of draw `draw`: ⌊x · T / 2⁶⁴⌋, uniform over the leaves of the claim.
    ///
    /// ```text
    /// x = first 8 bytes of H("massa distributed storage: draw" | chain id u64 | length of registry u8 | registry |
    ///                        round u64 | placement key (32) | b (32) | draw u8)
    /// ```
    pub fn drawn_leaf(&self, placement_key: &Digest, beacon: &Digest, draw: u8, leaves: u64) -> u64 {
        let mut hasher = self.hasher(DRAW_DOMAIN);
        hasher.update(placement_key).update(beacon).update(&[draw]);
        let hash = hasher.finalize();
        let x = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
        ((u128::from(x) * u128::from(leaves)) >> 64) as u64
    }

    /// The claimed leaf of every draw of a claim, in order.
    pub fn drawn_leaves(&self, placement_key: &Digest, beacon: &Digest, claim: &Claim) -> Vec<u64> {
        let draws = crate::rewards::draw_count(claim.leaves);
        (0..draws)
            .map(|draw| self.drawn_leaf(placement_key, beacon, draw, claim.leaves))
            .collect()
    }

    /// Id of a challenge, as the registry's events name it: 64 hexadecimal digits, never the same for another chain,
    /// registry, round, node, draw or beacon.
    ///
    /// ```text
    /// H("massa distributed storage: challenge" | chain id u64 | length of registry u8 | registry | round u64 |
    ///   length of node u8 | node | draw u8 | b (32))
    /// ```
    pub fn challenge_id(&self, node: &str, beacon: &Digest, draw: u8) -> String {
        let mut hasher = self.hasher(CHALLENGE_DOMAIN);
        update_text(&mut hasher, node).update(&[draw]).update(beacon);
        hasher.finalize().to_hex().to_string()
    }
}

/// `length u8 | text`
pub(super) fn update_text<'a>(hasher: &'a mut blake3::Hasher, text: &str) -> &'a mut blake3::Hasher {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u8::MAX))];
    hasher.update(&[bytes.len() as u8]).update(bytes)
}

/// Placement key of a node that registered after the registry's first accepted beacon: `H(address | b (32))`, b being that
/// of the first accepted round that opened after the registration.
pub fn placement_key(address: &str, beacon: &Digest) -> Digest {
    key_of(address, beacon)
}

/// Placement key of a node that registered before the registry's first accepted beacon: `H(address | registry)`.
pub fn founding_placement_key(address: &str, registry: &str) -> Digest {
    key_of(address, registry.as_bytes())
}

fn key_of(address: &str, suffix: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(address.as_bytes()).update(suffix);
    *hasher.finalize().as_bytes()
}
