//! Scenarios with networks of node processes. One program, so that several run at a time: most of their time they wait.

mod alarms;
mod cheaters;
mod common;
mod differing;
mod faults;
mod heal;
mod late;
mod load;
mod remote;
mod restart;
mod steps;
mod stop;
mod web3;
