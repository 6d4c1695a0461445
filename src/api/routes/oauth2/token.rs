//! `POST /oauth2/token`: client credentials (RFC 6749 section 4.4) and token exchange (RFC 8693).

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use leasehold_sdk::Credential;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::super::Api;
use super::form::Form;
use super::refusal::Refusal;
use crate::api::delivery::{CredentialBody, Deliveries};
use crate::api::problem::Problem;
use crate::api::wire;
use crate::domain::caller::Caller;
use crate::lease::{Issued, RequestId, TokenAsk};

const CLIENT_CREDENTIALS: &str = "client_credentials";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The kinds of tokens that are exchanged (RFC 8693 section 3): ours are both.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Makes a token and hands it out, once.
pub(in super::super) async fn token(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    Extension(connection): Extension<Deliveries>,
    request: Request,
) -> Result<Response, Refusal> {
    let mut form = Form::read(request, &api.body, &caller).await?;
    let exchanged = match form.take("grant_type").as_deref() {
        Some(CLIENT_CREDENTIALS) => None,
        Some(TOKEN_EXCHANGE) => Some(subject(&mut form)?),
        Some(other) => return Err(Refusal::grant_type(other)),
        None => return Err(Refusal::request("grant_type is missing")),
    };
    let is_exchange = exchanged.is_some();
    let ask = TokenAsk {
        resource: resource(&mut form)?,
        scope: form.take("scope"),
        subject_token: exchanged,
        params: form.params()?,
    };
    if ask.params.len() > api.params_max {
        return Err(Problem::more_than("params", "params_per_request_max", api.params_max).into());
    }
    let issued = api.broker.token(&caller, &request_id, ask).await?;
    respond(&api, issued, is_exchange, connection)
}

/// Whom the token is for. `audience` is what token exchange calls it too (RFC 8693 section 2.1).
fn resource(form: &mut Form) -> Result<String, Refusal> {
    let (resource, audience) = (form.take("resource"), form.take("audience"));
    match (resource, audience) {
        (Some(resource), Some(audience)) if resource != audience => {
            Err(Refusal::target("a token is for one audience: resource and audience name two"))
        }
        (Some(one), _) | (None, Some(one)) => Ok(one),
        (None, None) => Err(Refusal::target("resource is missing: the audience of the token")),
    }
}

/// The token that is exchanged.
fn subject(form: &mut Form) -> Result<secrecy::SecretString, Refusal> {
    let is_known = |kind: &str| kind == ACCESS_TOKEN || kind == JWT;
    match form.take("subject_token_type") {
        Some(kind) if is_known(&kind) => {}
        Some(_) => return Err(Refusal::request(format!("subject_token_type must be {ACCESS_TOKEN}"))),
        None => return Err(Refusal::request("subject_token_type is missing")),
    }
    if form.take("requested_token_type").is_some_and(|kind| !is_known(&kind)) {
        return Err(Refusal::request(format!("requested_token_type must be {ACCESS_TOKEN}")));
    }
    if form.take("actor_token").is_some() || form.take("actor_token_type").is_some() {
        return Err(Refusal::request("actor_token is not taken: the actor is who the certificate says"));
    }
    form.token("subject_token")
}

/// RFC 6749 section 5.1, and RFC 8693 section 2.2.1.
#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'a str,
    /// Seconds.
    expires_in: i64,
    scope: &'a str,
    /// By which it can be looked at and ended like every lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_id: Option<String>,
}

fn respond(api: &Api, issued: Issued, is_exchange: bool, connection: Deliveries) -> Result<Response, Refusal> {
    let Credential::Token(token) = &issued.credential else { return Err(Problem::internal().into()) };
    let answer = Answer {
        access_token: token.access_token.expose_secret(),
        issued_token_type: is_exchange.then_some(ACCESS_TOKEN),
        token_type: &token.token_type,
        expires_in: (issued.expires_at.unix_ms() - api.broker.now().unix_ms()).max(0) / 1000,
        scope: &token.scope,
        lease_id: issued.lease.as_ref().map(|lease| lease.id.to_string()),
    };
    let bytes = wire::with_secret(&answer).map_err(|_| Problem::internal())?;
    let body = CredentialBody::new(bytes, issued.delivery, connection);
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::PRAGMA, "no-cache")
        .body(Body::new(body))
        .map_err(|_| Problem::internal().into())
}
