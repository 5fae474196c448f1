//! Operations.

use massa_models::block_id::BlockId;
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_signature::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

/// A signed operation to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct OperationInput {
    /// The key of its creator.
    pub creator_public_key: PublicKey,
    /// The signature.
    pub signature: Signature,
    /// The operation's content as it is hashed and travels.
    pub serialized_content: Vec<u8>,
}

/// An operation and its state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OperationInfo {
    /// Its id.
    pub id: OperationId,
    /// It waits for a block.
    pub in_pool: bool,
    /// The known blocks that have it.
    pub in_blocks: Vec<BlockId>,
    /// Whether its execution is final; null when it is not known to be executed.
    ///
    /// Never told without `op_exec_status`: massa-web3 cannot handle one without the other.
    pub is_operation_final: Option<bool>,
    /// Its creator's thread.
    pub thread: u8,
    /// The operation.
    pub operation: SecureShareOperation,
    /// Whether its execution succeeded; null when it was not executed, or so long ago that nobody remembers.
    pub op_exec_status: Option<bool>,
    /// It was read from the archive, so its block is final. Absent where it was not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}
