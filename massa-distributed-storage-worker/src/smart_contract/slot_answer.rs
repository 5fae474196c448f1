//! What the registry answers to whoever asks which block a slot had.

use super::args::DecodeError;
use super::storage_registry::{unless_never, whole};
use super::views::value_error;
use massa_distributed_storage_exports::record::{block_id_from_bytes, ID_BYTES};
use massa_models::block_id::BlockId;
use serde::Serialize;

/// What the registry knows of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// Its segment has no accepted root.
    NotAnchored,
    /// It had the block that was asked for.
    Block,
    /// It had another block.
    OtherBlock,
    /// It was missed.
    Miss,
}

/// What a slot had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotAnswer {
    /// Whether it had the block that was asked for.
    pub state: SlotState,
    /// The round in which its segment was accepted.
    pub round: Option<u64>,
    /// The block that it had.
    pub block_id: Option<BlockId>,
}

/// Result of [`super::storage_registry::check_block`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_slot_answer(bytes: &[u8]) -> Result<SlotAnswer, DecodeError> {
    whole(bytes, |reader| {
        let state = match reader.u8("state")? {
            0 => SlotState::NotAnchored,
            1 => SlotState::Block,
            2 => SlotState::OtherBlock,
            3 => SlotState::Miss,
            other => return Err(value_error("state", format!("{other} is more than 3"))),
        };
        let round = unless_never(reader.u64("round")?);
        let block_id = match reader.bytes(ID_BYTES, "blockId")? {
            [] => None,
            id => Some(block_id(id).ok_or_else(|| value_error("blockId", "not a block id".into()))?),
        };
        Ok((SlotAnswer { state, round, block_id }, "blockId"))
    })
}

fn block_id(bytes: &[u8]) -> Option<BlockId> {
    block_id_from_bytes(bytes.try_into().ok()?)
}
