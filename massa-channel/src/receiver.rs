//! The receiving end.

use crate::metrics::ChannelMetrics;
use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, TryRecvError};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Receives messages and counts them. Clones receive from the same channel; each message reaches one of them.
pub struct MassaReceiver<T> {
    receiver: Receiver<T>,
    metrics: Arc<ChannelMetrics>,
}

impl<T> MassaReceiver<T> {
    pub(crate) fn new(receiver: Receiver<T>, metrics: Arc<ChannelMetrics>) -> Self {
        Self { receiver, metrics }
    }

    /// Receives, waiting while the channel is empty.
    ///
    /// # Errors
    /// The channel is empty and no sender is left.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.counted(self.receiver.recv(), |RecvError| true)
    }

    /// Receives without waiting.
    ///
    /// # Errors
    /// The channel is empty; the error tells whether a sender is left.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.counted(self.receiver.try_recv(), |error| *error == TryRecvError::Disconnected)
    }

    /// Receives, waiting at most `timeout` while the channel is empty.
    ///
    /// # Errors
    /// The channel stayed empty, or is empty and no sender is left.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.counted(self.receiver.recv_timeout(timeout), |error| {
            *error == RecvTimeoutError::Disconnected
        })
    }

    /// Receives, waiting until `deadline` at most while the channel is empty.
    ///
    /// # Errors
    /// The channel stayed empty, or is empty and no sender is left.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.counted(self.receiver.recv_deadline(deadline), |error| {
            *error == RecvTimeoutError::Disconnected
        })
    }

    /// Counts one message received. To be called after each message taken by `select!`, which bypasses the counting.
    pub fn update_metrics(&self) {
        self.metrics.message_received();
    }

    /// A channel without senders stays silent for good, so its metrics go, even if a receiver lives on.
    fn counted<E>(&self, result: Result<T, E>, is_disconnected: impl FnOnce(&E) -> bool) -> Result<T, E> {
        match &result {
            Ok(_) => self.update_metrics(),
            Err(error) if is_disconnected(error) => self.metrics.unregister(),
            Err(_) => {}
        }
        result
    }
}

// Not derived: a derive would ask for `T: Clone`, which a receiver does not need.
impl<T> Clone for MassaReceiver<T> {
    fn clone(&self) -> Self {
        Self::new(self.receiver.clone(), Arc::clone(&self.metrics))
    }
}

impl<T> fmt::Debug for MassaReceiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MassaReceiver")
            .field("waiting", &self.receiver.len())
            .finish_non_exhaustive()
    }
}

impl<T> Deref for MassaReceiver<T> {
    type Target = Receiver<T>;

    fn deref(&self) -> &Self::Target {
        &self.receiver
    }
}

impl<T> DerefMut for MassaReceiver<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.receiver
    }
}
