//! nginx, the agent beside it, and the service behind: by the settings in `examples/tokens/nginx`.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use leasehold_testkit::{Nginx, Svid};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cases::{Case, Wanted};
use super::world::{TENANT, World};
use crate::agent::process::AgentProcess;
use crate::ground::{SOON, client_with};
use crate::tokens::world::opened;

/// What the agent is told, with the places of a production.
const AGENT: &str = include_str!("../../examples/tokens/nginx/agent.toml");

pub struct Front {
    nginx: Nginx,
    agent: AgentProcess,
    service: JoinHandle<()>,
}

impl Front {
    pub async fn start(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("its address");
        let service = tokio::spawn(serve(listener));
        let mut agent = AgentProcess::idle();
        agent.configure(&world.rig.broker.url(), &world.payments, &settings(world));
        agent.launch().await;
        let dir = agent.path("nginx");
        fs::create_dir(&dir).expect("a directory");
        let put = |svid: &Svid, name: &str| {
            fs::copy(&svid.cert, dir.join(format!("{name}.pem"))).expect("copy a certificate");
            fs::copy(&svid.key, dir.join(format!("{name}-key.pem"))).expect("copy a key");
        };
        put(&world.payments, "payments");
        put(&world.nginx, "nginx");
        fs::copy(&world.payments.bundle, dir.join("bundle.pem")).expect("copy the bundle");
        let nginx = Nginx::start(&dir, &agent.path("auth.sock"), at).await;
        Self { nginx, agent, service }
    }

    pub fn addr(&self) -> SocketAddr {
        self.nginx.addr()
    }

    /// A token is taken and, once it was revoked, refused by an agent that has no older list any more: a new one, so that nobody has
    /// to wait for the minute that a list is kept.
    pub async fn refuses_what_was_revoked(mut self, world: &World) {
        let token = world.token(&world.billing, "payments-write", None, None).await;
        let invalid = Wanted::Refused(401, "error=\"invalid_token\"", &["revoked"]);
        let shown = world.billing.clone();
        let case =
            |wanted| Case { name: "revoked", token: Some(token.clone()), shown: shown.clone(), tenant: TENANT, wanted };
        let before = case(Wanted::Accepted);
        before.judge("nginx", &before.ask(world, self.addr()).await);
        let client = client_with(world.rig.broker.url(), world.billing.clone(), None);
        let account = opened(&token).1["jti"].as_str().expect("its name").to_owned();
        let lease = account.rsplit('_').next().expect("a lease").to_owned();
        client.revoke(&lease).await.expect("it is revoked");
        client.close().await;
        let (after, deadline) = (case(invalid), Instant::now() + SOON);
        loop {
            assert!(self.agent.terminate().await.success());
            self.agent.launch().await;
            let answer = after.ask(world, self.addr()).await;
            if answer.status != 200 {
                println!("nginx, revoked: {}", after.judge("nginx", &answer));
                break;
            }
            assert!(Instant::now() < deadline, "a revoked token is still taken: {}", self.agent.log());
        }
        // Nobody judges: nothing is let through, be it good or not.
        assert!(self.agent.terminate().await.success());
        assert_eq!(after.ask(world, self.addr()).await.status, 500);
        self.service.abort();
    }
}

/// The part of the example that says what is judged, with the test's own places.
fn settings(world: &World) -> String {
    let (_, part) = AGENT.split_once("[[forward_auth]]").expect("a part on verdicts");
    let places = [
        ("unix:/run/leasehold/auth.sock", "unix:auth.sock".to_owned()),
        ("https://leasehold.example.org", world.issuer.clone()),
        ("spiffe://prod.example.org/ns/payments/sa/nginx", world.nginx.id.clone()),
    ];
    let part = places.into_iter().fold(part.to_owned(), |part, (from, to)| {
        assert!(part.contains(from), "agent.toml does not name {from}");
        part.replace(from, &to)
    });
    // The issuer's certificate is one of the web here, and tokens that have expired are to be refused soon.
    format!("[[forward_auth]]{part}\nkeys = {{ ca = {:?} }}\nleeway = \"10s\"\n", world.issuer_ca)
}

/// A service that knows nothing of tokens: it reads what nginx says.
async fn serve(listener: TcpListener) {
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(connection(tcp));
    }
}

async fn connection(tcp: TcpStream) {
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service_fn(pay)).await;
}

async fn pay(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let claims: Value = serde_json::from_str(header("x-token-claims")).unwrap_or_default();
    let tenant = claims["tenant"].as_str().unwrap_or("nobody");
    let mut text = format!("{} pays for tenant {tenant}", header("x-token-subject"));
    for (name, value) in request.headers() {
        if name == "authorization" || value == "forged" {
            text += &format!(", and nginx has passed on {name}");
        }
    }
    Ok(Response::new(Full::from(text)))
}
