//! Time as the whole node counts it: milliseconds since the Unix epoch, UTC, without leap seconds.
//!
//! The same type serves for instants ("slot 3 begins at") and for spans ("a period lasts 16 000 ms"), as it does
//! upstream. Arithmetic that consensus depends on is checked; it never wraps.
//!
//! Left out: the gRPC mapping.

mod calendar;
mod codec;
mod error;
mod massa_time;

pub use codec::{MassaTimeDeserializer, MassaTimeSerializer};
pub use error::TimeError;
pub use massa_time::MassaTime;
