//! A seeded chain of real blocks.
//!
//! Every signature verifies, every id and operation root is right, parents are the latest block of each thread; producers
//! and endorsers are drawn at random, by stake if the settings say so. One seed always gives the same bytes.

use ed25519_dalek::hazmat::{raw_sign, ExpandedSecretKey};
use ed25519_dalek::{Sha512, SigningKey};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::{ArchiveParameters, SIGNATURE_BYTES};
use massa_distributed_storage_exports::verification::verify_block;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block::{Block, BlockSerializer};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer, SecuredHeader};
use massa_models::block_id::BlockId;
use massa_models::endorsement::{Endorsement, EndorsementSerializer, SecureShareEndorsement};
use massa_models::operation::{
    compute_operations_hash, Operation, OperationId, OperationIdSerializer, OperationSerializer, OperationType,
    SecureShareOperation,
};
use massa_models::secure_share::{Id, SecureShare, SecureShareContent, SecureShareSerializer};
use massa_models::slot::Slot;
use massa_serialization::Serializer;
use massa_signature::{KeyPair, PublicKey, Signature};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

const VALIDITY_PERIODS: u64 = 10;

/// What a generated chain looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorConfig {
    /// Same seed and settings, same chain.
    pub seed: u64,
    /// The chain.
    pub chain_id: u64,
    /// Its threads.
    pub thread_count: u8,
    /// The first generated period.
    pub first_period: u64,
    /// Share of missed slots, 0 to 1.
    pub miss_rate: f64,
    /// Operations of each block.
    pub operations: RangeInclusive<usize>,
    /// Share of operations that carry a payload (half bytecode, half contract calls), 0 to 1; the others are
    /// transactions.
    pub payload_share: f64,
    /// Bytes of each payload.
    pub payload_bytes: RangeInclusive<usize>,
    /// Endorsements of each block, at most 16.
    pub endorsements_per_block: u32,
    /// Keys that make and endorse blocks and send operations.
    pub stakers: usize,
    /// How unequal they are: the stake of the k-th is 1/k to this power, so 0 makes all equal.
    pub stake_skew: f64,
    /// Whether the parents of a block are the latest blocks when it is made, as on a running network: those of the threads
    /// before its own are of the same period. If not, all are from before the period.
    pub rolling_parents: bool,
    /// Whether signatures are random bytes instead: for measurements where nobody checks them, twenty times as fast. Ids,
    /// lengths and what can be packed are the same as with true ones.
    pub false_signatures: bool,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            chain_id: 77_658_377,
            thread_count: 32,
            first_period: 1,
            miss_rate: 0.05,
            operations: 0..=6,
            payload_share: 0.2,
            payload_bytes: 100..=2_000,
            endorsements_per_block: 16,
            stakers: 32,
            stake_skew: 0.0,
            rolling_parents: false,
            false_signatures: false,
        }
    }
}

impl GeneratorConfig {
    /// Near-empty blocks, as they are the rule on today's chain: all endorsements, one operation at most, parents as on a
    /// running network.
    ///
    /// A thousand stakers are a guess. The skew makes the largest of them hold 4.2 % of the stake, which is what the largest
    /// account of Massa Labs held in April 2025 by their own words (forum.massa.community, topic "Dynamic inflation").
    pub fn near_empty() -> Self {
        Self {
            first_period: 5_700_000,
            miss_rate: 0.02,
            operations: 0..=1,
            payload_share: 0.0,
            stakers: 1_000,
            stake_skew: 0.7,
            rolling_parents: true,
            ..Self::default()
        }
    }
}

/// A seeded chain of real blocks, made period by period.
pub struct Generator {
    config: GeneratorConfig,
    random: ChaCha20Rng,
    keys: Vec<(KeyPair, Address)>,
    stakes: Stakes,
    key_by_public: BTreeMap<PublicKey, usize>,
    boundary: Vec<BlockId>,
    latest: Vec<BlockId>,
    period: u64,
}

impl Generator {
    /// A chain that begins after random blocks, the [`Generator::boundary`].
    pub fn new(config: GeneratorConfig) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(config.seed);
        let keys: Vec<_> = (0..config.stakers).map(|_| random_key(&mut random)).collect();
        let public = |(index, (key, _)): (usize, &(KeyPair, Address))| (key.get_public_key(), index);
        let key_by_public = keys.iter().enumerate().map(public).collect();
        let boundary: Vec<BlockId> = (0..config.thread_count)
            .map(|_| BlockId::new(Hash::from_bytes(&random.gen())))
            .collect();
        Self {
            period: config.first_period,
            latest: boundary.clone(),
            boundary,
            key_by_public,
            keys,
            stakes: Stakes::new(config.stakers, config.stake_skew),
            random,
            config,
        }
    }

    /// Ids of each thread's last block before the first generated period.
    pub fn boundary(&self) -> &[BlockId] {
        &self.boundary
    }

    /// The period that [`Generator::next_period`] makes next.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Parameters of an archive of this chain: default sizes, from the first generated period on.
    pub fn parameters(&self) -> ArchiveParameters {
        ArchiveParameters {
            first_period: self.config.first_period,
            boundary: self.boundary.clone(),
            ..ArchiveParameters::new(self.config.chain_id, self.config.thread_count)
        }
    }

    /// Makes the next period: its block for each thread, or `None` for a miss.
    ///
    /// # Panics
    /// When the settings give a block beyond the size of a record.
    pub fn next_period(&mut self) -> Vec<Option<BlockRecord>> {
        let parents = self.latest.clone();
        let places = (0..self.config.thread_count).map(|thread| {
            let missed = self.random.gen_bool(self.config.miss_rate);
            let parents = if self.config.rolling_parents {
                self.latest.clone()
            } else {
                parents.clone()
            };
            (!missed).then(|| self.block(Slot::new(self.period, thread), &parents))
        });
        let places = places.collect();
        self.period += 1;
        places
    }

    /// The same block and operations, each with another valid signature by its creator.
    ///
    /// # Panics
    /// When `record` is not a block of this chain.
    pub fn sign_again(&self, record: &BlockRecord) -> BlockRecord {
        let verified =
            verify_block(record, self.config.chain_id, self.config.thread_count).expect("blocks of this chain verify");
        let header = &verified.block().content.header;
        let signed = std::iter::once((header.content_creator_pub_key, header.compute_signed_hash()));
        let signed = signed.chain(verified.operations().iter().map(|operation| {
            let creator = operation.content_creator_pub_key;
            (creator, operation.compute_signed_hash())
        }));
        let mut objects = record.objects().zip(signed).map(|(object, (creator, hash))| {
            let (key, _) = &self.keys[self.key_by_public[&creator]];
            let mut bytes = second_signature(key, &hash).to_vec();
            bytes.extend(&object[SIGNATURE_BYTES..]);
            bytes
        });
        let block = objects.next().expect("a record has a block");
        BlockRecord::new(&block, &objects.collect::<Vec<_>>()).expect("no length changed")
    }

    fn block(&mut self, slot: Slot, parents: &[BlockId]) -> BlockRecord {
        let count = self.random.gen_range(self.config.operations.clone());
        let operations: Vec<_> = (0..count).map(|_| self.operation(slot)).collect();
        let ids: Vec<OperationId> = operations.iter().map(|operation| operation.id).collect();
        let header = self.header(slot, parents, &ids);
        self.latest[usize::from(slot.thread)] = header.id;
        let block = Block {
            header,
            operations: ids,
        };
        let operations: Vec<_> = operations
            .iter()
            .map(|operation| to_bytes(&SecureShareSerializer::new(), operation))
            .collect();
        BlockRecord::new(&to_bytes(&BlockSerializer::new(), &block), &operations)
            .expect("settings of the generator stay below the limits of a block")
    }

    fn header(&mut self, slot: Slot, parents: &[BlockId], ids: &[OperationId]) -> SecuredHeader {
        let endorsed = parents[usize::from(slot.thread)];
        let endorsements = (0..self.config.endorsements_per_block)
            .map(|index| self.endorsement(slot, index, endorsed))
            .collect();
        let header = BlockHeader {
            current_version: 0,
            announced_version: None,
            slot,
            parents: parents.to_vec(),
            operation_merkle_root: compute_operations_hash(ids, &OperationIdSerializer::new()),
            endorsements,
            denunciations: Vec::new(),
        };
        self.sign(header, BlockHeaderSerializer::new())
    }

    fn endorsement(&mut self, slot: Slot, index: u32, endorsed_block: BlockId) -> SecureShareEndorsement {
        let endorsement = Endorsement {
            slot,
            index,
            endorsed_block,
        };
        self.sign(endorsement, EndorsementSerializer::new())
    }

    fn operation(&mut self, slot: Slot) -> SecureShareOperation {
        let operation = Operation {
            fee: Amount::from_raw(self.random.gen_range(10_000_000..100_000_000)),
            expire_period: slot.period + self.random.gen_range(0..VALIDITY_PERIODS),
            op: self.operation_type(),
        };
        self.sign(operation, OperationSerializer::new())
    }

    fn operation_type(&mut self) -> OperationType {
        if !self.random.gen_bool(self.config.payload_share) {
            return OperationType::Transaction {
                recipient_address: self.address(),
                amount: Amount::from_raw(self.random.gen()),
            };
        }
        let mut payload = vec![0; self.random.gen_range(self.config.payload_bytes.clone())];
        self.random.fill_bytes(&mut payload);
        if self.random.gen() {
            OperationType::ExecuteSC {
                data: payload,
                max_gas: 100_000_000,
                max_coins: Amount::zero(),
                datastore: BTreeMap::new(),
            }
        } else {
            OperationType::CallSC {
                target_addr: self.address(),
                target_func: "store".to_string(),
                param: payload,
                max_gas: 20_000_000,
                coins: Amount::zero(),
            }
        }
    }

    /// Signs with one of the keys, drawn by stake.
    fn sign<T: SecureShareContent + Display, I: Id>(
        &mut self,
        content: T,
        serializer: impl Serializer<T>,
    ) -> SecureShare<T, I> {
        let (key, address) = &self.keys[self.stakes.draw(&mut self.random)];
        if self.config.false_signatures {
            let (public_key, chain_id) = (key.get_public_key(), self.config.chain_id);
            let serialized_data = to_bytes(&serializer, &content);
            return SecureShare {
                signature: random_signature(&mut self.random),
                id: I::new(content.compute_hash(&serialized_data, &public_key, chain_id)),
                content_creator_pub_key: public_key,
                content_creator_address: *address,
                content,
                serialized_data,
            };
        }
        content
            .new_verifiable(serializer, key, self.config.chain_id)
            .expect("generated values have an encoding")
    }

    fn address(&mut self) -> Address {
        self.keys[self.stakes.draw(&mut self.random)].1
    }
}

/// Draws stakers in proportion to their stake.
enum Stakes {
    Equal(usize),
    /// Sums of the stakes up to each staker.
    Sums(Vec<u64>),
}

impl Stakes {
    /// Stake of the first staker, if they are not equal.
    const LARGEST: f64 = 1e12;

    fn new(stakers: usize, skew: f64) -> Self {
        if skew == 0.0 {
            return Self::Equal(stakers);
        }
        let mut sum = 0;
        let sums = (1..=stakers).map(|rank| {
            sum += (Self::LARGEST / (rank as f64).powf(skew)) as u64;
            sum
        });
        Self::Sums(sums.collect())
    }

    fn draw(&self, random: &mut ChaCha20Rng) -> usize {
        match self {
            Self::Equal(stakers) => random.gen_range(0..*stakers),
            Self::Sums(sums) => {
                let point = random.gen_range(0..*sums.last().expect("there is a staker"));
                sums.partition_point(|sum| *sum <= point)
            }
        }
    }
}

fn random_key(random: &mut ChaCha20Rng) -> (KeyPair, Address) {
    let mut bytes = [0; 33];
    random.fill_bytes(&mut bytes[1..]);
    let key = KeyPair::from_bytes(&bytes).expect("any 32 bytes after version 0 are a key");
    let address = Address::from_public_key(&key.get_public_key());
    (key, address)
}

fn random_signature(random: &mut ChaCha20Rng) -> Signature {
    let mut bytes = [0; SIGNATURE_BYTES];
    random.fill_bytes(&mut bytes[1..]);
    Signature::from_bytes(&bytes).expect("any 64 bytes after version 0 are the form of a signature")
}

/// A valid signature of `hash` that differs from the usual one: its nonce is drawn with another prefix.
fn second_signature(key: &KeyPair, hash: &Hash) -> [u8; SIGNATURE_BYTES] {
    let seed = key.to_bytes()[1..].try_into().expect("a seed has 32 bytes");
    let public = SigningKey::from_bytes(&seed).verifying_key();
    let mut secret = ExpandedSecretKey::from(&seed);
    secret.hash_prefix[0] ^= 1;
    let mut signature = [0; SIGNATURE_BYTES];
    signature[1..].copy_from_slice(&raw_sign::<Sha512>(&secret, hash.to_bytes(), &public).to_bytes());
    signature
}

fn to_bytes<T>(serializer: &impl Serializer<T>, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    serializer
        .serialize(value, &mut bytes)
        .expect("generated values have an encoding");
    bytes
}
