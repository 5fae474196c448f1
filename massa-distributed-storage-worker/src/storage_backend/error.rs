//! Why the store could not do something, and what in it is damaged.

use super::database::DatabaseError;
use massa_distributed_storage_exports::config::ConfigError;
use massa_distributed_storage_exports::record::RecordError;
use massa_distributed_storage_exports::segment_table::TableError;
use massa_distributed_storage_exports::types::ParameterError;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_models::slot::Slot;
use std::path::PathBuf;

/// Errors of the store.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be opened, read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A row is not what it was when it was written.
    #[error("damaged: {0}")]
    Damaged(#[from] Damage),
    /// Written by another version.
    #[error("the store in {} has format {found}, this version reads format {expected}: use the version that wrote it, or import its archive into a new directory", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// Format found.
        found: u32,
        /// Format of this version.
        expected: u32,
    },
    /// The store belongs to another network, or was made with other settings.
    #[error("{name}: the store in {} was made with {stored}, this node is configured with {configured}: correct the configuration or choose another directory", path.display())]
    ParameterMismatch {
        /// The directory.
        path: PathBuf,
        /// The parameter.
        name: &'static str,
        /// Value in the store.
        stored: String,
        /// Value configured.
        configured: String,
    },
    /// A parameter is out of its range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Retention is too short.
    #[error(transparent)]
    Retention(#[from] ConfigError),
    /// A type that has no binary form: a bug of the caller.
    #[error("{row} has no binary form: {source}")]
    Encode {
        /// The type.
        row: &'static str,
        /// What postcard said.
        source: postcard::Error,
    },
    /// A record that is no block of its slot: the caller did not check it.
    #[error("slot {slot}: {source}")]
    Record {
        /// The slot it was given for.
        slot: Slot,
        /// What is wrong.
        source: RecordError,
    },
    /// A table that is none of this network: the caller did not check it.
    #[error("segment {segment}: {source}")]
    Table {
        /// The segment.
        segment: u64,
        /// What is wrong.
        source: TableError,
    },
    /// Another version of the segment is here already.
    #[error("segment {segment} has root {stored} here, not {given}: it has to be replaced")]
    OtherRoot {
        /// The segment.
        segment: u64,
        /// Root in the store.
        stored: SegmentRoot,
        /// Root given.
        given: SegmentRoot,
    },
    /// The table of the segment is not here.
    #[error("the table of segment {segment} is not here")]
    NoTable {
        /// The segment.
        segment: u64,
    },
    /// A segment cannot be closed before each of its periods joined its stream.
    #[error("segment {segment} cannot be closed: period {period} {reason}")]
    NotJoined {
        /// The segment.
        segment: u64,
        /// The first period that does not fit.
        period: u64,
        /// Why.
        reason: &'static str,
    },
    /// A chunk that is not the one of its position: whoever made or sent it is at fault.
    #[error("chunk {position} is refused: {reason}")]
    Chunk {
        /// The position.
        position: ChunkPosition,
        /// Why.
        reason: String,
    },
    /// The segment is pruned: nothing of it is kept any more.
    #[error("segment {segment} is pruned, the first one kept is {floor}")]
    Pruned {
        /// The segment.
        segment: u64,
        /// The first one kept.
        floor: u64,
    },
}

impl StoreError {
    /// A record that is no block of its slot.
    pub(crate) fn record(slot: Slot) -> impl Fn(RecordError) -> Self {
        move |source| StoreError::Record { slot, source }
    }
}

/// A row that is not what it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Damage {
    /// Its column family.
    pub family: &'static str,
    /// Segment, where the row belongs to one.
    pub segment: Option<u64>,
    /// Period, where the row is of one.
    pub period: Option<u64>,
    /// Thread, where the row is of one slot.
    pub thread: Option<u8>,
    /// Chunk, where the row is of one.
    pub chunk: Option<u32>,
    /// Page of the chunk, where the row is one.
    pub page: Option<u32>,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("segment", self.segment),
            ("period", self.period),
            ("thread", self.thread.map(u64::from)),
            ("chunk", self.chunk.map(u64::from)),
            ("page", self.page.map(u64::from)),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                write!(f, "{name} {value}, ")?;
            }
        }
        write!(f, "{}: {}", self.family, self.reason)
    }
}

impl Damage {
    /// Damage in `family`, nowhere in particular.
    pub fn new(family: &'static str, reason: impl Into<String>) -> Self {
        Self {
            family,
            segment: None,
            period: None,
            thread: None,
            chunk: None,
            page: None,
            reason: reason.into(),
        }
    }

    /// The same in a segment.
    pub fn in_segment(mut self, segment: u64) -> Self {
        self.segment = Some(segment);
        self
    }

    /// The same in a period.
    pub fn in_period(mut self, period: u64) -> Self {
        self.period = Some(period);
        self
    }

    /// The same in a slot.
    pub fn at(mut self, slot: Slot) -> Self {
        self.period = Some(slot.period);
        self.thread = Some(slot.thread);
        self
    }

    /// The same in a chunk.
    pub fn in_chunk(mut self, position: ChunkPosition) -> Self {
        self.segment = Some(position.segment);
        self.chunk = Some(position.index.0);
        self
    }

    /// The chunk, where the row belongs to one.
    pub fn position(&self) -> Option<ChunkPosition> {
        ChunkPosition::new(self.segment?, self.chunk?)
    }

    /// The same in a page.
    pub fn in_page(mut self, position: ChunkPosition, page: u32) -> Self {
        self.page = Some(page);
        self.in_chunk(position)
    }
}
