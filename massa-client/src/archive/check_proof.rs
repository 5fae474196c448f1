//! `massa-cli archive check-proof`: whether a proof leads to a segment root.
//!
//! The root comes from somewhere the reader trusts; nothing else is. Every statement of the document is recomputed: a
//! document with one changed byte is refused.

use crate::output::{count, name_value_lines, Report};
use clap::Args;
use massa_distributed_storage_exports::manifest::{ChunkEntry, PeriodLeaf};
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::proof_document::{
    BlockSubject, ChunkPart, HexBytes, LostSubject, MissSubject, OperationSubject, Path, PeriodSubject, ProofDocument,
    Subject, FORMAT,
};
use massa_distributed_storage_exports::record::{operation_id, BlockRecord, RecordError, MAX_RECORD_BYTES};
use massa_distributed_storage_exports::types::{Digest, SIGNATURE_BYTES};
use massa_distributed_storage_exports::verification::{
    parse_secure_share_block, parse_secure_share_operation, verify_block, VerifyBlockError,
};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, MerkleProof, ProofError, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Bytes of a document at most: a record twice over, as each byte has two digits, and as much again for the rest.
const DOCUMENT_BYTES_MAX: u64 = 4 * MAX_RECORD_BYTES as u64;

/// Arguments of `archive check-proof`.
#[derive(Debug, Args)]
pub struct CheckProofArguments {
    /// The proof, or - for standard input.
    pub file: PathBuf,
    /// The segment root that is trusted: 64 hexadecimal digits.
    #[arg(long, value_name = "ROOT")]
    pub root: SegmentRoot,
}

/// Why a proof is refused.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CheckProofError {
    /// The file could not be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No proof is that large.
    #[error("the proof has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a proof, or one with fields of another kind.
    #[error("not a proof")]
    Document(#[from] serde_json::Error),
    /// A format of another version.
    #[error("proof format {found:?} is unknown, this version reads {FORMAT:?}")]
    Format {
        /// Format of the document.
        found: String,
    },
    /// The proof leads to another root than the trusted one.
    #[error("the proof is for root {stated}, not for {trusted}")]
    OtherRoot {
        /// Root of the document.
        stated: SegmentRoot,
        /// The trusted root.
        trusted: SegmentRoot,
    },
    /// A path does not lead where it should.
    #[error("{path}: refused")]
    Path {
        /// Which path.
        path: &'static str,
        /// Why.
        source: ProofError,
    },
    /// A field is not what follows from the others.
    #[error("{field}: stated {stated}, found {found}")]
    Field {
        /// The field.
        field: &'static str,
        /// What the document says.
        stated: String,
        /// What follows from the rest of it.
        found: String,
    },
    /// The block's bytes are not a block with these operations, or a signature is invalid.
    #[error("block: refused")]
    Block(#[from] VerifyBlockError),
    /// The operation's bytes are not an operation, or its signature is invalid.
    #[error("operation: {0}")]
    Operation(String),
}

impl From<RecordError> for CheckProofError {
    fn from(error: RecordError) -> Self {
        CheckProofError::Block(error.into())
    }
}

/// What a document proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// Always true: whatever is refused is an error.
    pub valid: bool,
    /// What kind of thing is proven: `block`, `miss`, `operation`, `lost` or `period`.
    pub kind: &'static str,
    /// The chain.
    pub chain_id: u64,
    /// The period.
    pub period: u64,
    /// Thread of the slot, unless it is a whole period.
    pub thread: Option<u8>,
    /// The block.
    pub block_id: Option<BlockId>,
    /// Operations of the block that the document holds, all of them verified.
    pub operations: Option<usize>,
    /// The operation.
    pub operation_id: Option<OperationId>,
    /// Its position in the block.
    pub operation_index: Option<u32>,
    /// The segment.
    pub segment: u64,
    /// Its first period.
    pub segment_first_period: u64,
    /// Periods that the root covers.
    pub segment_periods: u32,
    /// The trusted root.
    pub segment_root: SegmentRoot,
}

impl Report for Proven {
    fn text(&self) -> String {
        let mut lines = vec![("proven", self.statement())];
        lines.extend(self.block_id.map(|id| ("block", id.to_string())));
        lines.extend(self.operation_id.map(|id| ("operation", id.to_string())));
        let last = self.segment_first_period + u64::from(self.segment_periods) - 1;
        let segment = format!("{}, periods {} to {last}", self.segment, self.segment_first_period);
        lines.extend([
            ("chain id", self.chain_id.to_string()),
            ("segment", segment),
            ("root", self.segment_root.to_string()),
        ]);
        name_value_lines(lines)
    }
}

impl Proven {
    fn statement(&self) -> String {
        let slot = self
            .thread
            .map_or_else(String::new, |thread| format!("{}:{thread}", self.period));
        match (self.kind, self.operations, self.operation_index) {
            ("miss", ..) => format!("slot {slot} was missed"),
            ("operation", _, Some(index)) => format!("operation {index} of the block of slot {slot}"),
            ("lost", ..) => format!("block of slot {slot}, lost with its period"),
            ("period", ..) => format!("places and chunks of period {}", self.period),
            (_, Some(operations), _) => {
                let operations = count(operations as u64, "operation", "operations");
                format!("block of slot {slot}, with its {operations}")
            }
            _ => format!("block of slot {slot}, without its operations"),
        }
    }
}

/// Checks the proof in a file.
///
/// # Errors
/// [`CheckProofError`].
pub fn check_proof(arguments: &CheckProofArguments) -> Result<Proven, CheckProofError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut input: Box<dyn Read> = if arguments.file.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&arguments.file)?)
        };
        let mut text = Vec::new();
        input.by_ref().take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|source| CheckProofError::Read {
        path: arguments.file.clone(),
        source,
    })?;
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(CheckProofError::TooLarge);
    }
    check(&text, &arguments.root)
}

/// Checks a document.
///
/// # Errors
/// [`CheckProofError`].
pub fn check(text: &[u8], trusted: &SegmentRoot) -> Result<Proven, CheckProofError> {
    check_document(&serde_json::from_slice(text)?, trusted)
}

/// Checks a document that was read already.
///
/// # Errors
/// [`CheckProofError`].
pub fn check_document(document: &ProofDocument, trusted: &SegmentRoot) -> Result<Proven, CheckProofError> {
    if document.format != FORMAT {
        let found = document.format.clone();
        return Err(CheckProofError::Format { found });
    }
    if document.segment_root.0 != *trusted.as_bytes() {
        return Err(CheckProofError::OtherRoot {
            stated: SegmentRoot::from_bytes(document.segment_root.0),
            trusted: *trusted,
        });
    }
    check_frame(document)?;
    let mut proven = frame(document);
    match &document.subject {
        Subject::Block(subject) => check_block(document, subject, &mut proven)?,
        Subject::Miss(subject) => check_miss(document, subject, &mut proven)?,
        Subject::Operation(subject) => check_operation(document, subject, &mut proven)?,
        Subject::Lost(subject) => check_lost(document, subject, &mut proven)?,
        Subject::Period(subject) => check_period(document, subject, &mut proven)?,
    }
    Ok(proven)
}

/// What is known before the subject is looked at.
fn frame(document: &ProofDocument) -> Proven {
    Proven {
        valid: true,
        kind: "",
        chain_id: document.chain_id,
        period: document.period.period,
        thread: None,
        block_id: None,
        operations: None,
        operation_id: None,
        operation_index: None,
        segment: document.segment.segment,
        segment_first_period: document.segment.first_period,
        segment_periods: document.segment.periods,
        segment_root: SegmentRoot::from_bytes(document.segment_root.0),
    }
}

/// Checks the shapes of segment and period, and that the period is in the segment.
fn check_frame(document: &ProofDocument) -> Result<(), CheckProofError> {
    let (segment, period) = (&document.segment, &document.period);
    let root = &document.segment_root.0;
    let segment_header = segment.header_leaf(document.chain_id).hash();
    follow("segment.header_path", &segment.header_path, segment_header, root)?;
    follow("period.path", &period.path, period.leaf().hash(), root)?;
    let period_header = period.header_leaf(document.chain_id, document.thread_count).hash();
    follow("period.header_path", &period.header_path, period_header, &period.root.0)?;
    let position = period.period.checked_sub(segment.first_period);
    if !position.is_some_and(|position| position < u64::from(segment.periods)) {
        let found = format!("{} periods from {}", segment.periods, segment.first_period);
        return Err(differs("period.period", period.period, found));
    }
    Ok(())
}

fn check_block(document: &ProofDocument, subject: &BlockSubject, proven: &mut Proven) -> Result<(), CheckProofError> {
    let BlockSubject { thread, block_id, .. } = *subject;
    check_place(document, thread, Some(block_id), &subject.leaf, &subject.path)?;
    let operations = subject.operations.as_ref();
    match operations {
        Some(operations) => {
            let operations: Vec<Vec<u8>> = operations.iter().map(|bytes| bytes.0.clone()).collect();
            let record = BlockRecord::new(&subject.block.0, &operations)?;
            verify_block(&record, document.chain_id, document.thread_count)?;
            check_identity(document, thread, block_id, &record)?;
        }
        None => check_block_alone(document, thread, block_id, &subject.block).map(drop)?,
    }
    proven.kind = "block";
    proven.thread = Some(thread);
    proven.block_id = Some(block_id);
    proven.operations = operations.map(Vec::len);
    Ok(())
}

fn check_miss(document: &ProofDocument, subject: &MissSubject, proven: &mut Proven) -> Result<(), CheckProofError> {
    check_place(document, subject.thread, None, &subject.leaf, &subject.path)?;
    proven.kind = "miss";
    proven.thread = Some(subject.thread);
    Ok(())
}

fn check_lost(document: &ProofDocument, subject: &LostSubject, proven: &mut Proven) -> Result<(), CheckProofError> {
    check_place(
        document,
        subject.thread,
        Some(subject.block_id),
        &subject.leaf,
        &subject.path,
    )?;
    // The shape was led to the period root: a period without chunks is a lost one.
    if document.period.chunks != 0 {
        return Err(differs(
            "subject.kind",
            "lost",
            format!("{} chunks", document.period.chunks),
        ));
    }
    proven.kind = "lost";
    proven.thread = Some(subject.thread);
    proven.block_id = Some(subject.block_id);
    Ok(())
}

fn check_operation(
    document: &ProofDocument,
    subject: &OperationSubject,
    proven: &mut Proven,
) -> Result<(), CheckProofError> {
    let OperationSubject { thread, block_id, .. } = *subject;
    check_place(document, thread, Some(block_id), &subject.leaf, &subject.path)?;
    let block = check_block_alone(document, thread, block_id, &subject.block)?;
    let listed = block
        .view(document.thread_count)?
        .operation_ids()
        .nth(subject.index as usize);
    if listed != Some(subject.operation_id) {
        let found = listed.map_or_else(|| "no such operation in the block".to_string(), |id| id.to_string());
        return Err(differs("subject.operation_id", subject.operation_id, found));
    }
    check_operation_bytes(document.chain_id, subject)?;
    proven.kind = "operation";
    proven.thread = Some(thread);
    proven.block_id = Some(block_id);
    proven.operation_id = Some(subject.operation_id);
    proven.operation_index = Some(subject.index);
    Ok(())
}

fn check_operation_bytes(chain_id: u64, subject: &OperationSubject) -> Result<(), CheckProofError> {
    let operation = parse_secure_share_operation(&subject.operation.0, chain_id).map_err(CheckProofError::Operation)?;
    let found = operation_id(&subject.operation.0[SIGNATURE_BYTES..], chain_id);
    if found != subject.operation_id {
        return Err(differs("subject.operation", subject.operation_id, found));
    }
    let signature = operation.verify_signature();
    signature.map_err(|_| CheckProofError::Operation(format!("operation {found} has an invalid signature")))
}

fn check_period(document: &ProofDocument, subject: &PeriodSubject, proven: &mut Proven) -> Result<(), CheckProofError> {
    let period = &document.period;
    let (places, chunks) = (subject.places.len(), subject.chunks.len());
    if places != usize::from(document.thread_count) {
        return Err(differs(
            "thread_count",
            document.thread_count,
            format!("{places} places"),
        ));
    }
    if chunks as u64 != u64::from(period.chunks) {
        return Err(differs("period.chunks", period.chunks, format!("{chunks} chunks")));
    }
    let place = |(block, thread): (&Option<BlockId>, u8)| PeriodLeaf::Place { thread, block: *block };
    let chunk = |(part, index): (&ChunkPart, u32)| PeriodLeaf::Chunk {
        index: ChunkIndex(index),
        entry: ChunkEntry {
            length: part.length,
            id: ChunkId::from_bytes(part.id.0),
        },
    };
    let header = period.header_leaf(document.chain_id, document.thread_count);
    let places = subject.places.iter().zip(0..).map(place);
    let chunks = subject.chunks.iter().zip(0..).map(chunk);
    let leaves = std::iter::once(header).chain(places).chain(chunks);
    let found = root_of_hashes(leaves.map(|leaf| leaf.hash()).collect());
    if found != period.root.0 {
        return Err(differs("period.root", hex::encode(period.root.0), hex::encode(found)));
    }
    proven.kind = "period";
    Ok(())
}

/// Checks that the period has `block` (or a miss) in `thread`.
fn check_place(
    document: &ProofDocument,
    thread: u8,
    block: Option<BlockId>,
    stated: &HexBytes,
    path: &Path,
) -> Result<(), CheckProofError> {
    let leaf = PeriodLeaf::Place { thread, block };
    let bytes = leaf.to_bytes();
    if stated.0 != bytes {
        return Err(differs("subject.leaf", hex::encode(&stated.0), hex::encode(bytes)));
    }
    follow("subject.path", path, leaf.hash(), &document.period.root.0)
}

/// Checks a block of which no operations are given: id, slot, list of operations, the header's signature.
fn check_block_alone(
    document: &ProofDocument,
    thread: u8,
    block_id: BlockId,
    bytes: &HexBytes,
) -> Result<BlockRecord, CheckProofError> {
    let record = BlockRecord::new(&bytes.0, &[])?;
    check_identity(document, thread, block_id, &record)?;
    record.view(document.thread_count)?.check_operation_root()?;
    let block = parse_secure_share_block(&bytes.0, document.chain_id, document.thread_count)
        .map_err(|reason| VerifyBlockError::Block { block_id, reason })?;
    let signature = block.content.header.verify_signature();
    signature.map_err(|_| VerifyBlockError::HeaderSignature(block_id))?;
    Ok(record)
}

/// Checks that the bytes are the block with this id, of this place.
fn check_identity(
    document: &ProofDocument,
    thread: u8,
    block_id: BlockId,
    record: &BlockRecord,
) -> Result<(), CheckProofError> {
    let view = record.view(document.thread_count)?;
    if view.block_id() != block_id {
        return Err(differs("subject.block_id", block_id, view.block_id()));
    }
    let stated = Slot::new(document.period.period, thread);
    if view.slot != stated {
        return Err(differs("subject.block", stated, view.slot));
    }
    Ok(())
}

fn follow(name: &'static str, path: &Path, leaf: Digest, root: &Digest) -> Result<(), CheckProofError> {
    let verified = MerkleProof::from(path).verify(leaf, root);
    verified.map_err(|source| CheckProofError::Path { path: name, source })
}

fn differs(field: &'static str, stated: impl ToString, found: impl ToString) -> CheckProofError {
    CheckProofError::Field {
        field,
        stated: stated.to_string(),
        found: found.to_string(),
    }
}
