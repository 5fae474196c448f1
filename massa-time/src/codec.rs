//! Wire form: the milliseconds as an unsigned LEB128 varint of a `u64`.

use crate::MassaTime;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ParseError};
use nom::{IResult, Parser};
use std::ops::Bound;

/// Writes a [`MassaTime`].
#[derive(Clone, Default)]
pub struct MassaTimeSerializer {
    milliseconds: U64VarIntSerializer,
}

impl MassaTimeSerializer {
    /// The one form there is.
    pub const fn new() -> Self {
        Self {
            milliseconds: U64VarIntSerializer::new(),
        }
    }
}

impl Serializer<MassaTime> for MassaTimeSerializer {
    fn serialize(&self, value: &MassaTime, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.milliseconds.serialize(&value.as_millis(), buffer)
    }
}

/// Reads a [`MassaTime`] that lies within bounds.
#[derive(Clone)]
pub struct MassaTimeDeserializer {
    milliseconds: U64VarIntDeserializer,
}

impl MassaTimeDeserializer {
    /// Accepts times between the lower and the upper bound of `range`.
    pub fn new(range: (Bound<MassaTime>, Bound<MassaTime>)) -> Self {
        let (min, max) = range;
        Self {
            milliseconds: U64VarIntDeserializer::new(in_milliseconds(min), in_milliseconds(max)),
        }
    }
}

impl Deserializer<MassaTime> for MassaTimeDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], MassaTime, E> {
        context("Failed MassaTime deserialization", |input| {
            self.milliseconds.deserialize(input)
        })
        .map(MassaTime::from_millis)
        .parse(buffer)
    }
}

fn in_milliseconds(bound: Bound<MassaTime>) -> Bound<u64> {
    bound.map(|time| time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_serialization::DeserializeError;
    use proptest::prelude::*;

    fn any_time() -> MassaTimeDeserializer {
        MassaTimeDeserializer::new((Bound::Unbounded, Bound::Unbounded))
    }

    fn to_bytes(time: MassaTime) -> Vec<u8> {
        let mut bytes = Vec::new();
        MassaTimeSerializer::new().serialize(&time, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_are_frozen() {
        assert_eq!(to_bytes(MassaTime::from_millis(0)), [0x00]);
        assert_eq!(to_bytes(MassaTime::from_millis(16_000)), [0x80, 0x7d]);
        assert_eq!(
            to_bytes(MassaTime::max()),
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
        );
    }

    #[test]
    fn a_time_outside_of_the_range_is_refused() {
        let [early, late] = [10, 20].map(MassaTime::from_millis);
        let deserializer = MassaTimeDeserializer::new((Bound::Included(early), Bound::Excluded(late)));

        for (milliseconds, accepted) in [(9, false), (10, true), (19, true), (20, false)] {
            let bytes = to_bytes(MassaTime::from_millis(milliseconds));
            let result = deserializer.deserialize::<DeserializeError>(&bytes);
            assert_eq!(result.is_ok(), accepted, "{milliseconds}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing_and_leaves_the_rest(milliseconds: u64, rest: Vec<u8>) {
            let mut bytes = to_bytes(MassaTime::from_millis(milliseconds));
            bytes.extend(&rest);
            let (left, time) = any_time().deserialize::<DeserializeError>(&bytes).unwrap();
            prop_assert_eq!(time, MassaTime::from_millis(milliseconds));
            prop_assert_eq!(left, &rest);
        }

        #[test]
        fn truncated_input_is_always_an_error(milliseconds: u64) {
            let bytes = to_bytes(MassaTime::from_millis(milliseconds));
            for length in 0..bytes.len() {
                prop_assert!(any_time().deserialize::<DeserializeError>(&bytes[..length]).is_err());
            }
        }
    }
}
