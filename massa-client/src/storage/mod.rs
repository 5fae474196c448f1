//! `massa-cli storage …`: the archive, as a node tells it, and its operator at the registry ([`registry`]).
//!
//! What comes from a node is checked before it is shown: ids, operation root, signatures, and where there is a proof, its
//! path to a segment root, or to a period root while the segment is open. That root is the node's own word unless `--root` or
//! `--period-root` names a trusted one.

mod challenge;
mod challenges;
mod earnings;
mod lists;
mod read;
pub mod registry;
mod status;

use crate::archive::parse_slot;
use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::output::Output;
use clap::{ArgGroup, Args, Subcommand};
use massa_api_exports::distributed_storage::{ChunkAt, DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT};
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use std::path::Path;

pub use challenge::{ChallengeHistoryArguments, ChallengeReport, HistoryReport, IssueChallengeArguments};
pub use challenges::{ChallengesArguments, ChallengesReport, ClaimReport, DrawReport, Verified};
pub use earnings::{EarningsArguments, EarningsReport};
pub use lists::{ChunkList, NodeList, PeriodList, SegmentList};
pub use read::{ProofLine, StorageBlock, StorageOperation, StoragePeriodReport, StorageSlot};
pub use registry::{FundArguments, OperatorArguments, RegisterArguments, UpdateArguments};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Say what the node stores, is assigned and misses, and why not more. Fails where the node should archive and does not.
    Status,
    /// List segments.
    ListSegments(ListSegmentsArguments),
    /// List chunks and who should hold them.
    ListChunks(ListChunksArguments),
    /// List archived periods.
    ListPeriods(ListPeriodsArguments),
    /// Show a period: its slots and chunks.
    GetPeriod(GetPeriodArguments),
    /// Show a block, whichever node holds it.
    GetBlock(GetBlockArguments),
    /// Show an operation, whichever node holds it.
    GetOperation(GetOperationArguments),
    /// List the nodes that offer disk space.
    Nodes(NodesArguments),
    /// Have the node challenge another one to show that it holds a chunk: needs the node's private port.
    IssueChallenge(IssueChallengeArguments),
    /// Say what came of the node's audits of others, with their success rates.
    ChallengeHistory(ChallengeHistoryArguments),
    /// Show a round of proofs: claims, what was drawn from them, and what came of it.
    Challenges(ChallengesArguments),
    /// Say what the node claimed, showed and earned in the rounds.
    Earnings(EarningsArguments),
    /// Register the node with the registry, with disk space and a stake.
    Register(RegisterArguments),
    /// Change the disk space that is registered.
    Update(UpdateArguments),
    /// Leave the registry; the second time, ten rounds later, take the stake.
    Unregister(OperatorArguments),
    /// Take the matured rewards.
    ClaimRewards(OperatorArguments),
    /// Add coins to the pool that pays rewards.
    Fund(FundArguments),
}

/// Arguments of `storage list-segments`.
#[derive(Debug, Args)]
pub struct ListSegmentsArguments {
    /// First segment to list.
    #[arg(long, value_name = "SEGMENT", default_value_t = 0)]
    pub first: u64,
    /// Segments at most.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..=MAX_LIST_LIMIT))]
    pub limit: u64,
}

/// Arguments of `storage list-chunks`.
#[derive(Debug, Args)]
pub struct ListChunksArguments {
    /// First segment to list chunks of.
    #[arg(long, value_name = "SEGMENT")]
    pub first_segment: Option<u64>,
    /// Last segment to list chunks of.
    #[arg(long, value_name = "SEGMENT")]
    pub last_segment: Option<u64>,
    /// Only the chunks that this period touches.
    #[arg(long, value_name = "PERIOD")]
    pub period: Option<u64>,
    /// Only chunks after this one: the last of the page before.
    #[arg(long, value_name = "SEGMENT:CHUNK")]
    pub after: Option<ChunkAt>,
    /// Chunks at most.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..=MAX_LIST_LIMIT))]
    pub limit: u64,
}

/// Arguments of `storage nodes`.
#[derive(Debug, Args)]
pub struct NodesArguments {
    /// Only nodes whose id comes after this one: the last of the page before.
    #[arg(long, value_name = "NODE")]
    pub after: Option<NodeId>,
    /// Nodes at most.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..=MAX_LIST_LIMIT))]
    pub limit: u64,
}

/// Arguments of `storage list-periods`.
#[derive(Debug, Args)]
pub struct ListPeriodsArguments {
    /// First period to list.
    #[arg(long, value_name = "PERIOD", default_value_t = 0)]
    pub first: u64,
    /// Periods at most.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..=MAX_LIST_LIMIT))]
    pub limit: u64,
}

/// Arguments of `storage get-period`.
#[derive(Debug, Args)]
pub struct GetPeriodArguments {
    /// The period.
    pub period: u64,
    /// What is written.
    #[command(flatten)]
    pub form: FormArguments,
}

/// Arguments of `storage get-block`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "slot"])))]
pub struct GetBlockArguments {
    /// Id of the block: B…
    pub id: Option<BlockId>,
    /// Slot of the block.
    #[arg(long, value_name = "PERIOD:THREAD", value_parser = parse_slot)]
    pub slot: Option<Slot>,
    /// Also show the operations; with --raw, write theirs after the block's bytes.
    #[arg(long)]
    pub with_operations: bool,
    /// Write the bytes as they travel between nodes.
    #[arg(long, conflicts_with = "proof")]
    pub raw: bool,
    /// Write the proof in hexadecimal digits, for check_block of the registry.
    #[arg(long, conflicts_with_all = ["proof", "raw", "period_root"])]
    pub registry_proof: bool,
    /// What is written.
    #[command(flatten)]
    pub form: FormArguments,
}

/// Arguments of `storage get-operation`.
#[derive(Debug, Args)]
pub struct GetOperationArguments {
    /// Id of the operation: O…
    pub id: OperationId,
    /// Write the bytes as they travel between nodes.
    #[arg(long, conflicts_with = "proof")]
    pub raw: bool,
    /// What is written.
    #[command(flatten)]
    pub form: FormArguments,
}

/// What is written of a thing, and what it is checked against.
#[derive(Debug, Args)]
pub struct FormArguments {
    /// Write the proof, for archive check-proof.
    #[arg(long)]
    pub proof: bool,
    /// The segment root that is trusted: 64 hexadecimal digits. Without it, the root that the node names.
    #[arg(long, value_name = "ROOT")]
    pub root: Option<SegmentRoot>,
    /// The period root that is trusted, of a period whose segment is open: 64 hexadecimal digits.
    #[arg(long, value_name = "ROOT", conflicts_with = "root")]
    pub period_root: Option<PeriodRoot>,
}

/// Runs a command and prints its result.
///
/// # Errors
/// [`NodeCommandError`].
pub fn run(
    command: StorageCommand,
    nodes: &NodeArguments,
    wallet: &Path,
    output: Output,
) -> Result<(), NodeCommandError> {
    let node = Node::public(nodes)?;
    match command {
        StorageCommand::Status => status::status(&node, output),
        StorageCommand::ListSegments(arguments) => Ok(output.print(&lists::segments(&arguments, &node)?)?),
        StorageCommand::ListChunks(arguments) => Ok(output.print(&lists::chunks(&arguments, &node)?)?),
        StorageCommand::ListPeriods(arguments) => Ok(output.print(&lists::periods(&arguments, &node)?)?),
        StorageCommand::GetPeriod(arguments) => read::period(&arguments, &node, output),
        StorageCommand::GetBlock(arguments) => read::block(&arguments, &node, output),
        StorageCommand::GetOperation(arguments) => read::operation(&arguments, &node, output),
        StorageCommand::Nodes(arguments) => Ok(output.print(&lists::nodes(&arguments, &node)?)?),
        StorageCommand::IssueChallenge(arguments) => challenge::issue(&arguments, nodes, &node, output),
        StorageCommand::ChallengeHistory(arguments) => Ok(output.print(&challenge::history(&arguments, &node)?)?),
        StorageCommand::Challenges(arguments) => challenges::challenges(&arguments, &node, output),
        StorageCommand::Earnings(arguments) => Ok(output.print(&earnings::earnings(&arguments, &node)?)?),
        StorageCommand::Register(arguments) => {
            Ok(output.print(&registry::register(&arguments, &node, nodes, wallet)?)?)
        }
        StorageCommand::Update(arguments) => Ok(output.print(&registry::update(&arguments, &node, wallet)?)?),
        StorageCommand::Unregister(arguments) => Ok(output.print(&registry::unregister(&arguments, &node, wallet)?)?),
        StorageCommand::ClaimRewards(arguments) => {
            Ok(output.print(&registry::claim_rewards(&arguments, &node, wallet)?)?)
        }
        StorageCommand::Fund(arguments) => Ok(output.print(&registry::fund(&arguments, &node, wallet)?)?),
    }
}
