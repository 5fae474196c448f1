//! An import that is killed at any instant is taken up by the same command.

mod common;

use common::{massa_cli, upstream_path, TestDir, SEGMENTS};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::process::Stdio;
use std::time::{Duration, Instant};

const KILLS: u32 = 60;

/// How long an undisturbed import takes.
fn import_time() -> Duration {
    let directory = TestDir::new();
    let begin = Instant::now();
    directory.import(&upstream_path()).expect_success();
    begin.elapsed()
}

/// Starts an import and kills it after `life`, unless it has ended by then. Returns whether it was killed.
fn import_and_kill(directory: &TestDir, life: Duration) -> bool {
    let mut import = massa_cli();
    import.args(["archive", "import"]).arg(upstream_path());
    import.arg("--dir").arg(directory.store()).args(SEGMENTS);
    let begin = Instant::now();
    let mut child = import.stdout(Stdio::null()).spawn().unwrap();
    while begin.elapsed() < life {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        std::thread::yield_now();
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn an_import_killed_at_any_instant_ends_with_the_same_roots() {
    let life_max = import_time();
    let mut random = ChaCha20Rng::seed_from_u64(11);
    let mut kills = 0;
    while kills < KILLS {
        let directory = TestDir::new();
        // Up to three in a row, so that a store that was taken up is killed too.
        for _ in 0..random.gen_range(1..=3) {
            kills += u32::from(import_and_kill(
                &directory,
                life_max.mul_f64(random.gen_range(0.0..1.0)),
            ));
        }
        directory.import(&upstream_path()).expect_success();
        directory.assert_whole();
    }
}
