//! The claims of this node: the one that is kept up to date, and those that were sent and are not over.
//!
//! Nothing here writes. A change is *prepared* (what must be written), written by whoever owns the store together with what caused
//! it, and then *applied*; so a node that is killed in between has neither.
//!
//! Claims that were sent have ascending versions. A row that changes is first saved under the version of the newest sent claim,
//! unless it is saved there already. So claim v finds the row of a segment among the rows saved under v, else under the next newer
//! version, and so on, else where the current row is.

use crate::challenge::segment_claim::{ChunkSet, HeldChunk, RowError, SegmentRow, UpperTree};
use crate::challenge::sums::{Claim, SumHasher, SumNode, SumPath};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::{ChunkPosition, Digest, MAX_SEGMENTS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Claims that are not over at once: two rounds have one each, and a claim that was built and never executed is kept beside them.
const MAX_SENT: usize = 16;
/// Versions of one round.
const VERSIONS_PER_ROUND: u64 = 1 << 8;

/// A row as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowRead {
    /// There is none.
    Missing,
    /// There is one, and its checksum is wrong.
    Damaged,
    /// The row.
    Row(SegmentRow),
}

/// Where rows are: the store, or a map in tests.
pub trait ClaimStore {
    /// The database failed.
    type Error: std::error::Error + 'static;

    /// The current row of a segment.
    fn row(&self, segment: u64) -> Result<RowRead, Self::Error>;

    /// The row of a segment that was saved under a version.
    fn saved_row(&self, version: u64, segment: u64) -> Result<RowRead, Self::Error>;

    /// Visits every current row, ascending by segment.
    fn each_row(&self, visit: &mut dyn FnMut(u64, RowRead)) -> Result<(), Self::Error>;

    /// Visits every row saved under a version, ascending by segment.
    fn each_saved(&self, version: u64, visit: &mut dyn FnMut(u64, RowRead)) -> Result<(), Self::Error>;

    /// Claims that were sent and not forgotten, in any order.
    fn sent(&self) -> Result<Vec<SentClaim>, Self::Error>;

    /// [`ClaimBatch::current`] of the last batch; `None` before the first.
    fn current(&self) -> Result<Option<Claim>, Self::Error>;

    /// The table of a segment; `None` if this node has none.
    fn table(&self, segment: u64) -> Result<Option<Arc<SegmentTable>>, Self::Error>;
}

/// A claim that was sent, or is about to be. Serde form of this node's own store; [`SentClaim::VERSION`] goes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentClaim {
    /// Under which rows are saved that change after it. Ascending.
    pub version: u64,
    /// The round that is claimed.
    pub round: u64,
    /// What is claimed.
    pub claim: Claim,
}

impl SentClaim {
    /// Version of the serde form.
    pub const VERSION: u8 = 1;
}

/// Why claims cannot be changed or proven.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ClaimError<E: std::error::Error + 'static> {
    /// The database failed.
    #[error("claims could not be read")]
    Store(#[source] E),
    /// A row is damaged: its chunks are claimed, and cannot be proven until the row is built anew.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Only what is in a known segment can be claimed: a fault of the caller.
    #[error("segment {0} has no table here")]
    NoTable(u64),
    /// No such claim was sent, or its round is over.
    #[error("no claim with root {} is kept", hex::encode(.0))]
    UnknownClaim(Digest),
    /// The draw is beyond the claim.
    #[error("claimed leaf {leaf} was drawn, {leaves} are claimed")]
    BeyondClaim {
        /// The drawn leaf.
        leaf: u64,
        /// Leaves of the claim.
        leaves: u64,
    },
    /// Rows of the claim are damaged or missing since the start: see [`Opened::unprovable`].
    #[error("the claim with root {} cannot be proven: rows of it are damaged or missing", hex::encode(.0))]
    Unprovable(Digest),
}

/// Why a claim is not sealed: a fault of the caller.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Rounds are claimed in their order.
    #[error("round {round} cannot be claimed after round {last}")]
    RoundOrder {
        /// The round.
        round: u64,
        /// The newest that is claimed.
        last: u64,
    },
    /// Claims that are over were not forgotten.
    #[error("{MAX_SENT} claims are kept already")]
    TooMany,
}

/// Something else was applied since the change was prepared: a fault of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change was prepared for another state of the claim")]
pub struct StaleChange;

/// What a change writes, all at once, with what caused it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimBatch {
    /// Current rows, ascending; `None` deletes one.
    pub rows: Vec<(u64, Option<SegmentRow>)>,
    /// Rows saved under a version: version, segment, row.
    pub saved: Vec<(u64, u64, SegmentRow)>,
    /// A claim that will be sent.
    pub sent: Option<SentClaim>,
    /// Versions whose claim and saved rows are deleted.
    pub forgotten: Vec<u64>,
    /// Root and sum of all current rows: tells at the next start whether one is missing.
    pub current: Option<Claim>,
}

/// A change that is prepared, to be applied once its batch is written.
#[derive(Clone, Debug)]
pub struct Change {
    /// What must be written.
    pub batch: ClaimBatch,
    /// Segments whose row was damaged or missing and is built anew. Where it is not what it was, draws of claims that were sent
    /// will be missed there.
    pub rebuilt: Vec<u64>,
    base: Claim,
    upper: UpperTree,
}

/// A drawn leaf, found in a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The chunk.
    pub chunk: HeldChunk,
    /// Which of its leaves.
    pub leaf: u32,
    /// From the chunk to the claim.
    pub path: SumPath,
}

/// What was found when the claims were read.
#[derive(Debug)]
pub struct Opened {
    /// The claims.
    pub book: ClaimBook,
    /// Segments whose current row is damaged: [`ClaimBook::prepare`] builds it anew from what should be claimed there.
    pub damaged: Vec<u64>,
    /// The rows together are not what was written last: some are missing, or damaged. What should be claimed must be prepared for
    /// every segment, and the claims opened again. Until then a row that is not there is not taken for an empty one.
    pub incomplete: bool,
    /// Claims that were sent and have damaged or missing rows: some of their draws cannot be answered until these are built anew,
    /// and the claims are opened again.
    pub unprovable: Vec<SentClaim>,
}

/// The claims of this node.
#[derive(Clone, Debug, Default)]
pub struct ClaimBook {
    working: UpperTree,
    /// Ascending by version and round.
    sent: Vec<(SentClaim, UpperTree)>,
    /// Rows were missing when the claims were opened: that there is none says nothing.
    incomplete: bool,
}

impl ClaimBook {
    /// Reads every current row, and what was saved for claims that are not over.
    ///
    /// Costs about 16 hashes for each row and two for each segment.
    ///
    /// # Errors
    /// The database failed.
    pub fn open<S: ClaimStore>(store: &S, hasher: &mut SumHasher) -> Result<Opened, ClaimError<S::Error>> {
        let (mut nodes, mut damaged) = (Vec::new(), Vec::new());
        let read = store.each_row(&mut |segment, row| match row {
            RowRead::Row(row) if segment < MAX_SEGMENTS && row.is_sound(hasher) => nodes.push((segment, row.total())),
            _ => damaged.push(segment),
        });
        read.map_err(ClaimError::Store)?;
        let working = UpperTree::default().with(&nodes, hasher);
        let recorded = store.current().map_err(ClaimError::Store)?;
        let incomplete = recorded.is_some_and(|claim| claim != working.claim());
        let mut sent = store.sent().map_err(ClaimError::Store)?;
        sent.sort_unstable_by_key(|sent| sent.version);
        let mut book = Self {
            working,
            sent: Vec::new(),
            incomplete,
        };
        let mut unprovable = Vec::new();
        // Backwards: each claim is the one after it, with the rows that changed in between as they were.
        let mut tree = book.working.clone();
        for sent in sent.into_iter().rev() {
            tree = tree.with(&saved_nodes(store, sent.version, hasher)?, hasher);
            if tree.claim() != sent.claim {
                unprovable.push(sent);
            }
            book.sent.insert(0, (sent, tree.clone()));
        }
        Ok(Opened {
            book,
            damaged,
            incomplete,
            unprovable,
        })
    }

    /// What would be claimed now.
    pub fn current(&self) -> Claim {
        self.working.claim()
    }

    /// Claims that were sent and are not over, oldest first.
    pub fn sent(&self) -> impl Iterator<Item = &SentClaim> {
        self.sent.iter().map(|(sent, _)| sent)
    }

    /// Prepares other chunks for some segments: all that shall be claimed of each of them.
    ///
    /// May be done in slices of segments. A segment whose chunks are the same costs one row read and the hashes over its groups; another
    /// one those of what differs, and 24.
    ///
    /// # Errors
    /// [`ClaimError::Store`], [`ClaimError::NoTable`], [`ClaimError::Row`] for a chunk that is not in its segment's table.
    pub fn prepare<S: ClaimStore>(
        &self,
        store: &S,
        wanted: &BTreeMap<u64, ChunkSet>,
        hasher: &mut SumHasher,
    ) -> Result<Change, ClaimError<S::Error>> {
        let mut change = self.unchanged();
        let mut nodes = Vec::new();
        for (segment, claimed) in wanted {
            let known = self.sound_row(store, *segment, hasher)?;
            if known.as_ref().is_some_and(|row| row.claimed() == claimed) {
                continue;
            }
            let table = store.table(*segment).map_err(ClaimError::Store)?;
            let table = table.ok_or(ClaimError::NoTable(*segment))?;
            let row = known.clone().unwrap_or_default();
            let row = row.changed(claimed.clone(), &table, hasher)?;
            self.keep_old(store, *segment, known, &mut change)?;
            nodes.push((*segment, row.total()));
            change.batch.rows.push((*segment, (!row.is_empty()).then_some(row)));
        }
        change.upper = self.working.with(&nodes, hasher);
        change.batch.current = Some(change.upper.claim());
        Ok(change)
    }

    /// Prepares the claim for a round as it is now, to be kept before it is sent; `None` if the newest claim is this one already.
    /// Costs no hash.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, round: u64) -> Result<Option<Change>, SealError> {
        let claim = self.working.claim();
        let newest = self.sent.last().map(|(sent, _)| sent);
        if let Some(last) = newest {
            if last.round > round {
                let last = last.round;
                return Err(SealError::RoundOrder { round, last });
            }
            if last.round == round && last.claim == claim {
                return Ok(None);
            }
        }
        if self.sent.len() >= MAX_SENT {
            return Err(SealError::TooMany);
        }
        let first = round.saturating_mul(VERSIONS_PER_ROUND);
        let version = newest.map_or(first, |last| first.max(last.version + 1));
        let mut change = self.unchanged();
        change.batch.sent = Some(SentClaim { version, round, claim });
        Ok(Some(change))
    }

    /// Prepares to forget the claims of rounds before `round`; `None` if there are none.
    pub fn forget_before(&self, round: u64) -> Option<Change> {
        let over = self.sent().take_while(|sent| sent.round < round);
        let forgotten: Vec<u64> = over.map(|sent| sent.version).collect();
        let mut change = self.unchanged();
        change.batch.forgotten = forgotten;
        (!change.batch.forgotten.is_empty()).then_some(change)
    }

    /// Takes in a change whose batch is written.
    ///
    /// # Errors
    /// [`StaleChange`].
    pub fn apply(&mut self, change: Change) -> Result<(), StaleChange> {
        if change.base != self.working.claim() {
            return Err(StaleChange);
        }
        self.working = change.upper;
        self.sent
            .retain(|(sent, _)| !change.batch.forgotten.contains(&sent.version));
        if let Some(sent) = change.batch.sent {
            self.sent.push((sent, self.working.clone()));
        }
        Ok(())
    }

    /// Finds a drawn leaf of the sent claim with this root, and its way to the root.
    ///
    /// Reads one row and one table, and as many rows that may be saved as claims were sent since. Costs at most 1 022 hashes.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn draw<S: ClaimStore>(
        &self,
        store: &S,
        root: &Digest,
        leaf: u64,
        hasher: &mut SumHasher,
    ) -> Result<Drawn, ClaimError<S::Error>> {
        let (at, tree) = self.sent_as(root)?;
        let leaves = tree.claim().leaves;
        let found = tree.find(leaf);
        let (segment, rest) = found.ok_or(ClaimError::BeyondClaim { leaf, leaves })?;
        let (row, table) = self.provable_row(store, at, segment)?;
        let (chunk, leaf, mut path) = row.find(rest, &table, hasher)?;
        tree.continue_path(segment, &mut path);
        Ok(Drawn { chunk, leaf, path })
    }

    /// The way from a chunk to the sent claim with this root; `None` if that does not claim the chunk.
    ///
    /// Costs as much as [`ClaimBook::draw`].
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn path<S: ClaimStore>(
        &self,
        store: &S,
        root: &Digest,
        position: ChunkPosition,
        hasher: &mut SumHasher,
    ) -> Result<Option<SumPath>, ClaimError<S::Error>> {
        let (at, tree) = self.sent_as(root)?;
        if tree.segment(position.segment).is_empty() {
            return Ok(None);
        }
        let (row, table) = self.provable_row(store, at, position.segment)?;
        if !row.claimed().contains(position.index.0) {
            return Ok(None);
        }
        let mut path = row.path(position.index.0, &table, hasher)?;
        tree.continue_path(position.segment, &mut path);
        Ok(Some(path))
    }

    /// Whether a claim that was sent and is not over covers a chunk: it must not be dropped. Reads a row for each claim.
    ///
    /// # Errors
    /// [`ClaimError::Store`].
    pub fn covers<S: ClaimStore>(&self, store: &S, position: ChunkPosition) -> Result<bool, ClaimError<S::Error>> {
        for (at, (_, tree)) in self.sent.iter().enumerate() {
            if tree.segment(position.segment).is_empty() {
                continue;
            }
            // What a damaged row covered is not known: rather keep a chunk too many.
            let covers = match self.row_under(store, at, position.segment)? {
                RowRead::Row(row) => row.claimed().contains(position.index.0),
                RowRead::Missing | RowRead::Damaged => true,
            };
            if covers {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn unchanged(&self) -> Change {
        let base = self.working.claim();
        Change {
            batch: ClaimBatch {
                current: Some(base),
                ..ClaimBatch::default()
            },
            rebuilt: Vec::new(),
            base,
            upper: self.working.clone(),
        }
    }

    /// The current row of a segment, if it is what the tree has; an empty one if nothing is claimed there. `None`: it is lost.
    fn sound_row<S: ClaimStore>(
        &self,
        store: &S,
        segment: u64,
        hasher: &mut SumHasher,
    ) -> Result<Option<SegmentRow>, ClaimError<S::Error>> {
        let node = self.working.segment(segment);
        let row = match store.row(segment).map_err(ClaimError::Store)? {
            RowRead::Row(row) => row,
            RowRead::Missing if !self.incomplete => SegmentRow::default(),
            RowRead::Missing | RowRead::Damaged => return Ok(None),
        };
        Ok((row.total() == node && row.is_sound(hasher)).then_some(row))
    }

    /// Saves the row that another takes the place of, if a claim that was sent needs it.
    fn keep_old<S: ClaimStore>(
        &self,
        store: &S,
        segment: u64,
        old: Option<SegmentRow>,
        change: &mut Change,
    ) -> Result<(), ClaimError<S::Error>> {
        let Some(old) = old else {
            change.rebuilt.push(segment);
            return Ok(());
        };
        let Some((newest, _)) = self.sent.last() else {
            return Ok(());
        };
        let saved = store.saved_row(newest.version, segment).map_err(ClaimError::Store)?;
        if saved == RowRead::Missing {
            change.batch.saved.push((newest.version, segment, old));
        }
        Ok(())
    }

    /// The sent claim with this root.
    fn sent_as<E: std::error::Error>(&self, root: &Digest) -> Result<(usize, &UpperTree), ClaimError<E>> {
        let at = self.sent.iter().rposition(|(sent, _)| sent.claim.root == *root);
        let at = at.ok_or(ClaimError::UnknownClaim(*root))?;
        let (sent, tree) = &self.sent[at];
        if tree.claim() != sent.claim {
            return Err(ClaimError::Unprovable(*root));
        }
        Ok((at, tree))
    }

    /// The row of a claimed segment as the sent claim at `at` has it, if it is what the tree has; and the segment's table.
    fn provable_row<S: ClaimStore>(
        &self,
        store: &S,
        at: usize,
        segment: u64,
    ) -> Result<(SegmentRow, Arc<SegmentTable>), ClaimError<S::Error>> {
        let RowRead::Row(row) = self.row_under(store, at, segment)? else {
            return Err(RowError::Damaged(segment).into());
        };
        if row.total() != self.sent[at].1.segment(segment) {
            return Err(RowError::Damaged(segment).into());
        }
        let table = store.table(segment).map_err(ClaimError::Store)?;
        Ok((row, table.ok_or(ClaimError::NoTable(segment))?))
    }

    /// The row of a segment as the sent claim at `at` has it.
    fn row_under<S: ClaimStore>(&self, store: &S, at: usize, segment: u64) -> Result<RowRead, ClaimError<S::Error>> {
        for (sent, _) in &self.sent[at..] {
            let saved = store.saved_row(sent.version, segment).map_err(ClaimError::Store)?;
            if saved != RowRead::Missing {
                return Ok(saved);
            }
        }
        store.row(segment).map_err(ClaimError::Store)
    }
}

/// The nodes of the rows saved under a version, without damaged ones.
fn saved_nodes<S: ClaimStore>(
    store: &S,
    version: u64,
    hasher: &mut SumHasher,
) -> Result<Vec<(u64, SumNode)>, ClaimError<S::Error>> {
    let mut nodes = Vec::new();
    let read = store.each_saved(version, &mut |segment, row| {
        if let RowRead::Row(row) = row {
            if segment < MAX_SEGMENTS && row.is_sound(hasher) {
                nodes.push((segment, row.total()));
            }
        }
    });
    read.map_err(ClaimError::Store)?;
    Ok(nodes)
}
