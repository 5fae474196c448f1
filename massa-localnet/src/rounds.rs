//! The rounds of a network as its registry's final state shows them: claims, draws, results, credit.
//!
//! [`Observer`] looks often enough that no claim is missed: a node's record has room for three, so each stands there for three
//! rounds, and its credit for most of one.

use crate::client::NodeClient;
use crate::rewards::{self, ClaimTerms};
use crate::sample::{Sample, Subject};
use crate::wallets::{Wallet, WalletPoint};
use massa_distributed_storage_worker::smart_contract::state::RoundRecord;
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::BTreeMap;
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often final state is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Reasons of draws that were answered, and refused: `massa-storage-sc/README.md`, "A round".
const REFUSED_REASONS: std::ops::RangeInclusive<u8> = 2..=8;
/// Reasons of claims that were answered with the accepted beacon: all passed, or some draws missed.
const COUNTING_REASONS: [u8; 2] = [0, 21];

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
            let rounds: Vec<u64> = node.slots.iter().flatten().map(|result| result.round).collect();
            self.see_gone(node.address, &rounds);
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

    /// A claim whose place in the node's record another one took has matured: the operation that claims the third round after it
    /// may do both.
    fn see_gone(&mut self, node: Address, rounds: &[u64]) {
        let of_node = self.claims.iter_mut().filter(|((_, address), _)| *address == node);
        for ((round, _), claim) in of_node {
            if !rounds.contains(round) {
                claim.result.credit = Amount::zero();
            }
        }
    }

    fn see_wallets(&mut self, sample: &Sample) {
        let wallet = |(address, balance): (&Address, &Amount)| {
            let wallet = Wallet {
                balance: balance.to_raw(),
                claimed: self.claimed(address),
                row_bytes: sample.paid_row_bytes.get(address).copied().unwrap_or(0),
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
    use crate::rewards::Rate;
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
            filled: true,
            draw_reasons: vec![0; 4],
        }
    }

    fn record(claims: u64, is_counted: bool, credit_sum: u64) -> RoundRecord {
        RoundRecord {
            claims,
            claim_stake: Amount::zero(),
            leaves: 0,
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
            ..RoundRecord::default()
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
    fn a_claim_in_whose_place_there_is_another_one_has_matured() {
        let a = address();
        let mut tracker = tracker(&[a]);
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), CREDIT));
        tracker.see_claim(a, &claim(4, ClaimState::Settled, (4, 0), CREDIT));
        tracker.matured.insert(a, CREDIT);
        tracker.see_gone(a, &[6, 4, 5]);
        assert_eq!(tracker.claimed(&a), 0);
        tracker.matured.insert(a, 0);
        assert_eq!(tracker.claimed(&a), i128::from(CREDIT));
    }

    #[test]
    fn credit_that_matured_between_two_looks_is_told() {
        let a = address();
        let mut tracker = tracker(&[a]);
        tracker.see_claim(a, &claim(3, ClaimState::Answered, (4, 0), 0));
        tracker.see_claim(a, &claim(3, ClaimState::Settled, (4, 0), 0));
        assert_eq!(tracker.problems.len(), 1);
    }
}
