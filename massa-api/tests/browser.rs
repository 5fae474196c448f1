//! A page in the operator's browser, against the servers of a running API: Chromium decides what pages may send and read, so
//! that it is Chromium that is asked. What the servers answer is looked at on its way, since pages do not see all of it: each
//! of the checks of [`massa_api`] that is gone shows in one of these tests, though the others still keep the page out.

mod common;

use common::{call, status_of, TestNode, TOKEN};
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A name that an attacker's DNS makes point to this machine.
const EVIL: &str = "evil.example";
/// How long the browser may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The attempts of a page, one after the other; what came of each stands in the document at the end.
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

/// A port that passes requests on to a server as they are, and may have a page beside. To the browser both are one site: of a
/// name that was made to point somewhere else after the page was loaded.
struct Site {
    address: SocketAddr,
    statuses: Arc<Mutex<Vec<u16>>>,
}

impl Site {
    fn start(server: SocketAddr, page: impl FnOnce(SocketAddr) -> Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let (page, noted) = (Arc::new(page(address)), Arc::clone(&statuses));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (page, noted) = (Arc::clone(&page), Arc::clone(&noted));
                std::thread::spawn(move || answer(socket, page.as_deref(), server, &noted));
            }
        });
        Self { address, statuses }
    }

    /// What the server answered.
    fn statuses(&self) -> Vec<u16> {
        self.statuses.lock().unwrap().clone()
    }
}

/// Answers one request of the browser, which opens another connection for the next.
fn answer(mut socket: TcpStream, page: Option<&str>, server: SocketAddr, statuses: &Mutex<Vec<u16>>) -> Option<()> {
    socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let request = receive(&mut socket)?;
    let page = page.filter(|_| request.starts_with("GET / "));
    let answer = match page {
        Some(page) => {
            let length = page.len();
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{page}")
        }
        None => {
            let mut server = common::Raw::connect(server);
            server.send(&request.replace("\r\nConnection: keep-alive\r\n", "\r\nConnection: close\r\n"));
            let answer = server.rest();
            statuses.lock().unwrap().push(status_of(&answer));
            answer
        }
    };
    socket.write_all(answer.as_bytes()).ok()?;
    socket.shutdown(Shutdown::Both).ok()
}

/// A whole request: head, and the body that it tells.
fn receive(socket: &mut TcpStream) -> Option<String> {
    let mut request = String::new();
    loop {
        let mut bytes = [0; 4096];
        let length = socket.read(&mut bytes).ok().filter(|length| *length > 0)?;
        request.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let lines = head.lines().map(str::to_ascii_lowercase);
        let told = lines.filter_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= told.sum() {
            return Some(request);
        }
    }
}

/// What stands in the page after the attempts.
fn browse(host: &str, site: &Site) -> Vec<String> {
    let profile = tempfile::tempdir().unwrap();
    let url = url(host, site.address);
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

fn url(host: &str, address: SocketAddr) -> String {
    format!("http://{host}:{}/", address.port())
}

fn page(attempts: &[Value]) -> Option<String> {
    let script = SCRIPT.replace("ATTEMPTS", &Value::from(attempts).to_string());
    let icon = "<link rel=\"icon\" href=\"data:,\">";
    Some(format!(
        "<!doctype html>{icon}<pre id=\"results\"></pre><script>{script}</script>"
    ))
}

/// The ways in which a page can post a call: as a form would, blindly, and as a program would, which the browser asks about
/// first. The last one has the token, as if the page had found it.
fn posts(url: &str, body: &str) -> [Value; 4] {
    let options = |mode: &str, headers: Value| json!({"url": url, "options": {"method": "POST", "mode": mode, "headers": headers, "body": body}});
    let bearer = format!("Bearer {}", TOKEN.secret());
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

/// What an attacker wants, each in every way.
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

/// The page reads nothing of the answers, and each is `status`.
#[track_caller]
fn assert_unreadable(results: &[String], statuses: &[u16], status: u16) {
    let is_unreadable = |result: &String| result == "failed" || result == "sent, not readable";
    assert!(results.iter().all(is_unreadable), "{results:?}");
    assert_eq!(statuses, vec![status; results.len()], "{results:?}");
}

#[test]
fn a_page_of_a_foreign_site_changes_nothing_and_reads_nothing() {
    let node = TestNode::start();
    let private = Site::start(node.private_address(), |_| None);
    let attempts = ["127.0.0.1", "localhost"].map(|host| attacks(&url(host, private.address)));
    let site = Site::start(node.private_address(), |_| page(&attempts.concat()));

    let results = browse(EVIL, &site);

    assert_nothing_happened(&node, &results);
    assert_unreadable(&results, &private.statuses(), 403);
}

#[test]
fn a_name_that_was_made_to_point_here_changes_nothing() {
    let node = TestNode::start();
    let site = Site::start(node.private_address(), |own| {
        let mut attempts = attacks(&url(EVIL, own));
        // A browser does not say of which page this one is: it stays within the site.
        attempts.push(json!({"url": format!("{}status", url(EVIL, own)), "options": {}}));
        page(&attempts)
    });

    let results = browse(EVIL, &site);

    assert_nothing_happened(&node, &results);
    assert_eq!(site.statuses(), vec![403; results.len()], "{results:?}");
    // They are of one site to the browser, and may read: that they are foreign.
    let readable = results.iter().filter(|result| *result != "sent, not readable");
    for result in readable {
        assert!(result.starts_with("403 ") && result.contains("allow_hosts"), "{result}");
    }
}

#[test]
fn a_page_of_this_machine_needs_the_token() {
    let node = TestNode::start();
    let private = Site::start(node.private_address(), |_| None);
    let site = Site::start(node.private_address(), |_| {
        page(&attacks(&url("localhost", private.address)))
    });

    let results = browse("localhost", &site);

    assert_nothing_happened(&node, &results);
    assert_unreadable(&results, &private.statuses(), 401);
}

#[test]
fn any_page_asks_the_public_server_as_upstream_allows_and_nothing_of_the_private_one() {
    let node = TestNode::start();
    let public = node.public_address();
    let attempts = ["127.0.0.1", EVIL].map(|host| {
        let asked = posts(&url(host, public), &call("get_cliques", &json!([])));
        let [_, _, signed, _] = posts(&url(host, public), &call("node_sign_message", &json!([[1]])));
        [&asked[..], &[signed]].concat()
    });
    let count = attempts[0].len();
    let site = Site::start(public, |_| page(&attempts.concat()));

    let results = browse(EVIL, &site);

    assert_nothing_happened(&node, &results);
    for results in results.chunks(count) {
        let [blind, as_text, as_json, with_token, signed] = results else {
            panic!("{results:?}");
        };
        assert_eq!(blind, "sent, not readable");
        assert!(as_text.starts_with("415 "), "{as_text}");
        assert!(
            as_json.starts_with("200 ") && as_json.contains("\"result\""),
            "{as_json}"
        );
        assert_eq!(with_token, "failed", "pages send no more than content-type");
        assert!(signed.starts_with("200 ") && signed.contains("wrong API"), "{signed}");
    }
}
