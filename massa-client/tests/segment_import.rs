//! Import of a file into a store of segments: the roots of an independent implementation, whatever happens on the way.

use massa_client::archive::segment_import::{
    import, import_into, parameters_of, SegmentImport, SegmentImportError, SegmentImportReport,
};
use massa_client::archive::segment_pipeline::Signatures;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition};
use massa_distributed_storage_worker::segment_store::{OwnChanges, SegmentStore, SegmentStoreOptions, SlotRead};
use massa_models::slot::Slot;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::tempdir;

const SMALL_CHUNK: u32 = 64 << 10;
/// Set in the process that is killed: the directory that it imports into.
const IMPORT_INTO: &str = "IMPORT_INTO";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

fn upstream(signatures: Signatures) -> SegmentImport {
    SegmentImport {
        file: data("upstream-blocks-4-periods.mblk"),
        segment_periods: Some(2),
        chunk_size: Some(SMALL_CHUNK),
        signatures,
        complete: true,
    }
}

/// Roots of the segments of the file, by segment, as another implementation computed them.
fn expected_roots() -> BTreeMap<u64, String> {
    let vectors: Value = serde_json::from_slice(&std::fs::read(data("segment-vectors.json")).unwrap()).unwrap();
    let sets = vectors["sets"].as_array().unwrap().iter();
    let mut sets = sets.filter(|set| set["chunk_size"] == SMALL_CHUNK);
    let segments = sets.next().unwrap()["segments"].as_array().unwrap();
    let whole = segments
        .iter()
        .filter(|segment| segment["segment"].as_u64().unwrap() < 2);
    whole
        .map(|segment| {
            let root = segment["root"].as_str().unwrap().to_string();
            (segment["segment"].as_u64().unwrap(), root)
        })
        .collect()
}

fn open(directory: &Path) -> Arc<SegmentStore> {
    let parameters: ArchiveParameters = parameters_of(&upstream(Signatures::Unchecked)).unwrap();
    Arc::new(SegmentStore::open_or_create(SegmentStoreOptions::new(directory), &parameters).unwrap())
}

fn run(directory: &Path, signatures: Signatures) -> SegmentImportReport {
    import(&upstream(signatures), SegmentStoreOptions::new(directory)).unwrap()
}

fn assert_whole(directory: &Path) {
    let store = open(directory);
    let roots = (0..2).map(|segment| (segment, store.segment_root(segment).unwrap().unwrap().to_string()));
    assert_eq!(roots.collect::<BTreeMap<_, _>>(), expected_roots());
    let report = store.verify(&|_, _| {}).unwrap();
    assert_eq!(report.damages, []);
    assert_eq!(report.blocks + report.open_blocks, 125);
    store.close();
}

#[test]
fn a_file_leads_to_the_roots_of_another_implementation() {
    for signatures in [Signatures::Checked, Signatures::Unchecked] {
        let directory = tempdir().unwrap();
        let report = run(directory.path(), signatures);
        assert_eq!(
            (report.blocks_read, report.blocks_new, report.operations),
            (125, 125, 370)
        );
        assert_eq!(report.periods_archived, 4);
        assert_eq!(report.segments_closed.len(), 2);
        assert_whole(directory.path());
    }
}

#[test]
fn a_file_that_is_imported_again_is_known() {
    let directory = tempdir().unwrap();
    run(directory.path(), Signatures::Unchecked);
    let again = run(directory.path(), Signatures::Unchecked);
    assert_eq!(
        (again.blocks_known, again.blocks_new, again.chunks_repaired),
        (125, 0, 0)
    );
    assert_whole(directory.path());
}

#[test]
fn chunks_that_are_gone_are_cut_from_the_file_again() {
    let directory = tempdir().unwrap();
    run(directory.path(), Signatures::Unchecked);
    let store = open(directory.path());
    for (segment, chunk) in [(0, 1), (1, 0), (1, 2)] {
        let position = ChunkPosition::new(segment, chunk).unwrap();
        assert!(store.drop_chunk(position, OwnChanges::default()).unwrap());
    }
    assert!(matches!(store.slot(Slot::new(2, 0)).unwrap(), SlotRead::NotHeld { .. }));
    let report = import_into(&upstream(Signatures::Unchecked), &store).unwrap();
    assert_eq!((report.chunks_repaired, report.blocks_known), (3, 125));
    store.close();
    assert_whole(directory.path());
}

#[test]
fn a_block_with_a_wrong_signature_is_named_and_what_came_before_is_kept() {
    let directory = tempdir().unwrap();
    let mut bytes = std::fs::read(data("upstream-blocks-4-periods.mblk")).unwrap();
    // Magic, chain id, thread count; period, thread, length; version: the signature of the first block.
    bytes[15 + 9 + 4 + 1 + 40] ^= 1;
    let file = directory.path().join("damaged.mblk");
    std::fs::write(&file, bytes).unwrap();
    let damaged = SegmentImport {
        file,
        ..upstream(Signatures::Checked)
    };
    let store = directory.path().join("store");
    let error = import(&damaged, SegmentStoreOptions::new(store)).unwrap_err();
    let SegmentImportError::Invalid(invalid) = error else {
        panic!("{error}")
    };
    assert_eq!(invalid.at.record, 1);
}

/// The process that [`an_import_killed_at_any_instant_ends_in_the_same_roots`] kills; nothing when it is not one.
#[test]
fn import_to_be_killed() {
    if let Some(directory) = std::env::var_os(IMPORT_INTO) {
        run(Path::new(&directory), Signatures::Unchecked);
    }
}

#[test]
fn an_import_killed_at_any_instant_ends_in_the_same_roots() {
    let program = std::env::current_exe().unwrap();
    let start = |directory: &Path| {
        let mut import = Command::new(&program);
        import
            .args(["--exact", "import_to_be_killed"])
            .env(IMPORT_INTO, directory);
        import.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let directory = tempdir().unwrap();
    let begin = std::time::Instant::now();
    assert!(start(&directory.path().join("whole")).wait().unwrap().success());
    let life = begin.elapsed();
    for kill in 0..24_u32 {
        let store = directory.path().join(format!("killed {kill}"));
        let mut child = start(&store);
        let end = std::time::Instant::now() + life * kill / 20 + Duration::from_micros(300);
        while std::time::Instant::now() < end && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // It may have ended meanwhile.
        let _ = child.kill();
        child.wait().unwrap();
        run(&store, Signatures::Unchecked);
        assert_whole(&store);
    }
}
