//! Reading fixed-width little-endian fields from bounded input.

/// Input that ended before the field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input ends inside {field}")]
pub struct Truncated {
    /// The field.
    pub field: &'static str,
}

/// A cursor over input from outside: every read is bounded and names its field.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the beginning of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that have not been read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What has not been read yet.
    pub fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Truncated> {
        if count > self.rest.len() {
            return Err(Truncated { field });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N, field)?);
        Ok(array)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Truncated> {
        Ok(self.array::<1>(field)?[0])
    }

    /// The next two bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Truncated> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Truncated> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Truncated> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Bytes after a u32 length.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn prefixed(&mut self, field: &'static str) -> Result<&'a [u8], Truncated> {
        let length = self.u32(field)?;
        self.bytes(length as usize, field)
    }
}
