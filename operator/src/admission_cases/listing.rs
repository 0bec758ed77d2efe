//! Lists the rules of the generated definitions.

use std::fmt;

use serde_json::Value;

use crate::api::schema;

/// Something that the API server checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub kind: &'static str,
    /// Names from the root; `[]` is a list's member, `{}` a map's.
    pub path: Vec<String>,
    pub test: Test,
}

/// What is checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Cel {
        rule: String,
        message: String,
        /// The field that is to blame, below the place of the rule.
        field: Option<String>,
    },
    Pattern,
    Enum,
    Minimum(i64),
    Maximum(i64),
    MinLength(usize),
    MaxLength(usize),
    MinItems(usize),
    MaxItems(usize),
    MaxProperties(usize),
    Required(String),
    /// No two members of a list are the same, or have the same keys.
    Unique,
    /// No other fields than the schema's; one that is not known is refused under strict
    /// field validation, which is what kubectl asks for.
    Known,
}

impl fmt::Display for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}: {:?}", self.kind, self.path.join("."), self.test)
    }
}

/// Types of Kubernetes itself. The bounds of these fields are ours, and listed; those of what
/// is in them are not: they come from one function of [`crate::api::schema`], not from us
/// field by field.
const UPSTREAM: [&str; 3] = ["affinity", "tolerations", "topologySpreadConstraints"];

/// Every rule on what a person writes.
#[must_use]
pub fn rules() -> Vec<Rule> {
    let kinds = ["Orchestrator", "TranscoderPool", "Gateway"];
    let mut found = Vec::new();
    for (kind, (_, definition)) in kinds.into_iter().zip(schema::definitions()) {
        let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        list(kind, root, &mut Vec::new(), &mut found);
    }
    found
}

fn list(kind: &'static str, schema: &Value, path: &mut Vec<String>, found: &mut Vec<Rule>) {
    list_here(kind, schema, path, found);
    descend(kind, schema, path, found);
}

/// The rules on one value, without those on what is in it.
fn list_here(kind: &'static str, schema: &Value, path: &[String], found: &mut Vec<Rule>) {
    let mut add = |test| {
        found.push(Rule {
            kind,
            path: path.to_vec(),
            test,
        });
    };
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        add(Test::Cel {
            rule: text("rule"),
            message: text("message"),
            field: rule["fieldPath"]
                .as_str()
                .map(|path| path.trim_start_matches('.').to_owned()),
        });
    }
    let size = |key: &str| {
        schema[key]
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
    };
    // a quantity's length only bounds the cost of its CEL rule
    let is_text = schema["type"] == "string";
    let tests = [
        schema.get("pattern").map(|_| Test::Pattern),
        schema.get("enum").map(|_| Test::Enum),
        schema["minimum"].as_i64().map(Test::Minimum),
        schema["maximum"].as_i64().map(Test::Maximum),
        size("minLength").map(Test::MinLength),
        size("maxLength").filter(|_| is_text).map(Test::MaxLength),
        size("minItems").map(Test::MinItems),
        size("maxItems").map(Test::MaxItems),
        size("maxProperties").map(Test::MaxProperties),
        schema.get("properties").map(|_| Test::Known),
        (schema["x-kubernetes-list-type"] == "map" || schema["x-kubernetes-list-type"] == "set")
            .then_some(Test::Unique),
    ];
    tests.into_iter().flatten().for_each(&mut add);
    for field in schema["required"].as_array().into_iter().flatten() {
        let field = field.as_str().unwrap_or_default().to_owned();
        // every object has a spec field by its type; one without is refused by name
        add(Test::Required(field));
    }
}

fn descend(kind: &'static str, schema: &Value, path: &mut Vec<String>, found: &mut Vec<Rule>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let metadata_or_status = path.is_empty() && name != "spec";
        let upstream = path.last().is_some_and(|last| last == "podTemplate")
            && UPSTREAM.contains(&name.as_str());
        if metadata_or_status {
            continue;
        }
        path.push(name.clone());
        if upstream {
            list_here(kind, below, path, found);
        } else {
            list(kind, below, path, found);
        }
        path.pop();
    }
    for (mark, key) in [("[]", "items"), ("{}", "additionalProperties")] {
        if let Some(below) = schema.get(key) {
            path.push(mark.to_owned());
            list(kind, below, path, found);
            path.pop();
        }
    }
}
