//! The factor in force, from what the registry says of the room and from the segment tables of this node.

use crate::replication::room::{factor_in_force, RoundRoom};
use crate::smart_contract::room::RoomSaid;
use parking_lot::Mutex;
use std::sync::Arc;
use tracing::info;

/// Remembers the factor of the open round: it is asked for again and again, and follows from final state and tables alone.
#[derive(Debug, Default)]
pub(super) struct FactorInForce(Mutex<Option<Known>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    round: u64,
    configured: usize,
    factor: usize,
}

impl FactorInForce {
    /// The factor of a round. `bytes_until` gives the bytes of the archive up to the end of a segment; a round of which this node
    /// has not that table yet does not decide.
    pub(super) fn of(
        &self,
        configured: usize,
        (round, rooms): (u64, Arc<[RoomSaid]>),
        bytes_until: &dyn Fn(u64) -> Option<u64>,
    ) -> usize {
        let mut known = self.0.lock();
        let before = known.filter(|known| (known.round, known.configured) == (round, configured));
        if let Some(before) = before {
            return before.factor;
        }
        let sized: Vec<Option<RoundRoom>> = rooms.iter().map(|said| room_of(said, bytes_until)).collect();
        let decides: Vec<RoundRoom> = sized.iter().flatten().copied().collect();
        let factor = factor_in_force(configured as u64, &decides) as usize;
        if decides.len() == sized.len() {
            let last = known.replace(Known {
                round,
                configured,
                factor,
            });
            if last.map_or(configured, |last| last.factor) != factor {
                info!(
                    round,
                    configured, factor, "as many nodes hold each chunk as there is room for"
                );
            }
        }
        factor
    }
}

fn room_of(said: &RoomSaid, bytes_until: &dyn Fn(u64) -> Option<u64>) -> Option<RoundRoom> {
    Some(RoundRoom {
        total_bytes: said.newest_segment.map_or(Some(0), bytes_until)?,
        lasting_gb: said.lasting_gb,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    fn rooms(said: &[(u64, Option<u64>)]) -> Arc<[RoomSaid]> {
        let said = said.iter().map(|(lasting_gb, newest_segment)| RoomSaid {
            lasting_gb: *lasting_gb,
            newest_segment: *newest_segment,
        });
        said.collect()
    }

    #[test]
    fn the_factor_follows_from_tables_and_is_kept_for_its_round() {
        let in_force = FactorInForce::default();
        // A segment has 10 GB: three copies of segments 0 to 2 take 90 GB.
        let bytes = |segment: u64| (segment < 4).then_some((segment + 1) * 10 * GB);
        assert_eq!(in_force.of(3, (7, rooms(&[])), &bytes), 3);
        let asked = (8, rooms(&[(100, None), (100, Some(2))]));
        assert_eq!(in_force.of(3, asked.clone(), &bytes), 3);
        assert_eq!(in_force.of(3, asked, &|_| panic!("it is known")), 3);
        assert_eq!(in_force.of(3, (9, rooms(&[(100, Some(2)), (100, Some(3))])), &bytes), 2);
        // Another configured factor is another question.
        assert_eq!(in_force.of(1, (9, rooms(&[(100, Some(3))])), &bytes), 1);
    }

    #[test]
    fn a_round_whose_table_is_missing_decides_once_it_is_there() {
        let in_force = FactorInForce::default();
        let asked = || (9, rooms(&[(100, Some(3)), (1_000, Some(4))]));
        assert_eq!(in_force.of(3, asked(), &|_| None), 3);
        assert_eq!(in_force.of(3, asked(), &|segment| (segment == 3).then_some(40 * GB)), 2);
        assert_eq!(in_force.of(3, asked(), &|_| Some(500 * GB)), 1);
        assert_eq!(in_force.of(3, asked(), &|_| Some(0)), 1, "all tables were there");
    }
}
