//! A broker with an account of AWS that moto plays.

use std::collections::BTreeSet;
use std::path::Path;

use leasehold_client::Client;
use leasehold_client::wire::{AwsCredential, Credential, Lease, MintRequest};
use leasehold_testkit::{AwsKey, AwsRole, Broker, Moto, PgFixture, distribution, wait_until};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage};

/// Sessions of a role, which can be denied.
pub const INVOICES: &str = "invoices-bucket";
/// Sessions of the same role by another name of ours.
pub const AUDITS: &str = "invoices-audit";
/// Sessions that nobody can end.
pub const PLAIN: &str = "plain-bucket";
/// Sessions that are bought with an assertion alone.
pub const DIRECT: &str = "direct-bucket";
/// Users.
pub const LEGACY: &str = "legacy-mailer";

/// Users that live seconds.
pub const BRIEF: &str = "brief-mailer";

/// A workload beside [`BILLING`], with the same grant.
pub const NEIGHBOUR: &str = "/neighbour";

/// The issuer.
pub const ISSUER: &str = "https://leasehold.example.org";

/// The account of moto.
pub const ACCOUNT: &str = "123456789012";

/// A broker's ground, and the account.
pub struct World {
    pub stage: Stage,
    pub moto: Moto,
    pub role: AwsRole,
}

impl World {
    pub async fn new() -> Self {
        let moto = Moto::start().await;
        let trust = json!({ "Version": "2012-10-17", "Statement": [] });
        let role = moto.create_role("invoices", &trust).await;
        let own = moto.create_role("leasehold", &trust).await;
        let mut stage =
            Stage::new(PgFixture::shared(distribution()).await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
        let policy =
            json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }] });
        std::fs::write(stage.dir().join("policy.json"), policy.to_string()).expect("write the policy");
        let target = format!(
            "plugin = \"aws\"\nregion = \"eu-central-1\"\nauth = \"web_identity\"\nendpoint = \"{}\"",
            moto.endpoint()
        );
        let session = format!(
            "ttl = \"15m\"\nmax_ttl = \"1h\"\nrole_arn = \"{}\"\nsession_policy = {{ file = \"policy.json\" }}",
            role.arn
        );
        let both = ["spiffe://dev.local/billing", "spiffe://dev.local/neighbour"];
        stage.config = stage
            .config
            .listen("public = \"127.0.0.1:0\"")
            .limit("mint_milliseconds_max", 6000)
            .table("[seal]", "key = { file = \"seal.key\" }")
            .table("[token]", &format!("issuer = \"{ISSUER}\"\npublish_before = \"5s\""))
            .target("aws-prod", &format!("{target}\nrole_arn = \"{}\"", own.arn))
            .target("aws-direct", &target)
            .role(INVOICES, &format!("target = \"aws-prod\"\nmethod = \"assume_role\"\nrevocation = \"deny\"\ntags = {{ team = \"billing\" }}\n{session}"))
            .role(AUDITS, &format!("target = \"aws-prod\"\nrevocation = \"deny\"\n{session}"))
            .role(PLAIN, &format!("target = \"aws-prod\"\nexternal_id = \"tenant-7\"\n{session}"))
            .role(DIRECT, &format!("target = \"aws-direct\"\n{}", session.replace("\"1h\"", "\"12h\"")))
            .role(LEGACY, "target = \"aws-prod\"\nmethod = \"iam_user\"\nttl = \"10m\"\nmax_ttl = \"1h\"\nuser_policy = { file = \"policy.json\" }")
            .role(BRIEF, "target = \"aws-prod\"\nmethod = \"iam_user\"\nttl = \"12s\"\noverlap = \"4s\"")
            .grant("billing uses AWS", &both, &[INVOICES, AUDITS, PLAIN, DIRECT, LEGACY, BRIEF], &["mint"]);
        Self { stage, moto, role }
    }

    /// Starts the broker, and waits until it can assert.
    pub async fn broker(&self) -> Broker {
        let broker = self.stage.broker().await;
        self.asserts(&broker).await;
        broker
    }

    pub async fn asserts(&self, broker: &Broker) {
        let client = self.stage.client(broker, BILLING);
        wait_until(SOON, "the broker to have a key for its assertions", || async {
            client.mint(DIRECT, &MintRequest::default()).await.is_ok()
        })
        .await;
    }

    /// Gives a role there all rights.
    pub async fn may_all(&self, role: &str) {
        let policy =
            json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
        let ask = json!({ "RoleName": role, "PolicyName": "all", "PolicyDocument": policy.to_string() });
        self.moto.call("iam", "put_role_policy", ask).await.expect("rights");
    }

    /// The names of our users there.
    pub async fn users(&self) -> BTreeSet<String> {
        self.moto.iam_users().await.into_keys().filter(|name| name.starts_with("lh_")).collect()
    }

    /// Waits until no lease of users is on its way, and holds the users there against the leases.
    pub async fn quiet(&self, broker: &Broker) -> Vec<Lease> {
        let users = async || {
            let leases = self.stage.leases(broker).await;
            leases.into_iter().filter(|lease| lease.role == LEGACY).collect::<Vec<_>>()
        };
        wait_until(SOON, "no lease of a user pending or revoking", || async {
            users().await.iter().all(|lease| lease.state == "active" || lease.is_over())
        })
        .await;
        let leases = users().await;
        let live: BTreeSet<String> = leases.iter().filter(|l| !l.is_over()).map(|l| l.account.clone()).collect();
        assert_eq!(self.users().await, live, "users there, and those of live leases");
        leases
    }

    /// What the operator sees of a lease.
    pub async fn lease(&self, broker: &Broker, id: &str) -> Lease {
        self.stage.client(broker, OPERATOR).lease(id).await.expect("the lease")
    }

    /// What the broker's policy on the role says now.
    pub async fn denied(&self, lease: &Lease) -> Option<serde_json::Value> {
        let policy = lease.account.rsplit_once('_').expect("an account").0.to_owned();
        self.moto.role_policy("invoices", &policy).await
    }
}

/// A credential with its lease.
pub struct Held {
    pub lease: Lease,
    pub key: AwsCredential,
}

impl Held {
    /// As whoever asks AWS has it.
    pub fn as_key(&self) -> AwsKey {
        AwsKey {
            id: self.key.access_key_id.clone(),
            secret: self.key.secret_access_key.expose_secret().to_owned(),
            token: self.key.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        }
    }
}

pub async fn mint(client: &Client, role: &str) -> Held {
    let issued = client.mint(role, &MintRequest::default()).await.unwrap_or_else(|e| panic!("{role}: {e}"));
    let Credential::Aws(key) = issued.credential else { panic!("{role}: no key of AWS") };
    Held { lease: issued.lease.expect("a lease"), key }
}

/// Says what a command printed when it failed.
pub fn done(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
