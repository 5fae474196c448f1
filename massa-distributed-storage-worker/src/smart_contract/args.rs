//! The bytes of a contract's arguments and results: `Args` of massa-web3.
//!
//! ```text
//! integers     little-endian
//! bool         one byte, 0 or 1
//! text, bytes  length u32 | content
//! text list    length of all that follows u32 | each: length u32 | content
//! ```

/// Bytes that are not what a contract writes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("{field}: the bytes end too early")]
    Truncated {
        /// The field that was read.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: {reason}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow {field}, which is the last field")]
    Trailing {
        /// The last field.
        field: &'static str,
        /// How many bytes.
        count: usize,
    },
}

/// Writes arguments one after the other.
#[derive(Clone, Debug, Default)]
pub struct ArgsWriter {
    bytes: Vec<u8>,
}

impl ArgsWriter {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// A byte.
    pub fn u8(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    /// A truth value.
    pub fn bool(self, value: bool) -> Self {
        self.u8(u8::from(value))
    }

    /// A number of four bytes.
    pub fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A number of eight bytes.
    pub fn u64(mut self, value: u64) -> Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Bytes as they are.
    pub fn raw(mut self, value: &[u8]) -> Self {
        self.bytes.extend(value);
        self
    }

    /// Bytes after their length. More than 2³² − 1 of them are cut: no operation carries as many.
    pub fn bytes(self, value: &[u8]) -> Self {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.u32(length).raw(&value[..length as usize])
    }

    /// A text after its length.
    pub fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// A list of texts.
    pub fn texts(self, values: &[String]) -> Self {
        let list = values.iter().fold(Self::new(), |list, value| list.text(value));
        self.bytes(&list.bytes)
    }
}

/// Reads what a contract wrote. Every read is bounded and names its field.
#[derive(Clone, Debug)]
pub struct ArgsReader<'a> {
    rest: &'a [u8],
}

impl<'a> ArgsReader<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn raw(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        if count > self.rest.len() {
            return Err(DecodeError::Truncated { field });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(N, field)?);
        Ok(array)
    }

    /// A byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Value {
                field,
                reason: format!("{other} is neither 0 nor 1"),
            }),
        }
    }

    /// A number of two bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// A number of four bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// A number of eight bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Bytes after their length.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn bytes(&mut self, max: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u32(field)? as usize;
        if length > max {
            return Err(DecodeError::Value {
                field,
                reason: format!("{length} bytes, more than {max}"),
            });
        }
        self.raw(length, field)
    }

    /// A text after its length.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn text(&mut self, max: usize, field: &'static str) -> Result<String, DecodeError> {
        utf8(self.bytes(max, field)?, field)
    }

    /// A list of texts.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn texts(&mut self, max: usize, max_bytes: usize, field: &'static str) -> Result<Vec<String>, DecodeError> {
        let mut list = ArgsReader::new(self.bytes(max.saturating_mul(max_bytes + 4), field)?);
        let mut texts = Vec::new();
        while !list.is_empty() {
            if texts.len() == max {
                let reason = format!("more than {max} texts");
                return Err(DecodeError::Value { field, reason });
            }
            texts.push(list.text(max_bytes, field)?);
        }
        Ok(texts)
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`], with the name of the last field.
    pub fn end(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { field, count }),
        }
    }
}

/// A text.
pub(super) fn utf8(bytes: &[u8], field: &'static str) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Value {
        field,
        reason: "not UTF-8".into(),
    })
}
