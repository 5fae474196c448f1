//! `massa-cli archive get-block` and `get-operation`.
//!
//! What is shown was verified down to its signatures, unless `--merkle-only` says otherwise.

use crate::archive::{parse_slot, slot_text, ArchiveError, StoreArguments};
use crate::output::{count, name_value_lines, table, Output, Report};
use clap::{ArgGroup, Args};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::{parse_secure_share_block, parse_secure_share_operation};
use massa_distributed_storage_worker::ingest::restore;
use massa_distributed_storage_worker::proofs::{prove_block, prove_lost, prove_miss, prove_operation};
use massa_distributed_storage_worker::storage_backend::read::{Check, PlaceContent, ReadError};
use massa_distributed_storage_worker::Store;
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
    /// Check the bytes up to the period root, but neither ids nor signatures: faster.
    #[arg(long)]
    pub merkle_only: bool,
}

impl CheckArguments {
    fn check(&self) -> Check {
        if self.merkle_only {
            Check::Merkle
        } else {
            Check::Meaning
        }
    }

    fn name(&self) -> &'static str {
        if self.merkle_only {
            "merkle"
        } else {
            "meaning"
        }
    }
}

/// What is at a place.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PlaceReport {
    /// A block.
    Block(Box<BlockReport>),
    /// A missed slot.
    Miss {
        /// The slot.
        slot: Slot,
        /// Whether its period is archived.
        archived: bool,
    },
}

/// A block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// Its id.
    pub block_id: BlockId,
    /// Its slot.
    pub slot: Slot,
    /// Whether its period is archived; if not, the block waits for the others.
    pub archived: bool,
    /// How far it was checked: `meaning`, `merkle`, or `ids` where there is no path yet.
    pub checked: &'static str,
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
    /// Whether its period is archived.
    pub archived: bool,
    /// How far it was checked: `meaning` or `merkle`.
    pub checked: &'static str,
    /// The operation, in upstream's JSON.
    pub operation: SecureShareOperation,
    /// The `SecureShareOperation`, in hexadecimal.
    pub operation_hex: String,
}

impl Report for PlaceReport {
    fn text(&self) -> String {
        match self {
            PlaceReport::Block(block) => block.text(),
            PlaceReport::Miss { slot, archived } => {
                let pending = if *archived {
                    ""
                } else {
                    " (its period is not complete yet)"
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
        archived: bool,
        checked: &'static str,
        operations: Option<Vec<SecureShareOperation>>,
    ) -> Self {
        let hex = || record.operations().map(hex::encode).collect();
        Self {
            block_id: block.id,
            slot: block.content.header.content.slot,
            archived,
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
            ("state", state(self.archived).to_string()),
            ("creator", self.block.content_creator_address.to_string()),
            ("parents", header.content.parents.len().to_string()),
            ("endorsements", header.content.endorsements.len().to_string()),
            ("denunciations", header.content.denunciations.len().to_string()),
            ("operations", self.operation_count.to_string()),
            ("size", size),
            ("checked", checked(self.checked).to_string()),
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
            ("state", state(self.archived).to_string()),
            ("type", type_name(&content.op).to_string()),
            ("creator", self.operation.content_creator_address.to_string()),
            ("fee", content.fee.to_string()),
            ("expires", format!("period {}", content.expire_period)),
            ("size", count(self.operation_hex.len() as u64 / 2, "byte", "bytes")),
            ("checked", checked(self.checked).to_string()),
        ])
    }
}

fn state(archived: bool) -> &'static str {
    if archived {
        "archived"
    } else {
        "pending: its period is not complete"
    }
}

fn checked(name: &str) -> &'static str {
    match name {
        "merkle" => "path to the period root; neither ids nor signatures",
        "ids" => "ids, signatures of header and operations; there is no path yet",
        _ => "path to the period root, ids, signatures of header and operations",
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
/// A missed slot is an answer, and provable; only bytes of it there are none.
///
/// # Errors
/// [`ArchiveError`].
pub fn get_block(arguments: &GetBlockArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let slot = match (arguments.id, arguments.slot) {
        (Some(id), _) => store.find_block(&id)?,
        (None, slot) => existing_slot(&store, slot.expect("clap requires an id or a slot"))?,
    };
    let content = match store.place(slot, arguments.check.check()) {
        Err(ReadError::LostBlock { .. }) if arguments.proof => {
            return Ok(output.print_document(&prove_lost(&store, slot)?)?);
        }
        content => content?,
    };
    check_id(&store, arguments.id, slot, &content)?;
    match content {
        PlaceContent::Miss if arguments.raw => Err(ArchiveError::Missed { slot }),
        PlaceContent::Miss if arguments.proof => Ok(output.print_document(&prove_miss(&store, slot)?)?),
        PlaceContent::Miss => {
            let archived = store.manifest(slot.period)?.is_some();
            Ok(output.print(&PlaceReport::Miss { slot, archived })?)
        }
        PlaceContent::Block(record) => print_block(&store, arguments, slot, &record, output),
    }
}

fn existing_slot(store: &Store, slot: Slot) -> Result<Slot, ArchiveError> {
    let thread_count = store.parameters().thread_count;
    if slot.thread < thread_count {
        Ok(slot)
    } else {
        Err(ArchiveError::NoSuchThread { slot, thread_count })
    }
}

/// Checks that the place has the block that was asked for.
fn check_id(store: &Store, id: Option<BlockId>, slot: Slot, content: &PlaceContent) -> Result<(), ArchiveError> {
    let Some(id) = id else { return Ok(()) };
    let found = match content {
        PlaceContent::Miss => None,
        PlaceContent::Block(record) => Some(block_id(store, record)?),
    };
    if found == Some(id) {
        return Ok(());
    }
    Err(ArchiveError::Misplaced {
        what: format!("block {id}"),
        slot,
    })
}

fn block_id(store: &Store, record: &BlockRecord) -> Result<BlockId, ArchiveError> {
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

fn print_block(
    store: &Store,
    arguments: &GetBlockArguments,
    slot: Slot,
    record: &BlockRecord,
    output: Output,
) -> Result<(), ArchiveError> {
    if arguments.raw {
        let objects = if arguments.with_operations {
            record.operation_count() + 1
        } else {
            1
        };
        return Ok(output.write(record.objects().take(objects))?);
    }
    if arguments.proof {
        let proof = prove_block(store, slot, record, arguments.with_operations)?;
        return Ok(output.print_document(&proof)?);
    }
    let report = block_report(store, arguments, slot, record)?;
    Ok(output.print(&PlaceReport::Block(Box::new(report)))?)
}

fn block_report(
    store: &Store,
    arguments: &GetBlockArguments,
    slot: Slot,
    record: &BlockRecord,
) -> Result<BlockReport, ArchiveError> {
    let parameters = store.parameters();
    let block_id = block_id(store, record)?;
    let block = parse_secure_share_block(record.block(), parameters.chain_id, parameters.thread_count);
    let operations = || -> Result<Vec<_>, ArchiveError> {
        let parse = |bytes| parse_operation(store, bytes);
        record.operations().map(parse).collect()
    };
    let block = block.map_err(|reason| unreadable(format!("block {block_id}"), reason))?;
    let archived = store.manifest(slot.period)?.is_some();
    let operations = arguments.with_operations.then(operations).transpose()?;
    Ok(BlockReport::new(
        block,
        record,
        archived,
        arguments.check.name(),
        operations,
    ))
}

fn parse_operation(store: &Store, bytes: &[u8]) -> Result<SecureShareOperation, ArchiveError> {
    parse_secure_share_operation(bytes, store.parameters().chain_id).map_err(|reason| unreadable("operation", reason))
}

/// Prints an operation, its bytes or a proof of it.
///
/// # Errors
/// [`ArchiveError`].
pub fn get_operation(arguments: &GetOperationArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let id = arguments.id;
    let (slot, index) = match store.find_operation(&id) {
        Err(ReadError::NotFound(what)) => find_pending(&store, &id)?.ok_or(ReadError::NotFound(what))?,
        found => found?,
    };
    let misplaced = || ArchiveError::Misplaced {
        what: format!("operation {id}"),
        slot,
    };
    let PlaceContent::Block(record) = store.place(slot, arguments.check.check())? else {
        return Err(misplaced());
    };
    let bytes = record.operations().nth(index as usize).ok_or_else(misplaced)?;
    let operation = parse_operation(&store, bytes)?;
    if operation.id != id {
        return Err(misplaced());
    }
    if arguments.raw {
        return Ok(output.write([bytes])?);
    }
    if arguments.proof {
        return Ok(output.print_document(&prove_operation(&store, slot, &record, index)?)?);
    }
    Ok(output.print(&OperationReport {
        operation_id: id,
        block_id: block_id(&store, &record)?,
        slot,
        index,
        archived: store.manifest(slot.period)?.is_some(),
        checked: arguments.check.name(),
        operation_hex: hex::encode(bytes),
        operation,
    })?)
}

/// Looks for an operation in the blocks of open periods, which no index has.
fn find_pending(store: &Store, id: &OperationId) -> Result<Option<(Slot, u32)>, ReadError> {
    let tracker = restore(store)?;
    for (period, _) in tracker.open_periods() {
        for (place, thread) in tracker.places(period).unwrap_or_default().iter().zip(0..) {
            let slot = Slot::new(period, thread);
            if place.is_none() {
                continue;
            }
            let PlaceContent::Block(record) = store.place(slot, Check::Merkle)? else {
                continue;
            };
            let view = record.view(store.parameters().thread_count);
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
