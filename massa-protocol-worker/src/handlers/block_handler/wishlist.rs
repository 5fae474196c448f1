//! Which block is asked of whom, and what to do with the answers: decisions only, no sockets and no clock.
//!
//! A wanted block goes through three questions: its header (unless consensus has it), the ids of its operations, and
//! those operations that the shared memory does not have. Each question goes to one peer at a time, first to those that
//! announced the block.

use super::messages::{AskForBlockInfo, BlockInfoReply};
use massa_models::block::{Block, BlockSerializer, SecureShareBlock};
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::operation::{compute_operations_hash, OperationId, OperationIdSerializer, SecureShareOperation};
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use massa_serialization::Serializer;
use massa_signature::verify_signature_batch;
use massa_storage::Storage;
use rand::seq::SliceRandom;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// A peer that did not have a block is asked for it again after this, or `ask_block_timeout` if that is shorter.
const RETRY_AFTER_NOT_FOUND: Duration = Duration::from_millis(500);

/// The three questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    OperationIds,
    Operations,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    peer_id: PeerId,
    stage: Stage,
    deadline: Instant,
}

/// What is there of a wanted block.
struct Wanted {
    header: Option<SecuredHeader>,
    operation_ids: Option<Vec<OperationId>>,
    /// Operations of the block that are not in `storage` yet.
    missing: PreHashSet<OperationId>,
    /// Claims the operations that are there.
    storage: Storage,
    asked: Option<Asked>,
    /// Peers that did not help, and when they may be asked again.
    not_before: HashMap<PeerId, Instant>,
}

impl Wanted {
    fn new(header: Option<SecuredHeader>, storage: Storage) -> Self {
        Self {
            header,
            operation_ids: None,
            missing: PreHashSet::default(),
            storage,
            asked: None,
            not_before: HashMap::new(),
        }
    }

    fn stage(&self) -> Stage {
        match (&self.header, &self.operation_ids) {
            (None, _) => Stage::Header,
            (Some(_), None) => Stage::OperationIds,
            (Some(_), Some(_)) => Stage::Operations,
        }
    }

    fn question(&self) -> AskForBlockInfo {
        match self.stage() {
            Stage::Header => AskForBlockInfo::Header,
            Stage::OperationIds => AskForBlockInfo::OperationIds,
            Stage::Operations => AskForBlockInfo::Operations(self.missing.iter().copied().collect()),
        }
    }

    /// Where in the chain it is; those with unknown header come first, they cost least.
    fn slot(&self) -> Option<Slot> {
        self.header.as_ref().map(|header| header.content.slot)
    }
}

/// A question to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) peer_id: PeerId,
    pub(super) block_id: BlockId,
    pub(super) info: AskForBlockInfo,
}

/// What an answer leads to.
pub(super) enum Reaction {
    /// Nothing: it was not asked for, or more is to be asked.
    None,
    /// The header, not checked yet.
    CheckHeader(Box<SecuredHeader>),
    /// The block and its operations are there, claimed by the storage.
    Complete(Box<SecuredHeader>, Storage),
    /// The block breaks a rule, whoever sends it.
    InvalidBlock(Box<SecuredHeader>, &'static str),
    /// The peer sent what is provably wrong.
    PeerAtFault(&'static str),
}

/// The blocks that consensus waits for.
pub(super) struct Wishlist {
    wanted: PreHashMap<BlockId, Wanted>,
    storage: Storage,
    ask_timeout: Duration,
    max_asks_per_peer: usize,
    max_operations_bytes: usize,
}

impl Wishlist {
    /// Nothing is wanted. `storage` is any handle of the shared memory.
    pub(super) fn new(config: &ProtocolConfig, storage: &Storage) -> Self {
        Self {
            wanted: PreHashMap::default(),
            storage: storage.clone_without_refs(),
            ask_timeout: config.ask_block_timeout.to_duration(),
            max_asks_per_peer: config.max_simultaneous_ask_blocks_per_node,
            max_operations_bytes: config.max_serialized_operations_size_per_block,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Consensus wants a block; `header` is valid if it is there.
    pub(super) fn want(&mut self, block_id: BlockId, header: Option<SecuredHeader>) {
        match self.wanted.get_mut(&block_id) {
            None => {
                let storage = self.storage.clone_without_refs();
                self.wanted.insert(block_id, Wanted::new(header, storage));
            }
            Some(wanted) if wanted.header.is_none() => wanted.header = header,
            Some(_) => {}
        }
    }

    /// Nobody wants the block any more.
    pub(super) fn remove(&mut self, block_id: &BlockId) {
        self.wanted.remove(block_id);
    }

    /// `peer_id` announced the block: it is worth asking, whatever it said before.
    pub(super) fn announced(&mut self, block_id: &BlockId, peer_id: &PeerId) {
        if let Some(wanted) = self.wanted.get_mut(block_id) {
            wanted.not_before.remove(peer_id);
        }
    }

    /// A header that was checked.
    pub(super) fn header_checked(&mut self, header: &SecuredHeader) {
        if let Some(wanted) = self.wanted.get_mut(&header.id) {
            wanted.header.get_or_insert_with(|| header.clone());
            wanted.asked = wanted.asked.filter(|asked| asked.stage != Stage::Header);
        }
    }

    /// Questions to send now. `announced_by` says whether a peer announced a block.
    pub(super) fn questions(
        &mut self,
        now: Instant,
        connected: &HashSet<PeerId>,
        announced_by: impl Fn(&PeerId, &BlockId) -> bool,
    ) -> Vec<Question> {
        self.give_up_late(now, connected);
        let mut load = self.load();
        let mut waiting: Vec<_> = self
            .wanted
            .iter_mut()
            .filter(|(_, wanted)| wanted.asked.is_none())
            .collect();
        waiting.sort_by_key(|(_, wanted)| wanted.slot());
        let mut questions = Vec::new();
        for (block_id, wanted) in waiting {
            let room = |peer: &&PeerId| load.get(*peer).copied().unwrap_or(0) < self.max_asks_per_peer;
            let may_ask = |peer: &&PeerId| wanted.not_before.get(*peer).map_or(true, |time| now >= *time);
            let mut peers: Vec<PeerId> = connected.iter().filter(room).filter(may_ask).copied().collect();
            peers.shuffle(&mut rand::thread_rng());
            peers.sort_by_key(|peer| (!announced_by(peer, block_id), load.get(peer).copied().unwrap_or(0)));
            let Some(peer_id) = peers.first().copied() else {
                continue;
            };
            *load.entry(peer_id).or_default() += 1;
            wanted.asked = Some(Asked {
                peer_id,
                stage: wanted.stage(),
                deadline: now + self.ask_timeout,
            });
            questions.push(Question {
                peer_id,
                block_id: *block_id,
                info: wanted.question(),
            });
        }
        questions
    }

    /// A question could not be sent.
    pub(super) fn not_sent(&mut self, question: &Question, now: Instant) {
        self.refuse(&question.block_id, &question.peer_id, now);
    }

    fn give_up_late(&mut self, now: Instant, connected: &HashSet<PeerId>) {
        for wanted in self.wanted.values_mut() {
            wanted.not_before.retain(|peer, _| connected.contains(peer));
            if let Some(asked) = wanted.asked {
                let is_gone = !connected.contains(&asked.peer_id);
                if is_gone || now >= asked.deadline {
                    wanted.asked = None;
                    if !is_gone {
                        wanted.not_before.insert(asked.peer_id, now + self.ask_timeout);
                    }
                }
            }
        }
    }

    /// Questions that each peer has not answered.
    fn load(&self) -> HashMap<PeerId, usize> {
        let mut load = HashMap::new();
        for asked in self.wanted.values().filter_map(|wanted| wanted.asked.as_ref()) {
            *load.entry(asked.peer_id).or_default() += 1;
        }
        load
    }

    /// The peer cannot help with this block for now.
    pub(super) fn refuse(&mut self, block_id: &BlockId, peer_id: &PeerId, now: Instant) {
        if let Some(wanted) = self.wanted.get_mut(block_id) {
            wanted.asked = wanted.asked.filter(|asked| asked.peer_id != *peer_id);
            let pause = RETRY_AFTER_NOT_FOUND.min(self.ask_timeout);
            wanted.not_before.insert(*peer_id, now + pause);
        }
    }

    /// Takes an answer; those that were not asked for are ignored.
    pub(super) fn on_reply(
        &mut self,
        peer_id: &PeerId,
        block_id: &BlockId,
        reply: BlockInfoReply,
        now: Instant,
    ) -> Reaction {
        let Some(wanted) = self.wanted.get_mut(block_id) else {
            return Reaction::None;
        };
        let Some(asked) = wanted.asked.filter(|asked| asked.peer_id == *peer_id) else {
            return Reaction::None;
        };
        match (reply, asked.stage) {
            (BlockInfoReply::NotFound, _) => {
                self.refuse(block_id, peer_id, now);
                Reaction::None
            }
            (BlockInfoReply::Header(header), Stage::Header) => {
                if header.id != *block_id {
                    return Reaction::PeerAtFault("header of another block");
                }
                Reaction::CheckHeader(header)
            }
            (BlockInfoReply::OperationIds(ids), Stage::OperationIds) => {
                wanted.asked = None;
                let reaction = take_operation_ids(wanted, ids);
                self.finish(block_id, reaction)
            }
            (BlockInfoReply::Operations(operations), Stage::Operations) => {
                wanted.asked = None;
                if operations.is_empty() {
                    self.refuse(block_id, peer_id, now);
                    return Reaction::None;
                }
                let reaction = take_operations(wanted, operations);
                self.finish(block_id, reaction)
            }
            _ => Reaction::None,
        }
    }

    /// Makes the block if nothing is missing.
    fn finish(&mut self, block_id: &BlockId, reaction: Reaction) -> Reaction {
        match reaction {
            Reaction::None => {}
            Reaction::InvalidBlock(..) => {
                self.wanted.remove(block_id);
                return reaction;
            }
            _ => return reaction,
        }
        let Some(wanted) = self.wanted.get(block_id) else {
            return Reaction::None;
        };
        let (Some(header), Some(ids)) = (&wanted.header, &wanted.operation_ids) else {
            return Reaction::None;
        };
        let header = Box::new(header.clone());
        if let Some(reason) = too_large(&wanted.storage, self.max_operations_bytes) {
            self.wanted.remove(block_id);
            return Reaction::InvalidBlock(header, reason);
        }
        if !wanted.missing.is_empty() {
            return Reaction::None;
        }
        let Some(block) = make_block(&header, ids) else {
            self.wanted.remove(block_id);
            return Reaction::InvalidBlock(header, "block has no encoding");
        };
        let wanted = self.wanted.remove(block_id).expect("it was there a few lines above");
        let mut storage = wanted.storage;
        storage.store_block(block);
        Reaction::Complete(header, storage)
    }
}

/// The ids of a block's operations: they must be those that its header commits to.
fn take_operation_ids(wanted: &mut Wanted, ids: Vec<OperationId>) -> Reaction {
    let Some(header) = &wanted.header else {
        return Reaction::None;
    };
    let root = compute_operations_hash(&ids, &OperationIdSerializer::new());
    if root != header.content.operation_merkle_root {
        return Reaction::PeerAtFault("operation ids do not match the header");
    }
    let set: PreHashSet<OperationId> = ids.iter().copied().collect();
    if set.len() != ids.len() {
        return Reaction::InvalidBlock(Box::new(header.clone()), "an operation is in the block twice");
    }
    let there = wanted.storage.claim_operation_refs(&set);
    wanted.missing = set.difference(&there).copied().collect();
    wanted.operation_ids = Some(ids);
    Reaction::None
}

/// Operations of a block: only those that were asked for, and signed.
fn take_operations(wanted: &mut Wanted, operations: Vec<SecureShareOperation>) -> Reaction {
    let mut left = wanted.missing.clone();
    // Each is removed when it is seen, so that none comes twice.
    if !operations.iter().all(|operation| left.remove(&operation.id)) {
        return Reaction::PeerAtFault("operations that were not asked for");
    }
    let signed = operations.iter().map(|operation| {
        (
            operation.compute_signed_hash(),
            operation.signature,
            operation.content_creator_pub_key,
        )
    });
    if verify_signature_batch(&signed.collect::<Vec<_>>()).is_err() {
        return Reaction::PeerAtFault("an operation's signature is invalid");
    }
    wanted.storage.store_operations(operations);
    wanted.missing = left;
    Reaction::None
}

fn too_large(storage: &Storage, max_bytes: usize) -> Option<&'static str> {
    let operations = storage.read_operations();
    let sizes = storage.get_op_refs().iter().filter_map(|id| operations.get(id));
    let bytes: usize = sizes.map(SecureShareOperation::serialized_size).sum();
    (bytes > max_bytes).then_some("operations take too many bytes")
}

/// The signed block: its signature, creator and id are its header's.
fn make_block(header: &SecuredHeader, operation_ids: &[OperationId]) -> Option<SecureShareBlock> {
    let block = Block {
        header: header.clone(),
        operations: operation_ids.to_vec(),
    };
    let mut serialized_data = Vec::new();
    BlockSerializer::new().serialize(&block, &mut serialized_data).ok()?;
    Some(SecureShareBlock {
        signature: header.signature,
        content_creator_pub_key: header.content_creator_pub_key,
        content_creator_address: header.content_creator_address,
        id: header.id,
        content: block,
        serialized_data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_hash::Hash;
    use massa_models::block_header::{BlockHeader, BlockHeaderSerializer};
    use massa_models::secure_share::{Id, SecureShareContent};
    use massa_signature::KeyPair;
    use massa_time::MassaTime;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn wishlist(max_asks_per_peer: usize) -> Wishlist {
        let config = ProtocolConfig {
            ask_block_timeout: MassaTime::from_millis(10_000),
            max_simultaneous_ask_blocks_per_node: max_asks_per_peer,
            ..ProtocolConfig::default()
        };
        Wishlist::new(&config, &Storage::create_root())
    }

    fn peer() -> PeerId {
        PeerId::from_public_key(KeyPair::generate(0).unwrap().get_public_key())
    }

    fn header(period: u64) -> SecuredHeader {
        let content = BlockHeader {
            current_version: 0,
            announced_version: None,
            slot: Slot::new(period, 0),
            parents: vec![BlockId::new(Hash::zero()); 32],
            operation_merkle_root: compute_operations_hash(&[], &OperationIdSerializer::new()),
            endorsements: Vec::new(),
            denunciations: Vec::new(),
        };
        let keypair = KeyPair::generate(0).unwrap();
        BlockHeader::new_verifiable(content, BlockHeaderSerializer::new(), &keypair, 77).unwrap()
    }

    fn nobody_announced(_: &PeerId, _: &BlockId) -> bool {
        false
    }

    fn ask(wishlist: &mut Wishlist, peers: &[PeerId], now: Instant) -> Vec<Question> {
        wishlist.questions(now, &peers.iter().copied().collect(), nobody_announced)
    }

    #[test]
    fn the_peer_that_announced_a_block_is_asked_first() {
        for _ in 0..20 {
            let (mut wishlist, peers, header) = (wishlist(10), [peer(), peer(), peer()], header(5));
            wishlist.want(header.id, Some(header));
            let announced_by = |peer: &PeerId, _: &BlockId| *peer == peers[1];
            let questions = wishlist.questions(Instant::now(), &peers.into_iter().collect(), announced_by);
            assert_eq!(questions[0].peer_id, peers[1]);
        }
    }

    #[test]
    fn questions_to_one_peer_are_bounded_and_earlier_blocks_go_first() {
        let (mut wishlist, alice, now) = (wishlist(2), peer(), Instant::now());
        let headers: Vec<_> = (1..6).map(header).collect();
        for header in headers.iter().rev() {
            wishlist.want(header.id, Some(header.clone()));
        }
        let asked: Vec<_> = ask(&mut wishlist, &[alice], now)
            .iter()
            .map(|question| question.block_id)
            .collect();
        assert_eq!(asked, [headers[0].id, headers[1].id]);
        assert_eq!(ask(&mut wishlist, &[alice], now), []);
    }

    #[test]
    fn a_late_answer_leads_to_the_next_peer_and_is_ignored() {
        let (mut wishlist, start, header) = (wishlist(10), Instant::now(), header(5));
        let peers = [peer(), peer()];
        wishlist.want(header.id, Some(header.clone()));
        let first = ask(&mut wishlist, &peers, start)[0].peer_id;
        assert_eq!(ask(&mut wishlist, &peers, start + TIMEOUT / 2), []);
        let late = start + TIMEOUT;
        let second = ask(&mut wishlist, &peers, late)[0].peer_id;
        assert_ne!(first, second);
        let reply = BlockInfoReply::OperationIds(Vec::new());
        let reaction = wishlist.on_reply(&first, &header.id, reply.clone(), late);
        assert!(matches!(reaction, Reaction::None));
        let reaction = wishlist.on_reply(&second, &header.id, reply, late);
        assert!(matches!(reaction, Reaction::Complete(..)));
        assert!(wishlist.is_empty());
    }

    #[test]
    fn a_peer_without_the_block_is_asked_again_later_or_once_it_announces_it() {
        let (mut wishlist, start, header, alice) = (wishlist(10), Instant::now(), header(5), peer());
        wishlist.want(header.id, Some(header.clone()));
        assert_eq!(ask(&mut wishlist, &[alice], start).len(), 1);
        wishlist.on_reply(&alice, &header.id, BlockInfoReply::NotFound, start);
        assert_eq!(ask(&mut wishlist, &[alice], start), []);
        assert_eq!(ask(&mut wishlist, &[alice], start + RETRY_AFTER_NOT_FOUND).len(), 1);

        wishlist.on_reply(&alice, &header.id, BlockInfoReply::NotFound, start);
        wishlist.announced(&header.id, &alice);
        assert_eq!(ask(&mut wishlist, &[alice], start).len(), 1);
    }

    #[test]
    fn a_peer_that_is_gone_is_not_waited_for() {
        let (mut wishlist, now, header) = (wishlist(10), Instant::now(), header(5));
        let (alice, bob) = (peer(), peer());
        wishlist.want(header.id, Some(header));
        assert_eq!(ask(&mut wishlist, &[alice], now)[0].peer_id, alice);
        assert_eq!(ask(&mut wishlist, &[bob], now)[0].peer_id, bob);
    }

    #[test]
    fn an_answer_to_another_question_is_ignored() {
        let (mut wishlist, now, header, alice) = (wishlist(10), Instant::now(), header(5), peer());
        wishlist.want(header.id, None);
        assert_eq!(ask(&mut wishlist, &[alice], now)[0].info, AskForBlockInfo::Header);
        let early = BlockInfoReply::OperationIds(Vec::new());
        assert!(matches!(
            wishlist.on_reply(&alice, &header.id, early, now),
            Reaction::None
        ));
        let unknown = BlockInfoReply::Header(Box::new(header.clone()));
        let other = BlockId::new(Hash::zero());
        assert!(matches!(
            wishlist.on_reply(&alice, &other, unknown, now),
            Reaction::None
        ));
        let reply = BlockInfoReply::Header(Box::new(header.clone()));
        assert!(matches!(
            wishlist.on_reply(&alice, &header.id, reply, now),
            Reaction::CheckHeader(_)
        ));
        wishlist.header_checked(&header);
        assert_eq!(ask(&mut wishlist, &[alice], now)[0].info, AskForBlockInfo::OperationIds);
    }

    #[test]
    fn the_header_of_another_block_is_the_peers_fault() {
        let (mut wishlist, now, alice) = (wishlist(10), Instant::now(), peer());
        let (wanted, other) = (header(5), header(6));
        wishlist.want(wanted.id, None);
        ask(&mut wishlist, &[alice], now);
        let reply = BlockInfoReply::Header(Box::new(other));
        assert!(matches!(
            wishlist.on_reply(&alice, &wanted.id, reply, now),
            Reaction::PeerAtFault(_)
        ));
    }
}
