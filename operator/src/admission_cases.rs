//! An accepted and a rejected object for every rule of the CustomResourceDefinitions.
//!
//! The rules are listed from the generated definitions. Bounds (`maximum`, `enum`,
//! `required`, ...) are broken by changing a full object at that place, and so is the rule
//! that an object has no other fields than the schema's; CEL rules and patterns are broken
//! by the tables below, and a test fails for one that the tables forget. The end-to-end
//! tests put every case to a real API server. Test support: the operator itself does not
//! use it.

mod full;
mod listing;
mod refusal;

use serde_json::{Value, json};

pub use listing::{Rule, Test, rules};

/// One rule, put to the test.
#[derive(Debug, Clone)]
pub struct Case {
    pub rule: Rule,
    /// The API server takes this.
    pub accepted: Value,
    /// And refuses this: to create, or as an update of `accepted` for a rule about change.
    pub rejected: Value,
    /// What the refusal must say: the field's place as the API server writes it, and the
    /// rule where it has words of its own.
    pub says: Vec<String>,
}

impl Case {
    /// True for a rule that compares with the stored object.
    #[must_use]
    pub fn is_about_change(&self) -> bool {
        matches!(&self.rule.test, Test::Cel { rule, .. } if rule.contains("oldSelf"))
    }
}

/// Merge patches that break a CEL rule, by its message.
const BROKEN_RULES: [(&str, &str); 25] = [
    (
        "metadata.name may have at most",
        r#"{"metadata": {"name": "a-name-that-is-longer-than-its-childrens-names-allow"}}"#,
    ),
    (
        "metadata.name must start with a letter",
        r#"{"metadata": {"name": "0.dots"}}"#,
    ),
    (
        "must be an image reference",
        r#"{"spec": {"image": "two words"}}"#,
    ),
    (
        "must be one whole number",
        r#"{"spec": {"drain": {"deadline": "1m30s"}}}"#,
    ),
    (
        "must be at most 24h",
        r#"{"spec": {"drain": {"deadline": "25h"}}}"#,
    ),
    (
        "labels of app.kubernetes.io",
        r#"{"spec": {"podTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}}}"#,
    ),
    (
        "annotations of livepeer.org",
        r#"{"spec": {"podTemplate": {"metadata": {"annotations": {"livepeer.org/x": "x"}}}}}"#,
    ),
    (
        "labels have keys and values of",
        r#"{"spec": {"podTemplate": {"metadata": {"labels": {"bad label": "y"}}}}}"#,
    ),
    (
        "node labels have keys and values of",
        r#"{"spec": {"podTemplate": {"nodeSelector": {"disk": "two words"}}}}"#,
    ),
    (
        "annotations have keys of",
        r#"{"spec": {"podTemplate": {"metadata": {"annotations": {"-a": "b"}}}}}"#,
    ),
    (
        "a request must not be above the limit",
        r#"{"spec": {"podTemplate": {"resources": {"requests": {"memory": "2Gi"}}}}}"#,
    ),
    (
        "gpu needs transcoding: Embedded",
        r#"{"spec": {"transcoding": "Pools"}}"#,
    ),
    (
        "exactly one of count and claimTemplateName",
        r#"{"spec": {"gpu": {"claimTemplateName": "t"}}}"#,
    ),
    (
        "resource needs count",
        r#"{"spec": {"gpu": {"count": null, "claimTemplateName": "t"}}}"#,
    ),
    (
        "cannot be changed once the claim exists",
        r#"{"spec": {"storage": {"size": "2Gi"}}}"#,
    ),
    (
        "exactly one of ref and external",
        r#"{"spec": {"orchestrator": {"external": {"address": "https://o:1", "credentialSecretRef": {"name": "s", "key": "k"}}}}}"#,
    ),
    (
        "exactly one of refs and addresses",
        r#"{"spec": {"orchestrators": {"addresses": ["https://o:1"]}}}"#,
    ),
    (
        "exactly one of tokenSecretRef and allowUnauthenticated",
        r#"{"spec": {"ingest": {"http": {"allowUnauthenticated": true}}}}"#,
    ),
    (
        "must be true, or absent",
        r#"{"spec": {"ingest": {"http": {"allowUnauthenticated": false}}}}"#,
    ),
    (
        "width, height and bitrate go together",
        r#"{"spec": {"profiles": [{"name": "half", "width": 640}]}}"#,
    ),
    (
        "name must be one of the presets",
        r#"{"spec": {"profiles": [{"name": "P240p30fps16x10"}]}}"#,
    ),
    (
        "fps divided by fpsDen must be at most",
        r#"{"spec": {"profiles": [{"name": "P240p30fps16x9", "fps": 240001, "fpsDen": 1000}]}}"#,
    ),
    (
        "source is the name of the ingested stream",
        r#"{"spec": {"profiles": [{"name": "source"}]}}"#,
    ),
    (
        "must be at most 300 seconds",
        r#"{"spec": {"profiles": [{"name": "P240p30fps16x9", "gop": "301"}]}}"#,
    ),
    ("must be a quantity above 0", ""),
];

/// Texts that break a pattern, by the last name of the path.
const BROKEN_PATTERNS: [(&str, &str); 8] = [
    ("serviceUri", "http://no-tls:8935"),
    ("address", "https://host/with/path"),
    ("addresses", "https://user@host"),
    ("key", "no spaces"),
    ("resource", "gpu"),
    ("name", "../up"),
    ("gop", "often"),
    ("size", "big"),
];

/// Every rule with its case; `Err` names a rule that nobody broke yet.
pub fn cases() -> Result<Vec<Case>, String> {
    rules().into_iter().map(case).collect()
}

fn case(rule: Rule) -> Result<Case, String> {
    let accepted = full::objects(rule.kind)
        .into_iter()
        .find(|object| find(&mut object.clone(), &rule.path).is_some())
        .ok_or_else(|| format!("{rule}: no full object has this place"))?;
    let mut rejected = accepted.clone();
    if let Test::Cel { message, .. } = &rule.test {
        break_rule(&mut rejected, &rule.path, message)
            .ok_or_else(|| format!("{rule}: nothing breaks it"))?;
    } else {
        let last = rule
            .path
            .iter()
            .rev()
            .find(|name| !matches!(name.as_str(), "[]" | "{}"))
            .cloned()
            .unwrap_or_default();
        let place = find(&mut rejected, &rule.path).ok_or_else(|| format!("{rule}: no place"))?;
        break_bound(place, &rule.test, &last)
            .ok_or_else(|| format!("{rule}: nothing breaks it"))?;
    }
    Ok(Case {
        says: refusal::of(&rule, &accepted),
        rule,
        accepted,
        rejected,
    })
}

fn break_rule(object: &mut Value, path: &[String], message: &str) -> Option<()> {
    let (_, patch) = BROKEN_RULES
        .iter()
        .find(|(start, _)| message.starts_with(start))?;
    if patch.is_empty() {
        // quantities stand in many places
        *find(object, path)? = json!("many");
    } else {
        merge(object, &serde_json::from_str(patch).ok()?);
    }
    Some(())
}

fn break_bound(place: &mut Value, test: &Test, last: &str) -> Option<()> {
    *place = match test {
        Test::Cel { .. } => return None,
        Test::Enum => json!("NoSuchWord"),
        Test::Minimum(bound) => json!(bound - 1),
        Test::Maximum(bound) => json!(bound + 1),
        Test::MinLength(_) => json!(""),
        Test::MaxLength(bound) => json!("a".repeat(*bound + 1)),
        Test::MinItems(_) => json!([]),
        Test::MaxItems(bound) => copies(place.as_array()?.first()?, *bound + 1),
        Test::Unique => {
            let first = place.as_array()?.first()?.clone();
            json!([first.clone(), first])
        }
        Test::MaxProperties(bound) => {
            let value = place.as_object()?.values().next()?.clone();
            (0..=*bound)
                .map(|at| (format!("k{at}"), value.clone()))
                .collect()
        }
        Test::Required(field) => {
            place.as_object_mut()?.remove(field)?;
            return Some(());
        }
        Test::Known => {
            place
                .as_object_mut()?
                .insert(refusal::UNKNOWN.to_owned(), json!(1));
            return Some(());
        }
        Test::Pattern => {
            let (_, text) = BROKEN_PATTERNS.iter().find(|(name, _)| *name == last)?;
            json!(text)
        }
    };
    Some(())
}

/// `number` copies that differ where a list wants its members to differ.
fn copies(item: &Value, number: usize) -> Value {
    let copy = |at: usize| match item {
        Value::String(text) => json!(format!("{text}{at}")),
        other => {
            let mut other = other.clone();
            if other.get("name").is_some() {
                other["name"] = json!(format!("n{at}"));
            }
            other
        }
    };
    (0..number).map(copy).collect()
}

/// The value at a path, through the first member of lists and maps.
fn find<'a>(object: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(object, |place, name| match name.as_str() {
            "[]" => place.as_array_mut()?.first_mut(),
            "{}" => place.as_object_mut()?.values_mut().next(),
            name => place.get_mut(name),
        })
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BROKEN_RULES, Test, cases, rules};

    #[test]
    fn every_rule_has_an_accepted_and_a_rejected_object() {
        for case in cases().unwrap() {
            assert_ne!(case.accepted, case.rejected, "{}", case.rule);
        }
    }

    #[test]
    fn no_table_breaks_a_rule_that_is_gone() {
        let messages: Vec<_> = rules()
            .into_iter()
            .filter_map(|rule| match rule.test {
                Test::Cel { message, .. } => Some(message),
                _ => None,
            })
            .collect();
        for (start, _) in BROKEN_RULES {
            assert!(
                messages.iter().any(|message| message.starts_with(start)),
                "{start}"
            );
        }
    }

    #[test]
    fn the_bounds_of_fields_whose_type_is_kubernetes_own_are_listed_and_what_is_in_them_is_not() {
        let template = ["spec", "podTemplate"];
        for (field, bound) in [("tolerations", 32), ("topologySpreadConstraints", 16)] {
            let path: Vec<_> = template.into_iter().chain([field]).collect();
            let here: Vec<_> = rules()
                .into_iter()
                .filter(|rule| rule.kind == "Gateway" && rule.path.starts_with(&owned(&path)))
                .map(|rule| (rule.path.len(), rule.test))
                .collect();
            assert_eq!(here, [(3, Test::MaxItems(bound))], "{field}");
        }
    }

    fn owned(path: &[&str]) -> Vec<String> {
        path.iter().map(|&name| name.to_owned()).collect()
    }
}
