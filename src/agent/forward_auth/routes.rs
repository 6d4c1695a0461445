//! `/verify`: a question of a proxy, and the verdict.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use leasehold_client::token::{Presented, Refused, Verified, Verifier, Wanted};
use leasehold_identity::Identity;
use leasehold_sdk::clock;

use super::wanted::Question;
use super::{Asker, answer, certificate};
use crate::agent::config::ForwardAuthConfig;

/// Where the question is. Envoy puts the path of its client's request behind it.
const VERIFY: &str = "/verify";

/// Gives verdicts.
pub(super) struct Verdicts {
    verifier: Verifier,
    config: ForwardAuthConfig,
    identity: Arc<Identity>,
}

pub(super) fn router(verdicts: Arc<Verdicts>) -> Router {
    // Whatever the method: it may be that of the request that is asked about.
    Router::new().fallback(verify).with_state(verdicts)
}

async fn verify(
    State(verdicts): State<Arc<Verdicts>>,
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let is_question = path.strip_prefix(VERIFY).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !is_question {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !verdicts.may_ask(&asker) {
        return answer::stranger();
    }
    let question = question(&request);
    let question = match question {
        Ok(question) => question,
        Err(why) => {
            tracing::warn!(why, "a proxy asks for a verdict in a way that is not understood");
            return answer::unclear(why);
        }
    };
    let token = match bearer(request.headers()) {
        Ok(Some(token)) => token,
        Ok(None) => return answer::nothing_shown(),
        Err(why) => return answer::unclear(why),
    };
    match verdicts.judge(&asker, request.headers(), token, &question).await {
        Ok(good) => answer::yes(&good),
        Err(Unjudged::Refused(refused)) => {
            tracing::info!(reason = refused.reason(), "a token is refused: {refused}");
            answer::no(&refused)
        }
        Err(Unjudged::Unclear(why)) => {
            tracing::warn!(why, "a proxy forwards no certificate that could be read");
            answer::unclear(why)
        }
    }
}

/// Why there is no yes.
enum Unjudged {
    Refused(Refused),
    Unclear(&'static str),
}

impl Verdicts {
    pub(super) fn new(verifier: Verifier, config: ForwardAuthConfig, identity: Arc<Identity>) -> Self {
        Self { verifier, config, identity }
    }

    /// Anybody on this host where nobody proves who it is; else the proxies that are named, as long as their certificates hold.
    fn may_ask(&self, asker: &Asker) -> bool {
        let Asker::Peer(peer) = asker else { return self.config.trusted_proxies.is_empty() };
        let may = self.config.trusted_proxies.contains(&peer.spiffe_id)
            && self.identity.recheck(peer, clock::wall().unix_ms()).is_ok();
        if !may {
            tracing::warn!(peer = %peer.spiffe_id, "somebody who is not in trusted_proxies asks for verdicts");
        }
        may
    }

    async fn judge(
        &self,
        asker: &Asker,
        headers: &HeaderMap,
        token: &str,
        question: &Question,
    ) -> Result<Verified, Unjudged> {
        let certificate = match asker {
            // Anybody could say what he likes of a certificate, which is no secret.
            Asker::Anybody => None,
            Asker::Peer(_) => {
                certificate::forwarded(headers, &self.config.certificate_header).map_err(Unjudged::Unclear)?
            }
        };
        let presented = Presented { token, certificate: certificate.as_deref() };
        let wanted = Wanted { scopes: &question.scopes(), claims: &question.claims() };
        self.verifier.verify(&presented, &wanted).await.map_err(Unjudged::Refused)
    }
}

/// The query is the proxy's only where it has set the whole path. Behind more of a path it is the query of its client.
fn question(request: &Request) -> Result<Question, &'static str> {
    let question = match request.uri().path() {
        VERIFY => {
            let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
            Question::of_query(query.map_err(|_| "the query cannot be read")?.0)?
        }
        _ => Question::default(),
    };
    question.and_headers(request.headers())
}

/// RFC 6750 section 2.1. `None`: there is none.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err("there must be one Authorization header");
    }
    let parts = value.to_str().ok().and_then(|value| value.split_once(' '));
    Ok(parts
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn asked(uri: &str) -> Result<Question, &'static str> {
        let request = Request::get(uri).header("x-required-scope", "z").body(Body::empty()).unwrap();
        question(&request)
    }

    #[test]
    fn a_clients_own_query_is_no_part_of_the_question() {
        assert_eq!(asked("/verify?scope=a+b&claim.tenant=4%2F2").unwrap().scopes(), ["a", "b", "z"]);
        assert_eq!(asked("/verify/payments?scope=a&x=y").unwrap().scopes(), ["z"]);
        assert!(asked("/verify?x=y").is_err());
    }

    #[test]
    fn one_bearer_token_is_looked_at() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(|token| token.map(str::to_owned))
        };
        assert_eq!(read(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(read(&["bearer abc"]), Ok(Some("abc".to_owned())));
        for none in [&[][..], &["Basic abc"], &["Bearer"], &["abc"]] {
            assert_eq!(read(none), Ok(None));
        }
        assert!(read(&["Bearer abc", "Bearer def"]).is_err());
    }
}
