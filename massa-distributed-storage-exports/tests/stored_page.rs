//! The stored form of a page: what is packed comes back, and each thing that a receiver must refuse.

use massa_distributed_storage_exports::bytes::Truncated;
use massa_distributed_storage_exports::stored_page::{
    is_larger_by_a_tenth, StoredPage, StoredPageError, STORED_PAGE_BYTES_MAX,
};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use zstd::zstd_safe::{CCtx, CParameter};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_AFTER_FIRST: u8 = 2;

/// Of a frame whose only descriptor bit is "single segment", with a content size of two bytes.
const HEADER_BYTES: usize = 4 + 1 + 2;
const DESCRIPTOR: usize = 4;
const SKIPPABLE_FRAME: [u8; 11] = [0x5A, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];

/// A page of keys and signatures: one of `keys` after every 64 random bytes.
fn page_of(random: &mut ChaCha20Rng, keys: &[[u8; 32]], length: usize) -> Vec<u8> {
    let mut page = Vec::new();
    while page.len() < length {
        let mut signature = [0; 64];
        random.fill_bytes(&mut signature);
        page.extend(signature);
        page.extend(keys[random.gen_range(0..keys.len())]);
    }
    page.truncate(length);
    page
}

fn random(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn keys(random: &mut ChaCha20Rng, count: usize) -> Vec<[u8; 32]> {
    (0..count).map(|_| random.gen()).collect()
}

/// A page of which each key is repeated many times.
fn page() -> Vec<u8> {
    let mut random = random(1);
    let keys = keys(&mut random, 20);
    page_of(&mut random, &keys, PAGE_BYTES)
}

fn incompressible(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random(2).fill_bytes(&mut bytes);
    bytes
}

fn frame_with(parameters: &[CParameter], page: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    for parameter in parameters {
        context.set_parameter(*parameter).unwrap();
    }
    let mut frame = Vec::with_capacity(2 * PAGE_BYTES);
    context.compress2(&mut frame, page).unwrap();
    frame
}

fn frame(page: &[u8]) -> Vec<u8> {
    frame_with(&[], page)
}

/// As a peer would send it.
fn received(method: u8, bytes: &[u8]) -> StoredPage {
    StoredPage::from_bytes([&[method], bytes].concat()).unwrap()
}

fn refusal(frame: &[u8], page_length: usize) -> StoredPageError {
    received(ZSTD, frame).unpack(page_length).unwrap_err()
}

// What is packed comes back.

#[test]
fn the_layout_is_a_method_and_then_the_page_or_one_frame() {
    let page = page();

    assert_eq!(StoredPage::plain(&page).as_bytes(), [&[PLAIN], &page[..]].concat());
    let packed = StoredPage::pack(&page).into_bytes();
    assert_eq!(packed[0], ZSTD);
    assert_eq!(zstd::decode_all(&packed[1..]).unwrap(), page);
    assert!(packed.len() < page.len() * 3 / 4);
}

#[test]
fn a_frame_of_another_packer_is_accepted() {
    // Written by the zstd command line tool, version 1.5.4, level 19, without checksum.
    let frame = hex::decode("28b52ffd602c0055000018616263010026aa6e08").unwrap();

    let page = received(ZSTD, &frame).unpack(300).unwrap();

    assert_eq!(page, b"abc".repeat(100));
}

#[test]
fn a_page_that_cannot_be_packed_stays_plain() {
    let page = incompressible(PAGE_BYTES);

    assert_eq!(StoredPage::pack(&page), StoredPage::plain(&page));
}

#[test]
fn a_later_page_is_packed_after_the_first_page_of_its_chunk() {
    let mut random = random(3);
    // So many keys that few are repeated within a page.
    let keys = keys(&mut random, 1_000);
    let chunk = page_of(&mut random, &keys, 3 * PAGE_BYTES + 1_000);

    let stored = StoredPage::pack_chunk(&chunk);

    let first = &chunk[..PAGE_BYTES];
    assert_eq!(
        stored.iter().map(StoredPage::needs_first_page).collect::<Vec<_>>(),
        [false, true, true, true]
    );
    assert_eq!(stored[0], StoredPage::pack(first));
    assert_eq!(stored[0].unpack(PAGE_BYTES).unwrap(), first);
    for (stored, page) in stored.iter().zip(chunk.chunks(PAGE_BYTES)).skip(1) {
        assert!(stored.as_bytes().len() < StoredPage::pack(page).as_bytes().len() * 31 / 32);
        assert_eq!(stored.unpack_after(first, page.len()).unwrap(), page);
        assert_eq!(&StoredPage::pack_after(first, page), stored);
    }
}

#[test]
fn a_page_that_gains_nothing_from_the_first_needs_it_not() {
    let mut chunk = incompressible(PAGE_BYTES);
    chunk.extend(page());

    let stored = StoredPage::pack_chunk(&chunk);

    assert_eq!(stored[1], StoredPage::pack(&page()));
    assert_eq!(StoredPage::pack_chunk(&[]), []);
}

#[test]
fn a_first_page_that_looks_like_a_trained_dictionary_is_no_prefix() {
    let mut first = page();
    first[..4].copy_from_slice(&[0x37, 0xA4, 0x30, 0xEC]);
    let chunk = [first.as_slice(), first.as_slice()].concat();

    let stored = StoredPage::pack_chunk(&chunk);

    assert_eq!(stored[1].unpack(PAGE_BYTES).unwrap(), first);
    let after = received(ZSTD_AFTER_FIRST, &stored[1].as_bytes()[1..]);
    assert_eq!(
        after.unpack_after(&first, PAGE_BYTES),
        Err(StoredPageError::NoFirstPage)
    );
}

#[test]
fn packing_leaves_no_trace_of_the_chunk_before() {
    let mut random = random(4);
    let keys = keys(&mut random, 1_000);
    let chunks = [0, 1].map(|_| page_of(&mut random, &keys, 2 * PAGE_BYTES));
    let fresh = std::thread::spawn({
        let chunk = chunks[1].clone();
        move || StoredPage::pack_chunk(&chunk)
    });

    StoredPage::pack_chunk(&chunks[0]);

    assert_eq!(StoredPage::pack_chunk(&chunks[1]), fresh.join().unwrap());
}

#[test]
fn what_is_larger_than_the_own_packing_by_more_than_a_tenth_is_packed_anew() {
    assert!(!is_larger_by_a_tenth(1_100, 1_000));
    assert!(is_larger_by_a_tenth(1_101, 1_000));
    let page = page();
    let own = StoredPage::pack(&page);

    assert_eq!(StoredPage::plain(&page).packed_anew(own.clone()), Some(own.clone()));
    assert_eq!(own.packed_anew(own.clone()), None);
}

// Shape.

#[test]
fn a_stored_page_of_no_bytes_is_refused() {
    assert_eq!(StoredPage::from_bytes(Vec::new()), Err(StoredPageError::Empty));
}

#[test]
fn a_stored_page_longer_than_any_is_refused() {
    let longest = vec![PLAIN; STORED_PAGE_BYTES_MAX];
    let error = StoredPageError::TooLong {
        length: STORED_PAGE_BYTES_MAX + 1,
    };

    assert!(StoredPage::from_bytes(longest.clone()).is_ok());
    assert_eq!(StoredPage::from_bytes([longest.as_slice(), &[0]].concat()), Err(error));
}

#[test]
fn an_unknown_method_is_refused() {
    for method in 3..=u8::MAX {
        assert_eq!(
            StoredPage::from_bytes(vec![method, 1]),
            Err(StoredPageError::UnknownMethod { method })
        );
    }
}

// Lengths.

#[test]
fn a_plain_page_of_another_length_is_refused() {
    let stored = StoredPage::plain(&[7; 10]);

    for expected in [0, 9, 11, PAGE_BYTES] {
        assert_eq!(
            stored.unpack(expected),
            Err(StoredPageError::PlainLength { length: 10, expected })
        );
    }
}

#[test]
fn nobody_can_ask_for_more_than_a_page() {
    let page_length = PAGE_BYTES + 1;

    assert_eq!(
        StoredPage::plain(&[]).unpack(page_length),
        Err(StoredPageError::PageLength { page_length })
    );
}

#[test]
fn a_packed_page_longer_than_the_page_is_refused() {
    let page = incompressible(1_000);
    let frame = frame(&page);
    let error = StoredPageError::LongerThanPage {
        length: frame.len(),
        page_length: 1_000,
    };

    assert!(frame.len() > page.len());
    assert_eq!(refusal(&frame, 1_000), error);
}

#[test]
fn a_frame_that_declares_another_length_is_refused() {
    let page = page();
    let frame = frame(&page);
    for expected in [PAGE_BYTES - 1, PAGE_BYTES - 1024] {
        let error = StoredPageError::ContentSize {
            declared: PAGE_BYTES as u64,
            expected,
        };
        assert_eq!(refusal(&frame, expected), error);
    }
}

#[test]
fn a_bomb_is_refused_by_what_it_declares() {
    let bomb = vec![0; 100 << 20];
    let frame = zstd::bulk::compress(&bomb, 3).unwrap();
    let small_window = frame_with(&[CParameter::WindowLog(16)], &bomb);

    assert!(frame.len() < PAGE_BYTES && small_window.len() < PAGE_BYTES);
    assert_eq!(
        refusal(&frame, PAGE_BYTES),
        StoredPageError::Window { window_bytes: 2 << 20 }
    );
    let error = StoredPageError::ContentSize {
        declared: bomb.len() as u64,
        expected: PAGE_BYTES,
    };
    assert_eq!(refusal(&small_window, PAGE_BYTES), error);
}

#[test]
fn a_bomb_that_declares_nothing_is_refused_when_the_page_is_full() {
    let parameters = [CParameter::WindowLog(16), CParameter::ContentSizeFlag(false)];
    let frame = frame_with(&parameters, &vec![0; 1 << 20]);

    assert_eq!(
        refusal(&frame, PAGE_BYTES),
        StoredPageError::Decode("Destination buffer is too small")
    );
}

#[test]
fn a_frame_that_declares_no_length_is_measured_when_decoded() {
    let page = page();
    let frame = frame_with(
        &[CParameter::WindowLog(16), CParameter::ContentSizeFlag(false)],
        &page[..60_000],
    );

    assert_eq!(received(ZSTD, &frame).unpack(60_000).unwrap(), page[..60_000]);
    let error = StoredPageError::DecodedLength {
        length: 60_000,
        expected: 60_001,
    };
    assert_eq!(refusal(&frame, 60_001), error);
    assert_eq!(
        refusal(&frame, 59_999),
        StoredPageError::Decode("Destination buffer is too small")
    );
}

// One frame, and what it may say.

#[test]
fn a_window_larger_than_a_page_is_refused() {
    let page = page();
    let mut frame = frame_with(&[CParameter::WindowLog(16), CParameter::ContentSizeFlag(false)], &page);
    const WINDOW: usize = DESCRIPTOR + 1;
    // Exponent 6 above 2^10, no eighths.
    assert_eq!(frame[WINDOW], 6 << 3);
    assert_eq!(received(ZSTD, &frame).unpack(PAGE_BYTES).unwrap(), page);

    for (descriptor, window_bytes) in [(6 << 3 | 1, 73_728), (7 << 3, 131_072), (0xFF, 15 << 38)] {
        frame[WINDOW] = descriptor;
        assert_eq!(refusal(&frame, PAGE_BYTES), StoredPageError::Window { window_bytes });
    }
}

#[test]
fn a_skippable_frame_is_refused_wherever_it_stands() {
    let frame = frame(&page());

    let before = [&SKIPPABLE_FRAME, frame.as_slice()].concat();
    assert_eq!(refusal(&before, PAGE_BYTES), StoredPageError::SkippableFrame);
    let behind = [frame.as_slice(), &SKIPPABLE_FRAME].concat();
    assert_eq!(
        refusal(&behind, PAGE_BYTES),
        StoredPageError::TrailingBytes(SKIPPABLE_FRAME.len())
    );
}

#[test]
fn two_frames_are_refused_even_if_they_make_the_page() {
    let page = page();
    let (first, second) = page.split_at(PAGE_BYTES / 2);
    let parameters = [CParameter::WindowLog(16), CParameter::ContentSizeFlag(false)];
    let (first, second) = (frame_with(&parameters, first), frame_with(&parameters, second));
    let both = [first.as_slice(), &second].concat();
    let between = [first.as_slice(), &SKIPPABLE_FRAME, &second].concat();

    assert_eq!(zstd::decode_all(&both[..]).unwrap(), page);
    assert_eq!(refusal(&both, PAGE_BYTES), StoredPageError::TrailingBytes(second.len()));
    let left_over = SKIPPABLE_FRAME.len() + second.len();
    assert_eq!(refusal(&between, PAGE_BYTES), StoredPageError::TrailingBytes(left_over));
}

#[test]
fn a_byte_behind_the_frame_is_refused() {
    let frame = [frame(&page()).as_slice(), &[0]].concat();

    assert_eq!(refusal(&frame, PAGE_BYTES), StoredPageError::TrailingBytes(1));
}

#[test]
fn a_checksum_is_refused() {
    let frame = frame_with(&[CParameter::ChecksumFlag(true)], &page());

    assert_eq!(refusal(&frame, PAGE_BYTES), StoredPageError::Checksum);
}

#[test]
fn a_dictionary_id_is_refused() {
    let frame = frame(&page());
    for bits in 1..=3 {
        let mut with_id = frame.clone();
        with_id[DESCRIPTOR] |= bits;
        with_id.splice(DESCRIPTOR + 1..DESCRIPTOR + 1, vec![1; 1 << (bits - 1)]);
        assert_eq!(refusal(&with_id, PAGE_BYTES), StoredPageError::DictionaryId);
    }
}

#[test]
fn reserved_bits_are_refused() {
    let mut flag = frame(&page());
    flag[DESCRIPTOR] |= 1 << 3;
    let mut block = frame(&page());
    block[HEADER_BYTES] |= 0b110;

    assert_eq!(
        refusal(&flag, PAGE_BYTES),
        StoredPageError::Reserved { field: "frame flag" }
    );
    assert_eq!(
        refusal(&block, PAGE_BYTES),
        StoredPageError::Reserved { field: "block type" }
    );
}

#[test]
fn what_is_no_frame_is_refused() {
    // Frames of zstd 0.1 to 0.7 differ in their magic, and some builds of the library would decode them.
    for magic in [0xFD2F_B527_u32, 0xFD2F_B522, 0x1EB5_2FFD, 0] {
        let mut frame = frame(&page());
        frame[..4].copy_from_slice(&magic.to_le_bytes());
        assert_eq!(refusal(&frame, PAGE_BYTES), StoredPageError::NotAFrame { magic });
    }
}

#[test]
fn a_packed_page_that_ends_anywhere_early_is_refused() {
    let page = &page()[..5_000];
    let stored = StoredPage::pack(page).into_bytes();

    for length in 1..stored.len() {
        let error = StoredPage::from_bytes(stored[..length].to_vec())
            .unwrap()
            .unpack(page.len())
            .unwrap_err();
        assert!(matches!(error, StoredPageError::Truncated(_)), "{length}: {error}");
    }
    assert_eq!(refusal(&stored[1..4], 5_000), Truncated { field: "frame magic" }.into());
    assert_eq!(
        refusal(&stored[1..stored.len() - 1], 5_000),
        Truncated { field: "block" }.into()
    );
}

#[test]
fn a_damaged_block_is_refused() {
    let mut frame = frame(&page());
    // Kind of the literals and of the tables: a compressed block that begins with nonsense.
    frame[HEADER_BYTES + 3..HEADER_BYTES + 40].fill(0xFF);

    assert!(matches!(refusal(&frame, PAGE_BYTES), StoredPageError::Decode(_)));
}

#[test]
fn a_page_packed_after_the_first_is_not_unpacked_without_it() {
    let first = page();
    let stored = StoredPage::pack_after(&first, &first);
    let mut other = first.clone();
    other[PAGE_BYTES / 2..].reverse();

    assert_eq!(stored.unpack(PAGE_BYTES), Err(StoredPageError::NoFirstPage));
    // Another first page gives another page, or none: the page's root tells.
    assert_ne!(stored.unpack_after(&other, PAGE_BYTES), Ok(first.clone()));
    assert_eq!(stored.unpack_after(&first, PAGE_BYTES), Ok(first));
}

// Properties.

/// Random bytes with repetitions, so that some of them are packed and some are not.
fn any_page() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 1..400), 1usize..200, 0usize..=PAGE_BYTES)
        .prop_map(|(bytes, times, length)| bytes.repeat(times).into_iter().take(length).collect())
}

proptest! {
    #[test]
    fn unpacking_undoes_packing_and_no_form_is_longer_than_plain(page in any_page(), first in any_page()) {
        for stored in [StoredPage::plain(&page), StoredPage::pack(&page), StoredPage::pack_after(&first, &page)] {
            prop_assert!(stored.as_bytes().len() <= 1 + page.len());
            let stored = StoredPage::from_bytes(stored.into_bytes()).unwrap();
            let mut buffer = vec![0xA5; page.len()];
            stored.unpack_after_into(&first, &mut buffer).unwrap();
            prop_assert_eq!(&buffer, &page);
        }
    }

    #[test]
    fn a_changed_byte_gives_an_error_or_a_page_of_the_right_length(
        page in any_page(), first in any_page(), at in any::<prop::sample::Index>(), flip in 1u8..=u8::MAX
    ) {
        let mut stored = StoredPage::pack_after(&first, &page).into_bytes();
        let at = at.index(stored.len());
        stored[at] ^= flip;
        if let Ok(unpacked) = StoredPage::from_bytes(stored).and_then(|stored| stored.unpack_after(&first, page.len())) {
            prop_assert_eq!(unpacked.len(), page.len());
        }
    }

    #[test]
    fn a_chunk_comes_back_page_by_page(chunk in vec(any_page(), 0..4).prop_map(|pages| pages.concat())) {
        let first = &chunk[..chunk.len().min(PAGE_BYTES)];
        let stored = StoredPage::pack_chunk(&chunk);
        let pages = chunk.chunks(PAGE_BYTES);
        prop_assert_eq!(stored.len(), pages.len());
        for (stored, page) in stored.iter().zip(pages) {
            prop_assert_eq!(&stored.unpack_after(first, page.len()).unwrap(), page);
        }
    }
}
