//! What `massa-localnet` does.

use crate::cli::Arguments;
use crate::client::ClientError;
use crate::network::{Network, NetworkError, NetworkOptions, Programs};
use crate::node::{Node, NodeError};
use crate::readback::{count_operations, read_back, Chain, ReadBack, Readers};
use crate::registry::{RegistryError, RegistryPlan, RegistryView};
use crate::report::{failure_lines, ChainView, Report, RoundsReport, SoakReport};
use crate::rounds::{Observer, Subject};
use crate::soak::{Soak, UsageError};
use crate::state::compare_states;
use crate::survey::Survey;
use crate::table;
use crate::wait::WaitError;
use crate::wallets::unexplained_coins;
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use massa_models::address::Address;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time for all nodes to start before the first slot.
const START_DELAY: Duration = Duration::from_secs(5);
/// Operations of a period, so that it has several chunks.
const LOAD_BYTES_PER_PERIOD: u64 = 400_000;
/// How often the nodes are asked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often an interrupt is looked for.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);
/// Looks in a row at which some node may fail to answer: a busy machine is no failure.
const UNANSWERED_MAX: u32 = 5;
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

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All that was asked for is archived and verified, or nothing was asked for and the user has seen enough.
    Done,
    /// Ctrl-C came first.
    Interrupted,
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
            "  {} --public-port {} --private-port {} {words}",
            program.display(),
            ports.public.port(),
            ports.private.port()
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
        command(first, "storage list-periods"),
        command(last, "storage list-chunks --first-period 3 --last-period 3"),
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

/// A network that is watched.
struct Running<'a> {
    network: &'a mut Network,
    registering: &'a mut Registering,
    interrupted: &'a AtomicBool,
}

/// The thread that deploys the registry and registers the nodes.
struct Registering {
    thread: Option<JoinHandle<Result<Address, RegistryError>>>,
    /// Once all are registered.
    registry: Option<Address>,
}

impl Registering {
    fn start(plan: RegistryPlan) -> Self {
        Self {
            thread: Some(plan.start()),
            registry: None,
        }
    }

    /// Looks whether it is done or failed, without waiting.
    fn check(&mut self) -> Result<Option<Address>, RegistryError> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish()?;
        }
        Ok(self.registry)
    }

    /// Waits until it is done.
    fn finish(&mut self) -> Result<(), RegistryError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.registry = Some(thread.join().expect("registering nodes does not panic")?);
        Ok(())
    }
}

/// Shows how the network archives.
struct Watch {
    first: u64,
    /// The next period that gets a line, where there is no terminal.
    next_line: u64,
    /// The table, where there is one.
    screen: Option<ProgressBar>,
    /// Operations of the periods shown.
    operations: BTreeMap<u64, u64>,
    /// Looks in a row that some node did not answer.
    unanswered: u32,
    /// The registry when it was last shown.
    registry: RegistryView,
    /// Reads the registry's final state, from when all nodes are registered.
    observer: Option<Observer>,
    /// The rounds when they were last shown.
    rounds_line: String,
}

impl Watch {
    fn new(first: u64) -> Self {
        let screen = io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is one"));
            bar
        });
        Self {
            first,
            next_line: first,
            screen,
            operations: BTreeMap::new(),
            unanswered: 0,
            registry: RegistryView::default(),
            observer: None,
            rounds_line: String::new(),
        }
    }

    fn range(&self, periods: u64) -> (u64, u64) {
        (self.first, self.first + periods - 1)
    }

    /// Until `end` or an interrupt. `each` is called at each look.
    fn until(
        &mut self,
        running: &mut Running<'_>,
        end: Option<Instant>,
        each: &mut dyn FnMut(&Network) -> Result<(), RunError>,
    ) -> Result<Outcome, RunError> {
        loop {
            self.look(running)?;
            each(running.network)?;
            if pause(running.interrupted) {
                return Ok(Outcome::Interrupted);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(Outcome::Done);
            }
        }
    }

    fn until_archived(
        &mut self,
        running: &mut Running<'_>,
        (periods, deadline): (u64, Instant),
    ) -> Result<Outcome, RunError> {
        let (_, last) = self.range(periods);
        loop {
            let newest = self.look(running)?;
            let late = Instant::now() >= deadline;
            if late || newest.is_some_and(|newest| newest >= last) {
                let problems = self.missing(running.network, periods);
                if problems.is_empty() {
                    return Ok(Outcome::Done);
                }
                if late {
                    return Err(RunError::Judged(too_late(problems, running.network)));
                }
            }
            if pause(running.interrupted) {
                return Ok(Outcome::Interrupted);
            }
        }
    }

    /// What is missing until a run of `periods` can be judged.
    fn missing(&self, network: &Network, periods: u64) -> Vec<String> {
        let rounds = Arguments::rounds(periods);
        if rounds > 0 {
            // The rounds take longer, and asking for all chunks of all periods is work for the nodes.
            let tracker = self.observer.as_ref().map(Observer::tracker);
            let missing = tracker.map_or_else(
                || Some("not all nodes are registered".to_owned()),
                |tracker| tracker.missing_until_paid(rounds as usize),
            );
            if let Some(missing) = missing {
                return vec![missing];
            }
        }
        let (first, last) = self.range(periods);
        let replicas = usize::from(network.genesis().storage.replication_factor);
        let survey = Survey::fetch(network.nodes(), first, last);
        survey.map_or_else(|error| vec![error.to_string()], |survey| survey.problems(replicas))
    }

    /// Begins to read the registry's final state once all nodes are registered: what registering cost is not of interest.
    fn observe(&mut self, running: &mut Running<'_>) -> Result<(), RunError> {
        let Some(registry) = running.registering.check()? else {
            return Ok(());
        };
        let network = &running.network;
        let observer = self.observer.get_or_insert_with(|| {
            Observer::start(network.nodes()[0].client().clone(), Subject::of(network, registry))
        });
        let line = observer.tracker().line();
        if line != self.rounds_line && self.screen.is_none() {
            println!("{line}");
        }
        self.rounds_line = line;
        Ok(())
    }

    /// Ends reading, and checks what was read.
    fn rounds_report(&mut self, network: &Network, deadline: Instant) -> Result<RoundsReport, RunError> {
        let Some(observer) = self.observer.take() else {
            return Ok(RoundsReport::new(Default::default(), Vec::new()));
        };
        let tracker = observer.tracker().clone();
        drop(observer);
        self.rounds_line = tracker.line();
        let unexplained = unexplained_coins(network, tracker.points(), deadline)?;
        Ok(RoundsReport::new(tracker.totals(), unexplained))
    }

    /// Shows the newest periods. Gives the newest that every node archived, if all of them say.
    fn look(&mut self, running: &mut Running<'_>) -> Result<Option<u64>, RunError> {
        running.network.check_running()?;
        self.observe(running)?;
        match self.ask_and_show(running.network) {
            Err(RunError::Client(_)) if self.unanswered < UNANSWERED_MAX => {
                self.unanswered += 1;
                Ok(None)
            }
            answered => {
                self.unanswered = 0;
                answered
            }
        }
    }

    fn ask_and_show(&mut self, network: &Network) -> Result<Option<u64>, RunError> {
        let statuses = network.nodes().iter().map(|node| node.client().storage_status());
        let statuses = statuses.collect::<Result<Vec<_>, _>>()?;
        self.registry_changed(RegistryView::of_statuses(&statuses), statuses.len());
        let archived = || statuses.iter().map(|status| status.last_archived_period);
        if let Some(newest) = archived().max().flatten() {
            self.show(network, newest)?;
        } else if let Some(screen) = &self.screen {
            screen.set_message("waiting for the first period to be final …");
        }
        Ok(archived().min().flatten())
    }

    /// Where there is no terminal, a change gets a line.
    fn registry_changed(&mut self, registry: RegistryView, nodes: usize) {
        if registry != self.registry && self.screen.is_none() {
            println!("{}", registry.line(nodes));
        }
        self.registry = registry;
    }

    fn show(&mut self, network: &Network, newest: u64) -> Result<(), RunError> {
        match self.screen.clone() {
            Some(screen) => {
                let first = (newest + 1).saturating_sub(table::ROWS).max(self.first);
                let survey = self.survey(network, first, newest)?;
                let registry = self.registry.line(survey.nodes.len());
                screen.set_message(format!("{}\n{registry}\n{}", table::table(&survey), self.rounds_line));
            }
            None if newest >= self.next_line => {
                let survey = self.survey(network, self.next_line, newest)?;
                while survey.is_archived_everywhere(self.next_line) {
                    let period = &survey.periods[&self.next_line];
                    println!("{}", table::line(self.next_line, period, survey.nodes.len()));
                    self.next_line += 1;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// The periods from `first` to `last`, with their operations counted.
    fn survey(&mut self, network: &Network, first: u64, last: u64) -> Result<Survey, RunError> {
        let mut survey = Survey::fetch(network.nodes(), first, last)?;
        self.operations.retain(|period, _| *period >= first);
        for (period, surveyed) in &mut survey.periods {
            if !self.operations.contains_key(period) {
                let node = &network.nodes()[*period as usize % network.nodes().len()];
                // A node that has not archived it yet cannot tell; the next look asks again.
                let counted = count_operations(node.client(), *period).ok();
                self.operations.extend(counted.map(|count| (*period, count)));
            }
            surveyed.operations = self.operations.get(period).copied();
        }
        Ok(survey)
    }

    /// Leaves what the screen shows where it is.
    fn finish(&self) {
        if let Some(screen) = &self.screen {
            screen.abandon();
        }
    }
}

/// Waits until the next look. Tells whether there was an interrupt.
fn pause(interrupted: &AtomicBool) -> bool {
    let end = Instant::now() + LOOK_INTERVAL;
    while !interrupted.load(Ordering::Relaxed) && Instant::now() < end {
        std::thread::sleep(INTERRUPT_INTERVAL);
    }
    interrupted.load(Ordering::Relaxed)
}

/// What is missing, and where to look.
fn too_late(problems: Vec<String>, network: &Network) -> Vec<String> {
    let mut lines = vec!["time is up:".to_owned()];
    lines.extend(problems);
    for node in network.nodes() {
        let why = node.client().storage_status().map(|status| status.why_not_more);
        let why = why.unwrap_or_else(|error| vec![error.to_string()]);
        lines.push(format!(
            "{}, log {}: {}",
            node.name(),
            node.log_path().display(),
            why.join("; ")
        ));
    }
    lines
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
    let survey = Survey::fetch(network.nodes(), judged.range.0, judged.range.1)?;
    let genesis = network.genesis();
    let of = Chain {
        chain_id: genesis.chain_id,
        thread_count: genesis.thread_count,
        chunk_size: genesis.storage.chunk_size,
    };
    println!("reading {} blocks back", survey.sum(|period| period.blocks));
    let read = read_back(&nodes, &survey, &of, Readers::One, deadline);
    let chain = ChainView {
        registry: RegistryView::fetch(network.nodes())?,
        states: compare_states(network.nodes(), deadline),
        rounds: judged.rounds,
    };
    let report = Report::new(genesis, &survey, &read, &chain);
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
