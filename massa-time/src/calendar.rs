//! Days of the Gregorian calendar, as plain integer arithmetic.
//!
//! A calendar crate would do the same; the maintained releases of the usual one need a newer compiler than this
//! workspace promises, and two formulas are all that is used here.
//!
//! Both formulas count years from the first of March, so that the leap day is the last day of its year, and in eras of
//! 400 years, after which the calendar repeats. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

const DAYS_PER_ERA: i64 = 146_097;
const YEARS_PER_ERA: i64 = 400;
/// Days from 0000-03-01, where era 0 begins, to 1970-01-01.
const DAYS_TO_UNIX_EPOCH: i64 = 719_468;

/// A date of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
}

/// The date that lies `days` days after 1970-01-01.
pub(crate) fn date_from_unix_days(days: i64) -> Date {
    let shifted = days + DAYS_TO_UNIX_EPOCH;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - days_before_year_of_era(year_of_era);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - days_before_month(months_since_march) + 1;
    let month = if months_since_march < 10 {
        months_since_march + 3
    } else {
        months_since_march - 9
    };
    let year = era * YEARS_PER_ERA + year_of_era + i64::from(month <= 2);
    Date {
        year,
        month: u8::try_from(month).expect("a month is at most 12"),
        day: u8::try_from(day).expect("a day is at most 31"),
    }
}

/// Days from 1970-01-01 to `date`, or `None` if the calendar has no such date.
pub(crate) fn unix_days_from_date(date: Date) -> Option<i64> {
    if !(1..=12).contains(&date.month) {
        return None;
    }
    let (year, month, day) = (date.year, i64::from(date.month), i64::from(date.day));
    let march_year = year - i64::from(month <= 2);
    let months_since_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = days_before_month(months_since_march) + day - 1;
    let day_of_era = days_before_year_of_era(march_year.rem_euclid(YEARS_PER_ERA)) + day_of_year;
    let days = march_year.div_euclid(YEARS_PER_ERA) * DAYS_PER_ERA + day_of_era - DAYS_TO_UNIX_EPOCH;
    // A day that its month does not have, such as 31 June, comes back as a day of the next month.
    (date_from_unix_days(days) == date).then_some(days)
}

fn days_before_year_of_era(year_of_era: i64) -> i64 {
    365 * year_of_era + year_of_era / 4 - year_of_era / 100
}

/// From March on, the months have 31, 30, 31, 30, 31 days, again and again: 153 days every five months.
fn days_before_month(months_since_march: i64) -> i64 {
    (153 * months_since_march + 2) / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(year: i64, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn known_days_have_their_known_dates() {
        let known = [
            (0, date(1970, 1, 1)),
            (58, date(1970, 2, 28)),
            (59, date(1970, 3, 1)),
            (11_016, date(2000, 2, 29)),
            (19_737, date(2024, 1, 15)),
            (47_540, date(2100, 2, 28)),
            (47_541, date(2100, 3, 1)),
        ];
        for (days, date) in known {
            assert_eq!(date_from_unix_days(days), date);
            assert_eq!(unix_days_from_date(date), Some(days));
        }
    }

    #[test]
    fn dates_the_calendar_lacks_are_refused() {
        for absent in [
            date(2023, 2, 29),
            date(2100, 2, 29),
            date(2024, 6, 31),
            date(2024, 6, 0),
            date(2024, 0, 1),
            date(2024, 13, 1),
        ] {
            assert_eq!(unix_days_from_date(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut previous = date_from_unix_days(-1);
        for days in 0..DAYS_PER_ERA {
            let current = date_from_unix_days(days);
            let next_day = current == date(previous.year, previous.month, previous.day + 1);
            let next_month = current == date(previous.year, previous.month + 1, 1);
            let next_year = current == date(previous.year + 1, 1, 1);
            assert!(next_day || next_month || next_year, "{previous:?} then {current:?}");
            previous = current;
        }
        assert_eq!(previous, date(2369, 12, 31));
    }

    proptest! {
        #[test]
        fn a_day_survives_the_way_to_its_date_and_back(days in -10_000_000i64..250_000_000_000) {
            prop_assert_eq!(unix_days_from_date(date_from_unix_days(days)), Some(days));
        }
    }
}
