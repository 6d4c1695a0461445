//! `POST /oauth2/introspect` (RFC 7662).

use axum::extract::{Request, State};
use axum::{Extension, Json};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::super::Api;
use super::form::Form;
use super::refusal::Refusal;
use crate::domain::caller::Caller;
use crate::lease::TokenRefused;

/// Whether a token is good, told to those whom it concerns; to everybody else none is.
pub(in super::super) async fn introspect(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let mut form = Form::read(request, &api.body, &caller).await?;
    let token = form.token("token")?;
    let told = api.broker.introspect(&caller, token.expose_secret()).await.map_err(TokenRefused::from)?;
    Ok(Json(told.map_or_else(|| json!({ "active": false }), Value::Object)))
}
