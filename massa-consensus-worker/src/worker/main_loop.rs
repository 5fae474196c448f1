//! The loop: a command, or the next slot.

use crate::commands::ConsensusCommand;
use crate::state::ConsensusState;
use crossbeam_channel::RecvTimeoutError;
use massa_channel::receiver::MassaReceiver;
use massa_consensus_exports::{ConsensusConfig, ConsensusError};
use massa_models::slot::Slot;
use massa_models::timeslots::{get_block_slot_timestamp, get_current_latest_block_slot};
use massa_time::MassaTime;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Instant;
use tracing::{error, info};

/// The slots of the clock.
struct SlotClock {
    thread_count: u8,
    t0: MassaTime,
    genesis_timestamp: MassaTime,
}

impl SlotClock {
    fn current_slot(&self) -> Result<Option<Slot>, ConsensusError> {
        let slot = get_current_latest_block_slot(self.thread_count, self.t0, self.genesis_timestamp)?;
        Ok(slot)
    }

    /// The first slot that has not begun, and when it will. Asked anew for each slot, so that a clock which is set
    /// forwards or backwards is followed from the next slot on.
    fn next_slot_instant(&self) -> Result<Instant, ConsensusError> {
        let next = match self.current_slot()? {
            Some(slot) => slot.get_next_slot(self.thread_count)?,
            None => Slot::min(),
        };
        let timestamp = get_block_slot_timestamp(self.thread_count, self.t0, self.genesis_timestamp, next)?;
        let wait = timestamp.saturating_sub(MassaTime::now()).to_duration();
        Ok(Instant::now() + wait.min(MAX_WAIT))
    }
}

/// A limit for the wait until genesis, after which the clock is asked again.
const MAX_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// What the consensus thread owns.
pub(crate) struct ConsensusWorker {
    shared_state: Arc<RwLock<ConsensusState>>,
    command_receiver: MassaReceiver<ConsensusCommand>,
    clock: SlotClock,
    prune_interval: std::time::Duration,
    next_slot_instant: Instant,
    last_prune: Instant,
}

impl ConsensusWorker {
    pub(crate) fn new(
        shared_state: Arc<RwLock<ConsensusState>>,
        command_receiver: MassaReceiver<ConsensusCommand>,
    ) -> Result<Self, ConsensusError> {
        let (clock, prune_interval) = {
            let state = shared_state.read();
            let ConsensusConfig {
                thread_count,
                t0,
                genesis_timestamp,
                ..
            } = state.config;
            let clock = SlotClock {
                thread_count,
                t0,
                genesis_timestamp,
            };
            (clock, state.config.block_db_prune_interval.to_duration())
        };
        Ok(Self {
            next_slot_instant: clock.next_slot_instant()?,
            shared_state,
            command_receiver,
            clock,
            prune_interval,
            last_prune: Instant::now(),
        })
    }

    /// Runs until told to stop, or until nobody can tell it anything any more.
    pub(crate) fn run(&mut self) {
        loop {
            // Commands that never end must not keep slots from beginning.
            if Instant::now() >= self.next_slot_instant {
                self.log_failure(Self::slot_reached);
                continue;
            }
            match self.command_receiver.recv_deadline(self.next_slot_instant) {
                Ok(ConsensusCommand::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.log_failure(|worker| worker.execute(command)),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        info!("consensus worker stopped");
    }

    /// Whatever failed concerned one block or one slot: the thread goes on.
    fn log_failure(&mut self, step: impl FnOnce(&mut Self) -> Result<(), ConsensusError>) {
        if let Err(failure) = step(self) {
            error!(error = &failure as &dyn std::error::Error, "consensus step failed");
        }
    }

    fn execute(&mut self, command: ConsensusCommand) -> Result<(), ConsensusError> {
        let current_slot = self.clock.current_slot()?;
        let mut state = self.shared_state.write();
        match command {
            ConsensusCommand::RegisterBlock(id, slot, storage, created) => {
                state.register_block(id, slot, current_slot, storage, created)
            }
            ConsensusCommand::RegisterBlockHeader(id, header) => state.register_block_header(id, header, current_slot),
            ConsensusCommand::MarkInvalidBlock(id, header) => state.mark_invalid_block(&id, &header),
            ConsensusCommand::Stop => Ok(()),
        }
    }

    /// A slot began. If several began since the last time, the last of them counts.
    fn slot_reached(&mut self) -> Result<(), ConsensusError> {
        // Set first: a failure below must not make the loop spin on the same slot.
        self.next_slot_instant = self.clock.next_slot_instant()?;
        let current_slot = self.clock.current_slot()?;
        self.shared_state.write().slot_tick(current_slot)?;
        if self.last_prune.elapsed() > self.prune_interval {
            self.last_prune = Instant::now();
            self.shared_state.write().prune()?;
        }
        Ok(())
    }
}
