//! What peers show to be wrong with this node: its clock, its identity, its final state.
//!
//! The parts decide, without sockets and with the time as an argument. Connections, the peer handler and the block handler feed them;
//! the node asks for [`Alarms`].

pub(crate) mod clock;
pub(crate) mod contests;
pub mod identity;
pub(crate) mod state;

use clock::ClockCheck;
use identity::IdentityCheck;
use massa_protocol_exports::{Alarms, PeerId, ProtocolConfig};
use parking_lot::Mutex;
use state::StateCheck;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// The three checks.
pub(crate) struct Checks {
    pub(crate) clock: ClockCheck,
    pub(crate) identity: IdentityCheck,
    pub(crate) state: StateCheck,
}

/// The checks, shared by the threads of the protocol and whoever asks.
#[derive(Clone)]
pub struct SharedChecks(Arc<Mutex<Checks>>);

impl SharedChecks {
    /// Of a process that starts now.
    pub(crate) fn new(config: &ProtocolConfig) -> Self {
        Self(Arc::new(Mutex::new(Checks {
            clock: ClockCheck::new(config.t0),
            identity: IdentityCheck::new(Instant::now()),
            state: StateCheck::default(),
        })))
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, Checks> {
        self.0.lock()
    }

    /// What is wrong now.
    pub(crate) fn alarms(&self, now: Instant) -> Alarms {
        let checks = self.lock();
        Alarms {
            clock: checks.clock.alarm(),
            identity: checks.identity.alarm(now),
            state: checks.state.alarm(),
        }
    }

    /// Forgets peers that are not connected.
    pub(crate) fn retain(&self, connected: &HashSet<PeerId>) {
        let mut checks = self.lock();
        checks.clock.retain(connected);
        checks.identity.retain(connected);
        checks.state.retain(connected);
    }
}
