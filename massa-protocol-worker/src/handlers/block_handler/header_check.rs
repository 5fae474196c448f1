//! Whether a header is valid by itself.

use massa_models::block_header::SecuredHeader;
use massa_models::error::ModelsError;
use massa_models::slot::Slot;
use massa_models::timeslots::get_block_slot_timestamp;
use massa_pos_exports::SelectorController;
use massa_protocol_exports::ProtocolConfig;
use massa_signature::verify_signature_batch;
use massa_time::MassaTime;

/// A header may be so many periods ahead of this node's clock: consensus keeps it until its slot.
const MAX_PERIODS_AHEAD: u64 = 2;
/// But at least so long, since clocks differ however short periods are.
const MIN_AHEAD: MassaTime = MassaTime::from_millis(5_000);

/// Why a header is not handed to consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    /// Nobody signs those.
    #[error("genesis headers are not sent")]
    Genesis,
    /// The peer's clock or this node's may be wrong.
    #[error("slot {0} is in the future")]
    Future(Slot),
    /// This node or the peer may be behind in draws: nothing is proven.
    #[error("the creator was not drawn for slot {0}")]
    Producer(Slot),
    /// This node does not know the draws.
    #[error("draws of slot {0} are not known")]
    NoDraws(Slot),
    /// The peer is at fault.
    #[error("a signature is invalid")]
    Signature,
}

impl HeaderError {
    /// Whether only a peer that breaks the rules sends such a header.
    pub(super) fn proves_fault(self) -> bool {
        self == HeaderError::Signature
    }
}

/// Checks slot, producer, and the signatures of the header and of its endorsements. The id was recomputed when the header
/// was read. Signatures come last: they cost most.
pub(super) fn check_header(
    header: &SecuredHeader,
    selector: &dyn SelectorController,
    config: &ProtocolConfig,
    now: MassaTime,
) -> Result<(), HeaderError> {
    let slot = header.content.slot;
    if slot.period == 0 {
        return Err(HeaderError::Genesis);
    }
    check_time(slot, config, now)?;
    check_future_header(header, selector)
}

/// The same without the time: a header of a slot that is in the future by this node's clock shows who is ahead.
pub(super) fn check_future_header(
    header: &SecuredHeader,
    selector: &dyn SelectorController,
) -> Result<(), HeaderError> {
    let slot = header.content.slot;
    match selector.get_producer(slot) {
        Ok(producer) if producer == header.content_creator_address => {}
        Ok(_) => return Err(HeaderError::Producer(slot)),
        Err(_) => return Err(HeaderError::NoDraws(slot)),
    }
    check_signatures(header)
}

fn check_time(slot: Slot, config: &ProtocolConfig, now: MassaTime) -> Result<(), HeaderError> {
    let ahead = MIN_AHEAD.max(config.t0.saturating_mul(MAX_PERIODS_AHEAD));
    match begin_of(slot, config) {
        Ok(begin) if begin <= now.saturating_add(ahead) => Ok(()),
        _ => Err(HeaderError::Future(slot)),
    }
}

/// When a slot begins.
pub(super) fn begin_of(slot: Slot, config: &ProtocolConfig) -> Result<MassaTime, ModelsError> {
    get_block_slot_timestamp(config.thread_count, config.t0, config.genesis_timestamp, slot)
}

fn check_signatures(header: &SecuredHeader) -> Result<(), HeaderError> {
    let own = (
        header.compute_signed_hash(),
        header.signature,
        header.content_creator_pub_key,
    );
    let endorsements = header.content.endorsements.iter().map(|endorsement| {
        (
            endorsement.compute_signed_hash(),
            endorsement.signature,
            endorsement.content_creator_pub_key,
        )
    });
    let batch: Vec<_> = std::iter::once(own).chain(endorsements).collect();
    verify_signature_batch(&batch).map_err(|_| HeaderError::Signature)
}
