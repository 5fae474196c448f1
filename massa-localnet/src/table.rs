//! What is shown while a network runs.

use crate::survey::{Counted, PeriodSurvey, SegmentSurvey, Survey};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// Segments in the live table.
pub const ROWS: u64 = 12;

const HEADINGS: [&str; 7] = ["segment", "periods", "state", "kB", "chunks", "replicas", "holders"];

/// The segments of a survey, one in each row. `holders` has for each node the chunks that it holds.
pub fn table(survey: &Survey) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(HEADINGS);
    for (segment, surveyed) in &survey.segments {
        table.add_row(cells(*segment, surveyed, survey.nodes.len()));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// An archived period in one line, for a log.
pub fn period_line(period: u64, surveyed: &PeriodSurvey) -> String {
    let kilobytes = surveyed.bytes.div_ceil(1_000);
    let (first, last) = (surveyed.chunks.start(), surveyed.chunks.end());
    let segment = surveyed.segment;
    let counted = surveyed.counted.map_or_else(String::new, |counted| {
        let Counted {
            blocks,
            misses,
            operations,
        } = counted;
        format!("blocks {blocks}, misses {misses}, operations {operations}, ")
    });
    format!("period {period}: {counted}kB {kilobytes}, chunks {first}-{last} of segment {segment}")
}

/// A segment in one line, for a log.
pub fn segment_line(segment: u64, surveyed: &SegmentSurvey, nodes: usize) -> String {
    let cells = cells(segment, surveyed, nodes);
    let named = HEADINGS.iter().zip(&cells).skip(1);
    let parts: Vec<String> = named.map(|(heading, cell)| format!("{heading} {cell}")).collect();
    format!("segment {segment}: {}", parts.join(", "))
}

fn cells(segment: u64, surveyed: &SegmentSurvey, nodes: usize) -> [String; 7] {
    let replicas = match surveyed.replicas() {
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min}-{max}"),
    };
    let holders: Vec<String> = (0..nodes).map(|node| surveyed.held_by(node).to_string()).collect();
    let last = surveyed.first_period + surveyed.periods.saturating_sub(1);
    let of_closed = |text: String| if surveyed.is_closed(nodes) { text } else { "-".into() };
    [
        segment.to_string(),
        format!("{}-{last}", surveyed.first_period),
        surveyed.state(nodes).to_owned(),
        surveyed.bytes.div_ceil(1_000).to_string(),
        of_closed(surveyed.chunks.len().to_string()),
        of_closed(replicas),
        of_closed(holders.join("/")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::tests::{span, view};

    fn survey() -> Survey {
        let of = |name, held| view(name, &[(0, 7), (1, 7), (2, 7)], held);
        Survey::new(&[of("a", [true, false]), of("b", [true, true])], span(0, 2))
    }

    #[test]
    fn a_line_says_what_a_segment_has_and_who_holds_it() {
        let survey = survey();
        assert_eq!(
            segment_line(0, &survey.segments[&0], 2),
            "segment 0: periods 0-1, state closed, kB 200, chunks 2, replicas 1-2, holders 1/2"
        );
        assert_eq!(
            segment_line(1, &survey.segments[&1], 2),
            "segment 1: periods 2-2, state open, kB 100, chunks -, replicas -, holders -"
        );
    }

    #[test]
    fn a_line_says_what_a_period_has_as_long_as_a_node_tells() {
        let mut survey = survey();
        let period = survey.periods.get_mut(&1).unwrap();
        assert_eq!(
            period_line(1, period),
            "period 1: blocks 3, misses 1, operations 9, kB 100, chunks 1-1 of segment 0"
        );
        period.counted = None;
        assert_eq!(period_line(1, period), "period 1: kB 100, chunks 1-1 of segment 0");
    }

    #[test]
    fn a_table_has_a_row_for_each_segment() {
        let lines: Vec<String> = table(&survey()).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("holders") && lines[1].contains("1/2") && lines[2].contains("open"));
    }
}
