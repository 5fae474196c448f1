//! How times are taken.

use std::process::Command;
use std::time::Duration;

/// Times that both sides of a ratio are measured.
const ROUNDS: usize = 5;
pub const MEGA: f64 = 1e6;

/// Runs all of `sides` alternately, each round beginning with another one; the median time of each in seconds.
pub fn medians<const N: usize>(mut sides: [Box<dyn FnMut() -> Duration + '_>; N]) -> [f64; N] {
    let mut times = [(); N].map(|()| Vec::new());
    for round in 0..ROUNDS {
        for side in (0..N).map(|side| (side + round) % N) {
            settle();
            times[side].push(sides[side]());
        }
    }
    times.map(|times| median(times).as_secs_f64())
}

/// Lets the disk finish what the side before left behind.
fn settle() {
    let synced = Command::new("sync").status().expect("the system has sync");
    assert!(synced.success());
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Processor time of this process so far, in steps of a hundredth of a second.
pub fn processor_time() -> Duration {
    let status = std::fs::read_to_string("/proc/self/stat").expect("the system tells");
    // The name, in parentheses, may have spaces in it. After it: state, and eleven more fields up to user and system time.
    let (_, fields) = status.rsplit_once(')').expect("the name ends");
    let fields = fields.split_whitespace().skip(11).take(2);
    let ticks = fields.map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// The median in microseconds.
pub fn microseconds(times: Vec<Duration>) -> f64 {
    median(times).as_secs_f64() * MEGA
}
