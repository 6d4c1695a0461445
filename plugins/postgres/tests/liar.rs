//! Servers that lie: each is let go of with a reason, in time, and learns nothing.

use std::sync::Arc;
use std::time::Duration;

use leasehold_postgres::Postgres;
use leasehold_sdk::{Engine, EngineKind, Mark, StoreTag, TargetContext};
use leasehold_testkit::{Liar, Lie};
use serde_json::json;
use tokio::time::timeout;

const PASSWORD: &str = "correct-horse-battery-staple";
/// Connecting takes a second at most, and answering two more.
const IN_TIME: Duration = Duration::from_secs(20);

fn engine(liar: &Liar, dir: &std::path::Path, password: bool, tls: &str) -> Arc<dyn Engine> {
    std::fs::write(dir.join("password"), PASSWORD).unwrap();
    let mut settings = json!({
        "url": format!("postgres://admin@127.0.0.1:{}/orders", liar.port()),
        "connect_timeout": "1s", "statement_timeout": "1s", "tls": {"mode": tls},
    });
    if password {
        settings["password"] = json!({"file": "password"});
    }
    let context = TargetContext {
        target: "liar".into(),
        cluster: "dev".parse().unwrap(),
        instance: "test".into(),
        base_dir: dir.to_owned(),
    };
    let serde_json::Value::Object(settings) = settings else { unreachable!() };
    Postgres.target(context, settings).unwrap()
}

#[tokio::test]
async fn nobody_gets_the_password_or_our_time() {
    let lies = [
        (Lie::ClearPassword, "prefer", "in clear text"),
        (Lie::Md5Password, "prefer", "MD5"),
        (Lie::Iterations(2_147_483_648), "prefer", "iterations"),
        (Lie::Iterations(1), "prefer", "iterations"),
        (Lie::WrongSignature, "prefer", ""),
        (Lie::Unasked, "prefer", "without our password"),
        (Lie::LongMessage, "prefer", "bytes"),
        (Lie::Notices, "prefer", "does not come to an end"),
        (Lie::Settings, "prefer", "does not come to an end"),
        (Lie::Silent, "disable", "no answer within"),
        (Lie::Trickle, "disable", "no answer within"),
        (Lie::TlsStall, "require", "no answer within"),
        (Lie::Unasked, "require", "does not support TLS"),
    ];
    for (lie, tls, why) in lies {
        let (liar, dir) = (Liar::start(lie.clone()).await, tempfile::tempdir().unwrap());
        let engine = engine(&liar, dir.path(), true, tls);
        let said = timeout(IN_TIME, engine.fingerprint()).await.expect("in time").expect_err("a refusal").to_string();
        assert!(said.contains(why), "{lie:?}: {said}");
        assert!(!said.contains(PASSWORD) && !liar.has_heard(PASSWORD), "{lie:?}: {said}");
        // What answers a question for an MD5 hash begins so.
        assert!(!liar.has_heard("md5"), "{lie:?}");
        if lie == Lie::Iterations(1) {
            assert!(!liar.has_heard("p="), "a proof that is cheap to guess from was given");
        }
    }
}

#[tokio::test]
async fn answers_end_and_errors_are_cut_and_escaped() {
    let mark = Mark { cluster: "dev".parse().unwrap(), tag: StoreTag::new() };
    for lie in [Lie::Errors, Lie::LongError, Lie::Rows, Lie::NoticesLater, Lie::Fits] {
        let (liar, dir) = (Liar::start(lie.clone()).await, tempfile::tempdir().unwrap());
        let engine = engine(&liar, dir.path(), false, "disable");
        let mut said = String::new();
        for _ in 0..3 {
            if let Err(e) = timeout(IN_TIME, engine.list(&mark, None, 1000)).await.expect("in time") {
                said = e.to_string();
            }
        }
        assert!(!said.is_empty(), "{lie:?} is not noticed");
        assert!(said.len() < 1000 && !said.contains(char::is_control), "{lie:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_another_one_each_time_is_told_apart() {
    let (liar, dir) = (Liar::start(Lie::Fingerprints).await, tempfile::tempdir().unwrap());
    let first = engine(&liar, dir.path(), false, "disable").fingerprint().await.unwrap();
    let second = engine(&liar, dir.path(), false, "disable").fingerprint().await.unwrap();
    assert_ne!(first, second);
}
