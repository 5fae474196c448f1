//! Reads archived periods back, slot by slot, and verifies them down to signatures.
//!
//! Each slot is read from a node that does not hold the chunk in which its block begins, where there is one: that node has to
//! fetch it from the others. Nothing that a node says is believed: the roots are those that all nodes computed, what the slots
//! are has to be proven by them, each proof has to lead to them, and ids and signatures are recomputed. A proof leads to the root
//! of the segment once every node closed it, until then to the root of the period.

use crate::client::{ClientError, NodeClient};
use crate::node::Node;
use crate::survey::{PeriodSurvey, Survey};
use crate::wait::wait_for;
use massa_api_exports::distributed_storage::{ArchiveProof, ArchivedBlockInfo, ArchivedPeriodInfo, ArchivedSlot};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::segment_proof::check::{check, CheckError, Proven, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::{State, Subject};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::verification::{verify_block, VerifyBlockError};
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::error::Error;
use std::time::{Duration, Instant};

/// How long a slot is asked for: a node may be busy, or wait for a holder that just went away.
const SLOT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a missed slot in the entry that a period's bytes begin with.
const MISS_ENTRY_BYTES: u64 = 1;
/// Bytes of a slot with a block there: 01, id, offset.
const BLOCK_ENTRY_BYTES: u64 = 1 + 33 + 4;
/// Bytes of a length, and of a count of operations.
const LENGTH_BYTES: usize = 4;

/// Which nodes a slot is read from.
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
    /// Blocks that the periods have, as their proofs say.
    pub blocks_proven: u64,
    /// Missed slots that the periods have, likewise.
    pub misses_proven: u64,
    /// Blocks that were read and verified.
    pub blocks: u64,
    /// Those of them that were read from a node that does not hold the chunk in which they begin.
    pub fetched: u64,
    /// Their operations.
    pub operations: u64,
    /// Missed slots whose proof was read and verified.
    pub misses: u64,
    /// Blocks of lost periods whose proof was read and verified.
    pub lost: u64,
    /// Blocks and misses that could not be read or verified, and why.
    pub failures: Vec<Failure>,
}

/// A slot that could not be read or verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The slot.
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

/// Roots that all nodes agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Of the period.
    pub period: PeriodRoot,
    /// Of the segment, if every node closed it.
    pub segment: Option<SegmentRoot>,
}

impl Roots {
    fn trusted(&self) -> TrustedRoot {
        self.segment
            .map_or(TrustedRoot::Period(self.period), TrustedRoot::Segment)
    }
}

/// What is known of a slot before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedSlot {
    /// The slot.
    pub slot: Slot,
    /// The block there, or `None` for a miss.
    pub block: Option<BlockId>,
    /// Whether the period is lost: nobody has the block.
    pub is_lost: bool,
    /// Where proofs have to lead.
    pub roots: Roots,
}

/// Why a slot or a period is not what it has to be.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
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
    Proof(#[from] CheckError),
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

impl SlotError {
    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Client(_) | Self::NoProof(_))
    }
}

/// Checks that `answer` is what `expected` says, down to signatures. Gives the number of its operations.
///
/// # Errors
/// [`SlotError`].
pub fn verify_slot(answer: &ArchivedSlot, expected: &ExpectedSlot, of: &Chain) -> Result<u64, SlotError> {
    match answer {
        ArchivedSlot::Block(info) => verify_archived_block(info, expected, of),
        ArchivedSlot::Miss(info) => {
            same("slot", expected.slot, info.slot)?;
            proven("miss", &info.proof, expected, of)?;
            same_block(expected.block, None)?;
            Ok(0)
        }
        ArchivedSlot::Lost(info) => {
            same("slot", expected.slot, info.slot)?;
            same("whether it is lost", expected.is_lost, true)?;
            same_block(expected.block, Some(info.block_id))?;
            let proven = proven("lost", &info.proof, expected, of)?;
            same_block(expected.block, proven.block_id)?;
            Ok(0)
        }
    }
}

fn verify_archived_block(info: &ArchivedBlockInfo, expected: &ExpectedSlot, of: &Chain) -> Result<u64, SlotError> {
    same("slot", expected.slot, info.slot)?;
    same_block(expected.block, Some(info.block_id))?;
    let operations: Vec<Vec<u8>> = info.operations.iter().map(|operation| operation.0.clone()).collect();
    let record = BlockRecord::new(&info.block.0, &operations)?;
    let verified = verify_block(&record, of.chain_id, of.thread_count)?;
    let block = verified.block();
    same_block(expected.block, Some(block.id))?;
    same("slot of the header", expected.slot, block.content.header.content.slot)?;
    let proven = proven("block", &info.proof, expected, of)?;
    same_block(expected.block, proven.block_id)?;
    Ok(verified.operations().len() as u64)
}

/// Checks a proof of something of this kind up to the root that is trusted, and that it is of the expected slot.
fn proven(kind: &'static str, proof: &ArchiveProof, expected: &ExpectedSlot, of: &Chain) -> Result<Proven, SlotError> {
    let proven = proven_in_period(proof, expected.slot.period, &expected.roots, of)?;
    same("kind of proof", kind, proven.kind)?;
    let thread = proven.thread.map_or_else(|| "none".into(), |thread| thread.to_string());
    same("thread of the proof", expected.slot.thread.to_string(), thread)?;
    Ok(proven)
}

/// Checks a proof of something of a period.
fn proven_in_period(proof: &ArchiveProof, period: u64, roots: &Roots, of: &Chain) -> Result<Proven, SlotError> {
    let Some(document) = &proof.proof else {
        let why = proof.why_no_proof.clone();
        return Err(SlotError::NoProof(
            why.unwrap_or_else(|| "the node does not say why".into()),
        ));
    };
    let proven = check(document, &roots.trusted())?;
    let text = |found: Option<String>| found.unwrap_or_else(|| "none".into());
    let root = text(proven.period_root.map(|root| root.to_string()));
    same("period root", roots.period.to_string(), root)?;
    same("chain of the proof", of.chain_id, proven.chain_id)?;
    let found = text(proven.period.map(|period| period.to_string()));
    same("period of the proof", period.to_string(), found)?;
    Ok(proven)
}

/// What a node says of a period, proven: the block of each thread, and whether the period is lost.
///
/// # Errors
/// [`SlotError`].
pub fn verify_period(
    info: &ArchivedPeriodInfo,
    period: u64,
    roots: &Roots,
    of: &Chain,
) -> Result<(Vec<Option<BlockId>>, bool), SlotError> {
    same("period", period, info.period)?;
    let proven = proven_in_period(&info.proof, period, roots, of)?;
    same("kind of proof", "period", proven.kind)?;
    let document = info.proof.proof.as_ref();
    let slots = document.and_then(|document| match &document.subject {
        Subject::Period(subject) => Some(&subject.slots),
        _ => None,
    });
    let is_lost = document
        .and_then(|document| document.period.as_ref())
        .is_some_and(|part| part.state == State::Lost);
    // `check` said that it is of a period.
    let slots = slots.cloned().unwrap_or_default();
    same("slots", usize::from(of.thread_count), slots.len())?;
    for (proven, told) in slots.iter().zip(&info.slots) {
        same_block(*proven, *told)?;
    }
    Ok((slots, is_lost))
}

fn same<T: PartialEq + std::fmt::Display>(field: &'static str, expected: T, found: T) -> Result<(), SlotError> {
    if expected == found {
        return Ok(());
    }
    Err(SlotError::Other {
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

fn same_block(expected: Option<BlockId>, found: Option<BlockId>) -> Result<(), SlotError> {
    let text = |block: Option<BlockId>| block.map_or_else(|| "a miss".into(), |id| id.to_string());
    same("block", text(expected), text(found))
}

/// Reads every slot of the surveyed periods from `nodes`, which are those of the survey in its order; as many periods at once as
/// there are nodes.
///
/// What is not read by `deadline` counts as failed.
pub fn read_back(nodes: &[&Node], survey: &Survey, of: &Chain, readers: Readers, deadline: Instant) -> ReadBack {
    let reader = Reader {
        nodes,
        survey,
        of,
        readers,
        deadline,
    };
    let mut result = ReadBack::default();
    let parts = std::thread::scope(|scope| {
        let share = |turn: usize| {
            let own = survey.periods.iter().skip(turn).step_by(nodes.len());
            let reader = &reader;
            scope.spawn(move || {
                let mut result = ReadBack::default();
                own.for_each(|(period, surveyed)| reader.read_period(*period, surveyed, &mut result));
                result
            })
        };
        let threads: Vec<_> = (0..nodes.len()).map(share).collect();
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
        self.blocks_proven += other.blocks_proven;
        self.misses_proven += other.misses_proven;
        self.blocks += other.blocks;
        self.fetched += other.fetched;
        self.operations += other.operations;
        self.misses += other.misses;
        self.lost += other.lost;
        self.failures.extend(other.failures);
    }

    fn fail(&mut self, slot: Slot, node: &str, reason: String) {
        let node = node.to_owned();
        self.failures.push(Failure { slot, node, reason });
    }
}

/// What all threads that read share.
struct Reader<'a> {
    nodes: &'a [&'a Node],
    survey: &'a Survey,
    of: &'a Chain,
    readers: Readers,
    deadline: Instant,
}

impl Reader<'_> {
    /// Reads a period slot by slot, in the order in which the blocks stand in its bytes: so the chunk is known in which each
    /// begins.
    fn read_period(&self, period: u64, surveyed: &PeriodSurvey, result: &mut ReadBack) {
        let segment = self.survey.segments.get(&surveyed.segment);
        let closed = segment.filter(|segment| segment.is_closed(self.nodes.len()));
        let roots = Roots {
            period: surveyed.root,
            segment: closed.and_then(|segment| segment.root),
        };
        let asked = self.nodes[period as usize % self.nodes.len()];
        let attempt = || verify_period(&asked.client().archived_period(period)?, period, &roots, self.of);
        let (slots, is_lost) = match wait_until(self.deadline, attempt) {
            Ok(proven) => proven,
            // Nothing is known of the slots: all of them failed.
            Err(reason) => {
                let slots = (0..self.of.thread_count).map(|thread| Slot::new(period, thread));
                return slots.for_each(|slot| result.fail(slot, asked.name(), reason.clone()));
            }
        };
        let mut offset = self.body_offset(period, surveyed) + entry_length(&slots);
        for (block, thread) in slots.into_iter().zip(0..) {
            let expected = ExpectedSlot {
                slot: Slot::new(period, thread),
                block,
                is_lost,
                roots,
            };
            match block {
                Some(_) => result.blocks_proven += 1,
                None => result.misses_proven += 1,
            }
            let chunk = block.and(u32::try_from(offset / u64::from(self.of.chunk_size)).ok());
            let holders = closed.zip(chunk).and_then(|(segment, chunk)| segment.holders(chunk));
            let turn = period as usize + usize::from(thread);
            for node in self.asked(holders, turn) {
                let Some(length) = self.read_slot(self.nodes[node], &expected, result) else {
                    continue;
                };
                result.fetched += u64::from(holders.is_some_and(|holders| !holders.contains(&node)));
                if self.is_counted(node, turn) {
                    offset += length;
                }
            }
        }
    }

    /// Where the bytes of a period begin in the body of its segment; about there, if not all periods before were looked at.
    fn body_offset(&self, period: u64, surveyed: &PeriodSurvey) -> u64 {
        let (first, _) = self.survey.span.periods_of(surveyed.segment);
        let bytes = |period| self.survey.periods.get(&period).map(|before| before.bytes);
        let before: Option<u64> = (first..period).map(bytes).sum();
        before.unwrap_or(u64::from(*surveyed.chunks.start()) * u64::from(self.of.chunk_size))
    }

    fn asked(&self, holders: Option<&[usize]>, turn: usize) -> Vec<usize> {
        match self.readers {
            Readers::All => (0..self.nodes.len()).collect(),
            Readers::One => vec![reader_of(holders, self.nodes.len(), turn)],
        }
    }

    /// A block that several nodes are asked for is one block of the period's bytes.
    fn is_counted(&self, node: usize, turn: usize) -> bool {
        match self.readers {
            Readers::All => node == turn % self.nodes.len(),
            Readers::One => true,
        }
    }

    /// Gives the bytes that the block takes in the period's bytes; `None` for a miss, and if it is not read.
    fn read_slot(&self, node: &Node, expected: &ExpectedSlot, result: &mut ReadBack) -> Option<u64> {
        match wait_until(self.deadline, || read_slot(node.client(), expected, self.of)) {
            Ok((ArchivedSlot::Block(block), operations)) => {
                result.blocks += 1;
                result.operations += operations;
                return Some(stored_length(&block));
            }
            Ok((ArchivedSlot::Miss(_), _)) => result.misses += 1,
            Ok((ArchivedSlot::Lost(_), _)) => result.lost += 1,
            Err(reason) => result.fail(expected.slot, node.name(), reason),
        }
        None
    }
}

fn read_slot(client: &NodeClient, expected: &ExpectedSlot, of: &Chain) -> Result<(ArchivedSlot, u64), SlotError> {
    let answer = client.archived_slot(expected.slot)?;
    let operations = verify_slot(&answer, expected, of)?;
    Ok((answer, operations))
}

/// Bytes of the entry that a whole period's bytes begin with.
fn entry_length(slots: &[Option<BlockId>]) -> u64 {
    let slot = |block: &Option<BlockId>| block.map_or(MISS_ENTRY_BYTES, |_| BLOCK_ENTRY_BYTES);
    1 + slots.iter().map(slot).sum::<u64>()
}

/// Bytes that a block and its operations take in the bytes of their period: without signatures, each after its length.
fn stored_length(block: &ArchivedBlockInfo) -> u64 {
    let object = |bytes: &[u8]| LENGTH_BYTES + bytes.len().saturating_sub(SIGNATURE_BYTES);
    let operations = block.operations.iter().map(|operation| object(&operation.0));
    (object(&block.block.0) + LENGTH_BYTES + operations.sum::<usize>()) as u64
}

/// A node that is not one of the holders; among those, and where all are or it is not known who is, the one whose turn it is.
fn reader_of(holders: Option<&[usize]>, nodes: usize, turn: usize) -> usize {
    let in_turn = (0..nodes).map(|offset| (turn + offset) % nodes);
    let holds = |node: &usize| holders.is_some_and(|holders| holders.contains(node));
    in_turn.min_by_key(holds).unwrap_or(0)
}

/// Tries until it works, fails for good, or time is up.
fn wait_until<T>(deadline: Instant, mut attempt: impl FnMut() -> Result<T, SlotError>) -> Result<T, String> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("no time was left to read it".into());
    }
    let waited = wait_for("an answer", left.min(SLOT_TIMEOUT), || match attempt() {
        Err(error) if error.may_pass() => Err(error.to_string()),
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
    use crate::survey::tests::{span, view};
    use crate::survey::SegmentSurvey;
    use massa_api_exports::distributed_storage::ArchivedMissInfo;
    use massa_models::secure_share::Id;

    const OF: Chain = Chain {
        chain_id: 77,
        thread_count: 32,
        chunk_size: 65_536,
    };

    fn surveyed(held: [[bool; 2]; 3]) -> SegmentSurvey {
        let views = ["a", "b", "c"].iter().zip(held);
        let views = views.map(|(name, held)| view(name, &[(0, 7), (1, 7)], held));
        let survey = Survey::new(&views.collect::<Vec<_>>(), span(0, 1));
        survey.segments[&0].clone()
    }

    #[test]
    fn a_block_is_read_from_a_node_that_does_not_hold_the_chunk_it_begins_in() {
        let segment = surveyed([[true, true], [true, false], [false, true]]);
        for turn in 0..3 {
            assert_eq!(reader_of(segment.holders(0), 3, turn), 2);
            assert_eq!(reader_of(segment.holders(1), 3, turn), 1);
        }
    }

    #[test]
    fn where_all_hold_it_or_the_segment_is_open_nodes_take_turns() {
        let segment = surveyed([[true; 2]; 3]);
        let turns = |holders| [0, 1, 2, 3].map(|turn| reader_of(holders, 3, turn));
        assert_eq!(turns(segment.holders(1)), [0, 1, 2, 0]);
        assert_eq!(turns(segment.holders(2)), [0, 1, 2, 0]);
        assert_eq!(turns(None), [0, 1, 2, 0]);
    }

    fn expected() -> ExpectedSlot {
        ExpectedSlot {
            slot: Slot::new(5, 3),
            block: None,
            is_lost: false,
            roots: Roots {
                period: PeriodRoot::from_bytes([1; 32]),
                segment: None,
            },
        }
    }

    fn miss(slot: Slot) -> ArchivedSlot {
        ArchivedSlot::Miss(ArchivedMissInfo {
            slot,
            proof: ArchiveProof {
                proof: None,
                why_no_proof: Some("period 4 is not complete".into()),
            },
        })
    }

    #[test]
    fn what_has_no_proof_is_not_verified_but_may_be_later() {
        let error = verify_slot(&miss(Slot::new(5, 3)), &expected(), &OF).unwrap_err();
        assert!(error.may_pass());
        assert_eq!(error.to_string(), "no proof: period 4 is not complete");
    }

    #[test]
    fn an_answer_of_another_slot_is_refused_for_good() {
        let error = verify_slot(&miss(Slot::new(5, 4)), &expected(), &OF).unwrap_err();
        assert!(!error.may_pass(), "{error}");
        assert!(error.to_string().starts_with("slot: expected"), "{error}");
    }

    #[test]
    fn an_entry_takes_a_byte_for_a_miss_and_38_for_a_block() {
        let id = BlockId::new(massa_hash::Hash::compute_from(b"block"));
        assert_eq!(entry_length(&[Some(id), None, Some(id)]), 1 + 38 + 1 + 38);
    }

    #[test]
    fn without_time_nothing_is_tried() {
        let tried = wait_until(Instant::now(), || -> Result<(), SlotError> { panic!("it was tried") });
        assert!(tried.unwrap_err().contains("no time"));
    }
}
