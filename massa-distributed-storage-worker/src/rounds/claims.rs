//! The claims of this node: the one that is kept up to date for the next round, and those that were sent.
//!
//! Claimed is what is anchored with this node's own root, held, and assigned to this node. [`Claims`] is asked by all threads;
//! [`keeper::ClaimKeeper`] is the one that changes claims, in slices, as segments change. [`rows`] are the rows in the store.
//!
//! A change of a chunk and that of the claim are two batches: between them a claim may name a chunk that is gone. So a claim is
//! only sent once everything that changed is looked at, after a start every segment; and what is in the claim for the next round
//! is not let go of ([`Claims::is_claimed`]) before it is taken out of it.

pub mod keeper;
pub mod rows;

use crate::challenge::segment_claim::{
    Change, ClaimBook, ClaimError, ClaimStore, Drawn, RowRead, SealError, SentClaim, StaleChange,
};
use crate::challenge::sums::{Claim, SumHasher, SumPath};
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::{SegmentStore, StoreError};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkPosition;
use parking_lot::Mutex;
use std::sync::Arc;
use tracing::warn;

/// Why a claim was not changed, kept or forgotten.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The rows cannot be read, or do not fit each other.
    #[error(transparent)]
    Claim(#[from] ClaimError<StoreError>),
    /// The rows cannot be written.
    #[error("claims could not be written")]
    Store(#[from] StoreError),
    /// The claim is not sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Two threads changed claims.
    #[error(transparent)]
    Stale(#[from] StaleChange),
}

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows are damaged or missing, of the claim for the next round, or of one that was sent.
    pub is_damaged: bool,
    /// Rows are missing: what is not there is not known to be nothing.
    pub is_incomplete: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Claims {
    store: Arc<SegmentStore>,
    book: Mutex<ClaimBook>,
}

impl Claims {
    /// Reads the claims of the store: a row of each segment of which something is claimed.
    ///
    /// # Errors
    /// [`ClaimsError`]: the database failed.
    pub fn open(store: Arc<SegmentStore>) -> Result<(Self, Found), ClaimsError> {
        let claims = Self {
            store,
            book: Mutex::default(),
        };
        let found = claims.read()?;
        Ok((claims, found))
    }

    /// Reads them once more, after rows were built anew.
    fn read(&self) -> Result<Found, ClaimsError> {
        let opened = ClaimBook::open(&*self.store, &mut SumHasher::default())?;
        let found = Found {
            is_damaged: !opened.damaged.is_empty() || !opened.unprovable.is_empty(),
            is_incomplete: opened.incomplete,
        };
        if found != Found::default() {
            let (damaged, unprovable) = (opened.damaged.len(), opened.unprovable.len());
            warn!(
                damaged,
                unprovable, "rows of claims are damaged or missing: they are built anew"
            );
        }
        *self.book.lock() = opened.book;
        Ok(found)
    }

    /// Whether a chunk is in a claim that is not over, or in the one that is sent next: then it must be kept. If that cannot be
    /// read, it is.
    pub fn is_claimed(&self, position: ChunkPosition) -> bool {
        let book = self.book.lock();
        let in_sent = book.covers(&*self.store, position).unwrap_or(true);
        in_sent || self.is_in_next(position)
    }

    fn is_in_next(&self, position: ChunkPosition) -> bool {
        match self.store.row(position.segment) {
            Ok(RowRead::Missing) => false,
            Ok(RowRead::Row(row)) => row.claimed().contains(position.index.0),
            Ok(RowRead::Damaged) | Err(_) => true,
        }
    }

    /// The claim that was sent last, unless its round is over.
    pub fn newest(&self) -> Option<SentClaim> {
        self.book.lock().sent().last().copied()
    }

    /// What would be claimed now.
    pub fn current(&self) -> Claim {
        self.book.lock().current()
    }

    /// Finds a drawn leaf of a claim that was sent.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn draw(&self, root: &Digest, leaf: u64) -> Result<Drawn, ClaimError<StoreError>> {
        let book = self.book.lock().clone();
        book.draw(&*self.store, root, leaf, &mut SumHasher::default())
    }

    /// The way from a chunk to a claim that was sent; `None` if that does not claim the chunk.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn path(&self, root: &Digest, position: ChunkPosition) -> Result<Option<SumPath>, ClaimError<StoreError>> {
        let book = self.book.lock().clone();
        book.path(&*self.store, root, position, &mut SumHasher::default())
    }

    /// Keeps the claim as it is now, durably, before it is sent for a round. `None` if nothing is claimed.
    fn seal(&self, round: u64) -> Result<Option<Claim>, ClaimsError> {
        let (claim, change) = {
            let book = self.book.lock();
            (book.current(), book.seal(round)?)
        };
        if claim.leaves == 0 {
            return Ok(None);
        }
        if let Some(change) = change {
            self.write(change, Durability::Synced)?;
        }
        Ok(Some(claim))
    }

    /// Forgets the claims for rounds before `round`.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn forget_before(&self, round: u64) -> Result<(), ClaimsError> {
        let change = self.book.lock().forget_before(round);
        match change {
            Some(change) => self.write(change, Durability::Buffered),
            None => Ok(()),
        }
    }

    /// Writes a change, then takes it in. Only the thread of the rounds changes claims.
    fn write(&self, change: Change, durability: Durability) -> Result<(), ClaimsError> {
        self.store.change_own(rows::changes(&change.batch)?, durability)?;
        Ok(self.book.lock().apply(change)?)
    }
}
