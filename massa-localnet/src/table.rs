//! What is shown while a network runs.

use crate::survey::{PeriodSurvey, Survey};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// Periods in the live table.
pub const ROWS: u64 = 12;

const HEADINGS: [&str; 8] = [
    "period",
    "blocks",
    "misses",
    "operations",
    "kB",
    "chunks",
    "replicas",
    "holders",
];

/// The periods of a survey, one in each row. `holders` has for each node the chunks that it holds.
pub fn table(survey: &Survey) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(HEADINGS);
    for (period, surveyed) in &survey.periods {
        table.add_row(cells(*period, surveyed, survey.nodes.len()));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// A period in one line, for a log.
pub fn line(period: u64, surveyed: &PeriodSurvey, nodes: usize) -> String {
    let cells = cells(period, surveyed, nodes);
    let named = HEADINGS.iter().zip(&cells).skip(1);
    let parts: Vec<String> = named.map(|(heading, cell)| format!("{heading} {cell}")).collect();
    format!("period {period}: {}", parts.join(", "))
}

fn cells(period: u64, surveyed: &PeriodSurvey, nodes: usize) -> [String; 8] {
    let operations = surveyed
        .operations
        .map_or_else(|| "-".into(), |count| count.to_string());
    let replicas = match surveyed.replicas() {
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min}-{max}"),
    };
    let holders: Vec<String> = (0..nodes).map(|node| surveyed.held_by(node).to_string()).collect();
    [
        period.to_string(),
        surveyed.blocks.to_string(),
        surveyed.misses.to_string(),
        operations,
        surveyed.bytes.div_ceil(1_000).to_string(),
        surveyed.chunks.len().to_string(),
        replicas,
        holders.join("/"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::tests::view;

    fn survey() -> Survey {
        let views = [view("a", &[(1, 7)], [true, false]), view("b", &[(1, 7)], [true, true])];
        Survey::new(&views, 1, 1)
    }

    #[test]
    fn a_line_says_what_a_period_has_and_who_holds_it() {
        let survey = survey();
        assert_eq!(
            line(1, &survey.periods[&1], 2),
            "period 1: blocks 3, misses 1, operations -, kB 100, chunks 2, replicas 1-2, holders 1/2"
        );
    }

    #[test]
    fn a_table_has_a_row_for_each_period() {
        let lines: Vec<String> = table(&survey()).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("holders") && lines[1].contains("1/2"));
    }
}
