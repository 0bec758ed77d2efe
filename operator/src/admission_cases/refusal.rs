//! What the API server says of an object that breaks a rule: the place in the spelling of
//! its validation (apiextensions-apiserver, `pkg/apiserver`), and the rule's own words.

use serde_json::Value;

use super::{Rule, Test};

/// A field that no schema has.
pub(super) const UNKNOWN: &str = "notAField";

/// What the API server says of an object that breaks a rule where `accepted` does not.
pub(super) fn of(rule: &Rule, accepted: &Value) -> Vec<String> {
    match &rule.test {
        Test::Cel { message, field, .. } => {
            let mut place = written(accepted, &rule.path, |key| format!("[{key}]"));
            if let Some(field) = field {
                place = below(&place, field);
            }
            // the rules on the whole object have no place
            let place = (!place.is_empty()).then(|| format!("{place}: "));
            place.into_iter().chain([message.clone()]).collect()
        }
        Test::Known => {
            let object = written(accepted, &rule.path, |key| format!(".{key}"));
            vec![format!("unknown field \"{}\"", below(&object, UNKNOWN))]
        }
        Test::Required(field) => {
            let object = written(accepted, &rule.path, |key| format!(".{key}"));
            vec![format!("{}: Required value", below(&object, field))]
        }
        Test::Unique => {
            let list = written(accepted, &rule.path, |key| format!(".{key}"));
            vec![format!("{list}[1]: Duplicate value")]
        }
        Test::Pattern
        | Test::Enum
        | Test::Minimum(_)
        | Test::Maximum(_)
        | Test::MinLength(_)
        | Test::MaxLength(_)
        | Test::MinItems(_)
        | Test::MaxItems(_)
        | Test::MaxProperties(_) => {
            let place = written(accepted, &rule.path, |key| format!(".{key}"));
            vec![format!("{place}: ")]
        }
    }
}

/// A path as the API server writes it, through the first member of lists and maps. It
/// writes a map's key in two ways: after a dot for a bound, in brackets for a CEL rule.
fn written(object: &Value, path: &[String], key: impl Fn(&str) -> String) -> String {
    let mut place = Some(object);
    let mut text = String::new();
    for name in path {
        match name.as_str() {
            "[]" => {
                text.push_str("[0]");
                place = place.and_then(|list| list.get(0));
            }
            "{}" => {
                let first = place.and_then(Value::as_object);
                let first = first.and_then(|map| map.iter().next());
                text += &key(first.map_or("", |(key, _)| key));
                place = first.map(|(_, value)| value);
            }
            name => {
                text = below(&text, name);
                place = place.and_then(|object| object.get(name));
            }
        }
    }
    text
}

/// The path of an object's field.
fn below(object: &str, field: &str) -> String {
    if object.is_empty() {
        field.to_owned()
    } else {
        format!("{object}.{field}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Case, cases};

    fn said(cases: &[Case], kind: &str, says: &[&str]) {
        let found = |case: &Case| case.rule.kind == kind && case.says == says;
        assert!(cases.iter().any(found), "{kind}: {says:?}");
    }

    #[test]
    fn a_refusal_names_the_place_as_the_api_server_writes_it() {
        let cases = cases().unwrap();
        said(&cases, "Gateway", &["spec.profiles[0].width: "]);
        said(
            &cases,
            "Gateway",
            &["spec.profiles[0].name: Required value"],
        );
        let labels = "spec.podTemplate.metadata.labels.example.com/tier_1.x: ";
        said(&cases, "Gateway", &[labels]);
        let quantity = "must be a quantity above 0, such as 500m or 2Gi";
        let cpu = "spec.podTemplate.resources.requests[cpu]: ";
        said(&cases, "Orchestrator", &[cpu, quantity]);
        said(&cases, "Gateway", &["spec.profiles[1]: Duplicate value"]);
        let too_fast = "fps divided by fpsDen must be at most 240 frames a second";
        said(&cases, "Gateway", &["spec.profiles[0].fps: ", too_fast]);
    }

    #[test]
    fn every_object_has_a_case_with_a_field_that_is_not_known() {
        let cases = cases().unwrap();
        for (kind, nested) in [
            ("Orchestrator", "spec.storage"),
            ("TranscoderPool", "spec.orchestrator.external"),
            ("Gateway", "spec.profiles[0]"),
        ] {
            for object in ["spec", nested] {
                let refusal = format!("unknown field \"{object}.notAField\"");
                said(&cases, kind, &[&refusal]);
            }
        }
    }
}
