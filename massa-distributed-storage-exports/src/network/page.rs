//! A page as it travels, and the page that was checked.

use super::MAX_PAGE_SIGNATURES;
use crate::merkle::{MerkleProof, ProofError};
use crate::period::TaggedSignature;
use crate::record::RecordError;
use crate::segment_table::TableChunk;
use crate::stored_page::{StoredPage, StoredPageError};
use std::borrow::Cow;

/// A page as it travels: nothing in it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageContent {
    /// The stored form: method u8, then bytes; one byte longer than the page at most.
    pub stored: Vec<u8>,
    /// [`TaggedSignature`]s of the objects that end in the page, at most [`MAX_PAGE_SIGNATURES`], in their binary form.
    pub signatures: Vec<u8>,
    /// From the page's root to the chunk id.
    pub path: MerkleProof,
}

/// A page that belongs to the chunk it was asked for as. Only [`VerifiedPage::check`] makes one.
///
/// No tree covers its signatures: who puts blocks together from pages checks them with ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPage {
    page: u32,
    /// `None` where the stored form is the page as it is: it is not kept twice.
    unpacked: Option<Vec<u8>>,
    content: PageContent,
}

/// Why a page is not the one that was asked for: the peer is at fault, but for [`PageError::NoFirstPage`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The chunk has no such page.
    #[error("page {page} does not exist in a chunk of {pages} pages")]
    NoSuchPage {
        /// The page.
        page: u32,
        /// Pages of the chunk.
        pages: u32,
    },
    /// The stored form does not decode to the bytes of this page.
    #[error(transparent)]
    Stored(#[from] StoredPageError),
    /// The page is packed after the first page of its chunk, which the caller does not have yet.
    #[error("the page is packed after the first page of its chunk, which is not known")]
    NoFirstPage,
    /// The signatures are not ascending whole ones, or more than fit.
    #[error("{bytes} bytes of signatures: {source}")]
    Signatures {
        /// Bytes received.
        bytes: usize,
        /// What is wrong with them.
        source: RecordError,
    },
    /// The path does not lead to the chunk id.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl PageContent {
    /// Whether the page can be unpacked only with the first page of its chunk in plain.
    pub fn needs_first_page(&self) -> bool {
        StoredPage::bytes_need_first_page(&self.stored)
    }
}

impl VerifiedPage {
    /// Checks that `content` is page `page` of `chunk`. `first_page` is the chunk's first page in plain, if it is known;
    /// empty otherwise, and for that page itself. Costs unpacking and the hash of the page.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn check(chunk: &TableChunk, page: u32, content: PageContent, first_page: &[u8]) -> Result<Self, PageError> {
        let pages = chunk.page_count();
        if page >= pages {
            return Err(PageError::NoSuchPage { page, pages });
        }
        let length = chunk.page_length(page);
        check_signatures(&content.signatures, length)?;
        let stored = StoredPage::from_bytes(content.stored)?;
        if stored.needs_first_page() && page > 0 && first_page.is_empty() {
            return Err(PageError::NoFirstPage);
        }
        // The first page stands for itself.
        let first_page = if page == 0 { &[] } else { first_page };
        let plain = stored.view().unpack_after(first_page, length)?;
        let root = crate::merkle::root_of_hashes(crate::leaves::leaf_hashes(&plain));
        content.path.verify_at(root, page, pages, chunk.id.as_bytes())?;
        let unpacked = match plain {
            Cow::Borrowed(_) => None,
            Cow::Owned(page) => Some(page),
        };
        let content = PageContent {
            stored: stored.into_bytes(),
            ..content
        };
        Ok(Self {
            page,
            unpacked,
            content,
        })
    }

    /// Position in the chunk.
    pub fn page(&self) -> u32 {
        self.page
    }

    /// The page's bytes.
    pub fn plain(&self) -> &[u8] {
        let stored = || StoredPage::plain_in(&self.content.stored);
        self.unpacked.as_deref().unwrap_or_else(stored)
    }

    /// The stored form, as it came: what can be written as it is.
    pub fn stored(&self) -> &[u8] {
        &self.content.stored
    }

    /// What travels beside the page, in binary form: well formed, not checked.
    pub fn signatures(&self) -> &[u8] {
        &self.content.signatures
    }

    /// From the page's root to the chunk id.
    pub fn path(&self) -> &MerkleProof {
        &self.content.path
    }

    /// Plain bytes, and what came.
    pub fn into_parts(self) -> (Vec<u8>, PageContent) {
        let plain = self.unpacked;
        let plain = plain.unwrap_or_else(|| StoredPage::plain_in(&self.content.stored).to_vec());
        (plain, self.content)
    }
}

fn check_signatures(bytes: &[u8], page_length: usize) -> Result<(), PageError> {
    let fail = |source| PageError::Signatures {
        bytes: bytes.len(),
        source,
    };
    if bytes.len() > MAX_PAGE_SIGNATURES * TaggedSignature::SIZE_BYTES {
        let field = "number of page signatures";
        return Err(fail(RecordError::Malformed { field }));
    }
    TaggedSignature::read_list(bytes, page_length).map(drop).map_err(fail)
}
