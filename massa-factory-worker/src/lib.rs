//! Produces blocks in the slots that are drawn for the node's keys.
