//! Quoting, proved on the real server: what goes in comes out, or it is refused.

use leasehold_postgres::{NAME_BYTES_MAX, quote_ident, quote_literal};
use leasehold_testkit::{Installation, PgFixture, Session};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

leasehold_testkit::each_version! { values_come_back_as_they_went, names_come_back_as_they_went }

const CASES: u32 = 300;

/// Text that is full of what could go wrong.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("$$".to_owned()),
        Just("--".to_owned()),
        Just("/*".to_owned()),
        Just(";".to_owned()),
        Just("\\u0027".to_owned()),
        Just("\n".to_owned()),
        Just("\0".to_owned()),
        Just("\u{feff}\u{202e}".to_owned()),
        "\\PC{0,6}",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|parts| parts.concat())
}

fn samples() -> Vec<String> {
    let mut runner = TestRunner::new(Config::default());
    let mut all: Vec<String> = (0..CASES).map(|_| nasty().new_tree(&mut runner).expect("a sample").current()).collect();
    all.extend(["", "x", "E'", "U&'\\0041'", "{{name}}"].map(str::to_owned));
    all.extend([62, 63, 64, 200].map(|n| "x".repeat(n)));
    all.extend([31, 32].map(|n| "ä".repeat(n)));
    all
}

async fn values_come_back_as_they_went(postgres: Installation) {
    let mut session = PgFixture::shared(postgres).await.superuser().await;
    for strings in ["on", "off"] {
        session
            .execute(&format!("SET standard_conforming_strings = {strings}; SET escape_string_warning = off"))
            .await
            .unwrap();
        for text in samples() {
            match quote_literal(&text) {
                Ok(quoted) => {
                    let back = session.text(&format!("SELECT {quoted}::text")).await;
                    assert_eq!(back.unwrap_or_else(|e| panic!("{text:?}: {e}")), Some(text));
                }
                Err(why) => assert!(text.contains('\0'), "{text:?} was refused: {why}"),
            }
        }
    }
}

async fn names_come_back_as_they_went(postgres: Installation) {
    let mut session = PgFixture::shared(postgres).await.superuser().await;
    for text in samples() {
        match quote_ident(&text) {
            Ok(quoted) => assert_name(&mut session, &text, &quoted.to_string()).await,
            Err(why) => {
                let bad = text.contains('\0') || text.is_empty() || text.len() > NAME_BYTES_MAX;
                assert!(bad, "{text:?} was refused: {why}");
            }
        }
    }
}

/// The server's own catalogue holds exactly this name.
async fn assert_name(session: &mut Session, text: &str, quoted: &str) {
    session
        .execute(&format!("BEGIN; CREATE TEMP TABLE {quoted} (i int)"))
        .await
        .unwrap_or_else(|e| panic!("{text:?}: {e}"));
    let newest =
        "SELECT relname::text FROM pg_class WHERE relpersistence = 't' AND relkind = 'r' ORDER BY oid DESC LIMIT 1";
    let name = session.text(newest).await.unwrap();
    session.execute("ROLLBACK").await.unwrap();
    assert_eq!(name.as_deref(), Some(text));
}
