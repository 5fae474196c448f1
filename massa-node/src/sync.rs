//! Catching up with the chain, and leave to produce.
//!
//! A node that is behind fetches archived periods from its peers and hands their blocks to consensus in slot order; consensus
//! judges them as it judges any block. What the peers have not archived yet comes with the headers that they announce.
//! The node produces no blocks until its best parents are within two periods of now, or until it is clear that nobody is
//! ahead of it.

use crossbeam_channel::{bounded, Receiver, Sender};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_worker::serve::to_readers::{ArchiveReader, ReaderError};
use massa_models::slot::Slot;
use massa_models::timeslots::get_current_latest_block_slot;
use massa_storage::Storage;
use massa_time::MassaTime;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// A node this close to now has caught up.
pub const NEAR_PERIODS: u64 = 2;
/// A node that fell this far behind catches up again.
pub const FAR_PERIODS: u64 = 10;
/// Periods without news after which a node takes it that nobody is ahead.
const QUIET_PERIODS: u64 = 3;
/// Periods fetched at a time.
const WINDOW: u64 = 4;
/// How often to look.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait after periods could not be obtained.
const RETRY: Duration = Duration::from_secs(1);

/// What the decision is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncView {
    /// The period of the clock.
    pub now_period: u64,
    /// The newest best parent.
    pub best_period: u64,
    /// The last period all of whose final blocks are known: no thread's last final block is older.
    pub final_period: u64,
    /// The last period that some peer archived.
    pub peers_archived: Option<u64>,
    /// How long no block came.
    pub quiet: Duration,
    /// Length of a period.
    pub t0: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStep {
    /// The node has caught up: it may produce.
    Synced,
    /// Archived periods from here to there can be fetched.
    Fetch {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Blocks are on their way, or nobody has any.
    Wait,
}

/// Decides. `synced` is what was decided before, `fed` the last period that was fetched.
pub fn decide(view: SyncView, synced: bool, fed: Option<u64>) -> SyncStep {
    let behind = view.now_period.saturating_sub(view.best_period);
    if behind <= NEAR_PERIODS || (synced && behind <= FAR_PERIODS) {
        return SyncStep::Synced;
    }
    let quiet = view.quiet >= view.t0 * QUIET_PERIODS as u32;
    // What was fetched did not help: begin again where the chain is known.
    let fed = fed.filter(|_| !quiet);
    let first = fed.map_or(0, |fed| fed + 1).max(view.final_period + 1);
    match view.peers_archived {
        Some(archived) if archived >= first => SyncStep::Fetch {
            first,
            last: archived.min(first + WINDOW - 1),
        },
        // The whole network may have stood still: somebody has to begin.
        _ if quiet => SyncStep::Synced,
        _ if synced => SyncStep::Synced,
        _ => SyncStep::Wait,
    }
}

/// What the thread works with.
pub struct SyncParts {
    /// The clock of the chain.
    pub genesis_timestamp: MassaTime,
    /// Length of a period.
    pub t0: MassaTime,
    /// Threads of the chain.
    pub thread_count: u8,
    /// The chain.
    pub chain_id: u64,
    /// Judges blocks.
    pub consensus: Box<dyn ConsensusController>,
    /// Where blocks are kept.
    pub storage: Storage,
    /// Archived periods of peers; none without the extension.
    pub archive: Option<(Arc<ArchiveReader>, Arc<dyn StorageNetwork>)>,
    /// Set while the node is in step with the network: then it may produce.
    pub synced: Arc<AtomicBool>,
}

/// Stops the thread.
pub struct SyncManager {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl SyncManager {
    /// Ends the thread.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let _ = self.stop.try_send(());
        if thread.join().is_err() {
            warn!("sync panicked");
        }
    }
}

impl Drop for SyncManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread.
pub fn start_sync(parts: SyncParts) -> SyncManager {
    let (stop, stopped) = bounded(1);
    let mut sync = Sync {
        parts,
        fed: None,
        best: None,
        news_at: Instant::now(),
        not_before: Instant::now(),
    };
    let thread = std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || sync.run(&stopped))
        .expect("the system can start a thread");
    SyncManager {
        stop,
        thread: Some(thread),
    }
}

struct Sync {
    parts: SyncParts,
    fed: Option<u64>,
    /// Best parents when they changed last.
    best: Option<Vec<(massa_models::block_id::BlockId, u64)>>,
    news_at: Instant,
    not_before: Instant,
}

impl Sync {
    fn run(&mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TICK).is_err_and(|error| error.is_timeout()) {
            let synced = self.parts.synced.load(Ordering::Acquire);
            match decide(self.view(), synced, self.fed) {
                SyncStep::Synced if synced => {}
                SyncStep::Synced => {
                    info!("in step with the network");
                    self.fed = None;
                    self.parts.synced.store(true, Ordering::Release);
                }
                step => {
                    if synced {
                        warn!("fell behind the network");
                        self.parts.synced.store(false, Ordering::Release);
                    }
                    if let SyncStep::Fetch { first, last } = step {
                        self.fetch(first, last);
                    }
                }
            }
        }
    }

    fn view(&mut self) -> SyncView {
        let parts = &self.parts;
        let slot = get_current_latest_block_slot(parts.thread_count, parts.t0, parts.genesis_timestamp);
        let best = parts.consensus.get_best_parents();
        let finals = parts.consensus.get_latest_final_blocks_periods();
        if self.best.as_ref() != Some(&best) {
            self.news_at = Instant::now();
        }
        let archived = |(_, network): &(Arc<ArchiveReader>, Arc<dyn StorageNetwork>)| {
            let peers = network.peers().into_iter();
            peers.filter_map(|peer| peer.capabilities?.newest_period).max()
        };
        let view = SyncView {
            now_period: slot.ok().flatten().map_or(0, |slot| slot.period),
            best_period: best.iter().map(|(_, period)| *period).max().unwrap_or(0),
            final_period: finals.iter().map(|(_, period)| *period).min().unwrap_or(0),
            peers_archived: parts.archive.as_ref().and_then(archived),
            quiet: self.news_at.elapsed(),
            t0: parts.t0.to_duration(),
        };
        self.best = Some(best);
        view
    }

    /// Fetches periods side by side, and hands over their blocks in slot order.
    fn fetch(&mut self, first: u64, last: u64) {
        let Some((reader, _)) = &self.parts.archive else { return };
        if Instant::now() < self.not_before {
            return;
        }
        let periods: Vec<Result<Vec<BlockRecord>, ReaderError>> = std::thread::scope(|scope| {
            let fetched: Vec<_> = (first..=last)
                .map(|period| scope.spawn(move || reader.period_blocks(period)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("a read does not panic");
            fetched.into_iter().map(join).collect()
        });
        for (blocks, period) in periods.into_iter().zip(first..) {
            match blocks {
                Ok(blocks) => {
                    debug!(period, blocks = blocks.len(), "period fetched");
                    self.feed(&blocks);
                    self.fed = Some(period);
                    self.news_at = Instant::now();
                }
                Err(error) => {
                    info!(period, error = &error as &dyn std::error::Error, "period not fetched");
                    self.not_before = Instant::now() + RETRY;
                    return;
                }
            }
        }
    }

    fn feed(&self, blocks: &[BlockRecord]) {
        for record in blocks {
            let Ok(verified) = verify_block(record, self.parts.chain_id, self.parts.thread_count) else {
                continue;
            };
            let block = verified.block().clone();
            let (id, slot): (_, Slot) = (block.id, block.content.header.content.slot);
            let mut storage = self.parts.storage.clone_without_refs();
            storage.store_operations(verified.operations().to_vec());
            storage.store_block(block);
            self.parts.consensus.register_block(id, slot, storage, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::from_secs(16);

    fn view(now_period: u64, best_period: u64, final_period: u64, peers_archived: Option<u64>) -> SyncView {
        SyncView {
            now_period,
            best_period,
            final_period,
            peers_archived,
            quiet: Duration::ZERO,
            t0: T0,
        }
    }

    #[test]
    fn a_node_within_two_periods_of_now_has_caught_up() {
        assert_eq!(decide(view(12, 10, 8, Some(5)), false, None), SyncStep::Synced);
        assert_eq!(decide(view(13, 10, 8, Some(5)), false, None), SyncStep::Wait);
        assert_eq!(decide(view(0, 0, 0, None), false, None), SyncStep::Synced);
    }

    #[test]
    fn what_peers_archived_is_fetched_from_the_last_final_period_on() {
        let fetch = |first, last| SyncStep::Fetch { first, last };
        assert_eq!(decide(view(100, 7, 5, Some(90)), false, None), fetch(6, 9));
        assert_eq!(decide(view(100, 7, 5, Some(90)), false, Some(9)), fetch(10, 13));
        assert_eq!(decide(view(100, 89, 88, Some(90)), false, Some(89)), fetch(90, 90));
        assert_eq!(decide(view(100, 90, 88, Some(90)), false, Some(90)), SyncStep::Wait);
    }

    #[test]
    fn a_node_falls_behind_only_when_it_is_far_behind_and_others_are_ahead() {
        assert_eq!(decide(view(100, 91, 89, Some(95)), true, None), SyncStep::Synced);
        assert_eq!(
            decide(view(100, 89, 87, Some(95)), true, None),
            SyncStep::Fetch { first: 88, last: 91 }
        );
        assert_eq!(decide(view(100, 80, 78, Some(70)), true, None), SyncStep::Synced);
    }

    #[test]
    fn when_nobody_is_ahead_somebody_begins() {
        let quiet = |quiet| SyncView {
            quiet,
            ..view(1000, 50, 48, Some(48))
        };
        assert_eq!(decide(quiet(T0 * 3), false, None), SyncStep::Synced);
        let ahead = SyncView {
            peers_archived: Some(60),
            ..quiet(T0 * 3)
        };
        assert_eq!(decide(ahead, false, Some(60)), SyncStep::Fetch { first: 49, last: 52 });
        assert_eq!(
            decide(quiet(T0 * 3 - Duration::from_millis(1)), false, None),
            SyncStep::Wait
        );
    }
}
