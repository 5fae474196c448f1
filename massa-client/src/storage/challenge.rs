//! `massa-cli storage issue-challenge` and `challenge-history`: audits of peers.
//!
//! A challenge takes up to the node's `challenge_response_timeout`. No call waits that long: the node says under which id the
//! result will be, and is asked for it until it is there.

use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::output::{count, name_value_lines, table, Output, Report};
use clap::Args;
use massa_api_exports::distributed_storage::audits::{
    ChallengeHistory, ChallengeOutcome, ChallengeResult, ChunkOrPosition, GetChallengeHistory, IssuedChallenge,
    NodeAuditInfo, NodeOrAddress,
};
use massa_api_exports::distributed_storage::{DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT};
use massa_api_exports::rpc::MassaRpcClient;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often the node is asked for the result.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How much longer than the node's time a result is waited for.
const POLL_GRACE: Duration = Duration::from_secs(5);

/// Arguments of `storage issue-challenge`.
#[derive(Debug, Args)]
pub struct IssueChallengeArguments {
    /// Who is challenged: the id of the node, or the address of its operator.
    #[arg(long, value_name = "NODE")]
    pub node: NodeOrAddress,
    /// About which chunk: its id, or where it is (storage list-chunks tells both).
    #[arg(long, value_name = "CHUNK or SEGMENT:CHUNK")]
    pub chunk: ChunkOrPosition,
}

/// Arguments of `storage challenge-history`.
#[derive(Debug, Args)]
pub struct ChallengeHistoryArguments {
    /// Only audits of this node: its id, or the address of its operator.
    #[arg(long, value_name = "NODE")]
    pub node: Option<NodeOrAddress>,
    /// Results at most.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..=MAX_LIST_LIMIT))]
    pub limit: u64,
}

/// What came of a challenge by hand.
#[derive(Clone, Debug, Serialize)]
pub struct ChallengeReport {
    /// The result.
    #[serde(flatten)]
    pub result: ChallengeResult,
    /// What audits say about the node; nothing if none counted yet.
    pub audits: Option<NodeAuditInfo>,
}

impl Report for ChallengeReport {
    fn text(&self) -> String {
        let result = &self.result;
        let mut lines = vec![
            ("node", result.node.to_string()),
            (
                "chunk",
                format!(
                    "{} (chunk {} of segment {})",
                    result.chunk_id, result.chunk, result.segment
                ),
            ),
            ("result", verdict(result)),
        ];
        if let (Some(elapsed), Some(round_trip)) = (result.elapsed_ms, result.round_trip_ms) {
            lines.push(("time", format!("{elapsed} ms, a small request {round_trip} ms")));
        }
        if let Some(audits) = &self.audits {
            let counted = count(audits.counted, "audit", "audits");
            lines.push(("success rate", format!("{}% of {counted}", audits.success_percent)));
        }
        name_value_lines(lines)
    }
}

/// Audits of peers.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryReport(ChallengeHistory);

impl Report for HistoryReport {
    fn text(&self) -> String {
        let yes_no = |value: bool| if value { "yes" } else { "no" }.to_string();
        let rate = |node: &NodeAuditInfo| {
            vec![
                node.node.to_string(),
                node.counted.to_string(),
                node.passed.to_string(),
                node.slow.to_string(),
                format!("{}%", node.success_percent),
                yes_no(node.alarm),
            ]
        };
        let row = |result: &ChallengeResult| {
            vec![
                result.time_ms.to_string(),
                result.node.to_string(),
                format!("{}:{}", result.segment, result.chunk),
                yes_no(result.by_hand),
                result.elapsed_ms.map_or_else(String::new, |ms| ms.to_string()),
                verdict(result),
            ]
        };
        let headings = ["node", "audits", "passed", "slow", "success rate", "alarm"];
        let nodes = table(headings, self.0.nodes.iter().map(rate));
        let headings = ["time (ms)", "node", "chunk", "by hand", "took (ms)", "result"];
        let results = table(headings, self.0.results.iter().map(row));
        format!("{nodes}\n{results}")
    }
}

fn verdict(result: &ChallengeResult) -> String {
    let reason = result.reason.as_deref().unwrap_or("no reason given");
    match result.outcome {
        ChallengeOutcome::Passed => "VALID".to_string(),
        ChallengeOutcome::Slow => "VALID, but as late as from a node that fetches what it is asked for".to_string(),
        ChallengeOutcome::NotHeld if !result.assigned => {
            "not held, and not assigned to the node: it counts for nothing".to_string()
        }
        ChallengeOutcome::NotHeld => "FAILED: the node does not hold the chunk".to_string(),
        ChallengeOutcome::Wrong => format!("INVALID: {reason}"),
        ChallengeOutcome::Unanswered => format!("FAILED: {reason}"),
    }
}

pub(super) fn issue(
    arguments: &IssueChallengeArguments,
    nodes: &NodeArguments,
    public: &Node,
    output: Output,
) -> Result<(), NodeCommandError> {
    let private = Node::private(nodes)?;
    let issued = private.call(|client| client.issue_storage_challenge(arguments.node, arguments.chunk))?;
    let report = wait_for_result(&issued, public)?;
    output.print(&report)?;
    if report.result.failed {
        return Err(NodeCommandError::ChallengeFailed {
            node: report.result.node,
        });
    }
    Ok(())
}

fn wait_for_result(issued: &IssuedChallenge, public: &Node) -> Result<ChallengeReport, NodeCommandError> {
    let ends = Instant::now() + Duration::from_millis(issued.result_within_ms) + POLL_GRACE;
    let request = GetChallengeHistory {
        node: Some(NodeOrAddress::Node(issued.node)),
        challenge_id: Some(issued.challenge_id),
        limit: 1,
    };
    loop {
        let history = public.call(|client| client.get_challenge_history(request))?;
        if let Some(result) = history.results.into_iter().next() {
            if result.challenge_id != issued.challenge_id {
                let (expected, found) = (issued.challenge_id, result.challenge_id);
                return Err(NodeCommandError::answer("challenge_id", expected, found));
            }
            let audits = history.nodes.into_iter().find(|audits| audits.node == result.node);
            return Ok(ChallengeReport { result, audits });
        }
        if Instant::now() >= ends {
            return Err(NodeCommandError::NoChallengeResult {
                seconds: issued.result_within_ms.div_ceil(1000),
            });
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

pub(super) fn history(arguments: &ChallengeHistoryArguments, node: &Node) -> Result<HistoryReport, NodeCommandError> {
    let request = GetChallengeHistory {
        node: arguments.node,
        challenge_id: None,
        limit: arguments.limit,
    };
    Ok(HistoryReport(
        node.call(|client| client.get_challenge_history(request))?,
    ))
}
