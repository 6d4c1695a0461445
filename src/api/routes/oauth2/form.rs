//! Requests as OAuth 2.0 libraries send them: forms (RFC 6749 appendix B), by a client that its certificate has named.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use secrecy::SecretString;
use zeroize::Zeroize;

use super::refusal::Refusal;
use crate::api::body::{self, BodyLimits};
use crate::domain::caller::Caller;
use crate::token::FORM_FIELDS;

/// The fields of a form, each at most once (RFC 6749 section 3.2).
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads one, and checks that the client is who its certificate says.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) async fn read(request: Request, limits: &BodyLimits, caller: &Caller) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        if !is_form(&parts.headers) {
            return Err(Refusal::request("the body must be application/x-www-form-urlencoded"));
        }
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(Refusal::client("the certificate says who you are (tls_client_auth); send no Authorization"));
        }
        let bytes = body::whole(&parts.headers, body, limits).await?;
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&bytes) {
            // RFC 6749 section 3.2: one without a value is as if it were not there.
            if value.is_empty() {
                continue;
            }
            if fields.insert(name.to_string(), value.into_owned()).is_some() {
                let name: String = name.chars().take(80).collect();
                return Err(Refusal::request(format!("{name} is there more than once")));
            }
        }
        let mut form = Self(fields);
        form.is_the_callers(caller)?;
        Ok(form)
    }

    /// A client need not say its id. If it does, it is the SPIFFE ID of its certificate; other proofs are none here.
    fn is_the_callers(&mut self, caller: &Caller) -> Result<(), Refusal> {
        if let Some(id) = self.take("client_id")
            && id != caller.id.as_str()
        {
            return Err(Refusal::client("client_id must be the SPIFFE ID of the certificate, or be left out"));
        }
        for other in ["client_secret", "client_assertion", "client_assertion_type"] {
            if let Some(mut secret) = self.take(other) {
                secret.zeroize();
                return Err(Refusal::client(format!(
                    "{other} is not taken: the certificate says who you are (tls_client_auth)"
                )));
            }
        }
        Ok(())
    }

    /// A field, which is then no longer there.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A token.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn token(&mut self, name: &str) -> Result<SecretString, Refusal> {
        self.take(name).map(SecretString::from).ok_or_else(|| Refusal::request(format!("{name} is missing")))
    }

    /// What nobody took: a role's params.
    ///
    /// # Errors
    /// When a field among them means something in another flow. It may hold a secret, and params stand in the audit log.
    pub(super) fn params(mut self) -> Result<BTreeMap<String, String>, Refusal> {
        match FORM_FIELDS.into_iter().find_map(|name| Some((name, self.take(name)?))) {
            Some((name, mut value)) => {
                value.zeroize();
                Err(Refusal::request(format!("{name} means nothing in this request")))
            }
            None => Ok(self.0),
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}
