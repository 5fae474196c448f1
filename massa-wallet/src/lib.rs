//! Keys in files.
