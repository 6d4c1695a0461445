//! The rule that `check` prints: a stolen password opens nothing without an SVID of the trust domain, and does with one.

use leasehold_sdk::{Credential, Level};
use leasehold_testkit::{Installation, PgFixture, PgOptions, Session, TestCa, database_tls, unique};
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::support::{Bench, find};

leasehold_testkit::each_version! { a_stolen_password_opens_nothing_without_an_svid }

async fn a_stolen_password_opens_nothing_without_an_svid(postgres: Installation) {
    let (ours, foreign) = (TestCa::new("prod.example.org"), TestCa::new("other.example.org"));
    let cluster = unique("hba");
    let (tls, ca) = database_tls(Some(ours.bundle_pem()));
    // The lines that `check` prints for this admin and cluster; that they are the same is asserted below.
    let rules = |admin: &str| {
        format!(
            "hostssl all \"{admin}\" all scram-sha-256\nhostssl all +lh_{cluster} all scram-sha-256 clientcert=verify-ca\n\
             host all +lh_{cluster} all reject\nlocal all +lh_{cluster} reject"
        )
    };
    let pg = PgFixture::own(PgOptions::on(postgres.clone()).without_fsync().tls(tls)).await;
    let group = pg.reader_group().await;
    let admin = pg.admin(&[&group]).await;
    let hba = pg.server().data_dir().join("pg_hba.conf");
    let rest = std::fs::read_to_string(&hba).unwrap();
    let bench = Bench::in_cluster(&cluster, &admin, json!({"tls": {"mode": "verify-full", "ca": "db-ca.pem"}}));
    let ca = bench.file("db-ca.pem", &ca);
    let role = bench.role(json!({"member_of": [group]}));
    let (plan, minted) = bench.mint(&role).await;

    let found = bench.check(&role).await;
    let advice = found.iter().find(|f| f.what.as_str().contains("pg_hba.conf")).expect("the advice");
    assert_eq!((advice.level, advice.fix.as_deref()), (Level::Good, Some(rules(&admin.name).as_str())), "{found:#?}");
    assert!(find(&found, "in the clear").is_none());
    assert!(find(&found, "may prepare transactions").is_none(), "a server of its own lets nobody");
    std::fs::write(&hba, format!("{}\n{rest}", advice.fix.as_deref().unwrap())).unwrap();
    pg.server().reload().unwrap();

    let Credential::Database(login) = &minted.credential else { panic!("no database credential") };
    let stolen =
        pg.options(&login.username, login.password.expose_secret()).ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(&ca);
    let with = |ca: &TestCa| {
        let svid = ca.svid("/billing");
        stolen.clone().ssl_client_cert(svid.cert).ssl_client_key(svid.key)
    };
    leasehold_testkit::wait_until(std::time::Duration::from_secs(20), "the new rules", || async {
        Session::open(&stolen).await.is_err()
    })
    .await;
    refused(&stolen, "without a certificate").await;
    refused(&stolen.clone().ssl_mode(PgSslMode::Disable), "in the clear").await;
    refused(&stolen.clone().socket(pg.server().socket_dir()), "by the socket").await;
    refused(&with(&foreign), "with an SVID of another domain").await;
    let mut session = Session::open(&with(&ours)).await.expect("the password and an SVID of the domain");
    assert!(session.is_alive().await);
    // The broker's own login goes on working, though from 16 on it is a member of the same group.
    bench.revoke(plan, &minted).await;
    session.wait_until_dead(std::time::Duration::from_secs(20)).await;
}

async fn refused(options: &PgConnectOptions, how: &str) {
    assert!(Session::open(options).await.is_err(), "a stolen password opens a session {how}");
}
