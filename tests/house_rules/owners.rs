//! One owner for each foreign crate (DESIGN 4): who wants to change the TLS stack or the HTTP stack finds it in one place.

use super::{assert_none, is_listed, source};

const TESTS: &str = "tests/";
const BENCHES: &str = "benches/";
/// Services that are supplied: they have a port of their own.
const EXAMPLES: &str = "examples/";
const IDENTITY: &str = "crates/identity/";
const CLIENT: &str = "crates/client/";
/// Its tests play the public listener of a broker.
const CLIENT_TESTS: &str = "crates/client/tests/";
const API: &str = "src/api/";
/// The agent's socket.
const AGENT: &str = "src/agent/serve/";
/// Where proxies ask the agent for verdicts.
const FORWARD_AUTH: &str = "src/agent/forward_auth/";
/// URLs that the agent calls after a change, and their form.
const CALLS: &str = "src/agent/deliver/call.rs";
/// The console of a PgBouncer.
const CONSOLE: &str = "src/agent/deliver/pgbouncer.rs";
/// How connections are served, whatever the listener.
const CONNECTIONS: &str = "src/connections.rs";
const CLI: &str = "src/cli/";
/// The ops listener: health and metrics.
const TELEMETRY: &str = "src/telemetry/";
/// Collectors of audit lines.
const COLLECTORS: &str = "src/audit/collector/";

/// A crate as the code names it, and the files and folders that may.
const OWNERS: &[(&str, &[&str])] = &[
    // Tests play clients that no good client is.
    // TLS to a database is no SPIFFE identity: the engine does it itself, below its guard.
    ("rustls", &[IDENTITY, "plugins/postgres/src/guard/tls.rs", TESTS, CLIENT_TESTS]),
    ("tokio_rustls", &[IDENTITY, "plugins/postgres/src/guard/tls.rs", TESTS, CLIENT_TESTS]),
    ("webpki_roots", &["plugins/postgres/src/guard/tls.rs", IDENTITY]),
    ("rustls_pki_types", &[IDENTITY]),
    ("webpki", &[IDENTITY]),
    ("x509_parser", &[IDENTITY]),
    ("rcgen", &[IDENTITY, TESTS, CLIENT_TESTS]),
    ("sqlx", &["src/store/", "plugins/postgres/", CONSOLE, EXAMPLES, TESTS, BENCHES]),
    ("clap", &[CLI, "src/main.rs"]),
    ("clap_complete", &[CLI]),
    ("comfy_table", &[CLI]),
    ("jsonwebtoken", &["src/token/", CLIENT, BENCHES, TESTS]),
    // Status lists are packed there and unpacked here.
    ("aws_config", &["plugins/aws/"]),
    ("aws_credential_types", &["plugins/aws/"]),
    ("aws_sdk_iam", &["plugins/aws/"]),
    ("aws_sdk_sts", &["plugins/aws/", BENCHES]),
    ("miniz_oxide", &["src/token/", CLIENT, TESTS]),
    ("axum", &[API, AGENT, FORWARD_AUTH, CONNECTIONS, TELEMETRY]),
    ("hyper", &[IDENTITY, API, CONNECTIONS, CALLS, CLIENT, TELEMETRY, COLLECTORS, TESTS, BENCHES, EXAMPLES]),
    ("hyper_util", &[IDENTITY, API, CONNECTIONS, CALLS, CLIENT, TELEMETRY, COLLECTORS, TESTS, BENCHES, EXAMPLES]),
    ("http", &[IDENTITY, API, CALLS, "src/agent/config/credentials.rs", CLIENT, TELEMETRY, COLLECTORS, TESTS, BENCHES]),
    ("http_body", &[API, CLIENT, TELEMETRY, TESTS, BENCHES]),
    ("http_body_util", &[IDENTITY, API, CALLS, CLIENT, TELEMETRY, COLLECTORS, TESTS, BENCHES, EXAMPLES]),
    ("tokio_io_timeout", &[API]),
    ("form_urlencoded", &[API]),
    ("tower", &[IDENTITY, API, CONNECTIONS, TELEMETRY]),
    // gRPC: the SPIFFE Workload API, and the tests' own one.
    ("tonic", &[IDENTITY, TESTS]),
    ("tonic_prost", &[IDENTITY, TESTS]),
    ("prost", &[IDENTITY, TESTS]),
    ("utoipa", &[API, CLIENT]),
    ("toml", &["src/config/"]),
    ("minijinja", &["src/agent/forms/template.rs"]),
    ("governor", &[API, "src/lease/", "src/audit/"]),
    ("prometheus_client", &[TELEMETRY]),
    ("age", &["src/seal/"]),
    ("notify", &["src/config/", IDENTITY]),
    // Hashes and signatures: SVID fingerprints, SCRAM verifiers, the audit chain, sealing, randomness.
    (
        "aws_lc_rs",
        &[
            IDENTITY,
            "plugins/sdk/src/random.rs",
            "plugins/sdk/src/digest.rs",
            "plugins/postgres/src/scram.rs",
            "src/audit/",
            "src/seal/",
            // Signing keys of tokens.
            "src/token/key.rs",
            "src/config/",
            // Whether a token is the right one, told in the same time for each.
            "src/agent/serve/loopback.rs",
            "src/agent/serve/aws.rs",
            // The checksum of a store's export.
            "src/store/moving/",
            BENCHES,
        ],
    ),
    // The SDK's own HTTP client, for the one call that it has not.
    ("aws_smithy_http_client", &["plugins/aws/src/anywhere.rs"]),
    ("aws_smithy_runtime_api", &["plugins/aws/src/anywhere.rs"]),
    ("aws_smithy_types", &["plugins/aws/src/anywhere.rs"]),
    ("ring", &[]),
    ("openssl", &[]),
    ("native_tls", &[]),
];

#[test]
fn each_foreign_crate_has_its_owner() {
    let mut found = Vec::new();
    for source in source::all() {
        for mention in source.mentions() {
            let name = mention.path.split("::").next().unwrap_or_default();
            let Some((_, owners)) = OWNERS.iter().find(|(crate_name, _)| *crate_name == name) else { continue };
            if !is_listed(&source.path, owners) {
                found.push(format!("{}:{}: {}", source.path, mention.line, mention.path));
            }
        }
    }
    found.dedup();
    assert_none("a foreign crate is used outside the folders of its owner", found);
}
