//! Memory and disks of a network over a long run: sampled, shown, judged.

use crate::genesis::ALLOCATED_STORAGE_GB;
use crate::node::Node;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often memory and disks are looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Samples that can be judged: two in each quarter.
const SAMPLES_MIN: usize = 8;
/// The last quarter may have this many percent of the second one …
const GROWTH_PERCENT: u64 = 125;
/// … and this much more: a database fills buffers of this size before it empties them, at any moment of the run.
const GROWTH_BYTES: u64 = 32 << 20;
const MIB: u64 = 1 << 20;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct UsageError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What a node used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Seconds since the beginning.
    pub seconds: u64,
    /// Memory that the process has (resident set).
    pub memory_bytes: u64,
    /// Its archive.
    pub store_bytes: u64,
    /// Its ledger.
    pub ledger_bytes: u64,
}

/// What a node used, over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeUsage {
    /// The node.
    pub name: String,
    /// Oldest first.
    pub samples: Vec<Usage>,
}

/// What all nodes used.
#[derive(Debug)]
pub struct Soak {
    start: Instant,
    next: Instant,
    nodes: Vec<NodeUsage>,
}

impl Soak {
    /// Begins now.
    pub fn new(nodes: &[Node], now: Instant) -> Self {
        let usage = |node: &Node| NodeUsage {
            name: node.name().to_owned(),
            samples: Vec::new(),
        };
        Self {
            start: now,
            next: now,
            nodes: nodes.iter().map(usage).collect(),
        }
    }

    /// Takes a sample if it is time.
    ///
    /// # Errors
    /// [`UsageError`].
    pub fn look(&mut self, nodes: &[Node], now: Instant) -> Result<(), UsageError> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + SAMPLE_INTERVAL;
        let seconds = now.saturating_duration_since(self.start).as_secs();
        for (usage, node) in self.nodes.iter_mut().zip(nodes) {
            usage.samples.push(Usage {
                seconds,
                memory_bytes: memory_of(node)?,
                store_bytes: directory_bytes(&node.store_path())?,
                ledger_bytes: directory_bytes(&node.ledger_path())?,
            });
        }
        Ok(())
    }

    /// The samples of each node.
    pub fn nodes(&self) -> &[NodeUsage] {
        &self.nodes
    }

    /// What grew that must not.
    pub fn problems(&self) -> Vec<String> {
        self.nodes.iter().flat_map(NodeUsage::problems).collect()
    }

    /// Beginning, second quarter, last quarter and end, in MiB.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        let headings = ["MiB", "", "first", "second quarter", "last quarter", "last"];
        table.load_preset(NOTHING).set_header(headings);
        for node in &self.nodes {
            for (what, values) in node.series() {
                let mib = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), |bytes| (bytes / MIB).to_string());
                let quarters = Quarters::of(&values);
                table.add_row([
                    node.name.clone(),
                    what.to_owned(),
                    mib(values.first().copied()),
                    mib(quarters.map(|quarters| quarters.second)),
                    mib(quarters.map(|quarters| quarters.last)),
                    mib(values.last().copied()),
                ]);
            }
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

impl NodeUsage {
    fn series(&self) -> [(&'static str, Vec<u64>); 3] {
        let values = |of: fn(&Usage) -> u64| self.samples.iter().map(of).collect();
        [
            ("memory", values(|usage| usage.memory_bytes)),
            ("store", values(|usage| usage.store_bytes)),
            ("ledger", values(|usage| usage.ledger_bytes)),
        ]
    }

    /// Memory and ledger must not grow. The store does, as nothing is pruned: it must stay within what the node offers.
    fn problems(&self) -> Vec<String> {
        let [(_, memory), (_, store), (_, ledger)] = self.series();
        let growth = [("memory", memory), ("ledger", ledger)]
            .into_iter()
            .filter_map(|(what, values)| {
                let name = &self.name;
                let Some(quarters) = Quarters::of(&values) else {
                    return Some(format!(
                        "{name}: {} samples are too few to judge the {what}",
                        values.len()
                    ));
                };
                let (second, last) = (quarters.second / MIB, quarters.last / MIB);
                quarters.grows().then(|| {
                    format!(
                        "{name}: the {what} keeps growing, {second} MiB in the second quarter, {last} MiB in the last"
                    )
                })
            });
        let largest = store.into_iter().max().unwrap_or(0);
        let offered = ALLOCATED_STORAGE_GB << 30;
        let too_large = (largest > offered).then(|| {
            let name = &self.name;
            format!(
                "{name}: the store has {} MiB, {} MiB are offered",
                largest / MIB,
                offered / MIB
            )
        });
        growth.chain(too_large).collect()
    }
}

/// Medians of two quarters of a run. The first one is left out: caches, buffers and pools fill then, and are meant to. A
/// median, because one sample in the middle of a compaction says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarters {
    /// Of the second one.
    pub second: u64,
    /// Of the last one.
    pub last: u64,
}

impl Quarters {
    /// `None` if there are too few values.
    pub fn of(values: &[u64]) -> Option<Self> {
        if values.len() < SAMPLES_MIN {
            return None;
        }
        let quarter = values.len() / 4;
        Some(Self {
            second: median(&values[quarter..2 * quarter]),
            last: median(&values[values.len() - quarter..]),
        })
    }

    /// Whether the last one is so much larger that it is no matter of buffers any more.
    pub fn grows(&self) -> bool {
        self.last > self.second / 100 * GROWTH_PERCENT + GROWTH_BYTES
    }
}

/// The upper one of the two in the middle; `values` has at least one.
fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

fn memory_of(node: &Node) -> Result<u64, UsageError> {
    let id = node.process_id().unwrap_or(0);
    let path = PathBuf::from(format!("/proc/{id}/status"));
    let read = std::fs::read_to_string(&path).and_then(|text| {
        parse_memory(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not tell VmRSS"))
    });
    read.map_err(|source| UsageError { path, source })
}

/// The resident set in bytes, from a file `/proc/…/status`.
fn parse_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Bytes of the files in a directory and below. What a database deletes meanwhile is left out.
fn directory_bytes(path: &Path) -> Result<u64, UsageError> {
    let entries = match std::fs::read_dir(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries,
    };
    let error = |source| UsageError {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = 0;
    for entry in entries.map_err(error)? {
        let entry = entry.map_err(error)?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += directory_bytes(&entry.path())?,
            Ok(metadata) => bytes += metadata.len(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(error(source)),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grows(values: &[u64]) -> bool {
        let bytes: Vec<u64> = values.iter().map(|mib| mib * MIB).collect();
        Quarters::of(&bytes).unwrap().grows()
    }

    #[test]
    fn what_fills_in_the_first_quarter_and_stays_does_not_grow() {
        assert!(!grows(&[10, 90, 300, 310, 300, 305, 310, 300]));
    }

    #[test]
    fn what_gains_more_than_a_quarter_and_a_buffer_grows() {
        let run = |last| grows(&[100, 100, 200, 200, 200, 200, last, last]);
        assert!(!run(200 * 5 / 4 + 32));
        assert!(run(200 * 5 / 4 + 33));
    }

    #[test]
    fn a_single_peak_is_no_growth() {
        assert!(!grows(&[100, 100, 100, 200, 200, 200, 200, 200, 200, 200, 900, 200]));
    }

    #[test]
    fn a_steady_leak_grows() {
        let leak: Vec<u64> = (0..60).map(|sample| 100 + sample * 10).collect();
        assert!(grows(&leak));
    }

    #[test]
    fn a_run_that_is_too_short_is_not_judged() {
        assert_eq!(Quarters::of(&[1; 7]), None);
        let node = NodeUsage {
            name: "node1".into(),
            samples: vec![Usage::default(); 7],
        };
        assert!(
            node.problems()[0].contains("7 samples are too few"),
            "{:?}",
            node.problems()
        );
    }

    #[test]
    fn a_store_larger_than_what_is_offered_is_told() {
        let usage = Usage {
            store_bytes: (ALLOCATED_STORAGE_GB << 30) + 1,
            ..Usage::default()
        };
        let node = NodeUsage {
            name: "node1".into(),
            samples: vec![usage; 8],
        };
        assert_eq!(node.problems(), ["node1: the store has 1024 MiB, 1024 MiB are offered"]);
    }

    #[test]
    fn memory_is_the_resident_set() {
        assert_eq!(
            parse_memory("Name:\tmassa-node\nVmRSS:\t   2048 kB\nThreads:\t3\n"),
            Some(2 << 20)
        );
        assert_eq!(parse_memory("Name:\tmassa-node\n"), None);
    }

    #[test]
    fn a_directory_has_the_bytes_of_all_files_below() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("below")).unwrap();
        std::fs::write(directory.path().join("a"), [0; 3]).unwrap();
        std::fs::write(directory.path().join("below/b"), [0; 4]).unwrap();
        assert_eq!(directory_bytes(directory.path()).unwrap(), 7);
        assert_eq!(directory_bytes(&directory.path().join("none")).unwrap(), 0);
    }
}
