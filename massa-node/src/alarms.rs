//! What peers show to be wrong with this node, brought to its operator: log, gauges, and leave to produce.
//!
//! A thread tells peers this node's final state now and then, and looks at the alarms that follow from what they tell. While another
//! process has this node's key, nothing is produced; the other alarms stop nothing.

use crate::metrics::gauge;
use crossbeam_channel::{bounded, Receiver, Sender};
use massa_execution_exports::ExecutionController;
use massa_models::slot::Slot;
use massa_protocol_exports::{Alarms, ClockAlarm, ProtocolController};
use prometheus::IntGauge;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{debug, error, info, warn};

/// How often to look: a node that hears of another one with its key stops producing so soon.
const TICK: Duration = Duration::from_millis(100);

lazy_static::lazy_static! {
    static ref CLOCK_AHEAD_MS: IntGauge = gauge(
        "node_clock_ahead_ms",
        "Milliseconds that the clock of this machine is ahead of the others', below 0 behind; 0 while it is right"
    );
    static ref ID_ELSEWHERE: IntGauge = gauge("node_id_elsewhere", "1 while another process has the key of this node");
    static ref STATE_DIFFERS: IntGauge = gauge("node_state_differs", "1 while the final state is not that of the peers");
}

/// What the thread works with.
pub struct AlarmParts {
    /// Hears what peers tell.
    pub protocol: Box<dyn ProtocolController>,
    /// Has the final state.
    pub execution: Box<dyn ExecutionController>,
    /// Whether this node is in step with the network.
    pub synced: Arc<AtomicBool>,
    /// Set while this node may produce.
    pub may_produce: Arc<AtomicBool>,
}

/// Stops the thread.
pub struct AlarmManager {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl AlarmManager {
    /// Ends the thread.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let _ = self.stop.try_send(());
        if thread.join().is_err() {
            warn!("the thread of alarms panicked");
        }
    }
}

impl Drop for AlarmManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread.
///
/// # Errors
/// The system has no thread to give.
pub fn start_alarms(parts: AlarmParts) -> std::io::Result<AlarmManager> {
    let (stop, stopped) = bounded(1);
    let mut watch = Watch {
        parts,
        told: Slot::min(),
        alarms: Alarms::default(),
    };
    let thread = std::thread::Builder::new().name("alarms".into());
    let thread = thread.spawn(move || watch.run(&stopped))?;
    Ok(AlarmManager {
        stop,
        thread: Some(thread),
    })
}

struct Watch {
    parts: AlarmParts,
    /// The slot of the last state that was told to peers.
    told: Slot,
    /// As they were when they were looked at last.
    alarms: Alarms,
}

impl Watch {
    fn run(&mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TICK).is_err_and(|error| error.is_timeout()) {
            self.tell_state();
            let alarms = self.parts.protocol.get_alarms();
            changes(&self.alarms, &alarms).iter().for_each(log);
            measure(&alarms);
            let synced = self.parts.synced.load(Ordering::Acquire);
            self.parts
                .may_produce
                .store(may_produce(synced, &alarms), Ordering::Release);
            self.alarms = alarms;
        }
    }

    fn tell_state(&mut self) {
        for (slot, hash) in self.parts.execution.get_state_checkpoints() {
            if slot <= self.told {
                continue;
            }
            match self.parts.protocol.tell_final_state(slot, hash) {
                Ok(()) => self.told = slot,
                // At the next look.
                Err(error) => return debug!(%slot, %error, "final state not told"),
            }
        }
    }
}

/// Whether this node may make blocks.
fn may_produce(synced: bool, alarms: &Alarms) -> bool {
    synced && alarms.identity.is_none()
}

fn measure(alarms: &Alarms) {
    CLOCK_AHEAD_MS.set(alarms.clock.map_or(0, |clock| clock.ahead_ms));
    ID_ELSEWHERE.set(i64::from(alarms.identity.is_some()));
    STATE_DIFFERS.set(i64::from(alarms.state.is_some()));
}

/// What is said in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Error(String),
    Warning(String),
    Over(&'static str),
}

fn log(change: &Change) {
    match change {
        Change::Error(line) => error!("{line}"),
        Change::Warning(line) => warn!("{line}"),
        Change::Over(line) => info!("{line}"),
    }
}

/// Each alarm is said when it begins and when it is over; not again while its numbers change.
fn changes(before: &Alarms, after: &Alarms) -> Vec<Change> {
    let side = |clock: Option<ClockAlarm>| clock.map(|clock| clock.ahead_ms.signum());
    let mut changes = Vec::new();
    if side(before.clock) != side(after.clock) {
        let over = Change::Over("this machine's clock is right again");
        changes.push(after.clock.map_or(over, |clock| Change::Warning(clock.to_string())));
    }
    if before.identity.is_some() != after.identity.is_some() {
        let over = Change::Over("no other node with the key of this one is heard of any more");
        changes.push(
            after
                .identity
                .map_or(over, |identity| Change::Error(identity.to_string())),
        );
    }
    if before.state.is_some() != after.state.is_some() {
        let over = Change::Over("the final state of this node is that of its peers");
        changes.push(after.state.map_or(over, |state| Change::Error(state.to_string())));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_protocol_exports::{ClockWitness, IdentityAlarm, StateAlarm};

    fn clock(ahead_ms: i64) -> Alarms {
        Alarms {
            clock: Some(ClockAlarm {
                ahead_ms,
                witnesses: 3,
                by: ClockWitness::Peers,
            }),
            ..Alarms::default()
        }
    }

    fn identity() -> Alarms {
        Alarms {
            identity: Some(IdentityAlarm),
            ..Alarms::default()
        }
    }

    fn state(period: u64) -> Alarms {
        Alarms {
            state: Some(StateAlarm {
                slot: Slot::new(period, 7),
                differing: 3,
                told: 3,
            }),
            ..Alarms::default()
        }
    }

    #[test]
    fn nothing_is_produced_while_another_process_has_the_key_and_other_alarms_stop_nothing() {
        assert!(!may_produce(true, &identity()));
        for alarms in [Alarms::default(), clock(9_000), state(8)] {
            assert!(may_produce(true, &alarms));
            assert!(!may_produce(false, &alarms));
        }
    }

    #[test]
    fn an_alarm_is_said_when_it_begins_when_it_turns_and_when_it_is_over() {
        let (none, warning) = (Alarms::default(), |alarms: &Alarms| {
            Change::Warning(alarms.lines()[0].clone())
        });
        let (ahead, more, behind) = (clock(9_000), clock(9_100), clock(-9_000));
        assert_eq!(changes(&none, &ahead), [warning(&ahead)]);
        assert_eq!(changes(&ahead, &more), []);
        assert_eq!(changes(&more, &behind), [warning(&behind)]);
        assert!(matches!(changes(&behind, &none)[..], [Change::Over(_)]));
    }

    #[test]
    fn another_process_and_another_state_are_errors_said_once() {
        let none = Alarms::default();
        for (first, later) in [(identity(), identity()), (state(8), state(16))] {
            assert_eq!(changes(&none, &first), [Change::Error(first.lines()[0].clone())]);
            assert_eq!(changes(&first, &later), []);
            assert!(matches!(changes(&later, &none)[..], [Change::Over(_)]));
        }
    }

    /// What whoever reads the default registry sees.
    fn shown(name: &str) -> i64 {
        let families = prometheus::gather();
        let family = families.iter().find(|family| family.get_name() == name).unwrap();
        family.get_metric()[0].get_gauge().get_value() as i64
    }

    #[test]
    fn gauges_show_each_alarm_and_its_end() {
        let names = ["node_clock_ahead_ms", "node_id_elsewhere", "node_state_differs"];
        for (alarms, expected) in [
            (clock(-9_000), [-9_000, 0, 0]),
            (identity(), [0, 1, 0]),
            (state(8), [0, 0, 1]),
            (Alarms::default(), [0; 3]),
        ] {
            measure(&alarms);
            assert_eq!(names.map(shown), expected);
        }
    }
}
