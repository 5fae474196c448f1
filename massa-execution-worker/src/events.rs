//! Events of the last final slots.

use massa_execution_exports::FilteredEvents;
use massa_models::execution::EventFilter;
use massa_models::output_event::SCOutputEvent;
use std::collections::VecDeque;

/// Events of final slots that are kept: each has at most a kilobyte and a call stack.
const FINAL_EVENTS_MAX: usize = 20_000;

/// Events that one question gets.
const ANSWER_EVENTS_MAX: usize = 7_000;

/// Events of final slots, oldest first. After a restart there are none.
#[derive(Default)]
pub(crate) struct FinalEvents {
    events: VecDeque<SCOutputEvent>,
}

impl FinalEvents {
    /// Adds the events of the next final slot.
    pub(crate) fn push(&mut self, events: &[SCOutputEvent]) {
        for event in events {
            let mut event = event.clone();
            event.context.is_final = true;
            self.events.push_back(event);
        }
        while self.events.len() > FINAL_EVENTS_MAX {
            self.events.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &SCOutputEvent> {
        self.events.iter()
    }
}

/// The newest events that pass a filter, while `keep` agrees. `events` begin with the oldest.
pub(crate) fn newest<'a>(
    filter: &EventFilter,
    events: impl DoubleEndedIterator<Item = &'a SCOutputEvent>,
    keep: &mut dyn FnMut(&SCOutputEvent) -> bool,
) -> FilteredEvents {
    let mut found = FilteredEvents::default();
    for event in events.rev().filter(|event| passes(filter, event)) {
        if found.events.len() == ANSWER_EVENTS_MAX || !keep(event) {
            found.cut = true;
            break;
        }
        found.events.push(event.clone());
    }
    found.events.reverse();
    found
}

fn passes(filter: &EventFilter, event: &SCOutputEvent) -> bool {
    let context = &event.context;
    let stack = &context.call_stack;
    filter.start.is_none_or(|start| context.slot >= start)
        && filter.end.is_none_or(|end| context.slot < end)
        && is(&filter.emitter_address, stack.back())
        && is(&filter.original_caller_address, stack.front())
        && is(&filter.original_operation_id, context.origin_operation_id.as_ref())
        && is(&filter.is_final, Some(&context.is_final))
        && is(&filter.is_error, Some(&context.is_error))
}

/// Whether a value is the wanted one, if one is wanted.
fn is<T: PartialEq>(wanted: &Option<T>, value: Option<&T>) -> bool {
    wanted.is_none() || wanted.as_ref() == value
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::output_event::EventExecutionContext;
    use massa_models::slot::Slot;

    fn events(count: u64) -> Vec<SCOutputEvent> {
        let event = |index| SCOutputEvent {
            context: EventExecutionContext {
                slot: Slot::new(index, 0),
                block: None,
                read_only: false,
                index_in_slot: 0,
                call_stack: VecDeque::new(),
                origin_operation_id: None,
                is_final: false,
                is_error: false,
                deferred_call_id: None,
                async_msg_id: None,
            },
            data: String::new(),
        };
        (0..count).map(event).collect()
    }

    fn periods(found: &FilteredEvents) -> (u64, u64) {
        let period = |event: Option<&SCOutputEvent>| event.unwrap().context.slot.period;
        (period(found.events.first()), period(found.events.last()))
    }

    #[test]
    fn of_too_many_events_the_newest_are_told_in_their_order_and_that_some_are_left_out() {
        let all = events(ANSWER_EVENTS_MAX as u64 + 3);
        let found = newest(&EventFilter::default(), all.iter(), &mut |_| true);
        assert!(found.cut);
        assert_eq!((found.events.len(), periods(&found)), (ANSWER_EVENTS_MAX, (3, 7_002)));

        let found = newest(&EventFilter::default(), all[3..].iter(), &mut |_| true);
        assert!(!found.cut, "all of them are told");
        assert_eq!(periods(&found), (3, 7_002));
    }

    #[test]
    fn who_asks_may_stop_before() {
        let (all, mut left) = (events(10), 4);
        let mut keep = |_: &SCOutputEvent| {
            left -= 1;
            left >= 0
        };
        let found = newest(&EventFilter::default(), all.iter(), &mut keep);
        assert!(found.cut);
        assert_eq!(periods(&found), (6, 9));
    }
}
