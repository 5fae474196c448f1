//! Frames in an encrypted channel.
//!
//! ```text
//! frame:   length of what follows (u32, big-endian) | segment | segment | …
//! segment: Noise message of: more (u8: 1, or 0 in the last segment) | at most 65518 bytes of the payload
//! ```
//! All segments but the last have 65535 bytes, the longest Noise message. Each has the next number as nonce, so
//! that none can be repeated, left out or moved. The length is not encrypted; the byte `more` is what keeps somebody on
//! the way from cutting one frame into two.
//!
//! Every wait has a deadline. A frame has `message_timeout` and the time that its bytes take at `rate_limit` (its sender
//! is held to that rate); one that stalls ends the connection, because the stream has lost its place. Between frames a
//! connection may be silent for [`IDLE_TIMEOUT`].

use super::rate_limit::TokenBucket;
use massa_protocol_exports::ProtocolConfig;
use snow::StatelessTransportState;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest Noise message.
pub(crate) const SEGMENT_BYTES_MAX: usize = 65_535;
/// Authentication tag of a Noise message.
const TAG_BYTES: usize = 16;
/// The byte `more`.
const MORE_BYTES: usize = 1;
/// Payload of one segment at most.
const SEGMENT_PAYLOAD_BYTES_MAX: usize = SEGMENT_BYTES_MAX - TAG_BYTES - MORE_BYTES;
/// Length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// A peer that says nothing for so long is gone. Peers repeat their list of peers every 30 s, so that one that lives is
/// never that silent; without this, a peer that lost power could not connect anew until TCP gives up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Longest sleep of the rate limiter before it looks whether the connection still exists.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Why a frame was not sent or received. After each of them the connection is of no use.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// The peer closed the connection, or this node did.
    #[error("connection closed")]
    Closed,
    /// A frame was not complete in time, or the peer was silent for too long.
    #[error("{0} took too long")]
    Timeout(&'static str),
    /// The frame is larger than allowed.
    #[error("frame of {length} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its bytes.
        length: usize,
        /// `max_message_size` and what encryption adds.
        max: usize,
    },
    /// The frame is not what the peer encrypted, or not well formed.
    #[error("frame is malformed: {0}")]
    Malformed(&'static str),
    /// Encryption failed.
    #[error("noise: {0}")]
    Noise(#[from] snow::Error),
}

/// What both ends of a channel need.
#[derive(Clone, Debug)]
pub(crate) struct FrameLimits {
    pub(crate) max_message_size: usize,
    pub(crate) message_timeout: Duration,
    pub(crate) rate_limit: u64,
}

impl From<&ProtocolConfig> for FrameLimits {
    fn from(config: &ProtocolConfig) -> Self {
        Self {
            max_message_size: config.max_message_size,
            message_timeout: config.message_timeout.to_duration(),
            rate_limit: config.rate_limit.max(1),
        }
    }
}

impl FrameLimits {
    /// How long a frame of `length` bytes may take.
    fn time_for(&self, length: usize) -> Duration {
        self.message_timeout + Duration::from_secs_f64(length as f64 / self.rate_limit as f64)
    }

    /// Bytes of a frame that carries `max_message_size`.
    fn frame_bytes_max(&self) -> usize {
        encrypted_length(self.max_message_size)
    }
}

/// Bytes of the segments that carry `payload` bytes. An empty payload takes one segment too.
fn encrypted_length(payload: usize) -> usize {
    let segments = payload.div_ceil(SEGMENT_PAYLOAD_BYTES_MAX).max(1);
    payload + segments * (TAG_BYTES + MORE_BYTES)
}

/// What is shared between a connection's threads and whoever ends it.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    closed: AtomicBool,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
}

impl LinkState {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits, but not longer than the connection lives.
    fn pause(&self, length: Duration) -> Result<(), FrameError> {
        let until = Instant::now().checked_add(length);
        loop {
            if self.is_closed() {
                return Err(FrameError::Closed);
            }
            let left = until.map_or(LONGEST_PAUSE, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LONGEST_PAUSE));
        }
    }
}

/// The receiving half of a channel.
pub(crate) struct FrameReader {
    stream: TcpStream,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    bucket: TokenBucket,
    limits: FrameLimits,
    link: Arc<LinkState>,
    segment: Vec<u8>,
    plain: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new(
        stream: TcpStream,
        noise: Arc<StatelessTransportState>,
        limits: FrameLimits,
        link: Arc<LinkState>,
    ) -> Self {
        Self {
            stream,
            noise,
            nonce: 0,
            bucket: TokenBucket::new(limits.rate_limit, Instant::now()),
            limits,
            link,
            segment: vec![0; SEGMENT_BYTES_MAX],
            plain: vec![0; SEGMENT_BYTES_MAX],
        }
    }

    /// Receives one frame. `idle` is how long the peer may take to begin it.
    ///
    /// # Errors
    /// [`FrameError`]; the stream has lost its place then.
    pub(crate) fn read(&mut self, idle: Duration) -> Result<Vec<u8>, FrameError> {
        let mut length = [0; LENGTH_BYTES];
        let (first, others) = length.split_at_mut(1);
        read_by(&self.stream, first, Instant::now() + idle, "silence")?;
        let begun = Instant::now();
        read_by(
            &self.stream,
            others,
            begun + self.limits.message_timeout,
            "frame length",
        )?;
        let length = u32::from_be_bytes(length) as usize;
        let max = self.limits.frame_bytes_max();
        if length > max {
            return Err(FrameError::TooLarge { length, max });
        }
        self.body(length, begun + self.limits.time_for(length))
    }

    /// The payload grows with the bytes that arrive, so that a length alone costs no memory.
    fn body(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, FrameError> {
        let mut payload = Vec::new();
        let mut left = length;
        loop {
            let size = left.min(SEGMENT_BYTES_MAX);
            left -= size;
            if size < TAG_BYTES + MORE_BYTES {
                return Err(FrameError::Malformed("segment too short"));
            }
            read_by(&self.stream, &mut self.segment[..size], deadline, "frame")?;
            self.link.bytes_received.fetch_add(size as u64, Ordering::Relaxed);
            let plain_bytes = self
                .noise
                .read_message(self.nonce, &self.segment[..size], &mut self.plain)?;
            self.nonce += 1;
            let (more, content) = self.plain[..plain_bytes]
                .split_first()
                .ok_or(FrameError::Malformed("empty segment"))?;
            if (*more == 1) != (left > 0) || *more > 1 {
                return Err(FrameError::Malformed("cut in another place"));
            }
            payload.extend_from_slice(content);
            // Not reading is what slows a peer down.
            let wait = self.bucket.take(size, Instant::now());
            self.link.pause(wait)?;
            if left == 0 {
                return Ok(payload);
            }
        }
    }
}

/// The sending half of a channel.
pub(crate) struct FrameWriter {
    stream: TcpStream,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    bucket: TokenBucket,
    limits: FrameLimits,
    link: Arc<LinkState>,
    plain: Vec<u8>,
    wire: Vec<u8>,
}

impl FrameWriter {
    pub(crate) fn new(
        stream: TcpStream,
        noise: Arc<StatelessTransportState>,
        limits: FrameLimits,
        link: Arc<LinkState>,
    ) -> Self {
        Self {
            stream,
            noise,
            nonce: 0,
            bucket: TokenBucket::new(limits.rate_limit, Instant::now()),
            limits,
            link,
            plain: Vec::with_capacity(SEGMENT_BYTES_MAX),
            wire: vec![0; LENGTH_BYTES + SEGMENT_BYTES_MAX],
        }
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// [`FrameError`]; the stream has lost its place then, unless the payload was [too large](FrameError::TooLarge).
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        let length = encrypted_length(payload.len());
        let header = u32::try_from(length)
            .ok()
            .filter(|_| payload.len() <= self.limits.max_message_size);
        let header = header.ok_or_else(|| FrameError::TooLarge {
            length,
            max: self.limits.frame_bytes_max(),
        })?;
        let deadline = Instant::now() + self.limits.time_for(length);
        self.wire[..LENGTH_BYTES].copy_from_slice(&header.to_be_bytes());
        // The length leaves together with the first segment: one packet for a small frame.
        let mut begin = 0;
        let mut rest = payload;
        loop {
            let (content, after) = rest.split_at(rest.len().min(SEGMENT_PAYLOAD_BYTES_MAX));
            rest = after;
            self.plain.clear();
            self.plain.push(u8::from(!rest.is_empty()));
            self.plain.extend_from_slice(content);
            let size = self
                .noise
                .write_message(self.nonce, &self.plain, &mut self.wire[LENGTH_BYTES..])?;
            self.nonce += 1;
            let wait = self.bucket.take(size, Instant::now());
            self.link.pause(wait)?;
            write_by(&self.stream, &self.wire[begin..LENGTH_BYTES + size], deadline)?;
            self.link.bytes_sent.fetch_add(size as u64, Ordering::Relaxed);
            begin = LENGTH_BYTES;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Fills `buffer` before `deadline`.
pub(crate) fn read_by(
    mut stream: &TcpStream,
    mut buffer: &mut [u8],
    deadline: Instant,
    what: &'static str,
) -> Result<(), FrameError> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(time_left(deadline, what)?))?;
        match stream.read(buffer) {
            Ok(0) => return Err(FrameError::Closed),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) => go_on_after(error, what)?,
        }
    }
    Ok(())
}

/// Sends all of `bytes` before `deadline`.
pub(crate) fn write_by(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> Result<(), FrameError> {
    let what = "sending";
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(time_left(deadline, what)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(FrameError::Closed),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => go_on_after(error, what)?,
        }
    }
    Ok(())
}

fn time_left(deadline: Instant, what: &'static str) -> Result<Duration, FrameError> {
    let left = deadline.saturating_duration_since(Instant::now());
    // A socket takes a timeout of zero for none at all.
    (!left.is_zero()).then_some(left).ok_or(FrameError::Timeout(what))
}

/// An interrupted call is repeated; a timeout is told apart from a failure.
fn go_on_after(error: std::io::Error, what: &'static str) -> Result<(), FrameError> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(FrameError::Timeout(what)),
        _ => Err(error.into()),
    }
}
