//! Audits of peers: does a node have on its disk what is assigned to it? Off chain, and never a penalty: success rates,
//! history, an alarm (design, section 8.13).
//!
//! [`challenge`] is the calculation: which leaves are asked for, how they are shown and checked. [`plan`] decides who is asked
//! what and what comes of it, [`history`] remembers it, [`thread`] does what they say.

pub mod challenge;
pub mod history;
pub mod plan;
pub mod thread;
