//! Peers over sockets: blocks, operations, archive.
