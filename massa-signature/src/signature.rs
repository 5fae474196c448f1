//! Signatures.

use crate::versioned::{self, VERSION_SIZE_BYTES};
use crate::MassaSignatureError;
use massa_serialization::Deserializer;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A signature of a hash. Nothing about it is checked before it is verified.
///
/// Bytes: version (varint) | R (32) | s (32). Text: the base58check of the bytes, without letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Ed25519.
    SignatureV0(SignatureV0),
}

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureV0(pub(crate) ed25519_dalek::Signature);

impl SignatureV0 {
    /// Length of R and s.
    pub const SIGNATURE_SIZE_BYTES: usize = ed25519_dalek::SIGNATURE_LENGTH;
}

impl Signature {
    /// The text form.
    pub fn to_bs58_check(&self) -> String {
        versioned::to_text("", &self.to_bytes())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], and [`MassaSignatureError::ParsingError`] for a wrong alphabet or checksum.
    pub fn from_bs58_check(data: &str) -> Result<Self, MassaSignatureError> {
        Self::from_bytes(&versioned::from_text("", data)?)
    }

    /// Length of [`Self::to_bytes`].
    pub fn get_ser_len(&self) -> usize {
        VERSION_SIZE_BYTES + SignatureV0::SIGNATURE_SIZE_BYTES
    }

    /// The byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self::SignatureV0(SignatureV0(signature)) = self;
        versioned::with_version(&signature.to_bytes())
    }

    /// Reads the byte form. Bytes after it are ignored.
    ///
    /// # Errors
    /// - [`MassaSignatureError::ParsingError`]: too few bytes.
    /// - [`MassaSignatureError::InvalidVersionError`]: the version is not 0.
    pub fn from_bytes(data: &[u8]) -> Result<Self, MassaSignatureError> {
        let bytes = versioned::payload::<{ SignatureV0::SIGNATURE_SIZE_BYTES }>(data)?;
        Ok(Self::SignatureV0(SignatureV0(ed25519_dalek::Signature::from_bytes(
            &bytes,
        ))))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_bs58_check())
    }
}

impl FromStr for Signature {
    type Err = MassaSignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bs58_check(text)
    }
}

/// A string in human-readable formats, bytes in the others.
impl serde::Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> serde::Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<str>::deserialize(deserializer)?;
            Self::from_bs58_check(&text).map_err(serde::de::Error::custom)
        } else {
            deserializer.deserialize_bytes(BytesVisitor)
        }
    }
}

struct BytesVisitor;

impl serde::de::Visitor<'_> for BytesVisitor {
    type Value = Signature;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a signature")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Signature, E> {
        Signature::from_bytes(bytes).map_err(E::custom)
    }
}

/// Reads a signature from its byte form. There is no serializer: callers append [`Signature::to_bytes`].
#[derive(Clone, Debug, Default)]
pub struct SignatureDeserializer;

impl SignatureDeserializer {
    /// A deserializer of any version.
    pub const fn new() -> Self {
        Self
    }
}

impl Deserializer<Signature> for SignatureDeserializer {
    /// A version written with more bytes than needed is read, but the rest then begins as if it had one byte.
    /// Upstream does so, and blocks that it accepts must be accepted here.
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Signature, E> {
        context("Failed signature deserialization", |input: &'a [u8]| {
            let failure = || nom::Err::Error(E::from_error_kind(input, ErrorKind::Fail));
            let signature = Signature::from_bytes(input).map_err(|_| failure())?;
            let rest = input.get(signature.get_ser_len()..).ok_or_else(failure)?;
            Ok((rest, signature))
        })(buffer)
    }
}
