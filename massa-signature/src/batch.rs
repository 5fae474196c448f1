//! Many signatures at once.

use crate::{MassaSignatureError, PublicKey, PublicKeyV0, Signature, SignatureV0};
use massa_hash::Hash;

/// Checks that every signature was made for its hash with its key. An empty batch is valid.
///
/// Two or more are checked together, in about half the time of one by one; a single one as
/// [`PublicKey::verify_signature`] does.
///
/// # Errors
/// [`MassaSignatureError::SignatureError`]: at least one does not verify; which one is not known.
pub fn verify_signature_batch(batch: &[(Hash, Signature, PublicKey)]) -> Result<(), MassaSignatureError> {
    if let [(hash, signature, public_key)] = batch {
        return public_key.verify_signature(hash, signature);
    }
    if batch.is_empty() {
        return Ok(());
    }
    let mut messages: Vec<&[u8]> = Vec::with_capacity(batch.len());
    let mut signatures = Vec::with_capacity(batch.len());
    let mut keys = Vec::with_capacity(batch.len());
    for (hash, signature, public_key) in batch {
        let Signature::SignatureV0(SignatureV0(signature)) = signature;
        let PublicKey::PublicKeyV0(PublicKeyV0(key)) = public_key;
        messages.push(hash.to_bytes());
        signatures.push(*signature);
        keys.push(*key);
    }
    ed25519_dalek::verify_batch(&messages, &signatures, &keys)
        .map_err(|error| MassaSignatureError::SignatureError(error.to_string()))
}
