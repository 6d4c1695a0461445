//! What may be done in few places only: reading time, drawing randomness, trusting SQL text, exposing a secret.

use regex::Regex;

use super::{assert_none, is_listed, production, source};

/// Time is read here only. `crates/identity` is below the SDK, and whoever embeds the client builds no SDK: each has a clock
/// of its own.
const CLOCKS: &[&str] = &["plugins/sdk/src/clock.rs", "crates/identity/src/clock.rs", "crates/client/src/clock.rs"];

/// Randomness is drawn here only. The playground is below the SDK, and its passwords live for minutes.
const RANDOM: &[&str] = &["plugins/sdk/src/random.rs", "crates/playground/src/setup.rs"];

/// SQL that is put together at run time and passed off as safe: here quoting has been thought about.
const DYNAMIC_SQL: &[&str] = &[
    "plugins/postgres/src/quote.rs",
    "plugins/postgres/src/session.rs",
    // Commands of PgBouncer's console, with the name of a credential.
    "src/agent/deliver/pgbouncer.rs",
    "tests/kit/src/session.rs",
    // EXPLAIN of the store's own statements.
    "src/store/postgres/tests/indexes.rs",
];

/// Where a secret may be read out of its type: where it must go over a wire or into a hash.
const SECRET_READERS: &[&str] = &[
    "src/agent/forms/opened.rs",
    "src/agent/serve/token_file.rs",
    "src/agent/deliver/pgbouncer.rs",
    "plugins/postgres/src/scram.rs",
    "plugins/postgres/src/session.rs",
    "plugins/postgres/src/credential.rs",
    // An assertion goes to STS, and a new key signs one call, by which we know that it is good.
    "plugins/aws/src/own.rs",
    "plugins/aws/src/session.rs",
    "plugins/aws/src/user.rs",
    "crates/client/src/wire/",
    "src/api/wire.rs",
    "src/store/postgres/link.rs",
    // A token goes to its caller, and one that is shown is looked at.
    "src/api/routes/oauth2/",
    "src/lease/tokens/request.rs",
    "src/token/",
    "src/seal/mod.rs",
    "src/seal/recovery.rs",
    "src/audit/collector/https.rs",
    // Services that hand it to their pool.
    "examples/",
];

fn find(pattern: &str, allowed: &[&str]) -> Vec<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    production()
        .iter()
        .filter(|source| !is_listed(&source.path, allowed))
        .flat_map(|source| source.lines_with(&pattern))
        .collect()
}

#[test]
fn time_is_read_in_one_module() {
    assert_none(
        "wall-clock time is read outside the clock",
        find(r"\bSystemTime::now\b|\bUtc::now\b|\bclock_gettime\b", CLOCKS),
    );
    let instant = Regex::new(r"\bInstant::now\b").expect("a pattern");
    let tokio = Regex::new(r"tokio::time::(\{[^}]*)?\bInstant\b").expect("a pattern");
    // tokio's clock is for deadlines, and tests can stop it.
    let sources =
        production().into_iter().filter(|source| !is_listed(&source.path, CLOCKS) && !source.code_matches(&tokio));
    assert_none(
        "std's Instant is read outside the clock",
        sources.flat_map(|source| source.lines_with(&instant)).collect(),
    );
}

#[test]
fn randomness_is_drawn_in_one_module() {
    let pattern = r"\baws_lc_rs::rand\b|\baws_lc_rs::\{[^}]*\brand\b|\brand::|\bgetrandom\b|\bfastrand::|\bSystemRandom\b|/dev/u?random\b";
    assert_none("randomness is drawn outside the SDK", find(pattern, RANDOM));
}

#[test]
fn dynamic_sql_is_written_in_few_files() {
    let pattern = Regex::new(r"\bAssertSqlSafe\b").expect("a pattern");
    let sources = source::all().into_iter().filter(|source| !is_listed(&source.path, DYNAMIC_SQL));
    let sources = sources.filter(|source| !source.path.starts_with("tests/house_rules"));
    assert_none(
        "AssertSqlSafe outside the listed files",
        sources.flat_map(|source| source.lines_with(&pattern)).collect(),
    );
}

#[test]
fn secrets_are_exposed_in_few_files() {
    assert_none("a secret is read outside the listed files", find(r"\.expose_secret(_mut)?\(", SECRET_READERS));
}

#[test]
fn the_environment_is_never_changed() {
    assert_none("the environment of this process is changed", find(r"\benv::(set_var|remove_var)\b", &[]));
}
