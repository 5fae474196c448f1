//! The stored form of a page, as a peer sends it. Input: page length less 1, u16 little-endian | stored form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::types::PAGE_BYTES;

fuzz_target!(|input: &[u8]| {
    let Some((length, bytes)) = input.split_at_checked(2) else {
        return;
    };
    let page_length = 1 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    let first_page: Vec<u8> = (0..=u8::MAX).cycle().take(PAGE_BYTES).collect();

    // What is no stored form may be a page.
    check_packing(&first_page, &bytes[..bytes.len().min(PAGE_BYTES)]);
    let Ok(stored) = StoredPage::from_bytes(bytes.to_vec()) else {
        return;
    };
    assert_eq!(stored.as_bytes(), bytes);
    if let Ok(page) = stored.unpack_after(&first_page, page_length) {
        assert_eq!(page.len(), page_length);
        assert!(bytes.len() <= 1 + page_length);
        assert_eq!(stored.unpack(page_length).is_ok(), !stored.needs_first_page());
        check_packing(&first_page, &page);
    }
});

/// Both packings lead back to the page, and neither is longer than the plain one.
fn check_packing(first_page: &[u8], page: &[u8]) {
    for stored in [StoredPage::pack(page), StoredPage::pack_after(first_page, page)] {
        assert!(stored.as_bytes().len() <= 1 + page.len());
        assert_eq!(stored.unpack_after(first_page, page.len()).as_deref(), Ok(page));
    }
}
