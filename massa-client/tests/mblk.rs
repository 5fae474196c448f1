//! The `.mblk` reader: whatever the bytes are, an error or the blocks.

mod common;

use common::{first_blocks, offset_of, UPSTREAM};
use massa_client::mblk::{unpack, MblkError, Reader};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::slot::Slot;
use massa_tests::mblk::MblkFile;
use proptest::prelude::*;
use std::io::{self, Read};

type Blocks = Vec<(Slot, BlockRecord)>;

/// The blocks before the first error, and the error.
fn read(input: impl Read) -> (Blocks, Option<MblkError>) {
    let reader = match Reader::new(input) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut blocks = Vec::new();
    for entry in reader {
        match entry {
            Ok(entry) => blocks.push((entry.slot, entry.record)),
            Err(error) => return (blocks, Some(error)),
        }
    }
    (blocks, None)
}

#[test]
fn reads_what_upstream_wrote() {
    let bytes = UPSTREAM.to_bytes();
    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!((reader.chain_id(), reader.thread_count()), (77_658_377, 32));

    let (blocks, error) = read(&bytes[..]);

    assert!(error.is_none());
    assert!(blocks == UPSTREAM.blocks);
}

#[test]
fn entries_say_where_they_begin() {
    let bytes = UPSTREAM.to_bytes();
    for (entry, index) in Reader::new(&bytes[..]).unwrap().zip(0..) {
        let at = entry.unwrap().at;
        assert_eq!(at.record, index as u64 + 1);
        assert_eq!(at.offset, offset_of(&UPSTREAM, index) as u64);
    }
}

/// Cut anywhere, a file is a shorter file (between two records) or an error that says where it ends.
#[test]
fn a_file_cut_anywhere_ends_or_is_refused() {
    let file = first_blocks(2);
    let bytes = file.to_bytes();
    let borders: Vec<usize> = (0..=2).map(|index| offset_of(&file, index)).collect();
    for length in 0..=bytes.len() {
        let (blocks, error) = read(&bytes[..length]);

        let whole = borders
            .iter()
            .filter(|border| **border <= length)
            .count()
            .saturating_sub(1);
        assert_eq!(blocks, file.blocks[..whole], "{length} bytes");
        match error {
            None => assert!(borders.contains(&length), "{length} bytes are no whole file"),
            Some(MblkError::Magic { .. }) => assert_eq!(length, 0),
            Some(MblkError::Truncated { at, .. }) => assert_eq!(at.offset, length as u64),
            Some(error) => panic!("{length} bytes: {error}"),
        }
    }
}

#[test]
fn an_error_is_the_last_entry() {
    let mut bytes = first_blocks(3).to_bytes();
    let second = offset_of(&first_blocks(3), 1);
    bytes[second + 8] = 200;

    let entries: Vec<_> = Reader::new(&bytes[..]).unwrap().collect();

    assert_eq!(entries.len(), 2);
    assert!(matches!(entries[1], Err(MblkError::Thread { thread: 200, .. })));
}

/// However large the lengths are that a file states: what is allocated follows the bytes that are there.
#[test]
fn stated_lengths_are_not_believed() {
    let header = &UPSTREAM.to_bytes()[..15 + 9];
    for length in [u32::MAX, 1 << 31, (2 << 20) + 1] {
        let bytes = [header, &length.to_le_bytes(), &[0; 100]].concat();
        let error = read(&bytes[..]).1.unwrap();
        assert!(matches!(error, MblkError::TooLarge { field: "block", value, .. } if value == u64::from(length)));
    }
    let endless = header.chain(&[255, 255, 15, 0][..]).chain(io::repeat(0));
    assert!(read(endless).1.is_some());
}

#[test]
fn read_errors_are_passed_on() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let bytes = UPSTREAM.to_bytes();
    let (blocks, error) = read(bytes[..offset_of(&UPSTREAM, 5) + 7].chain(Broken));

    assert_eq!(blocks.len(), 5);
    assert!(matches!(error, Some(MblkError::Read { at, .. }) if at.record == 6));
}

#[test]
fn packed_and_plain_files_are_told_apart() {
    let plain = first_blocks(4).to_bytes();
    let packed = zstd::encode_all(&plain[..], 1).unwrap();
    let two_frames = [
        zstd::encode_all(&plain[..500], 1).unwrap(),
        zstd::encode_all(&plain[500..], 1).unwrap(),
    ]
    .concat();
    for bytes in [plain.clone(), packed, two_frames] {
        let mut unpacked = Vec::new();
        unpack(&bytes[..]).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain);
    }
    for short in 0..4 {
        let mut unpacked = Vec::new();
        unpack(&plain[..short]).unwrap().read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain[..short]);
    }
}

/// Gives at most so many bytes at a time, and is interrupted now and then.
struct Dribble<'a> {
    rest: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        match self.sizes[self.turn % self.sizes.len()] {
            0 => Err(io::ErrorKind::Interrupted.into()),
            size => {
                let size = size.min(buffer.len());
                self.rest.read(&mut buffer[..size])
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes[..]);
        let with_header = [&UPSTREAM.to_bytes()[..15], &bytes[..]].concat();
        let _ = read(&with_header[..]);
    }

    #[test]
    fn how_bytes_arrive_does_not_matter(sizes in proptest::collection::vec(0usize..5000, 1..20), blocks in 0usize..40) {
        prop_assume!(sizes.iter().any(|size| *size > 0));
        let file = first_blocks(blocks);
        let bytes = file.to_bytes();
        let (found, error) = read(Dribble { rest: &bytes, sizes, turn: 0 });
        prop_assert!(error.is_none());
        prop_assert!(found == file.blocks);
    }

    /// What is read from a file with changed bytes is written back as those bytes.
    #[test]
    fn changed_files_are_refused_or_mean_what_they_say(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = first_blocks(5).to_bytes();
        for (position, value) in changes {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        if let (blocks, None) = read(&bytes[..]) {
            let reader = Reader::new(&bytes[..]).unwrap();
            let mut again = MblkFile::new(reader.chain_id(), reader.thread_count());
            again.blocks = blocks;
            prop_assert!(again.to_bytes() == bytes);
        }
    }
}
