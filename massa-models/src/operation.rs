//! Operations: what users sign.

mod codec;
mod ids;

pub use codec::{
    OperationDeserializer, OperationSerializer, OperationTypeDeserializer, OperationTypeSerializer,
    OperationsDeserializer, OperationsSerializer,
};
pub use ids::{
    compute_operations_hash, OperationId, OperationIdDeserializer, OperationIdSerializer, OperationIdV0,
    OperationIdsDeserializer, OperationIdsSerializer, OperationPrefixId, OperationPrefixIdDeserializer,
    OperationPrefixIdV0, OperationPrefixIds, OperationPrefixIdsDeserializer, OperationPrefixIdsSerializer,
    OPERATION_ID_PREFIX_SIZE_BYTES,
};

use crate::address::Address;
use crate::amount::Amount;
use crate::datastore::Datastore;
use crate::error::ModelsError;
use crate::prehash::PreHashSet;
use crate::secure_share::{SecureShare, SecureShareContent};
use massa_hash::Hash;
use massa_signature::PublicKey;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;
use std::fmt;
use std::ops::RangeInclusive;

/// What a user wants done, and what they pay for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Paid to the producer of the block.
    pub fee: Amount,
    /// The last period whose blocks may include the operation.
    pub expire_period: u64,
    /// What is to be done.
    pub op: OperationType,
}

/// A signed operation.
pub type SecureShareOperation = SecureShare<Operation, OperationId>;

/// What an operation does.
#[serde_as]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationType {
    /// Sends coins.
    Transaction {
        /// Who gets the coins.
        recipient_address: Address,
        /// How many.
        amount: Amount,
    },
    /// Turns coins into rolls, which weigh in the draw of block producers.
    RollBuy {
        /// How many rolls.
        roll_count: u64,
    },
    /// Turns rolls into coins.
    RollSell {
        /// How many rolls.
        roll_count: u64,
    },
    /// Runs bytecode once.
    ExecuteSC {
        /// The bytecode.
        data: Vec<u8>,
        /// Limit of gas.
        max_gas: u64,
        /// Limit of the creator's coins that the bytecode may spend.
        max_coins: Amount,
        /// Values that the bytecode can read.
        #[serde_as(as = "Vec<(_, _)>")]
        datastore: Datastore,
    },
    /// Calls a function of a smart contract.
    CallSC {
        /// The smart contract.
        target_addr: Address,
        /// The name of the function.
        target_func: String,
        /// Its serialized parameters.
        param: Vec<u8>,
        /// Limit of gas.
        max_gas: u64,
        /// Coins given to the smart contract.
        coins: Amount,
    },
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, fee {}, expires after period {}",
            self.op, self.fee, self.expire_period
        )
    }
}

impl fmt::Display for OperationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction {
                recipient_address,
                amount,
            } => {
                write!(f, "transaction of {amount} to {recipient_address}")
            }
            Self::RollBuy { roll_count } => write!(f, "purchase of {roll_count} rolls"),
            Self::RollSell { roll_count } => write!(f, "sale of {roll_count} rolls"),
            Self::ExecuteSC { data, max_gas, .. } => {
                write!(f, "execution of {} bytes with {max_gas} gas", data.len())
            }
            Self::CallSC {
                target_addr,
                target_func,
                max_gas,
                ..
            } => {
                write!(f, "call of {target_func:?} of {target_addr} with {max_gas} gas")
            }
        }
    }
}

impl SecureShareContent for Operation {
    /// Operations are bound to a chain: the hash of chain id (u64, big-endian) | public key (33) | content.
    fn compute_hash(&self, content_serialized: &[u8], content_creator_pub_key: &PublicKey, chain_id: u64) -> Hash {
        Hash::compute_from_concatenation(&[
            &chain_id.to_be_bytes(),
            &content_creator_pub_key.to_bytes(),
            content_serialized,
        ])
    }
}

impl SecureShareOperation {
    /// The periods whose blocks may include the operation.
    pub fn get_validity_range(&self, operation_validity_period: u64) -> RangeInclusive<u64> {
        let last = self.content.expire_period;
        last.saturating_sub(operation_validity_period)..=last
    }

    /// The gas that the operation takes from its block's.
    pub fn get_gas_usage(&self, base_operation_gas_cost: u64, sp_compilation_cost: u64) -> u64 {
        let type_gas = match &self.content.op {
            OperationType::ExecuteSC { max_gas, .. } => max_gas.saturating_add(sp_compilation_cost),
            OperationType::CallSC { max_gas, .. } => *max_gas,
            _ => 0,
        };
        type_gas.saturating_add(base_operation_gas_cost)
    }

    /// Checks that the operation fits an empty block.
    ///
    /// # Errors
    /// A message for the user: it takes more gas than a block has.
    pub fn check_gas_usage(
        &self,
        max_gas_per_block: u64,
        base_operation_gas_cost: u64,
        sp_compilation_cost: u64,
    ) -> Result<(), String> {
        let gas = self.get_gas_usage(base_operation_gas_cost, sp_compilation_cost);
        if gas > max_gas_per_block {
            return Err(format!(
                "gas usage {gas} is above the limit of a block, {max_gas_per_block}"
            ));
        }
        Ok(())
    }

    /// The addresses whose coins the operation may change, as far as that is known without executing it.
    pub fn get_ledger_involved_addresses(&self) -> PreHashSet<Address> {
        let other = match &self.content.op {
            OperationType::Transaction { recipient_address, .. } => Some(*recipient_address),
            OperationType::CallSC { target_addr, .. } => Some(*target_addr),
            _ => None,
        };
        [self.content_creator_address].into_iter().chain(other).collect()
    }

    /// The most coins that the operation can take from its creator, the fee included.
    pub fn get_max_spending(&self, roll_price: Amount) -> Amount {
        let spent = match &self.content.op {
            OperationType::Transaction { amount, .. } => *amount,
            OperationType::RollBuy { roll_count } => roll_price.saturating_mul_u64(*roll_count),
            OperationType::RollSell { .. } => Amount::zero(),
            OperationType::ExecuteSC { max_coins, .. } => *max_coins,
            OperationType::CallSC { coins, .. } => *coins,
        };
        spent.saturating_add(self.content.fee)
    }

    /// The addresses whose rolls the operation changes.
    ///
    /// # Errors
    /// None; the result is upstream's.
    pub fn get_roll_involved_addresses(&self) -> Result<PreHashSet<Address>, ModelsError> {
        let changes_rolls = matches!(
            self.content.op,
            OperationType::RollBuy { .. } | OperationType::RollSell { .. }
        );
        Ok(changes_rolls
            .then_some(self.content_creator_address)
            .into_iter()
            .collect())
    }
}
