//! What storage is paid and what it costs, from the defaults of the configuration: the numbers of `docs/economics.md`.

mod block_space;

use block_space::{operation_bytes, share_percent};
use massa_distributed_storage_exports::DistributedStorageConfig;
use massa_distributed_storage_worker::rewards::{
    credit, draw_count, round_rate, slash_amount, slash_base, LEAVES_PER_GB,
};
use massa_distributed_storage_worker::rounds::timing::SIT_OUT_ROUNDS;
use massa_models::config::{BLOCK_REWARD, T0, THREAD_COUNT};
use std::fmt::Write;

/// The plan's rate, in nanoMAS for a GB and period.
pub const PLAN_RATE: u64 = 1_000_000;
/// Dollars that an object store takes for a GB and month: the list price of the first 50 TB of a well-known one.
pub const OBJECT_STORE_USD: f64 = 0.023;
/// Prices of a MAS, in dollars, that the tables look at. The price is nobody's to promise: only the ratio counts.
pub const MAS_USD: [f64; 5] = [0.001, 0.002, 0.005, 0.01, 0.05];
/// The price at which the default rate is chosen.
pub const REFERENCE_MAS_USD: f64 = 0.002;
/// What a disk costs its owner, in dollars for a GB and month: 15 dollars a TB and five years.
const DISK_USD: f64 = 15.0 / 1000.0 / 60.0;
/// What the stake would earn elsewhere in a year.
const YIELD: f64 = 0.05;
/// Of `massa-cli storage deploy`, in nanoMAS and percent.
const MIN_STAKE: u64 = 100 * 1_000_000_000;
const STAKE_PER_GB: u64 = 1_000_000_000;
const SLASH_PERCENTAGE: u64 = 10;
/// What a round takes of the pool at most.
const POOL_SHARE: f64 = 256.0;
/// Fees that a claim of rewards waits for: `auto_claim_fees`.
const CLAIM_FEES: f64 = 50.0;
/// The least fee of an operation, in nanoMAS.
const FEE: u64 = 10_000_000;
/// What a byte of the ledger costs, in nanoMAS, and the bytes added to each entry.
const BYTE: u64 = 100_000;
const ENTRY_BYTES: u64 = 4;
const NANO: f64 = 1e9;
const SECONDS_PER_MONTH: f64 = 30.0 * 86_400.0;

/// The numbers that everything follows from.
pub struct Economy {
    /// nanoMAS for a GB and period.
    pub rate: u64,
    /// Segments of a round.
    pub round_segments: u64,
    /// Periods of a round.
    pub periods: u64,
    /// Copies of each chunk.
    pub copies: u64,
}

impl Economy {
    /// With the defaults of the configuration.
    pub fn defaults() -> Self {
        let config = DistributedStorageConfig::default();
        Self {
            rate: config.reward_per_gb_per_period.to_raw(),
            round_segments: config.round_segments,
            periods: config.round_segments * config.challenge_frequency_periods,
            copies: u64::from(config.replication_factor),
        }
    }

    /// The same network with another rate.
    pub fn at_rate(rate: u64) -> Self {
        Self {
            rate,
            ..Self::defaults()
        }
    }

    /// Rounds in 30 days.
    pub fn rounds_per_month(&self) -> f64 {
        periods_per_month() / self.periods as f64
    }

    /// nanoMAS that a node earns in a round with `gb` claimed, if the pool can pay and every draw passes.
    pub fn round_credit(&self, gb: u64) -> u64 {
        let leaves = gb * LEAVES_PER_GB;
        let rate = round_rate(self.rate, u64::MAX, leaves, self.periods);
        let draws = draw_count(leaves);
        credit(leaves, self.periods, rate, draws, draws)
    }

    /// MAS for a GB and month, one copy.
    pub fn mas_per_gb_month(&self) -> f64 {
        self.round_credit(1) as f64 / NANO * self.rounds_per_month()
    }

    /// nanoMAS of fees of a node and round: one operation.
    pub fn node_fees(&self) -> u64 {
        FEE
    }

    /// nanoMAS of deposits of a round: its record and its segments' roots. The pool pays them while it can, else who writes first.
    pub fn round_deposits(&self) -> u64 {
        record_deposit() + self.round_segments * root_deposit()
    }

    /// What a month brings who claims `gb`, in MAS, less the fees of rounds and of claiming it.
    fn month(&self, gb: f64) -> f64 {
        let fees = self.node_fees() as f64 / NANO * self.rounds_per_month();
        gb * self.mas_per_gb_month() * (1.0 - 1.0 / CLAIM_FEES) - fees
    }

    /// What a round that was claimed and not answered costs: slash, and the pay of that round and of those that it sits out.
    pub fn missed_round(&self, gb: f64) -> (f64, f64) {
        let leaves = (gb * LEAVES_PER_GB as f64) as u64;
        let base = slash_base(stake(gb), STAKE_PER_GB, leaves);
        let draws = draw_count(leaves);
        let slash = slash_amount(base, SLASH_PERCENTAGE, draws, draws) as f64 / NANO;
        let rounds = (1 + SIT_OUT_ROUNDS) as f64;
        (slash, gb * self.mas_per_gb_month() * rounds / self.rounds_per_month())
    }

    /// GB from which on a month leaves something after `costs` of that many GB, in MAS.
    fn break_even(&self, costs: impl Fn(f64) -> f64) -> f64 {
        let sizes = (1..).map(|hundredths| f64::from(hundredths) / 100.0);
        let mut enough = sizes.skip_while(|gb| self.month(*gb) < costs(*gb));
        enough.next().expect("pay grows with size")
    }

    /// GB from which on pay exceeds the fees of rounds and of claiming it.
    pub fn break_even_gb(&self) -> f64 {
        self.break_even(|_| 0.0)
    }

    /// Price of a MAS, in dollars, below which the network's copies together cost less than an object store.
    pub fn cheaper_below_usd(&self) -> f64 {
        OBJECT_STORE_USD / (self.mas_per_gb_month() * self.copies as f64)
    }
}

fn periods_per_month() -> f64 {
    SECONDS_PER_MONTH * 1000.0 / T0.as_millis() as f64
}

/// MAS created by blocks in 30 days, no slot missed.
pub fn block_rewards_per_month() -> f64 {
    BLOCK_REWARD.to_raw() as f64 / NANO * f64::from(THREAD_COUNT) * periods_per_month()
}

fn deposit(key: usize, value: usize) -> u64 {
    (key as u64 + value as u64 + ENTRY_BYTES) * BYTE
}

/// nanoMAS.
fn stake(gb: f64) -> u64 {
    MIN_STAKE.max(gb.ceil() as u64 * STAKE_PER_GB)
}

fn record_deposit() -> u64 {
    deposit("period_".len() + 8, 184)
}

fn root_deposit() -> u64 {
    deposit("segment_".len() + 8, 40)
}

/// `docs/economics.md`.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    let economy = Economy::defaults();
    pay(&mut text, &economy);
    default_rate(&mut text, &economy);
    costs(&mut text, &economy);
    break_even(&mut text, &economy);
    outage(&mut text, &economy);
    block_space(&mut text, &economy);
    network(&mut text, &economy);
    pool(&mut text, &economy);
    operator(&mut text, &economy);
    text.push_str(TAIL);
    text
}

const HEAD: &str = "\
# Economics

Written by `scripts/economics` from the defaults of the configuration and the formulas that pay (`rewards.rs`); a test compares. A month
is 30 days, a GB 2³⁰ bytes. Fees are the least that nodes accept. Prices in dollars are assumptions, named where they are used.

";

const TAIL: &str = "
## What is assumed

- Every slot has a block and every draw passes, but where a missed round is named. A missed block changes what is stored, not what a GB is paid.
- The pool has enough. When it has not, the next rounds pay less, the same for everybody, and what is credited stays payable.
- One operation for each node and round. A manual challenge, a change of the allocation or a refutation costs its own fee.
- Stakes and slashes are the defaults of `massa-cli sc deploy`.
- The dollar figures say nothing about what a MAS will be worth. `updateConfig` changes the rate from the second round that opens after it on.
";

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes all");
    text.push('\n');
}

fn pay(text: &mut String, economy: &Economy) {
    let Economy {
        rate,
        round_segments,
        periods,
        copies,
    } = economy;
    line(text, format_args!("## What a GB is paid\n"));
    line(text, format_args!("| | |\n|---|---:|"));
    line(
        text,
        format_args!("| rate (`reward_per_gb_per_period`) | {rate} nanoMAS |"),
    );
    line(
        text,
        format_args!("| periods of a round ({round_segments} segments) | {periods} |"),
    );
    line(
        text,
        format_args!("| rounds in a month | {:.0} |", economy.rounds_per_month()),
    );
    line(
        text,
        format_args!(
            "| a GB, one copy, a round | {:.4} MAS |",
            economy.round_credit(1) as f64 / NANO
        ),
    );
    line(
        text,
        format_args!("| a GB, one copy, a month | {:.2} MAS |", economy.mas_per_gb_month()),
    );
    let all = economy.mas_per_gb_month() * *copies as f64;
    line(
        text,
        format_args!("| a GB, {copies} copies, a month | {all:.2} MAS |\n"),
    );
}

fn default_rate(text: &mut String, economy: &Economy) {
    let plan = Economy::at_rate(PLAN_RATE);
    line(
        text,
        format_args!("## The default rate, and why it is not the plan's\n"),
    );
    line(
        text,
        format_args!(
            "The plan's rate is {PLAN_RATE} nanoMAS and one of its metrics \"storage cost < AWS\". With {} copies that rate is {:.0} MAS for a \
             GB and month: cheaper than an object store (${OBJECT_STORE_USD} for a GB and month) only while a MAS costs less than \
             ${:.5}, and at ten terabytes it would be {:.0} times all block rewards. The default is {} nanoMAS: cheaper than the object store \
             below ${:.4}. The same metric asks for \"rewards > costs\": a lower rate would leave small nodes below their fees (next section).\n",
            plan.copies,
            plan.mas_per_gb_month() * plan.copies as f64,
            plan.cheaper_below_usd(),
            10_240.0 * plan.mas_per_gb_month() * plan.copies as f64 / block_rewards_per_month(),
            economy.rate,
            economy.cheaper_below_usd(),
        ),
    );
    line(text, format_args!("| a MAS costs | plan's rate: a GB and month, all copies | default: a GB and month, all copies | object store | default is cheaper |"));
    line(text, format_args!("|---:|---:|---:|---:|---|"));
    for price in MAS_USD {
        let cost = |economy: &Economy| economy.mas_per_gb_month() * economy.copies as f64 * price;
        let (old, new) = (cost(&plan), cost(economy));
        let cheaper = if new < OBJECT_STORE_USD { "yes" } else { "no" };
        line(
            text,
            format_args!("| ${price} | ${old:.3} | ${new:.4} | ${OBJECT_STORE_USD} | {cheaper} |"),
        );
    }
    text.push('\n');
}

fn costs(text: &mut String, economy: &Economy) {
    line(text, format_args!("## Fees and deposits of a round\n"));
    line(text, format_args!("| | MAS |\n|---|---:|"));
    let mas = |nano: u64| nano as f64 / NANO;
    line(
        text,
        format_args!(
            "| each node: one operation (beacon, answers, root votes, next claim) | {:.4} |",
            mas(economy.node_fees())
        ),
    );
    line(
        text,
        format_args!(
            "| each claim of pay: one operation; `auto_claim` waits until it is 1/{CLAIM_FEES} of the pay | {:.4} |",
            mas(FEE)
        ),
    );
    line(
        text,
        format_args!("| the pool, once: the round's record | {:.4} |", mas(record_deposit())),
    );
    line(
        text,
        format_args!(
            "| the pool, once: the roots of its {} segments | {:.4} |",
            economy.round_segments,
            mas(economy.round_segments * root_deposit())
        ),
    );
    line(
        text,
        format_args!(
            "| a node's fees in a month, without claims | {:.2} |\n",
            mas(economy.node_fees()) * economy.rounds_per_month()
        ),
    );
    line(
        text,
        format_args!(
            "The next answer or claim closes a round: no operation of its own. The storage of a node's own rows, and its stake, come back when it \
             leaves.\n"
        ),
    );
}

fn break_even(text: &mut String, economy: &Economy) {
    line(text, format_args!("## The smallest node that earns\n"));
    line(
        text,
        format_args!(
            "GB claimed from which on a month leaves something; each column adds to the one before. A missed round was claimed and not \
             answered: next section. Stake is {} MAS and more; elsewhere it would earn {:.0} % a year.\n",
            MIN_STAKE as f64 / NANO,
            100.0 * YIELD
        ),
    );
    line(text, format_args!("| nodes | fees of rounds and claims | its part of the round's deposits, where the pool is empty | one missed round a month | the stake's yield |"));
    line(text, format_args!("|---:|---:|---:|---:|---:|"));
    for nodes in [10u64, 1_000, 10_000] {
        let shared = economy.round_deposits() as f64 / NANO * economy.rounds_per_month() / nodes as f64;
        let missed = |gb: f64| {
            let (slash, pay) = economy.missed_round(gb);
            shared + slash + pay
        };
        let all = |gb: f64| missed(gb) + stake(gb) as f64 / NANO * YIELD / 12.0;
        line(
            text,
            format_args!(
                "| {nodes} | {:.2} GB | {:.2} GB | {:.2} GB | {:.2} GB |",
                economy.break_even_gb(),
                economy.break_even(|_| shared),
                economy.break_even(missed),
                economy.break_even(all),
            ),
        );
    }
    line(
        text,
        format_args!(
            "\nA node that holds less should not register (at the plan's rate: {:.2} GB).\n",
            Economy::at_rate(PLAN_RATE).break_even_gb(),
        ),
    );
}

fn outage(text: &mut String, economy: &Economy) {
    line(text, format_args!("## What an outage costs\n"));
    line(
        text,
        format_args!(
            "Whoever claimed a round and does not answer it loses {SLASH_PERCENTAGE} % of the stake for the GB that it claimed, and neither that round nor \
             the {SIT_OUT_ROUNDS} that it sits out are paid. A longer outage costs no more stake: what is not claimed is not missed. A draw that fails costs its part of the same base. An answer under \
             another beacon than one that ended with more than two thirds of the electorate costs {SLASH_PERCENTAGE} % of the whole stake.\n"
        ),
    );
    line(text, format_args!("| claimed | stake | slashed, a missed round | pay of the rounds | in days of what is left |\n|---:|---:|---:|---:|---:|"));
    for gb in [2u64, 3, 10, 100, 1_000] {
        let size = gb as f64;
        let (slash, pay) = economy.missed_round(size);
        let days = (slash + pay) / (economy.month(size) / 30.0);
        let stake = stake(size) as f64 / NANO;
        line(
            text,
            format_args!("| {gb} GB | {stake:.0} MAS | {slash:.1} MAS | {pay:.2} MAS | {days:.1} |"),
        );
    }
    text.push('\n');
}

fn block_space(text: &mut String, economy: &Economy) {
    line(text, format_args!("## Block space\n"));
    line(
        text,
        format_args!(
            "An operation with four answers, eight root votes and a claim has {} bytes. Of what the operations of a round's blocks may take:\n",
            operation_bytes()
        ),
    );
    line(text, format_args!("| nodes | part |\n|---:|---:|"));
    for nodes in [10, 1_000, 10_000] {
        line(
            text,
            format_args!("| {nodes} | {:.3} % |", share_percent(nodes, economy.periods)),
        );
    }
    text.push('\n');
}

fn network(text: &mut String, economy: &Economy) {
    line(text, format_args!("## The network against its block rewards\n"));
    let rewards = block_rewards_per_month();
    line(
        text,
        format_args!(
            "Blocks create {rewards:.0} MAS a month. Pay depends on what is stored, fees on how many nodes store it.\n"
        ),
    );
    line(text, format_args!("| nodes | history | GB of each node | pay, MAS a month | share of block rewards | fees and deposits, MAS a month | each node keeps, MAS a month |"));
    line(text, format_args!("|---:|---:|---:|---:|---:|---:|---:|"));
    for (nodes, history_gb) in [
        (10u64, 100u64),
        (10, 1_024),
        (1_000, 1_024),
        (1_000, 10_240),
        (10_000, 10_240),
        (10_000, 102_400),
    ] {
        let stored = history_gb as f64 * economy.copies as f64;
        let pay = stored * economy.mas_per_gb_month();
        let node_fees = economy.node_fees() as f64 / NANO * economy.rounds_per_month();
        let deposits = economy.round_deposits() as f64 / NANO * economy.rounds_per_month();
        let fees = node_fees * nodes as f64 + deposits;
        let keeps = economy.month(stored / nodes as f64);
        line(
            text,
            format_args!(
                "| {nodes} | {history_gb} GB | {:.1} | {pay:.0} | {:.2} % | {fees:.0} | {keeps:.1} |",
                stored / nodes as f64,
                100.0 * pay / rewards
            ),
        );
    }
    line(text, format_args!("\nA negative last column is a network with too many nodes for its history: the smallest leave, and the rest fill up.\n"));
}

fn pool(text: &mut String, economy: &Economy) {
    line(text, format_args!("## How long a pool lasts\n"));
    line(
        text,
        format_args!(
            "At the full rate. A round takes a {POOL_SHARE:.0}th of the pool at most: a pool below {POOL_SHARE:.0} rounds of full pay pays less each round, and half of it is left \
             after {:.1} days.\n",
            POOL_SHARE * 2f64.ln() / (economy.rounds_per_month() / 30.0)
        ),
    );
    line(
        text,
        format_args!("| pool | 100 GB of history | 1 TB | 10 TB |\n|---:|---:|---:|---:|"),
    );
    for pool in [10_000.0, 100_000.0, 1_000_000.0] {
        let months = |gb: f64| {
            let month = gb * economy.copies as f64 * economy.mas_per_gb_month();
            let left = pool - POOL_SHARE * month / economy.rounds_per_month();
            if left > 0.0 {
                format!("{:.1} months", left / month)
            } else {
                "never".into()
            }
        };
        line(
            text,
            format_args!(
                "| {pool:.0} MAS | {} | {} | {} |",
                months(100.0),
                months(1_024.0),
                months(10_240.0)
            ),
        );
    }
    text.push('\n');
}

fn operator(text: &mut String, economy: &Economy) {
    line(text, format_args!("## One operator, in dollars\n"));
    line(
        text,
        format_args!("A disk of its own at ${DISK_USD:.5} for a GB and month; power, line and time are the operator's to add. A MAS at ${REFERENCE_MAS_USD}.\n"),
    );
    line(
        text,
        format_args!("| claimed | pay a month | fees a month, claims with them | disk a month | left |\n|---:|---:|---:|---:|---:|"),
    );
    for gb in [1u64, 10, 100, 1_000] {
        let pay = economy.mas_per_gb_month() * gb as f64 * REFERENCE_MAS_USD;
        let fees = pay - economy.month(gb as f64) * REFERENCE_MAS_USD;
        let disk = DISK_USD * gb as f64;
        line(
            text,
            format_args!(
                "| {gb} GB | ${pay:.4} | ${fees:.4} | ${disk:.4} | ${:.4} |",
                pay - fees - disk
            ),
        );
    }
}
