//! The plan's seven steps ("How to Test End-to-End"), as an operator takes them with `massa-cli`: `docs/operator-guide.md` shows
//! the output of each.

use crate::common::{change_settings, logs, network_with_periods_of};
use crate::web3::{account_keys, install_packages, run, source, url};
use massa_localnet::registry::RegistryPlan;
use massa_localnet::rounds::Observer;
use massa_localnet::sample::Subject;
use massa_localnet::wait::wait_for;
use massa_localnet::wallets::unexplained_coins;
use massa_localnet::{Network, Node};
use massa_models::amount::Amount;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const NODES: usize = 4;
const T0_MS: u64 = 1_000;
const BYTES_PER_PERIOD: u64 = 200_000;
/// Credit matures two rounds after its own opened, and the first round that is claimed is the third.
const DEADLINE: Duration = Duration::from_secs(300);
const BOUNTY_DEADLINE: Duration = Duration::from_secs(120);
/// The period whose chunks are looked at.
const PERIOD: u64 = 2;

#[test]
fn the_seven_steps_of_the_plan_work_with_the_command_line() {
    let deadline = Instant::now() + DEADLINE;
    // 1. The settings of each node have `enabled = true`; this one's operator claims by hand.
    let (directory, mut network) = network_with_periods_of(NODES, T0_MS);
    change_settings(&network.nodes()[0], "auto_claim = true", "auto_claim = false");
    network.start(NODES).unwrap();
    let _load = network.start_load(NODES, BYTES_PER_PERIOD);
    let registry = RegistryPlan::new(&network, NODES).run().unwrap();
    let observer = Observer::start(network.nodes()[0].client().clone(), Subject::of(&network, registry));
    let steps = Steps {
        network: &network,
        deadline,
    };
    let status = steps.json(&["storage", "status"]);
    assert_eq!(status["enabled"], true);
    assert_eq!(status["registry"]["registered_nodes"], NODES);

    steps.periods_are_archived();
    let (holder, chunk) = steps.chunks_are_spread();
    steps.a_challenge_by_hand_is_answered(&holder, &chunk);
    steps.the_registry_knows_what_was_proven();
    steps.rewards_reach_the_wallet();
    steps.everything_was_paid_to_the_nano(&observer);
    steps.history_pays_a_bounty(&registry.to_string(), directory.path());
    drop(observer);
    network.stop().unwrap();
}

struct Steps<'a> {
    network: &'a Network,
    deadline: Instant,
}

impl Steps<'_> {
    fn node(&self) -> &Node {
        &self.network.nodes()[0]
    }

    fn wait<T>(&self, what: &str, check: impl FnMut() -> Result<T, String>) -> T {
        let left = self.deadline.saturating_duration_since(Instant::now());
        wait_for(what, left, check).unwrap_or_else(|error| panic!("{error}\n{}", logs(self.network)))
    }

    /// What `massa-cli` prints, or the line with which it fails.
    fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        let program = Path::new(env!("CARGO_BIN_EXE_massa-node")).with_file_name("massa-cli");
        let ports = self.node().ports();
        let output = Command::new(&program)
            .args(["--public-port", &ports.public.port().to_string()])
            .args(["--private-port", &ports.private.port().to_string()])
            .arg("--token-file")
            .arg(self.node().token_path())
            .arg("--wallet")
            .arg(self.node().wallet_path())
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}: build massa_client first", program.display()));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            return Ok(text(output.stdout));
        }
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        Err(text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.cli(&[&["--json"], arguments].concat());
        serde_json::from_str(&text.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.node().log_path()).unwrap()
    }

    /// Waits for a line of the node's log that ends like this.
    fn logged(&self, end: &str) {
        self.wait(end, || match self.log().lines().any(|line| line.ends_with(end)) {
            true => Ok(()),
            false => Err("not in the log".into()),
        });
    }

    /// 2. A line for each archived period.
    fn periods_are_archived(&self) {
        let period = self.wait("an archived period", || {
            let found = self.json(&[
                "storage",
                "list-periods",
                "--first",
                &PERIOD.to_string(),
                "--limit",
                "1",
            ]);
            let period = found["periods"][0].clone();
            let is_there = period["last_chunk"].is_u64();
            is_there.then_some(period).ok_or_else(|| found.to_string())
        });
        let shown = self.json(&["storage", "get-period", &PERIOD.to_string()]);
        let slots = shown["slots"].as_array().unwrap_or_else(|| panic!("{shown}"));
        let blocks = slots.iter().filter(|slot| !slot["block_id"].is_null()).count();
        let number = |field: &str| period[field].as_u64().unwrap();
        let chunks = number("last_chunk") - number("first_chunk") + 1;
        self.wait("its line in the log", || {
            let log = self.log();
            let mut lines = log
                .lines()
                .filter_map(|line| line.split_once(&format!("Archived period {PERIOD}: {blocks} blocks, ")));
            let line = lines.next().ok_or("no line")?.1;
            let operations = line
                .strip_suffix(&format!(" operations, {chunks} chunks"))
                .ok_or(line)?;
            operations.parse::<u64>().map_err(|error| error.to_string())
        });
        assert!(self.log().contains("Chunks assigned to nodes: N"));
    }

    /// 3. Every chunk is held by all who should. Gives another node that holds one, and the chunk.
    fn chunks_are_spread(&self) -> (String, String) {
        let replicas = usize::from(self.network.genesis().storage.replication_factor);
        let own = self.node().identity().node_id.to_string();
        let period = PERIOD.to_string();
        self.wait("held chunks", || {
            let found = self.json(&["storage", "list-chunks", "--period", &period]);
            let chunks = found["chunks"].as_array().unwrap();
            assert!(!chunks.is_empty());
            let is_settled = |chunk: &Value| chunk["state"] != "filling" && chunk["held"] == chunk["assigned_here"];
            if !chunks.iter().all(is_settled) {
                return Err(found.to_string());
            }
            let holders = |chunk: &Value| chunk["holders"].as_array().unwrap().clone();
            assert!(chunks.iter().all(|chunk| holders(chunk).len() == replicas), "{found}");
            let other = |chunk: &Value| holders(chunk).into_iter().find(|holder| *holder != own);
            let (chunk, holder) = chunks.iter().find_map(|chunk| Some((chunk, other(chunk)?))).unwrap();
            Ok((text(&holder), text(&chunk["chunk_id"])))
        })
    }

    /// 4 and 5. A challenge by hand, its answer, and the success rate; the next one to the same node has to wait.
    fn a_challenge_by_hand_is_answered(&self, holder: &str, chunk: &str) {
        let challenge = ["storage", "issue-challenge", "--node", holder, "--chunk", chunk];
        let said = self.cli(&challenge).unwrap();
        assert!(said.contains("result        VALID"), "{said}");
        self.logged(&format!("Challenge issued to {holder} for chunk {chunk}"));
        self.logged(&format!("Proof received from {holder} - VALID"));
        self.logged(&format!("Success rate updated: {holder} = 100%"));
        let again = self.cli(&challenge).unwrap_err();
        assert!(again.contains("min_challenge_interval"), "{again}");
        let history = self.json(&["storage", "challenge-history"]);
        let by_hand = |result: &&Value| result["by_hand"] == true && result["node"] == *holder;
        let mut results = history["results"].as_array().unwrap().iter();
        assert_eq!(results.find(by_hand).unwrap()["outcome"], "passed", "{history}");
    }

    /// 6. What the registry says of the node, and what anybody can verify of the round.
    fn the_registry_knows_what_was_proven(&self) {
        let operator = self.node().operator().to_string();
        let info = self.wait("a round that is settled", || {
            let info = self.json(&["sc", "call", "storage_registry", "get_node_info", &operator]);
            match info["passed_challenges"].as_u64() {
                Some(passed) if passed > 0 => Ok(info),
                _ => Err(info.to_string()),
            }
        });
        assert_eq!(info["total_challenges"], info["passed_challenges"], "{info}");
        assert_eq!(info["allocated_gb"], 1);
        assert_ne!(info["pending_rewards"], "0");
        let round = info["last_counted_round"].as_u64().unwrap();
        let storage = &self.network.genesis().storage;
        let first = (round * storage.round_segments * storage.challenge_frequency_periods).to_string();
        let stats = self.json(&["sc", "call", "storage_registry", "get_period_stats", &first]);
        assert_eq!(stats["challenges_issued"], stats["challenges_passed"], "{stats}");
        let verified = self.cli(&["storage", "challenges", "--round", &round.to_string(), "--verify"]);
        assert!(
            verified.as_ref().is_ok_and(|text| text.contains("nothing differs")),
            "{verified:?}"
        );
    }

    /// 7. What has matured is claimed, and is in the wallet.
    fn rewards_reach_the_wallet(&self) {
        let operator = self.node().operator().to_string();
        let claimed = self.wait("matured rewards", || self.cli(&["storage", "claim-rewards", &operator]));
        let event = format!("REWARDS_CLAIMED:{operator},");
        let line = claimed
            .lines()
            .find_map(|line| line.split_once(&event))
            .expect(&claimed);
        let nano: u64 = line.1.trim().parse().unwrap();
        assert!(nano > 0);
        let earnings = self.wait("the claim in the earnings", || {
            let earnings = self.json(&["storage", "earnings"]);
            let total: Amount = text(&earnings["totals"]["credited"]).parse().unwrap();
            (total.to_raw() >= nano)
                .then_some(earnings.clone())
                .ok_or_else(|| earnings.to_string())
        });
        let rounds = earnings["rounds"].as_array().unwrap();
        assert!(rounds.iter().any(|round| round["result"] == "passed"), "{earnings}");
    }

    /// Any contract can read history: the example contract pays whoever proves a block to it, with what `massa-cli` prints.
    fn history_pays_a_bounty(&self, registry: &str, directory: &Path) {
        install_packages();
        let (slot, block_id) = self.a_block_of(PERIOD);
        let (place, thread) = (format!("{}:{}", slot.0, slot.1), slot.1.to_string());
        let proof = self.wait("an anchored block", || {
            // By its slot: for an id nodes that index everything are needed, and here none does.
            let proof = self.cli(&["storage", "get-block", "--slot", &place, "--registry-proof"])?;
            let view = ["check_block", &slot.0.to_string(), &thread, &block_id, proof.trim()];
            let answer = self.json(&[&["sc", "call", "storage_registry"], &view[..]].concat());
            let known = answer["state"] == "block" && answer["block_id"] == *block_id;
            known.then_some(proof).ok_or_else(|| answer.to_string())
        });
        let keys = account_keys(&directory.join("network/accounts"));
        let mut bounty = Command::new("node");
        bounty
            .arg("bounty.mjs")
            .current_dir(source("tests/web3"))
            .env("JSON_RPC_URL", url(self.node().ports().public))
            .env("REGISTRY", registry)
            .env("PERIOD", slot.0.to_string())
            .env("THREAD", slot.1.to_string())
            .env("BLOCK_ID", block_id)
            .env("PROOF", proof.trim())
            .env("PAYER_KEY", &keys[0])
            .env("TAKER_KEY", &keys[1]);
        let output = run(bounty, BOUNTY_DEADLINE, directory)
            .unwrap_or_else(|failure| panic!("{failure}\n{}", logs(self.network)));
        assert_eq!(output.lines().last(), Some("5000000000"), "{output}");
    }

    /// Slot and id of a block of a period.
    fn a_block_of(&self, period: u64) -> ((u64, u64), String) {
        let shown = self.json(&["storage", "get-period", &period.to_string()]);
        let slots = shown["slots"].as_array().unwrap();
        let is_block = |slot: &&Value| !slot["block_id"].is_null();
        let (thread, found) = slots.iter().enumerate().find(|(_, slot)| is_block(slot)).unwrap();
        ((period, thread as u64), text(&found["block_id"]))
    }

    /// The registry's credit is what an independent calculation gives, and all coins are where they should be.
    fn everything_was_paid_to_the_nano(&self, observer: &Observer) {
        self.wait("the first round paid to everybody", || {
            observer.tracker().missing_until_paid(1).map_or(Ok(()), Err)
        });
        let tracker = observer.tracker().clone();
        let totals = tracker.totals();
        assert_eq!(totals.problems, [""; 0]);
        assert_eq!(totals.rewards_credited_nano, totals.rewards_expected_nano);
        assert!(totals.rewards_credited_nano > 0 && totals.claimed_nano > 0);
        assert_eq!((totals.draws, totals.rounds_void), (totals.draws_passed, 0));
        let unexplained = unexplained_coins(self.network, tracker.points(), self.deadline);
        assert_eq!(unexplained.unwrap(), [""; 0]);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
