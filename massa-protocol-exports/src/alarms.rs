//! What peers show to be wrong with this node.

use massa_models::slot::Slot;
use std::fmt;

/// Everything that is wrong at a moment; nothing, mostly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// The clock of this machine.
    pub clock: Option<ClockAlarm>,
    /// The key of this node is used by another process.
    pub identity: Option<IdentityAlarm>,
    /// The ledger of this node.
    pub state: Option<StateAlarm>,
}

impl Alarms {
    /// For people, one line each.
    pub fn lines(&self) -> Vec<String> {
        let clock = self.clock.iter().map(ToString::to_string);
        clock.chain(self.serious_lines()).collect()
    }

    /// The same without the clock: what an operator has to act on at once.
    pub fn serious_lines(&self) -> Vec<String> {
        let identity = self.identity.iter().map(ToString::to_string);
        identity.chain(self.state.iter().map(ToString::to_string)).collect()
    }
}

/// Whose time was compared with this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockWitness {
    /// Connected peers, which tell their time.
    Peers,
    /// Producers, whose blocks come at another time than that of their slot.
    Producers,
}

/// This machine's clock is not that of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockAlarm {
    /// This machine's time minus that of the others, in milliseconds: above 0, it is ahead.
    pub ahead_ms: i64,
    /// How many others say so.
    pub witnesses: usize,
    /// Who they are.
    pub by: ClockWitness,
}

impl fmt::Display for ClockAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.ahead_ms.unsigned_abs() + 50) / 100;
        let side = if self.ahead_ms > 0 { "ahead of" } else { "behind" };
        let by = match self.by {
            ClockWitness::Peers => "peers",
            ClockWitness::Producers => "producers of blocks",
        };
        let (seconds, tenth, witnesses) = (tenths / 10, tenths % 10, self.witnesses);
        write!(f, "this machine's clock is {seconds}.{tenth} s {side} {witnesses} {by}")
    }
}

/// Another process has this node's key, and is connected with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityAlarm;

impl fmt::Display for IdentityAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the id of this node is connected from elsewhere, too: two processes have its key, and none produces blocks until \
             one of them is stopped",
        )
    }
}

/// This node's final state is not that of most of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateAlarm {
    /// The final slot after which states were compared.
    pub slot: Slot,
    /// Peers that have another state, all the same one.
    pub differing: usize,
    /// Peers that told theirs.
    pub told: usize,
}

impl fmt::Display for StateAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, differing, told } = self;
        write!(
            f,
            "the final state of this node after slot {slot} is not that of {differing} of {told} peers: what it executes is not the \
             chain any more"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_with_its_side_and_its_witnesses() {
        let alarm = |ahead_ms, by| ClockAlarm {
            ahead_ms,
            witnesses: 3,
            by,
        };
        assert_eq!(
            alarm(-12_345, ClockWitness::Peers).to_string(),
            "this machine's clock is 12.3 s behind 3 peers"
        );
        assert_eq!(
            alarm(4_960, ClockWitness::Producers).to_string(),
            "this machine's clock is 5.0 s ahead of 3 producers of blocks"
        );
    }
}
