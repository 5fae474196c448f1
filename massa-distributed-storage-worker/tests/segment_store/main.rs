//! The store of segments.

mod changes;
mod closing;
mod costs;
#[path = "../common/cut.rs"]
mod cut;
mod damage;
mod kept;
mod kill;
mod pages;
mod reads;
mod repair;
mod segments;
