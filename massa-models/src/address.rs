//! Addresses of users and of smart contracts.

use crate::error::ModelsError;
use crate::id::{
    deserialize_versioned_hash, serialize_versioned_hash, versioned_hash_from_text, versioned_hash_to_text, VERSION,
    VERSIONED_HASH_SIZE_BYTES,
};
use crate::prehash::PreHashed;
use massa_hash::Hash;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use massa_signature::PublicKey;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

const USER_TEXT_PREFIX: &str = "AU";
const SC_TEXT_PREFIX: &str = "AS";
const USER_TYPE: u64 = 0;
const SC_TYPE: u64 = 1;

/// The owner of coins. Ordered with all users before all smart contracts, then by hash.
///
/// Bytes: type (varint: user 0, smart contract 1) | version (varint) | hash (32).
/// Text: `AU` or `AS` and the base58check of version and hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Whoever has the secret key that the address is derived from.
    User(UserAddress),
    /// A smart contract.
    SC(SCAddress),
}

/// The address of a user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserAddress {
    /// The hash of a public key.
    UserAddressV0(UserAddressV0),
}

/// Version 0 of [`UserAddress`]: the hash of the public key's 33 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserAddressV0(pub Hash);

/// The address of a smart contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SCAddress {
    /// A hash of the circumstances of its creation.
    SCAddressV0(SCAddressV0),
}

/// Version 0 of [`SCAddress`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SCAddressV0(pub Hash);

impl UserAddress {
    /// The version of the address.
    pub fn get_version(&self) -> u64 {
        VERSION
    }

    fn hash(&self) -> &Hash {
        let Self::UserAddressV0(UserAddressV0(hash)) = self;
        hash
    }
}

impl SCAddress {
    /// The version of the address.
    pub fn get_version(&self) -> u64 {
        VERSION
    }

    fn hash(&self) -> &Hash {
        let Self::SCAddressV0(SCAddressV0(hash)) = self;
        hash
    }
}

impl Address {
    /// The address of whoever signs with the secret half of `public_key`.
    pub fn from_public_key(public_key: &PublicKey) -> Self {
        let hash = Hash::compute_from(&public_key.to_bytes());
        Self::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
    }

    /// The thread in which the address creates operations: the first bits of a user's hash, 0 for smart contracts.
    ///
    /// `thread_count` is a power of two.
    pub fn get_thread(&self, thread_count: u8) -> u8 {
        match self {
            Self::User(user) => {
                let bits = thread_count.trailing_zeros();
                user.hash().to_bytes()[0].checked_shr(u8::BITS - bits).unwrap_or(0)
            }
            Self::SC(_) => 0,
        }
    }

    /// The byte form.
    pub fn to_prefixed_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + VERSIONED_HASH_SIZE_BYTES);
        AddressSerializer::new()
            .serialize(&self, &mut bytes)
            .expect("varints and hashes always have an encoding");
        bytes
    }

    /// The type, as written, and the hash.
    fn type_and_hash(&self) -> (u64, &Hash) {
        match self {
            Self::User(user) => (USER_TYPE, user.hash()),
            Self::SC(sc) => (SC_TYPE, sc.hash()),
        }
    }
}

impl PreHashed for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, hash) = match self {
            Self::User(user) => (USER_TEXT_PREFIX, user.hash()),
            Self::SC(sc) => (SC_TEXT_PREFIX, sc.hash()),
        };
        f.write_str(&versioned_hash_to_text(prefix, hash))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = ModelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(SC_TEXT_PREFIX) {
            versioned_hash_from_text(SC_TEXT_PREFIX, text).map(sc_address)
        } else {
            versioned_hash_from_text(USER_TEXT_PREFIX, text).map(user_address)
        }
        .map_err(ModelsError::AddressParseError)
    }
}

fn user_address(hash: Hash) -> Address {
    Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
}

fn sc_address(hash: Hash) -> Address {
    Address::SC(SCAddress::SCAddressV0(SCAddressV0(hash)))
}

/// A string in human-readable formats, [`Address::to_prefixed_bytes`] in the others.
impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_prefixed_bytes())
        }
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Cow::<str>::deserialize(deserializer)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            deserializer.deserialize_bytes(BytesVisitor)
        }
    }
}

struct BytesVisitor;

impl serde::de::Visitor<'_> for BytesVisitor {
    type Value = Address;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of an address")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Address, E> {
        match AddressDeserializer::new().deserialize::<nom::error::Error<_>>(bytes) {
            Ok(([], address)) => Ok(address),
            _ => Err(E::invalid_value(serde::de::Unexpected::Bytes(bytes), &self)),
        }
    }
}

/// Writes an address.
#[derive(Clone, Debug, Default)]
pub struct AddressSerializer;

impl AddressSerializer {
    /// A serializer of 34 bytes.
    pub const fn new() -> Self {
        Self
    }
}

impl Serializer<Address> for AddressSerializer {
    fn serialize(&self, value: &Address, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let (address_type, hash) = value.type_and_hash();
        U64VarIntSerializer::new().serialize(&address_type, buffer)?;
        serialize_versioned_hash(hash, buffer)
    }
}

/// Reads an address. Also reads a [`UserAddress`] or an [`SCAddress`] alone, from its version on.
#[derive(Clone, Debug)]
pub struct AddressDeserializer {
    type_deserializer: U64VarIntDeserializer,
}

impl AddressDeserializer {
    /// A deserializer of both types and version 0.
    pub const fn new() -> Self {
        Self {
            type_deserializer: U64VarIntDeserializer::new(Bound::Included(USER_TYPE), Bound::Included(SC_TYPE)),
        }
    }
}

impl Default for AddressDeserializer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deserializer<Address> for AddressDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Address, E> {
        context("Failed Address deserialization", |input: &'a [u8]| {
            let (rest, address_type) = self.type_deserializer.deserialize(input)?;
            let (rest, hash) = deserialize_versioned_hash(rest)?;
            match address_type {
                USER_TYPE => Ok((rest, user_address(hash))),
                SC_TYPE => Ok((rest, sc_address(hash))),
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Eof))),
            }
        })(buffer)
    }
}

impl Deserializer<UserAddress> for AddressDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], UserAddress, E> {
        let (rest, hash) = deserialize_versioned_hash(buffer)?;
        Ok((rest, UserAddress::UserAddressV0(UserAddressV0(hash))))
    }
}

impl Deserializer<SCAddress> for AddressDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], SCAddress, E> {
        let (rest, hash) = deserialize_versioned_hash(buffer)?;
        Ok((rest, SCAddress::SCAddressV0(SCAddressV0(hash))))
    }
}
