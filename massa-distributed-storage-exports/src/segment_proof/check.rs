//! Whether a proof leads to a root that is trusted.
//!
//! The root comes from somewhere the reader trusts; nothing else is. Every statement of the document is recomputed: a document with
//! one changed byte is refused. No file, no network: for the command line, a gateway, a browser.

use super::{
    BlockSubject, ChunkSubject, HexBytes, LostSubject, MissSubject, OperationSubject, Path, PeriodPart, PeriodSubject,
    ProofDocument, SegmentPart, State, Subject, FORMAT,
};
use crate::entry::{header_leaf_hash, SlotLeaf};
use crate::merkle::{root_of_hashes, MerkleProof, ProofError};
use crate::record::{operation_id, BlockRecord, RecordError};
use crate::types::{Digest, PeriodRoot, SegmentRoot, SIGNATURE_BYTES};
use crate::verification::{parse_secure_share_block, parse_secure_share_operation, verify_block, VerifyBlockError};
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::Serialize;

/// What the reader trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedRoot {
    /// Root of a closed segment.
    Segment(SegmentRoot),
    /// Root of a period whose segment is open.
    Period(PeriodRoot),
}

/// Why a proof is refused.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
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
        stated: String,
        /// The trusted root.
        trusted: String,
    },
    /// The proof ends at a period root, and a segment root is trusted.
    #[error("the proof ends at the root of period {period}: its segment was open when it was made. Ask for it again, or check it with --period-root")]
    OpenSegment {
        /// The period.
        period: u64,
    },
    /// A part that the subject needs is absent, or one that it cannot have is there.
    #[error("{0} is absent, or does not belong to this subject")]
    Part(&'static str),
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

impl From<RecordError> for CheckError {
    fn from(error: RecordError) -> Self {
        CheckError::Block(error.into())
    }
}

/// What a document proves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// Always true: whatever is refused is an error.
    pub valid: bool,
    /// What kind of thing is proven: `block`, `miss`, `operation`, `lost`, `period` or `chunk`.
    pub kind: &'static str,
    /// The chain.
    pub chain_id: u64,
    /// The period; `None` for a chunk.
    pub period: Option<u64>,
    /// Thread of the slot, unless it is a whole period or a chunk.
    pub thread: Option<u8>,
    /// The block.
    pub block_id: Option<BlockId>,
    /// Operations of the block that the document holds, all of them verified.
    pub operations: Option<usize>,
    /// The operation.
    pub operation_id: Option<OperationId>,
    /// Its position in the block.
    pub operation_index: Option<u32>,
    /// Number of the chunk in its segment.
    pub chunk: Option<u32>,
    /// The segment; `None` while it is open.
    pub segment: Option<ProvenSegment>,
    /// The root of the period; `None` for a chunk.
    pub period_root: Option<PeriodRoot>,
}

/// The segment that a proof leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvenSegment {
    /// Its number.
    pub segment: u64,
    /// Its first period.
    pub first_period: u64,
    /// Its periods.
    pub periods: u32,
    /// The trusted root.
    pub root: SegmentRoot,
}

/// Checks a document.
///
/// # Errors
/// [`CheckError`].
pub fn check(document: &ProofDocument, trusted: &TrustedRoot) -> Result<Proven, CheckError> {
    if document.format != FORMAT {
        let found = document.format.clone();
        return Err(CheckError::Format { found });
    }
    check_root(document, trusted)?;
    let mut proven = Proven {
        valid: true,
        chain_id: document.chain_id,
        ..Proven::default()
    };
    if let Some(segment) = &document.segment {
        check_segment(document, segment)?;
        proven.segment = Some(ProvenSegment {
            segment: segment.segment,
            first_period: segment.first_period,
            periods: segment.periods,
            root: SegmentRoot::from_bytes(segment.root.0),
        });
    }
    if let Subject::Chunk(subject) = &document.subject {
        check_chunk(document, subject, &mut proven)?;
        return Ok(proven);
    }
    let period = document.period.as_ref().ok_or(CheckError::Part("period"))?;
    let frame = Frame { document, period };
    frame.check()?;
    proven.period = Some(period.period);
    proven.period_root = Some(PeriodRoot::from_bytes(period.root.0));
    match &document.subject {
        Subject::Block(subject) => frame.check_block(subject, &mut proven)?,
        Subject::Miss(subject) => frame.check_miss(subject, &mut proven)?,
        Subject::Operation(subject) => frame.check_operation(subject, &mut proven)?,
        Subject::Lost(subject) => frame.check_lost(subject, &mut proven)?,
        Subject::Period(subject) => frame.check_period(subject, &mut proven)?,
        Subject::Chunk(_) => return Err(CheckError::Part("subject")),
    }
    Ok(proven)
}

/// The document ends in the root that is trusted.
fn check_root(document: &ProofDocument, trusted: &TrustedRoot) -> Result<(), CheckError> {
    let (stated, trusted): (Digest, Digest) = match (trusted, &document.segment, &document.period) {
        (TrustedRoot::Segment(root), Some(segment), _) => (segment.root.0, root.to_bytes()),
        (TrustedRoot::Segment(_), None, Some(period)) => {
            return Err(CheckError::OpenSegment { period: period.period });
        }
        (TrustedRoot::Period(root), _, Some(period)) => (period.root.0, root.to_bytes()),
        (TrustedRoot::Segment(_), None, None) => return Err(CheckError::Part("segment")),
        (TrustedRoot::Period(_), _, None) => return Err(CheckError::Part("period")),
    };
    if stated == trusted {
        return Ok(());
    }
    Err(CheckError::OtherRoot {
        stated: hex::encode(stated),
        trusted: hex::encode(trusted),
    })
}

/// The shape of the segment, and that the period is in it.
fn check_segment(document: &ProofDocument, segment: &SegmentPart) -> Result<(), CheckError> {
    let root = &segment.root.0;
    let header = segment.header_leaf(document.chain_id, document.thread_count).hash();
    follow("segment.header_path", &segment.header_path, header, root)?;
    match (&document.period, &segment.period) {
        (None, None) => Ok(()),
        (Some(period), Some(inside)) => {
            let leaf = segment.period_leaf(period).ok_or(CheckError::Part("segment.period"))?;
            follow("segment.period.path", &inside.path, leaf.hash(), root)
        }
        _ => Err(CheckError::Part("segment.period")),
    }
}

fn check_chunk(document: &ProofDocument, subject: &ChunkSubject, proven: &mut Proven) -> Result<(), CheckError> {
    let segment = document.segment.as_ref().ok_or(CheckError::Part("segment"))?;
    if document.period.is_some() {
        return Err(CheckError::Part("period"));
    }
    follow("subject.path", &subject.path, subject.leaf().hash(), &segment.root.0)?;
    proven.kind = "chunk";
    proven.chunk = Some(subject.index);
    Ok(())
}

/// A document about a period.
struct Frame<'a> {
    document: &'a ProofDocument,
    period: &'a PeriodPart,
}

impl Frame<'_> {
    /// The shape of the period.
    fn check(&self) -> Result<(), CheckError> {
        let leaf = self.header_leaf();
        follow(
            "period.header_path",
            &self.period.header_path,
            leaf,
            &self.period.root.0,
        )
    }

    fn header_leaf(&self) -> Digest {
        let state = self.period.state.into();
        header_leaf_hash(
            self.document.chain_id,
            self.period.period,
            self.document.thread_count,
            state,
        )
    }

    fn check_block(&self, subject: &BlockSubject, proven: &mut Proven) -> Result<(), CheckError> {
        let BlockSubject { thread, block_id, .. } = *subject;
        self.check_is(State::Whole)?;
        self.check_slot(thread, Some(block_id), &subject.leaf, &subject.path)?;
        let operations = subject.operations.as_ref();
        match operations {
            Some(operations) => {
                let operations: Vec<Vec<u8>> = operations.iter().map(|bytes| bytes.0.clone()).collect();
                let record = BlockRecord::new(&subject.block.0, &operations)?;
                verify_block(&record, self.document.chain_id, self.document.thread_count)?;
                self.check_identity(thread, block_id, &record)?;
            }
            None => self.check_block_alone(thread, block_id, &subject.block).map(drop)?,
        }
        proven.kind = "block";
        proven.thread = Some(thread);
        proven.block_id = Some(block_id);
        proven.operations = operations.map(Vec::len);
        Ok(())
    }

    fn check_miss(&self, subject: &MissSubject, proven: &mut Proven) -> Result<(), CheckError> {
        self.check_slot(subject.thread, None, &subject.leaf, &subject.path)?;
        proven.kind = "miss";
        proven.thread = Some(subject.thread);
        Ok(())
    }

    fn check_lost(&self, subject: &LostSubject, proven: &mut Proven) -> Result<(), CheckError> {
        self.check_is(State::Lost)?;
        self.check_slot(subject.thread, Some(subject.block_id), &subject.leaf, &subject.path)?;
        proven.kind = "lost";
        proven.thread = Some(subject.thread);
        proven.block_id = Some(subject.block_id);
        Ok(())
    }

    fn check_operation(&self, subject: &OperationSubject, proven: &mut Proven) -> Result<(), CheckError> {
        let OperationSubject { thread, block_id, .. } = *subject;
        self.check_is(State::Whole)?;
        self.check_slot(thread, Some(block_id), &subject.leaf, &subject.path)?;
        let block = self.check_block_alone(thread, block_id, &subject.block)?;
        let view = block.view(self.document.thread_count)?;
        let listed = view.operation_ids().nth(subject.index as usize);
        if listed != Some(subject.operation_id) {
            let found = listed.map_or_else(|| "no such operation in the block".to_string(), |id| id.to_string());
            return Err(differs("subject.operation_id", subject.operation_id, found));
        }
        check_operation_bytes(self.document.chain_id, subject)?;
        proven.kind = "operation";
        proven.thread = Some(thread);
        proven.block_id = Some(block_id);
        proven.operation_id = Some(subject.operation_id);
        proven.operation_index = Some(subject.index);
        Ok(())
    }

    fn check_period(&self, subject: &PeriodSubject, proven: &mut Proven) -> Result<(), CheckError> {
        let slots = subject.slots.len();
        if slots != usize::from(self.document.thread_count) {
            let stated = self.document.thread_count;
            return Err(differs("thread_count", stated, format!("{slots} slots")));
        }
        let leaf = |(block, thread): (&Option<BlockId>, u8)| SlotLeaf { thread, block: *block }.hash();
        let leaves = subject.slots.iter().zip(0..).map(leaf);
        let found = root_of_hashes(std::iter::once(self.header_leaf()).chain(leaves).collect());
        if found != self.period.root.0 {
            let stated = hex::encode(self.period.root.0);
            return Err(differs("period.root", stated, hex::encode(found)));
        }
        proven.kind = "period";
        Ok(())
    }

    fn check_is(&self, state: State) -> Result<(), CheckError> {
        if self.period.state == state {
            return Ok(());
        }
        let stated = format!("{:?}", self.period.state).to_lowercase();
        Err(differs("period.state", stated, format!("{state:?}").to_lowercase()))
    }

    /// Checks that the period has `block` (or a miss) in `thread`.
    fn check_slot(&self, thread: u8, block: Option<BlockId>, stated: &HexBytes, path: &Path) -> Result<(), CheckError> {
        let leaf = SlotLeaf { thread, block };
        let bytes = leaf.to_bytes();
        if stated.0 != bytes {
            return Err(differs("subject.leaf", hex::encode(&stated.0), hex::encode(bytes)));
        }
        follow("subject.path", path, leaf.hash(), &self.period.root.0)
    }

    /// Checks a block of which no operations are given: id, slot, list of operations, the header's signature.
    fn check_block_alone(&self, thread: u8, block_id: BlockId, bytes: &HexBytes) -> Result<BlockRecord, CheckError> {
        let record = BlockRecord::new(&bytes.0, &[])?;
        self.check_identity(thread, block_id, &record)?;
        record.view(self.document.thread_count)?.check_operation_root()?;
        let block = parse_secure_share_block(&bytes.0, self.document.chain_id, self.document.thread_count)
            .map_err(|reason| VerifyBlockError::Block { block_id, reason })?;
        let signature = block.content.header.verify_signature();
        signature.map_err(|_| VerifyBlockError::HeaderSignature(block_id))?;
        Ok(record)
    }

    /// Checks that the bytes are the block with this id, of this slot.
    fn check_identity(&self, thread: u8, block_id: BlockId, record: &BlockRecord) -> Result<(), CheckError> {
        let view = record.view(self.document.thread_count)?;
        if view.block_id() != block_id {
            return Err(differs("subject.block_id", block_id, view.block_id()));
        }
        let stated = Slot::new(self.period.period, thread);
        if view.slot != stated {
            return Err(differs("subject.block", stated, view.slot));
        }
        Ok(())
    }
}

fn check_operation_bytes(chain_id: u64, subject: &OperationSubject) -> Result<(), CheckError> {
    let operation = parse_secure_share_operation(&subject.operation.0, chain_id).map_err(CheckError::Operation)?;
    let found = operation_id(&subject.operation.0[SIGNATURE_BYTES..], chain_id);
    if found != subject.operation_id {
        return Err(differs("subject.operation", subject.operation_id, found));
    }
    let signature = operation.verify_signature();
    signature.map_err(|_| CheckError::Operation(format!("operation {found} has an invalid signature")))
}

fn follow(name: &'static str, path: &Path, leaf: Digest, root: &Digest) -> Result<(), CheckError> {
    let verified = MerkleProof::from(path).verify(leaf, root);
    verified.map_err(|source| CheckError::Path { path: name, source })
}

fn differs(field: &'static str, stated: impl ToString, found: impl ToString) -> CheckError {
    CheckError::Field {
        field,
        stated: stated.to_string(),
        found: found.to_string(),
    }
}
