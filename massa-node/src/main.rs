//! The node: reads its settings, starts, and stops on SIGINT, SIGTERM, `stop_node` or the end of its standard input.

use clap::Parser;
use crossbeam_channel::{bounded, Sender};
use massa_node::causes::with_causes;
use massa_node::launch::Node;
use massa_node::settings::Settings;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use tracing::{error, info};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A Massa node that archives the history of the chain.
///
/// Settings come from base_config/config.toml (or MASSA_CONFIG_PATH), overridden by config/config.toml (or
/// MASSA_CONFIG_OVERRIDE_PATH) and by environment variables MASSA_NODE__SECTION__KEY.
#[derive(Parser)]
#[command(name = "massa-node", version)]
struct Arguments {
    /// Stop when the standard input ends: for whoever starts nodes and must not leave any behind.
    #[arg(long)]
    stop_with_stdin: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("massa-node: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::load()?;
    start_log(settings.logging.level);
    stop_on_panic();
    let (stop, stopped) = bounded(1);
    let on_signal = stop.clone();
    ctrlc::set_handler(move || signal(&on_signal))?;
    if arguments.stop_with_stdin {
        stop_with_stdin(stop.clone());
    }
    let mut node = Node::start(settings, Arc::new(move || signal(&stop)))?;
    // Whoever could still signal is gone, or has done it.
    let _ = stopped.recv();
    info!("node is asked to stop");
    node.stop();
    Ok(())
}

/// Asks the node to stop; once is enough.
fn signal(stop: &Sender<()>) {
    let _ = stop.try_send(());
}

fn stop_with_stdin(stop: Sender<()>) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 64];
        while input.read(&mut buffer).is_ok_and(|read| read > 0) {}
        signal(&stop);
    });
}

/// A node of which a part is gone must not go on as if nothing had happened.
fn stop_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        error!(%panic, "a thread panicked: the node ends");
        std::process::exit(1);
    }));
}

fn start_log(level: usize) {
    let level = match level {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = tracing_subscriber::filter::filter_fn(|metadata| metadata.target().starts_with("massa"));
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_ansi(false))
        .with(level)
        .with(targets)
        .init();
}
