//! Reads what RocksDB's MANIFEST says: which tables and logs there should be.
//!
//! The MANIFEST is a log (see [`super::log_file`]) of edits; an edit is a list of tagged fields, all numbers varints. Only
//! what the store needs is kept. Source: `db/version_edit.h` of RocksDB 9.10; `tests/database/files.rs` compares with what
//! the library says of its tables, so a newer library that writes something else is noticed.

use crate::storage_backend::database::log_file::{scan_log, LogScan};
use std::collections::BTreeMap;
use std::io::{self, Read};

const LOG_NUMBER: u64 = 2;
const NEXT_FILE_NUMBER: u64 = 3;
const LAST_SEQUENCE: u64 = 4;
const COMPACT_CURSOR: u64 = 5;
const DELETED_FILE: u64 = 6;
const PREVIOUS_LOG_NUMBER: u64 = 9;
const MIN_LOG_NUMBER: u64 = 10;
const NEW_FILE: u64 = 103;
const COMPARATOR: u64 = 1;
const FAMILY: u64 = 200;
const FAMILY_ADDED: u64 = 201;
const FAMILY_DROPPED: u64 = 202;
const MAX_FAMILY: u64 = 203;
const IN_ATOMIC_GROUP: u64 = 300;
/// Fields above it say how long they are.
const SKIPPABLE: u64 = 1 << 13;
const NEW_FILE_END: u64 = 1;
const NEW_FILE_MIN_LOG_NUMBER: u64 = 3;

/// A table that belongs to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Number of its family.
    pub family: u64,
    /// Its level.
    pub level: u64,
    /// Its length.
    pub bytes: u64,
}

/// What a MANIFEST says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Names of the families by number.
    pub families: BTreeMap<u64, String>,
    /// Tables by number.
    pub tables: BTreeMap<u64, TableEntry>,
    /// For each family: rows of logs before this one are in tables.
    log_numbers: BTreeMap<u64, u64>,
    min_log_number: u64,
    /// Edits that count only together, and how many are still to come.
    group: Vec<Edit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Edit {
    family: u64,
    added: Option<String>,
    dropped: bool,
    log_number: Option<u64>,
    min_log_number: Option<u64>,
    deleted: Vec<u64>,
    new: Vec<(u64, TableEntry)>,
    in_group: Option<u64>,
}

impl Manifest {
    /// Reads a MANIFEST: what its whole records say, and how it ends. `None` if a record cannot be understood.
    ///
    /// # Errors
    /// [`io::Error`] when it cannot be read.
    pub fn read(file: impl Read) -> io::Result<(Option<Self>, LogScan)> {
        let mut manifest = Some(Self::default());
        let scan = scan_log(file, |record| {
            manifest = manifest.take().and_then(|so_far| so_far.with(record));
        })?;
        Ok((manifest, scan))
    }

    /// Logs before this one hold nothing that is not in tables.
    pub fn first_log(&self) -> u64 {
        let unwritten = self.log_numbers.values().min().copied().unwrap_or(0);
        unwritten.max(self.min_log_number)
    }

    fn with(mut self, record: &[u8]) -> Option<Self> {
        let edit = Edit::parse(record)?;
        match edit.in_group {
            Some(to_come) => {
                self.group.push(edit);
                if to_come == 0 {
                    std::mem::take(&mut self.group)
                        .into_iter()
                        .for_each(|edit| self.apply(edit));
                }
            }
            None => self.apply(edit),
        }
        Some(self)
    }

    fn apply(&mut self, edit: Edit) {
        if let Some(name) = edit.added {
            self.families.insert(edit.family, name);
            self.log_numbers.entry(edit.family).or_default();
        } else if self.families.is_empty() {
            self.families.insert(0, rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_string());
        }
        if edit.dropped {
            self.families.remove(&edit.family);
            self.log_numbers.remove(&edit.family);
            self.tables.retain(|_, table| table.family != edit.family);
            return;
        }
        if let Some(number) = edit.log_number {
            self.log_numbers.insert(edit.family, number);
        }
        self.min_log_number = self.min_log_number.max(edit.min_log_number.unwrap_or(0));
        for number in edit.deleted {
            self.tables.remove(&number);
        }
        self.tables.extend(edit.new);
    }
}

impl Edit {
    fn parse(record: &[u8]) -> Option<Self> {
        let mut edit = Self::default();
        let mut fields = Fields(record);
        while !fields.0.is_empty() {
            match fields.number()? {
                COMPARATOR => drop(fields.bytes()?),
                LOG_NUMBER => edit.log_number = Some(fields.number()?),
                NEXT_FILE_NUMBER | LAST_SEQUENCE | PREVIOUS_LOG_NUMBER | MAX_FAMILY => drop(fields.number()?),
                MIN_LOG_NUMBER => edit.min_log_number = Some(fields.number()?),
                COMPACT_CURSOR => {
                    fields.number()?;
                    fields.bytes()?;
                }
                DELETED_FILE => {
                    fields.number()?;
                    edit.deleted.push(fields.number()?);
                }
                NEW_FILE => edit.new_file(&mut fields)?,
                FAMILY => edit.family = fields.number()?,
                FAMILY_ADDED => edit.added = Some(String::from_utf8(fields.bytes()?.to_vec()).ok()?),
                FAMILY_DROPPED => edit.dropped = true,
                IN_ATOMIC_GROUP => edit.in_group = Some(fields.number()?),
                tag if tag > SKIPPABLE => drop(fields.bytes()?),
                _ => return None,
            }
        }
        let family = edit.family;
        edit.new.iter_mut().for_each(|(_, table)| table.family = family);
        Some(edit)
    }

    fn new_file(&mut self, fields: &mut Fields<'_>) -> Option<()> {
        let (level, number, bytes) = (fields.number()?, fields.number()?, fields.number()?);
        fields.bytes()?;
        fields.bytes()?;
        fields.number()?;
        fields.number()?;
        loop {
            let tag = fields.number()?;
            if tag == NEW_FILE_END {
                break;
            }
            let value = fields.bytes()?;
            if tag == NEW_FILE_MIN_LOG_NUMBER {
                self.min_log_number = Some(u64::from_le_bytes(value.try_into().ok()?));
            }
        }
        let table = TableEntry {
            family: 0,
            level,
            bytes,
        };
        self.new.push((number, table));
        Some(())
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        if length > self.0.len() {
            return None;
        }
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes)
    }
}

/// An edit by which a table no longer belongs to the store.
pub fn without_table(number: u64, table: &TableEntry) -> Vec<u8> {
    let fields = [DELETED_FILE, table.level, number, FAMILY, table.family];
    fields.into_iter().flat_map(varint).collect()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
