//! The tables of `docs/security.md` are what the code computes.

use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::placement_score;
use massa_distributed_storage_worker::rounds::detection::table;
use std::fmt::Write;
use std::path::Path;

/// Nodes that hold each chunk.
const REPLICAS: usize = 3;
/// Chunks that are placed.
const CHUNKS: u32 = 20_000;
/// 4 segments of 100 periods of 16 s.
const ROUNDS_PER_DAY: f64 = 86_400.0 / (400.0 * 16.0);

fn detection() -> String {
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

/// A hash of a number, as a chunk id or a placement key.
fn digest(domain: &[u8], number: u32) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain).update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// Of `nodes` nodes of the same size, the first two have one disk: chunks that the first has to hold, and of these the ones that
/// the second has to hold as well.
fn shared_chunks(nodes: u32) -> (u32, u32) {
    let keys: Vec<Digest> = (0..nodes).map(|node| digest(b"node", node)).collect();
    let (mut held, mut shared) = (0, 0);
    for chunk in (0..CHUNKS).map(|number| ChunkId::from_bytes(digest(b"chunk", number))) {
        let score = |key: &Digest| placement_score(&chunk, key, 1).expect("weights are not 0");
        let scores: Vec<_> = keys.iter().map(score).collect();
        let is_holder = |node: usize| scores.iter().filter(|other| **other < scores[node]).count() < REPLICAS;
        held += u32::from(is_holder(0));
        shared += u32::from(is_holder(0) && is_holder(1));
    }
    (held, shared)
}

fn saving() -> String {
    let mut text = String::from("| nodes | chunks of one identity | of these on the other, too | saved | (R−1)/(n−1) |\n|---:|---:|---:|---:|---:|\n");
    for nodes in [5, 10, 30, 100] {
        let (held, shared) = shared_chunks(nodes);
        let measured = f64::from(shared) / f64::from(held);
        let formula = (REPLICAS - 1) as f64 / f64::from(nodes - 1);
        let deviation = (formula * (1.0 - formula) / f64::from(held)).sqrt();
        assert!(
            (measured - formula).abs() < 4.0 * deviation,
            "{nodes} nodes: {measured}, formula {formula}"
        );
        let (measured, formula) = (100.0 * measured, 100.0 * formula);
        writeln!(
            text,
            "| {nodes} | {held} | {shared} | {measured:.1} % | {formula:.1} % |"
        )
        .expect("a string takes all");
    }
    text
}

/// Compares what is between two marks of the document, or writes it there.
fn check(mark: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let document = std::fs::read_to_string(&path).expect("docs/security.md is committed");
    let begin_mark = format!("<!-- {mark}: begin -->\n");
    let begin = document.find(&begin_mark).expect("the table has a beginning") + begin_mark.len();
    let end = document
        .find(&format!("<!-- {mark}: end -->"))
        .expect("the table has an end");
    if std::env::var_os("WRITE_SECURITY").is_some() {
        let written = format!("{}{expected}{}", &document[..begin], &document[end..]);
        std::fs::write(&path, written).expect("docs can be written");
        return;
    }
    assert_eq!(&document[begin..end], expected, "run this test with WRITE_SECURITY=1");
}

#[test]
fn the_tables_are_computed() {
    check("detection", &detection());
    check("saving", &saving());
}
