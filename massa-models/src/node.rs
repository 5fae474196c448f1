//! Ids of nodes.

use crate::error::ModelsError;
use massa_signature::PublicKey;
use serde_with::{DeserializeFromStr, SerializeDisplay};
use std::fmt;
use std::str::FromStr;

const TEXT_PREFIX: &str = "N";

/// Longest text that is decoded: as for keys, bytes after the key are ignored, and decoding takes quadratic time.
const TEXT_BYTES_MAX: usize = 1024;

/// The public key with which a node proves who it is. Text: `N` and the base58check of the key's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct NodeId(PublicKey);

impl NodeId {
    /// The id of the node that has this key.
    pub const fn new(public_key: PublicKey) -> Self {
        Self(public_key)
    }

    /// The key of the node.
    pub const fn get_public_key(&self) -> PublicKey {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = bs58::encode(self.0.to_bytes()).with_check().into_string();
        write!(f, "{TEXT_PREFIX}{body}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = ModelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse_error = |reason: &dyn fmt::Display| ModelsError::NodeIdParseError(reason.to_string());
        if text.len() > TEXT_BYTES_MAX {
            return Err(parse_error(&"too many characters"));
        }
        let body = text
            .strip_prefix(TEXT_PREFIX)
            .ok_or_else(|| parse_error(&"does not begin with N"))?;
        let bytes = bs58::decode(body)
            .with_check(None)
            .into_vec()
            .map_err(|error| parse_error(&error))?;
        PublicKey::from_bytes(&bytes)
            .map(Self)
            .map_err(|error| parse_error(&error))
    }
}
