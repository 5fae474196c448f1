//! The pool of operations.
