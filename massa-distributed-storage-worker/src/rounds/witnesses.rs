//! Who shows that a chunk is theirs, which another node claims without being assigned it.
//!
//! A refutation shows the ways of R nodes from the chunk to their own claims. Few of them are seen in answers to draws, so the nodes
//! that score lower are asked: those with the lowest scores first, since these are assigned the chunk, a few more at a time than are
//! missing. Who is silent is asked again later, who does not claim the chunk is not, and who shows a way to something else than
//! its claim in the registry is at fault. Every request has a deadline, and what is asked at a time is bounded.
//!
//! Pure: the caller asks and hands in what came of it, says what time it is, and orders the refutations.

use crate::challenge::refutation::Refutation;
use crate::challenge::segment_answer::SegmentAnswer;
use crate::challenge::sums::{Claim, SumPath};
use massa_distributed_storage_exports::{ChunkIndex, ChunkPosition};
use massa_models::address::Address;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Requests under way at a time, in all.
pub const REQUESTS_MAX: usize = 16;
/// Nodes that are asked at a time for one chunk beyond those that are missing: one that is silent holds nothing up.
const SPARE: usize = 1;
/// How long an answer is waited for. The storage handler dials, asks and asks again within it.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node that was silent once is left alone; twice as long each time after.
pub const RETRY_PAUSE: Duration = Duration::from_secs(15);
/// Times that a node is asked for one chunk: over half an hour, which is less than a claim can be refuted for.
pub const ATTEMPTS_MAX: u32 = 8;
/// How long a request waits that this node could not make.
pub const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// Claimed chunks of one node and round that are looked into: its witnesses may be away for one and not for another.
const CASES_OF_CLAIM: usize = 4;

/// A claimed chunk that, by scores, others were assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Who claims it.
    pub node: Address,
    /// For which round.
    pub round: u64,
    /// The chunk, without a leaf; shown to be in the claim.
    pub exhibit: SegmentAnswer,
    /// R: how many must show that they claim it.
    pub witnesses: usize,
    /// Who may, the lowest score first.
    pub candidates: Vec<Address>,
}

/// A request for the way from a chunk to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRequest {
    /// Comes back with the answer.
    pub id: u64,
    /// Who is asked.
    pub witness: Address,
    /// The round that was claimed.
    pub round: u64,
    /// Where the chunk stands.
    pub position: ChunkPosition,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathAnswer {
    /// The way, unchecked.
    Path(SumPath),
    /// The node does not claim the chunk, or does not keep that claim.
    NotClaimed,
    /// It did not answer, or does not know yet.
    Silent,
    /// This node has too much to do, or no network yet: it was not asked.
    NotAsked,
}

/// What an answer was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The node claims the chunk.
    Shown,
    /// The way does not lead to the node's claim: it is at fault.
    Wrong,
    /// Nothing that counts.
    Nothing,
}

#[derive(Clone, Debug)]
enum State {
    /// To be asked, once this time has come.
    Waits(Option<Instant>),
    Asked {
        id: u64,
        deadline: Instant,
    },
    Shown(SumPath),
    /// Not asked any more.
    Out,
}

#[derive(Clone, Debug)]
struct Candidate {
    witness: Address,
    attempts: u32,
    state: State,
}

impl Candidate {
    fn on_answer(
        &mut self,
        answer: PathAnswer,
        exhibit: &SegmentAnswer,
        claim: impl Fn(&Address) -> Option<Claim>,
        now: Instant,
    ) -> Heard {
        match (answer, claim(&self.witness)) {
            (PathAnswer::Silent, _) => self.on_silence(now),
            (PathAnswer::NotAsked, _) => self.state = State::Waits(Some(now + BUSY_PAUSE)),
            // Without a record any more there is nothing that its way could be wrong for.
            (PathAnswer::NotClaimed, _) | (PathAnswer::Path(_), None) => self.state = State::Out,
            (PathAnswer::Path(path), Some(claim)) => {
                let is_way = is_way(exhibit, &claim, &path);
                self.state = if is_way { State::Shown(path) } else { State::Out };
                return [Heard::Wrong, Heard::Shown][usize::from(is_way)];
            }
        }
        Heard::Nothing
    }

    fn on_silence(&mut self, now: Instant) {
        let pause = RETRY_PAUSE * (1 << self.attempts);
        self.attempts += 1;
        self.state = if self.attempts < ATTEMPTS_MAX {
            State::Waits(Some(now + pause))
        } else {
            State::Out
        };
    }
}

const FIRST_POSITION: ChunkPosition = ChunkPosition {
    segment: 0,
    index: ChunkIndex(0),
};

/// Round, node and position of a claimed chunk.
type Key = (u64, Address, ChunkPosition);

#[derive(Clone, Debug)]
struct Case {
    exhibit: SegmentAnswer,
    needed: usize,
    candidates: Vec<Candidate>,
}

impl Case {
    fn count(&self, is_so: impl Fn(&State) -> bool) -> usize {
        self.candidates.iter().filter(|of| is_so(&of.state)).count()
    }

    fn shown(&self) -> usize {
        self.count(|state| matches!(state, State::Shown(_)))
    }

    fn asked(&self) -> usize {
        self.count(|state| matches!(state, State::Asked { .. }))
    }

    /// Too few are left that may show it.
    fn is_hopeless(&self) -> bool {
        self.count(|state| !matches!(state, State::Out)) < self.needed
    }

    /// Who is asked next, if somebody is.
    fn next(&mut self, now: Instant) -> Option<&mut Candidate> {
        let shown = self.shown();
        if shown >= self.needed || shown + self.asked() >= self.needed + SPARE {
            return None;
        }
        let is_due = |state: &State| matches!(state, State::Waits(from) if from.map_or(true, |from| now >= from));
        self.candidates.iter_mut().find(|candidate| is_due(&candidate.state))
    }

    /// The refutation, once enough are shown: those with the lowest scores, as the registry wants them ordered.
    fn refutation(&self, (round, node, _): &Key) -> Option<Refutation> {
        let shown = self.candidates.iter().filter_map(|candidate| match &candidate.state {
            State::Shown(path) => Some((candidate.witness.to_string(), (candidate.witness, path.clone()))),
            _ => None,
        });
        let mut witnesses: Vec<_> = shown.take(self.needed).collect();
        if witnesses.len() < self.needed {
            return None;
        }
        witnesses.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Some(Refutation {
            node: *node,
            round: *round,
            exhibit: self.exhibit.clone(),
            witnesses: witnesses.into_iter().map(|(_, witness)| witness).collect(),
        })
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Witnesses {
    cases: BTreeMap<Key, Case>,
    /// Everything that was looked into, so that it is not again.
    known: BTreeSet<Key>,
    next_id: u64,
}

impl Witnesses {
    /// Looks into a suspicion, unless it was, or enough of the same claim are. `seen` gives ways that were seen in answers of others;
    /// `claim` what a node claimed for the round.
    pub fn open(
        &mut self,
        suspicion: Suspicion,
        seen: impl Fn(&Address) -> Option<SumPath>,
        claim: impl Fn(&Address) -> Option<Claim>,
    ) {
        let key = (suspicion.round, suspicion.node, suspicion.exhibit.position);
        let of_claim = self.known.range((key.0, key.1, FIRST_POSITION)..);
        let of_claim = of_claim.take_while(|known| (known.0, known.1) == (key.0, key.1));
        if self.known.contains(&key) || of_claim.count() >= CASES_OF_CLAIM {
            return;
        }
        self.known.insert(key);
        let exhibit = suspicion.exhibit;
        let candidates = suspicion.candidates.into_iter().map(|witness| {
            // Anybody can put an answer in a node's name into a block: nobody is to blame if it is wrong.
            let path =
                seen(&witness).filter(|path| claim(&witness).is_some_and(|claim| is_way(&exhibit, &claim, path)));
            Candidate {
                witness,
                attempts: 0,
                state: path.map_or(State::Waits(None), State::Shown),
            }
        });
        let case = Case {
            candidates: candidates.collect(),
            exhibit,
            needed: suspicion.witnesses,
        };
        if !case.is_hopeless() {
            self.cases.insert(key, case);
        }
    }

    /// Whom to ask now, for what can still be refuted in time.
    pub fn requests(&mut self, now: Instant, is_in_time: impl Fn(u64) -> bool) -> Vec<PathRequest> {
        self.expire(now);
        let mut under_way: usize = self.cases.values().map(Case::asked).sum();
        let mut requests = Vec::new();
        for ((round, _, position), case) in &mut self.cases {
            if !is_in_time(*round) {
                continue;
            }
            while under_way < REQUESTS_MAX {
                let Some(candidate) = case.next(now) else { break };
                let id = self.next_id;
                self.next_id += 1;
                under_way += 1;
                candidate.state = State::Asked {
                    id,
                    deadline: now + REQUEST_TIMEOUT,
                };
                requests.push(PathRequest {
                    id,
                    witness: candidate.witness,
                    round: *round,
                    position: *position,
                });
            }
        }
        requests
    }

    /// What came of a request. One that is over, or was never made, tells nothing.
    pub fn on_answer(
        &mut self,
        id: u64,
        answer: PathAnswer,
        claim: impl Fn(&Address, u64) -> Option<Claim>,
        now: Instant,
    ) -> Heard {
        let asked = |state: &State| matches!(state, State::Asked { id: of, .. } if *of == id);
        for ((round, ..), case) in &mut self.cases {
            let Some(candidate) = case.candidates.iter_mut().find(|of| asked(&of.state)) else {
                continue;
            };
            let heard = candidate.on_answer(answer, &case.exhibit, |witness| claim(witness, *round), now);
            self.drop_hopeless();
            return heard;
        }
        Heard::Nothing
    }

    /// Who did not answer by the deadline was silent.
    fn expire(&mut self, now: Instant) {
        for candidate in self.cases.values_mut().flat_map(|case| &mut case.candidates) {
            if matches!(candidate.state, State::Asked { deadline, .. } if now >= deadline) {
                candidate.on_silence(now);
            }
        }
        self.drop_hopeless();
    }

    fn drop_hopeless(&mut self) {
        self.cases.retain(|_, case| !case.is_hopeless());
    }

    /// What can be shown to the registry.
    pub fn refutations(&self) -> Vec<Refutation> {
        let all = self.cases.iter();
        all.filter_map(|(key, case)| case.refutation(key)).collect()
    }

    /// The registry would refuse this witness against that chunk.
    pub fn exclude(&mut self, refutation: &Refutation, witness: &Address) {
        if let Some(case) = self.cases.get_mut(&key_of(refutation)) {
            let of_witness = case.candidates.iter_mut().filter(|of| of.witness == *witness);
            of_witness.for_each(|candidate| candidate.state = State::Out);
        }
        self.drop_hopeless();
    }

    /// Looks no further into what a refutation is of.
    pub fn close(&mut self, refutation: &Refutation) {
        self.cases.remove(&key_of(refutation));
    }

    /// Looks no further into claims that cannot be refuted any more, and forgets those of rounds before `oldest`.
    pub fn retain(&mut self, oldest: u64, is_open: impl Fn(u64, &Address) -> bool) {
        self.known.retain(|(round, ..)| *round >= oldest);
        self.cases
            .retain(|(round, node, _), _| *round >= oldest && is_open(*round, node));
    }

    /// Whether nothing is looked into.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }
}

fn key_of(refutation: &Refutation) -> Key {
    (refutation.round, refutation.node, refutation.exhibit.position)
}

/// Whether `path` leads from the chunk to `claim`.
fn is_way(exhibit: &SegmentAnswer, claim: &Claim, path: &SumPath) -> bool {
    claim.has(exhibit.position, (exhibit.chunk.leaf_count(), &exhibit.chunk.id), path)
}
