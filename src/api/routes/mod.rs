//! The calls, one file per noun.

mod blocks;
mod brokers;
mod credentials;
mod decisions;
mod leases;
mod oauth2;
mod openapi;
mod reconcile;
mod roles;
mod seal;
mod targets;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, any, delete, get, post, put};

use super::body::BodyLimits;
use super::problem::Problem;
use crate::lease::Broker;

/// What every handler has.
#[derive(Clone)]
pub(super) struct Api {
    pub broker: Arc<Broker>,
    pub body: BodyLimits,
    pub page_leases_max: usize,
    pub params_max: usize,
}

/// One call of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its method.
    pub method: Method,
    /// Its path, with `{…}` for what varies.
    pub path: &'static str,
    /// What a caller needs beyond a good SVID.
    pub needs: Needs,
}

/// What a caller needs beyond a good SVID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it shows only what is the caller's own, or public.
    Nothing,
    /// A grant; without one it is 403, or 404 for a lease that the caller may not see.
    Grant,
}

/// Every call there is. The router is made from the same list, so that a new call is in it or does not exist.
pub fn endpoints() -> Vec<Endpoint> {
    table().into_iter().map(|(method, path, needs, _)| Endpoint { method, path, needs }).collect()
}

/// What the break-glass socket is for: to look and to end. No call that hands out, renews, changes a target or lets leases
/// go without ending them is ever put here.
const ON_BREAK_GLASS: &[&str] = &[
    "GET /v1/leases",
    "GET /v1/leases/{id}",
    "POST /v1/leases/{id}/revoke",
    "POST /v1/leases/revoke",
    "GET /v1/leases/revoke/{order}",
    "POST /v1/reconcile",
    "GET /v1/brokers",
    "GET /v1/blocks",
    "PUT /v1/blocks",
    "DELETE /v1/blocks",
    "GET /v1/openapi.json",
];

/// Whether the break-glass socket is for this call, such as `GET /v1/leases/{id}`.
pub(super) fn on_break_glass(call: &str) -> bool {
    ON_BREAK_GLASS.contains(&call)
}

pub(super) fn router(api: Api) -> Router {
    let mut router: Router<Api> = Router::new();
    let mut rows = table();
    // What is one path is one route, whatever its methods.
    rows.sort_by_key(|row| row.1);
    for of_path in rows.chunk_by_mut(|a, b| a.1 == b.1) {
        let (path, allow) = (of_path[0].1, allowed(of_path[0].1));
        let methods = of_path.iter_mut().map(|row| std::mem::take(&mut row.3));
        let all = methods.fold(MethodRouter::new(), MethodRouter::merge);
        router = router.route(path, all.fallback(move || async move { Problem::method_not_allowed(allow) }));
    }
    router.fallback(any(|| async { Problem::no_such_path() })).with_state(api)
}

/// The methods that a path takes, as the header `allow` lists them.
fn allowed(path: &str) -> &'static str {
    match path {
        "/v1/blocks" => "GET, PUT, DELETE",
        _ if table().iter().any(|row| row.1 == path && row.0 == Method::GET) => "GET",
        _ => "POST",
    }
}

type Row = (Method, &'static str, Needs, MethodRouter<Api>);

fn table() -> Vec<Row> {
    use Needs::{Grant, Nothing};
    vec![
        posted("/v1/credentials/{role}", Grant, credentials::mint),
        got("/v1/roles", Nothing, roles::list),
        got("/v1/leases", Nothing, leases::list),
        got("/v1/leases/{id}", Grant, leases::show),
        posted("/v1/leases/{id}/renew", Grant, leases::renew),
        posted("/v1/leases/{id}/revoke", Grant, leases::revoke),
        posted("/v1/leases/revoke", Grant, leases::revoke_many),
        got("/v1/leases/revoke/{order}", Grant, leases::order),
        posted("/v1/decisions", Nothing, decisions::decide),
        posted("/v1/reconcile", Grant, reconcile::reconcile),
        posted("/v1/targets/{target}/forget", Grant, targets::forget),
        posted("/v1/targets/{target}/rotate-admin", Grant, targets::rotate_admin),
        posted("/v1/seal/rotate", Grant, seal::rotate),
        posted("/v1/token/rotate-key", Grant, token::rotate_key),
        got("/v1/token/keys", Grant, token::keys),
        got("/v1/token/discovery", Nothing, token::discovery),
        got("/v1/brokers", Grant, brokers::list),
        got("/v1/blocks", Grant, blocks::list),
        (Method::PUT, "/v1/blocks", Grant, put(blocks::block)),
        (Method::DELETE, "/v1/blocks", Grant, delete(blocks::unblock)),
        got("/v1/openapi.json", Nothing, openapi::document),
        posted("/oauth2/token", Grant, oauth2::token),
        posted("/oauth2/introspect", Nothing, oauth2::introspect),
        posted("/oauth2/revoke", Nothing, oauth2::revoke),
    ]
}

fn got<H: Handler<T, Api>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Row {
    (Method::GET, path, needs, get(handler))
}

fn posted<H: Handler<T, Api>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Row {
    (Method::POST, path, needs, post(handler))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_break_glass_socket_is_for_calls_that_there_are() {
        let there: Vec<_> = endpoints().iter().map(|e| format!("{} {}", e.method, e.path)).collect();
        for call in ON_BREAK_GLASS {
            assert!(there.iter().any(|known| known == call), "{call}");
        }
        for never in ["credentials", "renew", "forget", "rotate-admin"] {
            assert!(!ON_BREAK_GLASS.iter().any(|call| call.contains(never)), "{never}");
        }
    }
}
