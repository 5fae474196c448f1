//! Whether the coins of operators changed by what they claimed, paid as fees, and left as deposits for the registry's rows.
//!
//! Operators produce nothing, so nothing else moves their coins. What a row costs is burned, and comes back when it goes. Rows that
//! all share are paid for by the registry's pool; a row that names its payer by that one, whoever makes it go; any other by whose
//! operation adds or removes it. The rows are known at each slot that was looked at, so between two looks the deposits are known
//! to the nano; those of other rows as a sum, if several operators had operations in between.

use crate::client::NodeClient;
use crate::network::Network;
use crate::node::Node;
use crate::wait::{wait_for, WaitError};
use massa_api_exports::distributed_storage::ArchivedSlot;
use massa_distributed_storage_exports::verification::parse_secure_share_operation;
use massa_models::address::Address;
use massa_models::config::{LEDGER_COST_PER_BYTE, LEDGER_ENTRY_DATASTORE_BASE_SIZE};
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a block is asked for: a node answers so many reads of its archive in a second and refuses more.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that a row is charged for.
pub fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len() + LEDGER_ENTRY_DATASTORE_BASE_SIZE) as u64
}

/// The coins of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// nanoMAS it has.
    pub balance: u64,
    /// nanoMAS that it took out of the registry since the beginning.
    pub claimed: i128,
    /// Bytes of the registry's rows that name it as their payer.
    pub row_bytes: u64,
}

/// The coins of all operators after a final slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletPoint {
    /// The slot.
    pub cursor: Slot,
    /// Bytes that the registry's rows are charged for, of those that are neither shared nor name their payer.
    pub row_bytes: u64,
    /// The operators.
    pub wallets: BTreeMap<Address, Wallet>,
}

impl WalletPoint {
    /// Adds a point. One that is the same as the last but for its slot takes its place.
    pub fn push(points: &mut Vec<Self>, point: Self) {
        match points.as_mut_slice() {
            [.., before, last] if last.is_like(&point) && before.is_like(last) => *last = point,
            _ => points.push(point),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.row_bytes == other.row_bytes && self.wallets == other.wallets
    }
}

/// The fee of an operation that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidFee {
    /// The slot of its block.
    pub slot: Slot,
    /// Who paid.
    pub payer: Address,
    /// nanoMAS.
    pub nano: u64,
}

/// The fees of the operations that `payers` had in blocks after `first` up to `last`, read from the archive behind `client`.
///
/// # Errors
/// [`WaitError`]: the node does not give a block.
fn read_fees(
    client: &NodeClient,
    payers: &[Address],
    (first, last): (Slot, Slot),
    (chain_id, threads): (u64, u8),
) -> Result<Vec<PaidFee>, WaitError> {
    let of_payers: BTreeSet<u8> = payers.iter().map(|payer| payer.get_thread(threads)).collect();
    let mut seen: BTreeSet<OperationId> = BTreeSet::new();
    let mut fees = Vec::new();
    for period in first.period..=last.period {
        for slot in of_payers.iter().map(|thread| Slot::new(period, *thread)) {
            if slot <= first || slot > last {
                continue;
            }
            let ArchivedSlot::Block(block) = read(client, slot)? else {
                continue;
            };
            for bytes in &block.operations {
                // What was read back and verified before can be parsed.
                let Ok(operation) = parse_secure_share_operation(&bytes.0, chain_id) else {
                    continue;
                };
                let payer = operation.content_creator_address;
                if payers.contains(&payer) && seen.insert(operation.id) {
                    let nano = operation.content.fee.to_raw();
                    fees.push(PaidFee { slot, payer, nano });
                }
            }
        }
    }
    Ok(fees)
}

fn read(client: &NodeClient, slot: Slot) -> Result<ArchivedSlot, WaitError> {
    wait_for(format!("the archived block of slot {slot}"), READ_TIMEOUT, || {
        client.archived_slot(slot).map_err(|error| error.to_string())
    })
}

/// What operators' coins changed by that is not explained. Empty if all is.
pub fn unexplained(points: &[WalletPoint], fees: &[PaidFee]) -> Vec<String> {
    points
        .windows(2)
        .flat_map(|pair| unexplained_between(&pair[0], &pair[1], fees))
        .collect()
}

/// As [`unexplained`], with the fees read from the archive of the first node, by `deadline`.
///
/// # Errors
/// [`WaitError`]: what was looked at last is not archived in time, or a block is not given.
pub fn unexplained_coins(
    network: &Network,
    points: &[WalletPoint],
    deadline: Instant,
) -> Result<Vec<String>, WaitError> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Ok(Vec::new());
    };
    let client = network.nodes()[0].client();
    let timeout = deadline.saturating_duration_since(Instant::now());
    wait_for("the last slot that was looked at to be archived", timeout, || {
        let status = client.storage_status().map_err(|error| error.to_string())?;
        let archived = status.last_archived_period;
        if archived >= Some(last.cursor.period) {
            return Ok(());
        }
        Err(format!("archived up to {archived:?} of {}", last.cursor.period))
    })?;
    let operators: Vec<Address> = network.nodes().iter().map(Node::operator).collect();
    let genesis = network.genesis();
    let chain = (genesis.chain_id, genesis.thread_count);
    let fees = read_fees(client, &operators, (first.cursor, last.cursor), chain)?;
    Ok(unexplained(points, &fees))
}

fn unexplained_between(before: &WalletPoint, after: &WalletPoint, fees: &[PaidFee]) -> Vec<String> {
    let is_between = |fee: &&PaidFee| fee.slot > before.cursor && fee.slot <= after.cursor;
    let fees: Vec<&PaidFee> = fees.iter().filter(is_between).collect();
    let payers: BTreeSet<Address> = fees.iter().map(|fee| fee.payer).collect();
    let deposits = deposit_of(before.row_bytes, after.row_bytes);
    let range = format!("slots {} to {}", before.cursor, after.cursor);
    let mut problems = Vec::new();
    let mut of_payers = 0;
    for (address, wallet) in &after.wallets {
        let Some(old) = before.wallets.get(address) else {
            continue;
        };
        let delta = i128::from(wallet.balance) - i128::from(old.balance);
        let own = fees.iter().filter(|fee| fee.payer == *address);
        let paid: i128 = own.map(|fee| i128::from(fee.nano)).sum();
        let own_rows = deposit_of(old.row_bytes, wallet.row_bytes);
        let left = wallet.claimed - old.claimed - paid - delta - own_rows;
        of_payers += left;
        if !payers.contains(address) && left != 0 {
            problems.push(format!(
                "{range}: {address} had no operation, and {left} nano are missing"
            ));
        }
    }
    if of_payers != deposits {
        let who: Vec<String> = payers.iter().map(Address::to_string).collect();
        problems.push(format!(
            "{range}: deposits of {deposits} nano, but {of_payers} are missing from the coins of {}",
            who.join(", ")
        ));
    }
    problems
}

/// nanoMAS that more bytes cost, or fewer give back.
fn deposit_of(before: u64, after: u64) -> i128 {
    (i128::from(after) - i128::from(before)) * i128::from(LEDGER_COST_PER_BYTE.to_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;

    const FEE: u64 = 10_000_000;

    fn address() -> Address {
        Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key())
    }

    fn point(period: u64, row_bytes: u64, wallets: &[(Address, u64, i128)]) -> WalletPoint {
        let wallet = |(address, balance, claimed): &(Address, u64, i128)| {
            let wallet = Wallet {
                balance: *balance,
                claimed: *claimed,
                row_bytes: 0,
            };
            (*address, wallet)
        };
        WalletPoint {
            cursor: Slot::new(period, 0),
            row_bytes,
            wallets: wallets.iter().map(wallet).collect(),
        }
    }

    fn fee(period: u64, payer: Address) -> PaidFee {
        PaidFee {
            slot: Slot::new(period, 0),
            payer,
            nano: FEE,
        }
    }

    #[test]
    fn coins_change_by_what_was_claimed_less_fees_and_deposits() {
        let (a, b) = (address(), address());
        // One byte costs 100 000 nano.
        let points = [
            point(1, 1_000, &[(a, 1_000_000_000, 0), (b, 500_000_000, 0)]),
            point(2, 1_000, &[(a, 1_000_000_000 + 7 - FEE, 7), (b, 500_000_000, 0)]),
            point(
                4,
                1_010,
                &[(a, 1_000_000_000 + 7 - FEE, 7), (b, 500_000_000 - FEE - 1_000_000, 0)],
            ),
        ];
        assert_eq!(unexplained(&points, &[fee(2, a), fee(3, b)]), [""; 0]);
    }

    #[test]
    fn a_row_gives_back_what_it_cost_to_who_paid_whoever_makes_it_go() {
        let (a, b) = (address(), address());
        let with_rows = |period: u64, of_a: u64, balance: u64| {
            let mut point = point(period, 9, &[(a, balance, 0), (b, 500_000_000 - FEE * (period - 1), 0)]);
            point.wallets.get_mut(&a).unwrap().row_bytes = of_a;
            point
        };
        let fees = [fee(2, b)];
        let right = [with_rows(1, 121, 1_000), with_rows(2, 0, 1_000 + 12_100_000)];
        assert_eq!(unexplained(&right, &fees), [""; 0]);
        let nothing_came_back = [with_rows(1, 121, 1_000), with_rows(2, 0, 1_000)];
        assert_eq!(unexplained(&nothing_came_back, &fees).len(), 2);
    }

    #[test]
    fn a_nano_too_few_or_too_many_is_told() {
        let a = address();
        let balance = 1_000_000_000;
        for wrong in [balance + 7 - FEE - 1, balance + 7 - FEE + 1] {
            let points = [point(1, 9, &[(a, balance, 0)]), point(2, 9, &[(a, wrong, 7)])];
            let problems = unexplained(&points, &[fee(2, a)]);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(&a.to_string()), "{problems:?}");
        }
    }

    #[test]
    fn who_had_no_operation_has_what_it_had() {
        let (a, b) = (address(), address());
        let points = [
            point(1, 9, &[(a, 100, 0), (b, 100, 0)]),
            point(2, 9, &[(a, 101, 0), (b, 99, 0)]),
        ];
        let problems = unexplained(&points, &[]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains("had no operation")));
    }

    #[test]
    fn points_without_a_change_become_one() {
        let a = address();
        let mut points = Vec::new();
        for (period, balance) in [(1, 5), (2, 5), (3, 5), (4, 6), (5, 6), (6, 6)] {
            WalletPoint::push(&mut points, point(period, 9, &[(a, balance, 0)]));
        }
        let periods: Vec<u64> = points.iter().map(|point| point.cursor.period).collect();
        assert_eq!(periods, [1, 3, 4, 6]);
    }
}
