//! What a good file comes to mean.

use std::time::Duration;

use leasehold_identity::{
    BundleEndpoint, BundleSource, EndpointProfile, SpiffeId, SvidSource, TrustDomain, WorkloadApi,
};

use super::*;
use crate::domain::grant::{Action, RoleSet};

#[test]
fn defaults() {
    let config = good(GOOD);
    let text = with_line(&with_line(GOOD, 5, ""), 6, "");
    assert_eq!(good(&text).listen.api.to_string(), "0.0.0.0:8443");
    assert_eq!(good(&text).listen.ops.to_string(), "127.0.0.1:9464");
    assert_eq!(config.store, StoreConfig::Sqlite("/var/lib/leasehold/leasehold.db".into()));
    let audit = AuditSink { to: AuditTo::File("/var/lib/leasehold/audit.jsonl".into()), required: true };
    assert_eq!(config.audit, [audit]);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.rules.grants[0].actions, [Action::Mint]);
    let role = &config.rules.roles["orders-read"];
    assert_eq!(role.lifetimes.max_ttl(), Duration::from_secs(3600));
    assert_eq!(role.lifetimes.overlap(), Duration::from_secs(300));
    assert_eq!(role.kind, "database");
    assert!(!config.targets["orders"].retired);
}

#[test]
fn relative_paths_start_at_the_file() {
    let text = with_line(GOOD, 3, "data_dir = \"data\"");
    let config = good(&(text + "[store]\nurl = \"sqlite://s.db\"\n[[audit]]\nfile = \"logs/a\"\n"));
    assert_eq!(config.broker.data_dir, Path::new("/etc/leasehold/data"));
    assert_eq!(config.store, StoreConfig::Sqlite("/etc/leasehold/s.db".into()));
    assert_eq!(config.audit[0].to, AuditTo::File("/etc/leasehold/logs/a".into()));
    let SvidSource::Files { cert, .. } = &config.identity.svid else { panic!("files") };
    assert_eq!(cert, Path::new("/etc/leasehold/broker.pem"));
}

#[test]
fn an_identity_may_come_from_elsewhere_than_files() {
    let svid = "svid = { workload_api = \"unix:///run/spire/agent.sock\", hint = \"internal\" }";
    let bundles = r#""dev.local" = { workload_api = true }
"web.example" = { url = "https://web.example/bundle", profile = "https_web", ca = "web-ca.pem" }
"partner.example" = { url = "https://partner.example:8443/b", profile = "https_spiffe", endpoint_id = "spiffe://partner.example/server", bootstrap = "partner.json" }"#;
    let identity = good(&with_line(&with_line(GOOD, 11, bundles), 9, svid)).identity;
    let api = WorkloadApi::parse("unix:///run/spire/agent.sock").expect("an address").with_hint("internal");
    assert_eq!(identity.svid, SvidSource::WorkloadApi(api));

    let bundle = |name: &str| identity.bundles[&TrustDomain::parse(name).expect("a domain")].clone();
    let endpoint = |url: &str, profile| {
        let endpoint = BundleEndpoint::new(url, profile).expect("a URL");
        BundleSource::Endpoint(endpoint.kept_in(Path::new("/var/lib/leasehold/bundles")))
    };
    assert_eq!(bundle("dev.local"), BundleSource::WorkloadApi);
    let web = EndpointProfile::HttpsWeb { ca: Some("/etc/leasehold/web-ca.pem".into()) };
    assert_eq!(bundle("web.example"), endpoint("https://web.example/bundle", web));
    let endpoint_id = SpiffeId::parse("spiffe://partner.example/server").expect("an ID");
    let spiffe = EndpointProfile::HttpsSpiffe { endpoint_id, bootstrap: "/etc/leasehold/partner.json".into() };
    assert_eq!(bundle("partner.example"), endpoint("https://partner.example:8443/b", spiffe));
}

#[test]
fn what_is_written_is_what_is_meant() {
    let more = r#"actions = ["read", "admin"]
[[grants]]
name = "b"
identities = ["spiffe://dev.local/ops"]
roles = ["*"]
actions = ["revoke"]
[limits]
body_bytes_max = 0x400
handshakes_at_once_max = 2_000
[listen2]
"#;
    let text = GOOD.to_owned() + more.trim_end_matches("[listen2]\n");
    let text = with_line(&text, 6, "ops = \"0.0.0.0:1\"\nops_exposed = true\napi_url = \"https://lb:8443\"");
    let config = good(&text);
    assert_eq!(config.limits.body_bytes_max, 1024);
    assert_eq!(config.limits.handshakes_at_once_max, 2000);
    assert_eq!(config.rules.grants[0].actions, [Action::Read, Action::Admin]);
    assert_eq!(config.rules.grants[1].roles, RoleSet::All);
    assert_eq!(config.listen.api_url.as_deref(), Some("https://lb:8443"));
}

#[test]
fn zones() {
    let zoned = with_line(GOOD, 3, "data_dir = \"/d\"\nzones = [\"eu\", \"us\"]");
    let zone = |zone: &str| with_line(&zoned, 14, &format!("plugin = \"fake\"\nzone = \"{zone}\""));
    assert_eq!(good(&zone("us")).targets["orders"].zone.as_deref(), Some("us"));
    let refused =
        "15: targets.orders.zone: this broker serves only zones [\"eu\", \"us\"] (broker.zones), not \"asia\"";
    assert_eq!(errors(&zone("asia")), [refused]);
    let any = with_line(GOOD, 13, "plugin = \"fake\"\nzone = \"asia\"");
    assert_eq!(good(&any).targets["orders"].zone.as_deref(), Some("asia"));
}

#[test]
fn later_findings_have_their_line_too() {
    let config = good(GOOD);
    let error = config.error("roles.orders-read.member_of", "is too strong").to_string();
    assert_eq!(error, "/etc/leasehold/leasehold.toml:15: roles.orders-read.member_of: is too strong");
    assert_eq!(config.error("roles.orders-read.ttl", "x").line, Some(17));
}

#[test]
fn the_hash_is_of_the_whole_file_and_the_settings_hash_of_the_engines_part() {
    let (one, two) = (good(GOOD), good(&(GOOD.to_owned() + "# a comment\n")));
    assert_ne!(one.hash, two.hash);
    assert_eq!(one.hash.len(), 64);
    assert_eq!(one.targets["orders"].settings_hash, two.targets["orders"].settings_hash);
    let retired = good(&with_line(GOOD, 13, "plugin = \"fake\"\nretired = true"));
    assert_eq!(one.targets["orders"].settings_hash, retired.targets["orders"].settings_hash);
    let other = good(&with_line(GOOD, 14, "url = \"fake://other@db:1/orders\""));
    assert_ne!(one.targets["orders"].settings_hash, other.targets["orders"].settings_hash);
}

#[test]
fn the_files_that_the_test_kit_writes_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let file = leasehold_testkit::ConfigFile::new(dir.path(), "test", "dev.local")
        .bundle("far.example", "far.pem")
        .limit("body_bytes_max", 1024)
        .postgres("orders", "postgres://admin@127.0.0.1:5432/orders", "secret", "")
        .role("orders-read", "target = \"orders\"\nttl = \"1m\"\nmember_of = [\"orders_reader\"]")
        .grant("g", &["spiffe://far.example/a"], &["orders-read"], &["mint", "read"])
        .write();
    let config =
        load(&file, &[Box::new(leasehold_postgres::Postgres)], "i").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.broker.data_dir, dir.path());
}
