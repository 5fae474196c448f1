//! Types of the archive: bounded requests, answers that are read as they were written.

use massa_api_exports::distributed_storage::{
    audits::ChunkOrPosition, ArchiveProof, ArchivedBlock, ArchivedBlockInfo, ArchivedOperation, ArchivedOperationInfo,
    ArchivedSlot, BlockOrSlot, ChunkAt, DisabledStorage, ListChunks, ListNodes, ListPeriods, ListSegments, ReadBudget,
    StorageApi, StorageApiError, StorageStatus, UnknownId, MAX_LIST_LIMIT,
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
    assert_eq!(
        serde_json::from_value::<ListSegments>(json!({})).unwrap(),
        ListSegments::default()
    );
    assert_eq!(
        serde_json::from_value::<ListNodes>(json!({})).unwrap(),
        ListNodes::default()
    );
    ListSegments::default().check().unwrap();
    ListChunks::default().check().unwrap();
    ListPeriods::default().check().unwrap();
    ListNodes::default().check().unwrap();
}

#[test]
fn a_field_that_does_not_exist_is_refused_by_name() {
    let error = serde_json::from_value::<ListChunks>(json!({"limits": 3})).unwrap_err();
    assert!(error.to_string().contains("limits"), "{error}");
    let error = serde_json::from_value::<ListChunks>(json!({"offset": 3})).unwrap_err();
    assert!(error.to_string().contains("offset"), "{error}");
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
    let backwards = chunks(|request| (request.first_segment, request.last_segment) = (Some(5), Some(4)));
    assert_eq!(backwards, "last_segment: 4 is before first_segment, 5");
    let others = [
        ListSegments { first: 0, limit: 0 }.check(),
        ListPeriods { first: 0, limit: 0 }.check(),
        ListNodes { after: None, limit: 0 }.check(),
    ];
    for refused in others {
        assert!(refused.unwrap_err().to_string().starts_with("limit: 0 "));
    }
}

#[test]
fn a_chunk_is_named_by_its_id_or_where_it_stands() {
    let at = ChunkAt { segment: 12, chunk: 3 };
    assert_eq!(at.to_string().parse(), Ok(at));
    assert_eq!(
        "12:3".parse::<ChunkOrPosition>().unwrap(),
        ChunkOrPosition::Position(at)
    );
    let position = json!({"segment": 12, "chunk": 3});
    assert_eq!(
        serde_json::from_value::<ChunkOrPosition>(position).unwrap(),
        ChunkOrPosition::Position(at)
    );
    let id = "ab".repeat(32);
    assert!(matches!(id.parse(), Ok(ChunkOrPosition::Id(_))));
    for wrong in ["", "12", "12:", ":3", "12:-1", "12:3:4", "ab"] {
        assert!(wrong.parse::<ChunkOrPosition>().is_err(), "{wrong}");
    }
    let error = serde_json::from_value::<ChunkOrPosition>(json!({"period": 12, "chunk": 3})).unwrap_err();
    assert!(error.to_string().contains("{segment, chunk}"), "{error}");
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
    let slot = ArchivedSlot::Block(info);
    let written = serde_json::to_value(&slot).unwrap();
    assert_eq!((&written["kind"], &written["proof"]), (&json!("block"), &json!(null)));
    assert_eq!(serde_json::from_value::<ArchivedSlot>(written).unwrap(), slot);
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
        (ApiError::from(unknown(UnknownId::ToProviders(2))).code(), -32004),
        (ApiError::from(StorageApiError::OverLimit(String::new())).code(), -32051),
        (
            ApiError::from(StorageApiError::NotRunning(String::new())).code(),
            -32050,
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

fn unknown(why: UnknownId) -> StorageApiError {
    StorageApiError::Unknown {
        what: "block B1".into(),
        why,
    }
}

#[test]
fn an_id_that_nobody_knows_is_told_with_who_was_asked() {
    for (why, text) in [
        (UnknownId::ToProviders(1), "block B1: unknown to 1 provider"),
        (UnknownId::ToProviders(2), "block B1: unknown to 2 providers"),
        (
            UnknownId::NoProvider,
            "block B1: unknown here, and no provider connected",
        ),
        (
            UnknownId::Unanswered,
            "block B1: unknown here, and no provider answered",
        ),
    ] {
        assert_eq!(unknown(why).to_string(), text);
    }
}

struct Nothing;

impl ReadBudget for Nothing {
    fn left(&self) -> usize {
        0
    }

    fn take(&self) -> Result<(), StorageApiError> {
        Err(StorageApiError::OverLimit("nothing left".into()))
    }

    fn hold(&self, _: usize) -> Result<(), StorageApiError> {
        unreachable!("nothing is read")
    }
}

fn disabled(problem: Option<&str>) -> DisabledStorage {
    DisabledStorage {
        node_id: NodeId::new(KeyPair::generate(0).unwrap().get_public_key()),
        chain_id: 77,
        problem: problem.map(str::to_string),
    }
}

#[test]
fn a_node_that_does_not_archive_says_so_and_has_no_blocks() {
    let storage = disabled(None);
    let status = storage.status().unwrap();
    assert!(!status.enabled && status.why_not_more[0].contains("distributed_storage.enabled"));
    let written = serde_json::to_value(&status).unwrap();
    assert_eq!(serde_json::from_value::<StorageStatus>(written).unwrap(), status);
    assert!(storage.blocks(&[block().id()], &Nothing).unwrap()[0].is_none());
    assert_eq!(
        storage.nodes(&ListNodes::default()).unwrap_err(),
        StorageApiError::Disabled
    );
}

#[test]
fn an_archive_that_did_not_start_says_why_wherever_it_is_asked() {
    let storage = disabled(Some("distributed_storage.chunk_size: differs"));
    let status = storage.status().unwrap();
    assert!(status.enabled && !status.running);
    assert_eq!(
        status.problem.as_deref(),
        Some("distributed_storage.chunk_size: differs")
    );
    let error = storage.segments(&ListSegments::default()).unwrap_err();
    assert!(error.to_string().contains("chunk_size"), "{error}");
    assert!(status.why_not_more[0].contains("chunk_size"));
}
