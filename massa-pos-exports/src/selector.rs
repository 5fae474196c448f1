//! Stake-weighted draws from a seed.

use crate::{PosError, PosResult, Selection, SelectorController};
use massa_models::address::Address;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keeps draws apart from every other use of the hash.
const DOMAIN: &[u8] = b"massa-archive producer draw";

/// Draws one address for each slot, with a chance proportional to its rolls.
#[derive(Clone, Debug)]
pub struct StakeSelector {
    draws: Arc<Draws>,
}

#[derive(Debug)]
struct Draws {
    seed: [u8; 32],
    /// (sum of rolls up to and with this address, address), in the order of addresses.
    ranges: Vec<(u64, Address)>,
    total: u64,
}

impl StakeSelector {
    /// Draws from `seed` among addresses with their rolls. Addresses without rolls are never drawn.
    ///
    /// # Errors
    /// [`PosError::NoStake`], [`PosError::StakeOverflow`].
    pub fn new(seed: [u8; 32], rolls: &BTreeMap<Address, u64>) -> PosResult<Self> {
        let mut total = 0u64;
        let mut ranges = Vec::with_capacity(rolls.len());
        for (address, rolls) in rolls.iter().filter(|(_, rolls)| **rolls > 0) {
            total = total.checked_add(*rolls).ok_or(PosError::StakeOverflow)?;
            ranges.push((total, *address));
        }
        if ranges.is_empty() {
            return Err(PosError::NoStake);
        }
        let draws = Arc::new(Draws { seed, ranges, total });
        Ok(Self { draws })
    }

    /// ⌊first 8 bytes of H(domain ‖ seed ‖ slot) · total / 2⁶⁴⌋, over the sum of rolls.
    fn draw(&self, slot: Slot) -> Address {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN);
        hasher.update(&self.draws.seed);
        hasher.update(&slot.to_bytes_key());
        let hash = hasher.finalize();
        let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes");
        let drawn = (u128::from(u64::from_be_bytes(bytes)) * u128::from(self.draws.total)) >> 64;
        let index = self.draws.ranges.partition_point(|(end, _)| u128::from(*end) <= drawn);
        self.draws.ranges[index].1
    }
}

impl SelectorController for StakeSelector {
    fn get_selection(&self, slot: Slot) -> PosResult<Selection> {
        Ok(Selection {
            endorsements: Vec::new(),
            producer: self.draw(slot),
        })
    }

    fn get_producer(&self, slot: Slot) -> PosResult<Address> {
        Ok(self.draw(slot))
    }

    fn clone_box(&self) -> Box<dyn SelectorController> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_hash::Hash;
    use massa_models::address::{UserAddress, UserAddressV0};

    fn address(index: u8) -> Address {
        Address::User(UserAddress::UserAddressV0(UserAddressV0(Hash::compute_from(&[index]))))
    }

    fn selector(rolls: &[(u8, u64)]) -> StakeSelector {
        let rolls = rolls.iter().map(|(index, rolls)| (address(*index), *rolls)).collect();
        StakeSelector::new([7; 32], &rolls).unwrap()
    }

    #[test]
    fn addresses_are_drawn_in_proportion_to_their_rolls() {
        let selector = selector(&[(1, 100), (2, 300), (3, 0)]);
        let mut drawn: BTreeMap<Address, u32> = BTreeMap::new();
        for period in 0..1000 {
            for thread in 0..8 {
                *drawn
                    .entry(selector.get_producer(Slot::new(period, thread)).unwrap())
                    .or_default() += 1;
            }
        }
        assert_eq!(drawn.values().sum::<u32>(), 8000);
        // Three standard deviations of 8000 draws with a chance of one quarter are 116.
        assert!((1850..2150).contains(&drawn[&address(1)]), "{drawn:?}");
        assert!(!drawn.contains_key(&address(3)));
    }

    #[test]
    fn a_draw_depends_on_seed_and_slot_alone() {
        let rolls = BTreeMap::from([(address(1), 1), (address(2), 1)]);
        let draws = |seed| {
            let selector = StakeSelector::new([seed; 32], &rolls).unwrap();
            (0..64)
                .map(|period| selector.draw(Slot::new(period, 0)))
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn without_stake_nobody_is_drawn() {
        assert_eq!(
            StakeSelector::new([0; 32], &BTreeMap::new()).unwrap_err(),
            PosError::NoStake
        );
        let zero = BTreeMap::from([(address(1), 0)]);
        assert_eq!(StakeSelector::new([0; 32], &zero).unwrap_err(), PosError::NoStake);
        let large = BTreeMap::from([(address(1), u64::MAX), (address(2), 1)]);
        assert_eq!(
            StakeSelector::new([0; 32], &large).unwrap_err(),
            PosError::StakeOverflow
        );
    }
}
