//! Every rule of the CustomResourceDefinitions, put to the real API server: one object
//! that it takes, one that it refuses, naming the field's whole path and the rule.

use anyhow::{Context as _, Result, anyhow, ensure};
use kube::Client;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Request;
use livepeer_e2e::install;
use livepeer_operator::admission_cases::{Case, cases};
use serde_json::Value;

use crate::support::network;

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_takes_what_is_right_and_refuses_what_is_not() -> Result<()> {
    network("admit", |network| async move {
        let mut failures = Vec::new();
        for case in cases().map_err(|error| anyhow!(error))? {
            let api = install::resources(&network.cluster, &network.namespace, case.rule.kind);
            if let Err(error) = put_to(&network.cluster.client(), &api, &case).await {
                failures.push(format!("{}: {error:#}", case.rule));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    })
    .await
}

async fn put_to(client: &Client, api: &kube::Api<DynamicObject>, case: &Case) -> Result<()> {
    let refused = if case.is_about_change() {
        let accepted: DynamicObject = serde_json::from_value(case.accepted.clone())?;
        let name = accepted
            .metadata
            .name
            .clone()
            .context("a case without a name")?;
        api.create(&PostParams::default(), &accepted)
            .await
            .context("refused what is right")?;
        let answer = api
            .patch(
                &name,
                &PatchParams::default(),
                &Patch::Merge(&case.rejected),
            )
            .await;
        api.delete(&name, &DeleteParams::default()).await?;
        answer
    } else {
        let right = strict(api, &case.accepted)?;
        client
            .request::<DynamicObject>(right)
            .await
            .context("refused what is right")?;
        let wrong = strict(api, &case.rejected)?;
        client.request::<DynamicObject>(wrong).await
    };
    let Err(kube::Error::Api(answer)) = refused else {
        anyhow::bail!("took what is wrong");
    };
    for says in &case.says {
        ensure!(
            answer.message.contains(says),
            "the refusal does not say `{says}`: {}",
            answer.message
        );
    }
    Ok(())
}

/// Asks to create an object, dry, and as strictly as kubectl: an unknown field is an error.
fn strict(api: &kube::Api<DynamicObject>, object: &Value) -> Result<http::Request<Vec<u8>>> {
    let dry = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let body = serde_json::to_vec(object)?;
    let mut request = Request::new(api.resource_url()).create(&dry, body)?;
    let strict = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = strict.parse()?;
    Ok(request)
}
