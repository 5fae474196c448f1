//! What this node sends to contracts: which operation, when, and when again. State and time in, steps out.
//!
//! Driven by the thread of [`super::client`]. There is one order for each purpose, and one operation of it under way. An operation is
//! estimated on the candidate state before it is sent, so that what a contract would refuse costs no fee, and again later. One that
//! was refused in a block ends its order: whether another fee is worth it is for who ordered to decide. Operations have no nonce:
//! equal ones have the same id and are executed once, so each attempt has another gas limit.

use super::fees::FeeLedger;
use super::storage_registry::SETTLING_GAS;
use massa_distributed_storage_exports::contract::{ContractError, OperationLimits, OperationStatus};
use massa_models::amount::Amount;
use massa_models::operation::{Operation, OperationId, OperationType};
use serde::Serialize;
use std::collections::BTreeMap;
use tracing::{info, warn};

/// First and longest wait before an order is tried again.
const BACK_OFF_MS: (u64, u64) = (2_000, 120_000);
/// How often an operation under way is looked at.
const CHECK_MS: u64 = 1_000;
/// Different gas limits: more than the attempts within the validity of an operation.
const GAS_LIMITS: u64 = 4_096;
/// Longest refusal that is kept: what a contract says has no limit of ours.
const REASON_BYTES: usize = 400;

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To make the registry.
    Deploy,
    /// To get the placement key of this node.
    PlacementKey,
    /// Answers, votes and the next claim: the operation of a round.
    Submission,
    /// To close a round.
    CloseRound,
    /// To take matured credit.
    ClaimRewards,
    /// To refute a claim.
    Refutation,
    /// To have the root before the first accepted one accepted.
    EarlierRoot,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::PlacementKey => "placement_key",
            Self::Submission => "submission",
            Self::CloseRound => "close_round",
            Self::ClaimRewards => "claim_rewards",
            Self::Refutation => "refutation",
            Self::EarlierRoot => "earlier_root",
        })
    }
}

/// Something to send.
#[derive(Clone, Debug)]
pub struct Order {
    /// What for. An order replaces one that waits for the same.
    pub purpose: Purpose,
    /// What is executed. Its gas limit does not matter.
    pub operation: OperationType,
    /// The last period in which it makes sense.
    pub until_period: u64,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation for {0} is under way")]
pub struct Busy(pub Purpose);

/// What the outbox needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// The period that is on.
    pub current_period: u64,
    /// The last final one.
    pub final_period: u64,
    /// Coins of the operator.
    pub balance: Amount,
    /// Bounds of operations.
    pub limits: OperationLimits,
}

/// What is to be done for a purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Estimate this operation; then [`Outbox::estimated`].
    Estimate(Purpose, OperationType),
    /// Ask what became of this operation; then [`Outbox::checked`].
    Check(Purpose, OperationId),
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Executed with success, in final state.
    Done(OperationId),
    /// Executed and refused by the contract, in final state: its own words. The fee is paid.
    Refused(String),
    /// Too late: why it was not done before. No fee is paid.
    TooLate(String),
}

/// An operation that a contract, or this node, refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What it was for.
    pub purpose: Purpose,
    /// The contract's own words, or this node's.
    pub reason: String,
    /// When.
    pub time_ms: u64,
}

#[derive(Debug)]
struct Entry {
    order: Order,
    attempts: u32,
    not_before_ms: u64,
    under_way: Option<UnderWay>,
    /// The last refusal, so that it is logged once.
    refused: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    id: OperationId,
    expire_period: u64,
    fee: Amount,
    sent_ms: u64,
}

/// Orders and operations under way.
#[derive(Debug)]
pub struct Outbox {
    entries: BTreeMap<Purpose, Entry>,
    outcomes: BTreeMap<Purpose, Outcome>,
    fees: FeeLedger,
    /// The most fees of a day; `None` for no limit.
    max_fees_per_day: Option<Amount>,
    attempts: u64,
    last_refusal: Option<Refusal>,
}

impl Outbox {
    /// Nothing to send. `seed`: another number at each start, so that a restarted node does not repeat an operation.
    pub fn new(fees: FeeLedger, max_fees_per_day: Option<Amount>, seed: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            fees,
            max_fees_per_day,
            attempts: seed,
            last_refusal: None,
        }
    }

    /// Takes an order.
    ///
    /// # Errors
    /// [`Busy`] while an operation for the same purpose is under way.
    pub fn put(&mut self, order: Order) -> Result<(), Busy> {
        let purpose = order.purpose;
        if self
            .entries
            .get(&purpose)
            .is_some_and(|entry| entry.under_way.is_some())
        {
            return Err(Busy(purpose));
        }
        self.outcomes.remove(&purpose);
        let entry = Entry {
            order,
            attempts: 0,
            not_before_ms: 0,
            under_way: None,
            refused: None,
        };
        self.entries.insert(purpose, entry);
        Ok(())
    }

    /// Whether something is to be sent, or under way, for a purpose.
    pub fn is_pending(&self, purpose: Purpose) -> bool {
        self.entries.contains_key(&purpose)
    }

    /// Purposes for which something is to be sent, or under way.
    pub fn pending(&self) -> Vec<Purpose> {
        self.entries.keys().copied().collect()
    }

    /// How the last order for a purpose ended, once.
    pub fn take_outcome(&mut self, purpose: Purpose) -> Option<Outcome> {
        self.outcomes.remove(&purpose)
    }

    /// The last refusal.
    pub fn last_refusal(&self) -> Option<&Refusal> {
        self.last_refusal.as_ref()
    }

    /// Fees paid.
    pub fn fees(&self) -> &FeeLedger {
        &self.fees
    }

    /// What is to be done now.
    pub fn steps(&mut self, seen: &Seen) -> Vec<Step> {
        self.end_late(seen);
        let due = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.not_before_ms <= seen.time_ms);
        let step = |(purpose, entry): (&Purpose, &mut Entry)| match entry.under_way {
            Some(under_way) => {
                entry.not_before_ms = seen.time_ms + CHECK_MS;
                Step::Check(*purpose, under_way.id)
            }
            None => Step::Estimate(*purpose, entry.order.operation.clone()),
        };
        due.map(step).collect()
    }

    fn end_late(&mut self, seen: &Seen) {
        let is_late = |entry: &Entry| entry.under_way.is_none() && entry.order.until_period < seen.current_period;
        let late: Vec<Purpose> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_late(entry))
            .map(|(p, _)| *p)
            .collect();
        for purpose in late {
            let entry = self.entries.remove(&purpose).expect("it was just found");
            let reason = entry.refused.unwrap_or_else(|| "it was not included in time".into());
            warn!(%purpose, %reason, "contract operation comes too late");
            self.outcomes.insert(purpose, Outcome::TooLate(reason));
        }
    }

    /// The operation to sign and send after an estimate; then [`Outbox::sent`]. `None`: not now.
    pub fn estimated(&mut self, purpose: Purpose, gas: Result<u64, ContractError>, seen: &Seen) -> Option<Operation> {
        let gas = match gas {
            Ok(gas) => gas,
            Err(error) => {
                self.refuse(purpose, &error.to_string(), seen.time_ms);
                return None;
            }
        };
        let entry = self.entries.get(&purpose)?;
        if let Err(reason) = self.affordable(&entry.order.operation, gas, seen) {
            self.refuse(purpose, &reason, seen.time_ms);
            return None;
        }
        self.attempts = self.attempts.wrapping_add(1);
        let expire_period = (seen.current_period + seen.limits.validity_periods.saturating_sub(1))
            .min(entry.order.until_period)
            .max(seen.current_period);
        let mut op = entry.order.operation.clone();
        set_max_gas(&mut op, gas_limit(gas, self.attempts, seen.limits.max_gas));
        Some(Operation {
            fee: seen.limits.minimal_fee,
            expire_period,
            op,
        })
    }

    fn affordable(&self, operation: &OperationType, gas: u64, seen: &Seen) -> Result<(), String> {
        let limits = &seen.limits;
        if gas > limits.max_gas {
            return Err(format!("needs {gas} gas, an operation has {} at most", limits.max_gas));
        }
        let fee = limits.minimal_fee;
        let paid = self.fees.last_day(seen.time_ms);
        if let Some(max) = self.max_fees_per_day {
            if paid.checked_add(fee).map_or(true, |sum| sum > max) {
                return Err(format!("max_fees_per_day: {paid} of {max} MAS are spent"));
            }
        }
        let needed = coins_of(operation).checked_add(fee);
        if needed.map_or(true, |needed| needed > seen.balance) {
            let coins = coins_of(operation);
            let balance = seen.balance;
            return Err(format!(
                "{balance} MAS do not pay {coins} MAS of coins and {fee} MAS of fee"
            ));
        }
        Ok(())
    }

    /// What came of sending `operation`.
    pub fn sent(
        &mut self,
        purpose: Purpose,
        operation: &Operation,
        id: Result<OperationId, ContractError>,
        time_ms: u64,
    ) {
        let id = match id {
            Ok(id) => id,
            Err(error) => return self.refuse(purpose, &error.to_string(), time_ms),
        };
        let Some(entry) = self.entries.get_mut(&purpose) else {
            return;
        };
        info!(%purpose, operation_id = %id, fee = %operation.fee, "contract operation sent");
        self.fees.add(time_ms, operation.fee);
        entry.not_before_ms = time_ms + CHECK_MS;
        entry.under_way = Some(UnderWay {
            id,
            expire_period: operation.expire_period,
            fee: operation.fee,
            sent_ms: time_ms,
        });
    }

    /// What became of the operation under way. `error`: what the contract said, if it failed.
    pub fn checked(&mut self, purpose: Purpose, status: OperationStatus, error: Option<String>, seen: &Seen) {
        let Some(entry) = self.entries.get_mut(&purpose) else {
            return;
        };
        let Some(under_way) = entry.under_way else { return };
        match status.final_status {
            Some(true) => {
                info!(%purpose, operation_id = %under_way.id, "contract operation done");
                self.entries.remove(&purpose);
                self.outcomes.insert(purpose, Outcome::Done(under_way.id));
            }
            Some(false) => {
                let reason = error.unwrap_or_else(|| format!("operation {} failed", under_way.id));
                self.refuse(purpose, &reason, seen.time_ms);
                self.entries.remove(&purpose);
                self.outcomes.insert(purpose, Outcome::Refused(shortened(&reason)));
            }
            // In no block, and none can include it any more.
            None if seen.final_period > under_way.expire_period => {
                entry.under_way = None;
                self.fees.take_back(under_way.sent_ms, under_way.fee);
                self.refuse(purpose, "no block included it in time", seen.time_ms);
            }
            None => {}
        }
    }

    /// Remembers why, and waits: twice as long each time.
    fn refuse(&mut self, purpose: Purpose, reason: &str, time_ms: u64) {
        let reason: String = shortened(reason);
        if let Some(entry) = self.entries.get_mut(&purpose) {
            let (first, longest) = BACK_OFF_MS;
            let wait = first.saturating_mul(1 << entry.attempts.min(16)).min(longest);
            entry.attempts += 1;
            entry.not_before_ms = time_ms + wait;
            if entry.refused.as_ref() != Some(&reason) {
                warn!(%purpose, %reason, "contract operation refused");
                entry.refused = Some(reason.clone());
            }
        }
        self.last_refusal = Some(Refusal {
            purpose,
            reason,
            time_ms,
        });
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}

/// A fifth more than estimated, but at least what settling takes: the round may be over when the operation is executed, and
/// whoever calls first settles. Within the limit, and another number for each attempt. Gas that is not used costs nothing.
fn gas_limit(gas: u64, attempt: u64, max: u64) -> u64 {
    let margin = (gas / 5).max(SETTLING_GAS);
    let limit = gas.saturating_add(margin).saturating_add(attempt % GAS_LIMITS);
    if limit <= max {
        return limit;
    }
    // At the limit there is only room below.
    max.saturating_sub(attempt % GAS_LIMITS).max(gas)
}

fn set_max_gas(operation: &mut OperationType, limit: u64) {
    match operation {
        OperationType::ExecuteSC { max_gas, .. } | OperationType::CallSC { max_gas, .. } => *max_gas = limit,
        OperationType::Transaction { .. } | OperationType::RollBuy { .. } | OperationType::RollSell { .. } => {}
    }
}

/// Coins that leave the operator with an operation.
fn coins_of(operation: &OperationType) -> Amount {
    match operation {
        OperationType::ExecuteSC { max_coins, .. } => *max_coins,
        OperationType::CallSC { coins, .. } => *coins,
        OperationType::Transaction { amount, .. } => *amount,
        OperationType::RollBuy { .. } | OperationType::RollSell { .. } => Amount::zero(),
    }
}
