//! Known answers: bytes of every encoding, and every refusal.

use massa_serialization::{
    BoolDeserializer, BoolSerializer, DeserializeError, Deserializer, OptionDeserializer, OptionSerializer, Serializer,
    U128VarIntDeserializer, U128VarIntSerializer, U16VarIntDeserializer, U16VarIntSerializer, U32VarIntDeserializer,
    U32VarIntSerializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use nom::error::{ContextError, Error, ErrorKind, ParseError};
use std::ops::Bound::{Excluded, Included, Unbounded};

const ANY_U16: U16VarIntDeserializer = U16VarIntDeserializer::new(Unbounded, Unbounded);
const ANY_U32: U32VarIntDeserializer = U32VarIntDeserializer::new(Unbounded, Unbounded);
const ANY_U64: U64VarIntDeserializer = U64VarIntDeserializer::new(Unbounded, Unbounded);
const ANY_U128: U128VarIntDeserializer = U128VarIntDeserializer::new(Unbounded, Unbounded);

fn bytes_of<T>(serializer: &impl Serializer<T>, value: T) -> Vec<u8> {
    let mut buffer = Vec::new();
    serializer.serialize(&value, &mut buffer).unwrap();
    buffer
}

/// The value, and the number of bytes left.
fn parse<T>(deserializer: &impl Deserializer<T>, bytes: &[u8]) -> Option<(T, usize)> {
    let (rest, value) = deserializer.deserialize::<DeserializeError>(bytes).ok()?;
    Some((value, rest.len()))
}

#[test]
fn small_groups_come_first() {
    assert_eq!(bytes_of(&U64VarIntSerializer::new(), 0), [0x00]);
    assert_eq!(bytes_of(&U64VarIntSerializer::new(), 127), [0x7f]);
    assert_eq!(bytes_of(&U64VarIntSerializer::new(), 128), [0x80, 0x01]);
    assert_eq!(bytes_of(&U64VarIntSerializer::new(), 1_000_000), [0xc0, 0x84, 0x3d]);
    assert_eq!(bytes_of(&U32VarIntSerializer::new(), 1000), [0xe8, 0x07]);
}

#[test]
fn the_greatest_values_take_3_5_10_and_19_bytes() {
    assert_eq!(bytes_of(&U16VarIntSerializer::new(), u16::MAX), [0xff, 0xff, 0x03]);
    assert_eq!(bytes_of(&U32VarIntSerializer::new(), u32::MAX).len(), 5);
    assert_eq!(bytes_of(&U64VarIntSerializer::new(), u64::MAX).len(), 10);
    assert_eq!(bytes_of(&U128VarIntSerializer::new(), u128::MAX).len(), 19);
}

#[test]
fn serializers_append() {
    let mut buffer = vec![9];
    U32VarIntSerializer::new().serialize(&1, &mut buffer).unwrap();
    BoolSerializer::new().serialize(&true, &mut buffer).unwrap();
    assert_eq!(buffer, [9, 1, 1]);
}

#[test]
fn what_follows_a_value_is_returned() {
    assert_eq!(parse(&ANY_U64, &[0x80, 0x01, 0x07, 0x08]), Some((128, 2)));
    assert_eq!(parse(&BoolDeserializer::new(), &[1, 7]), Some((true, 1)));
}

#[test]
fn a_last_group_of_zero_is_refused() {
    assert_eq!(parse(&ANY_U64, &[0x80, 0x00]), None);
    assert_eq!(parse(&ANY_U64, &[0xff, 0x80, 0x00]), None);
    assert_eq!(parse(&ANY_U16, &[0x80, 0x00]), None);
}

/// Upstream's decoder drops the bits that do not fit. Such encodings occur only in crafted input, but what upstream
/// accepts must be accepted.
#[test]
fn bits_that_overflow_the_last_byte_are_dropped() {
    let ten_bytes = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
    assert_eq!(parse(&ANY_U64, &ten_bytes), Some((0, 0)));
    assert_eq!(parse(&ANY_U32, &[0x80, 0x80, 0x80, 0x80, 0x10]), Some((0, 0)));
    assert_eq!(parse(&ANY_U16, &[0x80, 0x80, 0x04]), Some((0, 0)));
}

#[test]
fn one_byte_more_than_permitted_is_refused() {
    assert_eq!(parse(&ANY_U16, &[0x80, 0x80, 0x80, 0x01]), None);
    assert_eq!(parse(&ANY_U32, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), None);
    assert_eq!(parse(&ANY_U64, &[[0x80; 10].as_slice(), &[0x01]].concat()), None);
    assert_eq!(parse(&ANY_U128, &[[0x80; 19].as_slice(), &[0x01]].concat()), None);
}

#[test]
fn each_side_of_a_range_is_honoured() {
    let one_to_four = U32VarIntDeserializer::new(Included(1), Excluded(5));
    assert_eq!(parse(&one_to_four, &[0]), None);
    assert_eq!(parse(&one_to_four, &[1]), Some((1, 0)));
    assert_eq!(parse(&one_to_four, &[4]), Some((4, 0)));
    assert_eq!(parse(&one_to_four, &[5]), None);

    let two_to_five = U64VarIntDeserializer::new(Excluded(1), Included(5));
    assert_eq!(parse(&two_to_five, &[1]), None);
    assert_eq!(parse(&two_to_five, &[2]), Some((2, 0)));
    assert_eq!(parse(&two_to_five, &[5]), Some((5, 0)));
    assert_eq!(parse(&two_to_five, &[6]), None);
}

#[test]
fn truncated_and_out_of_range_integers_are_errors_of_kind_fail() {
    let below_five = U64VarIntDeserializer::new(Unbounded, Excluded(5));
    for input in [&[][..], &[0x80], &[5]] {
        match below_five.deserialize::<Error<&[u8]>>(input) {
            Err(nom::Err::Error(error)) => assert_eq!(error.code, ErrorKind::Fail),
            other => panic!("{input:?} gave {other:?}"),
        }
    }
}

#[test]
fn options_begin_with_an_ascii_digit() {
    let serializer = OptionSerializer::new(U32VarIntSerializer::new());
    let deserializer = OptionDeserializer::new(ANY_U32);
    assert_eq!(bytes_of(&serializer, None), [0x30]);
    assert_eq!(bytes_of(&serializer, Some(1000)), [0x31, 0xe8, 0x07]);
    assert_eq!(parse(&deserializer, &[0x30, 9]), Some((None, 1)));
    assert_eq!(parse(&deserializer, &[0x31, 0xe8, 0x07]), Some((Some(1000), 0)));
    for refused in [&[][..], &[0x00], &[0x01, 0x01], &[0x31], &[0x32]] {
        assert_eq!(parse(&deserializer, refused), None, "{refused:?}");
    }
}

#[test]
fn booleans_are_one_byte_of_zero_or_one() {
    assert_eq!(bytes_of(&BoolSerializer::new(), false), [0]);
    assert_eq!(bytes_of(&BoolSerializer::new(), true), [1]);
    assert_eq!(parse(&BoolDeserializer::new(), &[0]), Some((false, 0)));
    assert_eq!(parse(&BoolDeserializer::new(), &[2]), None);
    assert_eq!(parse(&BoolDeserializer::new(), &[]), None);
}

#[test]
fn an_error_tells_its_contexts_from_the_outermost() {
    let deserializer = OptionDeserializer::new(ANY_U32);
    let Err(nom::Err::Error(error)) = deserializer.deserialize::<DeserializeError>(&[0x31]) else {
        panic!("a truncated option was accepted");
    };
    let expected = "Failed Option deserialization / Failed u32 deserialization / Fail / ";
    assert_eq!(error.to_string(), expected);
    assert_eq!(format!("{error:?}"), format!("{expected}Input: []"));
}

#[test]
fn of_two_alternatives_the_second_error_is_kept() {
    let first = DeserializeError::from_error_kind(&[1], ErrorKind::Tag);
    let second = DeserializeError::from_error_kind(&[1], ErrorKind::Eof);
    let second = DeserializeError::add_context(&[1], "outer", second);
    assert_eq!(first.or(second.clone()), second);
}

#[test]
fn an_appended_error_stands_before_its_cause() {
    let cause = DeserializeError::from_error_kind(&[1], ErrorKind::Tag);
    let error = DeserializeError::append(&[1], ErrorKind::Many0, cause);
    assert_eq!(error.to_string(), "Many0 / Tag / ");
}
