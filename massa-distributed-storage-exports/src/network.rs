//! What the storage worker and the storage handler tell each other, and what the handler needs of its host.
//!
//! The worker decides what is fetched and from whom; the handler of the protocol worker asks, checks what arrives and
//! serves. Nothing here waits: requests and answers travel through bounded channels.

use crate::manifest::{ChunkEntry, Manifest};
use crate::merkle::{MerkleProof, ProofError};
use crate::types::{ChallengeId, ChunkId, ChunkIndex, PeriodRoot, PAGE_BYTES, SIGNATURE_BYTES};
use crossbeam_channel::Sender;
use massa_models::node::NodeId;
use massa_time::MassaTime;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// Objects that may end in one page. A record field takes 4 bytes at least, an operation many more.
pub const MAX_PAGE_SIGNATURES: usize = PAGE_BYTES / 64;
/// Ranges in one [`Capabilities`].
pub const MAX_HELD_RANGES: usize = 64;
/// Periods in one answer to a question for held chunks.
pub const MAX_HELD_PERIODS: u32 = 128;
/// Leaves that an audit of a peer draws, one after the other (design, section 8.13). Of a chunk of the largest size they
/// are 32 KiB with 16 KiB of paths: one frame, smaller than one with a page.
pub const CHALLENGE_LEAVES: usize = 32;

/// Chunks in one announcement of repairs: 1 % of a claim of 100 GB. What is more is repaired when answers are no longer taken.
pub const MAX_ANNOUNCED_REPAIRS: usize = 1024;

/// What a node answers to a question for something archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Here it is.
    Found(T),
    /// This node has not archived the period yet.
    NotYet,
    /// This node does not hold it.
    NotHeld,
    /// This node held it and let go of it.
    Pruned,
}

/// A page as it travels: nothing in it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageContent {
    /// At most [`PAGE_BYTES`].
    pub bytes: Vec<u8>,
    /// 65 bytes for each object that ends in the page.
    pub signatures: Vec<u8>,
    /// Objects of the body that end before the page.
    pub objects_before: u32,
    /// From the page's root to the chunk id.
    pub path: MerkleProof,
}

/// A page that belongs to the chunk it was asked for as. Only [`VerifiedPage::check`] makes one.
///
/// No tree covers its signatures and `objects_before`: who puts blocks together from pages checks them with ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPage {
    page: u32,
    content: PageContent,
}

/// Why a page is not the one that was asked for: the peer is at fault.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The chunk has no such page.
    #[error("page {page} does not exist in a chunk of {pages} pages")]
    NoSuchPage {
        /// The page.
        page: u32,
        /// Pages of the chunk.
        pages: u32,
    },
    /// The page is too short or too long.
    #[error("page has {found} bytes, expected {expected}")]
    Length {
        /// Bytes that follow from the chunk's length.
        expected: usize,
        /// Bytes received.
        found: usize,
    },
    /// The signatures are not whole ones, or more than fit.
    #[error("{0} bytes of signatures")]
    Signatures(usize),
    /// The path does not lead to the chunk id.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl VerifiedPage {
    /// Checks that `content` is page `page` of the chunk that `entry` names. Costs the hash of the page.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn check(entry: &ChunkEntry, page: u32, content: PageContent) -> Result<Self, PageError> {
        let pages = entry.page_count();
        if page >= pages {
            return Err(PageError::NoSuchPage { page, pages });
        }
        let (expected, found) = (entry.page_length(page), content.bytes.len());
        if expected != found {
            return Err(PageError::Length { expected, found });
        }
        let signatures = content.signatures.len();
        if signatures % SIGNATURE_BYTES != 0 || signatures / SIGNATURE_BYTES > MAX_PAGE_SIGNATURES {
            return Err(PageError::Signatures(signatures));
        }
        let root = crate::merkle::root_of_hashes(crate::leaves::leaf_hashes(&content.bytes));
        content.path.verify_at(root, page, pages, entry.id.as_bytes())?;
        Ok(Self { page, content })
    }

    /// Position in the chunk.
    pub fn page(&self) -> u32 {
        self.page
    }

    /// The page and what travels beside it.
    pub fn content(&self) -> &PageContent {
        &self.content
    }

    /// The page and what travels beside it.
    pub fn into_content(self) -> PageContent {
        self.content
    }
}

/// Periods for which a node holds every chunk that is assigned to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRange {
    /// The first of them.
    pub first_period: u64,
    /// The last of them.
    pub last_period: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Disk space it offers.
    pub allocated_storage_gb: u64,
    /// Periods below it are pruned.
    pub floor: u64,
    /// The last period it archived.
    pub last_period: Option<u64>,
    /// Ascending, at most [`MAX_HELD_RANGES`].
    pub ranges: Vec<HeldRange>,
}

/// An audit of a peer: it is to show [`CHALLENGE_LEAVES`] leaves of one chunk. Which ones follows from the challenge and
/// from the leaves before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditChallenge {
    /// Follows from the two peers and the other fields, so that nobody can pass a challenge on.
    pub challenge_id: ChallengeId,
    /// Period of the chunk.
    pub period: u64,
    /// Position of the chunk.
    pub chunk: ChunkIndex,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// Drawn at random by the challenger.
    pub nonce: u64,
}

/// One of the leaves that a challenge asks for: nothing in it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLeaf {
    /// At most [`crate::types::LEAF_BYTES`].
    pub bytes: Vec<u8>,
    /// To the chunk id.
    pub path: MerkleProof,
}

/// What this node serves. Implemented by the worker on top of its store; called on the handler's threads.
pub trait ArchiveServer: Send + Sync {
    /// Bytes of the manifest of a period.
    fn manifest(&self, period: u64) -> Answer<Vec<u8>>;

    /// One page of a chunk. `chunk_id` is what the asker expects at `chunk`; another one is not held.
    fn page(&self, period: u64, chunk: ChunkIndex, chunk_id: &ChunkId, page: u32) -> Answer<PageContent>;

    /// For each of `periods` periods from `first_period` on, a bit for each chunk that is held and assigned to this node:
    /// bit `i % 8` of byte `i / 8` is chunk `i`. Others may drop their copies because of it, so it leaves out what this node
    /// may drop itself. Without trailing zero bytes; empty for a period that is not archived here.
    fn held(&self, first_period: u64, periods: u32) -> Vec<Vec<u8>>;

    /// What this node says of itself.
    fn capabilities(&self) -> Capabilities;

    /// Whether `to` may be served pages of a chunk, or be shown leaves of it, at `now`. Who may not is told to come back
    /// later: while a round's answers are taken, no node helps another one to answer for chunks that it claims (design,
    /// section 8).
    fn may_serve(&self, to: &NodeId, period: u64, chunk: ChunkIndex, now: MassaTime) -> bool {
        let _ = (to, period, chunk, now);
        true
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
    /// `from` says that it holds these chunks of `period`, whose root is `root`.
    fn chunks_announced(&self, from: NodeId, period: u64, root: PeriodRoot, chunk_ids: Vec<ChunkId>);

    /// `from` says, of itself, that it repairs these chunks (period, position), at most [`MAX_ANNOUNCED_REPAIRS`], and asks to
    /// be served them while answers to the draws of `round` are taken.
    fn repairs_announced(&self, from: NodeId, round: u64, chunks: Vec<(u64, ChunkIndex)>) {
        let _ = (from, round, chunks);
    }

    /// A peer that speaks storage connected, or said something new of itself.
    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>);

    /// A peer that speaks storage is gone.
    fn peer_gone(&self, node: NodeId);
}

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchTarget {
    /// The manifest of a period; it must be of this chain and period, whether it is true is for the worker to find out.
    Manifest {
        /// The period.
        period: u64,
    },
    /// Pages of a chunk.
    Pages {
        /// Period of the chunk.
        period: u64,
        /// Position of the chunk.
        chunk: ChunkIndex,
        /// Length and id of the chunk.
        entry: ChunkEntry,
        /// Which pages.
        pages: Range<u32>,
    },
    /// Which chunks a node holds.
    Held {
        /// The first period.
        first_period: u64,
        /// How many, at most [`MAX_HELD_PERIODS`].
        periods: u32,
    },
}

/// How soon something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchPriority {
    /// A reader waits for it.
    Reader,
    /// Repair.
    Repair,
}

/// A question to the network.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Chosen by the worker; comes back with each answer.
    pub id: u64,
    /// What is wanted.
    pub target: FetchTarget,
    /// Whom to ask, in this order. Those that are not connected are dialed.
    pub holders: Vec<NodeId>,
    /// How soon.
    pub priority: FetchPriority,
    /// Where answers go. When it is full or gone, the answer is lost.
    pub reply: Sender<FetchEvent>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// The manifest that `from` has.
    Manifest {
        /// Of the question.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// Well formed, of this chain and period; not known to be true.
        manifest: Manifest,
    },
    /// One of the pages.
    Page {
        /// Of the question.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// The page.
        page: VerifiedPage,
    },
    /// Which chunks `from` holds.
    Held {
        /// Of the question.
        id: u64,
        /// Who answered.
        from: NodeId,
        /// As [`ArchiveServer::held`].
        held: Vec<Vec<u8>>,
    },
    /// Every page asked for was answered.
    Complete {
        /// Of the question.
        id: u64,
    },
    /// No holder that was asked has it, or answered in time.
    Failed {
        /// Of the question.
        id: u64,
        /// What each of them did.
        attempts: Vec<(NodeId, FetchFailure)>,
    },
}

/// What a holder did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// It has not archived the period yet.
    NotYet,
    /// It does not hold it.
    NotHeld,
    /// It pruned it.
    Pruned,
    /// It did not answer in time.
    Timeout,
    /// It is not connected, and could not be dialed in time.
    NotConnected,
    /// It sent what is provably wrong, and is in quarantine.
    Quarantined,
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
    /// The same for a small question just before: what of `elapsed` is the way and the queues on it.
    pub round_trip: Duration,
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
    /// Asks a question; the answers go to its `reply`.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn fetch(&self, fetch: Fetch) -> Result<(), NetworkBusy>;

    /// Tells all peers that this node holds chunks of a period.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn announce(&self, period: u64, root: PeriodRoot, chunk_ids: Vec<ChunkId>) -> Result<(), NetworkBusy>;

    /// Tells all peers, also those that connect later, that this node repairs these chunks (period, position): ascending, at
    /// most [`MAX_ANNOUNCED_REPAIRS`]. Replaces what was to be told before; without chunks nothing is told any more.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn announce_repairs(&self, round: u64, chunks: Vec<(u64, ChunkIndex)>) -> Result<(), NetworkBusy> {
        let _ = (round, chunks);
        Err(NetworkBusy)
    }

    /// Puts a challenge to a node; the answer goes to its `reply`.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    fn challenge(&self, challenge: Challenge) -> Result<(), NetworkBusy> {
        let _ = challenge;
        Err(NetworkBusy)
    }

    /// What `node` sent was proven wrong after it was handed over: it is put in quarantine.
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
