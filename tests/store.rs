//! A PostgreSQL store that is away, fails in the middle of a reply, or is reached the wrong way.

mod moving;

use std::process::Output;

use leasehold_client::ClientError;
use leasehold_testkit::{Admin, Broker, Installation, PgFixture, PgOptions, Proxy, TestCa, database_tls, wait_until};

use crate::ground::{self, Held};
use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, mint, refusal};

leasehold_testkit::each_version! {
    a_broker_waits_for_its_store_to_start,
    while_the_store_is_away_nothing_is_half_done,
    a_change_whose_answer_is_lost_is_not_half_done,
    the_way_to_the_store_is_protected,
    check_says_what_is_wrong_with_the_store,
}

/// A server of its own for the store, which may be killed: what it has committed it keeps.
struct Store {
    pg: PgFixture,
    /// Owns the store's database, and is nothing else.
    owner: Admin,
}

impl Store {
    async fn start(options: PgOptions) -> Self {
        let pg = PgFixture::own(options).await;
        let owner = pg.owner().await;
        Self { pg, owner }
    }

    /// A stage whose broker finds its store at this port.
    async fn stage_at(&self, port: u16, postgres: Installation) -> Stage {
        let pg = PgFixture::shared(postgres).await;
        let mut stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"\nmax_ttl = \"1h\"");
        let url = format!("postgres://{}@127.0.0.1:{port}/{}", self.owner.name, self.pg.database());
        stage.config = stage.config.postgres_store(&url, &self.owner.password);
        stage
    }

    async fn stage(&self, postgres: Installation) -> Stage {
        self.stage_at(self.pg.server().port(), postgres).await
    }
}

/// Demands an answer 503 that says when to come again.
fn assert_store_away(answer: Result<Held, ClientError>) {
    let problem = refusal(answer);
    assert!(problem.status == 503 && problem.retry_after.is_some(), "{problem:?}");
}

async fn wait_until_ready(broker: &Broker) {
    wait_until(SOON, "the broker to be ready", || async { broker.ops("/readyz").await.is_ok_and(|(s, _)| s == 200) })
        .await;
}

async fn a_broker_waits_for_its_store_to_start(postgres: Installation) {
    let store = Store::start(PgOptions::on(postgres.clone())).await;
    let stage = store.stage(postgres).await;
    store.pg.server().stop().await.expect("stop the store");
    let log = stage.config.dir().join("broker.log");
    let said = async || {
        let told = |text: String| text.contains("the store is not there");
        wait_until(SOON, "the broker to say so", || async { std::fs::read_to_string(&log).is_ok_and(told) }).await;
        store.pg.server().restart().await.expect("start the store");
    };
    let (broker, ()) = tokio::join!(stage.broker(), said());
    mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    stage.quiet(&broker).await;
}

async fn while_the_store_is_away_nothing_is_half_done(postgres: Installation) {
    let store = Store::start(PgOptions::on(postgres.clone())).await;
    let stage = store.stage(postgres).await;
    let broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let mut session = stage.session(&held).await;

    // Killed while callers ask, several times.
    let mut minted = Vec::new();
    for _ in 0..3 {
        let callers: Vec<_> = (0..8).map(|_| stage.client(&broker, BILLING)).collect();
        let asking = callers.into_iter().map(|client| {
            tokio::spawn(async move {
                loop {
                    match mint(&client, "10m").await {
                        Ok(held) => return held,
                        refused => assert_store_away(refused),
                    }
                }
            })
        });
        let asking: Vec<_> = asking.collect();
        store.pg.server().kill().await.expect("kill the store");
        assert_store_away(mint(&stage.client(&broker, BILLING), "10m").await);
        let (status, said) = broker.ops("/readyz").await.expect("an answer");
        assert!(status == 503 && said.contains("store"), "{status} {said}");
        store.pg.server().restart().await.expect("start the store");
        for one in asking {
            minted.push(one.await.expect("a caller"));
        }
    }
    wait_until_ready(&broker).await;
    assert!(session.is_alive().await, "what was handed out before goes on");
    let leases = stage.quiet(&broker).await;
    for held in minted.iter().chain([&held]) {
        assert_eq!(crate::stage::find(&leases, &held.lease.id).state, "active");
        stage.session(held).await;
    }
    assert_eq!(leases.iter().filter(|lease| lease.state == "active").count(), minted.len() + 1);
    stage.assert_audit_holds(&broker).await;
}

async fn a_change_whose_answer_is_lost_is_not_half_done(postgres: Installation) {
    let store = Store::start(PgOptions::on(postgres.clone())).await;
    let line = Proxy::start(store.pg.server().port()).await;
    let stage = store.stage_at(line.port(), postgres).await;
    let broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");

    // The row of the next mint is there, and the broker does not hear of it.
    line.cut_reply_to("spiffe://dev.local/billing");
    assert_store_away(mint(&stage.client(&broker, BILLING), "10m").await);
    line.wait_caught(1, SOON).await;
    let next = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint after that");
    let leases = stage.quiet(&broker).await;
    let living: Vec<_> = leases.iter().filter(|lease| lease.state == "active").map(|lease| &lease.id).collect();
    assert_eq!(living, [&next.lease.id, &held.lease.id]);

    // Cut off for a while, then back.
    line.sever();
    assert_store_away(mint(&stage.client(&broker, BILLING), "10m").await);
    let refused = stage.client(&broker, OPERATOR).revoke(&held.lease.id).await;
    assert!(refused.as_ref().is_err_and(|e| e.retry_after().is_some()), "{refused:?}");
    line.mend();
    wait_until_ready(&broker).await;
    stage.client(&broker, OPERATOR).revoke(&held.lease.id).await.expect("a revocation");
    stage.over(&broker, &held.lease.id).await;
    stage.assert_refused(&held).await;
    stage.quiet(&broker).await;
}

async fn the_way_to_the_store_is_protected(postgres: Installation) {
    let ours = TestCa::new("store.example.org");
    let (tls, ca) = database_tls(Some(ours.bundle_pem()));
    let store = Store::start(PgOptions::on(postgres.clone()).tls(tls)).await;
    let mut stage = store.stage(postgres).await;
    let svid = ours.svid("/leasehold");
    let user = &store.owner.name;
    std::fs::write(stage.config.dir().join("store-ca.pem"), ca).expect("write the authority");
    let hba = store.pg.server().data_dir().join("pg_hba.conf");
    let rest = std::fs::read_to_string(&hba).expect("read the rules");
    let rule =
        format!("hostssl all \"{user}\" all scram-sha-256 clientcert=verify-ca\nhost all \"{user}\" all reject\n");
    std::fs::write(&hba, rule + &rest).expect("write the rules");
    store.pg.server().reload().expect("have them read");

    let with = |tls: String| stage.config.clone().store_line(&format!("tls = {{ {tls} }}"));
    let client = format!("cert = {:?}, key = {:?}", svid.cert, svid.key);
    for (tls, why) in [
        ("mode = \"disable\"".to_owned(), "no encryption"),
        ("mode = \"verify-full\"".to_owned() + ", " + &client, "certificate"),
        ("ca = \"broker.pem\", ".to_owned() + &client, "certificate"),
        ("ca = \"store-ca.pem\"".to_owned(), "certificate"),
    ] {
        let said = String::from_utf8_lossy(&check(&with(tls.clone())).await.stdout).into_owned();
        assert!(said.contains("error   store") && said.contains(why), "{tls}: {said}");
    }
    stage.config = with("ca = \"store-ca.pem\", ".to_owned() + &client);
    let broker = stage.broker().await;
    mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");

    // Another password, and no connection from before.
    let mut superuser = store.pg.superuser().await;
    superuser.execute(&format!("ALTER ROLE \"{user}\" PASSWORD 'another'")).await.expect("another password");
    std::fs::write(stage.config.dir().join("store-password"), "another\n").expect("write it");
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'");
    superuser.execute(&end).await.expect("end the sessions");
    wait_until_ready(&broker).await;
    mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    stage.quiet(&broker).await;
}

async fn check_says_what_is_wrong_with_the_store(postgres: Installation) {
    let store = Store::start(PgOptions::on(postgres.clone()).without_fsync()).await;
    let stage = store.stage(postgres).await;
    let said = async |what: &str| {
        let output = check(&stage.config).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(what), "{what}: {text}");
        text
    };
    let empty = said("the database is empty: the first broker makes the tables").await;
    assert!(empty.contains("error   store            the server forgets commits"), "{empty}");
    assert!(!empty.contains("is a superuser: the store"), "{empty}");
    let mut broker = stage.broker().await;
    said("the database holds the store").await;
    broker.terminate().await.expect("stop it");
    let mut session = store.pg.superuser().await;
    session.execute("UPDATE store SET schema_version = schema_version + 2").await.expect("a later version");
    said("newer than this program's").await;
    session
        .execute("UPDATE store SET schema_version = schema_version - 2, cluster = 'theirs'")
        .await
        .expect("another's");
    said("it belongs to cluster \"theirs\"").await;
    store.pg.server().stop().await.expect("stop the store");
    said("error   store            postgres://").await;
}

async fn check(config: &leasehold_testkit::ConfigFile) -> Output {
    let mut command = tokio::process::Command::new(ground::PROGRAM);
    command.args(["check", "--config"]).arg(config.write()).stdin(std::process::Stdio::null());
    command.output().await.expect("run check")
}
