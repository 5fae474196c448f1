//! A store with a lost period: it is told wherever the period or its blocks are, and its ids are proven.

mod common;

use common::{assert_says, run, TestDir, UPSTREAM};
use massa_client::archive::check_proof::check;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_worker::storage_backend::writer::Durability;
use massa_distributed_storage_worker::storage_backend::{PendingRows, StoreOptions};
use massa_distributed_storage_worker::Store;
use serde_json::Value;

const LOST: u64 = 3;

/// The store of the upstream file, with a period entered as lost.
fn with_lost_period() -> TestDir {
    let directory = TestDir::new();
    directory.import(&common::upstream_path()).expect_success();
    let store = Store::open_existing(StoreOptions::new(directory.store())).unwrap();
    let manifest = store.archived_manifest(LOST).unwrap();
    let ids: Vec<_> = manifest.places.iter().map(|place| place.block_id()).collect();
    let lost = Manifest::lost(store.parameters(), LOST, &ids);
    store
        .enter_lost(&lost, &PendingRows::default(), Durability::Synced)
        .unwrap();
    store.close();
    directory
}

#[test]
fn a_lost_period_is_told_by_every_command_and_is_no_damage() {
    let directory = with_lost_period();
    let (slot, record) = UPSTREAM.blocks.iter().find(|(slot, _)| slot.period == LOST).unwrap();
    let id = record.view(32).unwrap().block_id().to_string();

    assert_says(
        &directory.archive(&["verify"]).text(),
        &["nothing is damaged", "1 period is lost"],
    );
    assert_eq!(directory.archive(&["verify", "--json"]).json()["lost_periods"], 1);
    assert_says(&directory.archive(&["stat"]).text(), &["LOST", "period 3"]);
    assert_eq!(
        directory.archive(&["stat", "--json"]).json()["lost_periods"],
        serde_json::json!([3])
    );
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
        &["lost: nobody had all blocks", &format!("{id} (lost)"), "missed"],
    );
    let error = directory.archive(&["get-block", &id]).failure();
    assert_says(&error, &[&id, &slot.to_string(), "is lost"]);
    let operation = record.view(32).unwrap().operation_ids().next().unwrap().to_string();
    assert_says(
        &directory.archive(&["get-operation", &operation]).failure(),
        &["is not in this archive"],
    );
}

#[test]
fn the_id_of_a_lost_block_is_proven_and_nothing_else_is_by_that() {
    let directory = with_lost_period();
    let (_, record) = UPSTREAM.blocks.iter().find(|(slot, _)| slot.period == LOST).unwrap();
    let id = record.view(32).unwrap().block_id().to_string();
    let root = directory.root();
    for (command, kind) in [(["get-block", &id], "lost"), (["get-period", "3"], "period")] {
        let proof = directory
            .archive(&[&command[..], &["--proof"]].concat())
            .expect_success();
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

    let proof = directory.archive(&["get-block", &id, "--proof"]).expect_success();
    let document: Value = serde_json::from_slice(&proof).unwrap();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        assert_ne!(changed, document);
        check(&serde_json::to_vec(&changed).unwrap(), &root.parse().unwrap()).unwrap_err();
    };
    let other = UPSTREAM.blocks[0].1.view(32).unwrap().block_id().to_string();
    refused(&|it| it["subject"]["block_id"] = other.clone().into());
    refused(&|it| it["subject"]["thread"] = 31.into());
    refused(&|it| it["subject"]["kind"] = "miss".into());
    refused(&|it| it["period"]["chunks"] = 1.into());
    refused(&|it| it["period"]["body_length"] = 1.into());
}
