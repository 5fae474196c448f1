//! The store that is imported into: opened, or made with what the file and the options give.

use super::error::of_damage;
use super::{ImportArguments, ImportError, ImportReport, RefusedBlock};
use crate::archive::directory::Directory;
use crate::mblk::{Entry, Reader};
use massa_db_exports::STORAGE_METADATA_CF;
use massa_distributed_storage_exports::types::DEFAULT_CHUNK_BYTES;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::storage_backend::database::inspect::{state_of, State};
use massa_distributed_storage_worker::storage_backend::database::{Database, DatabaseError, OnDamage};
use massa_distributed_storage_worker::storage_backend::{
    IndexScope, IndexScopes, SegmentStore, SegmentStoreOptions, StoreError,
};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Periods of a segment unless another number is asked for.
const DEFAULT_SEGMENT_PERIODS: u64 = 100;
/// Files that a directory may have in which a store is yet to be made: it was being made when its process was killed.
const UNFINISHED: [&str; 3] = ["IN-USE", "STORE.being-made", "STORE.being-made.draft"];

/// Opens the store of the arguments, or makes it with the parameters that the file and the options give. The directory must
/// outlive the store.
pub(super) fn open_store<R: Read>(
    arguments: &ImportArguments,
    reader: &Reader<R>,
    first: Option<&Entry>,
    report: &mut ImportReport,
) -> Result<(Arc<SegmentStore>, Directory), ImportError> {
    let dir = &arguments.dir;
    let unusable = |source| ImportError::Directory {
        dir: dir.clone(),
        source,
    };
    let exists = exists(dir)?;
    let stored = if exists { stored(dir)? } else { Stored::Unknown(None) };
    let given = arguments.segment_periods.is_some() && arguments.chunk_size.is_some();
    let mut indexes = indexes(arguments);
    let parameters = match stored {
        Stored::Known(parameters, known) => {
            check_parameters(arguments, reader, (&parameters, known))?;
            indexes = known;
            Some(parameters)
        }
        Stored::Own => None,
        Stored::Unknown(Some(source)) if !given => {
            let (dir, source) = (dir.clone(), Box::new(source));
            return Err(ImportError::Undetermined { dir, source });
        }
        Stored::Unknown(_) => Some(parameters(arguments, reader, first)?),
    };
    fs::create_dir_all(dir).map_err(unusable)?;
    let directory = Directory::new(dir).map_err(unusable)?;
    let options = SegmentStoreOptions {
        indexes,
        on_damage: OnDamage::SetAside,
        ..SegmentStoreOptions::new(directory.opened_as())
    };
    let store = match &parameters {
        Some(parameters) => SegmentStore::open_or_create(options, parameters),
        None => SegmentStore::open(options),
    };
    let store = store.map_err(|error| opened_as(dir, &directory, error))?;
    check_parameters(arguments, reader, (store.parameters(), store.indexes()))?;
    report.created |= !exists;
    Ok((Arc::new(store), directory))
}

/// What is known of what a store was made with.
enum Stored {
    /// It says so.
    Known(ArchiveParameters, IndexScopes),
    /// It will say so once what is damaged beside that is set aside.
    Own,
    /// There is no store, or it is too damaged to tell.
    Unknown(Option<StoreError>),
}

fn opened_as(dir: &Path, directory: &Directory, error: StoreError) -> ImportError {
    if directory.opened_as() == dir {
        return error.into();
    }
    ImportError::OpenedAs {
        dir: dir.to_path_buf(),
        opened_as: directory.opened_as().to_path_buf(),
        source: Box::new(error),
    }
}

/// Whether there is a store in `dir`; otherwise one may be made there.
fn exists(dir: &Path) -> Result<bool, ImportError> {
    let unusable = |source| ImportError::Directory {
        dir: dir.to_path_buf(),
        source,
    };
    let files = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        files => files.map_err(unusable)?,
    };
    if Database::exists(dir) {
        return Ok(true);
    }
    if let State::Foreign(what) = state_of(dir)? {
        let path = dir.to_path_buf();
        return Err(DatabaseError::Foreign { path, what }.into());
    }
    let mut files = files.map(|file| file.map(|file| file.file_name()));
    let being_made = matches!(state_of(dir)?, State::BeingMade);
    let of_a_store = |name: &std::ffi::OsString| UNFINISHED.iter().any(|unfinished| name == unfinished);
    let others = files.find(|name| !name.as_ref().is_ok_and(of_a_store));
    match others.transpose().map_err(unusable)? {
        Some(_) if !being_made => Err(ImportError::NotEmpty { dir: dir.to_path_buf() }),
        _ => Ok(false),
    }
}

/// Reads what a store was made with.
fn stored(dir: &Path) -> Result<Stored, ImportError> {
    let directory = Directory::new(dir).map_err(|source| ImportError::Directory {
        dir: dir.to_path_buf(),
        source,
    })?;
    match SegmentStore::open_read_only(directory.opened_as()) {
        Ok(store) => Ok(Stored::Known(store.parameters().clone(), store.indexes())),
        // The metadata is read first.
        Err(StoreError::Damaged(damage)) if damage.family != STORAGE_METADATA_CF => Ok(Stored::Own),
        Err(error) if of_damage(&error) => Ok(Stored::Unknown(Some(error))),
        Err(error) => Err(opened_as(dir, &directory, error)),
    }
}

fn indexes(arguments: &ImportArguments) -> IndexScopes {
    let mut indexes = IndexScopes::default();
    if arguments.no_operation_index {
        indexes.operations = IndexScope::None;
    }
    indexes
}

/// Parameters of a new store. The first block is checked before they are believed: its ids depend on them.
fn parameters<R: Read>(
    arguments: &ImportArguments,
    reader: &Reader<R>,
    first: Option<&Entry>,
) -> Result<ArchiveParameters, ImportError> {
    let (chain_id, thread_count) = (reader.chain_id(), reader.thread_count());
    let first = first.ok_or_else(|| ImportError::NoBlock {
        path: arguments.file.clone(),
    })?;
    let view = first.record.check_ids(chain_id, thread_count);
    let view = view.map_err(|error| ImportError::Block {
        path: arguments.file.clone(),
        source: Box::new(RefusedBlock {
            at: first.at,
            slot: first.slot,
            fault: error.into(),
        }),
    })?;
    Ok(ArchiveParameters {
        chain_id,
        thread_count,
        chunk_size: arguments.chunk_size.unwrap_or(DEFAULT_CHUNK_BYTES),
        segment_periods: arguments.segment_periods.unwrap_or(DEFAULT_SEGMENT_PERIODS),
        first_period: first.slot.period,
        // No block of the file comes before the first, so all of its parents come before the archive.
        boundary: view.parents().collect(),
    })
}

/// Checks that the file and the options fit a store that exists.
fn check_parameters<R: Read>(
    arguments: &ImportArguments,
    reader: &Reader<R>,
    (stored, indexes): (&ArchiveParameters, IndexScopes),
) -> Result<(), ImportError> {
    let check = |name, stored: String, given_by, given: Option<String>| match given.filter(|given| *given != stored) {
        None => Ok(()),
        Some(given) => Err(ImportError::Parameter {
            name,
            dir: arguments.dir.clone(),
            stored,
            given_by,
            given,
        }),
    };
    let file = "the file has";
    let chain_id = Some(reader.chain_id().to_string());
    check("chain_id", stored.chain_id.to_string(), file, chain_id)?;
    let thread_count = Some(reader.thread_count().to_string());
    check("thread_count", stored.thread_count.to_string(), file, thread_count)?;
    let (name, says) = ("segment_periods", "--segment-periods says");
    let given = arguments.segment_periods.map(|given| given.to_string());
    check(name, stored.segment_periods.to_string(), says, given)?;
    let given = arguments.chunk_size.map(|given| given.to_string());
    check("chunk_size", stored.chunk_size.to_string(), "--chunk-size says", given)?;
    let given = arguments.no_operation_index.then(|| IndexScope::None.to_string());
    let (name, says) = ("operation_index", "--no-operation-index says");
    check(name, indexes.operations.to_string(), says, given)
}
