//! Rows that the tests measure: joining, watching and reaching run under a virtual clock, or over thousands of simulated nodes,
//! in the tests of the worker and of the protocol, which print what they find.

use super::report::Row;
use std::path::Path;

/// A figure in what a test prints: the line that has all these words, the text right before the figure, its unit.
struct Printed {
    name: &'static str,
    words: &'static [&'static str],
    before: &'static str,
    target: f64,
    unit: &'static str,
    at_least: bool,
    test: &'static str,
}

const PRINTED: [Printed; 8] = [
    Printed {
        name: "watching 1 000 nodes' answers, the longest tick",
        words: &["holders known: true"],
        before: "the longest tick ",
        target: 5.0,
        unit: "ms",
        at_least: false,
        test: "segment_watch",
    },
    Printed {
        name: "the same before holders are known",
        words: &["holders known: false"],
        before: "the longest tick ",
        target: 5.0,
        unit: "ms",
        at_least: false,
        test: "segment_watch",
    },
    Printed {
        name: "a joiner's tables for 5.7 M periods, 8 peers, 100 ms (virtual clock)",
        words: &["tables of 57000 segments, 1 roots", "round trip 100 ms"],
        before: "round trip 100 ms: ",
        target: 180.0,
        unit: "s",
        at_least: false,
        test: "segment_repair",
    },
    Printed {
        name: "the same with all roots accepted, 10 ms",
        words: &["tables of 57000 segments, 57000 roots", "round trip 10 ms"],
        before: "round trip 10 ms: ",
        target: 180.0,
        unit: "s",
        at_least: false,
        test: "segment_repair",
    },
    Printed {
        name: "then its chunks, 100 ms (virtual clock)",
        words: &["chunks, round trip 100 ms"],
        before: " s, ",
        target: 0.8,
        unit: "of the link",
        at_least: true,
        test: "segment_repair",
    },
    Printed {
        name: "the same, 10 ms",
        words: &["chunks, round trip 10 ms"],
        before: " s, ",
        target: 0.8,
        unit: "of the link",
        at_least: true,
        test: "segment_repair",
    },
    Printed {
        name: "a chunk's holder dialed and read, 1 000 nodes, the slowest (round trips of 100 ms)",
        words: &["1000 nodes:"],
        before: "slowest after ",
        target: 0.3,
        unit: "s",
        at_least: false,
        test: "storage_connections",
    },
    Printed {
        name: "the same, 10 000 nodes",
        words: &["10000 nodes:"],
        before: "slowest after ",
        target: 0.3,
        unit: "s",
        at_least: false,
        test: "storage_connections",
    },
];

/// The rows, with the figures in the file `printed` if there is one.
pub fn rows(printed: Option<&Path>) -> Vec<Row> {
    let text = printed.map(|path| std::fs::read_to_string(path).expect("the output of the simulations can be read"));
    PRINTED.iter().map(|row| row.read(text.as_deref())).collect()
}

impl Printed {
    fn read(&self, text: Option<&str>) -> Row {
        let value = text.map(|text| {
            let line = text
                .lines()
                .find(|line| self.words.iter().all(|word| line.contains(word)));
            let figure = line.and_then(|line| line.split(self.before).nth(1));
            let value = figure.and_then(|figure| figure_in(figure, self.unit));
            value.unwrap_or_else(|| panic!("the test {} did not print {:?} before a figure", self.test, self.before))
        });
        Row {
            name: self.name.into(),
            value,
            unit: self.unit,
            target: Some(self.target),
            at_least: self.at_least,
            extrapolated: None,
            note: format!("by the test {}", self.test),
        }
    }
}

/// The figure at the beginning of `text`, a number or a time as Rust prints it, in `unit`.
fn figure_in(text: &str, unit: &str) -> Option<f64> {
    let end = text
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(text.len());
    let value: f64 = text[..end].parse().ok()?;
    let seconds = ["ns", "µs", "ms", "s"].into_iter().zip([1e-9, 1e-6, 1e-3, 1.0]);
    let given = seconds
        .clone()
        .find(|(name, _)| text[end..].starts_with(name))
        .map(|(_, scale)| scale);
    let wanted = seconds.clone().find(|(name, _)| unit == *name).map(|(_, scale)| scale);
    match (given, wanted) {
        (Some(given), Some(wanted)) => Some(value * given / wanted),
        (_, None) => Some(value),
        (None, Some(_)) => None,
    }
}
