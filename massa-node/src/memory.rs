//! Memory: what each part that strangers can fill may take of `memory.memory_limit_mb`.
//!
//! All parts together, with what the archive takes for itself, are less than the limit: the rest is for the block graph, for
//! the ledger and for contracts, which have limits in blocks, bytes of tables and instances.

/// Parts of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryShares {
    /// Requests that arrive, answers that are collected, and buffers of the API's connections.
    pub(crate) api: u64,
    /// Operations that wait in the pool.
    pub(crate) pool: u64,
    /// What repair has fetched and the archive has not written.
    pub(crate) repair: u64,
    /// Pages that peers were asked for and have not sent.
    pub(crate) in_flight: u64,
}

impl MemoryShares {
    /// Of a limit in mebibytes.
    pub(crate) fn of(limit_mb: u64) -> Self {
        let bytes = limit_mb << 20;
        Self {
            api: bytes / 4,
            pool: bytes / 8,
            repair: bytes / 16,
            in_flight: bytes / 32,
        }
    }

    /// Bytes of the operations that a thread of the pool may hold: each is there as it was received, and as a value.
    pub(crate) fn pool_thread(&self, thread_count: u8) -> u64 {
        self.pool / 2 / u64::from(thread_count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_distributed_storage_worker::archive::ingest::HELD_BYTES_MAX;
    use massa_distributed_storage_worker::storage_backend::database::options::MEMORY_BYTES;
    use massa_models::config::{MAX_BLOCK_SIZE, THREAD_COUNT};

    /// Of the settings' range.
    const LEAST_MB: u64 = 512;

    #[test]
    fn all_parts_together_are_less_than_the_limit() {
        let archive = (HELD_BYTES_MAX + MEMORY_BYTES) as u64;
        for limit_mb in [LEAST_MB, 513, 2_048, 1 << 24] {
            let MemoryShares {
                api,
                pool,
                repair,
                in_flight,
            } = MemoryShares::of(limit_mb);
            assert!(api + pool + repair + in_flight + archive < limit_mb << 20, "{limit_mb}");
        }
    }

    #[test]
    fn a_thread_of_the_pool_has_room_for_the_largest_operation() {
        let shares = MemoryShares::of(LEAST_MB);
        assert!(shares.pool_thread(THREAD_COUNT) >= u64::from(MAX_BLOCK_SIZE));
    }
}
