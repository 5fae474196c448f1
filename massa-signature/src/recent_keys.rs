//! Decompressed keys, kept for a while.
//!
//! Producers, endorsers and senders come again and again, and finding the point of a compressed key costs a square root
//! in the field, a third of the cost of reading and checking a block. Each thread keeps its own table.

use ed25519_dalek::{SignatureError, VerifyingKey, PUBLIC_KEY_LENGTH};
use std::cell::RefCell;

/// Keys kept by each thread, 224 bytes each.
const SLOTS: usize = 1024;

thread_local! {
    /// Each key has one slot, named by its bytes; a newer key takes it from an older one.
    static RECENT: RefCell<Vec<Option<VerifyingKey>>> = const { RefCell::new(Vec::new()) };
}

/// The key that `point` encodes.
///
/// # Errors
/// When no point has this encoding.
pub(crate) fn decompress(point: &[u8; PUBLIC_KEY_LENGTH]) -> Result<VerifyingKey, SignatureError> {
    let slot = usize::from(u16::from_le_bytes([point[0], point[1]])) % SLOTS;
    RECENT.with_borrow_mut(|recent| {
        recent.resize(SLOTS, None);
        match recent[slot] {
            Some(key) if key.as_bytes() == point => Ok(key),
            _ => {
                let key = VerifyingKey::from_bytes(point)?;
                recent[slot] = Some(key);
                Ok(key)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    #[test]
    fn a_kept_key_is_the_key_and_a_displaced_one_is_found_again() {
        let key = |seed: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&seed.to_le_bytes());
            SigningKey::from_bytes(&bytes).verifying_key()
        };
        for round in 0..3 {
            for seed in 0..2 * SLOTS as u32 {
                let expected = key(seed % (SLOTS as u32 + 7 * round));
                let found = decompress(expected.as_bytes()).unwrap();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn bytes_without_a_point_are_refused_every_time() {
        let no_point = (0..=u8::MAX)
            .map(|byte| [byte; 32])
            .find(|bytes| VerifyingKey::from_bytes(bytes).is_err());
        let no_point = no_point.expect("half of all values of y have no point");
        assert!(decompress(&no_point).is_err());
        assert!(decompress(&no_point).is_err());
    }
}
