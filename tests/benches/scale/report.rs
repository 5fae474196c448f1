//! Rows, and how they are shown: the fields of `bench.json`, and what is extrapolated beside them.

use super::growth::Costs;
use serde_json::{json, Value};
use std::fmt::Write;

/// Periods of today's chain.
pub const TODAYS_PERIODS: u64 = 5_700_000;

/// What the row would be at another size: computed, not measured.
#[derive(Clone, Copy)]
pub struct Extrapolated {
    pub size: u64,
    pub value: f64,
}

/// One figure.
pub struct Row {
    pub name: String,
    /// `None`: it is measured elsewhere, see the note.
    pub value: Option<f64>,
    pub unit: &'static str,
    /// The value is at most this, or with `at_least` at least.
    pub target: Option<f64>,
    pub at_least: bool,
    pub extrapolated: Option<Extrapolated>,
    pub note: String,
}

impl Row {
    /// A figure that must not be above `most`.
    pub fn at_most(name: &str, most: f64, unit: &'static str, value: f64) -> Self {
        Self {
            target: Some(most),
            ..Self::only(unit, name, value)
        }
    }

    /// A figure without a target.
    pub fn only(unit: &'static str, name: &str, value: f64) -> Self {
        Self {
            name: name.into(),
            value: Some(value),
            unit,
            target: None,
            at_least: false,
            extrapolated: None,
            note: String::new(),
        }
    }

    /// The same with a remark.
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    fn met(&self) -> Option<bool> {
        let (value, target) = (self.value?, self.target?);
        Some(if self.at_least {
            value >= target
        } else {
            value <= target
        })
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "limit": null,
            "limit_name": null,
            "ratio": null,
            "target": self.target,
            "target_is": self.target.map(|_| if self.at_least { "value at least" } else { "value at most" }),
            "met": self.met(),
            "extrapolated_to": self.extrapolated.map(|at| at.size),
            "extrapolated": self.extrapolated.map(|at| at.value),
            "note": self.note,
        })
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The rows as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | target | measured | met | extrapolated to 5.7 M periods | note |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let sign = if row.at_least { "≥" } else { "≤" };
        let target = row.target.map_or(String::new(), |target| {
            format!("{sign} {} {}", number(target), row.unit)
        });
        let value = row
            .value
            .map_or("not here".into(), |value| format!("{} {}", number(value), row.unit));
        let met = row.met().map_or("", |met| if met { "yes" } else { "no" });
        let extrapolated = row
            .extrapolated
            .map_or(String::new(), |at| format!("{} {}", number(at.value), row.unit));
        let (name, note) = (&row.name, &row.note);
        writeln!(
            text,
            "| {name} | {target} | {value} | {met} | {extrapolated} | {note} |"
        )
        .expect("a string takes all");
    }
    text
}

/// Rows, then counted costs, as JSON, one object a line.
pub fn json(rows: &[Row], costs: &Costs) -> String {
    let objects = rows.iter().map(Row::json).chain(costs.json());
    let lines: Vec<String> = objects.map(|object| object.to_string()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
