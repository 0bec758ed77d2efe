//! What the API server was asked: its audit log, one event a finished request.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::Result;
use serde::Deserialize;

use super::{Cluster, daemons};

/// One finished request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub user: AuditUser,
    #[serde(default)]
    pub user_agent: String,
    pub object_ref: Option<AuditObject>,
    pub response_status: Option<AuditStatus>,
    /// RFC 3339 with microseconds.
    pub request_received_timestamp: String,
    pub stage_timestamp: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AuditUser {
    pub username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditObject {
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AuditStatus {
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    pub message: String,
}

impl AuditEvent {
    /// Whether the request could change something.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether an operator of ours asked, whatever namespace it is in.
    pub fn is_from_operator(&self) -> bool {
        self.user.username.starts_with("system:serviceaccount:")
            && self.user.username.ends_with(":livepeer-operator")
    }

    /// Kind of the object, in the API's plural.
    pub fn resource(&self) -> &str {
        self.object_ref
            .as_ref()
            .map_or("", |object| &object.resource)
    }

    /// Namespace of the object.
    pub fn namespace(&self) -> &str {
        self.object_ref
            .as_ref()
            .map_or("", |object| &object.namespace)
    }

    /// For a message: who did what, and how it was answered.
    pub fn line(&self) -> String {
        let (verb, uri, code) = (&self.verb, &self.request_uri, self.code());
        format!("{} {verb} {uri}: {code}", self.request_received_timestamp)
    }

    /// Whether a right was missing. The operator asks whether a namespace lives before it
    /// makes anything there; one that went in between is nobody's fault.
    pub fn is_forbidden(&self) -> bool {
        let message = self.response_status.as_ref().map(|status| &status.message);
        self.code() == 403 && message.is_none_or(|message| !message.contains("being terminated"))
    }

    /// The status of the answer; 0 if there was none.
    pub fn code(&self) -> u16 {
        self.response_status
            .as_ref()
            .map_or(0, |status| status.code)
    }
}

/// A place in the log, to read from it on.
#[derive(Clone, Copy, Debug)]
pub struct AuditMark(u64);

impl Cluster {
    /// The end of the audit log as it is now.
    pub fn audit_mark(&self) -> Result<AuditMark> {
        Ok(AuditMark(std::fs::metadata(daemons::audit_log())?.len()))
    }

    /// The events written since a mark, oldest first; a line being written is left out.
    pub fn audit_since(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        let mut log = File::open(daemons::audit_log())?;
        log.seek(SeekFrom::Start(mark.0))?;
        let mut written = Vec::new();
        log.read_to_end(&mut written)?;
        let text = String::from_utf8_lossy(&written);
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AuditEvent;

    #[test]
    fn an_event_of_the_api_server_is_read() {
        let line = r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","requestURI":"/api/v1/nodes","verb":"patch","user":{"username":"system:node:a","groups":["system:nodes"]},"sourceIPs":["10.88.0.1"],"userAgent":"kubelet","objectRef":{"resource":"nodes","name":"a","apiVersion":"v1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.100000Z"}"#;
        let event: AuditEvent = serde_json::from_str(line).unwrap();
        assert!(event.is_mutating());
        assert_eq!(event.code(), 200);
        assert_eq!(event.object_ref.unwrap().subresource, "status");
    }
}
