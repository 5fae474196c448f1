//! `archive get-block`, `get-operation`, `get-period`: what was archived comes back with the same bytes.

mod common;

use common::{assert_says, first_blocks, TestDir, STORE, UPSTREAM};
use massa_distributed_storage_exports::record::operation_id;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_models::slot::Slot;

const MISSED: &str = "3:8";

#[test]
fn every_block_comes_back_with_identical_bytes() {
    for (slot, record) in &UPSTREAM.blocks {
        let at = format!("{}:{}", slot.period, slot.thread);
        let id = record.view(UPSTREAM.thread_count).unwrap().block_id().to_string();

        let by_slot = STORE.archive(&["get-block", "--slot", &at, "--raw"]).expect_success();
        let by_id = STORE
            .archive(&["get-block", &id, "--raw", "--with-operations"])
            .expect_success();

        assert_eq!(by_slot, record.block());
        assert_eq!(by_id, record.objects().collect::<Vec<_>>().concat());
    }
}

#[test]
fn every_operation_comes_back_with_identical_bytes() {
    let operations = UPSTREAM.blocks.iter().flat_map(|(_, record)| record.operations());
    let mut count = 0;
    for bytes in operations {
        let id = operation_id(&bytes[SIGNATURE_BYTES..], UPSTREAM.chain_id).to_string();

        assert_eq!(STORE.archive(&["get-operation", &id, "--raw"]).expect_success(), bytes);
        count += 1;
    }
    assert_eq!(count, 370);
}

#[test]
fn json_has_upstreams_shapes_and_the_bytes() {
    let (slot, record) = &UPSTREAM.blocks[34];
    let id = record.view(32).unwrap().block_id().to_string();

    let block = STORE.archive(&["get-block", &id, "--json", "--with-operations"]).json();

    assert_eq!(
        (block["kind"].as_str(), block["block_id"].as_str()),
        (Some("block"), Some(id.as_str()))
    );
    assert_eq!(
        block["slot"],
        serde_json::json!({"period": slot.period, "thread": slot.thread})
    );
    assert_eq!(
        (&block["archived"], &block["checked"]),
        (&true.into(), &"meaning".into())
    );
    assert_eq!(block["block_hex"], hex::encode(record.block()));
    assert_eq!(block["block"]["id"], id);
    assert_eq!(block["block"]["content"]["header"]["content"]["slot"], block["slot"]);
    assert_eq!(
        block["block"]["content"]["header"]["content"]["parents"]
            .as_array()
            .unwrap()
            .len(),
        32
    );
    let operations = block["operations"].as_array().unwrap();
    assert_eq!(operations.len(), record.operation_count());
    for ((operation, text), bytes) in operations
        .iter()
        .zip(block["operations_hex"].as_array().unwrap())
        .zip(record.operations())
    {
        assert_eq!(*text, hex::encode(bytes));
        let id = operation["id"].as_str().unwrap();
        let alone = STORE.archive(&["get-operation", id, "--json"]).json();
        assert_eq!(&alone["operation"], operation);
        assert_eq!((&alone["slot"], &alone["operation_hex"]), (&block["slot"], text));
        assert!(operation["content"]["op"].is_object() && operation["signature"].is_string());
    }
    let without = STORE.archive(&["get-block", &id, "--json"]).json();
    assert!(without.get("operations").is_none() && without.get("operations_hex").is_none());
}

#[test]
fn text_summarises_a_block_and_its_operations() {
    let (slot, record) = &UPSTREAM.blocks[34];
    let at = format!("{}:{}", slot.period, slot.thread);

    let summary = STORE.archive(&["get-block", "--slot", &at]).text();
    let table = STORE.archive(&["get-block", "--slot", &at, "--with-operations"]).text();

    let size = format!("{} bytes", record.block().len());
    assert_says(
        &summary,
        &[&at, &size, "archived", "signatures of header and operations"],
    );
    for id in record.view(32).unwrap().operation_ids() {
        assert_says(&table, &[&id.to_string()]);
        assert_says(
            &STORE.archive(&["get-operation", &id.to_string()]).text(),
            &[&id.to_string(), &at],
        );
    }
}

#[test]
fn merkle_only_gives_the_same_bytes() {
    let (slot, record) = &UPSTREAM.blocks[50];
    let at = format!("{}:{}", slot.period, slot.thread);

    let raw = STORE
        .archive(&["get-block", "--slot", &at, "--raw", "--merkle-only"])
        .expect_success();
    let json = STORE
        .archive(&["get-block", "--slot", &at, "--merkle-only", "--json"])
        .json();

    assert_eq!(raw, record.block());
    assert_eq!(json["checked"], "merkle");
    assert_says(
        &STORE.archive(&["get-block", "--slot", &at, "--merkle-only"]).text(),
        &["neither ids nor signatures"],
    );
}

/// That a slot was missed is an answer; bytes of it there are none.
#[test]
fn a_missed_slot_is_told() {
    let text = STORE.archive(&["get-block", "--slot", MISSED]).text();
    let json = STORE.archive(&["get-block", "--slot", MISSED, "--json"]).json();

    assert_eq!(text, "slot 3:8 was missed\n");
    assert_eq!(
        json,
        serde_json::json!({"kind": "miss", "slot": {"period": 3, "thread": 8}, "archived": true})
    );
    let error = STORE.archive(&["get-block", "--slot", MISSED, "--raw"]).failure();
    assert_eq!(error, "slot 3:8 was missed: there is no block");
}

#[test]
fn blocks_of_open_periods_are_readable_but_not_provable() {
    let directory = TestDir::new();
    let file = first_blocks(40);
    directory
        .import(&directory.file("forty.mblk", &file.to_bytes()))
        .expect_success();
    let (slot, record) = &file.blocks[39];
    let at = format!("{}:{}", slot.period, slot.thread);
    let view = record.view(32).unwrap();
    let id = view.block_id().to_string();

    let raw = directory
        .archive(&["get-block", &id, "--raw", "--with-operations"])
        .expect_success();
    let json = directory.archive(&["get-block", "--slot", &at, "--json"]).json();

    assert_eq!(raw, record.objects().collect::<Vec<_>>().concat());
    assert_eq!(json["archived"], false);
    assert_says(
        &directory.archive(&["get-block", &id]).text(),
        &["pending: its period is not complete"],
    );
    let error = directory.archive(&["get-block", &id, "--proof"]).failure();
    assert_says(&error, &["period 2 is not archived", "places are awaited"]);
    let pending = file.blocks.iter().filter(|(slot, _)| slot.period == 2);
    let operation = pending.flat_map(|(_, record)| record.operations()).next().unwrap();
    let id = operation_id(&operation[SIGNATURE_BYTES..], UPSTREAM.chain_id).to_string();
    assert_eq!(
        directory.archive(&["get-operation", &id, "--raw"]).expect_success(),
        operation
    );
    let period = directory.archive(&["get-period", "2", "--json"]).json();
    assert_eq!(
        (&period["archived"], &period["places"][31]["state"]),
        (&false.into(), &"awaited".into())
    );
    assert_says(
        &directory.archive(&["get-period", "2"]).text(),
        &["not complete", "awaited", json["block_id"].as_str().unwrap()],
    );
    let listed = directory
        .archive(&["list-periods", "--from", "2", "--to", "2", "--json"])
        .json();
    assert_eq!(
        (&listed["periods"], &listed["open_periods"][0]["blocks"]),
        (&serde_json::json!([]), &9.into())
    );
}

#[test]
fn a_period_lists_its_places_and_chunks() {
    let period = STORE.archive(&["get-period", "3", "--json"]).json();

    assert_eq!(period["archived"], true);
    assert_eq!(period["root"], STORE.period_roots()[2]);
    for thread in 0..32u8 {
        let place = &period["places"][usize::from(thread)];
        let id = UPSTREAM
            .block(Slot::new(3, thread))
            .map(|record| record.view(32).unwrap().block_id().to_string());
        assert_eq!(place["block_id"].as_str(), id.as_deref());
        assert_eq!(place["state"], if id.is_some() { "block" } else { "miss" });
    }
    let lengths = period["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| chunk["length"].as_u64().unwrap());
    assert_eq!(lengths.sum::<u64>(), period["body_bytes"].as_u64().unwrap());
    assert_says(
        &STORE.archive(&["get-period", "3"]).text(),
        &["missed", period["root"].as_str().unwrap()],
    );
}

#[test]
fn periods_can_be_listed_in_part() {
    let listed = STORE
        .archive(&["list-periods", "--from", "2", "--to", "3", "--json"])
        .json();

    let periods: Vec<_> = listed["periods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|period| period["period"].clone())
        .collect();
    assert_eq!(periods, [2, 3]);
    assert_eq!(
        (&listed["periods"][1]["blocks"], &listed["periods"][1]["misses"]),
        (&30.into(), &2.into())
    );
}
