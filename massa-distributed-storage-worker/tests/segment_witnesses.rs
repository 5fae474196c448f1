//! Who is asked to show that a chunk is theirs, which another node claims: whom, when, what counts, and when nothing comes of it.

use massa_distributed_storage_exports::merkle::MerkleProof;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::challenge::segment_answer::SegmentAnswer;
use massa_distributed_storage_worker::challenge::sums::{Claim, SumNode, SumPath};
use massa_distributed_storage_worker::rounds::witnesses::{
    Heard, PathAnswer, PathRequest, Suspicion, Witnesses, ATTEMPTS_MAX, BUSY_PAUSE, REQUESTS_MAX, REQUEST_TIMEOUT,
    RETRY_PAUSE,
};
use massa_hash::Hash;
use massa_models::address::{Address, UserAddress, UserAddressV0};
use std::time::{Duration, Instant};

const ROUND: u64 = 20;
const FACTOR: usize = 3;
const CANDIDATES: u64 = 8;
const ACCUSED: u64 = 100;

fn address(number: u64) -> Address {
    let hash = Hash::compute_from(&number.to_le_bytes());
    Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
}

fn chunk() -> TableChunk {
    TableChunk {
        length: 5_000,
        id: ChunkId::from_bytes([9; 32]),
    }
}

fn exhibit(segment: u64) -> SegmentAnswer {
    let nothing = MerkleProof {
        directions: 0,
        siblings: Vec::new(),
    };
    SegmentAnswer {
        position: ChunkPosition::new(segment, 3).unwrap(),
        chunk: chunk(),
        sum_path: SumPath::default(),
        leaf: Vec::new(),
        leaf_path: nothing.clone(),
        segment_path: nothing,
    }
}

/// Of a node that claims the chunk alone: its way there has no sibling.
fn claim(segment: u64) -> Claim {
    let number = ChunkPosition::new(segment, 3).unwrap().number();
    let node = SumNode::chunk(number, chunk().leaf_count(), &chunk().id);
    SumPath::default().follow(number, node).unwrap().0
}

fn right() -> PathAnswer {
    PathAnswer::Path(SumPath::default())
}

/// Well formed, and to a claim of more than that.
fn wrong_path() -> SumPath {
    SumPath {
        mask: 1,
        siblings: vec![SumNode { sum: 7, hash: [7; 32] }],
    }
}

fn suspicion(node: u64, segment: u64, candidates: u64) -> Suspicion {
    Suspicion {
        node: address(node),
        round: ROUND,
        exhibit: exhibit(segment),
        witnesses: FACTOR,
        candidates: (0..candidates).map(address).collect(),
    }
}

struct Bench {
    witnesses: Witnesses,
    now: Instant,
}

impl Bench {
    /// One false claim, and so many that may show it.
    fn new(candidates: u64) -> Self {
        let mut bench = Self {
            witnesses: Witnesses::default(),
            now: Instant::now(),
        };
        bench.open(suspicion(ACCUSED, 5, candidates));
        bench
    }

    fn open(&mut self, suspicion: Suspicion) {
        let segment = suspicion.exhibit.position.segment;
        self.witnesses.open(suspicion, |_| None, |_| Some(claim(segment)));
    }

    fn requests(&mut self) -> Vec<PathRequest> {
        self.witnesses.requests(self.now, |round| round == ROUND)
    }

    fn asked(&mut self) -> Vec<Address> {
        self.requests().iter().map(|request| request.witness).collect()
    }

    fn answer(&mut self, request: &PathRequest, answer: PathAnswer) -> Heard {
        let claim = |_: &Address, _: u64| Some(claim(request.position.segment));
        self.witnesses.on_answer(request.id, answer, claim, self.now)
    }
}

fn addresses(numbers: impl IntoIterator<Item = u64>) -> Vec<Address> {
    numbers.into_iter().map(address).collect()
}

#[test]
fn the_lowest_scores_are_asked_first_and_the_refutation_is_there_once_enough_have_shown() {
    let mut bench = Bench::new(CANDIDATES);
    let requests = bench.requests();
    let asked: Vec<Address> = requests.iter().map(|request| request.witness).collect();
    assert_eq!(asked, addresses(0..FACTOR as u64 + 1), "one more than are missing");
    let expected = (ROUND, ChunkPosition::new(5, 3).unwrap());
    assert!(requests.iter().all(|of| (of.round, of.position) == expected));
    assert_eq!(bench.requests(), [], "each once");
    for request in &requests[..FACTOR - 1] {
        assert_eq!(bench.answer(request, right()), Heard::Shown);
        assert_eq!(bench.witnesses.refutations(), []);
    }
    assert_eq!(bench.answer(&requests[FACTOR], right()), Heard::Shown);
    let refutations = bench.witnesses.refutations();
    assert_eq!(refutations.len(), 1);
    assert_eq!((refutations[0].node, refutations[0].round), (address(ACCUSED), ROUND));
    let texts: Vec<String> = refutations[0].witnesses.iter().map(|(of, _)| of.to_string()).collect();
    let mut expected: Vec<String> = [0, 1, 3].iter().map(|of| address(*of).to_string()).collect();
    expected.sort();
    assert_eq!(texts, expected, "in the order of the registry");
    assert_eq!(bench.requests(), [], "nobody else is asked");
    assert_eq!(bench.answer(&requests[0], right()), Heard::Nothing, "it answered");
}

#[test]
fn in_the_place_of_a_silent_witness_the_next_is_asked_and_it_itself_again_later() {
    let mut bench = Bench::new(FACTOR as u64 + 2);
    let requests = bench.requests();
    assert_eq!(bench.answer(&requests[0], PathAnswer::Silent), Heard::Nothing);
    assert_eq!(bench.asked(), addresses([4]));
    // Nobody else says a word: the deadline is as good as silence.
    bench.now += REQUEST_TIMEOUT;
    assert_eq!(bench.asked(), addresses([0]), "its pause is over");
    assert_eq!(bench.answer(&requests[1], right()), Heard::Nothing, "too late");
    bench.now += RETRY_PAUSE;
    assert_eq!(bench.asked(), addresses([1, 2, 3]), "no more than are missing, and one");
}

#[test]
fn who_stays_silent_is_left_alone_longer_each_time_and_then_given_up() {
    let mut bench = Bench::new(FACTOR as u64);
    let begin = bench.now;
    for attempt in 0..ATTEMPTS_MAX {
        assert_eq!(bench.asked(), addresses(0..FACTOR as u64), "attempt {attempt}");
        bench.now += REQUEST_TIMEOUT;
        assert_eq!(bench.asked(), []);
        bench.now += RETRY_PAUSE * (1 << attempt) - Duration::from_secs(1);
        assert_eq!(bench.asked(), []);
        bench.now += Duration::from_secs(1);
    }
    assert_eq!(bench.asked(), []);
    assert!(bench.witnesses.is_empty());
    assert!(bench.now - begin > Duration::from_secs(1_800));
}

#[test]
fn a_request_that_could_not_be_made_is_made_again_as_often_as_it_takes() {
    let mut bench = Bench::new(FACTOR as u64);
    for _ in 0..2 * ATTEMPTS_MAX {
        let requests = bench.requests();
        assert_eq!(requests.len(), FACTOR);
        for request in &requests {
            assert_eq!(bench.answer(request, PathAnswer::NotAsked), Heard::Nothing);
        }
        assert_eq!(bench.asked(), []);
        bench.now += BUSY_PAUSE;
    }
}

#[test]
fn a_way_to_something_else_is_its_senders_fault_and_does_not_count() {
    let mut bench = Bench::new(FACTOR as u64 + 2);
    let requests = bench.requests();
    assert_eq!(bench.answer(&requests[0], PathAnswer::Path(wrong_path())), Heard::Wrong);
    assert_eq!(bench.asked(), addresses([4]));
    for request in &requests[1..FACTOR] {
        bench.answer(request, right());
    }
    assert_eq!(bench.witnesses.refutations(), []);
    bench.now += REQUEST_TIMEOUT + RETRY_PAUSE;
    assert!(!bench.asked().contains(&address(0)), "it is not asked again");

    // Who left meanwhile has no claim that its way could miss.
    let mut bench = Bench::new(FACTOR as u64);
    let request = bench.requests()[0];
    let heard = bench.witnesses.on_answer(request.id, right(), |_, _| None, bench.now);
    assert_eq!(heard, Heard::Nothing);
    assert!(bench.witnesses.is_empty());
}

#[test]
fn when_too_few_are_left_nobody_is_asked_any_more() {
    let mut bench = Bench::new(FACTOR as u64 + 1);
    let requests = bench.requests();
    bench.answer(&requests[0], right());
    bench.answer(&requests[1], PathAnswer::NotClaimed);
    assert!(!bench.witnesses.is_empty());
    bench.answer(&requests[2], PathAnswer::NotClaimed);
    assert!(bench.witnesses.is_empty());
    assert_eq!((bench.requests(), bench.witnesses.refutations()), (vec![], vec![]));
    // Nor when that is known from the beginning, or is found a second time.
    assert!(Bench::new(FACTOR as u64 - 1).witnesses.is_empty());
    bench.open(suspicion(ACCUSED, 5, CANDIDATES));
    assert!(bench.witnesses.is_empty());
    // Another chunk of the same claim may have witnesses that are there.
    bench.open(suspicion(ACCUSED, 6, CANDIDATES));
    assert_eq!(bench.requests().len(), FACTOR + 1);
}

#[test]
fn nobody_is_asked_for_what_could_not_be_refuted_in_time() {
    let mut bench = Bench::new(CANDIDATES);
    assert_eq!(bench.witnesses.requests(bench.now, |_| false), []);
    assert_eq!(bench.requests().len(), FACTOR + 1);
}

#[test]
fn what_is_asked_at_a_time_is_bounded_and_so_is_what_is_looked_into_of_one_claim() {
    let mut bench = Bench::new(CANDIDATES);
    for segment in 6..20 {
        bench.open(suspicion(ACCUSED, segment, CANDIDATES));
    }
    for accused in 0..3 * REQUESTS_MAX as u64 {
        bench.open(suspicion(ACCUSED + 1 + accused, 5, CANDIDATES));
    }
    let mut segments = std::collections::BTreeSet::new();
    loop {
        let requests = bench.requests();
        assert!(requests.len() <= REQUESTS_MAX);
        assert_eq!(bench.requests(), []);
        if requests.is_empty() {
            break;
        }
        for request in &requests {
            segments.insert(request.position.segment);
            bench.answer(request, right());
        }
    }
    assert_eq!(segments.len(), 4);
    let refutations = bench.witnesses.refutations();
    assert_eq!(refutations.len(), 4 + 3 * REQUESTS_MAX);
}

#[test]
fn ways_that_were_seen_count_if_they_lead_to_the_claim() {
    let mut bench = Bench {
        witnesses: Witnesses::default(),
        now: Instant::now(),
    };
    let seen = |node: &Address| match *node {
        of if of == address(6) || of == address(7) => Some(SumPath::default()),
        // Somebody put an answer in its name into a block.
        of if of == address(0) => Some(wrong_path()),
        _ => None,
    };
    bench
        .witnesses
        .open(suspicion(ACCUSED, 5, CANDIDATES), seen, |_| Some(claim(5)));
    let requests = bench.requests();
    let asked: Vec<Address> = requests.iter().map(|request| request.witness).collect();
    assert_eq!(asked, addresses([0, 1]), "one is missing, and one more");
    bench.answer(&requests[0], right());
    assert_eq!(bench.witnesses.refutations().len(), 1);
}

#[test]
fn a_claim_that_is_refuted_or_over_and_a_witness_that_the_registry_refuses_are_let_go() {
    let mut bench = Bench::new(FACTOR as u64 + 1);
    let requests = bench.requests();
    for request in &requests {
        assert_eq!(bench.answer(request, right()), Heard::Shown);
    }
    let refutation = bench.witnesses.refutations().remove(0);
    bench.witnesses.exclude(&refutation, &address(0));
    let without = bench.witnesses.refutations().remove(0);
    assert!(without.witnesses.iter().all(|(of, _)| *of != address(0)));
    bench
        .witnesses
        .retain(ROUND, |round, node| (round, *node) == (ROUND, address(ACCUSED)));
    assert!(!bench.witnesses.is_empty());
    bench.witnesses.retain(ROUND, |_, _| false);
    assert!(bench.witnesses.is_empty());
    // Once its round is over it would be looked into again, if it were seen again.
    bench.witnesses.retain(ROUND + 1, |_, _| true);
    bench.open(suspicion(ACCUSED, 5, CANDIDATES));
    assert!(!bench.witnesses.is_empty());
}
