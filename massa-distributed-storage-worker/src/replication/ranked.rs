//! A node with its score for a chunk, in 8 bytes: what the incremental placement keeps of each holder.
//!
//! A score has up to 63 bits and an index 16. Scores are kept rounded down to a few leading bits, as a floating-point number
//! would, so small ones are kept exactly. Two that round alike cannot always be told apart; then [`Rounding::compare`] says so
//! and the caller goes back to the chunk. Rounding never decides anything, it only costs that.

use super::{negative_log2, negative_log2_at_least, Contender, SCORE_SHIFT};
use std::cmp::Ordering;

/// Bits of the index in a [`Ranked`].
const INDEX_BITS: u32 = u16::BITS;
/// Leading bits of a score that are kept: with the five bits of the exponent and the index they fill 8 bytes. Of 10¹² pairs of
/// scores one rounds alike.
pub const SCORE_BITS: u32 = 43;

/// A node of a set, with its rounded score for a chunk: `rounded score (48) | index in the set (16)`.
///
/// The number is in the order of ranks, except among scores that cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ranked(pub(super) u64);

impl Ranked {
    pub(super) fn new(rounded: u64, index: u16) -> Self {
        Self(rounded << INDEX_BITS | u64::from(index))
    }

    pub(super) fn index(self) -> u16 {
        self.0 as u16
    }

    pub(super) fn rounded(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    pub(super) fn with_index(self, index: u16) -> Self {
        Self::new(self.rounded(), index)
    }
}

/// How scores are rounded: `exponent | leading bits`, the exponent being the number of bits that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rounding {
    bits: u32,
}

impl Rounding {
    /// Keeps so many leading bits, between 2 and [`SCORE_BITS`].
    pub(super) fn new(bits: u32) -> Self {
        Self {
            bits: bits.clamp(2, SCORE_BITS),
        }
    }

    /// A score, rounded. Larger scores never round to less.
    pub(super) fn round(self, score: u64) -> u64 {
        let exponent = (u64::BITS - score.leading_zeros()).saturating_sub(self.bits);
        u64::from(exponent) << self.bits | score >> exponent
    }

    /// The largest score that rounds to this.
    pub(super) fn largest(self, rounded: u64) -> u64 {
        let (exponent, leading) = (rounded >> self.bits, rounded & ((1 << self.bits) - 1));
        (leading << exponent) | ((1 << exponent) - 1)
    }

    fn is_exact(self, rounded: u64) -> bool {
        rounded >> self.bits == 0
    }

    /// Which of two nodes of one set ranks first; `None` if that cannot be told. `Less` is better.
    pub(super) fn compare(self, left: Ranked, right: Ranked) -> Option<Ordering> {
        match left.rounded().cmp(&right.rounded()) {
            Ordering::Equal if left.index() == right.index() => Some(Ordering::Equal),
            // Nodes of a set are in the order of their keys.
            Ordering::Equal if self.is_exact(left.rounded()) => Some(left.index().cmp(&right.index())),
            Ordering::Equal => None,
            order => Some(order),
        }
    }

    /// A node with its score, if that does not round to more than `limit`. `h` is its hash with the chunk.
    pub(super) fn at_most(self, limit: Option<u64>, h: u64, node: &Contender) -> Option<Ranked> {
        if let Some(limit) = limit {
            let least = u128::from(negative_log2_at_least(h)) << SCORE_SHIFT;
            if least >= (u128::from(self.largest(limit)) + 1) * u128::from(node.weight) {
                return None;
            }
        }
        let rounded = self.round((negative_log2(h) << SCORE_SHIFT) / node.weight);
        let is_near = limit.map_or(true, |limit| rounded <= limit);
        is_near.then_some(Ranked::new(rounded, node.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_keeps_the_order_and_knows_what_it_left_out(
            left in 0u64..1 << 63,
            right in 0u64..1 << 63,
            shift in 0u32..63,
            bits in 2u32..=SCORE_BITS,
        ) {
            let rounding = Rounding::new(bits);
            let (left, right) = (left >> shift, right >> shift);
            let (a, b) = (Ranked::new(rounding.round(left), 1), Ranked::new(rounding.round(right), 2));
            prop_assert!(rounding.largest(a.rounded()) >= left);
            prop_assert_eq!(rounding.round(rounding.largest(a.rounded())), a.rounded());
            prop_assert!(rounding.round(left.saturating_add(1)) >= a.rounded());
            match rounding.compare(a, b) {
                Some(order) => prop_assert_eq!(order, (left, 1).cmp(&(right, 2))),
                None => prop_assert_eq!(a.rounded(), b.rounded()),
            }
            prop_assert!(a.rounded() < 1 << 48);
            prop_assert_eq!(a.index(), 1);
        }
    }

    #[test]
    fn small_scores_are_kept_exactly_so_that_equal_ones_are_ordered_by_key() {
        let rounding = Rounding::new(SCORE_BITS);
        let score = (1 << SCORE_BITS) - 1;
        let of_node = |index| Ranked::new(rounding.round(score), index);
        assert_eq!(rounding.largest(rounding.round(score)), score);
        assert_eq!(rounding.compare(of_node(3), of_node(4)), Some(Ordering::Less));
        assert_eq!(rounding.compare(of_node(3), of_node(3)), Some(Ordering::Equal));
        let large = |index| Ranked::new(rounding.round(1 << SCORE_BITS), index);
        assert_eq!(rounding.compare(large(3), large(4)), None);
    }
}
