//! Positions in the block grid.

use crate::error::ModelsError;
use massa_hash::Hash;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

/// Length of [`Slot::to_bytes_key`].
pub const SLOT_KEY_SIZE: usize = 9;

/// One place for a block: a thread of a period. Ordered by period, then thread, which is the order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Counted from 0, the period of the genesis blocks.
    pub period: u64,
    /// Counted from 0, below the thread count of the network.
    pub thread: u8,
}

/// A slot and the index of an endorsement in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IndexedSlot {
    /// The slot in which the endorsement is to be included.
    pub slot: Slot,
    /// The index of the endorsement in that slot.
    pub index: usize,
}

impl Slot {
    /// The slot at `period` and `thread`.
    pub const fn new(period: u64, thread: u8) -> Self {
        Self { period, thread }
    }

    /// The first slot.
    pub const fn min() -> Self {
        Self::new(0, 0)
    }

    /// The last slot that a network with `thread_count` (at least 1) threads can have.
    pub const fn max(thread_count: u8) -> Self {
        Self::new(u64::MAX, thread_count.saturating_sub(1))
    }

    /// The last slot of `cycle`.
    ///
    /// # Errors
    /// - [`ModelsError::PeriodOverflowError`]: the cycle ends after the last period, or has no period.
    /// - [`ModelsError::ThreadOverflowError`]: there is no thread.
    pub fn new_last_of_cycle(cycle: u64, periods_per_cycle: u64, thread_count: u8) -> Result<Self, ModelsError> {
        let period = periods_per_cycle
            .checked_mul(cycle)
            .and_then(|first| first.checked_add(periods_per_cycle))
            .and_then(|next| next.checked_sub(1))
            .ok_or(ModelsError::PeriodOverflowError)?;
        let thread = thread_count.checked_sub(1).ok_or(ModelsError::ThreadOverflowError)?;
        Ok(Self::new(period, thread))
    }

    /// The first slot of `cycle`.
    ///
    /// # Errors
    /// [`ModelsError::PeriodOverflowError`]: the cycle begins after the last period.
    pub fn new_first_of_cycle(cycle: u64, periods_per_cycle: u64) -> Result<Self, ModelsError> {
        let period = periods_per_cycle
            .checked_mul(cycle)
            .ok_or(ModelsError::PeriodOverflowError)?;
        Ok(Self::new(period, 0))
    }

    /// The sortable form, for database keys: period (u64, big-endian) | thread.
    pub fn to_bytes_key(&self) -> [u8; SLOT_KEY_SIZE] {
        let mut key = [self.thread; SLOT_KEY_SIZE];
        key[..8].copy_from_slice(&self.period.to_be_bytes());
        key
    }

    /// Undoes [`Self::to_bytes_key`].
    pub fn from_bytes_key(key: &[u8; SLOT_KEY_SIZE]) -> Self {
        let [period @ .., thread] = key;
        Self::new(u64::from_be_bytes(*period), *thread)
    }

    /// The cycle of the slot. `periods_per_cycle` is at least 1.
    pub fn get_cycle(&self, periods_per_cycle: u64) -> u64 {
        self.period / periods_per_cycle
    }

    /// Whether no later slot is in the same cycle. `periods_per_cycle` is at least 1.
    pub fn is_last_of_cycle(&self, periods_per_cycle: u64, thread_count: u8) -> bool {
        self.period % periods_per_cycle == periods_per_cycle - 1 && self.thread.checked_add(1) == Some(thread_count)
    }

    /// Whether no earlier slot is in the same cycle. `periods_per_cycle` is at least 1.
    pub fn is_first_of_cycle(&self, periods_per_cycle: u64) -> bool {
        self.period % periods_per_cycle == 0 && self.thread == 0
    }

    /// The first bit of the hash of [`Self::to_bytes_key`].
    pub fn get_first_bit(&self) -> bool {
        Hash::compute_from(&self.to_bytes_key()).to_bytes()[0] >> 7 == 1
    }

    /// The slot after this one.
    ///
    /// # Errors
    /// [`ModelsError::PeriodOverflowError`]: this is the last one.
    pub fn get_next_slot(&self, thread_count: u8) -> Result<Self, ModelsError> {
        match self.thread.checked_add(1) {
            Some(thread) if thread < thread_count => Ok(Self::new(self.period, thread)),
            _ => self
                .period
                .checked_add(1)
                .map(|period| Self::new(period, 0))
                .ok_or(ModelsError::PeriodOverflowError),
        }
    }

    /// The slot before this one.
    ///
    /// # Errors
    /// - [`ModelsError::PeriodOverflowError`]: this is the first one.
    /// - [`ModelsError::ThreadOverflowError`]: there is no thread.
    pub fn get_prev_slot(&self, thread_count: u8) -> Result<Self, ModelsError> {
        if let Some(thread) = self.thread.checked_sub(1) {
            return Ok(Self::new(self.period, thread));
        }
        let period = self.period.checked_sub(1).ok_or(ModelsError::PeriodOverflowError)?;
        let thread = thread_count.checked_sub(1).ok_or(ModelsError::ThreadOverflowError)?;
        Ok(Self::new(period, thread))
    }

    /// The number of slots from `earlier` to this one: 0 when they are equal.
    ///
    /// # Errors
    /// - [`ModelsError::PeriodOverflowError`]: `earlier` is later, or the number is above the greatest u64.
    /// - [`ModelsError::ThreadOverflowError`]: the thread of one of them is not below `thread_count`.
    pub fn slots_since(&self, earlier: &Self, thread_count: u8) -> Result<u64, ModelsError> {
        if self.thread >= thread_count || earlier.thread >= thread_count {
            return Err(ModelsError::ThreadOverflowError);
        }
        let difference = self.position(thread_count) - earlier.position(thread_count);
        u64::try_from(difference).map_err(|_| ModelsError::PeriodOverflowError)
    }

    /// The slot `count` slots after this one.
    ///
    /// # Errors
    /// - [`ModelsError::PeriodOverflowError`]: there are not so many.
    /// - [`ModelsError::ThreadOverflowError`]: the thread is not below `thread_count`.
    pub fn skip(&self, count: u64, thread_count: u8) -> Result<Self, ModelsError> {
        if self.thread >= thread_count {
            return Err(ModelsError::ThreadOverflowError);
        }
        let position = self.position(thread_count) + i128::from(count);
        let period =
            u64::try_from(position / i128::from(thread_count)).map_err(|_| ModelsError::PeriodOverflowError)?;
        let thread = u8::try_from(position % i128::from(thread_count)).map_err(|_| ModelsError::ThreadOverflowError)?;
        Ok(Self::new(period, thread))
    }

    /// The number of slots before this one. An i128, so that differences cannot overflow.
    fn position(&self, thread_count: u8) -> i128 {
        i128::from(self.period) * i128::from(thread_count) + i128::from(self.thread)
    }
}

/// For people. [`Slot::from_str`] reads another form.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(period: {}, thread: {})", self.period, self.thread)
    }
}

/// Reads `period,thread`, without spaces.
impl FromStr for Slot {
    type Err = ModelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once(',')
            .and_then(|(period, thread)| Some(Self::new(period.parse().ok()?, thread.parse().ok()?)));
        parsed.ok_or_else(|| ModelsError::DeserializeError(format!("expected period,thread, found {text:?}")))
    }
}

/// Writes a slot: period (varint) | thread (1 byte). Not the sortable form.
#[derive(Clone, Debug, Default)]
pub struct SlotSerializer {
    period_serializer: U64VarIntSerializer,
}

impl SlotSerializer {
    /// A serializer without range.
    pub const fn new() -> Self {
        Self {
            period_serializer: U64VarIntSerializer::new(),
        }
    }
}

impl Serializer<Slot> for SlotSerializer {
    fn serialize(&self, value: &Slot, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.period_serializer.serialize(&value.period, buffer)?;
        buffer.push(value.thread);
        Ok(())
    }
}

/// Reads a slot.
#[derive(Clone, Debug)]
pub struct SlotDeserializer {
    period_deserializer: U64VarIntDeserializer,
    thread_range: (Bound<u8>, Bound<u8>),
}

impl SlotDeserializer {
    /// A deserializer that accepts periods and threads in these ranges.
    pub const fn new(period_range: (Bound<u64>, Bound<u64>), thread_range: (Bound<u8>, Bound<u8>)) -> Self {
        Self {
            period_deserializer: U64VarIntDeserializer::new(period_range.0, period_range.1),
            thread_range,
        }
    }

    /// A deserializer of any period and a thread below `thread_count`.
    pub(crate) const fn with_thread_count(thread_count: u8) -> Self {
        Self::new(
            (Bound::Unbounded, Bound::Unbounded),
            (Bound::Unbounded, Bound::Excluded(thread_count)),
        )
    }
}

impl Deserializer<Slot> for SlotDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Slot, E> {
        context("Failed Slot deserialization", |input: &'a [u8]| {
            let (rest, period) = self.period_deserializer.deserialize(input)?;
            match rest.split_first() {
                Some((&thread, rest)) if self.thread_range.contains(&thread) => Ok((rest, Slot::new(period, thread))),
                _ => Err(nom::Err::Error(E::from_error_kind(rest, ErrorKind::Fail))),
            }
        })(buffer)
    }
}
