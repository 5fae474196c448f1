//! From what the extension says to what the API says.

use massa_api_exports::distributed_storage::{StorageApiError, UnknownId};
use massa_distributed_storage_worker::serve::lookup::Found;
use massa_distributed_storage_worker::serve::to_readers::ReaderError;
use massa_distributed_storage_worker::storage_backend::StoreError;

/// The store could not be read.
pub(super) fn store_error(error: StoreError) -> StorageApiError {
    StorageApiError::Internal(error.to_string())
}

/// Something could not be read, here or elsewhere.
pub(super) fn reader_error(error: ReaderError) -> StorageApiError {
    match error {
        ReaderError::Store(error) => store_error(error),
        ReaderError::NoSuchSlot { slot, threads } => {
            let thread = slot.thread;
            StorageApiError::bad("thread", format!("{thread} is not below {threads}"))
        }
        ReaderError::NotArchived { slot } => StorageApiError::NotArchived { period: slot.period },
        ReaderError::Read { period, source } => StorageApiError::Unavailable {
            what: format!("period {period}"),
            reason: source.to_string(),
        },
        error @ ReaderError::Lost { .. } => StorageApiError::Lost(error.to_string()),
        error => StorageApiError::Internal(error.to_string()),
    }
}

/// Why nothing is found for an id. `asks`: whether this node asks others at all.
pub(super) fn unknown(found: &Found, asks: bool) -> UnknownId {
    match found {
        _ if !asks => UnknownId::NotAsked,
        Found::UnknownTo(providers) => UnknownId::ToProviders(*providers),
        Found::NoProvider => UnknownId::NoProvider,
        Found::Unanswered(_) | Found::At { .. } | Found::OverLimit => UnknownId::Unanswered,
    }
}
