//! Ids that nobody knew a short while ago.

use massa_distributed_storage_exports::network::LocateId;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Ids that are remembered: 400 kB.
const IDS_MAX: usize = 4096;
/// How long: a block is in the indexes of others about so long after it was made.
const SPAN: Duration = Duration::from_secs(10);

struct Unknown {
    providers: usize,
    since: Instant,
}

/// Remembers ids that nobody knew, so that asking again and again costs nothing. The oldest one makes room.
#[derive(Default)]
pub struct UnknownIds {
    ids: HashMap<LocateId, Unknown>,
    order: VecDeque<(LocateId, Instant)>,
}

impl UnknownIds {
    /// So many providers said at `now` that they do not know `id`.
    pub fn note(&mut self, id: LocateId, providers: usize, now: Instant) {
        self.forget_before(now);
        self.ids.insert(id, Unknown { providers, since: now });
        self.order.push_back((id, now));
        while self.order.len() > IDS_MAX {
            self.forget_oldest();
        }
    }

    /// How many providers did not know it a short while before `now`; `None` if it is not remembered.
    pub fn get(&self, id: &LocateId, now: Instant) -> Option<usize> {
        let unknown = self.ids.get(id)?;
        (now.duration_since(unknown.since) < SPAN).then_some(unknown.providers)
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn forget_before(&mut self, now: Instant) {
        while let Some((_, since)) = self.order.front() {
            if now.duration_since(*since) < SPAN {
                break;
            }
            self.forget_oldest();
        }
    }

    /// Unless it was noted again since.
    fn forget_oldest(&mut self) {
        let Some((id, since)) = self.order.pop_front() else {
            return;
        };
        if self.ids.get(&id).is_some_and(|unknown| unknown.since == since) {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::block_id::BlockId;
    use massa_models::secure_share::Id;

    fn id(number: usize) -> LocateId {
        let hash = massa_hash::Hash::compute_from(&number.to_le_bytes());
        LocateId::Block(BlockId::new(hash))
    }

    #[test]
    fn an_unknown_id_is_remembered_for_a_short_while() {
        let start = Instant::now();
        let mut unknown = UnknownIds::default();
        unknown.note(id(1), 2, start);
        assert_eq!(unknown.get(&id(1), start + SPAN - Duration::from_millis(1)), Some(2));
        assert_eq!(unknown.get(&id(1), start + SPAN), None);
        assert_eq!(unknown.get(&id(2), start), None);

        unknown.note(id(1), 1, start + SPAN / 2);
        unknown.note(id(2), 1, start + SPAN);
        assert_eq!(unknown.get(&id(1), start + SPAN), Some(1), "noted again");
        assert_eq!(unknown.len(), 2);
    }

    #[test]
    fn no_more_than_a_fixed_number_of_ids_is_remembered() {
        let start = Instant::now();
        let mut unknown = UnknownIds::default();
        (0..IDS_MAX + 10).for_each(|number| unknown.note(id(number), 1, start));
        assert_eq!(unknown.len(), IDS_MAX);
        assert_eq!(unknown.get(&id(9), start), None, "the oldest went");
        assert_eq!(unknown.get(&id(10), start), Some(1));
        unknown.note(id(0), 1, start + SPAN);
        assert_eq!(unknown.len(), 1, "what expired is gone");
    }
}
