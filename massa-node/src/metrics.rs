//! Metrics of the node, in the default registry.

use prometheus::IntGauge;

/// A gauge of the default registry.
pub(crate) fn gauge(name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("the constant is the name of a metric");
    // It fails only where the name is taken, and each is registered once.
    let _ = prometheus::register(Box::new(gauge.clone()));
    gauge
}
