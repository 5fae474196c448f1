//! What the storage worker and the storage handler tell each other about the segment archive, and what the handler needs of
//! its host.
//!
//! The worker decides what is fetched and from whom; the handler of the protocol worker asks, checks what arrives and
//! serves. Nothing here waits: requests and answers travel through bounded channels.
//!
//! What the handler checks before it hands something over: a page down to its chunk id ([`VerifiedPage`]); of tables,
//! entries and blocks that they are well formed and of the network, segment, period and slot that they were asked for as.
//! Whether a table, an entry or a block is *true* follows from roots and links that only the worker knows. Each event
//! says who answered, so that the worker can name the sender of what turns out false ([`StorageNetwork::quarantine`]).

mod fetch;
mod page;

pub use fetch::{Fetch, FetchEvent, FetchFailure, FetchTarget};
pub use page::{PageContent, PageError, VerifiedPage};

use crate::merkle::MerkleProof;
use crate::period::TaggedSignature;
use crate::types::{ChallengeId, ChunkId, ChunkIndex, ChunkPosition, SegmentRoot, LEAF_BYTES, PAGE_BYTES};
use crossbeam_channel::Sender;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that the shortest object takes in a body: length field, public key, and four fields of a byte each.
const MIN_OBJECT_BYTES: usize = 4 + 33 + 4;
/// Objects that may end in one page; one may have begun before it.
pub const MAX_PAGE_SIGNATURES: usize = PAGE_BYTES / MIN_OBJECT_BYTES + 1;
/// Objects that may end in one leaf.
pub const MAX_LEAF_SIGNATURES: usize = LEAF_BYTES / MIN_OBJECT_BYTES + 1;
/// Segments of one fetch for tables: four frames of near-empty ones, so that one fetch can use several peers and a failed one
/// costs little to repeat. What is asked for in one request follows from the size of the tables.
pub const MAX_FETCH_TABLES: u32 = 64;
/// Periods of one fetch for entries: the most periods of a segment.
pub const MAX_FETCH_ENTRIES: u32 = 256;
/// Segments of one fetch for held chunks: a segment of near-empty periods takes three bytes.
pub const MAX_FETCH_HELD: u32 = 1024;
/// Bytes of the list of held chunks of one segment: a bit for each chunk that a position can name.
pub const MAX_HELD_BYTES: usize = crate::types::MAX_SEGMENT_LEAVES as usize / 8;
/// Ids that are looked up in one request: enough to fill a reader's page, few enough for 64 point reads.
pub const MAX_LOCATE_IDS: usize = 64;
/// Ranges of segments in one [`Capabilities`].
pub const MAX_HELD_RANGES: usize = 64;
/// Chunks in one announcement: a frame of 9 KiB.
pub const MAX_ANNOUNCED_CHUNKS: usize = 256;
/// Bytes of a sum path: its mask, and a sibling at each of the 40 levels of a claim.
pub const MAX_SUM_PATH_BYTES: usize = SUM_PATH_MASK_BYTES + ChunkPosition::BITS as usize * SUM_PATH_SIBLING_BYTES;
/// Bytes of the mask that a sum path begins with.
pub const SUM_PATH_MASK_BYTES: usize = 8;
/// Bytes of a sibling of a sum path: sum u64, hash (32).
pub const SUM_PATH_SIBLING_BYTES: usize = 8 + 32;
/// Leaves that an audit of a peer draws, one after the other (design, section 8.13).
pub const CHALLENGE_LEAVES: usize = 32;

/// What a node answers to a request for something archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Here it is.
    Found(T),
    /// This node does not have it yet.
    NotYet,
    /// This node does not hold it.
    NotHeld,
    /// This node held it and let go of it.
    Pruned,
}

/// How soon something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchPriority {
    /// A reader waits for it.
    Reader,
    /// Repair.
    Repair,
}

/// What a challenged node did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeFailure {
    /// It says that it does not hold the chunk: not yet, not any more, or never did.
    NotHeld,
    /// It says that it has too much to do.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// It is not connected, and could not be dialed in time.
    NotConnected,
    /// It sent what cannot be read.
    Malformed,
}

/// The queue to the storage handler is full, or the handler has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the storage handler does not take requests")]
pub struct NetworkBusy;

/// What an archive has of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotContent<T> {
    /// A block with its operations.
    Block(T),
    /// The slot was missed, as the sender says: its period's root tells whether that is so.
    Miss,
}

/// An id that is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocateId {
    /// Of a block.
    Block(BlockId),
    /// Of an operation.
    Operation(OperationId),
}

/// Where an object stands, as a peer says: the slot's entry, or the block, tells whether that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Slot of the block.
    pub slot: Slot,
    /// Position of an operation in its block; 0 for a block.
    pub index: u32,
}

/// Of which objects a node has an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexScope {
    /// Of none.
    #[default]
    None,
    /// Of those whose first byte lies in a chunk that it holds.
    Held,
    /// Of all: such a node is asked for ids that this one does not know.
    All,
}

/// The indexes that a node keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexScopes {
    /// From block id to slot.
    pub block: IndexScope,
    /// From operation id to slot and position.
    pub operation: IndexScope,
    /// From address to slots.
    pub address: IndexScope,
}

/// Segments of which a node holds every chunk that is assigned to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRange {
    /// The first of them.
    pub first_segment: u64,
    /// The last of them.
    pub last_segment: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Disk space it offers.
    pub allocated_storage_gb: u64,
    /// Periods below it are pruned.
    pub floor: u64,
    /// The last segment whose table it has.
    pub newest_segment: Option<u64>,
    /// The last period that joined its stream: nothing before it is missing.
    pub newest_period: Option<u64>,
    /// The indexes that it keeps.
    pub indexes: IndexScopes,
    /// Ascending, at most [`MAX_HELD_RANGES`].
    pub ranges: Vec<HeldRange>,
}

/// A chunk that a peer says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedChunk {
    /// Position in its segment.
    pub index: ChunkIndex,
    /// Its id, which is provisional while the segment is not anchored.
    pub id: ChunkId,
}

/// An audit of a peer: it is to show [`CHALLENGE_LEAVES`] leaves of one chunk. Which ones follows from the challenge and
/// from the leaves before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditChallenge {
    /// Follows from the two peers and the other fields, so that nobody can pass a challenge on.
    pub challenge_id: ChallengeId,
    /// Position of the chunk.
    pub position: ChunkPosition,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// Drawn at random by the challenger.
    pub nonce: u64,
}

/// One of the leaves that a challenge asks for: nothing in it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLeaf {
    /// At most [`LEAF_BYTES`].
    pub bytes: Vec<u8>,
    /// To the chunk id.
    pub path: MerkleProof,
    /// Leading signatures of the objects that end in the leaf, at most [`MAX_LEAF_SIGNATURES`], tagged with their position in
    /// the leaf's page. No root covers them and the contract does not see them: only audits ask whether they are kept.
    pub signatures: Vec<TaggedSignature>,
}

/// Whether bytes have the form of a sum path: a mask of 40 bits, and a sibling for each bit that is set. Where it leads is for the
/// worker to find out.
pub fn is_sum_path(bytes: &[u8]) -> bool {
    let Some((mask, siblings)) = bytes.split_first_chunk::<SUM_PATH_MASK_BYTES>() else {
        return false;
    };
    let mask = u64::from_le_bytes(*mask);
    let listed = mask.count_ones() as usize;
    mask >> ChunkPosition::BITS == 0 && siblings.len() == listed * SUM_PATH_SIBLING_BYTES
}

/// What this node serves. Implemented by the worker on top of its store; called on the handler's threads.
pub trait ArchiveServer: Send + Sync {
    /// Binary forms of the tables of segments from `first_segment` on: `count` at most, and no more than fit into
    /// `bytes_max` together, but one at least if there is one. [`Answer::NotYet`] beyond the last one.
    fn tables(&self, first_segment: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>>;

    /// Binary forms of the entries of periods from `first_period` on, as many as for [`ArchiveServer::tables`]. Of periods
    /// that joined the stream of an open segment, and of closed ones whose entry is kept.
    fn entries(&self, first_period: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>>;

    /// The block of a slot with its operations, as [`crate::record::BlockRecord`] has it: of an open segment, of one just
    /// closed, or put together from held chunks. A block of a lost period is not held.
    fn block(&self, slot: &Slot) -> Answer<SlotContent<Vec<u8>>>;

    /// One page of a chunk. `chunk_id` is what the requester expects at `position`; another one is not held.
    fn page(&self, position: ChunkPosition, chunk_id: &ChunkId, page: u32) -> Answer<PageContent>;

    /// For each segment from `first_segment` on, `count` at most, a bit for each chunk that is held and assigned to this node:
    /// bit `i % 8` of byte `i / 8` is chunk `i`. Others may drop their copies because of it, so it leaves out what this node
    /// may drop itself. Without trailing zero bytes; empty for a segment that is not closed here. No more than fit into
    /// `bytes_max` together, but one at least.
    fn held(&self, first_segment: u64, count: u32, bytes_max: usize) -> Vec<Vec<u8>>;

    /// Where these objects stand, one for each id, in order; `None` for those that no index of this node has.
    fn locate(&self, ids: &[LocateId]) -> Vec<Option<Located>>;

    /// What this node says of itself.
    fn capabilities(&self) -> Capabilities;

    /// The way from the chunk at `position` to what this node claimed for `round`: mask u64 | siblings, each sum u64 | hash (32),
    /// integers little-endian, from the chunk up; [`is_sum_path`]. Shows to others that it claims the chunk itself. A claim is kept
    /// until the end of the round after its own; a chunk that is not in it is not held.
    fn sum_path(&self, round: u64, position: ChunkPosition) -> Answer<Vec<u8>> {
        let _ = (round, position);
        Answer::NotHeld
    }

    /// The leaves that a challenge of `challenger` asks for, in the order in which they are drawn. A chunk that is not the
    /// one at its position, or not held, is not held; nor is anything for a challenge that was made for another node.
    fn prove(&self, challenger: &NodeId, challenge: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
        let _ = (challenger, challenge);
        Answer::NotHeld
    }
}

/// What peers tell without being asked. Implemented by the worker; called on the handler's threads, never waits.
pub trait StorageEvents: Send + Sync {
    /// `from` says that it holds these chunks of `segment`, whose root is `root` if it is closed there. A hint whom to ask, and
    /// nothing more.
    fn chunks_announced(&self, from: NodeId, segment: u64, root: Option<SegmentRoot>, chunks: Vec<AnnouncedChunk>);

    /// A peer that speaks storage connected, or said something new of itself.
    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>);

    /// A peer that speaks storage is gone.
    fn peer_gone(&self, node: NodeId);
}

/// A challenge to be put to a node, which is dialed if it is not connected.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Chosen by the worker; comes back with the answer.
    pub id: u64,
    /// Who is challenged.
    pub node: NodeId,
    /// What it is asked.
    pub challenge: AuditChallenge,
    /// How long to wait, dialing included.
    pub timeout: Duration,
    /// Where the answer goes. When it is full or gone, the answer is lost.
    pub reply: Sender<ChallengeEvent>,
}

/// What came of a challenge. There is exactly one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeEvent {
    /// Of the challenge.
    pub id: u64,
    /// Who was challenged.
    pub node: NodeId,
    /// The answer.
    pub answer: Result<ChallengeAnswer, ChallengeFailure>,
}

/// Leaves that a challenged node sent: nothing in them is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeAnswer {
    /// The challenge that is answered, as the node says.
    pub challenge_id: ChallengeId,
    /// In the order in which they were drawn.
    pub leaves: Vec<AuditLeaf>,
    /// From sending the challenge to its answer.
    pub elapsed: Duration,
    /// The same for a small request just before: what of `elapsed` is the way and the queues on it.
    pub round_trip: Duration,
}

/// A peer that speaks storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoragePeer {
    /// Who.
    pub node: NodeId,
    /// What it said of itself last, if it did.
    pub capabilities: Option<Capabilities>,
    /// It sent what is provably wrong, and is asked nothing for a while.
    pub quarantined: bool,
}

/// What the worker asks of the network. Implemented by the storage handler; never waits.
pub trait StorageNetwork: Send + Sync {
    /// Asks the network; the answers go to the fetch's `reply`.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn fetch(&self, fetch: Fetch) -> Result<(), NetworkBusy>;

    /// Tells all peers that this node holds chunks of a segment, whose root is `root` once it is closed.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn announce(&self, segment: u64, root: Option<SegmentRoot>, chunks: Vec<AnnouncedChunk>)
        -> Result<(), NetworkBusy>;

    /// Puts a challenge to a node; the answer goes to its `reply`.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn challenge(&self, challenge: Challenge) -> Result<(), NetworkBusy> {
        let _ = challenge;
        Err(NetworkBusy)
    }

    /// What `node` sent was proven wrong after it was handed over (a false table, entry or block): it is put in quarantine.
    fn quarantine(&self, node: NodeId, reason: &str);

    /// The connected peers that speak storage.
    fn peers(&self) -> Vec<StoragePeer>;
}

/// What the storage handler needs of its host and upstream's protocol worker does not offer.
pub trait StorageHost: Send + Sync {
    /// Whether the peer said in its handshake that it understands storage messages.
    fn speaks_storage(&self, node: &NodeId) -> bool;

    /// Messages of low priority that are queued for a peer and did not leave yet: what is served waits while there are
    /// many. A host that cannot tell answers 0; then only the length of the peer's queue bounds what a peer that does not
    /// read can make this node keep.
    fn unsent_messages(&self, node: &NodeId) -> usize {
        let _ = node;
        0
    }

    /// Opens a connection to a node, if its address is known. Never waits; a later look at the connected peers tells.
    fn dial(&self, node: &NodeId);

    /// Where a node may listen, as far as the host knows, likeliest first. Together with what the registry says these are the
    /// nodes that can be reached.
    fn addresses(&self, node: &NodeId) -> Vec<SocketAddr> {
        let _ = node;
        Vec::new()
    }

    /// Opens a connection to a node that listens at one of these addresses, as the registry says or the host itself. A host
    /// that finds addresses on its own leaves it as it is.
    fn dial_at(&self, node: &NodeId, addresses: &[SocketAddr]) {
        let _ = addresses;
        self.dial(node);
    }
}
