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

/// Which keys of a datastore, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DatastoreKeysInput {
    /// Whose.
    pub address: Address,
    /// After the executed final slots; else after the executed slots.
    pub is_final: bool,
    /// What the keys begin with; absent or empty: anything.
    #[serde(default)]
    pub prefix: Option<Vec<u8>>,
    /// The key to begin at; absent: the first.
    #[serde(default)]
    pub start_key: Option<Vec<u8>>,
    /// Whether `start_key` itself is told; absent: yes.
    #[serde(default)]
    pub inclusive_start_key: Option<bool>,
    /// The key to end at; absent: the last.
    #[serde(default)]
    pub end_key: Option<Vec<u8>>,
    /// Whether `end_key` itself is told; absent: yes.
    #[serde(default)]
    pub inclusive_end_key: Option<bool>,
    /// Most keys; absent: as many as the node tells at once.
    #[serde(default)]
    pub count: Option<u64>,
}

/// Keys of a datastore.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DatastoreKeysOutput {
    /// Whose.
    pub address: Address,
    /// After the executed final slots; else after the executed slots.
    pub is_final: bool,
    /// Ascending.
    pub keys: Vec<Vec<u8>>,
}
