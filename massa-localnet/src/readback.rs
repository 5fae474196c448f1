//! Reads archived periods back, place by place, and verifies them down to signatures.
//!
//! Each place is read from a node that holds none of the chunks its block is in, where there is one: that node has to
//! fetch it from the others. Nothing that a node says is believed: the period root is the one that all nodes computed,
//! the manifest has to have it, the proof has to lead to it, and ids and signatures are recomputed.

use crate::client::{ClientError, NodeClient};
use crate::node::Node;
use crate::survey::{PeriodSurvey, Survey};
use crate::wait::wait_for;
use massa_api_exports::distributed_storage::{ArchiveProof, ArchivedBlockInfo, ArchivedPlace};
use massa_client::archive::check_proof::{check_document, CheckProofError, Proven};
use massa_distributed_storage_exports::manifest::{Manifest, ManifestError, Place};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::verification::{verify_block, VerifyBlockError};
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How long a place is asked for: a node may be busy, or wait for a holder that just went away.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);

/// Which nodes a place is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// One that need not hold it, in turn.
    One,
    /// Every one.
    All,
}

/// What was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Blocks that were read and verified.
    pub blocks: u64,
    /// Their operations.
    pub operations: u64,
    /// Missed slots whose proof was read and verified.
    pub misses: u64,
    /// Blocks and misses that could not be read or verified, and why.
    pub failures: Vec<Failure>,
}

/// A place that could not be read or verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The place.
    pub slot: Slot,
    /// The node that was asked.
    pub node: String,
    /// What went wrong.
    pub reason: String,
}

/// A chain whose archive is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its id.
    pub chain_id: u64,
    /// Its threads.
    pub thread_count: u8,
    /// Bytes of a chunk.
    pub chunk_size: u32,
}

/// What is known of a place before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedPlace {
    /// The place.
    pub slot: Slot,
    /// The block there, or `None` for a miss.
    pub block: Option<BlockId>,
    /// Root of the period.
    pub root: PeriodRoot,
}

/// Why a place is not what it has to be.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The node did not answer, or could not.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no proof yet.
    #[error("no proof: {0}")]
    NoProof(String),
    /// The block and its operations do not fit.
    #[error("block: {0}")]
    Record(#[from] RecordError),
    /// An id or a signature is wrong.
    #[error("block: {0}")]
    Block(#[from] VerifyBlockError),
    /// The proof is wrong.
    #[error("proof: {}", chain(.0))]
    Proof(#[from] CheckProofError),
    /// The answer is of something else.
    #[error("{field}: expected {expected}, found {found}")]
    Other {
        /// The field.
        field: &'static str,
        /// What it has to be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl PlaceError {
    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Client(_) | Self::NoProof(_))
    }
}

/// Why the manifest of a period cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PeriodError {
    /// The node did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is no manifest.
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// It is the manifest of something else.
    #[error("manifest: expected root {expected}, found {found}")]
    Root {
        /// The root that all nodes computed.
        expected: PeriodRoot,
        /// The root of the manifest.
        found: PeriodRoot,
    },
}

/// Checks that `place` is what `expected` says, down to signatures. Gives the number of its operations.
///
/// # Errors
/// [`PlaceError`].
pub fn verify_place(place: &ArchivedPlace, expected: &ExpectedPlace, of: &Chain) -> Result<u64, PlaceError> {
    match place {
        ArchivedPlace::Block(info) => verify_archived_block(info, expected, of),
        ArchivedPlace::Miss(info) => {
            same("slot", expected.slot, info.slot)?;
            let proven = proven(&info.proof, expected, of)?;
            same("kind of proof", "miss", proven.kind)?;
            same_block(expected.block, None)?;
            Ok(0)
        }
    }
}

fn verify_archived_block(info: &ArchivedBlockInfo, expected: &ExpectedPlace, of: &Chain) -> Result<u64, PlaceError> {
    same("slot", expected.slot, info.slot)?;
    same_block(expected.block, Some(info.block_id))?;
    let operations: Vec<Vec<u8>> = info.operations.iter().map(|operation| operation.0.clone()).collect();
    let record = BlockRecord::new(&info.block.0, &operations)?;
    let verified = verify_block(&record, of.chain_id, of.thread_count)?;
    same_block(expected.block, Some(verified.block().id))?;
    same(
        "slot of the header",
        expected.slot,
        verified.block().content.header.content.slot,
    )?;
    let proven = proven(&info.proof, expected, of)?;
    same("kind of proof", "block", proven.kind)?;
    same_block(expected.block, proven.block_id)?;
    Ok(verified.operations().len() as u64)
}

/// Checks a proof up to the segment root, and that it is of the expected place under the expected period root.
fn proven(proof: &ArchiveProof, expected: &ExpectedPlace, of: &Chain) -> Result<Proven, PlaceError> {
    let Some(document) = &proof.proof else {
        let why = proof.why_no_proof.clone();
        return Err(PlaceError::NoProof(
            why.unwrap_or_else(|| "the node does not say why".into()),
        ));
    };
    same(
        "period root",
        expected.root,
        PeriodRoot::from_bytes(document.period.root.0),
    )?;
    let proven = check_document(document, &SegmentRoot::from_bytes(document.segment_root.0))?;
    same("chain of the proof", of.chain_id, proven.chain_id)?;
    same("period of the proof", expected.slot.period, proven.period)?;
    let thread = proven.thread.map_or_else(|| "none".into(), |thread| thread.to_string());
    same("thread of the proof", expected.slot.thread.to_string(), thread)?;
    Ok(proven)
}

fn same<T: PartialEq + std::fmt::Display>(field: &'static str, expected: T, found: T) -> Result<(), PlaceError> {
    if expected == found {
        return Ok(());
    }
    Err(PlaceError::Other {
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

fn same_block(expected: Option<BlockId>, found: Option<BlockId>) -> Result<(), PlaceError> {
    let text = |block: Option<BlockId>| block.map_or_else(|| "a miss".into(), |id| id.to_string());
    same("block", text(expected), text(found))
}

/// A place to read, and the node to ask.
#[derive(Clone, Debug)]
struct Task {
    expected: ExpectedPlace,
    node: usize,
}

/// Reads every place of the surveyed periods from `nodes`, which are those of the survey in its order, all at once.
///
/// What is not read by `deadline` counts as failed.
pub fn read_back(nodes: &[&Node], survey: &Survey, of: &Chain, readers: Readers, deadline: Instant) -> ReadBack {
    let mut result = ReadBack::default();
    let mut tasks = Vec::new();
    for (period, surveyed) in &survey.periods {
        let node = nodes[*period as usize % nodes.len()];
        let manifest = wait_until(
            deadline,
            || manifest(node.client(), *period, surveyed.root),
            |error| matches!(error, PeriodError::Client(_)),
        );
        match manifest {
            Ok(manifest) => tasks.extend(tasks_of(*period, surveyed, &manifest, nodes.len(), of, readers)),
            Err(reason) => result.fail_period(*period, surveyed, node.name(), &reason),
        }
    }
    let parts = std::thread::scope(|scope| {
        let read = |(index, node): (usize, &&Node)| {
            let own: Vec<Task> = tasks.iter().filter(|task| task.node == index).cloned().collect();
            let (name, client) = (node.name().to_owned(), node.client().clone());
            scope.spawn(move || read_tasks(&name, &client, &own, of, deadline))
        };
        let threads: Vec<_> = nodes.iter().enumerate().map(read).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, ReadBack>| thread.join();
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    for part in parts {
        result.add(part.expect("reading and verifying does not panic"));
    }
    result
}

impl ReadBack {
    fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.operations += other.operations;
        self.misses += other.misses;
        self.failures.extend(other.failures);
    }

    /// Without a manifest nothing is known of the places: all of them failed.
    fn fail_period(&mut self, period: u64, surveyed: &PeriodSurvey, node: &str, reason: &str) {
        let places = surveyed.blocks + surveyed.misses;
        let failure = |thread| Failure {
            slot: Slot::new(period, thread),
            node: node.to_owned(),
            reason: reason.to_owned(),
        };
        self.failures
            .extend((0..u8::try_from(places).unwrap_or(u8::MAX)).map(failure));
    }
}

/// Operations of an archived period. Its manifest tells all but those of its last block, which is read.
///
/// # Errors
/// [`PeriodError`].
pub fn count_operations(client: &NodeClient, period: u64) -> Result<u64, PeriodError> {
    let manifest = Manifest::from_bytes(&client.archived_period(period)?.manifest.0)?;
    let (before, last) = operations_before_last(&manifest);
    let in_last = match last
        .map(|thread| client.archived_place(Slot::new(period, thread)))
        .transpose()?
    {
        Some(ArchivedPlace::Block(block)) => block.operations.len() as u64,
        Some(ArchivedPlace::Miss(_)) | None => 0,
    };
    Ok(before + in_last)
}

/// Operations of all blocks but the last, and the thread of the last.
fn operations_before_last(manifest: &Manifest) -> (u64, Option<u8>) {
    let mut result = (0, None);
    let mut blocks_before = 0;
    for (place, thread) in manifest.places.iter().zip(0..) {
        if let Place::Block { objects_before, .. } = place {
            result = (u64::from(objects_before.saturating_sub(blocks_before)), Some(thread));
            blocks_before += 1;
        }
    }
    result
}

fn manifest(client: &NodeClient, period: u64, expected: PeriodRoot) -> Result<Manifest, PeriodError> {
    let info = client.archived_period(period)?;
    let manifest = Manifest::from_bytes(&info.manifest.0)?;
    let found = manifest.root();
    if found != expected {
        return Err(PeriodError::Root { expected, found });
    }
    Ok(manifest)
}

fn tasks_of(
    period: u64,
    surveyed: &PeriodSurvey,
    manifest: &Manifest,
    nodes: usize,
    of: &Chain,
    readers: Readers,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (place, thread) in manifest.places.iter().zip(0..) {
        let expected = ExpectedPlace {
            slot: Slot::new(period, thread),
            block: place.block_id(),
            root: surveyed.root,
        };
        let turn = period as usize + usize::from(thread);
        let asked = match readers {
            Readers::All => (0..nodes).collect(),
            Readers::One => {
                let chunks = manifest.block_range(thread).map(|range| {
                    let size = u64::from(of.chunk_size);
                    range.start / size..range.end.div_ceil(size)
                });
                vec![reader_of(surveyed, chunks, nodes, turn)]
            }
        };
        tasks.extend(asked.into_iter().map(|node| Task { expected, node }));
    }
    tasks
}

/// The node that holds the fewest of these chunks; among those, the one whose turn it is.
fn reader_of(surveyed: &PeriodSurvey, chunks: Option<Range<u64>>, nodes: usize, turn: usize) -> usize {
    let chunks = chunks.unwrap_or(0..0);
    let holds = |node: &usize| {
        let held = chunks.clone().filter(|chunk| {
            let chunk = surveyed.chunks.get(*chunk as usize);
            chunk.is_some_and(|chunk| chunk.held_by.contains(node))
        });
        held.count()
    };
    let in_turn = (0..nodes).map(|offset| (turn + offset) % nodes);
    in_turn.min_by_key(holds).unwrap_or(0)
}

fn read_tasks(name: &str, client: &NodeClient, tasks: &[Task], of: &Chain, deadline: Instant) -> ReadBack {
    let mut result = ReadBack::default();
    for task in tasks {
        let read = || {
            let place = client.archived_place(task.expected.slot)?;
            verify_place(&place, &task.expected, of)
        };
        match wait_until(deadline, read, PlaceError::may_pass) {
            Ok(operations) if task.expected.block.is_some() => {
                result.blocks += 1;
                result.operations += operations;
            }
            Ok(_) => result.misses += 1,
            Err(reason) => result.failures.push(Failure {
                slot: task.expected.slot,
                node: name.to_owned(),
                reason,
            }),
        }
    }
    result
}

/// Tries until it works, fails for good, or time is up.
fn wait_until<T, E: Error>(
    deadline: Instant,
    mut attempt: impl FnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, String> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("no time was left to read it".into());
    }
    let waited = wait_for("an answer", left.min(PLACE_TIMEOUT), || match attempt() {
        Err(error) if may_pass(&error) => Err(error.to_string()),
        other => Ok(other),
    });
    let result = waited.map_err(|error| error.to_string())?;
    result.map_err(|error| error.to_string())
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::tests::view;
    use massa_api_exports::distributed_storage::ArchivedMissInfo;
    use massa_distributed_storage_exports::manifest::PeriodHeader;
    use massa_models::secure_share::Id;

    const OF: Chain = Chain {
        chain_id: 77,
        thread_count: 32,
        chunk_size: 65_536,
    };

    fn surveyed(held: [[bool; 2]; 3]) -> PeriodSurvey {
        let views = ["a", "b", "c"]
            .iter()
            .zip(held)
            .map(|(name, held)| view(name, &[(1, 7)], held));
        let survey = Survey::new(&views.collect::<Vec<_>>(), 1, 1);
        survey.periods[&1].clone()
    }

    #[test]
    fn a_block_is_read_from_the_node_that_holds_least_of_it() {
        let period = surveyed([[true, true], [true, false], [false, true]]);
        assert_eq!(reader_of(&period, Some(0..1), 3, 0), 2);
        assert_eq!(reader_of(&period, Some(1..2), 3, 0), 1);
        assert_eq!(reader_of(&period, Some(0..2), 3, 2), 2);
    }

    #[test]
    fn where_all_hold_it_nodes_take_turns() {
        let period = surveyed([[true; 2]; 3]);
        let readers = [0, 1, 2, 3].map(|turn| reader_of(&period, Some(0..2), 3, turn));
        assert_eq!(readers, [0, 1, 2, 0]);
        assert_eq!(reader_of(&period, None, 3, 1), 1);
    }

    fn expected() -> ExpectedPlace {
        ExpectedPlace {
            slot: Slot::new(5, 3),
            block: None,
            root: PeriodRoot::from_bytes([1; 32]),
        }
    }

    fn miss(slot: Slot) -> ArchivedPlace {
        ArchivedPlace::Miss(ArchivedMissInfo {
            slot,
            proof: ArchiveProof {
                proof: None,
                why_no_proof: Some("period 4 is not complete".into()),
            },
        })
    }

    #[test]
    fn what_has_no_proof_is_not_verified_but_may_be_later() {
        let error = verify_place(&miss(Slot::new(5, 3)), &expected(), &OF).unwrap_err();
        assert!(error.may_pass());
        assert_eq!(error.to_string(), "no proof: period 4 is not complete");
    }

    #[test]
    fn an_answer_of_another_place_is_refused_for_good() {
        let error = verify_place(&miss(Slot::new(5, 4)), &expected(), &OF).unwrap_err();
        assert!(!error.may_pass(), "{error}");
        assert!(error.to_string().starts_with("slot: expected"), "{error}");
    }

    #[test]
    fn a_manifest_tells_the_operations_of_all_blocks_but_the_last() {
        let id = BlockId::new(massa_hash::Hash::compute_from(b"block"));
        let block = |offset, objects_before| Place::Block {
            id,
            offset,
            objects_before,
        };
        let manifest = |places: Vec<Place>| Manifest {
            header: PeriodHeader {
                chain_id: 77,
                period: 1,
                threads: places.len() as u8,
                chunk_size: 65_536,
                body_length: 1,
                chunks: 1,
            },
            places,
            chunks: Vec::new(),
        };
        // A block with 4 operations, a miss, one with 2, the last.
        let places = vec![block(19, 0), Place::Miss, block(50, 5), block(90, 8), Place::Miss];
        assert_eq!(operations_before_last(&manifest(places)), (6, Some(3)));
        assert_eq!(operations_before_last(&manifest(vec![Place::Miss])), (0, None));
    }

    #[test]
    fn without_time_nothing_is_tried() {
        let tried = wait_until(
            Instant::now(),
            || -> Result<(), PlaceError> { panic!("it was tried") },
            PlaceError::may_pass,
        );
        assert!(tried.unwrap_err().contains("no time"));
    }
}
