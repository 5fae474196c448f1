//! An `.mblk` file, as it is given to the import command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_client::mblk::{Entry, Reader};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::new(bytes) else {
        return;
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut failed = false;
    for entry in reader.by_ref() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(_) => failed = true,
        }
    }
    // What was read is what stands in the file, to the byte.
    let mut written = b"MBLK1\0".to_vec();
    written.extend(reader.chain_id().to_le_bytes());
    written.push(reader.thread_count());
    for entry in &entries {
        assert_eq!(entry.at.offset, written.len() as u64);
        written.extend(entry.slot.period.to_le_bytes());
        written.push(entry.slot.thread);
        written.extend(entry.record.as_bytes());
    }
    assert!(bytes.starts_with(&written));
    assert!(failed || bytes.len() == written.len());
    assert!(entries.windows(2).all(|pair| pair[0].slot < pair[1].slot));
});
