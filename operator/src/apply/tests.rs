//! Applying, against an API server that is a table: what is asked, and what is not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::verified::Verified;
use super::{ApplyError, Owner, apply, apply_drawn};
use crate::apply::child::{Child, ChildKind};
use crate::build::tests::owner;

/// Objects by path, and the requests that came, as `METHOD path`.
#[derive(Clone, Default)]
pub(crate) struct Table {
    objects: BTreeMap<String, Value>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Status with which every write is refused.
    refuses: Option<StatusCode>,
    /// Those alone whose name ends so.
    refuses_only: &'static str,
    /// What is said then, if not `said so`.
    pub(crate) says: String,
}

impl Table {
    /// One with these objects.
    pub(crate) fn of<'a>(objects: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let objects = objects.into_iter();
        Self {
            objects: objects
                .map(|(name, object)| (name.to_owned(), object))
                .collect(),
            ..Self::default()
        }
    }

    /// One that refuses every write.
    pub(crate) fn refusing<const N: usize>(code: StatusCode, objects: [(&str, Value); N]) -> Self {
        let objects = objects.map(|(name, object)| (name.to_owned(), object));
        Self {
            objects: objects.into(),
            refuses: Some(code),
            ..Self::default()
        }
    }

    pub(crate) fn asked(&self, method: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let all = asked.iter();
        all.filter(|line| line.starts_with(method))
            .cloned()
            .collect()
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, Value) {
        if path == "/api/v1/namespaces/ns" {
            return (StatusCode::OK, json!({"metadata": {"name": "ns"}}));
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        let list = last.ends_with('s') && path.matches('/').count() < 7 && !last.contains('-');
        match (method, self.objects.get(last)) {
            (&Method::GET, _) if list => {
                let meta = json!({"resourceVersion": "1"});
                (StatusCode::OK, json!({"metadata": meta, "items": []}))
            }
            (&Method::GET, Some(object)) => (StatusCode::OK, object.clone()),
            (&Method::GET, None) => {
                let code = StatusCode::NOT_FOUND;
                (code, failure(code, ""))
            }
            _ => match self.refuses.filter(|_| last.ends_with(self.refuses_only)) {
                None => {
                    let metadata = json!({"name": last, "resourceVersion": "2"});
                    (StatusCode::OK, json!({"metadata": metadata}))
                }
                Some(code) if self.says.is_empty() => (code, failure(code, "said so")),
                Some(code) => (code, failure(code, &self.says)),
            },
        }
    }
}

fn failure(code: StatusCode, message: &str) -> Value {
    // the client knows by the reason what is not there
    let reason = if code == StatusCode::NOT_FOUND {
        "NotFound"
    } else {
        ""
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": code.as_u16()})
}

impl Service<Request<Body>> for Table {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, path) = (request.method(), request.uri().path());
        let line = format!("{method} {path}");
        self.asked.lock().unwrap().push(line);
        let (status, body) = self.answer(method, path);
        let mut response = Response::new(Body::from(body.to_string().into_bytes()));
        *response.status_mut() = status;
        ready(Ok(response))
    }
}

fn children(owner: &Owner) -> Vec<Child> {
    let child = |kind, name: &str, rest: Value| Child::new(kind, name, &rest, &owner.reference);
    vec![
        child(
            ChildKind::Deployment,
            "a-pool",
            json!({"spec": {"replicas": 1}}),
        ),
        child(
            ChildKind::Secret,
            "a-pool-credentials",
            json!({"data": {"k": "eA=="}}),
        ),
        child(
            ChildKind::Service,
            "a-pool-service",
            json!({"spec": {"type": "ClusterIP"}}),
        ),
    ]
}

#[tokio::test]
async fn a_foreign_object_keeps_every_child_as_it_is_but_for_secrets_that_are_there() {
    let owner = owner("TranscoderPool", "a");
    let written = async |secret: Option<Value>| {
        let foreign = json!({"metadata": {"name": "a-pool-service", "resourceVersion": "1"}});
        let secret = secret.map(|secret| ("a-pool-credentials", secret));
        let table = Table::of(secret.into_iter().chain([("a-pool-service", foreign)]));
        let client = Client::new(table.clone(), "ns");
        let refused = apply(&client, &Verified::default(), &owner, children(&owner)).await;
        assert!(matches!(
            refused,
            Err(ApplyError::NameConflict { object }) if object.starts_with("Se")
        ));
        assert_eq!(table.asked("DELETE"), Vec::<String>::new());
        table.asked("PATCH")
    };
    let theirs = json!({"metadata": {"name": "a-pool-credentials", "resourceVersion": "1"}});
    for nothing_of_ours in [None, Some(theirs.clone())] {
        assert_eq!(written(nothing_of_ours).await, Vec::<String>::new());
    }
    let mut revoked = theirs;
    revoked["metadata"]["ownerReferences"] = json!([owner.reference]);
    revoked["data"] = json!({"k": "eA==", "revoked": "eA=="});
    let path = "/api/v1/namespaces/ns/secrets/a-pool-credentials";
    let asked = written(Some(revoked)).await;
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|line| line.ends_with(path)), "{asked:?}");
}

#[tokio::test]
async fn what_is_refused_keeps_nothing_beside_it_from_being_written() {
    let mut table = Table::refusing(StatusCode::FORBIDDEN, []);
    table.refuses_only = "a-pool-service";
    let client = Client::new(table.clone(), "ns");
    let owner = owner("TranscoderPool", "a");
    let verified = Verified::default();
    let mut children = children(&owner);
    let secret = children[1].clone();
    children.swap(1, 2);
    let refused = apply(&client, &verified, &owner, children).await;
    assert!(matches!(refused, Err(ApplyError::Refused { .. })));
    let key = super::key(&owner, &secret);
    verified.saw(key.clone(), Some("2".into()), false);
    assert!(
        verified.is_right(&key, &secret.hash),
        "its answer was not waited for"
    );
}

#[tokio::test]
async fn credentials_are_not_made_from_a_key_that_could_not_be_written_down() {
    let (owner, name) = (owner("Orchestrator", "a"), "a-orchestrator-key");
    let data = json!({"data": {"key": "eA=="}});
    let mut key = Child::new(ChildKind::Secret, name, &data, &owner.reference);
    key.drawn = true;
    let mut children = children(&owner);
    children.push(key);
    let foreign = json!({"metadata": {"name": name, "resourceVersion": "1"}});
    let mut refused = Table::refusing(StatusCode::FORBIDDEN, []);
    refused.refuses_only = name;
    for (table, writable) in [
        (Table::default(), true),
        (refused, false),
        (Table::of([(name, foreign)]), false),
    ] {
        let client = Client::new(table.clone(), "ns");
        let made = apply_drawn(&client, &Verified::default(), &owner, &children).await;
        assert_eq!(made.is_ok(), writable, "{made:?}");
        let asked = table.asked("");
        let beside = |line: &&String| !line.ends_with(name) && !line.ends_with("/namespaces/ns");
        assert_eq!(asked.iter().find(beside), None, "of the key alone");
        assert_eq!(
            made.unwrap_or_default().written.len(),
            usize::from(writable)
        );
    }
}

#[tokio::test]
async fn what_pods_mount_is_written_before_the_pods() {
    let table = Table::default();
    let client = Client::new(table.clone(), "ns");
    let owner = owner("TranscoderPool", "a");
    let applied = apply(&client, &Verified::default(), &owner, children(&owner)).await;
    let written = applied.unwrap().written;
    assert_eq!(written.len(), 3);
    assert_eq!(written.last().unwrap(), "Deployment a-pool");
    let asked = table.asked("PATCH");
    assert!(
        asked.last().unwrap().ends_with("/deployments/a-pool"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn one_that_is_held_stays_as_it_is_and_so_does_what_its_pods_may_mount() {
    let table = Table::default();
    let client = Client::new(table.clone(), "ns");
    let owner = owner("TranscoderPool", "a");
    let mut children = children(&owner);
    children[0].held = true;
    let applied = apply(&client, &Verified::default(), &owner, children).await;
    assert_eq!(applied.unwrap().written.len(), 2);
    let asked = table.asked("");
    let touched = asked
        .iter()
        .any(|line| line.ends_with("/deployments/a-pool"));
    assert!(!touched, "{asked:?}");
    let swept = asked.iter().any(|line| line.ends_with("/secrets"));
    assert!(!swept, "{asked:?}");
}

#[tokio::test]
async fn what_is_invalid_is_told_from_what_is_refused_today_and_from_what_goes_by_itself() {
    let told = async |code| {
        let table = Table {
            refuses: Some(code),
            ..Table::default()
        };
        let client = Client::new(table, "ns");
        let owner = owner("TranscoderPool", "a");
        let children = children(&owner);
        apply(&client, &Verified::default(), &owner, children)
            .await
            .unwrap_err()
    };
    for code in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN] {
        let error = told(code).await;
        assert!(matches!(error, ApplyError::Refused { .. }), "{error:?}");
    }
    let error = told(StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(matches!(&error, ApplyError::Invalid { message, .. } if message == "said so"));
    for code in [StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR] {
        let error = told(code).await;
        assert!(matches!(error, ApplyError::NotWritten { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_config_map_or_secret_that_a_hand_made_immutable_is_made_again() {
    let owner = owner("TranscoderPool", "a");
    for (kind, path, immutable) in [
        (ChildKind::ConfigMap, "configmaps", false),
        (ChildKind::ConfigMap, "configmaps", true),
        (ChildKind::Secret, "secrets", true),
    ] {
        let name = "a-pool-part";
        let data = json!({"data": {"k": "eA=="}});
        let child = Child::new(kind, name, &data, &owner.reference);
        let mut live = child.object.clone();
        live["metadata"]["resourceVersion"] = "1".into();
        live["immutable"] = immutable.into();
        let mut table = Table::default();
        table.objects.insert(name.into(), live);
        let client = Client::new(table.clone(), "ns");
        let children = vec![child.clone()];
        let applied = apply(&client, &Verified::default(), &owner, children).await;
        assert_eq!(applied.unwrap().written.is_empty(), !immutable);
        let asked = table.asked.lock().unwrap();
        let writes: Vec<_> = asked
            .iter()
            .filter(|line| !line.starts_with("GET"))
            .collect();
        let path = format!("/api/v1/namespaces/ns/{path}/{name}");
        let wanted: &[String] = if immutable {
            &[format!("DELETE {path}"), format!("PATCH {path}")]
        } else {
            &[]
        };
        assert!(writes.into_iter().eq(wanted), "{asked:?}");
    }
}

#[tokio::test]
async fn an_immutable_secret_that_is_the_only_copy_is_never_deleted_and_says_what_to_do() {
    let owner = owner("Orchestrator", "a");
    let name = "a-orchestrator-key";
    let data = json!({"data": {"key": "eA=="}});
    let mut child = Child::new(ChildKind::Secret, name, &data, &owner.reference);
    child.only_copy = true;
    for (data, right) in [(json!({"key": "eA=="}), true), (json!({}), false)] {
        let mut live = child.object.clone();
        live["metadata"]["resourceVersion"] = "1".into();
        live["immutable"] = true.into();
        live["data"] = data;
        let mut table = Table {
            refuses: Some(StatusCode::UNPROCESSABLE_ENTITY),
            ..Table::default()
        };
        table.objects.insert(name.into(), live);
        let client = Client::new(table.clone(), "ns");
        let children = vec![child.clone()];
        let applied = apply(&client, &Verified::default(), &owner, children).await;
        assert_eq!(applied.is_ok(), right);
        if let Err(error) = applied {
            assert!(error.to_string().contains("delete it"), "{error}");
        }
        assert_eq!(table.asked("DELETE"), Vec::<String>::new());
    }
}
