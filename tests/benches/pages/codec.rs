//! The ways in which the pages of a chunk could be stored.

use crate::source::Source;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use std::collections::HashMap;
use zstd::bulk::{Compressor, Decompressor};

/// What the pages of a chunk are packed with.
enum Kind {
    /// Nothing: each page by itself.
    Alone,
    /// A dictionary that was trained before.
    Trained(Vec<u8>),
    /// The chunk's first page.
    FirstPage,
    /// What repeats between the pages of the chunk, stored with it.
    ChunkDictionary,
    /// The whole chunk is one frame: what no page could be read from alone.
    Whole,
    /// The code of the archive.
    Archive,
}

/// One way, at one level.
pub struct Codec {
    name: String,
    level: i32,
    kind: Kind,
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

/// All that are compared.
pub fn all(source: &Source) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = [1, 2, 3, 4, 6, 9]
        .map(|level| Codec::new(format!("page alone, zstd-{level}"), level, Kind::Alone))
        .into();
    for kib in [4, 16, 64] {
        codecs.extend(trained(source, kib));
    }
    for level in [1, 2, 3, 6] {
        codecs.push(Codec::new(
            format!("after the first page, zstd-{level}"),
            level,
            Kind::FirstPage,
        ));
    }
    codecs.push(Codec::new(
        "dictionary of the chunk, zstd-3".into(),
        3,
        Kind::ChunkDictionary,
    ));
    codecs.push(Codec::new("whole chunk, zstd-3".into(), 3, Kind::Whole));
    codecs.push(Codec::new("**`StoredPage::pack_chunk`**".into(), 0, Kind::Archive));
    codecs
}

/// With a dictionary from the same chain, and from one that differs in its keys alone.
fn trained(source: &Source, kib: usize) -> Vec<Codec> {
    let bases = [
        ("this chain", Some(source.training())),
        ("other keys", source.foreign()),
    ];
    let codec = |(of, chunks): (&str, Option<&[u8]>)| {
        let dictionary = train(chunks?, kib << 10);
        let name = format!("dictionary of {kib} KiB, trained on {of}, zstd-2");
        Some(Codec::new(name, 2, Kind::Trained(dictionary)))
    };
    bases.into_iter().filter_map(codec).collect()
}

fn train(chunks: &[u8], bytes: usize) -> Vec<u8> {
    let pages: Vec<&[u8]> = chunks.chunks(PAGE_BYTES).collect();
    // Many small samples make a better dictionary than a few pages.
    let samples: Vec<&[u8]> = pages.iter().flat_map(|page| page.chunks(4096)).collect();
    zstd::dict::from_samples(&samples, bytes).expect("the samples are enough for a dictionary")
}

impl Codec {
    fn new(name: String, level: i32, kind: Kind) -> Self {
        let mut compressor = Compressor::new(level).expect("the level is valid");
        let mut decompressor = Decompressor::new().expect("a context");
        if let Kind::Trained(dictionary) = &kind {
            compressor.set_dictionary(level, dictionary).expect("a dictionary");
            decompressor.set_dictionary(dictionary).expect("a dictionary");
        }
        Self {
            name,
            level,
            kind,
            compressor,
            decompressor,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is stored of a chunk, in pieces.
    pub fn pack(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        match self.kind {
            Kind::Alone | Kind::Trained(_) => self.pages(chunk),
            Kind::Whole => vec![self.compressor.compress(chunk).expect("a frame")],
            Kind::FirstPage => {
                let (first, rest) = chunk.split_at(PAGE_BYTES.min(chunk.len()));
                self.load(&[]);
                let mut pieces = self.pages(first);
                self.load(first);
                pieces.extend(self.pages(rest));
                pieces
            }
            Kind::ChunkDictionary => {
                let dictionary = repeated(chunk);
                self.load(&dictionary);
                let mut pieces = vec![dictionary];
                pieces.extend(self.pages(chunk));
                pieces
            }
            Kind::Archive => {
                let pages = StoredPage::pack_chunk(chunk).into_iter();
                pages.map(StoredPage::into_bytes).collect()
            }
        }
    }

    /// The chunk.
    pub fn unpack(&mut self, pieces: &[Vec<u8>], length: usize) -> Vec<u8> {
        let mut chunk = vec![0; length];
        match self.kind {
            Kind::Alone | Kind::Trained(_) => self.unpack_pages(pieces, &mut chunk),
            Kind::Whole => self.unpack_page(&pieces[0], &mut chunk),
            Kind::FirstPage => {
                let (first, rest) = chunk.split_at_mut(PAGE_BYTES.min(length));
                self.decompressor.set_dictionary(&[]).expect("no dictionary");
                self.unpack_page(&pieces[0], first);
                self.decompressor.set_dictionary(first).expect("a prefix");
                self.unpack_pages(&pieces[1..], rest);
            }
            Kind::ChunkDictionary => {
                self.decompressor.set_dictionary(&pieces[0]).expect("a dictionary");
                self.unpack_pages(&pieces[1..], &mut chunk);
            }
            Kind::Archive => unpack_archive(pieces, &mut chunk),
        }
        chunk
    }

    fn load(&mut self, dictionary: &[u8]) {
        let loaded = self.compressor.set_dictionary(self.level, dictionary);
        loaded.expect("any bytes are a dictionary");
    }

    fn pages(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        let pages = chunk.chunks(PAGE_BYTES);
        pages
            .map(|page| self.compressor.compress(page).expect("a frame"))
            .collect()
    }

    fn unpack_pages(&mut self, pieces: &[Vec<u8>], chunk: &mut [u8]) {
        for (piece, page) in pieces.iter().zip(chunk.chunks_mut(PAGE_BYTES)) {
            self.unpack_page(piece, page);
        }
    }

    fn unpack_page(&mut self, piece: &[u8], page: &mut [u8]) {
        let length = self.decompressor.decompress_to_buffer(piece, page).expect("a frame");
        assert_eq!(length, page.len());
    }
}

fn unpack_archive(pieces: &[Vec<u8>], chunk: &mut [u8]) {
    let stored = |piece: &Vec<u8>| StoredPage::from_bytes(piece.clone()).expect("a stored page");
    let (first, rest) = chunk.split_at_mut(PAGE_BYTES.min(chunk.len()));
    stored(&pieces[0]).unpack_into(first).expect("a packed page");
    for (piece, page) in pieces[1..].iter().zip(rest.chunks_mut(PAGE_BYTES)) {
        stored(piece).unpack_after_into(first, page).expect("a packed page");
    }
}

/// Every string of at least [`REPEATED_BYTES`] that a page has in common with one before it, once.
fn repeated(chunk: &[u8]) -> Vec<u8> {
    const GRAM_BYTES: usize = 8;
    const REPEATED_BYTES: usize = 24;
    let gram = |at: usize| u64::from_le_bytes(chunk[at..at + GRAM_BYTES].try_into().expect("eight bytes"));
    let mut first_seen: HashMap<u64, usize> = HashMap::new();
    let mut taken: HashMap<u64, ()> = HashMap::new();
    let mut dictionary = Vec::new();
    let mut at = 0;
    while at + GRAM_BYTES <= chunk.len() {
        let before = *first_seen.entry(gram(at)).or_insert(at);
        if before / PAGE_BYTES == at / PAGE_BYTES {
            at += 1;
            continue;
        }
        let same = chunk[at..].iter().zip(&chunk[before..at]);
        let length = same.take_while(|(a, b)| a == b).count();
        if length >= REPEATED_BYTES && !taken.contains_key(&gram(at)) {
            dictionary.extend(&chunk[at..at + length]);
            taken.extend((at..=at + length - GRAM_BYTES).map(|taken| (gram(taken), ())));
        }
        at += (length - (GRAM_BYTES - 1)).max(1);
    }
    dictionary
}
