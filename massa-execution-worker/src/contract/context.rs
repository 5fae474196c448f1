//! What an execution carries along: who calls whom, the state with its changes, and what contracts said.

use super::engine::Engine;
use crate::environment::EnvironmentError;
use crate::ledger::LedgerError;
use crate::state::Speculative;
use massa_execution_exports::ExecutionStackElement;
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0};
use massa_models::block_id::BlockId;
use massa_models::config::{MAX_EVENT_DATA_SIZE, MAX_EVENT_PER_OPERATION};
use massa_models::operation::OperationId;
use massa_models::output_event::{EventExecutionContext, SCOutputEvent};
use massa_models::slot::Slot;
use std::sync::Arc;

/// Why an execution did not end well.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// This node's fault: the block is not executed now.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The operation's fault.
    #[error("Not enough gas")]
    OutOfGas,
    /// The operation's fault.
    #[error("{0}")]
    Refused(String),
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Environment(error.into())
    }
}

/// A failure of this node's machine.
pub(super) fn shortage(error: impl std::fmt::Display) -> Failure {
    EnvironmentError::Shortage(format!("{error:#}")).into()
}

/// A failure for which the operation is to blame.
pub(crate) fn refused<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Refused(reason.into()))
}

/// Where and when something is executed.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) chain_id: u64,
    pub(crate) slot: Slot,
    /// When the slot begins, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) block: Option<BlockId>,
    pub(crate) read_only: bool,
}

/// An execution: of a block, operation by operation, or a read-only one.
pub(crate) struct Context {
    pub(crate) engine: Arc<Engine>,
    pub(crate) origin: Origin,
    pub(crate) state: Speculative,
    pub(crate) events: Vec<SCOutputEvent>,
    /// Who calls whom in the running operation, oldest first.
    pub(crate) stack: Vec<ExecutionStackElement>,
    /// Gas that is left, while no module runs.
    pub(crate) gas: u64,
    /// Instances that wait for another one.
    pub(super) depth: u16,
    pub(super) operation: Option<OperationId>,
    /// Events before those of the running operation.
    events_before: usize,
    /// Contracts created by the running operation, undone ones included.
    created: u64,
    /// Numbers drawn by the running operation.
    drawn: u64,
}

impl Context {
    pub(crate) fn new(engine: Arc<Engine>, origin: Origin, state: Speculative) -> Box<Self> {
        Box::new(Self {
            engine,
            origin,
            state,
            events: Vec::new(),
            stack: Vec::new(),
            gas: 0,
            depth: 0,
            operation: None,
            events_before: 0,
            created: 0,
            drawn: 0,
        })
    }

    /// Begins with an operation; `None` for a read-only execution.
    pub(crate) fn begin(&mut self, operation: Option<OperationId>, stack: Vec<ExecutionStackElement>, gas: u64) {
        self.operation = operation;
        self.stack = stack;
        self.gas = gas;
        self.depth = 0;
        self.events_before = self.events.len();
        self.created = 0;
        self.drawn = 0;
    }

    /// Notes the failure of the running operation: its events become those of a failure, and one tells the reason.
    pub(crate) fn fail(&mut self, reason: &str) {
        for event in &mut self.events[self.events_before..] {
            event.context.is_error = true;
        }
        let reason = serde_json::json!({ "massa_execution_error": reason }).to_string();
        let mut event = self.event(cut(reason));
        event.context.is_error = true;
        self.events.push(event);
    }

    /// Says something.
    pub(super) fn emit(&mut self, data: String) -> Result<(), Failure> {
        if data.len() > MAX_EVENT_DATA_SIZE {
            return refused(format!("event of {} bytes, above {MAX_EVENT_DATA_SIZE}", data.len()));
        }
        if self.events.len() - self.events_before >= MAX_EVENT_PER_OPERATION {
            return refused(format!("more than {MAX_EVENT_PER_OPERATION} events"));
        }
        let event = self.event(data);
        self.events.push(event);
        Ok(())
    }

    fn event(&self, data: String) -> SCOutputEvent {
        let context = EventExecutionContext {
            slot: self.origin.slot,
            block: self.origin.block,
            read_only: self.origin.read_only,
            index_in_slot: self.events.len() as u64,
            call_stack: self.stack.iter().map(|element| element.address).collect(),
            origin_operation_id: self.operation,
            is_final: false,
            is_error: false,
            deferred_call_id: None,
            async_msg_id: None,
        };
        SCOutputEvent { context, data }
    }

    /// Who runs.
    pub(super) fn top(&self) -> Result<&ExecutionStackElement, Failure> {
        match self.stack.last() {
            Some(top) => Ok(top),
            None => refused("the call stack is empty"),
        }
    }

    /// The address that runs.
    pub(super) fn current(&self) -> Result<Address, Failure> {
        Ok(self.top()?.address)
    }

    /// The address of the next contract: the hash of a domain, the slot, the operation and how many contracts the
    /// operation created before. It does not depend on anything that differs between candidate and final execution.
    pub(super) fn next_contract_address(&mut self) -> Address {
        let hash = self.derive(b"massa-archive contract address", &[], self.created);
        self.created += 1;
        Address::SC(SCAddress::SCAddressV0(SCAddressV0(hash)))
    }

    /// A number from the block and the operation. Their authors can try until they like it: not a source of chance.
    pub(super) fn draw(&mut self) -> u64 {
        let block = self.origin.block.as_ref().map(crate::rows::block_id_bytes);
        let hash = self.derive(b"massa-archive unsafe random", &block.unwrap_or_default(), self.drawn);
        self.drawn += 1;
        let (number, _) = hash.to_bytes().split_first_chunk().expect("a hash has 32 bytes");
        u64::from_le_bytes(*number)
    }

    fn derive(&self, domain: &[u8], block: &[u8], number: u64) -> Hash {
        let slot = self.origin.slot.to_bytes_key();
        let operation = self.operation.as_ref().map(crate::rows::operation_id_bytes);
        let operation = operation.unwrap_or_default();
        let is_real = [u8::from(!self.origin.read_only)];
        let number = number.to_le_bytes();
        Hash::compute_from_tuple(&[domain, block, &slot, &is_real, &operation, &number])
    }
}

/// As much of a message as an event can hold.
fn cut(mut message: String) -> String {
    let mut end = message.len().min(MAX_EVENT_DATA_SIZE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}
