//! A node, asked over JSON-RPC only: the final state of a contract, final blocks, and operations signed outside of it.

use massa_api_exports::datastore::{DatastoreEntryInput, DatastoreKeysInput};
use massa_api_exports::execution::SCOutputEvent;
use massa_api_exports::operation::OperationInput;
use massa_api_exports::page::TimeInterval;
use massa_api_exports::rpc::MassaRpcClient;
use massa_client::node::{Node as Api, NodeArguments};
use massa_client::operation::Signer;
use massa_distributed_storage_exports::contract::{
    ContractError, ContractHost, OperationEvent, OperationLimits, OperationStatus,
};
use massa_distributed_storage_worker::rounds::decide::Snapshot;
use massa_distributed_storage_worker::rounds::snapshot::{whole_period, SnapshotReader};
use massa_distributed_storage_worker::smart_contract::storage_registry::{parse_submission_answers, Call};
use massa_localnet::genesis::{Clock, CHAIN_ID};
use massa_localnet::Node;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::slot::Slot;
use massa_time::MassaTime;
use massa_wallet::Wallet;
use std::path::PathBuf;

/// Gas of a call at most: 16 draws take 90 million.
const MAX_GAS: u64 = 200_000_000;
/// Coins for rows that a call may add; what is left comes back.
const COINS: Amount = Amount::from_raw(200_000_000);
const FEE: Amount = Amount::from_raw(10_000_000);
/// How long an operation may take to be final, with other work on the machine.
const FINAL_SECONDS: u64 = 60;

/// A node and its APIs.
pub struct Remote {
    arguments: NodeArguments,
    api: Api,
    clock: Clock,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.arguments)
    }
}

/// What a contract is asked in whose name.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Folder with the key.
    pub wallet: PathBuf,
    /// Who signs.
    pub from: Address,
    /// The contract.
    pub registry: Address,
}

/// Answers to draws that a node gave for a round.
pub type Answers = (Address, u64, Vec<Vec<u8>>);

/// An operation that is sent and waited for beside the test's own loop: its events, or what the contract says.
pub type Outcome = std::thread::JoinHandle<Result<Vec<String>, String>>;

impl Caller {
    fn operation(&self, call: &Call) -> OperationType {
        OperationType::CallSC {
            target_addr: self.registry,
            target_func: call.function.to_string(),
            param: call.parameter.clone(),
            max_gas: MAX_GAS,
            coins: COINS,
        }
    }
}

impl Remote {
    /// Nothing is asked yet.
    pub fn new(node: &Node, clock: Clock) -> Self {
        let ports = node.ports();
        let arguments = NodeArguments {
            ip: ports.public.ip(),
            public_port: ports.public.port(),
            private_port: ports.private.port(),
            token_file: Some(node.token_path()),
        };
        let api = Api::public(&arguments).unwrap();
        Self { arguments, api, clock }
    }

    /// The registry's final state.
    pub fn snapshot(&self, reader: &mut SnapshotReader, threads: u8) -> Option<Snapshot> {
        let period = whole_period(self.final_slot(), threads)?;
        reader.read(self, period)
    }

    /// Ids of the final blocks of a period whose slots are all final, by thread; `None` if the node cannot be asked.
    pub fn final_blocks(&self, period: u64) -> Option<Vec<Option<BlockId>>> {
        let at = |period: u64| {
            let start = self.clock.genesis_timestamp.as_millis() + self.clock.t0.as_millis() * period;
            Some(MassaTime::from_millis(start))
        };
        let interval = TimeInterval {
            start: at(period),
            end: at(period + 1),
        };
        let blocks = self.api.call(|client| client.get_graph_interval(interval)).ok()?;
        let mut ids = vec![None; usize::from(self.clock.thread_count)];
        for block in blocks
            .iter()
            .filter(|block| block.is_final && block.slot.period == period)
        {
            ids[usize::from(block.slot.thread)] = Some(block.id);
        }
        Some(ids)
    }

    /// The answers to draws in the blocks of a period: who gave them, for which round.
    pub fn answers(&self, period: u64, registry: &Address) -> Option<Vec<Answers>> {
        let ids = self.final_blocks(period)?.into_iter().flatten().collect();
        let blocks = self.api.call(|client| client.get_blocks(ids)).ok()?;
        let contents = blocks.into_iter().filter_map(|block| block.content);
        let operations: Vec<OperationId> = contents.flat_map(|content| content.block.operations).collect();
        let mut found = Vec::new();
        for ids in operations.chunks(100) {
            let infos = self.api.call(|client| client.get_operations(ids.to_vec())).ok()?;
            for info in infos {
                let OperationType::CallSC {
                    target_addr,
                    target_func,
                    param,
                    ..
                } = &info.operation.content.op
                else {
                    continue;
                };
                if target_addr == registry && target_func == "submitProof" {
                    found.extend(parse_submission_answers(param).ok());
                }
            }
        }
        Some(found)
    }

    /// Signs a call and sends it; what becomes of it shows in final state.
    pub fn send(&self, caller: &Caller, call: &Call, expire_period: u64) -> Result<OperationId, String> {
        let wallet = Wallet::new(caller.wallet.clone(), CHAIN_ID).map_err(|error| error.to_string())?;
        let content = Operation {
            fee: FEE,
            expire_period,
            op: caller.operation(call),
        };
        let signed = wallet.create_operation(content, caller.from);
        let signed = signed.map_err(|error| error.to_string())?;
        let input = OperationInput {
            creator_public_key: signed.content_creator_pub_key,
            signature: signed.signature,
            serialized_content: signed.serialized_data,
        };
        let sent = self.api.call(|client| client.send_operations(vec![input]));
        sent.map(|_| signed.id).map_err(|error| error.to_string())
    }

    /// Sends a call and waits until it is final, in a thread of its own.
    pub fn start(&self, caller: &Caller, call: &Call) -> Outcome {
        let (arguments, caller, call) = (self.arguments.clone(), caller.clone(), call.clone());
        std::thread::spawn(move || {
            let api = Api::public(&arguments).map_err(|error| error.to_string())?;
            let result = Signer::new(&api, &caller.wallet, caller.from).and_then(|signer| {
                let sent = signer.send(caller.operation(&call), FEE)?;
                signer.wait_final(&sent, Some(FINAL_SECONDS))
            });
            let texts = |events: Vec<SCOutputEvent>| events.into_iter().map(|event| event.data).collect();
            result.map(texts).map_err(|error| error.to_string())
        })
    }
}

impl ContractHost for Remote {
    fn final_slot(&self) -> Slot {
        let status = self.api.call(|client| client.get_status());
        status.map_or(Slot::new(0, 0), |status| status.execution_stats.final_cursor)
    }

    fn current_period(&self) -> u64 {
        self.clock.period_at(MassaTime::now())
    }

    fn limits(&self) -> OperationLimits {
        unreachable!("the driver knows its chain")
    }

    fn final_entries(&self, contract: &Address, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let entry = |key: &Vec<u8>| DatastoreEntryInput {
            address: *contract,
            key: key.clone(),
        };
        let entries = keys.iter().map(entry).collect();
        let values = self.api.call(|client| client.get_datastore_entries(entries));
        match values {
            Ok(values) => values.into_iter().map(|value| value.final_value).collect(),
            Err(_) => vec![None; keys.len()],
        }
    }

    fn final_keys(&self, contract: &Address, prefix: &[u8], after: Option<&[u8]>, count: usize) -> Vec<Vec<u8>> {
        let request = DatastoreKeysInput {
            address: *contract,
            is_final: true,
            prefix: Some(prefix.to_vec()),
            start_key: after.map(<[u8]>::to_vec),
            inclusive_start_key: Some(false),
            end_key: None,
            inclusive_end_key: None,
            count: Some(count as u64),
        };
        let pages = self
            .api
            .call(|client| client.get_addresses_datastore_keys(vec![request]));
        pages.map_or_else(
            |_| Vec::new(),
            |pages| pages.into_iter().flat_map(|page| page.keys).collect(),
        )
    }

    fn final_balance(&self, _: &Address) -> Option<Amount> {
        unreachable!("only rows are read")
    }

    fn operation_status(&self, _: &OperationId) -> OperationStatus {
        unreachable!("only rows are read")
    }

    fn operation_events(&self, _: &OperationId) -> Vec<OperationEvent> {
        unreachable!("only rows are read")
    }

    fn estimate_gas(&self, _: &Address, _: &OperationType) -> Result<u64, ContractError> {
        unreachable!("cheaters do not ask before they send")
    }

    fn send(&self, _: &Address, _: Operation) -> Result<OperationId, ContractError> {
        unreachable!("the driver signs itself")
    }
}
