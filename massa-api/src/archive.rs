//! Reads of the archive, bounded for each client.

use crate::api::Node;
use massa_api_exports::distributed_storage::{ReadBudget, StorageApi, StorageApiError};
use massa_api_exports::ApiError;
use std::cell::Cell;
use std::net::IpAddr;
use std::time::Instant;

/// A call that may read the archive; ends with the value.
struct Admission<'a> {
    node: &'a Node,
    client: IpAddr,
    deadline: Instant,
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
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.node.limiter.lock().end(self.client);
    }
}

impl Node {
    /// Reads `wanted` things. The read itself counts those that it finds.
    pub fn read_archive<T>(
        &self,
        client: IpAddr,
        wanted: usize,
        read: impl FnOnce(&dyn StorageApi, &dyn ReadBudget) -> Result<T, StorageApiError>,
    ) -> Result<T, ApiError> {
        let now = Instant::now();
        let begun = self.limiter.lock().begin(client, now);
        begun.map_err(|error| ApiError::TooManyRequests(error.to_string()))?;
        let admission = Admission {
            node: self,
            client,
            deadline: now + self.config.archive_deadline.to_duration(),
            wanted,
            read: Cell::new(0),
        };
        Ok(read(self.context.storage_api.as_ref(), &admission)?)
    }
}
