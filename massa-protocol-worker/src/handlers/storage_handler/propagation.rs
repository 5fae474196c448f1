//! The thread that announces: which chunks this node holds, and what it says of itself.

use super::commands_propagation::StorageHandlerPropagationCommand;
use super::messages::StorageMessage;
use super::sending::StorageConnections;
use crossbeam_channel::RecvTimeoutError;
use massa_channel::receiver::MassaReceiver;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, ArchiveServer, Capabilities, MAX_ANNOUNCED_CHUNKS, MAX_HELD_RANGES,
};
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::node::NodeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const THREAD_NAME: &str = "psh-propagation";
/// The system cuts longer names.
const _: () = assert!(THREAD_NAME.len() < 16);
/// How often new peers are looked for.
const TICK: Duration = Duration::from_millis(200);
/// How often this node looks whether it has something new to say of itself.
const CAPABILITIES_INTERVAL: Duration = Duration::from_secs(1);
/// How often all peers are told again: one that lost its connection and came back between two looks was not noticed.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

struct PropagationThread {
    connections: StorageConnections,
    server: Arc<dyn ArchiveServer>,
    capabilities: Capabilities,
    looked_at: Option<Instant>,
    repeated_at: Instant,
    /// What each peer was told last.
    told: HashMap<NodeId, Capabilities>,
}

/// Starts the thread.
pub(super) fn start_propagation_thread(
    connections: StorageConnections,
    server: Arc<dyn ArchiveServer>,
    commands: MassaReceiver<StorageHandlerPropagationCommand>,
) -> std::io::Result<JoinHandle<()>> {
    let mut thread = PropagationThread {
        connections,
        server,
        capabilities: Capabilities::default(),
        looked_at: None,
        repeated_at: Instant::now(),
        told: HashMap::new(),
    };
    let thread_name = THREAD_NAME.to_string();
    std::thread::Builder::new()
        .name(thread_name)
        .spawn(move || thread.run(&commands))
}

impl PropagationThread {
    fn run(&mut self, commands: &MassaReceiver<StorageHandlerPropagationCommand>) {
        let mut next_tick = Instant::now();
        loop {
            match commands.recv_deadline(next_tick) {
                Ok(StorageHandlerPropagationCommand::Announce { segment, root, chunks }) => {
                    self.announce(segment, root, &chunks);
                }
                Ok(StorageHandlerPropagationCommand::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.look(now);
                self.tell();
            }
        }
    }

    fn announce(&self, segment: u64, root: Option<SegmentRoot>, chunks: &[AnnouncedChunk]) {
        let peers = self.connections.peers();
        for chunks in chunks.chunks(MAX_ANNOUNCED_CHUNKS) {
            for peer in &peers {
                let message = StorageMessage::ChunkAnnouncement {
                    segment,
                    root,
                    chunks: chunks.to_vec(),
                };
                // A peer that is not told learns of it when it asks.
                self.connections.send(peer, message);
            }
        }
    }

    /// Looks what there is to say.
    fn look(&mut self, now: Instant) {
        let is_due = self
            .looked_at
            .map_or(true, |looked_at| now >= looked_at + CAPABILITIES_INTERVAL);
        if is_due {
            self.looked_at = Some(now);
            self.capabilities = self.server.capabilities();
            // The newest ones are asked for most.
            let excess = self.capabilities.ranges.len().saturating_sub(MAX_HELD_RANGES);
            self.capabilities.ranges.drain(..excess);
        }
        if now >= self.repeated_at + REPEAT_INTERVAL {
            self.repeated_at = now;
            self.told.clear();
        }
    }

    /// Tells those that do not know it.
    fn tell(&mut self) {
        let peers = self.connections.peers();
        self.told.retain(|node, _| peers.contains(node));
        for peer in peers {
            let capabilities = self.capabilities.clone();
            let is_news = self.told.get(&peer) != Some(&capabilities);
            let message = StorageMessage::StorageCapabilities {
                capabilities: capabilities.clone(),
            };
            if is_news && self.connections.send(&peer, message) {
                self.told.insert(peer, capabilities);
            }
        }
    }
}
