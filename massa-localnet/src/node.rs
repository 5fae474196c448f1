//! One node: its directory and its process.

use crate::client::{ClientRuntime, NodeClient};
use crate::genesis::{
    NodeIdentity, ALLOCATED_STORAGE_GB, CHUNK_BYTES, REWARD_PER_GB_PER_PERIOD, ROUND_SEGMENTS, SEGMENT_PERIODS,
};
use crate::wait::{wait_for, WaitError};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_wallet::{load_or_create_keypair, ApiToken, Wallet, WalletError};
use rustix::process::{kill_process, Pid, Signal};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a node may take to stop when it is asked to.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take until its API answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a log is shown when its node failed.
const LOG_TAIL_BYTES: u64 = 2_000;

const CONFIG_FILE: &str = "config/config.toml";
const KEY_FILE: &str = "config/node_privkey.key";
const STAKING_WALLET: &str = "config/staking_wallets";
const STORE_DIRECTORY: &str = "storage/distributed_storage";
const LEDGER_DIRECTORY: &str = "storage/ledger";
const LOG_FILE: &str = "node.log";

/// What went wrong with a node.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The program cannot be started.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process cannot be asked or told anything.
    #[error("process of {node}: {source}")]
    Process {
        /// The node.
        node: String,
        /// Why.
        source: io::Error,
    },
    /// The process ended by itself.
    #[error("{node} ended with {status}; its log, {log}, ends with:\n{tail}")]
    Ended {
        /// The node.
        node: String,
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// It is not running.
    #[error("{0} is not running")]
    NotRunning(String),
    /// It did not do something in time.
    #[error("{node}: {source}; its log is {log}")]
    Late {
        /// The node.
        node: String,
        /// What.
        source: WaitError,
        /// Its log.
        log: PathBuf,
    },
}

/// Where the node program and its base settings are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The program `massa-node`.
    pub node: PathBuf,
    /// The file `base_config/config.toml`.
    pub base_config: PathBuf,
}

impl Programs {
    /// This program with the settings of the source tree that this was built in.
    pub fn with_node(node: impl Into<PathBuf>) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            node: node.into(),
            base_config: source.join("../massa-node/base_config/config.toml"),
        }
    }
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For peers.
    pub protocol: SocketAddr,
    /// For everybody.
    pub public: SocketAddr,
    /// For the operator.
    pub private: SocketAddr,
}

/// One node. Dropping it kills its process.
#[derive(Debug)]
pub struct Node {
    name: String,
    directory: PathBuf,
    programs: Programs,
    ports: Ports,
    identity: NodeIdentity,
    client: NodeClient,
    process: Option<Child>,
}

impl Node {
    /// Makes the directory and the keys of node `name` in `network_directory`. Nothing runs yet.
    ///
    /// # Errors
    /// [`NodeError::File`], [`NodeError::Wallet`].
    pub fn create(
        name: String,
        network_directory: &Path,
        programs: &Programs,
        ports: Ports,
        runtime: &ClientRuntime,
    ) -> Result<Self, NodeError> {
        let directory = network_directory.join(&name);
        let config = directory.join("config");
        fs::create_dir_all(&config).map_err(file_error(&config))?;
        let keypair = load_or_create_keypair(&directory.join(KEY_FILE))?;
        let mut wallet = Wallet::new(directory.join(STAKING_WALLET), crate::genesis::CHAIN_ID)?;
        let address = wallet.generate()?;
        let operator = wallet.generate()?;
        Ok(Self {
            name,
            directory,
            programs: programs.clone(),
            ports,
            identity: NodeIdentity {
                node_id: NodeId::new(keypair.get_public_key()),
                address,
                operator,
                listener: ports.protocol,
            },
            client: NodeClient::new(runtime, ports.public),
            process: None,
        })
    }

    /// A second node with the keys of this one, which does not run: a copy of its directory, with the settings changed so that it
    /// listens elsewhere. Nothing runs yet.
    ///
    /// # Errors
    /// [`NodeError::File`].
    pub fn duplicate(&self, name: String, ports: Ports, runtime: &ClientRuntime) -> Result<Self, NodeError> {
        let directory = self.directory.with_file_name(&name);
        copy_directory(&self.directory, &directory)?;
        let log = directory.join(LOG_FILE);
        if log.exists() {
            fs::remove_file(&log).map_err(file_error(&log))?;
        }
        let path = directory.join(CONFIG_FILE);
        let mut text = fs::read_to_string(&path).map_err(file_error(&path))?;
        let own = &self.ports;
        for (from, to) in [
            (own.protocol, ports.protocol),
            (own.public, ports.public),
            (own.private, ports.private),
        ] {
            text = text.replace(&format!("\"{from}\""), &format!("\"{to}\""));
        }
        fs::write(&path, text).map_err(file_error(&path))?;
        Ok(Self {
            name,
            directory,
            programs: self.programs.clone(),
            ports,
            identity: NodeIdentity {
                listener: ports.protocol,
                ..self.identity
            },
            client: NodeClient::new(runtime, ports.public),
            process: None,
        })
    }

    /// Writes the settings that differ from the base file.
    ///
    /// # Errors
    /// [`NodeError::File`].
    pub fn configure(&self, genesis: &Path, replication_factor: u8, peers: &[NodeIdentity]) -> Result<(), NodeError> {
        let path = self.directory.join(CONFIG_FILE);
        let others = peers.iter().filter(|peer| peer.node_id != self.identity.node_id);
        let text = settings(
            &self.ports,
            &self.identity.operator,
            (genesis, replication_factor),
            others,
        );
        fs::write(&path, text).map_err(file_error(&path))
    }

    /// Starts the process. Does not wait until it answers: [`Node::wait_ready`].
    ///
    /// # Errors
    /// [`NodeError::File`], [`NodeError::Start`].
    pub fn start(&mut self) -> Result<(), NodeError> {
        let log = self.log_path();
        let opened = OpenOptions::new().create(true).append(true).open(&log);
        let log_file = opened.map_err(file_error(&log))?;
        let errors = log_file.try_clone().map_err(file_error(&log))?;
        let child = Command::new(&self.programs.node)
            .arg("--stop-with-stdin")
            .current_dir(&self.directory)
            .env("MASSA_CONFIG_PATH", &self.programs.base_config)
            .env("MASSA_CONFIG_OVERRIDE_PATH", CONFIG_FILE)
            .stdin(Stdio::piped())
            .stdout(log_file)
            .stderr(errors)
            // A Ctrl-C at the terminal reaches the harness alone, which then stops the nodes in order.
            .process_group(0)
            .spawn()
            .map_err(|source| NodeError::Start {
                program: self.programs.node.clone(),
                source,
            })?;
        self.process = Some(child);
        Ok(())
    }

    /// Waits until the API answers.
    ///
    /// # Errors
    /// [`NodeError::Ended`], [`NodeError::Late`].
    pub fn wait_ready(&mut self) -> Result<(), NodeError> {
        let client = self.client.clone();
        let waited = wait_for("an answer of its API", START_TIMEOUT, || {
            if let Err(ended) = self.check_running() {
                return Ok(Err(ended));
            }
            client.status().map(|_| Ok(())).map_err(|error| error.to_string())
        });
        waited.map_err(|source| self.late(source))?
    }

    /// Whether the process runs.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`] if nobody started it, [`NodeError::Ended`] if it ended by itself.
    pub fn check_running(&mut self) -> Result<(), NodeError> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => {
                self.process = None;
                Err(NodeError::Ended {
                    node: self.name.clone(),
                    status,
                    log: self.log_path(),
                    tail: self.log_tail(),
                })
            }
        }
    }

    /// How the process ended; `None` while it runs.
    fn exit_status(&mut self) -> Result<Option<ExitStatus>, NodeError> {
        let Some(process) = &mut self.process else {
            return Err(NodeError::NotRunning(self.name.clone()));
        };
        process.try_wait().map_err(|source| NodeError::Process {
            node: self.name.clone(),
            source,
        })
    }

    /// Whether a process was started and not stopped or killed since.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`], [`NodeError::Process`].
    pub fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let process = self.process.as_ref();
        let process = process.ok_or_else(|| NodeError::NotRunning(self.name.clone()))?;
        kill_process(Pid::from_child(process), signal).map_err(|error| NodeError::Process {
            node: self.name.clone(),
            source: error.into(),
        })
    }

    /// Waits until the process has ended, and tells how.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`], [`NodeError::Late`].
    pub fn wait_stopped(&mut self, timeout: Duration) -> Result<ExitStatus, NodeError> {
        let waited = wait_for("its end", timeout, || match self.exit_status() {
            Ok(None) => Err("it still runs".to_owned()),
            Ok(Some(status)) => Ok(Ok(status)),
            Err(error) => Ok(Err(error)),
        });
        let status = waited.map_err(|source| self.late(source))??;
        self.process = None;
        Ok(status)
    }

    /// Asks the node to stop (SIGTERM) and waits until it has, [`STOP_TIMEOUT`] at most.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`], [`NodeError::Process`], [`NodeError::Late`].
    pub fn stop(&mut self) -> Result<ExitStatus, NodeError> {
        self.signal(Signal::TERM)?;
        self.wait_stopped(STOP_TIMEOUT)
    }

    /// Closes the pipe that the node holds on to, as the end of this process would.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`].
    pub fn close_stdin(&mut self) -> Result<(), NodeError> {
        let process = self.process.as_mut();
        let process = process.ok_or_else(|| NodeError::NotRunning(self.name.clone()))?;
        process.stdin = None;
        Ok(())
    }

    /// Ends the process without warning (SIGKILL). Nothing happens if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It fails only for a process that has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Deletes the archive of a node that does not run.
    ///
    /// # Errors
    /// [`NodeError::File`].
    pub fn wipe_store(&self) -> Result<(), NodeError> {
        let path = self.store_path();
        fs::remove_dir_all(&path).map_err(file_error(&path))
    }

    /// Its name: that of its directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public API.
    pub fn client(&self) -> &NodeClient {
        &self.client
    }

    /// What the genesis file says of it.
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// The address that produces its blocks.
    pub fn address(&self) -> Address {
        self.identity.address
    }

    /// The address that registers, pays fees and is paid.
    pub fn operator(&self) -> Address {
        self.identity.operator
    }

    /// Its process, while one runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Where it listens.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Its log.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join(LOG_FILE)
    }

    /// The directory of its archive.
    pub fn store_path(&self) -> PathBuf {
        self.directory.join(STORE_DIRECTORY)
    }

    /// The directory of its ledger.
    pub fn ledger_path(&self) -> PathBuf {
        self.directory.join(LEDGER_DIRECTORY)
    }

    /// The wallet of its operator.
    pub fn wallet_path(&self) -> PathBuf {
        self.directory.join(STAKING_WALLET)
    }

    /// The token of its private API.
    pub fn token_path(&self) -> PathBuf {
        self.directory.join(ApiToken::DEFAULT_PATH)
    }

    /// Where it looks for the registry's address.
    pub fn registry_address_path(&self) -> PathBuf {
        crate::registry::address_file(&self.store_path())
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log_path())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("(it cannot be read: {error})"))
    }

    fn late(&self, source: WaitError) -> NodeError {
        NodeError::Late {
            node: self.name.clone(),
            source,
            log: self.log_path(),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The second settings file of a node: network, ports, and times scaled to periods of seconds.
fn settings<'a>(
    ports: &Ports,
    operator: &Address,
    (genesis, replication_factor): (&Path, u8),
    peers: impl Iterator<Item = &'a NodeIdentity>,
) -> String {
    let peer = |peer: &NodeIdentity| format!("    \"{}@{}\",\n", peer.node_id.get_public_key(), peer.listener);
    let peers: String = peers.map(peer).collect();
    let Ports {
        protocol,
        public,
        private,
    } = ports;
    format!(
        r#"# Written by massa-localnet. Keys that are not here have the value of the base file.

[network]
genesis_file = {genesis:?}
keypair_file = "{KEY_FILE}"

[protocol]
bind = "{protocol}"
routable_addresses = ["{protocol}"]
initial_peers = [
{peers}]
try_connection_timer_same_peer = 1_000
ask_block_timeout = 1_000
storage_request_timeout = 2_000

[consensus]
force_keep_final_periods = 2
force_keep_final_periods_without_ops = 16
block_db_prune_interval = 1_000

[factory]
staking_wallet_path = "{STAKING_WALLET}"

[api]
bind_public = "{public}"
bind_private = "{private}"

[memory]
memory_limit_mb = 512

[distributed_storage]
enabled = true
path = "{STORE_DIRECTORY}"
allocated_storage_gb = {ALLOCATED_STORAGE_GB}
replication_factor = {replication_factor}
chunk_size = {CHUNK_BYTES}
challenge_frequency_periods = {SEGMENT_PERIODS}
round_segments = {ROUND_SEGMENTS}
reward_per_gb_per_period = {REWARD_PER_GB_PER_PERIOD}
operator_address = "{operator}"
auto_claim = true
# Each round's, to be seen in the wallets.
auto_claim_fees = 1
# Rounds of seconds cost in a day what others cost in months.
max_fees_per_day = "0"
repair_delay = 6_000
repair_patience = 4_000
"#
    )
}

/// Copies a directory and all below it.
fn copy_directory(from: &Path, to: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(to).map_err(file_error(to))?;
    for entry in fs::read_dir(from).map_err(file_error(from))? {
        let source = entry.map_err(file_error(from))?.path();
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        if source.is_dir() {
            copy_directory(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(file_error(&source))?;
        }
    }
    Ok(())
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> NodeError {
    let path = path.to_path_buf();
    move |source| NodeError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_node::settings::Settings;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn node(directory: &Path, program: &str) -> Node {
        let ports = Ports {
            protocol: address(1),
            public: address(2),
            private: address(3),
        };
        let runtime = ClientRuntime::start().unwrap();
        Node::create(
            "node1".into(),
            directory,
            &Programs::with_node(program),
            ports,
            &runtime,
        )
        .unwrap()
    }

    #[test]
    fn the_node_reads_the_settings_as_they_were_meant() {
        let directory = tempfile::tempdir().unwrap();
        let node = node(directory.path(), "massa-node");
        let peer = NodeIdentity {
            node_id: NodeId::new(massa_signature::KeyPair::generate(0).unwrap().get_public_key()),
            address: node.address(),
            operator: node.operator(),
            listener: address(9),
        };
        node.configure(Path::new("/some where/genesis.json"), 2, &[*node.identity(), peer])
            .unwrap();
        let over = node.directory.join(CONFIG_FILE);
        let settings = Settings::read(&node.programs.base_config, &over).unwrap();
        assert_eq!(settings.network.genesis_file, Path::new("/some where/genesis.json"));
        assert_eq!(settings.protocol.bind, address(1));
        assert_eq!(settings.api.bind_public, address(2));
        let peers: Vec<_> = settings
            .protocol
            .initial_peers
            .iter()
            .map(|peer| peer.address)
            .collect();
        assert_eq!(peers, [address(9)]);
        assert!(settings.distributed_storage.enabled);
        assert!(settings.distributed_storage.auto_claim);
        assert_eq!(
            settings.distributed_storage.operator_address,
            node.operator().to_string()
        );
        assert_eq!(settings.distributed_storage.chunk_size, 65_536);
        assert_eq!(settings.distributed_storage.replication_factor, 2);
        assert_eq!(settings.distributed_storage.challenge_frequency_periods, 4);
        assert_eq!(settings.distributed_storage.round_segments, 5);
    }

    #[test]
    fn a_duplicate_has_the_keys_of_the_node_and_listens_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let node = node(directory.path(), "massa-node");
        node.configure(Path::new("genesis.json"), 1, &[*node.identity()])
            .unwrap();
        let ports = Ports {
            protocol: address(11),
            public: address(12),
            private: address(13),
        };
        let runtime = ClientRuntime::start().unwrap();
        let second = node.duplicate("second".into(), ports, &runtime).unwrap();
        let over = second.directory.join(CONFIG_FILE);
        let settings = Settings::read(&second.programs.base_config, &over).unwrap();
        assert_eq!(
            (settings.protocol.bind, settings.protocol.routable_addresses),
            (address(11), vec![address(11)])
        );
        assert_eq!(
            (settings.api.bind_public, settings.api.bind_private),
            (address(12), address(13))
        );
        let key = load_or_create_keypair(&second.directory.join(KEY_FILE)).unwrap();
        assert_eq!(NodeId::new(key.get_public_key()), node.identity().node_id);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = node(directory.path(), "/no/such/massa-node").start().unwrap_err();
        assert!(error.to_string().contains("/no/such/massa-node"), "{error}");
    }

    #[test]
    fn a_node_that_ends_at_once_is_told_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        // false(1) ends with status 1 and says nothing.
        let mut node = node(directory.path(), "false");
        fs::write(node.log_path(), "settings: unknown field\n").unwrap();
        node.start().unwrap();
        let error = node.wait_ready().unwrap_err();
        assert!(matches!(error, NodeError::Ended { .. }), "{error}");
        assert!(error.to_string().contains("settings: unknown field"), "{error}");
    }

    #[test]
    fn a_node_that_does_not_run_cannot_be_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let mut node = node(directory.path(), "false");
        assert!(matches!(node.stop(), Err(NodeError::NotRunning(_))));
        node.kill();
    }
}
