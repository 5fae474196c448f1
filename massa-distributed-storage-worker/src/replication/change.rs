//! From the holders under one node set to those under another, by the difference between the two.
//!
//! Of each chunk the best of those that count ([`Role::Counts`]) are known: its *row*, with their scores. Whoever counts and is
//! not in the row, an *outsider*, ranks below the last of it. So after a change, those of the row that are still what they
//! were, and those that came or changed, whose scores are computed, are all who can rank above that last one. If they are
//! as many as are needed, they are the new row. If not, a holder left or got worse and its successor is an outsider: then the
//! chunk is ranked in full.
//!
//! This node holds a chunk if it ranks no lower than the last of the row; its rank among the holders is then the number of all
//! candidates above it, since all of those hold. Only for chunks that this node holds are extras ([`Role::Extra`]) looked at.

use super::hashing::PlacingCosts;
use super::ids::Unreadable;
use super::placed_set::{PlacedSet, Role};
use super::ranked::{Ranked, Rounding};
use super::{for_each_hash, Candidate, Contender, HolderSearch};
use massa_distributed_storage_exports::ChunkId;
use std::cmp::Ordering;

/// In [`Change::renumbered`]: no longer what it was.
const GONE: u16 = u16::MAX;

/// This node as a holder of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// Holders that rank above it.
    pub(super) rank: u16,
    /// Its score, rounded.
    pub(super) rounded: u64,
}

/// What is known of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) row: &'a [Ranked],
    pub(super) own: Option<Own>,
}

/// Why the difference does not tell.
pub(super) enum Unknown {
    /// The chunk must be ranked in full.
    RankInFull,
    /// Its id is needed for that, and cannot be had.
    Unreadable,
}

use Unknown::RankInFull;

impl From<Unreadable> for Unknown {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// A chunk: its id where that is needed, and what placing it costs.
pub(super) struct Placing<'a> {
    pub(super) id: &'a mut dyn FnMut() -> Result<ChunkId, Unreadable>,
    pub(super) costs: &'a mut PlacingCosts,
}

/// This node, where it is a candidate under the new set.
#[derive(Debug)]
struct OwnChange {
    node: Contender,
    counts: bool,
    /// Its index under the old set, where it was a candidate with the same weight.
    before: Option<u16>,
}

/// See the module. Serves all segments that have the same two sets and reaches.
#[derive(Debug)]
pub(super) struct Change {
    rounding: Rounding,
    /// There is nothing to go on from, or it would cost more.
    pub(super) in_full: bool,
    has_outsiders: bool,
    /// By index under the old set: the index under the new one, of those that count under both with one weight.
    renumbered: Vec<u16>,
    /// Those that count and did not before, or with another weight.
    pub(super) entered: Vec<Contender>,
    /// Extras under the old set that are no longer, and the reverse; without this node.
    left_extras: Vec<Contender>,
    entered_extras: Vec<Contender>,
    stride: usize,
    search: HolderSearch,
    /// By index under the new set.
    counts: Vec<bool>,
    own: Option<OwnChange>,
}

/// A node set with the reach of a segment.
#[derive(Clone, Copy)]
pub(super) struct Reaching<'a> {
    pub(super) set: &'a PlacedSet,
    pub(super) reach: u64,
}

impl Reaching<'_> {
    fn role(&self, index: usize) -> Role {
        self.set.role(&self.set.rows[index], self.reach)
    }
}

impl Change {
    /// To a segment's holders under `to` from those under `from`, or from nothing.
    pub(super) fn new(from: Option<Reaching<'_>>, to: Reaching<'_>, rounding: Rounding) -> Self {
        let roles = (0..to.set.rows.len()).map(|index| to.role(index));
        let mut change = Self {
            rounding,
            in_full: true,
            has_outsiders: false,
            renumbered: Vec::new(),
            entered: Vec::new(),
            left_extras: Vec::new(),
            entered_extras: Vec::new(),
            stride: to.set.stride(to.reach),
            search: to.set.search(to.reach),
            counts: roles.map(|role| role == Role::Counts).collect(),
            own: None,
        };
        change.own = to.set.own.map(usize::from).and_then(|own| match to.role(own) {
            Role::None => None,
            role => Some(OwnChange {
                node: to.set.contender(own),
                counts: role == Role::Counts,
                before: None,
            }),
        });
        if let Some(from) = from {
            change.compare_sets(from, to);
        }
        change
    }

    fn compare_sets(&mut self, from: Reaching<'_>, to: Reaching<'_>) {
        self.renumbered = vec![GONE; from.set.rows.len()];
        let (mut left, mut right) = (0, 0);
        loop {
            let keys = (from.set.rows.get(left), to.set.rows.get(right));
            let order = match keys {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.key.cmp(&right.key),
            };
            let before = order.is_le().then_some(left);
            let after = order.is_ge().then_some(right);
            self.compare_node(from, before, to, after);
            left += usize::from(order.is_le());
            right += usize::from(order.is_ge());
        }
        let before = from.set.stride(from.reach);
        self.has_outsiders = from.set.counting(from.reach) > before;
        let is_too_few = self.has_outsiders && self.stride > before + self.entered.len();
        self.in_full = is_too_few || self.entered.len() >= to.set.counting(to.reach).max(1);
    }

    /// One node, under the old and the new set.
    fn compare_node(&mut self, from: Reaching<'_>, before: Option<usize>, to: Reaching<'_>, after: Option<usize>) {
        let role_before = before.map_or(Role::None, |index| from.role(index));
        let role_after = after.map_or(Role::None, |index| to.role(index));
        let weight = |set: &PlacedSet, index: Option<usize>| index.map(|index| set.rows[index].weight);
        let same_weight = weight(from.set, before) == weight(to.set, after);
        let was_own = before.is_some() && from.set.own.map(usize::from) == before;
        let is_own = after.is_some() && to.set.own.map(usize::from) == after;
        if let (Some(before), Some(after), true) = (before, after, same_weight) {
            if (role_before, role_after) == (Role::Counts, Role::Counts) {
                self.renumbered[before] = after as u16;
            }
            if was_own && is_own && role_before != Role::None {
                self.own.iter_mut().for_each(|own| own.before = Some(before as u16));
            }
        }
        let is_same = role_before == role_after && same_weight;
        match after {
            Some(after) if role_after == Role::Counts && !is_same => self.entered.push(to.set.contender(after)),
            Some(after) if role_after == Role::Extra && !is_own && !is_same => {
                self.entered_extras.push(to.set.contender(after));
            }
            _ => {}
        }
        match before {
            Some(before) if role_before == Role::Extra && !was_own && !is_same => {
                self.left_extras.push(from.set.contender(before));
            }
            _ => {}
        }
    }

    /// Holders by the difference: writes the new row. `hashes` are those of [`Change::entered`] with the chunk.
    pub(super) fn apply(
        &self,
        known: Known<'_>,
        hashes: impl Iterator<Item = u64>,
        row: &mut Vec<Ranked>,
    ) -> Result<(), Unknown> {
        row.clear();
        let stays = |old: &Ranked| match self.renumbered[usize::from(old.index())] {
            GONE => None,
            index => Some(old.with_index(index)),
        };
        row.extend(known.row.iter().filter_map(stays));
        let limit = known.row.last().filter(|_| self.has_outsiders);
        let limit_rounded = limit.map(|limit| limit.rounded());
        // The same node under the new set, if it is still what it was.
        let limit_now = limit.and_then(stays);
        for (node, h) in self.entered.iter().zip(hashes) {
            let Some(node) = self.rounding.at_most(limit_rounded, h, node) else {
                continue;
            };
            if limit_rounded == Some(node.rounded()) {
                // Outsiders may round to the same: only who surely ranks above the old last one ranks above all of them.
                match self.rounding.compare(node, limit_now.ok_or(RankInFull)?) {
                    Some(Ordering::Greater) => continue,
                    Some(_) => {}
                    None => return Err(RankInFull),
                }
            }
            let at = self.count_above(row, node)?;
            row.insert(at, node);
        }
        if row.len() < self.stride {
            return Err(RankInFull);
        }
        row.truncate(self.stride);
        Ok(())
    }

    /// How many of a row rank above a node, which may be one of them.
    fn count_above(&self, row: &[Ranked], node: Ranked) -> Result<usize, Unknown> {
        // A row is in order also where two scores round alike.
        if let Some(at) = row.iter().position(|other| other.index() == node.index()) {
            return Ok(at);
        }
        for (at, other) in row.iter().enumerate() {
            match self.rounding.compare(*other, node) {
                Some(Ordering::Less) => {}
                Some(_) => return Ok(at),
                None => return Err(RankInFull),
            }
        }
        Ok(row.len())
    }

    /// Whether this node holds a chunk whose new row [`Change::apply`] wrote, and its rank then.
    ///
    /// Where it is a holder that it was before with the same weight, costs a hash for each extra that came or left. Where it
    /// became one, for each extra. Where it is an extra itself that came or changed, one for itself.
    pub(super) fn own_after(
        &self,
        known: Known<'_>,
        row: &[Ranked],
        chunk: &mut Placing<'_>,
    ) -> Result<Option<Own>, Unknown> {
        let Some(own) = &self.own else { return Ok(None) };
        let found = if own.counts {
            row.iter().copied().find(|ranked| ranked.index() == own.node.index)
        } else {
            self.own_extra(own, known, row, chunk)?
        };
        let Some(found) = found else { return Ok(None) };
        let above = self.count_above(row, found)?;
        let extras = match (own.before, known.own) {
            (Some(before), Some(known_own)) => {
                let was = Ranked::new(known_own.rounded, before);
                let known_above =
                    self.count_above(known.row, was)? + self.count_better(&self.left_extras, was, chunk)?;
                let stayed = usize::from(known_own.rank).checked_sub(known_above).ok_or(RankInFull)?;
                stayed + self.count_better(&self.entered_extras, found, chunk)?
            }
            _ if self.everybody_counts() => 0,
            _ => self.count_better(&self.search.unfilled, found, chunk)?,
        };
        Ok(Some(Own {
            rank: (above + extras) as u16,
            rounded: found.rounded(),
        }))
    }

    fn everybody_counts(&self) -> bool {
        self.search.filled.len() < self.search.replication_factor
    }

    /// This node as an extra, if it ranks above the last of the row.
    fn own_extra(
        &self,
        own: &OwnChange,
        known: Known<'_>,
        row: &[Ranked],
        chunk: &mut Placing<'_>,
    ) -> Result<Option<Ranked>, Unknown> {
        let (Some(last), last_before) = (row.last(), known.row.last()) else {
            return Ok(None);
        };
        let got_no_worse = last_before.is_some_and(|before| last.rounded() < before.rounded());
        let ranked = match (own.before, known.own) {
            (Some(_), Some(known_own)) => Some(Ranked::new(known_own.rounded, own.node.index)),
            // It ranked below the last of the holders, and that one did not get worse.
            (Some(_), None) if got_no_worse || self.is_still_last(known.row, *last) => None,
            _ => {
                let mut found = None;
                chunk.costs.hashes += 1;
                for_each_hash(&(chunk.id)()?, std::slice::from_ref(&own.node), |h, node| {
                    found = self.rounding.at_most(Some(last.rounded()), h, node);
                });
                found
            }
        };
        let Some(ranked) = ranked else { return Ok(None) };
        match self.rounding.compare(ranked, *last) {
            Some(order) => Ok(order.is_lt().then_some(ranked)),
            None => Err(RankInFull),
        }
    }

    fn is_still_last(&self, row_before: &[Ranked], last: Ranked) -> bool {
        let before = row_before.last();
        before.is_some_and(|before| {
            self.renumbered[usize::from(before.index())] == last.index() && before.rounded() == last.rounded()
        })
    }

    /// How many of these rank above a node of their set.
    fn count_better(&self, nodes: &[Contender], than: Ranked, chunk: &mut Placing<'_>) -> Result<usize, Unknown> {
        if nodes.is_empty() {
            return Ok(0);
        }
        let (mut better, mut unsure) = (0, false);
        chunk.costs.hashes += nodes.len() as u64;
        for_each_hash(&(chunk.id)()?, nodes, |h, node| {
            let near = self.rounding.at_most(Some(than.rounded()), h, node);
            match near.map(|node| self.rounding.compare(node, than)) {
                Some(Some(Ordering::Less)) => better += 1,
                Some(None) => unsure = true,
                _ => {}
            }
        });
        if unsure {
            return Err(RankInFull);
        }
        Ok(better)
    }

    /// Holders from the scores of all candidates: writes the row, returns this node if it is among them.
    pub(super) fn rank_in_full(&self, chunk: &ChunkId, row: &mut Vec<Ranked>, costs: &mut PlacingCosts) -> Option<Own> {
        let mut best: Vec<Candidate> = Vec::new();
        self.search.find(chunk, |_| false, &mut best);
        costs.hashes += (self.search.filled.len() + self.search.unfilled.len()) as u64;
        costs.ranked_in_full += 1;
        let rounded = |candidate: &Candidate| self.rounding.round(candidate.score);
        let counting = best.iter().filter(|candidate| self.counts[candidate.index()]);
        row.clear();
        row.extend(counting.map(|candidate| Ranked::new(rounded(candidate), candidate.index)));
        let own = self.own.as_ref()?.node.index;
        let rank = best.iter().position(|candidate| candidate.index == own)?;
        Some(Own {
            rank: rank as u16,
            rounded: rounded(&best[rank]),
        })
    }
}
