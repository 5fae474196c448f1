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
        (&block["archived"], &block["closed"], &block["checked"]),
        (&true.into(), &true.into(), &"meaning".into())
    );
    assert_eq!(block["segment"], slot.period / 2);
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
        &["path to the segment's table, block id; no signatures"],
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
        serde_json::json!({
            "kind": "miss", "slot": {"period": 3, "thread": 8}, "segment": 1, "archived": true, "closed": true,
        })
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
    assert_eq!((&json["archived"], &json["checked"]), (&false.into(), &"ids".into()));
    assert_says(
        &directory.archive(&["get-block", &id]).text(),
        &["pending: its period is not complete"],
    );
    let error = directory.archive(&["get-block", &id, "--proof"]).failure();
    assert_eq!(error, "period 2 is not complete");
    let error = directory.archive(&["get-block", "--slot", "2:31"]).failure();
    assert_says(&error, &["slot 2:31 is missing", "open-periods"]);
    let pending = file.blocks.iter().filter(|(slot, _)| slot.period == 2);
    let operation = pending.flat_map(|(_, record)| record.operations()).next().unwrap();
    let id = operation_id(&operation[SIGNATURE_BYTES..], UPSTREAM.chain_id).to_string();
    assert_eq!(
        directory.archive(&["get-operation", &id, "--raw"]).expect_success(),
        operation
    );
    let period = directory.archive(&["get-period", "2", "--json"]).json();
    assert_eq!(
        (&period["archived"], &period["slots"][31]["state"]),
        (&false.into(), &"missing".into())
    );
    assert_says(
        &directory.archive(&["get-period", "2"]).text(),
        &["not archived yet", "missing", json["block_id"].as_str().unwrap()],
    );
    let listed = directory.archive(&["list-periods", "--from", "2", "--json"]).json();
    let open = directory.archive(&["open-periods", "--json"]).json();
    assert_eq!(
        (&listed["periods"], &open["open_periods"][0]["blocks"]),
        (&serde_json::json!([]), &9.into())
    );
}

/// A period that joined an open segment is archived: its chunks are filling, its root is there.
#[test]
fn periods_of_an_open_segment_are_archived_and_their_chunks_fill() {
    let period = STORE.archive(&["get-period", "4", "--json"]).json();
    assert_eq!(
        (&period["archived"], &period["state"], &period["segment"]),
        (&true.into(), &"open".into(), &2.into())
    );
    assert_eq!(period["chunks"], serde_json::json!([{"chunk": 0, "held": false}]));
    let text = STORE.archive(&["get-period", "4"]).text();
    assert_says(
        &text,
        &["2, open: the segment has no root yet", period["root"].as_str().unwrap()],
    );
    let block = STORE.archive(&["get-block", "--slot", "4:2"]).text();
    assert_says(
        &block,
        &[
            "archived in segment 2, which is open",
            "there is no path before the segment is closed",
        ],
    );
}

#[test]
fn a_period_lists_its_slots_and_chunks() {
    let period = STORE.archive(&["get-period", "3", "--json"]).json();

    assert_eq!(
        (&period["archived"], &period["state"]),
        (&true.into(), &"closed".into())
    );
    assert_eq!(period["root"], STORE.period_roots()[2]);
    for thread in 0..32u8 {
        let slot = &period["slots"][usize::from(thread)];
        let id = UPSTREAM
            .block(Slot::new(3, thread))
            .map(|record| record.view(32).unwrap().block_id().to_string());
        assert_eq!(slot["block_id"].as_str(), id.as_deref());
        assert_eq!(slot["state"], if id.is_some() { "block" } else { "miss" });
    }
    let chunk = &period["chunks"][0];
    assert_eq!((&chunk["chunk"], &chunk["held"]), (&0.into(), &true.into()));
    assert!(chunk["length"].as_u64().unwrap() >= period["bytes"].as_u64().unwrap());
    assert_says(
        &STORE.archive(&["get-period", "3"]).text(),
        &["missed", period["root"].as_str().unwrap(), "1, closed"],
    );
}

#[test]
fn lists_can_be_read_in_part() {
    let listed = STORE
        .archive(&["list-periods", "--from", "2", "--to", "3", "--json"])
        .json();
    let numbers = |list: &serde_json::Value, name: &str| -> Vec<u64> {
        let list = list.as_array().unwrap().iter();
        list.map(|entry| entry[name].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&listed["periods"], "period"), [2, 3]);
    let third = &listed["periods"][1];
    assert_eq!(
        (&third["blocks"], &third["misses"], &third["lost"]),
        (&30.into(), &2.into(), &false.into())
    );
    assert_eq!(
        (&third["segment"], &third["state"], &third["chunks_held"]),
        (&1.into(), &"closed".into(), &1.into())
    );
    let one = STORE.archive(&["list-periods", "--limit", "1", "--json"]).json();
    assert_eq!(numbers(&one["periods"], "period"), [1]);
    let last = STORE.archive(&["list-periods", "--from", "4", "--json"]).json();
    assert_eq!(
        (&last["periods"][0]["state"], &last["periods"][0]["blocks"]),
        (&"open".into(), &32.into())
    );

    let all = STORE.archive(&["list-segments", "--json"]).json();
    assert_eq!(numbers(&all["segments"], "segment"), [0, 1, 2]);
    assert_eq!(numbers(&all["segments"], "periods"), [1, 2, 1]);
    let part = STORE
        .archive(&["list-segments", "--from", "1", "--to", "1", "--json"])
        .json();
    let segment = &part["segments"][0];
    assert_eq!(
        (&segment["first_period"], &segment["last_period"], &segment["bytes"]),
        (&2.into(), &3.into(), &534_887.into())
    );
    assert_eq!(
        (&segment["state"], &segment["derived"], &segment["root"]),
        (&"closed".into(), &true.into(), &common::ROOTS[1].as_str().into())
    );
    let first = STORE.archive(&["list-segments", "--limit", "1", "--json"]).json();
    assert_eq!(numbers(&first["segments"], "segment"), [0]);
    for wrong in [["--limit", "0"], ["--from", "-1"], ["--to", "last"]] {
        STORE.archive(&[&["list-segments"][..], &wrong].concat()).error(2);
        STORE.archive(&[&["list-periods"][..], &wrong].concat()).error(2);
    }
}
