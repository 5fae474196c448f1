//! The block space that rounds take, as the page about economics has it.

#[path = "../../economics/block_space.rs"]
mod computed;

use super::report::Row;
use computed::{operation_bytes, share_percent};

/// Periods of a round: four segments of a hundred.
const ROUND_PERIODS: u64 = 400;

/// The rows of the design about block space, in percent of what operations may take.
pub fn rows() -> Vec<Row> {
    let bytes = operation_bytes();
    let share = |nodes| share_percent(nodes, ROUND_PERIODS);
    vec![
        Row::at_most("block space that rounds take, 1 000 nodes", 0.3, "%", share(1_000)).noting(format!(
            "computed: an operation of {bytes} bytes for each node and round"
        )),
        Row::at_most("the same, 10 000 nodes", 3.0, "%", share(10_000)),
    ]
}
