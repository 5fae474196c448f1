//! Reads of the archive, bounded for each client.

use crate::answer::Answer;
use crate::api::{Asker, Node};
use crate::limiter::LimitError;
use massa_api_exports::distributed_storage::{ReadBudget, StorageApi, StorageApiError};
use massa_api_exports::ApiError;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::time::Instant;

/// A call that may read the archive; ends with the value.
struct Admission<'a> {
    node: &'a Node,
    client: IpAddr,
    deadline: Instant,
    /// What is collected.
    answer: RefCell<&'a mut Answer>,
    /// Things that are asked for, and those that were read.
    wanted: usize,
    read: Cell<usize>,
}

impl ReadBudget for Admission<'_> {
    fn left(&self) -> usize {
        self.node.limiter.lock().left(self.client, Instant::now())
    }

    fn take(&self) -> Result<(), StorageApiError> {
        let (now, done, all) = (Instant::now(), self.read.get(), self.wanted);
        if now >= self.deadline {
            let reason = format!("only {done} of {all} were read in time; ask for fewer at a time");
            let what = "the archive".to_string();
            return Err(StorageApiError::Unavailable { what, reason });
        }
        let taken = self.node.limiter.lock().take(self.client, now);
        taken.map_err(|error| StorageApiError::OverLimit(error.to_string()))?;
        self.read.set(done + 1);
        Ok(())
    }

    fn hold(&self, bytes: usize) -> Result<(), StorageApiError> {
        self.answer.borrow_mut().add(0, bytes).map_err(|error| match error {
            ApiError::TooLarge { max } => StorageApiError::TooLarge { max },
            error => StorageApiError::OverLimit(error.to_string()),
        })
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.node.limiter.lock().end(self.client);
        self.node.archive_call_ended.notify_all();
    }
}

impl Node {
    /// Reads one object, or refuses at once. The read itself counts it if it finds it.
    pub fn read_archive_object<T>(
        &self,
        asker: &Asker,
        read: impl FnOnce(&dyn StorageApi, &dyn ReadBudget) -> Result<T, StorageApiError>,
    ) -> Result<T, ApiError> {
        let begun = self.limiter.lock().begin(asker.client, Instant::now());
        begun.map_err(|error| ApiError::TooManyRequests(error.to_string()))?;
        let mut answer = self.answer(asker);
        let admission = self.admit(asker, &mut answer, 1);
        Ok(read(self.context.storage_api.as_ref(), &admission)?)
    }

    /// Reads `wanted` objects as a part of `answer`. Waits while others read: whoever asks for something new again and
    /// again, until the chain has it, is not to be refused.
    pub fn read_archive<T>(
        &self,
        asker: &Asker,
        answer: &mut Answer,
        wanted: usize,
        read: impl FnOnce(&dyn StorageApi, &dyn ReadBudget) -> Result<T, StorageApiError>,
    ) -> Result<T, ApiError> {
        self.begin_in_turn(asker.client)
            .map_err(|error| ApiError::TooManyRequests(error.to_string()))?;
        let admission = self.admit(asker, answer, wanted);
        Ok(read(self.context.storage_api.as_ref(), &admission)?)
    }

    fn begin_in_turn(&self, client: IpAddr) -> Result<(), LimitError> {
        let deadline = Instant::now() + self.config.archive_deadline.to_duration();
        let mut limiter = self.limiter.lock();
        loop {
            let refused = match limiter.begin(client, Instant::now()) {
                Err(refused @ (LimitError::AtOnce(_) | LimitError::AllAtOnce(_))) => refused,
                begun => return begun,
            };
            if self.archive_call_ended.wait_until(&mut limiter, deadline).timed_out() {
                return Err(refused);
            }
        }
    }

    /// Of a call that has begun.
    fn admit<'a>(&'a self, asker: &Asker, answer: &'a mut Answer, wanted: usize) -> Admission<'a> {
        Admission {
            node: self,
            client: asker.client,
            deadline: Instant::now() + self.config.archive_deadline.to_duration(),
            answer: RefCell::new(answer),
            wanted,
            read: Cell::new(0),
        }
    }
}
