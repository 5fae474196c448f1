//! Every message survives a round trip; truncated or random bytes never panic.

mod common;

use common::{block, operation, sized_operation};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::operation::{OperationId, OperationPrefixId};
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use massa_protocol_worker::handlers::block_handler::{
    AskForBlockInfo, BlockInfoReply, BlockMessage, BlockMessageDeserializer, BlockMessageDeserializerArgs,
    BlockMessageSerializer,
};
use massa_protocol_worker::handlers::operation_handler::{
    OperationMessage, OperationMessageDeserializer, OperationMessageDeserializerArgs, OperationMessageSerializer,
};
use massa_protocol_worker::handlers::peer_handler::announcement::{
    Announcement, AnnouncementDeserializer, AnnouncementSerializer,
};
use massa_protocol_worker::handlers::peer_handler::{
    PeerManagementMessage, PeerManagementMessageDeserializer, PeerManagementMessageDeserializerArgs,
    PeerManagementMessageSerializer,
};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use massa_signature::KeyPair;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

/// Writes, reads back, writes again: the same bytes. Every shorter input is an error.
fn check<T: Debug>(serializer: &impl Serializer<T>, deserializer: &impl Deserializer<T>, value: &T) {
    let mut bytes = Vec::new();
    serializer.serialize(value, &mut bytes).unwrap();
    let (rest, read) = deserializer.deserialize::<DeserializeError>(&bytes).unwrap();
    assert!(rest.is_empty());
    let mut again = Vec::new();
    serializer.serialize(&read, &mut again).unwrap();
    assert_eq!(bytes, again);
    let step = (bytes.len() / 300).max(1);
    for length in (0..bytes.len()).step_by(step) {
        assert!(
            deserializer.deserialize::<DeserializeError>(&bytes[..length]).is_err(),
            "{length} bytes"
        );
    }
}

fn config() -> ProtocolConfig {
    ProtocolConfig {
        max_operations_per_message: 50,
        max_operations_per_block: 50,
        max_size_listeners_per_peer: 8,
        max_size_peers_announcement: 10,
        ..common::config()
    }
}

fn block_deserializer() -> BlockMessageDeserializer {
    BlockMessageDeserializer::new(BlockMessageDeserializerArgs::from(&config()))
}

fn operation_deserializer() -> OperationMessageDeserializer {
    OperationMessageDeserializer::new(OperationMessageDeserializerArgs::from(&config()))
}

fn peer_deserializer() -> PeerManagementMessageDeserializer {
    PeerManagementMessageDeserializer::new(PeerManagementMessageDeserializerArgs::from(&config()))
}

fn block_id() -> impl Strategy<Value = BlockId> {
    any::<[u8; 32]>().prop_map(|bytes| BlockId::new(Hash::from_bytes(&bytes)))
}

fn operation_ids(max: usize) -> impl Strategy<Value = Vec<OperationId>> {
    vec(
        any::<[u8; 32]>().prop_map(|bytes| OperationId::new(Hash::from_bytes(&bytes))),
        0..=max,
    )
}

fn operations() -> impl Strategy<Value = Vec<massa_models::operation::SecureShareOperation>> {
    vec(
        (any::<u64>(), 0usize..100).prop_map(|(number, bytes)| sized_operation(number, bytes)),
        0..5,
    )
}

fn block_message() -> impl Strategy<Value = BlockMessage> {
    let header = || {
        (1u64..1_000, 0..common::THREADS)
            .prop_map(|(period, thread)| Box::new(block(Slot::new(period, thread), &[]).content.header))
    };
    let ask = prop_oneof![
        Just(AskForBlockInfo::Header),
        Just(AskForBlockInfo::OperationIds),
        operation_ids(50).prop_map(AskForBlockInfo::Operations),
    ];
    let reply = prop_oneof![
        Just(BlockInfoReply::NotFound),
        header().prop_map(BlockInfoReply::Header),
        operation_ids(50).prop_map(BlockInfoReply::OperationIds),
        operations().prop_map(BlockInfoReply::Operations),
    ];
    prop_oneof![
        header().prop_map(BlockMessage::Header),
        (block_id(), ask).prop_map(|(block_id, block_info)| BlockMessage::DataRequest { block_id, block_info }),
        (block_id(), reply).prop_map(|(block_id, block_info)| BlockMessage::DataResponse { block_id, block_info }),
    ]
}

fn operation_message() -> impl Strategy<Value = OperationMessage> {
    let prefixes = || {
        vec(
            any::<[u8; 17]>().prop_map(|bytes| OperationPrefixId::from(&bytes)),
            0..=50,
        )
        .prop_map(|prefixes| prefixes.into_iter().collect())
    };
    prop_oneof![
        prefixes().prop_map(OperationMessage::OperationsAnnouncement),
        prefixes().prop_map(OperationMessage::AskForOperations),
        operations().prop_map(OperationMessage::Operations),
    ]
}

fn listeners() -> impl Strategy<Value = Vec<SocketAddr>> {
    vec((any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from), 0..=8)
}

fn peer() -> impl Strategy<Value = (PeerId, Vec<SocketAddr>)> {
    let id = any::<[u8; 32]>().prop_map(|seed| {
        let keypair = KeyPair::from_bytes(&[&[0], &seed[..]].concat()).unwrap();
        PeerId::from_public_key(keypair.get_public_key())
    });
    (id, listeners())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn block_messages_are_read_back(message in block_message()) {
        check(&BlockMessageSerializer::new(), &block_deserializer(), &message);
    }

    #[test]
    fn operation_messages_are_read_back(message in operation_message()) {
        let (serializer, deserializer) = (OperationMessageSerializer::new(), operation_deserializer());
        let mut bytes = Vec::new();
        serializer.serialize(&message, &mut bytes).unwrap();
        // Sets have no order: what is read is compared, not the bytes.
        let (rest, read) = deserializer.deserialize::<DeserializeError>(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(read, message);
        for length in 0..bytes.len() {
            prop_assert!(deserializer.deserialize::<DeserializeError>(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn peer_messages_are_read_back(peers in vec(peer(), 1..=10)) {
        let (serializer, deserializer) = (PeerManagementMessageSerializer::new(), peer_deserializer());
        check(&serializer, &deserializer, &PeerManagementMessage::NewPeerConnected(peers[0].clone()));
        check(&serializer, &deserializer, &PeerManagementMessage::ListPeers(peers));
    }

    #[test]
    fn announcements_are_read_back_and_still_signed(listeners in listeners(), timestamp: u64) {
        let keypair = KeyPair::generate(0).unwrap();
        let announcement = Announcement::new(listeners, timestamp, &keypair).unwrap();
        check(&AnnouncementSerializer, &AnnouncementDeserializer::new(8), &announcement);
        let mut bytes = Vec::new();
        AnnouncementSerializer.serialize(&announcement, &mut bytes).unwrap();
        let (_, read) = AnnouncementDeserializer::new(8).deserialize::<DeserializeError>(&bytes).unwrap();
        prop_assert!(read.is_signed_by(&PeerId::from_public_key(keypair.get_public_key())));
        prop_assert_eq!(read, announcement);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400), message_type in 0u8..5) {
        let bytes = [&[message_type], &bytes[..]].concat();
        let _ = block_deserializer().deserialize::<DeserializeError>(&bytes);
        let _ = operation_deserializer().deserialize::<DeserializeError>(&bytes);
        let _ = peer_deserializer().deserialize::<DeserializeError>(&bytes);
        let _ = AnnouncementDeserializer::new(8).deserialize::<DeserializeError>(&bytes);
    }
}

/// A list one longer than the limit is refused, one at the limit is read.
#[test]
fn every_list_has_a_limit() {
    let ids = |count: u64| (0..count).map(|number| operation(number).id).collect::<Vec<_>>();
    let block_id = BlockId::new(Hash::zero());
    for (count, is_allowed) in [(50, true), (51, false)] {
        let request = BlockMessage::DataRequest {
            block_id,
            block_info: AskForBlockInfo::Operations(ids(count)),
        };
        let reply = BlockMessage::DataResponse {
            block_id,
            block_info: BlockInfoReply::OperationIds(ids(count)),
        };
        for message in [request, reply] {
            let mut bytes = Vec::new();
            BlockMessageSerializer::new().serialize(&message, &mut bytes).unwrap();
            let read = block_deserializer().deserialize::<DeserializeError>(&bytes).is_ok();
            assert_eq!(read, is_allowed, "{count}");
        }
        let prefixes = ids(count).iter().map(OperationId::prefix).collect();
        let operations = (0..count).map(operation).collect();
        for message in [
            OperationMessage::OperationsAnnouncement(prefixes),
            OperationMessage::Operations(operations),
        ] {
            let mut bytes = Vec::new();
            OperationMessageSerializer::new()
                .serialize(&message, &mut bytes)
                .unwrap();
            let read = operation_deserializer().deserialize::<DeserializeError>(&bytes).is_ok();
            assert_eq!(read, is_allowed, "{count}");
        }
    }
}

/// The wire format does not change by accident.
#[test]
fn bytes_of_messages_are_frozen() {
    let prefixes = [OperationPrefixId::from(&[3; 17])].into_iter().collect();
    let mut bytes = Vec::new();
    OperationMessageSerializer::new()
        .serialize(&OperationMessage::AskForOperations(prefixes), &mut bytes)
        .unwrap();
    assert_eq!(bytes, [&[1, 1][..], &[3; 17]].concat());

    let id = BlockId::new(Hash::from_bytes(&[4; 32]));
    let mut bytes = Vec::new();
    let request = BlockMessage::DataRequest {
        block_id: id,
        block_info: AskForBlockInfo::OperationIds,
    };
    BlockMessageSerializer::new().serialize(&request, &mut bytes).unwrap();
    assert_eq!(bytes, [&[1, 0][..], &[4; 32], &[1]].concat());

    let peer = KeyPair::from_bytes(&[0; 33]).unwrap().get_public_key();
    let listeners = vec!["127.0.0.1:258".parse().unwrap()];
    let mut bytes = Vec::new();
    PeerManagementMessageSerializer::new()
        .serialize(
            &PeerManagementMessage::ListPeers(vec![(PeerId::from_public_key(peer), listeners)]),
            &mut bytes,
        )
        .unwrap();
    assert_eq!(
        bytes,
        [&[1, 1][..], &peer.to_bytes(), &[1, 4, 127, 0, 0, 1, 1, 2, 0]].concat()
    );
}
