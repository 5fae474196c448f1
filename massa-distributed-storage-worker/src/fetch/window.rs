//! How many bytes may be in flight from each peer: what the way to it takes, bandwidth × delay.
//!
//! Pure: the time is an argument. Every answer tells how much arrived since its request was sent, and after how long. The
//! largest such rate of the last seconds times the shortest delay is what fills the way without a queue; twice as much is
//! allowed, so that the rate can grow until the way is full, doubling with each round trip from one request on. With a queue
//! of its own the shortest delay could never be seen again: from time to time the window is halved until it was.
//!
//! Source of the idea: congestion control by measured bandwidth and round trip (BBR).
//!
//! Left out: fairness among peers, which the order of requests decides, and what the storage handler bounds itself.

use massa_models::node::NodeId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a measured rate counts.
const RATE_SPAN: Duration = Duration::from_secs(2);
/// How long the shortest delay counts before it is measured again.
const DELAY_SPAN: Duration = Duration::from_secs(10);
/// Windows are this many times bandwidth × delay.
const GAIN: u64 = 2;
/// The pause after failures doubles so often at most.
const DOUBLINGS_MAX: u32 = 6;
/// Peers that are remembered; the least used one is forgotten.
const PEERS_MAX: usize = 1024;
/// Bounds of the wait for an answer.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(30);

/// Bounds of a window.
#[derive(Clone, Copy, Debug)]
pub struct WindowLimits {
    /// The window before anything is known, and the smallest one.
    pub bytes_min: u64,
    /// The largest window.
    pub bytes_max: u64,
    /// Pause after a failure; it doubles with each further one, up to 64 times.
    pub pause: Duration,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            // Two frames.
            bytes_min: 128 << 10,
            bytes_max: 32 << 20,
            pause: Duration::from_millis(500),
        }
    }
}

/// What is known of the way to a peer.
#[derive(Debug)]
struct Window {
    in_flight: u64,
    delivered: u64,
    /// Bytes a second; the largest of this span and of the one before.
    rate: u64,
    rate_before: u64,
    rate_since: Instant,
    delay: Option<Duration>,
    delay_since: Instant,
    /// Measuring the delay again: the shortest since then.
    probing: Option<(Instant, Option<Duration>)>,
    failures: u32,
    not_before: Instant,
    used: Instant,
}

/// A request that is in flight.
#[derive(Debug)]
struct InFlight {
    node: NodeId,
    /// Bytes that did not arrive yet.
    left: u64,
    asked_at: Instant,
    last_progress: Instant,
    delivered_before: u64,
    /// Whether anything arrived.
    begun: bool,
}

/// The windows of all peers.
#[derive(Debug)]
pub struct Windows {
    limits: WindowLimits,
    peers: HashMap<NodeId, Window>,
    requests: HashMap<u64, InFlight>,
}

impl Windows {
    /// Nothing in flight.
    pub fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            peers: HashMap::new(),
            requests: HashMap::new(),
        }
    }

    /// Whether `node` may be asked for something now. The last request may be larger than what is left of the window; a peer
    /// that failed a moment ago is left alone.
    pub fn has_room(&self, node: &NodeId, now: Instant) -> bool {
        let Some(window) = self.peers.get(node) else {
            return true;
        };
        now >= window.not_before && (window.in_flight == 0 || window.in_flight < self.size(window))
    }

    /// How full the window of `node` is, in thousandths: whom to ask first.
    pub fn load(&self, node: &NodeId) -> u64 {
        self.peers
            .get(node)
            .map_or(0, |window| window.in_flight * 1000 / self.size(window).max(1))
    }

    /// Bytes in flight from all peers.
    pub fn in_flight(&self) -> u64 {
        self.peers.values().map(|window| window.in_flight).sum()
    }

    /// Bytes a second that all peers together delivered lately.
    pub fn rate(&self) -> u64 {
        self.peers.values().map(Window::rate).sum()
    }

    /// `bytes` were asked of `node` with request `id`.
    pub fn on_asked(&mut self, id: u64, node: NodeId, bytes: u64, now: Instant) {
        self.make_room();
        let window = self.peers.entry(node).or_insert_with(|| Window::new(now));
        window.in_flight += bytes;
        window.used = now;
        let request = InFlight {
            node,
            left: bytes,
            asked_at: now,
            last_progress: now,
            delivered_before: window.delivered,
            begun: false,
        };
        self.requests.insert(id, request);
    }

    /// `bytes` of a request arrived from `from`, which may be another than the first one asked.
    pub fn on_bytes(&mut self, id: u64, from: NodeId, bytes: u64, now: Instant) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.node != from {
            let left = request.left;
            if let Some(window) = self.peers.get_mut(&request.node) {
                window.free(left);
                window.fail(&self.limits, now);
            }
            let window = self.peers.entry(from).or_insert_with(|| Window::new(now));
            window.in_flight += left;
            // When that one was asked is not known: its first bytes measure nothing.
            request.node = from;
            request.asked_at = now;
            request.delivered_before = window.delivered;
            request.begun = true;
        }
        let Some(window) = self.peers.get_mut(&from) else {
            return;
        };
        let arrived = bytes.min(request.left);
        request.left -= arrived;
        request.last_progress = now;
        window.free(arrived);
        window.delivered += bytes;
        window.failures = 0;
        window.used = now;
        let elapsed = now.duration_since(request.asked_at);
        if !request.begun {
            request.begun = true;
            window.note_delay(elapsed, now);
        }
        window.note_rate(window.delivered - request.delivered_before, elapsed, now);
    }

    /// Who is asked with a request, as far as is known.
    pub fn asked(&self, id: u64) -> Option<NodeId> {
        self.requests.get(&id).map(|request| request.node)
    }

    /// A request is answered: what did not arrive of it will not.
    pub fn on_done(&mut self, id: u64) {
        if let Some(request) = self.requests.remove(&id) {
            if let Some(window) = self.peers.get_mut(&request.node) {
                window.free(request.left);
            }
        }
    }

    /// A request failed: its peer is left alone for a while.
    pub fn on_failed(&mut self, id: u64, now: Instant) {
        if let Some(request) = self.requests.remove(&id) {
            if let Some(window) = self.peers.get_mut(&request.node) {
                window.free(request.left);
                window.fail(&self.limits, now);
            }
        }
    }

    /// Requests whose answers must have been lost, as nothing came of them for too long.
    pub fn overdue(&self, now: Instant) -> Vec<u64> {
        let is_late = |request: &InFlight| now.duration_since(request.last_progress) > self.wait(&request.node);
        let late = self.requests.iter().filter(|(_, request)| is_late(request));
        late.map(|(id, _)| *id).collect()
    }

    /// How long nothing may come from a peer: several times what all that is in flight takes.
    fn wait(&self, node: &NodeId) -> Duration {
        let Some((window, delay)) = self.peers.get(node).and_then(|window| Some((window, window.delay?))) else {
            return *WAIT.end();
        };
        let transfer = Duration::from_millis(window.in_flight * 1000 / window.rate().max(1));
        (delay * 8 + transfer * 4).clamp(*WAIT.start(), *WAIT.end())
    }

    fn size(&self, window: &Window) -> u64 {
        let Some(delay) = window.delay else {
            return self.limits.bytes_min;
        };
        let fills = window.rate().saturating_mul(delay.as_micros() as u64) / 1_000_000;
        let wanted = if window.probing.is_some() {
            fills / 2
        } else {
            fills * GAIN
        };
        wanted.clamp(self.limits.bytes_min, self.limits.bytes_max)
    }

    fn make_room(&mut self) {
        if self.peers.len() >= PEERS_MAX {
            let idle = self.peers.iter().filter(|(_, window)| window.in_flight == 0);
            if let Some(node) = idle.min_by_key(|(_, window)| window.used).map(|(node, _)| *node) {
                self.peers.remove(&node);
            }
        }
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            in_flight: 0,
            delivered: 0,
            rate: 0,
            rate_before: 0,
            rate_since: now,
            delay: None,
            delay_since: now,
            probing: None,
            failures: 0,
            not_before: now,
            used: now,
        }
    }

    fn rate(&self) -> u64 {
        self.rate.max(self.rate_before)
    }

    fn free(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    fn fail(&mut self, limits: &WindowLimits, now: Instant) {
        self.not_before = now + limits.pause * 2u32.pow(self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
    }

    fn note_rate(&mut self, bytes: u64, elapsed: Duration, now: Instant) {
        if now.duration_since(self.rate_since) >= RATE_SPAN {
            self.rate_before = self.rate;
            self.rate = 0;
            self.rate_since = now;
        }
        // Shorter than the clock can tell apart says nothing.
        let micros = elapsed.as_micros() as u64;
        if let Some(rate) = bytes.saturating_mul(1_000_000).checked_div(micros) {
            self.rate = self.rate.max(rate);
        }
    }

    fn note_delay(&mut self, sample: Duration, now: Instant) {
        match &mut self.probing {
            Some((since, shortest)) => {
                *shortest = Some(shortest.map_or(sample, |shortest| shortest.min(sample)));
                // What was asked before the window was halved has arrived by then.
                let settled = self.delay.unwrap_or(sample) * 3;
                if now.duration_since(*since) >= settled {
                    self.delay = *shortest;
                    self.delay_since = now;
                    self.probing = None;
                }
            }
            None if self.delay.map_or(true, |delay| sample <= delay) => {
                self.delay = Some(sample);
                self.delay_since = now;
            }
            None if now.duration_since(self.delay_since) >= DELAY_SPAN => self.probing = Some((now, None)),
            None => {}
        }
    }
}
