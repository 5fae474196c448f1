//! Answers that come in pieces, put together.

use super::answers::{Answered, Whole};
use super::assembly::{Assembly, MAX_ASSEMBLIES};
use super::open_fetch::Asked;
use super::Retrieval;
use crate::handlers::storage_handler::messages::{Piece, PIECE_BYTES};

impl Retrieval {
    /// Takes a piece. Returns fetch, holder and part, and the whole, when that is there.
    pub(super) fn on_piece(&mut self, answered: Answered, piece: Piece) -> Option<(Whole, Vec<u8>)> {
        let request = &self.requests[&answered.request_id];
        let (key, holder) = (request.fetch, request.holder);
        let bytes = piece.bytes.len();
        let (part, result) = match request.asked.clone() {
            Asked::Piece { part, offset } => (part, self.add_piece((key, holder), (part, offset), piece)),
            Asked::Parts(parts) => {
                let part = parts.first().copied()?;
                (part, self.first_piece(answered, (key, holder), part, piece))
            }
        };
        match result {
            Ok(whole) => {
                if whole.is_some() {
                    self.take_first_part(answered.request_id);
                }
                self.received(answered, None, bytes);
                let is_open = self.fetches.contains_key(&key);
                whole.filter(|_| is_open).map(|whole| ((key, holder, part), whole))
            }
            Err(reason) => {
                self.blame(answered, reason);
                None
            }
        }
    }

    fn add_piece(
        &mut self,
        (key, holder): (u64, usize),
        (part, offset): (u32, u32),
        piece: Piece,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return Ok(None);
        };
        let assembly = fetch.assemblies.get_mut(&part);
        let Some(assembly) = assembly.filter(|assembly| assembly.holder == holder) else {
            return Ok(None);
        };
        let whole = assembly.add(offset, piece)?;
        if whole.is_some() {
            fetch.assemblies.remove(&part);
            self.assemblies -= 1;
        }
        Ok(whole)
    }

    fn first_piece(
        &mut self,
        answered: Answered,
        (key, holder): (u64, usize),
        part: u32,
        piece: Piece,
    ) -> Result<Option<Vec<u8>>, String> {
        if piece.offset != 0 {
            return Err(format!("a piece from {} on, asked for the first one", piece.offset));
        }
        if piece.total as usize <= PIECE_BYTES {
            let is_whole = piece.bytes.len() == piece.total as usize;
            let whole = is_whole.then_some(piece.bytes);
            return whole.map(Some).ok_or_else(|| "a piece of a piece".to_string());
        }
        let assembly = Assembly::new(holder, piece)?;
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return Ok(None);
        };
        if self.assemblies >= MAX_ASSEMBLIES {
            // Its place comes later: the part is missing again when the request ends.
            fetch.holders[holder].pause(answered.now);
            return Ok(None);
        }
        self.assemblies += 1;
        fetch.assemblies.insert(part, assembly);
        Ok(None)
    }
}
