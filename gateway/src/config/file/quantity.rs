//! Values with a unit, as people write them: `"10s"`, `"100ms"`, `"16MiB"`; and TOML values as JSON.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration above zero: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    pub(super) fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(milliseconds).map(|total| Self(Duration::from_millis(total)))
    }
}

/// A duration that may be nothing: `"0s"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait(pub(super) Duration);

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).map(|span| Self(span.0)).ok_or_else(|| no_duration(&text))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Self::parse(&text) {
            Some(span) if !span.0.is_zero() => Ok(span),
            Some(_) => {
                Err(de::Error::custom(format!("`{text}` would let nothing happen: write a longer time")))
            }
            None => Err(no_duration(&text)),
        }
    }
}

fn no_duration<E: de::Error>(text: &str) -> E {
    E::custom(format!(
        "`{text}` is not a duration: write a whole number and a unit, as in \"500ms\", \"10s\", \"5m\", \"1h\", \"30d\""
    ))
}

/// A size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) usize);

impl Bytes {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let scale: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(scale).and_then(|total| usize::try_from(total).ok()).map(Self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a size: write a whole number and a unit, as in \"64KiB\", \"16MiB\""
            ))
        })
    }
}

/// A TOML value as JSON. Dates and times become strings in the form of RFC 3339; JSON has no infinities or NaN, so
/// those become null.
pub(super) fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            serde_json::Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_whole_numbers_with_a_unit() {
        assert_eq!(Span::parse("1500ms").map(|span| span.0), Some(Duration::from_millis(1500)));
        assert_eq!(Span::parse("2 h").map(|span| span.0), Some(Duration::from_secs(7200)));
        assert_eq!(Span::parse("30d").map(|span| span.0), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(Bytes::parse("64KiB").map(|bytes| bytes.0), Some(65_536));
        for wrong in
            ["", "10", "s", "-1s", "1.5s", "10 parsecs", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(Span::parse(wrong).is_none(), "{wrong}");
        }
    }
}
