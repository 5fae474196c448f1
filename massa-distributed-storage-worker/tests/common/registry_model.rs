//! The registry's rules of rounds, in memory: written from design sections 8 and 9, without the engine's code. Sums are 128 bits
//! wide and formulas written out, so that `rewards.rs` is checked and not repeated.

use super::rounds_world::{config, KEY_DOMAIN};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::challenge::RoundContext;
use massa_distributed_storage_worker::smart_contract::electorate::{Electorate, Entry};
use massa_distributed_storage_worker::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::storage_registry::{Submission, ROOT_VOTES_MAX};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RegistryState, RoundResult};
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const GB: u128 = 1 << 20;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub reason: u8,
    pub passes: u8,
    pub draws: u8,
    pub leaves: u64,
    pub rate: u64,
    pub credit: u64,
    pub slashed: u64,
}

/// What was answered under one beacon.
#[derive(Clone, Copy, Default)]
struct Votes {
    seasoned: u64,
    claiming: u64,
    credit: u64,
    nodes: u64,
}

/// See the module.
#[derive(Clone)]
pub struct Model {
    pub chain_id: u64,
    pub registry: Address,
    pub config: ConfigRecord,
    pub nodes: BTreeMap<Address, NodeRecord>,
    pub rounds: BTreeMap<u64, RoundRecord>,
    pub roots: BTreeMap<u64, SegmentRoot>,
    /// In the order of settling, for all states of one run.
    results: Arc<Mutex<Vec<(Address, u64, Settled)>>>,
    pub next_segment: u64,
    pub last_accepted: Option<u64>,
    pub pool: u64,
    pub reserves: u64,
    pub credited: u64,
    pub burned: u64,
    pub paid: u64,
    pub paused: bool,
    beacons: BTreeMap<(u64, Digest), Votes>,
    root_votes: BTreeMap<(u64, u64, SegmentRoot), u64>,
    pub electorate: Electorate,
}

/// Whether an answer to the draw of a leaf of this node's claim is right.
pub type Checks<'a> = &'a dyn Fn(&Digest, u64, &[u8]) -> bool;

impl Model {
    pub fn new(chain_id: u64, registry: Address, periods: u64, pool: u64) -> Self {
        Self {
            chain_id,
            registry,
            config: ConfigRecord {
                now: config(periods),
                next: config(periods),
                next_round: 0,
            },
            nodes: BTreeMap::new(),
            rounds: BTreeMap::new(),
            roots: BTreeMap::new(),
            results: Arc::default(),
            next_segment: 0,
            last_accepted: None,
            pool,
            reserves: 0,
            credited: 0,
            burned: 0,
            paid: 0,
            paused: false,
            beacons: BTreeMap::new(),
            electorate: Electorate::default(),
            root_votes: BTreeMap::new(),
        }
    }

    /// What became of each claim that was settled.
    pub fn results(&self) -> BTreeMap<(Address, u64), Settled> {
        let results = self.results.lock().unwrap();
        let by_claim: BTreeMap<_, _> = results
            .iter()
            .map(|(node, round, result)| ((*node, *round), *result))
            .collect();
        assert_eq!(by_claim.len(), results.len(), "a claim was settled twice");
        by_claim
    }

    /// Takes back what was settled after the first `count`.
    #[allow(dead_code)]
    pub fn forget_results_after(&self, count: usize) {
        self.results.lock().unwrap().truncate(count);
    }

    /// P: of a round.
    pub fn periods(&self) -> u64 {
        self.config.round_periods()
    }

    #[allow(dead_code)]
    pub fn state(&self) -> RegistryState {
        RegistryState {
            stakes: Amount::from_raw(self.stakes()),
            credited: Amount::from_raw(self.credited),
            reserves: Amount::from_raw(self.reserves),
            pool: Amount::from_raw(self.pool),
            to_burn: Amount::from_raw(0),
            burned: Amount::from_raw(self.burned),
            keyed_nodes: self.nodes.values().filter(|node| node.placement_key.is_some()).count() as u64,
            next_segment: self.next_segment,
            last_accepted_round: self.last_accepted,
            proven: self.electorate.is_proven,
            pause_from: 0,
            pause_until: if self.paused { u64::MAX } else { 0 },
            flags_from_round: None,
            entries: Vec::new(),
        }
    }

    pub fn stakes(&self) -> u64 {
        self.nodes.values().map(|node| node.stake.to_raw()).sum()
    }

    /// Stakes, credit, reserves, pool and what left: the same for ever.
    #[allow(dead_code)]
    pub fn money(&self) -> u64 {
        self.stakes() + self.credited + self.reserves + self.pool + self.burned + self.paid
    }

    /// The node brings its stake along.
    #[allow(dead_code)]
    pub fn register(&mut self, mut node: NodeRecord, period: u64) {
        let round = period / self.periods();
        node.registered_period = period;
        node.weight_from_round = round + 2;
        node.last_counted_round = round;
        let entry = self.electorate.register(node.stake.to_raw(), round);
        enter(&mut node, entry);
        if !self.electorate.is_proven {
            node.placement_key = Some(key_of(&node.address, self.registry.to_string().as_bytes()));
        }
        self.nodes.insert(node.address, node);
    }

    #[allow(dead_code)]
    pub fn set_key(&mut self, address: &Address, round: u64, period: u64) -> Result<(), String> {
        let periods = self.periods();
        let beacon = self.rounds.get(&round).and_then(|record| record.beacon);
        let beacon = beacon.ok_or("round has no accepted beacon")?;
        let node = self.nodes.get_mut(address).ok_or("not a storage node")?;
        refuse(node.placement_key.is_some(), "placement key is set already")?;
        let previous = self.rounds[&round].previous_accepted_round;
        refuse(
            round * periods <= node.registered_period,
            "round opened before the registration",
        )?;
        let first = previous.map_or(true, |previous| previous * periods <= node.registered_period);
        refuse(!first, "an earlier round was the first after the registration")?;
        node.placement_key = Some(key_of(address, &beacon));
        node.weight_now = 0;
        node.weight_from_round = period / periods + 2;
        Ok(())
    }

    /// Undone as a whole if anything is refused.
    pub fn submit(
        &mut self,
        address: &Address,
        what: &Submission,
        check: Checks<'_>,
        period: u64,
    ) -> Result<(), String> {
        let (before, settled) = (self.clone(), self.results.lock().unwrap().len());
        let done = self.try_submit(address, what, check, period);
        if done.is_err() {
            *self = before;
            self.results.lock().unwrap().truncate(settled);
        }
        done
    }

    fn try_submit(
        &mut self,
        address: &Address,
        what: &Submission,
        check: Checks<'_>,
        period: u64,
    ) -> Result<(), String> {
        let round = period / self.periods();
        refuse(self.paused, "the registry is paused")?;
        refuse(what.round != round, "round is not open")?;
        self.settle(address, period);
        self.season(address, round);
        if let Some((beacon, answers)) = &what.beacon {
            self.answer(address, *beacon, answers, check, period)?;
        }
        self.vote_roots(address, &what.roots, period)?;
        match what.claim {
            Some(claim) => self.claim(address, claim, period),
            None => Ok(()),
        }
    }

    fn season(&mut self, address: &Address, round: u64) {
        let node = self.nodes.get_mut(address).expect("registered");
        let passed = |slot: &&RoundResult| slot.state == ClaimState::Settled && slot.reason == 0 && slot.round < round;
        let last = node.slots.iter().flatten().filter(passed).max_by_key(|slot| slot.round);
        let last = last.map(|slot| (slot.round, slot.stake.to_raw()));
        let mut entry = entry_of(node);
        self.electorate
            .season(&mut entry, last, node.leave_round.is_some(), round);
        enter(node, entry);
    }

    /// What the votes of a node weigh in a round.
    pub fn vote_weight(&self, address: &Address, round: u64) -> u64 {
        self.nodes.get(address).map_or(0, |node| entry_of(node).weight(round))
    }

    /// Sums of the votes of a round, for each segment.
    #[allow(dead_code)]
    pub fn root_tallies(&self, round: u64) -> BTreeMap<u64, u64> {
        let mut sums = BTreeMap::new();
        for ((_, segment, _), votes) in self.root_votes.iter().filter(|((of, ..), _)| *of == round) {
            *sums.entry(*segment).or_default() += votes;
        }
        sums
    }

    /// Seasoned stake that answered a round, under whatever beacon.
    #[allow(dead_code)]
    pub fn answered_stake(&self, round: u64) -> u64 {
        let of_round = self.beacons.iter().filter(|((of, _), _)| *of == round);
        of_round.map(|(_, votes)| votes.seasoned).sum()
    }

    /// A node whose entry counts from a round on already.
    #[allow(dead_code)]
    pub fn insert(&mut self, mut node: NodeRecord) {
        let from = node.entry_round.expect("seasoned");
        let mut entry = Entry::default();
        self.electorate.enter(&mut entry, from, node.stake.to_raw(), from);
        enter(&mut node, entry);
        self.nodes.insert(node.address, node);
    }

    /// A claim is refuted: credit that has not matured is gone, and so is some stake.
    #[allow(dead_code)]
    pub fn refute(&mut self, address: &Address, round: u64, period: u64) {
        self.settle(address, period);
        let now = period / self.periods();
        let node = self.nodes.get_mut(address).expect("registered");
        for slot in node.slots.iter_mut().flatten() {
            if slot.state != ClaimState::Settled {
                slot.refuted |= slot.round <= now;
                continue;
            }
            let credit = std::mem::replace(&mut slot.credit, Amount::from_raw(0)).to_raw();
            self.credited -= credit;
            self.burned += credit;
            if slot.round == round {
                (slot.refuted, slot.reason) = (true, 20);
            }
        }
        let stake = node.stake.to_raw();
        self.take_stake(address, stake / 10);
    }

    /// A registered node brings more stake.
    #[allow(dead_code)]
    pub fn add_stake(&mut self, address: &Address, amount: u64) {
        let node = self.node(address);
        node.stake = node.stake.saturating_add(Amount::from_raw(amount));
    }

    /// Takes stake, as a slash or a refutation does.
    #[allow(dead_code)]
    pub fn take_stake(&mut self, address: &Address, amount: u64) {
        let node = self.node(address);
        let taken = node.stake.to_raw().min(amount);
        node.stake = Amount::from_raw(node.stake.to_raw() - taken);
        self.burned += taken;
    }

    /// A node leaves; ten rounds later it is paid its stake and forgotten.
    #[allow(dead_code)]
    pub fn leave(&mut self, address: &Address, period: u64) -> Result<(), String> {
        let round = period / self.periods();
        self.settle(address, period);
        let node = self.node(address);
        let Some(leaves) = node.leave_round else {
            node.leave_round = Some(round + 2);
            return Ok(());
        };
        refuse(round < leaves + 8, "ten rounds must pass")?;
        let node = self.nodes.remove(address).expect("registered");
        self.credited -= node.matured_rewards.to_raw();
        self.paid += node.matured_rewards.to_raw() + node.stake.to_raw();
        if !self.nodes.values().any(|node| node.placement_key.is_some()) {
            self.electorate.is_proven = false;
        }
        Ok(())
    }

    fn node(&mut self, address: &Address) -> &mut NodeRecord {
        self.nodes.get_mut(address).expect("registered")
    }

    fn slot(&mut self, address: &Address, round: u64) -> Option<&mut RoundResult> {
        let slot = self.node(address).slots[(round % 3) as usize].as_mut();
        slot.filter(|slot| slot.round == round)
    }

    fn round(&mut self, round: u64) -> &mut RoundRecord {
        self.rounds.entry(round).or_default()
    }

    /// Rate and reserve, before anyone answers.
    fn freeze(&mut self, round: u64) {
        let periods = u128::from(self.periods());
        let configured = u128::from(self.config.at(round).reward_per_gb_per_period.to_raw());
        // What earlier rounds did not pay is free again by then.
        let earlier: Vec<u64> = self
            .rounds
            .range(..round)
            .filter(|(_, r)| r.frozen && !r.closed)
            .map(|(r, _)| *r)
            .collect();
        earlier.into_iter().for_each(|earlier| self.close(earlier));
        let pool = u128::from(self.pool);
        let record = self.round(round);
        if record.frozen {
            return;
        }
        let claimed = u128::from(record.leaves) * periods;
        let rate = (pool * GB)
            .checked_div(256 * claimed)
            .map_or(0, |rate| rate.min(configured));
        let reserve = claimed * rate / GB;
        record.frozen = true;
        record.rate = Amount::from_raw(rate as u64);
        record.reserve = Amount::from_raw(reserve as u64);
        self.pool -= reserve as u64;
        self.reserves += reserve as u64;
    }

    pub fn close(&mut self, round: u64) {
        self.freeze(round);
        let record = self.round(round).clone();
        if record.closed {
            return;
        }
        let votes = record
            .beacon
            .and_then(|beacon| self.beacons.get(&(round, beacon)).copied());
        let Votes {
            seasoned,
            credit,
            nodes,
            ..
        } = votes.unwrap_or_default();
        self.reserves -= record.reserve.to_raw();
        self.pool += record.reserve.to_raw() - credit;
        self.credited += credit;
        let record = self.round(round);
        record.closed = true;
        record.credit_sum = Amount::from_raw(credit);
        record.node_count = nodes;
        record.beacon_stake = Amount::from_raw(seasoned);
    }

    #[allow(dead_code)]
    pub fn distribute(&mut self, round: u64, period: u64) -> Result<(), String> {
        refuse(
            period <= round * self.periods() + self.periods() / 2,
            "answers to this round are still taken",
        )?;
        refuse(self.round(round).closed, "this round is closed already")?;
        refuse(self.round(round).claims == 0, "nothing was claimed for this round")?;
        self.close(round);
        Ok(())
    }

    pub fn claim_rewards(&mut self, address: &Address, period: u64) -> Result<u64, String> {
        self.settle(address, period);
        let node = self.node(address);
        let amount = node.matured_rewards.to_raw();
        refuse(amount == 0, "no matured rewards")?;
        node.matured_rewards = Amount::from_raw(0);
        self.credited -= amount;
        self.paid += amount;
        Ok(amount)
    }

    pub fn settle(&mut self, address: &Address, period: u64) {
        let now = period / self.periods();
        let mut open: Vec<u64> = self
            .node(address)
            .slots
            .iter()
            .flatten()
            .map(|slot| slot.round)
            .collect();
        open.sort_unstable();
        for round in open.into_iter().filter(|round| *round <= now) {
            let over = period > round * self.periods() + self.periods() / 2;
            if over && self.slot(address, round).expect("listed").state != ClaimState::Settled {
                self.close(round);
                self.settle_claim(address, round);
            }
            let slot = self.slot(address, round).expect("listed");
            if slot.state == ClaimState::Settled && now >= round + 2 {
                let credit = std::mem::replace(&mut slot.credit, Amount::from_raw(0));
                let node = self.node(address);
                node.matured_rewards = node.matured_rewards.saturating_add(credit);
            }
        }
    }

    fn settle_claim(&mut self, address: &Address, round: u64) {
        let record = self.round(round).clone();
        let slot = self.slot(address, round).expect("claimed").clone();
        let answered = slot.state == ClaimState::Answered;
        let counted = answered && record.beacon == Some(slot.beacon);
        let missed = match (counted, record.beacon) {
            (true, _) => slot.draws - slot.passes,
            (_, Some(_)) => slot.draws,
            _ => 0,
        };
        let reason = match (counted, answered, record.beacon) {
            (true, ..) if slot.refuted => 20,
            (true, ..) => [0, 21][usize::from(missed > 0)],
            (_, _, None) => 18,
            (_, true, _) => 17,
            (_, false, _) => 16,
        };
        let credit = if counted { self.credit(&slot, &record) } else { 0 };
        let stake = u128::from(slot.stake.to_raw());
        let surely = 3 * record.beacon_stake.to_raw() > 2 * record.electorate.to_raw();
        let base = match reason {
            17 if surely => stake,
            17 => 0,
            _ => stake.min(u128::from(record.stake_per_gb.to_raw()) * u128::from(slot.leaves).div_ceil(GB)),
        };
        let base = if record.rate.to_raw() == 0 { 0 } else { base };
        let slash = base * u128::from(record.slash_percentage) * u128::from(missed) / (100 * u128::from(slot.draws));
        let slashed = (slash as u64).min(self.node(address).stake.to_raw());
        let node = self.node(address);
        node.stake = Amount::from_raw(node.stake.to_raw() - slashed);
        if counted {
            node.last_counted_round = round;
        }
        if !counted && record.beacon.is_some() {
            node.no_claim_before_round = node.no_claim_before_round.max(round + 4);
        }
        let settled = self.slot(address, round).expect("claimed");
        settled.state = ClaimState::Settled;
        settled.reason = reason;
        settled.credit = Amount::from_raw(if slot.refuted { 0 } else { credit });
        self.burned += slashed;
        if slot.refuted {
            self.credited -= credit;
            self.burned += credit;
        }
        let result = Settled {
            reason,
            passes: slot.passes,
            draws: slot.draws,
            leaves: slot.leaves,
            rate: record.rate.to_raw(),
            credit,
            slashed,
        };
        self.results.lock().unwrap().push((*address, round, result));
    }

    fn credit(&self, slot: &RoundResult, record: &RoundRecord) -> u64 {
        let proven = u128::from(slot.leaves) * u128::from(self.periods()) * u128::from(record.rate.to_raw());
        (proven * u128::from(slot.passes) / (u128::from(slot.draws) * GB)) as u64
    }

    fn answer(
        &mut self,
        address: &Address,
        beacon: Digest,
        answers: &[(u8, Vec<u8>)],
        check: Checks<'_>,
        period: u64,
    ) -> Result<(), String> {
        let (round, in_round) = (period / self.periods(), period % self.periods());
        let slot = self
            .slot(address, round)
            .ok_or("nothing was claimed for this round")?
            .clone();
        refuse(slot.state != ClaimState::Claimed, "this round is answered, or over")?;
        refuse(
            in_round < 3 || in_round > self.periods() / 2,
            "answers are taken in periods 3 to half of the round",
        )?;
        self.freeze(round);
        let context = RoundContext {
            chain_id: self.chain_id,
            registry: self.registry.to_string(),
            round,
        };
        let key = self.node(address).placement_key.ok_or("no key")?;
        let passes = answers
            .iter()
            .filter(|(draw, answer)| {
                let leaf = context.drawn_leaf(&key, &beacon, *draw, slot.leaves);
                check(&slot.root, leaf, answer)
            })
            .count();
        let slot = self.slot(address, round).expect("found above");
        slot.state = ClaimState::Answered;
        slot.beacon = beacon;
        slot.passes = passes as u8;
        let slot = slot.clone();
        let credit = self.credit(&slot, &self.rounds[&round].clone());
        let (weight, electorate) = (self.vote_weight(address, round), self.electorate.of(round));
        let votes = self.beacons.entry((round, beacon)).or_default();
        votes.seasoned += weight;
        votes.claiming += slot.stake.to_raw();
        votes.credit += credit;
        votes.nodes += 1;
        let (votes, last) = (*votes, self.last_accepted);
        let record = self.round(round);
        record.answers += 1;
        record.electorate = Amount::from_raw(electorate);
        let accepted = if electorate == 0 {
            3 * votes.claiming > 2 * record.claim_stake.to_raw()
        } else {
            2 * votes.seasoned > electorate
        };
        if record.beacon.is_none() && accepted {
            record.beacon = Some(beacon);
            record.previous_accepted_round = last;
            self.last_accepted = Some(round);
        }
        Ok(())
    }

    fn vote_roots(&mut self, address: &Address, roots: &[(u64, SegmentRoot)], period: u64) -> Result<(), String> {
        if roots.is_empty() {
            return Ok(());
        }
        let round = period / self.periods();
        refuse(roots.len() > ROOT_VOTES_MAX, "too many segment roots")?;
        let segment_periods = self.config.next.challenge_frequency_periods;
        let (weight, electorate) = (self.vote_weight(address, round), self.electorate.of(round));
        let round_segments = self.config.next.round_segments;
        let node = self.node(address);
        if node.votes_round != Some(round) {
            node.votes_round = Some(round);
            node.voted_below_segment = 0;
        }
        for (segment, root) in roots {
            let node = self.node(address);
            refuse(
                *segment < node.voted_below_segment,
                "segment is voted for already, or not in order",
            )?;
            node.voted_below_segment = segment + 1;
            refuse((segment + 1) * segment_periods > period, "segment is not over")?;
            refuse(weight == 0, "only seasoned stake votes for segment roots")?;
            if *segment < self.next_segment {
                continue;
            }
            refuse(
                *segment >= self.next_segment + ROOT_VOTES_MAX as u64,
                "segment is too far ahead",
            )?;
            let votes = self.root_votes.entry((round, *segment, *root)).or_default();
            *votes += weight;
            let late = round > segment / round_segments + 8;
            let enough = 3 * *votes >= 2 * electorate || (late && 2 * *votes > electorate);
            if *segment == self.next_segment && enough {
                self.roots.insert(*segment, *root);
                self.next_segment += 1;
            }
        }
        Ok(())
    }

    fn claim(&mut self, address: &Address, (root, leaves): (Digest, u64), period: u64) -> Result<(), String> {
        let (open, round) = (period / self.periods(), period / self.periods() + 1);
        let config = self.config.at(round).clone();
        let node = self.node(address).clone();
        let waits = node
            .claim_of(open)
            .is_some_and(|slot| slot.state == ClaimState::Claimed);
        refuse(node.leave_round.is_some(), "node is leaving")?;
        refuse(node.placement_key.is_none(), "node has no placement key yet")?;
        refuse(round < node.no_claim_before_round, "sits out")?;
        refuse(waits, "this round must be answered before the next is claimed")?;
        let slot = &node.slots[(round % 3) as usize];
        refuse(
            slot.as_ref().is_some_and(|slot| slot.round == round),
            "the next round is claimed already",
        )?;
        let unsettled = |slot: &RoundResult| slot.state != ClaimState::Settled || slot.credit.to_raw() > 0;
        refuse(slot.as_ref().is_some_and(unsettled), "an old claim is not settled")?;
        let weight = node.declared_at(round);
        let covered = node.stake.to_raw() / config.stake_per_gb.to_raw();
        refuse(leaves == 0, "claim leaves: at least 1")?;
        refuse(leaves > weight << 20, "claim leaves: more than was allocated")?;
        refuse(leaves > covered << 20, "claim leaves: more than the stake covers")?;
        let draws = 16.min(4 + (leaves >> 28)) as u8;
        self.node(address).slots[(round % 3) as usize] = Some(RoundResult {
            round,
            leaves,
            stake: node.stake,
            weight,
            root,
            beacon: [0; 32],
            credit: Amount::from_raw(0),
            state: ClaimState::Claimed,
            draws,
            passes: 0,
            reason: 0,
            refuted: false,
            filled: true,
            draw_reasons: Vec::new(),
        });
        let record = self.round(round);
        record.claims += 1;
        record.slash_percentage = config.slash_percentage;
        record.stake_per_gb = config.stake_per_gb;
        record.factor = config.replication_factor;
        record.chunk_bits = config.chunk_size_bytes.trailing_zeros() as u8;
        record.claim_stake = record.claim_stake.saturating_add(node.stake);
        record.leaves += leaves;
        Ok(())
    }
}

fn entry_of(node: &NodeRecord) -> Entry {
    Entry {
        round: node.entry_round,
        stake: node.entry_stake.to_raw(),
    }
}

fn enter(node: &mut NodeRecord, entry: Entry) {
    (node.entry_round, node.entry_stake) = (entry.round, Amount::from_raw(entry.stake));
}

fn refuse(condition: bool, message: &str) -> Result<(), String> {
    if condition {
        Err(message.to_string())
    } else {
        Ok(())
    }
}

#[allow(dead_code)]
fn key_of(address: &Address, suffix: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(KEY_DOMAIN)
        .update(address.to_string().as_bytes())
        .update(suffix);
    *hasher.finalize().as_bytes()
}
