//! The agent's port on loopback, for those who cannot speak to a socket. Everybody on the host can connect to it, and so can a
//! browser that some page sends there: so there is a token in a file for its owner alone, the host must be named exactly, and
//! whatever a page has sent (`Origin`) is refused.

use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::aws::{self, Desk};
use super::hosts::{Hosts, only};
use super::routes::{self, problem};
use super::token_file::token;
use super::{DRAIN_TIME_MAX, MANNER, Supplies};
use crate::agent::acks::Speaker;
use crate::agent::config::ListenConfig;
use crate::agent::forms::variables::Variable;
use crate::connections::Connections;

/// The bound port, not yet serving.
pub struct Loopback {
    listener: TcpListener,
    router: Router,
    environment: Vec<Variable>,
}

/// What a request must show.
struct Gate {
    hosts: Hosts,
    token: Zeroizing<String>,
}

impl Loopback {
    /// Binds it, and makes the tokens that are not there.
    ///
    /// # Errors
    /// When it cannot listen there, or a token's file is not for its owner alone.
    pub async fn bind(config: &ListenConfig, supplies: Arc<Supplies>) -> anyhow::Result<Self> {
        let token =
            token(&config.token_file).with_context(|| format!("listen.token_file {}", config.token_file.display()))?;
        let listener = TcpListener::bind(config.addr).await.with_context(|| format!("listen.addr {}", config.addr))?;
        let addr = listener.local_addr()?;
        let gate = Gate { hosts: Hosts::of(addr), token };
        tracing::info!(%addr, "credentials can be asked for with the token");
        let desk = Desk::open(addr, supplies.clone())?;
        let environment = desk.environment();
        // The gate is for the first alone: the SDKs of AWS show tokens of their own.
        let router = routes::router(supplies).layer(from_fn_with_state(Arc::new(gate), admit)).merge(aws::router(desk));
        Ok(Self { listener, router, environment })
    }

    /// What leads a child of ours here without its doing: of SDKs that have variables for it.
    pub fn environment(&self) -> Vec<Variable> {
        self.environment.clone()
    }

    /// Serves until told to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let places = super::places();
        let mut connections = Connections::new(self.router, stop);
        while let Some((stream, _)) = connections.next(|| self.listener.accept()).await {
            connections.take(stream, &places, MANNER, Speaker::Unknown);
        }
        connections.drain(DRAIN_TIME_MAX).await;
    }
}

async fn admit(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.refuses(request.headers()) {
        Some((status, why)) => problem(status, why),
        None => next.run(request).await,
    }
}

impl Gate {
    fn refuses(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        if let Some(why) = self.hosts.refuse(headers) {
            return Some((StatusCode::FORBIDDEN, why));
        }
        let shown = only(headers, header::AUTHORIZATION).and_then(|value| value.strip_prefix(b"Bearer "));
        let good = shown.is_some_and(|shown| verify_slices_are_equal(shown, self.token.as_bytes()).is_ok());
        (!good).then_some((
            StatusCode::UNAUTHORIZED,
            "Authorization: Bearer with the token of listen.token_file is needed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        let token = Zeroizing::new("0123456789abcdef0123456789abcdef".to_owned());
        Gate { hosts: Hosts::of("127.0.0.1:8450".parse().unwrap()), token }
    }

    fn said(pairs: &[(&'static str, &'static str)]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        gate().refuses(&headers).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn only_the_token_for_exactly_this_host_and_no_page_is_let_in() {
        const GOOD: (&str, &str) = ("authorization", "Bearer 0123456789abcdef0123456789abcdef");
        const HOST: (&str, &str) = ("host", "127.0.0.1:8450");
        assert_eq!(said(&[HOST, GOOD]), None);
        assert_eq!(said(&[("host", "localhost:8450"), GOOD]), None);
        assert_eq!(said(&[HOST]), Some(401));
        assert_eq!(said(&[HOST, ("authorization", "Bearer 0123456789abcdef0123456789abcdeX")]), Some(401));
        assert_eq!(said(&[HOST, ("authorization", "Bearer ")]), Some(401));
        assert_eq!(said(&[HOST, GOOD, GOOD]), Some(401));
        assert_eq!(said(&[("host", "evil.example:8450"), GOOD]), Some(403));
        assert_eq!(said(&[HOST, HOST, GOOD]), Some(403));
        assert_eq!(said(&[GOOD]), Some(403));
        assert_eq!(said(&[HOST, GOOD, ("origin", "http://127.0.0.1:8450")]), Some(403));
    }
}
