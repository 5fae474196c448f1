//! Properties: round trips, refusal of truncated input, no panic on any text.

use massa_hash::{Hash, HashDeserializer, HashSerializer};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn text_round_trips(bytes in uniform32(any::<u8>())) {
        let hash = Hash::from_bytes(&bytes);
        prop_assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
    }

    #[test]
    fn bytes_round_trip(bytes in uniform32(any::<u8>()), suffix in vec(any::<u8>(), 0..4)) {
        let hash = Hash::from_bytes(&bytes);
        let mut buffer = Vec::new();
        HashSerializer::new().serialize(&hash, &mut buffer).unwrap();
        for length in 0..buffer.len() {
            prop_assert!(HashDeserializer::new().deserialize::<DeserializeError>(&buffer[..length]).is_err());
        }
        buffer.extend_from_slice(&suffix);
        let (rest, parsed) = HashDeserializer::new().deserialize::<DeserializeError>(&buffer).unwrap();
        prop_assert_eq!(parsed, hash);
        prop_assert_eq!(rest, suffix.as_slice());
    }

    #[test]
    fn the_order_is_that_of_the_bytes(a in uniform32(any::<u8>()), b in uniform32(any::<u8>())) {
        prop_assert_eq!(Hash::from_bytes(&a).cmp(&Hash::from_bytes(&b)), a.cmp(&b));
    }

    #[test]
    fn a_byte_moved_to_the_next_element_changes_the_hash(
        a in vec(any::<u8>(), 1..8),
        b in vec(any::<u8>(), 0..8),
    ) {
        let whole = [a.as_slice(), &b].concat();
        let (shorter, longer) = whole.split_at(a.len() - 1);
        prop_assert_ne!(Hash::compute_from_tuple(&[&a, &b]), Hash::compute_from_tuple(&[shorter, longer]));
        prop_assert_eq!(Hash::compute_from_concatenation(&[&a, &b]), Hash::compute_from(&whole));
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = text.parse::<Hash>();
    }
}
