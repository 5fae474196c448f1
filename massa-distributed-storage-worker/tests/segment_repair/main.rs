//! Joining and repair of the segment archive: the planners, driven by a virtual clock and a simulated network.

mod checks;
mod chunks;
mod hand_over;
mod network;
mod periods;
mod replaced;
mod tables;
mod windows;
