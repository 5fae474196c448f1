//! `massa-cli storage get-period`, `get-block` and `get-operation`: what a node read from the archive, checked here.

use crate::archive::check_proof::{check_document, Proven};
use crate::archive::period::PeriodReport;
use crate::archive::show::{BlockReport, OperationReport};
use crate::archive::slot_text;
use crate::node::{Node, NodeCommandError};
use crate::output::{Output, Report};
use crate::storage::{FormArguments, GetBlockArguments, GetOperationArguments, GetPeriodArguments};
use massa_api_exports::distributed_storage::{
    ArchiveProof, ArchivedBlockInfo, ArchivedMissInfo, ArchivedOperationInfo, ArchivedPeriodInfo, ArchivedPlace,
    BlockOrSlot,
};
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::proof_document::{HexBytes, ProofDocument};
use massa_distributed_storage_exports::record::{operation_id, BlockRecord};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::verification::{
    parse_secure_share_block, parse_secure_share_operation, verify_block, VerifiedBlock, VerifyBlockError,
};
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::Serialize;

/// What the proof that came with a thing proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProofLine {
    /// The segment, if there is a proof.
    pub segment: Option<u64>,
    /// The root that the proof leads to.
    pub segment_root: Option<SegmentRoot>,
    /// Whether the root is the one that was given as trusted; else it is the node's own word.
    pub root_trusted: bool,
    /// Why there is no proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_no_proof: Option<String>,
}

impl ProofLine {
    fn text(&self) -> String {
        match (self.segment, self.segment_root, &self.why_no_proof) {
            (Some(segment), Some(root), _) => {
                let whose = if self.root_trusted {
                    "the trusted one"
                } else {
                    "the node's word; --root checks another"
                };
                format!("segment      {segment}, {whose}\nroot         {root}")
            }
            (_, _, Some(why)) => format!("proof        none: {}", crate::output::unbroken(why)),
            _ => "proof        none".to_string(),
        }
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
pub enum StoragePlace {
    /// A block.
    Block(Box<StorageBlock>),
    /// The slot was missed.
    Miss {
        /// The slot.
        slot: Slot,
        /// What is proven.
        #[serde(flatten)]
        proof: ProofLine,
    },
}

impl Report for StoragePlace {
    fn text(&self) -> String {
        match self {
            StoragePlace::Block(place) => format!("{}\n{}", place.block.text(), place.proof.text()),
            StoragePlace::Miss { slot, proof } => format!("slot {} was missed\n{}", slot_text(*slot), proof.text()),
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
    /// What is proven.
    #[serde(flatten)]
    pub proof: ProofLine,
}

impl Report for StoragePeriodReport {
    fn text(&self) -> String {
        format!("{}\n{}", self.period.text(), self.proof.text())
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
        ArchivedPlace::Block(info) => show_block(arguments, asked, chain, info, output),
        ArchivedPlace::Miss(info) => show_miss(&arguments.form, asked, chain, info, output),
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
    if arguments.form.raw {
        let objects = if arguments.with_operations {
            record.operation_count() + 1
        } else {
            1
        };
        return Ok(output.write(record.objects().take(objects))?);
    }
    if arguments.form.proof {
        return print_proof(info.proof, output);
    }
    let (archived, checked) = (proven.is_some(), checked(proven.as_ref()));
    let operations = arguments.with_operations.then(|| verified.operations().to_vec());
    let report = BlockReport::new(block.clone(), &record, archived, checked, operations);
    let proof = proof_line(proven.as_ref(), &info.proof, &arguments.form);
    Ok(output.print(&StoragePlace::Block(Box::new(StorageBlock { block: report, proof })))?)
}

fn show_miss(
    form: &FormArguments,
    asked: BlockOrSlot,
    chain: Chain,
    info: ArchivedMissInfo,
    output: Output,
) -> Result<(), NodeCommandError> {
    let slot = info.slot;
    check_asked(asked, None, slot)?;
    let proven = check_proof(&info.proof, form, chain)?;
    check_proven(proven.as_ref(), "miss", slot, None)?;
    if form.raw {
        return Err(NodeCommandError::Missed { slot });
    }
    if form.proof {
        return print_proof(info.proof, output);
    }
    let proof = proof_line(proven.as_ref(), &info.proof, form);
    Ok(output.print(&StoragePlace::Miss { slot, proof })?)
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
    if arguments.form.raw {
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
        archived: proven.is_some(),
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
    let manifest = check_manifest(&info, arguments.period, chain)?;
    let proven = check_proof(&info.proof, &arguments.form, chain)?;
    check_period(&info, arguments.period, &manifest)?;
    if arguments.form.raw {
        return Ok(output.write([&info.manifest.0[..]])?);
    }
    if arguments.form.proof {
        return print_proof(info.proof, output);
    }
    let proof = proof_line(proven.as_ref(), &info.proof, &arguments.form);
    let period = PeriodReport::new(&manifest, &info.held);
    Ok(output.print(&StoragePeriodReport { period, proof })?)
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
    let manifest = check_manifest(&info, period, chain)?;
    let form = FormArguments {
        raw: false,
        proof: true,
        root,
    };
    check_proof(&info.proof, &form, chain)?;
    check_period(&info, period, &manifest)?;
    Ok(manifest.places.iter().map(Place::block_id).collect())
}

/// Checks that the proof, if there is one, is of this manifest.
fn check_period(info: &ArchivedPeriodInfo, period: u64, manifest: &Manifest) -> Result<(), NodeCommandError> {
    if let Some(document) = &info.proof.proof {
        equal("proof.period", period, document.period.period)?;
        let root = hex::encode(document.period.root.0);
        equal("proof.period.root", manifest.root().to_string(), root)?;
    }
    Ok(())
}

fn check_manifest(info: &ArchivedPeriodInfo, period: u64, chain: Chain) -> Result<Manifest, NodeCommandError> {
    let manifest = Manifest::from_bytes(&info.manifest.0).map_err(|error| unreadable("manifest", error))?;
    equal("period", period, manifest.header.period)?;
    equal("chain_id", chain.chain_id, manifest.header.chain_id)?;
    equal("thread_count", chain.thread_count, manifest.header.threads)?;
    equal("root", info.root, manifest.root())?;
    equal("held", manifest.chunks.len(), info.held.len())?;
    Ok(manifest)
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

/// Checks that a place is the one that was asked for.
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
    let Some(document) = &proof.proof else {
        if form.proof || form.root.is_some() {
            return Err(NodeCommandError::NoProof(why(proof)));
        }
        return Ok(None);
    };
    let stated = SegmentRoot::from_bytes(document.segment_root.0);
    let proven = check_document(document, &form.root.unwrap_or(stated))?;
    equal("proof.chain_id", chain.chain_id, proven.chain_id)?;
    Ok(Some(proven))
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
    let found = proven.thread.map(|thread| slot_text(Slot::new(proven.period, thread)));
    equal("proof.slot", Some(slot_text(slot)), found)?;
    equal("proof.block_id", block_id, proven.block_id)
}

fn proof_line(proven: Option<&Proven>, proof: &ArchiveProof, form: &FormArguments) -> ProofLine {
    ProofLine {
        segment: proven.map(|proven| proven.segment),
        segment_root: proven.map(|proven| proven.segment_root),
        root_trusted: proven.is_some() && form.root.is_some(),
        why_no_proof: proven.is_none().then(|| why(proof)),
    }
}

fn print_proof(proof: ArchiveProof, output: Output) -> Result<(), NodeCommandError> {
    let document: Option<ProofDocument> = proof.proof;
    let document = document.ok_or_else(|| NodeCommandError::NoProof(String::new()))?;
    Ok(output.print_document(&document)?)
}

fn why(proof: &ArchiveProof) -> String {
    let why = proof.why_no_proof.clone();
    why.unwrap_or_else(|| "it does not say why".to_string())
}

fn checked(proven: Option<&Proven>) -> &'static str {
    if proven.is_some() {
        "meaning"
    } else {
        "ids"
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
