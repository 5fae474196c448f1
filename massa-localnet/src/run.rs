//! What `massa-localnet` does.

use crate::cli::Arguments;
use crate::client::ClientError;
use crate::network::{Network, NetworkError, NetworkOptions, Programs};
use crate::node::{Node, NodeError};
use crate::readback::{read_back, ReadBack, Readers};
use crate::registry::{RegistryError, RegistryPlan, RegistryView};
use crate::report::{failure_lines, ChainView, Report, RoundsReport, SoakReport};
use crate::soak::{Soak, UsageError};
use crate::state::compare_states;
use crate::survey::Survey;
use crate::wait::WaitError;
use crate::watch::{Outcome, Registering, Running, Watch};
use clap::Parser;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time for all nodes to start before the first slot.
const START_DELAY: Duration = Duration::from_secs(5);
/// Operations of a period, so that it touches several chunks.
const LOAD_BYTES_PER_PERIOD: u64 = 400_000;
/// How long the archive may take, after a soak, to reach the last slot that was looked at.
const SOAK_END_TIMEOUT: Duration = Duration::from_secs(300);
/// Exit status of a run that Ctrl-C ended before its end.
const INTERRUPTED: u8 = 130;

/// Why a run failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The network could not be made.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A node failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The registry was not deployed, or nodes were not registered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file of the harness.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Memory or disks cannot be looked at.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Something did not happen in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Ctrl-C cannot be caught.
    #[error("handler of Ctrl-C: {0}")]
    Interrupt(#[from] ctrlc::Error),
    /// Time is up, or something is wrong with the archive.
    #[error("{}", .0.join("\n"))]
    Judged(Vec<String>),
}

/// Runs `massa-localnet` with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => {
            eprintln!("localnet: interrupted");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("localnet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome, RunError> {
    let interrupted = catch_interrupt()?;
    let directory = Directory::new(arguments.dir.as_deref())?;
    let result = run_in(arguments, directory.path(), &interrupted);
    match &result {
        // Nothing ran yet, so there is nothing to look at.
        Ok(_) | Err(RunError::Network(_)) => directory.remove()?,
        Err(_) => eprintln!("localnet: logs are in {}", directory.keep().display()),
    }
    result
}

/// The first Ctrl-C (or SIGTERM) asks for a clean end; the second ends at once, and the nodes stop as their pipes close.
fn catch_interrupt() -> Result<Arc<AtomicBool>, RunError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })?;
    Ok(interrupted)
}

fn run_in(arguments: &Arguments, directory: &Path, interrupted: &AtomicBool) -> Result<Outcome, RunError> {
    let mut network = Network::prepare(&NetworkOptions {
        nodes: arguments.nodes,
        threads: arguments.threads,
        t0_ms: arguments.t0_ms,
        start_delay: START_DELAY,
        directory: directory.to_path_buf(),
        programs: programs(arguments)?,
    })?;
    network.start(arguments.nodes)?;
    for line in introduction(&network, directory) {
        println!("{line}");
    }
    let mut load = network.start_load(arguments.nodes, LOAD_BYTES_PER_PERIOD);
    let mut registering = Registering::start(RegistryPlan::new(&network, arguments.nodes));
    let mut watch = Watch::new(network.nodes()[0].client().storage_status()?.first_period);
    let mut running = Running {
        network: &mut network,
        registering: &mut registering,
        interrupted,
    };
    let outcome = match (arguments.periods, arguments.minutes) {
        (Some(periods), _) => {
            watch.until_archived(&mut running, (periods, Instant::now() + arguments.deadline(periods)))?
        }
        (None, Some(minutes)) => soak(&mut watch, &mut running, minutes, arguments.report.as_deref())?,
        (None, None) => watch
            .until(&mut running, None, &mut |_| Ok(()))
            .map(|_| Outcome::Done)?,
    };
    watch.finish();
    load.stop();
    if let (Outcome::Done, Some(periods)) = (outcome, arguments.periods) {
        registering.finish()?;
        let deadline = Instant::now() + arguments.deadline(periods);
        let rounds = watch.rounds_report(&network, deadline)?;
        let judged = Judged {
            range: watch.range(periods),
            rounds,
            rounds_needed: Arguments::rounds(periods),
        };
        judge(&network, judged, deadline, arguments.report.as_deref())?;
    }
    network.stop()?;
    Ok(outcome)
}

/// Watches for some minutes, and judges memory, disks and rounds.
fn soak(watch: &mut Watch, running: &mut Running<'_>, minutes: u64, file: Option<&Path>) -> Result<Outcome, RunError> {
    let start = Instant::now();
    let end = start + Duration::from_secs(60 * minutes);
    let mut soak = Soak::new(running.network.nodes(), start);
    let mut sample = |network: &Network| Ok(soak.look(network.nodes(), Instant::now())?);
    if watch.until(running, Some(end), &mut sample)? == Outcome::Interrupted {
        return Ok(Outcome::Interrupted);
    }
    let rounds = watch.rounds_report(running.network, Instant::now() + SOAK_END_TIMEOUT)?;
    println!("{}\n{}", soak.table(), watch.rounds_line);
    let mut problems = rounds.problems(1);
    problems.extend(soak.problems());
    let report = SoakReport::new(minutes, running.network.genesis(), rounds, &soak);
    let text = serde_json::to_string_pretty(&report).expect("the report can be written") + "\n";
    write_report(file, &text)?;
    if problems.is_empty() {
        return Ok(Outcome::Done);
    }
    Err(RunError::Judged(problems))
}

/// The node is built beside this program.
fn programs(arguments: &Arguments) -> Result<Programs, RunError> {
    let node = match &arguments.node_program {
        Some(path) => path.canonicalize().map_err(|source| RunError::File {
            path: path.clone(),
            source,
        })?,
        None => beside_this_program("massa-node")?,
    };
    Ok(Programs::with_node(node))
}

fn beside_this_program(name: &str) -> Result<PathBuf, RunError> {
    let this = std::env::current_exe().map_err(|source| RunError::File {
        path: PathBuf::from("the program itself"),
        source,
    })?;
    Ok(this.with_file_name(name))
}

/// What a reader can do with the network, as lines for a shell.
fn introduction(network: &Network, directory: &Path) -> Vec<String> {
    let genesis = network.genesis();
    let shape = format!(
        "{} nodes, {} threads, {} ms a period; directory {}",
        network.nodes().len(),
        genesis.thread_count,
        genesis.t0,
        directory.display()
    );
    let program = beside_this_program("massa-cli").unwrap_or_else(|_| PathBuf::from("massa-cli"));
    let command = |node: &Node, words: &str| {
        let ports = node.ports();
        format!(
            "  {} --public-port {} --private-port {} --token-file {} {words}",
            program.display(),
            ports.public.port(),
            ports.private.port(),
            node.token_path().display()
        )
    };
    let first = &network.nodes()[0];
    let last = network.nodes().last().unwrap_or(first);
    let balance = format!("--wallet {} wallet balance", directory.join("accounts").display());
    vec![
        shape,
        "Try, in another terminal:".into(),
        command(first, "status"),
        command(first, "storage status"),
        command(first, "storage nodes"),
        command(first, "storage list-segments"),
        command(first, "storage list-periods"),
        command(last, "storage list-chunks --period 3"),
        command(last, "storage get-period 3"),
        command(last, "storage get-block --slot 3:0"),
        command(first, &balance),
        command(first, "sc call storage_registry get_state"),
        command(
            last,
            &format!("sc call storage_registry get_node_info {}", last.operator()),
        ),
        String::new(),
    ]
}

/// What a run is judged by, beside what is read now.
struct Judged {
    range: (u64, u64),
    rounds: RoundsReport,
    rounds_needed: u64,
}

/// Reads everything back, writes the report, and says what is wrong if something is.
fn judge(network: &Network, judged: Judged, deadline: Instant, file: Option<&Path>) -> Result<(), RunError> {
    let nodes: Vec<&Node> = network.nodes().iter().collect();
    let survey = Survey::fetch(network.nodes(), network.span(judged.range.0, judged.range.1))?;
    println!("reading {} periods back", survey.periods.len());
    let read = read_back(&nodes, &survey, &network.chain(), Readers::One, deadline);
    let chain = ChainView {
        registry: RegistryView::fetch(network.nodes())?,
        states: compare_states(network.nodes(), deadline),
        rounds: judged.rounds,
    };
    let report = Report::new(network.genesis(), &survey, &read, &chain);
    let text = serde_json::to_string_pretty(&report).expect("the report can be written") + "\n";
    print!("{text}");
    write_report(file, &text)?;
    verdict(&report, judged.rounds_needed, &read)
}

fn write_report(file: Option<&Path>, text: &str) -> Result<(), RunError> {
    let Some(path) = file else { return Ok(()) };
    std::fs::write(path, text).map_err(|source| RunError::File {
        path: path.to_path_buf(),
        source,
    })
}

fn verdict(report: &Report, rounds_needed: u64, read: &ReadBack) -> Result<(), RunError> {
    let mut problems = report.problems(rounds_needed);
    if problems.is_empty() {
        return Ok(());
    }
    problems.extend(failure_lines(&read.failures));
    Err(RunError::Judged(problems))
}

/// Where the network lives: the user's directory, or a temporary one.
enum Directory {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Directory {
    fn new(chosen: Option<&Path>) -> Result<Self, RunError> {
        let Some(path) = chosen else {
            let made = tempfile::Builder::new().prefix("massa-localnet-").tempdir();
            return made.map(Self::Temporary).map_err(|source| RunError::File {
                path: std::env::temp_dir(),
                source,
            });
        };
        let absolute = std::path::absolute(path).map_err(|source| RunError::File {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self::Kept(absolute))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    /// Removes a temporary directory.
    fn remove(self) -> Result<(), RunError> {
        let Self::Temporary(directory) = self else {
            return Ok(());
        };
        let path = directory.path().to_path_buf();
        directory.close().map_err(|source| RunError::File { path, source })
    }

    /// Keeps a temporary directory for whoever looks into what went wrong.
    fn keep(self) -> PathBuf {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.keep(),
        }
    }
}
