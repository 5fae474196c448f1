//! Names of every column family: upstream's, the storage plan's, and those this archive adds.
//!
//! A name is written to disk when a database is created and asked for again at every later open, so a change here makes
//! existing directories unreadable: the tests freeze all of them. What the keys and values look like is drawn beside
//! the code that writes them, in the worker's storage backend.

/// Upstream's node database: state hash and change id.
pub const METADATA_CF: &str = "metadata";
/// Upstream's node database: ledger and the other parts of the final state.
pub const STATE_CF: &str = "state";
/// Upstream's node database: network versioning.
pub const VERSIONING_CF: &str = "versioning";

/// Storage plan, 6.2: the chunks this node holds, by chunk id.
pub const STORAGE_CHUNKS_PREFIX: &str = "storage_chunks";
/// Storage plan, 6.2: the registered storage nodes.
pub const STORAGE_NODE_REGISTRY_PREFIX: &str = "storage_nodes";
/// Storage plan, 6.2: past challenges and their results.
pub const STORAGE_CHALLENGE_HISTORY_PREFIX: &str = "challenge_history";
/// Storage plan, 6.2: Merkle roots of archived periods and segments.
pub const STORAGE_MERKLE_ROOTS_PREFIX: &str = "merkle_roots";

/// Final blocks whose period is not complete yet.
pub const STORAGE_PENDING_CF: &str = "storage_pending";
/// The bytes of the chunks this node holds, in pages.
pub const STORAGE_PAGES_CF: &str = "storage_pages";
/// The same of chunks that are kept only until their holders promised.
pub const STORAGE_PAGES_PASSING_CF: &str = "storage_pages_passing";
/// Where a block is archived, by block id.
pub const STORAGE_BLOCK_INDEX_CF: &str = "storage_block_index";
/// Where an operation is archived, by operation id; kept only when the operator asks for it.
pub const STORAGE_OPERATION_INDEX_CF: &str = "storage_operation_index";
/// Blocks that are known to be missing here and are to be fetched from peers.
pub const STORAGE_MISSING_CF: &str = "storage_missing";
/// The archive's format version and chain id.
pub const STORAGE_METADATA_CF: &str = "storage_metadata";
/// The table of each segment.
pub const STORAGE_TABLES_CF: &str = "storage_tables";
/// Which chunks of a segment this node holds.
pub const STORAGE_HELD_CF: &str = "storage_held";
/// How far the stream of each open segment has come.
pub const STORAGE_STREAM_CF: &str = "storage_stream";
/// Slots in which an address occurs, by address; kept only when the operator asks for it.
pub const STORAGE_ADDRESS_INDEX_CF: &str = "storage_address_index";
/// What is this node's own and neither hashed nor sent.
pub const STORAGE_OWN_CF: &str = "storage_own";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const FROZEN: [(&str, &str); 19] = [
        (METADATA_CF, "metadata"),
        (STATE_CF, "state"),
        (VERSIONING_CF, "versioning"),
        (STORAGE_CHUNKS_PREFIX, "storage_chunks"),
        (STORAGE_NODE_REGISTRY_PREFIX, "storage_nodes"),
        (STORAGE_CHALLENGE_HISTORY_PREFIX, "challenge_history"),
        (STORAGE_MERKLE_ROOTS_PREFIX, "merkle_roots"),
        (STORAGE_PENDING_CF, "storage_pending"),
        (STORAGE_PAGES_CF, "storage_pages"),
        (STORAGE_PAGES_PASSING_CF, "storage_pages_passing"),
        (STORAGE_BLOCK_INDEX_CF, "storage_block_index"),
        (STORAGE_OPERATION_INDEX_CF, "storage_operation_index"),
        (STORAGE_MISSING_CF, "storage_missing"),
        (STORAGE_METADATA_CF, "storage_metadata"),
        (STORAGE_TABLES_CF, "storage_tables"),
        (STORAGE_HELD_CF, "storage_held"),
        (STORAGE_STREAM_CF, "storage_stream"),
        (STORAGE_ADDRESS_INDEX_CF, "storage_address_index"),
        (STORAGE_OWN_CF, "storage_own"),
    ];

    #[test]
    fn names_on_disk_never_change() {
        for (name, frozen) in FROZEN {
            assert_eq!(name, frozen);
        }
    }

    #[test]
    fn no_two_families_share_a_name() {
        let distinct: BTreeSet<&str> = FROZEN.iter().map(|(name, _)| *name).collect();
        assert_eq!(distinct.len(), FROZEN.len());
    }

    #[test]
    fn no_family_takes_the_name_rocksdb_keeps_for_itself() {
        assert!(FROZEN.iter().all(|(name, _)| *name != "default"));
    }
}
