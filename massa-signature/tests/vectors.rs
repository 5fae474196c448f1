//! Known answers: upstream's keys and signatures, and every refusal.

use massa_hash::Hash;
use massa_serialization::{DeserializeError, Deserializer};
use massa_signature::{
    verify_signature_batch, KeyPair, MassaSignatureError, PublicKey, PublicKeyDeserializer, Signature,
    SignatureDeserializer,
};
use serde_json::Value;

const SECRET_KEY: &str = "S1CkpvD4WMjJWxR2WZcrDEkJ1kWG2kKe1e3Afe8miqmskHqovvA";
const PUBLIC_KEY: &str = "P1t4JZwHhWNLt4xYabCbukyVNxSbhYPdF6wCYuRmDuHD784juxd";
/// A version of two bytes whose value is 128.
const OTHER_VERSION: [u8; 2] = [0x80, 0x01];

fn docs_key() -> KeyPair {
    SECRET_KEY.parse().unwrap()
}

/// Keys, each with the signature of `H("hello")`, written by upstream.
fn upstream_keys() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/upstream-vectors.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    vectors["keys"].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

#[test]
fn the_public_key_of_the_documentation_follows_from_its_secret_key() {
    assert_eq!(docs_key().get_public_key().to_string(), PUBLIC_KEY);
    assert_eq!(docs_key().to_string(), SECRET_KEY);
    assert_eq!(docs_key().get_version(), 0);
}

#[test]
fn upstream_keys_have_the_same_text_and_bytes() {
    let keys = upstream_keys();
    assert_eq!(keys.len(), 8);
    for key in &keys {
        let secret_key: KeyPair = text(&key["secret_key"]).parse().unwrap();
        assert_eq!(secret_key.to_string(), text(&key["secret_key"]));
        assert_eq!(secret_key.to_bytes(), bytes(&key["secret_key_bytes"]));
        assert_eq!(secret_key.to_bytes().len(), secret_key.get_ser_len());
        let from_bytes = KeyPair::from_bytes(&bytes(&key["secret_key_bytes"])).unwrap();
        assert_eq!(from_bytes.to_bytes(), secret_key.to_bytes());

        let public_key = secret_key.get_public_key();
        assert_eq!(public_key.to_string(), text(&key["public_key"]));
        assert_eq!(public_key.to_bytes(), bytes(&key["public_key_bytes"]));
        assert_eq!(public_key.to_bytes().len(), public_key.get_ser_len());
        assert_eq!(text(&key["public_key"]).parse::<PublicKey>().unwrap(), public_key);
        assert_eq!(
            PublicKey::from_bytes(&bytes(&key["public_key_bytes"])).unwrap(),
            public_key
        );
    }
}

#[test]
fn upstream_signatures_are_made_and_verified_alike() {
    for key in upstream_keys() {
        let secret_key: KeyPair = text(&key["secret_key"]).parse().unwrap();
        let expected = &key["sign_of_hash_of_hello"];
        let hash = Hash::compute_from(b"hello");
        assert_eq!(hash.to_string(), text(&expected["hash"]));

        let signature = secret_key.sign(&hash).unwrap();
        assert_eq!(signature.to_string(), text(&expected["signature"]));
        assert_eq!(signature.to_bytes(), bytes(&expected["signature_bytes"]));
        assert_eq!(signature.to_bytes().len(), signature.get_ser_len());
        assert_eq!(text(&expected["signature"]).parse::<Signature>().unwrap(), signature);
        let public_key = secret_key.get_public_key();
        assert!(public_key.verify_signature(&hash, &signature).is_ok());
    }
}

#[test]
fn a_signature_of_another_hash_or_key_is_refused() {
    let (hash, other_hash) = (Hash::compute_from(b"hash"), Hash::compute_from(b"other"));
    let (key, other_key) = (docs_key(), KeyPair::generate(0).unwrap());
    let signature = key.sign(&hash).unwrap();
    let is_refused = |key: &KeyPair, hash| {
        matches!(
            key.get_public_key().verify_signature(hash, &signature),
            Err(MassaSignatureError::SignatureError(_))
        )
    };
    assert!(!is_refused(&key, &hash));
    assert!(is_refused(&key, &other_hash));
    assert!(is_refused(&other_key, &hash));
}

#[test]
fn a_batch_is_valid_when_all_its_signatures_are() {
    let entry = |message: &[u8]| {
        let key = KeyPair::generate(0).unwrap();
        let hash = Hash::compute_from(message);
        (hash, key.sign(&hash).unwrap(), key.get_public_key())
    };
    let mut batch = Vec::new();
    for message in [b"1", b"2", b"3"] {
        assert!(verify_signature_batch(&batch).is_ok());
        batch.push(entry(message));
    }
    assert!(verify_signature_batch(&batch).is_ok());

    for length in 1..=batch.len() {
        let mut invalid = batch[..length].to_vec();
        invalid[length - 1].0 = Hash::zero();
        assert!(
            matches!(
                verify_signature_batch(&invalid),
                Err(MassaSignatureError::SignatureError(_))
            ),
            "{length} signatures"
        );
    }
}

/// Not a property to wish for, but upstream's: who refused such a signature would part from the network.
#[test]
fn a_public_key_of_small_order_is_accepted() {
    let identity = {
        let mut bytes = [0; 33];
        bytes[1] = 1;
        PublicKey::from_bytes(&bytes).unwrap()
    };
    let r_identity_s_zero = {
        let mut bytes = [0; 65];
        bytes[1] = 1;
        Signature::from_bytes(&bytes).unwrap()
    };
    let hash = Hash::compute_from(b"whatever");
    assert!(identity.verify_signature(&hash, &r_identity_s_zero).is_ok());
}

#[test]
fn an_s_that_is_not_reduced_is_refused() {
    /// The order of the group, little-endian.
    const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let hash = Hash::compute_from(b"hash");
    let mut bytes = docs_key().sign(&hash).unwrap().to_bytes();
    let mut carry = 0u16;
    for (byte, order) in bytes[33..].iter_mut().zip(hex::decode(ORDER).unwrap()) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    let malleated = Signature::from_bytes(&bytes).unwrap();
    assert!(docs_key().get_public_key().verify_signature(&hash, &malleated).is_err());
}

#[test]
fn a_public_key_that_is_no_point_is_a_parsing_error() {
    let mut bytes = [0; 33];
    bytes[1] = 2;
    assert!(matches!(
        PublicKey::from_bytes(&bytes),
        Err(MassaSignatureError::ParsingError(_))
    ));
    assert!(PublicKeyDeserializer::new()
        .deserialize::<DeserializeError>(&bytes)
        .is_err());
}

#[test]
fn too_few_bytes_are_a_parsing_error() {
    let signature = docs_key().sign(&Hash::zero()).unwrap().to_bytes();
    let public_key = docs_key().get_public_key().to_bytes();
    let secret_key = docs_key().to_bytes();
    let is_parsing_error =
        |error: Option<MassaSignatureError>| matches!(error, Some(MassaSignatureError::ParsingError(_)));
    for length in 0..signature.len() {
        assert!(is_parsing_error(Signature::from_bytes(&signature[..length]).err()));
    }
    for length in 0..public_key.len() {
        assert!(is_parsing_error(PublicKey::from_bytes(&public_key[..length]).err()));
        assert!(is_parsing_error(KeyPair::from_bytes(&secret_key[..length]).err()));
    }
}

#[test]
fn other_versions_are_refused() {
    let is_version_error =
        |error: Option<MassaSignatureError>| matches!(error, Some(MassaSignatureError::InvalidVersionError(_)));
    let bytes = [OTHER_VERSION.as_slice(), &[0; 64]].concat();
    assert!(is_version_error(KeyPair::generate(1).err()));
    assert!(is_version_error(KeyPair::from_bytes(&bytes).err()));
    assert!(is_version_error(PublicKey::from_bytes(&bytes).err()));
    assert!(is_version_error(Signature::from_bytes(&bytes).err()));
}

#[test]
fn another_first_letter_is_refused_without_repeating_the_text() {
    let wrong = |expected: &str, found: &str| {
        Some(MassaSignatureError::WrongPrefix(
            expected.to_string(),
            found.to_string(),
        ))
    };
    assert_eq!(PUBLIC_KEY.parse::<KeyPair>().err(), wrong("S", "P"));
    assert_eq!(SECRET_KEY.parse::<PublicKey>().err(), wrong("P", "S"));
    assert_eq!("".parse::<PublicKey>().err(), wrong("P", ""));
    assert_eq!("é".parse::<PublicKey>().err(), wrong("P", "é"));
}

#[test]
fn a_wrong_checksum_alphabet_or_length_is_a_parsing_error() {
    let wrong_checksum = PUBLIC_KEY.replace("P1t", "P1u");
    let wrong_alphabet = PUBLIC_KEY.replace("P1t", "P1l");
    let too_long = format!("P{}", "1".repeat(1024));
    for refused in ["P", &wrong_checksum, &wrong_alphabet, &too_long] {
        assert!(
            matches!(refused.parse::<PublicKey>(), Err(MassaSignatureError::ParsingError(_))),
            "{refused}"
        );
    }
    assert!(matches!(
        "0".parse::<Signature>(),
        Err(MassaSignatureError::ParsingError(_))
    ));
}

/// Upstream ignores them.
#[test]
fn bytes_after_a_key_or_signature_are_accepted_in_text() {
    let longer = |prefix: &str, bytes: Vec<u8>| {
        let bytes = [bytes.as_slice(), &[1, 2, 3]].concat();
        format!("{prefix}{}", bs58::encode(bytes).with_check().into_string())
    };
    let key = docs_key();
    let signature = key.sign(&Hash::zero()).unwrap();
    let parsed: KeyPair = longer("S", key.to_bytes()).parse().unwrap();
    assert_eq!(parsed.to_bytes(), key.to_bytes());
    let public_key = key.get_public_key();
    assert_eq!(
        longer("P", public_key.to_bytes()).parse::<PublicKey>().unwrap(),
        public_key
    );
    assert_eq!(
        longer("", signature.to_bytes()).parse::<Signature>().unwrap(),
        signature
    );
}

/// Upstream's quirk: the version is read with as many bytes as it has, but counted as one.
#[test]
fn after_an_overlong_version_the_rest_begins_too_early() {
    let overlong_zero = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
    let key = docs_key().get_public_key();
    let input = [overlong_zero.as_slice(), &key.to_bytes()[1..]].concat();
    let (rest, parsed) = PublicKeyDeserializer::new()
        .deserialize::<DeserializeError>(&input)
        .unwrap();
    assert_eq!(parsed, key);
    assert_eq!(rest, &input[33..]);

    let signature = docs_key().sign(&Hash::zero()).unwrap();
    let input = [overlong_zero.as_slice(), &signature.to_bytes()[1..]].concat();
    let (rest, parsed) = SignatureDeserializer::new()
        .deserialize::<DeserializeError>(&input)
        .unwrap();
    assert_eq!(parsed, signature);
    assert_eq!(rest, &input[65..]);
}

#[test]
fn json_of_a_key_pair_has_both_halves() {
    let json = serde_json::to_value(docs_key()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"secret_key": SECRET_KEY, "public_key": PUBLIC_KEY})
    );
    let parsed: KeyPair = serde_json::from_value(json).unwrap();
    assert_eq!(parsed.to_string(), SECRET_KEY);
}

/// Both are required; the public one is not compared, as upstream.
#[test]
fn json_of_a_key_pair_needs_a_public_key_but_not_the_right_one() {
    let parse = |json: Value| serde_json::from_value::<KeyPair>(json);
    assert!(parse(serde_json::json!({"secret_key": SECRET_KEY})).is_err());
    assert!(parse(serde_json::json!({"public_key": PUBLIC_KEY})).is_err());
    assert!(parse(serde_json::json!({"secret_key": SECRET_KEY, "public_key": "?"})).is_ok());
    assert!(parse(serde_json::json!({"secret_key": "?", "public_key": PUBLIC_KEY})).is_err());
}

#[test]
fn json_of_public_keys_and_signatures_is_their_text() {
    let public_key = docs_key().get_public_key();
    let signature = docs_key().sign(&Hash::zero()).unwrap();
    let public_key_json = serde_json::to_value(public_key).unwrap();
    let signature_json = serde_json::to_value(signature).unwrap();
    assert_eq!(public_key_json, PUBLIC_KEY);
    assert_eq!(signature_json, signature.to_bs58_check());
    assert_eq!(
        serde_json::from_value::<PublicKey>(public_key_json).unwrap(),
        public_key
    );
    assert_eq!(serde_json::from_value::<Signature>(signature_json).unwrap(), signature);
}
