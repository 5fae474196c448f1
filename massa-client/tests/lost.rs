//! A store with a lost period: it is told wherever the period or its blocks are, and its ids are proven.

mod common;

use common::{assert_says, run, TestDir, UPSTREAM};
use massa_client::archive::check_proof::check_text;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::segment_proof::check::TrustedRoot;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_models::slot::Slot;
use serde_json::Value;
use std::sync::Arc;

const LOST: u64 = 3;

fn parameters() -> ArchiveParameters {
    let (first, record) = &UPSTREAM.blocks[0];
    ArchiveParameters {
        chunk_size: 1 << 20,
        segment_periods: 2,
        first_period: first.period,
        boundary: record.view(UPSTREAM.thread_count).unwrap().parents().collect(),
        ..ArchiveParameters::new(UPSTREAM.chain_id, UPSTREAM.thread_count)
    }
}

/// The store of the upstream file, with a period entered as lost.
fn with_lost_period() -> TestDir {
    let directory = TestDir::new();
    let options = SegmentStoreOptions::new(directory.store());
    let store = Arc::new(SegmentStore::open_or_create(options, &parameters()).unwrap());
    let options = IngestOptions {
        acknowledge: Acknowledge::AtFinish,
        keep: keep_all(),
        held_back_bytes_max: u64::MAX,
    };
    let (mut ingest, _) = Ingest::open(Arc::clone(&store), options).unwrap();
    let close = |ingest: &mut Ingest<SegmentStore>| {
        while ingest.is_closing() {
            ingest.close_slice().unwrap();
        }
    };
    for (_, record) in UPSTREAM.blocks.iter().filter(|(slot, _)| slot.period != LOST) {
        ingest.add(record.clone()).unwrap();
        close(&mut ingest);
    }
    let id = |thread: u8| {
        let record = UPSTREAM.block(Slot::new(LOST, thread))?;
        Some(record.view(UPSTREAM.thread_count).unwrap().block_id())
    };
    let ids: Vec<_> = (0..UPSTREAM.thread_count).map(id).collect();
    ingest.enter_lost(&[(LOST, PeriodEntry::lost(&ids).unwrap())]).unwrap();
    close(&mut ingest);
    ingest.finish().unwrap();
    store.close();
    directory
}

#[test]
fn a_lost_period_is_told_by_every_command_and_is_no_damage() {
    let directory = with_lost_period();
    let (slot, record) = UPSTREAM.blocks.iter().find(|(slot, _)| slot.period == LOST).unwrap();
    let id = record.view(32).unwrap().block_id().to_string();
    let at = format!("{}:{}", slot.period, slot.thread);

    assert_says(
        &directory.archive(&["verify"]).text(),
        &["nothing is damaged", "1 period is lost"],
    );
    assert_eq!(directory.archive(&["verify", "--json"]).json()["lost_periods"], 1);
    assert_says(&directory.archive(&["stat"]).text(), &["LOST", "1 period"]);
    assert_eq!(directory.archive(&["stat", "--json"]).json()["lost_periods"], 1);
    assert_says(&directory.archive(&["list-segments"]).text(), &["2, 1 lost"]);
    let list = directory.archive(&["list-periods", "--json"]).json();
    let lost: Vec<&Value> = list["periods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|period| &period["lost"])
        .collect();
    assert_eq!(lost, [false, false, true, false]);
    assert_says(&directory.archive(&["list-periods"]).text(), &["lost"]);
    assert_says(
        &directory.archive(&["get-period", "3"]).text(),
        &["lost: nobody had all of its blocks", &format!("{id} (lost)"), "missed"],
    );
    for read in [&[][..], &["--raw"], &["--json"]] {
        let read = directory.archive(&[&["get-block", "--slot", &at], read].concat());
        assert_eq!(read.0.status.code(), Some(1));
        assert_says(&String::from_utf8(read.0.stderr).unwrap(), &[&id, &at, "is lost"]);
    }
    // No index has what is nowhere.
    assert_says(
        &directory.archive(&["get-block", &id]).failure(),
        &["is not in this archive"],
    );
    let operation = record.view(32).unwrap().operation_ids().next().unwrap().to_string();
    assert_says(
        &directory.archive(&["get-operation", &operation]).failure(),
        &["is not in this archive"],
    );
}

#[test]
fn the_id_of_a_lost_block_is_proven_and_nothing_else_is_by_that() {
    let directory = with_lost_period();
    let (slot, _) = UPSTREAM.blocks.iter().find(|(slot, _)| slot.period == LOST).unwrap();
    let at = format!("{}:{}", slot.period, slot.thread);
    let root = directory.roots().remove(1);
    let commands = [
        (&["get-block", "--slot", &at][..], "lost"),
        (&["get-period", "3"], "period"),
    ];
    for (command, kind) in commands {
        let proof = directory.archive(&[command, &["--proof"]].concat()).expect_success();
        let file = directory.file("proof.json", &proof);
        let arguments = [
            "archive",
            "check-proof",
            file.to_str().unwrap(),
            "--root",
            &root,
            "--json",
        ];
        let proven = run(&arguments).json();
        assert_eq!((&proven["valid"], &proven["kind"]), (&true.into(), &kind.into()));
    }

    let proof = directory
        .archive(&["get-block", "--slot", &at, "--proof"])
        .expect_success();
    let document: Value = serde_json::from_slice(&proof).unwrap();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        assert_ne!(changed, document);
        let trusted = TrustedRoot::Segment(root.parse().unwrap());
        check_text(&serde_json::to_vec(&changed).unwrap(), &trusted).unwrap_err();
    };
    let other = UPSTREAM.blocks[0].1.view(32).unwrap().block_id().to_string();
    refused(&|it| it["subject"]["block_id"] = other.clone().into());
    refused(&|it| it["subject"]["thread"] = 31.into());
    refused(&|it| it["subject"]["kind"] = "miss".into());
    refused(&|it| it["period"]["state"] = "whole".into());
    refused(&|it| it["segment"]["period"]["length"] = 1.into());
}

/// A file that has the blocks after all finds them to be the ones that the archive has ids of; the segment stays as the network
/// agreed on it.
#[test]
fn importing_the_lost_blocks_changes_nothing() {
    let directory = with_lost_period();
    let before = directory.roots();

    let report = directory
        .import_with(&common::upstream_path(), &[&common::SEGMENTS[..], &["--json"]].concat())
        .json();

    assert_eq!(
        (&report["blocks_known"], &report["chunks_repaired"]),
        (&125.into(), &0.into())
    );
    assert_eq!(directory.roots(), before);
    directory.archive(&["verify"]).expect_success();
}

/// A chunk of a segment with a lost period is cut again from a file that has the other blocks.
#[test]
fn a_chunk_beside_a_lost_period_is_repaired() {
    use massa_distributed_storage_exports::ChunkPosition;
    use massa_distributed_storage_worker::storage_backend::OwnChanges;
    let directory = with_lost_period();
    let store = SegmentStore::open(SegmentStoreOptions::new(directory.store())).unwrap();
    let position = ChunkPosition::new(1, 0).unwrap();
    assert!(store.drop_chunk(position, OwnChanges::default()).unwrap());
    store.close();

    let report = directory
        .import_with(&common::upstream_path(), &[&common::SEGMENTS[..], &["--json"]].concat())
        .json();

    assert_eq!(report["chunks_repaired"], 1);
    directory.archive(&["verify"]).expect_success();
}
