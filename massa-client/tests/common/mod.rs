//! What the tests of massa-cli share: the program, stores made with it, and the upstream file.
#![allow(dead_code)]

use massa_distributed_storage_exports::record::BlockRecord;
use massa_tests::mblk::{data_path, read_mblk, MblkFile};
use massa_wallet::ApiToken;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

/// Options of the stores of these tests: the four periods of the upstream file are segments 0 (period 1) and 1 (periods 2 and 3),
/// and the beginning of segment 2 (period 4).
pub const SEGMENTS: [&str; 2] = ["--segment-periods", "2"];

/// Roots of the two closed segments, as another implementation computed them: `segment-vectors.json`.
pub static ROOTS: LazyLock<Vec<String>> = LazyLock::new(|| vector_roots(1 << 20));

/// Roots of the closed segments in chunks of this size, as another implementation computed them.
pub fn vector_roots(chunk_size: u64) -> Vec<String> {
    let vectors: Value = serde_json::from_slice(&std::fs::read(data_path("segment-vectors.json")).unwrap()).unwrap();
    let mut sets = vectors["sets"].as_array().unwrap().iter();
    let set = sets.find(|set| set["chunk_size"] == chunk_size).unwrap();
    let segments = set["segments"].as_array().unwrap().iter().take(2);
    segments
        .map(|segment| segment["root"].as_str().unwrap().to_string())
        .collect()
}

/// 125 blocks, 370 operations, 3 missed slots, written by upstream's serializers.
pub static UPSTREAM: LazyLock<MblkFile> = LazyLock::new(|| read_mblk(&upstream_path()));

/// The store of the upstream file, for tests that only read.
pub static STORE: LazyLock<TestDir> = LazyLock::new(|| {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    directory
});

/// Where the upstream file is.
pub fn upstream_path() -> PathBuf {
    data_path("upstream-blocks-4-periods.mblk")
}

/// A directory with a store in `store`.
pub struct TestDir {
    directory: TempDir,
}

impl TestDir {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file into the directory.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Imports a file into the store, in segments of two periods.
    pub fn import(&self, file: &Path) -> Finished {
        self.import_with(file, &SEGMENTS)
    }

    pub fn import_with(&self, file: &Path, options: &[&str]) -> Finished {
        let mut arguments: Vec<&OsStr> = vec!["archive".as_ref(), "import".as_ref(), file.as_os_str()];
        arguments.extend(options.iter().map(OsStr::new));
        self.run(&arguments)
    }

    /// Runs `massa-cli archive COMMAND… --dir STORE`.
    pub fn archive(&self, command: &[&str]) -> Finished {
        let mut arguments = vec!["archive"];
        arguments.extend(command);
        self.run(&arguments)
    }

    fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Finished {
        let mut command = massa_cli();
        command.args(arguments).arg("--dir").arg(self.store());
        Finished(command.output().unwrap())
    }

    /// Roots of the closed segments of the store.
    pub fn roots(&self) -> Vec<String> {
        let list = self.archive(&["list-segments", "--json"]).json();
        let segments = list["segments"].as_array().unwrap().iter();
        let root = |segment: &Value| segment["root"].as_str().map(str::to_string);
        segments.filter_map(root).collect()
    }

    /// Checks that the store has the upstream file.
    #[track_caller]
    pub fn assert_whole(&self) {
        assert_eq!(self.roots(), *ROOTS);
        assert_eq!(self.period_roots().len(), 4);
        self.archive(&["verify"]).expect_success();
    }

    /// The roots of the archived periods.
    pub fn period_roots(&self) -> Vec<String> {
        let list = self.archive(&["list-periods", "--json"]).json();
        let root = |period: &Value| period["root"].as_str().unwrap().to_string();
        list["periods"].as_array().unwrap().iter().map(root).collect()
    }
}

/// A file with a token, as a node leaves it.
pub static TOKEN_FILE: LazyLock<(tempfile::TempDir, ApiToken)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let token = ApiToken::load_or_create(&directory.path().join("api_token")).unwrap();
    (directory, token)
});

/// The program.
pub fn massa_cli() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_massa-cli"));
    command.stdin(Stdio::null());
    command.env("MASSA_API_TOKEN_FILE", TOKEN_FILE.0.path().join("api_token"));
    command
}

/// Runs the program.
pub fn run(arguments: &[&str]) -> Finished {
    Finished(massa_cli().args(arguments).output().unwrap())
}

/// A run that came to its end.
pub struct Finished(pub Output);

impl Finished {
    /// Exit status 0 and one note on standard error; returns standard output and the note.
    pub fn expect_note(self) -> (Vec<u8>, String) {
        let errors = String::from_utf8(self.0.stderr).unwrap();
        assert_eq!(self.0.status.code(), Some(0), "{errors}");
        let note = errors.strip_prefix("note: ").and_then(|note| note.strip_suffix('\n'));
        let note = note.filter(|note| !note.contains('\n'));
        (
            self.0.stdout,
            note.unwrap_or_else(|| panic!("not one note: {errors:?}")).to_string(),
        )
    }

    /// Exit status 0 and nothing on standard error; returns standard output.
    pub fn expect_success(self) -> Vec<u8> {
        let errors = String::from_utf8_lossy(&self.0.stderr);
        assert_eq!((self.0.status.code(), errors.as_ref()), (Some(0), ""));
        self.0.stdout
    }

    /// The text of a successful run.
    pub fn text(self) -> String {
        String::from_utf8(self.expect_success()).unwrap()
    }

    /// The one JSON document of a successful run.
    pub fn json(self) -> Value {
        let stdout = self.expect_success();
        assert_eq!(
            stdout.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "one document on one line"
        );
        serde_json::from_slice(&stdout).unwrap()
    }

    /// Exit status 1, nothing on standard output and one line on standard error; returns it without `error: `.
    pub fn failure(self) -> String {
        assert_eq!(String::from_utf8_lossy(&self.0.stdout), "");
        self.error(1)
    }

    /// Exit status `status` and one line on standard error; returns it without `error: `.
    pub fn error(&self, status: i32) -> String {
        let errors = String::from_utf8(self.0.stderr.clone()).unwrap();
        assert_eq!(self.0.status.code(), Some(status), "{errors}");
        let line = errors.strip_suffix('\n').expect("the line is ended");
        assert!(!line.contains('\n'), "more than one line: {line}");
        let message = line.strip_prefix("error: ");
        message
            .unwrap_or_else(|| panic!("not an error line: {line}"))
            .to_string()
    }

    /// Exit status `status` and a JSON object with the error on standard error.
    pub fn json_error(&self, status: i32) -> String {
        let object = self.json_failure(status);
        assert_eq!(object.as_object().unwrap().len(), 1);
        object["error"].as_str().unwrap().to_string()
    }

    /// Exit status `status` and a JSON object on standard error.
    pub fn json_failure(&self, status: i32) -> Value {
        assert_eq!(self.0.status.code(), Some(status));
        let errors = String::from_utf8(self.0.stderr.clone()).unwrap();
        assert_eq!(errors.matches('\n').count(), 1, "one line: {errors}");
        serde_json::from_str(&errors).unwrap()
    }
}

/// Checks that `text` says all of `parts`.
#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

/// The upstream file with record `index` changed.
pub fn upstream_with(index: usize, change: impl FnOnce(&BlockRecord) -> BlockRecord) -> MblkFile {
    let mut file = UPSTREAM.clone();
    let record = change(&file.blocks[index].1);
    file.blocks[index].1 = record;
    file
}

/// The record with one byte of operation `operation` flipped.
pub fn with_operation_flipped(record: &BlockRecord, operation: usize, byte: usize) -> BlockRecord {
    let mut operations: Vec<Vec<u8>> = record.operations().map(<[u8]>::to_vec).collect();
    operations[operation][byte] ^= 1;
    BlockRecord::new(record.block(), &operations).unwrap()
}

/// The first blocks of the upstream file, as a file.
pub fn first_blocks(count: usize) -> MblkFile {
    let mut file = UPSTREAM.clone();
    file.blocks.truncate(count);
    file
}

/// Where record `index` of a file begins.
pub fn offset_of(file: &MblkFile, index: usize) -> usize {
    let mut start = file.clone();
    start.blocks.truncate(index);
    start.to_bytes().len()
}
