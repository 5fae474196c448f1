//! Public keys.

use crate::recent_keys;
use crate::versioned::{self, VERSION_SIZE_BYTES};
use crate::{MassaSignatureError, Signature, SignatureV0};
use ed25519_dalek::{Verifier, VerifyingKey};
use massa_hash::Hash;
use massa_serialization::Deserializer;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

const TEXT_PREFIX: &str = "P";

/// The key that checks signatures and from which an address is derived.
///
/// Bytes: version (varint) | compressed point (32). Text: `P` and the base58check of the bytes. Ordered by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PublicKey {
    /// Ed25519.
    PublicKeyV0(PublicKeyV0),
}

/// An Ed25519 public key: a point of the curve, perhaps one of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKeyV0(pub(crate) VerifyingKey);

impl PublicKeyV0 {
    /// Length of the compressed point.
    pub const PUBLIC_KEY_SIZE_BYTES: usize = ed25519_dalek::PUBLIC_KEY_LENGTH;
}

impl std::hash::Hash for PublicKeyV0 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl PartialOrd for PublicKeyV0 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKeyV0 {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

impl PublicKey {
    /// Checks that `signature` was made for `hash` with the secret half of this key.
    ///
    /// # Errors
    /// [`MassaSignatureError::SignatureError`]: it was not.
    pub fn verify_signature(&self, hash: &Hash, signature: &Signature) -> Result<(), MassaSignatureError> {
        let Self::PublicKeyV0(PublicKeyV0(key)) = self;
        let Signature::SignatureV0(SignatureV0(signature)) = signature;
        key.verify(hash.to_bytes(), signature)
            .map_err(|error| MassaSignatureError::SignatureError(error.to_string()))
    }

    /// The byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self::PublicKeyV0(PublicKeyV0(key)) = self;
        versioned::with_version(key.as_bytes())
    }

    /// Length of [`Self::to_bytes`].
    pub fn get_ser_len(&self) -> usize {
        VERSION_SIZE_BYTES + PublicKeyV0::PUBLIC_KEY_SIZE_BYTES
    }

    /// Reads the byte form. Bytes after it are ignored. Costs a decompression of the point, unless the
    /// thread has read the same key lately.
    ///
    /// # Errors
    /// - [`MassaSignatureError::ParsingError`]: too few bytes, or no point has this encoding.
    /// - [`MassaSignatureError::InvalidVersionError`]: the version is not 0.
    pub fn from_bytes(data: &[u8]) -> Result<Self, MassaSignatureError> {
        let point = versioned::payload::<{ PublicKeyV0::PUBLIC_KEY_SIZE_BYTES }>(data)?;
        let key =
            recent_keys::decompress(&point).map_err(|error| MassaSignatureError::ParsingError(error.to_string()))?;
        Ok(Self::PublicKeyV0(PublicKeyV0(key)))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&versioned::to_text(TEXT_PREFIX, &self.to_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = MassaSignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(&versioned::from_text(TEXT_PREFIX, text)?)
    }
}

/// A string in every format.
impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Reads a public key from its byte form. There is no serializer: callers append [`PublicKey::to_bytes`].
#[derive(Clone, Debug, Default)]
pub struct PublicKeyDeserializer;

impl PublicKeyDeserializer {
    /// A deserializer of any version.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<PublicKey> for PublicKeyDeserializer {
    /// A version written with more bytes than needed is read, but the rest then begins as if it had one byte.
    /// Upstream does so, and blocks that it accepts must be accepted here.
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], PublicKey, E> {
        context("Failed public key deserialization", |input: &'a [u8]| {
            let failure = || nom::Err::Error(E::from_error_kind(input, ErrorKind::Fail));
            let key = PublicKey::from_bytes(input).map_err(|_| failure())?;
            let rest = input.get(key.get_ser_len()..).ok_or_else(failure)?;
            Ok((rest, key))
        })(buffer)
    }
}
