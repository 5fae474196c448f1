//! Properties: round trips, refusal of truncated and altered input, no panic on any input.

use massa_hash::Hash;
use massa_serialization::{DeserializeError, Deserializer};
use massa_signature::{KeyPair, PublicKey, PublicKeyDeserializer, Signature, SignatureDeserializer};
use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;

fn key_pair() -> impl Strategy<Value = KeyPair> {
    uniform32(any::<u8>()).prop_map(|seed| KeyPair::from_bytes(&[[0].as_slice(), &seed].concat()).unwrap())
}

fn hash() -> impl Strategy<Value = Hash> {
    uniform32(any::<u8>()).prop_map(|bytes| Hash::from_bytes(&bytes))
}

proptest! {
    #[test]
    fn text_round_trips(key in key_pair(), hash in hash()) {
        let public_key = key.get_public_key();
        let signature = key.sign(&hash).unwrap();
        prop_assert_eq!(key.to_string().parse::<KeyPair>().unwrap().to_bytes(), key.to_bytes());
        prop_assert_eq!(public_key.to_string().parse::<PublicKey>().unwrap(), public_key);
        prop_assert_eq!(signature.to_string().parse::<Signature>().unwrap(), signature);
    }

    #[test]
    fn bytes_round_trip(key in key_pair(), hash in hash(), suffix in vec(any::<u8>(), 0..4)) {
        let signature = key.sign(&hash).unwrap();
        let bytes = signature.to_bytes();
        for length in 0..bytes.len() {
            prop_assert!(SignatureDeserializer::new().deserialize::<DeserializeError>(&bytes[..length]).is_err());
        }
        let input = [bytes.as_slice(), &suffix].concat();
        let (rest, parsed) = SignatureDeserializer::new().deserialize::<DeserializeError>(&input).unwrap();
        prop_assert_eq!((rest, parsed), (suffix.as_slice(), signature));

        let bytes = key.get_public_key().to_bytes();
        for length in 0..bytes.len() {
            prop_assert!(PublicKeyDeserializer::new().deserialize::<DeserializeError>(&bytes[..length]).is_err());
        }
        let input = [bytes.as_slice(), &suffix].concat();
        let (rest, parsed) = PublicKeyDeserializer::new().deserialize::<DeserializeError>(&input).unwrap();
        prop_assert_eq!((rest, parsed), (suffix.as_slice(), key.get_public_key()));
    }

    #[test]
    fn an_altered_signature_does_not_verify(key in key_pair(), hash in hash(), bit in 8usize..65 * 8) {
        let mut bytes = key.sign(&hash).unwrap().to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let altered = Signature::from_bytes(&bytes).unwrap();
        prop_assert!(key.get_public_key().verify_signature(&hash, &altered).is_err());
    }

    #[test]
    fn the_order_of_public_keys_is_that_of_their_bytes(a in key_pair(), b in key_pair()) {
        let (a, b) = (a.get_public_key(), b.get_public_key());
        prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
    }

    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..80), text in "[SPN]?.{0,80}") {
        let _ = KeyPair::from_bytes(&bytes);
        let _ = PublicKeyDeserializer::new().deserialize::<DeserializeError>(&bytes);
        let _ = SignatureDeserializer::new().deserialize::<DeserializeError>(&bytes);
        let _ = (text.parse::<KeyPair>(), text.parse::<PublicKey>(), text.parse::<Signature>());
    }
}
