//! The rounds of a network as its registry's final state shows them: claims, draws, results, credit.
//!
//! [`Observer`] looks often enough that no claim is missed: a node's record has room for three, so each stands there for three
//! rounds, and its credit for most of one.

use crate::client::{ClientError, NodeClient};
use crate::network::Network;
use crate::node::Node;
use crate::rewards::{self, ClaimTerms, Rate};
use crate::wallets::{Wallet, WalletPoint};
use massa_distributed_storage_worker::smart_contract::args::DecodeError;
use massa_distributed_storage_worker::smart_contract::state::{self as rows, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::storage_registry::{
    decode_state, ClaimState, RegistryState, RoundResult,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often final state is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// What the keys of rounds begin with.
const ROUND_PREFIX: &str = "period_";
/// Reasons of draws that were answered, and refused: `massa-storage-sc/README.md`, "A round".
const REFUSED_REASONS: std::ops::RangeInclusive<u8> = 2..=8;
/// Reasons of claims that were answered with the accepted beacon: all passed, or some draws missed.
const COUNTING_REASONS: [u8; 2] = [0, 21];

/// Why final state was not read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The node did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A row is not what it has to be.
    #[error("row {key} of the registry: {source}")]
    Row {
        /// The row.
        key: String,
        /// Why.
        source: DecodeError,
    },
}

/// The final state of the registry and the operators after one slot.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The slot.
    pub cursor: Slot,
    /// Money and counters.
    pub state: RegistryState,
    /// The registered nodes.
    pub nodes: Vec<NodeRecord>,
    /// The rounds, by their number.
    pub rounds: BTreeMap<u64, RoundRecord>,
    /// Bytes that the registry's rows are charged for.
    pub row_bytes: u64,
    /// Coins of the operators.
    pub balances: BTreeMap<Address, Amount>,
}

/// Rows and balances, as they were told.
#[derive(PartialEq, Eq)]
struct Told {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    balances: BTreeMap<Address, Amount>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The registry.
    pub registry: Address,
    /// The operators.
    pub operators: Vec<Address>,
    /// The configured rate, and the periods of a round.
    pub rate: Rate,
}

impl Subject {
    /// The registry and the nodes of a network.
    pub fn of(network: &Network, registry: Address) -> Self {
        let storage = &network.genesis().storage;
        Self {
            registry,
            operators: network.nodes().iter().map(Node::operator).collect(),
            rate: Rate {
                nano: storage.reward_per_gb_per_period,
                periods: storage.challenge_frequency_periods,
            },
        }
    }

    /// Reads final state. `None` if it changed meanwhile.
    ///
    /// Everything is read twice with the slot in between: what was the same before and after belongs to that slot, however
    /// fast slots become final.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn read(&self, client: &NodeClient) -> Result<Option<Sample>, SampleError> {
        let before = self.told(client)?;
        let cursor = client.status()?.execution_stats.final_cursor;
        if before != self.told(client)? {
            return Ok(None);
        }
        self.sample(cursor, before)
    }

    fn told(&self, client: &NodeClient) -> Result<Told, ClientError> {
        let addresses: Vec<Address> = std::iter::once(self.registry).chain(self.operators.clone()).collect();
        let mut infos = client.addresses(addresses)?.into_iter();
        let keys = infos.next().map(|info| info.final_datastore_keys).unwrap_or_default();
        Ok(Told {
            rows: client.final_rows(self.registry, &keys)?,
            balances: infos.map(|info| (info.address, info.final_balance)).collect(),
        })
    }

    fn sample(&self, cursor: Slot, told: Told) -> Result<Option<Sample>, SampleError> {
        let row_error = |key: &[u8]| {
            let key = String::from_utf8_lossy(key).into_owned();
            |source| SampleError::Row { key, source }
        };
        let Some(state) = told.rows.get(rows::STATE_KEY) else {
            return Ok(None);
        };
        let mut sample = Sample {
            cursor,
            state: decode_state(state).map_err(row_error(rows::STATE_KEY))?,
            nodes: Vec::new(),
            rounds: BTreeMap::new(),
            row_bytes: told
                .rows
                .iter()
                .map(|(key, value)| crate::wallets::row_bytes(key, value))
                .sum(),
            balances: told.balances,
        };
        for (key, row) in &told.rows {
            if key.starts_with(rows::NODE_PREFIX) {
                let address = rows::parse_node_key(key).map_err(row_error(key))?;
                let node = NodeRecord::decode(address, row).map_err(row_error(key))?;
                sample.nodes.push(node);
            } else if let Some(round) = round_of_key(key, self.rate.periods) {
                let record = RoundRecord::decode(row).map_err(row_error(key))?;
                sample.rounds.insert(round, record);
            }
        }
        Ok(Some(sample))
    }
}

fn round_of_key(key: &[u8], periods: u64) -> Option<u64> {
    let first: u64 = std::str::from_utf8(key)
        .ok()?
        .strip_prefix(ROUND_PREFIX)?
        .parse()
        .ok()?;
    first.checked_div(periods)
}

/// A claim as it was last seen.
#[derive(Clone, Debug)]
struct SeenClaim {
    result: RoundResult,
    /// The most that its credit was: it is 0 again once it matured.
    credit: u64,
}

impl SeenClaim {
    fn is_settled(&self) -> bool {
        self.result.state == ClaimState::Settled
    }

    fn counts(&self) -> bool {
        self.is_settled() && COUNTING_REASONS.contains(&self.result.reason)
    }

    fn terms(&self) -> ClaimTerms {
        ClaimTerms {
            leaves: self.result.leaves,
            passes: u64::from(self.result.passes),
            counts: self.counts(),
        }
    }
}

/// A round, its record, and its claims.
type SettledRound<'a> = (u64, &'a RoundRecord, Vec<(&'a Address, &'a SeenClaim)>);

/// All that was seen.
#[derive(Clone, Debug)]
pub struct Tracker {
    subject: Subject,
    claims: BTreeMap<(u64, Address), SeenClaim>,
    rounds: BTreeMap<u64, RoundRecord>,
    /// What the pool was before a rate was fixed.
    pool: u64,
    segments_anchored: u64,
    matured: BTreeMap<Address, u64>,
    points: Vec<WalletPoint>,
    /// Why nothing can be told of something.
    problems: Vec<String>,
}

impl Tracker {
    /// Nothing is seen yet.
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            claims: BTreeMap::new(),
            rounds: BTreeMap::new(),
            pool: 0,
            segments_anchored: 0,
            matured: BTreeMap::new(),
            points: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Takes what was read.
    pub fn see(&mut self, sample: &Sample) {
        self.segments_anchored = sample.state.next_segment;
        self.rounds
            .extend(sample.rounds.iter().map(|(round, record)| (*round, record.clone())));
        if !self.rounds.values().any(|record| record.frozen) {
            self.pool = sample.state.pool.to_raw();
        }
        for node in &sample.nodes {
            for result in node.slots.iter().flatten() {
                self.see_claim(node.address, result);
            }
            self.matured.insert(node.address, node.matured_rewards.to_raw());
        }
        self.see_wallets(sample);
    }

    fn see_claim(&mut self, node: Address, result: &RoundResult) {
        let credit = result.credit.to_raw();
        let seen = self.claims.entry((result.round, node)).or_insert_with(|| SeenClaim {
            result: result.clone(),
            credit,
        });
        let was_settled = seen.is_settled();
        seen.credit = seen.credit.max(credit);
        seen.result = result.clone();
        if !was_settled && seen.counts() && seen.credit == 0 && result.passes > 0 {
            let round = result.round;
            self.problems.push(format!(
                "round {round}: the credit of {node} matured before it was seen"
            ));
        }
    }

    fn see_wallets(&mut self, sample: &Sample) {
        let wallet = |(address, balance): (&Address, &Amount)| {
            let wallet = Wallet {
                balance: balance.to_raw(),
                claimed: self.claimed(address),
            };
            (*address, wallet)
        };
        let point = WalletPoint {
            cursor: sample.cursor,
            row_bytes: sample.row_bytes,
            wallets: sample.balances.iter().map(wallet).collect(),
        };
        WalletPoint::push(&mut self.points, point);
    }

    /// nanoMAS that a node's claims of rewards took out: what was credited, less what is still there.
    fn claimed(&self, node: &Address) -> i128 {
        let own = self.claims.iter().filter(|((_, address), _)| address == node);
        let taken = own.map(|(_, claim)| i128::from(claim.credit) - i128::from(claim.result.credit.to_raw()));
        taken.sum::<i128>() - i128::from(self.matured.get(node).copied().unwrap_or(0))
    }

    /// Rounds that were claimed, and are closed and settled for all who claimed them.
    fn settled_rounds(&self) -> Vec<SettledRound<'_>> {
        let claimed = self
            .rounds
            .iter()
            .filter(|(_, record)| record.claims > 0 && record.closed);
        let with_claims = claimed.map(|(round, record)| (*round, record, self.claims_of(*round)));
        let all_settled = |claims: &[(&Address, &SeenClaim)]| claims.iter().all(|(_, claim)| claim.is_settled());
        with_claims
            .filter(|(_, record, claims)| claims.len() as u64 >= record.claims && all_settled(claims))
            .collect()
    }

    fn claims_of(&self, round: u64) -> Vec<(&Address, &SeenClaim)> {
        let of_round = self.claims.iter().filter(|((of, _), _)| *of == round);
        of_round.map(|((_, node), claim)| (node, claim)).collect()
    }

    /// What the first `count` claimed rounds lack until their credit is paid out; `None` once it is.
    pub fn missing_until_paid(&self, count: usize) -> Option<String> {
        let claimed = self.rounds.iter().filter(|(_, record)| record.claims > 0);
        let first: Vec<u64> = claimed.map(|(round, _)| *round).take(count).collect();
        if first.len() < count {
            return Some(format!("{} of {count} rounds are claimed", first.len()));
        }
        let settled: Vec<u64> = self.settled_rounds().iter().map(|(round, ..)| *round).collect();
        if let Some(open) = first.iter().find(|round| !settled.contains(round)) {
            return Some(format!("round {open} is not settled for all who claimed it"));
        }
        let credited = |node: &Address| -> i128 {
            let claims = first.iter().filter_map(|round| self.claims.get(&(*round, *node)));
            claims.map(|claim| i128::from(claim.credit)).sum()
        };
        let unpaid = self
            .subject
            .operators
            .iter()
            .find(|node| self.claimed(node) < credited(node));
        unpaid.map(|node| format!("{node} has not claimed what it was credited in the first {count} rounds"))
    }

    /// What the settled rounds came to.
    pub fn totals(&self) -> RoundTotals {
        let settled = self.settled_rounds();
        let terms: Vec<Vec<ClaimTerms>> = settled
            .iter()
            .map(|(_, _, claims)| claims.iter().map(|(_, claim)| claim.terms()).collect())
            .collect();
        let expected = rewards::expected(&terms, self.subject.rate, self.pool);
        let mut totals = RoundTotals {
            segments_anchored: self.segments_anchored,
            rewards_expected_nano: expected.iter().flatten().sum(),
            claimed_nano: self.subject.operators.iter().map(|node| self.claimed(node)).sum(),
            problems: self.problems.clone(),
            ..RoundTotals::default()
        };
        for ((round, record, claims), expected) in settled.iter().zip(&expected) {
            totals.add(*round, record, claims, expected);
        }
        totals
    }

    /// Coins of the operators at the slots at which something changed.
    pub fn points(&self) -> &[WalletPoint] {
        &self.points
    }

    /// In one line.
    pub fn line(&self) -> String {
        let totals = self.totals();
        let last = self.settled_rounds().last().map(|(round, ..)| *round);
        let amount = |nano: i128| Amount::from_raw(u64::try_from(nano).unwrap_or(0));
        let settled = last.map_or_else(
            || "none settled yet".to_string(),
            |last| {
                format!(
                    "settled up to {last}: {} of {} draws passed, {} MAS credited, {} claimed",
                    totals.draws_passed,
                    totals.draws,
                    amount(totals.rewards_credited_nano.into()),
                    amount(totals.claimed_nano)
                )
            },
        );
        let open = self.claims.keys().next_back().map(|(round, _)| *round);
        let claimed = open.map_or_else(
            || "no claims yet".to_string(),
            |round| format!("round {round} claimed by {}", self.claims_of(round).len()),
        );
        format!(
            "rounds: {} segments anchored; {claimed}; {settled}",
            self.segments_anchored
        )
    }
}

/// What settled rounds came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundTotals {
    /// Segments with an accepted root.
    pub segments_anchored: u64,
    /// Rounds with an accepted beacon.
    pub rounds_counted: u64,
    /// Rounds without.
    pub rounds_void: u64,
    /// Draws of all claims.
    pub draws: u64,
    /// Draws answered correctly.
    pub draws_passed: u64,
    /// Draws that were answered, and refused.
    pub answers_refused: u64,
    /// What the registry credited.
    pub rewards_credited_nano: u64,
    /// What it had to credit.
    pub rewards_expected_nano: u64,
    /// What nodes took out.
    pub claimed_nano: i128,
    /// Claims of single rounds that are not what they had to be.
    pub problems: Vec<String>,
}

impl RoundTotals {
    fn add(&mut self, round: u64, record: &RoundRecord, claims: &[(&Address, &SeenClaim)], expected: &[u64]) {
        match record.beacon {
            Some(_) => self.rounds_counted += 1,
            None => self.rounds_void += 1,
        }
        self.rewards_credited_nano += record.credit_sum.to_raw();
        for ((node, claim), expected) in claims.iter().zip(expected) {
            let result = &claim.result;
            self.draws += u64::from(result.draws);
            self.draws_passed += u64::from(result.passes);
            let refused = result
                .draw_reasons
                .iter()
                .filter(|reason| REFUSED_REASONS.contains(reason));
            self.answers_refused += refused.count() as u64;
            if claim.credit != *expected {
                let credit = claim.credit;
                self.problems.push(format!(
                    "round {round}: {node} was credited {credit} nano, expected are {expected}"
                ));
            }
        }
    }
}

/// A thread that reads final state over and over.
#[derive(Debug)]
pub struct Observer {
    tracker: Arc<Mutex<Tracker>>,
    /// Dropped to tell the thread to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Starts reading from the node behind `client`.
    pub fn start(client: NodeClient, subject: Subject) -> Self {
        let tracker = Arc::new(Mutex::new(Tracker::new(subject.clone())));
        let shared = Arc::clone(&tracker);
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // A node that is busy, or changes meanwhile, is asked again.
                if let Ok(Some(sample)) = subject.read(&client) {
                    lock(&shared).see(&sample);
                }
            }
        });
        Self {
            tracker,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What was seen so far.
    pub fn tracker(&self) -> MutexGuard<'_, Tracker> {
        lock(&self.tracker)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is no reason for another one here.
            let _ = thread.join();
        }
    }
}

fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    // What was seen before a panic is as good as before.
    tracker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;

    const CREDIT: u64 = 400_009;

    fn address() -> Address {
        Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key())
    }

    fn tracker(operators: &[Address]) -> Tracker {
        let mut tracker = Tracker::new(Subject {
            registry: address(),
            operators: operators.to_vec(),
            rate: Rate {
                nano: 1_000_000,
                periods: 20,
            },
        });
        tracker.pool = 1_000_000_000;
        tracker
    }

    /// A claim of about 20 MB, which is worth [`CREDIT`] when all draws are passed: 20972·20·10⁶/2²⁰.
    fn claim(round: u64, state: ClaimState, (passes, reason): (u8, u8), credit: u64) -> RoundResult {
        RoundResult {
            round,
            leaves: 20_972,
            stake: Amount::zero(),
            weight: 1,
            root: [0; 32],
            beacon: [0; 32],
            credit: Amount::from_raw(credit),
            state,
            draws: 4,
            passes,
            reason,
            refuted: false,
            draw_reasons: vec![0; 4],
        }
    }

    fn record(claims: u64, is_counted: bool, credit_sum: u64) -> RoundRecord {
        RoundRecord {
            claims,
            claim_stake: Amount::zero(),
            leaves: 0,
            claim_weight: 0,
            draws_expected: 0,
            draws_passed: 0,
            answers: 0,
            rate: Amount::zero(),
            reserve: Amount::zero(),
            slash_percentage: 10,
            credit_sum: Amount::from_raw(credit_sum),
            node_count: claims,
            previous_accepted_round: None,
            frozen: true,
            closed: true,
            paused: false,
            beacon: is_counted.then_some([1; 32]),
        }
    }

    #[test]
    fn a_round_is_settled_once_it_is_for_all_who_claimed_it() {
        let (a, b) = (address(), address());
        let mut tracker = tracker(&[a, b]);
        tracker.rounds.insert(3, record(2, true, 2 * CREDIT));
        let passed = claim(3, ClaimState::Settled, (4, 0), CREDIT);
        tracker.see_claim(a, &passed);
        assert!(tracker.settled_rounds().is_empty());
        tracker.see_claim(b, &claim(3, ClaimState::Answered, (4, 0), 0));
        assert!(tracker.settled_rounds().is_empty());
        tracker.see_claim(b, &passed);
        let totals = tracker.totals();
        assert_eq!((totals.rounds_counted, totals.draws, totals.draws_passed), (1, 8, 8));
        assert_eq!(totals.rewards_credited_nano, totals.rewards_expected_nano);
        assert_eq!(totals.problems, [""; 0]);
    }

    #[test]
    fn a_nano_of_credit_too_many_is_told() {
        let a = address();
        let mut tracker = tracker(&[a]);
        tracker.rounds.insert(3, record(1, true, CREDIT + 1));
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), CREDIT + 1));
        let totals = tracker.totals();
        assert_eq!(totals.rewards_credited_nano, totals.rewards_expected_nano + 1);
        assert!(totals.problems[0].contains(&a.to_string()), "{:?}", totals.problems);
    }

    #[test]
    fn silence_costs_all_draws_and_a_void_round_pays_nothing() {
        let (a, b) = (address(), address());
        let mut tracker = tracker(&[a, b]);
        tracker.rounds.insert(3, record(2, true, CREDIT));
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), CREDIT));
        tracker.see_claim(b, &claim(3, ClaimState::Settled, (0, 16), 0));
        tracker.rounds.insert(4, record(1, false, 0));
        tracker.see_claim(a, &claim(4, ClaimState::Settled, (4, 18), 0));
        let totals = tracker.totals();
        assert_eq!((totals.rounds_counted, totals.rounds_void), (1, 1));
        assert_eq!((totals.draws, totals.draws_passed), (12, 8));
        assert_eq!(totals.rewards_expected_nano, CREDIT);
    }

    #[test]
    fn credit_is_claimed_when_it_is_neither_maturing_nor_matured_any_more() {
        let a = address();
        let mut tracker = tracker(&[a]);
        tracker.rounds.insert(3, record(1, true, CREDIT));
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), CREDIT));
        assert_eq!(tracker.claimed(&a), 0);
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), 0));
        tracker.matured.insert(a, CREDIT);
        assert_eq!(tracker.claimed(&a), 0);
        assert!(tracker.missing_until_paid(1).unwrap().contains("has not claimed"));
        tracker.matured.insert(a, 0);
        assert_eq!(tracker.claimed(&a), i128::from(CREDIT));
        assert_eq!(tracker.missing_until_paid(1), None);
        assert_eq!(tracker.missing_until_paid(2).unwrap(), "1 of 2 rounds are claimed");
    }

    #[test]
    fn credit_that_matured_between_two_looks_is_told() {
        let a = address();
        let mut tracker = tracker(&[a]);
        tracker.see_claim(a, &claim(3, ClaimState::Answered, (4, 0), 0));
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), 0));
        assert_eq!(tracker.problems.len(), 1);
    }

    #[test]
    fn rounds_are_known_by_their_first_period() {
        assert_eq!(round_of_key(b"period_60", 20), Some(3));
        assert_eq!(round_of_key(b"period_x", 20), None);
        assert_eq!(round_of_key(b"config", 20), None);
    }
}
