//! Channels between the node's threads: crossbeam's, with a name and two prometheus metrics.
//!
//! `<name>_channel_actual_size` is the number of messages that wait, `<name>_channel_total_receive` the number ever
//! received. Both live in prometheus' default registry for as long as the channel has a receiver and is connected.
//!
//! Both ends dereference to crossbeam's ends, so `len`, `iter` and `select!` work as usual; what is sent or received
//! that way is not counted, except that [`MassaReceiver::update_metrics`](receiver::MassaReceiver::update_metrics)
//! catches up on a message taken by `select!`.

mod metrics;
pub mod receiver;
pub mod sender;

use metrics::ChannelMetrics;
use receiver::MassaReceiver;
use sender::MassaSender;

/// Where channels are made.
pub struct MassaChannel;

impl MassaChannel {
    /// A channel that holds at most `capacity` waiting messages, or any number if `None`.
    ///
    /// Two channels of one name both work, but only the first is in the registry.
    ///
    /// # Panics
    /// When `name` cannot begin the name of a metric: it is a constant of the calling code.
    #[allow(clippy::new_ret_no_self)] // Upstream's signature.
    pub fn new<T>(name: String, capacity: Option<usize>) -> (MassaSender<T>, MassaReceiver<T>) {
        let (sender, receiver) = match capacity {
            Some(capacity) => crossbeam_channel::bounded(capacity),
            None => crossbeam_channel::unbounded(),
        };
        let metrics = ChannelMetrics::register(&name);
        (
            MassaSender::new(sender, metrics.waiting().clone()),
            MassaReceiver::new(receiver, metrics),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{
        select, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };
    use std::time::{Duration, Instant};

    /// Longer than any healthy machine needs; reached only when a test fails.
    const DEADLINE: Duration = Duration::from_secs(30);

    fn bounded_to_one(name: &str) -> (MassaSender<u32>, MassaReceiver<u32>) {
        MassaChannel::new(name.into(), Some(1))
    }

    /// The value of a metric in the default registry, if it is there.
    fn metric(name: &str) -> Option<f64> {
        let family = prometheus::gather()
            .into_iter()
            .find(|family| family.get_name() == name)?;
        let metric = &family.get_metric()[0];
        Some(metric.get_gauge().get_value() + metric.get_counter().get_value())
    }

    #[test]
    fn messages_arrive_in_order() {
        let (sender, receiver) = MassaChannel::new("arrives_in_order".into(), None);
        for message in 0..100 {
            sender.send(message).unwrap();
        }
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<u32>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_channel_gives_the_message_back() {
        let (sender, _receiver) = bounded_to_one("full");
        sender.send(1).unwrap();
        let soon = Duration::from_millis(1);

        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(sender.send_timeout(3, soon), Err(SendTimeoutError::Timeout(3)));
        assert_eq!(
            sender.send_deadline(4, Instant::now() + soon),
            Err(SendTimeoutError::Timeout(4))
        );
        assert_eq!(sender.len(), 1);
    }

    #[test]
    fn a_channel_without_receivers_gives_the_message_back() {
        let (sender, receiver) = bounded_to_one("no_receivers");
        drop(receiver);

        assert_eq!(sender.send(1), Err(SendError(1)));
        assert_eq!(sender.try_send(2), Err(TrySendError::Disconnected(2)));
        assert_eq!(sender.send_timeout(3, DEADLINE), Err(SendTimeoutError::Disconnected(3)));
    }

    #[test]
    fn an_empty_channel_says_so() {
        let (_sender, receiver) = bounded_to_one("empty");
        let soon = Duration::from_millis(1);

        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(soon), Err(RecvTimeoutError::Timeout));
        assert_eq!(
            receiver.recv_deadline(Instant::now() + soon),
            Err(RecvTimeoutError::Timeout)
        );
    }

    #[test]
    fn a_channel_without_senders_first_gives_what_is_left() {
        let (sender, receiver) = bounded_to_one("no_senders");
        sender.send(1).unwrap();
        drop(sender);

        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_message_wakes_the_waiting_thread() {
        let (sender, receiver) = bounded_to_one("wakes");
        let waiting = std::thread::spawn(move || receiver.recv_timeout(DEADLINE));
        sender.send(7).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(7));
    }

    #[test]
    fn metrics_follow_what_is_sent_and_received() {
        let (sender, receiver) = MassaChannel::new("metrics_follow".into(), None);
        for message in 0..3 {
            sender.send(message).unwrap();
        }
        assert_eq!(receiver.recv(), Ok(0));

        assert_eq!(metric("metrics_follow_channel_actual_size"), Some(2.0));
        assert_eq!(metric("metrics_follow_channel_total_receive"), Some(1.0));
    }

    #[test]
    fn metrics_do_not_count_a_message_that_was_given_back() {
        let (sender, _receiver) = bounded_to_one("given_back");
        sender.send(1).unwrap();
        sender.try_send(2).unwrap_err();
        assert_eq!(metric("given_back_channel_actual_size"), Some(1.0));
    }

    #[test]
    fn metrics_catch_up_after_select() {
        let (sender, receiver) = bounded_to_one("select");
        sender.send(5).unwrap();
        let received = select! {
            recv(receiver) -> message => message,
            default(DEADLINE) => panic!("nothing arrived"),
        };
        receiver.update_metrics();

        assert_eq!(received, Ok(5));
        assert_eq!(metric("select_channel_actual_size"), Some(0.0));
        assert_eq!(metric("select_channel_total_receive"), Some(1.0));
    }

    #[test]
    fn metrics_leave_the_registry_with_the_last_receiver() {
        let (_sender, receiver) = bounded_to_one("last_receiver");
        let second = receiver.clone();
        drop(receiver);
        assert!(metric("last_receiver_channel_actual_size").is_some());
        drop(second);
        assert_eq!(metric("last_receiver_channel_actual_size"), None);
        assert_eq!(metric("last_receiver_channel_total_receive"), None);
    }

    #[test]
    fn metrics_leave_the_registry_when_disconnection_is_seen() {
        let (sender, receiver) = bounded_to_one("disconnected");
        drop(sender);
        assert!(metric("disconnected_channel_actual_size").is_some());
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(metric("disconnected_channel_actual_size"), None);
    }

    #[test]
    fn a_second_channel_of_the_same_name_leaves_the_metrics_of_the_first_alone() {
        let (sender, _receiver) = bounded_to_one("same_name");
        let (second_sender, second_receiver) = bounded_to_one("same_name");
        sender.send(1).unwrap();
        second_sender.send(2).unwrap();
        assert_eq!(second_receiver.recv(), Ok(2));
        drop(second_receiver);
        assert_eq!(metric("same_name_channel_actual_size"), Some(1.0));
    }

    #[test]
    fn a_name_can_be_used_again_after_its_channel_is_gone() {
        drop(bounded_to_one("again"));
        let (sender, _receiver) = bounded_to_one("again");
        sender.send(1).unwrap();
        assert_eq!(metric("again_channel_actual_size"), Some(1.0));
    }

    #[test]
    #[should_panic(expected = "not a metric name")]
    fn a_name_that_is_no_metric_name_is_a_bug() {
        bounded_to_one("with space");
    }
}
