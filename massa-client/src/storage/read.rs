//! `massa-cli storage get-period`, `get-block` and `get-operation`: what a node read from the archive, checked here.

use crate::archive::list_segments::ListedState;
use crate::archive::period::{ArchivePart, ChunkLine, PeriodReport, SlotLine, SlotState};
use crate::archive::show::{BlockReport, Checked, OperationReport, Standing};
use crate::archive::slot_text;
use crate::node::{Node, NodeCommandError};
use crate::output::{name_value_lines, Output, Report};
use crate::storage::{FormArguments, GetBlockArguments, GetOperationArguments, GetPeriodArguments};
use massa_api_exports::distributed_storage::{
    ArchiveProof, ArchivedBlockInfo, ArchivedLostInfo, ArchivedMissInfo, ArchivedOperationInfo, ArchivedPeriodInfo,
    ArchivedSlot, BlockOrSlot, PeriodState,
};
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_exports::record::{operation_id, BlockRecord};
use massa_distributed_storage_exports::segment_proof::check::{check, Proven, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::HexBytes;
use massa_distributed_storage_exports::segment_proof::{ProofDocument, Subject};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::verification::{
    parse_secure_share_block, parse_secure_share_operation, verify_block, VerifiedBlock, VerifyBlockError,
};
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::Serialize;

/// What the proof that came with a thing proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProofLine {
    /// The segment that the proof leads to; nothing while that is open.
    pub proven_segment: Option<u64>,
    /// Its root.
    pub segment_root: Option<SegmentRoot>,
    /// The root of the period, if there is a proof.
    pub period_root: Option<PeriodRoot>,
    /// Whether the root that the proof ends at is the one that was given as trusted; else it is the node's own word.
    pub root_trusted: bool,
    /// Why there is no proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_no_proof: Option<String>,
}

impl ProofLine {
    fn text(&self) -> String {
        let whose = if self.root_trusted {
            "the trusted one"
        } else {
            "the node's word; --root or --period-root checks another"
        };
        let lines = match (
            self.proven_segment,
            self.segment_root,
            self.period_root,
            &self.why_no_proof,
        ) {
            (Some(segment), Some(root), ..) => {
                vec![
                    ("proven", format!("segment {segment}")),
                    ("root", format!("{root}, {whose}")),
                ]
            }
            (_, _, Some(root), _) => vec![
                ("proven", "the period: its segment is open".to_string()),
                ("root", format!("{root}, {whose}")),
            ],
            (.., Some(why)) => vec![("proof", format!("none: {}", crate::output::unbroken(why)))],
            _ => vec![("proof", "none".to_string())],
        };
        name_value_lines(lines)
    }
}

/// A block of the archive, checked.
#[derive(Clone, Debug, Serialize)]
pub struct StorageBlock {
    /// The block.
    #[serde(flatten)]
    pub block: BlockReport,
    /// What is proven.
    #[serde(flatten)]
    pub proof: ProofLine,
}

/// What the archive has at a slot, checked.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StorageSlot {
    /// A block.
    Block(Box<StorageBlock>),
    /// A missed slot.
    Miss {
        /// The slot.
        slot: Slot,
        /// What is proven.
        #[serde(flatten)]
        proof: ProofLine,
    },
    /// A block of a lost period.
    Lost {
        /// The slot.
        slot: Slot,
        /// The block.
        block_id: BlockId,
        /// What is proven.
        #[serde(flatten)]
        proof: ProofLine,
    },
}

impl Report for StorageSlot {
    fn text(&self) -> String {
        match self {
            StorageSlot::Block(found) => format!("{}\n{}", found.block.text(), found.proof.text()),
            StorageSlot::Miss { slot, proof } => format!("slot {} was missed\n{}", slot_text(*slot), proof.text()),
            StorageSlot::Lost { slot, block_id, proof } => format!(
                "block {block_id} of slot {} is lost: only its id is known\n{}",
                slot_text(*slot),
                proof.text()
            ),
        }
    }
}

/// An operation of the archive, checked.
#[derive(Clone, Debug, Serialize)]
pub struct StorageOperation {
    /// The operation.
    #[serde(flatten)]
    pub operation: OperationReport,
    /// What is proven.
    #[serde(flatten)]
    pub proof: ProofLine,
}

impl Report for StorageOperation {
    fn text(&self) -> String {
        format!("{}\n{}", self.operation.text(), self.proof.text())
    }
}

/// A period of the archive, checked.
#[derive(Clone, Debug, Serialize)]
pub struct StoragePeriodReport {
    /// The period.
    #[serde(flatten)]
    pub period: PeriodReport,
    /// Whether the registry accepted its segment's root, as the node says.
    pub anchored: bool,
    /// What is proven.
    #[serde(flatten)]
    pub proof: ProofLine,
}

impl Report for StoragePeriodReport {
    fn text(&self) -> String {
        let anchored = if self.anchored {
            "anchored  yes, the node says\n"
        } else {
            ""
        };
        format!("{}\n{anchored}{}", self.period.text(), self.proof.text())
    }
}

/// The chain that the answers are of, as the node tells it.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    pub(super) chain_id: u64,
    thread_count: u8,
}

pub(super) fn chain_of(node: &Node) -> Result<Chain, NodeCommandError> {
    let status = node.call(|client| client.get_status())?;
    Ok(Chain {
        chain_id: status.chain_id,
        thread_count: status.config.thread_count,
    })
}

/// Shows a block or a miss.
pub(super) fn block(arguments: &GetBlockArguments, node: &Node, output: Output) -> Result<(), NodeCommandError> {
    let (id, slot) = (arguments.id.map(BlockOrSlot::Id), arguments.slot.map(BlockOrSlot::Slot));
    let asked = id.or(slot).expect("clap asks for an id or a slot");
    let chain = chain_of(node)?;
    match node.call(|client| client.get_archived_block(asked))? {
        ArchivedSlot::Block(info) => show_block(arguments, asked, chain, info, output),
        ArchivedSlot::Miss(info) => show_miss(arguments, asked, chain, info, output),
        ArchivedSlot::Lost(info) => show_lost(arguments, asked, chain, info, output),
    }
}

fn show_block(
    arguments: &GetBlockArguments,
    asked: BlockOrSlot,
    chain: Chain,
    info: ArchivedBlockInfo,
    output: Output,
) -> Result<(), NodeCommandError> {
    let (record, verified) = verify_record(&info.block, &info.operations, chain)?;
    let block = verified.block();
    let (id, slot) = (block.id, block.content.header.content.slot);
    check_asked(asked, Some(id), slot)?;
    let proven = check_proof(&info.proof, &arguments.form, chain)?;
    check_proven(proven.as_ref(), "block", slot, Some(id))?;
    if arguments.raw {
        let objects = if arguments.with_operations {
            record.operation_count() + 1
        } else {
            1
        };
        return Ok(output.write(record.objects().take(objects))?);
    }
    if arguments.registry_proof {
        return print_registry_proof(&info.proof, output);
    }
    if arguments.form.proof {
        return print_proof(info.proof, output);
    }
    let operations = arguments.with_operations.then(|| verified.operations().to_vec());
    let standing = (standing(proven.as_ref()), checked(proven.as_ref()));
    let report = BlockReport::new(block.clone(), &record, standing, operations);
    let proof = proof_line(proven.as_ref(), &info.proof, &arguments.form);
    Ok(output.print(&StorageSlot::Block(Box::new(StorageBlock { block: report, proof })))?)
}

fn show_miss(
    arguments: &GetBlockArguments,
    asked: BlockOrSlot,
    chain: Chain,
    info: ArchivedMissInfo,
    output: Output,
) -> Result<(), NodeCommandError> {
    let (slot, form) = (info.slot, &arguments.form);
    check_asked(asked, None, slot)?;
    let proven = check_proof(&info.proof, form, chain)?;
    check_proven(proven.as_ref(), "miss", slot, None)?;
    if arguments.raw {
        return Err(NodeCommandError::Missed { slot });
    }
    if arguments.registry_proof {
        return print_registry_proof(&info.proof, output);
    }
    if form.proof {
        return print_proof(info.proof, output);
    }
    let proof = proof_line(proven.as_ref(), &info.proof, form);
    Ok(output.print(&StorageSlot::Miss { slot, proof })?)
}

fn show_lost(
    arguments: &GetBlockArguments,
    asked: BlockOrSlot,
    chain: Chain,
    info: ArchivedLostInfo,
    output: Output,
) -> Result<(), NodeCommandError> {
    let ArchivedLostInfo { slot, block_id, proof } = info;
    check_asked(asked, Some(block_id), slot)?;
    let proven = check_proof(&proof, &arguments.form, chain)?;
    check_proven(proven.as_ref(), "lost", slot, Some(block_id))?;
    if arguments.raw {
        return Err(NodeCommandError::Lost { block_id, slot });
    }
    if arguments.registry_proof {
        return print_registry_proof(&proof, output);
    }
    if arguments.form.proof {
        return print_proof(proof, output);
    }
    let proof = proof_line(proven.as_ref(), &proof, &arguments.form);
    Ok(output.print(&StorageSlot::Lost { slot, block_id, proof })?)
}

/// Shows an operation.
pub(super) fn operation(
    arguments: &GetOperationArguments,
    node: &Node,
    output: Output,
) -> Result<(), NodeCommandError> {
    let chain = chain_of(node)?;
    let info = node.call(|client| client.get_archived_operation(arguments.id))?;
    check_operation(&info, &arguments.id, chain)?;
    let proven = check_proof(&info.proof, &arguments.form, chain)?;
    check_proven(proven.as_ref(), "operation", info.slot, Some(info.block_id))?;
    if let Some(proven) = &proven {
        equal("proof.operation_id", Some(arguments.id), proven.operation_id)?;
        equal("proof.operation_index", Some(info.index), proven.operation_index)?;
    }
    if arguments.raw {
        return Ok(output.write([&info.operation.0[..]])?);
    }
    if arguments.form.proof {
        return print_proof(info.proof, output);
    }
    let parsed = parse_secure_share_operation(&info.operation.0, chain.chain_id);
    let report = OperationReport {
        operation_id: arguments.id,
        block_id: info.block_id,
        slot: info.slot,
        index: info.index,
        standing: standing(proven.as_ref()),
        checked: checked(proven.as_ref()),
        operation: parsed.map_err(|reason| unreadable("operation", reason))?,
        operation_hex: hex::encode(&info.operation.0),
    };
    let proof = proof_line(proven.as_ref(), &info.proof, &arguments.form);
    Ok(output.print(&StorageOperation {
        operation: report,
        proof,
    })?)
}

/// Checks ids and signatures of the operation and its block, and that the block lists the operation where it is said to.
fn check_operation(info: &ArchivedOperationInfo, asked: &OperationId, chain: Chain) -> Result<(), NodeCommandError> {
    let bytes = &info.operation.0;
    let operation = parse_secure_share_operation(bytes, chain.chain_id);
    let operation = operation.map_err(|reason| unreadable("operation", reason))?;
    equal(
        "operation",
        asked,
        &operation_id(&bytes[SIGNATURE_BYTES..], chain.chain_id),
    )?;
    let operation_id = *asked;
    let signature = operation.verify_signature();
    signature.map_err(|_| VerifyBlockError::OperationSignature { operation_id })?;

    let record = BlockRecord::new(&info.block.0, &[]).map_err(VerifyBlockError::from)?;
    let view = record.view(chain.thread_count).map_err(VerifyBlockError::from)?;
    view.check_operation_root().map_err(VerifyBlockError::from)?;
    equal("block_id", &info.block_id, &view.block_id())?;
    equal("slot", slot_text(info.slot), slot_text(view.slot))?;
    let listed = view.operation_ids().nth(info.index as usize);
    let listed = listed.map_or_else(|| "no such operation in the block".to_string(), |id| id.to_string());
    equal("index", asked.to_string(), listed)?;
    let block_id = info.block_id;
    let block = parse_secure_share_block(&info.block.0, chain.chain_id, chain.thread_count)
        .map_err(|reason| VerifyBlockError::Block { block_id, reason })?;
    let signature = block.content.header.verify_signature();
    Ok(signature.map_err(|_| VerifyBlockError::HeaderSignature(block_id))?)
}

/// Shows a period.
pub(super) fn period(arguments: &GetPeriodArguments, node: &Node, output: Output) -> Result<(), NodeCommandError> {
    let chain = chain_of(node)?;
    let info = node.call(|client| client.get_archived_period(arguments.period))?;
    let proven = check_proof(&info.proof, &arguments.form, chain)?;
    check_period(&info, arguments.period, chain)?;
    if arguments.form.proof {
        return print_proof(info.proof, output);
    }
    let proof = proof_line(proven.as_ref(), &info.proof, &arguments.form);
    let anchored = info.state == PeriodState::Anchored;
    let period = period_report(&info, proven.as_ref());
    Ok(output.print(&StoragePeriodReport {
        period,
        anchored,
        proof,
    })?)
}

/// The blocks of an archived period, one for each thread, `None` for a miss. Proven up to `root`, or without one up to the root
/// that the node names.
pub(super) fn archived_blocks(
    node: &Node,
    period: u64,
    chain: Chain,
    root: Option<SegmentRoot>,
) -> Result<Vec<Option<BlockId>>, NodeCommandError> {
    let info = node.call(|client| client.get_archived_period(period))?;
    let form = FormArguments {
        proof: true,
        root,
        period_root: None,
    };
    check_proof(&info.proof, &form, chain)?;
    check_period(&info, period, chain)?;
    Ok(info.slots)
}

/// Checks that the answer is the period that was asked for, and that the proof, if there is one, is of these slots.
fn check_period(info: &ArchivedPeriodInfo, period: u64, chain: Chain) -> Result<(), NodeCommandError> {
    equal("period", period, info.period)?;
    equal("slots", usize::from(chain.thread_count), info.slots.len())?;
    let Some(document) = &info.proof.proof else {
        return Ok(());
    };
    let Subject::Period(subject) = &document.subject else {
        return Err(NodeCommandError::answer("proof.kind", "period", "another kind"));
    };
    let part = document.period.as_ref();
    equal("proof.period", Some(period), part.map(|part| part.period))?;
    let root = part.map(|part| hex::encode(part.root.0));
    equal("proof.period.root", Some(info.root.to_string()), root)?;
    if subject.slots != info.slots {
        return Err(NodeCommandError::answer("slots", "those of the proof", "others"));
    }
    if let Some(segment) = &document.segment {
        equal("proof.segment", info.segment, segment.segment)?;
    }
    let lost = part.is_some_and(|part| part.state == massa_distributed_storage_exports::segment_proof::State::Lost);
    equal("state", lost, info.state == PeriodState::Lost)
}

fn period_report(info: &ArchivedPeriodInfo, proven: Option<&Proven>) -> PeriodReport {
    let lost = info.state == PeriodState::Lost;
    let slots = info.slots.iter().zip(0..).map(|(id, thread)| SlotLine {
        thread,
        state: match id {
            None => SlotState::Miss,
            Some(_) if lost => SlotState::Lost,
            Some(_) => SlotState::Block,
        },
        block_id: *id,
    });
    let chunks = info.chunks.iter().map(|chunk| ChunkLine {
        chunk: chunk.chunk,
        length: None,
        chunk_id: None,
        held: chunk.held,
    });
    let closed = match info.state {
        PeriodState::Open => false,
        PeriodState::Closed | PeriodState::Anchored => true,
        PeriodState::Lost => proven.is_some_and(|proven| proven.segment.is_some()),
    };
    PeriodReport {
        period: info.period,
        segment: info.segment,
        archived: true,
        slots: slots.collect(),
        archive: Some(ArchivePart {
            state: if closed { ListedState::Closed } else { ListedState::Open },
            root: info.root,
            lost,
            bytes: info.bytes,
            chunks: chunks.collect(),
        }),
    }
}

/// Verifies a block with its operations down to the signatures.
fn verify_record(
    block: &HexBytes,
    operations: &[HexBytes],
    chain: Chain,
) -> Result<(BlockRecord, VerifiedBlock), NodeCommandError> {
    let operations: Vec<Vec<u8>> = operations.iter().map(|bytes| bytes.0.clone()).collect();
    let record = BlockRecord::new(&block.0, &operations).map_err(VerifyBlockError::from)?;
    let verified = verify_block(&record, chain.chain_id, chain.thread_count)?;
    Ok((record, verified))
}

/// Checks that a slot is the one that was asked for.
fn check_asked(asked: BlockOrSlot, id: Option<BlockId>, slot: Slot) -> Result<(), NodeCommandError> {
    match asked {
        BlockOrSlot::Slot(asked) => equal("slot", slot_text(asked), slot_text(slot)),
        BlockOrSlot::Id(asked) => {
            let found = id.map_or_else(|| "a missed slot".to_string(), |id| id.to_string());
            equal("block_id", asked.to_string(), found)
        }
    }
}

/// Checks the proof, if there is one, against the trusted root or its own.
fn check_proof(proof: &ArchiveProof, form: &FormArguments, chain: Chain) -> Result<Option<Proven>, NodeCommandError> {
    let trusted = form.root.map(TrustedRoot::Segment);
    let trusted = trusted.or(form.period_root.map(TrustedRoot::Period));
    let Some(document) = &proof.proof else {
        if form.proof || trusted.is_some() {
            return Err(NodeCommandError::NoProof(why(proof)));
        }
        return Ok(None);
    };
    let proven = match trusted.or_else(|| stated_root(document)) {
        Some(root) => check(document, &root)?,
        None => return Err(NodeCommandError::answer("proof", "a period or a segment", "neither")),
    };
    equal("proof.chain_id", chain.chain_id, proven.chain_id)?;
    Ok(Some(proven))
}

/// Where the document itself says that it ends.
fn stated_root(document: &ProofDocument) -> Option<TrustedRoot> {
    if let Some(segment) = &document.segment {
        return Some(TrustedRoot::Segment(SegmentRoot::from_bytes(segment.root.0)));
    }
    let period = document.period.as_ref()?;
    Some(TrustedRoot::Period(PeriodRoot::from_bytes(period.root.0)))
}

/// Checks that what is proven is what is shown.
fn check_proven(
    proven: Option<&Proven>,
    kind: &str,
    slot: Slot,
    block_id: Option<BlockId>,
) -> Result<(), NodeCommandError> {
    let Some(proven) = proven else {
        return Ok(());
    };
    equal("proof.kind", kind, proven.kind)?;
    let found = proven.period.zip(proven.thread);
    let found = found.map(|(period, thread)| slot_text(Slot::new(period, thread)));
    equal("proof.slot", Some(slot_text(slot)), found)?;
    equal("proof.block_id", block_id, proven.block_id)
}

fn proof_line(proven: Option<&Proven>, proof: &ArchiveProof, form: &FormArguments) -> ProofLine {
    let segment = proven.and_then(|proven| proven.segment.as_ref());
    ProofLine {
        proven_segment: segment.map(|segment| segment.segment),
        segment_root: segment.map(|segment| segment.root),
        period_root: proven.and_then(|proven| proven.period_root),
        root_trusted: proven.is_some() && (form.root.is_some() || form.period_root.is_some()),
        why_no_proof: proven.is_none().then(|| why(proof)),
    }
}

fn print_proof(proof: ArchiveProof, output: Output) -> Result<(), NodeCommandError> {
    let document: Option<ProofDocument> = proof.proof;
    let document = document.ok_or_else(|| NodeCommandError::NoProof(String::new()))?;
    Ok(output.print_document(&document)?)
}

/// The proof as the registry takes it.
fn print_registry_proof(proof: &ArchiveProof, output: Output) -> Result<(), NodeCommandError> {
    let document = proof
        .proof
        .as_ref()
        .ok_or_else(|| NodeCommandError::NoProof(why(proof)))?;
    let open = || NodeCommandError::NoProof("its segment is open, and anchored once it is over".to_string());
    let text = hex::encode(document.registry_proof().ok_or_else(open)?) + "\n";
    Ok(output.write([text.as_bytes()])?)
}

fn why(proof: &ArchiveProof) -> String {
    let why = proof.why_no_proof.clone();
    why.unwrap_or_else(|| "it does not say why".to_string())
}

fn checked(proven: Option<&Proven>) -> Checked {
    if proven.is_some_and(|proven| proven.segment.is_some()) {
        Checked::Meaning
    } else {
        Checked::Ids
    }
}

/// Where something stands, by its proof.
fn standing(proven: Option<&Proven>) -> Standing {
    let segment = proven.and_then(|proven| proven.segment.as_ref());
    Standing {
        segment: segment.map(|segment| segment.segment),
        archived: proven.is_some(),
        closed: segment.is_some(),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(field: &'static str, expected: T, found: T) -> Result<(), NodeCommandError> {
    if expected == found {
        return Ok(());
    }
    let text = |value: T| format!("{value:?}").trim_matches('"').to_string();
    Err(NodeCommandError::answer(field, text(expected), text(found)))
}

fn unreadable(what: &'static str, reason: impl ToString) -> NodeCommandError {
    NodeCommandError::answer(what, "what can be read", reason)
}
