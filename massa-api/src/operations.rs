//! Operations: from memory while it has them, then from the archive; and new ones.

use crate::answer::Answer;
use crate::api::{Asker, Node};
use massa_api_exports::distributed_storage::ArchivedOperation;
use massa_api_exports::operation::{OperationInfo, OperationInput};
use massa_api_exports::ApiError;
use massa_distributed_storage_exports::verification::parse_secure_share_operation;
use massa_models::block_id::BlockId;
use massa_models::config::{BASE_OPERATION_GAS_COST, MAX_GAS_PER_BLOCK};
use massa_models::error::ModelsError;
use massa_models::operation::{OperationId, OperationType, SecureShareOperation};
use massa_models::prehash::PreHashMap;
use massa_models::timeslots::get_latest_block_slot_at_timestamp;
use massa_signature::verify_signature_batch;
use massa_time::MassaTime;
use tracing::debug;

/// How long the pool may take to answer.
pub(crate) const POOL_TIMEOUT: MassaTime = MassaTime::from_millis(1_000);

/// Gas that `ExecuteSC` takes from its block for compiling the module.
const COMPILATION_GAS_COST: u64 = 314_000_000;
/// Gas without which no module is loaded.
const MIN_MODULE_GAS: u64 = 2_100_000;

type ExecStatus = (Option<bool>, Option<bool>);

impl Node {
    /// The operations that are known, in the order of `ids`. What is in memory is told even when the archive fails or
    /// refuses.
    pub fn operations(&self, asker: &Asker, ids: &[OperationId]) -> Result<Vec<OperationInfo>, ApiError> {
        self.check_arguments("ids", ids.len())?;
        let context = &self.context;
        let statuses = context.execution_controller.get_ops_exec_status(ids);
        let in_pool = context.pool_controller.contains_operations(ids, Some(POOL_TIMEOUT))?;
        let mut answer = self.answer(asker);
        let mut found: PreHashMap<OperationId, OperationInfo> = PreHashMap::default();
        let mut forgotten = Vec::new();
        for ((id, status), in_pool) in ids.iter().zip(&statuses).zip(in_pool) {
            match self.stored_operation(id) {
                Some((operation, in_blocks)) => {
                    answer.add_object(operation.serialized_size())?;
                    let info = self.operation_info(operation, in_blocks, *status);
                    found.insert(*id, OperationInfo { in_pool, ..info });
                }
                None => forgotten.push(*id),
            }
        }
        forgotten.sort_unstable();
        forgotten.dedup();
        let statuses: PreHashMap<OperationId, ExecStatus> = ids.iter().copied().zip(statuses).collect();
        let archived = self.archived_operations(asker, &mut answer, &forgotten);
        for operation in unless_known(archived, found.is_empty())?.into_iter().flatten() {
            answer.add_object(operation.operation().serialized_size())?;
            let info = self.archived_info(&operation, &statuses);
            found.insert(info.id, info);
        }
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    fn archived_operations(
        &self,
        asker: &Asker,
        answer: &mut Answer,
        ids: &[OperationId],
    ) -> Result<Vec<Option<ArchivedOperation>>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read_archive(asker, answer, ids.len(), |archive, budget| {
            archive.operations(ids, budget)
        })
    }

    fn archived_info(
        &self,
        operation: &ArchivedOperation,
        statuses: &PreHashMap<OperationId, ExecStatus>,
    ) -> OperationInfo {
        let status = statuses.get(&operation.id()).copied().unwrap_or_default();
        let in_blocks = vec![operation.block().id()];
        let info = self.operation_info(operation.operation().clone(), in_blocks, status);
        OperationInfo { archived: true, ..info }
    }

    /// One lock at a time: another thread may take both in the other order.
    fn stored_operation(&self, id: &OperationId) -> Option<(SecureShareOperation, Vec<BlockId>)> {
        let operation = self.context.storage.read_operations().get(id).cloned()?;
        let blocks = self.context.storage.read_blocks();
        let in_blocks = blocks.get_blocks_by_operation(id);
        Some((operation, in_blocks.into_iter().flatten().copied().collect()))
    }

    fn operation_info(
        &self,
        operation: SecureShareOperation,
        in_blocks: Vec<BlockId>,
        (candidate, executed_final): ExecStatus,
    ) -> OperationInfo {
        let op_exec_status = executed_final.or(candidate);
        OperationInfo {
            id: operation.id,
            in_pool: false,
            in_blocks,
            is_operation_final: op_exec_status.map(|_| executed_final.is_some()),
            thread: operation.content_creator_address.get_thread(self.config.thread_count),
            operation,
            op_exec_status,
            archived: false,
        }
    }

    /// Checks operations, tells them to the peers and puts them into the pool. All or none.
    pub fn send(&self, inputs: Vec<OperationInput>, now: MassaTime) -> Result<Vec<OperationId>, ApiError> {
        self.check_arguments("operations", inputs.len())?;
        let operations = inputs.iter().map(|input| self.parse_operation(input));
        let operations = operations.collect::<Result<Vec<_>, _>>()?;
        for (index, operation) in operations.iter().enumerate() {
            let checked = self.check_operation(operation, now)?;
            checked.map_err(|reason| ApiError::BadRequest(format!("operations[{index}].{reason}")))?;
        }
        check_signatures(&operations, self.config.chain_id)?;
        let ids = operations.iter().map(|operation| operation.id).collect();
        let mut storage = self.context.storage.clone_without_refs();
        storage.store_operations(operations);
        self.context.protocol_controller.propagate_operations(storage.clone())?;
        self.context.pool_controller.clone_box().add_operations(storage)?;
        Ok(ids)
    }

    fn parse_operation(&self, input: &OperationInput) -> Result<SecureShareOperation, ApiError> {
        let mut bytes = input.signature.to_bytes();
        bytes.extend(input.creator_public_key.to_bytes());
        bytes.extend(&input.serialized_content);
        let operation = parse_secure_share_operation(&bytes, self.config.chain_id);
        operation.map_err(|reason| {
            let reason = format!("serialized_content: {reason}");
            ApiError::Models(ModelsError::DeserializeError(reason))
        })
    }

    /// Whether a block can include the operation; if not, the field and why.
    fn check_operation(
        &self,
        operation: &SecureShareOperation,
        now: MassaTime,
    ) -> Result<Result<(), String>, ApiError> {
        let config = &self.config;
        let last_slot =
            get_latest_block_slot_at_timestamp(config.thread_count, config.t0, config.genesis_timestamp, now)?;
        let (period, content) = (last_slot.map_or(0, |slot| slot.period), &operation.content);
        if content.expire_period < period {
            let expired = content.expire_period;
            return Ok(Err(format!(
                "expire_period: {expired} is over, the current period is {period}"
            )));
        }
        if content.fee < config.minimal_fees {
            let (fee, least) = (content.fee, config.minimal_fees);
            return Ok(Err(format!("fee: {fee} is less than this node's minimum, {least}")));
        }
        Ok(check_size(operation, config.max_block_size).and_then(|()| check_gas(operation)))
    }
}

/// What the archive has of a list of ids. Where memory has a part of the list, the archive's failure does not take it away;
/// but a list that is too large is not told in part.
pub(crate) fn unless_known<T>(archived: Result<Vec<T>, ApiError>, nothing_known: bool) -> Result<Vec<T>, ApiError> {
    match archived {
        Err(error) if !nothing_known && !matches!(error, ApiError::TooLarge { .. }) => {
            debug!(%error, "only what is in memory is told");
            Ok(Vec::new())
        }
        archived => archived,
    }
}

/// Whether an empty block has space for the operation.
fn check_size(operation: &SecureShareOperation, max_block_size: u32) -> Result<(), String> {
    let size = operation.serialized_size();
    if size <= max_block_size as usize {
        return Ok(());
    }
    let parts = match &operation.content.op {
        OperationType::ExecuteSC { data, datastore, .. } => {
            let datastore: usize = datastore.iter().map(|(key, value)| key.len() + value.len()).sum();
            format!("; its module takes {} of them, its datastore {datastore}", data.len())
        }
        OperationType::CallSC { param, .. } => format!("; its parameter takes {} of them", param.len()),
        _ => String::new(),
    };
    Err(format!(
        "serialized_content: {size} bytes do not fit a block of {max_block_size}{parts}"
    ))
}

/// Whether the operation's gas loads a module, and fits an empty block with what is charged beside it.
fn check_gas(operation: &SecureShareOperation) -> Result<(), String> {
    let (max_gas, beside) = match operation.content.op {
        OperationType::ExecuteSC { max_gas, .. } => (max_gas, COMPILATION_GAS_COST + BASE_OPERATION_GAS_COST),
        OperationType::CallSC { max_gas, .. } => (max_gas, BASE_OPERATION_GAS_COST),
        _ => return Ok(()),
    };
    if max_gas < MIN_MODULE_GAS {
        return Err(format!(
            "max_gas: {max_gas} is less than {MIN_MODULE_GAS}, what it takes to load a module"
        ));
    }
    let most = MAX_GAS_PER_BLOCK.saturating_sub(beside);
    if max_gas > most {
        return Err(format!(
            "max_gas: {max_gas} is more than {most}: a block has {MAX_GAS_PER_BLOCK}, and {beside} are charged beside it"
        ));
    }
    Ok(())
}

/// Checks the signatures in one batch, and one by one if it fails, to name the wrong one.
fn check_signatures(operations: &[SecureShareOperation], chain_id: u64) -> Result<(), ApiError> {
    let signed = |operation: &SecureShareOperation| {
        let (hash, key) = (operation.compute_signed_hash(), operation.content_creator_pub_key);
        (hash, operation.signature, key)
    };
    let batch: Vec<_> = operations.iter().map(signed).collect();
    if operations.is_empty() || verify_signature_batch(&batch).is_ok() {
        return Ok(());
    }
    let wrong = operations
        .iter()
        .position(|operation| operation.verify_signature().is_err());
    let index = wrong.unwrap_or_default();
    let reason = format!("operations[{index}].signature: it does not verify; this chain's id is {chain_id}");
    Err(ApiError::Models(ModelsError::ErrorRaised(reason)))
}
