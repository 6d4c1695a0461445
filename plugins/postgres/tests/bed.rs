//! A target with its engine, for one test.

use std::sync::Arc;
use std::time::Duration;

use leasehold_postgres::Postgres;
use leasehold_sdk::{
    AccountName, Caller, Credential, Ending, Engine, EngineError, EngineKind, Fingerprint, LeaseId, Mark, MintOrder,
    Minted, Plan, PlanRequest, Receipt, RevokeOrder, RoleContext, RoleSettings, Settings, StoreTag, TargetContext,
    Timestamp, clock,
};
use leasehold_testkit::{Admin, Installation, PgFixture, PgOptions, Session, unique};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// Which login the engine works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A superuser.
    Superuser,
    /// CREATEROLE, ADMIN on the groups, `pg_signal_backend`.
    Createrole,
    /// No right of its own: the installed functions.
    Functions,
}

/// A database, an engine on it and two groups.
pub struct Bed {
    pub pg: PgFixture,
    pub engine: Arc<dyn Engine>,
    pub mark: Mark,
    pub reader: String,
    pub writer: String,
    pub admin: Admin,
    pub kind: Kind,
    pub fingerprint: Fingerprint,
    _secrets: tempfile::TempDir,
}

/// One account that was made.
pub struct Account {
    pub plan: Plan,
    pub receipt: Receipt,
    pub name: String,
    pub password: String,
    pub url: String,
}

impl Bed {
    /// On the server that all tests share.
    pub async fn new(installation: Installation, kind: Kind) -> Self {
        Self::on(PgFixture::shared(installation).await, kind, json!({})).await
    }

    /// On a server of its own, with prepared transactions.
    pub async fn own(installation: Installation, kind: Kind) -> Self {
        let options = PgOptions::on(installation).conf("max_prepared_transactions = 10").without_fsync();
        Self::on(PgFixture::own(options).await, kind, json!({})).await
    }

    /// On a given database, with more settings of the target.
    pub async fn on(pg: PgFixture, kind: Kind, more: Value) -> Self {
        let (reader, writer) = (pg.reader_group().await, pg.writer_group().await);
        let admin = match kind {
            Kind::Superuser => pg.superuser_admin().await,
            Kind::Createrole => pg.admin(&[&reader, &writer]).await,
            Kind::Functions => pg.login("lh_plain", "").await,
        };
        let mark = Mark { cluster: unique("c").replace('_', "-").parse().unwrap(), tag: StoreTag::new() };
        let bed = Self::with(pg, kind, more, mark, admin, (reader, writer)).await;
        bed.install(json!({})).await;
        bed
    }

    /// The same target with a second engine, which has no session yet.
    pub async fn again(&self) -> Self {
        let pg = self.pg.same();
        let groups = (self.reader.clone(), self.writer.clone());
        Self::with(pg, self.kind, json!({}), self.mark.clone(), self.admin.clone(), groups).await
    }

    /// The same target, but working from another database.
    pub async fn moved_to(&self, database: &str) -> Self {
        let mut admin = self.admin.clone();
        admin.url = admin.url.replace(self.pg.database(), database);
        let groups = (self.reader.clone(), self.writer.clone());
        Self::with(self.pg.same(), self.kind, json!({}), self.mark.clone(), admin, groups).await
    }

    /// Makes an account and ends it, so that everything that happens once has happened.
    pub async fn warm_up(&self) {
        let account = self.mint(&self.role(json!({}))).await;
        self.revoke(&account).await.unwrap();
    }

    async fn with(
        pg: PgFixture,
        kind: Kind,
        more: Value,
        mark: Mark,
        admin: Admin,
        (reader, writer): (String, String),
    ) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("password"), format!("{}\n", admin.password)).unwrap();
        // `proxy_port` is no setting: the engine is to reach the server through a proxy.
        let mut more = more;
        let port = more.as_object_mut().unwrap().remove("proxy_port").and_then(|p| p.as_u64());
        let url = match port {
            Some(port) => admin.url.replace(&format!(":{}/", pg.server().port()), &format!(":{port}/")),
            None => admin.url.clone(),
        };
        let mut settings = json!({
            "url": url, "password": {"file": "password"}, "scram_iterations": 64, "lock_timeout": "1s",
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Nor is `replica_ports`: the replicas are there.
        if let Some(ports) = settings.as_object_mut().unwrap().remove("replica_ports") {
            let at = |port: &Value| admin.url.replace(&format!(":{}/", pg.server().port()), &format!(":{port}/"));
            settings["replicas"] = ports.as_array().unwrap().iter().map(at).collect();
        }
        if kind == Kind::Functions {
            settings["admin"] = json!("functions");
        }
        let context = TargetContext {
            target: "orders".into(),
            cluster: mark.cluster.clone(),
            instance: "test".into(),
            base_dir: secrets.path().to_owned(),
        };
        let engine = Postgres.target(context, object(settings)).unwrap();
        let fingerprint = engine.fingerprint().await.unwrap();
        Self { pg, engine, mark, reader, writer, admin, kind, fingerprint, _secrets: secrets }
    }

    /// What an operator runs first, for roles that together use all that the tests do, and `more`.
    pub async fn install(&self, more: Value) {
        let mut settings = json!({"set_role": self.writer, "search_path": ["app"], "settings": {"work_mem": "1MB"}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let roles = [("a".to_owned(), self.writing_role(settings)), ("b".to_owned(), self.role(json!({})))];
        if let Some(sql) = self.engine.install_sql(&roles) {
            self.pg.server().psql_in(self.pg.database(), &sql).await.unwrap_or_else(|e| panic!("{e:#}"));
        }
    }

    /// A role that reads, with more settings.
    pub fn role(&self, more: Value) -> RoleSettings {
        let mut settings = json!({"member_of": [self.reader]});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let context = RoleContext::of_an_hour("orders", vec!["tenant".into()]);
        self.engine.role(&context, object(settings)).unwrap()
    }

    /// A role that reads, writes and makes tables.
    pub fn writing_role(&self, more: Value) -> RoleSettings {
        let mut settings = json!({"member_of": [self.reader, self.writer]});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.role(settings)
    }

    /// A plan for a new lease.
    pub fn plan(&self, role: &RoleSettings, params: &[(&str, &str)]) -> Plan {
        let lease = LeaseId::new();
        let caller = Caller {
            spiffe_id: "spiffe://test/billing".into(),
            cert_sha256: "00".into(),
            not_after: clock::wall(),
            captured: Default::default(),
            behalf: None,
            params: params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let account = AccountName::new(self.mark.cluster.clone(), self.mark.tag.clone(), lease);
        let request = PlanRequest {
            lease,
            account: &account,
            role: "orders",
            settings: role,
            caller: &caller,
            fingerprint: &self.fingerprint,
            scope: None,
            slot: None,
        };
        self.engine.plan(&request).unwrap()
    }

    /// Makes an account.
    pub async fn mint(&self, role: &RoleSettings) -> Account {
        let plan = self.plan(role, &[("tenant", "1")]);
        let minted = self.mint_plan(&plan).await.unwrap_or_else(|e| panic!("mint: {e}"));
        account(plan, minted)
    }

    /// Carries out a plan.
    pub async fn mint_plan(&self, plan: &Plan) -> Result<Minted, EngineError> {
        let order = MintOrder { plan: plan.clone(), expires_at: soon(3600), deadline: soon(30) };
        self.engine.mint(vec![order]).await.remove(0)
    }

    /// Ends an account.
    pub async fn revoke(&self, account: &Account) -> Result<(), EngineError> {
        self.engine.revoke(&[order(account)]).await.remove(0).map(|ending| assert_eq!(ending, Ending::Dead))
    }

    /// Ends an account, and sees that nothing is left of it.
    pub async fn assert_ends(&self, account: &Account) {
        self.revoke(account).await.unwrap_or_else(|e| panic!("{:?} on {}: revoke: {e}", self.kind, self.version()));
        self.pg.assert_refused(&account.name, &account.password).await;
        assert!(self.pg.roles_with_prefix(&account.name).await.is_empty(), "{} is still there", account.name);
    }

    /// Logs in with an account.
    pub async fn login(&self, account: &Account) -> Session {
        self.pg.session(&account.name, &account.password).await
    }

    /// One value, asked by a superuser.
    pub async fn ask(&self, sql: &str) -> Option<String> {
        self.pg.superuser().await.text(sql).await.unwrap()
    }

    /// Runs SQL as a superuser.
    pub async fn run(&self, sql: &str) {
        self.pg.superuser().await.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    pub fn version(&self) -> u32 {
        self.pg.server().version_major()
    }

    /// The role that gets what accounts leave behind.
    pub fn estate(&self) -> String {
        format!("lh_{}_estate", self.mark.cluster)
    }
}

/// The order that ends an account.
pub fn order(account: &Account) -> RevokeOrder {
    RevokeOrder::now(account.plan.clone(), Some(account.receipt.clone()), soon(30))
}

/// A moment so many seconds from now.
pub fn soon(seconds: u64) -> Timestamp {
    clock::wall().plus(Duration::from_secs(seconds))
}

pub fn account(plan: Plan, minted: Minted) -> Account {
    let Credential::Database(c) = minted.credential else { panic!("a database credential") };
    Account {
        plan,
        receipt: minted.receipt,
        name: c.username,
        password: c.password.expose_secret().to_owned(),
        url: c.url.expose_secret().to_owned(),
    }
}

fn object(value: Value) -> Settings {
    value.as_object().unwrap().clone()
}
