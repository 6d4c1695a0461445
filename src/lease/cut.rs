//! Cutting a role: where single sessions cannot be ended in great number, all that the role of a cloud has given are, others' too.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_sdk::LeaseId;

use super::authorize::{Deed, Permit, no_params};
use super::{Broker, Failure, OrderTaken, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{EndedBy, Lease};
use crate::domain::role::Role;
use crate::store::{Filter, NewOrder, StoreError, Visible};

/// Most leases that a dry run lists; it counts all.
const LISTED_MAX: usize = 1000;

/// An operator wants a role cut.
pub(super) struct CutAsk {
    pub(super) role: String,
    pub(super) dry_run: bool,
    pub(super) expect: Option<u64>,
}

impl Broker {
    /// Cuts the room of a role's credentials, or lists whose sessions that would end.
    pub(super) async fn cut(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        ask: CutAsk,
    ) -> Result<OrderTaken, Failure> {
        let rules = self.current().config.rules.clone();
        let (rooms, roles) = self.sharing(&ask.role)?;
        // Others' sessions end with it: whoever orders it must be allowed to end each of those.
        let mut decisions = Vec::new();
        for role in &roles {
            let deed = Deed::on_role(Action::Revoke, role, no_params());
            let Permit { decision_id, .. } = self.authorize_end(&rules, caller, request, deed).await?;
            decisions.push(decision_id);
        }
        let mut matched = 0;
        for role in &roles {
            matched += self.store.count_live(&of_role(role)).await?;
        }
        if ask.dry_run {
            return Ok(OrderTaken { order: None, matched, leases: Some(self.living(&roles).await?) });
        }
        expected(matched, ask.expect)?;
        let now = self.clock.now();
        let decision_id = decisions.pop().unwrap_or_default();
        let detail = serde_json::json!({ "rooms": rooms, "roles": roles, "matched": matched, "before": now });
        self.keep_for_audit(&Event::Operation { operation: "cut".into(), decision_id, detail }).await?;
        // First what ends them, then that they end: each lease finds the cut when it is ended.
        for room in &rooms {
            self.store.cut_room(room, now).await?;
        }
        let up_to = self.store.newest_lease().await?.unwrap_or_else(|| LeaseId::at(now));
        let mut first = None;
        for role in roles {
            let id = super::authorize::new_decision_id().replace("d-", "o-");
            let order = NewOrder { id: id.clone(), at: now, by: EndedBy::Operator, filter: of_role(&role), up_to };
            self.store.place_order(&order).await?;
            if role == ask.role {
                first = Some(id);
            }
        }
        self.changes.orders.notify_one();
        Ok(OrderTaken { order: first, matched, leases: None })
    }

    /// The rooms in which a cut of this role is told, and all roles whose credentials it meets: those too whose single ones nobody can end.
    fn sharing(&self, role: &str) -> Result<(Vec<String>, Vec<String>), Failure> {
        let current = self.current();
        let engine = |role: &Role| current.engines.get(&role.target).map(|target| target.engine());
        let room = |role: &Role| engine(role)?.room(&role.settings);
        let scope = |role: &Role| engine(role)?.cut_scope(&role.settings);
        let roles = &current.config.rules.roles;
        let asked = roles.get(role).filter(|role| room(role).is_some()).ok_or_else(|| Failure::Bad {
            what: "cut".into(),
            why: format!("{role:?} is no role whose sessions can be cut: leave it out, and each is ended by itself"),
        })?;
        let met: Vec<&Role> = roles.values().map(|role| &**role).filter(|role| scope(role) == scope(asked)).collect();
        let rooms: BTreeSet<String> = met.iter().filter_map(|role| room(role)).collect();
        Ok((rooms.into_iter().collect(), met.into_iter().map(|role| role.name.clone()).collect()))
    }

    async fn living(&self, roles: &[String]) -> Result<Vec<Lease>, StoreError> {
        let mut living = Vec::new();
        for role in roles {
            let all = self.store.list(&Visible::All, &of_role(role), None, LISTED_MAX).await?;
            living.extend(all.into_iter().filter(|lease| lease.state.is_live()));
        }
        living.truncate(LISTED_MAX);
        Ok(living)
    }
}

fn of_role(role: &str) -> Filter {
    Filter { role: Some(role.to_owned()), ..Filter::default() }
}

/// However few: whoever orders it has seen whom it meets.
fn expected(matched: u64, expect: Option<u64>) -> Result<(), Failure> {
    match expect {
        _ if matched == 0 => Err(Failure::Bad { what: "cut".into(), why: "no session of this role lives".into() }),
        Some(n) if n == matched => Ok(()),
        Some(n) => Err(Failure::NotAsExpected { matched, why: format!("{n} were expected; run a dry run again") }),
        None => Err(Failure::NotAsExpected {
            matched,
            why:
                "a cut ends sessions of others too: run a dry run, which lists them, and say \"expect\" with its number"
                    .into(),
        }),
    }
}
