//! Types of the archive: bounded requests, answers that are read as they were written.

use massa_api_exports::distributed_storage::{
    ArchiveProof, ArchivedBlock, ArchivedBlockInfo, ArchivedOperation, ArchivedOperationInfo, ArchivedPlace,
    BlockOrSlot, DisabledStorage, ListChunks, ListPeriods, StorageApi, StorageApiError, StorageStatus, MAX_LIST_LIMIT,
    MAX_LIST_OFFSET,
};
use massa_api_exports::ApiError;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use massa_tests::generator::{Generator, GeneratorConfig};
use serde_json::json;

fn block() -> ArchivedBlock {
    let config = GeneratorConfig {
        operations: 3..=3,
        miss_rate: 0.0,
        ..GeneratorConfig::default()
    };
    let record = Generator::new(config).next_period().remove(5).unwrap();
    ArchivedBlock::verify(record, 77_658_377, 32).unwrap()
}

#[test]
fn requests_without_fields_have_defaults() {
    assert_eq!(
        serde_json::from_value::<ListChunks>(json!({})).unwrap(),
        ListChunks::default()
    );
    assert_eq!(
        serde_json::from_value::<ListPeriods>(json!({})).unwrap(),
        ListPeriods::default()
    );
    ListChunks::default().check().unwrap();
    ListPeriods::default().check().unwrap();
}

#[test]
fn a_field_that_does_not_exist_is_refused_by_name() {
    let error = serde_json::from_value::<ListChunks>(json!({"limits": 3})).unwrap_err();
    assert!(error.to_string().contains("limits"), "{error}");
}

#[test]
fn ranges_are_refused_by_field() {
    let chunks = |change: fn(&mut ListChunks)| {
        let mut request = ListChunks::default();
        change(&mut request);
        request.check().unwrap_err().to_string()
    };
    assert_eq!(
        chunks(|request| request.limit = 0),
        format!("limit: 0 is not between 1 and {MAX_LIST_LIMIT}")
    );
    assert!(chunks(|request| request.limit = MAX_LIST_LIMIT + 1).starts_with("limit: 1001 "));
    assert!(chunks(|request| request.offset = MAX_LIST_OFFSET + 1).starts_with("offset: 1000001 "));
    let backwards = chunks(|request| (request.first_period, request.last_period) = (Some(5), Some(4)));
    assert_eq!(backwards, "last_period: 4 is before first_period, 5");
    let periods = ListPeriods { first: 0, limit: 0 };
    assert!(periods.check().unwrap_err().to_string().starts_with("limit: 0 "));
}

#[test]
fn a_block_is_asked_for_by_text_or_slot_and_nothing_else() {
    let id = block().id();
    let read = |value| serde_json::from_value::<BlockOrSlot>(value);
    assert_eq!(read(json!(id.to_string())).unwrap(), BlockOrSlot::Id(id));
    let slot = json!({"period": 3, "thread": 4});
    assert_eq!(read(slot.clone()).unwrap(), BlockOrSlot::Slot(Slot::new(3, 4)));
    assert_eq!(serde_json::to_value(BlockOrSlot::Slot(Slot::new(3, 4))).unwrap(), slot);
    for wrong in [json!("notablock"), json!(3), json!({"period": 3}), json!(null)] {
        assert!(read(wrong)
            .unwrap_err()
            .to_string()
            .contains("expected a block id or a slot"));
    }
}

#[test]
fn an_archived_block_is_told_with_the_bytes_that_travelled() {
    let block = block();
    let info = ArchivedBlockInfo::new(&block, ArchiveProof::default());
    assert_eq!(info.block.0, block.record().block());
    assert!(info
        .operations
        .iter()
        .map(|bytes| &bytes.0[..])
        .eq(block.record().operations()));
    let place = ArchivedPlace::Block(info);
    let written = serde_json::to_value(&place).unwrap();
    assert_eq!((&written["kind"], &written["proof"]), (&json!("block"), &json!(null)));
    assert_eq!(serde_json::from_value::<ArchivedPlace>(written).unwrap(), place);
}

#[test]
fn an_archived_operation_is_found_by_its_id() {
    let block = block();
    let id = block.verified().operations()[2].id;
    let operation = ArchivedOperation::find(block.clone(), &id).unwrap();
    assert_eq!((operation.index(), operation.id()), (2, id));
    let info = ArchivedOperationInfo::new(&operation, ArchiveProof::default());
    assert_eq!(info.operation.0, block.record().operations().nth(2).unwrap());
    assert_eq!(info.block_id, block.id());
    assert!(ArchivedOperation::new(block, 3).is_none());
}

#[test]
fn errors_have_upstreams_codes_and_the_archives_own() {
    let codes = [
        (ApiError::BadRequest(String::new()).code(), -32000),
        (ApiError::NotFound(String::new()).code(), -32004),
        (ApiError::WrongAPI("public").code(), -32019),
        (ApiError::from(StorageApiError::bad("limit", "0")).code(), -32000),
        (ApiError::from(StorageApiError::NotFound("block".into())).code(), -32004),
        (
            ApiError::from(StorageApiError::NotArchived { period: 3 }).code(),
            -32004,
        ),
        (
            ApiError::from(StorageApiError::Pruned { period: 3, floor: 4 }).code(),
            -32004,
        ),
        (ApiError::from(StorageApiError::Internal(String::new())).code(), -32001),
        (ApiError::from(StorageApiError::Disabled).code(), -32050),
        (ApiError::from(StorageApiError::Busy).code(), -32050),
        (ApiError::TooManyRequests(String::new()).code(), -32051),
    ];
    for (found, expected) in codes {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_node_that_does_not_archive_says_so_and_has_no_blocks() {
    let node_id = NodeId::new(KeyPair::generate(0).unwrap().get_public_key());
    let storage = DisabledStorage { node_id, chain_id: 77 };
    let status = storage.status().unwrap();
    assert!(!status.enabled && status.why_not_more[0].contains("distributed_storage.enabled"));
    let written = serde_json::to_value(&status).unwrap();
    assert_eq!(serde_json::from_value::<StorageStatus>(written).unwrap(), status);
    assert!(storage.block(&block().id()).unwrap().is_none());
    assert_eq!(storage.nodes().unwrap_err(), StorageApiError::Disabled);
}
