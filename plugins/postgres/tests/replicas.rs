//! Read replicas: a session there dies at revocation too, and a replica that cannot be asked keeps the lease open.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{AdminSecret, EngineError, Level, random};
use leasehold_testkit::{Installation, PgFixture, PgOptions, PgServer, Proxy, Session, wait_until};
use serde_json::json;

use crate::bed::{Account, Bed, Kind};

leasehold_testkit::each_version! {
    a_session_on_a_replica_dies_with_its_account,
    one_out_of_reach_keeps_the_lease_open,
    one_that_lags_is_waited_for,
    a_server_that_is_no_replica_is_told,
    a_password_that_was_rotated_opens_replicas_too,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A primary with a standby, and an engine that knows both; the standby through a proxy.
struct Pair {
    bed: Bed,
    standby: PgServer,
    proxy: Proxy,
}

impl Pair {
    async fn new(postgres: Installation, kind: Kind) -> Self {
        let options = PgOptions::on(postgres).without_fsync().conf("wal_keep_size = '128MB'");
        let pg = PgFixture::own(options).await;
        let standby = pg.server().standby().await.unwrap_or_else(|e| panic!("{e:#}"));
        let proxy = Proxy::start(standby.port()).await;
        let more = json!({"replica_ports": [proxy.port()], "connect_timeout": "2s"});
        Self { bed: Bed::on(pg, kind, more).await, standby, proxy }
    }

    fn try_login(&self, account: &Account) -> impl Future<Output = Result<Session, sqlx::Error>> {
        let options = self.bed.pg.options(&account.name, &account.password).port(self.standby.port());
        async move { Session::open(&options).await }
    }

    /// Logs in on the standby once the account has arrived there.
    async fn login(&self, account: &Account) -> Session {
        wait_until(PATIENCE, "the account on the standby", || async { self.try_login(account).await.is_ok() }).await;
        self.try_login(account).await.unwrap()
    }

    async fn on_standby(&self, sql: &str) {
        self.standby.psql_in("postgres", sql).await.unwrap_or_else(|e| panic!("{e:#}"));
    }

    /// The account cannot log in at the primary any more, and is still there.
    async fn assert_fenced(&self, account: &Account) {
        let sql = format!("SELECT rolcanlogin::text FROM pg_roles WHERE rolname = '{}'", account.name);
        assert_eq!(self.bed.ask(&sql).await.as_deref(), Some("false"));
    }

    async fn ends(&self, account: &Account) {
        wait_until(PATIENCE, "the account to end", || async { self.bed.revoke(account).await.is_ok() }).await;
        assert!(self.bed.pg.roles_with_prefix(&account.name).await.is_empty());
        wait_until(PATIENCE, "no login on the standby", || async { self.try_login(account).await.is_err() }).await;
    }

    /// The text of a refusal to end it, which must be one that passes.
    async fn refusal(&self, account: &Account) -> String {
        match self.bed.revoke(account).await {
            Err(e @ EngineError::Retry { .. }) => e.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn names_it(&self, said: &str) -> bool {
        said.contains(&format!("replica 127.0.0.1:{}", self.proxy.port()))
    }
}

async fn a_session_on_a_replica_dies_with_its_account(postgres: Installation) {
    for kind in [Kind::Superuser, Kind::Createrole, Kind::Functions] {
        let pair = Pair::new(postgres.clone(), kind).await;
        let account = pair.bed.mint(&pair.bed.role(json!({}))).await;
        let (here, there) = (pair.bed.login(&account).await, pair.login(&account).await);
        pair.bed.revoke(&account).await.unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        here.wait_until_dead(Duration::ZERO).await;
        there.wait_until_dead(Duration::ZERO).await;
        pair.bed.pg.assert_refused(&account.name, &account.password).await;
        assert!(pair.try_login(&account).await.is_err(), "a new login on the standby");

        // One that owns something goes by itself, and another was dropped by somebody else while it was logged in there.
        let owner = pair.bed.mint(&pair.bed.writing_role(json!({}))).await;
        pair.bed.login(&owner).await.execute("CREATE TABLE public.left_behind (id int)").await.unwrap();
        let there = pair.login(&owner).await;
        pair.ends(&owner).await;
        there.wait_until_dead(Duration::ZERO).await;
        let dropped = pair.bed.mint(&pair.bed.role(json!({}))).await;
        let there = pair.login(&dropped).await;
        pair.bed.run(&format!("DROP ROLE \"{}\"", dropped.name)).await;
        pair.ends(&dropped).await;
        there.wait_until_dead(Duration::ZERO).await;
        let found = pair.bed.engine.check(&[]).await;
        let good = found.iter().find(|f| f.what.as_str().contains("replica")).expect("a finding about the replica");
        assert_eq!(good.level, Level::Good, "{good:?}");
    }
}

async fn one_out_of_reach_keeps_the_lease_open(postgres: Installation) {
    let pair = Pair::new(postgres, Kind::Createrole).await;
    let account = pair.bed.mint(&pair.bed.role(json!({}))).await;
    let (here, mut there) = (pair.bed.login(&account).await, pair.login(&account).await);
    // The network between broker and standby is gone: who is logged in there stays so.
    pair.proxy.sever();
    let said = pair.refusal(&account).await;
    assert!(pair.names_it(&said) && said.contains("out of reach"), "{said}");
    here.wait_until_dead(Duration::ZERO).await;
    pair.assert_fenced(&account).await;
    assert!(there.is_alive().await, "the test wants a session that is missed");
    let found = pair.bed.engine.check(&[]).await;
    assert!(found.iter().any(|f| f.level == Level::Error && pair.names_it(f.what.as_str())), "{found:?}");
    pair.proxy.mend();
    pair.ends(&account).await;
    there.wait_until_dead(Duration::ZERO).await;

    // The standby itself is down.
    let account = pair.bed.mint(&pair.bed.role(json!({}))).await;
    pair.standby.stop().await.unwrap();
    let said = pair.refusal(&account).await;
    assert!(pair.names_it(&said), "{said}");
    pair.assert_fenced(&account).await;
    pair.standby.restart().await.unwrap();
    pair.ends(&account).await;
}

async fn one_that_lags_is_waited_for(postgres: Installation) {
    let pair = Pair::new(postgres, Kind::Createrole).await;
    let account = pair.bed.mint(&pair.bed.role(json!({}))).await;
    let mut there = pair.login(&account).await;
    pair.on_standby("SELECT pg_wal_replay_pause()").await;
    let said = pair.refusal(&account).await;
    assert!(pair.names_it(&said) && said.contains("lags"), "{said}");
    pair.assert_fenced(&account).await;
    // It has not heard of the fence: a session that is ended there could be opened again at once.
    assert!(there.is_alive().await && pair.try_login(&account).await.is_ok());
    pair.on_standby("SELECT pg_wal_replay_resume()").await;
    pair.ends(&account).await;
    there.wait_until_dead(Duration::ZERO).await;
}

async fn a_server_that_is_no_replica_is_told(postgres: Installation) {
    let pair = Pair::new(postgres, Kind::Createrole).await;
    let account = pair.bed.mint(&pair.bed.role(json!({}))).await;
    let mut there = pair.login(&account).await;
    pair.on_standby("SELECT pg_promote()").await;
    let said = pair.refusal(&account).await;
    assert!(pair.names_it(&said) && said.contains("no standby"), "{said}");
    pair.assert_fenced(&account).await;
    assert!(there.is_alive().await);
}

async fn a_password_that_was_rotated_opens_replicas_too(postgres: Installation) {
    let pair = Pair::new(postgres, Kind::Superuser).await;
    let account = pair.bed.mint(&pair.bed.role(json!({}))).await;
    let there = pair.login(&account).await;
    let next = Arc::new(random::password());
    let secrets = pair.bed.engine.admin_secrets().expect("the engine keeps the core's secrets");
    secrets.set(vec![AdminSecret { generation: 1, secret: Arc::clone(&next) }]);
    pair.bed.engine.set_admin_password(&next).await.unwrap();
    pair.ends(&account).await;
    there.wait_until_dead(Duration::ZERO).await;
}
