//! Kubernetes quantities (`500m`, `2Gi`) as they stand in our specs.
//!
//! A person writes `cpu: 2` as often as `cpu: "2"`, so both are read; the API server
//! proves with `isQuantity` that the text is one. Comparison is by value, since the
//! API server rewrites quantities (`1000m` becomes `1`) in what it stores.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubeQuantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest quantity anybody writes; bounds the cost of the CEL rule.
const MAX_LENGTH: u32 = 32;

/// A quantity, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quantity(pub String);

impl Quantity {
    /// The type of built-in resources.
    #[must_use]
    pub fn to_kube(&self) -> KubeQuantity {
        KubeQuantity(self.0.clone())
    }

    /// Whole bytes, rounded down. `None` for what is not a quantity.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let nanos = nanos(&self.0)?;
        u64::try_from(nanos / NANO).ok()
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            Text(String),
        }
        Ok(Self(match IntOrString::deserialize(input)? {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::Text(text) => text,
        }))
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [{
                "rule": "isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))",
                "message": "must be a quantity above 0, such as 500m or 2Gi",
            }],
        })
    }
}

/// True when both texts are quantities of one value.
#[must_use]
pub fn same_value(left: &str, right: &str) -> bool {
    left == right || nanos(left).is_some_and(|value| Some(value) == nanos(right))
}

/// What `wanted` is above `held`, rounded up to thousandths; `None` when that is nothing.
#[must_use]
pub fn beyond(wanted: &str, held: &str) -> Option<String> {
    let more = nanos(wanted)?.checked_sub(nanos(held)?)?;
    let milli = NANO / 1_000;
    (more > 0).then(|| match more % NANO {
        0 => (more / NANO).to_string(),
        _ => format!("{}m", (more + milli - 1) / milli),
    })
}

const NANO: i128 = 1_000_000_000;

/// Suffixes of apimachinery's `resource.Quantity`, as numerator and denominator.
const SUFFIXES: [(&str, i128, i128); 16] = [
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
    ("n", 1, NANO),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", NANO, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
    ("", 1, 1),
];

/// The value in billionths, the finest that Kubernetes keeps. Exponents (`1e3`) are
/// not read: they compare as text, which costs one needless apply at worst.
fn nanos(text: &str) -> Option<i128> {
    let (suffix, numerator, denominator) = SUFFIXES
        .into_iter()
        .find(|(suffix, ..)| text.ends_with(suffix))?;
    let number = &text[..text.len() - suffix.len()];
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let digits: i128 = format!("{fraction:0<9}").parse().ok()?;
    let signed = if number.starts_with('-') {
        -digits
    } else {
        digits
    };
    whole
        .checked_mul(NANO)?
        .checked_add(signed)?
        .checked_mul(numerator)
        .map(|value| value / denominator)
}

#[cfg(test)]
mod tests {
    use super::{Quantity, beyond, same_value};

    #[test]
    fn quantities_of_one_value_are_the_same_however_written() {
        for (left, right) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
        ] {
            assert!(same_value(left, right), "{left} {right}");
        }
        assert!(!same_value("1G", "1Gi"));
        assert!(!same_value("x", "y"));
    }

    #[test]
    fn what_is_beyond_another_is_a_quantity_and_what_is_not_is_none() {
        for (wanted, held, more) in [
            ("2", "500m", Some("1500m")),
            ("1Gi", "1023Mi", Some("1048576")),
            ("1", "0", Some("1")),
            ("1000n", "0", Some("1m")),
            ("1", "1000m", None),
            ("100m", "2", None),
            ("x", "0", None),
        ] {
            assert_eq!(beyond(wanted, held).as_deref(), more, "{wanted} {held}");
        }
    }

    #[test]
    fn a_number_without_quotes_is_a_quantity_too() {
        let quantity: Quantity = serde_json::from_str("2").unwrap();
        assert_eq!(quantity, Quantity("2".into()));
    }

    #[test]
    fn bytes_are_whole_and_text_that_is_no_quantity_has_none() {
        assert_eq!(Quantity("2Gi".into()).bytes(), Some(2 << 30));
        assert_eq!(Quantity("1500m".into()).bytes(), Some(1));
        assert_eq!(Quantity("lots".into()).bytes(), None);
    }
}
