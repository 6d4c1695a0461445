//! A proxy asks the agent for verdicts on tokens, for a service that knows nothing of tokens.

use std::collections::HashMap;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use leasehold_identity::dev::DevCa;
use leasehold_identity::{Connector, Identity, TrustDomain, fingerprint, single_from_pem};
use leasehold_sdk::clock;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::process::AgentProcess;

const ISSUER: &str = "https://leasehold.example.org";
const AUDIENCE: &str = "https://payments.example.org";
const BILLING: &str = "spiffe://dev.local/ns/billing/sa/web";
const NGINX: &str = "spiffe://dev.local/ns/edge/sa/nginx";
const AGENT: &str = "spiffe://dev.local/ns/payments/sa/web";

/// An issuer that was exported to files, and an agent that goes by them.
struct Scene {
    ca: DevCa,
    key: EncodingKey,
    kid: String,
    agent: AgentProcess,
}

/// An answer: its status and its headers.
struct Answer(u16, HashMap<String, String>);

impl Scene {
    /// `more`: what the place for verdicts says beside whose tokens it judges.
    async fn set(more: &str) -> Self {
        let der = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_der();
        let key = EncodingKey::from_ec_der(&der);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("its public half");
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).expect("its name");
        jwk.common.key_id = Some(kid.clone());
        let ca = DevCa::create(&TrustDomain::parse("dev.local").expect("a trust domain")).expect("a CA");
        let scene = Self { ca, key, kid, agent: AgentProcess::idle() };
        scene.write(
            ".well-known/openid-configuration",
            &json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/oauth2/jwks")}),
        );
        scene.write("oauth2/jwks", &json!({"keys": [jwk]}));
        std::fs::write(scene.agent.path("bundle.pem"), scene.ca.bundle_pem()).expect("write the bundle");
        scene.issue("agent", AGENT);
        let own = "svid = { cert = \"agent.pem\", key = \"agent-key.pem\" }\nbundle = \"bundle.pem\"";
        let whose = format!("issuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nkeys = {{ folder = \"keys\" }}");
        scene.agent.configure_as("https://127.0.0.1:1", own, &format!("[[forward_auth]]\n{whose}\n{more}\n"));
        let mut scene = scene;
        scene.agent.launch().await;
        scene
    }

    fn write(&self, name: &str, document: &Value) {
        let path = self.agent.path("keys").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
        std::fs::write(path, document.to_string()).expect("write it");
    }

    /// Writes an SVID and answers its certificate in PEM.
    fn issue(&self, name: &str, id: &str) -> String {
        let svid = self.ca.issue(&id.parse().expect("an ID"), Duration::from_secs(3600)).expect("an SVID");
        svid.write_to(self.agent.dir.path(), name).expect("write it");
        svid.cert_pem
    }

    /// A good token with these claims beside the usual ones.
    fn token(&self, more: Value) -> String {
        let now = clock::wall().unix_ms() / 1000;
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": BILLING, "client_id": BILLING, "jti": "lh_1", "iat": now,
            "exp": now + 300, "scope": "payments:read payments:write", "tenant": "42",
        });
        for (name, value) in more.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        let header =
            Header { typ: Some("at+jwt".into()), kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("sign")
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = UnixStream::connect(self.agent.path("auth.sock")).await.expect("connect");
        ask(stream, path, headers).await.expect("an answer")
    }

    /// The same over mTLS, by the SVID of this name.
    async fn ask_as(&self, name: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
        let file = |end: &str| self.agent.path(&format!("{name}{end}"));
        let identity = Identity::from_files(&file(".pem"), &file("-key.pem"), &self.agent.path("bundle.pem"));
        let connector = Connector::new(identity.expect("an identity"), AGENT.parse().expect("an ID"));
        let stream = UnixStream::connect(self.agent.path("auth.sock")).await.expect("connect");
        let stream = connector.connect(stream).await.map_err(std::io::Error::other)?;
        ask(stream, path, headers).await
    }
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Answer> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nhost: payments\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, _) = text.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("no answer"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let pairs = lines.filter_map(|line| line.split_once(':'));
    Ok(Answer(status, pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()))
}

impl Answer {
    /// What stands in `WWW-Authenticate`.
    #[track_caller]
    fn refusal(&self, status: u16) -> &str {
        assert_eq!(self.0, status, "{:?}", self.1);
        assert!(!self.1.keys().any(|name| name.starts_with("x-token-")), "{:?}", self.1);
        &self.1["www-authenticate"]
    }
}

/// As nginx has it in `$ssl_client_escaped_cert`.
fn escaped(pem: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let one = |b: u8| if fits(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    pem.replace("\r\n", "\n").bytes().map(one).collect()
}

fn bound_to(pem: &str) -> Value {
    let der = single_from_pem(pem.as_bytes()).expect("one certificate");
    json!({"cnf": {"x5t#S256": BASE64URL_NOPAD.encode(&fingerprint(&der))}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_on_this_host_is_told_what_a_token_says() {
    let scene = Scene::set("listen = \"unix:auth.sock\"\nrequire_certificate = false").await;
    let token =
        format!("Bearer {}", scene.token(json!({"city": "Köln", "act": {"sub": "spiffe://dev.local/gateway"}})));
    let good = ("authorization", token.as_str());

    let Answer(status, said) = scene.ask("/verify?scope=payments:write&claim.tenant=42", &[good]).await;
    assert_eq!(status, 200, "{said:?}");
    let header = |name: &str| said[name].as_str();
    assert_eq!((header("x-token-subject"), header("x-token-actor")), (BILLING, "spiffe://dev.local/gateway"));
    assert_eq!((header("x-token-scope"), header("x-token-id")), ("payments:read payments:write", "lh_1"));
    assert_eq!(header("x-token-claims"), r#"{"city":"K\u00f6ln","tenant":"42"}"#);
    let Answer(_, said) =
        scene.ask("/verify", &[("authorization", &format!("Bearer {}", scene.token(json!({}))))]).await;
    assert_eq!(said["x-token-actor"], "", "overwrites what a client may have sent");

    for path in
        ["/verify?scope=payments:admin", "/verify?scope=payments:write&claim.tenant=43", "/verify?claim.region=eu"]
    {
        let no = scene.ask(path, &[good]).await;
        assert!(no.refusal(403).starts_with("Bearer error=\"insufficient_scope\""), "{path}");
    }
    // As Envoy asks: the client's own path and query behind it.
    let wants = |value| [good, ("x-required-scope", value)];
    assert_eq!(scene.ask("/verify/payments?scope=admin&x=y", &wants("payments:write")).await.0, 200);
    scene.ask("/verify/payments?scope=payments:read", &wants("payments:admin")).await.refusal(403);

    assert_eq!(scene.ask("/verify", &[]).await.refusal(401), "Bearer");
    assert_eq!(scene.ask("/verify", &[("authorization", "Basic eDp5")]).await.refusal(401), "Bearer");
    for no in [scene.ask("/verify?scopes=x", &[good]).await, scene.ask("/verify", &[good, good]).await] {
        assert!(no.refusal(401).contains("invalid_request"));
    }
    let expired = format!("Bearer {}", scene.token(json!({"exp": 1})));
    assert!(scene.ask("/verify", &[("authorization", &expired)]).await.refusal(401).contains("expired"));
    assert_eq!(scene.ask("/", &[good]).await.0, 404);
    assert_eq!(scene.ask("/verifyx", &[good]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_anybody_could_have_named_counts_for_nothing() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
    let scene = Scene::set(&format!("listen = \"{port}\"")).await;
    let pem = scene.issue("billing", BILLING);
    let token = format!("Bearer {}", scene.token(bound_to(&pem)));
    let cert = escaped(&pem);
    let envoys = format!("Cert=\"{cert}\"");
    let headers = [("authorization", token.as_str()), ("x-client-cert", &cert), ("x-forwarded-client-cert", &envoys)];
    let stream = TcpStream::connect(port).await.expect("connect");
    let no = ask(stream, "/verify", &headers).await.expect("an answer");
    assert!(no.refusal(401).contains("bound to a certificate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_trusted_forwards_its_clients_certificate() {
    let scene = Scene::set(&format!("listen = \"unix:auth.sock\"\ntrusted_proxies = [\"{NGINX}\"]")).await;
    scene.issue("nginx", NGINX);
    let (pem, thief) = (scene.issue("billing", BILLING), scene.issue("thief", "spiffe://dev.local/ns/thief/sa/web"));
    let token = format!("Bearer {}", scene.token(bound_to(&pem)));
    let (cert, other) = (escaped(&pem), escaped(&thief));
    let (good, shown) = (("authorization", token.as_str()), ("x-client-cert", cert.as_str()));
    let asked =
        async |name: &str, headers: &[(&str, &str)]| scene.ask_as(name, "/verify", headers).await.expect("an answer");

    assert_eq!(asked("nginx", &[good, shown]).await.0, 200);
    assert!(asked("nginx", &[good, ("x-client-cert", &other)]).await.refusal(401).contains("another certificate"));
    assert!(asked("nginx", &[good]).await.refusal(401).contains("bound to a certificate"));
    // Another proxy's header is what a client may have sent.
    let envoys = format!("Cert=\"{cert}\"");
    asked("nginx", &[good, ("x-forwarded-client-cert", &envoys)]).await.refusal(401);
    for unclear in [vec![good, shown, shown], vec![good, ("x-client-cert", "nonsense")]] {
        assert!(asked("nginx", &unclear).await.refusal(401).contains("invalid_request"));
    }
    // Nobody else, though it has an SVID; not even whom the token is about.
    assert_eq!(asked("billing", &[good, shown]).await.0, 403);
    // And nobody without one.
    let stream = UnixStream::connect(scene.agent.path("auth.sock")).await.expect("connect");
    assert!(ask(stream, "/verify", &[good, shown]).await.is_err());
    let stranger = DevCa::create(scene.ca.trust_domain()).expect("a CA");
    let svid = stranger.issue(&NGINX.parse().expect("an ID"), Duration::from_secs(3600)).expect("an SVID");
    svid.write_to(scene.agent.dir.path(), "stranger").expect("write it");
    assert!(scene.ask_as("stranger", "/verify", &[good, shown]).await.is_err());
}
