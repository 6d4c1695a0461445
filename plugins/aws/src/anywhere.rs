//! IAM Roles Anywhere: a session of the broker's own role for its SVID.
//!
//! It has no SDK, and its one call for us (`CreateSession`) is signed as AWS documents it: Signature Version 4 with the key of a
//! certificate in place of a secret. The certificate goes with it, and so does what is between it and the trust anchor.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_smithy_http_client::default_connector;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use data_encoding::{BASE64, HEXLOWER};
use leasehold_sdk::{EngineError, Host, SvidKey, SvidSigner, Timestamp, clock, sha256_hex};
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Does, judge};
use crate::clients::{CALL_MAX, CONNECT_MAX};
use crate::target::TargetConfig;

/// How long a session lives: the SDK asks anew before it ends.
const LIFE: Duration = Duration::from_secs(3600);

/// No answer is larger.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What of an answer that is not AWS's may stand in an error.
const SAID_CHARS_MAX: usize = 300;

const CALL: &str = "CreateSession";
const PATH: &str = "/sessions";
const SERVICE: &str = "rolesanywhere";

/// What is asked for.
pub(crate) struct Ask<'a> {
    pub(crate) trust_anchor_arn: &'a str,
    pub(crate) profile_arn: &'a str,
    pub(crate) role_arn: &'a str,
}

/// Buys one.
///
/// # Errors
/// [`EngineError::Retry`] without an SVID or an answer, otherwise as AWS said it.
pub(crate) async fn create_session(
    target: &TargetConfig,
    host: &dyn Host,
    ask: &Ask<'_>,
) -> Result<Credentials, EngineError> {
    let svid = host.svid()?;
    // Without a name of ours: a profile takes none unless it was told to, and AWS names the session by the certificate.
    let body = json!({
        "durationSeconds": LIFE.as_secs(),
        "profileArn": ask.profile_arn,
        "roleArn": ask.role_arn,
        "trustAnchorArn": ask.trust_anchor_arn,
    });
    let base = endpoint(target);
    let signed = sign(&*svid, &target.region, authority(&base), &body.to_string(), clock::wall())?;
    let request = request(&base, signed, body.to_string())?;
    let asked = tokio::time::timeout(CALL_MAX, exchange(request)).await;
    let answer = asked.map_err(|_| no_answer(&format!("in {} seconds", CALL_MAX.as_secs())))??;
    if !(200..300).contains(&answer.status) {
        return Err(refusal(&answer));
    }
    credentials(&answer.body)
}

/// Where it is asked, without a path.
fn endpoint(target: &TargetConfig) -> String {
    if let Some(url) = &target.roles_anywhere_endpoint {
        return url.trim_end_matches('/').to_owned();
    }
    let region = &target.region;
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{SERVICE}.{region}.{suffix}")
}

/// The host as it stands in the request: without the port that its scheme has anyway.
fn authority(base: &str) -> &str {
    match base.split_once("://") {
        Some(("https", host)) => host.strip_suffix(":443").unwrap_or(host),
        Some((_, host)) => host.strip_suffix(":80").unwrap_or(host),
        None => base,
    }
}

/// The headers of a request, all but its host, which the client writes.
type Headers = Vec<(&'static str, String)>;

/// Signs a POST of this body (IAM Roles Anywhere User Guide, "signing process").
fn sign(svid: &dyn SvidSigner, region: &str, host: &str, body: &str, now: Timestamp) -> Result<Headers, EngineError> {
    let algorithm = match svid.key() {
        SvidKey::Ecdsa => "AWS4-X509-ECDSA-SHA256",
        SvidKey::Rsa => "AWS4-X509-RSA-SHA256",
    };
    let (leaf, between) =
        svid.chain().split_first().ok_or_else(|| EngineError::retry("the SVID has no certificate"))?;
    let moment = basic(now);
    let day = moment.get(..8).unwrap_or_default();
    // In the order of their names, as they are signed.
    let mut headers: Headers = vec![
        ("content-type", "application/json".to_owned()),
        ("host", host.to_owned()),
        ("x-amz-date", moment.clone()),
        ("x-amz-x509", BASE64.encode(leaf)),
    ];
    if !between.is_empty() {
        let between: Vec<String> = between.iter().map(|der| BASE64.encode(der)).collect();
        headers.push(("x-amz-x509-chain", between.join(",")));
    }
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = format!("POST\n{PATH}\n\n{lines}\n{names}\n{}", sha256_hex(body));
    let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
    let text = format!("{algorithm}\n{moment}\n{scope}\n{}", sha256_hex(&canonical));
    let signature = HEXLOWER.encode(&svid.sign(&text)?);
    let serial = svid.serial();
    let word = format!("{algorithm} Credential={serial}/{scope}, SignedHeaders={names}, Signature={signature}");
    headers.retain(|(name, _)| *name != "host");
    headers.push(("authorization", word));
    Ok(headers)
}

/// ISO 8601 in its basic form, in whole seconds: `20260102T030405Z`.
fn basic(moment: Timestamp) -> String {
    let text = moment.to_string();
    let whole: String = text.chars().take_while(|c| *c != '.').filter(|c| !matches!(c, '-' | ':')).collect();
    whole + "Z"
}

fn request(base: &str, headers: Headers, body: String) -> Result<HttpRequest, EngineError> {
    let cannot = |why: &dyn std::fmt::Display| EngineError::refused(format!("{CALL} cannot be asked at {base}: {why}"));
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST").map_err(|e| cannot(&e))?;
    request.set_uri(format!("{base}{PATH}")).map_err(|e| cannot(&e))?;
    for (name, value) in headers {
        request.headers_mut().try_insert(name, value).map_err(|e| cannot(&e))?;
    }
    Ok(request)
}

/// What came back.
struct Answer {
    status: u16,
    /// What the service calls its error.
    code: Option<String>,
    body: Vec<u8>,
}

async fn exchange(request: HttpRequest) -> Result<Answer, EngineError> {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_MAX).build();
    let connector =
        default_connector(&settings, None).ok_or_else(|| EngineError::refused("there is no HTTP client"))?;
    let mut response: HttpResponse = connector.call(request).await.map_err(|e| no_answer(&causes(&e)))?;
    let (status, code) = (response.status().as_u16(), response.headers().get("x-amzn-errortype").map(str::to_owned));
    let mut stream = ByteStream::new(response.take_body());
    let mut body = Vec::new();
    while let Some(part) = stream.next().await {
        body.extend_from_slice(&part.map_err(|e| no_answer(&causes(&e)))?);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(no_answer("that has an end"));
        }
    }
    Ok(Answer { status, code, body })
}

/// An error with all that caused it: the last says that a name is unknown or a certificate not good.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

fn no_answer(why: &str) -> EngineError {
    EngineError::retry(format!("{CALL} got no answer from IAM Roles Anywhere: {why}"))
}

/// AWS's errors are JSON, and their name is in a header; those of what is in between are anything.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

fn refusal(answer: &Answer) -> EngineError {
    let told: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    let read = told.is_some();
    let Refusal { kind, message } = told.unwrap_or_default();
    let code = answer.code.clone().or(kind).unwrap_or_default();
    // `namespace#Name:http://…`
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let plain = || String::from_utf8_lossy(&answer.body).into_owned();
    let said = message.unwrap_or_else(|| if read { String::new() } else { plain() });
    let said: String = said.chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
    match (code, answer.status) {
        ("", 429) => judge(CALL, Does::Nothing, "ThrottlingException", &said),
        ("", 500..) => judge(CALL, Does::Nothing, "ServiceUnavailable", &said),
        ("", status) => judge(CALL, Does::Nothing, &format!("HTTP {status}"), &said),
        ("InternalServerException", _) => judge(CALL, Does::Nothing, "InternalError", &said),
        (code, _) => judge(CALL, Does::Nothing, code, &(said + look_at(code))),
    }
}

/// What an operator looks at; AWS says little.
fn look_at(code: &str) -> &'static str {
    match code {
        "AccessDeniedException" => {
            "; see that the trust anchor is enabled and is of the authority that issued the broker's SVID, that the profile is \
             enabled and has role_arn among its roles, and that the role's trust policy names rolesanywhere.amazonaws.com with \
             sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity"
        }
        "ResourceNotFoundException" => {
            "; see that trust_anchor_arn and profile_arn are of this region and account, and that the role is there"
        }
        "ValidationException" => {
            "; see that trust_anchor_arn, profile_arn and role_arn are as AWS shows them, and that the role's and the profile's \
             sessions may live an hour"
        }
        _ => "",
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    credential_set: Vec<OfRole>,
}

#[derive(Deserialize)]
struct OfRole {
    credentials: SessionKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionKeys {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

fn credentials(body: &[u8]) -> Result<Credentials, EngineError> {
    // The error says nothing of the answer, which has a key in it.
    let unlike = || EngineError::retry(format!("{CALL} was answered with something that holds no credentials"));
    let given: Given = serde_json::from_slice(body).map_err(|_| unlike())?;
    let keys = given.credential_set.into_iter().next().ok_or_else(unlike)?.credentials;
    let ends: Timestamp = keys.expiration.parse().map_err(|_| unlike())?;
    let ends = u64::try_from(ends.unix_ms()).map_err(|_| unlike())?;
    Ok(Credentials::builder()
        .access_key_id(keys.access_key_id)
        .secret_access_key(keys.secret_access_key)
        .session_token(keys.session_token)
        .expiry(SystemTime::UNIX_EPOCH + Duration::from_millis(ends))
        .provider_name("leasehold")
        .build())
}

#[cfg(test)]
mod tests {
    use leasehold_sdk::Settings;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    struct Fixed(Vec<Vec<u8>>);

    impl SvidSigner for Fixed {
        fn chain(&self) -> &[Vec<u8>] {
            &self.0
        }

        fn serial(&self) -> &str {
            "1234567890123456789012345678901234567890"
        }

        fn key(&self) -> SvidKey {
            SvidKey::Rsa
        }

        fn sign(&self, text: &str) -> Result<Vec<u8>, EngineError> {
            Ok(sha256_hex(text).into_bytes())
        }
    }

    fn target(region: &str, endpoint: Option<&str>) -> TargetConfig {
        let mut settings = Settings::new();
        settings.insert("region".into(), region.into());
        settings.insert("auth".into(), "environment".into());
        settings.extend(endpoint.map(|url| ("roles_anywhere_endpoint".to_owned(), url.into())));
        TargetConfig::read(settings).unwrap()
    }

    fn answer(status: u16, code: Option<&str>, body: &str) -> EngineError {
        refusal(&Answer { status, code: code.map(str::to_owned), body: body.as_bytes().to_vec() })
    }

    #[test]
    fn each_region_is_asked_where_it_is() {
        assert_eq!(endpoint(&target("eu-central-1", None)), "https://rolesanywhere.eu-central-1.amazonaws.com");
        assert_eq!(endpoint(&target("cn-north-1", None)), "https://rolesanywhere.cn-north-1.amazonaws.com.cn");
        assert_eq!(endpoint(&target("eu-central-1", Some("http://127.0.0.1:7/"))), "http://127.0.0.1:7");
        for (url, host) in [
            ("https://vpce.example:443", "vpce.example"),
            ("https://vpce.example:8443", "vpce.example:8443"),
            ("http://[::1]:80", "[::1]"),
            ("http://127.0.0.1:443", "127.0.0.1:443"),
        ] {
            assert_eq!(authority(url), host);
        }
    }

    #[test]
    fn the_chain_is_shown_and_signed_where_there_is_one() {
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let alone = sign(&Fixed(vec![vec![1]]), "eu-central-1", "host", "{}", now).unwrap();
        let word = |headers: &Headers| headers.last().unwrap().1.clone();
        assert!(word(&alone).starts_with(
            "AWS4-X509-RSA-SHA256 Credential=1234567890123456789012345678901234567890/20260102/eu-central-1/rolesanywhere/\
             aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-x509, Signature="
        ));
        assert_eq!(alone[1], ("x-amz-date", "20260102T030405Z".to_owned()));
        let chained = sign(&Fixed(vec![vec![1], vec![2], vec![3]]), "eu-central-1", "host", "{}", now).unwrap();
        assert_eq!(chained[3], ("x-amz-x509-chain", "Ag==,Aw==".to_owned()));
        assert!(word(&chained).contains("x-amz-x509;x-amz-x509-chain,"), "{chained:?}");
    }

    #[test]
    fn each_refusal_says_what_may_be_done() {
        let url = "AccessDeniedException:http://internal.amazon.com/coral/";
        let denied = answer(403, Some(url), r#"{"message":"Untrusted certificate"}"#);
        assert!(matches!(denied, EngineError::Refused { .. }));
        assert!(
            denied.to_string().contains("CreateSession (AccessDeniedException): Untrusted certificate; see that the")
        );
        let typed = answer(400, None, r#"{"__type":"com.amazon#ValidationException","Message":"no"}"#);
        assert!(typed.to_string().contains("(ValidationException): no; see that trust_anchor_arn"), "{typed}");
        let page = answer(502, None, "<html>\r\nBad Gateway");
        assert!(matches!(page, EngineError::Retry { .. }), "{page}");
        assert!(page.to_string().contains("<html>Bad Gateway"), "{page}");
        assert!(matches!(answer(500, Some("InternalServerException"), "{}"), EngineError::Retry { .. }));
        assert!(matches!(answer(429, None, ""), EngineError::Retry { after: Some(_), .. }));
        assert!(answer(404, None, &"x".repeat(5000)).to_string().len() < 500, "a page is not quoted at length");
    }

    #[test]
    fn an_answer_without_credentials_is_none() {
        let good = r#"{"credentialSet":[{"credentials":{"accessKeyId":"ASIA1","secretAccessKey":"not-told","sessionToken":"t",
            "expiration":"2026-01-02T04:04:05Z"},"roleArn":"x"}],"subjectArn":"y"}"#;
        let keys = credentials(good.as_bytes()).unwrap();
        assert_eq!((keys.access_key_id(), keys.session_token()), ("ASIA1", Some("t")));
        assert_eq!(keys.expiry(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_326_645)));
        for bad in
            ["", "{}", r#"{"credentialSet":[]}"#, &good.replace("2026-01-02T", "soon"), &good.replace("Token", "")]
        {
            let why = credentials(bad.as_bytes()).unwrap_err().to_string();
            assert!(!why.contains("not-told"), "{why}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut sent = 0_usize;
            while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {
                sent += 16 * 1024;
            }
            sent
        });
        let request = request(&base, Vec::new(), "{}".into()).unwrap();
        let why = exchange(request).await.err().unwrap();
        assert!(matches!(why, EngineError::Retry { .. }) && why.to_string().contains("that has an end"), "{why}");
        assert!(peer.await.unwrap() < 64 * 1024 * 1024, "its connection was closed");
    }
}
