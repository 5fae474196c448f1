//! A network of nodes on this machine.

use crate::client::ClientRuntime;
use crate::genesis::{genesis, Clock, NodeIdentity, CHAIN_ID};
use crate::load::{Load, LoadPlan};
use crate::node::{Node, NodeError, Ports};
use crate::readback::Chain;
use crate::survey::Span;
use massa_models::address::Address;
use massa_node::genesis::{FieldError, Genesis};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use massa_wallet::{Wallet, WalletError};
use rand::Rng;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::node::Programs;

/// The folder of the accounts' wallet.
const ACCOUNTS: &str = "accounts";
/// Accounts at least; there is one in each thread.
const ACCOUNTS_MIN: usize = 8;
/// Nodes at most: more do not fit one machine, and each has three ports.
pub const NODES_MAX: usize = 64;

/// Ports of nodes: below those that the system gives to connections that go out, which would take one before its node listens.
const PORTS: Range<u16> = 10_000..32_000;
/// Ports that are tried before there is none.
const PORT_TRIES: usize = 1_000;

/// Why there is no network.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Too few or too many nodes.
    #[error("nodes: {0} is not between 1 and {NODES_MAX}")]
    Nodes(usize),
    /// The directory has something in it.
    #[error("directory {0}: is not empty")]
    DirectoryNotEmpty(PathBuf),
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value of the genesis file.
    #[error(transparent)]
    Genesis(#[from] FieldError),
    /// A key.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// There is no free port, or no thread for clients.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A node.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// What a network is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Nodes, all of them in the genesis file.
    pub nodes: usize,
    /// Threads: a power of two.
    pub threads: u8,
    /// Milliseconds of a period; divisible by the threads.
    pub t0_ms: u64,
    /// From now until the first slot.
    pub start_delay: Duration,
    /// Where everything is written: an empty directory, or one that does not exist.
    pub directory: PathBuf,
    /// What runs.
    pub programs: Programs,
}

/// A network of nodes. Dropping it kills all processes.
#[derive(Debug)]
pub struct Network {
    genesis: Genesis,
    genesis_path: PathBuf,
    accounts: Wallet,
    nodes: Vec<Node>,
}

impl Network {
    /// Makes keys, the genesis file, and a directory with settings for each node. Nothing runs yet.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn prepare(options: &NetworkOptions) -> Result<Self, NetworkError> {
        if !(1..=NODES_MAX).contains(&options.nodes) {
            return Err(NetworkError::Nodes(options.nodes));
        }
        let directory = empty_directory(&options.directory)?;
        let nodes = create_nodes(options, &directory)?;
        let accounts = create_accounts(&directory, options.threads)?;
        let genesis_path = directory.join("genesis.json");
        let identities: Vec<NodeIdentity> = nodes.iter().map(|node| *node.identity()).collect();
        let clock = Clock {
            genesis_timestamp: MassaTime::now().saturating_add(duration(options.start_delay)),
            t0: MassaTime::from_millis(options.t0_ms),
            thread_count: options.threads,
        };
        let genesis = genesis(&clock, &identities, &accounts.get_addresses());
        genesis.check()?;
        write_genesis(&genesis_path, &genesis)?;
        for node in &nodes {
            node.configure(&genesis_path, genesis.storage.replication_factor, &identities)?;
        }
        Ok(Self {
            genesis,
            genesis_path,
            accounts,
            nodes,
        })
    }

    /// Starts the first `count` nodes and waits until their APIs answer.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn start(&mut self, count: usize) -> Result<(), NodeError> {
        for node in self.nodes.iter_mut().take(count) {
            node.start()?;
        }
        self.nodes.iter_mut().take(count).try_for_each(Node::wait_ready)
    }

    /// Starts sending operations to the first `count` nodes, about `bytes_per_period` of them.
    pub fn start_load(&self, count: usize, bytes_per_period: u64) -> Load {
        Load::start(LoadPlan {
            clients: self
                .nodes
                .iter()
                .take(count)
                .map(|node| node.client().clone())
                .collect(),
            wallet: self.accounts.clone(),
            clock: self.clock(),
            operation_validity_periods: self.genesis.operation_validity_periods,
            bytes_per_period,
        })
    }

    /// Checks that every node that was started still runs.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub fn check_running(&mut self) -> Result<(), NodeError> {
        let mut started = self.nodes.iter_mut().filter(|node| node.is_started());
        started.try_for_each(Node::check_running)
    }

    /// Asks every node that runs to stop, all at once, and waits until they have.
    ///
    /// # Errors
    /// The first node that did not: [`NodeError`]. The others are waited for all the same.
    pub fn stop(&mut self) -> Result<(), NodeError> {
        let mut started: Vec<&mut Node> = self.nodes.iter_mut().filter(|node| node.is_started()).collect();
        for node in &started {
            node.signal(rustix::process::Signal::TERM)?;
        }
        let stopped = started
            .iter_mut()
            .map(|node| node.wait_stopped(crate::node::STOP_TIMEOUT));
        let results: Vec<_> = stopped.collect();
        results.into_iter().try_for_each(|result| result.map(|_| ()))
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `index`, counted from 0, to be started, stopped or killed.
    ///
    /// # Panics
    /// There is no such node.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// A second node with the keys of node `index`, which does not run; it is no part of this network.
    ///
    /// # Errors
    /// [`NetworkError`].
    ///
    /// # Panics
    /// There is no such node.
    pub fn duplicate(&self, index: usize) -> Result<Node, NetworkError> {
        let runtime = client_runtime()?;
        let ports = free_ports(1)?;
        let name = format!("{}-again", self.nodes[index].name());
        Ok(self.nodes[index].duplicate(name, ports[0], &runtime)?)
    }

    /// Periods to look at, with the segments of this network.
    pub fn span(&self, first: u64, last: u64) -> Span {
        Span {
            first,
            last,
            segment_periods: self.genesis.storage.challenge_frequency_periods,
        }
    }

    /// The chain as its archive is read back.
    pub fn chain(&self) -> Chain {
        Chain {
            chain_id: self.genesis.chain_id,
            thread_count: self.genesis.thread_count,
            chunk_size: self.genesis.storage.chunk_size,
        }
    }

    /// What the genesis file says.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The genesis file.
    pub fn genesis_path(&self) -> &Path {
        &self.genesis_path
    }

    /// The accounts that the load is sent from.
    pub fn accounts(&self) -> Vec<Address> {
        self.accounts.get_addresses()
    }

    /// The wallet of those accounts, which is the admin's of the registry, too.
    pub fn accounts_path(&self) -> PathBuf {
        self.genesis_path.with_file_name(ACCOUNTS)
    }

    /// When periods begin.
    pub fn clock(&self) -> Clock {
        Clock {
            genesis_timestamp: self.genesis.genesis_timestamp,
            t0: self.genesis.t0,
            thread_count: self.genesis.thread_count,
        }
    }
}

fn duration(duration: Duration) -> MassaTime {
    MassaTime::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Makes the directory unless it is there, and gives its absolute path: nodes run elsewhere.
fn empty_directory(path: &Path) -> Result<PathBuf, NetworkError> {
    let error = |source| NetworkError::File {
        path: path.to_path_buf(),
        source,
    };
    std::fs::create_dir_all(path).map_err(error)?;
    if std::fs::read_dir(path).map_err(error)?.next().is_some() {
        return Err(NetworkError::DirectoryNotEmpty(path.to_path_buf()));
    }
    path.canonicalize().map_err(error)
}

fn create_nodes(options: &NetworkOptions, directory: &Path) -> Result<Vec<Node>, NetworkError> {
    let runtime = client_runtime()?;
    let ports = free_ports(options.nodes)?;
    let nodes = ports
        .into_iter()
        .zip(1..)
        .map(|(ports, number)| Node::create(format!("node{number}"), directory, &options.programs, ports, &runtime));
    Ok(nodes.collect::<Result<_, _>>()?)
}

fn client_runtime() -> Result<ClientRuntime, NetworkError> {
    ClientRuntime::start().map_err(|source| NetworkError::System {
        what: "thread of the clients",
        source,
    })
}

/// Ports for so many nodes.
fn free_ports(nodes: usize) -> Result<Vec<Ports>, NetworkError> {
    let addresses = free_addresses(nodes * 3).map_err(|source| NetworkError::System {
        what: "free ports",
        source,
    })?;
    let ports = addresses.chunks_exact(3).map(|addresses| Ports {
        protocol: addresses[0],
        public: addresses[1],
        private: addresses[2],
    });
    Ok(ports.collect())
}

/// Addresses on loopback that nobody listens at. Held all at once, so that each is another.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held = (0..count).map(|_| free_port()).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

/// Listens at a port of [`PORTS`], any that is free.
fn free_port() -> io::Result<TcpListener> {
    let mut random = rand::thread_rng();
    let mut tries = 0;
    loop {
        match TcpListener::bind(("127.0.0.1", random.gen_range(PORTS))) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => tries += 1,
            result => return result,
        }
    }
}

/// A wallet with as many accounts in each thread: an operation waits for a block of its creator's thread.
fn create_accounts(directory: &Path, threads: u8) -> Result<Wallet, NetworkError> {
    let mut wallet = Wallet::new(directory.join(ACCOUNTS), CHAIN_ID)?;
    // An address has no thread in a chain whose thread count is refused a moment later.
    let threads = if threads.is_power_of_two() { threads } else { 1 };
    let each = ACCOUNTS_MIN.div_ceil(usize::from(threads));
    let mut by_thread: BTreeMap<u8, Vec<KeyPair>> = BTreeMap::new();
    while by_thread.len() < usize::from(threads) || by_thread.values().any(|keys| keys.len() < each) {
        let keypair = KeyPair::generate(0).map_err(WalletError::from)?;
        let thread = Address::from_public_key(&keypair.get_public_key()).get_thread(threads);
        let keys = by_thread.entry(thread).or_default();
        if keys.len() < each {
            keys.push(keypair);
        }
    }
    wallet.add_keypairs(by_thread.into_values().flatten().collect())?;
    Ok(wallet)
}

fn write_genesis(path: &Path, genesis: &Genesis) -> Result<(), NetworkError> {
    let text = serde_json::to_string_pretty(genesis).expect("the genesis file can be written");
    std::fs::write(path, text + "\n").map_err(|source| NetworkError::File {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(directory: &Path) -> NetworkOptions {
        NetworkOptions {
            nodes: 3,
            threads: 4,
            t0_ms: 400,
            start_delay: Duration::from_secs(1),
            directory: directory.join("network"),
            programs: Programs::with_node("massa-node"),
        }
    }

    #[test]
    fn a_prepared_network_has_a_genesis_file_that_its_nodes_read() {
        let directory = tempfile::tempdir().unwrap();
        let network = Network::prepare(&options(directory.path())).unwrap();
        let (genesis, _) = Genesis::load(network.genesis_path()).unwrap();
        assert_eq!(genesis.storage.nodes.len(), 3);
        assert_eq!(genesis.rolls.len(), 3);
        for node in network.nodes() {
            assert!(node.log_path().parent().unwrap().join("config/config.toml").exists());
        }
    }

    #[test]
    fn every_thread_has_accounts() {
        let directory = tempfile::tempdir().unwrap();
        let network = Network::prepare(&options(directory.path())).unwrap();
        let mut threads: Vec<u8> = network.accounts().iter().map(|account| account.get_thread(4)).collect();
        threads.sort_unstable();
        assert_eq!(threads, [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn every_node_listens_elsewhere() {
        let mut addresses = free_addresses(60).unwrap();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 60);
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        std::fs::create_dir_all(options.directory.join("mine")).unwrap();
        let error = Network::prepare(&options).unwrap_err();
        assert!(matches!(error, NetworkError::DirectoryNotEmpty(_)), "{error}");
    }

    #[test]
    fn a_network_that_cannot_be_is_refused_by_the_name_of_the_option() {
        let directory = tempfile::tempdir().unwrap();
        let network = |nodes, threads, t0_ms| {
            let options = NetworkOptions {
                nodes,
                threads,
                t0_ms,
                directory: directory.path().join(format!("{nodes}-{threads}-{t0_ms}")),
                ..options(directory.path())
            };
            Network::prepare(&options).unwrap_err().to_string()
        };
        assert!(network(0, 4, 400).contains("nodes"));
        assert!(network(65, 4, 400).contains("nodes"));
        assert!(network(1, 5, 400).contains("thread_count"));
        assert!(network(1, 4, 402).contains("t0"));
        assert!(network(1, 4, 0).contains("t0"));
    }
}
