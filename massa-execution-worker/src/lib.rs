//! The ledger and the execution of blocks.
