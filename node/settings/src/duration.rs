//! Durations as people write them in manifests: `30s`, `5m`, `250ms`, `1h`.
//!
//! One number and one unit, as the custom resources spell them too. Not a general
//! parser: `1h30m` is refused, so that one text has one meaning.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write a whole number and a unit, such as `250ms`, `30s` or `5m`")]
pub struct DurationError(pub String);

/// The units, longest duration first, so that printing finds the largest that fits.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses `<whole number><ms|s|m|h>`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refuse = || DurationError(text.to_owned());
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let (_, millis) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(refuse)?;
    number
        .checked_mul(*millis)
        .map(Duration::from_millis)
        .ok_or_else(refuse)
}

/// Prints a duration so that [`parse`] reads it back, down to a millisecond.
#[must_use]
pub fn print(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let (name, unit) = UNITS
        .iter()
        .find(|(_, unit)| millis.is_multiple_of(*unit))
        .expect("every whole number is a multiple of one millisecond");
    format!("{}{name}", millis / unit)
}

/// `#[serde(with = "duration")]`: reading.
pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(input)?).map_err(D::Error::custom)
}

/// `#[serde(with = "duration")]`: writing.
pub fn serialize<S: Serializer>(duration: &Duration, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(&print(*duration))
}

#[cfg(test)]
mod tests {
    use super::{parse, print};
    use std::time::Duration;

    #[test]
    fn every_unit_parses_and_prints_back_the_same() {
        for text in ["250ms", "30s", "5m", "1h", "0s", "90s"] {
            assert_eq!(print(parse(text).unwrap()), text);
        }
        assert_eq!(parse("60s").unwrap(), Duration::from_secs(60));
        assert_eq!(print(Duration::from_secs(60)), "1m");
    }

    #[test]
    fn a_text_without_number_or_known_unit_is_refused_and_named() {
        for text in [
            "",
            "5",
            "s",
            "5 m",
            "-1s",
            "1.5s",
            "1h30m",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text).unwrap_err().0, text);
        }
    }
}
