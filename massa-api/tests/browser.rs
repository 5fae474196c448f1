//! A page in the operator's browser, against the private server of a running API: Chromium decides what pages may send and
//! read, so that it is Chromium that is asked.

mod common;

use common::{call, TestNode, TOKEN};
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A name that an attacker's DNS makes point to this machine.
const EVIL: &str = "evil.example";
/// How long the browser may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The attempts of the page, one after the other; what came of each stands in the document at the end.
const SCRIPT: &str = r#"
async function attempt(url, options) {
    try {
        const answer = await fetch(url, options);
        return answer.type === "opaque" ? "sent, not readable" : answer.status + " " + (await answer.text());
    } catch (error) {
        return "failed";
    }
}
(async () => {
    const results = [];
    for (const {url, options} of ATTEMPTS) results.push(await attempt(url, options));
    document.getElementById("results").textContent = JSON.stringify(results);
})();
"#;

/// The site of the attacker. What does not ask for the page goes to the private server as it is: to the browser, both are one
/// site whose name was made to point somewhere else meanwhile.
struct Site {
    address: SocketAddr,
    passed_on: Arc<AtomicUsize>,
}

impl Site {
    fn start(private: SocketAddr, page: impl FnOnce(SocketAddr) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passed_on = Arc::new(AtomicUsize::new(0));
        let (page, counter) = (Arc::new(page(address)), Arc::clone(&passed_on));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (page, counter) = (Arc::clone(&page), Arc::clone(&counter));
                std::thread::spawn(move || answer(socket, &page, private, &counter));
            }
        });
        Self { address, passed_on }
    }
}

/// One request of the browser: it is told to close the connection after each.
fn answer(mut socket: TcpStream, page: &str, private: SocketAddr, passed_on: &AtomicUsize) -> Option<()> {
    socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut request = Vec::new();
    let head_end = loop {
        let mut bytes = [0; 4096];
        let length = socket.read(&mut bytes).ok().filter(|length| *length > 0)?;
        request.extend_from_slice(&bytes[..length]);
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
    };
    if request.starts_with(b"GET ") {
        let length = page.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        return socket.write_all(format!("{head}{page}").as_bytes()).ok();
    }
    passed_on.fetch_add(1, Ordering::Relaxed);
    let mut node = TcpStream::connect(private).ok()?;
    node.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let closing = [b"\r\nConnection: close", &request[head_end..]].concat();
    let head = String::from_utf8_lossy(&request[..head_end]).replace("\r\nConnection: keep-alive", "");
    node.write_all(&[head.as_bytes(), &closing].concat()).ok()?;
    // The rest of the body, if it came later.
    let (mut rest, mut to_node) = (socket.try_clone().ok()?, node.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut rest, &mut to_node));
    std::io::copy(&mut node, &mut socket).ok()?;
    socket.shutdown(std::net::Shutdown::Both).ok()
}

/// What stands in the page after the attempts.
fn browse(site: &Site) -> Vec<String> {
    let profile = tempfile::tempdir().unwrap();
    let url = format!("http://{EVIL}:{}/", site.address.port());
    let mut browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--disable-dev-shm-usage", "--no-proxy-server"])
        .arg(format!("--host-resolver-rules=MAP {EVIL} 127.0.0.1"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=60000", "--dump-dom", &url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("chromium: {error}: scripts/setup installs it"));
    let mut output = browser.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut page = String::new();
        output.read_to_string(&mut page).map(|_| page)
    });
    let begin = Instant::now();
    while browser.try_wait().unwrap().is_none() {
        if begin.elapsed() > DEADLINE {
            browser.kill().unwrap();
            browser.wait().unwrap();
            panic!("chromium did not end within {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let page = reader.join().unwrap().unwrap();
    let results = page
        .split_once("<pre id=\"results\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"));
    let (results, _) = results.unwrap_or_else(|| panic!("no results in {page:?}"));
    let results = results.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&results).unwrap_or_else(|error| panic!("{error}: {results:?}"))
}

fn page(attempts: &[Value]) -> String {
    let script = SCRIPT.replace("ATTEMPTS", &Value::from(attempts).to_string());
    format!("<!doctype html><pre id=\"results\"></pre><script>{script}</script>")
}

/// The ways in which a page can post a call: as a form would, blindly, and as a program would, which the browser asks about
/// first.
fn posts(url: &str, body: &str) -> [Value; 4] {
    let options = |mode: &str, headers: Value| json!({"url": url, "options": {"method": "POST", "mode": mode, "headers": headers, "body": body}});
    let bearer = format!("Bearer {}", "0".repeat(64));
    [
        options("no-cors", json!({"Content-Type": "text/plain"})),
        options("cors", json!({"Content-Type": "text/plain"})),
        options("cors", json!({"Content-Type": "application/json"})),
        options(
            "cors",
            json!({"Content-Type": "application/json", "Authorization": bearer}),
        ),
    ]
}

/// What an attacker wants, each in every way; and how many attempts that are.
fn attacks(url: &str) -> Vec<Value> {
    let id = NodeId::new(KeyPair::generate(0).unwrap().get_public_key()).to_string();
    let calls = [
        call("node_sign_message", &json!([[1, 2, 3]])),
        call("node_ban_by_id", &json!([[id]])),
        call("stop_node", &json!([])),
    ];
    calls.iter().flat_map(|body| posts(url, body)).collect()
}

#[track_caller]
fn assert_nothing_happened(node: &TestNode, results: &[String]) {
    let world = node.world();
    assert!(!world.stopped && world.banned.is_empty(), "{results:?}");
    for result in results {
        assert!(
            !result.contains("signature") && !result.contains(TOKEN.secret()),
            "{result}"
        );
    }
}

#[test]
fn a_page_of_a_foreign_site_changes_nothing_and_reads_nothing() {
    let node = TestNode::start();
    let (private, public) = (node.private_address(), node.public_address());
    let mut attempts = attacks(&format!("http://{private}/"));
    attempts.extend(attacks(&format!("http://localhost:{}/", private.port())));
    let count = attempts.len();
    // The browser works, and the public server is for everybody.
    attempts.push(posts(&format!("http://{public}/"), &call("get_cliques", &json!([])))[2].clone());
    let site = Site::start(private, |_| page(&attempts));

    let results = browse(&site);

    assert_nothing_happened(&node, &results);
    let (attacks, control) = results.split_at(count);
    assert!(
        attacks
            .iter()
            .all(|result| result == "failed" || result == "sent, not readable"),
        "{attacks:?}"
    );
    assert!(
        control[0].starts_with("200 ") && control[0].contains("result"),
        "{control:?}"
    );
}

#[test]
fn a_name_that_was_made_to_point_here_changes_nothing() {
    let node = TestNode::start();
    let mut count = 0;
    let site = Site::start(node.private_address(), |own| {
        let attempts = attacks(&format!("http://{EVIL}:{}/", own.port()));
        count = attempts.len();
        page(&attempts)
    });

    let results = browse(&site);

    assert_nothing_happened(&node, &results);
    assert_eq!(
        site.passed_on.load(Ordering::Relaxed),
        count,
        "all reach the private server"
    );
    // They are of one site to the browser, and may read: that they are foreign.
    let readable: Vec<&String> = results
        .iter()
        .filter(|result| *result != "sent, not readable")
        .collect();
    assert!(readable.iter().all(|result| result.starts_with("403 ")), "{results:?}");
}
