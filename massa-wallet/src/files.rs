//! Key files: how they are written and read.

use crate::WalletError;
use massa_models::address::Address;
use massa_signature::KeyPair;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

const NAME_PREFIX: &str = "wallet_";
const NAME_SUFFIX: &str = ".json";

/// No key file is longer. A longer one is refused unread.
const FILE_BYTES_MAX: u64 = 4096;

/// A file of the wallet: the key's own form, and the address that follows from it.
#[derive(Serialize, Deserialize)]
struct WalletFile {
    address: String,
    #[serde(flatten)]
    keypair: KeyPair,
}

/// The key pair in the file at `path`; a new one, written there, if there is no file.
///
/// The file is the JSON of [`KeyPair`], not encrypted, readable by its owner alone.
///
/// # Errors
/// [`WalletError::File`], [`WalletError::Damaged`], naming the file.
pub fn load_or_create_keypair(path: &Path) -> Result<KeyPair, WalletError> {
    match fs::symlink_metadata(path) {
        Ok(_) => parse(path, &read(path)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let keypair = KeyPair::generate(0)?;
            write_json(path, &keypair)?;
            Ok(keypair)
        }
        Err(source) => Err(file_error("read", path)(source)),
    }
}

/// Creates the directory of a wallet unless it is there; for its owner alone.
pub(crate) fn create_directory(path: &Path) -> Result<(), WalletError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(file_error("create directory", path))
}

/// All key files of a directory with their keys, in the order of names. Other files are left alone.
pub(crate) fn load_directory(path: &Path) -> Result<Vec<(Address, KeyPair)>, WalletError> {
    let list = || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect() };
    let mut files = list().map_err(file_error("list directory", path))?;
    files.retain(|file| named_address(file).is_some());
    files.sort();
    files.iter().map(|file| load_wallet_file(file)).collect()
}

/// Writes the file of one key.
pub(crate) fn save_wallet_file(directory: &Path, address: &Address, keypair: &KeyPair) -> Result<(), WalletError> {
    let file = WalletFile {
        address: address.to_string(),
        keypair: keypair.clone(),
    };
    write_json(&directory.join(format!("{NAME_PREFIX}{address}{NAME_SUFFIX}")), &file)
}

fn load_wallet_file(path: &Path) -> Result<(Address, KeyPair), WalletError> {
    let file: WalletFile = parse(path, &read(path)?)?;
    let derived = Address::from_public_key(&file.keypair.get_public_key());
    let in_name = named_address(path).unwrap_or_default();
    for named in [file.address.as_str(), in_name] {
        if named != derived.to_string() {
            return Err(WalletError::WrongAddress {
                path: path.to_path_buf(),
                named: named.to_owned(),
                derived,
            });
        }
    }
    Ok((derived, file.keypair))
}

/// The address in the name of a key file; `None` for every other file.
fn named_address(path: &Path) -> Option<&str> {
    let name = path.file_name().and_then(OsStr::to_str)?;
    name.strip_prefix(NAME_PREFIX)?.strip_suffix(NAME_SUFFIX)
}

pub(crate) fn read(path: &Path) -> Result<String, WalletError> {
    let file = fs::File::open(path).map_err(file_error("read", path))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(file_error("read", path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(damaged(path, format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| damaged(path, "it is not text".into()))
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T, WalletError> {
    serde_json::from_str(text).map_err(|error| {
        // The message of a value that does not parse quotes the value, which may be most of a secret key.
        let (line, column) = (error.line(), error.column());
        let reason = match error.classify() {
            serde_json::error::Category::Data => format!("a field is missing or invalid, line {line} column {column}"),
            _ => format!("it is not whole JSON, line {line} column {column}"),
        };
        damaged(path, reason)
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), WalletError> {
    let mut text = serde_json::to_string_pretty(value).expect("text fields always have a JSON form");
    text.push('\n');
    write_text(path, &text)
}

/// Writes `text` whole or not at all. Temporary files are made with mode 0600, which the renamed file keeps.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), WalletError> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".key").tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The rename itself is durable once the directory is.
        fs::File::open(directory)?.sync_all()
    };
    write().map_err(file_error("write", path))
}

pub(crate) fn file_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> WalletError {
    let path = path.to_path_buf();
    move |source| WalletError::File { action, path, source }
}

fn damaged(path: &Path, reason: String) -> WalletError {
    let path = path.to_path_buf();
    WalletError::Damaged { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node_privkey.key");
        let made = load_or_create_keypair(&path).unwrap();
        let found = load_or_create_keypair(&path).unwrap();
        assert_eq!(made.to_bytes(), found.to_bytes());
    }

    #[test]
    fn only_the_owner_may_read_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node_privkey.key");
        load_or_create_keypair(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_but_the_key_stays_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        load_or_create_keypair(&directory.path().join("node_privkey.key")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_key_file_is_named_and_neither_quoted_nor_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node_privkey.key");
        for text in ["", "{", r#"{"secret_key":"SsecretSECRET","public_key":"P1"}"#, "[]"] {
            fs::write(&path, text).unwrap();
            let error = load_or_create_keypair(&path).unwrap_err();
            assert!(matches!(error, WalletError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("node_privkey.key"), "{error}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_too_long_to_be_a_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node_privkey.key");
        fs::write(&path, " ".repeat(1 << 20)).unwrap();
        let error = load_or_create_keypair(&path).unwrap_err();
        assert!(error.to_string().contains("longer than 4096 bytes"), "{error}");
    }

    #[test]
    fn an_unreadable_or_unwritable_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent").join("node.key");
        for path in [directory.path(), absent.as_path()] {
            let error = load_or_create_keypair(path).unwrap_err();
            assert!(matches!(error, WalletError::File { .. }), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }
}
