//! What providers say of ids, and what is to be believed of it. Pure.

use super::Found;
use crate::serve::proofs::Evidence;
use massa_distributed_storage_exports::network::{LocateId, Located};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Answers of providers for a batch of ids.
pub struct Votes {
    ids: Vec<LocateId>,
    answers: Vec<(NodeId, Vec<Option<Located>>)>,
    asked: usize,
}

/// What is to be believed.
#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    /// One for each id.
    pub found: Vec<Found>,
    /// Who named a slot that does not have the block, and what.
    pub liars: Vec<(NodeId, String)>,
}

/// What an entry says of a claim.
enum Verdict {
    True,
    False,
    /// No entry of the period is known: nothing is said of it.
    Open,
}

impl Votes {
    /// Nobody answered yet.
    pub fn new(ids: Vec<LocateId>) -> Self {
        Self {
            ids,
            answers: Vec::new(),
            asked: 0,
        }
    }

    /// A provider answered.
    pub fn add(&mut self, from: NodeId, located: &[Option<Located>]) {
        let mut located: Vec<_> = located.iter().copied().take(self.ids.len()).collect();
        located.resize(self.ids.len(), None);
        self.answers.push((from, located));
    }

    /// How many were asked.
    pub fn set_asked(&mut self, asked: usize) {
        self.asked = asked;
    }

    /// Periods whose entries tell which claims are true. Slots that the chain cannot have are left out.
    pub fn periods(&self, parameters: &ArchiveParameters) -> BTreeSet<u64> {
        let claims = self.answers.iter().flat_map(|(_, located)| located).flatten();
        let possible = claims.filter(|claim| {
            claim.slot.thread < parameters.thread_count && claim.slot.period >= parameters.first_period
        });
        possible.map(|claim| claim.slot.period).collect()
    }

    /// Compares every claim with the entry of its period. An id is unknown to those who say so; a claim that is false, or that
    /// nothing is known of, says nothing.
    pub fn judge(&self, entries: &BTreeMap<u64, Evidence>) -> Judged {
        let mut judged = Judged {
            found: Vec::with_capacity(self.ids.len()),
            liars: Vec::new(),
        };
        for (index, id) in self.ids.iter().enumerate() {
            let (mut unknown_to, mut believed) = (0, None);
            for (node, located) in &self.answers {
                let Some(claim) = located[index] else {
                    unknown_to += 1;
                    continue;
                };
                match verdict(id, claim, entries) {
                    Verdict::True if believed.is_none() => believed = Some((*node, claim)),
                    Verdict::True | Verdict::Open => {}
                    Verdict::False => judged
                        .liars
                        .push((*node, format!("{id:?} is not in slot {}", claim.slot))),
                }
            }
            judged.found.push(match believed {
                Some((node, located)) => Found::At {
                    located,
                    by: Some(Box::new(node)),
                },
                None if unknown_to > 0 => Found::UnknownTo(unknown_to),
                None => Found::Unanswered(self.asked),
            });
        }
        judged
    }
}

fn verdict(id: &LocateId, claim: Located, entries: &BTreeMap<u64, Evidence>) -> Verdict {
    let Some(evidence) = entries.get(&claim.slot.period) else {
        return Verdict::Open;
    };
    let block = evidence.entry.ids().nth(usize::from(claim.slot.thread)).flatten();
    let is_true = match id {
        LocateId::Block(id) => block == Some(*id),
        // Which operations a block has, the block tells; that there is one is seen here.
        LocateId::Operation(_) => block.is_some() && !evidence.entry.is_lost(),
    };
    if is_true {
        Verdict::True
    } else {
        Verdict::False
    }
}
