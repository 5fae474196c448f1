//! The block graph: compatibility, cliques, finality, pruning.
