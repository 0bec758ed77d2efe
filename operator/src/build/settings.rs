//! The settings file of a pod, from the very types that the node parses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::PodSpec;
use livepeer_settings::{DeviceKind, Role, Settings};
use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::apply::child::hash;

/// The file's name in the pod.
pub const FILE: &str = "settings.toml";
/// Folder in the pod where it is mounted.
pub const FOLDER: &str = "/etc/livepeer/settings";
/// The volume that it is in.
pub const VOLUME: &str = "settings";
/// Folder in the pod where credentials are mounted, one file each.
pub const CREDENTIALS_FOLDER: &str = "/etc/livepeer/credentials";
/// Folder in the pod where the `data` claim is mounted.
pub const DATA_FOLDER: &str = "/var/lib/livepeer";
/// Folder in the pod for what a restart of its container may find again, and another pod not.
pub const SCRATCH_FOLDER: &str = "/tmp";
/// Folder in the pod where a gateway's ingest token is mounted.
pub const INGEST_FOLDER: &str = "/etc/livepeer/ingest";

/// Every address of the pod, as the kubelet and Services reach it.
#[must_use]
pub fn any_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// Settings that every role in a pod shares.
#[must_use]
pub fn common(
    role: Role,
    log_level: livepeer_settings::LogLevel,
    drain_deadline: std::time::Duration,
    has_gpu: bool,
) -> Settings {
    let mut settings = Settings {
        log_level,
        probe_addr: Some(any_address(role.probe_port())),
        ..Settings::default()
    };
    settings.drain.deadline = drain_deadline;
    settings.engine.device = if has_gpu {
        DeviceKind::Nvidia
    } else {
        DeviceKind::Cpu
    };
    settings
}

/// The file: the version, and what differs from the defaults.
#[must_use]
pub fn render(settings: &Settings) -> String {
    let mut table = differing(&to_table(settings), &to_table(&Settings::default()));
    table.insert("version".to_owned(), Toml::Integer(settings.version.into()));
    let body = toml::to_string(&table).expect("a table of settings prints as TOML");
    format!("# Written by livepeer-operator; changes are undone.\n{body}")
}

/// Hash of what needs a new process: it stands in the pod template, so that pods are
/// replaced when it changes and only then.
#[must_use]
pub fn rolling_hash(settings: &Settings) -> String {
    hash(&Value::from(render(&settings.without_live_fields())))
}

/// Key in the ConfigMap. Each pod template reads one of its own, so that older pods keep
/// settings that fit them.
#[must_use]
pub fn key(rolling_hash: &str) -> String {
    format!("settings-{rolling_hash}.toml")
}

/// The key that a pod reads. Where none is picked, each is a file, and the node reads one.
#[must_use]
pub fn key_read(pod: &PodSpec) -> Option<&str> {
    let mut volumes = pod.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == VOLUME)?;
    let picked = volume.config_map.as_ref()?.items.as_ref();
    let picked = picked.and_then(|items| items.first());
    Some(picked.map_or(FILE, |item| item.key.as_str()))
}

/// An older file with the live fields of `newest`; as it is where nothing of them differs, or
/// it is of a version that cannot be read here.
#[must_use]
pub fn with_live_fields(older: &str, newest: &Settings) -> String {
    match livepeer_settings::parse(FILE, older) {
        Ok(read) if read.with_live_fields(newest) != read => render(&read.with_live_fields(newest)),
        Ok(_) | Err(_) => older.to_owned(),
    }
}

fn to_table(settings: &Settings) -> Table {
    Table::try_from(settings)
        .expect("settings are representable as TOML: the node reads them from it")
}

fn differing(table: &Table, plain: &Table) -> Table {
    table
        .iter()
        .filter_map(|(key, value)| match (value, plain.get(key)) {
            (value, Some(default)) if value == default => None,
            (Toml::Table(below), Some(Toml::Table(default))) => {
                Some((key.clone(), Toml::Table(differing(below, default))))
            }
            (value, _) => Some((key.clone(), value.clone())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{common, render, rolling_hash};
    use livepeer_settings::{LogLevel, Role, Settings, parse};
    use std::time::Duration;

    fn settings() -> Settings {
        let mut settings = common(
            Role::Gateway,
            LogLevel::Info,
            Duration::from_secs(300),
            false,
        );
        settings.gateway.orchestrators = Vec::new();
        settings
    }

    #[test]
    fn the_node_reads_back_exactly_what_was_meant() {
        let mut full = settings();
        full.log_level = LogLevel::Debug;
        full.transcoder.max_sessions = Some(3);
        full.engine.device = livepeer_settings::DeviceKind::Nvidia;
        assert_eq!(parse("f", &render(&full)).unwrap(), full);
    }

    #[test]
    fn only_what_differs_from_the_defaults_is_written() {
        let text = render(&settings());
        assert!(
            text.contains("version = 1") && text.contains("orchestrators = []"),
            "{text}"
        );
        assert!(
            !text.contains("max_streams") && !text.contains("transcoder"),
            "{text}"
        );
    }

    #[test]
    fn a_live_field_keeps_the_pods_and_another_replaces_them() {
        let plain = settings();
        let mut live = plain.clone();
        live.log_level = LogLevel::Trace;
        live.gateway.profiles.clear();
        assert_eq!(rolling_hash(&plain), rolling_hash(&live));
        let mut rolls = plain.clone();
        rolls.drain.deadline = Duration::from_secs(1);
        assert_ne!(rolling_hash(&plain), rolling_hash(&rolls));
    }
}
