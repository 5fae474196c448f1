//! The registry's views by their names, and what they answer as fields with units.

use crate::node::NodeCommandError;
use crate::output::{name_value_lines, table, Report};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_worker::smart_contract::storage_registry::{self as registry, Call, StorageConfig};
use massa_distributed_storage_worker::smart_contract::views;
use massa_distributed_storage_worker::smart_contract::views::{
    reason_text, AcceptedRoot, Draw, ManualChallenge, NodeInfo, PeriodStats, RegistryState, RoundResult, SlotAnswer,
    SlotState,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use serde::Serialize;
use std::str::FromStr;

/// Stands for no block: whether a slot was missed is asked.
const NO_BLOCK: &str = "none";

/// A view: its name, the names of its arguments, and how it is asked and its answer read.
struct View {
    name: &'static str,
    arguments: &'static [&'static str],
    call: fn(&[String]) -> Result<Call, NodeCommandError>,
    /// The answer; the arguments say what there is none of.
    decode: fn(&[u8], &[String]) -> Result<Answer, NodeCommandError>,
}

/// What a view answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of `get_node_info`.
    Node(Box<NodeInfo>),
    /// Of `get_challenge`.
    Challenge(ManualChallenge),
    /// Of `get_period_stats`.
    Period(Box<PeriodStats>),
    /// Of `get_config`.
    Config(StorageConfig),
    /// Of `get_next_config`.
    NextConfig {
        /// The configuration that follows.
        #[serde(flatten)]
        config: StorageConfig,
        /// The round from which it counts.
        next_round: u64,
    },
    /// Of `get_total_nodes`.
    TotalNodes {
        /// How many nodes there are.
        total_nodes: u64,
    },
    /// Of `get_nodes`.
    Nodes {
        /// Their addresses.
        nodes: Vec<Address>,
    },
    /// Of `calculate_pending_rewards`.
    Pending {
        /// Credit, matured or not.
        pending_rewards: Amount,
    },
    /// Of `get_round_result`.
    Round(RoundResult),
    /// Of `get_draws`.
    Draws {
        /// In order.
        draws: Vec<Draw>,
    },
    /// Of `get_segment_root`.
    Segment(AcceptedRoot),
    /// Of `check_block`.
    Slot(SlotAnswer),
    /// Of `get_state`.
    State(RegistryState),
}

const VIEWS: [View; 13] = [
    View {
        name: "get_node_info",
        arguments: &["NODE"],
        call: |words| Ok(registry::get_node_info(node(words)?)),
        decode: |bytes, words| {
            let info = present(views::decode_node_info(bytes)?, || format!("node {}", words[0]))?;
            Ok(Answer::Node(Box::new(info)))
        },
    },
    View {
        name: "get_challenge",
        arguments: &["CHALLENGE_ID"],
        call: |words| Ok(registry::get_challenge(challenge_id(&words[0])?)),
        decode: |bytes, words| {
            let challenge = views::decode_challenge(bytes)?;
            present(challenge, || format!("challenge {}", words[0])).map(Answer::Challenge)
        },
    },
    View {
        name: "get_period_stats",
        arguments: &["PERIOD"],
        call: |words| Ok(registry::get_period_stats(parsed("PERIOD", &words[0])?)),
        decode: |bytes, words| {
            let what = || format!("round with period {} that anybody claimed", words[0]);
            Ok(Answer::Period(Box::new(present(
                views::decode_period_stats(bytes)?,
                what,
            )?)))
        },
    },
    View {
        name: "get_config",
        arguments: &[],
        call: |_| Ok(registry::get_config()),
        decode: |bytes, _| Ok(Answer::Config(views::decode_config(bytes)?)),
    },
    View {
        name: "get_next_config",
        arguments: &[],
        call: |_| Ok(registry::get_next_config()),
        decode: |bytes, _| {
            let (config, next_round) = views::decode_next_config(bytes)?;
            Ok(Answer::NextConfig { config, next_round })
        },
    },
    View {
        name: "get_total_nodes",
        arguments: &[],
        call: |_| Ok(registry::get_total_nodes()),
        decode: |bytes, _| {
            let total_nodes = views::decode_number(bytes)?;
            Ok(Answer::TotalNodes { total_nodes })
        },
    },
    View {
        name: "get_nodes",
        arguments: &["START", "COUNT"],
        call: |words| {
            Ok(registry::get_nodes(
                parsed("START", &words[0])?,
                parsed("COUNT", &words[1])?,
            ))
        },
        decode: |bytes, _| {
            let nodes = views::decode_nodes(bytes)?;
            Ok(Answer::Nodes { nodes })
        },
    },
    View {
        name: "calculate_pending_rewards",
        arguments: &["NODE"],
        call: |words| Ok(registry::calculate_pending_rewards(node(words)?)),
        decode: |bytes, _| {
            let pending_rewards = views::decode_amount(bytes)?;
            Ok(Answer::Pending { pending_rewards })
        },
    },
    View {
        name: "get_round_result",
        arguments: &["ADDRESS", "ROUND"],
        call: |words| {
            Ok(registry::get_round_result(
                &address(words)?,
                parsed("ROUND", &words[1])?,
            ))
        },
        decode: |bytes, words| {
            let what = || format!("claim of {} for round {}", words[0], words[1]);
            present(views::decode_round_result(bytes)?, what).map(Answer::Round)
        },
    },
    View {
        name: "get_draws",
        arguments: &["ADDRESS", "ROUND", "BEACON"],
        call: |words| {
            let beacon = digest("BEACON", &words[2])?;
            Ok(registry::get_draws(
                &address(words)?,
                parsed("ROUND", &words[1])?,
                &beacon,
            ))
        },
        decode: |bytes, _| {
            let draws = views::decode_draws(bytes)?;
            Ok(Answer::Draws { draws })
        },
    },
    View {
        name: "get_segment_root",
        arguments: &["SEGMENT"],
        call: |words| Ok(registry::get_segment_root(parsed("SEGMENT", &words[0])?)),
        decode: |bytes, words| {
            let what = || format!("accepted root of segment {}", words[0]);
            present(views::decode_segment_root(bytes)?, what).map(Answer::Segment)
        },
    },
    View {
        name: "check_block",
        arguments: &["PERIOD", "THREAD", "BLOCK_ID", "PROOF"],
        call: |words| {
            let slot = Slot::new(parsed("PERIOD", &words[0])?, parsed("THREAD", &words[1])?);
            let id = (words[2] != NO_BLOCK)
                .then(|| parsed("BLOCK_ID", &words[2]))
                .transpose()?;
            Ok(registry::check_block(slot, id.as_ref(), &bytes("PROOF", &words[3])?))
        },
        decode: |bytes, _| Ok(Answer::Slot(views::decode_slot_answer(bytes)?)),
    },
    View {
        name: "get_state",
        arguments: &[],
        call: |_| Ok(registry::get_state()),
        decode: |bytes, _| Ok(Answer::State(views::decode_state(bytes)?)),
    },
];

/// A view that is to be asked.
pub struct AskedView {
    view: &'static View,
    words: Vec<String>,
    /// How it is asked.
    pub call: Call,
}

impl AskedView {
    /// The view `name` with these arguments; `None` if there is no such view. A name as the contract writes it does, too.
    ///
    /// # Errors
    /// [`NodeCommandError::Argument`] if the arguments are not its own.
    pub fn find(name: &str, words: &[String]) -> Result<Option<Self>, NodeCommandError> {
        static VIEWS_BY_NAME: &[View] = &VIEWS;
        let mut views = VIEWS_BY_NAME.iter();
        let Some(view) = views.find(|view| view.name == name || camel_case(view.name) == name) else {
            return Ok(None);
        };
        if words.len() != view.arguments.len() {
            let expected = match view.arguments {
                [] => "none".to_string(),
                names => names.join(" "),
            };
            return Err(NodeCommandError::Argument {
                field: "ARGUMENTS",
                reason: format!("{name} takes {expected}, found {}", words.len()),
            });
        }
        let call = (view.call)(words)?;
        let words = words.to_vec();
        Ok(Some(Self { view, words, call }))
    }

    /// What the contract answered.
    ///
    /// # Errors
    /// [`NodeCommandError::Absent`], [`NodeCommandError::Contract`].
    pub fn answer(&self, returned: &[u8]) -> Result<Answer, NodeCommandError> {
        (self.view.decode)(returned, &self.words)
    }
}

/// The names of all views with their arguments.
pub fn names() -> String {
    let names = VIEWS.iter().map(|view| {
        let words = std::iter::once(view.name).chain(view.arguments.iter().copied());
        words.collect::<Vec<_>>().join(" ")
    });
    names.collect::<Vec<_>>().join(", ")
}

/// A name as the contract writes it.
pub fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_string();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.extend(letters);
        name
    })
}

fn parsed<T: FromStr>(field: &'static str, text: &str) -> Result<T, NodeCommandError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| NodeCommandError::Argument {
        field,
        reason: format!("{text:?}: {error}"),
    })
}

/// The first argument: the address of an operator, or the id of a node.
fn node(words: &[String]) -> Result<&str, NodeCommandError> {
    let text = &words[0];
    if text.parse::<Address>().is_err() && text.parse::<NodeId>().is_err() {
        let reason = format!("{text:?} is neither an address (AU…) nor a node id (N…)");
        return Err(NodeCommandError::Argument { field: "NODE", reason });
    }
    Ok(text)
}

fn address(words: &[String]) -> Result<Address, NodeCommandError> {
    parsed("ADDRESS", &words[0])
}

fn digest(field: &'static str, text: &str) -> Result<Digest, NodeCommandError> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).map_err(|error| NodeCommandError::Argument {
        field,
        reason: format!("expected 64 hexadecimal digits: {error}"),
    })?;
    Ok(digest)
}

fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, NodeCommandError> {
    hex::decode(text).map_err(|error| NodeCommandError::Argument {
        field,
        reason: format!("expected hexadecimal digits: {error}"),
    })
}

/// The id of a manual challenge: free text.
fn challenge_id(text: &str) -> Result<&str, NodeCommandError> {
    if (1..=registry::CHALLENGE_ID_BYTES_MAX).contains(&text.len()) {
        return Ok(text);
    }
    Err(NodeCommandError::Argument {
        field: "CHALLENGE_ID",
        reason: format!(
            "{} bytes, 1 to {} are allowed",
            text.len(),
            registry::CHALLENGE_ID_BYTES_MAX
        ),
    })
}

fn present<T>(answer: Option<T>, what: impl FnOnce() -> String) -> Result<T, NodeCommandError> {
    answer.ok_or_else(|| NodeCommandError::Absent(what()))
}

impl Report for Answer {
    fn text(&self) -> String {
        match self {
            Self::Node(info) => node_text(info),
            Self::Challenge(challenge) => challenge_text(challenge),
            Self::Period(stats) => period_text(stats),
            Self::Config(config) => name_value_lines(config_lines(config)),
            Self::NextConfig { config, next_round } => {
                let lines = config_lines(config).into_iter();
                name_value_lines(lines.chain([("in force", format!("from round {next_round} on"))]))
            }
            Self::TotalNodes { total_nodes } => total_nodes.to_string(),
            Self::Nodes { nodes } => nodes.iter().map(Address::to_string).collect::<Vec<_>>().join("\n"),
            Self::Pending { pending_rewards } => mas(pending_rewards),
            Self::Round(result) => round_text(result),
            Self::Draws { draws } => {
                let row = |(index, draw): (usize, &Draw)| {
                    vec![index.to_string(), draw.leaf.to_string(), draw.challenge_id.clone()]
                };
                table(
                    ["draw", "leaf of the claim", "challenge id"],
                    draws.iter().enumerate().map(row),
                )
            }
            Self::Segment(accepted) => name_value_lines([
                ("root", accepted.root.to_string()),
                ("accepted", format!("in round {}", accepted.round)),
            ]),
            Self::Slot(answer) => slot_text(answer),
            Self::State(state) => state_text(state),
        }
    }
}

fn mas(amount: &Amount) -> String {
    format!("{amount} MAS")
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}

fn hex_or(digest: Option<&Digest>, none: &str) -> String {
    digest.map_or_else(|| none.to_string(), hex::encode)
}

fn node_text(info: &NodeInfo) -> String {
    let listeners: Vec<String> = info.listeners.iter().map(ToString::to_string).collect();
    let id = match (info.node_id.as_str(), listeners.join(" ")) {
        ("", _) => "not told".to_string(),
        (id, listeners) if listeners.is_empty() => id.to_string(),
        (id, listeners) => format!("{id} at {listeners}"),
    };
    let leaving = |round| format!("weighs nothing from round {round} on");
    let challenged = match info.last_challenged_period {
        0 => "never".to_string(),
        period => format!("in period {period}"),
    };
    let kept = match info.retention_periods {
        0 => "all periods".to_string(),
        periods => format!("the last {periods} periods"),
    };
    let votes = info
        .votes_round
        .map_or_else(|| "none".to_string(), |round| format!("last in round {round}"));
    let counted = format!(
        "last in round {}; claims again from round {}",
        info.last_counted_round, info.no_claim_before_round
    );
    let weight = format!(
        "{} GB in this round, {} GB in the second after it",
        info.weight, info.weight_soon
    );
    let allocated = format!(
        "{} GB in this round, {} GB from round {} on",
        info.allocated_gb_now, info.allocated_gb, info.allocated_gb_from_round
    );
    let rewards = format!(
        "{}, of which {} can be claimed now",
        mas(&info.pending_rewards),
        mas(&info.claimable_rewards)
    );
    name_value_lines([
        ("operator", info.address.to_string()),
        ("node", crate::output::unbroken(&id)),
        ("registered", format!("in period {}", info.registered_period)),
        ("active", yes_no(info.active)),
        ("leaving", info.leave_round.map_or_else(|| "no".to_string(), leaving)),
        ("allocated", allocated),
        ("weight", weight),
        ("filled", yes_no(info.filled)),
        ("keeps", kept),
        ("stake", mas(&info.stake)),
        ("rewards", rewards),
        (
            "draws",
            format!("{} of {} passed", info.passed_challenges, info.total_challenges),
        ),
        ("challenged", challenged),
        ("counted", counted),
        ("root votes", votes),
        ("placement key", hex_or(info.placement_key.as_ref(), "not set yet")),
    ])
}

fn slot_text(answer: &SlotAnswer) -> String {
    let state = match answer.state {
        SlotState::NotAnchored => "not known: its segment has no accepted root",
        SlotState::Block => "the block that was asked for",
        SlotState::OtherBlock => "another block",
        SlotState::Miss => "missed",
    };
    let id = answer.block_id.as_ref();
    let round = answer
        .round
        .map_or_else(|| "no".to_string(), |round| format!("in round {round}"));
    name_value_lines([
        ("slot", state.to_string()),
        ("block", id.map_or_else(|| "none".to_string(), ToString::to_string)),
        ("accepted", round),
    ])
}

fn challenge_text(challenge: &ManualChallenge) -> String {
    let outcome = match (challenge.resolved, challenge.passed) {
        (false, _) => "open",
        (true, true) => "passed",
        (true, false) => "failed",
    };
    name_value_lines([
        ("challenge", crate::output::unbroken(&challenge.id)),
        ("node", challenge.node_address.to_string()),
        ("chunk", challenge.chunk_id.to_string()),
        ("leaf", format!("{} modulo the leaves of the chunk", challenge.nonce)),
        ("issued", format!("in period {}", challenge.issued_period)),
        ("deadline", massa_time_text(challenge.deadline_ms)),
        ("outcome", outcome.to_string()),
    ])
}

fn massa_time_text(milliseconds: u64) -> String {
    format!("{milliseconds} ms since 1970")
}

fn period_text(stats: &PeriodStats) -> String {
    let progress = match (stats.closed, stats.frozen) {
        (true, _) => "closed",
        (false, true) => "answers are taken: rate and reserve are fixed",
        (false, false) => "open for claims",
    };
    let paused = if stats.paused { ", touched by a pause" } else { "" };
    let claims = format!(
        "{} nodes: {} GB, {} leaves, stake {}; seasoned stake {}",
        stats.active_nodes,
        stats.total_gb_stored,
        stats.leaves,
        mas(&stats.claim_stake),
        mas(&stats.electorate)
    );
    let answers = format!(
        "{} nodes, {} of {} draws passed",
        stats.answers, stats.challenges_passed, stats.challenges_issued
    );
    let credited = format!(
        "{} for {} nodes",
        mas(&stats.total_rewards_distributed),
        stats.node_count
    );
    name_value_lines([
        ("round of period", stats.period.to_string()),
        ("state", format!("{progress}{paused}")),
        ("claims", claims),
        ("answers", answers),
        ("beacon", hex_or(stats.beacon.as_ref(), "none accepted")),
        ("rate", format!("{} for each GB and period", mas(&stats.rate))),
        ("reserve", mas(&stats.reserve)),
        ("credited", credited),
        (
            "slash",
            format!("{} % of the stake when all draws are missed", stats.slash_percentage),
        ),
    ])
}

/// A configuration, line by line.
pub fn config_lines(config: &StorageConfig) -> Vec<(&'static str, String)> {
    vec![
        (
            "reward",
            format!("{} for each GB and period", mas(&config.reward_per_gb_per_period)),
        ),
        (
            "allocation",
            format!("{} to {} GB", config.min_allocated_gb, config.max_allocated_gb),
        ),
        (
            "stake",
            format!(
                "{} for each GB, at least {}",
                mas(&config.stake_per_gb),
                mas(&config.min_stake)
            ),
        ),
        (
            "slash",
            format!("{} % of the stake when all draws are missed", config.slash_percentage),
        ),
        (
            "manual challenges",
            format!("answered within {} ms", config.challenge_response_timeout_ms),
        ),
        (
            "replication",
            format!("each chunk on {} nodes", config.replication_factor),
        ),
        ("chunk", format!("{} bytes", config.chunk_size_bytes)),
        ("segment", format!("{} periods", config.challenge_frequency_periods)),
        (
            "round",
            format!("{} segments, {} periods", config.round_segments, config.round_periods()),
        ),
        ("first segment", config.first_segment.to_string()),
    ]
}

fn round_text(result: &RoundResult) -> String {
    let draws = result.draw_reasons.iter().enumerate();
    let draws: Vec<String> = draws
        .map(|(draw, reason)| format!("{draw} {}", reason_text(*reason)))
        .collect();
    let state = format!("{:?}", result.state).to_lowercase();
    let refuted = if result.refuted { ", refuted" } else { "" };
    let reason = match result.reason {
        0 => "nothing against it",
        reason => reason_text(reason),
    };
    name_value_lines([
        ("round", result.round.to_string()),
        ("state", format!("{state}{refuted}: {reason}")),
        (
            "claimed",
            format!("{} leaves, root {}", result.leaves, hex::encode(result.root)),
        ),
        ("stake", mas(&result.stake)),
        ("weight", format!("{} GB", result.weight)),
        ("beacon", hex::encode(result.beacon)),
        ("draws", format!("{} of {} passed", result.passes, result.draws)),
        ("each draw", draws.join(", ")),
        ("credit", format!("{} not matured", mas(&result.credit))),
    ])
}

fn state_text(state: &RegistryState) -> String {
    let last = state.last_accepted_round;
    let last = last.map_or_else(
        || "no beacon was accepted yet".to_string(),
        |round| format!("last in round {round}"),
    );
    let paused = match state.pause_until {
        0 => "never".to_string(),
        until => format!("from period {} to before period {until}", state.pause_from),
    };
    name_value_lines([
        (
            "stakes",
            format!("{} of {} nodes with a key", mas(&state.stakes), state.keyed_nodes),
        ),
        ("credited", mas(&state.credited)),
        ("reserves", mas(&state.reserves)),
        ("pool", mas(&state.pool)),
        (
            "burned",
            format!("{}, and {} to be burned", mas(&state.burned), mas(&state.to_burn)),
        ),
        ("next segment", state.next_segment.to_string()),
        ("accepted", last),
        ("paused", paused),
    ])
}

#[cfg(test)]
mod tests;
