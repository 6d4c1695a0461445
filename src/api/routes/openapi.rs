//! `GET /v1/openapi.json`: the API described by the types that it is made of.

use axum::Json;
use leasehold_client::wire;
use utoipa::OpenApi;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, PathItem, Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder,
};

use super::oauth2::schema;

/// The document.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(build())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Leasehold",
        description = "A workload proves who it is with its X.509-SVID over mTLS and receives a credential of its own, which dies on time. \
                       Every call needs a good SVID; without one the TLS handshake fails. Times are RFC 3339 in UTC with three digits, durations are text such as `15m`. \
                       Every answer from 400 on is a problem document (RFC 9457)."
    ),
    components(schemas(
        wire::MintRequest,
        wire::MintResponse,
        wire::Lease,
        wire::LeaseResponse,
        wire::LeaseList,
        wire::RenewRequest,
        wire::RevokeManyRequest,
        wire::RevokeManyResponse,
        wire::OrderResponse,
        wire::DecisionRequest,
        wire::DecisionResponse,
        wire::ReconcileRequest,
        wire::ReconcileResponse,
        wire::ForgetResponse,
        wire::RotateAdminRequest,
        wire::RotateAdminResponse,
        wire::RotateSealResponse,
        wire::RotateKeyRequest,
        wire::TokenKeyList,
        wire::IssuerDocuments,
        wire::CloudDocuments,
        wire::BrokerList,
        wire::BlockList,
        wire::BlockRequest,
        wire::BlockResponse,
        wire::RoleList,
        wire::Problem,
        schema::OauthTokenRequest,
        schema::OauthTokenResponse,
        schema::OauthShownToken,
        schema::OauthIntrospection,
        schema::OauthError,
    ))
)]
struct Described;

/// One call in words.
struct Call {
    path: &'static str,
    method: HttpMethod,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<(&'static str, bool)>,
    good: &'static [(&'static str, &'static str, &'static str)],
    refusals: &'static [&'static str],
    /// As OAuth 2.0 has it: a form, and errors in its words.
    oauth: bool,
}

const LEASE: &str = "LeaseResponse";

fn calls() -> Vec<Call> {
    use HttpMethod::{Delete, Get, Post, Put};
    let call = |method, path, summary| Call {
        path,
        method,
        summary,
        query: &[],
        body: None,
        good: &[],
        refusals: &[],
        oauth: false,
    };
    vec![
        Call {
            body: Some(("MintRequest", false)),
            good: &[("201", "A credential of your own, told once", "MintResponse")],
            refusals: &["400", "403", "413", "429", "502", "503"],
            ..call(Post, "/v1/credentials/{role}", "Ask for a credential of a role. A repeat makes a new one.")
        },
        Call {
            good: &[("200", "The roles you may mint", "RoleList")],
            ..call(Get, "/v1/roles", "The roles that you may mint")
        },
        Call {
            query: &[
                ("role", "only of this role"),
                ("target", "only in this target"),
                ("identity", "only of this SPIFFE ID"),
                ("state", "only in this state"),
                ("limit", "leases per page, 1 to 1000; 100 unless said"),
                ("cursor", "next_cursor of the page before"),
            ],
            good: &[("200", "One page", "LeaseList")],
            refusals: &["400", "503"],
            ..call(Get, "/v1/leases", "The leases that you may see, newest first")
        },
        Call {
            query: &[
                ("while", "answer as soon as the lease is not in this state; goes with wait"),
                ("wait", "how long to wait at most, such as 30s; goes with while"),
            ],
            good: &[("200", "The lease", LEASE)],
            refusals: &["400", "404", "503"],
            ..call(Get, "/v1/leases/{id}", "One lease")
        },
        Call {
            body: Some(("RenewRequest", false)),
            good: &[("200", "The lease with its new end", LEASE)],
            refusals: &["400", "403", "404", "409", "502", "503"],
            ..call(Post, "/v1/leases/{id}/renew", "Move the end of a lease of your own; the grant is checked again")
        },
        Call {
            good: &[("200", "It is dead, or was before", LEASE), ("202", "It is being ended", LEASE)],
            refusals: &["400", "403", "404", "503"],
            ..call(Post, "/v1/leases/{id}/revoke", "End a lease, open sessions included")
        },
        Call {
            body: Some(("RevokeManyRequest", true)),
            good: &[
                ("200", "A dry run: how many match", "RevokeManyResponse"),
                ("202", "The order is durable", "RevokeManyResponse"),
            ],
            refusals: &["400", "403", "409", "503"],
            ..call(Post, "/v1/leases/revoke", "End many leases in one durable order")
        },
        Call {
            good: &[("200", "How far it has come", "OrderResponse")],
            refusals: &["404", "503"],
            ..call(Get, "/v1/leases/revoke/{order}", "How far an order to end many leases has come")
        },
        Call {
            body: Some(("DecisionRequest", true)),
            good: &[("200", "The decision", "DecisionResponse")],
            refusals: &["400", "403", "503"],
            ..call(Post, "/v1/decisions", "Would this be allowed, by which grant, and if not why")
        },
        Call {
            body: Some(("ReconcileRequest", false)),
            good: &[("200", "What was found and done", "ReconcileResponse")],
            refusals: &["400", "403", "404", "409", "503"],
            ..call(Post, "/v1/reconcile", "Compare targets with their leases now")
        },
        Call {
            good: &[("200", "How many leases were closed", "ForgetResponse")],
            refusals: &["400", "403", "404", "503"],
            ..call(Post, "/v1/targets/{target}/forget", "Close the leases of a target that is gone for good")
        },
        Call {
            body: Some(("RotateAdminRequest", false)),
            good: &[("200", "Which password is in force", "RotateAdminResponse")],
            refusals: &["400", "403", "404", "502", "503"],
            ..call(Post, "/v1/targets/{target}/rotate-admin", "Give a target's admin login a password nobody has seen")
        },
        Call {
            good: &[("200", "How many secrets were sealed anew", "RotateSealResponse")],
            refusals: &["400", "403", "503"],
            ..call(Post, "/v1/seal/rotate", "Seal every secret that is kept by the current key")
        },
        Call {
            body: Some(("RotateKeyRequest", false)),
            good: &[("200", "The keys there are then", "TokenKeyList")],
            refusals: &["400", "403", "503"],
            ..call(Post, "/v1/token/rotate-key", "Make other signing keys")
        },
        Call {
            good: &[("200", "The keys", "TokenKeyList")],
            refusals: &["403", "503"],
            ..call(Get, "/v1/token/keys", "The signing keys of the issuer")
        },
        Call {
            good: &[("200", "Discovery and key set", "IssuerDocuments")],
            refusals: &["404"],
            ..call(Get, "/v1/token/discovery", "What the issuer publishes")
        },
        Call {
            good: &[("200", "The brokers of the store", "BrokerList")],
            refusals: &["403", "503"],
            ..call(Get, "/v1/brokers", "Who works on the store")
        },
        Call {
            good: &[("200", "The blocks", "BlockList")],
            refusals: &["403", "503"],
            ..call(Get, "/v1/blocks", "Which identities are refused everything")
        },
        Call {
            body: Some(("BlockRequest", true)),
            good: &[("200", "It is blocked", "BlockResponse")],
            refusals: &["400", "403", "503"],
            ..call(Put, "/v1/blocks", "Refuse an identity everything from now on")
        },
        Call {
            body: Some(("BlockRequest", true)),
            good: &[("200", "It is not blocked", "BlockResponse")],
            refusals: &["400", "403", "503"],
            ..call(Delete, "/v1/blocks", "Lift a block")
        },
        call(Get, "/v1/openapi.json", "This document"),
        Call {
            body: Some(("OauthTokenRequest", true)),
            good: &[("200", "A token, told once", "OauthTokenResponse")],
            oauth: true,
            ..call(Post, "/oauth2/token", "Ask for a token by audience and scopes, or exchange one")
        },
        Call {
            body: Some(("OauthShownToken", true)),
            good: &[("200", "Whether it is good", "OauthIntrospection")],
            oauth: true,
            ..call(Post, "/oauth2/introspect", "Whether a token is good, for those whom it concerns")
        },
        Call {
            body: Some(("OauthShownToken", true)),
            good: &[("200", "It is ended, or was none", "OauthIntrospection")],
            oauth: true,
            ..call(Post, "/oauth2/revoke", "End a token")
        },
    ]
}

fn build() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    for call in calls() {
        let item = PathItem::new(call.method.clone(), operation(&call));
        document.paths.paths.entry(call.path.to_owned()).or_default().merge_operations(item);
    }
    document
}

fn operation(call: &Call) -> OperationBuilder {
    let mut operation = OperationBuilder::new().summary(Some(call.summary));
    let in_path = call.path.split(['{', '}']).skip(1).step_by(2);
    for name in in_path {
        operation = operation.parameter(parameter(name, ParameterIn::Path, Required::True, None));
    }
    for (name, what) in call.query {
        operation = operation.parameter(parameter(name, ParameterIn::Query, Required::False, Some(what)));
    }
    if let Some((schema, required)) = call.body {
        let kind = if call.oauth { "application/x-www-form-urlencoded" } else { "application/json" };
        operation = operation.request_body(Some(body(schema, required, kind)));
    }
    let mut responses = ResponsesBuilder::new();
    for (status, what, schema) in call.good {
        responses = responses.response(*status, answer(what, schema, "application/json"));
    }
    if call.good.is_empty() {
        responses = responses.response("200", ResponseBuilder::new().description("An OpenAPI 3.1 document").build());
    }
    // What any call may meet: an SVID that ended, a limit, a broker that is busy; and whatever has a body, a bad one.
    let with_body: &[&str] = if call.body.is_some() { &["400", "408", "413", "415"] } else { &[] };
    for status in call.refusals.iter().chain(&["401", "429", "503"]).chain(with_body) {
        let (schema, kind) = match call.oauth {
            true => ("OauthError", "application/json"),
            false => ("Problem", "application/problem+json"),
        };
        responses = responses.response(*status, answer("Refused", schema, kind));
    }
    operation.responses(responses.build())
}

fn parameter(name: &str, place: ParameterIn, required: Required, what: Option<&str>) -> Parameter {
    let text: RefOr<Schema> = ObjectBuilder::new().schema_type(Type::String).build().into();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(what)
        .schema(Some(text))
        .build()
}

fn body(schema: &str, required: bool, kind: &str) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let required = if required { Required::True } else { Required::False };
    RequestBodyBuilder::new().content(kind, content).required(Some(required)).build()
}

fn answer(what: &str, schema: &str, kind: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(what).content(kind, content).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_and_nothing_else() {
        let described: Vec<_> = calls().into_iter().map(|c| c.path).collect();
        let there: Vec<_> = super::super::endpoints().into_iter().map(|e| e.path).collect();
        assert_eq!(described, there);
    }

    /// `docs/openapi.json` is what people read and generate from.
    #[test]
    fn the_checked_in_copy_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let now = serde_json::to_string_pretty(&build()).unwrap() + "\n";
        if std::env::var_os("LEASEHOLD_BLESS").is_some() {
            std::fs::write(file, &now).unwrap();
        }
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(kept == now, "docs/openapi.json is not current: run `LEASEHOLD_BLESS=1 cargo test openapi`");
    }
}
