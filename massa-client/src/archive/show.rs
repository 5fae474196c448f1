//! `massa-cli archive get-block` and `get-operation`.
//!
//! What is shown was verified down to its signatures, unless `--merkle-only` says otherwise: then its bytes lead to the table of
//! the segment, and the block's id is the one that its period lists.

use crate::archive::period::{not_held, pruned};
use crate::archive::proofs::print_proof;
use crate::archive::{parse_slot, slot_text, ArchiveError, StoreArguments};
use crate::output::{count, name_value_lines, table, Output, Report};
use clap::{ArgGroup, Args};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::{
    parse_secure_share_block, parse_secure_share_operation, verify_block,
};
use massa_distributed_storage_worker::storage_backend::{IndexScope, SegmentStore, SlotRead, StoreError};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::operation::{OperationId, OperationType, SecureShareOperation};
use massa_models::slot::Slot;
use serde::Serialize;

/// Arguments of `archive get-block`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "slot"])))]
pub struct GetBlockArguments {
    /// Id of the block: B…
    pub id: Option<BlockId>,
    /// Slot of the block.
    #[arg(long, value_name = "PERIOD:THREAD", value_parser = parse_slot)]
    pub slot: Option<Slot>,
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Write the bytes of the SecureShareBlock, and with --with-operations those of each SecureShareOperation after it.
    #[arg(long, conflicts_with = "proof")]
    pub raw: bool,
    /// Also show the operations.
    #[arg(long)]
    pub with_operations: bool,
    /// Write a proof, for check-proof: the block, or the miss, and its path to the segment root.
    #[arg(long)]
    pub proof: bool,
    /// How far the block is checked.
    #[command(flatten)]
    pub check: CheckArguments,
}

/// Arguments of `archive get-operation`.
#[derive(Debug, Args)]
pub struct GetOperationArguments {
    /// Id of the operation: O…
    pub id: OperationId,
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Write the bytes of the SecureShareOperation.
    #[arg(long, conflicts_with = "proof")]
    pub raw: bool,
    /// Write a proof, for check-proof: the operation, its block and its path to the segment root.
    #[arg(long)]
    pub proof: bool,
    /// How far the operation is checked.
    #[command(flatten)]
    pub check: CheckArguments,
}

/// How far a read is checked.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Check the bytes up to the segment's table and the block's id, but neither operation ids nor signatures: faster.
    #[arg(long)]
    pub merkle_only: bool,
}

/// How far a thing was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// Its path, ids, signatures.
    Meaning,
    /// Its path and the block's id.
    Merkle,
    /// Ids and signatures: there is no path before the segment is closed.
    Ids,
    /// The block's id.
    BlockId,
}

impl Checked {
    fn text(self) -> &'static str {
        match self {
            Self::Meaning => "path to the segment's table, ids, signatures of header and operations",
            Self::Merkle => "path to the segment's table, block id; no signatures",
            Self::Ids => "ids, signatures of header and operations; there is no path before the segment is closed",
            Self::BlockId => "block id; no signatures, and there is no path before the segment is closed",
        }
    }
}

/// Where something stands in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its segment; nothing where the proof does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// Whether its period is archived; if not, the block waits for others.
    pub archived: bool,
    /// Whether its segment is closed.
    pub closed: bool,
}

impl Standing {
    fn of(store: &SegmentStore, period: u64) -> Result<Self, StoreError> {
        let segment = store.parameters().segment_of(period);
        let closed = store.segment_root(segment)?.is_some();
        Ok(Self {
            segment: Some(segment),
            archived: closed || store.joined_period(period)?.is_some(),
            closed,
        })
    }

    pub(crate) fn text(self) -> String {
        let segment = self
            .segment
            .map_or_else(|| "a segment".to_string(), |segment| format!("segment {segment}"));
        match (self.archived, self.closed) {
            (true, true) => format!("archived in {segment}"),
            (true, false) => format!("archived in {segment}, which is open"),
            (false, _) => "pending: its period is not complete, or waits for one before it".to_string(),
        }
    }
}

/// What is at a slot.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SlotReport {
    /// A block.
    Block(Box<BlockReport>),
    /// A missed slot.
    Miss {
        /// The slot.
        slot: Slot,
        /// Where it stands.
        #[serde(flatten)]
        standing: Standing,
    },
}

/// A block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// Its id.
    pub block_id: BlockId,
    /// Its slot.
    pub slot: Slot,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// How far it was checked.
    pub checked: Checked,
    /// Number of its operations.
    pub operation_count: usize,
    /// Bytes of the `SecureShareBlock`.
    pub block_bytes: usize,
    /// Bytes of its operations.
    pub operation_bytes: usize,
    /// The block, in upstream's JSON.
    pub block: SecureShareBlock,
    /// The `SecureShareBlock`, in hexadecimal.
    pub block_hex: String,
    /// The operations, in upstream's JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<SecureShareOperation>>,
    /// Each `SecureShareOperation`, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations_hex: Option<Vec<String>>,
}

/// An operation.
#[derive(Clone, Debug, Serialize)]
pub struct OperationReport {
    /// Its id.
    pub operation_id: OperationId,
    /// The block that has it.
    pub block_id: BlockId,
    /// Slot of the block.
    pub slot: Slot,
    /// Position in the block.
    pub index: u32,
    /// Where its block stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// How far it was checked.
    pub checked: Checked,
    /// The operation, in upstream's JSON.
    pub operation: SecureShareOperation,
    /// The `SecureShareOperation`, in hexadecimal.
    pub operation_hex: String,
}

impl Report for SlotReport {
    fn text(&self) -> String {
        match self {
            SlotReport::Block(block) => block.text(),
            SlotReport::Miss { slot, standing } => {
                let pending = if standing.archived {
                    ""
                } else {
                    " (its period is not archived yet)"
                };
                format!("slot {} was missed{pending}", slot_text(*slot))
            }
        }
    }
}

impl BlockReport {
    /// What is shown of a block whose bytes were checked.
    pub(crate) fn new(
        block: SecureShareBlock,
        record: &BlockRecord,
        (standing, checked): (Standing, Checked),
        operations: Option<Vec<SecureShareOperation>>,
    ) -> Self {
        let hex = || record.operations().map(hex::encode).collect();
        Self {
            block_id: block.id,
            slot: block.content.header.content.slot,
            standing,
            checked,
            operation_count: record.operation_count(),
            block_bytes: record.block().len(),
            operation_bytes: record.operations().map(<[u8]>::len).sum(),
            block,
            block_hex: hex::encode(record.block()),
            operations_hex: operations.is_some().then(hex),
            operations,
        }
    }

    pub(crate) fn text(&self) -> String {
        let header = &self.block.content.header;
        let size = format!(
            "{} bytes, {} bytes of operations",
            self.block_bytes, self.operation_bytes
        );
        let lines = name_value_lines([
            ("block", self.block_id.to_string()),
            ("slot", slot_text(self.slot)),
            ("state", self.standing.text()),
            ("creator", self.block.content_creator_address.to_string()),
            ("parents", header.content.parents.len().to_string()),
            ("endorsements", header.content.endorsements.len().to_string()),
            ("denunciations", header.content.denunciations.len().to_string()),
            ("operations", self.operation_count.to_string()),
            ("size", size),
            ("checked", self.checked.text().to_string()),
        ]);
        match &self.operations {
            Some(operations) => format!("{lines}\n{}", operations_table(operations)),
            None => lines,
        }
    }
}

impl Report for OperationReport {
    fn text(&self) -> String {
        let content = &self.operation.content;
        name_value_lines([
            ("operation", self.operation_id.to_string()),
            ("block", self.block_id.to_string()),
            ("slot", slot_text(self.slot)),
            ("position", self.index.to_string()),
            ("state", self.standing.text()),
            ("type", type_name(&content.op).to_string()),
            ("creator", self.operation.content_creator_address.to_string()),
            ("fee", content.fee.to_string()),
            ("expires", format!("period {}", content.expire_period)),
            ("size", count(self.operation_hex.len() as u64 / 2, "byte", "bytes")),
            ("checked", self.checked.text().to_string()),
        ])
    }
}

fn operations_table(operations: &[SecureShareOperation]) -> String {
    let headings = ["", "operation", "type", "creator", "fee", "expires"];
    let row = |(index, operation): (usize, &SecureShareOperation)| {
        vec![
            index.to_string(),
            operation.id.to_string(),
            type_name(&operation.content.op).to_string(),
            operation.content_creator_address.to_string(),
            operation.content.fee.to_string(),
            operation.content.expire_period.to_string(),
        ]
    };
    table(headings, operations.iter().enumerate().map(row))
}

fn type_name(operation: &OperationType) -> &'static str {
    match operation {
        OperationType::Transaction { .. } => "Transaction",
        OperationType::RollBuy { .. } => "RollBuy",
        OperationType::RollSell { .. } => "RollSell",
        OperationType::ExecuteSC { .. } => "ExecuteSC",
        OperationType::CallSC { .. } => "CallSC",
    }
}

/// Prints a block, its bytes or a proof of it.
///
/// A missed slot is an answer, and provable; only bytes of it there are none. Of a lost block the id is provable.
///
/// # Errors
/// [`ArchiveError`].
pub fn get_block(arguments: &GetBlockArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let slot = match (arguments.id, arguments.slot) {
        (Some(id), _) => find_block(&store, id)?,
        (None, slot) => existing_slot(&store, slot.expect("clap requires an id or a slot"))?,
    };
    let read = store.slot(slot)?;
    check_id(&store, arguments.id, slot, &read)?;
    match read {
        SlotRead::Block(record) => print_block(&store, arguments, slot, &record, output),
        SlotRead::Miss if arguments.raw => Err(ArchiveError::Missed { slot }),
        SlotRead::Miss if arguments.proof => {
            print_proof(&store, slot.period, output, |evidence| evidence.miss(slot.thread))
        }
        SlotRead::Miss => {
            let standing = Standing::of(&store, slot.period)?;
            Ok(output.print(&SlotReport::Miss { slot, standing })?)
        }
        SlotRead::Lost(_) if arguments.proof => {
            print_proof(&store, slot.period, output, |evidence| evidence.lost(slot.thread))
        }
        other => Err(not_readable(&store, slot, other)),
    }
}

/// Why there is no block where the archive has one.
fn not_readable(store: &SegmentStore, slot: Slot, read: SlotRead) -> ArchiveError {
    match read {
        SlotRead::Lost(id) => ArchiveError::Lost { id, slot },
        SlotRead::Pruned => pruned(store, slot.period),
        SlotRead::NotHeld { chunks } => {
            let segment = store.parameters().segment_of(slot.period);
            not_held(format!("slot {}", slot_text(slot)), segment, &chunks)
        }
        SlotRead::Miss => ArchiveError::Missed { slot },
        SlotRead::Missing | SlotRead::Block(_) => missing(store, slot),
    }
}

fn missing(store: &SegmentStore, slot: Slot) -> ArchiveError {
    let period = slot.period;
    let of_period = period.checked_add(1).map(|end| store.open_slots(period..end));
    if of_period.is_some_and(|slots| !slots.is_empty()) {
        ArchiveError::Missing { slot }
    } else {
        ArchiveError::NotArchived { period }
    }
}

fn find_block(store: &SegmentStore, id: BlockId) -> Result<Slot, ArchiveError> {
    let what = format!("block {id}");
    match store.find_block(&id)? {
        Some(slot) => Ok(slot),
        None if store.indexes().blocks == IndexScope::None => Err(ArchiveError::NoIndex { what, of: "blocks" }),
        None => Err(ArchiveError::NotFound(what)),
    }
}

fn existing_slot(store: &SegmentStore, slot: Slot) -> Result<Slot, ArchiveError> {
    let parameters = store.parameters();
    let (thread_count, period) = (parameters.thread_count, slot.period);
    if slot.thread >= thread_count {
        return Err(ArchiveError::NoSuchThread { slot, thread_count });
    }
    if period < parameters.first_period {
        return Err(ArchiveError::NotArchived { period });
    }
    Ok(slot)
}

/// Checks that the slot has the block that was asked for.
fn check_id(store: &SegmentStore, id: Option<BlockId>, slot: Slot, read: &SlotRead) -> Result<(), ArchiveError> {
    let found = match (id, read) {
        (Some(_), SlotRead::Miss) => None,
        (Some(_), SlotRead::Block(record)) => Some(block_id(store, record)?),
        _ => return Ok(()),
    };
    if found == id {
        return Ok(());
    }
    let what = id.map_or_else(|| "a block".to_string(), |id| format!("block {id}"));
    Err(ArchiveError::Misplaced { what, slot })
}

fn block_id(store: &SegmentStore, record: &BlockRecord) -> Result<BlockId, ArchiveError> {
    let view = record.view(store.parameters().thread_count);
    let view = view.map_err(|error| unreadable("block", error))?;
    Ok(view.block_id())
}

fn unreadable(what: impl ToString, reason: impl ToString) -> ArchiveError {
    ArchiveError::Unreadable {
        what: what.to_string(),
        reason: reason.to_string(),
    }
}

/// Checks a block as far as was asked for; its bytes, and that it is the block of its slot, the store has checked.
fn check_record(
    store: &SegmentStore,
    record: &BlockRecord,
    arguments: &CheckArguments,
    closed: bool,
) -> Result<Checked, ArchiveError> {
    if arguments.merkle_only {
        return Ok(if closed { Checked::Merkle } else { Checked::BlockId });
    }
    let parameters = store.parameters();
    verify_block(record, parameters.chain_id, parameters.thread_count)?;
    Ok(if closed { Checked::Meaning } else { Checked::Ids })
}

fn print_block(
    store: &SegmentStore,
    arguments: &GetBlockArguments,
    slot: Slot,
    record: &BlockRecord,
    output: Output,
) -> Result<(), ArchiveError> {
    let standing = Standing::of(store, slot.period)?;
    let checked = check_record(store, record, &arguments.check, standing.closed)?;
    if arguments.raw {
        let objects = if arguments.with_operations {
            record.operation_count() + 1
        } else {
            1
        };
        return Ok(output.write(record.objects().take(objects))?);
    }
    if arguments.proof {
        let with_operations = arguments.with_operations;
        return print_proof(store, slot.period, output, |evidence| {
            evidence.block(slot.thread, record, with_operations)
        });
    }
    let report = block_report(store, arguments, record, (standing, checked))?;
    Ok(output.print(&SlotReport::Block(Box::new(report)))?)
}

fn block_report(
    store: &SegmentStore,
    arguments: &GetBlockArguments,
    record: &BlockRecord,
    standing: (Standing, Checked),
) -> Result<BlockReport, ArchiveError> {
    let parameters = store.parameters();
    let block_id = block_id(store, record)?;
    let block = parse_secure_share_block(record.block(), parameters.chain_id, parameters.thread_count);
    let operations = || -> Result<Vec<_>, ArchiveError> {
        let parse = |bytes| parse_operation(store, bytes);
        record.operations().map(parse).collect()
    };
    let block = block.map_err(|reason| unreadable(format!("block {block_id}"), reason))?;
    let operations = arguments.with_operations.then(operations).transpose()?;
    Ok(BlockReport::new(block, record, standing, operations))
}

fn parse_operation(store: &SegmentStore, bytes: &[u8]) -> Result<SecureShareOperation, ArchiveError> {
    parse_secure_share_operation(bytes, store.parameters().chain_id).map_err(|reason| unreadable("operation", reason))
}

/// Prints an operation, its bytes or a proof of it.
///
/// # Errors
/// [`ArchiveError`].
pub fn get_operation(arguments: &GetOperationArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let id = arguments.id;
    let (slot, index) = find_operation(&store, &id)?;
    let misplaced = || ArchiveError::Misplaced {
        what: format!("operation {id}"),
        slot,
    };
    let record = match store.slot(slot)? {
        SlotRead::Block(record) => record,
        SlotRead::Miss => return Err(misplaced()),
        other => return Err(not_readable(&store, slot, other)),
    };
    let bytes = record.operations().nth(index as usize).ok_or_else(misplaced)?;
    let operation = parse_operation(&store, bytes)?;
    if operation.id != id {
        return Err(misplaced());
    }
    let standing = Standing::of(&store, slot.period)?;
    let checked = check_record(&store, &record, &arguments.check, standing.closed)?;
    if arguments.raw {
        return Ok(output.write([bytes])?);
    }
    if arguments.proof {
        return print_proof(&store, slot.period, output, |evidence| {
            evidence.operation(slot.thread, &record, index)
        });
    }
    Ok(output.print(&OperationReport {
        operation_id: id,
        block_id: block_id(&store, &record)?,
        slot,
        index,
        standing,
        checked,
        operation_hex: hex::encode(bytes),
        operation,
    })?)
}

fn find_operation(store: &SegmentStore, id: &OperationId) -> Result<(Slot, u32), ArchiveError> {
    let what = || format!("operation {id}");
    if let Some(found) = store.find_operation(id)? {
        return Ok(found);
    }
    match find_in_rows(store, id)? {
        Some(found) => Ok(found),
        None if store.indexes().operations == IndexScope::None => Err(ArchiveError::NoIndex {
            what: what(),
            of: "operations",
        }),
        None => Err(ArchiveError::NotFound(what())),
    }
}

/// Looks for an operation in the blocks of open segments, of which an index may have nothing.
fn find_in_rows(store: &SegmentStore, id: &OperationId) -> Result<Option<(Slot, u32)>, StoreError> {
    let threads = store.parameters().thread_count;
    for segment in store.open_segments() {
        let slots = store.open_slots(store.periods_of(segment.segment)).into_iter();
        for (slot, _) in slots.filter(|(_, block)| block.is_some()) {
            let Some(record) = store.open_block(slot)? else {
                continue;
            };
            let view = record.view(threads);
            let index = view
                .ok()
                .and_then(|view| view.operation_ids().position(|listed| listed == *id));
            if let Some(index) = index {
                return Ok(Some((slot, index as u32)));
            }
        }
    }
    Ok(None)
}
