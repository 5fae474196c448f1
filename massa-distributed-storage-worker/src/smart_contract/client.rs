//! The client of the registry contract: one thread that follows the registry, reads the node set, and sends what is ordered.
//!
//! Started by the node; asked through [`ClientHandle`]. What is decided is in [`super::outbox`], [`super::node_set`] and
//! [`super::fees`], without time or I/O of their own; here are the clock, the host and the file of fees.

use super::args::DecodeError;
use super::deploy::deployed_address;
use super::fees::FeeLedger;
use super::node_set::{RegistryError, RegistryNodeSet};
use super::outbox::{Busy, Order, Outbox, Outcome, Purpose, Refusal, Seen, Step};
use super::state::{node_key, NodeRecord, TOTAL_NODES_KEY};
use super::storage_registry::Call;
use super::views;
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use massa_distributed_storage_exports::contract::{ContractHost, OperationEvent};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::OperationType;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{info, warn};

/// How often the registry and the operations under way are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Periods that an operation may take which this client orders by itself.
const ORDER_PERIODS: u64 = 20;
/// How often the operator is told of low coins, or of a registry that is not followed, in the log.
const WARN_EVERY_MS: u64 = 600_000;

/// Told the nodes of the registry.
pub type OnNodes = Box<dyn FnMut(&[NodeRecord]) + Send>;

/// What the client is made of.
pub struct ClientParts {
    /// The chain.
    pub host: Arc<dyn ContractHost>,
    /// The node set that follows the registry.
    pub nodes: Arc<RegistryNodeSet>,
    /// Who signs. Without one, nothing is sent.
    pub operator: Option<Address>,
    /// Where the registry is. Asked again until a registry is followed, and after that, to tell a change.
    pub registry: Box<dyn FnMut() -> Option<Address> + Send>,
    /// Told the nodes of the registry when they were read: where peers are.
    pub on_nodes: OnNodes,
    /// The most fees of a day; `None` for no limit.
    pub max_fees_per_day: Option<Amount>,
    /// The file that keeps the fees paid over a restart.
    pub fees_path: Option<PathBuf>,
    /// Makes the registry where there is none. `None`: somebody else does.
    pub deployment: Option<Deployment>,
}

/// The registry that this node makes.
pub struct Deployment {
    /// The operation: [`super::deploy::deployment`].
    pub operation: OperationType,
    /// Told the address, once the registry is in final state. From then on [`ClientParts::registry`] gives it, after a
    /// restart, too.
    pub on_deployed: Box<dyn FnMut(Address) + Send>,
}

/// What is known of the registry, and of this node in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStatus {
    /// The registry that is followed.
    pub registry: Option<Address>,
    /// Why none is, or why another one is not.
    pub problem: Option<String>,
    /// This node's record in final state.
    pub own: Option<NodeRecord>,
    /// Why that cannot be read, although there is one.
    pub own_error: Option<String>,
    /// Nodes that are registered.
    pub registered_nodes: u64,
    /// Why that cannot be read.
    pub registered_nodes_error: Option<String>,
    /// Why the fees paid are not kept: after a restart they count anew.
    pub fees_error: Option<String>,
    /// Coins of the operator in final state.
    pub balance: Option<Amount>,
    /// Why the operator should see to its coins.
    pub low_balance: Option<String>,
    /// Fees of the last 24 hours.
    pub fees_last_day: Amount,
    /// The last operation that was refused.
    pub last_refusal: Option<Refusal>,
    /// What is to be sent, or under way.
    pub pending: Vec<Purpose>,
}

struct Shared {
    host: Arc<dyn ContractHost>,
    nodes: Arc<RegistryNodeSet>,
    operator: Option<Address>,
    outbox: Mutex<Outbox>,
    status: Mutex<ClientStatus>,
}

/// Asks the client.
#[derive(Clone)]
pub struct ClientHandle(Arc<Shared>);

impl ClientHandle {
    /// What is known.
    pub fn status(&self) -> ClientStatus {
        self.0.status.lock().clone()
    }

    /// The node set.
    pub fn nodes(&self) -> &Arc<RegistryNodeSet> {
        &self.0.nodes
    }

    /// Who signs.
    pub fn operator(&self) -> Option<Address> {
        self.0.operator
    }

    /// The chain.
    pub fn host(&self) -> &Arc<dyn ContractHost> {
        &self.0.host
    }

    /// Orders a call of the registry that is followed. Sent as soon as it would succeed, again if no block included it, until
    /// `until_period`.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn call(&self, purpose: Purpose, call: Call, coins: Amount, until_period: u64) -> Result<(), OrderError> {
        let target = self.0.nodes.address().ok_or(OrderError::NoRegistry)?;
        self.order(Order {
            purpose,
            operation: call_operation(target, call, coins),
            until_period,
        })
    }

    /// Orders an operation.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn order(&self, order: Order) -> Result<(), OrderError> {
        if self.0.operator.is_none() {
            return Err(OrderError::NoOperator);
        }
        Ok(self.0.outbox.lock().put(order)?)
    }

    /// Whether something is to be sent, or under way, for a purpose.
    pub fn is_pending(&self, purpose: Purpose) -> bool {
        self.0.outbox.lock().is_pending(purpose)
    }

    /// How the last order for a purpose ended, once.
    pub fn take_outcome(&self, purpose: Purpose) -> Option<Outcome> {
        self.0.outbox.lock().take_outcome(purpose)
    }
}

/// Why an order was not taken.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No registry is followed.
    #[error("no registry is followed")]
    NoRegistry,
    /// Nobody signs.
    #[error("the wallet of this node has no address to sign with")]
    NoOperator,
    /// An operation for the same purpose is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// The operation that calls a contract.
pub fn call_operation(target: Address, call: Call, coins: Amount) -> OperationType {
    OperationType::CallSC {
        target_addr: target,
        target_func: call.function.to_string(),
        param: call.parameter,
        max_gas: 0,
        coins,
    }
}

/// Stops the client.
pub struct ClientManager {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ClientManager {
    /// Ends the thread.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                warn!("the thread of the registry client ended in a panic");
            }
        }
    }
}

impl Drop for ClientManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the client.
///
/// # Errors
/// The system's, if there is no thread.
pub fn start_contract_client(parts: ClientParts) -> std::io::Result<(ClientManager, ClientHandle)> {
    let (fees, fees_error) = match parts.fees_path.as_deref().map(read_fees) {
        None => Default::default(),
        Some(Ok(fees)) => (fees, None),
        Some(Err(error)) => {
            warn!(%error, "fees paid cannot be read: they count anew");
            (FeeLedger::default(), Some(error))
        }
    };
    let now_ms = now_ms();
    let shared = Arc::new(Shared {
        host: parts.host,
        nodes: parts.nodes,
        operator: parts.operator,
        outbox: Mutex::new(Outbox::new(fees.clone(), parts.max_fees_per_day, now_ms)),
        status: Mutex::default(),
    });
    let client = Client {
        shared: Arc::clone(&shared),
        registry: parts.registry,
        on_nodes: parts.on_nodes,
        deployment: parts.deployment,
        fees_path: parts.fees_path,
        fees_written: fees,
        fees_error,
        warned_ms: 0,
    };
    let (stop, stopped) = bounded(0);
    let thread = std::thread::Builder::new()
        .name("registry-client".into())
        .spawn(move || client.run(&stopped))?;
    let manager = ClientManager {
        stop: Some(stop),
        thread: Some(thread),
    };
    Ok((manager, ClientHandle(shared)))
}

/// The fees of a file; none while there is no such file.
fn read_fees(path: &Path) -> Result<FeeLedger, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(FeeLedger::from_text(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(FeeLedger::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What was read, or why not.
fn value_and_error<T>(read: Result<Option<T>, DecodeError>) -> (Option<T>, Option<String>) {
    match read {
        Ok(value) => (value, None),
        Err(error) => (None, Some(error.to_string())),
    }
}

struct Client {
    shared: Arc<Shared>,
    registry: Box<dyn FnMut() -> Option<Address> + Send>,
    on_nodes: OnNodes,
    deployment: Option<Deployment>,
    fees_path: Option<PathBuf>,
    fees_written: FeeLedger,
    fees_error: Option<String>,
    warned_ms: u64,
}

impl Client {
    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            self.tick(now_ms());
            match stopped.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn tick(&mut self, now_ms: u64) {
        let problem = self.follow();
        let host = Arc::clone(&self.shared.host);
        let own = self.own_record();
        let seen = self.seen(&*host, now_ms);
        if let Some(operator) = self.shared.operator {
            self.send(&*host, &operator, &seen);
        }
        self.write_fees();
        self.tell(problem, own, &seen);
    }

    /// Follows the registry, once there is one, and reads the sets that came within reach.
    fn follow(&mut self) -> Option<RegistryError> {
        let nodes = Arc::clone(&self.shared.nodes);
        let before = nodes.address();
        let address = (self.registry)();
        if address.is_none() && before.is_none() {
            self.deploy();
        }
        let problem = address.and_then(|address| nodes.follow(address).err());
        let is_new = before.is_none() && nodes.address().is_some();
        if let (true, Some(address)) = (is_new, nodes.address()) {
            info!(registry = %address, "storage registry followed");
        }
        if nodes.refresh() || is_new {
            (self.on_nodes)(&nodes.records());
        }
        problem
    }

    /// Makes the registry, if that was asked of this node.
    fn deploy(&mut self) {
        let Some(deployment) = &mut self.deployment else { return };
        let host = &self.shared.host;
        let mut outbox = self.shared.outbox.lock();
        if outbox.is_pending(Purpose::Deploy) {
            return;
        }
        if let Some(Outcome::Done(id)) = outbox.take_outcome(Purpose::Deploy) {
            let events = host.operation_events(&id);
            match deployed_address(events.iter().map(|event| event.data.as_str())) {
                Some(address) => (deployment.on_deployed)(address),
                None => warn!(operation_id = %id, "the registry was made, but its address is not known any more"),
            }
            // Once: a second registry would split the network.
            self.deployment = None;
            return;
        }
        let order = Order {
            purpose: Purpose::Deploy,
            operation: deployment.operation.clone(),
            until_period: host.current_period() + ORDER_PERIODS,
        };
        // Nothing for this purpose is under way: that was just looked at.
        let _ = outbox.put(order);
    }

    fn own_record(&self) -> Result<Option<NodeRecord>, DecodeError> {
        let (Some(registry), Some(operator)) = (self.shared.nodes.address(), self.shared.operator) else {
            return Ok(None);
        };
        let row = self.final_row(&registry, node_key(&operator));
        row.map(|row| NodeRecord::decode(operator, &row)).transpose()
    }

    fn final_row(&self, registry: &Address, key: Vec<u8>) -> Option<Vec<u8>> {
        self.shared.host.final_entries(registry, &[key]).into_iter().next()?
    }

    fn seen(&self, host: &dyn ContractHost, time_ms: u64) -> Seen {
        let balance = self.shared.operator.and_then(|operator| host.final_balance(&operator));
        Seen {
            time_ms,
            current_period: host.current_period(),
            final_period: host.final_slot().period,
            balance: balance.unwrap_or_default(),
            limits: host.limits(),
        }
    }

    /// Does what is due. The outbox is not locked while the host works.
    fn send(&self, host: &dyn ContractHost, operator: &Address, seen: &Seen) {
        let steps = self.shared.outbox.lock().steps(seen);
        for step in steps {
            match step {
                Step::Estimate(purpose, operation) => {
                    let gas = host.estimate_gas(operator, &operation);
                    let operation = self.shared.outbox.lock().estimated(purpose, gas, seen);
                    if let Some(operation) = operation {
                        let id = host.send(operator, operation.clone());
                        self.shared.outbox.lock().sent(purpose, &operation, id, seen.time_ms);
                    }
                }
                Step::Check(purpose, id) => {
                    let status = host.operation_status(&id);
                    let failed = status.final_status == Some(false);
                    let error = failed.then(|| error_text(host.operation_events(&id))).flatten();
                    self.shared.outbox.lock().checked(purpose, status, error, seen);
                }
            }
        }
    }

    fn write_fees(&mut self) {
        let fees = self.shared.outbox.lock().fees().clone();
        let Some(path) = &self.fees_path else { return };
        if fees == self.fees_written {
            return;
        }
        let new = path.with_extension("new");
        let written = std::fs::write(&new, fees.to_text()).and_then(|()| std::fs::rename(&new, path));
        self.fees_error = written.err().map(|error| {
            warn!(path = %path.display(), %error, "fees paid are not written: after a restart they count anew");
            format!("{}: {error}", path.display())
        });
        self.fees_written = fees;
    }

    fn tell(&mut self, problem: Option<RegistryError>, own: Result<Option<NodeRecord>, DecodeError>, seen: &Seen) {
        let registry = self.shared.nodes.address();
        let registered = registry.and_then(|registry| self.final_row(&registry, TOTAL_NODES_KEY.to_vec()));
        let (own, own_error) = value_and_error(own);
        let registered = registered.map(|row| views::decode_number(&row)).transpose();
        let (registered_nodes, registered_nodes_error) = value_and_error(registered);
        let outbox = self.shared.outbox.lock();
        let fees = outbox.fees();
        // Without a registry there is nothing to pay for.
        let low_balance = match (registry, self.shared.operator) {
            (Some(_), Some(_)) => fees.low_balance(seen.time_ms, seen.balance, seen.limits.minimal_fee),
            _ => None,
        };
        let status = ClientStatus {
            registry,
            problem: problem.map(|problem| problem.to_string()),
            own,
            own_error,
            registered_nodes: registered_nodes.unwrap_or(0),
            registered_nodes_error,
            fees_error: self.fees_error.clone(),
            balance: self.shared.operator.map(|_| seen.balance),
            low_balance,
            fees_last_day: fees.last_day(seen.time_ms),
            last_refusal: outbox.last_refusal().cloned(),
            pending: outbox.pending(),
        };
        drop(outbox);
        self.warn(&status, seen.time_ms);
        *self.shared.status.lock() = status;
    }

    fn warn(&mut self, status: &ClientStatus, now_ms: u64) {
        let is_wrong = status.low_balance.is_some() || status.problem.is_some();
        if !is_wrong || now_ms < self.warned_ms.saturating_add(WARN_EVERY_MS) {
            return;
        }
        self.warned_ms = now_ms;
        if let Some(low_balance) = &status.low_balance {
            let operator = self.shared.operator.map(|operator| operator.to_string());
            warn!(operator, %low_balance, "the operator's balance runs low");
        }
        if let Some(problem) = &status.problem {
            warn!(%problem, "storage registry not followed");
        }
    }
}

/// The contract's own words, out of the event of a failed operation.
fn error_text(events: Vec<OperationEvent>) -> Option<String> {
    events.into_iter().find(|event| event.is_error).map(|event| event.data)
}
