//! A page as it is kept on disk and sent to peers: plain, or packed.
//!
//! Ids, leaves and proofs are over the plain bytes of a page; how a page is stored is no part of any hash, so two nodes may keep
//! the same page in different forms, and a receiver keeps what it got unless its own packing is clearly smaller
//! ([`StoredPage::packed_anew`]). Decision 0032 has the measurements behind the constants.
//!
//! ```text
//! method u8 | bytes
//!     0: the page itself
//!     1: one zstd frame
//!     2: one zstd frame whose prefix is the first page of the same chunk
//! ```
//!
//! Never longer than one byte more than the page. Method 2 needs the chunk's first page in plain: a reader of page 5 reads the
//! pages 0 and 5, and a receiver takes page 0 first. That page itself is stored by method 0 or 1.
//!
//! **Trust.** A stored form comes from a peer, or from a disk. It is taken apart only after `frame` found exactly one frame in
//! it, and it is decoded into a buffer of exactly the page's length, which follows from the segment table: what it claims of
//! itself allocates nothing. What comes out is still to be checked against the page's root by the caller.

mod frame;

use crate::bytes::Truncated;
use crate::types::PAGE_BYTES;
use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Cursor;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{self, DCtx};

/// Longest stored form: the method and a plain page.
pub const STORED_PAGE_BYTES_MAX: usize = 1 + PAGE_BYTES;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_AFTER_FIRST: u8 = 2;

/// What a page costs besides its frame.
const METHOD_BYTES: usize = 1;

/// What a trained dictionary of the library begins with. A first page that begins so would not be taken as the plain
/// bytes that it is, and is no prefix.
const DICTIONARY_MAGIC: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();

/// Why bytes are not the stored form of a page. Who sent them is at fault, or the disk.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredPageError {
    /// No byte at all.
    #[error("a stored page has at least its method")]
    Empty,
    /// Longer than any stored page.
    #[error("a stored page of {length} bytes, at most {STORED_PAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// Asked for a page longer than pages are: the caller is at fault.
    #[error("asked for a page of {page_length} bytes, a page has at most {PAGE_BYTES}")]
    PageLength {
        /// What was asked for.
        page_length: usize,
    },
    /// Longer than this page in plain.
    #[error("a packed page of {length} bytes, the page has {page_length}")]
    LongerThanPage {
        /// Bytes after the method.
        length: usize,
        /// Bytes of the page.
        page_length: usize,
    },
    /// A method that does not exist.
    #[error("unknown page method {method}")]
    UnknownMethod {
        /// The method.
        method: u8,
    },
    /// A plain page of another length.
    #[error("a plain page of {length} bytes, expected {expected}")]
    PlainLength {
        /// Its bytes.
        length: usize,
        /// Bytes of the page.
        expected: usize,
    },
    /// Packed after the chunk's first page, which is missing, is this one, or cannot be a prefix: the first of these is the
    /// caller's fault.
    #[error("the page is packed after the first page of its chunk, and there is none to unpack it with")]
    NoFirstPage,
    /// The frame ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Not a frame of zstd 1.0 or later.
    #[error("a packed page begins with {magic:#010x} instead of a zstd frame")]
    NotAFrame {
        /// Its first four bytes, little-endian.
        magic: u32,
    },
    /// A frame without content.
    #[error("a packed page begins with a skippable frame")]
    SkippableFrame,
    /// A reserved value.
    #[error("reserved {field} in a packed page")]
    Reserved {
        /// Where.
        field: &'static str,
    },
    /// The frame ends with a checksum. The page's root says more.
    #[error("a packed page with a checksum")]
    Checksum,
    /// The frame names a dictionary. There are none.
    #[error("a packed page with a dictionary id")]
    DictionaryId,
    /// The frame asks for a larger window than a page.
    #[error("a packed page with a window of {window_bytes} bytes, at most {PAGE_BYTES} are allowed")]
    Window {
        /// The window.
        window_bytes: u64,
    },
    /// The frame declares another length than the page has.
    #[error("a packed page that declares {declared} bytes, expected {expected}")]
    ContentSize {
        /// What the frame says.
        declared: u64,
        /// Bytes of the page.
        expected: usize,
    },
    /// Something follows the frame: bytes, a second frame, or a skippable one.
    #[error("{0} bytes follow the frame of a packed page")]
    TrailingBytes(usize),
    /// The frame is damaged, or holds more than the page.
    #[error("a packed page cannot be decoded: {0}")]
    Decode(&'static str),
    /// The frame holds less than the page.
    #[error("a packed page decodes to {length} bytes, expected {expected}")]
    DecodedLength {
        /// Bytes decoded.
        length: usize,
        /// Bytes of the page.
        expected: usize,
    },
}

/// A page in its stored form. Its shape is checked: a known method, and no more bytes than any page needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPage {
    bytes: Vec<u8>,
}

/// A page in its stored form, read where it lies: what [`StoredPage`] owns. Its shape is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredPageView<'a> {
    bytes: &'a [u8],
}

impl<'a> StoredPageView<'a> {
    /// Takes a stored form from disk or from a peer.
    ///
    /// # Errors
    /// [`StoredPageError::Empty`], [`StoredPageError::TooLong`], [`StoredPageError::UnknownMethod`].
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, StoredPageError> {
        let method = *bytes.first().ok_or(StoredPageError::Empty)?;
        if bytes.len() > STORED_PAGE_BYTES_MAX {
            return Err(StoredPageError::TooLong { length: bytes.len() });
        }
        if method > ZSTD_AFTER_FIRST {
            return Err(StoredPageError::UnknownMethod { method });
        }
        Ok(Self { bytes })
    }

    /// Whether unpacking takes the first page of the chunk, too.
    pub fn needs_first_page(&self) -> bool {
        self.method() == ZSTD_AFTER_FIRST
    }

    /// As [`StoredPage::unpack_after`]; a page that is stored as it is is not copied.
    ///
    /// # Errors
    /// [`StoredPageError`].
    pub fn unpack_after(&self, first_page: &[u8], page_length: usize) -> Result<Cow<'a, [u8]>, StoredPageError> {
        if page_length > PAGE_BYTES {
            return Err(StoredPageError::PageLength { page_length });
        }
        if self.method() == PLAIN {
            return plain_bytes(&self.bytes[METHOD_BYTES..], page_length).map(Cow::Borrowed);
        }
        let mut page = vec![0; page_length];
        self.unpack_after_into(first_page, &mut page)?;
        Ok(Cow::Owned(page))
    }

    fn unpack_after_into(&self, first_page: &[u8], page: &mut [u8]) -> Result<(), StoredPageError> {
        let bytes = &self.bytes[METHOD_BYTES..];
        match self.method() {
            PLAIN => plain_bytes(bytes, page.len()).map(|bytes| page.copy_from_slice(bytes)),
            ZSTD => decode(&[], bytes, page),
            _ if can_be_prefix(first_page) => decode(first_page, bytes, page),
            _ => Err(StoredPageError::NoFirstPage),
        }
    }

    fn method(&self) -> u8 {
        self.bytes[0]
    }
}

impl StoredPage {
    /// Takes a stored form from disk or from a peer.
    ///
    /// # Errors
    /// Those of [`StoredPageView::from_bytes`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, StoredPageError> {
        StoredPageView::from_bytes(&bytes)?;
        Ok(Self { bytes })
    }

    /// The same, borrowed.
    pub fn view(&self) -> StoredPageView<'_> {
        StoredPageView { bytes: &self.bytes }
    }

    /// A page as it is. For whoever has no time to pack.
    ///
    /// # Panics
    /// When `page` is longer than a page.
    pub fn plain(page: &[u8]) -> Self {
        assert_page(page);
        Self::with_method(PLAIN, page)
    }

    /// Packs a page by itself; where that saves nothing, it stays plain.
    ///
    /// # Panics
    /// When `page` is longer than a page.
    pub fn pack(page: &[u8]) -> Self {
        assert_page(page);
        PACKER.with_borrow_mut(|packer| packer.pack_alone(page))
    }

    /// Packs the pages of a whole chunk: the first by itself, each other by itself or, where that is clearly shorter, after
    /// the first.
    pub fn pack_chunk(chunk: &[u8]) -> Vec<Self> {
        let mut pages = chunk.chunks(PAGE_BYTES);
        let Some(first) = pages.next() else {
            return Vec::new();
        };
        PACKER.with_borrow_mut(|packer| {
            let mut stored = vec![packer.pack_alone(first)];
            packer.set_first_page(first);
            stored.extend(pages.map(|page| packer.pack_best(page)));
            stored
        })
    }

    /// Packs one page as [`StoredPage::pack_chunk`] does. `first_page` is the first page of its chunk, in plain. Costs more
    /// than a page of a chunk, because the first page is read anew.
    ///
    /// # Panics
    /// When `page` is longer than a page.
    pub fn pack_after(first_page: &[u8], page: &[u8]) -> Self {
        assert_page(page);
        PACKER.with_borrow_mut(|packer| {
            packer.set_first_page(first_page);
            packer.pack_best(page)
        })
    }

    fn with_method(method: u8, bytes: &[u8]) -> Self {
        let mut stored = Vec::with_capacity(METHOD_BYTES + bytes.len());
        stored.push(method);
        stored.extend(bytes);
        Self { bytes: stored }
    }

    /// What is written to disk and sent: at most one byte longer than the page.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether the page is stored as it is.
    pub fn is_plain(&self) -> bool {
        self.view().method() == PLAIN
    }

    /// The page in `bytes`, which are the stored form of a page that is [stored as it is](StoredPage::is_plain).
    pub(crate) fn plain_in(bytes: &[u8]) -> &[u8] {
        &bytes[METHOD_BYTES..]
    }

    /// Whether a stored form in `bytes`, if it is one, takes the first page of the chunk to be unpacked.
    pub fn bytes_need_first_page(bytes: &[u8]) -> bool {
        bytes.first() == Some(&ZSTD_AFTER_FIRST)
    }

    /// Whether unpacking takes the first page of the chunk, too.
    pub fn needs_first_page(&self) -> bool {
        self.view().needs_first_page()
    }

    /// The page, which must have exactly `page_length` bytes: that much is allocated, whatever the stored form says.
    ///
    /// # Errors
    /// [`StoredPageError`]; [`StoredPageError::NoFirstPage`] for a page that [`StoredPage::needs_first_page`].
    pub fn unpack(&self, page_length: usize) -> Result<Vec<u8>, StoredPageError> {
        self.unpack_after(&[], page_length)
    }

    /// The page, decoded into a buffer of exactly its length. After an error the buffer's content has no meaning.
    ///
    /// # Errors
    /// As [`StoredPage::unpack`].
    pub fn unpack_into(&self, page: &mut [u8]) -> Result<(), StoredPageError> {
        self.unpack_after_into(&[], page)
    }

    /// As [`StoredPage::unpack`], for all methods. `first_page` is the first page of the chunk, in plain and verified; it is
    /// empty for that page itself.
    ///
    /// # Errors
    /// [`StoredPageError`].
    pub fn unpack_after(&self, first_page: &[u8], page_length: usize) -> Result<Vec<u8>, StoredPageError> {
        self.view().unpack_after(first_page, page_length).map(Cow::into_owned)
    }

    /// As [`StoredPage::unpack_after`], decoded into a buffer of exactly the page's length.
    ///
    /// # Errors
    /// [`StoredPageError`].
    pub fn unpack_after_into(&self, first_page: &[u8], page: &mut [u8]) -> Result<(), StoredPageError> {
        self.view().unpack_after_into(first_page, page)
    }

    /// The own packing of a received page, if what was received is larger than it by more than a tenth: then this is what
    /// should be kept and passed on, so that one lazy packer does not cost everybody disk. `own` is made from the page by
    /// [`StoredPage::pack`] or [`StoredPage::pack_after`].
    pub fn packed_anew(&self, own: Self) -> Option<Self> {
        is_larger_by_a_tenth(self.bytes.len(), own.bytes.len()).then_some(own)
    }
}

/// Whether a stored form of `received` bytes is larger than one of `own` bytes by more than a tenth.
pub fn is_larger_by_a_tenth(received: usize, own: usize) -> bool {
    received * 10 > own * 11
}

fn assert_page(page: &[u8]) {
    assert!(page.len() <= PAGE_BYTES, "a page has at most {PAGE_BYTES} bytes");
}

/// An empty one stands for none.
fn can_be_prefix(first_page: &[u8]) -> bool {
    !first_page.is_empty() && !first_page.starts_with(&DICTIONARY_MAGIC)
}

fn plain_bytes(bytes: &[u8], page_length: usize) -> Result<&[u8], StoredPageError> {
    if bytes.len() != page_length {
        return Err(StoredPageError::PlainLength {
            length: bytes.len(),
            expected: page_length,
        });
    }
    Ok(bytes)
}

fn decode(prefix: &[u8], bytes: &[u8], page: &mut [u8]) -> Result<(), StoredPageError> {
    if bytes.len() > page.len() {
        return Err(StoredPageError::LongerThanPage {
            length: bytes.len(),
            page_length: page.len(),
        });
    }
    frame::check(bytes, page.len())?;
    let decoded = DECODER.with_borrow_mut(|decoder| decoder.decompress_using_dict(page, bytes, prefix));
    match decoded.map_err(|code| StoredPageError::Decode(zstd_safe::get_error_name(code)))? {
        length if length == page.len() => Ok(()),
        length => Err(StoredPageError::DecodedLength {
            length,
            expected: page.len(),
        }),
    }
}

// A context takes longer to make than a page to pack. One for each thread that packs or reads, half a megabyte.
thread_local! {
    static PACKER: RefCell<Packer> = RefCell::new(Packer::new());
    static DECODER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Level of pages that are packed alone and after the first page of their chunk: as small as level 3, and twice as fast.
const LEVEL: i32 = 2;

struct Packer {
    alone: Compressor<'static>,
    after: Compressor<'static>,
    has_first_page: bool,
}

impl Packer {
    fn new() -> Self {
        let compressor = || Compressor::new(LEVEL).expect("the level is one of the library's");
        Self {
            alone: compressor(),
            after: compressor(),
            has_first_page: false,
        }
    }

    fn set_first_page(&mut self, first_page: &[u8]) {
        let is_set = can_be_prefix(first_page) && self.after.set_dictionary(LEVEL, first_page).is_ok();
        self.has_first_page = is_set;
    }

    fn pack_alone(&mut self, page: &[u8]) -> StoredPage {
        compress(&mut self.alone, ZSTD, page).unwrap_or_else(|| StoredPage::with_method(PLAIN, page))
    }

    fn pack_best(&mut self, page: &[u8]) -> StoredPage {
        let alone = self.pack_alone(page);
        if !self.has_first_page {
            return alone;
        }
        match compress(&mut self.after, ZSTD_AFTER_FIRST, page) {
            Some(after) if pays_for_first_page(after.bytes.len(), alone.bytes.len()) => after,
            _ => alone,
        }
    }
}

/// A page packed after the first one costs every reader a second page: it has to save a thirty-second.
fn pays_for_first_page(after: usize, alone: usize) -> bool {
    after * 32 <= alone * 31
}

/// `None` if the result is not shorter than the page. Whatever else keeps the library from packing, the page can be stored
/// plain.
fn compress(compressor: &mut Compressor<'static>, method: u8, page: &[u8]) -> Option<StoredPage> {
    let mut bytes = Vec::with_capacity(METHOD_BYTES + page.len());
    bytes.push(method);
    let mut frame = Cursor::new(bytes);
    frame.set_position(METHOD_BYTES as u64);
    let length = compressor.compress_to_buffer(page, &mut frame).ok()?;
    let mut bytes = frame.into_inner();
    bytes.shrink_to_fit();
    (length < page.len()).then_some(StoredPage { bytes })
}
