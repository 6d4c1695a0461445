//! One question: may this identity do this? Pure; default deny. Grants decide first; a policy language may later take
//! permissions away, never add any. The break-glass socket has a rule of its own: it can look and end, whatever the grants
//! say, and never hands anything out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_identity::SpiffeId;

use crate::domain::grant::{Action, Grant};
use crate::domain::role::Role;

/// Characters of a role's name that are shown; a configuration's names have 256 bytes at most.
const ROLE_CHARS_SHOWN: usize = 256;

/// What decisions are made from: the roles and grants of one generation of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// By name.
    pub roles: BTreeMap<String, Arc<Role>>,
    /// In the order of the file; the first that allows is the one named.
    pub grants: Vec<Grant>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who.
    pub identity: &'a SpiffeId,
    /// Doing what.
    pub action: Action,
    /// On which role; `None` for what concerns the broker as a whole, which only a grant for all roles covers.
    pub role: Option<&'a str>,
    /// With which params.
    pub params: &'a BTreeMap<String, String>,
    /// For an exchange: on whose behalf.
    pub subject: Option<&'a SpiffeId>,
    /// It is asked over the break-glass socket.
    pub break_glass: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by the grant of this name.
    Allowed {
        /// The grant.
        grant: String,
        /// What stands in the identity where the grant's pattern has names.
        captured: BTreeMap<String, String>,
    },
    /// Allowed to root on the broker's host, without a grant.
    BreakGlass,
    /// Not allowed.
    Denied(Denial),
}

/// Why not. The words never tell whether a role exists: to the outside, no grant and no such role are one answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No grant names this identity for this action on this role.
    #[error("no grant lets this identity {action} {on}")]
    NoGrant {
        /// The action.
        action: Action,
        /// The role, quoted, or `the broker`.
        on: String,
    },
    /// A grant would do, but the params do not fit it.
    #[error("grant {grant:?} allows it only with other params: {why}")]
    Params {
        /// The grant that came nearest.
        grant: String,
        /// Which param and why.
        why: String,
    },
    /// The identity is blocked.
    #[error("this identity is blocked, for {what} and everything else, until an operator lifts it")]
    Blocked {
        /// What it asked for.
        what: String,
    },
    /// Over the break-glass socket nothing is handed out.
    #[error("the break-glass socket is there to look and to end, not for {what}")]
    BreakGlass {
        /// The action, or the call.
        what: String,
    },
}

impl Decision {
    /// Whether it is allowed.
    pub fn allowed(&self) -> bool {
        !matches!(self, Self::Denied(_))
    }
}

/// A role's name as refusals and the audit log show it. What is longer than any name in a configuration is made short: no
/// caller writes pages into the log.
pub fn cut(role: &str) -> Cow<'_, str> {
    match role.char_indices().nth(ROLE_CHARS_SHOWN) {
        None => Cow::Borrowed(role),
        Some((end, _)) => Cow::Owned(format!("{}…", &role[..end])),
    }
}

/// Decides.
pub fn decide(rules: &Rules, q: Question<'_>) -> Decision {
    if q.break_glass {
        return decide_break_glass(q.action);
    }
    let no_grant = || Denial::NoGrant {
        action: q.action,
        on: q.role.map_or_else(|| "on the whole broker".to_owned(), |r| format!("on role {:?}", cut(r))),
    };
    let role = q.role.and_then(|name| rules.roles.get(name));
    // A role that has left the file, or that adopted accounts got, has leases still: who may see or end those of every
    // role may see or end these too.
    if q.role.is_some() && role.is_none() && !matches!(q.action, Action::Read | Action::Revoke) {
        return Decision::Denied(no_grant());
    }
    let mut nearest = None;
    for grant in rules.grants.iter().filter(|g| covers(g, &q)) {
        match role.map_or(Ok(()), |role| params_fit(role, grant, &q)) {
            Ok(()) => return Decision::Allowed { grant: grant.name.clone(), captured: captured(grant, q.identity) },
            Err(why) => nearest = nearest.or(Some(Denial::Params { grant: grant.name.clone(), why })),
        }
    }
    Decision::Denied(nearest.unwrap_or_else(no_grant))
}

/// Root on the broker's host can stop the broker and read its memory: to let it look and end takes nothing from anybody. To
/// hand a credential out would make it a way round the grants.
fn decide_break_glass(action: Action) -> Decision {
    match action {
        Action::Read | Action::Revoke | Action::Admin => Decision::BreakGlass,
        Action::Mint | Action::Exchange => Decision::Denied(Denial::BreakGlass { what: action.to_string() }),
    }
}

fn covers(grant: &Grant, q: &Question<'_>) -> bool {
    let role_fits = match q.role {
        Some(role) => grant.roles.contains(role),
        None => grant.roles == crate::domain::grant::RoleSet::All,
    };
    let subject_fits = match q.action {
        Action::Exchange => q.subject.is_some_and(|subject| grant.subjects.iter().any(|p| p.matches(subject))),
        _ => true,
    };
    role_fits
        && subject_fits
        && grant.actions.contains(&q.action)
        && grant.identities.iter().any(|p| p.matches(q.identity))
}

fn captured(grant: &Grant, identity: &SpiffeId) -> BTreeMap<String, String> {
    grant.identities.iter().find_map(|pattern| pattern.captured(identity)).unwrap_or_default()
}

/// Params matter where a credential is asked for: each declared one must be there in its form, and no other.
fn params_fit(role: &Role, grant: &Grant, q: &Question<'_>) -> Result<(), String> {
    if !matches!(q.action, Action::Mint | Action::Exchange) {
        return Ok(());
    }
    for (name, pattern) in &role.params {
        let value = q.params.get(name).ok_or_else(|| format!("param {name:?} is missing"))?;
        if !pattern.matches(value) {
            return Err(format!("param {name:?} must have the form {:?}", pattern.source()));
        }
        if let Some(narrower) = grant.params.get(name)
            && !narrower.matches(value)
        {
            return Err(format!("param {name:?} must have the form {:?}", narrower.source()));
        }
    }
    match q.params.keys().find(|name| !role.params.contains_key(*name)) {
        Some(name) => Err(format!("the role takes no param {name:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
