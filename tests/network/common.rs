//! What the scenarios share: a small fast network, and the conditions that they wait for.

use massa_localnet::readback::{read_back, ReadBack, Readers};
use massa_localnet::survey::Survey;
use massa_localnet::wait::wait_for;
use massa_localnet::{Network, NetworkOptions, Node, Programs};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a scenario may take, with other work on the machine.
pub const DEADLINE: Duration = Duration::from_secs(240);

pub const THREADS: u8 = 8;
const T0_MS: u64 = 800;
const START_DELAY: Duration = Duration::from_secs(3);

/// A network of `nodes`, none of which runs yet, and its directory.
pub fn network(nodes: usize) -> (TempDir, Network) {
    network_with_periods_of(nodes, T0_MS)
}

/// As [`network`], with periods of so many milliseconds: rounds need some time between draws and the end of their window.
pub fn network_with_periods_of(nodes: usize, t0_ms: u64) -> (TempDir, Network) {
    let directory = tempfile::tempdir().unwrap();
    let network = Network::prepare(&NetworkOptions {
        nodes,
        threads: THREADS,
        t0_ms,
        start_delay: START_DELAY,
        directory: directory.path().join("network"),
        programs: Programs::with_node(env!("CARGO_BIN_EXE_massa-node")),
    });
    (directory, network.unwrap())
}

/// Waits until all of `nodes` have archived the periods up to `last`, and closed the segments that are over with them.
pub fn archived_everywhere(network: &mut Network, nodes: &[usize], last: u64, deadline: Instant) {
    survey_without(network, nodes, last, deadline, |survey| survey.problems(0));
}

/// Waits until all of `nodes` have archived the periods up to `last`, each chunk of the segments that are closed everywhere has as
/// many holders as the network asks for, and each node holds what is assigned to it.
pub fn settled(network: &mut Network, nodes: &[usize], last: u64, deadline: Instant) -> Survey {
    let replicas = usize::from(network.genesis().storage.replication_factor);
    survey_without(network, nodes, last, deadline, |survey| {
        survey.problems_of_assignment(replicas)
    })
}

/// Waits until a survey of the periods up to `last` has no problems. Fails with them, and with the nodes' logs.
fn survey_without(
    network: &mut Network,
    nodes: &[usize],
    last: u64,
    deadline: Instant,
    problems: impl Fn(&Survey) -> Vec<String>,
) -> Survey {
    let left = deadline.saturating_duration_since(Instant::now());
    let surveyed = wait_for(format!("periods 0 to {last} on nodes {nodes:?}"), left, || {
        if let Err(error) = network.check_running() {
            panic!("{error}");
        }
        let asked = nodes.iter().map(|node| &network.nodes()[*node]);
        let survey = Survey::fetch(asked, network.span(0, last)).map_err(|error| error.to_string())?;
        let problems = problems(&survey);
        if problems.is_empty() {
            Ok(survey)
        } else {
            Err(problems.join("; "))
        }
    });
    surveyed.unwrap_or_else(|error| panic!("{error}\n{}", logs(network)))
}

/// Reads back all that was surveyed; the survey was of all nodes.
pub fn read_everything(network: &Network, survey: &Survey, readers: Readers, deadline: Instant) -> ReadBack {
    let nodes: Vec<&Node> = network.nodes().iter().collect();
    read_back(&nodes, survey, &network.chain(), readers, deadline)
}

/// Waits until the newest period that `node` archived is inside of a segment: not its first, and not its last.
pub fn inside_a_segment(network: &Network, node: usize, deadline: Instant) {
    let periods = network.genesis().storage.challenge_frequency_periods;
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for("a segment that is half full", left, || {
        let status = network.nodes()[node].client().storage_status();
        let newest = status.map_err(|error| error.to_string())?.last_archived_period;
        match newest.map(|newest| newest % periods) {
            Some(place) if place != 0 && place + 1 < periods => Ok(()),
            _ => Err(format!("{newest:?} is the newest period")),
        }
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(network)));
}

/// Changes a line of the settings of a node that does not run yet.
pub fn change_settings(node: &Node, from: &str, to: &str) {
    let directory = node.log_path();
    let path = directory.parent().unwrap().join("config/config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace(from, to);
    assert_ne!(changed, text, "{} has no {from}", path.display());
    std::fs::write(&path, changed).unwrap();
}

/// The end of every log, and what each node says of its archive.
pub fn logs(network: &Network) -> String {
    let log = |node: &Node| {
        let status = node.client().storage_status();
        let status = status.map_or_else(|error| error.to_string(), |status| format!("{status:#?}"));
        format!("--- {}: {status}\n{}\n", node.name(), node.log_tail())
    };
    network.nodes().iter().map(log).collect()
}
