//! `[[grants]]`.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_identity::{BundleSource, TrustDomain};

use super::section::{Section, unknown};
use super::targets::{Roles, TOKEN, Targets, params};
use super::value;
use crate::domain::grant::{Action, Grant, IdPattern, RoleSet};

/// Longest name of a grant, in bytes.
const GRANT_NAME_BYTES_MAX: usize = 128;

/// What grants refer to.
pub(super) struct Known<'k> {
    pub(super) roles: &'k Roles,
    pub(super) targets: &'k Targets,
    /// `None` when `[identity]` is wrong and says so itself.
    pub(super) bundles: Option<&'k BTreeMap<TrustDomain, BundleSource>>,
}

pub(super) fn grants(root: &Section<'_>, known: &Known<'_>) -> Vec<Grant> {
    let mut names = BTreeSet::new();
    let mut grants = Vec::new();
    for section in root.sections("grants") {
        let grant = grant(&section, known);
        if let Some(grant) = &grant
            && !names.insert(grant.name.clone())
        {
            section.wrong(
                "name",
                format!("another grant is called {:?} too; decisions are told by this name", grant.name),
            );
        }
        grants.extend(grant);
        section.finish();
    }
    grants
}

fn grant(section: &Section<'_>, known: &Known<'_>) -> Option<Grant> {
    section.require("name", "what refusals and the audit log call it");
    section.require("identities", "a list of SPIFFE IDs, in which a whole path segment may be *");
    section.require("roles", "a list of role names");
    let name = name(section);
    let identities = patterns(section, "identities", known);
    let actions = actions(section);
    let roles = roles(section, known);
    let params = params(section);
    let subjects = if section.has("subjects") { patterns(section, "subjects", known) } else { Some(Vec::new()) };
    let grant = Grant {
        name: name?,
        identities: identities?,
        roles: roles?,
        actions: actions?,
        params: params?,
        subjects: subjects?,
    };
    check_all_roles(section, &grant);
    check_params(section, &grant, known);
    check_exchange(section, &grant, known);
    check_names(section, &grant, known);
    Some(grant)
}

fn name(section: &Section<'_>) -> Option<String> {
    let name = section.string("name")?;
    let text = name.value.trim();
    if text.is_empty() || text.len() > GRANT_NAME_BYTES_MAX || text.chars().any(char::is_control) {
        name.wrong(format!("must be 1 to {GRANT_NAME_BYTES_MAX} bytes without control characters"));
        return None;
    }
    Some(text.to_owned())
}

fn patterns(section: &Section<'_>, key: &'static str, known: &Known<'_>) -> Option<Vec<IdPattern>> {
    let list = section.strings(key)?;
    if list.value.is_empty() {
        list.wrong("must name at least one identity");
        return None;
    }
    let read: Vec<_> = list
        .value
        .iter()
        .map(|field| {
            let pattern = field.read(|text| IdPattern::parse(text))?;
            if let Some(bundles) = known.bundles
                && !bundles.contains_key(pattern.trust_domain())
            {
                let domain = pattern.trust_domain();
                field.wrong(format!(
                    "nobody of trust domain \"{domain}\" can be verified: identity.bundles has no such key"
                ));
            }
            Some(pattern)
        })
        .collect();
    read.into_iter().collect()
}

fn actions(section: &Section<'_>) -> Option<Vec<Action>> {
    if !section.has("actions") {
        section.strings("actions");
        return Some(vec![Action::Mint]);
    }
    let list = section.strings("actions")?;
    if list.value.is_empty() {
        list.wrong("must name at least one action; leave it out for [\"mint\"]");
        return None;
    }
    let words = Action::ALL.map(Action::as_str);
    let read: Vec<_> = list
        .value
        .iter()
        .map(|field| match Action::parse(field.value) {
            Some(action) => Some(action),
            None => {
                let near = value::nearest(field.value, words.into_iter());
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                field.wrong(format!("must be one of {}{hint}", words.join(", ")));
                None
            }
        })
        .collect();
    read.into_iter().collect()
}

fn roles(section: &Section<'_>, known: &Known<'_>) -> Option<RoleSet> {
    let list = section.strings("roles")?;
    match list.value.as_slice() {
        [] => {
            list.wrong("must name at least one role");
            None
        }
        [only] if only.value == "*" => Some(RoleSet::All),
        names => {
            for field in names {
                if field.value == "*" {
                    field.wrong("\"*\" must stand alone");
                } else if !known.roles.named.contains(field.value) {
                    field.wrong(unknown("role", field.value, known.roles.named.iter().map(String::as_str)));
                }
            }
            Some(RoleSet::Named(names.iter().map(|f| f.value.to_owned()).collect()))
        }
    }
}

fn check_all_roles(section: &Section<'_>, grant: &Grant) {
    if grant.roles == RoleSet::All && grant.actions.iter().any(|a| matches!(a, Action::Mint | Action::Exchange)) {
        let why = "[\"*\"] is over-broad for mint and exchange: name the roles, or say actions = [\"read\"] (or revoke, admin)";
        section.wrong("roles", why);
    }
}

/// A form for a param that a role does not take would narrow nothing, and look as if it did.
fn check_params(section: &Section<'_>, grant: &Grant, known: &Known<'_>) {
    for name in grant.params.keys() {
        let key = format!("params.{name}");
        match &grant.roles {
            RoleSet::All => section.wrong(&key, "params narrow named roles only"),
            RoleSet::Named(roles) => {
                let without =
                    roles.iter().filter_map(|r| known.roles.good.get(r)).find(|r| !r.params.contains_key(name));
                if let Some(role) = without {
                    section.wrong(&key, format!("role {:?} takes no param {name:?}", role.name));
                }
            }
        }
    }
}

/// Who exchanges whose tokens must be said, and only tokens can be exchanged.
fn check_exchange(section: &Section<'_>, grant: &Grant, known: &Known<'_>) {
    match (grant.actions.contains(&Action::Exchange), grant.subjects.is_empty()) {
        (true, true) => section.wrong("subjects", "is missing: for exchange, the SPIFFE IDs on whose behalf"),
        (false, false) => section.wrong("subjects", "means something with actions = [\"exchange\"] only"),
        (false, true) => {}
        (true, false) => {
            let no_token = |role: &&str| known.roles.good.get(*role).is_some_and(|role| role.kind != TOKEN);
            if let Some(role) = named(grant).find(no_token) {
                section.wrong("roles", format!("role {role:?} gives no tokens: there is nothing to exchange"));
            }
        }
    }
}

/// A claim that speaks of a segment of the caller's identity must find it in each pattern by which the role is granted.
fn check_names(section: &Section<'_>, grant: &Grant, known: &Known<'_>) {
    if !grant.actions.iter().any(|action| matches!(action, Action::Mint | Action::Exchange)) {
        return;
    }
    for role in named(grant).filter_map(|role| known.roles.good.get(role)) {
        let target = known.targets.good.get(&role.target);
        let wanted = target.and_then(|target| Some(target.engine.as_tokens()?.captures(&role.settings)));
        for name in wanted.into_iter().flatten() {
            if let Some(pattern) = grant.identities.iter().find(|pattern| !pattern.names().any(|has| has == name)) {
                let why = format!(
                    "role {:?} has a claim with {{{{ identity.{name} }}}}, and {:?} has no segment {{{name}}}",
                    role.name,
                    pattern.as_str(),
                );
                section.wrong("identities", why);
            }
        }
    }
}

fn named(grant: &Grant) -> impl Iterator<Item = &str> {
    let names = match &grant.roles {
        RoleSet::Named(names) => names.as_slice(),
        RoleSet::All => &[],
    };
    names.iter().map(String::as_str)
}
