//! An engine on a fixture, and one account made and ended through it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold_postgres::Postgres;
use leasehold_sdk::{
    AccountName, Caller, ClusterName, Engine, EngineKind, Finding, LeaseId, Level, MintOrder, Minted, Plan,
    PlanRequest, RevokeOrder, RoleContext, RoleSettings, Settings, StoreTag, TargetContext, clock,
};
use leasehold_testkit::{Admin, PgFixture, unique};
use serde_json::{Value, json};

/// An engine with a cluster of its own: tests share servers, and the cluster's two roles belong to a whole server.
pub struct Bench {
    pub engine: Arc<dyn Engine>,
    pub cluster: ClusterName,
    dir: tempfile::TempDir,
}

impl Bench {
    /// An engine that logs in as `admin`; `more` are further settings of the target.
    pub fn new(admin: &Admin, more: Value) -> Self {
        Self::in_cluster(&unique("rights"), admin, more)
    }

    /// The same for a cluster that exists.
    pub fn in_cluster(cluster: &str, admin: &Admin, more: Value) -> Self {
        let dir = tempfile::tempdir().expect("make a temporary directory");
        std::fs::write(dir.path().join("password"), &admin.password).expect("write the password");
        let mut settings = object(json!({"url": admin.url, "password": {"file": "password"}}));
        settings.extend(object(more));
        let cluster: ClusterName = cluster.parse().expect("a cluster name");
        let context = TargetContext {
            target: "orders".into(),
            cluster: cluster.clone(),
            instance: "test".into(),
            base_dir: PathBuf::from(dir.path()),
        };
        let engine = Postgres.target(context, settings).expect("good settings");
        Self { engine, cluster, dir }
    }

    /// A file beside the engine's own.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("write a file");
        path
    }

    /// A role's settings, checked by the engine.
    pub fn role(&self, settings: Value) -> RoleSettings {
        let context = RoleContext::of_an_hour("reader", Vec::new());
        self.engine.role(&context, object(settings)).expect("good settings of a role")
    }

    /// What `check` finds for one role.
    pub async fn check(&self, role: &RoleSettings) -> Vec<Finding> {
        self.engine.check(&[("reader".to_owned(), role.clone())]).await
    }

    /// The functions' SQL for one role.
    pub fn install_sql(&self, role: &RoleSettings) -> String {
        self.engine.install_sql(&[("reader".to_owned(), role.clone())]).expect("this target uses functions")
    }

    /// Decides about one account; nothing is made.
    pub async fn plan(&self, role: &RoleSettings) -> Plan {
        let lease = LeaseId::new();
        let account = AccountName::new(self.cluster.clone(), "abcd".parse::<StoreTag>().unwrap(), lease);
        let caller = Caller {
            spiffe_id: "spiffe://test.local/billing".into(),
            cert_sha256: String::new(),
            not_after: clock::wall(),
            captured: Default::default(),
            behalf: None,
            params: BTreeMap::new(),
        };
        let fingerprint = self.engine.fingerprint().await.expect("reach the server");
        let request = PlanRequest {
            lease,
            account: &account,
            role: "reader",
            settings: role,
            caller: &caller,
            fingerprint: &fingerprint,
            scope: None,
            slot: None,
        };
        self.engine.plan(&request).expect("a plan")
    }

    /// Makes one account of one hour.
    pub async fn mint(&self, role: &RoleSettings) -> (Plan, Minted) {
        let plan = self.plan(role).await;
        let order = MintOrder {
            plan: plan.clone(),
            expires_at: clock::wall().plus(Duration::from_secs(3600)),
            deadline: clock::wall().plus(Duration::from_secs(20)),
        };
        let minted = self.engine.mint(vec![order]).await.remove(0).expect("a minted account");
        (plan, minted)
    }

    /// Ends it.
    pub async fn revoke(&self, plan: Plan, minted: &Minted) {
        let order = RevokeOrder::now(plan, Some(minted.receipt.clone()), clock::wall());
        self.engine.revoke(&[order]).await.remove(0).expect("a dead account");
    }
}

/// The findings above `Good`, but for the one that takes a restart: the server that tests share lets accounts prepare
/// transactions.
pub fn troubles(findings: &[Finding]) -> Vec<&Finding> {
    let of_the_server = |f: &&Finding| f.what.as_str().contains("may prepare transactions");
    findings.iter().filter(|f| f.level > Level::Good && !of_the_server(f)).collect()
}

/// The one trouble whose text holds `part`.
pub fn find<'a>(findings: &'a [Finding], part: &str) -> Option<&'a Finding> {
    findings.iter().find(|f| f.level > Level::Good && f.what.as_str().contains(part))
}

/// Runs SQL as the superuser in the fixture's database.
pub async fn superuser(pg: &PgFixture, sql: &str) {
    pg.superuser().await.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

fn object(value: Value) -> Settings {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no table"),
    }
}
