//! The sending end.

use crossbeam_channel::{SendError, SendTimeoutError, Sender, TrySendError};
use prometheus::IntGauge;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// Sends messages and counts them. Clones send into the same channel.
pub struct MassaSender<T> {
    sender: Sender<T>,
    waiting: IntGauge,
}

impl<T> MassaSender<T> {
    pub(crate) fn new(sender: Sender<T>, waiting: IntGauge) -> Self {
        Self { sender, waiting }
    }

    /// Sends, waiting while the channel is full.
    ///
    /// # Errors
    /// The message, when no receiver is left.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.sender.send(message).inspect(|()| self.waiting.inc())
    }

    /// Sends, waiting at most `timeout` while the channel is full.
    ///
    /// # Errors
    /// The message, when the channel stayed full or no receiver is left.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.sender
            .send_timeout(message, timeout)
            .inspect(|()| self.waiting.inc())
    }

    /// Sends, waiting until `deadline` at most while the channel is full.
    ///
    /// # Errors
    /// The message, when the channel stayed full or no receiver is left.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.sender
            .send_deadline(message, deadline)
            .inspect(|()| self.waiting.inc())
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// The message, when the channel is full or no receiver is left.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(message).inspect(|()| self.waiting.inc())
    }
}

// Not derived: a derive would ask for `T: Clone`, which a sender does not need.
impl<T> Clone for MassaSender<T> {
    fn clone(&self) -> Self {
        Self::new(self.sender.clone(), self.waiting.clone())
    }
}

impl<T> fmt::Debug for MassaSender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MassaSender")
            .field("waiting", &self.sender.len())
            .finish_non_exhaustive()
    }
}

impl<T> Deref for MassaSender<T> {
    type Target = Sender<T>;

    fn deref(&self) -> &Self::Target {
        &self.sender
    }
}
