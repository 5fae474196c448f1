//! The version prefix, and the text form built on it.

use crate::MassaSignatureError;
use massa_serialization::{DeserializeError, Deserializer, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use std::ops::Bound;

/// The only version.
pub(crate) const VERSION: u64 = 0;

/// Bytes of the version prefix. The prefix is a varint; version 0 takes one byte.
pub(crate) const VERSION_SIZE_BYTES: usize = 1;

/// Longest text that is decoded.
///
/// Upstream ignores bytes after a key or signature, so it reads text of any length. Decoding base58 takes quadratic
/// time: this limit leaves the well-formed forms (at most about 100 characters) and a wide margin.
const TEXT_BYTES_MAX: usize = 1024;

/// `payload` behind its version.
pub(crate) fn with_version(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VERSION_SIZE_BYTES + payload.len());
    U64VarIntSerializer::new()
        .serialize(&VERSION, &mut bytes)
        .expect("every u64 has a varint encoding");
    bytes.extend_from_slice(payload);
    bytes
}

/// The `SIZE` bytes that follow the version. Bytes after them are ignored, as upstream does.
pub(crate) fn payload<const SIZE: usize>(bytes: &[u8]) -> Result<[u8; SIZE], MassaSignatureError> {
    let (rest, version) = U64VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded)
        .deserialize::<DeserializeError>(bytes)
        .map_err(|_| MassaSignatureError::ParsingError("the version is missing".to_string()))?;
    check_version(version)?;
    rest.first_chunk::<SIZE>()
        .copied()
        .ok_or_else(|| MassaSignatureError::ParsingError(format!("expected {SIZE} bytes, found {}", rest.len())))
}

/// Refuses every version but 0.
pub(crate) fn check_version(version: u64) -> Result<(), MassaSignatureError> {
    if version == VERSION {
        Ok(())
    } else {
        Err(MassaSignatureError::InvalidVersionError(format!(
            "unknown version {version}"
        )))
    }
}

/// Base58 of `bytes` and their checksum, after `prefix`.
pub(crate) fn to_text(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", bs58::encode(bytes).with_check().into_string())
}

/// Undoes [`to_text`].
pub(crate) fn from_text(prefix: &str, text: &str) -> Result<Vec<u8>, MassaSignatureError> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} characters are too many", text.len());
        return Err(MassaSignatureError::ParsingError(message));
    }
    let Some(body) = text.strip_prefix(prefix) else {
        // Only the letter: the rest may be a secret.
        let found = text.chars().take(1).collect();
        return Err(MassaSignatureError::WrongPrefix(prefix.to_string(), found));
    };
    bs58::decode(body)
        .with_check(None)
        .into_vec()
        .map_err(|error| MassaSignatureError::ParsingError(error.to_string()))
}
