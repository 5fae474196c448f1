//! What waits to be sent to one peer.

use massa_protocol_exports::LinkFaults;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes that may wait in each of a peer's two queues. At the default rate that is six seconds' worth: what would wait
/// longer is stale when it arrives. Messages are bounded too, but 10 000 messages can be any number of bytes. Each queue
/// has its own share, so that storage traffic in the low queue never takes the place of a header.
pub const MAX_QUEUED_BYTES: usize = 32 << 20;

/// The queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PushError {
    #[error("{0} messages wait already")]
    Messages(usize),
    #[error("{0} bytes wait already")]
    Bytes(usize),
    #[error("the connection is closed")]
    Closed,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, due: Instant, message: Vec<u8>, max_messages: usize) -> Result<(), PushError> {
        if self.messages.len() >= max_messages {
            return Err(PushError::Messages(self.messages.len()));
        }
        if self.bytes + message.len() > MAX_QUEUED_BYTES {
            return Err(PushError::Bytes(self.bytes));
        }
        self.bytes += message.len();
        self.messages.push_back((due, message));
        Ok(())
    }

    /// The first message, if it is due.
    fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.messages.front()?.0 > now {
            return None;
        }
        let (_, message) = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    fn next_due(&self) -> Option<Instant> {
        self.messages.front().map(|(due, _)| *due)
    }
}

#[derive(Default)]
struct Queues {
    high: Queue,
    low: Queue,
    closed: bool,
}

/// Two queues of one peer, each message as [`FrameWriter::write_behind`](super::frame::FrameWriter::write_behind) takes it,
/// between the handlers and the writer thread.
pub(crate) struct SendQueues {
    queues: Mutex<Queues>,
    changed: Condvar,
    max_messages: usize,
    faults: LinkFaults,
}

impl SendQueues {
    /// Empty queues of at most `max_messages` messages each.
    pub(crate) fn new(max_messages: usize, faults: LinkFaults) -> Self {
        Self {
            queues: Mutex::default(),
            changed: Condvar::new(),
            max_messages,
            faults,
        }
    }

    /// Messages that wait in the queue of low priority.
    pub(crate) fn low_priority_len(&self) -> usize {
        self.queues.lock().low.messages.len()
    }

    /// Queues a message.
    pub(crate) fn push(&self, message: Vec<u8>, high_priority: bool, now: Instant) -> Result<(), PushError> {
        let mut queues = self.queues.lock();
        if queues.closed {
            return Err(PushError::Closed);
        }
        let queue = if high_priority {
            &mut queues.high
        } else {
            &mut queues.low
        };
        queue.push(now + self.faults.delay, message, self.max_messages)?;
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next message: of the high queue, else of the low one. None when the queues are closed.
    pub(crate) fn pop(&self) -> Option<Vec<u8>> {
        let mut queues = self.queues.lock();
        loop {
            if queues.closed {
                return None;
            }
            let now = Instant::now();
            if let Some(message) = queues.high.pop(now).or_else(|| queues.low.pop(now)) {
                return Some(message);
            }
            match [queues.high.next_due(), queues.low.next_due()]
                .into_iter()
                .flatten()
                .min()
            {
                Some(due) => {
                    self.changed.wait_until(&mut queues, due);
                }
                // Ends when a message comes or the connection is closed, which its reader does after a silence.
                None => self.changed.wait(&mut queues),
            }
        }
    }

    /// Nothing more is taken or given; what waits is dropped.
    pub(crate) fn close(&self) {
        let mut queues = self.queues.lock();
        *queues = Queues {
            closed: true,
            ..Queues::default()
        };
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn queues(max_messages: usize) -> SendQueues {
        SendQueues::new(max_messages, LinkFaults::default())
    }

    #[test]
    fn a_message_of_high_priority_overtakes_all_of_low_priority() {
        let (queues, now) = (queues(10), Instant::now());
        queues.push(vec![1], false, now).unwrap();
        queues.push(vec![2], false, now).unwrap();
        queues.push(vec![3], true, now).unwrap();
        let order: Vec<_> = (0..3).map(|_| queues.pop().unwrap()).collect();
        assert_eq!(order, [[3], [1], [2]]);
    }

    #[test]
    fn each_queue_is_bounded_in_messages() {
        let (queues, now) = (queues(2), Instant::now());
        queues.push(vec![1], false, now).unwrap();
        queues.push(vec![2], false, now).unwrap();
        assert_eq!(queues.push(vec![3], false, now), Err(PushError::Messages(2)));
        queues.push(vec![4], true, now).unwrap();
    }

    #[test]
    fn each_queue_is_bounded_in_bytes_and_room_comes_back() {
        let (queues, now) = (queues(10), Instant::now());
        queues.push(vec![0; MAX_QUEUED_BYTES - 1], false, now).unwrap();
        queues.push(vec![0; 1], false, now).unwrap();
        assert_eq!(
            queues.push(vec![0], false, now),
            Err(PushError::Bytes(MAX_QUEUED_BYTES))
        );
        queues.push(vec![1], true, now).unwrap();
        assert_eq!(queues.pop().unwrap(), [1]);
        assert_eq!(queues.pop().unwrap().len(), MAX_QUEUED_BYTES - 1);
        queues.push(vec![0; 1024], false, now).unwrap();
    }

    #[test]
    fn a_closed_queue_takes_and_gives_nothing() {
        let (queues, now) = (queues(10), Instant::now());
        queues.push(vec![1], true, now).unwrap();
        queues.close();
        assert_eq!(queues.pop(), None);
        assert_eq!(queues.push(vec![1], true, now), Err(PushError::Closed));
    }

    #[test]
    fn an_injected_delay_shifts_messages_without_spacing_them() {
        let delay = Duration::from_millis(50);
        let faults = LinkFaults {
            delay,
            ..LinkFaults::default()
        };
        let (queues, start) = (SendQueues::new(10, faults), Instant::now());
        for number in 0..5 {
            queues.push(vec![number], false, start).unwrap();
        }
        for number in 0..5 {
            assert_eq!(queues.pop(), Some(vec![number]));
        }
        let took = start.elapsed();
        assert!(took >= delay && took < delay * 4, "{took:?}");
    }
}
