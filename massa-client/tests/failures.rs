//! Every failure is one line on standard error and an exit status: 1 for a failed command, 2 for wrong arguments.

mod common;

use common::{assert_says, massa_cli, run, upstream_path, Finished, TestDir, STORE};
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_tests::generator::{Generator, GeneratorConfig};
use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;

const BLOCK: &str = "B12aTuyUm2QdMDi37wCu8SatL7Yofygkvetiz9qM66T8Mo8aJ8Qw";
const OPERATION: &str = "O1XrnGqDtMHALkaZdLppKHDsUSmfvmpcQFPyp32SRQdzGr8siCw";
const UNKNOWN_BLOCK: &str = "B1ESyPimQN2sX4z3wRVLbpLMMkNkKU4zYCwU7mNqgYvsa9dTf7q";

/// Commands that need a store.
fn reading() -> Vec<Vec<&'static str>> {
    vec![
        vec!["stat"],
        vec!["list-segments"],
        vec!["list-periods"],
        vec!["open-periods"],
        vec!["verify"],
        vec!["get-block", BLOCK],
        vec!["get-block", "--slot", "2:3"],
        vec!["get-operation", OPERATION],
        vec!["get-period", "2"],
    ]
}

#[test]
fn without_a_store_every_command_says_so() {
    let directory = TestDir::new();
    for command in reading() {
        let error = directory.archive(&command).failure();
        assert_says(&error, &["is not a distributed storage directory"]);
        let json = [&command[..], &["--json"]].concat();
        assert_eq!(directory.archive(&json).json_error(1), error);
        assert!(!directory.store().exists(), "nothing is made");
    }
}

#[test]
fn every_command_prints_one_json_document() {
    for command in reading() {
        let json = [&command[..], &["--json"]].concat();
        assert!(STORE.archive(&json).json().is_object());
    }
}

#[test]
fn what_is_not_there_is_named() {
    let nothing = "period 9 is not archived: nothing of it is here";
    let cases: [(&[&str], &str); 8] = [
        (&["get-block", "--slot", "9:0"], nothing),
        (
            &["get-block", "--slot", "2:32"],
            "slot 2:32: the archive has threads 0 to 31",
        ),
        (&["get-period", "9"], nothing),
        (&["get-period", "9", "--proof"], nothing),
        (&["get-period", "0"], "period 0 is not archived"),
        (&["get-period", "18446744073709551615"], "is not archived"),
        (&["get-block", "--slot", "0:0"], "period 0 is not archived"),
        (
            &["get-block", "--slot", "18446744073709551615:0", "--proof"],
            "is not archived",
        ),
    ];
    for (command, reason) in cases {
        assert_says(&STORE.archive(command).failure(), &[reason]);
    }
    // Valid ids of objects that are elsewhere.
    let mut generator = Generator::new(GeneratorConfig {
        operations: 1..=1,
        ..GeneratorConfig::default()
    });
    let record = generator.next_period().into_iter().flatten().next().unwrap();
    let view = record.view(32).unwrap();
    let (block, operation) = (
        view.block_id().to_string(),
        view.operation_ids().next().unwrap().to_string(),
    );
    let error = STORE.archive(&["get-block", &block]).failure();
    assert_eq!(error, format!("block {block} is not in this archive"));
    let error = STORE.archive(&["get-operation", &operation]).failure();
    assert_eq!(error, format!("operation {operation} is not in this archive"));
}

#[test]
fn wrong_arguments_are_named() {
    let cases: [(&[&str], &str); 14] = [
        (&["archive"], "requires a subcommand"),
        (&["archive", "get-blocks"], "unrecognized subcommand 'get-blocks'"),
        (&["archive", "stat"], "--dir <DIR>"),
        (&["archive", "stat", "--dir", "x", "--fast"], "'--fast'"),
        (&["archive", "get-block", "--dir", "x"], "--slot <PERIOD:THREAD>"),
        (
            &["archive", "get-block", "--dir", "x", BLOCK, "--slot", "2:3"],
            "cannot be used with",
        ),
        (
            &["archive", "get-block", "--dir", "x", BLOCK, "--raw", "--proof"],
            "cannot be used with",
        ),
        (
            &["archive", "get-block", "--dir", "x", UNKNOWN_BLOCK],
            "could not parse block id",
        ),
        (
            &["archive", "get-operation", "--dir", "x", BLOCK],
            "could not parse operation id",
        ),
        (&["archive", "get-period", "--dir", "x", "-1"], "-1"),
        (
            &["archive", "import", "f", "--dir", "x", "--chunk-size", "70000"],
            "power-of-two number of",
        ),
        (
            &["archive", "check-proof", "f", "--root", "ab"],
            "expected 64 hexadecimal digits",
        ),
        (&["archive", "check-proof", "f"], "--root <ROOT>"),
        (&["archive", "list-periods", "--dir", "x", "--limit", "0"], "--limit"),
    ];
    for (arguments, reason) in cases {
        assert_says(&run(arguments).error(2), &[reason]);
        let json = [arguments, &["--json"]].concat();
        assert_says(&run(&json).json_error(2), &[reason]);
    }
    assert_says(&run(&[]).error(2), &["requires a subcommand"]);
}

#[test]
fn a_command_that_is_nearly_right_is_told_what_was_meant() {
    for (arguments, meant) in [
        (&["statsu"][..], "'status'"),
        (&["storage", "list-chunk"], "'list-chunks'"),
        (&["archive", "stat", "--dirr", "x"], "'--dir'"),
    ] {
        assert_says(&run(arguments).error(2), &[meant, "--help says more"]);
        assert_says(&run(&[arguments, &["--json"]].concat()).json_error(2), &[meant]);
    }
}

#[test]
fn an_argument_is_not_repeated_at_length() {
    let long = "x".repeat(100_000);
    for arguments in [
        &["archive", "get-block", "--dir", "x", &long][..],
        &["archive", "check-proof", "f", "--root", &long],
        &[&long],
    ] {
        let error = run(arguments).error(2);
        assert!(error.contains("xxx") && error.len() < 1_000, "{error}");
        assert!(!error.contains(&"x".repeat(201)), "{error}");
    }
}

#[test]
fn slots_are_two_numbers() {
    for slot in [
        "",
        "3",
        ":",
        "3:",
        ":8",
        "3:8:1",
        "-3:8",
        "+3:8",
        "3:256",
        "3,8",
        "18446744073709551616:0",
        "a:b",
        "3: 8",
    ] {
        let error = run(&["archive", "get-block", "--dir", "x", &format!("--slot={slot}")]).error(2);
        assert_says(&error, &["PERIOD:THREAD"]);
    }
}

#[test]
fn help_is_no_failure() {
    assert_says(&run(&["--help"]).text(), &["massa-cli", "archive"]);
    assert_says(
        &run(&["archive", "get-block", "--help"]).text(),
        &["--with-operations", "--proof", "--raw"],
    );
    assert_says(&run(&["--version"]).text(), &["massa-cli"]);
}

#[test]
fn what_was_pruned_is_said_to_be() {
    let directory = TestDir::new();
    let mut generator = Generator::new(GeneratorConfig {
        thread_count: 2,
        miss_rate: 0.0,
        operations: 1..=1,
        ..GeneratorConfig::default()
    });
    let mut parameters = generator.parameters();
    parameters.segment_periods = 1;
    let options = SegmentStoreOptions::new(directory.store());
    let store = Arc::new(SegmentStore::open_or_create(options, &parameters).unwrap());
    let options = IngestOptions {
        acknowledge: Acknowledge::AtFinish,
        keep: keep_all(),
        held_back_bytes_max: u64::MAX,
    };
    let (mut ingest, _) = Ingest::open(Arc::clone(&store), options).unwrap();
    let first = generator.period();
    let mut oldest = None;
    for _ in 0..9 {
        for record in generator.next_period().into_iter().flatten() {
            oldest.get_or_insert_with(|| record.clone());
            ingest.add(record).unwrap();
            while ingest.is_closing() {
                ingest.close_slice().unwrap();
            }
        }
    }
    ingest.finish().unwrap();
    let floor = first + 5;
    store.prune(store.parameters().segment_of(floor)).unwrap();
    store.close();
    let view = oldest.as_ref().unwrap().view(2).unwrap();

    let stat = directory.archive(&["stat", "--json"]).json();
    assert_eq!(stat["pruned_below"], floor);
    let reason = format!("period {first} was pruned: this archive keeps periods from {floor} on");
    assert_eq!(
        directory
            .archive(&["get-block", "--slot", &format!("{first}:0")])
            .failure(),
        reason
    );
    assert_eq!(directory.archive(&["get-period", &first.to_string()]).failure(), reason);
    let by_id = directory
        .archive(&["get-block", &view.block_id().to_string()])
        .failure();
    assert!(by_id.ends_with("is not in this archive"), "{by_id}");
    assert_says(
        &directory.archive(&["stat"]).text(),
        &[&format!("periods below {floor}")],
    );
    // Tables of what was pruned stay: they are listed, but not what they hold.
    let listed = directory.archive(&["list-periods", "--limit", "1", "--json"]).json();
    assert_eq!(
        (&listed["periods"][0]["blocks"], &listed["periods"][0]["chunks_held"]),
        (&serde_json::Value::Null, &0.into())
    );
    directory.archive(&["verify"]).expect_success();
}

/// `massa-cli … | head -1` ends without an error.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    for command in [
        &["archive", "list-periods"][..],
        &["archive", "get-block", "--slot", "3:1", "--raw"],
    ] {
        let mut child = massa_cli()
            .args(command)
            .arg("--dir")
            .arg(STORE.store())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Finished(child.wait_with_output().unwrap()).expect_success();
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for command in [
        &["archive", "stat", "--json"][..],
        &["archive", "get-block", "--slot", "3:1", "--raw"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let finished = massa_cli()
            .args(command)
            .arg("--dir")
            .arg(STORE.store())
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(finished.status.code(), Some(1));
        assert_says(
            &String::from_utf8(finished.stderr).unwrap(),
            &["could not write the output", "No space left"],
        );
    }
}

#[test]
fn a_damaged_store_directory_is_named() {
    let directory = TestDir::new();
    std::fs::create_dir(directory.store()).unwrap();
    std::fs::write(directory.store().join("CURRENT"), b"nonsense").unwrap();
    let foreign = "a database that is not a store of this version";
    assert_says(&directory.archive(&["stat"]).failure(), &[foreign]);
    assert_says(&directory.import(&upstream_path()).failure(), &[foreign]);

    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    std::fs::write(directory.store().join("CURRENT"), b"nonsense").unwrap();
    assert_says(
        &directory.archive(&["stat"]).failure(),
        &["is damaged", "CURRENT", "it does not name a MANIFEST", "start the node"],
    );
}
