//! temporary
use massa_tests::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let full = a[1] == "full";
    let c = if full {
        GeneratorConfig {
            seed: 1,
            miss_rate: 0.0,
            operations: 60..=60,
            payload_share: 1.0,
            payload_bytes: 4500..=5000,
            ..Default::default()
        }
    } else {
        GeneratorConfig {
            seed: 1,
            operations: 0..=60,
            ..Default::default()
        }
    };
    let mut g = Generator::new(c);
    let p = g.parameters();
    let mut f = MblkFile::new(p.chain_id, p.thread_count);
    for _ in 0..(if full { 12 } else { 99 }) {
        let n = g.period();
        let pl = g.next_period();
        f.push_period(n, &pl);
    }
    write_mblk(std::path::Path::new(&a[2]), &f);
}
