//! Points in time as callers write them: RFC 3339 text, and nothing else. It decides which texts are a time; what a time means for a
//! job is not its to say, and it reads no clock.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{clock::Timestamp, id::Invalid};

const DAY_SECS: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// A time that is written as RFC 3339, for example `2026-12-01T08:00:00Z` or `2026-12-01T09:00:00.250+01:00`. Kept to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub Timestamp);

impl FromStr for Rfc3339 {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse(text).map(Self).ok_or_else(|| Invalid {
            kind: "time",
            problem: "must be RFC 3339 with its offset, for example 2026-12-01T08:00:00Z or 2026-12-01T09:00:00+01:00".into(),
        })
    }
}

impl fmt::Display for Rfc3339 {
    /// In UTC, with milliseconds where they are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, ms) = (self.0.0.div_euclid(1000), self.0.0.rem_euclid(1000));
        let (days, in_day) = (secs.div_euclid(DAY_SECS), secs.rem_euclid(DAY_SECS));
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if ms != 0 {
            write!(f, ".{ms:03}")?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (year, month, day) = (number(date, 0..4)?, number(date, 5..7)?, number(date, 8..10)?);
    let time = rest.strip_prefix(['T', 't'])?;
    let (hour, minute, second) = (number(time, 0..2)?, number(time, 3..5)?, number(time, 6..8)?);
    let separators = [date.get(4..5)?, date.get(7..8)?, time.get(2..3)?, time.get(5..6)?];
    if separators != ["-", "-", ":", ":"] || !is_date(year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (ms, offset) = match time.get(8..)?.strip_prefix('.') {
        None => (0, time.get(8..)?),
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let padded = format!("{}00", &fraction[..digits]);
            (if digits == 0 { return None } else { number(&padded, 0..3)? }, &fraction[digits..])
        }
    };
    let in_day = hour * 3600 + minute * 60 + second - offset_secs(offset)?;
    Some(Timestamp((days_of(year, month, day) * DAY_SECS + in_day) * 1000 + ms))
}

/// The digits in `range` as a number; nothing else may stand there.
fn number(text: &str, range: std::ops::Range<usize>) -> Option<i64> {
    let digits = text.get(range)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// `Z`, or a sign, hours and minutes.
fn offset_secs(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(text, 1..3)?, number(text, 4..6)?);
    let well_formed = text.len() == 6 && text.get(3..4)? == ":" && hours <= 23 && minutes <= 59;
    well_formed.then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_date(year: i64, month: i64, day: i64) -> bool {
    // A day that the month does not have reads back as another date.
    (1..=12).contains(&month) && day >= 1 && date_of(days_of(year, month, day)) == (year, month, day)
}

/// Days from 1970-01-01, counted in years that begin in March, so that the leap day is the last (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `days_from_civil`).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA_DAYS + in_era * 365 + in_era / 4 - in_era / 100 + in_year - EPOCH_DAYS
}

/// The other way round (`civil_from_days`).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, in_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_offset_and_written_in_utc() {
        let rows = [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-12-01T08:00:00Z", 1_796_112_000_000, "2026-12-01T08:00:00Z"),
            ("2026-12-01T09:00:00.25+01:00", 1_796_112_000_250, "2026-12-01T08:00:00.250Z"),
            ("2026-11-30t22:30:00.1239999-09:30", 1_796_112_000_123, "2026-12-01T08:00:00.123Z"),
            ("2024-02-29T23:59:60z", 1_709_251_200_000, "2024-03-01T00:00:00Z"),
            ("2000-02-29T00:00:00Z", 951_782_400_000, "2000-02-29T00:00:00Z"),
            ("1969-12-31T23:59:59.999Z", -1, "1969-12-31T23:59:59.999Z"),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000, "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000, "9999-12-31T23:59:59Z"),
        ];
        for (text, ms, written) in rows {
            let time: Rfc3339 = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((time.0, time.to_string().as_str()), (Timestamp(ms), written), "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_no_time() {
        let rows = [
            "",
            "now",
            "1796112000000",
            "2026-12-01",
            "2026-12-01T08:00:00",
            "2026-12-01 08:00:00Z",
            "2026-12-01T08:00Z",
            "2026-12-01T08:00:00+0100",
            "2026-12-01T08:00:00+24:00",
            "2026-12-01T08:00:00.Z",
            "2026-12-01T08:00:00Z ",
            "2026-12-01T24:00:00Z",
            "2026-12-01T08:60:00Z",
            "2026-12-01T08:00:61Z",
            "2026-00-01T08:00:00Z",
            "2026-13-01T08:00:00Z",
            "2026-11-31T08:00:00Z",
            "2023-02-29T08:00:00Z",
            "1900-02-29T08:00:00Z",
            "2026-12-00T08:00:00Z",
            "+026-12-01T08:00:00Z",
            "2026-12-01T+8:00:00Z",
            "２０２６-12-01T08:00:00Z",
        ];
        for text in rows {
            assert!(text.parse::<Rfc3339>().is_err(), "{text:?}");
        }
    }
}
