//! `massa-cli storage status`: one screen of 24 lines and 80 columns, whatever the node says.

use crate::output::{count, name_value_lines, Report};
use crate::storage::earnings::result;
use massa_api_exports::distributed_storage::rounds::{EarnedRound, RoundsInfo};
use massa_api_exports::distributed_storage::{Progress, RegisteredNode, RegistryInfo, StorageStatus};
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_models::amount::Amount;

/// Columns of the screen.
const COLUMNS: usize = 80;
/// Lines of the screen, less one for the prompt.
const LINES: usize = 23;
/// Reasons for missing slots that are shown.
const REASONS: usize = 3;
/// Lines that are kept for the reasons why not more.
const REASON_LINES: usize = 2;
/// What is left out, the first one first, when the screen is full.
const DISPENSABLE: [&str; 6] = ["network", "repairing", "chain id", "operator", "chunks", "peers"];
/// Width of the names, which the continuation lines of a value leave free.
const INDENT: usize = 14;

impl Report for StorageStatus {
    fn text(&self) -> String {
        if !self.running {
            return name_value_lines([("node", self.node_id.to_string()), ("archive", not_running(self))]);
        }
        let lines = lines(self).into_iter();
        let lines = lines.map(|(name, value)| cut(&format!("{name:width$}{value}", width = INDENT)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Why a node archives nothing.
fn not_running(status: &StorageStatus) -> String {
    let why = status.problem.clone().unwrap_or_else(|| status.why_not_more.join("; "));
    let text = if status.enabled {
        format!("NOT RUNNING: {why}")
    } else {
        why
    };
    crate::output::unbroken(&text)
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
        ("chunks", chunks(status)),
        ("assigned", assigned(status)),
        ("disk", disk(status)),
        ("missing", missing(status)),
    ]);
    lines.extend(missing_details(status).into_iter().map(|detail| ("", detail)));
    lines.extend(repairing(status));
    lines.extend([("peers", peers(status)), ("network", network(status))]);
    lines.extend(copies(status).map(|copies| ("copies", copies)));
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
    if let Some(damage) = status.damages.last() {
        let more = status.damages.len() - 1;
        let more = if more > 0 {
            format!(" (and {more} more)")
        } else {
            String::new()
        };
        let wrapped = wrap(&format!("{damage}{more}"), COLUMNS - INDENT);
        lines.extend(headed("DAMAGED", wrapped.into_iter().take(2).collect()));
    }
    lines.extend(status.differing_segment.map(|segment| {
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
    let state = if status.is_closing { "closing" } else { "filling" };
    let anchored = match status.registry.address {
        Some(_) => format!("{} anchored, ", status.segments_anchored),
        None => String::new(),
    };
    format!(
        "{} closed, {anchored}{state} {}",
        status.segments_closed, status.first_open_segment
    )
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

fn chunks(status: &StorageStatus) -> String {
    format!(
        "{} held of {}, {} stored as {}",
        status.chunks_held,
        status.chunks_total,
        bytes(status.bytes_held),
        bytes(status.bytes_stored)
    )
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
        "{} to this node, {} missing, {} as next holder, {} beyond",
        count(status.chunks_assigned, "chunk", "chunks"),
        status.chunks_missing,
        status.chunks_backup,
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

fn missing(status: &StorageStatus) -> String {
    let missing = &status.missing;
    let oldest = missing.oldest_period;
    let oldest = oldest.map_or_else(String::new, |period| format!(", the oldest in period {period}"));
    let full = match status.queue_full_count {
        0 => String::new(),
        count => format!("; the queue was full {count} times"),
    };
    format!("{}{oldest}{full}", count(missing.slots, "slot", "slots"))
}

/// What keeps a segment open, and why slots are missing: the most frequent reasons first.
fn missing_details(status: &StorageStatus) -> Vec<String> {
    let missing = &status.missing;
    let mut details = Vec::new();
    details.extend(missing.blocked.map(|blocked| {
        let slot = format!("{}:{}", blocked.slot.period, blocked.slot.thread);
        let waiting = match blocked.waiting {
            0 => String::new(),
            segments => format!(", {} behind it", count(segments, "whole segment", "whole segments")),
        };
        format!("segment {} waits for slot {slot}{waiting}", blocked.segment)
    }));
    let mut reasons: Vec<(&String, u64)> = missing.reasons.iter().map(|(reason, count)| (reason, *count)).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = reasons.len().saturating_sub(REASONS);
    let shown = reasons
        .iter()
        .take(REASONS)
        .map(|(reason, count)| format!("{count}: {reason}"));
    details.extend(shown.chain((more > 0).then(|| format!("and {more} more reasons"))));
    details
}

/// What is fetched, and how long it takes still.
fn repairing(status: &StorageStatus) -> Vec<(&'static str, String)> {
    let repairing = &status.repairing;
    let mut parts = Vec::new();
    if repairing.periods > 0 {
        let periods = count(repairing.periods, "open period", "open periods");
        parts.push(format!("blocks of {periods}"));
    }
    parts.extend(repairing.replacing.map(|segment| format!("segment {segment} again")));
    if repairing.handing_over > 0 {
        let chunks = count(repairing.handing_over, "chunk", "chunks");
        parts.push(format!("handing over {chunks}"));
    }
    if repairing.damaged > 0 {
        parts.push(format!("{} were damaged", repairing.damaged));
    }
    let progress = [("tables", &repairing.tables), ("fetching", &repairing.chunks)];
    let unfinished: Vec<_> = progress
        .into_iter()
        .filter(|(_, progress)| progress.done < progress.total)
        .map(|(name, progress)| (name, progress_text(name, progress)))
        .collect();
    let mut lines = Vec::new();
    if !parts.is_empty() || unfinished.is_empty() {
        let text = if parts.is_empty() {
            "nothing".to_string()
        } else {
            parts.join("; ")
        };
        lines.push(("repairing", text));
    }
    lines.extend(unfinished);
    lines
}

fn progress_text(name: &str, progress: &Progress) -> String {
    let what = if name == "fetching" { " chunks" } else { "" };
    let left = progress.seconds_left;
    let left = left.map_or_else(
        || "time left not known".to_string(),
        |left| format!("{} left", duration(left)),
    );
    format!(
        "{} of {}{what}, {} a minute, {left}",
        progress.done, progress.total, progress.per_minute
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
        "chunks of {} on {}; segments of {}, rounds of {}",
        bytes(status.chunk_size),
        count(status.replication_factor, "node", "nodes"),
        count(status.segment_periods, "period", "periods"),
        status.round_segments
    )
}

/// While the nodes offer too little room for all copies.
fn copies(status: &StorageStatus) -> Option<String> {
    let (now, full) = (status.factor_in_force, status.replication_factor);
    (now < full).then(|| format!("{now} of each chunk for now: too little room for {full}"))
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
    lines.extend(next_round(round, rounds).map(|next| ("next round", next)));
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

/// When the next round opens, once that is known.
fn next_round(round: u64, rounds: &RoundsInfo) -> Option<String> {
    let opens = round
        .saturating_add(1)
        .checked_mul(rounds.round_periods)
        .filter(|opens| *opens > 0)?;
    let left = opens.saturating_sub(rounds.period);
    let milliseconds = u128::from(left) * u128::from(rounds.round_ms) / u128::from(rounds.round_periods);
    let seconds = u64::try_from(milliseconds / 1000).unwrap_or(u64::MAX);
    Some(format!("opens in {}, with period {opens}", duration(seconds)))
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
    let weight = match (own.has_placement_key, own.leave_round) {
        (false, _) => "no placement key yet".to_string(),
        (true, Some(round)) => format!("leaves with round {round}"),
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

    fn status() -> StorageStatus {
        let node_id = "N12EwXhhnJRxcgSWDPNJAGJTqKm1mLSAuuJnXUczrwYWCsffaUHK".parse().unwrap();
        StorageStatus {
            enabled: true,
            running: true,
            ..StorageStatus::of_node(node_id, 1)
        }
    }

    #[test]
    fn what_is_repaired_is_told_with_rate_and_time_left_where_there_is_any() {
        let mut status = status();
        assert_eq!(repairing(&status), [("repairing", "nothing".to_string())]);
        (status.repairing.handing_over, status.repairing.damaged) = (1, 3);
        assert_eq!(
            repairing(&status),
            [("repairing", "handing over 1 chunk; 3 were damaged".to_string())]
        );
        status.repairing = Default::default();
        status.repairing.tables = Progress {
            done: 120,
            total: 4000,
            per_minute: 30,
            seconds_left: Some(7760),
        };
        status.repairing.chunks = Progress {
            total: 9,
            ..Progress::default()
        };
        assert_eq!(
            repairing(&status),
            [
                ("tables", "120 of 4000, 30 a minute, 2 hours left".to_string()),
                ("fetching", "0 of 9 chunks, 0 a minute, time left not known".to_string())
            ]
        );
    }

    #[test]
    fn an_archive_that_does_not_run_says_why() {
        let mut status = status();
        status.running = false;
        status.problem = Some("config.toml: path is missing".to_string());
        assert!(status
            .text()
            .ends_with("archive  NOT RUNNING: config.toml: path is missing"));
        (status.enabled, status.problem) = (false, None);
        status.why_not_more = vec!["storage is disabled".to_string()];
        assert!(status.text().ends_with("archive  storage is disabled"));
    }

    #[test]
    fn what_keeps_a_segment_open_is_named() {
        let mut status = status();
        assert_eq!(missing_details(&status), Vec::<String>::new());
        status.missing.blocked = Some(massa_api_exports::distributed_storage::BlockedAt {
            segment: 5,
            slot: massa_models::slot::Slot::new(503, 4),
            waiting: 1,
        });
        assert_eq!(
            missing_details(&status),
            ["segment 5 waits for slot 503:4, 1 whole segment behind it"]
        );
    }

    #[test]
    fn the_next_round_is_told_in_time() {
        let mut rounds = RoundsInfo {
            period: 850,
            ..RoundsInfo::default()
        };
        assert_eq!(next_round(2, &rounds), None);
        (rounds.round_periods, rounds.round_ms) = (400, 6_400_000);
        assert_eq!(next_round(2, &rounds).unwrap(), "opens in 93 minutes, with period 1200");
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
