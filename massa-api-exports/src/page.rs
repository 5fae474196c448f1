//! Pages and ranges of lists.

use massa_time::MassaTime;
use serde::{Deserialize, Serialize};

/// A page of a list.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PageRequest {
    /// Entries of a page.
    pub limit: usize,
    /// Pages before it.
    pub offset: usize,
}

/// From `start`, included, to `end`, excluded; a side that is absent has no limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TimeInterval {
    /// Milliseconds since 1970.
    #[serde(default)]
    pub start: Option<MassaTime>,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub end: Option<MassaTime>,
}
