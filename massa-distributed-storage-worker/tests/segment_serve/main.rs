//! Serving and reading the segment archive: several nodes with a store each, connected in memory. Upstream's four periods, in
//! segments of two.

#[path = "../common/cut.rs"]
mod cut;
mod liars;
mod looking_up;
mod network;
mod proving;
mod reading;
mod serving;
#[path = "../common/tamper.rs"]
mod tamper;
mod world;
