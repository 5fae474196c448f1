//! How much disk the database takes, and whether more fits under its ceiling.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Share of the ceiling that is left free for compaction: an eighth, at most 256 MiB.
const RESERVE_SHARE: u64 = 8;
const RESERVE_BYTES_MAX: u64 = 256 << 20;

/// Bytes that a directory takes on disk: blocks in use, not file lengths.
///
/// # Errors
/// [`io::Error`] when the directory cannot be read. Files that vanish meanwhile count as gone.
pub fn disk_usage(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        bytes += if metadata.is_dir() {
            disk_usage(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}

/// Decides whether a write fits, measuring the disk only when an estimate cannot tell.
#[derive(Clone, Copy, Debug)]
pub struct SpaceGauge {
    capacity_bytes: u64,
    measured_bytes: u64,
    /// Written since the measurement: once into the log, once into a table, once more while tables are merged.
    written_bytes: u64,
}

impl SpaceGauge {
    /// A gauge that has not measured yet.
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            measured_bytes: capacity_bytes,
            written_bytes: 0,
        }
    }

    /// The ceiling.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Whether `incoming` bytes fit for certain, by the estimate alone.
    pub fn surely_fits(&self, incoming: u64) -> bool {
        let estimate = self.measured_bytes.saturating_add(3 * self.written_bytes);
        self.needed(estimate, incoming) <= self.capacity_bytes
    }

    /// Bytes that the directory may reach when `incoming` bytes are added to `used`.
    pub fn needed(&self, used: u64, incoming: u64) -> u64 {
        let reserve = (self.capacity_bytes / RESERVE_SHARE).min(RESERVE_BYTES_MAX);
        used.saturating_add(2 * incoming).saturating_add(reserve)
    }

    /// Takes a measurement: bytes on disk, and bytes in memory that will get there.
    pub fn measured(&mut self, on_disk: u64, in_memory: u64) {
        self.measured_bytes = on_disk.saturating_add(in_memory);
        self.written_bytes = 0;
    }

    /// Whether `incoming` bytes fit, by the last measurement.
    pub fn fits(&self, incoming: u64) -> bool {
        self.needed(self.measured_bytes, incoming) <= self.capacity_bytes
    }

    /// Bytes that the last measurement found.
    pub fn measured_bytes(&self) -> u64 {
        self.measured_bytes
    }

    /// Notes a write.
    pub fn wrote(&mut self, bytes: u64) {
        self.written_bytes = self.written_bytes.saturating_add(bytes);
    }
}
