//! The agent's port on loopback, for those who cannot speak to a socket. Everybody on the host can connect to it, and so can a
//! browser that some page sends there: so there is a token in a file for its owner alone, the host must be named exactly, and
//! whatever a page has sent (`Origin`) is refused.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use leasehold_sdk::random;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::routes::{self, problem};
use super::{DRAIN_TIME_MAX, MANNER, Supplies};
use crate::agent::acks::Speaker;
use crate::agent::config::ListenConfig;
use crate::connections::Connections;

/// Shortest token, in bytes: what a person makes up is guessed.
const TOKEN_BYTES_MIN: usize = 32;
/// Longest.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The bound port, not yet serving.
pub struct Loopback {
    listener: TcpListener,
    router: Router,
}

/// What a request must show.
struct Gate {
    hosts: [String; 2],
    token: Zeroizing<String>,
}

impl Loopback {
    /// Binds it, and makes the token if there is none.
    ///
    /// # Errors
    /// When it cannot listen there, or the token's file is not for its owner alone.
    pub async fn bind(config: &ListenConfig, supplies: Arc<Supplies>) -> anyhow::Result<Self> {
        let token =
            token(&config.token_file).with_context(|| format!("listen.token_file {}", config.token_file.display()))?;
        let listener = TcpListener::bind(config.addr).await.with_context(|| format!("listen.addr {}", config.addr))?;
        let addr = listener.local_addr()?;
        let gate = Gate { hosts: [addr.to_string(), format!("localhost:{}", addr.port())], token };
        tracing::info!(%addr, "credentials can be asked for with the token");
        let router = routes::router(supplies).layer(from_fn_with_state(Arc::new(gate), admit));
        Ok(Self { listener, router })
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
        if headers.contains_key(header::ORIGIN) {
            return Some((StatusCode::FORBIDDEN, "no web page is answered (Origin)"));
        }
        let one = |name| {
            let mut all = headers.get_all(name).iter();
            all.next().filter(|_| all.next().is_none()).map(axum::http::HeaderValue::as_bytes)
        };
        if !one(header::HOST).is_some_and(|host| self.hosts.iter().any(|known| known.as_bytes() == host)) {
            return Some((StatusCode::FORBIDDEN, "Host must be the address that this agent listens on"));
        }
        let shown = one(header::AUTHORIZATION).and_then(|value| value.strip_prefix(b"Bearer "));
        let good = shown.is_some_and(|shown| verify_slices_are_equal(shown, self.token.as_bytes()).is_ok());
        (!good).then_some((
            StatusCode::UNAUTHORIZED,
            "Authorization: Bearer with the token of listen.token_file is needed",
        ))
    }
}

/// The token; made if it is not there.
fn token(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Ok(mut made) => {
            // Without a line's end: some clients send what they read as it is.
            made.write_all(random::password().expose_secret().as_bytes())?;
            made.sync_all()?;
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).context("cannot be made"),
    }
    let meta = fs::metadata(file).context("cannot be looked at")?;
    if meta.mode() & 0o077 != 0 || !meta.is_file() || meta.len() > TOKEN_BYTES_MAX {
        bail!("must be a file for its owner alone (mode 0600), of at most {TOKEN_BYTES_MAX} bytes");
    }
    let text = Zeroizing::new(fs::read_to_string(file).context("cannot be read")?);
    let token = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("must hold one word of at least {TOKEN_BYTES_MIN} visible ASCII characters");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        let token = Zeroizing::new("0123456789abcdef0123456789abcdef".to_owned());
        Gate { hosts: ["127.0.0.1:8450".into(), "localhost:8450".into()], token }
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

    #[test]
    fn a_token_is_made_once_and_must_be_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let made = token(&file).unwrap();
        assert_eq!(token(&file).unwrap(), made);
        assert!(made.len() >= TOKEN_BYTES_MIN && !fs::read_to_string(&file).unwrap().ends_with('\n'));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(token(&file).unwrap_err().to_string().contains("for its owner alone"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "short").unwrap();
        assert!(token(&file).unwrap_err().to_string().contains("at least 32"));
    }
}
