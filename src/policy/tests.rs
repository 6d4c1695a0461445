use proptest::prelude::*;

use super::*;
use crate::domain::grant::{IdPattern, RoleSet};
use crate::domain::role::ParamPattern;
use crate::domain::ttl::Lifetimes;

const ROLES: [&str; 3] = ["plain", "tenant", "other"];
const ACTIONS: [Action; 4] = [Action::Mint, Action::Read, Action::Revoke, Action::Admin];

fn role(name: &str, params: &[(&str, &str)]) -> (String, Arc<Role>) {
    let role = Role {
        name: name.to_owned(),
        target: "t".to_owned(),
        kind: "database",
        lifetimes: Lifetimes::new(std::time::Duration::from_secs(60), None, None).unwrap(),
        params: patterns(params),
        leased: true,
        settings: leasehold_sdk::RoleSettings(serde_json::Value::Null),
    };
    (name.to_owned(), Arc::new(role))
}

fn patterns(params: &[(&str, &str)]) -> BTreeMap<String, ParamPattern> {
    params.iter().map(|(name, form)| ((*name).to_owned(), ParamPattern::new(form).unwrap())).collect()
}

fn grant(name: &str, identity: &str, roles: &[&str], actions: &[Action], params: &[(&str, &str)]) -> Grant {
    let roles = match roles {
        ["*"] => RoleSet::All,
        names => RoleSet::Named(names.iter().map(|r| (*r).to_owned()).collect()),
    };
    let identities = vec![IdPattern::parse(identity).unwrap()];
    Grant {
        name: name.to_owned(),
        identities,
        roles,
        actions: actions.to_vec(),
        params: patterns(params),
        subjects: Vec::new(),
    }
}

fn rules(grants: Vec<Grant>) -> Rules {
    let roles = [role("plain", &[]), role("tenant", &[("tenant", "[0-9]{1,3}")]), role("other", &[])];
    Rules { roles: roles.into(), grants }
}

/// `Ok` with the grant, `Err` with the reason.
fn ask(
    rules: &Rules,
    identity: &str,
    action: Action,
    role: Option<&str>,
    params: &[(&str, &str)],
) -> Result<String, String> {
    let identity = SpiffeId::parse(identity).unwrap();
    let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match decide(
        rules,
        Question { identity: &identity, action, role, params: &params, subject: None, break_glass: false },
    ) {
        Decision::Allowed { grant, .. } => Ok(grant),
        Decision::BreakGlass => Err("no socket was used".to_owned()),
        Decision::Denied(why) => Err(why.to_string()),
    }
}

#[test]
fn grants_allow_what_they_name_and_nothing_else() {
    let rules = rules(vec![
        grant("sa", "spiffe://d/ns/a/sa/*", &["plain"], &[Action::Mint], &[]),
        grant("ops", "spiffe://d/ops", &["*"], &[Action::Read, Action::Admin], &[]),
        grant("named", "spiffe://d/named", &["plain"], &[Action::Admin], &[]),
    ]);
    use Action::{Admin, Mint, Read, Revoke};
    for (identity, action, role, want) in [
        ("spiffe://d/ns/a/sa/x", Mint, Some("plain"), Some("sa")),
        ("spiffe://d/ns/a/sa/x", Read, Some("plain"), None),
        ("spiffe://d/ns/a/sa/x", Mint, Some("other"), None),
        ("spiffe://d/ns/b/sa/x", Mint, Some("plain"), None),
        ("spiffe://d/ns/a/sa/x/y", Mint, Some("plain"), None),
        ("spiffe://e/ns/a/sa/x", Mint, Some("plain"), None),
        ("spiffe://d/ops", Read, Some("other"), Some("ops")),
        // Leases of a role that has left the file can still be seen, by whoever sees all.
        ("spiffe://d/ops", Read, Some("gone"), Some("ops")),
        ("spiffe://d/ops", Admin, Some("gone"), None),
        ("spiffe://d/ops", Admin, None, Some("ops")),
        ("spiffe://d/ops", Revoke, None, None),
        ("spiffe://d/ops", Mint, Some("plain"), None),
        // Over one role is not over the whole broker.
        ("spiffe://d/named", Admin, Some("plain"), Some("named")),
        ("spiffe://d/named", Admin, None, None),
    ] {
        let got = ask(&rules, identity, action, role, &[]);
        assert_eq!(got.as_deref().ok(), want, "{identity} {action} {role:?}: {got:?}");
    }
}

#[test]
fn no_such_role_and_no_grant_are_one_answer() {
    let rules = rules(vec![]);
    let said = |role| ask(&rules, "spiffe://d/a", Action::Mint, Some(role), &[]).unwrap_err();
    assert_eq!(said("plain").replace("plain", "X"), said("missing").replace("missing", "X"));
}

#[test]
fn params_must_fit_the_role_and_the_grant() {
    let rules = rules(vec![
        grant("narrow", "spiffe://d/a", &["tenant"], &[Action::Mint, Action::Read], &[("tenant", "7.")]),
        grant("wide", "spiffe://d/b", &["tenant"], &[Action::Mint], &[]),
        // A grant can only narrow: this one would be wider than the role.
        grant("wider", "spiffe://d/c", &["tenant"], &[Action::Mint], &[("tenant", ".*")]),
    ]);
    let mint = |who: &str, params: &[(&str, &str)]| {
        ask(&rules, &format!("spiffe://d/{who}"), Action::Mint, Some("tenant"), params)
    };
    assert_eq!(mint("a", &[("tenant", "71")]).as_deref(), Ok("narrow"));
    assert_eq!(mint("b", &[("tenant", "123")]).as_deref(), Ok("wide"));
    for (who, params, why) in [
        ("a", &[("tenant", "81")][..], "must have the form \"7.\""),
        ("a", &[("tenant", "7x")], "must have the form \"[0-9]{1,3}\""),
        ("a", &[], "param \"tenant\" is missing"),
        ("b", &[("tenant", "1234")], "must have the form"),
        ("b", &[("tenant", "1"), ("more", "1")], "takes no param \"more\""),
        ("c", &[("tenant", "abc")], "must have the form"),
    ] {
        let said = mint(who, params).unwrap_err();
        assert!(said.contains(why), "{who} {params:?}: {said}");
    }
    assert!(ask(&rules, "spiffe://d/a", Action::Read, Some("tenant"), &[]).is_ok(), "only minting needs params");
}

#[test]
fn the_break_glass_socket_looks_and_ends_and_hands_nothing_out() {
    let identity = SpiffeId::parse("spiffe://d/ops").unwrap();
    // Even where a grant would let this identity mint.
    let rules = rules(vec![grant("all", "spiffe://d/ops", &["plain"], &[Action::Mint], &[])]);
    for action in ACTIONS {
        for role in [None, Some("plain"), Some("gone")] {
            let decided = decide(
                &rules,
                Question {
                    identity: &identity,
                    action,
                    role,
                    params: &BTreeMap::new(),
                    subject: None,
                    break_glass: true,
                },
            );
            match action {
                Action::Mint => {
                    assert_eq!(decided, Decision::Denied(Denial::BreakGlass { what: "mint".into() }));
                }
                _ => assert_eq!(decided, Decision::BreakGlass),
            }
        }
    }
}

fn any_identity() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "spiffe://d/a/x",
        "spiffe://d/b/x",
        "spiffe://d/a",
        "spiffe://e/a/x",
        "spiffe://d/a/x/y",
    ])
    .prop_map(str::to_owned)
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let identity = prop_oneof![any_identity(), Just("spiffe://d/a/*".to_owned()), Just("spiffe://d/*/x".to_owned())];
    let roles = prop_oneof![Just(vec!["*"]), proptest::sample::subsequence(ROLES.to_vec(), 1..=3)];
    let actions = proptest::sample::subsequence(ACTIONS.to_vec(), 1..=4);
    (any::<u16>(), identity, roles, actions, any::<bool>()).prop_map(|(n, identity, roles, actions, narrow)| {
        let params: &[(&str, &str)] = if narrow { &[("tenant", "1.*")] } else { &[] };
        grant(&format!("g{n}"), &identity, &roles, &actions, params)
    })
}

/// The same question, answered in other words than the code's.
fn model(g: &Grant, identity: &str, action: Action, role: Option<&str>, tenant: Option<&str>) -> bool {
    let parts: Vec<&str> = identity.split('/').collect();
    let who = g.identities.iter().any(|pattern| {
        let want: Vec<&str> = pattern.as_str().split('/').collect();
        want.len() == parts.len() && want.iter().zip(&parts).all(|(w, p)| *w == "*" || w == p)
    });
    let which = match (&g.roles, role) {
        (RoleSet::All, None) => true,
        (RoleSet::All, Some(role)) => ROLES.contains(&role) || matches!(action, Action::Read | Action::Revoke),
        (RoleSet::Named(names), Some(role)) => ROLES.contains(&role) && names.contains(&role.to_owned()),
        (RoleSet::Named(_), None) => false,
    };
    let digits = |t: &str| (1..=3).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    let with = match (action, role, tenant) {
        (Action::Mint, Some("tenant"), Some(t)) => digits(t) && (g.params.is_empty() || t.starts_with('1')),
        (Action::Mint, Some("tenant"), None) => false,
        (Action::Mint, Some(_), given) => given.is_none(),
        _ => true,
    };
    who && which && with && g.actions.contains(&action)
}

proptest! {
    #[test]
    fn allowed_is_what_some_grant_allows_and_more_grants_never_take_away(
        grants in proptest::collection::vec(any_grant(), 0..6),
        more in any_grant(),
        at in any::<proptest::sample::Index>(),
        identity in any_identity(),
        action in proptest::sample::select(ACTIONS.to_vec()),
        role in proptest::option::of(proptest::sample::select(vec!["plain", "tenant", "other", "missing"])),
        tenant in proptest::option::of(proptest::sample::select(vec!["1", "12", "21", "1234", "x", ""])),
    ) {
        let params: Vec<_> = tenant.iter().map(|t| ("tenant", *t)).collect();
        let rules = rules(grants);
        let answer = ask(&rules, &identity, action, role, &params);
        let first = rules.grants.iter().find(|g| model(g, &identity, action, role, tenant));
        prop_assert_eq!(answer.as_ref().ok(), first.map(|g| &g.name), "{:?}", answer);

        let mut wider = rules.clone();
        wider.grants.insert(at.index(wider.grants.len() + 1), more);
        prop_assert!(answer.is_err() || ask(&wider, &identity, action, role, &params).is_ok());
    }
}
