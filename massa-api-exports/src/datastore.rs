//! Values of the ledger's datastores.

use massa_models::address::Address;
use serde::{Deserialize, Serialize};

/// Which value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DatastoreEntryInput {
    /// Whose.
    pub address: Address,
    /// Its key.
    pub key: Vec<u8>,
}

/// A value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct DatastoreEntryOutput {
    /// After the executed final slots.
    pub final_value: Option<Vec<u8>>,
    /// After the executed slots.
    pub candidate_value: Option<Vec<u8>>,
}
