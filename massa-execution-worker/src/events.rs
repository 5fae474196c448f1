//! Events of the last final slots.

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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SCOutputEvent> {
        self.events.iter()
    }
}

/// The first events that pass a filter.
pub(crate) fn filtered<'a>(
    filter: &EventFilter,
    events: impl Iterator<Item = &'a SCOutputEvent>,
) -> Vec<SCOutputEvent> {
    let passing = events.filter(|event| passes(filter, event));
    passing.take(ANSWER_EVENTS_MAX).cloned().collect()
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
