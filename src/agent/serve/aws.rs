//! Where the SDKs of AWS ask for keys, as they ask the agent of a container: each sends the content of its token file as it is,
//! has 2 s for the answer, and tries three times.
//!
//! They ask again from 15 minutes before the end on, and from 10 minutes before it each call of theirs waits for the answer, and
//! fails without one. So nothing of which less is left is given to them where there can be more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use leasehold_client::{Credentials, Held};
use serde::Serialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::hosts::{Hosts, only};
use super::routes::secret_json;
use super::token_file::token_as_it_is;
use crate::agent::forms;
use crate::agent::forms::variables::Variable;
use crate::agent::supply::{Supplies, Supply};

/// With so much left or less another is fetched before the answer: what the SDKs want, and a minute, so that they find it so.
const LEFT_MIN: Duration = Duration::from_secs(16 * 60);
/// What lives no longer than this in all is what the SDKs never hold for fresh. Another would be no better.
const STALE_AT_BIRTH: Duration = Duration::from_secs(15 * 60);
/// What is younger is not replaced, however often the SDKs ask: the broker is asked once a minute at most.
const AGE_MIN: Duration = Duration::from_secs(60);
/// How long an answer waits for another: the SDKs hang up after 2 s.
const WAIT_MAX: Duration = Duration::from_millis(1400);

/// Those credentials that the SDKs can ask for.
pub struct Desk {
    addr: SocketAddr,
    hosts: Hosts,
    supplies: Arc<Supplies>,
    /// By the name of the credential: each token opens one, and nothing else.
    tokens: BTreeMap<String, Zeroizing<String>>,
}

impl Desk {
    /// Makes the tokens that are not there yet.
    ///
    /// # Errors
    /// When a file is not as [`token_as_it_is`] wants it.
    pub fn open(addr: SocketAddr, supplies: Arc<Supplies>) -> anyhow::Result<Self> {
        let mut tokens = BTreeMap::new();
        for (name, supply) in supplies.iter() {
            let Some(file) = &supply.config.aws_token_file else { continue };
            let token = token_as_it_is(file)
                .with_context(|| format!("credentials.{name}.aws_token_file {}", file.display()))?;
            tracing::info!(credential = %name, url = %url(addr, name), token_file = %file.display(), "the SDKs of AWS can ask for it");
            tokens.insert(name.to_owned(), token);
        }
        Ok(Self { addr, hosts: Hosts::of(addr), supplies, tokens })
    }

    /// What points an SDK here, for a child of ours; nothing if it could be meant for several credentials.
    pub fn environment(&self) -> Vec<Variable> {
        let mut all = self.tokens.keys().filter_map(|name| {
            let file = self.supplies.of(name)?.config.aws_token_file.as_ref()?.to_str()?;
            Some((url(self.addr, name), file.to_owned()))
        });
        let (Some((url, file)), None) = (all.next(), all.next()) else { return Vec::new() };
        let variable = |name: &str, value| (name.to_owned(), Zeroizing::new(value));
        vec![
            variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
            variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
        ]
    }

    /// The credential, if the request shows its token.
    fn admits(&self, name: &str, headers: &HeaderMap) -> Option<&Supply> {
        let token = self.tokens.get(name)?;
        let shown = only(headers, header::AUTHORIZATION)?;
        verify_slices_are_equal(shown, token.as_bytes()).ok()?;
        self.supplies.of(name)
    }
}

/// What can be asked there.
pub fn router(desk: Desk) -> Router {
    Router::new().route("/v1/aws/{name}", get(keys)).with_state(Arc::new(desk))
}

fn url(addr: SocketAddr, name: &str) -> String {
    format!("http://{addr}/v1/aws/{name}")
}

async fn keys(State(desk): State<Arc<Desk>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    if let Some(why) = desk.hosts.refuse(&headers) {
        return refusal(StatusCode::FORBIDDEN, "Forbidden", why);
    }
    let Some(supply) = desk.admits(&name, &headers) else {
        let why = "Authorization must be the content of this credential's aws_token_file, as it is";
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", why);
    };
    match best(&supply.credentials).await {
        Some(held) => answer(&held),
        None => {
            let why = supply.credentials.health().last_error.unwrap_or_else(|| "they are being fetched".to_owned());
            refusal(StatusCode::SERVICE_UNAVAILABLE, "NotReady", &format!("there are no keys: {why}"))
        }
    }
}

/// The keys that live longest of those that can be had in time; `None`: there are none that work.
async fn best(credentials: &Credentials) -> Option<Arc<Held>> {
    let usable = || {
        let held = credentials.current().filter(|held| !held.time_left().is_zero());
        held.filter(|_| !credentials.health().ended)
    };
    let better = async {
        match (usable(), credentials.current()) {
            (Some(held), _) if is_worn(held.time_left(), held.time_in_all()) => credentials.hasten(&held).await,
            (Some(_), _) => {}
            (None, Some(over)) => {
                credentials.changed(over.generation).await;
            }
            // What it says is noted in the health, too.
            (None, None) => {
                let _ = credentials.ready().await;
            }
        }
    };
    // What comes too late for this answer is there for the next.
    let _ = timeout(WAIT_MAX, better).await;
    usable()
}

/// Whether whoever asks is better served by another.
fn is_worn(left: Duration, in_all: Duration) -> bool {
    left <= LEFT_MIN && in_all > STALE_AT_BIRTH && in_all.saturating_sub(left) >= AGE_MIN
}

fn answer(held: &Held) -> Response {
    let written = forms::open(&held.credential).and_then(|opened| forms::aws_container(held.lease.as_ref(), &opened));
    match written {
        Ok(text) => secret_json(text),
        Err(error) => refusal(StatusCode::NOT_FOUND, "NotKeysOfAws", &format!("{error:#}")),
    }
}

/// An error as the SDKs read it.
fn refusal(status: StatusCode, code: &'static str, message: &str) -> Response {
    #[derive(Serialize)]
    struct Refusal<'a> {
        code: &'a str,
        message: &'a str,
    }
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Refusal { code, message })).into_response()
}

#[cfg(test)]
mod tests {
    use leasehold_client::wire::{Credential, Lease};
    use serde_json::{Value, json};

    use super::*;
    use crate::agent::forms::tests::lease;

    async fn answered(lease: Option<Lease>, credential: Value) -> (StatusCode, Value) {
        let credential: Credential = serde_json::from_value(credential).unwrap();
        let response = answer(&Held::resumed(1, lease, credential).unwrap());
        let status = response.status();
        let cached = response.headers()[header::CACHE_CONTROL].clone();
        assert_eq!(
            (cached.as_bytes(), &response.headers()[header::CONTENT_TYPE]),
            (&b"no-store"[..], &"application/json".parse().unwrap())
        );
        let body = axum::body::to_bytes(response.into_body(), 64 * 1024).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn keys_are_answered_as_the_agent_of_a_container_does() {
        let wire = json!({
            "kind": "aws", "access_key_id": "ASIAEXAMPLE", "secret_access_key": "wJalr/XUtnFEMI+K7MDENG=",
            "session_token": "IQoJb3JpZ2lu//8=", "region": "eu-central-1",
        });
        let wanted = json!({
            "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "wJalr/XUtnFEMI+K7MDENG=", "Token": "IQoJb3JpZ2lu//8=",
            "Expiration": "2026-01-02T03:04:05Z",
        });
        assert_eq!(answered(Some(lease()), wire).await, (StatusCode::OK, wanted));
        let login = json!({
            "kind": "database", "username": "u", "password": "canary", "host": "h", "port": 1, "database": "d", "url": "canary",
        });
        let (status, told) = answered(Some(lease()), login).await;
        let message = "a login of a database is nothing that requests to AWS are signed with";
        assert_eq!((status, told), (StatusCode::NOT_FOUND, json!({ "code": "NotKeysOfAws", "message": message })));
    }

    #[test]
    fn the_sdks_get_more_than_a_quarter_of_an_hour_where_that_can_be_had() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for (left, in_all, worn) in [
            (60, 60, false),
            (17, 60, false),
            (16, 60, true),
            (0, 60, true),
            // Fetched a moment ago: another would be the same.
            (16, 16, false),
            (15, 16, true),
            (15, 17, true),
            // As long as they live they are stale.
            (15, 15, false),
            (1, 15, false),
            (5, 10, false),
        ] {
            assert_eq!(is_worn(minutes(left), minutes(in_all)), worn, "{left} of {in_all}");
        }
    }
}
