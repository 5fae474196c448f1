//! Known answers: digests, text and byte forms, and every refusal.

use massa_hash::{Hash, HashDeserializer, HashSerializer, MassaHashError};
use massa_serialization::{Deserializer, Serializer};
use nom::error::{Error, ErrorKind};

/// BLAKE3 of no bytes.
const EMPTY_HEX: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
/// BLAKE3 of `abc`.
const ABC_HEX: &str = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";

fn hex_of(hash: &Hash) -> String {
    hex::encode(hash.to_bytes())
}

#[test]
fn hashes_are_plain_blake3() {
    assert_eq!(hex_of(&Hash::compute_from(b"abc")), ABC_HEX);
    assert_eq!(hex_of(&Hash::compute_from(b"")), EMPTY_HEX);
}

#[test]
fn the_hash_of_no_elements_is_that_of_no_bytes() {
    assert_eq!(hex_of(&Hash::compute_from_tuple(&[])), EMPTY_HEX);
}

#[test]
fn tuples_are_hashed_with_big_endian_lengths() {
    let framed = [
        [0, 0, 0, 0, 0, 0, 0, 1].as_slice(),
        b"a",
        &[0, 0, 0, 0, 0, 0, 0, 2],
        b"bc",
    ]
    .concat();
    assert_eq!(Hash::compute_from_tuple(&[b"a", b"bc"]), Hash::compute_from(&framed));
}

#[test]
fn parts_are_hashed_as_their_concatenation() {
    assert_eq!(
        Hash::compute_from_concatenation(&[b"a", b"", b"bc"]),
        Hash::compute_from(b"abc")
    );
}

/// The text is upstream's: it occurs in `upstream-vectors.json` as the root of no operations.
#[test]
fn text_is_base58_with_a_double_sha256_checksum() {
    let hash = Hash::compute_from(b"");
    let text = "2L74kakRTYGfjyUWN1M1AHeSK591CYEBuB7tGbh714AJ7E7NeB";
    assert_eq!(hash.to_string(), text);
    assert_eq!(format!("{hash:?}"), text);
    assert_eq!(hash.to_bs58_check(), text);
    assert_eq!(text.parse::<Hash>().unwrap(), hash);
}

#[test]
fn text_that_is_not_a_hash_is_a_parsing_error() {
    let text = Hash::compute_from(b"").to_string();
    let one_byte_more = bs58_check(&[&[0; 33]]);
    let one_byte_less = bs58_check(&[&[0; 31]]);
    let wrong_checksum = text.replace("2L7", "3L7");
    let wrong_alphabet = text.replace("2L7", "0L7");
    let too_long = "1".repeat(65);
    for refused in [
        "",
        &one_byte_more,
        &one_byte_less,
        &wrong_checksum,
        &wrong_alphabet,
        &too_long,
    ] {
        assert!(
            matches!(Hash::from_bs58_check(refused), Err(MassaHashError::ParsingError(_))),
            "{refused}"
        );
    }
}

fn bs58_check(parts: &[&[u8]]) -> String {
    bs58::encode(parts.concat()).with_check().into_string()
}

#[test]
fn only_32_bytes_are_a_hash() {
    assert_eq!(Hash::try_from([7; 32].as_slice()).unwrap(), Hash::from_bytes(&[7; 32]));
    for length in [0, 31, 33] {
        let bytes = vec![7; length];
        assert!(matches!(
            Hash::try_from(bytes.as_slice()),
            Err(MassaHashError::ParsingError(_))
        ));
    }
}

#[test]
fn hashes_are_ordered_by_their_bytes() {
    let mut low = [0; 32];
    low[31] = 0xff;
    let mut high = [0; 32];
    high[0] = 1;
    assert!(Hash::from_bytes(&low) < Hash::from_bytes(&high));
    assert!(Hash::zero() < Hash::from_bytes(&low));
}

#[test]
fn bytes_are_written_raw() {
    let hash = Hash::compute_from(b"abc");
    let mut buffer = Vec::new();
    HashSerializer::new().serialize(&hash, &mut buffer).unwrap();
    assert_eq!(hex::encode(&buffer), ABC_HEX);
    assert_eq!(hash.into_bytes().as_slice(), buffer);
}

#[test]
fn too_few_bytes_are_an_error_of_kind_length_value() {
    match HashDeserializer::new().deserialize::<Error<&[u8]>>(&[0; 31]) {
        Err(nom::Err::Error(error)) => assert_eq!(error.code, ErrorKind::LengthValue),
        other => panic!("{other:?}"),
    }
}

#[test]
fn json_is_the_text() {
    let hash = Hash::compute_from(b"abc");
    let json = serde_json::to_string(&hash).unwrap();
    assert_eq!(json, format!("\"{hash}\""));
    assert_eq!(serde_json::from_str::<Hash>(&json).unwrap(), hash);
    assert!(serde_json::from_str::<Hash>("\"abc\"").is_err());
    assert!(serde_json::from_str::<Hash>("7").is_err());
}
