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
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest Noise message.
pub(crate) const SEGMENT_BYTES_MAX: usize = 65_535;
/// Authentication tag of a Noise message.
const TAG_BYTES: usize = 16;
/// The byte `more`.
pub(crate) const MORE_BYTES: usize = 1;
/// Payload of one segment at most.
const SEGMENT_PAYLOAD_BYTES_MAX: usize = SEGMENT_BYTES_MAX - TAG_BYTES - MORE_BYTES;
/// Length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// A peer that says nothing for so long is gone. Peers repeat their list of peers every 30 s, so that one that lives is
/// never that silent; without this, a peer that lost power could not connect anew until TCP gives up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of a connection's buffer in each direction: a frame with a page, which is a little more than one segment.
const WIRE_BYTES: usize = 2 * (SEGMENT_BYTES_MAX + LENGTH_BYTES);
/// Bytes of the next frame that are taken along.
const READ_AHEAD_BYTES: usize = 4 << 10;
/// Room for a received frame that is kept for the next one. What is larger is rare.
const KEPT_FRAME_BYTES: usize = 2 * SEGMENT_BYTES_MAX;
/// A socket's timeout is not set anew for a wait that may last up to this many times as long.
const TIMEOUT_SHORTER: u32 = 16;
/// A timeout shorter than this is set as it is.
const PRECISE_BELOW: Duration = Duration::from_millis(10);

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

/// The timeout of a socket, as it was last set. Setting it is a system call, so one that is somewhat short stays: the wait
/// that it ends is begun anew.
#[derive(Default)]
struct Timeout(Option<Duration>);

impl Timeout {
    /// What to set, if something is to be set, so that a wait ends no later than in `left`.
    fn change_for(&mut self, left: Duration) -> Option<Duration> {
        let fits = |set: Duration| set <= left && set >= left / TIMEOUT_SHORTER;
        if self.0.is_some_and(fits) {
            return None;
        }
        // A little less, so that it also fits the next wait for the same frame.
        self.0 = Some(if left > PRECISE_BELOW { left / 4 * 3 } else { left });
        self.0
    }
}

/// The receiving half of a channel.
pub(crate) struct FrameReader {
    stream: TcpStream,
    timeout: Timeout,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    bucket: TokenBucket,
    limits: FrameLimits,
    link: Arc<LinkState>,
    /// What was received and not decrypted is `wire[received]`.
    wire: Vec<u8>,
    received: Range<usize>,
    /// The last frame, behind one byte. Segments are decrypted where they belong: their byte `more` takes the place of the byte
    /// before for a moment.
    frame: Vec<u8>,
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
            timeout: Timeout::default(),
            noise,
            nonce: 0,
            bucket: TokenBucket::new(limits.rate_limit, Instant::now()),
            limits,
            link,
            wire: vec![0; WIRE_BYTES],
            received: 0..0,
            frame: Vec::new(),
        }
    }

    /// Receives one frame. `idle` is how long the peer may take to begin it.
    ///
    /// # Errors
    /// [`FrameError`]; the stream has lost its place then.
    pub(crate) fn read(&mut self, idle: Duration) -> Result<&[u8], FrameError> {
        if self.frame.len() > KEPT_FRAME_BYTES {
            self.frame = Vec::new();
        }
        self.receive((1, LENGTH_BYTES), Instant::now() + idle, "silence")?;
        let begun = Instant::now();
        let deadline = begun + self.limits.message_timeout;
        self.receive((LENGTH_BYTES, LENGTH_BYTES), deadline, "frame length")?;
        let length = self.wire[self.received.start..].first_chunk();
        let length = u32::from_be_bytes(*length.expect("it was received")) as usize;
        self.received.start += LENGTH_BYTES;
        let max = self.limits.frame_bytes_max();
        if length > max {
            return Err(FrameError::TooLarge { length, max });
        }
        let end = self.body(length, begun + self.limits.time_for(length))?;
        Ok(&self.frame[MORE_BYTES..end])
    }

    /// Receives the segments of a frame; returns where its payload ends. The room for it grows with the bytes that arrive,
    /// so that a length alone costs no memory.
    fn body(&mut self, length: usize, deadline: Instant) -> Result<usize, FrameError> {
        let (mut left, mut end) = (length, MORE_BYTES);
        loop {
            let size = left.min(SEGMENT_BYTES_MAX);
            if size < TAG_BYTES + MORE_BYTES {
                return Err(FrameError::Malformed("segment too short"));
            }
            self.receive((size, left), deadline, "frame")?;
            left -= size;
            self.link.bytes_received.fetch_add(size as u64, Ordering::Relaxed);
            end = self.decrypt(size, end, left > 0)?;
            // Not reading is what slows a peer down.
            let wait = self.bucket.take(size, Instant::now());
            self.link.pause(wait)?;
            if left == 0 {
                return Ok(end);
            }
        }
    }

    /// Decrypts the next segment behind the payload that ends at `end`; returns where it ends then.
    fn decrypt(&mut self, size: usize, end: usize, more: bool) -> Result<usize, FrameError> {
        let begin = end - MORE_BYTES;
        if self.frame.len() < begin + size {
            self.frame.resize(begin + size, 0);
        }
        let before = self.frame[begin];
        let segment = &self.wire[self.received.start..][..size];
        let plain_bytes = self.noise.read_message(self.nonce, segment, &mut self.frame[begin..])?;
        self.received.start += size;
        self.nonce += 1;
        if self.frame[begin] != u8::from(more) {
            return Err(FrameError::Malformed("cut in another place"));
        }
        self.frame[begin] = before;
        Ok(begin + plain_bytes)
    }

    /// Waits until `need` bytes are there. Takes as many as there are, `worth` and a little more at most: the beginning of
    /// the next frame comes along, and small frames need one call.
    fn receive(
        &mut self,
        (need, worth): (usize, usize),
        deadline: Instant,
        what: &'static str,
    ) -> Result<(), FrameError> {
        if self.received.len() >= need {
            return Ok(());
        }
        self.wire.copy_within(self.received.clone(), 0);
        self.received = 0..self.received.len();
        let most = (worth + READ_AHEAD_BYTES).min(WIRE_BYTES);
        while self.received.end < need {
            if let Some(timeout) = self.timeout.change_for(time_left(deadline, what)?) {
                self.stream.set_read_timeout(Some(timeout))?;
            }
            match self.stream.read(&mut self.wire[self.received.end..most]) {
                Ok(0) => return Err(FrameError::Closed),
                Ok(count) => self.received.end += count,
                Err(error) => try_again_after(error)?,
            }
        }
        Ok(())
    }
}

/// The sending half of a channel.
pub(crate) struct FrameWriter {
    stream: TcpStream,
    timeout: Timeout,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    bucket: TokenBucket,
    limits: FrameLimits,
    link: Arc<LinkState>,
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
            timeout: Timeout::default(),
            noise,
            nonce: 0,
            bucket: TokenBucket::new(limits.rate_limit, Instant::now()),
            limits,
            link,
            wire: vec![0; WIRE_BYTES],
        }
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// Those of [`FrameWriter::write_behind`].
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        self.write_behind(&mut [&[0; MORE_BYTES], payload].concat())
    }

    /// Sends one frame: what stands behind the first [`MORE_BYTES`] bytes of `frame`. `more` of each segment is written over the
    /// byte before it, which is sent already, so that nothing is copied to be encrypted; `frame` has no meaning afterwards.
    ///
    /// # Errors
    /// [`FrameError`]; the stream has lost its place then, unless the payload was [too large](FrameError::TooLarge).
    pub(crate) fn write_behind(&mut self, frame: &mut [u8]) -> Result<(), FrameError> {
        let payload = frame.len() - MORE_BYTES;
        let length = encrypted_length(payload);
        let header = u32::try_from(length)
            .ok()
            .filter(|_| payload <= self.limits.max_message_size);
        let header = header.ok_or_else(|| FrameError::TooLarge {
            length,
            max: self.limits.frame_bytes_max(),
        })?;
        let deadline = Instant::now() + self.limits.time_for(length);
        self.wire[..LENGTH_BYTES].copy_from_slice(&header.to_be_bytes());
        // The length and as many segments as there is room for leave together: one packet for a small frame, one call for
        // a page.
        let (mut filled, mut begin) = (LENGTH_BYTES, 0);
        loop {
            let end = frame.len().min(begin + MORE_BYTES + SEGMENT_PAYLOAD_BYTES_MAX);
            let is_last = end == frame.len();
            frame[begin] = u8::from(!is_last);
            let size = self
                .noise
                .write_message(self.nonce, &frame[begin..end], &mut self.wire[filled..])?;
            self.nonce += 1;
            filled += size;
            let wait = self.bucket.take(size, Instant::now());
            self.link.pause(wait)?;
            self.link.bytes_sent.fetch_add(size as u64, Ordering::Relaxed);
            if is_last || filled + SEGMENT_BYTES_MAX > WIRE_BYTES {
                self.send(filled, deadline)?;
                filled = 0;
            }
            if is_last {
                return Ok(());
            }
            begin = end - MORE_BYTES;
        }
    }

    /// Sends the first `count` bytes of the buffer before `deadline`.
    fn send(&mut self, count: usize, deadline: Instant) -> Result<(), FrameError> {
        let mut sent = 0;
        while sent < count {
            if let Some(timeout) = self.timeout.change_for(time_left(deadline, "sending")?) {
                self.stream.set_write_timeout(Some(timeout))?;
            }
            match self.stream.write(&self.wire[sent..count]) {
                Ok(0) => return Err(FrameError::Closed),
                Ok(written) => sent += written,
                Err(error) => try_again_after(error)?,
            }
        }
        Ok(())
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

/// A wait that ended early, by a signal or by a timeout that was shorter than the deadline, is begun anew.
fn try_again_after(error: std::io::Error) -> Result<(), FrameError> {
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
        _ => Err(error.into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::noise::{open_channel, Role};
    use crate::transport::Channel;
    use std::net::TcpListener;

    const IDLE: Duration = Duration::from_secs(20);

    fn channels(limits: &FrameLimits) -> (Channel, Channel) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let theirs = limits.clone();
        let accepting = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            open_channel(stream, Role::Responder, b"test", theirs).unwrap()
        });
        let stream = TcpStream::connect(address).unwrap();
        let own = open_channel(stream, Role::Initiator, b"test", limits.clone()).unwrap();
        (own, accepting.join().unwrap())
    }

    fn limits() -> FrameLimits {
        FrameLimits {
            max_message_size: 1 << 20,
            message_timeout: Duration::from_secs(20),
            rate_limit: 1 << 30,
        }
    }

    /// Other bytes in each frame.
    fn payload(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 + at / 251 + length) as u8).collect()
    }

    #[test]
    fn frames_of_every_number_of_segments_arrive_as_they_were_sent_one_behind_the_other() {
        let segment = SEGMENT_PAYLOAD_BYTES_MAX;
        let sizes = [
            0,
            1,
            17,
            READ_AHEAD_BYTES,
            segment - 1,
            segment,
            segment + 1,
            3,
            2 * segment,
        ];
        let sizes = sizes
            .into_iter()
            .chain([2 * segment + 1, 5 * segment + 9, 1 << 20, 2, 65_537 + 900, 0]);
        let sizes: Vec<usize> = sizes.collect();
        let (mut own, mut their) = channels(&limits());
        let sent = sizes.clone();
        let writing =
            std::thread::spawn(move || sent.iter().for_each(|size| own.writer.write(&payload(*size)).unwrap()));
        for size in sizes {
            assert!(their.reader.read(IDLE).unwrap() == payload(size), "{size} bytes");
        }
        writing.join().unwrap();
    }

    #[test]
    fn a_peer_that_says_nothing_is_given_up_at_the_deadline_and_not_before() {
        let (own, mut their) = channels(&limits());
        // A timeout that was set for another wait.
        their.reader.timeout.0 = Some(Duration::from_millis(10));
        their
            .reader
            .stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let (begun, idle) = (Instant::now(), Duration::from_millis(120));
        assert!(matches!(their.reader.read(idle), Err(FrameError::Timeout("silence"))));
        assert!(
            begun.elapsed() >= idle && begun.elapsed() < idle * 10,
            "{:?}",
            begun.elapsed()
        );
        drop(own);
    }

    #[test]
    fn a_timeout_is_set_anew_where_it_is_too_long_or_far_too_short() {
        let mut timeout = Timeout::default();
        let second = Duration::from_secs(1);
        assert_eq!(timeout.change_for(second * 8), Some(second * 6));
        assert_eq!(timeout.change_for(second * 8), None);
        assert_eq!(timeout.change_for(second * 96), None);
        assert_eq!(timeout.change_for(second * 97), Some(second * 97 / 4 * 3));
        assert_eq!(timeout.change_for(second * 8), Some(second * 6));
        assert_eq!(timeout.change_for(second * 6), None);
        assert_eq!(timeout.change_for(PRECISE_BELOW), Some(PRECISE_BELOW));
    }
}
