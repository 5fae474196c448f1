//! `--proof` and `archive check-proof`: what follows from a segment root, and nothing else.

mod common;

use common::{assert_says, massa_cli, run, Finished, TestDir, ROOTS, STORE, UPSTREAM};
use massa_client::archive::check_proof::{check_text, CheckProofError};
use massa_distributed_storage_exports::record::operation_id;
use massa_distributed_storage_exports::segment_proof::check::{Proven, TrustedRoot};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_models::slot::Slot;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

/// A block of the upstream file with few operations, so that every digit of its proof can be changed.
fn small_block() -> (Slot, usize) {
    let few = |(_, (slot, record)): &(usize, &(Slot, _))| {
        let record: &massa_distributed_storage_exports::record::BlockRecord = record;
        // Of segment 1, as the other proofs are.
        (2..4).contains(&slot.period) && (1..=3).contains(&record.operation_count()) && record.as_bytes().len() < 5000
    };
    let (index, (slot, _)) = UPSTREAM.blocks.iter().enumerate().find(few).unwrap();
    (*slot, index)
}

fn slot_text(slot: Slot) -> String {
    format!("{}:{}", slot.period, slot.thread)
}

/// A proof of each kind.
fn proofs() -> Vec<(&'static str, Vec<u8>)> {
    let (slot, index) = small_block();
    let at = slot_text(slot);
    let operation = UPSTREAM.blocks[index].1.operations().next().unwrap();
    let id = operation_id(&operation[SIGNATURE_BYTES..], UPSTREAM.chain_id).to_string();
    let prove = |command: &[&str]| STORE.archive(&[command, &["--proof"]].concat()).expect_success();
    vec![
        ("block", prove(&["get-block", "--slot", &at])),
        ("block", prove(&["get-block", "--slot", &at, "--with-operations"])),
        ("miss", prove(&["get-block", "--slot", "3:8"])),
        ("operation", prove(&["get-operation", &id])),
        ("period", prove(&["get-period", "3"])),
    ]
}

fn root() -> &'static str {
    &ROOTS[1]
}

fn check(text: &[u8], trusted: &str) -> Result<Proven, CheckProofError> {
    check_text(text, &TrustedRoot::Segment(trusted.parse().unwrap()))
}

#[test]
fn proofs_are_proven() {
    let directory = TestDir::new();
    for (kind, proof) in proofs() {
        let file = directory.file("proof.json", &proof);
        let arguments = ["archive", "check-proof", file.to_str().unwrap(), "--root", root()];

        let text = run(&arguments).text();
        let json = run(&[&arguments[..], &["--json"]].concat()).json();

        assert_says(&text, &["proven", root(), "1, periods 2 to 3"]);
        assert_eq!((&json["valid"], &json["kind"]), (&true.into(), &kind.into()));
        assert_eq!(
            (&json["chain_id"], &json["segment"]["root"]),
            (&77658377.into(), &root().into())
        );
        run(&[&arguments[..], &["--chain-id", "77658377"]].concat()).expect_success();
        let error = run(&[&arguments[..], &["--chain-id", "77"]].concat()).failure();
        assert_eq!(error, "chain_id: the proof is of chain 77658377, --chain-id says 77");
    }
}

#[test]
fn what_is_proven_is_said() {
    let (slot, index) = small_block();
    let at = slot_text(slot);
    let operations = format!("with its {} operation", UPSTREAM.blocks[index].1.operation_count());
    let block = format!("block of slot {at}");
    let operation = format!("operation 0 of the block of slot {at}");
    let expected = [
        vec![block.as_str(), "without its operations"],
        vec![block.as_str(), &operations],
        vec!["slot 3:8 was missed"],
        vec![operation.as_str()],
        vec!["slots of period 3"],
    ];
    for ((_, proof), expected) in proofs().into_iter().zip(expected) {
        let mut child = massa_cli()
            .args(["archive", "check-proof", "-", "--root", root()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&proof).unwrap();
        assert_says(&Finished(child.wait_with_output().unwrap()).text(), &expected);
    }
}

/// A proof is made for every slot of the closed segments, and holds.
#[test]
fn every_slot_is_provable() {
    for period in 1..=3 {
        for thread in (0..32).step_by(5).chain([8]) {
            let slot = Slot::new(period, thread);
            let proof = STORE
                .archive(&["get-block", "--slot", &slot_text(slot), "--proof", "--with-operations"])
                .expect_success();

            let proven = check(&proof, &ROOTS[period as usize / 2]).unwrap();

            let record = UPSTREAM.block(slot);
            assert_eq!(proven.kind, if record.is_some() { "block" } else { "miss" });
            assert_eq!((proven.period, proven.thread), (Some(period), Some(thread)));
            assert_eq!(
                proven.block_id,
                record.map(|record| record.view(32).unwrap().block_id())
            );
            assert_eq!(proven.operations, record.map(|record| record.operation_count()));
        }
    }
}

#[test]
fn proofs_of_later_segments_name_the_root_before() {
    let proof = STORE
        .archive(&["get-block", "--slot", "2:0", "--proof"])
        .expect_success();

    let document: Value = serde_json::from_slice(&proof).unwrap();
    assert_eq!(document["segment"]["previous_root"], ROOTS[0]);
    assert_eq!(
        (&document["segment"]["first_period"], &document["segment"]["periods"]),
        (&2.into(), &2.into())
    );
    let segment = check(&proof, &ROOTS[1]).unwrap().segment.unwrap();
    assert_eq!((segment.segment, segment.first_period, segment.periods), (1, 2, 2));
}

/// While the segment is open a proof ends at the period root, and that is said.
#[test]
fn proofs_of_an_open_segment_end_at_the_period_root() {
    let period_root = STORE.period_roots().remove(3);
    for (command, kind) in [
        (&["get-block", "--slot", "4:2"][..], "block"),
        (&["get-period", "4"], "period"),
    ] {
        let proof = STORE.archive(&[command, &["--proof"]].concat());
        let (document, note) = proof.expect_note();
        assert_says(&note, &["segment 2 is not closed", &period_root, "--period-root"]);
        let parsed: Value = serde_json::from_slice(&document).unwrap();
        assert!(parsed.get("segment").is_none());
        let directory = TestDir::new();
        let file = directory.file("proof.json", &document);
        let check = |option: &str, root: &str| run(&["archive", "check-proof", file.to_str().unwrap(), option, root]);

        let text = check("--period-root", &period_root).text();
        assert_says(&text, &["proven", &period_root, "open when the proof was made"]);
        let error = check("--root", root()).failure();
        assert_says(&error, &["ends at the root of period 4", "--period-root"]);
        assert_says(&check("--period-root", root()).failure(), &[root(), &period_root]);
        assert_eq!(
            check_text(&document, &TrustedRoot::Period(period_root.parse().unwrap()))
                .unwrap()
                .kind,
            kind
        );
    }
    // The period root is enough where the segment is closed, too.
    let proof = STORE
        .archive(&["get-block", "--slot", "3:1", "--proof"])
        .expect_success();
    let trusted = TrustedRoot::Period(STORE.period_roots()[2].parse().unwrap());
    assert_eq!(check_text(&proof, &trusted).unwrap().period, Some(3));
}

#[test]
fn another_root_is_refused() {
    let directory = TestDir::new();
    let other = &ROOTS[0];
    for (_, proof) in proofs() {
        let file = directory.file("proof.json", &proof);

        let error = run(&["archive", "check-proof", file.to_str().unwrap(), "--root", other]).failure();

        assert_eq!(error, format!("the proof is for root {}, not for {other}", root()));
        // A forger writes the root that is asked for.
        let forged = String::from_utf8(proof).unwrap().replace(root(), other);
        assert!(check(forged.as_bytes(), other).is_err());
    }
}

/// Any one digit or letter of any string, changed to another of the same alphabet or to a capital, is refused.
#[test]
fn no_changed_character_passes() {
    for (kind, proof) in proofs() {
        let mut inside = false;
        for position in 0..proof.len() {
            let byte = proof[position];
            if byte == b'"' {
                inside = !inside;
                continue;
            }
            if !inside || !byte.is_ascii_alphanumeric() {
                continue;
            }
            let mut changed = proof.clone();
            changed[position] = if byte == b'2' { b'3' } else { b'2' };
            assert!(
                check(&changed, root()).is_err(),
                "{kind}: character {position} was changed unnoticed"
            );
            if byte.is_ascii_lowercase() && position % 3 == 0 {
                changed[position] = byte.to_ascii_uppercase();
                assert!(
                    check(&changed, root()).is_err(),
                    "{kind}: capital {position} was not noticed"
                );
            }
        }
    }
}

#[test]
fn no_changed_number_passes() {
    for (kind, proof) in proofs() {
        let document: Value = serde_json::from_slice(&proof).unwrap();
        let mut count = 0;
        for path in leaves(&document)
            .into_iter()
            .filter(|path| document.pointer(path).unwrap().is_u64())
        {
            count += 1;
            let number = document.pointer(&path).unwrap().as_u64().unwrap();
            let mut values = vec![number + 1, number ^ 64, number.wrapping_add(1 << 32), u64::MAX];
            values.extend(number.checked_sub(1));
            for value in values {
                let mut changed = document.clone();
                *changed.pointer_mut(&path).unwrap() = value.into();
                assert!(refused(&changed), "{kind}: {path} = {value} passes");
            }
        }
        assert!(count >= 10, "{kind} has {count} numbers");
    }
}

/// Nothing is optional but the operations, and nothing may be added. (Without its segment a proof proves less, and says so.)
#[test]
fn no_field_can_be_removed_added_or_repeated() {
    for (kind, proof) in proofs() {
        let document: Value = serde_json::from_slice(&proof).unwrap();
        for path in objects(&document) {
            let fields = document.pointer(&path).unwrap().as_object().unwrap();
            for name in fields.keys().filter(|name| *name != "operations") {
                let mut changed = document.clone();
                changed
                    .pointer_mut(&path)
                    .unwrap()
                    .as_object_mut()
                    .unwrap()
                    .remove(name);
                assert!(refused(&changed), "{kind}: {path} passes without {name}");
                let text = String::from_utf8(proof.clone()).unwrap();
                let field = format!("\"{name}\": ");
                let repeated = text.replacen(&field, &format!("{field}0, {field}"), 1);
                assert!(
                    check(repeated.as_bytes(), root()).is_err(),
                    "{kind}: {name} twice passes"
                );
            }
            let mut changed = document.clone();
            changed.pointer_mut(&path).unwrap()["note"] = "true".into();
            assert!(refused(&changed), "{kind}: {path} passes with another field");
        }
    }
}

/// Siblings cannot be left out, added or exchanged; neither can places, chunks and operations.
#[test]
fn no_list_can_be_changed() {
    for (kind, proof) in proofs() {
        let document: Value = serde_json::from_slice(&proof).unwrap();
        for path in lists(&document) {
            let list = document.pointer(&path).unwrap().as_array().unwrap();
            let variants = [
                &list[1..],
                &list[..list.len() - 1],
                &[&list[..1], list].concat(),
                &list.iter().rev().cloned().collect::<Vec<_>>()[..],
            ]
            .map(<[Value]>::to_vec);
            for variant in variants.into_iter().filter(|variant| variant != list) {
                let mut changed = document.clone();
                *changed.pointer_mut(&path).unwrap() = variant.into();
                assert!(refused(&changed), "{kind}: another {path} passes");
            }
        }
    }
}

/// A valid part of another proof does not fit.
#[test]
fn parts_of_two_proofs_do_not_mix() {
    let prove = |slot: &str| -> Value {
        serde_json::from_slice(
            &STORE
                .archive(&["get-block", "--slot", slot, "--proof"])
                .expect_success(),
        )
        .unwrap()
    };
    let (one, other) = (prove("2:0"), prove("3:1"));
    for part in [
        "/subject",
        "/period",
        "/subject/block",
        "/subject/block_id",
        "/subject/thread",
        "/subject/path",
        "/subject/leaf",
        "/period/root",
        "/period/header_path",
        "/segment/period",
    ] {
        let mut mixed = one.clone();
        *mixed.pointer_mut(part).unwrap() = other.pointer(part).unwrap().clone();
        assert!(refused(&mixed), "{part} of another proof passes");
    }
    let mut as_miss = one.clone();
    as_miss["subject"] = serde_json::json!({
        "kind": "miss", "thread": 0, "leaf": "050000", "path": one["subject"]["path"],
    });
    assert!(refused(&as_miss), "a block cannot be shown to be a miss");
}

#[test]
fn an_invalid_signature_proves_nothing() {
    // Roots do not cover signatures, so they are checked by themselves.
    let (_, proof) = &proofs()[0];
    let document: Value = serde_json::from_slice(proof).unwrap();
    let block = document["subject"]["block"].as_str().unwrap();
    let mut changed = document.clone();
    changed["subject"]["block"] = format!("{}{}", "00".repeat(SIGNATURE_BYTES), &block[2 * SIGNATURE_BYTES..]).into();

    let error = check(&serde_json::to_vec(&changed).unwrap(), root()).unwrap_err();

    assert_says(&massa_client::output::one_line(&error), &["invalid signature"]);
}

#[test]
fn what_is_no_proof_is_named() {
    let directory = TestDir::new();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("empty", Vec::new(), "not a proof: "),
        ("text", b"hello".to_vec(), "not a proof: "),
        ("object", b"{}".to_vec(), "missing field"),
        ("deep", vec![b'['; 100_000], "not a proof: "),
        ("large", vec![b' '; 9 << 20], "the proof has more than"),
    ];
    for (name, content, reason) in cases {
        let file = directory.file(name, &content);
        let error = run(&["archive", "check-proof", file.to_str().unwrap(), "--root", root()]).failure();
        assert_says(&error, &[reason]);
    }
    let error = run(&["archive", "check-proof", "absent", "--root", root()]).failure();
    assert_says(&error, &["could not read absent", "No such file"]);
    let other = String::from_utf8(proofs().remove(0).1)
        .unwrap()
        .replace("proof-3", "proof-2");
    let error = check(other.as_bytes(), root()).unwrap_err().to_string();
    assert_says(&error, &["\"massa-archive-proof-2\" is unknown"]);
}

fn refused(document: &Value) -> bool {
    check(&serde_json::to_vec(document).unwrap(), root()).is_err()
}

/// Paths of everything that is neither object nor list.
fn leaves(value: &Value) -> Vec<String> {
    paths(value, &|value| !value.is_object() && !value.is_array())
}

fn objects(value: &Value) -> Vec<String> {
    paths(value, &Value::is_object)
}

/// Paths of lists with elements.
fn lists(value: &Value) -> Vec<String> {
    paths(value, &|value| value.as_array().is_some_and(|list| !list.is_empty()))
}

fn paths(value: &Value, wanted: &dyn Fn(&Value) -> bool) -> Vec<String> {
    let mut found: Vec<String> = wanted(value).then(String::new).into_iter().collect();
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        found.extend(paths(child, wanted).into_iter().map(|path| format!("/{name}{path}")));
    }
    found
}
