//! The detection table of `docs/security.md` is what the code computes.

use massa_distributed_storage_worker::rounds::detection::table;
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- detection: begin -->\n";
const END: &str = "<!-- detection: end -->";
/// 100 periods of 16 s.
const ROUNDS_PER_DAY: u32 = 54;

fn expected() -> String {
    let mut text =
        String::from("| kept back | claim | in a round | in a day | in 30 days |\n|---:|---|---:|---:|---:|\n");
    for (draws, claim) in [(4, "below 256 GB, 4 draws"), (16, "3 TB and more, 16 draws")] {
        for row in table(draws, ROUNDS_PER_DAY) {
            let percent = |chance: f64| format!("{:.1} %", 100.0 * chance);
            let (round, day, month) = (percent(row.in_a_round), percent(row.in_a_day), percent(row.in_30_days));
            let missing = format!("{} %", 100.0 * row.missing);
            writeln!(text, "| {missing} | {claim} | {round} | {day} | {month} |").expect("a string takes all");
        }
    }
    text
}

#[test]
fn the_detection_table_is_computed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let document = std::fs::read_to_string(&path).expect("docs/security.md is committed");
    let begin = document.find(BEGIN).expect("the table has a beginning") + BEGIN.len();
    let end = document.find(END).expect("the table has an end");
    if std::env::var_os("WRITE_SECURITY").is_some() {
        let written = format!("{}{}{}", &document[..begin], expected(), &document[end..]);
        std::fs::write(&path, written).expect("docs can be written");
        return;
    }
    assert_eq!(&document[begin..end], expected(), "run this test with WRITE_SECURITY=1");
}
