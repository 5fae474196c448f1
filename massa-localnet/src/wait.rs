//! Waiting for conditions, each with a deadline.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A condition that did not come true in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waited {waited_s} s for {what}: {last}")]
pub struct WaitError {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub waited_s: u64,
    /// What was missing at the last look.
    pub last: String,
}

/// Looks until `condition` gives a value, `timeout` at most. What it gives instead says what is missing.
///
/// # Errors
/// [`WaitError`], with what was missing at the last look.
pub fn wait_for<T>(
    what: impl Into<String>,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T, WaitError> {
    let start = Instant::now();
    loop {
        let last = match condition() {
            Ok(value) => return Ok(value),
            Err(missing) => missing,
        };
        if start.elapsed() >= timeout {
            return Err(WaitError {
                what: what.into(),
                waited_s: timeout.as_secs(),
                last,
            });
        }
        sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_gives_its_value() {
        let mut looks = 0;
        let value = wait_for("three looks", Duration::from_secs(60), || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("{looks} looks"))
            }
        });
        assert_eq!(value, Ok(3));
    }

    #[test]
    fn a_deadline_tells_what_was_missing_last() {
        let error = wait_for("the impossible", Duration::ZERO, || Err::<(), _>("nothing yet".into())).unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for the impossible: nothing yet");
    }
}
