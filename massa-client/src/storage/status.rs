//! `massa-cli storage status`: one screen of 24 lines and 80 columns, whatever the node says.

use crate::output::{count, name_value_lines, Report};
use massa_api_exports::distributed_storage::{RegisteredNode, RegistryInfo, StorageStatus};

/// Columns of the screen.
const COLUMNS: usize = 80;
/// Lines of the screen, less one for the prompt.
const LINES: usize = 23;
/// Reasons for awaited places that are shown.
const REASONS: usize = 3;
/// Width of the names, which the continuation lines of a value leave free.
const INDENT: usize = 14;

impl Report for StorageStatus {
    fn text(&self) -> String {
        if !self.enabled {
            return name_value_lines([
                ("node", self.node_id.to_string()),
                ("archive", self.why_not_more.join("; ")),
            ]);
        }
        let lines = lines(self).into_iter();
        let lines = lines.map(|(name, value)| cut(&format!("{name:width$}{value}", width = INDENT)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Names and values, as many as the screen has lines.
fn lines(status: &StorageStatus) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("node", status.node_id.to_string()),
        ("operator", or_none(status.operator_address.as_ref())),
        (
            "chain id",
            format!("{}, archived from period {}", status.chain_id, status.first_period),
        ),
        ("stored", stored(status)),
        (
            "segments",
            format!("{} complete, filling {}", status.segments_complete, status.next_segment),
        ),
        ("chain", chain(status)),
        (
            "chunks",
            format!(
                "{} held of {}, {}",
                status.chunks_held,
                status.chunks_total,
                bytes(status.bytes_held)
            ),
        ),
        ("assigned", assigned(status)),
        ("disk", disk(status)),
        ("awaited", awaited(status)),
    ];
    lines.extend(awaited_reasons(status).into_iter().map(|reason| ("", reason)));
    lines.extend([
        ("repairing", repairing(status)),
        ("peers", peers(status)),
        ("network", network(status)),
    ]);
    lines.extend(registry(&status.registry));
    if let Some(error) = &status.store_error {
        let wrapped = wrap(&format!("STOPPED: {error}"), COLUMNS - INDENT);
        lines.extend(headed("store", wrapped.into_iter().take(2).collect()));
    }
    let room = LINES.saturating_sub(lines.len());
    lines.extend(headed("why not more", reasons(status, room)));
    lines
}

fn stored(status: &StorageStatus) -> String {
    let periods = count(status.archived_periods, "period", "periods");
    let last = status.last_archived_period;
    let last = last.map_or_else(String::new, |last| format!(", the last one is {last}"));
    format!("{periods}{last}; pruned below {}", status.floor)
}

fn chain(status: &StorageStatus) -> String {
    let final_period = status.last_period_final;
    let final_period = final_period.map_or_else(
        || "nothing final".to_string(),
        |last| format!("final up to period {last}"),
    );
    let synced = if status.synced { "synced" } else { "not synced yet" };
    format!("{final_period}, {synced}")
}

fn assigned(status: &StorageStatus) -> String {
    format!(
        "{} to this node, {} missing, {} held beyond them",
        count(status.chunks_assigned, "chunk", "chunks"),
        status.chunks_missing,
        status.chunks_extra
    )
}

fn disk(status: &StorageStatus) -> String {
    let per_mille = u128::from(status.disk_bytes) * 1000 / u128::from(status.allocated_bytes.max(1));
    let percent = format!("{}.{} %", per_mille / 10, per_mille % 10);
    format!(
        "{} of {} ({percent})",
        bytes(status.disk_bytes),
        bytes(status.allocated_bytes)
    )
}

fn awaited(status: &StorageStatus) -> String {
    let oldest = status.awaited.oldest_period;
    let oldest = oldest.map_or_else(String::new, |period| format!(", the oldest in period {period}"));
    let full = match status.queue_full_count {
        0 => String::new(),
        count => format!("; the queue was full {count} times"),
    };
    format!("{}{oldest}{full}", count(status.awaited.places, "place", "places"))
}

/// The most frequent ones first.
fn awaited_reasons(status: &StorageStatus) -> Vec<String> {
    let mut reasons: Vec<(&String, u64)> = status
        .awaited
        .reasons
        .iter()
        .map(|(reason, count)| (reason, *count))
        .collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = reasons.len().saturating_sub(REASONS);
    let shown = reasons
        .iter()
        .take(REASONS)
        .map(|(reason, count)| format!("{count}: {reason}"));
    shown
        .chain((more > 0).then(|| format!("and {more} more reasons")))
        .collect()
}

fn repairing(status: &StorageStatus) -> String {
    format!(
        "{}, {}, {}",
        count(status.repairing.manifests, "manifest", "manifests"),
        count(status.repairing.chunks, "chunk", "chunks"),
        count(status.repairing.blocks, "block", "blocks")
    )
}

fn peers(status: &StorageStatus) -> String {
    let peers = &status.peers;
    format!(
        "{} connected, {} archive, {} quarantined",
        peers.connected, peers.storage, peers.quarantined
    )
}

fn network(status: &StorageStatus) -> String {
    format!(
        "each chunk on {}; chunks of {}; segments of {}",
        count(status.replication_factor, "node", "nodes"),
        bytes(status.chunk_size),
        count(status.segment_periods, "period", "periods")
    )
}

/// The registry, this node in it, and what its operator should see to.
fn registry(registry: &RegistryInfo) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(address) = &registry.address {
        let nodes = count(registry.registered_nodes, "node", "nodes");
        lines.push(("registry", format!("{address}, {nodes}")));
        let own = registry.own.as_ref();
        lines.push((
            "registered",
            own.map_or_else(|| "this node is not".to_string(), registered),
        ));
    }
    lines.extend(registry.problem.iter().map(|problem| ("registry", problem.clone())));
    lines.extend(registry.low_balance.iter().map(|low| ("coins", low.clone())));
    let refused = registry.last_refusal.as_ref();
    lines.extend(refused.map(|refused| ("refused", format!("{}: {}", refused.purpose, refused.reason))));
    lines
}

fn registered(own: &RegisteredNode) -> String {
    let weight = match (own.has_placement_key, own.leave_segment) {
        (false, _) => "no placement key yet".to_string(),
        (true, Some(segment)) => format!("leaves with segment {segment}"),
        (true, None) if own.weight == own.weight_soon => format!("weight {} GB", own.weight),
        (true, None) => format!("weight {} GB, soon {} GB", own.weight, own.weight_soon),
    };
    format!(
        "{weight}, stake {} MAS, draws {}/{}, {} MAS to claim",
        own.stake, own.passed_draws, own.total_draws, own.matured_rewards
    )
}

/// As many as `room` lines hold.
fn reasons(status: &StorageStatus, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let wrapped = |reason: &String| wrap(reason, COLUMNS - INDENT);
    lines.extend(status.why_not_more.iter().flat_map(wrapped));
    if lines.is_empty() {
        lines.push("nothing is missing".to_string());
    }
    let more = lines.len() > room;
    lines.truncate(room);
    if let Some(last) = lines.last_mut().filter(|_| more) {
        *last = "… (--json says all)".to_string();
    }
    lines
}

/// The first line gets the name.
fn headed(name: &'static str, values: Vec<String>) -> Vec<(&'static str, String)> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(values).collect()
}

fn or_none(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "none".to_string(), ToString::to_string)
}

/// Bytes with three or four digits and a binary unit.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let exponent = (number.ilog2() / 10).min(6);
    let tenths = (u128::from(number) * 10) >> (10 * exponent);
    let unit = UNITS[exponent as usize - 1];
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Breaks a text between words. Longer words are cut later.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_string());
        }
    }
    lines
}

/// What fits the screen, without what moves the cursor: part of the text is the node's.
fn cut(line: &str) -> String {
    let line: String = line
        .trim_end()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= COLUMNS {
        return line;
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}
