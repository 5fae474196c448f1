//! Settings that are refused, and what happens when an address is taken.

mod common;

use common::{TestConsensus, TestPool};
use massa_consensus_exports::ConsensusController;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{ProtocolConfig, ProtocolController, ProtocolError};
use massa_protocol_worker::{create_protocol_controller, start_protocol_controller};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use std::net::TcpListener;

fn start(config: ProtocolConfig) -> (Box<dyn ProtocolController>, Result<(), ProtocolError>) {
    let (protocol, channels) = create_protocol_controller(config.clone());
    let started = start_protocol_controller(
        config,
        KeyPair::generate(0).unwrap(),
        Box::new(common::OneProducer),
        TestConsensus::default().clone_box(),
        TestPool::default().clone_box(),
        Storage::create_root(),
        channels,
        None,
        None,
    );
    (protocol, started.map(|mut manager| manager.stop()))
}

#[test]
fn a_setting_that_cannot_work_is_refused_by_name() {
    let zero = MassaTime::from_millis(0);
    let good = common::config();
    let cases = [
        (
            "message_timeout",
            ProtocolConfig {
                message_timeout: zero,
                ..good.clone()
            },
        ),
        (
            "timeout_connection",
            ProtocolConfig {
                timeout_connection: zero,
                ..good.clone()
            },
        ),
        (
            "try_connection_timer",
            ProtocolConfig {
                try_connection_timer: zero,
                ..good.clone()
            },
        ),
        (
            "ask_block_timeout",
            ProtocolConfig {
                ask_block_timeout: zero,
                ..good.clone()
            },
        ),
        (
            "block_propagation_tick",
            ProtocolConfig {
                block_propagation_tick: zero,
                ..good.clone()
            },
        ),
        (
            "operation_announcement_interval",
            ProtocolConfig {
                operation_announcement_interval: zero,
                ..good.clone()
            },
        ),
        (
            "max_message_size",
            ProtocolConfig {
                max_message_size: 0,
                ..good.clone()
            },
        ),
        (
            "send_data_channel_size",
            ProtocolConfig {
                send_data_channel_size: 0,
                ..good.clone()
            },
        ),
        (
            "max_known_blocks_size",
            ProtocolConfig {
                max_known_blocks_size: 0,
                ..good.clone()
            },
        ),
        (
            "rate_limit",
            ProtocolConfig {
                rate_limit: 0,
                ..good.clone()
            },
        ),
        (
            "storage_enabled",
            ProtocolConfig {
                storage_enabled: true,
                ..good.clone()
            },
        ),
    ];
    for (name, config) in cases {
        let Err(ProtocolError::InvalidConfig(reason)) = start(config).1 else {
            panic!("{name} should be refused");
        };
        assert!(reason.contains(name), "{reason}");
    }
    start(good).1.unwrap();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listeners = vec![address];
    let config = ProtocolConfig {
        listeners,
        ..common::config()
    };
    let Err(error) = start(config).1 else {
        panic!("the address is taken");
    };
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_controller_of_a_stopped_protocol_says_so() {
    let (mut protocol, started) = start(common::config());
    started.unwrap();
    assert!(matches!(
        protocol.ban_peers(Vec::new()),
        Err(ProtocolError::ChannelError(_))
    ));
    assert!(matches!(protocol.get_stats(), Err(ProtocolError::ChannelError(_))));
    protocol.stop();
    assert!(matches!(
        protocol.unban_peers(Vec::new()),
        Err(ProtocolError::ChannelError(_))
    ));
}
