//! TLS to the server, by the words of libpq's `sslmode`.

use leasehold_postgres::Postgres;
use leasehold_sdk::{EngineError, EngineKind, Fingerprint, TargetContext};
use leasehold_testkit::{Installation, PgFixture, PgOptions, database_tls};
use serde_json::{Value, json};

leasehold_testkit::each_version! {
    each_mode_checks_what_its_word_says,
}

async fn each_mode_checks_what_its_word_says(postgres: Installation) {
    let (tls, ca) = database_tls(None);
    let (_, other_ca) = database_tls(None);
    let pg = PgFixture::own(PgOptions::on(postgres).without_fsync().tls(tls)).await;
    let admin = pg.superuser_admin().await;
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [("password", &admin.password), ("ca.pem", &ca), ("other.pem", &other_ca)] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    let connect = async |host: &str, tls: Value| -> Result<Fingerprint, EngineError> {
        let url = admin.url.replace("127.0.0.1", host);
        let settings = json!({"url": url, "password": {"file": "password"}, "tls": tls});
        let context = TargetContext {
            target: "orders".into(),
            cluster: "dev".parse().unwrap(),
            instance: "test".into(),
            base_dir: dir.path().to_owned(),
        };
        Postgres.target(context, settings.as_object().unwrap().clone()).unwrap().fingerprint().await
    };
    // The same server under a name that is not in its certificate.
    let (named, unnamed) = ("127.0.0.1", "[::ffff:127.0.0.1]");
    for (host, tls) in [
        (named, json!({"ca": "ca.pem"})),
        ("localhost", json!({"mode": "verify-full", "ca": "ca.pem"})),
        (unnamed, json!({"mode": "verify-ca", "ca": "ca.pem"})),
        (unnamed, json!({"mode": "require"})),
        (unnamed, json!({"mode": "prefer"})),
    ] {
        connect(host, tls.clone()).await.unwrap_or_else(|e| panic!("{host} {tls}: {e}"));
    }
    for (host, tls, why) in [
        (named, json!({"ca": "other.pem"}), "certificate"),
        (named, json!({"mode": "verify-ca", "ca": "other.pem"}), "certificate"),
        (unnamed, json!({"mode": "verify-full", "ca": "ca.pem"}), "certificate"),
        // The public web's roots do not know it.
        (named, json!({"mode": "verify-full"}), "certificate"),
        (named, json!({"ca": "empty.pem"}), "no certificate"),
        (named, json!({"ca": "missing.pem"}), "missing.pem"),
    ] {
        let said = connect(host, tls.clone()).await.expect_err("a refusal").to_string();
        assert!(said.contains(why), "{host} {tls}: {said}");
    }
}
