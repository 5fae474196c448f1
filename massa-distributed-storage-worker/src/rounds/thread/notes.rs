//! What the operator is told of decisions, in plain words.

use crate::rounds::claims::keeper::Differing;
use crate::rounds::decide::{Decision, Kind, Note, Snapshot};
use crate::smart_contract::outbox::Purpose;

/// The registry has no record of the operator.
pub const NOT_REGISTERED: &str = "the operator is not registered: massa-cli storage register";
/// The registry has one, without a key.
pub const NO_PLACEMENT_KEY: &str = "no placement key yet: it comes with the first accepted round after registration";

/// What the client orders an operation of this kind for.
pub(super) fn purpose(kind: &Kind) -> Purpose {
    match kind {
        Kind::Submit { .. } => Purpose::Submission,
        Kind::Close { .. } => Purpose::CloseRound,
        Kind::SetPlacementKey { .. } => Purpose::PlacementKey,
        Kind::ClaimRewards { .. } => Purpose::ClaimRewards,
        Kind::Refute { .. } => Purpose::Refutation,
        Kind::AnchorEarlier { .. } => Purpose::EarlierRoot,
    }
}

/// The round in whose books an operation is that is ordered in `open`. The one that gives the placement key may be long over, and an
/// earlier segment is of none.
pub(super) fn round_of(kind: &Kind, open: u64) -> u64 {
    match kind {
        Kind::SetPlacementKey { .. } | Kind::AnchorEarlier { .. } => open,
        Kind::Submit { round } | Kind::Close { round } | Kind::ClaimRewards { round } | Kind::Refute { round, .. } => {
            *round
        }
    }
}

pub(super) fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Submit { round } => format!("the operation of round {round}"),
        Kind::Close { round } => format!("closing round {round}"),
        Kind::SetPlacementKey { round } => format!("the placement key of round {round}"),
        Kind::ClaimRewards { round } => format!("the claim of rewards in round {round}"),
        Kind::Refute { node, round } => format!("the refutation of {node} in round {round}"),
        Kind::AnchorEarlier { segment } => format!("the root before segment {segment}"),
    }
}

/// What the operator should know; nothing for what is in order.
pub(super) fn note_text(note: &Note) -> Option<String> {
    Some(match note {
        Note::InFlight(_) | Note::NotItsTurn { .. } | Note::NoBeacon { .. } | Note::RoundDone => return None,
        Note::SegmentOpen { .. } | Note::ClaimUnsettled { .. } => return None,
        Note::RoundEnding => return None,
        Note::NotRegistered => NOT_REGISTERED.into(),
        Note::Paused => "the registry is paused".into(),
        Note::GaveUp(kind) => format!("{} was refused too often", describe(kind)),
        Note::WindowMissed { round } => format!("round {round} was claimed and not answered in time"),
        Note::NoPlacementKey => NO_PLACEMENT_KEY.into(),
        Note::Leaving => "nothing is claimed: the node is leaving".into(),
        Note::SitsOut { until } => format!("nothing is claimed before round {until}: silent, or in the minority"),
        Note::NothingAllowed => "nothing is claimed: the allocation does not count yet, or the stake is gone".into(),
        Note::NothingAnchored => "nothing is claimed: no segment is anchored of which this node holds chunks".into(),
        Note::NothingPaid { round } => {
            format!("nothing is claimed for round {round}, which pays nothing: the pool is empty, or the rate is 0")
        }
        Note::RootDiffers(differing) => differing_text(differing),
        Note::RewardsTooSmall { amount, from } => {
            format!("{amount} MAS have matured: claimed above {from} MAS, so that the fee is a small part")
        }
    })
}

/// Why nothing is claimed for `round`, the one after the open round, by what was decided. Asked only while the registry has no
/// claim for it.
pub(super) fn why_unclaimed(snapshot: &Snapshot, round: u64, decision: &Decision) -> String {
    let is_submission = |kind: &Kind| matches!(kind, Kind::Submit { .. });
    if decision.actions.iter().any(|(action, _)| is_submission(&action.kind())) {
        return "the claim was sent at the end of the round before".into();
    }
    // What is decisive comes before what only puts it off.
    let told = decision.notes.iter().find_map(|note| match note {
        Note::NotRegistered
        | Note::Paused
        | Note::NoPlacementKey
        | Note::Leaving
        | Note::SitsOut { .. }
        | Note::NothingAllowed
        | Note::NothingAnchored
        | Note::NothingPaid { .. } => note_text(note),
        Note::GaveUp(kind) if is_submission(kind) => note_text(note),
        _ => None,
    });
    let put_off = || {
        decision.notes.iter().find_map(|note| match note {
            Note::InFlight(kind) if is_submission(kind) => Some("the claim was sent and not executed".to_string()),
            Note::NotItsTurn { from } => Some(format!("its turn came with period {from}")),
            Note::SegmentOpen { segment, .. } => Some(format!("segment {segment} was not closed here")),
            Note::ClaimUnsettled { .. } => Some("the claim was not up to date".into()),
            Note::NoBeacon { period } => Some(format!("period {period}, the beacon, was not final here")),
            Note::RoundEnding => Some("the round before was about to end".into()),
            Note::RoundDone => Some("the operation of the round before carried no claim".into()),
            _ => None,
        })
    };
    told.or_else(put_off)
        .unwrap_or_else(|| format!("nothing was decided in period {} for round {round}", snapshot.period))
}

fn differing_text(differing: &Differing) -> String {
    let Differing { segment, own, accepted } = differing;
    format!(
        "the root of segment {segment} is {own} here and {accepted} in the registry: the segment is not claimed, and is \
         fetched again"
    )
}
