//! `archive import`: what comes in is what is archived, however often it is interrupted.

mod common;

use common::{
    assert_says, first_blocks, offset_of, upstream_path, upstream_with, vector_roots, with_operation_flipped, TestDir,
    ROOTS, SEGMENTS, UPSTREAM,
};
use massa_distributed_storage_exports::record::{BlockRecord, MAX_RECORD_BYTES};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_tests::mblk::MblkFile;
use std::io::Write;

/// A block of the upstream file with operations.
const WITH_OPERATIONS: usize = 34;

fn json_import(directory: &TestDir, file: &std::path::Path, options: &[&str]) -> serde_json::Value {
    directory
        .import_with(file, &[&SEGMENTS, options, &["--json"]].concat())
        .json()
}

#[test]
fn import_stat_and_verify_succeed() {
    let directory = TestDir::new();

    let import = json_import(&directory, &upstream_path(), &[]);

    assert_eq!(
        (&import["blocks_read"], &import["blocks_new"]),
        (&125.into(), &125.into())
    );
    assert_eq!(import["operations"], 370);
    assert_eq!(
        (&import["periods_archived"], &import["periods_in_store"]),
        (&4.into(), &4.into())
    );
    assert_eq!(import["open_periods"], serde_json::json!([]));
    assert_eq!(import["created"], true);
    assert_eq!(import["segments_closed"][1]["root"], ROOTS[1]);
    let stat = directory.archive(&["stat", "--json"]).json();
    assert_eq!(
        (&stat["segments"], &stat["last_root"]),
        (&2.into(), &ROOTS[1].as_str().into())
    );
    assert_eq!((&stat["periods"], &stat["blocks"]), (&3.into(), &93.into()));
    assert_eq!((&stat["chunks"], &stat["chunks_held"]), (&2.into(), &2.into()));
    assert_eq!(
        (&stat["pending_blocks"], &stat["missing_slots"]),
        (&32.into(), &0.into())
    );
    directory.assert_whole();
    let verify = directory.archive(&["verify", "--json"]).json();
    assert_eq!(
        (&verify["clean"], &verify["blocks"], &verify["open_blocks"]),
        (&true.into(), &93.into(), &32.into())
    );
    assert_eq!(verify["operations"], 370);
}

#[test]
fn text_says_what_was_done() {
    let directory = TestDir::new();

    let import = directory.import(&upstream_path()).text();

    assert_says(
        &import,
        &[
            "125 read, 125 new, 0 known",
            "4 archived now, 4 in the store",
            "(new)",
            &format!("1 closed, root {}", ROOTS[1]),
        ],
    );
    assert_says(
        &directory.archive(&["stat"]).text(),
        &[
            &ROOTS[1],
            "2 segments, 0 to 1",
            "segment 2, 1 of 2 periods so far, 32 blocks",
            "77658377",
            "2, 2 held here",
        ],
    );
    assert_says(
        &directory.archive(&["list-periods"]).text(),
        &directory.period_roots().each_str(),
    );
    assert_says(
        &directory.archive(&["list-segments"]).text(),
        &[&ROOTS[0], &ROOTS[1], "closed", "open", "1 of 2"],
    );
    assert_says(
        &directory.archive(&["verify"]).text(),
        &["verified 2 segments: 2 chunks", "nothing is damaged"],
    );
    assert_says(
        &directory.archive(&["open-periods"]).text(),
        &["segment 2 is open, and no period waits"],
    );
}

/// Whatever the chunks are, roots are those of another implementation.
#[test]
fn small_chunks_have_the_roots_of_another_implementation() {
    for signatures in [&[][..], &["--no-verify-signatures"]] {
        let directory = TestDir::new();
        json_import(
            &directory,
            &upstream_path(),
            &[&["--chunk-size", "65536"], signatures].concat(),
        );

        assert_eq!(directory.roots(), vector_roots(65_536));
        directory.archive(&["verify"]).expect_success();
    }
}

#[test]
fn a_second_import_changes_nothing() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let before = directory.archive(&["list-periods", "--json"]).json();

    let again = json_import(&directory, &upstream_path(), &[]);

    assert_eq!((&again["blocks_new"], &again["blocks_known"]), (&0.into(), &125.into()));
    assert_eq!(
        (&again["periods_archived"], &again["created"]),
        (&0.into(), &false.into())
    );
    assert_eq!(directory.archive(&["list-periods", "--json"]).json(), before);
}

#[test]
fn packed_files_are_recognised_by_their_content() {
    let directory = TestDir::new();
    let packed = zstd::encode_all(&UPSTREAM.to_bytes()[..], 3).unwrap();
    let packed = directory.file("without-a-suffix", &packed);

    directory.import(&packed).expect_success();

    assert_eq!(directory.roots(), *ROOTS);
    let plain = directory.file("plain.mblk.zst", &UPSTREAM.to_bytes());
    directory.import(&plain).expect_success();
}

#[test]
fn a_packed_file_that_is_cut_is_named() {
    let directory = TestDir::new();
    let packed = zstd::encode_all(&UPSTREAM.to_bytes()[..], 3).unwrap();
    let cut = directory.file("cut.mblk.zst", &packed[..packed.len() / 2]);

    let error = directory.import(&cut).failure();

    assert_says(&error, &["cut.mblk.zst: record ", "could not read the file"]);
}

/// A file cut between two records is a shorter file; a file cut in a record is named with the record and the field. Both
/// leave an archive that the whole file completes, with the roots of an import without interruption.
#[test]
fn an_interrupted_import_is_taken_up() {
    let bytes = UPSTREAM.to_bytes();
    for records in [1, 31, 32, 64, 100, 124] {
        let directory = TestDir::new();
        let border = offset_of(&UPSTREAM, records);
        let at_border = directory.file("border.mblk", &bytes[..border]);
        let inside = directory.file("inside.mblk", &bytes[..border + 300]);

        directory.import(&at_border).expect_success();
        let error = directory.import(&inside).failure();
        let record = format!(
            "record {}, byte {}: the file ends inside block",
            records + 1,
            border + 300
        );
        assert_says(&error, &[&record]);
        directory.import(&upstream_path()).expect_success();

        directory.assert_whole();
    }
}

#[test]
fn what_came_before_the_cut_is_kept() {
    let directory = TestDir::new();
    let cut = directory.file("cut.mblk", &UPSTREAM.to_bytes()[..offset_of(&UPSTREAM, 100) + 10]);

    directory.import(&cut).failure();

    let stat = directory.archive(&["stat", "--json"]).json();
    let (closed, pending) = (
        stat["blocks"].as_u64().unwrap(),
        stat["pending_blocks"].as_u64().unwrap(),
    );
    assert_eq!(closed + pending, 100);
}

#[test]
fn an_unfinished_store_is_finished() {
    let directory = TestDir::new();
    std::fs::create_dir(directory.store()).unwrap();
    for name in ["STORE.being-made", "LOG", "IN-USE"] {
        std::fs::write(directory.store().join(name), b"begun").unwrap();
    }

    directory.import(&upstream_path()).expect_success();

    assert!(!directory.store().join("STORE.being-made").exists());
    directory.assert_whole();
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let directory = TestDir::new();
    std::fs::create_dir(directory.store()).unwrap();
    std::fs::write(directory.store().join("letter.txt"), b"dear").unwrap();

    let error = directory.import(&upstream_path()).failure();

    assert_says(&error, &["neither empty nor a distributed storage directory"]);
    assert_eq!(std::fs::read_dir(directory.store()).unwrap().count(), 1);
    std::fs::write(directory.store().join("CURRENT"), b"MANIFEST-000001\n").unwrap();
    let error = directory.import(&upstream_path()).failure();
    assert_says(&error, &["a database that is not a store of this version", "CURRENT"]);
    assert_eq!(std::fs::read_dir(directory.store()).unwrap().count(), 2);
    let file = directory.file("a-file", b"");
    let error = common::run(&[
        "archive",
        "import",
        upstream_path().to_str().unwrap(),
        "--dir",
        file.to_str().unwrap(),
    ]);
    assert_says(&error.failure(), &["could not use", "a-file"]);
}

/// A name need not be UTF-8, which RocksDB wants.
#[test]
fn directories_whose_names_are_not_utf_8_are_used_all_the_same() {
    use std::os::unix::ffi::OsStringExt;
    let directory = TestDir::new();
    let name = std::ffi::OsString::from_vec(b"st\xffore".to_vec());
    let store = directory.path("").join(name);
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = common::massa_cli();
        command.arg("archive").args(arguments).arg("--dir").arg(&store);
        common::Finished(command.output().unwrap())
    };
    fn words<'a>(words: &[&'a str]) -> Vec<&'a std::ffi::OsStr> {
        words.iter().map(|word| std::ffi::OsStr::new(*word)).collect()
    }
    let file = upstream_path();
    let import = [
        &[std::ffi::OsStr::new("import"), file.as_os_str()][..],
        &words(&SEGMENTS),
    ]
    .concat();

    assert_says(
        &run(&words(&["stat"])).failure(),
        &["is not a distributed storage directory"],
    );
    assert_says(&run(&import).text(), &["125 new", "(new)"]);
    assert_says(&run(&import).text(), &["0 new, 125 known"]);

    assert!(store.join("STORE").exists(), "it is in the directory that was named");
    assert_eq!(
        std::fs::read_dir(directory.path("")).unwrap().count(),
        1,
        "and nowhere else"
    );
    for command in [&["verify"][..], &["list-segments"], &["get-block", "--slot", "2:3"]] {
        run(&words(command)).expect_success();
    }
    let raw = run(&words(&["get-block", "--slot", "2:3", "--raw"])).expect_success();
    assert_eq!(raw, UPSTREAM.block(Slot::new(2, 3)).unwrap().block());
}

#[test]
fn two_imports_at_once_are_refused() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let options = massa_distributed_storage_worker::storage_backend::SegmentStoreOptions::new(directory.store());
    let _held = massa_distributed_storage_worker::storage_backend::SegmentStore::open(options).unwrap();

    let error = directory.import(&upstream_path()).failure();

    assert_says(&error, &["the store in", "is in use"]);
    // Whoever reads is not kept out.
    directory.archive(&["stat"]).expect_success();
}

#[test]
fn files_that_are_none_are_named() {
    let directory = TestDir::new();
    let mut other = UPSTREAM.to_bytes();
    other[4] = b'2';
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "not an .mblk file"),
        ("text", b"hello, world", "not an .mblk file"),
        (
            "other-magic",
            &other,
            "not an .mblk file: it begins with \"4d424c4b3200\"",
        ),
        ("short", b"MBLK", "the file ends inside magic"),
        ("no-threads", b"MBLK1\0\x01\0\0\0\0\0\0\0\0", "thread count is 0"),
        ("no-block", b"MBLK1\0\x01\0\0\0\0\0\0\0\x20", "the file has no block"),
    ];
    for (name, content, reason) in cases {
        let error = directory.import(&directory.file(name, content)).failure();
        assert_says(&error, &[name, reason]);
        assert!(!directory.store().exists(), "{name}: no store is made");
    }
    assert_says(
        &directory.import(&directory.path("absent")).failure(),
        &["absent", "No such file"],
    );
    assert_says(&directory.import(&directory.path("")).failure(), &["directory"]);
}

#[test]
fn records_out_of_order_are_refused() {
    let directory = TestDir::new();
    let mut file = first_blocks(3);
    file.blocks.swap(1, 2);
    let (later, earlier) = (file.blocks[1].0, file.blocks[2].0);

    let error = directory
        .import(&directory.file("disorder.mblk", &file.to_bytes()))
        .failure();

    let order = format!(
        "slot {}:{} does not follow slot {}:{}",
        earlier.period, earlier.thread, later.period, later.thread
    );
    assert_says(&error, &["record 3", &order]);
    let mut file = first_blocks(2);
    file.blocks[1] = file.blocks[0].clone();
    assert_says(
        &directory
            .import(&directory.file("twice.mblk", &file.to_bytes()))
            .failure(),
        &["record 2"],
    );
}

#[test]
fn lengths_beyond_the_limits_are_refused() {
    let directory = TestDir::new();
    let mut file = first_blocks(1).to_bytes();
    let block_length = 15 + 9;
    let mut oversized = |position: usize, value: u32| {
        let before: [u8; 4] = file[position..position + 4].try_into().unwrap();
        file[position..position + 4].copy_from_slice(&value.to_le_bytes());
        let error = directory.import(&directory.file("oversized.mblk", &file)).failure();
        file[position..position + 4].copy_from_slice(&before);
        error
    };
    let operation_count = block_length + 4 + UPSTREAM.blocks[0].1.block().len();

    assert_says(
        &oversized(block_length, u32::MAX),
        &["record 1, byte 24: block is 4294967295"],
    );
    assert_says(
        &oversized(block_length, MAX_RECORD_BYTES as u32),
        &["block is", "at most"],
    );
    assert_says(
        &oversized(operation_count, 5001),
        &["operation count is 5001, at most 5000 is allowed"],
    );
    assert_says(&oversized(block_length, 40), &["record 1"]);
}

#[test]
fn a_block_under_another_slot_is_refused() {
    let directory = TestDir::new();
    let mut file = first_blocks(1);
    let Slot { period, thread } = file.blocks[0].0;
    file.blocks[0].0 = Slot::new(period, thread + 1);

    let error = directory
        .import(&directory.file("misfiled.mblk", &file.to_bytes()))
        .failure();

    let reason = format!(
        "filed under slot {period}:{}, the block is of slot {period}:{thread}",
        thread + 1
    );
    assert_says(&error, &["record 1", &reason]);
    file.blocks[0].0 = Slot::new(period, 32);
    let error = directory
        .import(&directory.file("thread.mblk", &file.to_bytes()))
        .failure();
    assert_says(&error, &["record 1", "thread 32 of 32"]);
}

#[test]
fn a_file_of_another_network_is_refused() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let mut chain = first_blocks(1);
    chain.chain_id = 77;
    let mut threads = Generator::new(GeneratorConfig {
        thread_count: 4,
        chain_id: UPSTREAM.chain_id,
        ..GeneratorConfig::default()
    });
    let mut other = MblkFile::new(UPSTREAM.chain_id, 4);
    other.push_period(threads.period(), &threads.next_period());

    let error = directory
        .import(&directory.file("chain.mblk", &chain.to_bytes()))
        .failure();
    assert_says(&error, &["chain_id", "has 77658377, the file has 77"]);
    let error = directory
        .import(&directory.file("threads.mblk", &other.to_bytes()))
        .failure();
    assert_says(&error, &["thread_count", "has 32, the file has 4"]);
    assert_eq!(directory.roots(), *ROOTS);
}

/// Operation ids depend on the chain, so a file that lies about it makes no store with the wrong parameters.
#[test]
fn a_file_that_lies_about_its_chain_makes_no_store() {
    let directory = TestDir::new();
    let with_operations = UPSTREAM
        .blocks
        .iter()
        .position(|(_, record)| record.operation_count() > 0)
        .unwrap();
    let mut file = UPSTREAM.clone();
    file.blocks.drain(..with_operations);
    file.chain_id = 77;

    let error = directory
        .import(&directory.file("liar.mblk", &file.to_bytes()))
        .failure();

    assert_says(&error, &["record 1", "operation 0 is O1", "the block lists O1"]);
    assert!(!directory.store().exists());
}

#[test]
fn options_of_a_new_store_must_fit_an_existing_one() {
    let directory = TestDir::new();
    let made_with = [
        "--segment-periods",
        "2",
        "--chunk-size",
        "65536",
        "--no-operation-index",
    ];
    directory.import_with(&upstream_path(), &made_with).expect_success();

    let stat = directory.archive(&["stat", "--json"]).json();
    assert_eq!(
        (&stat["segment_periods"], &stat["chunk_size"]),
        (&2.into(), &65536.into())
    );
    assert_eq!(
        (&stat["block_index"], &stat["operation_index"]),
        (&"held".into(), &"none".into())
    );
    directory.import_with(&upstream_path(), &made_with).expect_success();
    directory.import_with(&upstream_path(), &[]).expect_success();
    let error = directory
        .import_with(&upstream_path(), &["--segment-periods", "9"])
        .failure();
    assert_says(&error, &["segment_periods", "has 2, --segment-periods says 9"]);
    let error = directory
        .import_with(&upstream_path(), &["--chunk-size", "131072"])
        .failure();
    assert_says(&error, &["chunk_size", "has 65536, --chunk-size says 131072"]);
    let operation = "O1XrnGqDtMHALkaZdLppKHDsUSmfvmpcQFPyp32SRQdzGr8siCw";
    let error = directory.archive(&["get-operation", operation]).failure();
    assert_says(
        &error,
        &[operation, "the store has no index of operations: ask by slot"],
    );
    let error = directory.import_with(&upstream_path(), &["--no-operation-index"]);
    error.expect_success();
    let other = TestDir::new();
    other.import(&upstream_path()).expect_success();
    let error = other.import_with(&upstream_path(), &["--no-operation-index"]).failure();
    assert_says(&error, &["operation_index", "has held, --no-operation-index says none"]);
}

#[test]
fn an_invalid_signature_is_named() {
    let signed = |byte: usize| upstream_with(WITH_OPERATIONS, |record| with_operation_flipped(record, 0, byte));
    let directory = TestDir::new();
    let (slot, record) = &UPSTREAM.blocks[WITH_OPERATIONS];
    let id = record.view(32).unwrap().operation_ids().next().unwrap().to_string();
    let file = directory.file("signature.mblk", &signed(SIGNATURE_BYTES - 10).to_bytes());

    let error = directory.import(&file).failure();

    let place = format!("record {} ", WITH_OPERATIONS + 1).replace(' ', "");
    assert_says(&error.replace(' ', ""), &[&place]);
    assert_says(
        &error,
        &[
            &format!("slot {}:{}", slot.period, slot.thread),
            &id,
            "has an invalid signature",
        ],
    );
    let open = directory.archive(&["open-periods", "--json"]).json();
    assert_eq!(
        (open["newest"].as_u64(), &open["first_open_segment"]),
        (Some(2), &0.into())
    );
}

#[test]
fn an_invalid_header_signature_is_named() {
    let directory = TestDir::new();
    let file = upstream_with(3, |record| {
        let mut block = record.block().to_vec();
        block[SIGNATURE_BYTES - 10] ^= 1;
        BlockRecord::new(&block, &record.operations().map(<[u8]>::to_vec).collect::<Vec<_>>()).unwrap()
    });
    let id = UPSTREAM.blocks[3].1.view(32).unwrap().block_id().to_string();

    let error = directory
        .import(&directory.file("header.mblk", &file.to_bytes()))
        .failure();

    assert_says(&error, &["record 4", &id, "invalid signature"]);
}

/// Without signatures an import takes what `verify` then finds.
#[test]
fn unchecked_signatures_are_found_by_verify() {
    let directory = TestDir::new();
    let (slot, _) = &UPSTREAM.blocks[WITH_OPERATIONS];
    let file = upstream_with(WITH_OPERATIONS, |record| {
        with_operation_flipped(record, 0, SIGNATURE_BYTES - 10)
    });
    let file = directory.file("signature.mblk", &file.to_bytes());

    let import = json_import(&directory, &file, &["--no-verify-signatures"]);

    assert_eq!(
        (&import["signatures_checked"], &import["periods_in_store"]),
        (&false.into(), &4.into())
    );
    assert_eq!(directory.roots(), *ROOTS, "no id covers a signature");
    let verify = directory.archive(&["verify", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&verify.0.stdout).unwrap();
    assert_eq!((&report["clean"], &report["damage_count"]), (&false.into(), &1.into()));
    let damage = &report["damages"][0];
    assert_eq!(
        (&damage["period"], &damage["thread"]),
        (&slot.period.into(), &slot.thread.into())
    );
    assert_says(
        &verify.json_error(1),
        &["1 damage found", "invalid signature", "import"],
    );
    let at = format!("{}:{}", slot.period, slot.thread);
    assert_says(
        &directory.archive(&["get-block", "--slot", &at]).failure(),
        &["invalid signature"],
    );
    directory
        .archive(&["get-block", "--slot", &at, "--merkle-only", "--raw"])
        .expect_success();
}

#[test]
fn changed_operations_are_refused_without_signatures_too() {
    let directory = TestDir::new();
    let file = upstream_with(WITH_OPERATIONS, |record| {
        with_operation_flipped(record, 0, SIGNATURE_BYTES + 40)
    });
    let file = directory.file("operation.mblk", &file.to_bytes());

    let error = directory.import_with(&file, &["--no-verify-signatures"]).failure();

    assert_says(&error, &["record 35", "operation 0 is O1", "the block lists O1"]);
}

#[test]
fn a_block_that_contradicts_the_archive_is_refused() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let mut generator = Generator::new(GeneratorConfig {
        chain_id: UPSTREAM.chain_id,
        first_period: UPSTREAM.blocks[0].0.period,
        ..GeneratorConfig::default()
    });
    let mut other = MblkFile::new(UPSTREAM.chain_id, 32);
    other.push_period(generator.period(), &generator.next_period());

    let error = directory
        .import(&directory.file("fork.mblk", &other.to_bytes()))
        .failure();

    assert_says(&error, &["record 1", "contradicts what is known of slot"]);
    directory.archive(&["verify"]).expect_success();
}

/// The end of a file leaves open whether its last empty slots were missed: the user may say so.
#[test]
fn complete_takes_the_last_empty_slots_as_misses() {
    let directory = TestDir::new();
    let first = UPSTREAM.blocks[0].0.period;
    let mut short = UPSTREAM.clone();
    short.blocks.retain(|(slot, _)| slot.period == first);
    let missed: Vec<u8> = (0..32)
        .filter(|thread| short.block(Slot::new(first, *thread)).is_none())
        .collect();
    assert_eq!(missed, [3], "the file is as this test expects");
    let short = directory.file("short.mblk", &short.to_bytes());

    let open = directory.import(&short).text();
    assert_says(
        &open,
        &[
            "period 1: 1 slot missing (thread 3: no later block of the thread is here)",
            "--complete",
        ],
    );
    let complete = json_import(&directory, &short, &["--complete"]);

    assert_eq!(
        (&complete["periods_archived"], &complete["periods_in_store"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        directory.archive(&["get-block", "--slot", "1:3", "--json"]).json()["kind"],
        "miss"
    );
    directory.import(&upstream_path()).expect_success();
    assert_eq!(directory.roots(), *ROOTS);
}

#[test]
fn a_later_file_continues_and_an_earlier_one_is_refused() {
    let directory = TestDir::new();
    let mut generator = Generator::new(GeneratorConfig {
        thread_count: 4,
        ..GeneratorConfig::default()
    });
    let mut files = Vec::new();
    for _ in 0..3 {
        let mut file = MblkFile::new(generator.parameters().chain_id, 4);
        for _ in 0..4 {
            file.push_period(generator.period(), &generator.next_period());
        }
        files.push(directory.file(&format!("part-{}.mblk", files.len()), &file.to_bytes()));
    }

    directory.import(&files[1]).expect_success();
    directory.import(&files[2]).expect_success();
    let error = directory.import(&files[0]).failure();

    assert_says(&error, &["is before the archive's first period"]);
    assert!(directory.period_roots().len() >= 7);
    directory.archive(&["verify"]).expect_success();
}

/// The parent of a later block tells that something is missing between two files.
#[test]
fn a_missing_file_is_told_from_missed_slots() {
    let directory = TestDir::new();
    let mut without_second = UPSTREAM.clone();
    without_second.blocks.retain(|(slot, _)| slot.period != 2);
    let file = directory.file("gap.mblk", &without_second.to_bytes());

    json_import(&directory, &file, &[]);

    let open = directory.archive(&["open-periods", "--json"]).json();
    assert_eq!(
        (&open["absent"], &open["newest"]),
        (&serde_json::json!([[2, 2]]), &4.into())
    );
    let waiting = directory.archive(&["stat"]).text();
    assert_says(&waiting, &["missing", "wait (open-periods says for what)"]);
    let text = directory.archive(&["open-periods"]).text();
    assert_says(
        &text,
        &[
            "period 3: 2 slots missing (threads 8, 10: the parent of a later block is not here)",
            "period 2: nothing of it is here",
        ],
    );
    directory.import(&upstream_path()).expect_success();
    directory.assert_whole();
}

/// A period that is complete waits for those before it in its segment.
#[test]
fn a_complete_period_behind_a_gap_waits() {
    let directory = TestDir::new();
    let options = ["--segment-periods", "10"];
    let mut gap = UPSTREAM.clone();
    let missing = gap.blocks.iter().position(|(slot, _)| slot.period == 1).unwrap();
    let removed = gap.blocks.remove(missing + 1);
    let file = directory.file("gap.mblk", &gap.to_bytes());
    directory.import_with(&file, &options).expect_success();

    let open = directory.archive(&["open-periods"]).text();

    let thread = removed.0.thread;
    assert_says(
        &open,
        &[
            &format!("period 1: 1 slot missing (thread {thread}: the parent of a later block is not here)"),
            "period 4: complete, waits for a period before it",
        ],
    );
    let limited = directory.archive(&["open-periods", "--limit", "1", "--json"]).json();
    assert_eq!(limited["open_periods"].as_array().unwrap().len(), 1);
    let block = directory.archive(&["get-block", "--slot", "4:0"]).text();
    assert_says(&block, &["pending"]);
    let text = directory.archive(&["get-period", "4"]).text();
    assert_says(&text, &["period 4 of segment 0: not archived yet"]);
    let error = directory.archive(&["get-period", "4", "--proof"]).failure();
    assert_eq!(error, "period 4 is not complete");
    directory.import_with(&upstream_path(), &options).expect_success();
    assert_eq!(directory.period_roots().len(), 4);
}

#[test]
fn segments_are_closed_as_their_periods_come() {
    let directory = TestDir::new();

    let import = json_import(&directory, &upstream_path(), &[]);

    let closed = import["segments_closed"].as_array().unwrap();
    let numbers: Vec<u64> = closed
        .iter()
        .map(|segment| segment["segment"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [0, 1]);
    let stat = directory.archive(&["stat", "--json"]).json();
    let open = &stat["open_segments"][0];
    assert_eq!(
        (&open["segment"], &open["periods"], &open["periods_expected"]),
        (&2.into(), &1.into(), &2.into())
    );
    let complete = json_import(&directory, &upstream_path(), &["--complete"]);
    assert_eq!(complete["segments_closed"], serde_json::json!([]));
}

#[test]
fn a_large_record_streams_from_a_pipe() {
    let directory = TestDir::new();
    let fifo = directory.path("pipe");
    assert!(std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap()
        .success());
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(fifo).unwrap();
            for piece in UPSTREAM.to_bytes().chunks(1000) {
                pipe.write_all(piece).unwrap();
            }
        }
    });

    directory.import(&fifo).expect_success();

    writer.join().unwrap();
    assert_eq!(directory.roots(), *ROOTS);
}

trait EachStr {
    fn each_str(&self) -> Vec<&str>;
}

impl EachStr for Vec<String> {
    fn each_str(&self) -> Vec<&str> {
        self.iter().map(String::as_str).collect()
    }
}
