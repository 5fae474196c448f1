//! The size of an answer, while it is collected.
//!
//! A list of a hundred small things is as easy to ask for as one of a hundred large ones. Each thing is counted before the
//! next is fetched: what would not fit an answer, or the node's memory, is not collected.

use crate::api::Asker;
use crate::memory::Held;
use massa_api_exports::ApiError;
use std::sync::Arc;

/// Bytes of an answer, at most, for each byte of what it tells: bytes are written as decimal numbers.
const TEXT_PER_BYTE: usize = 4;
/// What an object takes in an answer beside its bytes: names of fields, an id, a signature, a key.
const OBJECT_BYTES: usize = 1024;
/// Bytes of an id.
pub(crate) const ID_BYTES: usize = 33;

/// An answer that is collected.
#[derive(Debug)]
pub(crate) struct Answer {
    held: Option<Arc<Held>>,
    text: usize,
    max: usize,
    failed: Option<ApiError>,
}

impl Answer {
    /// An answer of at most `max` bytes, with nothing in it.
    pub fn new(asker: &Asker, max: usize) -> Self {
        Self {
            held: asker.held.clone(),
            text: 0,
            max,
            failed: None,
        }
    }

    /// Counts something of which an answer has `text` bytes, and memory `bytes` beside them.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`], [`ApiError::TooManyRequests`].
    pub fn add(&mut self, text: usize, bytes: usize) -> Result<(), ApiError> {
        self.text = self.text.saturating_add(text);
        if self.text > self.max {
            return Err(ApiError::TooLarge { max: self.max });
        }
        let Some(held) = &self.held else {
            return Ok(());
        };
        let taken = held.take(text.saturating_add(bytes));
        taken.map_err(|error| ApiError::TooManyRequests(error.to_string()))
    }

    /// Counts bytes that are written as an array of numbers.
    ///
    /// # Errors
    /// As [`Answer::add`].
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let digits = |byte: &u8| match byte {
            0..=9 => 2,
            10..=99 => 3,
            _ => 4,
        };
        self.add(bytes.iter().map(digits).sum::<usize>() + 2, bytes.len())
    }

    /// Counts an object that takes `bytes` elsewhere.
    ///
    /// # Errors
    /// As [`Answer::add`].
    pub fn add_object(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.add(bytes.saturating_mul(TEXT_PER_BYTE).saturating_add(OBJECT_BYTES), bytes)
    }

    /// Whether there is room for what is counted with `count`. Why not, [`Answer::check`] says.
    pub fn keeps(&mut self, count: impl FnOnce(&mut Self) -> Result<(), ApiError>) -> bool {
        if self.failed.is_none() {
            self.failed = count(self).err();
        }
        self.failed.is_none()
    }

    /// Fails if something was not kept.
    ///
    /// # Errors
    /// As [`Answer::add`].
    pub fn check(&mut self) -> Result<(), ApiError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The answer leaves something out.
    pub fn note_cut(&self) {
        if let Some(held) = &self.held {
            held.note_cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn answer(max: usize) -> Answer {
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Answer::new(&Asker { client, held: None }, max)
    }

    proptest! {
        #[test]
        fn bytes_count_as_they_are_written(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut answer = answer(usize::MAX);
            answer.add_bytes(&bytes).unwrap();
            let written = serde_json::to_string(&bytes).unwrap().len();
            prop_assert!((written..written + 2).contains(&answer.text));
        }
    }

    #[test]
    fn what_does_not_fit_is_not_kept_and_said_once() {
        let mut answer = answer(10);
        assert!(answer.keeps(|answer| answer.add(10, 0)));
        assert!(!answer.keeps(|answer| answer.add(1, 0)));
        assert!(!answer.keeps(|answer| answer.add(0, 0)), "nothing follows");
        assert!(matches!(answer.check(), Err(ApiError::TooLarge { max: 10 })));
    }
}
