//! A moment in a file of cases: a date, or so long from now, since a certificate that ends tomorrow should do so every day.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use time::{Date, Month, Time, UtcDateTime};
use toml::value::{Datetime, Offset};

use crate::certificate::unix_now;

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    /// `90d` from now, `-1d` ago; the units are those of the configuration's durations above a second.
    pub(super) fn from_now(text: &str) -> Option<Self> {
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, unit) = rest.split_at_checked(digits)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let seconds = number.parse::<i64>().ok()?.checked_mul(unit)?.checked_mul(sign)?;
        unix_now().checked_add(seconds).map(Self)
    }

    /// RFC 3339, with a date, a time and an offset.
    fn of(moment: &Datetime) -> Option<Self> {
        let (date, time, offset) = (moment.date?, moment.time?, moment.offset?);
        let date =
            Date::from_calendar_date(date.year.into(), Month::try_from(date.month).ok()?, date.day).ok()?;
        let time = Time::from_hms(time.hour, time.minute, time.second.unwrap_or(0)).ok()?;
        let east = match offset {
            Offset::Z => 0,
            Offset::Custom { minutes } => i64::from(minutes) * 60,
        };
        Some(Self(UtcDateTime::new(date, time).unix_timestamp() - east))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let moment = match &value {
            toml::Value::String(text) => Self::from_now(text),
            toml::Value::Datetime(moment) => Self::of(moment),
            _ => None,
        };
        moment.ok_or_else(|| de::Error::custom(NotOne(&value)))
    }
}

struct NotOne<'a>(&'a toml::Value);

impl fmt::Display for NotOne<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` is no moment: write a time from now, as in \"90d\" or \"-1h\", or 2030-01-01T00:00:00Z",
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_so_long_from_now() {
        let of = |text: &str| Moment::of(&text.parse().unwrap()).map(|moment| moment.0);
        assert_eq!(of("1970-01-02T00:00:01Z"), Some(86_401));
        assert_eq!(of("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(of("1970-01-01"), None);
        let tomorrow = Moment::from_now("1d").unwrap().0 - unix_now();
        assert!((86_399..=86_400).contains(&tomorrow), "{tomorrow}");
        assert!(Moment::from_now("-30d").unwrap().0 < unix_now());
        for wrong in ["", "d", "30", "1.5d", "1w", "--1d", "99999999999999999999d"] {
            assert_eq!(Moment::from_now(wrong), None, "{wrong}");
        }
    }
}
