//! What contracts have stored and said.

use crate::answer::Answer;
use crate::api::{check_count, Asker, Node};
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
use tracing::debug;

/// Bytes of an address as text, in quotes.
const ADDRESS_TEXT_BYTES: usize = 60;
/// What an event has beside its text and its call stack: names of fields, a slot, two ids.
const EVENT_TEXT_BYTES: usize = 400;

impl Node {
    /// (final, candidate) values, in the order of `entries`; all of one state.
    pub fn datastore_entries(
        &self,
        asker: &Asker,
        entries: Vec<DatastoreEntryInput>,
    ) -> Result<Vec<DatastoreEntryOutput>, ApiError> {
        self.check_arguments("entries", entries.len())?;
        for (index, entry) in entries.iter().enumerate() {
            check_key(&format!("entries[{index}].key"), &entry.key)?;
        }
        let asked: Vec<(Address, Vec<u8>)> = entries.into_iter().map(|entry| (entry.address, entry.key)).collect();
        let mut answer = self.answer(asker);
        let mut keep = |value: &[u8]| answer.keeps(|answer| answer.add_bytes(value));
        let values = self.context.execution_controller.read_data_entries(&asked, &mut keep);
        answer.check()?;
        let outputs = values
            .into_iter()
            .map(|(final_value, candidate_value)| DatastoreEntryOutput {
                final_value,
                candidate_value,
            });
        Ok(outputs.collect())
    }

    /// Keys of datastores, in the order of `requests`.
    pub fn datastore_keys(
        &self,
        asker: &Asker,
        requests: Vec<DatastoreKeysInput>,
    ) -> Result<Vec<DatastoreKeysOutput>, ApiError> {
        check_count("requests", requests.len(), self.config.max_datastore_keys_queries)?;
        let checked = requests.into_iter().enumerate().map(|(index, request)| {
            let prefix = format!("requests[{index}]");
            keys_request(&prefix, request, self.config.max_datastore_keys)
        });
        let checked = checked.collect::<Result<Vec<_>, _>>()?;
        let mut answer = self.answer(asker);
        let outputs = checked.into_iter().map(|request| {
            let keys = self.context.execution_controller.get_datastore_keys(&request);
            keys.iter().try_for_each(|key| answer.add_bytes(key))?;
            Ok(DatastoreKeysOutput {
                address: request.address,
                is_final: request.is_final,
                keys,
            })
        });
        outputs.collect()
    }

    /// Bytecodes, in the order of `filters`; no bytes where there is none.
    pub fn bytecodes(&self, asker: &Asker, filters: &[AddressFilter]) -> Result<Vec<Vec<u8>>, ApiError> {
        self.check_arguments("addresses", filters.len())?;
        let addresses: Vec<Address> = filters.iter().map(|filter| filter.address).collect();
        let mut answer = self.answer(asker);
        let mut keep = |bytecode: &[u8]| answer.keeps(|answer| answer.add_bytes(bytecode));
        let bytecodes = self.context.execution_controller.read_bytecodes(&addresses, &mut keep);
        answer.check()?;
        let wanted = filters.iter().zip(bytecodes).map(|(filter, (last_final, candidate))| {
            let wanted = if filter.is_final { last_final } else { candidate };
            wanted.unwrap_or_default()
        });
        Ok(wanted.collect())
    }

    /// Events that match; of too many the newest, and the header of the answer says so: the first that is told says from
    /// where on they are complete.
    pub fn events(&self, asker: &Asker, filter: &EventFilter) -> Result<Vec<SCOutputEvent>, ApiError> {
        let mut answer = self.answer(asker);
        let mut keep = |event: &SCOutputEvent| answer.keeps(|answer| add_event(answer, event));
        let found = self.context.execution_controller.read_events(filter, &mut keep);
        match answer.check() {
            Ok(()) | Err(ApiError::TooLarge { .. }) => {}
            Err(error) => return Err(error),
        }
        if found.cut {
            answer.note_cut();
            debug!(
                events = found.events.len(),
                "the oldest events are left out of an answer"
            );
        }
        Ok(found.events)
    }
}

/// Counts an event.
pub(crate) fn add_event(answer: &mut Answer, event: &SCOutputEvent) -> Result<(), ApiError> {
    let written = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    let text: usize = event.data.bytes().map(written).sum();
    let context = event.context.call_stack.len() * ADDRESS_TEXT_BYTES + EVENT_TEXT_BYTES;
    answer.add(text + context, event.data.len() + context)
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
