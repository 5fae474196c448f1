//! What the ids and addresses have in common: a version and a hash.
//!
//! Bytes: version (varint, 0) | hash (32). Text: a prefix and the base58check of the bytes.

use massa_hash::{Hash, HashDeserializer, HashSerializer, HASH_SIZE_BYTES};
use massa_serialization::{
    DeserializeError, Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use nom::error::{ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::Bound;

/// The only version.
pub(crate) const VERSION: u64 = 0;

/// Length of the byte form with version 0.
pub(crate) const VERSIONED_HASH_SIZE_BYTES: usize = 1 + HASH_SIZE_BYTES;

/// No longer text can be valid. Decoding base58 takes quadratic time, so longer input is refused unread.
const TEXT_BYTES_MAX: usize = 80;

/// Appends the byte form.
pub(crate) fn serialize_versioned_hash(hash: &Hash, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
    U64VarIntSerializer::new().serialize(&VERSION, buffer)?;
    HashSerializer::new().serialize(hash, buffer)
}

/// The byte form.
pub(crate) fn versioned_hash_bytes(hash: &Hash) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VERSIONED_HASH_SIZE_BYTES);
    serialize_versioned_hash(hash, &mut bytes).expect("varints and hashes always have an encoding");
    bytes
}

/// Reads the byte form. Every version but 0 is refused.
pub(crate) fn deserialize_versioned_hash<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
    buffer: &'a [u8],
) -> IResult<&'a [u8], Hash, E> {
    let (rest, version) = U64VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded).deserialize(buffer)?;
    if version != VERSION {
        return Err(nom::Err::Error(E::from_error_kind(buffer, ErrorKind::Eof)));
    }
    HashDeserializer::new().deserialize(rest)
}

/// The text form.
pub(crate) fn versioned_hash_to_text(prefix: &str, hash: &Hash) -> String {
    format!(
        "{prefix}{}",
        bs58::encode(versioned_hash_bytes(hash)).with_check().into_string()
    )
}

/// Reads the text form. Bytes after the hash are refused. The error names what is wrong and quotes short text only.
pub(crate) fn versioned_hash_from_text(prefix: &str, text: &str) -> Result<Hash, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("{} characters are too many", text.len()));
    }
    let body = text
        .strip_prefix(prefix)
        .ok_or_else(|| format!("{text:?} does not begin with {prefix}"))?;
    let bytes = bs58::decode(body)
        .with_check(None)
        .into_vec()
        .map_err(|error| format!("{text:?}: {error}"))?;
    match deserialize_versioned_hash::<DeserializeError>(&bytes) {
        Ok(([], hash)) => Ok(hash),
        _ => Err(format!("{text:?} is not version {VERSION} and a hash")),
    }
}

/// Defines an id: the enum of its versions, version 0, and the traits that all ids have.
macro_rules! hash_id {
    ($(#[$doc:meta])* $id:ident, $id_v0:ident($vis:vis Hash), $prefix:literal, $parse_error:ident) => {
        $(#[$doc])*
        ///
        #[doc = concat!("Bytes: version (varint) | hash (32). Text: `", $prefix, "` and the base58check of the bytes.")]
        #[derive(
            Clone,
            Copy,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            serde_with::SerializeDisplay,
            serde_with::DeserializeFromStr,
        )]
        pub enum $id {
            /// A BLAKE3-256 hash.
            $id_v0($id_v0),
        }

        #[doc = concat!("Version 0 of [`", stringify!($id), "`].")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id_v0($vis massa_hash::Hash);

        impl $id {
            /// The version of the id.
            pub fn get_version(&self) -> u64 {
                $crate::id::VERSION
            }
        }

        impl $crate::secure_share::Id for $id {
            fn new(hash: massa_hash::Hash) -> Self {
                Self::$id_v0($id_v0(hash))
            }

            fn get_hash(&self) -> &massa_hash::Hash {
                let Self::$id_v0($id_v0(hash)) = self;
                hash
            }
        }

        impl $crate::prehash::PreHashed for $id {}

        impl std::fmt::Display for $id {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let hash = $crate::secure_share::Id::get_hash(self);
                f.write_str(&$crate::id::versioned_hash_to_text($prefix, hash))
            }
        }

        impl std::fmt::Debug for $id {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $id {
            type Err = $crate::error::ModelsError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::id::versioned_hash_from_text($prefix, text)
                    .map(<Self as $crate::secure_share::Id>::new)
                    .map_err($crate::error::ModelsError::$parse_error)
            }
        }
    };
}
pub(crate) use hash_id;
