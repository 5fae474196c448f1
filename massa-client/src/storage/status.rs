//! `massa-cli storage status`: one screen of 24 lines and 80 columns, whatever the node says.

use crate::node::{Node, NodeCommandError};
use crate::output::{count, name_value_lines, unbroken, Output, Report};
use crate::storage::earnings::result;
use massa_api_exports::distributed_storage::rounds::{EarnedRound, RoundsInfo};
use massa_api_exports::distributed_storage::{Progress, RegisteredNode, RegistryInfo, StatusPart, StorageStatus};
use massa_api_exports::rpc::MassaRpcClient;
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
/// Lines that a value with money or ids in it may take: these are not cut.
const VALUE_LINES: usize = 3;
/// What is told of a part of the status that the node could not read.
const NOT_KNOWN: &str = "not known";
/// What is left out, the first one first, when the screen is full.
const DISPENSABLE: [&str; 6] = ["network", "repairing", "chain id", "operator", "chunks", "peers"];
/// Width of the names, which the continuation lines of a value leave free.
const INDENT: usize = 14;

/// Prints the status.
///
/// # Errors
/// [`NodeCommandError`]; also, after it was printed, that the archive does not run although it should.
pub(super) fn status(node: &Node, output: Output) -> Result<(), NodeCommandError> {
    let status = node.call(|client| client.get_storage_status())?;
    output.print(&status)?;
    if status.enabled && !status.running {
        return Err(NodeCommandError::NotRunning(not_running_why(&status)));
    }
    Ok(())
}

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
    let why = not_running_why(status);
    if status.enabled {
        format!("NOT RUNNING: {why}")
    } else {
        why
    }
}

fn not_running_why(status: &StorageStatus) -> String {
    let why = status.problem.clone().unwrap_or_else(|| status.why_not_more.join("; "));
    unbroken(&why)
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
    ]);
    lines.extend(wrapped("missing", &missing(status)));
    lines.extend(missing_details(status).into_iter().map(|detail| ("", detail)));
    lines.extend(repairing(status));
    lines.extend([("peers", peers(status)), ("network", network(status))]);
    lines.extend(copies(status).map(|copies| ("copies", copies)));
    lines.extend(registry(status, &status.registry));
    lines.extend(status.registry.rounds.iter().flat_map(rounds));
    make_room(&mut lines);
    let room = LINES.saturating_sub(lines.len());
    lines.extend(headed("why not more", reasons(status, room)));
    lines
}

/// What its operator must see whatever else there is to say.
fn alarms(status: &StorageStatus) -> Vec<(&'static str, String)> {
    let shown = status.alarms.iter().take(2);
    let shown = shown.map(|alarm| wrap(alarm, COLUMNS - INDENT).into_iter().take(VALUE_LINES).collect());
    let mut lines: Vec<_> = shown.flat_map(|alarm| headed("ALARM", alarm)).collect();
    if let Some(error) = &status.store_error {
        let wrapped = wrap(&format!("STOPPED: {error}"), COLUMNS - INDENT);
        lines.extend(headed("store", wrapped.into_iter().take(2).collect()));
    }
    let stopped = status.stopped_parts.iter().take(2);
    lines.extend(stopped.flat_map(|part| {
        headed(
            "NOT RUNNING",
            wrap(part, COLUMNS - INDENT).into_iter().take(2).collect(),
        )
    }));
    let errors = status.errors.iter().take(2);
    let errors = errors.map(|(part, error)| wrap(&format!("{part}: {error}"), COLUMNS - INDENT));
    lines.extend(errors.flat_map(|error| headed("NOT READ", error.into_iter().take(2).collect())));
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

fn is_known(status: &StorageStatus, part: StatusPart) -> bool {
    !status.errors.contains_key(&part)
}

/// A value in as many lines as it takes.
fn wrapped(name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    headed(
        name,
        wrap(value, COLUMNS - INDENT).into_iter().take(VALUE_LINES).collect(),
    )
}

fn segments(status: &StorageStatus) -> String {
    let state = if status.is_closing { "closing" } else { "filling" };
    let anchored = match status.registry.address {
        Some(_) => format!("{} anchored, ", status.segments_anchored),
        None => String::new(),
    };
    let closed = match is_known(status, StatusPart::Counters) {
        true => status.segments_closed.to_string(),
        false => NOT_KNOWN.to_string(),
    };
    format!("{closed} closed, {anchored}{state} {}", status.first_open_segment)
}

fn stored(status: &StorageStatus) -> String {
    let periods = match is_known(status, StatusPart::Counters) {
        true => count(status.archived_periods, "period", "periods"),
        false => format!("periods {NOT_KNOWN}"),
    };
    let last = status.last_archived_period;
    let last = last.map_or_else(String::new, |last| format!(", the last one is {last}"));
    let lost = match status.lost_periods {
        0 => String::new(),
        lost => format!("; {lost} LOST"),
    };
    format!("{periods}{last}{lost}; pruned below {}", status.floor)
}

fn chunks(status: &StorageStatus) -> String {
    if !is_known(status, StatusPart::Counters) {
        return NOT_KNOWN.to_string();
    }
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
    let synced = if status.synced { "synced" } else { "not synced" };
    format!("{final_period}, {synced}")
}

fn assigned(status: &StorageStatus) -> String {
    let chunks = count(status.chunks_assigned, "chunk", "chunks");
    if !is_known(status, StatusPart::Counters) {
        return format!("{chunks} to this node, missing {NOT_KNOWN}");
    }
    format!(
        "{chunks} to this node, {} missing, {} as next holder, {} beyond",
        status.chunks_missing, status.chunks_backup, status.chunks_extra
    )
}

fn disk(status: &StorageStatus) -> String {
    if !is_known(status, StatusPart::Disk) {
        return format!("{NOT_KNOWN}, of {}", bytes(status.allocated_bytes));
    }
    let per_mille = u128::from(status.disk_bytes) * 1000 / u128::from(status.allocated_bytes.max(1));
    let percent = format!("{}.{} %", per_mille / 10, per_mille % 10);
    format!(
        "{} of {} ({percent})",
        bytes(status.disk_bytes),
        bytes(status.allocated_bytes)
    )
}

/// By what decides: the periods that lack slots, whether their blocks were let go here or never came.
fn missing(status: &StorageStatus) -> String {
    let missing = &status.missing;
    let mut parts = Vec::new();
    match missing.periods {
        0 => {}
        1 => parts.push("1 period lacks slots".to_string()),
        periods => parts.push(format!("{periods} periods lack slots")),
    }
    if missing.slots > 0 {
        let oldest = missing.oldest_period;
        let oldest = oldest.map_or_else(String::new, |period| format!(", the oldest in period {period}"));
        parts.push(format!(
            "{} let go{oldest}",
            count(missing.slots, "slot was", "slots were")
        ));
    }
    if status.queue_full_count > 0 {
        parts.push(format!(
            "the queue was full {}",
            count(status.queue_full_count, "time", "times")
        ));
    }
    match parts.is_empty() {
        true => "nothing".to_string(),
        false => parts.join("; "),
    }
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
    let connected = match is_known(status, StatusPart::Peers) {
        true => peers.connected.to_string(),
        false => NOT_KNOWN.to_string(),
    };
    format!(
        "{connected} connected, {} archive, {} quarantined",
        peers.storage, peers.quarantined
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
fn registry(status: &StorageStatus, registry: &RegistryInfo) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(address) = &registry.address {
        let nodes = match is_known(status, StatusPart::RegisteredNodes) {
            true => count(registry.registered_nodes, "node", "nodes"),
            false => format!("nodes {NOT_KNOWN}"),
        };
        lines.extend(wrapped("registry", &format!("{address}, {nodes}")));
        let own = match &registry.own {
            Some(own) => registered(own),
            None if !is_known(status, StatusPart::OwnRecord) => NOT_KNOWN.to_string(),
            None => "this node is not".to_string(),
        };
        lines.extend(wrapped("registered", &own));
    }
    lines.extend(registry.problem.iter().flat_map(|problem| wrapped("registry", problem)));
    lines.extend(registry.low_balance.iter().flat_map(|low| wrapped("coins", low)));
    let refused = registry.last_refusal.as_ref();
    let refused = refused.map(|refused| format!("{}: {}", refused.purpose, refused.reason));
    lines.extend(refused.iter().flat_map(|refused| wrapped("refused", refused)));
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
    lines.extend(wrapped("earned", &earned(rounds)));
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
        let missing = &status.missing;
        let is_whole = missing.periods == 0 && missing.slots == 0 && status.chunks_missing == 0;
        let text = if !status.alarms.is_empty() {
            "see the alarms above"
        } else if is_whole {
            "nothing is missing"
        } else {
            "what is missing comes by itself"
        };
        lines.push(text.to_string());
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
    fn a_part_that_could_not_be_read_is_named_and_its_values_are_not_told_as_none() {
        let mut status = status();
        status.allocated_bytes = 1 << 30;
        status.errors = [
            (StatusPart::Counters, "damaged: counters"),
            (StatusPart::Disk, "could not measure /gone: No such file or directory"),
        ]
        .map(|(part, error)| (part, error.to_string()))
        .into();
        let text = status.text();
        for expected in [
            "NOT READ      the totals of the store: damaged: counters",
            "could not measure /gone",
            "stored        periods not known",
            "not known closed, filling 0",
            "chunks        not known",
            "0 chunks to this node, missing not known",
            "disk          not known, of 1.0 GiB",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        status.stopped_parts = vec!["rounds: claims and earnings in /store: an error".into()];
        assert!(status
            .text()
            .contains("NOT RUNNING   rounds: claims and earnings in /store"));
    }

    #[test]
    fn what_peers_show_to_be_wrong_comes_first_and_nothing_says_that_all_is_well() {
        let mut status = status();
        status.alarms = vec!["the final state of this node after slot 8:7 is not that of 3 of 3 peers".to_string()];
        let text = status.text();
        let first: Vec<&str> = text.lines().skip(1).take(2).collect();
        assert_eq!(
            first,
            [
                "ALARM         the final state of this node after slot 8:7 is not that of 3 of 3",
                "              peers"
            ]
        );
        assert!(!text.contains("nothing is missing"), "{text}");
        assert!(text.contains("why not more  see the alarms above"), "{text}");
        status.alarms.clear();
        status.why_not_more = vec!["this machine's clock is 30.0 s behind 3 peers".to_string()];
        assert!(status
            .text()
            .ends_with("why not more  this machine's clock is 30.0 s behind 3 peers"));
        assert!(status.text().contains("nothing final, not synced"));
    }

    #[test]
    fn money_and_ids_are_never_cut() {
        let mut status = status();
        let address = "AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L";
        status.registry.address = Some(address.parse().unwrap());
        status.registry.registered_nodes = u64::MAX;
        status.registry.own = Some(RegisteredNode {
            stake: Amount::MAX,
            allocated_gb: 16_384,
            weight: 16_384,
            weight_soon: 16_383,
            filled: true,
            has_placement_key: true,
            leave_round: None,
            last_counted_round: 1,
            total_draws: 1_000_000,
            passed_draws: 999_999,
            matured_rewards: Amount::MAX,
        });
        let totals = massa_api_exports::distributed_storage::rounds::EarningTotals {
            credited: Amount::MAX,
            claimed: Amount::MAX,
            fees: Amount::MAX,
            ..Default::default()
        };
        status.registry.rounds = Some(RoundsInfo {
            round: Some(1),
            totals,
            matured: Amount::MAX,
            ..RoundsInfo::default()
        });
        let text = status.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        let amount = Amount::MAX.to_string();
        assert_eq!(words.iter().filter(|word| **word == amount).count(), 2, "{text}");
        let rounded = four_decimals(Amount::MAX).to_string();
        assert_eq!(words.iter().filter(|word| **word == rounded).count(), 4, "{text}");
        assert!(text.contains(address) && text.contains(&u64::MAX.to_string()), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn what_is_missing_and_why_not_more_do_not_contradict_each_other() {
        let mut status = status();
        assert_eq!(
            (missing(&status), reasons(&status, 2)),
            ("nothing".into(), vec!["nothing is missing".to_string()])
        );
        status.missing.periods = 1033;
        assert_eq!(missing(&status), "1033 periods lack slots");
        assert_eq!(reasons(&status, 2), ["what is missing comes by itself"]);
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
