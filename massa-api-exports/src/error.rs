//! Errors of the API, with upstream's codes.

use crate::distributed_storage::StorageApiError;
use jsonrpsee::types::ErrorObjectOwned;
use massa_consensus_exports::ConsensusError;
use massa_execution_exports::ExecutionError;
use massa_models::error::ModelsError;
use massa_pool_exports::PoolError;
use massa_protocol_exports::ProtocolError;
use massa_time::TimeError;

/// Why a call failed. Codes up to -32021 are upstream's.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// What was asked makes no sense: the caller is at fault.
    #[error("bad request: {0}")]
    BadRequest(String),
    /// The node is at fault.
    #[error("internal server error: {0}")]
    InternalServerError(String),
    /// There is no such thing.
    #[error("not found: {0}")]
    NotFound(String),
    /// Consensus failed.
    #[error("consensus error: {0}")]
    Consensus(#[from] ConsensusError),
    /// Execution failed.
    #[error("execution error: {0}")]
    Execution(#[from] ExecutionError),
    /// The protocol failed.
    #[error("protocol error: {0}")]
    Protocol(#[source] Box<ProtocolError>),
    /// A value is not one.
    #[error("models error: {0}")]
    Models(#[from] ModelsError),
    /// A time is out of range.
    #[error("time error: {0}")]
    Time(#[from] TimeError),
    /// Parts of the node contradict each other.
    #[error("inconsistency: {0}")]
    Inconsistency(String),
    /// The method belongs to the other server.
    #[error("wrong API: this method is offered by the {0} API only")]
    WrongAPI(&'static str),
    /// The pool failed.
    #[error("pool error: {0}")]
    Pool(#[from] PoolError),
    /// The archive could not answer.
    #[error("distributed storage: {0}")]
    Storage(StorageApiError),
    /// The client asks the archive for more than its share.
    #[error("too many requests: {0}")]
    TooManyRequests(String),
    /// The answer would be larger than answers may be.
    #[error("response is too big: more than {max} bytes; ask for less at a time")]
    TooLarge {
        /// Bytes of an answer.
        max: usize,
    },
}

impl ApiError {
    /// The code of the JSON-RPC error.
    pub fn code(&self) -> i32 {
        match self {
            ApiError::BadRequest(_) => -32000,
            ApiError::InternalServerError(_) => -32001,
            ApiError::NotFound(_) => -32004,
            ApiError::Consensus(_) => -32009,
            ApiError::Execution(_) => -32010,
            ApiError::Protocol(_) => -32012,
            ApiError::Models(_) => -32013,
            ApiError::Time(_) => -32014,
            ApiError::Inconsistency(_) => -32016,
            ApiError::WrongAPI(_) => -32019,
            ApiError::Pool(_) => -32021,
            ApiError::Storage(_) => -32050,
            ApiError::TooManyRequests(_) => -32051,
            // What the server itself answers when an answer has become too large.
            ApiError::TooLarge { .. } => -32008,
        }
    }
}

impl From<ProtocolError> for ApiError {
    /// Boxed: a peer's key in it would make every result large.
    fn from(error: ProtocolError) -> Self {
        ApiError::Protocol(Box::new(error))
    }
}

impl From<StorageApiError> for ApiError {
    /// What a caller can mend is told with the code for it.
    fn from(error: StorageApiError) -> Self {
        match error {
            StorageApiError::BadRequest { .. } => ApiError::BadRequest(error.to_string()),
            StorageApiError::NotFound(_)
            | StorageApiError::Unknown { .. }
            | StorageApiError::NotArchived { .. }
            | StorageApiError::Lost(_)
            | StorageApiError::Pruned { .. } => ApiError::NotFound(error.to_string()),
            StorageApiError::TooLarge { max } => ApiError::TooLarge { max },
            StorageApiError::OverLimit(reason) => ApiError::TooManyRequests(reason),
            StorageApiError::Internal(reason) => ApiError::InternalServerError(reason),
            error => ApiError::Storage(error),
        }
    }
}

impl From<ApiError> for ErrorObjectOwned {
    fn from(error: ApiError) -> Self {
        ErrorObjectOwned::owned(error.code(), error.to_string(), None::<()>)
    }
}
