//! The time type itself.

use crate::calendar::{date_from_unix_days, unix_days_from_date, Date};
use crate::TimeError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

const SECONDS_PER_MINUTE: u64 = 60;
const SECONDS_PER_HOUR: u64 = 60 * SECONDS_PER_MINUTE;
const SECONDS_PER_DAY: u64 = 24 * SECONDS_PER_HOUR;

/// An instant, as milliseconds since the Unix epoch, or a span of as many milliseconds.
///
/// Text and JSON form: the number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MassaTime(u64);

impl MassaTime {
    /// The smallest span: 1 ms.
    pub const EPSILON: MassaTime = MassaTime(1);

    /// From milliseconds.
    pub const fn from_millis(value: u64) -> Self {
        Self(value)
    }

    /// In milliseconds.
    pub const fn as_millis(&self) -> u64 {
        self.0
    }

    /// The latest time there is.
    pub const fn max() -> Self {
        Self(u64::MAX)
    }

    /// What this machine's clock shows. A clock set before 1970 reads as 0.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// The same number of milliseconds as a standard duration.
    pub fn to_duration(&self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The point of the monotonic clock at which this time is, or was, reached; a guess, since the two clocks may
    /// drift.
    ///
    /// # Errors
    /// - [`TimeError::TimeOverflowError`]: the monotonic clock cannot represent that point.
    pub fn estimate_instant(self) -> Result<Instant, TimeError> {
        let (now, instant) = (MassaTime::now(), Instant::now());
        let distance = self.abs_diff(now).to_duration();
        let estimate = if self >= now {
            instant.checked_add(distance)
        } else {
            instant.checked_sub(distance)
        };
        estimate.ok_or(TimeError::TimeOverflowError)
    }
}

/// Arithmetic. Errors are [`TimeError::CheckedOperationError`] throughout: overflow, underflow or division by zero.
impl MassaTime {
    /// `self - t`, or 0.
    pub fn saturating_sub(self, t: MassaTime) -> Self {
        Self(self.0.saturating_sub(t.0))
    }

    /// `self + t`, or the latest time.
    pub fn saturating_add(self, t: MassaTime) -> Self {
        Self(self.0.saturating_add(t.0))
    }

    /// `self * n`, or the latest time.
    pub const fn saturating_mul(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// `self - t`.
    ///
    /// # Errors
    /// `t` is later than `self`.
    pub fn checked_sub(self, t: MassaTime) -> Result<Self, TimeError> {
        self.0.checked_sub(t.0).map(Self).ok_or_else(|| failed(self, "-", t.0))
    }

    /// `self + t`.
    ///
    /// # Errors
    /// The sum is later than the latest time.
    pub fn checked_add(self, t: MassaTime) -> Result<Self, TimeError> {
        self.0.checked_add(t.0).map(Self).ok_or_else(|| failed(self, "+", t.0))
    }

    /// `self * n`.
    ///
    /// # Errors
    /// The product is later than the latest time.
    pub fn checked_mul(self, n: u64) -> Result<Self, TimeError> {
        self.0.checked_mul(n).map(Self).ok_or_else(|| failed(self, "*", n))
    }

    /// How many times `t` fits into `self`, rounded down.
    ///
    /// # Errors
    /// `t` is 0.
    pub fn checked_div_time(self, t: MassaTime) -> Result<u64, TimeError> {
        self.0.checked_div(t.0).ok_or_else(|| failed(self, "/", t.0))
    }

    /// The `n`-th part of `self`, rounded down to the millisecond.
    ///
    /// # Errors
    /// `n` is 0.
    pub fn checked_div_u64(self, n: u64) -> Result<MassaTime, TimeError> {
        self.0.checked_div(n).map(Self).ok_or_else(|| failed(self, "/", n))
    }

    /// What is left of `self` after [`checked_div_time`](Self::checked_div_time).
    ///
    /// # Errors
    /// `t` is 0.
    pub fn checked_rem_time(self, t: MassaTime) -> Result<Self, TimeError> {
        self.0.checked_rem(t.0).map(Self).ok_or_else(|| failed(self, "%", t.0))
    }

    /// What is left of `self` after [`checked_div_u64`](Self::checked_div_u64).
    ///
    /// # Errors
    /// `n` is 0.
    pub fn checked_rem_u64(self, n: u64) -> Result<Self, TimeError> {
        self.0.checked_rem(n).map(Self).ok_or_else(|| failed(self, "%", n))
    }

    /// The span between two times, whichever is the later one.
    pub fn abs_diff(&self, t: MassaTime) -> MassaTime {
        Self(self.0.abs_diff(t.0))
    }
}

/// Text for people, and the calendar.
impl MassaTime {
    /// As an instant: RFC 3339 in UTC, cut to the second, e.g. `2024-01-15T10:00:00Z`.
    ///
    /// From the year 10 000 on, which RFC 3339 does not cover, the year simply has more digits.
    pub fn format_instant(&self) -> String {
        let (days, hours, minutes, seconds) = self.split();
        let days = i64::try_from(days).expect("2^64 ms are fewer than 2^38 days");
        let Date { year, month, day } = date_from_unix_days(days);
        format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
    }

    /// As a span, e.g. `1 days, 2 hours, 3 minutes, 4 seconds`.
    ///
    /// # Errors
    /// None today: the signature is upstream's.
    pub fn format_duration(&self) -> Result<String, TimeError> {
        let (days, hours, minutes, seconds) = self.split();
        Ok(format!(
            "{days} days, {hours} hours, {minutes} minutes, {seconds} seconds"
        ))
    }

    /// As a span: whole days, hours below 24, minutes below 60, seconds below 60.
    ///
    /// # Errors
    /// - [`TimeError::ConversionError`]: never today, as every time has fewer than 2^63 days.
    pub fn days_hours_mins_secs(&self) -> Result<(i64, i64, i64, i64), TimeError> {
        let signed = |value: u64| i64::try_from(value).map_err(|_| TimeError::ConversionError);
        let (days, hours, minutes, seconds) = self.split();
        Ok((signed(days)?, signed(hours)?, signed(minutes)?, signed(seconds)?))
    }

    /// The instant of a date and a time of day in UTC.
    ///
    /// # Errors
    /// - [`TimeError::ConversionError`]: no such date or time of day, or before 1970.
    pub fn from_utc_ymd_hms(
        year: i32,
        month: u8,
        day: u8,
        hour: u8,
        minute: u8,
        second: u8,
    ) -> Result<MassaTime, TimeError> {
        if hour > 23 || minute > 59 || second > 59 {
            return Err(TimeError::ConversionError);
        }
        let days = unix_days_from_date(Date {
            year: i64::from(year),
            month,
            day,
        })
        .and_then(|days| u64::try_from(days).ok())
        .ok_or(TimeError::ConversionError)?;
        let seconds = days * SECONDS_PER_DAY
            + u64::from(hour) * SECONDS_PER_HOUR
            + u64::from(minute) * SECONDS_PER_MINUTE
            + u64::from(second);
        // An i32 year leaves room: 2^31 years are about 2^56 seconds, 2^66 ms.
        seconds.checked_mul(1_000).map(Self).ok_or(TimeError::ConversionError)
    }

    /// Whole days, then hours, minutes and seconds of the day.
    fn split(&self) -> (u64, u64, u64, u64) {
        let seconds = self.0 / 1_000;
        (
            seconds / SECONDS_PER_DAY,
            seconds % SECONDS_PER_DAY / SECONDS_PER_HOUR,
            seconds % SECONDS_PER_HOUR / SECONDS_PER_MINUTE,
            seconds % SECONDS_PER_MINUTE,
        )
    }
}

impl fmt::Display for MassaTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<MassaTime> for Duration {
    fn from(time: MassaTime) -> Self {
        time.to_duration()
    }
}

fn failed(left: MassaTime, operator: &str, right: u64) -> TimeError {
    TimeError::CheckedOperationError(format!("{left} ms {operator} {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_AND_MORE: MassaTime = MassaTime::from_millis((((24 + 2) * 60 + 3) * 60 + 4) * 1_000 + 567);

    fn ms(value: u64) -> MassaTime {
        MassaTime::from_millis(value)
    }

    #[test]
    fn checked_arithmetic_gives_the_exact_result() {
        assert_eq!(ms(7).checked_add(ms(5)), Ok(ms(12)));
        assert_eq!(ms(7).checked_sub(ms(5)), Ok(ms(2)));
        assert_eq!(ms(7).checked_mul(5), Ok(ms(35)));
        assert_eq!(ms(17).checked_div_time(ms(5)), Ok(3));
        assert_eq!(ms(17).checked_div_u64(5), Ok(ms(3)));
        assert_eq!(ms(17).checked_rem_time(ms(5)), Ok(ms(2)));
        assert_eq!(ms(17).checked_rem_u64(5), Ok(ms(2)));
    }

    #[test]
    fn checked_arithmetic_refuses_what_has_no_result() {
        let refused = |text: &str| TimeError::CheckedOperationError(text.into());
        assert_eq!(ms(1).checked_sub(ms(2)), Err(refused("1 ms - 2")));
        assert_eq!(
            MassaTime::max().checked_add(ms(1)),
            Err(refused("18446744073709551615 ms + 1"))
        );
        assert_eq!(
            MassaTime::max().checked_mul(2),
            Err(refused("18446744073709551615 ms * 2"))
        );
        assert_eq!(ms(1).checked_div_time(ms(0)), Err(refused("1 ms / 0")));
        assert_eq!(ms(1).checked_div_u64(0), Err(refused("1 ms / 0")));
        assert_eq!(ms(1).checked_rem_time(ms(0)), Err(refused("1 ms % 0")));
        assert_eq!(ms(1).checked_rem_u64(0), Err(refused("1 ms % 0")));
    }

    #[test]
    fn saturating_arithmetic_stops_at_the_ends() {
        assert_eq!(ms(1).saturating_sub(ms(2)), ms(0));
        assert_eq!(MassaTime::max().saturating_add(MassaTime::EPSILON), MassaTime::max());
        assert_eq!(MassaTime::max().saturating_mul(2), MassaTime::max());
        assert_eq!(ms(3).abs_diff(ms(10)), ms(7));
        assert_eq!(ms(10).abs_diff(ms(3)), ms(7));
    }

    #[test]
    fn an_instant_is_written_in_rfc_3339() {
        assert_eq!(ms(0).format_instant(), "1970-01-01T00:00:00Z");
        assert_eq!(ms(1_705_312_800_000).format_instant(), "2024-01-15T10:00:00Z");
        assert_eq!(ms(1_709_251_199_999).format_instant(), "2024-02-29T23:59:59Z");
        assert_eq!(MassaTime::max().format_instant(), "584556019-04-03T14:25:51Z");
    }

    #[test]
    fn a_span_is_written_in_words() {
        assert_eq!(
            DAY_AND_MORE.format_duration().unwrap(),
            "1 days, 2 hours, 3 minutes, 4 seconds"
        );
        assert_eq!(DAY_AND_MORE.days_hours_mins_secs(), Ok((1, 2, 3, 4)));
    }

    #[test]
    fn a_date_becomes_its_instant() {
        assert_eq!(
            MassaTime::from_utc_ymd_hms(2024, 1, 15, 10, 0, 0),
            Ok(ms(1_705_312_800_000))
        );
        assert_eq!(MassaTime::from_utc_ymd_hms(1970, 1, 1, 0, 0, 1), Ok(ms(1_000)));
    }

    #[test]
    fn an_impossible_date_is_refused() {
        for (year, month, day, hour, minute, second) in [
            (1969, 12, 31, 23, 59, 59),
            (2023, 2, 29, 0, 0, 0),
            (2024, 1, 1, 24, 0, 0),
            (2024, 1, 1, 0, 60, 0),
            (2024, 1, 1, 0, 0, 60),
            (i32::MAX, 1, 1, 0, 0, 0),
            (i32::MIN, 1, 1, 0, 0, 0),
        ] {
            let result = MassaTime::from_utc_ymd_hms(year, month, day, hour, minute, second);
            assert_eq!(
                result,
                Err(TimeError::ConversionError),
                "{year}-{month}-{day} {hour}:{minute}:{second}"
            );
        }
    }

    #[test]
    fn text_and_json_are_the_milliseconds() {
        assert_eq!(ms(16_000).to_string(), "16000");
        assert_eq!(serde_json::to_string(&ms(16_000)).unwrap(), "16000");
        assert_eq!(serde_json::from_str::<MassaTime>("16000").unwrap(), ms(16_000));
    }

    #[test]
    fn the_estimated_instant_keeps_distance_and_direction() {
        let hour = ms(3_600_000);
        let later = MassaTime::now().saturating_add(hour).estimate_instant().unwrap();
        let minutes_ahead = later.duration_since(Instant::now()).as_secs() / 60;
        assert!((58..=60).contains(&minutes_ahead), "{minutes_ahead} minutes");
        assert!(MassaTime::now().saturating_sub(ms(5)).estimate_instant().unwrap() < later);
    }

    proptest! {
        #[test]
        fn a_formatted_instant_reads_back_to_the_same_second(seconds in 0u64..253_402_300_800) {
            let text = ms(seconds * 1_000).format_instant();
            let field = |range: std::ops::Range<usize>| text[range].parse::<u8>().unwrap();
            let year = text[..4].parse().unwrap();
            let back = MassaTime::from_utc_ymd_hms(
                year, field(5..7), field(8..10), field(11..13), field(14..16), field(17..19),
            );
            prop_assert_eq!(back, Ok(ms(seconds * 1_000)));
        }

        #[test]
        fn quotient_and_remainder_rebuild_the_time(time: u64, span in 1u64..) {
            let (time, span) = (ms(time), ms(span));
            let count = time.checked_div_time(span).unwrap();
            let rest = time.checked_rem_time(span).unwrap();
            prop_assert!(rest < span);
            prop_assert_eq!(span.checked_mul(count).unwrap().checked_add(rest), Ok(time));
        }
    }
}
