//! The wallet.

use crate::{files, WalletError};
use massa_models::address::Address;
use massa_models::operation::{Operation, OperationSerializer, SecureShareOperation};
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::secure_share::SecureShareContent;
use massa_signature::KeyPair;
use std::fmt;
use std::path::PathBuf;

/// Keys by address, each kept in its own file `wallet_<address>.json`.
#[derive(Clone)]
pub struct Wallet {
    keys: PreHashMap<Address, KeyPair>,
    path: PathBuf,
    chain_id: u64,
}

impl Wallet {
    /// The wallet in the directory `path`, which is created if it is not there. It signs for the network `chain_id`.
    ///
    /// # Errors
    /// [`WalletError::File`], [`WalletError::Damaged`], [`WalletError::WrongAddress`], naming the file.
    pub fn new(path: PathBuf, chain_id: u64) -> Result<Self, WalletError> {
        files::create_directory(&path)?;
        let keys = files::load_directory(&path)?.into_iter().collect();
        Ok(Self { keys, path, chain_id })
    }

    /// Adds keys and writes their files. Returns their addresses, in the same order; keys that are there stay.
    ///
    /// # Errors
    /// [`WalletError::File`]. The keys before the one that could not be written are added.
    pub fn add_keypairs(&mut self, keys: Vec<KeyPair>) -> Result<Vec<Address>, WalletError> {
        keys.into_iter().map(|keypair| self.add(keypair)).collect()
    }

    /// Makes a new key. Returns its address.
    ///
    /// # Errors
    /// [`WalletError::Signature`], [`WalletError::File`].
    pub fn generate(&mut self) -> Result<Address, WalletError> {
        self.add(KeyPair::generate(0)?)
    }

    /// The addresses whose keys are here.
    pub fn get_wallet_address_list(&self) -> PreHashSet<Address> {
        self.keys.keys().copied().collect()
    }

    /// The addresses whose keys are here, in ascending order.
    pub fn get_addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = self.keys.keys().copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// The key of an address.
    pub fn find_associated_keypair(&self, address: &Address) -> Option<&KeyPair> {
        self.keys.get(address)
    }

    /// The network that operations are signed for.
    pub fn get_chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Signs an operation in the name of `address`.
    ///
    /// # Errors
    /// [`WalletError::MissingKey`], [`WalletError::Models`].
    pub fn create_operation(&self, content: Operation, address: Address) -> Result<SecureShareOperation, WalletError> {
        let keypair = self
            .find_associated_keypair(&address)
            .ok_or(WalletError::MissingKey(address))?;
        Ok(Operation::new_verifiable(
            content,
            OperationSerializer::new(),
            keypair,
            self.chain_id,
        )?)
    }

    fn add(&mut self, keypair: KeyPair) -> Result<Address, WalletError> {
        let address = Address::from_public_key(&keypair.get_public_key());
        if !self.keys.contains_key(&address) {
            files::save_wallet_file(&self.path, &address, &keypair)?;
            self.keys.insert(address, keypair);
        }
        Ok(address)
    }
}

/// Shows addresses, no keys.
impl fmt::Debug for Wallet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wallet")
            .field("path", &self.path)
            .field("addresses", &self.get_addresses())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::amount::Amount;
    use massa_models::operation::OperationType;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const CHAIN_ID: u64 = 77;

    fn open(directory: &tempfile::TempDir) -> Result<Wallet, WalletError> {
        Wallet::new(directory.path().join("wallet"), CHAIN_ID)
    }

    fn file_of(directory: &tempfile::TempDir, address: &Address) -> PathBuf {
        directory.path().join(format!("wallet/wallet_{address}.json"))
    }

    fn operation() -> Operation {
        Operation {
            fee: Amount::from_raw(1),
            expire_period: 5,
            op: OperationType::RollBuy { roll_count: 1 },
        }
    }

    #[test]
    fn keys_are_found_again_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let mut wallet = open(&directory).unwrap();
        assert_eq!(wallet.get_addresses(), []);
        let generated = wallet.generate().unwrap();
        let keypair = KeyPair::generate(0).unwrap();
        let added = wallet.add_keypairs(vec![keypair.clone(), keypair.clone()]).unwrap();
        assert_eq!(added[0], added[1]);

        let again = open(&directory).unwrap();
        let mut expected = vec![generated, added[0]];
        expected.sort();
        assert_eq!(again.get_addresses(), expected);
        let found = again.find_associated_keypair(&added[0]).unwrap();
        assert_eq!(found.to_bytes(), keypair.to_bytes());
    }

    #[test]
    fn the_file_holds_both_halves_of_the_key_and_the_address_for_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut wallet = open(&directory).unwrap();
        let address = wallet.generate().unwrap();
        let file = file_of(&directory, &address);
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let keypair = wallet.find_associated_keypair(&address).unwrap();
        let expected = serde_json::json!({
            "address": address.to_string(),
            "secret_key": keypair.to_string(),
            "public_key": keypair.get_public_key().to_string(),
        });
        assert_eq!(json, expected);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let wallet_directory = fs::metadata(directory.path().join("wallet")).unwrap();
        assert_eq!(wallet_directory.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_operation_is_signed_by_the_key_of_its_address_for_the_wallets_chain() {
        let directory = tempfile::tempdir().unwrap();
        let mut wallet = open(&directory).unwrap();
        let address = wallet.generate().unwrap();
        let signed = wallet.create_operation(operation(), address).unwrap();
        signed.verify_signature().unwrap();
        assert_eq!(signed.content_creator_address, address);
        let keypair = wallet.find_associated_keypair(&address).unwrap();
        let same: SecureShareOperation =
            Operation::new_verifiable(operation(), OperationSerializer::new(), keypair, CHAIN_ID).unwrap();
        assert_eq!(signed.id, same.id);
    }

    #[test]
    fn without_the_key_nothing_is_signed() {
        let directory = tempfile::tempdir().unwrap();
        let stranger = Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key());
        let error = open(&directory)
            .unwrap()
            .create_operation(operation(), stranger)
            .unwrap_err();
        assert!(matches!(error, WalletError::MissingKey(address) if address == stranger));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let address = open(&directory).unwrap().generate().unwrap();
        let file = file_of(&directory, &address);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        let error = open(&directory).unwrap_err();
        assert!(matches!(error, WalletError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_key_of_another_address_is_refused_in_the_file_and_in_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let mut wallet = open(&directory).unwrap();
        let (mine, other) = (wallet.generate().unwrap(), wallet.generate().unwrap());
        let (file, other_file) = (file_of(&directory, &mine), file_of(&directory, &other));
        let (text, other_text) = (
            fs::read_to_string(&file).unwrap(),
            fs::read_to_string(&other_file).unwrap(),
        );
        for wrong in [
            other_text,
            text.replace(&format!("\"{mine}\""), &format!("\"{other}\"")),
        ] {
            fs::write(&file, wrong).unwrap();
            let error = open(&directory).unwrap_err();
            assert!(matches!(error, WalletError::WrongAddress { .. }), "{error}");
            assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        open(&directory).unwrap();
        fs::write(directory.path().join("wallet/notes.txt"), "not a key").unwrap();
        assert_eq!(open(&directory).unwrap().get_addresses(), []);
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("wallet"), "a file").unwrap();
        let error = open(&directory).unwrap_err();
        assert!(error.to_string().contains("wallet"), "{error}");
    }

    #[test]
    fn printing_a_wallet_shows_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let mut wallet = open(&directory).unwrap();
        let address = wallet.generate().unwrap();
        let secret = wallet.find_associated_keypair(&address).unwrap().to_string();
        assert!(!format!("{wallet:?}").contains(&secret));
    }
}
