//! Upstream's constants, as far as the archive and a lean node need them.
//!
//! A node takes what its genesis file names from there; these are the values of the main network.

use crate::amount::Amount;
use crate::version::Version;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use std::sync::LazyLock;

/// Threads. A power of two.
pub const THREAD_COUNT: u8 = 32;
/// Length of a period.
pub const T0: MassaTime = MassaTime::from_millis(16_000);
/// Periods in a cycle, for which rolls are counted.
pub const PERIODS_PER_CYCLE: u64 = 128;
/// Endorsers of a slot.
pub const ENDORSEMENT_COUNT: u32 = 16;
/// Fitness of descendants that makes a block final: 64 blocks with all their endorsements.
pub const DELTA_F0: u64 = 64 * (ENDORSEMENT_COUNT as u64 + 1);
/// Cycles of proof-of-stake history kept.
pub const POS_SAVED_CYCLES: usize = 7;

/// Most operations in a block.
pub const MAX_OPERATIONS_PER_BLOCK: u32 = 5000;
/// Most bytes of a block's operations, taken together.
pub const MAX_BLOCK_SIZE: u32 = 300_000;
/// Periods during which an operation may be included.
pub const OPERATION_VALIDITY_PERIODS: u64 = 10;
/// Periods during which executed operations are remembered beyond their validity.
pub const KEEP_EXECUTED_HISTORY_EXTRA_PERIODS: u64 = 10;
/// Gas of a block.
pub const MAX_GAS_PER_BLOCK: u64 = u32::MAX as u64;
/// Gas of an operation, whatever it does.
pub const BASE_OPERATION_GAS_COST: u64 = 800_000;
/// Most denunciations in a block.
pub const MAX_DENUNCIATIONS_PER_BLOCK_HEADER: u32 = 128;
/// Periods after which misbehaviour can no longer be denounced.
pub const DENUNCIATION_EXPIRE_PERIODS: u64 = 128;

/// Most bytes of a datastore key.
pub const MAX_DATASTORE_KEY_LENGTH: u8 = 255;
/// Most bytes of a datastore value.
pub const MAX_DATASTORE_VALUE_LENGTH: u64 = 10_000_000;
/// Most bytes of a contract's bytecode.
pub const MAX_BYTECODE_LENGTH: u64 = 10_000_000;
/// Most entries in the datastore of an operation.
pub const MAX_OPERATION_DATASTORE_ENTRY_COUNT: u64 = 128;
/// Most bytes of a key in the datastore of an operation.
pub const MAX_OPERATION_DATASTORE_KEY_LENGTH: u8 = 255;
/// Most bytes of a value in the datastore of an operation.
pub const MAX_OPERATION_DATASTORE_VALUE_LENGTH: u64 = 500_000;
/// Most bytes of a function's name.
pub const MAX_FUNCTION_NAME_LENGTH: u16 = 255;
/// Most bytes of a call's parameters.
pub const MAX_PARAMETERS_SIZE: u32 = 10_000_000;
/// Most bytes of an event.
pub const MAX_EVENT_DATA_SIZE: usize = 1024;
/// Most events of an operation.
pub const MAX_EVENT_PER_OPERATION: usize = 25;
/// Most calls inside calls.
pub const MAX_RECURSIVE_CALLS_DEPTH: u16 = 25;

/// Most operations in a message.
pub const MAX_OPERATIONS_PER_MESSAGE: u32 = 1024;
/// Most endorsements in a message.
pub const MAX_ENDORSEMENTS_PER_MESSAGE: u32 = 1024;
/// Most bytes of a message.
pub const MAX_MESSAGE_SIZE: u32 = 1_048_576_000;
/// Default capacity of channels.
pub const CHANNEL_SIZE: usize = 1024;
/// Bytes of a signature.
pub const SIGNATURE_DESER_SIZE: usize = 65;
/// Most addresses that a peer may announce.
pub const MAX_LISTENERS_PER_PEER: u64 = 100;

/// Price of a roll.
pub const ROLL_PRICE: Amount = Amount::const_init(100, 0);
/// Created with each block.
pub const BLOCK_REWARD: Amount = Amount::const_init(40_001, 5);
/// Price of a byte in the ledger.
pub const LEDGER_COST_PER_BYTE: Amount = Amount::const_init(1, 4);
/// Price of an address in the ledger.
pub const LEDGER_ENTRY_BASE_COST: Amount = Amount::const_init(1, 3);
/// Bytes that a datastore entry costs beside its key and value.
pub const LEDGER_ENTRY_DATASTORE_BASE_SIZE: usize = 4;

/// Seed of the first cycles' draws.
pub const INITIAL_DRAW_SEED: &str = "massa_genesis_seed";

/// When the first slot began: 2024-01-15, 10:00 UTC.
pub static GENESIS_TIMESTAMP: LazyLock<MassaTime> = LazyLock::new(|| MassaTime::from_millis(1_705_312_800_000));

/// The key that signs genesis blocks. Public: everybody makes the same genesis blocks.
pub static GENESIS_KEY: LazyLock<KeyPair> = LazyLock::new(|| {
    "S1UxdCJv5ckDK8z87E5Jq5fEfSVLi2cTHgtpfZy7iURs3KpPns8"
        .parse()
        .expect("the constant is a valid key")
});

/// The version of the node.
pub static VERSION: LazyLock<Version> = LazyLock::new(|| "MAIN.5.0".parse().expect("the constant is a valid version"));

/// The chain id, by which operations are bound to a network.
pub static CHAINID: LazyLock<u64> =
    LazyLock::new(|| chain_id_of(&VERSION.instance()).expect("the network of the constant is a known one"));

/// The chain id of the network that these four letters name.
fn chain_id_of(instance: &str) -> Option<u64> {
    match instance {
        "MAIN" => Some(77_658_377),
        "SECU" => Some(77_658_383),
        "DEVN" => Some(77_658_366),
        "LABN" => Some(77_658_376),
        "SAND" => Some(77),
        _ => None,
    }
}
