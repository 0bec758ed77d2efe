//! Every rule of the CustomResourceDefinitions, put to the real API server: one object
//! that it takes, one that it refuses, naming the field.

use anyhow::{Context as _, Result, anyhow, ensure};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use livepeer_e2e::install;
use livepeer_operator::admission_cases::{Case, cases};

use crate::support::network;

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_takes_what_is_right_and_refuses_what_is_not() -> Result<()> {
    network("admit", |network| async move {
        let mut failures = Vec::new();
        for case in cases().map_err(|error| anyhow!(error))? {
            let api = install::resources(&network.cluster, &network.namespace, case.rule.kind);
            if let Err(error) = put_to(&api, &case).await {
                failures.push(format!("{}: {error:#}", case.rule));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    })
    .await
}

async fn put_to(api: &kube::Api<DynamicObject>, case: &Case) -> Result<()> {
    let dry = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let accepted: DynamicObject = serde_json::from_value(case.accepted.clone())?;
    let refused = if case.is_about_change() {
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
        api.create(&dry, &accepted)
            .await
            .context("refused what is right")?;
        let rejected: DynamicObject = serde_json::from_value(case.rejected.clone())?;
        api.create(&dry, &rejected).await
    };
    let Err(kube::Error::Api(answer)) = refused else {
        anyhow::bail!("took what is wrong");
    };
    ensure!(
        answer.message.contains(&case.names),
        "the refusal does not name `{}`: {}",
        case.names,
        answer.message
    );
    Ok(())
}
