//! What the registry's final state says of the room that there is for the whole archive: from it follows how many copies of each
//! chunk there are ([`crate::replication::room`]).
//!
//! All that is read is of the second round before the open one, or older: their windows are over, so every node reads the same,
//! whenever it does, and needs no memory of its own.

use super::state::{beacon_key, round_key, segment_key, BeaconRecord, RoundRecord};
use super::views::decode_segment_root;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_models::address::Address;
use std::collections::BTreeMap;
use std::ops::Range;

/// Rounds that decide about the factor of one.
pub const DECIDING_ROUNDS: u64 = 8;
/// What was proven in one of so many rounds is offered: a node keeps its weight for as long without a counted round.
pub const PROVEN_ROUNDS: u64 = 8;
/// From the last round that decides to the one whose factor it decides.
pub const NOTICE_ROUNDS: u64 = 2;

/// The room in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomSaid {
    /// The most GB that nodes which keep all of history proved in one of the last rounds.
    pub lasting_gb: u64,
    /// The newest segment that was accepted by then.
    pub newest_segment: Option<u64>,
}

/// What of a registry is known already.
#[derive(Clone, Copy, Debug)]
pub struct RoomRegistry<'a> {
    /// Where its rows are.
    pub host: &'a dyn ContractHost,
    /// Its address.
    pub address: &'a Address,
    /// P: periods of a round.
    pub round_periods: u64,
    /// The first segment whose root is voted for, and the next one.
    pub voted: (u64, u64),
    /// From this round on flags of being filled count, because by then nodes had proven something.
    pub flags_from: Option<u64>,
}

impl RoomRegistry<'_> {
    /// The rounds that decide about the open one, oldest first; none until nodes have been proving for long enough to say what they
    /// offer. Reads a row for each round and a few for each that decides, however long the history is.
    pub fn rooms(&self, open: u64) -> Vec<RoomSaid> {
        let Some(end) = (open + 1).checked_sub(NOTICE_ROUNDS) else {
            return Vec::new();
        };
        let known_from = self.flags_from.and_then(|from| from.checked_add(PROVEN_ROUNDS));
        let first = end.saturating_sub(DECIDING_ROUNDS).max(known_from.unwrap_or(end));
        if first >= end {
            return Vec::new();
        }
        let proven = self.proven_gb(first.saturating_sub(PROVEN_ROUNDS - 1)..end);
        let room = |round: u64| {
            let lasting = proven.range((round + 1).saturating_sub(PROVEN_ROUNDS)..=round);
            let lasting_gb = lasting.map(|(_, gb)| *gb).max()?;
            let newest_segment = self.newest_accepted(round);
            Some(RoomSaid {
                lasting_gb,
                newest_segment,
            })
        };
        (first..end).filter_map(room).collect()
    }

    /// GB that nodes which keep all of history proved, for each of the rounds with an accepted beacon.
    fn proven_gb(&self, rounds: Range<u64>) -> BTreeMap<u64, u64> {
        let keys: Vec<Vec<u8>> = rounds
            .clone()
            .map(|round| round_key(round * self.round_periods))
            .collect();
        let rows = self.host.final_entries(self.address, &keys).into_iter();
        let proven = rounds.zip(rows).filter_map(|(round, row)| {
            let record = RoundRecord::decode(&row?).ok()?;
            let beacon = record.beacon?;
            if record.closed {
                return Some((round, record.lasting_weight));
            }
            // Whoever submits next closes it, and copies what is under its beacon.
            let rows = self.host.final_entries(self.address, &[beacon_key(round, &beacon)]);
            let row = rows.into_iter().next()??;
            Some((round, BeaconRecord::decode(&row).ok()?.lasting_weight))
        });
        proven.collect()
    }

    /// The newest segment that was accepted in a round or before. Votes accept them in order.
    fn newest_accepted(&self, round: u64) -> Option<u64> {
        let (first, next) = self.voted;
        let (mut low, mut high) = (first, next);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.accepted_in(middle).is_some_and(|accepted| accepted <= round) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).filter(|newest| *newest >= first)
    }

    fn accepted_in(&self, segment: u64) -> Option<u64> {
        let rows = self.host.final_entries(self.address, &[segment_key(segment)]);
        let row = rows.into_iter().next()??;
        Some(decode_segment_root(&row).ok()??.round)
    }
}
