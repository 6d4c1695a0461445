//! `[targets.*]` and `[roles.*]`: the core's keys here, the rest to the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use leasehold_sdk::{ClusterName, EngineKind, RoleContext, Settings, TargetContext};

use super::section::{Section, check_name, unknown};
use super::{PointsAt, Target};
use crate::domain::grant::IdPattern;
use crate::domain::role::{ParamPattern, Role};
use crate::domain::ttl::Lifetimes;
use crate::limits::Limits;
use crate::token;

/// The kind of credential that the broker itself signs.
pub(super) const TOKEN: &str = "token";

/// What targets are made from.
pub(super) struct TargetMaker<'k> {
    pub(super) kinds: &'k [Box<dyn EngineKind>],
    pub(super) cluster: ClusterName,
    pub(super) instance: &'k str,
    pub(super) base: &'k Path,
    pub(super) zones: Option<&'k [String]>,
    /// Whether there is an issuer of tokens.
    pub(super) issues: bool,
    /// Whether a rotated password could be recovered.
    pub(super) recoverable: bool,
}

/// The targets that are whole, and the names of all.
pub(super) struct Targets {
    pub(super) good: BTreeMap<String, Target>,
    pub(super) named: BTreeSet<String>,
}

/// The roles that are whole, and the names of all.
pub(super) struct Roles {
    pub(super) good: BTreeMap<String, Arc<Role>>,
    pub(super) named: BTreeSet<String>,
}

impl TargetMaker<'_> {
    pub(super) fn targets(&self, root: &Section<'_>) -> Targets {
        let section = root.section_or_empty("targets");
        let named = section.entries().into_iter().map(|(name, _)| name.to_owned()).collect();
        let sections = section.named_sections();
        let good =
            sections.iter().filter_map(|(name, section)| Some(((*name).to_owned(), self.target(name, section)?)));
        Targets { good: good.collect(), named }
    }

    fn target(&self, name: &str, section: &Section<'_>) -> Option<Target> {
        section.require("plugin", &format!("the kind of target: {}", self.known_kinds()));
        let kind = section.string("plugin").and_then(|f| {
            let kind = self.kinds.iter().find(|kind| kind.name() == f.value);
            if kind.is_none() {
                f.wrong(format!("no plugin has this name; this version has {}", self.known_kinds()));
            }
            kind
        });
        if kind.is_some_and(|kind| kind.credential_kind() == TOKEN) && !self.issues {
            section.wrong("plugin", "needs [token] with an issuer: somebody must sign the tokens");
        }
        let zone = self.zone(section);
        let retired = section.flag("retired").unwrap_or(false);
        let verifiers = verifiers(section, kind.is_some_and(|kind| kind.credential_kind() == TOKEN));
        let rotate_admin_every = section.duration("rotate_admin_every");
        if rotate_admin_every.is_some() && !self.recoverable {
            section.wrong("rotate_admin_every", "needs [seal] with a key, recovery_recipients and recovery_file");
        }
        let settings = section.rest();
        let (settings_hash, points_at) = (settings_hash(kind?.name(), &settings), points_at(kind?.name(), &settings));
        let context = TargetContext {
            target: name.to_owned(),
            cluster: self.cluster.clone(),
            instance: self.instance.to_owned(),
            base_dir: self.base.to_owned(),
        };
        let engine = kind?.target(context, settings).map_err(|e| section.refused(&e)).ok()?;
        if engine.asserts_to_cloud() && !self.issues {
            section.wrong("", "needs [token] with an issuer: the target is to be reached by the broker's own word");
        }
        Some(Target {
            name: name.to_owned(),
            plugin: kind?.name(),
            credential_kind: kind?.credential_kind(),
            zone: zone?,
            retired,
            rotate_admin_every,
            verifiers: verifiers?,
            engine,
            settings_hash,
            points_at,
        })
    }

    fn zone(&self, section: &Section<'_>) -> Option<Option<String>> {
        let Some(zones) = self.zones else {
            return if section.has("zone") {
                section.name("zone").map(|f| Some(f.value.to_owned()))
            } else {
                section.string("zone");
                Some(None)
            };
        };
        let zone = section.name("zone");
        section
            .require("zone", &format!("this broker serves only targets of zones {zones:?}, so each must say its zone"));
        let zone = zone?;
        if !zones.iter().any(|z| z == zone.value) {
            zone.wrong(format!("this broker serves only zones {zones:?} (broker.zones), not {:?}", zone.value));
            return None;
        }
        Some(Some(zone.value.to_owned()))
    }

    fn known_kinds(&self) -> String {
        self.kinds.iter().map(|kind| format!("{:?}", kind.name())).collect::<Vec<_>>().join(", ")
    }
}

/// Whom a target's tokens are sent to.
fn verifiers(section: &Section<'_>, of_tokens: bool) -> Option<Vec<IdPattern>> {
    if !of_tokens || !section.has("verifiers") {
        return Some(Vec::new());
    }
    let list = section.strings("verifiers")?;
    list.value.iter().map(|field| field.read(|text| IdPattern::parse(text))).collect::<Vec<_>>().into_iter().collect()
}

pub(super) fn roles(root: &Section<'_>, targets: &Targets, limits: &Limits) -> Roles {
    let section = root.section_or_empty("roles");
    let named = section.entries().into_iter().map(|(name, _)| name.to_owned()).collect();
    let sections = section.named_sections();
    let role = |(name, section): &(&str, Section<'_>)| {
        Some(((*name).to_owned(), Arc::new(role(name, section, targets, limits)?)))
    };
    Roles { good: sections.iter().filter_map(role).collect(), named }
}

/// What an engine is told of a role whose own lifetimes cannot be read.
const ORDINARY_LIFE: Duration = Duration::from_secs(3600);

fn role(name: &str, section: &Section<'_>, targets: &Targets, limits: &Limits) -> Option<Role> {
    section.require("target", "the name of a target");
    section.require("ttl", "how long a credential lives, such as \"1h\"");
    let target = section.string("target").and_then(|f| {
        if !targets.named.contains(f.value) {
            f.wrong(unknown("target", f.value, targets.named.iter().map(String::as_str)));
        }
        targets.good.get(f.value)
    });
    let lifetimes = lifetimes(section);
    let params = params(section);
    if let Some(params) = &params
        && params.len() as u64 > limits.params_per_request_max
    {
        section.wrong("params", format!("has more than params_per_request_max ({})", limits.params_per_request_max));
    }
    let of_tokens = target.is_some_and(|target| target.credential_kind == TOKEN);
    let leased = if of_tokens { section.flag("lease").unwrap_or(true) } else { true };
    if of_tokens {
        check_tokens(section, lifetimes.as_ref(), params.as_ref(), leased);
    }
    let settings = section.rest();
    // Where the lifetimes are wrong, the other keys are looked at all the same.
    let context = RoleContext {
        role: name.to_owned(),
        params: params.iter().flat_map(|p| p.keys().cloned()).collect(),
        ttl: lifetimes.as_ref().map_or(ORDINARY_LIFE, Lifetimes::ttl),
        max_ttl: lifetimes.as_ref().map_or(ORDINARY_LIFE, Lifetimes::max_ttl),
    };
    let settings = target?.engine.role(&context, settings).map_err(|e| section.refused(&e)).ok()?;
    Some(Role {
        name: name.to_owned(),
        target: target?.name.clone(),
        kind: target?.credential_kind,
        lifetimes: lifetimes?,
        params: params?,
        leased,
        settings,
    })
}

/// What holds for roles of tokens alone.
fn check_tokens(
    section: &Section<'_>,
    lifetimes: Option<&Lifetimes>,
    params: Option<&BTreeMap<String, ParamPattern>>,
    leased: bool,
) {
    let max = if leased { token::LIFE_MAX } else { token::LEASELESS_LIFE_MAX };
    if lifetimes.is_some_and(|lifetimes| lifetimes.max_ttl() > max) {
        let key = if section.has("max_ttl") { "max_ttl" } else { "ttl" };
        let why = match leased {
            true => "must not be longer than 24h: keys are published that long after their last signature",
            false => "must not be longer than 10m without a lease: nobody can end such a token",
        };
        section.wrong(key, why);
    }
    let form = params.into_iter().flatten().map(|(name, _)| name.as_str());
    for name in form.filter(|name| token::FORM_FIELDS.contains(name)) {
        section.wrong(&format!("params.{name}"), "is the name of a field of /oauth2/token: no param can be called so");
    }
}

fn lifetimes(section: &Section<'_>) -> Option<Lifetimes> {
    let (ttl, max_ttl, overlap) = (section.duration("ttl"), section.duration("max_ttl"), section.duration("overlap"));
    if (section.has("max_ttl") && max_ttl.is_none()) || (section.has("overlap") && overlap.is_none()) {
        return None;
    }
    Lifetimes::new(ttl?, max_ttl, overlap).map_err(|e| section.wrong(e.key(), e.to_string())).ok()
}

/// `params`, of a role or of a grant; `None` when something in it is wrong.
pub(super) fn params(section: &Section<'_>) -> Option<BTreeMap<String, ParamPattern>> {
    let entries = section.section_or_empty("params").entries();
    let read: Vec<_> = entries
        .into_iter()
        .map(|(name, field)| {
            field.read(|_| check_name(name))?;
            let source = field.read(|v| v.as_str().ok_or("must be a regular expression in quotes"))?;
            Some((name.to_owned(), field.read(|_| ParamPattern::new(source))?))
        })
        .collect();
    read.into_iter().collect()
}

fn settings_hash(plugin: &str, settings: &Settings) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(plugin.as_bytes());
    hash.update(b"\n");
    hash.update(serde_json::Value::Object(settings.clone()).to_string().as_bytes());
    HEXLOWER.encode(hash.finish().as_ref())
}

/// Another login or another option of the connection is still the same target; another host, port or path is not. Tokens are where
/// their audience is. A target without either is where all its settings say.
fn points_at(plugin: &str, settings: &Settings) -> PointsAt {
    let place = match settings.get("url").and_then(serde_json::Value::as_str) {
        Some(url) => {
            let url = url.split(['?', '#']).next().unwrap_or(url);
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
        }
        None => match settings.get("audience").and_then(serde_json::Value::as_str) {
            Some(audience) => audience.to_owned(),
            None => settings_hash(plugin, settings),
        },
    };
    PointsAt { plugin: plugin.to_owned(), place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_without_login_and_options() {
        let place = |url: &str| points_at("p", &Settings::from_iter([("url".to_owned(), url.into())])).place;
        assert_eq!(place("postgres://u:p@h:1/d?x=1"), "postgres://h:1/d");
        assert_eq!(place("postgres://h:1/d"), "postgres://h:1/d");
        assert_ne!(place("postgres://u@h:1/d"), place("postgres://u@h:2/d"));
        assert_ne!(points_at("p", &Settings::new()), points_at("q", &Settings::new()));
    }
}
