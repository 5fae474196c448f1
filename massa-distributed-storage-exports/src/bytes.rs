//! Reading fixed-width little-endian fields from bounded input.

/// Input that ended before the field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input ends inside {field}")]
pub struct Truncated {
    /// The field.
    pub field: &'static str,
}

/// A cursor over input from outside: every read is bounded and names its field.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What has not been read yet.
    pub fn peek(&self) -> &'a [u8] {
        self.rest
    }

    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Truncated> {
        if count > self.rest.len() {
            return Err(Truncated { field });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N, field)?);
        Ok(array)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, Truncated> {
        Ok(self.array::<1>(field)?[0])
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, Truncated> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, Truncated> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Bytes after a u32 length.
    pub fn prefixed(&mut self, field: &'static str) -> Result<&'a [u8], Truncated> {
        let length = self.u32(field)?;
        self.bytes(length as usize, field)
    }
}
