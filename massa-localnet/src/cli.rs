//! The arguments of `massa-localnet`.

use crate::genesis::ROUND_PERIODS;
use crate::network::NODES_MAX;
use clap::{ArgGroup, Parser};
use std::path::PathBuf;
use std::time::Duration;

/// Time that a run of any length may take.
const DEADLINE_BASE: Duration = Duration::from_secs(60);
/// Periods of time that a run may take for each period that it archives: a machine may be slow.
const DEADLINE_FACTOR: u32 = 20;
/// Periods from which on rounds are waited for: two rounds.
const PERIODS_WITH_ROUNDS: u64 = 2 * ROUND_PERIODS;
/// Rounds that are waited for then.
const ROUNDS: u64 = 2;
/// Rounds that go by until two are claimed, settled, and their credit matured and claimed: the first segments end, their roots are
/// accepted, they are claimed, two rounds are answered, the second one matures.
const ROUNDS_UNTIL_PAID: u64 = 8;
/// Minutes in which a round can be claimed, answered and settled.
const MINUTES_MIN: u64 = 5;

/// Starts a network of nodes on this machine, with a load of operations, and shows how its history is archived.
///
/// The registry contract is deployed and every node registered with it. With --periods it ends by itself, with status 0 if
/// those periods are archived on all nodes, their segments closed with one root and every chunk on its replicas, every block of them
/// could be read back over RPC, with its proof, and verified down to signatures, all nodes are registered and have one final state. From 40 periods on it goes on until the first
/// two claimed rounds are settled and paid out, and fails if one is void, a draw failed, or a nano of the rewards or of the
/// operators' coins is not what it has to be. With --minutes it watches memory and disks for that long. Without either, it runs
/// until Ctrl-C.
#[derive(Clone, Debug, Parser)]
#[command(name = "massa-localnet", version, group(ArgGroup::new("end").args(["periods", "minutes"])))]
pub struct Arguments {
    /// Nodes.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = parse_nodes)]
    pub nodes: usize,
    /// End once this many periods are archived and verified.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub periods: Option<u64>,
    /// End after so many minutes; fail if memory or ledger keep growing, or a draw was missed or a round void.
    #[arg(long, value_name = "M", conflicts_with = "periods", value_parser = clap::value_parser!(u64).range(MINUTES_MIN..=10_080))]
    pub minutes: Option<u64>,
    /// Threads of the block graph: a power of two.
    #[arg(long, value_name = "T", default_value_t = 32, value_parser = parse_threads)]
    pub threads: u8,
    /// Milliseconds of a period; divisible by the threads.
    #[arg(long, value_name = "MS", default_value_t = 1_920, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub t0_ms: u64,
    /// Directory of keys, stores and logs, which are kept there; empty or absent. Otherwise a temporary one.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// File for the report of a run with --periods or --minutes.
    #[arg(long, value_name = "FILE.json", requires = "end")]
    pub report: Option<PathBuf>,
    /// The program of a node, if it is not beside this one.
    #[arg(long, value_name = "FILE", hide = true)]
    pub node_program: Option<PathBuf>,
}

impl Arguments {
    /// Claimed rounds that have to be settled and paid out before a run until `periods` periods are archived ends.
    pub fn rounds(periods: u64) -> u64 {
        if periods >= PERIODS_WITH_ROUNDS {
            ROUNDS
        } else {
            0
        }
    }

    /// How long a run until `periods` periods are archived may take.
    pub fn deadline(&self, periods: u64) -> Duration {
        let periods = match Self::rounds(periods) {
            0 => periods,
            _ => periods.max(ROUNDS_UNTIL_PAID * ROUND_PERIODS),
        };
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        DEADLINE_BASE + (Duration::from_millis(self.t0_ms) * DEADLINE_FACTOR).saturating_mul(periods)
    }
}

fn parse_nodes(text: &str) -> Result<usize, String> {
    let nodes: usize = text.parse().map_err(|error| format!("{error}"))?;
    if (1..=NODES_MAX).contains(&nodes) {
        return Ok(nodes);
    }
    Err(format!("{nodes} is not between 1 and {NODES_MAX}"))
}

fn parse_threads(text: &str) -> Result<u8, String> {
    let threads: u8 = text.parse().map_err(|error| format!("{error}"))?;
    if threads.is_power_of_two() {
        return Ok(threads);
    }
    Err(format!("{threads} is not a power of two"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        let all = std::iter::once("massa-localnet").chain(arguments.iter().copied());
        Arguments::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn four_nodes_of_32_threads_run_until_they_are_interrupted_unless_told_otherwise() {
        let arguments = parse(&[]).unwrap();
        assert_eq!((arguments.nodes, arguments.threads, arguments.t0_ms), (4, 32, 1_920));
        assert_eq!(arguments.periods, None);
    }

    #[test]
    fn all_that_can_be_told_is_understood() {
        let arguments = parse(&[
            "--nodes",
            "5",
            "--periods",
            "12",
            "--threads",
            "8",
            "--t0-ms",
            "800",
            "--dir",
            "d",
            "--report",
            "r.json",
        ]);
        let arguments = arguments.unwrap();
        assert_eq!(
            (arguments.nodes, arguments.periods, arguments.threads, arguments.t0_ms),
            (5, Some(12), 8, 800)
        );
        assert_eq!(arguments.report, Some("r.json".into()));
    }

    #[test]
    fn values_out_of_range_are_refused_by_the_name_of_the_argument() {
        for (name, value) in [
            ("--nodes", "0"),
            ("--nodes", "65"),
            ("--nodes", "many"),
            ("--periods", "0"),
            ("--minutes", "1"),
            ("--threads", "12"),
            ("--threads", "256"),
            ("--t0-ms", "0"),
        ] {
            let error = parse(&[name, value]).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_report_needs_an_end() {
        assert!(parse(&["--report", "r.json"]).unwrap_err().contains("--periods"));
        assert!(parse(&["--report", "r.json", "--minutes", "30"]).is_ok());
        assert!(parse(&["--periods", "9", "--minutes", "30"]).is_err());
    }

    #[test]
    fn from_two_rounds_on_a_run_waits_until_two_are_paid() {
        assert_eq!([1, 39, 40, 41].map(Arguments::rounds), [0, 0, 2, 2]);
        let arguments = parse(&["--t0-ms", "1000"]).unwrap();
        assert_eq!(arguments.deadline(40), arguments.deadline(160));
    }

    #[test]
    fn a_longer_run_has_a_later_deadline() {
        let arguments = parse(&["--t0-ms", "1000"]).unwrap();
        assert_eq!(arguments.deadline(0), Duration::from_secs(60));
        assert_eq!(arguments.deadline(12), Duration::from_secs(300));
        assert!(arguments.deadline(u64::MAX) > Duration::from_secs(1_000_000));
    }
}
