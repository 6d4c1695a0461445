//! Who may import whom (DESIGN 4).

use super::{assert_none, is_listed, production};

/// A folder, and the beginnings of paths that nothing in it may name.
struct Rule {
    folders: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        folders: &["src/domain/", "src/policy/"],
        never: &[
            "tokio",
            "sqlx",
            "axum",
            "hyper",
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "crate::agent",
            "crate::api",
            "crate::audit",
            "crate::cli",
            "crate::config",
            "crate::engine",
            "crate::lease",
            "crate::seal",
            "crate::store",
            "crate::telemetry",
            "crate::token",
        ],
        why: "domain and policy are pure rules without I/O",
    },
    Rule { folders: &["src/domain/"], never: &["crate::policy"], why: "policy is built on domain, not the reverse" },
    Rule {
        folders: &["src/api/"],
        never: &["crate::store", "crate::engine", "crate::cli", "crate::agent", "sqlx"],
        why: "the API reaches the store and the engines through lease only",
    },
    Rule {
        folders: &["src/lease/"],
        never: &["crate::api", "crate::cli", "crate::agent", "axum", "hyper", "sqlx"],
        why: "lease is below the API, and speaks to the store through its traits",
    },
    Rule {
        folders: &["src/store/"],
        never: &[
            "crate::api",
            "crate::lease",
            "crate::engine",
            "crate::policy",
            "crate::cli",
            "crate::agent",
            "crate::audit",
        ],
        why: "the store knows rows, not what is done with them",
    },
    Rule {
        folders: &["src/engine/"],
        never: &["crate::api", "crate::lease", "crate::store", "crate::policy", "crate::cli", "crate::agent", "sqlx"],
        why: "the registry of engines is below lease and beside the store",
    },
    Rule {
        folders: &["src/audit/"],
        never: &["crate::api", "crate::lease", "crate::engine", "crate::cli", "crate::agent", "sqlx"],
        why: "everyone writes to the audit log, so it stands on nobody",
    },
    Rule {
        folders: &["src/config/"],
        never: &["crate::api", "crate::lease", "crate::store", "crate::cli", "crate::agent", "sqlx"],
        why: "the configuration is read before anything else exists",
    },
    Rule {
        folders: &["src/agent/", "src/cli/"],
        never: &["crate::lease", "crate::store", "crate::engine", "crate::policy"],
        why: "agent and commands reach a broker through the client",
    },
    Rule {
        folders: &["plugins/"],
        never: &["leasehold", "leasehold_client", "leasehold_identity", "leasehold_playground"],
        why: "a plugin stands on the SDK alone",
    },
    Rule {
        folders: &["plugins/sdk/"],
        never: &["leasehold_postgres", "sqlx", "axum", "hyper"],
        why: "the SDK knows no engine",
    },
    Rule {
        folders: &["crates/client/"],
        never: &["leasehold", "leasehold_sdk", "leasehold_postgres", "leasehold_playground", "sqlx", "axum"],
        why: "whoever embeds the client builds no broker",
    },
    Rule {
        folders: &["crates/identity/", "crates/playground/"],
        never: &["leasehold", "leasehold_client", "leasehold_sdk", "leasehold_postgres", "sqlx", "axum"],
        why: "these crates are at the bottom",
    },
    Rule {
        folders: &["crates/pglink/"],
        never: &["leasehold", "leasehold_client", "leasehold_identity", "leasehold_postgres", "sqlx", "axum", "rustls"],
        why: "it stands on the SDK, and describes a way without going it",
    },
];

/// Commands that are the broker, or a part of it, rather than a client of one.
const BROKER_COMMANDS: &[&str] = &[
    "src/cli/serve.rs",
    "src/cli/serve/",
    "src/cli/check.rs",
    "src/cli/check/",
    "src/cli/audit/verify.rs",
    "src/cli/store/",
];

#[test]
fn imports_go_one_way() {
    let mut found = Vec::new();
    for source in production() {
        for rule in RULES.iter().filter(|rule| is_listed(&source.path, rule.folders)) {
            if is_listed(&source.path, BROKER_COMMANDS) {
                continue;
            }
            for mention in source.mentions() {
                if rule.never.iter().any(|never| begins_with(&mention.path, never)) {
                    found.push(format!("{}:{}: {} ({})", source.path, mention.line, mention.path, rule.why));
                }
            }
        }
    }
    found.dedup();
    assert_none("an import against the direction of DESIGN 4", found);
}

#[test]
fn domain_and_policy_are_not_async() {
    let pattern = regex::Regex::new(r"\basync\b|\.await\b").expect("a pattern");
    let pure = production().into_iter().filter(|source| is_listed(&source.path, &["src/domain/", "src/policy/"]));
    assert_none("async code in domain or policy", pure.flat_map(|source| source.lines_with(&pattern)).collect());
}

/// Whole segments: `leasehold` is not the beginning of `leasehold_sdk`.
fn begins_with(path: &str, beginning: &str) -> bool {
    path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn a_beginning_is_whole_segments() {
    assert!(begins_with("leasehold::lease", "leasehold"));
    assert!(!begins_with("leasehold_sdk::Plan", "leasehold"));
}
