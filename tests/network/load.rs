//! Readers and slow sockets at one node of a network: its operator and the chain notice neither.

use crate::common::{archived_everywhere, network_with_periods_of, DEADLINE};
use massa_localnet::{Network, Node};
use massa_models::block_id::BlockId;
use massa_time::MassaTime;
use massa_wallet::ApiToken;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

const NODES: usize = 3;
/// Long enough that nodes that share a processor with other tests make their blocks.
const T0_MS: u64 = 2_000;
/// Periods that are archived before anybody reads.
const HISTORY: u64 = 3;
/// Periods of which missed slots are counted, before the load and under it: longer than a request may take to arrive.
const COUNTED: u64 = 13;
/// Slots that may be missed more often under the load than before it, in a hundred: other tests run, too.
const MISSES_ALLOWED_PERCENT: u64 = 3;

const READERS: u64 = 300;
/// From one question of a reader to its next one: 150 questions a second of all of them.
const READER_PAUSE: Duration = Duration::from_millis(2_000);
const SLOW_SOCKETS: usize = 100;
/// Pause between two bytes of a slow socket.
const BYTE_PAUSE: Duration = Duration::from_secs(3);
/// Pause between two looks of the operator.
const LOOK_PAUSE: Duration = Duration::from_millis(400);
/// How long a look may take.
const LOOK_MAX: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn readers_and_slow_sockets_are_noticed_by_neither_the_operator_nor_the_chain() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network_with_periods_of(NODES, T0_MS);
    network.start(NODES).unwrap();
    let all: Vec<usize> = (0..NODES).collect();
    archived_everywhere(&mut network, &all, HISTORY, deadline);
    let blocks = blocks_of(&network.nodes()[0], HISTORY);

    let (first_before, quiet) = count_periods(&network, &all, deadline, |node, is_over| look_often(node, is_over));
    let counts = Counts::default();
    let (first_during, looks) = count_periods(&network, &all, deadline, |node, is_over| {
        under_load(node, &blocks, &counts, is_over)
    });

    let last = first_during + COUNTED - 1;
    archived_everywhere(&mut network, &all, last, deadline);
    let [before, during] = [first_before, first_during].map(|first| missed_slots(&network, first));
    let worst = |looks: &[Duration]| looks.iter().copied().max().unwrap_or_default();
    println!(
        "missed slots: {before} before, {during} during; slowest of {} looks {:?}, of {} before {:?}; {counts:?}",
        looks.len(),
        worst(&looks),
        quiet.len(),
        worst(&quiet)
    );
    let slots = COUNTED * u64::from(network.genesis().thread_count);
    assert!(
        during * 100 <= before * 100 + slots * MISSES_ALLOWED_PERCENT,
        "{before} of {slots} slots missed before, {during} during"
    );
    assert!(looks.len() >= COUNTED as usize && worst(&looks) < LOOK_MAX, "{looks:?}");
    counts.check();
    network.stop().unwrap();
}

/// Runs `run` until [`COUNTED`] whole periods are over; gives the first of these. `run` ends when it is told that they are.
fn count_periods<T>(
    network: &Network,
    nodes: &[usize],
    deadline: Instant,
    run: impl FnOnce(&Node, &(dyn Fn() -> bool + Sync)) -> T,
) -> (u64, T) {
    let clock = network.clock();
    let now = || clock.period_at(MassaTime::now());
    let first = now() + 1;
    let is_over = || now() >= first + COUNTED || Instant::now() > deadline;
    let result = run(&network.nodes()[nodes[0]], &is_over);
    assert!(Instant::now() < deadline, "the periods are not over in time");
    (first, result)
}

fn missed_slots(network: &Network, first: u64) -> u64 {
    let client = network.nodes()[0].client();
    let missed = |period| {
        let slots = client.archived_period(period).unwrap().slots;
        slots.iter().filter(|block| block.is_none()).count() as u64
    };
    (first..first + COUNTED).map(missed).sum()
}

/// Blocks of the periods from 1 to `last`.
fn blocks_of(node: &Node, last: u64) -> Vec<BlockId> {
    let slots = (1..=last).flat_map(|period| node.client().archived_period(period).unwrap().slots);
    let blocks: Vec<BlockId> = slots.flatten().collect();
    assert!(!blocks.is_empty());
    blocks
}

/// What clients were told.
#[derive(Debug, Default)]
struct Counts {
    blocks_read: AtomicU64,
    /// Answers that were no block, and connections that ended without one, by what was said.
    failures: parking_lot::Mutex<BTreeMap<String, u64>>,
    /// Slow sockets that the node closed.
    closed: AtomicU64,
}

impl Counts {
    fn check(&self) {
        let read = self.blocks_read.load(Ordering::Relaxed);
        let failed: u64 = self.failures.lock().values().sum();
        assert!(read >= 2 * READERS && failed * 100 <= read, "{self:?}");
        assert!(
            self.closed.load(Ordering::Relaxed) >= SLOW_SOCKETS as u64,
            "slow sockets are not closed: {self:?}"
        );
    }
}

/// The operator looks at the status while others read, slowly or not.
fn under_load(node: &Node, blocks: &[BlockId], counts: &Counts, is_over: &(dyn Fn() -> bool + Sync)) -> Vec<Duration> {
    let (public, ended) = (node.ports().public, AtomicBool::new(false));
    let is_ended = || ended.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| send_slowly(public, counts, &is_ended));
        for number in 0..READERS {
            let is_ended = &is_ended;
            scope.spawn(move || read_blocks(public, number, blocks, counts, is_ended));
        }
        let _ends_with_the_looks = Raise(&ended);
        look_often(node, is_over)
    })
}

/// Raises a flag in the end, also when an assertion fails.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long each look took. As massa-cli does it: with the node's token, on a connection of its own.
fn look_often(node: &Node, is_over: &dyn Fn() -> bool) -> Vec<Duration> {
    let token = ApiToken::load(&node.token_path()).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token.secret());
    let call = Call::new("get_storage_status", &json!([]), &bearer);
    let mut looks = Vec::new();
    while !is_over() {
        let begin = Instant::now();
        let answer = Client::connect(node.ports().public, Ipv4Addr::LOCALHOST).and_then(|mut client| client.ask(&call));
        let answer = answer.unwrap_or_else(|error| panic!("after {looks:?}: {error}"));
        looks.push(begin.elapsed());
        assert_eq!(answer["result"]["running"], true, "{answer}");
        sleep(LOOK_PAUSE);
    }
    looks
}

/// Asks for one block after the other, each reader from an address of its own and on a connection that it keeps.
fn read_blocks(public: SocketAddr, number: u64, blocks: &[BlockId], counts: &Counts, is_ended: &dyn Fn() -> bool) {
    let address = Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250 + 1) as u8);
    // Not all at once: each begins at its own time.
    let mut next = Instant::now() + READER_PAUSE.mul_f64(number as f64 / READERS as f64);
    let mut client = None;
    for block in blocks.iter().cycle().skip(number as usize) {
        while Instant::now() < next {
            if is_ended() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        next += READER_PAUSE;
        let call = Call::new("get_blocks", &json!([[block]]), "");
        let answer = match client.take() {
            Some(client) => Ok(client),
            None => Client::connect(public, address),
        };
        let answer = answer.and_then(|mut kept: Client| {
            let answer = kept.ask(&call)?;
            client = Some(kept);
            Ok(answer)
        });
        match answer {
            Ok(answer) if answer["result"][0]["id"] == json!(block) => {
                counts.blocks_read.fetch_add(1, Ordering::Relaxed);
            }
            other => {
                let said = format!("{other:?}").chars().take(200).collect();
                *counts.failures.lock().entry(said).or_default() += 1;
            }
        }
    }
}

/// Keeps many connections, each with a request whose bytes come one by one. One that is closed is made again.
fn send_slowly(public: SocketAddr, counts: &Counts, is_ended: &dyn Fn() -> bool) {
    let address = Ipv4Addr::new(127, 2, 0, 1);
    let connect = || {
        let mut socket = connect_from(address, public).ok()?;
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
        socket.write_all(head.as_bytes()).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    };
    let mut sockets: Vec<Option<TcpStream>> = (0..SLOW_SOCKETS).map(|_| connect()).collect();
    while !is_ended() {
        sleep(BYTE_PAUSE);
        for socket in &mut sockets {
            let is_open = socket.as_mut().is_some_and(|socket| {
                let is_closed = socket.read(&mut [0; 512]).is_ok() || socket.write_all(b"{").is_err();
                !is_closed
            });
            if !is_open {
                counts.closed.fetch_add(1, Ordering::Relaxed);
                *socket = connect();
            }
        }
    }
}

/// A request, ready to be sent.
struct Call(String);

impl Call {
    fn new(method: &str, params: &Value, headers: &str) -> Self {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let length = body.len();
        Self(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// A connection that is kept between calls.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let socket = connect_from(from, server)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(BufReader::new(socket)))
    }

    /// Sends a call and gives the JSON that is answered.
    fn ask(&mut self, call: &Call) -> io::Result<Value> {
        self.0.get_mut().write_all(call.0.as_bytes())?;
        let (mut length, mut head) = (0, String::new());
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            if self.0.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = head[start..].to_ascii_lowercase();
            if let Some(told) = line.strip_prefix("content-length:") {
                length = told.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(head.lines().next().unwrap_or_default().to_string()));
        }
        serde_json::from_slice(&body).map_err(io::Error::other)
    }
}

/// Connects from one of this machine's addresses: to the node, each is another client.
fn connect_from(from: Ipv4Addr, server: SocketAddr) -> io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let socket = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        socket.connect(server).await?.into_std()
    })?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}
