//! From slots to times and back.
//!
//! A period lasts `t0`, and its threads share it evenly: thread `i` begins `i × t0 / thread_count` after its period.
//! Every function assumes `thread_count` ≥ 1, `t0` ≥ 1 ms and `t0` divisible by `thread_count`.

use crate::error::ModelsError;
use crate::slot::Slot;
use massa_time::MassaTime;

/// The number of slots from `a`, included, to `b`, excluded.
///
/// # Errors
/// As [`Slot::slots_since`].
pub fn slot_count_in_range(a: Slot, b: Slot, thread_count: u8) -> Result<u64, ModelsError> {
    b.slots_since(&a, thread_count)
}

/// When `slot` begins.
///
/// # Errors
/// [`ModelsError::TimeOverflowError`]: after the greatest time, or there is no thread.
pub fn get_block_slot_timestamp(
    thread_count: u8,
    t0: MassaTime,
    genesis_timestamp: MassaTime,
    slot: Slot,
) -> Result<MassaTime, ModelsError> {
    let slot_ms = slot_duration_ms(thread_count, t0)?;
    let in_period_ms = slot_ms.checked_mul(u64::from(slot.thread));
    t0.as_millis()
        .checked_mul(slot.period)
        .zip(in_period_ms)
        .and_then(|(period_ms, in_period_ms)| period_ms.checked_add(in_period_ms))
        .and_then(|since_genesis| since_genesis.checked_add(genesis_timestamp.as_millis()))
        .map(MassaTime::from_millis)
        .ok_or(ModelsError::TimeOverflowError)
}

/// The slot that began last, at `timestamp` or before; `None` before the first.
///
/// # Errors
/// [`ModelsError::TimeOverflowError`]: there is no thread, or `t0` is too short.
pub fn get_latest_block_slot_at_timestamp(
    thread_count: u8,
    t0: MassaTime,
    genesis_timestamp: MassaTime,
    timestamp: MassaTime,
) -> Result<Option<Slot>, ModelsError> {
    let slot_ms = slot_duration_ms(thread_count, t0)?;
    timestamp
        .as_millis()
        .checked_sub(genesis_timestamp.as_millis())
        .map(|since_genesis| slot_at_index(since_genesis / slot_ms, thread_count))
        .transpose()
}

/// The slot that began last, now; `None` before the first.
///
/// # Errors
/// As [`get_latest_block_slot_at_timestamp`].
pub fn get_current_latest_block_slot(
    thread_count: u8,
    t0: MassaTime,
    genesis_timestamp: MassaTime,
) -> Result<Option<Slot>, ModelsError> {
    get_latest_block_slot_at_timestamp(thread_count, t0, genesis_timestamp, MassaTime::now())
}

/// The first slots that begin at or after `start_time` and `end_time`: the range of slots, its end excluded, that begin
/// in that range of time. A time before the first slot counts as the time of the first slot.
///
/// # Errors
/// As [`get_latest_block_slot_at_timestamp`].
pub fn time_range_to_slot_range(
    thread_count: u8,
    t0: MassaTime,
    genesis_timestamp: MassaTime,
    start_time: Option<MassaTime>,
    end_time: Option<MassaTime>,
) -> Result<(Option<Slot>, Option<Slot>), ModelsError> {
    let slot_ms = slot_duration_ms(thread_count, t0)?;
    let first_slot_from = |time: MassaTime| {
        let since_genesis = time.as_millis().saturating_sub(genesis_timestamp.as_millis());
        slot_at_index(since_genesis.div_ceil(slot_ms), thread_count)
    };
    Ok((
        start_time.map(first_slot_from).transpose()?,
        end_time.map(first_slot_from).transpose()?,
    ))
}

/// The slot whose beginning is closest to `timestamp`, the earlier one of two. Before the first slot: the first slot.
pub fn get_closest_slot_to_timestamp(
    thread_count: u8,
    t0: MassaTime,
    genesis_timestamp: MassaTime,
    timestamp: MassaTime,
) -> Slot {
    let since_genesis = timestamp.as_millis().saturating_sub(genesis_timestamp.as_millis());
    let Ok(slot_ms) = slot_duration_ms(thread_count, t0) else {
        return Slot::min();
    };
    let past_index = since_genesis / slot_ms;
    let since_past = since_genesis % slot_ms;
    let is_past_closest = since_past <= slot_ms - since_past;
    let index = if is_past_closest {
        past_index
    } else {
        past_index.saturating_add(1)
    };
    slot_at_index(index, thread_count).unwrap_or(Slot::min())
}

/// Time between the beginnings of two slots, at least 1 ms.
fn slot_duration_ms(thread_count: u8, t0: MassaTime) -> Result<u64, ModelsError> {
    match t0.as_millis().checked_div(u64::from(thread_count)) {
        Some(slot_ms) if slot_ms > 0 => Ok(slot_ms),
        _ => Err(ModelsError::TimeOverflowError),
    }
}

/// The slot that `index` slots precede.
fn slot_at_index(index: u64, thread_count: u8) -> Result<Slot, ModelsError> {
    Slot::min().skip(index, thread_count)
}
