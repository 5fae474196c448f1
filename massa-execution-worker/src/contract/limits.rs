//! What an instance may grow to.

use super::context::shortage;
use super::engine::MEMORY_PAGES_MAX;
use wasmtime::{Error, ResourceLimiter, Result};

/// What the engine says when a module asks for more than 4 GiB, the one growth that it refuses by itself.
const BEYOND_ITS_TYPE: &str = "memory growth exceeds memory type's limits";

/// Refuses growth by rule, and tells it from growth that the system refuses.
///
/// A module sees the first as -1. The second ends the execution without an outcome: a module that saw -1 would go on
/// otherwise than on a machine with more memory. Tables cannot grow, and how large they begin is checked before a module
/// is compiled.
pub(super) struct Limits;

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let max = (MEMORY_PAGES_MAX as usize) << 16;
        Ok(desired <= maximum.map_or(max, |maximum| maximum.min(max)))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        if error.to_string() == BEYOND_ITS_TYPE {
            return Ok(());
        }
        Err(shortage(error).into())
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        Ok(true)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}
