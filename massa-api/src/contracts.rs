//! What contracts have stored and said.

use crate::api::{check_count, Node};
use massa_api_exports::address::AddressFilter;
use massa_api_exports::datastore::{
    DatastoreEntryInput, DatastoreEntryOutput, DatastoreKeysInput, DatastoreKeysOutput,
};
use massa_api_exports::execution::{EventFilter, SCOutputEvent};
use massa_api_exports::ApiError;
use massa_execution_exports::DatastoreKeysRequest;
use massa_models::address::Address;
use massa_models::config::MAX_DATASTORE_KEY_LENGTH;
use std::ops::Bound;

impl Node {
    /// (final, candidate) values, in the order of `entries`; all of one state.
    pub fn datastore_entries(&self, entries: Vec<DatastoreEntryInput>) -> Result<Vec<DatastoreEntryOutput>, ApiError> {
        self.check_arguments("entries", entries.len())?;
        for (index, entry) in entries.iter().enumerate() {
            check_key(&format!("entries[{index}].key"), &entry.key)?;
        }
        let asked = entries.into_iter().map(|entry| (entry.address, entry.key)).collect();
        let values = self.context.execution_controller.get_final_and_active_data_entry(asked);
        let outputs = values
            .into_iter()
            .map(|(final_value, candidate_value)| DatastoreEntryOutput {
                final_value,
                candidate_value,
            });
        Ok(outputs.collect())
    }

    /// Keys of datastores, in the order of `requests`.
    pub fn datastore_keys(&self, requests: Vec<DatastoreKeysInput>) -> Result<Vec<DatastoreKeysOutput>, ApiError> {
        check_count("requests", requests.len(), self.config.max_datastore_keys_queries)?;
        let checked = requests.into_iter().enumerate().map(|(index, request)| {
            let prefix = format!("requests[{index}]");
            keys_request(&prefix, request, self.config.max_datastore_keys)
        });
        let checked = checked.collect::<Result<Vec<_>, _>>()?;
        let outputs = checked.into_iter().map(|request| DatastoreKeysOutput {
            address: request.address,
            is_final: request.is_final,
            keys: self.context.execution_controller.get_datastore_keys(&request),
        });
        Ok(outputs.collect())
    }

    /// Bytecodes, in the order of `filters`; no bytes where there is none.
    pub fn bytecodes(&self, filters: &[AddressFilter]) -> Result<Vec<Vec<u8>>, ApiError> {
        self.check_arguments("addresses", filters.len())?;
        let addresses: Vec<Address> = filters.iter().map(|filter| filter.address).collect();
        let bytecodes = self
            .context
            .execution_controller
            .get_final_and_candidate_bytecode(&addresses);
        let wanted = filters.iter().zip(bytecodes).map(|(filter, (last_final, candidate))| {
            let wanted = if filter.is_final { last_final } else { candidate };
            wanted.unwrap_or_default()
        });
        Ok(wanted.collect())
    }

    /// Events that match.
    pub fn events(&self, filter: EventFilter) -> Vec<SCOutputEvent> {
        self.context.execution_controller.get_filtered_sc_output_event(filter)
    }
}

/// Checks a request; `name` says which it is.
fn keys_request(name: &str, request: DatastoreKeysInput, max: usize) -> Result<DatastoreKeysRequest, ApiError> {
    let prefix = request.prefix.unwrap_or_default();
    // An empty prefix is any; no datastore has an empty key, but it is a fair place to begin or end.
    let keys = [
        ("prefix", Some(&prefix)),
        ("start_key", request.start_key.as_ref()),
        ("end_key", request.end_key.as_ref()),
    ];
    for (field, key) in keys {
        check_length(&format!("{name}.{field}"), key.map_or(0, Vec::len))?;
    }
    let count = request.count.unwrap_or(max as u64);
    let count = usize::try_from(count).ok().filter(|count| (1..=max).contains(count));
    let count = count.ok_or_else(|| {
        let asked = request.count.unwrap_or_default();
        ApiError::BadRequest(format!("{name}.count: {asked} is not between 1 and {max}"))
    })?;
    Ok(DatastoreKeysRequest {
        address: request.address,
        is_final: request.is_final,
        prefix,
        start: bound(request.start_key, request.inclusive_start_key),
        end: bound(request.end_key, request.inclusive_end_key),
        count,
    })
}

fn bound(key: Option<Vec<u8>>, inclusive: Option<bool>) -> Bound<Vec<u8>> {
    match key {
        None => Bound::Unbounded,
        Some(key) if inclusive.unwrap_or(true) => Bound::Included(key),
        Some(key) => Bound::Excluded(key),
    }
}

/// No datastore has an empty key, nor a longer one.
fn check_key(name: &str, key: &[u8]) -> Result<(), ApiError> {
    if key.is_empty() {
        return Err(ApiError::BadRequest(format!("{name}: must not be empty")));
    }
    check_length(name, key.len())
}

fn check_length(name: &str, length: usize) -> Result<(), ApiError> {
    let max = usize::from(MAX_DATASTORE_KEY_LENGTH);
    if length > max {
        let reason = format!("{name}: {length} bytes are more than {max}");
        return Err(ApiError::BadRequest(reason));
    }
    Ok(())
}
