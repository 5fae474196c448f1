//! Properties of every encoding: round trips, refusal of truncated input, no panic on any input.

use massa_serialization::{
    BoolDeserializer, BoolSerializer, DeserializeError, Deserializer, OptionDeserializer, OptionSerializer, Serializer,
    U128VarIntDeserializer, U128VarIntSerializer, U16VarIntDeserializer, U16VarIntSerializer, U32VarIntDeserializer,
    U32VarIntSerializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Debug;
use std::ops::Bound::Unbounded;

/// Writes `value` before `suffix`, reads it back, and tries every truncation.
fn check<T: PartialEq + Debug>(
    serializer: &impl Serializer<T>,
    deserializer: &impl Deserializer<T>,
    value: T,
    suffix: &[u8],
) -> Result<(), TestCaseError> {
    let mut bytes = Vec::new();
    serializer.serialize(&value, &mut bytes).unwrap();
    for length in 0..bytes.len() {
        let truncated = deserializer.deserialize::<DeserializeError>(&bytes[..length]);
        prop_assert!(truncated.is_err(), "{length} of {bytes:?} parsed");
    }
    bytes.extend_from_slice(suffix);
    let (rest, parsed) = deserializer
        .deserialize::<DeserializeError>(&bytes)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(parsed, value);
    prop_assert_eq!(rest, suffix);
    Ok(())
}

proptest! {
    #[test]
    fn integers_round_trip(
        (a, b, c, d) in any::<(u16, u32, u64, u128)>(),
        shift in 0u32..128,
        suffix in vec(any::<u8>(), 0..4),
    ) {
        // Shifted, so that all lengths occur.
        let (b, c, d) = (b >> (shift % 32), c >> (shift % 64), d >> shift);
        check(&U16VarIntSerializer::new(), &U16VarIntDeserializer::new(Unbounded, Unbounded), a, &suffix)?;
        check(&U32VarIntSerializer::new(), &U32VarIntDeserializer::new(Unbounded, Unbounded), b, &suffix)?;
        check(&U64VarIntSerializer::new(), &U64VarIntDeserializer::new(Unbounded, Unbounded), c, &suffix)?;
        check(&U128VarIntSerializer::new(), &U128VarIntDeserializer::new(Unbounded, Unbounded), d, &suffix)?;
    }

    #[test]
    fn options_and_booleans_round_trip(
        option in any::<Option<u64>>(),
        boolean in any::<bool>(),
        suffix in vec(any::<u8>(), 0..4),
    ) {
        let serializer = OptionSerializer::new(U64VarIntSerializer::new());
        let deserializer = OptionDeserializer::new(U64VarIntDeserializer::new(Unbounded, Unbounded));
        check(&serializer, &deserializer, option, &suffix)?;
        check(&BoolSerializer::new(), &BoolDeserializer::new(), boolean, &suffix)?;
    }

    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..32)) {
        let _ = U16VarIntDeserializer::new(Unbounded, Unbounded).deserialize::<DeserializeError>(&bytes);
        let _ = U32VarIntDeserializer::new(Unbounded, Unbounded).deserialize::<DeserializeError>(&bytes);
        let _ = U64VarIntDeserializer::new(Unbounded, Unbounded).deserialize::<DeserializeError>(&bytes);
        let _ = U128VarIntDeserializer::new(Unbounded, Unbounded).deserialize::<DeserializeError>(&bytes);
        let _ = BoolDeserializer::new().deserialize::<DeserializeError>(&bytes);
    }
}
