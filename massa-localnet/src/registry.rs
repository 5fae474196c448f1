//! The registry on the network's chain: deployed, funded, and every node registered with a stake, as its users do it with
//! `massa-cli`, and told to the nodes through the file that they look for.

use crate::client::{ClientError, NodeClient};
use crate::genesis::ALLOCATED_STORAGE_GB;
use crate::network::Network;
use crate::node::Node;
use crate::wait::{wait_for, WaitError};
use massa_api_exports::datastore::DatastoreEntryInput;
use massa_api_exports::distributed_storage::StorageStatus;
use massa_api_exports::rpc::MassaRpcClient;
use massa_client::contract::SendingArguments;
use massa_client::node::{Node as Api, NodeArguments, NodeCommandError};
use massa_client::operation::Signer;
use massa_client::sc::{deploy_registry, RegistryArguments};
use massa_client::storage::registry::{Operator, OperatorArguments};
use massa_distributed_storage_worker::smart_contract::state::CONFIG_KEY;
use massa_distributed_storage_worker::smart_contract::storage_registry::{Registration, StorageConfig};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_node::genesis::Genesis;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the chain may take to begin, and nodes to read what is final: a busy machine is no failure.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Coins for the storage of the registry; the rest fills the pool.
const DEPLOYMENT_COINS: Amount = Amount::const_init(1, 0);
/// What the pool of rewards begins with.
const POOL: Amount = Amount::const_init(10_000, 0);
const MIN_STAKE: Amount = Amount::const_init(100, 0);
const STAKE_PER_GB: Amount = Amount::const_init(1, 0);
const MAX_ALLOCATED_GB: u64 = 16_384;
const CHALLENGE_RESPONSE_TIMEOUT_MS: u64 = 600_000;
const SLASH_PERCENTAGE: u64 = 10;

/// Why the network has no registry.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A call of the contract, or what leads to it.
    #[error("{step}: {}", massa_client::output::one_line(.source))]
    Command {
        /// What was done.
        step: String,
        /// Why it failed.
        source: NodeCommandError,
    },
    /// A node was not told.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// All that is needed of a network, so that another thread can do it while the network is watched.
#[derive(Clone, Debug)]
pub struct RegistryPlan {
    accounts: PathBuf,
    admin: Address,
    config: StorageConfig,
    members: Vec<Member>,
}

/// A node and its operator.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    api: NodeArguments,
    client: NodeClient,
    wallet: PathBuf,
    operator: Address,
    listener: SocketAddr,
    /// Where the node looks for the registry's address.
    address_file: PathBuf,
}

impl RegistryPlan {
    /// A registry for the first `count` nodes of a network. Its admin is the first of the accounts.
    pub fn new(network: &Network, count: usize) -> Self {
        Self {
            accounts: network.accounts_path(),
            admin: network.accounts()[0],
            config: config(network.genesis()),
            members: network.nodes().iter().take(count).map(Member::new).collect(),
        }
    }

    /// Does it in a thread of its own.
    pub fn start(self) -> JoinHandle<Result<Address, RegistryError>> {
        thread::spawn(move || self.run())
    }

    /// Deploys, tells the nodes, funds and registers, and waits until every node says that all are registered.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn run(&self) -> Result<Address, RegistryError> {
        self.wait_for_the_chain()?;
        let registry = self.deploy()?;
        self.members.iter().try_for_each(|member| member.tell(registry))?;
        let results = thread::scope(|scope| {
            let fund = scope.spawn(move || self.fund(registry));
            let register = |member| scope.spawn(move || Member::register(member, registry));
            let members: Vec<_> = self.members.iter().map(register).collect();
            let threads = std::iter::once(fund).chain(members);
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("calls do not panic");
            threads.map(join).collect::<Vec<_>>()
        });
        results.into_iter().collect::<Result<(), _>>()?;
        self.wait_for_the_nodes(registry)?;
        Ok(registry)
    }

    /// Before the first period is over, nobody knows whether blocks are made.
    fn wait_for_the_chain(&self) -> Result<(), RegistryError> {
        let client = &self.members[0].client;
        let waited = wait_for("the first blocks to be executed", TIMEOUT, || {
            let status = client.status().map_err(|error| error.to_string())?;
            let at = status.execution_stats.active_cursor;
            if at.period > 0 {
                Ok(())
            } else {
                Err(format!("execution is at slot {}:{}", at.period, at.thread))
            }
        });
        Ok(waited?)
    }

    fn deploy(&self) -> Result<Address, RegistryError> {
        let deploy = || {
            let node = Api::public(&self.members[0].api)?;
            let signer = Signer::new(&node, &self.accounts, self.admin)?;
            deploy_registry(&signer, self.config.clone(), DEPLOYMENT_COINS)
        };
        Ok(deploy().map_err(step("deploying the registry"))?.address)
    }

    fn fund(&self, registry: Address) -> Result<(), RegistryError> {
        let fund = || {
            let node = Api::public(&self.members[0].api)?;
            Operator::new(&operator_arguments(self.admin, registry), &node, &self.accounts)?.fund(POOL)
        };
        fund().map(|_| ()).map_err(step("funding the registry"))
    }

    fn wait_for_the_nodes(&self, registry: Address) -> Result<(), RegistryError> {
        let count = self.members.len() as u64;
        let waited = wait_for("every node to see all nodes registered", TIMEOUT, || {
            self.members.iter().try_for_each(|member| {
                let status = member.client.storage_status().map_err(|error| error.to_string())?;
                match status.registry {
                    info if info.address != Some(registry) => {
                        let why = status.problem.or(info.problem).unwrap_or_default();
                        Err(format!("{} does not follow the registry: {why}", member.name))
                    }
                    info if info.registered_nodes < count => {
                        Err(format!("{} sees {} of {count}", member.name, info.registered_nodes))
                    }
                    _ => Ok(()),
                }
            })
        });
        Ok(waited?)
    }
}

impl Member {
    fn new(node: &Node) -> Self {
        let ports = node.ports();
        Self {
            name: node.name().to_string(),
            api: NodeArguments {
                ip: ports.public.ip(),
                public_port: ports.public.port(),
                private_port: ports.private.port(),
                token_file: Some(node.token_path()),
            },
            client: node.client().clone(),
            wallet: node.wallet_path(),
            operator: node.operator(),
            listener: ports.protocol,
            address_file: node.registry_address_path(),
        }
    }

    /// Leaves the address where the node looks for it. Renamed into place, so that the node reads all of it or nothing.
    fn tell(&self, registry: Address) -> Result<(), RegistryError> {
        let new = self.address_file.with_extension("new");
        let written = std::fs::write(&new, format!("{registry}\n"));
        written
            .and_then(|()| std::fs::rename(&new, &self.address_file))
            .map_err(|source| RegistryError::File {
                path: self.address_file.clone(),
                source,
            })
    }

    /// Each node executes in its own time: what another one deployed may not be there yet.
    fn wait_for_the_contract(&self, registry: Address) -> Result<(), RegistryError> {
        let entry = DatastoreEntryInput {
            address: registry,
            key: CONFIG_KEY.to_vec(),
        };
        let waited = wait_for(format!("{} to execute the deployment", self.name), TIMEOUT, || {
            let node = Api::public(&self.api).map_err(|error| error.to_string())?;
            let entries = node.call(|client| client.get_datastore_entries(vec![entry.clone()]));
            let entries = entries.map_err(|error| error.to_string())?;
            let is_there = entries.iter().any(|entry| entry.candidate_value.is_some());
            is_there
                .then_some(())
                .ok_or_else(|| format!("there is no contract {registry}"))
        });
        Ok(waited?)
    }

    fn register(&self, registry: Address) -> Result<(), RegistryError> {
        self.wait_for_the_contract(registry)?;
        let register = || {
            let node = Api::public(&self.api)?;
            let operator = Operator::new(&operator_arguments(self.operator, registry), &node, &self.wallet)?;
            let identity = operator.identity(&Api::private(&self.api)?, vec![self.listener])?;
            operator.register(&Registration {
                allocated_gb: ALLOCATED_STORAGE_GB,
                identity: Some(identity),
                ..Registration::default()
            })
        };
        register()
            .map(|_| ())
            .map_err(step(format!("registering {}", self.name)))
    }
}

fn operator_arguments(from: Address, registry: Address) -> OperatorArguments {
    OperatorArguments {
        from,
        registry: RegistryArguments {
            registry: Some(registry),
        },
        sending: SendingArguments::default(),
    }
}

fn step(step: impl Into<String>) -> impl FnOnce(NodeCommandError) -> RegistryError {
    let step = step.into();
    move |source| RegistryError::Command { step, source }
}

/// The configuration that agrees with the genesis file.
fn config(genesis: &Genesis) -> StorageConfig {
    StorageConfig {
        reward_per_gb_per_period: Amount::from_raw(genesis.storage.reward_per_gb_per_period),
        min_allocated_gb: 1,
        max_allocated_gb: MAX_ALLOCATED_GB,
        challenge_response_timeout_ms: CHALLENGE_RESPONSE_TIMEOUT_MS,
        slash_percentage: SLASH_PERCENTAGE,
        min_stake: MIN_STAKE,
        stake_per_gb: STAKE_PER_GB,
        replication_factor: u64::from(genesis.storage.replication_factor),
        chunk_size_bytes: u64::from(genesis.storage.chunk_size),
        challenge_frequency_periods: genesis.storage.challenge_frequency_periods,
        first_segment: 0,
        round_segments: genesis.storage.round_segments,
    }
}

/// What the nodes agree on of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryView {
    /// The registry, if every node follows the same one.
    pub address: Option<Address>,
    /// The fewest nodes that any node sees registered.
    pub registered_nodes: u64,
}

impl RegistryView {
    /// Asks all nodes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn fetch(nodes: &[Node]) -> Result<Self, ClientError> {
        let statuses = nodes.iter().map(|node| node.client().storage_status());
        Ok(Self::of_statuses(&statuses.collect::<Result<Vec<_>, _>>()?))
    }

    /// What nodes with these states agree on.
    pub fn of_statuses(statuses: &[StorageStatus]) -> Self {
        let told = statuses.iter().map(|status| &status.registry);
        Self::of(
            &told
                .map(|registry| (registry.address, registry.registered_nodes))
                .collect::<Vec<_>>(),
        )
    }

    /// What these nodes agree on.
    pub fn of(told: &[(Option<Address>, u64)]) -> Self {
        let first = told.first().and_then(|(address, _)| *address);
        let agree = told.iter().all(|(address, _)| *address == first);
        let fewest = told.iter().map(|(_, registered)| *registered).min();
        Self {
            address: first.filter(|_| agree),
            registered_nodes: fewest.unwrap_or(0),
        }
    }

    /// In one line.
    pub fn line(&self, nodes: usize) -> String {
        match self.address {
            None => "registry: not there yet".to_string(),
            // Others may register in it than those that run here.
            Some(address) if self.registered_nodes > nodes as u64 => format!(
                "registry {address}: {} nodes registered, {nodes} run here",
                self.registered_nodes
            ),
            Some(address) => format!(
                "registry {address}: {} of {nodes} nodes registered",
                self.registered_nodes
            ),
        }
    }
}

/// Where a node with its store at `store` looks for the registry's address.
pub fn address_file(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_os_string();
    path.push(".registry_address");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy";
    const B: &str = "AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L";

    fn address(text: &str) -> Option<Address> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_registry_is_the_one_that_all_nodes_follow_with_the_fewest_nodes_that_any_sees() {
        let view = RegistryView::of(&[(address(A), 4), (address(A), 3)]);
        assert_eq!((view.address, view.registered_nodes), (address(A), 3));
        assert_eq!(view.line(4), format!("registry {A}: 3 of 4 nodes registered"));
        assert_eq!(view.line(2), format!("registry {A}: 3 nodes registered, 2 run here"));
        assert_eq!(RegistryView::of(&[(address(A), 4), (address(B), 4)]).address, None);
        assert_eq!(RegistryView::of(&[(address(A), 4), (None, 0)]).address, None);
        assert_eq!(RegistryView::of(&[]).line(4), "registry: not there yet");
    }

    #[test]
    fn the_address_stands_beside_the_store() {
        let file = address_file(Path::new("/n/storage/distributed_storage"));
        assert_eq!(file, Path::new("/n/storage/distributed_storage.registry_address"));
    }
}
