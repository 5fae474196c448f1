//! What is done with messages, by type.

pub mod block_handler;
pub mod operation_handler;
pub mod peer_handler;
pub mod storage_handler;

use massa_channel::sender::MassaSender;
use massa_protocol_exports::ProtocolError;
use std::thread::JoinHandle;
use tracing::error;

/// Starts a thread of a handler.
pub(crate) fn spawn_handler_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ProtocolError> {
    Ok(std::thread::Builder::new().name(name.into()).spawn(work)?)
}

/// Sends the thread its command to stop, and waits for it.
pub(crate) fn end_handler_thread<T>(sender: &MassaSender<T>, stop: T, thread: JoinHandle<()>) {
    // The thread may have ended already.
    let _ = sender.send(stop);
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        error!(thread = name, "thread panicked");
    }
}
