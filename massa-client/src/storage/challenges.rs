//! `massa-cli storage challenges`: who claimed a round, what was drawn from each claim, and what came of it.
//!
//! Read from the rows of the registry in final state, as any node has them. Draws are computed here. With `--verify` nothing
//! of the registry's conclusions is believed: the beacon is computed from the archive's block ids, and what the registry
//! accepted, counted and drew is compared.

use crate::contract::{self, ContractCall};
use crate::node::{Node, NodeCommandError};
use crate::output::{count, name_value_lines, table, Output, Report};
use crate::sc::RegistryArguments;
use crate::storage::read::{archived_blocks, chain_of, Chain};
use crate::storage::status::bytes;
use clap::{ArgGroup, Args};
use massa_api_exports::datastore::DatastoreEntryInput;
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::challenge::RoundContext;
use massa_distributed_storage_worker::rewards::draw_count;
use massa_distributed_storage_worker::rounds::settlement::result_of;
use massa_distributed_storage_worker::rounds::RoundTimes;
use massa_distributed_storage_worker::smart_contract::state::{
    index_key, node_key, round_key, segment_key, ConfigRecord, NodeRecord, RoundRecord, CONFIG_KEY, TOTAL_NODES_KEY,
};
use massa_distributed_storage_worker::smart_contract::storage_registry::{self as registry};
use massa_distributed_storage_worker::smart_contract::views;
use massa_distributed_storage_worker::smart_contract::views::{
    decode_number, decode_segment_root, reason_text, ClaimState, RoundResult,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use serde::Serialize;

/// Rows that are asked for at once: fewer than a node answers in one call.
const ROWS_PAGE: usize = 100;
/// Nodes whose records are read at most.
const NODES_MAX: u64 = 100_000;

/// Arguments of `storage challenges`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["round", "segment"])))]
pub struct ChallengesArguments {
    /// The round.
    #[arg(long, value_name = "ROUND")]
    pub round: Option<u64>,
    /// A segment whose periods go by in the round.
    #[arg(long, value_name = "SEGMENT")]
    pub segment: Option<u64>,
    /// Compute the beacon from the archive and all draws, and compare them with the registry.
    #[arg(long)]
    pub verify: bool,
    /// Where the registry is.
    #[command(flatten)]
    pub registry: RegistryArguments,
}

/// A round of proofs.
#[derive(Clone, Debug, Serialize)]
pub struct ChallengesReport {
    /// The registry.
    pub registry: Address,
    /// The chain, as the node tells it.
    pub chain_id: u64,
    /// The round.
    pub round: u64,
    /// Its first period.
    pub first_period: u64,
    /// Its last period.
    pub last_period: u64,
    /// The beacon that the registry accepted, 64 hexadecimal digits.
    pub accepted_beacon: Option<String>,
    /// Whether the round is closed.
    pub closed: bool,
    /// Claims that were made.
    pub claims: u64,
    /// Of those, the ones that no record has any more.
    pub forgotten_claims: u64,
    /// The claims.
    pub nodes: Vec<ClaimReport>,
    /// What was computed, with `--verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// A claim and what was drawn from it.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimReport {
    /// Whose.
    pub node: Address,
    /// Leaves of 1 KiB.
    pub leaves: u64,
    /// Root of the claim, 64 hexadecimal digits.
    pub root: String,
    /// How far it is, or its result.
    pub result: &'static str,
    /// The beacon that it was answered under, 64 hexadecimal digits.
    pub beacon: Option<String>,
    /// Draws answered correctly.
    pub passed: u8,
    /// The draws; none while there is no beacon.
    pub draws: Vec<DrawReport>,
}

/// A draw.
#[derive(Clone, Debug, Serialize)]
pub struct DrawReport {
    /// Its number, from 0.
    pub draw: u8,
    /// The claimed leaf that was drawn.
    pub leaf: u64,
    /// Its challenge id, 64 hexadecimal digits.
    pub challenge_id: String,
    /// What came of it; nothing before it was answered.
    pub outcome: Option<&'static str>,
}

/// What `--verify` computed.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The beacon from the archive, 64 hexadecimal digits.
    pub beacon: String,
    /// The period whose blocks gave it.
    pub beacon_period: u64,
    /// Whether the blocks are proven up to the segment root that the registry accepted; else they are the node's word.
    pub anchored: bool,
    /// What is not as it should be.
    pub differences: Vec<String>,
}

impl Report for ChallengesReport {
    fn text(&self) -> String {
        let mut lines = vec![
            (
                "round",
                format!("{}, periods {} to {}", self.round, self.first_period, self.last_period),
            ),
            (
                "beacon",
                self.accepted_beacon
                    .clone()
                    .unwrap_or_else(|| "none accepted".to_string()),
            ),
            ("claims", self.claims_line()),
        ];
        if let Some(verified) = &self.verified {
            lines.push(("computed", verified.text()));
        }
        let lines = name_value_lines(lines);
        let headings = [
            "node",
            "claim",
            "passed",
            "result",
            "draw",
            "leaf",
            "challenge id",
            "outcome",
        ];
        format!("{lines}\n{}", table(headings, self.nodes.iter().flat_map(rows)))
    }
}

impl ChallengesReport {
    fn claims_line(&self) -> String {
        let forgotten = match self.forgotten_claims {
            0 => String::new(),
            forgotten => format!("; {forgotten} no longer known: a node's record has room for three"),
        };
        let closed = if self.closed { "closed" } else { "not closed" };
        format!("{}{forgotten}; the round is {closed}", self.claims)
    }
}

impl Verified {
    fn text(&self) -> String {
        let trust = if self.anchored {
            "proven up to the anchored segment root"
        } else {
            "its segment is not anchored: the block ids are the node's word"
        };
        let differences = match self.differences.as_slice() {
            [] => "nothing differs".to_string(),
            differences => count(differences.len() as u64, "difference", "differences"),
        };
        format!(
            "{} from period {}, {trust}; {differences}",
            self.beacon, self.beacon_period
        )
    }
}

/// One for each draw, or one for a claim without draws. What is the same for all is told once.
fn rows(claim: &ClaimReport) -> Vec<Vec<String>> {
    let mut head = vec![
        claim.node.to_string(),
        bytes(claim.leaves.saturating_mul(LEAF_BYTES as u64)),
        claim.passed.to_string(),
        claim.result.to_string(),
    ];
    let mut rows = Vec::new();
    for draw in &claim.draws {
        let mut row = std::mem::replace(&mut head, vec![String::new(); 4]);
        row.extend([
            draw.draw.to_string(),
            draw.leaf.to_string(),
            draw.challenge_id.clone(),
            draw.outcome.unwrap_or("not answered yet").to_string(),
        ]);
        rows.push(row);
    }
    if rows.is_empty() {
        head.extend(vec![String::new(); 4]);
        rows.push(head);
    }
    rows
}

/// A round as the registry's rows have it.
struct Round {
    context: RoundContext,
    registry: Address,
    times: RoundTimes,
    record: RoundRecord,
    /// With a claim for the round.
    nodes: Vec<NodeRecord>,
    /// Root of the segment that has the beacon's period, once it is accepted.
    segment_root: Option<SegmentRoot>,
}

impl Round {
    fn read(
        node: &Node,
        registry: Address,
        arguments: &ChallengesArguments,
        chain_id: u64,
    ) -> Result<Self, NodeCommandError> {
        let rows = Rows { node, registry };
        let config = rows.one(CONFIG_KEY.to_vec())?;
        let config = config.ok_or_else(|| NodeCommandError::Absent("configuration".to_string()))?;
        let config = ConfigRecord::decode(&config)?;
        let (periods, segments) = (config.round_periods(), config.next.round_segments);
        let of_segment = arguments.segment.map(|segment| segment / segments.max(1));
        let round = arguments.round.or(of_segment).unwrap_or_default();
        let times = RoundTimes { round, periods };
        let record = rows.one(round_key(times.opens()))?;
        let record = record.ok_or_else(|| NodeCommandError::Absent(format!("round {round}: nobody claimed it")))?;
        let segment = times.beacon_period() / config.next.challenge_frequency_periods.max(1);
        let root = rows.one(segment_key(segment))?;
        let root = root.map(|row| decode_segment_root(&row)).transpose()?.flatten();
        Ok(Self {
            context: RoundContext {
                chain_id,
                registry: registry.to_string(),
                round,
            },
            registry,
            times,
            record: RoundRecord::decode(&record)?,
            nodes: rows.claimants(round)?,
            segment_root: root.map(|root| root.root),
        })
    }

    fn report(&self) -> ChallengesReport {
        let nodes: Vec<ClaimReport> = self
            .claims()
            .map(|(node, claim)| self.claim_report(node, claim))
            .collect();
        ChallengesReport {
            registry: self.registry,
            chain_id: self.context.chain_id,
            round: self.context.round,
            first_period: self.times.opens(),
            last_period: self.times.opens().saturating_add(self.times.periods).saturating_sub(1),
            accepted_beacon: self.record.beacon.map(hex::encode),
            closed: self.record.closed,
            claims: self.record.claims,
            forgotten_claims: self.record.claims.saturating_sub(nodes.len() as u64),
            nodes,
            verified: None,
        }
    }

    fn claims(&self) -> impl Iterator<Item = (&NodeRecord, &RoundResult)> {
        let round = self.context.round;
        self.nodes
            .iter()
            .filter_map(move |node| Some((node, node.claim_of(round)?)))
    }

    fn claim_report(&self, node: &NodeRecord, claim: &RoundResult) -> ClaimReport {
        let answered = claim_beacon(claim);
        ClaimReport {
            node: node.address,
            leaves: claim.leaves,
            root: hex::encode(claim.root),
            result: self.result_text(claim),
            beacon: answered.map(hex::encode),
            passed: claim.passes,
            draws: self.draws(node, claim, answered.or(self.record.beacon)),
        }
    }

    fn result_text(&self, claim: &RoundResult) -> &'static str {
        match claim.state {
            ClaimState::Settled => reason_text(claim.reason),
            ClaimState::Claimed if !self.record.closed => "claimed",
            ClaimState::Answered if !self.record.closed => "answered",
            ClaimState::Claimed | ClaimState::Answered => reason_text(result_of(claim, Some(&self.record)).code()),
        }
    }

    fn draws(&self, node: &NodeRecord, claim: &RoundResult, beacon: Option<Digest>) -> Vec<DrawReport> {
        let Some((key, beacon)) = node.placement_key.zip(beacon) else {
            return Vec::new();
        };
        let outcomes = claim_beacon(claim).map(|_| claim.draw_reasons.as_slice());
        let missing = self.record.closed.then_some("missing");
        let address = node.address.to_string();
        let draw = |draw: u8| DrawReport {
            draw,
            leaf: self.context.drawn_leaf(&key, &beacon, draw, claim.leaves),
            challenge_id: self.context.challenge_id(&address, &beacon, draw),
            outcome: match outcomes {
                Some(reasons) => reasons.get(usize::from(draw)).map(|reason| reason_text(*reason)),
                None => missing,
            },
        };
        (0..claim.draws).map(draw).collect()
    }

    /// Compares what the registry concluded with what is computed here.
    fn differences(&self, beacon: &Digest) -> Vec<String> {
        let mut differences = Vec::new();
        if let Some(accepted) = self.record.beacon.filter(|accepted| accepted != beacon) {
            let (accepted, beacon) = (hex::encode(accepted), hex::encode(beacon));
            differences.push(format!(
                "the registry accepted beacon {accepted}, the archive gives {beacon}"
            ));
        }
        for (node, claim) in self.claims() {
            differences.extend(
                self.claim_differences(node, claim)
                    .map(|what| format!("{}: {what}", node.address)),
            );
        }
        differences.extend(self.total_differences());
        differences
    }

    /// The first thing that is wrong with a claim.
    fn claim_differences(&self, node: &NodeRecord, claim: &RoundResult) -> Option<String> {
        let draws = draw_count(claim.leaves);
        if claim.draws != draws {
            return Some(format!(
                "{} leaves give {draws} draws, the registry has {}",
                claim.leaves, claim.draws
            ));
        }
        if node.placement_key.is_none() {
            return Some("it claimed without a placement key".to_string());
        }
        let answered = claim_beacon(claim).is_some();
        let passes = claim
            .draw_reasons
            .iter()
            .take(usize::from(draws))
            .filter(|reason| **reason == 0)
            .count();
        if answered && passes != usize::from(claim.passes) {
            return Some(format!(
                "{passes} draws have no reason against them, {} are counted",
                claim.passes
            ));
        }
        // Settled from what the claim says: whether it was answered is in its beacon.
        if claim.state == ClaimState::Settled && self.record.closed && !claim.refuted {
            let state = if answered {
                ClaimState::Answered
            } else {
                ClaimState::Claimed
            };
            let before = RoundResult { state, ..claim.clone() };
            let result = result_of(&before, Some(&self.record)).code();
            let (expected, found) = (reason_text(result), reason_text(claim.reason));
            return (result != claim.reason).then(|| format!("its result should be {expected:?}, and is {found:?}"));
        }
        None
    }

    /// Sums over all claims, as long as all are known.
    fn total_differences(&self) -> Option<String> {
        if self.claims().count() as u64 != self.record.claims {
            return None;
        }
        let leaves = self
            .claims()
            .fold(0u64, |sum, (_, claim)| sum.saturating_add(claim.leaves));
        if leaves != self.record.leaves {
            return Some(format!(
                "all claims come to {leaves} leaves, the round has {}",
                self.record.leaves
            ));
        }
        None
    }
}

/// The beacon that a claim was answered under.
fn claim_beacon(claim: &RoundResult) -> Option<Digest> {
    (claim.state != ClaimState::Claimed && claim.beacon != [0; 32]).then_some(claim.beacon)
}

/// Rows of the registry in final state.
struct Rows<'a> {
    node: &'a Node,
    registry: Address,
}

impl Rows<'_> {
    fn one(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>, NodeCommandError> {
        Ok(self.page(vec![key])?.pop().flatten())
    }

    fn page(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, NodeCommandError> {
        let asked = keys.len();
        let address = self.registry;
        let entries = keys
            .into_iter()
            .map(|key| DatastoreEntryInput { address, key })
            .collect();
        let rows = self.node.call(|client| client.get_datastore_entries(entries))?;
        if rows.len() != asked {
            return Err(NodeCommandError::answer("entries", asked, rows.len()));
        }
        Ok(rows.into_iter().map(|row| row.final_value).collect())
    }

    /// The nodes with a claim for a round, in the order in which they registered.
    fn claimants(&self, round: u64) -> Result<Vec<NodeRecord>, NodeCommandError> {
        let total = self.one(TOTAL_NODES_KEY.to_vec())?;
        let total = total.map_or(Ok(0), |row| decode_number(&row))?;
        if total > NODES_MAX {
            return Err(NodeCommandError::answer(
                "total_nodes",
                format!("at most {NODES_MAX}"),
                total,
            ));
        }
        let mut claimants = Vec::new();
        let indexes: Vec<u64> = (0..total).collect();
        for page in indexes.chunks(ROWS_PAGE) {
            let rows = self.page(page.iter().map(|index| index_key(*index)).collect())?;
            let addresses = rows.into_iter().flatten().map(|row| parse_address(&row));
            let addresses: Vec<Address> = addresses.collect::<Result<_, _>>()?;
            let rows = self.page(addresses.iter().map(node_key).collect())?;
            for (address, row) in addresses.into_iter().zip(rows) {
                let Some(row) = row else { continue };
                let record = NodeRecord::decode(address, &row)?;
                if record.claim_of(round).is_some() {
                    claimants.push(record);
                }
            }
        }
        Ok(claimants)
    }
}

fn parse_address(row: &[u8]) -> Result<Address, NodeCommandError> {
    let text = String::from_utf8_lossy(row);
    text.parse()
        .map_err(|_| NodeCommandError::answer("index", "an address", text))
}

/// What the registry's own view draws, where it says something else than what is computed here.
fn view_differences(node: &Node, report: &ChallengesReport) -> Result<Vec<String>, NodeCommandError> {
    let mut differences = Vec::new();
    for claim in &report.nodes {
        let beacon = claim.beacon.as_ref().or(report.accepted_beacon.as_ref());
        let Some(beacon) = beacon.and_then(|beacon| hex::decode(beacon).ok()?.try_into().ok()) else {
            continue;
        };
        let call = registry::get_draws(&claim.node, report.round, &beacon);
        let call = ContractCall {
            contract: report.registry,
            function: call.function.to_string(),
            parameter: call.parameter,
            coins: Amount::zero(),
        };
        let told = views::decode_draws(&contract::read(node, &call, None, None)?.returned)?;
        // The view answers from a newer state: a claim may have gone since.
        let agrees = told.iter().map(|draw| (draw.leaf, &draw.challenge_id));
        let own = claim.draws.iter().map(|draw| (draw.leaf, &draw.challenge_id));
        if !told.is_empty() && !agrees.eq(own) {
            differences.push(format!(
                "{}: the registry draws other leaves than are computed",
                claim.node
            ));
        }
    }
    Ok(differences)
}

fn verify(node: &Node, round: &Round, chain: Chain, report: &ChallengesReport) -> Result<Verified, NodeCommandError> {
    let beacon_period = round.times.beacon_period();
    let blocks = archived_blocks(node, beacon_period, chain, round.segment_root)?;
    let beacon = round.context.beacon(&blocks);
    let mut differences = round.differences(&beacon);
    differences.extend(view_differences(node, report)?);
    Ok(Verified {
        beacon: hex::encode(beacon),
        beacon_period,
        anchored: round.segment_root.is_some(),
        differences,
    })
}

pub(super) fn challenges(arguments: &ChallengesArguments, node: &Node, output: Output) -> Result<(), NodeCommandError> {
    let chain = chain_of(node)?;
    let registry = arguments.registry.find(node)?;
    let round = Round::read(node, registry, arguments, chain.chain_id)?;
    let mut report = round.report();
    if arguments.verify {
        report.verified = Some(verify(node, &round, chain, &report)?);
    }
    output.print(&report)?;
    let round = report.round;
    let differences = report.verified.map(|verified| verified.differences).unwrap_or_default();
    match differences.into_iter().next() {
        None => Ok(()),
        Some(what) => Err(NodeCommandError::Differs { round, what }),
    }
}
