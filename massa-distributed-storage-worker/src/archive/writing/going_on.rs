//! What is in the way of the archive, and what is done about it from time to time.

use super::Writing;
use crate::storage_backend::database::DatabaseError;
use std::sync::Arc;
use std::time::Instant;
use tracing::{info, warn};

impl Writing {
    pub(super) fn look_after(&mut self, now: Instant) {
        // Whichever command found it out, or another thread that keeps rows of its own.
        self.note_refusing();
        if self.clock.retry(self.stalled.is_some(), now) {
            self.go_on();
        }
        if self.clock.upkeep(now) {
            if self.stalled.is_none() {
                if let Err(error) = self.store().database().recover() {
                    self.stall(error.to_string());
                }
            }
            // Also when the allocation is used up: it gives space back.
            if self.store().database().fault().is_none() {
                self.prune();
            }
        }
        if self.clock.report(now) {
            let full = self.store().check_block_space(0).err();
            self.note_full(full.map(|error| error.to_string()));
            self.tell_status();
        }
    }

    /// Says once that the allocation has no room for blocks, and that it has again. What is here can be closed meanwhile, and
    /// chunks be dropped.
    pub(super) fn note_full(&mut self, full: Option<String>) {
        match (&full, &self.full) {
            (Some(reason), None) => warn!(reason, "blocks are refused"),
            (None, Some(_)) => {
                info!("blocks are taken again");
                self.full = None;
                self.note_unnoted();
            }
            _ => {}
        }
        self.full = full;
        self.tell_store_error();
    }

    /// Why blocks are refused, or the archive does not go on.
    fn tell_store_error(&self) {
        let reason = self.stalled.as_ref().or(self.full.as_ref());
        self.shared.status.lock().store_error = reason.cloned();
    }

    /// Tries to go on after something was in the way.
    fn go_on(&mut self) {
        if self.try_to_go_on() {
            self.stalled = None;
            self.tell_store_error();
            info!("the archive goes on");
            self.note_unnoted();
        }
    }

    fn try_to_go_on(&mut self) -> bool {
        if let Err(error) = self.store().recover() {
            return self.stall(error.to_string());
        }
        let progress = if self.is_unsure {
            self.ingest.recovered()
        } else {
            // What was found missing or damaged stays known.
            self.ingest.advance()
        };
        match progress {
            Ok(progress) => {
                self.is_unsure = false;
                self.tell(&progress) && self.close_slice()
            }
            Err(error) => self.stall(error.to_string()),
        }
    }

    /// Lets go of what retention no longer keeps, as far as others hold it.
    pub(super) fn prune(&mut self) {
        let store = Arc::clone(self.store());
        let ended = self.ingest.next_segment().checked_sub(1);
        let Some(kept_from) = ended.and_then(|newest| store.retained_from(newest)) else {
            return;
        };
        let first = store.floor().max(store.parameters().first_segment());
        let may_go = (first..kept_from).take_while(|segment| (self.told.may_prune)(*segment));
        let Some(floor) = may_go.last().map(|segment| segment + 1) else {
            return;
        };
        match store.prune(floor) {
            Ok(chunks) => info!(floor, chunks, "segments pruned"),
            Err(error) => {
                self.stall(error.to_string());
            }
        }
    }

    pub(super) fn note_refusing(&mut self) {
        if let Some(fault) = self.store().database().fault() {
            self.stall(DatabaseError::Refusing(fault).to_string());
        }
    }

    /// Says once that the archive does not go on, and again when the reason changes. Returns false.
    pub(super) fn stall(&mut self, reason: String) -> bool {
        self.is_unsure |= self.store().database().fault().is_some();
        if self.stalled.as_ref() != Some(&reason) {
            warn!(reason, "the archive does not go on");
            self.stalled = Some(reason);
            self.tell_store_error();
        }
        false
    }
}
