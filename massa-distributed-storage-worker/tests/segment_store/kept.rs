//! What a store was made with, and rows of this node's own.

use crate::segments::*;
use massa_db_exports::{STORAGE_CHALLENGE_HISTORY_PREFIX, STORAGE_OWN_CF};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::{
    IndexScope, IndexScopes, OwnChanges, OwnRow, Row, SegmentStore, SegmentStoreOptions, StoreError,
};
use serde::{Deserialize, Serialize};
use tempfile::tempdir;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Earning {
    round: u64,
    nano: Option<u64>,
    note: String,
}

impl Row for Earning {
    const VERSION: u8 = 3;
}

impl OwnRow for Earning {
    const KIND: &'static str = "earning";
}

/// The same kind as a later version of the program reads it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LaterEarning {
    round: u64,
}

impl Row for LaterEarning {
    const VERSION: u8 = 4;
}

impl OwnRow for LaterEarning {
    const KIND: &'static str = "earning";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Audit(u32);

impl Row for Audit {
    const VERSION: u8 = 1;
}

impl OwnRow for Audit {
    const KIND: &'static str = "audit";
    const FAMILY: &'static str = STORAGE_CHALLENGE_HISTORY_PREFIX;
}

fn earning(round: u64) -> Earning {
    Earning {
        round,
        nano: Some(214_576),
        note: "três".into(),
    }
}

#[test]
fn own_rows_come_back_in_the_order_of_their_keys() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    for round in [7u64, 2, 5] {
        store.put_own(&round.to_be_bytes(), &earning(round)).unwrap();
    }
    let mut changes = OwnChanges::default();
    changes.put(b"b", &Audit(1)).unwrap();
    changes.delete::<Earning>(&5u64.to_be_bytes());
    store.change_own(changes, Durability::Synced).unwrap();
    drop(store);

    let store = open(directory.path());
    assert_eq!(store.own(&7u64.to_be_bytes()).unwrap(), Some(earning(7)));
    assert_eq!(store.own::<Earning>(&5u64.to_be_bytes()).unwrap(), None);
    assert_eq!(store.own(b"b").unwrap(), Some(Audit(1)));
    let rounds = |from: u64, limit| -> Vec<u64> {
        let rows = store.own_rows::<Earning>(&from.to_be_bytes(), limit).unwrap();
        rows.into_iter().map(|(_, row)| row.round).collect()
    };
    assert_eq!(rounds(0, 10), [2, 7]);
    assert_eq!(rounds(3, 10), [7]);
    assert_eq!(rounds(0, 1), [2]);
}

#[test]
fn an_own_row_has_one_frozen_form() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    store.put_own(&[9], &earning(300)).unwrap();
    let (key, value) = rows_of(&store, STORAGE_OWN_CF).remove(0);
    assert_eq!(key, b"earning\0\x09");
    // Version, round as varint, 1 for some, nano as varint, length and bytes of the text; then the checksum.
    let (value, checksum) = value.split_at(value.len() - 8);
    assert_eq!(hex::encode(value), "03ac0201b08c0d0574 72c3aa73".replace(' ', ""));
    assert_eq!(checksum.len(), 8);
}

#[test]
fn a_damaged_own_row_or_one_of_another_version_is_refused() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    store.put_own(&[1], &earning(1)).unwrap();
    let refused = store.own::<LaterEarning>(&[1]).unwrap_err().to_string();
    assert!(refused.contains("version 3"), "{refused}");
    tamper(&store, STORAGE_OWN_CF, b"earning\0\x01", flip);
    assert!(matches!(store.own::<Earning>(&[1]), Err(StoreError::Damaged(_))));
    assert!(matches!(store.own_rows::<Earning>(&[], 5), Err(StoreError::Damaged(_))));
}

#[test]
fn own_rows_go_with_the_chunk_they_follow_from() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let segment = SegmentMaker::new(small_blocks(51)).next();
    store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
    let own = |round| {
        let mut own = OwnChanges::default();
        own.put(&[], &earning(round)).unwrap();
        own
    };
    assert!(store.put_chunk(&segment.chunks[0], own(1)).unwrap());
    assert_eq!(store.own(&[]).unwrap(), Some(earning(1)));
    assert!(!store.put_chunk(&segment.chunks[0], own(2)).unwrap());
    assert_eq!(store.own(&[]).unwrap(), Some(earning(1)), "nothing changed");
    assert!(store.drop_chunk(segment.position(0), own(3)).unwrap());
    assert_eq!(store.own(&[]).unwrap(), Some(earning(3)));
}

#[test]
fn a_store_made_with_other_parameters_is_refused_by_name() {
    let directory = tempdir().unwrap();
    drop(open(directory.path()));
    type Change = fn(&mut ArchiveParameters);
    let changes: [(&str, Change); 4] = [
        ("chain_id", |parameters| parameters.chain_id += 1),
        ("thread_count", |parameters| parameters.thread_count = 2),
        ("chunk_size", |parameters| parameters.chunk_size *= 2),
        ("challenge_frequency_periods", |parameters| {
            parameters.segment_periods += 1
        }),
    ];
    for (expected, change) in changes {
        let mut other = parameters();
        change(&mut other);
        let refused = SegmentStore::open_or_create(SegmentStoreOptions::new(directory.path()), &other).unwrap_err();
        assert!(
            matches!(refused, StoreError::ParameterMismatch { name, .. } if name == expected),
            "{refused}"
        );
    }
    let options = SegmentStoreOptions {
        indexes: IndexScopes {
            operations: IndexScope::All,
            ..IndexScopes::default()
        },
        ..SegmentStoreOptions::new(directory.path())
    };
    let refused = SegmentStore::open(options).unwrap_err().to_string();
    assert!(refused.contains("operation_index: the store in"), "{refused}");
    assert!(
        refused.contains("was made with held, this node is configured with all"),
        "{refused}"
    );
    drop(open(directory.path()));
}

#[test]
fn there_is_no_store_until_one_is_made() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("none");
    let refused = SegmentStore::open(SegmentStoreOptions::new(&path)).unwrap_err();
    assert!(
        matches!(refused, StoreError::Database(DatabaseError::NotAStore { .. })),
        "{refused}"
    );
    let store = open(&path);
    let reader = SegmentStore::open_read_only(&path).unwrap();
    assert_eq!(reader.parameters(), &parameters());
    assert_eq!(reader.counters().unwrap(), store.counters().unwrap());
}
