//! Ed25519 keys and signatures with upstream's text and byte forms.
//!
//! Every value carries a version, written as a varint before its bytes. Only version 0 exists: Ed25519 over the 32
//! bytes of a hash, without version or domain tag. Each type is an enum of its versions, as upstream's are, so code
//! that matches on `PublicKey::PublicKeyV0` moves into the upstream tree unchanged.
//!
//! Verification is cofactorless and accepts small-order points (`verify`, not `verify_strict`). A batch of two or more
//! is checked with other equations than a single signature and may disagree with it on inputs crafted for that.
//! Whatever must agree with upstream therefore makes the same split.

mod batch;
mod error;
mod keypair;
mod public_key;
mod recent_keys;
mod signature;
mod versioned;

pub use batch::verify_signature_batch;
pub use error::MassaSignatureError;
pub use keypair::{KeyPair, KeyPairV0};
pub use public_key::{PublicKey, PublicKeyDeserializer, PublicKeyV0};
pub use signature::{Signature, SignatureDeserializer, SignatureV0};
