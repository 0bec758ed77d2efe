//! The settings that a resource's node has now: what no longer follows from anything else is
//! read from there.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::build::settings;
use crate::names::{Component, Part};

/// The settings of the resource called `name`; none where there is no such file.
pub async fn fetch(
    client: &Client,
    namespace: &str,
    component: Component,
    name: &str,
) -> Result<Option<toml::Table>, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = maps.get_opt(&component.child(name, Part::Settings)).await?;
    let file = map.and_then(|map| map.data?.remove(settings::FILE));
    Ok(file.as_deref().and_then(parse))
}

/// A settings file as a table, since another version of the operator may have written it, or a
/// hand.
pub fn parse(file: &str) -> Option<toml::Table> {
    file.parse().ok()
}
