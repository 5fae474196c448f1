//! A page is handed over only if it is the one that was asked for: one test for each way in which it is not.

use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleTree, ProofError};
use massa_distributed_storage_exports::network::{PageContent, PageError, VerifiedPage, MAX_PAGE_SIGNATURES};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::stored_page::{StoredPage, StoredPageError};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::ChunkId;

/// Two full pages and a short one. The second one is the first one but for its end, so it is packed after it.
fn chunk() -> Vec<u8> {
    let word = |index: u64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(index as u32 % 64);
    let first: Vec<u8> = (0..PAGE_BYTES as u64 / 8)
        .flat_map(|index| word(index).to_le_bytes())
        .collect();
    let mut second = first.clone();
    second[PAGE_BYTES - 1] ^= 1;
    [first, second, vec![7; 3000]].concat()
}

fn root(page: &[u8]) -> [u8; 32] {
    root_of_hashes(leaf_hashes(page))
}

fn table_chunk(bytes: &[u8]) -> TableChunk {
    TableChunk {
        length: bytes.len() as u32,
        id: ChunkId::from_bytes(root(bytes)),
    }
}

fn signature(last: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let tagged = TaggedSignature {
        last,
        signature: [5; 65],
    };
    tagged.write(&mut bytes);
    bytes
}

fn page(bytes: &[u8], page: u32) -> PageContent {
    let roots: Vec<_> = bytes.chunks(PAGE_BYTES).map(root).collect();
    let stored = StoredPage::pack_chunk(bytes).swap_remove(page as usize);
    PageContent {
        stored: stored.into_bytes(),
        signatures: signature(9),
        path: MerkleTree::new(&roots).path(page).unwrap(),
    }
}

fn check(number: u32, content: PageContent, first_page: &[u8]) -> Result<VerifiedPage, PageError> {
    VerifiedPage::check(&table_chunk(&chunk()), number, content, first_page)
}

#[test]
fn the_right_page_passes_and_keeps_its_stored_form() {
    let bytes = chunk();
    let first = &bytes[..PAGE_BYTES];
    for (number, plain) in (0..).zip(bytes.chunks(PAGE_BYTES)) {
        let content = page(&bytes, number);
        let verified = check(number, content.clone(), first).unwrap();
        assert!(verified.plain() == plain);
        assert_eq!((verified.page(), verified.stored()), (number, &content.stored[..]));
        assert_eq!(
            (verified.signatures(), verified.path()),
            (&content.signatures[..], &content.path)
        );
        assert_eq!(verified.into_parts(), (plain.to_vec(), content));
    }
}

#[test]
fn a_page_packed_after_the_first_one_waits_for_it() {
    let content = page(&chunk(), 1);
    assert!(content.needs_first_page() && content.stored.len() < 1000);
    assert!(!page(&chunk(), 0).needs_first_page());
    assert_eq!(check(1, content, &[]), Err(PageError::NoFirstPage));
    // The first page itself has nothing to wait for.
    let mut first = page(&chunk(), 0);
    first.stored[0] = 2;
    let expected = PageError::Stored(StoredPageError::NoFirstPage);
    assert_eq!(check(0, first, &chunk()[..PAGE_BYTES]), Err(expected));
}

#[test]
fn there_is_no_page_beyond_the_chunk() {
    let expected = PageError::NoSuchPage { page: 3, pages: 3 };
    assert_eq!(check(3, page(&chunk(), 2), &[]), Err(expected));
}

#[test]
fn a_stored_form_that_is_none_or_of_another_length_is_refused() {
    let bytes = chunk();
    let mut empty = page(&bytes, 2);
    empty.stored = Vec::new();
    let mut unknown = page(&bytes, 2);
    unknown.stored[0] = 9;
    let mut longer = page(&bytes, 2);
    longer.stored = StoredPage::plain(&[7; 3001]).into_bytes();
    for content in [empty, unknown, longer] {
        assert!(matches!(
            check(2, content, &chunk()[..PAGE_BYTES]),
            Err(PageError::Stored(_))
        ));
    }
}

#[test]
fn other_bytes_or_another_place_do_not_lead_to_the_chunk() {
    let bytes = chunk();
    let mut other_bytes = page(&bytes, 2);
    other_bytes.stored = StoredPage::plain(&[8; 3000]).into_bytes();
    let is_mismatch = |result| matches!(result, Err(PageError::Proof(ProofError::RootMismatch { .. })));
    assert!(is_mismatch(check(2, other_bytes, &chunk()[..PAGE_BYTES])));
    // The first page as the second: the path says where it stands.
    let moved = check(1, page(&bytes, 0), &bytes[..PAGE_BYTES]);
    assert!(matches!(moved, Err(PageError::Proof(ProofError::WrongPosition { .. }))));
    let other_chunk = TableChunk {
        id: ChunkId::from_bytes([1; 32]),
        ..table_chunk(&bytes)
    };
    assert!(is_mismatch(VerifiedPage::check(
        &other_chunk,
        2,
        page(&bytes, 2),
        &bytes[..PAGE_BYTES]
    )));
}

#[test]
fn signatures_are_whole_ascending_inside_the_page_and_not_too_many() {
    let cut = signature(9)[..66].to_vec();
    let twice = [signature(9), signature(9)].concat();
    let beyond = signature(3000);
    let many: Vec<u8> = (0..=MAX_PAGE_SIGNATURES as u16).flat_map(signature).collect();
    for signatures in [cut, twice, beyond, many] {
        let content = PageContent {
            signatures,
            ..page(&chunk(), 2)
        };
        assert!(matches!(
            check(2, content, &chunk()[..PAGE_BYTES]),
            Err(PageError::Signatures { .. })
        ));
    }
    let content = PageContent {
        signatures: [signature(8), signature(2999)].concat(),
        ..page(&chunk(), 2)
    };
    assert!(check(2, content, &chunk()[..PAGE_BYTES]).is_ok());
}
