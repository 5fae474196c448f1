//! Reads of the archive, bounded for each client.

use crate::api::Node;
use massa_api_exports::distributed_storage::{StorageApi, StorageApiError};
use massa_api_exports::ApiError;
use std::net::IpAddr;
use std::time::Instant;

/// A call that was allowed to read; ends with the value.
struct Admission<'a> {
    node: &'a Node,
    client: IpAddr,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.node.limiter.lock().end(self.client);
    }
}

impl Node {
    fn admit(&self, client: IpAddr, reads: usize) -> Result<Admission<'_>, ApiError> {
        let begun = self.limiter.lock().begin(client, reads, Instant::now());
        begun.map_err(|error| ApiError::TooManyRequests(error.to_string()))?;
        Ok(Admission { node: self, client })
    }

    /// Reads one thing.
    pub fn read_archive<T>(
        &self,
        client: IpAddr,
        read: impl FnOnce(&dyn StorageApi) -> Result<T, StorageApiError>,
    ) -> Result<T, ApiError> {
        let _admission = self.admit(client, 1)?;
        Ok(read(self.context.storage_api.as_ref())?)
    }

    /// Reads what the archive has of `ids`, in their order.
    pub fn read_archive_list<I, T>(
        &self,
        client: IpAddr,
        ids: &[I],
        read: impl Fn(&dyn StorageApi, &I) -> Result<Option<T>, StorageApiError>,
    ) -> Result<Vec<Option<T>>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let _admission = self.admit(client, ids.len())?;
        let deadline = Instant::now() + self.config.archive_deadline.to_duration();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if Instant::now() >= deadline {
                let (done, all) = (found.len(), ids.len());
                let reason = format!("only {done} of {all} were read in time; ask for fewer at a time");
                let what = "the archive".to_string();
                return Err(StorageApiError::Unavailable { what, reason }.into());
            }
            found.push(read(self.context.storage_api.as_ref(), id)?);
        }
        Ok(found)
    }
}
