//! `POST /oauth2/revoke` (RFC 7009).

use axum::Extension;
use axum::extract::{Request, State};
use secrecy::ExposeSecret;

use super::super::Api;
use super::form::Form;
use super::refusal::Refusal;
use crate::domain::caller::Caller;
use crate::lease::RequestId;

/// Ends a token. One that is none is ended already.
pub(in super::super) async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<(), Refusal> {
    let mut form = Form::read(request, &api.body, &caller).await?;
    let token = form.token("token")?;
    Ok(api.broker.revoke_token(&caller, &request_id, token.expose_secret()).await?)
}
