//! Calls of contracts: read-only, and as operations.

use crate::node::{Node, NodeCommandError};
use crate::operation::{contract_reason, Signer};
use crate::output::{name_value_lines, Report};
use clap::Args;
use massa_api_exports::execution::{
    ExecuteReadOnlyResponse, ReadOnlyBytecodeExecution, ReadOnlyCall, ReadOnlyResult, SCOutputEvent,
};
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_worker::smart_contract::storage_registry::SETTLING_GAS;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{BASE_OPERATION_GAS_COST, MAX_GAS_PER_BLOCK};
use massa_models::datastore::DatastoreSerializer;
use massa_models::operation::{OperationId, OperationType};
use massa_serialization::Serializer;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Gas that a module's compilation takes from its block, beside its own.
const SP_COMPILATION_COST: u64 = 314_000_000;
/// Most gas of a call that fits into a block.
const CALL_GAS_MAX: u64 = MAX_GAS_PER_BLOCK - BASE_OPERATION_GAS_COST;
/// Most gas of bytecode that fits into a block.
const EXECUTE_GAS_MAX: u64 = CALL_GAS_MAX - SP_COMPILATION_COST;
/// Added to an estimate, in percent: the state may have changed until a block includes the operation.
const GAS_MARGIN_PERCENT: u64 = 20;
/// Added at least: a call of the registry that is estimated before a round is over and executed after it settles the caller.
const GAS_MARGIN_MIN: u64 = SETTLING_GAS;
/// Up to this much more gas is allowed, so that two calls with the same content are two operations.
const GAS_VARIATION: u64 = 100_000;

/// What an operation may cost, and how long it may take.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct SendingArguments {
    /// What the producer of the block gets; by default what the node takes at least.
    #[arg(long, value_name = "MAS")]
    pub fee: Option<Amount>,
    /// Most gas; by default what a trial run takes and 20 % more, at least 3 million.
    #[arg(long, value_name = "GAS")]
    pub max_gas: Option<u64>,
    /// Seconds to wait until the operation is final; by default until no block may include it any more.
    #[arg(long = "wait", value_name = "SECONDS")]
    pub wait_s: Option<u64>,
}

/// A function of a contract with its parameter and coins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractCall {
    /// The contract.
    pub contract: Address,
    /// The function.
    pub function: String,
    /// Its parameter.
    pub parameter: Vec<u8>,
    /// Coins that go with the call.
    pub coins: Amount,
}

/// An operation that was executed by a final block.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutedReport {
    /// The operation.
    pub operation_id: OperationId,
    /// Who signed it.
    pub from: Address,
    /// What it did, in words.
    pub did: String,
    /// The contract called, or made.
    pub contract: Address,
    /// Coins that went with it.
    pub coins: Amount,
    /// What the producer got.
    pub fee: Amount,
    /// Limit of gas.
    pub max_gas: u64,
    /// What contracts said.
    pub events: Vec<String>,
}

impl Report for ExecutedReport {
    fn text(&self) -> String {
        let mut lines = vec![
            ("operation", format!("{}, final", self.operation_id)),
            ("from", self.from.to_string()),
            ("contract", self.contract.to_string()),
            ("did", self.did.clone()),
            ("coins", format!("{} MAS", self.coins)),
            ("fee", format!("{} MAS, at most {} gas", self.fee, self.max_gas)),
        ];
        lines.extend(event_lines(&self.events));
        name_value_lines(lines)
    }
}

/// What contracts said, for people; a contract's text cannot break lines.
pub fn event_lines(events: &[String]) -> Vec<(&'static str, String)> {
    let event = |text: &String| ("event", crate::output::unbroken(text));
    events.iter().map(event).collect()
}

/// The texts of events.
pub fn event_texts(events: &[SCOutputEvent]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}

/// Calls a contract and changes nothing. Without a caller, nobody in particular calls.
///
/// # Errors
/// [`NodeCommandError::Refused`] if the contract does not do it; [`NodeCommandError::Node`].
pub fn read(
    node: &Node,
    call: &ContractCall,
    caller: Option<Address>,
    max_gas: Option<u64>,
) -> Result<ReadResult, NodeCommandError> {
    let request = ReadOnlyCall {
        max_gas: max_gas.unwrap_or(CALL_GAS_MAX),
        target_address: call.contract,
        target_function: call.function.clone(),
        parameter: call.parameter.clone(),
        caller_address: caller,
        coins: caller.map(|_| call.coins),
        fee: None,
    };
    let responses = node.call(|client| client.execute_read_only_call(vec![request]))?;
    result(responses)
}

/// What an execution that changes nothing gave.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// What the function returned.
    pub returned: Vec<u8>,
    /// Gas that it used.
    pub gas: u64,
    /// What contracts said.
    pub events: Vec<String>,
}

fn result(responses: Vec<ExecuteReadOnlyResponse>) -> Result<ReadResult, NodeCommandError> {
    let count = responses.len();
    let one = <[ExecuteReadOnlyResponse; 1]>::try_from(responses);
    let [response] = one.map_err(|_| NodeCommandError::answer("executions", 1, count))?;
    match response.result {
        ReadOnlyResult::Error(reason) => Err(NodeCommandError::Refused(contract_reason(&reason))),
        ReadOnlyResult::Ok(returned) => Ok(ReadResult {
            returned,
            gas: response.gas_cost,
            events: event_texts(&response.output_events),
        }),
    }
}

/// Gas for an operation: the limit given, or the estimate and a margin, varied a little.
fn gas_limit(
    given: Option<u64>,
    max: u64,
    estimate: impl FnOnce() -> Result<u64, NodeCommandError>,
) -> Result<u64, NodeCommandError> {
    match given {
        Some(gas) if gas > max => {
            let reason = format!("{gas} is more than {max}, what a block has room for");
            Err(NodeCommandError::Argument {
                field: "--max-gas",
                reason,
            })
        }
        Some(gas) => Ok(gas),
        None => Ok(with_margin(estimate()?, max, variation())),
    }
}

fn with_margin(estimate: u64, max: u64, variation: u64) -> u64 {
    let margin = u128::from(estimate) * u128::from(GAS_MARGIN_PERCENT) / 100;
    let gas = u128::from(estimate) + margin.max(u128::from(GAS_MARGIN_MIN)) + u128::from(variation);
    // An operation at the limit cannot be varied upwards.
    u64::try_from(gas).unwrap_or(u64::MAX).min(max - variation)
}

fn variation() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) % GAS_VARIATION
}

/// Calls a contract by an operation and waits until that is final. What it would refuse is not sent.
///
/// # Errors
/// [`NodeCommandError`].
pub fn execute_call(
    signer: &Signer<'_>,
    call: &ContractCall,
    sending: SendingArguments,
    did: String,
) -> Result<ExecutedReport, NodeCommandError> {
    let fee = signer.fee(sending.fee)?;
    let max_gas = gas_limit(sending.max_gas, CALL_GAS_MAX, || {
        Ok(read(signer.node(), call, Some(signer.from()), None)?.gas)
    })?;
    let operation = OperationType::CallSC {
        target_addr: call.contract,
        target_func: call.function.clone(),
        param: call.parameter.clone(),
        max_gas,
        coins: call.coins,
    };
    let sent = signer.send(operation, fee)?;
    let events = signer.wait_final(&sent, sending.wait_s)?;
    Ok(ExecutedReport {
        operation_id: sent.id,
        from: signer.from(),
        did,
        contract: call.contract,
        coins: call.coins,
        fee,
        max_gas,
        events: event_texts(&events),
    })
}

/// Runs bytecode by an operation and waits until that is final. `make` is given the gas limit.
///
/// # Errors
/// [`NodeCommandError`].
pub fn execute_bytecode(
    signer: &Signer<'_>,
    make: impl Fn(u64) -> OperationType,
    sending: SendingArguments,
) -> Result<(OperationId, Amount, u64, Vec<String>), NodeCommandError> {
    let fee = signer.fee(sending.fee)?;
    let max_gas = gas_limit(sending.max_gas, EXECUTE_GAS_MAX, || {
        estimate(signer, &make(EXECUTE_GAS_MAX))
    })?;
    let sent = signer.send(make(max_gas), fee)?;
    let events = signer.wait_final(&sent, sending.wait_s)?;
    Ok((sent.id, fee, max_gas, event_texts(&events)))
}

fn estimate(signer: &Signer<'_>, operation: &OperationType) -> Result<u64, NodeCommandError> {
    let OperationType::ExecuteSC { data, datastore, .. } = operation else {
        return Ok(0);
    };
    let mut bytes = Vec::new();
    let serialized = DatastoreSerializer::new().serialize(datastore, &mut bytes);
    serialized.expect("the datastore has few entries");
    let request = ReadOnlyBytecodeExecution {
        max_gas: EXECUTE_GAS_MAX,
        bytecode: data.clone(),
        address: Some(signer.from()),
        operation_datastore: Some(bytes),
        fee: None,
    };
    let responses = signer
        .node()
        .call(|client| client.execute_read_only_bytecode(vec![request]))?;
    Ok(result(responses)?.gas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gas_limit_is_a_fifth_above_the_estimate_has_room_for_settling_and_fits_a_block() {
        assert_eq!(with_margin(100_000_000, CALL_GAS_MAX, 7), 120_000_007);
        assert_eq!(with_margin(1_000_000, CALL_GAS_MAX, 7), 1_000_007 + SETTLING_GAS);
        assert_eq!(with_margin(4_000_000_000, CALL_GAS_MAX, 7), CALL_GAS_MAX - 7);
        assert_eq!(with_margin(u64::MAX, EXECUTE_GAS_MAX, 0), EXECUTE_GAS_MAX);
    }

    #[test]
    fn the_limits_are_those_of_the_client_of_the_web() {
        assert_eq!((CALL_GAS_MAX, EXECUTE_GAS_MAX), (4_294_167_295, 3_980_167_295));
    }
}
