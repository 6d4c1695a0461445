//! What is told to people is true.

use super::*;
use crate::limits;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_example_is_good() {
    let core = Arc::new(crate::host::Core::default());
    let kinds: [Box<dyn EngineKind>; 2] =
        [Box::new(leasehold_postgres::Postgres), Box::new(leasehold_token::Token::new(core))];
    let config = load(&file("examples/leasehold.toml"), &kinds, "i1");
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.rules.roles.len(), 3);
    assert_eq!(config.rules.grants.len(), 5);
}

#[test]
fn every_limit_is_in_the_page_as_it_is() {
    let page = std::fs::read_to_string(file("docs/configuration.md")).unwrap();
    let row = |l: &limits::Known| {
        format!("| `{}` | {} | {} | {} | {} |", l.name, l.default, l.min, l.max, l.doc.trim().trim_end_matches('.'))
    };
    let rows: Vec<String> = limits::ALL.iter().map(row).collect();
    let shown: Vec<&str> =
        page.lines().skip_while(|l| *l != "## `[limits]`").filter(|l| l.starts_with("| `")).collect();
    assert_eq!(shown, rows, "the table should read:\n{}\n", rows.join("\n"));
}

#[test]
fn every_key_of_the_core_is_in_the_page() {
    let page = std::fs::read_to_string(file("docs/configuration.md")).unwrap();
    let keys = "cluster data_dir zones api api_url ops ops_exposed trust_domain svid.cert svid.key url file stdout syslog https ca tls authorization required \
                plugin zone retired target ttl max_ttl overlap params name identities roles actions enabled socket";
    for key in keys.split_whitespace() {
        assert!(page.contains(&format!("`{key}`")), "{key} is not described");
    }
}
