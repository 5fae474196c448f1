//! Unsigned LEB128 integers: seven bits a byte, the least significant group first.

use crate::{Deserializer, SerializeError, Serializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::{Bound, RangeBounds};

macro_rules! varint_codec {
    ($int:ident, $serializer:ident, $deserializer:ident, $encode:path, $buffer:path, $decode:path) => {
        #[doc = concat!("Writes a `", stringify!($int), "` as a varint.")]
        #[derive(Clone, Debug, Default)]
        pub struct $serializer;

        impl $serializer {
            /// A serializer without range: every value has an encoding.
            pub const fn new() -> Self {
                Self
            }
        }

        impl Serializer<$int> for $serializer {
            fn serialize(&self, value: &$int, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
                buffer.extend_from_slice($encode(*value, &mut $buffer()));
                Ok(())
            }
        }

        #[doc = concat!("Reads a varint as a `", stringify!($int), "` and checks its range.")]
        #[derive(Clone, Debug)]
        pub struct $deserializer {
            range: (Bound<$int>, Bound<$int>),
        }

        impl $deserializer {
            /// A deserializer that accepts values between `min` and `max`.
            pub const fn new(min: Bound<$int>, max: Bound<$int>) -> Self {
                Self { range: (min, max) }
            }
        }

        impl Deserializer<$int> for $deserializer {
            fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
                &self,
                buffer: &'a [u8],
            ) -> IResult<&'a [u8], $int, E> {
                context(
                    concat!("Failed ", stringify!($int), " deserialization"),
                    |input: &'a [u8]| match $decode(input) {
                        Ok((rest, value)) if self.range.contains(&value) => Ok((rest, value)),
                        _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Fail))),
                    },
                )(buffer)
            }
        }
    };
}

varint_codec!(
    u16,
    U16VarIntSerializer,
    U16VarIntDeserializer,
    unsigned_varint::encode::u16,
    unsigned_varint::encode::u16_buffer,
    unsigned_varint::nom::u16
);
varint_codec!(
    u32,
    U32VarIntSerializer,
    U32VarIntDeserializer,
    unsigned_varint::encode::u32,
    unsigned_varint::encode::u32_buffer,
    unsigned_varint::nom::u32
);
varint_codec!(
    u64,
    U64VarIntSerializer,
    U64VarIntDeserializer,
    unsigned_varint::encode::u64,
    unsigned_varint::encode::u64_buffer,
    unsigned_varint::nom::u64
);
varint_codec!(
    u128,
    U128VarIntSerializer,
    U128VarIntDeserializer,
    unsigned_varint::encode::u128,
    unsigned_varint::encode::u128_buffer,
    unsigned_varint::nom::u128
);
