//! massa-cli: the command line of the archive.
