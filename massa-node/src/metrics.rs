//! Metrics of the node, in the default registry, as those of the channels are. No server gives them out.
//!
//! `distributed_storage_running`, `distributed_storage_stopped_parts` are set in `launch`, `node_clock_ahead_ms`,
//! `node_id_elsewhere`, `node_state_differs` in `alarms`.

use prometheus::IntGauge;

/// A gauge of the default registry.
pub(crate) fn gauge(name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("the constant is the name of a metric");
    // It fails only where the name is taken, and each is registered once.
    let _ = prometheus::register(Box::new(gauge.clone()));
    gauge
}
