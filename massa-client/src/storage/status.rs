//! `massa-cli storage status`: one screen of 24 lines and 80 columns, whatever the node says.

use crate::output::{count, name_value_lines, Report};
use crate::storage::earnings::result;
use massa_api_exports::distributed_storage::{RegisteredNode, RegistryInfo, StorageStatus};
use massa_api_exports::rounds::{EarnedRound, RoundsInfo};
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_models::amount::Amount;

/// Columns of the screen.
const COLUMNS: usize = 80;
/// Lines of the screen, less one for the prompt.
const LINES: usize = 23;
/// Reasons for awaited places that are shown.
const REASONS: usize = 3;
/// Lines that are kept for the reasons why not more.
const REASON_LINES: usize = 2;
/// What is left out, the first one first, when the screen is full.
const DISPENSABLE: [&str; 6] = ["network", "repairing", "chain id", "operator", "chunks", "peers"];
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
    let mut lines = vec![("node", status.node_id.to_string())];
    lines.extend(alarms(status));
    lines.extend([
        ("operator", or_none(status.operator_address.as_ref())),
        (
            "chain id",
            format!("{}, archived from period {}", status.chain_id, status.first_period),
        ),
        ("stored", stored(status)),
        ("segments", segments(status)),
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
    ]);
    lines.extend(awaited_reasons(status).into_iter().map(|reason| ("", reason)));
    lines.extend([
        ("repairing", repairing(status)),
        ("peers", peers(status)),
        ("network", network(status)),
    ]);
    lines.extend(registry(&status.registry));
    lines.extend(status.registry.rounds.iter().flat_map(rounds));
    make_room(&mut lines);
    let room = LINES.saturating_sub(lines.len());
    lines.extend(headed("why not more", reasons(status, room)));
    lines
}

/// What its operator must see whatever else there is to say.
fn alarms(status: &StorageStatus) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(error) = &status.store_error {
        let wrapped = wrap(&format!("STOPPED: {error}"), COLUMNS - INDENT);
        lines.extend(headed("store", wrapped.into_iter().take(2).collect()));
    }
    let rounds = status.registry.rounds.as_ref();
    let differing = rounds.and_then(|rounds| rounds.differing_segment);
    lines.extend(differing.map(|segment| {
        (
            "DIFFERS",
            format!("THE ROOT OF SEGMENT {segment} IS NOT THE ACCEPTED ONE"),
        )
    }));
    lines
}

/// Leaves out what matters least until the reasons have room, and what is below the screen.
fn make_room(lines: &mut Vec<(&'static str, String)>) {
    let most = LINES - REASON_LINES;
    for name in DISPENSABLE {
        if lines.len() > most {
            lines.retain(|(of, _)| *of != name);
        }
    }
    lines.truncate(most);
}

fn segments(status: &StorageStatus) -> String {
    let rounds = status.registry.rounds.as_ref();
    let anchored = rounds.map_or_else(String::new, |rounds| format!("{} anchored, ", rounds.segments_anchored));
    let (complete, next) = (status.segments_complete, status.next_segment);
    format!("{complete} complete, {anchored}filling {next}")
}

fn stored(status: &StorageStatus) -> String {
    let periods = count(status.archived_periods, "period", "periods");
    let last = status.last_archived_period;
    let last = last.map_or_else(String::new, |last| format!(", the last one is {last}"));
    let lost = match status.lost_periods {
        0 => String::new(),
        lost => format!("; {lost} LOST"),
    };
    format!("{periods}{last}{lost}; pruned below {}", status.floor)
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
    let repairing = &status.repairing;
    let mut text = format!(
        "{}, {}, {}",
        count(repairing.manifests, "manifest", "manifests"),
        count(repairing.chunks, "chunk", "chunks"),
        count(repairing.blocks, "block", "blocks")
    );
    if repairing.handing_over > 0 {
        text += &format!("; handing over {}", count(repairing.handing_over, "chunk", "chunks"));
    }
    if repairing.damaged > 0 {
        text += &format!("; {} were damaged", repairing.damaged);
    }
    text
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

/// The rounds of proofs: what is claimed, what was earned, and for how long the pool pays.
fn rounds(rounds: &RoundsInfo) -> Vec<(&'static str, String)> {
    let Some(round) = rounds.round else {
        return vec![("round", "not known yet".to_string())];
    };
    let mut lines = vec![("round", claims(round, rounds))];
    lines.extend(rounds.last.as_ref().map(|last| ("last result", last_result(last))));
    lines.push(("earned", earned(rounds)));
    lines.extend(pool(rounds).map(|pool| ("pool", pool)));
    lines
}

fn claims(round: u64, rounds: &RoundsInfo) -> String {
    let claimed = |claim: Option<&EarnedRound>| claim.map_or_else(|| "nothing".to_string(), |claim| size(claim.leaves));
    let (open, next) = (rounds.open.as_ref(), rounds.next.as_ref());
    let state = open.map_or_else(String::new, |open| format!("; {} draws, {}", open.draws, result(open)));
    format!(
        "{round}: {} claimed, {} for the next{state}",
        claimed(open),
        claimed(next)
    )
}

fn size(leaves: u64) -> String {
    bytes(leaves.saturating_mul(LEAF_BYTES as u64))
}

fn last_result(last: &EarnedRound) -> String {
    let (round, passes, draws, credited) = (last.round, last.passes, last.draws, last.credited);
    format!(
        "round {round}: {passes}/{draws} draws, {credited} MAS: {}",
        result(last)
    )
}

fn earned(rounds: &RoundsInfo) -> String {
    let totals = &rounds.totals;
    let [credited, matured, claimed, fees] =
        [totals.credited, rounds.matured, totals.claimed, totals.fees].map(four_decimals);
    format!("{credited} MAS credited, {matured} matured, {claimed} claimed, {fees} of fees")
}

/// Rounded down, so that the line has room for all; `storage earnings` has every nano.
fn four_decimals(amount: Amount) -> Amount {
    Amount::from_raw(amount.to_raw() / 100_000 * 100_000)
}

fn pool(rounds: &RoundsInfo) -> Option<String> {
    let left = rounds.rounds_left_in_pool?;
    if left == 0 {
        return Some("EMPTY: rounds pay less, or nothing, until someone funds it".to_string());
    }
    let lasts = duration(left.saturating_mul(rounds.round_ms) / 1000);
    Some(format!("runs out in {lasts} ({})", count(left, "round", "rounds")))
}

/// A time in its largest unit that is there at least twice.
fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400 * 365, "years"),
        (86_400, "days"),
        (3_600, "hours"),
        (60, "minutes"),
    ];
    let unit = UNITS.into_iter().find(|(unit, _)| seconds / unit >= 2);
    unit.map_or_else(
        || format!("{seconds} s"),
        |(unit, name)| format!("{} {name}", seconds / unit),
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use massa_api_exports::distributed_storage::{DisabledStorage, StorageApi};

    #[test]
    fn a_duration_is_told_in_the_largest_unit_that_is_there_twice() {
        let texts = [0, 119, 120, 7_199, 7_200, 172_800, 86_400 * 730].map(duration);
        assert_eq!(
            texts,
            [
                "0 s",
                "119 s",
                "2 minutes",
                "119 minutes",
                "2 hours",
                "2 days",
                "2 years"
            ]
        );
    }

    #[test]
    fn what_is_handed_over_and_what_was_damaged_is_told_where_there_is_any() {
        let mut status: StorageStatus = StorageStatus {
            enabled: true,
            ..DisabledStorage {
                node_id: "N12EwXhhnJRxcgSWDPNJAGJTqKm1mLSAuuJnXUczrwYWCsffaUHK".parse().unwrap(),
                chain_id: 1,
            }
            .status()
            .unwrap()
        };
        assert_eq!(repairing(&status), "0 manifests, 0 chunks, 0 blocks");
        (status.repairing.handing_over, status.repairing.damaged) = (1, 3);
        assert_eq!(
            repairing(&status),
            "0 manifests, 0 chunks, 0 blocks; handing over 1 chunk; 3 were damaged"
        );
    }

    #[test]
    fn what_matters_least_makes_room_first() {
        let names = ["node", "network", "operator", "stored", "chain id"];
        let mut lines: Vec<(&'static str, String)> = names.map(|name| (name, String::new())).to_vec();
        lines.extend(vec![("stored", String::new()); 18]);
        make_room(&mut lines);
        let left: Vec<&str> = lines.iter().map(|(name, _)| *name).take(4).collect();
        assert_eq!((lines.len(), left), (21, vec!["node", "operator", "stored", "stored"]));
    }

    #[test]
    fn what_was_earned_fits_a_line_whatever_the_amounts() {
        let mut rounds = RoundsInfo::default();
        let (totals, nano) = (&mut rounds.totals, |nano| Amount::from_raw(nano));
        (totals.credited, totals.claimed, totals.fees) = (nano(6_243_953_698), nano(4_997_406_123), nano(210_000_000));
        rounds.matured = nano(1_246_547_575);
        let line = earned(&rounds);
        assert_eq!(
            line,
            "6.2439 MAS credited, 1.2465 matured, 4.9974 claimed, 0.21 of fees"
        );
        assert!("registered    ".len() + line.len() <= COLUMNS);
    }

    #[test]
    fn the_pool_is_told_in_time_once_a_rate_was_fixed() {
        let rounds = |left| RoundsInfo {
            round_ms: 1_600_000,
            rounds_left_in_pool: left,
            ..RoundsInfo::default()
        };
        assert_eq!(pool(&rounds(None)), None);
        assert_eq!(pool(&rounds(Some(216))).unwrap(), "runs out in 4 days (216 rounds)");
        assert!(pool(&rounds(Some(0))).unwrap().starts_with("EMPTY"));
    }
}
