//! Whether a node keeps a chunk of a segment that closes: as a holder, or for a while as one of the nodes ranked next.
//!
//! The holders may be down at that moment. So as many nodes as the factor, ranked next behind the last holder, keep the chunk
//! too, until the holders promised it (design, section 5).

use super::placed_set::PlacedSet;
use super::{Candidate, HolderSearch};
use massa_distributed_storage_exports::ChunkId;

/// What a node is for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds the chunk.
    Holder,
    /// It is ranked next: it keeps the chunk until the holders promised it.
    Backup,
    /// Neither.
    Neither,
}

/// The candidates for one segment, prepared for asking about many of its chunks.
#[derive(Clone, Debug)]
pub struct Standings {
    holders: HolderSearch,
    /// The same nodes, filled or not.
    everybody: HolderSearch,
    own: Option<usize>,
}

impl Standings {
    pub(super) fn new(set: &PlacedSet, reach: u64) -> Self {
        let holders = set.search(reach);
        let mut everybody = holders.clone();
        everybody.filled.append(&mut everybody.unfilled);
        Self {
            holders,
            everybody,
            own: set.own.map(usize::from),
        }
    }

    /// Indexes of the holders of a chunk, best first, and of those ranked next.
    ///
    /// Costs two hashes for each candidate.
    pub fn holders_and_backups(&mut self, chunk_id: &ChunkId) -> (Vec<usize>, Vec<usize>) {
        let mut best: Vec<Candidate> = Vec::new();
        self.holders.find(chunk_id, |_| false, &mut best);
        let count = best.len();
        // Whoever ranks above a holder holds: the holders are the best of everybody.
        self.everybody.replication_factor = count + self.holders.replication_factor;
        self.everybody.find(chunk_id, |_| false, &mut best);
        let mut holders: Vec<usize> = best.iter().map(Candidate::index).collect();
        let backups = holders.split_off(count);
        (holders, backups)
    }

    /// What this node is for a chunk.
    pub fn own(&mut self, chunk_id: &ChunkId) -> Standing {
        let Some(own) = self.own else {
            return Standing::Neither;
        };
        let (holders, backups) = self.holders_and_backups(chunk_id);
        if holders.contains(&own) {
            Standing::Holder
        } else if backups.contains(&own) {
            Standing::Backup
        } else {
            Standing::Neither
        }
    }
}
