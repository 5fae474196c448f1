//! Costs that must not grow with history: counted at three sizes, and an exponent fitted through them.

use serde_json::{json, Value};
use std::fmt::Write;

/// A cost that grows like the size to this power, or more, grows. It allows for what differs between two parts of a random
/// history, and for nothing else: one row more out of twenty, over four times the size, is 0.03.
const EXPONENT_MAX: f64 = 0.02;

/// One cost, counted at a quarter, at half and at the whole of what it must not depend on.
pub struct Cost {
    pub name: String,
    pub counts: Vec<u64>,
}

impl Cost {
    /// The power of the size that the cost grows with: the slope of a straight line through the logarithms, by least squares.
    pub fn exponent(&self) -> f64 {
        let points = self.counts.iter().enumerate();
        let points: Vec<(f64, f64)> = points
            .map(|(number, count)| (number as f64 * 2f64.ln(), (*count as f64 + 1.0).ln()))
            .collect();
        let count = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        covariance / variance
    }

    fn grows(&self) -> bool {
        self.exponent() > EXPONENT_MAX
    }

    /// Name, counts and exponent.
    pub fn line(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(u64::to_string).collect();
        format!("{}: {}, exponent {:.2}", self.name, counts.join(", "), self.exponent())
    }
}

/// All costs that are counted, in the order in which they were counted first.
#[derive(Default)]
pub struct Costs(Vec<Cost>);

impl Costs {
    /// Adds the count of the next size.
    pub fn count(&mut self, name: &str, count: u64) {
        match self.0.iter_mut().find(|cost| cost.name == name) {
            Some(cost) => cost.counts.push(count),
            None => self.0.push(Cost {
                name: name.into(),
                counts: vec![count],
            }),
        }
    }

    /// Those that grow.
    pub fn growing(&self) -> Vec<&Cost> {
        self.0.iter().filter(|cost| cost.grows()).collect()
    }

    /// As a Markdown table.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| counted, must not grow | at ¼ | at ½ | at 1 | exponent | grows |\n|---|---|---|---|---|---|\n",
        );
        for cost in &self.0 {
            let counts: Vec<String> = cost.counts.iter().map(u64::to_string).collect();
            let grows = if cost.grows() { "YES" } else { "no" };
            let (name, exponent) = (&cost.name, cost.exponent());
            writeln!(text, "| {name} | {} | {exponent:.2} | {grows} |", counts.join(" | "))
                .expect("a string takes all");
        }
        text
    }

    /// One object for each cost.
    pub fn json(&self) -> Vec<Value> {
        let object = |cost: &Cost| {
            json!({
                "name": cost.name,
                "value": cost.counts.last(),
                "unit": "counted",
                "counts": cost.counts,
                "exponent": cost.exponent(),
                "target": EXPONENT_MAX,
                "target_is": "exponent at most",
                "met": !cost.grows(),
            })
        };
        self.0.iter().map(object).collect()
    }
}

/// A straight line through figures at sizes, by least squares, and what it gives at `size`.
pub fn extrapolate(sizes: &[u64], values: &[f64], size: u64) -> f64 {
    let count = sizes.len() as f64;
    let mean_x = sizes.iter().map(|x| *x as f64).sum::<f64>() / count;
    let mean_y = values.iter().sum::<f64>() / count;
    let pairs = sizes.iter().map(|x| *x as f64 - mean_x).zip(values);
    let (covariance, variance) = pairs.fold((0.0, 0.0), |(covariance, variance), (x, y)| {
        (covariance + x * (y - mean_y), variance + x * x)
    });
    mean_y + (size as f64 - mean_x) * covariance / variance
}
