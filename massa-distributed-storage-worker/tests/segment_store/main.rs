//! The store of segments.

mod changes;
mod closing;
mod costs;
mod damage;
mod kept;
mod kill;
mod pages;
mod reads;
mod repair;
mod segments;
