//! Executions that change nothing.

use crate::api::{Asker, Node};
use crate::contracts::add_event;
use massa_api_exports::execution::{
    ExecuteReadOnlyResponse, ReadOnlyBytecodeExecution, ReadOnlyCall, ReadOnlyResult, StateChanges,
};
use massa_api_exports::ApiError;
use massa_execution_exports::{
    ExecutionStackElement, ReadOnlyExecutionOutput, ReadOnlyExecutionRequest, ReadOnlyExecutionTarget,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{
    MAX_BYTECODE_LENGTH, MAX_FUNCTION_NAME_LENGTH, MAX_OPERATION_DATASTORE_ENTRY_COUNT,
    MAX_OPERATION_DATASTORE_KEY_LENGTH, MAX_OPERATION_DATASTORE_VALUE_LENGTH, MAX_PARAMETERS_SIZE,
};
use massa_models::datastore::{Datastore, DatastoreDeserializer};
use massa_serialization::{DeserializeError, Deserializer};
use massa_signature::KeyPair;
use std::time::Instant;

impl Node {
    /// Runs modules, in their order.
    pub fn execute_bytecodes(
        &self,
        asker: &Asker,
        executions: Vec<ReadOnlyBytecodeExecution>,
    ) -> Result<Vec<ExecuteReadOnlyResponse>, ApiError> {
        self.check_arguments("executions", executions.len())?;
        let requests = executions.into_iter().enumerate().map(|(index, execution)| {
            let request = self.bytecode_request(execution);
            request.map_err(|reason| ApiError::BadRequest(format!("executions[{index}].{reason}")))
        });
        self.execute_all((asker, "executions"), requests.collect::<Result<_, _>>()?)
    }

    /// Calls contracts, in the order of `calls`.
    pub fn execute_calls(
        &self,
        asker: &Asker,
        calls: Vec<ReadOnlyCall>,
    ) -> Result<Vec<ExecuteReadOnlyResponse>, ApiError> {
        self.check_arguments("calls", calls.len())?;
        let requests = calls.into_iter().enumerate().map(|(index, call)| {
            let request = self.call_request(call);
            request.map_err(|reason| ApiError::BadRequest(format!("calls[{index}].{reason}")))
        });
        self.execute_all((asker, "calls"), requests.collect::<Result<_, _>>()?)
    }

    fn execute_all(
        &self,
        (asker, field): (&Asker, &str),
        requests: Vec<ReadOnlyExecutionRequest>,
    ) -> Result<Vec<ExecuteReadOnlyResponse>, ApiError> {
        let deadline = Instant::now() + self.config.read_only_deadline.to_duration();
        let busy = || ApiError::TooManyRequests("too many executions at a time; try again later".to_string());
        let _turn = self.read_only_turns.take(deadline).ok_or_else(busy)?;
        let mut responses = Vec::with_capacity(requests.len());
        let (count, mut answer) = (requests.len(), self.answer(asker));
        for request in requests {
            if Instant::now() >= deadline {
                let done = responses.len();
                return Err(ApiError::TooManyRequests(format!(
                    "{field}: only {done} of {count} were executed in time; ask for fewer at a time"
                )));
            }
            let output = self.context.execution_controller.execute_readonly_request(request)?;
            if let Ok(returned) = &output.call_result {
                answer.add_bytes(returned)?;
            }
            output
                .events
                .iter()
                .try_for_each(|event| add_event(&mut answer, event))?;
            responses.push(response(output));
        }
        Ok(responses)
    }

    /// The stack of an `ExecuteSC`: only its creator, with the operation's datastore. If there is an error, it names the
    /// field.
    fn bytecode_request(&self, execution: ReadOnlyBytecodeExecution) -> Result<ReadOnlyExecutionRequest, String> {
        self.check_gas(execution.max_gas)?;
        check_length("bytecode", execution.bytecode.len(), MAX_BYTECODE_LENGTH)?;
        let datastore = execution.operation_datastore.as_deref().map(parse_datastore);
        // A module may ask for the datastore where there is none, as in an operation whose datastore is empty.
        let operation_datastore = Some(datastore.transpose()?.unwrap_or_default());
        Ok(ReadOnlyExecutionRequest {
            max_gas: execution.max_gas,
            call_stack: vec![ExecutionStackElement {
                operation_datastore,
                ..stack_element(caller(execution.address), None)
            }],
            target: ReadOnlyExecutionTarget::BytecodeExecution(execution.bytecode),
            coins: None,
            fee: execution.fee,
        })
    }

    /// The stack of a `CallSC`: its creator and the contract. If there is an error, it names the field.
    fn call_request(&self, call: ReadOnlyCall) -> Result<ReadOnlyExecutionRequest, String> {
        self.check_gas(call.max_gas)?;
        if call.target_function.is_empty() {
            return Err("target_function: must not be empty".to_string());
        }
        let name_max = u64::from(MAX_FUNCTION_NAME_LENGTH);
        check_length("target_function", call.target_function.len(), name_max)?;
        check_length("parameter", call.parameter.len(), u64::from(MAX_PARAMETERS_SIZE))?;
        Ok(ReadOnlyExecutionRequest {
            max_gas: call.max_gas,
            call_stack: vec![
                stack_element(caller(call.caller_address), None),
                stack_element(call.target_address, call.coins),
            ],
            target: ReadOnlyExecutionTarget::FunctionCall {
                target_addr: call.target_address,
                target_func: call.target_function,
                parameter: call.parameter,
            },
            coins: call.coins,
            fee: call.fee,
        })
    }

    fn check_gas(&self, max_gas: u64) -> Result<(), String> {
        let max = self.config.max_read_only_gas;
        if max_gas > max {
            return Err(format!("max_gas: {max_gas} is more than {max}"));
        }
        Ok(())
    }
}

fn check_length(field: &str, length: usize, max: u64) -> Result<(), String> {
    if length as u64 > max {
        return Err(format!("{field}: {length} bytes are more than {max}"));
    }
    Ok(())
}

/// Somebody without coins, where nobody is named.
fn caller(given: Option<Address>) -> Address {
    given.unwrap_or_else(|| {
        let keypair = KeyPair::generate(0).expect("version 0 of keys exists");
        Address::from_public_key(&keypair.get_public_key())
    })
}

fn stack_element(address: Address, coins: Option<Amount>) -> ExecutionStackElement {
    ExecutionStackElement {
        address,
        coins: coins.unwrap_or_default(),
        owned_addresses: vec![address],
        operation_datastore: None,
    }
}

/// The datastore of an operation, as it stands in one.
fn parse_datastore(bytes: &[u8]) -> Result<Datastore, String> {
    let deserializer = DatastoreDeserializer::new(
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    );
    match deserializer.deserialize::<DeserializeError>(bytes) {
        Ok(([], datastore)) => Ok(datastore),
        Ok((rest, _)) => Err(format!("operation_datastore: {} bytes follow it", rest.len())),
        Err(error) => Err(format!("operation_datastore: {error}")),
    }
}

fn response(output: ReadOnlyExecutionOutput) -> ExecuteReadOnlyResponse {
    let result = match output.call_result {
        Ok(returned) => ReadOnlyResult::Ok(returned),
        Err(reason) => ReadOnlyResult::Error(reason),
    };
    ExecuteReadOnlyResponse {
        executed_at: output.slot,
        result,
        output_events: output.events,
        gas_cost: output.gas_cost,
        state_changes: StateChanges {},
    }
}
