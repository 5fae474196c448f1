//! The operation that makes a contract: what massa-web3 sends, with a deployer of our own.
//!
//! Keys of the operation's datastore, integers little-endian; contracts are counted from 1:
//!
//! ```text
//! 00                      number of contracts u64
//! n u64                   bytecode
//! n u64 | 1 u32 | 00      parameter of the constructor
//! n u64 | 1 u32 | 01      coins for the constructor u64
//! ```

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::datastore::Datastore;
use massa_models::operation::OperationType;

/// What the deployer says of each contract it made, before the address.
const DEPLOYED: &str = "Contract deployed at address: ";
/// What the ledger asks for each byte of bytecode, and for a new address: raw amounts.
const BYTE_COST: u64 = 100_000;
const ADDRESS_COST: u64 = 1_000_000;

/// A contract to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewContract {
    /// Its bytecode.
    pub bytecode: Vec<u8>,
    /// Parameter of its constructor.
    pub parameter: Vec<u8>,
    /// Coins that the constructor gets.
    pub coins: Amount,
}

impl NewContract {
    /// What making it costs its creator, the fee of the operation excepted.
    pub fn cost(&self) -> Amount {
        let bytes = self.bytecode.len() as u64;
        let storage = bytes.saturating_mul(BYTE_COST).saturating_add(ADDRESS_COST);
        Amount::from_raw(storage.saturating_add(self.coins.to_raw()))
    }
}

/// The operation that runs `deployer`, which makes `contract`.
pub fn deployment(deployer: Vec<u8>, contract: &NewContract, max_gas: u64) -> OperationType {
    let first = 1u64.to_le_bytes();
    let key = |suffix: u8| [&first[..], &1u32.to_le_bytes(), &[suffix]].concat();
    let datastore = Datastore::from([
        (vec![0], 1u64.to_le_bytes().to_vec()),
        (first.to_vec(), contract.bytecode.clone()),
        (key(0), contract.parameter.clone()),
        (key(1), contract.coins.to_raw().to_le_bytes().to_vec()),
    ]);
    OperationType::ExecuteSC {
        data: deployer,
        max_gas,
        max_coins: contract.cost(),
        datastore,
    }
}

/// The address of the contract, from what the deployer said.
pub fn deployed_address<'a>(events: impl IntoIterator<Item = &'a str>) -> Option<Address> {
    let mut addresses = events.into_iter().filter_map(|event| event.strip_prefix(DEPLOYED));
    addresses.find_map(|text| text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datastore_is_the_one_that_the_deployer_reads() {
        let contract = NewContract {
            bytecode: vec![7; 10],
            parameter: vec![8, 9],
            coins: Amount::from_raw(300),
        };
        let operation = deployment(vec![1, 2], &contract, 5);
        let OperationType::ExecuteSC {
            data,
            max_gas,
            max_coins,
            datastore,
        } = operation
        else {
            panic!("not ExecuteSC");
        };
        assert_eq!((data, max_gas), (vec![1, 2], 5));
        assert_eq!(max_coins, Amount::from_raw(10 * 100_000 + 1_000_000 + 300));
        let rows: Vec<(String, String)> = datastore
            .iter()
            .map(|(k, v)| (hex::encode(k), hex::encode(v)))
            .collect();
        let expected = [
            ("00", "0100000000000000"),
            ("0100000000000000", "07070707070707070707"),
            ("01000000000000000100000000", "0809"),
            ("01000000000000000100000001", "2c01000000000000"),
        ];
        assert_eq!(rows, expected.map(|(k, v)| (k.to_string(), v.to_string())));
    }

    #[test]
    fn the_address_is_what_the_deployer_said() {
        let address = "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy";
        let said = format!("Contract deployed at address: {address}");
        assert_eq!(
            deployed_address(["STORAGE_REGISTRY_CREATED:x", &said])
                .unwrap()
                .to_string(),
            address
        );
        assert_eq!(deployed_address(["Contract deployed at address: nowhere"]), None);
    }
}
