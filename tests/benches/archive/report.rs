//! Rows, and how they are shown.

use serde_json::{json, Value};
use std::fmt::Write;

/// What a row must reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// `ratio` at least this.
    Ratio(f64),
    /// `value` at most this.
    AtMost(f64),
    /// Reported only.
    None,
}

/// One measurement.
pub struct Row {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// What limits it, measured in the same run, in the same unit.
    pub limit: Option<(&'static str, f64)>,
    pub target: Target,
}

impl Row {
    /// How close the value comes to its limit: 1 is the limit itself.
    pub fn ratio(&self) -> Option<f64> {
        let (_, limit) = self.limit?;
        // For times, less is better.
        let is_rate = self.unit.ends_with("/s");
        Some(if is_rate {
            self.value / limit
        } else {
            limit / self.value
        })
    }

    pub fn met(&self) -> Option<bool> {
        match self.target {
            Target::Ratio(target) => Some(self.ratio()? >= target),
            Target::AtMost(target) => Some(self.value <= target),
            Target::None => None,
        }
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::Ratio(target) => format!("ratio ≥ {target}"),
            Target::AtMost(target) => format!("≤ {} {}", (target * 100.0).round() / 100.0, self.unit),
            Target::None => String::new(),
        }
    }
}

/// The rows as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | measured | limit in the same run | ratio | target | met |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for row in rows {
        let limit = row
            .limit
            .map_or(String::new(), |(name, limit)| format!("{limit:.2} {} {name}", row.unit));
        let ratio = row.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let met = row.met().map_or("", |met| if met { "yes" } else { "no" });
        let (name, value, unit, target) = (row.name, row.value, row.unit, row.target_text());
        writeln!(
            text,
            "| {name} | {value:.2} {unit} | {limit} | {ratio} | {target} | {met} |"
        )
        .expect("a string takes all");
    }
    text
}

/// The rows as JSON, one object a line.
pub fn json(rows: &[Row]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| row_json(row).to_string()).collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

fn row_json(row: &Row) -> Value {
    let (target, target_is) = match row.target {
        Target::Ratio(target) => (Some(target), Some("ratio at least")),
        Target::AtMost(target) => (Some(target), Some("value at most")),
        Target::None => (None, None),
    };
    json!({
        "name": row.name,
        "value": row.value,
        "unit": row.unit,
        "limit": row.limit.map(|(_, limit)| limit),
        "limit_name": row.limit.map(|(name, _)| name),
        "ratio": row.ratio(),
        "target": target,
        "target_is": target_is,
        "met": row.met(),
    })
}
