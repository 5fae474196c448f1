//! Watches a network: shows how it archives, looks after its registry and its rounds, and knows when there is something to judge.

use crate::cli::Arguments;
use crate::network::Network;
use crate::registry::{RegistryError, RegistryPlan, RegistryView};
use crate::report::RoundsReport;
use crate::rounds::Observer;
use crate::run::RunError;
use crate::sample::Subject;
use crate::survey::Survey;
use crate::table;
use crate::wallets::unexplained_coins;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use massa_models::address::Address;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the nodes are asked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often an interrupt is looked for.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);
/// Looks in a row at which some node may fail to answer: a busy machine is no failure.
const UNANSWERED_MAX: u32 = 5;

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that was asked for is archived and verified, or nothing was asked for and the user has seen enough.
    Done,
    /// Ctrl-C came first.
    Interrupted,
}

/// A network that is watched.
pub(crate) struct Running<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) registering: &'a mut Registering,
    pub(crate) interrupted: &'a AtomicBool,
}

/// The thread that deploys the registry and registers the nodes.
pub(crate) struct Registering {
    thread: Option<JoinHandle<Result<Address, RegistryError>>>,
    /// Once all are registered.
    registry: Option<Address>,
}

impl Registering {
    pub(crate) fn start(plan: RegistryPlan) -> Self {
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
    pub(crate) fn finish(&mut self) -> Result<(), RegistryError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.registry = Some(thread.join().expect("registering nodes does not panic")?);
        Ok(())
    }
}

/// Shows how the network archives.
pub(crate) struct Watch {
    first: u64,
    /// The next period and the next segment that get a line, where there is no terminal.
    next_period: u64,
    next_segment: u64,
    /// The table, where there is one.
    screen: Option<ProgressBar>,
    /// Looks in a row that some node did not answer.
    unanswered: u32,
    /// The registry when it was last shown.
    registry: RegistryView,
    /// Reads the registry's final state, from when all nodes are registered.
    observer: Option<Observer>,
    /// The rounds when they were last shown.
    pub(crate) rounds_line: String,
}

impl Watch {
    pub(crate) fn new(first: u64) -> Self {
        let screen = io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is one"));
            bar
        });
        Self {
            first,
            next_period: first,
            next_segment: 0,
            screen,
            unanswered: 0,
            registry: RegistryView::default(),
            observer: None,
            rounds_line: String::new(),
        }
    }

    pub(crate) fn range(&self, periods: u64) -> (u64, u64) {
        (self.first, self.first + periods - 1)
    }

    /// Until `end` or an interrupt. `each` is called at each look.
    pub(crate) fn until(
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

    pub(crate) fn until_archived(
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
        let survey = Survey::fetch(network.nodes(), network.span(first, last));
        survey.map_or_else(
            |error| vec![error.to_string()],
            |survey| {
                let mut problems = survey.problems(replicas);
                problems.extend(not_spread(&survey, replicas));
                problems
            },
        )
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
    pub(crate) fn rounds_report(&mut self, network: &Network, deadline: Instant) -> Result<RoundsReport, RunError> {
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
                let segment_periods = network.genesis().storage.challenge_frequency_periods;
                let first = (newest / segment_periods + 1).saturating_sub(table::ROWS) * segment_periods;
                let survey = Survey::fetch(network.nodes(), network.span(first.max(self.first), newest))?;
                let registry = self.registry.line(survey.nodes.len());
                screen.set_message(format!("{}\n{registry}\n{}", table::table(&survey), self.rounds_line));
            }
            None if newest >= self.next_period => self.show_lines(network, newest)?,
            None => {}
        }
        Ok(())
    }

    /// A line for each period that all nodes archived, and for each segment that all nodes closed, and did not have one.
    fn show_lines(&mut self, network: &Network, newest: u64) -> Result<(), RunError> {
        let mut span = network.span(self.next_period, newest);
        span.first = span.first.min(span.periods_of(self.next_segment).0);
        let survey = Survey::fetch(network.nodes(), span)?;
        while survey.is_archived_everywhere(self.next_period) {
            let period = &survey.periods[&self.next_period];
            println!("{}", table::period_line(self.next_period, period));
            self.next_period += 1;
        }
        while survey.is_closed_everywhere(self.next_segment) {
            let segment = &survey.segments[&self.next_segment];
            println!(
                "{}",
                table::segment_line(self.next_segment, segment, survey.nodes.len())
            );
            self.next_segment += 1;
        }
        Ok(())
    }

    /// Leaves what the screen shows where it is.
    pub(crate) fn finish(&self) {
        if let Some(screen) = &self.screen {
            screen.abandon();
        }
    }
}

/// Nodes ranked next keep a chunk until the holders have it. With more nodes than replicas, reading from nodes that do not hold it
/// shows something only after that; the newest segment that is closed is not handed over yet.
fn not_spread(survey: &Survey, replicas: usize) -> Option<String> {
    let may_spread = survey.nodes.len() > replicas && survey.closed().count() > 1;
    (may_spread && !survey.is_spread()).then(|| "every node still holds every chunk".into())
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
