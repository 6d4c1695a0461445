//! What `leasehold check` says of an account.

use super::world::{ISSUER, World};
use crate::ground::PROGRAM;

impl World {
    /// The exit status, and what is printed.
    async fn check(&self) -> (Option<i32>, String) {
        let config = self.stage.config.write();
        let checked = tokio::process::Command::new(PROGRAM).arg("check").arg("--config").arg(config).output();
        let checked = checked.await.expect("run it");
        (checked.status.code(), String::from_utf8_lossy(&checked.stdout).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_policies_that_are_needed_are_printed_and_an_issuer_with_a_port_is_refused() {
    let world = World::new().await;
    let (status, said) = world.check().await;
    for needed in [
        // The broker signs nothing here: what its own role must trust is told instead.
        "arn:aws:iam::123456789012:oidc-provider/leasehold.example.org/cloud",
        "leasehold.example.org/cloud:sub",
        &format!("leasehold:{}:aws-prod", world.stage.cluster),
        &format!("leasehold:{}:direct-bucket", world.stage.cluster),
        "sts:AssumeRoleWithWebIdentity",
        "create-open-id-connect-provider",
    ] {
        assert!(said.contains(needed), "{needed}: {said}");
    }
    assert_eq!(status, Some(0), "{said}");
    let text = world.stage.config.text().replace(ISSUER, "https://leasehold.example.org:8440");
    let file = world.stage.config.write();
    std::fs::write(&file, text).expect("write it");
    let checked =
        tokio::process::Command::new(PROGRAM).arg("check").arg("--config").arg(&file).output().await.expect("run it");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.code() == Some(1) && said.contains("AWS takes no issuer with a port"), "{said}");
}
