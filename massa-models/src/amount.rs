//! Amounts of coins.

use crate::error::ModelsError;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ParseError};
use nom::IResult;
use rust_decimal::Decimal;
use serde_with::{DeserializeFromStr, SerializeDisplay};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

/// Decimal places of an amount.
pub const AMOUNT_DECIMAL_SCALE: u32 = 9;

/// Raw units in one coin.
pub const AMOUNT_DECIMAL_FACTOR: u64 = 1_000_000_000;

/// Largest scale of a mantissa, that of `rust_decimal`.
const SCALE_MAX: u32 = 28;

/// An amount of coins, counted in units of 10⁻⁹ coin. Text: a decimal number of coins.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, SerializeDisplay, DeserializeFromStr)]
pub struct Amount(u64);

impl Amount {
    /// The smallest amount: zero.
    pub const MIN: Self = Self(u64::MIN);
    /// The largest amount.
    pub const MAX: Self = Self(u64::MAX);

    /// No coins.
    pub const fn zero() -> Self {
        Self(0)
    }

    /// The amount of `raw` units.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number of units.
    pub const fn to_raw(&self) -> u64 {
        self.0
    }

    /// `mantissa` × 10^-`scale` coins, for constants.
    ///
    /// # Panics
    /// The amount is not a whole number of units, or too large.
    pub const fn const_init(mantissa: u64, scale: u32) -> Self {
        match raw_from_mantissa_scale(mantissa as u128, scale) {
            Some(raw) => Self(raw),
            None => panic!("the amount cannot be represented"),
        }
    }

    /// `mantissa` × 10^-`scale` coins.
    ///
    /// # Errors
    /// [`ModelsError::AmountParseError`]: the scale is above 28, or the amount is not a whole number of units, or too
    /// large.
    pub fn from_mantissa_scale(mantissa: u64, scale: u32) -> Result<Self, ModelsError> {
        raw_from_mantissa_scale(u128::from(mantissa), scale)
            .map(Self)
            .ok_or_else(|| {
                ModelsError::AmountParseError(format!("mantissa {mantissa} with scale {scale} is not an amount"))
            })
    }

    /// The number of units, and [`AMOUNT_DECIMAL_SCALE`].
    pub const fn to_mantissa_scale(&self) -> (u64, u32) {
        (self.0, AMOUNT_DECIMAL_SCALE)
    }

    /// Whether this is zero.
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The sum, at most [`Self::MAX`].
    pub const fn saturating_add(self, amount: Self) -> Self {
        Self(self.0.saturating_add(amount.0))
    }

    /// The difference, at least zero.
    pub const fn saturating_sub(self, amount: Self) -> Self {
        Self(self.0.saturating_sub(amount.0))
    }

    /// The product, at most [`Self::MAX`].
    pub const fn saturating_mul_u64(&self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// The sum, or `None` above [`Self::MAX`].
    pub fn checked_add(self, amount: Self) -> Option<Self> {
        self.0.checked_add(amount.0).map(Self)
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, amount: Self) -> Option<Self> {
        self.0.checked_sub(amount.0).map(Self)
    }

    /// The product, or `None` above [`Self::MAX`].
    pub fn checked_mul_u64(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(factor).map(Self)
    }

    /// The quotient, rounded down, or `None` when dividing by zero.
    pub fn checked_div_u64(self, divisor: u64) -> Option<Self> {
        self.0.checked_div(divisor).map(Self)
    }

    /// How many times `divisor` fits, or `None` when it is zero.
    pub fn checked_div(self, divisor: Self) -> Option<u64> {
        self.0.checked_div(divisor.0)
    }

    /// What is left after taking `divisor` away as often as it fits, or `None` when it is zero.
    pub fn checked_rem(&self, divisor: &Self) -> Option<Self> {
        self.0.checked_rem(divisor.0).map(Self)
    }

    /// What is left after sharing among `divisor`, or `None` when it is zero.
    pub fn checked_rem_u64(&self, divisor: u64) -> Option<Self> {
        self.0.checked_rem(divisor).map(Self)
    }
}

/// Units in `mantissa` (below 2⁹⁶, so that the product cannot overflow) × 10^-`scale` coins, if that is a whole number.
const fn raw_from_mantissa_scale(mantissa: u128, scale: u32) -> Option<u64> {
    if scale > SCALE_MAX {
        return None;
    }
    let raw = if scale <= AMOUNT_DECIMAL_SCALE {
        mantissa * 10u128.pow(AMOUNT_DECIMAL_SCALE - scale)
    } else {
        let divisor = 10u128.pow(scale - AMOUNT_DECIMAL_SCALE);
        if mantissa % divisor != 0 {
            return None;
        }
        mantissa / divisor
    };
    if raw > u64::MAX as u128 {
        return None;
    }
    Some(raw as u64)
}

/// The quotient that `rust_decimal` computes, digit for digit: it leaves one zero after a single decimal, so 1.5 coins
/// are `1.50`. Upstream prints amounts so, and JSON carries them as text.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coins = Decimal::from(self.0)
            .checked_div(Decimal::from(AMOUNT_DECIMAL_FACTOR))
            .expect("the divisor is not zero and the quotient is smaller than the dividend");
        f.write_str(&coins.to_string())
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads what `rust_decimal` reads as an exact number, so `+1`, `1_000`, `5.`, `.5` and `-0` too, but no exponent.
impl FromStr for Amount {
    type Err = ModelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let decimal =
            Decimal::from_str_exact(text).map_err(|error| ModelsError::AmountParseError(error.to_string()))?;
        u128::try_from(decimal.mantissa())
            .ok()
            .and_then(|mantissa| raw_from_mantissa_scale(mantissa, decimal.scale()))
            .map(Self)
            .ok_or_else(|| ModelsError::AmountParseError(format!("{decimal} cannot be represented")))
    }
}

/// Writes an amount: units (varint u64).
#[derive(Clone, Debug, Default)]
pub struct AmountSerializer {
    raw_serializer: U64VarIntSerializer,
}

impl AmountSerializer {
    /// A serializer without range.
    pub const fn new() -> Self {
        Self {
            raw_serializer: U64VarIntSerializer::new(),
        }
    }
}

impl Serializer<Amount> for AmountSerializer {
    fn serialize(&self, value: &Amount, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.raw_serializer.serialize(&value.0, buffer)
    }
}

/// Reads an amount.
#[derive(Clone, Debug)]
pub struct AmountDeserializer {
    raw_deserializer: U64VarIntDeserializer,
}

impl AmountDeserializer {
    /// A deserializer that accepts amounts between `min` and `max`.
    pub const fn new(min: Bound<Amount>, max: Bound<Amount>) -> Self {
        Self {
            raw_deserializer: U64VarIntDeserializer::new(raw_bound(min), raw_bound(max)),
        }
    }

    /// A deserializer of every amount.
    pub(crate) const fn of_any() -> Self {
        Self::new(Bound::Unbounded, Bound::Unbounded)
    }
}

const fn raw_bound(bound: Bound<Amount>) -> Bound<u64> {
    match bound {
        Bound::Included(amount) => Bound::Included(amount.0),
        Bound::Excluded(amount) => Bound::Excluded(amount.0),
        Bound::Unbounded => Bound::Unbounded,
    }
}

impl Deserializer<Amount> for AmountDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Amount, E> {
        context("Failed Amount deserialization", |input: &'a [u8]| {
            let (rest, raw) = self.raw_deserializer.deserialize(input)?;
            Ok((rest, Amount(raw)))
        })(buffer)
    }
}
