//! Archives that do not start, and one that is lost while it runs: the node goes on with the chain, and says why.

use crate::common::{archived_everywhere, logs, network, DEADLINE};
use massa_api_exports::distributed_storage::StorageStatus;
use massa_localnet::wait::wait_for;
use massa_localnet::{Network, Node};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NODES: usize = 4;
/// The node that nothing happens to.
const WHOLE: usize = 0;
/// The others.
const FAULTY: [usize; 3] = [1, 2, 3];
/// Periods that a node with a fault follows the chain before it is believed.
const PERIODS_FOLLOWED: u64 = 2;

/// What is done to a node that does not run.
enum Change {
    /// A line of the settings is another one.
    Setting(&'static str, &'static str),
    /// Something in the directory of the store; given the store of the whole node, too.
    Store(fn(&Path)),
    /// The store is another path, which is given that of the whole node.
    Path(fn(&Path, &Path) -> PathBuf),
}

/// What the node is after that.
#[derive(PartialEq, Eq)]
enum Is {
    /// Without archive.
    NotRunning,
    /// With an archive that tells what it set aside or could not do.
    Running,
}

struct Fault {
    name: &'static str,
    change: Change,
    is: Is,
    /// What its status names.
    names: &'static [&'static str],
}

const PATH: &str = "path = \"storage/distributed_storage\"";

const fn fault(name: &'static str, change: Change, is: Is, names: &'static [&'static str]) -> Fault {
    Fault {
        name,
        change,
        is,
        names,
    }
}

/// Three at a time, one for each node.
const FAULTS: [[Fault; 3]; 5] = [
    [
        fault(
            "another replication factor than the network's",
            Change::Setting("replication_factor = 3", "replication_factor = 2"),
            Is::NotRunning,
            &[
                "distributed_storage.replication_factor",
                "2 in the settings",
                "3 in the genesis file",
            ],
        ),
        fault(
            "another chunk size than the network's",
            Change::Setting("chunk_size = 65536", "chunk_size = 131072"),
            Is::NotRunning,
            &["distributed_storage.chunk_size", "131072", "65536"],
        ),
        fault(
            "a setting out of its range",
            Change::Setting("allocated_storage_gb = 1", "allocated_storage_gb = 17179869184"),
            Is::NotRunning,
            &["distributed_storage.allocated_storage_gb", "17179869184"],
        ),
    ],
    [
        fault(
            "noise in CURRENT",
            Change::Store(|store| fs::write(store.join("CURRENT"), "nonsense").unwrap()),
            Is::Running,
            &["CURRENT"],
        ),
        fault(
            "no MANIFEST",
            Change::Store(|store| first(store, |name| name.starts_with("MANIFEST")).for_each(remove)),
            Is::Running,
            &["MANIFEST"],
        ),
        fault(
            "a table that is damaged",
            Change::Store(|store| {
                first(store, is_table).for_each(|table| {
                    let mut bytes = fs::read(&table).unwrap();
                    let half = bytes.len() / 2;
                    bytes[half..].iter_mut().for_each(|byte| *byte ^= 0x55);
                    fs::write(table, bytes).unwrap();
                });
            }),
            Is::Running,
            &[".sst"],
        ),
    ],
    [
        fault(
            "a table that is missing",
            Change::Store(|store| first(store, is_table).for_each(remove)),
            Is::Running,
            &[".sst"],
        ),
        fault(
            "a table that is empty",
            Change::Store(|store| first(store, is_table).for_each(|table| fs::write(table, b"").unwrap())),
            Is::Running,
            &[".sst"],
        ),
        fault(
            "a store that another process has",
            Change::Path(|_, whole| whole.to_path_buf()),
            Is::NotRunning,
            &["node1/storage/distributed_storage"],
        ),
    ],
    [
        fault(
            "a file where the store should be",
            Change::Path(|own, _| {
                let path = own.with_file_name("a-file");
                fs::write(&path, "not a directory").unwrap();
                path
            }),
            Is::NotRunning,
            &["a-file"],
        ),
        fault(
            "a path that cannot be written",
            // No user may write there, the root user neither.
            Change::Path(|_, _| PathBuf::from("/proc/massa-store")),
            Is::NotRunning,
            &["/proc/massa-store"],
        ),
        fault(
            "a directory in the place of the file of fees",
            Change::Store(|store| {
                let fees = store.with_file_name("distributed_storage.fees");
                let _ = fs::remove_file(&fees);
                fs::create_dir(fees).unwrap();
            }),
            Is::Running,
            &["distributed_storage.fees"],
        ),
    ],
    [
        fault(
            "a retention shorter than four rounds",
            Change::Setting(PATH, "path = \"storage/distributed_storage\"\nretention_periods = 1"),
            Is::NotRunning,
            &["distributed_storage.retention_periods", "1 is neither"],
        ),
        fault(
            "a time of zero",
            Change::Setting(PATH, "path = \"storage/distributed_storage\"\nremote_read_timeout = 0"),
            Is::NotRunning,
            &["distributed_storage.remote_read_timeout", "0 is not between"],
        ),
        fault(
            "an operator that is no address",
            Change::Setting("operator_address = \"AU", "operator_address = \"nobody AU"),
            Is::NotRunning,
            &["distributed_storage.operator_address", "nobody"],
        ),
    ],
];

#[test]
fn a_node_whose_archive_fails_goes_on_with_the_chain_and_names_the_cause() {
    let deadline = Instant::now() + 2 * DEADLINE;
    let (_directory, mut network) = network(NODES);
    network.start(NODES).unwrap();
    let all: Vec<usize> = (0..NODES).collect();
    // Segments that are closed are tables.
    archived_everywhere(&mut network, &all, 8, deadline);
    let mut kept = Vec::new();
    for node in FAULTY {
        assert!(network.node_mut(node).stop().unwrap().success());
        kept.push(Kept::of(&network.nodes()[node]));
    }
    for faults in FAULTS {
        for (node, fault) in FAULTY.into_iter().zip(&faults) {
            apply(&network, node, &fault.change);
            network.node_mut(node).start().unwrap();
        }
        for (node, fault) in FAULTY.into_iter().zip(&faults) {
            network.node_mut(node).wait_ready().unwrap();
            follows(&mut network, node, fault, deadline);
        }
        for (node, kept) in FAULTY.into_iter().zip(&kept) {
            assert!(network.node_mut(node).stop().unwrap().success());
            kept.put_back();
        }
    }
    let node = FAULTY[0];
    network.node_mut(node).start().unwrap();
    network.node_mut(node).wait_ready().unwrap();
    lost_while_it_runs(&mut network, node, deadline);
    // Nothing of that reached the others.
    let now = network.clock().period_at(massa_time::MassaTime::now());
    archived_everywhere(&mut network, &[WHOLE], now, deadline);
}

/// The directory of a store that is removed under a node: each part of the status fails alone, and the node goes on.
fn lost_while_it_runs(network: &mut Network, node: usize, deadline: Instant) {
    fs::remove_dir_all(network.nodes()[node].store_path()).unwrap();
    let fault = fault(
        "a store that is removed while it is used",
        Change::Setting("", ""),
        Is::Running,
        &[
            "the size of the store cannot be read",
            "storage/distributed_storage",
            "No such file",
        ],
    );
    follows(network, node, &fault, deadline);
    let status = network.nodes()[node].client().storage_status().unwrap();
    assert!(
        status.last_period_final.is_some() && status.allocated_bytes > 0,
        "{status:#?}"
    );
    assert_eq!(status.disk_bytes, 0);
}

/// Waits until a node tells its fault, and follows the chain in spite of it.
fn follows(network: &mut Network, node: usize, fault: &Fault, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let first = final_period(&network.nodes()[node]).unwrap_or(0);
    let waited = wait_for(fault.name, left.min(Duration::from_secs(40)), || {
        if let Err(error) = network.check_running() {
            panic!("{}: {error}", fault.name);
        }
        let (node, whole) = (&network.nodes()[node], &network.nodes()[WHOLE]);
        let status = node.client().storage_status().map_err(|error| error.to_string())?;
        let running = fault.is == Is::Running;
        assert_eq!(
            (status.enabled, status.running),
            (true, running),
            "{}: {status:#?}",
            fault.name
        );
        let told = told(&status);
        let missing = fault.names.iter().find(|name| !told.contains(**name));
        if let Some(missing) = missing {
            return Err(format!("{missing:?} is not told: {told}"));
        }
        let (own, others) = (final_period(node)?, final_period(whole)?);
        if own < first + PERIODS_FOLLOWED || own + PERIODS_FOLLOWED < others {
            return Err(format!(
                "final up to period {own}, from {first} on; the others {others}"
            ));
        }
        Ok(())
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(network)));
}

fn final_period(node: &Node) -> Result<u64, String> {
    let status = node.client().status().map_err(|error| error.to_string())?;
    Ok(status.execution_stats.final_cursor.period)
}

/// All that a status says of faults.
fn told(status: &StorageStatus) -> String {
    let mut told: Vec<String> = status.problem.iter().chain(&status.store_error).cloned().collect();
    told.extend(status.damages.iter().chain(&status.why_not_more).cloned());
    told.join("; ")
}

fn apply(network: &Network, node: usize, change: &Change) {
    let whole = network.nodes()[WHOLE].store_path();
    let node = &network.nodes()[node];
    match change {
        Change::Setting(from, to) => crate::common::change_settings(node, from, to),
        Change::Store(change) => change(&node.store_path()),
        Change::Path(path) => {
            let path = path(&node.store_path(), &whole);
            crate::common::change_settings(node, PATH, &format!("path = {path:?}"));
        }
    }
}

/// Settings and store of a node, to be put back.
struct Kept {
    config: (PathBuf, String),
    store: PathBuf,
    copy: PathBuf,
}

impl Kept {
    fn of(node: &Node) -> Self {
        let config = node.log_path().with_file_name("config").join("config.toml");
        let store = node.store_path();
        let copy = store.with_file_name("kept");
        copy_directory(&store, &copy);
        assert!(
            first(&copy, is_table).next().is_some(),
            "{} has no table",
            copy.display()
        );
        Self {
            config: (config.clone(), fs::read_to_string(config).unwrap()),
            store,
            copy,
        }
    }

    fn put_back(&self) {
        fs::write(&self.config.0, &self.config.1).unwrap();
        fs::remove_dir_all(&self.store).unwrap();
        let fees = self.store.with_file_name("distributed_storage.fees");
        let _ = fs::remove_dir(fees);
        copy_directory(&self.copy, &self.store);
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The first file, by name, of those that are meant.
fn first(directory: &Path, is_meant: fn(&str) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let meant = entries.filter(|entry| is_meant(&entry.file_name().to_string_lossy()));
    meant.map(|entry| entry.path()).min().into_iter()
}

fn is_table(name: &str) -> bool {
    name.ends_with(".sst")
}

fn remove(path: PathBuf) {
    fs::remove_file(path).unwrap();
}
