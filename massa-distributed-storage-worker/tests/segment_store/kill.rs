//! A process that is killed while it closes segments.

use crate::closing::{live, segments};
use crate::segments::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::tempdir;

const DIRECTORY: &str = "SEGMENT_STORE_KILL_DIRECTORY";
const KILLS: usize = 12;

/// The process that is killed. Does nothing unless it is the child.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    live(&open(Path::new(&directory)), &segments()).unwrap();
}

#[test]
fn a_process_that_is_killed_anywhere_goes_on_to_the_same_rows() {
    let segments = segments();
    let undisturbed = tempdir().unwrap();
    let store = open(undisturbed.path());
    live(&store, &segments).unwrap();
    let expected = all_rows(&store);

    let mut random = ChaCha20Rng::seed_from_u64(1);
    let directory = tempdir().unwrap();
    let mut path = directory.path().join("0");
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture"])
            .env(DIRECTORY, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.gen_range(20..400)));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&path);
        assert_eq!(store.verify(&|_, _| {}).unwrap().damages, [], "kill {kill}");
        drop(store);
        if kill % 3 == 2 {
            let store = open(&path);
            live(&store, &segments).unwrap();
            assert!(all_rows(&store) == expected, "kill {kill}");
            path = directory.path().join(kill.to_string());
        }
    }
}
