//! The chain behind the registry client: final state and read-only runs from execution, signatures from the wallet, operations to
//! pool and peers; and where this node finds the registry.

use crate::genesis::Genesis;
use crate::settings::DistributedStorageSettings;
use massa_distributed_storage_exports::contract::{
    ContractError, ContractHost, OperationEvent, OperationLimits, OperationStatus,
};
use massa_distributed_storage_worker::smart_contract::client::Deployment;
use massa_distributed_storage_worker::smart_contract::deploy::{deployment, NewContract};
use massa_distributed_storage_worker::smart_contract::storage_registry::{constructor_parameter, StorageConfig};
use massa_execution_exports::{
    DatastoreKeysRequest, ExecutionController, ExecutionStackElement, ReadOnlyExecutionRequest, ReadOnlyExecutionTarget,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{BASE_OPERATION_GAS_COST, MAX_BLOCK_SIZE, MAX_GAS_PER_BLOCK};
use massa_models::datastore::Datastore;
use massa_models::execution::EventFilter;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::slot::Slot;
use massa_models::timeslots::get_current_latest_block_slot;
use massa_pool_exports::PoolController;
use massa_protocol_exports::ProtocolController;
use massa_storage::Storage;
use massa_time::MassaTime;
use massa_wallet::{Wallet, WalletError};
use parking_lot::RwLock;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

/// The registry contract, and what makes it: built by `massa-storage-sc`.
const REGISTRY_WASM: &[u8] = include_bytes!("../../../massa-storage-sc/build/storage-registry.wasm");
const DEPLOYER_WASM: &[u8] = include_bytes!("../../../massa-storage-sc/build/deployer.wasm");

/// Coins that a new registry gets: its own storage, the rest is its first pool.
const REGISTRY_COINS: Amount = Amount::from_raw(1_000_000_000);
/// What the settings do not say of a new registry.
const MIN_STAKE: Amount = Amount::from_raw(100_000_000_000);
const STAKE_PER_GB: Amount = Amount::from_raw(1_000_000_000);
const MAX_ALLOCATED_GB: u64 = 16_384;
const SLASH_PERCENTAGE: u64 = 10;

/// The chain of this node, for the registry client.
pub struct NodeContractHost {
    /// Final state and read-only runs.
    pub execution: Box<dyn ExecutionController>,
    /// Keeps operations.
    pub pool: Box<dyn PoolController>,
    /// Tells operations to the peers.
    pub protocol: Box<dyn ProtocolController>,
    /// Signs.
    pub wallet: Arc<RwLock<Wallet>>,
    /// Shared objects.
    pub storage: Storage,
    /// When the chain began.
    pub genesis_timestamp: MassaTime,
    /// Length of a period.
    pub t0: MassaTime,
    /// Threads.
    pub thread_count: u8,
    /// Bounds of operations.
    pub limits: OperationLimits,
}

impl std::fmt::Debug for NodeContractHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeContractHost").finish_non_exhaustive()
    }
}

/// Bounds of operations on the chain of a genesis file.
pub fn operation_limits(genesis: &Genesis, minimal_fee: Amount) -> OperationLimits {
    OperationLimits {
        chain_id: genesis.chain_id,
        validity_periods: genesis.operation_validity_periods,
        minimal_fee,
        max_gas: MAX_GAS_PER_BLOCK - BASE_OPERATION_GAS_COST,
    }
}

impl ContractHost for NodeContractHost {
    fn final_slot(&self) -> Slot {
        self.execution.get_stats().final_cursor
    }

    fn current_period(&self) -> u64 {
        let slot = get_current_latest_block_slot(self.thread_count, self.t0, self.genesis_timestamp);
        slot.ok().flatten().map_or(0, |slot| slot.period)
    }

    fn limits(&self) -> OperationLimits {
        self.limits
    }

    fn final_entries(&self, contract: &Address, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let input = keys.iter().map(|key| (*contract, key.clone())).collect();
        let entries = self.execution.get_final_and_active_data_entry(input);
        entries.into_iter().map(|(in_final, _)| in_final).collect()
    }

    fn final_keys(&self, contract: &Address, prefix: &[u8], after: Option<&[u8]>, count: usize) -> Vec<Vec<u8>> {
        self.execution.get_datastore_keys(&DatastoreKeysRequest {
            address: *contract,
            is_final: true,
            prefix: prefix.to_vec(),
            start: after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_vec())),
            end: Bound::Unbounded,
            count,
        })
    }

    fn final_balance(&self, address: &Address) -> Option<Amount> {
        let balances = self.execution.get_final_and_candidate_balance(&[*address]);
        balances.into_iter().next()?.0
    }

    fn operation_status(&self, id: &OperationId) -> OperationStatus {
        let statuses = self.execution.get_ops_exec_status(&[*id]);
        let (candidate, final_status) = statuses.into_iter().next().unwrap_or_default();
        OperationStatus {
            candidate,
            final_status,
        }
    }

    fn operation_events(&self, id: &OperationId) -> Vec<OperationEvent> {
        let filter = EventFilter {
            original_operation_id: Some(*id),
            is_final: Some(true),
            ..EventFilter::default()
        };
        let events = self.execution.get_filtered_sc_output_event(filter);
        let event = |event: massa_models::output_event::SCOutputEvent| OperationEvent {
            data: event.data,
            is_error: event.context.is_error,
        };
        events.into_iter().map(event).collect()
    }

    fn estimate_gas(&self, from: &Address, operation: &OperationType) -> Result<u64, ContractError> {
        let request = read_only_request(from, operation, &self.limits)?;
        let output = self.execution.execute_readonly_request(request);
        let output = output.map_err(|error| ContractError::Unavailable(error.to_string()))?;
        match output.call_result {
            Ok(_) => Ok(output.gas_cost),
            Err(reason) => Err(ContractError::Refused(reason)),
        }
    }

    fn send(&self, from: &Address, operation: Operation) -> Result<OperationId, ContractError> {
        let unavailable = |error: &dyn std::fmt::Display| ContractError::Unavailable(error.to_string());
        let signed = match self.wallet.read().create_operation(operation, *from) {
            Ok(signed) => signed,
            Err(WalletError::MissingKey(address)) => return Err(ContractError::MissingKey(address)),
            Err(error) => return Err(unavailable(&error)),
        };
        let size = signed.serialized_size();
        if size > MAX_BLOCK_SIZE as usize {
            let reason = format!("an operation of {size} bytes does not fit a block of {MAX_BLOCK_SIZE}");
            return Err(ContractError::Unavailable(reason));
        }
        let id = signed.id;
        let mut storage = self.storage.clone_without_refs();
        storage.store_operations(vec![signed]);
        let told = self.protocol.propagate_operations(storage.clone());
        told.map_err(|error| unavailable(&error))?;
        let kept = self.pool.clone_box().add_operations(storage);
        kept.map_err(|error| unavailable(&error))?;
        Ok(id)
    }
}

/// The execution of an operation on the candidate state.
fn read_only_request(
    from: &Address,
    operation: &OperationType,
    limits: &OperationLimits,
) -> Result<ReadOnlyExecutionRequest, ContractError> {
    let element = |address: &Address, coins: Amount, datastore: Option<Datastore>| ExecutionStackElement {
        address: *address,
        coins,
        owned_addresses: vec![*address],
        operation_datastore: datastore,
    };
    let (call_stack, target, coins) = match operation {
        OperationType::CallSC {
            target_addr,
            target_func,
            param,
            coins,
            ..
        } => {
            let stack = vec![element(from, Amount::zero(), None), element(target_addr, *coins, None)];
            let target = ReadOnlyExecutionTarget::FunctionCall {
                target_addr: *target_addr,
                target_func: target_func.clone(),
                parameter: param.clone(),
            };
            (stack, target, Some(*coins))
        }
        OperationType::ExecuteSC { data, datastore, .. } => {
            let stack = vec![element(from, Amount::zero(), Some(datastore.clone()))];
            (stack, ReadOnlyExecutionTarget::BytecodeExecution(data.clone()), None)
        }
        other => {
            let reason = format!("{other} runs no contract");
            return Err(ContractError::Unavailable(reason));
        }
    };
    Ok(ReadOnlyExecutionRequest {
        max_gas: limits.max_gas,
        call_stack,
        target,
        coins,
        fee: Some(limits.minimal_fee),
    })
}

/// `<path of the store>.<name>`: beside the directory of the store, which belongs to its database.
fn beside_store(store: &Path, name: &str) -> PathBuf {
    let mut path = store.as_os_str().to_os_string();
    path.push(".");
    path.push(name);
    PathBuf::from(path)
}

/// The file that holds the fees paid.
pub fn fees_path(settings: &DistributedStorageSettings) -> PathBuf {
    beside_store(&settings.path, "fees")
}

/// Where this node finds the registry: in its settings, else in a file that may come while the node runs.
#[derive(Clone, Debug)]
pub struct RegistryLocation {
    configured: Option<Address>,
    path: PathBuf,
    /// A text in the file that is no address, so that it is logged once.
    refused: Option<String>,
}

impl RegistryLocation {
    /// `configured`: the address in the settings.
    pub fn new(configured: Option<Address>, store: &Path) -> Self {
        Self {
            configured,
            path: beside_store(store, "registry_address"),
            refused: None,
        }
    }

    /// The address, if there is one now.
    pub fn find(&mut self) -> Option<Address> {
        if self.configured.is_some() {
            return self.configured;
        }
        let text = std::fs::read_to_string(&self.path).ok()?;
        match text.trim().parse() {
            Ok(address @ Address::SC(_)) => Some(address),
            _ => {
                if self.refused.as_ref() != Some(&text) {
                    let shown: String = text.chars().take(80).collect();
                    warn!(path = %self.path.display(), text = ?shown, "not the address of a contract");
                    self.refused = Some(text);
                }
                None
            }
        }
    }

    /// Writes the file.
    fn keep(&self, address: &Address) {
        let new = beside_store(&self.path, "new");
        let written = std::fs::write(&new, format!("{address}\n")).and_then(|()| std::fs::rename(&new, &self.path));
        match written {
            Ok(()) => info!(path = %self.path.display(), "address of the storage registry kept"),
            Err(error) => warn!(path = %self.path.display(), %error, "address of the storage registry not kept"),
        }
    }
}

/// The registry that this node makes. `first_segment`: the first that is anchored.
pub fn registry_deployment(
    settings: &DistributedStorageSettings,
    admin: &Address,
    first_segment: u64,
    location: RegistryLocation,
) -> Deployment {
    let config = StorageConfig {
        reward_per_gb_per_period: Amount::from_raw(settings.reward_per_gb_per_period),
        min_allocated_gb: 1,
        max_allocated_gb: MAX_ALLOCATED_GB,
        challenge_response_timeout_ms: settings.challenge_response_timeout.as_millis(),
        slash_percentage: SLASH_PERCENTAGE,
        min_stake: MIN_STAKE,
        stake_per_gb: STAKE_PER_GB,
        replication_factor: u64::from(settings.replication_factor),
        chunk_size_bytes: settings.chunk_size as u64,
        challenge_frequency_periods: settings.challenge_frequency_periods,
        first_segment,
        round_segments: settings.round_segments,
    };
    let contract = NewContract {
        bytecode: REGISTRY_WASM.to_vec(),
        parameter: constructor_parameter(admin, &config),
        coins: REGISTRY_COINS,
    };
    let on_deployed = move |address: Address| {
        location.keep(&address);
        info!("storage registry deployed; for the others' config: storage_registry_address = \"{address}\"");
    };
    Deployment {
        operation: deployment(DEPLOYER_WASM.to_vec(), &contract, 0),
        on_deployed: Box::new(on_deployed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy";

    #[test]
    fn the_address_may_come_in_a_file_while_the_node_runs() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let mut location = RegistryLocation::new(None, &store);
        assert_eq!(location.find(), None);
        std::fs::write(directory.path().join("store.registry_address"), "nonsense").unwrap();
        assert_eq!(location.find(), None);
        location.keep(&REGISTRY.parse().unwrap());
        assert_eq!(location.find().unwrap().to_string(), REGISTRY);
    }

    #[test]
    fn the_settings_come_before_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let configured: Address = REGISTRY.parse().unwrap();
        let mut location = RegistryLocation::new(Some(configured), &store);
        std::fs::write(directory.path().join("store.registry_address"), "nonsense").unwrap();
        assert_eq!(location.find(), Some(configured));
    }

    #[test]
    fn a_call_is_estimated_with_the_coins_and_the_fee_that_it_will_have() {
        let from = Address::from_public_key(&massa_signature::KeyPair::generate(0).unwrap().get_public_key());
        let limits = OperationLimits {
            chain_id: 77,
            validity_periods: 10,
            minimal_fee: Amount::from_raw(5),
            max_gas: 1_000,
        };
        let target: Address = REGISTRY.parse().unwrap();
        let call = OperationType::CallSC {
            target_addr: target,
            target_func: "fund".into(),
            param: vec![1],
            max_gas: 0,
            coins: Amount::from_raw(7),
        };
        let request = read_only_request(&from, &call, &limits).unwrap();
        assert_eq!(
            (request.coins, request.fee),
            (Some(Amount::from_raw(7)), Some(Amount::from_raw(5)))
        );
        let stack: Vec<(Address, Amount)> = request.call_stack.iter().map(|e| (e.address, e.coins)).collect();
        assert_eq!(stack, [(from, Amount::zero()), (target, Amount::from_raw(7))]);
        let rolls = OperationType::RollBuy { roll_count: 1 };
        assert!(read_only_request(&from, &rolls, &limits).is_err());
    }
}
