//! `docs/economics.md` says what the formulas and the defaults give.

#[path = "../economics/mod.rs"]
mod economics;

use economics::{document, Economy, MAS_USD, OBJECT_STORE_USD, PLAN_RATE, REFERENCE_MAS_USD};
use std::path::Path;

/// Set by `scripts/economics`: the document is written instead of compared.
const WRITE: &str = "WRITE_ECONOMICS";

#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/economics.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, document()).expect("docs can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("docs/economics.md is committed");
    assert!(
        committed == document(),
        "docs/economics.md is not what the defaults give: run scripts/economics"
    );
}

#[test]
fn the_default_is_cheaper_than_an_object_store_and_the_plans_rate_is_not() {
    assert!(MAS_USD.contains(&REFERENCE_MAS_USD));
    let cost = |economy: &Economy| economy.mas_per_gb_month() * economy.copies as f64 * REFERENCE_MAS_USD;
    assert!(cost(&Economy::defaults()) < OBJECT_STORE_USD);
    assert!(cost(&Economy::at_rate(PLAN_RATE)) > OBJECT_STORE_USD);
}

/// 10⁶ nanoMAS for a GB and period, 400 periods, 405 rounds of 6400 s in 30 days.
#[test]
fn the_plans_rate_by_hand() {
    let plan = Economy::at_rate(PLAN_RATE);
    assert_eq!(plan.round_credit(1), 400_000_000);
    assert!((plan.rounds_per_month() - 405.0).abs() < 1e-9);
    assert!((plan.mas_per_gb_month() - 162.0).abs() < 1e-9);
    // 405 fees of 0.01 MAS, and a fiftieth for claims: 4.05 / (162 · 0.98) = 0.0255, in hundredths.
    assert!((plan.break_even_gb() - 0.03).abs() < 1e-9);
}

/// Three begun GB of 1 MAS: a tenth of them, and four rounds of 400 periods.
#[test]
fn a_missed_round_by_hand() {
    let (slash, pay) = Economy::defaults().missed_round(2.5);
    assert!((slash - 0.3).abs() < 1e-9);
    assert!((pay - 4.0 * 2.5 * 400.0 * 20_000.0 / 1e9).abs() < 1e-9);
}

/// The design's number for a small node.
#[test]
fn fees_are_earned_from_1_3_gb_on() {
    assert!(Economy::defaults().break_even_gb() <= 1.3);
}
