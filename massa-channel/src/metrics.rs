//! The two metrics of a channel, and their stay in the registry.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::debug;

/// Shared by all receivers of a channel; the metrics leave the registry when the last one is dropped.
pub(crate) struct ChannelMetrics {
    waiting: IntGauge,
    received: IntCounter,
    /// What this channel put into the registry and has to take out again. A metric that was refused because another
    /// channel has the name must not be here: the registry knows metrics by name only, and would remove the other's.
    registered: Mutex<Vec<Box<dyn Collector>>>,
}

impl ChannelMetrics {
    /// Makes the metrics of channel `name` and puts them into the default registry, unless the name is taken.
    pub(crate) fn register(name: &str) -> Arc<Self> {
        let waiting =
            IntGauge::new(format!("{name}_channel_actual_size"), "Actual size of channel").expect("not a metric name");
        let received = IntCounter::new(format!("{name}_channel_total_receive"), "Total received messages")
            .expect("not a metric name");
        let registered = [registered(&waiting), registered(&received)];
        Arc::new(Self {
            waiting,
            received,
            registered: Mutex::new(registered.into_iter().flatten().collect()),
        })
    }

    /// Messages that were sent and not yet received.
    pub(crate) fn waiting(&self) -> &IntGauge {
        &self.waiting
    }

    /// Counts a message that was taken out of the channel.
    pub(crate) fn message_received(&self) {
        self.waiting.dec();
        self.received.inc();
    }

    /// Takes the metrics out of the registry; does nothing the second time.
    pub(crate) fn unregister(&self) {
        // Nothing is ever left half done under this lock, so a poisoned one is as good as any.
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        for collector in registered.drain(..) {
            if let Err(error) = prometheus::unregister(collector) {
                debug!(%error, "channel metric not unregistered");
            }
        }
    }
}

impl Drop for ChannelMetrics {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Adds a collector to the default registry; gives a handle of it to take it out again, if it was added.
fn registered<C: Collector + Clone + 'static>(collector: &C) -> Option<Box<dyn Collector>> {
    match prometheus::register(Box::new(collector.clone())) {
        Ok(()) => Some(Box::new(collector.clone())),
        Err(error) => {
            debug!(%error, "channel metric not registered");
            None
        }
    }
}
