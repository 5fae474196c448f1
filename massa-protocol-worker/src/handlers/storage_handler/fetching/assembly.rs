//! A table or block that is larger than a frame, put together from the pieces of one peer.
//!
//! All pieces come from the same peer, so that what turns out wrong when it is whole is that peer's fault.

use crate::handlers::storage_handler::messages::{Piece, PIECE_BYTES};
use std::collections::{BTreeMap, BTreeSet};

/// Tables and blocks that are being put together: at most 75 MB.
pub const MAX_ASSEMBLIES: usize = 32;

/// Pieces that are there, and those that nobody is being asked for.
pub(super) struct Assembly {
    /// Number of the holder that it comes from.
    pub holder: usize,
    total: u32,
    pieces: BTreeMap<u32, Vec<u8>>,
    /// Offsets that are to be asked for.
    pub missing: BTreeSet<u32>,
}

impl Assembly {
    /// From the first piece.
    pub fn new(holder: usize, first: Piece) -> Result<Self, String> {
        let step = PIECE_BYTES as u32;
        let mut assembly = Self {
            holder,
            total: first.total,
            pieces: BTreeMap::new(),
            missing: (0..first.total.div_ceil(step)).map(|index| index * step).collect(),
        };
        assembly.missing.remove(&0);
        assembly.add(0, first)?;
        Ok(assembly)
    }

    /// Takes the piece that was asked for at `offset`. Returns the whole when it is there.
    pub fn add(&mut self, offset: u32, piece: Piece) -> Result<Option<Vec<u8>>, String> {
        if piece.offset != offset || piece.total != self.total {
            let (found, total) = (piece.offset, piece.total);
            let expected = self.total;
            return Err(format!("piece {found} of {total}, asked for {offset} of {expected}"));
        }
        let expected = self.total.saturating_sub(offset).min(PIECE_BYTES as u32) as usize;
        if piece.bytes.len() != expected {
            return Err(format!("piece of {} bytes, expected {expected}", piece.bytes.len()));
        }
        self.pieces.insert(offset, piece.bytes);
        let count = self.total.div_ceil(PIECE_BYTES as u32) as usize;
        if self.pieces.len() < count {
            return Ok(None);
        }
        let pieces = std::mem::take(&mut self.pieces);
        Ok(Some(pieces.into_values().collect::<Vec<_>>().concat()))
    }
}
