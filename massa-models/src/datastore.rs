//! Key-value stores of operations and smart contracts.

use crate::serialization::{length_as, parse_items, VecU8Deserializer, VecU8Serializer};
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ParseError};
use nom::IResult;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Keys and values.
pub type Datastore = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writes a datastore: count (varint u64) | for each entry, in the order of keys: key, value (byte lists).
#[derive(Clone, Debug, Default)]
pub struct DatastoreSerializer {
    count_serializer: U64VarIntSerializer,
    bytes_serializer: VecU8Serializer,
}

impl DatastoreSerializer {
    /// A serializer without limit.
    pub const fn new() -> Self {
        Self {
            count_serializer: U64VarIntSerializer::new(),
            bytes_serializer: VecU8Serializer::new(),
        }
    }
}

impl Serializer<Datastore> for DatastoreSerializer {
    fn serialize(&self, value: &Datastore, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let count = length_as(value.len())?;
        self.count_serializer.serialize(&count, buffer)?;
        for (key, value) in value {
            self.bytes_serializer.serialize(key, buffer)?;
            self.bytes_serializer.serialize(value, buffer)?;
        }
        Ok(())
    }
}

/// Reads a datastore. Entries may come in any order; of two with the same key the last one counts.
#[derive(Clone, Debug)]
pub struct DatastoreDeserializer {
    count_deserializer: U64VarIntDeserializer,
    key_deserializer: VecU8Deserializer,
    value_deserializer: VecU8Deserializer,
}

impl DatastoreDeserializer {
    /// A deserializer with limits: entries, bytes of a key, bytes of a value.
    pub const fn new(max_entry_count: u64, max_key_length: u8, max_value_length: u64) -> Self {
        Self {
            count_deserializer: U64VarIntDeserializer::new(Bound::Unbounded, Bound::Included(max_entry_count)),
            key_deserializer: VecU8Deserializer::new(Bound::Unbounded, Bound::Included(max_key_length as u64)),
            value_deserializer: VecU8Deserializer::new(Bound::Unbounded, Bound::Included(max_value_length)),
        }
    }
}

impl Deserializer<Datastore> for DatastoreDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Datastore, E> {
        context("Failed Datastore deserialization", |input: &'a [u8]| {
            let (rest, count) = self.count_deserializer.deserialize(input)?;
            let (rest, entries) = parse_items(count, rest, |rest| {
                let (rest, key) = self.key_deserializer.deserialize(rest)?;
                let (rest, value) = self.value_deserializer.deserialize(rest)?;
                Ok((rest, (key, value)))
            })?;
            Ok((rest, entries.into_iter().collect()))
        })(buffer)
    }
}

/// The range of keys that begin with `prefix`.
pub fn get_prefix_bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut end = prefix.to_vec();
    // The first key after the range: bytes 0xff have no successor, so the byte before them counts up.
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}
