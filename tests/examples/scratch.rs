use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::storage_backend::writer::Durability;
use massa_distributed_storage_worker::storage_backend::PendingRows;
use massa_distributed_storage_worker::{Store, StoreOptions};
use massa_tests::generator::{Generator, GeneratorConfig};
use std::time::Instant;
fn main() {
    let mut g = Generator::new(GeneratorConfig {
        seed: 1,
        miss_rate: 0.0,
        operations: 60..=60,
        payload_share: 1.0,
        payload_bytes: 4500..=5000,
        ..Default::default()
    });
    let params = g.parameters();
    let periods: Vec<_> = (0..12).map(|_| (g.period(), g.next_period())).collect();
    for sync in [Durability::Synced, Durability::Buffered] {
        for _ in 0..2 {
            let d = tempfile::tempdir().unwrap();
            let o = StoreOptions {
                operation_index: false,
                ..StoreOptions::new(d.path())
            };
            let store = Store::open(o, params.clone()).unwrap();
            let (mut enc, mut put) = (0.0, 0.0);
            let mut puts = vec![];
            for (p, places) in &periods {
                let places: Vec<_> = places.iter().map(Option::as_ref).collect();
                let t = Instant::now();
                let e = EncodedPeriod::new(&params, *p, &places).unwrap();
                enc += t.elapsed().as_secs_f64();
                let t = Instant::now();
                store
                    .put_period(&e, &places, &|_| true, &PendingRows::default(), sync)
                    .unwrap();
                put += t.elapsed().as_secs_f64();
                puts.push((t.elapsed().as_secs_f64() * 1000.0) as u32);
            }
            println!(
                "{sync:?} encode {:.1} ms put {:.1} ms each; {puts:?}",
                enc * 1000.0 / 12.0,
                put * 1000.0 / 12.0
            );
        }
    }
}
