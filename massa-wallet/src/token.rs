//! The token of a node's private API: whoever has it rules the node.

use crate::files::{file_error, read, write_text};
use crate::WalletError;
use rand::rngs::OsRng;
use rand::RngCore;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use subtle::ConstantTimeEq;

/// 256 random bits, as 64 hexadecimal digits.
#[derive(Clone)]
pub struct ApiToken(String);

impl ApiToken {
    /// Where a node keeps it and massa-cli looks for it, unless told otherwise: both in the folder of the node.
    pub const DEFAULT_PATH: &'static str = "config/api_token";

    /// Digits of a token.
    const DIGITS: usize = 64;

    /// A new one.
    pub fn generate() -> Self {
        let mut bytes = [0; Self::DIGITS / 2];
        OsRng.fill_bytes(&mut bytes);
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The token in the file at `path`; a new one, written there, if there is no file. Readable by its owner alone.
    ///
    /// # Errors
    /// [`WalletError::File`], [`WalletError::NotAToken`], [`WalletError::Exposed`], naming the file.
    pub fn load_or_create(path: &Path) -> Result<Self, WalletError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::load(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let token = Self::generate();
                write_text(path, &format!("{}\n", token.0))?;
                Ok(token)
            }
            Err(source) => Err(file_error("read", path)(source)),
        }
    }

    /// The token in the file at `path`.
    ///
    /// # Errors
    /// As [`ApiToken::load_or_create`]; [`WalletError::File`] too if there is no file.
    pub fn load(path: &Path) -> Result<Self, WalletError> {
        check_mode(path)?;
        let text = read(path)?;
        let token = text.trim();
        if token.len() != Self::DIGITS || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WalletError::NotAToken {
                path: path.to_path_buf(),
                reason: "expected 64 hexadecimal digits",
            });
        }
        Ok(Self(token.to_string()))
    }

    /// Whether `given` is this token. Takes as long whichever byte differs.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The digits, to be sent to the node.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), WalletError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(path).map_err(file_error("read", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_path_buf();
        return Err(WalletError::Exposed { path, mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), WalletError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_for_its_owner_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api_token");
        let made = ApiToken::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let found = ApiToken::load_or_create(&path).unwrap();
        assert!(made.is(found.secret().as_bytes()));
        assert!(!made.is(ApiToken::generate().secret().as_bytes()) && !made.is(b""));
        assert!(!format!("{made:?}").contains(made.secret()));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api_token");
        ApiToken::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = ApiToken::load_or_create(&path).unwrap_err();
            assert!(matches!(error, WalletError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("api_token"), "{error}");
        }
    }

    #[test]
    fn a_file_that_holds_something_else_is_named_and_neither_quoted_nor_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api_token");
        ApiToken::load_or_create(&path).unwrap();
        for text in ["", "secret", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            fs::write(&path, text).unwrap();
            let error = ApiToken::load_or_create(&path).unwrap_err().to_string();
            assert!(error.contains("api_token is not a token file"), "{error}");
            assert!(!error.contains("secret") && !error.contains("aaa"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let error = ApiToken::load(&path).unwrap_err();
        assert!(matches!(error, WalletError::File { .. }), "{error}");
    }
}
