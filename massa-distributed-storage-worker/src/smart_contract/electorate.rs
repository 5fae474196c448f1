//! Who decides on beacons and segment roots: stake that has seasoned, exactly, in constant cost. Plain calculations.
//!
//! A node's entry (round e, stake w) counts in rounds e … e+7. The registry keeps, for each round that an entry may lie in, the sum of the
//! entries there, so the electorate of a round is a sum of eight buckets. Until some node is proven (the first phase), stake weighs from
//! two rounds after its registration, and each submission renews it; from then on only proven rounds season: those counted with
//! all draws passed.
//!
//! The same as `massa-storage-sc/assembly/internals/electorate.ts`. A node reads from it whether its votes weigh anything; tests hold it to a
//! count by brute force.

/// Rounds in which an entry counts.
const SEASON_ROUNDS: u64 = 8;
/// Rounds between coming, or coming back, and weighing anything.
const NOTICE_ROUNDS: u64 = 2;
/// Rounds in which entries may lie that count now or later.
pub const BUCKETS: usize = 10;

/// Whether an entry that counts from a round on does so in another.
pub fn counts(from: u64, round: u64) -> bool {
    from <= round && stands(from, round)
}

/// Whether an entry has not lapsed: it counts in this round, or will.
fn stands(from: u64, round: u64) -> bool {
    from.saturating_add(SEASON_ROUNDS) > round
}

/// What a submission does to a node's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seasoned {
    /// It passed the round before this one, and counts from here on with the stake that claimed it.
    Proven(u64),
    /// In the first phase: it counts from this round on with the stake of its entry.
    Renewed(u64),
    /// It stays.
    Unchanged,
}

/// What a submission in `round` does to a node's entry, which counts from `entry` on. `proven` is the last round before that the node passed,
/// `may_renew` whether this is the first phase and the node does not leave.
pub fn seasoned(entry: Option<u64>, proven: Option<u64>, may_renew: bool, round: u64) -> Seasoned {
    let from = proven.map(|proven| proven + 1);
    match from.filter(|from| entry.map_or(true, |entry| *from > entry)) {
        Some(from) => Seasoned::Proven(from),
        None if !may_renew || entry.is_some_and(|entry| entry > round) => Seasoned::Unchanged,
        None if entry.is_some_and(|entry| stands(entry, round)) => Seasoned::Renewed(round),
        None => Seasoned::Renewed(round + NOTICE_ROUNDS),
    }
}

/// What a node decides with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The first round in which it counts.
    pub round: Option<u64>,
    /// With so much stake.
    pub stake: u64,
}

impl Entry {
    /// What the node's vote weighs in a round.
    pub fn weight(&self, round: u64) -> u64 {
        let counting = self.round.filter(|from| counts(*from, round));
        counting.map_or(0, |_| self.stake)
    }
}

/// All entries, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Electorate {
    /// Round and stake; that of round e is at e modulo 10. One of an older round is as good as empty.
    buckets: [(u64, u64); BUCKETS],
    /// Some node is proven: the first phase is over.
    pub is_proven: bool,
}

impl Electorate {
    /// The seasoned stake of a round.
    pub fn of(&self, round: u64) -> u64 {
        let counting = self.buckets.iter().filter(|(from, _)| counts(*from, round));
        counting.map(|(_, stake)| stake).sum()
    }

    /// The entry of a node that registers in `round` with a stake.
    pub fn register(&mut self, stake: u64, round: u64) -> Entry {
        let mut entry = Entry { round: None, stake };
        if !self.is_proven {
            self.enter(&mut entry, round + NOTICE_ROUNDS, stake, round);
        }
        entry
    }

    /// A submission of a node in `round`, once it is settled and before it votes: `proven` is the last round before that it passed, and
    /// the stake that claimed it.
    pub fn season(&mut self, entry: &mut Entry, proven: Option<(u64, u64)>, leaves: bool, round: u64) {
        let may_renew = !self.is_proven && !leaves;
        match seasoned(entry.round, proven.map(|(proven, _)| proven), may_renew, round) {
            Seasoned::Proven(from) => {
                self.enter(entry, from, proven.map_or(0, |(_, stake)| stake), round);
                self.is_proven = true;
            }
            Seasoned::Renewed(from) => self.enter(entry, from, entry.stake, round),
            Seasoned::Unchanged => {}
        }
    }

    /// Puts the entry of a node elsewhere: it counts from a round on with a stake. Done in `round`.
    pub fn enter(&mut self, entry: &mut Entry, from: u64, stake: u64, round: u64) {
        if let Some(before) = entry.round.filter(|before| stands(*before, round)) {
            self.bucket(before).1 -= entry.stake;
        }
        *entry = Entry {
            round: Some(from),
            stake,
        };
        if stands(from, round) {
            self.bucket(from).1 += stake;
        }
    }

    fn bucket(&mut self, round: u64) -> &mut (u64, u64) {
        let bucket = &mut self.buckets[(round % BUCKETS as u64) as usize];
        if bucket.0 != round {
            *bucket = (round, 0);
        }
        bucket
    }
}
