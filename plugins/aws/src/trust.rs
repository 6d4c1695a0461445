//! The policies that an operator gives in AWS: whom a role trusts, and what the broker itself may do. Printed by `check`, never written.

use serde_json::{Value, json};

use crate::arn::Arn;
use crate::role::{Method, Revocation, RoleConfig};
use crate::target::TargetConfig;
use crate::user;

/// Who asks for a role's sessions.
pub(crate) enum Asker<'a> {
    /// The broker's own login, by its ARN.
    Login(&'a str),
    /// Whoever has an assertion of this issuer about this.
    Assertion {
        /// The issuer's URL.
        issuer: &'a str,
        /// `leasehold:<cluster>:<role or target>`.
        subject: String,
        /// Whom the assertion is for.
        audience: &'a str,
    },
    /// Whoever has an SVID of this identity, by way of a trust anchor.
    Svid {
        /// The trust anchor's ARN.
        anchor: &'a str,
    },
}

/// What a role's trust policy must say. `account`: where its identity provider is.
pub(crate) fn trust(asker: &Asker<'_>, role_arn: &str, role: Option<&RoleConfig>) -> Value {
    let arn = Arn::parse(role_arn);
    let (partition, account) = arn.map_or(("aws", ""), |arn| (arn.partition, arn.account));
    let mut actions = vec![];
    let statement = match asker {
        Asker::Login(login) => {
            actions.push("sts:AssumeRole");
            let mut statement = json!({ "Effect": "Allow", "Principal": { "AWS": login } });
            if let Some(RoleConfig { method: Method::AssumeRole { external_id: Some(id), .. }, .. }) = role {
                statement["Condition"] = json!({ "StringEquals": { "sts:ExternalId": id } });
            }
            statement
        }
        Asker::Assertion { issuer, subject, audience } => {
            actions.push("sts:AssumeRoleWithWebIdentity");
            let provider = issuer.strip_prefix("https://").unwrap_or(issuer);
            let federated = format!("arn:{partition}:iam::{account}:oidc-provider/{provider}");
            let claims = json!({ format!("{provider}:sub"): subject, format!("{provider}:aud"): audience });
            json!({ "Effect": "Allow", "Principal": { "Federated": federated }, "Condition": { "StringEquals": claims } })
        }
        Asker::Svid { anchor } => {
            actions.extend(["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]);
            let only = json!({ "ArnEquals": { "aws:SourceArn": anchor } });
            json!({ "Effect": "Allow", "Principal": { "Service": "rolesanywhere.amazonaws.com" }, "Condition": only })
        }
    };
    if let Some(RoleConfig { method: Method::AssumeRole { source_identity, .. }, .. }) = role {
        actions.push("sts:TagSession");
        actions.extend(source_identity.then_some("sts:SetSourceIdentity"));
    }
    let mut statement = statement;
    statement["Action"] = json!(actions);
    document(vec![statement])
}

/// All that the broker's own login needs for these roles.
pub(crate) fn rights(target: &TargetConfig, cluster: &str, account: &str, roles: &[(String, RoleConfig)]) -> Value {
    let statements = roles.iter().flat_map(|(_, role)| statements(target, cluster, account, role));
    let mut once: Vec<Value> = Vec::new();
    for statement in statements {
        if !once.contains(&statement) {
            once.push(statement);
        }
    }
    document(once)
}

fn statements(target: &TargetConfig, cluster: &str, account: &str, role: &RoleConfig) -> Vec<Value> {
    let allow =
        |actions: &[&str], resource: &str| json!({ "Effect": "Allow", "Action": actions, "Resource": resource });
    match &role.method {
        _ if !target.has_login() => Vec::new(),
        Method::AssumeRole { role_arn, revocation, source_identity, .. } => {
            let mut actions = vec!["sts:AssumeRole", "sts:TagSession"];
            actions.extend(source_identity.then_some("sts:SetSourceIdentity"));
            let mut all = vec![allow(&actions, role_arn)];
            if *revocation == Revocation::Deny {
                all.push(allow(&EDITS_POLICIES, role_arn));
            }
            all
        }
        Method::IamUser { .. } => {
            let partition =
                Arn::parse(target.role_arn.as_deref().unwrap_or_default()).map_or("aws", |arn| arn.partition);
            let users = format!("arn:{partition}:iam::{account}:user{}*", user::path(cluster));
            let mut all = vec![allow(&MAKES_USERS, &users), allow(&["iam:ListUsers"], "*")];
            if let Method::IamUser { groups, .. } = &role.method {
                let group = |name: &String| format!("arn:{partition}:iam::{account}:group/{name}");
                let groups: Vec<String> = groups.iter().map(group).collect();
                let moves = ["iam:AddUserToGroup", "iam:RemoveUserFromGroup"];
                all.extend(
                    (!groups.is_empty()).then(|| json!({ "Effect": "Allow", "Action": moves, "Resource": groups })),
                );
            }
            all
        }
        Method::FederationToken => vec![allow(&["sts:GetFederationToken", "sts:TagSession"], "*")],
        // Every user may.
        Method::SessionToken => Vec::new(),
    }
}

/// What ending a role's sessions takes.
const EDITS_POLICIES: [&str; 3] = ["iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"];

/// What a user's life takes.
const MAKES_USERS: [&str; 15] = [
    "iam:CreateUser",
    "iam:TagUser",
    "iam:GetUser",
    "iam:PutUserPolicy",
    "iam:AttachUserPolicy",
    "iam:CreateAccessKey",
    "iam:ListAccessKeys",
    "iam:DeleteAccessKey",
    "iam:DeleteLoginProfile",
    "iam:ListAttachedUserPolicies",
    "iam:DetachUserPolicy",
    "iam:ListGroupsForUser",
    "iam:ListUserPolicies",
    "iam:DeleteUserPolicy",
    "iam:DeleteUser",
];

fn document(statements: Vec<Value>) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(source_identity: bool, external_id: Option<&str>) -> RoleConfig {
        let method = Method::AssumeRole {
            role_arn: "arn:aws:iam::123456789012:role/invoices".into(),
            external_id: external_id.map(str::to_owned),
            revocation: Revocation::None,
            source_identity,
        };
        RoleConfig {
            name: "invoices".into(),
            method,
            policy: None,
            policy_arns: Vec::new(),
            tags: Default::default(),
            longest: 3600,
        }
    }

    #[test]
    fn an_assertion_is_trusted_for_its_own_role_alone() {
        let asker = Asker::Assertion {
            issuer: "https://leasehold.example.org/cloud",
            subject: "leasehold:prod-eu1:invoices-bucket".into(),
            audience: "sts.amazonaws.com",
        };
        let policy = trust(&asker, "arn:aws:iam::123456789012:role/invoices", Some(&role(true, None)));
        let statement = &policy["Statement"][0];
        assert_eq!(
            statement["Principal"]["Federated"],
            "arn:aws:iam::123456789012:oidc-provider/leasehold.example.org/cloud"
        );
        let claims = &statement["Condition"]["StringEquals"];
        assert_eq!(claims["leasehold.example.org/cloud:sub"], "leasehold:prod-eu1:invoices-bucket");
        assert_eq!(claims["leasehold.example.org/cloud:aud"], "sts.amazonaws.com");
        assert_eq!(
            statement["Action"],
            json!(["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"])
        );
    }

    #[test]
    fn a_login_is_trusted_with_its_external_id() {
        let login = Asker::Login("arn:aws:iam::123456789012:role/leasehold");
        let policy = trust(&login, "arn:aws:iam::123456789012:role/invoices", Some(&role(false, Some("tenant-7"))));
        let statement = &policy["Statement"][0];
        assert_eq!(statement["Condition"]["StringEquals"]["sts:ExternalId"], "tenant-7");
        assert_eq!(statement["Action"], json!(["sts:AssumeRole", "sts:TagSession"]));
    }
}
