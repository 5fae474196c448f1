//! Secret keys.

use crate::versioned::{self, VERSION, VERSION_SIZE_BYTES};
use crate::{MassaSignatureError, PublicKey, PublicKeyV0, Signature, SignatureV0};
use ed25519_dalek::{Signer, SigningKey};
use massa_hash::Hash;
use rand::rngs::OsRng;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

const TEXT_PREFIX: &str = "S";

/// A secret key and the public key that follows from it.
///
/// Bytes: version (varint) | seed (32). Text: `S` and the base58check of the bytes. `Display` **and `Debug` show the
/// secret**, because upstream's wallet files and commands rely on it: never log one.
#[derive(Clone)]
pub enum KeyPair {
    /// Ed25519.
    KeyPairV0(KeyPairV0),
}

/// An Ed25519 secret key.
#[derive(Clone)]
pub struct KeyPairV0(SigningKey);

impl KeyPairV0 {
    /// Length of the seed.
    pub const SECRET_KEY_BYTES_SIZE: usize = ed25519_dalek::SECRET_KEY_LENGTH;
}

impl KeyPair {
    /// Draws a key from the operating system's randomness.
    ///
    /// # Errors
    /// [`MassaSignatureError::InvalidVersionError`]: the version is not 0.
    pub fn generate(version: u64) -> Result<Self, MassaSignatureError> {
        versioned::check_version(version)?;
        Ok(Self::KeyPairV0(KeyPairV0(SigningKey::generate(&mut OsRng))))
    }

    /// The version of the key.
    pub fn get_version(&self) -> u64 {
        VERSION
    }

    /// Signs the 32 bytes of `hash`. Deterministic.
    ///
    /// # Errors
    /// None with version 0; the result leaves room for others.
    pub fn sign(&self, hash: &Hash) -> Result<Signature, MassaSignatureError> {
        let Self::KeyPairV0(KeyPairV0(key)) = self;
        Ok(Signature::SignatureV0(SignatureV0(key.sign(hash.to_bytes()))))
    }

    /// Length of [`Self::to_bytes`].
    pub fn get_ser_len(&self) -> usize {
        VERSION_SIZE_BYTES + KeyPairV0::SECRET_KEY_BYTES_SIZE
    }

    /// The byte form. It holds the secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self::KeyPairV0(KeyPairV0(key)) = self;
        versioned::with_version(key.as_bytes())
    }

    /// The public half.
    pub fn get_public_key(&self) -> PublicKey {
        let Self::KeyPairV0(KeyPairV0(key)) = self;
        PublicKey::PublicKeyV0(PublicKeyV0(key.verifying_key()))
    }

    /// Reads the byte form. Bytes after it are ignored.
    ///
    /// # Errors
    /// - [`MassaSignatureError::ParsingError`]: too few bytes.
    /// - [`MassaSignatureError::InvalidVersionError`]: the version is not 0.
    pub fn from_bytes(data: &[u8]) -> Result<Self, MassaSignatureError> {
        let seed = versioned::payload::<{ KeyPairV0::SECRET_KEY_BYTES_SIZE }>(data)?;
        Ok(Self::KeyPairV0(KeyPairV0(SigningKey::from_bytes(&seed))))
    }
}

impl fmt::Display for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&versioned::to_text(TEXT_PREFIX, &self.to_bytes()))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyPair {
    type Err = MassaSignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(&versioned::from_text(TEXT_PREFIX, text)?)
    }
}

/// The form of key files: both halves as text.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeyPairFields<'a> {
    #[serde(borrow)]
    secret_key: Cow<'a, str>,
    #[serde(borrow)]
    public_key: Cow<'a, str>,
}

impl serde::Serialize for KeyPair {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = KeyPairFields {
            secret_key: self.to_string().into(),
            public_key: self.get_public_key().to_string().into(),
        };
        serde::Serialize::serialize(&fields, serializer)
    }
}

/// Both halves must be there; the public one follows from the secret one and is not compared with it.
impl<'de> serde::Deserialize<'de> for KeyPair {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = <KeyPairFields as serde::Deserialize>::deserialize(deserializer)?;
        fields.secret_key.parse().map_err(serde::de::Error::custom)
    }
}
