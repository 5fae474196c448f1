//! What a node is asked every day: at each size the same requests, for what lies in the oldest quarter.

use super::disk;
use super::growth::{extrapolate, Costs};
use super::history::{History, Opened, SEGMENT_PERIODS};
use super::report::{Extrapolated, Row, TODAYS_PERIODS};
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SlotRead};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use std::hint::black_box;
use std::time::Instant;

/// Repetitions of each request.
const REPETITIONS: u64 = 200;

/// Seconds of one request: the median, and the slowest.
#[derive(Clone, Copy)]
pub struct Times {
    pub median: f64,
    pub slowest: f64,
}

/// What was measured at one size.
pub struct AtSize {
    pub opened: Opened,
    pub status: Times,
    pub list: Times,
    pub unknown: Times,
    pub block: Times,
    /// Bytes of rows of closed segments that every node keeps.
    pub every_node: u64,
}

/// A store and the costs that are counted on it.
struct Measuring<'a> {
    store: &'a SegmentStore,
    costs: &'a mut Costs,
}

impl Measuring<'_> {
    fn request(&mut self, name: &str, mut request: impl FnMut(u64)) -> Times {
        let before = self.store.rows_read();
        let mut times: Vec<f64> = (0..REPETITIONS)
            .map(|number| {
                let begin = Instant::now();
                request(number);
                begin.elapsed().as_secs_f64()
            })
            .collect();
        let rows = self.store.rows_read() - before;
        self.costs
            .count(&format!("{name}: rows of {REPETITIONS} requests"), rows);
        times.sort_by(f64::total_cmp);
        Times {
            median: times[times.len() / 2],
            slowest: times[times.len() - 1],
        }
    }
}

fn some_hash(number: u64) -> Hash {
    Hash::compute_from(&number.to_le_bytes())
}

/// Starts the node anew and makes every request.
pub fn measure(history: &mut History, costs: &mut Costs) -> AtSize {
    let opened = history.reopen();
    costs.count("start of store and writer: rows", opened.rows);
    let first = history.parameters.first_segment();
    let blocks = held_slots(history, first);
    let store: &SegmentStore = history.store();
    let mut measuring = Measuring { store, costs };
    let status = measuring.request("status counters", |_| {
        black_box(store.counters().expect("counters are there"));
    });
    let list = measuring.request("list ten segments", |number| {
        black_box(store.segments(first + number % 3, 10).expect("segments are listed"));
    });
    let unknown = measuring.request("look up an unknown block id", |number| {
        let found = store.find_block(&BlockId::new(some_hash(number)));
        assert_eq!(found.expect("the index can be read"), None);
    });
    measuring.request("look up an unknown operation id", |number| {
        let found = store.find_operation(&OperationId::new(some_hash(number)));
        assert_eq!(found.expect("the index can be read"), None);
    });
    let block = measuring.request("read a held block", |number| {
        let slot = blocks[number as usize % blocks.len()];
        black_box(store.slot(slot).expect("the slot can be read"));
    });
    measuring.request("newest segment, first without a table, next held", |_| {
        black_box(store.last_segment().expect("rows can be read"));
        black_box(store.first_without_table(first).expect("rows can be read"));
        let from = ChunkPosition::new(first, 0).expect("segments are numbered in 24 bits");
        black_box(store.next_held(from).expect("rows can be read"));
    });
    let pending = store.counters().expect("counters are there").pending_blocks;
    costs.count("blocks that are rows still", pending);
    AtSize {
        opened,
        status,
        list,
        unknown,
        block,
        every_node: disk::bytes_of_rows(store, &disk::EVERY_NODE),
    }
}

/// Slots of the first segments whose blocks are held.
fn held_slots(history: &History, first_segment: u64) -> Vec<Slot> {
    let first = history.parameters.segment_start(first_segment);
    let threads = history.parameters.thread_count;
    let slots =
        (first..first + SEGMENT_PERIODS).flat_map(|period| (0..threads).map(move |thread| Slot::new(period, thread)));
    let is_held = |slot: &Slot| matches!(history.store().slot(*slot), Ok(SlotRead::Block(_)));
    let held: Vec<Slot> = slots.filter(is_held).take(50).collect();
    assert!(!held.is_empty(), "a chunk of the first segment is held");
    held
}

/// The rows of the design about requests.
pub fn rows(sizes: [u64; 3], at_size: &[AtSize]) -> Vec<Row> {
    let opening = [0, 1, 2].map(|index: usize| 1e3 * at_size[index].opened.store_seconds);
    let last = &at_size[2];
    let request = |name, most, times: Times| {
        let slowest = format!("median of {REPETITIONS}, the slowest {:.1} ms", 1e3 * times.slowest);
        Row::at_most(name, most, "ms", 1e3 * times.median).noting(slowest)
    };
    vec![
        Row {
            extrapolated: Some(Extrapolated {
                size: TODAYS_PERIODS,
                value: extrapolate(&sizes, &opening, TODAYS_PERIODS).max(0.0),
            }),
            ..Row::at_most("open the store", 2_000.0, "ms", opening[2])
        }
        .noting(format!(
            "at a quarter {:.0} ms, at half {:.0} ms",
            opening[0], opening[1]
        )),
        Row::only("ms", "start the writer on it", 1e3 * last.opened.writer_seconds),
        request("status counters", 10.0, last.status),
        request("list ten segments", 5.0, last.list),
        request("look up an unknown id", 1.0, last.unknown),
        request("block by its slot, ids not checked again", 0.3, last.block),
    ]
}
