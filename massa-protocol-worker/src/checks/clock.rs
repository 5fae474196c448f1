//! Whether this machine's clock is that of the others.
//!
//! Two kinds of witnesses. Peers tell their time in the handshake and in each report; what they tell arrives somewhat later, which
//! makes them look behind, so of the last few times the latest one counts. Producers sign headers for a slot; a header that comes
//! before its slot shows that its producer's clock is ahead of this one, however the network is; one that comes late may have been
//! on its way for long. So headers that are late count only where too few peers tell their time.
//!
//! The median decides, so one liar changes nothing. Whoever has most of a node's connections can make it doubt a good clock: the
//! alarm is for the operator, and stops nothing.

use massa_models::address::Address;
use massa_protocol_exports::{ClockAlarm, ClockWitness, PeerId};
use massa_time::MassaTime;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// Witnesses at least: a single one may be wrong itself.
pub(crate) const MIN_WITNESSES: usize = 2;
/// A clock is off when it differs by more than a quarter of a period: then blocks come too late or too early to be built upon.
const SHARE_OF_PERIOD: u64 = 4;
/// But at least by so much: a time takes part of it to arrive on a busy machine.
const MIN_OFF: MassaTime = MassaTime::from_millis(2_000);
/// Times of one witness that are kept.
const TIMES_KEPT: usize = 3;
/// Producers that are kept. Each was drawn for the slot whose header it signed.
const MAX_PRODUCERS: usize = 256;

/// The last times of one witness: its clock minus this one's, in milliseconds.
#[derive(Clone, Debug, Default)]
struct Times(VecDeque<i64>);

impl Times {
    fn push(&mut self, offset: i64) {
        self.0.push_back(offset);
        if self.0.len() > TIMES_KEPT {
            self.0.pop_front();
        }
    }

    /// What took least to arrive.
    fn best(&self) -> Option<i64> {
        self.0.iter().copied().max()
    }

    fn is_full(&self) -> bool {
        self.0.len() == TIMES_KEPT
    }
}

/// Times of witnesses, and what follows from them.
#[derive(Debug)]
pub(crate) struct ClockCheck {
    off_ms: i64,
    peers: HashMap<PeerId, Times>,
    producers: HashMap<Address, Times>,
}

impl ClockCheck {
    /// `t0`: length of a period.
    pub(crate) fn new(t0: MassaTime) -> Self {
        let off = MIN_OFF.max(MassaTime::from_millis(t0.as_millis() / SHARE_OF_PERIOD));
        Self {
            off_ms: signed(off),
            peers: HashMap::new(),
            producers: HashMap::new(),
        }
    }

    /// A connected peer told its time, `told`, and it arrived at `now`.
    pub(crate) fn peer_told(&mut self, peer_id: &PeerId, told: MassaTime, now: MassaTime) {
        push(&mut self.peers, *peer_id, offset(told, now), usize::MAX);
    }

    /// A header that is valid by itself came for the first time, at `now`; its slot begins at `begin`.
    pub(crate) fn header_came(&mut self, producer: &Address, begin: MassaTime, now: MassaTime) {
        push(&mut self.producers, *producer, offset(begin, now), MAX_PRODUCERS);
    }

    /// Forgets peers that are not connected.
    pub(crate) fn retain(&mut self, connected: &HashSet<PeerId>) {
        self.peers.retain(|peer_id, _| connected.contains(peer_id));
    }

    /// What is wrong with this machine's clock.
    pub(crate) fn alarm(&self) -> Option<ClockAlarm> {
        let peers: Vec<i64> = self.peers.values().filter_map(Times::best).collect();
        let counts = |times: &&Times| times.is_full() || times.best() > Some(0);
        let producers: Vec<i64> = self.producers.values().filter(counts).filter_map(Times::best).collect();
        let by_peers = judge(&peers, self.off_ms, ClockWitness::Peers);
        let by_producers = judge(&producers, self.off_ms, ClockWitness::Producers);
        let are_early = |alarm: &ClockAlarm| alarm.ahead_ms < 0;
        by_peers.or_else(|| by_producers.filter(|alarm| peers.len() < MIN_WITNESSES || are_early(alarm)))
    }
}

fn push<K: Eq + Hash + Copy>(times: &mut HashMap<K, Times>, who: K, offset: i64, max: usize) {
    if !times.contains_key(&who) && times.len() >= max {
        // Any: those that are left are as good.
        let Some(other) = times.keys().next().copied() else {
            return;
        };
        times.remove(&other);
    }
    times.entry(who).or_default().push(offset);
}

fn signed(time: MassaTime) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What is told minus what it is here. A peer can tell any number.
fn offset(told: MassaTime, now: MassaTime) -> i64 {
    signed(told).saturating_sub(signed(now))
}

/// An alarm if the median of the offsets, others minus this machine, is beyond `off_ms`.
fn judge(offsets: &[i64], off_ms: i64, by: ClockWitness) -> Option<ClockAlarm> {
    if offsets.len() < MIN_WITNESSES {
        return None;
    }
    let median = median(offsets);
    if median.saturating_abs() <= off_ms {
        return None;
    }
    let agrees = |offset: &&i64| offset.saturating_abs() > off_ms && offset.signum() == median.signum();
    Some(ClockAlarm {
        ahead_ms: median.saturating_neg(),
        witnesses: offsets.iter().filter(agrees).count(),
        by,
    })
}

/// Of an even number, the middle value that is nearer to 0, or 0 between a value below it and one above: half of the witnesses are no
/// majority.
fn median(offsets: &[i64]) -> i64 {
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    if low > 0 {
        low
    } else if high < 0 {
        high
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;

    /// Of a network with periods of 16 s: 4 s are too much.
    fn check() -> ClockCheck {
        ClockCheck::new(MassaTime::from_millis(16_000))
    }

    const NOW_MS: u64 = 1_000_000;

    fn at(offset_ms: i64) -> MassaTime {
        MassaTime::from_millis(NOW_MS.checked_add_signed(offset_ms).unwrap())
    }

    fn key() -> KeyPair {
        KeyPair::generate(0).unwrap()
    }

    fn peers_told(offsets_ms: &[i64]) -> ClockCheck {
        let mut check = check();
        for offset_ms in offsets_ms {
            let peer = PeerId::from_public_key(key().get_public_key());
            check.peer_told(&peer, at(*offset_ms), at(0));
        }
        check
    }

    fn headers(check: &mut ClockCheck, offsets_ms: &[i64], times: usize) {
        for offset_ms in offsets_ms {
            let producer = Address::from_public_key(&key().get_public_key());
            for _ in 0..times {
                check.header_came(&producer, at(*offset_ms), at(0));
            }
        }
    }

    fn ahead(ahead_ms: i64, witnesses: usize, by: ClockWitness) -> Option<ClockAlarm> {
        Some(ClockAlarm {
            ahead_ms,
            witnesses,
            by,
        })
    }

    #[test]
    fn the_median_of_peers_beyond_a_quarter_of_a_period_is_an_alarm() {
        let peers = |offsets: &[i64]| peers_told(offsets).alarm();
        assert_eq!(peers(&[30_000, 30_010, 29_990]), ahead(-30_000, 3, ClockWitness::Peers));
        assert_eq!(peers(&[-5_000, -5_100, 10]), ahead(5_000, 2, ClockWitness::Peers));
        assert_eq!(peers(&[4_000, 4_000, 4_000]), None);
        assert_eq!(peers(&[4_001, 4_002]), ahead(-4_001, 2, ClockWitness::Peers));
    }

    #[test]
    fn short_periods_leave_two_seconds_for_times_to_arrive() {
        let mut check = ClockCheck::new(MassaTime::from_millis(800));
        for offset in [-1_900, -2_000] {
            let peer = PeerId::from_public_key(key().get_public_key());
            check.peer_told(&peer, at(offset), at(0));
        }
        assert_eq!(check.alarm(), None);
    }

    #[test]
    fn one_liar_and_one_alone_are_no_alarm() {
        for offsets in [
            &[60_000][..],
            &[60_000, 0],
            &[60_000, -1, 1],
            &[-60_000, 60_000],
            &[i64::MAX - NOW_MS as i64, 0, 0],
        ] {
            assert_eq!(peers_told(offsets).alarm(), None, "{offsets:?}");
        }
    }

    #[test]
    fn a_time_that_took_long_to_arrive_does_not_count_beside_one_that_did_not() {
        let mut check = check();
        for peer in [key(), key()].map(|key| PeerId::from_public_key(key.get_public_key())) {
            check.peer_told(&peer, at(-9_000), at(0));
            check.peer_told(&peer, at(-20), at(0));
            assert_eq!(check.alarm(), None);
            check.peer_told(&peer, at(-9_000), at(0));
            assert_eq!(check.alarm(), None);
        }
    }

    #[test]
    fn a_clock_that_is_set_right_ends_the_alarm() {
        let mut check = check();
        let peers = [key(), key()].map(|key| PeerId::from_public_key(key.get_public_key()));
        for peer in &peers {
            check.peer_told(peer, at(-9_000), at(0));
        }
        assert!(check.alarm().is_some());
        for peer in &peers {
            check.peer_told(peer, at(0), at(0));
        }
        assert_eq!(check.alarm(), None);
    }

    #[test]
    fn headers_before_their_slot_show_a_clock_that_is_behind_whatever_peers_say() {
        let mut check = peers_told(&[0, 0, 0]);
        headers(&mut check, &[5_000, 5_000], 1);
        assert_eq!(check.alarm(), ahead(-5_000, 2, ClockWitness::Producers));
    }

    #[test]
    fn headers_that_are_late_count_only_without_peers_that_tell_their_time_and_when_all_of_a_producer_are() {
        let mut late = check();
        headers(&mut late, &[-5_000, -5_000], TIMES_KEPT - 1);
        assert_eq!(late.alarm(), None);
        headers(&mut late, &[-5_000, -5_000], TIMES_KEPT);
        assert_eq!(late.alarm(), ahead(5_000, 2, ClockWitness::Producers));

        let mut slow_network = peers_told(&[0, 0]);
        headers(&mut slow_network, &[-5_000, -5_000], TIMES_KEPT);
        assert_eq!(slow_network.alarm(), None);
    }

    #[test]
    fn witnesses_are_bounded_and_forgotten() {
        let mut check = peers_told(&[9_000, 9_000]);
        headers(&mut check, &vec![0; MAX_PRODUCERS + 10], 1);
        assert_eq!(check.producers.len(), MAX_PRODUCERS);
        check.retain(&HashSet::new());
        assert_eq!((check.peers.len(), check.alarm()), (0, None));
    }
}
