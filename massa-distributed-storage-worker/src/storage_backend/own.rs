//! What is this node's own and neither hashed nor sent: one binary form for all of it.
//!
//! `version u8 | postcard form | checksum`. The version is of the type, whose layout is that of its fields in order: a type
//! that changes takes the next version, and old rows are then refused by name instead of being misread.

use super::{Damage, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::keys::unseal;
use massa_db_exports::STORAGE_OWN_CF;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// A type that is kept in rows.
pub trait Row: Serialize + DeserializeOwned {
    /// Version of its layout.
    const VERSION: u8;
}

/// A type of which this node keeps rows of its own, one for each key.
pub trait OwnRow: Row {
    /// What the rows are called; first part of each key. Without a zero byte.
    const KIND: &'static str;
    /// The family that they are in.
    const FAMILY: &'static str = STORAGE_OWN_CF;
}

/// Binary form of a row, without the checksum.
///
/// # Errors
/// What postcard says of a type that has no such form: a bug of the type.
pub fn encode<T: Row>(row: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![T::VERSION]).map_err(|source| StoreError::Encode {
        row: std::any::type_name::<T>(),
        source,
    })
}

/// Reads [`encode`]; nothing may be left over.
///
/// # Errors
/// What is wrong, for a person.
pub fn decode<T: Row>(bytes: &[u8]) -> Result<T, String> {
    let (version, bytes) = bytes.split_first().ok_or("the row is empty")?;
    if *version != T::VERSION {
        return Err(format!(
            "the row has version {version}, this version reads version {}",
            T::VERSION
        ));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((row, [])) => Ok(row),
        Ok((_, rest)) => Err(format!("{} bytes follow the row", rest.len())),
        Err(error) => Err(format!("the row is malformed: {error}")),
    }
}

/// `kind | 00 | key`.
pub fn own_key<T: OwnRow>(key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(T::KIND.len() + 1 + key.len());
    full.extend(T::KIND.as_bytes());
    full.push(0);
    full.extend(key);
    full
}

/// Changes of own rows that belong together: all are made or none.
#[derive(Default)]
pub struct OwnChanges(pub(super) RowBatch);

impl OwnChanges {
    /// Writes a row.
    ///
    /// # Errors
    /// [`StoreError::Encode`].
    pub fn put<T: OwnRow>(&mut self, key: &[u8], row: &T) -> Result<(), StoreError> {
        self.0.put_sealed(T::FAMILY, own_key::<T>(key), encode(row)?);
        Ok(())
    }

    /// Deletes a row.
    pub fn delete<T: OwnRow>(&mut self, key: &[u8]) {
        self.0.delete(T::FAMILY, own_key::<T>(key));
    }

    /// Deletes the rows from one key up to, not including, another.
    pub fn delete_range<T: OwnRow>(&mut self, from: &[u8], to: &[u8]) {
        self.0.delete_range(T::FAMILY, own_key::<T>(from), own_key::<T>(to));
    }
}

impl View<'_> {
    fn own<T: OwnRow>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let key = own_key::<T>(key);
        let Some(value) = self.sealed(T::FAMILY, &key, &|damage| damage)? else {
            return Ok(None);
        };
        decode_own::<T>(&value).map(Some)
    }
}

fn decode_own<T: OwnRow>(value: &[u8]) -> Result<T, StoreError> {
    decode(value).map_err(|reason| Damage::new(T::FAMILY, format!("{}: {reason}", T::KIND)).into())
}

/// Gets a key, and the row or what is wrong with it. Tells whether to go on.
pub type VisitOwn<'a, T> = &'a mut dyn FnMut(&[u8], Result<T, String>) -> bool;

impl SegmentStore {
    /// Makes changes of own rows in one batch.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn change_own(&self, changes: OwnChanges, durability: Durability) -> Result<(), StoreError> {
        self.commit(&changes.0, durability)
    }

    /// Writes one row, durably.
    ///
    /// # Errors
    /// [`StoreError::Encode`], [`StoreError::Database`].
    pub fn put_own<T: OwnRow>(&self, key: &[u8], row: &T) -> Result<(), StoreError> {
        let mut changes = OwnChanges::default();
        changes.put(key, row)?;
        self.change_own(changes, Durability::Synced)
    }

    /// Reads one row; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also of a row of another version.
    pub fn own<T: OwnRow>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.view(|view| view.own(key))
    }

    /// Visits the rows from `from` on, in the order of their keys, until `visit` returns false; a damaged one as what is wrong
    /// with it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the database cannot be read at all.
    pub fn visit_own<T: OwnRow>(&self, from: &[u8], visit: VisitOwn<'_, T>) -> Result<(), StoreError> {
        let (prefix, start) = (own_key::<T>(&[]), own_key::<T>(from));
        self.view(|view| {
            view.scan(T::FAMILY, &start, |key, row| {
                let Some(rest) = key.strip_prefix(&prefix[..]) else {
                    return Ok(false);
                };
                let value = unseal(key, row).ok_or_else(|| "the checksum does not fit".to_string());
                Ok(visit(rest, value.and_then(decode)))
            })
        })
    }

    /// Rows from `from` on, in the order of their keys, at most `limit`.
    ///
    /// # Errors
    /// As [`SegmentStore::own`].
    pub fn own_rows<T: OwnRow>(&self, from: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let (mut rows, mut damage) = (Vec::new(), None);
        self.visit_own::<T>(from, &mut |key, row| {
            match row {
                _ if rows.len() == limit => return false,
                Ok(row) => rows.push((key.to_vec(), row)),
                Err(reason) => damage = Some(Damage::new(T::FAMILY, format!("{}: {reason}", T::KIND))),
            }
            damage.is_none()
        })?;
        damage.map_or(Ok(rows), |damage| Err(damage.into()))
    }
}
